//! Progress in bytes: bars for people who look at a terminal, and a plain line from time to time where the words go
//! to a file or to another program. Each says how much is done, how fast, and how long it will take: of the part that
//! is being read, if there are parts, and of the whole.
//!
//! *What it never does:* decide anything. A total that nobody knows is left out, and one that was wrong is only
//! shown.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::env::{Clock, Stderr};
use crate::show::bytes;

/// The first plain line comes after so long: what is done by then needs none.
const FIRST_LINE: Duration = Duration::from_secs(10);

/// So long between two plain lines.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Takes the bytes as they pass.
pub trait Progress: Send {
    /// So many more were done.
    fn advance(&mut self, bytes: u64);

    /// What is being done at the moment, in a few words.
    fn about(&mut self, _text: &str) {}

    /// A part of the whole begins: its name, and its length in bytes. What advances from now on is of this part.
    fn part(&mut self, _name: &str, _bytes: u64) {}

    /// The length of the whole, for whom it was not known at the beginning.
    fn total(&mut self, _bytes: u64) {}

    /// The whole is longer by so much than was said.
    fn longer(&mut self, _bytes: u64) {}
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn advance(&mut self, _bytes: u64) {}
}

/// Progress through parts that lie one behind the other.
pub struct InParts {
    progress: Box<dyn Progress>,
    parts: VecDeque<(String, u64)>,
    /// What is left of the part that has begun.
    left: u64,
}

impl InParts {
    /// The parts by their names and lengths, in their order.
    #[must_use]
    pub fn of(progress: Box<dyn Progress>, parts: impl Iterator<Item = (String, u64)>) -> Self {
        Self { progress, parts: parts.collect(), left: 0 }
    }
}

impl Progress for InParts {
    fn advance(&mut self, mut bytes: u64) {
        while bytes > self.left {
            let Some((name, length)) = self.parts.pop_front() else { break };
            self.progress.advance(self.left);
            bytes = bytes.saturating_sub(self.left);
            self.progress.part(&name, length);
            self.left = length;
        }
        self.left = self.left.saturating_sub(bytes);
        self.progress.advance(bytes);
    }

    fn about(&mut self, text: &str) {
        self.progress.about(text);
    }

    fn total(&mut self, bytes: u64) {
        self.progress.total(bytes);
    }

    fn longer(&mut self, bytes: u64) {
        self.progress.longer(bytes);
    }
}

/// How a run shows its progress.
#[derive(Clone)]
pub enum Shown {
    /// Not at all.
    Not,
    /// As bars on the terminal behind stderr.
    Bars(Stderr),
    /// As lines on stderr, by this clock.
    Lines(Stderr, Arc<dyn Clock>),
}

impl Shown {
    /// Something begins, and has so many bytes: 0 if nobody knows.
    #[must_use]
    pub fn begin(&self, label: &str, total_bytes: u64) -> Box<dyn Progress> {
        match self {
            Self::Not => Box::new(Silent),
            Self::Bars(stderr) => Box::new(Bars::begin(stderr, label, total_bytes)),
            Self::Lines(stderr, clock) => {
                Box::new(Lines::begin(stderr.clone(), Arc::clone(clock), label, total_bytes))
            }
        }
    }
}

/// A bar for the whole, and one above it for the part that is being read.
struct Bars {
    stderr: Stderr,
    all: MultiProgress,
    whole: ProgressBar,
    part: Option<ProgressBar>,
}

const BAR: &str = "{prefix:<11} {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
/// Without a total there is no bar, and no time left.
const SPINNER: &str = "{prefix:<11} {msg} {spinner} {bytes} {bytes_per_sec}";

impl Bars {
    fn begin(stderr: &Stderr, label: &str, total_bytes: u64) -> Self {
        let all = MultiProgress::new();
        stderr.below(Some(all.clone()));
        let whole = all.add(bar(label, total_bytes));
        whole.enable_steady_tick(Duration::from_millis(200));
        Self { stderr: stderr.clone(), all, whole, part: None }
    }

    fn end_part(&mut self) {
        if let Some(part) = self.part.take() {
            part.finish_and_clear();
            self.all.remove(&part);
        }
    }
}

fn bar(label: &str, total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(total_bytes);
    style(&bar, total_bytes);
    bar.set_prefix(label.to_string());
    bar
}

