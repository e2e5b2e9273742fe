//! Keys on their way into a root: each with its holder, each once.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use edge::{Failure, Screen};
use manifests::root::{Clause, Role, RootKey};
use manifests::text::{Name, TextError, printable};
use manifests::{KeyId, PublicKey};

use crate::keys;

/// The keys of a root that is being made.
pub(super) struct Keyring {
    holders: BTreeMap<String, Name>,
    /// Every key, by its identity.
    pub(super) keys: BTreeMap<KeyId, RootKey>,
}

impl Keyring {
    /// Starts from these keys; `holders` are texts `KEYNAME=HOLDER`.
    pub(super) fn with(keys: BTreeMap<KeyId, RootKey>, holders: &[String]) -> Result<Self, Failure> {
        let pair = |text: &String| {
            let (key, holder) = text.split_once('=')?;
            Some((key.to_string(), holder.parse().ok()?))
        };
        let wrong =
            |text: &String| Failure::usage(format!("--holder `{}` is not KEYNAME=HOLDER", printable(text)));
        let holders = holders.iter().map(|text| pair(text).ok_or_else(|| wrong(text)));
        Ok(Self { holders: holders.collect::<Result<_, _>>()?, keys })
    }

    /// Reads public keys and puts them on the ring.
    pub(super) fn take(&mut self, paths: &[PathBuf], screen: &Screen<'_>) -> Result<Vec<KeyId>, Failure> {
        let mut keyids = Vec::new();
        for path in paths {
            let key = keys::read_public(&screen.env.path(path))?;
            let holder = self.holder_of(path)?;
            keyids.push(self.add(&key, holder)?);
        }
        keyids.sort();
        keyids.dedup();
        Ok(keyids)
    }

    /// The holder that was named for a key's file, or else the file's own name.
    fn holder_of(&self, path: &Path) -> Result<Name, Failure> {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = [".pub.pem", ".pem", ".pub"].iter().find_map(|end| file.strip_suffix(end));
        let stem = stem.unwrap_or(&file).to_string();
        if let Some(holder) = self.holders.get(&stem) {
            return Ok(holder.clone());
        }
        let wrong = |error: TextError| {
            Failure::usage(error.to_string())
                .hint(format!("name the person who holds the key: --holder {stem}=NAME"))
        };
        stem.parse().map_err(wrong)
    }

    fn add(&mut self, key: &PublicKey, holder: Name) -> Result<KeyId, Failure> {
        let entry = RootKey { scheme: key.scheme(), pem: key.pem().to_string(), holder };
        match self.keys.get(&key.id()) {
            Some(before) if before.holder != entry.holder => Err(Failure::usage(format!(
                "key {} is given for two holders, {} and {}",
                key.id(),
                before.holder,
                entry.holder
            ))),
            Some(before) if before.scheme != entry.scheme => Err(Failure::usage(format!(
                "key {} is given for two schemes, {} and {}",
                key.id(),
                before.scheme,
                entry.scheme
            ))
            .hint("a key has one scheme: give it as PEM or as an SSH line, not as both")),
            _ => {
                self.keys.insert(key.id(), entry);
                Ok(key.id())
            }
        }
    }

    /// Reads texts `N:PUB,PUB…`: each is a clause that has to be met, by N holders of these keys.
    pub(super) fn clauses(&mut self, texts: &[String], screen: &Screen<'_>) -> Result<Vec<Clause>, Failure> {
        let mut clauses = Vec::new();
        for text in texts {
            let parts = text.split_once(':').and_then(|(count, files)| Some((count.parse().ok()?, files)));
            let (threshold, files): (NonZeroU32, &str) = parts.ok_or_else(|| {
                Failure::usage(format!("clause `{}` is not N:PUB,PUB…", printable(text)))
                    .hint("for instance 2:keys/alice.pub.pem,keys/bob.pub.pem")
            })?;
            let paths: Vec<PathBuf> = files.split(',').map(PathBuf::from).collect();
            clauses.push(Clause { keyids: self.take(&paths, screen)?, threshold });
        }
        Ok(clauses)
    }

    /// A role of one clause over these keys; without a threshold all but one, and at least one.
    pub(super) fn role(keyids: Vec<KeyId>, threshold: Option<NonZeroU32>) -> Role {
        let all_but_one = u32::try_from(keyids.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let threshold = threshold.or(NonZeroU32::new(all_but_one)).unwrap_or(NonZeroU32::MIN);
        Role { clauses: vec![Clause { keyids, threshold }] }
    }
}
