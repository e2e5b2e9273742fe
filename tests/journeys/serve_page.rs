//! The page for people, as people see it: in a real browser, on a desk and on a phone, in light and in dark.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod ingredients;
mod onsite;
mod serve_site;
#[path = "../../installer/tests/serve_support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the server's own tests use all of it")]
mod serve_support;

use std::time::Duration;

use onsite::wait_until;
use serve_site::{APP, Served, get, serve, served};
use serve_support::content::image;
use serve_support::server::Server;
use serve_support::store::{TestShelf, judgement};
use testkit::{Chromium, Look, Seen, real_part};

const DESK: u32 = 1280;
const PHONE: u32 = 360;

/// Each way of looking at it.
fn looks() -> impl Iterator<Item = Look> {
    [DESK, PHONE].into_iter().flat_map(|width| {
        [false, true].map(|dark| Look { width, height: if width == PHONE { 740 } else { 900 }, dark })
    })
}

/// Fails unless the page asked for nothing but itself, said nothing in the console, and fits the window.
fn is_quiet_and_fits(seen: &Seen, url: &str, look: Look) {
    assert_eq!(seen.requests, [url], "{look:?}");
    assert!(seen.console.is_empty(), "{look:?}: {:?}", seen.console);
    assert_eq!(seen.content_width, u64::from(look.width), "{look:?}: one has to scroll sideways");
    assert!(seen.screenshot.starts_with(b"\x89PNG"));
}

#[test]
fn the_page_shows_everything_with_its_verdict_in_every_light_and_width() {
    let Some(chromium) = Chromium::find() else { return };
    let Served { world, v1, .. } = served();
    let (_running, url) = serve(&world);
    let url = format!("{url}/");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let shown = world.installer(&["--output", "json", "inspect", "1.tar"]).ok().json();
    let trust = world.installer(&["--output", "json", "trust", "show"]).ok().json();
    let keyid = std::fs::read_dir(world.path("site/store/bundles")).unwrap().next().unwrap().unwrap().path();
    let keyid = std::fs::read_dir(keyid.join("signatures")).unwrap().next().unwrap().unwrap().file_name();
    let keyid = keyid.to_str().unwrap().trim_end_matches(".sig").to_string();
    let mut pictures = Vec::new();
    for look in looks() {
        let seen = chromium.look(&url, look);
        is_quiet_and_fits(&seen, &url, look);
        for text in [
            "UNCLASSIFIED",
            "demo 1",
            "✓ Verified.",
            "rel, key",
            &keyid,
            "1 of rel",
            e2e::NOW,
            trust["fingerprint"].as_str().unwrap(),
            shown["bundle"].as_str().unwrap(),
            &v1.root.digest.to_string(),
            &format!("docker pull {host}/{APP}:v1"),
            &format!("docker pull {host}/{APP}:stable"),
            "greet-1.0-py3-none-any.whl",
            "words-1.0-py3-none-any.whl",
            &format!("helm pull oci://{host}/charts/fraud --version '1.10.0' --plain-http"),
        ] {
            assert!(seen.text.contains(text), "{text} is not in {}", seen.text);
        }
        pictures.push(seen.screenshot);
    }
    pictures.sort();
    pictures.dedup();
    assert_eq!(pictures.len(), 4, "light and dark, or wide and narrow, look alike");
}

#[test]
fn a_bundle_that_would_be_refused_today_is_marked_in_words() {
    let Some(chromium) = Chromium::find() else { return };
    let shelf = TestShelf::new();
    let app = || vec![image(&shelf, "registry.example.com/team/app:v1", "app")];
    shelf.publish("1.0", app());
    let refused = Some("key 0123 is revoked, and without it 1 of 2 needed holders have signed".to_string());
    shelf.publish_judged("1.1", app(), installer::serve::Judgement { refused, ..judgement() });
    let server = Server::start(&shelf);
    let url = format!("http://{}/", server.address);
    for look in looks() {
        let seen = chromium.look(&url, look);
        is_quiet_and_fits(&seen, &url, look);
        for text in
            ["✗ Not verified any more.", "key 0123 is revoked", "NOT VERIFIED ANY MORE", "✓ Verified."]
        {
            assert!(seen.text.contains(text), "{text} is not in {}", seen.text);
        }
    }
}

#[test]
fn a_bundle_that_is_revoked_while_the_server_runs_is_marked_on_the_page() {
    let Some(curl) = real_part("curl") else { return };
    let Served { world, .. } = served();
    let (_running, url) = serve(&world);
    let page = || String::from_utf8(get(&world, &curl, &format!("{url}/"))).unwrap();
    assert!(page().contains("✓ Verified."));
    std::fs::create_dir_all(world.path("trust")).unwrap();
    let revoke = ["trust", "revoke", "root.json", "--bundle", "1.tar", "--reason", "flaw"];
    let sign = ["--sign", "keys/alice.key.pem", "--sign", "keys/bob.key.pem"];
    let out = ["--out", "trust/1.revocations.json"];
    world.bundler(&[&revoke[..], &sign, &out].concat()).ok();
    world.installer(&["trust", "update", "trust"]).ok();
    wait_until(Duration::from_secs(30), "the page says so", || page().contains("✗ Not verified any more."));
    let page = page();
    assert!(page.contains("the bundle is revoked: flaw") && !page.contains("✓ Verified."), "{page}");
}

#[test]
fn the_page_of_an_empty_site_says_so() {
    let Some(chromium) = Chromium::find() else { return };
    let server = Server::start(&TestShelf::new());
    let url = format!("http://{}/", server.address);
    for look in looks() {
        let seen = chromium.look(&url, look);
        is_quiet_and_fits(&seen, &url, look);
        assert!(seen.text.contains("No bundle has been applied"), "{}", seen.text);
    }
}
