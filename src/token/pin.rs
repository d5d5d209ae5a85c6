//! When the PIN is tried, and when not: a few refused ones lock a token for good.

use std::fs::OpenOptions;
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
    /// Remembers a refused PIN, so that a service that is started over and over tries it once.
    refusal: Option<&'a Path>,
}

impl<'a> PinGuard<'a> {
    pub(super) const fn new(refusal: Option<&'a Path>) -> Self {
        Self { refusal }
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
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
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
        Err(TokenError::PinHeld(format!(
            "the token refused it before; once the PIN is right, delete {} and start again",
            refusal.display()
        )))
    }

    fn remember(&self, error: &TokenError) {
        let Some(file) = self.refusal else { return };
        if let Err(source) = write(file, error) {
            let file = file.display();
            tracing::error!(%file, %source, "a refused PIN can not be remembered: start nothing");
        }
    }
}

fn write(file: &Path, error: &TokenError) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(file)?;
    writeln!(file, "{} {error}", Time::now())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_about_to_lock_is_not_tried() {
        let guard = PinGuard::new(None);
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
        let guard = PinGuard::new(Some(&file));
        assert!(guard.check(false, false).is_ok());
        guard.remember(&TokenError::Deadline);
        let error = guard.check(false, false).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(guard.check(false, false).is_ok());
    }
}
