//! What was not checked: derived from what is there, so that a gap that was closed is not complained of, and one
//! that is open is never left out.

use manifests::inventory::{Component, Image, NeededImage};
use manifests::text::printable;

use super::facts::{BundleFacts, Facts};
use super::model::{Artifact, BundlePart, Gap, UpstreamWord};
use crate::plan::{LoadForm, Step};

/// Every gap of a report.
pub(crate) fn of(facts: &Facts, bundles: &[BundlePart]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for part in bundles {
        of_artifacts(part, &mut gaps);
        of_targets(part, facts, &mut gaps);
    }
    for found in &facts.bundles {
        of_images(found, &mut gaps);
        of_steps(found, &mut gaps);
        if found.documents.is_err() {
            let title = vec![found.title()];
            gaps.push(gap(
                "artifacts: the signed documents are not what they were, so nothing is listed",
                title,
                None,
            ));
        }
    }
    of_site(facts, bundles, &mut gaps);
    gaps
}

fn gap(what: &str, of: Vec<String>, instead: Option<&str>) -> Gap {
    Gap { what: what.to_string(), of, instead: instead.map(str::to_string) }
}

/// Adds a gap that is about some things, if it is about any.
fn add(gaps: &mut Vec<Gap>, what: &str, of: Vec<String>, instead: Option<&str>) {
    if !of.is_empty() {
        gaps.push(gap(what, of, instead));
    }
}

fn titles<'a>(artifacts: impl Iterator<Item = &'a Artifact>) -> Vec<String> {
    artifacts.map(|artifact| format!("{} {}", artifact.kind, artifact.name)).collect()
}

fn of_artifacts(part: &BundlePart, gaps: &mut Vec<Gap>) {
    let artifacts = || part.artifacts.iter();
    add(
        gaps,
        "an upstream signature: nobody checked one, or there is none. These are what the release holders signed, and whose they were before is not shown",
        titles(artifacts().filter(|artifact| artifact.upstream.verdict == UpstreamWord::NotChecked)),
        None,
    );
    add(
        gaps,
        "upstream signatures were checked by the sender when the bundle was locked, and not again here",
        titles(artifacts().filter(|artifact| artifact.upstream.verdict == UpstreamWord::Verified)),
        Some("counter-signatures that travel along: docs/auditor.md, section 2"),
    );
    add(
        gaps,
        "a bill of materials: none came with these images",
        titles(artifacts().filter(|artifact| artifact.kind == "image" && artifact.sboms.is_empty())),
        None,
    );
    let has_sbom = part.sbom.is_some() || artifacts().any(|artifact| !artifact.sboms.is_empty());
    if has_sbom {
        let title = vec![format!("{} {}", part.product, part.version)];
        add(
            gaps,
            "what the bills of materials say: they are carried and named by digest, and nobody has read them here",
            title,
            Some("a scanner of your own, on the blob with that digest"),
        );
    } else {
        add(
            gaps,
            "a bill of materials of the bundle: there is none",
            vec![format!("{} {}", part.product, part.version)],
            None,
        );
    }
}

fn of_targets(part: &BundlePart, facts: &Facts, gaps: &mut Vec<Gap>) {
    let title = format!("{} {}", part.product, part.version);
    match &part.applied {
        None => add(gaps, "targets: this bundle was never applied here", vec![title.clone()], None),
        Some(_) => {
            let unplaced = part.artifacts.iter().filter(|artifact| artifact.placed.is_empty());
            add(
                gaps,
                "where these were loaded: no journal says that they were put on a target. They are in the site store, and `installer serve` shows them",
                titles(unplaced),
                None,
            );
            let since = match facts.log.last_drift(&title) {
                Some((time, 0)) => {
                    format!("{title}: not since the run of `installer drift` at {time}, which found nothing")
                }
                Some((time, found)) => format!(
                    "{title}: not since the run of `installer drift` at {time}, which found {found} differences"
                ),
                None => format!("{title}: not since it was applied"),
            };
            add(
                gaps,
                "targets: this report asked none of them. Digests read back are of the moment of each step",
                vec![since],
                Some("installer drift"),
            );
        }
    }
    let runs: Vec<String> =
        part.preflight.iter().map(|run| format!("{title}: {} ({})", run.purpose, run.time)).collect();
    add(
        gaps,
        "what each check before a change has found: the log keeps the ids of what was not well, and texts of what was overridden only",
        runs,
        None,
    );
}

