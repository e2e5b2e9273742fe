//! `bundler trust`: makes trust roots, the roots that follow them, and revocations. One file for each
//! subcommand.
//!
//! Every document is written with the signatures that there are, each in a file of its own beside it. A
//! document that lacks signatures is a draft: it is only written if `--draft` says so, and `trust sign`
//! adds to it, on another machine if need be.

mod keyring;
mod new;
mod revoke;
mod rotate;
mod show;
mod sign;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use edge::{Exit, Failure, Screen};
use layout::signed_file::{self, SignedFile};
use manifests::revocation::{RevocationDocument, RevocationError};
use manifests::root::{ROOT_BYTES_MAX, RootDocument, RootError};
use manifests::{Digest, KeyId, Trust, TrustRoot, canonical};
use serde::Serialize;

use super::signers::PassphraseArgs;
use super::verify::BundleError;
use crate::ceremony::Signers;

/// What can be done with trust roots.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Make the first trust root of a publisher
    New(new::NewArgs),
    /// Make the root that follows another one: keys in, keys out, other thresholds, a new epoch
    Rotate(rotate::RotateArgs),
    /// Make a list of revoked keys, bundles and orders, or the list that follows another one
    Revoke(revoke::RevokeArgs),
    /// Add a signature to a trust root or to revocations
    Sign(sign::SignArgs),
    /// Show a trust root or revocations, and whether they are signed well enough
    Show(show::ShowArgs),
}

impl TrustCommand {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::New(args) => args.run(screen),
            Self::Rotate(args) => args.run(screen),
            Self::Revoke(args) => args.run(screen),
            Self::Sign(args) => args.run(screen),
            Self::Show(args) => args.run(screen),
        }
    }
}

/// A rule that the keys given break is the caller's to mend.
fn broken(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    if let Some(cause) = error.source() {
        text.push_str(&format!(": {cause}"));
    }
    Failure::new(Exit::Usage, text)
}

/// Reads a root that lies where only its owner can write.
fn read_root(path: &Path) -> Result<TrustRoot, Failure> {
    let root = signed_file::read(path, ROOT_BYTES_MAX).and_then(|file| file.trusted_root(path));
    Ok(root.map_err(BundleError::Trust)?)
}

/// Who signs what is being made.
#[derive(Debug, clap::Args)]
struct MakerArgs {
    /// A private key to sign with
    #[arg(long, value_name = "KEY")]
    sign: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Write it although signatures are missing; `trust sign` adds them
    #[arg(long)]
    draft: bool,
    /// Where to write it; the signatures go beside it, into OUT.sigs
    #[arg(long)]
    out: PathBuf,
}

impl MakerArgs {
    /// Signs a new document, judges it as a site will, and writes it.
    fn finish(
        &self,
        bytes: Vec<u8>,
        subject: &Subject,
        by: Option<&TrustRoot>,
        screen: &mut Screen<'_>,
    ) -> Result<(), Failure> {
        let signers = Signers {
            keys: self.sign.iter().map(|path| screen.env.path(path)).collect(),
            elsewhere: Vec::new(),
            passphrase_file: self.passphrase.file(screen.env),
        };
        let out = screen.env.path(&self.out);
        for path in [out.clone(), signed_file::signature_dir(&out)] {
            if path.exists() {
                return Err(Failure::usage(format!("{} is there already", path.display()))
                    .hint("a signed document is never overwritten: choose another --out"));
            }
        }
        let signatures = signers.found(&bytes, &mut *screen.env.terminal)?;
        let file = SignedFile { bytes, signatures };
        let standing = subject.standing(&file, by)?;
        if let (Some(missing), false) = (&standing.missing, self.draft) {
            return Err(Failure::usage(missing.clone()).hint(
                "sign with --sign KEY for enough holders, or write it with --draft and add the others with `bundler trust sign`",
            ));
        }
        signed_file::write(&out, &file).map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot write {}: {error}", out.display()))
        })?;
        tell(out, &file, subject, standing, screen)
    }
}

/// What is allowed, and seldom meant: a key in two roles, as whoever steals it has both; and one person of
/// several who can replace the trust alone.
fn warn(root: &RootDocument, screen: &mut Screen<'_>) {
    let of = |role: &manifests::root::Role| -> std::collections::BTreeSet<KeyId> {
        role.clauses.iter().flat_map(|clause| clause.keyids.iter().copied()).collect()
    };
    for keyid in of(&root.roles.root).intersection(&of(&root.roles.release)) {
        screen.note(&format!(
            "warning: key {keyid} may sign bundles and roots: whoever steals it can replace the trust itself"
        ));
    }
    for clause in &root.roles.root.clauses {
        if clause.threshold.get() == 1 && clause.keyids.len() > 1 {
            screen.note("warning: one root key alone can replace the trust: see --root-threshold");
        }
    }
}

