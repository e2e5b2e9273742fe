//! Logins: an htpasswd file as `docker-registry` reads it, which is bcrypt and nothing else, and HTTP Basic
//! (RFC 7617).
//!
//! *Invariants:* a name that nobody has costs the time of one that somebody has. At most so many hashes are
//! computed at once, on threads made for blocking. A password is nowhere kept: what was right once is known by
//! a keyed hash in memory, so that the pulls of one client do not cost a bcrypt each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderValue;
use sha2::Sha256;
use tokio::sync::Semaphore;

/// Bounds the file.
pub(super) const USERS_BYTES_MAX: u64 = 1024 * 1024;
/// A password costs 2 to the power of this: four seconds of a core at the most. What is more is a slip.
const COST_MAX: u32 = 16;
/// Hashes that are computed at once: what is guessed must leave the machine room to serve.
const TURNS: usize = 2;
/// Logins that wait for their turn. Whoever comes then is told to try again.
const WAITING_MAX: usize = 64;
/// Longer than any name and password with sense; bcrypt looks at 72 bytes.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Why a users file cannot be used. Never with anything of its content but a line's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// Nobody is in it.
    #[error("it names no user")]
    Empty,
    /// A line that is none.
    #[error("line {line} is not NAME:HASH")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A hash that is not bcrypt.
    #[error("the hash in line {line} is not bcrypt")]
    Hash {
        /// Counted from 1.
        line: usize,
    },
    /// A hash that would take too long.
    #[error("the hash in line {line} has the cost {cost}, and the most that is computed here is {COST_MAX}")]
    Cost {
        /// Counted from 1.
        line: usize,
        /// What it says.
        cost: u32,
    },
    /// Two passwords for one name.
    #[error("line {line} names a user again")]
    Twice {
        /// Counted from 1.
        line: usize,
    },
    /// No randomness for the keyed hash.
    #[error("the system gives no random numbers")]
    Random,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Welcome,
    /// None was sent, or a wrong one.
    Refused,
    /// Too many are being checked.
    Busy,
}

/// Who may read.
pub(super) struct Users {
    hashes: BTreeMap<String, Stored>,
    /// For names that nobody has: one for each cost up to the highest there is.
    decoys: BTreeMap<u32, String>,
    known: Mutex<BTreeMap<String, [u8; 32]>>,
    key: [u8; 32],
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A line of the file.
#[derive(Clone)]
struct Stored {
    hash: String,
    cost: u32,
}

impl Users {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// See [`UsersError`].
    pub(super) fn parse(text: &str) -> Result<Self, UsersError> {
        let mut hashes = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (name, hash) = content.split_once(':').ok_or(UsersError::Line { line })?;
            if name.is_empty() {
                return Err(UsersError::Line { line });
            }
            let cost = hash.parse::<HashParts>().map_err(|_| UsersError::Hash { line })?.get_cost();
            if cost > COST_MAX {
                return Err(UsersError::Cost { line, cost });
            }
            if hashes.insert(name.to_string(), Stored { hash: hash.to_string(), cost }).is_some() {
                return Err(UsersError::Twice { line });
            }
        }
        let highest = hashes.values().map(|stored| stored.cost).max().ok_or(UsersError::Empty)?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| UsersError::Random)?;
        let decoys = decoys(highest)?;
        let (turns, waiting) = (Arc::new(Semaphore::new(TURNS)), Arc::new(Semaphore::new(WAITING_MAX)));
        Ok(Self { hashes, decoys, known: Mutex::default(), key, turns, waiting })
    }

    /// Judges the `Authorization` header of a request.
    pub(super) async fn login(&self, header: Option<&HeaderValue>) -> Login {
        let Some((name, password)) = header.and_then(credentials) else { return Login::Refused };
        let tag = self.tag(&name, &password);
        if self.remembers(&name, &tag) {
            return Login::Welcome;
        }
        let Ok(_place) = Arc::clone(&self.waiting).try_acquire_owned() else { return Login::Busy };
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return Login::Busy };
        // The one before may have been the same.
        if self.remembers(&name, &tag) {
            return Login::Welcome;
        }
        let trial = self.trial(&name);
        // The turn goes along: a client that hangs up must not make room for another hash.
        let judged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            trial.is_right(&password)
        });
        if !judged.await.unwrap_or(false) {
            return Login::Refused;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, tag);
        Login::Welcome
    }

    /// What is computed for a name: its own hash, and decoys until all of it is as long as for any other.
    fn trial(&self, name: &str) -> Trial {
        let own = self.hashes.get(name);
        let fill = match own {
            // 2^c and then 2^c, 2^(c+1) … is 2^max.
            Some(stored) => self.decoys.iter().filter(|(cost, _)| **cost >= stored.cost).collect(),
            None => Vec::new(),
        };
        let highest = self.hashes.values().map(|stored| stored.cost).max();
        let mut decoys: Vec<String> = fill
            .into_iter()
            .filter(|(cost, _)| Some(**cost) < highest)
            .map(|(_, hash)| hash.clone())
            .collect();
        if own.is_none() {
            decoys.extend(highest.and_then(|highest| self.decoys.get(&highest)).cloned());
        }
        Trial { own: own.map(|stored| stored.hash.clone()), decoys }
    }

    fn tag(&self, name: &str, password: &[u8]) -> [u8; 32] {
        // A key of any length fits HMAC; the zeros are for the type.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(password);
        mac.finalize().into_bytes().into()
    }

    fn remembers(&self, name: &str, tag: &[u8; 32]) -> bool {
        // Both are images of a key that nobody outside has: where they differ says nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) == Some(tag)
    }
}

