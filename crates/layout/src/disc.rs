//! A disc of a set: a directory with `parts.json`, the small signed documents and one part or several. Finding
//! it, and reading its small files within their limits.
//!
//! Names are compared without regard to case, and without the `;1` that bare ISO 9660 puts behind them. What
//! else lies there is not looked at. *What it never does:* write, rename, or keep a file open.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use manifests::bundle::MANIFEST_BYTES_MAX;
use manifests::inventory::INVENTORY_BYTES_MAX;
use manifests::parts::{PARTS_BYTES_MAX, PARTS_MAX, PartsError};
use manifests::root::{FoundSignature, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use manifests::{KeyId, PartsList, text};

use crate::medium::{self, MediumError};

/// The list that makes a directory a disc.
pub const PARTS_LIST: &str = "parts.json";

/// The label for people on each disc.
pub const LABEL: &str = "LABEL.txt";

/// How many names of a directory are looked at.
const NAMES_MAX: usize = 4096;

/// How many names of files of ours all discs at one place may have: 999 discs in directories side by side have
/// half of that.
const OURS_MAX: usize = 16_384;

/// The files and the directory that every disc has.
const FIXED: [&str; 6] =
    [PARTS_LIST, "label.txt", "bundle.json", "sha256sums", "inventory.json", "signatures"];

/// Why the small files of a disc cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscError {
    /// A directory cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A small file is not there.
    #[error("{} has no {name}", dir.display())]
    Missing {
        /// The disc.
        dir: PathBuf,
        /// Which file.
        name: String,
    },
    /// More files that may be ours than there are of any bundle.
    #[error("{} has more than {OURS_MAX} files that may be parts", path.display())]
    TooMany {
        /// Where.
        path: PathBuf,
    },
    /// Two names that mean the same.
    #[error("{} has two files that may be {name}", dir.display())]
    Twice {
        /// The disc.
        dir: PathBuf,
        /// Which file.
        name: String,
    },
    /// A small file cannot be opened.
    #[error(transparent)]
    Open(#[from] MediumError),
    /// A small file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A small file is over its limit.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What is read at most.
        limit: u64,
    },
    /// The list of parts is not one.
    #[error("{}", path.display())]
    Parts {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: PartsError,
    },
}

/// What a path on the command line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// One file: a whole archive.
    Archive(PathBuf),
    /// Discs; none if there is no disc in the drive.
    Discs(Vec<Disc>),
}

/// A directory that has a `parts.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disc {
    dir: PathBuf,
    /// The names that may be ours, by folded name; two of one are told apart when somebody asks for it.
    names: BTreeMap<String, Vec<OsString>>,
}

/// A file of a part, found and not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFile {
    /// Its number.
    pub number: usize,
    /// Where it is.
    pub path: PathBuf,
}

/// A file that makes a disc one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscFile {
    /// The name that it was written with.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The number of the part that it is.
    pub part: Option<usize>,
}

/// The small files of a disc that come before the list of parts; nothing is parsed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// `bundle.json`
    pub manifest: Vec<u8>,
    /// `signatures/<keyid>.sig`, ascending.
    pub signatures: Vec<FoundSignature>,
}

/// A name as it is compared.
fn fold(name: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    let name = name.strip_suffix(";1").unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    Some(name.to_ascii_lowercase())
}

/// The names in a directory, each as it is compared and as it is, in the order of the former.
fn names(dir: &Path) -> Result<Vec<(String, OsString)>, DiscError> {
    let failed = |source| DiscError::List { path: dir.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)?.take(NAMES_MAX) {
        let name = entry.map_err(failed)?.file_name();
        names.extend(fold(&name).map(|folded| (folded, name)));
    }
    names.sort();
    Ok(names)
}

/// Whether a file of this name may be one of a disc.
fn is_ours(name: &str) -> bool {
    FIXED.contains(&name) || part_number(name).is_some() || recovery_number(name).is_some()
}

/// Whether the name of a file is that of a part: `.001` to `.999` at its end.
fn part_number(name: &str) -> Option<usize> {
    let (_, end) = name.rsplit_once('.')?;
    let digits = end.len() == 3 && end.bytes().all(|byte| byte.is_ascii_digit());
    end.parse().ok().filter(|number| digits && (1..=PARTS_MAX).contains(number))
}

/// The number of a recovery file: `.r001` to `.r999` at the end of its name.
fn recovery_number(name: &str) -> Option<u32> {
    let (_, end) = name.rsplit_once('.')?;
    let digits = end.strip_prefix('r').filter(|digits| digits.len() == 3)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number > 0)
}

