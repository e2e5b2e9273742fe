//! What a file is, by its first bytes, and what of that is *active content*: what does something when it is opened.
//! A name only adds to that: what is called a script is one, whatever is in it, and no name makes a file harmless.

/// So much of a file is looked at: the mark of a tar archive is within it.
pub(super) const PREFIX_BYTES: usize = 512;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) word: &'static str,
    pub(super) active: Vec<&'static str>,
}

/// First bytes, what they mean, and why that is active content if it is.
const MARKS: [(&[u8], &str, Option<&str>); 31] = [
    (b"\x7fELF", "program (ELF)", Some("program")),
    (b"MZ", "program (PE, DOS)", Some("program")),
    (b"\xfe\xed\xfa\xce", "program (Mach-O)", Some("program")),
    (b"\xfe\xed\xfa\xcf", "program (Mach-O)", Some("program")),
    (b"\xce\xfa\xed\xfe", "program (Mach-O)", Some("program")),
    (b"\xcf\xfa\xed\xfe", "program (Mach-O)", Some("program")),
    (b"\xca\xfe\xba\xbe", "program (Java class or Mach-O)", Some("program")),
    (b"\0asm", "program (WebAssembly)", Some("program")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office document (OLE)", Some("may hold macros")),
    (b"{\\rtf", "rich text", Some("may hold objects")),
    (b"%PDF-", "PDF", Some("PDF")),
    (b"%!PS", "PostScript", Some("script")),
    (b"\x1f\x8b", "gzip", Some("archive")),
    (b"PK\x03\x04", "zip archive", Some("archive")),
    (b"PK\x05\x06", "zip archive", Some("archive")),
    (b"\x28\xb5\x2f\xfd", "zstd", Some("archive")),
    (b"\xfd7zXZ\0", "xz", Some("archive")),
    (b"BZh", "bzip2", Some("archive")),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive", Some("archive")),
    (b"Rar!\x1a\x07", "RAR archive", Some("archive")),
    (b"!<arch>\n", "ar archive", Some("archive")),
    (b"\xed\xab\xee\xdb", "RPM package", Some("archive")),
    (b"070701", "cpio archive", Some("archive")),
    (b"070707", "cpio archive", Some("archive")),
    (b"MSCF", "cabinet archive", Some("archive")),
    (b"\x89PNG", "picture", None),
    (b"GIF8", "picture", None),
    (b"\xff\xd8\xff", "picture", None),
    (b"SQLite format 3\0", "database", None),
    (b"-----BEGIN ", "PEM", None),
    (b"\x4c\x00\x00\x00\x01\x14\x02\x00", "shortcut (LNK)", Some("script")),
];

/// Ends of names, and why what is called so is active content.
const ENDS: [(&str, &str); 40] = [
    ("sh", "script"),
    ("bash", "script"),
    ("py", "script"),
    ("pyc", "program"),
    ("pth", "script"),
    ("js", "script"),
    ("mjs", "script"),
    ("cjs", "script"),
    ("ps1", "script"),
    ("psm1", "script"),
    ("bat", "script"),
    ("cmd", "script"),
    ("vbs", "script"),
    ("vbe", "script"),
    ("wsf", "script"),
    ("hta", "script"),
    ("pl", "script"),
    ("rb", "script"),
    ("php", "script"),
    ("lua", "script"),
    ("tcl", "script"),
    ("jar", "program"),
    ("class", "program"),
    ("so", "program"),
    ("dll", "program"),
    ("exe", "program"),
    ("com", "program"),
    ("scr", "program"),
    ("msi", "program"),
    ("lnk", "script"),
    ("docm", "may hold macros"),
    ("dotm", "may hold macros"),
    ("xlsm", "may hold macros"),
    ("xltm", "may hold macros"),
    ("xlam", "may hold macros"),
    ("pptm", "may hold macros"),
    ("html", "web page"),
    ("htm", "web page"),
    ("svg", "web page"),
    ("xsl", "script"),
];

/// What a file is.
pub(super) fn kind(prefix: &[u8], name: &str) -> Kind {
    let mut kind = by_content(prefix);
    let lower = name.to_ascii_lowercase();
    let file = lower.rsplit('/').next().unwrap_or_default();
    let end = file.rsplit_once('.').map(|(_, end)| end);
    let by_name = ENDS.iter().find(|(known, _)| Some(*known) == end).map(|(_, active)| *active);
    // A library by its version: `libc.so.6`.
    let library = file.contains(".so.").then_some("program");
    // Where an Office document keeps its macros, whatever it is called.
    let macros = file.starts_with("vbaproject").then_some("macros");
    for active in [by_name, library, macros].into_iter().flatten() {
        if !kind.active.contains(&active) {
            kind.active.push(active);
        }
    }
    kind
}

fn by_content(prefix: &[u8]) -> Kind {
    let of = |word, active: Option<&'static str>| Kind { word, active: active.into_iter().collect() };
    if prefix.is_empty() {
        return of("empty", None);
    }
    if let Some((_, word, active)) = MARKS.iter().find(|(mark, ..)| prefix.starts_with(mark)) {
        return of(word, *active);
    }
    if prefix.get(257..262) == Some(b"ustar") {
        return of("tar archive", Some("archive"));
    }
    let body = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(prefix);
    if body.starts_with(b"#!") {
        return of("script", Some("script"));
    }
    // The last character may be cut.
    let is_text = match std::str::from_utf8(body) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && prefix.len() >= PREFIX_BYTES,
    };
    let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0c);
    if !is_text || body.iter().any(is_control) {
        return of("data", None);
    }
    let text = String::from_utf8_lossy(body).trim_start().to_ascii_lowercase();
    let is_page = ["<!doctype html", "<html", "<svg", "<script"].iter().any(|tag| text.contains(tag));
    match text.chars().next() {
        _ if is_page => of("web page", Some("web page")),
        Some('<') => of("XML", None),
        Some('{' | '[') => of("JSON", None),
        _ => of("text", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_what_a_file_is_and_a_name_only_adds_to_it() {
        for (prefix, name, word, active) in [
            (&b"\x7fELF\x02"[..], "notes.txt", "program (ELF)", &["program"][..]),
            (b"MZ\x90", "a.txt", "program (PE, DOS)", &["program"]),
            (b"#!/bin/sh\n", "README", "script", &["script"]),
            (b"\xef\xbb\xbf#!/bin/sh\n", "README", "script", &["script"]),
            (b"import os\n", "a/b.py", "text", &["script"]),
            (b"%PDF-1.7", "x", "PDF", &["PDF"]),
            (b"PK\x03\x04", "x.docm", "zip archive", &["archive", "may hold macros"]),
            (b"\0\0\0", "word/vbaProject.bin", "data", &["macros"]),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "x", "Office document (OLE)", &["may hold macros"]),
            (b"  <!DOCTYPE html>", "x", "web page", &["web page"]),
            (b"{\"a\":1}", "x", "JSON", &[]),
            (b"", "x", "empty", &[]),
            ("größe".as_bytes(), "x", "text", &[]),
            (b"\0\x01", "x", "data", &[]),
            (b"\x7fEL", "lib/libc.so.6", "data", &["program"]),
        ] {
            assert_eq!(kind(prefix, name), Kind { word, active: active.to_vec() }, "{name}");
        }
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(kind(&tar, "x").word, "tar archive");
    }
}
