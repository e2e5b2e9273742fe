//! Receipts: what a site holds and runs goes back to the connected side as a file, as lines that somebody types, or as
//! QR codes from a printer, and nothing is taken that the site's key has not signed.

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
use std::path::{Path, PathBuf};

use e2e::{Ran, World};
use edge::Exit;
use installer::audit;
use installer::site::Site;
use manifests::Digest;
use manifests::audit::{Entry, Outcome};
use manifests::bundle::BundleDigest;
use manifests::receipt::{Blobs, SignedReceipt, VerifiedReceipt};
use onsite::{build, output, program, says};
use serde_json::Value;
use testkit::real_part;

const KEY: &str = "site/key/1.pub.pem";
const YAML: &str = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ngroups: [bank]\n";

/// A site that runs bundle 2 and keeps bundle 1.
fn site() -> World {
    let world = World::new();
    world.trust();
    world.write("site/site.yaml", YAML);
    for sequence in [1_u64, 2] {
        let version = format!("{sequence}.0");
        world.write("files/note", &version);
        world.write("files/same", "the same in both");
        let out = format!("{sequence}.tar");
        build(&world, &version, sequence, "files: [{source: files, dest: /etc/demo}]\n", &out);
        world.installer(&["apply", &out, "--yes"]).ok();
    }
    world
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn on_site(world: &World, line: &str) -> Ran {
    world.installer(&words(line))
}

/// What the connected side says to these files.
fn taken(world: &World, line: &str) -> Ran {
    world.bundler(&words(&format!("--output json receipt verify {line}")))
}

fn refused(world: &World, line: &str, exit: Exit, said: &[&str]) {
    says(&taken(world, line).expect_exit(exit), said);
}

fn read(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.path(path)).unwrap()
}

