//! SHA-256 digests in the spelling of the OCI image spec (`sha256:` and 64 lower-case hex digits).
//!
//! Only sha256: of the consumers a bundle must suit, Docker and containerd refuse sha512 in a layout.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use sha2::Digest as _;

use crate::string_form::string_form;

/// The SHA-256 digest of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The algorithm is missing or another one.
    #[error("digest does not start with `sha256:`")]
    Algorithm,
    /// Not 64 digits.
    #[error("digest has {found} digits after `sha256:`, expected 64")]
    Length {
        /// How many were there.
        found: usize,
    },
    /// Something other than a lower-case hex digit.
    #[error("digest has `{found}` at offset {offset}, expected one of 0-9a-f")]
    Character {
        /// What was there.
        found: char,
        /// Counted from the first hex digit.
        offset: usize,
    },
}

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// From 64 lower-case hex digits, as `sha256sum` prints them.
    ///
    /// # Errors
    /// Another length, or another character.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let mut bytes = [0_u8; 32];
        for (offset, found) in hex.chars().enumerate() {
            let value = match found {
                '0'..='9' => found as u8 - b'0',
                'a'..='f' => found as u8 - b'a' + 10,
                _ => return Err(DigestError::Character { found, offset }),
            };
            if let Some(byte) = bytes.get_mut(offset / 2) {
                *byte = *byte << 4 | value;
            }
        }
        if hex.len() != 64 {
            return Err(DigestError::Length { found: hex.len() });
        }
        Ok(Self(bytes))
    }

    /// From the 32 bytes themselves.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(DIGITS.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit)));
            }
        }
        hex
    }

    /// The first twelve hex digits: for people's eyes and directory names, never for a decision.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::from_hex(text.strip_prefix("sha256:").ok_or(DigestError::Algorithm)?)
    }
}

string_form!(Digest);

/// Computes a [`Digest`] and a length while bytes pass by.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    size: u64,
}

impl Hasher {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    /// Bytes seen so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all that was seen.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn spells_the_digest_of_nothing_as_sha256sum_does() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").hex(), empty);
        assert_eq!(Digest::from_hex(empty), Ok(Digest::of(b"")));
    }

    #[test]
    fn refuses_every_other_spelling() {
        let hex = Digest::of(b"x").hex();
        assert_eq!(hex.parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(std::format!("md5:{hex}").parse::<Digest>(), Err(DigestError::Algorithm));
        assert_eq!(std::format!("SHA256:{hex}").parse::<Digest>(), Err(DigestError::Algorithm));
        let upper = std::format!("sha256:{}", hex.to_uppercase());
        assert!(matches!(upper.parse::<Digest>(), Err(DigestError::Character { .. })));
        assert_eq!("sha256:abc".parse::<Digest>(), Err(DigestError::Length { found: 3 }));
        let long = std::format!("sha256:{hex}0");
        assert_eq!(long.parse::<Digest>(), Err(DigestError::Length { found: 65 }));
        assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn display_and_parse_are_inverse(bytes: std::vec::Vec<u8>) {
            let digest = Digest::of(&bytes);
            proptest::prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            let mut hasher = Hasher::new();
            for chunk in bytes.chunks(3) { hasher.update(chunk); }
            proptest::prop_assert_eq!(hasher.size(), bytes.len() as u64);
            proptest::prop_assert_eq!(hasher.finish(), digest);
        }
    }
}
