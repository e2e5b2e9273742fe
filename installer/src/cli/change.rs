//! What every command does around a change to the site: the lock, state and log compared, room for the
//! last words, the site's key; and at the end, however it ended, a checkpoint of the log.

use edge::{Failure, Screen};
use manifests::Scheme;

use crate::audit::{AuditLog, checkpoint, keys};
use crate::site::Site;
use crate::site::lock::SiteLock;
use crate::witness::Judged;

/// Runs a change. Nothing of it is begun if the log cannot be written or signed.
pub(super) fn change<T>(
    site: &Site,
    screen: &mut Screen<'_>,
    act: impl FnOnce(&mut Screen<'_>, &Judged, &AuditLog) -> Result<T, Failure>,
) -> Result<T, Failure> {
    locked(site, screen, |screen, judged, log| {
        keys::ensure(site, &judged.remembered.keys, log, screen.env, Scheme::Ed25519)?;
        act(screen, judged, log)
    })
}

/// The same for what deals with the key itself.
pub(super) fn locked<T>(
    site: &Site,
    screen: &mut Screen<'_>,
    act: impl FnOnce(&mut Screen<'_>, &Judged, &AuditLog) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let _lock = SiteLock::take(site, screen.env)?;
    let judged = super::judged_under_lock(site, screen.env)?;
    let log = AuditLog::of(site, screen.env);
    log.make_room(0)?;
    let outcome = act(screen, &judged, &log);
    seal(site, screen, &log, outcome)
}

/// Signs the log as it is at the end of a run. For whoever holds the site's lock.
pub(super) fn seal<T>(
    site: &Site,
    screen: &Screen<'_>,
    log: &AuditLog,
    outcome: Result<T, Failure>,
) -> Result<T, Failure> {
    let sealed = log.insist(|| checkpoint::seal(site, screen.env));
    match (outcome, sealed) {
        (outcome, Ok(_)) => outcome,
        (Ok(_), Err(error)) => Err(Failure::from(error).hint(
            "what was asked for was done, and the log says so; it is not signed yet: mend the cause and run `installer audit checkpoint`",
        )),
        (Err(failure), Err(error)) => Err(failure.and(&format!("the log is not signed: {error}"))),
    }
}
