//! Python wheels: which files a wheelhouse is made of, from requirements or a lock that `uv` reads, or from
//! a directory of wheels.
//!
//! **What this may never do:** run code of a wheel, unpack one, build one that nobody asked for, or take a
//! file whose digest was not pinned.
//!
//! Read in this order: [`requirements`] and [`pylock`] (what is asked for), [`tags`] (for which machine),
//! [`uv`] (who resolves), [`choose`] (what is taken), [`metadata`] (what a wheel says of itself).
//! [`super::closure`] joins them with [`super::fetch`].

use std::fmt;

pub mod choose;
pub mod directory;
pub mod filename;
pub mod index_url;
pub mod metadata;
pub mod pylock;
pub mod requirements;
pub mod tags;
pub mod uv;
pub mod version;

#[cfg(test)]
mod compared_with_python;

pub use directory::{LocalWheel, wheels_in};
pub use filename::WheelFilename;
pub use index_url::{IndexNames, IndexUrl};
pub use metadata::WheelMetadata;
pub use pylock::Pylock;
pub use requirements::Requirements;
pub use tags::Target;
pub use uv::Uv;

/// Which kind of failure an error is: it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What a person wrote cannot be done as written.
    Spec,
    /// Bytes are not what they were said to be.
    Damaged,
    /// A source could not be asked, or lacks what was asked of it.
    Unreachable,
}

/// Any failure of this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelsError {
    /// The file name of a wheel.
    #[error(transparent)]
    Filename(#[from] filename::WheelFilenameError),
    /// A target of `bundle.yaml`.
    #[error(transparent)]
    Target(#[from] tags::TargetError),
    /// The requirements file.
    #[error(transparent)]
    Requirements(#[from] requirements::RequirementsError),
    /// The address of the index.
    #[error(transparent)]
    IndexUrl(#[from] index_url::IndexUrlError),
    /// `uv`.
    #[error(transparent)]
    Uv(#[from] uv::UvError),
    /// A `pylock.toml`.
    #[error(transparent)]
    Pylock(#[from] pylock::PylockError),
    /// The choice of wheels.
    #[error(transparent)]
    Choose(#[from] choose::ChooseError),
    /// The fetching of files.
    #[error(transparent)]
    Fetch(#[from] super::fetch::FetchError),
    /// The inside of a wheel.
    #[error(transparent)]
    Metadata(#[from] metadata::MetadataError),
    /// A directory of wheels.
    #[error(transparent)]
    Directory(#[from] directory::DirectoryError),
}

impl WheelsError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Filename(_) | Self::Target(_) | Self::IndexUrl(_) => Class::Spec,
            Self::Requirements(error) => error.class(),
            Self::Uv(error) => error.class(),
            Self::Pylock(error) => error.class(),
            Self::Choose(error) => error.class(),
            Self::Fetch(error) => error.class(),
            Self::Metadata(error) => error.class(),
            Self::Directory(error) => error.class(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::IndexUrl(_) => {
                Some("name the package index with `index:` in bundle.yaml or in PIP_INDEX_URL".to_string())
            }
            Self::Uv(error) => error.hint(),
            Self::Choose(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Pylock(pylock::PylockError::Kind { .. }) => {
                Some("write the lock without it, such as with `uv export --no-emit-project`".to_string())
            }
            _ => None,
        }
    }
}

/// A list for people, cut after the first few.
fn enumeration<T: fmt::Display>(items: &[T], most: usize) -> String {
    let shown: Vec<String> = items.iter().take(most).map(T::to_string).collect();
    let more = items.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
