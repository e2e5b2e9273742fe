//! Everything that a site believes: the chain of its trust roots from the one that was pinned on paper to
//! the current one, and the revocations.
//!
//! The chain follows TUF (specification §5.3.4 to §5.3.11): every root between is applied and kept, each is
//! signed by the one before it and by itself. What differs: the files have no envelope, and a root says
//! the digest of the one before it.
//!
//! *Invariants:* there is always a current root; nothing here is ever taken from a medium by itself:
//! somebody has to hand the bytes in, as an act of its own.

use alloc::vec::Vec;

use crate::digest::Digest;
use crate::revocation::{RevocationError, Revocations};
use crate::root::{FoundSignature, RootError, TrustRoot};
use crate::timestamp::Timestamp;

/// How long a chain may be. A publisher who rotates every month for 80 years stays below it.
pub const CHAIN_MAX: usize = 1024;

/// What a site believes.
#[derive(Debug, Clone)]
pub struct Trust {
    first: TrustRoot,
    later: Vec<TrustRoot>,
    revocations: Option<Revocations>,
}

/// What became of a root that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// It is the current root now.
    Taken,
    /// It is one of the chain already, byte for byte.
    Known,
}

impl Trust {
    /// Trust that starts with this root.
    #[must_use]
    pub fn starting_with(root: TrustRoot) -> Self {
        Self { first: root, later: Vec::new(), revocations: None }
    }

    /// The current root: the one that judges.
    #[must_use]
    pub fn root(&self) -> &TrustRoot {
        self.later.last().unwrap_or(&self.first)
    }

    /// Every root, the pinned one first.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = &TrustRoot> {
        core::iter::once(&self.first).chain(&self.later)
    }

    /// The root of this version, if the chain has it.
    #[must_use]
    pub fn root_of_version(&self, version: u64) -> Option<&TrustRoot> {
        self.roots().find(|root| root.document().version == version)
    }

    /// The root that the chain starts with: the one that was pinned.
    #[must_use]
    pub fn first(&self) -> &TrustRoot {
        &self.first
    }

    /// Whether an earlier root of the chain would have taken this list, and the present one does not: it was
    /// good once, and its signers may not sign any more.
    #[must_use]
    pub fn was_good_once(&self, bytes: &[u8], signatures: &[FoundSignature]) -> bool {
        let judges = |root: &TrustRoot| Revocations::authenticate(root, bytes, signatures).is_ok();
        !judges(self.root()) && self.roots().rev().skip(1).any(judges)
    }

    /// The revocations, if there ever were any.
    #[must_use]
    pub fn revocations(&self) -> Option<&Revocations> {
        self.revocations.as_ref()
    }

    /// The time before which it cannot be: the latest of everything that was signed for this trust.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        let root = self.root().document().created;
        self.revocations.as_ref().map_or(root, |revocations| root.max(revocations.document().created))
    }

    /// Takes the next root.
    ///
    /// # Errors
    /// It is neither the next one nor one of the chain; see [`TrustRoot::succeed`].
    pub fn advance(&mut self, bytes: &[u8], signatures: &[FoundSignature]) -> Result<Advance, RootError> {
        let fingerprint = Digest::of(bytes);
        if self.roots().any(|root| root.fingerprint() == fingerprint) {
            return Ok(Advance::Known);
        }
        if self.later.len() >= CHAIN_MAX {
            let before = self.root().document().version;
            let rule = "a chain has at most 1024 roots";
            return Err(RootError::Succession { found: before.saturating_add(1), before, rule });
        }
        let next = self.root().succeed(bytes, signatures)?;
        self.later.push(next);
        Ok(Advance::Taken)
    }

    /// Takes a list of revocations in place of the one that is known.
    ///
    /// # Errors
    /// See [`RevocationError`].
    pub fn revoke(
        &mut self,
        bytes: &[u8],
        signatures: &[FoundSignature],
    ) -> Result<Advance, RevocationError> {
        let root = self.root();
        let list = Revocations::authenticate(root, bytes, signatures)?;
        if self.revocations.as_ref().is_some_and(|known| known.document() == list.document()) {
            return Ok(Advance::Known);
        }
        list.follows(root, self.revocations.as_ref())?;
        self.revocations = Some(list);
        Ok(Advance::Taken)
    }

    /// Takes back the list that was taken earlier, from where only its owner can write. It was judged by
    /// the root of its day, which may have been followed by another one since.
    ///
    /// # Errors
    /// No root of the chain authorises it.
    pub fn recall(&mut self, bytes: &[u8], signatures: &[FoundSignature]) -> Result<(), RevocationError> {
        let mut judged = Revocations::authenticate(self.root(), bytes, signatures);
        for root in self.roots().rev().skip(1) {
            if judged.is_ok() {
                break;
            }
            if let Ok(list) = Revocations::authenticate(root, bytes, signatures) {
                judged = Ok(list);
            }
        }
        self.revocations = Some(judged?);
        Ok(())
    }
}
