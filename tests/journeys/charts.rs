//! Helm charts from repositories and registries as they are in the field: found by version, fetched with their
//! dependencies, with their provenance, and carried to a site. The charts are made, signed, indexed and pushed
//! by the real `helm`.

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

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{entries, gzip, repository_at, tar_of, to_json, tool};
use manifests::Digest;
use manifests::oci::{MEDIA_HELM_CHART, MEDIA_HELM_CONFIG, MEDIA_HELM_PROVENANCE, MEDIA_MANIFEST};
use onsite::{Running, installer};
use serde_json::{Value, json};
use testkit::certificates::Certificates;
use testkit::fake_server::Delivery;
use testkit::{
    FakeRegistry, FakeServer, REAL_PASSWORD, REAL_USER, RealRegistry, RealRegistryOptions, Reply, Request,
    real_part,
};

// ---- charts, and where they are -----------------------------------------------------------------------

/// A chart's directory: one ConfigMap that names it.
fn write_chart(world: &World, directory: &str, name: &str, version: &str, more: &str) {
    let yaml = format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"1.10\"\n{more}");
    world.write(&format!("{directory}/Chart.yaml"), yaml);
    world.write(&format!("{directory}/values.yaml"), "text: hello\n");
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-map}}\ndata: {{text: \"{{{{ .Values.text }}}}\"}}\n"
    );
    world.write(&format!("{directory}/templates/map.yaml"), template);
}

/// A chart's archive, as `helm package` makes it.
fn package(world: &World, helm: &Path, name: &str, version: &str, more: &str, into: &str) -> PathBuf {
    let directory = format!("made/{name}-{version}/{name}");
    write_chart(world, &directory, name, version, more);
    std::fs::create_dir_all(world.path(into)).unwrap();
    tool(helm, &["package", &directory, "--destination", into], world.dir());
    world.path(&format!("{into}/{name}-{version}.tgz"))
}

/// A chart's archive without Helm.
fn archive(name: &str, version: &str, more: &str) -> Vec<u8> {
    let yaml = format!("apiVersion: v2\nname: {name}\nversion: {version}\n{more}");
    gzip(&tar_of(&[(format!("{name}/Chart.yaml"), yaml.as_str()), (format!("{name}/values.yaml"), "a: 1\n")]))
}

/// A classic repository: files by path, which a test may change while it runs.
struct Shop {
    files: Arc<Mutex<BTreeMap<String, Reply>>>,
    server: FakeServer,
}

impl Shop {
    fn empty() -> Self {
        Self::guarded(|_| true)
    }

    fn guarded(admits: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        let files = Arc::new(Mutex::new(BTreeMap::<String, Reply>::new()));
        let shown = Arc::clone(&files);
        let server = FakeServer::start(move |request| {
            if !admits(request) {
                return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
            }
            shown.lock().unwrap().get(&request.path).cloned().unwrap_or_else(|| Reply::status(404))
        });
        Self { files, server }
    }

    /// With the files of a directory, below `/charts/`.
    fn of(directory: &Path) -> Self {
        let shop = Self::empty();
        shop.stock(directory);
        shop
    }

    fn stock(&self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            self.put(&format!("/charts/{name}"), Reply::ok(std::fs::read(&path).unwrap()));
        }
    }

    fn put(&self, path: &str, reply: Reply) {
        self.files.lock().unwrap().insert(path.to_string(), reply);
    }

    /// An index of these archives: chart, version, address, digest.
    fn index(&self, entries: &[(&str, &str, &str, Option<String>)]) {
        let mut charts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (name, version, url, digest) in entries {
            let entry = json!({"apiVersion": "v2", "name": name, "version": version, "urls": [url], "digest": digest});
            charts.entry(name).or_default().push(entry);
        }
        let index = to_json(&json!({"apiVersion": "v1", "entries": charts}));
        self.put("/charts/index.yaml", Reply::ok(index));
    }

    fn url(&self) -> String {
        format!("{}/charts", self.server.url())
    }

    /// What was asked for, in order.
    fn asked(&self) -> Vec<String> {
        self.server.requests().into_iter().map(|request| request.path).collect()
    }

    fn count(&self, end: &str) -> usize {
        self.asked().iter().filter(|path| path.ends_with(end)).count()
    }
}

/// A repository with a few versions of a chart, indexed by the real `helm`.
fn shop(world: &World, helm: &Path, versions: &[&str]) -> Shop {
    for version in versions {
        package(world, helm, "fraud", version, "", "shop");
    }
    tool(helm, &["repo", "index", "shop"], world.dir());
    Shop::of(&world.path("shop"))
}

fn wants(world: &World, shop: &Shop, version: &str) {
    let url = shop.url();
    world.spec("1.0.0", 1, &format!("charts: [{{repo: \"{url}\", name: fraud, version: \"{version}\"}}]\n"));
}

fn lock(world: &World) -> Value {
    world.bundler(&["lock"]).ok();
    serde_json::from_slice(&std::fs::read(world.path("bundle.lock")).unwrap()).unwrap()
}

fn chart_of(lock: &Value) -> Value {
    lock["components"][0].clone()
}

/// `bundler lock` ends so, says this, and leaves no lock.
fn refuses(world: &World, exit: Exit, says: &[&str]) -> Ran {
    let ran = world.bundler(&["lock"]).expect_exit(exit);
    for word in says {
        assert!(ran.stderr.contains(word), "it does not say `{word}`: {}", ran.stderr);
    }
    assert!(!ran.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", ran.stderr);
    assert!(!world.path("bundle.lock").exists(), "there is a lock");
    ran
}

fn build(world: &World) -> Ran {
    let _ = std::fs::remove_file(world.path("b.tar"));
    world.bundler(&["build", "--out", "b.tar"])
}

fn blob(world: &World, digest: &Value) -> Vec<u8> {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    entries(&world.path("b.tar"))[&format!("blobs/sha256/{hex}")].clone()
}

/// The names of the files of a chart's archive.
fn inside(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(name, bytes);
    }
    found
}

// ---- classic repositories -----------------------------------------------------------------------------

