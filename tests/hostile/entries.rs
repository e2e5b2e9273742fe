//! The entries of an archive and their order.

use super::of_type_at;
use crate::{Generator, forged};

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("directory-among-the-blobs", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            forge.entries.insert(place, of_type_at("blobs/sha256/", b"5", b""));
        })
    }),
    ("empty-block-between-two-entries", || {
        forged(|forge| forge.entry("SHA256SUMS").padding.extend([0; 512]))
    }),
    ("end-blocks-between-two-entries", || {
        // GNU tar and Python stop there; tar -i goes on.
        forged(|forge| forge.entry("manifest.json").padding.extend([0; 1024]))
    }),
    ("padding-missing", || forged(|forge| forge.entry("SHA256SUMS").padding.clear())),
];
