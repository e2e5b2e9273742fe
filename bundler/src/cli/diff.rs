//! `bundler diff`: what is different between two archives. It reads kilobytes of archives of any size.

use std::path::{Path, PathBuf};

use clap::Args;
use edge::show::{bytes, table};
use edge::{Failure, Screen};
use manifests::bundle::{BundleDigest, Sequence};
use serde::Serialize;

use super::inspect::Opened;
use crate::diff::{self, Amount, Change, Difference, Inside, Side};

/// The arguments of `diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The archive before, or the directory with its discs
    from: PathBuf,
    /// The archive after, or the directory with its discs
    to: PathBuf,
}

#[derive(Serialize)]
struct Document {
    from: Bundle,
    to: Bundle,
    /// Never true here: `diff` checks no signature.
    verified: bool,
    /// Whether a site that has applied the first one takes the second one, as far as the order decides it.
    follows: bool,
    #[serde(flatten)]
    difference: Difference,
}

#[derive(Serialize)]
struct Bundle {
    archive: PathBuf,
    bundle: BundleDigest,
    publisher: String,
    product: String,
    version: String,
    order: Sequence,
    marking: String,
}

impl DiffArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let open = |path: &Path| Opened::read(&[screen.env.path(path)]);
        let (from, to) = (open(&self.from)?, open(&self.to)?);
        let (before, after) = (&from.manifest, &to.manifest);
        let same_product = (&before.publisher, &before.product) == (&after.publisher, &after.product);
        let document = Document {
            follows: same_product && after.order > before.order,
            difference: diff::between(&from.inventory, &to.inventory),
            from: Bundle::of(from),
            to: Bundle::of(to),
            verified: false,
        };
        screen.result(&human(&document), &document)
    }
}

impl Bundle {
    fn of(opened: Opened) -> Self {
        let Opened { archive, bundle, manifest, .. } = opened;
        Self {
            archive,
            bundle,
            publisher: manifest.publisher.to_string(),
            product: manifest.product.to_string(),
            version: manifest.version.to_string(),
            order: manifest.order,
            marking: manifest.marking.to_string(),
        }
    }

    fn line(&self) -> String {
        let Self { publisher, product, version, order, marking, .. } = self;
        format!("{publisher} {product} {version} (order {order}), {marking}\n           {}", self.bundle)
    }
}

fn human(document: &Document) -> String {
    let Difference { components, unchanged, requires, health, blobs } = &document.difference;
    let rows: String = components.iter().map(row).collect();
    let rows = rows + &conditions("requires", requires) + &conditions("health", health);
    let order = if document.follows {
        ""
    } else {
        "order      the second does not follow the first: a site that has the first refuses it\n"
    };
    let amount = |Amount { blobs, bytes: count }: Amount| format!("{blobs} ({})", bytes(count));
    let blobs = format!(
        "new {}, shared {}, gone {}",
        amount(blobs.added),
        amount(blobs.shared),
        amount(blobs.removed)
    );
    format!(
        "from       {}\nto         {}\n{order}{rows}unchanged  {unchanged} component{}\nblobs      {blobs}\nnot checked: whether either archive is what it says\n",
        document.from.line(),
        document.to.line(),
        if *unchanged == 1 { "" } else { "s" },
    )
}

fn row(change: &Change) -> String {
    let shown = |side: &Side| side.version.clone().unwrap_or_else(|| side.digest.short());
    let (verb, versions) = match (&change.from, &change.to) {
        (Some(from), Some(to)) if from.version == to.version => ("changed", to.version.clone()),
        (Some(from), Some(to)) => ("changed", Some(format!("{} -> {}", shown(from), shown(to)))),
        (None, Some(to)) => ("added", Some(shown(to))),
        (Some(from), None) => ("removed", Some(shown(from))),
        (None, None) => ("", None),
    };
    let new =
        if change.new_bytes == 0 { String::new() } else { format!(", {} new", bytes(change.new_bytes)) };
    let head =
        format!("{verb:<9}  {} {} {}{new}\n", change.kind, change.name, versions.unwrap_or_default().trim());
    let inside: Vec<Vec<String>> = change.inside.iter().map(inside).collect();
    format!("{}{}", head.replace(" ,", ","), indented(&table(&inside)))
}

fn conditions(head: &str, differences: &[Inside]) -> String {
    let rows: Vec<Vec<String>> = differences.iter().map(inside).collect();
    if rows.is_empty() { String::new() } else { format!("{head}\n{}", indented(&table(&rows))) }
}

fn inside(inside: &Inside) -> Vec<String> {
    let (sign, versions) = match (&inside.from, &inside.to) {
        (Some(from), Some(to)) => ("~", format!("{from} -> {to}")),
        (None, Some(to)) => ("+", to.clone()),
        (Some(from), None) => ("-", from.clone()),
        (None, None) => ("~", String::new()),
    };
    vec![sign.to_string(), inside.name.clone(), versions]
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("         {line}\n")).collect()
}
