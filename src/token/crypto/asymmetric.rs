//! Key pairs: reading the public key, signatures, RSA decryption.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{AttributeType, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::mechanism::{Capability, OaepHash, SignAlgorithm};
use super::oaep;
use super::public_key::PublicKey;
use crate::token::cache::Handles;
use crate::token::error::TokenError;
use crate::token::objects::name::KeyIdentity;
use crate::token::objects::query::attribute;
use crate::token::objects::template::Curve;
use crate::token::worker::Worker;

/// `r` and `s` of a signature on a 256-bit curve.
const ECDSA_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;
const KNOWN_PLAINTEXT: &[u8] = b"hsmgate control message";

impl Worker<'_> {
    /// The public key of a key pair. It is read again after some seconds, because another process
    /// may have destroyed the pair.
    ///
    /// # Errors
    /// `NotFound` when the pair does not exist; `Unsupported` for another curve than those of the
    /// API.
    pub fn public_key(&mut self, key: KeyIdentity) -> Result<PublicKey, TokenError> {
        self.with_retry(Some(key), |worker| {
            let public = public_of(&worker.handles(key)?)?;
            if let Some(known) = worker.state.keys.public_key(key, worker.login_epoch()) {
                return Ok(known);
            }
            let read = read_public_key(worker.session()?, public)?;
            worker.state.keys.keep_public_key(key, read.clone());
            Ok(read)
        })
    }

    /// The length of an RSA key's modulus, which is read from one of its objects once.
    fn modulus_bytes(
        &mut self,
        key: KeyIdentity,
        object: ObjectHandle,
    ) -> Result<usize, TokenError> {
        if let Some(known) = self.state.keys.modulus_bytes(key, self.login_epoch()) {
            return Ok(known);
        }
        let bytes = modulus_bytes(self.session()?, object)?;
        self.state.keys.keep_modulus_bytes(key, bytes);
        Ok(bytes)
    }

    /// Signs a SHA-256 digest with a private key. ECDSA returns `r` and `s`, 32 bytes each; RSA a
    /// signature as long as the modulus.
    ///
    /// # Errors
    /// `BadInput` when the digest does not have 32 bytes; `NotFound`.
    pub fn sign(
        &mut self,
        key: KeyIdentity,
        algorithm: SignAlgorithm,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        check_digest(digest)?;
        self.with_retry(Some(key), |worker| {
            let private = worker.handles(key)?.main;
            let (mechanism, input) = algorithm.prepare(digest);
            let signature = worker.session()?.sign(&mechanism, private, &input);
            let signature = signature.map_err(|error| supported(error.into(), algorithm))?;
            if algorithm == SignAlgorithm::EcdsaSha256 && signature.len() != ECDSA_BYTES {
                return Err(TokenError::Unsupported("ECDSA signatures of two times 32 bytes"));
            }
            Ok(signature)
        })
    }

    /// Verifies a signature over a SHA-256 digest. The forms are as in `sign`.
    ///
    /// # Errors
    /// `BadInput` when the digest does not have 32 bytes; `NotFound`. A malformed signature is not
    /// an error, but not valid.
    pub fn verify(
        &mut self,
        key: KeyIdentity,
        algorithm: SignAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<bool, TokenError> {
        check_digest(digest)?;
        self.with_retry(Some(key), |worker| {
            let handles = worker.handles(key)?;
            let public = public_of(&handles)?;
            let bytes = match algorithm {
                SignAlgorithm::EcdsaSha256 => ECDSA_BYTES,
                SignAlgorithm::RsaPssSha256 | SignAlgorithm::RsaPkcs1Sha256 => {
                    worker.modulus_bytes(key, public)?
                }
            };
            if signature.len() != bytes {
                return Ok(false);
            }
            let (mechanism, input) = algorithm.prepare(digest);
            let Err(error) = worker.repeat_if_ambiguous(|worker| {
                Ok(worker.session()?.verify(&mechanism, public, &input, signature)?)
            }) else {
                return Ok(true);
            };
            let control = |worker: &mut Self| {
                let session = worker.session()?;
                let good = session.sign(&mechanism, handles.main, &input)?;
                Ok(session.verify(&mechanism, public, &input, &good)?)
            };
            match worker.classify_failure(key, error, control) {
                TokenError::BadCiphertext => Ok(false),
                error => Err(supported(error, algorithm)),
            }
        })
    }

    /// Decrypts RSAES-OAEP with an empty label, and `hash` as the hash of the label and the mask.
    ///
    /// # Errors
    /// `BadCiphertext` for every ciphertext that cannot be decrypted, whatever the reason;
    /// `NotFound`.
    pub fn rsa_decrypt(
        &mut self,
        key: KeyIdentity,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.with_retry(Some(key), |worker| {
            let handles = worker.handles(key)?;
            if ciphertext.len() != worker.modulus_bytes(key, handles.main)? {
                return Err(TokenError::BadCiphertext);
            }
            let has_oaep = worker.state.capabilities.has_oaep(hash);
            if has_oaep {
                let decrypted = worker.decrypt_with(key, &handles, &hash.mechanism(), ciphertext);
                if !decrypted.as_ref().is_err_and(TokenError::is_refused_mechanism) {
                    return decrypted;
                }
            }
            let decrypted = worker.decrypt_raw(key, &handles, hash, ciphertext);
            match decrypted {
                Err(error) if error.is_refused_mechanism() => {
                    return Err(Capability::of_oaep(hash).unsupported());
                }
                // The key works: the refusal was that of the hash.
                Ok(_) if has_oaep => worker.state.capabilities.note_raw_oaep(hash),
                _ => {}
            }
            decrypted
        })
    }

    /// Raw RSA in the token, with the padding removed in this process: the only way to keep the key
    /// in a token that does not support OAEP with this hash.
    fn decrypt_raw(
        &mut self,
        key: KeyIdentity,
        handles: &Handles,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let raw = self.decrypt_with(key, handles, &Mechanism::RsaX509, ciphertext)?;
        remove_padding(hash, &raw, ciphertext.len())
    }

    fn decrypt_with(
        &mut self,
        key: KeyIdentity,
        handles: &Handles,
        mechanism: &Mechanism<'_>,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let decrypted = self.repeat_if_ambiguous(|worker| {
            Ok(worker.session()?.decrypt(mechanism, handles.main, ciphertext)?)
        });
        match decrypted {
            Ok(plaintext) => Ok(Zeroizing::new(plaintext)),
            Err(error) => Err(self.classify_failure(key, error, |worker| {
                worker.check_rsa_round_trip(handles, mechanism, ciphertext.len())
            })),
        }
    }

    /// Encrypts and decrypts a known message with the mechanism that just failed.
    pub(in crate::token) fn check_rsa_round_trip(
        &mut self,
        handles: &Handles,
        mechanism: &Mechanism<'_>,
        bytes: usize,
    ) -> Result<(), TokenError> {
        let public = public_of(handles)?;
        let session = self.session()?;
        let mut message = KNOWN_PLAINTEXT.to_vec();
        if matches!(mechanism, Mechanism::RsaX509) {
            // A whole block, with a value below any modulus.
            message.resize(bytes.saturating_sub(1), 0x5a);
            message.insert(0, 0);
        }
        let ciphertext = session.encrypt(mechanism, public, &message)?;
        let decrypted = session.decrypt(mechanism, handles.main, &ciphertext)?;
        if decrypted.ends_with(message.strip_prefix(&[0]).unwrap_or(&message)) {
            Ok(())
        } else {
            Err(TokenError::Untrusted("RSA does not decrypt what it encrypted"))
        }
    }
}

