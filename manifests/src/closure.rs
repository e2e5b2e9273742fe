//! From a component's manifest to its last layer: everything that a manifest names must be among the
//! blobs that the inventory lists for the component, with the size that it states. Without this a bundle
//! whose list and blobs agree could still lack a layer, and nobody would know before the first pull.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::bundle::Content;
use crate::companion::{Companion, CompanionKind};
use crate::digest::Digest;
use crate::inventory::{BundleSbom, Chart, Component, Image, Inventory};
use crate::oci::{Descriptor, MEDIA_MANIFEST, ManifestDocument, Needs, looks_like_a_manifest};
use crate::verify::Damage;

/// An index in an index in an index is nobody's image.
const NESTING_MAX: usize = 4;

/// What passed by, as far as it is worth remembering: bytes that look like a manifest or an index, right or wrong.
/// Configurations and layers do not.
#[derive(Debug, Clone, Default)]
pub struct MaybeManifest(Option<Vec<u8>>);

impl MaybeManifest {
    /// Looks at the bytes of a blob.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        let is_one = bytes.first() == Some(&b'{') && looks_like_a_manifest(&bytes);
        Self(is_one.then_some(bytes))
    }
}

/// The manifests that passed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifests(BTreeMap<Digest, Vec<u8>>);

impl Manifests {
    /// Keeps these bytes if they have the shape of a manifest.
    pub(crate) fn remember(&mut self, digest: Digest, document: MaybeManifest) {
        self.0.extend(document.0.map(|bytes| (digest, bytes)));
    }

    /// One of them, if it is what its descriptor says.
    pub(crate) fn get(&self, descriptor: &Descriptor) -> Option<ManifestDocument> {
        ManifestDocument::parse(self.0.get(&descriptor.digest)?, &descriptor.media_type).ok()
    }

    /// What a blob is to the first component that needs it, or to the bill of materials. Of an image whose manifest
    /// did not pass by yet, the place in the component's list has to do.
    pub(crate) fn role(&self, inventory: &Inventory, digest: &Digest) -> Option<String> {
        let needs = |component: &&Component| component.blobs().iter().any(|(blob, _)| blob == digest);
        let Some(component) = inventory.components.iter().find(needs) else {
            let sbom = inventory.sbom.as_ref()?;
            let needed = sbom.blobs().iter().any(|content| content.digest == *digest);
            return needed.then(|| BundleSbom::TITLE.to_string());
        };
        let title = component.title();
        let what = match component {
            Component::Image(image) => self.role_in_image(image, digest),
            Component::Chart(chart) => role_in_chart(chart, digest).map(ToString::to_string),
            other => name_of_file(other, digest),
        };
        let manifest = component.manifests().iter().any(|manifest| manifest.digest == *digest);
        let what = what.or_else(|| manifest.then(|| "its manifest".to_string()));
        Some(what.map_or_else(|| title.clone(), |what| format!("{title}, {what}")))
    }

    fn role_in_image(&self, image: &Image, digest: &Digest) -> Option<String> {
        let read = |blob: &Digest| match ManifestDocument::parse(self.0.get(blob)?, MEDIA_MANIFEST).ok()? {
            ManifestDocument::Image(manifest) => Some(manifest),
            ManifestDocument::Index(_) => None,
        };
        for manifest in image.blobs.iter().filter_map(read) {
            if manifest.config.digest == *digest {
                return Some("its configuration".to_string());
            }
            if let Some(layer) = manifest.layers.iter().position(|layer| layer.digest == *digest) {
                return Some(format!("layer {}", layer.saturating_add(1)));
            }
        }
        // One manifest, then its configuration, then its layers: as packers list them.
        let plain = image.platforms.len() <= 1 && image.companions.is_empty();
        match image.blobs.iter().position(|blob| blob == digest)? {
            0 => Some("its manifest".to_string()),
            1 if plain => Some("its configuration".to_string()),
            place if plain => Some(format!("layer {}", place.saturating_sub(1))),
            _ => None,
        }
    }

    /// Follows every component to its leaves.
    pub(crate) fn check(&self, inventory: &Inventory) -> Result<(), Damage> {
        for component in &inventory.components {
            let listed: BTreeSet<Digest> = component.blobs().into_iter().map(|(digest, _)| digest).collect();
            let walk = Walk { manifests: self, inventory, title: component.title(), listed };
            let mut reached = Reached::default();
            let mut manifests = component.manifests().into_iter();
            manifests.by_ref().take(1).try_for_each(|own| walk.follow(own, NESTING_MAX, &mut reached))?;
            walk.check_companions(component, &reached)?;
            manifests.try_for_each(|other| walk.follow(other, NESTING_MAX, &mut reached))?;
            walk.check_idle(&reached)?;
        }
        if let Some(sbom) = &inventory.sbom {
            let listed = sbom.blobs().into_iter().map(|content| content.digest).collect();
            let walk = Walk { manifests: self, inventory, title: BundleSbom::TITLE.to_string(), listed };
            let mut reached = Reached::default();
            walk.follow(&sbom.manifest, 0, &mut reached)?;
            walk.check_idle(&reached)?;
        }
        Ok(())
    }
}

