//! Answering a registry's demand for a login: Basic, or a token from the server that the registry names.
//!
//! It follows RFC 7617, RFC 6750 and the distribution project's token specification (`GET` with a password,
//! `POST` with an identity token). Tokens are kept for each repository and kind of access until the registry
//! no longer takes them, so no clock is needed.
//!
//! **What it may never do:** send a credential or ask for a token over a connection that is not encrypted,
//! except to this very machine or where the caller said so; answer the demand of another origin than the
//! registry's (a redirect's, for instance); show a secret.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifests::text::printable;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::challenge::{self, Challenge};
use crate::error::RegistryError;
use crate::http::{Http, Method, Request, Response};
use crate::login::{Credential, Login, SharedLogins};
use crate::url::{Scheme, Url, query_part};

/// A token is a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 256 * 1024;
/// Longer than any server's header limit.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// What we call ourselves to a token server.
const CLIENT: &str = "airlock";

/// What one token is good for: a repository, and whether it may be changed.
pub(crate) type Access = (String, bool);

/// What goes into `Authorization`, and whose login it is.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) header: Zeroizing<String>,
    pub(crate) from: Option<String>,
}

/// The logins of one registry, and the tokens that they gave.
pub(crate) struct Authorizer {
    logins: SharedLogins,
    unencrypted: bool,
    held: Mutex<BTreeMap<Access, Held>>,
}

impl Authorizer {
    /// `unencrypted` allows logins over plain HTTP to another machine.
    pub(crate) fn new(logins: SharedLogins, unencrypted: bool) -> Self {
        Self { logins, unencrypted, held: Mutex::default() }
    }

    /// What the registry took before.
    pub(crate) fn held(&self, access: &Access) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(access).cloned()
    }

    /// What may satisfy this 401; nothing where we have no login and it takes no others.
    ///
    /// # Errors
    /// A login that cannot be looked up, or a token server that gives nothing.
    pub(crate) fn answer(
        &self,
        http: &Http,
        base: &Url,
        access: &Access,
        refusal: &Response,
    ) -> Result<Option<Held>, RegistryError> {
        let demands: Vec<Challenge> =
            refusal.headers.all("www-authenticate").flat_map(challenge::parse).collect();
        // A token says less than a password.
        let bearer = demands.iter().find(|demand| matches!(demand, Challenge::Bearer { .. }));
        let Some(demand) = bearer.or(demands.first()) else { return Ok(None) };
        let registry = base.authority();
        let login = self.logins.login(&registry, &access.0);
        let login = login.map_err(|source| RegistryError::Login { registry: registry.clone(), source })?;
        let from = login.as_ref().map(|login| login.from.clone());
        let header = match demand {
            Challenge::Bearer { realm, service, scope } => {
                let asked = Asked { http, registry, from: from.clone(), realm: realm.clone() };
                let realm = asked.realm(base, self.unencrypted)?;
                let request = token_request(realm, service.as_deref(), scope.as_deref(), login.as_ref());
                Zeroizing::new(format!("Bearer {}", asked.token(request)?.as_str()))
            }
            Challenge::Basic => match login.map(|login| login.credential) {
                None => return Ok(None),
                Some(Credential::Password { user, password }) => {
                    if !self.may_travel(base) {
                        return Err(RegistryError::Unencrypted { registry, to: base.to_string() });
                    }
                    basic(&user, password.expose())
                }
                Some(Credential::Identity(_)) => {
                    let problem = "the registry wants a password, and there is only an identity token";
                    return Err(RegistryError::Token {
                        registry,
                        realm: base.to_string(),
                        from,
                        problem: problem.to_string(),
                    });
                }
            },
        };
        let held = Held { header, from };
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(access.clone(), held.clone());
        Ok(Some(held))
    }

    /// A credential that was not taken is not sent again with the next request. Only that one: what another
    /// request of the same moment was given since is good, and somebody may be about to send it.
    pub(crate) fn forget(&self, access: &Access, refused: &Held) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(access).is_some_and(|held| held.header == refused.header) {
            all.remove(access);
        }
    }

    fn may_travel(&self, url: &Url) -> bool {
        may_travel(url, self.unencrypted)
    }
}

