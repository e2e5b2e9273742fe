//! The OCI image spec's documents, as far as we read and write them: descriptors, image manifests,
//! image indexes and the layout's marker.
//!
//! These types are a *view*. A manifest's bytes are its identity, so nothing here is ever serialised to
//! take the place of bytes that came from outside; only manifests that we author are written. Unknown
//! fields are allowed in what others wrote. Our own small types because the surveyed crate drops
//! `os.version`, accepts schema 1 and accepts a manifest that is also an index (CVE-2021-41190).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

mod annotations;
mod scan;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::bundle::Content;
use crate::digest::Digest;
use scan::Scan;

pub use annotations::Annotations;

/// What registries hold a manifest to.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An OCI image index.
pub const MEDIA_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
pub const MEDIA_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's manifest list.
pub const MEDIA_DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image manifest, schema 2.
pub const MEDIA_DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An OCI image configuration.
pub const MEDIA_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A gzip-compressed layer.
pub const MEDIA_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The empty configuration of an artifact.
pub const MEDIA_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The bytes that [`MEDIA_EMPTY`] stands for.
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// Helm's configuration blob of a chart artifact.
pub const MEDIA_HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// Helm's chart archive.
pub const MEDIA_HELM_CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Helm's provenance file: a clear-signed text that names the digest of the archive beside it.
pub const MEDIA_HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// One wheel (a zip archive by PyPA's binary distribution format).
pub const MEDIA_WHEEL: &str = "application/vnd.airlock.wheel.v1+zip";
/// The artifact type of a wheelhouse.
pub const ARTIFACT_WHEELHOUSE: &str = "application/vnd.airlock.wheelhouse.v1";
/// The artifact type of a file set.
pub const ARTIFACT_FILES: &str = "application/vnd.airlock.files.v1";
/// The artifact type of the values files that go with a chart.
pub const ARTIFACT_VALUES: &str = "application/vnd.airlock.values.v1";
/// A plain file inside a file set.
pub const MEDIA_FILE: &str = "application/octet-stream";
/// A bill of materials by CycloneDX, and the artifact that it is.
pub const MEDIA_CYCLONEDX: &str = "application/vnd.cyclonedx+json";
/// The spec's annotation for a layer's file name.
pub const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
/// The spec's annotation for an index entry's name.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The name under which containerd imports an index entry.
pub const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";

/// `oci-layout` of every archive and of the site store.
pub const OCI_LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// Where content is, by digest and size: the OCI spec's descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Only in an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Only in an artifact's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where content lies that must not be redistributed. A bundle cannot carry it: refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl Descriptor {
    /// A descriptor with nothing but the three required fields.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_string(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            urls: Vec::new(),
            annotations: Annotations::default(),
        }
    }

    /// The descriptor of these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// With one more annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_string(), value.to_string());
        self
    }

    /// Whether this names an index or a manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), MEDIA_INDEX | MEDIA_DOCKER_LIST)
    }

    /// Whether this names an image manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), MEDIA_MANIFEST | MEDIA_DOCKER_MANIFEST)
    }
}

/// What an image runs on, in the OCI spec's spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// Windows builds.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Whether a wish such as `linux/amd64` or `linux/arm/v7` means this platform. A wish without a
    /// variant means any variant.
    #[must_use]
    pub fn matches(&self, wish: &str) -> bool {
        let mut parts = wish.splitn(3, '/');
        parts.next() == Some(self.os.as_str())
            && parts.next() == Some(self.architecture.as_str())
            && parts.next().is_none_or(|variant| self.variant.as_deref() == Some(variant))
    }

    /// Whether this is an attestation or another entry that runs nowhere.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// An image manifest: one configuration and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this is; may be missing in what others wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

/// An image index: manifests, usually one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// What this is; may be missing in what others wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl ImageIndex {
    /// An index of these manifests that says nothing else.
    #[must_use]
    pub fn of(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MEDIA_INDEX.to_string()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Annotations::default(),
        }
    }
}

/// Either document, parsed from bytes whose digest was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestDocument {
    /// One image or artifact.
    Image(ImageManifest),
    /// Several.
    Index(ImageIndex),
}

