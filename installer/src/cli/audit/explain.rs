//! `installer audit explain`: the commands to recheck a bundle without this program.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, Digest};
use serde::Serialize;

use crate::admit;
use crate::discs::{self, Given};
use crate::explain::{self, Check};
use crate::site::Site;

/// The arguments of `audit explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The bundle: an archive, or directories of all its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    bundle: BundleDigest,
    fingerprint: Digest,
    root_version: u64,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
    checks: Vec<Check>,
    script: String,
}

impl ExplainArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let given = crate::cli::verify::given(&self.bundle, screen)?;
        let trust = crate::cli::judged(site, screen.env)?.trust;
        let (signed, files) = match given {
            Given::Archive(path) => (admit::authenticate(&trust, &path)?, vec![path]),
            Given::Discs(places) => discs::authenticate(&trust, &places)?,
        };
        let root = trust.root();
        let script = explain::script(root, &signed, &files);
        let document = Document {
            bundle: signed.digest(),
            fingerprint: root.fingerprint(),
            root_version: root.document().version,
            signatures: signed.signatures(),
            manifest: signed.manifest(),
            checks: explain::checks(root, &signed, &files),
            script: script.clone(),
        };
        screen.result(&script, &document)
    }
}
