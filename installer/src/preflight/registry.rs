//! `registry/reachable`, `registry/tls`, `registry/login`, `registry/immutable` and `registry/push`: the site
//! registry answers, is who it says, lets us in and lets us push, and has nothing in the way. What goes wrong
//! first is told apart, so that somebody mends the right thing.
//!
//! *It may never* leave a blob, a manifest or a tag: an upload is begun, and cancelled. (Some registries keep the empty
//! shell of one.) How much room a registry has, it does not say.

use std::time::Duration;

use edge::at_once::until_failure;
use manifests::Timestamp;
use manifests::companion::Companion;
use manifests::inventory::Component;
use registry::tls::{self, Certificate, Problem};
use registry::{HttpError, Registry, RegistryError, TagOrDigest, Url};

use super::Finding;
use crate::apply::chain;
use crate::site::config::RegistryTarget;
use crate::targets::pushes::AT_ONCE;
use crate::targets::{Context, registry as target};

/// How long a server may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// A certificate that ends sooner is warned of.
const DAYS_LEFT: i64 = 14;
const DAY: i64 = 86_400;

const REACHABLE: &str = "registry/reachable";
const ANSWERS: &str = "an OCI registry that answers";

/// Looks at the registry, and at every place in it that the bundle needs.
#[must_use]
pub fn check(components: &[Component], config: &RegistryTarget, context: &Context<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match look(components, config, context, &mut findings) {
        Ok(()) => {}
        Err(finding) => findings.push(*finding),
    }
    findings
}

/// Each step needs the one before it.
fn look(
    components: &[Component],
    config: &RegistryTarget,
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), Box<Finding>> {
    let url: Url = config.url.trim_end_matches('/').parse().map_err(|error| unreachable(&error))?;
    if url.scheme() == registry::url::Scheme::Https {
        let authorities = target::authorities(config).map_err(|error| Box::new(unreadable(&error)))?;
        match tls::look(&url, authorities.as_deref(), HANDSHAKE) {
            Ok(found) => {
                let verdict = certificate(&found);
                if found.problem.is_some() {
                    let fact = format!("somebody listens at {}", config.url);
                    findings.push(Finding::pass(REACHABLE, fact, ANSWERS));
                    return Err(Box::new(verdict));
                }
                findings.push(verdict);
            }
            Err(error @ HttpError::Roots { .. }) => return Err(Box::new(unreadable(&error))),
            Err(error) => return Err(unreachable(&error)),
        }
    }
    let registry = target::at(config, context).map_err(|error| unreachable(&error))?;
    match registry.ping() {
        Ok(()) => findings.push(Finding::pass(REACHABLE, format!("{} answers", config.url), ANSWERS)),
        Err(error) if error.is_login() => {
            findings.push(Finding::pass(REACHABLE, format!("{} answers", config.url), ANSWERS));
            return Err(Box::new(login(config, Some(&error))));
        }
        Err(error) => return Err(unreachable(&error)),
    }
    findings.push(login(config, None));
    let places = places(components, config);
    let wanted = tags(&places, &registry)?;
    findings.extend(in_the_way(&wanted, config));
    findings.extend(push(&wanted, &registry));
    Ok(())
}

fn unreachable(error: &dyn std::error::Error) -> Box<Finding> {
    let remedy = "start the registry, or correct `targets.registry.url` in site.yaml";
    Box::new(Finding::fail(REACHABLE, chain(error), ANSWERS, remedy))
}

fn unreadable(error: &dyn std::error::Error) -> Finding {
    let requirement = "a PEM file with the authority that the registry's certificate hangs on";
    Finding::fail("registry/tls", chain(error), requirement, "correct `targets.registry.ca` in site.yaml")
}

