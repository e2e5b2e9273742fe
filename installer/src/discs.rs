//! A bundle on several discs: each is opened by its own signed documents, and its parts are read in whatever
//! order they come. What is read is checked as `crates/layout/src/parts.rs` does it; what is kept meanwhile is
//! in `incoming.rs`.
//!
//! The order of checks of `docs/format.md` §6 holds for each disc: its signatures first, over its own
//! `bundle.json`, then what depends on the site, then its lists, and only then its part. No file is open while
//! somebody is asked for another disc.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use edge::progress::Progress;
use layout::disc::{self, Disc, Named, PartFile};
use layout::map::{Placed, Ranges};
use layout::parts::{Assembly, Expected, Keep};
use layout::reader::{Documents, Head};
use manifests::bundle::{BundleDigest, Content};
use manifests::parts;
use manifests::root::SignatureVerdict;
use manifests::verify::{AcceptedManifest, Contents, SignedManifest};
use manifests::{BundleManifest, PartsList, Trust, VerifiedBundle};

use crate::admit::{self, AdmitError, Gate};
use crate::incoming::{self, Incoming};
use crate::left_out;
use crate::patches::{self, Broken, Proving, Unmade};
use crate::site::Site;
use crate::site::config::SiteConfig;

/// What the command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// One archive.
    Archive(PathBuf),
    /// Places where discs are, or will be.
    Discs(Vec<PathBuf>),
}

impl Given {
    /// Looks what these paths are.
    ///
    /// # Errors
    /// Several archives, or archives and discs; a directory that cannot be listed.
    pub fn look(paths: Vec<PathBuf>) -> Result<Self, AdmitError> {
        let mut archive = None;
        for path in &paths {
            if let Named::Archive(path) = disc::look(path)? {
                archive = Some(path);
            }
        }
        match archive {
            None => Ok(Self::Discs(paths)),
            Some(path) if paths.len() == 1 => Ok(Self::Archive(path)),
            Some(_) => Err(AdmitError::Several),
        }
    }

    /// What it is called in the log and in messages.
    #[must_use]
    pub fn title(&self) -> PathBuf {
        match self {
            Self::Archive(path) => path.clone(),
            Self::Discs(paths) => {
                let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                names.join(", ").into()
            }
        }
    }

    /// How many bytes there are to read, as far as one can see without reading anything: for a progress bar.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Archive(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Self::Discs(paths) => discs_at(paths).unwrap_or_default().iter().map(Disc::bytes).sum(),
        }
    }
}

/// Somebody who can put another disc in.
pub trait Changer {
    /// Tells them something.
    fn say(&self, text: &str);
    /// Asks for another disc; whether somebody says that it is there.
    fn change(&self, wanted: &str) -> bool;
    /// Whether anybody is there to be asked.
    fn is_there(&self) -> bool;
}

/// Nobody.
pub struct Nobody;

impl Changer for Nobody {
    fn say(&self, _text: &str) {}
    fn change(&self, _wanted: &str) -> bool {
        false
    }
    fn is_there(&self) -> bool {
        false
    }
}

/// What a look at some of the discs has shown: nothing about the bundle as a whole.
#[derive(Debug)]
pub struct SomeParts {
    /// The signed document, which this site may use.
    pub accepted: AcceptedManifest,
    /// The parts that are whole, ascending.
    pub whole: Vec<usize>,
    /// How many parts the bundle has.
    pub count: usize,
    /// Bytes at the edges of these parts that only `parts.json` speaks for.
    pub edges: u64,
}

impl SomeParts {
    /// The signed document.
    #[must_use]
    pub fn manifest(&self) -> &BundleManifest {
        self.accepted.signed().manifest()
    }

    /// The bundle's identity.
    #[must_use]
    pub fn digest(&self) -> BundleDigest {
        self.accepted.signed().digest()
    }

    /// What became of each signature.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureVerdict] {
        self.accepted.signed().signatures()
    }

    /// Why this is not enough for more.
    #[must_use]
    pub fn missing(&self) -> AdmitError {
        let (manifest, count) = (self.manifest(), self.count);
        let title = format!("{} {}", manifest.product, manifest.version);
        let missing = self.others().iter().map(|number| called(manifest, *number, count)).collect();
        AdmitError::Missing { title, missing, kept: false }
    }

    /// The parts that nobody looked at.
    #[must_use]
    pub fn others(&self) -> Vec<usize> {
        (1..=self.count).filter(|number| !self.whole.contains(number)).collect()
    }
}

/// How a look at discs ended.
#[derive(Debug)]
pub enum Looked {
    /// All parts were there, and every byte is right.
    Whole(Box<VerifiedBundle>),
    /// Only some were there.
    Some(Box<SomeParts>),
}

