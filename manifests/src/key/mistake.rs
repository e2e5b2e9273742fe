//! What a signature that does not verify is instead. Each guess is checked: a signature says what it is over
//! to whoever has the key and the guess.

use alloc::vec;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::sshsig::{self, Origin};
use super::{PublicKey, Scheme};

/// A usual way to sign something else than the very bytes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// Over no bytes at all.
    Nothing,
    /// Over the digest of the document.
    Digest,
    /// Over the digest as text.
    DigestAsText,
    /// A line feed was added, or the last one is missing.
    LineFeed,
    /// ECDSA over the bytes themselves instead of their hash.
    NotHashed,
    /// ECDSA over another hash than the scheme's.
    OtherHash,
    /// An SSH signature for something else.
    OtherNamespace,
    /// An SSH signature by another key.
    OtherSshKey,
    /// An SSH signature, and the key is not an SSH key.
    SshSignature,
    /// A raw signature, and the key is an SSH key.
    RawSignature,
    /// A JSON document.
    SigstoreBundle,
}

impl core::fmt::Display for Mistake {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "it is over no bytes at all: the tool has read nothing, as some do from a pipe; name the file",
            Self::Digest => "it is over the digest of the file: sign the file itself",
            Self::DigestAsText => "it is over the digest of the file, written as text: sign the file itself",
            Self::LineFeed => "it is over the file with a line feed more or less at its end: sign the file as it is",
            Self::NotHashed => "it is over the file without a hash: give the tool the file's digest, or a mechanism that hashes",
            Self::OtherHash => "it is over another hash of the file than the one that belongs to the key's curve: SHA-256 for P-256, SHA-384 for P-384",
            Self::OtherNamespace => "it is an SSH signature for another namespace: sign with `ssh-keygen -Y sign -n airlock`",
            Self::OtherSshKey => "it is an SSH signature by another key",
            Self::SshSignature => "it is an SSH signature: give the SSH public key (`ssh-ed25519 …`) with it",
            Self::RawSignature => "it is a raw signature: give the key as PEM, not as an SSH line",
            Self::SigstoreBundle => "it is a JSON document: give the signature alone (cosign: --output-signature)",
        })
    }
}

impl PublicKey {
    /// Why a signature over these bytes does not verify, if it is one of the usual mistakes. `None` is left
    /// for another key, other bytes, or no signature at all.
    #[must_use]
    pub fn mistake(&self, bytes: &[u8], given: &[u8]) -> Option<Mistake> {
        // The whole of it is read: one raw signature in 256 begins with a brace.
        if given.trim_ascii_start().starts_with(b"{")
            && serde_json::from_slice::<serde::de::IgnoredAny>(given).is_ok()
        {
            return Some(Mistake::SigstoreBundle);
        }
        let over = |other: &[u8]| self.stored_form(other, given).is_some();
        let found = other_bytes(bytes).into_iter().find(|(other, _)| over(other)).map(|(_, mistake)| mistake);
        found.or_else(|| match self.scheme() {
            Scheme::SshsigEd25519 => self.other_ssh(bytes, given),
            Scheme::Ed25519 => {
                given.trim_ascii_start().starts_with(b"-----BEGIN SSH").then_some(Mistake::SshSignature)
            }
            Scheme::EcdsaP384Sha384 | Scheme::EcdsaP256Sha256 => self.other_hash(bytes, given),
        })
    }

    fn other_ssh(&self, bytes: &[u8], given: &[u8]) -> Option<Mistake> {
        let raw = Self::listed(Scheme::Ed25519, self.pem()).ok()?;
        if raw.stored_form(bytes, given).is_some() {
            return Some(Mistake::RawSignature);
        }
        self.candidates(given).iter().find_map(|candidate| {
            match sshsig::origin(self.ed25519()?, candidate)? {
                Origin::OtherKey => Some(Mistake::OtherSshKey),
                Origin::OtherNamespace => Some(Mistake::OtherNamespace),
                Origin::Ours => None,
            }
        })
    }

    fn other_hash(&self, bytes: &[u8], given: &[u8]) -> Option<Mistake> {
        let candidates = self.candidates(given);
        let over = |hash: &[u8]| candidates.iter().any(|candidate| self.verifies_prehash(hash, candidate));
        let hashes =
            [Sha256::digest(bytes).to_vec(), Sha384::digest(bytes).to_vec(), Sha512::digest(bytes).to_vec()];
        if hashes.iter().any(|hash| over(hash)) {
            return Some(Mistake::OtherHash);
        }
        over(bytes).then_some(Mistake::NotHashed)
    }
}

/// What people sign in place of these bytes.
fn other_bytes(bytes: &[u8]) -> Vec<(Vec<u8>, Mistake)> {
    let mut others = vec![(Vec::new(), Mistake::Nothing), ([bytes, b"\n"].concat(), Mistake::LineFeed)];
    others.extend(bytes.strip_suffix(b"\n").map(|shorter| (shorter.to_vec(), Mistake::LineFeed)));
    let digests =
        [Sha256::digest(bytes).to_vec(), Sha384::digest(bytes).to_vec(), Sha512::digest(bytes).to_vec()];
    for digest in digests {
        let hex: alloc::string::String = digest.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        for text in [
            hex.clone(),
            alloc::format!("{hex}\n"),
            alloc::format!("sha256:{hex}"),
            alloc::format!("sha256:{hex}\n"),
            alloc::format!("{hex}  bundle.json\n"),
            STANDARD.encode(&digest),
        ] {
            others.push((text.into_bytes(), Mistake::DigestAsText));
        }
        others.push((digest, Mistake::Digest));
    }
    others
}
