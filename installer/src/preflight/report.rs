//! All findings of a run, with what a person has overridden: what blocks, what the log gets, and the table for
//! people.

use edge::show::wrap;
use edge::{Classified, Exit};
use manifests::text::LongLine;
use serde::Serialize;

use super::overrides::Overrides;
use super::{Finding, Verdict, catalogue};
use crate::audit::{About, about};

/// Where the text of a finding starts that is not well, and of one that is: the longest id and two spaces.
const INDENT: usize = 14;
const PASS_INDENT: usize = 31;

/// All findings of a run.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Report {
    findings: Vec<Reported>,
    /// Overrides of what did not fail.
    #[serde(skip)]
    unused: Vec<&'static str>,
}

/// One finding, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// What its id begins with.
    pub area: &'static str,
    /// Whether it may never be overridden.
    pub strict: bool,
    /// Why it does not block, if somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<LongLine>,
}

impl Reported {
    /// Whether it stops a change.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.finding.verdict == Verdict::Fail && self.overridden.is_none()
    }

    /// The verdict in the table.
    fn word(&self) -> &'static str {
        match (self.finding.verdict, &self.overridden) {
            (_, Some(_)) => "over",
            (Verdict::Pass, None) => "pass",
            (Verdict::Warn, None) => "warn",
            (Verdict::Fail, None) => "FAIL",
        }
    }

    /// The worse, the later it is shown: what matters stands next to the prompt.
    fn weight(&self) -> u8 {
        match self.word() {
            "pass" => 0,
            "warn" => 1,
            "over" => 2,
            _ => 3,
        }
    }
}

/// What stops a change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// One finding.
    #[error("not ready: {}: {}", .0.id, .0.fact)]
    One(Box<Finding>),
    /// Several findings.
    #[error("not ready: {} checks failed: {}", .0.len(), ids(.0))]
    Several(Vec<Finding>),
    /// An override of what did not fail: the person has something else before their eyes than the program.
    #[error("not ready: --override {}: that did not fail", .0.join(", "))]
    Unused(Vec<&'static str>),
}

fn ids(findings: &[Finding]) -> String {
    let mut ids: Vec<&str> = findings.iter().map(|finding| finding.id).collect();
    ids.dedup();
    ids.join(", ")
}

impl NotReady {
    /// For findings that block.
    ///
    /// # Errors
    /// There are some.
    pub fn unless_none(mut failed: Vec<Finding>) -> Result<(), Self> {
        match (failed.len(), failed.pop()) {
            (_, None) => Ok(()),
            (1, Some(only)) => Err(Self::One(Box::new(only))),
            (_, Some(last)) => {
                failed.push(last);
                Err(Self::Several(failed))
            }
        }
    }
}

impl Classified for NotReady {
    fn exit(&self) -> Exit {
        Exit::NotReady
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::One(finding) => finding.remedy.clone(),
            Self::Several(_) => {
                Some("the table says what each one needs, and what to do about it".to_string())
            }
            Self::Unused(_) => Some("look at the table again, and override what is there".to_string()),
        }
    }
}

impl Report {
    /// Takes what was found, and what somebody goes on in spite of.
    #[must_use]
    pub fn of(findings: Vec<Finding>, overrides: &Overrides) -> Self {
        let reported: Vec<Reported> =
            findings.into_iter().map(|finding| judged(finding, overrides)).collect();
        let is_used = |id: &&'static str| {
            reported.iter().any(|found| found.finding.id == *id && found.overridden.is_some())
        };
        let unused = overrides.ids().filter(|id| !is_used(id)).collect();
        Self { findings: reported, unused }
    }

    /// Everything, as it was found.
    #[must_use]
    pub fn findings(&self) -> &[Reported] {
        &self.findings
    }

    /// Stops at what blocks.
    ///
    /// # Errors
    /// Something does.
    pub fn require(&self) -> Result<(), NotReady> {
        self.require_so_far()?;
        if self.unused.is_empty() { Ok(()) } else { Err(NotReady::Unused(self.unused.clone())) }
    }

    /// The same while not everything was looked at: what was overridden may yet fail.
    ///
    /// # Errors
    /// Something blocks.
    pub fn require_so_far(&self) -> Result<(), NotReady> {
        let blocking = self.findings.iter().filter(|found| found.blocks());
        NotReady::unless_none(blocking.map(|found| found.finding.clone()).collect())
    }

    /// Whether nothing blocks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.require().is_ok()
    }

    /// How many passed, were warned of, were overridden, and block.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |word: &str| self.findings.iter().filter(|found| found.word() == word).count();
        Counts {
            passed: count("pass"),
            warned: count("warn"),
            overridden: count("over"),
            failed: count("FAIL"),
        }
    }

    /// What the log says of it: the ids that are not as they should be.
    #[must_use]
    pub fn facts(&self) -> About {
        let of = |word: &str| {
            let mut ids: Vec<&str> = self
                .findings
                .iter()
                .filter(|found| found.word() == word)
                .map(|found| found.finding.id)
                .collect();
            ids.sort_unstable();
            ids.dedup();
            ids.join(" ")
        };
        let mut facts = about([("passed", self.counts().passed.to_string())]);
        for (key, word) in [("failed", "FAIL"), ("warned", "warn"), ("overridden", "over")] {
            let ids = of(word);
            if !ids.is_empty() {
                facts.extend(about([(key, ids)]));
            }
        }
        facts
    }

    /// Each finding that was overridden, with its reason.
    pub fn overridden(&self) -> impl Iterator<Item = (&Finding, &LongLine)> {
        self.findings.iter().filter_map(|found| Some((&found.finding, found.overridden.as_ref()?)))
    }

    /// The table for people, in 80 columns: what is well in a line each, then the rest with what is needed and what
    /// to do, by area, the worst at the end.
    #[must_use]
    pub fn table(&self) -> String {
        let (well, mut rest): (Vec<&Reported>, Vec<&Reported>) =
            self.findings.iter().partition(|found| found.weight() == 0);
        let first_of = |area: &str| self.findings.iter().position(|found| found.area == area);
        rest.sort_by_key(|found| (found.weight(), first_of(found.area)));
        let mut text = String::new();
        for found in well {
            text.push_str(&wrap(&format!("pass  {}", found.finding.id), PASS_INDENT, &found.finding.fact));
        }
        for found in rest {
            if !text.is_empty() {
                text.push('\n');
            }
            block(found, &mut text);
        }
        text.push_str(&format!("\n{}", self.counts().sentence()));
        text
    }
}