/// The documents of one disc, checked.
struct Opened {
    accepted: AcceptedManifest,
    head: Head,
    documents: Documents,
    contents: Contents,
    expected: Expected,
    list: PartsList,
}

/// The first six checks, on one disc.
fn open(site: &Site, config: &SiteConfig, trust: &Trust, disc: &Disc) -> Result<Opened, AdmitError> {
    let path = || disc.dir().to_path_buf();
    let found = disc.signed()?;
    let signed = SignedManifest::authenticate(trust, &found.manifest, &found.signatures);
    let signed = signed.map_err(|source| AdmitError::Refused { path: path(), source })?;
    let standing = admit::standing(site, config, signed.manifest())?;
    let accepted = signed.accept(&standing).map_err(|source| AdmitError::Refused { path: path(), source })?;
    let documents = Documents { checksums: disc.checksums()?, inventory: disc.inventory()? };
    let lists = |damage| AdmitError::Lists { path: path(), damage };
    let (manifest, digest) = (accepted.signed().manifest(), accepted.signed().digest());
    let contents = Contents::agree(manifest, digest, &documents.checksums, &documents.inventory);
    let contents = contents.map_err(lists)?;
    let (checksums, inventory) = (&documents.checksums, &documents.inventory);
    let expected =
        Expected::new(&found.manifest, manifest, &found.signatures, checksums, inventory, &contents);
    let expected = expected.map_err(lists)?;
    let list = disc.parts_list()?;
    if !expected.fits(&list) {
        return Err(AdmitError::List { path: path() });
    }
    let head = Head {
        manifest: found.manifest,
        signatures: found.signatures,
        reserved_offset: 0,
        reserved_bytes: 0,
    };
    Ok(Opened { accepted, head, documents, contents, expected, list })
}

/// A set whose discs come one after the other.
struct Session<'a> {
    site: &'a Site,
    config: &'a SiteConfig,
    trust: Trust,
    places: &'a [PathBuf],
    accepted: AcceptedManifest,
    head: Head,
    documents: Documents,
    list: PartsList,
    assembly: Assembly,
    /// The signed lists, for what a delta leaves out.
    left_out: Contents,
    /// The ranges of the archive that were read, whole.
    done: Ranges,
    /// What is wrong with the parts that were not whole when they were last read.
    bad: BTreeMap<usize, Vec<String>>,
    /// The parts that were whole when they were read in this run.
    whole: BTreeSet<usize>,
    /// The discs that were looked at, whatever became of them.
    discs: BTreeSet<PathBuf>,
    edges: u64,
}

/// Finds the first disc, waiting for it if somebody can put it in.
fn first(
    site: &Site,
    config: &SiteConfig,
    places: &[PathBuf],
    changer: &dyn Changer,
) -> Result<(Trust, Opened), AdmitError> {
    let trust = site.trust()?;
    loop {
        let error = match discs_at(places)?.first() {
            Some(disc) => match open(site, config, &trust, disc) {
                Ok(opened) => return Ok((trust, opened)),
                Err(error) => error,
            },
            None => AdmitError::NoDisc { paths: places.to_vec() },
        };
        if !changer.is_there() {
            return Err(error);
        }
        changer.say(&format!("error: {}", admit::message(&error)));
        if !changer.change("put in a disc of the bundle, then press Enter (Ctrl-D ends)") {
            return Err(error);
        }
    }
}

/// The discs at these places.
///
/// # Errors
/// A directory cannot be listed.
pub(crate) fn discs_at(places: &[PathBuf]) -> Result<Vec<Disc>, AdmitError> {
    let mut found = Vec::new();
    for place in places {
        match disc::look(place)? {
            Named::Discs(discs) => found.extend(discs),
            // A drive whose directory is a file now is a drive without a disc of ours.
            Named::Archive(_) => {}
        }
    }
    Ok(found)
}

impl<'a> Session<'a> {
    fn begin(
        site: &'a Site,
        config: &'a SiteConfig,
        places: &'a [PathBuf],
        changer: &dyn Changer,
    ) -> Result<Self, AdmitError> {
        let (trust, opened) = first(site, config, places, changer)?;
        let Opened { accepted, head, documents, contents, expected, list } = opened;
        left_out::look(site, accepted.signed().manifest(), &contents)?;
        let left_out = contents.clone();
        let assembly = Assembly::new(expected, contents);
        Ok(Self {
            site,
            config,
            trust,
            places,
            accepted,
            head,
            documents,
            list,
            assembly,
            left_out,
            done: Ranges::default(),
            bad: BTreeMap::new(),
            whole: BTreeSet::new(),
            discs: BTreeSet::new(),
            edges: 0,
        })
    }

