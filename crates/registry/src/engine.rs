//! The Docker Engine's API over its socket, for both sides: `bundler` takes images out of an Engine,
//! `installer` loads them into one.
//!
//! The way there is one request for each connection over a UNIX socket, so the HTTP/1.1 for it (RFC 9112: a
//! head, then a body that is chunked, of a stated length or until the end) is here and not in a library that
//! would bring a runtime.
//!
//! **What this module may never do:** wait for ever, or believe a length.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifests::text::printable;
use serde::de::DeserializeOwned;

/// Where the Engine listens unless somebody says otherwise.
pub const SOCKET: &str = "/var/run/docker.sock";
/// The longest silence: the Engine collects an image before it sends the first byte, and unpacks a layer
/// before it speaks about the next.
const SILENCE: Duration = Duration::from_secs(300);
/// Of an answer's head.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Of a refusal.
const REFUSAL_BYTES_MAX: u64 = 16 * 1024;
/// Of a line of progress.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// A chunk's length in hex digits, and extensions that nobody sends.
const CHUNK_LINE_BYTES_MAX: u64 = 1024;

/// Why the Engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Nobody answers there.
    #[error("cannot connect")]
    Unreachable(#[source] io::Error),
    /// It does not want to, in its own words.
    #[error("it answered {status}: {message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// What it says, made printable.
        message: String,
    },
    /// It broke off, or does not speak HTTP.
    #[error("its answer cannot be read")]
    Answer(#[source] io::Error),
    /// It took what was sent, and then did not get on with it.
    #[error("it took the image and said: {message}")]
    Failed {
        /// What it says, made printable.
        message: String,
    },
    /// What was to be sent could not be had. The Engine got a part of it, and no end.
    #[error("what was to be sent cannot be read")]
    Source(#[source] io::Error),
}

impl EngineError {
    /// Whether it says that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether it says that something else uses the thing.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Whether the same may work later: nobody was there, or whoever was there went away.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Answer(_))
    }
}

/// Writes a body. Its own errors are the source's.
pub type Feed<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// An Engine. Every request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The Engine that listens on this socket. Asks it nothing yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What is under a path: the body of a 2xx, as it comes.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn get(&self, path: &str) -> Result<Box<dyn Read>, EngineError> {
        self.request("GET", path)
    }

    /// A small document under a path.
    ///
    /// # Errors
    /// See [`EngineError`]; more than `limit` bytes, or another document.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str, limit: u64) -> Result<T, EngineError> {
        let mut bytes = Vec::new();
        let body = self.get(path)?;
        body.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(EngineError::Answer)?;
        if bytes.len() as u64 > limit {
            return Err(EngineError::Answer(invalid("it is too long")));
        }
        serde_json::from_slice(&bytes).map_err(|error| EngineError::Answer(io::Error::other(error)))
    }

    /// Asks for something to be done that needs no body.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn post(&self, path: &str) -> Result<(), EngineError> {
        drain(self.request("POST", path)?)
    }

    /// Takes something away.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn delete(&self, path: &str) -> Result<(), EngineError> {
        drain(self.request("DELETE", path)?)
    }

    /// Sends a tar archive of `length` bytes while it is being made; gives the body of the answer.
    ///
    /// # Errors
    /// See [`EngineError`]. A `feed` that fails or writes another length ends the connection, so that the
    /// Engine never sees an end.
    pub fn post_tar(
        &self,
        path: &str,
        length: u64,
        feed: &mut Feed<'_>,
    ) -> Result<Box<dyn Read>, EngineError> {
        let mut stream = self.connect()?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).map_err(EngineError::Unreachable)?;
        let mut sent = Counted { stream: &stream, left: length, failed: None };
        let fed = feed(&mut sent);
        let Counted { left, failed, .. } = sent;
        match (fed, failed) {
            // It hung up. What it says about that is worth more than the broken pipe.
            (_, Some(broken)) => match answer(BufReader::new(stream)) {
                Err(refused @ EngineError::Refused { .. }) => Err(refused),
                _ => Err(EngineError::Answer(broken)),
            },
            (Err(source), None) => Err(EngineError::Source(source)),
            (Ok(()), None) if left > 0 => Err(EngineError::Source(io::ErrorKind::UnexpectedEof.into())),
            (Ok(()), None) => answer(BufReader::new(stream)),
        }
    }

    /// Loads images from a tar archive of `length` bytes while it is being made.
    ///
    /// # Errors
    /// As [`Engine::post_tar`]; [`EngineError::Failed`] with what the Engine says about the archive.
    pub fn load(&self, length: u64, feed: &mut Feed<'_>) -> Result<(), EngineError> {
        let mut said = BufReader::new(self.post_tar("/images/load", length, feed)?);
        // It speaks while it unpacks, which keeps the connection alive.
        loop {
            let mut line = Vec::new();
            let count = (&mut said).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if count.map_err(EngineError::Answer)? == 0 {
                return Ok(());
            }
            if let Ok(Said { error: Some(error) }) = serde_json::from_slice(&line) {
                return Err(EngineError::Failed { message: printable(&error) });
            }
        }
    }

    fn connect(&self) -> Result<UnixStream, EngineError> {
        let connect = || {
            let stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            Ok(stream)
        };
        connect().map_err(EngineError::Unreachable)
    }

    fn request(&self, method: &str, path: &str) -> Result<Box<dyn Read>, EngineError> {
        let mut stream = self.connect()?;
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{length}\r\n")
            .map_err(EngineError::Unreachable)?;
        answer(BufReader::new(stream))
    }
}

