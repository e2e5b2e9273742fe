//! `installer drift`: is what runs what was shipped? It changes nothing, and writes one entry in the log.

use clap::Args;
use edge::show::wrap;
use edge::{Exit, Failure, Screen};
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::text::Name;
use serde::Serialize;

use crate::audit::{AuditLog, about};
use crate::drift;
use crate::preflight::{Finding, Verdict};
use crate::site::Site;
use crate::targets::Context;

/// Where what was found starts.
const INDENT: usize = 27;

/// The arguments of `drift`.
#[derive(Debug, Args)]
pub(super) struct DriftArgs {
    /// Look at this product only
    #[arg(long)]
    product: Option<Name>,
}

#[derive(Serialize)]
struct Document {
    products: Vec<Product>,
    /// How many findings fail.
    failed: usize,
}

#[derive(Serialize)]
struct Product {
    product: String,
    version: String,
    bundle: BundleDigest,
    findings: Vec<Finding>,
}

impl DriftArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let products = self.look(site, screen)?;
        let failing = |finding: &&Finding| finding.verdict == Verdict::Fail;
        let failed: Vec<&Finding> =
            products.iter().flat_map(|product| &product.findings).filter(failing).collect();
        let titles: Vec<String> =
            products.iter().map(|found| format!("{} {}", found.product, found.version)).collect();
        let facts: Vec<&str> = failed.iter().map(|finding| finding.fact.as_str()).collect();
        let about = about([
            ("product", titles.join(", ")),
            ("drifted", failed.len().to_string()),
            ("findings", facts.join("; ")),
        ]);
        AuditLog::of(site, screen.env).append(screen.env, "drift", Outcome::Done, about)?;
        let failed = failed.len();
        screen.result(&human(&products), &Document { products, failed })?;
        if failed == 0 {
            return Ok(());
        }
        let message = format!("{failed} of what runs is not what was shipped");
        Err(Failure::new(Exit::NotReady, message).is_in_result())
    }

    fn look(&self, site: &Site, screen: &Screen<'_>) -> Result<Vec<Product>, Failure> {
        let judged = super::judged(site, screen.env)?;
        let (config, http) = (site.config()?, super::client()?);
        let context = Context { site, config: &config, env: screen.env, http: &http };
        let mut products = Vec::new();
        for ledger in site.ledgers()? {
            let wanted = self.product.as_ref().is_none_or(|product| *product == ledger.product);
            let Some(current) = ledger.current().filter(|_| wanted) else { continue };
            let mut bar = screen.progress().begin("checking what was kept", 0);
            let findings = drift::look(&ledger, current, &judged, &context, &mut *bar);
            let (product, version) = (ledger.product.to_string(), current.version.to_string());
            products.push(Product { product, version, bundle: current.bundle, findings });
        }
        match &self.product {
            Some(product) if products.is_empty() => {
                Err(Failure::new(Exit::Refused, format!("the site does not run {product}"))
                    .hint("`installer status` says what it runs"))
            }
            _ => Ok(products),
        }
    }
}

fn human(products: &[Product]) -> String {
    let mut text = String::new();
    for product in products {
        text.push_str(&format!("{} {}\n", product.product, product.version));
        product.findings.iter().for_each(|finding| text.push_str(&shown(finding)));
    }
    if products.is_empty() {
        text.push_str("the site runs nothing\n");
    }
    text
}

/// One finding, for people; of what is as it should be one line.
fn shown(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mut text = wrap(&format!("  {word}  {:<18}", finding.id), INDENT, &finding.fact);
    let remedy = finding.remedy.iter().filter(|_| finding.verdict != Verdict::Pass);
    remedy.for_each(|remedy| text.push_str(&wrap("", INDENT, remedy)));
    text
}
