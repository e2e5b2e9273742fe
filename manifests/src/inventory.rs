//! `inventory.json`: every component and every blob, and what follows from it alone: `SHA256SUMS`,
//! `index.json` and the order of the archive.
//!
//! *Invariant:* an [`Inventory`] read through [`Inventory::from_bytes`] names every blob once, each is
//! used by a component, and each component's content is there with the size it states.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::archive_path::ArchivePath;
use crate::bundle::{Content, Counts};
use crate::canonical::{self, CanonicalError};
use crate::companion::Companion;
use crate::delta::{Delta, DeltaError};
use crate::digest::Digest;
use crate::health::HealthChecks;
use crate::key::KeyId;
use crate::kubernetes::KubernetesManifests;
use crate::oci::{ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Descriptor, ImageIndex, Platform};
use crate::reference::Reference;
use crate::requires::Requires;
use crate::script::Script;
use crate::text::{
    BundleVersion, Destination, FileName, Fingerprint, LongLine, Marking, Name, PackageVersion, RelativePath,
};

/// Bounds `inventory.json` and `SHA256SUMS`: 100,000 files need about 20 MiB.
pub const INVENTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InventorySchema {
    /// This one.
    #[serde(rename = "airlock-inventory/v1")]
    V1,
}

/// The full list of what a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// What these bytes are.
    pub schema: InventorySchema,
    /// `oci-layout`, `index.json` and `manifest.json`.
    pub files: Files,
    /// What people asked for, sorted by [`Component::ref_name`].
    pub components: Vec<Component>,
    /// The bill of materials of the whole bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<BundleSbom>,
    /// What the site must have before anything changes.
    #[serde(default, skip_serializing_if = "Requires::is_empty")]
    pub requires: Requires,
    /// What has to hold once everything is in place.
    #[serde(default, skip_serializing_if = "HealthChecks::is_empty")]
    pub health: HealthChecks,
    /// What does not travel, if this is a delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// Every blob once, sorted by digest, whether it travels or not.
    pub blobs: Vec<Content>,
}

/// The bill of materials of the whole bundle: a CycloneDX document. Nothing here reads it; it is for people and
/// their tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleSbom {
    /// The document.
    pub document: Content,
    /// Its OCI artifact.
    pub manifest: Descriptor,
}

impl BundleSbom {
    /// Its name inside the layout. No component has it: theirs have a slash.
    pub const REF_NAME: &str = "sbom";
    /// What people call it in messages.
    pub const TITLE: &str = "the bill of materials";

    /// Every blob it needs.
    #[must_use]
    pub fn blobs(&self) -> [Content; 3] {
        let manifest = Content { digest: self.manifest.digest, size: self.manifest.size };
        [manifest, Content::of(crate::oci::EMPTY_CONFIG), self.document]
    }
}

/// The three fixed documents between the inventory and the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// `oci-layout`
    pub oci_layout: Content,
    /// `index.json`
    pub oci_index: Content,
    /// `manifest.json`, for `docker load`.
    pub docker_manifest: Content,
}

/// One thing that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Component {
    /// A container image, one platform or several.
    Image(Image),
    /// A set of wheels.
    Wheelhouse(Wheelhouse),
    /// A Helm chart.
    Chart(Chart),
    /// Plain files.
    FileSet(FileSet),
    /// Files of Kubernetes objects.
    KubernetesManifests(KubernetesManifests),
    /// A program that is run on site.
    Script(Script),
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The name that charts and people use.
    pub name: Reference,
    /// Where it came from, as written in `bundle.yaml`.
    pub source: LongLine,
    /// Its manifest or index.
    pub manifest: Descriptor,
    /// What it runs on.
    pub platforms: Vec<Platform>,
    /// Whether the publisher's upstream signature was checked when the bundle was locked.
    pub upstream_signature: UpstreamSignature,
    /// Bills of materials of it that travel along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sboms: Vec<ImageSbom>,
    /// Every blob that belongs to it or to its companions, the manifest first.
    pub blobs: Vec<Digest>,
    /// The upstream index of which only some platforms are carried. That index is not in the bundle, so
    /// signatures over it cannot be checked on site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<Digest>,
    /// Manifests that go beside it in its repository, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
}