/// The name of a file of a component that is made of files.
fn name_of_file(component: &Component, digest: &Digest) -> Option<String> {
    let mut files: Vec<(Digest, String)> = match component {
        Component::Wheelhouse(wheelhouse) => {
            wheelhouse.wheels.iter().map(|wheel| (wheel.digest, wheel.filename.to_string())).collect()
        }
        Component::FileSet(set) => {
            set.files.iter().map(|file| (file.digest, file.path.to_string())).collect()
        }
        Component::KubernetesManifests(set) => {
            set.files.iter().map(|file| (file.digest, file.path.to_string())).collect()
        }
        Component::Script(script) => {
            script.files().into_iter().map(|file| (file.digest, file.filename.to_string())).collect()
        }
        Component::Image(_) | Component::Chart(_) => Vec::new(),
    };
    let place = files.iter().position(|(file, _)| file == digest)?;
    Some(files.swap_remove(place).1)
}

fn role_in_chart(chart: &Chart, digest: &Digest) -> Option<&'static str> {
    let is = |content: &Content| content.digest == *digest;
    if is(&chart.archive) {
        Some("its archive")
    } else if is(&chart.metadata) {
        Some("its Chart.yaml")
    } else if chart.provenance.as_ref().is_some_and(is) {
        Some("its provenance file")
    } else {
        None
    }
}

/// Where a walk has been.
#[derive(Debug, Default)]
struct Reached {
    /// Everything that a manifest names, and the manifests.
    blobs: BTreeSet<Digest>,
    /// What was followed.
    manifests: BTreeSet<Digest>,
}

/// One component being followed.
struct Walk<'a> {
    manifests: &'a Manifests,
    inventory: &'a Inventory,
    /// What people call what is followed.
    title: String,
    listed: BTreeSet<Digest>,
}

impl Walk<'_> {
    fn broken(&self, reason: String) -> Damage {
        Damage::Incomplete { component: self.title.clone(), reason }
    }

    /// Whatever is listed is named by a manifest.
    fn check_idle(&self, reached: &Reached) -> Result<(), Damage> {
        match self.listed.iter().find(|digest| !reached.blobs.contains(*digest)) {
            None => Ok(()),
            Some(idle) => {
                Err(self.broken(format!("no manifest of it names {idle}, which the inventory lists for it")))
            }
        }
    }

    /// Each companion speaks about a manifest of the image or chart itself, or about another companion that does, and so
    /// on; not about itself, a layer or something that is not here. Called when only that was
    /// followed.
    fn check_companions(&self, component: &Component, reached: &Reached) -> Result<(), Damage> {
        let mut about: BTreeMap<Digest, Vec<&Companion>> = BTreeMap::new();
        for companion in component.companions() {
            self.check_subject(companion)?;
            about.entry(companion.of).or_default().push(companion);
        }
        let mut known: Vec<Digest> = reached.manifests.iter().copied().collect();
        while let Some(of) = known.pop() {
            let spoken = about.remove(&of).unwrap_or_default();
            known.extend(spoken.into_iter().map(|companion| companion.manifest.digest));
        }
        about.values().flatten().next().map_or(Ok(()), |companion| {
            let (name, of) = (component.companion_name(companion), companion.of);
            Err(self.broken(format!("its companion {name} speaks about {of}, which is no manifest of it")))
        })
    }

    /// A referrer says itself what it speaks about.
    fn check_subject(&self, companion: &Companion) -> Result<(), Damage> {
        if companion.kind != CompanionKind::Referrer {
            return Ok(());
        }
        let bytes = self.manifests.0.get(&companion.manifest.digest);
        let document =
            bytes.and_then(|bytes| ManifestDocument::parse(bytes, &companion.manifest.media_type).ok());
        match document {
            Some(ManifestDocument::Image(manifest))
                if manifest.subject.as_ref().is_some_and(|subject| subject.digest == companion.of) =>
            {
                Ok(())
            }
            _ => Err(self.broken(format!(
                "its companion {} does not say that it speaks about {}",
                companion.manifest.digest, companion.of
            ))),
        }
    }

    fn follow(&self, descriptor: &Descriptor, nesting: usize, reached: &mut Reached) -> Result<(), Damage> {
        self.take(Content { digest: descriptor.digest, size: descriptor.size }, reached)?;
        if !reached.manifests.insert(descriptor.digest) {
            // One index may name one child ten thousand times; it is followed once.
            return Ok(());
        }
        let digest = descriptor.digest;
        let bytes = self.manifests.0.get(&digest);
        let bytes = bytes.ok_or_else(|| self.broken(format!("{digest} is not a manifest")))?;
        let needs = Needs::parse(bytes, &descriptor.media_type);
        match needs.map_err(|error| self.broken(format!("manifest {digest}: {}", error)))? {
            Needs::Blobs(blobs) => blobs.into_iter().try_for_each(|blob| self.take(blob, reached)),
            Needs::Manifests(_) if nesting == 0 => {
                Err(self.broken("its indexes are nested too deeply".to_string()))
            }
            Needs::Manifests(manifests) => {
                let mut manifests = manifests.into_iter();
                manifests.try_for_each(|child| self.follow(&child, nesting.saturating_sub(1), reached))
            }
        }
    }

    fn take(&self, Content { digest, size }: Content, reached: &mut Reached) -> Result<(), Damage> {
        if !self.listed.contains(&digest) {
            return Err(self.broken(format!("it needs {digest}, which the inventory does not list for it")));
        }
        if self.inventory.blob_size(&digest) != Some(size) {
            return Err(self.broken(format!("it states {size} bytes for {digest}, which has another size")));
        }
        reached.blobs.insert(digest);
        Ok(())
    }
}
