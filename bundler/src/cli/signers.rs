//! Who signs, as it is typed: the same options wherever something is signed.

use std::path::PathBuf;

use clap::Args;
use edge::{Env, Failure};

use crate::ceremony::{Elsewhere, Signers};

/// Options of every command that signs.
#[derive(Debug, Args)]
pub(super) struct SignerArgs {
    /// A private key to sign with
    #[arg(long)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// A signature that was made elsewhere, as the tool has written it; each needs its --public-key
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Vec<PathBuf>,
    /// The public key of that signature: PEM, or the line of an SSH key
    #[arg(long, value_name = "PUB", requires = "signature")]
    public_key: Vec<PathBuf>,
}

/// The option of every command that reads private keys.
#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// A file with the passphrase of encrypted private keys; without it the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Its path.
    pub(super) fn file(&self, env: &Env) -> Option<PathBuf> {
        self.passphrase_file.as_ref().map(|file| env.path(file))
    }
}

impl SignerArgs {
    /// Whether nobody is named.
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_empty() && self.signature.is_empty()
    }

    /// Who signs: at least one.
    pub(super) fn signers(&self, env: &Env) -> Result<Signers, Failure> {
        if self.is_empty() {
            return Err(Failure::usage("nobody to sign is named")
                .hint("give --key KEY, or --signature FILE with --public-key PUB"));
        }
        if self.signature.len() != self.public_key.len() {
            return Err(Failure::usage(format!(
                "{} signatures are given with {} public keys",
                self.signature.len(),
                self.public_key.len()
            ))
            .hint("each --signature needs its --public-key, in the same order"));
        }
        let pairs = self.signature.iter().zip(&self.public_key);
        Ok(Signers {
            keys: self.key.iter().map(|key| env.path(key)).collect(),
            elsewhere: pairs
                .map(|(signature, key)| Elsewhere {
                    signature: env.path(signature),
                    public_key: env.path(key),
                })
                .collect(),
            passphrase_file: self.passphrase.file(env),
        })
    }
}