/// The number of a recovery file, by what its name ends with: in any case, and with what some file systems put
/// behind it.
#[must_use]
pub fn recovery_number_of(name: &OsStr) -> Option<u32> {
    recovery_number(&fold(name)?)
}

/// What lies at a path: a directory is a disc, or holds discs one level below; the file of a part means the
/// disc that it lies on; any other file is a whole archive.
///
/// # Errors
/// A directory cannot be listed.
pub fn look(path: &Path) -> Result<Named, DiscError> {
    if path.is_dir() {
        return discs_below(path).map(Named::Discs);
    }
    let beside = path.file_name().and_then(fold).and_then(|name| part_number(&name)).is_some();
    if beside {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return disc_at(dir).map(|disc| Named::Discs(disc.into_iter().collect()));
    }
    Ok(Named::Archive(path.to_path_buf()))
}

fn disc_at(dir: &Path) -> Result<Option<Disc>, DiscError> {
    Ok(Disc::with(dir, &names(dir)?))
}

fn discs_below(dir: &Path) -> Result<Vec<Disc>, DiscError> {
    let names = names(dir)?;
    if let Some(here) = Disc::with(dir, &names) {
        return Ok(vec![here]);
    }
    let below = names.iter().map(|(_, name)| dir.join(name));
    let below = below.filter(|path| path.is_dir() && !path.is_symlink());
    let (mut discs, mut ours) = (Vec::new(), 0_usize);
    for below in below.take(PARTS_MAX) {
        // What may not be listed is somebody else's.
        let Some(disc) = disc_at(&below).unwrap_or_default() else { continue };
        ours = ours.saturating_add(disc.names.values().map(Vec::len).sum());
        if ours > OURS_MAX {
            return Err(DiscError::TooMany { path: dir.to_path_buf() });
        }
        discs.push(disc);
    }
    Ok(discs)
}

impl Disc {
    /// A directory that has these names, if they make it a disc.
    fn with(dir: &Path, all: &[(String, OsString)]) -> Option<Self> {
        let mut names: BTreeMap<String, Vec<OsString>> = BTreeMap::new();
        for (folded, name) in all.iter().filter(|(folded, _)| is_ours(folded)) {
            names.entry(folded.clone()).or_default().push(name.clone());
        }
        names.contains_key(PARTS_LIST).then(|| Self { dir: dir.to_path_buf(), names })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lengths of the files whose names are those of parts, together; nothing is read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let parts = self.names.iter().filter(|(name, _)| part_number(name).is_some());
        let lengths = parts.flat_map(|(_, names)| names).map(|name| self.dir.join(name).symlink_metadata());
        lengths.flatten().fold(0, |sum, found| sum.saturating_add(found.len()))
    }

