//! Automatic rotation: the interval between key versions.

use std::fmt;
use std::str::FromStr;

use super::Time;
use super::text_form::{InvalidId, text_forms};

const DAY: i64 = 86_400;
const MIN_SECONDS: i64 = 7 * DAY;
const MAX_SECONDS: i64 = 730 * DAY;

/// The automatic rotation of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The time between two versions.
    pub interval: RotationInterval,
}

/// The time between two rotations: 7 to 730 days (UpdateRotationPolicy). Newer API documents allow
/// at most 365 days, older ones 730; the wider range supports clients of both.
///
/// It is parsed as an integer with a unit and displayed in seconds.
///
/// ```
/// use hsmgate::model::RotationInterval;
/// assert_eq!("365d".parse::<RotationInterval>()?.to_string(), "31536000s");
/// assert!("6d".parse::<RotationInterval>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RotationInterval {
    seconds: i64,
}

impl RotationInterval {
    /// The length in seconds.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// When the rotation after the one at `last` is due.
    pub fn next_after(self, last: Time) -> Time {
        last.plus_seconds(self.seconds)
    }
}

impl TryFrom<i64> for RotationInterval {
    type Error = InvalidId;

    /// Converts a number of seconds.
    fn try_from(seconds: i64) -> Result<Self, InvalidId> {
        if (MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
            Ok(Self { seconds })
        } else {
            Err(InvalidId("rotation interval of 7 to 730 days"))
        }
    }
}

impl FromStr for RotationInterval {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("rotation interval");
        let mut chars = text.chars();
        let unit = match chars.next_back() {
            Some('d') => DAY,
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(invalid),
        };
        let number = chars.as_str();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid);
        }
        let number: i64 = number.parse().map_err(|_source| invalid)?;
        number.checked_mul(unit).ok_or(invalid)?.try_into()
    }
}

text_forms!(RotationInterval: Serialize, Deserialize, FromParam);

impl fmt::Display for RotationInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_gives_the_same_week() {
        for text in ["7d", "168h", "10080m", "604800s", "007d"] {
            assert_eq!(text.parse::<RotationInterval>().unwrap().to_string(), "604800s", "{text}");
        }
    }

    #[test]
    fn an_invalid_interval_is_refused() {
        assert!("730d".parse::<RotationInterval>().is_ok());
        for text in [
            "",
            "d",
            "7",
            "7D",
            "7 d",
            "+7d",
            "-7d",
            "7.5d",
            "1w",
            "7dd",
            "٧d",
            "604799s",
            "63072001s",
            "9223372036854775807d",
        ] {
            assert!(text.parse::<RotationInterval>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_next_rotation_is_one_interval_after_the_last() {
        let interval: RotationInterval = "7d".parse().unwrap();
        let last: Time = "2024-02-25T08:30:00Z".parse().unwrap();
        assert_eq!(interval.next_after(last).to_string(), "2024-03-03T08:30:00Z");
    }
}
