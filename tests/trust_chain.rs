//! Trust that changes: roots that follow roots, revocations, and a site that only ever sees media.
//!
//! The cases of root rotation have the names of those of the TUF conformance suite, whose rules ours are.
//! Every refusal also asserts that the site's trust is byte for byte as it was and that the refusal is in
//! the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

use e2e::{Ran, World};
use edge::Exit;
use layout::signed_file::{self, SignedFile};
use manifests::Digest;
use manifests::bundle::BundleDigest;
use testkit::sample::roots::{RevocationDraft, RootDraft, role};
use testkit::sample::{Draft, SampleOptions, keyid, sample_bundle, signature};

// ---- a site, and media --------------------------------------------------------------------------------

fn put(world: &World, path: &str, file: &SignedFile) {
    let path = world.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    signed_file::write(&path, file).unwrap();
}

/// A site that has started with this root.
fn site(first: &RootDraft) -> World {
    let mut world = World::new();
    world.now = "2026-11-28T12:00:00Z".parse().unwrap();
    let file = first.sign();
    put(&world, "root.json", &file);
    init(&world, "root.json", &file).ok();
    world
}

fn init(world: &World, path: &str, file: &SignedFile) -> Ran {
    world.installer(&["trust", "init", path, "--expect-sha256", &Digest::of(&file.bytes).hex()])
}

fn update(world: &World, file: &SignedFile) -> Ran {
    put(world, "medium/next.root.json", file);
    let ran = world.installer(&["trust", "update", "medium/next.root.json"]);
    remove(world, "medium");
    ran
}

fn revoke(world: &World, file: &SignedFile) -> Ran {
    put(world, "medium/revocations.json", file);
    let ran = world.installer(&["trust", "update", "medium/revocations.json"]);
    remove(world, "medium");
    ran
}

fn remove(world: &World, path: &str) {
    std::fs::remove_dir_all(world.path(path)).unwrap();
}

/// The refusal has this exit code and these words, the trust is as it was, and the log says so.
fn refused(
    world: &World,
    ran: Ran,
    words: &str,
    before: &std::collections::BTreeMap<std::path::PathBuf, String>,
) {
    let ran = ran.expect_exit(Exit::Refused);
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert_eq!(world.snapshot("site/trust"), *before, "the site's trust changed");
    let log = world.installer(&["--output", "json", "audit", "show", "--last", "1"]).ok().json();
    let last = &log["entries"][0];
    assert_eq!(
        (last["event"].as_str(), last["outcome"].as_str()),
        (Some("trust.update"), Some("refused")),
        "{last}"
    );
}

fn version(world: &World) -> u64 {
    world.installer(&["--output", "json", "trust", "show"]).ok().json()["root"]["version"].as_u64().unwrap()
}

/// A bundle signed by these release keys.
fn bundle(sequence: u64, epoch: u64, signers: &[u8]) -> (Vec<u8>, BundleDigest) {
    let signers = signers.to_vec();
    let options = SampleOptions { sequence, epoch, signers, ..SampleOptions::default() };
    let digest = BundleDigest(Digest::of(&Draft::new(&options).manifest_bytes));
    (sample_bundle(&options).archive, digest)
}

fn verify(world: &World, archive: &[u8]) -> Ran {
    world.write("b.tar", archive);
    world.installer(&["verify", "b.tar"])
}

fn apply(world: &World, archive: &[u8]) -> Ran {
    world.write("b.tar", archive);
    world.installer(&["apply", "b.tar", "--yes"])
}

// ---- root rotation, case by case ----------------------------------------------------------------------

/// One version of a chain: root keys, threshold, who signs.
type Version = (&'static [u8], u32, &'static [u8]);

/// The first version starts the site, the others follow. `fails`: the words with which the last one is
/// refused.
fn chain(versions: &[Version], fails: Option<&str>) {
    let (keys, threshold, signers) = versions[0];
    let mut last = RootDraft::first(keys, threshold, signers);
    let world = site(&last);
    for (number, (keys, threshold, signers)) in versions.iter().enumerate().skip(1) {
        last = last.next(signers).root(keys, *threshold);
        let before = world.snapshot("site/trust");
        let ran = update(&world, &last.sign());
        match fails {
            Some(words) if number + 1 == versions.len() => refused(&world, ran, words, &before),
            _ => drop(ran.ok()),
        }
    }
    let expected = versions.len() - usize::from(fails.is_some());
    assert_eq!(version(&world), expected as u64);
}

#[test]
fn root_rotation_1_of_1_key_rotation() {
    chain(&[(&[11], 1, &[11]), (&[12], 1, &[12, 11]), (&[12], 1, &[12])], None);
}

#[test]
fn root_rotation_1_of_1_key_rotation_unused_signatures() {
    chain(&[(&[11], 1, &[13, 11, 14]), (&[12], 1, &[13, 12, 11, 14]), (&[12], 1, &[13, 12, 14])], None);
}

const FIVE: &[u8] = &[10, 11, 12, 13, 14];
const ONE_ROTATED: &[u8] = &[10, 11, 13, 14, 15];
const ALL_ROTATED: &[u8] = &[15, 16, 17, 18, 19];

#[test]
fn root_rotation_3_of_5_sign_with_different_keycombos() {
    chain(
        &[
            (FIVE, 3, &[10, 12, 14]),
            (FIVE, 3, &[10, 14, 11]),
            (FIVE, 3, &[10, 11, 13]),
            (FIVE, 3, &[10, 11, 13]),
        ],
        None,
    );
}

#[test]
fn root_rotation_3_of_5_one_key_rotated() {
    chain(&[(FIVE, 3, &[10, 12, 14]), (ONE_ROTATED, 3, &[10, 14, 11])], None);
}

