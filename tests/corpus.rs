//! Hostile bundles: one directory of `corpus/` for each thing that a site must refuse, named by it. Its
//! `expect.json` says how the site refuses; the bundle itself is made here, by the generator of that name,
//! so that no binary file has to be believed. `corpus/README.md` says which attack each one is.
//!
//! Each case goes the whole way, through the library and through the commands: the right exit code and
//! message, the site byte for byte as it was, nothing written anywhere else, and the refusal in the audit
//! log, whose chain still holds.
//!
//! A new requirement is a new directory and a new line in [`GENERATORS`] or in one of the lists of
//! [`hostile`]; the test fails if one of the two is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod hostile;
#[allow(dead_code, reason = "each test file uses some of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edge::Exit;
use hostile::roots::{ROOTS, RootCase};
use installer::site::ledger::{Applied, Ledger};
use manifests::audit::{Entry as LogEntry, Outcome};
use manifests::bundle::{BundleDigest, Content, Sequence};
use manifests::companion::CompanionKind;
use manifests::inventory::{Component, Image, ImageSbom, Inventory, SbomForm, SbomFormat};
use manifests::root::Verdict;
use manifests::text::Audience;
use manifests::{Digest, canonical};
use support::{Picture, Scene, holds_exactly, message};
use testkit::sample::roots::RevocationDraft;
use testkit::sample::{
    Draft, Entry, Field, Forge, ROOT_SEED, SampleOptions, UNKNOWN_SEED, key, keyid, put_image, sample_bundle,
    signature,
};
use testkit::{exercise, real_part};

/// A bundle and the site that it comes to.
struct Case {
    archive: Vec<u8>,
    /// What else lies on the medium, by its path there.
    beside: Vec<(String, Vec<u8>)>,
    /// What the site's root is made from.
    options: SampleOptions,
    /// What the site calls itself.
    site: Option<&'static str>,
    /// The order that was applied here before, and the bundle that had it.
    applied: Option<(Sequence, BundleDigest)>,
    /// What the publisher has revoked, as the site was told.
    revoked: Option<RevocationDraft>,
    /// What the site store has, by the names of the files: digests, and what is there.
    held: Vec<(Digest, Vec<u8>)>,
}

impl Case {
    fn new(options: SampleOptions, archive: Vec<u8>) -> Self {
        Self {
            archive,
            beside: Vec::new(),
            options,
            site: None,
            applied: None,
            revoked: None,
            held: Vec::new(),
        }
    }
}

/// The honest bundle of these options: what is wrong is that it came here.
fn made_with(options: SampleOptions) -> Case {
    let archive = sample_bundle(&options).archive;
    Case::new(options, archive)
}

/// A bundle that its publisher has signed in this state.
fn signed(change: impl FnOnce(&mut Draft)) -> Case {
    let options = SampleOptions::default();
    let mut draft = Draft::new(&options);
    change(&mut draft);
    Case::new(options, draft.forge().bytes())
}

/// A bundle whose `bundle.json` is signed and has these bytes.
fn signed_text(change: impl FnOnce(String) -> String) -> Case {
    signed(|draft| {
        draft.manifest_bytes = change(String::from_utf8(draft.manifest_bytes.clone()).unwrap()).into_bytes();
        draft.redo_signatures();
    })
}

/// A bundle whose entries somebody has changed on the way.
fn forged(change: impl FnOnce(&mut Forge)) -> Case {
    forged_with(SampleOptions::default(), |forge, _| change(forge))
}

fn forged_with(options: SampleOptions, change: impl FnOnce(&mut Forge, &Draft)) -> Case {
    let draft = Draft::new(&options);
    let mut forge = draft.forge();
    change(&mut forge, &draft);
    Case::new(options, forge.bytes())
}

/// A draft whose entries somebody has changed on the way.
fn forged_draft(draft: &Draft, change: impl FnOnce(&mut Forge)) -> Case {
    let mut forge = draft.forge();
    change(&mut forge);
    Case::new(draft.options.clone(), forge.bytes())
}

/// A bundle with a header field changed in one entry, and its checksum made right.
fn field(entry: &str, field: Field, value: &[u8]) -> Case {
    forged(|forge| forge.entry(entry).set(field, value))
}

/// An entry of another type, with nothing in it, where `SHA256SUMS` should be.
fn of_type(kind: &[u8], link: &[u8]) -> Case {
    forged(|forge| {
        let entry = forge.entry("SHA256SUMS");
        *entry = Entry::new("SHA256SUMS", b"").with(Field::Type, kind).with(Field::LinkName, link);
    })
}

/// An entry that speaks about the next one, before `SHA256SUMS`.
fn extension(kind: &[u8], name: &str, content: &[u8]) -> Case {
    forged(|forge| {
        let place = forge.position("SHA256SUMS");
        forge.entries.insert(place, Entry::new(name, content).with(Field::Type, kind));
    })
}

/// The bundle as a file, changed as a whole.
fn file(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Case {
    let mut case = made_with(SampleOptions::default());
    case.archive = change(case.archive);
    case
}

/// A first signature of these bytes in place of the good one.
fn signature_bytes(raw: &[u8]) -> Case {
    forged(|forge| {
        let name = format!("signatures/{}.sig", keyid(1));
        *forge.entry("signatures/") = Entry::new(&name, raw);
        forge.reserve_again();
    })
}

/// Takes the first signature out, with the form that is derived from it.
fn strip_signature(forge: &mut Forge) {
    let place = forge.position("signatures/");
    forge.entries.drain(place..place + 2);
}

/// The first derived form as text, changed, and the area of its right length all the same.
fn form(change: impl FnOnce(String) -> String) -> Case {
    forged(|forge| change_form(forge, &form_name(1), change))
}

fn form_name(seed: u8) -> String {
    format!("signatures/{}.sigstore.json", keyid(seed))
}

fn change_form(forge: &mut Forge, name: &str, change: impl FnOnce(String) -> String) {
    let entry = forge.entry(name);
    let text = change(String::from_utf8(entry.content.clone()).unwrap());
    *entry = Entry::new(name, text.as_bytes());
    forge.reserve_again();
}

/// Alice and Bob have both signed.
fn two_signatures(change: impl FnOnce(&mut Forge)) -> Case {
    let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]);
    forged_with(options, |forge, _| {
        change(forge);
        forge.reserve_again();
    })
}

/// Of two good signatures, `second` by seed 2 is replaced.
fn second_signature(threshold: u32, second: impl FnOnce(&Draft) -> (manifests::KeyId, Vec<u8>)) -> Case {
    let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], threshold, &[1, 2]);
    let mut draft = Draft::new(&options);
    draft.signatures[1] = second(&draft);
    Case::new(options, draft.forge().bytes())
}

fn made(change: impl FnOnce(&mut SampleOptions)) -> Case {
    let mut options = SampleOptions::default();
    change(&mut options);
    made_with(options)
}

/// An honest bundle that comes to a site which was told of this.
fn revoking(list: impl FnOnce(&Case) -> RevocationDraft) -> Case {
    let mut case = made_with(SampleOptions::default());
    case.revoked = Some(list(&case));
    case
}

/// A bundle that comes to a site where another one was applied before.
fn after(applied: Sequence) -> Case {
    let mut case = made_with(SampleOptions::default());
    case.applied = Some((applied, BundleDigest(Digest::of(b"the one before"))));
    case
}

/// The sample's own file, which no image or wheel is in the way of.
fn some_blob(draft: &Draft) -> Digest {
    let found = draft.blobs.iter().find(|(_, bytes)| bytes.starts_with(b"threshold"));
    *found.unwrap().0
}