/// Why bytes are not a manifest that we carry. Every refusal has a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// Not JSON of either shape.
    #[error("not an OCI manifest: {0}")]
    Shape(String),
    /// Over the limit of registries.
    #[error("a manifest of {0} bytes is over the limit of 4 MiB")]
    TooLarge(u64),
    /// Docker's long obsolete format.
    #[error("schema version {0} is not supported, only 2 (schema 1 was retired by Docker)")]
    Schema(u32),
    /// `layers` and `manifests` in one document (CVE-2021-41190).
    #[error("the document is both an image manifest and an index")]
    Ambiguous,
    /// The document says it is something else than its descriptor says.
    #[error("the manifest says it is `{inside}`, its descriptor says `{outside}`")]
    MediaType {
        /// What the document says.
        inside: String,
        /// What the descriptor or the registry's header says.
        outside: String,
    },
    /// A key that differs from one of the spec's in its case only. Readers written in Go take both for the
    /// same and the last one for the right one.
    #[error("`{0}` is a key of the spec in another case: two readers would see two documents")]
    Case(String),
    /// A configuration over the limit of registries.
    #[error("a configuration of {0} bytes is over the limit of 4 MiB")]
    Configuration(u64),
    /// Digests of other algorithms: md5 and sha1 are broken, and sha512 is not what registries on site take.
    #[error("the digest `{0}` is not of sha256, the only algorithm that a bundle carries")]
    Algorithm(String),
    /// A layer that only its vendor may distribute.
    #[error("layer {0} is a foreign layer: its licence does not let it travel in a bundle")]
    Foreign(Digest),
}

impl ManifestDocument {
    /// Parses a manifest, given the media type that its descriptor (or the registry's `Content-Type`)
    /// states.
    ///
    /// # Errors
    /// Every ambiguity of the spec that has been used in an attack, and content that cannot travel.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, OciError> {
        if is_index(bytes, media_type)? {
            return Ok(Self::Index(index(bytes)?));
        }
        let image: ImageManifest = serde_json::from_slice(bytes).map_err(shape)?;
        refuse_foreign(&image.layers)?;
        check_config(&image.config)?;
        Ok(Self::Image(image))
    }

    /// Everything that this document points at: configuration and layers, or child manifests.
    #[must_use]
    pub fn children(&self) -> Vec<Descriptor> {
        match self {
            Self::Image(image) => core::iter::once(&image.config).chain(&image.layers).cloned().collect(),
            Self::Index(index) => index.manifests.clone(),
        }
    }
}

/// What a manifest needs, of a document of which nothing else is wanted: little memory for many layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Of an image or artifact: configuration and layers.
    Blobs(Vec<Content>),
    /// Of an index: its manifests.
    Manifests(Vec<Descriptor>),
}

impl Needs {
    /// The same refusals as [`ManifestDocument::parse`].
    pub(crate) fn parse(bytes: &[u8], media_type: &str) -> Result<Self, OciError> {
        if is_index(bytes, media_type)? {
            return Ok(Self::Manifests(index(bytes)?.manifests));
        }
        let image: ImageNeeds = serde_json::from_slice(bytes).map_err(shape)?;
        if let Some(foreign) = image.layers.iter().find(|layer| layer.is_foreign) {
            return Err(OciError::Foreign(foreign.content.digest));
        }
        check_config(&image.config)?;
        let mut blobs = Vec::with_capacity(image.layers.len().saturating_add(1));
        blobs.push(Content { digest: image.config.digest, size: image.config.size });
        blobs.extend(image.layers.iter().map(|layer| layer.content));
        Ok(Self::Blobs(blobs))
    }
}

/// [`ImageManifest`], of whose layers little is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageNeeds {
    #[serde(rename = "schemaVersion")]
    _schema_version: u32,
    #[serde(default, rename = "mediaType")]
    _media_type: Option<String>,
    #[serde(default, rename = "artifactType")]
    _artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Need>,
    #[serde(default, rename = "subject")]
    _subject: Option<Descriptor>,
    #[serde(default, rename = "annotations")]
    _annotations: Annotations,
}

/// What is kept of a layer's descriptor.
#[derive(Deserialize)]
#[serde(from = "Descriptor")]
struct Need {
    content: Content,
    is_foreign: bool,
}

impl From<Descriptor> for Need {
    fn from(descriptor: Descriptor) -> Self {
        let is_foreign = is_foreign(&descriptor);
        Self { content: Content { digest: descriptor.digest, size: descriptor.size }, is_foreign }
    }
}