#[test]
fn root_rotation_3_of_5_one_key_rotated_with_intermediate_step() {
    chain(
        &[(FIVE, 3, &[10, 12, 14]), (ONE_ROTATED, 3, &[10, 12, 14, 15]), (ONE_ROTATED, 3, &[10, 14, 15])],
        None,
    );
}

#[test]
fn root_rotation_3_of_5_all_keys_rotated_with_intermediate_step() {
    chain(
        &[
            (FIVE, 3, &[10, 12, 14]),
            (ALL_ROTATED, 3, &[10, 12, 14, 15, 16, 17]),
            (ALL_ROTATED, 3, &[15, 16, 17]),
        ],
        None,
    );
}

const THREE: &[u8] = &[11, 12, 13];

#[test]
fn root_rotation_1_of_3_threshold_increase_to_2_of_3() {
    chain(&[(THREE, 1, &[11]), (THREE, 2, &[11, 12])], None);
}

#[test]
fn root_rotation_2_of_3_threshold_decrease_to_1_of_3() {
    chain(&[(THREE, 2, &[11, 12]), (THREE, 1, &[11, 12]), (THREE, 1, &[11])], None);
}

#[test]
fn root_rotation_1_of_2_threshold_increase_to_2_of_2() {
    chain(&[(&[11], 1, &[11]), (&[11, 12], 2, &[11, 12])], None);
}

const NOT_BY_OLD: &str = "is not signed by the root role of version 1";
const NOT_BY_ITSELF: &str = "is not signed by its own root role";

#[test]
fn root_rotation_1_of_1_key_rotation_fail_not_signed_with_old_key() {
    chain(&[(&[11], 1, &[11]), (&[12], 1, &[12, 13, 14])], Some(NOT_BY_OLD));
}

#[test]
fn root_rotation_1_of_1_key_rotation_fail_not_signed_with_new_key() {
    chain(&[(&[11], 1, &[11]), (&[12], 1, &[11, 13, 14])], Some(NOT_BY_ITSELF));
}

#[test]
fn root_rotation_3_of_5_one_key_rotate_fails_not_signed_with_3_new_keys() {
    chain(&[(FIVE, 3, &[10, 12, 14]), (ONE_ROTATED, 3, &[10, 12, 14])], Some(NOT_BY_ITSELF));
}

#[test]
fn root_rotation_3_of_5_one_key_rotate_fails_not_signed_with_3_old_keys() {
    chain(&[(FIVE, 3, &[10, 12, 14]), (ONE_ROTATED, 3, &[10, 14, 15])], Some(NOT_BY_OLD));
}

#[test]
fn root_rotation_1_of_3_threshold_bump_to_2_of_3_fails_new_threshold_not_reached() {
    chain(&[(THREE, 1, &[11]), (THREE, 2, &[12])], Some(NOT_BY_ITSELF));
}

#[test]
fn root_rotation_2_of_3_threshold_decr_to_1_of_3_fails_old_threshold_not_reached() {
    chain(&[(THREE, 2, &[11, 12]), (THREE, 1, &[11])], Some(NOT_BY_OLD));
}

// ---- what else a root can get wrong -------------------------------------------------------------------

/// A root that follows `first` and is wrong in one way is refused with these words.
fn wrong_next(change: impl FnOnce(&mut RootDraft), words: &str) {
    let first = RootDraft::first(&[11, 12], 2, &[11, 12]);
    let world = site(&first);
    let mut next = first.next(&[11, 12]);
    change(&mut next);
    let before = world.snapshot("site/trust");
    let ran = update(&world, &next.sign());
    refused(&world, ran, words, &before);
}

#[test]
fn refuses_a_root_whose_version_skips_one() {
    wrong_next(|next| next.document.version = 3, "versions go up by exactly one");
}

#[test]
fn refuses_a_root_whose_version_stays() {
    // Version 1 with a root before it is not even a document of ours.
    wrong_next(|next| next.document.version = 1, "version 1 without a previous root");
}

#[test]
fn refuses_a_root_that_names_another_one_before_it() {
    wrong_next(
        |next| next.document.previous = Some(Digest::of(b"another")),
        "it names another root as the one before it",
    );
}

#[test]
fn refuses_a_root_of_another_publisher() {
    wrong_next(|next| next.document.publisher = "mallory".parse().unwrap(), "it is another publisher's");
}

#[test]
fn refuses_a_root_whose_epoch_goes_back_or_jumps() {
    wrong_next(|next| next.document.epoch = 0, "the epoch stays, or goes up by one");
    wrong_next(|next| next.document.epoch = 3, "the epoch stays, or goes up by one");
}

#[test]
fn refuses_a_root_that_is_older_than_the_one_before_it() {
    wrong_next(|next| next.document.created = "2026-10-31T12:00:00Z".parse().unwrap(), "it is older");
}

#[test]
fn refuses_a_root_one_key_of_which_has_signed_twice() {
    // As in CVE-2020-15093 and CVE-2026-6966: one signature under two names, or twice under one.
    wrong_next(|next| next.signers = vec![11, 11], "1 of 2 needed holders have signed");
    let first = RootDraft::first(&[11, 12], 2, &[11, 12]);
    let world = site(&first);
    let mut file = first.next(&[11]).sign();
    let copy = file.signatures[0].bytes.clone();
    file.signatures.push(manifests::root::FoundSignature { claimed: keyid(12), bytes: copy });
    let before = world.snapshot("site/trust");
    let ran = update(&world, &file);
    refused(&world, ran, "does not fit these bytes", &before);
}

