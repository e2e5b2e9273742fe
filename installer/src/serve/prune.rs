//! Bundles as they are listed while some of their blobs are withdrawn: without what cannot be had.
//!
//! *Invariant:* a name stays with the bundle that has it. What an older bundle has under the name of something
//! withdrawn does not step into its place: whoever asks for a name must not silently get less than there was.

use std::collections::BTreeSet;
use std::sync::Arc;

use manifests::Digest;
use manifests::inventory::{Chart, Component, Wheel};

use super::charts::archive_name;
use super::shelf::PublishedBundle;

/// What is listed of these bundles, the current one of each product first.
pub(super) fn without(
    bundles: &[Arc<PublishedBundle>],
    withdrawn: &BTreeSet<Digest>,
) -> Vec<Arc<PublishedBundle>> {
    if withdrawn.is_empty() {
        return bundles.to_vec();
    }
    let mut pruner = Pruner { withdrawn, taken: BTreeSet::new() };
    bundles.iter().map(|bundle| pruner.prune(bundle)).collect()
}

struct Pruner<'a> {
    withdrawn: &'a BTreeSet<Digest>,
    /// Names that something withdrawn has.
    taken: BTreeSet<String>,
}

impl Pruner<'_> {
    fn prune(&mut self, bundle: &Arc<PublishedBundle>) -> Arc<PublishedBundle> {
        let mut pruned = PublishedBundle::clone(bundle);
        pruned.inventory.components.retain_mut(|component| self.keeps(component));
        if pruned == **bundle { Arc::clone(bundle) } else { Arc::new(pruned) }
    }

    /// Takes out of a component what can be taken out, and says whether the rest is to be listed.
    fn keeps(&mut self, component: &mut Component) -> bool {
        let withdrawn = self.withdrawn;
        let good = |digest: &Digest| !withdrawn.contains(digest);
        let name = component.ref_name();
        match component {
            Component::Image(image) => good(&image.manifest.digest) && image.blobs.iter().all(good),
            Component::Wheelhouse(wheelhouse) => {
                wheelhouse.wheels.retain(|wheel| self.keeps_wheel(wheel));
                true
            }
            Component::Chart(chart) => self.keeps_chart(chart),
            Component::FileSet(set) => {
                set.files.retain(|file| good(&file.digest));
                true
            }
            Component::KubernetesManifests(set) => {
                set.files.retain(|file| good(&file.digest));
                true
            }
            Component::Script(script) => {
                self.keeps_name(name, script.files().iter().all(|file| good(&file.digest)))
            }
        }
    }

    fn keeps_wheel(&mut self, wheel: &Wheel) -> bool {
        self.keeps_name(format!("wheels/{}", wheel.filename), !self.withdrawn.contains(&wheel.digest))
    }

    fn keeps_chart(&mut self, chart: &mut Chart) -> bool {
        chart.provenance = chart.provenance.take().filter(|file| !self.withdrawn.contains(&file.digest));
        let own = [&chart.manifest.digest, &chart.archive.digest, &chart.metadata.digest];
        let good = !own.into_iter().any(|digest| self.withdrawn.contains(digest));
        self.keeps_name(format!("charts/{}", archive_name(chart)), good)
    }

    /// Whether what has this name is listed: if it is good itself, and the name is not that of something withdrawn.
    fn keeps_name(&mut self, name: String, good: bool) -> bool {
        if good {
            return !self.taken.contains(&name);
        }
        self.taken.insert(name);
        false
    }
}
