//! The archive: a plain tar (POSIX ustar, as bundles are), whose first file is `CONTENTS.txt`, a table of contents
//! for whoever decides whether it may leave. The same files give the same bytes.

use edge::show::wrap;
use layout::header::{BLOCK_BYTES, encode_named, padding};
use manifests::Timestamp;

use super::{Diagnosis, Piece};

/// The first file.
pub const CONTENTS: &str = "CONTENTS.txt";
/// What is said before the list.
const HEAD: &str = include_str!("contents.txt");

/// The table of contents.
#[must_use]
pub fn contents(diagnosis: &Diagnosis, made: Timestamp) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("{HEAD}\nMade on {made} by installer {version}.\n\nFILES\n");
    for (number, piece) in diagnosis.pieces.iter().enumerate() {
        text.push_str(&entry(number.saturating_add(1), piece));
    }
    if diagnosis.pieces.is_empty() {
        text.push_str("\n   none\n");
    }
    text.push_str("\nLEFT OUT, AS SOMEBODY WANTED IT\n\n");
    let left_out = diagnosis.left_out.iter().map(|id| {
        if id == "pod-logs" { "pod-logs (they go in with --pod-logs only)".to_string() } else { id.clone() }
    });
    text.push_str(&listed(left_out));
    text.push_str("\nWHAT COULD NOT BE LOOKED AT\n\n");
    text.push_str(&listed(diagnosis.gaps.iter().map(|gap| format!("{}: {}", gap.what, gap.why))));
    text
}

fn entry(number: usize, piece: &Piece) -> String {
    let lines = piece.text.lines().count();
    let replaced: Vec<String> =
        piece.replaced.iter().map(|(kind, count)| format!("{count} of kind {kind}")).collect();
    let fields = [
        ("id", piece.section.id().to_string()),
        ("what", piece.section.meaning().to_string()),
        ("size", format!("{} bytes, {lines} lines", piece.text.len())),
        ("sha256", piece.digest().hex()),
        ("goes in", piece.section.rule().to_string()),
        ("replaced", if replaced.is_empty() { "nothing".to_string() } else { replaced.join(", ") }),
    ];
    let fields = fields.iter().map(|(name, value)| wrap(&format!("     {name}"), 15, value));
    format!("\n{number:>3}. {}\n{}", piece.path, fields.collect::<String>())
}

/// A list, broken between words.
fn listed(items: impl Iterator<Item = String>) -> String {
    let text: String = items.map(|item| wrap("   -", 5, &item)).collect();
    if text.is_empty() { "   nothing\n".to_string() } else { text }
}

/// The bytes of the archive.
#[must_use]
pub fn bytes(diagnosis: &Diagnosis, made: Timestamp) -> Vec<u8> {
    let contents = contents(diagnosis, made);
    let files = diagnosis.pieces.iter().map(|piece| (piece.path.as_str(), piece.text.as_str()));
    let mut archive = Vec::new();
    for (path, text) in std::iter::once((CONTENTS, contents.as_str())).chain(files) {
        let size = text.len() as u64;
        // Our own names are short.
        let Some(header) = encode_named(path, size) else { continue };
        archive.extend_from_slice(&header);
        archive.extend_from_slice(text.as_bytes());
        archive.extend((0..padding(size)).map(|_| 0));
    }
    // Two empty blocks are the end.
    archive.extend((0..BLOCK_BYTES.saturating_mul(2)).map(|_| 0));
    archive
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Section;
    use std::collections::BTreeMap;
    use std::io::Read;

    #[test]
    fn a_tar_reader_finds_the_contents_first_and_then_every_file() {
        let piece = |path: &str, text: &str| Piece {
            section: Section::Versions,
            path: path.to_string(),
            text: text.to_string(),
            replaced: BTreeMap::new(),
        };
        let pieces = vec![piece("versions.txt", "installer 0.1.0\n"), piece("journals/000001.txt", "")];
        let diagnosis = Diagnosis { pieces, left_out: Vec::new(), gaps: Vec::new() };
        let made = "2026-11-20T12:00:00Z".parse().unwrap();
        let archive = bytes(&diagnosis, made);
        assert_eq!(archive, bytes(&diagnosis, made));
        let mut tar = tar::Archive::new(archive.as_slice());
        let found: Vec<(String, String)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        assert_eq!(found[0], (CONTENTS.to_string(), contents(&diagnosis, made)));
        assert_eq!(found[1], ("versions.txt".to_string(), "installer 0.1.0\n".to_string()));
        assert_eq!(found[2], ("journals/000001.txt".to_string(), String::new()));
        assert_eq!(found.len(), 3);
    }
}
