//! What can go wrong between us and a registry, and what the registry itself says about it.

use std::io;
use std::time::Duration;

use manifests::Digest;
use manifests::text::printable;
use serde::Deserialize;

use crate::http::{HttpError, Response};
use crate::login::LoginError;
use crate::url::UrlError;

/// Of a registry's error document, as much is read as a person would.
const ERROR_BYTES_MAX: u64 = 16 * 1024;
/// Of its list of errors, as many are shown.
const ERRORS_SHOWN_MAX: usize = 3;

/// Why a registry did not do what was asked. `what` is always the thing with its registry and
/// repository, such as `blob sha256:… of 127.0.0.1:5000/acme/service`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry's own URL is unusable.
    #[error("`{url}` is not the URL of a registry")]
    BaseUrl {
        /// As given, made printable, or redacted where it parsed.
        url: String,
        /// Why.
        source: UrlError,
    },
    /// The OCI distribution spec puts the API at the root of the host.
    #[error("the registry's URL {url} must end after its host and port")]
    BasePath {
        /// Without its secrets.
        url: String,
    },
    /// A repository's path or a tag that the spec does not allow.
    #[error("`{text}` is not a {what} of the OCI distribution spec")]
    Name {
        /// `repository path` or `tag`.
        what: &'static str,
        /// Made printable.
        text: String,
    },
    /// The registry wants to know who we are.
    #[error("{registry} {} for {what}{message}", refused_login(.login.as_deref()))]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// Where the login came from that it does not take, if there was one.
        login: Option<String>,
        /// What the registry says, or nothing.
        message: String,
    },
    /// The registry knows who we are, and does not let us.
    #[error("access to {what} is denied{}{message}", with_login(.login.as_deref()))]
    Denied {
        /// What was asked for.
        what: String,
        /// Where the login came from, if there was one.
        login: Option<String>,
        /// What the registry says, or nothing.
        message: String,
    },
    /// A file or helper that should know the login does not work.
    #[error("cannot look up the login for {registry}")]
    Login {
        /// Host and port.
        registry: String,
        /// Which, and what is wrong with it.
        source: LoginError,
    },
    /// The server that the registry sends us to for a token gives none.
    #[error("{registry} wants a token from {realm}{}: {problem}", with_login(.from.as_deref()))]
    Token {
        /// Host and port.
        registry: String,
        /// The token server, without secrets.
        realm: String,
        /// Where the login came from, if there was one.
        from: Option<String>,
        /// In words.
        problem: String,
    },
    /// Logins and tokens travel encrypted, or stay on this machine.
    #[error("{registry} asks for a login, which would go to {to} unencrypted; it was not sent")]
    Unencrypted {
        /// Host and port.
        registry: String,
        /// Where it would go.
        to: String,
    },
    /// Too many requests, and the registry wants to be left alone for longer than we wait.
    #[error("{registry} limits how often it may be asked{}{message}", patience(*.retry_after))]
    RateLimited {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// For how long.
        retry_after: Option<Duration>,
        /// What the registry says, or nothing.
        message: String,
    },
    /// It is not there, or not for us.
    #[error("{what} is not there{message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// What the registry says, or nothing.
        message: String,
    },
    /// Any other status than the wanted one.
    #[error("the registry answered {status} about {what}{message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// The status code.
        status: u16,
        /// What the registry says, or nothing.
        message: String,
    },
    /// Nobody answers `/v2/` there as a registry does.
    #[error("{registry} is not an OCI registry: it answered {found} about `/v2/`")]
    NotARegistry {
        /// Host and port.
        registry: String,
        /// Status or content.
        found: String,
    },
    /// Something that the spec demands is missing from an answer, or wrong in it.
    #[error("the registry's answer about {what} {problem}")]
    Answer {
        /// What was asked for.
        what: String,
        /// In words, after "the answer".
        problem: String,
    },
    /// More than a manifest or a list may be.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// In bytes.
        limit: u64,
    },
    /// The manifest's bytes are not those that were asked for, or not those that the header names.
    #[error("{what} has digest {found}, but {expected} was {by}")]
    ManifestDigest {
        /// What was asked for.
        what: String,
        /// Asked for or announced.
        expected: String,
        /// Computed by us.
        found: Digest,
        /// `asked for` or `announced`.
        by: &'static str,
    },
    /// The blob's length is not what its descriptor says.
    #[error("{what} is {found} bytes long, its descriptor says {expected}")]
    BlobSize {
        /// Which blob.
        what: String,
        /// By its descriptor.
        expected: u64,
        /// By the registry.
        found: u64,
    },
    /// More bytes came than its descriptor says.
    #[error("{what} is longer than the {expected} bytes that its descriptor says")]
    BlobTooLong {
        /// Which blob.
        what: String,
        /// By its descriptor.
        expected: u64,
    },
    /// The blob ended early and could not be continued.
    #[error("{what} ended after {found} of {expected} bytes")]
    BlobTruncated {
        /// Which blob.
        what: String,
        /// By its descriptor.
        expected: u64,
        /// Received.
        found: u64,
        /// What broke it, if anything did.
        source: Option<io::Error>,
    },
    /// The blob has the right length and other bytes.
    #[error("{what} has digest {found}")]
    BlobDigest {
        /// Which blob, by the digest it should have.
        what: String,
        /// Computed by us.
        found: Digest,
    },
    /// A reader that has failed does not go on.
    #[error("an earlier read of {what} failed")]
    Poisoned {
        /// Which blob.
        what: String,
    },
    /// The registry said that it stored something, and then does not have it.
    #[error("the registry said that it stored {what}, but does not have it")]
    NotStored {
        /// What was pushed.
        what: String,
    },
    /// Below the protocol.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl RegistryError {
    /// Whether the registry gave other bytes, or another length, than a digest or descriptor says.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::ManifestDigest { .. }
                | Self::BlobSize { .. }
                | Self::BlobTooLong { .. }
                | Self::BlobDigest { .. }
        )
    }

    /// Whether it is about who we are.
    #[must_use]
    pub fn is_login(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. }
                | Self::Denied { .. }
                | Self::Login { .. }
                | Self::Token { .. }
                | Self::Unencrypted { .. }
        )
    }

    /// Whether nobody was reached at all, or nobody answered.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Http(error) => error.is_unreachable(),
            Self::BlobTruncated { .. } => true,
            _ => false,
        }
    }

    /// Whether the same request may succeed later: nobody answered, or somebody too busy did.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(error) => error.is_unreachable() && !matches!(error, HttpError::Tls { .. }),
            Self::Refused { status, .. } => crate::retry::is_transient(*status),
            Self::RateLimited { .. } => true,
            _ => false,
        }
    }

    /// Whether the registry has answered, and not as it should: the fault is not the network's nor our own.
    pub(crate) fn is_of_the_registry(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::NotFound { .. } | Self::NotStored { .. } | Self::Answer { .. }
        )
    }

    /// What an unwanted status means.
    pub(crate) fn of(what: String, response: Response) -> Self {
        let (status, registry) = (response.status, response.url.authority());
        let (login, retry_after) = (response.login.clone(), response.retry_after());
        let message = message(&response.beginning(ERROR_BYTES_MAX));
        match status {
            401 => Self::Unauthorized { registry, what, login, message },
            403 => Self::Denied { what, login, message },
            429 => Self::RateLimited { registry, what, retry_after, message },
            404 => Self::NotFound { what, message },
            _ => Self::Refused { what, status, message },
        }
    }
}