#[test]
fn refuses_a_root_both_of_whose_signers_are_one_person() {
    let mut first = RootDraft::first(&[11, 12, 13], 2, &[11, 13]);
    for key in [11, 12] {
        first.document.keys.get_mut(&keyid(key)).unwrap().holder = "alice".parse().unwrap();
    }
    let world = site(&first);
    let before = world.snapshot("site/trust");
    let ran = update(&world, &first.next(&[11, 12]).sign());
    refused(&world, ran, "1 of 2 needed holders have signed", &before);
}

#[test]
fn refuses_a_root_signed_only_by_release_keys() {
    wrong_next(|next| next.signers = vec![1], "0 of 2 needed holders have signed");
}

#[test]
fn refuses_a_root_with_one_bad_signature_beside_enough_good_ones() {
    let first = RootDraft::first(&[11, 12], 1, &[11]);
    let world = site(&first);
    let mut file = first.next(&[11, 12]).sign();
    file.signatures[1].bytes[5] ^= 1;
    let before = world.snapshot("site/trust");
    let ran = update(&world, &file);
    refused(&world, ran, "does not fit these bytes", &before);
}

#[test]
fn refuses_every_single_bit_flip_of_a_root_and_of_its_signatures() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let trust = || {
        let file = first.sign();
        let root = manifests::TrustRoot::from_trusted_place(&file.bytes, &file.signatures).unwrap();
        manifests::Trust::starting_with(root)
    };
    let good = first.next(&[11]).sign();
    trust().advance(&good.bytes, &good.signatures).unwrap();
    for position in 0..good.bytes.len() * 8 {
        let mut bytes = good.bytes.clone();
        bytes[position / 8] ^= 1 << (position % 8);
        assert!(trust().advance(&bytes, &good.signatures).is_err(), "bit {position} of the root");
    }
    for position in 0..64 * 8 {
        let mut signatures = good.signatures.clone();
        signatures[0].bytes[position / 8] ^= 1 << (position % 8);
        assert!(trust().advance(&good.bytes, &signatures).is_err(), "bit {position} of the signature");
    }
}

#[test]
fn an_expired_local_root_can_still_be_followed() {
    let mut first = RootDraft::first(&[11], 1, &[11]);
    first.document.expires = Some("2026-11-02T00:00:00Z".parse().unwrap());
    let world = site(&first);
    let mut next = first.next(&[11]);
    next.document.expires = None;
    update(&world, &next.sign()).ok();
    assert_eq!(version(&world), 2);
}

#[test]
fn invalid_initial_root_and_unsigned_initial_root() {
    let world = World::new();
    let first = RootDraft::first(&[11], 1, &[11]);
    let mut stranger = first.sign();
    stranger.signatures.clear();
    put(&world, "root.json", &stranger);
    let ran = init(&world, "root.json", &stranger).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("there is no signature"), "{}", ran.stderr);
    let mut damaged = first.sign();
    damaged.bytes.insert(1, b' ');
    put(&world, "odd/root.json", &damaged);
    let _ = init(&world, "odd/root.json", &damaged).expect_exit(Exit::Refused);
    assert!(!world.path("site").exists());
}

#[test]
fn a_site_can_start_with_a_later_root_whose_fingerprint_came_on_paper() {
    let second = RootDraft::first(&[11], 1, &[11]).next(&[11]);
    let world = site(&second);
    assert_eq!(version(&world), 2);
    update(&world, &second.next(&[11]).sign()).ok();
    assert_eq!(version(&world), 3);
}

// ---- media ---------------------------------------------------------------------------------------------

#[test]
fn a_site_that_missed_versions_takes_all_of_them_from_one_medium_and_keeps_each() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let second = first.next(&[11, 12]).root(&[12], 1);
    let third = second.next(&[12, 13]).root(&[13], 1).release(&[2], 1);
    let world = site(&first);
    for (number, root) in [(1, &first), (2, &second), (3, &third)] {
        put(&world, &format!("usb/trust/{number}.root.json"), &root.sign());
    }
    put(&world, "usb/revocations.json", &RevocationDraft::new(1, 1, &[13]).key(1, &[]).sign());
    let medium = world.snapshot("usb");
    let taken = world.installer(&["--output", "json", "trust", "update", "usb"]).ok().json();
    assert_eq!(world.snapshot("usb"), medium, "the medium was written to");
    let what = |row: &serde_json::Value| format!("{} {}", row["what"].as_str().unwrap(), row["version"]);
    let rows: Vec<String> = taken["taken"].as_array().unwrap().iter().map(what).collect();
    assert_eq!(rows, ["root 2", "root 3", "revocations 1"]);
    for file in ["1.root.json", "2.root.json", "3.root.json", "1.1.revocations.json"] {
        assert!(world.path("site/trust").join(file).exists(), "{file} was not kept");
    }
    let shown = world.installer(&["trust", "show"]).ok().stdout;
    assert!(shown.contains("root version 3") && shown.contains("before it   version 1"), "{shown}");
    assert!(shown.contains(&keyid(1).to_string()) && shown.contains("lost"), "{shown}");
    let again = world.installer(&["trust", "update", "usb"]).ok().stdout;
    assert!(again.contains("nothing new"), "{again}");
}

