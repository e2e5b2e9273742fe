//! An OCI registry in memory, readable and writable, that counts every byte of every blob and can be
//! told to lie or to fail.
//!
//! It follows the OCI distribution spec 1.1 where no [`Fault`] says otherwise: digests are checked on
//! push, a manifest needs its blobs, blobs belong to a repository until they are mounted elsewhere. It
//! has no authentication, and keeps everything in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use manifests::Digest;
use manifests::oci::ManifestDocument;

use crate::fake_server::{Delivery, FakeServer, Reply, Request};

/// A way to lie or to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Manifests and uploads: `Docker-Content-Digest` names another digest.
    WrongDigestHeader,
    /// Manifests and uploads: `Docker-Content-Digest` is missing.
    NoDigestHeader,
    /// Manifests and tags: `Content-Type` is missing.
    NoContentType,
    /// Manifests: `GET` gives other bytes of the same length.
    WrongManifestBytes,
    /// Blobs: `GET` gives other bytes of the same length.
    WrongBlobBytes,
    /// Blobs: `GET` gives one byte more, and says so in `Content-Length`.
    LongBlob,
    /// Blobs: `GET` gives one byte less, and says so in `Content-Length`.
    ShortBlob,
    /// Blobs: `GET` gives one byte more, in chunks.
    LongChunkedBlob,
    /// Blobs: `GET` gives one byte less, in chunks.
    ShortChunkedBlob,
    /// Blobs: `GET` answers in chunks, without a length.
    ChunkedBlob,
    /// Blobs: the connection ends after so many bytes of an answer's body.
    TruncateBlobAfter(usize),
    /// Blobs: nothing more comes after so many bytes of an answer's body.
    StallBlobAfter(usize),
    /// Blobs: `Range` is ignored, and the whole blob comes with 200.
    IgnoreRange,
    /// Blobs: `Range` is answered with 206 from another offset. Uploads: so is the question how much has come.
    WrongRange,
    /// Blobs: `GET` redirects to the same path at this URL, such as that of another registry.
    RedirectBlob(String),
    /// Anything: this status.
    Status(u16),
    /// Anything: this status and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// Anything: this status and this body.
    Answer(u16, Vec<u8>),
    /// Anything: the connection ends without an answer.
    Hangup,
    /// Anything: no answer ever.
    Silence,
    /// Anything: a header that never ends, dripping.
    SlowHeader,
    /// Pushes: 201, and nothing is stored.
    StoreNothing,
    /// Mounts: an upload begins instead.
    NoMount,
    /// Uploads: the connection ends when so many bytes of one have come. The registry keeps those.
    CutUploadAfter(usize),
    /// Uploads: `Location` is absolute, at this URL.
    UploadAt(String),
    /// Uploads: `Location` is missing.
    NoLocation,
    /// Manifests: a tag that exists cannot be moved (412, as Harbor does).
    ImmutableTags,
    /// Manifests: `DELETE` is 405.
    DeleteUnsupported,
    /// Tags: pages have at most so many entries.
    PageSize(usize),
    /// Tags: every page says that there is a next one, the same.
    EndlessPages,
    /// `/v2/` is a web page, as of a captive portal.
    WebPage,
    /// No lie: the referrers API is there. Without this it is not, as in many registries.
    ReferrersApi,
}

/// A fake registry, and what happened to it.
pub struct FakeRegistry {
    server: FakeServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Stored>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// What has come of each.
    uploads: BTreeMap<String, Vec<u8>>,
    next_upload: u64,
    faults: Vec<Armed>,
    traffic: BTreeMap<Digest, Traffic>,
}

#[derive(Default)]
struct Stored {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    tags: BTreeMap<String, Digest>,
}

struct Armed {
    fault: Fault,
    /// `None` for ever.
    left: Option<u32>,
    method: String,
    path: String,
}

/// What went over the wire for one blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Answers to `GET` that carried bytes of it.
    pub reads: u64,
    /// Bytes of it that were to be sent in those.
    pub bytes_sent: u64,
    /// Uploads of it.
    pub writes: u64,
    /// Bytes of it that came in those.
    pub bytes_received: u64,
}

