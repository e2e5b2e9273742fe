//! `findings.txt`: what can be said of a site without a bundle. Whether its state and its log hold together, whether
//! its clock can be right, and whether each target answers. It is written in the form of preflight's findings.

use std::path::Path;

use manifests::Timestamp;
use manifests::clock::ClockStatement;

use super::{Ground, Piece, Section, versions};
use crate::apply::chain;
use crate::cluster::{Cluster, Kubectl};
use crate::journal;
use crate::preflight::clock::Times;
use crate::preflight::failed::fact;
use crate::preflight::{Finding, Verdict, clock, registry, rules};
use crate::targets::containerd::Ctr;
use crate::targets::{docker, python};
use crate::witness::{self, Judged};

/// What a site without a bundle to judge is told to do about something.
const FIND_OUT: &str = "find out why";

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let mut findings = of_the_site(ground);
    findings.extend(of_the_targets(ground));
    let mut text = String::new();
    for finding in &findings {
        let word = match finding.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let fact = ground.redactor.text(&super::redact::one_line(&finding.fact));
        text.push_str(&format!("{word}  {}\n      {fact}\n", finding.id));
        if finding.verdict != Verdict::Pass {
            let needed = ground.redactor.text(&super::redact::one_line(&finding.requirement));
            text.push_str(&format!("      needed: {needed}\n"));
        }
    }
    ground.piece(Section::Findings, "findings.txt", text)
}

fn of_the_site(ground: &mut Ground<'_>) -> Vec<Finding> {
    let site = ground.site;
    let mut findings = vec![match site.trust() {
        Ok(trust) => Finding::pass("site/trust", trust.root().title(), "a trust root"),
        Err(error) => Finding::fail("site/trust", chain(&error), "a trust root", FIND_OUT),
    }];
    match witness::judge(site) {
        Ok(judged) => {
            let needed = "a state that the log bears out";
            findings.push(Finding::pass("site/log", "state and log agree", needed));
            findings.extend(of_time(ground, &judged));
            let failed = judged.remembered.all_failed();
            findings.extend(failed.map(|failed| {
                Finding::fail("site/failed-before", fact(failed), "that somebody has looked", FIND_OUT)
            }));
        }
        Err(error) => {
            let needed = "a state that the log bears out";
            findings.push(Finding::fail("site/log", chain(&error), needed, FIND_OUT));
        }
    }
    let needed = "a configuration that can be used";
    findings.push(match site.config() {
        Ok(_) => Finding::pass("site/configuration", "site.yaml can be used", needed),
        Err(error) => Finding::fail("site/configuration", chain(&error), needed, FIND_OUT),
    });
    findings.extend(cut_off(ground));
    let rules = rules::check(&ground.config, None, ground.env.clock.now());
    findings.extend(rules.into_iter().filter(|finding| finding.id == "window/open"));
    findings
}

/// A site that was never initialised has no journals, which is not their trouble.
fn cut_off(ground: &Ground<'_>) -> Option<Finding> {
    let needed = "journals that came to their end";
    if !ground.site.journal_dir().is_dir() {
        return None;
    }
    Some(match journal::unfinished(ground.site) {
        Ok(None) => Finding::pass("site/journal", "the last run came to its end", needed),
        Ok(Some(found)) => {
            let fact = format!("an apply of {} was cut off", found.plan.bundle);
            Finding::warn("site/journal", fact, needed, FIND_OUT)
        }
        Err(error) => Finding::fail("site/journal", chain(&error), needed, FIND_OUT),
    })
}

fn of_time(ground: &Ground<'_>, judged: &Judged) -> Vec<Finding> {
    let floor = judged.applied.iter().copied().fold(judged.trust.not_before(), Timestamp::max);
    let times = Times {
        statement: ClockStatement { clock: ground.env.clock.now(), floor },
        last_entry: judged.remembered.last,
        bundle: None,
        root: judged.trust.root().document().expires,
        trust: judged.trust.not_before(),
    };
    clock::check(&times, &ground.config.time)
}

/// Whether each target answers. What does not is not asked again.
fn of_the_targets(ground: &mut Ground<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let context = ground.context();
    let targets = &context.config.targets;
    if let Some(target) = &targets.registry {
        findings.extend(registry::check(&[], target, &context));
    }
    if let Some(target) = &targets.docker {
        let answer =
            docker::facts(target).map(|facts| format!("version {} on {}", facts.version, facts.machine));
        findings.push(answered("docker/reachable", answer));
    }
    if let Some(target) = &targets.containerd {
        let answer = Ctr::of(target, &context).version().map(|version| format!("version {version}"));
        findings.push(answered("containerd/reachable", answer));
    }
    if let Some(target) = &targets.python {
        let answer = python::version(target, &context);
        let answer = answer.map(|version| format!("version {} on {}", version.minor, version.machine));
        findings.push(answered("python/interpreter", answer));
    }
    if let Some(target) = targets.cluster() {
        let answer = Kubectl::of(&target, context.env).get("/version");
        let version = answer.map(|answer| {
            let version = answer.as_ref().and_then(|answer| answer.get("gitVersion")?.as_str());
            format!("version {}", version.unwrap_or("unknown"))
        });
        findings.push(answered("cluster/reachable", version));
    }
    if let Some(target) = &targets.helm {
        let helm = discovery::helm::Helm::at(target.program().to_path_buf(), context.env);
        findings.push(answered("helm/version", helm.map(|helm| format!("version {}", helm.version()))));
    }
    if let Some(target) = &targets.files {
        let needed = "the directory that file sets are written below";
        findings.push(if Path::is_dir(&target.root) {
            Finding::pass("files/root", "the directory is there", needed)
        } else {
            Finding::fail("files/root", "there is no such directory", needed, FIND_OUT)
        });
    }
    let said = findings.iter().filter_map(|finding| finding.fact.strip_prefix("version "));
    let versions: Vec<String> = said.map(versions::of).collect();
    versions.into_iter().for_each(|version| ground.redactor.knows(version));
    let failing = findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    ground.silent = failing.filter_map(|finding| target_of(finding.id)).collect();
    findings
}

fn answered<E: std::error::Error + 'static>(id: &'static str, answer: Result<String, E>) -> Finding {
    match answer {
        Ok(fact) => Finding::pass(id, fact, "an answer"),
        Err(error) => Finding::fail(id, chain(&error), "an answer", FIND_OUT),
    }
}

/// The word that steps have for the target that did not answer.
fn target_of(id: &str) -> Option<&'static str> {
    match id.split_once('/') {
        Some(("registry", _)) => Some("registry"),
        Some(("docker", _)) => Some("docker"),
        Some(("containerd", _)) => Some("containerd"),
        Some(("cluster", _)) => Some("kubernetes"),
        Some(("helm", _)) => Some("helm"),
        _ => None,
    }
}
