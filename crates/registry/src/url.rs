//! Absolute `http` and `https` URLs: parsing, resolving a reference against one (RFC 3986, section 5.2),
//! and showing one without its secrets.
//!
//! Our own small type because the usual crate brings the Unicode tables of international host names
//! with it, and a registry's or an index's URL never needs them: such hosts are refused.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifests::text::printable;

/// Longer than any server takes.
const URL_BYTES_MAX: usize = 8 * 1024;

/// An absolute URL without a fragment. `Display` and `Debug` hide user information and the query, where
/// passwords and signed tokens live; only [`Url::to_wire`] shows them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    userinfo: Option<String>,
    /// Lower case; an IPv6 address keeps its brackets.
    host: String,
    /// `None` for the scheme's default port.
    port: Option<u16>,
    /// Starts with `/`; no dot segments.
    path: String,
    query: Option<String>,
}

/// How a URL is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Unencrypted.
    Http,
    /// Over TLS.
    Https,
}

/// Why a text is not a URL that we follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// `file:`, `ftp:`, `javascript:`, or nothing at all.
    #[error("the URL does not start with `http://` or `https://`")]
    Scheme,
    /// The text is not shown: its user information could not be told from its host.
    #[error("the URL's host is not a name or an address with an optional port")]
    Host,
    /// A control character: request splitting, or an escape sequence for a terminal.
    #[error("the URL has the control character `{0}` in it")]
    Control(String),
    /// Over 8 KiB.
    #[error("the URL is {0} bytes long, the limit is 8192")]
    TooLong(usize),
}

