//! Checkpoints: how long the audit log is and what its last line is, signed by the site's own key
//! (`docs/format.md` §8).
//!
//! The chain shows a change inside the log. It cannot show that lines are missing at its end, nor that all
//! of it was written anew. A checkpoint that was carried elsewhere can: the log that it was made of still
//! has those lines, or it is not that log.
//!
//! *Order of checks:* the signature over the bytes as they lie there, then their canonical form, then the
//! key that they name, then the chain. Nothing is parsed before its signature was good.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::audit::{Entry, Head, Outcome};
use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::root::FoundSignature;
use crate::text::Name;
use crate::timestamp::Timestamp;

/// Bounds a checkpoint: about four hundred bytes are used.
pub const CHECKPOINT_BYTES_MAX: u64 = 4096;

/// The event by which the log knows of the site's keys.
pub const KEY_EVENT: &str = "site.key";

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointSchema {
    /// This one.
    #[serde(rename = "airlock-checkpoint/v1")]
    V1,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointDocument {
    /// What these bytes are: the site's key signs other documents as well.
    pub schema: CheckpointSchema,
    /// The site's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// The key that signs.
    pub keyid: KeyId,
    /// How many lines the log has.
    pub entries: u64,
    /// The first of them, with its line feed: which log it is.
    pub first: Digest,
    /// The last of them, with its line feed.
    pub head: Digest,
    /// The site's clock.
    pub time: Timestamp,
}

/// A checkpoint that a key has signed which was asked for.
///
/// *Invariant:* the document is the one whose exact bytes were signed by the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    document: CheckpointDocument,
}

/// Why bytes are not a checkpoint to go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no signature beside it.
    #[error("nobody has signed it")]
    Unsigned,
    /// Signed, and by nobody who was asked for.
    #[error("it is signed with another key, {claimed}")]
    AnotherKey {
        /// What the signature's file name claims.
        claimed: KeyId,
    },
    /// The key was asked for, and this is not its signature over these bytes.
    #[error("the signature of the key {claimed} is wrong")]
    Signature {
        /// What the signature's file name claims.
        claimed: KeyId,
    },
    /// Signed, and not a document of this kind.
    #[error("it is signed, but it is not a checkpoint")]
    Document(#[from] CanonicalError),
    /// Signed, and it names another key.
    #[error("it names the key {named}, and {signed} has signed it")]
    Named {
        /// Which key the document names.
        named: KeyId,
        /// Which has signed.
        signed: KeyId,
    },
    /// Signed, and about no line at all.
    #[error("it is about a log without entries")]
    Empty,
}

impl CheckpointDocument {
    /// What is to be signed about a log, if that has any line.
    #[must_use]
    pub fn about(
        site: Option<Name>,
        keyid: KeyId,
        first: Digest,
        head: &Head,
        time: Timestamp,
    ) -> Option<Self> {
        let last = Digest::from_hex(&head.digest).ok().filter(|_| head.entries > 0)?;
        let (schema, entries) = (CheckpointSchema::V1, head.entries);
        Some(Self { schema, site, keyid, entries, first, head: last, time })
    }

    /// Canonical bytes.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(self)
    }
}