fn of_images(found: &BundleFacts, gaps: &mut Vec<Gap>) {
    let Ok((_, inventory)) = &found.documents else { return };
    let (mut waived, mut parts) = (Vec::new(), Vec::new());
    for component in &inventory.components {
        let needed: &[NeededImage] = match component {
            Component::Chart(chart) => &chart.images,
            Component::KubernetesManifests(set) => &set.images,
            Component::Image(Image { part_of: Some(index), name, .. }) => {
                parts.push(printable(&format!("{name}, of the index {index}")));
                &[]
            }
            _ => &[],
        };
        for image in needed {
            let reason = image.waived.as_ref();
            waived.extend(reason.map(|reason| format!("{} ({reason})", image.image)));
        }
    }
    add(
        gaps,
        "images that charts or manifests name and the bundle does not carry, with the sender's reason",
        waived,
        None,
    );
    add(
        gaps,
        "signatures over an upstream index of which only some platforms are carried: they cannot be checked here",
        parts,
        None,
    );
}

fn of_steps(found: &BundleFacts, gaps: &mut Vec<Gap>) {
    let Some(journal) = found.journal() else { return };
    let titles = |wanted: &dyn Fn(&Step) -> bool| -> Vec<String> {
        journal.plan.steps.iter().filter(|step| wanted(step)).map(|step| printable(&step.title())).collect()
    };
    add(
        gaps,
        "what scripts did: a script is done when it has said so",
        titles(&|step| matches!(step, Step::Script(_))),
        None,
    );
    add(
        gaps,
        "files inside of these environments: that an environment is complete was read back, not each file of it",
        titles(&|step| matches!(step, Step::Venv(_))),
        Some("installer drift"),
    );
    let classic = |step: &Step| matches!(step, Step::Load(load) if load.form == LoadForm::DockerArchive);
    add(
        gaps,
        "digests of manifests in this Docker Engine: its store does not keep them, so the digest of the configuration was compared",
        titles(&classic),
        None,
    );
}

fn of_site(facts: &Facts, bundles: &[BundlePart], gaps: &mut Vec<Gap>) {
    let audit = facts.log.part();
    if audit.unsigned > 0 {
        let last = audit.entries.saturating_sub(1);
        let from = audit.entries.saturating_sub(audit.unsigned);
        add(
            gaps,
            "entries of the log that came after the newest checkpoint are not signed",
            vec![format!("entries {from} to {last}")],
            Some("installer audit checkpoint"),
        );
    }
    let since = facts.trust.not_before();
    gaps.push(gap(
        "lines that are missing at the end of the log, or a log and checkpoints that were both put back: only a checkpoint that was carried elsewhere shows that",
        Vec::new(),
        Some("installer audit verify --checkpoint FILE --public-key PUB"),
    ));
    gaps.push(gap(
        &format!("what was revoked after {since}: the site has no newer list"),
        Vec::new(),
        Some("installer trust update MEDIUM"),
    ));
    gaps.push(gap("the fingerprint of the trust root and the id of the site's key: this report took them from the site. Compare both with paper", Vec::new(), None));
    gaps.push(gap("the time: no time authority was asked", Vec::new(), None));
    gaps.push(gap("who a user of the log is: the names are those of the environment, only the number (uid) is the kernel's", Vec::new(), None));
    if !bundles.is_empty() {
        gaps.push(gap(
            "malware: nothing was searched for it",
            Vec::new(),
            Some("installer inspect BUNDLE --review FILE lists every file for whoever does"),
        ));
    }
    gaps.push(gap(
        "this program: whether it is the one that its publisher built",
        Vec::new(),
        Some("the commands under Recheck need no program of ours"),
    ));
}
