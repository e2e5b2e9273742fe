//! The only file that starts a program: an argument vector (never a shell line), a working directory, an
//! environment of named variables only, no standard input but a given one, a time limit, and bounded output.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};

use crate::Clock;

/// How much of each stream is kept, from its end.
const KEPT_BYTES: usize = 256 * 1024;
/// How long the output of a group is read after the group was ended: somebody who has left the group may
/// hold it open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
        last_lines(if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr })
    }
}

/// The last three lines of what a program said, made printable: for a message.
#[must_use]
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines.iter().rev().take(3).rev().map(|line| manifests::text::printable(line));
    tail.collect::<Vec<_>>().join("; ")
}

/// A program and whatever it started, after it was seen to its end.
#[derive(Debug)]
pub struct GroupFinished {
    /// How it ended.
    pub end: GroupEnd,
    /// The end of what was written to stdout and stderr, as it came.
    pub said: String,
}

/// How a program with a process group of its own ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupEnd {
    /// With this exit code.
    Code(i32),
    /// By this signal of somebody else's.
    Signal(i32),
    /// The whole group was ended at the time limit.
    TimeLimit,
    /// The whole group was ended because somebody asked for it.
    Stopped,
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

    /// Runs it in a process group of its own, with nothing to read. It has ended when it has exited and
    /// nobody writes to its output any more: whoever leaves something running redirects what that writes.
    /// At the time limit, when `stop` says so, and when it exits with another code than 0, whatever is left
    /// of the group is ended with it. `started` is told the group's number at once.
    ///
    /// # Errors
    /// It cannot be started, or is lost.
    pub fn run_group(
        &self,
        clock: &dyn Clock,
        started: &mut dyn FnMut(u32),
        stop: &dyn Fn() -> bool,
    ) -> Result<GroupFinished, ProcessError> {
        let failed = |source| ProcessError::Start { program: self.program.clone(), source };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut command = self.command();
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut child = spawn(&mut command).map_err(failed)?;
        // It holds the writing side of the pipe, and the output must be able to end.
        drop(command);
        started(child.id());
        let said = Said::read(reader);
        let end = self.wait_for_group(&mut child, &said, clock, stop)?;
        // Who was ended says no more, but what was said before may still be on its way.
        let ended = clock.monotonic();
        while !said.is_over() && clock.monotonic().saturating_sub(ended) < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(GroupFinished { end, said: said.text() })
    }

    fn wait_for_group(
        &self,
        child: &mut Child,
        said: &Said,
        clock: &dyn Clock,
        stop: &dyn Fn() -> bool,
    ) -> Result<GroupEnd, ProcessError> {
        let lost = |source| ProcessError::Lost { program: self.program.clone(), source };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let end_group = || group.map(|group| kill_process_group(group, Signal::KILL));
        let (began, mut pause) = (clock.monotonic(), Duration::from_millis(1));
        loop {
            let status = child.try_wait().map_err(lost)?;
            if let Some(status) = status.filter(|status| !status.success()) {
                end_group();
                return Ok(GroupEnd::of(status));
            }
            if status.is_some() && said.is_over() {
                return Ok(GroupEnd::Code(0));
            }
            let too_long = clock.monotonic().saturating_sub(began) > self.time_limit;
            if too_long || stop() {
                end_group();
                child.wait().map_err(lost)?;
                return Ok(if too_long { GroupEnd::TimeLimit } else { GroupEnd::Stopped });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn start(&self) -> Result<Child, ProcessError> {
        let mut command = self.command();
        command
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = command.spawn();
        let mut child =
            start.map_err(|source| ProcessError::Start { program: self.program.clone(), source })?;
        if let Err(source) = self.bound_memory(&child) {
            // Without its bound it may not run on.
            let _ = child.kill().and_then(|()| child.wait().map(|_| ()));
            return Err(ProcessError::Lost { program: self.program.clone(), source });
        }
        Ok(child)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door to other programs")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.cwd).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
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

impl GroupEnd {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// Starts a program that may have been written a moment ago. While another thread of this process starts
/// one of its own, that one holds our file open for writing until it is under way, and the kernel runs no
/// such file.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    for _ in 0..200 {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    command.spawn()
}

/// What is being read on another thread.
struct Said {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Said {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let thread = std::thread::spawn(move || {
            read_tail(stream, &mut |bytes| {
                keep(&mut into.lock().unwrap_or_else(PoisonError::into_inner), bytes);
            });
        });
        Self { kept, thread }
    }

    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What came so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// Reads a stream to its end on a thread of its own, so that neither stream can block the other.
fn keep_tail(stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        read_tail(stream, &mut |bytes| keep(&mut kept, bytes));
        kept
    })
}

fn read_tail(mut stream: impl Read, take: &mut dyn FnMut(&[u8])) {
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        take(buffer.get(..count).unwrap_or_default());
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(bytes);
    let surplus = kept.len().saturating_sub(KEPT_BYTES);
    kept.drain(..surplus);
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

    fn group(script: &str, limit: Duration, stop: &dyn Fn() -> bool) -> (GroupFinished, u32) {
        let mut program = program(script);
        program.time_limit = limit;
        let mut number = 0;
        let finished = program.run_group(&*Env::real().clock, &mut |group| number = group, stop).unwrap();
        (finished, number)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_group_says_everything_in_its_order_and_how_it_ended() {
        let (finished, _) = group("echo one; echo two >&2; echo three; exit 4", LONG, &|| false);
        assert_eq!((finished.end, finished.said.as_str()), (GroupEnd::Code(4), "one\ntwo\nthree\n"));
        let (finished, _) = group("kill -TERM $$", LONG, &|| false);
        assert_eq!(finished.end, GroupEnd::Signal(15));
    }

    /// Whether nobody of a group is left, soon, but the dead whom nobody has buried yet.
    fn goes(group: u32) -> bool {
        let clock = Env::real().clock;
        let began = clock.monotonic();
        while !is_gone(group) && clock.monotonic() - began < LONG {
            std::thread::yield_now();
        }
        is_gone(group)
    }

    fn is_gone(group: u32) -> bool {
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (_, rest) = text.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let (state, _, found) = (fields.next()?, fields.next()?, fields.next()?);
            (found == group.to_string() && state != "Z").then_some(())
        });
        pids.count() == 0
    }

    #[test]
    fn at_the_time_limit_the_whole_group_is_ended_and_what_it_said_is_kept() {
        let script = "echo begun; sleep 600 & sleep 600";
        let (finished, number) = group(script, Duration::from_millis(200), &|| false);
        assert_eq!((finished.end, finished.said.as_str()), (GroupEnd::TimeLimit, "begun\n"));
        assert!(goes(number));
    }

    #[test]
    fn whoever_is_stopped_or_fails_leaves_nobody_behind() {
        let (finished, number) = group("sleep 600 & sleep 600", LONG, &|| true);
        assert_eq!(finished.end, GroupEnd::Stopped);
        assert!(goes(number));
        let (finished, number) = group("sleep 600 & exit 1", LONG, &|| false);
        assert_eq!(finished.end, GroupEnd::Code(1));
        assert!(goes(number));
    }

    #[test]
    fn whoever_still_writes_is_waited_for_and_whoever_does_not_is_left_alone() {
        let (finished, _) = group("(sleep 0.2; echo late) &", LONG, &|| false);
        assert_eq!((finished.end, finished.said.as_str()), (GroupEnd::Code(0), "late\n"));
        let (finished, number) = group("sleep 600 >/dev/null 2>&1 &", LONG, &|| false);
        assert_eq!(finished.end, GroupEnd::Code(0));
        assert!(!is_gone(number));
        kill_process_group(Pid::from_raw(i32::try_from(number).unwrap()).unwrap(), Signal::KILL).unwrap();
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