impl FakeRegistry {
    /// An empty registry on a free port.
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = FakeServer::start(move |request| shared.lock().unwrap().answer(request));
        Self { server, state }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// Lies or fails this way from now on.
    pub fn fault(&self, fault: Fault) {
        self.arm(fault, None, "", "");
    }

    /// Lies or fails this way the next `times` times that it could.
    pub fn fault_times(&self, fault: Fault, times: u32) {
        self.arm(fault, Some(times), "", "");
    }

    /// The same, only for one method (or any, if empty) and paths that contain a text.
    pub fn fault_on(&self, fault: Fault, times: Option<u32>, method: &str, path: &str) {
        self.arm(fault, times, method, path);
    }

    /// Honest from now on.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Puts a blob there without a request.
    pub fn store_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().keep_blob(repository, digest, bytes.to_vec());
        digest
    }

    /// Puts a manifest there without a request and without asking for its blobs.
    pub fn store_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut state = self.state();
        let stored = state.repositories.entry(repository.to_string()).or_default();
        stored.manifests.insert(digest, (media_type.to_string(), bytes.to_vec()));
        stored.tags.insert(tag.to_string(), digest);
        digest
    }

    /// A blob of a repository.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        let state = self.state();
        let there = state.repositories.get(repository)?.blobs.contains(digest);
        state.blobs.get(digest).filter(|_| there).cloned()
    }

    /// A manifest's media type and bytes, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let state = self.state();
        let stored = state.repositories.get(repository)?;
        stored.manifests.get(&stored.resolve(reference)?).cloned()
    }

    /// Every request so far, in the order of arrival, without bodies.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// How many requests of this method had this text in their path.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        let matches = |request: &&Request| request.method == method && request.path.contains(path);
        self.requests().iter().filter(matches).count()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// What went over the wire for one blob.
    #[must_use]
    pub fn traffic(&self, digest: &Digest) -> Traffic {
        self.state().traffic.get(digest).copied().unwrap_or_default()
    }

    /// Uploads that were begun and neither finished nor cancelled.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    fn arm(&self, fault: Fault, left: Option<u32>, method: &str, path: &str) {
        let (method, path) = (method.to_string(), path.to_string());
        self.state().faults.push(Armed { fault, left, method, path });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Stored {
    fn resolve(&self, reference: &str) -> Option<Digest> {
        reference.parse().ok().or_else(|| self.tags.get(reference).copied())
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let anything = self.fires_with(request, |fault| match fault {
            Fault::Status(code) => Some(Reply::status(*code)),
            Fault::RetryAfter(code, seconds) => {
                Some(Reply::status(*code).header("Retry-After", seconds.to_string()))
            }
            Fault::Answer(code, body) => Some(Reply::status(*code).body(body.clone())),
            Fault::Hangup => Some(Reply::status(0).delivered(Delivery::Hangup)),
            Fault::SlowHeader => Some(Reply::status(0).delivered(Delivery::DripHeader)),
            Fault::Silence => Some(Reply::status(0).delivered(Delivery::Silence)),
            _ => None,
        });
        if let Some(reply) = anything {
            return reply;
        }
        let Some(rest) = request.path.strip_prefix("/v2/") else {
            return error(404, "NOT_FOUND", "no such page");
        };
        if rest.is_empty() {
            let portal = self.fires(request, &Fault::WebPage);
            let media_type = if portal { "text/html; charset=utf-8" } else { "application/json" };
            return Reply::ok("{}").header("Content-Type", media_type);
        }
        if let Some((repository, upload)) = rest.split_once("/blobs/uploads/") {
            return self.upload(request, repository, upload);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            return self.get_blob(request, repository, digest);
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return match request.method.as_str() {
                "PUT" => self.put_manifest(request, repository, reference),
                "DELETE" => self.delete_manifest(request, repository, reference),
                _ => self.get_manifest(request, repository, reference),
            };
        }
        if let Some((repository, of)) = rest.split_once("/referrers/")
            && self.fires(request, &Fault::ReferrersApi)
        {
            return self.list_referrers(repository, of);
        }
        match rest.strip_suffix("/tags/list") {
            Some(repository) => self.list_tags(request, repository),
            None => error(404, "NOT_FOUND", "no such endpoint"),
        }
    }

    fn get_blob(&mut self, request: &Request, repository: &str, digest: &str) -> Reply {
        let digest: Digest = digest.parse().unwrap();
        let there = self.repositories.get(repository).is_some_and(|stored| stored.blobs.contains(&digest));
        let Some(mut bytes) = self.blobs.get(&digest).filter(|_| there).cloned() else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if request.method == "HEAD" {
            return Reply::ok(bytes).header("Docker-Content-Digest", digest.to_string());
        }
        let elsewhere = self.fires_with(request, |fault| match fault {
            Fault::RedirectBlob(url) => {
                Some(Reply::status(307).header("Location", format!("{url}{}?token=secret", request.path)))
            }
            _ => None,
        });
        if let Some(reply) = elsewhere {
            return reply;
        }
        let mut delivery = self.blob_fault(request, &mut bytes);
        let first = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
            .filter(|_| !self.fires(request, &Fault::IgnoreRange));
        let reply = match first {
            None => Reply::ok(bytes),
            Some(first) if first >= bytes.len() => return error(416, "RANGE_INVALID", "nothing there"),
            Some(first) => {
                let last = bytes.len() - 1;
                let said = if self.fires(request, &Fault::WrongRange) { first - 1 } else { first };
                let range = format!("bytes {said}-{last}/{}", bytes.len());
                Reply::status(206).body(&bytes[first..]).header("Content-Range", range)
            }
        };
        let cut = self.fires_with(request, |fault| match fault {
            Fault::TruncateBlobAfter(count) => Some(Delivery::CutAfter(*count)),
            Fault::StallBlobAfter(count) => Some(Delivery::StallAfter(*count)),
            _ => None,
        });
        delivery = cut.unwrap_or(delivery);
        let sent = match delivery {
            Delivery::CutAfter(count) | Delivery::StallAfter(count) => count.min(reply.body.len()),
            _ => reply.body.len(),
        };
        let traffic = self.traffic.entry(digest).or_default();
        traffic.reads += 1;
        traffic.bytes_sent += sent as u64;
        reply.header("Content-Type", "application/octet-stream").delivered(delivery)
    }

    /// Changes a blob's bytes as a fault wants, and says how they come.
    fn blob_fault(&mut self, request: &Request, bytes: &mut Vec<u8>) -> Delivery {
        if self.fires(request, &Fault::WrongBlobBytes)
            && let Some(byte) = bytes.last_mut()
        {
            *byte ^= 1;
        }
        if self.fires(request, &Fault::LongBlob) {
            bytes.push(0);
        }
        if self.fires(request, &Fault::ShortBlob) {
            bytes.pop();
        }
        if self.fires(request, &Fault::LongChunkedBlob) {
            bytes.push(0);
            return Delivery::Chunked;
        }
        if self.fires(request, &Fault::ShortChunkedBlob) {
            bytes.pop();
            return Delivery::Chunked;
        }
        if self.fires(request, &Fault::ChunkedBlob) { Delivery::Chunked } else { Delivery::Whole }
    }

    fn upload(&mut self, request: &Request, repository: &str, upload: &str) -> Reply {
        match request.method.as_str() {
            "POST" => self.begin_upload(request, repository),
            "DELETE" if self.uploads.remove(upload).is_some() => Reply::status(204),
            "PUT" if self.uploads.contains_key(upload) => self.finish_upload(request, repository, upload),
            "GET" if self.uploads.contains_key(upload) => {
                let wrong = usize::from(self.fires(request, &Fault::WrongRange));
                let last = self.uploads[upload].len().saturating_sub(1 + wrong);
                let location = format!("{}?_state=a%2Fb", request.path);
                Reply::status(204).header("Location", location).header("Range", format!("0-{last}"))
            }
            _ => error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload"),
        }
    }

    fn begin_upload(&mut self, request: &Request, repository: &str) -> Reply {
        let mount = request.query("mount").and_then(|digest| digest.parse::<Digest>().ok());
        let from = request.query("from").unwrap_or_default();
        let source = self.repositories.get(from);
        if let Some(digest) =
            mount.filter(|digest| source.is_some_and(|stored| stored.blobs.contains(digest)))
            && !self.fires(request, &Fault::NoMount)
        {
            self.repositories.entry(repository.to_string()).or_default().blobs.insert(digest);
            return Reply::status(201)
                .header("Location", format!("/v2/{repository}/blobs/{digest}"))
                .header("Docker-Content-Digest", digest.to_string());
        }
        self.next_upload += 1;
        let upload = format!("upload-{}", self.next_upload);
        self.uploads.insert(upload.clone(), Vec::new());
        let path = format!("/v2/{repository}/blobs/uploads/{upload}?_state=a%2Fb");
        let absolute = self.fires_with(request, |fault| match fault {
            Fault::UploadAt(url) => Some(format!("{url}{path}")),
            _ => None,
        });
        let reply = Reply::status(202);
        if self.fires(request, &Fault::NoLocation) {
            return reply;
        }
        reply.header("Location", absolute.unwrap_or(path))
    }

    fn finish_upload(&mut self, request: &Request, repository: &str, upload: &str) -> Reply {
        let Some(digest) = request.query("digest").and_then(|digest| digest.parse::<Digest>().ok()) else {
            return error(400, "DIGEST_INVALID", "no digest was given");
        };
        assert_eq!(request.query("_state"), Some("a/b"), "the location's own query must come back");
        let cut = self.fires_with(request, |fault| match fault {
            Fault::CutUploadAfter(count) => Some(*count),
            _ => None,
        });
        let came = &request.body[..cut.unwrap_or(usize::MAX).min(request.body.len())];
        self.traffic.entry(digest).or_default().bytes_received += came.len() as u64;
        let mut bytes = self.uploads.remove(upload).unwrap_or_default();
        let begins = request.header("content-range").map(|range| range.split('-').next().unwrap_or_default());
        if begins.is_some_and(|first| first != bytes.len().to_string()) {
            return error(416, "RANGE_INVALID", "that is not where it ended");
        }
        bytes.extend_from_slice(came);
        if cut.is_some() {
            self.uploads.insert(upload.to_string(), bytes);
            return Reply::status(0).delivered(Delivery::Hangup);
        }
        self.traffic.entry(digest).or_default().writes += 1;
        if Digest::of(&bytes) != digest {
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        if !self.fires(request, &Fault::StoreNothing) {
            self.keep_blob(repository, digest, bytes);
        }
        self.with_digest(request, Reply::status(201), digest)
    }

    fn keep_blob(&mut self, repository: &str, digest: Digest, bytes: Vec<u8>) {
        self.blobs.insert(digest, bytes);
        self.repositories.entry(repository.to_string()).or_default().blobs.insert(digest);
    }

    fn get_manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Reply {
        let stored = self.repositories.get(repository);
        let found = stored.and_then(|stored| {
            let digest = stored.resolve(reference)?;
            stored
                .manifests
                .get(&digest)
                .map(|(media_type, bytes)| (digest, media_type.clone(), bytes.clone()))
        });
        let Some((digest, media_type, mut bytes)) = found else {
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        let mut accepts = request.headers.iter().filter(|(name, _)| name == "accept");
        let accepted = accepts.any(|(_, value)| value.contains(&media_type));
        assert!(accepted, "the client must accept {media_type}");
        if self.fires(request, &Fault::WrongManifestBytes)
            && let Some(byte) = bytes.last_mut()
        {
            *byte ^= 1;
        }
        let mut reply = self.with_digest(request, Reply::ok(bytes), digest);
        if !self.fires(request, &Fault::NoContentType) {
            reply = reply.header("Content-Type", media_type);
        }
        reply
    }

    fn put_manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Reply {
        let digest = Digest::of(&request.body);
        let media_type = request.header("content-type").unwrap_or_default().to_string();
        if reference.parse::<Digest>().is_ok_and(|asked| asked != digest) {
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        let Ok(document) = ManifestDocument::parse(&request.body, &media_type) else {
            return error(400, "MANIFEST_INVALID", "manifest invalid");
        };
        let stored = self.repositories.entry(repository.to_string()).or_default();
        let has = |digest: &Digest| stored.blobs.contains(digest) || stored.manifests.contains_key(digest);
        if let Some(missing) = document.children().iter().find(|child| !has(&child.digest)) {
            return error(404, "MANIFEST_BLOB_UNKNOWN", &missing.digest.to_string());
        }
        let moves = stored.tags.get(reference).is_some_and(|old| *old != digest);
        if moves && self.fires(request, &Fault::ImmutableTags) {
            return error(412, "PRECONDITION", "the tag is configured as immutable, cannot be updated");
        }
        if !self.fires(request, &Fault::StoreNothing) {
            let stored = self.repositories.entry(repository.to_string()).or_default();
            stored.manifests.insert(digest, (media_type, request.body.clone()));
            if reference.parse::<Digest>().is_err() {
                stored.tags.insert(reference.to_string(), digest);
            }
        }
        let location = format!("/v2/{repository}/manifests/{digest}");
        self.with_digest(request, Reply::status(201).header("Location", location), digest)
    }

    fn delete_manifest(&mut self, request: &Request, repository: &str, reference: &str) -> Reply {
        if self.fires(request, &Fault::DeleteUnsupported) {
            return error(405, "UNSUPPORTED", "The operation is unsupported.");
        }
        let stored = self.repositories.entry(repository.to_string()).or_default();
        let gone = match reference.parse::<Digest>() {
            Ok(digest) => {
                stored.tags.retain(|_, tagged| *tagged != digest);
                stored.manifests.remove(&digest).is_some()
            }
            Err(_) => stored.tags.remove(reference).is_some(),
        };
        if gone { Reply::status(202) } else { error(404, "MANIFEST_UNKNOWN", "unknown manifest") }
    }

    fn list_tags(&mut self, request: &Request, repository: &str) -> Reply {
        let Some(stored) = self.repositories.get(repository) else {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        let asked = request.query("n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let last = request.query("last").unwrap_or_default();
        let rest: Vec<String> = stored.tags.keys().filter(|tag| tag.as_str() > last).cloned().collect();
        let page_size = self.fires_with(request, |fault| match fault {
            Fault::PageSize(size) => Some(*size),
            _ => None,
        });
        let page = &rest[..rest.len().min(asked).min(page_size.unwrap_or(usize::MAX))];
        let quoted: Vec<String> = page.iter().map(|tag| format!("\"{tag}\"")).collect();
        let body = format!("{{\"name\":\"{repository}\",\"tags\":[{}]}}", quoted.join(","));
        let reply = Reply::ok(body).header("Content-Type", "application/json");
        let next = |last: &str| format!("</v2/{repository}/tags/list?n={asked}&last={last}>; rel=\"next\"");
        if self.fires(request, &Fault::EndlessPages) {
            return reply.header("Link", next(""));
        }
        match page.last().filter(|_| page.len() < rest.len()) {
            Some(last) => reply.header("Link", next(last)),
            None => reply,
        }
    }

    fn list_referrers(&self, repository: &str, of: &str) -> Reply {
        let manifests = self.repositories.get(repository).into_iter().flat_map(|stored| &stored.manifests);
        let entries = manifests.filter_map(|(digest, (media_type, bytes))| {
            let manifest: serde_json::Value = serde_json::from_slice(bytes).ok()?;
            (manifest["subject"]["digest"].as_str() == Some(of)).then(|| {
                serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len(),
                    "artifactType": manifest["artifactType"]})
            })
        });
        let entries: Vec<serde_json::Value> = entries.collect();
        let media_type = manifests::oci::MEDIA_INDEX;
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        Reply::ok(index.to_string()).header("Content-Type", media_type)
    }

    fn with_digest(&mut self, request: &Request, reply: Reply, digest: Digest) -> Reply {
        if self.fires(request, &Fault::NoDigestHeader) {
            return reply;
        }
        let wrong = self.fires(request, &Fault::WrongDigestHeader);
        let said = if wrong { Digest::of(b"another manifest") } else { digest };
        reply.header("Docker-Content-Digest", said.to_string())
    }

    fn fires(&mut self, request: &Request, fault: &Fault) -> bool {
        self.fires_with(request, |armed| (armed == fault).then_some(())).is_some()
    }

    /// The first armed fault that applies to this request and that `of` knows, used up by one.
    fn fires_with<T>(&mut self, request: &Request, of: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        for armed in &mut self.faults {
            let here = (armed.method.is_empty() || armed.method == request.method)
                && request.path.contains(&armed.path);
            if !here || armed.left == Some(0) {
                continue;
            }
            if let Some(found) = of(&armed.fault) {
                armed.left = armed.left.map(|left| left - 1);
                return Some(found);
            }
        }
        None
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::status(status)
        .header("Content-Type", "application/json")
        .body(format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"))
}
