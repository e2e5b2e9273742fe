//! A receipt as one file: two lines, so that `sed`, `base64` and `openssl` are enough to check it.
//!
//! ```text
//! {"blobs":…,"schema":"airlock-receipt/v1",…}              the document: these bytes and their line feed are signed
//! {"keyid":"<64 hex digits>","signature":"<base64>"}       by whom, and how
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::root::SIGNATURE_BYTES_MAX;
use crate::string_form::string_form;

/// Bounds a receipt, in any of its forms. One of a hundred thousand blobs is half as long.
pub const RECEIPT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How each form begins, or what it says of itself in each line.
const MARK: &[u8] = b"airlock-receipt/";

/// The first bytes of every document: one that was cut off has them all the same.
const HEAD: &[u8] = b"{\"blobs\":{\"count\":";

/// A receipt as it came; nothing is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    /// Both lines.
    file: Vec<u8>,
    /// Where the second one begins.
    second: usize,
    claimed: KeyId,
    signature: RawSignature,
}

/// Why bytes are not a receipt in this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// Nothing of it is ours.
    #[error("it is not a receipt")]
    NotAReceipt,
    /// Not two whole lines.
    #[error("it is cut off: a receipt has two lines, each with its line feed")]
    Lines,
    /// The second line is not one of ours.
    #[error("its second line is not a signature as this program writes it")]
    SignatureLine,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureLine {
    keyid: KeyId,
    signature: RawSignature,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RawSignature(Vec<u8>);

impl fmt::Display for RawSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = STANDARD.encode(&self.0);
        f.write_str(&text)
    }
}

impl FromStr for RawSignature {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        let bytes = STANDARD.decode(text).map_err(|_| FormError::SignatureLine)?;
        if bytes.len() as u64 > SIGNATURE_BYTES_MAX {
            return Err(FormError::SignatureLine);
        }
        Ok(Self(bytes))
    }
}

string_form!(RawSignature);

/// Whether bytes say that they are a receipt, in any form, whole or not.
#[must_use]
pub fn looks_like_receipt(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD) || bytes.windows(MARK.len()).any(|window| window == MARK)
}

impl SignedReceipt {
    /// A document with its signature.
    ///
    /// # Errors
    /// None for a receipt.
    pub fn new(document: Vec<u8>, claimed: KeyId, signature: Vec<u8>) -> Result<Self, CanonicalError> {
        let signature = RawSignature(signature);
        let line = SignatureLine { keyid: claimed, signature: signature.clone() };
        let (second, mut file) = (document.len(), document);
        file.extend(canonical::to_canonical(&line)?);
        Ok(Self { file, second, claimed, signature })
    }

    /// Tells the two lines of a file apart. Nothing is parsed but the second one.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        if !looks_like_receipt(bytes) {
            return Err(FormError::NotAReceipt);
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let (Some(document), Some(line), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(FormError::Lines);
        };
        if !line.ends_with(b"\n") {
            return Err(FormError::Lines);
        }
        let line: SignatureLine = canonical::from_canonical(line).map_err(|_| FormError::SignatureLine)?;
        let (file, second) = (bytes.to_vec(), document.len());
        Ok(Self { file, second, claimed: line.keyid, signature: line.signature })
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// The signed bytes: the first line.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        self.file.get(..self.second).unwrap_or_default()
    }

    /// Whose signature it claims to be.
    #[must_use]
    pub fn claimed(&self) -> KeyId {
        self.claimed
    }

    /// The signature: raw, or for ECDSA DER.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature.0
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.file)
    }
}