/// Whether a document says what every manifest says. What is wrong with it is said by whoever needs it.
pub(crate) fn looks_like_a_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Look>(bytes).is_ok()
}

/// The keys by which a manifest is known, each once; nothing of what they hold is kept.
#[derive(Deserialize)]
struct Look {
    #[serde(rename = "schemaVersion")]
    _schema_version: u32,
    #[serde(default, rename = "config")]
    _config: IgnoredAny,
    #[serde(default, rename = "layers")]
    _layers: IgnoredAny,
    #[serde(default, rename = "manifests")]
    _manifests: IgnoredAny,
}

/// Whether it is an index, after everything that can be said of either document.
fn is_index(bytes: &[u8], media_type: &str) -> Result<bool, OciError> {
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(OciError::TooLarge(bytes.len() as u64));
    }
    Scan::of(bytes)?.judge(media_type)?;
    let descriptor = Descriptor::new(media_type, Digest::of(b""), 0);
    if !descriptor.is_index() && !descriptor.is_manifest() {
        return Err(OciError::Shape(alloc::format!(
            "`{}` is not the media type of a manifest",
            crate::text::printable(media_type)
        )));
    }
    Ok(descriptor.is_index())
}

fn index(bytes: &[u8]) -> Result<ImageIndex, OciError> {
    let index: ImageIndex = serde_json::from_slice(bytes).map_err(shape)?;
    refuse_foreign(&index.manifests)?;
    Ok(index)
}

fn check_config(config: &Descriptor) -> Result<(), OciError> {
    refuse_foreign(core::slice::from_ref(config))?;
    if config.size > MANIFEST_BYTES_MAX { Err(OciError::Configuration(config.size)) } else { Ok(()) }
}

fn shape(error: serde_json::Error) -> OciError {
    OciError::Shape(alloc::format!("{error}"))
}

fn refuse_foreign(descriptors: &[Descriptor]) -> Result<(), OciError> {
    descriptors.iter().find(|d| is_foreign(d)).map_or(Ok(()), |d| Err(OciError::Foreign(d.digest)))
}

