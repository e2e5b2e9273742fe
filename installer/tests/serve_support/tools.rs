//! The tools that sites use, run for real. One that is missing fails the test where `CI` is `true`; on
//! anybody's own machine the test says what it skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Looks in the directory that `AIRLOCK_TOOLS` names and then along `PATH`.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::var_os("AIRLOCK_TOOLS").map(PathBuf::from);
    let found =
        own.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|p| p.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "`{name}` is not installed, and CI must run it"
        );
        eprintln!("SKIPPED: `{name}` is not installed");
    }
    found
}

/// Runs a program with a home of its own and no proxy; its standard output, or a panic with all it said.
pub(crate) fn run(program: &Path, home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(home).env_clear().env("HOME", home);
    for kept in ["PATH", "LD_LIBRARY_PATH", "LANG"] {
        std::env::var_os(kept).map(|value| command.env(kept, value));
    }
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{} {arguments:?} ended with {}\n{}\n{}",
        program.display(),
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}
