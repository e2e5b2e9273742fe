//! `bundler key new`

use std::path::PathBuf;

use clap::Subcommand;
use edge::{Failure, Screen};
use manifests::text::Name;
use manifests::{KeyId, Scheme};
use serde::Serialize;

use crate::keys;

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
    },
}

#[derive(Serialize)]
struct Document {
    keyid: KeyId,
    scheme: Scheme,
    private_key: PathBuf,
    public_key: PathBuf,
}

impl KeyCommand {
    pub(super) fn run(self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let Self::New { name, out } = self;
        let dir = screen.env.path(&out);
        let (private, public, key) = keys::create(&dir, name.as_str())?;
        let document = Document {
            keyid: key.id(),
            scheme: key.scheme(),
            private_key: private.clone(),
            public_key: public.clone(),
        };
        let human = format!(
            "key id      {}\nprivate key {}\npublic key  {}\n",
            key.id(),
            private.display(),
            public.display()
        );
        screen.result(&human, &document)
    }
}