/// A bill of materials that came with an image, in one of the image's blobs. What it says was not checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSbom {
    /// The blob.
    pub blob: Digest,
    /// The manifest that it speaks about: the image's own, or one below it.
    pub of: Digest,
    /// Whose form it has.
    pub format: SbomFormat,
    /// Whether it stands for itself, or is the predicate of an attestation.
    pub form: SbomForm,
}

/// Whose form a bill of materials has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SbomFormat {
    /// CycloneDX.
    Cyclonedx,
    /// SPDX.
    Spdx,
    /// Syft's own.
    Syft,
}

/// How a bill of materials is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SbomForm {
    /// The blob is the document.
    Document,
    /// The blob is an in-toto statement, signed in a DSSE envelope or not, with the document as its predicate.
    Attestation,
}

/// What is known of the signature that came with an upstream artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamSignature {
    /// Nobody asked for a check.
    NotChecked,
    /// A cosign signature of this key over this manifest was there and verified.
    Verified(UpstreamVerdict),
}

/// What was verified when the bundle was locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamVerdict {
    /// Whose signature it is.
    pub key: KeyId,
    /// Over what: the image's manifest as the source named it, before platforms were chosen.
    pub manifest: Digest,
}

/// A set of wheels, complete for each of its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheelhouse {
    /// Its name; the venv on site is at `<venvs>/<name>`.
    pub name: Name,
    /// Where it came from.
    pub source: Marking,
    /// The interpreters it was resolved for; empty if it is a directory of wheels taken as it was.
    pub targets: Vec<WheelTarget>,
    /// The wheels, sorted by file name.
    pub wheels: Vec<Wheel>,
    /// Its OCI artifact.
    pub manifest: Descriptor,
}

/// An interpreter on a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelTarget {
    /// `3.11`
    pub python: Name,
    /// `manylinux_2_28_x86_64`
    pub platform: Name,
    /// The wheels for this target, by file name.
    pub wheels: Vec<FileName>,
}

/// One wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// `name-version-tags.whl`
    pub filename: FileName,
    /// SHA-256, as pip's `--hash` has it.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// The project's name, normalised by PEP 503.
    pub project: Name,
    /// The version as the wheel's file name spells it.
    pub version: PackageVersion,
    /// `Requires-Python` of its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<Marking>,
}

/// A Helm chart and how it is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// `name` of `Chart.yaml`.
    pub name: Name,
    /// `version` of `Chart.yaml`.
    pub version: BundleVersion,
    /// Where it came from.
    pub source: Marking,
    /// Its standard Helm OCI artifact.
    pub manifest: Descriptor,
    /// The `.tgz`, a layer of that artifact.
    pub archive: Content,
    /// `Chart.yaml` as JSON, the configuration of that artifact.
    pub metadata: Content,
    /// Helm's release name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// The Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// Charts are applied from the lowest to the highest.
    pub order: i64,
    /// Values files, in the order in which they apply, and the artifact that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// Helm's provenance file of the archive, another layer of the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Content>,
    /// Who has signed that file, if somebody asked for a check when the bundle was locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_signature: Option<ChartSignature>,
    /// The charts inside it, sorted by name and version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<ChartDependency>,
    /// Manifests that go beside it in its repository, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
    /// What belongs to those: their manifests, configurations and layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companion_blobs: Vec<Digest>,
    /// The images that were found in it when the bundle was locked, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<NeededImage>,
}

/// A provenance file that `helm verify` took when the bundle was locked, for these bytes of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartSignature {
    /// The OpenPGP key that made the signature.
    pub fingerprint: Fingerprint,
    /// Whom the keyring calls its owner.
    pub signer: Marking,
}