fn refused_login(login: Option<&str>) -> String {
    match login {
        Some(from) => format!("does not take the login from {from}"),
        None => "asks for a login, and there is none".to_string(),
    }
}

fn with_login(login: Option<&str>) -> String {
    login.map_or(String::new(), |from| format!(" (with the login from {from})"))
}

fn patience(retry_after: Option<Duration>) -> String {
    retry_after.map_or(String::new(), |wait| format!(" and wants to be left alone for {} s", wait.as_secs()))
}

impl From<RegistryError> for io::Error {
    fn from(error: RegistryError) -> Self {
        let kind = match error {
            RegistryError::Http(inner) => return inner.into(),
            RegistryError::BlobTruncated { .. } => io::ErrorKind::UnexpectedEof,
            RegistryError::BlobSize { .. }
            | RegistryError::BlobTooLong { .. }
            | RegistryError::BlobDigest { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The distribution spec's error document. Everything may be missing.
#[derive(Deserialize)]
pub(crate) struct ErrorDocument {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What a registry's error document says, for people: `: CODE: message` and so on, printable, or nothing
/// if the body is not such a document.
#[must_use]
pub fn message(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<ErrorDocument>(body) else {
        return String::new();
    };
    let shown = document.errors.iter().take(ERRORS_SHOWN_MAX).map(|entry| {
        let (code, message) = (printable(&entry.code), printable(&entry.message));
        if message.is_empty() { format!(": {code}") } else { format!(": {code}: {message}") }
    });
    shown.collect()
}

/// The codes of an error document, for the few decisions that need them.
pub(crate) fn has_code(message: &str, code: &str) -> bool {
    message.split(": ").any(|part| part == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_registry_says_and_no_more() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[2J"},{"code":"X","detail":1}]}"#;
        assert_eq!(message(body), ": DENIED: no\\u{1b}[2J: X");
        for nothing in [&b""[..], b"<html>", b"[]", b"{\"errors\":7}", b"{}"] {
            assert_eq!(message(nothing), "", "{nothing:?}");
        }
        let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"code":"A"},"#.repeat(50));
        assert_eq!(message(many.as_bytes()), ": A: A: A");
    }
}
