//! The only file that starts a program: an argument vector (never a shell line), a working directory, an
//! environment of named variables only, no standard input but a given one (bytes, or a stream that is made
//! while the program reads it), a time limit, and bounded output.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
}

/// What it printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The end of what it wrote to stdout.
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
        self.finish(&mut child, clock)
    }

    /// Runs it to its end while `feed` writes what it reads from its standard input. Also tells how that
    /// went: a program that did not read to the end is a broken pipe.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_fed(
        &self,
        clock: &dyn Clock,
        feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
    ) -> Result<(Finished, std::io::Result<()>), ProcessError> {
        let mut child = Self { input: Some(Vec::new()), ..self.clone() }.start()?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // The pipe is closed as soon as the feed has ended, and breaks as soon as the program has.
            let feeding = scope.spawn(move || stdin.map_or(Ok(()), |mut stdin| feed(&mut stdin)));
            let finished = self.finish(&mut child, clock);
            let lost = || Err(std::io::Error::other("what fed the program has crashed"));
            let fed = feeding.join().unwrap_or_else(|_| lost());
            Ok((finished?, fed))
        })
    }

    fn finish(&self, child: &mut Child, clock: &dyn Clock) -> Result<Finished, ProcessError> {
        let stdout = child.stdout.take().map(keep_tail);
        let stderr = child.stderr.take().map(keep_tail);
        let code = self.wait(child, clock)?;
        let text = |tail: Option<std::thread::JoinHandle<Vec<u8>>>| {
            let bytes = tail.and_then(|handle| handle.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(Finished { code, stdout: text(stdout), stderr: text(stderr) })
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
        start.map_err(|source| ProcessError::Start { program: self.program.clone(), source })
    }

    fn wait(&self, child: &mut Child, clock: &dyn Clock) -> Result<Option<i32>, ProcessError> {
        let lost = |source| ProcessError::Lost { program: self.program.clone(), source };
        let started = clock.monotonic();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().map_err(lost)? {
                return Ok(status.code());
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
    fn a_program_is_fed_more_than_a_pipe_holds_and_need_not_take_it() {
        let clock = Env::real().clock;
        let feed =
            |out: &mut dyn Write| std::io::copy(&mut std::io::repeat(7).take(1 << 22), out).map(|_| ());
        let (finished, fed) = program("wc -c").run_fed(&*clock, feed).unwrap();
        assert_eq!((finished.stdout.trim(), fed.is_ok()), ("4194304", true));
        let (finished, fed) = program("exit 3").run_fed(&*clock, feed).unwrap();
        assert_eq!((finished.code, fed.unwrap_err().kind()), (Some(3), std::io::ErrorKind::BrokenPipe));
        let mut hangs = program("exec sleep 600");
        hangs.time_limit = Duration::from_millis(50);
        assert!(matches!(hangs.run_fed(&*clock, feed), Err(ProcessError::TimeLimit { .. })));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let clock = Env::real().clock;
        let mut hangs = program("exec sleep 600");
        hangs.time_limit = Duration::from_millis(50);
        assert!(matches!(hangs.run(&*clock), Err(ProcessError::TimeLimit { .. })));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let clock = Env::real().clock;
        let error = Program::new("/no/such/program", Path::new("/")).run(&*clock).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `/no/such/program`");
    }
}