impl Checkpoint {
    /// Takes a checkpoint that one of these keys has signed.
    ///
    /// # Errors
    /// See [`CheckpointError`]. A wrong signature in the name of one of the keys is refused beside any
    /// number of good ones.
    pub fn verify(
        bytes: &[u8],
        signatures: &[FoundSignature],
        keys: &[PublicKey],
    ) -> Result<Self, CheckpointError> {
        let mut signer = None;
        for found in signatures {
            let claimed = found.claimed;
            match keys.iter().find(|key| key.id() == claimed) {
                None => {}
                Some(key) if key.verifies(bytes, &found.bytes) => signer = Some(claimed),
                Some(_) => return Err(CheckpointError::Signature { claimed }),
            }
        }
        let Some(signed) = signer else {
            return Err(match signatures.first() {
                Some(found) => CheckpointError::AnotherKey { claimed: found.claimed },
                None => CheckpointError::Unsigned,
            });
        };
        let document: CheckpointDocument = canonical::from_canonical(bytes)?;
        let named = document.keyid;
        if named != signed {
            return Err(CheckpointError::Named { named, signed });
        }
        if document.entries == 0 {
            return Err(CheckpointError::Empty);
        }
        Ok(Self { document })
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &CheckpointDocument {
        &self.document
    }
}

/// What a log says against a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// Lines are missing at the end.
    #[error("the log was cut: it has {has} entries, and {entries} were signed")]
    Shorter {
        /// How many the checkpoint is about.
        entries: u64,
        /// How many there are.
        has: u64,
    },
    /// A line is another one.
    #[error("the log was written anew: its line {entries} is not the one that was signed")]
    Rewritten {
        /// How many the checkpoint is about; the last of them is another one.
        entries: u64,
    },
    /// The first line is another one.
    #[error("the log is another one: its first line is not that of the log that was signed")]
    AnotherLog {
        /// How many the checkpoint is about.
        entries: u64,
    },
    /// Signed with a key that was not the site's.
    #[error("the log says nothing of the key {keyid} being the site's when {entries} entries were signed")]
    UnknownKey {
        /// How many the checkpoint is about.
        entries: u64,
        /// Which key.
        keyid: KeyId,
    },
    /// Signed with a key that was not the site's any more.
    #[error("{entries} entries were signed with the key {keyid}, which had been replaced by then")]
    Retired {
        /// How many the checkpoint is about.
        entries: u64,
        /// Which key.
        keyid: KeyId,
    },
    /// A new key that the one before it has not signed for.
    #[error("the entry {seq}, by which the key {keyid} follows {before}, was never signed with {before}")]
    Unendorsed {
        /// The entry that announces the new key, counted from 0.
        seq: u64,
        /// The new key.
        keyid: KeyId,
        /// The one before it.
        before: KeyId,
    },
}

impl Contradiction {
    /// How many lines the checkpoint is about, if it is one checkpoint that disagrees.
    #[must_use]
    pub fn entries(&self) -> Option<u64> {
        match self {
            Self::Shorter { entries, .. }
            | Self::Rewritten { entries }
            | Self::AnotherLog { entries }
            | Self::UnknownKey { entries, .. }
            | Self::Retired { entries, .. } => Some(*entries),
            Self::Unendorsed { .. } => None,
        }
    }
}

/// Holds checkpoints against a log while that is read once.
#[derive(Debug, Default)]
pub struct Comparison {
    /// By the number of lines that they are about.
    due: BTreeMap<u64, Vec<CheckpointDocument>>,
    first: Option<Digest>,
}

impl Comparison {
    /// Of these checkpoints.
    pub fn of<'a>(checkpoints: impl IntoIterator<Item = &'a Checkpoint>) -> Self {
        let mut due: BTreeMap<u64, Vec<CheckpointDocument>> = BTreeMap::new();
        for checkpoint in checkpoints {
            due.entry(checkpoint.document.entries).or_default().push(checkpoint.document.clone());
        }
        Self { due, first: None }
    }

    /// Takes the head after each line, from the first one on.
    ///
    /// # Errors
    /// A checkpoint says otherwise.
    pub fn follow(&mut self, head: &Head) -> Result<(), Contradiction> {
        let digest = Digest::from_hex(&head.digest).ok();
        if head.entries == 1 {
            self.first = digest;
            let all = self.due.values().flatten();
            if let Some(other) = all.into_iter().find(|document| Some(document.first) != digest) {
                return Err(Contradiction::AnotherLog { entries: other.entries });
            }
        }
        let here = self.due.get(&head.entries).into_iter().flatten();
        match here.into_iter().find(|document| Some(document.head) != digest) {
            Some(document) => Err(Contradiction::Rewritten { entries: document.entries }),
            None => Ok(()),
        }
    }

    /// Takes the head at the end of the log.
    ///
    /// # Errors
    /// A checkpoint is about more lines than there are.
    pub fn end(&self, head: &Head) -> Result<(), Contradiction> {
        match self.due.keys().next_back() {
            Some(entries) if *entries > head.entries => {
                Err(Contradiction::Shorter { entries: *entries, has: head.entries })
            }
            _ => Ok(()),
        }
    }

    /// The first line of the log, once there was one.
    #[must_use]
    pub fn first(&self) -> Option<Digest> {
        self.first
    }
}