impl Url {
    /// How it is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host's name or address, lower case, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `HOST` or `HOST:PORT`, without a default port.
    #[must_use]
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// The path as it is sent: percent-encoded, starting with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last segment of the path, its escapes taken back; empty for a directory. What is not UTF-8 then
    /// becomes the replacement character.
    #[must_use]
    pub fn file_name(&self) -> String {
        let last = self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, last)| last);
        String::from_utf8_lossy(&percent_decoded(last)).into_owned()
    }

    /// The user information as a value of `Authorization` (RFC 7617), its escapes taken back: **a secret**,
    /// for a request to this very origin. `None` where there is none.
    #[must_use]
    pub fn basic_authorization(&self) -> Option<String> {
        let userinfo = self.userinfo.as_deref().filter(|userinfo| !userinfo.is_empty())?;
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let login = [percent_decoded(user), percent_decoded(password)].join(&b':');
        Some(format!("Basic {}", STANDARD.encode(login)))
    }

    /// The same without user information: what may be written down.
    #[must_use]
    pub fn without_userinfo(self) -> Self {
        Self { userinfo: None, ..self }
    }

    /// The whole URL, **secrets included**: for a request line, never for an error or a log.
    #[must_use]
    pub fn to_wire(&self) -> String {
        let userinfo = self.userinfo.as_ref().map(|info| format!("{info}@")).unwrap_or_default();
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{userinfo}{}{}{query}", self.scheme, self.authority(), self.path)
    }

    /// Whether credentials for one may go to the other: same scheme, host and port.
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Whether the host is this very machine, by its address or by the name `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The same origin at another path, which is encoded where it must be, and no query.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Self {
        let path = without_dot_segments(&encoded(path, &['?']));
        Self { path, query: None, ..self.clone() }
    }

    /// With one more `key=value` in its query, both encoded.
    #[must_use]
    pub fn with_query(mut self, key: &str, value: &str) -> Self {
        let mut query = self.query.take().filter(|query| !query.is_empty()).unwrap_or_default();
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&format!("{}={}", query_part(key), query_part(value)));
        self.query = Some(query);
        self
    }

    /// What `reference` means in a document found at this URL: a `Location`, a `Link`, an `href`. A
    /// fragment is dropped.
    ///
    /// # Errors
    /// As for parsing: another scheme, an unusable host, control characters, too long.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        check_text(reference)?;
        let reference = before_fragment(reference);
        if has_scheme(reference) {
            return reference.parse();
        }
        if reference.starts_with("//") {
            return format!("{}:{reference}", self.scheme).parse();
        }
        let (path, query) = split_query(reference);
        let joined = match path {
            "" => self.path.clone(),
            absolute if absolute.starts_with('/') => absolute.to_string(),
            relative => {
                let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
                format!("{directory}/{relative}")
            }
        };
        let query = if reference.is_empty() { self.query.clone() } else { query.map(|q| encoded(q, &[])) };
        Ok(Self { query, ..self.at_path(&joined) })
    }
}

impl FromStr for Url {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        check_text(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let rest = before_fragment(rest);
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // Browsers take a backslash for a slash, so the two sides would disagree about the host.
        if authority.contains('\\') {
            return Err(UrlError::Host);
        }
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => (Some(encoded(userinfo, &['@', '/', '?'])), host_port),
            None => (None, authority),
        };
        let (host, port) = host_and_port(host_port).ok_or(UrlError::Host)?;
        let port = port.filter(|port| *port != scheme.default_port());
        let (path, query) = split_query(tail);
        let path = without_dot_segments(&encoded(if path.is_empty() { "/" } else { path }, &[]));
        Ok(Self { scheme, userinfo, host, port, path, query: query.map(|q| encoded(q, &[])) })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let userinfo = if self.userinfo.is_some() { "***@" } else { "" };
        let query = if self.query.is_some() { "?***" } else { "" };
        write!(f, "{}://{userinfo}{}{}{query}", self.scheme, self.authority(), printable(&self.path))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

fn check_text(text: &str) -> Result<(), UrlError> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong(text.len()));
    }
    let control = text.chars().find(|character| character.is_control());
    control.map_or(Ok(()), |found| Err(UrlError::Control(found.escape_default().to_string())))
}

fn before_fragment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before)
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// A colon before any slash, after what could be a scheme's name.
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        (host.to_string(), port)
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    Some((host.to_ascii_lowercase(), port))
}

/// Percent-encodes what may not stand in a request line, and `also`; leaves what is encoded already.
fn encoded(text: &str, also: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let forbidden = !matches!(character, '!'..='~')
            || matches!(character, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')
            || also.contains(&character);
        if forbidden {
            percent(character, &mut out);
        } else {
            out.push(character);
        }
    }
    out
}

/// Percent-encodes what may not stand in a value of a query or a form.
pub(crate) fn query_part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~' | ':' | '/') {
            out.push(character);
        } else {
            percent(character, &mut out);
        }
    }
    out
}

fn percent(character: char, out: &mut String) {
    let mut bytes = [0_u8; 4];
    for byte in character.encode_utf8(&mut bytes).bytes() {
        out.push_str(&format!("%{byte:02X}"));
    }
}

/// What is no escape stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, after @ ..] => digit(*high).zip(digit(*low)).map(|pair| (pair, after)),
            _ => None,
        };
        if let Some(((high, low), after)) = escape {
            bytes.push((high << 4) | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// RFC 3986, section 5.2.4, for a path that starts with `/`.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let slash = if directory && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn resolves_references_as_the_rfc_lists_them() {
        let base = url("http://a/b/c/d;p?q");
        for (reference, target) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
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
            ("./../g", "http://a/b/g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("https://other:8443/x", "https://other:8443/x"),
        ] {
            assert_eq!(base.join(reference).unwrap().to_wire(), target, "{reference:?}");
        }
    }

    #[test]
    fn never_shows_a_password_or_a_query() {
        let secret = url("https://user:hunter2@Host.Example:443/a/b?token=hunter2#hunter2");
        assert_eq!(secret.to_string(), "https://***@host.example/a/b?***");
        assert_eq!(format!("{secret:?}"), secret.to_string());
        assert_eq!(secret.to_wire(), "https://user:hunter2@host.example/a/b?token=hunter2");
        for bad in ["hunter2", "ftp://user:hunter2@h/", "http://user:hunter2@:80/", "http://h:hunter2/"] {
            assert!(!bad.parse::<Url>().unwrap_err().to_string().contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn refuses_what_is_no_url_of_ours() {
        for bad in [
            "",
            "host",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://a b/",
            "http://h:99999/",
            "http://h:+1/",
            "http://[::1/",
            "http://[x]/",
            "http://h/\r\nX: y",
            "http://h/\u{1b}[2J",
            "http://bücher.example/",
            "http://h\\@evil/",
        ] {
            assert!(bad.parse::<Url>().is_err(), "accepted {bad:?}");
        }
        assert!(matches!(format!("http://h/{}", "x".repeat(9000)).parse::<Url>(), Err(UrlError::TooLong(_))));
        assert!(url("http://h/").join("javascript:alert(1)").is_err());
        assert!(url("http://h/").join("data:text/html,x").is_err());
    }

    #[test]
    fn encodes_what_may_not_stand_in_a_request_line() {
        assert_eq!(url("http://h/a b/ü%20x?q= 1").to_wire(), "http://h/a%20b/%C3%BC%20x?q=%201");
        let query = url("http://h/?_state=x").with_query("digest", "sha256:ab").with_query("k", "a&b=c");
        assert_eq!(query.to_wire(), "http://h/?_state=x&digest=sha256:ab&k=a%26b%3Dc");
        assert_eq!(url("http://h/x?y").at_path("/a/../b c?d").to_wire(), "http://h/b%20c%3Fd");
    }

    #[test]
    fn names_a_file_without_its_escapes() {
        assert_eq!(url("https://h/p/torch-2.3.0%2Bcpu.whl?x=/y").file_name(), "torch-2.3.0+cpu.whl");
        assert_eq!(url("https://h/%zz%+1%c3%BC%2").file_name(), "%zz%+1\u{fc}%2");
        assert_eq!(url("https://h/%ff").file_name(), "\u{fffd}");
        assert_eq!(url("https://h/p/").file_name(), "");
    }

    #[test]
    fn makes_a_login_of_its_user_information_and_goes_without_it() {
        let login = |text: &str| url(text).basic_authorization();
        // `user:hunter2`, `ci@corp:p@ss/word`, `token:`
        assert_eq!(login("https://user:hunter2@h/").as_deref(), Some("Basic dXNlcjpodW50ZXIy"));
        assert_eq!(
            login("https://ci%40corp:p%40ss%2Fword@h/").as_deref(),
            Some("Basic Y2lAY29ycDpwQHNzL3dvcmQ=")
        );
        assert_eq!(login("https://token@h/").as_deref(), Some("Basic dG9rZW46"));
        assert_eq!((login("https://h/"), login("https://@h/")), (None, None));
        let bare = url("https://user:hunter2@h:81/a?b").without_userinfo();
        assert_eq!(bare.to_wire(), "https://h:81/a?b");
        assert_eq!(bare.basic_authorization(), None);
    }

    #[test]
    fn knows_its_own_machine_and_its_own_origin() {
        for own in ["http://127.0.0.1:5000/", "http://[::1]:5000/", "http://localhost/"] {
            assert!(url(own).is_loopback(), "{own}");
        }
        assert!(!url("http://127.example/").is_loopback());
        assert!(url("https://H/").same_origin(&url("https://h:443/x?y")));
        assert!(!url("https://h/").same_origin(&url("http://h:443/")));
        assert!(!url("http://h:81/").same_origin(&url("http://h/")));
        assert_eq!(url("http://[::1]:5000/").authority(), "[::1]:5000");
    }
}
