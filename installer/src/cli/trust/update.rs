//! `installer trust update`: takes the roots that follow and newer revocations.
//!
//! A medium never changes trust by itself: this is an act of its own, it is in the log, and each document
//! needs the signatures that the site's present trust asks for. Everything is judged first, in memory; a
//! document that is refused means that nothing is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Exit, Failure, Screen};
use layout::signed_file::{self, SignedFile, SignedFileError};
use manifests::audit::Outcome;
use manifests::revocation::{REVOCATIONS_BYTES_MAX, RevocationError, Revocations};
use manifests::root::{NotMet, ROOT_BYTES_MAX, RootDocument, RootError};
use manifests::text::printable_up_to;
use manifests::trust::Advance;
use manifests::{Digest, Trust};
use serde::Serialize;

use super::root_facts;
use crate::audit::{About, AuditLog, about};
use crate::cli::change::change;
use crate::site::{Site, SiteError};

/// How many documents of a directory are read: a medium must not fill the memory.
const DOCUMENTS_MAX: usize = 256;
/// How many names of a directory are looked at.
const NAMES_MAX: usize = 65_536;

/// The arguments of `trust update`.
#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateArgs {
    /// `…root.json` and `…revocations.json` files with their `.sigs` directories, or a medium that has
    /// them, at its top or in `trust/`
    #[arg(required = true)]
    from: Vec<PathBuf>,
}

/// What a file claims to be, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Revocations,
}

/// One file, read once.
struct Candidate {
    path: PathBuf,
    kind: Kind,
    /// Named on the command line itself, not found in a directory.
    named: bool,
    file: SignedFile,
}

/// What was taken, in its order.
enum Taken {
    Root(u64, SignedFile, About),
    Revocations(Box<Revocations>, SignedFile),
}

#[derive(Serialize)]
struct Document {
    taken: Vec<Row>,
    passed_over: Vec<String>,
    root_version: u64,
    fingerprint: Digest,
    revocations_version: Option<u64>,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    version: u64,
    digest: Digest,
}

impl UpdateArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let paths: Vec<PathBuf> = self.from.iter().map(|path| screen.env.path(path)).collect();
        let candidates = candidates(&paths)?;
        change(site, screen, |screen, judged, log| {
            let mut judge = Judge::new(judged.trust.clone(), site.kept_lists()?);
            if let Err(error) = judge.all(candidates) {
                let failure = Failure::from(SiteError::Trust(error));
                let facts = about([("error", failure.messages().join(": "))]);
                log.append(screen.env, "trust.update", Outcome::Refused, facts)?;
                return Err(failure);
            }
            let Judge { trust, taken, passed_over, .. } = judge;
            for document in &taken {
                keep(document, site, log, screen)?;
            }
            report(&trust, &taken, passed_over, screen)
        })
    }
}

/// Reads what is named, and what a named directory has at its top or in `trust/`.
fn candidates(paths: &[PathBuf]) -> Result<Vec<Candidate>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            for directory in [path.clone(), path.join("trust")] {
                found.extend(files_of(&directory)?);
            }
            if found.len() == before {
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!("{} has no root.json and no revocations.json", path.display()),
                )
                .hint("name the files themselves if they are called otherwise or lie deeper"));
            }
        } else if let Some(kind) = kind(path) {
            found.push((path.clone(), kind));
        } else {
            return Err(Failure::usage(format!(
                "{} is neither a …root.json nor a …revocations.json",
                path.display()
            )));
        }
    }
    let read = |(path, kind): (PathBuf, Kind)| {
        let limit = if kind == Kind::Root { ROOT_BYTES_MAX } else { REVOCATIONS_BYTES_MAX };
        let file = signed_file::read(&path, limit).map_err(SiteError::Trust)?;
        let named = paths.contains(&path);
        Ok(Candidate { path, kind, named, file })
    };
    found.into_iter().map(read).collect()
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    match name {
        // What other systems leave beside a file, such as `._root.json`.
        _ if name.starts_with('.') => None,
        _ if name.ends_with("root.json") => Some(Kind::Root),
        _ if name.ends_with("revocations.json") => Some(Kind::Revocations),
        _ => None,
    }
}

