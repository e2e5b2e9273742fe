//! `bundler trust rotate`: the root that follows.
//!
//! It needs the signatures of the old root's root role and of its own; a site takes no other. A site that
//! missed some versions takes them one after the other, so every root is kept and goes along.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::root::{Clause, Role, RootDocument};
use manifests::text::printable;
use manifests::{KeyId, Timestamp, TrustRoot};

use super::keyring::Keyring;
use super::{MakerArgs, Subject, broken, read_root};
use crate::keys;

/// The arguments of `trust rotate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The root that is to be followed
    root: PathBuf,
    /// A public key that may sign bundles from now on
    #[arg(long, value_name = "PUB", conflicts_with = "release_clause")]
    add_release_key: Vec<PathBuf>,
    /// A public key that may sign trust roots from now on
    #[arg(long, value_name = "PUB")]
    add_root_key: Vec<PathBuf>,
    /// A public key that may sign revocations from now on
    #[arg(long, value_name = "PUB")]
    add_revocation_key: Vec<PathBuf>,
    /// A key that may do nothing any more: its public key, or its id
    #[arg(long, value_name = "PUB|KEYID")]
    remove_key: Vec<PathBuf>,
    /// In place of all conditions for bundles: N different holders of these keys, for each of these
    #[arg(long, value_name = "N:PUB,PUB…", conflicts_with = "threshold")]
    release_clause: Vec<String>,
    /// How many different holders must sign a bundle from now on
    #[arg(long, value_name = "N")]
    threshold: Option<NonZeroU32>,
    /// How many different holders must sign a root from now on
    #[arg(long, value_name = "N")]
    root_threshold: Option<NonZeroU32>,
    /// How many different holders must sign revocations from now on
    #[arg(long, value_name = "N")]
    revocation_threshold: Option<NonZeroU32>,
    /// Start a new epoch: every bundle of the old one is refused, whatever its sequence, and sequences and
    /// revocations start anew. After the theft of a release key, and when a sequence was set too high
    #[arg(long)]
    new_epoch: bool,
    /// The person who holds a new key, by the name of its file
    #[arg(long, value_name = "KEYNAME=HOLDER")]
    holder: Vec<String>,
    /// When the new root should have been replaced
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    #[command(flatten)]
    maker: MakerArgs,
}

impl RotateArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let before = read_root(&screen.env.path(&self.root))?;
        let document = self.document(&before, screen)?;
        let bytes = document.to_bytes().map_err(|error| {
            broken(&error).hint("a threshold needs as many holders: see --threshold and --root-threshold")
        })?;
        super::warn(&document, screen);
        self.maker.finish(bytes, &Subject::Root(Box::new(document)), Some(&before), screen)
    }

    fn document(&self, before: &TrustRoot, screen: &Screen<'_>) -> Result<RootDocument, Failure> {
        let mut next = before.document().clone();
        let mut ring = Keyring::with(next.keys, &self.holder)?;
        let removed = self.removed(&ring, screen)?;
        let roles = &mut next.roles;
        for role in [Some(&mut roles.root), Some(&mut roles.release), roles.revocation.as_mut()] {
            for clause in role.into_iter().flat_map(|role| &mut role.clauses) {
                clause.keyids.retain(|keyid| !removed.contains(keyid));
            }
        }
        let (root, release) =
            (ring.take(&self.add_root_key, screen)?, ring.take(&self.add_release_key, screen)?);
        edit(&mut roles.root, "root", root, self.root_threshold)?;
        edit(&mut roles.release, "release", release, self.threshold)?;
        if !self.release_clause.is_empty() {
            roles.release = Role { clauses: ring.clauses(&self.release_clause, screen)? };
        }
        let revocation = ring.take(&self.add_revocation_key, screen)?;
        match &mut roles.revocation {
            Some(role) => edit(role, "revocation", revocation, self.revocation_threshold)?,
            none if !revocation.is_empty() => {
                let threshold = self.revocation_threshold.unwrap_or(NonZeroU32::MIN);
                *none = Some(Keyring::role(revocation, Some(threshold)));
            }
            _ => {}
        }
        next.keys = ring.keys;
        let used = used_keys(&next);
        next.keys.retain(|keyid, _| used.contains(keyid));
        next.previous = Some(before.fingerprint());
        next.version = before.document().version.saturating_add(1);
        next.epoch = before.document().epoch.saturating_add(u64::from(self.new_epoch));
        next.created = crate::cli::created(screen.env)?;
        next.expires = self.expires;
        Ok(next)
    }

    fn removed(&self, ring: &Keyring, screen: &Screen<'_>) -> Result<BTreeSet<KeyId>, Failure> {
        let mut removed = BTreeSet::new();
        for given in &self.remove_key {
            let keyid = key_or_id(given, screen)?;
            if !ring.keys.contains_key(&keyid) {
                return Err(Failure::usage(format!("the root has no key {keyid} to remove")));
            }
            removed.insert(keyid);
        }
        Ok(removed)
    }
}

/// A key id as it is typed, or the file of the public key.
pub(super) fn key_or_id(given: &std::path::Path, screen: &Screen<'_>) -> Result<KeyId, Failure> {
    match given.to_str().and_then(|text| text.parse().ok()) {
        Some(keyid) => Ok(keyid),
        None => Ok(keys::read_public(&screen.env.path(given))?.id()),
    }
}

/// Adds keys to a role and sets its threshold, which is only clear if it has one clause.
fn edit(
    role: &mut Role,
    name: &str,
    added: Vec<KeyId>,
    threshold: Option<NonZeroU32>,
) -> Result<(), Failure> {
    if added.is_empty() && threshold.is_none() {
        return Ok(());
    }
    let [Clause { keyids, threshold: old }] = role.clauses.as_mut_slice() else {
        return Err(Failure::usage(printable(&format!(
            "the {name} role has several clauses: say all of them anew with --{name}-clause"
        ))));
    };
    keyids.extend(added);
    keyids.sort();
    keyids.dedup();
    *old = threshold.unwrap_or(*old);
    Ok(())
}

fn used_keys(root: &RootDocument) -> BTreeSet<KeyId> {
    let roles = [Some(&root.roles.root), Some(&root.roles.release), root.roles.revocation.as_ref()];
    let clauses = roles.into_iter().flatten().flat_map(|role| &role.clauses);
    clauses.flat_map(|clause| clause.keyids.iter().copied()).collect()
}
