//! The journal of one apply: the plan in its first line, then one line before and one after each step,
//! flushed before anything goes on. Whoever comes after a crash knows what was begun.
//!
//! Nothing is taken back before the journal says so: else the next run would take for done what is not any
//! more. Where no line can be written, the file's name says it: `.undo` instead of `.jsonl`.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::site::{Site, SiteError};

/// Bounds a journal: plans of 100,000 files stay below it.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How the name of a journal ends.
const LINES: &str = "jsonl";
/// How it ends where the name has to say that everything is taken back.
const UNDO: &str = "undo";

/// One line after the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The step with this number is about to be done.
    Begin(usize),
    /// It was done.
    Done(usize),
    /// Everything from here on is taken back.
    Undo,
    /// The step with this number was taken back.
    Undone(usize),
    /// The step with this number could not be taken back.
    Stuck(usize),
    /// It is over: everything was done.
    Committed,
    /// It is over: everything was taken back.
    RolledBack,
    /// It is over: not everything could be taken back.
    Broken,
}

/// A journal that can be written to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the last whole line ends.
    end: u64,
    /// Something that is no whole line may come after it.
    torn: bool,
}

/// A journal as it was found.
#[derive(Debug)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// What happened.
    pub lines: Vec<Line>,
}

impl Found {
    /// Whether it came to an end. One that was about to be taken back after all its steps were done, since
    /// the log could not say so, comes to an end with that.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let undo = self.lines.iter().rposition(|line| *line == Line::Undo);
        let after = self.lines.iter().skip(undo.unwrap_or_default());
        after.into_iter().any(|line| match line {
            Line::Committed => undo.is_none(),
            Line::RolledBack | Line::Broken => true,
            _ => false,
        })
    }

    /// Whether it was being taken back.
    #[must_use]
    pub fn is_undoing(&self) -> bool {
        self.lines.contains(&Line::Undo)
    }

    /// Whether everything was done, and is not being taken back for all that.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.lines.contains(&Line::Committed) && !self.is_undoing()
    }

    /// Whether the target may have what this step puts there: it was begun, and not taken back.
    #[must_use]
    pub fn has_effect(&self, step: usize) -> bool {
        self.is_committed()
            || (!self.lines.contains(&Line::RolledBack) && self.was_begun(step) && !self.was_undone(step))
    }

    /// Whether this step was begun.
    #[must_use]
    pub fn was_begun(&self, step: usize) -> bool {
        self.lines.contains(&Line::Begin(step))
    }

    /// Whether this step was done to its end.
    #[must_use]
    pub fn was_done(&self, step: usize) -> bool {
        self.lines.contains(&Line::Done(step))
    }

    /// Whether this step was taken back.
    #[must_use]
    pub fn was_undone(&self, step: usize) -> bool {
        self.lines.contains(&Line::Undone(step))
    }
}

