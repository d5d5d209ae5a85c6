//! Guards the login: a few refused PINs lock a token permanently.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::error::{ErrorClass, TokenError};
use super::state_file;
use crate::model::{clock, random};

/// Checks the PIN before C_Login.
pub(super) struct PinGuard<'a> {
    pin: &'a SecretString,
    /// The file of refused PINs, so that a service that is restarted repeatedly tries a PIN only
    /// once.
    refusal: Option<&'a Path>,
}

/// The start of a line with a refused PIN.
const REFUSED: &str = "refused ";
/// The maximum number of refused PINs in the file. Every token locks before that.
const MAX_REFUSED: usize = 64;

/// Distinguishes a PIN from nearly all others: a random salt, and the first 12 bits of SHA-256 over
/// salt and PIN. The same PIN is always recognized, another one is mistaken for it once in 4096
/// times, and a reader of the file learns at most 12 bits of a PIN that is not the token's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PinFingerprint {
    salt: Uuid,
    bits: String,
}

impl PinFingerprint {
    fn of(pin: &SecretString) -> Self {
        Self::salted(random::uuid(), pin)
    }

    fn salted(salt: Uuid, pin: &SecretString) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(salt.as_bytes());
        context.update(pin.expose_secret().as_bytes());
        let bits = context
            .finish()
            .as_ref()
            .iter()
            .take(2)
            .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        Self { salt, bits: format!("{:03x}", bits >> 4) }
    }

    /// Parses a line of the file; `None` if it is not a refused PIN.
    fn parse(line: &str) -> Option<Self> {
        let (salt, bits) = line.strip_prefix(REFUSED)?.split_once(' ')?;
        Some(Self { salt: salt.parse().ok()?, bits: bits.to_owned() })
    }

    fn may_be_of(&self, pin: &SecretString) -> bool {
        Self::salted(self.salt, pin) == *self
    }
}

impl std::fmt::Display for PinFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{REFUSED}{} {}", self.salt, self.bits)
    }
}

impl<'a> PinGuard<'a> {
    pub(super) const fn new(pin: &'a SecretString, refusal: Option<&'a Path>) -> Self {
        Self { pin, refusal }
    }

    /// Logs in, unless the PIN was refused or the token may lock. The login is per process and
    /// token, so that another thread may have logged in already.
    pub(super) fn log_in(&self, session: &Session, info: &TokenInfo) -> Result<(), TokenError> {
        self.check(info.user_pin_locked(), info.user_pin_final_try())?;
        match session.login(UserType::User, Some(self.pin)) {
            Ok(()) => {
                self.forget();
                Ok(())
            }
            Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let error = TokenError::from(error);
                if error.class() == ErrorClass::Pin {
                    self.remember(&error);
                }
                Err(error)
            }
        }
    }

    fn check(&self, is_locked: bool, is_final_try: bool) -> Result<(), TokenError> {
        let held = |why: &str| Err(TokenError::PinNotTried(why.to_owned()));
        if is_locked {
            return held("the token reports that the PIN is locked");
        }
        if is_final_try {
            return held(
                "the token reports that the next wrong PIN locks it; log in once with another tool",
            );
        }
        let Some(refusal) = self.refusal.filter(|file| file.exists()) else { return Ok(()) };
        if self.is_another_pin(refusal) {
            tracing::info!(
                event = "token.pin_replaced",
                "trying the PIN: it differs from the refused ones"
            );
            return Ok(());
        }
        Err(refused_before(refusal))
    }

    /// Whether the PIN is not one of the refused ones. False for a file without fingerprints.
    fn is_another_pin(&self, refusal: &Path) -> bool {
        let refused = refused(refusal);
        !refused.is_empty() && !refused.iter().any(|fingerprint| fingerprint.may_be_of(self.pin))
    }

    /// The PIN is right: removes the refused ones.
    fn forget(&self) {
        let Some(file) = self.refusal else { return };
        match fs::remove_file(file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let file = file.display();
                tracing::warn!(
                    event = "token.pin_file_not_removed",
                    %file,
                    %source,
                    "could not remove the file of refused PINs"
                );
            }
            _ => {}
        }
    }

    fn remember(&self, error: &TokenError) {
        let Some(file) = self.refusal else { return };
        if let Err(source) = write(file, error, self.pin) {
            let file = file.display();
            tracing::error!(
                event = "token.pin_file_not_written",
                %file,
                %source,
                "could not record a refused PIN; do not restart before this is fixed"
            );
        }
    }
}

