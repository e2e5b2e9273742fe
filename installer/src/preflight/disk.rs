//! `disk/site-store`, `disk/venvs`, `disk/files` and `disk/inodes`: whether everything fits, by formulas that
//! stand here and in `docs/operator.md`. What goes to one file system is added up. It needs the signed inventory
//! only, so it is looked at before the first byte is copied.
//!
//! How much room a registry has nobody is told by it, and what lies on its machine cannot be seen from here.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use edge::show::bytes;
use manifests::Inventory;
use manifests::bundle::BundleDigest;
use manifests::inventory::{Component, FileSet, Wheelhouse};

use super::{Finding, zip_directory};
use crate::plan::FileState;
use crate::site::config::{FilesTarget, PythonTarget};
use crate::targets::{Context, files, python};
use crate::{admit, incoming};

/// The log, the journal and small files of the site, whatever the bundle is.
const RESERVE_BYTES: u64 = 1024 * 1024;
/// Lines of log and journal for each step of an apply.
const STEP_BYTES: u64 = 8 * 1024;
/// An environment with nothing in it but pip.
const VENV_BYTES: u64 = 32 * 1024 * 1024;
const VENV_FILES: u64 = 2000;
/// A wheel whose directory cannot be read yet: as large unpacked as the best compression of code makes it.
const UNPACKED_FACTOR: u64 = 4;
const FILES_PER_WHEEL: u64 = 200;
/// The smallest unit of most file systems, where one does not say.
const BLOCK_BYTES: u64 = 4096;

/// Room for something.
struct Need {
    id: &'static str,
    what: String,
    path: PathBuf,
    bytes: u64,
    files: u64,
}

/// A file system as a path below it shows it.
struct Disk {
    device: u64,
    at: PathBuf,
    free: u64,
    /// `None` where there is no limit.
    free_files: Option<u64>,
}

/// Looks whether everything fits that the bundle brings.
#[must_use]
pub fn check(inventory: &Inventory, bundle: BundleDigest, context: &Context<'_>) -> Vec<Finding> {
    judge(&needs(inventory, bundle, context))
}

fn needs(inventory: &Inventory, bundle: BundleDigest, context: &Context<'_>) -> Vec<Need> {
    let mut needs = Vec::new();
    let targets = &context.config.targets;
    let components = &inventory.components;
    let mut kept = Room::default();
    if let Some(target) = &targets.files {
        let sets = components.iter().filter_map(|component| match component {
            Component::FileSet(set) => Some(set),
            _ => None,
        });
        needs.extend(new_files(sets, target, &mut kept));
    }
    if let Some(target) = &targets.python {
        let houses = components.iter().filter_map(|component| match component {
            Component::Wheelhouse(wheelhouse) => Some(wheelhouse),
            _ => None,
        });
        needs.extend(venvs(houses, bundle, target, context));
    }
    needs.insert(0, store(inventory, &kept, context));
    needs
}

/// A disk that software writes to, once everything of a bundle is on it.
pub(super) struct Spare {
    /// A directory on it.
    pub(super) at: PathBuf,
    /// What is free on it now.
    pub(super) free: u64,
    /// What the bundle's own content will take of that.
    pub(super) taken: u64,
}

/// The disks of the targets on this machine that things are written below, each once; the site directory's where
/// there is no such target.
pub(super) fn spare(inventory: &Inventory, bundle: BundleDigest, context: &Context<'_>) -> Vec<Spare> {
    let targets = &context.config.targets;
    let mut places: Vec<&Path> = Vec::new();
    places.extend(targets.files.as_ref().map(|files| files.root.as_path()));
    places.extend(targets.python.as_ref().map(|python| python.venvs.as_path()));
    if places.is_empty() {
        places.push(context.site.dir());
    }
    let mut disks: BTreeMap<u64, Spare> = BTreeMap::new();
    for disk in places.into_iter().filter_map(disk_of) {
        disks.entry(disk.device).or_insert(Spare { at: disk.at, free: disk.free, taken: 0 });
    }
    for need in needs(inventory, bundle, context) {
        let device = nearest(&need.path).map(|(_, device)| device);
        if let Some(spare) = device.and_then(|device| disks.get_mut(&device)) {
            spare.taken = spare.taken.saturating_add(need.bytes);
        }
    }
    disks.into_values().collect()
}

/// An amount of room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    files: u64,
}

