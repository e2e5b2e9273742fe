//! The checkpoints of a site's log as files, made and held against it.
//!
//! ```text
//! SITE/audit/checkpoints/42.checkpoint.json                    what the log was when it had 42 lines
//! SITE/audit/checkpoints/42.checkpoint.json.sigs/<keyid>.sig   signed with the site's key
//! ```
//!
//! One is made at the end of each run that changes the site. *Invariant:* nothing is signed before the whole
//! chain was read again and agrees with the newest checkpoint: a log that was changed must not become a
//! signed one.

use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Env, Exit};
use layout::signed_file::{self, SignedFile};
use manifests::audit::{ChainBreak, Head};
use manifests::checkpoint::{
    CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointDocument, CheckpointError, Comparison, Contradiction,
    KeyHistory,
};
use manifests::root::FoundSignature;
use manifests::{Digest, PublicKey};

use super::{AuditError, Line};
use crate::site::key::{SiteKey, SiteKeyError};
use crate::site::{Site, SiteError};

/// Why a log is not signed, or not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A checkpoint that cannot be gone by.
    #[error("the checkpoint {}", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointError,
    },
    /// The log says something else than a checkpoint.
    #[error("the audit log {} does not agree with {}", log.display(), path.display())]
    Contradicted {
        /// The log.
        log: PathBuf,
        /// The checkpoint.
        path: PathBuf,
        /// In what.
        source: Contradiction,
    },
    /// A checkpoint cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to sign.
    #[error("the audit log {} has no entry yet", log.display())]
    Nothing {
        /// The log.
        log: PathBuf,
    },
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The key.
    #[error(transparent)]
    Key(#[from] SiteKeyError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl SealError {
    /// Whether it says that the log and what was signed do not agree.
    #[must_use]
    pub fn is_disagreement(&self) -> bool {
        matches!(self, Self::Bad { .. } | Self::Contradicted { .. })
    }
}

impl Classified for SealError {
    fn exit(&self) -> Exit {
        match self {
            Self::Bad { .. } | Self::Contradicted { .. } | Self::Nothing { .. } => Exit::Refused,
            Self::Write { .. } => Exit::Unreachable,
            Self::Audit(error) => error.exit(),
            Self::Key(error) => error.exit(),
            Self::Site(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Bad { source: CheckpointError::AnotherKey { .. }, .. } => Some(
                "`installer trust key show` prints the ids of this site's keys: compare with the one on paper"
                    .to_string(),
            ),
            Self::Bad { .. } | Self::Contradicted { .. } => Some(
                "stop, keep a copy of the site directory and of every checkpoint, and find out who changed the log"
                    .to_string(),
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: choose another --out".to_string())
            }
            Self::Write { .. } => Some("make room or permission for it".to_string()),
            Self::Nothing { .. } => None,
            Self::Audit(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Site(error) => error.hint(),
        }
    }
}

impl Site {
    fn checkpoint_dir(&self) -> PathBuf {
        self.dir().join("audit/checkpoints")
    }

    /// The file with the checkpoint of so many lines; its signature lies in the directory beside it.
    #[must_use]
    pub fn checkpoint_path(&self, entries: u64) -> PathBuf {
        self.checkpoint_dir().join(format!("{entries}.checkpoint.json"))
    }

    /// Of how many lines there is a checkpoint, the lowest number first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<u64>, SiteError> {
        let dir = self.checkpoint_dir();
        let failed = |source| SiteError::Io { doing: "cannot read", path: dir.clone(), source };
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut counts = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let count = |name: &str| crate::site::number(name.strip_suffix(".checkpoint.json")?);
            counts.extend(name.to_str().and_then(count));
        }
        counts.sort_unstable();
        Ok(counts)
    }
}

