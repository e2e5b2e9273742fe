//! Patches: a blob as the difference to another one that a site holds (`docs/format.md` §5.12).
//!
//! ```text
//! index || frame || frame || …
//! ```
//!
//! The blob is cut into segments of one length. Each has a zstd frame of its own, which refers to a stretch of the base,
//! its *prefix*; the index says which, and has the digest of each frame. The index itself has a digest that is signed.
//!
//! *Invariant:* no byte of a patch is decompressed before its digest was found to hang from a signed one, and no length
//! that it states is believed before it was found to be within its limit. Whoever decodes needs the index, one frame,
//! one prefix and one segment in memory, whatever the size of the blob. What comes out is hashed as well: a patch can make
//! the blob that was signed, or nothing.

mod decode;
mod encode;
mod index;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, PatchError};
pub use encode::{Made, Written, write};
pub use index::{Index, IndexError, RESULT_BYTES_MAX, Segment, Wish};

/// What a segment is long; the last one may be shorter.
pub const SEGMENT_BYTES: u32 = 2 * 1024 * 1024;

/// A prefix is not longer. With a segment it fits the window of 8 MiB in which zstd looks for what is the same.
pub const PREFIX_BYTES_MAX: u32 = 6 * 1024 * 1024;

/// A frame is not longer: a segment in which nothing is the same, and what zstd puts around it.
pub const FRAME_BYTES_MAX: u32 = SEGMENT_BYTES + 16 * 1024;
