//! The names an archive may hold. Not a path type: a closed list, because whatever we would not have
//! written is refused.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::digest::Digest;
use crate::key::KeyId;

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchivePath {
    /// `bundle.json`: the signed bytes.
    Manifest,
    /// `signatures/<keyid>.sig`: one raw signature.
    Signature(KeyId),
    /// `signatures/<keyid>.sigstore.json`: what follows from that signature, for Sigstore's tools.
    Sigstore(KeyId),
    /// `signatures/.reserved`: zeros that later signatures take the place of.
    Reserved,
    /// `SHA256SUMS`
    Checksums,
    /// `inventory.json`
    Inventory,
    /// `oci-layout`
    OciLayout,
    /// `index.json`
    OciIndex,
    /// `manifest.json`: the list that `docker load` reads.
    DockerManifest,
    /// `blobs/sha256/<hex>`
    Blob(Digest),
}

/// A name that no archive of ours holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a name that a bundle may hold")]
pub struct ArchivePathError {
    /// The name, made printable.
    shown: String,
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("bundle.json"),
            Self::Signature(keyid) => write!(f, "signatures/{keyid}.sig"),
            Self::Sigstore(keyid) => write!(f, "signatures/{keyid}.sigstore.json"),
            Self::Reserved => f.write_str("signatures/.reserved"),
            Self::Checksums => f.write_str("SHA256SUMS"),
            Self::Inventory => f.write_str("inventory.json"),
            Self::OciLayout => f.write_str("oci-layout"),
            Self::OciIndex => f.write_str("index.json"),
            Self::DockerManifest => f.write_str("manifest.json"),
            Self::Blob(digest) => write!(f, "blobs/sha256/{}", digest.hex()),
        }
    }
}

impl FromStr for ArchivePath {
    type Err = ArchivePathError;
    fn from_str(text: &str) -> Result<Self, ArchivePathError> {
        let unknown = || ArchivePathError { shown: crate::text::printable(text) };
        let path = match text {
            "bundle.json" => Self::Manifest,
            "signatures/.reserved" => Self::Reserved,
            "SHA256SUMS" => Self::Checksums,
            "inventory.json" => Self::Inventory,
            "oci-layout" => Self::OciLayout,
            "index.json" => Self::OciIndex,
            "manifest.json" => Self::DockerManifest,
            _ => match (text.strip_prefix("signatures/"), text.strip_prefix("blobs/sha256/")) {
                (Some(name), _) => {
                    let (hex, kind) = name.split_once('.').ok_or_else(unknown)?;
                    let keyid = hex.parse().map_err(|_| unknown())?;
                    match kind {
                        "sig" => Self::Signature(keyid),
                        "sigstore.json" => Self::Sigstore(keyid),
                        _ => return Err(unknown()),
                    }
                }
                (_, Some(hex)) => Self::Blob(Digest::from_hex(hex).map_err(|_| unknown())?),
                _ => return Err(unknown()),
            },
        };
        debug_assert_eq!(format!("{path}"), text);
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_names_that_we_write() {
        let hex = Digest::of(b"x").hex();
        for good in [
            "bundle.json",
            "SHA256SUMS",
            "signatures/.reserved",
            &format!("signatures/{hex}.sig"),
            &format!("signatures/{hex}.sigstore.json"),
            &format!("blobs/sha256/{hex}"),
        ] {
            assert_eq!(format!("{}", good.parse::<ArchivePath>().unwrap()), good);
        }
        for bad in [
            "",
            "./bundle.json",
            "/bundle.json",
            "BUNDLE.JSON",
            "../evil",
            "signatures/../bundle.json",
            "signatures/alice.sig",
            "signatures/alice.sigstore.json",
            &format!("signatures/{hex}"),
            &format!("signatures/{hex}.json"),
            &format!("signatures/{hex}.sig.sigstore.json"),
            &format!("signatures/{hex}.sigstore.json.sig"),
            "blobs/sha256/",
            "blobs/sha256/../../x",
            "blobs/sha512/aa",
            &format!("blobs/sha256/{}", hex.to_uppercase()),
            &format!("blobs/sha256/{hex}/"),
        ] {
            assert!(bad.parse::<ArchivePath>().is_err(), "accepted {bad:?}");
        }
    }
}
