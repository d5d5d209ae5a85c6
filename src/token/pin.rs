//! When the PIN is tried, and when not: a few refused ones lock a token for good.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use secrecy::SecretString;

use super::error::{ErrorClass, TokenError};
use crate::model::Time;

/// Stands between the gateway and C_Login.
pub(super) struct PinGuard<'a> {
    /// Of the file that this process has read its PIN from: another file, or one that was written
    /// since, is another PIN.
    identity: Option<&'a str>,
    /// Remembers a refused PIN, so that a service that is started over and over tries it once.
    refusal: Option<&'a Path>,
}

/// How the line of the refused file begins in the marker.
const REFUSED_FILE: &str = "pin-file ";

impl<'a> PinGuard<'a> {
    pub(super) const fn new(identity: Option<&'a str>, refusal: Option<&'a Path>) -> Self {
        Self { identity, refusal }
    }

    /// Logs in, unless that may do harm. Login is per process and token, so that somebody else may
    /// have done it.
    pub(super) fn log_in(
        &self,
        session: &Session,
        info: &TokenInfo,
        pin: &SecretString,
    ) -> Result<(), TokenError> {
        self.check(info.user_pin_locked(), info.user_pin_final_try())?;
        match session.login(UserType::User, Some(pin)) {
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
        let held = |why: &str| Err(TokenError::PinHeld(why.to_owned()));
        if is_locked {
            return held("the token says that it is locked");
        }
        if is_final_try {
            return held(
                "the token says that the next wrong one locks it; log in once with another tool",
            );
        }
        let Some(refusal) = self.refusal.filter(|file| file.exists()) else { return Ok(()) };
        if self.is_another_pin(refusal) {
            tracing::info!(
                event = "token.pin_replaced",
                "the PIN that was refused is tried again: its file was written since"
            );
            return Ok(());
        }
        Err(TokenError::PinHeld(format!(
            "the token refused it before; write the right PIN into its file and start again, or \
             delete {} if the PIN in it is right",
            refusal.display()
        )))
    }

    /// Whether the PIN comes from another file than the one that was refused, or from a later state
    /// of it. Of a marker that names none that cannot be said.
    fn is_another_pin(&self, refusal: &Path) -> bool {
        let Some(now) = self.identity else { return false };
        let Ok(text) = fs::read_to_string(refusal) else { return false };
        text.lines()
            .find_map(|line| line.strip_prefix(REFUSED_FILE))
            .is_some_and(|then| then != now)
    }

    /// The PIN is right: what was refused before was another one.
    fn forget(&self) {
        let Some(file) = self.refusal else { return };
        match fs::remove_file(file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let file = file.display();
                tracing::warn!(%file, %source, "the mark of a refused PIN cannot be removed");
            }
            _ => {}
        }
    }

    fn remember(&self, error: &TokenError) {
        let Some(file) = self.refusal else { return };
        if let Err(source) = write(file, error, self.identity) {
            let file = file.display();
            tracing::error!(%file, %source, "a refused PIN can not be remembered: start nothing");
        }
    }
}

fn write(file: &Path, error: &TokenError, identity: Option<&str>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(file)?;
    let mut text = format!("{} {error}\n", Time::now());
    if let Some(identity) = identity {
        text.extend([REFUSED_FILE, identity, "\n"]);
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_about_to_lock_is_not_tried() {
        let guard = PinGuard::new(None, None);
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
        let guard = PinGuard::new(None, Some(&file));
        assert!(guard.check(false, false).is_ok());
        guard.remember(&TokenError::Deadline);
        let error = guard.check(false, false).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        fs::remove_file(&file).unwrap();
        assert!(guard.check(false, false).is_ok());
    }

    #[test]
    fn a_refused_pin_is_tried_again_from_another_state_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin-refused");
        let first = PinGuard::new(Some("1:2 4 100.5"), Some(&file));
        first.remember(&TokenError::Deadline);
        assert!(first.check(false, false).is_err());
        assert!(PinGuard::new(None, Some(&file)).check(false, false).is_err());
        let guard = PinGuard::new(Some("1:2 4 101.5"), Some(&file));
        assert!(guard.check(false, false).is_ok());
        // Who runs since before has the old PIN, and leaves it alone.
        assert!(first.check(false, false).is_err());
        // What is refused again is remembered again.
        guard.remember(&TokenError::Deadline);
        assert!(guard.check(false, false).is_err());
        guard.forget();
        assert!(!file.exists());
    }
}
