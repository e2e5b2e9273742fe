//! What the audit log says that a report needs: how far it holds, what of it was signed, and the entries about
//! certain bundles. Everything else in it is passed over.

use std::collections::{BTreeMap, BTreeSet};

use edge::{Classified, Exit};
use manifests::audit::{Entry, Head, Outcome};
use manifests::bundle::BundleDigest;
use manifests::checkpoint::{CheckpointDocument, KEY_EVENT};
use manifests::{KeyId, Timestamp};

use super::model::{Act, AuditPart, CheckpointLine, OverrideLine, PreflightRun};
use crate::admit::with_causes;
use crate::audit;
use crate::audit::checkpoint;
use crate::site::Site;

/// Something that is not as it should be, and how a run ends that has found it.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) fn of<E: Classified>(error: &E) -> Self {
        Self { exit: error.exit(), text: manifests::text::printable_up_to(&with_causes(error), 1000) }
    }
}

/// The log, as far as a report goes.
#[derive(Debug, Default)]
pub(crate) struct LogFacts {
    /// Its end, as far as it holds together.
    pub(crate) head: Head,
    pub(crate) first_time: Option<Timestamp>,
    pub(crate) last_time: Option<Timestamp>,
    /// Chain, checkpoints or keys do not agree.
    pub(crate) trouble: Option<Trouble>,
    /// Every checkpoint that is kept and agrees, the oldest first.
    pub(crate) checkpoints: Vec<CheckpointDocument>,
    /// Keys that nobody could sign for.
    pub(crate) after_loss: BTreeSet<KeyId>,
    /// Entries about the bundles of the report, and about the site itself.
    pub(crate) entries: Vec<Entry>,
}

/// What happened to the site as a whole.
const OF_THE_SITE: [&str; 8] =
    ["trust.init", "trust.update", KEY_EVENT, "site.check", "log.repair", "acknowledge", "drift", "abandon"];

impl LogFacts {
    /// Reads and judges the whole log.
    pub(crate) fn read(site: &Site, bundles: &BTreeSet<BundleDigest>) -> Self {
        let mut facts = Self::default();
        match checkpoint::judge_all(site, None) {
            Ok(whole) => {
                facts.checkpoints = whole.kept.iter().map(|kept| kept.document().clone()).collect();
                let lost = whole.survey.keys.made().filter(|(_, key)| key.after_loss);
                facts.after_loss = lost.map(|(_, key)| key.keyid).collect();
            }
            Err(error) => facts.trouble = Some(Trouble::of(&error)),
        }
        let read = audit::read_lines(&site.audit_path(), &mut |line| {
            facts.head = line.head.clone();
            facts.first_time.get_or_insert(line.entry.event.time);
            facts.last_time = Some(line.entry.event.time);
            if is_wanted(&line.entry, bundles) {
                facts.entries.push(line.entry);
            }
        });
        if let (Err(error), None) = (read, &facts.trouble) {
            facts.trouble = Some(Trouble::of(&error));
        }
        facts
    }

    /// The section of the report.
    pub(crate) fn part(&self) -> AuditPart {
        let newest = self.checkpoints.last();
        let covered = newest.map_or(0, |document| document.entries);
        AuditPart {
            intact: self.trouble.is_none(),
            broken: self.trouble.as_ref().map(|trouble| trouble.text.clone()),
            entries: self.head.entries,
            first_time: self.first_time,
            last_time: self.last_time,
            head: self.head.digest.clone(),
            checkpoint: newest.map(|document| CheckpointLine {
                entries: document.entries,
                head: document.head,
                time: document.time,
                keyid: document.keyid,
            }),
            unsigned: self.head.entries.saturating_sub(covered),
            checkpoints: self.checkpoints.len(),
            acts: self.entries.iter().filter(|entry| is_of_the_site(entry)).map(act).collect(),
        }
    }

    /// What was done with a bundle, but for the single steps.
    pub(crate) fn acts(&self, bundle: BundleDigest) -> Vec<Act> {
        let wanted = |entry: &&Entry| {
            is_about(entry, bundle)
                && !entry.event.event.ends_with(".step")
                && !matches!(entry.event.event.as_str(), "preflight" | "preflight.override")
        };
        self.entries.iter().filter(wanted).map(act).collect()
    }

