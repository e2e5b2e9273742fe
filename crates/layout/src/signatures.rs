//! The signature area of an archive, and attaching a signature to it in place: gigabytes are not
//! rewritten, only a few blocks are.
//!
//! The area has a constant length: signatures first, each with the form that is derived from it, then
//! `signatures/.reserved`, whose content is zeros. A signature takes the place of the head of the reserved
//! entry. The order of the writes keeps every old signature and the shape of the archive whole in every
//! state in between: first the new header of the reserved entry (still inside the old one's content), then
//! the signature's bytes and its derived form, and last one aligned block, the signature's header. A power
//! cut before that leaves a reserved area that is not all zeros: the reader refuses it and says so, and
//! [`clean`] puts it right. So there is never a derived form without its signature.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use manifests::{ArchivePath, KeyId, sigstore};

use crate::header::{self, BLOCK_BYTES};
use crate::reader::Head;

/// The length of the signature area without the header of the reserved entry: room for 32 raw
/// signatures, or 16 and their derived forms.
pub const AREA_BYTES: u64 = 32 * 1024;

/// Why a signature cannot be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No room is left.
    #[error("the archive has no room for another signature: {0} bytes are left of its signature area")]
    Full(u64),
    /// The archive cannot be written to.
    #[error("the signature cannot be written to the archive")]
    Write(#[source] io::Error),
}

/// Puts a signature into the archive, with its derived form if there is room for both.
///
/// # Errors
/// No room for the signature, or the file cannot be written to.
pub fn attach(archive: &File, head: &Head, keyid: KeyId, raw: &[u8]) -> Result<(), AttachError> {
    let room = head.reserved_bytes;
    let signature = header::entry_bytes(raw.len() as u64);
    let mut content = padded(raw);
    let mut taken = signature;
    if let Some(form) = sigstore::derive(keyid, raw, &head.manifest) {
        let size = form.len() as u64;
        let both = signature.saturating_add(header::entry_bytes(size));
        if both <= room {
            content.extend(header::encode(&ArchivePath::Sigstore(keyid), size));
            content.extend(padded(&form));
            taken = both;
        }
    }
    let rest = room.checked_sub(taken).ok_or(AttachError::Full(room))?;
    let at = head.reserved_offset;
    write(archive, at + taken, &header::encode(&ArchivePath::Reserved, rest))?;
    write(archive, at + BLOCK_BYTES, &content)?;
    write(archive, at, &header::encode(&ArchivePath::Signature(keyid), raw.len() as u64))
}

/// Content as it lies in an archive, up to the next block.
fn padded(content: &[u8]) -> Vec<u8> {
    let padding = header::padding(content.len() as u64);
    let zeros = std::iter::repeat_n(0, usize::try_from(padding).unwrap_or(0));
    content.iter().copied().chain(zeros).collect()
}

/// Zeros the reserved area: what a signature that was cut off has left there.
///
/// # Errors
/// The file cannot be written to.
pub fn clean(archive: &File, reserved_offset: u64, reserved_bytes: u64) -> Result<(), AttachError> {
    let zeros = vec![0_u8; usize::try_from(reserved_bytes.min(AREA_BYTES)).unwrap_or(0)];
    write(archive, reserved_offset + BLOCK_BYTES, &zeros)
}

fn write(archive: &File, offset: u64, bytes: &[u8]) -> Result<(), AttachError> {
    archive.write_all_at(bytes, offset).and_then(|()| archive.sync_data()).map_err(AttachError::Write)
}
