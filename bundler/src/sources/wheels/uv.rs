//! `uv`, the tool that resolves: for an interpreter and a platform that need not be this machine's, with
//! environment markers evaluated for them (PEP 508), and once more without a network to prove that a
//! wheelhouse lacks nothing.
//!
//! **What this may never do:** give `uv` a login on its command line, where other users of the machine read
//! it, let it read its own configuration files, or let it fetch an interpreter. The wheels themselves are
//! fetched by us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge::Env;
use edge::process::{Finished, ProcessError, Program};
use manifests::Name;
use manifests::text::printable;

use super::filename::project_name;
use super::index_url::IndexUrl;
use super::tags::{LinuxArch, MacArch, PlatformTag, Target, WindowsArch};
use super::version::Version;
use super::{Class, tags};
use crate::sources::logins::Logins;

/// The first version whose `pylock.toml` states the digests of files in directories as well.
const OLDEST: (u64, u64) = (0, 13);

/// What of this process's environment `uv` gets: how to find an interpreter and reach a server.
const PASSED_ON: [&str; 13] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "TMPDIR",
    "LANG",
];

/// The glibc versions that `uv` has a platform for, beyond 2.17.
const GLIBC_MINORS: [u16; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// Why `uv` gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UvError {
    /// Not there, or it did not end.
    #[error("cannot run uv, which resolves Python requirements")]
    Run(#[source] ProcessError),
    /// It does not say its version, or an older one.
    #[error("`{}` is {found}, expected uv {}.{} or newer", program.display(), OLDEST.0, OLDEST.1)]
    Version {
        /// What was started.
        program: PathBuf,
        /// What it says of itself, made printable.
        found: String,
    },
    /// A platform that `uv` cannot resolve for.
    #[error("uv knows no platform that is at most {platform}, so nothing can be resolved for it")]
    Platform {
        /// The platform.
        platform: String,
    },
    /// There is no set of wheels that meets the requirements.
    #[error("for {target} there is no set of wheels: {words}")]
    NoSolution {
        /// Which target.
        target: Target,
        /// `uv`'s words.
        words: String,
    },
    /// The requirements or the lock cannot be read.
    #[error("uv cannot read what it was given: {words}")]
    Input {
        /// `uv`'s words.
        words: String,
    },
    /// The index did not answer, or something else broke.
    #[error("uv failed: {words}")]
    Failed {
        /// `uv`'s words.
        words: String,
    },
    /// It ended well and its answer is not there.
    #[error("cannot read uv's answer")]
    Answer(#[source] std::io::Error),
}

impl UvError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Run(_) | Self::Version { .. } | Self::NoSolution { .. } | Self::Failed { .. } => {
                Class::Unreachable
            }
            Self::Platform { .. } | Self::Input { .. } => Class::Spec,
            Self::Answer(_) => Class::Unreachable,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(_) | Self::Version { .. } => Some(
                "install it, such as with `pip install uv`, and put it on PATH or its path into AIRLOCK_UV"
                    .to_string(),
            ),
            Self::Platform { .. } => {
                Some("collect the wheels for it into a directory and name that with `source:`".to_string())
            }
            Self::NoSolution { words, .. } if words.contains("no usable wheels") => {
                Some("`build: [NAME==VERSION]` builds a wheel of a source distribution".to_string())
            }
            _ => None,
        }
    }
}

/// Where `uv` may look for distributions.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The index that is asked last.
    pub index: Option<IndexUrl>,
    /// Indexes that are asked before it; the first that has a project decides.
    pub extra: Vec<IndexUrl>,
    /// Directories of wheels.
    pub directories: Vec<PathBuf>,
}

/// `uv`, found and of a version that will do.
pub struct Uv<'a> {
    program: PathBuf,
    env: &'a Env,
    cache: PathBuf,
    logins: &'a Logins,
}

/// A lock that `uv` made, and what it had to say meanwhile.
#[derive(Debug)]
pub struct Compiled {
    /// `pylock.toml`
    pub text: String,
    /// Its warnings.
    pub warnings: Vec<String>,
}

/// What `uv` is asked to resolve.
pub struct Question<'a> {
    /// The requirements file.
    pub requirements: &'a Path,
    /// Further constraints.
    pub constraints: Option<&'a Path>,
    /// Whether the network may be used.
    pub offline: bool,
}

