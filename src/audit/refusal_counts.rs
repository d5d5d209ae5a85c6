//! Counts unauthenticated refusals that are not recorded separately, per minute.
//!
//! The counts are in memory until the minute ends or the audit log is closed in order; a kill loses
//! the counts of the last minute.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use parking_lot::Mutex;

use super::system_event::SystemEvent;
use crate::error::ErrorCode;
use crate::model::Time;

/// The audit event of a count.
const EVENT: &str = "RefusedRequests";
/// Maximum number of sources with a separate count per minute. The others share one.
const MAX_SOURCES: usize = 64;

/// The counts of the current minute.
#[derive(Debug, Default)]
pub(super) struct RefusalCounts(Mutex<HashMap<Option<IpAddr>, RefusalCount>>);

/// The refusals of one source.
#[derive(Debug, Clone)]
pub(super) struct RefusalCount {
    from: Time,
    to: Time,
    codes: BTreeMap<&'static str, u64>,
}

impl RefusalCounts {
    /// Counts a refusal.
    pub(super) fn count(&self, source: IpAddr, time: Time, code: ErrorCode) {
        let codes = BTreeMap::from([(code.as_str(), 1)]);
        self.add(Some(source), RefusalCount { from: time, to: time, codes });
    }

    /// Removes and returns all counts.
    pub(super) fn take(&self) -> HashMap<Option<IpAddr>, RefusalCount> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Adds a count: a new one, or one that could not be recorded.
    pub(super) fn add(&self, source: Option<IpAddr>, added: RefusalCount) {
        let mut counts = self.0.lock();
        let has_room = counts.len() < MAX_SOURCES || counts.contains_key(&source);
        let count = counts
            .entry(source.filter(|_source| has_room))
            .or_insert_with(|| RefusalCount { codes: BTreeMap::new(), ..added });
        count.from = count.from.min(added.from);
        count.to = count.to.max(added.to);
        for (code, number) in added.codes {
            *count.codes.entry(code).or_default() += number;
        }
    }
}

impl RefusalCount {
    /// The system event to record.
    pub(super) fn system_event(&self, source: Option<IpAddr>) -> SystemEvent {
        let source = source.map_or_else(|| "others".to_owned(), |source| source.to_string());
        let total: u64 = self.codes.values().sum();
        let mut parameters = vec![
            ("Source".to_owned(), source),
            ("From".to_owned(), self.from.to_string()),
            ("To".to_owned(), self.to.to_string()),
            ("Count".to_owned(), total.to_string()),
        ];
        let codes = self.codes.iter().map(|(code, count)| ((*code).to_owned(), count.to_string()));
        parameters.extend(codes);
        SystemEvent::of_gateway(EVENT, parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_counts_by_code_and_too_many_share_one() {
        let (refusal_counts, time) = (RefusalCounts::default(), Time::from_unix(1_700_000_000));
        for number in 0..1000_u32 {
            for _refusal in 0..3 {
                refusal_counts.count(IpAddr::V4(number.into()), time, ErrorCode::MissingSignature);
            }
        }
        refusal_counts.count(IpAddr::V4(0.into()), time.plus_seconds(5), ErrorCode::Throttling);
        let taken = refusal_counts.take();
        assert_eq!(taken.len(), MAX_SOURCES + 1);
        assert_eq!(taken[&None].codes["MissingSignature"], (1000 - 64) * 3);
        let first = &taken[&Some(IpAddr::V4(0.into()))];
        assert_eq!((first.codes["MissingSignature"], first.codes["Rejected.Throttling"]), (3, 1));
        let system_event = first.system_event(None);
        assert!(system_event.parameters.contains(&("Count".to_owned(), "4".to_owned())));
        refusal_counts.add(None, first.clone());
        refusal_counts.add(None, first.clone());
        assert_eq!(refusal_counts.take()[&None].codes["MissingSignature"], 6);
    }
}
