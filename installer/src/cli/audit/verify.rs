//! `installer audit verify`: the chain, what of it was signed, and whether it is still the log that a
//! checkpoint from elsewhere was made of.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::audit::Head;
use manifests::checkpoint::{Checkpoint, CheckpointDocument, MadeKey};
use manifests::{KeyId, Timestamp};
use serde::Serialize;

use crate::audit::checkpoint::{self, Whole};
use crate::site::Site;
use crate::site::key::read_public;

/// The arguments of `audit verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// A checkpoint that was carried elsewhere, with its signature in FILE.sigs
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The public key that must have signed it, from elsewhere too; without it one of the site's own copies
    #[arg(long, value_name = "PUB", requires = "checkpoint")]
    public_key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verdict {
    intact: bool,
    head: Head,
    /// The newest checkpoint that the site keeps.
    signed: Option<Signed>,
    /// How many entries came after it.
    unsigned: u64,
    /// How many checkpoints the site keeps; all of them agree.
    checkpoints: usize,
    /// The one that was given; it agrees.
    compared: Option<Signed>,
    /// Keys that nobody could sign for, since the one before was lost.
    unendorsed: Vec<KeyId>,
}

/// What a checkpoint covers.
#[derive(Serialize)]
struct Signed {
    entries: u64,
    time: Timestamp,
    keyid: KeyId,
}

impl From<&CheckpointDocument> for Signed {
    fn from(document: &CheckpointDocument) -> Self {
        Self { entries: document.entries, time: document.time, keyid: document.keyid }
    }
}

impl VerifyArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        let given = match &self.checkpoint {
            Some(path) => Some(self.given(site, screen, screen.env.path(path))?),
            None => None,
        };
        let asked = given.as_ref().map(|(path, checkpoint)| (path.as_path(), checkpoint));
        let whole = checkpoint::judge_all(site, asked)?;
        let verdict = verdict(whole, given.as_ref().map(|(_, checkpoint)| checkpoint));
        let mut human = for_people(&verdict);
        if let (Some((path, _)), Some(compared)) = (&given, &verdict.compared) {
            let whose = if self.public_key.is_some() {
                "the given key"
            } else {
                "the site's own copy of the key: compare its id with the one on paper"
            };
            human.push_str(&format!("{} agrees\n  {} with {whose}\n", path.display(), line(compared)));
        }
        screen.result(&human, &verdict)
    }

    fn given(
        &self,
        site: &Site,
        screen: &Screen<'_>,
        path: PathBuf,
    ) -> Result<(PathBuf, Checkpoint), Failure> {
        let keys = match &self.public_key {
            Some(public) => vec![read_public(&screen.env.path(public))?],
            None => site.public_keys()?,
        };
        let checkpoint = checkpoint::read(&path, &keys)?;
        Ok((path, checkpoint))
    }
}

fn verdict(whole: Whole, given: Option<&Checkpoint>) -> Verdict {
    let head = whole.survey.head;
    let signed: Option<Signed> = whole.kept.last().map(|newest| newest.document().into());
    let covered = signed.as_ref().map_or(0, |signed| signed.entries);
    let lost = |(_, key): (u64, &MadeKey)| key.after_loss.then_some(key.keyid);
    Verdict {
        intact: true,
        unsigned: head.entries.saturating_sub(covered),
        head,
        signed,
        checkpoints: whole.kept.len(),
        compared: given.map(|given| given.document().into()),
        unendorsed: whole.survey.keys.made().filter_map(lost).collect(),
    }
}

fn for_people(verdict: &Verdict) -> String {
    let (head, covered) = (&verdict.head, verdict.head.entries.saturating_sub(verdict.unsigned));
    let mut text = format!("the chain holds: {} entries, the last one is {}\n", head.entries, head.digest);
    match &verdict.signed {
        Some(signed) => text.push_str(&format!(
            "signed: {}\n  checkpoints that are kept here and agree: {}\n",
            line(signed),
            verdict.checkpoints
        )),
        None => text.push_str("signed: nothing yet; `installer audit checkpoint` signs it\n"),
    }
    text.push_str(&match verdict.unsigned {
        0 => "not signed yet: none\n".to_string(),
        1 => format!("not signed yet: entry {covered}\n"),
        _ => format!("not signed yet: entries {covered} to {}\n", head.entries.saturating_sub(1)),
    });
    for keyid in &verdict.unendorsed {
        text.push_str(&format!("nobody has signed for the key {keyid}: the one before it was lost\n"));
    }
    if verdict.compared.is_none() {
        text.push_str("lines missing at the end show only against a checkpoint that was carried elsewhere\n");
    }
    text
}

fn line(signed: &Signed) -> String {
    let last = signed.entries.saturating_sub(1);
    format!("entries 0 to {last}, on {}, with the key {}", signed.time, signed.keyid)
}
