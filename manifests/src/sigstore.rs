//! The form of a signature that Sigstore's tools take: a *bundle* of media type v0.3 (their word) with a
//! message signature and a hint of the public key, as in `sigstore_bundle.proto` of sigstore/protobuf-specs.
//!
//! It is a pure function of what is public already: the key's id, the raw signature and `bundle.json`. So
//! nobody here ever parses one. Whoever finds one derives it again and demands the same bytes: a file of
//! this kind that says anything else (another key, a certificate) is not ours.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use crate::key::{ED25519_SIGNATURE_BYTES, KeyId};

/// Bounds what is read of a derived form: that of the longest signature we know has 450 bytes.
pub const FORM_BYTES_MAX: u64 = 1024;

/// The longest ECDSA signature on P-256, in DER. One on P-384 is some thirty bytes longer; that it is not
/// longer than this has a chance of less than one in 2^200.
const P256_SIGNATURE_BYTES_MAX: usize = 72;

/// The longest ECDSA signature on P-384, in DER.
const P384_SIGNATURE_BYTES_MAX: usize = 104;

/// With which hash a derived form names the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageDigest {
    /// For Ed25519, which uses none itself, and for ECDSA on P-256.
    Sha256,
    /// For ECDSA on P-384.
    Sha384,
}

impl MessageDigest {
    /// The one that goes with a raw signature, told by its length and its first bytes: 64 bytes are
    /// Ed25519, a DER sequence is ECDSA. `None` for anything else, which has no derived form.
    #[must_use]
    pub fn of_signature(raw: &[u8]) -> Option<Self> {
        if raw.len() == ED25519_SIGNATURE_BYTES {
            return Some(Self::Sha256);
        }
        let [0x30, length, rest @ ..] = raw else { return None };
        if usize::from(*length) != rest.len() || raw.len() > P384_SIGNATURE_BYTES_MAX {
            return None;
        }
        Some(if raw.len() <= P256_SIGNATURE_BYTES_MAX { Self::Sha256 } else { Self::Sha384 })
    }

    /// The name that Sigstore has for it, and the digest of these bytes in base64.
    fn name_and_digest(self, bytes: &[u8]) -> (&'static str, String) {
        match self {
            Self::Sha256 => ("SHA2_256", STANDARD.encode(sha2::Sha256::digest(bytes))),
            Self::Sha384 => ("SHA2_384", STANDARD.encode(sha2::Sha384::digest(bytes))),
        }
    }
}

/// The derived form of a raw signature over `manifest`, the bytes of `bundle.json`, in canonical JSON.
/// `None` if signatures of its kind have none. The signature is not checked.
#[must_use]
pub fn derive(keyid: KeyId, raw: &[u8], manifest: &[u8]) -> Option<Vec<u8>> {
    let (algorithm, digest) = MessageDigest::of_signature(raw)?.name_and_digest(manifest);
    let hint = STANDARD.encode(keyid.digest().as_bytes());
    let signature = STANDARD.encode(raw);
    // Every value is base64 or a constant, so there is nothing to escape.
    let form = format!(
        "{{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\
         \"messageSignature\":{{\"messageDigest\":{{\"algorithm\":\"{algorithm}\",\"digest\":\"{digest}\"}},\
         \"signature\":\"{signature}\"}},\
         \"verificationMaterial\":{{\"publicKey\":{{\"hint\":\"{hint}\"}}}}}}\n"
    );
    Some(form.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use std::string::ToString;
    use std::vec;

    fn keyid() -> KeyId {
        Digest::of(b"key").hex().parse().unwrap()
    }

    fn der(length: usize) -> Vec<u8> {
        let mut raw = vec![0x30, u8::try_from(length - 2).unwrap()];
        raw.resize(length, 1);
        raw
    }

    #[test]
    fn is_canonical_and_holds_nothing_but_what_it_follows_from() {
        for (raw, algorithm, digest_bytes) in
            [(vec![7; 64], "SHA2_256", 32), (der(70), "SHA2_256", 32), (der(102), "SHA2_384", 48)]
        {
            let form = derive(keyid(), &raw, b"message").unwrap();
            assert!(form.len() as u64 <= FORM_BYTES_MAX / 2, "{} bytes", form.len());
            let document: serde_json::Value = crate::canonical::from_canonical(&form).unwrap();
            let text = |pointer: &str| document.pointer(pointer).unwrap().as_str().unwrap().to_string();
            let bytes = |pointer: &str| STANDARD.decode(text(pointer)).unwrap();
            assert_eq!(text("/mediaType"), "application/vnd.dev.sigstore.bundle.v0.3+json");
            assert_eq!(text("/messageSignature/messageDigest/algorithm"), algorithm);
            assert_eq!(bytes("/messageSignature/messageDigest/digest").len(), digest_bytes);
            assert_eq!(bytes("/messageSignature/signature"), raw);
            assert_eq!(bytes("/verificationMaterial/publicKey/hint"), Digest::of(b"key").as_bytes());
        }
    }

    #[test]
    fn every_input_shows_in_it() {
        let form = derive(keyid(), &[7; 64], b"message");
        assert_ne!(derive(keyid(), &[7; 64], b"massage"), form);
        assert_ne!(derive(keyid(), &[8; 64], b"message"), form);
        assert_ne!(derive(Digest::of(b"x").hex().parse().unwrap(), &[7; 64], b"message"), form);
    }

    #[test]
    fn what_is_neither_ed25519_nor_ecdsa_has_none() {
        let mut of_another_length = der(70);
        of_another_length.pop();
        for raw in [
            b"-----BEGIN SSH SIGNATURE-----\n".to_vec(),
            [b"SSHSIG".as_slice(), &[0; 150]].concat(),
            Vec::new(),
            vec![0x30],
            vec![7; 63],
            vec![7; 65],
            of_another_length,
            der(P384_SIGNATURE_BYTES_MAX + 1),
        ] {
            assert_eq!(derive(keyid(), &raw, b"message"), None, "{raw:?}");
        }
        assert!(derive(keyid(), &der(P256_SIGNATURE_BYTES_MAX), b"").is_some());
        assert!(derive(keyid(), &der(P384_SIGNATURE_BYTES_MAX), b"").is_some());
    }
}
