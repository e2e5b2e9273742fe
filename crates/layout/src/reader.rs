//! The strict, one-pass reader of an archive. It is the order of checks of `docs/format.md` §6 as far as
//! it concerns bytes: what is read, how much of it at most, and that nothing else is there.
//!
//! It reads forward only and never goes back: what was checked is what was handed on. It never decides
//! on trust: the caller asks `manifests::verify` between the calls. What follows the documents may be read in
//! several places at the same time, if the caller has a file for which that is no burden: the same checks, the same
//! first error.

mod abreast;
mod cursor;

use std::io::{self, BufReader, Read};

use manifests::bundle::{BundleDigest, Content, MANIFEST_BYTES_MAX};
use manifests::inventory::INVENTORY_BYTES_MAX;
use manifests::root::{FoundSignature, SIGNATURE_BYTES_MAX};
use manifests::verify::{CheckedContents, Contents, Damage, MaybeManifest};
use manifests::{ArchivePath, BundleManifest, Digest, KeyId, sigstore};

pub use self::abreast::Places;
use self::cursor::Cursor;
use crate::header::{self, BLOCK_BYTES, Block};
use crate::medium;
use crate::signatures::AREA_BYTES;
use crate::writer::CHUNK_BYTES;

/// The place that [`ReadError::NotZero`] names for what a signature that was cut off leaves behind.
pub const RESERVED_AREA: &str = "in the area reserved for signatures";

/// Why an archive cannot be read to its end. `offset` counts bytes from the start of the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The medium failed.
    #[error("the medium cannot be read at byte {offset}")]
    Medium {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// It ends too early.
    #[error("the archive ends after {offset} bytes, inside {inside}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        inside: String,
    },
    /// It does not start as a bundle does.
    #[error("this is not a bundle: it does not start with a header for bundle.json")]
    NotABundle,
    /// A header that we would not have written.
    #[error("the header at byte {offset} is not one of a bundle")]
    Header {
        /// Where.
        offset: u64,
        /// What is wrong.
        source: header::HeaderError,
    },
    /// Another entry than the one that comes next.
    #[error("the entry at byte {offset} is {found}, expected {expected}")]
    Order {
        /// Where.
        offset: u64,
        /// What was found.
        found: String,
        /// What comes next.
        expected: &'static str,
    },
    /// A document over its limit.
    #[error("{path} claims {size} bytes, over its limit of {limit}")]
    TooLarge {
        /// Which.
        path: ArchivePath,
        /// What its header says.
        size: u64,
        /// What we read at most.
        limit: u64,
    },
    /// Bytes that must be zero and are not.
    #[error("byte {offset} is not zero, as it must be {place}")]
    NotZero {
        /// Where.
        offset: u64,
        /// Between entries, in the reserved area, at the end.
        place: &'static str,
    },
    /// A derived form that is not what follows from its signature.
    #[error("the entry at byte {offset}, {path}, is not what follows from the signature before it")]
    Derived {
        /// Where.
        offset: u64,
        /// Which.
        path: ArchivePath,
    },
    /// The signature area does not add up.
    #[error("the signature area is {found} bytes long, expected {AREA_BYTES}")]
    Area {
        /// What its headers say.
        found: u64,
    },
    /// Something after the end.
    #[error("the archive goes on after its end at byte {offset}")]
    Trailing {
        /// Where it should have ended.
        offset: u64,
    },
    /// Bytes that are not the signed ones.
    #[error("damaged before byte {offset}: {damage}")]
    Damaged {
        /// How far we had read.
        offset: u64,
        /// What is wrong. Not a source: its text is part of this one.
        damage: Damage,
    },
    /// What takes the bytes failed.
    #[error("the content of {path} cannot be stored")]
    Sink {
        /// Which entry.
        path: ArchivePath,
        /// Why.
        source: io::Error,
    },
}

/// Takes content while it is being checked, one entry after the other. Nothing that it has taken may be used before
/// [`BundleReader::stream`] or [`BundleReader::stream_abreast`] has returned without error.
pub trait Sink {
    /// An entry starts.
    ///
    /// # Errors
    /// It cannot be taken.
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()>;
    /// The next bytes of it.
    ///
    /// # Errors
    /// They cannot be taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// It is complete: `found` is what the bytes were that were written, and what was signed.
    ///
    /// # Errors
    /// It cannot be kept.
    fn end(&mut self, found: Content) -> io::Result<()>;
}

/// Makes sinks, one for each place of an archive that is read at the same time.
pub trait Sinks: Sync {
    /// What each place hands its bytes to.
    type Sink<'a>: Sink + Send
    where
        Self: 'a;

    /// One more.
    fn sink(&self) -> Self::Sink<'_>;
}

/// Takes nothing: for a check without a copy.
pub struct Discard;

impl Sinks for Discard {
    type Sink<'a> = Self;

    fn sink(&self) -> Self {
        Self
    }
}

