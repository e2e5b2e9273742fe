//! Key files: private keys are closed to others, and a file that is not is refused. A private key may be
//! encrypted; its passphrase comes from a file that is closed as well, or from the terminal, and goes nowhere
//! else.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use edge::terminal::{AskError, PASSPHRASE_BYTES_MAX, Passphrase, Terminal};
use edge::{Classified, Exit};
use layout::private::PrivateError;
use manifests::key::{KEY_FILE_BYTES_MAX, KeyError};
use manifests::{PublicKey, Scheme, SecretKey};
use zeroize::Zeroizing;

/// How often a person may mistype a passphrase.
const TRIES: usize = 3;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Not readable.
    #[error("cannot read the key {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not writable.
    #[error("cannot write the key {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the {what} {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// A private key, or a passphrase file.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a key that we use.
    #[error("{} cannot be used", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// Nobody has typed a passphrase.
    #[error("no passphrase for {}", path.display())]
    NoPassphrase {
        /// The key.
        path: PathBuf,
        /// Why not.
        source: AskError,
    },
    /// Two different passphrases for a new key.
    #[error("the two passphrases differ; no key was made")]
    Mistyped,
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// No key can be made.
    #[error("no key can be made")]
    New(#[from] KeyError),
}

impl Classified for KeyFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Write { .. } => Exit::Unreachable,
            Self::Key { .. } | Self::NoPassphrase { .. } | Self::Mistyped => Exit::Usage,
            Self::New(KeyError::EmptyPassphrase | KeyError::NotMadeHere(_)) => Exit::Usage,
            Self::Open { .. } => Exit::Refused,
            Self::Random(_) | Self::New(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, what, .. } => Some(format!(
                "if nobody else can have read it: chmod 600 {}; otherwise make a new {}",
                path.display(),
                if *what == PASSPHRASE { "passphrase" } else { "key" },
            )),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("a key is never overwritten: choose another --name or --out".to_string())
            }
            Self::NoPassphrase { .. } | Self::Key { source: KeyError::Encrypted, .. } => {
                Some("give --passphrase-file FILE, or run this on a terminal".to_string())
            }
            Self::Key { source, .. } => source.hint().map(str::to_string),
            _ => None,
        }
    }
}

const PRIVATE_KEY: &str = "private key";
const PASSPHRASE: &str = "passphrase file";

/// Where the passphrases of one run come from.
pub struct Passphrases<'a> {
    /// A file that holds the passphrase of every encrypted key of this run.
    pub file: Option<PathBuf>,
    /// Asked if there is no such file.
    pub terminal: &'a mut dyn Terminal,
}

impl Passphrases<'_> {
    /// Reads a private key, encrypted or not.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn unlock(&mut self, path: &Path) -> Result<SecretKey, KeyFileError> {
        let wrong = |source| KeyFileError::Key { path: path.to_path_buf(), source };
        let text = read_closed(path, PRIVATE_KEY, KEY_FILE_BYTES_MAX)?;
        match SecretKey::from_pem(&text) {
            Err(KeyError::Encrypted) => {}
            other => return other.map_err(wrong),
        }
        if let Some(file) = &self.file {
            let passphrase = read_passphrase(file)?;
            return SecretKey::from_encrypted_pem(&text, passphrase.as_bytes()).map_err(wrong);
        }
        let prompt = format!("passphrase for {}", path.display());
        let mut found = Err(KeyError::WrongPassphrase);
        for _ in 0..TRIES {
            let passphrase = self.ask(path, &prompt)?;
            found = SecretKey::from_encrypted_pem(&text, passphrase.as_bytes());
            if found.as_ref().err() != Some(&KeyError::WrongPassphrase) {
                break;
            }
        }
        found.map_err(wrong)
    }

    /// The passphrase of a new key: from the file, or typed twice.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn choose(&mut self, path: &Path) -> Result<Passphrase, KeyFileError> {
        let passphrase = match &self.file {
            Some(file) => read_passphrase(file)?,
            None => {
                let first = self.ask(path, &format!("new passphrase for {}", path.display()))?;
                let second = self.ask(path, "the same again")?;
                if first != second {
                    return Err(KeyFileError::Mistyped);
                }
                first
            }
        };
        if passphrase.as_bytes().is_empty() {
            return Err(KeyFileError::New(KeyError::EmptyPassphrase));
        }
        Ok(passphrase)
    }

    fn ask(&mut self, path: &Path, prompt: &str) -> Result<Passphrase, KeyFileError> {
        let failed = |source| KeyFileError::NoPassphrase { path: path.to_path_buf(), source };
        self.terminal.ask(prompt).map_err(failed)
    }
}

