//! The trust root: whom a site trusts, for what, and how many of them it takes.
//!
//! `root.json` is signed as bundles are: raw signatures over its exact bytes, in files of their own. The
//! first one reaches a site with a fingerprint that came on another channel; each later one is signed by
//! the one before it and by itself ([`TrustRoot::succeed`], as TUF does it, specification §5.3).
//!
//! *Invariants:* a [`TrustRoot`] is signed by its own root role; every role can be met with the keys it
//! lists; every key is listed under its own digest; an unknown role, field or scheme is refused, because
//! what is not understood must not widen trust.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::key::{KeyError, KeyId, PublicKey, Scheme};
use crate::text::Name;
use crate::timestamp::Timestamp;

/// Bounds `root.json`: about 400 keys.
pub const ROOT_BYTES_MAX: u64 = 256 * 1024;
/// Bounds one signature: DER ECDSA on P-521 needs 139 bytes, RSA-4096 needs 512.
pub const SIGNATURE_BYTES_MAX: u64 = 512;
/// Bounds how many signatures are looked at.
pub const SIGNATURES_MAX: usize = 64;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSchema {
    /// This one.
    #[serde(rename = "airlock-root/v1")]
    V1,
}

/// `root.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDocument {
    /// What these bytes are.
    pub schema: RootSchema,
    /// Counts up by exactly one.
    pub version: u64,
    /// The first half of every bundle's order.
    pub epoch: u64,
    /// Whose bundles this root judges.
    pub publisher: Name,
    /// When it was made.
    pub created: Timestamp,
    /// Advisory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Every key, by its identity.
    pub keys: BTreeMap<KeyId, RootKey>,
    /// Who may do what.
    pub roles: Roles,
    /// The digest of the root before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

/// One key of the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// How it signs.
    pub scheme: Scheme,
    /// SPKI PEM.
    pub pem: String,
    /// The person who holds it. Two keys of one holder count once.
    pub holder: Name,
}

/// The roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Signs roots.
    pub root: Role,
    /// Signs bundles.
    pub release: Role,
    /// Signs revocations. Without it the root role does, which is the stricter one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Role>,
}

/// What it takes to act in a role: every clause must be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// At least one.
    pub clauses: Vec<Clause>,
}

/// `threshold` distinct holders out of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Sorted, each once.
    pub keyids: Vec<KeyId>,
    /// How many distinct holders. Zero would mean anybody, so the type has none.
    pub threshold: NonZeroU32,
}

/// Why a root is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Not a canonical document of this kind.
    #[error("the trust root is not valid")]
    Document(#[from] CanonicalError),
    /// Another fingerprint than the one from paper.
    #[error("the trust root's fingerprint is {found}, expected {expected}")]
    Fingerprint {
        /// SHA-256 of the file.
        found: Digest,
        /// What was typed.
        expected: Digest,
    },
    /// A key that cannot be used.
    #[error("key {keyid} of the trust root")]
    Key {
        /// Which.
        keyid: KeyId,
        /// Why.
        source: KeyError,
    },
    /// A key listed under an identity or scheme that is not its own.
    #[error("key {0} of the trust root is listed under an identity or scheme that is not its own")]
    KeyIdentity(KeyId),
    /// A rule of the roles is broken.
    #[error("the trust root's {role} role {rule}")]
    Role {
        /// `root`, `release` or `revocation`.
        role: &'static str,
        /// What is wrong.
        rule: &'static str,
    },
    /// The numbers of a first root.
    #[error("a trust root of version {0} cannot start a site's trust: it needs {1}")]
    Version(u64, &'static str),
    /// Not signed by its own root role.
    #[error("the trust root is not signed by its own root role: {0}")]
    SelfSignature(NotMet),
    /// Not signed by the root role of the root before it.
    #[error(
        "the new trust root is not signed by the root role of version {version}, which it is to follow: {reason}"
    )]
    Predecessor {
        /// The version of the root before.
        version: u64,
        /// What is missing.
        reason: NotMet,
    },
    /// It does not follow from the root before it.
    #[error("trust root version {found} cannot follow version {before}: {rule}")]
    Succession {
        /// The new root's version.
        found: u64,
        /// The version of the root before.
        before: u64,
        /// What is wrong.
        rule: &'static str,
    },
}