/// A bundle with a counter-signed image that its publisher has signed in this state. The change need not
/// care for `index.json`.
fn countersigned(change: impl FnOnce(&mut Draft)) -> Case {
    let options = SampleOptions { countersigners: vec![1], ..SampleOptions::default() };
    let mut draft = Draft::new(&options);
    change(&mut draft);
    draft.oci_index = draft.inventory.oci_index().unwrap();
    draft.inventory.files.oci_index = Content::of(&draft.oci_index);
    draft.redo_inventory();
    Case::new(options, draft.forge().bytes())
}

fn image_of(inventory: &mut Inventory) -> &mut Image {
    let mut components = inventory.components.iter_mut();
    let found = components.find_map(|component| match component {
        Component::Image(image) => Some(image),
        _ => None,
    });
    found.unwrap()
}

/// The same image once more, by another tag.
fn with_a_second_image(inventory: &mut Inventory, tag: &str, change: impl FnOnce(&mut Image)) {
    let mut image = image_of(inventory).clone();
    image.name = format!("{}:{tag}", image.name.repository()).parse().unwrap();
    change(&mut image);
    inventory.components.push(Component::Image(image));
    inventory.components.sort_by_key(Component::ref_name);
}

/// Takes a blob out of the list and out of the archive.
fn drop_blob(draft: &mut Draft, digest: Digest) {
    draft.blobs.remove(&digest);
    draft.inventory.blobs.retain(|blob| blob.digest != digest);
}

const HALF: usize = 200;

type Generator = fn() -> Case;