/// A line of progress, as far as it matters.
#[derive(serde::Deserialize)]
struct Said {
    error: Option<String>,
}

fn drain(mut body: Box<dyn Read>) -> Result<(), EngineError> {
    io::copy(&mut body, &mut io::sink()).map(|_| ()).map_err(EngineError::Answer)
}

/// Sends no more than was announced, and remembers that the other side has gone.
struct Counted<'a> {
    stream: &'a UnixStream,
    left: u64,
    failed: Option<io::Error>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(invalid("it is longer than was announced"));
        }
        match (&mut &*self.stream).write(bytes) {
            Ok(count) => {
                self.left = self.left.saturating_sub(count as u64);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name as a segment of a path; the Engine takes its slashes as they are.
#[must_use]
pub fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b':' | b'@' | b'.' | b'_' | b'-');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn answer<R: BufRead + 'static>(reader: R) -> Result<Box<dyn Read>, EngineError> {
    let (status, body) = framed(reader).map_err(EngineError::Answer)?;
    if (200..300).contains(&status) { Ok(body) } else { Err(refusal(status, body)) }
}

fn framed<R: BufRead + 'static>(mut reader: R) -> io::Result<(u16, Box<dyn Read>)> {
    let mut head = Vec::new();
    let mut limited = (&mut reader).take(HEAD_BYTES_MAX);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head)? == 0 {
            return Err(invalid("it did not answer in HTTP/1.1"));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
    let status = status.ok_or_else(|| invalid("it did not answer in HTTP/1.1"))?;
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    let body: Box<dyn Read> = match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
            Box::new(Chunked { reader, left: 0, state: State::Between })
        }
        (None, Some(length)) => {
            let left = length.parse().map_err(|_| invalid("its answer has no usable length"))?;
            Box::new(Exactly { reader, left })
        }
        (None, None) => Box::new(reader),
        _ => return Err(invalid("its answer says its length in two ways")),
    };
    Ok((status, body))
}

/// What the Engine says, in its own words.
fn refusal(status: u16, body: Box<dyn Read>) -> EngineError {
    #[derive(serde::Deserialize)]
    struct Document {
        message: String,
    }
    let mut bytes = Vec::new();
    // What came before a failure is still worth showing.
    let _ = body.take(REFUSAL_BYTES_MAX).read_to_end(&mut bytes);
    let message = serde_json::from_slice::<Document>(&bytes).map(|document| printable(&document.message));
    EngineError::Refused { status, message: message.unwrap_or_default() }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A body of a stated length.
struct Exactly<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.reader).take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// A body in chunks. Trailers are not looked at.
struct Chunked<R> {
    reader: R,
    left: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a chunk's length.
    Between,
    /// In a chunk, or right behind its last byte.
    Inside,
    /// After the last one.
    Done,
}