/// Where the previous content of files is kept for a journal.
#[must_use]
pub fn kept_dir(journal: &Path) -> PathBuf {
    journal.with_extension("kept")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SiteError {
    let path = path.to_path_buf();
    move |source| SiteError::Io { doing, path, source }
}

impl Journal {
    /// Starts a journal with its plan.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn start(site: &Site, plan: &Plan) -> Result<Self, SiteError> {
        let dir = site.journal_dir();
        let text = serde_json::to_vec(plan)
            .map_err(|error| failed("cannot write", &dir)(io::Error::other(error)))?;
        if text.len() as u64 > JOURNAL_BYTES_MAX / 2 {
            let source =
                io::Error::new(io::ErrorKind::FileTooLarge, format!("the plan is {} bytes long", text.len()));
            return Err(failed("cannot write a journal to", &dir)(source));
        }
        let number = numbers(&dir)?.last().map_or(1, |last| last.0.saturating_add(1));
        let path = dir.join(format!("{number:06}-{}.jsonl", plan.bundle.0.short()));
        let mut options = File::options();
        let file = options.append(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("cannot write", &path))?;
        let mut journal = Self { file, path, end: 0, torn: false };
        let started = journal
            .line(plan)
            .and_then(|()| layout::durable::flush_directory(&dir).map_err(failed("cannot flush", &dir)));
        if started.is_err() {
            // Nothing was begun: what is left of it would only be looked at in vain.
            let _ = std::fs::remove_file(&journal.path);
        }
        started.map(|()| journal)
    }

    /// Goes on with a journal that did not come to its end.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn resume(found: &Found) -> Result<Self, SiteError> {
        let path = found.path.clone();
        let file = File::options().append(true).open(&path).map_err(failed("cannot write", &path))?;
        let end = file.metadata().map_err(failed("cannot read", &path))?.len();
        // The last line may have been cut off.
        Ok(Self { path, file, end, torn: true })
    }

    /// Where previous content is kept.
    #[must_use]
    pub fn kept_dir(&self) -> PathBuf {
        kept_dir(&self.path)
    }

    /// Says that everything from here on is taken back: by a line, or else by the file's name.
    ///
    /// # Errors
    /// Neither is possible. Nothing may be taken back then.
    pub fn begin_undo(&mut self) -> Result<(), SiteError> {
        let Err(unwritten) = self.line(&Line::Undo) else { return Ok(()) };
        let named = self.path.with_extension(UNDO);
        let renamed = std::fs::rename(&self.path, &named).and_then(|()| {
            self.path = named;
            layout::durable::flush_directory(self.path.parent().unwrap_or(Path::new(".")))
        });
        renamed.map_err(|_| unwritten)
    }

    /// Writes one line, and flushes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, line: Line) -> Result<(), SiteError> {
        self.line(&line)
    }

    /// Writes a line for each of some steps that are done together, and flushes them once. After a power cut any
    /// number of them may be there, from the first on.
    ///
    /// # Errors
    /// They cannot be written: then none of them is there.
    pub fn write_each(&mut self, line: fn(usize) -> Line, steps: &[usize]) -> Result<(), SiteError> {
        self.lines(&steps.iter().copied().map(line).collect::<Vec<_>>())
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), SiteError> {
        self.lines(std::slice::from_ref(line))
    }

    fn lines<T: Serialize>(&mut self, lines: &[T]) -> Result<(), SiteError> {
        // A line feed ends what was cut off, and readers pass over both.
        let mut text = if self.torn { vec![b'\n'] } else { Vec::new() };
        let put = |line| {
            serde_json::to_writer(&mut text, line).map_err(io::Error::other)?;
            text.push(b'\n');
            Ok(())
        };
        let written = lines.iter().try_for_each(put);
        let written = written.and_then(|()| self.file.write_all(&text)).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end = self.end.saturating_add(text.len() as u64);
                self.torn = false;
                Ok(())
            }
            Err(source) => {
                // The next line must not be glued to half of this one.
                self.torn |= self.file.set_len(self.end).is_err();
                Err(failed("cannot write", &self.path)(source))
            }
        }
    }
}

