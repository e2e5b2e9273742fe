//! `bundler sign`

use std::path::PathBuf;

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::root::SIGNATURE_BYTES_MAX;
use manifests::{Digest, KeyId};
use serde::Serialize;

use crate::keys;
use crate::sign::{Candidate, Signed};

/// The arguments of `sign`.
#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The archive
    bundle: PathBuf,
    /// A private key to sign with
    #[arg(long, required_unless_present = "signature")]
    key: Vec<PathBuf>,
    /// A raw signature that was made elsewhere
    #[arg(long, requires = "public_key", conflicts_with = "key")]
    signature: Option<PathBuf>,
    /// The public key of that signature
    #[arg(long, requires = "signature")]
    public_key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    archive: PathBuf,
    bundle: BundleDigest,
    signatures: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    keyid: KeyId,
    attached: bool,
}

impl SignArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let archive = screen.env.path(&self.bundle);
        let mut candidate = Candidate::open(&archive)?;
        let manifest = &candidate.manifest;
        screen.note(&format!(
            "signing {} {} (order {}), {}: {}",
            manifest.product,
            manifest.version,
            manifest.order,
            manifest.marking,
            super::inspect::counts(&manifest.counts)
        ));
        let mut signatures = Vec::new();
        for path in &self.key {
            let secret = keys::read_secret(&screen.env.path(path))?;
            let keyid = secret.public().map_err(|error| Failure::usage(error.to_string()))?.id();
            signatures.push(Row { keyid, attached: candidate.sign(&secret)? == Signed::Attached });
        }
        if let (Some(signature), Some(public)) = (&self.signature, &self.public_key) {
            let path = screen.env.path(signature);
            let raw = layout::durable::read_bounded(&path, SIGNATURE_BYTES_MAX).map_err(|error| {
                Failure::new(Exit::Unreachable, format!("cannot read {}: {error}", path.display()))
            })?;
            let key = keys::read_public(&screen.env.path(public))?;
            signatures
                .push(Row { keyid: key.id(), attached: candidate.attach(&key, &raw)? == Signed::Attached });
        }
        let bundle = BundleDigest(Digest::of(candidate.bytes()));
        let line = |row: &Row| {
            format!("{}  {}\n", row.keyid, if row.attached { "signed" } else { "had signed already" })
        };
        let human = format!("bundle {bundle}\n{}", signatures.iter().map(line).collect::<String>());
        screen.result(&human, &Document { archive, bundle, signatures })
    }
}
