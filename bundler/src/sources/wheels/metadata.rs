//! What a wheel says of itself: the head of its `*.dist-info/METADATA` (PEP 427; core metadata
//! specification), read without unpacking anything.
//!
//! *Invariant:* a [`WheelMetadata`] agrees with the wheel's file name, and the wheel is an archive that
//! every reader sees alike: no name twice, and none that leads out of it.

use std::io::{Read, Seek, SeekFrom, Write};

use manifests::text::printable;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::Class;
use super::filename::{WheelFilename, project_name};
use super::version::Version;

/// Bounds the files in one wheel. The largest wheels have about 30,000.
pub const ENTRIES_MAX: usize = 200_000;

/// Bounds `METADATA`: a project's whole description stands in it, a few hundred KiB at most.
pub const METADATA_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The head of a wheel's `METADATA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelMetadata {
    /// `Name`, as spelled.
    pub name: String,
    /// `Version`, as spelled.
    pub version: Version,
    /// `Requires-Python`, as spelled.
    pub requires_python: Option<String>,
    /// The `Requires-Dist` lines, as spelled.
    pub requires_dist: Vec<String>,
}

/// Why a wheel is not what it says it is.
#[derive(Debug, thiserror::Error)]
#[error("{filename}: {problem}")]
pub struct MetadataError {
    /// The wheel.
    pub filename: String,
    /// What is wrong with it.
    #[source]
    pub problem: MetadataProblem,
}

/// What is wrong with a wheel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataProblem {
    /// Not a ZIP archive, or a broken one.
    #[error("not a readable ZIP archive")]
    Archive(#[source] ZipError),
    /// More than [`ENTRIES_MAX`].
    #[error("{found} files inside, more than {ENTRIES_MAX}")]
    TooManyEntries {
        /// How many there were.
        found: usize,
    },
    /// One name twice: which of the two is meant depends on the reader.
    #[error("two files inside have the same name")]
    DuplicateEntry,
    /// A name that leads out of the wheel or means different things on different systems.
    #[error("a file inside has the name `{shown}`, which leads out of the wheel")]
    EntryName {
        /// The name, made printable.
        shown: String,
    },
    /// Its directory and the file itself have two names for one place: which one is meant depends on the
    /// reader.
    #[error("its directory calls a file `{shown}`, and the file calls itself something else")]
    LocalName {
        /// The name of the directory, made printable.
        shown: String,
    },
    /// Bytes before the archive.
    #[error("there are {found} bytes before the archive")]
    Prefix {
        /// How many there were.
        found: u64,
    },
    /// A symbolic link.
    #[error("a file inside, `{shown}`, is a link")]
    Link {
        /// Its name, made printable.
        shown: String,
    },
    /// No `*.dist-info`, or several.
    #[error("{found} .dist-info directories inside, expected 1")]
    DistInfo {
        /// How many there were.
        found: usize,
    },
    /// No `METADATA`.
    #[error("no METADATA inside")]
    NoMetadata,
    /// `METADATA` is longer than [`METADATA_BYTES_MAX`].
    #[error("METADATA is longer than {METADATA_BYTES_MAX} bytes")]
    TooLarge,
    /// A line of the head that is no `Key: value`.
    #[error("METADATA has `{shown}` among its head lines")]
    Line {
        /// The line, made printable.
        shown: String,
    },
    /// A key that has to be there once.
    #[error("METADATA has {found} `{key}` lines, expected {expected}")]
    Count {
        /// `Name`
        key: &'static str,
        /// How many there were.
        found: usize,
        /// `1`, `0 or 1`
        expected: &'static str,
    },
    /// The inside contradicts the file name.
    #[error("{place} says `{found}`, which is not the {what} in the file name")]
    Contradiction {
        /// `METADATA` or `.dist-info`.
        place: &'static str,
        /// What it says, made printable.
        found: String,
        /// `project` or `version`.
        what: &'static str,
    },
}

impl MetadataError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::Damaged
    }
}

/// A wheel of the same name that holds nothing but the `METADATA` of this one: all that a resolver reads,
/// in a few kilobytes. (`uv` unpacks whole wheels into its cache to look at it.)
///
/// # Errors
/// As for [`WheelMetadata::read`].
pub fn skeleton(reader: impl Read + Seek, filename: &WheelFilename) -> Result<Vec<u8>, MetadataError> {
    let problem = |problem| MetadataError { filename: filename.to_string(), problem };
    let (dist_info, metadata) = document(reader, filename).map_err(problem)?;
    let write = || -> Result<Vec<u8>, ZipError> {
        let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let kind = "Wheel-Version: 1.0\nGenerator: airlock\nRoot-Is-Purelib: true\n".as_bytes();
        for (name, bytes) in [("METADATA", metadata.as_slice()), ("WHEEL", kind), ("RECORD", &[])] {
            archive.start_file(format!("{dist_info}/{name}"), SimpleFileOptions::default())?;
            archive.write_all(bytes)?;
        }
        Ok(archive.finish()?.into_inner())
    };
    write().map_err(|error| problem(MetadataProblem::Archive(error)))
}

