//! `bundler trust show`: what somebody who is to sign a root or revocations should read first.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use manifests::revocation::RevocationDocument;
use manifests::root::{Role, RootDocument};

use super::{Subject, read_root, sign, tell};

/// The arguments of `trust show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The root or the revocations
    document: PathBuf,
    /// The root before it, or the root that judges the revocations
    #[arg(long, value_name = "ROOT.JSON")]
    trust: Option<PathBuf>,
}

impl ShowArgs {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let (path, file, subject) = sign::open(&self.document, screen)?;
        let by = self.trust.as_ref().map(|root| read_root(&screen.env.path(root))).transpose()?;
        let standing = subject.standing(&file, by.as_ref())?;
        tell(path, &file, &subject, standing, screen)
    }
}

/// A document in lines for people.
pub(super) fn describe(subject: &Subject) -> String {
    match subject {
        Subject::Root(root) => describe_root(root),
        Subject::Revocations(list) => describe_revocations(list),
    }
}

fn describe_root(root: &RootDocument) -> String {
    let mut text = format!(
        "for         {}, root version {}, epoch {}\nmade        {}\n",
        root.publisher, root.version, root.epoch, root.created
    );
    if let Some(expires) = root.expires {
        text.push_str(&format!("expires     {expires}\n"));
    }
    if let Some(previous) = root.previous {
        text.push_str(&format!("follows     {previous}\n"));
    }
    text.push_str("keys\n");
    for (keyid, key) in &root.keys {
        text.push_str(&format!("  {keyid}  {}  {}\n", key.scheme, key.holder));
    }
    let roles = &root.roles;
    text.push_str(&describe_role("bundles", &roles.release, root));
    text.push_str(&describe_role("roots", &roles.root, root));
    text.push_str(&describe_role("revoking", roles.revocation.as_ref().unwrap_or(&roles.root), root));
    text
}

fn describe_role(what: &str, role: &Role, root: &RootDocument) -> String {
    let clauses = role.clauses.iter();
    clauses.map(|clause| format!("{what:<11} {} of {}\n", clause.threshold, root.holders(clause))).collect()
}

fn describe_revocations(list: &RevocationDocument) -> String {
    let mut text = format!(
        "for         {}, epoch {}, revocations version {}\nmade        {}\n",
        list.publisher, list.epoch, list.version, list.created
    );
    for (keyid, key) in &list.keys {
        text.push_str(&format!("key         {keyid}  {}\n", key.reason));
        text.extend(key.except.iter().map(|bundle| format!("  except    {bundle}\n")));
    }
    for (bundle, revoked) in &list.bundles {
        text.push_str(&format!("bundle      {bundle}  {}\n", revoked.reason));
    }
    for (product, minimum) in &list.minimums {
        text.push_str(&format!("below       {product} {}  {}\n", minimum.order, minimum.reason));
    }
    text
}
