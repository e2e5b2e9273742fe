//! The order of bundles, as a site meets it: replay, one number on two bundles, and the highest number
//! there is, which only a later epoch gets past.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

#[allow(dead_code, reason = "each test file uses some of it")]
#[path = "../support/mod.rs"]
mod support;

use e2e::Ran;
use edge::Exit;
use manifests::audit::Outcome;
use support::{Picture, Scene};
use testkit::sample::{SampleOptions, draft_of_files};

/// The bundle with this order and one file that says so.
fn bundle(epoch: u64, sequence: u64) -> Vec<u8> {
    let options = SampleOptions { epoch, sequence, ..SampleOptions::default() };
    let files = [("order".to_string(), format!("{epoch}.{sequence}").into_bytes())];
    draft_of_files(&options, &files.into()).archive()
}

/// A site that trusts a root of this epoch and has one target.
fn site(epoch: u64) -> Scene {
    let scene = Scene::new(&SampleOptions { root_epoch: epoch, ..SampleOptions::default() });
    let root = scene.dir().join("root");
    std::fs::create_dir(&root).unwrap();
    let yaml = format!(
        "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets: {{files: {{root: {}}}}}\n",
        root.display()
    );
    scene.world.write("site/site.yaml", yaml);
    scene
}

fn apply(scene: &Scene, archive: &[u8]) -> Ran {
    scene.carry(archive);
    scene.world.installer(&["apply", "medium/sample.bundle.tar", "--yes"])
}

/// What runs here, by its own word.
fn runs(scene: &Scene) -> String {
    std::fs::read_to_string(scene.dir().join("root/data/order")).unwrap()
}

/// The site and its target.
fn pictures(scene: &Scene) -> (Picture, Picture) {
    (scene.picture_without_log(), support::picture(&scene.dir().join("root")))
}

/// The funnel: refused by every command, in the log, and nothing has changed.
fn refuses(scene: &Scene, archive: &[u8], words: &[&str]) {
    let before = pictures(scene);
    for command in [&["verify"][..], &["inspect"], &["plan"], &["apply", "--yes"]] {
        scene.carry(archive);
        let ran = scene.world.installer(&[command, &["medium/sample.bundle.tar"]].concat());
        let ran = ran.expect_exit(Exit::Refused);
        for word in words {
            assert!(ran.stderr.contains(word), "{command:?}: `{word}` is missing: {}", ran.stderr);
        }
        let log = scene.audit();
        assert_eq!(log.last().unwrap().event.outcome, Outcome::Refused, "{command:?}");
    }
    assert!(pictures(scene) == before, "a refusal changed something");
}

#[test]
fn an_old_bundle_is_refused_after_a_new_one_and_changes_nothing() {
    let scene = site(1);
    apply(&scene, &bundle(1, 41)).ok();
    apply(&scene, &bundle(1, 42)).ok();
    refuses(&scene, &bundle(1, 41), &["1.41", "below 1.42"]);
    refuses(&scene, &bundle(1, 0), &["1.0", "below 1.42"]);
    assert_eq!(runs(&scene), "1.42");
    // The same bundle again is no replay.
    apply(&scene, &bundle(1, 42)).ok();
    apply(&scene, &bundle(1, 43)).ok();
    assert_eq!(runs(&scene), "1.43");
}

#[test]
fn two_bundles_with_one_number_are_an_alarm() {
    let scene = site(1);
    apply(&scene, &bundle(1, 42)).ok();
    let options = SampleOptions::default();
    let twin = draft_of_files(&options, &[("order".to_string(), b"another 1.42".to_vec())].into()).archive();
    refuses(&scene, &twin, &["equivocation", "1.42", "report it"]);
    assert_eq!(runs(&scene), "1.42");
}

#[test]
fn a_bundle_with_the_highest_number_there_is_locks_out_the_next_one_until_the_epoch_is_raised() {
    for highest in [1 << 63, u64::MAX] {
        // Whoever has the release keys may count as they like: this is a good bundle.
        let scene = site(1);
        apply(&scene, &bundle(1, 42)).ok();
        apply(&scene, &bundle(1, highest)).ok();
        assert_eq!(runs(&scene), format!("1.{highest}"));
        refuses(&scene, &bundle(1, 43), &["1.43", &format!("below 1.{highest}")]);
        // They cannot raise the epoch: that is the trust root's.
        refuses(&scene, &bundle(2, 1), &["epoch 2", "trust root is of epoch 1"]);

        // A root of the next epoch, and the same site otherwise.
        let recovered = site(2);
        for entry in std::fs::read_dir(scene.dir().join("site/ledger")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, recovered.dir().join("site/ledger").join(path.file_name().unwrap()))
                .unwrap();
        }
        refuses(&recovered, &bundle(1, highest), &["epoch 1"]);
        apply(&recovered, &bundle(2, 1)).ok();
        assert_eq!(runs(&recovered), "2.1");
        refuses(&recovered, &bundle(1, 43), &["epoch 1"]);
        apply(&recovered, &bundle(2, 2)).ok();
        assert_eq!(runs(&recovered), "2.2");
    }
}
