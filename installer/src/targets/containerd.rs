//! containerd, and k3s with it: an image is imported while it is read from the site store, under its tag and
//! under its digest, and labelled so that the kubelet's garbage collector leaves it. Spoken through `ctr`,
//! which comes with containerd (`k3s ctr` with k3s).
//!
//! A name that somebody else has given is moved only where `site.yaml` says so. containerd forgets an image
//! with its last name, so what such a name stood for gets another one first, and keeps it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use edge::process::{Finished, Program};
use manifests::inventory::Image;
use manifests::{Descriptor, Digest};

use super::images::{self, ImageStream};
use super::{Context, TargetError};
use crate::plan::{Import, ImportName, OldName};
use crate::site::config::ContainerdTarget;

/// The labels by which the kubelet's garbage collector leaves an image alone, and by which containerd's part
/// for Kubernetes knows it.
pub const LABELS: [(&str, &str); 2] = [("io.cri-containerd.image", "managed"), (PINNED, "pinned")];
/// The one of them that holds.
const PINNED: &str = "io.cri-containerd.pinned";
/// Where what a name stood for is kept, by its digest.
const KEPT: &str = "airlock.invalid/kept";
/// A large image on a slow disk.
const IMPORT_TIME_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Where programs are looked for if nobody says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What containerd knows of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The manifest or index that it names.
    pub digest: Digest,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Record {
    fn is_kept_for_good(&self) -> bool {
        LABELS.iter().all(|(key, value)| self.labels.get(*key).is_some_and(|found| found == value))
    }
}

/// `ctr` for one containerd and namespace.
pub struct Ctr<'a> {
    program: &'a Path,
    address: &'a Path,
    namespace: &'a str,
    context: &'a Context<'a>,
}

impl<'a> Ctr<'a> {
    /// For a target of `site.yaml`.
    #[must_use]
    pub fn of(target: &'a ContainerdTarget, context: &'a Context<'a>) -> Self {
        let namespace = target.namespace.as_str();
        Self { program: target.ctr(), address: &target.address, namespace, context }
    }

    fn of_step(import: &'a Import, context: &'a Context<'a>) -> Self {
        let namespace = import.namespace.as_str();
        Self { program: &import.ctr, address: &import.address, namespace, context }
    }

    fn program(&self) -> Program {
        let mut program = Program::new(self.program, Path::new("/"));
        program.time_limit = TIME_LIMIT;
        // Of k3s it is a subcommand.
        if self.program.file_name().is_some_and(|name| name == "k3s") {
            program = program.arg("ctr");
        }
        let path = self.context.env.var("PATH").unwrap_or(PATH);
        program.var("PATH", path).arg("--address").arg(self.address).args(["--namespace", self.namespace])
    }

    fn checked(&self, program: &Program, doing: &str) -> Result<Finished, TargetError> {
        let finished = program.run(&*self.context.env.clock)?;
        if finished.succeeded() { Ok(finished) } else { Err(self.failed(doing, &finished)) }
    }

    /// What the program says; or that nobody is there, which may pass and which it says in many words.
    fn failed(&self, doing: &str, finished: &Finished) -> TargetError {
        if let Err(source) = UnixStream::connect(self.address) {
            return TargetError::Silent { address: self.address.to_path_buf(), source };
        }
        TargetError::Program {
            doing: doing.to_string(),
            code: finished.code.map_or("none: a signal ended it".to_string(), |code| code.to_string()),
            last_words: finished.last_words(),
        }
    }