fn numbers(dir: &Path) -> Result<Vec<(u64, PathBuf)>, SiteError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed("cannot read", dir))? {
        let path = entry.map_err(failed("cannot read", dir))?.path();
        let is_ours = path.extension().is_some_and(|end| end == LINES || end == UNDO);
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_ours);
        if let Some(number) = name.and_then(|name| name.split('-').next()).and_then(|n| n.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a journal. `None` if its plan was never written to the end: nothing was done then.
///
/// # Errors
/// It is not readable.
pub fn read(path: &Path) -> Result<Option<Found>, SiteError> {
    let bytes =
        layout::durable::read_bounded(path, JOURNAL_BYTES_MAX).map_err(failed("cannot read", path))?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(Ok(plan)) = lines.next().map(serde_json::from_slice::<Plan>) else { return Ok(None) };
    // A line that does not parse was cut off while it was written: what it says had not happened yet.
    let lines = lines.filter_map(|line| serde_json::from_slice(line).ok());
    let named = path.extension().filter(|end| *end == UNDO).map(|_| Line::Undo);
    let lines = named.into_iter().chain(lines).collect();
    Ok(Some(Found { path: path.to_path_buf(), plan, lines }))
}

/// Every journal, the oldest first.
///
/// # Errors
/// The directory is not readable.
pub fn paths(site: &Site) -> Result<Vec<PathBuf>, SiteError> {
    Ok(numbers(&site.journal_dir())?.into_iter().map(|(_, path)| path).collect())
}

/// The journal that did not come to its end, if there is one.
///
/// # Errors
/// A journal is not readable.
pub fn unfinished(site: &Site) -> Result<Option<Found>, SiteError> {
    let last = numbers(&site.journal_dir())?.pop();
    let Some((_, path)) = last else { return Ok(None) };
    Ok(read(&path)?.filter(|found| !found.is_over()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[Line]) -> Found {
        let plan = serde_json::json!({
            "schema": "airlock-plan/v1", "bundle": format!("sha256:{}", "0".repeat(64)), "publisher": "acme",
            "product": "demo", "version": "1", "order": {"epoch": 1, "sequence": 1}, "marking": "NONE",
            "from": null, "steps": [], "unchanged": []
        });
        let plan = serde_json::from_value(plan).unwrap();
        Found { path: PathBuf::new(), plan, lines: lines.to_vec() }
    }

    #[test]
    fn what_is_taken_back_after_its_last_step_is_over_only_when_it_was_taken_back() {
        use Line::{Begin, Broken, Committed, Done, RolledBack, Undo, Undone};
        for (lines, over) in [
            (&[][..], false),
            (&[Begin(0), Done(0)], false),
            (&[Begin(0), Done(0), Committed], true),
            (&[Begin(0), Done(0), Undo, Undone(0)], false),
            (&[Begin(0), Undo, Undone(0), RolledBack], true),
            (&[Begin(0), Undo, Broken], true),
            (&[RolledBack], true),
            (&[Begin(0), Done(0), Committed, Undo], false),
            (&[Begin(0), Done(0), Committed, Undo, Undone(0)], false),
            (&[Begin(0), Done(0), Committed, Undo, Undone(0), RolledBack], true),
        ] {
            assert_eq!(found(lines).is_over(), over, "{lines:?}");
        }
    }

    #[test]
    fn a_journal_that_takes_no_line_says_by_its_name_that_everything_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("000001-abc.jsonl");
        let plan = serde_json::to_string(&found(&[]).plan).unwrap();
        std::fs::write(&path, format!("{plan}\n{{\"begin\":0}}\n{{\"done\":0}}\n\"committed\"\n")).unwrap();
        let kept = kept_dir(&path);
        let file = File::open(&path).unwrap();
        let mut journal = Journal { end: file.metadata().unwrap().len(), path, file, torn: false };
        journal.begin_undo().unwrap();
        assert_eq!(journal.kept_dir(), kept);
        let (_, renamed) = numbers(dir.path()).unwrap().pop().unwrap();
        let again = read(&renamed).unwrap().unwrap();
        assert!(again.is_undoing() && !again.is_over() && again.was_done(0));
        Journal::resume(&again).unwrap().write(Line::RolledBack).unwrap();
        assert!(read(&renamed).unwrap().unwrap().is_over());
        // The name cannot be changed either.
        std::fs::remove_file(&renamed).unwrap();
        assert!(journal.begin_undo().is_err());
    }

    #[test]
    fn a_line_is_never_glued_to_half_of_one_that_could_not_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let file = || File::options().append(true).create(true).open(&path).unwrap();
        let mut journal = Journal { path: path.clone(), file: file(), end: 0, torn: false };
        journal.write(Line::Begin(0)).unwrap();
        // The disk has taken half of it: it is cut away at once.
        std::fs::write(&path, b"{\"begin\":0}\n{\"do").unwrap();
        let mut full = Journal { file: File::open(&path).unwrap(), ..journal };
        assert!(full.write(Line::Done(0)).is_err());
        // It could not even be cut away, as through a file that is open for reading only.
        assert!(full.torn);
        let mut journal = Journal { file: file(), ..full };
        journal.write(Line::Undo).unwrap();
        journal.write(Line::Undone(0)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"begin\":0}\n{\"do\n\"undo\"\n{\"undone\":0}\n");
    }
}
