//! What the parsers of both programs promise about any input at all: the bodies of their fuzz targets, as
//! plain functions, so that ordinary tests run them too. Each panics if a promise is broken and is silent
//! otherwise. The parsers of `manifests` and `layout` are in `testkit::exercise`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::{Debug, Display};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::LazyLock;

use bundler::lock::BundleLock;
use bundler::sources::World as Sources;
use bundler::sources::charts::index::{Index, Lack};
use bundler::sources::charts::provenance::Provenance;
use bundler::sources::images::docker_archive::DockerArchive;
use bundler::sources::images::layout_source::LayoutSource;
use bundler::sources::images::tar_index::TarIndex;
use bundler::sources::images::{ImageContent, transport::ImageSource};
use bundler::sources::wheels::pylock::Pylock;
use bundler::sources::wheels::tags::{PlatformTag, PythonVersion, SupportedTags, Target};
use bundler::sources::wheels::version::{PythonRange, Version};
use bundler::sources::wheels::{IndexUrl, Requirements, WheelFilename, WheelMetadata};
use bundler::spec::BundleSpec;
use discovery::hit::{Hits, Wanted, place_line};
use installer::site::Site;
use installer::site::config::SiteConfig;
use installer::site::ledger::Ledger;
use manifests::address::HttpUrl;
use manifests::canonical;
use manifests::health::HealthChecks;
use manifests::range::Range;
use manifests::requires::Requires;
use registry::Url;

use crate::World;

/// Nothing that was taken is shown with anything but printable characters.
fn plain(shown: &str) {
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// What is taken prints as a text that means the same.
fn round<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        plain(&shown);
        assert_eq!(shown.parse::<T>().ok(), Some(value), "{text:?} became {shown:?}");
    }
}

fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

// ---- what a person writes -----------------------------------------------------------------------------

/// `bundle.yaml`: an error has a place, and what is required and checked can be a part of a document.
pub fn spec(text: &str) {
    match edge::yaml::parse::<BundleSpec>("bundle.yaml", text) {
        Err(error) => assert!(error.to_string().contains("bundle.yaml"), "{error}"),
        Ok(spec) => {
            let conditions = (&spec.requires, &spec.health);
            let bytes = canonical::to_canonical(&conditions).unwrap();
            let again: (Requires, HealthChecks) = canonical::from_canonical(&bytes).unwrap();
            assert_eq!((&again.0, &again.1), conditions);
            spec.requires.lines().iter().for_each(|(_, value)| plain(value));
            spec.health.iter().for_each(|check| plain(&check.to_string()));
        }
    }
}

/// `site.yaml`, from its file: what is taken has absolute paths only.
pub fn site_yaml(bytes: &[u8]) {
    let (_dir, path) = on_disk(bytes);
    if let Ok(config) = SiteConfig::load(&path) {
        assert!(config.targets.files.is_none_or(|target| target.root.is_absolute()));
        assert!(config.targets.python.is_none_or(|target| target.venvs.is_absolute()));
    }
}

/// `requirements.txt`: a project whose hashes are kept has some, and a refusal is shown plainly.
pub fn requirements(bytes: &[u8]) {
    match Requirements::parse("requirements.txt", bytes) {
        Ok(found) => assert!(found.hashes.values().all(|hashes| !hashes.is_empty())),
        Err(error) => plain(&error.to_string()),
    }
}

/// `bundle.lock`: what is taken is written again and means the same.
pub fn lock(bytes: &[u8]) {
    if let Ok(lock) = serde_json::from_slice::<BundleLock>(bytes) {
        let again = serde_json::to_vec(&lock).unwrap();
        assert_eq!(serde_json::from_slice::<BundleLock>(&again).unwrap(), lock);
    }
}

// ---- names --------------------------------------------------------------------------------------------

