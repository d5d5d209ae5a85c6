//! What the outcome of a creation says about the token: its room, and whether it can create such
//! keys at all.

use cryptoki::context::Function;

use super::generate::GenerationParams;
use super::name::KeyClass;
use super::template::{Curve, PairKind, PairUse, SecretUse};
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

    /// The capability that a failure in this function concerns: the generation, or the first use,
    /// which is a separate capability for RSA pairs.
    fn capability_of(self, function: Function) -> Option<Capability> {
        let generates = matches!(function, Function::GenerateKey | Function::GenerateKeyPair);
        match self {
            Self::Pair { kind: PairKind::Rsa { .. }, pair_use } if !generates => match pair_use {
                PairUse::Cipher | PairUse::Wrapping => Some(Capability::RsaOaepSha1),
                // RSASSA-PKCS1-v1_5 is tried where RSASSA-PSS is refused.
                PairUse::Signature => Some(Capability::RsaPkcs1),
            },
            _ => self.capability(),
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
        let refused = self.refused_capability(params, &error);
        Err(refused.map_or(error, Capability::unsupported))
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

    /// The capability that the token refuses by this error, which is recorded.
    fn refused_capability(
        &mut self,
        params: GenerationParams,
        error: &TokenError,
    ) -> Option<Capability> {
        let TokenError::Call { function, .. } = error else { return None };
        let capability = params.capability_of(*function)?;
        if self.state.breaker.check().is_err() {
            return None;
        }
        if error.is_refused_kind()
            || (error.is_ambiguous_generation() && self.generates_only_others(params))
        {
            self.state.capabilities.note_refused(capability, error);
            return Some(capability);
        }
        None
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
