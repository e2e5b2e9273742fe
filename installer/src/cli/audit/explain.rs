//! `installer audit explain`: the commands to recheck a bundle without this program.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, Digest};
use serde::Serialize;

use crate::admit;
use crate::explain::{self, Check};
use crate::site::Site;

/// The arguments of `audit explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The bundle
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
        let path = crate::cli::verify::only_one(&self.bundle, screen)?;
        let trust = crate::cli::judged(site, screen.env)?.trust;
        let signed = admit::authenticate(&trust, &path)?;
        let root = trust.root();
        let script = explain::script(root, &signed, &path);
        let document = Document {
            bundle: signed.digest(),
            fingerprint: root.fingerprint(),
            root_version: root.document().version,
            signatures: signed.signatures(),
            manifest: signed.manifest(),
            checks: explain::checks(root, &signed, &path),
            script: script.clone(),
        };
        screen.result(&script, &document)
    }
}
