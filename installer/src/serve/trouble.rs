//! What goes wrong while serving and does not end the server.

use std::io;
use std::io::Read;

use manifests::bundle::Content;
use manifests::oci::OciError;
use manifests::{Digest, Timestamp};

use super::door::DoorError;
use super::shelf::Shelf;

/// Something that an operator should hear of. The server goes on; whoever asked got a 5xx answer or
/// less than there should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The inventory names a blob that the store does not have.
    #[error("blob {0} is missing from the site store")]
    BlobMissing(Digest),
    /// A blob in the store is shorter or longer than the inventory says.
    #[error("blob {digest} has {found} bytes in the site store, expected {expected}")]
    BlobSize {
        /// Which.
        digest: Digest,
        /// What the inventory says.
        expected: u64,
        /// What the file system says.
        found: u64,
    },
    /// A manifest or a chart's metadata in the store is no longer what was admitted.
    #[error("blob {0} in the site store does not have that digest any more")]
    BlobDigest(Digest),
    /// A blob could not be read.
    #[error("cannot read blob {digest}")]
    BlobRead {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A document that must be read whole is over its limit.
    #[error("blob {digest} of {size} bytes is over the limit of {limit} for a document")]
    BlobTooLarge {
        /// Which.
        digest: Digest,
        /// Its length.
        size: u64,
        /// What we would read.
        limit: u64,
    },
    /// An image's manifest does not parse, so its platforms cannot be served by digest.
    #[error("manifest {digest} cannot be served with its children")]
    Manifest {
        /// Which.
        digest: Digest,
        /// Why.
        source: OciError,
    },
    /// A manifest's media type cannot stand in a header.
    #[error("manifest {0} has a media type that is not one")]
    MediaType(Digest),
    /// A chart's metadata is not a JSON object.
    #[error("the metadata {0} of a chart is not a JSON object")]
    ChartMetadata(Digest),
    /// A wheel's metadata cannot be read from it, so it is listed without.
    #[error("the metadata of wheel {digest} cannot be read from it")]
    WheelMetadata {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The list of bundles could not be read again; the former one stays in use.
    #[error("cannot read the list of published bundles again")]
    Bundles(#[source] io::Error),
    /// A connection could not be accepted.
    #[error("cannot accept a connection")]
    Accept(#[source] io::Error),
    /// A blob is not what was admitted, and so not served any more.
    #[error("{reason}; withdrawn until it is whole again")]
    Withdrawn {
        /// Which.
        blob: Digest,
        /// What is wrong with it, and that it is this one.
        reason: String,
    },
    /// A blob that was withdrawn is whole again.
    #[error("blob {0} is whole again, and served")]
    Restored(Digest),
    /// What was withdrawn or is served again could not be written down; it is tried again.
    #[error("the record of withdrawn blobs cannot be written")]
    Record(#[source] io::Error),
    /// Certificate or users could not be read again; the former ones stay in use.
    #[error("the former certificate and users stay in use")]
    Reload(#[source] DoorError),
    /// They were read again.
    #[error("certificate and users were read again")]
    Reloaded,
    /// Wrong names or passwords since this was last said, which is once a minute at the most.
    #[error("{count} logins were refused, the last one from {from}")]
    Logins {
        /// How many.
        count: u64,
        /// Where the last one came from.
        from: std::net::IpAddr,
    },
    /// The server's certificate has not long to go.
    #[error("the server's certificate ends on {0}")]
    EndsSoon(Timestamp),
}

/// A digest, a path and two errors of the system fit.
const REASON_CHARACTERS_MAX: usize = 1000;

impl Trouble {
    /// The blob whose bytes are not what they were, if that is what it says. A blob that cannot be opened for
    /// want of file descriptors is none.
    pub(super) fn rotten(&self) -> Option<Digest> {
        match self {
            Self::BlobMissing(digest) | Self::BlobDigest(digest) | Self::BlobSize { digest, .. } => {
                Some(*digest)
            }
            Self::BlobRead { digest, source } => {
                let unreadable = source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
                let ends_early = source.kind() == io::ErrorKind::UnexpectedEof;
                (unreadable || ends_early).then_some(*digest)
            }
            _ => None,
        }
    }

    /// The whole of it in one line, causes included.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        manifests::text::printable_up_to(&text, REASON_CHARACTERS_MAX)
    }

    /// Whether it says that something is well again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Restored(_) | Self::Reloaded)
    }
}

/// Opens a blob whose length was compared with what the inventory says of it.
pub(super) fn open(shelf: &dyn Shelf, content: Content) -> Result<std::fs::File, Trouble> {
    let Content { digest, size: expected } = content;
    let read = |source| Trouble::BlobRead { digest, source };
    let file = shelf.open_blob(&digest).map_err(read)?.ok_or(Trouble::BlobMissing(digest))?;
    let found = file.metadata().map_err(read)?.len();
    if found == expected { Ok(file) } else { Err(Trouble::BlobSize { digest, expected, found }) }
}

/// Reads a document from the store and hashes it again: the answers for other blobs follow from it.
pub(super) fn read_document(shelf: &dyn Shelf, content: Content, limit: u64) -> Result<Vec<u8>, Trouble> {
    let Content { digest, size } = content;
    if size > limit {
        return Err(Trouble::BlobTooLarge { digest, size, limit });
    }
    let mut bytes = Vec::new();
    let file = open(shelf, content)?;
    file.take(size).read_to_end(&mut bytes).map_err(|source| Trouble::BlobRead { digest, source })?;
    if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(Trouble::BlobDigest(digest)) }
}