#[test]
fn a_chart_of_a_repository_travels_as_it_is_and_the_range_is_read_as_helm_reads_it() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let all = ["0.9.0", "1.2.0", "1.2.9", "1.10.0", "1.11.0-rc.1", "2.0.0", "2.1.0+build.7"];
    let shop = shop(&world, &helm, &all);
    for range in [
        "^1",
        "1.2.x",
        "~1.2",
        "1.2",
        "1",
        "*",
        ">=1.2, <1.10",
        ">1.2",
        "<=1.2",
        "0.9 - 1.2",
        "!=2.1, <3",
        "1.10.0",
        "^1.10.0-0",
        "1.x || 0.x",
        "2.1.0+build.7",
        ">= 1.2 < 2.0.0-0",
    ] {
        wants(&world, &shop, range);
        let ours = chart_of(&lock(&world))["version"].as_str().unwrap().to_string();
        let url = shop.url();
        let shown = tool(&helm, &["show", "chart", "fraud", "--repo", &url, "--version", range], world.dir());
        let shown = String::from_utf8(shown.stdout).unwrap();
        let helms = shown.lines().find_map(|line| line.strip_prefix("version: ")).unwrap();
        assert_eq!(ours, helms, "{range}");
    }
    wants(&world, &shop, "^1");
    let chart = chart_of(&lock(&world));
    build(&world).ok();
    let original = std::fs::read(world.path("shop/fraud-1.10.0.tgz")).unwrap();
    assert_eq!(blob(&world, &chart["archive"]["digest"]), original);
    assert_eq!(chart["source"], shop.url());
    assert_eq!(chart["provenance"], Value::Null);
}

#[test]
fn a_second_lock_fetches_the_index_alone_and_a_build_nothing() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0"]);
    let url = shop.url();
    let more = format!(
        "charts:\n  - {{repo: \"{url}\", name: fraud, version: ^1}}\n  - {{repo: \"{url}/\", name: other, version: 1.x}}\n"
    );
    package(&world, &helm, "other", "1.0.0", "", "shop");
    tool(&helm, &["repo", "index", "shop"], world.dir());
    shop.stock(&world.path("shop"));
    world.spec("1.0.0", 1, &more);
    let first = lock(&world);
    assert_eq!((shop.count("index.yaml"), shop.count(".tgz")), (1, 2), "{:?}", shop.asked());
    let second = lock(&world);
    assert_eq!(first, second);
    assert_eq!((shop.count("index.yaml"), shop.count(".tgz")), (2, 2));
    let asked = shop.asked().len();
    build(&world).ok();
    assert_eq!(shop.asked().len(), asked);
}

#[test]
fn a_build_with_a_cold_cache_needs_the_server_and_names_what_it_cannot_have() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0"]);
    wants(&world, &shop, "^1");
    world.bundler(&["lock"]).ok();
    build(&world).ok();
    let once = std::fs::read(world.path("b.tar")).unwrap();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let before = shop.count("index.yaml");
    build(&world).ok();
    assert_eq!(std::fs::read(world.path("b.tar")).unwrap(), once);
    assert_eq!(shop.count("index.yaml"), before, "no name is looked up again");
    // Another archive under the same address is damage.
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(archive("fraud", "1.0.0", "")));
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let ran = build(&world).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("fraud-1.0.0.tgz"), "{}", ran.stderr);
    let address = format!("{}/fraud-1.0.0.tgz", shop.url());
    drop(shop);
    let ran = build(&world).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
    assert!(!world.path("b.tar").exists());
}

#[test]
fn what_a_repository_lacks_is_named_with_what_it_has() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0", "1.1.0", "1.2.0"]);
    wants(&world, &shop, "^2");
    refuses(
        &world,
        Exit::Unreachable,
        &["chart fraud in", "no version ^2", "1.2.0, 1.1.0, 1.0.0", &shop.url()],
    );
    let url = shop.url();
    world.spec("1.0.0", 1, &format!("charts: [{{repo: \"{url}\", name: fruad, version: ^1}}]\n"));
    refuses(&world, Exit::Unreachable, &["no chart `fruad`", "it has fraud", &url]);
    world.spec("1.0.0", 1, &format!("charts: [{{repo: \"{url}/none\", name: fraud, version: ^1}}]\n"));
    refuses(&world, Exit::Unreachable, &["index of a chart repository", "404"]);
}

#[test]
fn an_archive_that_is_not_what_the_index_says_is_damage() {
    let good = archive("fraud", "1.0.0", "");
    let digest = |bytes: &[u8]| Some(Digest::of(bytes).hex());
    let cut = good[..good.len() / 2].to_vec();
    let large = vec![0; (100 << 20) + 1];
    for (what, sent, stated, says) in [
        ("another archive", archive("fraud", "1.0.0", "description: x\n"), digest(&good), "came with digest"),
        (
            "another chart",
            archive("evil", "1.0.0", ""),
            digest(&archive("evil", "1.0.0", "")),
            "holds evil 1.0.0",
        ),
        (
            "another version",
            archive("fraud", "1.0.1", ""),
            digest(&archive("fraud", "1.0.1", "")),
            "fraud 1.0.1",
        ),
        ("a cut", cut.clone(), digest(&cut), "is not a Helm chart"),
        ("a page", b"<html>".to_vec(), digest(b"<html>"), "is not a Helm chart"),
        ("too much", large.clone(), digest(&large), "is larger than 104857600 bytes"),
        ("no digest of ours", good.clone(), Some("md5:00".to_string()), "no digest of sha256"),
    ] {
        let (world, shop) = (World::new(), Shop::empty());
        shop.index(&[("fraud", "1.0.0", "fraud-1.0.0.tgz", stated)]);
        shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(sent));
        wants(&world, &shop, "1.0.0");
        let ran = world.bundler(&["lock"]);
        assert_eq!(ran.exit, Exit::Damaged, "{what}: {ran:?}");
        assert!(ran.stderr.contains(says), "{what}: {}", ran.stderr);
    }
}

#[test]
fn a_missing_digest_is_said_and_locked() {
    let (world, shop) = (World::new(), Shop::empty());
    let bytes = archive("fraud", "1.0.0", "");
    shop.index(&[("fraud", "1.0.0", "fraud-1.0.0.tgz", None)]);
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(bytes.clone()));
    wants(&world, &shop, "1.0.0");
    let ran = world.bundler(&["lock"]).ok();
    assert!(ran.stderr.contains("states no digest for fraud-1.0.0.tgz"), "{}", ran.stderr);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(archive("fraud", "1.0.0", "description: y\n")));
    let _ = build(&world).expect_exit(Exit::Damaged);
}

#[test]
fn an_index_that_is_none_or_too_large_is_damage() {
    let (world, shop) = (World::new(), Shop::empty());
    wants(&world, &shop, "1.0.0");
    for (what, reply, says) in [
        ("a page", Reply::ok("<html></html>"), "is not the index"),
        ("no entries", Reply::ok("apiVersion: v1\n"), "is not the index"),
        ("no text", Reply::ok(vec![0xff, 0xfe]), "not UTF-8"),
        ("broken YAML", Reply::ok("entries: {a: [\n"), "is not the index"),
        ("an escape", Reply::ok("entries: \"\x1b[2J\"\n"), "is not the index"),
        ("too much", Reply::ok(vec![b'#'; (64 << 20) + 1]), "larger than 67108864 bytes"),
    ] {
        shop.put("/charts/index.yaml", reply);
        let ran = refuses(&world, Exit::Damaged, &[says]);
        assert!(!ran.stderr.contains('\u{1b}'), "{what}");
    }
    shop.put("/charts/index.yaml", Reply::ok("entries: {}").delivered(Delivery::CutAfter(4)));
    refuses(&world, Exit::Unreachable, &["index"]);
}

