//! Signatures, keys that come along with a bundle, and bundles that somebody has put together from two good
//! ones.

use base64::Engine as _;
use layout::signatures::AREA_BYTES;
use manifests::Digest;
use testkit::sample::{
    Draft, Entry, Field, Forge, SampleOptions, UNKNOWN_SEED, draft_of_files, key, keyid, signature,
};

use crate::{Case, Generator, file, forged, forged_with, made, signature_bytes};

/// Signed by a key that no root lists.
fn unknown_signer() -> SampleOptions {
    SampleOptions { signers: vec![UNKNOWN_SEED], ..SampleOptions::default() }
}

/// Another good bundle of the same publisher and product, one number lower, with other content.
pub(crate) fn another_draft() -> Draft {
    let options = SampleOptions { sequence: 41, version: "2.0.0".to_string(), ..SampleOptions::default() };
    let files = [("a", vec![1; 700]), ("b", vec![2; 512]), ("c", Vec::new())];
    draft_of_files(&options, &files.map(|(path, bytes)| (path.to_string(), bytes)).into())
}

/// The sample with parts of [`another_draft`].
fn mixed(change: impl FnOnce(&mut Forge, &mut Forge)) -> Case {
    forged(|forge| change(forge, &mut another_draft().forge()))
}

/// How many signatures of 64 bytes the area holds.
const AREA_SIGNATURES: u64 = AREA_BYTES / 1024;

