//! Data key pairs: generated in software, because their private keys are returned, and encrypted in
//! the token like data keys.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _,
};
use der::pem::{self, LineEnding};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{AesGcm, Execution, Keyring, KeyringError, UsableVersion};
use crate::authz::CanEncrypt;
use crate::model::{CiphertextBlob, DataKeyPairSpec, KeyFormat};
use crate::telemetry::{Limit, Throttled};

/// Allows one generation at a time, as the real service does: a large pair takes a processor for
/// seconds.
#[derive(Clone)]
pub(super) struct PairGenerator(Arc<Semaphore>);

impl Default for PairGenerator {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl PairGenerator {
    async fn generate(
        &self,
        form: PairForm,
        throttled: &Throttled,
    ) -> Result<DataKeyPair, KeyringError> {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            throttled.count(Limit::key_pairs);
            return Err(KeyringError::PairInProgress);
        };
        let work = spawn_blocking(move || {
            let pair = make(form);
            // Held until the work ends, even if the caller is gone.
            drop(permit);
            pair
        });
        work.await.unwrap_or(Err(KeyringError::PairFailed))
    }
}

/// The kind and format of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairForm {
    /// The kind and size.
    pub spec: DataKeyPairSpec,
    /// The format of both keys.
    pub format: KeyFormat,
}

/// A key pair that the gateway does not store.
pub struct DataKeyPair {
    /// The private key: PKCS#8.
    pub private: Zeroizing<Vec<u8>>,
    /// The public key: SubjectPublicKeyInfo.
    pub public: Vec<u8>,
}

impl Keyring {
    /// Generates a key pair and encrypts its encoded private key. An empty `aad` is the same as
    /// none.
    ///
    /// # Errors
    /// [`KeyringError::PairInProgress`] while another pair is generated; as [`Keyring::encrypt`].
    pub async fn data_key_pair<P: CanEncrypt>(
        &self,
        version: &UsableVersion<'_, P, AesGcm>,
        form: PairForm,
        aad: Vec<u8>,
        execution: Execution<'_>,
    ) -> Result<(DataKeyPair, CiphertextBlob), KeyringError> {
        let pair = self.pair_generator.generate(form, &self.metrics.throttled).await?;
        let encrypted =
            self.encrypt_data_key(version, pair.private.clone(), aad, execution).await?;
        Ok((pair, encrypted))
    }
}

/// Generates a pair. The largest take seconds: never call it from async code.
fn make(form: PairForm) -> Result<DataKeyPair, KeyringError> {
    let (private, public) = halves(form.spec).map_err(|Unspecified| KeyringError::PairFailed)?;
    Ok(match form.format {
        KeyFormat::Der => DataKeyPair { private, public },
        KeyFormat::Pem => DataKeyPair {
            private: Zeroizing::new(in_pem("PRIVATE KEY", &private)?),
            public: in_pem("PUBLIC KEY", &public)?,
        },
    })
}

/// PKCS#8 and SubjectPublicKeyInfo, DER.
fn halves(spec: DataKeyPairSpec) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unspecified> {
    match spec {
        DataKeyPairSpec::Rsa2048 => rsa_halves(KeySize::Rsa2048),
        DataKeyPairSpec::Rsa3072 => rsa_halves(KeySize::Rsa3072),
        DataKeyPairSpec::Rsa4096 => rsa_halves(KeySize::Rsa4096),
        DataKeyPairSpec::EcP256 => ec_halves(&ECDSA_P256_SHA256_ASN1_SIGNING),
        DataKeyPairSpec::EcP256k => ec_halves(&ECDSA_P256K1_SHA256_ASN1_SIGNING),
    }
}

fn rsa_halves(size: KeySize) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unspecified> {
    let pair = rsa::KeyPair::generate(size)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((Zeroizing::new(pair.as_der()?.as_ref().to_vec()), public.as_ref().to_vec()))
}

fn ec_halves(
    curve: &'static EcdsaSigningAlgorithm,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unspecified> {
    let pair = EcdsaKeyPair::generate(curve)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec()), public.as_ref().to_vec()))
}

fn in_pem(label: &str, der: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let text = pem::encode_string(label, LineEnding::LF, der).map_err(der::Error::from)?;
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    };
    use spki::SubjectPublicKeyInfoRef;

    use super::*;

    fn ec(private: &[u8], curve: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(curve, private).unwrap();
        pair.sign(&SystemRandom::new(), b"text").unwrap().as_ref().to_vec()
    }

    fn rsa(private: &[u8]) -> Vec<u8> {
        let pair = RsaKeyPair::from_pkcs8(private).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"text", &mut signature).unwrap();
        signature
    }

    #[test]
    fn what_the_private_half_signs_the_public_half_verifies() {
        for spec in [DataKeyPairSpec::Rsa2048, DataKeyPairSpec::EcP256, DataKeyPairSpec::EcP256k] {
            let pair = make(PairForm { spec, format: KeyFormat::Der }).unwrap();
            SubjectPublicKeyInfoRef::try_from(&*pair.public).unwrap();
            let (signature, is_right) = match spec {
                DataKeyPairSpec::EcP256 => {
                    let signature = ec(&pair.private, &ECDSA_P256_SHA256_ASN1_SIGNING);
                    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &pair.public);
                    (signature.clone(), key.verify(b"text", &signature).is_ok())
                }
                DataKeyPairSpec::EcP256k => {
                    let signature = ec(&pair.private, &ECDSA_P256K1_SHA256_ASN1_SIGNING);
                    let key = UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, &pair.public);
                    (signature.clone(), key.verify(b"text", &signature).is_ok())
                }
                _ => {
                    let signature = rsa(&pair.private);
                    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pair.public);
                    (signature.clone(), key.verify(b"text", &signature).is_ok())
                }
            };
            assert!(is_right, "{spec}: {signature:?}");
        }
    }

    #[test]
    fn text_has_the_header_lines_of_its_half() {
        let pair =
            make(PairForm { spec: DataKeyPairSpec::EcP256, format: KeyFormat::Pem }).unwrap();
        for (half, label) in [(&*pair.private, "PRIVATE KEY"), (&pair.public, "PUBLIC KEY")] {
            let (read, der) = pem::decode_vec(half).unwrap();
            assert_eq!((read, der.is_empty()), (label, false));
        }
    }

    #[tokio::test]
    async fn a_second_pair_at_the_same_time_is_refused() {
        let form = PairForm { spec: DataKeyPairSpec::EcP256, format: KeyFormat::Der };
        let generator = PairGenerator::default();
        let throttled = Throttled::default();
        let permit = generator.0.acquire().await.unwrap();
        let refused = generator.generate(form, &throttled).await;
        assert!(matches!(refused, Err(KeyringError::PairInProgress)));
        drop(permit);
        assert!(generator.generate(form, &throttled).await.is_ok());
    }
}
