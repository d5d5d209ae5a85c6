//! AES-GCM and random bytes.

use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::object::ObjectHandle;
use zeroize::Zeroizing;

use super::cache::{Control, Handles};
use super::error::TokenError;
use super::gcm;
use super::name::KeyIdentity;
use super::worker::{RETRIES, Worker};
use crate::model::IV_BYTES;
use crate::telemetry::metrics::metrics;

/// How often the same call has to have a doubtful answer before its data is taken to be bad.
pub(super) const INSISTENCE: usize = 3;
const CONTROL: &[u8] = b"hsmgate control message";

/// What an encryption gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// The IV, 96 random bits from the token's generator, combined with the kernel's.
    pub iv: [u8; IV_BYTES],
    /// The ciphertext, as long as the plaintext, and 16 bytes of tag.
    pub sealed: Vec<u8>,
    /// How often the key was used for it: once, and again for every try that failed.
    pub uses: u64,
}

/// How an encryption is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sealing {
    /// An IV that the caller answers for: one that is used twice with a key breaks AES-GCM for that
    /// key. Without one it is drawn from the token's generator.
    pub iv: Option<[u8; IV_BYTES]>,
    /// Whether the ciphertext is opened again before anybody gets it, on the same session. The first one
    /// of a session copy of a key is opened with the key itself.
    pub is_verified: bool,
}

/// The most [`Encrypted::uses`].
pub const MOST_USES: u64 = 1 + RETRIES;

impl Worker<'_> {
    /// Encrypts with AES-GCM. An empty `aad` is the same as none.
    ///
    /// # Errors
    /// `NotFound` when the key is not in the token, and what the token room's errors tell.
    pub fn encrypt(
        &mut self,
        key: KeyIdentity,
        aad: Option<&[u8]>,
        plaintext: &[u8],
    ) -> Result<Encrypted, TokenError> {
        self.encrypt_as(key, Sealing::default(), aad, plaintext)
    }

    /// As [`Worker::encrypt`], in a way of the caller's. A ciphertext that is verified and does not
    /// open to the plaintext costs the session, and is made again.
    ///
    /// # Errors
    /// As [`Worker::encrypt`]; `Unverified` when no try gives one that opens.
    pub fn encrypt_as(
        &mut self,
        key: KeyIdentity,
        sealing: Sealing,
        aad: Option<&[u8]>,
        plaintext: &[u8],
    ) -> Result<Encrypted, TokenError> {
        let aad = aad.unwrap_or_default();
        let mut uses = 0;
        self.steady(Some(key), |worker| {
            uses += 1;
            let handles = worker.handles(key)?;
            let handle = handles.hot();
            let (session, kit) = worker.session_and_kit()?;
            let iv = match sealing.iv {
                // A retry takes another IV: nobody knows what became of the first.
                None => kit.random.iv(session)?,
                // A retry seals the same once more, which tells nobody anything new.
                Some(iv) => iv,
            };
            let sealed = gcm::seal(session, handle, &iv, aad, plaintext)?;
            if sealing.is_verified {
                verify(gcm::open(session, handles.verifying(), &iv, aad, &sealed), plaintext)?;
                if !handles.is_copy_proven {
                    worker.hub.keys.keep(key, Handles { is_copy_proven: true, ..handles });
                }
            }
            Ok(Encrypted { iv, sealed, uses })
        })
    }

    /// Decrypts with AES-GCM. An empty `aad` is the same as none.
    ///
    /// # Errors
    /// `BadCiphertext` for anything that was not sealed by this key with this IV and data;
    /// `NotFound` when the key is not in the token.
    pub fn decrypt(
        &mut self,
        key: KeyIdentity,
        iv: &[u8; IV_BYTES],
        aad: Option<&[u8]>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let aad = aad.unwrap_or_default();
        self.steady(Some(key), |worker| {
            let handle = worker.handles(key)?.hot();
            match worker.insist(|worker| gcm::open(worker.session()?, handle, iv, aad, sealed)) {
                Err(error) => {
                    Err(worker.judge(key, error, |worker| worker.control_gcm(key, handle)))
                }
                opened => opened,
            }
        })
    }

    /// So many random bytes from the token's generator, combined with the kernel's.
    ///
    /// # Errors
    /// When the generator fails, or fails its health check.
    pub fn random(&mut self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.steady(None, |worker| {
            let (session, kit) = worker.session_and_kit()?;
            kit.random.bytes(session, bytes)
        })
    }

    /// Makes a call whose answer may be about its data, again while the answer leaves that open:
    /// bad data has the same answer every time, a token that stumbles hardly ever twice.
    pub(super) fn insist<T>(
        &mut self,
        mut call: impl FnMut(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut result = call(self);
        for _time in 1..INSISTENCE {
            if !result.as_ref().is_err_and(TokenError::is_doubtful_answer) {
                break;
            }
            result = call(self);
        }
        result
    }

    /// Decides whether the data or the token is at fault. Where the answer leaves it open, the
    /// control call on the same session with the same key tells: if that works, it is the data.
    /// So no ciphertext from outside can ever cost a session.
    pub(super) fn judge(
        &mut self,
        key: KeyIdentity,
        error: TokenError,
        control: impl FnOnce(&mut Self) -> Result<(), TokenError>,
    ) -> TokenError {
        if is_about_the_data(&error) {
            return TokenError::BadCiphertext;
        }
        if !error.is_doubtful_answer() {
            return error;
        }
        let now = Instant::now();
        if !self.kit.canary.is_due(key.id(), now) {
            return TokenError::BadCiphertext;
        }
        if control(self).is_err() {
            return error;
        }
        self.kit.canary.prove(key.id(), now);
        TokenError::BadCiphertext
    }

    /// Opens the key's control message, which is made when it is first wanted.
    fn control_gcm(&mut self, key: KeyIdentity, handle: ObjectHandle) -> Result<(), TokenError> {
        let control = match self.hub.keys.control(key) {
            Some(control) => control,
            None => self.make_control(key, handle)?,
        };
        let opened = gcm::open(self.session()?, handle, &control.iv, CONTROL, &control.sealed)?;
        if *opened == CONTROL {
            Ok(())
        } else {
            Err(TokenError::Untrusted("AES-GCM does not open what it sealed"))
        }
    }

    fn make_control(
        &mut self,
        key: KeyIdentity,
        handle: ObjectHandle,
    ) -> Result<Control, TokenError> {
        let (session, kit) = self.session_and_kit()?;
        let iv = kit.random.iv(session)?;
        let control = Control { iv, sealed: gcm::seal(session, handle, &iv, CONTROL, CONTROL)? };
        self.hub.keys.keep_control(key, control.clone());
        Ok(control)
    }
}

/// Holds what a fresh ciphertext opened to against what was sealed in it.
fn verify(
    opened: Result<Zeroizing<Vec<u8>>, TokenError>,
    plaintext: &[u8],
) -> Result<(), TokenError> {
    match opened {
        Ok(opened) if verify_slices_are_equal(&opened, plaintext).is_ok() => return Ok(()),
        Err(error) if !is_about_the_data(&error) && !error.is_doubtful_answer() => {
            return Err(error);
        }
        Ok(_) | Err(_) => {}
    }
    metrics().ciphertext_unverified();
    tracing::error!("the token made a ciphertext that does not open; it is thrown away");
    Err(TokenError::Unverified)
}

/// Whether the token itself says that the data is at fault.
fn is_about_the_data(error: &TokenError) -> bool {
    matches!(error, TokenError::Call { .. }) && error.class() == super::error::ErrorClass::BadInput
}
