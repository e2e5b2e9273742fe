//! Which package index is asked. No index is compiled into the program: one is named, or pip is asked.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry::Url;
use registry::url::UrlError;

/// The root of a package index, the address below which each project has a page; or that of a chart
/// repository, below which its `index.yaml` is.
///
/// *Invariant:* its path ends in exactly one `/`. It may hold a login, which neither `Display` nor `Debug`
/// shows and [`IndexUrl::authorization_for`] gives away for the index's own origin only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexUrl(Url);

/// Why there is no index to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexUrlError {
    /// An address that is none. It is not shown: it may hold a password.
    #[error("the index address is not usable")]
    Address(#[source] UrlError),
    /// One place names an address that is none.
    #[error("{origin} names no usable index")]
    At {
        /// Which place.
        origin: IndexOrigin,
        /// What is wrong with it.
        #[source]
        source: Box<IndexUrlError>,
    },
    /// Nobody names one.
    #[error(
        "no package index is known: neither `index:` in bundle.yaml, nor `--index-url` in the requirements \
         file, nor PIP_INDEX_URL, nor pip's configuration names one"
    )]
    Unknown,
}

/// Who named the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexOrigin {
    /// `index:` in `bundle.yaml`.
    Spec,
    /// `--index-url` in the requirements file.
    Requirements,
    /// `PIP_INDEX_URL`.
    Environment,
    /// pip, when asked.
    Pip,
}

impl fmt::Display for IndexOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spec => "`index:` in bundle.yaml",
            Self::Requirements => "`--index-url` in the requirements file",
            Self::Environment => "PIP_INDEX_URL",
            Self::Pip => "pip's configuration",
        })
    }
}

/// The places that may name an index, except for pip, which is asked last. An empty text counts as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct IndexNames<'a> {
    /// `index:` in `bundle.yaml`.
    pub spec: Option<&'a str>,
    /// `--index-url` in the requirements file.
    pub requirements: Option<&'a IndexUrl>,
    /// `PIP_INDEX_URL`.
    pub environment: Option<&'a str>,
}

impl IndexNames<'_> {
    /// The first place that names an index decides. pip is asked only if none does, as asking it starts a
    /// process.
    ///
    /// # Errors
    /// Nobody names one, or the one who decides names no address; the next is not tried then.
    pub fn choose(
        &self,
        ask_pip: impl FnOnce() -> Option<String>,
    ) -> Result<(IndexUrl, IndexOrigin), IndexUrlError> {
        let named =
            |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let (text, origin) = if let Some(text) = named(self.spec) {
            (text, IndexOrigin::Spec)
        } else if let Some(url) = self.requirements {
            return Ok((url.clone(), IndexOrigin::Requirements));
        } else if let Some(text) = named(self.environment) {
            (text, IndexOrigin::Environment)
        } else if let Some(text) = named(ask_pip().as_deref()) {
            (text, IndexOrigin::Pip)
        } else {
            return Err(IndexUrlError::Unknown);
        };
        match text.parse() {
            Ok(url) => Ok((url, origin)),
            Err(error) => Err(IndexUrlError::At { origin, source: Box::new(error) }),
        }
    }
}

impl IndexUrl {
    /// The login of the index as a value of `Authorization`: **a secret**. `None` if it has none, or if
    /// `url` is not on the index's own origin.
    #[must_use]
    pub fn authorization_for(&self, url: &Url) -> Option<String> {
        self.0.basic_authorization().filter(|_| self.0.same_origin(url))
    }

    /// How much of its path an address of its origin lies below: all of it or nothing, in bytes.
    pub(in crate::sources) fn common_length(&self, url: &Url) -> usize {
        if url.path().starts_with(self.0.path()) { self.0.path().len() } else { 0 }
    }

    /// What a reference in a document of the index means.
    ///
    /// # Errors
    /// It means no address.
    pub fn join(&self, reference: &str) -> Result<Url, UrlError> {
        self.0.clone().without_userinfo().join(reference)
    }

    /// The address without its login: what may be written down.
    #[must_use]
    pub fn address(&self) -> Url {
        self.0.clone().without_userinfo()
    }

    /// Whether it holds a login.
    #[must_use]
    pub fn has_login(&self) -> bool {
        self.0.basic_authorization().is_some()
    }

    /// The whole address, **login included**: for a request or a program's environment.
    #[must_use]
    pub fn to_wire(&self) -> String {
        self.0.to_wire()
    }

