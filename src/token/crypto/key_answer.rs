//! Known answers: whether a key is the one that the database knows, and the same in all tokens of a group.

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, KeyType};
use cryptoki::types::Ulong;

use super::mechanism::MacAlgorithm;
use super::public_key::PublicKey;
use crate::model::{AnswerKind, KeyAnswer};
use crate::token::checks::key_test;
use crate::token::error::{ErrorClass, TokenError};
use crate::token::known_answers::is_of_version;
use crate::token::objects::name::{KeyClass, KeyIdentity};
use crate::token::objects::template::{PairKind, PairUse};
use crate::token::worker::Worker;

/// The message whose MAC is compared.
const MAC_MESSAGE: &[u8] = b"hsmgate key in a group of tokens";

impl AnswerKind {
    const fn of_mac(algorithm: MacAlgorithm) -> Self {
        match algorithm {
            MacAlgorithm::HmacSha224 => Self::HmacSha224,
            MacAlgorithm::HmacSha256 => Self::HmacSha256,
            MacAlgorithm::HmacSha384 => Self::HmacSha384,
            MacAlgorithm::HmacSha512 => Self::HmacSha512,
        }
    }
}

impl Worker<'_> {
    /// The answer of a key.
    ///
    /// # Errors
    /// `NotFound`; `KeyMismatch` when its id belongs to another key.
    pub(crate) fn answer_of(&mut self, key: KeyIdentity) -> Result<KeyAnswer, TokenError> {
        if key.class == KeyClass::Pair {
            return public_answer(&self.public_key(key)?);
        }
        if self.is_cipher(key)? {
            return Ok(match self.aes_number(key, None)? {
                Some((kind, number)) => KeyAnswer::digest(kind, &number),
                None => KeyAnswer::ciphertext(self.check_message(key)?.as_bytes()),
            });
        }
        for algorithm in MacAlgorithm::ALL {
            match self.mac_of(key, algorithm) {
                Ok(mac) => return Ok(KeyAnswer::digest(AnswerKind::of_mac(algorithm), &mac)),
                Err(error) if is_other_algorithm(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(TokenError::Unsupported("an HMAC with this key"))
    }

    /// Whether a key gives this answer. If so, it is used without a further comparison until its handles
    /// become invalid.
    ///
    /// # Errors
    /// As [`Worker::answer_of`]; `Unsupported` if this token does not answer such a question.
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

    /// Compares a key of a single token with its known answer, or takes its answer if none is known. The key
    /// is used then until its handles become invalid.
    ///
    /// # Errors
    /// `OtherKey` when it gives another answer; when the token fails.
    pub(crate) fn compare_with_known(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        let Some(answers) = self.state.known_answers().filter(|_answers| is_of_version(key)) else {
            return Ok(());
        };
        let compared = match answers.answer(key.id()) {
            Some(known) => self.gives_answer(key, &known),
            None => self.learn_answer(key).map(|()| true),
        };
        match compared {
            Ok(true) => Ok(()),
            Ok(false) => {
                let error = TokenError::OtherKey { wanted: key.name };
                self.state.report_key_mismatch(key, &error);
                Err(error)
            }
            // Such as a token whose firmware does not have the mechanism any more.
            Err(error) if is_unanswered(&error) => {
                self.state.report_unanswered(key, &error);
                self.note_compared(key)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the answer of a key whose answer is not known.
    ///
    /// # Errors
    /// As [`Worker::answer_of`].
    pub(crate) fn learn_answer(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        let Some(answers) = self.state.known_answers().filter(|_answers| is_of_version(key)) else {
            return Ok(());
        };
        let answer = self.answer_of(key)?;
        answers.learn(key.id(), answer);
        self.note_compared(key)
    }

    fn compare_answer(&mut self, key: KeyIdentity, known: &KeyAnswer) -> Result<bool, TokenError> {
        let kind = known.kind();
        match kind {
            AnswerKind::AesBlock | AnswerKind::AesCmac => {
                if let Some((_kind, number)) = self.aes_number(key, Some(kind))? {
                    return Ok(KeyAnswer::digest(kind, &number) == *known);
                }
                self.differs_in_type(key, KeyType::AES)
            }
            AnswerKind::AesGcm => {
                Ok(self.is_cipher(key)? && self.decrypts_check_message(key, known.as_bytes())?)
            }
            AnswerKind::HmacSha224 => self.compare_mac(key, MacAlgorithm::HmacSha224, known),
            AnswerKind::HmacSha256 => self.compare_mac(key, MacAlgorithm::HmacSha256, known),
            AnswerKind::HmacSha384 => self.compare_mac(key, MacAlgorithm::HmacSha384, known),
            AnswerKind::HmacSha512 => self.compare_mac(key, MacAlgorithm::HmacSha512, known),
            AnswerKind::PublicKey => {
                let public = self.public_key(key)?;
                Ok(public_answer(&public)? == *known && self.is_pair(key, &public)?)
            }
        }
    }

    fn compare_mac(
        &mut self,
        key: KeyIdentity,
        algorithm: MacAlgorithm,
        known: &KeyAnswer,
    ) -> Result<bool, TokenError> {
        match self.mac_of(key, algorithm) {
            Ok(mac) => Ok(KeyAnswer::digest(known.kind(), &mac) == *known),
            Err(TokenError::Call { code: RvError::KeySizeRange, .. }) => Ok(false),
            Err(error) if is_other_algorithm(&error) => {
                if self.is_cipher(key)? {
                    return Ok(false);
                }
                Err(TokenError::Unsupported("the HMAC of the known answer"))
            }
            Err(error) => Err(error),
        }
    }

    /// False for a key of another type; `Unsupported` if the token does not answer the question.
    fn differs_in_type(&mut self, key: KeyIdentity, wanted: KeyType) -> Result<bool, TokenError> {
        if self.type_of(key)? == Some(wanted) {
            return Err(TokenError::Unsupported("the mechanism of the known answer"));
        }
        Ok(false)
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
        Ok(self.type_of(key)? == Some(KeyType::AES))
    }

    fn type_of(&mut self, key: KeyIdentity) -> Result<Option<KeyType>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let main = worker.handles(key)?.main;
            let attributes = worker.session()?.get_attributes(main, &[AttributeType::KeyType])?;
            Ok(attributes.into_iter().find_map(|attribute| match attribute {
                Attribute::KeyType(found) => Some(found),
                _ => None,
            }))
        })
    }

    fn mac_of(&mut self, key: KeyIdentity, algorithm: MacAlgorithm) -> Result<Vec<u8>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let main = worker.handles(key)?.main;
            Ok(worker.session()?.sign(&algorithm.mechanism(), main, MAC_MESSAGE)?)
        })
    }
}

fn public_answer(public: &PublicKey) -> Result<KeyAnswer, TokenError> {
    let der =
        public.to_der().map_err(|_source| TokenError::Unsupported("its public key as DER"))?;
    Ok(KeyAnswer::digest(AnswerKind::PublicKey, &der))
}

/// Whether the token works, and does not answer the question with this key.
fn is_unanswered(error: &TokenError) -> bool {
    matches!(error, TokenError::Unsupported(_) | TokenError::Call { .. })
        && error.class() == ErrorClass::Configuration
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
