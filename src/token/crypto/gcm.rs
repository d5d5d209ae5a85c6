//! AES-GCM in the only form that all tokens support: a 96-bit IV from the caller, and a 128-bit tag
//! after the ciphertext.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use zeroize::Zeroizing;

use crate::model::{IV_BYTES, TAG_BYTES};
use crate::token::behavior::GcmForm;
use crate::token::error::TokenError;

/// An initialization vector.
pub(crate) type Iv = [u8; IV_BYTES];

/// A key on a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GcmKey<'a> {
    pub(crate) session: &'a Session,
    key: ObjectHandle,
    form: GcmForm,
}

impl<'a> GcmKey<'a> {
    pub(crate) const fn new(session: &'a Session, key: ObjectHandle, form: GcmForm) -> Self {
        Self { session, key, form }
    }

    /// Encrypts. Empty associated data is the same as none.
    pub(crate) fn encrypt(
        self,
        iv: &Iv,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        let GcmForm::CallerIv = self.form;
        // The token gets a copy: a token that generates its own IV writes it back, and the caller's
        // IV is then not the one of this ciphertext.
        let mut token_iv = *iv;
        let params = GcmParams::new(&mut token_iv, aad, tag_bits())?;
        let ciphertext = self.session.encrypt(&Mechanism::AesGcm(params), self.key, plaintext)?;
        if token_iv != *iv {
            return Err(TokenError::Untrusted("it replaces the IV of AES-GCM with its own"));
        }
        if ciphertext.len() != plaintext.len() + TAG_BYTES {
            return Err(TokenError::Untrusted("its AES-GCM ciphertexts have a wrong length"));
        }
        Ok(ciphertext)
    }

    /// Decrypts the output of `encrypt`. A ciphertext shorter than the tag is not sent to the
    /// token: openCryptoki leaves the session unusable after one.
    pub(crate) fn decrypt(
        self,
        iv: &Iv,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        if ciphertext.len() < TAG_BYTES {
            return Err(TokenError::BadCiphertext);
        }
        let mut token_iv = *iv;
        let params = GcmParams::new(&mut token_iv, aad, tag_bits())?;
        let plaintext = self.session.decrypt(&Mechanism::AesGcm(params), self.key, ciphertext)?;
        let plaintext = Zeroizing::new(plaintext);
        if plaintext.len() + TAG_BYTES != ciphertext.len() {
            return Err(TokenError::Untrusted("its AES-GCM plaintexts have a wrong length"));
        }
        Ok(plaintext)
    }
}

fn tag_bits() -> Ulong {
    Ulong::new(128)
}
