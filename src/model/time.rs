//! Points in time in the API's format.

use std::fmt;
use std::str::FromStr;

use super::text_form::{FromParam, InvalidId, text_forms};

const SECONDS_PER_HOUR: i64 = 3600;
const TEXT_BYTES: usize = "YYYY-MM-DDTHH:MM:SSZ".len();

/// A point in time in whole seconds, UTC, formatted as `YYYY-MM-DDTHH:MM:SSZ`.
///
/// ```
/// use hsmgate::model::Time;
/// let time: Time = "2024-03-01T08:30:00Z".parse()?;
/// assert_eq!(time.to_string(), "2024-03-01T08:30:00Z");
/// assert!("2024-03-01 08:30:00".parse::<Time>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// The time so many seconds after 1970-01-01T00:00:00Z, clamped to years with four digits.
    pub fn from_unix(seconds: i64) -> Self {
        const YEAR_0: i64 = -62_167_219_200;
        const YEAR_9999: i64 = 253_402_207_200;
        let seconds = seconds.clamp(YEAR_0, YEAR_9999);
        Self(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Parses HTTP's `date` header, `Mon, 27 Sep 2021 11:47:26 GMT` (RFC 9110, section 5.6.7).
    ///
    /// # Errors
    /// When the text is malformed or not a valid time.
    pub fn from_http_date(text: &str) -> Result<Self, InvalidId> {
        let parsed = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text)
            .and_then(|parsed| parsed.to_datetime())
            .and_then(|civil| jiff::tz::Offset::UTC.to_timestamp(civil));
        parsed.map(Self).map_err(|_source| InvalidId("HTTP date"))
    }

    /// Parses RFC 3339, for instance `2024-03-01T16:30:00+08:00`, also with offset `Z`. Fractions
    /// of seconds are dropped.
    ///
    /// # Errors
    /// When the text is malformed or not a valid time.
    pub fn with_offset(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("time");
        let (seconds, rest) = text.split_at_checked(19).ok_or(invalid)?;
        let offset = match rest.strip_prefix('.') {
            Some(rest) => {
                let offset = rest.trim_start_matches(|char: char| char.is_ascii_digit());
                let digits = rest.len() - offset.len();
                if !(1..=9).contains(&digits) {
                    return Err(invalid);
                }
                offset
            }
            None => rest,
        };
        if offset == "Z" {
            return format!("{seconds}Z").parse();
        }
        let is_offset = match offset.as_bytes() {
            [b'+' | b'-', hours @ .., b':', tens, ones] => {
                hours.len() == 2 && hours.iter().chain([tens, ones]).all(u8::is_ascii_digit)
            }
            _ => false,
        };
        // The part without the offset is validated by the parser of the API's format.
        if !is_offset || format!("{seconds}Z").parse::<Self>().is_err() {
            return Err(invalid);
        }
        let timestamp: jiff::Timestamp =
            format!("{seconds}{offset}").parse().map_err(|_source: jiff::Error| invalid)?;
        Ok(Self::from_unix(timestamp.as_second()))
    }

    /// The text, 20 ASCII bytes.
    pub fn to_ascii(self) -> [u8; TEXT_BYTES] {
        let civil = jiff::tz::Offset::UTC.to_datetime(self.0);
        let mut text = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, number: i16| {
            let digits = number.unsigned_abs().rem_euclid(100);
            for (place, digit) in text.iter_mut().skip(at).zip([digits / 10, digits % 10]) {
                *place = b'0' + u8::try_from(digit).unwrap_or_default();
            }
        };
        put(0, civil.year() / 100);
        put(2, civil.year());
        for (at, number) in [
            (5, civil.month()),
            (8, civil.day()),
            (11, civil.hour()),
            (14, civil.minute()),
            (17, civil.second()),
        ] {
            put(at, number.into());
        }
        text
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0.as_second()
    }

    /// The start of its hour, for the last use of a credential.
    #[must_use]
    pub fn hour(self) -> Self {
        Self::from_unix(self.unix().div_euclid(SECONDS_PER_HOUR) * SECONDS_PER_HOUR)
    }

    /// This time plus so many seconds, which may be negative.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_unix(self.unix().saturating_add(seconds))
    }
}

impl FromStr for Time {
    type Err = InvalidId;

    /// Accepts exactly the API's format: 20 bytes, no fraction, no offset but `Z`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("time");
        let shape = |(at, byte): (usize, u8)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        };
        if text.len() != 20 || !text.bytes().enumerate().all(shape) {
            return Err(invalid);
        }
        text.parse().map(Self).map_err(|_source: jiff::Error| invalid)
    }
}

text_forms!(Time: Serialize, Deserialize);

/// Times are accepted with any UTC offset and returned in UTC.
impl FromParam for Time {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        Self::with_offset(text)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock;

    #[test]
    fn other_formats_of_a_time_are_refused() {
        for text in
            ["", "2024-03-01T08:30:00+00:00", "2024-13-01T08:30:00Z", "2024-03-01T08:30:00.5Z"]
        {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_with_an_offset_is_converted_to_utc() {
        for text in [
            "2024-03-01T08:30:00Z",
            "2024-03-01T16:30:00+08:00",
            "2024-03-01T03:00:00-05:30",
            "2024-03-01T08:30:00+00:00",
            "2024-03-01T08:30:00-00:00",
            "2024-03-01T08:30:00.5Z",
            "2024-03-01T16:30:00.999999999+08:00",
        ] {
            let time = Time::with_offset(text).unwrap();
            assert_eq!(time.to_string(), "2024-03-01T08:30:00Z", "{text}");
        }
        for text in [
            "",
            "2024-03-01",
            "2024-03-01T08:30:00",
            "2024-03-01 08:30:00+08:00",
            "2024-03-01t08:30:00z",
            "2024-03-01T08:30:00+0800",
            "2024-03-01T08:30:00+08",
            "2024-03-01T08:30:00 08:00",
            "2024-03-01T08:30:00.+08:00",
            "2024-03-01T08:30:00.1234567890Z",
            "2024-03-01T08:30:00+99:00",
            "2024-03-01T08:30:00+08:60",
            "2024-02-30T08:30:00+08:00",
            "2024-03-01T25:30:00+08:00",
            "2024-03-01T08:30:00+08:00[Asia/Shanghai]",
            "2024-03-01T08:30:00+\u{661}8:00",
        ] {
            assert!(Time::with_offset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_http_date_is_read_only_in_its_standard_form() {
        let time = Time::from_http_date("Mon, 27 Sep 2021 11:47:26 GMT").unwrap();
        assert_eq!(time.to_string(), "2021-09-27T11:47:26Z");
        for text in [
            "",
            "27 Sep 2021 11:47:26 GMT",
            "Tue, 27 Sep 2021 11:47:26 GMT",
            "Mon, 27 Sep 2021 11:47:26 UTC",
            "Mon, 27 Sep 2021 11:47:26 +0100",
            "2021-09-27T11:47:26Z",
        ] {
            assert!(Time::from_http_date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_written_as_its_library_writes_it() {
        for seconds in [0, 1, -1, 951_782_400, 1_709_281_800, 4_107_542_399, -62_167_219_200] {
            let time = Time::from_unix(seconds);
            assert_eq!(time.to_string(), time.0.to_string());
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for day in 0..200_000 {
            let time = Time::from_unix(day * 86_399);
            assert_eq!(time.to_string(), time.0.to_string());
        }
    }

    #[test]
    fn a_time_out_of_range_is_clamped() {
        assert!(clock::now().plus_seconds(i64::MAX).to_string().starts_with("9999-"));
    }
}
