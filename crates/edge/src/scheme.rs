//! The signature schemes that a person can ask for where a key is made. SSH keys are made by
//! `ssh-keygen -t ed25519`.

use clap::ValueEnum;
use manifests::Scheme;

/// A scheme whose keys are made here, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Made {
    /// Ed25519
    Ed25519,
    /// ECDSA on P-384 with SHA-384
    #[value(name = "ecdsa-p384-sha384")]
    P384,
    /// ECDSA on P-256 with SHA-256
    #[value(name = "ecdsa-p256-sha256")]
    P256,
}

impl From<Made> for Scheme {
    fn from(made: Made) -> Self {
        match made {
            Made::Ed25519 => Self::Ed25519,
            Made::P384 => Self::EcdsaP384Sha384,
            Made::P256 => Self::EcdsaP256Sha256,
        }
    }
}
