//! `bundler diff`: what a release engineer reads before anybody carries the second bundle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use e2e::World;
use edge::Exit;
use ingredients::{image, layer, wheel, write_layout};
use serde_json::{Value, json};

/// Two versions of a release: an image, a project and a file are newer, one file is gone, another project came,
/// and one image stays as it is.
fn world() -> World {
    let mut world = World::new();
    world.vars.insert("SOURCE_DATE_EPOCH".into(), "1700000000".into());
    let shared = layer(1, 5000);
    let (old, new) =
        (image("amd64", &[shared.clone(), layer(2, 100)]), image("amd64", &[shared, layer(3, 100)]));
    write_layout(&world, "app", &[("app:1", &old), ("app:2", &new)]);
    write_layout(&world, "db", &[("db:15", &image("amd64", &[layer(4, 100)]))]);
    let wheels = |directory: &str, projects: &[(&str, &str)]| {
        for (name, version) in projects {
            let (file, bytes) = wheel(name, version, "x");
            world.write(&format!("{directory}/{file}"), bytes);
        }
    };
    wheels("wheels1", &[("alpha", "1.0"), ("same", "3.0")]);
    wheels("wheels2", &[("alpha", "1.1"), ("same", "3.0"), ("beta", "0.1")]);
    world.write("config1/a.conf", "a\n");
    world.write("config1/gone.conf", "gone\n");
    world.write("config2/a.conf", "other\n");
    for version in ["1", "2"] {
        world.spec(
            &format!("{version}.0.0"),
            version.parse().unwrap(),
            &format!(
                "images:
  - {{source: 'oci:app:app:{version}', name: 'registry.example.com/fraud/app:{version}'}}
  - {{source: 'oci:db:db:15', name: 'registry.example.com/fraud/db:15'}}
wheels: [{{name: tools, source: wheels{version}}}]
files: [{{source: config{version}, dest: /etc/fraud}}]
"
            ),
        );
        world.bundler(&["lock"]).ok();
        world.bundler(&["build", "--out", &format!("{version}.tar")]).ok();
    }
    world
}

fn diff(world: &World, from: &str, to: &str) -> Value {
    world.bundler(&["--output", "json", "diff", from, to]).ok().json()
}

fn change<'a>(document: &'a Value, kind: &str) -> &'a Value {
    document["components"].as_array().unwrap().iter().find(|change| change["kind"] == kind).unwrap()
}

#[test]
fn names_what_is_newer_what_came_and_what_is_gone() {
    let world = world();
    let document = diff(&world, "1.tar", "2.tar");
    assert_eq!((&document["verified"], &document["follows"]), (&json!(false), &json!(true)));
    assert_eq!(document["unchanged"], 1);
    let image = change(&document, "image");
    assert_eq!(image["name"], "registry.example.com/fraud/app");
    assert_eq!((&image["from"]["version"], &image["to"]["version"]), (&json!("1"), &json!("2")));
    let wheels = change(&document, "wheels");
    assert_eq!(
        wheels["inside"],
        json!([{"name": "alpha", "from": "1.0", "to": "1.1"}, {"name": "beta", "from": null, "to": "0.1"}])
    );
    let files = change(&document, "files");
    assert_eq!(
        files["inside"],
        json!([
            {"name": "a.conf", "from": "mode 0644", "to": "mode 0644 (other content)"},
            {"name": "gone.conf", "from": "mode 0644", "to": null},
        ])
    );
}

#[test]
fn counts_the_blobs_and_bytes_that_the_second_bundle_would_need_on_top_of_the_first() {
    let world = world();
    let document = diff(&world, "1.tar", "2.tar");
    let sizes = |archive: &str| {
        let inspected = world.bundler(&["--output", "json", "inspect", archive]).ok().json();
        let blobs = inspected["inventory"]["blobs"].as_array().unwrap().clone();
        let pair =
            |blob: &Value| (blob["digest"].as_str().unwrap().to_string(), blob["size"].as_u64().unwrap());
        blobs.iter().map(pair).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, after) = (sizes("1.tar"), sizes("2.tar"));
    let amount = |mine: &std::collections::BTreeMap<String, u64>, keep: &dyn Fn(&str) -> bool| {
        let sizes: Vec<u64> = mine.iter().filter(|(digest, _)| keep(digest)).map(|(_, size)| *size).collect();
        json!({"blobs": sizes.len(), "bytes": sizes.iter().sum::<u64>()})
    };
    let blobs = &document["blobs"];
    assert_eq!(blobs["added"], amount(&after, &|digest| !before.contains_key(digest)));
    assert_eq!(blobs["removed"], amount(&before, &|digest| !after.contains_key(digest)));
    assert_eq!(blobs["shared"], amount(&after, &|digest| before.contains_key(digest)));
    // The large layer is in both: the newer image needs its small one, a configuration and a manifest.
    let new = change(&document, "image")["new_bytes"].as_u64().unwrap();
    assert!(new > 0 && new < 3000, "{new}");
}

#[test]
fn a_person_reads_one_line_for_each_change() {
    let world = world();
    let shown = world.bundler(&["diff", "1.tar", "2.tar"]).ok().stdout;
    assert!(shown.contains("changed    image registry.example.com/fraud/app 1 -> 2, "), "{shown}");
    assert!(shown.contains("~  alpha  1.0 -> 1.1\n"), "{shown}");
    assert!(shown.contains("+  beta   0.1\n"), "{shown}");
    assert!(shown.contains("-  gone.conf  mode 0644\n"), "{shown}");
    assert!(shown.contains("unchanged  1 component\n") && shown.contains("not checked"), "{shown}");
}

#[test]
fn says_when_a_site_that_has_the_first_would_refuse_the_second() {
    let world = world();
    assert_eq!(diff(&world, "2.tar", "1.tar")["follows"], false);
    let shown = world.bundler(&["diff", "2.tar", "1.tar"]).ok().stdout;
    assert!(shown.contains("a site that has the first refuses it"), "{shown}");
}

#[test]
fn a_bundle_and_itself_have_nothing_different() {
    let world = world();
    let document = diff(&world, "1.tar", "1.tar");
    assert_eq!((&document["components"], &document["unchanged"]), (&json!([]), &json!(4)));
    assert_eq!(document["blobs"]["added"], json!({"blobs": 0, "bytes": 0}));
}

#[test]
fn an_archive_that_is_none_or_not_there_is_named() {
    let world = world();
    world.write("not.tar", "not an archive");
    for (from, to, name) in [("not.tar", "1.tar", "not.tar"), ("1.tar", "nowhere.tar", "nowhere.tar")] {
        let ran = world.bundler(&["diff", from, to]).expect_exit(Exit::Damaged);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[test]
fn discs_are_compared_like_the_archives_that_they_were_cut_from() {
    let world = world();
    world.trust();
    world.bundler(&["sign", "1.tar", "--key", "keys/rel.key.pem"]).ok();
    world.bundler(&["split", "1.tar", "--media", "1MB", "--out", "discs"]).ok();
    let without_paths = |mut document: Value| {
        document["from"]["archive"].take();
        document["to"]["archive"].take();
        document
    };
    for (from, to) in [("discs", "2.tar"), ("2.tar", "discs"), ("discs", "discs")] {
        let archives = [from, to].map(|path| if path == "discs" { "1.tar" } else { path });
        let expected = without_paths(diff(&world, archives[0], archives[1]));
        assert_eq!(without_paths(diff(&world, from, to)), expected, "{from} {to}");
    }
}
