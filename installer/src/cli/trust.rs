//! `installer trust`: `init`, `show`, `update` and `key`.

mod key;
mod update;

use std::path::PathBuf;

use clap::Subcommand;
use edge::scheme::Made;
use edge::{Exit, Failure, Screen};
use layout::signed_file;
use manifests::audit::Outcome;
use manifests::checkpoint::KeyHistory;
use manifests::revocation::RevocationDocument;
use manifests::root::{ROOT_BYTES_MAX, Role, RootDocument};
use manifests::text::printable;
use manifests::{Digest, Scheme, Timestamp, Trust, TrustRoot};
use serde::Serialize;

use super::change::seal;
use crate::audit::{About, AuditLog, about, keys};
use crate::site::key::Named;
use crate::site::lock::SiteLock;
use crate::site::{Site, SiteError};
use crate::witness;

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
        /// How the site's own key signs, which is made at the same time
        #[arg(long, value_enum, default_value = "ed25519")]
        key_scheme: Made,
    },
    /// Show whom the site trusts, since when, and what is revoked
    Show,
    /// Take the roots that follow and newer revocations, from files or from a medium
    Update(update::UpdateArgs),
    /// The site's own key, which signs its audit log
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// What the site trusts.
#[derive(Serialize)]
struct Document<'a> {
    fingerprint: Digest,
    root: &'a RootDocument,
    chain: Vec<Link>,
    revocations: Option<&'a RevocationDocument>,
    not_before: Timestamp,
    /// The site's own key.
    site_key: Option<Named>,
}

/// One root of the chain.
#[derive(Serialize)]
struct Link {
    version: u64,
    epoch: u64,
    created: Timestamp,
    fingerprint: Digest,
}

impl TrustCommand {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::Init { root, expect_sha256, key_scheme } => {
                init(site, screen, &root, &expect_sha256, key_scheme.into())
            }
            Self::Show => {
                let judged = super::judged(site, screen.env)?;
                show(&judged.trust, site, screen)
            }
            Self::Update(args) => args.run(site, screen),
            Self::Key(command) => command.run(site, screen),
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

fn init(
    site: &Site,
    screen: &mut Screen<'_>,
    root: &std::path::Path,
    typed: &str,
    scheme: Scheme,
) -> Result<(), Failure> {
    let expected = typed_fingerprint(typed)?;
    let path = screen.env.path(root);
    let file = signed_file::read(&path, ROOT_BYTES_MAX).map_err(SiteError::Trust)?;
    let root = site.prepare(&path, &file, expected)?;
    let _lock = SiteLock::take(site, screen.env)?;
    // Again, now that nobody else can be starting it.
    let root = site.prepare(&path, &file, root.fingerprint())?;
    if witness::has_trusted_before(site)? {
        return Err(Failure::new(
            Exit::Refused,
            format!("the audit log of {} says that the site had a trust root before", site.dir().display()),
        )
        .hint("find out who took it away; to start anew, use another --site directory and keep this one"));
    }
    let log = AuditLog::of(site, screen.env);
    log.make_room(0)?;
    log.append(screen.env, "trust.init", Outcome::Intent, root_facts(&root))?;
    site.keep_root(root.document().version, &file)?;
    log.append(screen.env, "trust.init", Outcome::Done, root_facts(&root))?;
    // Should this fail, the site trusts all the same; the next command that changes it makes the key.
    let made = keys::ensure(site, &KeyHistory::default(), &log, screen.env, scheme).map_err(Failure::from);
    seal(site, screen, &log, made)?;
    show(&Trust::starting_with(root), site, screen)
}

/// What the log says about a root. [`crate::witness`] reads `version` and `root` back.
fn root_facts(root: &TrustRoot) -> About {
    about([
        ("root", root.fingerprint().to_string()),
        ("version", root.document().version.to_string()),
        ("title", root.title()),
    ])
}

fn show(trust: &Trust, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let site_key = site.named_key()?;
    let human = format!(
        "{}{}{}",
        roots_for_people(trust),
        revocations_for_people(trust, screen.env.clock.now()),
        key::for_people(site_key.as_ref()),
    );
    let link = |root: &TrustRoot| Link {
        version: root.document().version,
        epoch: root.document().epoch,
        created: root.document().created,
        fingerprint: root.fingerprint(),
    };
    let document = Document {
        fingerprint: trust.root().fingerprint(),
        root: trust.root().document(),
        chain: trust.roots().map(link).collect(),
        revocations: trust.revocations().map(manifests::revocation::Revocations::document),
        not_before: trust.not_before(),
        site_key,
    };
    screen.result(&human, &document)
}

fn roots_for_people(trust: &Trust) -> String {
    let (root, document) = (trust.root(), trust.root().document());
    let keys: String = document
        .keys
        .iter()
        .map(|(keyid, key)| format!("  {keyid}  {}  {}\n", key.scheme, key.holder))
        .collect();
    let roles = &document.roles;
    let mut text = format!(
        "trust root  {}\nfingerprint {}\nmade        {}\nkeys\n{keys}{}{}{}",
        root.title(),
        root.fingerprint(),
        document.created,
        role("sign bundles", &roles.release, document),
        role("sign roots", &roles.root, document),
        role("revoke", roles.revocation.as_ref().unwrap_or(&roles.root), document),
    );
    if let Some(expires) = document.expires {
        text.push_str(&format!("expires     {expires}\n"));
    }
    for earlier in trust.roots().rev().skip(1) {
        let (version, made) = (earlier.document().version, earlier.document().created);
        text.push_str(&format!("before it   version {version}, made {made}, {}\n", earlier.fingerprint()));
    }
    text
}

/// A site that gets no media cannot learn of a revocation: so the age of what it knows is shown.
fn revocations_for_people(trust: &Trust, now: Timestamp) -> String {
    let Some(list) = trust.revocations().map(manifests::revocation::Revocations::document) else {
        return "revoked     nothing that this site was told of\n".to_string();
    };
    let mut text = format!(
        "revocations version {} of epoch {}, made {} ({})\n",
        list.version,
        list.epoch,
        list.created,
        age(list.created, now)
    );
    for (keyid, key) in &list.keys {
        text.push_str(&format!("  key    {keyid}  {}\n", key.reason));
    }
    for (bundle, revoked) in &list.bundles {
        text.push_str(&format!("  bundle {bundle}  {}\n", revoked.reason));
    }
    for (product, minimum) in &list.minimums {
        text.push_str(&format!("  {product} below order {}  {}\n", minimum.order, minimum.reason));
    }
    text
}

fn age(made: Timestamp, now: Timestamp) -> String {
    match now.unix_seconds().saturating_sub(made.unix_seconds()) {
        behind if behind < 0 => "after what the clock says".to_string(),
        seconds => match seconds / 86_400 {
            0 => "today".to_string(),
            1 => "1 day ago".to_string(),
            days => format!("{days} days ago"),
        },
    }
}

fn role(what: &str, role: &Role, document: &RootDocument) -> String {
    let clauses = role.clauses.iter();
    clauses.map(|clause| format!("{what}: {} of {}\n", clause.threshold, document.holders(clause))).collect()
}
