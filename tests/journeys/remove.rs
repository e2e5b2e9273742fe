//! Taking a whole product off a site: everything is as it was before the product ever came, but for what an auditor
//! needs; and the power may go at every moment of it.

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

use std::collections::BTreeMap;
use std::path::PathBuf;

use e2e::World;
use edge::Exit;
use ingredients::{image, layer, repository_at};
use installer::apply::{ApplyError, Run};
use installer::audit::AuditLog;
use installer::plan;
use installer::site::Site;
use installer::targets::Context;
use installer::{admit, due, witness};
use onsite::{Python, audit_holds, greeting, says, site_yaml, write_wheels};
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions};
use versions::{Cut, Moments, apply, bundle, root, site};

/// Runs the plan that removes `demo` while somebody watches.
fn removing(world: &World, watch: &dyn installer::apply::Watch) -> Result<(), ApplyError> {
    let (env, _, _) = world.env("installer", &[]);
    let site = Site::at(world.path("site"));
    let config = site.config().unwrap();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let context = Context { site: &site, config: &config, env: &env, http: &http };
    let judged = witness::judge(&site).unwrap();
    let ledger =
        site.ledgers().unwrap().into_iter().find(|ledger| ledger.product.as_str() == "demo").unwrap();
    let current = ledger.current().unwrap();
    let due = due::due_for_removal(&ledger, &judged, &site).unwrap();
    let left = admit::kept_inventory(&site, &judged.trust, current).unwrap();
    let plan = plan::removal(&ledger, current, Some(&left), &due, &config, &context).unwrap();
    let audit = AuditLog::of(&site, &env);
    Run { context: &context, audit: &audit, watch, say: &|_| {} }.start(&plan)
}

/// The files, and what the site says it runs and shows.
fn state(world: &World) -> (BTreeMap<PathBuf, String>, serde_json::Value, serde_json::Value) {
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    let product = &status["products"][0];
    (root(world), product["current"]["version"].clone(), product["published"].clone())
}

#[test]
fn everything_is_as_before_the_product_ever_came_and_an_older_bundle_is_still_refused() {
    let world = site(&["scripts: {}"]);
    let trace = world.path("trace").display().to_string();
    world.write("s.sh", format!("#!/bin/sh\necho $AIRLOCK_STEP $AIRLOCK_VERSION >>{trace}\n"));
    let scripts = "scripts: [{source: s.sh, undo: s.sh, when: after}]\n";
    world.write("root/etc/app/changed", "the site's own");
    let before = root(&world);
    bundle(&world, "demo", 1, &[("changed", "1"), ("old/deep/a", "a")], scripts);
    bundle(&world, "demo", 2, &[("changed", "2"), ("new/b", "b")], scripts);
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();

    let shown = world.installer(&["remove", "demo"]).expect_exit(Exit::Usage);
    says(&shown, &["remove ", "changed", "put back", "hide bundle", "record demo as removed", "--yes"]);
    let removed = world.installer(&["remove", "demo", "--yes", "--reason", "moved away"]).ok();
    assert!(removed.stdout.contains("removed: demo 2.0 ("), "{}", removed.stdout);
    assert_eq!(root(&world), before);
    assert_eq!(std::fs::read_to_string(world.path("trace")).unwrap(), "do 1.0\ndo 2.0\nundo 2.0\nundo 1.0\n");
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    assert!(status["products"][0]["current"].is_null(), "{status}");
    assert_eq!(status["products"][0]["highest"]["order"]["sequence"], 2);
    let history = world.installer(&["history"]).ok().stdout;
    assert!(history.contains("; removed"), "{history}");
    let log = world.installer(&["audit", "show"]).ok().stdout;
    assert!(log.contains("moved away") && log.contains("remove.step"), "{log}");
    audit_holds(&world);

    // Anti-rollback outlives it.
    let refused = apply(&world, "demo", 1).expect_exit(Exit::Refused);
    says(&refused, &["below 1.2"]);
    let twice = world.installer(&["remove", "demo", "--yes"]).expect_exit(Exit::Refused);
    says(&twice, &["does not run demo"]);
    // The same bundle comes back, and its script runs anew.
    std::fs::remove_file(world.path("trace")).unwrap();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("trace")).unwrap(), "do 2.0\n");
    audit_holds(&world);
}

#[test]
fn what_another_product_holds_stays() {
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("shared", "x"), ("own", "x")], "");
    bundle(&world, "other", 1, &[("shared", "x")], "");
    apply(&world, "demo", 1).ok();
    apply(&world, "other", 1).ok();
    world.installer(&["remove", "demo", "--yes"]).ok();
    assert!(world.path("root/etc/app/shared").exists() && !world.path("root/etc/app/own").exists());
    world.installer(&["remove", "other", "--yes"]).ok();
    assert!(!world.path("root/etc").exists(), "{:?}", root(&world));
}

