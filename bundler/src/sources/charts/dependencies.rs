//! The charts that a chart's directory needs and does not have in its `charts/`: each is resolved, fetched,
//! looked into, and packed along as `charts/NAME-VERSION.tgz`, where `helm dependency build` lays it.
//! Conditions and tags do not matter: a site may switch on what is off.
//!
//! `Chart.lock` decides the versions where there is one. A dependency must bring its own dependencies.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use manifests::Digest;
use manifests::bundle::Content;
use manifests::inventory::ChartDependency;
use manifests::text::{BundleVersion, FileName, Marking, TextError, printable};
use registry::Url;

use super::super::World;
use super::super::fetch::at_once;
use super::super::logins::Logins;
use super::super::wheels::IndexUrl;
use super::archive::{Dependency, Inside};
use super::directory::{self, Extra};
use super::error::ChartError;
use super::place::{OCI, OciPlace, OciWish};
use super::repository::Located;
use super::{Charts, oci};
use crate::lock::{Origin, PackedChart, PackedDependency};
use manifests::range::Range;

/// How an address of a directory begins.
const FILE: &str = "file://";

/// A dependency that was fetched, and where it is from for people.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) packed: PackedDependency,
    pub(super) source: Marking,
}

impl Fetched {
    /// As the inventory has it.
    pub(super) fn listed(&self) -> ChartDependency {
        ChartDependency {
            name: self.packed.name.clone(),
            version: self.packed.version.clone(),
            source: self.source.clone(),
            digest: Some(self.packed.sha256),
        }
    }
}

/// What a dependency's repository is.
enum Repository {
    Classic(IndexUrl),
    Oci(OciPlace),
    Directory(PathBuf),
}

/// A dependency that is missing, and what will do for it.
struct Need<'a> {
    dependency: &'a Dependency,
    repository: Repository,
    wanted: Range,
}

/// Where an archive is.
enum Found {
    Archive(Located),
    Layer(oci::OciChart),
    Directory(PathBuf, Content),
}

/// What is packed beside the files of a directory.
pub(super) fn extras(dependencies: &[PackedDependency], world: &World<'_>) -> Vec<Extra> {
    let extra = |dependency: &PackedDependency| Extra {
        name: Path::new("charts").join(format!("{}-{}.tgz", dependency.name, dependency.version)),
        file: world.cache.path(&dependency.sha256),
    };
    dependencies.iter().map(extra).collect()
}

