//! Mirrors for containerd: for each upstream registry of a bundle's images a `hosts.toml`, by which containerd
//! finds them in the site's registry under the names that charts and people use. Files like all others: old
//! content is kept, and given back by an undo.
//!
//! It follows containerd's `hosts.toml` (docs/hosts.md of containerd): a directory for each host, and
//! `override_path`, since the site's registry has each upstream below a path of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manifests::Digest;
use manifests::inventory::{FileMode, Image};

use super::{TargetError, files};
use crate::plan::{FileState, Mirror, WriteFile};
use crate::site::config::{MirrorFiles, SiteConfig};

/// By this a file is known as ours.
const FIRST_LINE: &str = "# Written by Airlock: where images of bundles are on this site. Do not edit.\n";
/// Of people's files of this kind.
const HOSTS_BYTES_MAX: u64 = 1024 * 1024;
const FILE_NAME: &str = "hosts.toml";

/// What is written for one upstream registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The upstream registry.
    pub host: String,
    /// The file's content.
    pub text: String,
}

/// Where nodes find the site's images.
pub(super) struct Place {
    /// The registry, without a slash at its end.
    pub(super) url: String,
    /// Its path before every repository: empty, or with a slash at its end.
    pub(super) below: String,
    /// Certificates that its own hangs on.
    pub(super) ca: Option<PathBuf>,
}

/// The site's registry, or an address of its own: that of `installer serve`, which knows no prefix.
pub(super) fn place(own: Option<&str>, config: &SiteConfig) -> Option<Place> {
    let registry = config.targets.registry.as_ref();
    let url = own.or(registry.map(|registry| registry.url.as_str()))?.trim_end_matches('/').to_string();
    let registry = registry.filter(|_| own.is_none());
    let prefix = registry.and_then(|registry| registry.prefix.as_deref());
    let prefix = prefix.map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty());
    let below = prefix.map_or(String::new(), |prefix| format!("{prefix}/"));
    Some(Place { url, below, ca: registry.and_then(|registry| registry.ca.clone()) })
}

/// What is to be written for these images; nothing where the site has no registry to name.
#[must_use]
pub fn wanted(images: &[&Image], mirror: &MirrorFiles, config: &SiteConfig) -> Vec<Wanted> {
    let Some(Place { url, below, ca }) = place(mirror.url.as_deref(), config) else { return Vec::new() };
    let ca = ca.map_or(String::new(), |ca| format!("  ca = {}\n", quoted(&ca.display().to_string())));
    let paths: BTreeMap<&str, String> =
        images.iter().map(|image| (image.name.host(), image.name.site_host())).collect();
    let text = |path: &str| {
        let base = quoted(&format!("{}/v2/{below}{path}", url));
        format!(
            "{FIRST_LINE}[host.{base}]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n{ca}"
        )
    };
    paths.into_iter().map(|(host, path)| Wanted { host: host.to_string(), text: text(&path) }).collect()
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    // Each string of JSON is one.
    serde_json::Value::from(text).to_string()
}

/// Where the file for one upstream registry is.
#[must_use]
pub fn file(mirror: &MirrorFiles, wanted: &Wanted) -> PathBuf {
    mirror.directory.join(&wanted.host).join(FILE_NAME)
}

/// The step for one upstream registry, with what is there now. Tells whether it is in place already.
///
/// # Errors
/// The disk, or a link in the way.
pub fn look(wanted: Wanted, mirror: &MirrorFiles) -> Result<(bool, Mirror), TargetError> {
    let path = file(mirror, &wanted);
    let new = FileState { digest: Digest::of(wanted.text.as_bytes()), mode: FileMode::READABLE };
    let mut write = WriteFile { path, old: None, new, new_directories: Vec::new() };
    let in_place = files::look(&mut write, Path::new("/"))?;
    Ok((in_place, Mirror { host: wanted.host, text: wanted.text, write }))
}

/// Whether the file that is there was written by somebody else.
///
/// # Errors
/// It cannot be read.
pub fn is_foreign(mirror: &Mirror) -> Result<bool, TargetError> {
    if mirror.write.old.is_none() {
        return Ok(false);
    }
    let path = &mirror.write.path;
    let there = layout::durable::read_bounded(path, HOSTS_BYTES_MAX);
    let there =
        there.map_err(|source| TargetError::Io { doing: "cannot read", path: path.clone(), source })?;
    Ok(!there.starts_with(FIRST_LINE.as_bytes()))
}

/// Writes it.
///
/// # Errors
/// The disk, or a file that has changed since the plan was made.
pub fn perform(mirror: &Mirror, kept: &Path) -> Result<(), TargetError> {
    let source = kept.join(format!("{}.new", mirror.write.new.digest.hex()));
    layout::durable::make_directory(kept)
        .and_then(|()| layout::durable::replace(&source, mirror.text.as_bytes(), 0o600))
        .map_err(|error| TargetError::Io { doing: "cannot write", path: source.clone(), source: error })?;
    files::perform_from(&mirror.write, kept, &source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_quotes() {
        assert_eq!(quoted("a\"]\n\\"), r#""a\"]\n\\""#);
    }
}
