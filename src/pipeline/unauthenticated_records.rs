//! Selects the rejections of unauthenticated clients that are recorded one by one.
//!
//! A record costs a disk write, and an unauthenticated client must not cause any number of them. So
//! each source has a number of records a second, and so have all sources together; the others are
//! counted in sums.

use std::net::IpAddr;

use super::rate_limit::LeakyBuckets;
use crate::model::{RequestContext, source_of};

/// Records a second for one source.
const PER_SOURCE: u32 = 10;
/// Records a second for all sources: about 100 KB.
const IN_TOTAL: u32 = 100;

/// The rate limits of these records.
#[derive(Debug)]
pub(super) struct UnauthenticatedRecords {
    sources: LeakyBuckets<IpAddr>,
    all: LeakyBuckets<()>,
}

impl UnauthenticatedRecords {
    pub(super) fn new() -> Self {
        Self { sources: LeakyBuckets::new(PER_SOURCE), all: LeakyBuckets::new(IN_TOTAL) }
    }

    /// Whether the rejection of this request gets a separate record.
    pub(super) fn may_be_recorded(&self, request: &RequestContext) -> bool {
        self.sources.take(source_of(request.source), request.received_at)
            && self.all.take((), request.received_at)
    }
}
