//! What a signer takes to another machine: the very bytes to sign, what they stand for, and how to sign them.
//!
//! The archive is only read. Nothing of it but its first kilobytes is looked at.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use edge::show::bytes;
use layout::medium;
use layout::reader::BundleReader;
use manifests::bundle::{BundleDigest, Counts};
use manifests::text::printable;
use manifests::{BundleManifest, Digest, Scheme};

use crate::ceremony;
use crate::sign::SignError;

/// The file for people.
pub const NOTE: &str = "SIGN.txt";

/// What was written.
pub struct Prepared {
    /// The document that will be signed.
    pub manifest: BundleManifest,
    /// Its digest.
    pub bundle: BundleDigest,
    /// The length of the archive in bytes.
    pub archive_bytes: u64,
    /// The files, in the directory.
    pub files: Vec<PathBuf>,
}

/// Writes what a signer needs into a new directory.
///
/// # Errors
/// The archive is damaged, or the directory is there already or cannot be written to.
pub fn prepare(archive: &Path, directory: &Path) -> Result<Prepared, SignError> {
    let (file, archive_bytes) = medium::open(archive)?;
    let damaged = |source| SignError::Read { path: archive.to_path_buf(), source };
    let mut reader = BundleReader::open(file).map_err(damaged)?;
    let signed = reader.head().manifest.clone();
    let manifest = BundleManifest::from_bytes(&signed)
        .map_err(|source| SignError::Manifest { path: archive.to_path_buf(), source })?;
    let (_, documents) = reader.contents(&manifest).map_err(damaged)?;
    let bundle = BundleDigest(Digest::of(&signed));
    let note = note(archive, &manifest, bundle, archive_bytes);

    DirBuilder::new()
        .mode(0o755)
        .create(directory)
        .map_err(|source| SignError::Prepare { path: directory.to_path_buf(), source })?;
    let mut files = Vec::new();
    // The note last: who finds it finds everything.
    for (name, content) in [
        ("bundle.json", signed.as_slice()),
        ("SHA256SUMS", &documents.checksums),
        ("inventory.json", &documents.inventory),
        (NOTE, note.as_bytes()),
    ] {
        let path = directory.join(name);
        write(&path, content).map_err(|source| SignError::Prepare { path: path.clone(), source })?;
        files.push(path);
    }
    layout::durable::flush_directory(directory)
        .map_err(|source| SignError::Prepare { path: directory.to_path_buf(), source })?;
    Ok(Prepared { manifest, bundle, archive_bytes, files })
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// How much a bundle holds, in words: `2 images, 1 chart, 14 blobs (35.1 MiB)`.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let kinds = [
        (counts.images, "image", "images"),
        (counts.wheelhouses, "wheelhouse", "wheelhouses"),
        (counts.charts, "chart", "charts"),
        (counts.file_sets, "file set", "file sets"),
        (counts.kubernetes_manifests, "set of Kubernetes manifests", "sets of Kubernetes manifests"),
        (counts.scripts, "script", "scripts"),
    ];
    let some = kinds.iter().filter(|(count, _, _)| *count > 0);
    let mut text: String =
        some.map(|(n, one, many)| format!("{n} {}, ", if *n == 1 { one } else { many })).collect();
    text.push_str(&format!("{} blobs ({})", counts.blobs, bytes(counts.blob_bytes)));
    if counts.left_out > 0 {
        text.push_str(&format!(
            ", of which {} ({}) are left out",
            counts.left_out,
            bytes(counts.left_out_bytes)
        ));
    }
    if counts.patched > 0 {
        let (patched, patches) = (bytes(counts.patched_bytes), bytes(counts.patch_bytes));
        text.push_str(&format!(", and {} ({patched}) come as patches ({patches})", counts.patched));
    }
    text
}

/// A digest as people compare it: `ab4a1b83 2096c79d …`, four groups in a line.
fn groups(digest: Digest) -> String {
    let hex = digest.hex();
    let mut text = String::new();
    for (index, character) in hex.chars().enumerate() {
        match index {
            0 => {}
            32 => text.push_str("\n            "),
            index if index % 8 == 0 => text.push(' '),
            _ => {}
        }
        text.push(character);
    }
    text
}

