//! The bill of materials: what a bundle holds, for people and tools that know nothing of bundles. One CycloneDX
//! 1.6 document inside the bundle, and for each image the bills of materials that its publisher has attached.
//!
//! **What this module may never do:** look into a layer or a wheel, or state what is not in the inventory. A
//! document of somebody else's is linked, by digest, and never repeated. The same lock gives the same bytes, so
//! neither the clock nor the version of this program shows.

use std::collections::BTreeMap;

use edge::{Classified, Exit};
use manifests::bundle::{Content, Sequence};
use manifests::canonical::{self, CanonicalError};
use manifests::companion::{Companion, CompanionKind};
use manifests::inventory::{
    BundleSbom, Chart, Component, FileSet, Image, ImageSbom, SbomForm, SbomFormat, UpstreamSignature, Wheel,
    Wheelhouse,
};
use manifests::kubernetes::KubernetesManifests;
use manifests::oci::{ANNOTATION_TITLE, Annotations, ImageManifest, MEDIA_CYCLONEDX, ManifestDocument};
use manifests::script::Script;
use manifests::{ArchivePath, Descriptor, Digest};
use packageurl::PackageUrl;
use serde::Serialize;

use crate::lock::BundleLock;
use crate::sources::{author_artifact, inline};
use crate::spec::BundleSpec;

