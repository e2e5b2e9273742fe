//! A blob as it is pulled: hashed while it passes, continued where a connection broke.
//!
//! What it may never do: say that a blob is complete (`Ok(0)`) unless exactly its size and its digest
//! have passed. The bytes before that are unverified: whoever writes them keeps them out of sight until
//! the end is reached.

use std::io::{self, Read};

use manifests::{Digest, Hasher};

use crate::error::RegistryError;
use crate::http::{Body, Method, Request, Response};
use crate::repository::Repository;

/// A connection that brought this much before it broke was worth something: the count of failures
/// starts anew. Bounds the number of requests to the blob's size divided by this, plus the retries.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// Reads one blob. Errors are [`RegistryError`]s inside [`io::Error`]s: `UnexpectedEof` for a blob that
/// ends early, `InvalidData` for one that is too long or has another digest.
pub struct BlobReader {
    repository: Repository,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    /// Nothing where nothing had to be asked for.
    body: Option<Body>,
    state: State,
    failures: u32,
    since_failure: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Complete,
    Failed,
}

impl BlobReader {
    /// Asks for what the hasher has not seen.
    pub(crate) fn open(
        repository: Repository,
        digest: Digest,
        size: u64,
        hasher: Hasher,
    ) -> Result<Self, RegistryError> {
        let offset = hasher.size();
        let (state, failures, since_failure) = (State::Open, 0, 0);
        let mut reader =
            Self { repository, digest, size, hasher, body: None, state, failures, since_failure };
        // With nothing left to ask for, only the digest is to be compared.
        if offset < size || size == 0 {
            let response = request(&reader.repository, &digest, offset)?;
            reader.body = Some(match response.status {
                206 => reader.rest(response, offset)?,
                416 => return Err(reader.truncated(None)),
                _ => {
                    let mut body = whole(&reader.repository, &digest, size, response)?;
                    skip(&mut body, offset).map_err(|error| reader.truncated(Some(error)))?;
                    body
                }
            });
        }
        Ok(reader)
    }

    fn what(&self) -> String {
        self.repository.blob_name(&self.digest)
    }

    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            let left = self.size.saturating_sub(self.hasher.size());
            if left == 0 {
                return self.complete();
            }
            let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let buffer = buffer.get_mut(..room).unwrap_or_default();
            let broken = match self.body.as_mut().map_or(Ok(0), |body| body.read(buffer)) {
                Ok(0) => None,
                Ok(count) => {
                    self.hasher.update(buffer.get(..count).unwrap_or_default());
                    self.since_failure = self.since_failure.saturating_add(count as u64);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some(error),
            };
            self.resume(broken)?;
        }
    }

    /// All bytes have passed: there must be no more, and they must be the right ones.
    fn complete(&mut self) -> Result<usize, RegistryError> {
        if self.body.as_mut().is_some_and(|body| matches!(body.read(&mut [0]), Ok(1..))) {
            return Err(RegistryError::BlobTooLong { what: self.what(), expected: self.size });
        }
        let found = self.hasher.clone().finish();
        if found != self.digest {
            return Err(RegistryError::BlobDigest { what: self.what(), found });
        }
        self.state = State::Complete;
        Ok(0)
    }

    /// A new connection, at the same offset.
    fn resume(&mut self, mut broken: Option<io::Error>) -> Result<(), RegistryError> {
        let offset = self.hasher.size();
        if self.since_failure >= PROGRESS_BYTES {
            self.failures = 0;
        }
        self.since_failure = 0;
        loop {
            self.failures = self.failures.saturating_add(1);
            if !self.repository.http().retry().again_after(self.failures, None) {
                return Err(self.truncated(broken));
            }
            let response = request(&self.repository, &self.digest, offset)?;
            match response.status {
                206 => {
                    self.body = Some(self.rest(response, offset)?);
                    return Ok(());
                }
                416 => return Err(self.truncated(broken)),
                _ => {
                    let mut body = whole(&self.repository, &self.digest, self.size, response)?;
                    match skip(&mut body, offset) {
                        Ok(()) => {
                            self.body = Some(body);
                            return Ok(());
                        }
                        Err(error) => broken = Some(error),
                    }
                }
            }
        }
    }

    /// The body of a 206, if it starts where we stopped.
    fn rest(&self, response: Response, offset: u64) -> Result<Body, RegistryError> {
        let range = response.headers.get("content-range").and_then(content_range);
        match range {
            Some((first, total)) if first == offset && total.is_none_or(|total| total == self.size) => {
                Ok(response.body)
            }
            _ => Err(RegistryError::Answer {
                what: self.what(),
                problem: format!("continues at another offset than {offset}"),
            }),
        }
    }

    fn truncated(&self, source: Option<io::Error>) -> RegistryError {
        let (expected, found) = (self.size, self.hasher.size());
        RegistryError::BlobTruncated { what: self.what(), expected, found, source }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Complete => Ok(0),
            State::Failed => Err(RegistryError::Poisoned { what: self.what() }.into()),
            State::Open => self.advance(buffer).map_err(|error| {
                self.state = State::Failed;
                error.into()
            }),
        }
    }
}

fn request(repository: &Repository, digest: &Digest, offset: u64) -> Result<Response, RegistryError> {
    let mut request = Request::new(Method::Get, repository.blob_url(digest));
    if offset > 0 {
        request = request.header("range", format!("bytes={offset}-"));
    }
    let response = repository.send(request)?;
    match response.status {
        200 => Ok(response),
        206 | 416 if offset > 0 => Ok(response),
        _ => Err(RegistryError::of(repository.blob_name(digest), response)),
    }
}

/// The body of a 200, if its announced length is the descriptor's.
fn whole(
    repository: &Repository,
    digest: &Digest,
    size: u64,
    response: Response,
) -> Result<Body, RegistryError> {
    match response.headers.content_length() {
        Some(found) if found != size => {
            Err(RegistryError::BlobSize { what: repository.blob_name(digest), expected: size, found })
        }
        _ => Ok(response.body),
    }
}

/// Some servers ignore `Range`: what has passed already passes again, unhashed.
fn skip(body: &mut Body, offset: u64) -> io::Result<()> {
    let skipped = io::copy(&mut body.take(offset), &mut io::sink())?;
    if skipped < offset { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// A `Content-Range` of `bytes FIRST-LAST/TOTAL`, where the total may be `*`: where it starts, and the
/// length of the whole. What lies between is not believed: the bytes are counted and hashed.
#[must_use]
pub fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn reads_a_content_range() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes 5-9", "bytes -9/10", "items 5-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }
}
