//! `bundler trust new`; `rotate` and `revoke` are not there yet.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use edge::show::NotYetArgs;
use edge::{Exit, Failure, Screen};
use layout::root_file::{self, RootFile};
use manifests::root::{Clause, FoundSignature, Role, Roles, RootDocument, RootError, RootKey, RootSchema};
use manifests::text::{Name, printable};
use manifests::{Digest, KeyId, PublicKey, TrustRoot};
use serde::Serialize;

use crate::keys;

/// What can be done with trust roots.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Make the first trust root of a publisher
    New(NewArgs),
    /// Replace keys of a trust root (not there yet)
    #[command(hide = true)]
    Rotate(NotYetArgs),
    /// Revoke keys or bundles (not there yet)
    #[command(hide = true)]
    Revoke(NotYetArgs),
}

/// The arguments of `trust new`.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Whose bundles the root judges
    #[arg(long)]
    publisher: Name,
    /// A public key that may sign bundles
    #[arg(long, required = true, value_name = "PUB")]
    release_key: Vec<PathBuf>,
    /// How many different holders must sign a bundle
    #[arg(long, default_value = "1", value_name = "N")]
    threshold: NonZeroU32,
    /// A public key that may sign trust roots
    #[arg(long, required = true, value_name = "PUB")]
    root_key: Vec<PathBuf>,
    /// How many different holders must sign a root; by default all but one, and at least one
    #[arg(long, value_name = "N")]
    root_threshold: Option<NonZeroU32>,
    /// The person who holds a key, by the name of its file: two keys of one holder count once
    #[arg(long, value_name = "KEYNAME=HOLDER")]
    holder: Vec<String>,
    /// A private key to sign the root with
    #[arg(long, required = true, value_name = "KEY")]
    sign: Vec<PathBuf>,
    /// Where to write it; the signatures go beside it, into OUT.sigs
    #[arg(long)]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document {
    root: PathBuf,
    signatures: PathBuf,
    publisher: Name,
    version: u64,
    fingerprint: Digest,
    signed_by: Vec<KeyId>,
}

impl TrustCommand {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::New(args) => args.run(screen),
            Self::Rotate(_) => Err(Failure::not_yet("`bundler trust rotate`")),
            Self::Revoke(_) => Err(Failure::not_yet("`bundler trust revoke`")),
        }
    }
}

/// A rule that the keys given break is the caller's to mend.
fn broken(error: RootError) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

impl NewArgs {
    fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let out = screen.env.path(&self.out);
        if out.exists() {
            return Err(Failure::usage(format!("{} is there already", out.display()))
                .hint("a trust root is never overwritten: choose another --out"));
        }
        let bytes = self.document(screen)?.to_bytes().map_err(broken)?;
        let mut signatures = Vec::new();
        for path in &self.sign {
            let key = keys::read_secret(&screen.env.path(path))?;
            let public = key.public().map_err(|error| Failure::usage(error.to_string()))?;
            let raw = key.sign(&bytes).map_err(|error| Failure::usage(error.to_string()))?;
            signatures.push(FoundSignature { claimed: public.id(), bytes: raw });
        }
        signatures.sort_by_key(|signature| signature.claimed);
        signatures.dedup();
        let root = TrustRoot::from_trusted_place(&bytes, &signatures).map_err(|error| {
            broken(error)
                .hint("sign with --sign KEY for enough of the --root-key holders (see --root-threshold)")
        })?;
        root_file::write(&out, &RootFile { bytes, signatures: signatures.clone() }).map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot write {}: {error}", out.display()))
        })?;
        let signed_by = signatures.iter().map(|signature| signature.claimed).collect();
        let document = Document {
            signatures: root_file::signature_dir(&out),
            root: out,
            publisher: self.publisher,
            version: root.document().version,
            fingerprint: root.fingerprint(),
            signed_by,
        };
        let human = format!(
            "trust root  {}\nsignatures  {}\nfor         {}\nfingerprint {}\n\nThe fingerprint goes to the site on paper or by telephone, never on the same medium:\n  installer trust init root.json --expect-sha256 {}\n",
            document.root.display(),
            document.signatures.display(),
            root.title(),
            root.fingerprint(),
            root.fingerprint().hex(),
        );
        screen.result(&human, &document)
    }

    fn document(&self, screen: &Screen<'_>) -> Result<RootDocument, Failure> {
        let holders = self.holders()?;
        let mut keys = BTreeMap::new();
        let mut role = |paths: &[PathBuf], threshold: Option<NonZeroU32>| -> Result<Role, Failure> {
            let mut keyids = Vec::new();
            for path in paths {
                let key = keys::read_public(&screen.env.path(path))?;
                let holder = holder_of(path, &holders)?;
                keyids.push(add(&mut keys, &key, holder)?);
            }
            keyids.sort();
            keyids.dedup();
            let all_but_one = u32::try_from(keyids.len()).unwrap_or(u32::MAX).saturating_sub(1);
            let threshold = threshold.or(NonZeroU32::new(all_but_one)).unwrap_or(NonZeroU32::MIN);
            Ok(Role { clauses: vec![Clause { keyids, threshold }] })
        };
        let roles = Roles {
            root: role(&self.root_key, self.root_threshold)?,
            release: role(&self.release_key, Some(self.threshold))?,
        };
        Ok(RootDocument {
            schema: RootSchema::V1,
            version: 1,
            epoch: 1,
            publisher: self.publisher.clone(),
            created: crate::cli::created(screen.env)?,
            expires: None,
            keys,
            roles,
            previous: None,
        })
    }

    fn holders(&self) -> Result<BTreeMap<String, Name>, Failure> {
        let pair = |text: &String| {
            let (key, holder) = text.split_once('=')?;
            Some((key.to_string(), holder.parse().ok()?))
        };
        let wrong =
            |text: &String| Failure::usage(format!("--holder `{}` is not KEYNAME=HOLDER", printable(text)));
        self.holder.iter().map(|text| pair(text).ok_or_else(|| wrong(text))).collect()
    }
}

/// The holder that was named for a key's file, or else the file's own name.
fn holder_of(path: &Path, holders: &BTreeMap<String, Name>) -> Result<Name, Failure> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem =
        file.strip_suffix(".pub.pem").or_else(|| file.strip_suffix(".pem")).unwrap_or(&file).to_string();
    if let Some(holder) = holders.get(&stem) {
        return Ok(holder.clone());
    }
    let wrong = |error: manifests::text::TextError| {
        Failure::usage(error.to_string())
            .hint(format!("name the person who holds the key: --holder {stem}=NAME"))
    };
    stem.parse().map_err(wrong)
}

fn add(keys: &mut BTreeMap<KeyId, RootKey>, key: &PublicKey, holder: Name) -> Result<KeyId, Failure> {
    let entry = RootKey { scheme: key.scheme(), pem: key.pem().to_string(), holder };
    match keys.insert(key.id(), entry.clone()) {
        Some(before) if before.holder != entry.holder => Err(Failure::usage(format!(
            "key {} is given for two holders, {} and {}",
            key.id(),
            before.holder,
            entry.holder
        ))),
        _ => Ok(key.id()),
    }
}
