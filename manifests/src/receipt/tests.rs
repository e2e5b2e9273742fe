use super::pieces::{CODE_CHARACTERS, LINE_CHARACTERS, Pieces, cut, heading};
use super::*;
use crate::SecretKey;
use proptest::prelude::*;
use std::string::String;
use std::vec;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    secret(seed).public().unwrap()
}

fn document(blobs: usize, listed: bool, site: &str) -> ReceiptDocument {
    let blobs: BTreeSet<Digest> = (0..blobs).map(|blob| Digest::of(&blob.to_le_bytes())).collect();
    let version = |number: u64, runs| HeldVersion {
        bundle: BundleDigest(Digest::of(&number.to_le_bytes())),
        version: format!("1.{number}").parse().unwrap(),
        order: Sequence { epoch: 1, sequence: number },
        runs,
        lacks: if runs { 0 } else { 1 },
    };
    ReceiptDocument {
        schema: ReceiptSchema::V1,
        site: site.parse().ok(),
        groups: BTreeSet::from(["bank".parse().unwrap()]),
        keyid: public(1).id(),
        time: Timestamp::from_unix_seconds(1_800_000_000).unwrap(),
        trust: TrustState { version: 2, root: Digest::of(b"root"), revocations: None },
        log: LogState { entries: 7, first: Digest::of(b"first"), head: Digest::of(b"head") },
        checked: Checked::Sizes,
        products: Vec::from([Product {
            publisher: "acme".parse().unwrap(),
            product: "demo".parse().unwrap(),
            highest: Sequence { epoch: 1, sequence: 9 },
            versions: Vec::from([version(9, true), version(8, false)]),
        }]),
        blobs: Blobs::of(&blobs, listed),
        interrupted: None,
    }
}

fn sign(bytes: Vec<u8>, seed: u8) -> SignedReceipt {
    let signature = secret(seed).sign(&bytes).unwrap();
    SignedReceipt::new(bytes, public(seed).id(), signature).unwrap()
}

fn signed(document: &ReceiptDocument) -> SignedReceipt {
    sign(document.to_bytes().unwrap(), 1)
}

fn verify(signed: &SignedReceipt) -> Result<VerifiedReceipt, ReceiptError> {
    VerifiedReceipt::verify(signed, &[public(1)])
}

#[test]
fn a_receipt_is_two_lines_and_says_which_bundles_are_whole() {
    let signed = signed(&document(3, true, "lab"));
    assert_eq!(SignedReceipt::from_bytes(signed.bytes()), Ok(signed.clone()));
    let receipt = verify(&signed).unwrap();
    assert_eq!(receipt.digest(), Digest::of(signed.bytes()));
    assert_eq!(receipt.bases().collect::<Vec<_>>(), [BundleDigest(Digest::of(&9_u64.to_le_bytes()))]);
    assert_eq!(receipt.blobs().unwrap().len(), 3);
    assert_eq!(verify(&sign(document(3, false, "lab").to_bytes().unwrap(), 1)).unwrap().blobs(), None);
    let lines = receipt.document().lines();
    assert!(lines.contains(&("site", "lab".to_string())), "{lines:?}");
    let kept = lines.iter().find(|(head, _)| head.trim() == "keeps").unwrap();
    assert!(kept.1.contains("LACKS 1 blobs"), "{kept:?}");
}

#[test]
fn refuses_another_key_a_signature_of_other_bytes_and_a_key_that_it_does_not_name() {
    let bytes = document(1, false, "lab").to_bytes().unwrap();
    let other = sign(bytes.clone(), 2);
    assert!(matches!(verify(&other), Err(ReceiptError::AnotherKey { claimed }) if claimed == public(2).id()));
    assert!(matches!(VerifiedReceipt::verify(&other, &[]), Err(ReceiptError::AnotherKey { .. })));
    // Another key's signature in the name of ours, and a key that we know over a document that names ours.
    let renamed = SignedReceipt::new(bytes, public(1).id(), other.signature().to_vec()).unwrap();
    assert!(matches!(verify(&renamed), Err(ReceiptError::Signature { .. })));
    let named = VerifiedReceipt::verify(&other, &[public(2)]);
    assert!(matches!(named, Err(ReceiptError::Named { .. })));
}

