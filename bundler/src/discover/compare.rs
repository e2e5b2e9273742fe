//! What was found, held against what is carried and what was waived.
//!
//! Two names are one image if they are equal with Docker's defaults written out. A digest has to be that of a
//! carried manifest of that very repository, or of one below it: the tag beside a digest says nothing, because
//! whoever pulls goes by the digest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use manifests::bundle::Content;
use manifests::inventory::{Component, ImageClass, NeededImage};
use manifests::oci::ManifestDocument;
use manifests::text::{LongLine, Name};
use manifests::{Digest, Reference};

use crate::lock::LockedBlob;
use crate::sources::World;
use crate::spec::WaiverSpec;
use discovery::hit::{Hit, Wanted};
use discovery::reference;

/// Which images a bundle carries.
#[derive(Debug, Default)]
pub struct Carried {
    images: Vec<CarriedImage>,
}

#[derive(Debug)]
struct CarriedImage {
    name: Reference,
    manifest: Digest,
    /// The manifest and every manifest below it.
    manifests: BTreeSet<Digest>,
}

/// What becomes of an image that a chart needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is carried.
    Carried(Digest),
    /// The author says why it is not.
    Waived(LongLine),
    /// An image of that name is carried, and it is not the one with that digest.
    OtherDigest(Digest),
    /// It is not carried.
    Missing,
}

impl Carried {
    /// The images among these components.
    ///
    /// # Errors
    /// An index of one cannot be read.
    pub fn of(
        components: &[Component],
        blobs: &BTreeMap<Digest, LockedBlob>,
        world: &World<'_>,
    ) -> io::Result<Self> {
        let mut images = Vec::new();
        for component in components {
            let Component::Image(image) = component else { continue };
            let manifests = below(&image.manifest, blobs, world)?;
            let name = reference::normal(image.name.clone());
            images.push(CarriedImage { name, manifest: image.manifest.digest, manifests });
        }
        Ok(Self { images })
    }

    /// Whether an image is among them.
    #[must_use]
    pub fn standing(&self, wanted: &Wanted) -> Standing {
        let Wanted::Image(wanted) = wanted else { return Standing::Missing };
        let of_repository =
            || self.images.iter().filter(|image| image.name.repository() == wanted.repository());
        let same_tag = || of_repository().find(|image| image.name.tag() == wanted.tag());
        match (wanted.digest(), wanted.tag()) {
            (None, _) => same_tag().map_or(Standing::Missing, |image| Standing::Carried(image.manifest)),
            (Some(digest), tag) => {
                if of_repository().any(|image| image.manifests.contains(&digest)) {
                    return Standing::Carried(digest);
                }
                let other = if tag.is_some() { same_tag() } else { None };
                other.map_or(Standing::Missing, |image| Standing::OtherDigest(image.manifest))
            }
        }
    }
}

/// A manifest and all that it leads to.
fn below(
    manifest: &manifests::Descriptor,
    blobs: &BTreeMap<Digest, LockedBlob>,
    world: &World<'_>,
) -> io::Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    let mut wanted = vec![manifest.clone()];
    while let Some(descriptor) = wanted.pop() {
        // What does not travel is no manifest of the bundle.
        let Some(blob) = blobs.get(&descriptor.digest) else { continue };
        if !found.insert(descriptor.digest)
            || !descriptor.media_type.contains("index") && !is_list(&descriptor)
        {
            continue;
        }
        let content = Content { digest: descriptor.digest, size: blob.size };
        let bytes = crate::export::document(content, blob, world)?;
        if let Ok(ManifestDocument::Index(index)) = ManifestDocument::parse(&bytes, &descriptor.media_type) {
            wanted.extend(index.manifests);
        }
    }
    Ok(found)
}

/// Docker's word for an index.
fn is_list(descriptor: &manifests::Descriptor) -> bool {
    descriptor.media_type.contains("manifest.list")
}

