//! `installer history`

use clap::Args;
use edge::show::table;
use edge::{Failure, Screen};
use serde::Serialize;

use crate::site::Site;
use crate::site::ledger::{Applied, Ledger};

/// The arguments of `history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {}

#[derive(Serialize)]
struct Document<'a> {
    products: &'a [Ledger],
}

impl HistoryArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        let ledgers = site.ledgers()?;
        let row = |ledger: &Ledger, applied: &Applied| {
            let signers: Vec<String> =
                applied.signers.iter().map(|signer| signer.holder.to_string()).collect();
            vec![
                applied.time.to_string(),
                format!("{} {}", ledger.publisher, ledger.product),
                applied.version.to_string(),
                format!("order {}", applied.order),
                applied.bundle.0.short(),
                applied.marking.to_string(),
                format!("signed by {}", signers.join(", ")),
                applied.removed.map_or(String::new(), |time| format!("removed {time}")),
            ]
        };
        let mut rows: Vec<Vec<String>> = ledgers
            .iter()
            .flat_map(|ledger| ledger.applied.iter().map(|applied| row(ledger, applied)))
            .collect();
        rows.sort();
        let human = if rows.is_empty() { "nothing was applied here yet\n".to_string() } else { table(&rows) };
        screen.result(&human, &Document { products: &ledgers })
    }
}
