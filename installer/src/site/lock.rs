//! The one lock for whoever changes the site. The second one is told who has it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};

use edge::{Classified, Env, Exit};

use super::{Site, SiteError};

/// A command line that is longer is cut off.
const COMMAND_CHARACTERS_MAX: usize = 200;

/// Held while the site is being changed; released when dropped, and by the system if we are killed.
#[derive(Debug)]
pub struct SiteLock {
    file: File,
}

impl Drop for SiteLock {
    fn drop(&mut self) {
        // Not only by closing: a program that is being started has a copy of the descriptor for a moment.
        let _ = self.file.unlock();
    }
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else is changing the site.
    #[error("somebody else is changing this site: {holder}")]
    Held {
        /// What the holder says of itself.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Classified for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::NotReady,
            Self::Site(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Held { .. } => Some("wait until it is done, then try again".to_string()),
            Self::Site(error) => error.hint(),
        }
    }
}

/// What a program was started for, as it was typed.
fn doing(env: &Env) -> String {
    let words: Vec<String> =
        env.args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    manifests::text::printable_up_to(&format!("installer {}", words.join(" ")), COMMAND_CHARACTERS_MAX)
}

impl SiteLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// Somebody has it, or the file cannot be used.
    pub fn take(site: &Site, env: &Env) -> Result<Self, LockError> {
        let path = site.dir().join("lock");
        let failed = |source| SiteError::Io { doing: "cannot lock", path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(1024).read_to_string(&mut holder);
                return Err(LockError::Held { holder: manifests::text::printable(holder.trim()) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let holder = format!(
            "process {} of {} on {} since {}: {}\n",
            rustix::process::getpid().as_raw_nonzero(),
            env.user(),
            env.host,
            env.clock.now(),
            doing(env)
        );
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        written.map_err(failed)?;
        Ok(Self { file })
    }
}
