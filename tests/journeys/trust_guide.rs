//! Every command of `docs/trust.md`, run in the order of the page by a shell, with the programs under their
//! names: from the first key to the revocation that reaches a site.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::World;
use edge::Exit;
use testkit::real_part;

const PAGE: &str = include_str!("../../docs/trust.md");

/// The blocks of shell, with the line that each starts in.
fn blocks() -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_start() == "```sh" {
            let text = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```");
            found.push((number + 1, text.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// Both programs under the names that people type, the installer on this world's site.
fn put_programs(world: &World) {
    let programs = [
        ("bundler", format!("'{}'", env!("CARGO_BIN_EXE_e2e-bundler"))),
        ("installer", format!("'{}' --site site", env!("CARGO_BIN_EXE_e2e-installer"))),
    ];
    for (name, start) in programs {
        let path = world.write(&format!("bin/{name}"), format!("#!/bin/sh\nexec {start} \"$@\"\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn run(world: &World, line: usize, text: &str) -> String {
    let text = text.replace("/media/", "media/");
    let path = format!(
        "{}:{}",
        world.path("bin").display(),
        world.vars["PATH".as_ref() as &std::ffi::OsStr].display()
    );
    let ran = Command::new("sh")
        .args(["-eu", "-c", &text])
        .current_dir(world.dir())
        .env("PATH", path)
        .env("AIRLOCK_CACHE", world.path("cache"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "docs/trust.md, line {line}: {}: {said}\n{text}", ran.status);
    said
}

#[test]
fn every_command_of_the_page_on_trust_does_what_the_page_says() {
    if real_part("openssl").is_none() {
        return;
    }
    let world = World::new();
    put_programs(&world);
    for name in ["bob", "rel-a", "rel-b", "rel-c"] {
        world.bundler(&["key", "new", "--name", name, "--out", "keys"]).ok();
    }
    world.write("configs/a.yaml", "a: 1\n");
    for (version, sequence, archive) in
        [("1.9.0", 1, "good-1.9.0.bundle.tar"), ("1.0.0", 2, "greeter-1.0.0.bundle.tar")]
    {
        world.spec(version, sequence, "files: [{source: configs, dest: /etc/demo}]\n");
        let _ = std::fs::remove_file(world.path("bundle.lock"));
        world.bundler(&["build", "--out", archive]).ok();
    }
    let blocks = blocks();
    let (pages, said): (Vec<&str>, Vec<String>) = {
        let mut said = Vec::new();
        for (number, (line, text)) in blocks.iter().enumerate() {
            if text.contains("installer trust update") {
                let root = std::fs::read(world.path("trust/1.root.json")).unwrap();
                let fingerprint = manifests::Digest::of(&root).hex();
                world
                    .installer(&["trust", "init", "trust/1.root.json", "--expect-sha256", &fingerprint])
                    .ok();
                world.installer(&["verify", "greeter-1.0.0.bundle.tar"]).ok();
                std::os::unix::fs::symlink(world.dir(), world.path("media")).unwrap();
            }
            said.push(run(&world, *line, text));
            assert!(number < 16, "more blocks than the page has");
        }
        (blocks.iter().map(|(_, text)| text.as_str()).collect(), said)
    };
    let of = |words: &str| &said[pages.iter().position(|text| text.contains(words)).unwrap()];
    assert!(of("--draft").contains("DRAFT: no site takes this yet"), "{}", of("--draft"));
    assert!(of("trust sign").contains("installer trust init"), "{}", of("trust sign"));
    assert!(of("installer trust update").contains("root version 2"));

    // The revocation, which the page makes last, reaches the site; rel-a counts for the good one alone.
    world.installer(&["trust", "update", "trust"]).ok();
    let shown = world.installer(&["trust", "show"]).ok().stdout;
    assert!(shown.contains("laptop stolen 2026-11-19"), "{shown}");
    let _ = world.installer(&["verify", "greeter-1.0.0.bundle.tar"]).expect_exit(Exit::Refused);
}
