//! `bundler sign`

use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Failure, Screen};
use manifests::bundle::{BundleDigest, Counts, Sequence};
use manifests::{BundleManifest, Digest, KeyId, Scheme};
use serde::Serialize;

use super::signers::SignerArgs;
use crate::prepare;
use crate::recovery::{self, Written};
use crate::sign::{Candidate, Signed};

/// The arguments of `sign`.
#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The archive
    bundle: PathBuf,
    #[command(flatten)]
    signers: SignerArgs,
    /// Sign nothing: write what a signer elsewhere needs into this new directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key", "signature"])]
    prepare: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    archive: PathBuf,
    bundle: BundleDigest,
    signatures: Vec<Row>,
    /// Made anew, if there was some beside the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery: Vec<Written>,
}

#[derive(Serialize)]
struct Row {
    keyid: KeyId,
    scheme: Scheme,
    attached: bool,
}

#[derive(Serialize)]
struct PreparedDocument {
    archive: PathBuf,
    archive_bytes: u64,
    bundle: BundleDigest,
    product: String,
    version: String,
    order: Sequence,
    audience: Vec<String>,
    marking: String,
    counts: Counts,
    directory: PathBuf,
    files: Vec<PathBuf>,
}

impl SignArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let archive = screen.env.path(&self.bundle);
        if matches!(layout::disc::look(&archive), Ok(layout::disc::Named::Discs(_))) {
            return Err(Failure::usage("discs are not signed: each carries every signature of the bundle")
                .hint("join them (`cat` of the parts is the archive), sign that, and split it again"));
        }
        if let Some(directory) = &self.prepare {
            return prepared(archive, &screen.env.path(directory), screen);
        }
        let signers = self.signers.signers(screen.env)?;
        let mut candidate = Candidate::open(&archive)?;
        screen.note(&format!("signing {}", title(&candidate.manifest)));
        let made = signers.sign(candidate.bytes(), &mut *screen.env.terminal)?;
        let mut signatures = Vec::new();
        for signature in &made {
            let attached = candidate.attach(&signature.key, &signature.bytes)? == Signed::Attached;
            let (keyid, scheme) = (signature.key.id(), signature.key.scheme());
            signatures.push(Row { keyid, scheme, attached });
        }
        let bundle = BundleDigest(Digest::of(candidate.bytes()));
        let recovery = renewed(&archive, bundle, &signatures, screen)?;
        let line = |row: &Row| {
            format!("{}  {}\n", row.keyid, if row.attached { "signed" } else { "had signed already" })
        };
        let human = format!("bundle {bundle}\n{}", signatures.iter().map(line).collect::<String>());
        let human = format!("{human}{}", recovery.iter().map(recovery::row).collect::<String>());
        screen.result(&human, &Document { archive, bundle, signatures, recovery })
    }
}

/// Recovery data is of the archive with its signatures.
fn renewed(
    archive: &Path,
    bundle: BundleDigest,
    signatures: &[Row],
    screen: &Screen<'_>,
) -> Result<Vec<Written>, Failure> {
    if !signatures.iter().any(|row| row.attached) {
        return Ok(Vec::new());
    }
    let interrupted = super::interruption()?;
    let length = std::fs::metadata(archive).map_or(0, |metadata| metadata.len());
    let mut bar = screen.progress().begin("recovery", length);
    Ok(recovery::renew(archive, bundle, &mut *bar, &interrupted)?)
}

/// One line on what is signed.
fn title(manifest: &BundleManifest) -> String {
    format!(
        "{} {} (order {}), {}: {}",
        manifest.product,
        manifest.version,
        manifest.order,
        manifest.marking,
        super::inspect::counts(&manifest.counts)
    )
}

fn prepared(archive: PathBuf, directory: &Path, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let done = prepare::prepare(&archive, directory)?;
    let manifest = &done.manifest;
    let document = PreparedDocument {
        archive,
        archive_bytes: done.archive_bytes,
        bundle: done.bundle,
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        order: manifest.order,
        audience: manifest.audience.iter().map(ToString::to_string).collect(),
        marking: manifest.marking.to_string(),
        counts: manifest.counts,
        directory: directory.to_path_buf(),
        files: done.files,
    };
    let human = format!(
        "{}\n{}\nbundle     {}\ndirectory  {}\n\nTake the directory to the signer; {} in it says how to sign. Nothing was signed.\n",
        manifest.marking,
        title(manifest),
        document.bundle,
        directory.display(),
        prepare::NOTE,
    );
    screen.result(&human, &document)
}