/// Wheels' file names, versions, tags, image sources, addresses: the short texts of the connected side.
pub fn names(text: &str) {
    round::<PythonVersion>(text);
    round::<PlatformTag>(text);
    if let Ok(filename) = text.parse::<WheelFilename>() {
        assert_eq!(filename.to_string(), text, "a file name is not changed");
        assert!(!text.contains('/') && filename.file_name().as_str() == text);
        assert!(supported().rank(&filename).is_none_or(|rank| rank < supported().in_order().len()));
    }
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.as_str(), text.trim());
        plain(version.as_str());
    }
    if let Ok(range) = text.parse::<PythonRange>() {
        let _ = range.admits("3.11".parse().unwrap());
    }
    let (python, platform) = text.split_once(' ').unwrap_or((text, text));
    if let Ok(target) = Target::parse(python, platform) {
        plain(&target.to_string());
    }
    match ImageSource::parse(text) {
        Ok(source) => assert!(source.own_name().is_none_or(|name| name.to_string().contains('/'))),
        Err(error) => plain(&error.to_string()),
    }
    addresses(text);
}

fn supported() -> &'static SupportedTags {
    static SUPPORTED: LazyLock<SupportedTags> =
        LazyLock::new(|| Target::parse("3.11", "manylinux_2_28_x86_64").unwrap().supported());
    &SUPPORTED
}

/// Addresses: what goes over the wire means the same again, and neither password nor query is ever shown.
fn addresses(text: &str) {
    let base: Url = "https://user:secret@index.example:8443/a/b/c?q=1".parse().unwrap();
    for url in [text.parse::<Url>(), base.join(text)].into_iter().flatten() {
        let wire = url.to_wire();
        assert!(wire.bytes().all(|byte| byte.is_ascii_graphic()), "{wire:?}");
        let again: Url = wire.parse().unwrap_or_else(|error| panic!("{wire:?}: {error}"));
        assert_eq!(again.to_wire(), wire, "{text:?}");
        assert!(!url.path().split('/').any(|part| matches!(part, "." | "..")), "{text:?}");
        let shown = url.to_string();
        plain(&shown);
        // What stands before the `@` of an authority is a login; in a path it is a path.
        if url.basic_authorization().is_some() {
            assert!(shown.contains("://***@"), "{shown}");
        }
        assert!(url.to_wire().contains('?') == shown.ends_with("?***"), "{shown}");
        assert!(url.without_userinfo().basic_authorization().is_none());
    }
    if let Ok(index) = text.parse::<IndexUrl>() {
        plain(&index.to_string());
    }
    if let Ok(health) = text.parse::<HttpUrl>() {
        let url: Url = text.parse().expect("what a health check may ask for is a URL of the one client");
        assert!(url.basic_authorization().is_none() && health.as_str() == text);
    }
}

// ---- what others pack ---------------------------------------------------------------------------------

/// A wheel's head: what is taken is what the file name says.
pub fn wheel(bytes: &[u8]) {
    let filename: WheelFilename = "tiny-1.0-py3-none-any.whl".parse().unwrap();
    if let Ok(found) = WheelMetadata::read(Cursor::new(bytes), &filename) {
        assert_eq!(&found.version, filename.version());
    }
}

/// An archive of images, in each of the two formats: nothing is looked for outside the file.
pub fn image_archive(bytes: &[u8]) {
    let (_dir, path) = on_disk(bytes);
    let shown = PathBuf::from("app.tar");
    if let Ok(index) = TarIndex::open(&path, shown) {
        for name in ["index.json", "manifest.json", "../x", "/etc/passwd", "blobs/sha256/x"] {
            let slice = index.find(name);
            assert!(slice.is_none_or(|slice| slice.file == Path::new("app.tar")));
        }
    }
    with_sources(|sources| {
        if let Ok(mut found) = LayoutSource::archive(path.clone(), None, sources) {
            follow(&mut found);
        }
        if let Ok(mut found) = DockerArchive::open(path.clone(), None, sources) {
            follow(&mut found);
        }
    });
}

/// What a source hands out has the digest that was asked for.
fn follow(source: &mut dyn ImageContent) {
    if let Ok(root) = source.root()
        && let Ok(document) = source.document(&root)
    {
        assert_eq!(manifests::Digest::of(&document), root.digest);
    }
}