fn log(world: &World) -> Vec<Entry> {
    let mut entries = Vec::new();
    audit::read(&world.path("site/audit/audit.jsonl"), &mut |entry| entries.push(entry)).unwrap();
    entries
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Every blob of the bundles that were applied, by what the site has kept of them.
fn inventories(world: &World, bundles: &[BundleDigest]) -> BTreeSet<Digest> {
    let site = Site::at(world.path("site"));
    let blobs = |bundle: &BundleDigest| site.evidence(*bundle).unwrap().1.blobs;
    bundles.iter().flat_map(blobs).map(|blob| blob.digest).collect()
}

#[test]
fn a_receipt_says_what_the_site_runs_and_keeps_and_the_connected_side_takes_it() {
    let world = site();
    let before = log(&world).len();
    let made = on_site(&world, "--output json receipt --out r.json").ok().json();
    let found = taken(&world, &format!("r.json --key {KEY}")).ok().json();
    assert_eq!(found["receipt"], made["receipt"]);
    assert_eq!(found["digest"], format!("{}", Digest::of(read(&world, "r.json").as_bytes())));
    let receipt = &found["receipt"];
    assert_eq!((text_of(&receipt["site"]), text_of(&receipt["groups"][0])), ("lab", "bank"));
    let versions = receipt["products"][0]["versions"].as_array().unwrap();
    let said: Vec<(&str, bool)> =
        versions.iter().map(|found| (text_of(&found["version"]), found["runs"].as_bool().unwrap())).collect();
    assert_eq!(said, [("2.0", true), ("1.0", false)]);
    assert_eq!(receipt["products"][0]["highest"]["sequence"], 2);
    assert_eq!(found["bases"].as_array().unwrap().len(), 2);
    assert_eq!(receipt["trust"]["version"], 1);
    // The log as it was is a checkpoint that the site keeps, and what left is in the log by its digest.
    let checkpoint = read(&world, &format!("site/audit/checkpoints/{before}.checkpoint.json"));
    assert!(checkpoint.contains(text_of(&receipt["log"]["head"])), "{checkpoint}");
    let entries = log(&world);
    let mine: Vec<&Entry> = entries.iter().filter(|entry| entry.event.event == "receipt").collect();
    assert_eq!(
        mine.iter().map(|entry| entry.event.outcome).collect::<Vec<_>>(),
        [Outcome::Intent, Outcome::Done]
    );
    assert_eq!(mine[1].event.about["receipt"], text_of(&found["digest"]));
    let human = world.bundler(&["receipt", "verify", "r.json", "--key", KEY]).ok().stdout;
    assert!(human.contains("site       lab") && human.contains("runs"), "{human}");
    // The present state of the site is still what its log says.
    on_site(&world, "audit verify").ok();
}

#[test]
fn the_blobs_of_a_receipt_are_those_of_the_bundles_that_it_names() {
    let world = site();
    on_site(&world, "receipt --out list.json").ok();
    on_site(&world, "receipt --out short.json --blobs digest").ok();
    let key = bundler::keys::read_public(&world.path(KEY)).unwrap();
    let verify = |path: &str| {
        let signed = SignedReceipt::from_bytes(read(&world, path).as_bytes()).unwrap();
        VerifiedReceipt::verify(&signed, std::slice::from_ref(&key)).unwrap()
    };
    let (list, short) = (verify("list.json"), verify("short.json"));
    let bundles: Vec<BundleDigest> = short.bases().collect();
    let blobs = inventories(&world, &bundles);
    assert!(list.blobs().unwrap().iter().eq(blobs.iter()));
    assert!(short.blobs().is_none() && short.document().blobs.are(&blobs));
    assert_eq!(short.document().blobs, Blobs::of(&blobs, false));
    let fewer = inventories(&world, &bundles[..1]);
    assert!(fewer.len() < blobs.len() && !short.document().blobs.are(&fewer));
    // As many versions as the site keeps, and no more.
    world.write("site/site.yaml", format!("{YAML}keep: 0\n"));
    on_site(&world, "receipt --out one.json").ok();
    let one = verify("one.json");
    assert_eq!(one.bases().collect::<Vec<_>>(), bundles[..1]);
    assert!(one.blobs().unwrap().iter().eq(fewer.iter()));
    // What was taken off the site is not held any more.
    on_site(&world, "remove demo --yes --reason moved").ok();
    on_site(&world, "receipt --out none.json").ok();
    let none = verify("none.json");
    assert_eq!((none.bases().count(), none.blobs().map(<[Digest]>::len)), (0, Some(0)));
    assert_eq!(none.document().products[0].highest.sequence, 2);
}

#[test]
fn a_blob_that_is_gone_or_rotten_is_not_claimed() {
    let world = site();
    let site = Site::at(world.path("site"));
    let current = site.ledgers().unwrap()[0].current().unwrap().bundle;
    let old = site.ledgers().unwrap()[0].applied[0].bundle;
    let only = |bundle, other| {
        let other = inventories(&world, &[other]);
        let of: Vec<Digest> = inventories(&world, &[bundle]).difference(&other).copied().collect();
        site.store().blob_path(&of[0])
    };
    // One of the version before is gone: that version is no base any more.
    std::fs::remove_file(only(old, current)).unwrap();
    let made = on_site(&world, "receipt --out gone.json").ok();
    assert!(
        made.stdout.contains("LACKS 1 blobs") && made.stdout.contains("installer drift"),
        "{}",
        made.stdout
    );
    let found = taken(&world, &format!("gone.json --key {KEY}")).ok().json();
    assert_eq!(found["bases"], serde_json::json!([current]));
    assert_eq!(found["receipt"]["checked"], "sizes");
    // One of the present version has its size and other bytes: only who reads it sees that.
    let path = only(current, old);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    on_site(&world, "receipt --out sizes.json").ok();
    on_site(&world, "receipt --out digests.json --check").ok();
    let bases = |path: &str| taken(&world, &format!("{path} --key {KEY}")).ok().json();
    assert_eq!(bases("sizes.json")["bases"], serde_json::json!([current]));
    let checked = bases("digests.json");
    assert_eq!(
        (checked["bases"].clone(), &checked["receipt"]["checked"]),
        (serde_json::json!([]), &"digests".into())
    );
    assert_eq!(checked["receipt"]["blobs"]["count"], 0);
}

// ---- who is believed ----------------------------------------------------------------------------------

#[test]
fn refuses_a_receipt_of_another_key_and_one_that_was_changed() {
    let (world, other) = (site(), site());
    on_site(&world, "receipt --out r.json").ok();
    std::fs::copy(other.path(KEY), world.path("other.pub.pem")).unwrap();
    refused(&world, "r.json --key other.pub.pem", Exit::Refused, &["signed with another key", "on paper"]);
    taken(&world, &format!("r.json --key other.pub.pem --key {KEY}")).ok();
    let good = read(&world, "r.json");
    for (from, to) in
        [("\"runs\":true", "\"runs\":false"), ("\"sequence\":2", "\"sequence\":3"), ("lab", "lob")]
    {
        world.write("bad.json", good.replacen(from, to, 1));
        refused(&world, &format!("bad.json --key {KEY}"), Exit::Refused, &["signature", "do not go by it"]);
    }
    // The other site's signature in the name of this key.
    on_site(&other, "receipt --out r.json").ok();
    let (document, line) = good.split_once('\n').unwrap();
    let theirs = read(&other, "r.json");
    let signature = |line: &str| line.split('"').nth(7).unwrap().to_string();
    let renamed = line.replace(&signature(line), &signature(theirs.split_once('\n').unwrap().1));
    world.write("bad.json", format!("{document}\n{renamed}"));
    refused(&world, &format!("bad.json --key {KEY}"), Exit::Refused, &["signature"]);
    // Nobody is believed without a key.
    refused(&world, "r.json", Exit::Usage, &[]);
}

#[test]
fn a_known_site_speaks_for_itself_only() {
    let world = site();
    on_site(&world, "receipt --out r.json").ok();
    let key = std::fs::read(world.path(KEY)).unwrap();
    world.write("sites/lab.pub.pem", &key);
    world.write("sites/README", "the keys of our sites\n");
    taken(&world, "r.json --sites sites").ok();
    world.write("others/bank-2.pub.pem", &key);
    refused(&world, "r.json --sites others", Exit::Refused, &["of the site bank-2", "it is of lab"]);
    std::fs::create_dir(world.path("empty")).unwrap();
    refused(&world, "r.json --sites empty", Exit::Usage, &["no key of a site"]);
    refused(&world, "r.json --sites nowhere", Exit::Unreachable, &["nowhere"]);
}

#[test]
fn another_document_of_the_same_key_is_no_receipt() {
    let world = site();
    let made = on_site(&world, "--output json audit checkpoint --out head.json").ok().json();
    let signature = std::fs::read(text_of(&made["signature"])).unwrap();
    let keyid = bundler::keys::read_public(&world.path(KEY)).unwrap().id();
    let signed = SignedReceipt::new(read(&world, "head.json").into_bytes(), keyid, signature).unwrap();
    // It does not say that it is a receipt, and if somebody had it say so, the signature would be wrong.
    world.write("head.receipt", signed.bytes());
    refused(&world, &format!("head.receipt --key {KEY}"), Exit::Usage, &["not a receipt"]);
    let claims = String::from_utf8(signed.bytes().to_vec()).unwrap().replace("checkpoint/", "receipt/");
    world.write("head.receipt", claims);
    refused(&world, &format!("head.receipt --key {KEY}"), Exit::Refused, &["signature"]);
}

#[test]
fn after_a_new_site_key_only_the_new_one_vouches() {
    let world = site();
    on_site(&world, "trust key rotate --scheme ecdsa-p384-sha384").ok();
    on_site(&world, "receipt --out r.json").ok();
    taken(&world, "r.json --key site/key/2.pub.pem").ok();
    refused(&world, &format!("r.json --key {KEY}"), Exit::Refused, &["another key"]);
}

#[test]
fn openssl_alone_checks_a_receipt_of_each_scheme_as_the_page_says() {
    if real_part("openssl").is_none() {
        return;
    }
    for scheme in ["ed25519", "ecdsa-p384-sha384", "ecdsa-p256-sha256"] {
        let world = site();
        on_site(&world, &format!("trust key rotate --scheme {scheme}")).ok();
        on_site(&world, "receipt --out r.json").ok();
        on_site(&world, "receipt --out r.txt").ok();
        let digest = scheme.rsplit_once('-').map_or("", |(_, digest)| digest);
        for name in ["check-receipt.sh", "join-receipt.sh"] {
            world.write(name, shown_on_the_page(name));
        }
        let check = |file: &str| {
            let args = ["check-receipt.sh", file, "site/key/2.pub.pem", digest];
            let args: Vec<&str> = args.into_iter().filter(|word| !word.is_empty()).collect();
            program(&world, "sh", &args).output().unwrap()
        };
        let said = check("r.json");
        let words = String::from_utf8_lossy(&said.stdout);
        assert!(
            said.status.success() && words.contains("Signature Verified Successfully"),
            "{scheme}: {said:?}"
        );
        let keyid = bundler::keys::read_public(&world.path("site/key/2.pub.pem")).unwrap().id();
        assert!(words.contains(&keyid.to_string()), "{words}");
        // The typed lines, joined by the shell, are such a file.
        let joined = output(&mut program(&world, "sh", &["join-receipt.sh", "r.txt"]));
        world.write("joined.json", &joined);
        assert!(check("joined.json").status.success(), "{joined}");
        taken(&world, "joined.json --key site/key/2.pub.pem").ok();
        world.write("bad.json", read(&world, "r.json").replace("\"entries\":", "\"entries\":1"));
        assert!(!check("bad.json").status.success(), "{scheme}");
    }
}

/// A block of `docs/receipt.md`.
fn shown_on_the_page(name: &str) -> String {
    let page = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/receipt.md"))
        .unwrap();
    let (_, block) = page.split_once(&format!("```sh file={name}\n")).unwrap_or_else(|| panic!("{name}"));
    block.split_once("```").unwrap().0.to_string()
}

#[test]
fn the_line_on_the_page_has_the_digits_that_its_characters_give() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receipt.md")).unwrap();
    let (_, block) = page.split_once("```text\nairlock-receipt/v1 ").unwrap();
    let mut lines = block.lines();
    let (set, line) = (lines.next().unwrap(), lines.next().unwrap());
    let (said, digits) = line.rsplit_once(' ').unwrap();
    assert_eq!(Digest::of(format!("{set} {said}").as_bytes()).hex()[..6], *digits);
    assert!(said.contains("|{\"blobs\":{\"count\":") && said.len() == "1/23 ||".len() + 60);
}

