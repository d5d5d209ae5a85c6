//! Checkpoints: signatures over the chain. An attacker who rewrites records can recompute the
//! chain, but not these.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use der::pem;
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoRef;

use super::chain::Head;
use crate::model::{KeyVersionId, Time};
use crate::token::{Curve, PublicKey};

const POINT_BYTES: usize = 65;
const PEM_LABEL: &str = "PUBLIC KEY";

/// The format of new checkpoints.
pub const FORMAT: u32 = 2;
/// The format of 0.1.0, which does not name the previous checkpoint.
pub(super) const FIRST_FORMAT: u32 = 1;

/// A checkpoint: signs all records up to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The format of the signed text: 1 or 2.
    #[serde(default = "first_format")]
    pub format: u32,
    /// When it was signed, as text.
    pub time: String,
    /// The last record that it covers.
    pub covers: Head,
    /// The previous checkpoint. `None` for the first of a chain. Since format 2.
    #[serde(default)]
    pub follows: Option<CheckpointLink>,
    /// The key version id of the signing key on the token.
    pub key_id: String,
    /// ECDSA on P-256 with SHA-256: `r` and `s`, 64 bytes in Base64.
    pub signature: String,
}

/// The reference of a checkpoint to the previous one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointLink {
    /// The number of the last record that it covers.
    pub sequence: u64,
    /// SHA-256 of its signature as written, in hexadecimal.
    pub sha256: String,
}

const fn first_format() -> u32 {
    FIRST_FORMAT
}

impl Checkpoint {
    /// A checkpoint without a signature.
    pub(super) fn unsigned(
        covers: Head,
        time: Time,
        follows: Option<CheckpointLink>,
        key: KeyVersionId,
    ) -> Self {
        Self {
            format: FORMAT,
            time: time.to_string(),
            covers,
            follows,
            key_id: key.to_string(),
            signature: String::new(),
        }
    }

    pub(super) fn signed(self, signature: &[u8]) -> Self {
        Self { signature: STANDARD.encode(signature), ..self }
    }

    /// The reference to this checkpoint for the next one.
    pub(super) fn link(&self) -> CheckpointLink {
        let sha256 = hex::encode(digest(&SHA256, self.signature.as_bytes()));
        CheckpointLink { sequence: self.covers.sequence, sha256 }
    }

    /// The signed text.
    pub fn text(&self) -> String {
        let Self { format, time, covers, key_id, .. } = self;
        let Head { sequence, chain } = covers;
        let text =
            format!("hsmgate audit checkpoint {format}\n{sequence}\n{chain}\n{time}\n{key_id}\n");
        match (*format, &self.follows) {
            (FIRST_FORMAT, _) => text,
            (_, None) => format!("{text}0\n-\n"),
            (_, Some(CheckpointLink { sequence, sha256 })) => {
                format!("{text}{sequence}\n{sha256}\n")
            }
        }
    }
}

/// A text is not a public key for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the PEM of a public key on P-256")]
pub struct InvalidKey;

impl From<der::Error> for InvalidKey {
    fn from(_source: der::Error) -> Self {
        Self
    }
}

/// The public key of the key that signs checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKey {
    point: Vec<u8>,
    der: Vec<u8>,
    pem: String,
}

impl AuditKey {
    /// The key with this uncompressed point.
    ///
    /// # Errors
    /// When it is not 65 bytes that begin with `04`.
    pub fn from_point(point: &[u8]) -> Result<Self, InvalidKey> {
        if point.len() != POINT_BYTES || !point.starts_with(&[4]) {
            return Err(InvalidKey);
        }
        let key = PublicKey::Ec { curve: Curve::P256, point: point.to_vec() };
        Ok(Self { point: point.to_vec(), der: key.to_der()?, pem: key.to_pem()? })
    }

    /// Parses the PEM of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is not PEM, or another kind of key.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        let wrong = |_source| InvalidKey;
        // RFC 7468 wraps at 64 characters, but a reader accepts other widths.
        let mut decoder = pem::Decoder::new_detect_wrap(pem.trim().as_bytes()).map_err(wrong)?;
        let (label, mut der) = (decoder.type_label(), Vec::new());
        decoder.decode_to_end(&mut der).map_err(wrong)?;
        let info = SubjectPublicKeyInfoRef::from_der(&der)?;
        let key = Self::from_point(info.subject_public_key.raw_bytes())?;
        if label == PEM_LABEL && key.der == der { Ok(key) } else { Err(InvalidKey) }
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> String {
        self.pem.clone()
    }