/// A signature as it was found: a file name that is only a hint, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSignature {
    /// The key that the file name claims.
    pub claimed: KeyId,
    /// Raw.
    pub bytes: Vec<u8>,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureVerdict {
    /// The key that the file name claims.
    pub keyid: KeyId,
    /// Its holder, if the root lists the key.
    pub holder: Option<Name>,
    /// Its scheme, if the root lists the key.
    pub scheme: Option<Scheme>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Good, and counted.
    Good,
    /// The root does not list the key for this role; looked at no further.
    NotInRole,
    /// The key was revoked: what it signs does not count any more.
    Revoked,
}

impl core::fmt::Display for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::NotInRole => "not counted: the key is not in the role",
            Self::Revoked => "not counted: the key is revoked",
        })
    }
}

impl SignatureVerdict {
    /// One line for people: key, holder, verdict.
    #[must_use]
    pub fn line(&self) -> String {
        let holder = self.holder.as_ref().map_or("unknown", Name::as_str);
        format!("{}  {holder}  {}", self.keyid, self.verdict)
    }
}

/// Why a role was not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMet {
    /// There is none.
    #[error("there is no signature")]
    Unsigned,
    /// A key that the root lists, with a signature that is not its own.
    #[error("the signature of key {0} does not fit these bytes")]
    Bad(KeyId),
    /// The same key twice.
    #[error("key {0} has signed twice")]
    Twice(KeyId),
    /// Enough holders, if a revoked key still counted.
    #[error("key {keyid} is revoked, and without it {found} of {threshold} needed holders have signed")]
    Revoked {
        /// Which key.
        keyid: KeyId,
        /// Distinct holders of the clause with a good signature by another key.
        found: usize,
        /// How many it takes.
        threshold: u32,
    },
    /// Not enough holders.
    #[error("{found} of {threshold} needed holders have signed ({keyids} keys may)")]
    Threshold {
        /// Distinct holders of the clause with a good signature.
        found: usize,
        /// How many it takes.
        threshold: u32,
        /// How many keys the clause lists.
        keyids: usize,
    },
}

/// Which role a signature is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    /// Signs roots.
    Root,
    /// Signs bundles.
    Release,
    /// Signs revocations.
    Revocation,
}

/// A root whose rules hold and whose own root role has signed it.
#[derive(Debug, Clone)]
pub struct TrustRoot {
    document: RootDocument,
    keys: BTreeMap<KeyId, PublicKey>,
    fingerprint: Digest,
}

impl RootDocument {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// A document that breaks a rule of [`TrustRoot`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, RootError> {
        self.check()?;
        Ok(canonical::to_canonical(self)?)
    }

    /// The holders of a clause's keys, for people: `alice, bob`.
    #[must_use]
    pub fn holders(&self, clause: &Clause) -> String {
        let holder = |keyid| self.keys.get(keyid).map(|key| key.holder.as_str());
        let holders: Vec<&str> = clause.keyids.iter().filter_map(holder).collect();
        holders.join(", ")
    }

    fn check(&self) -> Result<BTreeMap<KeyId, PublicKey>, RootError> {
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(RootError::Version(
                self.version,
                "version 1 without a previous root, or a later one with it",
            ));
        }
        let keys = self.public_keys()?;
        check_role("root", &self.roles.root, &self.keys)?;
        check_role("release", &self.roles.release, &self.keys)?;
        if let Some(role) = &self.roles.revocation {
            check_role("revocation", role, &self.keys)?;
        }
        Ok(keys)
    }

    fn public_keys(&self) -> Result<BTreeMap<KeyId, PublicKey>, RootError> {
        let mut keys = BTreeMap::new();
        for (keyid, listed) in &self.keys {
            let key = PublicKey::listed(listed.scheme, &listed.pem)
                .map_err(|source| RootError::Key { keyid: *keyid, source })?;
            if key.id() != *keyid || key.pem() != listed.pem {
                return Err(RootError::KeyIdentity(*keyid));
            }
            keys.insert(*keyid, key);
        }
        Ok(keys)
    }
}

