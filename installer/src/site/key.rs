//! The site's own key: made on the site, never carried away and never overwritten. It signs what the site
//! says of itself, such as checkpoints of its log; it is in no trust root and judges no bundle.
//!
//! ```text
//! SITE/key/1.pub.pem    the public half of the first key, and 2.pub.pem of the one that replaced it: all stay
//! SITE/key/2.key.pem    the private half of the newest key alone, for its owner only
//! ```
//!
//! A key is the site's once its public half lies here. *What this does not do:* write into the log that
//! there is a new key; that is [`crate::audit::keys`].

use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use layout::durable;
use layout::private::{self, PrivateError};
use manifests::key::{KEY_FILE_BYTES_MAX, KeyError};
use manifests::{KeyId, PublicKey, Scheme, SecretKey};
use serde::Serialize;

use super::Site;

/// Why the site's key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteKeyError {
    /// A file cannot be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// `cannot read`, …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the private half.
    #[error("the site's private key {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not a key that we use.
    #[error("{} cannot be used", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The files do not fit together.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is a key already.
    #[error("the site has a key already: {keyid}")]
    Already {
        /// Which.
        keyid: KeyId,
    },
    /// There is none yet.
    #[error("the site has no key yet")]
    None,
    /// No key can be made.
    #[error("no key can be made")]
    New(#[source] KeyError),
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl From<KeyError> for SiteKeyError {
    fn from(error: KeyError) -> Self {
        Self::New(error)
    }
}

impl Classified for SiteKeyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } => Exit::Unreachable,
            Self::Open { .. } | Self::Key { .. } | Self::Unfit { .. } => Exit::Refused,
            Self::Already { .. } | Self::None => Exit::Refused,
            Self::New(_) | Self::Random(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!(
                "if nobody else can have read it: chmod 600 {}; otherwise make a new one: installer trust key rotate",
                path.display()
            )),
            Self::Key { .. } | Self::Unfit { .. } => Some(
                "put it back from a backup of the site directory; if there is none: installer trust key rotate --lost --reason TEXT"
                    .to_string(),
            ),
            Self::Already { .. } => {
                Some("it is never overwritten: `installer trust key rotate` replaces it".to_string())
            }
            Self::None => Some("`installer trust key new` makes one".to_string()),
            _ => None,
        }
    }
}

/// The site's key, ready to sign. It has no `Debug`, and is wiped when dropped.
pub struct SiteKey {
    number: u64,
    secret: SecretKey,
    public: PublicKey,
}

impl SiteKey {
    /// A new key with this number, in memory only.
    fn draw(number: u64, scheme: Scheme) -> Result<Self, SiteKeyError> {
        let random = |buffer: &mut [u8]| {
            getrandom::fill(buffer).map_err(|error| SiteKeyError::Random(error.to_string()))
        };
        let secret = SecretKey::generate(scheme, random)?;
        let public = secret.public()?;
        Ok(Self { number, secret, public })
    }

    /// Its place in the order of the site's keys; the first one is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which key it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs exactly these bytes, raw or, for ECDSA, as DER. The bytes must say what they are: the key
    /// signs documents of several kinds.
    ///
    /// # Errors
    /// The signature that was made does not verify.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SiteKeyError> {
        Ok(self.secret.sign(bytes)?)
    }
}

/// A public key of the site, as documents name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its place in the order of the site's keys.
    pub number: u64,
    /// Which key it is.
    pub keyid: KeyId,
    /// How it signs.
    pub scheme: Scheme,
}

impl Site {
    /// Where the site's keys are.
    #[must_use]
    pub fn key_dir(&self) -> PathBuf {
        self.dir().join("key")
    }

    /// The file with the public half of a key.
    #[must_use]
    pub fn public_key_path(&self, number: u64) -> PathBuf {
        self.key_dir().join(format!("{number}.pub.pem"))
    }

    fn private_key_path(&self, number: u64) -> PathBuf {
        self.key_dir().join(format!("{number}.key.pem"))
    }

