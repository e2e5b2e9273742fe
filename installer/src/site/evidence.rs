//! The signed originals of each admitted bundle, kept so that everything can be checked again in three
//! years: `bundle.json`, its signatures, `SHA256SUMS` and `inventory.json`.

use std::io;
use std::path::PathBuf;

use layout::durable;
use layout::reader::{Documents, Head};
use layout::signed_file;
use manifests::bundle::{BundleDigest, MANIFEST_BYTES_MAX};
use manifests::inventory::INVENTORY_BYTES_MAX;
use manifests::root::FoundSignature;
use manifests::{BundleManifest, Digest, Inventory};

use super::{Site, SiteError};

/// The originals as they lie there; nothing is checked but their sizes.
#[derive(Debug)]
pub struct Originals {
    /// `bundle.json`
    pub manifest: Vec<u8>,
    /// Its signatures.
    pub signatures: Vec<FoundSignature>,
    /// `SHA256SUMS`
    pub checksums: Vec<u8>,
    /// `inventory.json`
    pub inventory: Vec<u8>,
}

impl Site {
    /// Where a bundle's originals are.
    #[must_use]
    pub fn evidence_dir(&self, bundle: BundleDigest) -> PathBuf {
        self.dir().join("store/bundles").join(bundle.0.hex())
    }

    /// Keeps a bundle's originals.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn keep_evidence(&self, head: &Head, documents: &Documents) -> Result<(), SiteError> {
        let place = self.evidence_dir(head.bundle_digest());
        let failed = |source| SiteError::Io { doing: "cannot write", path: place.clone(), source };
        let write = || -> io::Result<()> {
            durable::make_directory(&place.join("signatures"))?;
            for signature in &head.signatures {
                durable::replace(
                    &place.join(format!("signatures/{}.sig", signature.claimed)),
                    &signature.bytes,
                    0o644,
                )?;
            }
            durable::replace(&place.join("SHA256SUMS"), &documents.checksums, 0o644)?;
            durable::replace(&place.join("inventory.json"), &documents.inventory, 0o644)?;
            // Last: a directory with a manifest is complete.
            durable::replace(&place.join("bundle.json"), &head.manifest, 0o644)
        };
        write().map_err(failed)
    }

    /// Reads a bundle's originals, for judging them once more.
    ///
    /// # Errors
    /// They are not there, or over their limits.
    pub fn originals(&self, bundle: BundleDigest) -> Result<Originals, SiteError> {
        let place = self.evidence_dir(bundle);
        let read = |name: &str, limit: u64| {
            let path = place.join(name);
            durable::read_bounded(&path, limit).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => SiteError::Tampered { path, reason: "it is gone".to_string() },
                _ => SiteError::Io { doing: "cannot read", path, source },
            })
        };
        Ok(Originals {
            manifest: read("bundle.json", MANIFEST_BYTES_MAX)?,
            signatures: signed_file::read_signatures(&place.join("signatures"))?,
            checksums: read("SHA256SUMS", INVENTORY_BYTES_MAX)?,
            inventory: read("inventory.json", INVENTORY_BYTES_MAX)?,
        })
    }

    /// Reads a bundle's originals, and checks them against its digest again.
    ///
    /// # Errors
    /// They are not there, or not what was admitted.
    pub fn evidence(&self, bundle: BundleDigest) -> Result<(BundleManifest, Inventory), SiteError> {
        let place = self.evidence_dir(bundle);
        let read = |name: &str, limit: u64, expected: Digest| {
            let path = place.join(name);
            let bytes = durable::read_bounded(&path, limit).map_err(|source| SiteError::Io {
                doing: "cannot read",
                path: path.clone(),
                source,
            })?;
            if Digest::of(&bytes) == expected {
                Ok(bytes)
            } else {
                Err(SiteError::Tampered { path, reason: format!("its digest is not {expected}") })
            }
        };
        let tampered = |reason: String| SiteError::Tampered { path: place.clone(), reason };
        let manifest = read("bundle.json", MANIFEST_BYTES_MAX, bundle.0)?;
        let manifest = BundleManifest::from_bytes(&manifest).map_err(|error| tampered(error.to_string()))?;
        let inventory = read("inventory.json", INVENTORY_BYTES_MAX, manifest.inventory.digest)?;
        let inventory = Inventory::from_bytes(&inventory).map_err(|error| tampered(error.to_string()))?;
        Ok((manifest, inventory))
    }
}