impl Charts<'_> {
    /// Fetches what a directory's chart needs and does not have. `shown` is the directory as it was written.
    ///
    /// # Errors
    /// See [`ChartError`]: each names the dependency.
    pub(super) fn dependencies(&self, shown: &Path, inside: &Inside) -> Result<Vec<Fetched>, ChartError> {
        let chart = printable(&inside.yaml.name);
        let missing = missing(inside, &chart)?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let pinned = pins(inside, &chart)?;
        let needs = missing
            .into_iter()
            .map(|dependency| need(dependency, pinned.get(&identity(dependency)), shown, &chart))
            .collect::<Result<Vec<_>, _>>()?;
        let logins = self.logins.clone();
        let roots: Vec<IndexUrl> = needs.iter().filter_map(Need::root).collect();
        self.load(&roots, &logins).map_err(|(root, error)| {
            match needs.iter().find(|need| need.root().as_ref() == Some(&root)) {
                Some(need) => need.failed(&chart, error),
                None => error,
            }
        })?;
        let mut found: BTreeMap<(String, String), (Found, String)> = BTreeMap::new();
        for need in &needs {
            let (version, place) = self.find(need, &logins).map_err(|error| need.failed(&chart, error))?;
            let source = need.dependency.repository.clone().unwrap_or_default();
            // Two aliases of one chart are one archive.
            found.entry((need.dependency.name.clone(), version)).or_insert((place, source));
        }
        self.take(&chart, found, &logins)
    }

    fn find(&self, need: &Need<'_>, logins: &Logins) -> Result<(String, Found), ChartError> {
        let name = need.dependency.name.as_str();
        match &need.repository {
            Repository::Classic(root) => {
                let located = self.locate(root, name, &need.wanted, logins)?;
                Ok((located.version.clone(), Found::Archive(located)))
            }
            Repository::Oci(place) => {
                let found = oci::find(place, self.world)?;
                let version = found.version.clone().unwrap_or_default();
                Ok((version, Found::Layer(found)))
            }
            Repository::Directory(shown) => {
                let path = self.world.path(shown);
                let read = |source| ChartError::Read { path: shown.clone(), source };
                std::fs::metadata(&path).map_err(read)?;
                let content = directory::pack(&path, shown, &[], self.world)?;
                let file = self.cached(&content)?;
                let version = Inside::read(file, shown)?.yaml.version;
                if need.wanted.admits(&version) {
                    return Ok((version, Found::Directory(shown.clone(), content)));
                }
                let chart = format!("{name} in {}", shown.display());
                let near = vec![printable(&version)];
                Err(ChartError::NoSuchVersion { chart, wanted: need.wanted.to_string(), near })
            }
        }
    }

    /// Brings every archive into the cache and looks into it.
    fn take(
        &self,
        chart: &str,
        found: BTreeMap<(String, String), (Found, String)>,
        logins: &Logins,
    ) -> Result<Vec<Fetched>, ChartError> {
        let located = found.values().filter_map(|(place, _)| match place {
            Found::Archive(located) => Some(located.clone()),
            _ => None,
        });
        let mut archives = self.archives(&located.collect::<Vec<_>>(), logins)?.into_iter();
        self.layers(found.values().map(|(place, _)| place))?;
        let mut all = Vec::new();
        for ((name, version), (place, source)) in &found {
            let (from, content) = match place {
                Found::Archive(located) => match archives.next() {
                    Some(content) => (Origin::Url(located.url.to_wire()), content),
                    None => continue,
                },
                Found::Layer(found) => (Origin::Registry(found.place.clone()), found.archive),
                Found::Directory(shown, content) => {
                    let packed = PackedChart { directory: shown.clone(), dependencies: Vec::new() };
                    (Origin::PackedChart(packed), *content)
                }
            };
            let fetched = self.look_into(name, version, from, content, source);
            all.push(fetched.map_err(|source| ChartError::Need {
                chart: chart.to_string(),
                dependency: printable(name),
                source: Box::new(source),
            })?);
        }
        Ok(all)
    }

    /// Brings those of registries into the cache, several at a time.
    fn layers<'f>(&self, found: impl Iterator<Item = &'f Found>) -> Result<(), ChartError> {
        let layers: Vec<&oci::OciChart> = found
            .filter_map(|place| match place {
                Found::Layer(found) => Some(found),
                _ => None,
            })
            .collect();
        let (registries, cache) = (self.world.registries, self.world.cache);
        let came = at_once(&layers, |one| oci::layer(registries, cache, &one.place, one.archive));
        let mut named = layers.iter().zip(came);
        named.try_for_each(|(one, came)| came.map_err(|error| error.of(&format!("{OCI}{}", one.reference))))
    }

    /// The archive is the chart that was asked for, and brings what it needs itself.
    fn look_into(
        &self,
        name: &str,
        version: &str,
        from: Origin,
        content: Content,
        source: &str,
    ) -> Result<Fetched, ChartError> {
        let shown = PathBuf::from(printable(&format!("{name}-{version}.tgz")));
        let inside = Inside::read(self.cached(&content)?, &shown).map_err(ChartError::of_a_server)?;
        super::is_asked_for(&inside, &shown.display().to_string(), Some(name), Some(version))?;
        super::has_all(&inside)?;
        let field = |source| ChartError::Field { path: shown.clone(), source };
        let name: FileName = name.parse().map_err(field)?;
        let version: BundleVersion = inside.yaml.version.parse().map_err(field)?;
        let packed = PackedDependency { name, version, from, sha256: content.digest, size: content.size };
        Ok(Fetched { packed, source: source.trim_end_matches('/').parse().map_err(field)? })
    }

    /// Content that was brought into the cache a moment ago.
    pub(super) fn cached(&self, content: &Content) -> Result<File, ChartError> {
        let lost = || std::io::Error::other("the cache has lost it");
        self.world.cache.open(content).and_then(|file| file.ok_or_else(lost)).map_err(ChartError::Cache)
    }
}

