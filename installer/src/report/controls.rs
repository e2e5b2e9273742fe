//! Which section is evidence for which control, and how far. A row claims what was found in this run and nothing
//! more; what it does not show stands beside it.
//!
//! The controls are those of NIST SP 800-53 revision 5, the Trust Services Criteria of SOC 2 (2017, points of
//! focus of 2022), and the rows of `docs/threats.md`.

use super::facts::Facts;
use super::model::{BundlePart, Control, ControlState, UpstreamWord};
use crate::preflight::Verdict;

/// What the rows are judged by.
struct Shown {
    log: bool,
    signed: bool,
    unsigned: u64,
    entries: u64,
    agree: bool,
    clock: bool,
    signatures: bool,
    content: bool,
    bundles: usize,
    thresholds: Vec<String>,
    applied: usize,
    placed: usize,
    artifacts: usize,
    upstream: usize,
    sboms: usize,
    overrides: usize,
    tickets: usize,
    journals: usize,
    fails: bool,
}

impl Shown {
    fn of(facts: &Facts, bundles: &[BundlePart], verdict: Verdict) -> Self {
        let audit = facts.log.part();
        let artifacts = || bundles.iter().flat_map(|part| &part.artifacts);
        let thresholds = bundles.iter().flat_map(|part| &part.thresholds);
        let statement = manifests::clock::ClockStatement { clock: facts.now, floor: facts.floor() };
        let all = bundles.len() == facts.bundles.len() && !bundles.is_empty();
        Self {
            log: audit.intact && audit.entries > 0,
            signed: audit.checkpoint.is_some(),
            unsigned: audit.unsigned,
            entries: audit.entries,
            agree: facts.disagreement.is_none(),
            clock: statement.is_plausible(),
            signatures: all && bundles.iter().all(|part| part.signatures_verified),
            content: all && bundles.iter().all(|part| part.content_verified),
            bundles: bundles.len(),
            thresholds: thresholds
                .map(|line| format!("{} of {} needed holders", line.reached, line.needed))
                .collect(),
            applied: bundles.iter().filter(|part| part.applied.is_some()).count(),
            placed: artifacts().filter(|artifact| !artifact.placed.is_empty()).count(),
            artifacts: artifacts().count(),
            upstream: artifacts()
                .filter(|artifact| artifact.upstream.verdict == UpstreamWord::Verified)
                .count(),
            sboms: artifacts().filter(|artifact| !artifact.sboms.is_empty()).count(),
            overrides: bundles.iter().map(|part| part.overrides.len()).sum(),
            tickets: bundles.iter().filter_map(|part| part.changes.as_ref()?.change.as_ref()).count(),
            journals: bundles.iter().filter(|part| part.changes.is_some()).count(),
            fails: verdict == Verdict::Fail,
        }
    }

    fn of_log(&self, and_signed: bool) -> ControlState {
        match (self.log && self.agree, self.signed || !and_signed) {
            (true, true) => ControlState::Evidence,
            (true, false) => ControlState::Partly,
            (false, _) => ControlState::None,
        }
    }

    fn of_bundles(&self, holds: bool) -> ControlState {
        if holds && self.bundles > 0 { ControlState::Evidence } else { ControlState::None }
    }
}

/// As far as the counted ones go.
fn share(found: usize, of: usize) -> ControlState {
    match (found, of) {
        (0, _) => ControlState::None,
        (found, of) if found >= of => ControlState::Evidence,
        _ => ControlState::Partly,
    }
}

const NIST: &str = "NIST SP 800-53 rev. 5";
const SOC2: &str = "SOC 2";
const OURS: &str = "Airlock threats";

/// A row before it is one.
type Row = (&'static str, &'static str, ControlState, &'static [&'static str], String, &'static str);

/// Every row.
pub(crate) fn of(facts: &Facts, bundles: &[BundlePart], verdict: Verdict) -> Vec<Control> {
    let shown = Shown::of(facts, bundles, verdict);
    let rows = [(NIST, nist(&shown)), (SOC2, soc2(&shown)), (OURS, ours(&shown))];
    let control = |framework: &'static str, row: Row| {
        let (id, title, state, sections, shows, does_not_show) = row;
        Control { framework, id, title, state, sections, shows, does_not_show }
    };
    rows.into_iter()
        .flat_map(|(framework, rows)| rows.into_iter().map(move |row| control(framework, row)))
        .collect()
}

fn nist(shown: &Shown) -> Vec<Row> {
    let chain = match shown.log {
        true => format!("the chain of {} entries holds", shown.entries),
        false => "the log does not hold".to_string(),
    };
    let mut rows = nist_audit(shown, &chain);
    rows.extend(nist_integrity(shown));
    rows
}

fn nist_audit(shown: &Shown, chain: &str) -> Vec<Row> {
    let signed = match shown.signed {
        true => format!("{chain}; the site's key has signed all but the last {}", shown.unsigned),
        false => format!("{chain}; nothing of it is signed"),
    };
    vec![
        (
            "AU-2, AU-12",
            "Event logging, record generation",
            shown.of_log(false),
            &["audit", "acts"],
            chain.to_string(),
            "that the events are those your organisation wants logged",
        ),
        (
            "AU-3",
            "Content of audit records",
            shown.of_log(false),
            &["acts", "preflight"],
            "each entry says what, when, who, where, and with which outcome".to_string(),
            "who a user is in person: the name is the environment's",
        ),
        (
            "AU-8",
            "Time stamps",
            if shown.clock && shown.log { ControlState::Partly } else { ControlState::None },
            &["clock"],
            "times are UTC; the clock is compared with what was signed for the site".to_string(),
            "that the clock is right: no time authority is asked",
        ),
        (
            "AU-9",
            "Protection of audit information",
            shown.of_log(true),
            &["audit", "recheck"],
            signed.clone(),
            "that nobody removed lines after the newest checkpoint, or put log and checkpoints back together",
        ),
        (
            "AU-10",
            "Non-repudiation",
            if shown.signatures && shown.signed { ControlState::Partly } else { ControlState::None },
            &["signatures", "audit"],
            "release holders have signed the bundle, the site's key the log".to_string(),
            "which person on site did it: entries are not signed by persons",
        ),
        (
            "AU-11",
            "Audit record retention",
            ControlState::None,
            &["audit"],
            format!("the log has {} entries", shown.entries),
            "how long it is kept: that is for the site to rule",
        ),
    ]
}

