//! Health checks: what has to hold once a bundle is in place. They decide: one that does not hold within its
//! time makes the site take the whole bundle back.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{HostPort, HttpUrl};
use crate::script::Within;
use crate::string_form::string_form;
use crate::text::{DnsLabel, DnsName, FileName, LongLine, Name, TextError};

/// As many checks a bundle may have.
pub const HEALTH_CHECKS_MAX: usize = 64;
/// As many words the command of a check may have.
pub const COMMAND_WORDS_MAX: usize = 64;

/// The checks of a bundle, in the order in which they are made. No two have the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<HealthCheck>")]
pub struct HealthChecks(Vec<HealthCheck>);

impl core::ops::Deref for HealthChecks {
    type Target = [HealthCheck];
    fn deref(&self) -> &[HealthCheck] {
        &self.0
    }
}

impl HealthChecks {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<HealthCheck>> for HealthChecks {
    type Error = String;
    fn try_from(checks: Vec<HealthCheck>) -> Result<Self, String> {
        if checks.len() > HEALTH_CHECKS_MAX {
            return Err(format!("{} health checks are too many: at most {HEALTH_CHECKS_MAX}", checks.len()));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) =
            checks.iter().filter_map(|check| check.name.as_ref()).find(|name| !names.insert(*name))
        {
            return Err(format!("two health checks have the name `{twice}`"));
        }
        Ok(Self(checks))
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// What is looked at.
    pub check: Check,
    /// How long it may take until it holds for the first time.
    pub within: Within,
}

impl HealthCheck {
    /// The time for a check that names none: a minute.
    pub const WITHIN_DEFAULT: Within = Within::MINUTE;
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(f, "{} within {}s", self.check, self.within.seconds())
    }
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Something answers over HTTP.
    Http(HttpCheck),
    /// Something takes TCP connections.
    Tcp(HostPort),
    /// A program of the site's ends with exit code 0.
    Command(CommandLine),
    /// What a cluster was told to run is running.
    Rollout(Rollout),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(check) => fmt::Display::fmt(check, f),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Command(command) => write!(f, "command {command}"),
            Self::Rollout(rollout) => fmt::Display::fmt(rollout, f),
        }
    }
}

/// A request, and the answer that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// What is asked for, with `GET`.
    pub url: HttpUrl,
    /// The status of the answer.
    pub status: Status,
    /// A text in its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<LongLine>,
}

impl fmt::Display for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)?;
        if self.status != Status::default() {
            write!(f, " (status {})", self.status.code())?;
        }
        self.contains.as_ref().map_or(Ok(()), |text| write!(f, " (contains `{text}`)"))
    }
}

/// A final status of HTTP: 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Status(u16);

impl Status {
    /// The number.
    #[must_use]
    pub fn code(self) -> u16 {
        self.0
    }
}

impl Default for Status {
    /// 200
    fn default() -> Self {
        Self(200)
    }
}

impl TryFrom<u16> for Status {
    type Error = &'static str;
    fn try_from(code: u16) -> Result<Self, Self::Error> {
        (200..600).contains(&code).then_some(Self(code)).ok_or("a status is 200 to 599")
    }
}

impl From<Status> for u16 {
    fn from(status: Status) -> Self {
        status.0
    }
}

/// A program of the site's with its arguments; no shell is between. The program is a file name, which is looked
/// for on the `PATH`, or an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<LongLine>", into = "Vec<LongLine>")]
pub struct CommandLine {
    program: LongLine,
    arguments: Vec<LongLine>,
}

impl CommandLine {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.program.as_str()
    }

    /// What it is given.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(LongLine::as_str)
    }
}

impl TryFrom<Vec<LongLine>> for CommandLine {
    type Error = String;
    fn try_from(words: Vec<LongLine>) -> Result<Self, String> {
        if words.len() > COMMAND_WORDS_MAX {
            return Err(format!(
                "a command of {} words is too long: at most {COMMAND_WORDS_MAX}",
                words.len()
            ));
        }
        let mut words = words.into_iter();
        let program = words
            .next()
            .filter(|word| word.as_str().starts_with('/') || word.as_str().parse::<FileName>().is_ok());
        match program {
            Some(program) => Ok(Self { program, arguments: words.collect() }),
            None => Err("a command begins with the name of a program, or its absolute path".into()),
        }
    }
}

impl From<CommandLine> for Vec<LongLine> {
    fn from(command: CommandLine) -> Self {
        core::iter::once(command.program).chain(command.arguments).collect()
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.program, f)?;
        self.arguments.iter().try_for_each(|argument| {
            let quote = if argument.as_str().contains([' ', '\'', '"']) { "`" } else { "" };
            write!(f, " {quote}{argument}{quote}")
        })
    }
}

