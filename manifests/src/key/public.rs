//! Public keys: read strictly, named by their digest, and asked whether they have signed something.

use alloc::string::String;
use core::fmt;

use ed25519_dalek::VerifyingKey;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pkcs8::der::asn1::ObjectIdentifier;
use pkcs8::der::{Decode as _, Document};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{EncodePublicKey, LineEnding};

use super::{ED25519_SIGNATURE_BYTES, KeyError, KeyId, Scheme, sshsig};
use crate::digest::Digest;

/// RFC 8410, `id-Ed25519`.
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480, `id-ecPublicKey`.
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480, `secp256r1`.
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 5480, `secp384r1`.
pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// The arithmetic of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Verifier {
    Ed25519(VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl Verifier {
    /// Reads a DER SubjectPublicKeyInfo.
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::NotAPublicKey)?;
        let unreadable = |_| KeyError::NotAPublicKey;
        match (spki.algorithm.oid, spki.algorithm.parameters_oid().ok()) {
            (ED25519, None) => VerifyingKey::try_from(spki).map(Self::Ed25519).map_err(unreadable),
            (EC, Some(P256)) => p256::ecdsa::VerifyingKey::try_from(spki).map(Self::P256).map_err(unreadable),
            (EC, Some(P384)) => p384::ecdsa::VerifyingKey::try_from(spki).map(Self::P384).map_err(unreadable),
            (EC, _) => Err(KeyError::Curve),
            _ => Err(KeyError::NotAPublicKey),
        }
    }

    fn scheme(&self) -> Scheme {
        match self {
            Self::Ed25519(_) => Scheme::Ed25519,
            Self::P256(_) => Scheme::EcdsaP256Sha256,
            Self::P384(_) => Scheme::EcdsaP384Sha384,
        }
    }

    /// The DER SubjectPublicKeyInfo as openssl writes it: EC points are not compressed.
    fn to_spki(&self) -> Result<Document, KeyError> {
        let der = match self {
            Self::Ed25519(key) => key.to_public_key_der(),
            Self::P256(key) => key.to_public_key_der(),
            Self::P384(key) => key.to_public_key_der(),
        };
        der.map_err(|_| KeyError::NotAPublicKey)
    }
}

/// A public key that was found good to use.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: Verifier,
    scheme: Scheme,
    id: KeyId,
    pem: String,
}

impl PublicKey {
    /// Reads an SPKI PEM. The scheme is the one that openssl uses the key with.
    ///
    /// # Errors
    /// Another format, another scheme, a weak key, or an encoding that openssl would not write.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let normal = pem.replace("\r\n", "\n");
        let (label, der) = Document::from_pem(&normal).map_err(|_| KeyError::NotAPublicKey)?;
        match label {
            "PUBLIC KEY" => {}
            label if label.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::NotAPublicKey),
        }
        let public = Self::new(Verifier::from_spki(der.as_bytes())?)?;
        if public.pem.trim_end() == normal.trim_end() { Ok(public) } else { Err(KeyError::OddEncoding) }
    }

    /// Reads an SPKI PEM that is listed for a scheme, as a trust root lists its keys. An Ed25519 key is
    /// listed for raw signatures or for those of ssh-keygen, never for both.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`], and a scheme that is not one of the key's algorithm.
    pub fn listed(scheme: Scheme, pem: &str) -> Result<Self, KeyError> {
        let public = Self::from_pem(pem)?;
        match (scheme, public.scheme) {
            (listed, found) if listed == found => Ok(public),
            (Scheme::SshsigEd25519, Scheme::Ed25519) => Ok(Self { scheme, ..public }),
            (listed, found) => Err(KeyError::OtherScheme { listed, found }),
        }
    }

    /// Reads the one line of an OpenSSH public key file, `ssh-ed25519 AAAA… comment`. The scheme is
    /// [`Scheme::SshsigEd25519`].
    ///
    /// # Errors
    /// Another format or type of key, a weak key, or an encoding that ssh-keygen would not write.
    pub fn from_openssh(line: &str) -> Result<Self, KeyError> {
        let public = Self::new(Verifier::Ed25519(sshsig::from_line(line)?))?;
        Ok(Self { scheme: Scheme::SshsigEd25519, ..public })
    }

    /// Reads a public key file, PEM or OpenSSH by its text.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`] and [`PublicKey::from_openssh`].
    pub fn read(text: &str) -> Result<Self, KeyError> {
        if text.contains("-----BEGIN ") { Self::from_pem(text) } else { Self::from_openssh(text) }
    }

    pub(super) fn new(key: Verifier) -> Result<Self, KeyError> {
        if let Verifier::Ed25519(key) = &key {
            if key.is_weak() {
                return Err(KeyError::Weak);
            }
            if key.to_edwards().compress().as_bytes() != key.as_bytes() {
                return Err(KeyError::OddEncoding);
            }
        }
        let der = key.to_spki()?;
        let pem = der.to_pem("PUBLIC KEY", LineEnding::LF).map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self { scheme: key.scheme(), id: KeyId(Digest::of(der.as_bytes())), pem, key })
    }

    /// The key's identity.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// How it signs.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// SPKI PEM with one final line feed, as openssl writes it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as OpenSSH writes it, without comment and line feed; there is one for Ed25519 only.
    #[must_use]
    pub fn openssh(&self) -> Option<String> {
        match &self.key {
            Verifier::Ed25519(key) => Some(sshsig::line(key)),
            Verifier::P256(_) | Verifier::P384(_) => None,
        }
    }

    /// The key's point, if it is an Ed25519 key.
    pub(super) fn ed25519(&self) -> Option<&VerifyingKey> {
        match &self.key {
            Verifier::Ed25519(key) => Some(key),
            Verifier::P256(_) | Verifier::P384(_) => None,
        }
    }

    /// Whether this is an ECDSA signature of this key over this hash. For explaining a mistake only: who can
    /// choose the hash can make a signature for it.
    pub(super) fn verifies_prehash(&self, hash: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Verifier::Ed25519(_) => false,
            Verifier::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|parsed| key.verify_prehash(hash, &parsed).is_ok()),
            Verifier::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|parsed| key.verify_prehash(hash, &parsed).is_ok()),
        }
    }

    /// Whether this is this key's signature over exactly these bytes, in the form that is stored.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Verifier::Ed25519(key) if self.scheme == Scheme::SshsigEd25519 => {
                sshsig::verifies(key, bytes, signature)
            }
            Verifier::Ed25519(key) => {
                let raw = <&[u8; ED25519_SIGNATURE_BYTES]>::try_from(signature);
                raw.is_ok_and(|raw| {
                    key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(raw)).is_ok()
                })
            }
            // Of the two numbers s and n - s both are taken: openssl and hardware tokens write either, and a
            // signature is never an identity here. What is compared is the encoding, so that there is one.
            Verifier::P256(key) => p256::ecdsa::Signature::from_der(signature).is_ok_and(|parsed| {
                parsed.to_der().as_bytes() == signature && key.verify(bytes, &parsed).is_ok()
            }),
            Verifier::P384(key) => p384::ecdsa::Signature::from_der(signature).is_ok_and(|parsed| {
                parsed.to_der().as_bytes() == signature && key.verify(bytes, &parsed).is_ok()
            }),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.scheme, self.id)
    }
}