/// A chart inside a chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartDependency {
    /// `name` of its `Chart.yaml`.
    pub name: FileName,
    /// `version` of its `Chart.yaml`.
    pub version: BundleVersion,
    /// The repository that it was fetched from, without a login; `vendored` if it was there already.
    pub source: Marking,
    /// Of its archive, if it is one and not a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// An image that a chart asks for, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeededImage {
    /// Its full name, or the text as it stands there if that is no reference.
    pub image: LongLine,
    /// How sure it is that this is an image.
    pub class: ImageClass,
    /// The manifest in this bundle that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Digest>,
    /// Why it is not carried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<LongLine>,
    /// Where it stands: the first places.
    pub places: Vec<ImagePlace>,
    /// How many places there are.
    pub places_total: u64,
}

/// How sure it is that a text is the name of an image that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageClass {
    /// Kubernetes, or a convention that everybody keeps to, makes it one.
    Certain,
    /// It looks like one.
    Probable,
}

impl core::fmt::Display for ImageClass {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Certain => "certain",
            Self::Probable => "probable",
        })
    }
}

/// One place where an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePlace {
    /// The file: a template of the chart, or what else was read.
    pub file: LongLine,
    /// `KIND/NAMESPACE/NAME` of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<LongLine>,
    /// Where in it: `spec.template.spec.containers[0].image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LongLine>,
    /// The profiles of values that it was rendered with, if the spec has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Name>,
    /// The versions of Kubernetes that it was rendered for, if the spec has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubernetes: Vec<BundleVersion>,
}

/// A chart's values files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// Later files win.
    pub files: Vec<SetFile>,
    /// The artifact that holds them.
    pub manifest: Descriptor,
}

/// Plain files with a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSet {
    /// A name made from the destination, unique in the bundle.
    pub name: Name,
    /// Where it came from.
    pub source: Marking,
    /// The directory below the site's `files.root`.
    pub dest: Destination,
    /// The files, sorted by path.
    pub files: Vec<SetFile>,
    /// Its OCI artifact.
    pub manifest: Descriptor,
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFile {
    /// Below the set's destination.
    pub path: RelativePath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Permission bits, as `chmod` takes them.
    pub mode: FileMode,
}

/// Permission bits of a file, `0` to `0777`; set-uid, set-gid and sticky cannot travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileMode(u32);

impl FileMode {
    /// For its owner to write and everybody to read.
    pub const READABLE: Self = Self(0o644);

    /// `None` for bits outside `0777`.
    #[must_use]
    pub fn new(bits: u32) -> Option<Self> {
        (bits <= 0o777).then_some(Self(bits))
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl core::fmt::Display for FileMode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl core::str::FromStr for FileMode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| matches!(text.len(), 3 | 4));
        bits.and_then(Self::new).ok_or("not a file mode: expected three or four octal digits up to 0777")
    }
}

crate::string_form::string_form!(FileMode);