// ---- what is no receipt, or not all of one ------------------------------------------------------------

#[test]
fn what_is_no_receipt_and_one_that_was_cut_off_are_told_apart() {
    let world = site();
    on_site(&world, "receipt --out r.json").ok();
    let good = read(&world, "r.json");
    for other in ["", "# A page\n", "{\"a\": 1}\n", "\u{fffd}\u{0}", &read(&world, "root.json")] {
        world.write("other", other);
        refused(&world, &format!("other --key {KEY}"), Exit::Usage, &["not a receipt", "installer receipt"]);
    }
    for length in [60, good.len() / 2, good.len() - 1] {
        world.write("cut.json", &good[..length]);
        refused(&world, &format!("cut.json --key {KEY}"), Exit::Damaged, &["cut off"]);
    }
    refused(&world, &format!("gone.json --key {KEY}"), Exit::Unreachable, &["gone.json"]);
    refused(&world, &format!("r.json r.json --key {KEY}"), Exit::Usage, &["other files beside it"]);
    let page = std::fs::File::create(world.path("long.json")).unwrap();
    page.set_len(1 << 30).unwrap();
    refused(&world, &format!("long.json --key {KEY}"), Exit::Unreachable, &["long.json"]);
}

#[test]
fn a_text_is_read_by_people_and_typed_again_with_each_mistake_named() {
    let world = site();
    on_site(&world, "receipt --out r.txt").ok();
    let text = read(&world, "r.txt");
    assert!(text.is_ascii() && text.lines().all(|line| line.starts_with('#') || line.len() <= 80), "{text}");
    assert!(text.contains("#   runs     2.0 (order 1.2)"), "{text}");
    taken(&world, &format!("r.txt --key {KEY}")).ok();
    // Without remarks, with other line ends, in two files, the second one first.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let (heading, lines) = lines.split_first().unwrap();
    world.write("first", format!("{heading}\r\n{}\r\n", lines[..7].join("\r\n")));
    world.write("second", format!("{heading}\n{}\n", lines[7..].join("\n")));
    taken(&world, &format!("second first --key {KEY}")).ok();
    let missing = format!("these are missing: 8-{}", lines.len());
    refused(&world, &format!("first --key {KEY}"), Exit::Damaged, &[&missing, "scan or type these too"]);
    let mistyped = lines[3].replacen("\":", "\";", 1);
    assert_ne!(mistyped, lines[3]);
    world.write("typed", text.replace(lines[3], &mistyped));
    let at = text.lines().position(|line| line == lines[3]).unwrap() + 1;
    let named = format!("line {at} is not what was printed");
    refused(
        &world,
        &format!("typed --key {KEY}"),
        Exit::Damaged,
        &[&named, "compare that line with the paper"],
    );
    world.write("typed", text.replace(lines[3], "and so on"));
    refused(&world, &format!("typed --key {KEY}"), Exit::Damaged, &["is not a line of a receipt: and so on"]);
    // Two receipts at once.
    on_site(&world, "receipt --out again.txt").ok();
    refused(&world, &format!("first again.txt --key {KEY}"), Exit::Usage, &["two receipts"]);
    // A text whose check values were made anew is whole, and not signed.
    let forged = String::from_utf8(std::fs::read(world.path("r.txt")).unwrap()).unwrap();
    world.write("forged", reworded(&forged, "\"runs\":true", "\"runs\":null"));
    refused(&world, &format!("forged --key {KEY}"), Exit::Refused, &["signature"]);
}

