//! `bundler verify`: the checks of a site, with the very code that sites run, apart from what only the
//! site knows (its name and what was applied there).

use std::path::PathBuf;

use clap::Args;
use edge::{Classified, Exit, Failure, Screen, progress};
use layout::medium::{self, MediumError};
use layout::reader::{BundleReader, Discard, ReadError};
use layout::signed_file::{self, SignedFileError};
use manifests::bundle::{BundleDigest, Counts};
use manifests::canonical::CanonicalError;
use manifests::revocation::REVOCATIONS_BYTES_MAX;
use manifests::root::{ROOT_BYTES_MAX, SignatureVerdict};
use manifests::verify::{Refusal, SignedManifest};
use manifests::{BundleManifest, Digest, Trust};
use serde::Serialize;

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The archive
    bundle: PathBuf,
    /// The trust root
    #[arg(long, value_name = "ROOT.JSON")]
    trust: PathBuf,
    /// What the publisher has revoked
    #[arg(long, value_name = "REVOCATIONS.JSON")]
    revocations: Option<PathBuf>,
}

/// Why a bundle does not verify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BundleError {
    /// It cannot be opened.
    #[error(transparent)]
    Medium(MediumError),
    /// It is damaged, or no bundle.
    #[error("{}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Its `bundle.json` is not one.
    #[error("{}: bundle.json is not one", path.display())]
    Manifest {
        /// Which archive.
        path: PathBuf,
        /// What is wrong.
        source: CanonicalError,
    },
    /// The trust root or the revocations.
    #[error(transparent)]
    Trust(SignedFileError),
    /// It must not be used.
    #[error("{} is refused", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
}

impl Classified for BundleError {
    fn exit(&self) -> Exit {
        match self {
            Self::Medium(_) | Self::Read { .. } | Self::Manifest { .. } => Exit::Damaged,
            Self::Trust(SignedFileError::Read { .. }) => Exit::Unreachable,
            Self::Trust(_) | Self::Refused { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source: ReadError::NotZero { place, .. }, .. } if place.contains("signatures") => {
                Some("a signature was cut off while it was written: run `bundler sign` again".to_string())
            }
            Self::Read { .. } => {
                Some("build the archive again, or copy it again from where it was whole".to_string())
            }
            Self::Refused { source: Refusal::Signatures(_), .. } => Some(
                "sign it with a key of the root's release role: `bundler sign BUNDLE --key KEY`".to_string(),
            ),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    archive: PathBuf,
    bundle: BundleDigest,
    verified: bool,
    root: Digest,
    root_version: u64,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
    counts: Counts,
}

impl VerifyArgs {
    fn read_trust(&self, screen: &Screen<'_>) -> Result<Trust, SignedFileError> {
        let path = screen.env.path(&self.trust);
        let root = signed_file::read(&path, ROOT_BYTES_MAX)?.trusted_root(&path)?;
        let mut trust = Trust::starting_with(root);
        if let Some(path) = self.revocations.as_ref().map(|path| screen.env.path(path)) {
            let file = signed_file::read(&path, REVOCATIONS_BYTES_MAX)?;
            trust
                .revoke(&file.bytes, &file.signatures)
                .map_err(|source| SignedFileError::Revocations { path, source })?;
        }
        Ok(trust)
    }

    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let trust = self.read_trust(screen).map_err(BundleError::Trust)?;
        let root = trust.root();
        let archive = screen.env.path(&self.bundle);
        let (file, size) = medium::open(&archive).map_err(BundleError::Medium)?;
        let damaged = |source| BundleError::Read { path: archive.clone(), source };
        let mut reader = BundleReader::open(std::io::BufReader::new(file)).map_err(damaged)?;
        let head = reader.head().clone();
        let signed = SignedManifest::authenticate(&trust, &head.manifest, &head.signatures);
        let signed = signed.map_err(|source| BundleError::Refused { path: archive.clone(), source })?;
        let (contents, _) = reader.contents(signed.manifest()).map_err(damaged)?;
        let mut bar = progress::new(screen.wants_bars(), "verifying", size);
        reader.stream(contents, &mut Discard, &mut |count| bar.advance(count)).map_err(damaged)?;
        drop(bar);
        let manifest = signed.manifest();
        let counts = manifest.counts;
        let line = |verdict: &SignatureVerdict| format!("signature  {}\n", verdict.line());
        let human = format!(
            "{}\nverified: {} {} (order {})\nbundle     {}\ntrust root {} ({})\n{}holds      {}\nnot checked here: audience and order, which only a site can judge\n",
            manifest.marking,
            manifest.product,
            manifest.version,
            manifest.order,
            signed.digest(),
            root.fingerprint().short(),
            root.title(),
            signed.signatures().iter().map(line).collect::<String>(),
            super::inspect::counts(&counts),
        );
        let document = Document {
            archive,
            bundle: signed.digest(),
            verified: true,
            root: root.fingerprint(),
            root_version: root.document().version,
            signatures: signed.signatures(),
            manifest,
            counts,
        };
        screen.result(&human, &document)
    }
}
