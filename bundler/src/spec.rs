//! `bundle.yaml`, the BundleSpec: what a person writes. Every unknown key is an error with line and column.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::sources::charts::ChartPlace;
use crate::sources::wheels::filename::project_name;
use crate::sources::wheels::version::Version;
use edge::yaml::{self, YAML_BYTES_MAX, YamlError};
use edge::{Classified, Exit};
use manifests::health::HealthChecks;
use manifests::inventory::FileMode;
use manifests::requires::Requires;
use manifests::script::{When, Within};
use manifests::text::{Audience, BundleVersion, Destination, LongLine, Marking, Name};
use manifests::{Digest, Reference, Timestamp};
use serde::de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

mod conditions;

/// The document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BundleSpec {
    /// `airlock/v1`
    pub api_version: ApiVersion,
    /// `Bundle`
    pub kind: Kind,
    /// Who publishes.
    pub publisher: Name,
    /// What the sequence counts.
    pub product: Name,
    /// The label.
    pub version: BundleVersion,
    /// The first half of the order; the trust root's epoch.
    #[serde(default = "one")]
    pub epoch: u64,
    /// The second half; grows with every bundle of the product.
    pub sequence: u64,
    /// For whom. There is no default: a bundle for anybody says so.
    pub audience: Vec<Audience>,
    /// Printed wherever the bundle is named.
    pub marking: Marking,
    /// Advisory.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// The lowest trust root that may judge this bundle.
    #[serde(default = "one")]
    pub root_version: u64,
    /// Container images.
    #[serde(default)]
    pub images: Vec<ImageSpec>,
    /// Sets of wheels.
    #[serde(default)]
    pub wheels: Vec<WheelsSpec>,
    /// Helm charts.
    #[serde(default)]
    pub charts: Vec<ChartSpec>,
    /// Plain files.
    #[serde(default)]
    pub files: Vec<FilesSpec>,
    /// Plain Kubernetes manifests.
    #[serde(default)]
    pub manifests: Vec<ManifestsSpec>,
    /// Programs that are run on site.
    #[serde(default)]
    pub scripts: Vec<ScriptSpec>,
    /// How registries are reached, by `HOST[:PORT]`.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistrySpec>,
    /// What the charts seem to need and do not.
    #[serde(default)]
    pub waivers: Vec<WaiverSpec>,
    /// What a site must have.
    #[serde(default, deserialize_with = "conditions::requires")]
    pub requires: Requires,
    /// What has to hold once the bundle is in place.
    #[serde(default, deserialize_with = "conditions::health")]
    pub health: HealthChecks,
}

fn one() -> u64 {
    1
}

/// The version of the file format.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum ApiVersion {
    /// This one.
    #[serde(rename = "airlock/v1")]
    V1,
}

/// The kind of document.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum Kind {
    /// This one.
    Bundle,
}

/// How a registry is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// A file of certificates that its own hangs on.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// URLs that are asked first, such as `https://mirror.example.com/hub`.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Plain HTTP, logins included.
    #[serde(default)]
    pub insecure: bool,
}

/// Why an image that a chart seems to need is not carried.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiverSpec {
    /// The image, as discovery names it.
    pub image: LongLine,
    /// Why it is not needed; it stands in the inventory.
    pub reason: LongLine,
    /// For this chart alone. Without it and without `manifests`, for everything.
    #[serde(default)]
    pub chart: Option<Name>,
    /// For this set of Kubernetes manifests alone.
    #[serde(default)]
    pub manifests: Option<Name>,
}

/// An image, or a file that lists some.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// Where it is.
    pub from: ImageFrom,
    /// The name that the charts use; by default the one in the source.
    pub name: Option<Reference>,
    /// `linux/amd64`, …; empty for all that the source has.
    pub platforms: Vec<String>,
    /// Whether signatures and other companions of the source's travel along.
    pub signatures: bool,
    /// Who must have signed it.
    pub verify: Option<VerifySpec>,
}

