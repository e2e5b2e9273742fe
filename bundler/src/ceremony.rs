//! A signing ceremony: signatures over the very bytes of a document, from private keys that are here and from
//! whoever has signed elsewhere, each checked before anything is done with it.
//!
//! It knows nothing of what is signed: a bundle's `bundle.json`, a trust root and revocations are all bytes
//! here. It never writes.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use edge::terminal::Terminal;
use edge::{Classified, Exit};
use manifests::key::{KeyError, Mistake, SIGNATURE_FILE_BYTES_MAX};
use manifests::root::FoundSignature;
use manifests::{KeyId, PublicKey, Scheme, SecretKey};

use crate::keys::{self, KeyFileError, Passphrases};

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// A key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A private key that does not sign.
    #[error("{} does not sign", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// A signature that cannot be read.
    #[error("cannot read the signature {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A signature that is not one of this key over this document.
    #[error("{} is not a signature of key {keyid} ({scheme}) over this document", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// The key that came with it.
        keyid: KeyId,
        /// How that key signs.
        scheme: Scheme,
        /// What it is instead, if that can be told.
        mistake: Option<Mistake>,
    },
}

impl Classified for CeremonyError {
    fn exit(&self) -> Exit {
        match self {
            Self::KeyFile(error) => error.exit(),
            Self::Key { source: KeyError::SelfCheck, .. } => Exit::Unexpected,
            Self::Key { .. } => Exit::Usage,
            Self::Read { .. } => Exit::Unreachable,
            Self::Wrong { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::KeyFile(error) => error.hint(),
            Self::Key { source, .. } => source.hint().map(str::to_string),
            Self::Read { .. } => None,
            Self::Wrong { mistake: Some(mistake), .. } => Some(mistake.to_string()),
            Self::Wrong { scheme, .. } => Some(format!(
                "it was made with another key, or over another file than the very document, which --prepare writes for bundles and attestations; with this key: {}",
                command(*scheme, "FILE")
            )),
        }
    }
}

/// How a key of this scheme signs a file with openssl or ssh-keygen. `KEY` is the private key; the
/// signature goes into a file with `.sig` at its end.
#[must_use]
pub fn command(scheme: Scheme, file: &str) -> String {
    match scheme {
        Scheme::EcdsaP384Sha384 => format!("openssl dgst -sha384 -sign KEY -out {file}.sig {file}"),
        Scheme::EcdsaP256Sha256 => format!("openssl dgst -sha256 -sign KEY -out {file}.sig {file}"),
        Scheme::SshsigEd25519 => format!("ssh-keygen -Y sign -n airlock -f KEY {file}"),
        _ => format!("openssl pkeyutl -sign -inkey KEY -rawin -in {file} -out {file}.sig"),
    }
}

/// A signature that was made elsewhere.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// In whatever form the tool has written it.
    pub signature: PathBuf,
    /// PEM, or an OpenSSH line.
    pub public_key: PathBuf,
}

/// Who signs. All paths are absolute.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    /// Private keys that are here.
    pub keys: Vec<PathBuf>,
    /// Signatures that are here.
    pub elsewhere: Vec<Elsewhere>,
    /// Holds the passphrase of every encrypted key among `keys`; without it the terminal is asked.
    pub passphrase_file: Option<PathBuf>,
}

/// A signature that was checked.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Whose.
    pub key: PublicKey,
    /// In the form that is stored.
    pub bytes: Vec<u8>,
}

impl From<Signature> for FoundSignature {
    fn from(signature: Signature) -> Self {
        Self { claimed: signature.key.id(), bytes: signature.bytes }
    }
}

impl Signers {
    /// Their signatures over these bytes, each key once, in the order in which they were named, those of keys
    /// that are here first. All of them, or none.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub fn sign(
        &self,
        document: &[u8],
        terminal: &mut dyn Terminal,
    ) -> Result<Vec<Signature>, CeremonyError> {
        // Looked at first: nobody should type a passphrase to learn that another file is bad.
        let elsewhere: Result<Vec<_>, _> = self.elsewhere.iter().map(|one| one.read(document)).collect();
        let elsewhere = elsewhere?;
        let mut made = Vec::new();
        for (path, key) in self.keys.iter().zip(self.unlock(terminal)?) {
            made.push(
                sign(&key, document).map_err(|source| CeremonyError::Key { path: path.clone(), source })?,
            );
        }
        made.extend(elsewhere);
        let mut seen = BTreeSet::new();
        made.retain(|signature| seen.insert(signature.key.id()));
        Ok(made)
    }

    /// The same for those who put signatures into files beside a document, in the order of the key ids.
    ///
    /// # Errors
    /// See [`CeremonyError`].
    pub fn found(
        &self,
        document: &[u8],
        terminal: &mut dyn Terminal,
    ) -> Result<Vec<FoundSignature>, CeremonyError> {
        let made = self.sign(document, terminal)?.into_iter();
        let mut found: Vec<FoundSignature> = made.map(FoundSignature::from).collect();
        found.sort_by_key(|signature| signature.claimed);
        Ok(found)
    }

    /// The private keys, in the order of `keys`.
    ///
    /// # Errors
    /// A key file that cannot be used, or no passphrase for it.
    pub fn unlock(&self, terminal: &mut dyn Terminal) -> Result<Vec<SecretKey>, CeremonyError> {
        let mut passphrases = Passphrases { file: self.passphrase_file.clone(), terminal };
        self.keys.iter().map(|path| Ok(passphrases.unlock(path)?)).collect()
    }
}

/// Signs with a key that is here.
///
/// # Errors
/// The signature does not verify: see [`KeyError::SelfCheck`].
pub fn sign(key: &SecretKey, document: &[u8]) -> Result<Signature, KeyError> {
    Ok(Signature { bytes: key.sign(document)?, key: key.public()? })
}

impl Elsewhere {
    fn read(&self, document: &[u8]) -> Result<Signature, CeremonyError> {
        let key = keys::read_public(&self.public_key)?;
        let failed = |source| CeremonyError::Read { path: self.signature.clone(), source };
        let given =
            layout::durable::read_bounded(&self.signature, SIGNATURE_FILE_BYTES_MAX).map_err(failed)?;
        match key.stored_form(document, &given) {
            Some(bytes) => Ok(Signature { key, bytes }),
            None => Err(CeremonyError::Wrong {
                path: self.signature.clone(),
                keyid: key.id(),
                scheme: key.scheme(),
                mistake: key.mistake(document, &given),
            }),
        }
    }
}