/// What is rolled out in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Which object.
    pub object: RolloutObject,
    /// Its namespace.
    pub namespace: DnsLabel,
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rollout of {} in {}", self.object, self.namespace)
    }
}

/// `deployment/NAME`, `statefulset/NAME` or `daemonset/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutObject {
    /// Its kind.
    pub kind: RolloutKind,
    /// Its name.
    pub name: DnsName,
}

/// A kind of object that has a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutKind {
    /// `Deployment`
    Deployment,
    /// `StatefulSet`
    StatefulSet,
    /// `DaemonSet`
    DaemonSet,
}

impl RolloutKind {
    const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// In lower case, as `kubectl` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }
}

impl FromStr for RolloutObject {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parse = || {
            let (kind, name) = text.split_once('/')?;
            let kind = RolloutKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
            Some(Self { kind, name: name.parse().ok()? })
        };
        let rule = "deployment/NAME, statefulset/NAME or daemonset/NAME";
        parse().ok_or_else(|| TextError::new(text, "rollout", rule))
    }
}

impl fmt::Display for RolloutObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

string_form!(RolloutObject);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical;
    use alloc::string::ToString;

    const ALL: &str = "[{\"check\":{\"http\":{\"contains\":\"ok\",\"status\":204,\"url\":\"http://127.0.0.1:8080/healthz\"}},\"name\":\"front\",\"within\":60},{\"check\":{\"tcp\":\"db.site:5432\"},\"within\":5},{\"check\":{\"command\":[\"pg_isready\",\"-d\",\"a b\"]},\"within\":60},{\"check\":{\"rollout\":{\"namespace\":\"fraud\",\"object\":\"deployment/fraud\"}},\"within\":86400}]\n";

    #[test]
    fn checks_of_every_kind_are_written_as_they_were_read_and_shown_in_a_line() {
        let checks: HealthChecks = canonical::from_canonical(ALL.as_bytes()).unwrap();
        let shown: Vec<String> = checks.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "front: http://127.0.0.1:8080/healthz (status 204) (contains `ok`) within 60s",
                "tcp db.site:5432 within 5s",
                "command pg_isready -d `a b` within 60s",
                "rollout of deployment/fraud in fraud within 86400s",
            ]
        );
    }

    #[test]
    fn a_check_that_could_not_be_made_is_refused() {
        for bad in [
            "{\"check\":{\"tcp\":\"h:1\"}}",
            "{\"check\":{\"tcp\":\"h\"},\"within\":1}",
            "{\"check\":{\"tcp\":\"h:1\"},\"within\":0}",
            "{\"check\":{\"tcp\":\"h:1\"},\"within\":86401}",
            "{\"check\":{\"udp\":\"h:1\"},\"within\":1}",
            "{\"check\":{\"http\":{\"url\":\"http://h/\"}},\"within\":1}",
            "{\"check\":{\"http\":{\"url\":\"http://h/\",\"status\":100}},\"within\":1}",
            "{\"check\":{\"command\":[]},\"within\":1}",
            "{\"check\":{\"command\":[\"bin/x\"]},\"within\":1}",
            "{\"check\":{\"command\":[\"-x\"]},\"within\":1}",
            "{\"check\":{\"command\":[\"x\",\"\"]},\"within\":1}",
            "{\"check\":{\"rollout\":{\"namespace\":\"n\",\"object\":\"job/x\"}},\"within\":1}",
            "{\"check\":{\"rollout\":{\"namespace\":\"N\",\"object\":\"deployment/x\"}},\"within\":1}",
            "{\"check\":{\"tcp\":\"h:1\"},\"within\":1,\"zzz\":1}",
        ] {
            assert!(serde_json::from_str::<HealthCheck>(bad).is_err(), "accepted {bad}");
        }
    }

    #[test]
    fn checks_are_few_and_their_names_different() {
        let check = |name: Option<&str>| HealthCheck {
            name: name.map(|name| name.parse().unwrap()),
            check: Check::Tcp("h:1".parse().unwrap()),
            within: HealthCheck::WITHIN_DEFAULT,
        };
        let same = |count: usize| HealthChecks::try_from(std::vec![check(None); count]);
        assert_eq!(same(64).unwrap().len(), 64);
        assert!(same(65).unwrap_err().contains("at most 64"));
        let named = HealthChecks::try_from(std::vec![check(Some("a")), check(None), check(Some("a"))]);
        assert!(named.unwrap_err().contains("name `a`"));
        let words = |count: usize| CommandLine::try_from(std::vec!["x".parse().unwrap(); count]);
        assert!(words(64).is_ok() && words(65).is_err() && words(0).is_err());
    }
}
