//! A response's bytes. Blobs are read 256 KiB at a time on blocking threads, through a channel of four:
//! the default of reading a file through the async runtime, 4 KiB at a time, costs ten times the CPU.
//!
//! *Invariant:* a download holds its slot, and with it at most six chunks of memory, until its last
//! byte is sent or its connection is gone. A thread is held only while it reads.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// One read from the disk.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

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
    /// `length` bytes of a file from where it is positioned. `failed` hears why if they cannot be read;
    /// the client sees its connection end early.
    pub(super) fn stream(
        file: File,
        length: u64,
        slot: OwnedSemaphorePermit,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(feed(file, length, sender, failed));
        Self::Stream { chunks, left: length, _slot: slot }
    }
}

async fn feed(
    mut file: File,
    mut left: u64,
    sender: mpsc::Sender<io::Result<Bytes>>,
    failed: impl FnOnce(io::Error),
) {
    while left > 0 {
        // An error here means that nobody is left to send to.
        let Ok(place) = sender.reserve().await else { return };
        let read = tokio::task::spawn_blocking(move || {
            let chunk = read_exactly(&mut file, left.min(CHUNK_BYTES));
            (file, chunk)
        });
        match read.await {
            Ok((same, Ok(chunk))) => {
                file = same;
                left = left.saturating_sub(chunk.len() as u64);
                place.send(Ok(chunk));
            }
            Ok((_, Err(error))) => {
                place.send(Err(io::Error::from(error.kind())));
                return failed(error);
            }
            Err(_) => return,
        }
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
