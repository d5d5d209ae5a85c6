//! Throttles source addresses after failed authentications.
//!
//! A source may be a proxy, or a network behind one address. So a credential that was authenticated
//! from the source recently is still accepted while the source is throttled, and has a separate
//! limit for its failures: an attacker who knows a valid credential id gets no more attempts with
//! it than without.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::rate_limit::LeakyBuckets;
use crate::authn::RecentCache;
use crate::model::{AccessKeyId, source_of};

/// How long an authenticated credential is exempt from the throttle of its source.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// The maximum number of remembered pairs of source and credential: 128 KiB.
const REMEMBERED_CREDENTIALS: usize = 16_384;

/// Limits the failed authentications of each source. Successful requests do not count and are never
/// throttled.
#[derive(Debug)]
pub(super) struct FailedAuthLimiter {
    per_second: NonZeroU32,
    sources: LeakyBuckets<IpAddr>,
    /// The failures of known credentials, by the value stored in `credentials_seen`.
    credentials: LeakyBuckets<(IpAddr, u16)>,
    credentials_seen: RecentCache,
}

/// The counter that a failed request is charged to.
enum Subject {
    Source(IpAddr),
    Credential(IpAddr, u16),
}

impl FailedAuthLimiter {
    /// Creates a limiter with this number of failures a second for each source.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            per_second,
            sources: LeakyBuckets::new(per_second.get()),
            credentials: LeakyBuckets::new(per_second.get()),
            credentials_seen: RecentCache::new(REMEMBERED_CREDENTIALS),
        }
    }

    /// The permitted failures a second.
    pub(super) fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// Whether a request from this source is admitted now. `claimed` is the credential that it
    /// names, not authenticated.
    pub(super) fn allows(
        &self,
        source: IpAddr,
        claimed: Option<&AccessKeyId>,
        now: Instant,
    ) -> bool {
        match self.subject(source, claimed, now) {
            Subject::Source(source) => self.sources.allows(source, now),
            Subject::Credential(source, credential) => {
                self.credentials.allows((source, credential), now)
            }
        }
    }

    /// Records a failure.
    pub(super) fn note(&self, source: IpAddr, claimed: Option<&AccessKeyId>, now: Instant) {
        match self.subject(source, claimed, now) {
            Subject::Source(source) => self.sources.note(source, now),
            Subject::Credential(source, credential) => {
                self.credentials.note((source, credential), now);
            }
        }
    }

    /// Records that a credential was authenticated from this source.
    pub(super) fn note_authenticated(&self, source: IpAddr, id: &AccessKeyId, now: Instant) {
        let number = self.credentials_seen.key_bits(id);
        self.credentials_seen.note(&(source_of(source), id.as_str()), number, now);
    }

    fn subject(&self, source: IpAddr, claimed: Option<&AccessKeyId>, now: Instant) -> Subject {
        let source = source_of(source);
        let known = claimed
            .and_then(|id| self.credentials_seen.find(&(source, id.as_str()), now, REMEMBERED_FOR));
        known.map_or(Subject::Source(source), |number| Subject::Credential(source, number))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::rate_limit::MAX_ENTRIES;
    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn id(text: &str) -> AccessKeyId {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_with_failures_is_throttled_and_its_neighbor_is_not() {
        let (limit, now) = (FailedAuthLimiter::new(TEN), Instant::now());
        for _failure in 0..10 {
            assert!(limit.allows(v4(1), None, now));
            limit.note(v4(1), None, now);
        }
        assert!(!limit.allows(v4(1), None, now));
        assert!(limit.allows(v4(2), None, now));
        let later = |milliseconds| now + Duration::from_millis(milliseconds);
        assert!(limit.allows(v4(1), None, later(1)));
        limit.note(v4(1), None, later(1));
        assert!(!limit.allows(v4(1), None, later(99)), "one failure costs a tenth of a second");
        assert!(limit.allows(v4(1), None, later(101)));
        assert!(limit.allows(v4(1), None, now + Duration::from_secs(2)));
    }

    #[test]
    fn an_authenticated_credential_is_admitted_while_its_source_is_throttled() {
        let (limit, now) = (FailedAuthLimiter::new(TEN), Instant::now());
        limit.note_authenticated(v4(1), &id("good"), now);
        for _failure in 0..30 {
            limit.note(v4(1), Some(&id("bad")), now);
        }
        assert!(!limit.allows(v4(1), Some(&id("bad")), now));
        assert!(limit.allows(v4(1), Some(&id("good")), now));
        let hour = now + REMEMBERED_FOR + Duration::from_secs(2);
        for _failure in 0..30 {
            limit.note(v4(1), None, hour);
        }
        assert!(
            !limit.allows(v4(1), Some(&id("good")), hour),
            "it was authenticated more than an hour ago"
        );
        for _failure in 0..30 {
            limit.note(v4(2), None, now);
        }
        assert!(
            !limit.allows(v4(2), Some(&id("good")), now),
            "it was authenticated from another source"
        );
    }

    #[test]
    fn failures_with_a_known_credential_throttle_only_that_credential() {
        let (limit, now) = (FailedAuthLimiter::new(TEN), Instant::now());
        limit.note_authenticated(v4(1), &id("good"), now);
        limit.note_authenticated(v4(1), &id("other"), now);
        for _failure in 0..10 {
            assert!(limit.allows(v4(1), Some(&id("good")), now));
            limit.note(v4(1), Some(&id("good")), now);
        }
        assert!(!limit.allows(v4(1), Some(&id("good")), now));
        assert!(limit.allows(v4(1), Some(&id("other")), now));
        assert!(limit.allows(v4(1), None, now));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (limit, now) = (FailedAuthLimiter::new(TEN), Instant::now());
        for host in 0..10_u128 {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host));
            limit.note(address, None, now);
        }
        assert!(!limit.allows("2001:db8::ffff".parse().unwrap(), None, now));
        assert!(limit.allows("2001:db8:0:1::1".parse().unwrap(), None, now));
        for _failure in 0..10 {
            limit.note("::ffff:10.0.0.1".parse().unwrap(), None, now);
        }
        assert!(!limit.allows("10.0.0.1".parse().unwrap(), None, now));
    }

    #[test]
    fn no_number_of_sources_fills_the_memory() {
        let (limit, now) = (FailedAuthLimiter::new(TEN), Instant::now());
        for number in 0..40_000 {
            limit.note(v4(number), None, now);
        }
        assert_eq!(limit.sources.count(), MAX_ENTRIES);
        limit.note(v4(50_000), None, now + Duration::from_secs(1));
        assert_eq!(limit.sources.count(), 1, "entries without a penalty are removed");
    }
}
