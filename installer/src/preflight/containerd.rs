//! `containerd/reachable`, `containerd/namespace`, `containerd/image`, `containerd/foreign-tag`, `containerd/mirror`,
//! `containerd/registries` and `disk/containerd`: containerd answers `ctr`, somebody uses the namespace, every image
//! is for this machine, there is room, and no name would be taken from somebody else's image.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use manifests::inventory::Image;
use manifests::{Digest, Inventory};

use super::{Finding, Verdict};
use crate::apply::chain;
use crate::plan::Import;
use crate::site::config::ContainerdTarget;
use crate::targets::Context;
use crate::targets::containerd::{self, Ctr};
use crate::targets::images::{self, Machine};
use crate::targets::mirror;

/// Where containerd keeps images unless somebody has chosen another place.
const ROOT: &str = "/var/lib/containerd";
const K3S_ROOT: &str = "/var/lib/rancher/k3s/agent/containerd";

/// Looks at containerd, once, and at each image.
#[must_use]
pub fn check(
    carried: &[&Image],
    inventory: &Inventory,
    target: &ContainerdTarget,
    context: &Context<'_>,
) -> Vec<Finding> {
    let ctr = Ctr::of(target, context);
    let version = match has_socket(target).and_then(|()| ctr.version().map_err(|error| chain(&error))) {
        Ok(version) => version,
        Err(fact) => return vec![reachable(Verdict::Fail, fact)],
    };
    let fact = format!("{} is containerd {version}", target.address.display());
    let mut findings = vec![reachable(Verdict::Pass, fact)];
    match ctr.has_namespace() {
        Ok(there) => findings.push(namespace(target, there)),
        Err(error) => findings.push(reachable(Verdict::Fail, chain(&error))),
    }
    let machine = Machine::here();
    let mut missing = BTreeSet::new();
    for image in carried {
        findings.extend(unsuitable(image, &machine));
        match containerd::look(image, target, context) {
            Ok((in_place, import)) => {
                if !in_place {
                    missing.extend(image.blobs.iter().copied());
                }
                findings.extend(foreign(&import, target, context));
            }
            Err(error) => findings.push(reachable(Verdict::Fail, chain(&error))),
        }
    }
    findings.extend(space(target, sizes(inventory, &missing)));
    findings.extend(mirrors(carried, target, context));
    findings.extend(registries(carried, target, context));
    findings
}

fn sizes(inventory: &Inventory, digests: &BTreeSet<Digest>) -> u64 {
    let wanted = inventory.blobs.iter().filter(|blob| digests.contains(&blob.digest));
    wanted.fold(0, |sum, blob| sum.saturating_add(blob.size))
}

/// Images are kept as they came, and unpacked beside that when a container first needs them. Only where the usual
/// directory is there: `ctr` does not say where containerd keeps things.
fn space(target: &ContainerdTarget, bytes: u64) -> Option<Finding> {
    let root = if target.address.starts_with("/run/k3s") { K3S_ROOT } else { ROOT };
    let remedy = "free some space there: `crictl rmi --prune` removes images that nothing uses";
    super::docker::space_for_images("disk/containerd", Path::new(root), bytes, remedy)
}

/// An entry of somebody else in k3s' file is theirs.
fn registries(carried: &[&Image], target: &ContainerdTarget, context: &Context<'_>) -> Vec<Finding> {
    const ID: &str = "containerd/registries";
    let needed = "entries for each upstream registry that lead to this site";
    let Some(file) = &target.registries else { return Vec::new() };
    let path = file.file.display();
    let looked = match crate::targets::registries::look(carried, file, context.config) {
        Ok(Some(looked)) => looked,
        Ok(None) => return Vec::new(),
        Err(error) => {
            return vec![Finding::fail(
                ID,
                chain(&error),
                needed,
                "correct the file by hand, or leave `registries` out",
            )];
        }
    };
    if !looked.foreign.is_empty() {
        let fact = format!("{path} has entries of somebody else for {}", looked.foreign.join(", "));
        let remedy =
            "take them out, or make sure that they lead to the images as well; they stay as they are";
        return vec![Finding::fail(ID, fact, needed, remedy)];
    }
    vec![match looked.in_place {
        true => Finding::pass(ID, format!("{path} leads to this site"), needed),
        false => Finding::warn(
            ID,
            format!("{path} will lead to this site, once k3s has read it"),
            needed,
            "start k3s anew afterwards, and after an undo",
        ),
    }]
}

