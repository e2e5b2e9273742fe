//! `bundler attest`: states where a bundle comes from, signed, in a file beside the archive.

use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Failure, Screen};
use layout::medium;
use layout::reader::BundleReader;
use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest, KeyId};
use serde::Serialize;

use super::signers::SignerArgs;
use super::verify::BundleError;
use crate::attest::{self, Attestation, Prepared, Provenance};

/// The arguments of `attest`.
#[derive(Debug, Args)]
pub(super) struct AttestArgs {
    /// The archive
    bundle: PathBuf,
    #[command(flatten)]
    signers: SignerArgs,
    /// Write the bytes to sign elsewhere, and how, into this directory; signs nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key", "signature", "out"])]
    prepare: Option<PathBuf>,
    /// The file; by default PRODUCT-VERSION.provenance.dsse.json beside the archive. One that is there gets
    /// the signature added
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the archive says of itself.
struct Subject {
    bundle: BundleDigest,
    manifest: BundleManifest,
    provenance: Provenance,
}

#[derive(Serialize)]
struct Document {
    archive: PathBuf,
    bundle: BundleDigest,
    file: PathBuf,
    statement: Digest,
    signatures: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    keyid: KeyId,
    attached: bool,
}

#[derive(Serialize)]
struct PreparedDocument {
    archive: PathBuf,
    bundle: BundleDigest,
    #[serde(flatten)]
    prepared: Prepared,
}

impl AttestArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let archive = screen.env.path(&self.bundle);
        let subject = read(&archive)?;
        match &self.prepare {
            Some(dir) => prepare(screen, archive, &subject, dir),
            None => self.sign(screen, archive, &subject),
        }
    }

    fn sign(self, screen: &mut Screen<'_>, archive: PathBuf, subject: &Subject) -> Result<(), Failure> {
        let signers = self.signers.signers(screen.env)?;
        let default = attest::file_name(&subject.manifest, "provenance.dsse.json");
        let file = self.out.as_ref().map_or(archive.with_file_name(default), |out| screen.env.path(out));
        let manifest = &subject.manifest;
        screen.note(&format!(
            "signing the provenance of {} {} (order {}), {}",
            manifest.product, manifest.version, manifest.order, manifest.marking
        ));
        let mut attestation = Attestation::open(&file, &subject.provenance)?;
        let mut signatures = Vec::new();
        for made in signers.sign(&subject.provenance.signed_bytes(), &mut *screen.env.terminal)? {
            let attached = attestation.attach(&made.key, &made.bytes)?;
            signatures.push(Row { keyid: made.key.id(), attached });
        }
        let (bundle, statement) = (subject.bundle, Digest::of(subject.provenance.statement()));
        let line = |row: &Row| {
            format!("{}  {}\n", row.keyid, if row.attached { "signed" } else { "had signed already" })
        };
        let human = format!(
            "provenance  {}\nbundle      {bundle}\nstatement   {statement}\n{}",
            file.display(),
            signatures.iter().map(line).collect::<String>()
        );
        screen.result(&human, &Document { archive, bundle, file, statement, signatures })
    }
}

/// Reads what comes before the blobs: their digests are what a statement needs.
fn read(archive: &Path) -> Result<Subject, Failure> {
    let (file, _) = medium::open(archive).map_err(BundleError::Medium)?;
    let damaged = |source| BundleError::Read { path: archive.to_path_buf(), source };
    let mut reader = BundleReader::open(file).map_err(damaged)?;
    let bundle = reader.head().bundle_digest();
    let manifest = BundleManifest::from_bytes(&reader.head().manifest)
        .map_err(|source| BundleError::Manifest { path: archive.to_path_buf(), source })?;
    let (contents, _) = reader.contents(&manifest).map_err(damaged)?;
    let provenance = Provenance::of(bundle, &manifest, contents.inventory())?;
    Ok(Subject { bundle, manifest, provenance })
}

fn prepare(screen: &mut Screen<'_>, archive: PathBuf, subject: &Subject, dir: &Path) -> Result<(), Failure> {
    let dir = screen.env.path(dir);
    let prepared = attest::prepare(&dir, subject.bundle, &subject.manifest, &subject.provenance)?;
    let human = format!(
        "bundle   {}\nto sign  {}\nSHA-256  {}\nhow      {}\n",
        subject.bundle,
        prepared.to_sign.display(),
        prepared.digest.hex(),
        prepared.instructions.display()
    );
    screen.result(&human, &PreparedDocument { archive, bundle: subject.bundle, prepared })
}
