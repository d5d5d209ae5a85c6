//! The initialization vector of AES-GCM.

use super::text_form::InvalidId;

/// Length of the usual initialization vector in bytes: 96 bits (NIST SP 800-38D, section 5.2.1.1).
pub const IV_BYTES: usize = 12;
/// Length of the longer one, which some tokens make, in bytes.
pub const LONG_IV_BYTES: usize = 16;

/// An initialization vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Iv {
    /// 96 bits.
    Bits96([u8; IV_BYTES]),
    /// 128 bits, made by a token that makes no shorter one.
    Bits128([u8; LONG_IV_BYTES]),
}

/// The length of an initialization vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IvLength {
    /// 96 bits.
    #[default]
    Bits96,
    /// 128 bits.
    Bits128,
}

impl Iv {
    /// Its bytes.
    pub const fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bits96(bytes) => bytes,
            Self::Bits128(bytes) => bytes,
        }
    }

    /// Its bytes, for a function that may change them.
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Bits96(bytes) => bytes,
            Self::Bits128(bytes) => bytes,
        }
    }

    /// Its length.
    pub const fn length(&self) -> IvLength {
        match self {
            Self::Bits96(_) => IvLength::Bits96,
            Self::Bits128(_) => IvLength::Bits128,
        }
    }

    /// Splits bytes after an IV of this length; `None` if they are shorter.
    pub fn split_from(bytes: &[u8], length: IvLength) -> Option<(Self, &[u8])> {
        match length {
            IvLength::Bits96 => {
                bytes.split_first_chunk().map(|(iv, rest)| (Self::Bits96(*iv), rest))
            }
            IvLength::Bits128 => {
                bytes.split_first_chunk().map(|(iv, rest)| (Self::Bits128(*iv), rest))
            }
        }
    }
}

impl IvLength {
    /// Both lengths.
    pub const ALL: [Self; 2] = [Self::Bits96, Self::Bits128];

    /// The length with this number of bytes.
    pub fn of_bytes(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|length| length.bytes() == bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bits96 => IV_BYTES,
            Self::Bits128 => LONG_IV_BYTES,
        }
    }
}

impl From<[u8; IV_BYTES]> for Iv {
    fn from(bytes: [u8; IV_BYTES]) -> Self {
        Self::Bits96(bytes)
    }
}

impl TryFrom<&[u8]> for Iv {
    type Error = InvalidId;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
        let iv = IvLength::of_bytes(bytes.len());
        let iv = iv.and_then(|length| Self::split_from(bytes, length));
        iv.map(|(iv, _rest)| iv).ok_or(InvalidId("initialization vector"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_lengths_are_an_iv() {
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).collect();
            match Iv::try_from(bytes.as_slice()) {
                Ok(iv) => assert_eq!(iv.as_slice(), bytes),
                Err(_invalid) => assert!(length != 12 && length != 16, "{length}"),
            }
        }
    }
}
