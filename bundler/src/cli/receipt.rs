//! `bundler receipt verify`: what a site says it holds, once the site's key has vouched for it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edge::{Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::receipt::ReceiptDocument;
use manifests::{Digest, VerifiedReceipt};
use serde::Serialize;

use crate::receipt::{self, KnownSites};

/// What can be done with receipts.
#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Check a receipt against the key of its site, and show what it says
    Verify(VerifyArgs),
}

/// The arguments of `receipt verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The receipt: FILE.json, FILE.txt, or texts with what a scanner read of its codes, in any order
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// The public key of the site
    #[arg(long, value_name = "PUB", required_unless_present = "sites", conflicts_with = "sites")]
    key: Vec<PathBuf>,
    /// A directory of known sites: SITE.pub.pem is the key of SITE, and of no other site
    #[arg(long, value_name = "DIR")]
    sites: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    verified: bool,
    /// SHA-256 of the receipt, by which the site's log names it.
    digest: Digest,
    /// What a delta may build on.
    bases: Vec<BundleDigest>,
    receipt: &'a ReceiptDocument,
}

impl ReceiptCommand {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let Self::Verify(args) = self;
        args.run(screen)
    }
}

impl VerifyArgs {
    fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let full = |paths: &[PathBuf]| paths.iter().map(|path| screen.env.path(path)).collect::<Vec<_>>();
        let (files, keys) = (full(&self.file), full(&self.key));
        let known = match &self.sites {
            Some(dir) => KnownSites::directory(&screen.env.path(dir))?,
            None => KnownSites::keys(&keys)?,
        };
        let receipt = receipt::verify(&files, &known)?;
        let document = Document {
            verified: true,
            digest: receipt.digest(),
            bases: receipt.bases().collect(),
            receipt: receipt.document(),
        };
        screen.result(&human(&receipt), &document)
    }
}

fn human(receipt: &VerifiedReceipt) -> String {
    let mut text = String::from("the receipt is good: the key of the site has signed it\n");
    for (head, value) in receipt.document().lines() {
        text.push_str(&format!("{head:<10} {value}\n"));
    }
    text.push_str(&format!("sha256     {}\n", receipt.digest().hex()));
    text
}
