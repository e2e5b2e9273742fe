//! The fuzz targets' bodies over mutations of real documents and over random input, on every test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use proptest::prelude::*;
use testkit::exercise;

fn sample() -> Vec<u8> {
    testkit::sample::sample_bundle(&testkit::sample::SampleOptions::default()).archive
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_parser_breaks_its_promise_on_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        exercise::archive(&bytes);
        exercise::header(bytes.get(..512).unwrap_or(&bytes));
        exercise::documents(&bytes);
        exercise::parts(&bytes);
        exercise::receipt(&bytes);
        exercise::recovery(&bytes);
        exercise::patch(&bytes);
        exercise::oci(&bytes);
        exercise::keys(&bytes);
        exercise::texts(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_parser_breaks_its_promise_on_text(text in "\\PC{0,200}") {
        exercise::texts(&text);
        exercise::keys(text.as_bytes());
        let _ = bundler::sources::wheels::Requirements::parse("requirements.txt", text.as_bytes());
        let _ = edge::yaml::parse::<bundler::spec::BundleSpec>("bundle.yaml", &text);
    }
}

#[test]
fn no_parser_breaks_its_promise_on_a_real_archive_with_pieces_swapped_and_doubled() {
    let good = sample();
    exercise::archive(&good);
    let blocks = good.len() / 512;
    for first in 0..blocks {
        for second in [0, first / 2, blocks - 1] {
            let mut bad = good.clone();
            let piece = good[second * 512..second * 512 + 512].to_vec();
            bad[first * 512..first * 512 + 512].copy_from_slice(&piece);
            exercise::archive(&bad);
            bad.splice(first * 512..first * 512, piece);
            exercise::archive(&bad);
        }
    }
}

#[test]
fn no_reader_of_parts_breaks_its_promise_on_a_real_list_with_bytes_changed_and_cut() {
    use manifests::bundle::{BundleDigest, Content};
    let contents = [b"one".as_slice(), b"two", b"three"].map(Content::of).to_vec();
    let bundle = BundleDigest(manifests::Digest::of(b"bundle"));
    let list = manifests::PartsList::new("demo-1.0.bundle.tar".parse().unwrap(), bundle, contents);
    let good = list.unwrap().to_bytes().unwrap();
    exercise::parts(&good);
    for at in 0..good.len() {
        for byte in b"09,\"}]-.e " {
            let mut bad = good.clone();
            bad[at] = *byte;
            exercise::parts(&bad);
            bad.insert(at, *byte);
            exercise::parts(&bad);
        }
        exercise::parts(&good[..at]);
    }
}

#[test]
fn no_reader_of_receipts_breaks_its_promise_on_a_real_one_with_bytes_changed_and_cut() {
    use manifests::receipt::SignedReceipt;
    use manifests::receipt::pieces::{cut, heading};
    let zeros = format!("sha256:{}", "0".repeat(64));
    let empty = manifests::Digest::of(b"");
    let key = manifests::SecretKey::from_seed(&[1; 32]);
    let keyid = key.public().unwrap().id();
    let document = format!(
        "{{\"blobs\":{{\"count\":0,\"digest\":\"{empty}\",\"list\":\"\"}},\"checked\":\"sizes\",\"groups\":[],\"keyid\":\"{keyid}\",\"log\":{{\"entries\":1,\"first\":\"{zeros}\",\"head\":\"{zeros}\"}},\"products\":[],\"schema\":\"airlock-receipt/v1\",\"time\":\"2026-11-20T12:00:00Z\",\"trust\":{{\"root\":\"{zeros}\",\"version\":1}}}}\n"
    );
    let signature = key.sign(document.as_bytes()).unwrap();
    let signed = SignedReceipt::new(document.clone().into_bytes(), keyid, signature).unwrap();
    manifests::VerifiedReceipt::verify(&signed, &[key.public().unwrap()]).unwrap();
    let lines: Vec<String> = cut(&signed, 60).unwrap().iter().map(|piece| piece.line()).collect();
    let typed = format!("{}\n{}\n", heading(&signed), lines.join("\n"));
    for good in [document.as_bytes(), signed.bytes(), typed.as_bytes()] {
        exercise::receipt(good);
        for at in 0..good.len() {
            for byte in b"09,\"}|/{ " {
                let mut bad = good.to_vec();
                bad[at] = *byte;
                exercise::receipt(&bad);
                bad.insert(at, *byte);
                exercise::receipt(&bad);
            }
            exercise::receipt(&good[..at]);
        }
    }
}

#[test]
fn no_reader_of_recovery_data_breaks_its_promise_on_a_real_file_with_bytes_changed_and_cut() {
    use layout::recovery::encode;
    use manifests::bundle::BundleDigest;
    let files = [Some(tempfile::tempfile().unwrap())];
    let archive = (0..1500_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let bundle = BundleDigest(manifests::Digest::of(b"bundle"));
    let whole = "100%".parse().unwrap();
    encode(&archive, archive.len() as u64, bundle, whole, &files, &mut |_| {}).unwrap();
    let [Some(mut file)] = files else { unreachable!() };
    let mut good = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut good).unwrap();
    exercise::recovery(&good);
    for at in (0..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        exercise::recovery(&bad);
    }
    for cut in (0..good.len()).step_by(101) {
        exercise::recovery(&good[..cut]);
        exercise::recovery(&good[cut..]);
        exercise::recovery(&[&good[..cut], good.as_slice()].concat());
    }
}

#[test]
fn no_reader_of_patches_breaks_its_promise_on_a_real_one_and_on_its_frame_with_bytes_changed_and_cut() {
    use layout::patch::write;
    use manifests::bundle::Content;
    let base: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
    let blob: Vec<u8> = [&base[1000..], b"the end", &base[..3000]].concat();
    let (mut good, mut new, room) = (Vec::new(), blob.as_slice(), std::io::Cursor::new(Vec::new()));
    let (wanted, of) = (Content::of(&blob), Content::of(&base));
    write((&mut new, wanted), (&base, of), u64::MAX, room, &mut good).unwrap();
    let length = u32::try_from(blob.len()).unwrap().to_le_bytes();
    let frame = [length.as_slice(), &good[152..]].concat();
    for good in [good, frame] {
        exercise::patch(&good);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            exercise::patch(&bad);
        }
        for cut in 0..good.len() {
            exercise::patch(&good[..cut]);
            exercise::patch(&[&good[..cut], good.as_slice()].concat());
        }
    }
}

#[test]
fn no_reader_of_keys_breaks_its_promise_on_real_ones_with_bytes_changed_and_lines_doubled() {
    for good in exercise::key_files() {
        exercise::keys(&good);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            exercise::keys(&bad);
        }
        for cut in (0..good.len()).step_by(7) {
            exercise::keys(&good[..cut]);
            exercise::keys(&[&good[..cut], good.as_slice()].concat());
        }
    }
}
