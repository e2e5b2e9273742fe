//! Mirrors for k3s, which reads one file for all registries. An entry for each upstream registry of a bundle's images
//! is added to it, between two lines that say whose it is; everything that others have written stays as it is, to
//! the byte.
//!
//! It follows k3s' Private Registry Configuration: `mirrors` with `endpoint` and `rewrite`, since the site's registry
//! has each upstream below a path of its own, and `configs` with the authority of its certificate.
//!
//! **What this may never do:** write a file that reads otherwise than the old one with our entries in it: the new text
//! is read again and compared.

use std::io;
use std::path::Path;

use edge::yaml;
use manifests::Digest;
use manifests::inventory::{FileMode, Image};
use serde_json::{Map, Value, json};

use super::{TargetError, files, mirror};
use crate::plan::{FileState, Mirror, WriteFile};
use crate::site::config::{RegistriesFile, SiteConfig};

/// Around what is ours.
const BEGIN: &str = "# Airlock begins: where images of bundles are on this site. Do not edit.";
const END: &str = "# Airlock ends.";
/// Of people's files of this kind.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// k3s' file may hold passwords.
const NEW_MODE: u32 = 0o600;

/// What the file has and shall have.
#[derive(Debug)]
pub struct Looked {
    /// Whether it says what it shall already.
    pub in_place: bool,
    /// The step, if it can be made.
    pub step: Mirror,
    /// Upstream registries of ours that others have an entry for.
    pub foreign: Vec<String>,
}

/// The step for the file, with what is there now; nothing where there are no images, or no registry to name.
///
/// # Errors
/// The file cannot be read, is no YAML, or is written in a way that nothing can be added to.
pub fn look(
    images: &[&Image],
    target: &RegistriesFile,
    config: &SiteConfig,
) -> Result<Option<Looked>, TargetError> {
    let Some(wanted) = Entries::wanted(images, target, config) else { return Ok(None) };
    let path = &target.file;
    let unreadable = |source| TargetError::Io { doing: "cannot read", path: path.clone(), source };
    let odd = |what: &str| unreadable(io::Error::new(io::ErrorKind::InvalidData, what.to_string()));
    let old = match layout::durable::read_bounded(path, FILE_BYTES_MAX) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| odd("it is not UTF-8 text"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unreadable(error)),
    };
    let (text, foreign) = wanted.added(&old).map_err(|what| odd(&what))?;
    let mut mode = FileMode::new(NEW_MODE).unwrap_or(FileMode::READABLE);
    if let Some(there) = files::state(path)? {
        mode = FileMode::new(there.mode & 0o777).unwrap_or(mode);
    }
    let new = FileState { digest: Digest::of(text.as_bytes()), mode };
    let mut write = WriteFile { path: path.clone(), old: None, new, new_directories: Vec::new() };
    let in_place = files::look(&mut write, Path::new("/"))?;
    let host = wanted.hosts().join(", ");
    Ok(Some(Looked { in_place, step: Mirror { host, text, write }, foreign }))
}

/// What is to be in the file.
struct Entries {
    mirrors: Map<String, Value>,
    configs: Map<String, Value>,
}

impl Entries {
    fn wanted(images: &[&Image], target: &RegistriesFile, config: &SiteConfig) -> Option<Self> {
        let place = mirror::place(target.url.as_deref(), config)?;
        let (mut mirrors, mut configs) = (Map::new(), Map::new());
        for image in images {
            let path = format!("{}{}/$1", place.below, image.name.site_host());
            let entry = json!({"endpoint": [place.url], "rewrite": {"^(.*)$": path}});
            mirrors.insert(image.name.host().to_string(), entry);
        }
        if let Some(ca) = &place.ca {
            let host = place.url.split_once("://").map_or(place.url.as_str(), |(_, host)| host);
            let tls = json!({"tls": {"ca_file": ca.display().to_string()}});
            configs.insert(host.to_string(), tls);
        }
        (!mirrors.is_empty()).then_some(Self { mirrors, configs })
    }

    fn hosts(&self) -> Vec<String> {
        self.mirrors.keys().cloned().collect()
    }

    /// The file with our entries, and for which of them others have one: theirs stay.
    fn added(&self, old: &str) -> Result<(String, Vec<String>), String> {
        let bare = without_ours(old)?;
        let theirs = parsed(&bare)?;
        let mut foreign = Vec::new();
        let (mut expected, mut text) = (theirs.clone(), bare);
        for (section, entries) in [("mirrors", &self.mirrors), ("configs", &self.configs)] {
            let has = |key: &str| expected.get(section).and_then(|there| there.get(key)).cloned();
            let mut ours = entries.clone();
            // What somebody has said already in these very words need not be said again.
            ours.retain(|key, entry| has(key).as_ref() != Some(entry));
            let taken: Vec<String> = ours.keys().filter(|key| has(key).is_some()).cloned().collect();
            ours.retain(|key, _| !taken.contains(key));
            foreign.extend(taken);
            if ours.is_empty() {
                continue;
            }
            text = inserted(&text, section, &ours, theirs.get(section))?;
            let place = expected.entry(section.to_string()).or_insert_with(|| json!({}));
            if place.is_null() {
                *place = json!({});
            }
            if let Some(place) = place.as_object_mut() {
                place.extend(ours);
            }
        }
        if parsed(&text)? != expected {
            return Err("more would change in it than our own entries".to_string());
        }
        Ok((text, foreign))
    }
}