/// The hashes that one login costs.
struct Trial {
    own: Option<String>,
    decoys: Vec<String>,
}

impl Trial {
    fn is_right(&self, password: &[u8]) -> bool {
        let right = self.own.as_ref().is_some_and(|own| bcrypt::verify(password, own).unwrap_or(false));
        for decoy in &self.decoys {
            let _ = std::hint::black_box(bcrypt::verify(password, decoy));
        }
        right
    }
}

/// Hashes of nothing, one for each cost.
fn decoys(highest: u32) -> Result<BTreeMap<u32, String>, UsersError> {
    const LOWEST: u32 = 4;
    let mut random = [0; 48];
    getrandom::fill(&mut random).map_err(|_| UsersError::Random)?;
    let hash = bcrypt::hash(random, LOWEST).map_err(|_| UsersError::Random)?;
    let rest = hash.get(6..).unwrap_or_default();
    // With another cost written on it, it is the hash of no password that anybody knows.
    Ok((LOWEST..=highest).map(|cost| (cost, format!("$2b${cost:02}{rest}"))).collect())
}

/// Name and password of RFC 7617. A null byte would end a password for bcrypt, so none has one.
fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
    let encoded = rest.trim();
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > CREDENTIALS_BYTES_MAX {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = decoded.split_at_checked(colon)?;
    let password = password.get(1..)?;
    let name = std::str::from_utf8(name).ok()?;
    (!password.contains(&0)).then(|| (name.to_string(), password.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl`'s and `htpasswd`'s three spellings of one algorithm; the password is `hunter2`.
    const HUNTER2: &str = "$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.";

    fn users(lines: &[String]) -> Users {
        Users::parse(&lines.join("\n")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn login(users: &Users, text: &str) -> Login {
        let header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text))).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(users.login(Some(&header)))
    }

    #[test]
    fn a_name_with_its_own_password_is_welcome_and_nothing_else_is() {
        let users = users(&[
            "# the build farm".to_string(),
            String::new(),
            format!("alice:{HUNTER2}"),
            format!("bob:{}", bcrypt::hash("b:ob", 4).unwrap()),
        ]);
        assert_eq!(login(&users, "alice:hunter2"), Login::Welcome);
        assert_eq!(login(&users, "bob:b:ob"), Login::Welcome);
        for wrong in [
            "alice:hunter3",
            "alice:",
            "alice",
            "bob:hunter2",
            "Alice:hunter2",
            ":hunter2",
            "carol:hunter2",
            "alice:hunter2\0",
            "alice:hunter2\0x",
            "",
        ] {
            assert_eq!(login(&users, wrong), Login::Refused, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_basic_login_is_refused() {
        let users = users(&[format!("alice:{HUNTER2}")]);
        let long = format!("Basic {}", STANDARD.encode("a".repeat(CREDENTIALS_BYTES_MAX)));
        for header in ["", "Basic", "Basic ", "Basic %%%", "Bearer YWxpY2U6aHVudGVyMg==", &long] {
            let header = HeaderValue::from_str(header).unwrap();
            assert_eq!(credentials(&header), None);
        }
        let header = HeaderValue::from_static("bAsIc   YWxpY2U6aHVudGVyMg==");
        assert!(credentials(&header).is_some());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(users.login(None)), Login::Refused);
    }

    #[test]
    fn a_password_that_was_right_once_is_known_by_a_keyed_hash_and_a_wrong_one_never_is() {
        let users = users(&[format!("alice:{HUNTER2}")]);
        let tag = users.tag("alice", b"hunter2");
        assert!(!users.remembers("alice", &tag));
        assert_eq!(login(&users, "alice:wrong"), Login::Refused);
        assert!(users.known.lock().unwrap().is_empty());
        assert_eq!(login(&users, "alice:hunter2"), Login::Welcome);
        assert!(users.remembers("alice", &tag));
        assert!(!users.remembers("alice", &users.tag("alice", b"hunter3")));
        assert!(!users.remembers("bob", &tag));
        let other = Users::parse(&format!("alice:{HUNTER2}")).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(other.tag("alice", b"hunter2"), tag, "the key is the server's own");
        assert_ne!(users.tag("a", b"bc"), users.tag("ab", b"c"));
        let kept: Vec<_> = users.known.lock().unwrap().values().copied().collect();
        assert!(!kept.concat().windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_name_that_nobody_has_costs_as_much_as_any_other() {
        let cheap = bcrypt::hash("x", 4).unwrap();
        let users = users(&[format!("cheap:{cheap}"), format!("dear:{}", bcrypt::hash("y", 7).unwrap())]);
        let cost = |name: &str| {
            let trial = users.trial(name);
            let all = trial.own.iter().chain(&trial.decoys);
            all.map(|hash| 1_u64 << hash.parse::<HashParts>().unwrap().get_cost()).sum::<u64>()
        };
        for name in ["cheap", "dear", "nobody", ""] {
            assert_eq!(cost(name), 1 << 7, "{name}");
        }
        assert!(users.trial("nobody").own.is_none());
    }

    #[test]
    fn a_file_with_anything_but_bcrypt_is_refused_by_its_line_and_never_shown() {
        let md5 = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/";
        let dear = HUNTER2.replace("$05$", "$17$");
        for (text, wanted) in [
            (String::new(), UsersError::Empty),
            ("# nobody\n".to_string(), UsersError::Empty),
            (format!("\nalice:{md5}"), UsersError::Hash { line: 2 }),
            ("alice:secret".to_string(), UsersError::Hash { line: 1 }),
            ("alice".to_string(), UsersError::Line { line: 1 }),
            (format!(":{HUNTER2}"), UsersError::Line { line: 1 }),
            (format!("alice:{dear}"), UsersError::Cost { line: 1, cost: 17 }),
            (format!("alice:{HUNTER2}\nalice:{HUNTER2}"), UsersError::Twice { line: 2 }),
        ] {
            let Err(error) = Users::parse(&text) else { panic!("taken: {text}") };
            assert_eq!(error, wanted);
            assert!(!error.to_string().contains("alice") && !error.to_string().contains("secret"));
        }
    }
}