fn certificate(found: &Certificate) -> Finding {
    let requirement =
        format!("a certificate for this name, by an authority that is known here, for {DAYS_LEFT} more days");
    let on = |time: Option<Timestamp>| time.map_or(String::new(), |time| format!(" on {time}"));
    let fail = |fact: String, remedy: &str| Finding::fail("registry/tls", fact, &*requirement, remedy);
    let renew = "ask whoever runs the registry for a certificate that is valid; and look at the clock";
    match &found.problem {
        Some(Problem::Expired) => fail(format!("its certificate has expired{}", on(found.not_after)), renew),
        Some(Problem::NotYet) => fail("its certificate is not valid yet".to_string(), renew),
        Some(Problem::UnknownAuthority) => fail(
            "its certificate hangs on an authority that is not known here".to_string(),
            "name the authority's certificate: `targets.registry.ca` in site.yaml",
        ),
        Some(Problem::OtherName) => fail(
            "its certificate is for another name".to_string(),
            "name the registry as its certificate does: `targets.registry.url` in site.yaml",
        ),
        Some(Problem::AuthorityExpired) => fail(
            format!("the authority in `targets.registry.ca` has expired{}", on(found.authority_not_after)),
            "ask whoever runs the registry for its present authority: nodes would not pull from it",
        ),
        Some(Problem::Other(what)) => {
            fail(format!("no trusted connection: {}", manifests::text::printable(what)), renew)
        }
        None => lasting(found, requirement),
    }
}

/// A certificate that is good, and for how long.
fn lasting(found: &Certificate, requirement: String) -> Finding {
    let ends = [found.not_after, found.authority_not_after].into_iter().flatten().min();
    let Some((ends, now)) = ends.zip(found.now) else {
        return Finding::pass("registry/tls", "its certificate is trusted", requirement);
    };
    let days = ends.unix_seconds().saturating_sub(now.unix_seconds()) / DAY;
    let fact = format!("its certificate is trusted until {ends}");
    if days >= DAYS_LEFT {
        return Finding::pass("registry/tls", fact, requirement);
    }
    let remedy = "ask whoever runs the registry for a new one before it ends: a rollback needs it, too";
    Finding::warn("registry/tls", fact, requirement, remedy)
}

fn login(config: &RegistryTarget, error: Option<&RegistryError>) -> Finding {
    let requirement = if config.auth.is_some() {
        "a registry that takes our login"
    } else {
        "a registry that needs no login, or `auth` in site.yaml"
    };
    let Some(error) = error else {
        let fact =
            if config.auth.is_some() { "it takes our login, or needs none" } else { "it needs no login" };
        return Finding::pass("registry/login", fact, requirement);
    };
    let remedy = if config.auth.is_some() {
        "log in as the user who runs this: `docker login`, or `podman login`"
    } else {
        "write `auth: docker-config` under `targets.registry`, and log in with `docker login`"
    };
    Finding::fail("registry/login", chain(error), requirement, remedy)
}

/// A name in the registry that the bundle needs.
struct Place {
    repository: String,
    tag: Option<String>,
    digest: manifests::Digest,
}

fn places(components: &[Component], config: &RegistryTarget) -> Vec<Place> {
    let mut places = Vec::new();
    for component in components {
        let (path, tag, digest, companions): (_, _, _, &[Companion]) = match component {
            Component::Image(image) => {
                let tag = image.name.tag().map(ToString::to_string);
                (image.name.site_path(), tag, image.manifest.digest, &image.companions)
            }
            Component::Chart(chart) => {
                let (path, tag) = target::chart_place(chart);
                (path, Some(tag), chart.manifest.digest, &chart.companions)
            }
            _ => continue,
        };
        let repository = target::repository(config, &path);
        let beside = companions.iter().map(|companion| Place {
            repository: repository.clone(),
            tag: companion.tag(),
            digest: companion.manifest.digest,
        });
        places.extend(beside.collect::<Vec<_>>());
        places.push(Place { repository, tag, digest });
    }
    places
}

/// A place, and what its tag names now.
struct Found<'a> {
    place: &'a Place,
    now: Option<manifests::Digest>,
}

impl Found<'_> {
    fn is_in_the_way(&self) -> bool {
        self.place.tag.is_some() && self.now.is_some_and(|now| now != self.place.digest)
    }

    fn is_in_place(&self) -> bool {
        self.now == Some(self.place.digest)
    }
}

