//! The ciphertext blob of the public API.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::iv::{IV_BYTES, Iv, IvLength};
use super::text_form::{InvalidId, text_forms};
use super::{KeyVersionId, VersionRef};

/// Length of an AES-GCM tag in bytes: the full 128 bits.
pub const TAG_BYTES: usize = 16;

const VERSION_BYTES: usize = 36;

/// `$`, format 0 without padding, AES-GCM.
const FRAME_HEAD: [u8; 3] = [0x24, 0x00, 0x02];

/// Maximum length of a blob in bytes: the 8,192 bytes of a plaintext's Base64 text and the frame,
/// with room for the data keys and texts that the instance protocol encrypts.
const MAX_BYTES: usize = 16 * 1024;

/// The output of Encrypt and input of Decrypt: 36 ASCII bytes of the key version id, 12 bytes IV,
/// the ciphertext and the 16-byte tag.
///
/// This is the layout of the real service, which the vendor's transfer SDKs also use. The key
/// version id selects the key, so a blob is never ambiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CiphertextBlob {
    /// The key version that encrypted.
    pub version: KeyVersionId,
    /// The initialization vector.
    pub iv: Iv,
    /// Ciphertext and tag. At least [`TAG_BYTES`] long when parsed.
    pub ciphertext: Vec<u8>,
}

impl CiphertextBlob {
    /// The blob as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let iv = self.iv.as_slice();
        let mut bytes = Vec::with_capacity(VERSION_BYTES + iv.len() + self.ciphertext.len());
        bytes.extend_from_slice(&self.version.to_ascii());
        bytes.extend_from_slice(iv);
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// Parses a blob.
    ///
    /// # Errors
    /// When it is too short or too long, or does not begin with a key version id.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
        if bytes.len() > MAX_BYTES {
            return Err(InvalidId("ciphertext blob"));
        }
        Self::split(bytes)
    }

    /// The blob of a key version whose IVs have this length. The layout does not show it: a parsed
    /// blob begins with an IV of 96 bits, and a client may have separated as many.
    ///
    /// # Errors
    /// When it is too short.
    pub fn with_iv_length(self, length: IvLength) -> Result<Self, InvalidId> {
        if self.iv.length() == length {
            return Ok(self);
        }
        let bytes = [self.iv.as_slice(), &self.ciphertext].concat();
        let (iv, ciphertext) =
            Iv::split_from(&bytes, length).ok_or(InvalidId("ciphertext blob"))?;
        Ok(Self { version: self.version, iv, ciphertext: ciphertext.to_vec() })
    }

    /// The blob after the header that marks an AES-GCM ciphertext with its key version in the KMS
    /// instance protocol (AdvanceEncrypt). Has no length limit.
    pub fn to_framed(&self) -> Vec<u8> {
        [&FRAME_HEAD, self.to_bytes().as_slice()].concat()
    }

    /// Parses the output of [`CiphertextBlob::to_framed`].
    ///
    /// # Errors
    /// When it has another header, is too short, or has no key version id.
    pub fn from_framed(bytes: &[u8]) -> Result<Self, InvalidId> {
        Self::split(bytes.strip_prefix(&FRAME_HEAD).ok_or(InvalidId("framed ciphertext"))?)
    }

    fn split(bytes: &[u8]) -> Result<Self, InvalidId> {
        let invalid = InvalidId("ciphertext blob");
        let (version, rest) = bytes.split_at_checked(VERSION_BYTES).ok_or(invalid)?;
        let (iv, ciphertext) = Iv::split_from(rest, IvLength::Bits96).ok_or(invalid)?;
        if ciphertext.len() < TAG_BYTES {
            return Err(invalid);
        }
        let version = std::str::from_utf8(version).map_err(|_source| invalid)?;
        Ok(Self {
            version: version.parse().map_err(|_source| invalid)?,
            iv,
            ciphertext: ciphertext.to_vec(),
        })
    }
}

text_forms!(CiphertextBlob: FromParam);
text_forms!(CiphertextParam: FromParam);

