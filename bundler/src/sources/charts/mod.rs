//! Helm charts from a directory, a `.tgz`, a classic repository or a registry, as standard Helm OCI artifacts:
//! the chart's metadata as the configuration, the archive as a layer, and its provenance file as another.
//!
//! An archive travels as it is, and one from a registry with its own manifest. A directory is packed here, with
//! the dependencies that it lacks.
//!
//! **What this may never do:** change an archive that came from outside, take one whose digest is not the one
//! that was stated, or write a login down.
//!
//! Read in this order: [`place`] (where a chart is), [`index`] with `manifests::range` (which version), `repository` and
//! `oci` (how it comes), `archive` (what is inside), `dependencies` and `directory` (what is packed),
//! [`provenance`] (who has signed it).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use manifests::bundle::Content;
use manifests::companion::Companion;
use manifests::inventory::{Chart, ChartSignature, Component, FileMode, SetFile, Values};
use manifests::oci::{
    ANNOTATION_TITLE, ARTIFACT_VALUES, Descriptor, MEDIA_FILE, MEDIA_HELM_CHART, MEDIA_HELM_CONFIG,
    MEDIA_HELM_PROVENANCE,
};
use manifests::range::Range;
use manifests::text::{BundleVersion, Marking, Name, RelativePath, printable};

use super::images::{self, Collected};
use super::logins::Logins;
use super::{Resolved, World, author_artifact, author_manifest, files, inline};
use crate::lock::{LockedBlob, Origin, PackedChart};
use crate::spec::ChartSpec;

mod archive;
mod dependencies;
mod directory;
mod error;
pub mod index;
mod oci;
pub mod place;
pub mod provenance;
mod repository;

use archive::{ChartYaml, Inside};
use dependencies::Fetched;
use error::not_a_chart;
use provenance::{Claim, PROVENANCE_BYTES_MAX, Provenance};

pub(crate) use dependencies::repack;
pub use error::ChartError;
pub use place::ChartPlace;

/// Helm itself reads no larger chart by default.
const CHART_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// `Chart.yaml` and `.helmignore`.
const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;

type Blobs = BTreeMap<manifests::Digest, LockedBlob>;

/// What resolves charts: it keeps the indexes of repositories, so that each is fetched once in a run.
pub struct Charts<'a> {
    world: &'a World<'a>,
    logins: Logins,
    /// By their address.
    indexes: RefCell<BTreeMap<String, Rc<index::Index>>>,
}

/// A chart's archive on this machine, and what came with it.
struct Taken {
    /// For messages and the inventory, without a login.
    shown: String,
    archive: Content,
    from: Origin,
    /// Where its bytes are now.
    path: PathBuf,
    /// What was asked for, as far as it was.
    name: Option<String>,
    version: Option<String>,
    provenance: Option<(Vec<u8>, Origin)>,
    /// What was fetched to be packed along.
    fetched: Vec<Fetched>,
    /// Its artifact, if it has one already.
    artifact: Option<(oci::OciChart, Collected)>,
}

/// Resolves a chart to digests.
///
/// # Errors
/// See [`ChartError`].
pub fn resolve(spec: &ChartSpec, world: &World<'_>) -> Result<Resolved, ChartError> {
    Charts::new(world).resolve(spec)
}

/// Where the archive of a resolved chart is on this machine. What the cache has lost is fetched or packed again.
///
/// # Errors
/// It is no chart, or its archive can no longer be had.
pub fn open(resolved: &Resolved, world: &World<'_>) -> Result<PathBuf, ChartError> {
    let Component::Chart(chart) = &resolved.component else {
        return Err(ChartError::Place(format!("is {}", resolved.component.title())));
    };
    let content = chart.archive;
    let lost = || std::io::Error::new(std::io::ErrorKind::NotFound, "its archive is not in the lock");
    let blob = resolved.blobs.get(&content.digest).ok_or_else(lost).map_err(ChartError::Cache)?;
    if let Origin::File(path) = &blob.from {
        return Ok(world.path(path));
    }
    let there = world.cache.open(&content).map_err(ChartError::Cache)?.is_some();
    if !there {
        let again = crate::export::open(content, blob, world)
            .and_then(|mut source| world.cache.add(&mut |out| std::io::copy(&mut source, out).map(|_| ())));
        again.map_err(ChartError::Cache)?;
    }
    Ok(world.cache.path(&content.digest))
}

/// What opens the repositories of a bundle's charts, for a build that has to fetch them again. An address that
/// cannot be made out gives no login, and a server that wants one then says so.
pub(crate) fn add_logins(world: &World<'_>, logins: &mut Logins) {
    for spec in world.charts {
        let Some(url) = &spec.repo else { continue };
        if let Ok(root) = repository::root(spec, url, |path| world.path(path)) {
            logins.add(&root);
        }
    }
}

