//! `resources.txt`: room on the disks that this program writes to, memory and load of this machine, and how large
//! the site is. Places are called by their keys in `site.yaml`, never by their paths.

use std::path::{Path, PathBuf};

use edge::show::bytes;

use super::{Ground, Piece, Section};
use crate::machine;

/// What of `/proc/meminfo` is told.
const MEMORY: [&str; 4] = ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree"];
/// Directories of the site whose files are counted.
const COUNTED: [&str; 6] = ["store", "journal", "audit", "ledger", "run", "scratch"];
/// A store with more files than this is not counted to its end.
const FILES_MAX: u64 = 1_000_000;

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let mut text = String::from("disks\n");
    for (name, path) in places(ground) {
        text.push_str(&disk(ground, name, &path));
    }
    text.push_str("memory\n");
    let memory = ground.or_gap("the memory of this machine", machine::memory()).unwrap_or_default();
    for (name, amount) in memory.iter().filter(|(name, _)| MEMORY.contains(&name.as_str())) {
        text.push_str(&format!("  {name:<14} {}\n", bytes(*amount)));
    }
    let load = ground.or_gap("the load of this machine", machine::load()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load: Vec<String> = load.iter().map(|number| format!("{number:.2}")).collect();
    text.push_str(&format!("load\n  {} with {cores} processors\n", load.join(" ")));
    text.push_str("site directory\n");
    for name in COUNTED {
        let (files, size) = count(&ground.site.dir().join(name));
        text.push_str(&format!("  {name:<14} {files} files, {}\n", bytes(size)));
    }
    ground.piece(Section::Resources, "resources.txt", text)
}

fn places(ground: &Ground<'_>) -> Vec<(&'static str, PathBuf)> {
    let targets = &ground.config.targets;
    let mut places = vec![("site", ground.site.dir().to_path_buf())];
    places.extend(targets.files.as_ref().map(|files| ("targets.files.root", files.root.clone())));
    places.extend(targets.python.as_ref().map(|python| ("targets.python.venvs", python.venvs.clone())));
    let usual = [("docker", "/var/lib/docker"), ("containerd", "/var/lib/containerd")];
    places.extend(
        usual.map(|(name, path)| (name, PathBuf::from(path))).into_iter().filter(|(_, path)| path.is_dir()),
    );
    places
}

/// Room and inodes as the user who runs the program has them.
fn disk(ground: &mut Ground<'_>, name: &'static str, path: &Path) -> String {
    let Some(nearest) = path.ancestors().find(|path| path.is_dir()) else { return String::new() };
    let found = rustix::fs::statvfs(nearest).map_err(std::io::Error::from);
    let Some(disk) = ground.or_gap(&format!("the disk of {name}"), found) else { return String::new() };
    let size = |blocks: u64| bytes(blocks.saturating_mul(disk.f_frsize));
    let (free, all) = (size(disk.f_bavail), size(disk.f_blocks));
    let read_only =
        if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) { ", READ-ONLY" } else { "" };
    let inodes = match disk.f_files {
        0 => "no limit of files".to_string(),
        files => format!("{} of {files} files free", disk.f_favail),
    };
    format!("  {name:<22} {free} of {all} free, {inodes}{read_only}\n")
}

/// Regular files below a directory, and their bytes. Links are not followed.
fn count(directory: &Path) -> (u64, u64) {
    let (mut files, mut size) = (0_u64, 0_u64);
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                directories.push(entry.path());
            } else if found.is_file() && files < FILES_MAX {
                files = files.saturating_add(1);
                size = size.saturating_add(found.len());
            }
        }
    }
    (files, size)
}
