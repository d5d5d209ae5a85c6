//! Which module, which token, how many threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::pin::PinGuard;

/// How to open the token.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token in it.
    pub selector: TokenSelector,
    /// The user's PIN.
    pub pin: SecretString,
    /// The file that remembers refused PINs from start to start: a PIN that may be one of them is
    /// not tried. None remembers one only as long as the process lives.
    pub pin_refusal: Option<PathBuf>,
    /// Worker threads, each with a session of its own. Without a number: 1 for SoftHSM, else 4.
    /// One thread and session more serve changes of objects.
    pub workers: Option<NonZeroUsize>,
    /// Calls that may wait before the threads; the next one is turned away.
    pub queue: NonZeroUsize,
    /// How long a call may have to wait there, reckoned from the time of the calls before; one that
    /// would wait longer is turned away.
    pub max_queue_wait: Duration,
}

/// How a token is found. Never by its slot number: SoftHSM's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// By its label.
    Label(String),
    /// By its serial number.
    Serial(String),
}

/// What the token says of itself, padding removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its firmware version, `major.minor`.
    pub firmware: String,
}

impl TokenSettings {
    pub(super) fn pin_guard(&self) -> PinGuard<'_> {
        PinGuard::new(&self.pin, self.pin_refusal.as_deref())
    }
}

impl TokenSelector {
    pub(super) fn matches(&self, info: &TokenInfo) -> bool {
        match self {
            Self::Label(label) => info.label == *label,
            Self::Serial(serial) => info.serial == *serial,
        }
    }
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label {label:?}"),
            Self::Serial(serial) => write!(f, "serial number {serial:?}"),
        }
    }
}

impl From<&cryptoki::slot::TokenInfo> for TokenInfo {
    fn from(info: &cryptoki::slot::TokenInfo) -> Self {
        let firmware = info.firmware_version();
        Self {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            firmware: format!("{}.{}", firmware.major(), firmware.minor()),
        }
    }
}
