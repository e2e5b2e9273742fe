//! Image references as Docker and the OCI distribution spec write them: `HOST[:PORT]/PATH[:TAG][@DIGEST]`.
//!
//! Short names get Docker's defaults (`postgres` is `docker.io/library/postgres:latest`). Our own parser
//! and not a crate's because the surveyed one refuses IPv6 hosts and needs `std`; it is one screen.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::digest::Digest;
use crate::string_form::string_form;

/// The longest `HOST/PATH` that registries agree on.
const NAME_BYTES_MAX: usize = 255;
/// The distribution spec's bound on a tag.
const TAG_BYTES_MAX: usize = 128;

/// A full reference: host, path, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not an image reference: {reason}")]
pub struct ReferenceError {
    shown: String,
    reason: &'static str,
}

impl Reference {
    /// `HOST[:PORT]`, as written.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's path on that host.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was written, or `latest` if there was no digest either.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `HOST/PATH` without tag and digest.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The repository's path on a site: `HOST/PATH` with a port's colon (and an IPv6 host's brackets and
    /// colons) turned into dashes, so that two upstream registries keep apart. (Only a host that is itself named
    /// `HOST-PORT` would share a path with `HOST:PORT`.)
    #[must_use]
    pub fn site_path(&self) -> String {
        format!("{}/{}", self.site_host(), self.path)
    }

    /// The part of it that stands for the host.
    #[must_use]
    pub fn site_host(&self) -> String {
        let host: String = self
            .host
            .chars()
            .filter(|c| !matches!(c, '[' | ']'))
            .map(|c| if c == ':' { '-' } else { c })
            .collect();
        host.trim_matches('-').to_string()
    }

    /// The same repository with another digest and no tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { host: self.host.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason| ReferenceError { shown: crate::text::printable(text), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| fail("the digest is not sha256:<64 hex>"))?))
            }
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_host(first) => (first.to_string(), rest.to_string()),
            Some(_) => ("docker.io".to_string(), rest.to_string()),
            None => ("docker.io".to_string(), format!("library/{rest}")),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path.to_string(), Some(tag.to_string())),
            None => (rest, None),
        };
        if !valid_host(&host) {
            return Err(fail("the host is not a name or address with an optional port"));
        }
        if !path.split('/').all(valid_component) {
            return Err(fail(
                "the path must be lower-case letters and digits with single . _ __ or - between them",
            ));
        }
        if host.len() + 1 + path.len() > NAME_BYTES_MAX {
            return Err(fail("it is longer than 255 characters"));
        }
        if !tag.as_deref().is_none_or(valid_tag) {
            return Err(fail("the tag must be 1 to 128 of A-Z a-z 0-9 _ . - and not start with . or -"));
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_string()) } else { tag };
        Ok(Self { host, path, tag, digest })
    }
}

string_form!(Reference);

/// Docker's rule: the first part is a host if it could not be a path part.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.starts_with('[')
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let address_ok =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !address_ok || !(rest.is_empty() || rest.starts_with(':')) {
                return false;
            }
            ("ipv6", rest.strip_prefix(':'))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let name_ok = name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    name_ok && port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` of the distribution spec.
fn valid_component(component: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(component.bytes().next())
        && edge(component.bytes().last())
        && component
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && component
            .split(|c: char| c.is_ascii_alphanumeric())
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

/// The distribution spec's tag.
#[must_use]
pub fn valid_tag(tag: &str) -> bool {
    (1..=TAG_BYTES_MAX).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn short_names_get_dockers_defaults() {
        assert_eq!(format!("{}", parse("postgres")), "docker.io/library/postgres:latest");
        assert_eq!(format!("{}", parse("grafana/grafana:11")), "docker.io/grafana/grafana:11");
        assert_eq!(format!("{}", parse("localhost/x")), "localhost/x:latest");
        assert_eq!(format!("{}", parse("127.0.0.1:5000/a/b:v1")), "127.0.0.1:5000/a/b:v1");
        assert_eq!(parse("[::1]:5000/a/b:v1").host(), "[::1]:5000");
        let digest = Digest::of(b"x");
        let pinned = parse(&format!("r.example.com/a@{digest}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(digest)));
        let both = parse(&format!("r.example.com/a:v1@{digest}"));
        assert_eq!((both.tag(), both.digest()), (Some("v1"), Some(digest)));
    }

    #[test]
    fn two_registries_never_collide_on_site() {
        assert_eq!(parse("127.0.0.1:5000/a:v1").site_path(), "127.0.0.1-5000/a");
        assert_eq!(parse("registry.example.com/a/b").site_path(), "registry.example.com/a/b");
        assert_eq!(parse("[::1]:5000/a").site_path(), "1-5000/a");
    }

    #[test]
    fn refuses_what_registries_refuse() {
        for bad in [
            "",
            "/",
            "a//b",
            "A/b",
            "a/B",
            "r.io/../x",
            "r.io/a:",
            "r.io/a:.x",
            "r.io/a@sha256:abc",
            "r.io/a@",
            "r.io:port/a",
            "r.io:99999/a",
            "r.io/a b",
            "r.io/a\n",
            "r.io/-a",
            "r.io/a..b",
            "-r.io/a",
            "[::1/a",
            "r.io/a:b:c",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "accepted {bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_what_it_accepts_it_prints_back(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(format!("{reference}").parse(), Ok(reference));
            }
        }
    }
}
