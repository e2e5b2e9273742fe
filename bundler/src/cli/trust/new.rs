//! `bundler trust new`

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::Timestamp;
use manifests::root::{Role, Roles, RootDocument, RootSchema};
use manifests::text::Name;

use super::keyring::Keyring;
use super::{MakerArgs, Subject, broken};

/// The arguments of `trust new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// Whose bundles the root judges
    #[arg(long)]
    publisher: Name,
    /// A public key that may sign bundles
    #[arg(long, required_unless_present = "release_clause", value_name = "PUB")]
    release_key: Vec<PathBuf>,
    /// How many different holders must sign a bundle
    #[arg(long, default_value = "1", value_name = "N")]
    threshold: NonZeroU32,
    /// One more condition for bundles: N different holders of these keys, beside the others
    #[arg(long, value_name = "N:PUB,PUB…")]
    release_clause: Vec<String>,
    /// A public key that may sign trust roots
    #[arg(long, required = true, value_name = "PUB")]
    root_key: Vec<PathBuf>,
    /// How many different holders must sign a root; by default all but one, and at least one
    #[arg(long, value_name = "N")]
    root_threshold: Option<NonZeroU32>,
    /// A public key that may sign revocations; without one the root keys do
    #[arg(long, value_name = "PUB")]
    revocation_key: Vec<PathBuf>,
    /// How many different holders must sign revocations
    #[arg(long, default_value = "1", value_name = "N")]
    revocation_threshold: NonZeroU32,
    /// The person who holds a key, by the name of its file: two keys of one holder count once
    #[arg(long, value_name = "KEYNAME=HOLDER")]
    holder: Vec<String>,
    /// When the root should have been replaced; sites warn from then on
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    #[command(flatten)]
    maker: MakerArgs,
}

impl NewArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let document = self.document(screen)?;
        let bytes = document.to_bytes().map_err(|error| broken(&error))?;
        super::warn(&document, screen);
        self.maker.finish(bytes, &Subject::Root(Box::new(document)), None, screen)
    }

    fn document(&self, screen: &Screen<'_>) -> Result<RootDocument, Failure> {
        let mut ring = Keyring::with(BTreeMap::new(), &self.holder)?;
        let root = Keyring::role(ring.take(&self.root_key, screen)?, self.root_threshold);
        let mut release = Role { clauses: Vec::new() };
        if !self.release_key.is_empty() {
            release = Keyring::role(ring.take(&self.release_key, screen)?, Some(self.threshold));
        }
        release.clauses.extend(ring.clauses(&self.release_clause, screen)?);
        let revocation = match self.revocation_key.as_slice() {
            [] => None,
            paths => Some(Keyring::role(ring.take(paths, screen)?, Some(self.revocation_threshold))),
        };
        Ok(RootDocument {
            schema: RootSchema::V1,
            version: 1,
            epoch: 1,
            publisher: self.publisher.clone(),
            created: crate::cli::created(screen.env)?,
            expires: self.expires,
            keys: ring.keys,
            roles: Roles { root, release, revocation },
            previous: None,
        })
    }
}