/// On a child of an index: what BuildKit says that it is, and of which manifest.
const ANNOTATION_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const ANNOTATION_REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// What a statement states, on its layer or manifest: cosign's, in-toto's and Sigstore's spelling.
const ANNOTATIONS_PREDICATE: [&str; 3] =
    ["predicateType", "in-toto.io/predicate-type", "dev.sigstore.bundle.predicateType"];

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// A name that no package URL can have.
    #[error("no package URL can be made for {name}")]
    PackageUrl {
        /// Of what.
        name: String,
        /// What is wrong.
        source: packageurl::Error,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for SbomError {
    fn exit(&self) -> Exit {
        Exit::Unexpected
    }
}

/// Adds to a lock its bill of materials, and to each of its images those that came with it. The file that the lock
/// was read from stays as it is. `documents` gives the bytes of image manifests.
///
/// # Errors
/// See [`SbomError`].
pub fn add(
    spec: &BundleSpec,
    mut lock: BundleLock,
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Result<(BundleLock, BundleSbom), SbomError> {
    for component in &mut lock.components {
        if let Component::Image(image) = component {
            image.sboms = attached(image, documents);
        }
    }
    let text = document(spec, &lock)?;
    inline(&mut lock.blobs, &text);
    let title = format!("{}-{}.cdx.json", spec.product, spec.version);
    let layer = Descriptor::of(MEDIA_CYCLONEDX, &text).annotated(ANNOTATION_TITLE, &title);
    let manifest = author_artifact(MEDIA_CYCLONEDX, vec![layer], &mut lock.blobs)?;
    Ok((lock, BundleSbom { document: Content::of(&text), manifest }))
}

/// The bills of materials that came with an image: cosign's and OCI companions, and what BuildKit puts into an index.
fn attached(image: &Image, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<ImageSbom> {
    let parse = |descriptor: &Descriptor| {
        let bytes = documents.get(&descriptor.digest)?;
        ManifestDocument::parse(bytes, &descriptor.media_type).ok()
    };
    let mut found = Vec::new();
    for companion in &image.companions {
        if let Some(ManifestDocument::Image(manifest)) = parse(&companion.manifest) {
            found.extend(of_companion(companion, &manifest));
        }
    }
    if let Some(ManifestDocument::Index(index)) = parse(&image.manifest) {
        for child in &index.manifests {
            let note = |key: &str| child.annotations.get(key).map(String::as_str);
            let of = note(ANNOTATION_REFERENCE_DIGEST).and_then(|of| of.parse().ok());
            if let (Some(ATTESTATION_MANIFEST), Some(of)) = (note(ANNOTATION_REFERENCE_TYPE), of)
                && let Some(ManifestDocument::Image(manifest)) = parse(child)
            {
                found.extend(attestations(&manifest, of));
            }
        }
    }
    // An index may speak about what was not taken along.
    found.retain(|sbom| image.blobs.contains(&sbom.of) && image.blobs.contains(&sbom.blob));
    found.sort();
    found.dedup();
    found
}

fn of_companion(companion: &Companion, manifest: &ImageManifest) -> Vec<ImageSbom> {
    match companion.kind {
        CompanionKind::CosignSignature => Vec::new(),
        CompanionKind::CosignAttestation => attestations(manifest, companion.of),
        CompanionKind::CosignSbom => plain(manifest, companion.of),
        CompanionKind::Referrer => {
            let mut found = plain(manifest, companion.of);
            found.extend(attestations(manifest, companion.of));
            found
        }
    }
}

/// Layers that are documents.
fn plain(manifest: &ImageManifest, of: Digest) -> Vec<ImageSbom> {
    let sbom = |layer: &Descriptor| {
        let format = format_of(&layer.media_type)?;
        Some(ImageSbom { blob: layer.digest, of, format, form: SbomForm::Document })
    };
    manifest.layers.iter().filter_map(sbom).collect()
}

/// Layers that are statements with a document in them.
fn attestations(manifest: &ImageManifest, of: Digest) -> Vec<ImageSbom> {
    let predicate =
        |notes: &Annotations| ANNOTATIONS_PREDICATE.iter().find_map(|key| format_of(notes.get(key)?));
    let whole = predicate(&manifest.annotations);
    let sbom = |layer: &Descriptor| {
        let format = predicate(&layer.annotations).or(whole)?;
        Some(ImageSbom { blob: layer.digest, of, format, form: SbomForm::Attestation })
    };
    manifest.layers.iter().filter_map(sbom).collect()
}

/// Of a media type or the type of a predicate.
fn format_of(text: &str) -> Option<SbomFormat> {
    let text = text.to_ascii_lowercase();
    let known =
        [("cyclonedx", SbomFormat::Cyclonedx), ("spdx", SbomFormat::Spdx), ("syft", SbomFormat::Syft)];
    known.into_iter().find(|(word, _)| text.contains(word)).map(|(_, format)| format)
}

/// The document of CycloneDX. Only the keys that we have something to say for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Part>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Part,
}

#[derive(Serialize)]
struct Tools {
    components: Vec<Part>,
}

/// A component in CycloneDX's sense.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(rename = "bom-ref", skip_serializing_if = "String::is_empty")]
    bom_ref: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<External>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Part>,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Serialize)]
struct External {
    #[serde(rename = "type")]
    kind: &'static str,
    /// A path inside the archive.
    url: String,
    hashes: Vec<Hash>,
    comment: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    depends_on: Vec<String>,
}

fn document(spec: &BundleSpec, lock: &BundleLock) -> Result<Vec<u8>, SbomError> {
    let components = lock.components.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let product = Part {
        bom_ref: "bundle".to_string(),
        kind: "application",
        publisher: Some(spec.publisher.to_string()),
        name: spec.product.to_string(),
        version: Some(spec.version.to_string()),
        properties: vec![
            property("airlock:marking", &spec.marking),
            property("airlock:order", &Sequence { epoch: spec.epoch, sequence: spec.sequence }),
        ],
        ..Part::default()
    };
    let bundler = Part {
        kind: "application",
        publisher: Some("airlock".to_string()),
        name: "bundler".to_string(),
        ..Part::default()
    };
    let depends_on = components.iter().map(|part| part.bom_ref.clone()).collect();
    let mut bom = Bom {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: String::new(),
        version: 1,
        metadata: Metadata {
            timestamp: lock.created.to_string(),
            tools: Tools { components: vec![bundler] },
            component: product,
        },
        components,
        dependencies: vec![Dependency { of: "bundle".to_string(), depends_on }],
    };
    bom.serial_number = serial_number(&Digest::of(&canonical::to_canonical(&bom)?));
    Ok(canonical::to_canonical(&bom)?)
}