impl<R: BufRead> Chunked<R> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.reader).take(CHUNK_LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Err(invalid("a chunk of its answer has no length")),
        }
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Done => return Ok(0),
                State::Inside if self.left == 0 => {
                    if !self.line()?.is_empty() {
                        return Err(invalid("a chunk of its answer is longer than it says"));
                    }
                    self.state = State::Between;
                }
                State::Inside => {
                    let count = (&mut self.reader).take(self.left).read(buffer)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.left = self.left.saturating_sub(count as u64);
                    return Ok(count);
                }
                State::Between => {
                    let line = self.line()?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
                    let length = u64::from_str_radix(digits, 16).ok().filter(|_| plain);
                    self.left = length.ok_or_else(|| invalid("a chunk of its answer has no length"))?;
                    self.state = if self.left == 0 { State::Done } else { State::Inside };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let text = io::Cursor::new(text.as_bytes().to_vec());
        let mut body = answer(text).map_err(|error| error.to_string())?;
        let mut bytes = String::new();
        body.read_to_string(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    #[test]
    fn reads_a_body_that_is_chunked_or_of_a_length_or_until_the_end() {
        for framing in [
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            "Content-Length: 5\r\n\r\nabcde and more",
            "\r\nabcde",
        ] {
            assert_eq!(read(&format!("HTTP/1.1 200 OK\r\n{framing}")).as_deref(), Ok("abcde"), "{framing}");
        }
    }

    #[test]
    fn refuses_a_body_that_ends_early_or_says_its_length_wrongly() {
        for framing in [
            "Content-Length: 5\r\n\r\nabc",
            "Content-Length: x\r\n\r\nabc",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{framing}")).is_err(), "{framing}");
        }
        assert!(read("HTTP/1.0 200 OK\r\n\r\n").is_err());
        assert!(read(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000))).is_err());
    }

    #[test]
    fn says_what_the_engine_says() {
        let said =
            read("HTTP/1.1 404 Not Found\r\nContent-Length: 27\r\n\r\n{\"message\":\"No such image\"}");
        assert_eq!(said, Err("it answered 404: No such image".to_string()));
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(encoded("a b/../c?d"), "a%20b/../c%3Fd");
    }

    /// An Engine that reads this much of a request and answers.
    fn engine(
        reads: usize,
        answers: &'static str,
    ) -> (tempfile::TempDir, Engine, std::thread::JoinHandle<usize>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut got) = (vec![0; 4096], 0);
            while got < reads {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    count => got += count,
                }
            }
            // Whoever broke off does not listen any more.
            let _ = stream.write_all(answers.as_bytes());
            got
        });
        (directory, Engine::at(socket), thread)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn an_engine_that_hangs_up_is_heard_to_the_end() {
        let refuses = "HTTP/1.1 400 Bad Request\r\nContent-Length: 22\r\n\r\n{\"message\":\"too much\"}";
        let (_directory, engine, thread) = engine(1, refuses);
        let mut feed = |out: &mut dyn Write| io::copy(&mut io::repeat(0).take(1 << 26), out).map(|_| ());
        let error = engine.post_tar("/images/load", 1 << 26, &mut feed).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "it answered 400: too much");
        thread.join().unwrap();
    }

    #[test]
    fn a_body_that_fails_or_is_shorter_or_longer_than_announced_has_no_end() {
        let feeds: [fn(&mut dyn Write) -> io::Result<()>; 3] = [
            |out| out.write_all(b"abc").and_then(|()| Err(io::Error::other("rotten"))),
            |out| out.write_all(b"abc"),
            |out| out.write_all(&[0; 200]),
        ];
        for mut feed in feeds {
            let (_directory, engine, thread) = engine(10_000, OK);
            let error = engine.post_tar("/images/load", 100, &mut feed).map(|_| ()).unwrap_err();
            assert!(matches!(error, EngineError::Source(_)), "{error}");
            assert!(thread.join().unwrap() < 250, "the Engine got a whole body");
        }
    }

    #[test]
    fn an_engine_that_is_not_there_may_be_there_later() {
        let error = Engine::at("/nowhere/sock".into()).post("/x").unwrap_err();
        assert!(error.may_pass() && !error.is_not_found());
    }
}