impl Need<'_> {
    fn root(&self) -> Option<IndexUrl> {
        match &self.repository {
            Repository::Classic(root) => Some(root.clone()),
            _ => None,
        }
    }

    fn failed(&self, chart: &str, source: ChartError) -> ChartError {
        let (chart, dependency) = (chart.to_string(), printable(&self.dependency.name));
        ChartError::Need { chart, dependency, source: Box::new(source) }
    }
}

/// What tells two dependencies of one chart apart.
fn identity(dependency: &Dependency) -> (&str, Option<&str>, Option<&str>) {
    (&dependency.name, dependency.version.as_deref(), dependency.repository.as_deref())
}

/// The dependencies that are not vendored. One that is there in a version that nobody asks for is an error: it
/// would travel beside the right one.
fn missing<'a>(inside: &'a Inside, chart: &str) -> Result<Vec<&'a Dependency>, ChartError> {
    let fits = |need: &Dependency, version: &str| {
        let range = need.version.as_deref().and_then(|text| text.parse::<Range>().ok());
        range.is_none_or(|range| range.admits(version))
    };
    for vendored in &inside.charts {
        let found = &vendored.chart.yaml;
        let mut named = inside.needs.iter().filter(|need| need.name == found.name).peekable();
        let Some(first) = named.peek().copied() else { continue };
        if !named.any(|need| fits(need, &found.version)) {
            return Err(ChartError::Stale {
                chart: chart.to_string(),
                dependency: printable(&found.name),
                found: printable(&found.version),
                wanted: printable(first.version.as_deref().unwrap_or_default()),
            });
        }
    }
    let is_there = |need: &Dependency| {
        inside
            .charts
            .iter()
            .any(|found| found.chart.yaml.name == need.name && fits(need, &found.chart.yaml.version))
    };
    Ok(inside.needs.iter().filter(|need| !is_there(need)).collect())
}

type Pins<'a> = BTreeMap<(&'a str, Option<&'a str>, Option<&'a str>), &'a str>;

/// The version that `Chart.lock` has for each dependency; none without one.
fn pins<'a>(inside: &'a Inside, chart: &str) -> Result<Pins<'a>, ChartError> {
    let Some(lock) = &inside.lock else { return Ok(Pins::new()) };
    let odd = |reason: String| ChartError::Lock { chart: chart.to_string(), reason };
    let mut pins = Pins::new();
    let mut used = vec![false; lock.len()];
    let same = |left: &Dependency, right: &Dependency| {
        let at =
            |one: &Dependency| one.repository.clone().unwrap_or_default().trim_end_matches('/').to_string();
        left.name == right.name && at(left) == at(right)
    };
    for need in &inside.needs {
        let (name, range) = (printable(&need.name), wanted(need, chart)?);
        let mut entries = lock.iter().zip(&mut used).filter(|(entry, _)| same(entry, need));
        let version = |entry: &'a Dependency| entry.version.as_deref().unwrap_or_default();
        let found = entries.find(|(entry, _)| range.admits(version(entry)));
        let (entry, used) =
            found.ok_or_else(|| odd(format!("it has no `{name}` in a version that fits {range}")))?;
        *used = true;
        pins.insert(identity(need), version(entry));
    }
    match lock.iter().zip(&used).find(|(_, used)| !**used) {
        Some((idle, _)) => Err(odd(format!("it has `{}`, which is not asked for so", printable(&idle.name)))),
        None => Ok(pins),
    }
}

fn wanted(dependency: &Dependency, chart: &str) -> Result<Range, ChartError> {
    let text = dependency.version.as_deref().unwrap_or_default();
    text.parse().map_err(|source| ChartError::Range {
        dependency: format!("dependency `{}` of chart {chart}", printable(&dependency.name)),
        source,
    })
}