impl Sink for Discard {
    fn begin(&mut self, _path: &ArchivePath, _content: Content) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _found: Content) -> io::Result<()> {
        Ok(())
    }
}

/// What was read before anything was checked.
#[derive(Debug, Clone)]
pub struct Head {
    /// `bundle.json` as it lies there. Not parsed.
    pub manifest: Vec<u8>,
    /// The signatures, in the order of the archive.
    pub signatures: Vec<FoundSignature>,
    /// Where the header of the reserved area is.
    pub reserved_offset: u64,
    /// How much of the area is left.
    pub reserved_bytes: u64,
}

impl Head {
    /// The digest of `bundle.json` as it lies there.
    #[must_use]
    pub fn bundle_digest(&self) -> BundleDigest {
        BundleDigest(Digest::of(&self.manifest))
    }
}

/// The documents between the head and the contents.
#[derive(Debug, Clone)]
pub struct Documents {
    /// `SHA256SUMS`
    pub checksums: Vec<u8>,
    /// `inventory.json`
    pub inventory: Vec<u8>,
}

/// Reads one archive. It reads ahead by a chunk, so the input needs no buffer.
pub struct BundleReader<R> {
    cursor: Cursor<BufReader<R>>,
    head: Head,
    /// The first derived form that is not one, until somebody goes on reading.
    odd_form: Option<ReadError>,
}

impl<R: Read> BundleReader<R> {
    /// Reads the manifest and the signatures, within their limits, and parses neither.
    ///
    /// # Errors
    /// It is not an archive of ours up to there, or the medium fails.
    pub fn open(input: R) -> Result<Self, ReadError> {
        let head =
            Head { manifest: Vec::new(), signatures: Vec::new(), reserved_offset: 0, reserved_bytes: 0 };
        let input = BufReader::with_capacity(CHUNK_BYTES, input);
        let mut reader = Self { cursor: Cursor::new(input, 0), head, odd_form: None };
        let size = match reader.cursor.header("the first header") {
            Ok((ArchivePath::Manifest, size)) => size,
            Err(error @ (ReadError::Medium { .. } | ReadError::Truncated { .. })) => return Err(error),
            Ok(_) | Err(_) => return Err(ReadError::NotABundle),
        };
        reader.head.manifest = reader.cursor.document(ArchivePath::Manifest, size, MANIFEST_BYTES_MAX)?;
        reader.signature_area()?;
        Ok(reader)
    }

    /// What was read so far.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The first derived form that does not follow from its signature, for who does not go on to
    /// [`BundleReader::contents`].
    pub fn take_odd_form(&mut self) -> Option<ReadError> {
        self.odd_form.take()
    }

    /// Reads `SHA256SUMS` and `inventory.json`, whose sizes the manifest states, and checks them. A derived
    /// form that does not follow from its signature is refused here and not in `open`: by now the caller has
    /// judged the signatures, and a manifest that somebody has changed was refused for that.
    ///
    /// # Errors
    /// They are damaged or do not agree, or the medium fails.
    pub fn contents(&mut self, manifest: &BundleManifest) -> Result<(Contents, Documents), ReadError> {
        if let Some(error) = self.take_odd_form() {
            return Err(error);
        }
        let checksums = self.signed_document(ArchivePath::Checksums, "SHA256SUMS", manifest.checksums)?;
        let inventory = self.signed_document(ArchivePath::Inventory, "inventory.json", manifest.inventory)?;
        let contents = Contents::agree(manifest, self.head.bundle_digest(), &checksums, &inventory);
        let contents =
            contents.map_err(|damage| ReadError::Damaged { offset: self.cursor.offset(), damage })?;
        Ok((contents, Documents { checksums, inventory }))
    }

    /// Reads everything else, once, and hands each byte to `sink` as it is hashed. `passed` is told how
    /// many bytes of the archive have gone by.
    ///
    /// # Errors
    /// Anything is missing, added, moved or changed, or the medium or the sink fails.
    pub fn stream(
        mut self,
        contents: Contents,
        sink: &mut dyn Sink,
        passed: &mut dyn FnMut(u64),
    ) -> Result<CheckedContents, ReadError> {
        let entries = contents.inventory().contents().count();
        let mut checklist = contents.checklist();
        let cursor = &mut self.cursor;
        for _ in 0..entries {
            let before = cursor.offset();
            let (path, size) = cursor.header("a header")?;
            checklist.begin(&path, size).map_err(|damage| ReadError::Damaged { offset: before, damage })?;
            let (found, document) = cursor.content(&path, size, sink, passed)?;
            let settled = checklist.settle(found);
            settled.map_err(|damage| ReadError::Damaged { offset: cursor.offset(), damage })?;
            checklist.remember(found.digest, MaybeManifest::of(document));
            sink.end(found).map_err(|source| ReadError::Sink { path: path.clone(), source })?;
            cursor.zeros(header::padding(size), "between entries")?;
        }
        cursor.end()?;
        checklist.finish().map_err(|damage| ReadError::Damaged { offset: cursor.offset(), damage })
    }

