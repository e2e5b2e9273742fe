//! Components with real content: images that tools copy, wheels that pip installs, charts that Helm
//! reads.

use std::io::{Cursor, Write};

use manifests::companion::{Companion, CompanionKind, MEDIA_SIMPLE_SIGNING};
use manifests::inventory::{
    Chart, Component, FileMode, FileSet, Image, SetFile, UpstreamSignature, Wheel, Wheelhouse,
};
use manifests::oci::{
    ANNOTATION_TITLE, ARTIFACT_FILES, ARTIFACT_WHEELHOUSE, EMPTY_CONFIG, ImageIndex, ImageManifest,
    MEDIA_CONFIG, MEDIA_EMPTY, MEDIA_FILE, MEDIA_HELM_CHART, MEDIA_HELM_CONFIG, MEDIA_INDEX,
    MEDIA_LAYER_GZIP, MEDIA_MANIFEST, MEDIA_WHEEL, Platform,
};
use manifests::{Descriptor, Digest, Reference};

use super::store::TestShelf;

fn tar_gz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// A manifest of one layer and what it needs, with the digests of all of it.
pub(crate) struct OneImage {
    pub(crate) manifest: Descriptor,
    pub(crate) blobs: Vec<Digest>,
}

fn store(shelf: &TestShelf, media_type: &str, bytes: &[u8]) -> Descriptor {
    shelf.put(bytes);
    Descriptor::of(media_type, bytes)
}

fn manifest_of(
    shelf: &TestShelf,
    artifact_type: Option<&str>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
) -> Descriptor {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MEDIA_MANIFEST.into()),
        artifact_type: artifact_type.map(str::to_string),
        config,
        layers,
        subject,
        annotations: Default::default(),
    };
    store(shelf, MEDIA_MANIFEST, &serde_json::to_vec(&manifest).unwrap())
}

pub(crate) fn one_image(shelf: &TestShelf, architecture: &str, text: &str) -> OneImage {
    use std::io::Read;
    let layer = tar_gz(&[("etc/text", text)]);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut plain).unwrap();
    let config = format!(
        "{{\"architecture\":\"{architecture}\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
        Digest::of(&plain)
    );
    let config = store(shelf, MEDIA_CONFIG, config.as_bytes());
    let layer = store(shelf, MEDIA_LAYER_GZIP, &layer);
    let blobs = vec![config.digest, layer.digest];
    let manifest = manifest_of(shelf, None, config, vec![layer], None);
    OneImage { blobs: [vec![manifest.digest], blobs].concat(), manifest }
}

fn platform(architecture: &str) -> Platform {
    Platform { architecture: architecture.into(), os: "linux".into(), os_version: None, variant: None }
}

fn image_component(
    name: Reference,
    manifest: Descriptor,
    architectures: &[&str],
    blobs: Vec<Digest>,
) -> Component {
    Component::Image(Image {
        source: format!("docker://{name}").parse().unwrap(),
        name,
        manifest,
        platforms: architectures.iter().map(|a| platform(a)).collect(),
        upstream_signature: UpstreamSignature::NotChecked,
        sboms: Vec::new(),
        blobs,
        part_of: None,
        companions: Vec::new(),
    })
}

/// An image of exactly these bytes: its manifest or index first.
pub(crate) fn image_of(shelf: &TestShelf, name: &str, documents: &[(&str, &[u8])]) -> Component {
    let stored: Vec<Descriptor> = documents.iter().map(|(kind, bytes)| store(shelf, kind, bytes)).collect();
    let blobs = stored.iter().map(|descriptor| descriptor.digest).collect();
    image_component(name.parse().unwrap(), stored[0].clone(), &["amd64"], blobs)
}

/// The same image with referrers beside it, and what those need.
pub(crate) fn with_referrers(
    shelf: &TestShelf,
    component: Component,
    referrers: &[&[u8]],
    needed: &[&[u8]],
) -> Component {
    let Component::Image(mut image) = component else { panic!("not an image") };
    for bytes in referrers {
        let manifest = store(shelf, MEDIA_MANIFEST, bytes);
        image.blobs.push(manifest.digest);
        let of = image.manifest.digest;
        image.companions.push(Companion { kind: CompanionKind::Referrer, of, manifest });
    }
    image.companions.sort_by_key(|companion| companion.manifest.digest);
    image.blobs.extend(needed.iter().map(|bytes| shelf.put(bytes).digest));
    Component::Image(image)
}

