//! The operations of the KMS instance protocol: plain bytes where the public API has Base64 text.
//!
//! The plain calls use a key's initial version for ever, since nothing in their ciphertexts says
//! which version encrypted; the `Advance` calls use the primary one and write it into the ciphertext.

pub mod advance_decrypt;
pub mod advance_encrypt;
pub mod advance_generate_data_key;
pub mod advance_generate_data_key_pair;
pub mod advance_generate_data_key_pair_without_plaintext;
pub mod decrypt;
pub mod encrypt;
pub mod generate_data_key;
pub mod generate_data_key_pair;
pub mod generate_data_key_pair_without_plaintext;
pub mod generate_random;
pub mod get_public_key;
pub mod sign;
pub mod verify;

use zeroize::Zeroizing;

use super::Context;
use crate::authz::{AuthorizedKey, CanEncrypt};
use crate::error::{ApiError, ErrorCode};
use crate::keyring::{PairForm, VersionSelector};
use crate::model::algorithm::{CipherAlgorithm, EncryptionAlgorithm, SignatureAlgorithm};
use crate::model::{DataKeyPairSpec, IV_BYTES, KeyId, KeyRef, KeyVersionId};

/// What is to be encrypted.
pub struct EncryptInput {
    /// The key.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How, where the caller says.
    pub algorithm: Option<CipherAlgorithm>,
    /// The data.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// What is authenticated beside it; empty is the same as none.
    pub aad: Vec<u8>,
    /// The caller's own IV.
    pub iv: Option<[u8; IV_BYTES]>,
}

/// What was encrypted.
#[derive(Debug)]
pub struct EncryptOutput {
    /// The key.
    pub key: KeyId,
    /// The key version that encrypted.
    pub version: KeyVersionId,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The IV, of AES-GCM.
    pub iv: Option<[u8; IV_BYTES]>,
    /// The ciphertext in the layout of its operation.
    pub ciphertext: Vec<u8>,
}

/// What is to be decrypted.
#[derive(Debug)]
pub struct DecryptInput {
    /// The key, where the caller names one.
    pub key: Option<KeyRef>,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How, where the caller says.
    pub algorithm: Option<CipherAlgorithm>,
    /// The ciphertext in the layout of its operation.
    pub ciphertext: Vec<u8>,
    /// What was authenticated beside it; empty is the same as none.
    pub aad: Vec<u8>,
    /// The IV, where the caller gives one.
    pub iv: Option<[u8; IV_BYTES]>,
}

/// What was decrypted.
pub struct DecryptOutput {
    /// The key.
    pub key: KeyId,
    /// The key version that decrypted.
    pub version: KeyVersionId,
    /// How.
    pub algorithm: CipherAlgorithm,
    /// The data.
    pub plaintext: Zeroizing<Vec<u8>>,
}

/// Which data key is wanted.
#[derive(Debug)]
pub struct DataKeyInput {
    /// The key that encrypts it.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How, where the caller says.
    pub algorithm: Option<CipherAlgorithm>,
    /// Its length, 1 to 1024 bytes.
    pub bytes: usize,
    /// What is authenticated beside it; empty is the same as none.
    pub aad: Vec<u8>,
}

/// A new data key.
pub struct DataKey {
    /// Its bytes.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The same, encrypted.
    pub encrypted: EncryptOutput,
}

/// Which data key pair is wanted.
#[derive(Debug)]
pub struct DataKeyPairInput {
    /// The key that encrypts its private half.
    pub key: KeyRef,
    /// The key version, where the caller names one.
    pub version: Option<KeyVersionId>,
    /// How, where the caller says.
    pub algorithm: Option<CipherAlgorithm>,
    /// Which pair, and how it is written.
    pub form: PairForm,
    /// What is authenticated beside the private half; empty is the same as none.
    pub aad: Vec<u8>,
}

/// A new data key pair.
pub struct DataKeyPair {
    /// Its kind and size.
    pub spec: DataKeyPairSpec,
    /// The private half: PKCS#8.
    pub private: Zeroizing<Vec<u8>>,
    /// The public half: SubjectPublicKeyInfo.
    pub public: Vec<u8>,
    /// The private half, encrypted.
    pub encrypted: EncryptOutput,
}

/// How the encrypted private half of a pair is laid out, and with which version it is encrypted unless
/// the caller names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The bare ciphertext of the initial version.
    Plain,
    /// The framed ciphertext of the primary version.
    Framed,
}