/// Removes the padding of RSAES-OAEP from the result of raw RSA with a modulus of this length.
pub(crate) fn remove_padding(
    hash: OaepHash,
    raw: &[u8],
    bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut encoded = Zeroizing::new(vec![0; bytes]);
    // A token may omit leading zeros. The length then reveals their number, so this restores the
    // value and not its secrecy; SoftHSM returns whole blocks.
    let missing = encoded.len().checked_sub(raw.len());
    let tail = missing.and_then(|missing| encoded.get_mut(missing..));
    tail.ok_or(TokenError::Untrusted("it opens RSA to more than the modulus"))?
        .copy_from_slice(raw);
    oaep::unpad(hash, &encoded).ok_or(TokenError::BadCiphertext)
}

fn public_of(handles: &Handles) -> Result<ObjectHandle, TokenError> {
    handles.public.ok_or(TokenError::NotFound)
}

fn check_digest(digest: &[u8]) -> Result<(), TokenError> {
    if digest.len() == DIGEST_BYTES {
        Ok(())
    } else {
        Err(TokenError::BadInput("a SHA-256 digest has 32 bytes"))
    }
}

/// The error of a signature: `Unsupported` when the token refuses the algorithm.
fn supported(error: TokenError, algorithm: SignAlgorithm) -> TokenError {
    match Capability::of_signing(algorithm) {
        Some(capability) if error.is_refused_mechanism() => capability.unsupported(),
        _ => error,
    }
}

/// The length of an RSA key's modulus, from its public or private object.
pub(crate) fn modulus_bytes(session: &Session, key: ObjectHandle) -> Result<usize, TokenError> {
    let told = session.get_attributes(key, &[AttributeType::Modulus])?;
    let modulus = attribute!(told, Modulus);
    let modulus = modulus.ok_or(TokenError::Unsupported("reading the modulus of an RSA key"))?;
    Ok(without_leading_zeros(modulus).len())
}

/// Reads the public key of a pair from its public object.
pub(crate) fn read_public_key(
    session: &Session,
    public: ObjectHandle,
) -> Result<PublicKey, TokenError> {
    let types = [
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::EcParams,
        AttributeType::EcPoint,
    ];
    let told = session.get_attributes(public, &types)?;
    if let (Some(modulus), Some(exponent)) =
        (attribute!(told, Modulus), attribute!(told, PublicExponent))
    {
        let plain = |number: &[u8]| without_leading_zeros(number).to_vec();
        return Ok(PublicKey::Rsa { modulus: plain(modulus), exponent: plain(exponent) });
    }
    let (Some(curve), Some(point)) = (attribute!(told, EcParams), attribute!(told, EcPoint)) else {
        return Err(TokenError::Unsupported("reading this kind of public key"));
    };
    let curve = Curve::of_oid(curve).ok_or(TokenError::Unsupported("this curve"))?;
    let point = plain_point(point).ok_or(TokenError::Unsupported("this form of a point"))?;
    Ok(PublicKey::Ec { curve, point: point.to_vec() })
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Decodes a point from the DER octet string of PKCS#11; some tokens omit it.
fn plain_point(der: &[u8]) -> Option<&[u8]> {
    let point = der.strip_prefix(&[0x04, 0x41]).filter(|point| point.len() == 65).unwrap_or(der);
    (point.len() == 65 && point.first() == Some(&0x04)).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_decoded_from_its_octet_string_and_nothing_else_is_accepted() {
        let point = [&[0x04][..], &[7; 64]].concat();
        let der = [&[0x04, 0x41][..], &point].concat();
        assert_eq!(plain_point(&der), Some(point.as_slice()));
        assert_eq!(plain_point(&point), Some(point.as_slice()));
        assert_eq!(plain_point(&[]), None);
        assert_eq!(plain_point(&der[..66]), None);
        assert_eq!(plain_point(&[2; 65]), None);
    }
}
