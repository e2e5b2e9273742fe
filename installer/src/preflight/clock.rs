//! Time, where no clock is trusted: whether the site's clock can be right, and whether something has
//! expired. What a finding means is the site's policy, `time` in `site.yaml`.

use manifests::Timestamp;
use manifests::clock::{ClockStatement, Expiry};

use super::{Finding, Verdict};
use crate::site::config::TimePolicy;

/// A clock so little behind is wrong all the same, and no reason to stop: a time zone, a flat battery's
/// drift, a sender's clock that runs ahead.
const SLACK_SECONDS: i64 = 24 * 60 * 60;

/// What is asked about time.
#[derive(Debug)]
pub struct Times {
    /// The clock, and what it cannot be before.
    pub statement: ClockStatement,
    /// The time of the last entry in the log.
    pub last_entry: Option<Timestamp>,
    /// When the bundle expires.
    pub bundle: Option<Timestamp>,
    /// When the trust root expires.
    pub root: Option<Timestamp>,
    /// When the newest root or list of revocations was made that the site has.
    pub trust: Timestamp,
}

/// Looks at all of it.
#[must_use]
pub fn check(times: &Times, policy: &TimePolicy) -> Vec<Finding> {
    let mut findings = vec![plausible(&times.statement, policy)];
    findings.push(age(times));
    findings.extend(times.last_entry.map(|last| forwards(times.statement.clock, last)));
    let expiring = [
        ("bundle/expiry", "the bundle", times.bundle, "ask the sender whether a newer bundle exists"),
        ("trust/expiry", "the trust root", times.root, "ask the publisher for the root that follows"),
    ];
    for (id, what, expires, remedy) in expiring {
        let Some(expires) = expires else { continue };
        let late = times.statement.expiry(Some(expires)) == Expiry::Expired;
        findings.push(Finding {
            id,
            verdict: verdict(late, policy.expiry.is_enforced()),
            fact: format!("{what} expires at {expires}, and it is {} or later", times.statement.now()),
            requirement: format!("{what} has not expired"),
            remedy: late.then(|| remedy.to_string()),
        });
    }
    findings
}

/// A clock before what was signed for the site is a wrong clock, not an early one.
fn plausible(statement: &ClockStatement, policy: &TimePolicy) -> Finding {
    let ClockStatement { clock, floor } = statement;
    let behind = floor.unix_seconds().saturating_sub(clock.unix_seconds());
    let wrong = !statement.is_plausible();
    let fact = if wrong {
        format!(
            "the clock is wrong: it says {clock}, and something that this site accepted was signed at {floor}"
        )
    } else {
        format!("the clock says {clock}, and nothing that this site accepted is later than {floor}")
    };
    Finding {
        id: "clock/plausible",
        verdict: verdict(wrong, policy.clock.is_enforced() && behind > SLACK_SECONDS),
        fact,
        requirement: "a clock that is not before anything that was signed for this site".to_string(),
        remedy: wrong.then(|| {
            "set the clock: the audit log records its time; if it is right, the sender's was wrong"
                .to_string()
        }),
    }
}

/// A site that gets no media cannot learn of a revocation; only its age can be shown.
fn age(times: &Times) -> Finding {
    let (now, made) = (times.statement.now(), times.trust);
    let days = now.unix_seconds().saturating_sub(made.unix_seconds()) / SLACK_SECONDS;
    Finding {
        id: "trust/age",
        verdict: Verdict::Pass,
        fact: format!(
            "trust root and revocations are of {made}, {days} days ago; what was revoked since is not known here"
        ),
        requirement: "newer ones are taken when a medium brings them".to_string(),
        remedy: None,
    }
}

/// The log's own times are nobody's signature: they show that the clock was moved, not which was right.
fn forwards(clock: Timestamp, last: Timestamp) -> Finding {
    let backwards = clock < last;
    Finding {
        id: "clock/forwards",
        verdict: verdict(backwards, false),
        fact: format!("the clock says {clock}, and the last entry in the audit log says {last}"),
        requirement: "a clock that does not go back".to_string(),
        remedy: backwards.then(|| "find out which of the two was wrong, and note it".to_string()),
    }
}

fn verdict(bad: bool, enforced: bool) -> Verdict {
    match (bad, enforced) {
        (false, _) => Verdict::Pass,
        (true, false) => Verdict::Warn,
        (true, true) => Verdict::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::config::Force;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).unwrap()
    }

    fn verdicts(times: &Times, policy: &TimePolicy) -> Vec<(&'static str, Verdict)> {
        let findings = check(times, policy).into_iter().filter(|finding| finding.id != "trust/age");
        findings.map(|finding| (finding.id, finding.verdict)).collect()
    }

    const DAY: i64 = 86_400;

    #[test]
    fn a_clock_days_behind_stops_and_one_hours_behind_warns() {
        let times = |clock| Times {
            statement: ClockStatement { clock: at(clock), floor: at(10 * DAY) },
            last_entry: None,
            bundle: None,
            root: None,
            trust: at(10 * DAY),
        };
        let policy = TimePolicy::default();
        assert_eq!(verdicts(&times(10 * DAY), &policy), [("clock/plausible", Verdict::Pass)]);
        assert_eq!(verdicts(&times(9 * DAY), &policy), [("clock/plausible", Verdict::Warn)]);
        assert_eq!(verdicts(&times(9 * DAY - 1), &policy), [("clock/plausible", Verdict::Fail)]);
        let lenient = TimePolicy { clock: Force::Warn, ..TimePolicy::default() };
        assert_eq!(verdicts(&times(0), &lenient), [("clock/plausible", Verdict::Warn)]);
        assert!(check(&times(0), &policy)[0].fact.starts_with("the clock is wrong"));
    }

    #[test]
    fn what_has_expired_warns_and_stops_only_where_the_site_says_so() {
        let times = Times {
            statement: ClockStatement { clock: at(10 * DAY), floor: at(DAY) },
            last_entry: Some(at(11 * DAY)),
            bundle: Some(at(9 * DAY)),
            root: Some(at(12 * DAY)),
            trust: at(DAY),
        };
        let expected = |bundle| {
            [
                ("clock/plausible", Verdict::Pass),
                ("clock/forwards", Verdict::Warn),
                ("bundle/expiry", bundle),
                ("trust/expiry", Verdict::Pass),
            ]
        };
        assert_eq!(verdicts(&times, &TimePolicy::default()), expected(Verdict::Warn));
        let strict = TimePolicy { expiry: Force::Enforce, ..TimePolicy::default() };
        assert_eq!(verdicts(&times, &strict), expected(Verdict::Fail));
    }
}