#[test]
fn a_missing_version_in_between_is_refused_and_nothing_of_the_medium_is_taken() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let second = first.next(&[11]);
    let (third, fourth) = (second.next(&[11]), second.next(&[11]).next(&[11]));
    let world = site(&first);
    put(&world, "usb/2.root.json", &second.sign());
    put(&world, "usb/4.root.json", &fourth.sign());
    let before = world.snapshot("site/trust");
    let ran = world.installer(&["trust", "update", "usb"]);
    assert!(ran.stderr.contains("every root between is needed"), "{}", ran.stderr);
    refused(&world, ran, "trust root version 4 cannot follow version 2", &before);
    put(&world, "usb/3.root.json", &third.sign());
    world.installer(&["trust", "update", "usb"]).ok();
    assert_eq!(version(&world), 4);
}

#[test]
fn a_root_on_the_medium_changes_nothing_until_somebody_takes_it() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    put(&world, "root.json.next/2.root.json", &first.next(&[11]).sign());
    put(&world, "trust/2.root.json", &first.next(&[11]).sign());
    let before = world.snapshot("site/trust");
    verify(&world, &bundle(42, 1, &[1]).0).ok();
    apply(&world, &bundle(42, 1, &[1]).0).ok();
    assert_eq!(world.snapshot("site/trust"), before);
}

#[test]
fn a_medium_without_any_trust_and_a_file_of_another_name_are_said_to_be_so() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    std::fs::create_dir(world.path("empty")).unwrap();
    let _ = world.installer(&["trust", "update", "empty"]).expect_exit(Exit::Unreachable);
    let _ = world.installer(&["trust", "update", "nowhere.root.json"]).expect_exit(Exit::Unreachable);
    world.write("other.json", "{}");
    let _ = world.installer(&["trust", "update", "other.json"]).expect_exit(Exit::Usage);
}

#[test]
fn a_medium_full_of_roots_is_not_read_into_memory() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    for number in 0..257 {
        world.write(&format!("usb/{number}.root.json"), "{}");
    }
    let ran = world.installer(&["trust", "update", "usb"]).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("has 257 roots"), "{}", ran.stderr);
}

#[test]
fn a_site_without_trust_takes_no_update_and_is_left_as_it_is() {
    let world = World::new();
    put(&world, "usb/root.json", &RootDraft::first(&[11], 1, &[11]).sign());
    let _ = world.installer(&["trust", "update", "usb"]).expect_exit(Exit::Refused);
    assert!(!world.path("site").exists());
}

// ---- revocations ---------------------------------------------------------------------------------------

#[test]
fn a_revoked_key_does_not_count_and_the_refusal_says_so() {
    let world = site(&RootDraft::first(&[11], 1, &[11]).release(&[1, 2], 1));
    let (by_one, by_both) = (bundle(42, 1, &[1]).0, bundle(43, 1, &[1, 2]).0);
    verify(&world, &by_one).ok();
    revoke(&world, &RevocationDraft::new(1, 1, &[11]).key(1, &[]).sign()).ok();
    let ran = verify(&world, &by_one).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("is revoked, and without it 0 of 1"), "{}", ran.stderr);
    let ran = verify(&world, &by_both).ok();
    assert!(ran.stdout.contains("not counted: the key is revoked"), "{}", ran.stdout);
}

#[test]
fn a_bundle_that_a_revoked_key_is_known_to_have_signed_rightly_still_counts() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    let ((good, known), (other, _)) = (bundle(42, 1, &[1]), bundle(43, 1, &[1]));
    revoke(&world, &RevocationDraft::new(1, 1, &[11]).key(1, &[known]).sign()).ok();
    verify(&world, &good).ok();
    let _ = verify(&world, &other).expect_exit(Exit::Refused);
}

#[test]
fn a_revoked_bundle_and_everything_below_an_order_are_refused() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    let ((first, digest), (second, _), (third, _)) =
        (bundle(42, 1, &[1]), bundle(43, 1, &[1]), bundle(44, 1, &[1]));
    let list = RevocationDraft::new(1, 1, &[11]).bundle(digest);
    revoke(&world, &list.sign()).ok();
    let ran = verify(&world, &first).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("the bundle is revoked: has a flaw"), "{}", ran.stderr);
    verify(&world, &second).ok();
    let list = RevocationDraft::new(1, 2, &[11]).bundle(digest).below("sample", 1, 44);
    revoke(&world, &list.sign()).ok();
    let ran = verify(&world, &second).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("order 1.43 is below 1.44"), "{}", ran.stderr);
    verify(&world, &third).ok();
}

/// A second list that is wrong in one way is refused with these words.
fn wrong_list(second: &RevocationDraft, words: &str) {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    revoke(&world, &RevocationDraft::new(1, 3, &[11]).key(1, &[]).below("sample", 1, 40).sign()).ok();
    let before = world.snapshot("site/trust");
    let ran = revoke(&world, &second.sign());
    refused(&world, ran, words, &before);
}

#[test]
fn refuses_a_list_of_revocations_that_forgets() {
    let draft = || RevocationDraft::new(1, 4, &[11]);
    wrong_list(&draft().below("sample", 1, 40), "forgets what version 3 has revoked: a key");
    wrong_list(&draft().key(1, &[]).below("sample", 1, 39), "forgets what version 3 has revoked: the lowest");
}

#[test]
fn refuses_a_second_list_of_the_same_version() {
    wrong_list(&RevocationDraft::new(1, 3, &[11]).key(2, &[]), "equivocation");
}

#[test]
fn refuses_a_list_of_another_epoch_or_publisher() {
    wrong_list(&RevocationDraft::new(2, 4, &[11]), "are of epoch 2");
    let mut other = RevocationDraft::new(1, 4, &[11]);
    other.document.publisher = "mallory".parse().unwrap();
    wrong_list(&other, "are `mallory`'s");
}

