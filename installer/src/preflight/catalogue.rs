//! Every check by its id: what it looks at, and whether a person may go on in spite of it. One row for each
//! id; the table in `docs/operator.md` is compared with this one. A finding without a row here is a defect.
//!
//! *Strict* is what nobody gets further without, or what would damage something or weaken trust if it were
//! passed over. The rest is a judgement about somebody's house, which is theirs: it may be overridden, with a
//! reason that goes into the log.

use self::Rule::{Open, Strict};

/// One id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// `area/what`
    pub id: &'static str,
    /// What is looked at, in a line.
    pub meaning: &'static str,
    /// Whether a fail may be overridden, and why so.
    pub rule: Rule,
}

/// Whether a finding that fails may be overridden. The text says why (not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It may not.
    Strict(&'static str),
    /// It may, with a reason.
    Open(&'static str),
}

impl Check {
    /// What is before the `/`.
    #[must_use]
    pub fn area(&self) -> &'static str {
        area(self.id)
    }

    /// Whether it may never be overridden.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        matches!(self.rule, Strict(_))
    }
}

/// What is before the `/` of an id.
#[must_use]
pub fn area(id: &'static str) -> &'static str {
    id.split_once('/').map_or(id, |(area, _)| area)
}

/// The row of an id.
#[must_use]
pub fn of(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.id == id)
}

const fn row(id: &'static str, meaning: &'static str, rule: Rule) -> Check {
    Check { id, meaning, rule }
}

const NOBODY_THERE: Rule = Strict("nothing could be sent there");
const NO_ROOM: Rule = Strict("it would end in the middle");
const WRONG_KIND: Rule = Strict("it would not run");
const SENDERS_WORD: Rule = Open("it is the sender's word about somebody else's house");
const NO_CHECK: Rule = Strict("it could not be checked, and everything would be undone");
const ONLY_WARNS: Rule = Open("it never stops anything");

