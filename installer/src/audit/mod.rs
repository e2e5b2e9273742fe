//! The audit log: one line for each event, flushed to disk before anything goes on. If it cannot be
//! written, nothing is done; what was begun is taken back.
//!
//! `checkpoint` signs how far it has come, `keys` makes the key for that, `export` writes it in other
//! forms, `reserve` keeps room for its last words.

pub mod checkpoint;
pub mod export;
pub mod keys;
mod reserve;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use edge::{Classified, Clock, Env, Exit};
use manifests::Digest;
use manifests::audit::{Actor, AppendError, ChainBreak, Entry, Event, Head, LINE_BYTES_MAX, Outcome};
use manifests::text::{printable, printable_up_to};

use crate::site::Site;
use reserve::Reserve;

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file.
    #[error("the audit log {} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The event does not fit into a line.
    #[error("an event has no place in the audit log {}", path.display())]
    Event {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: AppendError,
    },
    /// The chain is broken.
    #[error("the audit log {} is broken", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Where.
        source: ChainBreak,
    },
}

impl Classified for AuditError {
    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } => Exit::Unreachable,
            Self::Broken { .. } => Exit::Refused,
            Self::Event { .. } => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } => Some(
                "nothing is done without its entry in the log: make room or permission for it".to_string(),
            ),
            Self::Event { .. } => None,
            Self::Broken { .. } => {
                Some("stop, keep a copy of the log, and find out who changed it".to_string())
            }
        }
    }
}

/// The log of one site, for one run.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    actor: Actor,
    tool: String,
    reserve: Reserve,
}

/// What an event was about.
pub type About = BTreeMap<String, String>;

/// A path and two errors fit; a line of the log stays far below its limit, also where every character of
/// a value takes many to be printable.
const VALUE_CHARACTERS_MAX: usize = 2000;

/// `[("key", value)]` as what an event was about; every value is made printable.
pub fn about<const N: usize>(pairs: [(&str, String); N]) -> About {
    pairs.into_iter().map(|(key, value)| (key.to_string(), value_of(&value))).collect()
}

/// A value as the log takes it: printable, and cut after so many characters.
#[must_use]
pub fn value_of(text: &str) -> String {
    let printable = printable_up_to(text, VALUE_CHARACTERS_MAX);
    match printable.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) if printable.len() > end => {
            format!("{}…", printable.get(..end).unwrap_or_default())
        }
        _ => printable,
    }
}

impl AuditLog {
    /// The log of a site.
    #[must_use]
    pub fn of(site: &Site, env: &Env) -> Self {
        let actor = Self::actor(env);
        let (path, tool) = (site.audit_path(), format!("installer {}", env!("CARGO_PKG_VERSION")));
        let reserve = Reserve::beside(&path);
        Self { path, actor, tool, reserve }
    }

    /// Who runs the program, as the log has it.
    #[must_use]
    pub fn actor(env: &Env) -> Actor {
        Actor {
            uid: env.uid,
            user: printable(env.user()),
            sudo_user: env.var("SUDO_USER").map(printable),
            host: printable(&env.host),
        }
    }

    /// Sees that there is room for the last words of a plan of so many steps, and keeps it.
    ///
    /// # Errors
    /// There is none. Nothing may be begun then.
    pub fn make_room(&self, steps: usize) -> Result<(), AuditError> {
        self.reserve.fill(steps).map_err(|source| self.failed(source))
    }

    /// Gives up the room that was kept, for an undo and what it says. The next run keeps it again.
    pub fn release_room(&self) {
        self.reserve.release();
    }

    /// Writes something that must still be said at the end: if it fails, the room that was kept is given
    /// up for it, and it is tried once more.
    ///
    /// # Errors
    /// Those of the second try.
    pub fn insist<T, E>(&self, mut write: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        write().or_else(|_| {
            self.release_room();
            write()
        })
    }

    fn failed(&self, source: io::Error) -> AuditError {
        AuditError::Io { path: self.path.clone(), source }
    }

    /// Appends one line, and flushes it.
    ///
    /// # Errors
    /// It cannot be written, or the last line is not one of ours.
    pub fn append(&self, env: &Env, event: &str, outcome: Outcome, about: About) -> Result<(), AuditError> {
        self.append_by(&*env.clock, event, outcome, about)
    }

    /// The same event of several things, each with its own line, flushed once. After a power cut any number of the
    /// lines may be there, from the first on.
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn append_each(
        &self,
        env: &Env,
        event: &str,
        outcome: Outcome,
        abouts: Vec<About>,
    ) -> Result<(), AuditError> {
        self.append_all(&*env.clock, event, outcome, abouts)
    }

    /// The same for whoever outlives the borrow of an [`Env`].
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn append_by(
        &self,
        clock: &dyn Clock,
        event: &str,
        outcome: Outcome,
        about: About,
    ) -> Result<(), AuditError> {
        self.append_all(clock, event, outcome, vec![about])
    }

