//! Wheels for machines that are not this one: resolved by the real `uv` against the real index, and against
//! indexes that lack something or lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{IndexedFile, Pages, entries, package_index, pinned, real_index, wheel};
use manifests::Digest;
use serde_json::Value;
use testkit::fake_server::Delivery;
use testkit::{FakeServer, Reply, real_part};

/// A machine, as its interpreter and its platform.
type Machine = (&'static str, &'static str);

/// Two machines that are not the one that tests run on, whatever that is.
const TARGETS: [Machine; 2] = [("3.10", "manylinux_2_28_aarch64"), ("3.12", "musllinux_1_2_x86_64")];
/// For projects that publish nothing for musl.
const GLIBC: [Machine; 2] = [("3.12", "manylinux_2_28_aarch64"), ("3.13", "manylinux_2_34_x86_64")];

fn tools() -> Option<()> {
    real_part("uv")?;
    real_part("python3").map(|_| ())
}

fn targets(machines: &[Machine]) -> String {
    let one = |(python, platform): &Machine| format!("{{python: \"{python}\", platform: {platform}}}");
    format!("[{}]", machines.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn spec(world: &World, more: &str) {
    spec_for(world, &TARGETS, more);
}

fn spec_for(world: &World, machines: &[Machine], more: &str) {
    world.spec("1.0.0", 1, &format!("wheels:\n  - name: tools\n    targets: {}\n{more}", targets(machines)));
}

fn lock(world: &World) -> Value {
    serde_json::from_slice(&std::fs::read(world.path("bundle.lock")).unwrap()).unwrap()
}

/// The file names of the wheels for a target.
fn wheels_for(lock: &Value, target: usize) -> Vec<String> {
    let names = lock["components"][0]["targets"][target]["wheels"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_string()).collect()
}

/// An index of wheels that need one another.
struct Shelf(Vec<(String, Vec<u8>)>);

impl Shelf {
    fn serve(&self) -> FakeServer {
        package_index(Pages::Json, self.0.iter().cloned().map(IndexedFile::honest).collect())
    }

    fn without(&self, file: &str) -> Self {
        Self(self.0.iter().filter(|(name, _)| name != file).cloned().collect())
    }
}

/// A wheel with these tags and `Requires-Dist` lines.
fn needing(project: &str, version: &str, tags: &str, needs: &[&str]) -> (String, Vec<u8>) {
    let info = format!("{project}-{version}.dist-info");
    let needs: String = needs.iter().map(|line| format!("Requires-Dist: {line}\n")).collect();
    let metadata = format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{needs}");
    let kind = format!("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (name, text) in [("METADATA", metadata), ("WHEEL", kind), ("RECORD", String::new())] {
        archive.start_file(format!("{info}/{name}"), plain).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    (format!("{project}-{version}-{tags}.whl"), archive.finish().unwrap().into_inner())
}

const PURE: &str = "py3-none-any";
const ARM: &str = "cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64";
const MUSL: &str = "cp311-abi3-musllinux_1_1_x86_64";

/// What is needed depends on the target: by its interpreter, its machine and its way to tell them.
fn shelf() -> Shelf {
    let needs = [
        "old ; python_version < \"3.11\"",
        "arm ; platform_machine == \"aarch64\"",
        "windows ; sys_platform == \"win32\"",
        "core>=2",
    ];
    Shelf(vec![
        needing("app", "1.0", PURE, &needs),
        needing("old", "1.0", PURE, &[]),
        needing("arm", "1.0", PURE, &[]),
        needing("core", "2.0", ARM, &["leaf"]),
        needing("core", "2.0", MUSL, &["leaf"]),
        needing("core", "3.0", "cp312-cp312-win_amd64", &["leaf"]),
        needing("leaf", "1.0", PURE, &[]),
    ])
}

fn resolved_from(server: &FakeServer) -> World {
    let world = World::new();
    world.write("requirements.txt", "app\n");
    spec(&world, &format!("    requirements: requirements.txt\n    index: {}/simple/\n", server.url()));
    world
}

#[test]
fn markers_and_tags_are_the_targets_and_not_this_machines() {
    let Some(()) = tools() else { return };
    let server = shelf().serve();
    let world = resolved_from(&server);
    world.bundler(&["lock"]).ok();
    let lock = lock(&world);
    let (app, leaf) = (format!("app-1.0-{PURE}.whl"), format!("leaf-1.0-{PURE}.whl"));
    let (old, arm) = (format!("old-1.0-{PURE}.whl"), format!("arm-1.0-{PURE}.whl"));
    assert_eq!(wheels_for(&lock, 0), [app.clone(), arm, format!("core-2.0-{ARM}.whl"), leaf.clone(), old]);
    assert_eq!(wheels_for(&lock, 1), [app, format!("core-2.0-{MUSL}.whl"), leaf]);
}

#[test]
fn a_second_lock_and_a_build_fetch_no_wheel() {
    let Some(()) = tools() else { return };
    let server = shelf().serve();
    let world = resolved_from(&server);
    let wheels = || server.requests().iter().filter(|request| request.path.ends_with(".whl")).count();
    world.bundler(&["lock"]).ok();
    let (fetched, before) = (wheels(), lock(&world));
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--out", "a.tar"]).ok();
    assert_eq!(wheels(), fetched);
    assert_eq!(lock(&world), before);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    assert!(std::fs::read(world.path("a.tar")).unwrap() == std::fs::read(world.path("b.tar")).unwrap());
    assert!(wheels() >= fetched + 6, "each of the six wheels is fetched again");
}

#[test]
fn a_wheel_that_the_index_lacks_is_named_with_who_requires_it() {
    let Some(()) = tools() else { return };
    for file in [format!("leaf-1.0-{PURE}.whl"), format!("core-2.0-{MUSL}.whl")] {
        let server = shelf().without(&file).serve();
        let world = resolved_from(&server);
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
        let project = file.split('-').next().unwrap();
        let requirer = if project == "leaf" { "core" } else { "app" };
        for word in [project, requirer, "Python 3.1"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert!(!world.path("bundle.lock").exists());
    }
}

#[test]
fn a_wheel_that_the_page_lists_and_the_server_lost_is_named() {
    let Some(()) = tools() else { return };
    let all = shelf();
    let pages = all.serve();
    let pages_url = pages.url();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let server = FakeServer::start(move |request| {
        if request.path.contains("leaf-1.0") {
            return Reply::status(404);
        }
        let url = format!("{pages_url}{}", request.path).parse().unwrap();
        let kind = "application/vnd.pypi.simple.v1+json";
        match http.get_bytes(&url, kind, 1 << 20) {
            Ok(fetched) => {
                Reply::ok(fetched.bytes).header("Content-Type", fetched.content_type.unwrap_or_default())
            }
            Err(_) => Reply::status(404),
        }
    });
    let world = resolved_from(&server);
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("leaf-1.0-py3-none-any.whl"), "{}", ran.stderr);
}

#[test]
fn a_directory_beside_the_requirements_gives_what_the_index_lacks() {
    let Some(()) = tools() else { return };
    let leaf = format!("leaf-1.0-{PURE}.whl");
    let (all, server) = (shelf(), shelf().without(&leaf).serve());
    let world = resolved_from(&server);
    let bytes = &all.0.iter().find(|(name, _)| *name == leaf).unwrap().1;
    world.write(&format!("own/{leaf}"), bytes);
    let index = format!("    index: {}/simple/\n", server.url());
    spec(&world, &format!("    requirements: requirements.txt\n    source: own\n{index}"));
    world.bundler(&["lock"]).ok();
    assert!(wheels_for(&lock(&world), 1).contains(&leaf));
    assert_eq!(lock(&world)["blobs"][Digest::of(bytes).to_string()]["from"]["file"], format!("own/{leaf}"));
}

#[test]
fn an_index_that_is_busy_is_asked_again_and_a_file_that_breaks_off_is_begun_again() {
    let Some(()) = tools() else { return };
    let (name, bytes) = wheel("tiny", "1.0", "x");
    let hex = Digest::of(&bytes).hex();
    let seen = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    let file = name.clone();
    let server = FakeServer::start(move |request| {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(request.path.clone()).or_default();
        *count += 1;
        let page = format!("<a href=\"/files/{file}#sha256={hex}\">x</a>");
        match (request.path.starts_with("/files/"), *count) {
            (false, 1) => Reply::status(429).header("Retry-After", "0"),
            (false, _) => Reply::ok(page).header("Content-Type", "text/html"),
            (true, 2) => Reply::ok(bytes.clone()).delivered(Delivery::CutAfter(9)),
            (true, _) => Reply::ok(bytes.clone()),
        }
    });
    let world = resolved_from(&server);
    world.write("requirements.txt", "tiny\n");
    world.bundler(&["lock"]).ok();
    assert_eq!(wheels_for(&lock(&world), 0), [name]);
}

#[test]
fn hashes_in_the_requirements_are_held_to_and_have_to_be_complete() {
    let Some(()) = tools() else { return };
    let all = shelf();
    let server = all.serve();
    let world = resolved_from(&server);
    let pin = |(name, bytes): &(String, Vec<u8>)| {
        let mut parts = name.split('-');
        pinned(parts.next().unwrap(), parts.next().unwrap(), bytes)
    };
    let mut pins: Vec<String> = all.0.iter().filter(|(name, _)| !name.contains("core")).map(pin).collect();
    let cores: Vec<String> = all
        .0
        .iter()
        .filter(|(name, _)| name.contains("core-2"))
        .map(|(_, bytes)| Digest::of(bytes).hex())
        .collect();
    let markers = "; platform_machine == \"aarch64\"";
    pins.retain(|pin| !pin.starts_with("old") && !pin.starts_with("arm"));
    pins.push(format!("core==2.0 --hash=sha256:{} --hash=sha256:{}\n", cores[0], cores[1]));
    for (name, bytes) in all.0.iter().filter(|(name, _)| name.starts_with("old") || name.starts_with("arm")) {
        let project = name.split('-').next().unwrap();
        pins.push(format!("{project}==1.0 {markers} --hash=sha256:{}\n", Digest::of(bytes).hex()));
    }
    world.write("requirements.txt", pins.concat());
    world.bundler(&["lock"]).ok();
    let without_leaf: String = pins.iter().filter(|pin| !pin.starts_with("leaf")).cloned().collect();
    world.write("requirements.txt", without_leaf);
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("leaf 1.0 is needed"), "{}", ran.stderr);
}

// ---- PEP 751 ------------------------------------------------------------------------------------------

/// A lock of `tiny` and, on Windows and for old interpreters, of others.
fn pylock(server: &FakeServer, tiny: &(String, Vec<u8>)) -> String {
    let wheel = |(name, bytes): &(String, Vec<u8>)| {
        let (url, hex, size) = (server.url(), Digest::of(bytes).hex(), bytes.len());
        format!(
            "wheels = [{{url = \"{url}/files/{name}\", size = {size}, hashes = {{sha256 = \"{hex}\"}}}}]\n"
        )
    };
    let old = needing("old", "1.0", PURE, &[]);
    format!(
        "lock-version = \"1.0\"\ncreated-by = \"a test\"\nrequires-python = \">=3.10\"\n\n\
         [[packages]]\nname = \"old\"\nversion = \"1.0\"\nmarker = \"python_full_version < '3.11'\"\n{}\n\
         [[packages]]\nname = \"tiny\"\nversion = \"1.0\"\n{}\n\
         [[packages]]\nname = \"windows\"\nversion = \"1.0\"\nmarker = \"sys_platform == 'win32'\"\n\
         sdist = {{url = \"https://nowhere.invalid/w.tar.gz\", hashes = {{sha256 = \"{}\"}}}}\n",
        wheel(&old),
        wheel(tiny),
        "0".repeat(64),
    )
}

fn locked(change: impl Fn(String) -> String) -> (World, FakeServer) {
    let tiny = wheel("tiny", "1.0", "x");
    let shelf = Shelf(vec![tiny.clone(), needing("old", "1.0", PURE, &[])]);
    let (world, server) = (World::new(), shelf.serve());
    world.write("locks/pylock.app.toml", change(pylock(&server, &tiny)));
    spec(&world, "    lock: locks/pylock.app.toml\n");
    (world, server)
}

#[test]
fn a_lock_of_pep_751_is_taken_with_its_markers_read_for_each_target() {
    let Some(()) = tools() else { return };
    let (world, _server) = locked(|text| text);
    world.bundler(&["lock"]).ok();
    let lock = lock(&world);
    assert_eq!(wheels_for(&lock, 0), [format!("old-1.0-{PURE}.whl"), format!("tiny-1.0-{PURE}.whl")]);
    assert_eq!(wheels_for(&lock, 1), [format!("tiny-1.0-{PURE}.whl")]);
}

#[test]
fn a_lock_of_pep_751_that_cannot_be_carried_is_refused_by_name() {
    let Some(()) = tools() else { return };
    let refused = |from: &str, to: &str, exit: Exit, says: &str| {
        let (world, _server) = locked(|text| text.replace(from, to));
        let ran = world.bundler(&["lock"]).expect_exit(exit);
        assert!(ran.stderr.contains(says), "{says:?} is not in {}", ran.stderr);
    };
    refused("lock-version = \"1.0\"", "lock-version = \"2.0\"", Exit::Usage, "lock-version `2.0`");
    refused(
        "requires-python = \">=3.10\"",
        "requires-python = \">=3.11\"",
        Exit::Usage,
        "needs Python >=3.11",
    );
    refused(
        "sys_platform == 'win32'",
        "sys_platform == 'linux'",
        Exit::Unreachable,
        "windows 1.0 is there as a source distribution only",
    );
    refused(
        "sdist = {url",
        "directory = {path = \".\"}\n[packages.x]\ny = {url",
        Exit::Usage,
        "windows from a directory",
    );
    refused("size = ", "size = 1", Exit::Damaged, "expected 1");
}

#[test]
fn a_lock_whose_wheels_need_what_it_does_not_name_is_not_complete() {
    let Some(()) = tools() else { return };
    let core = needing("tiny", "1.0", PURE, &["leaf>=1"]);
    let (world, server) = (World::new(), Shelf(vec![core.clone(), needing("old", "1.0", PURE, &[])]).serve());
    world.write("pylock.toml", pylock(&server, &core));
    spec(&world, "    lock: pylock.toml\n");
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    for word in ["not complete", "leaf", "tiny", "3.10", "manylinux_2_28_aarch64"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert!(!world.path("bundle.lock").exists());
}

// ---- the real index -----------------------------------------------------------------------------------

/// pip installs the wheels of a target, and nothing else, into a directory. It reads markers as those of
/// the interpreter it runs on, so it is asked for each project of the set without what that needs; that
/// nothing is missing, `uv` has proven.
fn pip_installs(python: &Path, wheels: &[String], from: &Path, (minor, platform): Machine) {
    let tags: Vec<String> = format!("{minor} {platform}").parse::<Accepted>().unwrap().0;
    let into = tempfile::tempdir().unwrap();
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet", "--no-index"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version", minor]);
    // pip compares this with the interpreter it runs on, whatever `--python-version` says.
    pip.arg("--ignore-requires-python");
    pip.arg("--find-links").arg(from).arg("--target").arg(into.path());
    for tag in &tags {
        pip.args(["--platform", tag]);
    }
    for wheel in wheels {
        let mut parts = wheel.split('-');
        pip.arg(format!("{}=={}", parts.next().unwrap(), parts.next().unwrap()));
    }
    let output = pip.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let infos = std::fs::read_dir(into.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let infos = infos.filter(|name| name.to_string_lossy().ends_with(".dist-info"));
    assert_eq!(infos.count(), wheels.len());
}

/// The platform tags that a target accepts.
struct Accepted(Vec<String>);

impl std::str::FromStr for Accepted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (minor, platform) = text.split_once(' ').ok_or("no platform")?;
        let target = bundler::sources::wheels::Target::parse(minor, platform).map_err(|e| e.to_string())?;
        Ok(Self(target.platform.accepted()))
    }
}

