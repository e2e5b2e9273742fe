//! What somebody far away needs to understand why a site does not work, in files that a security officer can
//! release line by line (docs/adr/0030-diagnose.md). One file for each area; [`redact`] decides what goes in, and
//! [`archive`] puts them behind a table of contents.
//!
//! *It never* sends anything, changes anything, or fails because something cannot be looked at: that is when it is
//! needed. What could not be looked at is written down instead. *No value* goes in that is not of an allow-list.

pub mod archive;
mod audit_log;
mod configuration;
mod findings;
mod journals;
mod kubernetes;
mod redact;
mod resources;
mod status;
mod targets;
mod versions;

use std::collections::BTreeMap;

use edge::{Classified, Env, Exit};
use manifests::Digest;
use manifests::inventory::{Component, Inventory};
use registry::Http;
use serde::Serialize;

use crate::apply::chain;
use crate::journal::{self, Found};
use crate::plan::Step;
use crate::site::Site;
use crate::site::config::SiteConfig;
use crate::site::ledger::Ledger;
use crate::targets::Context;

use redact::Redactor;

/// One file of the archive is never larger.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// An area: what can be left out by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Of this program, the system and its tools.
    Versions,
    /// What is not as it should be.
    Findings,
    /// What the site runs.
    Status,
    /// `site.yaml`.
    Configuration,
    /// Disk and memory.
    Resources,
    /// What was put in place, and whether it is there.
    Targets,
    /// The journals of applies.
    Journals,
    /// The end of the audit log.
    AuditLog,
    /// Events of the bundles' namespaces.
    Events,
    /// Pods of the bundles' namespaces.
    Pods,
    /// What their containers have said.
    PodLogs,
}

impl Section {
    /// All of them, in the order of the archive.
    pub const ALL: [Self; 11] = [
        Self::Versions,
        Self::Findings,
        Self::Status,
        Self::Configuration,
        Self::Resources,
        Self::Targets,
        Self::Journals,
        Self::AuditLog,
        Self::Events,
        Self::Pods,
        Self::PodLogs,
    ];

    /// The word for it.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Findings => "findings",
            Self::Status => "status",
            Self::Configuration => "configuration",
            Self::Resources => "resources",
            Self::Targets => "targets",
            Self::Journals => "journals",
            Self::AuditLog => "audit-log",
            Self::Events => "events",
            Self::Pods => "pods",
            Self::PodLogs => "pod-logs",
        }
    }

    /// What its files are, in a line for whoever decides.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Versions => "versions of this program, the system, and the tools that it uses",
            Self::Findings => "what was found at this site, as `installer preflight` would say it",
            Self::Status => "what this site trusts, runs and has run",
            Self::Configuration => "site.yaml, key by key",
            Self::Resources => "room on the disks, memory, load, and how large the site is",
            Self::Targets => "what was put in place, and whether it is still there",
            Self::Journals => "what each change has begun, done and taken back",
            Self::AuditLog => "the last entries of the audit log",
            Self::Events => "events of a namespace that a bundle uses",
            Self::Pods => "pods of a namespace that a bundle uses",
            Self::PodLogs => "the last lines that containers have written",
        }
    }

    /// How its files were redacted, in a line for whoever decides.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Versions => "version numbers only",
            Self::Configuration => {
                "keys of the documented form; yes and no, small numbers, and fixed words as values"
            }
            Self::Resources => "numbers of this program's own, and its own words",
            Self::Status | Self::Journals | Self::Targets | Self::AuditLog | Self::Pods => {
                "fixed fields; every text word by word"
            }
            Self::Findings | Self::Events => "every text word by word",
            Self::PodLogs => "every line word by word; ASKED FOR BY --pod-logs, READ IT WHOLE",
        }
    }
}

/// One file of the archive.
#[derive(Debug)]
pub struct Piece {
    /// Its area.
    pub section: Section,
    /// Its name in the archive.
    pub path: String,
    /// What it holds, redacted.
    pub text: String,
    /// How many values were replaced in it, by kind.
    pub replaced: BTreeMap<&'static str, usize>,
}

impl Piece {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// What is wanted, by ids of areas or by names of files.
#[derive(Debug, Default)]
pub struct Choice {
    only: Vec<String>,
    exclude: Vec<String>,
    pod_logs: bool,
}

/// Why a choice makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// Nobody knows it.
    #[error("`{id}` is neither an area of a diagnosis nor a file in it")]
    Unknown {
        /// What was named.
        id: String,
    },
}

impl Classified for ChoiceError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("`installer diagnose --list` shows every id and file".to_string())
    }
}

impl Choice {
    /// Takes what was typed.
    #[must_use]
    pub fn new(only: Vec<String>, exclude: Vec<String>, pod_logs: bool) -> Self {
        Self { only, exclude, pod_logs }
    }