    /// The version of containerd itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn version(&self) -> Result<String, TargetError> {
        let finished = self.checked(&self.program().arg("version"), "asking containerd for its version")?;
        let server = finished.stdout.split("Server:").nth(1).unwrap_or_default();
        let version = server.lines().find_map(|line| line.trim().strip_prefix("Version:"));
        Ok(manifests::text::printable(version.unwrap_or("of an unknown version").trim()))
    }

    /// Whether its namespace is there already.
    ///
    /// # Errors
    /// It does not answer.
    pub fn has_namespace(&self) -> Result<bool, TargetError> {
        let program = self.program().args(["namespaces", "ls", "--quiet"]);
        let finished = self.checked(&program, "asking containerd for its namespaces")?;
        Ok(finished.stdout.lines().any(|line| line.trim() == self.namespace))
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// containerd.
    pub fn record(&self, name: &str) -> Result<Option<Record>, TargetError> {
        let filter = format!("name==\"{name}\"");
        let program = self.program().args(["images", "ls", &filter]);
        let finished = self.checked(&program, "asking containerd for an image")?;
        Ok(listed(&finished.stdout).remove(name))
    }

    /// Every name of an image.
    fn names_of(&self, digest: &Digest) -> Result<Vec<String>, TargetError> {
        let filter = format!("target.digest==\"{digest}\"");
        let program = self.program().args(["images", "ls", "--quiet", &filter]);
        let finished = self.checked(&program, "asking containerd for the names of an image")?;
        Ok(finished
            .stdout
            .lines()
            .map(|line| line.trim().to_string())
            .filter(|name| !name.is_empty())
            .collect())
    }

    fn import(&self, root: &Descriptor, names: &[&str]) -> Result<(), TargetError> {
        let store = self.context.site.store();
        let stream = ImageStream::layout(root, names, &store)?;
        let mut program = self.program().args(["images", "import", "--all-platforms", "--no-unpack", "-"]);
        program.time_limit = IMPORT_TIME_LIMIT;
        let (finished, fed) = program.run_fed(&*self.context.env.clock, |out| stream.write(&store, out))?;
        let doing = "ctr images import";
        match fed {
            // The program then saw an archive without an end, and says only that.
            Err(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                Err(TargetError::Io { doing: "cannot read", path: store.root().to_path_buf(), source })
            }
            _ if !finished.succeeded() => Err(self.failed(doing, &finished)),
            Ok(()) => Ok(()),
            Err(source) => {
                Err(TargetError::Io { doing: "cannot write to", path: self.address.into(), source })
            }
        }
    }

    /// Sets labels; an empty value takes one away.
    fn label(&self, name: &str, labels: &[(&str, &str)]) -> Result<(), TargetError> {
        if labels.is_empty() {
            return Ok(());
        }
        let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
        let program = self.program().args(["images", "label", name]).args(labels);
        self.checked(&program, "ctr images label").map(|_| ())
    }

    fn tag(&self, from: &str, to: &str) -> Result<(), TargetError> {
        let program = self.program().args(["images", "tag", "--force", from, to]);
        self.checked(&program, "ctr images tag").map(|_| ())
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let program = self.program().args(["images", "rm", name]);
        match self.checked(&program, "ctr images rm") {
            Err(_) if self.record(name)?.is_none() => Ok(()),
            removed => removed.map(|_| ()),
        }
    }
}

/// What `ctr images ls` prints: a heading, then one line for each name, its labels last.
fn listed(text: &str) -> BTreeMap<String, Record> {
    let record = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, _, digest, .., labels] = words.as_slice() else { return None };
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Some((name.to_string(), Record { digest: digest.parse().ok()?, labels }))
    };
    text.lines().skip(1).filter_map(record).collect()
}

/// The names that an image gets: by its tag, and by its digest, which is how a pinned reference asks for it.
#[must_use]
pub fn names(image: &Image) -> Vec<String> {
    let repository = image.name.repository();
    let tag = image.name.tag().map(|tag| format!("{repository}:{tag}"));
    tag.into_iter().chain([format!("{repository}@{}", image.manifest.digest)]).collect()
}

/// The step for an image, with what its names stand for now. Tells whether it is in place already.
///
/// # Errors
/// containerd.
pub fn look(
    image: &Image,
    target: &ContainerdTarget,
    context: &Context<'_>,
) -> Result<(bool, Import), TargetError> {
    let ctr = Ctr::of(target, context);
    let mut import = Import {
        title: format!("image {}", image.name),
        ctr: target.ctr().to_path_buf(),
        address: target.address.clone(),
        namespace: target.namespace.clone(),
        manifest: image.manifest.clone(),
        names: Vec::new(),
        beside: ctr.names_of(&image.manifest.digest)?,
        released: None,
    };
    let mut in_place = true;
    for name in names(image) {
        let record = ctr.record(&name)?;
        if let Some(old) = record.as_ref().filter(|old| old.digest != import.manifest.digest) {
            let by_digest = format!("{}@{}", image.name.repository(), old.digest);
            let pinned = ctr.record(&by_digest)?.is_some_and(|record| record.is_kept_for_good());
            import.released =
                (pinned && images::is_ours(&old.digest, &context.site.store())).then_some(by_digest);
        }
        in_place &= record.as_ref().is_some_and(|record| is_in_place(record, &import.manifest.digest));
        let old = record.map(|record| OldName { digest: record.digest, labels: record.labels });
        import.names.push(ImportName { name, old });
    }
    Ok((in_place, import))
}

fn is_in_place(record: &Record, digest: &Digest) -> bool {
    record.digest == *digest && record.is_kept_for_good()
}

