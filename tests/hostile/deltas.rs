//! Deltas that contradict themselves: signed, and yet nothing that anybody who makes one would have written.

use manifests::Digest;
use manifests::bundle::{BundleDigest, Feature, Sequence};
use manifests::delta::{Base, Delta, LeftOut};
use testkit::sample::Draft;

use crate::{Case, Generator, forged_draft, signed};

/// A bundle that no site has to have had.
pub(crate) fn base(name: &[u8]) -> Base {
    Base {
        bundle: BundleDigest(Digest::of(name)),
        publisher: "acme".parse().unwrap(),
        product: "sample".parse().unwrap(),
        version: "2.0.0".parse().unwrap(),
        order: Sequence { epoch: 1, sequence: 41 },
    }
}

/// What may be left out of a draft, the lowest digest first.
pub(crate) fn layers(draft: &Draft) -> Vec<Digest> {
    let manifests = draft.inventory.manifests();
    let all = draft.inventory.blobs.iter().map(|blob| blob.digest);
    all.filter(|digest| !manifests.contains(digest)).collect()
}

/// A draft that leaves out these blobs for one base.
pub(crate) fn leave_out(draft: &mut Draft, blobs: &[Digest]) {
    let base = base(b"base");
    let mut blobs = blobs.to_vec();
    blobs.sort();
    let left_out = vec![LeftOut { bases: vec![base.bundle], blobs }];
    draft.inventory.delta = Some(Delta { bases: vec![base], left_out, patches: Vec::new() });
    draft.redo_inventory();
}

/// A signed delta that leaves out one layer, with a delta that was changed.
fn with(change: impl FnOnce(&mut Delta, &[Digest])) -> Case {
    signed(|draft| {
        let layers = layers(draft);
        leave_out(draft, &layers[..1]);
        change(draft.inventory.delta.as_mut().unwrap(), &layers);
        draft.redo_inventory();
    })
}

/// The same with a `bundle.json` that says something else.
fn saying(change: impl FnOnce(&mut Draft)) -> Case {
    signed(|draft| {
        let layers = layers(draft);
        leave_out(draft, &layers[..1]);
        change(draft);
        draft.redo_manifest();
    })
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("delta-without-bases", || {
        signed(|draft| {
            draft.manifest.features = vec![Feature::Delta];
            draft.redo_manifest();
        })
    }),
    ("delta-that-its-manifest-does-not-name", || {
        saying(|draft| {
            draft.manifest.features.clear();
            draft.manifest.bases.clear();
        })
    }),
    ("delta-on-other-bases-than-its-manifest-names", || {
        saying(|draft| {
            draft.manifest.bases = vec![Digest::of(b"another base")];
        })
    }),
    ("delta-with-other-counts", || saying(|draft| draft.manifest.counts.left_out += 1)),
    ("delta-with-a-feature-twice", || saying(|draft| draft.manifest.features.push(Feature::Delta))),
    ("delta-that-leaves-out-nothing", || with(|delta, _| delta.left_out.clear())),
    ("delta-with-an-empty-group", || with(|delta, _| delta.left_out[0].blobs.clear())),
    ("delta-with-a-group-without-bases", || with(|delta, _| delta.left_out[0].bases.clear())),
    ("delta-on-a-base-that-it-does-not-name", || {
        with(|delta, _| delta.left_out[0].bases = vec![BundleDigest(Digest::of(b"another base"))])
    }),
    ("delta-with-a-base-that-holds-nothing", || {
        with(|delta, _| {
            delta.bases.push(base(b"another base"));
            delta.bases.sort_by_key(|base| base.bundle);
        })
    }),
    ("delta-with-a-base-twice", || with(|delta, _| delta.bases.push(delta.bases[0].clone()))),
    ("delta-of-a-blob-that-the-bundle-does-not-have", || {
        with(|delta, _| delta.left_out[0].blobs = vec![Digest::of(b"no blob of it")])
    }),
    ("delta-of-blobs-out-of-order", || {
        with(|delta, layers| delta.left_out[0].blobs = vec![layers[1], layers[0]])
    }),
    ("delta-of-a-blob-in-two-groups", || {
        with(|delta, _| {
            let mut both = [base(b"base"), base(b"another base")].to_vec();
            both.sort_by_key(|base| base.bundle);
            let again = LeftOut { bases: vec![both[1].bundle], blobs: delta.left_out[0].blobs.clone() };
            delta.left_out[0].bases = vec![both[0].bundle];
            delta.left_out.push(again);
            delta.bases = both;
        })
    }),
    ("delta-with-groups-out-of-order", || {
        with(|delta, layers| {
            let mut both = [base(b"base"), base(b"another base")].to_vec();
            both.sort_by_key(|base| base.bundle);
            let group = |base: &Base, blob| LeftOut { bases: vec![base.bundle], blobs: vec![blob] };
            delta.left_out = vec![group(&both[1], layers[0]), group(&both[0], layers[1])];
            delta.bases = both;
        })
    }),
    ("delta-of-a-manifest", || {
        signed(|draft| {
            let manifest = *draft.inventory.manifests().iter().next().unwrap();
            leave_out(draft, &[manifest]);
        })
    }),
    ("delta-with-an-unknown-field", || {
        super::signed_inventory_of(
            |draft| {
                let layers = layers(draft);
                leave_out(draft, &layers[..1]);
            },
            |text| text.replacen("\"left_out\":[", "\"force\":true,\"left_out\":[", 1),
        )
    }),
    ("delta-changed-on-the-way", || {
        let mut draft = Draft::new(&testkit::sample::SampleOptions::default());
        let layers = layers(&draft);
        leave_out(&mut draft, &layers[..1]);
        forged_draft(&draft, |forge| {
            let entry = forge.entry("inventory.json");
            let text = String::from_utf8(entry.content.clone()).unwrap();
            let other = layers[1].hex();
            entry.content = text
                .replace(
                    &format!("\"blobs\":[\"sha256:{}\"]", layers[0].hex()),
                    &format!("\"blobs\":[\"sha256:{other}\"]"),
                )
                .into_bytes();
            assert_ne!(entry.content, text.into_bytes());
        })
    }),
];