#[test]
fn an_absolute_address_is_followed_and_a_login_stays_at_home() {
    let bytes = archive("fraud", "1.0.0", "");
    let elsewhere = Shop::empty();
    elsewhere.put("/f/fraud-1.0.0.tgz", Reply::ok(bytes.clone()));
    let basic = "Basic Y2k6c2VzYW1l"; // ci:sesame
    let home = Shop::guarded(move |request| request.header("authorization") == Some(basic));
    let away = format!("{}/f/fraud-1.0.0.tgz", elsewhere.server.url());
    let digest = Some(Digest::of(&bytes).hex());
    let host = home.server.host();
    for (address, redirected) in [(away.as_str(), false), ("fraud-1.0.0.tgz", true)] {
        let world = World::new();
        home.index(&[("fraud", "1.0.0", address, digest.clone())]);
        if redirected {
            home.put("/charts/fraud-1.0.0.tgz", Reply::status(302).header("Location", away.clone()));
        }
        let spec =
            format!("charts: [{{repo: \"http://ci:sesame@{host}/charts\", name: fraud, version: ^1}}]\n");
        world.spec("1.0.0", 1, &spec);
        let said = world.bundler(&["-v", "lock"]).ok();
        std::fs::remove_dir_all(world.path("cache")).unwrap();
        let built = build(&world).ok();
        let written = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
        let archive = String::from_utf8_lossy(&std::fs::read(world.path("b.tar")).unwrap()).into_owned();
        for text in [&said.stderr, &said.stdout, &built.stderr, &built.stdout, &written, &archive] {
            assert!(!text.contains("sesame") && !text.contains("Y2k6c2VzYW1l"), "{text}");
        }
    }
    let requests = elsewhere.server.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_login_comes_from_the_address_a_password_file_or_netrc() {
    let bytes = archive("fraud", "1.0.0", "");
    let shop = Shop::guarded(|request| request.header("authorization") == Some("Basic Y2k6c2VzYW1l"));
    shop.index(&[("fraud", "1.0.0", "fraud-1.0.0.tgz", Some(Digest::of(&bytes).hex()))]);
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(bytes));
    let host = shop.server.host();
    let spec = |world: &World, user: &str, more: &str| {
        let repo = format!("http://{user}{host}/charts");
        world.spec("1.0.0", 1, &format!("charts: [{{repo: \"{repo}\", name: fraud, version: ^1{more}}}]\n"));
    };
    let world = World::new();
    spec(&world, "", "");
    refuses(&world, Exit::Unreachable, &["wants a login", "hint:", "netrc"]);
    spec(&world, "ci:wrong@", "");
    let ran = refuses(&world, Exit::Unreachable, &["wants a login"]);
    assert!(!ran.stderr.contains("wrong"), "{}", ran.stderr);
    spec(&world, "ci@", ", passwordFile: secret");
    let secret = world.write("secret", "sesame\n");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    refuses(&world, Exit::Usage, &["open to others", "chmod 600"]);
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    lock(&world);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    build(&world).ok();
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    spec(&world, "", ", passwordFile: secret");
    refuses(&world, Exit::Usage, &["passwordFile"]);
    let netrc = World::new();
    spec(&netrc, "", "");
    netrc.write("home/.netrc", "machine 127.0.0.1 login ci password sesame\n");
    lock(&netrc);
}