impl FromStr for CiphertextBlob {
    type Err = InvalidId;

    fn from_str(base64: &str) -> Result<Self, InvalidId> {
        Self::from_bytes(&decoded(base64)?)
    }
}

fn decoded(base64: &str) -> Result<Vec<u8>, InvalidId> {
    if base64.len() > 2 * MAX_BYTES {
        return Err(InvalidId("ciphertext blob"));
    }
    STANDARD.decode(base64).map_err(|_source| InvalidId("ciphertext blob"))
}

/// A ciphertext blob in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CiphertextParam {
    /// Encrypted by a key version of this gateway's id format.
    Local(CiphertextBlob),
    /// Encrypted by a key version of the real service (see [`VersionRef::Foreign`]). This gateway
    /// cannot decrypt it.
    Foreign(Arc<str>),
}

impl CiphertextParam {
    /// Parses the output of an `Advance` operation of this gateway or the real service.
    ///
    /// # Errors
    /// As [`CiphertextBlob::from_framed`].
    pub fn from_framed(bytes: &[u8]) -> Result<Self, InvalidId> {
        let whole = bytes.strip_prefix(&FRAME_HEAD).ok_or(InvalidId("framed ciphertext"))?;
        Self::of(whole, CiphertextBlob::split(whole))
    }

    fn of(bytes: &[u8], here: Result<CiphertextBlob, InvalidId>) -> Result<Self, InvalidId> {
        let refused = match here {
            Ok(blob) => return Ok(Self::Local(blob)),
            Err(refused) => refused,
        };
        let has_room = bytes.len() >= VERSION_BYTES + IV_BYTES + TAG_BYTES;
        let version = bytes.get(..VERSION_BYTES).filter(|_version| has_room);
        match version.and_then(|version| std::str::from_utf8(version).ok()).map(str::parse) {
            Some(Ok(VersionRef::Foreign(name))) => Ok(Self::Foreign(name)),
            _ => Err(refused),
        }
    }
}

impl FromStr for CiphertextParam {
    type Err = InvalidId;

    fn from_str(base64: &str) -> Result<Self, InvalidId> {
        let bytes = decoded(base64)?;
        Self::of(&bytes, CiphertextBlob::from_bytes(&bytes))
    }
}