impl WheelMetadata {
    /// Reads the head of the wheel's `METADATA`, and nothing else of its content.
    ///
    /// # Errors
    /// The archive is broken, or it contradicts its name.
    pub fn read(reader: impl Read + Seek, filename: &WheelFilename) -> Result<Self, MetadataError> {
        read(reader, filename).map_err(|problem| MetadataError { filename: filename.to_string(), problem })
    }
}

fn read(reader: impl Read + Seek, filename: &WheelFilename) -> Result<WheelMetadata, MetadataProblem> {
    let (_, bytes) = document(reader, filename)?;
    let metadata = head(&bytes)?;
    if project_name(&metadata.name).ok().as_ref() != Some(filename.project()) {
        return Err(contradiction("METADATA", &metadata.name, "project"));
    }
    if metadata.version != *filename.version() {
        return Err(contradiction("METADATA", metadata.version.as_str(), "version"));
    }
    Ok(metadata)
}

/// The `.dist-info` directory of a wheel that agrees with its name, and the bytes of its `METADATA`.
fn document(
    reader: impl Read + Seek,
    filename: &WheelFilename,
) -> Result<(String, Vec<u8>), MetadataProblem> {
    let mut archive = ZipArchive::new(reader).map_err(MetadataProblem::Archive)?;
    if archive.len() > ENTRIES_MAX {
        return Err(MetadataProblem::TooManyEntries { found: archive.len() });
    }
    if archive.has_duplicate_names() {
        return Err(MetadataProblem::DuplicateEntry);
    }
    let dist_info = dist_info(&archive)?;
    agrees_with_name(&dist_info, filename)?;
    if archive.offset() > 0 {
        return Err(MetadataProblem::Prefix { found: archive.offset() });
    }
    let named = named_places(&mut archive)?;
    let entry = match archive.by_name(&format!("{dist_info}/METADATA")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Err(MetadataProblem::NoMetadata),
        Err(error) => return Err(MetadataProblem::Archive(error)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells a longer file from one that just fits.
    let read = entry.take(METADATA_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| MetadataProblem::Archive(ZipError::Io(error)))?;
    if bytes.len() as u64 > METADATA_BYTES_MAX {
        return Err(MetadataProblem::TooLarge);
    }
    same_names(&mut archive.into_inner(), &named)?;
    Ok((dist_info, bytes))
}

/// Where each file is, and what the directory at the end of the archive calls it. No file is a link.
fn named_places<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<Vec<(u64, Vec<u8>)>, MetadataProblem> {
    let mut named = Vec::new();
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).map_err(MetadataProblem::Archive)?;
        if entry.is_symlink() {
            return Err(MetadataProblem::Link {
                shown: printable(&String::from_utf8_lossy(entry.name_raw())),
            });
        }
        named.push((entry.header_start(), entry.name_raw().to_vec()));
    }
    Ok(named)
}

/// Each file calls itself as the directory does. Some readers believe the one, some the other.
fn same_names<R: Read + Seek>(reader: &mut R, named: &[(u64, Vec<u8>)]) -> Result<(), MetadataProblem> {
    let broken = |error| MetadataProblem::Archive(ZipError::Io(error));
    for (start, name) in named {
        // Signature, 22 bytes that do not matter here, the length of the name, that of what follows it.
        let mut header = [0; 30];
        reader.seek(SeekFrom::Start(*start)).and_then(|_| reader.read_exact(&mut header)).map_err(broken)?;
        let [.., low, high, _, _] = header;
        let mut own = vec![0; usize::from(u16::from_le_bytes([low, high]))];
        reader.read_exact(&mut own).map_err(broken)?;
        if !header.starts_with(b"PK\x03\x04") || own != *name {
            return Err(MetadataProblem::LocalName { shown: printable(&String::from_utf8_lossy(name)) });
        }
    }
    Ok(())
}

