//! `python/interpreter`, `python/target`, `python/abi` and `python/resolve`: the interpreter is there, is one that
//! the wheels were carried for, takes their tags, and its own pip resolves them without a network. Each needs
//! the one before it.

use std::collections::{BTreeMap, BTreeSet};

use manifests::bundle::BundleDigest;
use manifests::inventory::{Wheel, Wheelhouse};
use manifests::text::{FileName, Name, PackageVersion, printable};

use super::Finding;
use crate::apply::chain;
use crate::plan::PlannedWheel;
use crate::site::config::PythonTarget;
use crate::site::scratch::Scratch;
use crate::targets::python::{self, PythonVersion, Rehearsal};
use crate::targets::{Context, TargetError};

/// Looks at the interpreter, once, and at each wheelhouse.
#[must_use]
pub fn check(
    wheelhouses: &[&Wheelhouse],
    bundle: BundleDigest,
    target: &PythonTarget,
    context: &Context<'_>,
) -> Vec<Finding> {
    let interpreter = target.interpreter.display();
    let id = "python/interpreter";
    let requirement = "a Python interpreter with the modules venv and ensurepip";
    let version = match python::version(target, context) {
        Ok(version) => version,
        Err(error) => {
            let remedy = "correct `targets.python.interpreter` in site.yaml";
            return vec![Finding::fail(id, printable(&error.to_string()), requirement, remedy)];
        }
    };
    let fact = if version.has_venv {
        format!("{interpreter} is Python {} on {}", version.minor, version.machine)
    } else {
        format!("{interpreter} cannot make environments")
    };
    let mut findings = vec![if version.has_venv {
        Finding::pass(id, fact, requirement)
    } else {
        Finding::fail(id, fact, requirement, "install the distribution's package for venv (python3-venv)")
    }];
    let mut fitting = Vec::new();
    for wheelhouse in wheelhouses {
        let (fits, finding) = fits(wheelhouse, &version);
        findings.push(finding);
        let in_place = python::is_complete(&python::place(target, &wheelhouse.name, bundle));
        if fits && version.has_venv && !in_place {
            fitting.push(*wheelhouse);
        }
    }
    if !fitting.is_empty() {
        findings.extend(rehearse(&fitting, &version, target, context));
    }
    findings
}

fn fits(wheelhouse: &Wheelhouse, version: &PythonVersion) -> (bool, Finding) {
    let carried: Vec<String> =
        wheelhouse.targets.iter().map(|target| format!("{} on {}", target.python, target.platform)).collect();
    let fits = carried.is_empty() || python::fitting(wheelhouse, version).is_some();
    let requirement = if carried.is_empty() {
        format!("wheelhouse {} was taken as it is; its wheels are judged one by one", wheelhouse.name)
    } else {
        format!("wheelhouse {} is for Python {}", wheelhouse.name, carried.join(" or "))
    };
    let fact = format!("the interpreter is Python {} on {}", version.minor, version.machine);
    let remedy = "name an interpreter of that version in site.yaml, or ask for wheels for this one";
    let id = "python/target";
    (
        fits,
        if fits {
            Finding::pass(id, fact, requirement)
        } else {
            Finding::fail(id, fact, requirement, remedy)
        },
    )
}

/// Makes an environment below the site directory, and asks its pip.
fn rehearse(
    wheelhouses: &[&Wheelhouse],
    version: &PythonVersion,
    target: &PythonTarget,
    context: &Context<'_>,
) -> Vec<Finding> {
    let begin = |work: &Scratch| -> Result<BTreeSet<String>, TargetError> {
        Rehearsal::begin(target, work.path(), context)?.tags()
    };
    let (work, tags) = match Scratch::make(context.site, "python").map(|work| (begin(&work), work)) {
        Ok((Ok(tags), work)) => (work, tags),
        Ok((Err(error), _)) => return vec![cannot("a new environment", &chain(&error))],
        Err(error) => return vec![cannot("a new environment", &error.to_string())],
    };
    let mut findings = Vec::new();
    for wheelhouse in wheelhouses {
        let wheels = python::choose(wheelhouse, version);
        let (takes, finding) = takes(wheelhouse, &wheels, &tags);
        findings.push(finding);
        if takes {
            let rehearsal = Rehearsal::of(work.path(), context);
            findings.push(resolves(wheelhouse, &wheels, &rehearsal, context));
        }
    }
    findings
}

