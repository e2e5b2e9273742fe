//! `installer trust init` and `show`; `update` is not there yet.

use std::path::PathBuf;

use clap::Subcommand;
use edge::show::NotYetArgs;
use edge::{Exit, Failure, Screen};
use layout::root_file;
use manifests::audit::Outcome;
use manifests::root::{Role, RootDocument};
use manifests::text::printable;
use manifests::{Digest, TrustRoot};
use serde::Serialize;

use crate::audit::{AuditLog, about};
use crate::site::lock::SiteLock;
use crate::site::{Site, SiteError};

/// What can be done with the site's trust.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Start the site's trust with a root whose fingerprint came on paper or by telephone
    Init {
        /// The trust root; its signatures lie beside it, in ROOT.sigs
        root: PathBuf,
        /// The fingerprint, as it came on another channel than the medium
        #[arg(long, value_name = "HEX")]
        expect_sha256: String,
    },
    /// Show whom the site trusts
    Show,
    /// Take a new root (not there yet)
    #[command(hide = true)]
    Update(NotYetArgs),
}

#[derive(Serialize)]
struct Document<'a> {
    fingerprint: Digest,
    root: &'a RootDocument,
}

impl TrustCommand {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::Init { root, expect_sha256 } => init(site, screen, &root, &expect_sha256),
            Self::Show => show(&site.trust_root()?, screen),
            Self::Update(_) => Err(Failure::not_yet("`installer trust update`")),
        }
    }
}

/// People type what they read: spaces and upper case do not matter, anything else does.
fn typed_fingerprint(text: &str) -> Result<Digest, Failure> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    Digest::from_hex(plain.strip_prefix("sha256:").unwrap_or(&plain)).map_err(|error| {
        Failure::new(Exit::Usage, format!("--expect-sha256 `{}`: {error}", printable(text)))
            .hint("type all 64 digits of the fingerprint")
    })
}

fn init(site: &Site, screen: &mut Screen<'_>, root: &std::path::Path, typed: &str) -> Result<(), Failure> {
    let expected = typed_fingerprint(typed)?;
    let path = screen.env.path(root);
    let file = root_file::read(&path).map_err(SiteError::Root)?;
    let root = site.prepare(&path, &file, expected)?;
    let _lock = SiteLock::take(site, screen.env)?;
    let log = AuditLog::of(site, screen.env);
    let facts = || about([("root", root.fingerprint().to_string()), ("title", root.title())]);
    log.append(screen.env, "trust.init", Outcome::Intent, facts())?;
    site.trust(&file)?;
    log.append(screen.env, "trust.init", Outcome::Done, facts())?;
    show(&root, screen)
}

fn show(root: &TrustRoot, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let document = root.document();
    let keys: String = document
        .keys
        .iter()
        .map(|(keyid, key)| format!("  {keyid}  {}  {}\n", key.scheme, key.holder))
        .collect();
    let human = format!(
        "trust root  {}\nfingerprint {}\nkeys\n{keys}{}{}",
        root.title(),
        root.fingerprint(),
        role("sign bundles", &document.roles.release, document),
        role("sign roots", &document.roles.root, document),
    );
    screen.result(&human, &Document { fingerprint: root.fingerprint(), root: document })
}

fn role(what: &str, role: &Role, document: &RootDocument) -> String {
    let clause = |clause: &manifests::root::Clause| {
        let holder = |keyid| document.keys.get(keyid).map_or(String::new(), |key| key.holder.to_string());
        let holders: Vec<String> = clause.keyids.iter().map(holder).collect();
        format!("{what}: {} of {}\n", clause.threshold, holders.join(", "))
    };
    role.clauses.iter().map(clause).collect()
}
