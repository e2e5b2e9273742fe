//! `bundler inspect`: what an archive says of itself. It reads kilobytes of an archive of any size.

use std::path::PathBuf;

use clap::Args;
use edge::show::bytes;
use edge::{Failure, Screen};
use layout::reader::BundleReader;
use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest, Inventory, KeyId};
use serde::Serialize;

use super::lock::{companion_rows, row, rows};
use super::verify::BundleError;
use crate::parted;

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

impl InspectArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let paths: Vec<PathBuf> = self.bundle.iter().map(|path| screen.env.path(path)).collect();
        let source = parted::open(&paths)?;
        let (archive, size) = (source.path.clone(), source.bytes);
        let damaged = |source| BundleError::Read { path: archive.clone(), source };
        let mut reader = BundleReader::open(std::io::BufReader::new(source.stream()?)).map_err(damaged)?;
        let head = reader.head().clone();
        let manifest = BundleManifest::from_bytes(&head.manifest)
            .map_err(|source| BundleError::Manifest { path: archive.clone(), source })?;
        let (contents, _) = reader.contents(&manifest).map_err(damaged)?;
        let inventory = contents.inventory();
        let signatures: Vec<KeyId> = head.signatures.iter().map(|signature| signature.claimed).collect();
        let human = human(&manifest, head.bundle_digest(), size, &signatures, inventory);
        let bundle = head.bundle_digest();
        let document = Document {
            archive,
            bytes: size,
            bundle,
            verified: false,
            manifest: &manifest,
            signatures,
            inventory,
        };
        screen.result(&human, &document)
    }
}

fn human(
    manifest: &BundleManifest,
    digest: BundleDigest,
    size: u64,
    signatures: &[KeyId],
    inventory: &Inventory,
) -> String {
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
    format!(
        "{}\n{} {} {} (order {})\nbundle     {digest}\narchive    {}\naudience   {}\ncreated    {}\n{}holds      {}\n{}",
        manifest.marking,
        manifest.publisher,
        manifest.product,
        manifest.version,
        manifest.order,
        bytes(size),
        audience.join(", "),
        manifest.created,
        if signed.is_empty() { "signature  none\n".to_string() } else { signed },
        counts(&manifest.counts),
        rows(&components),
    )
}
