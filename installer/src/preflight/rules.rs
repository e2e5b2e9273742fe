//! `window/open` and `change/ticket`: the site's own rules about when it is changed, and on whose order. They are
//! judged before anything is read, and again with everything else.

use manifests::Timestamp;

use super::Finding;
use crate::site::config::{ChangeId, Door, SiteConfig, door};

/// Judges a moment, and the ticket that was named.
#[must_use]
pub fn check(config: &SiteConfig, change: Option<&ChangeId>, now: Timestamp) -> Vec<Finding> {
    let window = (!config.windows.is_empty()).then(|| window(config, now));
    window.into_iter().chain(ticket(config, change)).collect()
}

fn window(config: &SiteConfig, now: Timestamp) -> Finding {
    let windows: Vec<String> = config.windows.iter().map(ToString::to_string).collect();
    let requirement = format!("a moment within the site's windows: {}", windows.join("; "));
    match door(&config.windows, now) {
        Door::Open { until: Some(until) } => {
            Finding::pass("window/open", format!("open until {until}"), requirement)
        }
        Door::Open { until: None } => Finding::pass("window/open", "open", requirement),
        Door::Closed { by, opens } => {
            let why =
                by.map_or("no window allows a change now".to_string(), |by| format!("`{by}` is in force"));
            let next = opens
                .map_or("none opens within a year".to_string(), |opens| format!("the next opens {opens}"));
            let remedy = "wait, or let whoever decides about the site say why not: --override window/open --reason TEXT";
            Finding::fail("window/open", format!("{why} ({now}); {next}"), requirement, remedy)
        }
    }
}

/// A ticket that nobody asks for is not looked at, and goes into the log all the same.
fn ticket(config: &SiteConfig, change: Option<&ChangeId>) -> Option<Finding> {
    let policy = config.change.as_ref()?;
    let wanted = policy.pattern.as_ref().map_or(String::new(), |pattern| format!(" that matches {pattern}"));
    let requirement = format!("a change ticket{wanted}");
    let remedy = "name it: --change ID";
    match (change, &policy.pattern) {
        (Some(id), Some(pattern)) if !pattern.matches(id) => {
            Some(Finding::fail("change/ticket", format!("the ticket is {id}"), requirement, remedy))
        }
        (Some(id), _) => Some(Finding::pass("change/ticket", format!("the ticket is {id}"), requirement)),
        (None, _) if policy.required => {
            Some(Finding::fail("change/ticket", "no ticket was named", requirement, remedy))
        }
        (None, _) => {
            Some(Finding::pass("change/ticket", "no ticket was named, and none is needed", requirement))
        }
    }
}
