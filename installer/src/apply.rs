//! Runs a plan. There are no choices in here: intent is durable before each step and the outcome after
//! it, with one flush for steps that are done together; the first failure takes everything back, in reverse; a run that was cut off is gone on with. A line
//! of log or journal that cannot be written is a failure like any other: a full disk stops the work, not the
//! log.

use edge::{Classified, Exit};
use manifests::audit::Outcome;

use crate::audit::{self, About, AuditError, AuditLog};
use crate::journal::{Found, Journal, Line};
use crate::plan::{Plan, Step};
use crate::site::SiteError;
use crate::targets::{self, Context, State, TargetError};

/// Looks at the moments of a run. A test stops a run there, as a power cut would.
pub trait Watch {
    /// A moment: its name and the step's number.
    ///
    /// # Errors
    /// The run ends here, as if the power had gone.
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut>;
}

/// The run ends at once, with nothing taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the power was cut")]
pub struct PowerCut;

/// Never stops.
pub struct Unwatched;

impl Watch for Unwatched {
    fn at(&self, _moment: &'static str, _step: usize) -> Result<(), PowerCut> {
        Ok(())
    }
}

/// What is done could not be written down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritten {
    /// In the log.
    #[error("the log could not be written, and nothing is done without it")]
    Log(#[from] AuditError),
    /// In the journal.
    #[error("the journal could not be written, and nothing is done without it")]
    Journal(#[from] SiteError),
}

impl From<Unwritten> for ApplyError {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Log(error) => Self::Audit(error),
            Unwritten::Journal(error) => Self::Site(error),
        }
    }
}

/// What stopped an apply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] TargetError),
    /// Log or journal did.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

impl Cause {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Step(error) => error.hint(),
            Self::Unwritten(_) => Some(
                "make room on the disk of the site directory, or mend it, and run the same command again"
                    .to_string(),
            ),
        }
    }
}

/// Why an apply did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A step failed, and everything was taken back.
    #[error("step {number} of {total} failed and everything was undone: {title}")]
    Undone {
        /// Counted from 1.
        number: usize,
        /// How many steps there are.
        total: usize,
        /// What the step was.
        title: String,
        /// Why.
        source: Cause,
    },
    /// A step failed, and something could not be taken back.
    #[error("step {number} of {total} failed ({title}: {cause}), and could not be undone: {}", stuck.join("; "))]
    NotUndone {
        /// Counted from 1.
        number: usize,
        /// How many steps there are.
        total: usize,
        /// What the step was.
        title: String,
        /// Why it failed.
        cause: String,
        /// What stays, in words.
        stuck: Vec<String>,
    },
    /// A step failed, and nothing was taken back, as nobody would have known of it.
    #[error("a step failed ({title}: {cause}), and nothing was undone, as the journal cannot say so ({unwritten}): {}", stay.join("; "))]
    Unannounced {
        /// What the step was.
        title: String,
        /// Why it failed.
        cause: String,
        /// Why the journal cannot be written.
        unwritten: String,
        /// What stays, in words.
        stay: Vec<String>,
    },
    /// An earlier run was cut off while it was being undone, or left something.
    #[error("an earlier apply of {bundle} could not be undone: {}", stuck.join("; "))]
    LeftOver {
        /// Whose.
        bundle: String,
        /// What stays, in words.
        stuck: Vec<String>,
    },
    /// An earlier run was taken back, and that could not be written down.
    #[error("an earlier apply of {bundle} was undone, and the log or journal could not be written: {cause}")]
    Unrecorded {
        /// Whose.
        bundle: String,
        /// Why not.
        cause: String,
    },
    /// The journal.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Only in tests.
    #[error(transparent)]
    PowerCut(#[from] PowerCut),
}

/// What opens the way again after something has failed.
const ACKNOWLEDGE: &str = "installer acknowledge --reason TEXT";

impl Classified for ApplyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Undone { .. } => Exit::Undone,
            Self::NotUndone { .. } | Self::LeftOver { .. } | Self::Unannounced { .. } => Exit::NotUndone,
            Self::Unrecorded { .. } => Exit::Unreachable,
            Self::Site(error) => error.exit(),
            Self::Audit(error) => error.exit(),
            Self::PowerCut(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Undone { source, .. } => {
                let mend = source.hint().unwrap_or("mend the cause".to_string());
                Some(format!("{mend}; then say so, and run the same command again: {ACKNOWLEDGE}"))
            }
            Self::NotUndone { .. } | Self::LeftOver { .. } => Some(format!(
                "put right by hand what is listed, the journal directory says what was begun; then say so: {ACKNOWLEDGE}"
            )),
            Self::Unrecorded { .. } => {
                Some("make room on the disk of the site directory, or mend it".to_string())
            }
            Self::Unannounced { .. } => Some(format!(
                "make room on the disk of the site directory, or mend it; then say so, and run the same command again, which goes on from there: {ACKNOWLEDGE}"
            )),
            Self::Site(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            Self::PowerCut(_) => None,
        }
    }
}

