//! The discs of a sample bundle, cut wherever a test wants, and somebody at the drive.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use installer::discs::Changer;
use manifests::bundle::{BundleDigest, Content};
use manifests::{Digest, KeyId, PartsList};
use testkit::sample::Draft;

/// A bundle and its parts.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) manifest: Vec<u8>,
    pub(crate) signatures: Vec<(KeyId, Vec<u8>)>,
    pub(crate) checksums: Vec<u8>,
    pub(crate) inventory: Vec<u8>,
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) list: Vec<u8>,
}

/// The end of the signature area: no first part is shorter.
pub(crate) fn head_bytes(draft: &Draft) -> usize {
    let manifest = layout::header::entry_bytes(draft.manifest_bytes.len() as u64);
    usize::try_from(manifest + 512 + layout::signatures::AREA_BYTES).unwrap()
}

pub(crate) const NAME: &str = "sample-2.1.0.bundle.tar";

pub(crate) fn list_of(manifest: &[u8], parts: &[Vec<u8>]) -> Vec<u8> {
    let contents = parts.iter().map(|part| Content::of(part)).collect();
    let bundle = BundleDigest(Digest::of(manifest));
    PartsList::new(NAME.parse().unwrap(), bundle, contents).unwrap().to_bytes().unwrap()
}

impl Set {
    /// Cuts a draft's archive at these offsets.
    pub(crate) fn cut(draft: &Draft, ends: &[usize]) -> Self {
        let archive = draft.archive();
        let mut ends: Vec<usize> = ends.iter().copied().filter(|end| *end < archive.len()).collect();
        ends.push(archive.len());
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let cut = |end: usize| archive[std::mem::replace(&mut start, end)..end].to_vec();
        let parts: Vec<Vec<u8>> = ends.into_iter().map(cut).collect();
        Self {
            manifest: draft.manifest_bytes.clone(),
            signatures: draft.signatures.clone(),
            checksums: draft.checksums.clone(),
            inventory: draft.inventory_bytes.clone(),
            list: list_of(&draft.manifest_bytes, &parts),
            parts,
        }
    }

    /// In so many parts of about the same length, the first no shorter than it may be.
    pub(crate) fn of(draft: &Draft, parts: usize) -> Self {
        let (head, total) = (head_bytes(draft), draft.archive().len());
        let step = (total - head) / parts;
        Self::cut(draft, &(1..parts).map(|part| head + part * step).collect::<Vec<_>>())
    }

    /// The small files of a disc: name and content.
    pub(crate) fn small(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            ("bundle.json".to_string(), self.manifest.clone()),
            ("SHA256SUMS".to_string(), self.checksums.clone()),
            ("inventory.json".to_string(), self.inventory.clone()),
            ("parts.json".to_string(), self.list.clone()),
        ];
        for (keyid, raw) in &self.signatures {
            files.push((format!("signatures/{keyid}.sig"), raw.clone()));
        }
        files
    }

    /// Writes one disc; the first part is number 1.
    pub(crate) fn write_disc(&self, dir: &Path, number: usize) {
        std::fs::create_dir_all(dir.join("signatures")).unwrap();
        for (name, content) in self.small() {
            std::fs::write(dir.join(name), content).unwrap();
        }
        std::fs::write(dir.join(part_name(number)), &self.parts[number - 1]).unwrap();
    }

    /// Writes all of them, each into a directory of its own, and gives their paths.
    pub(crate) fn write(&self, dir: &Path) -> Vec<PathBuf> {
        let discs = (1..=self.parts.len()).map(|number| {
            let disc = dir.join(format!("disc-{number:03}"));
            self.write_disc(&disc, number);
            disc
        });
        discs.collect()
    }
}

pub(crate) fn part_name(number: usize) -> String {
    format!("{NAME}.{number:03}")
}

/// Puts a disc into the drive: a link that leads to another place each time.
pub(crate) fn put_in(drive: &Path, disc: &Path) {
    let _ = std::fs::remove_file(drive);
    std::os::unix::fs::symlink(disc, drive).unwrap();
}

/// Somebody at a drive who puts in one disc after the other, as told beforehand.
pub(crate) struct Person {
    drive: PathBuf,
    discs: RefCell<VecDeque<PathBuf>>,
    pub(crate) heard: RefCell<Vec<String>>,
}

impl Person {
    /// The first of the discs is in already.
    pub(crate) fn with(drive: &Path, discs: &[PathBuf]) -> Self {
        let (first, others) = discs.split_first().unwrap();
        put_in(drive, first);
        Self {
            drive: drive.to_path_buf(),
            discs: RefCell::new(others.iter().cloned().collect()),
            heard: RefCell::default(),
        }
    }
}

impl Changer for Person {
    fn say(&self, text: &str) {
        self.heard.borrow_mut().push(text.to_string());
    }
    fn change(&self, wanted: &str) -> bool {
        self.heard.borrow_mut().push(wanted.to_string());
        let next = self.discs.borrow_mut().pop_front();
        next.as_ref().inspect(|disc| put_in(&self.drive, disc)).is_some()
    }
    fn is_there(&self) -> bool {
        true
    }
}