#[test]
fn refuses_what_the_key_has_signed_and_is_no_receipt() {
    let good = String::from_utf8(document(1, true, "lab").to_bytes().unwrap()).unwrap();
    verify(&sign(good.clone().into_bytes(), 1)).unwrap();
    for other in [
        "{}\n".to_string(),
        good.replace("receipt/v1", "checkpoint/v1"),
        good.replace("\"groups\"", "\"more\":1,\"groups\""),
        good.replace(",\"site\"", ", \"site\""),
        good.replace("\"sizes\"", "\"trust me\""),
    ] {
        assert!(
            matches!(verify(&sign(other.clone().into_bytes(), 1)), Err(ReceiptError::Document(_))),
            "{other}"
        );
    }
}

#[test]
fn refuses_a_receipt_that_contradicts_itself() {
    let changed = |change: fn(&mut ReceiptDocument)| {
        let mut document = document(2, true, "lab");
        change(&mut document);
        verify(&signed(&document))
    };
    for change in [
        (|document| document.products[0].versions[1].runs = true) as fn(&mut ReceiptDocument),
        |document| document.products[0].versions[1].bundle = document.products[0].versions[0].bundle,
        |document| document.products.push(document.products[0].clone()),
        |document| document.log.entries = 0,
        |document| document.blobs.count = 3,
        |document| document.blobs.digest = Digest::of(b""),
    ] {
        assert!(matches!(changed(change), Err(ReceiptError::Contradiction(_))));
    }
}

#[test]
fn what_is_no_receipt_and_one_that_was_cut_off_are_told_apart() {
    let good = signed(&document(1, true, "lab"));
    let form = |bytes: &[u8]| SignedReceipt::from_bytes(bytes).unwrap_err();
    for other in [&b""[..], b"# A page\n", b"{\"schema\":\"airlock-checkpoint/v1\"}\n{}\n", b"\x89PNG\r\n"] {
        assert_eq!(form(other), FormError::NotAReceipt);
    }
    for length in 30..good.bytes().len() {
        assert_eq!(form(&good.bytes()[..length]), FormError::Lines, "{length}");
    }
    assert_eq!(form(&[good.bytes(), b"\n"].concat()), FormError::Lines);
    assert_eq!(form(&[good.document(), b"{}\n"].concat()), FormError::SignatureLine);
}

