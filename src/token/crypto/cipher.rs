//! AES-GCM and random bytes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::object::ObjectHandle;
use zeroize::Zeroizing;

use super::gcm::{GcmCiphertext, GcmKey};
use crate::model::{IV_BYTES, Iv, clock};
use crate::telemetry::Counter;
use crate::token::cache::{Handles, KnownAnswer};
use crate::token::error::TokenError;
use crate::token::objects::name::KeyIdentity;
use crate::token::retry::RETRIES;
use crate::token::worker::Worker;

/// How often a call must fail ambiguously before its data counts as bad.
pub(crate) const AMBIGUOUS_TRIES: usize = 3;
const KNOWN_PLAINTEXT: &[u8] = b"hsmgate control message";

/// The result of an encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// The IV: 96 random bits from the token's generator, combined with those of the kernel, or the
    /// one that the token made for the encryption.
    pub iv: Iv,
    /// The ciphertext, as long as the plaintext, and 16 bytes of tag.
    pub ciphertext: Vec<u8>,
    /// How often the key was used for it: once, and again for every failed try.
    pub uses: u64,
}

/// The options of an encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncryptOptions {
    /// An IV for which the caller is responsible: using one twice with a key breaks AES-GCM for
    /// that key. `None` takes it from the token. A token that makes every IV itself refuses it.
    pub iv: Option<[u8; IV_BYTES]>,
    /// Whether the ciphertext is decrypted on the same session before it is returned. The first one
    /// of a session copy is decrypted with the key itself.
    pub is_verified: bool,
}

/// The maximum of [`Encrypted::uses`].
pub const MAX_USES: u64 = 1 + RETRIES;