/// What makes the bundle of each directory.
const GENERATORS: &[(&str, Generator)] = &[
    // Who has signed.
    ("unsigned", || made(|o| o.signers = Vec::new())),
    ("signature-entry-stripped", || forged(strip_signature)),
    ("signature-stripped-below-threshold", || {
        let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]);
        forged_with(options, |forge, _| {
            strip_signature(forge);
            forge.reserve_again();
        })
    }),
    ("signature-unknown-key-only", || made(|o| o.signers = vec![UNKNOWN_SEED])),
    ("signature-unknown-key-twice", || made(|o| o.signers = vec![1, UNKNOWN_SEED, UNKNOWN_SEED])),
    ("signature-root-key-only", || made(|o| o.signers = vec![ROOT_SEED])),
    ("signature-same-key-twice", || {
        made_with(SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 1]))
    }),
    ("signature-same-key-twice-beside-enough", || {
        made_with(SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2, 1]))
    }),
    ("signature-two-keys-one-holder", || {
        let role = [(1, "alice"), (2, "alice"), (3, "bob")];
        made_with(SampleOptions::default().release(&role, 2, &[1, 2]))
    }),
    ("signature-empty", || signature_bytes(b"")),
    ("signature-63-bytes", || {
        let draft = Draft::new(&SampleOptions::default());
        signature_bytes(&draft.signatures[0].1[..63])
    }),
    ("signature-65-bytes", || {
        let draft = Draft::new(&SampleOptions::default());
        signature_bytes(&[draft.signatures[0].1.as_slice(), &[0]].concat())
    }),
    ("signature-513-bytes", || signature_bytes(&[0; 513])),
    ("signature-as-text", || {
        let draft = Draft::new(&SampleOptions::default());
        let hex: String = draft.signatures[0].1.iter().map(|byte| format!("{byte:02x}")).collect();
        signature_bytes(hex.as_bytes())
    }),
    ("signature-bad-beside-enough", || second_signature(1, |_| (keyid(2), vec![7; 64]))),
    ("signature-over-another-bundle", || {
        let other = Draft::new(&SampleOptions { sequence: 41, ..SampleOptions::default() });
        signature_bytes(&other.signatures[0].1)
    }),
    ("signature-under-another-keys-name", || {
        // Alice's good signature, again, as Bob's.
        second_signature(2, |draft| (keyid(2), signature(1, &draft.manifest_bytes).1))
    }),
    ("signature-over-the-root", || {
        let root = testkit::sample::sample_root(&SampleOptions::default());
        signature_bytes(&key(1).sign(&root.bytes).unwrap())
    }),
    ("signature-named-by-a-person", || {
        forged(|forge| forge.entry("signatures/").set(Field::Name, b"signatures/alice.sig"))
    }),
    ("signature-after-the-reserved-area", || {
        forged(|forge| {
            let place = forge.position("SHA256SUMS");
            let again = forge.entry("signatures/").clone();
            forge.entries.insert(place, again);
        })
    }),
    // What is derived from a signature, and is not.
    ("sigstore-form-before-its-signature", || {
        forged(|forge| {
            let place = forge.position("signatures/");
            forge.entries.swap(place, place + 1);
        })
    }),
    ("sigstore-form-without-its-signature", || {
        two_signatures(|forge| drop(forge.entries.remove(forge.position("signatures/"))))
    }),
    ("sigstore-form-after-another-signature", || {
        two_signatures(|forge| {
            let place = forge.position("signatures/");
            forge.entries.swap(place + 1, place + 3);
        })
    }),
    ("sigstore-form-of-another-signature", || {
        two_signatures(|forge| {
            let of_bob = forge.entry(&form_name(2)).content.clone();
            let name = form_name(1);
            *forge.entry(&name) = Entry::new(&name, &of_bob);
        })
    }),
    ("sigstore-form-twice", || {
        forged(|forge| {
            let place = forge.position(&form_name(1));
            let again = forge.entries[place].clone();
            forge.entries.insert(place, again);
            forge.reserve_again();
        })
    }),
    ("sigstore-form-after-the-reserved-area", || {
        forged(|forge| {
            let place = forge.position(&form_name(1));
            let form = forge.entries.remove(place);
            forge.reserve_again();
            forge.entries.insert(place + 1, form);
        })
    }),
    ("sigstore-form-with-a-space", || form(|text| text.replacen(':', ": ", 1))),
    ("sigstore-form-without-its-line-feed", || form(|text| text.trim_end().to_string())),
    ("sigstore-form-empty", || form(|_| String::new())),
    ("sigstore-form-over-1-kib", || form(|text| text + &" ".repeat(1024))),
    ("sigstore-form-with-another-digest", || form(|text| text.replace("SHA2_256", "SHA2_384"))),
    ("sigstore-form-with-a-key-of-its-own", || {
        // What cosign before the fix of GHSA-fx35-mq7g-6g98 takes in place of the auditor's key.
        form(|_| {
            let pem = key(UNKNOWN_SEED).public().unwrap().pem().to_string();
            serde_json::json!({"base64Signature": "AAAA", "cert": pem}).to_string()
        })
    }),
    ("sigstore-form-of-an-unknown-key-with-other-bytes", || {
        let options = SampleOptions { signers: vec![1, UNKNOWN_SEED], ..SampleOptions::default() };
        forged_with(options, |forge, _| {
            change_form(forge, &form_name(UNKNOWN_SEED), |text| text.replacen("v0.3", "v0.1", 1));
        })
    }),
    ("sigstore-form-of-a-signature-that-has-none", || {
        let options = SampleOptions { signers: vec![1, UNKNOWN_SEED], ..SampleOptions::default() };
        forged_with(options, |forge, _| {
            let name = format!("signatures/{}.sig", keyid(UNKNOWN_SEED));
            *forge.entry(&name) = Entry::new(&name, b"SSHSIG");
            forge.reserve_again();
        })
    }),
    // For whom, and when.
    ("publisher-other", || made(|o| o.publisher = "mallory".to_string())),
    ("audience-other-site", || {
        let mut case = made(|o| o.audience = vec!["elsewhere".to_string()]);
        case.site = Some("here");
        case
    }),
    ("audience-named-and-site-without-name", || made(|o| o.audience = vec!["elsewhere".to_string()])),
    ("audience-nobody", || made(|o| o.audience = Vec::new())),
    ("order-below-highest", || after(Sequence { epoch: 1, sequence: 43 })),
    ("order-below-highest-of-a-later-epoch", || after(Sequence { epoch: 2, sequence: 1 })),
    ("order-equivocation", || after(Sequence { epoch: 1, sequence: 42 })),
    ("epoch-above-the-roots", || made(|o| o.epoch = 2)),
    ("epoch-below-the-roots", || made(|o| o.root_epoch = 2)),
    ("revoked-bundle", || {
        revoking(|case| {
            let reader = layout::reader::BundleReader::open(case.archive.as_slice()).unwrap();
            RevocationDraft::new(1, 1, &[ROOT_SEED]).bundle(reader.head().bundle_digest())
        })
    }),
    ("revoked-key", || revoking(|_| RevocationDraft::new(1, 1, &[ROOT_SEED]).key(1, &[]))),
    ("revoked-key-but-for-another-bundle", || {
        let other = BundleDigest(Digest::of(b"another bundle"));
        revoking(|_| RevocationDraft::new(1, 1, &[ROOT_SEED]).key(1, &[other]))
    }),
    ("revoked-key-beside-too-few-others", || {
        let mut case = made_with(SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]));
        case.revoked = Some(RevocationDraft::new(1, 1, &[ROOT_SEED]).key(2, &[]));
        case
    }),
    ("revoked-below-an-order", || {
        revoking(|_| RevocationDraft::new(1, 1, &[ROOT_SEED]).below("sample", 1, 43))
    }),
    ("root-version-too-high", || made(|o| o.root_version = 2)),
    ("delta", || made(|o| o.bases = vec![Digest::of(b"base")])),
    // Signed, and yet not a document of ours.
    ("manifest-with-a-space", || signed_text(|text| text.replacen(':', ": ", 1))),
    ("manifest-with-a-key-twice", || {
        signed_text(|text| text.replacen("{\"audience\":", "{\"audience\":[\"here\"],\"audience\":", 1))
    }),
    ("manifest-with-an-unknown-field", || {
        signed_text(|text| text.replacen("{\"audience\"", "{\"allow\":true,\"audience\"", 1))
    }),
    ("manifest-without-a-field", || signed_text(|text| text.replacen(",\"bases\":[]", "", 1))),
    ("manifest-keys-out-of-order", || {
        signed_text(|text| {
            text.replacen("{\"audience\":[\"*\"],\"bases\":[]", "{\"bases\":[],\"audience\":[\"*\"]", 1)
        })
    }),
    ("manifest-of-another-schema", || {
        signed_text(|text| text.replacen("airlock-bundle/v1", "airlock-bundle/v2", 1))
    }),
    ("manifest-that-is-a-root", || {
        // Whoever may sign bundles must not thereby sign roots, nor the other way round.
        let root = testkit::sample::sample_root(&SampleOptions::default());
        signed_text(|_| String::from_utf8(root.bytes.clone()).unwrap())
    }),
    ("manifest-as-an-array", || signed_text(|_| "[]\n".to_string())),
    ("manifest-with-an-unknown-feature", || {
        signed_text(|text| text.replacen("\"features\":[]", "\"features\":[\"warp\"]", 1))
    }),
    ("manifest-with-a-fractional-number", || {
        signed_text(|text| text.replacen("\"sequence\":42", "\"sequence\":42.0", 1))
    }),
    ("manifest-with-a-number-too-large", || {
        signed_text(|text| text.replacen("\"sequence\":42", "\"sequence\":18446744073709551616", 1))
    }),
    ("manifest-with-a-needless-escape", || signed_text(|text| text.replacen("acme", "\\u0061cme", 1))),
    ("manifest-with-an-escape-sequence", || signed_text(|text| text.replacen("2.1.0", "\\u001b[2J", 1))),
    ("manifest-with-a-byte-order-mark", || signed_text(|text| format!("\u{feff}{text}"))),
    ("manifest-without-its-line-feed", || signed_text(|text| text.trim_end().to_string())),
    ("manifest-with-a-second-document", || signed_text(|text| format!("{text}{{}}\n"))),
    ("manifest-nested-deeply", || signed_text(|_| "[".repeat(60_000))),
    ("manifest-empty", || signed_text(|_| String::new())),
    ("manifest-over-64-kib", || {
        signed(|draft| {
            let name = |number: usize| Audience::Named(format!("{number:063}").parse().unwrap());
            draft.manifest.audience = (0..1000).map(name).collect();
            draft.redo_manifest();
            assert!(draft.manifest_bytes.len() > 64 * 1024);
        })
    }),
    // The entries and their order.
    ("first-entry-not-the-manifest", || forged(|forge| forge.entries.swap(0, 1))),
    ("manifest-missing", || forged(|forge| drop(forge.entries.remove(0)))),
    ("manifest-twice", || {
        forged(|forge| {
            let again = forge.entry("bundle.json").clone();
            forge.entries.insert(1, again);
        })
    }),
    ("reserved-area-missing", || {
        forged(|forge| {
            let place = forge.position("signatures/.reserved");
            forge.entries.remove(place);
        })
    }),
    ("reserved-area-not-zero", || forged(|forge| forge.entry("signatures/.reserved").content[HALF] = 1)),
    ("reserved-area-too-short", || {
        forged(|forge| *forge.entry("signatures/.reserved") = Entry::new("signatures/.reserved", &[0; 512]))
    }),
    ("reserved-area-too-long", || {
        forged(|forge| {
            *forge.entry("signatures/.reserved") = Entry::new("signatures/.reserved", &[0; 64 * 1024])
        })
    }),
    ("reserved-area-twice", || {
        forged(|forge| {
            let place = forge.position("signatures/.reserved");
            forge.entries.insert(place, Entry::new("signatures/.reserved", b""));
        })
    }),
    ("documents-out-of-order", || {
        forged(|forge| {
            let place = forge.position("SHA256SUMS");
            forge.entries.swap(place, place + 1);
        })
    }),
    ("blobs-out-of-order", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            forge.entries.swap(place, place + 1);
        })
    }),
    ("blob-twice", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            let again = forge.entries[place].clone();
            forge.entries.insert(place, again);
        })
    }),
    ("blob-missing", || forged(|forge| drop(forge.entries.remove(forge.position("blobs/"))))),
    ("blob-missing-at-the-end", || forged(|forge| drop(forge.entries.pop()))),
    ("blob-extra", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            let name = format!("blobs/sha256/{}", Digest::of(b"extra").hex());
            forge.entries.insert(place, Entry::new(&name, b"extra"));
        })
    }),
    ("blob-extra-at-the-end", || {
        forged(|forge| forge.push(&format!("blobs/sha256/{}", Digest::of(b"extra").hex()), b"extra"))
    }),
    ("blob-with-other-bytes", || forged(|forge| forge.entry("blobs/").content[0] ^= 1)),
    ("blob-longer-than-signed", || {
        forged_with(SampleOptions::default(), |forge, draft| {
            let name = format!("blobs/sha256/{}", some_blob(draft).hex());
            *forge.entry(&name) = Entry::new(&name, b"threshold: 0.55\n");
        })
    }),
    ("blob-shorter-than-signed", || {
        forged_with(SampleOptions::default(), |forge, draft| {
            let name = format!("blobs/sha256/{}", some_blob(draft).hex());
            *forge.entry(&name) = Entry::new(&name, b"threshold: 0.\n");
        })
    }),
    ("file-unlisted", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            forge.entries.insert(place, Entry::new("README.txt", b"hello"));
        })
    }),
    ("padding-not-zero", || forged(|forge| *forge.entry("SHA256SUMS").padding.last_mut().unwrap() = 1)),
    // The documents against each other.
    ("sha256sums-with-other-bytes", || forged(|forge| forge.entry("SHA256SUMS").content[0] ^= 1)),
    ("sha256sums-signed-with-a-line-missing", || {
        signed(|draft| {
            let cut = draft.checksums.iter().position(|byte| *byte == b'\n').unwrap();
            draft.checksums.drain(..=cut);
            draft.redo_manifest();
        })
    }),
    ("sha256sums-signed-with-a-line-too-many", || {
        signed(|draft| {
            let line = format!("{}  ../outside\n", Digest::of(b"x").hex());
            draft.checksums.extend(line.as_bytes());
            draft.redo_manifest();
        })
    }),
    ("sha256sums-signed-with-another-digest", || {
        signed(|draft| {
            let first = draft.checksums[0];
            draft.checksums[0] = if first == b'0' { b'1' } else { b'0' };
            draft.redo_manifest();
        })
    }),
    ("inventory-with-other-bytes", || forged(|forge| forge.entry("inventory.json").content[HALF] ^= 1)),
    ("inventory-signed-with-a-blob-nobody-uses", || {
        signed(|draft| {
            let extra = b"nobody uses me".to_vec();
            draft.inventory.blobs.push(Content::of(&extra));
            draft.inventory.blobs.sort_by_key(|blob| blob.digest);
            draft.blobs.insert(Digest::of(&extra), extra);
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-a-blob-missing", || {
        signed(|draft| {
            let gone = some_blob(draft);
            draft.blobs.remove(&gone);
            draft.inventory.blobs.retain(|blob| blob.digest != gone);
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-another-size", || {
        signed(|draft| {
            let changed = some_blob(draft);
            let blob = draft.inventory.blobs.iter_mut().find(|blob| blob.digest == changed);
            blob.unwrap().size += 1;
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-a-blob-twice", || {
        signed(|draft| {
            draft.inventory.blobs.insert(0, draft.inventory.blobs[0]);
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-blobs-out-of-order", || {
        signed(|draft| {
            draft.inventory.blobs.swap(0, 1);
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-a-component-twice", || {
        signed(|draft| {
            draft.inventory.components.insert(0, draft.inventory.components[0].clone());
            draft.inventory.files.oci_index = Content::of(&draft.inventory.oci_index().unwrap());
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-two-files-for-one-place", || {
        signed(|draft| {
            let sets = draft.inventory.components.iter_mut();
            for component in sets {
                if let Component::FileSet(set) = component {
                    let twin = set.files[0].clone();
                    set.files.insert(0, twin);
                }
            }
            draft.redo_inventory();
        })
    }),
    ("inventory-signed-with-a-file-where-another-needs-a-directory", || {
        signed(|draft| {
            let sets = draft.inventory.components.iter_mut();
            for component in sets {
                if let Component::FileSet(set) = component {
                    let mut child = set.files[0].clone();
                    child.path = format!("{}/child", child.path).parse().unwrap();
                    set.files.push(child);
                }
            }
            draft.redo_inventory();
        })
    }),
    // What goes beside an image.
    ("companion-with-the-tag-of-another-digest", || {
        signed(|draft| {
            *draft = Draft::new(&SampleOptions { countersigners: vec![1], ..SampleOptions::default() });
            let tag = image_of(&mut draft.inventory).companions[0].tag().unwrap();
            let other = CompanionKind::CosignSignature.tag(&Digest::of(b"another image")).unwrap();
            let text = String::from_utf8(draft.inventory_bytes.clone()).unwrap();
            draft.inventory_bytes = text.replacen(&tag, &other, 1).into_bytes();
            draft.redo_checksums();
        })
    }),
    ("companion-of-a-digest-that-the-image-does-not-have", || {
        countersigned(|draft| image_of(&mut draft.inventory).companions[0].of = Digest::of(b"another image"))
    }),
    ("companion-of-a-layer", || {
        countersigned(|draft| {
            let image = image_of(&mut draft.inventory);
            image.companions[0].of = image.blobs[2];
        })
    }),
    ("companion-of-a-companion", || {
        countersigned(|draft| {
            let companion = &mut image_of(&mut draft.inventory).companions[0];
            companion.of = companion.manifest.digest;
        })
    }),
    ("companion-that-is-a-referrer-without-a-subject", || {
        countersigned(|draft| {
            image_of(&mut draft.inventory).companions[0].kind = CompanionKind::Referrer;
        })
    }),
    ("companion-without-its-manifest", || {
        countersigned(|draft| {
            let gone = image_of(&mut draft.inventory).companions[0].manifest.digest;
            drop_blob(draft, gone);
        })
    }),
    ("companion-without-its-payload", || {
        countersigned(|draft| {
            let gone = image_of(&mut draft.inventory).blobs.pop().unwrap();
            drop_blob(draft, gone);
        })
    }),
    ("companion-that-is-no-manifest", || {
        countersigned(|draft| {
            let layer = image_of(&mut draft.inventory).blobs[2];
            let size = draft.inventory.blob_size(&layer).unwrap();
            let companion = &mut image_of(&mut draft.inventory).companions[0];
            (companion.manifest.digest, companion.manifest.size) = (layer, size);
        })
    }),
    ("sbom-without-its-document", || {
        countersigned(|draft| {
            let document = draft.inventory.sbom.as_ref().unwrap().document.digest;
            drop_blob(draft, document);
        })
    }),
    ("sbom-that-its-manifest-does-not-name", || {
        countersigned(|draft| {
            let other = image_of(&mut draft.inventory).blobs[2];
            let size = draft.inventory.blob_size(&other).unwrap();
            let sbom = draft.inventory.sbom.as_mut().unwrap();
            let document = core::mem::replace(&mut sbom.document, Content { digest: other, size });
            drop_blob(draft, document.digest);
        })
    }),
    ("sbom-that-is-no-manifest", || {
        countersigned(|draft| {
            let sbom = draft.inventory.sbom.as_mut().unwrap();
            let manifest = sbom.manifest.digest;
            (sbom.manifest.digest, sbom.manifest.size) = (sbom.document.digest, sbom.document.size);
            drop_blob(draft, manifest);
        })
    }),
    ("sbom-of-an-image-in-a-blob-that-it-does-not-have", || {
        countersigned(|draft| {
            let blob = draft.inventory.sbom.as_ref().unwrap().document.digest;
            let image = image_of(&mut draft.inventory);
            let of = image.manifest.digest;
            image.sboms = vec![ImageSbom { blob, of, format: SbomFormat::Spdx, form: SbomForm::Document }];
        })
    }),
    ("sboms-of-an-image-twice", || {
        countersigned(|draft| {
            let image = image_of(&mut draft.inventory);
            let (blob, of) = (image.blobs[2], image.manifest.digest);
            let sbom = ImageSbom { blob, of, format: SbomFormat::Spdx, form: SbomForm::Document };
            image.sboms = vec![sbom.clone(), sbom];
        })
    }),
    ("companion-twice", || {
        countersigned(|draft| {
            let companions = &mut image_of(&mut draft.inventory).companions;
            companions.push(companions[0].clone());
        })
    }),
    ("companion-with-the-name-of-an-image", || {
        countersigned(|draft| {
            let tag = image_of(&mut draft.inventory).companions[0].tag().unwrap();
            with_a_second_image(&mut draft.inventory, &tag, |image| image.companions.clear());
        })
    }),
    ("companions-of-two-images-for-one-tag", || {
        countersigned(|draft| {
            let own = image_of(&mut draft.inventory).manifest.clone();
            with_a_second_image(&mut draft.inventory, "v2", |image| image.companions[0].manifest = own);
        })
    }),
    ("inventory-signed-with-a-space", || {
        signed(|draft| {
            draft.inventory_bytes.insert(1, b' ');
            draft.redo_checksums();
        })
    }),
    ("counts-signed-otherwise", || {
        signed(|draft| {
            draft.manifest.counts.images += 1;
            draft.redo_manifest();
        })
    }),
    ("index-with-other-bytes", || forged(|forge| forge.entry("index.json").content[HALF] ^= 1)),
    ("index-signed-with-another-name", || {
        signed(|draft| {
            let text = String::from_utf8(draft.oci_index.clone()).unwrap();
            draft.oci_index = text.replace("sample/hello", "postgres").into_bytes();
            draft.inventory.files.oci_index = Content::of(&draft.oci_index);
            draft.redo_inventory();
        })
    }),
    ("oci-layout-with-other-bytes", || forged(|forge| forge.entry("oci-layout").content[1] ^= 1)),
    ("oci-layout-signed-with-another-version", || {
        signed(|draft| {
            draft.oci_layout =
                canonical::to_canonical(&serde_json::json!({"imageLayoutVersion": "9.0.0"})).unwrap();
            draft.inventory.files.oci_layout = Content::of(&draft.oci_layout);
            draft.redo_inventory();
        })
    }),
    ("docker-list-with-other-bytes", || forged(|forge| forge.entry("manifest.json").content[1] ^= 1)),
    // Headers: what a tar archive may hold and a bundle may not.
    ("header-symlink", || of_type(b"2", b"/etc/passwd")),
    ("header-hardlink", || of_type(b"1", b"bundle.json")),
    ("header-character-device", || of_type(b"3", b"")),
    ("header-block-device", || of_type(b"4", b"")),
    ("header-directory", || of_type(b"5", b"")),
    ("header-fifo", || of_type(b"6", b"")),
    ("header-contiguous-file", || field("SHA256SUMS", Field::Type, b"7")),
    ("header-old-regular-file", || field("SHA256SUMS", Field::Type, b"\0")),
    ("header-unknown-type", || field("SHA256SUMS", Field::Type, b"Z")),
    ("header-pax", || extension(b"x", "PaxHeaders/SHA256SUMS", b"12 path=abc\n")),
    ("header-pax-under-a-good-name", || extension(b"x", "SHA256SUMS", b"12 path=abc\n")),
    ("header-pax-global", || extension(b"g", "SHA256SUMS", b"15 comment=abc\n")),
    ("header-gnu-long-name", || extension(b"L", "././@LongLink", b"../outside\0")),
    ("header-gnu-long-name-under-a-good-name", || extension(b"L", "SHA256SUMS", b"../outside\0")),
    ("header-gnu-long-link", || extension(b"K", "SHA256SUMS", b"../outside\0")),
    ("header-gnu-sparse", || field("SHA256SUMS", Field::Type, b"S")),
    ("header-gnu-volume", || extension(b"V", "SHA256SUMS", b"")),
    ("header-gnu-continued", || field("SHA256SUMS", Field::Type, b"M")),
    ("header-gnu-magic", || field("SHA256SUMS", Field::Magic, b"ustar  \0")),
    ("header-without-magic", || field("SHA256SUMS", Field::Magic, b"")),
    ("header-name-with-dot-slash", || field("SHA256SUMS", Field::Name, b"./SHA256SUMS")),
    ("header-name-with-dot-dot", || field("SHA256SUMS", Field::Name, b"../SHA256SUMS")),
    ("header-name-with-dot-dot-inside", || field("SHA256SUMS", Field::Name, b"blobs/../SHA256SUMS")),
    ("header-name-absolute", || field("SHA256SUMS", Field::Name, b"/SHA256SUMS")),
    ("header-name-in-lower-case", || field("SHA256SUMS", Field::Name, b"sha256sums")),
    ("header-name-in-upper-case", || {
        forged(|forge| {
            let entry = forge.entry("blobs/");
            let upper = entry.header[13..77].to_ascii_uppercase();
            entry.set(Field::Name, &[b"blobs/sha256/".as_slice(), &upper].concat());
        })
    }),
    ("header-name-with-a-slash-at-its-end", || field("SHA256SUMS", Field::Name, b"SHA256SUMS/")),
    ("header-name-not-utf8", || field("SHA256SUMS", Field::Name, b"SHA256\xff\xfe")),
    ("header-name-with-an-escape-sequence", || field("SHA256SUMS", Field::Name, b"\x1b[2J\x1b]0;x\x07")),
    ("header-name-empty", || field("SHA256SUMS", Field::Name, b"")),
    ("header-name-goes-on-after-its-nul", || field("SHA256SUMS", Field::Name, b"SHA256SUMS\0.exe")),
    ("header-name-in-the-prefix", || field("SHA256SUMS", Field::Prefix, b"..")),
    ("header-mode-setuid", || field("SHA256SUMS", Field::Mode, b"0004755\0")),
    ("header-mode-other", || field("SHA256SUMS", Field::Mode, b"0000600\0")),
    ("header-mtime-not-zero", || field("SHA256SUMS", Field::Mtime, b"00000000001\0")),
    ("header-uid-not-zero", || field("SHA256SUMS", Field::Uid, b"0001750\0")),
    ("header-gid-not-zero", || field("SHA256SUMS", Field::Gid, b"0001750\0")),
    ("header-owner-named", || field("SHA256SUMS", Field::OwnerName, b"root")),
    ("header-device-number", || field("SHA256SUMS", Field::Major, b"0000000\0")),
    ("header-checksum-wrong", || forged(|forge| forge.entry("SHA256SUMS").header[150] ^= 1)),
    ("header-size-garbage", || field("SHA256SUMS", Field::Size, b"lots\0")),
    ("header-size-signed", || field("SHA256SUMS", Field::Size, b"-0000000017\0")),
    ("header-size-with-spaces", || field("SHA256SUMS", Field::Size, b"       2000 ")),
    ("header-size-negative", || field("SHA256SUMS", Field::Size, &[0xff; 12])),
    ("header-size-two-to-the-63", || {
        field("SHA256SUMS", Field::Size, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])
    }),
    ("header-size-two-to-the-64", || {
        field("SHA256SUMS", Field::Size, &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    ("header-size-small-in-base-256", || {
        forged(|forge| {
            let entry = forge.entry("SHA256SUMS");
            let size = u16::try_from(entry.content.len()).unwrap().to_be_bytes();
            entry.set(Field::Size, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, size[0], size[1]]);
        })
    }),
    ("header-size-of-the-manifest-two-to-the-63", || {
        field("bundle.json", Field::Size, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])
    }),
    ("header-size-of-a-blob-two-to-the-63", || {
        field("blobs/", Field::Size, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])
    }),
    ("header-size-of-a-signature-8-gib", || field("signatures/", Field::Size, b"77777777777\0")),
    // The end, and what is no bundle at all.
    ("end-without-its-blocks", || forged(|forge| forge.end.clear())),
    ("end-with-one-block", || forged(|forge| forge.end.truncate(512))),
    ("end-not-zero", || forged(|forge| forge.end[600] = 1)),
    ("end-with-a-third-block", || forged(|forge| forge.end.extend([0; 512]))),
    ("end-filled-up-as-tar-does", || {
        file(|archive| {
            let length = archive.len().next_multiple_of(10_240);
            let mut archive = archive;
            archive.resize(length, 0);
            archive
        })
    }),
    ("end-with-a-trailing-byte", || file(|archive| [archive.as_slice(), b"\0"].concat())),
    ("end-with-a-second-archive", || file(|archive| [archive.as_slice(), &archive].concat())),
    ("gzip", || {
        file(|archive| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&archive).unwrap();
            packed.finish().unwrap()
        })
    }),
    ("byte-order-mark-before-it", || file(|archive| [b"\xef\xbb\xbf".as_slice(), &archive].concat())),
    ("empty-file", || file(|_| Vec::new())),
    ("zeros-only", || file(|_| vec![0; 512])),
    ("end-only", || file(|_| vec![0; 1024])),
    ("text-file", || file(|_| b"Dear site,\n".repeat(100))),
];

/// What a directory's `expect.json` says.
struct Expected {
    exit: u8,
    message: String,
}

/// Every generator of a bundle: those of this file, and those of the parts.
fn bundles() -> impl Iterator<Item = &'static (&'static str, Generator)> {
    GENERATORS.iter().chain(hostile::bundles())
}

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn corpus() -> BTreeMap<String, Expected> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(corpus_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("README.md") {
            continue;
        }
        let bytes = std::fs::read(path.join("expect.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let expected = Expected {
            exit: document["exit"].as_u64().unwrap().try_into().unwrap(),
            message: document["message"].as_str().unwrap().to_string(),
        };
        assert!(!expected.message.is_empty(), "{}: any message contains nothing", path.display());
        found.insert(path.file_name().unwrap().to_str().unwrap().to_string(), expected);
    }
    found
}

/// The site and the medium of a case.
fn prepare(case: &Case) -> Scene {
    let mut scene = Scene::new(&case.options);
    if let Some(name) = case.site {
        scene.world.write("site/site.yaml", format!("apiVersion: airlock/v1\nkind: Site\nsite: {name}\n"));
        scene.config = scene.site.config().unwrap();
    }
    if let Some((order, bundle)) = case.applied {
        let (publisher, product) = ("acme".parse().unwrap(), "sample".parse().unwrap());
        let (version, time) = ("2.0.0".parse().unwrap(), "2026-11-19T12:00:00Z".parse().unwrap());
        let applied = Applied {
            removed: None,
            bundle,
            version,
            order,
            marking: "UNCLASSIFIED".parse().unwrap(),
            created: time,
            time,
            root_version: 1,
            signers: Vec::new(),
        };
        let ledger = Ledger::with(None, &publisher, &product, applied);
        scene.site.write_ledger(&publisher, &product, Some(&ledger)).unwrap();
    }
    if let Some(list) = &case.revoked {
        let path = scene.world.path("paper/revocations.json");
        layout::signed_file::write(&path, &list.sign()).unwrap();
        scene.world.installer(&["trust", "update", "paper/revocations.json"]).ok();
    }
    if !case.held.is_empty() {
        scene.site.store().create().unwrap();
    }
    for (digest, bytes) in &case.held {
        std::fs::write(scene.site.store().blob_path(digest), bytes).unwrap();
    }
    scene.carry(&case.archive);
    for (path, bytes) in &case.beside {
        scene.world.write(&format!("medium/{path}"), bytes);
    }
    scene
}

/// The commands that look at a whole bundle, and the event by which the log names the verdict of each.
const COMMANDS: [(&[&str], &str); 3] =
    [(&["verify"], "verify"), (&["plan"], "plan"), (&["apply", "--yes"], "admit")];
const BUNDLE: &str = "medium/sample.bundle.tar";

/// How the library refuses a bundle, or else what is wrong with how it does.
fn check_library(scene: &Scene, expected: &Expected) -> Result<(), String> {
    for (verb, outcome) in [("verify", scene.verify()), ("admit", scene.admit())] {
        let failure = outcome.err().ok_or_else(|| format!("{verb} accepts it"))?;
        let (message, exit) = (message(&failure), failure.exit().code());
        if exit != expected.exit {
            return Err(format!("{verb} ends with {exit}, expected {}: {message}", expected.exit));
        }
        if !message.contains(&expected.message) {
            return Err(format!("{verb} says `{message}`, which lacks `{}`", expected.message));
        }
        if message.chars().any(char::is_control) {
            return Err(format!("{verb} prints control characters: {message:?}"));
        }
    }
    Ok(())
}

/// The same for the commands, and what the log says afterwards.
fn check_commands(scene: &Scene, expected: &Expected) -> Result<(), String> {
    for (command, event) in COMMANDS {
        let known = scene.audit().len();
        let ran = scene.world.installer(&[command, &[BUNDLE]].concat());
        let exit = ran.exit.code();
        if exit != expected.exit {
            return Err(format!("{command:?} ends with {exit}, expected {}: {}", expected.exit, ran.stderr));
        }
        let printed = [ran.stdout, ran.stderr].concat();
        if printed.chars().any(|character| character.is_control() && character != '\n') {
            return Err(format!("{command:?} prints control characters: {printed:?}"));
        }
        check_log(&scene.audit()[known..], event, expected)
            .map_err(|error| format!("{command:?}: {error}"))?;
    }
    // It reads no blob, so it may see nothing wrong; whatever it sees, it is the same.
    let inspected = scene.world.installer(&["inspect", BUNDLE]).exit.code();
    if inspected == 0 || inspected == expected.exit {
        return Ok(());
    }
    Err(format!("inspect ends with {inspected}"))
}

/// The refusal is in the log, and every intent has its end.
fn check_log(news: &[LogEntry], event: &str, expected: &Expected) -> Result<(), String> {
    let outcome = if expected.exit == Exit::Refused.code() { Outcome::Refused } else { Outcome::Failed };
    let about = |entry: &LogEntry, key: &str| entry.event.about.get(key).cloned().unwrap_or_default();
    let tells = |entry: &&LogEntry| {
        entry.event.event == event
            && entry.event.outcome == outcome
            && about(entry, "error").contains(&expected.message)
            && about(entry, "medium").ends_with(BUNDLE)
    };
    news.iter().find(tells).ok_or_else(|| format!("the log lacks it: {news:#?}"))?;
    match news.last() {
        Some(last) if last.event.outcome == outcome => Ok(()),
        last => Err(format!("the log ends with {last:#?}")),
    }
}

/// The funnel: how a site refuses this bundle, or else what is wrong with how it does.
fn check(case: &Case, expected: &Expected) -> Result<(), String> {
    let scene = prepare(case);
    let before = scene.surroundings();
    check_library(&scene, expected)?;
    check_commands(&scene, expected)?;
    as_before(&scene, &before)
}

/// Nothing has changed but the audit log.
fn as_before(scene: &Scene, before: &Picture) -> Result<(), String> {
    let after = scene.surroundings();
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    if changed.is_empty() { Ok(()) } else { Err(format!("has changed: {changed:?}")) }
}

/// The funnel for roots: nobody's trust starts with this one, although its fingerprint was typed.
fn check_root(case: &RootCase, expected: &Expected) -> Result<(), String> {
    let scene = Scene::untrusting();
    scene.bring_root(&case.bytes, case.signatures.iter().map(|(keyid, raw)| (*keyid, raw.as_slice())));
    let before = scene.surroundings();
    let ran = scene.trust_init(&case.bytes);
    if ran.exit.code() != expected.exit || !ran.stderr.contains(&expected.message) {
        return Err(format!("ends with {}: {}", ran.exit.code(), ran.stderr));
    }
    as_before(&scene, &before)
}

/// Runs `work` on every item, on all processors; gives what is wrong.
fn on_all_processors<T: Sync>(items: &[T], work: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let worker = |first: usize| {
            let share = items.iter().skip(first).step_by(workers);
            let work = &work;
            scope.spawn(move || share.filter_map(work).collect::<Vec<String>>())
        };
        let running: Vec<_> = (0..workers).map(worker).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_hostile_bundle_is_refused_as_its_directory_says() {
    let corpus = corpus();
    let bundles: Vec<_> = bundles().collect();
    nothing_wrong(&on_all_processors(&bundles, |(name, generate)| {
        let Some(expected) = corpus.get(*name) else {
            return Some(format!("{name}: make tests/corpus/{name}/expect.json"));
        };
        check(&generate(), expected).err().map(|error| format!("{name}: {error}"))
    }));
}

#[test]
fn every_hostile_root_is_refused_as_its_directory_says() {
    let corpus = corpus();
    nothing_wrong(&on_all_processors(ROOTS, |(name, generate)| {
        let Some(expected) = corpus.get(*name) else {
            return Some(format!("{name}: make tests/corpus/{name}/expect.json"));
        };
        check_root(&generate(), expected).err().map(|error| format!("{name}: {error}"))
    }));
}

fn generators() -> Vec<&'static str> {
    bundles().map(|(name, _)| *name).chain(ROOTS.iter().map(|(name, _)| *name)).collect()
}

#[test]
fn every_directory_has_one_generator() {
    let mut names = generators();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two generators have one name");
    let corpus = corpus();
    let known: Vec<&str> = corpus.keys().map(String::as_str).collect();
    assert_eq!(known, names, "a directory without a generator, or a generator without a directory");
}

/// What stands in the second column of the tables of the corpus' own page: directories, and tests as
/// `FILE::NAME`.
fn shown_by() -> Vec<String> {
    let page = std::fs::read_to_string(corpus_dir().join("README.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack |"));
    let mut names = Vec::new();
    for row in rows {
        let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let found: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
        assert!(!found.is_empty(), "nothing shows this row: {row}");
        names.extend(found.into_iter().map(str::to_string));
    }
    names
}

#[test]
fn the_page_of_the_corpus_names_every_directory_and_tests_that_are_there() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (tests, directories): (Vec<String>, Vec<String>) =
        shown_by().into_iter().partition(|name| name.contains("::"));
    let named: BTreeSet<String> = directories.iter().cloned().collect();
    assert_eq!(named.len(), directories.len(), "a directory is named twice");
    let there: BTreeSet<String> = corpus().into_keys().collect();
    let missing: Vec<_> = there.symmetric_difference(&named).collect();
    assert!(missing.is_empty(), "in the page or in the corpus, and not in both: {missing:?}");
    for test in tests {
        let (file, name) = test.split_once("::").unwrap();
        let source = std::fs::read_to_string(workspace.join(file)).unwrap_or_default();
        assert!(source.contains(&format!("fn {name}(")), "{file} has no test {name}");
    }
}

#[test]
fn no_refusal_says_a_thing_twice() {
    let bundles: Vec<_> = bundles().collect();
    nothing_wrong(&on_all_processors(&bundles, |(name, generate)| {
        let failure = prepare(&generate()).verify().err()?;
        let messages = failure.messages();
        let twice = messages.windows(2).any(|pair| pair[0].contains(&pair[1]));
        twice.then(|| format!("{name}: {}", message(&failure)))
    }));
}

#[test]
fn what_the_corpus_is_made_from_is_accepted() {
    // Otherwise every case could be refused for a reason that is not its own.
    let mut unchanged = [
        made_with(SampleOptions::default()),
        signed(Draft::redo_inventory),
        signed_text(|text| text),
        forged(Forge::reserve_again),
        // Derived forms may be missing: older archives have none, and a full area has no room for them.
        forged(|forge| {
            forge.entries.remove(forge.position(&form_name(1)));
            forge.reserve_again();
        }),
        made(|o| o.audience = vec!["here".to_string()]),
        after(Sequence { epoch: 1, sequence: 41 }),
        made_with(SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[2, 1])),
        countersigned(|_| {}),
        made(|o| o.scripted = true),
        hostile::patches::honest(),
        // Two tags of one image share its signature.
        countersigned(|draft| with_a_second_image(&mut draft.inventory, "v2", |_| {})),
    ];
    unchanged[5].site = Some("here");
    for (number, case) in unchanged.iter().enumerate() {
        let scene = prepare(case);
        let bundle = scene.admit().unwrap_or_else(|failure| panic!("{number}: {failure:?}"));
        for blob in &bundle.inventory().blobs {
            assert!(scene.site.store().has(blob), "{number}: {} is not in the store", blob.digest);
        }
    }
}

#[test]
fn the_commands_take_what_the_corpus_is_made_from() {
    let another = Case::new(SampleOptions::default(), hostile::signatures::another_draft().forge().bytes());
    let unchanged = [
        made_with(SampleOptions::default()),
        hostile::signed_inventory(|text| text),
        hostile::signed_image(|_| {}),
        another,
    ];
    for (number, case) in unchanged.iter().enumerate() {
        let scene = prepare(case);
        for (command, _) in COMMANDS.into_iter().filter(|(command, _)| command[0] != "plan") {
            let ran = scene.world.installer(&[command, &[BUNDLE]].concat());
            assert_eq!(ran.exit, Exit::Done, "{number}: {command:?}: {ran:?}");
        }
        holds_exactly(&scene, &scene.admit().unwrap());
    }
    let scene = Scene::untrusting();
    let root = testkit::sample::sample_root(&SampleOptions::default());
    scene.bring_root(&root.bytes, root.signatures.iter().map(|found| (found.claimed, &found.bytes[..])));
    scene.trust_init(&root.bytes).ok();
}

#[test]
fn what_others_wrote_oddly_and_means_one_thing_only_is_accepted() {
    for (what, case) in [
        ("a manifest that leaves its media type to its descriptor", hostile::images::without_media_type()),
        ("an image below four indexes", hostile::images::nested(4)),
        ("an index that names one child ten thousand times", hostile::images::crowded()),
    ] {
        let scene = prepare(&case);
        let bundle = scene.admit().unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        holds_exactly(&scene, &bundle);
    }
}

// ---- the programs themselves ----------------------------------------------------------------------------

/// The first case of each class: what stands before the first dash.
fn one_of_each_class() -> Vec<&'static (&'static str, Generator)> {
    let mut seen = BTreeSet::new();
    bundles().filter(|(name, _)| seen.insert(name.split('-').next())).collect()
}

/// The paths that a system call names, if it can change what they name. `strace -y` says in angle brackets
/// which directory a path starts from.
fn changed_paths(line: &str) -> Vec<PathBuf> {
    let call = line.split_once('(').map_or("", |(call, _)| call.rsplit(' ').next().unwrap_or_default());
    let opens = matches!(call, "open" | "openat" | "openat2" | "creat");
    let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
    if opens && !writes || line.contains(") = -1 ") {
        return Vec::new();
    }
    let parts: Vec<&str> = line.split('"').collect();
    let named = parts.chunks_exact(2).map(|pair| {
        let base = pair[0].strip_suffix(">, ").and_then(|before| before.rsplit('<').next());
        Path::new(base.unwrap_or_default()).join(pair[1])
    });
    named.collect()
}

/// Everything but reading: whatever makes, changes, names or removes a file.
const CHANGES: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,\
    rmdir,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat,chown,fchownat,lchown,mknod,mknodat,\
    setxattr,lsetxattr,utimensat,mount";

#[test]
fn the_installer_itself_refuses_one_of_each_class_and_touches_nothing_but_its_site() {
    let Some(strace) = real_part("strace") else { return };
    let corpus = corpus();
    nothing_wrong(&on_all_processors(&one_of_each_class(), |(name, generate)| {
        let scene = prepare(&generate());
        let before = scene.surroundings();
        let trace = tempfile::NamedTempFile::new().unwrap();
        for (command, _) in COMMANDS {
            let status = Command::new(&strace)
                .args(["-f", "-y", "-qq", "-e", CHANGES, "-o"])
                .arg(trace.path())
                .args([env!("CARGO_BIN_EXE_e2e-installer"), "--site", "site"])
                .args(command)
                .arg(BUNDLE)
                .current_dir(scene.dir())
                .env_clear()
                .envs(&scene.world.vars)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if status.code() != Some(i32::from(corpus[*name].exit)) {
                return Some(format!("{name}: {command:?} ends with {status}"));
            }
            let calls = std::fs::read_to_string(trace.path()).unwrap();
            assert!(calls.contains(BUNDLE), "{name}: strace has seen nothing: {calls}");
            let outside = |path: &&PathBuf| !scene.dir().join(path).starts_with(scene.site.dir());
            let paths: Vec<PathBuf> = calls.lines().flat_map(changed_paths).collect();
            assert!(paths.contains(&scene.site.audit_path()), "{name}: {command:?}: {calls}");
            if let Some(path) = paths.iter().find(outside) {
                return Some(format!("{name}: {command:?} changes {}", path.display()));
            }
        }
        // What a process writes there about itself is not what the bundle has done.
        std::fs::remove_file(scene.dir().join("site/lock")).unwrap();
        let mut before = before;
        before.remove(&scene.dir().join("site/lock"));
        as_before(&scene, &before).err().map(|error| format!("{name}: {error}"))
    }));
}

// ---- more than one case ---------------------------------------------------------------------------------

#[test]
fn the_head_of_one_good_bundle_and_the_tail_of_another_are_refused_wherever_they_are_joined() {
    let options = SampleOptions::default();
    let (one, other) = (Draft::new(&options).forge(), hostile::signatures::another_draft().forge());
    let scene = Scene::new(&options);
    let before = scene.picture();
    for (first, second) in [(&one, &other), (&other, &one)] {
        for head in 0..=first.entries.len() {
            for tail in 0..=second.entries.len() {
                let mut joined = Forge::empty();
                joined.entries.extend(first.entries[..head].iter().cloned());
                joined.entries.extend(second.entries[tail..].iter().cloned());
                let bytes = joined.bytes();
                if bytes == first.bytes() || bytes == second.bytes() {
                    continue;
                }
                scene.carry(&bytes);
                let failure = scene.admit().err().unwrap_or_else(|| panic!("{head} and {tail} are admitted"));
                assert!(support::blames_the_bundle(failure.exit()), "{head} and {tail}: {failure:?}");
            }
        }
    }
    assert!(scene.picture() == before, "the site has changed");
}

#[test]
fn no_parser_breaks_its_promise_on_any_part_of_the_corpus() {
    let bundles: Vec<_> = bundles().collect();
    nothing_wrong(&on_all_processors(&bundles, |(_, generate)| {
        let archive = generate().archive;
        exercise::archive(&archive);
        exercise::documents(&archive);
        exercise::oci(&archive);
        // The connected side reads other people's archives, with another reader.
        e2e::parsers::image_archive(&archive);
        e2e::parsers::chart(&archive);
        // What is between two headers is a document, a signature, a blob, or whatever somebody put there.
        for piece in archive.chunks(512).take(4096) {
            exercise::header(piece);
            let text = piece.split(|byte| *byte == 0).next().unwrap_or_default();
            exercise::documents(text);
            exercise::oci(text);
            exercise::texts(&String::from_utf8_lossy(text));
        }
        None
    }));
    for (_, generate) in ROOTS {
        let root = generate();
        exercise::documents(&root.bytes);
        exercise::texts(&String::from_utf8_lossy(&root.bytes));
    }
}

#[test]
fn a_signature_of_a_key_that_the_root_does_not_list_neither_helps_nor_hurts() {
    let scene = prepare(&made(|o| o.signers = vec![UNKNOWN_SEED, 1]));
    let bundle = scene.admit().unwrap();
    let verdicts: Vec<_> = bundle.signatures().iter().map(|found| (found.keyid, found.verdict)).collect();
    assert_eq!(verdicts, [(keyid(UNKNOWN_SEED), Verdict::NotInRole), (keyid(1), Verdict::Good)]);
}

#[test]
fn a_signed_image_that_lacks_a_layer_is_refused_before_anything_changes() {
    let case = signed(|draft| {
        let components = draft.inventory.components.iter_mut();
        let image = components.filter_map(|component| match component {
            Component::Image(image) => Some(image),
            _ => None,
        });
        let layer = image.last().unwrap().blobs.pop().unwrap();
        draft.blobs.remove(&layer);
        draft.inventory.blobs.retain(|blob| blob.digest != layer);
        draft.redo_inventory();
    });
    let scene = prepare(&case);
    let failure = scene.admit().expect_err("an image without its layer is admitted");
    assert_eq!(failure.exit(), Exit::Damaged);
}

#[test]
fn a_signed_image_that_claims_more_bytes_than_there_are_is_refused_before_they_are_missed() {
    // A check alone runs into the end of the medium; a copy does not even begin.
    for size in [1 << 60, u64::MAX - 511, u64::MAX] {
        let options = SampleOptions::default();
        let mut draft = Draft::new(&options);
        let mut layer = None;
        put_image(&mut draft, |image| {
            let mut document = image.document();
            layer = serde_json::from_value(document["layers"][0]["digest"].clone()).ok();
            document["layers"][0]["size"] = size.into();
            image.set_document(&document);
        });
        let layer: Digest = layer.unwrap();
        draft.inventory.blobs.iter_mut().find(|blob| blob.digest == layer).unwrap().size = size;
        draft.redo_inventory();
        let mut forge = draft.forge();
        let path = manifests::ArchivePath::Blob(layer);
        forge.entry(&path.to_string()).header = layout::header::encode(&path, size);
        let scene = prepare(&Case::new(options, forge.bytes()));
        let before = scene.surroundings();
        for (verb, outcome, exit) in
            [("verify", scene.verify(), Exit::Damaged), ("admit", scene.admit(), Exit::NotReady)]
        {
            let failure = outcome.err().unwrap_or_else(|| panic!("{verb} accepts {size}"));
            assert_eq!(failure.exit(), exit, "{verb} of {size}: {failure:?}");
        }
        as_before(&scene, &before).unwrap();
    }
}

// ---- deltas -------------------------------------------------------------------------------------------

/// The sample, which a site has; and the same as the next version, which leaves out these of its blobs.
fn next_without(blobs: &[Digest]) -> Draft {
    let mut draft = Draft::new(&SampleOptions { sequence: 43, ..SampleOptions::default() });
    if !blobs.is_empty() {
        hostile::deltas::leave_out(&mut draft, blobs);
    }
    draft
}

#[test]
fn refuses_a_delta_that_carries_what_it_leaves_out() {
    let options = SampleOptions::default();
    let scene = Scene::new(&options);
    scene.carry(&sample_bundle(&options).archive);
    scene.admit().unwrap();
    let before = scene.picture_without_log();
    let layers = hostile::deltas::layers(&next_without(&[]));
    let draft = next_without(&layers[..1]);
    let mut forge = draft.forge();
    let place = forge.position("blobs/");
    let whole = next_without(&[]).forge();
    let name = format!("blobs/sha256/{}", layers[0].hex());
    let carried = whole.entries.iter().find(|entry| entry.header.starts_with(name.as_bytes())).unwrap();
    forge.entries.insert(place, carried.clone());
    scene.carry(&forge.bytes());
    for failure in [scene.verify().unwrap_err(), scene.admit().unwrap_err()] {
        assert_eq!(failure.exit(), Exit::Damaged, "{}", message(&failure));
    }
    assert_eq!(scene.picture_without_log(), before);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_left_out_the_site_is_the_one_of_the_whole_bundle(mask in proptest::bits::u32::ANY) {
        let options = SampleOptions::default();
        let layers = hostile::deltas::layers(&next_without(&[]));
        let chosen: Vec<Digest> =
            layers.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, blob)| *blob).collect();
        let stores = [next_without(&[]), next_without(&chosen)].map(|draft| {
            let scene = Scene::new(&options);
            scene.carry(&sample_bundle(&options).archive);
            scene.admit().unwrap();
            scene.carry(&draft.archive());
            scene.verify().unwrap();
            let bundle = scene.admit().unwrap();
            assert_eq!(bundle.inventory().blobs, draft.inventory.blobs);
            holds_exactly(&scene, &bundle);
            let blobs = scene.site.dir().join("store/blobs");
            support::picture(&blobs).into_values().collect::<Vec<_>>()
        });
        assert_eq!(stores[0], stores[1]);
        // A site that has nothing takes only the whole one, and stays as it was.
        if !chosen.is_empty() {
            let scene = Scene::new(&options);
            let before = scene.surroundings();
            scene.carry(&next_without(&chosen).archive());
            let failure = scene.admit().unwrap_err();
            assert_eq!(failure.exit(), Exit::NotReady);
            let said = message(&failure);
            assert!(chosen.iter().all(|blob| said.contains(&blob.to_string())), "{said}");
            let mut after = scene.surroundings();
            after.retain(|path, _| *path != scene.bundle);
            assert_eq!(after, before);
        }
    }
}