fn need<'a>(
    dependency: &'a Dependency,
    pin: Option<&&str>,
    shown: &Path,
    chart: &str,
) -> Result<Need<'a>, ChartError> {
    let title = format!("dependency `{}` of chart {chart}", printable(&dependency.name));
    let odd = |source| ChartError::Range { dependency: title.clone(), source };
    let range = match pin {
        Some(version) => version.parse().map_err(odd)?,
        None => wanted(dependency, chart)?,
    };
    // A name that is a path would leave the chart.
    let plain = dependency.name.parse::<FileName>();
    plain.map_err(|source| ChartError::Field { path: shown.to_path_buf(), source })?;
    let repository = repository(dependency, &range, shown, &title, chart)?;
    Ok(Need { dependency, repository, wanted: range })
}

fn repository(
    dependency: &Dependency,
    range: &Range,
    shown: &Path,
    title: &str,
    chart: &str,
) -> Result<Repository, ChartError> {
    let text = dependency.repository.as_deref().unwrap_or_default().trim();
    let refused = || ChartError::Repository { dependency: title.to_string(), repository: printable(text) };
    if text.is_empty() {
        let dependencies = vec![printable(&dependency.name)];
        return Err(ChartError::Dependency { chart: chart.to_string(), dependencies });
    }
    if text.starts_with('@') || text.starts_with("alias:") {
        return Err(ChartError::Alias { dependency: title.to_string(), alias: printable(text) });
    }
    if let Some(path) = text.strip_prefix(FILE) {
        return Ok(Repository::Directory(shown.join(path)));
    }
    if let Some(rest) = text.strip_prefix(OCI) {
        if rest.contains('@') {
            return Err(ChartError::Secret { dependency: title.to_string() });
        }
        let whole = format!("{}/{}", rest.trim_end_matches('/'), dependency.name);
        let (host, path) = whole.split_once('/').ok_or_else(refused)?;
        let place = OciPlace::at(host, path, OciWish::Version(range.clone()));
        return place.map(Repository::Oci).ok_or_else(refused);
    }
    let url: Url = text.parse().map_err(|_| refused())?;
    let root: IndexUrl = text.parse()?;
    if url.basic_authorization().is_some() {
        return Err(ChartError::Secret { dependency: title.to_string() });
    }
    Ok(Repository::Classic(root))
}

/// Packs a directory once more, with what the lock says is packed along. Whether the same bytes come of it is
/// for the caller to see: the cache has them under their digest then.
///
/// # Errors
/// A dependency that is neither in the cache nor where the lock says, or the directory.
pub(crate) fn repack(packed: &PackedChart, world: &World<'_>) -> std::io::Result<()> {
    for dependency in &packed.dependencies {
        let content = Content { digest: dependency.sha256, size: dependency.size };
        if world.cache.open(&content)?.is_some() {
            continue;
        }
        let blob = crate::lock::LockedBlob { size: dependency.size, from: dependency.from.clone() };
        let mut source = crate::export::open(content, &blob, world)?;
        let kept = world.cache.add(&mut |out| std::io::copy(&mut source, out).map(|_| ()))?;
        if kept != content {
            let name =
                format!("{}-{}.tgz has another digest than was locked", dependency.name, dependency.version);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, name));
        }
    }
    let extras = extras(&packed.dependencies, world);
    directory::pack(&world.path(&packed.directory), &packed.directory, &extras, world)
        .map(|_| ())
        .map_err(std::io::Error::other)
}

/// Every chart in a chart, as the inventory has them.
pub(super) fn listed(inside: &Inside, fetched: &[Fetched]) -> Result<Vec<ChartDependency>, TextError> {
    let mut all: Vec<ChartDependency> = fetched.iter().map(Fetched::listed).collect();
    for found in &inside.charts {
        let (name, version): (FileName, BundleVersion) =
            (found.chart.yaml.name.parse()?, found.chart.yaml.version.parse()?);
        if all.iter().any(|known| (&known.name, &known.version) == (&name, &version)) {
            continue;
        }
        let digest: Option<Digest> = found.archive.map(|archive| archive.digest);
        all.push(ChartDependency { name, version, source: "vendored".parse()?, digest });
    }
    all.sort();
    Ok(all)
}
