//! The list for the guard station: every file of a bundle and every member of the archives inside it, with its type
//! by content, its length, its SHA-256, and whether it is *active content*. From the bundle alone, in the one pass
//! that verifies it.
//!
//! Layers, charts and wheels are looked into, one level deep, as they pass by: memory does not grow with them. What
//! cannot be looked into is in the list with the reason. Nothing is written anywhere but the list, and for a wheel,
//! whose directory is at its end, a copy in the site's `scratch/` that is gone with the run.
//!
//! *Invariant:* the list has its name only once the whole bundle was verified.

mod list;
mod sniff;
mod tar;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::write::MultiGzDecoder;
use layout::reader::{Documents, Head, Sink};
use manifests::bundle::Content;
use manifests::inventory::{Component, Inventory};
use manifests::{ArchivePath, Digest, Hasher};

pub(crate) use list::{Counts, Form, List, Row};
use sniff::{Kind, PREFIX_BYTES};
use tar::{Member, Walk};

/// Of one archive so much is unpacked and so many members are listed, and no more.
const UNPACKED_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
const MEMBERS_MAX: u64 = 1_000_000;
/// So little is unpacked at a time that what comes of it fits into memory, whatever it is.
const PIECE_BYTES: usize = 4096;

/// What a blob is called by those who need it.
#[derive(Debug, Clone, Default)]
struct Names {
    components: Vec<String>,
    names: Vec<String>,
}

/// Looks at what passes by while a bundle is verified.
pub(crate) struct Reviewer {
    list: List,
    scratch: std::path::PathBuf,
    names: BTreeMap<Digest, Names>,
    /// What was signed for the files that are no blobs.
    signed: BTreeMap<String, Digest>,
    current: Option<Current>,
    failed: Option<io::Error>,
}

/// The file that is passing by.
struct Current {
    path: String,
    content: Content,
    prefix: Vec<u8>,
    inside: Inside,
}

/// What is done with its bytes.
enum Inside {
    /// Too little was seen of it.
    Unknown,
    /// Nothing: it is no archive.
    Plain,
    Tar(Walk),
    Gzip(Box<MultiGzDecoder<Walk>>),
    Zip(File),
    /// It could not be looked into to its end.
    Broken,
}

impl Reviewer {
    /// For a bundle whose signed lists are known. Its own documents come first.
    pub(crate) fn begin(
        list: List,
        scratch: &std::path::Path,
        head: &Head,
        documents: &Documents,
        inventory: &Inventory,
    ) -> Self {
        let (names, scratch) = (names(inventory), scratch.to_path_buf());
        let others = inventory.contents().filter(|(path, _)| !matches!(path, ArchivePath::Blob(_)));
        let signed = others.map(|(path, content)| (path.to_string(), content.digest)).collect();
        let mut reviewer = Self { list, scratch, names, signed, current: None, failed: None };
        reviewer.document("bundle.json", &head.manifest);
        for signature in &head.signatures {
            reviewer.document(&format!("signatures/{}.sig", signature.claimed), &signature.bytes);
        }
        reviewer.document("SHA256SUMS", &documents.checksums);
        reviewer.document("inventory.json", &documents.inventory);
        reviewer
    }

    /// The list, if all of it could be written.
    ///
    /// # Errors
    /// It could not.
    pub(crate) fn finish(self) -> io::Result<List> {
        self.failed.map_or(Ok(self.list), Err)
    }

    fn document(&mut self, path: &str, bytes: &[u8]) {
        let kind = sniff::kind(bytes.get(..PREFIX_BYTES).unwrap_or(bytes), path);
        let row = Row::of_file(path, kind, bytes.len() as u64, Some(Digest::of(bytes)));
        self.add(&row);
    }

    fn add(&mut self, row: &Row) {
        if self.failed.is_none() {
            self.failed = self.list.add(row).err();
        }
    }