/// A text with other words, cut and numbered as `installer` would do it.
fn reworded(text: &str, from: &str, to: &str) -> String {
    use manifests::receipt::pieces::{Pieces, cut, heading};
    let mut pieces = Pieces::default();
    pieces.read(text).unwrap();
    let good = pieces.finish().unwrap();
    let changed = String::from_utf8(good.bytes().to_vec()).unwrap().replacen(from, to, 1);
    assert_ne!(changed.as_bytes(), good.bytes());
    let signed = SignedReceipt::from_bytes(changed.as_bytes()).unwrap();
    let lines: Vec<String> = cut(&signed, 60).unwrap().iter().map(|piece| piece.line()).collect();
    format!("{}\n{}\n", heading(&signed), lines.join("\n"))
}

#[test]
fn nothing_is_overwritten_and_nothing_else_is_written() {
    let world = site();
    world.write("there.json", "mine\n");
    let before = world.snapshot("site");
    for (out, exit, said) in [
        ("there.json", Exit::Unreachable, "never overwritten"),
        ("r.pdf", Exit::Usage, "FILE.json, FILE.txt or FILE.html"),
        ("receipt", Exit::Usage, "FILE.json, FILE.txt or FILE.html"),
    ] {
        says(&on_site(&world, &format!("receipt --out {out}")).expect_exit(exit), &[said]);
    }
    assert_eq!(world.snapshot("site"), before);
    assert_eq!(read(&world, "there.json"), "mine\n");
    says(
        &on_site(&world, "receipt --out nowhere/r.json").expect_exit(Exit::Unreachable),
        &["nowhere/r.json"],
    );
    let last = log(&world).pop().unwrap().event;
    assert_eq!((last.event.as_str(), last.outcome), ("receipt", Outcome::Failed));
    std::fs::create_dir(world.path("out")).unwrap();
    for form in ["json", "txt", "html"] {
        on_site(&world, &format!("receipt --out out/r.{form}")).ok();
    }
    let names: BTreeSet<String> = world
        .snapshot("out")
        .into_keys()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    assert_eq!(names, BTreeSet::from(["r.html", "r.json", "r.txt"].map(str::to_string)));
    let untrusting = World::new();
    says(&on_site(&untrusting, "receipt --out r.json").expect_exit(Exit::Refused), &["no trust root"]);
    assert!(!untrusting.path("site").exists() && !untrusting.path("r.json").exists());
}