/// Where an image is, or several are.
#[derive(Debug, Clone)]
pub enum ImageFrom {
    /// `TRANSPORT:…`, as skopeo writes it.
    Source(LongLine),
    /// A file with one reference on each line.
    List(PathBuf),
}

/// Who must have signed an image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifySpec {
    /// A file with cosign's public key.
    pub key: PathBuf,
}

/// One platform, several, or `all`.
#[derive(Default)]
struct Platforms(Vec<String>);

impl<'de> Deserialize<'de> for Platforms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Platforms;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a platform such as linux/amd64, a list of them, or `all`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Platforms, E> {
                Ok(Platforms(if text == ALL { Vec::new() } else { vec![text.to_string()] }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Platforms, A::Error> {
                let mut platforms = Vec::new();
                while let Some(platform) = list.next_element::<String>()? {
                    platforms.push(platform);
                }
                match platforms.iter().any(|platform| platform == ALL) {
                    true if platforms.len() == 1 => Ok(Platforms(Vec::new())),
                    true => Err(serde::de::Error::custom("`all` stands alone in `platforms`")),
                    false => Ok(Platforms(platforms)),
                }
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// Every platform.
const ALL: &str = "all";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageMap {
    #[serde(default)]
    source: Option<LongLine>,
    #[serde(default)]
    list: Option<PathBuf>,
    #[serde(default)]
    name: Option<Reference>,
    #[serde(default)]
    platforms: Platforms,
    #[serde(default)]
    signatures: Option<bool>,
    #[serde(default)]
    verify: Option<VerifySpec>,
}

impl ImageSpec {
    /// A source with nothing more to say about it.
    #[must_use]
    pub fn plain(source: LongLine) -> Self {
        let from = ImageFrom::Source(source);
        Self { from, name: None, platforms: Vec::new(), signatures: true, verify: None }
    }
}

impl<'de> Deserialize<'de> for ImageSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrMap(PhantomData))
    }
}

/// Not `#[serde(untagged)]`: its errors name neither key nor place.
struct TextOrMap(PhantomData<ImageSpec>);

impl<'de> Visitor<'de> for TextOrMap {
    type Value = ImageSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image source such as docker://HOST/PATH:TAG, or a map with `source`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ImageSpec, E> {
        let source = text.parse().map_err(E::custom)?;
        Ok(ImageSpec::plain(source))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ImageSpec, A::Error> {
        let map = ImageMap::deserialize(MapAccessDeserializer::new(map))?;
        let from = match (map.source, map.list) {
            (Some(source), None) => ImageFrom::Source(source),
            (None, Some(_)) if map.name.is_some() => {
                return Err(serde::de::Error::custom("a list of images has no `name`"));
            }
            (None, Some(list)) => ImageFrom::List(list),
            _ => return Err(serde::de::Error::custom("an image needs either `source` or `list`")),
        };
        Ok(ImageSpec {
            from,
            name: map.name,
            platforms: map.platforms.0,
            signatures: map.signatures.unwrap_or(true),
            verify: map.verify,
        })
    }
}

/// A set of wheels.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WheelsSpec {
    /// Its name; the venv's on site.
    pub name: Name,
    /// A requirements file.
    #[serde(default)]
    pub requirements: Option<PathBuf>,
    /// A lock by PEP 751.
    #[serde(default)]
    pub lock: Option<PathBuf>,
    /// A directory of wheels; alone, or for what the index has no wheel of.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// The package index; by default the one that pip uses.
    #[serde(default)]
    pub index: Option<String>,
    /// Indexes that are asked before it.
    #[serde(default)]
    pub extra_indexes: Vec<String>,
    /// Where the password of the index's user is.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Source distributions to build wheels of.
    #[serde(default)]
    pub build: Vec<SourcePin>,
    /// The interpreters to resolve for.
    #[serde(default)]
    pub targets: Vec<WheelTargetSpec>,
}