/// Serves a directory over TLS, and says on which port.
const TLS_SERVER: &str = r#"
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn the_certificates_of_a_registry_count_for_the_repository_of_that_host() {
    let (Some(helm), Some(python)) = (real_part("helm"), real_part("python3")) else { return };
    let world = World::new();
    std::fs::create_dir(world.path("tls")).unwrap();
    let Some(certificates) = Certificates::make(&world.path("tls")) else { return };
    drop(shop(&world, &helm, &["1.0.0"]));
    let mut server = Command::new(python)
        .args(["-c", TLS_SERVER])
        .args([&certificates.certificate, &certificates.key])
        .current_dir(world.path("shop"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let _running = Running(server);
    let host = format!("127.0.0.1:{}", port.trim());
    let chart = format!("charts: [{{repo: \"https://{host}/\", name: fraud, version: ^1}}]\n");
    world.spec("1.0.0", 1, &chart);
    refuses(&world, Exit::Unreachable, &["no trusted TLS connection"]);
    world.spec("1.0.0", 1, &format!("{chart}registries: {{\"{host}\": {{ca: tls/ca.pem}}}}\n"));
    lock(&world);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    build(&world).ok();
}

#[test]
fn a_repository_is_asked_without_encryption_only_where_somebody_says_so() {
    let world = World::new();
    let spec = |more: &str| {
        let chart = "charts: [{repo: \"http://charts.invalid/c\", name: fraud, version: ^1}]\n";
        world.spec("1.0.0", 1, &format!("{chart}{more}"));
    };
    spec("");
    refuses(&world, Exit::Usage, &["http://charts.invalid/c/index.yaml", "not encrypted", "insecure"]);
    spec("registries: {charts.invalid: {insecure: true}}\n");
    refuses(&world, Exit::Unreachable, &["charts.invalid"]);
    // The index names it.
    let shop = Shop::empty();
    shop.index(&[("fraud", "1.0.0", "http://files.invalid/fraud-1.0.0.tgz", Some(Digest::of(b"x").hex()))]);
    wants(&world, &shop, "^1");
    refuses(&world, Exit::Usage, &["http://files.invalid/fraud-1.0.0.tgz", "not encrypted"]);
}

// ---- registries ---------------------------------------------------------------------------------------

/// Pushes an archive, with the provenance beside it, as a person would.
fn push(world: &World, helm: &Path, archive: &Path, to: &str, more: &[&str]) {
    let arguments = [&["push", archive.to_str().unwrap(), to][..], more].concat();
    tool(helm, &arguments, world.dir());
}

#[test]
fn a_chart_of_a_registry_keeps_its_manifest_and_comes_to_the_site_with_it() {
    let Some(helm) = real_part("helm") else { return };
    let Some(real) = RealRegistry::start(RealRegistryOptions::default()) else { return };
    let world = World::new();
    let keys = keys(&world);
    for version in ["1.0.0", "1.4.0+build.2", "2.0.0"] {
        let archive = package(&world, &helm, "fraud", version, "", "out");
        if let Some(keys) = keys.as_ref().filter(|_| version != "2.0.0") {
            sign(&world, &helm, keys, &format!("made/fraud-{version}/fraud"), "out");
        }
        push(&world, &helm, &archive, &format!("oci://{}/team", real.host()), &["--plain-http"]);
    }
    let place = repository_at(&real.url(), "team/fraud");
    let raw = place.get_manifest(&"1.4.0_build.2".parse().unwrap()).unwrap();
    for source in [
        format!("{{source: \"oci://{}/team/fraud\", version: ^1}}", real.host()),
        format!("{{source: \"oci://{}/team/fraud:1.4.0+build.2\"}}", real.host()),
        format!("{{source: \"oci://{}/team/fraud\", version: 1.4.0+build.2}}", real.host()),
        format!("{{source: \"oci://{}/team/fraud@{}\"}}", real.host(), raw.digest),
    ] {
        world.spec("1.0.0", 1, &format!("charts: [{source}]\n"));
        let chart = chart_of(&lock(&world));
        assert_eq!(chart["manifest"]["digest"], raw.digest.to_string(), "{source}");
        assert_eq!(chart["version"], "1.4.0+build.2");
        assert_eq!(chart["provenance"].is_null(), keys.is_none());
    }
    if keys.is_some() {
        let source = format!("oci://{}/team/fraud", real.host());
        let verify = "verify: {keyring: gnupg/public.gpg}";
        world.spec("1.0.0", 1, &format!("charts: [{{source: \"{source}\", version: 1.0.0, {verify}}}]\n"));
        assert_eq!(chart_of(&lock(&world))["upstream_signature"]["signer"], OWNER);
        world.spec("1.0.0", 1, &format!("charts: [{{source: \"{source}\", version: 2.0.0, {verify}}}]\n"));
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Refused);
        assert!(ran.stderr.contains("has no provenance file"), "{}", ran.stderr);
        world.spec("1.0.0", 1, &format!("charts: [{{source: \"{source}:1.4.0+build.2\"}}]\n"));
        lock(&world);
    }
    world.trust();
    let site = RealRegistry::start(RealRegistryOptions::default()).unwrap();
    let head = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets:\n";
    world.write("site/site.yaml", format!("{head}  registry: {{url: \"{}\", prefix: mirror}}\n", site.url()));
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "c.tar"]).ok();
    world.installer(&["apply", "c.tar", "--yes"]).ok();
    let pushed = repository_at(&site.url(), "mirror/charts/fraud");
    assert_eq!(pushed.get_manifest(&"1.4.0_build.2".parse().unwrap()).unwrap().bytes, raw.bytes);
    let from = format!("oci://{}/mirror/charts/fraud", site.host());
    let mut arguments =
        vec!["pull", &from, "--version", "1.4.0+build.2", "--plain-http", "--destination", "."];
    if keys.is_some() {
        arguments.push("--prov");
    }
    tool(&helm, &arguments, world.dir());
    let original = world.path("out/fraud-1.4.0+build.2.tgz");
    assert_eq!(
        std::fs::read(world.path("fraud-1.4.0+build.2.tgz")).unwrap(),
        std::fs::read(&original).unwrap()
    );
    if keys.is_some() {
        let provenance = |path: &str| std::fs::read(world.path(path)).unwrap();
        assert_eq!(
            provenance("fraud-1.4.0+build.2.tgz.prov"),
            provenance("out/fraud-1.4.0+build.2.tgz.prov")
        );
    }
    let inspected = world.installer(&["inspect", "c.tar"]).ok();
    assert!(keys.is_none() || inspected.stdout.contains("+provenance"), "{}", inspected.stdout);
}

#[test]
fn a_registry_behind_tls_and_a_password_is_reached_as_for_images() {
    let Some(helm) = real_part("helm") else { return };
    let options = RealRegistryOptions { tls: true, htpasswd: true, ..RealRegistryOptions::default() };
    let Some(real) = RealRegistry::start(options) else { return };
    let mut world = World::new();
    let archive = package(&world, &helm, "fraud", "1.0.0", "", "out");
    let ca = real.ca_path();
    let login = ["--ca-file", ca.to_str().unwrap(), "--username", REAL_USER, "--password", REAL_PASSWORD];
    push(&world, &helm, &archive, &format!("oci://{}/team", real.host()), &login);
    world.write("ca.pem", real.ca_pem().unwrap());
    let chart = format!("charts: [{{source: \"oci://{}/team/fraud:1.0.0\"}}]\n", real.host());
    world.spec("1.0.0", 1, &format!("{chart}registries: {{\"{}\": {{ca: ca.pem}}}}\n", real.host()));
    refuses(&world, Exit::Unreachable, &["oci://", "asks for a login", "docker login"]);
    // `airlock:hunter2`
    let auth = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"YWlybG9jazpodW50ZXIy\"}}}}}}", real.host());
    let auth = world.write("auth.json", auth);
    world.vars.insert("REGISTRY_AUTH_FILE".into(), auth.into());
    lock(&world);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let built = build(&world).ok();
    assert!(!format!("{built:?}").contains(REAL_PASSWORD));
    let written = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
    assert!(
        written.contains(&format!("https://{}", real.host())) && !written.contains("YWlybG9jazpodW50ZXIy")
    );
}

/// Puts a chart's artifact into a fake registry.
fn store(
    registry: &FakeRegistry,
    tag: &str,
    config: &[u8],
    config_type: &str,
    layers: &[(&str, &[u8])],
) -> Digest {
    let mut list = Vec::new();
    registry.store_blob("team/fraud", config);
    for (media_type, bytes) in layers {
        registry.store_blob("team/fraud", bytes);
        list.push(manifests::Descriptor::of(media_type, bytes));
    }
    let manifest = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST,
        "config": manifests::Descriptor::of(config_type, config), "layers": list,
    }));
    registry.store_manifest("team/fraud", tag, MEDIA_MANIFEST, &manifest)
}

fn from_registry(world: &World, registry: &FakeRegistry, version: &str) {
    let source = format!("oci://{}/team/fraud", registry.host());
    world.spec("1.0.0", 1, &format!("charts: [{{source: \"{source}\", version: \"{version}\"}}]\n"));
}