// ---- paper --------------------------------------------------------------------------------------------

/// A picture in shades of grey.
struct Picture {
    width: usize,
    height: usize,
    shades: Vec<u8>,
}

impl Picture {
    fn pgm(&self) -> Vec<u8> {
        [format!("P5\n{} {}\n255\n", self.width, self.height).as_bytes(), &self.shades].concat()
    }

    fn from_pgm(bytes: &[u8]) -> Self {
        let mut words = bytes.splitn(4, |byte| byte.is_ascii_whitespace());
        let mut number = || -> usize { String::from_utf8_lossy(words.next().unwrap()).parse().unwrap_or(5) };
        let (_, width, height) = (number(), number(), number());
        Self { width, height, shades: bytes[bytes.len() - width * height..].to_vec() }
    }

    /// The shade at a place, between dots that of its neighbours; white outside.
    fn at(&self, x: f64, y: f64) -> f64 {
        let dot = |x: f64, y: f64| {
            let inside = x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height;
            if inside { f64::from(self.shades[y as usize * self.width + x as usize]) } else { 255.0 }
        };
        let (left, up) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - up);
        let row = |y: f64| dot(left, y) * (1.0 - right) + dot(left + 1.0, y) * right;
        row(up) * (1.0 - down) + row(up + 1.0) * down
    }

    /// As it comes back from a bad printer and a cheap scanner: a little turned, with specks of toner and without,
    /// out of focus, pale, with noise, and with stains.
    fn printed_and_scanned(&self, degrees: f64, seed: u64) -> Self {
        let mut chance = seed;
        let mut next = move |below: usize| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) as usize % below
        };
        let (width, height) = (self.width, self.height);
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (middle_x, middle_y) = ((width - 1) as f64 / 2.0, (height - 1) as f64 / 2.0);
        let mut paper = Self { width, height, shades: Vec::with_capacity(width * height) };
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let (left, up) = (x as f64 - middle_x, y as f64 - middle_y);
            let shade = self.at(middle_x + left * cos - up * sin, middle_y + left * sin + up * cos);
            paper.shades.push(match next(400) {
                0 => 0,
                1 => 255,
                _ => shade as u8,
            });
        }
        let mut scanned = Self { width, height, shades: Vec::with_capacity(width * height) };
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as f64, x as f64))) {
            let around = [(0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)];
            let sum: f64 = around.iter().map(|(right, down)| paper.at(x + right, y + down)).sum();
            scanned.shades.push(40 + (sum / 5.0 * 0.65) as u8 + next(24) as u8);
        }
        for _ in 0..6 {
            let (across, down, size) = (next(width), next(height), 4 + next(8));
            for y in down..(down + size).min(height) {
                scanned.shades[y * width + across..y * width + (across + size).min(width)].fill(90);
            }
        }
        scanned
    }
}

