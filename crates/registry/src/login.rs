//! Who we are to a registry: secrets, and the files in which Docker and Podman keep them.
//!
//! The files' form is that of `containers-auth.json(5)` and of Docker's `config.json`. This module reads
//! bytes; which files there are, and how a credential helper is run, is for whoever implements [`Logins`].
//!
//! What it may never do: show a secret. A [`Secret`] has neither `Debug` nor `Display`, and no error of
//! this module holds text of a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use manifests::text::printable;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Bounds a file of logins.
pub const LOGIN_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The user name that says that a helper's secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// How Docker's own file names Docker's hub.
const DOCKER_HUB_KEYS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Padding is left out by some writers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A password or token. There is no way to show it by accident.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// For a request, and for nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// What a registry or its token server is shown.
#[derive(Clone)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An identity token, good for getting tokens and for nothing else.
    Identity(Secret),
}

/// A credential, and where it was found.
#[derive(Clone)]
pub struct Login {
    /// What is shown.
    pub credential: Credential,
    /// The file or helper, for messages.
    pub from: String,
}

/// Why no login could be looked up. Never holds what a file says.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{from}: {problem}")]
pub struct LoginError {
    /// The file or helper.
    pub from: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Knows logins.
pub trait Logins: Send + Sync {
    /// The login for a repository (`acme/app`, or nothing for the registry itself) of a registry
    /// (`HOST[:PORT]`), if there is one.
    ///
    /// # Errors
    /// A file or helper that should have known does not work.
    fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>, LoginError>;
}

/// No logins at all.
pub struct Anonymous;

impl Logins for Anonymous {
    fn login(&self, _: &str, _: &str) -> Result<Option<Login>, LoginError> {
        Ok(None)
    }
}

/// Logins that are shared.
pub type SharedLogins = Arc<dyn Logins>;

/// One file of logins.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct LoginFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
}

/// What a file says about a registry.
pub enum Found {
    /// The login itself.
    Login(Credential),
    /// Ask this helper (`docker-credential-NAME get`) about this server.
    Helper {
        /// `NAME`, which is checked to be a name and no path.
        name: String,
        /// What to ask about.
        server: String,
    },
    /// Nothing.
    Nothing,
}

impl LoginFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Not such a file, in words that hold nothing of it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| {
            // The library's own message may quote what it found.
            format!("not a file of logins (line {}, column {})", error.line(), error.column())
        })
    }

    /// What the file says about a repository. As Podman has it: the helper of the host, then the longest key
    /// that is the repository or a path above it, then the store for all.
    ///
    /// # Errors
    /// An entry that is none, or a helper whose name is a path.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Found, String> {
        let hub = DOCKER_HUB_KEYS.contains(&registry);
        let server = if hub { "https://index.docker.io/v1/" } else { registry };
        let names: &[&str] = if hub { &DOCKER_HUB_KEYS } else { std::slice::from_ref(&registry) };
        let helper = names.iter().find_map(|name| self.cred_helpers.get(*name));
        if let Some(name) = helper.filter(|name| !name.is_empty()) {
            return asked(name, server);
        }
        let mut path = repository;
        loop {
            for name in names {
                let wanted = if path.is_empty() { (*name).to_string() } else { format!("{name}/{path}") };
                let entry = self.auths.iter().find(|(key, _)| normal(key) == wanted);
                if let Some(credential) = entry.and_then(|(_, entry)| entry.credential().transpose()) {
                    return credential.map(Found::Login);
                }
            }
            if path.is_empty() {
                break;
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
        match &self.creds_store {
            Some(name) if !name.is_empty() => asked(name, server),
            _ => Ok(Found::Nothing),
        }
    }
}

/// A helper's name becomes a part of a program's name.
fn asked(name: &str, server: &str) -> Result<Found, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.bytes().all(plain) && !name.starts_with('.') {
        return Ok(Found::Helper { name: name.to_string(), server: server.to_string() });
    }
    Err(format!("`{}` is not the name of a credential helper", printable(name)))
}

/// Keys are hosts, hosts with paths, or URLs as Docker wrote them before.
fn normal(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let Some(url) = bare else { return key.trim_end_matches('/') };
    // `https://index.docker.io/v1/`: of a URL only the host counts.
    url.split('/').next().unwrap_or(url)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credential::Identity(Secret(token.clone()))));
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let decoded = BASE64.decode(auth.trim()).map(Zeroizing::new).ok();
            let text = decoded.and_then(|bytes| {
                std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_string()))
            });
            let pair = text.as_ref().and_then(|text| text.split_once(':'));
            let (user, password) = pair.ok_or("`auth` is not USER:PASSWORD in base64")?;
            // Docker pads with NUL bytes.
            let password = password.trim_matches('\0').to_string();
            return Ok(Some(Credential::Password {
                user: user.to_string(),
                password: Secret::new(password),
            }));
        }
        match (&self.username, &self.password) {
            (Some(user), Some(password)) => {
                Ok(Some(Credential::Password { user: user.clone(), password: Secret(password.clone()) }))
            }
            _ => Ok(None),
        }
    }
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: Zeroizing<String>,
}

