//! Trust roots that no site may start with, although somebody has typed their fingerprint: the person who
//! reads it from paper cannot see what is in them.

use base64::Engine as _;
use manifests::key::Scheme;
use manifests::root::{RootDocument, RootKey};
use manifests::{Digest, KeyId, canonical};
use testkit::sample::{ROOT_SEED, SampleOptions, UNKNOWN_SEED, keyid, sample_root, signature};

/// A root as it lies on a medium.
pub(crate) struct RootCase {
    pub(crate) bytes: Vec<u8>,
    /// By the key that the file's name claims.
    pub(crate) signatures: Vec<(KeyId, Vec<u8>)>,
}

fn honest() -> RootDocument {
    canonical::from_canonical(&sample_root(&SampleOptions::default()).bytes).unwrap()
}

/// A root of these bytes, signed by its root role.
fn signed_bytes(bytes: Vec<u8>) -> RootCase {
    RootCase { signatures: vec![signature(ROOT_SEED, &bytes)], bytes }
}

fn signed(change: impl FnOnce(&mut RootDocument)) -> RootCase {
    let mut root = honest();
    change(&mut root);
    signed_bytes(canonical::to_canonical(&root).unwrap())
}

fn signed_text(change: impl FnOnce(String) -> String) -> RootCase {
    let text = String::from_utf8(canonical::to_canonical(&honest()).unwrap()).unwrap();
    signed_bytes(change(text).into_bytes())
}

/// The PEM of an Ed25519 key of these 32 bytes, whatever they are, and its identity.
fn pem_of(point: &[u8; 32]) -> (KeyId, String) {
    let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), point].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    (Digest::of(&der).hex().parse().unwrap(), pem)
}

/// A root whose release role has this key as well.
fn with_key(point: &[u8; 32]) -> RootCase {
    signed(|root| {
        let (keyid, pem) = pem_of(point);
        let holder = "mallory".parse().unwrap();
        root.keys.insert(keyid, RootKey { scheme: Scheme::Ed25519, pem, holder });
        let clause = &mut root.roles.release.clauses[0];
        clause.keyids.push(keyid);
        clause.keyids.sort();
    })
}

/// A point whose y is this small number, or the same plus the field's prime.
fn y(number: u8, plus_the_prime: bool, sign: bool) -> [u8; 32] {
    let mut point = [0; 32];
    if plus_the_prime {
        // 2^255 - 19
        point = [0xff; 32];
        point[0] = 0xed_u8.checked_add(number).unwrap();
        point[31] = 0x7f;
    } else {
        point[0] = number;
    }
    point[31] |= u8::from(sign) << 7;
    point
}

fn minus_one() -> [u8; 32] {
    let mut point = [0xff; 32];
    (point[0], point[31]) = (0xec, 0x7f);
    point
}

/// A point of order eight.
const ORDER_EIGHT: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
    0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];

type Generator = fn() -> RootCase;

/// The directories of this part.
pub(crate) const ROOTS: &[(&str, Generator)] = &[
    ("root-with-a-key-of-order-one", || with_key(&y(1, false, false))),
    ("root-with-a-key-of-order-two", || with_key(&minus_one())),
    ("root-with-a-key-of-order-four", || with_key(&y(0, false, false))),
    ("root-with-a-key-of-order-eight", || with_key(&ORDER_EIGHT)),
    ("root-with-a-key-of-order-one-in-another-encoding", || with_key(&y(1, true, false))),
    ("root-with-a-key-of-order-one-with-a-sign", || with_key(&y(1, false, true))),
    ("root-with-a-key-of-order-four-in-another-encoding", || with_key(&y(0, true, true))),
    // Of no small order: it is the spelling alone that is wrong, and a key has one identity only if it has
    // one spelling.
    ("root-with-a-key-in-a-non-canonical-encoding", || with_key(&y(3, true, false))),
    ("root-with-a-key-in-a-non-canonical-encoding-with-a-sign", || with_key(&y(4, true, true))),
    ("root-with-a-key-that-is-no-point", || with_key(&y(2, false, false))),
    ("root-with-a-key-under-another-identity", || {
        signed(|root| {
            let another: KeyId = Digest::of(b"another").hex().parse().unwrap();
            let key = root.keys.remove(&keyid(1)).unwrap();
            root.keys.insert(another, key);
            root.roles.release.clauses[0].keyids = vec![another];
        })
    }),
    ("root-with-a-key-in-another-spelling", || {
        signed(|root| {
            let key = root.keys.get_mut(&keyid(1)).unwrap();
            key.pem = key.pem.replace('\n', "\r\n");
        })
    }),
    ("root-with-a-key-twice-in-a-clause", || {
        signed(|root| {
            let clause = &mut root.roles.release.clauses[0];
            clause.keyids.push(clause.keyids[0]);
        })
    }),
    ("root-with-a-threshold-of-zero", || {
        signed_text(|text| text.replace("\"threshold\":1", "\"threshold\":0"))
    }),
    ("root-with-a-threshold-that-nobody-meets", || {
        signed_text(|text| text.replace("\"threshold\":1", "\"threshold\":2"))
    }),
    ("root-with-a-role-without-a-clause", || signed(|root| root.roles.release.clauses.clear())),
    ("root-with-an-unknown-field", || signed_text(|text| text.replacen('{', "{\"a\":1,", 1))),
    ("root-with-a-role-that-nobody-knows", || {
        signed_text(|text| text.replacen("\"roles\":{", "\"roles\":{\"any\":{\"clauses\":[]},", 1))
    }),
    ("root-with-an-unknown-scheme", || signed_text(|text| text.replacen("ed25519", "rsa-pkcs1", 1))),
    ("root-with-a-key-of-its-text-twice", || signed_text(|text| text.replacen("{", "{\"epoch\":9,", 1))),
    ("root-that-is-a-manifest", || {
        signed_bytes(testkit::sample::Draft::new(&SampleOptions::default()).manifest_bytes)
    }),
    ("root-unsigned", || RootCase { signatures: Vec::new(), ..signed(|_| {}) }),
    ("root-signed-by-a-release-key-only", || {
        let RootCase { bytes, .. } = signed(|_| {});
        RootCase { signatures: vec![signature(1, &bytes)], bytes }
    }),
    ("root-signed-by-a-stranger", || {
        let RootCase { bytes, .. } = signed(|_| {});
        RootCase { signatures: vec![signature(UNKNOWN_SEED, &bytes)], bytes }
    }),
    ("root-with-a-signature-of-63-bytes", || {
        let mut case = signed(|_| {});
        case.signatures[0].1.pop();
        case
    }),
    ("root-with-a-signature-over-another-root", || {
        let mut case = signed(|_| {});
        case.signatures = vec![signature(ROOT_SEED, b"another")];
        case
    }),
];
