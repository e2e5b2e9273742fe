//! A response's bytes. Blobs are read up to 256 KiB at a time on blocking threads, through a short channel:
//! the default of reading a file through the async runtime, 4 KiB at a time, costs ten times the CPU. The more
//! downloads there are, the smaller is what each holds.
//!
//! *Invariants:* a download holds its slot, and with it at most [`CHUNKS_HELD`] chunks of memory, until its last
//! byte is sent or its connection is gone. A thread is held only while it reads. Whoever gets the last byte of a
//! whole blob got the bytes of its digest: they are hashed on their way, and what is rotten is cut off before its
//! end, so that no client takes it for complete.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use manifests::{Digest, Hasher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::trouble::Trouble;

/// One read from the disk, at most and at least.
const CHUNK_BYTES_MAX: u64 = 256 * 1024;
const CHUNK_BYTES_MIN: u64 = 8 * 1024;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 2;
/// Those, one that is being read, and one or two that are being sent.
const CHUNKS_HELD: u64 = 5;
/// What all downloads hold together.
const BUFFERED_BYTES: u64 = 24 * 1024 * 1024;

/// The slots of downloads: who has one may hold some chunks.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    all: usize,
}

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// Waits for one.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// How much each download reads at a time now, in pages.
    fn chunk_bytes(&self) -> u64 {
        let taken = self.all.saturating_sub(self.free.available_permits()).max(1) as u64;
        let share = BUFFERED_BYTES / taken.saturating_mul(CHUNKS_HELD).max(1);
        (share & !4095).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
    }
}

/// What is to be sent of a file.
pub(super) struct Source {
    /// Positioned at the first byte.
    pub(super) file: File,
    /// How many bytes.
    pub(super) length: u64,
    /// Which blob.
    pub(super) blob: Digest,
    /// Whether it is all of it, so that its digest can be compared.
    pub(super) is_whole: bool,
}

/// The body of a response.
#[derive(Debug)]
pub(super) enum Payload {
    /// No bytes.
    Nothing,
    /// All bytes at once.
    Whole(Bytes),
    /// Bytes as they are read.
    Stream {
        /// What was read.
        chunks: mpsc::Receiver<io::Result<Bytes>>,
        /// Bytes still to come.
        left: u64,
        /// The right to be one of so many downloads; given back when this is dropped.
        _slot: OwnedSemaphorePermit,
    },
}

impl Payload {
    /// The bytes of a source. `failed` hears why if they cannot be read, or are not what they were; the client
    /// sees its connection end early.
    pub(super) fn stream(
        source: Source,
        slots: &Slots,
        slot: OwnedSemaphorePermit,
        failed: impl FnOnce(Trouble) + Send + 'static,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let left = source.length;
        tokio::spawn(feed(source, slots.clone(), sender, failed));
        Self::Stream { chunks, left, _slot: slot }
    }
}

async fn feed(
    source: Source,
    slots: Slots,
    sender: mpsc::Sender<io::Result<Bytes>>,
    failed: impl FnOnce(Trouble) + Send + 'static,
) {
    let Source { file, length: mut left, blob, is_whole } = source;
    let mut reading = Reading { file, hasher: is_whole.then(Hasher::new), blob };
    while left > 0 {
        // An error here means that nobody is left to send to.
        let Ok(place) = sender.reserve().await else { return };
        let length = left.min(slots.chunk_bytes());
        let is_last = length == left;
        let read = tokio::task::spawn_blocking(move || reading.next(length, is_last));
        match read.await {
            Ok(Ok((same, chunk))) => {
                reading = same;
                left = left.saturating_sub(chunk.len() as u64);
                place.send(Ok(chunk));
            }
            Ok(Err(trouble)) => {
                // First of all nobody else gets it.
                let _ = tokio::task::spawn_blocking(move || failed(trouble)).await;
                place.send(Err(io::ErrorKind::InvalidData.into()));
                return;
            }
            Err(_) => return,
        }
    }
}

/// A file that is being sent.
struct Reading {
    file: File,
    hasher: Option<Hasher>,
    blob: Digest,
}

impl Reading {
    /// The next bytes. Of a whole blob the last ones come only if all of them are what they should be.
    fn next(mut self, length: u64, is_last: bool) -> Result<(Self, Bytes), Trouble> {
        let digest = self.blob;
        let chunk =
            read_exactly(&mut self.file, length).map_err(|source| Trouble::BlobRead { digest, source })?;
        if let Some(mut hasher) = self.hasher.take() {
            hasher.update(&chunk);
            if is_last {
                return if hasher.finish() == digest {
                    Ok((self, chunk))
                } else {
                    Err(Trouble::BlobDigest(digest))
                };
            }
            self.hasher = Some(hasher);
        }
        Ok((self, chunk))
    }
}

/// Exactly so many bytes, which the caller has bounded.
pub(super) fn read_exactly(file: &mut File, length: u64) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.take(length).read_to_end(&mut chunk)?;
    if chunk.len() as u64 == length { Ok(chunk.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl hyper::body::Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            whole @ Self::Whole(_) => match std::mem::replace(whole, Self::Nothing) {
                Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Stream { chunks, left, .. } => chunks.poll_recv(context).map(|chunk| {
                let chunk = chunk?;
                if let Ok(bytes) = &chunk {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(chunk.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Nothing => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stream { left, .. } => *left,
        })
    }
}
