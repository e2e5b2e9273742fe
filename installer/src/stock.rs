//! Stock: what was pushed to the site's registry and loaded into its engines, by the journals. It stays while a
//! version is kept for a rollback; this module finds what nobody holds any more.
//!
//! *Invariant:* only what a journal says was put there is found, only while it is still that, and only at the
//! targets that `site.yaml` names. What is held is never touched, also not where a registry can take a tag away
//! only with everything that has its digest.

use manifests::Digest;

use crate::holdings::Holdings;
use crate::origins::{Origins, Product};
use crate::plan::{Import, Load, Push, Withdraw};
use crate::site::config::SiteConfig;
use crate::targets::{Context, TargetError, containerd, docker, registry};

/// What to do with a name that stood for something else before we came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It stands for that again.
    GiveBack,
    /// It stays as it is.
    Leave,
}

/// The stock of a site, and what of it is held.
pub struct Stock<'a> {
    /// What was put where.
    pub origins: &'a Origins,
    /// What stays.
    pub held: &'a Holdings,
    /// What a person wrote about the site.
    pub config: &'a SiteConfig,
    /// What targets may use.
    pub context: &'a Context<'a>,
    /// What to do with a name of somebody else's.
    pub foreign: Foreign,
}

impl Stock<'_> {
    /// What nobody holds any more: of one product, or of all.
    ///
    /// # Errors
    /// A target could not be looked at.
    pub fn surplus(&self, of: Option<&Product>) -> Result<Vec<Withdraw>, TargetError> {
        let mut found = Vec::new();
        for (push, by) in self.origins.pushes.values() {
            if of.is_none_or(|product| by.contains(product)) {
                found.extend(self.push(push)?.map(Withdraw::Push));
            }
        }
        for (load, by) in self.origins.loads.values() {
            if of.is_none_or(|product| by.contains(product)) {
                found.extend(self.load(load)?.map(Withdraw::Load));
            }
        }
        for (import, by) in self.origins.imports.values() {
            if of.is_none_or(|product| by.contains(product)) {
                found.extend(self.import(import)?.map(Withdraw::Import));
            }
        }
        Ok(found)
    }

    /// The old value of a name as it will be put back; nothing if the name is not for us to touch.
    fn given_back<T>(&self, old: Option<T>) -> Option<Option<T>> {
        match (old, self.foreign) {
            (Some(_), Foreign::Leave) => None,
            (old, _) => Some(old),
        }
    }

    fn push(&self, push: &Push) -> Result<Option<Push>, TargetError> {
        let target = self.config.targets.registry.as_ref();
        if target.is_none_or(|target| target.url.trim_end_matches('/') != push.url) {
            return Ok(None);
        }
        let (repository, digest) = (&push.repository, push.manifest.digest);
        let is_held = |digest: Digest| self.held.manifests.contains(&(repository.clone(), digest));
        let name = (repository.clone(), push.tag.clone());
        if is_held(digest) || (push.tag.is_some() && self.held.tags.contains(&name)) {
            return Ok(None);
        }
        let Some(old) = self.given_back(self.origins.tag(push, push.tag.as_deref())) else {
            return Ok(None);
        };
        let mut now = push.clone();
        registry::look(&mut now, self.context)?;
        let was_there = self.origins.was_there(push, digest);
        let is_there = match push.tag {
            Some(_) => now.old == Some(digest),
            None => now.was_there && !was_there,
        };
        if !is_there {
            return Ok(None);
        }
        let old = match old {
            // What it stood for may be gone from there meanwhile.
            Some(old) if !registry::has(push, &old, self.context)? => None,
            old => old,
        };
        let mut withdrawn = Push { old, was_there, mount_from: Default::default(), ..push.clone() };
        withdrawn.companions.retain(|beside| !is_held(beside.companion.manifest.digest));
        for beside in &mut withdrawn.companions {
            let digest = beside.companion.manifest.digest;
            beside.old = self.origins.tag(push, beside.companion.tag().as_deref());
            beside.was_there = self.origins.was_there(push, digest);
            beside.was_listed = self.origins.was_listed(push, digest);
        }
        Ok(Some(withdrawn))
    }

    fn load(&self, load: &Load) -> Result<Option<Load>, TargetError> {
        let target = self.config.targets.docker.as_ref();
        if target.is_none_or(|target| target.host.to_string() != load.host) {
            return Ok(None);
        }
        if load.name.as_ref().is_some_and(|name| self.held.names.contains(name))
            || self.held.images.contains(&load.manifest.digest)
        {
            return Ok(None);
        }
        let Some(old) = self.given_back(self.origins.engine_name(load)) else { return Ok(None) };
        let was_there = self.origins.engine_had(load);
        let withdrawn = Load { old, was_there, ..load.clone() };
        Ok(docker::is_left(&withdrawn)?.then_some(withdrawn))
    }

    fn import(&self, import: &Import) -> Result<Option<Import>, TargetError> {
        let target = self.config.targets.containerd.as_ref();
        let is_here = |target: &crate::site::config::ContainerdTarget| {
            target.address == import.address && target.namespace == import.namespace
        };
        if !target.is_some_and(is_here) || self.held.images.contains(&import.manifest.digest) {
            return Ok(None);
        }
        let mut withdrawn = Import { released: None, ..import.clone() };
        withdrawn.names.retain(|name| !self.held.names.contains(&name.name));
        let mut names = Vec::new();
        for mut name in withdrawn.names {
            if let Some(old) = self.given_back(self.origins.containerd_name(import, &name.name)) {
                name.old = old;
                names.push(name);
            }
        }
        withdrawn.names = names;
        withdrawn.beside = self.origins.containerd_beside(import);
        Ok(containerd::is_left(&withdrawn, self.context)?.then_some(withdrawn))
    }
}