    /// Whether an area is looked at. Files of it may be left out later.
    fn looks_at(&self, section: Section) -> bool {
        let names = |id: &String| id == section.id();
        // A name of a file does not say which area it is of, so that each area has to be looked at.
        let by_file = self.only.iter().any(|id| is_file(id));
        let wanted = self.only.is_empty() || by_file || self.only.iter().any(names);
        wanted && !self.exclude.iter().any(names) && (section != Section::PodLogs || self.pod_logs)
    }

    fn takes(&self, piece: &Piece) -> bool {
        let names = |id: &String| id == piece.section.id() || *id == piece.path;
        (self.only.is_empty() || self.only.iter().any(names)) && !self.exclude.iter().any(names)
    }

    /// Everything that is named has to be there, but for what is passed over.
    fn check(&self, pieces: &[Piece], passed: &dyn Fn(&str) -> bool) -> Result<(), ChoiceError> {
        let known = |id: &&String| {
            Section::ALL.iter().any(|section| section.id() == **id)
                || pieces.iter().any(|piece| piece.path == **id)
                || passed(id)
        };
        match self.only.iter().chain(&self.exclude).find(|id| !known(id)) {
            None => Ok(()),
            Some(id) => Err(ChoiceError::Unknown { id: manifests::text::printable(id) }),
        }
    }
}

/// What has the form of a file of ours.
fn is_file(id: &str) -> bool {
    id.contains(['.', '/'])
}

/// What could not be looked at, redacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// Everything that was collected.
#[derive(Debug)]
pub struct Diagnosis {
    /// The files, in their order.
    pub pieces: Vec<Piece>,
    /// What was left out because somebody wanted it so.
    pub left_out: Vec<String>,
    /// What could not be looked at.
    pub gaps: Vec<Gap>,
}

/// What every area may use.
struct Ground<'a> {
    site: &'a Site,
    env: &'a Env,
    http: &'a Http,
    config: SiteConfig,
    ledgers: Vec<Ledger>,
    journals: Vec<Found>,
    /// What the bundles that were applied have inside, as far as it is still known.
    inventories: Vec<Inventory>,
    /// Targets that did not answer, by their word.
    silent: Vec<&'static str>,
    redactor: Redactor,
    gaps: Vec<Gap>,
}

impl<'a> Ground<'a> {
    fn survey(site: &'a Site, env: &'a Env, http: &'a Http) -> Self {
        let (redactor, config) = (Redactor::default(), SiteConfig::default());
        let (ledgers, journals, inventories) = (Vec::new(), Vec::new(), Vec::new());
        let (silent, gaps) = (Vec::new(), Vec::new());
        let mut ground =
            Self { site, env, http, config, ledgers, journals, inventories, silent, redactor, gaps };
        for ours in ["site.yaml", "findings.txt"] {
            ground.redactor.knows(ours);
        }
        ground.ledgers = ground.or_gap("the ledgers", site.ledgers()).unwrap_or_default();
        ground.read_journals();
        ground.read_inventories();
        ground.config = ground.or_gap("site.yaml", site.config()).unwrap_or_default();
        ground
    }

    fn context(&self) -> Context<'_> {
        Context { site: self.site, config: &self.config, env: self.env, http: self.http }
    }

    /// What was found, or nothing after it was written down why.
    fn or_gap<T, E: std::error::Error + 'static>(&mut self, what: &str, found: Result<T, E>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.gap(what, &chain(&error));
                None
            }
        }
    }

    /// `what` is in words of this program.
    fn gap(&mut self, what: &str, why: &str) {
        let (what, why) = (what.to_string(), self.redactor.text(&redact::one_line(why)));
        let gap = Gap { what, why };
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }

    /// A file of redacted text.
    fn piece(&mut self, section: Section, path: impl Into<String>, text: String) -> Piece {
        let replaced = self.redactor.counted();
        Piece { section, path: path.into(), text: bounded(text), replaced }
    }

    fn read_journals(&mut self) {
        // A site that was never initialised has no directory of journals.
        if !self.site.journal_dir().is_dir() {
            return;
        }
        let paths = self.or_gap("the journals", journal::paths(self.site)).unwrap_or_default();
        for path in paths {
            let found = self.or_gap("a journal", journal::read(&path)).flatten();
            self.journals.extend(found);
        }
        for step in self.journals.iter().flat_map(|found| &found.plan.steps) {
            names_of_step(step, &mut self.redactor);
        }
    }

    fn read_inventories(&mut self) {
        let mut bundles: Vec<_> = self.journals.iter().map(|found| found.plan.bundle).collect();
        bundles.extend(self.ledgers.iter().flat_map(|ledger| ledger.applied.iter().map(|one| one.bundle)));
        bundles.sort_unstable();
        bundles.dedup();
        for bundle in bundles {
            self.redactor.knows(bundle.0.short());
            let read = self.site.evidence(bundle);
            let Some((manifest, inventory)) = self.or_gap("the originals of a bundle", read) else {
                continue;
            };
            for name in [manifest.publisher.to_string(), manifest.product.to_string()] {
                self.redactor.knows(name);
            }
            self.redactor.knows(manifest.version.to_string());
            self.redactor.knows(manifest.marking.to_string());
            let named = manifest.audience.iter().map(ToString::to_string).filter(|name| name != "*");
            named.for_each(|name| self.redactor.knows(name));
            names_of(&inventory, &mut self.redactor);
            self.inventories.push(inventory);
        }
    }
}