fn style(bar: &ProgressBar, total_bytes: u64) {
    if let Ok(style) = ProgressStyle::with_template(if total_bytes == 0 { SPINNER } else { BAR }) {
        bar.set_style(style);
    }
}

impl Progress for Bars {
    fn advance(&mut self, bytes: u64) {
        if let Some(part) = &self.part {
            part.inc(bytes);
        }
        self.whole.inc(bytes);
    }

    fn about(&mut self, text: &str) {
        self.whole.set_message(text.to_string());
    }

    fn part(&mut self, name: &str, bytes: u64) {
        self.end_part();
        let part = self.all.insert(0, bar(name, bytes));
        part.tick();
        self.part = Some(part);
    }

    fn total(&mut self, bytes: u64) {
        style(&self.whole, bytes);
        self.whole.set_length(bytes);
    }

    fn longer(&mut self, bytes: u64) {
        self.total(self.whole.length().unwrap_or(0).saturating_add(bytes));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end_part();
        self.whole.finish_and_clear();
        self.stderr.below(None);
    }
}

/// Something that goes on: since when, how far it is, and how far it goes.
struct Meter {
    since: Duration,
    done: u64,
    total: u64,
}

impl Meter {
    fn begin(since: Duration, total: u64) -> Self {
        Self { since, done: 0, total }
    }

    /// Bytes in a second, on average; nothing in the first instant.
    fn rate(&self, now: Duration) -> Option<u64> {
        let millis = now.saturating_sub(self.since).as_millis();
        let rate = u128::from(self.done).saturating_mul(1000).checked_div(millis)?;
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }

    /// `1.2 GiB of 3.0 GiB, 210.0 MiB/s, 9 s left`, as far as that is known.
    fn text(&self, now: Duration) -> String {
        let mut text = bytes(self.done);
        let left = self.total.checked_sub(self.done).filter(|_| self.total > 0);
        if left.is_some() {
            let _ = write!(text, " of {}", bytes(self.total));
        }
        if let Some(rate) = self.rate(now) {
            let _ = write!(text, ", {}/s", bytes(rate));
            if let Some(seconds) = left.and_then(|left| left.div_ceil(rate).into()) {
                let _ = write!(text, ", {} left", lasting(Duration::from_secs(seconds)));
            }
        }
        text
    }
}

/// `9 s`, `2 min 5 s`, `3 h 20 min`.
fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A line from time to time.
struct Lines {
    stderr: Stderr,
    clock: Arc<dyn Clock>,
    label: String,
    message: String,
    whole: Meter,
    part: Option<(String, Meter)>,
    /// When the next line is due.
    due: Duration,
    said: bool,
}

impl Lines {
    fn begin(stderr: Stderr, clock: Arc<dyn Clock>, label: &str, total_bytes: u64) -> Self {
        let now = clock.monotonic();
        Self {
            stderr,
            clock,
            label: label.to_string(),
            message: String::new(),
            whole: Meter::begin(now, total_bytes),
            part: None,
            due: now.saturating_add(FIRST_LINE),
            said: false,
        }
    }

    fn line(&self, now: Duration) -> String {
        let mut line = self.label.clone();
        if !self.message.is_empty() {
            let _ = write!(line, ", {}", self.message);
        }
        if let Some((name, meter)) = &self.part {
            let _ = write!(line, ", {name}: {}; in all", meter.text(now));
        }
        let _ = write!(line, ": {}", self.whole.text(now));
        line
    }
}

impl Progress for Lines {
    fn advance(&mut self, bytes: u64) {
        self.whole.done = self.whole.done.saturating_add(bytes);
        if let Some((_, meter)) = &mut self.part {
            meter.done = meter.done.saturating_add(bytes);
        }
        let now = self.clock.monotonic();
        if now >= self.due {
            self.due = now.saturating_add(BETWEEN_LINES);
            self.said = true;
            self.stderr.say(&self.line(now));
        }
    }

    fn about(&mut self, text: &str) {
        self.message = text.to_string();
    }

    fn part(&mut self, name: &str, bytes: u64) {
        self.part = Some((name.to_string(), Meter::begin(self.clock.monotonic(), bytes)));
    }

    fn total(&mut self, bytes: u64) {
        self.whole.total = bytes;
    }

    fn longer(&mut self, bytes: u64) {
        self.whole.total = self.whole.total.saturating_add(bytes);
    }
}