    /// SHA-256 of its DER form, in hexadecimal, for comparison by eye.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, &self.der))
    }

    /// Whether the key signed the checkpoint.
    pub fn has_signed(&self, checkpoint: &Checkpoint) -> bool {
        self.has_signed_text(&checkpoint.text(), &checkpoint.signature)
    }

    /// Whether the key made this signature, in Base64, of a text.
    pub(super) fn has_signed_text(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point);
        key.verify(text.as_bytes(), &signature).is_ok()
    }
}

/// A checkpoint key, as named in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedKey {
    /// The key version id on the token.
    pub key_id: String,
    /// The public key, as PEM.
    pub public_key: String,
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use der::pem::LineEnding;

    use super::*;

    /// A signing key in memory.
    pub(in super::super) struct TestSigner(EcdsaKeyPair, KeyVersionId);

    impl TestSigner {
        pub(in super::super) fn new() -> Self {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            Self(pair, KeyVersionId::random())
        }

        pub(in super::super) fn key(&self) -> AuditKey {
            AuditKey::from_point(self.0.public_key().as_ref()).unwrap()
        }

        pub(in super::super) fn sign(
            &self,
            covers: Head,
            follows: Option<CheckpointLink>,
        ) -> Checkpoint {
            let time = Time::from_unix(1_700_000_000);
            self.sign_checkpoint(Checkpoint::unsigned(covers, time, follows, self.1))
        }

        /// A checkpoint as 0.1.0 signed it.
        pub(in super::super) fn sign_as_before(&self, covers: Head) -> Checkpoint {
            let time = Time::from_unix(1_700_000_000);
            let unsigned = Checkpoint::unsigned(covers, time, None, self.1);
            self.sign_checkpoint(Checkpoint { format: 1, ..unsigned })
        }

        fn sign_checkpoint(&self, unsigned: Checkpoint) -> Checkpoint {
            let signature = self.sign_text(&unsigned.text());
            unsigned.signed(&signature)
        }

        pub(in super::super) fn sign_text(&self, text: &str) -> Vec<u8> {
            self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
        }
    }

    #[test]
    fn a_signature_is_valid_only_for_its_checkpoint() {
        let signer = TestSigner::new();
        let good = signer.sign(Head::START.followed_by(b"record"), None);
        assert!(signer.key().has_signed(&good));
        assert!(!TestSigner::new().key().has_signed(&good));
        let mut other = good.clone();
        other.covers.sequence += 1;
        assert!(!signer.key().has_signed(&other));
        let other = Checkpoint { follows: Some(good.link()), ..good.clone() };
        assert!(!signer.key().has_signed(&other));
        let other = Checkpoint { format: 1, ..good.clone() };
        assert!(!signer.key().has_signed(&other));
        let other = Checkpoint { time: "2030-01-01T00:00:00Z".to_owned(), ..good };
        assert!(!signer.key().has_signed(&other));
    }

    #[test]
    fn a_key_is_read_back_from_its_pem() {
        let key = TestSigner::new().key();
        assert_eq!(AuditKey::from_pem(&key.to_pem()), Ok(key.clone()));
        let one_line: String = key
            .to_pem()
            .lines()
            .map(|line| match line.strip_prefix("-----") {
                Some(_label) => format!("\n{line}\n"),
                None => line.to_owned(),
            })
            .collect();
        assert_eq!(AuditKey::from_pem(&one_line), Ok(key.clone()));
        for text in ["", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"] {
            assert_eq!(AuditKey::from_pem(text), Err(InvalidKey));
        }
        let another_label = key.to_pem().replace("PUBLIC", "PRIVATE");
        assert_eq!(AuditKey::from_pem(&another_label), Err(InvalidKey));
        // The last byte of the curve's OID.
        let mut another_curve = key.der.clone();
        another_curve[22] ^= 1;
        let pem = pem::encode_string(PEM_LABEL, LineEnding::LF, &another_curve).unwrap();
        assert_eq!(AuditKey::from_pem(&pem), Err(InvalidKey));
    }
}
