//! The file as a whole: its end, compression, pieces of it, and what is no bundle at all.

use std::io::Write;

use testkit::sample::{Entry, Field, Forge, SampleOptions};

use super::signatures::another_draft;
use crate::{Case, Generator, HALF, file, forged};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("bundle.json", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

fn cut(length: impl FnOnce(&[u8]) -> usize) -> Case {
    file(|mut archive| {
        archive.truncate(length(&archive));
        archive
    })
}

/// The middle of an archive, at a block.
fn middle(archive: &[u8]) -> usize {
    archive.len() / 1024 * 512
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("end-with-a-third-block-that-is-not-zero", || forged(|forge| forge.end.extend([1; 512]))),
    ("cut-inside-a-header", || file(|archive| archive[..200].to_vec())),
    ("cut-inside-the-manifest", || file(|archive| archive[..512 + HALF].to_vec())),
    ("cut-inside-a-blob", || cut(|archive| archive.len() - 1024 - 512 + 5)),
    ("cut-between-two-entries", || {
        let mut forge = testkit::sample::Draft::new(&SampleOptions::default()).forge();
        let place = forge.position("blobs/") + 1;
        forge.entries.truncate(place);
        forge.end.clear();
        file(|_| forge.bytes())
    }),
    // Compressed. The outer archive never is, so nothing is ever unpacked before it was checked.
    ("gzip-with-a-wrong-checksum", || {
        file(|archive| {
            let mut packed = gzip(&archive);
            let place = packed.len() - 8;
            packed[place] ^= 1;
            packed
        })
    }),
    ("gzip-without-its-trailer", || {
        file(|archive| {
            let packed = gzip(&archive);
            packed[..packed.len() - 8].to_vec()
        })
    }),
    ("gzip-with-bytes-behind-it", || file(|archive| [gzip(&archive), b"junk".to_vec()].concat())),
    ("gzip-of-two-members", || file(|archive| [gzip(&archive), gzip(&archive)].concat())),
    ("gzip-of-64-mib-of-zeros", || file(|_| gzip(&vec![0; 64 << 20]))),
    ("gzip-behind-the-end", || file(|archive| [archive.clone(), gzip(&archive)].concat())),
    ("zstd", || file(|archive| [b"\x28\xb5\x2f\xfd".as_slice(), &archive].concat())),
    ("xz", || file(|archive| [b"\xfd7zXZ\0".as_slice(), &archive].concat())),
    ("bzip2", || file(|archive| [b"BZh91AY&SY".as_slice(), &archive].concat())),
    ("zip", || file(|archive| zip(&archive))),
    ("zip-behind-the-end", || file(|archive| [archive.clone(), zip(&archive)].concat())),
    ("zip-before-it", || file(|archive| [zip(b"hello"), archive].concat())),
    ("cpio", || file(|archive| [b"070701".as_slice(), &archive].concat())),
    ("tar-of-a-bundle", || {
        file(|archive| {
            let mut outer = Forge::empty();
            outer.push("sample-2.1.0.bundle.tar", &archive);
            outer.bytes()
        })
    }),
    // Pieces of one archive, as if it had been split over media.
    ("volumes-first-alone", || file(|archive| archive[..middle(&archive)].to_vec())),
    ("volumes-second-alone", || file(|archive| archive[middle(&archive)..].to_vec())),
    ("volumes-in-the-wrong-order", || {
        file(|archive| [&archive[middle(&archive)..], &archive[..middle(&archive)]].concat())
    }),
    ("volumes-first-twice", || file(|archive| [&archive[..middle(&archive)], archive.as_slice()].concat())),
    ("volumes-with-a-gap", || {
        file(|archive| [&archive[..middle(&archive)], &archive[middle(&archive) + 512..]].concat())
    }),
    ("volumes-of-two-bundles", || {
        file(|archive| {
            let other = another_draft().forge().bytes();
            [&archive[..middle(&archive)], &other[middle(&other)..]].concat()
        })
    }),
    ("volumes-continued-by-gnu-tar", || {
        // What GNU tar writes at the head of its second volume.
        file(|archive| {
            let header =
                Entry::new("bundle.json", b"").with(Field::Type, b"M").with(Field::Magic, b"ustar  \0");
            [header.header.as_slice(), &archive[1024..]].concat()
        })
    }),
];