/// A mirror's file that somebody else has written is theirs.
fn mirrors(carried: &[&Image], target: &ContainerdTarget, context: &Context<'_>) -> Vec<Finding> {
    let Some(files) = &target.mirror else { return Vec::new() };
    let finding = |verdict, fact: String, remedy: Option<&str>| Finding {
        id: "containerd/mirror",
        verdict,
        fact,
        requirement: "a hosts.toml for each upstream registry that leads to this site".to_string(),
        remedy: remedy.map(ToString::to_string),
    };
    let judge = |wanted: mirror::Wanted| {
        let (in_place, step) = mirror::look(wanted, files)?;
        let foreign = !in_place && mirror::is_foreign(&step)?;
        let path = step.write.path.display();
        Ok(match (foreign, target.replace) {
            (false, _) => finding(Verdict::Pass, format!("{path} leads to this site, or will"), None),
            (true, true) => finding(
                Verdict::Warn,
                format!("{path} was written by somebody else, and will be replaced"),
                Some("`targets.containerd.replace` allows it; an undo puts the old one back"),
            ),
            (true, false) => finding(
                Verdict::Fail,
                format!("{path} was written by somebody else"),
                Some(
                    "add the site there by hand and leave `mirror` out; `targets.containerd.replace: true` replaces it",
                ),
            ),
        })
    };
    let wanted = mirror::wanted(carried, files, context.config);
    let judged = wanted.into_iter().map(|wanted| {
        judge(wanted).unwrap_or_else(|error: crate::targets::TargetError| {
            finding(Verdict::Fail, chain(&error), Some("see `targets.containerd.mirror` in site.yaml"))
        })
    });
    let mut findings: Vec<Finding> = judged.collect();
    let logs_in = context.config.targets.registry.as_ref().is_some_and(|registry| registry.auth.is_some());
    if logs_in && files.url.is_none() {
        let fact = "the site's registry wants a login, and a mirror's file holds none".to_string();
        let remedy = "let the nodes pull without a login, or give them one (imagePullSecrets)";
        findings.push(finding(Verdict::Warn, fact, Some(remedy)));
    }
    findings
}

/// `ctr` waits long for a socket that is not there, and then says little.
fn has_socket(target: &ContainerdTarget) -> Result<(), String> {
    let address = target.address.display();
    match std::fs::metadata(&target.address) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
        Ok(_) => Err(format!("{address} is no socket")),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

fn reachable(verdict: Verdict, fact: String) -> Finding {
    let remedy = "start containerd or k3s, correct `targets.containerd` in site.yaml (`address`, `ctr`), or run as root";
    Finding {
        id: "containerd/reachable",
        verdict,
        fact,
        requirement: "a containerd that answers on its socket, and the program `ctr` (or `k3s`)".to_string(),
        remedy: (verdict == Verdict::Fail).then(|| remedy.to_string()),
    }
}

fn namespace(target: &ContainerdTarget, there: bool) -> Finding {
    let name = target.namespace.as_str();
    let fact = if there {
        format!("the namespace {name} is there")
    } else {
        format!("nobody uses the namespace {name} yet; it is made with the first image")
    };
    Finding {
        id: "containerd/namespace",
        verdict: if there { Verdict::Pass } else { Verdict::Warn },
        fact,
        requirement: "the namespace that whoever runs the containers looks in".to_string(),
        remedy: (!there)
            .then(|| "Kubernetes and k3s use k8s.io; see `targets.containerd.namespace`".to_string()),
    }
}

fn unsuitable(image: &Image, machine: &Machine) -> Option<Finding> {
    let carried: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    (!machine.suits(image)).then(|| Finding {
        id: "containerd/image",
        verdict: Verdict::Fail,
        fact: format!("image {} was carried for {}", image.name, carried.join(" and ")),
        requirement: format!("image {} for {machine}", image.name),
        remedy: Some("ask the sender for the image for this platform".to_string()),
    })
}

fn foreign(import: &Import, target: &ContainerdTarget, context: &Context<'_>) -> Vec<Finding> {
    let store = context.site.store();
    let taken = |name: &crate::plan::ImportName| {
        let old = name.old.as_ref()?.digest;
        (old != import.manifest.digest && !images::is_ours(&old, &store)).then(|| super::ForeignName {
            id: "containerd/foreign-tag",
            key: "targets.containerd.replace",
            name: name.name.clone(),
            old,
            new: import.manifest.digest,
            allowed: target.replace,
        })
    };
    import.names.iter().filter_map(|name| super::foreign_name(taken(name))).collect()
}