fn tags<'a>(places: &'a [Place], registry: &Registry) -> Result<Vec<Found<'a>>, Box<Finding>> {
    let now = |place: &Place| -> Result<Option<manifests::Digest>, RegistryError> {
        let name: TagOrDigest = match &place.tag {
            Some(tag) => tag.parse()?,
            None => place.digest.into(),
        };
        let found = registry.repository(&place.repository)?.head_manifest(&name)?;
        Ok(found.map(|found| found.digest))
    };
    let look = |place: &'a Place| match now(place) {
        Ok(now) => Ok(Found { place, now }),
        Err(error) => Err(Box::new(no_push(&place.repository, &error))),
    };
    let places: Vec<&Place> = places.iter().collect();
    until_failure(AT_ONCE, &places, |place, _| look(place))
}

/// Tags that name something else: moved, or not to be moved.
fn in_the_way(wanted: &[Found<'_>], config: &RegistryTarget) -> Option<Finding> {
    let name = |found: &Found<'_>| {
        let tag = found.place.tag.as_deref().unwrap_or_default();
        let now = found.now.map_or(String::new(), |now| now.short());
        format!("{}:{tag} ({now})", found.place.repository)
    };
    let tagged = wanted.iter().filter(|found| found.place.tag.is_some()).count();
    let names: Vec<String> = wanted.iter().filter(|found| found.is_in_the_way()).map(name).collect();
    let requirement = "tags that name nothing, or what the bundle brings";
    if names.is_empty() {
        let fact = format!("no tag of {tagged} names anything else");
        return (tagged > 0).then(|| Finding::pass("registry/immutable", fact, requirement));
    }
    let fact = format!("these tags name something else: {}", names.join(", "));
    Some(if config.immutable {
        let remedy =
            "this registry does not move tags: ask the sender for a bundle with other tags, or remove these";
        Finding::fail("registry/immutable", fact, requirement, remedy)
    } else {
        let remedy = "they are moved, and an undo moves them back; a registry that refuses that needs `targets.registry.immutable: true`, so that this stops here";
        Finding::warn("registry/immutable", fact, requirement, remedy)
    })
}

/// One upload for each repository that gets something, begun and cancelled.
fn push(wanted: &[Found<'_>], registry: &Registry) -> Option<Finding> {
    let mut repositories: Vec<&str> = Vec::new();
    for found in wanted.iter().filter(|found| !found.is_in_place()) {
        if !repositories.contains(&found.place.repository.as_str()) {
            repositories.push(&found.place.repository);
        }
    }
    let tried = until_failure(AT_ONCE, &repositories, |path, _| {
        let cancelled = registry.repository(path).and_then(|repository| repository.try_upload());
        cancelled.map_err(|error| no_push(path, &error))
    });
    let staying = match tried {
        Ok(cancelled) => cancelled.iter().filter(|cancelled| !**cancelled).count(),
        Err(finding) => return Some(finding),
    };
    let count = repositories.len();
    let stays = match staying {
        0 => "no blob and no tag stays of it".to_string(),
        staying => {
            format!("{staying} could not be cancelled, and are forgotten by the registry after some days")
        }
    };
    let fact = format!("an upload was begun in {count} repositories and cancelled: {stays}");
    (count > 0).then(|| Finding::pass("registry/push", fact, "a registry that lets us push"))
}

fn no_push(repository: &str, error: &RegistryError) -> Finding {
    let error: &dyn std::error::Error = error;
    let fact = format!("{repository}: {}", chain(error));
    let remedy = "ask whoever runs the registry for the right to push there, or whether it is read-only; or choose another `targets.registry.prefix`";
    Finding::fail("registry/push", fact, "a registry that lets us push", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;

    fn certificate_until(days: i64, problem: Option<Problem>) -> Certificate {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let not_after = Timestamp::from_unix_seconds(1_800_000_000 + days * DAY);
        Certificate { problem, not_after, authority_not_after: None, now }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_warned_of() {
        assert_eq!(certificate(&certificate_until(14, None)).verdict, Verdict::Pass);
        assert_eq!(certificate(&certificate_until(13, None)).verdict, Verdict::Warn);
        let expired = certificate(&certificate_until(-1, Some(Problem::Expired)));
        assert_eq!(expired.verdict, Verdict::Fail);
        assert!(expired.fact.contains("has expired on 2027-"), "{}", expired.fact);
    }
}
