//! The number of gateways that serve the store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many gateways of the cluster were seen within ten seconds; 1 without a cluster. While the database
/// is away, the last known number.
#[derive(Debug, Clone)]
pub struct LiveGateways(Arc<AtomicU32>);

impl Default for LiveGateways {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }
}

impl LiveGateways {
    /// The number.
    pub fn count(&self) -> NonZeroU32 {
        NonZeroU32::new(self.0.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    pub(crate) fn set(&self, members: i64) {
        self.0.store(u32::try_from(members).unwrap_or(1), Ordering::Relaxed);
    }
}
