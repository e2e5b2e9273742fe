//! `installer history`

use clap::Args;
use edge::show::wrap;
use edge::{Failure, Screen};
use serde::Serialize;

use crate::site::Site;
use crate::site::ledger::{Applied, Ledger};

/// Where what is known of an application starts.
const INDENT: usize = 4;

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
        let mut applied: Vec<(&Ledger, &Applied)> =
            ledgers.iter().flat_map(|ledger| ledger.applied.iter().map(move |one| (ledger, one))).collect();
        applied.sort_by_key(|(ledger, applied)| (applied.time, &ledger.publisher, &ledger.product));
        let human: String = applied.iter().map(|(ledger, applied)| shown(ledger, applied)).collect();
        let human = if human.is_empty() { "nothing was applied here yet\n".to_string() } else { human };
        screen.result(&human, &Document { products: &ledgers })
    }
}

/// One application, in as many lines as it takes.
fn shown(ledger: &Ledger, applied: &Applied) -> String {
    let Applied { time, version, order, bundle, marking, .. } = applied;
    let signers: Vec<String> = applied.signers.iter().map(|signer| signer.holder.to_string()).collect();
    let mut about =
        format!("order {order}, bundle {}, {marking}, signed by {}", bundle.0.short(), signers.join(", "));
    if let Some(removed) = applied.removed {
        about.push_str(&format!("; removed {removed}"));
    }
    format!("{time}  {} {} {version}\n{}", ledger.publisher, ledger.product, wrap("", INDENT, &about))
}
