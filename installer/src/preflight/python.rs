//! `python/interpreter` and `python/target`: the interpreter is there, can make environments, and is one
//! that the wheels were carried for.

use manifests::inventory::Wheelhouse;

use super::{Finding, Verdict};
use crate::site::config::PythonTarget;
use crate::targets::{Context, python};

/// Looks at the interpreter, once, and at each wheelhouse.
#[must_use]
pub fn check(wheelhouses: &[&Wheelhouse], target: &PythonTarget, context: &Context<'_>) -> Vec<Finding> {
    let interpreter = target.interpreter.display();
    let requirement = "a Python interpreter with the modules venv and ensurepip".to_string();
    let finding = |verdict, fact: String, remedy: Option<&str>| Finding {
        id: "python/interpreter",
        verdict,
        fact,
        requirement: requirement.clone(),
        remedy: remedy.map(ToString::to_string),
    };
    let version = match python::version(target, context) {
        Ok(version) => version,
        Err(error) => {
            let remedy = Some("correct `targets.python.interpreter` in site.yaml");
            return vec![finding(Verdict::Fail, manifests::text::printable(&error.to_string()), remedy)];
        }
    };
    let mut findings = Vec::new();
    if version.has_venv {
        findings.push(finding(
            Verdict::Pass,
            format!("{interpreter} is Python {} on {}", version.minor, version.machine),
            None,
        ));
    } else {
        let remedy = Some("install the distribution's package for venv (python3-venv)");
        findings.push(finding(Verdict::Fail, format!("{interpreter} cannot make environments"), remedy));
    }
    findings.extend(wheelhouses.iter().map(|wheelhouse| fits(wheelhouse, &version)));
    findings
}

fn fits(wheelhouse: &Wheelhouse, version: &python::PythonVersion) -> Finding {
    let carried: Vec<String> =
        wheelhouse.targets.iter().map(|target| format!("{} on {}", target.python, target.platform)).collect();
    let fits = carried.is_empty() || python::fitting(wheelhouse, version).is_some();
    let requirement = if carried.is_empty() {
        format!("wheelhouse {} was taken as it is; pip will judge it", wheelhouse.name)
    } else {
        format!("wheelhouse {} is for Python {}", wheelhouse.name, carried.join(" or "))
    };
    Finding {
        id: "python/target",
        verdict: if fits { Verdict::Pass } else { Verdict::Fail },
        fact: format!("the interpreter is Python {} on {}", version.minor, version.machine),
        requirement,
        remedy: (!fits).then(|| {
            "name an interpreter of that version in site.yaml, or ask for wheels for this one".to_string()
        }),
    }
}
