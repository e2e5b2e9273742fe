//! Scripts: a copy from the verified store, run in a directory of its own and with a few named variables, and
//! ended with everything it started when its time is over.
//!
//! *Invariant:* nothing is run but bytes whose digest was checked while they were copied, and nothing on a
//! site that does not allow scripts. Before a script starts it is on disk that it may have started: an undo
//! without that leaves everything alone.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use edge::process::{GroupEnd, GroupFinished, ProcessError, Program, last_lines};
use manifests::Digest;
use manifests::script::{ScriptFile, Undo};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Context, TargetError};
use crate::audit::{About, about};
use crate::plan::{Direction, RunScript};
use crate::site::{Site, SiteError};

/// Where scripts find programs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bounds what is read of the two small files of ours.
const NOTE_BYTES_MAX: u64 = 4096;

/// What a script said.
#[derive(Debug)]
pub struct Said {
    /// Where it is kept.
    pub path: PathBuf,
    /// SHA-256 of what is kept there.
    pub digest: Digest,
    /// The end of it, for people.
    pub last_lines: String,
    /// What was run.
    pub script: Digest,
    /// Counted from 1.
    pub attempt: u64,
}

impl Said {
    /// What the log gets.
    #[must_use]
    pub fn facts(&self) -> About {
        about([
            ("script", self.script.to_string()),
            ("attempt", self.attempt.to_string()),
            ("output", self.digest.to_string()),
            ("said", self.last_lines.clone()),
        ])
    }
}

/// Runs a script for what it is there for, or, if that is the step, its undo.
///
/// # Errors
/// It cannot be run, fails, takes too long, or somebody stops it.
pub fn perform(run: &RunScript, kept: &Path, context: &Context<'_>) -> Result<About, TargetError> {
    let interruption = Interruption::watch();
    let stop = || interruption.is_asked_for();
    Attempt::begin(run, run.direction, kept, context)?.run(&stop)
}

/// Takes a step back by running the other one of script and undo. If it was never begun, nothing is run.
///
/// # Errors
/// There is no other one; it cannot be run, fails or takes too long. Nobody can stop it, as what it leaves
/// half done nobody would take up again.
pub fn undo(run: &RunScript, kept: &Path, context: &Context<'_>) -> Result<About, TargetError> {
    if attempts(&note(run, run.direction, kept))? == 0 {
        remove(&context.site.run_dir())?;
        return Ok(About::new());
    }
    let _held = Interruption::watch();
    Attempt::begin(run, run.direction.other(), kept, context)?.run(&|| false)
}

/// One run of a script.
struct Attempt<'a> {
    run: &'a RunScript,
    direction: Direction,
    file: &'a ScriptFile,
    kept: &'a Path,
    context: &'a Context<'a>,
    number: u64,
}

/// What becomes of files of ours.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TargetError {
    let path = path.to_path_buf();
    move |source| TargetError::Io { doing, path, source }
}

/// How often a script was begun in a direction.
fn note(run: &RunScript, direction: Direction, kept: &Path) -> PathBuf {
    kept.join(format!("script-{}-{}.{}", run.script.name, run.bundle.0.short(), direction.word()))
}

fn attempts(note: &Path) -> Result<u64, TargetError> {
    match layout::durable::read_bounded(note, NOTE_BYTES_MAX) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).trim().parse().unwrap_or(1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("cannot read", note)(error)),
    }
}

pub(crate) fn remove(directory: &Path) -> Result<(), TargetError> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove", directory)(error))
        }
        _ => Ok(()),
    }
}

impl<'a> Attempt<'a> {
    fn begin(
        run: &'a RunScript,
        direction: Direction,
        kept: &'a Path,
        context: &'a Context<'a>,
    ) -> Result<Self, TargetError> {
        let name = run.script.name.clone();
        let file = match (run.file(direction), &run.script.undo) {
            (Some(file), _) => file,
            (None, Undo::Irreversible(reason)) => {
                remove(&context.site.run_dir())?;
                return Err(TargetError::Irreversible { name, reason: reason.clone() });
            }
            (None, Undo::Script(file)) => file,
        };
        if context.config.targets.scripts.is_none() {
            return Err(TargetError::ScriptNotAllowed { name });
        }
        let number = attempts(&note(run, direction, kept))?.saturating_add(1);
        Ok(Self { run, direction, file, kept, context, number })
    }

    fn run(self, stop: &dyn Fn() -> bool) -> Result<About, TargetError> {
        let directory = self.context.site.run_dir();
        remove(&directory)?;
        let copy = self.copy(&directory)?;
        let note = note(self.run, self.direction, self.kept);
        layout::durable::make_directory(self.kept)
            .and_then(|()| layout::durable::replace(&note, self.number.to_string().as_bytes(), 0o600))
            .map_err(failed("cannot write", &note))?;
        let clock = &*self.context.env.clock;
        let mut started = |group: u32| note_process(&directory, group);
        let finished = self.program(copy, &directory).run_group(clock, &mut started, stop);
        let removed = remove(&directory);
        if let (Err(ProcessError::Start { .. }), 1) = (&finished, self.number) {
            // Nothing has run, so there is nothing to take back.
            std::fs::remove_file(&note).map_err(failed("cannot remove", &note))?;
        }
        let facts = self.judge(&finished?, &note)?;
        removed?;
        Ok(facts)
    }