fn may_travel(url: &Url, unencrypted: bool) -> bool {
    url.scheme() == Scheme::Https || url.is_loopback() || unencrypted
}

fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    Zeroizing::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(pair.as_bytes())).as_str()))
}

/// A request for a token, whose body must outlive it.
struct TokenRequest {
    url: Url,
    authorization: Option<Zeroizing<String>>,
    form: Option<Zeroizing<String>>,
}

fn token_request(
    realm: Url,
    service: Option<&str>,
    scope: Option<&str>,
    login: Option<&Login>,
) -> TokenRequest {
    if let Some(Credential::Identity(token)) = login.map(|login| &login.credential) {
        let mut form = Zeroizing::new(format!(
            "grant_type=refresh_token&client_id={CLIENT}&refresh_token={}",
            Zeroizing::new(query_part(token.expose())).as_str()
        ));
        for (key, value) in [("service", service), ("scope", scope)] {
            form.push_str(&value.map_or(String::new(), |value| format!("&{key}={}", query_part(value))));
        }
        return TokenRequest { url: realm, authorization: None, form: Some(form) };
    }
    let mut url = realm;
    if let Some(service) = service {
        url = url.with_query("service", service);
    }
    // One parameter for each, as the specification has it.
    for scope in scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()) {
        url = url.with_query("scope", scope);
    }
    let authorization = match login.map(|login| &login.credential) {
        Some(Credential::Password { user, password }) => {
            url = url.with_query("account", user).with_query("client_id", CLIENT);
            Some(basic(user, password.expose()))
        }
        _ => None,
    };
    TokenRequest { url, authorization, form: None }
}

/// A conversation with a token server.
struct Asked<'a> {
    http: &'a Http,
    registry: String,
    from: Option<String>,
    realm: String,
}

/// The specification has two spellings; both may be there.
#[derive(Deserialize)]
struct TokenDocument {
    #[serde(default)]
    token: Option<Zeroizing<String>>,
    #[serde(default)]
    access_token: Option<Zeroizing<String>>,
}

impl Asked<'_> {
    fn failed(&self, problem: String) -> RegistryError {
        let realm = self.realm.parse::<Url>().map_or_else(|_| printable(&self.realm), |url| url.to_string());
        RegistryError::Token { registry: self.registry.clone(), realm, from: self.from.clone(), problem }
    }

    fn realm(&self, base: &Url, unencrypted: bool) -> Result<Url, RegistryError> {
        let realm: Url = self.realm.parse().map_err(|error| self.failed(format!("{error}")))?;
        // A registry on this machine may name a token server on this machine, and nobody else may be named
        // without encryption: the token is as good as a password while it lasts.
        let downgrade = base.scheme() == Scheme::Https && realm.scheme() == Scheme::Http;
        if !may_travel(&realm, unencrypted) || downgrade && !unencrypted {
            return Err(RegistryError::Unencrypted {
                registry: self.registry.clone(),
                to: realm.to_string(),
            });
        }
        Ok(realm.without_userinfo())
    }

    fn token(&self, request: TokenRequest) -> Result<Zeroizing<String>, RegistryError> {
        let method = if request.form.is_some() { Method::Post } else { Method::Get };
        let mut wire = Request::new(method, request.url).header("accept", "application/json");
        if let Some(authorization) = &request.authorization {
            wire = wire.header("authorization", authorization.as_str());
        }
        if let Some(form) = &request.form {
            wire = wire.header("content-type", "application/x-www-form-urlencoded").bytes(form.as_bytes());
        }
        let response = self.http.send(wire)?;
        match response.status {
            200 => {}
            401 | 403 => return Err(self.failed("it does not take the login".to_string())),
            status => return Err(self.failed(format!("it answered {status}"))),
        }
        let bytes = Zeroizing::new(response.bytes(TOKEN_BYTES_MAX)?);
        let document: Option<TokenDocument> = serde_json::from_slice(&bytes).ok();
        let token = document.and_then(|document| document.token.or(document.access_token));
        let usable = |token: &Zeroizing<String>| {
            !token.is_empty() && token.len() < HEADER_BYTES_MAX && token.bytes().all(|b| b.is_ascii_graphic())
        };
        token.filter(usable).ok_or_else(|| self.failed("its answer holds no token".to_string()))
    }
}