    fn find(&self, name: &str) -> Result<Option<PathBuf>, DiscError> {
        match self.names.get(&name.to_ascii_lowercase()).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([only]) => Ok(Some(self.dir.join(only))),
            Some(several) => {
                // On a file system that tells them apart, the one that we would have written.
                let exact = several.iter().find(|found| found.as_os_str() == OsStr::new(name));
                let twice = || DiscError::Twice { dir: self.dir.clone(), name: text::printable(name) };
                exact.map(|found| Some(self.dir.join(found))).ok_or_else(twice)
            }
        }
    }

    /// Reads a small file of it.
    fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>, DiscError> {
        let missing = || DiscError::Missing { dir: self.dir.clone(), name: name.to_string() };
        read_small(&self.find(name)?.ok_or_else(missing)?, limit)
    }

    /// Reads `bundle.json` and the signatures.
    ///
    /// # Errors
    /// See [`DiscError`].
    pub fn signed(&self) -> Result<Signed, DiscError> {
        let manifest = self.small("bundle.json", MANIFEST_BYTES_MAX)?;
        let mut signatures = Vec::new();
        for (claimed, path) in self.signature_files()? {
            if signatures.len() == SIGNATURES_MAX {
                let reason = format!("more than {SIGNATURES_MAX} signatures");
                let source = io::Error::new(io::ErrorKind::InvalidData, reason);
                return Err(DiscError::Read { path, source });
            }
            signatures.push(FoundSignature { claimed, bytes: read_small(&path, SIGNATURE_BYTES_MAX)? });
        }
        Ok(Signed { manifest, signatures })
    }

    /// The files of signatures, and the key that each names.
    fn signature_files(&self) -> Result<Vec<(KeyId, PathBuf)>, DiscError> {
        let dir = self.find("signatures")?.filter(|dir| dir.is_dir() && !dir.is_symlink());
        let Some(dir) = dir else { return Ok(Vec::new()) };
        let named = |(folded, name): (String, OsString)| {
            Some((folded.strip_suffix(".sig")?.parse().ok()?, dir.join(name)))
        };
        Ok(names(&dir)?.into_iter().filter_map(named).collect())
    }

    /// Reads `SHA256SUMS`.
    ///
    /// # Errors
    /// See [`DiscError`].
    pub fn checksums(&self) -> Result<Vec<u8>, DiscError> {
        self.small("SHA256SUMS", INVENTORY_BYTES_MAX)
    }

    /// Reads `inventory.json`.
    ///
    /// # Errors
    /// See [`DiscError`].
    pub fn inventory(&self) -> Result<Vec<u8>, DiscError> {
        self.small("inventory.json", INVENTORY_BYTES_MAX)
    }

    /// Reads and parses `parts.json`.
    ///
    /// # Errors
    /// See [`DiscError`].
    pub fn parts_list(&self) -> Result<PartsList, DiscError> {
        let bytes = self.small(PARTS_LIST, PARTS_BYTES_MAX)?;
        let failed = |source| DiscError::Parts { path: self.dir.join(PARTS_LIST), source };
        PartsList::from_bytes(&bytes).map_err(failed)
    }

    /// The recovery files that lie here, of whatever bundle: their headers tell.
    #[must_use]
    pub fn recovery(&self) -> Vec<PathBuf> {
        let files = self.names.iter().filter(|(name, _)| recovery_number(name).is_some());
        files.flat_map(|(_, names)| names).map(|name| self.dir.join(name)).collect()
    }

    /// Every file that makes this directory a disc, in the order in which one is written: what makes it one comes
    /// last.
    ///
    /// # Errors
    /// One of them is missing, or two may be the same.
    pub fn files(&self, list: &PartsList) -> Result<Vec<DiscFile>, DiscError> {
        let file =
            |name: &str, path: &Path| DiscFile { name: name.to_string(), path: path.into(), part: None };
        let mut files = Vec::new();
        for part in self.parts(list)? {
            let name = list.file_name(part.number);
            files.push(DiscFile { name, path: part.path, part: Some(part.number) });
        }
        for path in self.recovery() {
            let number = path.file_name().and_then(recovery_number_of).unwrap_or(0);
            let name = crate::recovery::file_name(list.archive().as_str(), number);
            if files.iter().any(|file| file.name == name) {
                return Err(DiscError::Twice { dir: self.dir.clone(), name });
            }
            files.push(file(&name, &path));
        }
        for (keyid, path) in self.signature_files()? {
            files.push(file(&format!("signatures/{keyid}.sig"), &path));
        }
        for name in ["inventory.json", "SHA256SUMS", LABEL, "bundle.json", PARTS_LIST] {
            match self.find(name)? {
                Some(path) => files.push(file(name, &path)),
                // It is for people only.
                None if name == LABEL => {}
                None => return Err(DiscError::Missing { dir: self.dir.clone(), name: name.to_string() }),
            }
        }
        Ok(files)
    }

    /// The files of parts that lie here: by the name that the list has for each, or else by the three digits at
    /// a name's end, which is all that some file systems keep.
    ///
    /// # Errors
    /// Two files may be the same part.
    pub fn parts(&self, list: &PartsList) -> Result<Vec<PartFile>, DiscError> {
        let mut found = Vec::new();
        for (number, _) in list.ranges() {
            let name = list.file_name(number);
            let path = match self.find(&name)? {
                Some(path) => Some(path),
                None => self.by_digits(number, &name)?,
            };
            found.extend(path.map(|path| PartFile { number, path }));
        }
        Ok(found)
    }

    fn by_digits(&self, number: usize, name: &str) -> Result<Option<PathBuf>, DiscError> {
        let same = self.names.iter().filter(|(name, _)| part_number(name) == Some(number));
        match same.flat_map(|(_, names)| names).collect::<Vec<_>>().as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(self.dir.join(only))),
            _ => Err(DiscError::Twice { dir: self.dir.clone(), name: name.to_string() }),
        }
    }
}

fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, DiscError> {
    let (file, _) = medium::open(path)?;
    let mut content = Vec::new();
    let failed = |source| DiscError::Read { path: path.to_path_buf(), source };
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(DiscError::TooLarge { path: path.to_path_buf(), limit });
    }
    Ok(content)
}