/// One run of a plan.
pub struct Run<'a> {
    /// What targets may use.
    pub context: &'a Context<'a>,
    /// The log.
    pub audit: &'a AuditLog,
    /// Who looks on.
    pub watch: &'a dyn Watch,
    /// Says what is being done.
    pub say: &'a dyn Fn(&str),
}

impl Run<'_> {
    /// Runs a plan from its start.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn start(&self, plan: &Plan) -> Result<(), ApplyError> {
        self.audit.make_room(plan.steps.len())?;
        let mut journal = Journal::start(self.context.site, plan)?;
        self.forward(plan, &mut journal, None)
    }

    /// Goes on with a run that was cut off: to its end.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn resume(&self, found: &Found) -> Result<(), ApplyError> {
        self.audit.make_room(found.plan.steps.len())?;
        let mut journal = Journal::resume(found)?;
        self.log("apply.resume", Outcome::Intent, &found.plan, None, About::new())?;
        self.forward(&found.plan, &mut journal, Some(found))
    }

    /// Takes back a run that was cut off.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn take_back(&self, found: &Found) -> Result<(), ApplyError> {
        let mut journal = Journal::resume(found)?;
        self.log("apply.undo", Outcome::Intent, &found.plan, None, About::new())?;
        if !found.is_undoing() {
            journal.begin_undo()?;
        }
        let begun: Vec<usize> = (0..found.plan.steps.len())
            .filter(|step| found.was_begun(*step) && !found.was_undone(*step))
            .collect();
        let mut gaps = Gaps::default();
        let stuck = self.backward(&found.plan, &mut journal, &begun, &mut gaps)?;
        let bundle = found.plan.bundle.to_string();
        match gaps.first {
            _ if !stuck.is_empty() => Err(ApplyError::LeftOver { bundle, stuck }),
            Some(cause) => Err(ApplyError::Unrecorded { bundle, cause }),
            None => Ok(()),
        }
    }

    fn forward(&self, plan: &Plan, journal: &mut Journal, before: Option<&Found>) -> Result<(), ApplyError> {
        for group in groups(plan, before) {
            self.group(plan, journal, &group, before)?;
        }
        match self.commit(plan, journal) {
            Ok(()) => Ok(()),
            Err(unwritten) => {
                let total = plan.steps.len();
                self.fail(plan, journal, Stop { number: total, begun: total, cause: unwritten.into() })
            }
        }
    }

    /// Steps that are done together, or a single one. They stand and fall together: if one fails, none is done.
    fn group(
        &self,
        plan: &Plan,
        journal: &mut Journal,
        group: &[usize],
        before: Option<&Found>,
    ) -> Result<(), ApplyError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        for number in group {
            let title = plan.steps.get(*number).map(Step::title).unwrap_or_default();
            (self.say)(&format!("[{}/{}] {title}", number.saturating_add(1), plan.steps.len()));
        }
        if let Err(unwritten) = self.announce(plan, journal, group) {
            let was_begun = |number: &&usize| before.is_some_and(|before| before.was_begun(**number));
            let begun = group.iter().rfind(was_begun).map_or(*first, |number| number.saturating_add(1));
            if begun == 0 {
                // Nothing to take back. A journal that stays open is looked at by the next run.
                let _ = self.audit.insist(|| journal.write(Line::RolledBack));
                return Err(unwritten.into());
            }
            return self.fail(plan, journal, Stop { number: *first, begun, cause: unwritten.into() });
        }
        self.watch_each("begun", group)?;
        let performed = self.perform(plan, journal, group);
        self.watch_each("performed", group)?;
        let outcome = performed.map_err(|(number, error)| (number, Cause::from(error))).and_then(|facts| {
            let noted = self.note_done(plan, journal, group, facts);
            noted.map_err(|unwritten| (*first, Cause::from(unwritten)))
        });
        if let Err((number, cause)) = outcome {
            return self.fail(plan, journal, Stop { number, begun: last.saturating_add(1), cause });
        }
        Ok(self.watch_each("done", group)?)
    }

    fn watch_each(&self, moment: &'static str, group: &[usize]) -> Result<(), PowerCut> {
        group.iter().try_for_each(|number| self.watch.at(moment, *number))
    }

    /// Does the steps of a group, and asks each that says it is done once more. A failure is told with the number
    /// of its step.
    fn perform(
        &self,
        plan: &Plan,
        journal: &Journal,
        group: &[usize],
    ) -> Result<Vec<About>, (usize, TargetError)> {
        let steps: Vec<&Step> = group.iter().filter_map(|number| plan.steps.get(*number)).collect();
        let numbered = |(place, error)| (group.get(place).copied().unwrap_or_default(), error);
        let facts = targets::perform_all(&steps, &journal.kept_dir(), self.context).map_err(numbered)?;
        let states = targets::probe_all(&steps, self.context).map_err(numbered)?;
        match states.iter().position(|state| *state == State::NotNew) {
            None => Ok(facts),
            Some(place) => Err(numbered((place, not_in_place(steps.get(place).copied())))),
        }
    }

    fn announce(&self, plan: &Plan, journal: &mut Journal, group: &[usize]) -> Result<(), Unwritten> {
        let facts = group.iter().map(|_| About::new()).collect();
        self.log_each(Outcome::Intent, plan, group, facts)?;
        Ok(journal.write_each(Line::Begin, group)?)
    }

    fn note_done(
        &self,
        plan: &Plan,
        journal: &mut Journal,
        group: &[usize],
        facts: Vec<About>,
    ) -> Result<(), Unwritten> {
        journal.write_each(Line::Done, group)?;
        Ok(self.log_each(Outcome::Done, plan, group, facts)?)
    }

    /// In this order, so that the log never says done of what the next run would take back.
    fn commit(&self, plan: &Plan, journal: &mut Journal) -> Result<(), Unwritten> {
        self.audit.insist(|| journal.write(Line::Committed))?;
        Ok(self.audit.insist(|| self.log("apply", Outcome::Done, plan, None, About::new()))?)
    }

    fn fail(&self, plan: &Plan, journal: &mut Journal, stop: Stop) -> Result<(), ApplyError> {
        let Stop { number, begun, cause: source } = stop;
        let mut title = plan.steps.get(number).map_or("writing that it is done".to_string(), Step::title);
        let cause = chain(&source);
        (self.say)(&format!("failed: {cause}; undoing"));
        let mut gaps = Gaps::default();
        let mut failed = audit::about([("cause", cause.clone())]);
        if let Cause::Step(error) = &source {
            failed.extend(error.facts());
        }
        gaps.note(self.last_word("apply.step", Outcome::Failed, plan, Some(number), &failed));
        if let Err(error) = self.audit.insist(|| journal.begin_undo()) {
            let (unwritten, titles) = (chain(&error), plan.steps.iter().take(begun).map(Step::title));
            return Err(ApplyError::Unannounced { title, cause, unwritten, stay: titles.collect() });
        }
        let begun: Vec<usize> = (0..begun).collect();
        let stuck = self.backward(plan, journal, &begun, &mut gaps)?;
        if let Some(first) = gaps.first {
            title.push_str(&format!(" (and the log or journal could not be written: {first})"));
        }
        let (number, total) = (number.saturating_add(1).min(plan.steps.len()), plan.steps.len());
        if stuck.is_empty() {
            Err(ApplyError::Undone { number, total, title, source })
        } else {
            Err(ApplyError::NotUndone { number, total, title, cause, stuck })
        }
    }

    /// Takes steps back, the last first. What cannot be taken back is listed, and the rest still is: also
    /// if log or journal cannot be written, since a full disk must not keep things half done. The room that
    /// was kept is for this.
    fn backward(
        &self,
        plan: &Plan,
        journal: &mut Journal,
        begun: &[usize],
        gaps: &mut Gaps,
    ) -> Result<Vec<String>, ApplyError> {
        let kept = journal.kept_dir();
        let (mut stuck, mut may_pass) = (Vec::new(), false);
        self.audit.release_room();
        for number in begun.iter().rev().copied() {
            let Some(step) = plan.steps.get(number) else { continue };
            self.watch.at("undoing", number)?;
            match targets::undo(step, &kept, self.context) {
                Ok(facts) => {
                    gaps.note(self.audit.insist(|| journal.write(Line::Undone(number))));
                    gaps.note(self.last_word("apply.step", Outcome::Undone, plan, Some(number), &facts));
                }
                Err(error) => {
                    may_pass |= error.may_pass();
                    let cause = chain(&error);
                    gaps.note(self.audit.insist(|| journal.write(Line::Stuck(number))));
                    let mut about = audit::about([("cause", cause.clone()), ("undo", "failed".to_string())]);
                    about.extend(error.facts());
                    gaps.note(self.last_word("apply.step", Outcome::Failed, plan, Some(number), &about));
                    stuck.push(format!("{} ({cause})", step.title()));
                }
            }
        }
        let outcome = if stuck.is_empty() { Outcome::Undone } else { Outcome::Failed };
        gaps.note(self.last_word("apply", outcome, plan, None, &About::new()));
        // What could not be reached may be reached later: the journal stays open, and the next run tries
        // again.
        if !may_pass {
            let line = if stuck.is_empty() { Line::RolledBack } else { Line::Broken };
            gaps.note(self.audit.insist(|| journal.write(line)));
        }
        Ok(stuck)
    }

    /// What is said after something has failed: for that, room was kept.
    fn last_word(
        &self,
        event: &str,
        outcome: Outcome,
        plan: &Plan,
        step: Option<usize>,
        about: &About,
    ) -> Result<(), AuditError> {
        self.audit.insist(|| self.log(event, outcome, plan, step, about.clone()))
    }

    fn log(
        &self,
        event: &str,
        outcome: Outcome,
        plan: &Plan,
        step: Option<usize>,
        mut about: About,
    ) -> Result<(), AuditError> {
        about.extend(facts_of(plan, step));
        self.audit.append(self.context.env, &said_of(event, plan), outcome, about)
    }

    fn log_each(
        &self,
        outcome: Outcome,
        plan: &Plan,
        group: &[usize],
        mut abouts: Vec<About>,
    ) -> Result<(), AuditError> {
        for (about, number) in abouts.iter_mut().zip(group) {
            about.extend(facts_of(plan, Some(*number)));
        }
        self.audit.append_each(self.context.env, &said_of("apply.step", plan), outcome, abouts)
    }
}