fn note(archive: &Path, manifest: &BundleManifest, bundle: BundleDigest, archive_bytes: u64) -> String {
    let name = archive.file_name().map(|name| printable(&name.to_string_lossy())).unwrap_or_default();
    let audience: Vec<String> = manifest.audience.iter().map(ToString::to_string).collect();
    let expires = manifest.expires.map(|expires| format!("expires     {expires}\n")).unwrap_or_default();
    format!(
        "{marking}

The file bundle.json beside this one waits for your signature. It stands for the whole bundle:

publisher   {publisher}
product     {product}
version     {version}
order       {order}   (epoch.sequence)
for         {audience}
created     {created}
{expires}holds       {counts}
archive     {name}, {archive_bytes} bytes
sha-256     {groups}

Compare the last lines with what the sender reads to you:  sha256sum bundle.json
What is inside is in inventory.json. That it belongs to bundle.json:
  grep -c \"$(sha256sum SHA256SUMS | cut -d' ' -f1)\" bundle.json            # 1
  grep -c \"$(sha256sum inventory.json | cut -d' ' -f1)\" bundle.json        # 1

{how}",
        marking = manifest.marking,
        publisher = manifest.publisher,
        product = manifest.product,
        version = manifest.version,
        order = manifest.order,
        audience = audience.join(", "),
        created = manifest.created,
        counts = counts(&manifest.counts),
        groups = groups(bundle.0),
        how = how(typeable(&name)),
    )
}

/// A file name for commands that people copy: only one that means nothing to a shell.
fn typeable(name: &str) -> &str {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    if name.bytes().all(harmless) && !name.starts_with('-') { name } else { "BUNDLE" }
}

/// The commands. Each writes `bundle.json.sig`.
fn how(archive: &str) -> String {
    let openssl = [
        ("ed25519", Scheme::Ed25519),
        ("ecdsa-p384-sha384", Scheme::EcdsaP384Sha384),
        ("ecdsa-p256-sha256", Scheme::EcdsaP256Sha256),
    ];
    let openssl: String = openssl
        .iter()
        .map(|(name, scheme)| format!("  # {name}\n  {}\n", ceremony::command(*scheme, "bundle.json")))
        .collect();
    let ssh = ceremony::command(Scheme::SshsigEd25519, "bundle.json");
    format!(
        "SIGN THE FILE, not its digest, and never through a pipe. KEY is your private key.

openssl 3:
{openssl}
a token or HSM (PKCS#11), by the kind of its key:
  # ed25519
  pkcs11-tool --module MODULE --login --id ID --sign -m EDDSA -i bundle.json -o bundle.json.sig
  # ecdsa-p384-sha384
  openssl dgst -sha384 -binary -out bundle.json.sha384 bundle.json
  pkcs11-tool --module MODULE --login --id ID --sign -m ECDSA -i bundle.json.sha384 -o bundle.json.sig
  # ecdsa-p256-sha256
  openssl dgst -sha256 -binary -out bundle.json.sha256 bundle.json
  pkcs11-tool --module MODULE --login --id ID --sign -m ECDSA -i bundle.json.sha256 -o bundle.json.sig

cosign (ed25519, ecdsa-p256-sha256):
  cosign sign-blob --key KEY --tlog-upload=false --output-signature bundle.json.sig bundle.json

an SSH key of type ed25519, also from an agent (sshsig-ed25519):
  {ssh}

bundler, on a copy of the archive or on the archive itself:
  bundler sign {archive} --key KEY

Send back bundle.json.sig and your public key: PEM, or for an SSH key its .pub line. It is added with
  bundler sign {archive} --signature bundle.json.sig --public-key PUBLIC-KEY
which checks it first. The private key stays with you.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_never_becomes_a_command() {
        assert_eq!(typeable("demo-1.0.bundle.tar"), "demo-1.0.bundle.tar");
        for name in ["x; rm -r ~", "$(id)", "-rf", "a b", "x\\u{1b}"] {
            assert_eq!(typeable(name), "BUNDLE");
        }
    }

    #[test]
    fn a_digest_is_written_in_groups_that_people_can_compare() {
        let digest: Digest =
            "sha256:ab4a1b832096c79dc4becf387f16f61a0be52874e8497cbd3a3104ba3cfab21f".parse().unwrap();
        let text = groups(digest);
        assert_eq!(text.split_whitespace().map(str::len).collect::<Vec<_>>(), [8; 8]);
        assert_eq!(text.split_whitespace().collect::<String>(), digest.hex());
        assert_eq!(text.lines().count(), 2);
    }
}
