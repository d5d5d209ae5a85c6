//! Key pairs: signing, verification and decryption in the token; encryption with the public key
//! outside.

use zeroize::Zeroizing;

use super::public_key::{OaepKey, oaep_hash};
use super::{
    Execution, KeyAction, Keyring, KeyringError, PublicHalf, UsableVersion, VersionSelector,
    public_key,
};
use crate::authz::{AuthorizedKey, CanDecryptAsymmetric, CanReadPublicKey, CanSign, CanVerify};
use crate::model::algorithm::{Digest, EncryptionAlgorithm, SignatureAlgorithm};
use crate::model::{KeySpec, KeyUsage};
use crate::token::{Budget, KeyIdentity, OaepHash, PublicKey, SignAlgorithm, Worker};

impl Keyring {
    /// Returns a version that can sign or verify with this key now.
    ///
    /// # Errors
    /// When the key's state, usage or spec forbids it, or the version does not exist.
    pub fn signing_version<'k, P>(
        &self,
        key: &'k AuthorizedKey<P>,
        version: VersionSelector,
        algorithm: SignatureAlgorithm,
    ) -> Result<UsableVersion<'k, P, SignAlgorithm>, KeyringError> {
        let pair = pair_version(key, KeyUsage::SignVerify, version)?;
        let is_ec = matches!(key.record().spec, KeySpec::EcP256 | KeySpec::EcP256k);
        Ok(pair.with(match algorithm {
            SignatureAlgorithm::RsaPssSha256 if is_rsa(key) => SignAlgorithm::RsaPssSha256,
            SignatureAlgorithm::RsaPkcs1Sha256 if is_rsa(key) => SignAlgorithm::RsaPkcs1Sha256,
            SignatureAlgorithm::EcdsaSha256 if is_ec => SignAlgorithm::EcdsaSha256,
            _ => return Err(KeyringError::OTHER_ALGORITHM),
        }))
    }

    /// Returns a version that can encrypt or decrypt with this key pair now.
    ///
    /// # Errors
    /// As [`Keyring::signing_version`].
    pub fn oaep_version<'k, P>(
        &self,
        key: &'k AuthorizedKey<P>,
        version: VersionSelector,
        algorithm: EncryptionAlgorithm,
    ) -> Result<UsableVersion<'k, P, OaepHash>, KeyringError> {
        let pair = pair_version(key, KeyUsage::EncryptDecrypt, version)?;
        let hash = oaep_hash(algorithm).filter(|_hash| is_rsa(key));
        Ok(pair.with(hash.ok_or(KeyringError::OTHER_ALGORITHM)?))
    }

    /// Returns a version of this key pair whose public key can be read now.
    ///
    /// # Errors
    /// When the key is not a pair or pending deletion, or the version does not exist.
    pub fn public_half_version<'k, P: CanReadPublicKey>(
        &self,
        key: &'k AuthorizedKey<P>,
        version: VersionSelector,
    ) -> Result<UsableVersion<'k, P, PublicHalf>, KeyringError> {
        if !key.record().spec.is_asymmetric() {
            return Err(OTHER_USE);
        }
        Ok(UsableVersion::new(key, KeyAction::ReadPublicKey, version)?.with_public_half())
    }

    /// Signs a digest. An RSA signature is as long as the modulus, an ECDSA signature is DER.
    ///
    /// # Errors
    /// When the token fails.
    pub async fn sign<P: CanSign>(
        &self,
        version: &UsableVersion<'_, P, SignAlgorithm>,
        digest: Digest,
        execution: Execution<'_>,
    ) -> Result<Vec<u8>, KeyringError> {
        let (pair, algorithm) = (version.identity_for_use(), version.algorithm);
        let sign = move |worker: &mut Worker<'_>| worker.sign(pair, algorithm, &digest.0);
        let raw = self.token.run_with(pair, execution.budget(), sign).await?;
        match algorithm {
            SignAlgorithm::EcdsaSha256 => public_key::signature_to_der(&raw),
            SignAlgorithm::RsaPssSha256 | SignAlgorithm::RsaPkcs1Sha256 => Ok(raw),
        }
    }

    /// Verifies a signature over a digest; false for a malformed one.
    ///
    /// # Errors
    /// As [`Keyring::sign`].
    pub async fn verify<P: CanVerify>(
        &self,
        version: &UsableVersion<'_, P, SignAlgorithm>,
        digest: Digest,
        signature: Vec<u8>,
        execution: Execution<'_>,
    ) -> Result<bool, KeyringError> {
        let (pair, algorithm) = (version.identity_for_use(), version.algorithm);
        let raw = match algorithm {
            SignAlgorithm::EcdsaSha256 => public_key::signature_from_der(&signature),
            SignAlgorithm::RsaPssSha256 | SignAlgorithm::RsaPkcs1Sha256 => Some(signature),
        };
        let Some(raw) = raw else { return Ok(false) };
        let verify = move |worker: &mut Worker<'_>| worker.verify(pair, algorithm, &digest.0, &raw);
        Ok(self.token.run_with(pair, execution.budget(), verify).await?)
    }

    /// Encrypts to the key pair, outside the token: the public key is not secret.
    ///
    /// # Errors
    /// `InvalidParameter` when the plaintext is too long for the key; when the token fails.
    pub async fn encrypt_to_pair<P: CanReadPublicKey>(
        &self,
        version: &UsableVersion<'_, P, OaepHash>,
        plaintext: &[u8],
        budget: &Budget,
    ) -> Result<Vec<u8>, KeyringError> {
        let public = self.read_public_key(version.identity_for_use(), budget).await?;
        let key = OaepKey::from_der(&public.to_der()?, version.algorithm)?;
        Ok(key.encrypt(plaintext)?)
    }

    /// Decrypts with the private key.
    ///
    /// # Errors
    /// When the ciphertext cannot be decrypted, or the token fails.
    pub async fn decrypt_with_pair<P: CanDecryptAsymmetric>(
        &self,
        version: &UsableVersion<'_, P, OaepHash>,
        ciphertext: Vec<u8>,
        budget: &Budget,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let (pair, hash) = (version.identity_for_use(), version.algorithm);
        let decrypt = move |worker: &mut Worker<'_>| worker.rsa_decrypt(pair, hash, &ciphertext);
        Ok(self.token.run_with(pair, budget, decrypt).await?)
    }

    /// The public key as PEM.
    ///
    /// # Errors
    /// When the token fails.
    pub async fn public_key_pem<P: CanReadPublicKey>(
        &self,
        version: &UsableVersion<'_, P, PublicHalf>,
        execution: Execution<'_>,
    ) -> Result<String, KeyringError> {
        Ok(self.read_public_key(version.identity, execution.budget()).await?.to_pem()?)
    }

    async fn read_public_key(
        &self,
        pair: KeyIdentity,
        budget: &Budget,
    ) -> Result<PublicKey, KeyringError> {
        Ok(self.token.run_with(pair, budget, move |worker| worker.public_key(pair)).await?)
    }
}

/// The error for a KeySpec or KeyUsage that does not allow the operation.
const OTHER_USE: KeyringError =
    KeyringError::NotForKey("The KeySpec or the KeyUsage of the key does not allow it");

fn pair_version<P>(
    key: &AuthorizedKey<P>,
    usage: KeyUsage,
    version: VersionSelector,
) -> Result<UsableVersion<'_, P, ()>, KeyringError> {
    let record = key.record();
    if !record.spec.is_asymmetric() || record.usage != usage {
        return Err(OTHER_USE);
    }
    Ok(UsableVersion::new(key, KeyAction::Cryptographic, version)?)
}

fn is_rsa<P>(key: &AuthorizedKey<P>) -> bool {
    matches!(key.record().spec, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096)
}