impl Serialize for CiphertextBlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Iv::Bits96(iv) = self.iv else {
            return serializer.serialize_str(&STANDARD.encode(self.to_bytes()));
        };
        let frame = VERSION_BYTES + IV_BYTES;
        let mut text = String::with_capacity((frame + self.ciphertext.len()).div_ceil(3) * 4);
        // The two encoded parts can be concatenated: the first is a multiple of Base64's groups of
        // three bytes.
        const { assert!((VERSION_BYTES + IV_BYTES).is_multiple_of(3)) };
        STANDARD.encode_string([self.version.to_ascii().as_slice(), &iv].concat(), &mut text);
        STANDARD.encode_string(&self.ciphertext, &mut text);
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::*;
    use crate::model::EncryptionContext;

    const VECTOR: &str = "NDZhOWVmZDktM2QxNi00ODk0LWJkNGYtMWZjNDNmM2YyYWJmEBESExQVFhcYGRobHIrsdyqiGtK+VWx8eBdRH8lZGJvR1di6RsHADA2y";

    #[test]
    fn the_layout_is_the_one_of_the_transfer_sdks() {
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let iv: [u8; IV_BYTES] = std::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap());
        let context: EncryptionContext = r#"{"a":"1","b":"2"}"#.parse().unwrap();
        let mut ciphertext = b"attack at dawn".to_vec();
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(context.aad().unwrap()),
                &mut ciphertext,
            )
            .unwrap();
        let version = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf".parse().unwrap();
        let blob = CiphertextBlob { version, iv: iv.into(), ciphertext };
        assert_eq!(STANDARD.encode(blob.to_bytes()), VECTOR);
        assert_eq!(serde_json::to_string(&blob).unwrap(), format!("\"{VECTOR}\""));
        assert_eq!(VECTOR.parse::<CiphertextBlob>().as_ref(), Ok(&blob));
        let framed = blob.to_framed();
        assert_eq!(framed, [&[0x24, 0x00, 0x02], &*STANDARD.decode(VECTOR).unwrap()].concat());
        assert_eq!(CiphertextBlob::from_framed(&framed), Ok(blob));
    }

    #[test]
    fn a_blob_of_the_real_service_is_foreign() {
        let blob = VECTOR.parse::<CiphertextBlob>().unwrap();
        assert_eq!(VECTOR.parse(), Ok(CiphertextParam::Local(blob.clone())));
        let named = |name: &str, rest: &[u8]| STANDARD.encode([name.as_bytes(), rest].concat());
        let (name, rest) = ("key-hzz630494463ejqjx1234-0a1b2c3d4e", &blob.to_bytes()[36..]);
        assert_eq!(named(name, rest).parse(), Ok(CiphertextParam::Foreign(name.into())));
        let framed = [&FRAME_HEAD, name.as_bytes(), rest].concat();
        assert_eq!(
            CiphertextParam::from_framed(&framed),
            Ok(CiphertextParam::Foreign(name.into()))
        );
        assert_eq!(
            CiphertextParam::from_framed(&blob.to_framed()),
            Ok(CiphertextParam::Local(blob.clone()))
        );
        for text in [
            named(name, &rest[..27]),
            named("key-hzz630494463ejqjx1234-0a1b2c3d4E", rest),
            named("", rest),
            "AAAA".to_owned(),
        ] {
            assert!(text.parse::<CiphertextParam>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_blob_with_an_iv_of_128_bits_is_divided_as_its_version_says() {
        let version = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf".parse().unwrap();
        let blob = CiphertextBlob { version, iv: Iv::Bits128([7; 16]), ciphertext: vec![9; 20] };
        assert_eq!(blob.to_bytes().len(), 36 + 16 + 20);
        let parsed = CiphertextBlob::from_bytes(&blob.to_bytes()).unwrap();
        assert_eq!(parsed.iv, Iv::Bits96([7; 12]));
        assert_eq!(parsed.with_iv_length(IvLength::Bits128), Ok(blob.clone()));
        assert_eq!(serde_json::to_string(&blob).unwrap().len(), 72_usize.div_ceil(3) * 4 + 2);
        assert_eq!(blob.clone().with_iv_length(IvLength::Bits128), Ok(blob.clone()));
        let short = CiphertextBlob { iv: Iv::Bits96([7; 12]), ciphertext: vec![9; 3], ..blob };
        assert!(short.with_iv_length(IvLength::Bits128).is_err());
    }

    #[test]
    fn a_ciphertext_with_only_the_header_of_a_framed_one_is_refused() {
        let framed = VECTOR.parse::<CiphertextBlob>().unwrap().to_framed();
        for length in 0..framed.len() - 14 {
            assert!(CiphertextBlob::from_framed(&framed[..length]).is_err(), "{length}");
        }
        for (at, byte) in [(0, b'%'), (1, 0x10), (1, 0x01), (2, 0x01), (3, b'g'), (4, 0)] {
            let mut other = framed.clone();
            other[at] = byte;
            assert!(CiphertextBlob::from_framed(&other).is_err(), "{at}");
        }
    }

    #[test]
    fn a_blob_without_version_iv_and_tag_is_refused() {
        let bytes = STANDARD.decode(VECTOR).unwrap();
        for length in 0..VERSION_BYTES + IV_BYTES + TAG_BYTES {
            assert!(CiphertextBlob::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        for start in [&b"key-"[..], b"$\0\x02", "ä".as_bytes()] {
            let mut other = bytes.clone();
            other[..start.len()].copy_from_slice(start);
            assert!(CiphertextBlob::from_bytes(&other).is_err());
        }
        assert!(CiphertextBlob::from_bytes(&vec![b'0'; MAX_BYTES + 1]).is_err());
    }
}