    /// What a delta leaves out, read in the site store.
    fn read_left_out(&self, progress: &mut dyn Progress) -> Result<left_out::Read, AdmitError> {
        left_out::read(self.site, self.accepted.signed().manifest(), &self.left_out, progress)
    }

    /// Every part was read.
    fn finish(self, left_out: left_out::Read, made: Vec<Content>) -> Result<VerifiedBundle, AdmitError> {
        let checked = self.assembly.finish().map_err(|damage| AdmitError::Whole { damage })?;
        VerifiedBundle::new(self.accepted, left_out.complete(checked, made)?).map_err(AdmitError::Mixed)
    }

    /// A patch that does not make its blob; the discs are as they were signed.
    fn broken(&self, broken: Broken) -> AdmitError {
        AdmitError::Patch { path: self.places.first().cloned().unwrap_or_default(), broken }
    }

    /// Every part was read and kept: makes what comes as patches.
    fn make_patched(
        &self,
        incoming: &Incoming<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Content>, AdmitError> {
        patches::make(&self.site.store(), &self.left_out, incoming, progress).map_err(|error| match error {
            Unmade::Broken(broken) => self.broken(broken),
            Unmade::Store(error) => AdmitError::Store(error),
        })
    }

    /// The parts of every disc that is in now and belongs to the set, by number.
    fn scan(&mut self, changer: &dyn Changer) -> Result<Vec<PartFile>, AdmitError> {
        let mut found = Vec::new();
        let mut troubles = Vec::new();
        for disc in discs_at(self.places)? {
            self.discs.insert(disc.dir().to_path_buf());
            match self.parts_of(&disc) {
                Ok(parts) => found.extend(parts),
                Err(error) => troubles.push(error),
            }
        }
        for trouble in troubles {
            if !changer.is_there() {
                return Err(trouble);
            }
            changer.say(&format!("error: {}", admit::message(&trouble)));
        }
        found.sort_by_key(|part| part.number);
        Ok(found)
    }

    fn parts_of(&self, disc: &Disc) -> Result<Vec<PartFile>, AdmitError> {
        let path = disc.dir().to_path_buf();
        let opened = open(self.site, self.config, &self.trust, disc)?;
        let other = opened.accepted.signed();
        if other.digest() != self.accepted.signed().digest() {
            let manifest = other.manifest();
            let title = format!("{} {}", manifest.product, manifest.version);
            return Err(AdmitError::OtherBundle { path, title, bundle: other.digest() });
        }
        if opened.list != self.list {
            return Err(AdmitError::OtherSplit { path });
        }
        Ok(disc.parts(&self.list)?)
    }

    fn is_needed(&self, number: usize) -> bool {
        self.list.range(number).is_some_and(|range| !self.done.covers(&range))
    }

    /// Everything that has to be read yet.
    fn missing(&self) -> Vec<usize> {
        self.list.ranges().map(|(number, _)| number).filter(|number| self.is_needed(*number)).collect()
    }

    /// The parts that nobody has seen whole. Those that were are needed once more only for the piece at their
    /// start, which can wait.
    fn unseen(&self) -> Vec<usize> {
        self.missing().into_iter().filter(|number| !self.whole.contains(number)).collect()
    }

    /// Reads one part; whether it is whole. What is wrong with it is kept for the end.
    fn read(
        &mut self,
        part: &PartFile,
        keep: &mut dyn Keep,
        progress: &mut dyn Progress,
        changer: &dyn Changer,
    ) -> Result<bool, AdmitError> {
        let number = part.number;
        if let Some(content) = self.list.part(number) {
            progress.part(&format!("part {number} of {}", self.list.count()), content.size);
        }
        let mut passed = |count| progress.advance(count);
        let verdict = match disc::open_part(part) {
            Ok(opened) => self.assembly.read_part(opened, &self.list, number, &self.done, keep, &mut passed),
            Err(error) => {
                let lines = vec![format!("part {number}: {}", admit::with_causes(&error))];
                self.blame(number, part, lines, changer);
                return Ok(false);
            }
        };
        let verdict = verdict.map_err(AdmitError::Store)?;
        if !verdict.is_whole() {
            self.blame(number, part, verdict.lines(number), changer);
            return Ok(false);
        }
        self.bad.remove(&number);
        if let Some(range) = self.list.range(number) {
            self.done.add(range);
        }
        if let Some(open) = verdict.open {
            self.done.remove(&open);
        }
        if self.whole.insert(number) {
            self.edges = self.edges.saturating_add(verdict.edges);
        }
        Ok(true)
    }

    fn blame(&mut self, number: usize, part: &PartFile, lines: Vec<String>, changer: &dyn Changer) {
        let file = part.path.display();
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{file}: {line}")).collect();
        for line in &lines {
            changer.say(&format!("error: {line}"));
        }
        self.bad.insert(number, lines);
    }

    /// A blob that goes over several parts is not what was signed, though each of them is as `parts.json` says.
    fn blame_joined(&mut self, bad: &[Placed]) {
        for placed in bad {
            let what = self.assembly.name(placed);
            for (number, range) in self.list.ranges() {
                if range.start < placed.range.end && placed.range.start < range.end {
                    let line =
                        format!("part {number}: {what}: the parts that it lies on do not fit together");
                    self.bad.entry(number).or_default().push(line);
                }
            }
        }
    }

    /// What the person at the drive is asked for.
    fn wanted(&self) -> String {
        let (manifest, count) = (self.accepted.signed().manifest(), self.list.count());
        let (missing, unseen) = (self.missing(), self.unseen());
        let (wanted, once_more) =
            if unseen.is_empty() { (missing, "once more, for the beginning of it, ") } else { (unseen, "") };
        let Some((first, others)) = wanted.split_first() else { return String::new() };
        let volume = parts::volume_id(manifest, *first, count);
        let others = match others {
            [] => String::new(),
            others => format!(", or any of {}", numbers(others)),
        };
        let label = parts::label(manifest, *first, count);
        format!("put in {once_more}{label} ({volume}){others}, then press Enter (Ctrl-D ends)")
    }

    /// Asks for another disc; whether somebody says that it is there.
    fn change(&self, changer: &dyn Changer) -> bool {
        changer.is_there() && changer.change(&self.wanted())
    }

    /// Why not all parts are whole.
    fn incomplete(&self, kept: bool) -> AdmitError {
        let (manifest, count) = (self.accepted.signed().manifest(), self.list.count());
        if !self.bad.is_empty() {
            let lines = self.bad.values().flatten().cloned().collect();
            return AdmitError::Parts { lines, parts: self.bad.keys().copied().collect(), kept };
        }
        let (missing, unseen) = (self.missing(), self.unseen());
        let missing = if unseen.is_empty() { missing } else { unseen };
        let missing = missing.iter().map(|number| called(manifest, *number, count)).collect();
        AdmitError::Missing { title: format!("{} {}", manifest.product, manifest.version), missing, kept }
    }
}

/// `part 2 of 4 (DEMO_1_0_002_OF_004)`
fn called(manifest: &BundleManifest, number: usize, count: usize) -> String {
    format!("part {number} of {count} ({})", parts::volume_id(manifest, number, count))
}

/// `1, 3, 4`
#[must_use]
pub fn numbers(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What `inspect` needs, from any one disc: signatures, site and lists checked, no part read.
///
/// # Errors
/// See [`AdmitError`].
pub fn inspect(
    site: &Site,
    config: &SiteConfig,
    places: &[PathBuf],
) -> Result<(AcceptedManifest, Contents), AdmitError> {
    let (_, opened) = first(site, config, places, &Nobody)?;
    Ok((opened.accepted, opened.contents))
}

/// Checks the signatures alone, of the first disc, and finds the file of each part, in order.
///
/// # Errors
/// See [`AdmitError`]; among others, not all parts are there.
pub fn authenticate(trust: &Trust, places: &[PathBuf]) -> Result<(SignedManifest, Vec<PathBuf>), AdmitError> {
    let discs = discs_at(places)?;
    let disc = discs.first().ok_or_else(|| AdmitError::NoDisc { paths: places.to_vec() })?;
    let found = disc.signed()?;
    let signed = SignedManifest::authenticate(trust, &found.manifest, &found.signatures)
        .map_err(|source| AdmitError::Refused { path: disc.dir().to_path_buf(), source })?;
    let list = disc.parts_list()?;
    let mut files = BTreeMap::new();
    for disc in discs {
        files.extend(disc.parts(&list)?.into_iter().map(|part| (part.number, part.path)));
    }
    let manifest = signed.manifest();
    let gone = list.ranges().map(|(number, _)| number).filter(|number| !files.contains_key(number));
    let missing: Vec<String> = gone.map(|number| called(manifest, number, list.count())).collect();
    if !missing.is_empty() {
        let title = format!("{} {}", manifest.product, manifest.version);
        return Err(AdmitError::Missing { title, missing, kept: false });
    }
    Ok((signed, files.into_values().collect()))
}

/// Checks every disc that is there or is put in, and keeps nothing. A single disc gets a verdict of its own;
/// so do those that were looked at when somebody says that there are no more.
///
/// # Errors
/// See [`AdmitError`].
pub fn verify(
    site: &Site,
    config: &SiteConfig,
    places: &[PathBuf],
    changer: &dyn Changer,
    progress: &mut dyn Progress,
) -> Result<Looked, AdmitError> {
    let mut session = Session::begin(site, config, places, changer)?;
    progress.total(session.list.total());
    let mut proving = Proving::new(site.store(), &session.left_out);
    loop {
        for part in session.scan(changer)? {
            if session.is_needed(part.number) {
                session.read(&part, &mut proving, progress, changer)?;
            }
            if let Some(broken) = proving.take_broken() {
                return Err(session.broken(broken));
            }
        }
        if session.missing().is_empty() {
            let left_out = session.read_left_out(progress)?;
            let made = proving.made().map_err(|what| AdmitError::OutOfTurn { what })?;
            return session.finish(left_out, made).map(|bundle| Looked::Whole(Box::new(bundle)));
        }
        if !session.change(changer) {
            break;
        }
    }
    // Several discs were meant to be all of them.
    let alone = session.discs.len() == 1 || changer.is_there();
    if !session.bad.is_empty() || !alone || session.whole.is_empty() {
        return Err(session.incomplete(false));
    }
    Ok(Looked::Some(Box::new(SomeParts {
        count: session.list.count(),
        whole: session.whole.into_iter().collect(),
        edges: session.edges,
        accepted: session.accepted,
    })))
}

/// Checks every disc while copying what the store lacks, and makes it visible once every check has passed.
/// What was read is kept until then, also over a failure: the next run asks only for the parts that are missing.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit(
    site: &Site,
    config: &SiteConfig,
    places: &[PathBuf],
    changer: &dyn Changer,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    admit_through(site, config, places, changer, &|_, _| Ok(()), progress)
}

/// The same, if the gate lets it in.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit_through(
    site: &Site,
    config: &SiteConfig,
    places: &[PathBuf],
    changer: &dyn Changer,
    gate: &Gate<'_>,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    let mut session = Session::begin(site, config, places, changer)?;
    progress.total(session.list.total());
    // Discs of different bundles are noticed before anything is written.
    let found = session.scan(changer)?;
    let left_out = session.read_left_out(progress)?;
    let store = site.store();
    let opened = Incoming::open(&store, session.accepted.signed().digest());
    let mut incoming = opened.map_err(AdmitError::Store)?;
    if let Err(error) = load(&mut session, found, &mut incoming, changer, gate, progress) {
        if !incoming.is_noted() {
            // Worth nothing to a later run; if it cannot be removed, the next one does it.
            let _ = incoming::forget(&store);
        }
        return Err(error);
    }
    let made = session.make_patched(&incoming, progress)?;
    let blobs: Vec<Content> = session.assembly.tally().inventory().blobs.clone();
    let (head, documents) = (session.head.clone(), session.documents.clone());
    let bundle = session.finish(left_out, made)?;
    incoming.release(&blobs).map_err(AdmitError::Store)?;
    site.keep_evidence(&head, &documents)?;
    incoming.dismiss().map_err(AdmitError::Store)?;
    Ok(bundle)
}