/// A source distribution: a project at one version, `docopt==0.6.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePin {
    /// The project.
    pub project: Name,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for SourcePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=={}", self.project, self.version)
    }
}

impl<'de> Deserialize<'de> for SourcePin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = text.split_once("==").and_then(|(project, version)| {
            let project = project_name(project.trim()).ok()?;
            Some(Self { project, version: version.trim().parse().ok()? })
        });
        parsed.ok_or_else(|| serde::de::Error::custom("expected NAME==VERSION, such as docopt==0.6.2"))
    }
}

/// An interpreter on a platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelTargetSpec {
    /// `3.11`
    pub python: Name,
    /// `manylinux_2_28_x86_64`
    pub platform: Name,
}

/// A Helm chart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChartSpec {
    /// A directory, a `.tgz`, or `oci://HOST/PATH[:VERSION]`.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// A classic repository's address.
    #[serde(default)]
    pub repo: Option<String>,
    /// The chart in it.
    #[serde(default)]
    pub name: Option<Name>,
    /// A version, or a range as Helm reads it.
    #[serde(default)]
    pub version: Option<String>,
    /// Where the password of the repository's user is.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Who must have signed it.
    #[serde(default)]
    pub verify: Option<ChartVerifySpec>,
    /// Helm's release name.
    #[serde(default)]
    pub release: Option<Name>,
    /// The Kubernetes namespace.
    #[serde(default)]
    pub namespace: Option<Name>,
    /// Values files, later ones win.
    #[serde(default)]
    pub values: Vec<PathBuf>,
    /// Charts are applied from the lowest to the highest.
    #[serde(default)]
    pub order: i64,
    /// For finding images: values files on top of `values`, by a name for each set. They do not travel.
    #[serde(default)]
    pub profiles: BTreeMap<Name, Vec<PathBuf>>,
    /// For finding images: the versions of Kubernetes to render for; none for Helm's own.
    #[serde(default)]
    pub kubernetes: Vec<BundleVersion>,
    /// For finding images: what the cluster has beyond what every cluster has.
    #[serde(default)]
    pub api_versions: Vec<String>,
}

impl ChartSpec {
    /// For people, without a login.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.source, &self.name) {
            (Some(source), _) => source.display().to_string(),
            (None, name) => name.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// Who must have signed a chart.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartVerifySpec {
    /// A file of OpenPGP keys, as `gpg --export` writes it.
    pub keyring: PathBuf,
}

/// Plain files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSpec {
    /// A file, a directory or a glob.
    pub source: PathBuf,
    /// The directory below the site's `files.root`.
    pub dest: Destination,
    /// Globs of what stays behind.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// For every file; by default 0644, or 0755 for what its owner may run.
    #[serde(default)]
    pub mode: Option<FileMode>,
}

/// Plain Kubernetes manifests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestsSpec {
    /// A file, a directory or a glob.
    pub source: PathBuf,
    /// Its name; by default made from the source.
    #[serde(default)]
    pub name: Option<Name>,
    /// The namespace of objects that name none.
    #[serde(default)]
    pub namespace: Option<Name>,
    /// Sets and charts are applied from the lowest to the highest.
    #[serde(default)]
    pub order: i64,
    /// Globs of what stays behind.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A script, and how it is taken back.
#[derive(Debug, Clone)]
pub struct ScriptSpec {
    /// The file.
    pub source: PathBuf,
    /// How it is taken back.
    pub undo: UndoSpec,
    /// When it runs; by default after everything else.
    pub when: When,
    /// Its name; by default that of the file.
    pub name: Option<Name>,
    /// How long it may take; by default ten minutes.
    pub within: Within,
}

/// How a script is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoSpec {
    /// By this file.
    Script(PathBuf),
    /// Not at all. Why not.
    Irreversible(Marking),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptMap {
    source: PathBuf,
    #[serde(default)]
    undo: Option<PathBuf>,
    #[serde(default)]
    irreversible: Option<Marking>,
    #[serde(default)]
    when: Option<When>,
    #[serde(default)]
    name: Option<Name>,
    #[serde(default)]
    within: Option<String>,
}

