//! The signed originals beside a report, in a directory of their own that is laid out as the site is: so the same
//! commands check both. Nothing in it is made by this report but the report, the commands, and the list of digests.
//!
//! *What it never holds:* a private key, a blob, or the kept content of files and objects that an undo needs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use layout::durable;
use layout::signed_file;
use manifests::bundle::BundleDigest;
use manifests::checkpoint::CHECKPOINT_BYTES_MAX;
use manifests::revocation::REVOCATIONS_BYTES_MAX;
use manifests::{Digest, Hasher};

use super::facts::Facts;
use crate::audit;
use crate::output::{OutputError, Staged};
use crate::site::Site;
use crate::site::evidence::Originals;

/// Everything that goes in beside what the site has.
pub(crate) struct Made<'a> {
    pub(crate) site: &'a Site,
    pub(crate) facts: &'a Facts,
    /// The report as JSON.
    pub(crate) document: &'a [u8],
    /// The commands for this directory.
    pub(crate) script: &'a str,
    /// Originals that the site does not keep, as they were on the medium.
    pub(crate) from_medium: Option<&'a (BundleDigest, Originals)>,
}

/// How much of a file is copied at a time, and how long a small file may be.
const CHUNK: usize = 64 * 1024;
const SMALL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Writes it, without its name yet, and gives the digest of its list.
///
/// # Errors
/// Something cannot be read or written.
pub(crate) fn write(place: &Path, made: &Made<'_>) -> Result<(Staged, Digest), OutputError> {
    let staged = Staged::directory(place)?;
    let digest = fill(staged.made(), made).map_err(OutputError::of(place))?;
    Ok((staged, digest))
}

fn fill(dir: &Path, made: &Made<'_>) -> io::Result<Digest> {
    let (site, facts) = (made.site, made.facts);
    trust(&site.dir().join("trust"), &dir.join("trust"))?;
    for (number, key) in (1_u64..).zip(&facts.keys) {
        put(&dir.join(format!("key/{number}.pub.pem")), key.pem().as_bytes())?;
    }
    for found in &facts.bundles {
        let originals = match made.from_medium {
            Some((bundle, originals)) if *bundle == found.bundle => originals,
            // What is gone or was changed is said by the report; the rest is evidence all the same.
            _ => &match site.originals(found.bundle) {
                Ok(originals) => originals,
                Err(_) => continue,
            },
        };
        bundle(&dir.join("store/bundles").join(found.bundle.0.hex()), originals)?;
        let ledger = format!("ledger/{}.{}.json", found.publisher, found.product);
        copy_if_there(&site.dir().join(&ledger), &dir.join(&ledger))?;
        if let Some(name) =
            found.journal().and_then(|journal| journal.path.file_name().map(|n| (n, &journal.path)))
        {
            copy_if_there(name.1, &dir.join("journal").join(name.0))?;
        }
    }
    log(site, facts, dir)?;
    put(&dir.join("report.json"), made.document)?;
    put(&dir.join("recheck.sh"), made.script.as_bytes())?;
    put(&dir.join("README.md"), README.as_bytes())?;
    list(dir)
}

/// Every root and list of revocations, with its signatures, and nothing else that may lie there.
fn trust(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".root.json") || name.ends_with(".revocations.json") {
            let file = signed_file::read(&path, REVOCATIONS_BYTES_MAX).map_err(io::Error::other)?;
            durable::make_directory(to)?;
            signed_file::write(&to.join(name), &file)?;
        }
    }
    Ok(())
}

fn bundle(place: &Path, originals: &Originals) -> io::Result<()> {
    put(&place.join("bundle.json"), &originals.manifest)?;
    put(&place.join("SHA256SUMS"), &originals.checksums)?;
    put(&place.join("inventory.json"), &originals.inventory)?;
    for signature in &originals.signatures {
        put(&place.join(format!("signatures/{}.sig", signature.claimed)), &signature.bytes)?;
    }
    Ok(())
}

