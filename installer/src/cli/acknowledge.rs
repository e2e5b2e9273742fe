//! `installer acknowledge`: somebody has looked at what failed, and says why it may go on. Until then nothing of
//! that product is applied.

use clap::Args;
use edge::{Failure, Screen};
use manifests::audit::Outcome;
use manifests::text::{Marking, Name};
use serde::Serialize;

use super::change::change;
use crate::audit::{AuditLog, about};
use crate::preflight::failed::fact;
use crate::site::Site;
use crate::witness::{Failed, Judged};

/// The arguments of `acknowledge`.
#[derive(Debug, Args)]
pub(super) struct AcknowledgeArgs {
    /// What was found, and why it may go on; it goes into the log, with who says so
    #[arg(long)]
    reason: Marking,
    /// The product, if something of several has failed
    #[arg(long)]
    product: Option<Name>,
}

#[derive(Serialize)]
struct Document<'a> {
    acknowledged: &'a Failed,
}

impl AcknowledgeArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        change(site, screen, |screen, judged, log| self.acknowledge(screen, judged, log))
    }

    fn acknowledge(&self, screen: &mut Screen<'_>, judged: &Judged, log: &AuditLog) -> Result<(), Failure> {
        let wanted =
            |failed: &&Failed| self.product.as_ref().is_none_or(|product| failed.product == product.as_str());
        let failed: Vec<&Failed> = judged.remembered.all_failed().filter(wanted).collect();
        let failed = match failed.as_slice() {
            [failed] => *failed,
            [] => {
                return Err(Failure::usage("nothing has failed here that nobody has looked at")
                    .hint("`installer status` says what the site runs"));
            }
            _ => {
                return Err(Failure::usage("something of several products has failed")
                    .hint("say which: --product NAME"));
            }
        };
        let facts = about([
            ("bundle", failed.bundle.clone()),
            ("product", format!("{} {}", failed.product, failed.version)),
            ("failed", failed.time.to_string()),
            ("cause", failed.cause.clone()),
            ("reason", self.reason.to_string()),
        ]);
        log.append(screen.env, "acknowledge", Outcome::Done, facts)?;
        let human = format!("{}\nacknowledged: {}\n", fact(failed), self.reason);
        screen.result(&human, &Document { acknowledged: failed })
    }
}
