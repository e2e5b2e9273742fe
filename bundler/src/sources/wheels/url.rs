//! HTTP addresses: just enough of RFC 3986 to follow a link of a package index.
//!
//! *Invariant:* an [`HttpUrl`] is `http` or `https`, printable ASCII without blanks, and has no user
//! name, password or fragment, so it may stand in a lock file, a log and an error.

use std::fmt;

use manifests::text::printable;

/// The address of a document on a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl {
    scheme: &'static str,
    /// Host and port.
    authority: String,
    /// Starts with `/`.
    path: String,
    /// With its `?`, or empty.
    query: String,
}

/// A text that is not the address of a document on a server. It does not repeat the text, which may
/// hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// `file:`, `ftp:`, or no scheme at all.
    #[error("not an http or https address")]
    Scheme,
    /// No host, or one with other characters than a host's.
    #[error("address without a proper host")]
    Host,
}

/// User name and password that stood in an address. Neither is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Percent-decoded.
    pub user: String,
    /// Percent-decoded; empty if there was none.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}{}", self.scheme, self.authority, self.path, self.query)
    }
}

/// A link: where it points, and what stood behind its `#`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) url: HttpUrl,
    pub(super) fragment: Option<String>,
}

/// The five parts of RFC 3986, appendix B.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, fragment) = split_off(text, '#');
        let (rest, query) = split_off(rest, '?');
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                rest.split_at_checked(end).map_or((None, rest), |(authority, path)| (Some(authority), path))
            }
            None => (None, rest),
        };
        Self { scheme, authority, path, query, fragment }
    }
}

fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

impl HttpUrl {
    /// An absolute address, and the credentials that stood in it.
    ///
    /// # Errors
    /// Another scheme, or no proper host.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), UrlError> {
        let text = cleaned(text);
        let parts = Parts::of(&text);
        let scheme = scheme(parts.scheme.ok_or(UrlError::Scheme)?)?;
        let (authority, credentials) = authority(parts.authority.ok_or(UrlError::Host)?)?;
        let url = Self { scheme, authority, path: absolute(parts.path), query: query(parts.query) };
        Ok((url, credentials))
    }

    /// The same directory, with exactly one `/` at its end and no query.
    pub(super) fn directory(mut self) -> Self {
        self.path.truncate(self.path.trim_end_matches('/').len());
        self.path.push('/');
        self.query.clear();
        self
    }

    /// This address with one more part and a `/`; the part must be plain.
    pub(super) fn child_directory(&self, part: &manifests::Name) -> Self {
        Self { path: format!("{}{part}/", self.path), ..self.clone() }
    }

    /// Follows a link that was found on this page (RFC 3986, section 5.2). Credentials in the link are
    /// dropped.
    pub(super) fn follow(&self, link: &str) -> Result<Link, UrlError> {
        let text = cleaned(link);
        let parts = Parts::of(&text);
        let fragment = parts.fragment.map(str::to_owned);
        let scheme = parts.scheme.map(scheme).transpose()?;
        if scheme.is_some() || parts.authority.is_some() {
            let (authority, _) = authority(parts.authority.ok_or(UrlError::Host)?)?;
            let path = absolute(parts.path);
            let url =
                Self { scheme: scheme.unwrap_or(self.scheme), authority, path, query: query(parts.query) };
            return Ok(Link { url, fragment });
        }
        let mut url = self.clone();
        if parts.path.is_empty() {
            if parts.query.is_some() {
                url.query = query(parts.query);
            }
            return Ok(Link { url, fragment });
        }
        url.query = query(parts.query);
        url.path = if parts.path.starts_with('/') {
            absolute(parts.path)
        } else {
            let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
            absolute(&format!("{directory}/{}", parts.path))
        };
        Ok(Link { url, fragment })
    }

    /// The last part of the path, percent-decoded.
    pub(super) fn file_name(&self) -> String {
        let last = self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, last)| last);
        percent_decoded(last)
    }
}

/// Without the blanks around it, and with everything escaped that a request line cannot hold.
fn cleaned(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for byte in text.trim_matches(|c: char| c <= ' ').bytes() {
        match byte {
            b'\t' | b'\n' | b'\r' => {}
            b'!'..=b'~' if !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') => {
                clean.push(char::from(byte));
            }
            other => clean.push_str(&format!("%{other:02X}")),
        }
    }
    clean
}

fn scheme(text: &str) -> Result<&'static str, UrlError> {
    match text.to_ascii_lowercase().as_str() {
        "https" => Ok("https"),
        "http" => Ok("http"),
        _ => Err(UrlError::Scheme),
    }
}

