//! `bundler trust revoke`: the list of what must not be believed any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::TrustRoot;
use manifests::bundle::{BundleDigest, Sequence};
use manifests::revocation::{
    Minimum, REVOCATIONS_BYTES_MAX, RevocationDocument, RevocationSchema, RevokedBundle, RevokedKey,
};
use manifests::text::{Marking, Name, printable};

use super::rotate::key_or_id;
use super::{MakerArgs, Subject, broken, read_root};
use crate::sign::Candidate;

/// The arguments of `trust revoke`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The current trust root: its revocation role signs, or its root role if it has none
    root: PathBuf,
    /// The list that this one follows; everything in it stays
    #[arg(long, value_name = "REVOCATIONS.JSON")]
    after: Option<PathBuf>,
    /// Begin an empty list in a new epoch: what the lists of earlier epochs have revoked is revoked no more
    #[arg(long, conflicts_with = "after")]
    start_anew: bool,
    /// A release key whose signatures do not count any more: its public key, or its id
    #[arg(long, value_name = "PUB|KEYID")]
    key: Vec<PathBuf>,
    /// A bundle that is known to be good although a revoked key has signed it: the archive, or its digest
    #[arg(long, value_name = "BUNDLE|DIGEST", requires = "key")]
    except: Vec<PathBuf>,
    /// A bundle that must not be used: the archive, or its digest
    #[arg(long, value_name = "BUNDLE|DIGEST")]
    bundle: Vec<PathBuf>,
    /// Everything of a product below this order
    #[arg(long, value_name = "PRODUCT=EPOCH.SEQUENCE")]
    below: Vec<String>,
    /// Why, for the people on site; up to 128 characters
    #[arg(long)]
    reason: Marking,
    #[command(flatten)]
    maker: MakerArgs,
}

impl RevokeArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let root = read_root(&screen.env.path(&self.root))?;
        if self.key.is_empty() && self.bundle.is_empty() && self.below.is_empty() && !self.repeats() {
            return Err(Failure::usage("nothing to revoke: give --key, --bundle or --below"));
        }
        if root.document().epoch > 1 && !self.repeats() {
            return Err(Failure::usage(format!(
                "epoch {} is not the first: a list without the earlier ones would take their revocations back",
                root.document().epoch
            ))
            .hint("give the last list with --after, or say --start-anew if there was none or it shall not hold"));
        }
        let document = self.document(&root, screen)?;
        let bytes = document.to_bytes().map_err(|error| broken(&error))?;
        self.maker.finish(bytes, &Subject::Revocations(Box::new(document)), Some(&root), screen)
    }

    /// Whether the list makes sense with nothing new in it: the last one for the present signers, or for a
    /// new epoch.
    fn repeats(&self) -> bool {
        self.after.is_some() || self.start_anew
    }

    fn document(&self, root: &TrustRoot, screen: &Screen<'_>) -> Result<RevocationDocument, Failure> {
        let mut next = self.start(root, screen)?;
        let mut except = Vec::new();
        for given in &self.except {
            except.push(bundle_or_digest(given, screen)?);
        }
        for given in &self.key {
            let reason = self.reason.clone();
            let entry = next.keys.entry(key_or_id(given, screen)?);
            entry.or_insert(RevokedKey { reason, except: Default::default() }).except.extend(&except);
        }
        for given in &self.bundle {
            let reason = self.reason.clone();
            next.bundles.entry(bundle_or_digest(given, screen)?).or_insert(RevokedBundle { reason });
        }
        for text in &self.below {
            let (product, order) = product_and_order(text)?;
            if next.minimums.get(&product).is_some_and(|before| before.order > order) {
                return Err(Failure::usage(format!("--below `{text}` is lower than the list before has it")));
            }
            next.minimums.insert(product, Minimum { order, reason: self.reason.clone() });
        }
        Ok(next)
    }

    /// The list before with the next version, or an empty one.
    fn start(&self, root: &TrustRoot, screen: &Screen<'_>) -> Result<RevocationDocument, Failure> {
        let (epoch, publisher) = (root.document().epoch, root.document().publisher.clone());
        let created = crate::cli::created(screen.env)?;
        let mut next = RevocationDocument {
            schema: RevocationSchema::V1,
            publisher,
            epoch,
            version: 1,
            created,
            keys: BTreeMap::new(),
            bundles: BTreeMap::new(),
            minimums: BTreeMap::new(),
        };
        let Some(path) = self.after.as_ref().map(|after| screen.env.path(after)) else { return Ok(next) };
        let bytes = layout::durable::read_bounded(&path, REVOCATIONS_BYTES_MAX).map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot read {}: {error}", path.display()))
        })?;
        let before = RevocationDocument::from_bytes(&bytes)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        if before.publisher != next.publisher || before.epoch > epoch {
            return Err(Failure::usage(format!("{} belongs to another root", path.display())));
        }
        if before.epoch == epoch {
            next.version = before.version.saturating_add(1);
        }
        (next.keys, next.bundles, next.minimums) = (before.keys, before.bundles, before.minimums);
        Ok(next)
    }
}

fn bundle_or_digest(given: &Path, screen: &Screen<'_>) -> Result<BundleDigest, Failure> {
    if let Some(digest) = given.to_str().and_then(|text| text.parse().ok()) {
        return Ok(digest);
    }
    let candidate = Candidate::open(&screen.env.path(given))?;
    Ok(BundleDigest(manifests::Digest::of(candidate.bytes())))
}

fn product_and_order(text: &str) -> Result<(Name, Sequence), Failure> {
    let parse = || {
        let (product, order) = text.split_once('=')?;
        let (epoch, sequence) = order.split_once('.')?;
        Some((
            product.parse().ok()?,
            Sequence { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? },
        ))
    };
    parse()
        .ok_or_else(|| Failure::usage(format!("--below `{}` is not PRODUCT=EPOCH.SEQUENCE", printable(text))))
}
