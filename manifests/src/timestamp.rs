//! Points in time as our documents write them: RFC 3339, UTC, whole seconds (`2026-11-20T12:00:00Z`).
//!
//! There is no `now` here: time is an argument.

use core::fmt;
use core::str::FromStr;

use crate::string_form::string_form;

/// A second in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// Why a text is not a timestamp of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time of the form 2026-11-20T12:00:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// From seconds since 1970-01-01T00:00:00Z; `None` outside the years 0 to 9999.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        let stamp = jiff::Timestamp::from_second(seconds).ok()?;
        Some(Self(stamp))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.0.as_second()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let stamp: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        let whole = Self::from_unix_seconds(stamp.as_second()).ok_or(TimestampError)?;
        if alloc::format!("{whole}") == text { Ok(whole) } else { Err(TimestampError) }
    }
}

string_form!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn one_second_has_one_spelling() {
        let stamp: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        assert_eq!(stamp.to_string(), "2026-11-20T12:00:00Z");
        assert_eq!(Timestamp::from_unix_seconds(stamp.unix_seconds()), Some(stamp));
        for other in
            ["2026-11-20T12:00:00.5Z", "2026-11-20T12:00:00+00:00", "2026-11-20 12:00:00Z", "", "now"]
        {
            assert!(other.parse::<Timestamp>().is_err(), "accepted {other}");
        }
    }
}