#[test]
fn what_is_no_chart_or_another_one_is_refused_by_name() {
    let good = archive("fraud", "1.0.0", "");
    let config = br#"{"name":"fraud","version":"1.0.0"}"#.as_slice();
    let image = "application/vnd.oci.image.config.v1+json";
    for (what, config, kind, layers, says) in [
        (
            "an image",
            config,
            image,
            vec![(MEDIA_HELM_CHART, good.as_slice())],
            "its configuration is `application/vnd.oci.image",
        ),
        ("no archive", config, MEDIA_HELM_CONFIG, vec![], "no layer with an archive"),
        (
            "two archives",
            config,
            MEDIA_HELM_CONFIG,
            vec![(MEDIA_HELM_CHART, good.as_slice()), (MEDIA_HELM_CHART, b"x")],
            "two layers",
        ),
        (
            "more",
            config,
            MEDIA_HELM_CONFIG,
            vec![(MEDIA_HELM_CHART, good.as_slice()), ("text/x", b"x")],
            "a layer `text/x`",
        ),
        (
            "another version",
            config,
            MEDIA_HELM_CONFIG,
            vec![(MEDIA_HELM_CHART, &archive("fraud", "1.0.1", ""))],
            "holds fraud 1.0.1",
        ),
        (
            "another name",
            br#"{"name":"evil","version":"1.0.0"}"#,
            MEDIA_HELM_CONFIG,
            vec![(MEDIA_HELM_CHART, good.as_slice())],
            "its configuration says evil 1.0.0",
        ),
        ("no chart", config, MEDIA_HELM_CONFIG, vec![(MEDIA_HELM_CHART, b"junk")], "is not a Helm chart"),
        (
            "no provenance",
            config,
            MEDIA_HELM_CONFIG,
            vec![(MEDIA_HELM_CHART, good.as_slice()), (MEDIA_HELM_PROVENANCE, b"junk")],
            "not a clear-signed text",
        ),
    ] {
        let (world, registry) = (World::new(), FakeRegistry::start());
        store(&registry, "1.0.0", config, kind, &layers);
        from_registry(&world, &registry, "1.0.0");
        let ran = world.bundler(&["lock"]);
        assert_eq!(ran.exit, Exit::Damaged, "{what}: {ran:?}");
        assert!(ran.stderr.contains(says), "{what}: {}", ran.stderr);
    }
}

#[test]
fn a_version_that_the_registry_lacks_is_named_with_those_it_has() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    for version in ["1.0.0", "1.1.0_b"] {
        store(&registry, version, b"{}", MEDIA_HELM_CONFIG, &[(MEDIA_HELM_CHART, b"x")]);
    }
    store(&registry, "latest", b"{}", MEDIA_HELM_CONFIG, &[(MEDIA_HELM_CHART, b"x")]);
    for version in ["2.0.0", "^2"] {
        from_registry(&world, &registry, version);
        refuses(&world, Exit::Unreachable, &["oci://", "no version", "1.1.0+b, 1.0.0"]);
    }
}

#[test]
fn what_lies_beside_a_chart_in_its_registry_travels_with_it() {
    let registry = FakeRegistry::start();
    let good = archive("fraud", "1.0.0", "");
    let config = br#"{"name":"fraud","version":"1.0.0"}"#;
    let manifest = store(&registry, "1.0.0", config, MEDIA_HELM_CONFIG, &[(MEDIA_HELM_CHART, &good)]);
    let signature = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST,
        "config": manifests::Descriptor::of(manifests::oci::MEDIA_CONFIG, b"{}"),
        "layers": [manifests::Descriptor::of(manifests::companion::MEDIA_SIMPLE_SIGNING, b"signed text")],
    }));
    for bytes in [b"{}".as_slice(), b"signed text"] {
        registry.store_blob("team/fraud", bytes);
    }
    let tag = format!("sha256-{}.sig", manifest.hex());
    registry.store_manifest("team/fraud", &tag, MEDIA_MANIFEST, &signature);
    let world = World::new();
    from_registry(&world, &registry, "1.0.0");
    let chart = chart_of(&lock(&world));
    assert_eq!(chart["companions"][0]["tag"], tag);
    world.trust();
    let site = FakeRegistry::start();
    let head = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets:\n";
    world.write("site/site.yaml", format!("{head}  registry: {{url: \"{}\"}}\n", site.url()));
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    // The reader of the format's page takes it as well.
    if let Some(python) = real_part("python3") {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, reader) = page.split_once("```python file=reader.py\n").unwrap();
        world.write("reader.py", reader.split_once("\n```\n").unwrap().0);
        tool(python, &["reader.py", "b.tar", "keys/rel.pub.pem"], world.dir());
    }
    let listed = world.bundler(&["inspect", "b.tar"]).ok();
    assert!(listed.stdout.contains(&format!("charts/fraud:{tag}")), "{}", listed.stdout);
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    assert_eq!(site.manifest("charts/fraud", &tag).unwrap().1, signature);
}

// ---- provenance ---------------------------------------------------------------------------------------

/// A throw-away OpenPGP key in the two files that Helm reads.
struct Keys {
    secret: PathBuf,
}

const OWNER: &str = "Airlock Test <test@example.com>";

fn keys(world: &World) -> Option<Keys> {
    keys_of(world, OWNER, "gnupg")
}

fn keys_of(world: &World, owner: &str, home: &str) -> Option<Keys> {
    let gpg = real_part("gpg")?;
    // The agent's socket needs a short path.
    let home_dir = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home_dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&gpg);
        command.env("GNUPGHOME", home_dir.path()).args([
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&["--quick-gen-key", owner, "rsa2048", "sign", "never"]);
    world.write(&format!("{home}/public.gpg"), run(&["--export"]));
    let secret = world.write(&format!("{home}/secret.gpg"), run(&["--export-secret-keys"]));
    let _ = Command::new("gpgconf").env("GNUPGHOME", home_dir.path()).args(["--kill", "all"]).status();
    Some(Keys { secret })
}

/// Packs and signs a chart's directory.
fn sign(world: &World, helm: &Path, keys: &Keys, directory: &str, into: &str) {
    let secret = keys.secret.to_str().unwrap();
    let sign = [
        "package",
        directory,
        "--destination",
        into,
        "--sign",
        "--key",
        "test@example.com",
        "--keyring",
        secret,
    ];
    tool(helm, &sign, world.dir());
}

/// A signed chart `fraud` 1.0.0 in `shop/`, indexed.
fn signed_shop(world: &World) -> Option<(PathBuf, Keys, Shop)> {
    let helm = real_part("helm")?;
    let keys = keys(world)?;
    write_chart(world, "made/fraud", "fraud", "1.0.0", "");
    std::fs::create_dir_all(world.path("shop")).unwrap();
    sign(world, &helm, &keys, "made/fraud", "shop");
    tool(&helm, &["repo", "index", "shop"], world.dir());
    let shop = Shop::of(&world.path("shop"));
    Some((helm, keys, shop))
}

