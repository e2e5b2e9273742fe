//! `installer status`

use clap::Args;
use edge::show::wrap;
use edge::{Failure, Screen};
use manifests::Digest;
use manifests::bundle::BundleDigest;
use serde::Serialize;

use crate::journal;
use crate::preflight::failed::fact;
use crate::site::Site;
use crate::site::key::Named;
use crate::site::ledger::{Applied, Mark};
use crate::witness::{Failed, Remembered};

/// Where what is known of a product starts.
const INDENT: usize = 4;

/// The arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {}

#[derive(Serialize)]
struct Document {
    site: Option<String>,
    trust_root: String,
    fingerprint: Digest,
    /// The key that signs the site's log.
    site_key: Option<Named>,
    products: Vec<Product>,
    /// A bundle whose apply was cut off.
    interrupted: Option<BundleDigest>,
    /// What failed and nobody has looked at since.
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Product {
    publisher: String,
    product: String,
    current: Option<Applied>,
    highest: Mark,
    published: bool,
}

impl StatusArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let trust = site.trust()?;
        let root = trust.root();
        let config = site.config()?;
        let published = site.published()?;
        let products: Vec<Product> = site
            .ledgers()?
            .into_iter()
            .map(|ledger| Product {
                published: ledger.current().is_some_and(|current| published.contains(&current.bundle)),
                publisher: ledger.publisher.to_string(),
                product: ledger.product.to_string(),
                current: ledger.current().cloned(),
                highest: ledger.highest,
            })
            .collect();
        let interrupted = journal::unfinished(site)?.map(|found| found.plan.bundle);
        let failed: Vec<Failed> = Remembered::of(site)?.all_failed().cloned().collect();
        let name = config.site.as_ref().map(ToString::to_string);
        let site_key = site.named_key()?;
        let human = human(name.as_deref(), &root.title(), site_key.as_ref(), &products, interrupted, &failed);
        let (trust_root, fingerprint) = (root.title(), root.fingerprint());
        let document =
            Document { site: name, trust_root, fingerprint, site_key, products, interrupted, failed };
        screen.result(&human, &document)
    }
}

fn human(
    site: Option<&str>,
    root: &str,
    key: Option<&Named>,
    products: &[Product],
    interrupted: Option<BundleDigest>,
    failed: &[Failed],
) -> String {
    let key = key.map_or("there is none yet".to_string(), |key| key.keyid.to_string());
    let mut text = format!(
        "site       {}\ntrust root {root}\nsite key   {key}\n",
        site.unwrap_or("has no name: there is no site.yaml")
    );
    for product in products {
        let title = format!("{} {}", product.publisher, product.product);
        let Some(current) = &product.current else {
            text.push_str(&format!("{title}  nothing\n"));
            continue;
        };
        let Applied { version, order, bundle, marking, time, .. } = current;
        let about = format!("order {order}, bundle {}, {marking}, since {time}", bundle.0.short());
        text.push_str(&format!("{title} {version}\n{}", wrap("", INDENT, &about)));
    }
    if products.is_empty() {
        text.push_str("nothing was applied here yet\n");
    }
    if let Some(bundle) = interrupted {
        let fact = format!(
            "an apply of {} was cut off: run it again to finish it, or take it back: installer abandon",
            bundle.0.short()
        );
        text.push_str(&wrap("", 0, &fact));
    }
    for failed in failed {
        let fact = format!("{}: look at it, then installer acknowledge --reason TEXT", fact(failed));
        text.push_str(&wrap("", 0, &fact));
    }
    text
}