impl Room {
    fn add(&mut self, bytes: u64, files: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files = self.files.saturating_add(files);
    }
}

/// What the store lacks, a block for each file of it; log and journal; files as they were.
fn store(inventory: &Inventory, kept: &Room, context: &Context<'_>) -> Need {
    let root = context.site.store().root().to_path_buf();
    let missing = admit::missing(&context.site.store(), inventory);
    let block =
        nearest(&root).and_then(|(at, _)| rustix::fs::statvfs(&at).ok()).map_or(BLOCK_BYTES, |d| d.f_bsize);
    let mut room = *kept;
    missing.iter().for_each(|(_, size)| room.add(size.saturating_add(block), 1));
    room.bytes = room.bytes.saturating_sub(incoming::bytes_begun(&context.site.store()));
    let steps = inventory.components.iter().fold(4_u64, |sum, component| {
        let own = if let Component::FileSet(set) = component { set.files.len() } else { 2 };
        sum.saturating_add(own as u64)
    });
    room.add(RESERVE_BYTES.saturating_add(steps.saturating_mul(STEP_BYTES)), 16);
    let what = match (missing.len(), kept.files) {
        (0, 0) => "log and journal".to_string(),
        (0, _) => "log, journal, and files as they were".to_string(),
        (count, 0) => format!("{count} blobs that the site store lacks, log and journal"),
        (count, _) => {
            format!("{count} blobs that the site store lacks, log, journal, and files as they were")
        }
    };
    Need { id: "disk/site-store", what, path: root, bytes: room.bytes, files: room.files }
}

/// Each environment that is not complete: an empty one, the wheels unpacked, and half as much again for what
/// Python compiles.
fn venvs<'a>(
    houses: impl Iterator<Item = &'a Wheelhouse>,
    bundle: BundleDigest,
    target: &PythonTarget,
    context: &Context<'_>,
) -> Option<Need> {
    let version = python::version(target, context).ok();
    let (mut room, mut count) = (Room::default(), 0_usize);
    for house in houses {
        if python::is_complete(&python::place(target, &house.name, bundle)) {
            continue;
        }
        count = count.saturating_add(1);
        room.add(VENV_BYTES, VENV_FILES);
        let wheels = match &version {
            Some(version) => python::choose(house, version),
            None => house.wheels.iter().collect(),
        };
        for wheel in wheels {
            let file = context.site.store().open(&wheel.digest).ok().flatten();
            let unpacked = file.and_then(|mut file| zip_directory::sizes(&mut file).ok());
            let (size, files) =
                unpacked.unwrap_or((wheel.size.saturating_mul(UNPACKED_FACTOR), FILES_PER_WHEEL));
            let size = size.saturating_add(files.saturating_mul(BLOCK_BYTES));
            room.add(size.saturating_add(size / 2), files.saturating_mul(2));
        }
    }
    let what = format!("{count} new environment{}", if count == 1 { "" } else { "s" });
    let path = target.venvs.clone();
    (count > 0).then_some(Need { id: "disk/venvs", what, path, bytes: room.bytes, files: room.files })
}

/// Each file that changes, while the old one is still there; the old one is kept in the site directory.
fn new_files<'a>(
    sets: impl Iterator<Item = &'a FileSet>,
    target: &FilesTarget,
    kept: &mut Room,
) -> Vec<Need> {
    let mut disks: BTreeMap<u64, Need> = BTreeMap::new();
    for set in sets {
        let dest = target.root.join(set.dest.as_str().trim_start_matches('/'));
        for file in &set.files {
            let path = dest.join(file.path.as_str());
            let state = files::state(&path).ok().flatten();
            if state.is_some_and(|old| old.is(FileState { digest: file.digest, mode: file.mode })) {
                continue;
            }
            if state.is_some() {
                kept.add(std::fs::metadata(&path).map_or(0, |old| old.len()).saturating_add(BLOCK_BYTES), 1);
            }
            let device = nearest(&path).map_or(0, |(_, device)| device);
            let need = disks.entry(device).or_insert_with(|| Need {
                id: "disk/files",
                what: String::new(),
                path,
                bytes: 0,
                files: 0,
            });
            need.bytes = need.bytes.saturating_add(file.size).saturating_add(BLOCK_BYTES);
            need.files = need.files.saturating_add(1);
            need.what = format!("{} new files beside the old ones", need.files);
        }
    }
    disks.into_values().collect()
}