/// What needs an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs<'a> {
    /// The chart of this name.
    Chart(&'a Name),
    /// The set of Kubernetes manifests of this name.
    Manifests(&'a Name),
}

impl Needs<'_> {
    /// Whether a waiver speaks of it: one without a name speaks of everything.
    fn is_meant_by(self, waiver: &WaiverSpec) -> bool {
        let everything = waiver.chart.is_none() && waiver.manifests.is_none();
        everything
            || match self {
                Self::Chart(name) => waiver.chart.as_ref() == Some(name),
                Self::Manifests(name) => waiver.manifests.as_ref() == Some(name),
            }
    }
}

/// The waivers of a spec, and which of them were of use.
pub struct Waivers<'a> {
    list: Vec<(Wanted, &'a WaiverSpec)>,
    used: BTreeSet<usize>,
}

impl<'a> Waivers<'a> {
    /// Those of a spec.
    #[must_use]
    pub fn of(waivers: &'a [WaiverSpec]) -> Self {
        let list = waivers.iter().map(|waiver| (Wanted::of(waiver.image.as_str()), waiver)).collect();
        Self { list, used: BTreeSet::new() }
    }

    /// The waiver for an image of a chart or a set.
    fn find(&mut self, image: &Wanted, needs: Needs<'_>) -> Option<&'a WaiverSpec> {
        let mut found = None;
        for (position, (waived, waiver)) in self.list.iter().enumerate() {
            if waived == image && needs.is_meant_by(waiver) {
                self.used.insert(position);
                found = found.or(Some(*waiver));
            }
        }
        found
    }

    /// Those that no chart had an image for.
    #[must_use]
    pub fn unused(&self) -> Vec<&'a WaiverSpec> {
        let unused = |(position, (_, waiver)): (usize, &(Wanted, &'a WaiverSpec))| {
            (!self.used.contains(&position)).then_some(*waiver)
        };
        self.list.iter().enumerate().filter_map(unused).collect()
    }
}

/// An image of a chart, judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What was found.
    pub hit: Hit,
    /// What becomes of it.
    pub standing: Standing,
    /// It is certain, and yet there is a waiver for it.
    pub waiver_refused: bool,
}

impl Judged {
    /// Whether the bundle is not complete without a decision about it.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.waiver_refused || matches!(self.standing, Standing::Missing | Standing::OtherDigest(_))
    }

    /// As it stands in the inventory.
    #[must_use]
    pub fn needed(&self) -> NeededImage {
        let (carried, waived) = match &self.standing {
            Standing::Carried(digest) => (Some(*digest), None),
            Standing::Waived(reason) => (None, Some(reason.clone())),
            Standing::OtherDigest(_) | Standing::Missing => (None, None),
        };
        NeededImage {
            image: LongLine::printable(&self.hit.image.to_string()),
            class: self.hit.class,
            carried,
            waived,
            places: self.hit.first_places(),
            places_total: self.hit.places().len() as u64,
        }
    }

    /// The line for `images` in `bundle.yaml`; nothing if it is no image that could be named.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        match &self.hit.image {
            Wanted::Image(image) => Some(format!("- docker://{image}")),
            Wanted::Text(_) => None,
        }
    }
}

