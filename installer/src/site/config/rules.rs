//! `windows`, `change` and `preflight` of `site.yaml`: when this site may be changed, what has to be named
//! for it, and how much of the site's limits a bundle may use.
//!
//! Times of day are those of a time zone of the IANA database, with its changes of the clock. The database is
//! in the program: the machines of a site may have none, or an old one.

use core::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp as Instant};
use manifests::Timestamp;
use manifests::text::LongLine;
use serde::{Deserialize, Serialize};

/// How far ahead the next opening is looked for. A freeze that is longer has no end that anybody waits for.
const DAYS_AHEAD: i64 = 400;
/// A pattern that a person writes is shorter.
const PATTERN_BYTES_MAX: usize = 256;

/// A time in which the site may be changed, or may not.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WindowDocument")]
pub struct Window {
    effect: Effect,
    when: When,
    text: String,
    zone: TimeZone,
}

/// What a window means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes may be made in it. If there is one of these, then in none but these.
    Allow,
    /// None may, whatever else allows them.
    Deny,
}

#[derive(Debug, Clone)]
enum When {
    /// From a time of day on some days of the week to another, the next day if that is not later.
    Weekly { days: Vec<Weekday>, from: Time, to: Time },
    /// From one moment to another.
    Once { from: DateTime, to: DateTime },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowDocument {
    #[serde(default)]
    allow: Option<String>,
    #[serde(default)]
    deny: Option<String>,
    timezone: String,
}

impl TryFrom<WindowDocument> for Window {
    type Error = String;
    fn try_from(document: WindowDocument) -> Result<Self, String> {
        let (effect, text) = match (document.allow, document.deny) {
            (Some(text), None) => (Effect::Allow, text),
            (None, Some(text)) => (Effect::Deny, text),
            _ => return Err("a window is `allow` or `deny`, one of the two".to_string()),
        };
        let shown = manifests::text::printable(&document.timezone);
        let zone = TimeZoneDatabase::bundled().get(&document.timezone).map_err(|_| {
            format!("`{shown}` is no time zone of the IANA database, such as Europe/Berlin or UTC")
        })?;
        let when = When::parse(text.trim()).ok_or_else(|| {
            format!(
                "`{}` is no time of a window: `Sun 02:00-06:00`, `Mon-Fri 22:00-04:00`, `Sat,Sun`, `daily 02:00-06:00`, `2026-12-24..2026-12-27` or `2026-12-24 18:00..2026-12-27 06:00`",
                manifests::text::printable(&text)
            )
        })?;
        Ok(Self { effect, when, text: manifests::text::printable(text.trim()), zone })
    }
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (moment(from.trim(), false)?, moment(to.trim(), true)?);
            return (from < to).then_some(Self::Once { from, to });
        }
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let (from, to) = (moment(text, false)?, moment(text, true)?);
            return (from < to).then_some(Self::Once { from, to });
        }
        let (days, times) = match text.split_once(' ') {
            Some((days, times)) => (days, times.trim()),
            None => (text, "00:00-24:00"),
        };
        let days = weekdays(days)?;
        let (from, to) = times.split_once('-')?;
        Some(Self::Weekly { days, from: time_of_day(from)?, to: end_of_day(to)? })
    }
}

/// `2026-12-24` or `2026-12-24 18:00`. A day alone is its start, or, as an end, the start of the next.
fn moment(text: &str, is_end: bool) -> Option<DateTime> {
    match text.split_once(' ') {
        Some((day, time)) => Some(day.parse::<Date>().ok()?.to_datetime(time_of_day(time.trim())?)),
        None => {
            let day: Date = text.parse().ok()?;
            Some(if is_end { day.tomorrow().ok()? } else { day }.to_datetime(Time::midnight()))
        }
    }
}

fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| -> Option<i8> {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

/// `24:00` is the next day's start.
fn end_of_day(text: &str) -> Option<Time> {
    if text == "24:00" { Some(Time::midnight()) } else { time_of_day(text) }
}

/// `Sun`, `Mon-Fri`, `Sat,Sun`, `Fri-Mon` and `daily`.
fn weekdays(text: &str) -> Option<Vec<Weekday>> {
    if text == "daily" {
        return Some(ALL_DAYS.map(|(_, day)| day).to_vec());
    }
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (weekday(first)?, weekday(last)?);
        days.push(day);
        while day != last {
            day = day.next();
            days.push(day);
        }
    }
    Some(days)
}

