//! Key pairs: sign, verify, decrypt in the token; the public half outside.

use zeroize::Zeroizing;

use super::public_key::OaepKey;
use super::{Keyring, KeyringError, Use, identity, public_key, state};
use crate::authz::{AuthorizedKey, OpensWithPair, ReadsPublicKey, Signs, Verifies};
use crate::error::ErrorCode;
use crate::model::algorithm::{Digest, EncryptionAlgorithm, SignatureAlgorithm};
use crate::model::{KeyRecord, KeySpec, KeyUsage, KeyVersionId};
use crate::token::{Budget, KeyIdentity, OaepHash, PublicKey, SignAlgorithm};

impl Keyring {
    /// Signs a digest. RSA signatures are as long as the modulus, ECDSA ones are DER.
    ///
    /// # Errors
    /// When the key's state, usage or spec forbids it, the version is not the key's, or the token
    /// fails.
    pub async fn sign<P: Signs>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: SignatureAlgorithm,
        digest: Digest,
        budget: &Budget,
    ) -> Result<Vec<u8>, KeyringError> {
        let (pair, algorithm) = signing(key.record(), version, algorithm)?;
        let raw = self
            .token
            .run_with(pair, budget, move |worker| worker.sign(pair, algorithm, &digest.0))
            .await?;
        match algorithm {
            SignAlgorithm::EcdsaSha256 => public_key::signature_to_der(&raw),
            SignAlgorithm::RsaPssSha256 | SignAlgorithm::RsaPkcs1Sha256 => Ok(raw),
        }
    }

    /// Whether a signature is the key's over the digest; one of a wrong form is not.
    ///
    /// # Errors
    /// As [`Keyring::sign`].
    pub async fn verify<P: Verifies>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: SignatureAlgorithm,
        digest: Digest,
        signature: Vec<u8>,
        budget: &Budget,
    ) -> Result<bool, KeyringError> {
        let (pair, algorithm) = signing(key.record(), version, algorithm)?;
        let raw = match algorithm {
            SignAlgorithm::EcdsaSha256 => public_key::signature_from_der(&signature),
            SignAlgorithm::RsaPssSha256 | SignAlgorithm::RsaPkcs1Sha256 => Some(signature),
        };
        let Some(raw) = raw else { return Ok(false) };
        Ok(self
            .token
            .run_with(pair, budget, move |worker| worker.verify(pair, algorithm, &digest.0, &raw))
            .await?)
    }

    /// Whether [`Keyring::sign`] and [`Keyring::verify`] would be let through to the token.
    ///
    /// # Errors
    /// As they.
    pub fn check_signing<P>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), KeyringError> {
        signing(key.record(), version, algorithm).map(drop)
    }

    /// Encrypts to the key pair, outside the token: the public half is no secret.
    ///
    /// # Errors
    /// As [`Keyring::open_with_pair`]; `InvalidParameter` when the plaintext is too long for the
    /// key.
    pub async fn seal_to_pair<P: ReadsPublicKey>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        budget: &Budget,
    ) -> Result<Vec<u8>, KeyringError> {
        let (pair, _hash) = decrypting(key.record(), version, algorithm)?;
        let public = self.read_public_key(pair, budget).await?;
        let key = OaepKey::from_der(&public_key::der(&public)?, algorithm)?;
        Ok(key.encrypt(plaintext)?)
    }

    /// Decrypts with the private half.
    ///
    /// # Errors
    /// When the key's state, usage or spec forbids it, the version is not the key's, the
    /// ciphertext does not open, or the token fails.
    pub async fn open_with_pair<P: OpensWithPair>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: EncryptionAlgorithm,
        ciphertext: Vec<u8>,
        budget: &Budget,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let (pair, hash) = decrypting(key.record(), version, algorithm)?;
        Ok(self
            .token
            .run_with(pair, budget, move |worker| worker.rsa_decrypt(pair, hash, &ciphertext))
            .await?)
    }

    /// Whether the two above would be let through.
    ///
    /// # Errors
    /// As they.
    pub fn check_decrypting<P>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        algorithm: EncryptionAlgorithm,
    ) -> Result<(), KeyringError> {
        decrypting(key.record(), version, algorithm).map(drop)
    }

    /// The public half as PEM.
    ///
    /// # Errors
    /// When the key is no pair or pending deletion, the version is not the key's, or the token
    /// fails.
    pub async fn public_key_pem<P: ReadsPublicKey>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
        budget: &Budget,
    ) -> Result<String, KeyringError> {
        let pair = public_half(key.record(), version)?;
        public_key::pem(&self.read_public_key(pair, budget).await?)
    }

    /// Whether [`Keyring::public_key_pem`] would be let through to the token.
    ///
    /// # Errors
    /// As it.
    pub fn check_public_key<P>(
        &self,
        key: &AuthorizedKey<P>,
        version: KeyVersionId,
    ) -> Result<(), KeyringError> {
        public_half(key.record(), version).map(drop)
    }

    async fn read_public_key(
        &self,
        pair: KeyIdentity,
        budget: &Budget,
    ) -> Result<PublicKey, KeyringError> {
        Ok(self.token.run_with(pair, budget, move |worker| worker.public_key(pair)).await?)
    }
}

