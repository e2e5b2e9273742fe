//! What is different between two bundles: components, versions, what is inside them, what they require and check,
//! blobs and bytes. It looks at two inventories and at nothing else; whether either of them is true is not its business.

use std::collections::{BTreeMap, BTreeSet};

use manifests::Digest;
use manifests::bundle::Content;
use manifests::health::HealthChecks;
use manifests::inventory::{Chart, Component, FileSet, Image, Inventory, SetFile, Wheelhouse};
use manifests::kubernetes::{KubernetesManifests, PlainFile};
use manifests::requires::Requires;
use manifests::script::{Script, ScriptFile};
use serde::Serialize;

/// The difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Components that are not the same, by kind and name.
    pub components: Vec<Change>,
    /// How many components are the same.
    pub unchanged: usize,
    /// What is required of a site and differs, each by `KEY VALUE`, or `KEY` if there is one value only.
    pub requires: Vec<Inside>,
    /// Health checks that differ, each by its name or by what it looks at.
    pub health: Vec<Inside>,
    /// The blobs.
    pub blobs: Blobs,
}

/// A component that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// `image`, `wheels`, `chart`, …
    pub kind: &'static str,
    /// What it is called in both: an image's repository, a chart's name.
    pub name: String,
    /// It in the first bundle.
    pub from: Option<Side>,
    /// It in the second bundle.
    pub to: Option<Side>,
    /// What is different inside: a project, a file, a platform.
    pub inside: Vec<Inside>,
    /// Bytes that it needs and the first bundle does not have.
    pub new_bytes: u64,
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Side {
    /// A tag or a version, if it has one.
    pub version: Option<String>,
    /// Its manifest.
    pub digest: Digest,
}

/// Something inside a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Inside {
    /// What.
    pub name: String,
    /// In the first bundle.
    pub from: Option<String>,
    /// In the second bundle.
    pub to: Option<String>,
}

/// How the blobs compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Blobs {
    /// In both.
    pub shared: Amount,
    /// In the second bundle only: what a site that holds the first one lacks.
    pub added: Amount,
    /// In the first bundle only.
    pub removed: Amount,
}

/// So many blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.blobs = self.blobs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Compares.
#[must_use]
pub fn between(from: &Inventory, to: &Inventory) -> Difference {
    let held: BTreeSet<Digest> = from.blobs.iter().map(|blob| blob.digest).collect();
    let mut components = Vec::new();
    let mut unchanged = 0_usize;
    for (before, after) in pairs(&from.components, &to.components) {
        if before == after {
            unchanged = unchanged.saturating_add(1);
        } else {
            components.extend(change(before, after, &held, to));
        }
    }
    components.sort();
    Difference {
        components,
        unchanged,
        requires: differing(required(&from.requires), required(&to.requires)),
        health: health(&from.health, &to.health),
        blobs: blobs(from, to),
    }
}

/// What a person would take for the same thing in two versions.
fn pairs<'a>(
    from: &'a [Component],
    to: &'a [Component],
) -> Vec<(Option<&'a Component>, Option<&'a Component>)> {
    let mut before: Vec<&Component> = from.iter().collect();
    let mut after: Vec<&Component> = to.iter().collect();
    let mut pairs = Vec::new();
    let exact = |left: &Component, right: &Component| left.ref_name() == right.ref_name();
    let alike = |left: &Component, right: &Component| {
        let (left, right) = (Facts::of(left), Facts::of(right));
        (left.kind, left.name) == (right.kind, right.name)
    };
    for same in [&exact as &dyn Fn(&Component, &Component) -> bool, &alike] {
        after.retain(|right| match before.iter().position(|left| same(left, right)) {
            Some(place) => {
                pairs.push((Some(before.remove(place)), Some(*right)));
                false
            }
            None => true,
        });
    }
    pairs.extend(before.into_iter().map(|component| (Some(component), None)));
    pairs.extend(after.into_iter().map(|component| (None, Some(component))));
    pairs
}

fn change(
    before: Option<&Component>,
    after: Option<&Component>,
    held: &BTreeSet<Digest>,
    to: &Inventory,
) -> Option<Change> {
    let (left, right) = (before.map(Facts::of), after.map(Facts::of));
    let (kind, name) = right.as_ref().or(left.as_ref()).map(|facts| (facts.kind, facts.name.clone()))?;
    let side = |component: Option<&Component>, facts: &Option<Facts>| {
        let digest = component?.manifests().first()?.digest;
        Some(Side { version: facts.as_ref()?.version.clone(), digest })
    };
    let sides = (side(before, &left), side(after, &right));
    let mut inside = Vec::new();
    if let (Some(left), Some(right)) = (left, right) {
        inside = differing(left.inside, right.inside);
        if inside.is_empty() && sides.0 == sides.1 {
            inside.push(Inside {
                name: "how it is applied, or where it came from".to_string(),
                from: None,
                to: None,
            });
        }
    }
    let needed: BTreeSet<Digest> =
        after.map_or_else(Vec::new, Component::blobs).into_iter().map(|(digest, _)| digest).collect();
    let new = needed.difference(held).filter_map(|digest| to.blob_size(digest));
    Some(Change {
        kind,
        name,
        from: sides.0,
        to: sides.1,
        inside,
        new_bytes: new.fold(0_u64, u64::saturating_add),
    })
}

/// What is inside, by name: what people see of it, and what it is in truth.
type Insides = BTreeMap<String, (String, Vec<Digest>)>;

