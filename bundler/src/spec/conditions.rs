//! `requires` and `health` of `bundle.yaml`: what a site must have before anything changes there, and what has
//! to hold afterwards. What is read here are the very types that travel; only sizes and times have a spelling
//! for people.

use std::num::NonZeroU64;

use manifests::address::{HostPort, HttpUrl, ListenPort};
use manifests::health::{
    Check, CommandLine, HealthCheck, HealthChecks, HttpCheck, Rollout, RolloutObject, Status,
};
use manifests::range::Range;
use manifests::requires::{ApiRef, RequiredSet, Requires, SecretRef};
use manifests::script::Within;
use manifests::text::{DnsLabel, DnsName, FileName, LongLine, Name, printable};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::media;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RequiresMap {
    #[serde(default)]
    disk: Option<Size>,
    #[serde(default)]
    memory: Option<Size>,
    #[serde(default)]
    kubernetes: Option<Range>,
    #[serde(default)]
    helm: Option<Range>,
    #[serde(default)]
    secrets: RequiredSet<SecretRef>,
    #[serde(default)]
    storage_classes: RequiredSet<DnsName>,
    #[serde(default)]
    ports: RequiredSet<ListenPort>,
    #[serde(default)]
    apis: RequiredSet<ApiRef>,
    #[serde(default)]
    commands: RequiredSet<FileName>,
}

/// Reads `requires`.
pub(super) fn requires<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Requires, D::Error> {
    let map = RequiresMap::deserialize(deserializer)?;
    Ok(Requires {
        disk: map.disk.map(|size| size.0),
        memory: map.memory.map(|size| size.0),
        kubernetes: map.kubernetes,
        helm: map.helm,
        secrets: map.secrets,
        storage_classes: map.storage_classes,
        ports: map.ports,
        apis: map.apis,
        commands: map.commands,
    })
}

/// `2GiB`, `512MiB`, `1000000`.
struct Size(NonZeroU64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = media::size(&text).and_then(NonZeroU64::new).map(Self);
        size.ok_or_else(|| {
            Error::custom(format!("`{}` is no size: expected one such as 2GiB or 500MB", printable(&text)))
        })
    }
}

/// One entry of `health`. Which keys belong together is checked by [`HealthMap::check`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthMap {
    #[serde(default)]
    http: Option<HttpUrl>,
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    contains: Option<LongLine>,
    #[serde(default)]
    tcp: Option<HostPort>,
    #[serde(default)]
    command: Option<CommandLine>,
    #[serde(default)]
    rollout: Option<RolloutObject>,
    #[serde(default)]
    namespace: Option<DnsLabel>,
    #[serde(default)]
    name: Option<Name>,
    #[serde(default)]
    within: Option<String>,
}

/// Reads `health`.
pub(super) fn health<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HealthChecks, D::Error> {
    let checks =
        Vec::<Entry>::deserialize(deserializer)?.into_iter().map(|entry| entry.0).collect::<Vec<_>>();
    HealthChecks::try_from(checks).map_err(Error::custom)
}

struct Entry(HealthCheck);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HealthMap::deserialize(deserializer)?.check().map(Self).map_err(Error::custom)
    }
}

impl HealthMap {
    fn check(self) -> Result<HealthCheck, String> {
        self.refuse_what_does_not_belong_together()?;
        let within = match &self.within {
            None => HealthCheck::WITHIN_DEFAULT,
            Some(text) => Within::of_text(text)
                .ok_or("a health check needs a `within` such as 90s, 10m or 2h, at most a day")?,
        };
        let Self { http, status, contains, tcp, command, rollout, namespace, name, .. } = self;
        let http =
            http.map(|url| Check::Http(HttpCheck { url, status: status.unwrap_or_default(), contains }));
        let rollout = match (rollout, namespace) {
            (Some(object), Some(namespace)) => Some(Check::Rollout(Rollout { object, namespace })),
            (Some(object), None) => return Err(format!("the health check of {object} needs a `namespace`")),
            (None, _) => None,
        };
        let kinds = [http, tcp.map(Check::Tcp), command.map(Check::Command), rollout];
        let mut kinds = kinds.into_iter().flatten();
        match (kinds.next(), kinds.next()) {
            (Some(check), None) => Ok(HealthCheck { name, check, within }),
            (None, _) => Err("a health check needs `http`, `tcp`, `command` or `rollout`".to_string()),
            (Some(one), Some(other)) => {
                Err(format!("one health check looks at one thing, not at `{one}` and `{other}`"))
            }
        }
    }

