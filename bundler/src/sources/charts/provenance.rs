//! Helm's provenance files: an OpenPGP clear-signed text (RFC 9580, section 7) that names the digest of the
//! archive beside it.
//!
//! Here only that digest is read. Whether the signature holds is `helm verify`'s to say, so that what we take
//! is what Helm takes on site, with a keyring that somebody names and no other.

use std::collections::BTreeMap;
use std::path::Path;

use manifests::Digest;
use manifests::inventory::ChartSignature;
use manifests::text::{Fingerprint, printable};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::World;
use super::error::ChartError;
use discovery::helm::{Helm, HelmError};

/// Bounds a provenance file: `Chart.yaml`, a few digests and a signature.
pub const PROVENANCE_BYTES_MAX: u64 = 1024 * 1024;

/// As long as a line of the inventory may be.
const SIGNER_LENGTH_MAX: usize = 128;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// What a provenance file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    files: BTreeMap<String, String>,
}

/// Why a file is no provenance of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// Not a clear-signed text.
    #[error("it is not a clear-signed text: {0}")]
    Form(&'static str),
    /// The text says nothing of files.
    #[error("it names no files: {0}")]
    Files(String),
    /// It is for other archives.
    #[error("it does not name {file}; it names {}", .named.join(", "))]
    OtherFile {
        /// The archive.
        file: String,
        /// What it names, made printable.
        named: Vec<String>,
    },
    /// It is for other bytes.
    #[error("it states {stated} for {file}, which has {found}")]
    OtherDigest {
        /// The archive.
        file: String,
        /// What it states, made printable.
        stated: String,
        /// What the archive has.
        found: Digest,
    },
}

#[derive(Deserialize)]
struct Sums {
    files: BTreeMap<String, String>,
    #[serde(flatten)]
    _rest: BTreeMap<String, IgnoredAny>,
}

/// Whether bytes begin as a clear-signed text does: some servers answer with a page for whatever they lack.
#[must_use]
pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

impl Provenance {
    /// Reads a file, without looking at its signature.
    ///
    /// # Errors
    /// [`ProvenanceError::Form`] or [`ProvenanceError::Files`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProvenanceError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ProvenanceError::Form("it is not UTF-8"))?;
        let signed = signed_text(text)?;
        // Chart.yaml first, then the digests.
        let (_, sums) = signed
            .split_once("\n...\n")
            .ok_or_else(|| ProvenanceError::Files("its second part is missing".to_string()))?;
        let sums: Sums = edge::yaml::parse("its second part", sums)
            .map_err(|error| ProvenanceError::Files(error.to_string()))?;
        Ok(Self { files: sums.files })
    }

    /// Checks that it is about these bytes under this name.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, file: &str, found: Digest) -> Result<(), ProvenanceError> {
        let stated = self.files.get(file).ok_or_else(|| ProvenanceError::OtherFile {
            file: file.to_string(),
            named: self.files.keys().map(|name| printable(name)).collect(),
        })?;
        if *stated == found.to_string() {
            return Ok(());
        }
        Err(ProvenanceError::OtherDigest { file: file.to_string(), stated: printable(stated), found })
    }
}

/// What is signed: without the armour around it, and its dashes as they were.
fn signed_text(text: &str) -> Result<String, ProvenanceError> {
    let mut lines = text.trim_start().lines();
    if lines.next().map(str::trim_end) != Some(BEGIN) {
        return Err(ProvenanceError::Form("it does not begin as one"));
    }
    // Which hash was used; an empty line ends that.
    if !lines.by_ref().any(|line| line.trim_end().is_empty()) {
        return Err(ProvenanceError::Form("its head has no end"));
    }
    let mut signed = String::new();
    for line in lines.by_ref() {
        if line.trim_end() == SIGNATURE {
            let whole = lines.any(|line| line.trim_end() == END);
            return if whole { Ok(signed) } else { Err(ProvenanceError::Form("its signature has no end")) };
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => {
                return Err(ProvenanceError::Form("a line begins with a dash that is not escaped"));
            }
            None => line,
        };
        signed.push_str(line.trim_end_matches(['\r', ' ', '\t']));
        signed.push('\n');
    }
    Err(ProvenanceError::Form("it has no signature"))
}

/// A chart whose provenance must be signed by a key of a keyring.
pub(super) struct Claim<'a> {
    /// For messages.
    pub(super) chart: &'a str,
    /// `NAME-VERSION.tgz`: the name that the provenance has for it.
    pub(super) file: &'a str,
    /// Where its bytes are.
    pub(super) archive: &'a Path,
    /// The provenance file, if there is one.
    pub(super) provenance: Option<&'a [u8]>,
    /// As written.
    pub(super) keyring: &'a Path,
}

