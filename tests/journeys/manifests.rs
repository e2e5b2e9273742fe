//! Plain Kubernetes manifests and files that a glob chooses, from `bundle.yaml` to the site.

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

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use e2e::World;
use edge::Exit;
use onsite::{Running, audit_holds, build, installer, output, program, says, site_yaml, tree};
use testkit::real_part;

fn object(kind: &str, name: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n")
}

fn sender() -> World {
    let world = World::new();
    world.trust();
    world.write("k8s/web.yaml", format!("{}---\n{}", object("Service", "web"), object("Secret", "web")));
    world.write(
        "k8s/more/map.json",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}",
    );
    world.write("k8s/README.md", "for people");
    world.write("k8s/kustomization.yaml", "resources: [web.yaml]\n");
    world
}

const REST: &str = "manifests: [{source: k8s/, exclude: [kustomization.yaml], namespace: shop, order: 5}]\n";

#[test]
fn an_image_that_a_manifest_names_and_the_bundle_lacks_fails_the_lock_with_the_line_to_add() {
    let world = sender();
    let job = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: \"registry.example.com:5000/shop/nightly:7\"}]}}}}}\n";
    world.write("k8s/job.yaml", job);
    world.spec("1", 1, REST);
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
    for words in [
        "Kubernetes manifests k8s:",
        "registry.example.com:5000/shop/nightly:7 (certain)",
        "spec.jobTemplate.spec.template.spec.containers[0].image (job.yaml)",
        "- docker://registry.example.com:5000/shop/nightly:7",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(!world.path("bundle.lock").exists());
    // One that is carried is in the inventory, with where it stands.
    ingredients::write_layout(&world, "images", &[("nightly", &ingredients::image("amd64", &[]))]);
    let image =
        "images: [{source: 'oci:images:nightly', name: 'registry.example.com:5000/shop/nightly:7'}]\n";
    build(&world, "1", 1, &format!("{REST}{image}"), "1.tar");
    let seen = world.bundler(&["--output", "json", "inspect", "1.tar"]).ok().json();
    let set =
        seen["inventory"]["components"].as_array().unwrap().iter().find(|c| c["name"] == "k8s").unwrap();
    assert_eq!(set["images"][0]["image"], "registry.example.com:5000/shop/nightly:7");
    assert_eq!(set["images"][0]["places"][0]["file"], "job.yaml");
}

/// What the server says to a GET, head and body.
fn get(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn manifests_are_carried_published_and_not_applied_and_the_plan_says_so() {
    let world = sender();
    build(&world, "1", 1, REST, "1.tar");
    let locked = world.bundler(&["lock"]).ok();
    assert!(locked.stdout.contains("kubernetes") && locked.stdout.contains("2 files for namespace shop"));
    assert!(locked.stderr.contains("note: k8s/README.md is not called .yaml"), "{}", locked.stderr);
    let seen = world.bundler(&["--output", "json", "inspect", "1.tar"]).ok().json();
    assert_eq!(seen["manifest"]["counts"]["kubernetes_manifests"], 1);
    let set = &seen["inventory"]["components"][0];
    assert_eq!((&set["kind"], &set["name"]), (&"kubernetes-manifests".into(), &"k8s".into()));
    let paths: Vec<_> = set["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["more/map.json", "web.yaml"]);

    world.installer(&["verify", "1.tar"]).ok();
    assert!(world.installer(&["inspect", "1.tar"]).ok().stdout.contains("Kubernetes manifests k8s"));
    let note = "Kubernetes manifests k8s is published here and not applied to a cluster";
    assert!(world.installer(&["plan", "1.tar"]).ok().stdout.contains(note));
    let applied = world.installer(&["apply", "1.tar", "--yes"]).ok();
    assert!(applied.stdout.contains(note), "{}", applied.stdout);
    audit_holds(&world);

    let mut command = installer(&world, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let _running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("serving ").unwrap().trim_end_matches('/').to_string();
    let web = std::fs::read_to_string(world.path("k8s/web.yaml")).unwrap();
    assert!(get(&url, "/kubernetes/k8s/web.yaml").ends_with(&web));
    assert!(get(&url, "/kubernetes/k8s/more/map.json").contains("ConfigMap"));
    assert!(get(&url, "/kubernetes/k8s/README.md").starts_with("HTTP/1.1 404"));
    let page = get(&url, "/");
    assert!(page.contains("Kubernetes manifests: k8s") && page.contains("for namespace shop"), "{page}");
}

#[test]
fn skopeo_takes_the_manifests_out_of_an_archive() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let world = sender();
    build(&world, "1", 1, REST, "1.tar");
    let copy = ["--insecure-policy", "copy", "oci-archive:1.tar:kubernetes/k8s", "dir:out"];
    output(&mut program(&world, &skopeo, &copy));
    let web = std::fs::read(world.path("k8s/web.yaml")).unwrap();
    assert_eq!(std::fs::read(world.path("out").join(manifests::Digest::of(&web).hex())).unwrap(), web);
}

#[test]
fn what_is_no_manifest_is_named_with_file_and_document_and_nothing_is_locked() {
    let world = sender();
    for (rest, exit, words) in [
        ("manifests: [{source: k8s}]\n", Exit::Usage, &["k8s/kustomization.yaml: document 1", "exclude"][..]),
        ("manifests: [{source: k8s/none.yaml}]\n", Exit::Unreachable, &["k8s/none.yaml"]),
        ("manifests: [{source: \"k8s/*.yml\"}]\n", Exit::Unreachable, &["k8s/*.yml matches no files"]),
        ("manifests: [{source: \"k8s/*.md\"}]\n", Exit::Usage, &["k8s/*.md holds no Kubernetes objects"]),
        (
            "manifests: [{source: k8s/web.yaml, exclude: [\"*.bak\"]}]\n",
            Exit::Unreachable,
            &["`exclude: *.bak` matches nothing"],
        ),
        (
            "manifests: [{source: k8s/web.yaml}, {source: \"k8s/w*.yaml\"}]\n",
            Exit::Usage,
            &["Service web is in k8s/web.yaml (document 1) and again in k8s/web.yaml (document 1)"],
        ),
        (
            "manifests: [{source: k8s/web.yaml, name: x}, {source: k8s/more, name: x}]\n",
            Exit::Usage,
            &["Kubernetes manifests x is in the bundle twice", "another `name`"],
        ),
    ] {
        world.spec("1", 1, rest);
        let ran = world.bundler(&["lock"]).expect_exit(exit);
        says(&ran, words);
        assert!(!world.path("bundle.lock").exists(), "{rest}");
    }
    let long = format!("{}# {}\n", object("Pod", "p"), "x".repeat(17 * 1024 * 1024));
    world.write("long.yaml", long);
    world.spec("1", 1, "manifests: [{source: long.yaml}]\n");
    says(&world.bundler(&["lock"]).expect_exit(Exit::Unreachable), &["long.yaml", "longer than 16777216"]);
}

#[test]
fn one_object_in_two_namespaces_or_two_versions_of_its_group() {
    let world = World::new();
    world.write("a.yaml", object("Secret", "s"));
    let both =
        |second: &str| format!("manifests: [{{source: a.yaml, namespace: x}}, {{source: b.yaml{second}}}]\n");
    world.write("b.yaml", object("Secret", "s"));
    world.spec("1", 1, &both(", namespace: y"));
    world.bundler(&["lock"]).ok();
    world.spec("1", 1, &both(", namespace: x"));
    says(
        &world.bundler(&["lock"]).expect_exit(Exit::Usage),
        &["Secret s in namespace x", "a.yaml", "b.yaml"],
    );
    let crd = |version: &str| {
        format!(
            "apiVersion: apiextensions.k8s.io/{version}\nkind: CustomResourceDefinition\nmetadata: {{name: c}}\n"
        )
    };
    world.write("a.yaml", crd("v1"));
    world.write("b.yaml", crd("v1beta1"));
    world.spec("1", 1, &both(", namespace: y"));
    says(&world.bundler(&["lock"]).expect_exit(Exit::Usage), &["CustomResourceDefinition c"]);
}

#[test]
fn the_same_manifests_give_the_same_bytes() {
    let world = sender();
    build(&world, "1", 1, REST, "1.tar");
    let first = std::fs::read(world.path("1.tar")).unwrap();
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    build(&world, "1", 1, REST, "1.tar");
    assert_eq!(std::fs::read(world.path("1.tar")).unwrap(), first);
}

// ---- files --------------------------------------------------------------------------------------------

#[test]
fn files_that_a_glob_chooses_keep_their_path_from_its_first_directory_on() {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    for name in ["conf/a.conf", "conf/x/b.conf", "conf/x/b-test.conf", "conf/x/c.txt", "conf/.git/d.conf"] {
        world.write(name, name);
    }
    world.write("[odd]*.conf", "odd");
    let rest = "files:\n  - {source: \"conf/**/*.conf\", exclude: [\"**/*-test.*\"], dest: /etc/demo, mode: \"0640\"}\n  - {source: \"[odd]*.conf\", dest: /etc/odd}\n";
    build(&world, "1", 1, rest, "1.tar");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    let found = tree(&world, "root", &[]);
    let files: Vec<String> = found
        .iter()
        .filter(|(_, what)| what.contains("file"))
        .map(|(path, what)| format!("{} {}", path.display(), &what[..6]))
        .collect();
    assert_eq!(files, ["etc/demo/a.conf 100640", "etc/demo/x/b.conf 100640", "etc/odd/[odd]*.conf 100644"]);
}

#[test]
fn a_glob_that_matches_nothing_or_a_link_is_an_error() {
    let world = World::new();
    world.write("conf/a.conf", "a");
    world.write("conf/d/b.conf", "b");
    std::os::unix::fs::symlink("a.conf", world.path("conf/link.conf")).unwrap();
    std::os::unix::fs::symlink("d", world.path("conf/dir")).unwrap();
    for (entry, exit, word) in [
        ("source: \"conf/*.yaml\"", Exit::Unreachable, "conf/*.yaml matches no files"),
        ("source: conf/a.conf, exclude: [b]", Exit::Unreachable, "`exclude: b` matches nothing"),
        ("source: \"conf/*.conf\"", Exit::Unreachable, "conf/link.conf is a link"),
        ("source: \"conf/*/b.conf\"", Exit::Unreachable, "conf/dir is a link"),
        ("source: \"conf/[\"", Exit::Usage, "`conf/[` cannot be understood"),
    ] {
        world.spec("1", 1, &format!("files: [{{{entry}, dest: /etc}}]\n"));
        says(&world.bundler(&["lock"]).expect_exit(exit), &[word]);
    }
    world.spec("1", 1, "files: [{source: \"conf/**/*.conf\", exclude: [link.conf, dir], dest: /etc}]\n");
    world.bundler(&["lock"]).ok();
}
