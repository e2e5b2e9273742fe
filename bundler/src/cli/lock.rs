//! `bundler lock`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use edge::show::{bytes, table};
use edge::{Exit, Failure, Screen};
use manifests::companion::Companion;
use manifests::inventory::Component;
use manifests::script::{Script, Undo};
use manifests::{Digest, Timestamp};
use registry::{Http, HttpSettings};
use serde::Serialize;

use crate::cache::Cache;
use crate::lock::{self, BundleLock};
use crate::registries::Registries;
use crate::sources::World;
use crate::spec::{self, ChartSpec, LoadedSpec, RegistrySpec, WheelsSpec};

/// A registry that wants more patience than this is given up; it says so at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The arguments of `lock`.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// The spec
    #[arg(default_value = "bundle.yaml")]
    spec: PathBuf,
}

#[derive(Serialize)]
struct Document {
    lock: PathBuf,
    spec: Digest,
    created: Timestamp,
    components: Vec<Row>,
    blobs: usize,
    bytes: u64,
}

/// One component for people.
#[derive(Serialize)]
pub(super) struct Row {
    kind: &'static str,
    name: String,
    detail: String,
    digest: Digest,
    bytes: u64,
}

impl LockArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let loaded = spec::load(&screen.env.path(&self.spec))?;
        let lock = make(screen, &loaded)?;
        let path = lock::path_for(&loaded.path);
        let components: Vec<Row> =
            lock.components.iter().map(|component| row(component, &|digest| size(&lock, digest))).collect();
        let total = lock.blobs.values().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        let human = format!(
            "{}\n{} blobs, {}, locked in {}\n",
            rows(&components),
            lock.blobs.len(),
            bytes(total),
            path.display()
        );
        let document = Document {
            lock: path,
            spec: lock.spec,
            created: lock.created,
            components,
            blobs: lock.blobs.len(),
            bytes: total,
        };
        screen.result(&human, &document)
    }
}

fn size(lock: &BundleLock, digest: &Digest) -> u64 {
    lock.blobs.get(digest).map_or(0, |blob| blob.size)
}

/// Resolves a spec and writes its lock.
pub(super) fn make(screen: &mut Screen<'_>, loaded: &LoadedSpec) -> Result<BundleLock, Failure> {
    let lock = in_world(screen, loaded, &|world| crate::resolve::resolve(loaded, world))?;
    lock.write(&lock::path_for(&loaded.path))?;
    Ok(lock)
}

