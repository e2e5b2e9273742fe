//! Collecting what no rollback needs: what goes, what stays, and that it may be killed at any moment, also while
//! `serve` runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;
mod onsite;
mod versions;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use e2e::World;
use edge::Exit;
use ingredients::{image, layer, repository_at};
use installer::apply::{Unwatched, Watch};
use installer::audit::AuditLog;
use installer::gc::{self, GcError};
use installer::site::Site;
use installer::targets::Context;
use onsite::{Python, another_site, audit_holds, greeting, says, site_yaml, write_wheels};
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions};
use versions::{Cut, Moments, apply, bundle, root, site};

fn collect(world: &World, watch: &dyn Watch) -> Result<(), GcError> {
    let (env, _, _) = world.env("installer", &[]);
    let site = Site::at(world.path("site"));
    let config = site.config().unwrap();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let context = Context { site: &site, config: &config, env: &env, http: &http };
    gc::collect(&gc::survey(&context)?, &context, &AuditLog::of(&site, &env), watch)
}

fn blobs(world: &World) -> BTreeSet<String> {
    let entries = std::fs::read_dir(world.path("site/store/blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn file(world: &World, sequence: u64) -> bool {
    blobs(world).contains(&manifests::Digest::of(format!("content of {sequence}").as_bytes()).hex())
}

/// Who makes five versions, once for all tests of this file.
fn sender() -> &'static World {
    static SENDER: OnceLock<World> = OnceLock::new();
    SENDER.get_or_init(|| {
        let world = site(&[]);
        for sequence in 1..=5 {
            bundle(&world, "demo", sequence, &[("version", &format!("content of {sequence}"))], "");
        }
        world
    })
}

/// A site to which they were applied, one after the other, and that keeps two for a rollback.
fn five() -> World {
    let world = another_site(sender());
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    for sequence in 1..=5 {
        let bundle = sender().path(&format!("demo-{sequence}.tar"));
        world.installer(&["apply", bundle.to_str().unwrap(), "--yes"]).ok();
    }
    world
}

#[test]
fn the_present_version_and_those_below_it_that_are_kept_stay_and_a_rollback_to_each_still_works() {
    let world = five();
    let before = blobs(&world);
    let shown = world.installer(&["gc"]).ok().stdout;
    for words in
        ["stays", "the site runs it", "for a rollback", "would go", "blobs of the site store", "add --yes"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(blobs(&world), before);
    let json = world.installer(&["--output", "json", "gc"]).ok().json();
    let kept: Vec<_> = json["keeps"].as_array().unwrap().iter().map(|kept| kept["version"].clone()).collect();
    assert_eq!(kept, ["5.0", "4.0", "3.0"]);
    assert!(json["bytes"].as_u64().unwrap() > 0 && json["removed"] == false, "{json}");

    world.installer(&["gc", "--yes"]).ok();
    assert_eq!([1, 2, 3, 4, 5].map(|sequence| file(&world, sequence)), [false, false, true, true, true]);
    let again = world.installer(&["gc"]).ok().stdout;
    assert!(again.contains("nothing else is here"), "{again}");
    let log = world.installer(&["audit", "show"]).ok().stdout;
    assert!(log.contains("gc") && log.contains("demo 5.0, demo 4.0, demo 3.0"), "{log}");
    // The evidence of every version that was ever applied is still there.
    assert_eq!(std::fs::read_dir(world.path("site/store/bundles")).unwrap().count(), 5);
    for version in ["4.0", "3.0"] {
        world.installer(&["rollback", version, "--yes"]).ok();
    }
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/version")).unwrap(), "content of 3");
    let refused = world.installer(&["rollback", "2.0", "--yes"]).expect_exit(Exit::Damaged);
    says(&refused, &["needs that bundle's medium"]);
    audit_holds(&world);
}

#[test]
fn what_is_put_back_on_the_day_the_product_goes_is_kept_as_long_as_that() {
    let world = site(&[]);
    world.write("root/etc/app/version", "the site's own");
    for sequence in 1..=4 {
        bundle(&world, "demo", sequence, &[("version", &format!("content of {sequence}"))], "");
        apply(&world, "demo", sequence).ok();
    }
    world.installer(&["gc", "--yes"]).ok();
    world.installer(&["remove", "demo", "--yes"]).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/version")).unwrap(), "the site's own");
    // Nothing of a product that was removed is kept, and its highest order is.
    world.installer(&["gc", "--yes"]).ok();
    assert!(blobs(&world).is_empty(), "{:?}", blobs(&world));
    let journals = std::fs::read_dir(world.path("site/journal")).unwrap().count();
    assert!(journals <= 2, "{journals}");
    let _ = apply(&world, "demo", 3).expect_exit(Exit::Refused);
    apply(&world, "demo", 4).ok();
    audit_holds(&world);
}

#[test]
fn nothing_is_collected_while_something_is_unfinished_or_not_known() {
    let world = five();
    let evidence = world.path("site/store/bundles");
    let kept = world.installer(&["--output", "json", "gc"]).ok().json()["keeps"][1]["bundle"].clone();
    let place = evidence.join(kept.as_str().unwrap().trim_start_matches("sha256:")).join("inventory.json");
    let inventory = std::fs::read(&place).unwrap();
    std::fs::write(&place, "{}").unwrap();
    let before = blobs(&world);
    let refused = world.installer(&["gc", "--yes"]).expect_exit(Exit::Refused);
    says(&refused, &["not known what is to be kept"]);
    std::fs::write(&place, inventory).unwrap();

    // Somebody has changed the file, so that there is something to put back.
    world.write("root/etc/app/version", "edited");
    let cut = Cut::at(("begun", 0));
    let bundle = sender().path("demo-5.tar");
    let ended = onsite::with_run(&world, &bundle, &cut, |run, plan| run.start(&plan));
    assert!(ended.is_err());
    let refused = world.installer(&["gc", "--yes"]).expect_exit(Exit::NotReady);
    says(&refused, &["was cut off", "installer abandon"]);
    assert!(blobs(&world).is_superset(&before));
}

#[test]
fn killed_anywhere_it_goes_on_and_the_site_works_at_each_moment() {
    let moments = Moments::default();
    collect(&five(), &moments).unwrap();
    let moments = moments.0.into_inner();
    assert!(moments.len() > 8, "{moments:?}");
    for moment in moments {
        let world = five();
        assert!(matches!(collect(&world, &Cut::at(moment)), Err(GcError::PowerCut(_))), "{moment:?}");
        // Whatever is shown can be served, and the way back is open.
        let site = Site::at(world.path("site"));
        for shown in site.published().unwrap() {
            let (_, inventory) = site.evidence(shown).unwrap();
            assert!(inventory.blobs.iter().all(|blob| site.store().has(blob)), "{moment:?}");
        }
        world.installer(&["rollback", "3.0", "--yes"]).ok();
        collect(&world, &Unwatched).unwrap();
        audit_holds(&world);
        assert_eq!(std::fs::read_to_string(world.path("root/etc/app/version")).unwrap(), "content of 3");
    }
}

#[test]
fn environments_of_versions_that_are_not_kept_go_and_those_of_a_rollback_stay() {
    let Some(python) = Python::find() else { return };
    let world = site(&[]);
    site_yaml(&world, &[python.as_target(&world)]);
    let yaml = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{yaml}keep: 1\n"));
    for sequence in 1..=3 {
        write_wheels(&world, "wheels", &greeting(&format!("{sequence}.0")));
        bundle(&world, "demo", sequence, &[], "wheels: [{name: tools, source: wheels}]\n");
        apply(&world, "demo", sequence).ok();
    }
    let environments = || std::fs::read_dir(world.path("venvs")).unwrap().count();
    // Three environments and the link.
    assert_eq!(environments(), 4);
    world.installer(&["gc", "--yes"]).ok();
    assert_eq!(environments(), 3);
    world.installer(&["rollback", "--yes"]).ok();
    let said =
        onsite::python_says(&world.path("venvs/tools/bin/python"), "import greet; print(greet.text())");
    assert_eq!(said, "hello from 2.0");
}

#[test]
fn tags_of_versions_that_are_not_kept_go_from_a_real_registry() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let Some(target) = RealRegistry::start(options) else { return };
    let (world, upstream) = (site(&[]), FakeRegistry::start());
    site_yaml(&world, &[format!("registry: {{url: \"{}\", prefix: mirror}}", target.url())]);
    let yaml = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{yaml}keep: 1\n"));
    for sequence in 1..=3_u64 {
        image("amd64", &[layer(sequence, 500)]).store_in(&upstream, "team/app", &format!("v{sequence}"));
        let name = format!("registry.example.com/team/app:v{sequence}");
        let source = format!("docker://{}/team/app:v{sequence}", upstream.host());
        bundle(
            &world,
            "demo",
            sequence,
            &[],
            &format!("images: [{{source: \"{source}\", name: \"{name}\"}}]\n"),
        );
        apply(&world, "demo", sequence).ok();
    }
    // A tag of somebody else in the same repository.
    let repository = "mirror/registry.example.com/team/app";
    image("amd64", &[layer(9, 500)]).push(&target.url(), repository, "theirs");
    let has = |tag: &str| {
        repository_at(&target.url(), repository).head_manifest(&tag.parse().unwrap()).unwrap().is_some()
    };
    assert!(has("v1") && has("v2") && has("v3"));
    let shown = world.installer(&["gc"]).ok().stdout;
    assert!(shown.contains("team/app:v1") && !shown.contains("team/app:v2"), "{shown}");
    world.installer(&["gc", "--yes"]).ok();
    assert!(!has("v1") && has("v2") && has("v3") && has("theirs"));
    world.installer(&["rollback", "--yes"]).ok();
    assert!(has("v2") && has("theirs"));
    audit_holds(&world);
}

#[test]
fn what_a_killed_run_left_in_quarantine_goes() {
    let world = five();
    world.write("site/store/quarantine/.incoming", "half");
    world.write("site/run/script/x", "half");
    let before = root(&world);
    let shown = world.installer(&["gc", "--yes"]).ok().stdout;
    assert!(shown.contains("left by killed runs"), "{shown}");
    assert!(!world.path("site/store/quarantine").exists() && !world.path("site/run").exists());
    assert_eq!(root(&world), before);
}
