//! `docker-daemon:`: an image of a Docker Engine on this machine, over its socket. The Engine gives what
//! `docker save` writes; it is taken in as such an archive, into the cache.
//!
//! The way there is one `GET` over a UNIX socket, so the HTTP/1.1 for it (RFC 9112: a head, then a body that is
//! chunked, of a stated length or until the end) is here and not in a library that would bring a runtime.
//!
//! **What this module may never do:** wait for ever, believe a length, or change anything in the Engine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edge::Env;
use manifests::text::printable;

use super::super::World;
use super::ImageError;
use super::docker_archive::DockerArchive;
use crate::lock::Origin;

/// Where the Engine listens unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// The longest silence: the Engine collects an image before it sends the first byte.
const SILENCE: Duration = Duration::from_secs(300);
/// Of an answer's head.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// Of a refusal.
const REFUSAL_BYTES_MAX: u64 = 16 * 1024;
/// A chunk's length in hex digits, and extensions that nobody sends.
const CHUNK_LINE_BYTES_MAX: u64 = 1024;

/// The image of this name, its blobs in the cache.
///
/// # Errors
/// No Engine there, no such image, or one that is not what its configuration says.
pub fn open(name: &str, world: &World<'_>) -> Result<DockerArchive, ImageError> {
    let socket = socket(world.env)?;
    let failed = |source| ImageError::Daemon { socket: socket.clone(), image: printable(name), source };
    std::fs::create_dir_all(world.cache.root()).map_err(ImageError::Cache)?;
    let mut file = tempfile::NamedTempFile::new_in(world.cache.root()).map_err(ImageError::Cache)?;
    let wanted = with_tag(name);
    let mut body = request(&socket, &format!("/images/{}/get", encoded(&wanted))).map_err(failed)?;
    let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
    loop {
        let count = body.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        if (world.interrupted)() {
            return Err(failed(io::Error::other("interrupted")));
        }
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(ImageError::Cache)?;
    }
    let archive = DockerArchive::open(file.path().to_path_buf(), None, world)?;
    archive.kept(format!("docker-daemon:{name}"), &Origin::Daemon(name.to_string()), world)
}

/// `DOCKER_HOST`, if it names a socket of this machine.
fn socket(env: &Env) -> Result<PathBuf, ImageError> {
    match env.var("DOCKER_HOST") {
        None => Ok(PathBuf::from(SOCKET)),
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(ImageError::DaemonHost { host: printable(host) }),
        },
    }
}

/// Without a tag the Engine would send every image of that repository.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_string() } else { format!("{name}:latest") }
}

/// A name as a segment of a path; the Engine takes its slashes as they are.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b':' | b'@' | b'.' | b'_' | b'-');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// One `GET`: the body of a 200.
fn request(socket: &Path, path: &str) -> io::Result<Box<dyn Read>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    answer(BufReader::new(stream))
}

fn answer<R: BufRead + 'static>(mut reader: R) -> io::Result<Box<dyn Read>> {
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
    if status == 200 { Ok(body) } else { Err(refusal(status, body)) }
}

/// What the Engine says, in its own words.
fn refusal(status: u16, body: Box<dyn Read>) -> io::Error {
    #[derive(serde::Deserialize)]
    struct Document {
        message: String,
    }
    let mut bytes = Vec::new();
    // What came before a failure is still worth showing.
    let _ = body.take(REFUSAL_BYTES_MAX).read_to_end(&mut bytes);
    let message = serde_json::from_slice::<Document>(&bytes).map(|document| printable(&document.message));
    let kind = if status == 404 { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
    io::Error::new(kind, format!("it answered {status}: {}", message.unwrap_or_default()))
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
        let mut body =
            answer(io::Cursor::new(text.as_bytes().to_vec())).map_err(|error| error.to_string())?;
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
    fn a_name_without_a_tag_means_the_latest() {
        assert_eq!(with_tag("team/app"), "team/app:latest");
        assert_eq!(with_tag("r.example.com:5000/app"), "r.example.com:5000/app:latest");
        assert_eq!(with_tag("app:v1"), "app:v1");
        assert_eq!(encoded("a b/../c?d"), "a%20b/../c%3Fd");
    }
}