impl Worker<'_> {
    /// Encrypts with AES-GCM. An empty `aad` is the same as none.
    ///
    /// # Errors
    /// `NotFound` when the key is not in the token, and other [`TokenError`]s.
    pub fn encrypt(
        &mut self,
        key: KeyIdentity,
        aad: Option<&[u8]>,
        plaintext: &[u8],
    ) -> Result<Encrypted, TokenError> {
        self.encrypt_as(key, EncryptOptions::default(), aad, plaintext)
    }

    /// As [`Worker::encrypt`], with options. If a ciphertext that is verified does not decrypt to
    /// the plaintext, the session is closed and the encryption repeated.
    ///
    /// # Errors
    /// As [`Worker::encrypt`]; `Unverified` when no try gives a correct ciphertext; `Unsupported`
    /// when an IV is given and the token makes every IV itself.
    pub fn encrypt_as(
        &mut self,
        key: KeyIdentity,
        options: EncryptOptions,
        aad: Option<&[u8]>,
        plaintext: &[u8],
    ) -> Result<Encrypted, TokenError> {
        let aad = aad.unwrap_or_default();
        let mut uses = 0;
        self.with_retry(Some(key), |worker| {
            uses += 1;
            let mut handles = worker.known_handles(key)?;
            let is_stale = handles.is_stale();
            let GcmCiphertext { iv, bytes } =
                worker.encrypt_once(key, handles, options.iv, aad, plaintext)?;
            if is_stale {
                // A decryption by the original proves that it is there.
                let decrypted = worker.gcm_key(handles.main)?.decrypt(&iv, aad, &bytes);
                if decrypted.is_ok_and(|decrypted| is_same(&decrypted, plaintext)) {
                    worker.note_original_used(key, handles);
                    return Ok(Encrypted { iv, ciphertext: bytes, uses });
                }
                let copy = handles.made_copy();
                handles = worker.check_original(key, handles)?;
                if handles.made_copy() != copy {
                    return Err(TokenError::Unverified);
                }
            }
            if options.is_verified {
                let verifying = worker.gcm_key(handles.verification_handle())?;
                let decrypted = verifying.decrypt(&iv, aad, &bytes);
                verify(decrypted, plaintext, &worker.state.metrics.unverified_ciphertexts)?;
                worker.note_copy_verified(key, handles);
            }
            Ok(Encrypted { iv, ciphertext: bytes, uses })
        })
    }

    /// Encrypts with the copy of the key, if it has one.
    fn encrypt_once(
        &mut self,
        key: KeyIdentity,
        handles: Handles,
        iv: Option<[u8; IV_BYTES]>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<GcmCiphertext, TokenError> {
        let form = self.initialization.behavior.gcm;
        let (session, thread_state) = self.session_and_thread_state()?;
        let iv = match iv {
            // A retry uses another IV: whether the first one was used is unknown.
            None => form.new_iv(session, &mut thread_state.random)?,
            // A retry repeats the same encryption, which reveals nothing new.
            Some(iv) => form.given_iv(iv)?,
        };
        let encrypted =
            GcmKey::new(session, handles.preferred(), form).encrypt(iv, aad, plaintext)?;
        if form.token_makes_iv() {
            thread_state.random.check_token_iv(key.id(), &encrypted.iv)?;
        }
        Ok(encrypted)
    }

    /// The original of a copy has decrypted a ciphertext of the copy.
    fn note_original_used(&self, key: KeyIdentity, handles: Handles) {
        self.state.keys.note_seen(key, handles);
        self.note_copy_verified(key, handles);
    }

    fn note_copy_verified(&self, key: KeyIdentity, handles: Handles) {
        if handles.made_copy().is_some() && !handles.is_copy_verified {
            self.state.keys.note_copy_verified(key, handles);
        }
    }

    /// Decrypts with AES-GCM. An empty `aad` is the same as none. If the copy of the key is stale, the key
    /// itself decrypts, which proves that it is there.
    ///
    /// # Errors
    /// `BadCiphertext` for anything that was not encrypted by this key with this IV and data;
    /// `NotFound` when the key is not in the token.
    pub fn decrypt(
        &mut self,
        key: KeyIdentity,
        iv: &Iv,
        aad: Option<&[u8]>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let aad = aad.unwrap_or_default();
        self.with_retry(Some(key), |worker| {
            let handles = worker.known_handles(key)?;
            if handles.is_stale()
                && let Ok(decrypted) = worker.gcm_key(handles.main)?.decrypt(iv, aad, ciphertext)
            {
                worker.state.keys.note_seen(key, handles);
                return Ok(decrypted);
            }
            let handle = worker.check_original(key, handles)?.preferred();
            match worker
                .repeat_if_ambiguous(|worker| worker.gcm_key(handle)?.decrypt(iv, aad, ciphertext))
            {
                Err(error) => Err(worker
                    .classify_failure(key, error, |worker| worker.check_known_answer(key, handle))),
                decrypted => decrypted,
            }
        })
    }

    /// A key on this worker's session.
    fn gcm_key(&mut self, handle: ObjectHandle) -> Result<GcmKey<'_>, TokenError> {
        let form = self.initialization.behavior.gcm;
        Ok(GcmKey::new(self.session()?, handle, form))
    }

    /// Random bytes from the token's generator, combined with those of the kernel.
    ///
    /// # Errors
    /// When the generator fails, or fails its health check.
    pub fn random(&mut self, bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.with_retry(None, |worker| {
            let (session, thread_state) = worker.session_and_thread_state()?;
            thread_state.random.bytes(session, bytes)
        })
    }

    /// Makes a call whose failure may be caused by its data, and repeats it while the cause is
    /// ambiguous: bad data fails every time, a failing token hardly ever twice.
    pub(crate) fn repeat_if_ambiguous<T>(
        &mut self,
        mut call: impl FnMut(&mut Self) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut result = call(self);
        for _time in 1..AMBIGUOUS_TRIES {
            if !result.as_ref().is_err_and(TokenError::is_ambiguous) {
                break;
            }
            result = call(self);
        }
        result
    }

    /// Decides whether the data or the token is at fault. In an ambiguous case the control call on
    /// the same session with the same key decides: if it succeeds, the data is at fault. So no
    /// ciphertext from a client can cost a session.
    pub(crate) fn classify_failure(
        &mut self,
        key: KeyIdentity,
        error: TokenError,
        control: impl FnOnce(&mut Self) -> Result<(), TokenError>,
    ) -> TokenError {
        if is_data_fault(&error) {
            return TokenError::BadCiphertext;
        }
        if !error.is_ambiguous() {
            return error;
        }
        let now = clock::monotonic();
        if self.thread_state.canary.is_due(key.id(), now) {
            if control(self).is_err() {
                return error;
            }
            self.thread_state.canary.prove(key.id(), now);
        }
        TokenError::BadCiphertext
    }

    /// Decrypts the key's control message, which is created on first use.
    fn check_known_answer(
        &mut self,
        key: KeyIdentity,
        handle: ObjectHandle,
    ) -> Result<(), TokenError> {
        let KnownAnswer { iv, ciphertext } = match self.state.keys.known_answer(key) {
            Some(known_answer) => known_answer,
            None => self.make_known_answer(key, handle)?,
        };
        let decrypted = self.gcm_key(handle)?.decrypt(&iv, KNOWN_PLAINTEXT, &ciphertext)?;
        if *decrypted == KNOWN_PLAINTEXT {
            Ok(())
        } else {
            Err(TokenError::Untrusted("AES-GCM does not decrypt what it encrypted"))
        }
    }

    fn make_known_answer(
        &mut self,
        key: KeyIdentity,
        handle: ObjectHandle,
    ) -> Result<KnownAnswer, TokenError> {
        let form = self.initialization.behavior.gcm;
        let (session, thread_state) = self.session_and_thread_state()?;
        let GcmCiphertext { iv, bytes } = GcmKey::new(session, handle, form).encrypt_with_new_iv(
            &mut thread_state.random,
            KNOWN_PLAINTEXT,
            KNOWN_PLAINTEXT,
        )?;
        let known_answer = KnownAnswer { iv, ciphertext: bytes };
        self.state.keys.keep_known_answer(key, known_answer.clone());
        Ok(known_answer)
    }
}

fn is_same(decrypted: &[u8], plaintext: &[u8]) -> bool {
    verify_slices_are_equal(decrypted, plaintext).is_ok()
}

/// Compares the decryption of a new ciphertext with the plaintext.
fn verify(
    decrypted: Result<Zeroizing<Vec<u8>>, TokenError>,
    plaintext: &[u8],
    failures: &Counter,
) -> Result<(), TokenError> {
    match decrypted {
        Ok(decrypted) if is_same(&decrypted, plaintext) => return Ok(()),
        Err(error) if !is_data_fault(&error) && !error.is_ambiguous() => {
            return Err(error);
        }
        Ok(_) | Err(_) => {}
    }
    failures.inc();
    tracing::error!(
        event = "token.ciphertext_discarded",
        "discarded a ciphertext of the token that cannot be decrypted"
    );
    Err(TokenError::Unverified)
}

/// Whether the token reports that the data is at fault.
fn is_data_fault(error: &TokenError) -> bool {
    matches!(error, TokenError::Call { .. })
        && error.class() == crate::token::error::ErrorClass::BadInput
}