/// Who was told that it goes on is told that it has ended.
impl Drop for Lines {
    fn drop(&mut self) {
        if self.said {
            let took = self.clock.monotonic().saturating_sub(self.whole.since);
            let done = bytes(self.whole.done);
            self.stderr.say(&format!("{}: {done} in {}", self.label, lasting(took)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use manifests::Timestamp;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A clock that stands where it is put.
    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_seconds(0).unwrap()
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    const MIB: u64 = 1 << 20;

    /// What is said while `seconds` and `mebibytes` pass, of two parts and 100 MiB.
    fn said(steps: &[(u64, u64)]) -> Vec<String> {
        let (kept, clock) = (Kept::default(), Arc::new(Hand::default()));
        let shown = Shown::Lines(Stderr::new(Box::new(kept.clone())), clock.clone());
        let mut progress = shown.begin("verifying", 0);
        progress.total(100 * MIB);
        for (at, (second, mebibytes)) in steps.iter().enumerate() {
            if at % 2 == 0 {
                progress.part(&format!("part {} of 2", at / 2 + 1), 50 * MIB);
            }
            *clock.0.lock().unwrap() = Duration::from_secs(*second);
            progress.advance(mebibytes * MIB);
        }
        drop(progress);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_string).collect()
    }

    #[test]
    fn what_is_soon_done_is_not_spoken_of() {
        assert_eq!(said(&[(1, 20), (5, 30), (6, 1), (9, 49)]), Vec::<String>::new());
    }

    #[test]
    fn a_line_says_bytes_rate_and_time_left_of_the_part_and_of_the_whole() {
        assert_eq!(
            said(&[(5, 20), (10, 20), (11, 10), (39, 1), (40, 39)]),
            [
                "verifying, part 1 of 2: 40.0 MiB of 50.0 MiB, 4.0 MiB/s, 3 s left; in all: 40.0 MiB of 100.0 MiB, 4.0 MiB/s, 15 s left",
                "verifying, part 3 of 2: 39.0 MiB of 50.0 MiB, 39.0 MiB/s, 1 s left; in all: 90.0 MiB of 100.0 MiB, 2.2 MiB/s, 5 s left",
                "verifying: 90.0 MiB in 40 s",
            ]
        );
    }

    #[test]
    fn bytes_that_go_over_an_edge_count_for_both_parts() {
        struct Told(Arc<Mutex<Vec<(String, u64)>>>);
        impl Progress for Told {
            fn advance(&mut self, bytes: u64) {
                self.0.lock().unwrap().last_mut().unwrap().1 += bytes;
            }
            fn part(&mut self, name: &str, _bytes: u64) {
                self.0.lock().unwrap().push((name.to_string(), 0));
            }
        }
        let told = Arc::new(Mutex::new(vec![(String::new(), 0)]));
        let parts = [("a", 10), ("b", 3), ("c", 20)].map(|(name, length)| (name.to_string(), length));
        let mut progress = InParts::of(Box::new(Told(told.clone())), parts.into_iter());
        [4, 6, 1, 12, 10, 5].into_iter().for_each(|bytes| progress.advance(bytes));
        let told: Vec<_> = told.lock().unwrap().clone();
        let told: Vec<(&str, u64)> = told.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert_eq!(told, [("", 0), ("a", 10), ("b", 3), ("c", 25)]);
    }

    #[test]
    fn a_total_that_is_not_known_or_was_wrong_is_left_out() {
        let meter = |done, total| Meter { since: Duration::ZERO, done, total };
        let now = Duration::from_secs(2);
        assert_eq!(meter(4 * MIB, 0).text(now), "4.0 MiB, 2.0 MiB/s");
        assert_eq!(meter(4 * MIB, MIB).text(now), "4.0 MiB, 2.0 MiB/s");
        assert_eq!(meter(4 * MIB, 4 * MIB).text(now), "4.0 MiB of 4.0 MiB, 2.0 MiB/s, 0 s left");
        assert_eq!(meter(0, MIB).text(Duration::ZERO), "0 B of 1.0 MiB");
    }

    #[test]
    fn a_time_is_said_in_two_words_at_most() {
        let said = [9, 60, 125, 3600, 12_000].map(|seconds| lasting(Duration::from_secs(seconds)));
        assert_eq!(said, ["9 s", "1 min 0 s", "2 min 5 s", "1 h 0 min", "3 h 20 min"]);
    }
}