    /// Says what the file is, once enough of it was seen, and begins to look into it.
    fn decide(&mut self, current: &mut Current) -> io::Result<()> {
        let names = self.names.get(&current.content.digest).cloned().unwrap_or_default();
        let name = names.names.first().map_or(current.path.as_str(), String::as_str);
        let mut kind = sniff::kind(&current.prefix, name);
        current.inside = match kind.word {
            "tar archive" => Inside::Tar(Walk::default()),
            "gzip" => Inside::Gzip(Box::new(MultiGzDecoder::new(Walk::default()))),
            "zip archive" => {
                let mut options = File::options();
                options.read(true).write(true).create(true).truncate(true);
                Inside::Zip(options.open(self.scratch.join("spool"))?)
            }
            _ => Inside::Plain,
        };
        if !matches!(current.inside, Inside::Plain) {
            // Its members are in the list.
            kind.active.retain(|word| *word != "archive");
        }
        let mut row = Row::of_file(&current.path, kind, current.content.size, Some(current.content.digest));
        row.belongs_to = names.components;
        row.names = names.names;
        self.add(&row);
        Ok(())
    }

    fn feed(&mut self, current: &mut Current, bytes: &[u8]) -> io::Result<()> {
        let fed = match &mut current.inside {
            Inside::Unknown | Inside::Plain | Inside::Broken => return Ok(()),
            Inside::Tar(walk) => walk.write_all(bytes),
            Inside::Gzip(decoder) => {
                let mut fed = Ok(());
                for piece in bytes.chunks(PIECE_BYTES) {
                    fed = decoder.write_all(piece);
                    let members = decoder.get_mut().take();
                    add_members(&mut self.list, &current.path, members)?;
                    if fed.is_err() {
                        break;
                    }
                }
                fed
            }
            Inside::Zip(file) => return file.write_all(bytes),
        };
        if let Inside::Tar(walk) = &mut current.inside {
            add_members(&mut self.list, &current.path, walk.take())?;
        }
        if let Err(error) = fed {
            self.give_up(current, &error.to_string());
        }
        Ok(())
    }

    fn give_up(&mut self, current: &mut Current, reason: &str) {
        current.inside = Inside::Broken;
        let row = Row::not_looked_into(&current.path, reason);
        self.add(&row);
    }

    fn close(&mut self, mut current: Current) -> io::Result<()> {
        if matches!(current.inside, Inside::Unknown) {
            self.decide(&mut current)?;
            let prefix = std::mem::take(&mut current.prefix);
            self.feed(&mut current, &prefix)?;
        }
        let ended = match std::mem::replace(&mut current.inside, Inside::Broken) {
            Inside::Unknown | Inside::Plain | Inside::Broken => Ok(()),
            Inside::Tar(walk) => walk.finish(),
            Inside::Gzip(decoder) => {
                let ended = decoder.finish().map_err(|error| error.to_string());
                ended.and_then(|mut walk| {
                    let members = walk.take();
                    add_members(&mut self.list, &current.path, members).map_err(|error| error.to_string())?;
                    walk.finish()
                })
            }
            Inside::Zip(file) => unzip(file, &current.path, &mut self.list),
        };
        if let Err(reason) = ended {
            self.give_up(&mut current, &reason);
        }
        Ok(())
    }
}

fn add_members(list: &mut List, path: &str, members: Vec<Member>) -> io::Result<()> {
    members.into_iter().try_for_each(|member| list.add(&Row::of_member(path, member)))
}

/// The members of a zip archive, each unpacked in passing.
fn unzip(mut file: File, path: &str, list: &mut List) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| manifests::text::printable(&error.to_string());
    file.seek(SeekFrom::Start(0)).map_err(|error| said(&error))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|error| said(&error))?;
    let mut left = UNPACKED_BYTES_MAX;
    for number in 0..archive.len() {
        let mut entry = archive.by_index(number).map_err(|error| said(&error))?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().map_err(|error| said(&error))?.into_owned();
        let mode = entry.unix_mode();
        let mut member = Member::new(name, mode.unwrap_or_default());
        let (mut hasher, mut prefix, mut buffer) = (Hasher::new(), Vec::new(), vec![0; 64 * 1024]);
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(said(&error)),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            let room = PREFIX_BYTES.saturating_sub(prefix.len());
            prefix.extend(bytes.iter().take(room));
            hasher.update(bytes);
            left = left.checked_sub(count as u64).ok_or("it unpacks to more than is looked at")?;
        }
        member.bytes = hasher.size();
        member.digest = Some(hasher.finish());
        // A link of Unix is a file whose content is where it leads.
        if mode.is_some_and(|mode| mode & 0o170_000 == 0o120_000) {
            member.link = Some(("symbolic link", String::from_utf8_lossy(&prefix).into_owned()));
        }
        member.prefix = prefix;
        list.add(&Row::of_member(path, member)).map_err(|error| said(&error))?;
    }
    Ok(())
}