/// A UUID by name, of version 8 as RFC 9562 has it: the same document has the same one.
fn serial_number(digest: &Digest) -> String {
    let hex: Vec<char> = digest.hex().chars().take(30).collect();
    let digits = |from: usize, count: usize| hex.iter().skip(from).take(count).collect::<String>();
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        digits(0, 8),
        digits(8, 4),
        digits(12, 3),
        digits(15, 3),
        digits(18, 12)
    )
}

fn part(component: &Component) -> Result<Part, SbomError> {
    let mut part = match component {
        Component::Image(image) => image_part(image)?,
        Component::Wheelhouse(wheelhouse) => wheelhouse_part(wheelhouse)?,
        Component::Chart(chart) => chart_part(chart)?,
        Component::FileSet(set) => file_set_part(set),
        Component::KubernetesManifests(set) => kubernetes_part(set),
        Component::Script(script) => script_part(script),
    };
    part.bom_ref = component.ref_name();
    for inner in &mut part.components {
        inner.bom_ref = format!("{}/{}", part.bom_ref, inner.bom_ref);
    }
    Ok(part)
}

fn image_part(image: &Image) -> Result<Part, SbomError> {
    let (repository, tag) = (image.name.repository(), image.name.tag());
    let name = repository.rsplit('/').next().unwrap_or(&repository);
    let digest = image.manifest.digest;
    let broken = |source| SbomError::PackageUrl { name: image.name.to_string(), source };
    let mut purl = PackageUrl::new("oci", name.to_string()).map_err(broken)?;
    purl.with_version(digest.to_string()).map_err(broken)?;
    purl.add_qualifier("repository_url", repository.clone()).map_err(broken)?;
    if let Some(tag) = tag {
        purl.add_qualifier("tag", tag.to_string()).map_err(broken)?;
    }
    let mut properties = vec![property("airlock:source", &image.source)];
    properties.extend(image.platforms.iter().map(|platform| property("airlock:platform", platform)));
    if let UpstreamSignature::Verified(verdict) = image.upstream_signature {
        properties.push(property("airlock:upstream-signature:key", &verdict.key));
    }
    let companions = image.companions.iter().filter_map(companion_link);
    Ok(Part {
        kind: "container",
        name: repository.clone(),
        version: Some(tag.map_or_else(|| digest.to_string(), ToString::to_string)),
        purl: Some(purl.to_string()),
        hashes: vec![hash(&digest)],
        external_references: image.sboms.iter().map(sbom_link).chain(companions).collect(),
        properties,
        ..Part::default()
    })
}

fn sbom_link(sbom: &ImageSbom) -> External {
    let format = match sbom.format {
        SbomFormat::Cyclonedx => "CycloneDX",
        SbomFormat::Spdx => "SPDX",
        SbomFormat::Syft => "Syft",
    };
    let form = match sbom.form {
        SbomForm::Document => "",
        SbomForm::Attestation => ", as the predicate of an attestation",
    };
    External {
        kind: "bom",
        url: ArchivePath::Blob(sbom.blob).to_string(),
        hashes: vec![hash(&sbom.blob)],
        comment: format!("{format} of {}{form}; not checked by the bundler", sbom.of),
    }
}

/// What else lies beside an image. Bills of materials have links of their own.
fn companion_link(companion: &Companion) -> Option<External> {
    let kind = match companion.kind {
        CompanionKind::CosignSignature => "digital-signature",
        CompanionKind::CosignAttestation => "attestation",
        CompanionKind::CosignSbom => return None,
        CompanionKind::Referrer => "other",
    };
    let digest = companion.manifest.digest;
    Some(External {
        kind,
        url: ArchivePath::Blob(digest).to_string(),
        hashes: vec![hash(&digest)],
        comment: format!("{} of {}: its manifest", companion.kind.noun(), companion.of),
    })
}

