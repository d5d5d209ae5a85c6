//! The attributes of the gateway's objects: all of them explicit, because PKCS#11 defaults are
//! permissive (decision D1).

use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::types::Ulong;

use super::name::ObjectName;
use crate::token::behavior::{Copies, TokenBehavior};

/// The use of a secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretUse {
    Cipher,
    Mac,
}

impl SecretUse {
    /// The key type for the use.
    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::Cipher => KeyType::AES,
            Self::Mac => KeyType::GENERIC_SECRET,
        }
    }
}

/// The lifetime of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ObjectLifetime<'a> {
    /// A token object, with a name.
    Token(&'a ObjectName),
    /// An object of the session that creates it, for a test.
    Session,
}

/// A secret key. `bytes` is omitted in a template for C_UnwrapKey, where tokens reject it.
pub(crate) fn secret_key(
    bytes: Option<Ulong>,
    secret_use: SecretUse,
    lifetime: ObjectLifetime<'_>,
    behavior: TokenBehavior,
) -> Vec<Attribute> {
    let is_cipher = secret_use == SecretUse::Cipher;
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(secret_use.key_type()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(is_cipher),
        Attribute::Decrypt(is_cipher),
        Attribute::Sign(!is_cipher),
        Attribute::Verify(!is_cipher),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    template.extend(bytes.map(Attribute::ValueLen));
    // Where copies are used the default, true, is right; NSS does not support the attribute at all.
    if !behavior.copies.are_used() {
        template.push(Attribute::Copyable(false));
    }
    push_lifetime(&mut template, lifetime);
    // Last: SoftHSM processes a template in order, and ignores everything after this one in
    // C_UnwrapKey.
    template.push(Attribute::Modifiable(behavior.copies == Copies::OfModifiable));
    template
}

/// Adds the lifetime and the name.
pub(crate) fn push_lifetime(template: &mut Vec<Attribute>, lifetime: ObjectLifetime<'_>) {
    match lifetime {
        ObjectLifetime::Session => template.push(Attribute::Token(false)),
        ObjectLifetime::Token(name) => template.extend([
            Attribute::Token(true),
            Attribute::Id(name.version.as_bytes().to_vec()),
            Attribute::Label(name.to_string().into_bytes()),
        ]),
    }
}

/// The use of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairUse {
    Cipher,
    Signature,
    /// The private key unwraps imported material, and decrypts for a control call.
    Wrapping,
}

/// The parameters of a type of key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairKind {
    Rsa { bits: Ulong },
    Ec { curve: Curve },
}

/// The named curves of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// P-256 of NIST SP 800-186 (secp256r1).
    P256,
    /// secp256k1 of SEC 2.
    Secp256k1,
}

impl Curve {
    /// Both curves.
    pub const ALL: &'static [Self] = &[Self::P256, Self::Secp256k1];

    /// The curve with this object identifier, in the encoding of `CKA_EC_PARAMS`.
    pub(crate) fn of_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|curve| curve.oid() == oid)
    }

    /// The DER encoding of the curve's object identifier, as in `CKA_EC_PARAMS`.
    pub const fn oid(self) -> &'static [u8] {
        match self {
            // 1.2.840.10045.3.1.7
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            // 1.3.132.0.10
            Self::Secp256k1 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
        }
    }
}

const PUBLIC_EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];

/// The public key of a key pair.
pub(crate) fn public_key(
    kind: PairKind,
    pair_use: PairUse,
    lifetime: ObjectLifetime<'_>,
) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(kind.key_type()),
        Attribute::Private(false),
        Attribute::Encrypt(pair_use != PairUse::Signature),
        Attribute::Verify(pair_use == PairUse::Signature),
        Attribute::VerifyRecover(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
    ];
    match kind {
        PairKind::Rsa { bits } => template.extend([
            Attribute::ModulusBits(bits),
            Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()),
        ]),
        PairKind::Ec { curve } => template.push(Attribute::EcParams(curve.oid().to_vec())),
    }
    push_lifetime(&mut template, lifetime);
    template
}

/// The private key of a key pair.
pub(crate) fn private_key(
    kind: PairKind,
    pair_use: PairUse,
    lifetime: ObjectLifetime<'_>,
) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(kind.key_type()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Decrypt(pair_use != PairUse::Signature),
        Attribute::Sign(pair_use == PairUse::Signature),
        Attribute::SignRecover(false),
        Attribute::Unwrap(pair_use == PairUse::Wrapping),
        Attribute::Derive(false),
        Attribute::Modifiable(false),
    ];
    push_lifetime(&mut template, lifetime);
    template
}

impl PairKind {
    fn key_type(self) -> KeyType {
        match self {
            Self::Rsa { .. } => KeyType::RSA,
            Self::Ec { .. } => KeyType::EC,
        }
    }
}
