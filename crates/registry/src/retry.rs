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
        if failures > self.retries || asked.is_some_and(|asked| asked > self.longest_pause) {
            return false;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let pause = asked.unwrap_or_else(|| FIRST_PAUSE.saturating_mul(1 << doublings));
        (self.pause)(pause.min(self.longest_pause));
        true
    }
}

/// Whether a status says that the same request may succeed later (RFC 9110). 501 and the likes never do.
#[must_use]
pub fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds. Its other form, a date, would need a clock: it counts as absent, and the
/// usual wait applies.
#[must_use]
pub fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse().ok().map(Duration::from_secs)
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
        assert!(retry.again_after(1, retry_after(Some("7"))));
        assert!(!retry.again_after(2, retry_after(Some("3600"))));
        assert_eq!(*seen.lock().unwrap(), [Duration::from_secs(7)]);
        assert_eq!(retry_after(Some("Fri, 20 Nov 2026 12:00:00 GMT")), None);
        assert_eq!(retry_after(Some("-1")), None);
        assert_eq!(retry_after(None), None);
    }

    #[test]
    fn a_huge_count_does_not_overflow() {
        let (_, pause) = recorder();
        assert!(Retry::new(u32::MAX, Duration::from_secs(1), pause).again_after(u32::MAX, None));
    }
}