fn check_role(name: &'static str, role: &Role, keys: &BTreeMap<KeyId, RootKey>) -> Result<(), RootError> {
    let broken = |rule| RootError::Role { role: name, rule };
    if role.clauses.is_empty() {
        return Err(broken("has no clause"));
    }
    for clause in &role.clauses {
        if !clause.keyids.is_sorted_by(|before, after| before < after) {
            return Err(broken("lists a key twice or out of order"));
        }
        let mut holders = BTreeSet::new();
        for keyid in &clause.keyids {
            holders.insert(
                &keys.get(keyid).ok_or_else(|| broken("lists a key that the root does not have"))?.holder,
            );
        }
        if (clause.threshold.get() as usize) > holders.len() {
            return Err(broken("needs more holders than its keys have"));
        }
    }
    Ok(())
}

impl TrustRoot {
    /// Takes a root whose fingerprint came on another channel.
    ///
    /// # Errors
    /// Another fingerprint (looked at before anything else), a rule broken, or no self-signature.
    pub fn pinned(bytes: &[u8], signatures: &[FoundSignature], expected: Digest) -> Result<Self, RootError> {
        let found = Digest::of(bytes);
        if found != expected {
            return Err(RootError::Fingerprint { found, expected });
        }
        Self::from_trusted_place(bytes, signatures)
    }

    /// Takes a root from where only its owner can write: the site's own directory, or a file that the
    /// person at the keyboard names. Never from the media.
    ///
    /// # Errors
    /// A rule broken, or no self-signature.
    pub fn from_trusted_place(bytes: &[u8], signatures: &[FoundSignature]) -> Result<Self, RootError> {
        let document: RootDocument = canonical::from_canonical(bytes)?;
        let keys = document.check()?;
        let root = Self { document, keys, fingerprint: Digest::of(bytes) };
        root.authorise(RoleName::Root, bytes, signatures).map_err(RootError::SelfSignature)?;
        Ok(root)
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &RootDocument {
        &self.document
    }

    /// SHA-256 of `root.json`: what is printed on paper.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    fn role(&self, name: RoleName) -> &Role {
        match name {
            RoleName::Root => &self.document.roles.root,
            RoleName::Release => &self.document.roles.release,
            RoleName::Revocation => {
                self.document.roles.revocation.as_ref().unwrap_or(&self.document.roles.root)
            }
        }
    }