impl<'a> Charts<'a> {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(world: &'a World<'a>) -> Self {
        let mut logins = Logins::of_user(world.env);
        add_logins(world, &mut logins);
        Self { world, logins, indexes: RefCell::default() }
    }

    /// Resolves a chart to digests.
    ///
    /// # Errors
    /// See [`ChartError`].
    pub fn resolve(&self, spec: &ChartSpec) -> Result<Resolved, ChartError> {
        let taken = match ChartPlace::of(spec).map_err(ChartError::Place)? {
            ChartPlace::Path(shown) => self.on_this_machine(&shown)?,
            ChartPlace::Repository { url, name, version } => {
                self.in_repository(spec, &url, &name, &version)?
            }
            ChartPlace::Oci(place) => self.in_registry(spec, &place)?,
        };
        let inside = self.inside(&taken)?;
        is_asked_for(&inside, &taken.shown, taken.name.as_deref(), taken.version.as_deref())?;
        has_all(&inside)?;
        for (chart, dependency) in inside.missing_below() {
            let (chart, dependency) = (printable(chart), printable(dependency));
            (self.world.note)(&format!(
                "note: {}: the chart {chart} in it depends on `{dependency}`, which is not there",
                taken.shown
            ));
        }
        let signature = self.check_provenance(spec, &taken, &inside)?;
        self.component(spec, taken, &inside, signature)
    }

    fn inside(&self, taken: &Taken) -> Result<Inside, ChartError> {
        let shown = Path::new(&taken.shown);
        let read = |source| ChartError::Read { path: shown.to_path_buf(), source };
        let inside = Inside::read(File::open(&taken.path).map_err(read)?, shown);
        match taken.from {
            Origin::File(_) | Origin::PackedChart(_) => inside,
            _ => inside.map_err(ChartError::of_a_server),
        }
    }

    /// A directory or an archive on this machine.
    fn on_this_machine(&self, shown: &Path) -> Result<Taken, ChartError> {
        let path = self.world.path(shown);
        let read = |source| ChartError::Read { path: shown.to_path_buf(), source };
        let taken = |archive, from, path, provenance, fetched| Taken {
            shown: shown.display().to_string(),
            archive,
            from,
            path,
            name: None,
            version: None,
            provenance,
            fetched,
            artifact: None,
        };
        if !std::fs::metadata(&path).map_err(read)?.is_dir() {
            let content = layout::hashing::hash(&mut File::open(&path).map_err(read)?).map_err(read)?;
            let provenance = beside(&path, shown)?;
            return Ok(taken(content, Origin::File(shown.to_path_buf()), path, provenance, Vec::new()));
        }
        let mut archive = directory::pack(&path, shown, &[], self.world)?;
        let fetched = self.dependencies(shown, &Inside::read(self.cached(&archive)?, shown)?)?;
        let packed: Vec<_> = fetched.iter().map(|one| one.packed.clone()).collect();
        if !packed.is_empty() {
            let extras = dependencies::extras(&packed, self.world);
            archive = directory::pack(&path, shown, &extras, self.world)?;
        }
        let from = PackedChart { directory: shown.to_path_buf(), dependencies: packed };
        let cached = self.world.cache.path(&archive.digest);
        Ok(taken(archive, Origin::PackedChart(from), cached, None, fetched))
    }

    /// A classic repository.
    fn in_repository(
        &self,
        spec: &ChartSpec,
        url: &str,
        name: &Name,
        wanted: &Range,
    ) -> Result<Taken, ChartError> {
        let root = repository::root(spec, url, |path| self.world.path(path))?;
        let mut logins = self.logins.clone();
        logins.add(&root);
        let located = self.locate(&root, name.as_str(), wanted, &logins)?;
        let archive = self.archives(std::slice::from_ref(&located), &logins)?;
        let lost =
            || ChartError::Damaged { what: located.url.to_string(), reason: "nothing came".to_string() };
        let archive = archive.first().copied().ok_or_else(lost)?;
        let provenance = match self.provenance_beside(&located.url, &logins)? {
            Some((url, bytes)) => {
                self.world.cache.put(&bytes).map_err(ChartError::Cache)?;
                Some((bytes, Origin::Url(url.to_wire())))
            }
            None => None,
        };
        Ok(Taken {
            shown: root.address().to_wire().trim_end_matches('/').to_string(),
            archive,
            from: Origin::Url(located.url.to_wire()),
            path: self.world.cache.path(&archive.digest),
            name: Some(name.to_string()),
            version: Some(located.version),
            provenance,
            fetched: Vec::new(),
            artifact: None,
        })
    }

