//! Key files: a public key has one spelling, a private key is read as openssl writes it, and what a hostile
//! file asks for is bounded. The keys here were made with openssl 3.0 for these tests and are used for
//! nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifests::key::{KeyError, PBKDF2_ITERATIONS, Scheme};
use manifests::{PublicKey, SecretKey};
use proptest::prelude::*;

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

fn public(body: &str) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmBWFydffrz17OBzwjRHqePRo+Zu7
BjYNYlLSBfTmEBnuowZjBWjJUuCl6xRVg7RN69HG6cjiTQdPy0MEjTV1cA==";
const P384: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqKBO6KT63iG08BEfM6yL5M7RRmaMl46T
4TBbzoDbDjJs1ICM6EbNXgEqZfxsAIN83b1UJbndkKmgu7Ionh9GhC5qP594NTmZ
Iv+IMAUg2wKNZdzrB0mDI1vxTSPGlGsq";
const ED25519: &str = "MCowBQYDK2VwAyEA8yayYsI5qNvNJ73KuPONF1UuItgqKIQC9iMHcIrxSUA=";
const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII/v2CRGAo4ChmMn9io4uHUdpSHu0BbwIxd1rufkKLvA";

#[test]
fn the_scheme_of_a_pem_key_is_that_of_its_algorithm() {
    for (body, scheme) in
        [(ED25519, Scheme::Ed25519), (P256, Scheme::EcdsaP256Sha256), (P384, Scheme::EcdsaP384Sha384)]
    {
        let text = public(body);
        let key = PublicKey::read(&text).unwrap();
        assert_eq!((key.scheme(), key.pem()), (scheme, text.as_str()));
        assert_eq!(key.openssh().is_some(), scheme == Scheme::Ed25519);
        assert_eq!(PublicKey::from_pem(&text.replace('\n', "\r\n")), Ok(key.clone()));
        assert_eq!(key.id().to_string(), manifests::Digest::of(&der(&text)).hex());
    }
}

#[test]
fn a_listed_key_must_fit_its_scheme() {
    for (body, own) in
        [(ED25519, Scheme::Ed25519), (P256, Scheme::EcdsaP256Sha256), (P384, Scheme::EcdsaP384Sha384)]
    {
        for listed in Scheme::ALL {
            let found = PublicKey::listed(listed, &public(body)).map(|key| key.scheme());
            let fits = listed == own || (listed, own) == (Scheme::SshsigEd25519, Scheme::Ed25519);
            assert_eq!(
                found,
                if fits { Ok(listed) } else { Err(KeyError::OtherScheme { listed, found: own }) }
            );
        }
    }
}

#[test]
fn an_openssh_line_is_read_and_written_and_its_comment_is_no_part_of_it() {
    let key = PublicKey::read(SSH).unwrap();
    assert_eq!((key.scheme(), key.openssh().as_deref()), (Scheme::SshsigEd25519, Some(SSH)));
    for text in [
        format!("{SSH}\n"),
        format!("{SSH}\r\n"),
        format!("{SSH} me@host\n"),
        format!("{SSH} a comment of words"),
    ] {
        assert_eq!(PublicKey::from_openssh(&text), Ok(key.clone()), "{text}");
    }
    assert_eq!(PublicKey::listed(Scheme::SshsigEd25519, key.pem()), Ok(key));
}

