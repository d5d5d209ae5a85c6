//! Thresholds that ends, ages and quotas cross, each reported once.

use std::collections::HashMap;

use crate::model::Time;

pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// The days before an end at which it is reported, as the public service does.
const DAYS_BEFORE_END: [i64; 4] = [180, 90, 30, 7];

/// Something that has ended is reported for so long.
const DAYS_AFTER_END: i64 = 30;

/// The thresholds of [`expiry_threshold`] as the label of a metric: days before the end, 0 after it.
pub(super) const EXPIRY_THRESHOLDS: [&str; 5] = ["180", "90", "30", "7", "0"];

/// The shares of a quota that are reported.
const QUOTA_SHARES: [f64; 2] = [0.7, 0.9];

/// The last threshold that an end has crossed, as an index into [`EXPIRY_THRESHOLDS`].
///
/// A threshold of more than half of the validity does not count: what is renewed every month would always be
/// about to end.
pub(super) fn expiry_threshold(from: Time, end: Time, now: Time) -> Option<usize> {
    let left = end.unix().saturating_sub(now.unix());
    if left <= 0 {
        let is_recent = left > -DAYS_AFTER_END * SECONDS_PER_DAY;
        return is_recent.then_some(DAYS_BEFORE_END.len());
    }
    let validity = end.unix().saturating_sub(from.unix());
    DAYS_BEFORE_END.iter().rposition(|days| {
        let before = days * SECONDS_PER_DAY;
        left <= before && validity >= 2 * before
    })
}

/// The last threshold that the used share of a quota has crossed.
pub(super) fn quota_threshold(share: f64) -> Option<usize> {
    QUOTA_SHARES.iter().rposition(|threshold| share >= *threshold)
}

/// The thresholds that subjects of one kind have crossed.
#[derive(Debug, Default)]
pub(super) struct Crossings(HashMap<String, usize>);

impl Crossings {
    /// Replaces what is known. Returns the subjects that have crossed a further threshold since, in the order
    /// of their names.
    pub(super) fn update(&mut self, crossed: HashMap<String, usize>) -> Vec<String> {
        let is_further = |(subject, threshold): &(&String, &usize)| {
            self.0.get(*subject).is_none_or(|before| before < *threshold)
        };
        let mut further: Vec<_> = crossed
            .iter()
            .filter(is_further)
            .map(|(subject, _threshold)| subject.clone())
            .collect();
        further.sort();
        self.0 = crossed;
        further
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = SECONDS_PER_DAY;

    fn threshold(validity: i64, left: i64) -> Option<&'static str> {
        let now = Time::from_unix(1_700_000_000);
        let end = now.plus_seconds(left);
        let threshold = expiry_threshold(end.plus_seconds(-validity), end, now);
        threshold.map(|threshold| EXPIRY_THRESHOLDS[threshold])
    }

    #[test]
    fn an_end_crosses_180_90_30_and_7_days_and_itself() {
        for (left, crossed) in [
            (180 * DAY + 1, None),
            (180 * DAY, Some("180")),
            (90 * DAY + 1, Some("180")),
            (90 * DAY, Some("90")),
            (30 * DAY, Some("30")),
            (7 * DAY + 1, Some("30")),
            (7 * DAY, Some("7")),
            (1, Some("7")),
            (0, Some("0")),
            (-30 * DAY + 1, Some("0")),
            (-30 * DAY, None),
        ] {
            assert_eq!(threshold(5 * 365 * DAY, left), crossed, "{left}");
        }
    }

    #[test]
    fn a_threshold_of_more_than_half_of_the_validity_does_not_count() {
        for (validity, left, crossed) in [
            (360 * DAY, 180 * DAY, Some("180")),
            (360 * DAY - 1, 180 * DAY - 1, None),
            (60 * DAY, 30 * DAY, Some("30")),
            (30 * DAY, 30 * DAY, None),
            (30 * DAY, 7 * DAY, Some("7")),
            (DAY, 1, None),
            (DAY, 0, Some("0")),
        ] {
            assert_eq!(threshold(validity, left), crossed, "{validity} {left}");
        }
    }

    #[test]
    fn a_quota_crosses_70_and_90_percent() {
        for (share, crossed) in [(0.69, None), (0.7, Some(0)), (0.89, Some(0)), (0.9, Some(1))] {
            assert_eq!(quota_threshold(share), crossed, "{share}");
        }
    }

    #[test]
    fn each_crossing_is_reported_once_and_again_after_it_has_ended() {
        let mut crossings = Crossings::default();
        let mut update = |crossed: &[(&str, usize)]| {
            crossings.update(crossed.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect())
        };
        assert_eq!(update(&[("b", 0), ("a", 1)]), ["a", "b"]);
        assert_eq!(update(&[("b", 0), ("a", 1)]), [""; 0]);
        assert_eq!(update(&[("b", 1), ("a", 0)]), ["b"]);
        assert_eq!(update(&[("a", 0)]), [""; 0]);
        assert_eq!(update(&[("b", 0)]), ["b"]);
    }
}