/// Whether every name stands for the image, and is labelled.
///
/// # Errors
/// containerd.
pub fn is_new(import: &Import, context: &Context<'_>) -> Result<bool, TargetError> {
    let ctr = Ctr::of_step(import, context);
    for name in &import.names {
        let record = ctr.record(&name.name)?;
        if !record.is_some_and(|record| is_in_place(&record, &import.manifest.digest)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether one of its names still stands for it.
///
/// # Errors
/// containerd.
pub fn is_left(import: &Import, context: &Context<'_>) -> Result<bool, TargetError> {
    let ctr = Ctr::of_step(import, context);
    for name in &import.names {
        if ctr.record(&name.name)?.is_some_and(|record| record.digest == import.manifest.digest) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name under which what a name stood for is kept.
fn kept(digest: &Digest) -> String {
    format!("{KEPT}:{}", digest.hex())
}

/// Imports the image under its names, and labels them.
///
/// # Errors
/// containerd, the store, or a name that was moved since the plan was made.
pub fn perform(import: &Import, context: &Context<'_>) -> Result<(), TargetError> {
    let (ctr, store) = (Ctr::of_step(import, context), context.site.store());
    for ImportName { name, old } in &import.names {
        let now = ctr.record(name)?.map(|record| record.digest);
        if now != Some(import.manifest.digest) && now != old.as_ref().map(|old| old.digest) {
            return Err(TargetError::Moved { name: name.clone() });
        }
        if let Some(now) = now.filter(|now| *now != import.manifest.digest && !images::is_ours(now, &store)) {
            ctr.tag(name, &kept(&now))?;
        }
    }
    let names: Vec<&str> = import.names.iter().map(|name| name.name.as_str()).collect();
    ctr.import(&import.manifest, &names)?;
    names.iter().try_for_each(|name| ctr.label(name, &LABELS))?;
    match &import.released {
        Some(released) if ctr.record(released)?.is_some() => ctr.label(released, &[(PINNED, "")]),
        _ => Ok(()),
    }
}

/// Makes each name stand for what it stood for before, with the labels that it had, or takes it away.
///
/// # Errors
/// containerd, or the store.
pub fn undo(import: &Import, context: &Context<'_>) -> Result<(), TargetError> {
    let ctr = Ctr::of_step(import, context);
    if let Some(released) = &import.released
        && ctr.record(released)?.is_some()
    {
        ctr.label(released, &LABELS)?;
    }
    for name in &import.names {
        let Some(now) = ctr.record(&name.name)? else { continue };
        // Not moved yet, or moved on by somebody else: either way not ours to change.
        if now.digest == import.manifest.digest {
            take_back(name, &now, &ctr)?;
        }
    }
    // containerd's part for Kubernetes gives each image one more name, by its configuration's digest.
    let left = ctr.names_of(&import.manifest.digest)?;
    let own = |name: &&String| name.starts_with("sha256:") && !import.beside.contains(name);
    if left.iter().all(|name| own(&name)) {
        left.iter().try_for_each(|name| ctr.remove(name))?;
    }
    Ok(())
}

fn take_back(name: &ImportName, now: &Record, ctr: &Ctr<'_>) -> Result<(), TargetError> {
    let Some(old) = &name.old else { return ctr.remove(&name.name) };
    if old.digest != now.digest {
        restore(&name.name, old, ctr)?;
    }
    let now = ctr.record(&name.name)?.map(|record| record.labels).unwrap_or_default();
    let surplus = now.keys().filter(|key| !old.labels.contains_key(*key)).map(|key| (key.as_str(), ""));
    let lacking = old.labels.iter().filter(|(key, value)| now.get(*key) != Some(value));
    let labels = surplus.chain(lacking.map(|(key, value)| (key.as_str(), value.as_str())));
    ctr.label(&name.name, &labels.collect::<Vec<_>>())
}

/// From the name under which it was kept, or from the site store.
fn restore(name: &str, old: &OldName, ctr: &Ctr<'_>) -> Result<(), TargetError> {
    let kept = kept(&old.digest);
    if ctr.record(&kept)?.is_some_and(|record| record.digest == old.digest) {
        ctr.tag(&kept, name)?;
        return ctr.remove(&kept);
    }
    let descriptor = images::of_store(&old.digest, &ctr.context.site.store())?;
    ctr.import(&descriptor, &[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_images_is_read_by_its_columns() {
        let digest = Digest::of(b"x");
        let text = format!(
            "REF TYPE DIGEST SIZE PLATFORMS LABELS \n\
             r.example.com/a:1 application/vnd.oci.image.manifest.v1+json {digest} 1011.0 B linux/amd64 -      \n\
             r.example.com/b:1 application/vnd.oci.image.index.v1+json {digest} 2.1 MiB linux/amd64,linux/arm64 a=b,io.cri-containerd.pinned=pinned \n\
             not-an-image\n"
        );
        let found = listed(&text);
        assert_eq!(found.len(), 2);
        assert_eq!(found["r.example.com/a:1"], Record { digest, labels: BTreeMap::new() });
        assert_eq!(found["r.example.com/b:1"].labels["io.cri-containerd.pinned"], "pinned");
        assert!(!found["r.example.com/b:1"].is_kept_for_good());
        assert!(listed("REF TYPE DIGEST SIZE PLATFORMS LABELS \n").is_empty());
    }
}
