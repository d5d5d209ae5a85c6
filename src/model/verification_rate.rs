//! Which results of a series are verified before they are returned.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::text_form::InvalidId;

/// None, all, or one of every N.
///
/// ```
/// use hsmgate::model::VerificationRate;
/// assert_eq!("1/100".parse::<VerificationRate>()?.to_string(), "1/100");
/// assert_eq!("off".parse::<VerificationRate>()?, VerificationRate::Off);
/// assert!("1/0".parse::<VerificationRate>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerificationRate {
    /// None: `off`.
    #[default]
    Off,
    /// Every one: `all`.
    All,
    /// The first of every N: `1/N`.
    OneIn(NonZeroU64),
}

impl VerificationRate {
    /// Whether the result with this number, counted from 0, is verified.
    pub const fn includes(self, number: u64) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::OneIn(of) => number.is_multiple_of(of.get()),
        }
    }
}

impl fmt::Display for VerificationRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::All => f.write_str("all"),
            Self::OneIn(of) => write!(f, "1/{of}"),
        }
    }
}

impl FromStr for VerificationRate {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "off" => Ok(Self::Off),
            "all" => Ok(Self::All),
            _ => {
                let of = text.strip_prefix("1/").and_then(|of| of.parse().ok());
                of.map(Self::OneIn).ok_or(InvalidId("share"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_three_is_every_third() {
        let rate: VerificationRate = "1/3".parse().unwrap();
        let among: Vec<u64> = (0..9).filter(|number| rate.includes(*number)).collect();
        assert_eq!(among, [0, 3, 6]);
        assert!((0..9).all(|number| VerificationRate::All.includes(number)));
        assert!(!(0..9).any(|number| VerificationRate::Off.includes(number)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "on", "2/3", "1/", "1/0", "1/-1", "100", "ALL"] {
            assert!(text.parse::<VerificationRate>().is_err(), "{text}");
        }
    }
}