/// Makes a data key pair: what the four operations have in common.
async fn new_pair<P: CanEncrypt>(
    input: DataKeyPairInput,
    layout: Layout,
    cx: &Context,
) -> Result<DataKeyPair, ApiError> {
    let key = cx.key::<P>(&input.key)?;
    only_symmetric(&key)?;
    only_gcm(input.algorithm)?;
    let version = match layout {
        Layout::Plain => VersionSelector::named_or_initial(input.version),
        Layout::Framed => VersionSelector::named_or_primary(input.version),
    };
    let version = cx.keyring().encryption_version(&key, version)?;
    cx.note_version(version.id());
    let (pair, blob) =
        cx.keyring().data_key_pair(&version, input.form, input.aad, cx.execution()?).await?;
    let encrypted = EncryptOutput {
        key: key.record().id,
        version: version.id(),
        algorithm: CipherAlgorithm::AesGcm,
        iv: Some(blob.iv),
        ciphertext: match layout {
            Layout::Plain => blob.ciphertext,
            Layout::Framed => blob.to_framed(),
        },
    };
    let spec = input.form.spec;
    Ok(DataKeyPair { spec, private: pair.private, public: pair.public, encrypted })
}

/// The `Advance` calls are for symmetric keys only, and say so in a way of their own.
fn only_symmetric<P>(key: &AuthorizedKey<P>) -> Result<(), ApiError> {
    let record = key.record();
    if !record.spec.is_asymmetric() {
        return Ok(());
    }
    let message = format!(
        "The key {} is not a symmetric key. The API only supports symmetric keys.",
        record.id
    );
    Err(ApiError::with_message(ErrorCode::OnlySymmetricKeySupported, message))
}

/// Symmetric keys are used with AES-GCM alone.
fn only_gcm(algorithm: Option<CipherAlgorithm>) -> Result<(), ApiError> {
    match algorithm {
        None | Some(CipherAlgorithm::AesGcm) => Ok(()),
        Some(other) => Err(other_algorithm(other, "a symmetric key encrypts with AES_GCM alone")),
    }
}

/// The refusal of a way to encrypt that the protocol has.
fn other_algorithm(algorithm: CipherAlgorithm, reason: &str) -> ApiError {
    ApiError::unsupported_parameter("Algorithm", &format!("it is {algorithm}, and {reason}"))
}

/// How to encrypt to a key pair.
fn pair_algorithm(
    algorithm: Option<CipherAlgorithm>,
) -> Result<(CipherAlgorithm, EncryptionAlgorithm), ApiError> {
    match algorithm {
        None | Some(CipherAlgorithm::RsaesOaepSha256) => {
            Ok((CipherAlgorithm::RsaesOaepSha256, EncryptionAlgorithm::RsaesOaepSha256))
        }
        Some(CipherAlgorithm::RsaesOaepSha1) => {
            Ok((CipherAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha1))
        }
        Some(other) => Err(other_algorithm(
            other,
            "an RSA key encrypts with RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1",
        )),
    }
}

/// A key pair authenticates nothing beside the data and has no IV: to take either in silence would
/// promise what is not kept.
fn only_plain(aad: &[u8], iv: Option<[u8; IV_BYTES]>) -> Result<(), ApiError> {
    if !aad.is_empty() {
        return Err(ApiError::invalid_parameter("Aad"));
    }
    if iv.is_some() {
        return Err(ApiError::invalid_parameter("Iv"));
    }
    Ok(())
}

/// A caller's own IV, as far as this gateway accepts one.
fn accepted_iv(
    cx: &Context,
    iv: Option<[u8; IV_BYTES]>,
) -> Result<Option<[u8; IV_BYTES]>, ApiError> {
    if iv.is_none() || cx.compatibility().caller_iv {
        return Ok(iv);
    }
    let message = "The specified parameter \"Iv\" is not valid. This gateway draws every IV itself, \
                   because one that is used twice breaks AES-GCM for its key: leave it out, or set \
                   crypto.accept_caller_iv.";
    Err(ApiError::with_message(ErrorCode::InvalidParameter, message))
}

/// How to sign: as the caller says, or by the default of the key.
fn signature_algorithm<P>(
    key: &AuthorizedKey<P>,
    input: Option<SignatureAlgorithm>,
) -> Result<SignatureAlgorithm, ApiError> {
    let algorithm = input.or_else(|| SignatureAlgorithm::of(key.record().spec));
    algorithm.ok_or_else(|| ApiError::not_for_key("The KeySpec of the key does not sign"))
}