fn files_of(directory: &Path) -> Result<Vec<(PathBuf, Kind)>, Failure> {
    let failed = |source: std::io::Error| {
        Failure::new(Exit::Unreachable, format!("cannot read {}: {source}", directory.display()))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_file() {
            found.extend(kind(&path).map(|kind| (path, kind)));
        }
    }
    if found.len() > DOCUMENTS_MAX {
        return Err(Failure::usage(format!(
            "{} has {} roots and lists of revocations, more than the {DOCUMENTS_MAX} that are taken at once",
            directory.display(),
            found.len()
        ))
        .hint("name the files that are needed, the oldest first"));
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found)
}

/// Judges documents in memory.
struct Judge {
    trust: Trust,
    /// Lists that the site has taken earlier.
    kept: BTreeSet<Digest>,
    /// What the oldest root that is known to be ours calls the one before it.
    before: Option<Digest>,
    taken: Vec<Taken>,
    passed_over: Vec<String>,
}

/// What became of one document.
enum Offered {
    Taken(Taken),
    /// Not taken, for a good reason.
    PassedOver(&'static str),
}

impl Judge {
    fn new(trust: Trust, kept: BTreeSet<Digest>) -> Self {
        let before = trust.first().document().previous;
        Self { trust, kept, before, taken: Vec::new(), passed_over: Vec::new() }
    }