const ALL_DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

fn weekday(text: &str) -> Option<Weekday> {
    ALL_DAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| *day)
}

impl Window {
    /// What it means.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Every stretch of it that has not ended by a moment, for some days ahead.
    fn stretches(&self, now: Instant, days: i64) -> Vec<(Instant, Instant)> {
        let first = self.zone.to_datetime(now).date();
        let stretch = |from: DateTime, to: DateTime| Some((self.starts(from)?, self.ends(to)?));
        let found: Vec<Option<(Instant, Instant)>> = match &self.when {
            When::Once { from, to } => vec![stretch(*from, *to)],
            When::Weekly { days: on, from, to } => (-1..=days)
                .filter_map(|ahead| first.checked_add(Span::new().days(ahead)).ok())
                .filter(|day| on.contains(&day.weekday()))
                .map(|day| {
                    let end = if to > from { day } else { day.tomorrow().ok()? };
                    stretch(day.to_datetime(*from), end.to_datetime(*to))
                })
                .collect(),
        };
        found.into_iter().flatten().filter(|(from, to)| to > from && *to > now).collect()
    }

    /// A time of day that the clock has twice begins with the first, one that it leaps over after the leap.
    fn starts(&self, at: DateTime) -> Option<Instant> {
        self.zone.to_ambiguous_timestamp(at).compatible().ok()
    }

    /// What denies ends with the second of the two, what allows with the first.
    fn ends(&self, at: DateTime) -> Option<Instant> {
        let at = self.zone.to_ambiguous_timestamp(at);
        match self.effect {
            Effect::Allow => at.compatible().ok(),
            Effect::Deny => at.later().ok(),
        }
    }

    fn covers(&self, now: Instant) -> bool {
        self.stretches(now, 0).iter().any(|(from, _)| *from <= now)
    }

    /// A moment as its people read the clock.
    fn local(&self, at: Instant) -> String {
        let shown = at.to_zoned(self.zone.clone());
        format!("{} {}", shown.strftime("%a %Y-%m-%d %H:%M"), self.name())
    }

    fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.effect == Effect::Allow { "allow" } else { "deny" };
        write!(f, "{word} {} ({})", self.text, self.name())
    }
}

/// Whether a site may be changed at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// It may, until then if that is known.
    Open {
        /// In the window's own time zone.
        until: Option<String>,
    },
    /// It may not.
    Closed {
        /// The window that denies it; without one, none allows it.
        by: Option<String>,
        /// When it may next, if that is less than a year away.
        opens: Option<String>,
    },
}

/// Judges a moment: some window allows it, or none allows anything; and none denies it.
#[must_use]
pub fn door(windows: &[Window], now: Timestamp) -> Door {
    let Ok(now) = Instant::from_second(now.unix_seconds()) else {
        return Door::Closed { by: None, opens: None };
    };
    let next = |wanted: bool| {
        let mut edges: Vec<(Instant, &Window)> = windows
            .iter()
            .flat_map(|window| {
                window.stretches(now, DAYS_AHEAD).into_iter().map(move |found| (found, window))
            })
            .flat_map(|((from, to), window)| [(from, window), (to, window)])
            .filter(|(at, _)| *at > now)
            .collect();
        edges.sort_by_key(|(at, _)| *at);
        let found = edges.into_iter().find(|(at, _)| is_open(windows, *at) == wanted);
        found.map(|(at, window)| window.local(at))
    };
    if is_open(windows, now) {
        return Door::Open { until: next(false) };
    }
    let denies = |window: &&Window| window.effect == Effect::Deny && window.covers(now);
    Door::Closed { by: windows.iter().find(denies).map(ToString::to_string), opens: next(true) }
}

fn is_open(windows: &[Window], now: Instant) -> bool {
    let mut allowing = windows.iter().filter(|window| window.effect == Effect::Allow).peekable();
    let allowed = allowing.peek().is_none() || allowing.any(|window| window.covers(now));
    let denied = windows.iter().any(|window| window.effect == Effect::Deny && window.covers(now));
    allowed && !denied
}

/// What has to be named for a change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePolicy {
    /// Whether there must be a ticket.
    #[serde(default = "yes")]
    pub required: bool,
    /// What its id looks like.
    #[serde(default)]
    pub pattern: Option<TicketPattern>,
}