#[test]
fn refuses_revocations_by_release_keys_and_without_signatures() {
    wrong_list(&RevocationDraft::new(1, 4, &[1]).key(1, &[]), "not signed by those who may revoke");
    wrong_list(&RevocationDraft::new(1, 4, &[]).key(1, &[]), "there is no signature");
}

#[test]
fn refuses_every_single_bit_flip_of_revocations() {
    let first = RootDraft::first(&[11], 1, &[11]).sign();
    let root = manifests::TrustRoot::from_trusted_place(&first.bytes, &first.signatures).unwrap();
    let good = RevocationDraft::new(1, 1, &[11]).key(1, &[]).sign();
    for position in 0..good.bytes.len() * 8 {
        let mut bytes = good.bytes.clone();
        bytes[position / 8] ^= 1 << (position % 8);
        let mut trust = manifests::Trust::starting_with(root.clone());
        assert!(trust.revoke(&bytes, &good.signatures).is_err(), "bit {position}");
        assert!(trust.revocations().is_none());
    }
}

#[test]
fn an_older_list_is_passed_over_and_the_newer_one_stays() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    let older = RevocationDraft::new(1, 1, &[11]).key(1, &[]);
    let newer = RevocationDraft::new(1, 2, &[11]).key(1, &[]).key(2, &[]);
    revoke(&world, &newer.sign()).ok();
    let before = world.snapshot("site/trust");
    let ran = revoke(&world, &older.sign()).ok();
    assert!(ran.stdout.contains("older than what is known here"), "{}", ran.stdout);
    assert_eq!(world.snapshot("site/trust"), before);
}

#[test]
fn a_revocation_role_revokes_in_place_of_the_root_role_and_nothing_more() {
    let first = RootDraft::first(&[11], 1, &[11]).revocation(&[21], 1);
    let world = site(&first);
    let before = world.snapshot("site/trust");
    let ran = revoke(&world, &RevocationDraft::new(1, 1, &[11]).key(1, &[]).sign());
    refused(&world, ran, "not signed by those who may revoke", &before);
    revoke(&world, &RevocationDraft::new(1, 1, &[21]).key(1, &[]).key(11, &[]).sign()).ok();
    // It names the root's only key as well: a thief of the revocation key must not lock the publisher out.
    update(&world, &first.next(&[11]).release(&[2], 1).sign()).ok();
    verify(&world, &bundle(42, 1, &[2]).0).ok();
    let before = world.snapshot("site/trust");
    let ran = update(&world, &first.next(&[21]).sign());
    refused(&world, ran, "is not signed by the root role", &before);
}

#[test]
fn revocations_stay_when_the_role_that_made_them_is_gone() {
    let first = RootDraft::first(&[11], 1, &[11]).revocation(&[21], 1).release(&[1, 2], 1);
    let world = site(&first);
    revoke(&world, &RevocationDraft::new(1, 1, &[21]).key(1, &[]).sign()).ok();
    update(&world, &first.next(&[11]).revocation(&[22], 1).sign()).ok();
    let _ = verify(&world, &bundle(42, 1, &[1]).0).expect_exit(Exit::Refused);
    let before = world.snapshot("site/trust");
    let ran = revoke(&world, &RevocationDraft::new(1, 2, &[21]).key(1, &[]).key(2, &[]).sign());
    refused(&world, ran, "not signed by those who may revoke", &before);
}

// ---- what a thief can do, and how a publisher gets out ------------------------------------------------

#[test]
fn a_stolen_release_key_is_rotated_away_and_revoked_on_a_site_that_only_saw_media() {
    let first = RootDraft::first(&[11, 12], 2, &[11, 12]);
    let world = site(&first);
    apply(&world, &bundle(42, 1, &[1]).0).ok();
    // The thief signs; the site, which knows nothing yet, would take it.
    let forged = bundle(43, 1, &[1]).0;
    verify(&world, &forged).ok();
    // The next medium brings the new root, the revocation and a bundle by the new key.
    let second = first.next(&[11, 12]).release(&[2], 1);
    put(&world, "usb/1.root.json", &first.sign());
    put(&world, "usb/2.root.json", &second.sign());
    put(&world, "usb/revocations.json", &RevocationDraft::new(1, 1, &[11, 12]).key(1, &[]).sign());
    world.write("usb/b.tar", bundle(44, 1, &[2]).0);
    let _ = world.installer(&["verify", "usb/b.tar"]).expect_exit(Exit::Refused);
    world.installer(&["trust", "update", "usb"]).ok();
    let ran = verify(&world, &forged).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("0 of 1 needed holders"), "{}", ran.stderr);
    world.installer(&["apply", "usb/b.tar", "--yes"]).ok();
    // The way back to what the stolen key had signed is closed too, until the publisher vouches for it.
    let ran = world.installer(&["rollback", "--yes"]).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("is revoked"), "{}", ran.stderr);
    let good = bundle(42, 1, &[1]).1;
    revoke(&world, &RevocationDraft::new(1, 2, &[11, 12]).key(1, &[good]).sign()).ok();
    world.installer(&["rollback", "--yes", "--reason", "new version has a flaw"]).ok();
    world.installer(&["audit", "verify"]).ok();
}

#[test]
fn targets_fast_forward_recovery_by_a_new_epoch() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    // A thief signs the highest number there is: nothing of this epoch can follow.
    apply(&world, &bundle(u64::MAX, 1, &[1]).0).ok();
    let _ = verify(&world, &bundle(43, 1, &[1]).0).expect_exit(Exit::Refused);
    let mut second = first.next(&[11]).release(&[2], 1);
    second.document.epoch = 2;
    update(&world, &second.sign()).ok();
    // Old epoch: refused whatever its number is. New epoch: starts small.
    let ran = verify(&world, &bundle(44, 1, &[2]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("of epoch 1"), "{}", ran.stderr);
    apply(&world, &bundle(1, 2, &[2]).0).ok();
}

