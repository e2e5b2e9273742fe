//! Keys and signatures: pure Ed25519 (RFC 8032) over the exact bytes, raw 64-byte signatures, SPKI PEM
//! public keys (RFC 8410), PKCS#8 v1 PEM private keys.
//!
//! A key's scheme stands in the trust root, never in a signature. Verification is `verify_strict`, and
//! keys of small order are refused when they are read: the lax check accepts a signature that anybody
//! can make for such a key.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::digest::Digest;
use crate::string_form::string_form;

/// The longest key file that is read: an encrypted PKCS#8 key with RSA-4096 stays below this.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// A raw Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;

/// The identity of a key: SHA-256 of its DER SubjectPublicKeyInfo, as 64 lower-case hex digits. An
/// auditor gets the same from `openssl pkey -pubin -in K.pub.pem -outform DER | sha256sum`.
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
    /// ECDSA on P-384 over SHA-384, DER. Named so that a root which lists one is refused by name.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// ECDSA on P-256 over SHA-256, DER. Named for the same reason.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
        })
    }
}

/// Why bytes are not a key that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a PEM public key.
    #[error("not a PEM public key (`-----BEGIN PUBLIC KEY-----`) of a scheme we know")]
    NotAPublicKey,
    /// Not a PEM private key.
    #[error("not a PEM private key (`-----BEGIN PRIVATE KEY-----`, PKCS#8, Ed25519)")]
    NotAPrivateKey,
    /// Encrypted at rest.
    #[error("the private key is encrypted, which is not supported yet")]
    Encrypted,
    /// A key of a scheme whose verification is not built in yet.
    #[error("{0} keys are not supported yet")]
    NotYet(Scheme),
    /// A key of small order.
    #[error("the key is of small order: anybody can sign for it")]
    Weak,
    /// The same key in another encoding; a key has one spelling.
    #[error("the key is not in the encoding that `openssl pkey -pubout` writes")]
    OddEncoding,
}

/// A public key that was found good to use.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
    pem: String,
}

impl PublicKey {
    /// Reads an SPKI PEM.
    ///
    /// # Errors
    /// Another format, another scheme, a weak key, or an encoding that openssl would not write.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let normal = pem.replace("\r\n", "\n");
        let key = VerifyingKey::from_public_key_pem(&normal).map_err(|_| other_scheme(&normal))?;
        let public = Self::new(key)?;
        if public.pem.trim_end() == normal.trim_end() { Ok(public) } else { Err(KeyError::OddEncoding) }
    }

    fn new(key: VerifyingKey) -> Result<Self, KeyError> {
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        let der = key.to_public_key_der().map_err(|_| KeyError::NotAPublicKey)?;
        let pem = key.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self { key, id: KeyId(Digest::of(der.as_bytes())), pem })
    }

    /// The key's identity.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// How it signs.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        Scheme::Ed25519
    }

    /// SPKI PEM with one final line feed, as openssl writes it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether this is this key's signature over exactly these bytes.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Ok(raw) = <&[u8; ED25519_SIGNATURE_BYTES]>::try_from(signature) else { return false };
        self.key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(raw)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// Names the scheme of a PEM key that is not Ed25519, by the curve's object identifier in its DER.
fn other_scheme(pem: &str) -> KeyError {
    // Base64 of the fixed DER head (algorithm and curve) of an uncompressed EC key; 16 characters are
    // 12 whole bytes, so the text is the same in every such key.
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    if body.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD") {
        KeyError::NotYet(Scheme::EcdsaP256Sha256)
    } else if body.starts_with("MHYwEAYHKoZIzj0CAQYFK4EEACID") {
        KeyError::NotYet(Scheme::EcdsaP384Sha384)
    } else {
        KeyError::NotAPublicKey
    }
}

/// A private key. It has no `Debug` and is wiped when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 bytes of a good random source.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a PKCS#8 PEM, as we or openssl write it.
    ///
    /// # Errors
    /// Another format or scheme, or an encrypted key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("ENCRYPTED PRIVATE KEY") {
            return Err(KeyError::Encrypted);
        }
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::NotAPrivateKey)
    }

    /// PKCS#8 **v1** PEM: OpenSSL 3.0 cannot read v2, which holds the public key as well.
    ///
    /// # Errors
    /// None in practice; the encoder's signature has one.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()).map_err(|_| KeyError::NotAPrivateKey)
    }

    /// The public half.
    ///
    /// # Errors
    /// A key of small order, which no random seed gives.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::new(self.0.verifying_key())
    }

    /// Signs exactly these bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; ED25519_SIGNATURE_BYTES] {
        self.0.sign(bytes).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_signs_the_same() {
        let secret = SecretKey::from_seed(&[7; 32]);
        let again = SecretKey::from_pem(&secret.to_pem().unwrap()).unwrap();
        assert_eq!(secret.sign(b"x"), again.sign(b"x"));
        let public = PublicKey::from_pem(secret.public().unwrap().pem()).unwrap();
        assert_eq!(public.id(), secret.public().unwrap().id());
        assert!(public.verifies(b"x", &secret.sign(b"x")));
        assert!(!public.verifies(b"y", &secret.sign(b"x")));
        assert!(!public.verifies(b"x", &[0; 63]));
        assert!(!public.verifies(b"x", &[0; 65]));
    }

    #[test]
    fn answers_the_first_vectors_of_rfc_8032() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let signature = SecretKey::from_seed(&seed).sign(b"");
        assert_eq!(signature[..8], [0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72]);
    }

    #[test]
    fn refuses_keys_of_small_order() {
        let identity = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
        assert_eq!(PublicKey::from_pem(identity), Err(KeyError::Weak));
    }

    #[test]
    fn names_a_scheme_that_is_not_built_in_yet() {
        let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8xOUetsCa8EfOlDEBAfREhJqspDo\nyEh6Szz2in47Tv5n52m9dLYyPCbqZkOB5nTSqtscpkQD/HpykCggvx09iQ==\n-----END PUBLIC KEY-----\n";
        assert_eq!(PublicKey::from_pem(p256), Err(KeyError::NotYet(Scheme::EcdsaP256Sha256)));
        assert_eq!(PublicKey::from_pem("hello"), Err(KeyError::NotAPublicKey));
    }
}
