//! How far blobs were hashed that go over the edge of a part, until the next part is read.
//!
//! *Invariant:* however a bundle is cut and in whatever order its parts come, what is kept of the content of
//! manifests stays below [`KEPT_BYTES_MAX`]. What is given up for that has to be read again from its beginning;
//! parts that come in their order need only what came last.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use manifests::Hasher;

use crate::hashing::ManifestKeeper;

/// What is kept of the content of manifests, together.
pub(crate) const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How far a blob was hashed, and what may be a manifest.
#[derive(Debug, Clone)]
pub(crate) struct Carry {
    pub(crate) hasher: Hasher,
    pub(crate) document: ManifestKeeper,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// By the offset in the archive at which the next piece starts.
    by_offset: BTreeMap<u64, Carry>,
    /// Those that keep content, the oldest first.
    keeping: VecDeque<u64>,
    kept_bytes: u64,
}

impl Carried {
    /// How far the blob was hashed that goes on at this offset. It stays: a part may be read again.
    pub(crate) fn get(&self, offset: u64) -> Option<Carry> {
        self.by_offset.get(&offset).cloned()
    }

    /// Remembers it, and forgets the oldest ones if that is too much.
    pub(crate) fn insert(&mut self, offset: u64, carry: Carry) {
        self.remove(offset);
        let bytes = carry.document.kept_bytes();
        if bytes > 0 {
            self.keeping.push_back(offset);
            self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        }
        self.by_offset.insert(offset, carry);
        while self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.keeping.front().copied() else { break };
            self.remove(oldest);
        }
    }

    /// The blob with this content is settled: nothing of it is needed any more.
    pub(crate) fn settled(&mut self, content: &Range<u64>) {
        let inside: Vec<u64> = self.by_offset.range(content.clone()).map(|(offset, _)| *offset).collect();
        for offset in inside {
            self.remove(offset);
        }
    }

    fn remove(&mut self, offset: u64) {
        if let Some(carry) = self.by_offset.remove(&offset) {
            self.kept_bytes = self.kept_bytes.saturating_sub(carry.document.kept_bytes());
            self.keeping.retain(|other| *other != offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carry(bytes: usize) -> Carry {
        let mut document = ManifestKeeper::of_size(bytes as u64);
        document.pass(b"{");
        document.pass(&vec![b' '; bytes - 1]);
        Carry { hasher: Hasher::new(), document }
    }

    #[test]
    fn a_thousand_pieces_of_a_manifest_are_kept_within_the_limit_and_the_last_one_always_is() {
        let mut carried = Carried::default();
        for piece in 1..=999_u64 {
            carried.insert(piece * 4096, carry(usize::try_from(piece * 4096).unwrap()));
            assert!(carried.kept_bytes <= KEPT_BYTES_MAX, "{}", carried.kept_bytes);
            assert_eq!(carried.get(piece * 4096).unwrap().document.kept_bytes(), piece * 4096);
        }
        assert!(carried.get(4096).is_none());
        carried.settled(&(0..999 * 4096 + 1));
        assert_eq!((carried.by_offset.len(), carried.keeping.len(), carried.kept_bytes), (0, 0, 0));
    }

    #[test]
    fn what_keeps_nothing_is_never_given_up_and_the_same_place_counts_once() {
        let mut carried = Carried::default();
        for _ in 0..9 {
            carried.insert(7, carry(4 << 20));
        }
        assert_eq!(carried.kept_bytes, 4 << 20);
        let plain = Carry { hasher: Hasher::new(), document: ManifestKeeper::of_size(u64::MAX) };
        carried.insert(1, plain);
        for offset in 100..200 {
            carried.insert(offset, carry(4 << 20));
        }
        assert!(carried.get(1).is_some() && carried.get(7).is_none() && carried.get(199).is_some());
    }
}