fn nist_integrity(shown: &Shown) -> Vec<Row> {
    let thresholds = shown.thresholds.join("; ");
    let whole = match shown.content {
        true => "every byte was read in this run and has the digest that was signed".to_string(),
        false => "not every byte was read in this run and found to be what was signed".to_string(),
    };
    let placed = format!(
        "{} of {} artifacts were put on a target, and read back when that was done",
        shown.placed, shown.artifacts
    );
    vec![
        (
            "SI-7",
            "Software and information integrity",
            shown.of_bundles(shown.signatures && shown.content),
            &["signatures", "artifacts"],
            whole.clone(),
            "what runs now: targets were not asked (installer drift)",
        ),
        (
            "SI-7(1)",
            "Integrity checks",
            share(shown.placed, shown.artifacts),
            &["artifacts", "changes"],
            placed,
            "checks since then",
        ),
        (
            "SI-7(15)",
            "Code authentication",
            shown.of_bundles(shown.signatures),
            &["signatures", "trust"],
            thresholds.clone(),
            "who wrote the code: holders sign what they release",
        ),
        (
            "CM-14",
            "Signed components",
            shown.of_bundles(shown.signatures),
            &["signatures", "trust", "recheck"],
            thresholds,
            "that components had signatures of their own before: see the column on upstream signatures",
        ),
        (
            "CM-3",
            "Configuration change control",
            share(shown.journals, shown.applied),
            &["changes", "preflight", "overrides"],
            format!(
                "{} of {} applications with each step, old value and new one; {} with a ticket; {} overrides with reasons",
                shown.journals, shown.applied, shown.tickets, shown.overrides
            ),
            "that the change was approved: a ticket is named here, not read",
        ),
        (
            "SR-4",
            "Provenance",
            if shown.artifacts == 0 { ControlState::None } else { ControlState::Partly },
            &["artifacts"],
            format!(
                "{} artifacts with digest and origin; {} with a checked upstream signature, {} with a bill of materials of their own",
                shown.artifacts, shown.upstream, shown.sboms
            ),
            "that origins are true: they are the sender's words, signed by the release holders",
        ),
    ]
}

fn soc2(shown: &Shown) -> Vec<Row> {
    vec![
        (
            "CC6.8",
            "Unauthorised or malicious software",
            if shown.signatures { ControlState::Partly } else { ControlState::None },
            &["signatures", "artifacts"],
            "only what enough release holders have signed is admitted".to_string(),
            "malware: nothing was searched for it",
        ),
        (
            "CC7.1",
            "Detection of changes to configurations",
            if shown.content { ControlState::Partly } else { ControlState::None },
            &["artifacts", "not-checked"],
            "the site store was read again".to_string(),
            "changes on targets: installer drift looks for those",
        ),
        (
            "CC7.2",
            "Monitoring",
            shown.of_log(false),
            &["audit", "acts"],
            format!("{} entries, refusals and failures too", shown.entries),
            "that anybody reads them",
        ),
        (
            "CC8.1",
            "Change management",
            share(shown.journals, shown.applied),
            &["changes", "preflight", "overrides", "history"],
            format!("{} of {} applications with plan, checks and outcome", shown.journals, shown.applied),
            "authorisation by a person: that is in the site's own ticket",
        ),
    ]
}

fn ours(shown: &Shown) -> Vec<Row> {
    let state = |holds: bool| if holds { ControlState::Evidence } else { ControlState::None };
    vec![
        (
            "2",
            "The medium is altered on its way",
            shown.of_bundles(shown.content && shown.signatures),
            &["signatures", "artifacts"],
            "every byte hangs from the signature".to_string(),
            "bytes of a signature by a key that nobody listed",
        ),
        (
            "9",
            "An insider has one key",
            shown.of_bundles(shown.signatures),
            &["signatures"],
            shown.thresholds.join("; "),
            "that two holders are two persons",
        ),
        (
            "13",
            "The engineer on site is malicious",
            shown.of_log(true),
            &["audit", "overrides"],
            format!("{} overrides, each with its reason, in a log that holds", shown.overrides),
            "what root did beside the program",
        ),
        (
            "14",
            "The audit log is edited, cut or replaced",
            shown.of_log(true),
            &["audit", "recheck"],
            format!("{} entries hold, {} came after the newest checkpoint", shown.entries, shown.unsigned),
            "a whole disk that was put back: compare with a checkpoint that was carried elsewhere",
        ),
        (
            "15",
            "The site store is changed, or old state is put back",
            state(shown.agree && shown.content && !shown.fails),
            &["verdict"],
            "trust, keys, ledger and log agree, and the store was read again".to_string(),
            "content of other bundle versions than those named here",
        ),
        (
            "22",
            "The clock is wrong",
            if shown.clock { ControlState::Partly } else { ControlState::None },
            &["clock"],
            "the clock is not before what was signed for the site".to_string(),
            "a clock that is ahead",
        ),
    ]
}
