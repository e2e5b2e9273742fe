//! A Docker Engine: an image is loaded over the socket while it is read from the site store, then named.
//! A name that somebody else has given is moved only where `site.yaml` says so; what it named stays in the
//! Engine, without that name.
//!
//! An Engine keeps images in one of two ways. The old way knows them by the digest of their configuration
//! and for its own platform only; where it keeps them in containerd it knows them by the digest of their
//! manifest or index.

use std::collections::BTreeSet;

use manifests::inventory::Image;
use manifests::oci::{ImageManifest, MANIFEST_BYTES_MAX, ManifestDocument};
use manifests::text::printable;
use manifests::{Digest, VerifiedBundle};
use registry::engine::{Engine, EngineError, encoded};
use serde::Deserialize;

use super::images::{self, ImageStream, Machine};
use super::{Context, TargetError};
use crate::plan::{Load, LoadForm};
use crate::site::config::DockerTarget;

/// What an Engine says of one thing.
const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Its list of images, and what it says of itself.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Images that are asked for their layers; beyond them layers are sent that the Engine may have.
const IMAGES_ASKED_MAX: usize = 2000;
/// The first version that takes layers compressed with zstd.
const ZSTD_SINCE: u32 = 23;

/// An Engine, and what it says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `20.10.24`
    pub version: String,
    /// What it runs on.
    pub machine: Machine,
    /// Where it keeps its data.
    pub root: std::path::PathBuf,
    /// Whether it keeps images in containerd.
    pub in_containerd: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionDocument {
    version: String,
    os: String,
    arch: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InfoDocument {
    #[serde(default)]
    driver_status: Option<Vec<(String, String)>>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    docker_root_dir: std::path::PathBuf,
}

/// An image as the Engine knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Known {
    id: Digest,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default, rename = "RootFS")]
    root_fs: Option<RootFs>,
}