    /// A registry.
    fn in_registry(&self, spec: &ChartSpec, place: &place::OciPlace) -> Result<Taken, ChartError> {
        let found = oci::find(place, self.world)?;
        let collected = images::collect(&found.reference, &found.manifest, self.world);
        let collected = collected.map_err(|error| oci::failed(&found.reference, error))?;
        let (registries, cache) = (self.world.registries, self.world.cache);
        let title = format!("{}{}", place::OCI, found.reference);
        for content in [Some(found.archive), found.provenance].into_iter().flatten() {
            oci::layer(registries, cache, &found.place, content).map_err(|error| error.of(&title))?;
        }
        let lost = || ChartError::Cache(std::io::Error::other("the cache has lost it"));
        let provenance = match found.provenance {
            Some(content) => {
                let bytes = cache.document(&content.digest).ok_or_else(lost)?;
                Some((bytes, Origin::Registry(found.place.clone())))
            }
            None => None,
        };
        let written = spec.source.as_deref().unwrap_or(Path::new("")).display();
        Ok(Taken {
            shown: written.to_string(),
            archive: found.archive,
            from: Origin::Registry(found.place.clone()),
            path: cache.path(&found.archive.digest),
            name: None,
            version: found.version.clone(),
            provenance,
            fetched: Vec::new(),
            artifact: Some((found, collected)),
        })
    }

    /// The provenance file is about these bytes; and, if somebody asked for it, signed by whom it must be.
    fn check_provenance(
        &self,
        spec: &ChartSpec,
        taken: &Taken,
        inside: &Inside,
    ) -> Result<Option<ChartSignature>, ChartError> {
        let file = format!("{}-{}.tgz", inside.yaml.name, inside.yaml.version);
        if let Some((bytes, _)) = &taken.provenance {
            let checked = Provenance::parse(bytes).and_then(|found| found.check(&file, taken.archive.digest));
            let what = format!("of {}", taken.shown);
            checked.map_err(|source| ChartError::Provenance { what, source })?;
        }
        let Some(wanted) = &spec.verify else { return Ok(None) };
        // It becomes a file's name below.
        let plain: manifests::text::FileName =
            file.parse().map_err(|source| ChartError::Field { path: PathBuf::from(&taken.shown), source })?;
        let claim = Claim {
            chart: &taken.shown,
            file: plain.as_str(),
            archive: &taken.path,
            provenance: taken.provenance.as_ref().map(|(bytes, _)| bytes.as_slice()),
            keyring: &wanted.keyring,
        };
        let signature = provenance::verify(&claim, self.world)?;
        (self.world.note)(&format!(
            "note: {}: signed by {} ({})",
            taken.shown, signature.signer, signature.fingerprint
        ));
        Ok(Some(signature))
    }

    fn component(
        &self,
        spec: &ChartSpec,
        taken: Taken,
        inside: &Inside,
        upstream_signature: Option<ChartSignature>,
    ) -> Result<Resolved, ChartError> {
        let shown = PathBuf::from(&taken.shown);
        let field = |source| ChartError::Field { path: shown.clone(), source };
        let name: Name = inside.yaml.name.parse().map_err(field)?;
        let version: BundleVersion = inside.yaml.version.parse().map_err(field)?;
        let source: Marking = taken.shown.parse().map_err(field)?;
        let dependencies = dependencies::listed(inside, &taken.fetched).map_err(field)?;
        let (archive, mut blobs) = (taken.archive, Blobs::new());
        blobs.insert(archive.digest, LockedBlob { size: archive.size, from: taken.from });
        let provenance = taken.provenance.map(|(bytes, from)| {
            let content = Content::of(&bytes);
            blobs.insert(content.digest, LockedBlob { size: content.size, from });
            content
        });
        let artifact = match taken.artifact {
            Some((found, collected)) => {
                let config = self.world.cache.document(&found.config.digest).unwrap_or_default();
                oci::check_config(&taken.shown, &config, name.as_str(), version.as_str())?;
                carried(&found, collected, &mut blobs)
            }
            None => {
                let metadata = metadata(&shown, &inside.text, &inside.yaml)?;
                inline(&mut blobs, &metadata);
                let manifest = author(&metadata, archive, provenance, &mut blobs)?;
                let metadata = Content::of(&metadata);
                Artifact { manifest, metadata, companions: Vec::new(), companion_blobs: Vec::new() }
            }
        };
        let values = values(&spec.values, self.world, &mut blobs)?;
        let component = Component::Chart(Chart {
            images: Vec::new(),
            name,
            version,
            source,
            manifest: artifact.manifest,
            archive,
            metadata: artifact.metadata,
            release: spec.release.clone(),
            namespace: spec.namespace.clone(),
            order: spec.order,
            values,
            provenance,
            upstream_signature,
            dependencies,
            companions: artifact.companions,
            companion_blobs: artifact.companion_blobs,
        });
        Ok(Resolved { component, blobs })
    }
}

