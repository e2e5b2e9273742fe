//! The report as a whole, and its verdict. Pure: facts in, a document out.

use edge::Exit;
use manifests::clock::ClockStatement;
use manifests::text::Marking;

use super::facts::{BundleFacts, Facts};
use super::log::Trouble;
use super::model::{
    ClockPart, HistoryLine, Report, ReportSchema, RevocationsPart, RootLine, RunWord, SiteKeyLine, SitePart,
    Subject, TrustPart, Written,
};
use super::{bundle, controls, gaps, recheck};
use crate::preflight::clock::{self, Times};
use crate::preflight::{Finding, Verdict};
use crate::site::ledger::Ledger;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Makes the report.
pub(crate) fn report(facts: &Facts, recheck: recheck::Made) -> Report {
    let mut judgement = Judgement::default();
    judgement.of_site(facts);
    facts.bundles.iter().for_each(|found| judgement.of_bundle(found, facts));
    let bundles: Vec<_> = facts.bundles.iter().filter_map(|found| bundle::part(found, facts)).collect();
    let verdict = judgement.verdict();
    let audit = facts.log.part();
    let clock = clock_part(facts);
    let history = history(&facts.ledgers);
    let not_checked = gaps::of(facts, &bundles);
    let controls = controls::of(facts, &bundles, verdict);
    Report {
        schema: ReportSchema::V1,
        about: if facts.of_medium { Subject::Medium } else { Subject::Site },
        written: Written {
            time: facts.now,
            tool: facts.tool.clone(),
            uid: facts.actor.uid,
            user: facts.actor.user.clone(),
            sudo_user: facts.actor.sudo_user.clone(),
            host: facts.actor.host.clone(),
        },
        markings: markings(facts),
        verdict,
        summary: judgement.summary(facts),
        exit: judgement.exit(),
        findings: judgement.findings,
        site: site_part(facts),
        trust: trust_part(facts),
        clock,
        bundles,
        history,
        audit,
        not_checked,
        controls,
        recheck: recheck.0,
    }
}

/// The markings of everything that is in the report, each once. The ledger has them also where the signed
/// documents are gone.
fn markings(facts: &Facts) -> Vec<Marking> {
    let mut markings: Vec<Marking> = Vec::new();
    let of_bundles = facts.bundles.iter().filter_map(|found| match (&found.documents, &found.applied) {
        (Ok((manifest, _)), _) => Some(&manifest.marking),
        (Err(_), Some(applied)) => Some(&applied.applied.marking),
        (Err(_), None) => None,
    });
    let of_history = facts.ledgers.iter().flat_map(|ledger| &ledger.applied).map(|applied| &applied.marking);
    for marking in of_bundles.chain(of_history) {
        if !markings.contains(marking) {
            markings.push(marking.clone());
        }
    }
    markings
}

/// What was found, and how a run ends because of it.
#[derive(Default)]
struct Judgement {
    findings: Vec<Finding>,
    exits: Vec<Exit>,
}

/// What to do about a disagreement: nobody can say more from here.
const STOP: &str = "stop, keep a copy of the site directory, and find out who changed it";

impl Judgement {
    fn pass(&mut self, id: &'static str, fact: impl Into<String>, requirement: &str) {
        self.findings.push(Finding::pass(id, fact, requirement));
    }

    fn warn(&mut self, id: &'static str, fact: impl Into<String>, requirement: &str, remedy: &str) {
        self.findings.push(Finding::warn(id, fact, requirement, remedy));
    }

    fn fail(&mut self, id: &'static str, trouble: &Trouble, requirement: &str, remedy: &str) {
        self.findings.push(Finding::fail(id, trouble.text.clone(), requirement, remedy));
        self.exits.push(trouble.exit);
    }

