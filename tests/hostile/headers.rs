//! Headers: what a tar archive may hold and a bundle may not.
//!
//! Where an entry is of a type that a bundle does not have, it stands under the name that comes next, so
//! that nothing but its type gives it away.

use testkit::sample::{Entry, Field};

use super::{before_checksums, of_type_at};
use crate::{Case, Generator, extension, field, forged, of_type};

/// A file that no site should ever write.
fn evil(name: &str) -> Entry {
    Entry::new(name, b"evil\n")
}

/// The entry `of` once more, under this name, right behind it.
fn again(of: &str, name: &str) -> Case {
    forged(|forge| {
        let place = forge.position(of);
        let mut twin = forge.entries[place].clone();
        twin.set(Field::Name, name.as_bytes());
        forge.entries.insert(place + 1, twin);
    })
}

/// A PAX header that holds these records.
fn pax(records: &[(&str, &[u8])]) -> Entry {
    let record = |(key, value): &(&str, &[u8])| {
        // Its length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| rest + length.to_string().len() == *length);
        [format!("{} {key}=", length.unwrap()).as_bytes(), value, b"\n"].concat()
    };
    raw_pax(&records.iter().map(record).collect::<Vec<_>>().concat())
}

fn raw_pax(records: &[u8]) -> Entry {
    Entry::new("SHA256SUMS", records).with(Field::Type, b"x")
}

fn long_name(name: &[u8]) -> Entry {
    Entry::new("SHA256SUMS", name).with(Field::Type, b"L")
}

/// A file whose content is an entry, if its length is believed, and an empty file with one behind it if
/// not.
fn smuggler() -> Entry {
    let hidden = evil("../canary/file");
    let mut outer = Entry::new("SHA256SUMS", b"");
    outer.content = [hidden.header.as_slice(), &hidden.content, &hidden.padding].concat();
    outer
}