/// Until every part was read.
fn load(
    session: &mut Session<'_>,
    mut found: Vec<PartFile>,
    incoming: &mut Incoming<'_>,
    changer: &dyn Changer,
    gate: &Gate<'_>,
    progress: &mut dyn Progress,
) -> Result<(), AdmitError> {
    session.done = incoming.resume(&mut session.assembly, progress).map_err(AdmitError::Store)?;
    let inventory = session.assembly.tally().inventory();
    gate(session.accepted.signed().digest(), inventory)?;
    let here = |content: &Content| incoming.has_bytes(content);
    admit::check_space(&session.site.store(), inventory, inventory.patches(), here)?;
    loop {
        for part in found {
            if !session.is_needed(part.number) || !session.read(&part, incoming, progress, changer)? {
                continue;
            }
            // A piece without its beginning lies in its place: the whole blob is hashed when all of it is there.
            session.done.add(session.list.range(part.number).unwrap_or_default());
            let bad = incoming.note(&mut session.assembly, &mut session.done, progress);
            session.blame_joined(&bad.map_err(AdmitError::Store)?);
        }
        if session.missing().is_empty() {
            return Ok(());
        }
        if !session.change(changer) {
            return Err(session.incomplete(incoming.is_noted()));
        }
        found = session.scan(changer)?;
    }
}
