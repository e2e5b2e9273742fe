//! `bundler attest`: states where a bundle comes from, signed, in a file beside the archive.

use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Exit, Failure, Screen};
use layout::medium;
use layout::reader::BundleReader;
use manifests::bundle::BundleDigest;
use manifests::root::SIGNATURE_BYTES_MAX;
use manifests::{BundleManifest, Digest, KeyId};
use serde::Serialize;

use super::verify::BundleError;
use crate::attest::{self, Attestation, Prepared, Provenance};
use crate::keys;

/// The arguments of `attest`.
#[derive(Debug, Args)]
pub(super) struct AttestArgs {
    /// The archive
    bundle: PathBuf,
    /// A private key to sign with
    #[arg(long, required_unless_present_any = ["signature", "prepare"])]
    key: Vec<PathBuf>,
    /// A raw signature that was made elsewhere
    #[arg(long, requires = "public_key", conflicts_with = "key")]
    signature: Option<PathBuf>,
    /// The public key of that signature
    #[arg(long, requires = "signature")]
    public_key: Option<PathBuf>,
    /// Write the bytes to sign elsewhere, and how, into this directory; signs nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key", "signature", "public_key", "out"])]
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
        let default = attest::file_name(&subject.manifest, "provenance.dsse.json");
        let file = self.out.as_ref().map_or(archive.with_file_name(default), |out| screen.env.path(out));
        let manifest = &subject.manifest;
        screen.note(&format!(
            "signing the provenance of {} {} (order {}), {}",
            manifest.product, manifest.version, manifest.order, manifest.marking
        ));
        let mut attestation = Attestation::open(&file, &subject.provenance)?;
        let mut signatures = Vec::new();
        for path in &self.key {
            let secret = keys::read_secret(&screen.env.path(path))?;
            let keyid = secret.public().map_err(|error| Failure::usage(error.to_string()))?.id();
            signatures.push(Row { keyid, attached: attestation.sign(&secret)? });
        }
        if let (Some(signature), Some(public)) = (&self.signature, &self.public_key) {
            let path = screen.env.path(signature);
            let raw = layout::durable::read_bounded(&path, SIGNATURE_BYTES_MAX).map_err(|error| {
                Failure::new(Exit::Unreachable, format!("cannot read {}: {error}", path.display()))
            })?;
            let key = keys::read_public(&screen.env.path(public))?;
            signatures.push(Row { keyid: key.id(), attached: attestation.attach(&key, &raw)? });
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
    let mut reader = BundleReader::open(std::io::BufReader::new(file)).map_err(damaged)?;
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
