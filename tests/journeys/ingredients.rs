//! What journeys put into bundles: small images and wheels, made here so that every byte is known, and
//! the real tools that judge what came out.

#![allow(dead_code, reason = "each journey is a crate of its own and uses a part of this")]
#![allow(clippy::print_stderr, reason = "a test that skips something says so")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use e2e::World;
use manifests::oci::{
    ANNOTATION_REF_NAME, MEDIA_CONFIG, MEDIA_INDEX, MEDIA_LAYER_GZIP, MEDIA_MANIFEST, OCI_LAYOUT,
};
use manifests::{Descriptor, Digest};
use registry::{Http, HttpSettings, Registry, Repository};
use serde_json::{Value, json};
use testkit::{FakeRegistry, FakeServer, Reply};

/// An image: everything that a name in a registry stands for.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// What the name points to.
    pub(crate) root: Descriptor,
    /// Manifests and indexes, those that others need first.
    pub(crate) manifests: Vec<(Descriptor, Vec<u8>)>,
    /// Configurations and layers.
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

/// Bytes that no compressor makes shorter; the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tar that does not depend on who makes it, or when.
pub(crate) fn tar_of<N: AsRef<str>, B: AsRef<[u8]>>(files: &[(N, B)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.as_ref().len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name.as_ref(), bytes.as_ref()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layer as it lies in a container's file system.
pub(crate) fn layer(seed: u64, length: usize) -> Vec<u8> {
    tar_of(&[(format!("data-{seed}"), noise(seed, length))])
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut plain).unwrap();
    plain
}

/// The configuration of an image with these plain layers.
pub(crate) fn config(architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    to_json(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
}

/// An image with these plain layers, gzipped.
pub(crate) fn image(architecture: &str, layers: &[Vec<u8>]) -> Image {
    let mut blobs = BTreeMap::new();
    let mut keep = |media_type: &str, bytes: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &bytes);
        blobs.insert(descriptor.digest, bytes);
        descriptor
    };
    let config = keep(MEDIA_CONFIG, config(architecture, layers));
    let layers: Vec<Descriptor> = layers.iter().map(|layer| keep(MEDIA_LAYER_GZIP, gzip(layer))).collect();
    let manifest = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "config": config, "layers": layers,
    }));
    let root = Descriptor::of(MEDIA_MANIFEST, &manifest);
    Image { manifests: vec![(root.clone(), manifest)], root, blobs }
}

/// One image for several architectures.
pub(crate) fn index(children: &[(&str, &Image)]) -> Image {
    let (mut manifests, mut blobs, mut list) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (architecture, child) in children {
        let mut entry = serde_json::to_value(&child.root).unwrap();
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        list.push(entry);
        manifests.extend(child.manifests.clone());
        blobs.extend(child.blobs.clone());
    }
    let bytes = to_json(&json!({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": list}));
    let root = Descriptor::of(MEDIA_INDEX, &bytes);
    manifests.push((root.clone(), bytes));
    Image { root, manifests, blobs }
}

impl Image {
    /// The bytes of what the name points to.
    pub(crate) fn root_bytes(&self) -> &[u8] {
        &self.manifests.last().unwrap().1
    }

    /// Puts it into a fake registry without a request.
    pub(crate) fn store_in(&self, registry: &FakeRegistry, repository: &str, tag: &str) {
        for bytes in self.blobs.values() {
            registry.store_blob(repository, bytes);
        }
        for (descriptor, bytes) in &self.manifests {
            registry.store_manifest(repository, tag, &descriptor.media_type, bytes);
        }
    }

    /// Pushes it to a registry.
    pub(crate) fn push(&self, url: &str, repository: &str, tag: &str) {
        let place = repository_at(url, repository);
        for (digest, bytes) in &self.blobs {
            place.upload_blob(digest, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
        for (descriptor, bytes) in &self.manifests {
            place.put_manifest(&descriptor.digest.into(), &descriptor.media_type, bytes).unwrap();
        }
        place.put_manifest(&tag.parse().unwrap(), &self.root.media_type, self.root_bytes()).unwrap();
    }
}

/// The files of an OCI layout that holds these images by these names.
pub(crate) fn layout(images: &[(&str, &Image)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("oci-layout".to_string(), OCI_LAYOUT.to_vec())]);
    let mut list = Vec::new();
    for (name, image) in images {
        list.push(image.root.clone().annotated(ANNOTATION_REF_NAME, name));
        let manifests = image.manifests.iter().map(|(_, bytes)| bytes);
        for bytes in manifests.chain(image.blobs.values()) {
            files.insert(format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.clone());
        }
    }
    files.insert("index.json".to_string(), to_json(&json!({"schemaVersion": 2, "manifests": list})));
    files
}

/// Writes such a layout as a directory.
pub(crate) fn write_layout(world: &World, directory: &str, images: &[(&str, &Image)]) {
    for (name, bytes) in layout(images) {
        world.write(&format!("{directory}/{name}"), bytes);
    }
}

/// What `docker save` writes: plain layers.
pub(crate) fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config("amd64", layers);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let list = json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]);
    let mut files: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers.iter().cloned()).collect();
    files.extend([(config_name, config), ("manifest.json".to_string(), to_json(&list))]);
    tar_of(&files)
}