/// So many entries of signatures of this length, by keys that nobody knows, and no good one.
fn strangers(count: u64, length: usize) -> Case {
    forged(|forge| {
        let place = forge.position("signatures/");
        forge.entries.drain(place..forge.position("signatures/.reserved"));
        let name = |number: u64| format!("signatures/{}.sig", Digest::of(&number.to_be_bytes()).hex());
        let names = (0..count).map(name);
        forge.entries.splice(place..place, names.map(|name| Entry::new(&name, &vec![7; length])));
        forge.reserve_again();
    })
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The same signature with S + L for S, which the lax check of RFC 8032's first readers took for good.
fn plus_the_group_order(raw: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = raw.to_vec();
    let mut carry = 0;
    for (place, digit) in ORDER.iter().enumerate() {
        let total = u16::from(sum[32 + place]) + u16::from(*digit) + carry;
        sum[32 + place] = total.to_le_bytes()[0];
        carry = total >> 8;
    }
    sum
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("signature-that-is-a-public-key", || {
        signature_bytes(key(UNKNOWN_SEED).public().unwrap().pem().as_bytes())
    }),
    ("signature-that-brings-its-key-along", || {
        // The shape of a bundle that some verifiers take the key out of (GHSA-fx35-mq7g-6g98).
        let draft = Draft::new(&SampleOptions::default());
        let (_, raw) = signature(UNKNOWN_SEED, &draft.manifest_bytes);
        let text = serde_json::json!({
            "base64Signature": base64(&raw),
            "cert": base64(key(UNKNOWN_SEED).public().unwrap().pem().as_bytes()),
        });
        signature_bytes(text.to_string().as_bytes())
    }),
    ("signature-of-zeros", || signature_bytes(&[0; 64])),
    ("signature-of-small-order", || {
        // R is the neutral point, S is 0: good for any bytes under a key of small order, and for no other.
        let mut raw = [0; 64];
        raw[0] = 1;
        signature_bytes(&raw)
    }),
    ("signature-with-another-s", || {
        let draft = Draft::new(&SampleOptions::default());
        signature_bytes(&plus_the_group_order(&draft.signatures[0].1))
    }),
    ("signature-name-in-upper-case", || {
        forged(|forge| {
            let name = format!("signatures/{}.sig", keyid(1).to_string().to_uppercase());
            forge.entry("signatures/").set(Field::Name, name.as_bytes());
        })
    }),
    ("signature-in-an-unknown-form", || {
        forged(|forge| {
            let name = format!("signatures/{}.asc", keyid(1));
            let place = forge.position("signatures/.reserved");
            forge.entries.insert(place, Entry::new(&name, b"hello"));
            forge.reserve_again();
        })
    }),
    ("signature-under-the-same-name-twice", || {
        // The second one is good, the first one is not.
        forged(|forge| {
            let place = forge.position("signatures/");
            let mut bad = forge.entries[place].clone();
            bad.content[0] ^= 1;
            forge.entries.insert(place, bad);
            forge.reserve_again();
        })
    }),
    ("signatures-of-strangers-that-fill-the-area", || strangers(AREA_SIGNATURES, 64)),
    ("signatures-more-than-the-area-holds", || strangers(AREA_SIGNATURES + 1, 64)),
    ("signatures-empty-that-fill-the-area", || strangers(2 * AREA_SIGNATURES, 0)),
    ("key-beside-the-bundle", || {
        let mut case = made(|o| o.signers = vec![UNKNOWN_SEED]);
        let pem = key(UNKNOWN_SEED).public().unwrap().pem().as_bytes().to_vec();
        case.beside = vec![("release.pub.pem".to_string(), pem)];
        case
    }),
    ("root-beside-the-bundle", || {
        // A root that trusts the signer, as the site keeps its own and as a publisher hands one out.
        let mut case = made(|o| o.signers = vec![UNKNOWN_SEED]);
        let theirs = SampleOptions::default().release(&[(UNKNOWN_SEED, "mallory")], 1, &[]);
        let root = testkit::sample::sample_root(&theirs);
        for name in ["root.json", "trust/1.root.json", "trust/2.root.json"] {
            case.beside.push((name.to_string(), root.bytes.clone()));
            for found in &root.signatures {
                case.beside.push((format!("{name}.sigs/{}.sig", found.claimed), found.bytes.clone()));
            }
        }
        case
    }),
    ("key-in-the-archive", || {
        forged_with(unknown_signer(), |forge, _| {
            let pem = key(UNKNOWN_SEED).public().unwrap().pem().as_bytes().to_vec();
            let place = forge.position("SHA256SUMS");
            forge.entries.insert(place, Entry::new("release.pub.pem", &pem));
        })
    }),
    ("key-in-the-signature-area", || {
        forged_with(unknown_signer(), |forge, _| {
            let pem = key(UNKNOWN_SEED).public().unwrap().pem().as_bytes().to_vec();
            let place = forge.position("signatures/.reserved");
            let name = format!("signatures/{}.pub.pem", keyid(UNKNOWN_SEED));
            forge.entries.insert(place, Entry::new(&name, &pem));
            forge.reserve_again();
        })
    }),
    ("root-in-the-archive", || {
        forged_with(unknown_signer(), |forge, _| {
            let theirs = SampleOptions::default().release(&[(UNKNOWN_SEED, "mallory")], 1, &[]);
            let root = testkit::sample::sample_root(&theirs);
            let place = forge.position("SHA256SUMS");
            forge.entries.insert(place, Entry::new("trust/1.root.json", &root.bytes));
        })
    }),
    // Parts of two good bundles of the same publisher.
    ("mixed-signatures-of-another-bundle", || {
        mixed(|ours, theirs| *ours.entry("signatures/") = theirs.entry("signatures/").clone())
    }),
    ("mixed-manifest-of-another-bundle", || {
        mixed(|ours, theirs| *ours.entry("bundle.json") = theirs.entry("bundle.json").clone())
    }),
    ("mixed-head-of-another-bundle", || {
        mixed(|ours, theirs| {
            let (here, there) = (ours.position("SHA256SUMS"), theirs.position("SHA256SUMS"));
            ours.entries.splice(..here, theirs.entries[..there].iter().cloned());
        })
    }),
    ("mixed-sha256sums-of-another-bundle", || {
        mixed(|ours, theirs| *ours.entry("SHA256SUMS") = theirs.entry("SHA256SUMS").clone())
    }),
    ("mixed-inventory-of-another-bundle", || {
        mixed(|ours, theirs| *ours.entry("inventory.json") = theirs.entry("inventory.json").clone())
    }),
    ("mixed-inventory-and-sha256sums-of-another-bundle", || {
        mixed(|ours, theirs| {
            for name in ["SHA256SUMS", "inventory.json"] {
                *ours.entry(name) = theirs.entry(name).clone();
            }
        })
    }),
    ("mixed-index-of-another-bundle", || {
        mixed(|ours, theirs| *ours.entry("index.json") = theirs.entry("index.json").clone())
    }),
    ("mixed-blobs-of-another-bundle", || {
        mixed(|ours, theirs| {
            let (here, there) = (ours.position("blobs/"), theirs.position("blobs/"));
            ours.entries.splice(here.., theirs.entries[there..].iter().cloned());
        })
    }),
    ("mixed-blob-of-another-bundle-added", || {
        mixed(|ours, theirs| {
            let known: Vec<Vec<u8>> = ours.entries.iter().map(|entry| entry.header[..100].to_vec()).collect();
            let foreign = |entry: &&Entry| !known.contains(&entry.header[..100].to_vec());
            ours.entries.extend(theirs.entries.iter().rev().find(foreign).cloned());
        })
    }),
    ("mixed-second-archive-of-another-bundle", || {
        file(|archive| [archive, another_draft().forge().bytes()].concat())
    }),
    ("mixed-second-archive-before-the-end", || {
        // One after the other, with the empty blocks only where the second one ends.
        file(|mut archive| {
            archive.truncate(archive.len() - 1024);
            [archive, another_draft().forge().bytes()].concat()
        })
    }),
];
