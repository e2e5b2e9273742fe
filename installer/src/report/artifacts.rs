//! Every component of a bundle: what it is, where it came from, who has signed it before us, and where the
//! journals say that it was put and read back.

use std::path::PathBuf;

use manifests::bundle::Content;
use manifests::companion;
use manifests::inventory::{Chart, Component, FileSet, Image, Inventory, SetFile, UpstreamSignature};
use manifests::text::printable;
use manifests::{Digest, Timestamp};

use super::facts::BundleFacts;
use super::log::LogFacts;
use super::model::{Artifact, FileLine, Placement, SbomLine, Upstream, UpstreamWord};
use crate::journal::Found;
use crate::plan::{LoadForm, PlanKind, ReleaseAction, Step};

/// Every artifact of a bundle.
pub(crate) fn of(facts: &BundleFacts, inventory: &Inventory, log: &LogFacts) -> Vec<Artifact> {
    inventory.components.iter().map(|component| artifact(component, inventory, facts, log)).collect()
}

fn artifact(component: &Component, inventory: &Inventory, facts: &BundleFacts, log: &LogFacts) -> Artifact {
    let mut blobs = component.blobs();
    blobs.sort();
    blobs.dedup_by_key(|blob| blob.0);
    let sizes = blobs.iter().filter_map(|(digest, _)| inventory.blob_size(digest));
    Artifact {
        kind: kind(component),
        name: printable(&name(component)),
        digest: component.manifests().first().map_or(Digest::of(b""), |manifest| manifest.digest),
        bytes: sizes.fold(0_u64, u64::saturating_add),
        origin: printable_long(&origin(component)),
        upstream: upstream(component),
        sboms: sboms(component),
        companions: companion::count(component.companions()),
        files: files(component),
        placed: placed(component, facts, log),
    }
}

/// Longer than a name: an address may have 512 characters.
fn printable_long(text: &str) -> String {
    manifests::text::printable_up_to(text, 600)
}

fn kind(component: &Component) -> &'static str {
    match component {
        Component::Image(_) => "image",
        Component::Wheelhouse(_) => "wheelhouse",
        Component::Chart(_) => "chart",
        Component::FileSet(_) => "files",
        Component::KubernetesManifests(_) => "Kubernetes manifests",
        Component::Script(_) => "script",
    }
}

fn name(component: &Component) -> String {
    match component {
        Component::Image(image) => image.name.to_string(),
        Component::Wheelhouse(wheelhouse) => wheelhouse.name.to_string(),
        Component::Chart(chart) => format!("{} {}", chart.name, chart.version),
        Component::FileSet(set) => set.dest.to_string(),
        Component::KubernetesManifests(set) => set.name.to_string(),
        Component::Script(script) => script.name.to_string(),
    }
}

fn origin(component: &Component) -> String {
    match component {
        Component::Image(image) => image.source.to_string(),
        Component::Wheelhouse(wheelhouse) => wheelhouse.source.to_string(),
        Component::Chart(chart) => chart.source.to_string(),
        Component::FileSet(set) => set.source.to_string(),
        Component::KubernetesManifests(set) => set.source.to_string(),
        Component::Script(script) => script.source.to_string(),
    }
}

fn upstream(component: &Component) -> Upstream {
    let verified = |in_words| Upstream { verdict: UpstreamWord::Verified, in_words };
    let not = |in_words: &str| Upstream { verdict: UpstreamWord::NotChecked, in_words: in_words.to_string() };
    match component {
        Component::Image(Image { upstream_signature: UpstreamSignature::Verified(found), .. }) => {
            verified(format!(
                "cosign signature over {} with the key {}; the sender checked it when the bundle was locked",
                found.manifest, found.key
            ))
        }
        Component::Image(_) => not("the sender asked for no check"),
        Component::Chart(Chart { upstream_signature: Some(found), .. }) => verified(format!(
            "provenance file signed by {} with the OpenPGP key {}; the sender checked it when the bundle was locked",
            found.signer, found.fingerprint
        )),
        Component::Chart(Chart { provenance: Some(_), .. }) => {
            not("a provenance file travels along; the sender asked for no check of it")
        }
        Component::Chart(_) => not("there is no provenance file"),
        _ => not("what is packed from files has none"),
    }
}

fn sboms(component: &Component) -> Vec<SbomLine> {
    match component {
        Component::Image(image) => {
            image.sboms.iter().map(|sbom| SbomLine { format: sbom.format, blob: sbom.blob }).collect()
        }
        _ => Vec::new(),
    }
}

fn files(component: &Component) -> Vec<FileLine> {
    let line = |path: String, content: Content| FileLine {
        path: printable_long(&path),
        digest: content.digest,
        bytes: content.size,
    };
    let content = |digest, size| Content { digest, size };
    match component {
        Component::Image(_) => Vec::new(),
        Component::Wheelhouse(wheelhouse) => {
            let wheels = wheelhouse.wheels.iter();
            wheels.map(|w| line(w.filename.to_string(), content(w.digest, w.size))).collect()
        }
        Component::Chart(chart) => {
            let archive = [line(format!("{}-{}.tgz", chart.name, chart.version), chart.archive)];
            let provenance =
                chart.provenance.map(|file| line(format!("{}-{}.tgz.prov", chart.name, chart.version), file));
            let values = chart.values.iter().flat_map(|values| &values.files);
            let values = values.map(|file| line(file.path.to_string(), content(file.digest, file.size)));
            archive.into_iter().chain(provenance).chain(values).collect()
        }
        Component::FileSet(set) => {
            set.files.iter().map(|f| line(f.path.to_string(), content(f.digest, f.size))).collect()
        }
        Component::KubernetesManifests(set) => {
            set.files.iter().map(|f| line(f.path.to_string(), content(f.digest, f.size))).collect()
        }
        Component::Script(script) => script
            .files()
            .into_iter()
            .map(|f| line(f.filename.to_string(), content(f.digest, f.size)))
            .collect(),
    }
}