    /// The script in a directory of its own, and beside it an empty one for it to run in.
    fn copy(&self, directory: &Path) -> Result<PathBuf, TargetError> {
        let copy = directory.join("script").join(self.file.filename.as_str());
        let write = || -> io::Result<()> {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(directory.join("script"))?;
            builder.create(directory.join("work"))?;
            let mut out = File::options().write(true).create_new(true).mode(0o700).open(&copy)?;
            let mut blob = File::open(self.context.site.store().blob_path(&self.file.digest))?;
            let (content, _) = layout::hashing::copy(&mut blob, &mut out)?;
            if (content.digest, content.size) != (self.file.digest, self.file.size) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what was kept of it has changed"));
            }
            Ok(())
        };
        write().map_err(failed("cannot copy a script to", &copy))?;
        Ok(copy)
    }

    fn program(&self, copy: PathBuf, directory: &Path) -> Program {
        let run = self.run;
        let from = run.from.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut program = Program::new(copy, &directory.join("work"))
            .var("PATH", PATH)
            .var("HOME", self.context.env.var("HOME").unwrap_or("/"))
            .var("AIRLOCK_SITE", self.context.site.dir())
            .var("AIRLOCK_BUNDLE", run.bundle.to_string())
            .var("AIRLOCK_PRODUCT", run.product.to_string())
            .var("AIRLOCK_VERSION", run.version.to_string())
            .var("AIRLOCK_FROM", from)
            .var("AIRLOCK_STEP", self.direction.word())
            .var("AIRLOCK_ATTEMPT", self.number.to_string());
        program.time_limit = Duration::from_secs(run.script.within.seconds());
        program
    }

    /// Keeps what it said, and says how it ended.
    fn judge(&self, finished: &GroupFinished, note: &Path) -> Result<About, TargetError> {
        let path = note.with_extension(format!("{}.output", self.direction.word()));
        layout::durable::replace(&path, finished.said.as_bytes(), 0o600)
            .map_err(failed("cannot write", &path))?;
        let words = last_lines(&finished.said);
        let said = Said {
            path,
            digest: Digest::of(finished.said.as_bytes()),
            last_lines: if words.is_empty() { "it said nothing".to_string() } else { words },
            script: self.file.digest,
            attempt: self.number,
        };
        let how = match finished.end {
            GroupEnd::Code(0) => return Ok(said.facts()),
            GroupEnd::Code(code) => format!("failed with exit code {code}"),
            GroupEnd::Signal(signal) => format!("was ended by signal {signal}"),
            GroupEnd::TimeLimit => {
                format!("did not end within {} seconds", self.run.script.within.seconds())
            }
            GroupEnd::Stopped => "was stopped".to_string(),
        };
        let how = if self.direction == Direction::Undo { format!("(its undo) {how}") } else { how };
        Err(TargetError::Script { name: self.run.script.name.clone(), how, said: Box::new(said) })
    }
}

/// Notes which process runs, for [`refuse_while_running`].
pub(crate) fn note_process(directory: &Path, group: u32) {
    // Only for whoever comes after a kill: a failure to write it is no reason not to run.
    drop(std::fs::write(directory.join("process"), identity(group).unwrap_or_default()));
}

/// What tells a process from a later one with the same number: the number and when it began.
fn identity(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is numbers (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // One that nobody has buried yet does nothing any more.
    let state = fields.next().filter(|state| !matches!(*state, "Z" | "X"));
    let began = fields.nth(18)?;
    state.map(|_| format!("{process} {began}"))
}

/// Refuses to go on while a script of a run that was killed still runs, or Helm.
///
/// # Errors
/// It does, or that cannot be found out.
pub fn refuse_while_running(site: &Site) -> Result<(), TargetError> {
    let path = site.run_dir().join("process");
    let text = match layout::durable::read_bounded(&path, NOTE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|source| SiteError::Io { doing: "cannot read", path: path.clone(), source })?,
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.split(' ').next().and_then(|number| number.parse().ok()) {
        Some(process) if identity(process).as_ref() == Some(&text) => Err(TargetError::StillRuns { process }),
        _ => Ok(()),
    }
}

/// What Ctrl-C, a hang-up and a polite kill do while a script runs or a health check waits: they are noted, so
/// that the script is ended and everything taken back. At any other time they end the program as always.
pub(crate) struct Interruption {
    signals: Option<&'static Signals>,
}

struct Signals {
    nobody_watches: Arc<AtomicBool>,
    asked_for: Arc<AtomicBool>,
}

impl Signals {
    fn the() -> Option<&'static Self> {
        static SIGNALS: OnceLock<Option<Signals>> = OnceLock::new();
        SIGNALS.get_or_init(|| Self::register().ok()).as_ref()
    }

    fn register() -> io::Result<Self> {
        let signals = Self {
            nobody_watches: Arc::new(AtomicBool::new(true)),
            asked_for: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let (idle, asked_for) = (Arc::clone(&signals.nobody_watches), Arc::clone(&signals.asked_for));
            signal_hook::flag::register_conditional_default(signal, idle)?;
            signal_hook::flag::register(signal, asked_for)?;
        }
        Ok(signals)
    }
}

impl Interruption {
    pub(crate) fn watch() -> Self {
        let signals = Signals::the();
        if let Some(signals) = signals {
            signals.asked_for.store(false, Ordering::SeqCst);
            signals.nobody_watches.store(false, Ordering::SeqCst);
        }
        Self { signals }
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.signals.is_some_and(|signals| signals.asked_for.load(Ordering::SeqCst))
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        if let Some(signals) = self.signals {
            signals.nobody_watches.store(true, Ordering::SeqCst);
        }
    }
}
