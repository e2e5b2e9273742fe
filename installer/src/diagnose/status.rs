//! `status.txt`: whom the site trusts, its key, what it runs and has run, and what has failed.

use super::{Ground, Piece, Section};
use crate::preflight::failed::fact;
use crate::site::ledger::Applied;
use crate::witness::{Failed, Remembered};

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let mut text = trust(ground);
    let key = ground.or_gap("the site's key", ground.site.named_key()).flatten();
    let key = key.map_or("there is none".to_string(), |key| key.keyid.to_string());
    text.push_str(&format!("site key     {key}\n"));
    let published = ground.or_gap("what is published", ground.site.published()).unwrap_or_default();
    for ledger in ground.ledgers.clone() {
        let (publisher, product) = (ledger.publisher.as_str(), ledger.product.as_str());
        let title = ground.redactor.text(&format!("{publisher} {product}"));
        text.push_str(&format!("product      {title}\n"));
        for applied in &ledger.applied {
            let is_current = ledger.current().is_some_and(|current| current == applied);
            let mut line = application(ground, applied);
            if is_current {
                line.push_str(", runs here");
            }
            if published.contains(&applied.bundle) {
                line.push_str(", is published");
            }
            text.push_str(&format!("  {line}\n"));
        }
    }
    if ground.ledgers.is_empty() {
        text.push_str("product      nothing was applied here\n");
    }
    let remembered = ground.or_gap("the audit log", Remembered::of(ground.site));
    let failed: Vec<Failed> =
        remembered.map(|found| found.all_failed().cloned().collect()).unwrap_or_default();
    for failed in failed {
        let fact = ground.redactor.text(&super::redact::one_line(&fact(&failed)));
        text.push_str(&format!("failed       {fact}\n"));
    }
    ground.piece(Section::Status, "status.txt", text)
}

fn trust(ground: &mut Ground<'_>) -> String {
    let Some(trust) = ground.or_gap("the trust root", ground.site.trust()) else {
        return "trust root   there is none that can be used\n".to_string();
    };
    let root = trust.root();
    let title = ground.redactor.text(&root.title());
    let expires = root.document().expires.map_or("never".to_string(), |time| time.to_string());
    let list = trust.revocations().map_or("none".to_string(), |list| {
        format!("epoch {} version {}", list.document().epoch, list.document().version)
    });
    format!(
        "trust root   {title}, expires {expires}\nfingerprint  {}\nrevocations  {list}\n",
        root.fingerprint()
    )
}

fn application(ground: &mut Ground<'_>, applied: &Applied) -> String {
    let version = ground.redactor.word(applied.version.as_str());
    let removed = applied.removed.map_or(String::new(), |time| format!(", removed {time}"));
    let keys: Vec<String> = applied.signers.iter().map(|signer| signer.keyid.to_string()).collect();
    format!(
        "{version}, order {}, bundle {}, at {}, by root {}{removed}, signed by {}",
        applied.order,
        applied.bundle,
        applied.time,
        applied.root_version,
        keys.join(" and ")
    )
}