fn yes() -> bool {
    true
}

/// A regular expression that the whole of an id has to match.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct TicketPattern {
    text: String,
    whole: regex_lite::Regex,
}

impl TryFrom<String> for TicketPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let shown = manifests::text::printable(&text);
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern of more than {PATTERN_BYTES_MAX} bytes"));
        }
        match regex_lite::Regex::new(&format!("^(?:{text})$")) {
            Ok(whole) => Ok(Self { text: shown, whole }),
            Err(error) => Err(format!("`{shown}` is no regular expression: {error}")),
        }
    }
}

impl TicketPattern {
    /// Whether an id is one of these.
    #[must_use]
    pub fn matches(&self, id: &ChangeId) -> bool {
        self.whole.is_match(id.as_str())
    }
}

impl fmt::Display for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The id of a ticket in the site's own system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeId(LongLine);

impl ChangeId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl core::str::FromStr for ChangeId {
    type Err = <LongLine as core::str::FromStr>::Err;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the checks before a change judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightPolicy {
    /// How much of a limit of the site a bundle may use up.
    #[serde(default)]
    pub headroom: Percent,
}

/// 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Percent(u8);

impl Percent {
    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// So much of an amount, rounded down.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.0) / 100;
        u64::try_from(part).unwrap_or(amount)
    }
}

impl Default for Percent {
    fn default() -> Self {
        Self(60)
    }
}