#[test]
fn revocation_fast_forward_recovery_by_a_new_epoch() {
    let first = RootDraft::first(&[11], 1, &[11]).revocation(&[21], 1);
    let world = site(&first);
    let stolen = RevocationDraft::new(1, u64::MAX, &[21]).key(1, &[]).below("sample", u64::MAX, 0);
    revoke(&world, &stolen.sign()).ok();
    let mut second = first.next(&[11]).revocation(&[22], 1);
    second.document.epoch = 2;
    update(&world, &second.sign()).ok();
    // What was revoked stays so until the new list: absence never widens trust.
    let _ = verify(&world, &bundle(1, 2, &[1]).0).expect_exit(Exit::Refused);
    revoke(&world, &RevocationDraft::new(2, 1, &[22]).sign()).ok();
    verify(&world, &bundle(1, 2, &[1]).0).ok();
}

// ---- a site that was set back -------------------------------------------------------------------------

#[test]
fn a_site_whose_newest_root_was_taken_away_judges_nothing_any_more() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    update(&world, &first.next(&[11]).release(&[2], 1).sign()).ok();
    std::fs::remove_file(world.path("site/trust/2.root.json")).unwrap();
    for args in
        [&["verify", "b.tar"][..], &["apply", "b.tar", "--yes"], &["plan", "b.tar"], &["trust", "show"]]
    {
        world.write("b.tar", bundle(42, 1, &[1]).0);
        let ran = world.installer(args).expect_exit(Exit::Refused);
        assert!(
            ran.stderr.contains("the site was set back: the audit log says trust root version 2"),
            "{}",
            ran.stderr
        );
    }
    let log = world.installer(&["audit", "show", "--last", "1"]).ok().stdout;
    assert!(log.contains("site.check") && log.contains("refused"), "{log}");
}

