//! What is inside the sample: an image of one layer, a wheelhouse of one wheel, a file set of one file.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use manifests::bundle::Content;
use manifests::companion::{ANNOTATION_SIGNATURE, Companion, CompanionKind, MEDIA_SIMPLE_SIGNING};
use manifests::inventory::{
    BundleSbom, Component, FileMode, FileSet, Image, SetFile, UpstreamSignature, Wheel, WheelTarget,
    Wheelhouse,
};
use manifests::kubernetes::{ARTIFACT_KUBERNETES, KubernetesManifests, PlainFile};
use manifests::oci::{
    ANNOTATION_TITLE, ARTIFACT_FILES, ARTIFACT_WHEELHOUSE, Annotations, EMPTY_CONFIG, ImageManifest,
    MEDIA_CONFIG, MEDIA_CYCLONEDX, MEDIA_EMPTY, MEDIA_FILE, MEDIA_MANIFEST, MEDIA_WHEEL, Platform,
};
use manifests::script::{ARTIFACT_SCRIPT, Script, ScriptFile, Undo, When, Within};
use manifests::{Descriptor, Digest, canonical};

use super::forge::Forge;

/// The name of the sample's image.
pub const IMAGE_NAME: &str = "registry.example.com/sample/hello:v1";

/// A plain layer: `docker load` and OCI readers take it, and its bytes need no compressor to be the same
/// for ever.
const MEDIA_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

const WHEEL_NAME: &str = "tiny-1.0-py3-none-any.whl";

/// What an inventory is assembled from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What was asked for.
    pub components: Vec<Component>,
    /// The bill of materials.
    pub sbom: BundleSbom,
    /// Every blob.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// `manifest.json`
    pub docker_manifest: Vec<u8>,
}

/// The sample's content. Whom the list names, by seed, has counter-signed its image.
pub(super) fn parts(countersigners: &[u8], scripted: bool) -> Parts {
    let mut blobs = Blobs::default();
    let (mut image, docker_manifest) = image(&mut blobs);
    if !countersigners.is_empty() {
        countersign(&mut image, countersigners, &mut blobs);
    }
    let image = Component::Image(image);
    let mut components = vec![image, wheelhouse(&mut blobs), file_set(&mut blobs)];
    if scripted {
        components.extend([kubernetes_manifests(&mut blobs), script(&mut blobs)]);
    }
    let sbom = sbom(&mut blobs);
    Parts { components, sbom, blobs: blobs.0, docker_manifest }
}

fn sbom(blobs: &mut Blobs) -> BundleSbom {
    let text = br#"{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}"#;
    let layer = blobs.add(MEDIA_CYCLONEDX, text);
    let document = Content { digest: layer.digest, size: layer.size };
    BundleSbom { document, manifest: blobs.artifact(MEDIA_CYCLONEDX, layer) }
}

#[derive(Default)]
struct Blobs(BTreeMap<Digest, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.0.insert(descriptor.digest, bytes.to_vec());
        descriptor
    }

    fn manifest(
        &mut self,
        artifact: Option<&str>,
        config: Descriptor,
        layers: Vec<Descriptor>,
    ) -> Descriptor {
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(MEDIA_MANIFEST.to_string()),
            artifact_type: artifact.map(ToString::to_string),
            config,
            layers,
            subject: None,
            annotations: Annotations::default(),
        };
        let mut descriptor = self.add(MEDIA_MANIFEST, &canonical::to_canonical(&manifest).unwrap());
        descriptor.artifact_type = artifact.map(ToString::to_string);
        descriptor
    }

    fn artifact(&mut self, kind: &str, layer: Descriptor) -> Descriptor {
        self.artifact_of(kind, vec![layer])
    }

    fn artifact_of(&mut self, kind: &str, layers: Vec<Descriptor>) -> Descriptor {
        let config = self.add(MEDIA_EMPTY, EMPTY_CONFIG);
        self.manifest(Some(kind), config, layers)
    }
}

fn image(blobs: &mut Blobs) -> (Image, Vec<u8>) {
    let mut files = Forge::empty();
    files.push("hello.txt", b"hello\n");
    let layer = blobs.add(MEDIA_LAYER, &files.bytes());
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = blobs.add(MEDIA_CONFIG, &canonical::to_canonical(&config).unwrap());
    let path = |descriptor: &Descriptor| format!("blobs/sha256/{}", descriptor.digest.hex());
    let docker_manifest =
        serde_json::json!([{"Config": path(&config), "Layers": [path(&layer)], "RepoTags": [IMAGE_NAME]}]);
    let docker_manifest = canonical::to_canonical(&docker_manifest).unwrap();
    let inner = [config.digest, layer.digest];
    let mut manifest = blobs.manifest(None, config, vec![layer]);
    let platform = Platform {
        architecture: "amd64".to_string(),
        os: "linux".to_string(),
        os_version: None,
        variant: None,
    };
    manifest.platform = Some(platform.clone());
    let image = Image {
        name: IMAGE_NAME.parse().unwrap(),
        source: format!("docker://{IMAGE_NAME}").parse().unwrap(),
        platforms: vec![platform],
        upstream_signature: UpstreamSignature::NotChecked,
        sboms: Vec::new(),
        blobs: std::iter::once(manifest.digest).chain(inner).collect(),
        part_of: None,
        companions: Vec::new(),
        manifest,
    };
    (image, docker_manifest)
}

