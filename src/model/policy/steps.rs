//! What one decision may cost: patterns and texts are both chosen by others, and a decision is made
//! on a thread that serves every connection.

use std::cell::Cell;

/// The steps of one decision: some milliseconds at the worst. A step is about one character that is
/// compared with one of a pattern.
pub const MAX_STEPS: usize = 1_000_000;

/// The bytes of a text that a search for a plain text looks at in a step.
const BYTES_PER_STEP: usize = 4;

/// The steps that are left of one decision.
///
/// Once they are spent, whatever else is asked of a policy has no meaning, and the decision has to
/// be a denial.
#[derive(Debug)]
pub struct Steps {
    left: Cell<usize>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { left: Cell::new(MAX_STEPS) }
    }
}

impl Steps {
    /// Whether none is left.
    pub fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    /// Takes some; false once they are spent.
    pub(super) fn take(&self, steps: usize) -> bool {
        let left = self.left.get().saturating_sub(steps);
        self.left.set(left);
        left > 0
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    /// What it takes to go through a text once.
    pub(super) const fn to_scan(bytes: usize) -> usize {
        bytes / BYTES_PER_STEP + 1
    }
}
