//! `helm`, the tool that renders: `helm template` of version 3 or 4, on an archive and values files of ours.
//!
//! **What this may never do:** let a chart reach anything. Helm gets an empty home of its own, no plugins, no
//! repositories, no cluster, no names from DNS, a proxy that is not there (a schema may name an address), and
//! bounds on its time, its memory and its output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::process::{Finished, ProcessError, Program};
use edge::{Classified, Env, Exit};
use manifests::text::{BundleVersion, printable, printable_up_to};

/// The versions whose `helm template` is known.
const MAJORS: [u32; 2] = [3, 4];
/// Real charts take well under a second.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Helm 3.20 and 4.3 render the largest charts in the field within half of it, reserved memory included.
const MEMORY_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// The largest charts in the field render to five megabytes, definitions of resources included.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of the start of Helm's own words is shown, where they say which template, and of their end, where
/// they say why.
const WORDS_SHOWN: (usize, usize) = (600, 1200);
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelmError {
    /// Not there, or it did not end.
    #[error("cannot run helm, which renders charts")]
    Run(#[source] ProcessError),
    /// It does not say its version, or another one.
    #[error("`{}` is {found}, expected helm 3 or 4", program.display())]
    Version {
        /// What was started.
        program: PathBuf,
        /// What it says of itself, made printable.
        found: String,
    },
    /// The chart takes too much of something.
    #[error("the chart does not render within bounds")]
    Bounds(#[source] ProcessError),
    /// The chart takes too much memory.
    #[error("the chart does not render within {} GiB of memory", MEMORY_BYTES_MAX / (1024 * 1024 * 1024))]
    Memory,
    /// The chart does not render.
    #[error("helm: {words}")]
    Render {
        /// Helm's words.
        words: String,
    },
}

impl Classified for HelmError {
    fn exit(&self) -> Exit {
        match self {
            Self::Run(_) | Self::Version { .. } => Exit::Unreachable,
            Self::Bounds(_) | Self::Memory | Self::Render { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Run(_) | Self::Version { .. } => Some(
                "install helm 3 or 4 and put the program itself (no shim) on PATH or its path into AIRLOCK_HELM: without it nobody knows which images the charts need"
                    .to_string(),
            ),
            Self::Render { words } if words.contains("kubeVersion") => Some(
                "name the site's version with `kubernetes`, such as kubernetes: [\"1.31\"]".to_string(),
            ),
            Self::Render { words } if words.contains(NOWHERE.trim_start_matches("http://")) => {
                Some("the chart asks the network while it renders; it could not on site either".to_string())
            }
            Self::Render { .. } => Some(
                "give the values that the chart wants in `values` or `profiles`, so that it renders".to_string(),
            ),
            _ => None,
        }
    }
}

/// What Helm is asked to render. Every path is relative to the scratch directory.
#[derive(Debug)]
pub struct Question<'a> {
    /// The chart's archive.
    pub chart: &'a str,
    /// The release's name.
    pub release: &'a str,
    /// The namespace; `default` if nobody says.
    pub namespace: Option<&'a str>,
    /// Values files, later ones win.
    pub values: Vec<String>,
    /// The version of Kubernetes; Helm's own if nobody says.
    pub kubernetes: Option<&'a BundleVersion>,
    /// What the cluster has beyond what every cluster has.
    pub api_versions: &'a [String],
    /// Whether it is to render as for a release that is there already.
    pub upgrade: bool,
}

/// Helm, found and of a version that will do.
pub struct Helm<'a> {
    program: PathBuf,
    env: &'a Env,
    major: u32,
    version: String,
}

impl<'a> Helm<'a> {
    /// `$AIRLOCK_HELM`, or `helm` on the path.
    ///
    /// # Errors
    /// It is not there, or of another version.
    pub fn find(env: &'a Env) -> Result<Self, HelmError> {
        let program = match env.var("AIRLOCK_HELM") {
            Some(path) if path.contains('/') => env.path(Path::new(path)),
            named => PathBuf::from(named.unwrap_or("helm")),
        };
        Self::at(program, env)
    }

    /// This program: a path, or a name to look up.
    ///
    /// # Errors
    /// It is not there, or of another version.
    pub fn at(program: PathBuf, env: &'a Env) -> Result<Self, HelmError> {
        let mut found = Self { program, env, major: 0, version: String::new() };
        let scratch = tempfile::tempdir();
        let scratch = scratch.as_ref().map_or(Path::new("/"), |scratch| scratch.path());
        let asked = found.program(scratch).args(["version", "--short"]).run(&*env.clock);
        let asked = asked.map_err(HelmError::Run)?;
        let said = &asked.stdout;
        if let Some((major, version)) = version_of(said).filter(|(major, _)| MAJORS.contains(major)) {
            found.major = major;
            found.version = version;
            return Ok(found);
        }
        // A shim that wants a home of its own says so on stderr.
        let words = said.lines().next().filter(|line| !line.trim().is_empty());
        let found_version = match (words, asked.last_words()) {
            (Some(line), _) => printable(line),
            (None, words) if words.is_empty() => "no helm".to_string(),
            (None, words) => format!("no helm ({words})"),
        };
        Err(HelmError::Version { program: found.program, found: found_version })
    }

    /// 3 or 4.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The version that it says it is, such as `v3.20.2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Renders a chart: templates, hooks, tests and the definitions in `crds/`.
    ///
    /// # Errors
    /// It does not render.
    pub fn template(&self, question: &Question<'_>, scratch: &Path) -> Result<String, HelmError> {
        let mut program = self
            .program(scratch)
            .args(["template", question.release, question.chart, "--include-crds", "--namespace"])
            .arg(question.namespace.unwrap_or("default"));
        if let Some(version) = question.kubernetes {
            program = program.arg("--kube-version").arg(version.as_str());
        }
        for api in question.api_versions {
            program = program.arg("--api-versions").arg(api);
        }
        if question.upgrade {
            program = program.arg("--is-upgrade");
        }
        for values in &question.values {
            program = program.arg("--values").arg(values);
        }
        let finished = program.run(&*self.env.clock).map_err(|error| match error {
            error @ (ProcessError::TimeLimit { .. } | ProcessError::OutputLimit { .. }) => {
                HelmError::Bounds(error)
            }
            error => HelmError::Run(error),
        })?;
        if finished.succeeded() { Ok(finished.stdout) } else { Err(failure(&finished)) }
    }

    /// Helm, cut off from everything, with a home below `scratch`.
    #[must_use]
    pub fn program(&self, scratch: &Path) -> Program {
        let home = scratch.join("helm");
        let mut program = at_home(Program::new(&self.program, scratch), &home);
        program.time_limit = TIME_LIMIT;
        program.whole_output = Some(OUTPUT_BYTES_MAX);
        program.memory_limit = Some(MEMORY_BYTES_MAX);
        program = program.var("KUBECONFIG", home.join("kubeconfig")).var("HOME", home);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            program = program.var(name, NOWHERE);
        }
        // To find the program itself, if it has no path.
        program.var("PATH", self.env.var("PATH").unwrap_or_default())
    }
}

