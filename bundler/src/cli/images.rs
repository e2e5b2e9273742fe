//! `bundler images`: every image that a chart needs, and where it says so; for a spec also what would become of
//! each when it is locked. Changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Failure, Screen};
use manifests::Digest;
use manifests::inventory::{ImageClass, ImagePlace};
use manifests::text::{BundleVersion, LongLine, Name};
use serde::Serialize;

use super::lock::{clients_for, in_place, in_world};
use crate::discover::compare::{Judged, Standing};
use crate::discover::{self, Charted};
use crate::sources::{World, charts};
use crate::spec::{self, ChartSpec};
use discovery::hit::{Wanted, place_line};

/// The arguments of `images`.
#[derive(Debug, Args)]
pub(super) struct ImagesArgs {
    /// A chart: directory, `.tgz` or oci://HOST/PATH:VERSION; or a spec such as bundle.yaml
    #[arg(default_value = "bundle.yaml", value_name = "CHART")]
    of: PathBuf,
    /// A values file for the chart; later ones win
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// A version of Kubernetes to render for, such as 1.31; several for several renders
    #[arg(long, value_name = "VERSION")]
    kubernetes: Vec<BundleVersion>,
    /// What the cluster has beyond what every cluster has, such as monitoring.coreos.com/v1
    #[arg(long, value_name = "API")]
    api_versions: Vec<String>,
    /// The namespace to render for
    #[arg(long)]
    namespace: Option<Name>,
    /// The release's name to render with
    #[arg(long)]
    release: Option<Name>,
    /// How to print it: for people, or as lines for a file that `images: [{list: FILE}]` names
    #[arg(long = "as", value_enum, default_value = "table")]
    form: Form,
}

/// How the list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Table,
    Lines,
}

#[derive(Serialize)]
struct Document {
    components: Vec<ChartRow>,
}

#[derive(Serialize)]
struct ChartRow {
    of: LongLine,
    images: Vec<ImageRow>,
}

#[derive(Serialize)]
struct ImageRow {
    image: String,
    class: ImageClass,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<LongLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    places: Vec<ImagePlace>,
}

impl ImagesArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let path = screen.env.path(&self.of);
        let (found, judged) = if is_spec(&self.of) && path.is_file() {
            if self.names_more_than_the_target() {
                return Err(Failure::usage(format!(
                    "{} says itself how its charts are rendered: no --values, --kubernetes, --api-versions, --namespace or --release",
                    self.of.display()
                )));
            }
            let loaded = spec::load(&path)?;
            (in_world(screen, &loaded, &|world| crate::resolve::images(&loaded, world))?, true)
        } else {
            (self.of_chart(screen)?, false)
        };
        let every = screen.common.verbose > 0;
        let human = match self.form {
            Form::Table => table(&found, judged, every),
            Form::Lines => lines(&found, judged),
        };
        let components = found.iter().map(|charted| chart_row(charted, judged)).collect();
        screen.result(&human, &Document { components })
    }

    fn names_more_than_the_target(&self) -> bool {
        !(self.values.is_empty() && self.kubernetes.is_empty() && self.api_versions.is_empty())
            || self.namespace.is_some()
            || self.release.is_some()
    }

    fn of_chart(&self, screen: &Screen<'_>) -> Result<Vec<Charted>, Failure> {
        let mut spec = ChartSpec::at(self.of.clone());
        spec.release = self.release.clone();
        spec.namespace = self.namespace.clone();
        spec.values = self.values.clone();
        spec.kubernetes = self.kubernetes.clone();
        spec.api_versions = self.api_versions.clone();
        if let Some(rule) = spec.broken_rule() {
            return Err(Failure::usage(rule));
        }
        let base = screen.env.cwd.clone();
        let (http, registries) = clients_for(screen, &base, &BTreeMap::new())?;
        in_place(screen, &base, &http, &registries, (&[], &[]), &|world| one(&spec, world))
    }
}

fn one(spec: &ChartSpec, world: &World<'_>) -> Result<Vec<Charted>, Failure> {
    let resolved = charts::resolve(spec, world)?;
    let specs = BTreeMap::from([(resolved.component.ref_name(), spec)]);
    discover::survey(&[resolved.component], &resolved.blobs, &specs, &[], world)
}

fn is_spec(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The word for what becomes of an image.
fn verdict(image: &Judged) -> &'static str {
    match image.standing {
        Standing::Carried(_) => "carried",
        Standing::Waived(_) => "waived",
        Standing::OtherDigest(_) => "other-digest",
        Standing::Missing => "missing",
    }
}

fn chart_row(charted: &Charted, judged: bool) -> ChartRow {
    let row = |image: &Judged| ImageRow {
        image: image.hit.image.to_string(),
        class: image.hit.class,
        verdict: judged.then(|| verdict(image)),
        carried: match &image.standing {
            Standing::Carried(digest) | Standing::OtherDigest(digest) => Some(*digest),
            _ => None,
        },
        reason: match &image.standing {
            Standing::Waived(reason) => Some(reason.clone()),
            _ => None,
        },
        source: source(image),
        places: image.hit.places(),
    };
    ChartRow { of: charted.title.clone(), images: charted.images.iter().map(row).collect() }
}

/// What `images` in a spec would say.
fn source(image: &Judged) -> Option<String> {
    match &image.hit.image {
        Wanted::Image(image) => Some(format!("docker://{image}")),
        Wanted::Text(_) => None,
    }
}

/// For people: each image, and below it where it stands.
fn table(found: &[Charted], judged: bool, every: bool) -> String {
    let mut text = String::new();
    for charted in found {
        let count = charted.images.len();
        let noun = if count == 1 { "image" } else { "images" };
        text.push_str(&format!("{}: {count} {noun}\n", charted.title));
        for image in &charted.images {
            let verdict = if judged { format!("{:<13}", verdict(image)) } else { String::new() };
            text.push_str(&format!("  {:<9} {verdict}{}\n", image.hit.class, image.hit.image));
            if let Standing::Waived(reason) = &image.standing {
                text.push_str(&format!("      waived: {reason}\n"));
            }
            let places = image.hit.places();
            let shown = if every { places.len() } else { 1 };
            for (position, place) in places.iter().take(shown).enumerate() {
                let rest = places.len().saturating_sub(shown);
                let more = if position == 0 && rest > 0 { format!(" +{rest}") } else { String::new() };
                text.push_str(&format!("      {}{more}\n", place_line(place)));
            }
        }
    }
    text
}

/// For a list: each image once, without what is carried or waived already and without what cannot be named.
fn lines(found: &[Charted], judged: bool) -> String {
    let wanted = |image: &&Judged| !judged || image.blocks();
    let images = found.iter().flat_map(|charted| &charted.images).filter(wanted);
    let names: std::collections::BTreeSet<String> = images
        .filter_map(|image| match &image.hit.image {
            Wanted::Image(image) => Some(image.to_string()),
            Wanted::Text(_) => None,
        })
        .collect();
    names.into_iter().map(|name| format!("{name}\n")).collect()
}
