//! `installer trust key`: `show`, `new` and `rotate`.

use std::path::PathBuf;

use clap::Subcommand;
use edge::scheme::Made;
use edge::{Failure, Screen};
use manifests::text::Marking;
use manifests::{KeyId, Scheme};
use serde::Serialize;

use crate::audit::keys::{self, Before};
use crate::cli::change::{change, locked};
use crate::site::Site;
use crate::site::key::{Named, SiteKeyError};

/// What can be done with the site's own key.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeyCommand {
    /// Show the site's keys: the id to note on paper, and the public key
    Show,
    /// Make the site's key, where `trust init` has not made one
    New {
        /// How it signs
        #[arg(long, value_enum, default_value = "ed25519")]
        scheme: Made,
    },
    /// Replace the site's key; the present one signs for the new one, and is then removed
    Rotate {
        /// How the new one signs
        #[arg(long, value_enum, default_value = "ed25519")]
        scheme: Made,
        /// The present key is gone or damaged and cannot sign for the new one; every auditor is told
        #[arg(long, requires = "reason")]
        lost: bool,
        /// How it was lost, for the log
        #[arg(long, requires = "lost")]
        reason: Option<Marking>,
    },
}

#[derive(Serialize)]
struct Document {
    site_key: Option<Named>,
    /// Its public half, PEM.
    public_key: Option<String>,
    /// Where that lies.
    file: Option<PathBuf>,
    /// The keys before it, the newest first.
    replaced: Vec<Replaced>,
}

#[derive(Serialize)]
struct Replaced {
    keyid: KeyId,
    scheme: Scheme,
}

impl KeyCommand {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        match self {
            Self::Show => {
                crate::cli::judged(site, screen.env)?;
                show(site, screen)
            }
            Self::New { scheme } => locked(site, screen, |screen, judged, log| {
                if let Some(key) = site.named_key()? {
                    return Err(SiteKeyError::Already { keyid: key.keyid }.into());
                }
                keys::ensure(site, &judged.remembered.keys, log, screen.env, scheme.into())?;
                show(site, screen)
            }),
            Self::Rotate { scheme, lost: true, reason } => locked(site, screen, |screen, _, log| {
                if let Ok(Some(key)) = site.key() {
                    return Err(Failure::usage(format!("the key {} is there and signs", key.id()))
                        .hint("leave --lost away"));
                }
                let reason = reason.map_or(String::new(), |reason| reason.to_string());
                keys::replace(site, log, screen.env, scheme.into(), &Before::Lost(reason))?;
                show(site, screen)
            }),
            Self::Rotate { scheme, .. } => change(site, screen, |screen, _, log| {
                keys::replace(site, log, screen.env, scheme.into(), &Before::Endorses)?;
                show(site, screen)
            }),
        }
    }
}

fn show(site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let (keys, site_key) = (site.public_keys()?, site.named_key()?);
    let replaced: Vec<Replaced> =
        keys.iter().rev().skip(1).map(|key| Replaced { keyid: key.id(), scheme: key.scheme() }).collect();
    let public_key = keys.last().map(|key| key.pem().to_string());
    let file = site_key.as_ref().map(|key| site.public_key_path(key.number));
    let mut human = for_people(site_key.as_ref());
    human.extend(file.iter().map(|file| format!("public key  {}\n", file.display())));
    human.extend(replaced.iter().map(|key| format!("before it   {}  {}\n", key.keyid, key.scheme)));
    human.extend(public_key.iter().map(|pem| format!("\n{pem}")));
    screen.result(&human, &Document { site_key, public_key, file, replaced })
}

/// The line about the site's key.
pub(super) fn for_people(key: Option<&Named>) -> String {
    match key {
        Some(key) => format!("site key    {}  {}\n", key.keyid, key.scheme),
        None => "site key    none yet: the next change makes it, or `installer trust key new`\n".to_string(),
    }
}
