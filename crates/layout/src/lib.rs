//! Bytes on disk: the archive (`docs/format.md`), its strict reader, signatures attached in place, and
//! the blob store.
//!
//! It may open files and read and write streams. It knows no network, no clock and no processes, and no
//! function here hands out content of a bundle as verified: that is `manifests::verify`'s to say.
//!
//! ```text
//! STORE/oci-layout
//! STORE/index.json
//! STORE/blobs/sha256/<hex>       visible only after digest and size were checked
//! STORE/quarantine/<random>/     what is being copied; removed on failure
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod carried;
pub mod disc;
pub mod disk;
pub mod durable;
pub mod filling;
pub mod hashing;
pub mod header;
pub mod map;
pub mod medium;
pub mod parts;
pub mod patch;
pub mod private;
pub mod reader;
pub mod recovery;
pub mod signatures;
pub mod signed_file;
pub mod split;
pub mod store;
pub mod writer;
