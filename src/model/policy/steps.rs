//! Limits the cost of one decision: callers choose both patterns and texts, and a decision runs on
//! a thread that serves every connection.

use std::cell::Cell;

/// Maximum steps of one decision: some milliseconds in the worst case. A step is about one
/// comparison of a character with a pattern character.
pub const MAX_STEPS: usize = 1_000_000;

/// Bytes that a search for a plain text scans in one step.
const BYTES_PER_STEP: usize = 4;

/// The remaining steps of one decision.
///
/// Once they are exhausted, further results of a policy are meaningless, and the decision must be a
/// denial.
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
    /// Whether no steps remain.
    pub fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    /// Uses some steps. Returns false once they are exhausted.
    pub(super) fn take(&self, steps: usize) -> bool {
        let left = self.left.get().saturating_sub(steps);
        self.left.set(left);
        left > 0
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    /// The steps to scan a text once.
    pub(super) const fn to_scan(bytes: usize) -> usize {
        bytes / BYTES_PER_STEP + 1
    }
}
