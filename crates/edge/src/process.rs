//! The only file that starts a program: an argument vector (never a shell line), a working directory, an
//! environment of named variables only, no standard input but a given one, a time limit, and bounded output.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::Clock;

/// How much of each stream is kept, from its end.
const KEPT_BYTES: usize = 256 * 1024;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// A path, or a name to look up in the `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// All the variables it gets.
    pub env: Vec<(OsString, OsString)>,
    /// What it reads from its standard input; nothing for none at all.
    pub input: Option<Vec<u8>>,
    /// When it is ended.
    pub time_limit: Duration,
    /// For a program whose output is wanted whole: how many bytes it may write to stdout before it is ended.
    /// Without it only the end of a long output is kept.
    pub whole_output: Option<usize>,
    /// How many bytes of memory it may map, if that is bounded. (Set just after it was started.)
    pub memory_limit: Option<u64>,
}

/// What it printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout: the end of it, unless all of it was asked for.
    pub stdout: String,
    /// The end of what it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// Whether it exited with 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The last lines of stderr (or else stdout), made printable: for a message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = lines.iter().rev().take(3).rev().map(|line| manifests::text::printable(line));
        tail.collect::<Vec<_>>().join("; ")
    }
}

/// Why a program could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It is not there, or may not be run.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It was ended because it took too long.
    #[error("`{}` did not end within {} seconds", program.display(), limit.as_secs())]
    TimeLimit {
        /// What was started.
        program: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// It was ended because it wrote too much.
    #[error("`{}` wrote more than {limit} bytes", program.display())]
    OutputLimit {
        /// What was started.
        program: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Its end could not be learned.
    #[error("lost sight of `{}`", program.display())]
    Lost {
        /// What was started.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Program {
    /// A program with no arguments, no environment and ten minutes.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, cwd: &Path) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: cwd.to_path_buf(),
            env: Vec::new(),
            input: None,
            time_limit: Duration::from_secs(600),
            whole_output: None,
            memory_limit: None,
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With this to read from its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, takes too long, or is lost. A non-zero exit code is not an error here.
    pub fn run(&self, clock: &dyn Clock) -> Result<Finished, ProcessError> {
        let mut child = self.start()?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input.clone()) {
            // On a thread of its own, as it may never read; one that does not want to know is no error.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let too_much = Arc::new(AtomicBool::new(false));
        let stdout = child.stdout.take().map(|stream| match self.whole_output {
            None => keep_tail(stream),
            Some(limit) => keep_whole(stream, limit, Arc::clone(&too_much)),
        });
        let stderr = child.stderr.take().map(keep_tail);
        let code = self.wait(&mut child, clock, &too_much)?;
        let text = |tail: Option<std::thread::JoinHandle<Vec<u8>>>| {
            let bytes = tail.and_then(|handle| handle.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let finished = Finished { code, stdout: text(stdout), stderr: text(stderr) };
        // It may have ended by itself before anybody noticed.
        if too_much.load(Ordering::Acquire) { Err(self.wrote_too_much()) } else { Ok(finished) }
    }

    fn wrote_too_much(&self) -> ProcessError {
        ProcessError::OutputLimit {
            program: self.program.clone(),
            limit: self.whole_output.unwrap_or_default(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door to other programs")]
    fn start(&self) -> Result<Child, ProcessError> {
        let start = Command::new(&self.program)
            .args(&self.args)
            .current_dir(&self.cwd)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child =
            start.map_err(|source| ProcessError::Start { program: self.program.clone(), source })?;
        if let Err(source) = self.bound_memory(&child) {
            // Without its bound it may not run on.
            let _ = child.kill().and_then(|()| child.wait().map(|_| ()));
            return Err(ProcessError::Lost { program: self.program.clone(), source });
        }
        Ok(child)
    }

    fn bound_memory(&self, child: &Child) -> std::io::Result<()> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(limit), Some(pid)) = (self.memory_limit, pid) else { return Ok(()) };
        match prlimit(Some(pid), Resource::As, Rlimit { current: Some(limit), maximum: Some(limit) }) {
            // One that has ended already needs no bound.
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(
        &self,
        child: &mut Child,
        clock: &dyn Clock,
        too_much: &AtomicBool,
    ) -> Result<Option<i32>, ProcessError> {
        let lost = |source| ProcessError::Lost { program: self.program.clone(), source };
        let started = clock.monotonic();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().map_err(lost)? {
                return Ok(status.code());
            }
            if too_much.load(Ordering::Acquire) {
                child.kill().and_then(|()| child.wait().map(|_| ())).map_err(lost)?;
                return Err(self.wrote_too_much());
            }
            if clock.monotonic().saturating_sub(started) > self.time_limit {
                child.kill().and_then(|()| child.wait().map(|_| ())).map_err(lost)?;
                return Err(ProcessError::TimeLimit {
                    program: self.program.clone(),
                    limit: self.time_limit,
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Reads a stream to its end on a thread of its own, so that neither stream can block the other.
fn keep_tail(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = vec![0_u8; 16 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let surplus = kept.len().saturating_sub(KEPT_BYTES);
            kept.drain(..surplus);
        }
        kept
    })
}

/// The same, but keeps all of it up to a limit. Beyond that it says so and reads on, so that the program can
/// be ended.
fn keep_whole(
    mut stream: impl Read + Send + 'static,
    limit: usize,
    too_much: Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            if kept.len().saturating_add(count) > limit {
                too_much.store(true, Ordering::Release);
                kept.clear();
            } else if !too_much.load(Ordering::Relaxed) {
                kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    fn program(script: &str) -> Program {
        Program::new("/bin/sh", Path::new("/")).arg("-c").arg(script)
    }

    #[test]
    fn a_program_gets_only_the_variables_it_was_given() {
        let clock = Env::real().clock;
        let finished =
            program("echo ${HOME:-none} $GIVEN >&2; exit 3").var("GIVEN", "x").run(&*clock).unwrap();
        assert_eq!((finished.code, finished.last_words().as_str()), (Some(3), "none x"));
    }

    #[test]
    fn a_program_reads_what_it_was_given_and_need_not() {
        let clock = Env::real().clock;
        let said = |script| program(script).input("server").run(&*clock).unwrap().stdout;
        assert_eq!((said("cat"), said("echo x")), ("server".to_string(), "x\n".to_string()));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let clock = Env::real().clock;
        let mut hangs = program("exec sleep 600");
        hangs.time_limit = Duration::from_millis(50);
        assert!(matches!(hangs.run(&*clock), Err(ProcessError::TimeLimit { .. })));
    }

    #[test]
    fn output_that_is_wanted_whole_is_whole_or_the_program_is_ended() {
        let clock = Env::real().clock;
        let mut writes = program("head -c 1000000 /dev/zero | tr '\\0' x");
        assert_eq!(writes.run(&*clock).unwrap().stdout.len(), KEPT_BYTES);
        writes.whole_output = Some(1_000_000);
        assert_eq!(writes.run(&*clock).unwrap().stdout.len(), 1_000_000);
        writes.whole_output = Some(999_999);
        assert!(matches!(writes.run(&*clock), Err(ProcessError::OutputLimit { limit: 999_999, .. })));
        let mut endless = program("exec cat /dev/zero");
        endless.whole_output = Some(1024);
        assert!(matches!(endless.run(&*clock), Err(ProcessError::OutputLimit { .. })));
    }

    #[test]
    fn a_program_gets_no_more_memory_than_it_may_have() {
        let clock = Env::real().clock;
        // The shell waits for a line, so that its bound is there before it looks.
        let mut asks = program("read go; ulimit -v").input("go\n");
        asks.memory_limit = Some(64 * 1024 * 1024);
        assert_eq!(asks.run(&*clock).unwrap().stdout, "65536\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let clock = Env::real().clock;
        let error = Program::new("/no/such/program", Path::new("/")).run(&*clock).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `/no/such/program`");
    }
}
