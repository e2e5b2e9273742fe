//! `versions.txt`: of this program, the kernel, the system and the tools that it uses, as they are found here.
//! Of what a tool says only a version number goes in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::process::Program;

use super::{Ground, Piece, Section};
use crate::apply::chain;

/// A tool that says nothing by then does not say its version.
const PATIENCE: Duration = Duration::from_secs(20);
const OS_RELEASE: &str = "/etc/os-release";
const OS_RELEASE_BYTES_MAX: u64 = 64 * 1024;
/// Longer ones are no version numbers.
const VERSION_CHARACTERS_MAX: usize = 64;

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let mut lines = vec![("installer".to_string(), env!("CARGO_PKG_VERSION").to_string())];
    let kernel = rustix::system::uname();
    lines.push(("kernel".to_string(), of(&kernel.release().to_string_lossy())));
    lines.push(("machine".to_string(), of(&kernel.machine().to_string_lossy())));
    lines.push(("system".to_string(), system()));
    for (name, program, args) in tools(ground) {
        let said = tool(ground, name, &program, args);
        lines.push((name.to_string(), said));
    }
    let text = lines.iter().map(|(name, said)| format!("{name:<12} {said}\n")).collect();
    ground.piece(Section::Versions, "versions.txt", text)
}

/// The tools, as `site.yaml` names them, and how they are asked.
fn tools(ground: &Ground<'_>) -> Vec<(&'static str, PathBuf, &'static [&'static str])> {
    let targets = &ground.config.targets;
    let helm = targets.helm.as_ref().map_or(Path::new("helm"), |helm| helm.program());
    let cluster = targets.cluster();
    let kubectl = cluster.as_ref().and_then(|cluster| cluster.kubectl.as_deref());
    let python = targets.python.as_ref().map(|python| python.interpreter.as_path());
    let ctr = targets.containerd.as_ref().map(|containerd| containerd.ctr());
    vec![
        ("helm", helm.to_path_buf(), &["version", "--short"]),
        ("kubectl", kubectl.unwrap_or(Path::new("kubectl")).to_path_buf(), &["version", "--client"]),
        ("docker", PathBuf::from("docker"), &["--version"]),
        ("containerd", PathBuf::from("containerd"), &["--version"]),
        ("ctr", ctr.unwrap_or(Path::new("ctr")).to_path_buf(), &["--version"]),
        ("python", python.unwrap_or(Path::new("python3")).to_path_buf(), &["--version"]),
    ]
}

/// Asks a tool. That it is not there is an answer as well.
fn tool(ground: &mut Ground<'_>, name: &'static str, program: &Path, args: &[&str]) -> String {
    let mut program = Program::new(program, Path::new("/")).args(args);
    program.time_limit = PATIENCE;
    if let Some(path) = ground.env.var("PATH") {
        program = program.var("PATH", path);
    }
    match program.run(&*ground.env.clock) {
        Ok(finished) => of(&finished.stdout),
        Err(edge::process::ProcessError::Start { .. }) => "not found".to_string(),
        Err(error) => {
            ground.gap(&format!("the version of {name}"), &chain(&error));
            "no answer".to_string()
        }
    }
}

/// The first version number in a text.
pub(super) fn of(text: &str) -> String {
    let is_version = |word: &&str| {
        let digits = word.strip_prefix('v').unwrap_or(word);
        digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.contains('.')
            && digits.len() <= VERSION_CHARACTERS_MAX
            && digits.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '~' | '_'))
    };
    let is_machine = |word: &&str| ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64"].contains(word);
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '"'));
    let found = words.into_iter().find(|word| is_version(word) || is_machine(word));
    found.unwrap_or("of an unknown version").to_string()
}

/// `ID` and `VERSION_ID` of os-release(5), which have an alphabet of their own.
fn system() -> String {
    let bytes =
        layout::durable::read_bounded(Path::new(OS_RELEASE), OS_RELEASE_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        let value = value.trim_matches(['"', '\'']);
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        (!value.is_empty() && value.len() <= 32 && value.chars().all(fits)).then(|| value.to_string())
    };
    match (field("ID"), field("VERSION_ID")) {
        (Some(id), Some(version)) => format!("{id} {version}"),
        (Some(id), None) => id,
        _ => "unknown".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_tool_says_only_the_version_number_goes_in() {
        for (said, wanted) in [
            ("v3.20.0+gabc", "v3.20.0+gabc"),
            ("Client Version: v1.31.2\nKustomize Version: v5.4.2\n", "v1.31.2"),
            ("Docker version 20.10.24+dfsg1, build 297e128", "20.10.24+dfsg1"),
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1", "1.6.20~ds1"),
            ("Python 3.11.2", "3.11.2"),
            ("hunter2 https://anna:hunter2@host/1.2", "of an unknown version"),
        ] {
            assert_eq!(of(said), wanted);
        }
    }
}