#[test]
fn provenance_is_kept_from_a_repository_and_a_file_and_checked_with_the_keyring() {
    let world = World::new();
    let Some((helm, _, shop)) = signed_shop(&world) else { return };
    let provenance = std::fs::read(world.path("shop/fraud-1.0.0.tgz.prov")).unwrap();
    let repo = format!("repo: \"{}\", name: fraud, version: 1.0.0", shop.url());
    for place in [repo.as_str(), "source: shop/fraud-1.0.0.tgz"] {
        for verify in ["", ", verify: {keyring: gnupg/public.gpg}"] {
            world.spec("1.0.0", 1, &format!("charts: [{{{place}{verify}}}]\n"));
            let said = world.bundler(&["lock"]).ok();
            let chart = chart_of(&lock(&world));
            assert_eq!(chart["provenance"]["digest"], Digest::of(&provenance).to_string());
            let signature = &chart["upstream_signature"];
            assert_eq!(signature.is_null(), verify.is_empty());
            if !verify.is_empty() {
                assert_eq!(signature["signer"], OWNER);
                assert_eq!(signature["fingerprint"].as_str().unwrap().len(), 40);
                assert!(said.stderr.contains("signed by Airlock Test"), "{}", said.stderr);
            }
        }
    }
    build(&world).ok();
    let chart = chart_of(&lock(&world));
    assert_eq!(blob(&world, &chart["provenance"]["digest"]), provenance);
    let manifest: Value = serde_json::from_slice(&blob(&world, &chart["manifest"]["digest"])).unwrap();
    assert_eq!(manifest["layers"][1]["mediaType"], MEDIA_HELM_PROVENANCE);
    // On site: Helm itself checks it.
    world.trust();
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "c.tar"]).ok();
    world.installer(&["apply", "c.tar", "--yes"]).ok();
    let (_running, url) = served(&world);
    let url = format!("{url}/charts");
    let keyring = world.path("gnupg/public.gpg");
    let pull =
        ["pull", "fraud", "--repo", &url, "--version", "1.0.0", "--prov", "--destination", "site-copy"];
    std::fs::create_dir(world.path("site-copy")).unwrap();
    tool(&helm, &pull, world.dir());
    assert_eq!(std::fs::read(world.path("site-copy/fraud-1.0.0.tgz.prov")).unwrap(), provenance);
    let verify = ["verify", "site-copy/fraud-1.0.0.tgz", "--keyring", keyring.to_str().unwrap()];
    tool(&helm, &verify, world.dir());
}