impl Sink for Reviewer {
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()> {
        let path = path.to_string();
        // What a reader says of other files than blobs is their length.
        let digest = self.signed.get(&path).copied().unwrap_or(content.digest);
        let content = Content { digest, ..content };
        self.current = Some(Current { path, content, prefix: Vec::new(), inside: Inside::Unknown });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if matches!(current.inside, Inside::Unknown) {
            current.prefix.extend_from_slice(bytes);
            if current.prefix.len() >= PREFIX_BYTES {
                self.decide(&mut current)?;
                let prefix = std::mem::take(&mut current.prefix);
                self.feed(&mut current, &prefix)?;
            }
        } else {
            self.feed(&mut current, bytes)?;
        }
        self.current = Some(current);
        Ok(())
    }

    fn end(&mut self, _found: Content) -> io::Result<()> {
        self.current.take().map_or(Ok(()), |current| self.close(current))
    }
}

/// Who needs each blob, and what they call it.
fn names(inventory: &Inventory) -> BTreeMap<Digest, Names> {
    let mut all: BTreeMap<Digest, Names> = BTreeMap::new();
    for component in &inventory.components {
        let title = component.title();
        for (digest, _) in component.blobs() {
            let components = &mut all.entry(digest).or_default().components;
            if !components.contains(&title) {
                components.push(title.clone());
            }
        }
        for (name, digest) in named(component) {
            all.entry(digest).or_default().names.push(name);
        }
    }
    if let Some(sbom) = &inventory.sbom {
        for blob in sbom.blobs() {
            all.entry(blob.digest).or_default().components.push("the bill of materials".to_string());
        }
    }
    all
}

fn named(component: &Component) -> Vec<(String, Digest)> {
    match component {
        Component::Image(_) => Vec::new(),
        Component::Wheelhouse(wheelhouse) => {
            wheelhouse.wheels.iter().map(|wheel| (wheel.filename.to_string(), wheel.digest)).collect()
        }
        Component::Chart(chart) => {
            let archive = (format!("{}-{}.tgz", chart.name, chart.version), chart.archive.digest);
            let values = chart.values.iter().flat_map(|values| &values.files);
            let values = values.map(|file| (file.path.to_string(), file.digest));
            std::iter::once(archive).chain(values).collect()
        }
        Component::FileSet(set) => {
            set.files.iter().map(|file| (file.path.to_string(), file.digest)).collect()
        }
        Component::KubernetesManifests(set) => {
            set.files.iter().map(|file| (file.path.to_string(), file.digest)).collect()
        }
        Component::Script(script) => {
            script.files().into_iter().map(|file| (file.filename.to_string(), file.digest)).collect()
        }
    }
}

impl Row {
    fn of_file(path: &str, kind: Kind, bytes: u64, digest: Option<Digest>) -> Self {
        Self {
            path: path.to_string(),
            member: None,
            belongs_to: Vec::new(),
            names: Vec::new(),
            kind: kind.word,
            bytes,
            digest,
            mode: None,
            active: kind.active,
            note: String::new(),
        }
    }

    fn of_member(path: &str, member: Member) -> Self {
        let (kind, note) = match &member.link {
            Some((word, to)) => (Kind { word, active: vec![word] }, format!("leads to {to}")),
            None => (sniff::kind(&member.prefix, &member.name), String::new()),
        };
        let mut row = Self::of_file(path, kind, member.bytes, member.digest);
        let bits = [(0o4000, "set-uid"), (0o2000, "set-gid")];
        row.active.extend(bits.into_iter().filter(|(bit, _)| member.mode & bit != 0).map(|(_, word)| word));
        row.member = Some(member.name);
        row.mode = Some(member.mode & 0o7777);
        row.note = note;
        row
    }

    fn not_looked_into(path: &str, reason: &str) -> Self {
        let kind = Kind { word: "not looked into", active: vec!["archive"] };
        Self { note: format!("not looked into to its end: {reason}"), ..Self::of_file(path, kind, 0, None) }
    }
}
