//! The OCI distribution spec 1.1 as its client: repositories, manifests, blobs, tags.
//!
//! What it may never do: hand out a manifest whose digest it has not computed from its bytes, serialise
//! a manifest, believe a registry that something is stored without asking again, or send credentials to
//! another origin than the registry's own.
//!
//! Every request of this module and of [`crate::blob`] goes through `Registry::send`, which answers the
//! registry's demand for a login.

use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;

use manifests::oci::{
    MANIFEST_BYTES_MAX, MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST,
    ManifestDocument, OciError,
};
use manifests::reference::valid_tag;
use manifests::text::printable;
use manifests::{Descriptor, Digest, Reference};
use serde::Deserialize;

use crate::auth::Authorizer;
use crate::blob::BlobReader;
use crate::error::{RegistryError, has_code};
use crate::http::{Http, HttpError, Method, Request, Response, follow};
use crate::login::{Anonymous, SharedLogins};
use crate::url::Url;

/// The spec's bound on a repository's path, host included; ours leaves the host out.
const PATH_BYTES_MAX: usize = 255;
/// A page of tags.
const TAGS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Asked for per page.
const TAGS_PER_PAGE: &str = "1000";
/// More than any repository of people; an endless list of pages ends here.
const TAG_PAGES_MAX: usize = 1000;
/// More than any repository of people.
const TAGS_MAX: usize = 100_000;
/// Announces the digest of what an answer is about.
const DIGEST_HEADER: &str = "docker-content-digest";

/// One registry: a host that speaks the distribution protocol.
#[derive(Clone)]
pub struct Registry {
    http: Http,
    base: Url,
    authorizer: Arc<Authorizer>,
}

/// One repository of a registry. Cloning is cheap.
#[derive(Clone)]
pub struct Repository {
    registry: Registry,
    path: String,
}

/// What names a manifest within its repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagOrDigest {
    /// A name that can be moved. Made by parsing only, so that it is a tag of the spec.
    Tag(Tag),
    /// A name that cannot.
    Digest(Digest),
}

/// A tag of the distribution spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

/// An upload that was begun, and how much of the blob the registry has of it.
#[derive(Clone)]
struct Session {
    location: Url,
    offset: u64,
}

/// A manifest as its bytes, which are its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// Exactly as received.
    pub bytes: Vec<u8>,
    /// What the registry says it is: `Content-Type` in lower case, without parameters.
    pub media_type: String,
    /// Computed from the bytes.
    pub digest: Digest,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Yes,
    /// It was not there.
    NotFound,
    /// This registry does not delete, or not by tag.
    Unsupported,
}

impl RawManifest {
    /// A typed view of the bytes.
    ///
    /// # Errors
    /// See [`ManifestDocument::parse`].
    pub fn document(&self) -> Result<ManifestDocument, OciError> {
        ManifestDocument::parse(&self.bytes, &self.media_type)
    }
}

impl FromStr for TagOrDigest {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        if valid_tag(text) {
            return Ok(Self::Tag(Tag(text.to_string())));
        }
        Err(RegistryError::Name { what: "tag", text: printable(text) })
    }
}

impl From<Digest> for TagOrDigest {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl core::fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tag(Tag(tag)) => f.write_str(tag),
            Self::Digest(digest) => core::fmt::Display::fmt(digest, f),
        }
    }
}

impl Registry {
    /// The registry at `http://HOST[:PORT]` or `https://HOST[:PORT]`. Asks it nothing yet.
    ///
    /// # Errors
    /// Not such a URL.
    pub fn new(http: Http, base_url: &str) -> Result<Self, RegistryError> {
        let base: Url =
            base_url.parse().map_err(|source| RegistryError::BaseUrl { url: redacted(base_url), source })?;
        if base.path() != "/" {
            return Err(RegistryError::BasePath { url: base.to_string() });
        }
        Ok(Self { http, base, authorizer: Arc::new(Authorizer::new(Arc::new(Anonymous), false)) })
    }