/// Reads what `docker-credential-NAME get` printed. Nothing for an empty answer.
///
/// # Errors
/// Not such an answer, in words that hold nothing of it.
pub fn helper_answer(stdout: &[u8]) -> Result<Option<Credential>, String> {
    let answer: HelperAnswer =
        serde_json::from_slice(stdout).map_err(|_| "its answer is not that of a credential helper")?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let secret = Secret(answer.secret);
    Ok(Some(if answer.username == TOKEN_USER {
        Credential::Identity(secret)
    } else {
        Credential::Password { user: answer.username, password: secret }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `user:hunter2` is `dXNlcjpodW50ZXIy`.
    fn who(file: &str, registry: &str, repository: &str) -> String {
        let file = LoginFile::parse(file.as_bytes()).unwrap();
        match file.find(registry, repository) {
            Ok(Found::Login(Credential::Password { user, password })) => {
                format!("{user}:{}", password.expose())
            }
            Ok(Found::Login(Credential::Identity(token))) => format!("token {}", token.expose()),
            Ok(Found::Helper { name, server }) => format!("{name} about {server}"),
            Ok(Found::Nothing) => "nothing".to_string(),
            Err(problem) => format!("error: {problem}"),
        }
    }

    #[test]
    fn the_longest_key_above_a_repository_wins() {
        let file = r#"{"auths": {
            "r.example.com": {"auth": "YTox"},
            "r.example.com/team": {"auth": "Yjoy"},
            "r.example.com/team/app": {"auth": "Yzoz"},
            "r.example.com:5000": {"username": "d", "password": "4"}
        }}"#;
        for (registry, repository, expected) in [
            ("r.example.com", "team/app", "c:3"),
            ("r.example.com", "team/app/deep", "c:3"),
            ("r.example.com", "team/application", "b:2"),
            ("r.example.com", "team", "b:2"),
            ("r.example.com", "teammate/x", "a:1"),
            ("r.example.com", "", "a:1"),
            ("r.example.com:5000", "team/app", "d:4"),
            ("other.example.com", "team/app", "nothing"),
            ("example.com", "team/app", "nothing"),
        ] {
            assert_eq!(who(file, registry, repository), expected, "{registry}/{repository}");
        }
    }

    #[test]
    fn dockers_spellings_are_understood() {
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpodW50ZXIy"}}}"#;
        assert_eq!(who(hub, "docker.io", "library/x"), "user:hunter2");
        assert_eq!(who(hub, "registry-1.docker.io", ""), "user:hunter2");
        let url = r#"{"auths": {"https://r.example.com/v2/": {"auth": "dXNlcjpodW50ZXIyAAA"}}}"#;
        assert_eq!(who(url, "r.example.com", "a"), "user:hunter2");
        let token = r#"{"auths": {"r.example.com": {"auth": "dXNlcjo=", "identitytoken": "hunter2"}}}"#;
        assert_eq!(who(token, "r.example.com", "a"), "token hunter2");
    }

    #[test]
    fn helpers_go_before_entries_and_the_store_comes_last() {
        let file = r#"{"credsStore": "pass", "credHelpers": {"h.example.com": "ecr-login"},
            "auths": {"h.example.com": {"auth": "YTox"}, "a.example.com": {"auth": "YTox"}, "e.example.com": {}}}"#;
        assert_eq!(who(file, "h.example.com", "x"), "ecr-login about h.example.com");
        assert_eq!(who(file, "a.example.com", "x"), "a:1");
        assert_eq!(who(file, "e.example.com", "x"), "pass about e.example.com");
        assert_eq!(who(file, "docker.io", "x"), "pass about https://index.docker.io/v1/");
    }

    #[test]
    fn refuses_a_helper_that_is_a_path_and_an_entry_that_is_none_without_showing_it() {
        let path = r#"{"credsStore": "../../tmp/x"}"#;
        assert!(who(path, "r", "x").starts_with("error: `../../tmp/x` is not the name"));
        let bad = r#"{"auths": {"r": {"auth": "hunter2!"}}}"#;
        assert_eq!(who(bad, "r", "x"), "error: `auth` is not USER:PASSWORD in base64");
        let error = LoginFile::parse(b"{\"auths\": {\"r\": \"hunter2\"}}").err().unwrap();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_helpers_answer_is_a_password_or_an_identity_token() {
        let answer = |text: &str| helper_answer(text.as_bytes());
        assert!(matches!(
            answer(r#"{"ServerURL":"r","Username":"u","Secret":"s"}"#),
            Ok(Some(Credential::Password { .. }))
        ));
        let token = answer(r#"{"Username":"<token>","Secret":"s"}"#);
        assert!(matches!(token, Ok(Some(Credential::Identity(_)))));
        assert!(matches!(answer(r#"{"Username":"u","Secret":""}"#), Ok(None)));
        assert!(answer("hunter2").err().is_some_and(|error| !error.contains("hunter2")));
    }
}