    fn verdict(&self) -> Verdict {
        let has = |verdict| self.findings.iter().any(|finding| finding.verdict == verdict);
        match (has(Verdict::Fail), has(Verdict::Warn)) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Warn,
            (false, false) => Verdict::Pass,
        }
    }

    /// A refusal weighs more than damage, and that more than what is merely not finished.
    fn exit(&self) -> Exit {
        let order = [Exit::Refused, Exit::Damaged, Exit::Unreachable, Exit::Unexpected];
        let worst = order.into_iter().find(|exit| self.exits.contains(exit));
        worst.unwrap_or(if self.verdict() == Verdict::Fail { Exit::NotReady } else { Exit::Done })
    }

    fn summary(&self, facts: &Facts) -> String {
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
        let subject = if facts.of_medium { "The bundle on the medium" } else { "What this site has kept" };
        match self.verdict() {
            Verdict::Fail => {
                format!("{subject} is not in order: {failed} of {} checks failed", self.findings.len())
            }
            Verdict::Warn => format!(
                "{subject} is in order; {warned} of {} checks have something to say that somebody should read",
                self.findings.len()
            ),
            Verdict::Pass => format!("{subject} is in order: all {} checks passed", self.findings.len()),
        }
    }

    fn of_site(&mut self, facts: &Facts) {
        let agrees = "trust, keys and ledger are what the log bears witness to";
        match &facts.disagreement {
            None => self.pass("site/agreement", "the site's state and its audit log agree", agrees),
            Some(trouble) => self.fail("site/agreement", trouble, agrees, STOP),
        }
        self.of_log(facts);
        let whole = "no run that was cut off";
        if let Some(bundle) = facts.interrupted {
            let text = format!("a run about {bundle} was cut off");
            let trouble = Trouble { exit: Exit::NotReady, text };
            self.fail(
                "site/interrupted",
                &trouble,
                whole,
                "run it again to finish it, or take it back: installer abandon",
            );
        } else {
            self.pass("site/interrupted", "no run is unfinished", whole);
        }
        for failed in &facts.failed {
            let text = format!(
                "{} {} failed at {} ({}: {}), and nobody has looked at it since",
                failed.product, failed.version, failed.time, failed.action, failed.cause
            );
            let trouble = Trouble { exit: Exit::NotReady, text };
            let remedy = "look at it, then: installer acknowledge --reason TEXT";
            self.fail("site/failed", &trouble, "no failure that nobody has looked at", remedy);
        }
        self.of_time(facts);
    }

    fn of_log(&mut self, facts: &Facts) {
        let part = facts.log.part();
        let whole = "a chain without a gap that agrees with every checkpoint";
        if let Some(trouble) = &facts.log.trouble {
            let text = format!("{}; {} entries hold together", trouble.text, part.entries);
            self.fail("audit/chain", &Trouble { text, ..trouble.clone() }, whole, STOP);
            return;
        }
        self.pass(
            "audit/chain",
            format!("{} entries, each holding the digest of the one before it", part.entries),
            whole,
        );
        let signed = "a log that the site's key has signed";
        match &part.checkpoint {
            Some(newest) => self.pass(
                "audit/checkpoint",
                format!(
                    "entries 0 to {} are signed with the key {}; {} came since",
                    newest.entries.saturating_sub(1),
                    newest.keyid,
                    part.unsigned
                ),
                signed,
            ),
            None => self.warn(
                "audit/checkpoint",
                "nothing of the log is signed",
                signed,
                "installer audit checkpoint",
            ),
        }
        for keyid in &facts.log.after_loss {
            let fact = format!("nobody has signed for the site's key {keyid}: the one before it was lost");
            self.warn("audit/key", fact, "keys that follow from each other", "ask who replaced it, and why");
        }
    }

    /// The very checks that are made before a change, in their words.
    fn of_time(&mut self, facts: &Facts) {
        let expires =
            facts.bundles.iter().filter(|found| found.applied.as_ref().is_none_or(|applied| applied.current));
        let expires = expires.filter_map(|found| found.documents.as_ref().ok()?.0.expires).min();
        let times = Times {
            statement: ClockStatement { clock: facts.now, floor: facts.floor() },
            last_entry: facts.log.last_time,
            bundle: expires,
            root: facts.trust.root().document().expires,
            trust: facts.trust.not_before(),
        };
        for finding in clock::check(&times, &facts.config.time) {
            if finding.verdict == Verdict::Fail {
                self.exits.push(Exit::NotReady);
            }
            self.findings.push(finding);
        }
    }

    fn of_bundle(&mut self, found: &BundleFacts, facts: &Facts) {
        let title = found.title();
        let good =
            "signatures that meet the release role of the root that judged it, less what was revoked since";
        match &found.signatures {
            Ok(_) => {
                self.pass("bundle/signatures", format!("{title}: every threshold was reached again"), good)
            }
            Err(trouble) => {
                let trouble = titled(&title, trouble);
                self.fail("bundle/signatures", &trouble, good, "ask the sender who signed it");
            }
        }
        if let Err(trouble) = &found.documents {
            let remedy = "find out who changed it; apply it again from its medium";
            self.fail(
                "bundle/documents",
                &titled(&title, trouble),
                "bundle.json and inventory.json as they were signed",
                remedy,
            );
        }
        self.of_content(found, &title);
        let Some(applied) = &found.applied else { return };
        let known = "an application that the log bears out";
        if applied.in_log {
            self.pass(
                "bundle/ledger",
                format!("{title}: ledger and log say that it was applied here"),
                known,
            );
        } else {
            let text = format!("{title}: the ledger says that it was applied here, and the log does not");
            self.fail(
                "bundle/ledger",
                &Trouble { exit: Exit::Refused, text },
                known,
                "stop, and find out who changed the ledger",
            );
        }
        self.of_journal(found, &title);
        for line in facts.log.overrides(found.bundle) {
            let fact = format!("{title}: {} was overridden by {}: {}", line.id, line.user, line.reason);
            self.warn("preflight/override", fact, "checks that pass", "read the reason, and whether it held");
        }
    }

    fn of_content(&mut self, found: &BundleFacts, title: &str) {
        let whole = "every byte with its signed digest";
        match &found.content {
            Ok(()) if found.medium.is_some() => {
                self.pass(
                    "bundle/content",
                    format!("{title}: every byte of the medium was read and is what was signed"),
                    whole,
                );
            }
            Ok(()) => self.pass(
                "bundle/content",
                format!("{title}: every blob in the site store was read again"),
                whole,
            ),
            Err(trouble) if trouble.exit == Exit::Done => {
                self.warn(
                    "bundle/content",
                    format!("{title}: {}", trouble.text),
                    whole,
                    "nothing, if it was to be removed",
                );
            }
            Err(trouble) => {
                let remedy =
                    "apply it again from its medium, which replaces what has rotted; and look at the disk";
                self.fail("bundle/content", &titled(title, trouble), whole, remedy);
            }
        }
    }

    fn of_journal(&mut self, found: &BundleFacts, title: &str) {
        let whole = "a journal of the run, in which everything was done";
        let Some(journal) = found.journal() else {
            let fact = format!("{title}: its journal is not kept any more, so what it changed is not shown");
            self.warn("bundle/journal", fact, whole, "the audit log has each step");
            return;
        };
        match bundle::outcome(journal) {
            RunWord::Done => {
                let (name, steps) = (super::artifacts::journal_name(journal), journal.plan.steps.len());
                self.pass("bundle/journal", format!("{title}: {name} has all {steps} steps done"), whole);
            }
            _ => {
                let text = format!("{title}: its journal does not say that everything was done");
                self.fail(
                    "bundle/journal",
                    &Trouble { exit: Exit::NotReady, text },
                    whole,
                    "installer status says what to do",
                );
            }
        }
    }
}