impl<'a> Uv<'a> {
    /// `$AIRLOCK_UV`, or `uv` on the path. Its cache goes into `cache`.
    ///
    /// # Errors
    /// It is not there, or too old.
    pub fn find(env: &'a Env, cache: PathBuf, logins: &'a Logins) -> Result<Self, UvError> {
        let program = env.var("AIRLOCK_UV").filter(|path| !path.is_empty()).unwrap_or("uv");
        let found = Self { program: PathBuf::from(program), env, cache, logins };
        let said = found.program(Path::new("/")).arg("--version").run(&*env.clock).map_err(UvError::Run)?;
        if version_of(&said.stdout).is_some_and(|version| version >= OLDEST) {
            return Ok(found);
        }
        let words = said.stdout.lines().next().filter(|line| !line.trim().is_empty());
        let found_version = words.map_or_else(|| "no uv".to_string(), printable);
        Err(UvError::Version { program: found.program, found: found_version })
    }

    /// Resolves for a target, wheels only. `scratch` is an empty directory of ours.
    ///
    /// # Errors
    /// No solution, or no answer.
    pub fn compile(
        &self,
        question: &Question<'_>,
        target: &Target,
        places: &Places,
        scratch: &Path,
    ) -> Result<Compiled, UvError> {
        // `uv` takes no other names for a lock.
        let output = scratch.join("pylock.toml");
        let program =
            self.placed(scratch, places, &["pip", "compile", "--generate-hashes", "--only-binary=:all:"]);
        let mut program = self.for_target(program, target)?.arg("--output-file").arg(&output);
        if question.offline {
            program = program.args(["--offline", "--no-index"]);
        }
        if let Some(constraints) = question.constraints {
            program = program.arg("--constraints").arg(constraints);
        }
        let finished = self.run(program.arg("--").arg(question.requirements), Some(target))?;
        let text = layout::durable::read_bounded(&output, super::pylock::PYLOCK_BYTES_MAX);
        let text = String::from_utf8_lossy(&text.map_err(UvError::Answer)?).into_owned();
        Ok(Compiled { text, warnings: self.warnings(&finished) })
    }

    /// Which projects of a lock are for a target, by its markers. Asks no network.
    ///
    /// # Errors
    /// The lock is not for the target, or no answer.
    pub fn plan(
        &self,
        lock: &Path,
        target: &Target,
        scratch: &Path,
    ) -> Result<BTreeMap<Name, Version>, UvError> {
        let nowhere = scratch.join("environment");
        let program = self.program(scratch).args(["pip", "sync", "--dry-run", "--offline", "--no-index"]);
        let program = self.for_target(program, target)?.arg("--target").arg(nowhere);
        let program = program.arg("--allow-empty-requirements");
        let finished = self.run(program.arg("--").arg(lock), Some(target))?;
        let line = |line: &str| {
            let (name, version) = line.trim().strip_prefix("+ ")?.split_once("==")?;
            let version = version.split_whitespace().next()?;
            Some((project_name(name).ok()?, version.parse().ok()?))
        };
        Ok(finished.stderr.lines().filter_map(line).collect())
    }

    /// Which source distribution a pin means. Runs its build for its metadata, as asked for in the spec.
    ///
    /// # Errors
    /// There is none, or it cannot be built here.
    pub fn source_distribution(
        &self,
        requirement: &Path,
        project: &Name,
        places: &Places,
        scratch: &Path,
    ) -> Result<String, UvError> {
        let output = scratch.join("pylock.toml");
        let program = self.placed(scratch, places, &["pip", "compile", "--generate-hashes", "--no-deps"]);
        let program = program.args(["--no-binary", project.as_str()]).arg("--output-file").arg(&output);
        self.run(program.arg("--").arg(requirement), None)?;
        let text = layout::durable::read_bounded(&output, super::pylock::PYLOCK_BYTES_MAX);
        Ok(String::from_utf8_lossy(&text.map_err(UvError::Answer)?).into_owned())
    }

    /// Builds a wheel of a source distribution on this machine, into a directory.
    ///
    /// # Errors
    /// The build fails, or what it needs cannot be had.
    pub fn build(&self, source: &Path, out: &Path, places: &Places, scratch: &Path) -> Result<(), UvError> {
        // The first second that a ZIP archive can name: so that the same tools give the same bytes.
        let program = self.placed(scratch, places, &["build", "--wheel"]);
        let program = program.var("SOURCE_DATE_EPOCH", "315532800").arg("--out-dir").arg(out);
        self.run(program.arg("--").arg(source), None).map(|_| ())
    }

