//! Known answers: whether a key is the same in all tokens of a group.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, KeyType};

use super::check_value::CheckValue;
use super::mechanism::MacAlgorithm;
use super::public_key::PublicKey;
use crate::model::KeySpec;
use crate::token::error::TokenError;
use crate::token::objects::name::{KeyClass, KeyIdentity};
use crate::token::worker::Worker;

/// The message whose MAC is compared.
const MAC_MESSAGE: &[u8] = b"hsmgate key in a group of tokens";

/// What a key answers in one token. In another token the same key gives the same answer, and no other
/// key does.
#[derive(Debug, Clone)]
pub(crate) enum KeyAnswer {
    /// Of an AES key.
    Cipher(CheckValue),
    /// Of an HMAC key: the MAC of a fixed message.
    Mac(MacAlgorithm, Vec<u8>),
    /// Of a pair.
    Pair(PublicKey),
}

impl Worker<'_> {
    /// The answer of a key.
    ///
    /// # Errors
    /// `NotFound`; `KeyMismatch` when its id belongs to another key.
    pub(crate) fn answer_of(&mut self, key: KeyIdentity) -> Result<KeyAnswer, TokenError> {
        if key.class == KeyClass::Pair {
            return self.public_key(key).map(KeyAnswer::Pair);
        }
        if self.is_cipher(key)? {
            return self.check_value(key, KeySpec::Aes256).map(KeyAnswer::Cipher);
        }
        for algorithm in MacAlgorithm::ALL {
            match self.mac_of(key, algorithm) {
                Ok(mac) => return Ok(KeyAnswer::Mac(algorithm, mac)),
                Err(error) if is_other_algorithm(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(TokenError::Unsupported("an HMAC with this key"))
    }

    /// Whether a key gives this answer of another token. If so, it is used without a further comparison
    /// until its handles become invalid.
    ///
    /// # Errors
    /// As [`Worker::answer_of`].
    pub(crate) fn gives_answer(
        &mut self,
        key: KeyIdentity,
        known: &KeyAnswer,
    ) -> Result<bool, TokenError> {
        let is_same = match known {
            KeyAnswer::Cipher(value) => {
                self.is_cipher(key)?
                    && self.has_check_value(key, KeySpec::Aes256, value.as_bytes())?
            }
            KeyAnswer::Mac(algorithm, mac) => {
                !self.is_cipher(key)? && self.mac_of(key, *algorithm)? == *mac
            }
            KeyAnswer::Pair(public) => self.public_key(key)? == *public,
        };
        if is_same {
            self.note_compared(key)?;
        }
        Ok(is_same)
    }

    fn is_cipher(&mut self, key: KeyIdentity) -> Result<bool, TokenError> {
        self.with_retry(Some(key), |worker| {
            let main = worker.handles(key)?.main;
            let attributes = worker.session()?.get_attributes(main, &[AttributeType::KeyType])?;
            Ok(attributes.contains(&Attribute::KeyType(KeyType::AES)))
        })
    }

    fn mac_of(&mut self, key: KeyIdentity, algorithm: MacAlgorithm) -> Result<Vec<u8>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let main = worker.handles(key)?.main;
            Ok(worker.session()?.sign(&algorithm.mechanism(), main, MAC_MESSAGE)?)
        })
    }
}

/// Whether the token does not compute this HMAC with a key of this length or kind.
const fn is_other_algorithm(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Call {
            code: RvError::KeySizeRange
                | RvError::KeyTypeInconsistent
                | RvError::KeyFunctionNotPermitted
                | RvError::MechanismInvalid,
            ..
        }
    )
}
