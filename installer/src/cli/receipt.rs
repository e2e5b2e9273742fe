//! `installer receipt`: what this site holds and runs, signed with the site's key, to be carried back.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use edge::{Failure, Screen};
use manifests::Digest;
use manifests::audit::Outcome;
use manifests::receipt::{Checked, ReceiptDocument, SignedReceipt, VerifiedReceipt};
use serde::Serialize;

use super::change::change;
use crate::audit::{AuditLog, about, checkpoint};
use crate::output::{FOR_OTHERS, Staged};
use crate::receipt::{self, Extent, Kept, Moment};
use crate::site::Site;
use crate::site::key::SiteKeyError;
use crate::witness::Judged;

/// The arguments of `receipt`.
#[derive(Debug, Args)]
pub(super) struct ReceiptArgs {
    /// FILE.json to carry, FILE.txt to print and type again, or FILE.html with QR codes to print and scan. Nothing is
    /// overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Read every byte of every blob again; without it each has to be there and to have its size
    #[arg(long)]
    check: bool,
    /// Name each blob, or say only how many there are, with one digest over all. A list in FILE.json and no list in the
    /// others, if nothing is said
    #[arg(long, value_enum)]
    blobs: Option<Naming>,
}

/// How blobs are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Naming {
    /// Each of them
    List,
    /// All of them with one digest
    Digest,
}

/// The forms of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Json,
    Text,
    Codes,
}

#[derive(Serialize)]
struct Document<'a> {
    file: PathBuf,
    form: Form,
    /// How many QR codes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<usize>,
    /// SHA-256 of the receipt as FILE.json, by which the log names it.
    digest: Digest,
    receipt: &'a ReceiptDocument,
}

impl Form {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("txt") => Ok(Self::Text),
            Some("html") => Ok(Self::Codes),
            _ => {
                Err(Failure::usage("--out says by its end what is written: FILE.json, FILE.txt or FILE.html"))
            }
        }
    }
}

impl ReceiptArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let out = screen.env.path(&self.out);
        let form = Form::of(&out)?;
        Staged::must_be_free(&out)?;
        let listed = match self.blobs {
            Some(naming) => naming == Naming::List,
            None => form == Form::Json,
        };
        let checked = if self.check { Checked::Digests } else { Checked::Sizes };
        let extent = Extent { checked, listed };
        change(site, screen, |screen, judged, log| give(site, screen, judged, log, extent, (form, out)))
    }
}

/// Makes a receipt, notes it in the log, and writes it.
fn give(
    site: &Site,
    screen: &mut Screen<'_>,
    judged: &Judged,
    log: &AuditLog,
    extent: Extent,
    (form, out): (Form, PathBuf),
) -> Result<(), Failure> {
    let sealed = checkpoint::seal(site, screen.env)?.ok_or(SiteKeyError::None)?;
    let kept = Kept::of(site)?;
    let mut bar = screen.progress().begin("checking what is kept", kept.bytes());
    let moment = Moment { trust: &judged.trust, sealed: &sealed, time: screen.env.clock.now() };
    let (signed, verified) = receipt::compose(site, kept, &moment, extent, &mut *bar)?;
    drop(bar);
    let (bytes, codes) = rendered(&signed, &verified, form)?;
    let facts = about([
        ("receipt", verified.digest().to_string()),
        ("keyid", verified.document().keyid.to_string()),
        ("file", out.display().to_string()),
        ("blobs", verified.document().blobs.count.to_string()),
    ]);
    // What leaves the site is in the log before it can leave.
    log.append(screen.env, "receipt", Outcome::Intent, facts.clone())?;
    if let Err(error) = Staged::file_of(&out, &bytes, FOR_OTHERS).and_then(Staged::keep) {
        log.append(screen.env, "receipt", Outcome::Failed, facts)?;
        return Err(error.into());
    }
    log.append(screen.env, "receipt", Outcome::Done, facts)?;
    let (digest, receipt) = (verified.digest(), verified.document());
    let human = human(&out, codes, digest, receipt);
    screen.result(&human, &Document { file: out, form, codes, digest, receipt })
}

/// The bytes of the file, and how many codes it has.
fn rendered(
    signed: &SignedReceipt,
    verified: &VerifiedReceipt,
    form: Form,
) -> Result<(Vec<u8>, Option<usize>), Failure> {
    let document = verified.document();
    Ok(match form {
        Form::Json => (signed.bytes().to_vec(), None),
        Form::Text => (receipt::text(signed, document)?.into_bytes(), None),
        Form::Codes => {
            let (page, codes) = receipt::page(signed, document)?;
            (page.into_bytes(), Some(codes))
        }
    })
}

fn human(out: &Path, codes: Option<usize>, digest: Digest, receipt: &ReceiptDocument) -> String {
    let mut text = String::new();
    for (head, value) in receipt.lines() {
        text.push_str(&format!("{head:<10} {value}\n"));
    }
    let codes = codes.map_or(String::new(), |codes| format!(" ({codes} codes)"));
    text.push_str(&format!("receipt    {}{codes}\nsha256     {}\n", out.display(), digest.hex()));
    if receipt.products.iter().flat_map(|product| &product.versions).any(|version| version.lacks > 0) {
        text.push_str("what lacks blobs is no base for a delta; `installer drift` says more\n");
    }
    text
}
