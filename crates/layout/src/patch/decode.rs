//! Reads a patch as it passes by, and makes the blob of it.

use std::io::{self, Write};

use manifests::bundle::Content;
use manifests::{Digest, Hasher};
use zstd::zstd_safe::{self, DCtx};

use super::index::{Index, IndexError, Wish};
use crate::recovery::Source;

/// What a frame of ours starts with: the magic number of RFC 8878 §3.1.1.
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The bits of the next byte that are the same in each of them: one segment, so that the window is what comes out of the
/// frame; no checksum and no dictionary (RFC 8878 §3.1.1.1.1).
const DESCRIPTOR: u8 = 0b0010_0000;
const DESCRIPTOR_BITS: u8 = 0b0011_1111;

/// Why a patch does not make its blob.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Its index is another one than was signed.
    #[error("its index has digest {0}")]
    IndexDigest(Digest),
    /// Its index is none.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A frame that the index does not speak of.
    #[error("frame {segment} has digest {found}")]
    FrameDigest {
        /// Which, counted from 1.
        segment: usize,
        /// What it has.
        found: Digest,
    },
    /// A frame that is not one of ours.
    #[error("frame {segment}: {reason}")]
    Frame {
        /// Which, counted from 1.
        segment: usize,
        /// What is wrong.
        reason: String,
    },
    /// It ends too early.
    #[error("it ends before frame {0} does")]
    Short(usize),
    /// It goes on.
    #[error("it goes on after its last frame")]
    Trailing,
    /// It makes something else.
    #[error("what it makes has digest {0}")]
    Result(Digest),
    /// The base cannot be read.
    #[error("the blob that it is made for cannot be read")]
    Base(#[source] io::Error),
    /// What takes the blob fails.
    #[error("what it makes cannot be written")]
    Output(#[source] io::Error),
}

/// A patch that is passing by. Of a failure it says nothing more: what follows need not be pushed.
#[derive(Debug, Clone)]
pub struct Decoder<B> {
    wish: Wish,
    /// Without one only the patch's form is checked, and nothing comes of it.
    base: Option<B>,
    index: Option<Index>,
    /// The segment that comes next, counted from 0.
    next: usize,
    /// What has passed of the index, or of a frame.
    piece: Vec<u8>,
    hasher: Hasher,
}

impl<B: Source> Decoder<B> {
    /// Of a patch that was signed, against what it is made for.
    pub fn new(wish: Wish, base: Option<B>) -> Self {
        Self { wish, base, index: None, next: 0, piece: Vec::new(), hasher: Hasher::new() }
    }

    /// Whether anything is made, or only the form is checked.
    #[must_use]
    pub fn makes(&self) -> bool {
        self.base.is_some()
    }

    /// How long the piece is that passes now; 0 after the last one.
    fn piece_bytes(&self) -> Result<usize, PatchError> {
        let bytes = match &self.index {
            None => self.wish.index_bytes()?,
            Some(index) => index.segments.get(self.next).map_or(0, |segment| u64::from(segment.frame)),
        };
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Takes the next bytes of the patch, and hands on what can be made of them.
    ///
    /// # Errors
    /// See [`PatchError`].
    pub fn push(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> Result<(), PatchError> {
        while !bytes.is_empty() {
            let whole = self.piece_bytes()?;
            let wanted = whole.saturating_sub(self.piece.len());
            if wanted == 0 {
                // A frame without a byte is none, and after the last one there is nothing.
                let is_last = self.index.as_ref().is_some_and(|index| self.next >= index.segments.len());
                return Err(if is_last { PatchError::Trailing } else { self.frame_error("it is empty") });
            }
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.piece.extend_from_slice(taken);
            bytes = rest;
            if self.piece.len() == whole {
                self.finish_piece(out)?;
            }
        }
        Ok(())
    }

    fn finish_piece(&mut self, out: &mut dyn Write) -> Result<(), PatchError> {
        let piece = std::mem::take(&mut self.piece);
        let found = Digest::of(&piece);
        match &self.index {
            None if found != self.wish.index => Err(PatchError::IndexDigest(found)),
            None => {
                self.index = Some(Index::decode(&piece, &self.wish)?);
                Ok(())
            }
            Some(index) => {
                let segment = self.next.saturating_add(1);
                if index.segments.get(self.next).is_none_or(|expected| expected.digest != found) {
                    return Err(PatchError::FrameDigest { segment, found });
                }
                self.frame(&piece, out)?;
                self.next = segment;
                // The next one is about as long.
                self.piece = piece;
                self.piece.clear();
                Ok(())
            }
        }
    }

    fn frame_error(&self, reason: impl Into<String>) -> PatchError {
        PatchError::Frame { segment: self.next.saturating_add(1), reason: reason.into() }
    }

    /// Holds a frame to the one form that we write, then decompresses it into exactly the bytes that it has to make.
    fn frame(&mut self, frame: &[u8], out: &mut dyn Write) -> Result<(), PatchError> {
        let Some(index) = &self.index else { return Ok(()) };
        let Some(segment) = index.segments.get(self.next).copied() else { return Ok(()) };
        let size = index.segment_bytes(self.next);
        let descriptor = frame.strip_prefix(&FRAME_MAGIC).and_then(|rest| rest.first());
        if descriptor.is_none_or(|byte| byte & DESCRIPTOR_BITS != DESCRIPTOR) {
            return Err(self.frame_error("it is not a frame as a patch has them"));
        }
        if !matches!(zstd_safe::get_frame_content_size(frame), Ok(Some(stated)) if stated == size as u64) {
            return Err(self.frame_error(format!("it does not state the {size} bytes of its segment")));
        }
        match zstd_safe::find_frame_compressed_size(frame) {
            Ok(length) if length == frame.len() => {}
            Ok(_) => return Err(self.frame_error("something follows it")),
            Err(code) => return Err(self.frame_error(zstd_safe::get_error_name(code))),
        }
        let Some(base) = &self.base else { return Ok(()) };
        let mut prefix = vec![0_u8; segment.prefix as usize];
        base.read_at(&mut prefix, segment.offset).map_err(PatchError::Base)?;
        let made = decompress(frame, &prefix, size).map_err(|reason| self.frame_error(reason))?;
        self.hasher.update(&made);
        out.write_all(&made).map_err(PatchError::Output)
    }

    /// The patch has ended: gives what it made, which is what was signed.
    ///
    /// # Errors
    /// It did not end, or made something else.
    pub fn finish(self) -> Result<Content, PatchError> {
        let count = self.index.as_ref().map_or(usize::MAX, |index| index.segments.len());
        if self.next < count {
            return Err(PatchError::Short(self.next.saturating_add(1)));
        }
        let made = Content { size: self.hasher.size(), digest: self.hasher.finish() };
        if self.base.is_some() && made != self.wish.result {
            return Err(PatchError::Result(made.digest));
        }
        Ok(self.wish.result)
    }
}

/// One frame into exactly so many bytes. The context lives for one frame: it borrows the prefix.
fn decompress(frame: &[u8], prefix: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut context = DCtx::try_create().ok_or("there is no memory for it")?;
    let named = |code| zstd_safe::get_error_name(code).to_string();
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(named)?;
    }
    let mut made = vec![0_u8; size];
    let count = context.decompress(made.as_mut_slice(), frame).map_err(named)?;
    if count != size {
        return Err(format!("it makes {count} bytes in place of {size}"));
    }
    Ok(made)
}