impl Known {
    fn has_no_name(&self) -> bool {
        self.repo_tags.as_ref().is_none_or(Vec::is_empty)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<Digest>>,
}

/// An image's own view of its layers.
#[derive(Deserialize)]
struct Configuration {
    rootfs: ConfigurationLayers,
}

#[derive(Deserialize)]
struct ConfigurationLayers {
    diff_ids: Vec<Digest>,
}

impl Facts {
    /// Why it cannot take an image with these layers, if it cannot.
    #[must_use]
    pub fn cannot_take(&self, manifest: &ImageManifest) -> Option<String> {
        let zstd = manifest.layers.iter().any(|layer| layer.media_type.ends_with("zstd"));
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let old = !self.in_containerd && major.is_some_and(|major| major < ZSTD_SINCE);
        (zstd && old).then(|| {
            format!("its layers are compressed with zstd, and the Docker Engine is {}", self.version)
        })
    }
}

/// The socket alone: its address is `unix://` before it.
fn engine(host: &str) -> Engine {
    Engine::at(host.strip_prefix("unix://").unwrap_or(host).into())
}

fn failed(host: &str) -> impl Fn(EngineError) -> TargetError + use<> {
    let host = host.to_string();
    move |source| TargetError::Engine { host: host.clone(), source }
}

/// Asks an Engine what it is.
///
/// # Errors
/// It does not answer.
pub fn facts(target: &DockerTarget) -> Result<Facts, TargetError> {
    let host = target.host.to_string();
    let (engine, failed) = (engine(&host), failed(&host));
    let version: VersionDocument = engine.get_json("/version", DOCUMENT_BYTES_MAX).map_err(&failed)?;
    let info: InfoDocument = engine.get_json("/info", LIST_BYTES_MAX).map_err(&failed)?;
    let in_containerd = info
        .driver_status
        .unwrap_or_default()
        .iter()
        .any(|(key, value)| key == "driver-type" && value.starts_with("io.containerd.snapshotter"));
    Ok(Facts {
        version: printable(&version.version),
        machine: Machine::new(&version.os, &version.arch, &info.architecture),
        root: info.docker_root_dir,
        in_containerd,
    })
}

/// The step for an image, with what its name names now; nothing for what is no container image.
///
/// # Errors
/// The Engine, or an image that has nothing for its platform.
pub fn look(
    bundle: &VerifiedBundle,
    image: &Image,
    target: &DockerTarget,
    facts: &Facts,
) -> Result<Option<Load>, TargetError> {
    let found = images::for_machine(bundle, image, &facts.machine);
    let (manifest, document) = found.ok_or_else(|| TargetError::Manifest {
        digest: image.manifest.digest,
        reason: format!("nothing of it is for {}", facts.machine),
    })?;
    if !images::is_runnable(&document) {
        return Ok(None);
    }
    let (form, id, manifest) = if facts.in_containerd {
        (LoadForm::Layout, image.manifest.digest, image.manifest.clone())
    } else {
        (LoadForm::DockerArchive, document.config.digest, manifest)
    };
    let host = target.host.to_string();
    let name = image.name.tag().map(|tag| format!("{}:{tag}", image.name.repository()));
    let (engine, failed) = (engine(&host), failed(&host));
    let old = match &name {
        Some(name) => known(&engine, name).map_err(&failed)?.map(|known| known.id),
        None => None,
    };
    let was_there = known(&engine, &id.to_string()).map_err(&failed)?.is_some();
    Ok(Some(Load { title: format!("image {}", image.name), host, name, form, id, manifest, old, was_there }))
}

/// What the Engine knows under a name or id.
fn known(engine: &Engine, name: &str) -> Result<Option<Known>, EngineError> {
    match engine.get_json(&format!("/images/{}/json", encoded(name)), DOCUMENT_BYTES_MAX) {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the Engine has the image under its name.
///
/// # Errors
/// The Engine.
pub fn is_new(load: &Load) -> Result<bool, TargetError> {
    let id = load.id.to_string();
    let name = load.name.as_deref().unwrap_or(&id);
    let known = known(&engine(&load.host), name).map_err(failed(&load.host))?;
    Ok(known.is_some_and(|known| known.id == load.id))
}

/// Whether there is something of it to take away: its name, or the image without any name.
///
/// # Errors
/// The Engine.
pub fn is_left(load: &Load) -> Result<bool, TargetError> {
    if load.name.is_some() && is_new(load)? {
        return Ok(true);
    }
    let found = known(&engine(&load.host), &load.id.to_string()).map_err(failed(&load.host))?;
    Ok(!load.was_there && found.is_some_and(|found| found.has_no_name()))
}

/// Loads the image unless the Engine has it, and names it.
///
/// # Errors
/// The Engine, the store, or a name that was moved since the plan was made.
pub fn perform(load: &Load, context: &Context<'_>) -> Result<(), TargetError> {
    let (engine, failed) = (engine(&load.host), failed(&load.host));
    if let Some(name) = &load.name {
        let now = known(&engine, name).map_err(&failed)?.map(|known| known.id);
        if now == Some(load.id) {
            return Ok(());
        }
        if now != load.old {
            return Err(TargetError::Moved { name: name.clone() });
        }
    }
    if known(&engine, &load.id.to_string()).map_err(&failed)?.is_none() {
        send(load, &engine, context)?;
    }
    load.name.as_ref().map_or(Ok(()), |name| tag(&engine, name, &load.id).map_err(failed))
}

fn tag(engine: &Engine, name: &str, id: &Digest) -> Result<(), EngineError> {
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
    engine.post(&format!("/images/{id}/tag?repo={}&tag={}", encoded(repository), encoded(tag)))
}

/// Sends the image, without the layers that the Engine has; all of it if it has lost one of them meanwhile.
fn send(load: &Load, engine: &Engine, context: &Context<'_>) -> Result<(), TargetError> {
    let (store, failed) = (context.site.store(), failed(&load.host));
    let stream = |stream: &ImageStream| {
        engine.load(stream.bytes(), &mut |out| stream.write(&store, out)).map_err(&failed)
    };
    if load.form == LoadForm::Layout {
        return stream(&ImageStream::layout(&load.manifest, &[], &store)?);
    }
    let ManifestDocument::Image(manifest) = images::read(&load.manifest, &store)? else {
        let reason = "it is an index".to_string();
        return Err(TargetError::Manifest { digest: load.manifest.digest, reason });
    };
    let there = layers_there(&manifest, engine, context)?;
    if !there.is_empty() && stream(&ImageStream::docker_archive(&manifest, &there)).is_ok() {
        return Ok(());
    }
    stream(&ImageStream::docker_archive(&manifest, &BTreeSet::new()))
}

/// The layers of an image that the Engine has in the same place of another one, from the lowest on.
fn layers_there(
    manifest: &ImageManifest,
    engine: &Engine,
    context: &Context<'_>,
) -> Result<BTreeSet<Digest>, TargetError> {
    let broken = |reason: String| TargetError::Manifest { digest: manifest.config.digest, reason };
    let bytes = context.site.store().read(&manifest.config.digest, MANIFEST_BYTES_MAX);
    let bytes = bytes.map_err(|error| broken(error.to_string()))?;
    let configuration: Configuration =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let ours = configuration.rootfs.diff_ids;
    if ours.len() != manifest.layers.len() {
        return Err(broken("it names another number of layers than its manifest".to_string()));
    }
    // What the Engine does not want to tell costs a longer stream, and nothing else.
    let images: Vec<Known> = engine.get_json("/images/json", LIST_BYTES_MAX).unwrap_or_default();
    let shared = images.iter().take(IMAGES_ASKED_MAX).filter_map(|image| {
        let theirs = known(engine, &image.id.to_string()).ok()??.root_fs?.layers?;
        Some(theirs.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours).count())
    });
    let (there, missing) = manifest.layers.split_at(shared.max().unwrap_or(0));
    let missing: BTreeSet<Digest> = missing.iter().map(|layer| layer.digest).collect();
    Ok(there.iter().map(|layer| layer.digest).filter(|digest| !missing.contains(digest)).collect())
}

/// Gives the name back to what it named, or takes it away; and takes the image away if it was not there
/// before and nobody else has named or uses it.
///
/// # Errors
/// The Engine: a container may use what would have to go.
pub fn undo(load: &Load, context: &Context<'_>) -> Result<(), TargetError> {
    let (engine, failed) = (engine(&load.host), failed(&load.host));
    if let Some(name) = &load.name {
        let now = known(&engine, name).map_err(&failed)?.map(|known| known.id);
        // Not moved yet, or moved on by somebody else: either way not ours to change.
        if now == Some(load.id) {
            match &load.old {
                Some(old) => tag(&engine, name, old).map_err(&failed)?,
                None => remove(&engine, name).map_err(&failed)?,
            }
        }
    }
    let left = known(&engine, &load.id.to_string()).map_err(&failed)?;
    match left {
        // The Engine removes an image with its last name, also one that had none before.
        None if load.was_there => send(load, &engine, context),
        Some(left) if !load.was_there && left.has_no_name() => match remove(&engine, &load.id.to_string()) {
            Err(error) if error.is_conflict() => Ok(()),
            removed => removed.map_err(failed),
        },
        _ => Ok(()),
    }
}

fn remove(engine: &Engine, name: &str) -> Result<(), EngineError> {
    match engine.delete(&format!("/images/{}?noprune=1", encoded(name))) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}