fn travels(name: &str, requirements: &str, machines: &[Machine], at_least: usize) {
    let (Some(()), Some(python)) = (tools(), real_part("python3")) else { return };
    if !real_index(&python) {
        return;
    }
    let world = World::new();
    world.write("requirements.txt", requirements);
    spec_for(&world, machines, "    requirements: requirements.txt\n");
    world.bundler(&["lock"]).ok();
    let lock = lock(&world);
    world.bundler(&["build", "--out", "a.tar"]).ok();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    let digest = |name: &str| Digest::of(&std::fs::read(world.path(name)).unwrap());
    assert_eq!(digest("a.tar"), digest("b.tar"), "{name}");

    // What is in the archive is what pip installs.
    let archive = entries(&world.path("b.tar"));
    for wheel in lock["components"][0]["wheels"].as_array().unwrap() {
        let hex = wheel["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let bytes = &archive[&format!("blobs/sha256/{hex}")];
        world.write(&format!("wheelhouse/{}", wheel["filename"].as_str().unwrap()), bytes);
    }
    for (number, target) in machines.iter().enumerate() {
        let wheels = wheels_for(&lock, number);
        assert!(wheels.len() >= at_least, "{name}: {wheels:?}");
        pip_installs(&python, &wheels, &world.path("wheelhouse"), *target);
    }
}

#[test]
fn a_web_service_of_the_real_index_travels_to_two_other_machines() {
    travels(
        "web",
        "fastapi\nuvicorn[standard]\npydantic\nsqlalchemy\nexceptiongroup; python_version < '3.11'\n",
        &TARGETS,
        15,
    );
}

#[test]
fn numpy_pandas_and_scikit_learn_of_the_real_index_travel_to_two_other_machines() {
    travels("science", "numpy\npandas\nscikit-learn\n", &GLIBC, 6);
}

#[test]
fn an_api_client_of_the_real_index_travels_to_two_other_machines() {
    travels("client", "httpx[http2]\npydantic-settings\ntenacity\norjson\n", &TARGETS, 8);
}

#[test]
fn a_source_distribution_is_refused_unless_a_wheel_of_it_was_asked_for() {
    let (Some(()), Some(python)) = (tools(), real_part("python3")) else { return };
    if !real_index(&python) {
        return;
    }
    let world = World::new();
    world.write("requirements.txt", "docopt==0.6.2\nsix\n");
    spec(&world, "    requirements: requirements.txt\n");
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("docopt") && ran.stderr.contains("build:"), "{}", ran.stderr);
    spec(&world, "    requirements: requirements.txt\n    build: [\"docopt==0.6.2\"]\n");
    world.bundler(&["lock"]).ok();
    let lock = lock(&world);
    let built = lock["components"][0]["wheels"].as_array().unwrap();
    let built = built.iter().find(|wheel| wheel["project"] == "docopt").unwrap();
    let from = &lock["blobs"][built["digest"].as_str().unwrap()]["from"]["built-wheel"];
    assert!(from["sha256"].as_str().unwrap().starts_with("sha256:"), "{lock}");
    world.bundler(&["build", "--out", "a.tar"]).ok();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    assert!(std::fs::read(world.path("a.tar")).unwrap() == std::fs::read(world.path("b.tar")).unwrap());
}