fn refused_before(refusal: &Path) -> TokenError {
    TokenError::PinNotTried(format!(
        "the token refused it before; write the right PIN into its file and start again, or \
         delete {} if the PIN in it is right",
        refusal.display()
    ))
}

/// The refused PINs in a file.
fn refused(file: &Path) -> Vec<PinFingerprint> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(PinFingerprint::parse).collect()
}

/// Adds a refused PIN to the file.
fn write(file: &Path, error: &TokenError, pin: &SecretString) -> io::Result<()> {
    let mut refused = refused(file);
    refused.push(PinFingerprint::of(pin));
    let mut text = format!("{} {error}\n", clock::now());
    for fingerprint in refused.iter().rev().take(MAX_REFUSED).rev() {
        text.extend([fingerprint.to_string().as_str(), "\n"]);
    }
    let mut file = state_file::create(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_token_that_is_about_to_lock_is_not_tried() {
        let pin = pin("1234");
        let guard = PinGuard::new(&pin, None);
        assert!(guard.check(false, false).is_ok());
        for (is_locked, is_final_try) in [(true, false), (false, true)] {
            let error = guard.check(is_locked, is_final_try).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Pin, "{error}");
        }
    }

    #[test]
    fn a_refused_pin_is_remembered_until_its_file_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin-refused");
        let pin = pin("1234");
        let guard = PinGuard::new(&pin, Some(&file));
        assert!(guard.check(false, false).is_ok());
        guard.remember(&TokenError::Deadline);
        let error = guard.check(false, false).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        let kept = fs::read_to_string(&file).unwrap();
        assert!(!kept.contains("1234 ") && !kept.ends_with("1234\n"), "{kept}");
        fs::remove_file(&file).unwrap();
        assert!(guard.check(false, false).is_ok());
    }

    #[test]
    fn only_a_pin_that_was_not_refused_is_tried() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin-refused");
        // Of three other ones, one in 1366 is mistaken for the first or the second.
        let chosen = loop {
            let (wrong, other, right) = (pin("0000"), pin("1111"), pin("2222"));
            PinGuard::new(&wrong, Some(&file)).remember(&TokenError::Deadline);
            let is_told_apart = refused(&file).iter().all(|fingerprint| {
                !fingerprint.may_be_of(&other) && !fingerprint.may_be_of(&right)
            });
            if is_told_apart {
                break (wrong, other, right);
            }
            fs::remove_file(&file).unwrap();
        };
        let (wrong, other, right) = &chosen;
        let is_tried = |pin| PinGuard::new(pin, Some(&file)).check(false, false).is_ok();
        assert!(!is_tried(wrong) && is_tried(other) && is_tried(right));
        // A PIN that is refused later does not remove earlier ones.
        PinGuard::new(other, Some(&file)).remember(&TokenError::Deadline);
        assert!(!is_tried(wrong) && !is_tried(other));
        assert_eq!(refused(&file).len(), 2);
        PinGuard::new(right, Some(&file)).forget();
        assert!(!file.exists());
    }

    #[test]
    fn a_fingerprint_has_twelve_bits_and_a_salt() {
        let fingerprints: Vec<_> = (0..64).map(|_| PinFingerprint::of(&pin("1234"))).collect();
        assert!(
            fingerprints
                .iter()
                .all(|fingerprint| fingerprint.bits.len() == 3
                    && fingerprint.may_be_of(&pin("1234")))
        );
        assert!(fingerprints.iter().any(|fingerprint| fingerprint.bits != fingerprints[0].bits));
        let others =
            (0..4096).filter(|number| fingerprints[0].may_be_of(&pin(&format!("{number:06}"))));
        assert!(others.count() < 64);
        let read = PinFingerprint::parse(&fingerprints[0].to_string());
        assert_eq!(read.as_ref(), Some(&fingerprints[0]));
    }

    #[test]
    fn a_file_without_fingerprints_prevents_every_login() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin-refused");
        fs::write(&file, "2026-01-01T00:00:00Z CKR_PIN_INCORRECT\npin-file size 4\n").unwrap();
        assert!(PinGuard::new(&pin("1234"), Some(&file)).check(false, false).is_err());
    }
}
