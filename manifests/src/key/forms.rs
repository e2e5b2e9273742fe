//! Signatures as tools give them, and the one form that is stored.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PublicKey, Scheme};

/// The longest file with a signature that is read: the longest stored form in base64, with room.
pub const SIGNATURE_FILE_BYTES_MAX: u64 = 4096;

impl PublicKey {
    /// The form in which this signature over these bytes is stored, if it is this key's.
    ///
    /// `given` is what tools write: the stored form itself; base64 of it, with or without line feeds, as
    /// cosign prints it; for ECDSA also the two numbers of one length each, as PKCS#11 tokens give them;
    /// an armoured SSH signature with other line ends.
    #[must_use]
    pub fn stored_form(&self, bytes: &[u8], given: &[u8]) -> Option<Vec<u8>> {
        self.candidates(given).into_iter().find(|candidate| self.verifies(bytes, candidate))
    }

    /// What could be meant, the most direct reading first. None of them is believed without a check.
    pub(super) fn candidates(&self, given: &[u8]) -> Vec<Vec<u8>> {
        if given.len() as u64 > SIGNATURE_FILE_BYTES_MAX {
            return Vec::new();
        }
        let mut readings = vec![given.to_vec()];
        readings.extend(from_base64(given));
        let mut candidates = Vec::new();
        for reading in readings {
            candidates.extend(self.in_scheme(&reading));
            candidates.push(reading);
        }
        candidates
    }

    /// The reading in the form of the key's scheme, if it has another form there.
    fn in_scheme(&self, reading: &[u8]) -> Option<Vec<u8>> {
        match self.scheme() {
            Scheme::Ed25519 => None,
            Scheme::EcdsaP384Sha384 => {
                let signature = p384::ecdsa::Signature::from_slice(reading).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Scheme::EcdsaP256Sha256 => {
                let signature = p256::ecdsa::Signature::from_slice(reading).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Scheme::SshsigEd25519 => {
                let text = core::str::from_utf8(reading).ok()?;
                let lines = text.trim().lines().map(str::trim_end);
                let armoured: String = lines.flat_map(|line| [line, "\n"]).collect();
                Some(armoured.into_bytes())
            }
        }
    }
}

/// What the text says, if it is base64 with nothing but white space around and between.
fn from_base64(given: &[u8]) -> Option<Vec<u8>> {
    let body: Vec<u8> = given.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}