/// An image for one platform.
pub(crate) fn image(shelf: &TestShelf, name: &str, text: &str) -> Component {
    let one = one_image(shelf, "amd64", text);
    image_component(name.parse().unwrap(), one.manifest, &["amd64"], one.blobs)
}

/// The same, known by its digest only.
pub(crate) fn pinned_image(shelf: &TestShelf, repository: &str, text: &str) -> Component {
    let one = one_image(shelf, "amd64", text);
    let name: Reference = repository.parse().unwrap();
    image_component(name.at(one.manifest.digest), one.manifest, &["amd64"], one.blobs)
}

/// An index of two platforms and of a signature whose subject is the first.
pub(crate) fn multi_image(shelf: &TestShelf, name: &str) -> (Component, [Descriptor; 3]) {
    let [amd64, arm64] = ["amd64", "arm64"].map(|architecture| one_image(shelf, architecture, architecture));
    let empty = store(shelf, MEDIA_EMPTY, EMPTY_CONFIG);
    let layer = store(shelf, "application/vnd.example.signature", b"signed");
    let subject = Some(amd64.manifest.clone());
    let signature =
        manifest_of(shelf, Some("application/vnd.example.kind"), empty.clone(), vec![layer.clone()], subject);
    let entry = |one: &OneImage, architecture| {
        let mut entry = one.manifest.clone();
        entry.platform = Some(platform(architecture));
        entry
    };
    let mut unknown = signature.clone();
    unknown.platform = Some(Platform {
        architecture: "unknown".into(),
        os: "unknown".into(),
        os_version: None,
        variant: None,
    });
    let index = ImageIndex::of(vec![entry(&amd64, "amd64"), entry(&arm64, "arm64"), unknown]);
    let index = store(shelf, MEDIA_INDEX, &serde_json::to_vec(&index).unwrap());
    let own = vec![index.digest];
    let others = vec![signature.digest, empty.digest, layer.digest];
    let blobs = [own, amd64.blobs, arm64.blobs, others].concat();
    let component = image_component(name.parse().unwrap(), index, &["amd64", "arm64"], blobs);
    (component, [amd64.manifest, arm64.manifest, signature])
}

/// The same image with a signature image beside it.
pub(crate) fn with_signature(shelf: &TestShelf, component: Component) -> (Component, Companion) {
    let Component::Image(mut image) = component else { panic!("not an image") };
    let config = store(shelf, MEDIA_CONFIG, b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}");
    let layer = store(shelf, MEDIA_SIMPLE_SIGNING, image.name.to_string().as_bytes());
    image.blobs.extend([config.digest, layer.digest]);
    let manifest = manifest_of(shelf, None, config, vec![layer], None);
    image.blobs.push(manifest.digest);
    let companion = Companion { kind: CompanionKind::CosignSignature, of: image.manifest.digest, manifest };
    image.companions.push(companion.clone());
    (Component::Image(image), companion)
}

/// A pure Python wheel of one module whose `NAME` is its version.
pub(crate) fn wheel(
    shelf: &TestShelf,
    distribution: &str,
    version: &str,
    requires_python: Option<&str>,
    requires: &[&str],
) -> Wheel {
    let module = distribution.to_lowercase();
    let info = format!("{distribution}-{version}.dist-info");
    let mut metadata = format!("Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n");
    requires_python.iter().for_each(|r| metadata.push_str(&format!("Requires-Python: {r}\n")));
    requires.iter().for_each(|r| metadata.push_str(&format!("Requires-Dist: {r}\n")));
    let init = format!("{module}/__init__.py");
    let record = format!("{init},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    let entries = [
        (init, format!("VERSION = '{version}'\n")),
        (format!("{info}/METADATA"), metadata),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: airlock\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_string(),
        ),
        (format!("{info}/RECORD"), record),
    ];
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in entries {
        archive.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    let content = shelf.put(&archive.finish().unwrap().into_inner());
    Wheel {
        filename: format!("{distribution}-{version}-py3-none-any.whl").parse().unwrap(),
        digest: content.digest,
        size: content.size,
        project: distribution.to_lowercase().replace('_', "-").parse().unwrap(),
        version: version.parse().unwrap(),
        requires_python: requires_python.map(|r| r.parse().unwrap()),
    }
}

