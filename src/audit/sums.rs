//! Refusals of unproven callers that have no record of their own, counted for each minute.
//!
//! They are in memory until the minute is over or the audit ends in order; a kill loses what the last
//! minute counted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deed::{Actor, Deed};
use super::recorder::Recorder;
use crate::error::ErrorCode;
use crate::model::{RequestId, Time};

/// The event that a sum is recorded as.
const EVENT: &str = "RefusedRequests";
/// Sources with a sum of their own in a minute. The others have one together.
const MOST_SOURCES: usize = 64;

/// The sums of the current minute.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<HashMap<Option<IpAddr>, Sum>>);

/// What one source was refused.
#[derive(Debug, Clone)]
struct Sum {
    from: Time,
    to: Time,
    codes: BTreeMap<&'static str, u64>,
}

impl Sums {
    /// Counts a refusal.
    pub(super) fn count(&self, source: IpAddr, time: Time, code: ErrorCode) {
        let mut sums = self.sums();
        let has_room = sums.len() < MOST_SOURCES || sums.contains_key(&Some(source));
        let sum = sums.entry(has_room.then_some(source));
        let sum = sum.or_insert_with(|| Sum { from: time, to: time, codes: BTreeMap::new() });
        sum.to = sum.to.max(time);
        *sum.codes.entry(code.as_str()).or_default() += 1;
    }

    fn take(&self) -> HashMap<Option<IpAddr>, Sum> {
        std::mem::take(&mut *self.sums())
    }

    /// Puts back what could not be recorded.
    fn put_back(&self, source: Option<IpAddr>, sum: Sum) {
        let mut sums = self.sums();
        let has_room = sums.len() < MOST_SOURCES || sums.contains_key(&source);
        match sums.entry(source.filter(|_source| has_room)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(sum);
            }
            std::collections::hash_map::Entry::Occupied(mut there) => {
                let there = there.get_mut();
                there.from = there.from.min(sum.from);
                there.to = there.to.max(sum.to);
                for (code, count) in sum.codes {
                    *there.codes.entry(code).or_default() += count;
                }
            }
        }
    }

    fn sums(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, Sum>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sum {
    fn deed(&self, source: Option<IpAddr>) -> Deed {
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
        Deed {
            id: RequestId::random().to_string(),
            name: EVENT.to_owned(),
            actor: Actor::Gateway,
            time: Time::now(),
            parameters,
            key: None,
        }
    }
}

impl Recorder {
    /// Records the sums counted so far. What cannot be recorded is kept for the next time.
    pub(super) async fn record_sums(&self) {
        let Some(inner) = self.inner() else { return };
        for (source, sum) in inner.sums.take() {
            if let Err(error) = self.note(&sum.deed(source)).await {
                tracing::warn!(%error, "a sum of refused requests is not on record yet");
                inner.sums.put_back(source, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_sum_by_code_and_too_many_share_one() {
        let (sums, time) = (Sums::default(), Time::from_unix(1_700_000_000));
        for number in 0..1000_u32 {
            for _refusal in 0..3 {
                sums.count(IpAddr::V4(number.into()), time, ErrorCode::MissingSignature);
            }
        }
        sums.count(IpAddr::V4(0.into()), time.plus_seconds(5), ErrorCode::Throttling);
        let taken = sums.take();
        assert_eq!(taken.len(), MOST_SOURCES + 1);
        assert_eq!(taken[&None].codes["MissingSignature"], (1000 - 64) * 3);
        let first = &taken[&Some(IpAddr::V4(0.into()))];
        assert_eq!((first.codes["MissingSignature"], first.codes["Rejected.Throttling"]), (3, 1));
        let deed = first.deed(None);
        assert!(deed.parameters.contains(&("Count".to_owned(), "4".to_owned())));
        sums.put_back(None, first.clone());
        sums.put_back(None, first.clone());
        assert_eq!(sums.take()[&None].codes["MissingSignature"], 6);
    }
}
