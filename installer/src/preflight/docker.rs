//! `docker/reachable`, `docker/image`, `docker/foreign-tag` and `docker/space`: the Engine answers, can take
//! every image of the bundle, has room for them, and no name would be taken from somebody else's image.

use std::path::Path;

use manifests::VerifiedBundle;
use manifests::inventory::Image;

use super::{Finding, Verdict};
use crate::plan::Load;
use crate::site::config::DockerTarget;
use crate::targets::docker::{self, Facts};
use crate::targets::{Context, images};

/// As sent and unpacked: twice is the least that can do, four times is what layers usually need.
const ROOM_LEAST: u64 = 2;
const ROOM_USUAL: u64 = 4;

/// Looks at the Engine, once, and at each image.
#[must_use]
pub fn check(
    carried: &[&Image],
    bundle: &VerifiedBundle,
    target: &DockerTarget,
    context: &Context<'_>,
) -> Vec<Finding> {
    let facts = match docker::facts(target) {
        Ok(facts) => facts,
        Err(error) => return vec![unreachable(&error)],
    };
    let mut findings = vec![reachable(target, &facts)];
    let (mut bytes, mut suit) = (0_u64, 0_usize);
    for image in carried {
        if let Some(problem) = problem(image, bundle, &facts) {
            findings.push(problem);
            continue;
        }
        suit = suit.saturating_add(1);
        match docker::look(bundle, image, target, &facts) {
            Ok(Some(load)) => {
                bytes = bytes.saturating_add(missing(&load, image, bundle, &facts));
                findings.extend(super::foreign_name(foreign(&load, target, context)));
            }
            Ok(None) => {}
            Err(error) => findings.push(unreachable(&error)),
        }
    }
    if suit == carried.len() {
        findings.push(Finding {
            id: "docker/image",
            verdict: Verdict::Pass,
            fact: format!("every image has something for {}", facts.machine),
            requirement: "images for the platform of the Engine, in a form that it takes".to_string(),
            remedy: None,
        });
    }
    let remedy = "free some space, or `docker image prune`";
    findings.extend(space_for_images("docker/space", &facts.root, bytes, remedy));
    findings
}

fn unreachable(error: &crate::targets::TargetError) -> Finding {
    Finding {
        id: "docker/reachable",
        verdict: Verdict::Fail,
        fact: crate::apply::chain(error),
        requirement: "a Docker Engine that answers on its socket".to_string(),
        remedy: Some(
            "start the Docker Engine, correct `targets.docker.host` in site.yaml, or run as a user who may use the socket"
                .to_string(),
        ),
    }
}

fn reachable(target: &DockerTarget, facts: &Facts) -> Finding {
    let keeps = if facts.in_containerd { ", which keeps images in containerd" } else { "" };
    Finding {
        id: "docker/reachable",
        verdict: Verdict::Pass,
        fact: format!("{} is Docker Engine {} on {}{keeps}", target.host, facts.version, facts.machine),
        requirement: "a Docker Engine that answers on its socket".to_string(),
        remedy: None,
    }
}

/// What keeps an image from being loaded, or from getting a name.
fn problem(image: &Image, bundle: &VerifiedBundle, facts: &Facts) -> Option<Finding> {
    let finding = |verdict, fact: String, remedy: &str| Finding {
        id: "docker/image",
        verdict,
        fact,
        requirement: format!("image {} for {} in a form that the Engine takes", image.name, facts.machine),
        remedy: Some(remedy.to_string()),
    };
    let Some((_, manifest)) = images::for_machine(bundle, image, &facts.machine) else {
        let carried: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
        let fact = format!("image {} was carried for {}", image.name, carried.join(" and "));
        return Some(finding(Verdict::Fail, fact, "ask the sender for the image for this platform"));
    };
    if !images::is_runnable(&manifest) {
        let fact = format!("{} is no container image, and is left out here", image.name);
        return Some(finding(Verdict::Warn, fact, "`targets.registry` takes it"));
    }
    if let Some(reason) = facts.cannot_take(&manifest) {
        let remedy = "update the Docker Engine, or ask the sender for layers compressed with gzip";
        return Some(finding(Verdict::Fail, format!("image {}: {reason}", image.name), remedy));
    }
    image.name.tag().is_none().then(|| {
        let fact =
            format!("image {} is named by its digest, which gives it no name in an Engine", image.name);
        finding(Verdict::Warn, fact, "use it by its id, or ask the sender for a tag")
    })
}

fn foreign(load: &Load, target: &DockerTarget, context: &Context<'_>) -> Option<super::ForeignName> {
    let old = load.old.filter(|old| *old != load.id && !images::is_ours(old, &context.site.store()))?;
    Some(super::ForeignName {
        id: "docker/foreign-tag",
        key: "targets.docker.replace",
        name: load.name.clone().unwrap_or_default(),
        old,
        new: load.id,
        allowed: target.replace,
    })
}

/// What the Engine would get of an image, compressed.
fn missing(load: &Load, image: &Image, bundle: &VerifiedBundle, facts: &Facts) -> u64 {
    let manifest = images::for_machine(bundle, image, &facts.machine).filter(|_| !load.was_there);
    let layers = manifest.map(|(_, manifest)| manifest.layers).unwrap_or_default();
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
}

/// Room for images that are so large compressed. Only where the directory can be seen from here.
pub(super) fn space_for_images(id: &'static str, root: &Path, bytes: u64, remedy: &str) -> Option<Finding> {
    let free = layout::disk::free_bytes(root).ok().filter(|_| bytes > 0)?;
    let shown = edge::show::bytes;
    let fact = format!("{} has {} free", root.display(), shown(free));
    let usual = shown(bytes.saturating_mul(ROOM_USUAL));
    let requirement = format!("{usual} for images of {}, as sent and unpacked", shown(bytes));
    Some(if free < bytes.saturating_mul(ROOM_LEAST) {
        Finding::fail(id, fact, requirement, remedy)
    } else if free < bytes.saturating_mul(ROOM_USUAL) {
        Finding::warn(id, fact, requirement, remedy)
    } else {
        Finding::pass(id, fact, requirement)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_asked_for_only_where_something_is_missing_and_can_be_looked_at() {
        let space = |root: &str, bytes| space_for_images("docker/space", Path::new(root), bytes, "x");
        assert!(space("/", 0).is_none());
        assert!(space("/no/such/directory", 5).is_none());
        assert_eq!(space("/", 1).unwrap().verdict, Verdict::Pass);
        assert_eq!(space("/", u64::MAX / 8).unwrap().verdict, Verdict::Fail);
    }
}