#[test]
fn a_site_whose_revocations_or_ledger_were_taken_away_judges_nothing_any_more() {
    let first = RootDraft::first(&[11], 1, &[11]).release(&[1, 2], 1);
    let world = site(&first);
    revoke(&world, &RevocationDraft::new(1, 1, &[11]).key(1, &[]).sign()).ok();
    apply(&world, &bundle(43, 1, &[2]).0).ok();
    let list = std::fs::read(world.path("site/trust/1.1.revocations.json")).unwrap();
    std::fs::remove_file(world.path("site/trust/1.1.revocations.json")).unwrap();
    let ran = verify(&world, &bundle(44, 1, &[1]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("revocations version 1 of epoch 1 were taken"), "{}", ran.stderr);
    world.write("site/trust/1.1.revocations.json", list);
    verify(&world, &bundle(44, 1, &[2]).0).ok();
    std::fs::remove_file(world.path("site/ledger/acme.sample.json")).unwrap();
    let ran = verify(&world, &bundle(42, 1, &[2]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("order 1.43 was applied"), "{}", ran.stderr);
}

#[test]
fn a_site_whose_log_was_replaced_by_an_empty_one_judges_nothing_any_more() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    std::fs::remove_file(world.path("site/audit/audit.jsonl")).unwrap();
    let says = |words: &str| {
        let ran = verify(&world, &bundle(42, 1, &[1]).0).expect_exit(Exit::Refused);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        std::fs::remove_file(world.path("site/audit/audit.jsonl")).unwrap();
    };
    says("the log was cut: it has 0 entries, and 4 were signed");
    // Nor if what was signed is taken away with it.
    remove(&world, "site/audit/checkpoints");
    says("does not know of trust root version 1");
    remove(&world, "site/key");
    says("does not know of trust root version 1");
}

#[test]
fn a_root_or_a_list_that_was_swapped_on_the_sites_disk_is_refused() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    update(&world, &first.next(&[11]).sign()).ok();
    // Another second root, as good as the first one: its digest is not the one in the log.
    put(&world, "site/trust/2.root.json", &first.next(&[11]).release(&[3], 1).sign());
    let ran = verify(&world, &bundle(42, 1, &[3]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("does not know of trust root version 2"), "{}", ran.stderr);
    // One that nobody has signed.
    let mut unsigned = first.next(&[11]).sign();
    unsigned.signatures.clear();
    remove(&world, "site/trust/2.root.json.sigs");
    put(&world, "site/trust/2.root.json", &unsigned);
    let _ = verify(&world, &bundle(42, 1, &[1]).0).expect_exit(Exit::Refused);
}

// ---- roles ---------------------------------------------------------------------------------------------

#[test]
fn every_clause_of_a_role_has_to_be_met() {
    let mut first = RootDraft::first(&[11], 1, &[11]).release(&[1, 2, 3], 1);
    let mut both = role(&[1, 2], 1);
    both.clauses.extend(role(&[3], 1).clauses);
    first.document.roles.release = both;
    let world = site(&first);
    let ran = verify(&world, &bundle(42, 1, &[1, 2]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("0 of 1 needed holders"), "{}", ran.stderr);
    let _ = verify(&world, &bundle(42, 1, &[3]).0).expect_exit(Exit::Refused);
    verify(&world, &bundle(42, 1, &[2, 3]).0).ok();
}

#[test]
fn refuses_a_root_that_no_one_could_ever_meet_or_that_anybody_could() {
    let broken = |change: fn(&mut RootDraft)| {
        let world = World::new();
        let mut draft = RootDraft::first(&[11], 1, &[11]);
        change(&mut draft);
        let file = draft.sign();
        put(&world, "root.json", &file);
        let ran = init(&world, "root.json", &file).expect_exit(Exit::Refused);
        assert!(!world.path("site").exists());
        ran.stderr
    };
    let more = broken(|draft| draft.document.roles.release = role(&[1], 2));
    assert!(more.contains("needs more holders than its keys have"), "{more}");
    let none = broken(|draft| draft.document.roles.release.clauses.clear());
    assert!(none.contains("has no clause"), "{none}");
    let twice = broken(|draft| {
        let keyids = &mut draft.document.roles.release.clauses[0].keyids;
        keyids.push(keyids[0]);
    });
    assert!(twice.contains("lists a key twice"), "{twice}");
    let stranger = broken(|draft| draft.document.roles.release = role(&[99], 1));
    assert!(stranger.contains("lists a key that the root does not have"), "{stranger}");
    let renamed = broken(|draft| {
        let entry = draft.document.keys.remove(&keyid(1)).unwrap();
        draft.document.keys.insert(keyid(99), entry);
        draft.document.roles.release = role(&[99], 1);
    });
    assert!(renamed.contains("under an identity or scheme that is not its own"), "{renamed}");
}

#[test]
fn a_signature_over_a_root_is_none_over_a_bundle_and_the_other_way_round() {
    // The same key in both roles: only what the bytes say they are keeps them apart.
    let first = RootDraft::first(&[1], 1, &[1]);
    let world = site(&first);
    let archive = bundle(42, 1, &[1]).0;
    let reader = layout::reader::BundleReader::open(archive.as_slice()).unwrap();
    let manifest = reader.head().manifest.clone();
    let (claimed, bytes) = signature(1, &manifest);
    let as_root =
        SignedFile { bytes: manifest, signatures: vec![manifests::root::FoundSignature { claimed, bytes }] };
    let before = world.snapshot("site/trust");
    let ran = update(&world, &as_root);
    refused(&world, ran, "not a document of this kind", &before);
    let ran = revoke(&world, &first.next(&[1]).sign());
    refused(&world, ran, "revocations.json is signed, but it is not valid", &before);
}

// ---- what a real medium looks like --------------------------------------------------------------------

#[test]
fn the_whole_directory_of_trust_is_taken_again_and_again_whatever_was_rotated() {
    let first = RootDraft::first(&[11, 12], 2, &[11, 12]);
    let second = first.next(&[11, 12, 13]).root(&[12, 13], 2);
    let world = site(&first);
    put(&world, "usb/1.root.json", &first.sign());
    put(&world, "usb/1.revocations.json", &RevocationDraft::new(1, 1, &[11, 12]).key(1, &[]).sign());
    world.installer(&["trust", "update", "usb"]).ok();
    // One who has signed the list goes; the old list stays on the medium.
    put(&world, "usb/2.root.json", &second.sign());
    let ran = world.installer(&["trust", "update", "usb"]).ok();
    assert!(ran.stdout.contains("1.revocations.json: known here"), "{}", ran.stdout);
    put(
        &world,
        "usb/2.revocations.json",
        &RevocationDraft::new(1, 2, &[12, 13]).key(1, &[]).key(2, &[]).sign(),
    );
    let ran = world.installer(&["trust", "update", "usb"]).ok();
    assert!(ran.stdout.contains("taken       revocations version 2"), "{}", ran.stdout);
    // A site that comes late takes what holds, and says what it left.
    let late = site(&first);
    for name in ["1.root.json", "2.root.json"] {
        let from = world.path(&format!("usb/{name}"));
        put(&late, &format!("usb/{name}"), &signed_file::read(&from, 1 << 20).unwrap());
    }
    put(&late, "usb/1.revocations.json", &RevocationDraft::new(1, 1, &[11, 12]).key(1, &[]).sign());
    let ran = late.installer(&["trust", "update", "usb"]).ok();
    assert!(ran.stdout.contains("its signers may not revoke any more"), "{}", ran.stdout);
    assert_eq!(version(&late), 2);
}

#[test]
fn a_site_that_started_with_a_later_root_takes_the_whole_directory_too() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let second = first.next(&[11, 12]).root(&[12], 1);
    let third = second.next(&[12, 13]).root(&[13], 1);
    let fourth = third.next(&[13]);
    let world = site(&third);
    for (number, root) in [(1, &first), (2, &second), (3, &third), (4, &fourth)] {
        put(&world, &format!("usb/{number}.root.json"), &root.sign());
    }
    let ran = world.installer(&["trust", "update", "usb"]).ok();
    assert_eq!(
        ran.stdout.matches("older than the root that this site started with").count(),
        2,
        "{}",
        ran.stdout
    );
    assert_eq!(version(&world), 4);
    // Another chain's first root is not ours for all that.
    let before = world.snapshot("site/trust");
    let ran = update(&world, &RootDraft::first(&[31], 1, &[31]).sign());
    refused(&world, ran, "is not signed by the root role", &before);
}

#[test]
fn what_else_lies_on_a_stick_is_left_and_named_and_alone_it_is_refused() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    world.write("usb/._2.root.json", "Mac OS X");
    let mut other = RootDraft::first(&[31], 1, &[31]);
    other.document.publisher = "other".parse().unwrap();
    put(&world, "usb/other.root.json", &other.sign());
    let before = world.snapshot("site/trust");
    let ran = world.installer(&["trust", "update", "usb"]);
    refused(&world, ran, "is not signed by the root role", &before);
    put(&world, "usb/2.root.json", &first.next(&[11]).sign());
    let ran = world.installer(&["trust", "update", "usb"]).ok();
    assert!(
        ran.stdout.contains("other.root.json: nobody whom this site trusts has signed it"),
        "{}",
        ran.stdout
    );
    assert_eq!(version(&world), 2);
    // Somebody who names a file wants that file.
    let before = world.snapshot("site/trust");
    let ran = world.installer(&["trust", "update", "usb/2.root.json", "usb/other.root.json"]);
    refused(&world, ran, "is not signed by the root role", &before);
}