/// Reads a checkpoint from anywhere, and takes it if one of these keys has signed it.
///
/// # Errors
/// It cannot be read, or not be gone by.
pub fn read(path: &Path, keys: &[PublicKey]) -> Result<Checkpoint, SealError> {
    let file = signed_file::read(path, CHECKPOINT_BYTES_MAX).map_err(SiteError::Trust)?;
    Checkpoint::verify(&file.bytes, &file.signatures, keys)
        .map_err(|source| SealError::Bad { path: path.to_path_buf(), source })
}

/// One that the site keeps.
fn kept(site: &Site, entries: u64, keys: &[PublicKey]) -> Result<Checkpoint, SealError> {
    let path = site.checkpoint_path(entries);
    let checkpoint = read(&path, keys)?;
    if checkpoint.document().entries != entries {
        let reason = "it is about another number of lines than its name says".to_string();
        return Err(SiteError::Tampered { path, reason }.into());
    }
    Ok(checkpoint)
}

/// The newest one that the site keeps, whose signature is good.
///
/// # Errors
/// It cannot be read, or not be gone by.
pub fn newest(site: &Site) -> Result<Option<Checkpoint>, SealError> {
    let Some(entries) = site.checkpoints()?.pop() else { return Ok(None) };
    // The keys after it: the key that has signed it was there before.
    kept(site, entries, &site.public_keys()?).map(Some)
}

/// All that the site keeps, whose signatures are good, the oldest first.
///
/// # Errors
/// One cannot be read, or not be gone by.
pub fn all(site: &Site) -> Result<Vec<Checkpoint>, SealError> {
    let (counts, keys) = (site.checkpoints()?, site.public_keys()?);
    counts.into_iter().map(|entries| kept(site, entries, &keys)).collect()
}

/// What a log is, once it was read and agrees with checkpoints.
#[derive(Debug, Default)]
pub struct Survey {
    /// Its end, as far as its lines are whole.
    pub head: Head,
    /// Its first line, if it has one.
    pub first: Option<Digest>,
    /// What it says of the site's keys.
    pub keys: KeyHistory,
}

/// What is said of a last line that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// It is what a power cut leaves, and the next entry sets it aside: the lines before it are the log.
    MayBeCutOff,
    /// The log is broken there.
    MustBeWhole,
}

