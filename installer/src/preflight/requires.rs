//! `requires/disk`, `requires/memory`, `requires/ports`, `requires/commands` and `requires/helm`: what the bundle
//! requires of this machine. What it requires of a cluster is looked at there, and Helm's version where Helm is.
//!
//! *It may never* take a port to see whether it is free: it reads who listens.

use std::net::{IpAddr, SocketAddr};

use edge::show::bytes;
use manifests::address::ListenPort;
use manifests::bundle::BundleDigest;
use manifests::requires::Requires;
use manifests::{Inventory, VerifiedBundle};

use super::{Finding, disk, scripts};
use crate::admit;
use crate::apply::chain;
use crate::machine;
use crate::site::config::Targets;
use crate::site::ledger::Ledger;
use crate::targets::Context;
use crate::witness::Judged;

/// Looks at everything.
#[must_use]
pub fn check(bundle: &VerifiedBundle, judged: &Judged, context: &Context<'_>) -> Vec<Finding> {
    let requires = &bundle.inventory().requires;
    let mut findings = early(bundle.inventory(), bundle.digest(), context);
    if !requires.ports.is_empty() {
        let in_place = in_place(bundle, judged, context);
        let ours = in_place.as_ref().map_or(&[][..], |(_, requires)| &requires.ports);
        let version = in_place.as_ref().map(|(version, _)| version.as_str()).unwrap_or_default();
        match machine::listeners() {
            Ok(listeners) => {
                findings.extend(requires.ports.iter().map(|port| free(port, &listeners, ours, version)));
            }
            Err(error) => findings.push(Finding::fail(
                "requires/ports",
                format!("who listens on this machine cannot be read: {}", chain(&error)),
                "a look at /proc/net/tcp",
                "mount /proc, or override this check once you have looked with `ss -ltn`",
            )),
        }
    }
    findings.extend(helm(requires, &context.config.targets));
    findings
}

/// Looks at what needs no more than the signed lists.
#[must_use]
pub fn early(inventory: &Inventory, bundle: BundleDigest, context: &Context<'_>) -> Vec<Finding> {
    let requires = &inventory.requires;
    let mut findings = Vec::new();
    if let Some(wanted) = requires.disk {
        findings.push(room(wanted.get(), &disk::spare(inventory, bundle, context)));
    }
    if let Some(wanted) = requires.memory {
        findings.push(memory(wanted.get()));
    }
    findings.extend(commands(requires));
    findings
}

fn room(wanted: u64, disks: &[disk::Spare]) -> Finding {
    let sum = |of: fn(&disk::Spare) -> u64| disks.iter().map(of).fold(0_u64, u64::saturating_add);
    let left = sum(|disk| disk.free.saturating_sub(disk.taken));
    let places: Vec<String> = disks.iter().map(|disk| disk.at.display().to_string()).collect();
    let fact = format!(
        "{} has {} free, and {} once the bundle's own content is there",
        places.join(" and "),
        bytes(sum(|disk| disk.free)),
        bytes(left)
    );
    let needed = format!("{} for what the software will write", bytes(wanted));
    if left >= wanted {
        return Finding::pass("requires/disk", fact, needed);
    }
    let more = bytes(wanted.saturating_sub(left));
    Finding::fail("requires/disk", fact, needed, format!("free {more} more there"))
}

fn memory(wanted: u64) -> Finding {
    let needed = format!("{} of memory that programs can get", bytes(wanted));
    let remedy = "stop what need not run here, or take a larger machine";
    match machine::memory_available() {
        Ok(found) => {
            let fact = format!("this machine has {} to give (MemAvailable)", bytes(found));
            match found >= wanted {
                true => Finding::pass("requires/memory", fact, needed),
                false => Finding::fail("requires/memory", fact, needed, remedy),
            }
        }
        Err(error) => {
            let fact = format!("the memory of this machine cannot be read: {}", chain(&error));
            Finding::fail("requires/memory", fact, needed, remedy)
        }
    }
}

fn commands(requires: &Requires) -> Option<Finding> {
    let names = |there: bool| -> Vec<&str> {
        let all = requires.commands.iter().map(|command| command.as_str());
        all.filter(|name| scripts::is_found(name) == there).collect()
    };
    let (found, missing) = (names(true), names(false));
    let needed = format!("these programs in one of {}", crate::targets::scripts::PATH);
    match (requires.commands.is_empty(), missing.is_empty()) {
        (true, _) => None,
        (false, true) => {
            Some(Finding::pass("requires/commands", format!("{} are there", found.join(", ")), needed))
        }
        (false, false) => {
            let fact = format!("{} not found", missing.join(", "));
            Some(Finding::fail("requires/commands", fact, needed, format!("install {}", missing.join(", "))))
        }
    }
}