/// All of them, by area in the order in which they are looked at.
pub const CHECKS: &[Check] = &[
    row(
        "window/open",
        "the site may be changed now, by `windows` in `site.yaml`",
        Open("the site decides when an emergency is one"),
    ),
    row(
        "change/ticket",
        "a ticket was named with `--change`, as `change` in `site.yaml` wants it",
        Open("in an emergency the ticket comes later"),
    ),
    row(
        "site/failed-before",
        "nothing of this product has failed here that nobody has looked at since; only warns before a rollback",
        Strict("`installer acknowledge` is the way to say that somebody has looked"),
    ),
    row(
        "clock/plausible",
        "the clock is not before anything that was signed for this site; by more than a day fails, unless `site.yaml` says `time: {clock: warn}`",
        Strict("the clock judges what has expired, and dates the log"),
    ),
    row("clock/forwards", "the clock is not before the last entry in the log", ONLY_WARNS),
    row(
        "bundle/expiry",
        "the bundle has not expired; fails only with `time: {expiry: enforce}`",
        Open("what it brings is no worse than yesterday"),
    ),
    row(
        "trust/expiry",
        "the trust root has not expired; fails only with `time: {expiry: enforce}`",
        Strict("it says who may sign for this site"),
    ),
    row("trust/age", "says how old roots and revocations are", ONLY_WARNS),
    row(
        "disk/site-store",
        "the site directory has room for what the store lacks, log, journal, and files as they were",
        NO_ROOM,
    ),
    row("disk/venvs", "`targets.python.venvs` has room for the new environments", NO_ROOM),
    row("disk/files", "the disks below `targets.files.root` have room for new files beside the old", NO_ROOM),
    row("disk/containerd", "containerd's directory has room for images, packed and unpacked", NO_ROOM),
    row("disk/inodes", "each of these disks has room for so many files", NO_ROOM),
    row(
        "registry/reachable",
        "somebody listens at `targets.registry.url`, and speaks the protocol of OCI registries",
        NOBODY_THERE,
    ),
    row(
        "registry/tls",
        "its certificate is for that name, hangs on an authority that is known and has not expired, and lasts 14 more days",
        NOBODY_THERE,
    ),
    row("registry/login", "it takes our login", NOBODY_THERE),
    row(
        "registry/push",
        "it lets us push: an upload is begun and cancelled, and no blob and no tag stays of it",
        NOBODY_THERE,
    ),
    row(
        "registry/immutable",
        "no tag that the bundle needs names another image; fails only with `targets.registry.immutable: true`",
        Strict("such a registry refuses it in the middle"),
    ),
    row(
        "cluster/reachable",
        "the cluster answers, its certificate fits, and it takes our login",
        NOBODY_THERE,
    ),
    row(
        "cluster/version",
        "it is a version of Kubernetes that the bundle says it requires",
        Open("the sender may not have tried it there"),
    ),
    row(
        "cluster/apis",
        "it serves every kind of object that is brought or required",
        Strict("it would refuse them in the middle"),
    ),
    row(
        "cluster/namespace",
        "each namespace is there or comes along, and is not being deleted",
        Strict("it would refuse what goes there"),
    ),
    row(
        "cluster/namespace-health",
        "no pod in those namespaces is in trouble, and every workload there is ready",
        Open("what is broken may be what the bundle mends"),
    ),
    row(
        "cluster/rbac",
        "we may get, create, patch, update and delete every kind that is brought, and Helm its secrets",
        Strict("it would refuse them in the middle"),
    ),
    row(
        "cluster/secrets",
        "the secrets and keys are there that are required, or that pods ask for",
        Open("somebody may make them a moment later"),
    ),
    row(
        "cluster/storage-class",
        "the storage classes are there that are required, or that volumes name; a default one if one names none",
        Open("somebody may make the volumes by hand"),
    ),
    row(
        "cluster/quota",
        "quotas are used up to the headroom at most; only warns if the bundle adds nothing",
        Open("how much of a quota may be used is for the site to say"),
    ),
    row(
        "cluster/capacity",
        "nodes are requested up to the headroom at most (only warns if the bundle adds nothing), and each pod has a node it fits on",
        Open("somebody may add nodes a moment later"),
    ),
    row(
        "cluster/objects",
        "the API server would take each object of the manifests, by a dry run",
        Strict("it would refuse them in the middle"),
    ),
    row(
        "cluster/conflict",
        "no field of these objects is managed by somebody else; `targets.kubernetes.force: true` takes them",
        Strict("it would refuse them in the middle"),
    ),
    row(
        "cluster/owner",
        "none of these objects came with another product; warns of what is there and came with no bundle",
        Strict("each product would undo what the other has done"),
    ),
    row("docker/reachable", "the Docker Engine answers on its socket", NOBODY_THERE),
    row(
        "docker/image",
        "each image has something for the Engine's platform, in a form that it takes; warns of an image without a tag, and of what is no container image and is left out",
        WRONG_KIND,
    ),
    row(
        "docker/foreign-tag",
        "no name stands for an image that came from no bundle; only warns with `targets.docker.replace: true`",
        Open("an undo gives the name back"),
    ),
    row(
        "docker/space",
        "where the Engine keeps images, twice the size of the missing ones is free; warns below four times",
        NO_ROOM,
    ),
    row("containerd/reachable", "containerd answers on its socket, and there is `ctr`", NOBODY_THERE),
    row("containerd/namespace", "somebody uses the namespace already", ONLY_WARNS),
    row("containerd/image", "each image was carried for this machine's platform", WRONG_KIND),
    row(
        "containerd/foreign-tag",
        "no name stands for an image that came from no bundle; only warns with `targets.containerd.replace: true`",
        Open("an undo gives the name back"),
    ),
    row(
        "containerd/mirror",
        "nobody else has written a mirror's file (only warns with `replace: true`); warns where the registry wants a login, which the file cannot hold",
        Open("an undo puts the old file back"),
    ),
    row(
        "containerd/registries",
        "k3s' `registries.yaml` can be added to, and nobody else has an entry for an upstream registry of ours; warns that k3s has to be started anew",
        Open("the entry of somebody else stays, and may lead to the images as well"),
    ),
    row("python/interpreter", "the interpreter is there, with `venv` and `ensurepip`", WRONG_KIND),
    row("python/target", "wheels were carried for its version and platform", WRONG_KIND),
    row("python/abi", "of each project there is a wheel with a tag that the interpreter takes", WRONG_KIND),
    row(
        "python/resolve",
        "pip resolves the wheels in a new environment, as a dry run without a network",
        WRONG_KIND,
    ),
    row("helm/version", "`helm` is there, of version 3 or 4", NOBODY_THERE),
    row("helm/reachable", "the cluster answers Helm, and lets us read releases", NOBODY_THERE),
    row(
        "helm/pending",
        "nobody is at work on a release of ours, and nobody was killed at it",
        Strict("Helm refuses to change it"),
    ),
    row(
        "helm/release",
        "no release of the name came from elsewhere (only warns with `targets.helm.replace: true`); warns of one that has failed",
        Open("an undo gives the release back"),
    ),
    row(
        "helm/render",
        "each chart renders with the values of this site, whose files are there and parse",
        Strict("it would not install"),
    ),
    row(
        "helm/images",
        "each image in what comes out is in the bundle or in the site's registry, and with `images: rewrite` its name can be replaced where it stands; warns of what only looks like an image",
        Open("something else on site may have the image"),
    ),
    row(
        "scripts/allowed",
        "scripts that are to run, also to go back, are allowed by `targets: {scripts: {}}`",
        Strict("only `site.yaml` lets programs run"),
    ),
    row("scripts/place", "the disk of the site directory is not mounted `noexec`", WRONG_KIND),
    row("scripts/interpreter", "what a script's first line names is there", WRONG_KIND),
    row(
        "requires/disk",
        "the disks of `targets.files.root` and `targets.python.venvs` (without them that of the site directory) have together what the bundle requires, beside what its own content takes",
        SENDERS_WORD,
    ),
    row("requires/memory", "this machine has the memory that the bundle requires", SENDERS_WORD),
    row(
        "requires/ports",
        "nobody listens on the TCP ports that the bundle requires, but for those that the version in place requires too",
        SENDERS_WORD,
    ),
    row(
        "requires/commands",
        "the programs that the bundle requires are on the `PATH` of scripts",
        SENDERS_WORD,
    ),
    row(
        "requires/helm",
        "where the bundle requires a version of Helm, `site.yaml` has `targets.helm`",
        SENDERS_WORD,
    ),
    row(
        "health/allowed",
        "health checks that run a program are allowed by `targets: {scripts: {}}`",
        NO_CHECK,
    ),
    row(
        "health/cluster",
        "where health checks look at a rollout, `site.yaml` has `targets.kubernetes` or `targets.helm`",
        NO_CHECK,
    ),
    row(
        "rollback/material",
        "what a way back to the version in place needs is still here; before a rollback also what it goes to",
        Strict("there would be no way back"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_id_is_there_once_with_its_area_and_in_the_letters_of_a_command_line() {
        let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len());
        for check in CHECKS {
            let (area, what) = check.id.split_once('/').unwrap();
            let word =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(word(area) && word(what), "{}", check.id);
            assert!(!check.meaning.contains('|') && !check.meaning.ends_with('.'), "{}", check.id);
        }
    }

    #[test]
    fn rows_of_one_area_stand_together() {
        let mut seen: Vec<&str> = CHECKS.iter().map(Check::area).collect();
        seen.dedup();
        assert_eq!(seen.len(), seen.iter().collect::<BTreeSet<_>>().len(), "{seen:?}");
    }
}