    fn append_all(
        &self,
        clock: &dyn Clock,
        event: &str,
        outcome: Outcome,
        abouts: Vec<About>,
    ) -> Result<(), AuditError> {
        let mut options = File::options();
        let is_new = !self.path.exists();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&self.path);
        let mut file = file.map_err(|source| self.failed(source))?;
        if let (true, Some(directory)) = (is_new, self.path.parent()) {
            // A log whose name a power cut takes away would leave a site that its log does not know.
            layout::durable::flush_directory(directory).map_err(|source| self.failed(source))?;
        }
        // Two commands may run at once, a `verify` beside an `apply`: one line after the other.
        file.lock().map_err(|source| self.failed(source))?;
        let mut head = self.head_of(&mut file)?;
        if let Some(torn) = self.take_torn_line(&mut file)? {
            head = self.write(&mut file, head, clock, "log.repair", Outcome::Done, vec![torn])?;
        }
        self.write(&mut file, head, clock, event, outcome, abouts)?;
        Ok(())
    }

    fn write(
        &self,
        file: &mut File,
        mut head: Head,
        clock: &dyn Clock,
        event: &str,
        outcome: Outcome,
        abouts: Vec<About>,
    ) -> Result<Head, AuditError> {
        let (time, mut lines) = (clock.now(), Vec::new());
        for about in abouts {
            let (event, actor, tool) = (event.to_string(), self.actor.clone(), self.tool.clone());
            let unfit = |source| AuditError::Event { path: self.path.clone(), source };
            let event = Event { time, event, outcome, actor, tool, about };
            let (line, next) = head.append(event).map_err(unfit)?;
            lines.extend_from_slice(&line);
            head = next;
        }
        let before = file.metadata().map_err(|source| self.failed(source))?.len();
        if let Err(source) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            // An event whose line is not durable is not in the log. What cannot be taken back even so are whole
            // lines and a torn one; the next entry deals with either.
            let _ = file.set_len(before);
            return Err(self.failed(source));
        }
        Ok(head)
    }

    /// The head, from the last whole line: reading all of a long log for each entry would not do.
    fn head_of(&self, file: &mut File) -> Result<Head, AuditError> {
        let length = file.metadata().map_err(|source| self.failed(source))?.len();
        let window = length.min(2 * LINE_BYTES_MAX as u64);
        let mut tail = Vec::new();
        let read = file
            .seek(SeekFrom::Start(length.saturating_sub(window)))
            .and_then(|_| file.take(window).read_to_end(&mut tail));
        read.map_err(|source| self.failed(source))?;
        let whole =
            tail.iter().rposition(|byte| *byte == b'\n').and_then(|end| tail.get(..=end)).unwrap_or_default();
        let Some((_, body)) = whole.split_last() else { return Ok(Head::default()) };
        let start = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before.saturating_add(1));
        let line = whole.get(start..).unwrap_or_default();
        let broken = |reason: String| AuditError::Broken {
            path: self.path.clone(),
            source: ChainBreak::Line { line: 0, reason },
        };
        let entry: Entry =
            manifests::canonical::from_canonical(line).map_err(|error| broken(error.to_string()))?;
        Ok(Head { entries: entry.seq.saturating_add(1), digest: Digest::of(line).hex() })
    }

    /// A last line without its line feed is what a power cut leaves. It is set aside, not thrown away.
    fn take_torn_line(&self, file: &mut File) -> Result<Option<About>, AuditError> {
        let failed = |source| self.failed(source);
        let length = file.metadata().map_err(failed)?.len();
        let window = length.min(LINE_BYTES_MAX as u64);
        let mut tail = Vec::new();
        let read = file
            .seek(SeekFrom::Start(length.saturating_sub(window)))
            .and_then(|_| file.take(window).read_to_end(&mut tail));
        read.map_err(failed)?;
        let torn = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if torn.is_empty() {
            return Ok(None);
        }
        let digest = Digest::of(torn);
        let aside = self.path.with_file_name(format!("torn-{}", digest.short()));
        layout::durable::replace(&aside, torn, 0o600).map_err(failed)?;
        file.set_len(length.saturating_sub(torn.len() as u64))
            .and_then(|()| file.sync_data())
            .map_err(failed)?;
        Ok(Some(about([("torn_line", digest.to_string()), ("bytes", torn.len().to_string())])))
    }
}

/// A line of a log whose chain holds up to here.
#[derive(Debug)]
pub struct Line<'a> {
    /// What it says.
    pub entry: Entry,
    /// Its very bytes, with the line feed.
    pub bytes: &'a [u8],
    /// The head after it.
    pub head: &'a Head,
}

/// Reads and checks a whole log, line by line, and hands each entry on.
///
/// # Errors
/// It is not readable, or broken.
pub fn read(path: &Path, each: &mut dyn FnMut(Entry)) -> Result<Head, AuditError> {
    read_lines(path, &mut |line| each(line.entry))
}

/// As [`read`], with the bytes of each line. What is written to the log meanwhile is not read.
///
/// # Errors
/// As [`read`].
pub fn read_lines(path: &Path, each: &mut dyn FnMut(Line<'_>)) -> Result<Head, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_path_buf(), source };
    let mut head = Head::default();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(head),
        file => file.map_err(failed)?,
    };
    // A line that another process is just writing is not one that was cut off. Nobody is kept waiting for
    // what is done with the lines.
    file.lock_shared().map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.unlock().map_err(failed)?;
    let mut lines = BufReader::new(file.take(length));
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        if lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(head);
        }
        let (entry, next) =
            head.follow(&line).map_err(|source| AuditError::Broken { path: path.to_path_buf(), source })?;
        head = next;
        each(Line { entry, bytes: &line, head: &head });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_values_still_make_a_line_that_is_read_again() {
        let worst = "\u{10ffff}".repeat(10_000);
        let value = value_of(&worst);
        assert!(value.chars().count() <= VALUE_CHARACTERS_MAX + 1);
        assert_eq!(value_of("short"), "short");
        // Ten of them, each escaped once more as JSON.
        assert!(10 * serde_json::to_string(&value).unwrap().len() < LINE_BYTES_MAX);
    }
}
