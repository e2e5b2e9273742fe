//! The logins of package indexes and chart repositories: which request may carry which one, and how to keep
//! them out of what is written down.
//!
//! A login comes from the address of an index (`https://USER:PASSWORD@…`), from a password file beside it,
//! or from the user's netrc file. It goes to its own origin, or netrc's host, and nowhere else.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::{Classified, Env, Exit};
use registry::Url;

use super::wheels::IndexUrl;

/// Bounds the netrc file.
const NETRC_BYTES_MAX: u64 = 1024 * 1024;

/// Bounds a password file.
const PASSWORD_BYTES_MAX: u64 = 4 * 1024;

/// Why a file gives no password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// A file that others can read is no place for a password.
    #[error("the password file {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Classified for PasswordError {
    fn exit(&self) -> Exit {
        match self {
            Self::Open { .. } => Exit::Usage,
            Self::Read { .. } => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Read { .. } => None,
        }
    }
}

/// The password in a file that only its owner may read: **a secret**. `shown` is the file in messages.
///
/// # Errors
/// See [`PasswordError`].
pub fn password_file(path: &Path, shown: &Path) -> Result<String, PasswordError> {
    let read = |source| PasswordError::Read { path: shown.to_path_buf(), source };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PasswordError::Open { path: shown.to_path_buf(), mode });
    }
    let bytes = layout::durable::read_bounded(path, PASSWORD_BYTES_MAX).map_err(read)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_string())
}

/// What opens which server. **Secrets**: `Debug` shows none.
#[derive(Clone, Default)]
pub struct Logins {
    indexes: Vec<IndexUrl>,
    netrc: Vec<Machine>,
    netrc_path: Option<PathBuf>,
}

/// One entry of a netrc file.
#[derive(Clone, Default, PartialEq, Eq)]
struct Machine {
    host: String,
    login: String,
    password: String,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins of {} indexes and {} hosts", self.indexes.len(), self.netrc.len())
    }
}

impl Logins {
    /// The user's: `$NETRC`, or `.netrc` in the home directory. A file that is not there or cannot be read
    /// gives none, as with other tools.
    #[must_use]
    pub fn of_user(env: &Env) -> Self {
        let own = env.var("NETRC").filter(|path| !path.is_empty()).map(|path| env.path(Path::new(path)));
        let home = || env.var("HOME").map(|home| Path::new(home).join(".netrc"));
        let Some(path) = own.or_else(home) else { return Self::default() };
        match layout::durable::read_bounded(&path, NETRC_BYTES_MAX) {
            Ok(bytes) => Self {
                indexes: Vec::new(),
                netrc: machines(&String::from_utf8_lossy(&bytes)),
                netrc_path: Some(path),
            },
            Err(_) => Self::default(),
        }
    }

    /// With the login of an index, if it has one.
    pub fn add(&mut self, index: &IndexUrl) {
        if index.has_login() {
            self.indexes.push(index.clone());
        }
    }

    /// The netrc file that was read.
    #[must_use]
    pub fn netrc_path(&self) -> Option<&Path> {
        self.netrc_path.as_deref()
    }

    /// The value of `Authorization` for a request: **a secret**. Of several indexes of one host the one that
    /// the address lies below decides, or else the first.
    #[must_use]
    pub fn authorization_for(&self, url: &Url) -> Option<String> {
        let mut ours: Vec<&IndexUrl> =
            self.indexes.iter().filter(|index| index.authorization_for(url).is_some()).collect();
        ours.sort_by_key(|index| std::cmp::Reverse(index.common_length(url)));
        let of_index = ours.first().and_then(|index| index.authorization_for(url));
        of_index.or_else(|| {
            let machine = self.netrc.iter().find(|machine| machine.host == url.host())?;
            Some(format!("Basic {}", STANDARD.encode(format!("{}:{}", machine.login, machine.password))))
        })
    }

