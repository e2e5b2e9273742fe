//! What every command does around a change to the site: the lock, state and log compared, room for the
//! last words, the site's key; what steps need of the world; and at the end, however it ended, a checkpoint of the
//! log.

use edge::{Failure, Screen};
use manifests::Scheme;

use crate::apply::{Run, Unwatched};
use crate::audit::{AuditLog, checkpoint, keys};
use crate::site::Site;
use crate::site::lock::SiteLock;
use crate::targets::{self, Context};
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

/// Gives `act` what steps are carried out with, unless scripts of an earlier run are still at work. Tells how many
/// seconds it took, besides what came of it. Somebody who watches is told of each step.
pub(super) fn conduct<T>(
    site: &Site,
    screen: &Screen<'_>,
    log: &AuditLog,
    act: impl FnOnce(&Run<'_>) -> Result<T, Failure>,
) -> Result<(T, f64), Failure> {
    let started = screen.env.clock.monotonic();
    let (config, http) = (site.config()?, super::client()?);
    let live = screen.env.stderr_is_terminal || screen.common.verbose > 0;
    let say = |text: &str| {
        if live {
            screen.env.stderr.say(text);
        }
    };
    let context = Context { site, config: &config, env: screen.env, http: &http };
    targets::scripts::refuse_while_running(site)?;
    let done = act(&Run { context: &context, audit: log, watch: &Unwatched, say: &say })?;
    Ok((done, screen.env.clock.monotonic().saturating_sub(started).as_secs_f64()))
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
