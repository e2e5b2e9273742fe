//! Patches that lie, and deltas that lie about their patches: signed, so that only what a site checks itself stands
//! between them and its store.

use layout::patch::{FRAME_BYTES_MAX, PREFIX_BYTES_MAX, Written, write};
use manifests::Digest;
use manifests::bundle::{BundleDigest, Content, Feature};
use manifests::delta::{Delta, Patch};
use manifests::inventory::Component;
use testkit::sample::{Draft, SampleOptions};

use super::deltas::{base, layers};
use crate::{Case, Generator};

/// Where the one segment of the sample's patch begins in its index, and where its frame does.
const SEGMENT: usize = 104;
const FRAME: usize = 152;

/// The plain layer of the sample's image.
pub(crate) fn layer(draft: &Draft) -> Digest {
    let image = draft.inventory.components.iter().find_map(|component| match component {
        Component::Image(image) => Some(image),
        _ => None,
    });
    image.unwrap().blobs[2]
}

/// The same layer a release ago.
pub(crate) fn older(draft: &Draft) -> Vec<u8> {
    let mut bytes = draft.blobs[&layer(draft)].clone();
    let place = bytes.windows(6).position(|found| found == b"hello\n").unwrap();
    bytes[place..place + 5].copy_from_slice(b"HELLO");
    bytes
}

/// A patch of `blob` for `old`.
fn bytes_of(blob: &[u8], old: &[u8]) -> Vec<u8> {
    let (mut out, mut new) = (Vec::new(), blob);
    let room = std::io::Cursor::new(Vec::new());
    let (wanted, of) = (Content::of(blob), Content::of(old));
    let written = write((&mut new, wanted), (&old.to_vec(), of), u64::MAX, room, &mut out).unwrap();
    assert!(matches!(written, Written::Made(_)));
    out
}

fn patch(blob: &[u8], old: &[u8], bytes: &[u8]) -> Patch {
    Patch {
        blob: Digest::of(blob),
        base: Content::of(old),
        bases: vec![base(b"base").bundle],
        index: Digest::of(&bytes[..FRAME]),
        patch: Content::of(bytes),
    }
}

/// Puts patches into a draft.
fn put(draft: &mut Draft, patches: Vec<Patch>, bytes: &[Vec<u8>]) {
    draft.inventory.delta = Some(Delta { bases: vec![base(b"base")], left_out: Vec::new(), patches });
    draft.blobs.extend(bytes.iter().map(|bytes| (Digest::of(bytes), bytes.clone())));
    draft.redo_inventory();
}

/// An honest delta whose layer comes as a patch.
pub(crate) fn patched(options: &SampleOptions) -> Draft {
    let mut draft = Draft::new(options);
    let (blob, old) = (draft.blobs[&layer(&draft)].clone(), older(&draft));
    let bytes = bytes_of(&blob, &old);
    put(&mut draft, vec![patch(&blob, &old, &bytes)], &[bytes]);
    draft
}

/// A case of this draft, at a site that holds what is patched.
fn case(draft: &Draft) -> Case {
    let mut case = Case::new(draft.options.clone(), draft.forge().bytes());
    let old = older(draft);
    case.held.push((Digest::of(&old), old));
    case
}

/// The delta, at a site that takes it.
pub(crate) fn honest() -> Case {
    case(&patched(&SampleOptions::default()))
}

/// The honest patch with other bytes, which were signed so.
fn lying(change: impl FnOnce(&mut Vec<u8>)) -> Case {
    let mut draft = Draft::new(&SampleOptions::default());
    let (blob, old) = (draft.blobs[&layer(&draft)].clone(), older(&draft));
    let mut bytes = bytes_of(&blob, &old);
    change(&mut bytes);
    put(&mut draft, vec![patch(&blob, &old, &bytes)], &[bytes]);
    case(&draft)
}

/// Makes the index speak of the frame that is there now.
fn seal(bytes: &mut [u8]) {
    let (length, digest) = (bytes.len() - FRAME, Digest::of(&bytes[FRAME..]));
    bytes[SEGMENT + 12..SEGMENT + 16].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes[SEGMENT + 16..FRAME].copy_from_slice(digest.as_bytes());
}

/// The honest patch, of which the inventory says something else.
fn saying(change: impl FnOnce(&mut Delta, &Draft)) -> Case {
    let mut draft = patched(&SampleOptions::default());
    let mut delta = draft.inventory.delta.clone().unwrap();
    change(&mut delta, &draft);
    draft.inventory.delta = Some(delta);
    draft.redo_inventory();
    case(&draft)
}

/// The same with one patch.
fn patch_saying(change: impl FnOnce(&mut Patch, &Draft)) -> Case {
    saying(|delta, draft| change(&mut delta.patches[0], draft))
}