/// What a refused algorithm is told.
const OTHER_ALGORITHM: KeyringError =
    KeyringError::NotForKey("The parameter \"Algorithm\" does not go with the KeySpec of the key");
/// What a refused use is told.
const OTHER_USE: KeyringError =
    KeyringError::NotForKey("The KeySpec or the KeyUsage of the key does not allow it");

/// The token's way to sign, when the key may.
fn signing(
    record: &KeyRecord,
    version: KeyVersionId,
    algorithm: SignatureAlgorithm,
) -> Result<(KeyIdentity, SignAlgorithm), KeyringError> {
    let pair = check_use(record, version, KeyUsage::SignVerify)?;
    let is_rsa = matches!(record.spec, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096);
    let is_ec = matches!(record.spec, KeySpec::EcP256 | KeySpec::EcP256k);
    match algorithm {
        SignatureAlgorithm::RsaPssSha256 if is_rsa => Ok((pair, SignAlgorithm::RsaPssSha256)),
        SignatureAlgorithm::RsaPkcs1Sha256 if is_rsa => Ok((pair, SignAlgorithm::RsaPkcs1Sha256)),
        SignatureAlgorithm::EcdsaSha256 if is_ec => Ok((pair, SignAlgorithm::EcdsaSha256)),
        _ => Err(OTHER_ALGORITHM),
    }
}

/// The token's way to decrypt, when the key may.
fn decrypting(
    record: &KeyRecord,
    version: KeyVersionId,
    algorithm: EncryptionAlgorithm,
) -> Result<(KeyIdentity, OaepHash), KeyringError> {
    let pair = check_use(record, version, KeyUsage::EncryptDecrypt)?;
    match (record.spec, algorithm) {
        (
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096,
            EncryptionAlgorithm::RsaesOaepSha256,
        ) => Ok((pair, OaepHash::Sha256)),
        (
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096,
            EncryptionAlgorithm::RsaesOaepSha1,
        ) => Ok((pair, OaepHash::Sha1)),
        _ => Err(OTHER_ALGORITHM),
    }
}

/// The pair whose public half may be read.
fn public_half(record: &KeyRecord, version: KeyVersionId) -> Result<KeyIdentity, KeyringError> {
    if !record.spec.is_asymmetric() {
        return Err(OTHER_USE);
    }
    state::check(record.state, Use::ReadPublicKey)?;
    Ok(pair_of(record, version)?)
}

fn check_use(
    record: &KeyRecord,
    version: KeyVersionId,
    usage: KeyUsage,
) -> Result<KeyIdentity, KeyringError> {
    if !record.spec.is_asymmetric() || record.usage != usage {
        return Err(OTHER_USE);
    }
    state::check(record.state, Use::Cryptographic)?;
    Ok(pair_of(record, version)?)
}

fn pair_of(record: &KeyRecord, version: KeyVersionId) -> Result<KeyIdentity, ErrorCode> {
    let version = record.version(version).ok_or(ErrorCode::KeyVersionNotFound)?;
    Ok(identity(record, version))
}