/// Asks `helm verify`, in an empty home.
///
/// # Errors
/// There is no provenance, it does not hold, or Helm cannot be asked.
pub(super) fn verify(claim: &Claim<'_>, world: &World<'_>) -> Result<ChartSignature, ChartError> {
    let (chart, keyring) = (claim.chart.to_string(), claim.keyring.to_path_buf());
    let Some(provenance) = claim.provenance else { return Err(ChartError::Unsigned { chart, keyring }) };
    let keys = world.env.path(&world.path(claim.keyring));
    std::fs::metadata(&keys).map_err(|source| ChartError::Read { path: keyring.clone(), source })?;
    let scratch = tempfile::tempdir().map_err(ChartError::Scratch)?;
    let archive = scratch.path().join(claim.file);
    let written = std::fs::copy(claim.archive, &archive)
        .and_then(|_| std::fs::write(scratch.path().join(format!("{}.prov", claim.file)), provenance));
    written.map_err(ChartError::Scratch)?;
    let helm = Helm::find(world.env).map_err(ChartError::Helm)?;
    let finished = helm
        .program(scratch.path())
        .args(["verify", "--keyring"])
        .arg(&keys)
        .arg(&archive)
        .run(&*world.env.clock)
        .map_err(|error| ChartError::Helm(HelmError::Run(error)))?;
    let words = if finished.succeeded() { &finished.stdout } else { &finished.stderr };
    let refused =
        |words: String| ChartError::Signature { chart: chart.clone(), keyring: keyring.clone(), words };
    if !finished.succeeded() {
        return Err(refused(finished.last_words()));
    }
    let said =
        |what: &str| words.lines().rev().find_map(|line| line.trim().strip_prefix(what)).map(str::trim);
    let fingerprint = said("Using Key With Fingerprint:").and_then(|text| text.parse::<Fingerprint>().ok());
    let fingerprint = fingerprint.ok_or_else(|| refused("helm names no key".to_string()))?;
    let signer = said("Signed by:").filter(|text| !text.is_empty()).unwrap_or("somebody without a name");
    // Every character of it is ASCII by now.
    let signer: String = printable(signer).replace('…', "...").chars().take(SIGNER_LENGTH_MAX).collect();
    let signer = signer.parse();
    let signer = signer.map_err(|_| refused("helm names no signer".to_string()))?;
    Ok(ChartSignature { fingerprint, signer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: &str) -> String {
        format!("{BEGIN}\nHash: SHA512\n\n{body}\n{SIGNATURE}\n\nwsBcBAEBCgAQ\n{END}\n")
    }

    fn honest(digest: &str) -> String {
        file(&format!("name: a\nversion: 1.0.0\n- --- x\n\n...\nfiles:\n  a-1.0.0.tgz: {digest}\n"))
    }

    #[test]
    fn the_digest_of_the_archive_is_read() {
        let digest = Digest::of(b"archive");
        let text = honest(&digest.to_string());
        assert!(looks_like_one(text.as_bytes()));
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let found = Provenance::parse(text.as_bytes()).unwrap();
            found.check("a-1.0.0.tgz", digest).unwrap();
            let other = found.check("a-1.0.0.tgz", Digest::of(b"x")).unwrap_err();
            assert!(matches!(other, ProvenanceError::OtherDigest { .. }));
            let other = found.check("b-1.0.0.tgz", digest).unwrap_err().to_string();
            assert!(other.contains("names a-1.0.0.tgz"), "{other}");
        }
    }

    #[test]
    fn what_is_no_provenance_is_refused() {
        let good = honest("sha256:00");
        for (what, text) in [
            ("nothing", String::new()),
            ("a page", "<html>\n".to_string()),
            ("no head", format!("{BEGIN}\nname: a")),
            ("no signature", good.split(SIGNATURE).next().unwrap().to_string()),
            ("a cut", good.replace(END, "")),
            ("no sums", file("name: a\n")),
            ("sums of another shape", file("a: b\n\n...\nfiles: 3\n")),
            ("a dash", file("-x\n\n...\nfiles: {}\n")),
            ("twice", file("a: b\n\n...\nfiles:\n  a: b\n  a: c\n")),
        ] {
            assert!(Provenance::parse(text.as_bytes()).is_err(), "{what}");
        }
        assert!(!looks_like_one(b"<html>"));
    }
}