impl<'de> Deserialize<'de> for ScriptSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = ScriptMap::deserialize(deserializer)?;
        let broken = |rule: &str| serde::de::Error::custom(format!("{} {rule}", map.source.display()));
        let undo = match (map.undo, map.irreversible) {
            (Some(undo), None) => UndoSpec::Script(undo),
            (None, Some(reason)) => UndoSpec::Irreversible(reason),
            (None, None) => {
                return Err(broken("needs `undo`, or `irreversible` with the reason why there is none"));
            }
            (Some(_), Some(_)) => return Err(broken("has `undo` and `irreversible`: take one of them out")),
        };
        let within = map.within.map_or(Some(Within::default()), |text| Within::of_text(&text));
        let within =
            within.ok_or_else(|| broken("needs a `within` such as 90s, 10m or 2h, at most a day"))?;
        let when = map.when.unwrap_or(When::After);
        Ok(Self { undo, when, name: map.name, within, source: map.source })
    }
}

/// A spec, where it lies, and the identity of its text.
#[derive(Debug, Clone)]
pub struct LoadedSpec {
    /// The document.
    pub spec: BundleSpec,
    /// The file.
    pub path: PathBuf,
    /// What relative paths in it start from.
    pub base: PathBuf,
    /// SHA-256 of its bytes: a lock says which text it was made from.
    pub digest: Digest,
}

/// Why a spec cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not parse.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It contradicts itself.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        rule: String,
    },
}

impl Classified for SpecError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Yaml(_) => Some("the keys are listed in docs/bundle-yaml.md".to_string()),
            _ => None,
        }
    }
}

/// Reads and checks a spec.
///
/// # Errors
/// See [`SpecError`].
pub fn load(path: &Path) -> Result<LoadedSpec, SpecError> {
    let failed = |source| SpecError::Read { path: path.to_path_buf(), source };
    let bytes = layout::durable::read_bounded(path, YAML_BYTES_MAX).map_err(failed)?;
    let digest = Digest::of(&bytes);
    let text = String::from_utf8(bytes).map_err(|error| SpecError::Rule {
        path: path.to_path_buf(),
        rule: format!("it is not UTF-8 text after byte {}", error.utf8_error().valid_up_to()),
    })?;
    let spec: BundleSpec = yaml::parse(&path.display().to_string(), &text)?;
    spec.check(path)?;
    let base =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    Ok(LoadedSpec { spec, path: path.to_path_buf(), base, digest })
}

impl BundleSpec {
    fn check(&self, path: &Path) -> Result<(), SpecError> {
        let broken = |rule: String| Err(SpecError::Rule { path: path.to_path_buf(), rule });
        if self.audience.is_empty() {
            return broken("`audience` is empty: name sites or groups, or \"*\" for anybody".to_string());
        }
        let carries = [
            self.images.len(),
            self.wheels.len(),
            self.charts.len(),
            self.files.len(),
            self.manifests.len(),
            self.scripts.len(),
        ];
        if carries == [0; 6] {
            let rule = "there is nothing to carry: no images, wheels, charts, files, manifests or scripts";
            return broken(rule.to_string());
        }
        for (i, wheels) in self.wheels.iter().enumerate() {
            if let Some(rule) = wheels.broken_rule() {
                return broken(format!("wheels[{i}] ({}) {rule}", wheels.name));
            }
        }
        for (i, chart) in self.charts.iter().enumerate() {
            if let Err(rule) = ChartPlace::of(chart) {
                return broken(format!("charts[{i}] {rule}"));
            }
            if let Some(rule) = chart.broken_rule() {
                return broken(format!("charts[{i}].{rule}"));
            }
        }
        Ok(())
    }
}