/// A chart's archive.
pub fn chart(bytes: &[u8]) {
    let (_dir, path) = on_disk(bytes);
    let spec = format!(
        "apiVersion: airlock/v1\nkind: Bundle\npublisher: a\nproduct: a\nversion: '1'\nsequence: 1\n\
         audience: ['*']\nmarking: X\ncharts: [{{source: {}}}]\n",
        path.display()
    );
    let spec: BundleSpec = edge::yaml::parse("bundle.yaml", &spec).unwrap();
    with_sources(|sources| {
        if let Ok(found) = bundler::sources::charts::resolve(&spec.charts[0], sources) {
            let listed = found.component.blobs();
            assert!(listed.iter().all(|(digest, _)| found.blobs.contains_key(digest)));
            let path = bundler::sources::charts::open(&found, sources).unwrap();
            let manifests::inventory::Component::Chart(chart) = &found.component else { panic!("no chart") };
            assert_eq!(manifests::Digest::of(&std::fs::read(path).unwrap()), chart.archive.digest);
        }
    });
    if let Ok(contents) = bundler::discover::archive::read(bytes) {
        let mut hits = Hits::default();
        for file in &contents.files {
            let _ = bundler::discover::annotations::find(file, &mut hits);
        }
        shown(hits);
    }
}

/// What Helm renders, or any text: what is found is shown plainly, and is found again by its own name.
pub fn rendered(text: &str) {
    let mut hits = Hits::default();
    if let Err(error) = discovery::walk::stream("file.yaml", text, &mut hits) {
        plain(&error.to_string());
    }
    discovery::walk::text_at("file.yaml", None, text, &mut hits);
    shown(hits);
}

fn shown(hits: Hits) {
    for hit in hits.finish().unwrap_or_default() {
        let name = hit.image.to_string();
        plain(&name);
        assert_eq!(Wanted::of(&name), hit.image, "{name}");
        assert!(!hit.places().is_empty());
        for place in hit.places() {
            plain(&place_line(&place));
        }
    }
}

/// The index of a chart repository: what is chosen is there and fits, and what is said of one that is none is
/// plain.
pub fn chart_index(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(range) = text.parse::<Range>() {
        plain(&range.to_string());
        assert!(range.exact().is_none_or(|exact| range.admits(exact)), "{text:?}");
    }
    match Index::parse("index.yaml", bytes) {
        Ok(index) => {
            for (chart, range) in [("fraud", "*"), ("fraud", "^1.2"), ("a", ">=1.0.0-0"), ("b", "1.2.3")] {
                match index.choose(chart, &range.parse().unwrap()) {
                    Ok(entry) => {
                        let _ = entry.digest().map_err(|error| plain(&error.to_string()));
                    }
                    Err(Lack::Chart(near) | Lack::Version(near)) => near.iter().for_each(|name| plain(name)),
                }
            }
        }
        Err(error) => plain(&error.to_string()),
    }
}

/// A chart's provenance file: what is no digest of the archive is none, and is shown plainly.
pub fn chart_provenance(bytes: &[u8]) {
    let digest = manifests::Digest::of(b"archive");
    match Provenance::parse(bytes) {
        Ok(found) => {
            let checked = found.check("fraud-1.0.0.tgz", digest);
            let stated = String::from_utf8_lossy(bytes).contains(&digest.to_string());
            assert!(stated || checked.is_err());
            let _ = checked.map_err(|error| plain(&error.to_string()));
        }
        Err(error) => plain(&error.to_string()),
    }
}

