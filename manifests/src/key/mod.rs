//! Keys and signatures over the exact bytes of a document: no envelope, no prehash of our own.
//!
//! A key's scheme stands in the trust root, never in a signature. Public keys are SPKI PEM (RFC 8410,
//! RFC 5480) or, for Ed25519, also an OpenSSH line; private keys are PKCS#8 v1 PEM (RFC 5958), plain or
//! encrypted (RFC 8018, PBES2).
//!
//! | scheme | signature |
//! |---|---|
//! | [`Scheme::Ed25519`] | pure Ed25519 (RFC 8032), 64 raw bytes |
//! | [`Scheme::EcdsaP384Sha384`], [`Scheme::EcdsaP256Sha256`] | ECDSA (FIPS 186-5), DER |
//! | [`Scheme::SshsigEd25519`] | what `ssh-keygen -Y sign` writes (PROTOCOL.sshsig of OpenSSH) |
//!
//! *Invariants:* a key and a signature have one spelling each, that of the usual tool, and every other one
//! is refused; whatever is accepted here is accepted by openssl or ssh-keygen too. Keys of small order are
//! refused when they are read: the lax check accepts a signature that anybody can make for such a key.

mod forms;
mod mistake;
mod public;
mod secret;
mod sshsig;

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::digest::Digest;
use crate::string_form::string_form;

pub use forms::SIGNATURE_FILE_BYTES_MAX;
pub use mistake::Mistake;
pub use public::PublicKey;
pub use secret::{PBKDF2_ITERATIONS, PBKDF2_ITERATIONS_MAX, SCRYPT_BYTES_MAX, SecretKey};
pub use sshsig::SSHSIG_NAMESPACE;

/// The longest key file that is read: an encrypted PKCS#8 key with RSA-4096 stays below this.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// A raw Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;

/// The identity of a key: SHA-256 of its DER SubjectPublicKeyInfo, as 64 lower-case hex digits. An
/// auditor gets the same from `openssl pkey -pubin -in K.pub.pem -outform DER | sha256sum`.
///
/// It does not name the scheme: an Ed25519 key that is used through SSH has the identity that it has
/// without, so a trust root cannot list one key for both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The first twelve digits, for people's eyes only.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.short()
    }

    /// The SHA-256 itself.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = crate::digest::DigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Digest::from_hex(text).map(Self)
    }
}

string_form!(KeyId);

/// How a key signs. The names are those of the trust root's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Scheme {
    /// Pure Ed25519 over the exact bytes.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-384 over SHA-384, DER.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// ECDSA on P-256 over SHA-256, DER.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// An armoured SSHSIG in the namespace [`SSHSIG_NAMESPACE`], by an Ed25519 key.
    #[serde(rename = "sshsig-ed25519")]
    SshsigEd25519,
}

impl Scheme {
    /// Every scheme there is.
    pub const ALL: [Self; 4] =
        [Self::Ed25519, Self::EcdsaP384Sha384, Self::EcdsaP256Sha256, Self::SshsigEd25519];

    /// Its name in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::SshsigEd25519 => "sshsig-ed25519",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why bytes are not a key that we use, or why a key does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a public key.
    #[error("not a public key of a scheme we know (Ed25519, ECDSA on P-256 or P-384)")]
    NotAPublicKey,
    /// A private key where a public one is needed.
    #[error("a private key, where a public key is needed")]
    Private,
    /// An EC key that we do not use.
    #[error("an EC key of another curve than P-256 and P-384, or with its curve written out")]
    Curve,
    /// An SSH key that we do not use.
    #[error("an SSH key of another type than ssh-ed25519")]
    SshKeyType,
    /// A key of small order.
    #[error("the key is of small order: anybody can sign for it")]
    Weak,
    /// The same key in another encoding; a key has one spelling.
    #[error("the key is not in the encoding that `openssl pkey -pubout` or `ssh-keygen` writes")]
    OddEncoding,
    /// Listed with a scheme that is not its own.
    #[error("the key is one for {found}, and is listed for {listed}")]
    OtherScheme {
        /// What the list says.
        listed: Scheme,
        /// What the key is.
        found: Scheme,
    },
    /// Not a private key.
    #[error("not a private key in PKCS#8 (`-----BEGIN PRIVATE KEY-----`) of a scheme we know")]
    NotAPrivateKey,
    /// A private key in openssl's older format.
    #[error("a private key in the traditional format (`-----BEGIN EC PRIVATE KEY-----`), not PKCS#8")]
    Traditional,
    /// cosign's own format.
    #[error("a private key in cosign's own encryption (`-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----`)")]
    Sigstore,
    /// OpenSSH's own format.
    #[error("a private key in OpenSSH's own format (`-----BEGIN OPENSSH PRIVATE KEY-----`)")]
    OpenSsh,
    /// Encrypted, and no passphrase was given.
    #[error("the private key is encrypted, and there is no passphrase")]
    Encrypted,
    /// Encrypted in a way that we do not read.
    #[error("the private key is encrypted in a way that is not read here (PBES2 with AES is)")]
    Encryption,
    /// A hostile file could keep us busy for hours.
    #[error("the private key asks for more work to try a passphrase than is allowed")]
    TooCostly,
    /// It does not decrypt.
    #[error("the passphrase is wrong, or the private key is damaged")]
    WrongPassphrase,
    /// A passphrase of no characters protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// A scheme whose keys others make.
    #[error("keys for {0} are not made here")]
    NotMadeHere(Scheme),
    /// The source of random bytes gives none that make a key.
    #[error("the random numbers are not random")]
    Random,
    /// A signature that was just made is wrong.
    #[error("a signature that was just made does not verify: the memory or the processor is faulty")]
    SelfCheck,
}

impl KeyError {
    /// What to do next, where we know it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Private => "write the public half with: openssl pkey -in KEY -pubout -out KEY.pub.pem",
            Self::OddEncoding => "write it anew with: openssl pkey -pubin -in KEY -pubout",
            Self::Traditional => "convert it with: openssl pkcs8 -topk8 -in KEY -out KEY.pkcs8.pem",
            Self::Sigstore => {
                "sign with `cosign sign-blob`, and attach the signature with --signature and --public-key"
            }
            Self::OpenSsh => {
                "sign with `ssh-keygen -Y sign -n airlock`, and attach the signature with --signature and --public-key"
            }
            Self::Encryption | Self::TooCostly => {
                "encrypt it anew with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out KEY.pkcs8.pem"
            }
            Self::SelfCheck => "do not use this machine for signing; nothing was written",
            _ => return None,
        })
    }
}
