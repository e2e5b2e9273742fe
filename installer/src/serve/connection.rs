//! Connections: so many at a time, from allowed addresses only, with TLS or without, each with a limit on how
//! long it may take to ask and to listen.
//!
//! *Invariant:* of an address that is not allowed no byte is read.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use super::deliver::Site;
use super::trouble::Trouble;

/// Bounds the head of a request: a target of 8 KiB and the headers of any client seen, with room.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Between two tries to accept when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop` is true, then lets what runs come to its end within the limit, or less when
/// `hurry` is ready first. `hurry` is polled all the while, so it may itself be what stops.
pub(super) async fn accept(
    listener: TcpListener,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
    hurry: impl Future<Output = ()>,
) {
    let most = u32::try_from(site.limits.connections_max).unwrap_or(u32::MAX);
    let slots = Arc::new(Semaphore::new(most as usize));
    let mut hurry = pin!(hurry);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = stop.wait_for(|stopped| *stopped) => break,
            () = hurry.as_mut() => return,
        };
        match accepted {
            // Without a word: what would be said to a stranger says that there is somebody.
            (_, Ok((stream, from))) if !site.door.lets_in(from.ip()) => drop(stream),
            (Ok(slot), Ok((stream, from))) => {
                tokio::spawn(converse(stream, from.ip(), Arc::clone(&site), stop.clone(), slot));
            }
            (_, Err(error)) => {
                (site.report)(Trouble::Accept(error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), _) => break,
        }
    }
    drop(listener);
    tokio::select! {
        _ = slots.acquire_many(most) => {}
        () = tokio::time::sleep(site.limits.drain_max) => {}
        () = hurry => {}
    }
}

async fn converse(
    stream: TcpStream,
    from: IpAddr,
    site: Arc<Site>,
    mut stop: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let Ok(local) = stream.local_addr() else { return };
    let limits = site.limits;
    let stream = Listening { stream, stall_max: limits.stall_max, stalled: None };
    let Some(tls) = site.door.tls() else { return talk(stream, (from, local), &site, stop).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.header_read_max, TlsAcceptor::from(tls).accept(stream)) => shaken,
        _ = stop.wait_for(|stopped| *stopped) => return,
    };
    // A handshake that failed is the client's to notice: scanners and health checks do nothing else.
    if let Ok(Ok(stream)) = shaken {
        talk(stream, (from, local), &site, stop).await;
    }
}

/// HTTP, until either side has had enough.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (from, local): (IpAddr, SocketAddr),
    site: &Site,
    mut stop: watch::Receiver<bool>,
) {
    let local = local.to_string();
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (head, _) = request.into_parts();
        let local = &local;
        async move {
            let ends = (from, local.as_str());
            Ok::<_, Infallible>(site.respond(&head.method, &head.uri, &head.headers, ends).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(site.limits.header_read_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // A connection's own failure is the client's to notice: there is nobody here to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream whose other end must keep taking bytes: a client that asks for a layer and never reads it
/// would hold a download slot for ever.
struct Listening {
    stream: TcpStream,
    stall_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Listening {
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