/// Why an inventory contradicts itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// Not a canonical document of this kind.
    #[error(transparent)]
    Document(#[from] CanonicalError),
    /// Components, blobs, companions or scripts out of order or twice.
    #[error("{what} `{name}` is out of order or there twice")]
    Order {
        /// `component`, `blob`, `companion`, `script` or `bill of materials`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A component needs a blob that the list lacks, or states another size for it.
    #[error("{component} needs blob {digest} of {size} bytes, which the blob list does not have")]
    MissingBlob {
        /// Which component.
        component: String,
        /// The blob.
        digest: Digest,
        /// What the component says of its size.
        size: u64,
    },
    /// Two files for one place, or a file where another needs a directory.
    #[error("two files of the bundle are for the same place: {0}")]
    SamePlace(String),
    /// A companion whose name is that of an image or chart, or of another companion with another manifest.
    #[error("two manifests of the bundle are for the same tag: {0}")]
    SameTag(String),
    /// A blob that no component needs.
    #[error("blob {0} belongs to no component")]
    ExtraBlob(Digest),
    /// A bill of materials that is said to be in a blob that is none of the image's.
    #[error("image {image} has no blob {blob}, which is said to be its bill of materials")]
    SbomElsewhere {
        /// Which image.
        image: String,
        /// The blob.
        blob: Digest,
    },
    /// What it leaves out does not fit.
    #[error("as a delta it contradicts itself: {0}")]
    Delta(#[from] DeltaError),
}

impl Component {
    /// The component's name inside the layout: what `skopeo copy oci-archive:FILE:NAME` takes.
    #[must_use]
    pub fn ref_name(&self) -> String {
        match self {
            Self::Image(image) => image.name.to_string(),
            Self::Wheelhouse(wheelhouse) => format!("wheelhouses/{}", wheelhouse.name),
            Self::Chart(chart) => {
                format!("charts/{}:{}", chart.name, chart.version.as_str().replace('+', "_"))
            }
            Self::FileSet(set) => format!("files/{}", set.name),
            Self::KubernetesManifests(set) => format!("kubernetes/{}", set.name),
            Self::Script(script) => format!("scripts/{}", script.name),
        }
    }

    /// What people call it in messages.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Image(image) => format!("image {}", image.name),
            Self::Wheelhouse(wheelhouse) => format!("wheelhouse {}", wheelhouse.name),
            Self::Chart(chart) => format!("chart {} {}", chart.name, chart.version),
            Self::FileSet(set) => format!("files {}", set.dest),
            Self::KubernetesManifests(set) => format!("Kubernetes manifests {}", set.name),
            Self::Script(script) => format!("script {}", script.name),
        }
    }

    /// What goes beside it in its repository.
    #[must_use]
    pub fn companions(&self) -> &[Companion] {
        match self {
            Self::Image(image) => &image.companions,
            Self::Chart(chart) => &chart.companions,
            _ => &[],
        }
    }

    /// The name of one of its companions inside the layout: `REPOSITORY:sha256-<hex>.sig`, or
    /// `REPOSITORY@sha256:<hex>` for one that has no tag.
    #[must_use]
    pub fn companion_name(&self, companion: &Companion) -> String {
        let repository = match self {
            Self::Image(image) => image.name.repository(),
            Self::Chart(chart) => format!("charts/{}", chart.name),
            _ => self.ref_name(),
        };
        format!("{repository}{}", companion.name_in_repository())
    }

    /// The descriptors of its manifests, with no annotations: its own, then what goes with it.
    #[must_use]
    pub fn manifests(&self) -> Vec<&Descriptor> {
        self.named_manifests().into_iter().map(|(_, manifest)| manifest).collect()
    }

    /// The same, each with its name inside the layout.
    #[must_use]
    pub fn named_manifests(&self) -> Vec<(String, &Descriptor)> {
        let name = self.ref_name();
        let companions = self.companions().iter().map(|c| (self.companion_name(c), &c.manifest));
        match self {
            Self::Image(image) => core::iter::once((name, &image.manifest)).chain(companions).collect(),
            Self::Wheelhouse(wheelhouse) => vec![(name, &wheelhouse.manifest)],
            Self::FileSet(set) => vec![(name, &set.manifest)],
            Self::KubernetesManifests(set) => vec![(name, &set.manifest)],
            Self::Script(script) => vec![(name, &script.manifest)],
            Self::Chart(chart) => {
                let values = chart.values.as_ref().map(|v| (format!("{name}.values"), &v.manifest));
                core::iter::once((name, &chart.manifest)).chain(companions).chain(values).collect()
            }
        }
    }

    /// Every blob it needs. The size is unknown here for an image's inner blobs.
    #[must_use]
    pub fn blobs(&self) -> Vec<(Digest, Option<u64>)> {
        let mut blobs: Vec<(Digest, Option<u64>)> =
            self.manifests().into_iter().map(|m| (m.digest, Some(m.size))).collect();
        let empty = || (Digest::of(crate::oci::EMPTY_CONFIG), Some(crate::oci::EMPTY_CONFIG.len() as u64));
        match self {
            Self::Image(image) => blobs.extend(image.blobs.iter().map(|digest| (*digest, None))),
            Self::Wheelhouse(wheelhouse) => {
                blobs.push(empty());
                blobs.extend(wheelhouse.wheels.iter().map(|wheel| (wheel.digest, Some(wheel.size))));
            }
            Self::FileSet(set) => {
                blobs.push(empty());
                blobs.extend(set.files.iter().map(|file| (file.digest, Some(file.size))));
            }
            Self::KubernetesManifests(set) => {
                blobs.push(empty());
                blobs.extend(set.files.iter().map(|file| (file.digest, Some(file.size))));
            }
            Self::Script(script) => {
                blobs.push(empty());
                blobs.extend(script.files().into_iter().map(|file| (file.digest, Some(file.size))));
            }
            Self::Chart(chart) => {
                blobs.push((chart.archive.digest, Some(chart.archive.size)));
                blobs.push((chart.metadata.digest, Some(chart.metadata.size)));
                blobs.extend(chart.provenance.iter().map(|file| (file.digest, Some(file.size))));
                blobs.extend(chart.companion_blobs.iter().map(|digest| (*digest, None)));
                if let Some(values) = &chart.values {
                    blobs.push(empty());
                    blobs.extend(values.files.iter().map(|file| (file.digest, Some(file.size))));
                }
            }
        }
        blobs
    }
}