/// The nearest directory above a path that is there, and its file system.
fn nearest(path: &Path) -> Option<(PathBuf, u64)> {
    path.ancestors().find_map(|at| Some((at.to_path_buf(), std::fs::metadata(at).ok()?.dev())))
}

fn disk_of(path: &Path) -> Option<Disk> {
    let (at, device) = nearest(path)?;
    let found = rustix::fs::statvfs(&at).ok()?;
    let free_files = (found.f_files > 0).then_some(found.f_favail);
    Some(Disk { device, at, free: found.f_bavail.saturating_mul(found.f_frsize), free_files })
}

fn judge(needs: &[Need]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut disks: BTreeMap<u64, (Disk, Vec<&Need>)> = BTreeMap::new();
    for need in needs {
        match disk_of(&need.path) {
            Some(disk) => disks.entry(disk.device).or_insert_with(|| (disk, Vec::new())).1.push(need),
            None => findings.push(Finding::fail(
                need.id,
                format!("{} cannot be looked at", need.path.display()),
                format!("room for {}", need.what),
                "see whether its disk is mounted",
            )),
        }
    }
    for (disk, together) in disks.values() {
        findings.extend(together.iter().map(|need| fits(need, together, disk)));
        findings.extend(files_fit(together, disk));
    }
    findings
}

fn fits(need: &Need, together: &[&Need], disk: &Disk) -> Finding {
    let all = together.iter().fold(0_u64, |sum, need| sum.saturating_add(need.bytes));
    let at = nearest(&need.path).map_or(need.path.clone(), |(at, _)| at);
    let fact = format!("{} needed, {} free on the disk of {}", bytes(all), bytes(disk.free), at.display());
    let beside = if together.len() > 1 {
        format!(", of {} with everything else that goes to that disk", bytes(all))
    } else {
        String::new()
    };
    let requirement = format!("{} for {}{beside}", bytes(need.bytes), need.what);
    if all <= disk.free {
        return Finding::pass(need.id, fact, requirement);
    }
    let more = bytes(all.saturating_sub(disk.free));
    Finding::fail(need.id, fact, requirement, format!("free {more} on that disk, or choose another place"))
}

fn files_fit(together: &[&Need], disk: &Disk) -> Option<Finding> {
    let free = disk.free_files?;
    let all = together.iter().fold(0_u64, |sum, need| sum.saturating_add(need.files));
    let fact = format!("{all} files needed, room for {free} more on the disk of {}", disk.at.display());
    let requirement = "an inode for each file";
    Some(if all <= free {
        Finding::pass("disk/inodes", fact, requirement)
    } else {
        let remedy = "remove small files from that disk, or make its file system with more inodes";
        Finding::fail("disk/inodes", fact, requirement, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;

    fn need(id: &'static str, path: &Path, bytes: u64, files: u64) -> Need {
        Need { id, what: "x".to_string(), path: path.to_path_buf(), bytes, files }
    }

    #[test]
    fn what_goes_to_one_disk_is_added_up() {
        let dir = tempfile::tempdir().unwrap();
        let free = disk_of(dir.path()).unwrap().free;
        let path = dir.path().join("not/there/yet");
        let verdicts = |parts: &[u64]| -> Vec<Verdict> {
            let needs: Vec<Need> = parts.iter().map(|part| need("disk/files", &path, *part, 1)).collect();
            let found = judge(&needs).into_iter().filter(|finding| finding.id == "disk/files");
            found.map(|finding| finding.verdict).collect()
        };
        assert_eq!(verdicts(&[free / 2]), [Verdict::Pass]);
        assert_eq!(verdicts(&[free / 3 * 2, free / 3 * 2]), [Verdict::Fail, Verdict::Fail]);
        assert_eq!(verdicts(&[u64::MAX, u64::MAX]), [Verdict::Fail, Verdict::Fail]);
    }

    #[test]
    fn more_files_than_a_disk_has_inodes_for_are_found_by_their_number() {
        let dir = tempfile::tempdir().unwrap();
        let Some(free) = disk_of(dir.path()).unwrap().free_files else { return };
        let of = |files| judge(&[need("disk/files", dir.path(), 1, files)]).pop().unwrap();
        assert_eq!((of(1).id, of(1).verdict), ("disk/inodes", Verdict::Pass));
        assert_eq!(of(free + 1000).verdict, Verdict::Fail);
    }
}
