//! Exit codes and what a failure says. The codes are a contract: other programs act on them.

use std::error::Error;
use std::fmt;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done.
    Done = 0,
    /// 1: something that we did not foresee.
    Unexpected = 1,
    /// 2: the command line, or a file that a person wrote, does not parse; or it asks for what is not
    /// there yet.
    Usage = 2,
    /// 3: signature, threshold, revoked, wrong audience, rollback, untrusted.
    Refused = 3,
    /// 4: digest, size, truncated, missing or unreadable part.
    Damaged = 4,
    /// 5: a preflight finding failed; nothing was changed.
    NotReady = 5,
    /// 6: failed, and everything was undone.
    Undone = 6,
    /// 7: failed, and something could not be undone.
    NotUndone = 7,
    /// 8: a source or target could not be reached, read or written, or lacks what was asked of it.
    Unreachable = 8,
}

impl Exit {
    /// Each of them, by its number.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Refused,
        Self::Damaged,
        Self::NotReady,
        Self::Undone,
        Self::NotUndone,
        Self::Unreachable,
    ];

    /// What it means, for people: as in the README, and in each manual page.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage, a spec that does not parse, or what is not there yet",
            Self::Refused => "refused: signature, threshold, wrong audience, rollback, untrusted",
            Self::Damaged => "damaged: digest, size, truncated, missing, unreadable",
            Self::NotReady => "not ready: a check before the change failed; nothing was changed",
            Self::Undone => "failed, and everything was undone",
            Self::NotUndone => "failed, and something could not be undone; the message lists it",
            Self::Unreachable => "a source or target could not be reached, read or written",
        }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word for it in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::NotReady => "not-ready",
            Self::Undone => "undone",
            Self::NotUndone => "not-undone",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An error that knows its exit code and the next step.
pub trait Classified: Error + Send + Sync + 'static {
    /// The code.
    fn exit(&self) -> Exit;
    /// What to do next. `None` is honest where we do not know.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// What ends a run with another code than 0.
pub struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    also: Vec<String>,
    hint: Option<String>,
    details: serde_json::Map<String, serde_json::Value>,
    in_result: bool,
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            error: message.into().into(),
            also: Vec::new(),
            hint: None,
            details: serde_json::Map::new(),
            in_result: false,
        }
    }

    /// The command line does not make sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a second thing that went wrong on the way; the first decides the code.
    #[must_use]
    pub fn and(mut self, also: &str) -> Self {
        self.also.push(also.to_string());
        self
    }

    /// With something more for whoever reads JSON, beside the message.
    #[must_use]
    pub fn with<T: serde::Serialize>(mut self, key: &str, value: &T) -> Self {
        // What cannot be said in JSON is missing there; the message has it all the same.
        if let Ok(value) = serde_json::to_value(value) {
            self.details.insert(key.to_string(), value);
        }
        self
    }

    /// For a run whose result says already what is wrong: no second document is printed.
    #[must_use]
    pub fn is_in_result(mut self) -> Self {
        self.in_result = true;
        self
    }

    pub(crate) fn details(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        (!self.in_result).then_some(&self.details)
    }

    /// The code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened, and the causes below it, the nearest first.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut messages = vec![self.error.to_string()];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            messages.push(error.to_string());
            cause = error.source();
        }
        messages.dedup();
        messages.extend(self.also.iter().map(|also| format!("also: {also}")));
        messages
    }

    /// The next step.
    #[must_use]
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({:?}, {})", self.exit, self.messages().join(": "))
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: error.exit(),
            hint: error.hint(),
            also: Vec::new(),
            error: Box::new(error),
            details: serde_json::Map::new(),
            in_result: false,
        }
    }
}
