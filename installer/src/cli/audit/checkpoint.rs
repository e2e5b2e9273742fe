//! `installer audit checkpoint`: signs the log as it is, and writes a copy that can be carried away.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use layout::signed_file::signature_dir;
use manifests::checkpoint::{Checkpoint, CheckpointDocument};
use serde::Serialize;

use crate::audit::checkpoint;
use crate::cli::change::change;
use crate::site::Site;
use crate::site::key::SiteKeyError;

/// The arguments of `audit checkpoint`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckpointArgs {
    /// A copy to carry away; its signature goes to FILE.sigs. Nothing is overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    checkpoint: &'a CheckpointDocument,
    file: PathBuf,
    signature: PathBuf,
}

impl CheckpointArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let out = self.out.map(|out| screen.env.path(&out));
        change(site, screen, |screen, _, _| {
            let sealed = checkpoint::seal(site, screen.env)?.ok_or(SiteKeyError::None)?;
            let file = match &out {
                Some(out) => {
                    checkpoint::carry(site, &sealed, out)?;
                    out.clone()
                }
                None => site.checkpoint_path(sealed.document().entries),
            };
            show(&sealed, file, screen)
        })
    }
}

fn show(checkpoint: &Checkpoint, file: PathBuf, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let document = checkpoint.document();
    let signature = signature_dir(&file).join(format!("{}.sig", document.keyid));
    let human = format!(
        "entries    {}\nlast one   {}\nsite key   {}\ncheckpoint {}\nsignature  {}\n",
        document.entries,
        document.head.hex(),
        document.keyid,
        file.display(),
        signature.display(),
    );
    screen.result(&human, &Document { checkpoint: document, file, signature })
}