/// Where the journals of the product say that it is: of each place the newest step that put it there. A step is
/// done only once the target was asked and had the new value.
fn placed(component: &Component, facts: &BundleFacts, log: &LogFacts) -> Vec<Placement> {
    let until = facts.journal().map(|found| found.path.clone());
    let mut all: Vec<Placement> = Vec::new();
    for found in facts.journals.iter().filter(|found| found.plan.kind == PlanKind::Apply) {
        for (number, step) in found.plan.steps.iter().enumerate() {
            let Some((place, digest, read_back)) = placement(component, step) else { continue };
            if !(found.has_effect(number) && found.was_done(number)) {
                continue;
            }
            let placement = Placement {
                target: step.target(),
                place: printable_long(&place),
                digest_read_back: digest,
                read_back: read_back.to_string(),
                journal: journal_name(found),
                time: time_of(found, number, facts, log),
            };
            all.retain(|other| (other.target, &other.place) != (placement.target, &placement.place));
            all.push(placement);
        }
        if Some(&found.path) == until.as_ref() {
            break;
        }
    }
    all
}

/// The name of a journal's file.
pub(crate) fn journal_name(found: &Found) -> String {
    found.path.file_name().map(|name| printable(&name.to_string_lossy())).unwrap_or_default()
}

/// The log has the times of the bundle that the report is about.
fn time_of(found: &Found, number: usize, facts: &BundleFacts, log: &LogFacts) -> Option<Timestamp> {
    let applied = facts.applied.as_ref()?;
    let own = facts.journal().is_some_and(|own| own.path == found.path);
    let times = log.step_times(facts.bundle, applied.applied.time, applied.until);
    times.get(&number).copied().filter(|_| own)
}

type Put = (String, Option<Digest>, &'static str);

/// Whether a step puts this component somewhere: where, by which digest it was read back, and how.
fn placement(component: &Component, step: &Step) -> Option<Put> {
    match (component, step) {
        (Component::Image(image), Step::Push(push)) if push.manifest.digest == image.manifest.digest => {
            Some(pushed(push))
        }
        (Component::Chart(chart), Step::Push(push)) if push.manifest.digest == chart.manifest.digest => {
            Some(pushed(push))
        }
        (Component::Image(_), Step::Load(load)) if load.title == component.title() => {
            let read = match load.form {
                LoadForm::DockerArchive => "the Engine has it under this id, the digest of its configuration",
                LoadForm::Layout => "the Engine has it under this id, the digest of its manifest or index",
            };
            Some((
                format!("{} on {}", load.name.as_ref().unwrap_or(&load.title), load.host),
                Some(load.id),
                read,
            ))
        }
        (Component::Image(image), Step::Import(import))
            if import.manifest.digest == image.manifest.digest =>
        {
            let name = import.names.first().map_or(&import.title, |name| &name.name);
            let place = format!("{name} in {} of {}", import.namespace.as_str(), import.address.display());
            Some((place, Some(import.manifest.digest), "containerd has this digest under the name"))
        }
        (Component::Wheelhouse(wheelhouse), Step::Venv(venv)) if venv.name == wheelhouse.name => Some((
            venv.link.display().to_string(),
            None,
            "the link leads to the new environment, which is complete; pip compared each wheel with its hash",
        )),
        (Component::FileSet(set), Step::File(write)) => {
            let of_set =
                |file: &&SetFile| file.digest == write.new.digest && ends_with(&write.path, set, file);
            set.files.iter().find(of_set).map(|file| {
                let place = format!("{} (mode {})", write.path.display(), file.mode);
                (place, Some(file.digest), "the file was read again and hashed")
            })
        }
        (Component::Chart(chart), Step::Release(release)) => match &release.action {
            ReleaseAction::Install(new) if new.archive.digest == chart.archive.digest => Some((
                format!("release {} in {}", release.release, release.namespace),
                None,
                "Helm has the release, deployed, with this bundle's mark",
            )),
            _ => None,
        },
        (Component::KubernetesManifests(set), Step::Objects(objects)) if !objects.is_removal() => {
            let ours = objects.title == format!("manifests {}", set.name);
            ours.then(|| {
                let named: Vec<String> =
                    objects.objects.iter().map(crate::plan::PlannedObject::title).collect();
                (named.join(", "), None, "the cluster has every field of these objects that was sent")
            })
        }
        (Component::Script(script), Step::Script(run)) if run.script.name == script.name => Some((
            format!("ran on this machine ({})", run.direction.word()),
            None,
            "it ended with exit code 0; what it did was not read back",
        )),
        _ => None,
    }
}

fn ends_with(path: &std::path::Path, set: &FileSet, file: &SetFile) -> bool {
    let below = PathBuf::from(set.dest.to_string().trim_start_matches('/')).join(file.path.as_str());
    path.ends_with(below)
}

fn pushed(push: &crate::plan::Push) -> Put {
    let tag = push.tag.as_ref().map_or(format!("@{}", push.manifest.digest), |tag| format!(":{tag}"));
    let place = format!("{}/{}{tag}", host(&push.url), push.repository);
    (place, Some(push.manifest.digest), "the registry named this digest when it was asked for the name")
}

/// The registry without scheme, and without a login if somebody has written one into the address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_registry_is_named_without_a_login() {
        for (url, shown) in [
            ("https://registry.site:5000", "registry.site:5000"),
            ("http://user:secret@registry.site", "registry.site"),
            ("http://user:p@ss@registry.site", "registry.site"),
        ] {
            assert_eq!(super::host(url), shown);
        }
    }
}
