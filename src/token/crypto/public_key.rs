//! Public keys, and their form as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::pem::LineEnding;
use der::{Encode as _, EncodePem as _};
use pkcs1::RsaPublicKey;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::token::objects::template::Curve;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

/// The public key of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, both numbers big-endian without leading zeros.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
    /// A point on a curve.
    Ec {
        /// The curve.
        curve: Curve,
        /// The point, uncompressed (SEC 1, section 2.3.3): `04`, x, y, 65 bytes.
        point: Vec<u8>,
    },
}

impl PublicKey {
    /// The key as PEM, with its header lines.
    ///
    /// # Errors
    /// When a number cannot be encoded.
    pub fn to_pem(&self) -> der::Result<String> {
        self.with_info(|info| info.to_pem(LineEnding::LF))
    }

    /// The key as DER.
    ///
    /// # Errors
    /// When a number cannot be encoded.
    pub fn to_der(&self) -> der::Result<Vec<u8>> {
        self.with_info(|info| info.to_der())
    }

    /// Calls `encode` with the SubjectPublicKeyInfo.
    fn with_info<T>(
        &self,
        encode: impl FnOnce(&SubjectPublicKeyInfoRef<'_>) -> der::Result<T>,
    ) -> der::Result<T> {
        let info = |oid, parameters, bits| -> der::Result<_> {
            Ok(SubjectPublicKeyInfoRef {
                algorithm: AlgorithmIdentifierRef { oid, parameters: Some(parameters) },
                subject_public_key: BitStringRef::from_bytes(bits)?,
            })
        };
        match self {
            Self::Rsa { modulus, exponent } => {
                let (modulus, public_exponent) = (UintRef::new(modulus)?, UintRef::new(exponent)?);
                let bits = RsaPublicKey { modulus, public_exponent }.to_der()?;
                encode(&info(RSA_ENCRYPTION, AnyRef::NULL, &bits)?)
            }
            Self::Ec { curve, point } => {
                let curve = match curve {
                    Curve::P256 => P256,
                    Curve::Secp256k1 => SECP256K1,
                };
                encode(&info(EC_PUBLIC_KEY, AnyRef::from(&curve), point)?)
            }
        }
    }
}
