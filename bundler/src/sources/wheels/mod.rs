//! Python wheels: which files a wheelhouse is made of, from a requirements file that is pinned with
//! hashes and a package index, or from a directory of wheels.
//!
//! **What this may never do:** run code of a wheel, unpack one, build one, or take a file whose digest
//! was not pinned. Nothing here opens a connection: the index is asked through
//! [`index::IndexTransport`]; the chosen files are fetched, and checked against the digests given here,
//! by the caller.
//!
//! Read in this order: [`requirements`] (what is asked for), [`tags`] (for which machine), [`index`]
//! (what there is), [`resolve`] (what is taken), [`metadata`] (what a wheel says of itself).

use std::fmt;

pub mod directory;
pub mod filename;
mod html;
pub mod index;
pub mod index_url;
pub mod metadata;
pub mod requirements;
pub mod resolve;
pub mod tags;
pub mod version;

#[cfg(test)]
mod compared_with_python;

pub use directory::{LocalWheel, wheels_in};
pub use filename::WheelFilename;
pub use index::{IndexTransport, Page, TransportError};
pub use index_url::{IndexNames, IndexUrl};
pub use metadata::WheelMetadata;
pub use requirements::Requirements;
pub use resolve::{ChosenWheel, resolve};
pub use tags::Target;

/// Which kind of failure an error is: it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What a person wrote cannot be done as written.
    Spec,
    /// Bytes are not what they were said to be.
    Damaged,
    /// A source could not be asked, or its answer makes no sense.
    Unreachable,
    /// A feature that may come.
    NotYet,
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
    /// The choice of wheels.
    #[error(transparent)]
    Resolve(#[from] resolve::ResolveError),
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
            Self::Resolve(error) => error.class(),
            Self::Metadata(error) => error.class(),
            Self::Directory(error) => error.class(),
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