    fn program(&self, cwd: &Path) -> Program {
        let mut program = Program::new(&self.program, cwd)
            .var("UV_CACHE_DIR", &self.cache)
            .var("UV_NO_CONFIG", "1")
            .var("UV_PYTHON_DOWNLOADS", "never")
            .var("UV_KEYRING_PROVIDER", "disabled")
            .var("UV_NO_PROGRESS", "1")
            .var("UV_SYSTEM_CERTS", "1")
            // What older versions call the same.
            .var("UV_NATIVE_TLS", "1");
        for name in PASSED_ON {
            if let Some(value) = self.env.var(name) {
                program = program.var(name, value);
            }
        }
        match self.logins.netrc_path() {
            Some(path) => program.var("NETRC", path),
            None => program,
        }
    }

    /// With the indexes in its environment, which only its own user can read, before a subcommand.
    fn placed(&self, cwd: &Path, places: &Places, subcommand: &[&str]) -> Program {
        let mut program = self.program(cwd);
        if let Some(index) = &places.index {
            program = program.var("UV_DEFAULT_INDEX", index.to_wire());
        }
        if !places.extra.is_empty() {
            let extra: Vec<String> = places.extra.iter().map(IndexUrl::to_wire).collect();
            program = program.var("UV_INDEX", extra.join(" "));
        }
        program = program.args(subcommand.iter().copied());
        for directory in &places.directories {
            program = program.arg("--find-links").arg(directory);
        }
        program
    }

    fn for_target(&self, program: Program, target: &Target) -> Result<Program, UvError> {
        let (name, deployment) = platform(&target.platform)
            .ok_or_else(|| UvError::Platform { platform: target.platform.to_string() })?;
        let program = program.arg("--python-version").arg(target.python.to_string());
        let mut program = program.arg("--python-platform").arg(name);
        // Any interpreter will do, as nothing is built; without this `uv` looks for one of the target's
        // version in every place it knows.
        if let Some(python) = self.python() {
            program = program.arg("--python").arg(python);
        }
        Ok(match deployment {
            Some(version) => program.var("MACOSX_DEPLOYMENT_TARGET", version),
            None => program,
        })
    }

    fn python(&self) -> Option<PathBuf> {
        let path = self.env.var("PATH")?;
        std::env::split_paths(path).map(|directory| directory.join("python3")).find(|file| file.is_file())
    }

    fn run(&self, program: Program, target: Option<&Target>) -> Result<Finished, UvError> {
        let finished = program.run(&*self.env.clock).map_err(UvError::Run)?;
        if finished.succeeded() {
            return Ok(finished);
        }
        let words = self.logins.without_secrets(&words_of(&finished.stderr));
        let unreadable =
            ["Couldn't parse", "File not found", "Unsupported", "Failed to parse", "not a valid"];
        Err(match target {
            Some(target) if finished.code == Some(1) => UvError::NoSolution { target: target.clone(), words },
            _ if unreadable.iter().any(|sign| words.contains(sign)) => UvError::Input { words },
            _ => UvError::Failed { words },
        })
    }

    fn warnings(&self, finished: &Finished) -> Vec<String> {
        let warnings = finished.stderr.lines().filter_map(|line| line.trim().strip_prefix("warning: "));
        // The interpreter is the target's, which is not this machine's: that is the point.
        let told = warnings.filter(|text| !text.starts_with("The requested Python version"));
        told.map(|text| self.logins.without_secrets(&printable(text))).collect()
    }
}