/// Draws what the page's `<svg>` say, so many dots for a module.
fn drawn(page: &str, dots: usize) -> Vec<Picture> {
    let drawing = |svg: &str| {
        let side: usize =
            svg.split("viewBox=\"0 0 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let path = svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        let width = side * dots;
        let mut picture = Picture { width, height: width, shades: vec![255; width * width] };
        for run in path.split('z').filter(|run| !run.is_empty()) {
            let (x, rest) = run.strip_prefix('M').unwrap().split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (run, _) = rest.split_once('v').unwrap();
            let [x, y, run] = [x, y, run].map(|text| text.parse::<usize>().unwrap());
            for row in y * dots..(y + 1) * dots {
                picture.shades[row * width + x * dots..row * width + (x + run) * dots].fill(0);
            }
        }
        picture
    };
    page.split("<svg ").skip(1).map(drawing).collect()
}

/// What zbar, a reader by other people, finds in pictures.
fn scanned(world: &World, zbarimg: &Path, pictures: &[Vec<u8>]) -> String {
    let mut found = String::new();
    for picture in pictures {
        world.write("scan.pgm", picture);
        let args = ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", "scan.pgm"];
        let read = program(world, zbarimg, &args).output().unwrap();
        found.push_str(&String::from_utf8(read.stdout).unwrap());
    }
    found
}

#[test]
fn codes_survive_a_printer_and_come_back_in_any_order() {
    let Some(zbarimg) = real_part("zbarimg") else { return };
    let world = site();
    let made = on_site(&world, "--output json receipt --out r.html").ok().json();
    let page = read(&world, "r.html");
    let pictures = drawn(&page, 4);
    assert_eq!(made["codes"], pictures.len());
    assert!(pictures.len() > 1, "one code proves little");
    assert!(
        !page.contains("<script") && !page.contains("href") && !page.contains("src="),
        "it loads nothing"
    );
    for (degrees, seed) in [(0.0, 1), (2.0, 2), (-3.5, 3), (90.0, 4), (180.0, 5)] {
        // Whoever gets no answer from a scanner tries again.
        let tries = |picture: &Picture| {
            [0, 10, 20].map(|more| picture.printed_and_scanned(degrees, seed + more).pgm())
        };
        let paper: Vec<Vec<u8>> = pictures.iter().rev().flat_map(tries).collect();
        let text = scanned(&world, &zbarimg, &paper);
        world.write("scans.txt", &text);
        let found = taken(&world, &format!("scans.txt --key {KEY}"));
        assert_eq!(
            found.exit,
            Exit::Done,
            "turned by {degrees}: {} of {}: {}",
            text.lines().count(),
            pictures.len(),
            found.stderr
        );
        assert_eq!(found.json()["receipt"], made["receipt"]);
    }
    // One code is not there: it is named. From another scan it completes the set.
    let all = read(&world, "scans.txt");
    let is_first = |line: &&str| line.contains(" 1/");
    world.write("first.txt", all.lines().find(is_first).unwrap());
    world.write("rest.txt", all.lines().filter(|line| !is_first(line)).collect::<Vec<_>>().join("\n"));
    let missing = "these are missing: 1";
    refused(&world, &format!("rest.txt --key {KEY}"), Exit::Damaged, &[missing]);
    taken(&world, &format!("rest.txt first.txt --key {KEY}")).ok();
}

#[test]
fn a_page_that_chromium_prints_and_a_scanner_reads_is_the_receipt() {
    let (Some(chromium), Some(pdftoppm), Some(zbarimg)) =
        (real_part("chromium"), real_part("pdftoppm"), real_part("zbarimg"))
    else {
        return;
    };
    let world = site();
    let made = on_site(&world, "--output json receipt --out r.html --blobs list").ok().json();
    let url = format!("file://{}", world.path("r.html").display());
    let profile = format!("--user-data-dir={}", world.path("chromium").display());
    let args = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-pdf-header-footer",
        "--print-to-pdf=page.pdf",
        &profile,
        &url,
    ];
    output(&mut program(&world, chromium, &args));
    output(&mut program(&world, pdftoppm, &["-r", "150", "-gray", "page.pdf", "sheet"]));
    let mut sheets: Vec<PathBuf> = world.snapshot(".").into_keys().collect();
    sheets.retain(|path| path.extension().is_some_and(|extension| extension == "pgm"));
    assert!(!sheets.is_empty());
    let tries = |path: &PathBuf| {
        let sheet = Picture::from_pgm(&std::fs::read(path).unwrap());
        [(0.0, 7), (1.0, 8), (-0.7, 9)].map(|(degrees, seed)| sheet.printed_and_scanned(degrees, seed).pgm())
    };
    let text = scanned(&world, &zbarimg, &sheets.iter().flat_map(tries).collect::<Vec<_>>());
    world.write("scans.txt", &text);
    let found = taken(&world, &format!("scans.txt --key {KEY}"));
    assert_eq!(found.exit, Exit::Done, "{} codes were read: {}", text.lines().count(), found.stderr);
    assert_eq!(found.json()["receipt"], made["receipt"]);
}