fn judged(finding: Finding, overrides: &Overrides) -> Reported {
    let check = catalogue::of(finding.id);
    debug_assert!(check.is_some(), "{} has no row in preflight/catalogue.rs", finding.id);
    // What has no row is a defect of ours, and nobody's to pass over.
    let strict = check.is_none_or(catalogue::Check::is_strict);
    let may = finding.verdict == Verdict::Fail && !strict;
    let overridden = overrides.reason(finding.id).filter(|_| may).cloned();
    Reported { area: catalogue::area(finding.id), strict, overridden, finding }
}

/// One finding that is not well.
fn block(found: &Reported, text: &mut String) {
    let Finding { id, fact, requirement, remedy, .. } = &found.finding;
    let may = if found.blocks() && !found.strict { "  (may be overridden)" } else { "" };
    text.push_str(&format!("{}  {id}{may}\n", found.word()));
    text.push_str(&wrap("      found", INDENT, fact));
    text.push_str(&wrap("      needed", INDENT, requirement));
    if let Some(remedy) = remedy {
        text.push_str(&wrap("      remedy", INDENT, remedy));
    }
    if let Some(reason) = &found.overridden {
        text.push_str(&wrap("      reason", INDENT, reason.as_str()));
    }
}

/// How many findings of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// As it should be.
    pub passed: usize,
    /// No reason to stop.
    pub warned: usize,
    /// A reason to stop that somebody has overridden.
    pub overridden: usize,
    /// A reason to stop.
    pub failed: usize,
}

impl Counts {
    fn sentence(self) -> String {
        let Self { passed, warned, overridden, failed } = self;
        let mut parts = Vec::new();
        for (count, word) in
            [(failed, "failed"), (overridden, "overridden"), (warned, "with a warning"), (passed, "passed")]
        {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        format!("checks: {}\n", if parts.is_empty() { "none".to_string() } else { parts.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Report {
        let long = "word ".repeat(40);
        let digest = format!("the image sha256:{} is not there", "a".repeat(64));
        let overrides = Overrides::of(&["window/open".to_string()], &["a fire".parse().unwrap()]).unwrap();
        let findings = vec![
            Finding::fail("window/open", "closed", "an open window", "wait"),
            Finding::fail("registry/login", &*long, &*long, &*long),
            Finding::pass("registry/reachable", &*long, "x"),
            Finding::warn("rollback/material", digest, "x", "y"),
            Finding::pass("trust/age", "young", "x"),
        ];
        Report::of(findings, &overrides)
    }

    #[test]
    fn a_table_fits_eighty_columns_and_ends_with_what_is_worst() {
        let table = some().table();
        for line in table.lines().filter(|line| !line.contains("sha256:")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let first_of = |text: &str| table.find(text).unwrap_or_else(|| panic!("{text}: {table}"));
        let order =
            ["pass  trust/age", "warn  rollback/material", "over  window/open", "FAIL  registry/login"];
        assert!(order.map(first_of).is_sorted(), "{table}");
        assert!(table.contains("      reason  a fire\n"), "{table}");
        let last = "checks: 1 failed, 1 overridden, 1 with a warning, 2 passed";
        assert_eq!(table.lines().last(), Some(last));
    }

    #[test]
    fn what_is_overridden_does_not_block_and_the_log_knows_it() {
        let report = some();
        assert!(matches!(report.require(), Err(NotReady::One(finding)) if finding.id == "registry/login"));
        let facts = report.facts();
        assert_eq!(
            (facts["failed"].as_str(), facts["overridden"].as_str()),
            ("registry/login", "window/open")
        );
        assert_eq!(report.overridden().count(), 1);
    }

    #[test]
    fn an_override_of_what_did_not_fail_is_refused_once_everything_was_looked_at() {
        let overrides = Overrides::of(&["window/open".to_string()], &["a fire".parse().unwrap()]).unwrap();
        let report = Report::of(vec![Finding::pass("window/open", "open", "x")], &overrides);
        assert!(report.require_so_far().is_ok());
        let error = report.require().unwrap_err();
        assert_eq!((error.exit(), error.to_string().contains("window/open")), (Exit::NotReady, true));
    }
}
