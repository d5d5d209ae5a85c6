//! Which refusals of unproven callers are recorded one by one.
//!
//! A record costs a write to the disk, and who has proven nothing must not be able to ask for any
//! number of them. So each source has some a second, and all sources together have some; the rest is
//! counted in sums.

use std::net::IpAddr;

use super::rate_limit::LeakyBuckets;
use crate::model::{RequestContext, source_of};

/// Records a second of one source.
const PER_SOURCE: u32 = 10;
/// Records a second of all sources: some 100 KB.
const IN_TOTAL: u32 = 100;

/// The rates of such records.
#[derive(Debug)]
pub(super) struct UnauthenticatedRecords {
    sources: LeakyBuckets<IpAddr>,
    all: LeakyBuckets<()>,
}

impl UnauthenticatedRecords {
    pub(super) fn new() -> Self {
        Self { sources: LeakyBuckets::new(PER_SOURCE), all: LeakyBuckets::new(IN_TOTAL) }
    }

    /// Whether the refusal of this request has a record of its own.
    pub(super) fn may_be_recorded(&self, request: &RequestContext) -> bool {
        self.sources.take(source_of(request.source), request.received_at)
            && self.all.take((), request.received_at)
    }
}