/// Does something with what the sources of a bundle may use.
fn with_sources(act: impl FnOnce(&Sources<'_>)) {
    static HTTP: LazyLock<registry::Http> =
        LazyLock::new(|| registry::Http::new(&registry::HttpSettings::default()).unwrap());
    static WORLD: LazyLock<World> = LazyLock::new(World::new);
    let (env, _, _) = WORLD.env("bundler", &[]);
    let cache = bundler::cache::Cache::of(&env);
    let settings = registry::HttpSettings::default();
    let (base, none) = (PathBuf::from("/"), std::collections::BTreeMap::new());
    let registries = bundler::registries::Registries::new(&env, settings, HTTP.clone(), &base, &none);
    act(&Sources {
        base,
        cache: &cache,
        http: &HTTP,
        registries: &registries,
        interrupted: &|| false,
        env: &env,
        note: &|_| {},
        shown: edge::progress::Shown::Not,
        wheels: &[],
        charts: &[],
    });
}

/// A lock of Python packages: what is said of one that is none is plain.
pub fn pylock(text: &str) {
    match Pylock::parse("pylock.toml", text) {
        Ok(lock) => {
            let version: Version = "1.0".parse().unwrap();
            let _ = lock.find(&"tiny".parse().unwrap(), &version);
            if let Err(error) = lock.admits("3.11".parse::<PythonVersion>().unwrap()) {
                plain(&error.to_string());
            }
        }
        Err(error) => plain(&error.to_string()),
    }
}

/// A file of logins: no message holds a secret or a path in place of a helper's name.
pub fn logins(bytes: &[u8]) {
    let Ok(file) = registry::login::LoginFile::parse(bytes) else { return };
    for (host, repository) in [("registry.example.com", "team/app"), ("registry.example.com:5000", "a")] {
        match file.find(host, repository) {
            Ok(registry::login::Found::Helper { name, .. }) => assert!(!name.contains('/'), "{name}"),
            Ok(_) => {}
            Err(error) => plain(&error),
        }
    }
}

// ---- what goes over a wire ----------------------------------------------------------------------------

/// What a registry says in headers and error documents.
pub fn answers(text: &str) {
    if let Some((first, total)) = registry::blob::content_range(text) {
        assert!(text.contains(&first.to_string()) || text.contains("+"), "{text:?}");
        assert!(total.is_none_or(|total| text.contains(&total.to_string()) || text.contains('0')));
    }
    if let Some(next) = registry::repository::next_in_link(text) {
        addresses(next);
    }
    let _ = registry::retry::retry_after(Some(text), Some(text));
    let shown = registry::error::message(text.as_bytes());
    plain(&shown);
    assert!(shown.len() < 8 * 1024, "{} characters", shown.len());
    round::<registry::TagOrDigest>(text);
}

/// What a client asks of `installer serve`.
pub fn request(text: &str) {
    use installer::serve::parsers;
    if let Some(segments) = parsers::segments(text) {
        for segment in segments {
            assert!(
                !segment.is_empty() && segment != "." && segment != ".." && !segment.contains('/'),
                "{text:?}"
            );
            plain(&segment);
        }
    }
    if let Some(host) = parsers::host(text.as_bytes()) {
        assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte)), "{host}");
    }
    for size in [0, 1, 10, u64::MAX] {
        if let Some((first, last)) = parsers::span(text, size) {
            assert!(first <= last && last < size, "{text:?} of {size}: {first} to {last}");
        }
    }
    let _ = parsers::names_tag(text, "\"a\"");
    let _ = parsers::media_type(text);
}

// ---- what a site keeps --------------------------------------------------------------------------------

/// The ledger, a journal, the list of what is shown, the audit log, and a bundle's evidence, each of these
/// bytes: what is taken is what we would have written.
pub fn site_files(bytes: &[u8]) {
    if let Ok(ledger) = canonical::from_canonical::<Ledger>(bytes) {
        assert_eq!(canonical::to_canonical(&ledger).unwrap(), bytes);
    }
    let (dir, path) = on_disk(bytes);
    if let Ok(Some(found)) = installer::journal::read(&path) {
        let steps = 0..found.plan.steps.len();
        assert!(steps.filter(|step| found.was_done(*step)).count() <= found.lines.len());
    }
    let mut entries = 0;
    if let Ok(head) = installer::audit::read(&path, &mut |_| entries += 1) {
        assert_eq!(head.entries, entries);
    }
    let site = Site::at(dir.path().join("site"));
    std::fs::create_dir_all(dir.path().join("site/store")).unwrap();
    std::fs::create_dir_all(dir.path().join("site/ledger")).unwrap();
    std::fs::copy(&path, site.published_path()).unwrap();
    std::fs::copy(&path, dir.path().join("site/ledger/acme.demo.json")).unwrap();
    let _ = site.published();
    let ledger = site.ledger(&"acme".parse().unwrap(), &"demo".parse().unwrap());
    assert!(ledger.is_err() || ledger.unwrap().is_some_and(|ledger| ledger.product.as_str() == "demo"));
    // Its name is the digest of these very bytes, so only their shape is in question.
    let bundle = manifests::bundle::BundleDigest(manifests::Digest::of(bytes));
    std::fs::create_dir_all(site.evidence_dir(bundle)).unwrap();
    std::fs::copy(&path, site.evidence_dir(bundle).join("bundle.json")).unwrap();
    assert!(site.evidence(bundle).is_err(), "there is no inventory");
}
