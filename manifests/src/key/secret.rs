//! Private keys: made from random bytes, read and written as PKCS#8 v1 (OpenSSL 3.0 cannot read v2), plain
//! or encrypted with PBES2.
//!
//! A [`SecretKey`] has no `Debug` and is wiped when dropped, and so is every text that holds one.

use alloc::string::String;
use alloc::vec::Vec;

use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::{Signer as _, SigningKey};
use pkcs8::der::{Decode as _, SecretDocument};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::{EncodePrivateKey, EncryptedPrivateKeyInfoOwned, LineEnding, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::public::{EC, ED25519, P256, P384, Verifier};
use super::{KeyError, PublicKey, Scheme};

/// How often a passphrase is hashed for a key that we write: about a quarter of a second for each guess.
pub const PBKDF2_ITERATIONS: u32 = 600_000;
/// How often a file may ask for: a few seconds.
pub const PBKDF2_ITERATIONS_MAX: u32 = 5_000_000;
/// How much memory a file may ask for, and also how much of it may be filled in turn; openssl stops at half
/// of it.
pub const SCRYPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A source that gives no usable bytes this often gives none.
const DRAWS_MAX: usize = 16;

/// What a private key file can be that is not PKCS#8 in the clear, by what it says of itself.
const OTHER_FORMATS: [(&str, KeyError); 6] = [
    ("-----BEGIN ENCRYPTED PRIVATE KEY-----", KeyError::Encrypted),
    ("-----BEGIN EC PRIVATE KEY-----", KeyError::Traditional),
    ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", KeyError::Sigstore),
    ("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----", KeyError::Sigstore),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", KeyError::OpenSsh),
    ("-----BEGIN PUBLIC KEY-----", KeyError::NotAPrivateKey),
];

/// The arithmetic of a key.
enum Signer {
    Ed25519(SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

/// A private key. It has no `Debug` and is wiped when dropped.
pub struct SecretKey(Signer);

impl SecretKey {
    /// An Ed25519 key from 32 bytes of a good random source.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Signer::Ed25519(SigningKey::from_bytes(seed)))
    }

    /// A new key. `fill` fills a buffer with good random bytes; an EC key takes another draw where the
    /// number is not below the order of its curve, so that every key is as likely as every other.
    ///
    /// # Errors
    /// Those of `fill`, a scheme whose keys are not made here, or bytes that are not random.
    pub fn generate<E: From<KeyError>>(
        scheme: Scheme,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let length = match scheme {
            Scheme::Ed25519 | Scheme::EcdsaP256Sha256 => 32,
            Scheme::EcdsaP384Sha384 => 48,
            Scheme::SshsigEd25519 => return Err(KeyError::NotMadeHere(scheme).into()),
        };
        let mut drawn = Zeroizing::new([0_u8; 48]);
        let drawn = drawn.get_mut(..length).unwrap_or_default();
        for _ in 0..DRAWS_MAX {
            fill(drawn)?;
            if let Some(signer) = from_random(scheme, drawn) {
                return Ok(Self(signer));
            }
        }
        Err(KeyError::Random.into())
    }

    /// Reads a PKCS#8 PEM that is not encrypted, as we or openssl write it.
    ///
    /// # Errors
    /// Another format or scheme, or [`KeyError::Encrypted`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if let Some((_, error)) = OTHER_FORMATS.iter().find(|(begin, _)| pem.contains(begin)) {
            return Err(*error);
        }
        let (label, der) = SecretDocument::from_pem(pem).map_err(|_| KeyError::NotAPrivateKey)?;
        if label == "PRIVATE KEY" { Self::from_der(der.as_bytes()) } else { Err(KeyError::NotAPrivateKey) }
    }

    /// Reads an encrypted PKCS#8 PEM, as we or openssl write it.
    ///
    /// # Errors
    /// As [`SecretKey::from_pem`] for what is not encrypted PKCS#8; an encryption that is not read here; one
    /// that asks for more work than is allowed; a wrong passphrase.
    pub fn from_encrypted_pem(pem: &str, passphrase: &[u8]) -> Result<Self, KeyError> {
        match Self::from_pem(pem) {
            Err(KeyError::Encrypted) => {}
            other => return other,
        }
        let (label, der) = SecretDocument::from_pem(pem).map_err(|_| KeyError::NotAPrivateKey)?;
        if label != "ENCRYPTED PRIVATE KEY" {
            return Err(KeyError::NotAPrivateKey);
        }
        let info =
            EncryptedPrivateKeyInfoOwned::from_der(der.as_bytes()).map_err(|_| KeyError::Encryption)?;
        let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
            return Err(KeyError::Encryption);
        };
        affordable(&parameters.kdf)?;
        let plain = info.decrypt(passphrase).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(
                pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. },
            ) => KeyError::Encryption,
            _ => KeyError::WrongPassphrase,
        })?;
        // One wrong passphrase in 256 leaves a padding that looks right, over noise.
        PrivateKeyInfoRef::from_der(plain.as_bytes()).map_err(|_| KeyError::WrongPassphrase)?;
        Self::from_der(plain.as_bytes())
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::NotAPrivateKey)?;
        let unreadable = |_| KeyError::NotAPrivateKey;
        let signer = match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
            (ED25519, None) => SigningKey::try_from(info).map(Signer::Ed25519).map_err(unreadable)?,
            (EC, Some(P256)) => {
                p256::ecdsa::SigningKey::try_from(info).map(Signer::P256).map_err(unreadable)?
            }
            (EC, Some(P384)) => {
                p384::ecdsa::SigningKey::try_from(info).map(Signer::P384).map_err(unreadable)?
            }
            (EC, _) => return Err(KeyError::Curve),
            _ => return Err(KeyError::NotAPrivateKey),
        };
        Ok(Self(signer))
    }

    fn to_der(&self) -> Result<SecretDocument, KeyError> {
        let der = match &self.0 {
            Signer::Ed25519(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der()
            }
            Signer::P256(key) => key.to_pkcs8_der(),
            Signer::P384(key) => key.to_pkcs8_der(),
        };
        der.map_err(|_| KeyError::NotAPrivateKey)
    }

    /// PKCS#8 v1 PEM.
    ///
    /// # Errors
    /// None in practice; the encoder's signature has one.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.to_der()?.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| KeyError::NotAPrivateKey)
    }

    /// PKCS#8 PEM, encrypted with AES-256-CBC under a key that PBKDF2-HMAC-SHA-256 makes of the passphrase.
    /// `salt` and `iv` are good random bytes that were used for nothing else.
    ///
    /// # Errors
    /// An empty passphrase.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &[u8],
        salt: &[u8; 16],
        iv: &[u8; 16],
    ) -> Result<String, KeyError> {
        if passphrase.is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        let failed = |_| KeyError::Encryption;
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(PBKDF2_ITERATIONS, salt, *iv);
        let parameters = parameters.map_err(failed)?;
        let encrypted = parameters.encrypt(passphrase, self.to_der()?.as_bytes()).map_err(failed)?;
        let info = EncryptedPrivateKeyInfoOwned {
            encryption_algorithm: parameters.into(),
            encrypted_data: pkcs8::der::asn1::OctetString::new(encrypted)
                .map_err(|_| KeyError::Encryption)?,
        };
        let der = SecretDocument::try_from(info).map_err(|_| KeyError::Encryption)?;
        let pem = der.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).map_err(|_| KeyError::Encryption)?;
        Ok(pem.as_str().into())
    }

    /// How it signs.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match &self.0 {
            Signer::Ed25519(_) => Scheme::Ed25519,
            Signer::P256(_) => Scheme::EcdsaP256Sha256,
            Signer::P384(_) => Scheme::EcdsaP384Sha384,
        }
    }

    /// The public half.
    ///
    /// # Errors
    /// A key of small order, which no random seed gives.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::new(match &self.0 {
            Signer::Ed25519(key) => Verifier::Ed25519(key.verifying_key()),
            Signer::P256(key) => Verifier::P256(*key.verifying_key()),
            Signer::P384(key) => Verifier::P384(*key.verifying_key()),
        })
    }

    /// Signs exactly these bytes, in the form that is stored. The same bytes give the same signature: RFC
    /// 8032, and RFC 6979 for ECDSA, so a bad random source at this moment cannot give the key away.
    ///
    /// # Errors
    /// [`KeyError::SelfCheck`]: the signature is checked before anybody sees it, as a faulty one can give
    /// the key away.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.0 {
            Signer::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
            Signer::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(bytes);
                signature.as_bytes().to_vec()
            }
            Signer::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.sign(bytes);
                signature.as_bytes().to_vec()
            }
        };
        if self.public()?.verifies(bytes, &signature) { Ok(signature) } else { Err(KeyError::SelfCheck) }
    }
}