/// One of the two documents, parsed but not judged.
enum Subject {
    Root(Box<RootDocument>),
    Revocations(Box<RevocationDocument>),
}

/// Whether a document's signatures are enough, and in words what is missing.
struct Standing {
    missing: Option<String>,
}

impl Subject {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let root = match canonical::from_canonical::<RootDocument>(bytes) {
            Ok(root) => return Ok(Self::Root(Box::new(root))),
            Err(error) => error,
        };
        match RevocationDocument::from_bytes(bytes) {
            Ok(list) => Ok(Self::Revocations(Box::new(list))),
            Err(list) => Err(Failure::usage(format!(
                "{} is neither a trust root ({root}) nor revocations ({list})",
                path.display()
            ))),
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Root(_) => "trust root",
            Self::Revocations(_) => "revocations",
        }
    }

    /// Judges as a site will. `by` is the root before a root, or the root that judges revocations.
    fn standing(&self, file: &SignedFile, by: Option<&TrustRoot>) -> Result<Standing, Failure> {
        match (self, by) {
            (Self::Root(root), Some(by)) if root.version > 1 => {
                let judged = by.succeed(&file.bytes, &file.signatures);
                missing_of_root(judged.map(drop))
            }
            (Self::Root(_), _) => {
                let judged = TrustRoot::from_trusted_place(&file.bytes, &file.signatures);
                missing_of_root(judged.map(drop))
            }
            (Self::Revocations(_), Some(by)) => {
                match Trust::starting_with(by.clone()).revoke(&file.bytes, &file.signatures) {
                    Ok(_) => Ok(Standing { missing: None }),
                    Err(RevocationError::Signatures(reason)) => {
                        Ok(Standing { missing: Some(reason.to_string()) })
                    }
                    Err(error) => Err(broken(&error)),
                }
            }
            (Self::Revocations(_), None) => {
                Ok(Standing { missing: Some("not judged: --trust ROOT says who may revoke".to_string()) })
            }
        }
    }
}

fn missing_of_root(judged: Result<(), RootError>) -> Result<Standing, Failure> {
    match judged {
        Ok(()) => Ok(Standing { missing: None }),
        Err(error @ (RootError::SelfSignature(_) | RootError::Predecessor { .. })) => {
            Ok(Standing { missing: Some(error.to_string()) })
        }
        Err(error) => Err(broken(&error)),
    }
}

/// What every subcommand that writes a document says.
#[derive(Serialize)]
struct Written {
    document: PathBuf,
    signatures: PathBuf,
    what: &'static str,
    publisher: String,
    version: u64,
    fingerprint: Digest,
    signed_by: Vec<KeyId>,
    /// Whether a site will take it.
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

/// Says what is on the disk now.
fn tell(
    path: PathBuf,
    file: &SignedFile,
    subject: &Subject,
    standing: Standing,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let (publisher, version) = match subject {
        Subject::Root(root) => (root.publisher.to_string(), root.version),
        Subject::Revocations(list) => (list.publisher.to_string(), list.version),
    };
    let written = Written {
        signatures: signed_file::signature_dir(&path),
        document: path,
        what: subject.what(),
        publisher,
        version,
        fingerprint: Digest::of(&file.bytes),
        signed_by: file.signatures.iter().map(|signature| signature.claimed).collect(),
        complete: standing.missing.is_none(),
        missing: standing.missing,
    };
    let human = written.for_people(subject);
    screen.result(&human, &written)
}

impl Written {
    fn for_people(&self, subject: &Subject) -> String {
        let signers: Vec<String> = self.signed_by.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "{:<11} {}\nsignatures  {}\n{}fingerprint {}\nsigned by   {}\n",
            self.what,
            self.document.display(),
            self.signatures.display(),
            show::describe(subject),
            self.fingerprint,
            if signers.is_empty() { "nobody yet".to_string() } else { signers.join("\n            ") },
        );
        match (&self.missing, subject) {
            (Some(missing), _) => text.push_str(&format!(
                "\nDRAFT: no site takes this yet: {missing}\nadd a signature with `bundler trust sign {} --key KEY`\n",
                self.document.display()
            )),
            (None, Subject::Root(root)) if root.version == 1 => text.push_str(&format!(
                "\nThe fingerprint goes to the site on paper or by telephone, never on the same medium:\n  installer trust init root.json --expect-sha256 {}\n",
                self.fingerprint.hex()
            )),
            (None, _) => text.push_str(
                "\nIt goes to the sites with its .sigs directory, on any medium:\n  installer trust update MEDIUM\n",
            ),
        }
        text
    }
}