impl Component {
    /// Where its files are for whoever takes them out: below the site's `files.root`, or, not beginning with
    /// a slash and so never the same, below a directory of the component's own.
    fn places(&self) -> Vec<String> {
        match self {
            Self::FileSet(set) => {
                let dest = set.dest.as_str().trim_end_matches('/');
                set.files.iter().map(|file| format!("{dest}/{}", file.path)).collect()
            }
            Self::KubernetesManifests(set) => {
                let name = self.ref_name();
                set.files.iter().map(|file| format!("{name}/{}", file.path)).collect()
            }
            Self::Script(script) => {
                let name = self.ref_name();
                script.files().into_iter().map(|file| format!("{name}/{}", file.filename)).collect()
            }
            Self::Image(_) | Self::Wheelhouse(_) | Self::Chart(_) => Vec::new(),
        }
    }
}

impl Inventory {
    /// Puts components and blobs in order. The digests of the three fixed documents follow from them,
    /// except for `manifest.json`, whose bytes are an argument. It requires nothing and checks nothing yet.
    ///
    /// # Errors
    /// Components that contradict the blobs: a defect of the packer.
    pub fn assemble(
        mut components: Vec<Component>,
        sbom: Option<BundleSbom>,
        blobs: BTreeMap<Digest, u64>,
        docker_manifest: &[u8],
    ) -> Result<Self, InventoryError> {
        components.sort_by_key(Component::ref_name);
        let blobs = blobs.into_iter().map(|(digest, size)| Content { digest, size }).collect();
        let docker_manifest = Content::of(docker_manifest);
        let nothing = Content::of(b"");
        let files =
            Files { oci_layout: Content::of(crate::oci::OCI_LAYOUT), oci_index: nothing, docker_manifest };
        let mut inventory = Self {
            schema: InventorySchema::V1,
            files,
            components,
            sbom,
            requires: Requires::default(),
            health: HealthChecks::default(),
            delta: None,
            blobs,
        };
        inventory.files.oci_index = Content::of(&inventory.oci_index()?);
        inventory.check()?;
        Ok(inventory)
    }

