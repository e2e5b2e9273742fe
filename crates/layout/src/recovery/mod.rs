//! Recovery data: Reed–Solomon blocks beside an archive, from which damage of the archive is located and
//! repaired while it is read (`docs/recovery.md`).
//!
//! ```text
//! [encode]  archive, percentage                →  recovery files
//! [set]     recovery files, found and opened   →  one set, of one archive
//! [survey]  set, archive                       →  which blocks are damaged, and what margin is left
//! [repair]  survey, archive, scratch directory →  the archive as it was, to read
//! ```
//!
//! *What it never does:* write to what it repairs, and vouch for anything. Nobody signs recovery data. What
//! comes out of a repair is what was encoded if nobody meant harm, and goes through the whole verification
//! either way. Numbers in a recovery file lead to bounded work only: all of the layout follows from three of
//! them ([`geometry`]).
//!
//! Memory stays below 64 MiB for an archive of any size.

pub mod encode;
pub mod geometry;
pub mod header;
pub mod repair;
pub mod set;
pub mod source;
pub mod survey;

mod block;
mod codec;

#[cfg(test)]
mod tests;

pub use encode::{EncodeError, encode};
pub use geometry::{Geometry, GeometryError, Percent};
pub use header::Header;
pub use repair::{RepairError, Repaired, repair};
pub use set::{RecoveryFile, RecoverySet, SetError};
pub use source::{Pieces, Source};
pub use survey::{Margin, Survey, survey};

/// The name of a recovery file: `NAME-VERSION.bundle.tar.r001`. A reader goes by the header, not by the name.
#[must_use]
pub fn file_name(archive: &str, number: u32) -> String {
    format!("{archive}.r{number:03}")
}
