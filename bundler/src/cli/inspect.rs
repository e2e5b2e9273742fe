//! `bundler inspect`: what an archive says of itself. It reads kilobytes of an archive of any size.

use std::path::PathBuf;

use clap::Args;
use edge::show::{bytes, delta_rows};
use edge::{Failure, Screen};
use layout::reader::BundleReader;
use manifests::bundle::BundleDigest;
use manifests::{ArchivePath, BundleManifest, Digest, Inventory, KeyId};
use serde::Serialize;

use super::lock::{companion_rows, row, rows};
use super::verify::BundleError;
use crate::parted::{self, Source};
use crate::patches::Archive;

pub(super) use crate::prepare::counts;

/// The arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The archive, or its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    archive: PathBuf,
    bytes: u64,
    bundle: BundleDigest,
    /// Never true here: `inspect` checks no signature.
    verified: bool,
    manifest: &'a BundleManifest,
    signatures: Vec<KeyId>,
    inventory: &'a Inventory,
}

/// An archive's documents, read and compared with each other. No signature is checked.
pub(super) struct Opened {
    pub(super) archive: PathBuf,
    pub(super) bytes: u64,
    pub(super) bundle: BundleDigest,
    pub(super) manifest: BundleManifest,
    pub(super) signatures: Vec<KeyId>,
    pub(super) inventory: Inventory,
    manifest_bytes: u64,
    source: Source,
}

impl Opened {
    /// Reads what comes before the blobs, of one archive or of all its discs.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let source = parted::open(paths)?;
        let archive = &source.path;
        let damaged = |source| BundleError::Read { path: archive.clone(), source };
        let mut reader = BundleReader::open(source.stream()?).map_err(damaged)?;
        let head = reader.head().clone();
        let manifest = BundleManifest::from_bytes(&head.manifest)
            .map_err(|source| BundleError::Manifest { path: archive.clone(), source })?;
        let (contents, _) = reader.contents(&manifest).map_err(damaged)?;
        Ok(Self {
            manifest_bytes: head.manifest.len() as u64,
            archive: archive.clone(),
            bytes: source.bytes,
            bundle: head.bundle_digest(),
            manifest,
            signatures: head.signatures.iter().map(|signature| signature.claimed).collect(),
            inventory: contents.inventory().clone(),
            source,
        })
    }

    /// The bundle, for whoever wants to read a blob of it.
    pub(super) fn archive_at_any_place(&self) -> Archive {
        Archive::of(self.manifest_bytes, &self.manifest, &self.inventory, self.source.clone())
    }
}

impl InspectArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let paths: Vec<PathBuf> = self.bundle.iter().map(|path| screen.env.path(path)).collect();
        let opened = Opened::read(&paths)?;
        let human = human(&opened);
        let Opened { archive, bytes, bundle, manifest, signatures, inventory, .. } = opened;
        let document = Document {
            archive,
            bytes,
            bundle,
            verified: false,
            manifest: &manifest,
            signatures,
            inventory: &inventory,
        };
        screen.result(&human, &document)
    }
}

fn human(opened: &Opened) -> String {
    let Opened { bytes: size, bundle, manifest, signatures, inventory, .. } = opened;
    let audience: Vec<String> = manifest.audience.iter().map(ToString::to_string).collect();
    let components: Vec<_> = inventory
        .components
        .iter()
        .flat_map(|component| {
            let size = |digest: &Digest| inventory.blob_size(digest).unwrap_or(0);
            std::iter::once(row(component, &size)).chain(companion_rows(component))
        })
        .collect();
    let signed: String =
        signatures.iter().map(|keyid| format!("signature  {keyid} (not checked)\n")).collect();
    let sbom = inventory.sbom.as_ref().map_or(String::new(), |sbom| {
        format!("sbom       CycloneDX, {}\n", ArchivePath::Blob(sbom.document.digest))
    });
    let conditions: String =
        inventory.conditions().iter().map(|(head, line)| format!("{head:<10} {line}\n")).collect();
    format!(
        "{}\n{} {} {} (order {})\nbundle     {bundle}\narchive    {}\naudience   {}\ncreated    {}\n{}{sbom}{conditions}{}holds      {}\n{}",
        manifest.marking,
        manifest.publisher,
        manifest.product,
        manifest.version,
        manifest.order,
        bytes(*size),
        audience.join(", "),
        manifest.created,
        if signed.is_empty() { "signature  none\n".to_string() } else { signed },
        delta_rows(inventory, 11),
        counts(&manifest.counts),
        rows(&components),
    )
}
