//! What goes onto a medium: which files of a bundle, under which names, and what each must be.
//!
//! Of a disc only what makes one goes along, under the names that it was written with: what else lies in its
//! directory stays at home.

use std::path::{Path, PathBuf};

use layout::disc::{self, Disc, Named};
use layout::medium;
use layout::reader::BundleReader;
use layout::recovery::{self, RecoveryFile, set};
use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest, PartsList};

use super::WriteError;
use crate::parted::PartedError;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Must {
    /// An archive: every blob of it is checked as it passes.
    Archive,
    /// It has this digest, as somebody says.
    Have(Digest, &'static str),
    /// Nobody knows.
    Anything,
}

/// A file that goes onto the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Where it is.
    pub(super) from: PathBuf,
    /// Where it goes, below the destination.
    pub(super) name: PathBuf,
    /// Its length.
    pub(super) bytes: u64,
    /// What it must be.
    pub(super) must: Must,
}

/// All of them, in the order in which they are written: what makes a directory a disc comes last.
#[derive(Debug)]
pub(super) struct Plan {
    /// The files.
    pub(super) items: Vec<Item>,
    /// The directories below the destination, each after the one that it is in.
    pub(super) directories: Vec<PathBuf>,
    /// The bundle.
    pub(super) bundle: BundleDigest,
    /// Its document.
    pub(super) manifest: BundleManifest,
    /// Whether it has a signature.
    pub(super) signed: bool,
}

/// Looks at a bundle.
///
/// # Errors
/// It is not there, or is none.
pub(super) fn of(bundle: &Path) -> Result<Plan, WriteError> {
    match disc::look(bundle)? {
        Named::Archive(path) => archive(&path),
        Named::Discs(discs) => {
            let first = discs.first().ok_or_else(|| PartedError::Nothing { path: bundle.to_path_buf() })?;
            // A directory with discs below it is written as it is; of a disc what it holds.
            let below = bundle.is_dir() && first.dir() != bundle;
            set_of(&discs, first, below)
        }
    }
}

fn item(from: &Path, name: PathBuf, must: Must) -> Result<Item, WriteError> {
    let (_, bytes) = medium::open(from)?;
    Ok(Item { from: from.to_path_buf(), name, bytes, must })
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<BundleManifest, WriteError> {
    let failed = |source| WriteError::Manifest { path: path.to_path_buf(), source };
    BundleManifest::from_bytes(bytes).map_err(failed)
}

fn archive(path: &Path) -> Result<Plan, WriteError> {
    let (file, _) = medium::open(path)?;
    let reader =
        BundleReader::open(file).map_err(|source| WriteError::Rotten { path: path.to_path_buf(), source })?;
    let head = reader.head();
    let (bundle, manifest) = (head.bundle_digest(), parsed(path, &head.manifest)?);
    let name = path.file_name().unwrap_or_default();
    let mut items = vec![item(path, name.into(), Must::Archive)?];
    for number in 1..=recovery::geometry::FILES_MAX {
        let beside = recovery::file_name(&name.to_string_lossy(), number);
        let path = path.with_file_name(&beside);
        if path.symlink_metadata().is_err() {
            break;
        }
        let (source, size) = medium::open(&path)?;
        let header = set::read_header(&RecoveryFile { source: Box::new(source), size });
        if header.is_ok_and(|header| header.bundle == bundle) {
            items.push(item(&path, beside.into(), Must::Anything)?);
        } else {
            return Err(WriteError::Recovery { path });
        }
    }
    let signed = !head.signatures.is_empty();
    Ok(Plan { items, directories: Vec::new(), bundle, manifest, signed })
}

fn set_of(discs: &[Disc], first: &Disc, below: bool) -> Result<Plan, WriteError> {
    let list = first.parts_list()?;
    let signed = first.signed()?;
    let manifest = parsed(&first.dir().join("bundle.json"), &signed.manifest)?;
    let signed = !signed.signatures.is_empty();
    let mut plan =
        Plan { items: Vec::new(), directories: Vec::new(), bundle: list.bundle(), manifest, signed };
    for disc in discs {
        if disc.parts_list()? != list {
            let (first, other) = (first.dir().to_path_buf(), disc.dir().to_path_buf());
            return Err(PartedError::Mixed { first, other }.into());
        }
        let prefix = match disc.dir().file_name().filter(|_| below) {
            Some(name) => PathBuf::from(name),
            None => PathBuf::new(),
        };
        add(&mut plan, disc, &list, &prefix)?;
    }
    Ok(plan)
}

fn add(plan: &mut Plan, disc: &Disc, list: &PartsList, prefix: &Path) -> Result<(), WriteError> {
    if disc.parts(list)?.is_empty() {
        return Err(PartedError::Nothing { path: disc.dir().to_path_buf() }.into());
    }
    let directories = [prefix.to_path_buf(), prefix.join("signatures")];
    plan.directories.extend(directories.into_iter().filter(|path| !path.as_os_str().is_empty()));
    for file in disc.files(list)? {
        let must = match file.name.as_str() {
            "bundle.json" => Must::Have(list.bundle().0, "parts.json"),
            "SHA256SUMS" => Must::Have(plan.manifest.checksums.digest, "bundle.json"),
            "inventory.json" => Must::Have(plan.manifest.inventory.digest, "bundle.json"),
            _ => match file.part.and_then(|number| list.part(number)) {
                Some(part) => Must::Have(part.digest, "parts.json"),
                None => Must::Anything,
            },
        };
        plan.items.push(item(&file.path, prefix.join(&file.name), must)?);
    }
    Ok(())
}