/// `uv 0.13.8 (…)`
fn version_of(said: &str) -> Option<(u64, u64)> {
    let mut numbers = said.trim().strip_prefix("uv ")?.split_whitespace().next()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// From its first error on, in one line. Its hints are about its own options.
fn words_of(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.skip_while(|line| !is_error(line)).collect();
    let lines = if lines.is_empty() { stderr.lines().map(str::trim).collect() } else { lines };
    let kept = lines.into_iter().take_while(|line| !line.starts_with("hint:"));
    let kept = kept.filter(|line| !line.is_empty() && !line.chars().all(|c| c == '^'));
    let plain = |line: &str| {
        let line = line.trim_start_matches(['×', '│', ' ']).trim_start_matches("error: ");
        line.replace("╰─▶ ", "")
    };
    let joined = kept.map(|line| printable(&plain(line))).collect::<Vec<_>>().join(" ");
    joined.replace(" cause: ", ": ").replace(":: ", ": ").trim_end_matches('.').to_string()
}

fn is_error(line: &str) -> bool {
    line.starts_with("error: ") || line.starts_with('×')
}

/// `uv`'s name for the newest platform that is not newer than this one, and the macOS version beside it.
/// The choice among the files that it names is ours and by the exact platform.
fn platform(tag: &tags::PlatformTag) -> Option<(String, Option<String>)> {
    let linux = |minor: u16, arch: LinuxArch| {
        let arch = Some(arch).filter(|arch| matches!(arch, LinuxArch::X86_64 | LinuxArch::Aarch64))?;
        let minor = GLIBC_MINORS.into_iter().rev().find(|known| *known <= minor)?;
        Some(format!("{}-manylinux_2_{minor}", arch.as_str()))
    };
    let name = match tag {
        PlatformTag::Manylinux { minor, arch } => linux(*minor, *arch)?,
        PlatformTag::Musllinux { arch: LinuxArch::X86_64, .. } => "x86_64-unknown-linux-musl".to_string(),
        PlatformTag::Musllinux { arch: LinuxArch::Aarch64, .. } => "aarch64-unknown-linux-musl".to_string(),
        PlatformTag::Musllinux { .. } => return None,
        PlatformTag::Linux { arch } => linux(17, *arch)?,
        PlatformTag::Any => linux(17, LinuxArch::X86_64)?,
        PlatformTag::Macos { major, minor, arch } => {
            let arch = if *arch == MacArch::Arm64 { "aarch64" } else { "x86_64" };
            return Some((format!("{arch}-apple-darwin"), Some(format!("{major}.{minor}"))));
        }
        PlatformTag::Windows(WindowsArch::Amd64) => "x86_64-pc-windows-msvc".to_string(),
        PlatformTag::Windows(WindowsArch::Win32) => "i686-pc-windows-msvc".to_string(),
        PlatformTag::Windows(WindowsArch::Arm64) => "aarch64-pc-windows-msvc".to_string(),
    };
    Some((name, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tag: &str) -> Option<String> {
        platform(&tag.parse().unwrap()).map(|(name, _)| name)
    }

    #[test]
    fn takes_the_newest_platform_that_is_not_newer_than_the_target() {
        assert_eq!(name("manylinux_2_28_x86_64").as_deref(), Some("x86_64-manylinux_2_28"));
        assert_eq!(name("manylinux_2_27_x86_64").as_deref(), Some("x86_64-manylinux_2_17"));
        assert_eq!(name("manylinux2014_aarch64").as_deref(), Some("aarch64-manylinux_2_17"));
        assert_eq!(name("manylinux_2_60_x86_64").as_deref(), Some("x86_64-manylinux_2_40"));
        assert_eq!(name("musllinux_1_2_x86_64").as_deref(), Some("x86_64-unknown-linux-musl"));
        assert_eq!(name("win_arm64").as_deref(), Some("aarch64-pc-windows-msvc"));
        let mac = platform(&"macosx_12_0_arm64".parse().unwrap()).unwrap();
        assert_eq!(mac, ("aarch64-apple-darwin".to_string(), Some("12.0".to_string())));
    }

    #[test]
    fn says_which_platforms_nobody_resolves_for() {
        for tag in ["manylinux2010_x86_64", "manylinux_2_28_s390x", "musllinux_1_2_armv7l", "linux_riscv64"] {
            assert_eq!(name(tag), None, "{tag}");
        }
    }

    #[test]
    fn reads_the_version_it_says() {
        assert_eq!(version_of("uv 0.13.8 (x86_64-unknown-linux-gnu)\n"), Some((0, 13)));
        assert_eq!(version_of("uv 1.0.0\n"), Some((1, 0)));
        assert_eq!(version_of("pip 24.0"), None);
    }

    #[test]
    fn its_words_are_one_line_without_warnings_and_hints() {
        let said = "warning: old\nerror: No solution found when resolving dependencies\n  cause: Because h11 was not \
                    found\n         and you require x.\n\nhint: use --frobnicate\n";
        let words =
            "No solution found when resolving dependencies: Because h11 was not found and you require x";
        assert_eq!(words_of(said), words);
        let older = "  × No solution found when resolving dependencies:\n  ╰─▶ Because h11 was not found\n";
        assert_eq!(
            words_of(older),
            "No solution found when resolving dependencies: Because h11 was not found"
        );
    }
}
