//! What can be said about time where no clock is trusted.
//!
//! A site has no time server that the publisher knows, and its hardware clock may be wrong by years. But
//! everything that was signed for the site says when it was made, and the site cannot be earlier than the
//! latest of those: that is the *floor*. A clock below the floor is wrong, and that is what is said; it is
//! not taken for a bundle that has not expired yet.
//!
//! *What it never does:* read a clock, or refuse a bundle. It makes statements; the site's policy decides.

use serde::Serialize;

use crate::timestamp::Timestamp;

/// What is known about the time at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockStatement {
    /// What the site's clock says.
    pub clock: Timestamp,
    /// The latest time of anything that was signed for the site and accepted.
    pub floor: Timestamp,
}

/// Whether something has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// It says nothing about it.
    Unlimited,
    /// Not yet.
    Valid,
    /// It has.
    Expired,
}

impl ClockStatement {
    /// Whether the clock can be right.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.clock >= self.floor
    }

    /// The latest time that it must be by now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.max(self.floor)
    }

    /// Whether something that expires then has expired.
    #[must_use]
    pub fn expiry(&self, expires: Option<Timestamp>) -> Expiry {
        match expires {
            None => Expiry::Unlimited,
            Some(expires) if self.now() >= expires => Expiry::Expired,
            Some(_) => Expiry::Valid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds).unwrap()
    }

    #[test]
    fn a_clock_before_what_was_signed_is_wrong_and_not_early() {
        let statement = ClockStatement { clock: at(10), floor: at(100) };
        assert!(!statement.is_plausible());
        assert_eq!(statement.expiry(Some(at(50))), Expiry::Expired, "by the floor alone");
        assert_eq!(statement.expiry(Some(at(101))), Expiry::Valid);
    }

    #[test]
    fn what_expires_at_a_second_has_expired_in_it() {
        let statement = ClockStatement { clock: at(100), floor: at(10) };
        assert!(statement.is_plausible());
        assert_eq!(statement.expiry(Some(at(100))), Expiry::Expired);
        assert_eq!(statement.expiry(Some(at(101))), Expiry::Valid);
        assert_eq!(statement.expiry(None), Expiry::Unlimited);
    }
}
