//! What a request asks for: its target split and percent-decoded once, and the headers that matter.
//!
//! *Invariant:* no segment of an [`Asked`] is empty, `.` or `..`, and none holds a slash or a control
//! character. Nothing here is ever a path of the file system: segments are keys of the catalogue's maps.

use hyper::header::{ACCEPT, HOST, HeaderMap, HeaderName};
use hyper::{Method, Uri};

/// Bounds a request's path and query. The longest path in a file set is 1024 characters, three times
/// that when percent-encoded.
const TARGET_BYTES_MAX: usize = 8 * 1024;
/// The longest name of a host that DNS knows, and a port.
const HOST_BYTES_MAX: usize = 253 + 6;

/// A well-formed request to read something.
#[derive(Debug)]
pub(super) struct Asked {
    /// The parts of the path, decoded.
    pub(super) segments: Vec<String>,
    /// Whether the path ends with a slash.
    pub(super) slash: bool,
    /// Only the headers are wanted.
    pub(super) head_only: bool,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

/// Why a request is not answered with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this server is read-only: GET and HEAD are all it answers")]
    Write,
    #[error("the request's target is longer than 8 KiB")]
    TooLong,
    #[error("the request's target is not percent-encoded UTF-8")]
    Encoding,
    #[error("there is nothing at this address")]
    Nowhere,
}

impl Asked {
    /// # Errors
    /// See [`Refusal`].
    pub(super) fn parse(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let head_only = match *method {
            Method::GET => false,
            Method::HEAD => true,
            _ => return Err(Refusal::Write),
        };
        let query = uri.query().unwrap_or_default();
        if uri.path().len() + query.len() > TARGET_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let rest = uri.path().strip_prefix('/').ok_or(Refusal::Nowhere)?;
        let slash = rest.is_empty() || rest.ends_with('/');
        let segments = match rest {
            "" => Vec::new(),
            rest => {
                rest.strip_suffix('/').unwrap_or(rest).split('/').map(segment).collect::<Result<_, _>>()?
            }
        };
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>()?;
        Ok(Self { segments, slash, head_only, query, headers: headers.clone() })
    }

    /// The segments as text slices, to match on.
    pub(super) fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The first value of a query parameter.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A header's value, if it is there once and is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Every value of a list header, joined as RFC 9110 §5.3 says they may be.
    pub(super) fn list(&self, name: HeaderName) -> Option<String> {
        let values: Vec<&str> = self.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// `Accept`, if the client sent one.
    pub(super) fn accept(&self) -> Option<String> {
        self.list(ACCEPT)
    }

    /// The `Host` header if it is a name or address with an optional port, and nothing else: it ends up
    /// in commands that people paste into a shell.
    pub(super) fn host(&self) -> Option<&str> {
        self.header(HOST).filter(|host| is_host(host))
    }
}

fn segment(raw: &str) -> Result<String, Refusal> {
    let text = decode(raw)?;
    let stray = text.contains(|c: char| c == '/' || c.is_control());
    if text.is_empty() || text == "." || text == ".." || stray { Err(Refusal::Nowhere) } else { Ok(text) }
}

fn pair(raw: &str) -> Result<(String, String), Refusal> {
    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
    Ok((decode(name)?, decode(value)?))
}

fn decode(raw: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let value = high.zip(low).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(value.ok_or(Refusal::Encoding)?);
    }
    String::from_utf8(bytes).map_err(|_| Refusal::Encoding)
}

/// Percent-encodes one segment of a path: all but RFC 3986's unreserved characters.
pub(super) fn encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// [`encode`] for each part of a path.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

fn is_host(host: &str) -> bool {
    let digits = |port: &str| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(digits));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.split('.').all(label) && port.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str) -> Result<Asked, Refusal> {
        Asked::parse(&Method::GET, &target.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn a_target_is_decoded_once() {
        let asked = ask("/files/a%20b/%2541?last=x%2By&n=2").unwrap();
        assert_eq!(asked.path(), ["files", "a b", "%41"]);
        assert_eq!((asked.query("last"), asked.query("n"), asked.query("q")), (Some("x+y"), Some("2"), None));
        assert!(!asked.slash && ask("/simple/").unwrap().slash && ask("/").unwrap().slash);
    }

    #[test]
    fn no_segment_climbs_or_hides_a_slash() {
        for bad in [
            "//",
            "/a/../b",
            "/..",
            "/%2e%2e/a",
            "/%2E./a",
            "/a/./b",
            "//a",
            "/a//b",
            "/a%2Fb",
            "/a%00",
            "/a%0a",
        ] {
            assert_eq!(ask(bad).unwrap_err(), Refusal::Nowhere, "{bad}");
        }
        for bad in ["/a%", "/a%4", "/a%zz", "/a%ff", "/a?x=%f"] {
            assert_eq!(ask(bad).unwrap_err(), Refusal::Encoding, "{bad}");
        }
        assert_eq!(ask(&format!("/{}", "a".repeat(9000))).unwrap_err(), Refusal::TooLong);
    }

    #[test]
    fn a_host_cannot_carry_a_command() {
        for good in ["site", "site.example:5000", "10.0.0.1", "[::1]:80", "[::1]", "a_b.c"] {
            assert!(is_host(good), "refused {good}");
        }
        for bad in [
            "", "a b", "a;reboot", "$(x)", "a:b", "a:", "a:99999", "a:+1", "[::1", "[x]:1", "a/b", "<b>",
            "-a", "a..b",
        ] {
            assert!(!is_host(bad), "accepted {bad}");
        }
    }
}