#[test]
fn refuses_ssh_lines_that_are_not_one_ed25519_key() {
    let (_, body) = SSH.split_once(' ').unwrap();
    let blob = STANDARD.decode(body).unwrap();
    let line = |blob: &[u8]| format!("ssh-ed25519 {}", STANDARD.encode(blob));
    let mut other_type = blob.clone();
    other_type[14] = b'8';
    let low_order = [&blob[..19], &[1], &[0; 31]].concat();
    for (text, error) in [
        ("hello".to_string(), KeyError::NotAPublicKey),
        (String::new(), KeyError::NotAPublicKey),
        (format!("{SSH}\n{SSH}\n"), KeyError::NotAPublicKey),
        (format!(" {SSH}"), KeyError::NotAPublicKey),
        (format!("me {SSH}"), KeyError::NotAPublicKey),
        (SSH.replace("ssh-ed25519 ", "ssh-ed25519  "), KeyError::NotAPublicKey),
        (SSH.replace("ssh-ed25519", "ssh-rsa"), KeyError::SshKeyType),
        (SSH.replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com"), KeyError::SshKeyType),
        (format!("{SSH}="), KeyError::NotAPublicKey),
        (line(&blob[..50]), KeyError::NotAPublicKey),
        (line(&[blob.as_slice(), b"x"].concat()), KeyError::NotAPublicKey),
        (line(&other_type), KeyError::NotAPublicKey),
        (line(&low_order), KeyError::Weak),
    ] {
        assert_eq!(PublicKey::read(&text), Err(error), "{text}");
    }
}

#[test]
fn refuses_public_keys_that_openssl_would_not_write_or_that_we_do_not_use() {
    let explicit = "MIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAA
AAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA////
///////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSd
NgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5
RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA
//////////+85vqtpxeehPO5ysL8YyVRAgEBA0IABJgVhcnX3689ezgc8I0R6nj0
aPmbuwY2DWJS0gX05hAZ7qMGYwVoyVLgpesUVYO0TevRxunI4k0HT8tDBI01dXA=";
    let p521 = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBuZHswrMdKCR4nWB+mS9GXexF/JJ1
7sIy4jv7bHaoKEIxyAHfACOtKS0WJIgQfJCTpiC8p5IYM5m3LI+wKfeTiykBJSNc
DE7vZ7z4w4PwtDAecBotWCAq7apOsmWinK77tL9+BcaQ1wRwhc+gaA4OatNL4U6n
JbVcVdrF1MU3Dhxp6N4=";
    for (case, body, error) in [
        (
            "compressed",
            "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACmBWFydffrz17OBzwjRHqePRo+Zu7\nBjYNYlLSBfTmEBk=",
            KeyError::OddEncoding,
        ),
        ("its curve written out", explicit, KeyError::Curve),
        (
            "hybrid",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAGmBWFydffrz17OBzwjRHqePRo+Zu7\nBjYNYlLSBfTmEBnuowZjBWjJUuCl6xRVg7RN69HG6cjiTQdPy0MEjTV1cA==",
            KeyError::NotAPublicKey,
        ),
        (
            "not on the curve",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAQEBAQEBAQEBAQEBAQEBAQEBAQEB\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==",
            KeyError::NotAPublicKey,
        ),
        ("the point at infinity", "MBkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAA", KeyError::NotAPublicKey),
        ("P-521", p521, KeyError::Curve),
        (
            "Ed448",
            "MEMwBQYDK2VxAzoA0Zs/MAxACphs3uSiko9F4mhdQrp83ez3DgxFS6fWS2YjcMQ4\nuonUKUAsqXMB2OnbwiiZbvokcQuA",
            KeyError::NotAPublicKey,
        ),
        ("X25519", "MCowBQYDK2VuAyEAJyeIy6AReeremdGynqUZlGaOVyyzcYddIVwf8rDxUnE=", KeyError::NotAPublicKey),
        ("the identity", "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", KeyError::Weak),
        ("no base64", "MCow*", KeyError::NotAPublicKey),
    ] {
        assert_eq!(PublicKey::from_pem(&public(body)), Err(error), "{case}");
    }
}

#[test]
fn refuses_a_second_spelling_of_an_ed25519_point() {
    // y = p + 3 is read as y = 3, and as another key id.
    let mut raw = [0xff_u8; 32];
    raw[0] = 0xf0;
    raw[31] = 0x7f;
    let der = [&der(&public(ED25519))[..12], &raw].concat();
    assert_eq!(PublicKey::from_pem(&pem("PUBLIC KEY", &der)), Err(KeyError::OddEncoding));
}

#[test]
fn refuses_a_public_key_with_anything_around_it() {
    let good = public(P256);
    let tail = [der(&good).as_slice(), &[0]].concat();
    for (text, error) in [
        (format!("# mine\n{good}"), KeyError::OddEncoding),
        (format!("{good}{good}"), KeyError::NotAPublicKey),
        (format!("{good}# mine\n"), KeyError::NotAPublicKey),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), KeyError::NotAPublicKey),
        (pem("PUBLIC KEY", &tail), KeyError::NotAPublicKey),
        (P256_SECRET.to_string(), KeyError::Private),
        (String::new(), KeyError::NotAPublicKey),
    ] {
        let found = PublicKey::read(&text);
        assert!(found.is_err(), "{text}");
        if error != KeyError::NotAPublicKey {
            assert_eq!(found, Err(error), "{text}");
        }
    }
}

// Private keys.