fn differing(mut before: Insides, after: Insides) -> Vec<Inside> {
    let mut found = Vec::new();
    for (name, (shown, identity)) in after {
        match before.remove(&name) {
            Some((old, same)) if old == shown && same == identity => {}
            Some((old, _)) if old == shown => {
                let to = Some(format!("{shown} (other content)").trim().to_string());
                found.push(Inside { name, from: Some(old), to });
            }
            old => found.push(Inside { name, from: old.map(|(old, _)| old), to: Some(shown) }),
        }
    }
    found.extend(before.into_iter().map(|(name, (old, _))| Inside { name, from: Some(old), to: None }));
    found.sort();
    found
}

fn required(requires: &Requires) -> Insides {
    let entry = |(key, value): (&'static str, String)| match key {
        "disk" | "memory" | "kubernetes" | "helm" => (key.to_string(), (value, Vec::new())),
        _ => (format!("{key} {value}"), Default::default()),
    };
    requires.lines().into_iter().map(entry).collect()
}

fn health(from: &HealthChecks, to: &HealthChecks) -> Vec<Inside> {
    let differences = differing(checks(from), checks(to));
    match differences.is_empty() && from != to {
        true => vec![Inside { name: "the order of the health checks".to_string(), from: None, to: None }],
        false => differences,
    }
}

/// By name, or by what is looked at; the second check of the same thing is told apart by a number.
fn checks(checks: &HealthChecks) -> Insides {
    let mut found = Insides::new();
    for check in checks.iter() {
        let within = format!("within {}s", check.within.seconds());
        let (name, shown) = match &check.name {
            Some(name) => (name.to_string(), format!("{} {within}", check.check)),
            None => (check.check.to_string(), within),
        };
        let mut key = name.clone();
        let mut number = 1_usize;
        while found.contains_key(&key) {
            number = number.saturating_add(1);
            key = format!("{name} ({number})");
        }
        found.insert(key, (shown, Vec::new()));
    }
    found
}

/// What a person compares of a component.
struct Facts {
    kind: &'static str,
    name: String,
    version: Option<String>,
    inside: Insides,
}

impl Facts {
    fn of(component: &Component) -> Self {
        match component {
            Component::Image(image) => Self::of_image(image),
            Component::Wheelhouse(wheelhouse) => Self::of_wheelhouse(wheelhouse),
            Component::Chart(chart) => Self::of_chart(chart),
            Component::FileSet(set) => Self::of_file_set(set),
            Component::KubernetesManifests(set) => Self::of_kubernetes(set),
            Component::Script(script) => Self::of_script(script),
        }
    }

    fn of_image(image: &Image) -> Self {
        let mut inside = Insides::new();
        for platform in &image.platforms {
            inside.insert(format!("platform {platform}"), (String::new(), Vec::new()));
        }
        for companion in &image.companions {
            let (count, digests) = inside.entry(format!("{}s", companion.kind.noun())).or_default();
            digests.push(companion.manifest.digest);
            *count = digests.len().to_string();
        }
        let version = image.name.tag().map(ToString::to_string);
        Self { kind: "image", name: image.name.repository(), version, inside }
    }

    fn of_wheelhouse(wheelhouse: &Wheelhouse) -> Self {
        let mut inside = Insides::new();
        for wheel in &wheelhouse.wheels {
            let (versions, digests) = inside.entry(wheel.project.to_string()).or_default();
            let version = wheel.version.to_string();
            if versions.is_empty() {
                *versions = version;
            } else if !versions.split(", ").any(|known| known == version) {
                *versions = format!("{versions}, {version}");
            }
            digests.push(wheel.digest);
        }
        for target in &wheelhouse.targets {
            inside.insert(format!("target {}/{}", target.python, target.platform), Default::default());
        }
        Self { kind: "wheels", name: wheelhouse.name.to_string(), version: None, inside }
    }

    fn of_chart(chart: &Chart) -> Self {
        let values = chart.values.as_ref().map_or(&[][..], |values| &values.files);
        Self {
            kind: "chart",
            name: chart.name.to_string(),
            version: Some(chart.version.to_string()),
            inside: files(values, "values "),
        }
    }

    fn of_file_set(set: &FileSet) -> Self {
        Self { kind: "files", name: set.dest.to_string(), version: None, inside: files(&set.files, "") }
    }

    fn of_kubernetes(set: &KubernetesManifests) -> Self {
        let entry = |file: &PlainFile| (file.path.to_string(), (String::new(), vec![file.digest]));
        let inside = set.files.iter().map(entry).collect();
        Self { kind: "manifests", name: set.name.to_string(), version: None, inside }
    }

    fn of_script(script: &Script) -> Self {
        let file = |file: &ScriptFile| (file.filename.to_string(), vec![file.digest]);
        let mut inside = Insides::from([("what it does".to_string(), file(&script.file))]);
        inside.extend(script.undo.file().map(|undo| ("how it is undone".to_string(), file(undo))));
        Self { kind: "script", name: script.name.to_string(), version: None, inside }
    }
}

fn files(files: &[SetFile], before: &str) -> Insides {
    let entry = |file: &SetFile| {
        (format!("{before}{}", file.path), (format!("mode {}", file.mode), vec![file.digest]))
    };
    files.iter().map(entry).collect()
}

fn blobs(from: &Inventory, to: &Inventory) -> Blobs {
    let nothing = Amount::default();
    let mut blobs = Blobs { shared: nothing, added: nothing, removed: nothing };
    let sizes = |inventory: &Inventory| -> BTreeMap<Digest, u64> {
        inventory.blobs.iter().map(|Content { digest, size }| (*digest, *size)).collect()
    };
    let mut before = sizes(from);
    for (digest, size) in sizes(to) {
        match before.remove(&digest) {
            Some(_) => blobs.shared.add(size),
            None => blobs.added.add(size),
        }
    }
    before.values().for_each(|size| blobs.removed.add(*size));
    blobs
}