/// Reads a whole log, hands each line on, and holds these checkpoints against it.
///
/// # Errors
/// The log is broken before its last line, or does not agree.
pub fn survey(
    site: &Site,
    checkpoints: &[Checkpoint],
    last: LastLine,
    each: &mut dyn FnMut(&Line<'_>),
) -> Result<Survey, SealError> {
    let mut comparison = Comparison::of(checkpoints);
    let (mut survey, mut against) = (Survey::default(), None);
    let read = super::read_lines(&site.audit_path(), &mut |line| {
        if against.is_none() {
            against = comparison.follow(line.head).err();
        }
        survey.keys.note(&line.entry);
        survey.head = line.head.clone();
        each(&line);
    });
    match read {
        Err(AuditError::Broken { source: ChainBreak::CutOff { .. }, .. })
            if last == LastLine::MayBeCutOff => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    survey.first = comparison.first();
    let verdict = against.map_or_else(|| comparison.end(&survey.head), Err);
    let verdict = verdict.and_then(|()| survey.keys.allows(checkpoints));
    verdict.map_err(|source| contradicted(site, None, source))?;
    Ok(survey)
}

/// Says which checkpoint the log does not agree with: one that was given, or one that is kept.
fn contradicted(site: &Site, given: Option<&Path>, source: Contradiction) -> SealError {
    let path = match (given, source.entries()) {
        (Some(path), _) => path.to_path_buf(),
        (None, Some(entries)) => site.checkpoint_path(entries),
        (None, None) => site.key_dir(),
    };
    SealError::Contradicted { log: site.audit_path(), path, source }
}

/// A whole log, held against every checkpoint that the site keeps and perhaps one that was given.
#[derive(Debug)]
pub struct Whole {
    /// The log.
    pub survey: Survey,
    /// Every checkpoint that is kept, the oldest first.
    pub kept: Vec<Checkpoint>,
}

/// Reads and judges everything: the chain, every checkpoint, and that each key was signed for with the
/// one before it.
///
/// # Errors
/// Something does not agree, or the last line was cut off.
pub fn judge_all(site: &Site, given: Option<(&Path, &Checkpoint)>) -> Result<Whole, SealError> {
    let kept = all(site)?;
    let (mut comparison, mut against) = (Comparison::of(given.map(|(_, checkpoint)| checkpoint)), None);
    let survey = survey(site, &kept, LastLine::MustBeWhole, &mut |line| {
        if against.is_none() {
            against = comparison.follow(line.head).err();
        }
    })?;
    survey.keys.endorsed_by(&kept).map_err(|source| contradicted(site, None, source))?;
    let verdict = against.map_or_else(|| comparison.end(&survey.head), Err);
    let verdict = verdict.and_then(|()| survey.keys.allows(given.map(|(_, checkpoint)| checkpoint)));
    verdict.map_err(|source| contradicted(site, given.map(|(path, _)| path), source))?;
    Ok(Whole { survey, kept })
}

/// Signs the log as it is now with the site's key; nothing if it has none. If that was done already, the
/// checkpoint that is there is the answer. For whoever holds the site's lock.
///
/// # Errors
/// The log does not agree with the newest checkpoint, or something cannot be read or written.
pub fn seal(site: &Site, env: &Env) -> Result<Option<Checkpoint>, SealError> {
    match site.key()? {
        Some(key) => seal_with(site, &key, env).map(Some),
        None => Ok(None),
    }
}

/// The same, with a key that is at hand.
///
/// # Errors
/// As [`seal`].
pub(super) fn seal_with(site: &Site, key: &SiteKey, env: &Env) -> Result<Checkpoint, SealError> {
    let newest = newest(site)?;
    let survey = survey(site, newest.as_slice(), LastLine::MayBeCutOff, &mut |_| {})?;
    if let Some(newest) = newest.filter(|newest| {
        let document = newest.document();
        document.entries == survey.head.entries && document.keyid == key.id()
    }) {
        return Ok(newest);
    }
    // A name that cannot be read is none: the checkpoint says which log it is all the same.
    let name = site.config().ok().and_then(|config| config.site);
    let document = survey
        .first
        .and_then(|first| CheckpointDocument::about(name, key.id(), first, &survey.head, env.clock.now()))
        .ok_or_else(|| SealError::Nothing { log: site.audit_path() })?;
    let path = site.checkpoint_path(document.entries);
    let write_failed = |source| SealError::Write { path: path.clone(), source };
    let bytes = document.to_bytes().map_err(|error| write_failed(io::Error::other(error)))?;
    let signature = FoundSignature { claimed: key.id(), bytes: key.sign(&bytes)? };
    let file = SignedFile { bytes, signatures: vec![signature] };
    let checkpoint = Checkpoint::verify(&file.bytes, &file.signatures, &[key.public().clone()]);
    let checkpoint = checkpoint.map_err(|source| SealError::Bad { path: path.clone(), source })?;
    signed_file::write(&path, &file).map_err(write_failed)?;
    Ok(checkpoint)
}

/// Writes a kept checkpoint to another place, with its signature, to be carried away.
///
/// # Errors
/// Something is there already, or it cannot be written.
pub fn carry(site: &Site, checkpoint: &Checkpoint, out: &Path) -> Result<(), SealError> {
    let failed = |source| SealError::Write { path: out.to_path_buf(), source };
    for place in [out, &signed_file::signature_dir(out)] {
        if place.symlink_metadata().is_ok() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(SealError::Write { path: place.to_path_buf(), source });
        }
    }
    let kept = site.checkpoint_path(checkpoint.document().entries);
    let file = signed_file::read(&kept, CHECKPOINT_BYTES_MAX).map_err(SiteError::Trust)?;
    signed_file::write(out, &file).map_err(failed)
}