const ED25519_SECRET: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICOt3KnEGt/DPqxWzO4XJ2oOF6iokuWY81wdaxZCJru3
-----END PRIVATE KEY-----
";
const P256_SECRET: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgd+P/5W0k4rugzKEu
7X3yQNYv7cMFu4knUVKF8QaS9s2hRANCAASYFYXJ19+vPXs4HPCNEep49Gj5m7sG
Ng1iUtIF9OYQGe6jBmMFaMlS4KXrFFWDtE3r0cbpyOJNB0/LQwSNNXVw
-----END PRIVATE KEY-----
";
const P384_SECRET: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCtjKOT7puFCMJrjmK0
YGOjKTCFCHP3Fo7gYvpeVraX3FsaARv3pXC09Igjxk+H5behZANiAASooE7opPre
IbTwER8zrIvkztFGZoyXjpPhMFvOgNsOMmzUgIzoRs1eASpl/GwAg3zdvVQlud2Q
qaC7siieH0aELmo/n3g1OZki/4gwBSDbAo1l3OsHSYMjW/FNI8aUayo=
-----END PRIVATE KEY-----
";

#[test]
fn private_keys_are_read_and_written_as_openssl_does() {
    for (text, body) in [(ED25519_SECRET, ED25519), (P256_SECRET, P256), (P384_SECRET, P384)] {
        let key = SecretKey::from_pem(text).unwrap();
        assert_eq!(key.public().unwrap().pem(), public(body));
        assert_eq!(key.scheme(), key.public().unwrap().scheme());
        assert_eq!(key.to_pem().unwrap().as_str(), text);
    }
}

/// The three keys above, as `openssl pkcs8 -topk8` encrypts them with the passphrase `correct`: scrypt; and
/// PBKDF2 with SHA-256 and AES-256, and with SHA-512 and AES-128.
const ENCRYPTED: [(&str, &str); 3] = [
    (
        P384,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIIBFDBPBgkqhkiG9w0BBQ0wQjAhBgkrBgEEAdpHBAswFAQI9erIF0ok8wQCAkAA
AgEIAgEBMB0GCWCGSAFlAwQBKgQQhC14BDzYKhhFuqRCfPVjGwSBwMONVrGENX/p
F8GS2Fx/SwVGGU8jSanafBtlW2pbDHoThCVPW4uhVBIKTczUBWR/jyO68pyYVA1A
G2lJZsUydxWqKNP9s9ggPrML+M/SVOS+RGa2ad61KPR+BZdgpJEjUUQDaKeGXVgs
2LuW7Z4ubjkkpDElkCNeWLpQoWfASc5fJ5BGkfXmjLhASWlkdfYmoxiGryCw2jZk
0WPsNfL3eNy6BOpUJX+m2IaUoOuBY56ez580h/PC3ZzsDPQRwi0VnA==
-----END ENCRYPTED PRIVATE KEY-----
",
    ),
    (
        P256,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgJ/HA2m9qvXwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEK5UalRiRZ8IWtO6Pb6UAI0EgZBH
JFsCNwLDqcvz+ULpo5LPuZH5oFxL8qTPXgO4xVekiGfhcjSe/TAXVg55mQV1ujoD
g6r7Z+oYgk3h3/T1mBN4rJybGCnKUNg1CTI2DX79Uz7UemCfEOI7okmUDSsP/yaP
zIRJTJFf1cooFm7VncBSTfABpejAuD41X8bOO7UTbFyFlFrcLqU30O/rUW7+3WM=
-----END ENCRYPTED PRIVATE KEY-----
",
    ),
    (
        ED25519,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAircxnUDwlRGQICEAAw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEAQIEEKSZcaVEA/v4IjW8qEA2mWkEQOgr
a9uITZBLGcfU9psr02yVA23hH73BBdFyxUUMZt20c3jbgVfM5iUhMXUO45hj2tl+
ELUaQYjcfqywjby+2B8=
-----END ENCRYPTED PRIVATE KEY-----
",
    ),
];

#[test]
fn encrypted_keys_of_openssl_are_read_with_the_right_passphrase_only() {
    for (body, text) in ENCRYPTED {
        assert_eq!(SecretKey::from_pem(text).err(), Some(KeyError::Encrypted));
        let key = SecretKey::from_encrypted_pem(text, b"correct").unwrap();
        assert_eq!(key.public().unwrap().pem(), public(body));
        for wrong in [b"wrong".as_slice(), b"", b"correct\n"] {
            assert_eq!(SecretKey::from_encrypted_pem(text, wrong).err(), Some(KeyError::WrongPassphrase));
        }
    }
    assert!(SecretKey::from_encrypted_pem(P256_SECRET, b"none is needed").is_ok());
}

#[test]
fn no_wrong_passphrase_gives_another_error_or_a_key() {
    // One in 256 leaves a padding that looks right.
    let (_, text) = ENCRYPTED[2];
    for number in 0..600_u32 {
        let found = SecretKey::from_encrypted_pem(text, &number.to_be_bytes());
        assert_eq!(found.err(), Some(KeyError::WrongPassphrase), "{number}");
    }
}