fn parsed(text: &str) -> Result<Map<String, Value>, String> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(says_nothing) {
        return Ok(Map::new());
    }
    match yaml::parse_foreign("registries.yaml", text).map_err(|error| error.to_string())? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err("it is no map of settings".to_string()),
    }
}

/// The file without what an earlier run of ours has written.
fn without_ours(text: &str) -> Result<String, String> {
    let (mut kept, mut inside) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        match line.trim() {
            BEGIN if !inside => inside = true,
            END if inside => inside = false,
            _ if inside => {}
            _ => kept.push_str(line),
        }
    }
    if inside { Err(format!("the line `{END}` is missing")) } else { Ok(kept) }
}

/// The text with entries in a section, which is made if it is not there.
fn inserted(
    text: &str,
    section: &str,
    entries: &Map<String, Value>,
    there: Option<&Value>,
) -> Result<String, String> {
    let heading = format!("{section}:");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_heading = |line: &&str| {
        line.strip_prefix(&heading).is_some_and(|rest| {
            let rest = rest.trim();
            rest.is_empty() || rest.starts_with('#')
        })
    };
    let Some(position) = lines.iter().position(is_heading) else {
        if there.is_some() {
            return Err(format!("`{section}` is not written as a block, so nothing can be added to it"));
        }
        let mut out = text.to_string();
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        // The heading is ours too, so that it goes with the rest.
        out.push_str(&format!("{BEGIN}\n{heading}\n{}{END}\n", block(entries, 2)));
        return Ok(out);
    };
    let indent = |line: &&str| line.len().saturating_sub(line.trim_start().len());
    let says = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let next = lines.get(position.saturating_add(1)..).unwrap_or_default().iter().find(says);
    let depth = next.map(indent).filter(|depth| *depth > 0).unwrap_or(2);
    let mut out: String = lines.get(..=position).unwrap_or_default().concat();
    if !out.ends_with('\n') {
        out.push('\n');
    }
    let margin = " ".repeat(depth);
    out.push_str(&format!("{margin}{BEGIN}\n{}{margin}{END}\n", block(entries, depth)));
    out.push_str(&lines.get(position.saturating_add(1)..).unwrap_or_default().concat());
    Ok(out)
}

/// Entries, one on each line: JSON is YAML, and needs no quoting of ours.
fn block(entries: &Map<String, Value>, depth: usize) -> String {
    let margin = " ".repeat(depth);
    entries.iter().map(|(key, entry)| format!("{margin}{}: {entry}\n", Value::from(key.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(hosts: &[&str], configs: &[&str]) -> Entries {
        let entry = |host: &&str| {
            let path = format!("mirror/{host}/$1");
            (host.to_string(), json!({"endpoint": ["https://site:5000"], "rewrite": {"^(.*)$": path}}))
        };
        let config = |host: &&str| (host.to_string(), json!({"tls": {"ca_file": "/etc/ca.pem"}}));
        Entries { mirrors: hosts.iter().map(entry).collect(), configs: configs.iter().map(config).collect() }
    }

    const THEIRS: &str = "# by hand\nmirrors:   # ours\n    \"docker.io\":\n        endpoint: ['https://cache:5000']  # old\nconfigs:\n    \"cache:5000\": {auth: {username: a, password: '1.10'}}\n";

    #[test]
    fn what_others_wrote_stays_to_the_byte_and_goes_back_when_ours_goes() {
        let wanted = entries(&["quay.io", "ghcr.io"], &["site:5000"]);
        let (text, foreign) = wanted.added(THEIRS).unwrap();
        assert!(foreign.is_empty());
        for line in THEIRS.lines() {
            assert!(text.contains(line), "{line}: {text}");
        }
        let read = parsed(&text).unwrap();
        assert_eq!(read["mirrors"].as_object().unwrap().len(), 3);
        assert_eq!(read["mirrors"]["quay.io"]["rewrite"]["^(.*)$"], "mirror/quay.io/$1");
        assert_eq!(read["configs"]["site:5000"]["tls"]["ca_file"], "/etc/ca.pem");
        assert_eq!(without_ours(&text).unwrap(), THEIRS);
        // A second version of a bundle needs other registries.
        let (again, _) = entries(&["quay.io"], &[]).added(&text).unwrap();
        assert_eq!(parsed(&again).unwrap()["mirrors"].as_object().unwrap().len(), 2);
        assert_eq!(wanted.added(&text).unwrap().0, text);
    }

    #[test]
    fn a_new_file_holds_ours_alone() {
        let (text, _) = entries(&["quay.io"], &["site:5000"]).added("").unwrap();
        assert_eq!(parsed(&text).unwrap().len(), 2);
        assert_eq!(without_ours(&text).unwrap(), "");
    }

    #[test]
    fn an_entry_of_somebody_else_stays_and_is_told() {
        let (text, foreign) = entries(&["docker.io", "quay.io"], &[]).added(THEIRS).unwrap();
        assert_eq!(foreign, ["docker.io"]);
        assert_eq!(parsed(&text).unwrap()["mirrors"]["docker.io"]["endpoint"][0], "https://cache:5000");
    }

    #[test]
    fn what_cannot_be_added_to_is_an_error() {
        for text in ["mirrors: {docker.io: {}}\n", "[]\n", "mirrors: [\n", &format!("{BEGIN}\n")] {
            assert!(entries(&["quay.io"], &[]).added(text).is_err(), "{text}");
        }
    }
}
