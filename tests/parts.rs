//! A bundle in parts is the bundle: wherever it was cut and in whatever order its discs come. And whatever
//! happens to a disc, no site takes it for what it is not, and the others are not lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

#[allow(dead_code, reason = "each test file uses some of it")]
mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use edge::progress::Silent;
use edge::{Exit, Failure};
use installer::admit::AdmitError;
use installer::discs::{self, Changer, Looked, Nobody};
use manifests::bundle::{BundleDigest, Content};
use manifests::{ArchivePath, Digest, PartsList, VerifiedBundle};
use proptest::prelude::*;
use support::discs::{NAME, Person, Set, head_bytes, list_of, part_name};
use support::{Scene, blames_the_bundle, holds_exactly, message};
use testkit::sample::{Draft, SampleOptions, draft_of_files};

fn draft() -> Draft {
    Draft::new(&SampleOptions::default())
}

fn admit(scene: &Scene, places: &[PathBuf]) -> Result<VerifiedBundle, Failure> {
    admit_with(scene, places, &Nobody).map_err(Failure::from)
}

fn admit_with(
    scene: &Scene,
    places: &[PathBuf],
    changer: &dyn Changer,
) -> Result<VerifiedBundle, AdmitError> {
    discs::admit(&scene.site, &scene.config, places, changer, &mut Silent)
}

fn verify(scene: &Scene, places: &[PathBuf]) -> Result<Looked, Failure> {
    discs::verify(&scene.site, &scene.config, places, &Nobody, &mut Silent).map_err(Failure::from)
}

fn whole(looked: Looked) -> VerifiedBundle {
    match looked {
        Looked::Whole(bundle) => *bundle,
        Looked::Some(some) => panic!("only {:?}", some.whole),
    }
}

// ---- any cut, any order ---------------------------------------------------------------------------------

/// An order of so many things, from any numbers.
fn shuffled(count: usize, keys: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|place| {
        keys.get(*place % keys.len().max(1)).map(|key| key.wrapping_mul(*place as u32 + 7))
    });
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn wherever_it_is_cut_and_in_whatever_order_the_discs_come_it_is_the_same_bundle(
        cuts in proptest::collection::vec(0.0_f64..1.0, 0..7),
        keys in proptest::collection::vec(any::<u32>(), 1..8),
    ) {
        let draft = draft();
        let (archive, head) = (draft.archive(), head_bytes(&draft));
        let room = (archive.len() - head) as f64;
        let ends: Vec<usize> = cuts.iter().map(|cut| head + (cut * room) as usize).collect();
        let set = Set::cut(&draft, &ends);
        assert_eq!(set.parts.concat(), archive);
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        let order: Vec<PathBuf> =
            shuffled(discs.len(), &keys).into_iter().map(|place| discs[place].clone()).collect();
        // All at once, named in that order.
        whole(verify(&scene, &order).unwrap());
        // One after the other in one drive.
        let drive = scene.dir().join("drive");
        let person = Person::with(&drive, &order);
        let bundle = admit_with(&scene, std::slice::from_ref(&drive), &person).unwrap();
        assert_eq!(person.heard.borrow().len(), discs.len() - 1, "{:?}", person.heard);
        holds_exactly(&scene, &bundle);
        assert!(!scene.site.dir().join("store/incoming").exists());
        // To look only, whoever comes before its predecessor is asked for once more.
        let again: Vec<PathBuf> = order.iter().cycle().take(order.len() * order.len()).cloned().collect();
        let person = Person::with(&drive, &again);
        let looked =
            discs::verify(&scene.site, &scene.config, std::slice::from_ref(&drive), &person, &mut Silent);
        prop_assert_eq!(whole(looked.unwrap()).digest(), bundle.digest());
    }
}