    /// With logins. They are sent encrypted, or to this very machine; `unencrypted` allows more, for a
    /// registry that the person at the keyboard has called insecure.
    #[must_use]
    pub fn with_logins(mut self, logins: SharedLogins, unencrypted: bool) -> Self {
        self.authorizer = Arc::new(Authorizer::new(logins, unencrypted));
        self
    }

    /// `HOST[:PORT]`.
    #[must_use]
    pub fn host(&self) -> String {
        self.base.authority()
    }

    /// A repository by its path, such as `acme/fraud/service`.
    ///
    /// # Errors
    /// Not a path of the spec.
    pub fn repository(&self, path: &str) -> Result<Repository, RegistryError> {
        // The parser of references knows the rule; a short host in front of the path invokes it.
        let reference = format!("x.y/{path}").parse::<Reference>();
        let plain = path.len() <= PATH_BYTES_MAX && !path.contains([':', '@']);
        if !plain || reference.is_err() {
            return Err(RegistryError::Name { what: "repository path", text: printable(path) });
        }
        Ok(Repository { registry: self.clone(), path: path.to_string() })
    }

    /// Whether a registry answers there, and answers us.
    ///
    /// # Errors
    /// [`RegistryError::Unauthorized`], [`RegistryError::NotARegistry`], or no answer.
    pub fn ping(&self) -> Result<(), RegistryError> {
        let response = self.send(Request::new(Method::Get, self.base.at_path("/v2/")), "")?;
        let html = response.headers.media_type().is_some_and(|media_type| media_type == "text/html");
        let found = match response.status {
            200 if !html => return Ok(()),
            200 => "a web page".to_string(),
            401 | 403 => return Err(RegistryError::of(format!("registry {}", self.host()), response)),
            status => status.to_string(),
        };
        Err(RegistryError::NotARegistry { registry: self.host(), found })
    }

    /// The one door to the wire. A demand for a login is met once, where it is the registry's own; a token
    /// that has run out is replaced that way.
    fn send(&self, mut request: Request<'_>, repository: &str) -> Result<Response, RegistryError> {
        let url = request.url().clone();
        if !url.same_origin(&self.base) {
            return Ok(self.http.send(request)?);
        }
        let access = (repository.to_string(), !request.only_reads());
        let mut held = self.authorizer.held(&access);
        if let Some(held) = &held {
            request.authorize(url.clone(), &held.header);
        }
        let mut response = self.http.send_keeping(&mut request)?;
        let ours = response.status == 401 && response.url.same_origin(&self.base);
        if let (true, Some(refused)) = (ours, &held) {
            self.authorizer.forget(&access, refused);
        }
        if ours && request.can_be_sent_again() {
            held = self.authorizer.answer(&self.http, &self.base, &access, &response)?;
            if let Some(held) = &held {
                response.discard();
                request.authorize(url, &held.header);
                response = self.http.send_keeping(&mut request)?;
                if response.status == 401 {
                    self.authorizer.forget(&access, held);
                }
            }
        }
        response.login = held.and_then(|held| held.from);
        Ok(response)
    }
}

/// Pulling.
impl Repository {
    /// Its path on the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A manifest, of any of the four media types. At most 4 MiB.
    ///
    /// # Errors
    /// Not there, too large, without a media type, or bytes of another digest than asked for or announced.
    pub fn get_manifest(&self, reference: &TagOrDigest) -> Result<RawManifest, RegistryError> {
        let what = self.manifest_name(reference);
        let response = self.manifest_request(Method::Get, reference)?;
        if response.status != 200 {
            return Err(RegistryError::of(what, response));
        }
        let announced = announced_digest(&what, &response)?;
        let media_type = media_type(&what, &response)?;
        let bytes = response.bytes(MANIFEST_BYTES_MAX).map_err(|error| too_large(&what, error))?;
        let found = Digest::of(&bytes);
        let wrong = |expected: Digest, by| RegistryError::ManifestDigest {
            what: what.clone(),
            expected: expected.to_string(),
            found,
            by,
        };
        if let TagOrDigest::Digest(asked) = reference
            && *asked != found
        {
            return Err(wrong(*asked, "asked for"));
        }
        if let Some(announced) = announced.filter(|announced| *announced != found) {
            return Err(wrong(announced, "announced"));
        }
        Ok(RawManifest { bytes, media_type, digest: found })
    }