    /// With a password for the user that it names; `None` if it names none or has a password already.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Option<Self> {
        let wire = self.to_wire();
        let (scheme, rest) = wire.split_once("://")?;
        let (user, rest) =
            rest.split_once('@').filter(|(user, _)| !user.is_empty() && !user.contains(':'))?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let escaped =
            |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let password: String = password.bytes().map(escaped).collect();
        format!("{scheme}://{user}:{password}@{rest}").parse().ok()
    }

    /// Every spelling of its login that may turn up in a text: escaped, plain, and as it is sent.
    #[must_use]
    pub(in crate::sources) fn secrets(&self) -> Vec<String> {
        let wire = self.to_wire();
        let userinfo = wire.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
        let (Some((userinfo, _)), Some(basic)) = (userinfo, self.0.basic_authorization()) else {
            return Vec::new();
        };
        let sent = basic.trim_start_matches("Basic ");
        let plain =
            STANDARD.decode(sent).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        // A user without a password is a token.
        let password = |text: &str| text.split_once(':').map_or(text, |(_, password)| password).to_string();
        let token = |text: &str| {
            if password(text).is_empty() { text.trim_end_matches(':').to_string() } else { password(text) }
        };
        vec![userinfo.to_string(), sent.to_string(), plain.clone(), token(userinfo), token(&plain)]
    }
}

impl fmt::Display for IndexUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for IndexUrl {
    type Err = IndexUrlError;
    fn from_str(text: &str) -> Result<Self, IndexUrlError> {
        let url: Url = text.trim().parse().map_err(IndexUrlError::Address)?;
        Ok(Self(url.at_path(&format!("{}/", url.path().trim_end_matches('/')))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> IndexUrl {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn nobody() -> Option<String> {
        panic!("pip was asked although another place names an index")
    }

    #[test]
    fn the_address_ends_in_one_slash_however_it_was_written() {
        for text in [
            "https://index.example/simple",
            "https://index.example/simple/",
            "https://index.example/simple//#x",
        ] {
            assert_eq!(index(text).to_string(), "https://index.example/simple/");
        }
        assert_eq!(index("https://index.example").to_string(), "https://index.example/");
    }

    #[test]
    fn the_first_place_that_names_an_index_decides() {
        let written = index("https://requirements.example/");
        let mut names = IndexNames {
            spec: Some("https://spec.example"),
            requirements: Some(&written),
            environment: Some("https://environment.example"),
        };
        let chosen = |names: &IndexNames<'_>| {
            let (url, origin) = names.choose(nobody).unwrap();
            (url.to_string(), origin)
        };
        assert_eq!(chosen(&names), ("https://spec.example/".to_owned(), IndexOrigin::Spec));
        names.spec = Some(" ");
        assert_eq!(chosen(&names), ("https://requirements.example/".to_owned(), IndexOrigin::Requirements));
        names.requirements = None;
        assert_eq!(chosen(&names), ("https://environment.example/".to_owned(), IndexOrigin::Environment));
        names.environment = Some("");
        let (url, origin) = names.choose(|| Some("https://pip.example/simple\n".to_owned())).unwrap();
        assert_eq!((url.to_string().as_str(), origin), ("https://pip.example/simple/", IndexOrigin::Pip));
        assert_eq!(names.choose(|| None), Err(IndexUrlError::Unknown));
    }

    #[test]
    fn a_bad_address_is_an_error_and_not_a_reason_to_ask_the_next() {
        let names =
            IndexNames { spec: Some("simple"), environment: Some("https://x"), ..IndexNames::default() };
        assert!(matches!(names.choose(nobody), Err(IndexUrlError::At { origin: IndexOrigin::Spec, .. })));
    }

    #[test]
    fn a_password_joins_the_user_that_the_address_names() {
        let with = |text: &str| index(text).with_password("p@ss/w%").map(|index| index.to_wire());
        assert_eq!(with("https://ci@h/simple").as_deref(), Some("https://ci:p%40ss%2Fw%25@h/simple/"));
        assert_eq!(with("https://h/simple"), None);
        assert_eq!(with("https://ci:old@h/simple"), None);
    }

    #[test]
    fn a_login_is_for_the_indexs_own_origin_and_never_shown() {
        let index = index("https://ci:hunter2@index.example/simple");
        assert!(!format!("{index} {index:?}").contains("hunter2"));
        let page = "https://index.example/simple/x/".parse().unwrap();
        assert_eq!(index.authorization_for(&page).as_deref(), Some("Basic Y2k6aHVudGVyMg=="));
        for other in ["http://index.example/", "https://index.example:8443/", "https://files.example/"] {
            assert_eq!(index.authorization_for(&other.parse().unwrap()), None, "{other}");
        }
        let error = "ftp://ci:hunter2@index.example/".parse::<IndexUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
