//! Whether a node could pull what its pods name: simulated nodes pull nothing, so pods become ready whatever
//! their images are called. Every reference of every pod is looked up in the site's registry, down to the last
//! layer, for the platform of the pod's node.
//!
//! What it may never do: find nothing wrong because it looked at nothing.

use std::io::Read;

use manifests::oci::ManifestDocument;
use manifests::{Digest, Reference};
use registry::{Registry, Repository, TagOrDigest};
use serde_json::Value;

use crate::cluster::Cluster;

/// Where the site's registry keeps what a reference names.
#[derive(Debug, Clone, Copy)]
pub enum ImageNames<'a> {
    /// References are as upstream writes them, and nodes ask the site's registry instead:
    /// `[PREFIX/]HOST/PATH`.
    Mirrored {
        /// In front of the host, if anything.
        prefix: Option<&'a str>,
    },
    /// References name the site's registry.
    Rewritten,
}

/// An image that no node could run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unresolved {
    /// The pod's name.
    pub pod: String,
    /// The reference, as the pod has it.
    pub image: String,
    /// Why not.
    pub reason: String,
}

/// The images of a namespace's pods that their nodes could not pull from this registry: those of containers of
/// all three kinds, and those that are mounted. In the order of pods and images.
///
/// # Panics
/// Where the namespace has no pod: then there is nothing to be sure of.
#[must_use]
pub fn unresolved_images(
    cluster: &Cluster,
    namespace: &str,
    registry: &Registry,
    names: ImageNames<'_>,
) -> Vec<Unresolved> {
    let nodes = cluster.get(&["nodes"]);
    let pods = cluster.get(&["pods", "--namespace", namespace]);
    let pods = pods["items"].as_array().unwrap();
    assert!(!pods.is_empty(), "namespace {namespace} has no pod whose images could be looked up");
    let mut unresolved = Vec::new();
    for pod in pods {
        let images = images(pod);
        assert!(!images.is_empty(), "a pod without an image: {pod}");
        for image in images {
            let found =
                platform(&nodes, pod).and_then(|platform| look_up(&image, &platform, registry, names));
            if let Err(reason) = found {
                let pod = pod["metadata"]["name"].as_str().unwrap().to_string();
                unresolved.push(Unresolved { pod, image, reason });
            }
        }
    }
    unresolved.sort();
    unresolved
}

fn images(pod: &Value) -> Vec<String> {
    let lists = [
        ("containers", "/image"),
        ("initContainers", "/image"),
        ("ephemeralContainers", "/image"),
        ("volumes", "/image/reference"),
    ];
    let of_list = |(list, place): (&str, &'static str)| {
        let entries = pod["spec"][list].as_array().cloned().unwrap_or_default();
        entries.into_iter().filter_map(move |entry| Some(entry.pointer(place)?.as_str()?.to_string()))
    };
    lists.into_iter().flat_map(of_list).collect()
}

/// `OS/ARCHITECTURE` of the node that the pod is on.
fn platform(nodes: &Value, pod: &Value) -> Result<String, String> {
    let name = pod["spec"]["nodeName"].as_str().ok_or("the pod is on no node")?;
    let nodes = nodes["items"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name).ok_or("its node is gone")?;
    let label = |label: &str| node["metadata"]["labels"][label].as_str().unwrap_or("unlabelled");
    Ok(format!("{}/{}", label("kubernetes.io/os"), label("kubernetes.io/arch")))
}

fn look_up(image: &str, platform: &str, registry: &Registry, names: ImageNames<'_>) -> Result<(), String> {
    let reference: Reference = image.parse().map_err(words)?;
    let path = match names {
        ImageNames::Mirrored { prefix: Some(prefix) } => format!("{prefix}/{}", reference.site_path()),
        ImageNames::Mirrored { prefix: None } => reference.site_path(),
        ImageNames::Rewritten if reference.host() == registry.host() => reference.path().to_string(),
        ImageNames::Rewritten => {
            return Err(format!("it is not on the site's registry, {}", registry.host()));
        }
    };
    let repository = registry.repository(&path).map_err(words)?;
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => TagOrDigest::Digest(digest),
        (None, tag) => tag.unwrap_or("latest").parse().map_err(words)?,
    };
    match document(&repository, &name)? {
        ManifestDocument::Image(_) => pullable(&repository, &name, platform),
        ManifestDocument::Index(index) => {
            let fits = index.manifests.iter().find(|child| {
                child.is_manifest() && child.platform.as_ref().is_some_and(|found| found.matches(platform))
            });
            let child = fits.ok_or_else(|| format!("its index has nothing for {platform}"))?;
            pullable(&repository, &child.digest.into(), platform)
        }
    }
}

/// Whether an image manifest is there with everything in it, and is for this platform.
fn pullable(repository: &Repository, name: &TagOrDigest, platform: &str) -> Result<(), String> {
    let ManifestDocument::Image(image) = document(repository, name)? else {
        return Err(format!("{name} is an index inside an index"));
    };
    for layer in &image.layers {
        has(repository, &layer.digest)?;
    }
    has(repository, &image.config.digest)?;
    let mut config = Vec::new();
    let mut reader = repository.open_blob(&image.config.digest, image.config.size).map_err(words)?;
    reader.read_to_end(&mut config).map_err(words)?;
    let config: Value = serde_json::from_slice(&config).map_err(words)?;
    let part = |key: &str| config[key].as_str().unwrap_or("unknown");
    let found = format!("{}/{}", part("os"), part("architecture"));
    if found == platform { Ok(()) } else { Err(format!("it is for {found}, its node is {platform}")) }
}

fn document(repository: &Repository, name: &TagOrDigest) -> Result<ManifestDocument, String> {
    repository.get_manifest(name).map_err(words)?.document().map_err(words)
}

fn has(repository: &Repository, digest: &Digest) -> Result<(), String> {
    if repository.has_blob(digest).map_err(words)? {
        Ok(())
    } else {
        Err(format!("blob {digest} is missing"))
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