    /// A manifest's descriptor, or nothing if there is no such manifest. Where a registry leaves digest or
    /// size out of its answer to `HEAD`, the manifest is fetched to compute them.
    ///
    /// # Errors
    /// Anything but there or not there.
    pub fn head_manifest(&self, reference: &TagOrDigest) -> Result<Option<Descriptor>, RegistryError> {
        let what = self.manifest_name(reference);
        let response = self.manifest_request(Method::Head, reference)?;
        match response.status {
            200 => {}
            404 => return Ok(None),
            405 => return self.fetched_descriptor(reference),
            _ => return Err(RegistryError::of(what, response)),
        }
        let size = response.headers.content_length();
        match (announced_digest(&what, &response)?, size, response.headers.media_type()) {
            (Some(digest), Some(size), Some(media_type)) => {
                Ok(Some(Descriptor::new(&media_type, digest, size)))
            }
            _ => self.fetched_descriptor(reference),
        }
    }

    /// A blob, checked against its digest and size as it is read. See [`BlobReader`].
    ///
    /// # Errors
    /// Not there, or announced with another length. What happens later comes from the reader.
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Result<BlobReader, RegistryError> {
        BlobReader::open(self.clone(), *digest, size, manifests::Hasher::new())
    }

    /// The rest of a blob whose beginning was read before: `hasher` has seen it. The digest that is checked in
    /// the end is that of the whole blob.
    ///
    /// # Errors
    /// As [`Self::open_blob`].
    pub fn resume_blob(
        &self,
        digest: &Digest,
        size: u64,
        hasher: manifests::Hasher,
    ) -> Result<BlobReader, RegistryError> {
        BlobReader::open(self.clone(), *digest, size, hasher)
    }

