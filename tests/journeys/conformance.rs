//! The conformance suite of the OCI distribution specification judges `installer serve`: pull and content
//! discovery on, push and content management off, as it has it for registries that only read.

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
mod serve_site;

use std::collections::BTreeMap;

use manifests::Digest;
use onsite::program;
use serve_site::{APP, Served, serve, served};
use testkit::real_part;

/// What the suite does not do when it must not write.
const WRITES: [&str; 6] = ["blobs", "/push", "manifest-put", "/delete", "manifest-delete", "blob-delete"];

/// The verdict on each test, by its name with its number among those of that name.
fn verdicts(report: &str) -> BTreeMap<(String, usize), String> {
    let mut found = BTreeMap::new();
    for line in report.lines().take_while(|line| !line.starts_with("Configuration:")) {
        let Some((name, verdict)) = line.trim().rsplit_once(": ") else { continue };
        if name.starts_with("OCI Conformance Test") && !name.contains(" - ") {
            let number = found.keys().filter(|(known, _)| known == name).count();
            found.insert((name.to_string(), number), verdict.to_string());
        }
    }
    found
}

fn words<T: ToString>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_public_conformance_suite_passes_every_test_of_pull_and_content_discovery() {
    let Some(suite) = real_part("oci-conformance") else { return };
    let Served { world, v1, others, note } = served();
    let (_running, url) = serve(&world);
    let images = || std::iter::once(&v1).chain(&others);
    let manifests: Vec<Digest> =
        images().flat_map(|image| &image.manifests).map(|(descriptor, _)| descriptor.digest).collect();
    let mut blobs: Vec<Digest> = images().flat_map(|image| image.blobs.keys().copied()).collect();
    blobs.sort();
    blobs.dedup();
    let all = [manifests, vec![note.digest]].concat();
    let mut command = program(&world, suite, &[]);
    for (name, value) in [
        ("OCI_VERSION", "1.1"),
        ("OCI_REGISTRY", url.trim_start_matches("http://")),
        ("OCI_TLS", "disabled"),
        ("OCI_REPO1", APP),
        ("OCI_API_PUSH", "false"),
        ("OCI_API_BLOBS_DELETE", "false"),
        ("OCI_API_MANIFESTS_DELETE", "false"),
        ("OCI_API_TAGS_DELETE", "false"),
        ("OCI_API_BLOBS_DIGEST_HEADER", "true"),
        ("OCI_RO_DATA_TAGS", "v1 v2 stable"),
        ("OCI_RO_DATA_MANIFESTS", &words(&all)),
        ("OCI_RO_DATA_BLOBS", &words(&blobs)),
        ("OCI_RO_DATA_REFERRERS", &words(&[v1.root.digest, note.digest])),
    ] {
        command.env(name, value);
    }
    // That manifests come with their digest in a header it cannot ask for where nothing is pushed: it looks for it
    // in an answer that it has not kept then. Our own tests do.
    // Its exit code says nothing here: where nothing is pushed it ends with a panic after its report, when it
    // writes another one.
    let ran = command.output().unwrap();
    let report = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(report.contains("OCI Conformance Result: Pass"), "{report}");
    let verdicts = verdicts(&report);
    let of = |verdict: &str| verdicts.iter().filter(|(_, found)| *found == verdict).count();
    let disabled = verdicts.iter().filter(|(_, verdict)| *verdict == "Disabled");
    for ((name, _), _) in disabled {
        assert!(WRITES.iter().any(|write| name.contains(write)), "{name} was not run: {report}");
    }
    assert_eq!(of("Pass") + of("Disabled"), verdicts.len(), "{verdicts:?}");
    // By tag and by digest, with HEAD and with GET; blobs with both; and what is asked once.
    let reads = 2 * (3 + all.len()) + 2 * blobs.len();
    let once = ["ping", "empty/tag list", "empty/referrers", "read-only/tag-list", "read-only/referrers"];
    let errors =
        ["missing-manifest/by-digest", "missing-manifest/by-tag", "invalid-digest-format/manifest-get"];
    for name in once.iter().chain(&errors) {
        let key = (format!("OCI Conformance Test/{name}"), 0);
        assert_eq!(verdicts.get(&key).map(String::as_str), Some("Pass"), "{name}: {report}");
    }
    let leaves = verdicts.iter().filter(|((name, _), verdict)| {
        *verdict == "Pass" && (name.contains("read-only/head/") || name.contains("read-only/pull/"))
    });
    assert_eq!(leaves.count(), reads, "{report}");
}