/// Helm with every directory of its own below `home`, so that nobody's plugins, repositories and logins count.
#[must_use]
pub fn at_home(program: Program, home: &Path) -> Program {
    [
        ("HELM_CACHE_HOME", "cache"),
        ("HELM_CONFIG_HOME", "config"),
        ("HELM_DATA_HOME", "data"),
        ("HELM_PLUGINS", "plugins"),
        ("HELM_REGISTRY_CONFIG", "registry.json"),
        ("HELM_REPOSITORY_CONFIG", "repositories.yaml"),
        ("HELM_REPOSITORY_CACHE", "repositories"),
    ]
    .into_iter()
    .fold(program, |program, (variable, name)| program.var(variable, home.join(name)))
}

/// What Helm says, line by line, without what it says to everybody.
pub fn words(said: &str) -> impl Iterator<Item = &str> {
    let noise = ["Use --debug", "WARNING", "level="];
    said.lines()
        .map(str::trim)
        .filter(move |line| !line.is_empty() && !noise.iter().any(|start| line.starts_with(start)))
}

/// Of `v3.20.2+g1234567` or `v4.3`: the first number, and what stands before the plus.
fn version_of(said: &str) -> Option<(u32, String)> {
    let line = said.lines().map(str::trim).find(|line| line.starts_with('v'))?;
    let major = line.strip_prefix('v')?.split('.').next()?.parse().ok()?;
    Some((major, printable(line.split('+').next().unwrap_or(line))))
}

/// Why it failed, in Helm's words.
fn failure(finished: &Finished) -> HelmError {
    let said = &finished.stderr;
    // Go names every thread when it is out of memory.
    if said.contains("out of memory") || said.contains("cannot allocate memory") || finished.code.is_none() {
        return HelmError::Memory;
    }
    let words = words(said).collect::<Vec<&str>>().join("; ");
    let words = words.strip_prefix("Error: ").unwrap_or(&words);
    HelmError::Render { words: shortened(words) }
}

/// Start and end of a long text, made printable.
fn shortened(text: &str) -> String {
    let (start, end) = WORDS_SHOWN;
    let count = text.chars().count();
    let whole = start.saturating_add(end);
    if count <= whole {
        return printable_up_to(text, whole);
    }
    let tail: String = text.chars().skip(count.saturating_sub(end)).collect();
    format!("{} {}", printable_up_to(text, start), printable_up_to(&tail, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_helm_prints_it() {
        for (said, major) in [
            ("v3.20.2+g1234567\n", Some(3)),
            ("v4.3\n", Some(4)),
            ("WARNING: Kubernetes configuration file is group-readable\nv3.8.0+gd141386\n", Some(3)),
            ("Client: v2.17.0+ga690bad\n", None),
            ("", None),
        ] {
            assert_eq!(version_of(said).map(|(major, _)| major), major, "{said:?}");
        }
    }

    #[test]
    fn helms_words_are_shown_without_its_advice() {
        let finished =
            |stderr: &str| Finished { code: Some(1), stdout: String::new(), stderr: stderr.to_string() };
        let said = "Error: execution error at (c/templates/a.yaml:1:4): password\nis needed\n\nUse --debug flag to render out invalid YAML\n";
        let error = failure(&finished(said));
        assert_eq!(
            error.to_string(),
            "helm: execution error at (c/templates/a.yaml:1:4): password; is needed"
        );
        assert!(matches!(
            failure(&finished("fatal error: runtime: cannot allocate memory")),
            HelmError::Memory
        ));
    }
}