    /// Takes whatever the trust accepts, as often as something was taken; no file says anything before its
    /// signatures were checked, not even its version. What is left at the end is refused.
    fn all(&mut self, mut candidates: Vec<Candidate>) -> Result<(), SignedFileError> {
        // Roots first: revocations are judged by the newest of them.
        candidates.sort_by_key(|candidate| candidate.kind == Kind::Revocations);
        loop {
            let (mut left, mut progress) = (Vec::new(), false);
            for candidate in candidates {
                match self.offer(&candidate) {
                    Ok(Offered::Taken(document)) => {
                        self.taken.push(document);
                        progress = true;
                    }
                    Ok(Offered::PassedOver(why)) => {
                        self.pass_over(&candidate, why);
                        progress = true;
                    }
                    Err(error) => left.push((candidate, error)),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if !progress {
                return self.settle(left);
            }
            candidates = left.into_iter().map(|(candidate, _)| candidate).collect();
        }
    }

    /// A stick may hold another publisher's root beside ours: it is named and left. But where nothing is
    /// ours, or somebody has asked for that very file, it is refused.
    fn settle(&mut self, left: Vec<(Candidate, SignedFileError)>) -> Result<(), SignedFileError> {
        let anything = !self.taken.is_empty() || !self.passed_over.is_empty();
        for (candidate, error) in left {
            if candidate.named || !anything || !is_strangers(&error) {
                return Err(error);
            }
            self.pass_over(&candidate, "nobody whom this site trusts has signed it");
        }
        Ok(())
    }

    fn pass_over(&mut self, candidate: &Candidate, why: &str) {
        let path = printable_up_to(&candidate.path.display().to_string(), 1000);
        self.passed_over.push(format!("{path}: {why}"));
    }

    fn offer(&mut self, candidate: &Candidate) -> Result<Offered, SignedFileError> {
        match candidate.kind {
            Kind::Root => self.offer_root(candidate),
            Kind::Revocations => self.offer_list(candidate),
        }
    }

    fn offer_root(&mut self, candidate: &Candidate) -> Result<Offered, SignedFileError> {
        let SignedFile { bytes, signatures } = &candidate.file;
        // A site may have started with a later root; that one names the one before it by its digest.
        if self.before == Some(Digest::of(bytes)) {
            let earlier: Result<RootDocument, _> = manifests::canonical::from_canonical(bytes);
            self.before = earlier.ok().and_then(|root| root.previous);
            return Ok(Offered::PassedOver("older than the root that this site started with"));
        }
        match self.trust.advance(bytes, signatures) {
            Ok(Advance::Known) => Ok(Offered::PassedOver("known here")),
            Ok(Advance::Taken) => {
                let root = self.trust.root();
                let (version, facts) = (root.document().version, root_facts(root));
                Ok(Offered::Taken(Taken::Root(version, candidate.file.clone(), facts)))
            }
            Err(source) => Err(SignedFileError::Root { path: candidate.path.clone(), source }),
        }
    }

    fn offer_list(&mut self, candidate: &Candidate) -> Result<Offered, SignedFileError> {
        let SignedFile { bytes, signatures } = &candidate.file;
        if self.kept.contains(&Digest::of(bytes)) {
            return Ok(Offered::PassedOver("known here"));
        }
        match self.trust.revoke(bytes, signatures) {
            Ok(Advance::Known) => Ok(Offered::PassedOver("known here")),
            Ok(Advance::Taken) => Ok(match self.trust.revocations() {
                Some(list) => {
                    Offered::Taken(Taken::Revocations(Box::new(list.clone()), candidate.file.clone()))
                }
                None => Offered::PassedOver("known here"),
            }),
            Err(RevocationError::NotNewer { .. }) => Ok(Offered::PassedOver(OLDER)),
            Err(RevocationError::Epoch { found, expected }) if found < expected => {
                Ok(Offered::PassedOver(OLDER))
            }
            Err(RevocationError::Signatures(_))
                if !candidate.named && self.trust.was_good_once(bytes, signatures) =>
            {
                Ok(Offered::PassedOver("its signers may not revoke any more; ask for a newer list"))
            }
            Err(source) => Err(SignedFileError::Revocations { path: candidate.path.clone(), source }),
        }
    }
}

const OLDER: &str = "older than what is known here";

/// Whether no key of ours has signed a document.
fn is_strangers(error: &SignedFileError) -> bool {
    let reason = match error {
        SignedFileError::Root { source: RootError::Predecessor { reason, .. }, .. } => reason,
        SignedFileError::Revocations { source: RevocationError::Signatures(reason), .. } => reason,
        _ => return false,
    };
    matches!(reason, NotMet::Unsigned | NotMet::Threshold { found: 0, .. })
}

/// Writes one document, with its intent in the log before and its outcome after.
fn keep(taken: &Taken, site: &Site, log: &AuditLog, screen: &Screen<'_>) -> Result<(), Failure> {
    let facts = || match taken {
        Taken::Root(_, _, facts) => facts.clone(),
        Taken::Revocations(list, file) => about([
            ("revocations", Digest::of(&file.bytes).to_string()),
            ("epoch", list.document().epoch.to_string()),
            ("version", list.document().version.to_string()),
        ]),
    };
    log.append(screen.env, "trust.update", Outcome::Intent, facts())?;
    match taken {
        Taken::Root(version, file, _) => site.keep_root(*version, file)?,
        Taken::Revocations(list, file) => site.keep_revocations(list.document(), file)?,
    }
    log.append(screen.env, "trust.update", Outcome::Done, facts())?;
    Ok(())
}

fn report(
    trust: &Trust,
    taken: &[Taken],
    passed_over: Vec<String>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let row = |document: &Taken| match document {
        Taken::Root(version, file, _) => {
            Row { what: "root", version: *version, digest: Digest::of(&file.bytes) }
        }
        Taken::Revocations(list, file) => {
            Row { what: "revocations", version: list.document().version, digest: Digest::of(&file.bytes) }
        }
    };
    let document = Document {
        taken: taken.iter().map(row).collect(),
        passed_over,
        root_version: trust.root().document().version,
        fingerprint: trust.root().fingerprint(),
        revocations_version: trust.revocations().map(|list| list.document().version),
    };
    let line = |row: &Row| format!("taken       {} version {}, {}\n", row.what, row.version, row.digest);
    let mut human: String = document.taken.iter().map(line).collect();
    human.extend(document.passed_over.iter().map(|passed| format!("passed over {passed}\n")));
    if document.taken.is_empty() {
        human.push_str("nothing new: the site's trust is as it was\n");
    }
    human.push_str(&format!("trust root  {}\nfingerprint {}\n", trust.root().title(), document.fingerprint));
    screen.result(&human, &document)
}