    /// The root that follows this one. The signatures of *this* root's root role are checked over the raw
    /// bytes before anything in them is parsed.
    ///
    /// A root that has expired may still be followed: a site that was left alone for years must be able
    /// to catch up, one version after the other.
    ///
    /// # Errors
    /// This root's or the new one's own root role is not met, a rule is broken, or the new root is not the
    /// next one.
    pub fn succeed(&self, bytes: &[u8], signatures: &[FoundSignature]) -> Result<Self, RootError> {
        let (before, version) = (&self.document, self.document.version);
        self.authorise(RoleName::Root, bytes, signatures)
            .map_err(|reason| RootError::Predecessor { version, reason })?;
        let next = Self::from_trusted_place(bytes, signatures)?;
        let after = &next.document;
        let rules = [
            (after.publisher == before.publisher, "it is another publisher's"),
            (Some(after.version) == version.checked_add(1), "versions go up by exactly one"),
            (after.previous == Some(self.fingerprint), "it names another root as the one before it"),
            (
                after.epoch == before.epoch || Some(after.epoch) == before.epoch.checked_add(1),
                "the epoch stays, or goes up by one",
            ),
            (after.created >= before.created, "it is older than the one before it"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(RootError::Succession { found: after.version, before: version, rule }),
            None => Ok(next),
        }
    }

    /// Whether these signatures over these bytes meet the role, and what became of each.
    ///
    /// A signature by a key that the role does not list is reported and not counted: a bundle may carry
    /// more than this root knows of. A *bad* signature by a listed key refuses the whole: we would not
    /// have written it, so somebody else did.
    ///
    /// # Errors
    /// See [`NotMet`].
    pub fn authorise(
        &self,
        name: RoleName,
        bytes: &[u8],
        signatures: &[FoundSignature],
    ) -> Result<Vec<SignatureVerdict>, NotMet> {
        self.authorise_without(&BTreeSet::new(), name, bytes, signatures)
    }

    /// As [`TrustRoot::authorise`], and signatures of revoked keys do not count. They must fit the bytes
    /// all the same.
    ///
    /// # Errors
    /// See [`NotMet`].
    pub(crate) fn authorise_without(
        &self,
        revoked: &BTreeSet<KeyId>,
        name: RoleName,
        bytes: &[u8],
        signatures: &[FoundSignature],
    ) -> Result<Vec<SignatureVerdict>, NotMet> {
        let role = self.role(name);
        let (mut good, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut verdicts = Vec::new();
        for signature in signatures.iter().take(SIGNATURES_MAX) {
            let keyid = signature.claimed;
            // Also for a key that is not listed: two files of one name are two things to two readers.
            if !seen.insert(keyid) {
                return Err(NotMet::Twice(keyid));
            }
            let listed = role.clauses.iter().any(|clause| clause.keyids.contains(&keyid));
            let (Some(key), Some(entry)) = (self.keys.get(&keyid), self.document.keys.get(&keyid)) else {
                verdicts.push(SignatureVerdict {
                    keyid,
                    holder: None,
                    scheme: None,
                    verdict: Verdict::NotInRole,
                });
                continue;
            };
            if !key.verifies(bytes, &signature.bytes) {
                return Err(NotMet::Bad(keyid));
            }
            let verdict = match listed {
                true if revoked.contains(&keyid) => Verdict::Revoked,
                true => Verdict::Good,
                false => Verdict::NotInRole,
            };
            if verdict == Verdict::Good {
                good.insert(keyid);
            }
            verdicts.push(SignatureVerdict {
                keyid,
                holder: Some(entry.holder.clone()),
                scheme: Some(entry.scheme),
                verdict,
            });
        }
        if signatures.is_empty() {
            return Err(NotMet::Unsigned);
        }
        self.meets(role, &good, &verdicts)?;
        Ok(verdicts)
    }

    fn meets(
        &self,
        role: &Role,
        good: &BTreeSet<KeyId>,
        verdicts: &[SignatureVerdict],
    ) -> Result<(), NotMet> {
        for clause in &role.clauses {
            let signed = clause.keyids.iter().filter(|keyid| good.contains(keyid));
            let holders: BTreeSet<&Name> =
                signed.filter_map(|keyid| self.document.keys.get(keyid)).map(|key| &key.holder).collect();
            let (found, threshold) = (holders.len(), clause.threshold.get());
            if found < threshold as usize {
                let revoked = verdicts.iter().find(|signature| {
                    signature.verdict == Verdict::Revoked && clause.keyids.contains(&signature.keyid)
                });
                return Err(match revoked {
                    Some(signature) => NotMet::Revoked { keyid: signature.keyid, found, threshold },
                    None => NotMet::Threshold { found, threshold, keyids: clause.keyids.len() },
                });
            }
        }
        Ok(())
    }

    /// One line for people: `acme, root version 1, epoch 1`.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "{}, root version {}, epoch {}",
            self.document.publisher, self.document.version, self.document.epoch
        )
    }
}
