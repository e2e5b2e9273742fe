//! The plan that takes a whole product off a site: the plan of its bundles backwards. The highest order stays in
//! the ledger, so that what is older is refused as before.

use manifests::inventory::Inventory;

use super::{Plan, PlanError, PlanKind, PlanSchema, Publish, Record, Step};
use crate::due::Due;
use crate::holdings::Holdings;
use crate::origins::{Origins, Product};
use crate::retire::Leaving;
use crate::site::config::SiteConfig;
use crate::site::ledger::{Applied, Ledger};
use crate::stock::{Foreign, Stock};
use crate::targets::{Context, kubernetes};

/// Makes the plan for a product. `current` is what the site runs of it, `left` what that has brought, as far as it
/// is known, and `due` what takes its scripts back.
///
/// # Errors
/// A target or the site could not be looked at.
pub fn removal(
    ledger: &Ledger,
    current: &Applied,
    left: Option<&Inventory>,
    due: &Due,
    config: &SiteConfig,
    context: &Context<'_>,
) -> Result<Plan, PlanError> {
    let product: Product = (ledger.publisher.clone(), ledger.product.clone());
    let mut steps: Vec<Step> = due.before.iter().cloned().map(Step::Script).collect();
    let mut notes = due.notes.clone();
    if let Some(left) = left {
        let releases = super::releases_to_remove(left, None, config, context)?;
        steps.extend(releases.into_iter().map(Step::Release));
        let owner = kubernetes::owner(&product.0, &product.1);
        let removal = super::objects_to_remove(left, None, &owner, config, context)?;
        steps.extend(removal.steps.into_iter().map(Step::Objects));
        notes.extend(removal.notes);
    }
    let retired = Leaving::of(product.clone(), left, None, config, context)?.retire()?;
    steps.extend(retired.steps);
    steps.extend(stock(&product, config, context)?);
    steps.extend(due.after.iter().cloned().map(Step::Script));
    let old = context.site.published()?;
    let is_ours = |shown: &manifests::bundle::BundleDigest| {
        ledger.applied.iter().any(|applied| applied.bundle == *shown)
    };
    let new: Vec<_> = old.iter().copied().filter(|shown| !is_ours(shown)).collect();
    if new != old {
        steps.push(Step::Publish(Publish { old, new }));
    }
    let new = Ledger::without(ledger, context.env.clock.now());
    steps.push(Step::Record(Record { old: Some(ledger.clone()), new }));
    Ok(Plan {
        schema: PlanSchema::V1,
        kind: PlanKind::Remove,
        bundle: current.bundle,
        publisher: ledger.publisher.clone(),
        product: ledger.product.clone(),
        version: current.version.clone(),
        order: current.order,
        marking: current.marking.clone(),
        change: None,
        from: Some(current.version.clone()),
        steps,
        unchanged: Vec::new(),
        notes: notes.into_iter().chain(retired.notes).collect(),
        released: retired.released,
    })
}

/// Tags and images that no other product holds.
fn stock(product: &Product, config: &SiteConfig, context: &Context<'_>) -> Result<Vec<Step>, PlanError> {
    let (origins, held) = (Origins::of(context.site)?, Holdings::of_others(product, context.site, config)?);
    let stock = Stock { origins: &origins, held: &held, config, context, foreign: Foreign::GiveBack };
    Ok(stock.surplus(Some(product))?.into_iter().map(Step::Withdraw).collect())
}
