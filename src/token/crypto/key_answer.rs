//! Known answers: whether a key is the same in all tokens of a group.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, KeyType};
use cryptoki::types::Ulong;

use super::check_value::CheckValue;
use super::mechanism::MacAlgorithm;
use super::public_key::PublicKey;
use crate::model::KeySpec;
use crate::token::checks::key_test;
use crate::token::error::TokenError;
use crate::token::objects::name::{KeyClass, KeyIdentity};
use crate::token::objects::template::{PairKind, PairUse};
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
        let compared = self.compare_answer(key, known);
        if matches!(compared, Err(TokenError::NotFound)) {
            // A pair of which one object was copied so far must not be cached.
            self.forget_key(key);
        }
        let is_same = compared?;
        if is_same {
            self.note_compared(key)?;
        }
        Ok(is_same)
    }

    fn compare_answer(&mut self, key: KeyIdentity, known: &KeyAnswer) -> Result<bool, TokenError> {
        match known {
            KeyAnswer::Cipher(value) => {
                if !self.is_cipher(key)? {
                    return Ok(false);
                }
                // The value depends on the mechanism: one that this token lacks shows no other key.
                let own = self.check_value(key, KeySpec::Aes256)?;
                let has_mechanism = own.as_bytes().len() <= value.as_bytes().len();
                if !has_mechanism {
                    return Err(TokenError::Unsupported("the check value of the other tokens"));
                }
                self.has_check_value(key, KeySpec::Aes256, value.as_bytes())
            }
            KeyAnswer::Mac(algorithm, mac) => {
                Ok(!self.is_cipher(key)? && self.mac_of(key, *algorithm)? == *mac)
            }
            KeyAnswer::Pair(public) => {
                Ok(self.public_key(key)? == *public && self.is_pair(key, public)?)
            }
        }
    }

    /// Whether the private key belongs to this public one: it signs, or decrypts.
    fn is_pair(&mut self, key: KeyIdentity, public: &PublicKey) -> Result<bool, TokenError> {
        let kind = match public {
            PublicKey::Rsa { .. } => PairKind::Rsa { bits: Ulong::new(0) },
            PublicKey::Ec { curve, .. } => PairKind::Ec { curve: *curve },
        };
        let tested = self.with_retry(Some(key), |worker| {
            let handles = worker.handles(key)?;
            let Some(public) = handles.public else { return Err(TokenError::NotFound) };
            let session = worker.session()?;
            let attributes = session.get_attributes(handles.main, &[AttributeType::Sign])?;
            let signs = attributes.contains(&Attribute::Sign(true));
            let pair_use = if signs { PairUse::Signature } else { PairUse::Cipher };
            key_test::pair(session, public, handles.main, kind, pair_use)
        });
        match tested {
            Ok(()) => Ok(true),
            Err(error) if is_wrong_pair(&error) => Ok(false),
            Err(error) => Err(error),
        }
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

/// Whether a test shows that the objects of a pair do not belong together.
fn is_wrong_pair(error: &TokenError) -> bool {
    error.is_bad_ciphertext()
        || matches!(
            error,
            TokenError::Call {
                code: RvError::SignatureInvalid
                    | RvError::SignatureLenRange
                    | RvError::EncryptedDataInvalid
                    | RvError::EncryptedDataLenRange,
                ..
            }
        )
}