#[test]
fn our_own_encrypted_keys_are_read_again() {
    for text in [ED25519_SECRET, P256_SECRET, P384_SECRET] {
        let key = SecretKey::from_pem(text).unwrap();
        let pem = key.to_encrypted_pem(b"correct horse", &[1; 16], &[2; 16]).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        let again = SecretKey::from_encrypted_pem(&pem, b"correct horse").unwrap();
        assert_eq!(again.public().unwrap(), key.public().unwrap());
        assert_eq!(SecretKey::from_encrypted_pem(&pem, b"correct").err(), Some(KeyError::WrongPassphrase));
        assert_eq!(key.to_encrypted_pem(b"", &[1; 16], &[2; 16]), Err(KeyError::EmptyPassphrase));
    }
}

/// The encrypted key, with the first of these bytes in it replaced.
fn patched(text: &str, old: &[u8], new: &[u8]) -> String {
    assert_eq!(old.len(), new.len());
    let mut der = der(text);
    let at = der.windows(old.len()).position(|window| window == old).unwrap();
    der[at..at + new.len()].copy_from_slice(new);
    pem("ENCRYPTED PRIVATE KEY", &der)
}

#[test]
fn a_file_cannot_ask_for_hours_of_work_or_for_all_memory() {
    let scrypt = ENCRYPTED[0].1;
    // N = 16384, r = 8, p = 1 as openssl writes them.
    let numbers = [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1];
    for (case, new, error) in [
        ("p = 127", [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 127], KeyError::TooCostly),
        ("r = 127", [2, 2, 0x40, 0, 2, 1, 127, 2, 1, 1], KeyError::TooCostly),
        ("N = 0", [2, 2, 0, 0, 2, 1, 8, 2, 1, 1], KeyError::Encryption),
        ("N = 16385", [2, 2, 0x40, 1, 2, 1, 8, 2, 1, 1], KeyError::Encryption),
        ("r = 0", [2, 2, 0x40, 0, 2, 1, 0, 2, 1, 1], KeyError::Encryption),
        ("p = 0", [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 0], KeyError::Encryption),
        ("p = -1", [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 255], KeyError::Encryption),
    ] {
        let text = patched(scrypt, &numbers, &new);
        assert_eq!(SecretKey::from_encrypted_pem(&text, b"correct").err(), Some(error), "{case}");
    }
    let key = SecretKey::from_pem(ED25519_SECRET).unwrap();
    let ours = key.to_encrypted_pem(b"correct", &[1; 16], &[2; 16]).unwrap();
    let iterations = &PBKDF2_ITERATIONS.to_be_bytes()[1..];
    let text = patched(&ours, iterations, &[0x7f, 0xff, 0xff]);
    assert_eq!(SecretKey::from_encrypted_pem(&text, b"correct").err(), Some(KeyError::TooCostly));
}

#[test]
fn other_formats_are_named_with_the_way_out() {
    let body = "MHcCAQEEIHfj";
    let file = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    for (text, error, way_out) in [
        (file("EC PRIVATE KEY"), KeyError::Traditional, "openssl pkcs8 -topk8"),
        (
            format!("{}{}", file("EC PARAMETERS"), file("EC PRIVATE KEY")),
            KeyError::Traditional,
            "openssl pkcs8 -topk8",
        ),
        (file("ENCRYPTED SIGSTORE PRIVATE KEY"), KeyError::Sigstore, "cosign sign-blob"),
        (file("ENCRYPTED COSIGN PRIVATE KEY"), KeyError::Sigstore, "cosign sign-blob"),
        (file("OPENSSH PRIVATE KEY"), KeyError::OpenSsh, "ssh-keygen -Y sign"),
    ] {
        assert_eq!(SecretKey::from_pem(&text).err(), Some(error));
        assert_eq!(SecretKey::from_encrypted_pem(&text, b"x").err(), Some(error));
        assert!(error.hint().unwrap().contains(way_out));
    }
    for text in [file("PUBLIC KEY"), file("PRIVATE KEY"), file("RSA PRIVATE KEY"), String::new()] {
        assert_eq!(SecretKey::from_pem(&text).err(), Some(KeyError::NotAPrivateKey));
    }
    // Encryption that openssl still offers and that protects little, or that we have no code for.
    let triple_des = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGKME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAj1eDIo7XHsnwICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIgvtBMrdCXZcEOJSVM+GbExaadR/2
+XMmDQZ0S//UbXbvz0OA5DkzuezbSTADr+eZcOTMkmp5BekUnt8unh7bEkE8
-----END ENCRYPTED PRIVATE KEY-----
";
    let sha1 = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGNMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAgCqqX7JMxmTwICCAAw
HQYJYIZIAWUDBAEqBBDbBKB2lNC4HIAP8ALwf3S2BEDN0zeD8JDmJkxFWffzlsBf
sB3vYykTXprFL5CFOXLYuEyM+qJzXKJ++ZRZwuy7udouGIGmroDLnLkjwLXuTGFJ
-----END ENCRYPTED PRIVATE KEY-----
";
    let pbes1 = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MFgwHAYKKoZIhvcNAQwBAzAOBAimqtuv0m8TrwICCAAEODL+rvA3P/1vDxw75bCq
8WKIVX/Hr+86Ix/n+OJDCKs7/y4yBy4ZL8+vv73zuf3S3ZVw3aMvz64v
-----END ENCRYPTED PRIVATE KEY-----
";
    for text in [triple_des, sha1, pbes1] {
        assert_eq!(SecretKey::from_encrypted_pem(text, b"correct").err(), Some(KeyError::Encryption));
    }
}