fn titled(title: &str, trouble: &Trouble) -> Trouble {
    Trouble { exit: trouble.exit, text: format!("{title}: {}", trouble.text) }
}

fn site_part(facts: &Facts) -> SitePart {
    let line = |(number, key): (u64, &manifests::PublicKey)| SiteKeyLine {
        number,
        keyid: key.id(),
        scheme: key.scheme(),
        after_loss: facts.log.after_loss.contains(&key.id()),
    };
    SitePart {
        name: facts.config.site.clone(),
        groups: facts.config.groups.iter().cloned().collect(),
        directory: manifests::text::printable_up_to(&facts.directory.display().to_string(), 600),
        keys: (1..).zip(&facts.keys).map(line).collect(),
    }
}

fn trust_part(facts: &Facts) -> TrustPart {
    let document = facts.trust.root().document();
    let newest = facts.trust.not_before();
    let now = ClockStatement { clock: facts.now, floor: facts.floor() }.now();
    let chain = facts.trust.roots().map(|root| RootLine {
        version: root.document().version,
        fingerprint: root.fingerprint(),
        created: root.document().created,
    });
    let revocations = facts.trust.revocations().map(|list| RevocationsPart {
        epoch: list.document().epoch,
        version: list.document().version,
        digest: list.digest(),
        created: list.document().created,
        keys: list.document().keys.len(),
        bundles: list.document().bundles.len(),
        minimums: list.document().minimums.len(),
    });
    TrustPart {
        publisher: document.publisher.clone(),
        version: document.version,
        epoch: document.epoch,
        fingerprint: facts.trust.root().fingerprint(),
        created: document.created,
        expires: document.expires,
        chain: chain.collect(),
        revocations,
        newest,
        age_days: now.unix_seconds().saturating_sub(newest.unix_seconds()) / DAY_SECONDS,
    }
}

fn clock_part(facts: &Facts) -> ClockPart {
    let statement = ClockStatement { clock: facts.now, floor: facts.floor() };
    let plausible = statement.is_plausible();
    let verdict = if plausible {
        "It is not before anything that was signed for this site and accepted"
    } else {
        "It is wrong: something that was signed for this site and accepted is later"
    };
    ClockPart {
        clock: statement.clock,
        floor: statement.floor,
        plausible,
        last_entry: facts.log.last_time,
        time_authority_asked: false,
        statement: format!(
            "The site's clock said {}. {verdict} (the latest is of {}). No time authority was asked, as there is none here: whether the clock is ahead cannot be told.",
            statement.clock, statement.floor
        ),
    }
}

fn history(ledgers: &[Ledger]) -> Vec<HistoryLine> {
    let mut lines: Vec<HistoryLine> = Vec::new();
    for ledger in ledgers {
        lines.extend(ledger.applied.iter().map(|applied| HistoryLine {
            time: applied.time,
            publisher: ledger.publisher.clone(),
            product: ledger.product.clone(),
            version: applied.version.clone(),
            order: applied.order,
            bundle: applied.bundle,
            marking: applied.marking.clone(),
            signers: applied.signers.iter().map(|signer| signer.holder.clone()).collect(),
            removed: applied.removed,
        }));
    }
    lines.sort_by_key(|line| line.time);
    lines
}