    /// The checks before changes, as the log has them: their ids, not what each has found.
    pub(crate) fn preflight(&self, bundle: BundleDigest) -> Vec<PreflightRun> {
        let runs = self.entries.iter().filter(|entry| is_about(entry, bundle) && is(entry, "preflight"));
        runs.map(|entry| PreflightRun {
            seq: entry.seq,
            time: entry.event.time,
            purpose: text(entry, "for"),
            ready: entry.event.outcome == Outcome::Done,
            passed: text(entry, "passed").parse().unwrap_or_default(),
            warned: words(entry, "warned"),
            overridden: words(entry, "overridden"),
            failed: words(entry, "failed"),
            user: who(entry),
        })
        .collect()
    }

    /// The checks that did not stop somebody, with the reasons.
    pub(crate) fn overrides(&self, bundle: BundleDigest) -> Vec<OverrideLine> {
        let found =
            self.entries.iter().filter(|entry| is_about(entry, bundle) && is(entry, "preflight.override"));
        found
            .map(|entry| OverrideLine {
                seq: entry.seq,
                time: entry.event.time,
                id: text(entry, "id"),
                fact: text(entry, "fact"),
                reason: text(entry, "reason"),
                change: entry.event.about.get("change").cloned(),
                user: who(entry),
            })
            .collect()
    }

    /// When each step of a run was done or taken back, by its number from 0. A run is told from another of the
    /// same bundle by its time.
    pub(crate) fn step_times(
        &self,
        bundle: BundleDigest,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> BTreeMap<usize, Timestamp> {
        let mut times = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| is_about(entry, bundle)) {
            let event = &entry.event;
            let inside = event.time >= from && until.is_none_or(|until| event.time < until);
            let ended = event.outcome != Outcome::Intent && event.event.ends_with(".step");
            let number = text(entry, "step").split('/').next().and_then(|n| n.parse::<usize>().ok());
            if let (true, true, Some(number)) = (inside, ended, number.and_then(|n| n.checked_sub(1))) {
                times.insert(number, event.time);
            }
        }
        times
    }

    /// When somebody last compared what runs with what was shipped, and what the log says of it.
    pub(crate) fn last_drift(&self, title: &str) -> Option<(Timestamp, u64)> {
        let looked = self.entries.iter().rev().find(|entry| {
            is(entry, "drift") && text(entry, "product").split(", ").any(|product| product == title)
        })?;
        Some((looked.event.time, text(looked, "drifted").parse().unwrap_or_default()))
    }
}

fn is(entry: &Entry, event: &str) -> bool {
    entry.event.event == event
}

fn is_about(entry: &Entry, bundle: BundleDigest) -> bool {
    entry.event.about.get("bundle").and_then(|text| text.parse().ok()) == Some(bundle)
}

fn is_of_the_site(entry: &Entry) -> bool {
    OF_THE_SITE.contains(&entry.event.event.as_str())
}

fn is_wanted(entry: &Entry, bundles: &BTreeSet<BundleDigest>) -> bool {
    let bundle = entry.event.about.get("bundle").and_then(|text| text.parse().ok());
    is_of_the_site(entry) || bundle.is_some_and(|bundle| bundles.contains(&bundle))
}

fn text(entry: &Entry, key: &str) -> String {
    entry.event.about.get(key).cloned().unwrap_or_default()
}

fn words(entry: &Entry, key: &str) -> Vec<String> {
    text(entry, key).split_whitespace().map(str::to_string).collect()
}

fn who(entry: &Entry) -> String {
    let actor = &entry.event.actor;
    let behind = actor.sudo_user.as_ref().map(|user| format!(", sudo of {user}")).unwrap_or_default();
    format!("{} (uid {}{behind}) on {}", actor.user, actor.uid, actor.host)
}

/// What of an entry people are shown, in this order; of anything else only that it happened.
const DETAILS: [&str; 14] = [
    "medium",
    "change",
    "reason",
    "version",
    "root",
    "epoch",
    "revocations",
    "keyid",
    "previous",
    "lost",
    "product",
    "drifted",
    "error",
    "cause",
];

fn act(entry: &Entry) -> Act {
    let about = &entry.event.about;
    let detail = |key: &str| about.get(key).map(|value| format!("{key} {value}"));
    let details: Vec<String> = DETAILS.into_iter().filter_map(detail).collect();
    Act {
        seq: entry.seq,
        time: entry.event.time,
        event: entry.event.event.clone(),
        outcome: entry.event.outcome.to_string(),
        user: who(entry),
        detail: details.join("; "),
    }
}