/// The one directory at the top that ends in `.dist-info`; on the way every name is checked.
fn dist_info<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<String, MetadataProblem> {
    let mut found: Vec<String> = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(MetadataProblem::Archive)?;
        if !stays_inside(&name) {
            return Err(MetadataProblem::EntryName { shown: printable(&name) });
        }
        let top = name.split_once('/').map_or("", |(top, _)| top);
        if top.ends_with(".dist-info") && !found.iter().any(|known| known == top) {
            found.push(top.to_owned());
        }
    }
    match <[String; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(found) => Err(MetadataProblem::DistInfo { found: found.len() }),
    }
}

/// Whether every system takes the name for the same place below the directory of unpacking.
fn stays_inside(name: &str) -> bool {
    let directory = name.strip_suffix('/').unwrap_or(name);
    !name.contains(['\\', '\0'])
        && directory.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !(name.chars().nth(1) == Some(':') && name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// `{distribution}-{version}.dist-info`
fn agrees_with_name(dist_info: &str, filename: &WheelFilename) -> Result<(), MetadataProblem> {
    let stem = dist_info.strip_suffix(".dist-info").unwrap_or(dist_info);
    let (name, version) = stem.split_once('-').unwrap_or((stem, ""));
    if project_name(name).ok().as_ref() != Some(filename.project()) {
        return Err(contradiction(".dist-info", dist_info, "project"));
    }
    if version.parse::<Version>().ok().as_ref() != Some(filename.version()) {
        return Err(contradiction(".dist-info", dist_info, "version"));
    }
    Ok(())
}

fn contradiction(place: &'static str, found: &str, what: &'static str) -> MetadataProblem {
    MetadataProblem::Contradiction { place, found: printable(found), what }
}

/// The lines up to the first empty one. A line that starts with a blank continues the one before.
fn head(bytes: &[u8]) -> Result<WheelMetadata, MetadataProblem> {
    // Old wheels have authors' names in other encodings; what is read here is ASCII in all of them.
    let text = String::from_utf8_lossy(bytes);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines().take_while(|line| !line.is_empty()) {
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), fields.last_mut()) {
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (key, value) =
            line.split_once(':').ok_or_else(|| MetadataProblem::Line { shown: printable(line) })?;
        fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let values = |key: &'static str| {
        let key = key.to_ascii_lowercase();
        fields.iter().filter(|(found, _)| *found == key).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let one = |key: &'static str| {
        let found = values(key);
        <[String; 1]>::try_from(found).map(|[only]| only).map_err(|found| MetadataProblem::Count {
            key,
            found: found.len(),
            expected: "1",
        })
    };
    let requires_python = values("Requires-Python");
    if requires_python.len() > 1 {
        let found = requires_python.len();
        return Err(MetadataProblem::Count { key: "Requires-Python", found, expected: "0 or 1" });
    }
    let version = one("Version")?;
    Ok(WheelMetadata {
        name: one("Name")?,
        version: version.parse().map_err(|_| contradiction("METADATA", &version, "version"))?,
        requires_python: requires_python.into_iter().next().filter(|text| !text.is_empty()),
        requires_dist: values("Requires-Dist"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::CompressionMethod;

    /// A wheel with these files; the names are not checked.
    pub(in super::super) fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for (name, content) in files {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    pub(in super::super) const METADATA: &str = "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 6.4.0\n\
         Requires-Python: >=3.7,\n  <4\nRequires-Dist: setuptools\nRequires-Dist: coverage ; extra == 'test'\n\
         Description-Content-Type: text/x-rst\n\nName: not this one\nno head line\n";

    fn read_as(filename: &str, bytes: &[u8]) -> Result<WheelMetadata, MetadataProblem> {
        let filename = filename.parse().unwrap_or_else(|error| panic!("{error}"));
        WheelMetadata::read(Cursor::new(bytes), &filename).map_err(|error| error.problem)
    }

    const ZOPE: &str = "zope.interface-6.4-cp311-cp311-win_amd64.whl";

    fn zope(files: &[(&str, &str)]) -> Result<WheelMetadata, MetadataProblem> {
        read_as(ZOPE, &wheel(files))
    }

    #[test]
    fn reads_the_head_and_not_the_description() {
        let found = zope(&[
            ("zope/__init__.py", ""),
            ("zope_interface-6.4.dist-info/METADATA", METADATA),
            ("zope_interface-6.4.dist-info/licenses/x.dist-info/METADATA", "x"),
        ])
        .unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("Zope.Interface", "6.4.0"));
        assert_eq!(found.requires_python.as_deref(), Some(">=3.7, <4"));
        assert_eq!(found.requires_dist, ["setuptools", "coverage ; extra == 'test'"]);
    }

    #[test]
    fn refuses_a_wheel_that_contradicts_its_file_name() {
        let says = |dist_info: &str, metadata: &str| {
            let name = format!("{dist_info}/METADATA");
            zope(&[(name.as_str(), metadata)]).unwrap_err().to_string()
        };
        let renamed = METADATA.replace("Zope.Interface", "evil");
        assert_eq!(
            says("zope_interface-6.4.dist-info", &renamed),
            "METADATA says `evil`, which is not the project in the file name"
        );
        let older = METADATA.replace("6.4.0", "6.3");
        assert_eq!(
            says("zope_interface-6.4.dist-info", &older),
            "METADATA says `6.3`, which is not the version in the file name"
        );
        assert!(says("evil-6.4.dist-info", METADATA).contains("not the project"));
        assert!(says("zope_interface-6.5.dist-info", METADATA).contains("not the version"));
        assert!(says("zope_interface.dist-info", METADATA).contains("not the version"));
    }

    #[test]
    fn refuses_a_wheel_that_readers_see_differently() {
        let good = ("zope_interface-6.4.dist-info/METADATA", METADATA);
        for bad in ["../evil.py", "/etc/passwd", "a/../../b", "a\\b", "C:evil", "a//b", "./a", "a\0b"] {
            assert!(
                matches!(zope(&[good, (bad, "")]), Err(MetadataProblem::EntryName { .. })),
                "accepted {bad:?}"
            );
        }
        let two = zope(&[good, ("zope.interface-6.4.dist-info/METADATA", METADATA)]);
        assert!(matches!(two, Err(MetadataProblem::DistInfo { found: 2 })));
        assert!(matches!(zope(&[("x.py", "")]), Err(MetadataProblem::DistInfo { found: 0 })));
        let no_metadata = zope(&[("zope_interface-6.4.dist-info/WHEEL", "")]);
        assert!(matches!(no_metadata, Err(MetadataProblem::NoMetadata)));
        // The writer takes no name twice, so the second is renamed afterwards.
        let mut bytes = wheel(&[good, ("zope_interface-6.4.dist-info/METADATB", "")]);
        while let Some(place) = bytes.windows(8).position(|window| window == b"METADATB") {
            bytes[place + 7] = b'A';
        }
        assert!(matches!(read_as(ZOPE, &bytes), Err(MetadataProblem::DuplicateEntry)));
    }

    #[test]
    fn a_skeleton_says_the_same_of_itself_and_holds_nothing_else() {
        let whole = wheel(&[("zope/__init__.py", "x"), ("zope_interface-6.4.dist-info/METADATA", METADATA)]);
        let bytes = skeleton(Cursor::new(&whole), &ZOPE.parse().unwrap()).unwrap();
        assert_eq!(read_as(ZOPE, &bytes).unwrap(), read_as(ZOPE, &whole).unwrap());
        assert_eq!(ZipArchive::new(Cursor::new(bytes)).unwrap().len(), 3);
        assert!(skeleton(Cursor::new(b"x"), &ZOPE.parse().unwrap()).is_err());
    }

    #[test]
    fn refuses_metadata_that_is_not_a_head() {
        let says = |metadata: &str| zope(&[("zope_interface-6.4.dist-info/METADATA", metadata)]).unwrap_err();
        assert!(matches!(says(""), MetadataProblem::Count { key: "Version", found: 0, .. }));
        assert!(matches!(
            says("Name: a\nName: b\nVersion: 1\n"),
            MetadataProblem::Count { key: "Name", found: 2, .. }
        ));
        assert!(matches!(says("no colon\n"), MetadataProblem::Line { .. }));
        let long = format!("{METADATA}{}", "x".repeat(METADATA_BYTES_MAX as usize));
        assert!(matches!(says(&long), MetadataProblem::TooLarge));
    }

    #[test]
    fn refuses_bytes_that_are_no_archive_or_a_broken_one() {
        assert!(matches!(read_as(ZOPE, b"no archive"), Err(MetadataProblem::Archive(_))));
        let whole = wheel(&[("zope_interface-6.4.dist-info/METADATA", METADATA)]);
        for end in 0..whole.len() {
            assert!(read_as(ZOPE, &whole[..end]).is_err(), "accepted the first {end} bytes");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_changed_byte_makes_it_fail_without_an_error(place in 0_usize..600, byte: u8) {
            let mut bytes = wheel(&[("zope_interface-6.4.dist-info/METADATA", METADATA)]);
            if let Some(found) = bytes.get_mut(place) {
                *found = byte;
            }
            let _ = read_as(ZOPE, &bytes);
        }
    }
}
