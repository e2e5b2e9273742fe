//! When a request is worth another try, and how long to wait before it.
//!
//! Only time is spent here: what may be sent again is for [`crate::http`] to say, which knows whether a
//! body can be sent twice.

use std::sync::Arc;
use std::time::Duration;

/// The first wait; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Waits. Tests put a recorder here, so that no test sleeps.
pub type Pause = Arc<dyn Fn(Duration) + Send + Sync>;

/// How often and how patiently.
#[derive(Clone)]
pub struct Retry {
    retries: u32,
    longest_pause: Duration,
    pause: Pause,
}

impl Retry {
    /// At most `retries` further tries after the first, each after at most `longest_pause`.
    #[must_use]
    pub fn new(retries: u32, longest_pause: Duration, pause: Pause) -> Self {
        Self { retries, longest_pause, pause }
    }

    /// After `failures` tries have failed (at least one): waits and gives true, or gives false at once if
    /// that was the last try, or if the server asks for more patience than `longest_pause`.
    #[must_use]
    pub fn again_after(&self, failures: u32, asked: Option<Duration>) -> bool {
        let pause = self.pause_after(failures, asked);
        if let Some(pause) = pause {
            self.wait(pause);
        }
        pause.is_some()
    }

    /// How long to wait before the next try; nothing if that was the last.
    pub(crate) fn pause_after(&self, failures: u32, asked: Option<Duration>) -> Option<Duration> {
        if failures > self.retries || asked.is_some_and(|asked| asked > self.longest_pause) {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let pause = asked.unwrap_or_else(|| FIRST_PAUSE.saturating_mul(1 << doublings));
        Some(pause.min(self.longest_pause))
    }

    /// Waits.
    pub(crate) fn wait(&self, pause: Duration) {
        (self.pause)(pause);
    }
}

/// Whether a status says that the same request may succeed later (RFC 9110). 501 and the likes never do.
#[must_use]
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After`: seconds, or a date. A date is held against the answer's own `Date`, so that neither needs a
/// clock of ours to be right; without that, it counts as absent and the usual wait applies.
#[must_use]
pub fn retry_after(header: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let text = header?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (then, now) = (http_date(text)?, http_date(date?)?);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

/// RFC 9110's preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since some fixed day. Nobody sends the
/// two older forms.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.trim().split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok().filter(|n| *n <= 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Years that start in March have the leap day at their end; a month has 30.6 days on average.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn recorder() -> (Arc<Mutex<Vec<Duration>>>, Pause) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        (seen, Arc::new(move |pause| sink.lock().unwrap().push(pause)))
    }

    #[test]
    fn waits_twice_as_long_each_time_up_to_the_bound_and_then_gives_up() {
        let (seen, pause) = recorder();
        let retry = Retry::new(4, Duration::from_secs(3), pause);
        assert!((1..=4).all(|failures| retry.again_after(failures, None)));
        assert!(!retry.again_after(5, None));
        let millis: Vec<u128> = seen.lock().unwrap().iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [500, 1000, 2000, 3000]);
    }

    #[test]
    fn waits_as_long_as_the_server_asks_but_not_for_an_hour() {
        let (seen, pause) = recorder();
        let retry = Retry::new(4, Duration::from_secs(60), pause);
        assert!(retry.again_after(1, retry_after(Some("7"), None)));
        assert!(!retry.again_after(2, retry_after(Some("3600"), None)));
        assert_eq!(*seen.lock().unwrap(), [Duration::from_secs(7)]);
        assert_eq!(retry_after(Some("-1"), None), None);
        assert_eq!(retry_after(None, None), None);
    }

    #[test]
    fn a_date_is_held_against_the_servers_own() {
        let wait = |then: &str, now: &str| retry_after(Some(then), Some(now)).map(|wait| wait.as_secs());
        assert_eq!(wait("Fri, 20 Nov 2026 12:00:30 GMT", "Fri, 20 Nov 2026 12:00:00 GMT"), Some(30));
        assert_eq!(wait("Fri, 20 Nov 2026 11:00:00 GMT", "Fri, 20 Nov 2026 12:00:00 GMT"), Some(0));
        assert_eq!(wait("Fri, 01 Jan 2027 00:00:10 GMT", "Thu, 31 Dec 2026 23:59:50 GMT"), Some(20));
        assert_eq!(wait("Sat, 01 Mar 2025 00:00:00 GMT", "Fri, 28 Feb 2025 00:00:00 GMT"), Some(86400));
        assert_eq!(wait("Fri, 01 Mar 2024 00:00:00 GMT", "Wed, 28 Feb 2024 00:00:00 GMT"), Some(2 * 86400));
        assert_eq!(wait("Mon, 01 Jan 2001 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"), Some(366 * 86400));
        assert_eq!(retry_after(Some("Fri, 20 Nov 2026 12:00:00 GMT"), None), None);
        for bad in [
            "",
            "Fri, 20 Nov 2026 12:00 GMT",
            "Fri, 99 Nov 2026 12:00:00 GMT",
            "20 Nov 2026",
            "Fri, 20 Nox 2026 12:00:00 GMT",
            "Fri, 20 Nov 99999999999999999999 12:00:00 GMT",
        ] {
            assert_eq!(wait(bad, "Fri, 20 Nov 2026 12:00:00 GMT"), None, "{bad}");
        }
    }

    #[test]
    fn a_huge_count_does_not_overflow() {
        let (_, pause) = recorder();
        assert!(Retry::new(u32::MAX, Duration::from_secs(1), pause).again_after(u32::MAX, None));
    }
}
