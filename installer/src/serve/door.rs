//! Who gets in: which addresses, over TLS or not, and with which login. Files are read when the server starts,
//! and again when it is told to; what cannot be used then leaves what was there.
//!
//! *Invariant:* a login never crosses a network in the clear. Without TLS the server listens on loopback
//! addresses, unless somebody has said that it may do otherwise, and then it asks for no login.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use edge::Clock;
use hyper::header::{AUTHORIZATION, HeaderMap};
use layout::private::{self, PrivateError};
use manifests::Timestamp;
use rustls::ServerConfig;

use super::network::Network;
use super::page::Transport;
use super::tls::{Tls, TlsError, TlsFiles};
use super::trouble::Trouble;
use super::users::{Login, USERS_BYTES_MAX, Users, UsersError};

/// What the door is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoorPlan {
    /// TLS, with this certificate.
    pub tls: Option<TlsFiles>,
    /// Logins, of the users in this file.
    pub users: Option<PathBuf>,
    /// The only addresses that are let in; all without any.
    pub allow: Vec<Network>,
    /// Whether plain HTTP may be spoken beyond this machine.
    pub plain_http: bool,
}

/// Why there is no such door.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Plain HTTP to other machines, which nobody has asked for.
    #[error("{0} is reached by other machines, and there is no TLS")]
    Plain(SocketAddr),
    /// Passwords for everybody on the way to read.
    #[error("logins at {0} would cross the network in the clear: there is no TLS")]
    PlainLogins(SocketAddr),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The users file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the users file, or write to it.
    #[error("the users file {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The users file is not one.
    #[error("the users file {} cannot be used", path.display())]
    Users {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: UsersError,
    },
}

/// How often refused logins are spoken of: who guesses must not fill a disk.
const REFUSALS_PAUSE: Duration = Duration::from_secs(60);

/// The door of one server.
pub struct Door {
    plan: DoorPlan,
    clock: Box<dyn Clock>,
    keys: RwLock<Arc<Keys>>,
    refusals: Mutex<Refusals>,
}

/// Wrong logins that nobody was told of yet. Names are not kept: some are passwords that went astray.
#[derive(Default)]
struct Refusals {
    count: u64,
    told: Option<Duration>,
}

/// What was read from files.
struct Keys {
    tls: Option<Tls>,
    users: Option<Users>,
}

impl Door {
    /// Without TLS and logins, for everybody. For a loopback address.
    #[must_use]
    pub fn open_to_all() -> Self {
        let keys = RwLock::new(Arc::new(Keys { tls: None, users: None }));
        Self { plan: DoorPlan::default(), clock: edge::env::system_clock(), keys, refusals: Mutex::default() }
    }