/// `installer serve` as a process of its own, and its `http://127.0.0.1:PORT`.
fn served(world: &World) -> (Running, String) {
    let mut command = installer(world, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let running = Running(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("serving ").and_then(|url| url.strip_suffix('/'));
    (running, url.unwrap_or_else(|| panic!("{line}")).to_string())
}

#[test]
fn a_chart_that_is_not_signed_by_whom_it_must_be_is_refused_and_nothing_is_written() {
    let world = World::new();
    let Some((helm, _, shop)) = signed_shop(&world) else { return };
    keys_of(&world, "Somebody Else <else@example.com>", "other").unwrap();
    let spec = |place: &str, ring: &str| {
        world.spec("1.0.0", 1, &format!("charts: [{{{place}, verify: {{keyring: {ring}}}}}]\n"));
    };
    let repo = format!("repo: \"{}\", name: fraud, version: 1.0.0", shop.url());
    spec(&repo, "other/public.gpg");
    refuses(&world, Exit::Refused, &["does not hold", "other/public.gpg", "hint:"]);
    spec(&repo, "none.gpg");
    refuses(&world, Exit::Unreachable, &["cannot read none.gpg"]);
    shop.files.lock().unwrap().remove("/charts/fraud-1.0.0.tgz.prov");
    spec(&repo, "gnupg/public.gpg");
    refuses(&world, Exit::Refused, &["has no provenance file"]);
    spec("source: made/fraud", "gnupg/public.gpg");
    refuses(&world, Exit::Refused, &["has no provenance file"]);
    // A page for everything that is missing.
    shop.put("/charts/fraud-1.0.0.tgz.prov", Reply::ok("<html>not here</html>"));
    spec(&repo, "gnupg/public.gpg");
    refuses(&world, Exit::Refused, &["has no provenance file"]);
    world.spec("1.0.0", 1, &format!("charts: [{{{repo}}}]\n"));
    let said = world.bundler(&["lock"]).ok();
    assert!(said.stderr.contains("gave something else"), "{}", said.stderr);
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    // The text was changed after it was signed.
    let provenance = std::fs::read_to_string(world.path("shop/fraud-1.0.0.tgz.prov")).unwrap();
    let changed = provenance.replace("name: fraud", "name:  fraud");
    world.write("shop/fraud-1.0.0.tgz.prov", changed);
    spec("source: shop/fraud-1.0.0.tgz", "gnupg/public.gpg");
    refuses(&world, Exit::Refused, &["does not hold"]);
    // The provenance of another archive.
    write_chart(&world, "made/fraud", "fraud", "1.0.0", "description: another\n");
    tool(&helm, &["package", "made/fraud", "--destination", "shop"], world.dir());
    world.write("shop/fraud-1.0.0.tgz.prov", &provenance);
    for more in ["", ", verify: {keyring: gnupg/public.gpg}"] {
        world.spec("1.0.0", 1, &format!("charts: [{{source: shop/fraud-1.0.0.tgz{more}}}]\n"));
        refuses(&world, Exit::Damaged, &["the provenance file of shop/fraud-1.0.0.tgz", "which has sha256:"]);
    }
}

#[test]
fn a_check_without_helm_says_what_is_missing() {
    let mut world = World::new();
    world.write("fraud.tgz", archive("fraud", "1.0.0", ""));
    let digest = Digest::of(&archive("fraud", "1.0.0", ""));
    world.write("fraud.tgz.prov", format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: fraud\n\n...\nfiles:\n  fraud-1.0.0.tgz: {digest}\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"));
    world.write("ring.gpg", "x");
    world.spec("1.0.0", 1, "charts: [{source: fraud.tgz, verify: {keyring: ring.gpg}}]\n");
    world.vars.insert("AIRLOCK_HELM".into(), "/no/such/helm".into());
    refuses(&world, Exit::Unreachable, &["cannot run helm", "AIRLOCK_HELM"]);
}

// ---- dependencies -------------------------------------------------------------------------------------

/// What `umbrella` needs, from a repository, a registry and a directory.
fn umbrella(world: &World, shop: &Shop, registry: Option<&RealRegistry>) {
    let mut needs = format!(
        "dependencies:\n  - {{name: fraud, version: ^1, repository: \"{0}\"}}\n  - {{name: fraud, version: ^1, repository: \"{0}\", alias: second, condition: second.on}}\n  - {{name: local, version: \">=0.1.0\", repository: \"file://../local\", tags: [x]}}\n",
        shop.url()
    );
    if let Some(registry) = registry {
        needs.push_str(&format!(
            "  - {{name: cache, version: 3.x, repository: \"oci://{}/team\"}}\n",
            registry.host()
        ));
    }
    write_chart(world, "charts/umbrella", "umbrella", "1.0.0", &needs);
    write_chart(world, "charts/local", "local", "0.2.0", "");
    world.spec("1.0.0", 1, "charts: [{source: charts/umbrella, release: u}]\n");
}

#[test]
fn a_directory_is_packed_with_the_dependencies_that_helm_would_fetch() {
    let Some(helm) = real_part("helm") else { return };
    let Some(real) = RealRegistry::start(RealRegistryOptions::default()) else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0", "1.2.0", "2.0.0"]);
    for version in ["3.0.0", "3.1.0"] {
        let archive = package(&world, &helm, "cache", version, "", "out");
        push(&world, &helm, &archive, &format!("oci://{}/team", real.host()), &["--plain-http"]);
    }
    umbrella(&world, &shop, Some(&real));
    let first = lock(&world);
    let before = shop.count(".tgz");
    assert_eq!(lock(&world), first);
    assert_eq!(shop.count(".tgz"), before, "a second lock fetches no archive");
    build(&world).ok();
    let chart = chart_of(&first);
    let ours = inside(&blob(&world, &chart["archive"]["digest"]));
    let named = |files: &BTreeMap<String, Vec<u8>>| -> BTreeSet<String> {
        files.keys().filter(|name| name.contains("/charts/")).cloned().collect()
    };
    let expected =
        ["cache-3.1.0", "fraud-1.2.0", "local-0.2.0"].map(|name| format!("umbrella/charts/{name}.tgz"));
    assert_eq!(named(&ours), BTreeSet::from(expected));
    let listed: Vec<String> = chart["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["name"].as_str().unwrap(),
                one["version"].as_str().unwrap(),
                one["source"].as_str().unwrap()
            )
        })
        .collect();
    let from = [
        format!("cache 3.1.0 oci://{}/team", real.host()),
        format!("fraud 1.2.0 {}", shop.url()),
        "local 0.2.0 file://../local".to_string(),
    ];
    assert_eq!(listed, from);
    assert_eq!(
        ours["umbrella/charts/fraud-1.2.0.tgz"],
        std::fs::read(world.path("shop/fraud-1.2.0.tgz")).unwrap()
    );
    // Helm finds the same set, and renders ours.
    std::fs::write(world.path("ours.tgz"), blob(&world, &chart["archive"]["digest"])).unwrap();
    let rendered = tool(&helm, &["template", "u", "ours.tgz", "--set", "second.on=true"], world.dir());
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    for name in ["umbrella-map", "fraud-map", "local-map", "cache-map"] {
        assert!(rendered.contains(name), "{name}: {rendered}");
    }
    tool(&helm, &["dependency", "update", "charts/umbrella", "--plain-http"], world.dir());
    let mut helms = BTreeMap::new();
    for entry in std::fs::read_dir(world.path("charts/umbrella/charts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        helms.insert(format!("umbrella/charts/{name}"), std::fs::read(&path).unwrap());
    }
    assert_eq!(named(&ours), named(&helms));
    for name in named(&helms).iter().filter(|name| !name.contains("local")) {
        assert_eq!(ours[name], helms[name], "{name}");
    }
    // Now they are vendored, and said to be.
    let chart = chart_of(&lock(&world));
    assert!(chart["dependencies"].as_array().unwrap().iter().all(|one| one["source"] == "vendored"));
}

#[test]
fn a_chart_is_packed_again_elsewhere_without_looking_at_a_name() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0"]);
    umbrella(&world, &shop, None);
    lock(&world);
    build(&world).ok();
    let once = std::fs::read(world.path("b.tar")).unwrap();
    // A newer version and a cold cache change nothing.
    package(&world, &helm, "fraud", "1.9.0", "", "shop");
    tool(&helm, &["repo", "index", "shop"], world.dir());
    shop.stock(&world.path("shop"));
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let indexes = shop.count("index.yaml");
    build(&world).ok();
    assert!(std::fs::read(world.path("b.tar")).unwrap() == once);
    assert_eq!(shop.count("index.yaml"), indexes);
    // Without the server: what is there is enough, and what is not is named.
    let address = format!("{}/fraud-1.0.0.tgz", shop.url());
    drop(shop);
    build(&world).ok();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let ran = build(&world).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
}

#[test]
fn chart_lock_decides_the_versions_and_must_fit() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    let shop = shop(&world, &helm, &["1.0.0"]);
    let needs = |range: &str| {
        format!("dependencies: [{{name: fraud, version: \"{range}\", repository: \"{}\"}}]\n", shop.url())
    };
    write_chart(&world, "umbrella", "umbrella", "1.0.0", &needs("^1"));
    tool(&helm, &["dependency", "update", "umbrella"], world.dir());
    std::fs::remove_dir_all(world.path("umbrella/charts")).unwrap();
    package(&world, &helm, "fraud", "1.5.0", "", "shop");
    tool(&helm, &["repo", "index", "shop"], world.dir());
    shop.stock(&world.path("shop"));
    world.spec("1.0.0", 1, "charts: [{source: umbrella}]\n");
    assert_eq!(chart_of(&lock(&world))["dependencies"][0]["version"], "1.0.0");
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    // `helm dependency build` says the same of it.
    write_chart(&world, "umbrella", "umbrella", "1.0.0", &needs("^1.2"));
    refuses(
        &world,
        Exit::Usage,
        &["Chart.lock of chart umbrella does not fit", "`fraud`", "helm dependency update"],
    );
    write_chart(&world, "umbrella", "umbrella", "1.0.0", "");
    lock(&world);
    std::fs::remove_file(world.path("umbrella/Chart.lock")).unwrap();
    write_chart(&world, "umbrella", "umbrella", "1.0.0", &needs("^1.2"));
    assert_eq!(chart_of(&lock(&world))["dependencies"][0]["version"], "1.5.0");
}

