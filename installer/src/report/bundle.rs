//! The section about one bundle: signatures and thresholds, what was changed, what the log says.

use std::collections::{BTreeMap, BTreeSet};

use manifests::bundle::Counts;
use manifests::delta::Delta;
use manifests::root::{Clause, Verdict};
use manifests::text::Name;
use manifests::{KeyId, Timestamp, Trust, TrustRoot};

use super::artifacts::{self, journal_name};
use super::facts::{BundleFacts, Facts};
use super::model::{
    AppliedPart, BundlePart, Changes, DeltaPart, RunWord, SignatureLine, StepLine, StepWord, ThresholdLine,
};
use crate::journal::{Found, Line};
use crate::plan::{ObjectChange, Step, WriteFile};

/// The section; none where not even the signed document is what it was.
pub(crate) fn part(found: &BundleFacts, facts: &Facts) -> Option<BundlePart> {
    let (manifest, inventory) = found.documents.as_ref().ok()?;
    let signatures = found.signatures.as_deref().unwrap_or_default();
    Some(BundlePart {
        bundle: found.bundle,
        publisher: manifest.publisher.clone(),
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        order: manifest.order,
        marking: manifest.marking.clone(),
        created: manifest.created,
        expires: manifest.expires,
        audience: manifest.audience.iter().map(ToString::to_string).collect(),
        medium: found
            .medium
            .as_ref()
            .map(|path| manifests::text::printable_up_to(&path.display().to_string(), 600)),
        applied: found.applied.as_ref().map(|applied| AppliedPart {
            time: applied.applied.time,
            current: applied.current,
            removed: applied.applied.removed,
            in_log: applied.in_log,
        }),
        root_version: found.root_version,
        signatures: signatures
            .iter()
            .map(|signature| SignatureLine {
                keyid: signature.keyid,
                scheme: signature.scheme,
                holder: signature.holder.clone(),
                role: "release",
                verdict: signature.verdict,
                in_words: signature.verdict.to_string(),
            })
            .collect(),
        thresholds: thresholds(found, &facts.trust),
        signatures_verified: found.signatures.is_ok(),
        content_verified: found.content.is_ok(),
        delta: inventory.delta.as_ref().map(|delta| delta_part(delta, &inventory.counts())),
        sbom: inventory.sbom.as_ref().map(|sbom| sbom.document.digest),
        artifacts: artifacts::of(found, inventory, &facts.log),
        preflight: facts.log.preflight(found.bundle),
        overrides: facts.log.overrides(found.bundle),
        changes: found.journal().map(|journal| changes(journal, found, facts)),
        acts: facts.log.acts(found.bundle),
    })
}

fn delta_part(delta: &Delta, counts: &Counts) -> DeltaPart {
    DeltaPart {
        bases: delta.bases.iter().map(ToString::to_string).collect(),
        blobs: counts.blobs,
        left_out: counts.left_out,
        left_out_bytes: counts.left_out_bytes,
        patched: counts.patched,
        patched_bytes: counts.patched_bytes,
        patch_bytes: counts.patch_bytes,
    }
}

/// The root that has judged it.
pub(crate) fn root<'a>(found: &BundleFacts, trust: &'a Trust) -> &'a TrustRoot {
    trust.root_of_version(found.root_version).unwrap_or_else(|| trust.root())
}

fn thresholds(found: &BundleFacts, trust: &Trust) -> Vec<ThresholdLine> {
    let document = root(found, trust).document();
    let signatures = found.signatures.as_deref().unwrap_or_default();
    let good: BTreeSet<KeyId> = signatures
        .iter()
        .filter(|signature| signature.verdict == Verdict::Good)
        .map(|signature| signature.keyid)
        .collect();
    let holders = |clause: &Clause, counts: &dyn Fn(&KeyId) -> bool| -> Vec<Name> {
        let keys = clause.keyids.iter().filter(|keyid| counts(keyid));
        let holders: BTreeSet<&Name> =
            keys.filter_map(|keyid| document.keys.get(keyid)).map(|key| &key.holder).collect();
        holders.into_iter().cloned().collect()
    };
    let line = |clause: &Clause| {
        let signed = holders(clause, &|keyid| good.contains(keyid));
        ThresholdLine {
            needed: clause.threshold.get(),
            reached: signed.len(),
            signed,
            may_sign: holders(clause, &|_| true),
        }
    };
    document.roles.release.clauses.iter().map(line).collect()
}

