//! Real tools. On a developer's machine a missing one means that a test looks at less, and says so; in
//! continuous integration (`CI=true`) it is a failure, so that no check can silently stop happening.

use std::path::PathBuf;

/// The tool's path, or nothing after saying plainly on stderr what is not tested.
///
/// # Panics
/// Where the tool is missing and `CI` is `true`.
#[must_use]
pub fn real_part(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|file| file.is_file());
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "`{tool}` is not installed, and CI=true forbids to skip what needs it");
        eprintln!("SKIPPED: `{tool}` is not installed, so the part of this test that needs it did not run");
    }
    found
}