    /// A text for people, without any password that is known here.
    #[must_use]
    pub fn without_secrets(&self, text: &str) -> String {
        let of_indexes = self.indexes.iter().flat_map(IndexUrl::secrets);
        let of_netrc = self.netrc.iter().map(|machine| machine.password.clone());
        let mut secrets: Vec<String> =
            of_indexes.chain(of_netrc).filter(|secret| !secret.is_empty()).collect();
        // A secret that holds another one goes first, or half of it would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_string(), |text, secret| text.replace(secret, "***"))
    }
}

/// The entries that name a host. `default` is not taken: it would send a password to any server.
fn machines(text: &str) -> Vec<Machine> {
    let mut found: Vec<Machine> = Vec::new();
    let mut in_entry = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.split_once(" #").map_or(line, |(before, _)| before);
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        while let Some(word) = words.next() {
            match word {
                "machine" => {
                    let host = words.next().unwrap_or_default().to_ascii_lowercase();
                    found.push(Machine { host, ..Machine::default() });
                    in_entry = true;
                }
                "default" => in_entry = false,
                // A macro goes on up to an empty line.
                "macdef" => {
                    for _ in lines.by_ref().take_while(|line| !line.trim().is_empty()) {}
                    break;
                }
                "login" | "user" | "password" | "account" => {
                    let value = words.next().unwrap_or_default().trim_matches('"').to_string();
                    let entry = found.last_mut().filter(|_| in_entry);
                    match (word, entry) {
                        ("login" | "user", Some(entry)) => entry.login = value,
                        ("password", Some(entry)) => entry.password = value,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_netrc_file_opens_its_hosts_and_no_other() {
        let text = "# mine\nmachine Index.example login ci password hunter2 # old\nmacdef init\nmachine evil login a\n\n\
                    machine other.example\n  login x\n  password \"y\"\ndefault login anyone password everywhere\n";
        let logins = Logins { netrc: machines(text), ..Logins::default() };
        let basic = |text: &str| Some(format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(logins.authorization_for(&url("https://index.example/x")), basic("ci:hunter2"));
        assert_eq!(logins.authorization_for(&url("http://other.example:81/")), basic("x:y"));
        assert_eq!(logins.authorization_for(&url("https://evil/")), None);
        assert_eq!(logins.authorization_for(&url("https://sub.index.example/")), None);
    }

    #[test]
    fn the_login_of_an_index_wins_over_netrc_and_stays_on_its_origin() {
        let mut logins = Logins { netrc: machines("machine a login x password y"), ..Logins::default() };
        logins.add(&"https://u:p@a/simple".parse().unwrap());
        assert_eq!(logins.authorization_for(&url("https://a/f")).as_deref(), Some("Basic dTpw"));
        assert_eq!(logins.authorization_for(&url("http://a/f")).as_deref(), Some("Basic eDp5"));
    }

    #[test]
    fn of_two_logins_for_one_host_the_one_that_the_address_lies_below_is_taken() {
        let mut logins = Logins::default();
        for address in ["https://pip:a@h/simple/", "https://helm:b@h/charts/", "https://old:c@h/charts/old"] {
            logins.add(&address.parse().unwrap());
        }
        let basic = |text: &str| Some(format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(logins.authorization_for(&url("https://h/charts/x.tgz")), basic("helm:b"));
        assert_eq!(logins.authorization_for(&url("https://h/charts/old/x.tgz")), basic("old:c"));
        assert_eq!(logins.authorization_for(&url("https://h/files/x.whl")), basic("pip:a"));
    }

    #[test]
    fn a_text_for_people_holds_no_password_however_it_is_spelled() {
        let mut logins =
            Logins { netrc: machines("machine a login x password swordfish"), ..Logins::default() };
        logins.add(&"https://ci%40corp:p%40ss%2Fword@a/simple".parse().unwrap());
        let text = "p%40ss%2Fword p@ss/word ci%40corp:p%40ss%2Fword Y2lAY29ycDpwQHNzL3dvcmQ= swordfish";
        assert_eq!(logins.without_secrets(text), "*** *** *** *** ***");
        assert!(!format!("{logins:?}").contains("swordfish"));
    }
}