/// The key that these bytes are; EC keys are refused at zero and from the order of the curve.
fn from_random(scheme: Scheme, drawn: &[u8]) -> Option<Signer> {
    match scheme {
        Scheme::Ed25519 => {
            let seed = <&[u8; 32]>::try_from(drawn).ok()?;
            (*seed != [0; 32]).then(|| Signer::Ed25519(SigningKey::from_bytes(seed)))
        }
        Scheme::EcdsaP256Sha256 => p256::ecdsa::SigningKey::from_slice(drawn).ok().map(Signer::P256),
        Scheme::EcdsaP384Sha384 => p384::ecdsa::SigningKey::from_slice(drawn).ok().map(Signer::P384),
        Scheme::SshsigEd25519 => None,
    }
}

/// Whether the work that a file asks for is within bounds: the numbers in it come from outside.
fn affordable(kdf: &Kdf) -> Result<(), KeyError> {
    let within = match kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= PBKDF2_ITERATIONS_MAX,
        Kdf::Scrypt(parameters) => {
            let (blocks, size) = (parameters.cost_parameter, u64::from(parameters.block_size));
            // Others are no parameters of scrypt, and the crate below takes that for granted.
            if blocks < 2 || !blocks.is_power_of_two() {
                return Err(KeyError::Encryption);
            }
            let factors = [blocks, size, u64::from(parameters.parallelization)];
            let bytes = factors.iter().try_fold(128_u64, |product, factor| product.checked_mul(*factor));
            bytes.is_some_and(|bytes| bytes <= SCRYPT_BYTES_MAX)
        }
        _ => return Err(KeyError::Encryption),
    };
    if within { Ok(()) } else { Err(KeyError::TooCostly) }
}
