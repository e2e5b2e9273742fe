//! `site/failed-before`: something of this product failed here, and nobody has looked at it since.
//!
//! Only looking at it helps (`installer acknowledge`). A way back is never closed by it: then it warns.

use manifests::VerifiedBundle;

use super::Finding;
use crate::targets::Context;
use crate::witness::{Failed, Judged};

const ID: &str = "site/failed-before";

/// Looks into what the log remembers.
#[must_use]
pub fn check(bundle: &VerifiedBundle, judged: &Judged, context: &Context<'_>) -> Option<Finding> {
    let manifest = bundle.manifest();
    let failed = judged.remembered.failed(&manifest.product)?;
    let ledger = context.site.ledger(&manifest.publisher, &manifest.product).ok().flatten();
    let goes_back = ledger.is_some_and(|ledger| manifest.order < ledger.highest.order);
    let requirement = "that somebody has looked at what failed";
    let remedy = "find out why, then say so: installer acknowledge --reason TEXT";
    Some(if goes_back {
        Finding::warn(ID, fact(failed), requirement, remedy)
    } else {
        Finding::fail(ID, fact(failed), requirement, remedy)
    })
}

/// What failed, and what stays of it, in one line.
#[must_use]
pub fn fact(failed: &Failed) -> String {
    let Failed { product, version, time, action, cause, .. } = failed;
    let stuck: Vec<String> =
        failed.stuck.iter().map(|stuck| format!("{} ({})", stuck.action, stuck.cause)).collect();
    let end = if stuck.is_empty() {
        "everything was taken back".to_string()
    } else {
        format!("and this could not be taken back: {}", stuck.join("; "))
    };
    format!("{product} {version} failed on {time} ({action}: {cause}); {end}")
}