    fn refuse_what_does_not_belong_together(&self) -> Result<(), String> {
        let stray = [
            ("status", self.status.is_some(), "http", self.http.is_some()),
            ("contains", self.contains.is_some(), "http", self.http.is_some()),
            ("namespace", self.namespace.is_some(), "rollout", self.rollout.is_some()),
        ];
        match stray.into_iter().find(|(_, there, _, owner_there)| *there && !owner_there) {
            Some((key, _, owner, _)) => Err(format!("in a health check `{key}` goes with `{owner}` only")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HEAD, load_text};

    fn spec(text: &str) -> Result<super::super::BundleSpec, String> {
        let text = format!("{HEAD}files: [{{source: a, dest: /a}}]\n{text}");
        load_text(&text).map(|loaded| loaded.spec).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_required_is_read_as_people_write_it() {
        let spec = spec(
            "requires:\n  disk: 2GiB\n  memory: 500MB\n  kubernetes: '>=1.28'\n  helm: '>=3.14, <5'\n  secrets: [b/z, 'a/b:key']\n  storageClasses: [fast]\n  ports: [8080, '127.0.0.1:9090', '[::1]:9090']\n  apis: [monitoring.coreos.com/v1/ServiceMonitor, v1/Secret]\n  commands: [psql]\n",
        )
        .unwrap();
        let lines = spec.requires.lines();
        let shown: Vec<String> = lines.iter().map(|(key, value)| format!("{key} {value}")).collect();
        assert_eq!(
            shown,
            [
                "disk 2GiB",
                "memory 500000000",
                "kubernetes >=1.28",
                "helm >=3.14, <5",
                "secrets a/b:key",
                "secrets b/z",
                "storageClasses fast",
                "ports 127.0.0.1:9090",
                "ports 8080",
                "ports [::1]:9090",
                "apis monitoring.coreos.com/v1/ServiceMonitor",
                "apis v1/Secret",
                "commands psql",
            ]
        );
        assert!(self::spec("requires: {}\n").unwrap().requires.is_empty());
        assert!(self::spec("").unwrap().requires.is_empty());
    }

    #[test]
    fn a_requirement_that_is_none_is_named_with_its_place() {
        for (text, rule) in [
            ("{disk: 2 GiB}", "`2 GiB` is no size"),
            ("{disk: 0}", "`0` is no size"),
            ("{disk: -1}", "`-1` is no size"),
            ("{memory: lots}", "`lots` is no size"),
            ("{kubernetes: newest}", "`newest` is neither a version nor a range"),
            ("{kubernetes: '1.28 or so'}", "neither a version nor a range"),
            ("{secrets: [db-password]}", "`db-password` is not a secret"),
            ("{secrets: [a/b, a/b]}", "`a/b` is there twice"),
            ("{secrets: a/b}", "10:21"),
            ("{storageClasses: [Fast]}", "`Fast` is not a name"),
            ("{ports: [0]}", "`0` is not a port"),
            ("{ports: [localhost:80]}", "`localhost:80` is not a port"),
            ("{apis: [ServiceMonitor]}", "`ServiceMonitor` is not a kind of object"),
            ("{commands: [/bin/sh]}", "`/bin/sh` is not a file name"),
            ("{colour: red}", "unknown field `colour`"),
        ] {
            let error = spec(&format!("requires: {text}\n")).unwrap_err();
            assert!(error.contains(rule) && error.contains("bundle.yaml:10:"), "{text}: {error}");
        }
    }

    #[test]
    fn health_checks_of_every_kind_are_read() {
        let spec = spec(
            "health:\n  - {http: 'http://127.0.0.1:8080/healthz', within: 90s, name: front}\n  - {http: 'https://h/x?y=1', status: 401, contains: log in}\n  - {tcp: 'db.site:5432', within: 2m}\n  - {command: [pg_isready, -d, fraud]}\n  - {rollout: deployment/fraud, namespace: fraud-detection, within: 5m}\n",
        )
        .unwrap();
        let shown: Vec<String> = spec.health.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "front: http://127.0.0.1:8080/healthz within 90s",
                "https://h/x?y=1 (status 401) (contains `log in`) within 60s",
                "tcp db.site:5432 within 120s",
                "command pg_isready -d fraud within 60s",
                "rollout of deployment/fraud in fraud-detection within 300s",
            ]
        );
    }

    #[test]
    fn a_health_check_that_is_none_is_named_with_its_place() {
        for (text, rule) in [
            ("{}", "needs `http`, `tcp`, `command` or `rollout`"),
            ("{within: 5s}", "needs `http`, `tcp`, `command` or `rollout`"),
            ("{tcp: 'h:1', http: 'http://h/'}", "one health check looks at one thing"),
            ("{http: 'ftp://h/'}", "`ftp://h/` is not a URL for a health check"),
            ("{http: 'http://u:p@h/'}", "is not a URL for a health check"),
            ("{http: 'http://h/', status: 99}", "a status is 200 to 599"),
            ("{http: 'http://h/', contains: ''}", "is not a line"),
            ("{http: 'http://h/', namespace: x}", "`namespace` goes with `rollout` only"),
            ("{tcp: 'h:1', status: 200}", "`status` goes with `http` only"),
            ("{tcp: 'h:1', contains: x}", "`contains` goes with `http` only"),
            ("{tcp: h}", "`h` is not a host with a port"),
            ("{command: []}", "a command begins with the name of a program"),
            ("{command: 'pg_isready'}", "10:"),
            ("{command: [./x]}", "a command begins with the name of a program"),
            ("{rollout: deployment/x}", "the health check of deployment/x needs a `namespace`"),
            ("{rollout: job/x, namespace: y}", "`job/x` is not a rollout"),
            ("{tcp: 'h:1', within: 60}", "such as 90s"),
            ("{tcp: 'h:1', within: 25h}", "at most a day"),
            ("{tcp: 'h:1', colour: red}", "unknown field `colour`"),
            ("{tcp: 'h:1', name: a}, {tcp: 'h:2', name: a}", "two health checks have the name `a`"),
        ] {
            let error = spec(&format!("health: [{text}]\n")).unwrap_err();
            assert!(error.contains(rule) && error.contains("bundle.yaml:10:"), "{text}: {error}");
        }
        let many = "{tcp: 'h:1'},".repeat(65);
        assert!(spec(&format!("health: [{many}]\n")).unwrap_err().contains("at most 64"));
    }
}