/// A name and a version that somebody has asked for are those of the chart inside.
fn is_asked_for(
    inside: &Inside,
    what: &str,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<(), ChartError> {
    let found = &inside.yaml;
    let same = |asked: &str| {
        asked == found.version
            || asked.strip_prefix('v').unwrap_or(asked) == found.version.trim_start_matches('v')
    };
    if name.is_none_or(|name| name == found.name) && version.is_none_or(same) {
        return Ok(());
    }
    let asked = [name, version].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Err(ChartError::Other {
        what: what.to_string(),
        found: printable(&format!("{} {}", found.name, found.version)),
        asked: printable(&asked),
    })
}

/// A chart has what it says that it needs.
fn has_all(inside: &Inside) -> Result<(), ChartError> {
    let dependencies: Vec<String> = inside.missing().iter().map(|need| printable(&need.name)).collect();
    if dependencies.is_empty() {
        return Ok(());
    }
    Err(ChartError::Dependency { chart: printable(&inside.yaml.name), dependencies })
}

/// The provenance file beside an archive, if there is one.
fn beside(archive: &Path, shown: &Path) -> Result<Option<(Vec<u8>, Origin)>, ChartError> {
    let with_end = |path: &Path| {
        let mut name = path.as_os_str().to_os_string();
        name.push(".prov");
        PathBuf::from(name)
    };
    match layout::durable::read_bounded(&with_end(archive), PROVENANCE_BYTES_MAX) {
        Ok(bytes) => Ok(Some((bytes, Origin::File(with_end(shown))))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChartError::Read { path: with_end(shown), source }),
    }
}

/// Helm's artifact of a chart, ours or that of a registry.
struct Artifact {
    manifest: Descriptor,
    metadata: Content,
    companions: Vec<Companion>,
    companion_blobs: Vec<manifests::Digest>,
}

/// The artifact of a registry as it is, with what lies beside it.
fn carried(found: &oci::OciChart, collected: Collected, blobs: &mut Blobs) -> Artifact {
    let mut own = vec![found.manifest.digest, found.config.digest, found.archive.digest];
    own.extend(found.provenance.map(|file| file.digest));
    let beside = collected.order.into_iter().filter(|digest| !own.contains(digest));
    let companion_blobs = beside.collect();
    blobs.extend(collected.blobs);
    let (manifest, metadata) = (found.manifest.clone(), found.config);
    Artifact { manifest, metadata, companions: collected.companions, companion_blobs }
}

/// Helm's artifact of a chart that has none yet.
fn author(
    metadata: &[u8],
    archive: Content,
    provenance: Option<Content>,
    blobs: &mut Blobs,
) -> Result<Descriptor, ChartError> {
    let mut layers = vec![Descriptor::new(MEDIA_HELM_CHART, archive.digest, archive.size)];
    layers.extend(provenance.map(|file| Descriptor::new(MEDIA_HELM_PROVENANCE, file.digest, file.size)));
    Ok(author_manifest(None, Descriptor::of(MEDIA_HELM_CONFIG, metadata), layers, blobs)?)
}

/// `Chart.yaml` as JSON, the configuration of Helm's OCI artifact.
fn metadata(shown: &Path, text: &str, typed: &ChartYaml) -> Result<Vec<u8>, ChartError> {
    let mut value: serde_json::Value = edge::yaml::parse(&format!("{}/Chart.yaml", shown.display()), text)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("version".to_string(), typed.version.clone().into());
        if let Some(app) = &typed.app_version {
            map.insert("appVersion".to_string(), app.clone().into());
        }
    }
    serde_json::to_vec(&value).map_err(|error| not_a_chart(shown, format!("Chart.yaml: {error}")))
}

/// Values files, as an artifact beside the chart's.
fn values(paths: &[PathBuf], world: &World<'_>, blobs: &mut Blobs) -> Result<Option<Values>, ChartError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut set = Vec::new();
    for (position, shown) in paths.iter().enumerate() {
        let content = files::hash(world, shown)?;
        // Two files may have one name in two directories; the number keeps them apart and in order.
        let name = shown.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path: RelativePath = format!("{position:02}-{name}")
            .parse()
            .map_err(|source| ChartError::Field { path: shown.clone(), source })?;
        let mode = FileMode::new(0o644).unwrap_or_else(|| unreachable!("0644 is within 0777"));
        blobs.insert(content.digest, LockedBlob { size: content.size, from: Origin::File(shown.clone()) });
        set.push(SetFile { path, digest: content.digest, size: content.size, mode });
    }
    let layer = |file: &SetFile| {
        Descriptor::new(MEDIA_FILE, file.digest, file.size).annotated(ANNOTATION_TITLE, file.path.as_str())
    };
    let manifest = author_artifact(ARTIFACT_VALUES, set.iter().map(layer).collect(), blobs)?;
    Ok(Some(Values { files: set, manifest }))
}
