//! What comes in from outside on the connected side: charts, wheels and image archives that are not what
//! they look like. Nothing of them is unpacked; what is looked at is what every other reader sees, or the
//! lock is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::Write;

use e2e::World;
use edge::Exit;
use manifests::oci::{ANNOTATION_REF_NAME, MEDIA_CONFIG, MEDIA_MANIFEST, OCI_LAYOUT};
use manifests::{Descriptor, Digest};
use serde_json::{Value, json};
use testkit::sample::{Entry, Field, Forge};
use zip::write::SimpleFileOptions;

/// The funnel: `bundler lock` ends so, says this, and leaves no lock.
fn refuses(what: &str, world: &World, exit: Exit, says: &str) {
    let ran = world.bundler(&["lock"]);
    assert_eq!(ran.exit, exit, "{what}: {ran:?}");
    assert!(ran.stderr.contains(says), "{what}: it does not say `{says}`: {}", ran.stderr);
    assert!(!ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{what}: {:?}", ran.stderr);
    assert!(!world.path("bundle.lock").exists(), "{what}: there is a lock");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

// ---- charts -------------------------------------------------------------------------------------------

const CHART: &[u8] = b"apiVersion: v2\nname: fraud\nversion: 1.0.0\n";

fn world_with_chart(packed: &[u8]) -> World {
    let world = World::new();
    world.spec("1", 1, "charts: [{source: chart.tgz}]\n");
    world.write("chart.tgz", packed);
    world
}

/// A chart with more in it than its `Chart.yaml`.
fn chart_with(entries: &[Entry]) -> World {
    let mut chart = Forge::empty();
    chart.push("fraud/Chart.yaml", CHART);
    chart.entries.extend(entries.iter().cloned());
    world_with_chart(&gzip(&chart.bytes()))
}

fn refuses_chart(what: &str, world: &World, says: &str) {
    refuses(what, world, Exit::Usage, says);
}

#[test]
fn the_chart_that_these_are_made_from_is_taken() {
    let world = chart_with(&[
        Entry::new("fraud/", b"").with(Field::Type, b"5"),
        Entry::new("fraud/values.yaml", b"a: 1\n"),
        Entry::new("fraud/..data/x..yaml", b"a: 1\n"),
    ]);
    world.bundler(&["lock"]).ok();
}

#[test]
fn a_chart_with_something_in_it_that_is_no_plain_file_is_refused() {
    for (kind, what) in [
        ("1", "hard link"),
        ("2", "link"),
        ("3", "device"),
        ("4", "device"),
        ("6", "pipe"),
        ("7", "contiguous"),
    ] {
        // The lock file of a chart was such a link once (CVE-2025-53547).
        let entry = Entry::new("fraud/Chart.lock", b"").with(Field::Type, kind.as_bytes());
        let world = chart_with(&[entry.with(Field::LinkName, b"/home/user/.bashrc")]);
        refuses_chart(what, &world, "a link or a device");
    }
}

#[test]
fn a_chart_that_helm_reads_otherwise_is_refused() {
    for name in ["fraud/../../x", "../x", "/etc/cron.d/x", "fraud\\..\\x", "fraud/templates/.."] {
        refuses_chart(name, &chart_with(&[Entry::new(name, b"x")]), "leads out of the chart");
    }
    let hidden = Entry::new("pax", b"22 path=fraud/../../x\n").with(Field::Type, b"x");
    let world = chart_with(&[hidden, Entry::new("fraud/harmless", b"x")]);
    refuses_chart("a PAX path", &world, "leads out of the chart");
    // Helm reads both, one over the other.
    let other = b"apiVersion: v2\nname: evil\nversion: 9.9.9\n";
    for name in ["fraud/Chart.yaml", "other/Chart.yaml"] {
        refuses_chart(name, &chart_with(&[Entry::new(name, other)]), "twice");
    }
    let twice = [Entry::new("fraud/values.yaml", b"a: 1\n"), Entry::new("fraud/values.yaml", b"a: 2\n")];
    refuses_chart("values.yaml", &chart_with(&twice), "holds `fraud/values.yaml` twice");
}

#[test]
fn a_chart_that_unpacks_to_more_than_helm_takes_is_refused() {
    let zeros = vec![0; (100 << 20) + 1];
    let mut chart = Forge::empty();
    chart.push("fraud/Chart.yaml", CHART);
    chart.push("fraud/zeros", &zeros);
    refuses_chart(
        "a large file",
        &world_with_chart(&gzip(&chart.bytes())),
        "unpacks to more than 104857600 bytes",
    );
    // Behind the end, where no reader of tar looks.
    let mut chart = Forge::empty();
    chart.push("fraud/Chart.yaml", CHART);
    chart.end.extend(zeros);
    refuses_chart(
        "a long end",
        &world_with_chart(&gzip(&chart.bytes())),
        "unpacks to more than 104857600 bytes",
    );
    let mut chart = Forge::empty();
    chart.push("fraud/Chart.yaml", &[CHART, b"# ".as_slice(), &vec![b'x'; 1 << 20]].concat());
    refuses_chart("Chart.yaml", &world_with_chart(&gzip(&chart.bytes())), "Chart.yaml is longer");
}

#[test]
fn a_chart_whose_compression_is_damaged_is_refused() {
    let mut chart = Forge::empty();
    chart.push("fraud/Chart.yaml", CHART);
    let good = gzip(&chart.bytes());
    world_with_chart(&good).bundler(&["lock"]).ok();
    let mut wrong = good.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    for (what, packed) in [
        ("a wrong checksum", wrong),
        ("no trailer", good[..good.len() - 8].to_vec()),
        ("cut in the middle", good[..good.len() / 2].to_vec()),
        ("bytes behind it", [good.as_slice(), b"junk"].concat()),
        ("no gzip", chart.bytes()),
        ("nothing", Vec::new()),
    ] {
        refuses_chart(what, &world_with_chart(&packed), "is not a Helm chart");
    }
}

#[test]
fn a_chart_whose_name_is_a_path_is_refused() {
    for name in [".", "..", "../x", "a/b", "", "A", "-x", "a b"] {
        let mut chart = Forge::empty();
        chart.push(
            "fraud/Chart.yaml",
            format!("apiVersion: v2\nname: \"{name}\"\nversion: 1.0.0\n").as_bytes(),
        );
        refuses_chart(name, &world_with_chart(&gzip(&chart.bytes())), "is not a name");
    }
}

// ---- wheels -------------------------------------------------------------------------------------------

const WHEEL: &str = "tiny-1.0-py3-none-any.whl";
const METADATA: &str = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n";

fn wheel(metadata: &[u8], more: impl FnOnce(&mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("tiny-1.0.dist-info/METADATA", SimpleFileOptions::default()).unwrap();
    archive.write_all(metadata).unwrap();
    more(&mut archive);
    archive.finish().unwrap().into_inner()
}

fn world_with_wheel(bytes: &[u8]) -> World {
    let world = World::new();
    world.spec("1", 1, "wheels: [{name: tools, source: wheels}]\n");
    world.write(&format!("wheels/{WHEEL}"), bytes);
    world
}

fn refuses_wheel(what: &str, bytes: &[u8], says: &str) {
    refuses(what, &world_with_wheel(bytes), Exit::Damaged, says);
}

/// Where these bytes stand, each time.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect()
}

#[test]
fn the_wheel_that_these_are_made_from_is_taken() {
    world_with_wheel(&wheel(METADATA.as_bytes(), |_| {})).bundler(&["lock"]).ok();
}

#[test]
fn a_wheel_that_calls_its_files_by_two_names_is_refused() {
    let good = wheel(METADATA.as_bytes(), |archive| {
        archive.start_file("tiny.py", SimpleFileOptions::default()).unwrap();
    });
    let found = places(&good, b"tiny.py");
    assert_eq!(found.len(), 2, "in the file's own header and in the directory");
    // The first is the file's own header, the second the directory's entry.
    for at in found {
        let mut bad = good.clone();
        bad[at + 4] = b'_';
        refuses_wheel("one of two names", &bad, "calls itself something else");
    }
    let mut bad = good.clone();
    bad[places(&good, b"PK\x03\x04")[1]] = b'?';
    refuses_wheel("no header", &bad, WHEEL);
}

#[test]
fn a_wheel_behind_other_bytes_is_refused() {
    let good = wheel(METADATA.as_bytes(), |_| {});
    refuses_wheel("a script before it", &[b"#!/bin/sh\n", good.as_slice()].concat(), "before the archive");
}

#[test]
fn a_wheel_with_a_link_inside_is_refused() {
    let linked = wheel(METADATA.as_bytes(), |archive| {
        archive.add_symlink("tiny/data", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    });
    refuses_wheel("a link", &linked, "`tiny/data`, is a link");
}

#[test]
fn metadata_that_unpacks_to_more_than_its_limit_is_refused() {
    let long = [METADATA.as_bytes(), b"\n", &vec![b'x'; 64 << 20]].concat();
    let bomb = wheel(&long, |_| {});
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    refuses_wheel("a bomb", &bomb, "METADATA is longer than");
}

#[test]
fn a_wheel_whose_metadata_is_damaged_is_refused() {
    let good = wheel(METADATA.as_bytes(), |_| {});
    // The checksum, in the directory and in the file's own header.
    let mut bad = good.clone();
    for start in [places(&good, b"PK\x01\x02")[0] + 16, places(&good, b"PK\x03\x04")[0] + 14] {
        bad[start] ^= 1;
    }
    refuses_wheel("a wrong checksum", &bad, "not a readable ZIP archive");
}

// ---- images -------------------------------------------------------------------------------------------

const NAME: &str = "registry.example.com/team/app:v1";

/// An OCI archive of one image; its manifest may be changed before it is packed, and its entries after.
fn image_archive(change: impl FnOnce(&mut Value), entries: impl FnOnce(&mut Forge)) -> Vec<u8> {
    let (config, layer) = (b"{\"architecture\":\"amd64\",\"os\":\"linux\"}", b"a layer");
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": Descriptor::of(MEDIA_CONFIG, config),
        "layers": [Descriptor::of("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    change(&mut manifest);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let named = Descriptor::of(MEDIA_MANIFEST, &manifest).annotated(ANNOTATION_REF_NAME, NAME);
    let mut forge = Forge::empty();
    forge.push("oci-layout", OCI_LAYOUT);
    forge
        .push("index.json", &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [named]})).unwrap());
    for blob in [config.as_slice(), layer, &manifest] {
        forge.push(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    entries(&mut forge);
    forge.bytes()
}

fn world_with_image(archive: &[u8]) -> World {
    let world = World::new();
    world.spec("1", 1, &format!("images: [\"oci-archive:app.tar:{NAME}\"]\n"));
    world.write("app.tar", archive);
    world
}

#[test]
fn the_image_that_these_are_made_from_is_taken() {
    world_with_image(&image_archive(|_| {}, |_| {})).bundler(&["lock"]).ok();
}

#[test]
fn an_archive_of_images_that_climbs_is_refused() {
    for name in ["../x", "blobs/../../x", "blobs/sha256/../../../x"] {
        let world = world_with_image(&image_archive(|_| {}, |forge| forge.push(name, b"x")));
        refuses(name, &world, Exit::Damaged, "an entry's name leaves the archive");
    }
    for (kind, target) in [("2", "../../x"), ("1", "../x")] {
        let link = Entry::new("blobs/x", b"").with(Field::Type, kind.as_bytes());
        let link = link.with(Field::LinkName, target.as_bytes());
        let world = world_with_image(&image_archive(|_| {}, |forge| forge.entries.push(link)));
        refuses(target, &world, Exit::Damaged, "a link leaves the archive");
    }
    // An absolute link is one inside the archive: the place it names is looked up there, and is not there.
    let place = format!("blobs/sha256/{}", Digest::of(b"a layer").hex());
    let world = world_with_image(&image_archive(
        |_| {},
        |forge| {
            let link = Entry::new(&place, b"").with(Field::Type, b"2").with(Field::LinkName, b"/etc/passwd");
            *forge.entry(&place) = link;
        },
    ));
    refuses("an absolute link", &world, Exit::Damaged, "it has no blobs/sha256/");
}

#[test]
fn an_image_that_two_readers_would_read_in_two_ways_is_refused() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change, &str); 9] = [
        ("both", |m| m["manifests"] = json!([]), "both an image manifest and an index"),
        ("both, by case", |m| m["Manifests"] = json!([]), "`Manifests` is a key of the spec in another case"),
        ("layers, by case", |m| m["Layers"] = json!([]), "in another case"),
        ("a list", |m| m["config"] = json!(["x", Digest::of(b""), 0]), "where an object must"),
        (
            "another type",
            |m| m["mediaType"] = "application/vnd.oci.image.index.v1+json".into(),
            "the manifest says",
        ),
        ("schema 1", |m| m["schemaVersion"] = 1.into(), "schema version 1"),
        ("an address", |m| m["layers"][0]["urls"] = json!(["http://x"]), "foreign layer"),
        ("md5", |m| m["layers"][0]["digest"] = "md5:00".into(), "is not of sha256"),
        ("a large configuration", |m| m["config"]["size"] = 4_194_305.into(), "over the limit of 4 MiB"),
    ];
    for (what, change, says) in changes {
        refuses(what, &world_with_image(&image_archive(change, |_| {})), Exit::Damaged, says);
    }
}

#[test]
fn an_archive_of_images_that_is_compressed_or_damaged_is_refused() {
    let good = image_archive(|_| {}, |_| {});
    for (what, bytes, says) in [
        ("gzip", gzip(&good), "it is compressed"),
        ("zstd", [b"\x28\xb5\x2f\xfd".as_slice(), &good].concat(), "it is compressed"),
        ("cut", good[..good.len() - 4096].to_vec(), "app.tar"),
        ("empty", Vec::new(), "it has no index.json"),
    ] {
        refuses(what, &world_with_image(&bytes), Exit::Damaged, says);
    }
}
