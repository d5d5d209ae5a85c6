//! Check values: whether two secret keys are the same, without reading them.

use std::fmt;

use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use super::mechanism::MacAlgorithm;
use crate::model::{AnswerKind, Iv, IvLength, KeySpec};
use crate::token::error::TokenError;
use crate::token::objects::generate::GenerationParams;
use crate::token::objects::name::KeyIdentity;
use crate::token::objects::query;
use crate::token::objects::template::SecretUse;
use crate::token::worker::Worker;

const NUMBER_BYTES: usize = 16;

/// A block of AES whose encryption identifies a key and does not weaken AES-GCM with that key: it
/// is neither the zero block (its encryption is GCM's hash key, which the usual check value reveals
/// in part) nor a counter block (those end in 1 or more, up to the last block of the longest
/// message; this one ends in 0).
const CHECK_BLOCK: [u8; 16] = *b"hsmgate kcv \0\0\0\0";
const CHECK_MESSAGE: &[u8] = b"hsmgate key check value";

/// Identifies a secret key, and reveals nothing else of it: 16 bytes that depend on the key alone,
/// or, from a token without a mechanism for that, a longer message that only the same key decrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckValue(Vec<u8>);

impl CheckValue {
    /// The bytes of the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As lowercase hexadecimal digits.
impl fmt::Display for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Worker<'_> {
    /// The check value of a secret key of this spec. For HMAC, the first 16 bytes of the MAC of a
    /// fixed message. For AES, the first that the token makes of: the encryption of a fixed block by
    /// AES-ECB, or by AES-CBC with a zero IV, which is the same number; AES-CMAC; a message that is
    /// encrypted with AES-GCM.
    ///
    /// # Errors
    /// `NotFound`; `BadInput` for a spec of key pairs.
    pub fn check_value(
        &mut self,
        key: KeyIdentity,
        spec: KeySpec,
    ) -> Result<CheckValue, TokenError> {
        match self.check_number(key, spec)? {
            Some(number) => Ok(CheckValue(number.to_vec())),
            None => self.check_message(key),
        }
    }

    /// Whether a key of this spec has this check value.
    ///
    /// # Errors
    /// As [`Worker::check_value`].
    pub fn has_check_value(
        &mut self,
        key: KeyIdentity,
        spec: KeySpec,
        known: &[u8],
    ) -> Result<bool, TokenError> {
        if known.len() == NUMBER_BYTES {
            return Ok(self.check_number(key, spec)?.is_some_and(|number| number == known));
        }
        self.decrypts_check_message(key, known)
    }

    /// Whether an AES key decrypts this message of [`Worker::check_message`].
    pub(super) fn decrypts_check_message(
        &mut self,
        key: KeyIdentity,
        message: &[u8],
    ) -> Result<bool, TokenError> {
        let Some((iv, ciphertext)) = split_message(message) else { return Ok(false) };
        match self.decrypt(key, &iv, Some(CHECK_MESSAGE), ciphertext) {
            Ok(message) => Ok(*message == CHECK_MESSAGE),
            Err(TokenError::BadCiphertext) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The check value as a number; `None` if the token has no mechanism for it.
    fn check_number(
        &mut self,
        key: KeyIdentity,
        spec: KeySpec,
    ) -> Result<Option<[u8; NUMBER_BYTES]>, TokenError> {
        let GenerationParams::Secret { bytes, secret_use, .. } =
            GenerationParams::of_default(spec)?
        else {
            return Err(TokenError::BadInput("a key pair has no check value"));
        };
        if secret_use == SecretUse::Cipher {
            return Ok(self.aes_number(key, None)?.map(|(_kind, number)| number));
        }
        self.with_retry(Some(key), |worker| {
            let handles = worker.handles(key)?;
            let mechanism = MacAlgorithm::of_key(*bytes)?.mechanism();
            let mac = worker.session()?.sign(&mechanism, handles.preferred(), CHECK_MESSAGE)?;
            Ok(mac.first_chunk().copied())
        })
    }

    /// A number that depends on an AES key alone, in the first way that the token has, or only in `wanted`.
    /// `None` if it has none.
    pub(super) fn aes_number(
        &mut self,
        key: KeyIdentity,
        wanted: Option<AnswerKind>,
    ) -> Result<Option<(AnswerKind, [u8; NUMBER_BYTES])>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let handles = worker.handles(key)?;
            let mechanisms = &worker.initialization.mechanisms;
            let session = worker.session()?;
            for way in [Way::Ecb, Way::Cbc, Way::Cmac] {
                let is_wanted = wanted.is_none_or(|wanted| wanted == way.kind());
                if !is_wanted || !mechanisms.contains(&way.mechanism_type()) {
                    continue;
                }
                match way.compute(session, handles.preferred()) {
                    Ok(number) => {
                        let number = number.first_chunk().copied();
                        return Ok(number.map(|number| (way.kind(), number)));
                    }
                    Err(error) if is_refused(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            // A key that a logout removed has the same errors, and is then found again.
            query::check_id_and_label(session, handles.main, key)?;
            Ok(None)
        })
    }

    /// A message that only this key decrypts.
    pub(super) fn check_message(&mut self, key: KeyIdentity) -> Result<CheckValue, TokenError> {
        let encrypted = self.encrypt(key, Some(CHECK_MESSAGE), CHECK_MESSAGE)?;
        Ok(CheckValue([encrypted.iv.as_slice(), &encrypted.ciphertext].concat()))
    }
}

/// The IV and the ciphertext of a message of [`Worker::check_message`], by its length.
fn split_message(message: &[u8]) -> Option<(Iv, &[u8])> {
    const CIPHERTEXT_BYTES: usize = CHECK_MESSAGE.len() + crate::model::TAG_BYTES;
    let mut split = IvLength::ALL.into_iter().filter_map(|length| Iv::split_from(message, length));
    split.find(|(_iv, ciphertext)| ciphertext.len() == CIPHERTEXT_BYTES)
}

/// A way to a check value of an AES key.
#[derive(Debug, Clone, Copy)]
enum Way {
    Ecb,
    Cbc,
    Cmac,
}

impl Way {
    /// AES-CBC of one block with a zero IV is the same number as AES-ECB.
    const fn kind(self) -> AnswerKind {
        match self {
            Self::Ecb | Self::Cbc => AnswerKind::AesBlock,
            Self::Cmac => AnswerKind::AesCmac,
        }
    }

    const fn mechanism_type(self) -> MechanismType {
        match self {
            Self::Ecb => MechanismType::AES_ECB,
            Self::Cbc => MechanismType::AES_CBC,
            Self::Cmac => MechanismType::AES_CMAC,
        }
    }

    fn compute(self, session: &Session, key: ObjectHandle) -> Result<Vec<u8>, TokenError> {
        Ok(match self {
            Self::Ecb => session.encrypt(&Mechanism::AesEcb, key, &CHECK_BLOCK)?,
            Self::Cbc => session.encrypt(&Mechanism::AesCbc([0; 16]), key, &CHECK_BLOCK)?,
            Self::Cmac => session.sign(&Mechanism::AesCMac, key, CHECK_MESSAGE)?,
        })
    }
}

/// Whether the token does not use a key in this way.
const fn is_refused(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Call {
            code: RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::KeyFunctionNotPermitted
                | RvError::KeyTypeInconsistent
                | RvError::FunctionNotSupported,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_block_is_no_block_that_gcm_encrypts() {
        assert_ne!(CHECK_BLOCK, [0; 16]);
        assert_eq!(CHECK_BLOCK[12..], [0; 4]);
    }
}
