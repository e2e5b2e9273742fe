//! Ed25519 as OpenSSH writes it: the public key's line, and the armoured signature of `ssh-keygen -Y sign`
//! (PROTOCOL.sshsig, version 1).
//!
//! Everything in such a signature but its last 64 bytes follows from the key, the namespace and the name of
//! the hash. So nothing is parsed: what a signer would have written is made, and compared.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256, Sha512};

use super::{ED25519_SIGNATURE_BYTES, KeyError};

/// What a signature is for. It keeps a signature that an SSH key made for mail or git from being one over a
/// bundle.
pub const SSHSIG_NAMESPACE: &str = "airlock";

const KEY_TYPE: &str = "ssh-ed25519";
const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// Where ssh-keygen breaks the lines of an armour.
const LINE_CHARACTERS: usize = 70;

/// How the bytes are hashed before they are signed. The signature names it; both are full-strength.
#[derive(Clone, Copy)]
enum Hash {
    Sha512,
    Sha256,
}

impl Hash {
    const ALL: [Self; 2] = [Self::Sha512, Self::Sha256];

    fn name(self) -> &'static [u8] {
        match self {
            Self::Sha512 => b"sha512",
            Self::Sha256 => b"sha256",
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }
}

/// An SSH `string`: its length in four bytes, then its bytes.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A type's name and its content, as keys and signatures are written.
fn typed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    string(&mut out, KEY_TYPE.as_bytes());
    string(&mut out, content);
    out
}

/// Everything before the 64 bytes of the signature itself.
fn head(key: &VerifyingKey, hash: Hash) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    string(&mut out, &typed(key.as_bytes()));
    string(&mut out, SSHSIG_NAMESPACE.as_bytes());
    string(&mut out, b"");
    string(&mut out, hash.name());
    string(&mut out, &typed(&[0; ED25519_SIGNATURE_BYTES]));
    out.truncate(out.len() - ED25519_SIGNATURE_BYTES);
    out
}

/// What the key really signs.
fn signed_bytes(hash: Hash, bytes: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    string(&mut out, SSHSIG_NAMESPACE.as_bytes());
    string(&mut out, b"");
    string(&mut out, hash.name());
    string(&mut out, &hash.of(bytes));
    out
}

/// Whether this is the key's signature over these bytes, in the one spelling that ssh-keygen writes.
pub(super) fn verifies(key: &VerifyingKey, bytes: &[u8], armoured: &[u8]) -> bool {
    let Some(blob) = dearmour(armoured) else { return false };
    Hash::ALL.into_iter().any(|hash| {
        let signature = blob.strip_prefix(head(key, hash).as_slice());
        signature
            .and_then(|signature| Signature::from_slice(signature).ok())
            .is_some_and(|signature| key.verify_strict(&signed_bytes(hash, bytes), &signature).is_ok())
    })
}

/// The bytes inside an armour that is written as ssh-keygen writes it.
pub(super) fn dearmour(armoured: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(armoured).ok()?;
    let body: String = text.strip_prefix(BEGIN)?.strip_suffix(END)?.lines().collect();
    let blob = STANDARD.decode(body).ok()?;
    (armour(&blob) == text).then_some(blob)
}

/// Whom and what for an SSH signature is.
pub(super) enum Origin {
    OtherKey,
    OtherNamespace,
    Ours,
}

/// Looks at the key and the namespace that an SSH signature names, to explain why it does not verify.
pub(super) fn origin(key: &VerifyingKey, armoured: &[u8]) -> Option<Origin> {
    let blob = dearmour(armoured)?;
    let rest = blob.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
    let mut ours = Vec::new();
    string(&mut ours, &typed(key.as_bytes()));
    let Some(rest) = rest.strip_prefix(ours.as_slice()) else { return Some(Origin::OtherKey) };
    let mut namespace = Vec::new();
    string(&mut namespace, SSHSIG_NAMESPACE.as_bytes());
    Some(if rest.starts_with(&namespace) { Origin::Ours } else { Origin::OtherNamespace })
}

/// The armour around these bytes.
fn armour(blob: &[u8]) -> String {
    let mut text = String::from(BEGIN);
    for (index, character) in STANDARD.encode(blob).chars().enumerate() {
        if index > 0 && index % LINE_CHARACTERS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(END);
    text
}

/// The public key as a line without its comment and line feed: `ssh-ed25519 AAAA…`.
pub(super) fn line(key: &VerifyingKey) -> String {
    alloc::format!("{KEY_TYPE} {}", STANDARD.encode(typed(key.as_bytes())))
}

/// Reads the line of a public key; a comment at its end is no part of the key.
pub(super) fn from_line(text: &str) -> Result<VerifyingKey, KeyError> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\r']) {
        return Err(KeyError::NotAPublicKey);
    }
    let mut words = line.splitn(3, ' ');
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind != KEY_TYPE {
        let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start));
        return Err(if known { KeyError::SshKeyType } else { KeyError::NotAPublicKey });
    }
    let blob = STANDARD.decode(body).map_err(|_| KeyError::NotAPublicKey)?;
    let prefix = typed(&[0; 32]);
    let prefix = prefix.get(..prefix.len() - 32).unwrap_or_default();
    let raw = blob.strip_prefix(prefix).and_then(|raw| <&[u8; 32]>::try_from(raw).ok());
    VerifyingKey::from_bytes(raw.ok_or(KeyError::NotAPublicKey)?).map_err(|_| KeyError::NotAPublicKey)
}