/// The directories of this part.
pub(super) const CASES: &[(&str, Generator)] = &[
    ("header-solaris-extension", || extension(b"X", "SHA256SUMS", b"12 path=abc\n")),
    ("header-gnu-dump-directory", || extension(b"D", "SHA256SUMS", b"Yoci-layout\0\0")),
    ("header-gnu-old-long-name", || extension(b"N", "SHA256SUMS", b"Rename a to ../canary/file\n")),
    ("header-group-named", || field("SHA256SUMS", Field::GroupName, b"wheel")),
    ("header-device-minor-number", || field("SHA256SUMS", Field::Minor, b"0000000\0")),
    ("header-rest-not-zero", || field("SHA256SUMS", Field::Rest, b"tar\0")),
    ("header-ustar-version-blank", || field("SHA256SUMS", Field::Magic, b"ustar\x00  ")),
    ("header-link-name-on-a-file", || field("SHA256SUMS", Field::LinkName, b"../canary/file")),
    ("header-checksum-in-another-spelling", || {
        // Seven digits and a blank, as some writers have it: the same number.
        forged(|forge| {
            let field = &mut forge.entry("SHA256SUMS").header[148..156];
            field.copy_within(..6, 1);
            field[0] = b'0';
            field[7] = b' ';
        })
    }),
    ("header-name-with-a-newline", || field("SHA256SUMS", Field::Name, b"SHA256SUMS\n")),
    ("header-name-with-a-backslash", || field("SHA256SUMS", Field::Name, b"..\\canary\\file")),
    ("header-name-without-an-end", || field("SHA256SUMS", Field::Name, &[b'a'; 100])),
    ("header-name-split-at-the-prefix", || {
        forged(|forge| {
            let entry = forge.entry("blobs/");
            let hex = entry.header[13..77].to_vec();
            entry.set(Field::Name, &hex);
            entry.set(Field::Prefix, b"blobs/sha256");
        })
    }),
    ("header-size-of-sha256sums-8-gib", || field("SHA256SUMS", Field::Size, b"77777777777\0")),
    ("header-size-of-a-blob-8-gib", || field("blobs/", Field::Size, b"77777777777\0")),
    ("header-size-with-a-plus", || field("SHA256SUMS", Field::Size, b"+0000002000\0")),
    ("header-size-of-twelve-digits", || field("SHA256SUMS", Field::Size, b"000000002000")),
    // Names that lead out of wherever somebody would unpack them.
    ("path-out-of-the-directory", || before_checksums(vec![evil("../canary/file")])),
    ("path-out-through-a-directory", || before_checksums(vec![evil("blobs/../../canary/file")])),
    ("path-absolute", || before_checksums(vec![evil("/tmp/airlock-corpus-canary")])),
    ("path-out-in-a-pax-record", || {
        before_checksums(vec![pax(&[("path", b"../canary/file")]), evil("SHA256SUMS")])
    }),
    ("path-out-in-a-gnu-long-name", || {
        before_checksums(vec![long_name(b"../canary/file\0"), evil("SHA256SUMS")])
    }),
    ("path-of-a-child-below-a-file", || before_checksums(vec![evil("SHA256SUMS/child")])),
    ("path-of-a-file-where-a-directory-must-be", || before_checksums(vec![evil("blobs")])),
    ("path-of-a-directory", || before_checksums(vec![of_type_at("blobs/sha256/", b"5", b"")])),
    // Links.
    ("link-out-then-a-file-of-its-name", || {
        before_checksums(vec![of_type_at("SHA256SUMS", b"2", b"../canary/file")])
    }),
    ("link-out-then-a-directory-of-its-name", || {
        before_checksums(vec![
            of_type_at("SHA256SUMS", b"2", b"../canary"),
            of_type_at("SHA256SUMS", b"5", b"").with(Field::Mode, b"0000777\0"),
        ])
    }),
    ("link-out-then-files-through-it", || before_checksums(vec![of_type_at("blobs", b"2", b"../canary")])),
    ("link-out-under-a-good-name-then-files-through-it", || {
        forged(|forge| {
            let place = forge.position("blobs/");
            let name = String::from_utf8(forge.entries[place].header[..77].to_vec()).unwrap();
            forge.entries.insert(place, of_type_at(&name, b"2", b"../../../canary/file"));
        })
    }),
    ("link-that-is-absolute", || of_type(b"2", b"/etc/cron.d")),
    ("link-in-a-pax-record", || {
        before_checksums(vec![
            pax(&[("linkpath", b"../canary/file")]),
            of_type_at("SHA256SUMS", b"2", b"harmless"),
        ])
    }),
    ("link-hard-out-of-the-directory", || of_type(b"1", b"../canary/file")),
    ("link-hard-absolute", || of_type(b"1", b"/etc/passwd")),
    ("link-hard-with-content", || {
        forged(|forge| {
            let entry = forge.entry("SHA256SUMS");
            entry.set(Field::Type, b"1");
            entry.set(Field::LinkName, b"bundle.json");
        })
    }),
    // The same name twice, in one spelling or in two that a file system may take for one.
    ("name-again", || again("SHA256SUMS", "SHA256SUMS")),
    ("name-again-with-other-content", || {
        forged(|forge| {
            let place = forge.position("inventory.json");
            forge.entries.insert(place + 1, evil("inventory.json"));
        })
    }),
    ("name-again-with-dot-slash", || again("SHA256SUMS", "./SHA256SUMS")),
    ("name-again-in-lower-case", || again("SHA256SUMS", "sha256sums")),
    ("name-again-in-both-unicode-forms", || before_checksums(vec![evil("caf\u{e9}"), evil("cafe\u{301}")])),
    // PAX: what two readers have read in two ways.
    ("pax-size-twice", || {
        // GNU tar and Python take the second size and see one file; a reader that takes the first sees a
        // second file behind it.
        before_checksums(vec![pax(&[("size", b"0"), ("size", b"1024")]), smuggler()])
    }),
    ("pax-size-unlike-the-header", || before_checksums(vec![pax(&[("size", b"1024")]), smuggler()])),
    ("pax-size-with-a-plus", || before_checksums(vec![pax(&[("size", b"+1024")]), smuggler()])),
    ("pax-path-twice", || {
        before_checksums(vec![
            pax(&[("path", b"oci-layout"), ("path", b"../canary/file")]),
            evil("SHA256SUMS"),
        ])
    }),
    ("pax-path-with-a-nul", || {
        before_checksums(vec![pax(&[("path", b"SHA256SUMS\0/../../canary/file")]), evil("SHA256SUMS")])
    }),
    ("pax-path-and-gnu-long-name", || {
        before_checksums(vec![
            long_name(b"oci-layout\0"),
            pax(&[("path", b"../canary/file")]),
            evil("SHA256SUMS"),
        ])
    }),
    ("pax-record-without-its-end", || {
        before_checksums(vec![raw_pax(b"16 path=SHA256SU"), evil("SHA256SUMS")])
    }),
    ("pax-record-of-another-length", || {
        before_checksums(vec![raw_pax(b"99 path=SHA256SUMS\n"), evil("SHA256SUMS")])
    }),
    ("pax-record-without-a-key", || before_checksums(vec![raw_pax(b"6 =ab\n"), evil("SHA256SUMS")])),
    ("pax-record-that-is-empty", || before_checksums(vec![raw_pax(b""), evil("SHA256SUMS")])),
    ("pax-at-the-end-with-nothing-behind-it", || {
        forged(|forge| forge.entries.push(pax(&[("path", b"../canary/file")])))
    }),
    ("pax-sparse-0-1", || {
        let records: [(&str, &[u8]); 3] = [
            ("GNU.sparse.size", b"1099511627776"),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"0,1"),
        ];
        before_checksums(vec![pax(&records), evil("SHA256SUMS")])
    }),
    ("pax-sparse-1-0", || {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"SHA256SUMS"),
            ("GNU.sparse.realsize", b"1099511627776"),
        ];
        let mut content = b"1\n0\n1\n".to_vec();
        content.resize(513, 0);
        before_checksums(vec![pax(&records), Entry::new("GNUSparseFile.0/SHA256SUMS", &content)])
    }),
    // GNU's own extensions.
    ("gnu-sparse-with-a-map", || {
        forged(|forge| {
            // One byte of data in a file of a tebibyte, in the fields that GNU keeps where ustar has its prefix.
            let mut fields = [0; 155];
            fields[41..53].copy_from_slice(b"00000000000\0");
            fields[53..65].copy_from_slice(b"00000000001\0");
            fields[138..150].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
            let entry = forge.entry("SHA256SUMS");
            entry.set(Field::Type, b"S");
            entry.set(Field::Magic, b"ustar  \0");
            entry.set(Field::Prefix, &fields);
        })
    }),
    ("gnu-long-name-with-a-nul", || {
        before_checksums(vec![long_name(b"SHA256SUMS\0/../../canary/file\0"), evil("SHA256SUMS")])
    }),
    ("gnu-long-name-of-64-mib", || {
        before_checksums(vec![long_name(&vec![b'a'; 64 << 20]), evil("SHA256SUMS")])
    }),
    ("gnu-long-name-twice", || {
        before_checksums(vec![long_name(b"oci-layout\0"), long_name(b"../canary/file\0"), evil("SHA256SUMS")])
    }),
    ("gnu-long-name-that-is-empty", || before_checksums(vec![long_name(b""), evil("SHA256SUMS")])),
    ("gnu-long-link-out", || {
        before_checksums(vec![
            Entry::new("SHA256SUMS", b"../canary/file\0").with(Field::Type, b"K"),
            of_type_at("SHA256SUMS", b"2", b"harmless"),
        ])
    }),
];