    /// The door of a server that listens there.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn hang(plan: DoorPlan, listen: SocketAddr, clock: Box<dyn Clock>) -> Result<Self, DoorError> {
        if plan.tls.is_none() && !listen.ip().to_canonical().is_loopback() {
            if plan.users.is_some() {
                return Err(DoorError::PlainLogins(listen));
            }
            if !plan.plain_http {
                return Err(DoorError::Plain(listen));
            }
        }
        let keys = RwLock::new(Arc::new(Keys::read(&plan, clock.now())?));
        Ok(Self { plan, clock, keys, refusals: Mutex::default() })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.plan.tls.is_some() { "https" } else { "http" }
    }

    /// The same, for the commands on the page.
    pub(super) fn transport(&self) -> Transport {
        if self.plan.tls.is_some() { Transport::Tls } else { Transport::Plain }
    }

    /// When the certificate ends, if that is soon.
    #[must_use]
    pub fn ends_soon(&self) -> Option<Timestamp> {
        self.keys().tls.as_ref().and_then(|tls| tls.ends_soon)
    }

    /// Whether there is anything to read again.
    pub(super) fn has_files(&self) -> bool {
        self.plan.tls.is_some() || self.plan.users.is_some()
    }

    /// Reads the files again. Connections that are there keep what they were made with; passwords that were
    /// right are asked for again.
    ///
    /// # Errors
    /// One cannot be used. Then all stay what they were.
    pub(super) fn reload(&self) -> Result<(), DoorError> {
        let keys = Arc::new(Keys::read(&self.plan, self.clock.now())?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether anybody at this address is listened to.
    pub(super) fn lets_in(&self, address: IpAddr) -> bool {
        self.plan.allow.is_empty() || self.plan.allow.iter().any(|network| network.contains(address))
    }

    /// What a new connection is made with; nothing for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.keys().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Judges a request's login, and says what the operator is to hear of it.
    pub(super) async fn login(&self, headers: &HeaderMap, from: IpAddr) -> (Login, Option<Trouble>) {
        let keys = self.keys();
        let Some(users) = &keys.users else { return (Login::Welcome, None) };
        let header = headers.get(AUTHORIZATION);
        let login = users.login(header).await;
        // Most clients ask without a login first, to see whether one is needed.
        let is_wrong = login == Login::Refused && header.is_some();
        (login, is_wrong.then(|| self.refusal(from.to_canonical())).flatten())
    }

    fn refusal(&self, from: IpAddr) -> Option<Trouble> {
        let now = self.clock.monotonic();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.count = refusals.count.saturating_add(1);
        if refusals.told.is_some_and(|told| now.saturating_sub(told) < REFUSALS_PAUSE) {
            return None;
        }
        refusals.told = Some(now);
        Some(Trouble::Logins { count: std::mem::take(&mut refusals.count), from })
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Keys {
    fn read(plan: &DoorPlan, now: Timestamp) -> Result<Self, DoorError> {
        let tls = plan.tls.as_ref().map(|files| Tls::load(files, now)).transpose()?;
        let users = plan.users.as_deref().map(read_users).transpose()?;
        Ok(Self { tls, users })
    }
}

fn read_users(path: &Path) -> Result<Users, DoorError> {
    let owned = || path.to_path_buf();
    let text = private::read(path, USERS_BYTES_MAX).map_err(|error| match error {
        PrivateError::Open { mode } => DoorError::Open { path: owned(), mode },
        PrivateError::Read(source) => DoorError::Read { path: owned(), source },
        other => DoorError::Read { path: owned(), source: io::Error::other(other) },
    })?;
    Users::parse(&text).map_err(|source| DoorError::Users { path: owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hang(listen: &str, plan: DoorPlan) -> Result<Door, DoorError> {
        Door::hang(plan, listen.parse().unwrap(), edge::env::system_clock())
    }

    #[test]
    fn without_tls_other_machines_are_reached_only_where_somebody_says_so_and_never_with_logins() {
        let users = Some(PathBuf::from("/nowhere/htpasswd"));
        for listen in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80"] {
            assert!(matches!(hang(listen, DoorPlan::default()), Err(DoorError::Plain(_))), "{listen}");
            let said = DoorPlan { plain_http: true, ..DoorPlan::default() };
            assert_eq!(hang(listen, said.clone()).ok().unwrap().scheme(), "http", "{listen}");
            let with_logins = DoorPlan { users: users.clone(), ..said };
            assert!(matches!(hang(listen, with_logins), Err(DoorError::PlainLogins(_))), "{listen}");
        }
        for listen in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(hang(listen, DoorPlan::default()).is_ok(), "{listen}");
            let logins = DoorPlan { users: users.clone(), ..DoorPlan::default() };
            assert!(matches!(hang(listen, logins), Err(DoorError::Read { .. })), "{listen}");
        }
    }

    /// Shows what it is set to.
    struct SetClock(Arc<Mutex<Duration>>);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_seconds(0).unwrap()
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn wrong_logins_are_counted_and_spoken_of_once_a_minute() {
        let time = Arc::new(Mutex::new(Duration::from_secs(5)));
        let listen = "127.0.0.1:80".parse().unwrap();
        let clock = Box::new(SetClock(Arc::clone(&time)));
        let Ok(door) = Door::hang(DoorPlan::default(), listen, clock) else { panic!("no door") };
        let refusal = || door.refusal("192.0.2.1".parse().unwrap()).map(|trouble| trouble.to_string());
        assert_eq!(refusal().as_deref(), Some("1 logins were refused, the last one from 192.0.2.1"));
        assert_eq!((refusal(), refusal()), (None, None));
        *time.lock().unwrap() += REFUSALS_PAUSE;
        assert_eq!(refusal().as_deref(), Some("3 logins were refused, the last one from 192.0.2.1"));
        assert_eq!(refusal(), None);
    }
}