/// What the log says of the site's keys: each was announced, and then made.
#[derive(Debug, Default)]
pub struct KeyHistory {
    announced: BTreeMap<(u64, KeyId), Announced>,
    made: BTreeMap<u64, MadeKey>,
}

/// That a key is about to be made.
#[derive(Debug, Clone, Copy)]
struct Announced {
    seq: u64,
    after_loss: bool,
}

/// A key of the site, as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeKey {
    /// Which.
    pub keyid: KeyId,
    /// The entry that announced it, counted from 0.
    pub announced: u64,
    /// The entry that says it was made.
    pub made: u64,
    /// The key before it was lost, so nobody could sign for this one.
    pub after_loss: bool,
}

impl KeyHistory {
    /// Takes one entry after the other.
    pub fn note(&mut self, entry: &Entry) {
        let (event, seq) = (&entry.event, entry.seq);
        let number = event.about.get("number").and_then(|text| text.parse().ok());
        let keyid = event.about.get("keyid").and_then(|text| text.parse().ok());
        let (KEY_EVENT, Some(number), Some(keyid)) = (event.event.as_str(), number, keyid) else { return };
        let here = Announced { seq, after_loss: event.about.contains_key("lost") };
        match event.outcome {
            Outcome::Intent => {
                self.announced.insert((number, keyid), here);
            }
            Outcome::Done => {
                let Announced { seq: announced, after_loss } =
                    self.announced.get(&(number, keyid)).copied().unwrap_or(here);
                self.made.insert(number, MadeKey { keyid, announced, made: seq, after_loss });
            }
            _ => {}
        }
    }

    /// Every key that was made, by its number.
    pub fn made(&self) -> impl Iterator<Item = (u64, &MadeKey)> {
        self.made.iter().map(|(number, key)| (*number, key))
    }

    /// Whether the log says that this key was made, or was about to be.
    #[must_use]
    pub fn knows(&self, number: u64, keyid: KeyId) -> bool {
        self.announced.contains_key(&(number, keyid))
            || self.made.get(&number).is_some_and(|key| key.keyid == keyid)
    }