fn wheelhouse_part(wheelhouse: &Wheelhouse) -> Result<Part, SbomError> {
    let mut properties = vec![property("airlock:source", &wheelhouse.source)];
    properties.extend(wheelhouse.targets.iter().map(|target| Property {
        name: "airlock:target",
        value: format!("{}/{}", target.python, target.platform),
    }));
    Ok(Part {
        kind: "platform",
        name: wheelhouse.name.to_string(),
        hashes: vec![hash(&wheelhouse.manifest.digest)],
        properties,
        components: wheelhouse.wheels.iter().map(wheel_part).collect::<Result<_, _>>()?,
        ..Part::default()
    })
}

fn wheel_part(wheel: &Wheel) -> Result<Part, SbomError> {
    let broken = |source| SbomError::PackageUrl { name: wheel.filename.to_string(), source };
    let mut purl = PackageUrl::new("pypi", wheel.project.to_string()).map_err(broken)?;
    purl.with_version(wheel.version.to_string()).map_err(broken)?;
    purl.add_qualifier("file_name", wheel.filename.to_string()).map_err(broken)?;
    Ok(Part {
        bom_ref: wheel.filename.to_string(),
        kind: "library",
        name: wheel.project.to_string(),
        version: Some(wheel.version.to_string()),
        purl: Some(purl.to_string()),
        hashes: vec![hash(&wheel.digest)],
        ..Part::default()
    })
}

fn chart_part(chart: &Chart) -> Result<Part, SbomError> {
    let broken = |source| SbomError::PackageUrl { name: chart.name.to_string(), source };
    let mut purl = PackageUrl::new("helm", chart.name.to_string()).map_err(broken)?;
    purl.with_version(chart.version.to_string()).map_err(broken)?;
    let values = chart.values.iter().flat_map(|values| &values.files);
    Ok(Part {
        kind: "application",
        name: chart.name.to_string(),
        version: Some(chart.version.to_string()),
        purl: Some(purl.to_string()),
        hashes: vec![hash(&chart.archive.digest)],
        properties: vec![property("airlock:source", &chart.source)],
        components: values.map(|file| file_part(&file.path, &file.digest, "values/")).collect(),
        ..Part::default()
    })
}

fn file_set_part(set: &FileSet) -> Part {
    Part {
        kind: "file",
        name: set.dest.to_string(),
        hashes: vec![hash(&set.manifest.digest)],
        properties: vec![property("airlock:source", &set.source)],
        components: set.files.iter().map(|file| file_part(&file.path, &file.digest, "")).collect(),
        ..Part::default()
    }
}

fn kubernetes_part(set: &KubernetesManifests) -> Part {
    Part {
        kind: "file",
        name: set.name.to_string(),
        hashes: vec![hash(&set.manifest.digest)],
        properties: vec![property("airlock:source", &set.source)],
        components: set.files.iter().map(|file| file_part(&file.path, &file.digest, "")).collect(),
        ..Part::default()
    }
}

fn script_part(script: &Script) -> Part {
    Part {
        kind: "file",
        name: script.name.to_string(),
        hashes: vec![hash(&script.manifest.digest)],
        properties: vec![property("airlock:source", &script.source)],
        components: script.files().iter().map(|file| file_part(&file.filename, &file.digest, "")).collect(),
        ..Part::default()
    }
}

fn file_part(path: &dyn std::fmt::Display, digest: &Digest, below: &str) -> Part {
    Part {
        bom_ref: format!("{below}{path}"),
        kind: "file",
        name: path.to_string(),
        hashes: vec![hash(digest)],
        ..Part::default()
    }
}

fn hash(digest: &Digest) -> Hash {
    Hash { alg: "SHA-256", content: digest.hex() }
}

fn property(name: &'static str, value: &dyn ToString) -> Property {
    Property { name, value: value.to_string() }
}