/// A signature image as cosign reads it.
fn countersign(image: &mut Image, countersigners: &[u8], blobs: &mut Blobs) {
    let of = image.manifest.digest;
    let payload = serde_json::json!({
        "critical": {
            "identity": {"docker-reference": image.name.repository()},
            "image": {"docker-manifest-digest": of},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string();
    let layer = blobs.add(MEDIA_SIMPLE_SIGNING, payload.as_bytes());
    let layers = countersigners.iter().map(|seed| {
        let (_, raw) = super::signature(*seed, payload.as_bytes());
        let text = base64::engine::general_purpose::STANDARD.encode(raw);
        layer.clone().annotated(ANNOTATION_SIGNATURE, &text)
    });
    let diff_ids = vec![layer.digest; countersigners.len()];
    let config =
        serde_json::json!({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = blobs.add(MEDIA_CONFIG, &canonical::to_canonical(&config).unwrap());
    let inner = [config.digest, layer.digest];
    let manifest = blobs.manifest(None, config, layers.collect());
    image.blobs.push(manifest.digest);
    image.blobs.extend(inner);
    image.companions.push(Companion { kind: CompanionKind::CosignSignature, of, manifest });
}

fn wheelhouse(blobs: &mut Blobs) -> Component {
    let wheel = blobs.add(MEDIA_WHEEL, &wheel()).annotated(ANNOTATION_TITLE, WHEEL_NAME);
    let (digest, size) = (wheel.digest, wheel.size);
    let manifest = blobs.artifact(ARTIFACT_WHEELHOUSE, wheel);
    let filename: manifests::text::FileName = WHEEL_NAME.parse().unwrap();
    Component::Wheelhouse(Wheelhouse {
        name: "scoring".parse().unwrap(),
        source: "wheels/".parse().unwrap(),
        targets: vec![WheelTarget {
            python: "3.11".parse().unwrap(),
            platform: "manylinux_2_28_x86_64".parse().unwrap(),
            wheels: vec![filename.clone()],
        }],
        wheels: vec![Wheel {
            filename,
            digest,
            size,
            project: "tiny".parse().unwrap(),
            version: "1.0".parse().unwrap(),
            requires_python: Some(">=3.8".parse().unwrap()),
        }],
        manifest,
    })
}

/// A wheel that pip installs.
fn wheel() -> Vec<u8> {
    const METADATA: &str = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Python: >=3.8\n";
    const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let files = [
        ("tiny.py", "ANSWER = 42\n"),
        ("tiny-1.0.dist-info/METADATA", METADATA),
        ("tiny-1.0.dist-info/WHEEL", WHEEL),
    ];
    let mut record = String::new();
    for (name, text) in files {
        let hash = Digest::of(text.as_bytes());
        let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash.as_bytes());
        record.push_str(&format!("{name},sha256={hash},{}\n", text.len()));
    }
    record.push_str("tiny-1.0.dist-info/RECORD,,\n");
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, text) in files.into_iter().chain([("tiny-1.0.dist-info/RECORD", record.as_str())]) {
        archive.start_file(name, plain).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn file_set(blobs: &mut Blobs) -> Component {
    let text = b"threshold: 0.5\n";
    let layer = blobs.add(MEDIA_FILE, text).annotated(ANNOTATION_TITLE, "scoring.yaml");
    let (digest, size) = (layer.digest, layer.size);
    let manifest = blobs.artifact(ARTIFACT_FILES, layer);
    let mode = FileMode::new(0o640).unwrap();
    Component::FileSet(FileSet {
        name: "etc-sample".parse().unwrap(),
        source: "configs/".parse().unwrap(),
        dest: "/etc/sample/".parse().unwrap(),
        files: vec![SetFile { path: "scoring.yaml".parse().unwrap(), digest, size, mode }],
        manifest,
    })
}

fn kubernetes_manifests(blobs: &mut Blobs) -> Component {
    let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sample}\n";
    let layer = blobs.add(MEDIA_FILE, text).annotated(ANNOTATION_TITLE, "sample.yaml");
    let file = PlainFile { path: "sample.yaml".parse().unwrap(), digest: layer.digest, size: layer.size };
    Component::KubernetesManifests(KubernetesManifests {
        images: Vec::new(),
        name: "k8s".parse().unwrap(),
        source: "k8s/".parse().unwrap(),
        namespace: None,
        order: 0,
        files: vec![file],
        manifest: blobs.artifact(ARTIFACT_KUBERNETES, layer),
    })
}

fn script(blobs: &mut Blobs) -> Component {
    let mut file = |name: &str, text: &[u8]| {
        let layer = blobs.add(MEDIA_FILE, text).annotated(ANNOTATION_TITLE, name);
        let interpreter = Some("/bin/sh".parse().unwrap());
        let (digest, size) = (layer.digest, layer.size);
        (ScriptFile { filename: name.parse().unwrap(), digest, size, interpreter }, layer)
    };
    let (file, undo) = (file("migrate.sh", b"#!/bin/sh\n"), file("unmigrate.sh", b"#!/bin/sh\nexit\n"));
    Component::Script(Script {
        name: "migrate".parse().unwrap(),
        source: "migrate.sh".parse().unwrap(),
        position: 0,
        when: When::Before,
        within: Within::default(),
        file: file.0,
        undo: Undo::Script(undo.0),
        manifest: blobs.artifact_of(ARTIFACT_SCRIPT, vec![file.1, undo.1]),
    })
}