/// The largest other blob of the draft that travels and is no manifest.
fn another(draft: &Draft) -> Content {
    let others = layers(draft).into_iter().filter(|blob| *blob != layer(draft));
    let sized = |digest| Content { digest, size: draft.inventory.blob_size(&digest).unwrap() };
    others.map(sized).max_by_key(|blob| blob.size).unwrap()
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("patch-for-another-base", || {
        let other = b"something else that the site holds".repeat(100);
        let mut case = patch_saying(|patch, _| patch.base = Content::of(&other));
        case.held.push((Digest::of(&other), other));
        case
    }),
    ("patch-with-another-magic-number", || lying(|bytes| bytes[15] = b'2')),
    ("patch-that-states-another-size", || lying(|bytes| bytes[55] ^= 1)),
    ("patch-that-states-another-base", || lying(|bytes| bytes[60] ^= 1)),
    ("patch-in-other-segments", || lying(|bytes| bytes[96..100].copy_from_slice(&[0, 0, 16, 0]))),
    ("patch-with-another-count", || lying(|bytes| bytes[103] = 2)),
    ("patch-with-a-prefix-beyond-its-limit", || {
        lying(|bytes| {
            bytes[SEGMENT + 8..SEGMENT + 12].copy_from_slice(&(PREFIX_BYTES_MAX + 1).to_be_bytes());
        })
    }),
    ("patch-with-a-prefix-beyond-its-base", || lying(|bytes| bytes[SEGMENT + 7] = 1)),
    ("patch-with-a-frame-beyond-its-limit", || {
        lying(|bytes| {
            bytes[SEGMENT + 12..SEGMENT + 16].copy_from_slice(&(FRAME_BYTES_MAX + 1).to_be_bytes());
        })
    }),
    ("patch-with-a-frame-that-its-index-does-not-speak-of", || lying(|bytes| bytes[FRAME + 9] ^= 1)),
    ("patch-with-a-frame-of-another-form", || {
        lying(|bytes| {
            bytes[FRAME + 4] |= 0b0000_0100;
            seal(bytes);
        })
    }),
    ("patch-with-bytes-behind-its-frame", || {
        lying(|bytes| {
            bytes.push(0);
            seal(bytes);
        })
    }),
    ("patch-with-trailing-bytes", || lying(|bytes| bytes.push(0))),
    ("patch-that-is-cut-off", || {
        lying(|bytes| {
            bytes.pop();
        })
    }),
    ("patch-that-makes-another-blob", || {
        lying(|bytes| {
            let honest = bytes.clone();
            let draft = Draft::new(&SampleOptions::default());
            let mut blob = draft.blobs[&layer(&draft)].clone();
            blob[700] ^= 1;
            *bytes = bytes_of(&blob, &older(&draft));
            // It states what was signed.
            bytes[16..56].copy_from_slice(&honest[16..56]);
        })
    }),
    ("patch-with-an-index-that-was-not-signed", || {
        patch_saying(|patch, _| patch.index = Digest::of(b"another index"))
    }),
    ("patch-of-a-manifest", || {
        patch_saying(|patch, draft| patch.blob = *draft.inventory.manifests().iter().next().unwrap())
    }),
    ("patch-of-a-blob-that-the-bundle-does-not-have", || {
        patch_saying(|patch, _| patch.blob = Digest::of(b"no blob of it"))
    }),
    ("patch-of-a-blob-that-is-left-out", || {
        saying(|delta, _| {
            let (bases, blobs) = (delta.patches[0].bases.clone(), vec![delta.patches[0].blob]);
            delta.left_out = vec![manifests::delta::LeftOut { bases, blobs }];
        })
    }),
    ("patch-that-is-a-blob-as-well", || patch_saying(|patch, draft| patch.patch = another(draft))),
    ("patch-of-two-blobs", || {
        saying(|delta, draft| {
            let second = Patch { blob: another(draft).digest, ..delta.patches[0].clone() };
            delta.patches.push(second);
            delta.patches.sort_by_key(|patch| patch.blob);
        })
    }),
    ("patch-made-for-a-blob-that-travels", || patch_saying(|patch, draft| patch.base = another(draft))),
    ("patch-as-large-as-its-blob", || patch_saying(|patch, _| patch.patch.size = 2048)),
    ("patch-without-bases", || patch_saying(|patch, _| patch.bases.clear())),
    ("patch-on-a-base-that-the-delta-does-not-name", || {
        patch_saying(|patch, _| patch.bases = vec![BundleDigest(Digest::of(b"another base"))])
    }),
    ("patch-twice", || saying(|delta, _| delta.patches.push(delta.patches[0].clone()))),
    ("patch-that-its-manifest-does-not-name", || {
        let mut draft = patched(&SampleOptions::default());
        draft.manifest.features = vec![Feature::Delta];
        draft.redo_manifest();
        case(&draft)
    }),
    ("patch-named-and-not-there", || {
        let mut draft = Draft::new(&SampleOptions::default());
        let first = layers(&draft)[0];
        super::deltas::leave_out(&mut draft, &[first]);
        draft.manifest.features.push(Feature::Patch);
        draft.redo_manifest();
        case(&draft)
    }),
    ("patch-named-without-a-delta", || {
        let mut draft = Draft::new(&SampleOptions::default());
        draft.manifest.features = vec![Feature::Patch];
        draft.redo_manifest();
        case(&draft)
    }),
    ("patch-with-other-counts", || {
        let mut draft = patched(&SampleOptions::default());
        draft.manifest.counts.patch_bytes += 1;
        draft.redo_manifest();
        case(&draft)
    }),
    ("patch-changed-on-the-way", || {
        let draft = patched(&SampleOptions::default());
        let name = format!("blobs/sha256/{}", draft.inventory.patches()[0].patch.digest.hex());
        let mut changed = case(&draft);
        let mut forge = draft.forge();
        forge.entry(&name).content[FRAME + 9] ^= 1;
        changed.archive = forge.bytes();
        changed
    }),
    ("patch-beside-its-blob", || {
        let draft = patched(&SampleOptions::default());
        let mut both = case(&draft);
        let mut forge = draft.forge();
        let blob = layer(&draft);
        let name = format!("blobs/sha256/{}", blob.hex());
        let place = forge
            .entries
            .iter()
            .position(|entry| {
                entry.header.starts_with(b"blobs/") && entry.header[..77] > name.as_bytes()[..77]
            })
            .unwrap_or(forge.entries.len());
        forge.entries.insert(place, testkit::sample::Entry::new(&name, &draft.blobs[&blob]));
        both.archive = forge.bytes();
        both
    }),
];