    /// Whether the repository has this blob.
    ///
    /// # Errors
    /// Anything but there or not there.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let response = self.send(Request::new(Method::Head, self.blob_url(digest)))?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(RegistryError::of(self.blob_name(digest), response)),
        }
    }

    /// Every tag, in the registry's order. At most a hundred thousand.
    ///
    /// # Errors
    /// No such repository, something that is no tag, or a list without end.
    pub fn list_tags(&self) -> Result<Vec<String>, RegistryError> {
        let what = format!("list of tags of {}", self.name());
        let mut url = self.url("tags/list").with_query("n", TAGS_PER_PAGE);
        let mut tags = Vec::new();
        for _ in 0..TAG_PAGES_MAX {
            let response = self.send(Request::new(Method::Get, url.clone()))?;
            if response.status != 200 {
                return Err(RegistryError::of(what, response));
            }
            let next = next_page(&what, &response)?;
            tags.extend(page_of_tags(&what, response)?);
            match next {
                Some(next) if tags.len() <= TAGS_MAX => url = next,
                _ => break,
            }
        }
        if tags.len() > TAGS_MAX {
            return Err(RegistryError::Answer { what, problem: format!("has over {TAGS_MAX} tags") });
        }
        Ok(tags)
    }

    fn fetched_descriptor(&self, reference: &TagOrDigest) -> Result<Option<Descriptor>, RegistryError> {
        match self.get_manifest(reference) {
            Ok(raw) => Ok(Some(Descriptor::new(&raw.media_type, raw.digest, raw.bytes.len() as u64))),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn manifest_request(&self, method: Method, reference: &TagOrDigest) -> Result<Response, RegistryError> {
        let accept = [MEDIA_INDEX, MEDIA_MANIFEST, MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST].join(", ");
        self.send(Request::new(method, self.manifest_url(reference)).header("accept", accept))
    }
}

/// Pushing.
impl Repository {
    /// Makes a blob of another repository of the same registry appear here without sending it. False
    /// where the registry does not do that, or has no such blob there.
    ///
    /// # Errors
    /// Anything but done or not done.
    pub fn mount_blob(&self, digest: &Digest, from_repository: &str) -> Result<bool, RegistryError> {
        let url = self
            .url("blobs/uploads/")
            .with_query("mount", &digest.to_string())
            .with_query("from", from_repository);
        let response = self.send(Request::new(Method::Post, url))?;
        match response.status {
            201 => Ok(true),
            202 => {
                // The registry has begun an upload instead. Left alone it would lie around for days; that
                // it cannot be cancelled harms nobody.
                if let Ok(session) = self.upload_location(&self.blob_name(digest), &response) {
                    let _ = self.send(Request::new(Method::Delete, session));
                }
                Ok(false)
            }
            _ => Err(RegistryError::of(self.blob_name(digest), response)),
        }
    }

    /// Begins an upload and cancels it: whether we may push here, with nothing left behind. False if the registry
    /// does not cancel; then it forgets the upload by itself after some days.
    ///
    /// # Errors
    /// It does not let us push, or does not answer.
    pub fn try_upload(&self) -> Result<bool, RegistryError> {
        let what = format!("an upload to {}", self.name());
        let response = self.send(Request::new(Method::Post, self.url("blobs/uploads/")))?;
        if response.status != 202 {
            return Err(RegistryError::of(what, response));
        }
        let session = self.upload_location(&what, &response)?;
        drop(response);
        let response = self.send(Request::new(Method::Delete, session))?;
        Ok((200..300).contains(&response.status))
    }

    /// Sends a blob: the next `size` bytes of `reader`, in one request. A try that fails after bytes
    /// were taken from the reader is final; see [`Self::upload_blob_from`] for more.
    ///
    /// # Errors
    /// The reader's own ([`HttpError::Upload`]), the registry's refusal (a wrong digest among others), or
    /// a registry that says yes and does not have it.
    pub fn upload_blob(
        &self,
        digest: &Digest,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<(), RegistryError> {
        let session = self.begin_upload(digest)?;
        self.finish_upload(digest, size, session, reader)
    }

    /// Sends a blob, and again after a broken connection or an overloaded registry: from where the registry says it
    /// has come to, or from the start where it does not say. Once also where a token ran out after the upload was
    /// begun with it. `open` gives a fresh reader from an offset on.
    ///
    /// # Errors
    /// As [`Self::upload_blob`]; `open`'s own are [`HttpError::Upload`].
    pub fn upload_blob_from<R: Read>(
        &self,
        digest: &Digest,
        size: u64,
        mut open: impl FnMut(u64) -> std::io::Result<R>,
    ) -> Result<(), RegistryError> {
        let (mut failures, mut held, mut renewed) = (0_u32, None, false);
        loop {
            let resumes = held.is_some();
            let error = match self.try_upload_of(digest, size, &mut held, &mut open) {
                // A session that was to be gone on with, and is not what it was, is left.
                Err(error) if error.may_pass() || (resumes && error.is_of_the_registry()) => error,
                Err(RegistryError::Unauthorized { login: Some(_), .. }) if held.is_some() && !renewed => {
                    (renewed, held) = (true, None);
                    continue;
                }
                outcome => return outcome,
            };
            failures = failures.saturating_add(1);
            if !self.http().retry().again_after(failures, None) {
                return Err(error);
            }
            held = held.filter(|_| error.may_pass()).and_then(|session| self.held_of(session, size));
        }
    }

    /// One try: goes on with what is held, or begins. Whatever session it was is held afterwards.
    fn try_upload_of<R: Read>(
        &self,
        digest: &Digest,
        size: u64,
        held: &mut Option<Session>,
        open: &mut impl FnMut(u64) -> std::io::Result<R>,
    ) -> Result<(), RegistryError> {
        let offset = held.as_ref().map_or(0, |session| session.offset);
        let mut reader = open(offset)
            .map_err(|source| HttpError::Upload { url: self.blob_url(digest).to_string(), source })?;
        let session = match held.take() {
            Some(session) => session,
            None => self.begin_upload(digest)?,
        };
        *held = Some(session.clone());
        self.finish_upload(digest, size, session, &mut reader)
    }

    fn begin_upload(&self, digest: &Digest) -> Result<Session, RegistryError> {
        let what = self.blob_name(digest);
        let response = self.send(Request::new(Method::Post, self.url("blobs/uploads/")))?;
        if response.status != 202 {
            return Err(RegistryError::of(what, response));
        }
        Ok(Session { location: self.upload_location(&what, &response)?, offset: 0 })
    }

    /// How far the registry has come with an upload that broke off; nothing where it does not say, or where that is
    /// no beginning of it.
    fn held_of(&self, session: Session, size: u64) -> Option<Session> {
        let response = self.send(Request::new(Method::Get, session.location.clone())).ok()?;
        let last = response.headers.get("range")?.trim_start_matches("bytes=").strip_prefix("0-")?;
        let last: u64 = last.parse().ok().filter(|last| *last > 0 && response.status == 204)?;
        let location = self.upload_location("upload", &response).unwrap_or(session.location);
        Some(Session { location, offset: last.saturating_add(1) }).filter(|held| held.offset <= size)
    }

    /// Sends what a session lacks, in one request, and asks for the blob.
    fn finish_upload(
        &self,
        digest: &Digest,
        size: u64,
        session: Session,
        reader: &mut dyn Read,
    ) -> Result<(), RegistryError> {
        let (what, offset) = (self.blob_name(digest), session.offset);
        let url = session.location.with_query("digest", &digest.to_string());
        let mut request = Request::new(Method::Put, url).header("content-type", "application/octet-stream");
        if offset > 0 && offset < size {
            request = request.header("content-range", format!("{offset}-{}", size.saturating_sub(1)));
        }
        let response = self.send(request.stream(size.saturating_sub(offset), reader))?;
        if !matches!(response.status, 201 | 204) {
            return Err(RegistryError::of(what, response));
        }
        if let Some(found) = announced_digest(&what, &response)?.filter(|found| found != digest) {
            return Err(RegistryError::Answer { what, problem: format!("names {found} instead") });
        }
        drop(response);
        if self.has_blob(digest)? { Ok(()) } else { Err(RegistryError::NotStored { what }) }
    }

    /// Stores a manifest under a tag or its digest, and asks for it again.
    ///
    /// # Errors
    /// The registry's refusal (blobs missing, tag immutable), a registry that names another digest, or
    /// one that says yes and does not have it.
    pub fn put_manifest(
        &self,
        reference: &TagOrDigest,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let what = self.manifest_name(reference);
        let ours = Digest::of(bytes);
        if let TagOrDigest::Digest(asked) = reference
            && *asked != ours
        {
            let expected = asked.to_string();
            return Err(RegistryError::ManifestDigest { what, expected, found: ours, by: "asked for" });
        }
        let request = Request::new(Method::Put, self.manifest_url(reference))
            .header("content-type", media_type)
            .bytes(bytes);
        let response = self.send(request)?;
        if !matches!(response.status, 200..=204) {
            return Err(RegistryError::of(what, response));
        }
        if let Some(named) = announced_digest(&what, &response)?.filter(|named| *named != ours) {
            let expected = named.to_string();
            return Err(RegistryError::ManifestDigest { what, expected, found: ours, by: "announced" });
        }
        drop(response);
        match self.head_manifest(reference)? {
            Some(stored) if stored.digest == ours => Ok(ours),
            _ => Err(RegistryError::NotStored { what }),
        }
    }

    /// Removes a manifest or, where the registry can, only a tag.
    ///
    /// # Errors
    /// Anything that is none of [`Deleted`].
    pub fn delete_manifest(&self, reference: &TagOrDigest) -> Result<Deleted, RegistryError> {
        let response = self.send(Request::new(Method::Delete, self.manifest_url(reference)))?;
        match response.status {
            200 | 202 | 204 => return Ok(Deleted::Yes),
            404 => return Ok(Deleted::NotFound),
            405 | 501 => return Ok(Deleted::Unsupported),
            _ => {}
        }
        let by_tag = matches!(reference, TagOrDigest::Tag(_));
        match RegistryError::of(self.manifest_name(reference), response) {
            RegistryError::Refused { status: 400, message, .. }
                if has_code(&message, "UNSUPPORTED") || by_tag && has_code(&message, "DIGEST_INVALID") =>
            {
                Ok(Deleted::Unsupported)
            }
            error => Err(error),
        }
    }

    /// Where an upload goes on. It may be on another host, which is the registry's right; no credentials
    /// go there.
    fn upload_location(&self, what: &str, response: &Response) -> Result<Url, RegistryError> {
        let location = response.headers.get("location").ok_or_else(|| RegistryError::Answer {
            what: what.to_string(),
            problem: "does not say where to upload to".to_string(),
        })?;
        Ok(follow(&response.url, location)?)
    }
}

/// Names and doors, for this module and [`crate::blob`].
impl Repository {
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Response, RegistryError> {
        self.registry.send(request, &self.path)
    }

    pub(crate) fn http(&self) -> &Http {
        &self.registry.http
    }

    pub(crate) fn blob_url(&self, digest: &Digest) -> Url {
        self.url(&format!("blobs/{digest}"))
    }

    pub(crate) fn blob_name(&self, digest: &Digest) -> String {
        format!("blob {digest} of {}", self.name())
    }

    fn manifest_url(&self, reference: &TagOrDigest) -> Url {
        self.url(&format!("manifests/{reference}"))
    }

    fn manifest_name(&self, reference: &TagOrDigest) -> String {
        let separator = if matches!(reference, TagOrDigest::Tag(_)) { ':' } else { '@' };
        format!("manifest {}{separator}{reference}", self.name())
    }

    fn name(&self) -> String {
        format!("{}/{}", self.registry.host(), self.path)
    }

    pub(crate) fn url(&self, rest: &str) -> Url {
        self.registry.base.at_path(&format!("/v2/{}/{rest}", self.path))
    }
}

/// One page of tags. `tags` is `null` in an empty repository of some registries.
#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

fn page_of_tags(what: &str, response: Response) -> Result<Vec<String>, RegistryError> {
    let bytes = response.bytes(TAGS_BYTES_MAX).map_err(|error| too_large(what, error))?;
    let wrong = |problem| RegistryError::Answer { what: what.to_string(), problem };
    let page: TagPage =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is not the spec's: {error}")))?;
    let tags = page.tags.unwrap_or_default();
    match tags.iter().find(|tag| !valid_tag(tag)) {
        Some(bad) => Err(wrong(format!("names `{}`, which is no tag", printable(bad)))),
        None => Ok(tags),
    }
}

/// `Link: <URL>; rel="next"`, on the registry's own origin.
pub(crate) fn next_page(what: &str, response: &Response) -> Result<Option<Url>, RegistryError> {
    let Some(link) = response.headers.get("link") else {
        return Ok(None);
    };
    let Some(target) = next_in_link(link) else {
        return Ok(None);
    };
    let next = follow(&response.url, target)?;
    if next.same_origin(&response.url) {
        return Ok(Some(next));
    }
    Err(RegistryError::Answer { what: what.to_string(), problem: format!("continues elsewhere, at {next}") })
}

/// The address of the next page in a `Link` header. It may be any text: whoever follows it parses it.
#[must_use]
pub fn next_in_link(header: &str) -> Option<&str> {
    let (target, parameters) = header.split_once('<')?.1.split_once('>')?;
    parameters.contains("next").then_some(target)
}

/// The announced digest, if it is one of sha256; of another algorithm's we cannot say anything.
fn announced_digest(what: &str, response: &Response) -> Result<Option<Digest>, RegistryError> {
    let Some(header) = response.headers.get(DIGEST_HEADER).filter(|header| header.starts_with("sha256:"))
    else {
        return Ok(None);
    };
    header.parse().map(Some).map_err(|_| RegistryError::Answer {
        what: what.to_string(),
        problem: format!("names `{}`, which is no digest", printable(header)),
    })
}

fn media_type(what: &str, response: &Response) -> Result<String, RegistryError> {
    response.headers.media_type().ok_or_else(|| RegistryError::Answer {
        what: what.to_string(),
        problem: "does not say its media type".to_string(),
    })
}

pub(crate) fn too_large(what: &str, error: HttpError) -> RegistryError {
    match error {
        HttpError::TooLarge { limit, .. } => RegistryError::TooLarge { what: what.to_string(), limit },
        other => other.into(),
    }
}

/// A text that did not parse as a URL may still hold a password before an `@`.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => printable(&format!("***@{rest}")),
        None => printable(text),
    }
}
