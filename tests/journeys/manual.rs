//! Completions and manual pages of both programs, read by the shells and the formatters that people have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod onsite;

use std::collections::BTreeSet;

use e2e::{Ran, World};
use edge::Exit;
use onsite::{output, program, says};
use testkit::real_part;

fn both(world: &World, args: &[&str]) -> [(&'static str, Ran); 2] {
    [("installer", world.installer(args)), ("bundler", world.bundler(args))]
}

/// What bash offers for the last of these words.
fn offered(world: &World, program_name: &str, words: &[&str]) -> Vec<String> {
    let bash = real_part("bash").unwrap();
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=\"$*\"; COMP_POINT=${#COMP_LINE}; \
                  spec=$(complete -p \"$1\"); [[ $spec =~ -F\\ ([^ ]+) ]]; \
                  \"${BASH_REMATCH[1]}\" \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = format!("{program_name}.bash");
    let mut args = vec!["--norc", "-c", script, "bash", &file, program_name];
    args.extend(words);
    output(&mut program(world, bash, &args))
        .lines()
        .map(str::to_string)
        .filter(|word| !word.is_empty())
        .collect()
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

#[test]
fn bash_completes_commands_and_options_and_offers_nothing_that_is_hidden() {
    if real_part("bash").is_none() {
        return;
    }
    let world = World::new();
    for (name, ran) in both(&world, &["completions", "bash"]) {
        world.write(&format!("{name}.bash"), ran.ok().stdout);
    }
    let installer = |words: &[&str]| offered(&world, "installer", words);
    assert_eq!(installer(&["pre"]), ["preflight"]);
    assert_eq!(sorted(installer(&["audit", "exp"])), ["explain", "export"]);
    assert_eq!(sorted(installer(&["receipt", "--o"])), ["--out", "--output"]);
    assert_eq!(installer(&["receipt", "--blobs", ""]), ["list", "digest"]);
    assert_eq!(installer(&["--output", "j"]), ["json"]);
    assert_eq!(installer(&["dia"]), ["diagnose"]);
    assert!(installer(&["post"]).is_empty(), "it is hidden");
    let bundler = |words: &[&str]| offered(&world, "bundler", words);
    assert_eq!(bundler(&["rec"]), ["receipt"]);
    assert_eq!(bundler(&["receipt", "ver"]), ["verify"]);
    assert_eq!(bundler(&["build", "--rec"]), ["--recovery"]);
    assert_eq!(bundler(&["wri"]), ["write"]);
    assert_eq!(bundler(&["build", "--bas"]), ["--base"]);
}

#[test]
fn each_shell_gets_a_script_of_its_own_and_an_unknown_one_is_an_error() {
    let world = World::new();
    for (shell, word) in [
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        for (name, ran) in both(&world, &["completions", shell]) {
            let script = ran.ok().stdout;
            assert!(script.contains(word) && script.contains(name), "{shell}: {script}");
            assert!(!script.contains("post-render") && !script.contains("not there yet"), "{shell}");
        }
    }
    for (_, ran) in both(&world, &["completions", "csh"]) {
        says(&ran.expect_exit(Exit::Usage), &["csh"]);
    }
}

/// The commands that `--help` lists, and those below them.
fn commands(world: &World, name: &'static str, path: &[&str]) -> Vec<String> {
    let args = [path, &["--help"]].concat();
    let ran = if name == "installer" { world.installer(&args) } else { world.bundler(&args) };
    let help = ran.ok().stdout;
    let mut found = vec![[&[name], path].concat().join("-")];
    let listed = help.split("Commands:\n").nth(1).map_or("", |rest| rest.split("\n\n").next().unwrap());
    for line in listed.lines() {
        let word = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        let Some(word) = word.and_then(|line| line.split(' ').next()).filter(|word| *word != "help") else {
            continue;
        };
        found.extend(commands(world, name, &[path, &[word]].concat()));
    }
    found
}

#[test]
fn each_command_that_help_shows_has_a_page_with_the_exit_codes() {
    let world = World::new();
    for (name, run) in
        [("installer", World::installer as fn(&World, &[&str]) -> Ran), ("bundler", World::bundler)]
    {
        std::fs::create_dir(world.path(name)).unwrap();
        let made = run(&world, &["--output", "json", "man", "--out", name]).ok().json();
        let pages: BTreeSet<String> =
            made["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap().to_string()).collect();
        let wanted: BTreeSet<String> =
            commands(&world, name, &[]).into_iter().map(|command| format!("{command}.1")).collect();
        assert!(wanted.len() > 12, "{wanted:?}");
        assert_eq!(pages, wanted);
        for page in &pages {
            let text = std::fs::read_to_string(world.path(name).join(page)).unwrap();
            assert!(text.is_ascii(), "{page}");
            for exit in edge::Exit::ALL {
                let meaning = exit.meaning().replace('-', "\\-");
                assert!(text.contains(&format!("\\fB{}\\fR\n{meaning}\n", exit.code())), "{page}: {exit:?}");
            }
        }
        // Nothing is overwritten, and one page alone is printed.
        says(&run(&world, &["man", "--out", name]).expect_exit(Exit::Unreachable), &[".1"]);
        let alone = run(&world, &["man", "trust", "new"]);
        if name == "bundler" {
            let page = std::fs::read_to_string(world.path("bundler/bundler-trust-new.1")).unwrap();
            assert_eq!(alone.ok().stdout, page);
        } else {
            says(&alone.expect_exit(Exit::Usage), &["installer-trust has no command `new`"]);
        }
    }
}

#[test]
fn the_pages_are_formatted_without_a_warning() {
    let world = World::new();
    for (name, run) in
        [("installer", World::installer as fn(&World, &[&str]) -> Ran), ("bundler", World::bundler)]
    {
        std::fs::create_dir(world.path(name)).unwrap();
        run(&world, &["man", "--out", name]).ok();
        let pages: Vec<String> = world
            .snapshot(name)
            .into_keys()
            .map(|path| format!("{name}/{}", path.file_name().unwrap().to_str().unwrap()))
            .collect();
        if let Some(groff) = real_part("groff") {
            for page in &pages {
                let args = ["-man", "-ww", "-Tutf8", "-rLL=78n", "-P-c", "-P-b", "-P-u", page];
                let made = program(&world, &groff, &args).output().unwrap();
                assert!(made.status.success() && made.stderr.is_empty(), "{page}: {made:?}");
                let text = String::from_utf8_lossy(&made.stdout).into_owned();
                assert!(text.contains("SYNOPSIS") && text.contains("EXIT STATUS"), "{page}: {text}");
            }
        }
        if let Some(mandoc) = real_part("mandoc") {
            let mut args = vec!["-T", "lint", "-W", "warning"];
            args.extend(pages.iter().map(String::as_str));
            let said = program(&world, mandoc, &args).output().unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            // The pages have no date on purpose.
            let mut warnings = said.lines().filter(|line| !line.contains("missing date"));
            assert_eq!((warnings.next(), said.lines().count()), (None, pages.len()), "{said}");
        }
        if let Some(man) = real_part("man") {
            let page = format!("./{name}/{name}.1");
            let text = output(program(&world, man, &["-l", &page]).env("MANWIDTH", "80"));
            assert!(text.contains("audit") || text.contains("build"), "{text}");
            assert!(!text.contains("post-render") && !text.contains("(not there yet)"), "{text}");
        }
    }
}