/// What the sender has called things: it goes back to him.
fn names_of(inventory: &Inventory, redactor: &mut Redactor) {
    for component in &inventory.components {
        match component {
            Component::Image(image) => {
                redactor.knows(image.name.to_string());
                redactor.knows(image.name.repository());
                redactor.knows(image.name.site_path());
                redactor.knows(image.manifest.digest.short());
            }
            Component::Wheelhouse(house) => {
                redactor.knows(house.name.to_string());
                house.wheels.iter().for_each(|wheel| redactor.knows(wheel.filename.to_string()));
            }
            Component::Chart(chart) => {
                redactor.knows(chart.name.to_string());
                redactor.knows(chart.version.to_string());
                redactor.knows(format!("{}-{}", chart.name, chart.version));
                let placed = [&chart.release, &chart.namespace].into_iter().flatten();
                placed.for_each(|name| redactor.knows(name.to_string()));
            }
            Component::FileSet(set) => {
                redactor.knows(set.name.to_string());
                set.files.iter().for_each(|file| redactor.knows(file.path.to_string()));
            }
            Component::KubernetesManifests(set) => {
                redactor.knows(set.name.to_string());
                set.namespace.iter().for_each(|name| redactor.knows(name.to_string()));
            }
            Component::Script(script) => redactor.knows(script.name.to_string()),
        }
    }
}

/// The same for objects, which only the plan names.
fn names_of_step(step: &Step, redactor: &mut Redactor) {
    match step {
        Step::Objects(objects) => {
            for object in &objects.objects {
                redactor.knows(&object.name);
                redactor.knows(&object.kind);
                let Some(namespace) = &object.namespace else { continue };
                redactor.knows(namespace);
                redactor.knows(format!("{namespace}/{}", object.name));
            }
        }
        Step::Release(release) => {
            redactor.knows(release.release.to_string());
            redactor.knows(&release.namespace);
        }
        _ => {}
    }
}

/// The end of a text that is too long.
fn bounded(text: String) -> String {
    let Some(over) = text.len().checked_sub(FILE_BYTES_MAX).filter(|over| *over > 0) else { return text };
    let rest = text.get(text.ceil_char_boundary(over)..).unwrap_or_default();
    let rest = rest.split_once('\n').map_or(rest, |(_, whole)| whole);
    format!("({over} bytes before this were left out)\n{rest}")
}

/// Looks at everything that is wanted.
///
/// # Errors
/// Something is named that there is not.
pub fn look(choice: &Choice, site: &Site, env: &Env, http: &Http) -> Result<Diagnosis, ChoiceError> {
    // What is no area and cannot be a file is known to be wrong before anything is looked at.
    choice.check(&[], &|id| is_file(id))?;
    let mut ground = Ground::survey(site, env, http);
    let mut pieces = Vec::new();
    for section in Section::ALL.into_iter().filter(|section| choice.looks_at(*section)) {
        // What was replaced on the way to it is not of its files.
        ground.redactor.counted();
        match section {
            Section::Versions => pieces.push(versions::piece(&mut ground)),
            Section::Findings => pieces.push(findings::piece(&mut ground)),
            Section::Status => pieces.push(status::piece(&mut ground)),
            Section::Configuration => pieces.push(configuration::piece(&mut ground)),
            Section::Resources => pieces.push(resources::piece(&mut ground)),
            Section::Targets => pieces.push(targets::piece(&mut ground)),
            Section::Journals => pieces.extend(journals::pieces(&mut ground)),
            Section::AuditLog => pieces.push(audit_log::piece(&mut ground)),
            Section::Events => pieces.extend(kubernetes::events(&mut ground)),
            Section::Pods => pieces.extend(kubernetes::pods(&mut ground)),
            Section::PodLogs => pieces.extend(kubernetes::logs(&mut ground)),
        }
    }
    choice.check(&pieces, &|_| false)?;
    let (pieces, dropped): (Vec<Piece>, Vec<Piece>) =
        pieces.into_iter().partition(|piece| choice.takes(piece));
    let mut left_out: Vec<String> = Section::ALL
        .iter()
        .filter(|section| !choice.looks_at(**section))
        .map(|section| section.id().to_string())
        .collect();
    left_out.extend(dropped.into_iter().map(|piece| piece.path));
    Ok(Diagnosis { pieces, left_out, gaps: ground.gaps })
}