#[test]
fn an_environment_is_out_of_use() {
    let Some(python) = Python::find() else { return };
    let world = site(&[]);
    site_yaml(&world, &[python.as_target(&world)]);
    write_wheels(&world, "wheels", &greeting("1.0"));
    bundle(&world, "demo", 1, &[], "wheels: [{name: tools, source: wheels}]\n");
    apply(&world, "demo", 1).ok();
    world.installer(&["remove", "demo", "--yes"]).ok();
    assert!(std::fs::symlink_metadata(world.path("venvs/tools")).is_err());
}

/// Two tags of ours and one that was somebody else's before.
fn with_images(world: &World, registry_url: &str, upstream: &FakeRegistry) {
    for (tag, seed) in [("own", 1), ("moved", 2)] {
        image("amd64", &[layer(seed, 500)]).store_in(upstream, "team/app", tag);
    }
    image("amd64", &[layer(3, 500)]).push(registry_url, "mirror/registry.example.com/team/app", "moved");
    site_yaml(world, &[format!("registry: {{url: \"{registry_url}\", prefix: mirror}}")]);
    let line = |tag: &str| {
        format!(
            "  - {{source: \"docker://{}/team/app:{tag}\", name: \"registry.example.com/team/app:{tag}\"}}\n",
            upstream.host()
        )
    };
    bundle(world, "demo", 1, &[], &format!("images:\n{}{}", line("own"), line("moved")));
}

fn tag(registry_url: &str, tag: &str) -> Option<manifests::Digest> {
    let place = repository_at(registry_url, "mirror/registry.example.com/team/app");
    place.head_manifest(&tag.parse().unwrap()).unwrap().map(|found| found.digest)
}

#[test]
fn tags_go_from_a_real_registry_that_deletes_and_somebody_elses_is_given_back() {
    let options = |delete| RealRegistryOptions { delete, ..RealRegistryOptions::default() };
    for delete in [true, false] {
        let Some(target) = RealRegistry::start(options(delete)) else { return };
        let (world, upstream) = (site(&[]), FakeRegistry::start());
        with_images(&world, &target.url(), &upstream);
        let before = tag(&target.url(), "moved");
        apply(&world, "demo", 1).ok();
        assert_ne!(tag(&target.url(), "moved"), before);
        world.installer(&["remove", "demo", "--yes"]).ok();
        assert_eq!(tag(&target.url(), "moved"), before);
        let log = world.installer(&["audit", "show"]).ok().stdout;
        // What a registry does not delete is listed.
        assert_eq!(tag(&target.url(), "own").is_none(), delete);
        assert_eq!(log.contains("team/app:own") && log.contains("stays"), !delete, "{log}");
        audit_holds(&world);
    }
}

#[test]
fn cut_off_anywhere_it_is_finished_by_the_same_command_or_taken_back() {
    let world_of = || {
        let world = site(&["scripts: {}"]);
        world.write("s.sh", "#!/bin/sh\n");
        world.write("root/etc/app/changed", "the site's own");
        let scripts = "scripts: [{source: s.sh, undo: s.sh, when: before}]\n";
        bundle(&world, "demo", 1, &[("changed", "1"), ("deep/a", "a"), ("deep/b", "b")], scripts);
        apply(&world, "demo", 1).ok();
        world
    };
    let (removed, installed) = {
        let world = world_of();
        let installed = state(&world);
        world.installer(&["remove", "demo", "--yes"]).ok();
        (root(&world), installed)
    };
    let moments = Moments::default();
    removing(&world_of(), &moments).unwrap();
    let moments = moments.0.into_inner();
    assert!(moments.len() >= 18, "{moments:?}");
    for moment in moments {
        let world = world_of();
        assert!(matches!(removing(&world, &Cut::at(moment)), Err(ApplyError::PowerCut(_))), "{moment:?}");
        world.installer(&["remove", "demo", "--yes"]).ok();
        assert_eq!(root(&world), removed, "{moment:?}");
        audit_holds(&world);

        let world = world_of();
        assert!(matches!(removing(&world, &Cut::at(moment)), Err(ApplyError::PowerCut(_))), "{moment:?}");
        let status = world.installer(&["status"]).ok().stdout;
        assert!(status.contains("was cut off"), "{moment:?}: {status}");
        world.installer(&["abandon", "--yes", "--reason", "test"]).ok();
        assert_eq!(state(&world), installed, "{moment:?}");
        audit_holds(&world);
        assert!(!world.installer(&["status"]).ok().stdout.contains("was cut off"), "{moment:?}");
    }
}
