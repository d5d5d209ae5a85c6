//! The number of encryptions with random IVs that a key version may make.

/// Maximum invocations of a key with random IVs of 96 bits (NIST SP 800-38D, section 8.3), minus
/// 2^20 for the gateway itself: the first use of a new key, and its health checks.
pub const MAX_INVOCATIONS: u64 = (1 << 32) - (1 << 20);

/// The invocation budget of every key version. Uses are counted in advance, in leases, so that the
/// count is never too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvBudget {
    /// Invocations per lease. A crash may lose up to this number.
    pub lease: u64,
    /// At this count operators are warned.
    pub warn_at: u64,
    /// At this count the key is rotated, if it can be.
    pub rotate_at: u64,
    /// At this count the version stops encrypting. At most [`MAX_INVOCATIONS`].
    pub refuse_at: u64,
}

impl Default for IvBudget {
    fn default() -> Self {
        Self { lease: 1 << 20, warn_at: 1 << 30, rotate_at: 1 << 31, refuse_at: MAX_INVOCATIONS }
    }
}
