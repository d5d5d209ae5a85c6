//! How often a key version may encrypt with random IVs.

/// The most invocations that a random IV of 96 bits allows a key (NIST SP 800-38D, section 8.3),
/// less 2^20 for the gateway's own: the first use of a new key, and its control messages.
pub const MAX_INVOCATIONS: u64 = (1 << 32) - (1 << 20);

/// The invocation budget of every key version. A use is counted before it happens, in leases, so
/// that the count is never too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvBudget {
    /// Invocations that are written down at a time, and that a crash may lose.
    pub lease: u64,
    /// From here on operators are told.
    pub warn_at: u64,
    /// From here on the key gets a new version, where it can.
    pub rotate_at: u64,
    /// Here the version encrypts no more; at most [`MAX_INVOCATIONS`].
    pub refuse_at: u64,
}

impl Default for IvBudget {
    fn default() -> Self {
        Self { lease: 1 << 20, warn_at: 1 << 30, rotate_at: 1 << 31, refuse_at: MAX_INVOCATIONS }
    }
}
