//! What was found: an image, how sure that is, and every place where it stands.
//!
//! Order and content depend on the charts alone, never on the order of looking.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use manifests::inventory::{ImageClass, ImagePlace};
use manifests::text::{BundleVersion, LongLine, Name};
use manifests::{Digest, Reference};

use crate::reference;

/// Bounds the places of one chart. Real charts have some hundred.
const PLACES_MAX: usize = 50_000;
/// How many places of one image go into the inventory.
const PLACES_KEPT: usize = 5;

/// What stands where an image should.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A reference, with Docker's defaults written out.
    Image(Reference),
    /// What is no reference, such as a template that something on site fills in.
    Text(LongLine),
}

impl Wanted {
    /// What a text names, as a place that is certain has it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        reference::parse(text).map_or_else(|| Self::Text(LongLine::printable(text)), Self::Image)
    }

    /// Its digest, if one is written.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Image(image) => image.digest(),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => fmt::Display::fmt(image, f),
            Self::Text(text) => fmt::Display::fmt(text, f),
        }
    }
}

/// How a chart was rendered: empty where nobody chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Render {
    /// The profile of values.
    pub profile: Option<Name>,
    /// The version of Kubernetes.
    pub kubernetes: Option<BundleVersion>,
}

/// A place, without how it was rendered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    file: LongLine,
    object: Option<LongLine>,
    path: Option<LongLine>,
}

impl Spot {
    /// As much of a place as another render of the same has too.
    fn steady(self, again: &Hit) -> Self {
        if again.places.contains_key(&self) {
            return self;
        }
        let same_path = |other: &Self| other.file == self.file && other.path == self.path;
        let path = if again.places.keys().any(same_path) { self.path } else { None };
        Self { file: self.file, object: None, path }
    }
}

#[derive(Debug, Clone, Default)]
struct Renders {
    profiles: BTreeSet<Name>,
    kubernetes: BTreeSet<BundleVersion>,
}

/// An image and everything that is known of it.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Which.
    pub image: Wanted,
    /// The surest of its places.
    pub class: ImageClass,
    places: BTreeMap<Spot, Renders>,
}

impl Hit {
    /// Every place, in order.
    #[must_use]
    pub fn places(&self) -> Vec<ImagePlace> {
        let place = |(spot, renders): (&Spot, &Renders)| ImagePlace {
            file: spot.file.clone(),
            object: spot.object.clone(),
            path: spot.path.clone(),
            profiles: renders.profiles.iter().cloned().collect(),
            kubernetes: renders.kubernetes.iter().cloned().collect(),
        };
        self.places.iter().map(place).collect()
    }

    /// The places that go into the inventory.
    #[must_use]
    pub fn first_places(&self) -> Vec<ImagePlace> {
        let mut places = self.places();
        places.truncate(PLACES_KEPT);
        places
    }
}

/// A place for people, on one line.
#[must_use]
pub fn place_line(place: &ImagePlace) -> String {
    let mut line = String::new();
    for part in [&place.object, &place.path].into_iter().flatten() {
        line.push_str(part.as_str());
        line.push(' ');
    }
    line.push_str(&format!("({})", place.file));
    let list = |what: &str, names: Vec<&str>| match names.as_slice() {
        [] => String::new(),
        names => format!(", {what} {}", names.join(" ")),
    };
    line.push_str(&list("profile", place.profiles.iter().map(Name::as_str).collect()));
    line.push_str(&list("Kubernetes", place.kubernetes.iter().map(BundleVersion::as_str).collect()));
    line
}

/// There are more places than anybody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {PLACES_MAX} places name an image")]
pub struct TooMany;

/// Everything that was found in one chart.
#[derive(Debug, Clone, Default)]
pub struct Hits {
    found: BTreeMap<Wanted, Hit>,
    places: usize,
    render: Render,
}

impl Hits {
    /// Says how what comes next was rendered.
    pub fn rendered(&mut self, render: Render) {
        self.render = render;
    }

    /// Adds an image at a place.
    pub fn add(
        &mut self,
        image: Wanted,
        class: ImageClass,
        file: &str,
        object: Option<&str>,
        path: Option<&str>,
    ) {
        let spot = Spot {
            file: LongLine::printable(file),
            object: object.map(LongLine::printable),
            path: path.map(LongLine::printable),
        };
        let renders = Renders {
            profiles: self.render.profile.iter().cloned().collect(),
            kubernetes: self.render.kubernetes.iter().cloned().collect(),
        };
        self.put(image, class, spot, &renders);
    }

