//! `bundler trust sign`: adds a signature to a root or to revocations, after checking it.

use std::path::PathBuf;

use clap::Args;
use edge::{Exit, Failure, Screen};
use layout::signed_file::{self, SignedFile};
use manifests::TrustRoot;
use manifests::revocation::REVOCATIONS_BYTES_MAX;
use manifests::root::{FoundSignature, RootDocument};

use super::{Subject, read_root, tell};
use crate::cli::signers::SignerArgs;
use crate::cli::verify::BundleError;

/// The arguments of `trust sign`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// The root or the revocations
    document: PathBuf,
    /// The root before it, or the root that judges the revocations: to say whether it is enough now
    #[arg(long, value_name = "ROOT.JSON")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    signers: SignerArgs,
}

impl SignArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let (path, mut file, subject) = open(&self.document, screen)?;
        let by = self.trust.as_ref().map(|root| read_root(&screen.env.path(root))).transpose()?;
        screen.note(&format!("signing\n{}", super::show::describe(&subject)));
        let added = self.signers.signers(screen.env)?.found(&file.bytes, &mut *screen.env.terminal)?;
        for signature in added {
            refuse_strangers(&signature, &subject, by.as_ref())?;
            file.signatures.retain(|before| before.claimed != signature.claimed);
            file.signatures.push(signature);
        }
        file.signatures.sort_by_key(|signature| signature.claimed);
        let standing = subject.standing(&file, by.as_ref())?;
        signed_file::write(&path, &file).map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot write {}: {error}", path.display()))
        })?;
        tell(path, &file, &subject, standing, screen)
    }
}

/// Reads one of the two documents.
pub(super) fn open(
    document: &std::path::Path,
    screen: &Screen<'_>,
) -> Result<(PathBuf, SignedFile, Subject), Failure> {
    let path = screen.env.path(document);
    // The larger of the two limits: which of the two it is shows only when it was read.
    let file = signed_file::read(&path, REVOCATIONS_BYTES_MAX).map_err(BundleError::Trust)?;
    let subject = Subject::parse(&path, &file.bytes)?;
    Ok((path, file, subject))
}

/// A signature by a key that nobody asks for helps nobody, and hides that the right one is missing.
fn refuse_strangers(
    signature: &FoundSignature,
    subject: &Subject,
    by: Option<&TrustRoot>,
) -> Result<(), Failure> {
    let roots: Vec<&RootDocument> = match subject {
        Subject::Root(root) => std::iter::once(&**root).chain(by.map(TrustRoot::document)).collect(),
        Subject::Revocations(_) => by.map(TrustRoot::document).into_iter().collect(),
    };
    if roots.is_empty() || roots.iter().any(|root| root.keys.contains_key(&signature.claimed)) {
        return Ok(());
    }
    Err(Failure::usage(format!("key {} is in no role that signs this", signature.claimed))
        .hint("an outgoing root key needs --trust OLD-ROOT, which lists it"))
}