/// A wheel by its file name, and its bytes. `text` is what makes it another wheel of the same name.
pub(crate) fn wheel(project: &str, version: &str, text: &str) -> (String, Vec<u8>) {
    let info = format!("{project}-{version}.dist-info");
    let files = [
        (format!("{project}.py"), format!("TEXT = '{text}'\n")),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into()),
        (format!("{info}/RECORD"), String::new()),
    ];
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (name, content) in files {
        archive.start_file(name, plain).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    (format!("{project}-{version}-py3-none-any.whl"), archive.finish().unwrap().into_inner())
}

pub(crate) fn to_json(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// A repository of a registry that needs no login.
pub(crate) fn repository_at(url: &str, repository: &str) -> Repository {
    let http = Http::new(&HttpSettings::default()).unwrap();
    Registry::new(http, url).unwrap().repository(repository).unwrap()
}

/// Runs a real tool, which must succeed.
pub(crate) fn tool(program: impl AsRef<Path>, arguments: &[&str], directory: &Path) -> Output {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {words}", program.display());
    output
}

/// The files of an archive by name, as the real `tar` crate reads them; each name once.
pub(crate) fn entries(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert!(found.insert(name.clone(), bytes).is_none(), "{name} is in the archive twice");
    }
    found
}

/// How an index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// PEP 691 with sizes.
    Json,
    /// PEP 503.
    Html,
}

/// A package index with these files. What is announced as a file's digest is that of `announced`, what
/// is sent is `sent`: an honest index has twice the same.
pub(crate) fn package_index(pages: Pages, files: Vec<IndexedFile>) -> FakeServer {
    FakeServer::start(move |request| match request.path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "simple", project, ""] => {
            let name =
                |file: &&IndexedFile| file.name.split('-').next().unwrap().replace('_', "-") == *project;
            let of_project = files.iter().filter(name);
            page(pages, project, of_project)
        }
        ["", "files", name] => {
            let wanted = name.strip_suffix(".metadata");
            match (files.iter().find(|file| file.name == wanted.unwrap_or(name)), wanted) {
                (Some(file), None) => Reply::ok(file.sent.clone()),
                (Some(file), Some(_)) => metadata_of(&file.announced).map_or(Reply::status(404), Reply::ok),
                (None, _) => Reply::status(404),
            }
        }
        _ => Reply::status(404),
    })
}

/// A file on an index.
#[derive(Debug, Clone)]
pub(crate) struct IndexedFile {
    pub(crate) name: String,
    pub(crate) announced: Vec<u8>,
    pub(crate) sent: Vec<u8>,
}

impl IndexedFile {
    pub(crate) fn honest((name, bytes): (String, Vec<u8>)) -> Self {
        Self { name, announced: bytes.clone(), sent: bytes }
    }
}

/// What an index serves beside a wheel, so that nobody has to fetch the wheel for it (PEP 658).
fn metadata_of(wheel: &[u8]) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(wheel)).ok()?;
    let name =
        archive.file_names().filter_map(Result::ok).find(|name| name.ends_with("/METADATA"))?.into_owned();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(&name).ok()?, &mut bytes).ok()?;
    Some(bytes)
}

fn page<'a>(pages: Pages, project: &str, files: impl Iterator<Item = &'a IndexedFile>) -> Reply {
    let hex = |file: &IndexedFile| Digest::of(&file.announced).hex();
    match pages {
        Pages::Json => {
            let files: Vec<Value> = files
                .map(|file| {
                    json!({
                        "filename": file.name,
                        "url": format!("/files/{}", file.name),
                        "hashes": {"sha256": hex(file)},
                        "size": file.announced.len(),
                        "core-metadata": metadata_of(&file.announced).is_some(),
                    })
                })
                .collect();
            let page = json!({"meta": {"api-version": "1.1"}, "name": project, "files": files});
            Reply::ok(to_json(&page)).header("Content-Type", "application/vnd.pypi.simple.v1+json")
        }
        Pages::Html => {
            let link = |file: &IndexedFile| {
                let also =
                    if metadata_of(&file.announced).is_some() { " data-core-metadata=\"true\"" } else { "" };
                format!("<a href=\"/files/{0}#sha256={1}\"{also}>{0}</a><br>\n", file.name, hex(file))
            };
            let page =
                format!("<!DOCTYPE html><html><body>{}</body></html>", files.map(link).collect::<String>());
            Reply::ok(page).header("Content-Type", "text/html; charset=utf-8")
        }
    }
}

/// Whether the real index can be reached from here.
pub(crate) fn real_index(python: &Path) -> bool {
    let reached = Command::new(python)
        .args(["-m", "pip", "--disable-pip-version-check", "--retries=0", "--timeout=10"])
        .args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .args([tempfile::tempdir().unwrap().path(), Path::new("six==1.16.0")])
        .output()
        .unwrap();
    if !reached.status.success() {
        eprintln!("SKIPPED: pip reaches no index: {}", String::from_utf8_lossy(&reached.stderr));
    }
    reached.status.success()
}

/// A line of a requirements file.
pub(crate) fn pinned(project: &str, version: &str, bytes: &[u8]) -> String {
    format!("{project}=={version} --hash=sha256:{}\n", Digest::of(bytes).hex())
}

/// `bundle.yaml`'s entry for wheels of an index.
pub(crate) fn wheels_of(index: &FakeServer) -> String {
    format!(
        "wheels:\n  - name: tools\n    requirements: requirements.txt\n    index: {}/simple/\n    targets: [{{python: \"3.11\", platform: manylinux_2_28_x86_64}}]\n",
        index.url()
    )
}
