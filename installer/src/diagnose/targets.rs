//! `targets.txt`: for each thing that a journal says was put in place and not taken away again, whether it is still
//! there, by the same look with which an apply makes sure of it.
//!
//! *It never* asks a target that did not answer before, and runs no script and no health check.

use std::collections::BTreeMap;

use super::{Ground, Piece, Section};
use crate::apply::chain;
use crate::plan::{Step, Withdraw};
use crate::targets::{self, State};

/// So many things are looked at.
const LOOKED_AT_MAX: usize = 2000;

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let mut text = String::new();
    let steps = standing(ground);
    for (step, journal) in steps.values().take(LOOKED_AT_MAX) {
        let state = state(ground, step);
        let title = ground.redactor.text(&super::redact::one_line(&step.title()));
        text.push_str(&format!("{state:<12} {title} (journal {journal})\n"));
    }
    if let Some(more) = steps.len().checked_sub(LOOKED_AT_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("{more} more were not looked at\n"));
    }
    if steps.is_empty() {
        text.push_str("no journal says that anything was put in place\n");
    }
    ground.piece(Section::Targets, "targets.txt", text)
}

fn state(ground: &mut Ground<'_>, step: &Step) -> &'static str {
    if ground.silent.contains(&step.target()) {
        ground.gap(&format!("what is in target {}", step.target()), "it did not answer (see findings.txt)");
        return "unknown";
    }
    let probed = targets::probe(step, &ground.context());
    match probed {
        Ok(State::New) => "in place",
        Ok(State::NotNew) => "NOT IN PLACE",
        Err(error) => {
            ground.gap(&format!("what is in target {}", step.target()), &chain(&error));
            "unknown"
        }
    }
}

/// The newest step for each thing that has an effect, with the number of its journal.
fn standing(ground: &Ground<'_>) -> BTreeMap<(usize, String), (Step, String)> {
    let mut newest: BTreeMap<String, (usize, usize, Step, String)> = BTreeMap::new();
    for (order, found) in ground.journals.iter().enumerate() {
        for (number, step) in found.plan.steps.iter().enumerate() {
            let Some(thing) = thing(step).filter(|_| found.has_effect(number)) else { continue };
            if matches!(step, Step::Withdraw(_)) {
                newest.remove(&thing);
                continue;
            }
            newest.insert(thing, (order, number, step.clone(), super::journals::number(&found.path)));
        }
    }
    let placed = newest.into_iter().map(|(thing, (order, number, step, journal))| {
        ((order, format!("{number:08} {thing}")), (step, journal))
    });
    placed.collect()
}

/// What a step is about, whatever it does with it. None for what leaves nothing to look at.
fn thing(step: &Step) -> Option<String> {
    Some(match step {
        Step::Push(push) | Step::Withdraw(Withdraw::Push(push)) => {
            format!("{} {}:{}", push.url, push.repository, push.tag.as_deref().unwrap_or_default())
        }
        Step::Load(load) | Step::Withdraw(Withdraw::Load(load)) => {
            format!("{} {}", load.host, load.name.as_deref().unwrap_or(&load.title))
        }
        Step::Import(import) | Step::Withdraw(Withdraw::Import(import)) => {
            format!("{} {}", import.address.display(), import.title)
        }
        Step::Mirror(mirror) => mirror.write.path.display().to_string(),
        Step::File(file) => file.path.display().to_string(),
        Step::Unwrite(unwrite) => unwrite.path.display().to_string(),
        Step::Venv(venv) => venv.link.display().to_string(),
        Step::Unlink(unlink) => unlink.link.display().to_string(),
        Step::Objects(objects) => format!("objects {} {}", objects.owner, objects.title),
        Step::Release(release) => format!("release {} {}", release.namespace, release.release),
        Step::Publish(_) => "what is published".to_string(),
        Step::Record(record) => format!("ledger {} {}", record.new.publisher, record.new.product),
        Step::Script(_) | Step::Health(_) => return None,
    })
}