/// Judges the images of one chart or set.
#[must_use]
pub fn judge(hits: Vec<Hit>, needs: Needs<'_>, carried: &Carried, waivers: &mut Waivers<'_>) -> Vec<Judged> {
    let mut judged = Vec::new();
    for hit in hits {
        let standing = carried.standing(&hit.image);
        let waiver = waivers.find(&hit.image, needs);
        let certain = hit.class == ImageClass::Certain;
        let standing = match (standing, waiver) {
            (standing @ Standing::Carried(_), _) | (standing, None) => standing,
            (standing, Some(_)) if certain => standing,
            (_, Some(waiver)) => Standing::Waived(waiver.reason.clone()),
        };
        judged.push(Judged { waiver_refused: certain && waiver.is_some(), hit, standing });
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use discovery::hit::Hits;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn carried(names: &[(&str, &[&str])]) -> Carried {
        let image = |(name, manifests): &(&str, &[&str])| CarriedImage {
            name: reference::normal(name.parse().unwrap()),
            manifest: digest(manifests[0]),
            manifests: manifests.iter().map(|manifest| digest(manifest)).collect(),
        };
        Carried { images: names.iter().map(image).collect() }
    }

    #[test]
    fn an_image_is_carried_by_its_normal_name_or_by_a_digest_in_its_repository() {
        let bundle = carried(&[
            ("docker.io/redis:7", &["index", "amd64"]),
            ("quay.io/a/b:1", &["other"]),
            (&format!("quay.io/c/d@{}", digest("pinned")), &["pinned"]),
        ]);
        let at = |name: &str, of: &str| format!("{name}@{}", digest(of));
        for (wanted, standing) in [
            ("redis:7".to_string(), Standing::Carried(digest("index"))),
            ("docker.io/library/redis:7".to_string(), Standing::Carried(digest("index"))),
            ("redis:8".to_string(), Standing::Missing),
            ("quay.io/redis:7".to_string(), Standing::Missing),
            (at("redis", "index"), Standing::Carried(digest("index"))),
            (at("redis", "amd64"), Standing::Carried(digest("amd64"))),
            (at("redis:6", "amd64"), Standing::Carried(digest("amd64"))),
            (at("redis:7", "arm64"), Standing::OtherDigest(digest("index"))),
            (at("redis:8", "arm64"), Standing::Missing),
            (at("redis", "arm64"), Standing::Missing),
            (at("redis", "other"), Standing::Missing),
            (at("quay.io/c/d:2", "pinned"), Standing::Carried(digest("pinned"))),
            ("quay.io/c/d:2".to_string(), Standing::Missing),
            ("quay.io/c/d".to_string(), Standing::Missing),
            ("{{ image }}".to_string(), Standing::Missing),
        ] {
            assert_eq!(bundle.standing(&Wanted::of(&wanted)), standing, "{wanted}");
        }
    }

    fn waiver(image: &str, chart: Option<&str>) -> WaiverSpec {
        WaiverSpec {
            image: image.parse().unwrap(),
            reason: "why".parse().unwrap(),
            chart: chart.map(|chart| chart.parse().unwrap()),
            manifests: None,
        }
    }

    #[test]
    fn a_waiver_for_a_chart_is_none_for_manifests_of_its_name() {
        let name = "fraud".parse().unwrap();
        let mut of_a_set = waiver("redis:7", None);
        of_a_set.manifests = Some("fraud".parse().unwrap());
        for (waiver, chart, set) in [
            (waiver("redis:7", None), true, true),
            (waiver("redis:7", Some("fraud")), true, false),
            (of_a_set, false, true),
        ] {
            assert_eq!(Needs::Chart(&name).is_meant_by(&waiver), chart);
            assert_eq!(Needs::Manifests(&name).is_meant_by(&waiver), set);
        }
    }

    #[test]
    fn only_what_is_probable_and_of_this_chart_can_be_waived() {
        let list = [
            waiver("docker.io/library/redis:7", None),
            waiver("sure:1", Some("fraud")),
            waiver("{{ x }}", Some("fraud")),
            waiver("other:1", Some("another")),
            waiver("nobody:1", None),
        ];
        let mut waivers = Waivers::of(&list);
        let mut hits = Hits::default();
        for (image, class) in [
            ("redis:7", ImageClass::Probable),
            ("sure:1", ImageClass::Certain),
            ("other:1", ImageClass::Probable),
            ("{{ x }}", ImageClass::Probable),
        ] {
            hits.add(Wanted::of(image), class, "a.yaml", None, None);
        }
        let chart = "fraud".parse().unwrap();
        let judged = judge(hits.finish().unwrap(), Needs::Chart(&chart), &Carried::default(), &mut waivers);
        let shown: Vec<(String, Standing, bool)> = judged
            .iter()
            .map(|one| (one.hit.image.to_string(), one.standing.clone(), one.waiver_refused))
            .collect();
        let waived = Standing::Waived("why".parse().unwrap());
        assert_eq!(
            shown,
            [
                ("docker.io/library/other:1".to_string(), Standing::Missing, false),
                ("docker.io/library/redis:7".to_string(), waived.clone(), false),
                ("docker.io/library/sure:1".to_string(), Standing::Missing, true),
                ("{{ x }}".to_string(), waived, false),
            ]
        );
        let unused: Vec<&str> = waivers.unused().iter().map(|waiver| waiver.image.as_str()).collect();
        assert_eq!(unused, ["other:1", "nobody:1"]);
    }
}
