//! The steps that take away what earlier plans had put in place, and their words for people.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Import, Load, OldFile, Push};

/// Take away a file that an earlier plan wrote, and put back what was there before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unwrite {
    /// Where.
    pub path: PathBuf,
    /// For which target it was written.
    pub of: FileTarget,
    /// What is there now: it is still what was put there.
    pub old: OldFile,
    /// What was there before, and will be again.
    pub before: Option<Before>,
    /// Directories that were made for it and are empty without it, the innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<OldDirectory>,
}

/// The target that a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileTarget {
    /// `targets.files`
    Files,
    /// `targets.containerd.mirror`
    Mirror,
}

/// What was at a place before this program ever came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Content, permission bits, owner.
    pub file: OldFile,
    /// The file that holds the content: kept beside the journal of the plan that came first.
    pub kept: PathBuf,
}

/// A directory that goes, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldDirectory {
    /// Where.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Take away the link that names an environment in use, or point it where it pointed before. The environment
/// itself stays: it is what a rollback switches back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlink {
    /// The link.
    pub link: PathBuf,
    /// Where it points now: where it was pointed to.
    pub old: PathBuf,
    /// Where it pointed before, and will again.
    pub before: Option<PathBuf>,
}

/// Take away what was pushed or loaded, and give its names back. The old values in it are those of the time before
/// it ever came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Withdraw {
    /// A tag, and what is attached to its image.
    Push(Push),
    /// An image in a Docker Engine.
    Load(Load),
    /// An image in containerd.
    Import(Import),
}

impl Withdraw {
    pub(super) fn target(&self) -> &'static str {
        match self {
            Self::Push(_) => "registry",
            Self::Load(_) => "docker",
            Self::Import(_) => "containerd",
        }
    }

    /// What goes: a tag, or a name.
    #[must_use]
    pub fn subject(&self) -> String {
        let (name, digest, back) = match self {
            Self::Push(push) => {
                let tag = push.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
                (format!("{}{tag}", push.repository), push.manifest.digest, push.old)
            }
            Self::Load(load) => (load.name.clone().unwrap_or(load.title.clone()), load.id, load.old),
            Self::Import(import) => {
                let first = import.names.first();
                let name = first.map_or(import.title.clone(), |name| name.name.clone());
                let old = first.and_then(|name| name.old.as_ref()).map(|old| old.digest);
                (name, import.manifest.digest, old.filter(|old| *old != import.manifest.digest))
            }
        };
        let back = back.map_or(String::new(), |old| format!(", and give the name back to {}", old.short()));
        format!("{name} as {}{back}", digest.short())
    }
}

impl Unwrite {
    pub(super) fn target(&self) -> &'static str {
        match self.of {
            FileTarget::Files => "files",
            FileTarget::Mirror => "containerd",
        }
    }

    pub(super) fn subject(&self) -> String {
        let back = self.before.as_ref().map(|before| before.file.digest.short());
        let back = back.map_or(String::new(), |short| format!(", and put back {short} of before"));
        format!("{} (mode {:04o}){back}", self.path.display(), self.old.mode)
    }
}

impl Unlink {
    pub(super) fn subject(&self) -> String {
        let back = self.before.as_ref();
        let back = back.map_or(String::new(), |path| format!(", and point it to {} again", path.display()));
        format!("{}{back}", self.link.display())
    }
}