fn changes(journal: &Found, found: &BundleFacts, facts: &Facts) -> Changes {
    let plan = &journal.plan;
    let times = match &found.applied {
        Some(applied) => facts.log.step_times(found.bundle, applied.applied.time, applied.until),
        None => BTreeMap::new(),
    };
    let step = |(number, step): (usize, &Step)| step_line(number, step, journal, times.get(&number).copied());
    Changes {
        journal: journal_name(journal),
        outcome: outcome(journal),
        before: plan.from.clone(),
        after: plan.version.clone(),
        change: plan.change.as_ref().map(ToString::to_string),
        steps: plan.steps.iter().enumerate().map(step).collect(),
        unchanged: plan.unchanged.clone(),
        notes: plan.notes.clone(),
    }
}

pub(crate) fn outcome(journal: &Found) -> RunWord {
    if journal.is_committed() {
        RunWord::Done
    } else if journal.lines.contains(&Line::RolledBack) {
        RunWord::Undone
    } else if journal.lines.contains(&Line::Broken) {
        RunWord::NotUndone
    } else {
        RunWord::CutOff
    }
}

fn step_line(number: usize, step: &Step, journal: &Found, time: Option<Timestamp>) -> StepLine {
    let outcome = if journal.was_undone(number) {
        StepWord::Undone
    } else if journal.lines.contains(&Line::Stuck(number)) {
        StepWord::Stuck
    } else if journal.was_done(number) {
        StepWord::Done
    } else if journal.was_begun(number) {
        StepWord::Begun
    } else {
        StepWord::NotBegun
    };
    let (before, after) = values(step);
    StepLine {
        number: number.saturating_add(1),
        target: step.target(),
        action: manifests::text::printable_up_to(&step.action(), 600),
        before: manifests::text::printable_up_to(&before, 600),
        after: manifests::text::printable_up_to(&after, 600),
        outcome,
        time,
    }
}

const NOTHING: &str = "nothing";

/// The old value and the new one, by digest where there is one. No content, and nothing of an object but its name.
fn values(step: &Step) -> (String, String) {
    let or_nothing =
        |digest: Option<manifests::Digest>| digest.map_or(NOTHING.to_string(), |d| d.to_string());
    match step {
        Step::Push(push) => (or_nothing(push.old), push.manifest.digest.to_string()),
        Step::Load(load) => (or_nothing(load.old), load.id.to_string()),
        Step::Import(import) => {
            let old = import.names.first().and_then(|name| name.old.as_ref()).map(|old| old.digest);
            (or_nothing(old), import.manifest.digest.to_string())
        }
        Step::File(write) => file(write),
        Step::Mirror(mirror) => file(&mirror.write),
        Step::Venv(venv) => (
            venv.old.as_ref().map_or(NOTHING.to_string(), |old| old.display().to_string()),
            venv.venv.display().to_string(),
        ),
        Step::Objects(objects) => {
            let there = objects.objects.iter().filter(|object| object.old.is_some()).count();
            let stays = objects.objects.iter().filter(|object| object.change == ObjectChange::Apply).count();
            (format!("{there} of them"), format!("{stays} of them"))
        }
        Step::Release(release) => {
            let before = release.installed().map(|old| format!("{} (revision {})", old.chart, old.revision));
            let after = match &release.action {
                crate::plan::ReleaseAction::Install(new) => new.chart.clone(),
                crate::plan::ReleaseAction::Uninstall => NOTHING.to_string(),
            };
            (before.unwrap_or(NOTHING.to_string()), after)
        }
        Step::Publish(publish) => {
            (format!("bundles shown: {}", publish.old.len()), format!("bundles shown: {}", publish.new.len()))
        }
        Step::Record(record) => {
            let current = |ledger: Option<&crate::site::ledger::Ledger>| {
                ledger
                    .and_then(|ledger| ledger.current())
                    .map_or(NOTHING.to_string(), |a| a.version.to_string())
            };
            (current(record.old.as_ref()), current(Some(&record.new)))
        }
        Step::Unwrite(_) | Step::Unlink(_) | Step::Withdraw(_) => {
            ("of an earlier version".to_string(), "as before it".to_string())
        }
        Step::Script(_) | Step::Health(_) => ("-".to_string(), "-".to_string()),
    }
}

fn file(write: &WriteFile) -> (String, String) {
    let old = write.old.map_or(NOTHING.to_string(), |old| format!("{} (mode {:04o})", old.digest, old.mode));
    (old, format!("{} (mode {})", write.new.digest, write.new.mode))
}