    /// Takes what one render found, given what another one of the same found: of a place that differs, the
    /// object and the path are left out, because they would be others the next time.
    ///
    /// # Errors
    /// An image that only one of them has.
    pub fn take_steady(&mut self, one: Self, other: &Self) -> Result<(), Wanted> {
        let only = |left: &Self, right: &Self| {
            left.found.keys().find(|image| !right.found.contains_key(*image)).cloned()
        };
        if let Some(image) = only(&one, other).or_else(|| only(other, &one)) {
            return Err(image);
        }
        for (image, hit) in one.found {
            let again = other.found.get(&image);
            for (spot, renders) in hit.places {
                let spot = match again {
                    Some(again) => spot.steady(again),
                    None => spot,
                };
                self.put(image.clone(), hit.class, spot, &renders);
            }
        }
        Ok(())
    }

    fn put(&mut self, image: Wanted, class: ImageClass, spot: Spot, of: &Renders) {
        if self.places > PLACES_MAX {
            return;
        }
        let hit =
            self.found.entry(image.clone()).or_insert_with(|| Hit { image, class, places: BTreeMap::new() });
        hit.class = hit.class.min(class);
        let before = hit.places.len();
        let renders = hit.places.entry(spot).or_default();
        renders.profiles.extend(of.profiles.iter().cloned());
        renders.kubernetes.extend(of.kubernetes.iter().cloned());
        self.places = self.places.saturating_add(hit.places.len().saturating_sub(before));
    }

    /// The images, in order.
    ///
    /// # Errors
    /// There were too many, so that some are missing here.
    pub fn finish(self) -> Result<Vec<Hit>, TooMany> {
        if self.places > PLACES_MAX { Err(TooMany) } else { Ok(self.found.into_values().collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_in_two_renders_is_one_place_and_the_surest_class_counts() {
        let mut hits = Hits::default();
        for (profile, class) in [("small", ImageClass::Probable), ("large", ImageClass::Certain)] {
            hits.rendered(Render { profile: Some(profile.parse().unwrap()), kubernetes: None });
            hits.add(Wanted::of("redis:7"), class, "a.yaml", Some("Pod/x"), Some("spec"));
            hits.add(Wanted::of("docker.io/library/redis:7"), class, "b.yaml", None, None);
        }
        let found = hits.finish().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, ImageClass::Certain);
        let places = found[0].places();
        assert_eq!(places.len(), 2);
        assert_eq!(place_line(&places[0]), "Pod/x spec (a.yaml), profile large small");
        assert_eq!(place_line(&places[1]), "(b.yaml), profile large small");
    }

    #[test]
    fn what_differs_between_two_renders_is_left_out_and_another_image_is_an_error() {
        let render = |name: &str, image: &str| {
            let mut hits = Hits::default();
            hits.add(Wanted::of(image), ImageClass::Certain, "a.yaml", Some(name), Some("spec"));
            hits.add(Wanted::of("b"), ImageClass::Certain, "b.yaml", Some("Pod/b"), Some(name));
            hits.add(Wanted::of("c"), ImageClass::Certain, "c.yaml", Some("Pod/c"), Some("spec"));
            hits
        };
        let mut hits = Hits::default();
        hits.take_steady(render("Job/x", "a"), &render("Job/y", "a")).unwrap();
        let found = hits.finish().unwrap();
        let lines: Vec<String> = found.iter().map(|hit| place_line(&hit.places()[0])).collect();
        assert_eq!(lines, ["spec (a.yaml)", "(b.yaml)", "Pod/c spec (c.yaml)"]);
        let refused = Hits::default().take_steady(render("Job/x", "a"), &render("Job/x", "d"));
        assert_eq!(refused.unwrap_err(), Wanted::of("a"));
    }

    #[test]
    fn more_places_than_anybody_can_read_are_an_error() {
        let mut hits = Hits::default();
        for number in 0..=PLACES_MAX {
            hits.add(Wanted::of("a"), ImageClass::Probable, &number.to_string(), None, None);
        }
        assert_eq!(hits.finish().unwrap_err(), TooMany);
    }
}