impl ChartSpec {
    /// A chart with nothing more to say about it.
    #[must_use]
    pub fn at(source: PathBuf) -> Self {
        Self { source: Some(source), ..Self::default() }
    }

    /// What Helm would not take, or would take for something else.
    pub(crate) fn broken_rule(&self) -> Option<String> {
        let version = |text: &str| {
            let numbers = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
            let numbers: Vec<&str> = numbers.split('.').collect();
            matches!(numbers.len(), 2 | 3) && numbers.iter().all(|number| number.parse::<u32>().is_ok())
        };
        if let Some(text) = self.kubernetes.iter().find(|text| !version(text.as_str())) {
            return Some(format!("kubernetes: `{text}` is not a version such as \"1.31\""));
        }
        let api = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'-'))
        };
        let text = self.api_versions.iter().find(|text| !api(text))?;
        let text = manifests::text::printable(text);
        Some(format!("apiVersions: `{text}` is not one such as monitoring.coreos.com/v1"))
    }
}

impl WheelsSpec {
    /// What this entry leaves out, or has too much of.
    fn broken_rule(&self) -> Option<&'static str> {
        let resolves = self.requirements.is_some() || self.lock.is_some();
        let of_an_index = self.index.is_some()
            || !self.extra_indexes.is_empty()
            || self.password_file.is_some()
            || !self.build.is_empty();
        match (resolves, &self.source) {
            (true, _) if self.requirements.is_some() && self.lock.is_some() => {
                Some("has `requirements` and `lock`: take one of them out")
            }
            (true, _) if self.targets.is_empty() => {
                Some("needs `targets`, such as [{python: \"3.11\", platform: manylinux_2_28_x86_64}]")
            }
            (true, _) if self.password_file.is_some() && self.index.is_none() => {
                Some("has a `passwordFile` for no `index`")
            }
            (true, _) => None,
            (false, Some(_)) if self.targets.is_empty() && !of_an_index => None,
            (false, Some(_)) => Some(
                "takes a directory as it is: no `targets`, no `index`, `extraIndexes`, `passwordFile` or `build`",
            ),
            (false, None) => Some("needs either `requirements`, `lock` or `source`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const HEAD: &str = "apiVersion: airlock/v1\nkind: Bundle\npublisher: acme\nproduct: p\nversion: 1.10\nsequence: 1\naudience: [\"*\"]\nmarking: UNCLASSIFIED\n";

    pub(super) fn load_text(text: &str) -> Result<LoadedSpec, SpecError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn an_image_is_a_text_or_a_map() {
        let loaded = load_text(&format!(
            "{HEAD}images:\n  - docker://127.0.0.1:5000/a:v1\n  - source: oci:x\n    name: r.example.com/a:v1\n    platforms: [linux/amd64]\n"
        ))
        .unwrap();
        assert_eq!(loaded.spec.images.len(), 2);
        assert_eq!(loaded.spec.version.as_str(), "1.10");
        assert_eq!(loaded.spec.images[1].platforms, ["linux/amd64"]);
    }

    #[test]
    fn an_image_with_a_long_name_and_a_digest_is_taken() {
        let source = format!(
            "docker://registry.example.com/{}/app:v1@sha256:{}",
            "team/".repeat(20) + "x",
            "a".repeat(64)
        );
        let spec = load_text(&format!("{HEAD}images: [\"{source}\"]\n")).unwrap().spec;
        assert!(matches!(&spec.images[0].from, ImageFrom::Source(found) if found.as_str() == source));
    }

    #[test]
    fn platforms_are_one_or_several_or_all() {
        for (text, expected) in [
            ("linux/amd64", &["linux/amd64"][..]),
            ("all", &[]),
            ("[all]", &[]),
            ("[linux/amd64, linux/arm64]", &["linux/amd64", "linux/arm64"]),
        ] {
            let spec = load_text(&format!("{HEAD}images:\n  - source: oci:x\n    platforms: {text}\n"))
                .unwrap()
                .spec;
            assert_eq!(spec.images[0].platforms, expected, "{text}");
        }
        let mixed = format!("{HEAD}images:\n  - source: oci:x\n    platforms: [all, linux/arm64]\n");
        assert!(load_text(&mixed).unwrap_err().to_string().contains("stands alone"));
    }

    #[test]
    fn an_image_is_a_source_or_a_list_of_images() {
        for text in [
            "{name: r.example.com/a:v1}",
            "{source: \"oci:x\", list: y}",
            "{list: y, name: r.example.com/a:v1}",
        ] {
            assert!(load_text(&format!("{HEAD}images: [{text}]\n")).is_err(), "{text}");
        }
        let spec =
            load_text(&format!("{HEAD}images: [{{list: images.txt, signatures: false}}]\n")).unwrap().spec;
        assert!(matches!(&spec.images[0].from, ImageFrom::List(list) if list.ends_with("images.txt")));
        assert!(!spec.images[0].signatures);
    }

    #[test]
    fn a_registry_says_how_it_is_reached() {
        let text = format!(
            "{HEAD}images: [\"oci:x\"]\nregistries:\n  r.example.com:5000: {{ca: ca.pem, mirrors: [\"https://m.example.com\"], insecure: true}}\n"
        );
        let spec = load_text(&text).unwrap().spec;
        let registry = &spec.registries["r.example.com:5000"];
        assert!(registry.insecure && registry.ca.is_some() && registry.mirrors.len() == 1);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let error = load_text(&format!("{HEAD}images:\n  - source: oci:x\n    colour: red\n")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("colour") && text.contains("bundle.yaml:11:5"), "{text}");
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn a_script_says_how_it_is_taken_back_or_that_it_cannot_be() {
        let spec = load_text(&format!(
            "{HEAD}scripts:\n  - {{source: a.sh, undo: b.sh, when: before, within: 90s, name: first}}\n  - {{source: c.sh, irreversible: it deletes}}\n"
        ))
        .unwrap()
        .spec;
        let [first, second] = &spec.scripts[..] else { panic!("{spec:?}") };
        assert_eq!((first.undo.clone(), first.when), (UndoSpec::Script("b.sh".into()), When::Before));
        assert_eq!((first.within.seconds(), second.within.seconds()), (90, 600));
        assert_eq!(second.undo, UndoSpec::Irreversible("it deletes".parse().unwrap()));
        assert_eq!(second.when, When::After);
        for (text, rule) in [
            ("{source: a.sh}", "a.sh needs `undo`, or `irreversible`"),
            ("{source: a.sh, undo: b.sh, irreversible: x}", "take one of them out"),
            ("{source: a.sh, undo: b.sh, when: during}", "during"),
            ("{source: a.sh, undo: b.sh, within: 10}", "such as 90s"),
            ("{source: a.sh, undo: b.sh, within: 25h}", "at most a day"),
            ("{source: a.sh, undo: b.sh, within: 0s}", "such as 90s"),
            ("{source: a.sh, undo: b.sh, within: +1s}", "such as 90s"),
            ("{source: a.sh, irreversible: \"\"}", "marking"),
            ("{undo: b.sh}", "source"),
        ] {
            let error = load_text(&format!("{HEAD}scripts:\n  - {text}\n")).unwrap_err();
            assert!(error.to_string().contains(rule), "{text}: {error}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }

    #[test]
    fn a_bundle_for_nobody_or_with_nothing_in_it_is_refused() {
        assert!(load_text(HEAD).unwrap_err().to_string().contains("nothing to carry"));
        let nobody = HEAD.replace("[\"*\"]", "[]") + "files: [{source: a, dest: /a}]\n";
        assert!(load_text(&nobody).unwrap_err().to_string().contains("audience"));
        let none = HEAD.replace("audience: [\"*\"]\n", "") + "files: [{source: a, dest: /a}]\n";
        assert!(load_text(&none).unwrap_err().to_string().contains("audience"));
    }
}