#[test]
fn a_cut_at_every_byte_around_an_entry_is_the_same_bundle() {
    // An empty file, and files around the length of a block.
    let files = [0, 1, 511, 512, 513].map(|size| (format!("file{size}"), vec![7; size])).into();
    let draft = draft_of_files(&SampleOptions::default(), &files);
    let (head, total) = (head_bytes(&draft), draft.archive().len());
    let scene = Scene::new(&SampleOptions::default());
    // Around each block, and anywhere.
    for end in (head..total).filter(|end| matches!(end % 512, 0..=2 | 509..=511) || end % 41 == 0) {
        let set = Set::cut(&draft, &[end]);
        let dir = scene.dir().join("medium/set");
        let discs = set.write(&dir);
        let bundle = whole(verify(&scene, &discs).unwrap_or_else(|error| panic!("cut at {end}: {error:?}")));
        assert_eq!(bundle.digest(), BundleDigest(Digest::of(&draft.manifest_bytes)));
        // Backwards, and into the store.
        if end % 3 == 0 {
            let drive = scene.dir().join("drive");
            let person = Person::with(&drive, &[discs[1].clone(), discs[0].clone()]);
            let bundle = admit_with(&scene, std::slice::from_ref(&drive), &person);
            holds_exactly(&scene, &bundle.unwrap_or_else(|error| panic!("cut at {end}: {error:?}")));
            std::fs::remove_dir_all(scene.site.dir().join("store")).unwrap();
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_file_that_goes_over_many_discs_is_put_together_in_any_order() {
    let content: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let draft = draft_of_files(&SampleOptions::default(), &[("large".to_string(), content)].into());
    let set = Set::of(&draft, 7);
    for keys in [[1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1], [4, 1, 6, 3, 7, 2, 5], [2, 7, 1, 5, 3, 6, 4]] {
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        let order: Vec<PathBuf> = keys.iter().map(|number| discs[number - 1].clone()).collect();
        let drive = scene.dir().join("drive");
        let person = Person::with(&drive, &order);
        holds_exactly(&scene, &admit_with(&scene, std::slice::from_ref(&drive), &person).unwrap());
        assert_eq!(person.heard.borrow().len(), 6);
        // Each in a run of its own.
        let scene = Scene::new(&SampleOptions::default());
        for disc in &order[..6] {
            let failure = admit(&scene, std::slice::from_ref(disc)).unwrap_err();
            assert!(message(&failure).contains("these are missing"), "{failure:?}");
        }
        holds_exactly(&scene, &admit(&scene, &order[6..]).unwrap());
        assert!(!scene.site.dir().join("store/incoming").exists());
        // To look only: those that came too early are asked for once more, in their order.
        let again: Vec<PathBuf> = order.iter().chain(&discs).cloned().collect();
        let person = Person::with(&drive, &again);
        let places = std::slice::from_ref(&drive);
        whole(discs::verify(&scene.site, &scene.config, places, &person, &mut Silent).unwrap());
        let asked = person.heard.borrow();
        assert!(
            keys[0] == 1 && keys[1] == 2 || asked.iter().any(|asked| asked.contains("once more")),
            "{asked:?}"
        );
    }
}

#[test]
fn a_second_copy_of_a_damaged_part_is_taken_instead_of_it() {
    let (set, scene) = (Set::of(&draft(), 3), Scene::new(&SampleOptions::default()));
    let (first, second) =
        (set.write(&scene.dir().join("medium/a")), set.write(&scene.dir().join("medium/b")));
    let at = set.parts[1].len() / 2;
    overwrite(&first[1].join(part_name(2)), at as u64, set.parts[1][at] ^ 1);
    let all = [first.as_slice(), &second[1..2]].concat();
    whole(verify(&scene, &all).unwrap());
    holds_exactly(&scene, &admit(&scene, &all).unwrap());
}

#[test]
fn only_what_nobody_has_seen_is_called_missing() {
    let (set, scene) = (Set::of(&draft(), 4), Scene::new(&SampleOptions::default()));
    let discs = set.write(&scene.dir().join("medium"));
    let failure = verify(&scene, &[discs[0].clone(), discs[2].clone()]).unwrap_err();
    let said = message(&failure);
    let listed: Vec<usize> = (1..=4).filter(|number| said.contains(&format!("part {number} of 4"))).collect();
    assert_eq!(listed, [2, 4], "{said}");
}

#[test]
fn parts_side_by_side_in_one_directory_are_read_too() {
    let (set, scene) = (Set::of(&draft(), 4), Scene::new(&SampleOptions::default()));
    let stick = scene.dir().join("medium/stick");
    set.write_disc(&stick, 1);
    for number in 2..=4 {
        std::fs::write(stick.join(part_name(number)), &set.parts[number - 1]).unwrap();
    }
    whole(verify(&scene, std::slice::from_ref(&stick)).unwrap());
    holds_exactly(&scene, &admit(&scene, &[stick]).unwrap());
}

#[test]
fn names_in_capitals_and_names_that_lost_their_head_are_found() {
    let (set, scene) = (Set::of(&draft(), 2), Scene::new(&SampleOptions::default()));
    for (place, part) in [("upper", NAME.to_uppercase()), ("short", "SAMPLE_2".to_string())] {
        let discs = [1, 2].map(|number| {
            let disc = scene.dir().join(format!("medium/{place}-{number}"));
            std::fs::create_dir_all(disc.join("SIGNATURES")).unwrap();
            for (name, content) in set.small() {
                std::fs::write(disc.join(name.to_uppercase()), content).unwrap();
            }
            let name = format!("{part}.{number:03};1");
            std::fs::write(disc.join(name), &set.parts[number - 1]).unwrap();
            disc
        });
        whole(verify(&scene, &discs).unwrap());
        let some = verify(&scene, &discs[1..]).unwrap();
        assert!(matches!(some, Looked::Some(some) if some.whole == [2]));
    }
}

// ---- what the site keeps meanwhile ---------------------------------------------------------------------

/// Where a site keeps what came of a set.
fn incoming(scene: &Scene, set: &Set) -> PathBuf {
    let bundle = Digest::of(&set.manifest).hex();
    scene.site.dir().join("store/incoming").join(bundle)
}

#[test]
fn an_empty_file_of_a_part_that_nobody_has_read_is_missing_and_not_damaged() {
    let files = [("empty", vec![]), ("full", vec![7; 900])].map(|(name, bytes)| (name.to_string(), bytes));
    let draft = draft_of_files(&SampleOptions::default(), &files.into());
    let set = Set::cut(&draft, &[head_bytes(&draft)]);
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    for _ in 0..2 {
        let failure = admit(&scene, &discs[..1]).unwrap_err();
        let said = message(&failure);
        assert!(said.contains("these are missing: part 2 of 2"), "{said}");
    }
    holds_exactly(&scene, &admit(&scene, &discs[1..]).unwrap());
}

#[test]
fn a_journal_that_lies_decides_what_is_read_and_nothing_else() {
    let set = Set::of(&draft(), 3);
    let total: usize = set.parts.iter().map(Vec::len).sum();
    let all = format!("{{\"from\":0,\"to\":{total}}}\n");
    let journals = [all.clone(), format!("{all}{all}rubbish"), " ".repeat(2 << 20), "x".to_string()];
    for journal in journals {
        // With nothing of what it speaks of.
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        std::fs::create_dir_all(incoming(&scene, &set)).unwrap();
        std::fs::write(incoming(&scene, &set).join("done.jsonl"), &journal).unwrap();
        holds_exactly(&scene, &admit(&scene, &discs).unwrap());
        // With other bytes of the right length under each name.
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        std::fs::create_dir_all(incoming(&scene, &set)).unwrap();
        for blob in draft().inventory.blobs {
            let bytes = vec![b'x'; usize::try_from(blob.size).unwrap()];
            std::fs::write(incoming(&scene, &set).join(blob.digest.hex()), bytes).unwrap();
        }
        std::fs::write(incoming(&scene, &set).join("done.jsonl"), &journal).unwrap();
        let bundle = admit(&scene, &discs).unwrap();
        holds_exactly(&scene, &bundle);
        // What is filed is what was signed.
        let filed = scene.site.originals(bundle.digest()).unwrap();
        assert!(filed.manifest == set.manifest && filed.inventory == set.inventory);
    }
    // A disc whose headers and padding are damaged, where the journal says that they were read before.
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    let failure = admit(&scene, &discs[..2]).unwrap_err();
    assert!(message(&failure).contains("part 3 of 3"), "{failure:?}");
    std::fs::write(incoming(&scene, &set).join("done.jsonl"), all).unwrap();
    let end = set.parts[2].len() - 1;
    overwrite(&discs[2].join(part_name(3)), end as u64, 1);
    holds_exactly(&scene, &admit(&scene, &discs[2..]).unwrap());
}

#[test]
fn what_lies_in_the_way_there_stops_nobody() {
    let set = Set::of(&draft(), 3);
    let blob = draft().inventory.blobs[0].digest.hex();
    for (name, is_directory) in [
        ("stray".to_string(), false),
        (String::new(), false),
        ("BUNDLE".to_string(), false),
        ("BUNDLE/stray".to_string(), false),
        ("BUNDLE/stray.d".to_string(), true),
        ("BUNDLE/done.jsonl".to_string(), true),
        (format!("BUNDLE/{blob}"), true),
        (format!("BUNDLE/{blob}.pieces"), true),
    ] {
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        let bundle = incoming(&scene, &set);
        let name = name.replace("BUNDLE", bundle.file_name().unwrap().to_str().unwrap());
        let path = bundle.parent().unwrap().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if is_directory {
            std::fs::create_dir(&path).unwrap();
        } else if name.is_empty() {
            std::fs::write(bundle.parent().unwrap(), "x").unwrap();
        } else {
            std::fs::write(&path, "x").unwrap();
        }
        holds_exactly(&scene, &admit(&scene, &discs).unwrap_or_else(|error| panic!("{name}: {error:?}")));
        assert!(!bundle.parent().unwrap().exists(), "{name}");
    }
}

#[test]
fn a_file_that_may_be_a_manifest_is_put_together_from_a_hundred_discs() {
    let mut content = vec![b' '; 4 << 20];
    content[0] = b'{';
    let draft = draft_of_files(&SampleOptions::default(), &[("large".to_string(), content)].into());
    let set = Set::of(&draft, 100);
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    whole(verify(&scene, &discs).unwrap());
    let backwards: Vec<PathBuf> = discs.iter().rev().cloned().collect();
    let drive = scene.dir().join("drive");
    let person = Person::with(&drive, &backwards);
    holds_exactly(&scene, &admit_with(&scene, std::slice::from_ref(&drive), &person).unwrap());
}

// ---- every byte changed ---------------------------------------------------------------------------------

fn overwrite(path: &Path, offset: u64, byte: u8) {
    File::options().write(true).open(path).unwrap().write_all_at(&[byte], offset).unwrap();
}

/// Where the content of the signed documents and the signatures lies in the first part.
fn is_signed(part: &[u8], offset: usize) -> bool {
    let manifest = 512..512
        + usize::try_from(layout::header::decode(part[..512].try_into().unwrap()).unwrap().1).unwrap();
    manifest.contains(&offset)
}

#[test]
fn every_byte_of_every_part_that_is_changed_is_found_on_its_disc_alone_and_names_the_part() {
    let draft = draft();
    let set = Set::of(&draft, 3);
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    let before = scene.picture();
    for (number, (disc, part)) in (1..).zip(discs.iter().zip(&set.parts)) {
        let path = disc.join(part_name(number));
        // Of the reserved area, which is zeros, not each byte.
        let step = |at: usize| if number == 1 && at > 4096 && at < head_bytes(&draft) - 512 { 61 } else { 1 };
        let mut at = 0;
        while at < part.len() {
            overwrite(&path, at as u64, part[at] ^ 0x10);
            let failure = verify(&scene, std::slice::from_ref(disc)).unwrap_err();
            let said = message(&failure);
            assert_eq!(failure.exit(), Exit::Damaged, "part {number}, byte {at}: {said}");
            assert!(said.contains(&format!("part {number}, bytes ")), "byte {at}: {said}");
            assert!(said.contains(&part_name(number)), "byte {at}: {said}");
            if number == 1 && is_signed(part, at) {
                assert!(said.contains("bundle.json"), "byte {at}: {said}");
            }
            overwrite(&path, at as u64, part[at]);
            at += step(at);
        }
    }
    assert!(scene.picture() == before, "looking has changed the site");
    whole(verify(&scene, &discs).unwrap());
}

#[test]
fn every_byte_of_every_small_file_that_is_changed_is_found_and_nothing_is_written() {
    let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]);
    let set = Set::of(&Draft::new(&options), 2);
    let scene = Scene::new(&options);
    let discs = set.write(&scene.dir().join("medium"));
    let before = scene.picture();
    for (name, content) in set.small() {
        let path = discs[1].join(&name);
        for (at, byte) in content.iter().enumerate() {
            overwrite(&path, at as u64, byte ^ 0x01);
            let failure =
                admit(&scene, &discs).err().unwrap_or_else(|| panic!("{name}, byte {at}: admitted"));
            let signed = name == "bundle.json" || name.starts_with("signatures/");
            let expected = if signed { Exit::Refused } else { Exit::Damaged };
            assert_eq!(failure.exit(), expected, "{name}, byte {at}: {}", message(&failure));
            assert!(message(&failure).contains("disc-002"), "{name}, byte {at}: {}", message(&failure));
            assert!(scene.picture() == before, "{name}, byte {at}: the site has changed");
            overwrite(&path, at as u64, *byte);
        }
    }
    holds_exactly(&scene, &admit(&scene, &discs).unwrap());
}

// ---- hostile lists, mixed sets --------------------------------------------------------------------------

/// A set with one thing changed.
type Case = (&'static str, fn(&mut Set, &Draft));

fn relisted(set: &mut Set, change: impl FnOnce(&mut Vec<Content>)) {
    let mut parts: Vec<Content> = set.parts.iter().map(|part| Content::of(part)).collect();
    change(&mut parts);
    let bundle = BundleDigest(Digest::of(&set.manifest));
    set.list = match PartsList::new(NAME.parse().unwrap(), bundle, parts) {
        Ok(list) => list.to_bytes().unwrap(),
        Err(_) => b"{}\n".to_vec(),
    };
}

fn edited(set: &mut Set, from: &str, to: &str) {
    let text = String::from_utf8(set.list.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    set.list = text.replacen(from, to, 1).into_bytes();
}

const HOSTILE: &[Case] = &[
    ("a list of nothing", |set, _| set.list = Vec::new()),
    ("no list", |set, _| set.list = b"{}\n".to_vec()),
    ("a list over its limit", |set, _| set.list = vec![b' '; 200_000]),
    ("a list of another bundle", |set, _| {
        set.list = list_of(b"another", &set.parts);
    }),
    ("an empty list", |set, _| {
        let text = String::from_utf8(set.list.clone()).unwrap();
        let start = text.find('[').unwrap();
        set.list = format!("{}[],\"schema\":\"airlock-parts/v1\"}}\n", &text[..start]).into_bytes();
    }),
    ("a list that is not canonical", |set, _| edited(set, "{", "{ ")),
    ("a list with a key twice", |set, _| edited(set, "{", "{\"archive\":\"x\",")),
    ("a list with an unknown key", |set, _| edited(set, "\"schema\"", "\"recover\":1,\"schema\"")),
    ("a list of a later version", |set, _| edited(set, "parts/v1", "parts/v2")),
    ("a name that leads elsewhere", |set, _| edited(set, NAME, "../../canary/file")),
    ("a name with an escape sequence", |set, _| edited(set, NAME, "\\u001b[2J")),
    ("a size that is negative", |set, _| edited(set, "\"size\":", "\"size\":-")),
    ("a size beyond 64 bits", |set, _| edited(set, "\"size\":", "\"size\":99999999999999999999")),
    ("sizes that wrap around", |set, _| {
        relisted(set, |parts| {
            parts[0].size = u64::MAX;
            parts[1].size = parts[1].size.wrapping_add(1);
        });
    }),
    ("a part of no bytes", |set, _| relisted(set, |parts| parts[1].size = 0)),
    ("a part more", |set, _| relisted(set, |parts| parts.push(Content::of(b"more")))),
    ("a part less", |set, _| relisted(set, |parts| parts.truncate(2))),
    ("sizes that are moved", |set, _| {
        relisted(set, |parts| {
            parts[0].size += 1;
            parts[1].size -= 1;
        });
    }),
    ("a first part that is too short for the signatures", |set, draft| {
        *set = Set::cut(draft, &[512, head_bytes(draft)]);
    }),
    ("a digest of something else", |set, _| relisted(set, |parts| parts[1].digest = Digest::of(b"else"))),
    ("two digests exchanged", |set, _| {
        relisted(set, |parts| {
            let first = parts[0].digest;
            parts[0].digest = std::mem::replace(&mut parts[1].digest, first);
        });
    }),
    ("an inventory of another bundle", |set, _| set.inventory = b"{}\n".to_vec()),
    ("checksums of another bundle", |set, _| set.checksums = b"\n".to_vec()),
    ("no signature", |set, _| set.signatures.clear()),
    ("a part of a signed bundle without its signatures area", |set, draft| {
        set.parts[0][head_bytes(draft) - 600] = 1;
        set.list = list_of(&set.manifest, &set.parts);
    }),
    ("other content with a list that agrees", |set, _| {
        let last = set.parts.len() - 1;
        set.parts[last][700] ^= 0x20;
        set.list = list_of(&set.manifest, &set.parts);
    }),
    ("a whole archive of an attacker's as the second part", |set, draft| {
        set.parts[1] = draft.archive();
        set.list = list_of(&set.manifest, &set.parts);
    }),
];

#[test]
fn a_hostile_set_is_refused_and_nothing_anywhere_has_changed() {
    for (what, change) in HOSTILE {
        let draft = draft();
        let mut set = Set::of(&draft, 3);
        change(&mut set, &draft);
        let scene = Scene::new(&SampleOptions::default());
        let discs = set.write(&scene.dir().join("medium"));
        let before = scene.surroundings();
        for one in [discs.as_slice(), &discs[1..2]] {
            if let Err(failure) = verify(&scene, one) {
                assert!(blames_the_bundle(failure.exit()), "{what}: {failure:?}");
            } else {
                assert_eq!(one.len(), 1, "{what}: verified");
            }
            assert!(scene.surroundings() == before, "{what}: looking has changed something");
        }
        let failure = admit(&scene, &discs).err().unwrap_or_else(|| panic!("{what}: admitted"));
        assert!(blames_the_bundle(failure.exit()), "{what}: {failure:?}");
        // What is whole may wait for a better disc, where nobody sees it.
        let mut after = scene.surroundings();
        let waiting = scene.site.dir().join("store");
        after.retain(|path, _| !path.starts_with(&waiting) || before.contains_key(path));
        assert!(after == before, "{what}: something has changed");
        let shown = scene.site.dir().join("store/blobs/sha256");
        assert!(
            !shown.exists() || std::fs::read_dir(shown).unwrap().next().is_none(),
            "{what}: in the store"
        );
    }
}

#[test]
fn discs_of_two_bundles_are_told_apart_before_anything_is_written() {
    let ours = Set::of(&draft(), 2);
    let theirs = Set::of(&Draft::new(&SampleOptions { sequence: 43, ..SampleOptions::default() }), 2);
    let scene = Scene::new(&SampleOptions::default());
    let (a, b) = (ours.write(&scene.dir().join("medium/a")), theirs.write(&scene.dir().join("medium/b")));
    let before = scene.picture();
    for mixed in [[a[0].clone(), b[1].clone()], [b[1].clone(), a[0].clone()]] {
        let failure = admit(&scene, &mixed).unwrap_err();
        assert_eq!(failure.exit(), Exit::Damaged);
        assert!(message(&failure).contains("is a disc of another bundle: sample 2.1.0"), "{failure:?}");
        assert!(scene.picture() == before);
    }
    let other = Set::of(&draft(), 3).write(&scene.dir().join("medium/c"));
    let failure = admit(&scene, &[a[0].clone(), other[1].clone()]).unwrap_err();
    assert!(message(&failure).contains("its parts.json is not that of the other discs"), "{failure:?}");
    assert!(scene.picture() == before);
}

#[test]
fn parts_of_two_bundles_under_one_list_are_damage_that_is_named() {
    let set = Set::of(&draft(), 2);
    let theirs = Set::of(&Draft::new(&SampleOptions { sequence: 43, ..SampleOptions::default() }), 2);
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    std::fs::write(discs[0].join(part_name(1)), &theirs.parts[0]).unwrap();
    let failure = verify(&scene, &discs).unwrap_err();
    let said = message(&failure);
    assert!(failure.exit() == Exit::Damaged && said.contains("part 1, bytes "), "{said}");
}

// ---- what the messages name -----------------------------------------------------------------------------

#[test]
fn damage_is_named_by_part_bytes_and_component() {
    let draft = draft();
    let archive = draft.archive();
    let place = |path: &ArchivePath| {
        let mut offset = 0;
        loop {
            let (found, size) =
                layout::header::decode(archive[offset..offset + 512].try_into().unwrap()).unwrap();
            if found == *path {
                return offset + 512;
            }
            offset += usize::try_from(layout::header::entry_bytes(size)).unwrap();
        }
    };
    let scene = Scene::new(&SampleOptions::default());
    let set = Set::cut(&draft, &[head_bytes(&draft)]);
    let discs = set.write(&scene.dir().join("medium"));
    let mut roles = Vec::new();
    for blob in draft.blobs.keys() {
        let at = place(&ArchivePath::Blob(*blob)) - set.parts[0].len();
        let path = discs[1].join(part_name(2));
        overwrite(&path, at as u64, set.parts[1][at] ^ 1);
        let said = message(&verify(&scene, &discs).unwrap_err());
        let (_, role) = said.split_once("bytes ").unwrap();
        roles.push(role.split_once(": ").unwrap().1.split(": it does not").next().unwrap().to_string());
        overwrite(&path, at as u64, set.parts[1][at]);
    }
    roles.sort();
    for wanted in ["its manifest", "its configuration", "layer 1", "wheelhouse ", "files /"] {
        assert!(roles.iter().any(|role| role.contains(wanted)), "{wanted}: {roles:#?}");
    }
}

#[test]
fn several_places_of_damage_are_all_told_at_once() {
    let set = Set::of(&draft(), 3);
    let scene = Scene::new(&SampleOptions::default());
    let discs = set.write(&scene.dir().join("medium"));
    for (disc, number) in discs.iter().zip(1..).skip(1) {
        let part = &set.parts[number - 1];
        for at in [part.len() / 3, part.len() * 2 / 3] {
            overwrite(&disc.join(part_name(number)), at as u64, part[at] ^ 4);
        }
    }
    let said = message(&verify(&scene, &discs).unwrap_err());
    assert!(
        said.matches("part 2, bytes").count() >= 1 && said.matches("part 3, bytes").count() >= 1,
        "{said}"
    );
}
