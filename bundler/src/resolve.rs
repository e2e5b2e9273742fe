//! From a spec to a lock: every name becomes a digest, once.

use std::collections::BTreeMap;

use edge::{Env, Failure};
use manifests::inventory::Component;
use manifests::text::Name;
use manifests::{Digest, Timestamp};

use crate::discover::{self, Charted};
use crate::lock::{self, BundleLock, LockSchema, LockedBlob};
use crate::sources::images::list;
use crate::sources::{Resolved, World, charts, files, images, kubernetes, scripts, wheelhouse};
use crate::spec::{ChartSpec, ImageFrom, LoadedSpec};

/// Resolves everything that a spec names, and finds out whether the charts need more.
///
/// # Errors
/// The first thing that cannot be resolved, or every image that is missing.
pub fn resolve(loaded: &LoadedSpec, world: &World<'_>) -> Result<BundleLock, Failure> {
    let (mut found, charts) = find(loaded, world)?;
    discover::settle(&mut found.components, &charts)?;
    let created = created(loaded, world.env, &found)?;
    Ok(BundleLock {
        schema: LockSchema::V1,
        spec: loaded.digest,
        created,
        components: found.components,
        requires: loaded.spec.requires.clone(),
        health: loaded.spec.health.clone(),
        blobs: found.blobs,
    })
}

/// The images of a spec's charts, each with what would become of it.
///
/// # Errors
/// The first thing that cannot be resolved or rendered.
pub fn images(loaded: &LoadedSpec, world: &World<'_>) -> Result<Vec<Charted>, Failure> {
    find(loaded, world).map(|(_, charts)| charts)
}

fn find(loaded: &LoadedSpec, world: &World<'_>) -> Result<(Found, Vec<Charted>), Failure> {
    let mut found = Found::default();
    let mut specs: BTreeMap<String, &ChartSpec> = BTreeMap::new();
    for image in &loaded.spec.images {
        let sources = match &image.from {
            ImageFrom::Source(source) => vec![source.clone()],
            ImageFrom::List(path) => list::read(path, world)?,
        };
        for source in &sources {
            (world.note)(&format!("image {source}"));
            found.add(images::resolve(image, source, world)?)?;
        }
    }
    for wheels in &loaded.spec.wheels {
        (world.note)(&format!("wheels {}", wheels.name));
        found.add(wheelhouse::resolve(wheels, world)?)?;
    }
    let charts = charts::Charts::new(world);
    for chart in &loaded.spec.charts {
        (world.note)(&format!("chart {}", chart.title()));
        let resolved = charts.resolve(chart)?;
        specs.insert(resolved.component.ref_name(), chart);
        found.add(resolved)?;
    }
    for set in &loaded.spec.files {
        (world.note)(&format!("files {}", set.source.display()));
        let taken = found.file_sets();
        for portion in files::resolve(set, world, &taken)? {
            found.add(portion)?;
        }
    }
    let mut taken = kubernetes::Taken::default();
    for set in &loaded.spec.manifests {
        (world.note)(&format!("Kubernetes manifests {}", set.source.display()));
        found.add(kubernetes::resolve(set, world, &mut taken)?)?;
    }
    for (position, script) in loaded.spec.scripts.iter().enumerate() {
        (world.note)(&format!("script {}", script.source.display()));
        found.add(scripts::resolve(script, position as u64, world)?)?;
    }
    found.components.sort_by_key(Component::ref_name);
    let charts = discover::survey(&found.components, &found.blobs, &specs, &loaded.spec.waivers, world)?;
    Ok((found, charts))
}

#[derive(Default)]
struct Found {
    components: Vec<Component>,
    blobs: BTreeMap<Digest, LockedBlob>,
}

impl Found {
    fn add(&mut self, resolved: Resolved) -> Result<(), Failure> {
        let name = resolved.component.ref_name();
        if self.components.iter().any(|component| component.ref_name() == name) {
            return Err(Failure::usage(format!("{} is in the bundle twice", resolved.component.title()))
                .hint("give one of the two another `name`, or take it out"));
        }
        self.components.push(resolved.component);
        for (digest, blob) in resolved.blobs {
            // The first place that has it is as good as any other.
            self.blobs.entry(digest).or_insert(blob);
        }
        Ok(())
    }

    fn file_sets(&self) -> Vec<Name> {
        let name = |component: &Component| match component {
            Component::FileSet(set) => Some(set.name.clone()),
            _ => None,
        };
        self.components.iter().filter_map(name).collect()
    }
}

/// `SOURCE_DATE_EPOCH`; else the time of the lock before this one, if nothing but the time is new, so that
/// locking twice gives the same file; else now.
fn created(loaded: &LoadedSpec, env: &Env, found: &Found) -> Result<Timestamp, Failure> {
    let same = |before: &BundleLock| {
        before.spec == loaded.digest && before.components == found.components && before.blobs == found.blobs
    };
    let before = BundleLock::read(&lock::path_for(&loaded.path)).ok().filter(same);
    match before {
        Some(before) if env.var("SOURCE_DATE_EPOCH").is_none() => Ok(before.created),
        _ => crate::cli::created(env),
    }
}