fn is_foreign(descriptor: &Descriptor) -> bool {
    let kind = &descriptor.media_type;
    !descriptor.urls.is_empty() || kind.contains("foreign") || kind.contains("nondistributable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn refusal(body: &str, media_type: &str) -> OciError {
        let refusal = ManifestDocument::parse(body.as_bytes(), media_type).unwrap_err();
        assert_eq!(Needs::parse(body.as_bytes(), media_type), Err(refusal.clone()));
        refusal
    }

    #[test]
    fn refuses_by_name_what_has_been_used_in_attacks() {
        let digest = Digest::of(b"");
        let d = format!("{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":0}}");
        let both = format!("{{\"schemaVersion\":2,\"config\":{d},\"layers\":[],\"manifests\":[]}}");
        assert_eq!(refusal(&both, MEDIA_MANIFEST), OciError::Ambiguous);
        assert_eq!(refusal(&both, MEDIA_INDEX), OciError::Ambiguous);
        let old = "{\"schemaVersion\":1,\"fsLayers\":[]}";
        assert_eq!(refusal(old, MEDIA_MANIFEST), OciError::Schema(1));
        let confused =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{MEDIA_INDEX}\",\"config\":{d},\"layers\":[]}}");
        assert!(matches!(refusal(&confused, MEDIA_MANIFEST), OciError::MediaType { .. }));
        let foreign = format!(
            "{{\"schemaVersion\":2,\"config\":{d},\"layers\":[{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":1,\"urls\":[\"http://x\"]}}]}}"
        );
        assert_eq!(refusal(&foreign, MEDIA_MANIFEST), OciError::Foreign(digest));
        let md5 = "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x\",\"digest\":\"md5:00\",\"size\":0},\"layers\":[]}";
        assert_eq!(refusal(md5, MEDIA_MANIFEST), OciError::Algorithm("md5:00".into()));
        let list =
            "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"digest\":\"sha512:00\",\"size\":0}]}";
        assert_eq!(refusal(list, MEDIA_INDEX), OciError::Algorithm("sha512:00".into()));
        let missing = "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"x\",\"size\":0},\"layers\":[7]}";
        assert!(matches!(refusal(missing, MEDIA_MANIFEST), OciError::Shape(_)));
        assert!(matches!(refusal("[]", MEDIA_MANIFEST), OciError::Shape(_)));
    }

    #[test]
    fn refuses_what_a_reader_that_does_not_mind_the_case_of_keys_sees_otherwise() {
        let digest = Digest::of(b"");
        let d = format!("{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":0}}");
        let with = |config: &str, more: &str| {
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[]{more}}}")
        };
        let list_of =
            |entries: &str| format!("{{\"schemaVersion\":2,\"config\":{d},\"layers\":[{entries}]}}");
        assert!(ManifestDocument::parse(with(&d, ",\"subject\":null").as_bytes(), MEDIA_MANIFEST).is_ok());
        for (key, body) in [
            ("Manifests", with(&d, ",\"Manifests\":[]")),
            ("LAYERS", with(&d, ",\"LAYERS\":[]")),
            ("Digest", with(&d.replace('}', ",\"Digest\":\"x\"}"), "")),
            (
                "OS",
                with(
                    &d.replace('}', ",\"platform\":{\"architecture\":\"a\",\"os\":\"b\",\"OS\":\"c\"}}"),
                    "",
                ),
            ),
        ] {
            assert_eq!(refusal(&body, MEDIA_MANIFEST), OciError::Case(key.into()), "{body}");
        }
        let list = with(&format!("[\"x\",\"{digest}\",0]"), "");
        let in_list = |entry: &str| list_of(&format!("{d},{entry}"));
        let platform = |value: &str| d.replace('}', &format!(",\"platform\":{value}}}"));
        for bad in [list, in_list("null"), in_list("[]"), list_of(&platform("[\"amd64\",\"linux\"]"))] {
            assert!(matches!(refusal(&bad, MEDIA_MANIFEST), OciError::Shape(_)), "{bad}");
        }
        assert!(ManifestDocument::parse(list_of(&platform("null")).as_bytes(), MEDIA_MANIFEST).is_ok());
        for twice in [",\"schemaVersion\":2", ",\"layers\":[]", ",\"config\":null"] {
            let twice = with(&d, twice);
            // Whatever it is taken for.
            for kind in [MEDIA_MANIFEST, MEDIA_INDEX] {
                assert!(matches!(refusal(&twice, kind), OciError::Shape(_)), "{twice}");
            }
        }
        // As deep as readers go along with; those written in Python give up at a thousand.
        let nested = |depth: usize| with(&d, &format!(",\"x\":{}0{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(ManifestDocument::parse(nested(100).as_bytes(), MEDIA_MANIFEST).is_ok());
        assert!(matches!(refusal(&nested(200), MEDIA_MANIFEST), OciError::Shape(_)));
        let large = with(&d.replace(":0}", ":4194305}"), "");
        assert_eq!(refusal(&large, MEDIA_MANIFEST), OciError::Configuration(4_194_305));
    }

    #[test]
    fn what_a_manifest_needs_is_what_it_points_at() {
        let blob = |text: &str| Descriptor::of("x", text.as_bytes()).annotated("a", text);
        let content = |text: &str| Content::of(text.as_bytes());
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: Some("x".into()),
            config: blob("c"),
            layers: [blob("1"), blob("22")].into(),
            subject: Some(blob("s")),
            annotations: Annotations::default(),
        };
        let bytes = serde_json::to_vec(&image).unwrap();
        let blobs = [content("c"), content("1"), content("22")].into();
        assert_eq!(Needs::parse(&bytes, MEDIA_MANIFEST), Ok(Needs::Blobs(blobs)));
        let index = ImageIndex::of([blob("1"), blob("22")].into());
        let bytes = serde_json::to_vec(&index).unwrap();
        assert_eq!(Needs::parse(&bytes, MEDIA_INDEX), Ok(Needs::Manifests(index.manifests)));
    }

    #[test]
    fn a_wish_without_a_variant_means_any_variant() {
        let arm = Platform {
            architecture: "arm".into(),
            os: "linux".into(),
            os_version: None,
            variant: Some("v7".into()),
        };
        assert!(arm.matches("linux/arm") && arm.matches("linux/arm/v7"));
        assert!(!arm.matches("linux/arm/v6") && !arm.matches("linux/arm64") && !arm.matches("linux"));
    }
}