/// What the version in place requires: its own ports are taken by it, as they should be.
fn in_place(bundle: &VerifiedBundle, judged: &Judged, context: &Context<'_>) -> Option<(String, Requires)> {
    let manifest = bundle.manifest();
    let ledger = context.site.ledger(&manifest.publisher, &manifest.product).ok().flatten()?;
    let current = Ledger::current(&ledger)?;
    let inventory = admit::kept_inventory(context.site, &judged.trust, current).ok()?;
    Some((current.version.to_string(), inventory.requires))
}

fn free(port: &ListenPort, listeners: &[SocketAddr], ours: &[ListenPort], version: &str) -> Finding {
    let needed = format!("TCP port {port} with nobody listening on it");
    let taken = listeners.iter().find(|listener| is_in_the_way(listener, port));
    let Some(listener) = taken else {
        return Finding::pass("requires/ports", format!("nobody listens on {port}"), needed);
    };
    let fact = format!("somebody listens on {listener}");
    if ours.iter().any(|own| own.port == port.port) {
        let fact = format!("{fact}, which version {version} in place requires too");
        return Finding::pass("requires/ports", fact, needed);
    }
    let remedy = format!("see who it is with `ss -ltnp 'sport = :{}'`, and stop it or move it", port.port);
    Finding::fail("requires/ports", fact, needed, remedy)
}

/// An address that stands for all takes the port on each; one of IPv6 may take those of IPv4 with it, and nobody
/// tells whether it does.
fn is_in_the_way(listener: &SocketAddr, port: &ListenPort) -> bool {
    let overlaps = |wanted: IpAddr| match listener.ip() {
        all if all.is_unspecified() => all.is_ipv6() || wanted.is_ipv4(),
        one => one == wanted || wanted.is_unspecified(),
    };
    listener.port() == port.port.get() && port.address.is_none_or(overlaps)
}

/// Which version Helm is of says who looks at the target; a site without one has no Helm that would be met.
fn helm(requires: &Requires, targets: &Targets) -> Option<Finding> {
    let range = requires.helm.as_ref().filter(|_| targets.helm.is_none())?;
    Some(Finding::fail(
        "requires/helm",
        format!("helm {range} is required, and site.yaml names none"),
        "a site that installs charts with helm",
        "write `helm` into `targets` of site.yaml",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;

    #[test]
    fn a_port_is_taken_by_who_listens_on_its_address_or_on_all_of_them() {
        let taken =
            |listener: &str, port: &str| is_in_the_way(&listener.parse().unwrap(), &port.parse().unwrap());
        for (listener, port) in [
            ("127.0.0.1:80", "80"),
            ("[::1]:80", "80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
        ] {
            assert!(taken(listener, port), "{listener} and {port}");
        }
        for (listener, port) in [
            ("127.0.0.1:81", "80"),
            ("127.0.0.2:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("[::1]:80", "127.0.0.1:80"),
        ] {
            assert!(!taken(listener, port), "{listener} and {port}");
        }
    }

    #[test]
    fn a_port_of_the_version_in_place_is_ours_already() {
        let listeners = ["0.0.0.0:80".parse().unwrap()];
        let own: [ListenPort; 1] = ["80".parse().unwrap()];
        let verdict = |ours: &[ListenPort]| free(&own[0], &listeners, ours, "1.0").verdict;
        assert_eq!((verdict(&[]), verdict(&own)), (Verdict::Fail, Verdict::Pass));
    }

    #[test]
    fn what_is_left_of_the_disks_is_what_counts() {
        let disk = |free, taken| disk::Spare { at: "/x".into(), free, taken };
        let verdict = |wanted| room(wanted, &[disk(100, 40), disk(10, 50)]).verdict;
        assert_eq!((verdict(60), verdict(61)), (Verdict::Pass, Verdict::Fail));
        assert_eq!(room(1, &[]).verdict, Verdict::Fail);
    }

    #[test]
    fn a_site_without_helm_has_no_version_of_it() {
        let requires = |text: &str| serde_json::from_str::<Requires>(text).unwrap();
        let none = Targets::default();
        assert_eq!(helm(&requires("{\"helm\":\">=3\"}"), &none).unwrap().verdict, Verdict::Fail);
        assert!(helm(&requires("{\"disk\":1}"), &none).is_none());
    }
}
