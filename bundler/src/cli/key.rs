//! `bundler key new`

use std::path::PathBuf;

use clap::Subcommand;
use edge::scheme::Made;
use edge::{Failure, Screen};
use manifests::text::Name;
use manifests::{KeyId, Scheme};
use serde::Serialize;

use crate::keys::{NewKey, Passphrases};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key pair: NAME.key.pem (for its owner only) and NAME.pub.pem
    New {
        /// The file name, and the holder's name in a trust root
        #[arg(long)]
        name: Name,
        /// The directory
        #[arg(long)]
        out: PathBuf,
        /// How the key signs
        #[arg(long, value_enum, default_value = "ed25519")]
        scheme: Made,
        /// Encrypt the private key with a passphrase, which is asked for twice
        #[arg(long, conflicts_with = "passphrase_file")]
        encrypt: bool,
        /// Encrypt the private key with the passphrase in this file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Document {
    keyid: KeyId,
    scheme: Scheme,
    encrypted: bool,
    private_key: PathBuf,
    public_key: PathBuf,
}

impl KeyCommand {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let Self::New { name, out, scheme, encrypt, passphrase_file } = self;
        let files = NewKey::at(&screen.env.path(&out), name.as_str())?;
        let encrypted = encrypt || passphrase_file.is_some();
        let passphrase = if encrypted {
            let file = passphrase_file.map(|file| screen.env.path(&file));
            Some(Passphrases { file, terminal: &mut *screen.env.terminal }.choose(&files.private)?)
        } else {
            None
        };
        let key = files.create(scheme.into(), passphrase.as_ref())?;
        let document = Document {
            keyid: key.id(),
            scheme: key.scheme(),
            encrypted,
            private_key: files.private,
            public_key: files.public,
        };
        let human = format!(
            "key id      {}\nprivate key {}{}\npublic key  {}\n",
            document.keyid,
            document.private_key.display(),
            if encrypted { " (encrypted)" } else { "" },
            document.public_key.display()
        );
        screen.result(&human, &document)
    }
}