impl TryFrom<u64> for Percent {
    type Error = &'static str;
    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match u8::try_from(number) {
            Ok(number @ 1..=100) => Ok(Self(number)),
            _ => Err("a number of percent from 1 to 100"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(effect: &str, text: &str, zone: &str) -> Window {
        let text = text.to_string();
        let (allow, deny) = if effect == "allow" { (Some(text), None) } else { (None, Some(text)) };
        WindowDocument { allow, deny, timezone: zone.to_string() }.try_into().unwrap()
    }

    fn is_open_at(windows: &[Window], at: &str) -> bool {
        matches!(door(windows, at.parse().unwrap()), Door::Open { .. })
    }

    #[test]
    fn sundays_in_berlin_are_an_hour_earlier_in_utc_in_summer() {
        let windows = [window("allow", "Sun 02:00-06:00", "Europe/Berlin")];
        for (at, open) in [
            ("2026-01-18T00:59:59Z", false),
            ("2026-01-18T01:00:00Z", true),
            ("2026-01-18T04:59:59Z", true),
            ("2026-01-18T05:00:00Z", false),
            ("2026-07-19T00:00:00Z", true),
            ("2026-07-19T03:59:59Z", true),
            ("2026-07-19T04:00:00Z", false),
            ("2026-07-20T01:00:00Z", false),
        ] {
            assert_eq!(is_open_at(&windows, at), open, "{at}");
        }
    }

    #[test]
    fn on_the_days_on_which_the_clock_is_changed_the_window_is_an_hour_shorter_or_longer() {
        let windows = [window("allow", "Sun 02:00-06:00", "Europe/Berlin")];
        // 02:00 is leapt over on 29 March: 01:00 UTC is 03:00 there.
        for (at, open) in [
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", true),
            ("2026-03-29T03:59:59Z", true),
            ("2026-03-29T04:00:00Z", false),
            // 02:00 is there twice on 25 October: at 00:00 and at 01:00 UTC.
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:00:00Z", true),
            ("2026-10-25T04:59:59Z", true),
            ("2026-10-25T05:00:00Z", false),
        ] {
            assert_eq!(is_open_at(&windows, at), open, "{at}");
        }
        let ends_in_the_hour = |effect| [window(effect, "Sun 01:00-02:30", "Europe/Berlin")];
        assert!(!is_open_at(&ends_in_the_hour("allow"), "2026-10-25T00:30:00Z"));
        assert!(!is_open_at(&ends_in_the_hour("deny"), "2026-10-25T01:29:59Z"));
        assert!(is_open_at(&ends_in_the_hour("deny"), "2026-10-25T01:30:00Z"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let windows = [window("allow", "Mon-Fri 22:00-04:00", "UTC")];
        for (at, open) in [
            ("2026-11-20T21:59:59Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T03:59:59Z", true),
            ("2026-11-21T22:00:00Z", false),
            ("2026-11-23T03:00:00Z", false),
            ("2026-11-24T03:00:00Z", true),
        ] {
            assert_eq!(is_open_at(&windows, at), open, "{at}");
        }
    }

    #[test]
    fn a_freeze_wins_over_every_window_and_says_when_it_is_over() {
        let windows = [
            window("allow", "Sat,Sun 02:00-06:00", "UTC"),
            window("deny", "2026-12-24..2026-12-27", "Europe/Berlin"),
        ];
        let closed = door(&windows, "2026-12-26T03:00:00Z".parse().unwrap());
        assert_eq!(
            closed,
            Door::Closed {
                by: Some("deny 2026-12-24..2026-12-27 (Europe/Berlin)".to_string()),
                opens: Some("Sat 2027-01-02 02:00 UTC".to_string()),
            }
        );
        assert!(is_open_at(&windows, "2026-12-20T03:00:00Z"));
        let alone = [window("deny", "2026-12-24 18:00..2026-12-27 06:00", "UTC")];
        assert!(is_open_at(&alone, "2026-12-24T17:59:59Z"), "what only denies allows the rest");
        assert!(!is_open_at(&alone, "2026-12-24T18:00:00Z"));
        let opens = Some("Sun 2026-12-27 06:00 UTC".to_string());
        let by = Some("deny 2026-12-24 18:00..2026-12-27 06:00 (UTC)".to_string());
        assert_eq!(door(&alone, "2026-12-25T00:00:00Z".parse().unwrap()), Door::Closed { by, opens });
    }

    #[test]
    fn an_open_window_says_until_when_and_a_site_without_windows_is_always_open() {
        let windows = [window("allow", "daily 02:00-06:00", "UTC")];
        let until = Some("Fri 2026-11-20 06:00 UTC".to_string());
        assert_eq!(door(&windows, "2026-11-20T03:00:00Z".parse().unwrap()), Door::Open { until });
        assert_eq!(door(&[], "2026-11-20T03:00:00Z".parse().unwrap()), Door::Open { until: None });
        let whole = [window("allow", "Sun", "UTC")];
        assert!(is_open_at(&whole, "2026-11-22T23:59:59Z") && !is_open_at(&whole, "2026-11-23T00:00:00Z"));
        let never = [window("deny", "daily", "UTC")];
        let by = Some("deny daily (UTC)".to_string());
        assert_eq!(door(&never, "2026-11-20T03:00:00Z".parse().unwrap()), Door::Closed { by, opens: None });
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let parse = |allow: Option<&str>, deny: Option<&str>, zone: &str| {
            let (allow, deny) = (allow.map(Into::into), deny.map(Into::into));
            Window::try_from(WindowDocument { allow, deny, timezone: zone.to_string() })
        };
        for text in [
            "",
            "Sun 2:00-6:00",
            "Sun 02:00",
            "Sun 25:00-26:00",
            "sun 02:00-06:00",
            "Mon-Foo 01:00-02:00",
            "2026-12-27..2026-12-24",
            "2026-13-01",
            "2026-12-24..",
            "Sun 02:00-06:00 ",
            "Sun 02:0a-06:00",
        ] {
            let accepted = parse(Some(text), None, "UTC").is_ok();
            assert_eq!(accepted, text == "Sun 02:00-06:00 ", "`{text}`");
        }
        assert!(parse(Some("Sun"), None, "Europe/Atlantis").unwrap_err().contains("Europe/Atlantis"));
        assert!(parse(Some("Sun"), Some("Mon"), "UTC").is_err() && parse(None, None, "UTC").is_err());
    }

    #[test]
    fn the_whole_of_a_tickets_id_has_to_match() {
        let pattern = TicketPattern::try_from("CHG-[0-9]+|EMERGENCY".to_string()).unwrap();
        let matches = |id: &str| pattern.matches(&id.parse().unwrap());
        assert!(matches("CHG-17") && matches("EMERGENCY"));
        assert!(!matches("xCHG-17") && !matches("CHG-17x") && !matches("CHG-"));
        assert!(TicketPattern::try_from("CHG-[".to_string()).is_err());
    }

    #[test]
    fn a_percentage_of_the_largest_number_does_not_overflow() {
        assert_eq!(Percent::default().of(u64::MAX), u64::MAX / 5 * 3);
        assert_eq!(Percent::default().of(10), 6);
        assert!(Percent::try_from(0).is_err() && Percent::try_from(101).is_err());
    }
}