    /// Whether each of these was signed with a key that was the site's then.
    ///
    /// # Errors
    /// One was not.
    pub fn allows<'a>(
        &self,
        checkpoints: impl IntoIterator<Item = &'a Checkpoint>,
    ) -> Result<(), Contradiction> {
        for checkpoint in checkpoints {
            let (entries, keyid) = (checkpoint.document.entries, checkpoint.document.keyid);
            let mut known = self.announced.iter().filter(|((_, id), _)| *id == keyid);
            let Some(((number, _), _)) = known.find(|(_, announced)| announced.seq < entries) else {
                return Err(Contradiction::UnknownKey { entries, keyid });
            };
            let mut after = self.made.range(number.saturating_add(1)..);
            if after.next().is_some_and(|(_, next)| next.made < entries) {
                return Err(Contradiction::Retired { entries, keyid });
            }
        }
        Ok(())
    }

    /// Whether each key but the first was signed for with the one before it: one of these covers the entry
    /// that announces it. Of a key that came after a loss nothing is asked.
    ///
    /// # Errors
    /// One was not.
    pub fn endorsed_by(&self, checkpoints: &[Checkpoint]) -> Result<(), Contradiction> {
        for (before, key) in self.made.values().zip(self.made.values().skip(1)) {
            let signed = |checkpoint: &Checkpoint| {
                let document = &checkpoint.document;
                document.keyid == before.keyid && document.entries > key.announced
            };
            if !key.after_loss && !checkpoints.iter().any(signed) {
                let (seq, keyid, before) = (key.announced, key.keyid, before.keyid);
                return Err(Contradiction::Unendorsed { seq, keyid, before });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::audit::{Actor, Event};
    use std::string::ToString;
    use std::vec;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn id(seed: u8) -> KeyId {
        secret(seed).public().unwrap().id()
    }

    fn event(name: &str, outcome: Outcome, about: &[(&str, std::string::String)]) -> Event {
        Event {
            time: Timestamp::from_unix_seconds(0).unwrap(),
            event: name.into(),
            outcome,
            actor: Actor { uid: 0, user: "root".into(), sudo_user: None, host: "h".into() },
            tool: "installer 0".into(),
            about: about.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect(),
        }
    }

    /// A log, its heads after each line, and what it says of keys.
    #[derive(Default)]
    struct Log {
        heads: Vec<Head>,
        keys: KeyHistory,
    }

    impl Log {
        fn of(names: &[&str]) -> Self {
            let mut log = Self::default();
            for name in names {
                log.add(event(name, Outcome::Done, &[]));
            }
            log
        }

        fn add(&mut self, event: Event) {
            let head = self.heads.last().cloned().unwrap_or_default();
            let (line, next) = head.append(event).unwrap();
            self.keys.note(&head.follow(&line).unwrap().0);
            self.heads.push(next);
        }

        fn key(&mut self, number: u64, seed: u8, lost: bool) -> &mut Self {
            let mut about = vec![("number", number.to_string()), ("keyid", id(seed).to_string())];
            about.extend(lost.then(|| ("lost", "why".to_string())));
            self.add(event(KEY_EVENT, Outcome::Intent, &about));
            self.add(event(KEY_EVENT, Outcome::Done, &about));
            self
        }

        /// The checkpoint of so many lines, by this key.
        fn signed(&self, entries: usize, seed: u8) -> Checkpoint {
            let (bytes, signature) = self.document(entries, seed);
            Checkpoint::verify(&bytes, &[signature], &[secret(seed).public().unwrap()]).unwrap()
        }

        fn document(&self, entries: usize, seed: u8) -> (Vec<u8>, FoundSignature) {
            let first = Digest::from_hex(&self.heads[0].digest).unwrap();
            let (head, time) = (&self.heads[entries - 1], Timestamp::from_unix_seconds(0).unwrap());
            let document =
                CheckpointDocument::about(Some("lab".parse().unwrap()), id(seed), first, head, time);
            let bytes = document.unwrap().to_bytes().unwrap();
            let signature = FoundSignature { claimed: id(seed), bytes: secret(seed).sign(&bytes).unwrap() };
            (bytes, signature)
        }

        fn against(&self, checkpoint: &Checkpoint) -> Result<(), Contradiction> {
            let mut comparison = Comparison::of([checkpoint]);
            for head in &self.heads {
                comparison.follow(head)?;
            }
            comparison.end(self.heads.last().unwrap())
        }
    }

    #[test]
    fn a_log_that_has_grown_since_agrees_with_its_checkpoint() {
        let log = Log::of(&["a", "b", "c"]);
        for entries in 1..=3 {
            log.against(&log.signed(entries, 1)).unwrap();
        }
    }

    #[test]
    fn a_log_that_was_cut_or_written_anew_and_one_of_another_site_contradict_it() {
        let checkpoint = Log::of(&["a", "b", "c"]).signed(3, 1);
        let found = |names: &[&str]| Log::of(names).against(&checkpoint);
        assert_eq!(found(&["a", "b"]), Err(Contradiction::Shorter { entries: 3, has: 2 }));
        assert_eq!(found(&["a", "x", "c", "d"]), Err(Contradiction::Rewritten { entries: 3 }));
        assert_eq!(found(&["a", "b", "x"]), Err(Contradiction::Rewritten { entries: 3 }));
        assert_eq!(found(&["x", "b", "c"]), Err(Contradiction::AnotherLog { entries: 3 }));
        assert_eq!(
            Comparison::of([&checkpoint]).end(&Head::default()),
            Err(Contradiction::Shorter { entries: 3, has: 0 })
        );
    }

    #[test]
    fn refuses_a_checkpoint_of_another_key_without_a_signature_and_with_a_wrong_one() {
        let log = Log::of(&["a"]);
        let (bytes, good) = log.document(1, 1);
        let keys = [secret(1).public().unwrap()];
        let verify =
            |bytes: &[u8], signatures: &[FoundSignature]| Checkpoint::verify(bytes, signatures, &keys);
        verify(&bytes, std::slice::from_ref(&good)).unwrap();
        assert!(matches!(verify(&bytes, &[]), Err(CheckpointError::Unsigned)));
        let other = log.document(1, 2);
        assert!(matches!(
            verify(&other.0, core::slice::from_ref(&other.1)),
            Err(CheckpointError::AnotherKey { .. })
        ));
        // Another key's signature under our key's name, and our signature over other bytes.
        let renamed = FoundSignature { claimed: good.claimed, bytes: other.1.bytes };
        assert!(matches!(verify(&bytes, &[renamed]), Err(CheckpointError::Signature { .. })));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let verdict = verify(&changed, std::slice::from_ref(&good));
            assert!(matches!(verdict, Err(CheckpointError::Signature { .. })), "{at}");
        }
    }

    #[test]
    fn refuses_what_the_key_has_signed_and_is_no_checkpoint() {
        let keys = [secret(1).public().unwrap()];
        let signed = |text: &str| {
            let signature =
                FoundSignature { claimed: id(1), bytes: secret(1).sign(text.as_bytes()).unwrap() };
            Checkpoint::verify(text.as_bytes(), &[signature], &keys)
        };
        let good = std::string::String::from_utf8(Log::of(&["a"]).document(1, 1).0).unwrap();
        signed(&good).unwrap();
        for other in [
            "{}\n".to_string(),
            good.replace("checkpoint/v1", "receipt/v1"),
            good.replace("\"entries\":1,", "\"entries\":1,\"more\":1,"),
            good.replace(",\"first\"", ", \"first\""),
        ] {
            assert!(matches!(signed(&other), Err(CheckpointError::Document(_))), "{other}");
        }
        let named = good.replace(&id(1).to_string(), &id(2).to_string());
        assert!(matches!(signed(&named), Err(CheckpointError::Named { .. })));
        let empty = good.replace("\"entries\":1,", "\"entries\":0,");
        assert!(matches!(signed(&empty), Err(CheckpointError::Empty)));
    }

    #[test]
    fn a_key_counts_from_the_entry_that_announces_it_to_the_one_that_says_it_was_replaced() {
        let mut log = Log::of(&["trust.init"]);
        log.key(1, 1, false).add(event("apply", Outcome::Done, &[]));
        log.key(2, 2, false).add(event("apply", Outcome::Done, &[]));
        // 0 trust.init, 1 and 2 the first key, 3 apply, 4 and 5 the second key, 6 apply.
        let allows = |entries, seed| log.keys.allows([&log.signed(entries, seed)]);
        assert_eq!(allows(1, 1), Err(Contradiction::UnknownKey { entries: 1, keyid: id(1) }));
        for entries in 2..=5 {
            allows(entries, 1).unwrap();
        }
        assert_eq!(allows(6, 1), Err(Contradiction::Retired { entries: 6, keyid: id(1) }));
        assert_eq!(allows(4, 2), Err(Contradiction::UnknownKey { entries: 4, keyid: id(2) }));
        allows(5, 2).unwrap();
        allows(7, 2).unwrap();
        assert_eq!(allows(7, 3), Err(Contradiction::UnknownKey { entries: 7, keyid: id(3) }));
    }

    #[test]
    fn a_new_key_needs_a_checkpoint_of_the_one_before_it_unless_that_was_lost() {
        let mut log = Log::of(&["trust.init"]);
        log.key(1, 1, false).key(2, 2, false);
        let unendorsed = Contradiction::Unendorsed { seq: 3, keyid: id(2), before: id(1) };
        assert_eq!(log.keys.endorsed_by(&[]), Err(unendorsed.clone()));
        assert_eq!(log.keys.endorsed_by(&[log.signed(3, 1), log.signed(5, 2)]), Err(unendorsed));
        log.keys.endorsed_by(&[log.signed(4, 1)]).unwrap();
        log.key(3, 3, true);
        log.keys.endorsed_by(&[log.signed(4, 1)]).unwrap();
        assert!(log.keys.knows(3, id(3)) && !log.keys.knows(2, id(3)));
        assert_eq!(log.keys.made().map(|(number, _)| number).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn the_longest_checkpoint_is_within_the_limit() {
        let head = Head { entries: u64::MAX, digest: "f".repeat(64) };
        let (first, time) = (Digest::of(b""), Timestamp::from_unix_seconds(0).unwrap());
        let site = "x".repeat(128).parse().ok();
        let document = CheckpointDocument::about(site, id(1), first, &head, time).unwrap();
        assert!((document.to_bytes().unwrap().len() as u64) < CHECKPOINT_BYTES_MAX / 2);
        assert!(CheckpointDocument::about(None, id(1), first, &Head::default(), time).is_none());
    }
}