#[test]
fn every_changed_bit_of_the_file_is_refused() {
    let good = signed(&document(2, true, "lab"));
    for at in 0..good.bytes().len() {
        for bit in 0..8 {
            let mut changed = good.bytes().to_vec();
            changed[at] ^= 1 << bit;
            if let Ok(read) = SignedReceipt::from_bytes(&changed) {
                assert!(verify(&read).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}

fn text_of(signed: &SignedReceipt) -> Vec<String> {
    let pieces = cut(signed, LINE_CHARACTERS).unwrap();
    core::iter::once(heading(signed)).chain(pieces.iter().map(|piece| piece.line())).collect()
}

fn read(text: &str) -> Result<SignedReceipt, pieces::PieceError> {
    let mut pieces = Pieces::default();
    pieces.read(text)?;
    pieces.finish()
}

#[test]
fn every_changed_bit_of_a_text_is_found_in_its_line() {
    let good = signed(&document(0, false, "lab"));
    let lines = text_of(&good);
    assert!(lines.iter().all(|line| line.len() < 80 && line.is_ascii()), "{lines:#?}");
    assert_eq!(read(&lines.join("\n")), Ok(good));
    let middle = lines.len() / 2;
    for at in 0..lines[middle].len() {
        for bit in 0..7 {
            let mut changed = lines.clone();
            let mut bytes = changed[middle].clone().into_bytes();
            bytes[at] ^= 1 << bit;
            changed[middle] = String::from_utf8(bytes).unwrap();
            let error = read(&changed.join("\n")).map(|_| ());
            // White space around a line and between its parts says nothing.
            let same = changed[middle].split_whitespace().eq(lines[middle].split_whitespace());
            assert!(error.is_err() || same, "{}", changed[middle]);
        }
    }
}

#[test]
fn says_which_line_was_mistyped_and_which_are_missing() {
    let good = signed(&document(0, false, "lab"));
    let lines = text_of(&good);
    let said = |lines: &[String]| read(&lines.join("\n")).unwrap_err().to_string();
    let mut swapped = lines.clone();
    let at = swapped[3].find('|').unwrap() + 5;
    let pair: String = swapped[3][at..at + 2].chars().rev().collect();
    swapped[3].replace_range(at..at + 2, &pair);
    assert!(said(&swapped).starts_with("line 4 is not what was printed"), "{}", said(&swapped));
    let mut fewer = lines.clone();
    fewer.drain(2..5);
    fewer.remove(4);
    let message = said(&fewer);
    assert!(message.ends_with("are missing: 2-4, 7"), "{message}");
    let mut stray = lines.clone();
    stray.insert(2, "and then".to_string());
    assert!(said(&stray).contains("line 3 is not a line of a receipt: and then"));
    assert!(said(&lines[1..]).contains("not a receipt") || said(&lines[1..]).contains("no line before"));
    // The same line under another number, and a line of another receipt.
    let mut moved = lines.clone();
    moved[2] = moved[1].replacen("1/", "2/", 1);
    assert!(said(&moved).contains("line 3 is not what was printed"));
    let other = text_of(&signed(&document(1, false, "lab")));
    let mut mixed = lines.clone();
    mixed[2] = other[2].clone();
    assert!(said(&mixed).contains("line 3 is not what was printed"));
    assert!(said(&[lines, other].concat()).contains("pieces of two receipts"));
}

#[test]
fn a_remark_and_a_piece_that_came_twice_change_nothing() {
    let good = signed(&document(0, false, "lab"));
    let mut lines = text_of(&good);
    lines.insert(0, "# typed by Kim\r".to_string());
    lines.push("  ".to_string());
    lines.push(lines[4].clone());
    assert_eq!(read(&lines.join("\r\n")), Ok(good));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_receipt_comes_back_from_codes_in_any_order(
        blobs in 0_usize..200,
        listed: bool,
        site in "[a-z0-9][a-z0-9._-]{0,62}",
        characters in 1_usize..600,
        seed: u64,
    ) {
        let good = signed(&document(blobs, listed, &site));
        let characters = if good.bytes().len() / characters > 5000 { CODE_CHARACTERS } else { characters };
        let mut codes: Vec<String> = cut(&good, characters).unwrap().iter().map(|piece| piece.code()).collect();
        let longest = codes.iter().map(String::len).max().unwrap();
        prop_assert!(longest <= characters + 19 + 9 + 11 + 2 + 7, "{longest} of {characters}");
        let count = codes.len();
        for at in 0..count {
            let other = usize::try_from(seed.rotate_left(u32::try_from(at % 64).unwrap()) % count as u64).unwrap();
            codes.swap(at, other);
        }
        // From several scans.
        let mut pieces = Pieces::default();
        for code in &codes {
            pieces.read(code).unwrap();
        }
        let found = pieces.finish().unwrap();
        prop_assert_eq!(&found, &good);
        let receipt = verify(&found).unwrap();
        prop_assert_eq!(receipt.document(), &document(blobs, listed, &site));
    }

    #[test]
    fn a_receipt_lacks_no_piece_silently(blobs in 0_usize..20, without: prop::sample::Index) {
        let good = signed(&document(blobs, true, "lab"));
        let mut lines = text_of(&good);
        let at = 1 + without.index(lines.len() - 1);
        lines.remove(at);
        let Err(pieces::PieceError::Missing { missing, .. }) = read(&lines.join("\n")) else { panic!("it was read") };
        prop_assert_eq!(missing, vec![u32::try_from(at).unwrap()]);
    }
}
