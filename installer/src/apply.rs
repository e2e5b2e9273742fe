//! Runs a plan. There are no choices in here: intent is durable before each step and the outcome after
//! it; the first failure takes everything back, in reverse; a run that was cut off is gone on with.

use edge::{Classified, Exit};
use manifests::audit::Outcome;

use crate::audit::{self, About, AuditError, AuditLog};
use crate::journal::{Found, Journal, Line};
use crate::plan::Plan;
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
        source: TargetError,
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
    /// An earlier run was cut off while it was being undone, or left something.
    #[error("an earlier apply of {bundle} could not be undone: {}", stuck.join("; "))]
    LeftOver {
        /// Whose.
        bundle: String,
        /// What stays, in words.
        stuck: Vec<String>,
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
            Self::NotUndone { .. } | Self::LeftOver { .. } => Exit::NotUndone,
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
        let mut journal = Journal::start(self.context.site, plan)?;
        self.forward(plan, &mut journal, None)
    }

    /// Goes on with a run that was cut off: to its end.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn resume(&self, found: &Found) -> Result<(), ApplyError> {
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
            journal.write(Line::Undo)?;
        }
        let begun: Vec<usize> = (0..found.plan.steps.len())
            .filter(|step| found.was_begun(*step) && !found.was_undone(*step))
            .collect();
        let mut unwritten = Unwritten::default();
        let stuck = self.backward(&found.plan, &mut journal, &begun, &mut unwritten)?;
        if stuck.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::LeftOver { bundle: found.plan.bundle.to_string(), stuck })
        }
    }

    fn forward(&self, plan: &Plan, journal: &mut Journal, before: Option<&Found>) -> Result<(), ApplyError> {
        let kept = journal.kept_dir();
        let total = plan.steps.len();
        for (number, step) in plan.steps.iter().enumerate() {
            if before.is_some_and(|before| before.was_done(number)) {
                continue;
            }
            (self.say)(&format!("[{}/{total}] {}", number.saturating_add(1), step.title()));
            self.log("apply.step", Outcome::Intent, plan, Some(number), About::new())?;
            journal.write(Line::Begin(number))?;
            self.watch.at("begun", number)?;
            let performed = targets::perform(step, &kept, self.context)
                .and_then(|facts| self.confirm(plan, number).map(|()| facts));
            self.watch.at("performed", number)?;
            let facts = match performed {
                Ok(facts) => facts,
                Err(source) => return self.fail(plan, journal, number, source),
            };
            journal.write(Line::Done(number))?;
            self.log("apply.step", Outcome::Done, plan, Some(number), facts)?;
            self.watch.at("done", number)?;
        }
        // In this order, so that the log never says done of what the next run would take back.
        journal.write(Line::Committed)?;
        self.log("apply", Outcome::Done, plan, None, About::new())
    }

    /// A step that says it is done is asked once more.
    fn confirm(&self, plan: &Plan, number: usize) -> Result<(), TargetError> {
        let Some(step) = plan.steps.get(number) else { return Ok(()) };
        match targets::probe(step, self.context)? {
            State::New => Ok(()),
            State::NotNew => Err(TargetError::Program {
                doing: format!("reading back: {}", step.title()),
                code: "none".to_string(),
                last_words: "the new value is not in place".to_string(),
            }),
        }
    }

    fn fail(
        &self,
        plan: &Plan,
        journal: &mut Journal,
        number: usize,
        source: TargetError,
    ) -> Result<(), ApplyError> {
        let mut title = plan.steps.get(number).map(crate::plan::Step::title).unwrap_or_default();
        let cause = chain(&source);
        (self.say)(&format!("failed: {cause}; undoing"));
        let mut unwritten = Unwritten::default();
        let mut failed = audit::about([("cause", cause.clone())]);
        failed.extend(source.facts());
        unwritten.note(self.log("apply.step", Outcome::Failed, plan, Some(number), failed));
        unwritten.note(journal.write(Line::Undo).map_err(ApplyError::from));
        let begun: Vec<usize> = (0..=number).collect();
        let stuck = self.backward(plan, journal, &begun, &mut unwritten)?;
        if let Some(first) = unwritten.first {
            title.push_str(&format!(" (and the log or journal could not be written: {first})"));
        }
        let (number, total) = (number.saturating_add(1), plan.steps.len());
        if stuck.is_empty() {
            Err(ApplyError::Undone { number, total, title, source })
        } else {
            Err(ApplyError::NotUndone { number, total, title, cause, stuck })
        }
    }

    /// Takes steps back, the last first. What cannot be taken back is listed, and the rest still is: also
    /// if log or journal cannot be written, since a full disk must not keep things half done.
    fn backward(
        &self,
        plan: &Plan,
        journal: &mut Journal,
        begun: &[usize],
        unwritten: &mut Unwritten,
    ) -> Result<Vec<String>, ApplyError> {
        let kept = journal.kept_dir();
        let (mut stuck, mut may_pass) = (Vec::new(), false);
        for number in begun.iter().rev().copied() {
            let Some(step) = plan.steps.get(number) else { continue };
            self.watch.at("undoing", number)?;
            match targets::undo(step, &kept, self.context) {
                Ok(facts) => {
                    unwritten.note(journal.write(Line::Undone(number)).map_err(ApplyError::from));
                    unwritten.note(self.log("apply.step", Outcome::Undone, plan, Some(number), facts));
                }
                Err(error) => {
                    may_pass |= error.may_pass();
                    let cause = chain(&error);
                    unwritten.note(journal.write(Line::Stuck(number)).map_err(ApplyError::from));
                    let mut about = audit::about([("cause", cause.clone()), ("undo", "failed".to_string())]);
                    about.extend(error.facts());
                    unwritten.note(self.log("apply.step", Outcome::Failed, plan, Some(number), about));
                    stuck.push(format!("{} ({cause})", step.title()));
                }
            }
        }
        let outcome = if stuck.is_empty() { Outcome::Undone } else { Outcome::Failed };
        unwritten.note(self.log("apply", outcome, plan, None, About::new()));
        // What could not be reached may be reached later: the journal stays open, and the next run tries
        // again.
        if !may_pass {
            let line = if stuck.is_empty() { Line::RolledBack } else { Line::Broken };
            unwritten.note(journal.write(line).map_err(ApplyError::from));
        }
        Ok(stuck)
    }

    fn log(
        &self,
        event: &str,
        outcome: Outcome,
        plan: &Plan,
        step: Option<usize>,
        mut about: About,
    ) -> Result<(), ApplyError> {
        let event = event.replacen("apply", plan.kind.word(), 1);
        about.insert("bundle".to_string(), plan.bundle.to_string());
        about.insert("product".to_string(), format!("{} {}", plan.product, plan.version));
        if let Some((number, step)) = step.and_then(|number| Some((number, plan.steps.get(number)?))) {
            about.insert("step".to_string(), format!("{}/{}", number.saturating_add(1), plan.steps.len()));
            about.insert("action".to_string(), manifests::text::printable(&step.title()));
        } else {
            about.extend(applied_facts(plan));
        }
        self.audit.append(self.context.env, &event, outcome, about)?;
        Ok(())
    }
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

/// The first line that could not be written while something was being undone.
#[derive(Default)]
struct Unwritten {
    first: Option<String>,
}

impl Unwritten {
    fn note(&mut self, written: Result<(), ApplyError>) {
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
