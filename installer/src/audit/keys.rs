//! How the site comes to its key, and to the next one: announced in the log, made, and said to be made.
//!
//! A new key is endorsed by the one before it: the entry that announces it names both, and is signed as
//! part of a checkpoint with the old key before the new one is anybody's. So an auditor who noted the first
//! key on paper can follow to the present one. The power may go at any point of it: a key that was only
//! announced never signed anything, and one that was made is said to be made by the next run.

use edge::Env;
use manifests::audit::Outcome;
use manifests::checkpoint::{KEY_EVENT, KeyHistory};
use manifests::{PublicKey, Scheme};

use super::checkpoint::{self, SealError};
use super::{About, AuditLog, about};
use crate::site::Site;
use crate::site::key::SiteKeyError;

/// What becomes of the key before.
#[derive(Debug, Clone)]
pub enum Before {
    /// There is none.
    None,
    /// It signs for the new one.
    Endorses,
    /// It is lost, for this reason; nobody signs for the new one.
    Lost(String),
}

/// Sees that the site has a key that signs: makes the first one, or says of one that a run which was cut
/// off has made that it is there. For whoever holds the site's lock and has compared state and log.
///
/// # Errors
/// The key there is cannot be used, or none can be made.
pub fn ensure(
    site: &Site,
    history: &KeyHistory,
    log: &AuditLog,
    env: &Env,
    scheme: Scheme,
) -> Result<(), SealError> {
    if site.key()?.is_none() {
        return replace(site, log, env, scheme, &Before::None);
    }
    let keys = site.public_keys()?;
    let made = history.made().count();
    if let (true, Some(key)) = (made < keys.len(), keys.last()) {
        let before = keys.len().checked_sub(2).and_then(|at| keys.get(at));
        log.append(env, KEY_EVENT, Outcome::Done, facts(keys.len() as u64, key, before, &Before::Endorses))?;
    }
    Ok(site.drop_old_keys()?)
}

/// Makes the next key of the site. For whoever holds the site's lock and has compared state and log.
///
/// # Errors
/// It cannot be made, or the one before it cannot sign for it; the site has the key then that it had.
pub fn replace(
    site: &Site,
    log: &AuditLog,
    env: &Env,
    scheme: Scheme,
    before: &Before,
) -> Result<(), SealError> {
    let old = match before {
        Before::None => None,
        Before::Endorses => Some(site.key()?.ok_or(SiteKeyError::None)?),
        Before::Lost(_) => None,
    };
    let (keys, new) = (site.public_keys()?, site.draw_key(scheme)?);
    let facts = facts(new.number(), new.public(), keys.last(), before);
    log.append(env, KEY_EVENT, Outcome::Intent, facts.clone())?;
    if let Some(old) = old {
        checkpoint::seal_with(site, &old, env)?;
    }
    site.keep_key(&new)?;
    log.append(env, KEY_EVENT, Outcome::Done, facts)?;
    Ok(site.drop_old_keys()?)
}

/// What the log says about a key. [`KeyHistory`] reads `number`, `keyid` and `lost` back.
fn facts(number: u64, key: &PublicKey, previous: Option<&PublicKey>, before: &Before) -> About {
    let mut facts = about([
        ("number", number.to_string()),
        ("keyid", key.id().to_string()),
        ("scheme", key.scheme().to_string()),
    ]);
    facts.extend(previous.map(|key| ("previous".to_string(), key.id().to_string())));
    if let Before::Lost(reason) = before {
        facts.extend(about([("lost", reason.clone())]));
    }
    facts
}
