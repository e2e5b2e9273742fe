//! `installer serve`

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use edge::{Classified, Exit, Failure, Screen};

use crate::serve::{self, Limits, ServeError, Stop};
use crate::shelf::SiteShelf;
use crate::site::Site;

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen; port 0 takes a free one. Without TLS and logins in this version, so a loopback
    /// address unless the network is yours
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
}

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

impl ServeArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        let shelf = Arc::new(SiteShelf::of(site.clone()));
        let stderr = screen.env.stderr.clone();
        let out = &mut screen.env.stdout;
        let ready = |address: SocketAddr| {
            // If nobody reads it, the server still serves.
            let _ = writeln!(out, "serving http://{address}/").and_then(|()| out.flush());
        };
        let report = move |trouble: serve::Trouble| {
            let mut text = trouble.to_string();
            let mut cause = std::error::Error::source(&trouble);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            stderr.say(&format!("warning: {}", manifests::text::printable(&text)));
        };
        serve::run(shelf, self.listen, Limits::default(), ready, &Stop::new(), report)?;
        Ok(())
    }
}