fn cannot(what: &str, why: &str) -> Finding {
    let remedy = "mend what Python says, or name another interpreter in site.yaml";
    Finding::fail("python/resolve", printable(why), format!("{what}, made by this interpreter"), remedy)
}

/// Whether of each project some wheel has a tag that the interpreter takes.
fn takes(wheelhouse: &Wheelhouse, wheels: &[&Wheel], tags: &BTreeSet<String>) -> (bool, Finding) {
    let mut projects: BTreeMap<(&Name, &PackageVersion), Vec<&Wheel>> = BTreeMap::new();
    for wheel in wheels {
        projects.entry((&wheel.project, &wheel.version)).or_default().push(wheel);
    }
    let fits = |wheel: &&Wheel| tags_of(&wheel.filename).iter().any(|tag| tags.contains(tag));
    let without: Vec<String> = projects
        .values()
        .filter(|files| !files.iter().any(fits))
        .flatten()
        .map(|wheel| wheel.filename.to_string())
        .collect();
    let requirement = format!("wheelhouse {}: wheels with tags that the interpreter takes", wheelhouse.name);
    let id = "python/abi";
    if without.is_empty() {
        let fact = format!("each of {} projects has one", projects.len());
        return (true, Finding::pass(id, fact, requirement));
    }
    let fact = format!("for another interpreter or platform: {}", without.join(", "));
    let remedy = "name another interpreter in site.yaml, or ask the sender for wheels for this one";
    (false, Finding::fail(id, fact, requirement, remedy))
}

/// Each tag of a wheel's file name (PyPA's binary distribution format): `py2.py3-none-any` is two.
fn tags_of(filename: &FileName) -> Vec<String> {
    let name = filename.as_str().strip_suffix(".whl").unwrap_or_default();
    let mut parts = name.rsplitn(4, '-');
    let (Some(platforms), Some(abis), Some(pythons)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let mut tags = Vec::new();
    for python in pythons.split('.') {
        for abi in abis.split('.') {
            tags.extend(platforms.split('.').map(|platform| format!("{python}-{abi}-{platform}")));
        }
    }
    tags
}

fn resolves(
    wheelhouse: &Wheelhouse,
    wheels: &[&Wheel],
    rehearsal: &Rehearsal<'_>,
    context: &Context<'_>,
) -> Finding {
    let id = "python/resolve";
    let requirement = format!("wheelhouse {}: pip installs it from these wheels alone", wheelhouse.name);
    let is_here = |wheel: &&Wheel| context.site.store().blob_path(&wheel.digest).is_file();
    if !wheels.iter().all(is_here) {
        // Discs are read in any order, and there may be no room: then `apply` asks pip before it changes anything.
        let fact =
            "not looked at yet: the wheels are not in the site store; `apply` asks once it has loaded them";
        return Finding::pass(id, fact, requirement);
    }
    let planned: Vec<PlannedWheel> = wheels.iter().map(|wheel| PlannedWheel::of(wheel)).collect();
    match rehearsal.resolve(&wheelhouse.name, &planned) {
        Ok(()) => Finding::pass(id, format!("pip would install {} wheels", planned.len()), requirement),
        Err(error) if error.to_string().contains("no such option: --dry-run") => {
            let fact = "this interpreter's pip is older than 22.2 and has no dry run";
            Finding::warn(id, fact, requirement, "look at the wheels on a machine with the same interpreter")
        }
        Err(error) => {
            let remedy = "ask the sender for a wheelhouse that is complete for this interpreter";
            Finding::fail(id, chain(&error), requirement, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_has_every_tag_that_its_name_compresses() {
        let tags = |name: &str| tags_of(&name.parse().unwrap());
        assert_eq!(tags("a-1.0-py2.py3-none-any.whl"), ["py2-none-any", "py3-none-any"]);
        assert_eq!(
            tags("a_b-1.0-1build-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl").len(),
            2
        );
        assert!(tags("a.tar.gz").is_empty() && tags("a-1.0.whl").is_empty());
    }
}