/// Does something with all that the sources of a spec may use.
pub(super) fn in_world<T>(
    screen: &Screen<'_>,
    loaded: &LoadedSpec,
    act: &dyn Fn(&World<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (http, registries) = clients(screen, loaded)?;
    let spec = &loaded.spec;
    in_place(screen, &loaded.base, &http, &registries, (&spec.wheels, &spec.charts), act)
}

/// The same, where there need be no spec.
pub(super) fn in_place<T>(
    screen: &Screen<'_>,
    base: &Path,
    http: &Http,
    registries: &Registries,
    (wheels, charts): (&[WheelsSpec], &[ChartSpec]),
    act: &dyn Fn(&World<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cache = Cache::of(screen.env);
    let shown = screen.progress();
    let (stderr, verbose) = (screen.env.stderr.clone(), screen.common.verbose > 0);
    let note = |text: &str| {
        if verbose || text.starts_with("note:") {
            stderr.say(text);
        }
    };
    act(&World {
        base: base.to_path_buf(),
        cache: &cache,
        http,
        registries,
        interrupted: &|| false,
        env: screen.env,
        note: &note,
        shown,
        wheels,
        charts,
    })
}

/// The HTTP client of a run, and those for its registries.
pub(super) fn clients(screen: &Screen<'_>, loaded: &LoadedSpec) -> Result<(Http, Registries), Failure> {
    clients_for(screen, &loaded.base, &loaded.spec.registries)
}

/// The same for registries that are reached as these say, with paths that start from `base`.
pub(super) fn clients_for(
    screen: &Screen<'_>,
    base: &Path,
    specs: &BTreeMap<String, RegistrySpec>,
) -> Result<(Http, Registries), Failure> {
    let stderr = screen.env.stderr.clone();
    let settings = HttpSettings {
        notice: Some(Arc::new(move |text: &str| stderr.say(text))),
        longest_pause: LONGEST_PAUSE,
        ..HttpSettings::default()
    };
    let http = Http::new(&settings).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    let registries = Registries::new(screen.env, settings, http.clone(), base, specs);
    Ok((http, registries))
}

/// A component for people.
pub(super) fn row(component: &Component, size: &dyn Fn(&Digest) -> u64) -> Row {
    let (kind, name, detail) = match component {
        Component::Image(image) => {
            let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
            ("image", image.name.to_string(), platforms.join(" "))
        }
        Component::Wheelhouse(set) => {
            let target =
                |target: &manifests::inventory::WheelTarget| format!("{}/{}", target.python, target.platform);
            let targets: Vec<String> = set.targets.iter().map(target).collect();
            ("wheels", set.name.to_string(), format!("{} wheels {}", set.wheels.len(), targets.join(" ")))
        }
        Component::Chart(chart) => {
            let inside = match chart.dependencies.len() {
                0 => None,
                1 => Some("1 chart inside".to_string()),
                more => Some(format!("{more} charts inside")),
            };
            let signed = match (&chart.provenance, &chart.upstream_signature) {
                (_, Some(signature)) => Some(format!("signed by {}", signature.signer)),
                (Some(_), None) => Some("provenance".to_string()),
                (None, None) => None,
            };
            let detail = inside.into_iter().chain(signed).collect::<Vec<_>>().join(", ");
            ("chart", format!("{} {}", chart.name, chart.version), detail)
        }
        Component::FileSet(set) => ("files", set.dest.to_string(), format!("{} files", set.files.len())),
        Component::KubernetesManifests(set) => {
            let namespace = set.namespace.as_ref().map(|name| format!(" for namespace {name}"));
            let detail = format!("{} files{}", set.files.len(), namespace.unwrap_or_default());
            ("kubernetes", set.name.to_string(), detail)
        }
        Component::Script(script) => ("script", script.name.to_string(), script_detail(script)),
    };
    let mut blobs = component.blobs();
    blobs.sort();
    blobs.dedup_by_key(|blob| blob.0);
    let bytes = blobs.iter().map(|(digest, _)| size(digest)).fold(0_u64, u64::saturating_add);
    let digest = component.manifests().first().map_or_else(|| Digest::of(b""), |manifest| manifest.digest);
    Row { kind, name: manifests::text::printable(&name), detail: detail.trim().to_string(), digest, bytes }
}

fn script_detail(script: &Script) -> String {
    match &script.undo {
        Undo::Script(undo) => format!("{}, undone by {}", script.when, undo.filename),
        Undo::Irreversible(reason) => format!("{}, irreversible: {reason}", script.when),
    }
}

/// What goes beside an image or chart, each in a row of its own, with the name that `skopeo copy` takes.
pub(super) fn companion_rows(component: &Component) -> Vec<Row> {
    let row = |companion: &Companion| Row {
        kind: companion.kind.noun(),
        name: component.companion_name(companion),
        detail: format!("of {}", companion.of.short()),
        digest: companion.manifest.digest,
        bytes: companion.manifest.size,
    };
    component.companions().iter().map(row).collect()
}

/// Components in columns.
pub(super) fn rows(components: &[Row]) -> String {
    let cells = |row: &Row| {
        let cells = [
            row.kind.to_string(),
            row.name.clone(),
            bytes(row.bytes),
            row.digest.short(),
            row.detail.clone(),
        ];
        cells.to_vec()
    };
    table(&components.iter().map(cells).collect::<Vec<_>>())
}
