//! Sources whose callers fail to prove who they are: slowed down, and nobody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most sources that are remembered. Beyond it one is forgotten for each new one.
const MOST_SOURCES: usize = 16_384;

/// How often, at most, those that owe nothing are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much a source may fail at once, in seconds' worth.
const BURST: Duration = Duration::from_secs(1);

/// Limits the failures of each source. Only failures count, so a source that makes none is never
/// held up, however many requests it sends.
#[derive(Debug)]
pub(super) struct FailureLimit {
    /// The time that one failure costs.
    cost: Duration,
    debts: Mutex<Debts>,
}

#[derive(Debug, Default)]
struct Debts {
    /// Until when each source has run up failures. One whose time has passed owes nothing.
    until: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

impl FailureLimit {
    /// So many failures a second for each source.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self { cost: Duration::from_secs(1) / per_second.get(), debts: Mutex::default() }
    }

    /// Whether a request from there is to be heard now.
    pub(super) fn hears(&self, source: IpAddr, now: Instant) -> bool {
        let debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        debts.until.get(&network(source)).is_none_or(|until| *until < now + BURST)
    }

    /// Notes a failure.
    pub(super) fn note(&self, source: IpAddr, now: Instant) {
        let source = network(source);
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if !debts.until.contains_key(&source) {
            debts.make_room(now);
        }
        let until = debts.until.entry(source).or_insert(now);
        *until = (*until).max(now) + self.cost;
    }
}

impl Debts {
    /// Forgets, when there are too many, those that owe nothing, or else just any one.
    fn make_room(&mut self, now: Instant) {
        if self.until.len() < MOST_SOURCES {
            return;
        }
        if self.swept.is_none_or(|swept| now >= swept + SWEEP_EVERY) {
            self.swept = Some(now);
            self.until.retain(|_source, until| *until > now);
        }
        let one = self.until.keys().next().copied();
        if let Some(one) = one.filter(|_one| self.until.len() >= MOST_SOURCES) {
            self.until.remove(&one);
        }
    }
}

/// One customer's network of IPv6 has a /64 at least, and could else be 2^64 sources.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_source_that_fails_is_slowed_down_and_its_neighbour_is_not() {
        let (limit, now) = (FailureLimit::new(TEN), Instant::now());
        for _failure in 0..10 {
            assert!(limit.hears(v4(1), now));
            limit.note(v4(1), now);
        }
        assert!(!limit.hears(v4(1), now));
        assert!(limit.hears(v4(2), now));
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        assert!(limit.hears(v4(1), later(1)));
        limit.note(v4(1), later(1));
        assert!(!limit.hears(v4(1), later(99)), "one failure costs a tenth of a second");
        assert!(limit.hears(v4(1), later(101)));
        assert!(limit.hears(v4(1), now + Duration::from_secs(2)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (limit, now) = (FailureLimit::new(TEN), Instant::now());
        for host in 0..10_u128 {
            limit.note(IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host)), now);
        }
        assert!(!limit.hears("2001:db8::ffff".parse().unwrap(), now));
        assert!(limit.hears("2001:db8:0:1::1".parse().unwrap(), now));
        for _failure in 0..10 {
            limit.note("::ffff:10.0.0.1".parse().unwrap(), now);
        }
        assert!(!limit.hears("10.0.0.1".parse().unwrap(), now));
    }

    #[test]
    fn no_number_of_sources_fills_the_memory() {
        let (limit, now) = (FailureLimit::new(TEN), Instant::now());
        for number in 0..40_000 {
            limit.note(v4(number), now);
        }
        assert_eq!(limit.debts.lock().unwrap().until.len(), MOST_SOURCES);
        limit.note(v4(50_000), now + Duration::from_secs(1));
        assert_eq!(
            limit.debts.lock().unwrap().until.len(),
            1,
            "those that owe nothing are forgotten"
        );
    }
}