#[test]
fn a_private_key_that_carries_another_public_key_is_refused() {
    let mut der = der(P256_SECRET);
    let other = SecretKey::generate(Scheme::EcdsaP256Sha256, |buffer| -> Result<(), KeyError> {
        buffer.fill(7);
        Ok(())
    });
    let point = self::der(other.unwrap().public().unwrap().pem())[26..].to_vec();
    let at = der.len() - point.len();
    der[at..].copy_from_slice(&point);
    assert_eq!(SecretKey::from_pem(&pem("PRIVATE KEY", &der)).err(), Some(KeyError::NotAPrivateKey));
}

#[test]
fn numbers_beyond_the_order_of_a_curve_are_drawn_again() {
    for scheme in [Scheme::EcdsaP256Sha256, Scheme::EcdsaP384Sha384, Scheme::Ed25519] {
        let mut draws = 0;
        let key = SecretKey::generate(scheme, |buffer: &mut [u8]| -> Result<(), KeyError> {
            buffer.fill(if draws == 0 {
                0
            } else if draws == 1 {
                0xff
            } else {
                7
            });
            draws += 1;
            Ok(())
        });
        // Of Ed25519's seeds only that of no randomness at all is refused.
        assert_eq!(draws, if scheme == Scheme::Ed25519 { 2 } else { 3 });
        assert_eq!(key.unwrap().scheme(), scheme);
        let dead = SecretKey::generate(scheme, |_: &mut [u8]| -> Result<(), KeyError> { Ok(()) });
        assert_eq!(dead.err(), Some(KeyError::Random));
        let broken = SecretKey::generate(scheme, |_: &mut [u8]| Err(KeyError::SelfCheck));
        assert_eq!(broken.err(), Some(KeyError::SelfCheck));
    }
    let ssh = SecretKey::generate(Scheme::SshsigEd25519, |_: &mut [u8]| -> Result<(), KeyError> { Ok(()) });
    assert_eq!(ssh.err(), Some(KeyError::NotMadeHere(Scheme::SshsigEd25519)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_survives_its_files_and_signs_the_same(seed in any::<[u8; 48]>()) {
        for scheme in [Scheme::Ed25519, Scheme::EcdsaP256Sha256, Scheme::EcdsaP384Sha384] {
            let key = SecretKey::generate(scheme, |buffer: &mut [u8]| -> Result<(), KeyError> {
                buffer.copy_from_slice(&seed[..buffer.len()]);
                Ok(())
            });
            let Ok(key) = key else { continue };
            let again = SecretKey::from_pem(&key.to_pem().unwrap()).unwrap();
            prop_assert_eq!(key.sign(b"x").unwrap(), again.sign(b"x").unwrap());
            let public = key.public().unwrap();
            prop_assert_eq!(PublicKey::read(public.pem()), Ok(public.clone()));
            if let Some(line) = public.openssh() {
                prop_assert_eq!(PublicKey::read(&line).unwrap().id(), public.id());
            }
        }
    }

    #[test]
    fn a_turned_bit_never_leaves_the_same_key_id(bit in 0_usize..8 * 91) {
        for body in [P256, P384, ED25519] {
            let good = public(body);
            let mut turned = der(&good);
            let bit = bit % (turned.len() * 8);
            turned[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = PublicKey::read(&pem("PUBLIC KEY", &turned)) {
                prop_assert_ne!(found.id(), PublicKey::read(&good).unwrap().id());
            }
        }
    }
}