pub(crate) fn wheelhouse(shelf: &TestShelf, name: &str, mut wheels: Vec<Wheel>) -> Component {
    wheels.sort_by(|a, b| a.filename.cmp(&b.filename));
    let layer = |wheel: &Wheel| {
        Descriptor::new(MEDIA_WHEEL, wheel.digest, wheel.size)
            .annotated(ANNOTATION_TITLE, wheel.filename.as_str())
    };
    let empty = store(shelf, MEDIA_EMPTY, EMPTY_CONFIG);
    let manifest =
        manifest_of(shelf, Some(ARTIFACT_WHEELHOUSE), empty, wheels.iter().map(layer).collect(), None);
    Component::Wheelhouse(Wheelhouse {
        name: name.parse().unwrap(),
        source: "requirements.txt".parse().unwrap(),
        targets: Vec::new(),
        wheels,
        manifest,
    })
}

/// A chart with one ConfigMap, and its archive's bytes.
pub(crate) fn chart(shelf: &TestShelf, name: &str, version: &str, text: &str) -> (Component, Vec<u8>) {
    let yaml = format!(
        "apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"1.10\"\ndescription: \"Finds <fraud> & more\"\n"
    );
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{{{ .Release.Name }}}}\ndata:\n  text: {text}\n"
    );
    let archive = tar_gz(&[
        (&format!("{name}/Chart.yaml"), &yaml),
        (&format!("{name}/values.yaml"), "{}\n"),
        (&format!("{name}/templates/map.yaml"), &template),
    ]);
    let metadata = serde_json::json!({
        "apiVersion": "v2", "name": name, "version": version, "appVersion": "1.10",
        "description": "Finds <fraud> & more",
    });
    let metadata = store(shelf, MEDIA_HELM_CONFIG, &serde_json::to_vec(&metadata).unwrap());
    let layer = store(shelf, MEDIA_HELM_CHART, &archive);
    let manifest = manifest_of(shelf, None, metadata.clone(), vec![layer.clone()], None);
    let content = |d: Descriptor| manifests::bundle::Content { digest: d.digest, size: d.size };
    let chart = Chart {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        source: "charts/fraud".parse().unwrap(),
        manifest,
        archive: content(layer),
        metadata: content(metadata),
        release: None,
        namespace: None,
        order: 0,
        values: None,
        provenance: None,
        upstream_signature: None,
        dependencies: Vec::new(),
        companions: Vec::new(),
        companion_blobs: Vec::new(),
        images: Vec::new(),
    };
    (Component::Chart(chart), archive)
}

pub(crate) fn file_set(
    shelf: &TestShelf,
    name: &str,
    files: Vec<(&str, manifests::bundle::Content)>,
) -> Component {
    let mut files: Vec<SetFile> = files
        .into_iter()
        .map(|(path, content)| SetFile {
            path: path.parse().unwrap(),
            digest: content.digest,
            size: content.size,
            mode: FileMode::new(0o644).unwrap(),
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let layer = |file: &SetFile| {
        Descriptor::new(MEDIA_FILE, file.digest, file.size).annotated(ANNOTATION_TITLE, file.path.as_str())
    };
    let empty = store(shelf, MEDIA_EMPTY, EMPTY_CONFIG);
    let manifest = manifest_of(shelf, Some(ARTIFACT_FILES), empty, files.iter().map(layer).collect(), None);
    Component::FileSet(FileSet {
        name: name.parse().unwrap(),
        source: "configs/".parse().unwrap(),
        dest: "/etc/fraud/".parse().unwrap(),
        files,
        manifest,
    })
}