    /// The public half of every key that the site has had, the oldest first; their numbers count from 1.
    ///
    /// # Errors
    /// One cannot be read, or is gone.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, SiteKeyError> {
        let numbers = self.key_numbers(".pub.pem")?;
        let mut keys = Vec::new();
        for (expected, number) in (1..).zip(numbers) {
            if number != expected {
                return Err(unfit(self.public_key_path(expected), "it is gone"));
            }
            keys.push(read_public(&self.public_key_path(number))?);
        }
        Ok(keys)
    }

    /// The newest of them, for people and documents; nothing if there is none.
    ///
    /// # Errors
    /// As [`Site::public_keys`].
    pub fn named_key(&self) -> Result<Option<Named>, SiteKeyError> {
        let keys = self.public_keys()?;
        let number = keys.len() as u64;
        Ok(keys.last().map(|key| Named { number, keyid: key.id(), scheme: key.scheme() }))
    }

    /// The key that the site signs with; nothing if it has none yet.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn key(&self) -> Result<Option<SiteKey>, SiteKeyError> {
        let keys = self.public_keys()?;
        let number = keys.len() as u64;
        let Some(public) = keys.into_iter().next_back() else { return Ok(None) };
        let path = self.private_key_path(number);
        let text = private::read(&path, KEY_FILE_BYTES_MAX).map_err(|error| match error {
            PrivateError::Open { mode } => SiteKeyError::Open { path: path.clone(), mode },
            PrivateError::Read(source) if source.kind() == io::ErrorKind::NotFound => {
                unfit(path.clone(), "it is gone, and its public half is still there")
            }
            PrivateError::Read(source) => failed("cannot read", &path)(source),
            other => failed("cannot read", &path)(io::Error::other(other)),
        })?;
        let secret =
            SecretKey::from_pem(&text).map_err(|source| SiteKeyError::Key { path: path.clone(), source })?;
        if secret.public()?.id() != public.id() {
            return Err(unfit(path, "it is not the private half of the public key beside it"));
        }
        Ok(Some(SiteKey { number, secret, public }))
    }

    /// A key that may become the next one of the site. Nothing is written.
    ///
    /// # Errors
    /// The keys there are cannot be read, or none can be made.
    pub fn draw_key(&self, scheme: Scheme) -> Result<SiteKey, SiteKeyError> {
        SiteKey::draw((self.public_keys()?.len() as u64).saturating_add(1), scheme)
    }

    /// Makes a drawn key the site's own: the private half first, so that a public one is never without.
    /// For whoever holds the site's lock.
    ///
    /// # Errors
    /// There is one of this number already, or the place cannot be written to.
    pub fn keep_key(&self, key: &SiteKey) -> Result<(), SiteKeyError> {
        let (private, public) = (self.private_key_path(key.number), self.public_key_path(key.number));
        if public.symlink_metadata().is_ok() {
            return Err(SiteKeyError::Already { keyid: read_public(&public)?.id() });
        }
        let dir = self.key_dir();
        durable::make_directory(&dir).map_err(failed("cannot make", &dir))?;
        // One without its public half was cut off while it was made; it has signed nothing.
        let pem = key.secret.to_pem()?;
        durable::replace(&private, pem.as_bytes(), 0o600).map_err(failed("cannot write", &private))?;
        durable::replace(&public, key.public.pem().as_bytes(), 0o644).map_err(failed("cannot write", &public))
    }

    /// Removes the private half of every key that was replaced.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn drop_old_keys(&self) -> Result<(), SiteKeyError> {
        let newest = self.public_keys()?.len() as u64;
        for number in self.key_numbers(".key.pem")?.into_iter().filter(|number| *number < newest) {
            let path = self.private_key_path(number);
            std::fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        }
        Ok(())
    }

    /// The numbers of the keys of which there is such a file, the lowest first.
    fn key_numbers(&self, end: &str) -> Result<Vec<u64>, SiteKeyError> {
        let dir = self.key_dir();
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("cannot read", &dir))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("cannot read", &dir))?.file_name();
            numbers.extend(name.to_str().and_then(|name| super::number(name.strip_suffix(end)?)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Reads a public key, PEM.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_public(path: &Path) -> Result<PublicKey, SiteKeyError> {
    let bytes = durable::read_bounded(path, KEY_FILE_BYTES_MAX).map_err(failed("cannot read", path))?;
    let key = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotAPublicKey).and_then(PublicKey::from_pem);
    key.map_err(|source| SiteKeyError::Key { path: path.to_path_buf(), source })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SiteKeyError {
    let path = path.to_path_buf();
    move |source| SiteKeyError::Io { doing, path, source }
}

fn unfit(path: PathBuf, reason: &'static str) -> SiteKeyError {
    SiteKeyError::Unfit { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn site() -> (tempfile::TempDir, Site) {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::at(dir.path().to_path_buf());
        (dir, site)
    }

    fn keep(site: &Site, scheme: Scheme) -> KeyId {
        let key = site.draw_key(scheme).unwrap();
        site.keep_key(&key).unwrap();
        key.id()
    }

    #[test]
    fn a_key_of_each_scheme_is_kept_closed_and_signs_for_its_public_half() {
        for scheme in [Scheme::Ed25519, Scheme::EcdsaP384Sha384, Scheme::EcdsaP256Sha256] {
            let (_dir, site) = site();
            assert!(site.key().unwrap().is_none() && site.named_key().unwrap().is_none());
            let id = keep(&site, scheme);
            let key = site.key().unwrap().unwrap();
            assert_eq!((key.id(), key.number(), key.public().scheme()), (id, 1, scheme));
            assert!(site.public_keys().unwrap()[0].verifies(b"text", &key.sign(b"text").unwrap()));
            let mode = site.private_key_path(1).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let pem = std::fs::read_to_string(site.private_key_path(1)).unwrap();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
        }
        assert!(site().1.draw_key(Scheme::SshsigEd25519).is_err());
    }

    #[test]
    fn a_key_is_never_overwritten_and_the_next_one_leaves_every_public_half() {
        let (_dir, site) = site();
        let first = site.draw_key(Scheme::Ed25519).unwrap();
        let rival = site.draw_key(Scheme::Ed25519).unwrap();
        site.keep_key(&first).unwrap();
        assert!(matches!(site.keep_key(&rival), Err(SiteKeyError::Already { keyid }) if keyid == first.id()));
        let second = keep(&site, Scheme::EcdsaP256Sha256);
        assert_eq!(site.key().unwrap().unwrap().id(), second);
        site.drop_old_keys().unwrap();
        let ids: Vec<KeyId> = site.public_keys().unwrap().iter().map(PublicKey::id).collect();
        assert_eq!(ids, [first.id(), second]);
        assert!(!site.private_key_path(1).exists() && site.private_key_path(2).exists());
    }

    #[test]
    fn a_key_that_is_open_gone_or_another_one_is_not_used() {
        let (_dir, site) = site();
        keep(&site, Scheme::Ed25519);
        let private = site.private_key_path(1);
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(site.key(), Err(SiteKeyError::Open { mode: 0o640, .. })));
        let other = SiteKey::draw(1, Scheme::Ed25519).unwrap();
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&private, other.secret.to_pem().unwrap().as_bytes()).unwrap();
        assert!(matches!(site.key(), Err(SiteKeyError::Unfit { .. })));
        std::fs::write(&private, "no key").unwrap();
        assert!(matches!(site.key(), Err(SiteKeyError::Key { .. })));
        std::fs::remove_file(&private).unwrap();
        assert!(matches!(site.key(), Err(SiteKeyError::Unfit { .. })));
        keep(&site, Scheme::Ed25519);
        std::fs::remove_file(site.public_key_path(1)).unwrap();
        assert!(matches!(site.public_keys(), Err(SiteKeyError::Unfit { .. })));
    }
}
