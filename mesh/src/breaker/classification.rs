//! Changes to the table of what is evidence.

use std::collections::HashMap;
use std::sync::Arc;

use super::Outcome;
use crate::grpc::Code;

/// Changes to the table of [what is evidence](crate::breaker#what-is-evidence): what a code of gRPC says about the service,
/// for all methods or for one.
///
/// A rule for a method comes before one for all methods, and a later rule before an earlier one of the same kind.
/// A rule holds for whatever ends a call with this code: the server's status, and for `DEADLINE_EXCEEDED` also a
/// time limit on the way, however little time the caller allowed. It does not hold for what has no code: broken
/// connections, answers without a `grpc-status`, our own refusals.
///
/// Cheap to clone; without a rule it costs a call nothing.
///
/// ```
/// use safelight_mesh::breaker::{Classification, Outcome};
/// use tonic::Code;
///
/// let classification = Classification::default()
///     .code(Code::PermissionDenied, Outcome::Ignored)
///     .method("/shop.Stock/Count", Code::NotFound, Outcome::Failure);
/// # let _ = classification;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Classification {
    rules: Option<Arc<Rules>>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    all: Codes,
    /// By path. Each table has the rules for all methods in it.
    methods: HashMap<Box<str>, Codes>,
    /// Rules of a method, to be laid over those for all methods whenever these change.
    own: Vec<(Box<str>, Code, Outcome)>,
}

/// The codes of one method that mean something else than in the table; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codes {
    changed: Option<Arc<[Option<Outcome>; CODES]>>,
}

/// gRPC has the codes 0 to 16.
const CODES: usize = 17;

// === impl Classification ===

impl Classification {
    /// Says what `code` means for every method that has no rule of its own for it.
    pub fn code(mut self, code: Code, outcome: Outcome) -> Self {
        let rules = Arc::make_mut(self.rules.get_or_insert_default());
        rules.all.set(code, outcome);
        rules.lay_out();
        self
    }

    /// Says what `code` means for the method of this path, as `/package.Service/Method`.
    pub fn method(mut self, path: impl Into<Box<str>>, code: Code, outcome: Outcome) -> Self {
        let rules = Arc::make_mut(self.rules.get_or_insert_default());
        rules.own.push((path.into(), code, outcome));
        rules.lay_out();
        self
    }

    /// The rules for the method of this path.
    pub(crate) fn of(&self, path: &str) -> Codes {
        match &self.rules {
            None => Codes::default(),
            Some(rules) => rules.methods.get(path).unwrap_or(&rules.all).clone(),
        }
    }
}

// === impl Rules ===

impl Rules {
    fn lay_out(&mut self) {
        self.methods.clear();
        for (path, code, outcome) in &self.own {
            self.methods
                .entry(path.clone())
                .or_insert_with(|| self.all.clone())
                .set(*code, *outcome);
        }
    }
}

// === impl Codes ===

impl Codes {
    fn set(&mut self, code: Code, outcome: Outcome) {
        let changed = self.changed.get_or_insert_with(|| Arc::new([None; CODES]));
        Arc::make_mut(changed)[code as usize] = Some(outcome);
    }

    pub(crate) fn get(&self, code: Code) -> Option<Outcome> {
        self.changed.as_ref()?[code as usize]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn without_rules_nothing_is_changed() {
        let codes = Classification::default().of("/shop.Stock/Count");
        for code in 0..CODES as i32 {
            assert_eq!(codes.get(Code::from_i32(code)), None);
        }
    }

    #[test]
    fn a_rule_for_a_method_comes_before_one_for_all_whichever_was_given_first() {
        let early = Classification::default()
            .method("/a/B", Code::NotFound, Outcome::Failure)
            .code(Code::NotFound, Outcome::Ignored)
            .code(Code::Aborted, Outcome::Overload);
        let late = Classification::default()
            .code(Code::NotFound, Outcome::Ignored)
            .code(Code::Aborted, Outcome::Overload)
            .method("/a/B", Code::NotFound, Outcome::Failure);
        for classification in [early, late] {
            let (own, other) = (classification.of("/a/B"), classification.of("/a/C"));
            assert_eq!(own.get(Code::NotFound), Some(Outcome::Failure));
            assert_eq!(own.get(Code::Aborted), Some(Outcome::Overload));
            assert_eq!(other.get(Code::NotFound), Some(Outcome::Ignored));
            assert_eq!(other.get(Code::Internal), None);
        }
    }

    #[test]
    fn a_later_rule_replaces_an_earlier_one_and_clones_keep_theirs() {
        let first = Classification::default().method("/a/B", Code::Aborted, Outcome::Failure);
        let second = first.clone().method("/a/B", Code::Aborted, Outcome::Ignored);
        assert_eq!(first.of("/a/B").get(Code::Aborted), Some(Outcome::Failure));
        assert_eq!(second.of("/a/B").get(Code::Aborted), Some(Outcome::Ignored));
    }
}