/// Reads a passphrase. One line feed at its end is no part of it: editors and `echo` add it.
fn read_passphrase(path: &Path) -> Result<Passphrase, KeyFileError> {
    let text = read_closed(path, PASSPHRASE, PASSPHRASE_BYTES_MAX as u64 + 1)?;
    Ok(Passphrase::new(text.strip_suffix('\n').unwrap_or(&text).as_bytes().to_vec()))
}

/// Reads a public key: PEM, or an OpenSSH line, which makes it a key for SSH signatures.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_path_buf(), source };
    let bytes = layout::durable::read_bounded(path, KEY_FILE_BYTES_MAX).map_err(failed)?;
    let not_a_text = |_| failed(io::Error::new(io::ErrorKind::InvalidData, "not a text file"));
    let text = String::from_utf8(bytes).map_err(not_a_text)?;
    PublicKey::read(&text).map_err(|source| KeyFileError::Key { path: path.to_path_buf(), source })
}

/// Reads a text that nobody else may be able to read.
fn read_closed(path: &Path, what: &'static str, limit: u64) -> Result<Zeroizing<String>, KeyFileError> {
    layout::private::read(path, limit).map_err(|error| match error {
        PrivateError::Open { mode } => KeyFileError::Open { what, path: path.to_path_buf(), mode },
        PrivateError::Read(source) => KeyFileError::Read { path: path.to_path_buf(), source },
        other => KeyFileError::Read { path: path.to_path_buf(), source: io::Error::other(other) },
    })
}

/// The files of a new key pair.
pub struct NewKey {
    /// `NAME.key.pem`
    pub private: PathBuf,
    /// `NAME.pub.pem`
    pub public: PathBuf,
}

impl NewKey {
    /// The files for this name, if neither is there.
    ///
    /// # Errors
    /// One of them is there already.
    pub fn at(dir: &Path, name: &str) -> Result<Self, KeyFileError> {
        let files = Self {
            private: dir.join(format!("{name}.key.pem")),
            public: dir.join(format!("{name}.pub.pem")),
        };
        for path in [&files.public, &files.private] {
            if path.symlink_metadata().is_ok() {
                let source = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(KeyFileError::Write { path: path.clone(), source });
            }
        }
        Ok(files)
    }

    /// Makes a new key pair: the private file for its owner only, encrypted if there is a passphrase.
    ///
    /// # Errors
    /// A scheme whose keys are not made here, or the directory cannot be written to.
    pub fn create(&self, scheme: Scheme, passphrase: Option<&Passphrase>) -> Result<PublicKey, KeyFileError> {
        let secret = SecretKey::generate(scheme, random)?;
        let (pem, public) = (private_text(&secret, passphrase)?, secret.public()?);
        let dir = self.private.parent().unwrap_or(Path::new("."));
        let dir_error = |source| KeyFileError::Write { path: dir.to_path_buf(), source };
        std::fs::create_dir_all(dir).map_err(dir_error)?;
        write_new(&self.private, pem.as_bytes(), 0o600)?;
        write_new(&self.public, public.pem().as_bytes(), 0o644)?;
        Ok(public)
    }
}

fn private_text(
    secret: &SecretKey,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, KeyFileError> {
    let Some(passphrase) = passphrase else { return Ok(secret.to_pem()?) };
    let (mut salt, mut iv) = ([0_u8; 16], [0_u8; 16]);
    random(&mut salt)?;
    random(&mut iv)?;
    Ok(Zeroizing::new(secret.to_encrypted_pem(passphrase.as_bytes(), &salt, &iv)?))
}

fn random(buffer: &mut [u8]) -> Result<(), KeyFileError> {
    getrandom::fill(buffer).map_err(|error| KeyFileError::Random(error.to_string()))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Write { path: path.to_path_buf(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
}
