//! `installer serve`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use edge::{Classified, Env, Exit, Failure, Screen};

use crate::rot;
use crate::serve::{
    self, Door, DoorError, DoorPlan, Limits, Network, Options, RehashPolicy, ServeError, Stop, TlsError,
    TlsFiles, Trouble,
};
use crate::shelf::SiteShelf;
use crate::site::Site;
use crate::site::config::ServeConfig;

/// The arguments of `serve`. Each goes before what `site.yaml` says of it.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen, 127.0.0.1:8080 if nobody says otherwise; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// TLS with this certificate, a PEM file; SIGHUP reads it again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, a PEM file that only its owner can read
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Ask for a login of a user in this htpasswd file (bcrypt only); SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Let in addresses of this network only, such as 10.1.0.0/16 or fd00::/8; may be repeated
    #[arg(long, value_name = "NETWORK")]
    allow: Vec<Network>,
    /// Serve other machines without TLS all the same
    #[arg(long)]
    plain_http: bool,
}

/// Where it listens if nobody says otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Classified for ServeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Listen { .. } | Self::Bundles { .. } => Exit::Unreachable,
            _ => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("choose another address with --listen HOST:PORT".to_string()),
            _ => None,
        }
    }
}

impl Classified for DoorError {
    fn exit(&self) -> Exit {
        match self {
            Self::Plain(_) | Self::PlainLogins(_) | Self::Users { .. } => Exit::Usage,
            Self::Read { .. } | Self::Tls(TlsError::Read { .. }) => Exit::Unreachable,
            Self::Open { .. } | Self::Tls(TlsError::Open { .. }) => Exit::Refused,
            Self::Tls(TlsError::Expired { .. } | TlsError::NotYet { .. }) => Exit::NotReady,
            Self::Tls(TlsError::Library(_)) => Exit::Unexpected,
            Self::Tls(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Plain(_) => {
                "give it a certificate (--tls-certificate, --tls-key), or say that the network is yours: --plain-http"
            }
            Self::PlainLogins(_) => {
                "give it a certificate (--tls-certificate, --tls-key), or listen on 127.0.0.1 behind something that speaks TLS"
            }
            Self::Users { .. } => {
                "docs/operator.md says what it holds; `htpasswd -B FILE NAME` writes such a line"
            }
            Self::Open { path, .. } => return Some(format!("chmod 600 {}", path.display())),
            Self::Tls(TlsError::Open { path, .. }) => {
                return Some(format!(
                    "if nobody else can have read it: chmod 600 {}; otherwise get a new key and certificate",
                    path.display()
                ));
            }
            Self::Tls(TlsError::Expired { .. }) => {
                "get a new one from the site's authority; if it should be valid still, look at the clock"
            }
            Self::Tls(TlsError::NotYet { .. }) => "one of the clocks is wrong: compare that of this machine",
            Self::Tls(TlsError::Mismatch { .. }) => {
                "the first certificate of the file must be the server's own, made for this key"
            }
            _ => return None,
        };
        Some(hint.to_string())
    }
}

impl ServeArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        let config = site.config()?.serve;
        let listen = self.listen.or(config.listen).unwrap_or(USUAL);
        let rehash = RehashPolicy::from(&config.rehash);
        let door = Door::hang(self.door(config, screen.env), listen, edge::env::system_clock())?;
        let scheme = door.scheme();
        let (withdrawn, record) = (rot::withdrawn(site)?, rot::record(site, screen.env));
        let options = Options { limits: Limits::default(), door, rehash, withdrawn, record };
        let stderr = screen.env.stderr.clone();
        let report = move |trouble: Trouble| {
            let prefix = if trouble.is_over() { "" } else { "warning: " };
            stderr.say(&format!("{prefix}{}", trouble.reason()));
        };
        let notify = screen.env.var(serve::notify::NOTIFY_SOCKET).map(str::to_string);
        let stderr = screen.env.stderr.clone();
        let out = &mut screen.env.stdout;
        let ready = |address: SocketAddr| {
            // If nobody reads it, the server still serves.
            let _ = writeln!(out, "serving {scheme}://{address}/").and_then(|()| out.flush());
            if let Some(Err(error)) = notify.as_deref().map(serve::notify::ready) {
                stderr.say(&format!("warning: systemd cannot be told that the server is ready: {error}"));
            }
        };
        let shelf = Arc::new(SiteShelf::of(site.clone()));
        serve::run(shelf, listen, options, ready, &Stop::new(), report)?;
        Ok(())
    }

    /// Who gets in, by the command line before `site.yaml`.
    fn door(self, config: ServeConfig, env: &Env) -> DoorPlan {
        let given = self.tls_certificate.zip(self.tls_key);
        let given = given
            .map(|(certificate, key)| TlsFiles { certificate: env.path(&certificate), key: env.path(&key) });
        let configured = config.tls.map(|tls| TlsFiles { certificate: tls.certificate, key: tls.key });
        DoorPlan {
            tls: given.or(configured),
            users: self.users.map(|users| env.path(&users)).or(config.users),
            allow: if self.allow.is_empty() { config.allow } else { self.allow },
            plain_http: self.plain_http || config.plain_http,
        }
    }
}
