//! `scripts/allowed`, `scripts/place` and `scripts/interpreter`: whether this site runs what a bundle brings
//! along, and can.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::{Finding, Verdict};
use crate::due::Due;
use crate::plan::RunScript;
use crate::site::config::SiteConfig;
use crate::targets::{Context, scripts};

/// Looks whether the scripts that are due may run, and can.
#[must_use]
pub fn check(due: &Due, config: &SiteConfig, context: &Context<'_>) -> Vec<Finding> {
    let scripts: Vec<&RunScript> = due.all().collect();
    if scripts.is_empty() {
        return Vec::new();
    }
    let allowed = allowed(&scripts, config);
    if allowed.verdict == Verdict::Fail {
        return vec![allowed];
    }
    let interpreters: BTreeSet<&str> = scripts
        .iter()
        .flat_map(|run| run.script.files())
        .filter_map(|file| file.interpreter.as_ref())
        .map(|line| line.as_str())
        .collect();
    let mut findings = vec![allowed, place(context)];
    findings.extend(interpreters.into_iter().map(interpreter));
    findings
}

fn allowed(scripts: &[&RunScript], config: &SiteConfig) -> Finding {
    let is_allowed = config.targets.scripts.is_some();
    let names: Vec<String> = scripts.iter().map(|run| run.script.name.to_string()).collect();
    Finding {
        id: "scripts/allowed",
        verdict: if is_allowed { Verdict::Pass } else { Verdict::Fail },
        fact: format!("scripts are to be run here: {}", names.join(", ")),
        requirement: "a site.yaml with `targets: {scripts: {}}`".to_string(),
        remedy: (!is_allowed).then(|| {
            "read the scripts, and allow them in site.yaml, or ask for a bundle without".to_string()
        }),
    }
}

/// A site directory may lie on a disk from which nothing is run.
fn place(context: &Context<'_>) -> Finding {
    let directory = context.site.dir();
    let closed =
        rustix::fs::statvfs(directory).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Finding {
        id: "scripts/place",
        verdict: if closed { Verdict::Fail } else { Verdict::Pass },
        fact: format!(
            "the disk of {} is mounted {}",
            directory.display(),
            if closed { "noexec" } else { "without noexec" }
        ),
        requirement: "a site directory from which programs can be run".to_string(),
        remedy: closed.then(|| "mount it without noexec, or choose another --site".to_string()),
    }
}

fn interpreter(line: &str) -> Finding {
    let missing = missing(line);
    Finding {
        id: "scripts/interpreter",
        verdict: if missing.is_some() { Verdict::Fail } else { Verdict::Pass },
        fact: missing.as_ref().map_or_else(
            || format!("{line} is there"),
            |missing| format!("{missing} is not there, or is no program"),
        ),
        requirement: format!("what runs a script that starts with #!{line}"),
        remedy: missing.map(|missing| format!("install {missing}")),
    }
}

/// What of a script's first line is not there: the program it names, or the one that `env` is to find.
fn missing(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().unwrap_or_default();
    if !is_program(Path::new(program)) {
        return Some(program.to_string());
    }
    let is_env = Path::new(program).file_name().is_some_and(|name| name == "env");
    let wanted = words.find(|word| !word.starts_with('-') && !word.contains('=')).filter(|_| is_env)?;
    let there = if wanted.contains('/') { is_program(Path::new(wanted)) } else { is_found(wanted) };
    (!there).then(|| wanted.to_string())
}

/// Whether scripts find a program of this name.
pub(super) fn is_found(name: &str) -> bool {
    scripts::PATH.split(':').any(|directory| is_program(&Path::new(directory).join(name)))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_looked_for_where_the_script_will_look_for_it() {
        for there in
            ["/bin/sh", "/bin/sh -eu", "/usr/bin/env sh", "/usr/bin/env -S sh -e", "/usr/bin/env A=1 sh"]
        {
            assert_eq!(missing(there), None, "{there}");
        }
        for (line, what) in [
            ("/no/such", "/no/such"),
            ("/bin", "/bin"),
            ("/usr/bin/env no-such-program", "no-such-program"),
            ("/usr/bin/env -S /no/such x", "/no/such"),
        ] {
            assert_eq!(missing(line).as_deref(), Some(what), "{line}");
        }
    }
}
