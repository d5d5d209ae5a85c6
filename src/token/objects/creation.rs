//! What the outcome of a creation says about the token: its room, and whether it can create such
//! keys at all.

use cryptoki::context::Function;

use super::generate::GenerationParams;
use super::name::KeyClass;
use super::template::{Curve, PairKind, PairUse, SecretUse};
use crate::model::WrappingAlgorithm;
use crate::token::crypto::mechanism::Capability;
use crate::token::error::TokenError;
use crate::token::worker::Worker;

impl GenerationParams {
    /// The capability to generate such keys; `None` for a length that the API does not have.
    pub(crate) fn capability(self) -> Option<Capability> {
        Some(match self {
            Self::Secret { bytes, secret_use } => match (secret_use, *bytes) {
                (SecretUse::Cipher, 16) => Capability::Aes128,
                (SecretUse::Cipher, 24) => Capability::Aes192,
                (SecretUse::Cipher, 32) => Capability::Aes256,
                (SecretUse::Mac, 28) => Capability::HmacSha224,
                (SecretUse::Mac, 32) => Capability::HmacSha256,
                (SecretUse::Mac, 48) => Capability::HmacSha384,
                (SecretUse::Mac, 64) => Capability::HmacSha512,
                _ => return None,
            },
            Self::Pair { kind: PairKind::Rsa { bits }, .. } => match *bits {
                2048 => Capability::Rsa2048,
                3072 => Capability::Rsa3072,
                4096 => Capability::Rsa4096,
                _ => return None,
            },
            Self::Pair { kind: PairKind::Ec { curve }, .. } => match curve {
                Curve::P256 => Capability::EcP256,
                Curve::Secp256k1 => Capability::EcP256k,
            },
        })
    }

    /// The capabilities that a failure in this function concerns: the generation, or the first use,
    /// which is a separate capability for RSA pairs. A token that generates no wrapping pair may
    /// refuse only its use, and generate other pairs.
    fn capabilities_of(self, function: Function) -> Vec<Capability> {
        let generates = matches!(function, Function::GenerateKey | Function::GenerateKeyPair);
        match self {
            Self::Pair { pair_use: PairUse::Wrapping, .. } if generates => {
                WrappingAlgorithm::ALL.iter().copied().map(Capability::of_unwrapping).collect()
            }
            Self::Pair { kind: PairKind::Rsa { .. }, pair_use } if !generates => match pair_use {
                PairUse::Cipher | PairUse::Wrapping => vec![Capability::RsaOaepSha1],
                // RSASSA-PKCS1-v1_5 is tried where RSASSA-PSS is refused.
                PairUse::Signature => vec![Capability::RsaPkcs1],
            },
            _ => self.capability().into_iter().collect(),
        }
    }

    /// Pairs of another kind, to distinguish a token without such pairs from one that generates
    /// none.
    fn other_pair(self) -> Option<Self> {
        let Self::Pair { kind, pair_use: _ } = self else { return None };
        let curve = match kind {
            PairKind::Ec { curve: Curve::P256 } => Curve::Secp256k1,
            PairKind::Ec { curve: Curve::Secp256k1 } | PairKind::Rsa { .. } => Curve::P256,
        };
        let kind = PairKind::Ec { curve };
        Some(Self::Pair { kind, pair_use: PairUse::Signature })
    }
}

impl Worker<'_> {
    /// Records the outcome of a generation, after all its repetitions.
    ///
    /// # Errors
    /// `Full` or `Unsupported` when the error means that; else the error.
    pub(crate) fn conclude_generation(
        &mut self,
        params: GenerationParams,
        class: KeyClass,
        outcome: Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let outcome = self.conclude_creation(class, outcome);
        self.conclude_kind(params, outcome)
    }

    /// Records whether the token can generate such keys.
    ///
    /// # Errors
    /// `Unsupported` when the error means that it cannot; else the error.
    pub(crate) fn conclude_kind(
        &mut self,
        params: GenerationParams,
        outcome: Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let error = match outcome {
            Ok(()) => {
                if let Some(capability) = params.capability() {
                    self.state.capabilities.note_works(capability);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let refused = self.refused_capabilities(params, &error);
        Err(match refused.as_slice() {
            [] => error,
            [capability] => capability.unsupported(),
            _ => TokenError::Unsupported("RSA key pairs that unwrap key material"),
        })
    }

    /// Records the outcome of the creation of a key's objects.
    ///
    /// # Errors
    /// `Full` when the token has no room for them; else the error.
    pub(crate) fn conclude_creation(
        &self,
        class: KeyClass,
        outcome: Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let room = &self.state.room;
        match outcome {
            Ok(()) => room.note_created(class),
            // If the token was lost, its error says nothing about its room.
            Err(error) if error.is_no_room() && self.state.breaker.check().is_ok() => {
                room.note_full(&error);
                return Err(TokenError::Full);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The capabilities that the token refuses by this error, which are recorded.
    fn refused_capabilities(
        &mut self,
        params: GenerationParams,
        error: &TokenError,
    ) -> Vec<Capability> {
        let TokenError::Call { function, .. } = error else { return Vec::new() };
        let is_refusal = self.state.breaker.check().is_ok()
            && (error.is_refused_kind()
                || (error.is_ambiguous_generation() && self.generates_only_others(params)));
        if !is_refusal {
            return Vec::new();
        }
        let refused = params.capabilities_of(*function);
        for capability in &refused {
            self.state.capabilities.note_refused(*capability, error);
        }
        refused
    }

    /// Whether the token generates pairs of another kind, and such pairs again not. Session objects
    /// are generated: a token whose storage is full cannot generate any others.
    fn generates_only_others(&mut self, params: GenerationParams) -> bool {
        let Some(other) = params.other_pair() else { return false };
        let mut generates = |params| {
            let made = self.generate_test_key(params);
            made.and_then(|key| self.destroy_test_key(key))
        };
        generates(other).is_ok()
            && generates(params)
                .is_err_and(|error| error.is_ambiguous_generation() || error.is_refused_kind())
    }
}