    /// Canonical bytes.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(self)
    }

    /// Parses bytes whose digest was checked, and checks that they do not contradict themselves.
    ///
    /// # Errors
    /// See [`InventoryError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InventoryError> {
        let inventory: Self = canonical::from_canonical(bytes)?;
        inventory.check()?;
        Ok(inventory)
    }

    fn check(&self) -> Result<(), InventoryError> {
        for pair in self.blobs.windows(2) {
            if let [before, after] = pair
                && before.digest >= after.digest
            {
                return Err(InventoryError::Order { what: "blob", name: after.digest.to_string() });
            }
        }
        let names: Vec<String> = self.components.iter().map(Component::ref_name).collect();
        for pair in names.windows(2) {
            if let [before, after] = pair
                && before >= after
            {
                return Err(InventoryError::Order { what: "component", name: after.clone() });
            }
        }
        self.check_places()?;
        self.check_scripts()?;
        self.check_companions()?;
        self.check_image_sboms()?;
        if let Some(delta) = &self.delta {
            delta.check(self)?;
        }
        let sizes: BTreeMap<Digest, u64> = self.blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
        let mut used = BTreeSet::new();
        for component in &self.components {
            for (digest, size) in component.blobs() {
                let there = sizes.get(&digest);
                if there.is_none() || size.is_some_and(|size| there != Some(&size)) {
                    let size = size.unwrap_or_default();
                    return Err(InventoryError::MissingBlob { component: component.title(), digest, size });
                }
                used.insert(digest);
            }
        }
        for Content { digest, size } in self.sbom.iter().flat_map(BundleSbom::blobs) {
            if sizes.get(&digest) != Some(&size) {
                let component = BundleSbom::TITLE.to_string();
                return Err(InventoryError::MissingBlob { component, digest, size });
            }
            used.insert(digest);
        }
        match sizes.keys().find(|digest| !used.contains(digest)) {
            Some(extra) => Err(InventoryError::ExtraBlob(*extra)),
            None => Ok(()),
        }
    }

    /// Scripts run in the order of their positions, so no two have the same.
    fn check_scripts(&self) -> Result<(), InventoryError> {
        let mut positions = BTreeSet::new();
        for component in &self.components {
            let Component::Script(script) = component else { continue };
            if !positions.insert(script.position) {
                let name = script.name.to_string();
                return Err(InventoryError::Order { what: "script", name });
            }
        }
        Ok(())
    }

    /// Every file of every set has a place of its own, and none is where another needs a directory.
    fn check_places(&self) -> Result<(), InventoryError> {
        let mut places = BTreeSet::new();
        for place in self.components.iter().flat_map(Component::places) {
            if let Some(place) = places.replace(place) {
                return Err(InventoryError::SamePlace(place));
            }
        }
        for place in &places {
            let mut parents = place.match_indices('/').filter_map(|(end, _)| place.get(..end));
            if let Some(parent) = parents.find(|parent| places.contains(*parent)) {
                return Err(InventoryError::SamePlace(format!("{parent} and {place}")));
            }
        }
        Ok(())
    }

    /// In a repository a tag names one manifest. Two images of one repository may share a companion, as
    /// they may share what it speaks about.
    fn check_companions(&self) -> Result<(), InventoryError> {
        let tagged = |component: &Component| match component {
            Component::Image(image) => Some(format!("{}:{}", image.name.repository(), image.name.tag()?)),
            Component::Chart(_) => Some(component.ref_name()),
            _ => None,
        };
        let own: BTreeSet<String> = self.components.iter().filter_map(tagged).collect();
        let mut companions = BTreeMap::new();
        for component in &self.components {
            let mut before = None;
            for companion in component.companions() {
                let name = component.companion_name(companion);
                if before.as_ref() >= Some(&name) {
                    return Err(InventoryError::Order { what: "companion", name });
                }
                let known = companions.insert(name.clone(), &companion.manifest);
                if own.contains(&name) || known.is_some_and(|known| *known != companion.manifest) {
                    return Err(InventoryError::SameTag(name));
                }
                before = Some(name);
            }
        }
        Ok(())
    }

    fn check_image_sboms(&self) -> Result<(), InventoryError> {
        for component in &self.components {
            let Component::Image(image) = component else { continue };
            for pair in image.sboms.windows(2) {
                if let [before, after] = pair
                    && before >= after
                {
                    let name = after.blob.to_string();
                    return Err(InventoryError::Order { what: "bill of materials", name });
                }
            }
            let missing =
                |sbom: &&ImageSbom| [sbom.blob, sbom.of].iter().any(|digest| !image.blobs.contains(digest));
            if let Some(sbom) = image.sboms.iter().find(missing) {
                return Err(InventoryError::SbomElsewhere { image: image.name.to_string(), blob: sbom.blob });
            }
        }
        Ok(())
    }

    /// What the site must have and what has to hold afterwards, a line each for people: `requires` or `health`,
    /// and the words.
    #[must_use]
    pub fn conditions(&self) -> Vec<(&'static str, String)> {
        let requires = self.requires.lines().into_iter().map(|(key, value)| format!("{key} {value}"));
        let health = self.health.iter().map(ToString::to_string);
        requires.map(|line| ("requires", line)).chain(health.map(|line| ("health", line))).collect()
    }

    /// The size of a blob.
    #[must_use]
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let position = self.blobs.binary_search_by_key(digest, |blob| blob.digest).ok()?;
        self.blobs.get(position).map(|blob| blob.size)
    }

    /// What the manifest must state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { blobs: self.blobs.len() as u64, ..Counts::default() };
        for component in &self.components {
            *match component {
                Component::Image(_) => &mut counts.images,
                Component::Wheelhouse(_) => &mut counts.wheelhouses,
                Component::Chart(_) => &mut counts.charts,
                Component::FileSet(_) => &mut counts.file_sets,
                Component::KubernetesManifests(_) => &mut counts.kubernetes_manifests,
                Component::Script(_) => &mut counts.scripts,
            } += 1;
        }
        let bytes = |blobs: &[Content]| blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
        counts.blob_bytes = bytes(&self.blobs);
        let left_out = self.left_out();
        counts.left_out = left_out.len() as u64;
        counts.left_out_bytes = bytes(&left_out);
        let patches: Vec<Content> = self.patches().iter().map(|patch| patch.patch).collect();
        counts.patched = patches.len() as u64;
        counts.patched_bytes = bytes(&self.patched());
        counts.patch_bytes = bytes(&patches);
        counts
    }

    /// `index.json`: it follows from the components, so a reader compares it whole.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn oci_index(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut manifests = Vec::new();
        let mut listed = BTreeSet::new();
        for component in &self.components {
            for (position, (name, descriptor)) in component.named_manifests().into_iter().enumerate() {
                let mut entry = descriptor.clone().annotated(ANNOTATION_REF_NAME, &name);
                // What runs nowhere has no name for containerd, which would unpack it.
                if let (Component::Image(_), 0) = (component, position) {
                    entry = entry.annotated(ANNOTATION_CONTAINERD_NAME, &name);
                }
                if listed.insert(name) {
                    manifests.push(entry);
                }
            }
        }
        if let Some(sbom) = &self.sbom {
            manifests.push(sbom.manifest.clone().annotated(ANNOTATION_REF_NAME, BundleSbom::REF_NAME));
        }
        canonical::to_canonical(&ImageIndex::of(manifests))
    }

    /// `SHA256SUMS`: one GNU line for each file but the signed bytes, the signatures and itself. It
    /// follows from the inventory and its own digest, so a reader compares it whole.
    #[must_use]
    pub fn checksums(&self, inventory: Digest) -> String {
        let line = |path: ArchivePath, digest: Digest| format!("{}  {path}\n", digest.hex());
        let mut lines = line(ArchivePath::Inventory, inventory);
        // A blob's is the longest there is. All of it at once: a text that grows takes twice as much in the end.
        let longest = line(ArchivePath::Blob(inventory), inventory).len();
        lines.reserve_exact(longest.saturating_mul(self.contents().count()));
        for (path, content) in self.contents() {
            lines.push_str(&line(path, content.digest));
        }
        lines
    }

    /// Everything after `inventory.json`, in the order of the archive.
    pub fn contents(&self) -> impl Iterator<Item = (ArchivePath, Content)> + '_ {
        let fixed = [
            (ArchivePath::OciLayout, self.files.oci_layout),
            (ArchivePath::OciIndex, self.files.oci_index),
            (ArchivePath::DockerManifest, self.files.docker_manifest),
        ];
        let blobs = self.carried().into_iter().map(|blob| (ArchivePath::Blob(blob.digest), blob));
        fixed.into_iter().chain(blobs)
    }
}
