//! The settings of the token: module, selector, PIN, threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::session::Session;
use cryptoki::slot::TokenInfo as PaddedInfo;
use secrecy::SecretString;

use super::error::TokenError;
use super::pin::PinGuard;
use super::pin_change;

/// The settings of a token, or of several that hold the same keys.
#[derive(Debug, Clone)]
pub struct TokenGroupSettings {
    /// The first token.
    pub first: TokenSettings,
    /// The others. Each has a name and another module: a process initializes a module once.
    pub others: Vec<TokenSettings>,
    /// How long a new key may take to appear in every required token.
    pub replication: Duration,
}

impl From<TokenSettings> for TokenGroupSettings {
    fn from(only: TokenSettings) -> Self {
        Self { first: only, others: Vec::new(), replication: Duration::ZERO }
    }
}

/// The settings to open the token.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Its name in logs, metrics and the audit, if there are several.
    pub name: Option<Arc<str>>,
    /// Whether a key is only used after this token has it, and only counts as destroyed after this
    /// token has destroyed it.
    pub is_required: bool,
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The argument of C_Initialize in `pReserved`, which some modules require: NSS expects the
    /// directory of its database. `None` for all others, most of which refuse one.
    pub init_arguments: Option<String>,
    /// The token in the module.
    pub selector: TokenSelector,
    /// The user PIN.
    pub pin: SecretString,
    /// The file with the user PIN, which is read before each login: it may have been changed since the
    /// start. `None` if the PIN is not in a file that may be replaced.
    pub pin_file: Option<PathBuf>,
    /// The file of refused PINs across starts: a PIN that may be one of them is not tried. `None`
    /// remembers one only during the life of the process.
    pub pin_refusal: Option<PathBuf>,
    /// The file that says, across starts, that the token has another key than the others of its group under
    /// an id. `None` remembers it only during the life of the process.
    pub disagreement: Option<PathBuf>,
    /// Whether keys are made with `CKA_MODIFIABLE` true, which some HSMs need to encrypt their keys
    /// again when their master key changes.
    pub is_modifiable: bool,
    /// Worker threads, each with its own session. By default their number follows the time of
    /// calls. One more thread and session serve changes of objects.
    pub workers: Option<NonZeroUsize>,
    /// The maximum number of calls that wait for the threads; further ones are rejected.
    pub queue: NonZeroUsize,
    /// The maximum expected wait of a call, computed from the duration of previous calls; a call
    /// that would wait longer is rejected.
    pub max_queue_wait: Duration,
}

/// Selects a token. Never by its slot number: SoftHSM's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// By its label.
    Label(String),
    /// By its serial number.
    Serial(String),
}

/// The token information, without padding.
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

/// The default of [`TokenSettings::queue`].
const DEFAULT_QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// The default of [`TokenSettings::max_queue_wait`].
const DEFAULT_MAX_QUEUE_WAIT: Duration = Duration::from_secs(1);

impl TokenSettings {
    /// The settings of the only token, without files in the state directory: 1,024 calls may wait, for 1 s.
    pub fn new(module: PathBuf, selector: TokenSelector, pin: SecretString) -> Self {
        Self {
            name: None,
            is_required: true,
            module,
            init_arguments: None,
            selector,
            pin,
            pin_file: None,
            pin_refusal: None,
            disagreement: None,
            is_modifiable: false,
            workers: None,
            queue: DEFAULT_QUEUE,
            max_queue_wait: DEFAULT_MAX_QUEUE_WAIT,
        }
    }

    /// Logs in with the PIN, which may have been changed since the start.
    pub(super) fn log_in(&self, session: &Session, info: &PaddedInfo) -> Result<(), TokenError> {
        pin_change::log_in(&self.pin, self.pin_file.as_deref(), |pin| {
            PinGuard::new(pin, self.pin_refusal.as_deref()).log_in(session, info)
        })
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

impl From<&PaddedInfo> for TokenInfo {
    fn from(info: &PaddedInfo) -> Self {
        let firmware = info.firmware_version();
        Self {
            label: text(info.label()),
            serial: text(info.serial_number()),
            manufacturer: text(info.manufacturer_id()),
            model: text(info.model()),
            firmware: format!("{}.{}", firmware.major(), firmware.minor()),
        }
    }
}

/// A text of CK_TOKEN_INFO, which by the standard is padded with blanks. Some tokens end it with a
/// zero byte instead, and the bytes after it are not part of the text.
fn text(padded: &str) -> String {
    padded.split('\0').next().unwrap_or_default().trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_padding_or_at_a_zero_byte() {
        for padded in ["token", "token   ", "token\0", "token  \0\0\0", "token\0left over  "] {
            assert_eq!(text(padded), "token", "{padded:?}");
        }
        assert_eq!(text(" my token"), " my token");
        assert_eq!(text("\0"), "");
    }
}