fn query(text: Option<&str>) -> String {
    text.map(|text| format!("?{text}")).unwrap_or_default()
}

fn authority(text: &str) -> Result<(String, Option<Credentials>), UrlError> {
    let (credentials, host) = match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    };
    let host_end = host.rfind(':').filter(|colon| host.rfind(']').is_none_or(|bracket| bracket < *colon));
    let (name, port) = match host_end.and_then(|colon| host.split_at_checked(colon)) {
        Some((name, port)) => (name, port.trim_start_matches(':')),
        None => (host, ""),
    };
    let name_is_plain = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
    };
    if name.is_empty() || !name_is_plain || !(port.is_empty() || port.parse::<u16>().is_ok()) {
        return Err(UrlError::Host);
    }
    let credentials = credentials.filter(|text| !text.is_empty()).map(|text| {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Credentials { user: percent_decoded(user), password: percent_decoded(password) }
    });
    let port = if port.is_empty() { String::new() } else { format!(":{port}") };
    Ok((format!("{}{port}", name.to_ascii_lowercase()), credentials))
}

/// The path with its dots resolved (RFC 3986, section 5.2.4), starting with `/`.
fn absolute(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let rest = path.strip_prefix('/').unwrap_or(path);
    let mut ends_in_directory = false;
    for part in rest.split('/') {
        ends_in_directory = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Escapes taken back; what is not UTF-8 then becomes the replacement character.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.split_at_checked(2).filter(|_| *first == b'%');
        let escaped = digits.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address as it may be shown: without what stands before the `@` of its host.
pub(super) fn shown(text: &str) -> String {
    match HttpUrl::parse(text) {
        Ok((url, _)) => printable(&url.to_string()),
        Err(_) => "(not shown: it is no address and may hold a password)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
    }

    #[test]
    fn follows_links_as_rfc_3986_says() {
        let base = url("http://a/b/c/d;p?q");
        // Section 5.4, all the examples that stay with http.
        for (link, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
        ] {
            assert_eq!(base.follow(link).unwrap().url.to_string(), expected, "{link}");
        }
        assert_eq!(base.follow("g#s").unwrap().fragment.as_deref(), Some("s"));
        assert_eq!(base.follow("mailto:x@y"), Err(UrlError::Scheme));
        assert_eq!(base.follow("file:///etc/passwd"), Err(UrlError::Scheme));
    }

    #[test]
    fn an_address_never_holds_a_password_or_a_line_break() {
        let (url, credentials) = HttpUrl::parse("https://user:p%40ss@index.example:8443/simple#x").unwrap();
        assert_eq!(url.to_string(), "https://index.example:8443/simple");
        let credentials = credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("user", "p@ss"));
        assert!(!format!("{credentials:?}").contains("p@ss"));
        let link = url.follow("https://u:secret@host/a b\r\nX: y/\u{e9}.whl").unwrap().url.to_string();
        assert_eq!(link, "https://host/a%20bX:%20y/%C3%A9.whl");
        assert!(!shown("https://u:secret@host/x").contains("secret"));
        assert!(!shown("u:secret@host").contains("secret"));
    }

    #[test]
    fn refuses_what_is_not_on_a_server() {
        for bad in [
            "",
            "simple",
            "/simple",
            "ftp://x/",
            "https:///x",
            "https://",
            "https://a b/",
            "https://a:x/",
            "https://\u{e9}/",
        ] {
            assert!(HttpUrl::parse(bad).is_err(), "accepted {bad:?}");
        }
        for good in ["HTTPS://Index.Example", "http://[::1]:5000/x", "http://127.0.0.1:80/", "http://a:/"] {
            assert!(HttpUrl::parse(good).is_ok(), "refused {good:?}");
        }
    }

    #[test]
    fn decodes_a_file_name() {
        assert_eq!(url("https://h/p/torch-2.3.0%2Bcpu.whl?x=/y").file_name(), "torch-2.3.0+cpu.whl");
        assert_eq!(percent_decoded("%zz%+1%2"), "%zz%+1%2");
        assert_eq!(url("https://h/").file_name(), "");
    }

    proptest::proptest! {
        #[test]
        fn any_link_gives_a_clean_address_or_none(link in ".{0,60}") {
            let base = url("https://host/simple/x/");
            if let Ok(found) = base.follow(&link) {
                let text = found.url.to_string();
                proptest::prop_assert!(text.bytes().all(|byte| matches!(byte, b'!'..=b'~')));
                proptest::prop_assert_eq!(url(&text), found.url);
            }
        }
    }
}