/// The log as far as the report goes, line by line as it lies there; all of it where it does not hold together. The
/// lines about checks before changes once more, alone.
fn log(site: &Site, facts: &Facts, dir: &Path) -> io::Result<()> {
    let (mut bytes, mut checks) = (0_u64, Vec::new());
    let read = audit::read_lines(&site.audit_path(), &mut |line| {
        if line.head.entries > facts.log.head.entries {
            return;
        }
        bytes = bytes.saturating_add(line.bytes.len() as u64);
        let event = &line.entry.event;
        let about = event.about.get("bundle").and_then(|text| text.parse::<BundleDigest>().ok());
        let ours = about.is_some_and(|about| facts.bundles.iter().any(|found| found.bundle == about));
        if event.event.starts_with("preflight") && ours {
            checks.extend_from_slice(line.bytes);
        }
    });
    let limit = if read.is_ok() { bytes } else { u64::MAX };
    let to = dir.join("audit/audit.jsonl");
    durable::make_directory(&dir.join("audit"))?;
    put(&to, b"")?;
    let mut out = File::options().append(true).open(&to)?;
    io::copy(&mut File::open(site.audit_path())?.take(limit), &mut out)?;
    out.sync_all()?;
    put(&dir.join("preflight.jsonl"), &checks)?;
    for document in &facts.log.checkpoints {
        let name = format!("audit/checkpoints/{}.checkpoint.json", document.entries);
        let kept = signed_file::read(&site.checkpoint_path(document.entries), CHECKPOINT_BYTES_MAX);
        durable::make_directory(&dir.join("audit/checkpoints"))?;
        signed_file::write(&dir.join(name), &kept.map_err(io::Error::other)?)?;
    }
    Ok(())
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), durable::make_directory)?;
    durable::replace(path, content, 0o600)
}

fn copy_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match durable::read_bounded(from, SMALL_BYTES_MAX.saturating_mul(4)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        content => put(to, &content?),
    }
}

/// `SHA256SUMS` over every file but itself, sorted by name; its own digest is what the log gets.
fn list(dir: &Path) -> io::Result<Digest> {
    let mut files = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        for entry in std::fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else {
                files.insert(path.display().to_string(), hash(&dir.join(&path))?);
            }
        }
    }
    let lines: String = files.iter().map(|(path, digest)| format!("{}  {path}\n", digest.hex())).collect();
    put(&dir.join("SHA256SUMS"), lines.as_bytes())?;
    Ok(Digest::of(lines.as_bytes()))
}

fn hash(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Hasher::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Of this directory.
const README: &str = "\
# Evidence beside an Airlock report

The signed originals of what the report speaks about, laid out as in the site's directory, so that the commands of
Airlock's guide for auditors work here as they do there.

| file | what |
|---|---|
| `report.json` | the report |
| `trust/` | every trust root and list of revocations of the site, with signatures |
| `key/` | the public halves of the site's own keys |
| `store/bundles/DIGEST/` | `bundle.json`, its signatures, `SHA256SUMS` and `inventory.json` of each bundle |
| `ledger/`, `journal/` | what the site says that it applied, and each step of that with the old value and the new one |
| `audit/` | the log up to the entry that the report names, and the checkpoints that the site's key has signed |
| `preflight.jsonl` | the lines of that log about checks before changes, and about overrides, once more |
| `recheck.sh` | the commands of the report for this directory; read it before you run it |

The site's log names the digest of `SHA256SUMS`, in the entry `report` that came after the last one here.

Run in this directory. Both must end with exit code 0:

```sh
sha256sum --check --strict --quiet SHA256SUMS
evidence=$PWD; work=$(mktemp -d); (cd \"$work\" && SITE=$evidence sh \"$evidence/recheck.sh\"); rm -r \"$work\"
```

Compare on paper: the fingerprint of the first trust root (`sha256sum trust/*.root.json`), and the id of the site's
key (`openssl pkey -pubin -in key/1.pub.pem -outform DER | sha256sum`). The blobs themselves are not here: they are on
the medium and in the site's store.
";