    /// The same in several places at the same time, if there is `file`: what this reader reads as well, for which that
    /// is no burden. What is wrong is what [`BundleReader::stream`] finds: of several errors the one that is first in
    /// the archive.
    ///
    /// # Errors
    /// As there.
    pub fn stream_abreast<S: Sinks>(
        self,
        contents: Contents,
        file: Option<&dyn Places>,
        sinks: &S,
        passed: &mut dyn FnMut(u64),
    ) -> Result<CheckedContents, ReadError> {
        match (file, medium::workers()) {
            (None, _) | (_, 0 | 1) => self.stream(contents, &mut sinks.sink(), passed),
            (Some(file), workers) => {
                abreast::stream((self.cursor.offset(), file), workers, contents, sinks, passed)
            }
        }
    }

    fn signature_area(&mut self) -> Result<(), ReadError> {
        let (mut used, mut before) = (0_u64, None);
        loop {
            let offset = self.cursor.offset();
            match self.cursor.header("the signature area")? {
                (ArchivePath::Signature(claimed), size) => {
                    let bytes =
                        self.cursor.document(ArchivePath::Signature(claimed), size, SIGNATURE_BYTES_MAX)?;
                    self.head.signatures.push(FoundSignature { claimed, bytes });
                    used = used.saturating_add(header::entry_bytes(size));
                    before = Some(claimed);
                }
                (ArchivePath::Sigstore(keyid), size) if before == Some(keyid) => {
                    self.sigstore_form(offset, keyid, size)?;
                    used = used.saturating_add(header::entry_bytes(size));
                    before = None;
                }
                (ArchivePath::Reserved, size) => {
                    if used.saturating_add(size) != AREA_BYTES {
                        return Err(ReadError::Area { found: used.saturating_add(size) });
                    }
                    self.head.reserved_offset = offset;
                    self.head.reserved_bytes = size;
                    return self.cursor.zeros(size, RESERVED_AREA);
                }
                (found, _) => {
                    let expected = "a signature or the reserved area";
                    return Err(ReadError::Order { offset, found: found.to_string(), expected });
                }
            }
            if used > AREA_BYTES {
                return Err(ReadError::Area { found: used });
            }
        }
    }

    /// Reads the form that is derived from the last signature. It is never parsed: it is derived again.
    fn sigstore_form(&mut self, offset: u64, keyid: KeyId, size: u64) -> Result<(), ReadError> {
        let path = ArchivePath::Sigstore(keyid);
        let found = self.cursor.document(path.clone(), size, sigstore::FORM_BYTES_MAX)?;
        let signature = self.head.signatures.last();
        let derived = signature.and_then(|s| sigstore::derive(keyid, &s.bytes, &self.head.manifest));
        if derived.is_none_or(|derived| derived != found) {
            self.odd_form.get_or_insert(ReadError::Derived { offset, path });
        }
        Ok(())
    }

    fn signed_document(
        &mut self,
        path: ArchivePath,
        name: &'static str,
        signed: Content,
    ) -> Result<Vec<u8>, ReadError> {
        let offset = self.cursor.offset();
        let (found, size) = self.cursor.header(name)?;
        if found != path {
            return Err(ReadError::Order { offset, found: found.to_string(), expected: name });
        }
        if size != signed.size {
            let damage = Damage::Size { path, found: size, expected: signed.size };
            return Err(ReadError::Damaged { offset, damage });
        }
        self.cursor.document(path, size, INVENTORY_BYTES_MAX)
    }
}

/// Where the reserved area of an archive is, without looking at what is in it: for putting right an area
/// that is not all zeros.
///
/// # Errors
/// The archive is not one of ours up to there.
pub fn find_reserved(archive: &std::fs::File) -> Result<(u64, u64), ReadError> {
    use std::os::unix::fs::FileExt;
    let (mut offset, mut used) = (0_u64, 0_u64);
    let mut block: Block = [0; BLOCK_BYTES as usize];
    for _ in 0..manifests::root::SIGNATURES_MAX {
        archive.read_exact_at(&mut block, offset).map_err(|source| ReadError::Medium { offset, source })?;
        let (path, size) = header::decode(&block).map_err(|source| ReadError::Header { offset, source })?;
        match path {
            ArchivePath::Manifest if offset == 0 => {}
            ArchivePath::Signature(_) | ArchivePath::Sigstore(_) if offset > 0 => {
                used = used.saturating_add(header::entry_bytes(size));
            }
            // Whoever zeros the area believes this size: it must be the one that is left.
            ArchivePath::Reserved if used.saturating_add(size) == AREA_BYTES => return Ok((offset, size)),
            ArchivePath::Reserved => return Err(ReadError::Area { found: used.saturating_add(size) }),
            _ => {
                let expected = "a signature or the reserved area";
                return Err(ReadError::Order { offset, found: path.to_string(), expected });
            }
        }
        offset = offset.saturating_add(header::entry_bytes(size));
    }
    Err(ReadError::Area { found: used })
}
