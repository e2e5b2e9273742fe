//! More hostile bundles, by what they attack. Each of these modules has a list of directories of `corpus/`
//! and of what makes the bundle of each.
//!
//! Each maker starts from an honest bundle, changes one thing, and redoes whatever hangs from it, so that
//! only the check which the case is about stands between it and the site.

use testkit::sample::{Draft, Entry, Field, ImageParts, put_image};

use crate::{Case, Generator, forged, signed};

mod archives;
pub(crate) mod deltas;
mod documents;
mod entries;
mod headers;
pub(crate) mod images;
pub(crate) mod patches;
pub(crate) mod roots;
mod scripted;
pub(crate) mod signatures;

/// Every directory of these parts that holds a hostile bundle.
pub(crate) fn bundles() -> impl Iterator<Item = &'static (&'static str, Generator)> {
    let parts = [
        signatures::CASES,
        documents::CASES,
        entries::CASES,
        headers::CASES,
        archives::CASES,
        images::CASES,
        scripted::CASES,
        deltas::CASES,
        patches::CASES,
    ];
    parts.into_iter().flatten()
}

/// A bundle whose `inventory.json` hangs from the signature and has these bytes.
pub(crate) fn signed_inventory(change: impl FnOnce(String) -> String) -> Case {
    signed(|draft| {
        draft.inventory_bytes =
            change(String::from_utf8(draft.inventory_bytes.clone()).unwrap()).into_bytes();
        draft.redo_checksums();
    })
}

/// The same, of a draft that was changed before.
fn signed_inventory_of(before: impl FnOnce(&mut Draft), change: impl FnOnce(String) -> String) -> Case {
    signed(|draft| {
        before(draft);
        draft.inventory_bytes =
            change(String::from_utf8(draft.inventory_bytes.clone()).unwrap()).into_bytes();
        draft.redo_checksums();
    })
}

/// A signed bundle whose image was changed, and whatever hangs from it.
pub(crate) fn signed_image(change: impl FnOnce(&mut ImageParts)) -> Case {
    signed(|draft: &mut Draft| put_image(draft, change))
}

/// A bundle with more entries before `SHA256SUMS`.
fn before_checksums(entries: Vec<Entry>) -> Case {
    forged(|forge| {
        let place = forge.position("SHA256SUMS");
        forge.entries.splice(place..place, entries);
    })
}

/// An entry of another type, with nothing in it.
fn of_type_at(name: &str, kind: &[u8], link: &[u8]) -> Entry {
    Entry::new(name, b"").with(Field::Type, kind).with(Field::LinkName, link)
}