/// The steps that are still to be done, in their order; those that are done together in one group.
fn groups(plan: &Plan, before: Option<&Found>) -> Vec<Vec<usize>> {
    let is_done = |number| before.is_some_and(|before| before.was_done(number));
    let pending = plan.steps.iter().enumerate().filter(|(number, _)| !is_done(*number));
    let (mut groups, mut previous): (Vec<Vec<usize>>, Option<&Step>) = (Vec::new(), None);
    for (number, step) in pending {
        let joins = previous.is_some_and(|previous| targets::go_together(previous, step));
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
        previous = Some(step);
    }
    groups
}

fn not_in_place(step: Option<&Step>) -> TargetError {
    TargetError::Program {
        doing: format!("reading back: {}", step.map(Step::title).unwrap_or_default()),
        code: "none".to_string(),
        last_words: "the new value is not in place".to_string(),
    }
}

/// An event as the log names it for what becomes of the product.
fn said_of(event: &str, plan: &Plan) -> String {
    event.replacen("apply", plan.kind.word(), 1)
}

/// What the log says of one step, or of all of them.
fn facts_of(plan: &Plan, step: Option<usize>) -> About {
    let product = format!("{} {}", plan.product, plan.version);
    let mut about = audit::about([("bundle", plan.bundle.to_string()), ("product", product)]);
    if let Some((number, step)) = step.and_then(|number| Some((number, plan.steps.get(number)?))) {
        about.insert("step".to_string(), format!("{}/{}", number.saturating_add(1), plan.steps.len()));
        about.insert("action".to_string(), manifests::text::printable(&step.title()));
    } else {
        about.extend(applied_facts(plan));
    }
    about
}

/// What the log says about an apply as a whole. [`crate::witness`] reads it back.
pub(crate) fn applied_facts(plan: &Plan) -> About {
    audit::about([
        ("bundle", plan.bundle.to_string()),
        ("publisher", plan.publisher.to_string()),
        ("product", format!("{} {}", plan.product, plan.version)),
        ("epoch", plan.order.epoch.to_string()),
        ("sequence", plan.order.sequence.to_string()),
    ])
    .into_iter()
    .chain(plan.change.iter().map(|change| ("change".to_string(), change.to_string())))
    .collect()
}

/// Where an apply stopped.
struct Stop {
    /// At which step, counted from 0; as many as there are at the very end.
    number: usize,
    /// How many steps were begun, and so have to be taken back.
    begun: usize,
    cause: Cause,
}

/// The first line that could not be written while something was being undone.
#[derive(Default)]
struct Gaps {
    first: Option<String>,
}

impl Gaps {
    fn note<E: std::error::Error>(&mut self, written: Result<(), E>) {
        if let (None, Err(error)) = (&self.first, written) {
            self.first = Some(chain(&error));
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    manifests::text::printable_up_to(&text, 1000)
}