#[test]
fn a_dependency_that_cannot_be_had_is_named_with_its_chart() {
    let (world, shop) = (World::new(), Shop::empty());
    let nested = "dependencies: [{name: deeper, version: 1.x, repository: \"https://charts.invalid\"}]\n";
    let (good, needy) = (archive("fraud", "1.0.0", ""), archive("needy", "1.0.0", nested));
    shop.index(&[
        ("fraud", "1.0.0", "fraud-1.0.0.tgz", Some(Digest::of(&good).hex())),
        ("needy", "1.0.0", "needy-1.0.0.tgz", Some(Digest::of(&needy).hex())),
        ("other", "1.0.0", "fraud-1.0.0.tgz", Some(Digest::of(&good).hex())),
    ]);
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(good.clone()));
    shop.put("/charts/needy-1.0.0.tgz", Reply::ok(needy));
    write_chart(&world, "local", "local", "0.2.0", "");
    world.spec("1.0.0", 1, "charts: [{source: umbrella}]\n");
    let url = shop.url();
    let secret = url.replace("http://", "http://ci:sesame@");
    for (needs, exit, says) in [
        (
            format!("name: fraud, version: ^2, repository: \"{url}\""),
            Exit::Unreachable,
            "no version ^2; it has 1.0.0",
        ),
        (format!("name: fruad, version: ^1, repository: \"{url}\""), Exit::Unreachable, "no chart `fruad`"),
        (
            format!("name: needy, version: ^1, repository: \"{url}\""),
            Exit::Unreachable,
            "depends on `deeper`",
        ),
        (
            format!("name: other, version: ^1, repository: \"{url}\""),
            Exit::Damaged,
            "holds fraud 1.0.0, and other 1.0.0",
        ),
        (format!("name: fraud, version: latest, repository: \"{url}\""), Exit::Usage, "neither a version"),
        (
            format!("name: fraud, version: ^1, repository: \"{secret}\""),
            Exit::Usage,
            "a login in the address",
        ),
        (
            "name: fraud, version: ^1, repository: \"@stable\"".to_string(),
            Exit::Usage,
            "`@stable`, a name that only",
        ),
        ("name: fraud, version: ^1, repository: \"alias:stable\"".to_string(), Exit::Usage, "`alias:stable`"),
        (
            "name: fraud, version: ^1, repository: \"s3://bucket\"".to_string(),
            Exit::Usage,
            "`s3://bucket`, which is neither",
        ),
        (
            "name: fraud, version: ^1".to_string(),
            Exit::Unreachable,
            "depends on `fraud`, which is not in its charts/",
        ),
        (
            "name: local, version: ^1, repository: \"file://../local\"".to_string(),
            Exit::Unreachable,
            "no version ^1; it has 0.2.0",
        ),
        ("name: local, version: ^1, repository: \"file://../none\"".to_string(), Exit::Unreachable, "none"),
        (
            "name: ../evil, version: ^1, repository: \"https://h\"".to_string(),
            Exit::Usage,
            "is not a file name",
        ),
        (
            "name: fraud, version: ^1, repository: \"http://charts.invalid\"".to_string(),
            Exit::Usage,
            "not encrypted",
        ),
    ] {
        write_chart(&world, "umbrella", "umbrella", "1.0.0", &format!("dependencies: [{{{needs}}}]\n"));
        let ran = refuses(&world, exit, &[says, "umbrella"]);
        assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    }
    // In another version than is asked for.
    world.write("umbrella/charts/fraud-1.0.0.tgz", good);
    write_chart(
        &world,
        "umbrella",
        "umbrella",
        "1.0.0",
        "dependencies: [{name: fraud, version: ^2, repository: \"https://h\"}]\n",
    );
    refuses(&world, Exit::Usage, &["has fraud 1.0.0 in its charts/", "asks for ^2"]);
}

#[test]
fn an_archive_that_lacks_what_it_needs_is_not_changed_but_refused() {
    let (world, shop) = (World::new(), Shop::empty());
    let needs = "dependencies:\n  - {name: base, version: 1.x, repository: \"https://charts.invalid\"}\n  - {name: more, version: 1.x}\n";
    let bytes = archive("fraud", "1.0.0", needs);
    shop.index(&[("fraud", "1.0.0", "fraud-1.0.0.tgz", Some(Digest::of(&bytes).hex()))]);
    shop.put("/charts/fraud-1.0.0.tgz", Reply::ok(bytes.clone()));
    wants(&world, &shop, "^1");
    refuses(&world, Exit::Unreachable, &["chart fraud depends on `base`, `more`, which are not"]);
    world.write("fraud.tgz", bytes);
    world.spec("1.0.0", 1, "charts: [{source: fraud.tgz}]\n");
    refuses(&world, Exit::Unreachable, &["`base`, `more`"]);
    // As charts for Helm 2 say it.
    let old = gzip(&tar_of(&[
        ("fraud/Chart.yaml", "apiVersion: v1\nname: fraud\nversion: 1.0.0\n"),
        ("fraud/requirements.yaml", "dependencies: [{name: older, version: 1.x}]\n"),
    ]));
    world.write("fraud.tgz", old);
    refuses(&world, Exit::Unreachable, &["depends on `older`"]);
}

#[test]
fn what_is_vendored_is_listed_however_it_lies_there() {
    let world = World::new();
    let yaml = |name: &str, needs: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n{needs}");
    let base = archive("base", "1.2.0", "");
    let needs = "dependencies: [{name: base, version: 1.x}, {name: unpacked, version: \"*\"}]\n";
    let deep = "dependencies: [{name: absent, version: 1.x}]\n";
    let packed = gzip(&tar_of(&[
        ("fraud/Chart.yaml", yaml("fraud", needs).into_bytes()),
        ("fraud/charts/base-1.2.0.tgz", base.clone()),
        ("fraud/charts/unpacked/Chart.yaml", yaml("unpacked", deep).into_bytes()),
        ("fraud/charts/unpacked/charts/inner/Chart.yaml", yaml("inner", "").into_bytes()),
        ("fraud/charts/_hidden.tgz", b"not looked at".to_vec()),
        ("fraud/charts/README.md", b"text".to_vec()),
    ]));
    world.write("fraud.tgz", packed);
    world.spec("1.0.0", 1, "charts: [{source: fraud.tgz}]\n");
    let said = world.bundler(&["lock"]).ok();
    assert!(said.stderr.contains("the chart unpacked in it depends on `absent`"), "{}", said.stderr);
    let expected = json!([
        {"name": "base", "version": "1.2.0", "source": "vendored", "digest": Digest::of(&base)},
        {"name": "unpacked", "version": "1.0.0", "source": "vendored"},
    ]);
    assert_eq!(chart_of(&lock(&world))["dependencies"], expected);
    // Hostile ones are hostile inside as well.
    for (what, name, inner) in [
        ("no chart", "fraud/charts/base-1.2.0.tgz", b"junk".to_vec()),
        (
            "a path",
            "fraud/charts/base-1.2.0.tgz",
            gzip(&tar_of(&[("base/Chart.yaml", yaml("base", "")), ("x\\..\\y", "x".into())])),
        ),
    ] {
        let outer = gzip(&tar_of(&[("fraud/Chart.yaml", yaml("fraud", "").into_bytes()), (name, inner)]));
        world.write("fraud.tgz", outer);
        let _ = std::fs::remove_file(world.path("bundle.lock"));
        refuses(&world, Exit::Usage, &["charts/base-1.2.0.tgz"]);
        assert!(!what.is_empty());
    }
    let mut nested = archive("deep", "1.0.0", "");
    for _ in 0..12 {
        nested = gzip(&tar_of(&[
            ("deep/Chart.yaml", yaml("deep", "").into_bytes()),
            ("deep/charts/deep-1.0.0.tgz", nested),
        ]));
    }
    world.write("fraud.tgz", nested);
    refuses(&world, Exit::Usage, &["nested too deeply"]);
}