#[test]
fn a_name_on_a_medium_cannot_pass_for_a_line_of_ours() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    let name = "usb/x\ntaken       root version 9\u{9b}2J.root.json";
    put(&world, name, &first.sign());
    let ran = world.installer(&["trust", "update", "usb"]).ok();
    assert!(!ran.stdout.lines().any(|line| line.starts_with("taken")), "{}", ran.stdout);
    let json = world.installer(&["--output", "json", "trust", "update", "usb"]).ok().stdout;
    assert!(json.is_ascii() && !json.contains('\u{9b}'), "{json}");
    remove(&world, "usb");
    put(&world, name, &first.next(&[66]).sign());
    let ran = world.installer(&["trust", "update", "usb"]).expect_exit(Exit::Refused);
    assert!(!ran.stderr.lines().any(|line| line.starts_with("taken")), "{}", ran.stderr);
}

// ---- what the log knows -------------------------------------------------------------------------------

#[test]
fn a_list_that_the_log_does_not_know_is_refused_however_well_it_is_signed() {
    let first = RootDraft::first(&[11], 1, &[11]).revocation(&[21], 1);
    let world = site(&first);
    revoke(&world, &RevocationDraft::new(1, 1, &[21]).key(1, &[]).sign()).ok();
    update(&world, &first.next(&[11]).revocation(&[22], 1).sign()).ok();
    // The old revocation key, retired by now, in the hands of somebody with the site's disk.
    put(&world, "site/trust/9.9.revocations.json", &RevocationDraft::new(9, 9, &[21]).sign());
    let ran = verify(&world, &bundle(42, 1, &[1]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("does not know of revocations version 9"), "{}", ran.stderr);
    std::fs::remove_file(world.path("site/trust/9.9.revocations.json")).unwrap();
    put(&world, "site/trust/1.1.revocations.json", &RevocationDraft::new(1, 1, &[21]).sign());
    let ran = verify(&world, &bundle(42, 1, &[1]).0).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("does not know of revocations version 1"), "{}", ran.stderr);
}

#[test]
fn a_site_whose_trust_was_taken_away_does_not_start_anew() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    remove(&world, "site/trust");
    let other = RootDraft::first(&[31], 1, &[31]).sign();
    for file in [first.sign(), other] {
        put(&world, "again/root.json", &file);
        let ran = init(&world, "again/root.json", &file).expect_exit(Exit::Refused);
        assert!(
            ran.stderr.contains("had a trust root before") && ran.stderr.contains("--site"),
            "{}",
            ran.stderr
        );
        remove(&world, "again");
    }
}

#[test]
fn a_signature_that_lay_there_before_does_not_spoil_a_root() {
    let first = RootDraft::first(&[11, 12], 1, &[11]);
    let world = site(&first);
    // What a cut-off write of another second root would have left.
    let stray = first.next(&[12]).release(&[2], 1).sign();
    let name = format!("site/trust/2.root.json.sigs/{}.sig", stray.signatures[0].claimed);
    world.write(&name, &stray.signatures[0].bytes);
    update(&world, &first.next(&[11]).sign()).ok();
    assert_eq!(version(&world), 2);
}

#[test]
fn damage_to_the_sites_own_trust_says_what_to_do() {
    let world = site(&RootDraft::first(&[11], 1, &[11]));
    world.write("site/trust/1.root.json", "{}");
    let ran = world.installer(&["trust", "show"]).expect_exit(Exit::Refused);
    assert!(
        ran.stderr.contains("the site's own trust is damaged") && ran.stderr.contains("backup"),
        "{}",
        ran.stderr
    );
}

#[test]
fn only_the_root_role_takes_a_part_of_a_revocation_back() {
    let world = site(&RootDraft::first(&[11], 1, &[11]).revocation(&[21], 1));
    let good = bundle(42, 1, &[1]).1;
    revoke(&world, &RevocationDraft::new(1, 1, &[21]).key(1, &[]).sign()).ok();
    let before = world.snapshot("site/trust");
    let ran = revoke(&world, &RevocationDraft::new(1, 2, &[21]).key(1, &[good]).sign());
    refused(&world, ran, "only the root role may do that", &before);
    revoke(&world, &RevocationDraft::new(1, 2, &[21, 11]).key(1, &[good]).sign()).ok();
    verify(&world, &bundle(42, 1, &[1]).0).ok();
}

#[test]
fn looking_while_somebody_takes_roots_is_never_a_false_alarm() {
    let first = RootDraft::first(&[11], 1, &[11]);
    let world = site(&first);
    let mut last = first;
    let mut roots = Vec::new();
    for _ in 0..20 {
        last = last.next(&[11]);
        roots.push(last.sign());
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let ran = world.installer(&["trust", "show"]);
                assert!(matches!(ran.exit, Exit::Done | Exit::NotReady), "{}", ran.stderr);
            }
        });
        for (number, root) in roots.iter().enumerate() {
            put(&world, &format!("usb{number}/next.root.json"), root);
            let path = format!("usb{number}/next.root.json");
            while world.installer(&["trust", "update", &path]).exit != Exit::Done {
                std::thread::yield_now();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        looker.join().unwrap();
    });
    let log = world.installer(&["audit", "show"]).ok().stdout;
    assert!(!log.contains("site.check"), "{log}");
}
