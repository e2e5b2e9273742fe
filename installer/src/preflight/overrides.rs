//! `--override ID --reason TEXT`: a person goes on in spite of a finding. Only of one that is not strict, only
//! with a reason, and only of one that has failed: nothing is overridden in advance.

use std::collections::BTreeMap;

use edge::{Classified, Exit};
use manifests::text::{LongLine, printable};

use super::catalogue::{self, Rule};

/// Which findings do not block, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<&'static str, LongLine>);

/// Why an override is not taken. All of this is known from the command line alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// There is no such check.
    #[error("--override {0}: there is no such check")]
    Unknown(String),
    /// It may never be overridden.
    #[error("--override {id}: this check is strict, as {because}")]
    Strict {
        /// Which.
        id: &'static str,
        /// Why.
        because: &'static str,
    },
    /// Nobody says why.
    #[error("--override needs a reason: {overrides} overrides and {reasons} reasons")]
    Reasons {
        /// How many overrides.
        overrides: usize,
        /// How many reasons.
        reasons: usize,
    },
    /// Which of the two reasons counts?
    #[error("--override {0} is there twice")]
    Twice(&'static str),
}

impl Classified for OverrideError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unknown(_) => "the ids are listed in docs/operator.md, and in what this command shows",
            Self::Strict { .. } => "do what its remedy says",
            Self::Reasons { .. } => {
                "one --reason TEXT for all of them, or one for each --override ID in their order"
            }
            Self::Twice(_) => "name it once",
        };
        Some(hint.to_string())
    }
}

impl Overrides {
    /// Pairs ids and reasons: one reason for all, or one for each in their order.
    ///
    /// # Errors
    /// See [`OverrideError`].
    pub fn of(ids: &[String], reasons: &[LongLine]) -> Result<Self, OverrideError> {
        let uneven = OverrideError::Reasons { overrides: ids.len(), reasons: reasons.len() };
        if !ids.is_empty() && reasons.len() != 1 && reasons.len() != ids.len() {
            return Err(uneven);
        }
        let mut pairs = BTreeMap::new();
        for (id, reason) in ids.iter().zip(reasons.iter().cycle()) {
            let check = catalogue::of(id).ok_or_else(|| OverrideError::Unknown(printable(id)))?;
            if let Rule::Strict(because) = check.rule {
                return Err(OverrideError::Strict { id: check.id, because });
            }
            if pairs.insert(check.id, reason.clone()).is_some() {
                return Err(OverrideError::Twice(check.id));
            }
        }
        Ok(Self(pairs))
    }

    /// Why a finding of this id does not block, if it does not.
    #[must_use]
    pub fn reason(&self, id: &str) -> Option<&LongLine> {
        self.0.get(id)
    }

    /// Every id.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[&str], reasons: &[&str]) -> Result<Overrides, OverrideError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let reasons: Vec<LongLine> = reasons.iter().map(|reason| reason.parse().unwrap()).collect();
        Overrides::of(&ids, &reasons)
    }

    #[test]
    fn one_reason_is_for_all_and_several_are_for_one_each() {
        let same = of(&["window/open", "change/ticket"], &["fire"]).unwrap();
        assert_eq!(same.reason("window/open"), same.reason("change/ticket"));
        let each = of(&["window/open", "change/ticket"], &["fire", "at night"]).unwrap();
        assert_eq!(each.reason("change/ticket").unwrap().as_str(), "at night");
        assert!(each.reason("registry/login").is_none());
        assert!(of(&[], &["why the whole is done"]).unwrap().ids().next().is_none());
    }

    #[test]
    fn what_nobody_explains_or_nobody_may_is_refused() {
        assert!(matches!(of(&["window/open"], &[]), Err(OverrideError::Reasons { .. })));
        assert!(matches!(of(&["window/open"], &["a", "b"]), Err(OverrideError::Reasons { .. })));
        assert!(matches!(of(&["window/opem"], &["a"]), Err(OverrideError::Unknown(_))));
        assert!(matches!(of(&["registry/login"], &["a"]), Err(OverrideError::Strict { .. })));
        let twice = of(&["window/open", "window/open"], &["a"]);
        assert!(matches!(twice, Err(OverrideError::Twice("window/open"))));
    }
}
