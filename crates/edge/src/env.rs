//! The world as one value. The only file that reads the clock, the environment or the arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::MultiProgress;
use manifests::Timestamp;

use crate::terminal::{ControllingTerminal, Terminal};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The wall clock, UTC.
    fn now(&self) -> Timestamp;
    /// A clock that only goes forward, from an arbitrary start: for durations.
    fn monotonic(&self) -> Duration;
    /// Waits, on that clock.
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Where notes and errors go. Cloning gives another handle on the same place, for threads and for whoever
/// looks at the rest of the world meanwhile.
#[derive(Clone)]
pub struct Stderr(Arc<Streams>);

struct Streams {
    out: Mutex<Box<dyn Write + Send>>,
    /// The bars that stand below what is said, while there are some.
    bars: Mutex<Option<MultiProgress>>,
}

impl Stderr {
    /// Writes there.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Streams { out: Mutex::new(out), bars: Mutex::default() }))
    }

    /// Writes one line, above the bars if there are any. Nobody is left to be told if that fails.
    pub fn say(&self, line: &str) {
        let line = crate::show::safe(line.trim_end_matches('\n'));
        let write = || {
            let mut out = self.0.out.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = out.write_all(format!("{line}\n").as_bytes());
        };
        match self.bars() {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Keeps the bars off the terminal while somebody is asked something there.
    pub fn aside<T>(&self, ask: impl FnOnce() -> T) -> T {
        let Some(bars) = self.bars() else { return ask() };
        // What is said meanwhile must not wait for the bars.
        self.below(None);
        let answer = bars.suspend(ask);
        self.below(Some(bars));
        answer
    }

    /// Bars stand below what is said from now on, or no more.
    pub(crate) fn below(&self, bars: Option<MultiProgress>) {
        *self.0.bars.lock().unwrap_or_else(PoisonError::into_inner) = bars;
    }

    fn bars(&self) -> Option<MultiProgress> {
        self.0.bars.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The world of one run: a test makes another one.
pub struct Env {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// The environment variables.
    pub vars: BTreeMap<OsString, OsString>,
    /// The directory that relative paths start from.
    pub cwd: PathBuf,
    /// This program itself, for programs that start it on our behalf.
    pub program: PathBuf,
    /// What another program pipes in. A person is asked at [`Env::terminal`].
    pub stdin: Box<dyn Read + Send>,
    /// Results go here.
    pub stdout: Box<dyn Write + Send>,
    /// Everything else goes here.
    pub stderr: Stderr,
    /// Whether a person looks at stderr, so that progress bars make sense.
    pub stderr_is_terminal: bool,
    /// Where a person can be asked for a passphrase.
    pub terminal: Box<dyn Terminal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The numeric user id.
    pub uid: u32,
    /// The host's name.
    pub host: String,
}

impl Env {
    /// The real world.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one door to arguments and environment")]
    pub fn real() -> Self {
        Self {
            args: std::env::args_os().collect(),
            vars: std::env::vars_os().collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            program: std::env::current_exe().unwrap_or_default(),
            stdin: Box::new(std::io::stdin()),
            stdout: Box::new(std::io::stdout()),
            stderr: Stderr::new(Box::new(std::io::stderr())),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            terminal: Box::new(ControllingTerminal),
            clock: Arc::new(SystemClock { started: std::time::Instant::now() }),
            uid: rustix::process::getuid().as_raw(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// An environment variable, if it is set, not empty, and text.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(std::ffi::OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }

    /// Who runs the program, as the environment says; the kernel's word is `uid`.
    #[must_use]
    pub fn user(&self) -> &str {
        let named = self.var("USER").or_else(|| self.var("LOGNAME"));
        named.unwrap_or(if self.uid == 0 { "root" } else { "unknown" })
    }

    /// A path as the person at the keyboard means it.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }
}

/// The clock of this machine, for what outlives the borrow of an [`Env`]: a time limit of a program.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one door to the clock")]
pub fn system_clock() -> Box<dyn Clock> {
    Box::new(SystemClock { started: std::time::Instant::now() })
}

struct SystemClock {
    started: std::time::Instant,
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0);
        Timestamp::from_unix_seconds(seconds).unwrap_or_else(epoch)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What a clock shows that is set before 1970 or after 9999.
fn epoch() -> Timestamp {
    Timestamp::from_unix_seconds(0).unwrap_or_else(|| unreachable!("zero is within the range"))
}