/// Opens the file of a part, and tells its length.
///
/// # Errors
/// It is not there, or no regular file.
pub fn open_part(part: &PartFile) -> Result<(File, u64), MediumError> {
    medium::open(&part.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Digest;
    use manifests::bundle::{BundleDigest, Content};

    fn list(parts: usize) -> PartsList {
        let bundle = BundleDigest(Digest::of(b"bundle"));
        PartsList::new("demo-1.0.bundle.tar".parse().unwrap(), bundle, vec![Content::of(b"x"); parts])
            .unwrap()
    }

    fn disc(files: &[&str]) -> (tempfile::TempDir, Disc) {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        let Named::Discs(mut discs) = look(dir.path()).unwrap() else { panic!("not a directory") };
        (dir, discs.pop().unwrap())
    }

    fn found(disc: &Disc) -> Vec<(usize, String)> {
        let name =
            |part: PartFile| (part.number, part.path.file_name().unwrap().to_str().unwrap().to_string());
        disc.parts(&list(3)).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn finds_files_whose_names_have_changed_their_case_or_lost_their_head() {
        let (_dir, exact) = disc(&["parts.json", "demo-1.0.bundle.tar.002", "LABEL.txt"]);
        assert_eq!(found(&exact), [(2, "demo-1.0.bundle.tar.002".to_string())]);
        let keyid = Digest::of(b"key").hex();
        let signature = format!("SIGNATURES/{}.SIG;1", keyid.to_uppercase());
        let (_dir, shouted) = disc(&["PARTS.JSON;1", "BUNDLE.JSON;1", &signature, "DEMO_1_0.003;1"]);
        assert_eq!(found(&shouted), [(3, "DEMO_1_0.003;1".to_string())]);
        let signed = shouted.signed().unwrap();
        assert_eq!((signed.manifest.as_slice(), signed.signatures.len()), (b"x".as_slice(), 1));
        assert_eq!(signed.signatures[0].claimed.to_string(), keyid);
        assert!(matches!(shouted.inventory(), Err(DiscError::Missing { .. })));
    }

    #[test]
    fn two_files_that_may_be_one_part_are_refused_unless_one_has_the_very_name() {
        let (_dir, two) = disc(&["parts.json", "a.001", "b.001"]);
        assert!(matches!(two.parts(&list(2)), Err(DiscError::Twice { .. })));
        let (_dir, exact) = disc(&["parts.json", "demo-1.0.bundle.tar.001", "DEMO-1.0.bundle.tar.001"]);
        assert_eq!(found(&exact), [(1, "demo-1.0.bundle.tar.001".to_string())]);
        let (_dir, other) = disc(&["parts.json", "Demo-1.0.bundle.tar.001", "DEMO-1.0.bundle.tar.001"]);
        assert!(matches!(other.parts(&list(2)), Err(DiscError::Twice { .. })));
    }

    #[test]
    fn knows_recovery_files_by_the_end_of_their_names() {
        for good in ["x.bundle.tar.r001", "X_1_0.R999;1", ".r001"] {
            assert!(recovery_number_of(OsStr::new(good)).is_some(), "{good}");
        }
        for bad in ["x.001", "x.r1", "x.r0001", "r001", "x.rabc", "x.r000", "x.bundle.tar"] {
            assert!(recovery_number_of(OsStr::new(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_directory_of_too_many_files_that_may_be_parts_is_refused_and_other_names_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        for disc in 0..5 {
            let disc = dir.path().join(disc.to_string());
            std::fs::create_dir(&disc).unwrap();
            std::fs::write(disc.join("parts.json"), b"x").unwrap();
            for number in 0..3900 {
                std::fs::write(disc.join(format!("{number}.other")), b"").unwrap();
            }
        }
        let Named::Discs(discs) = look(dir.path()).unwrap() else { panic!("not a directory") };
        assert_eq!(discs.iter().map(|disc| disc.names.len()).sum::<usize>(), 5);
        for disc in 0..5 {
            for number in 0..3900 {
                let name = |end: &str| dir.path().join(format!("{disc}/{number}.{end}"));
                std::fs::rename(name("other"), name("001")).unwrap();
            }
        }
        assert!(matches!(look(dir.path()), Err(DiscError::TooMany { .. })));
    }

    #[test]
    fn a_directory_of_discs_and_a_part_both_lead_to_discs() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=2 {
            let disc = dir.path().join(format!("disc-00{number}"));
            std::fs::create_dir(&disc).unwrap();
            std::fs::write(disc.join("parts.json"), b"x").unwrap();
            std::fs::write(disc.join(format!("x.00{number}")), b"x").unwrap();
        }
        std::fs::create_dir(dir.path().join("else")).unwrap();
        let dirs = |path: &Path| match look(path).unwrap() {
            Named::Discs(discs) => discs.len(),
            Named::Archive(_) => 99,
        };
        assert_eq!(dirs(dir.path()), 2);
        assert_eq!(dirs(&dir.path().join("disc-001/x.001")), 1);
        assert_eq!(dirs(&dir.path().join("else")), 0);
        assert_eq!(dirs(&dir.path().join("x.bundle.tar")), 99);
    }
}
