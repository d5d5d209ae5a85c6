//! The attributes of the gateway's objects: all of them explicit, because PKCS#11 defaults are
//! permissive (decision D1).

use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::types::Ulong;

use super::name::{MAX_NAME_BYTES, ObjectName};
use crate::token::behavior::{TestKeys, TokenBehavior};

/// The use of a secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// For a test, and destroyed after it.
    Test(TestKeys),
}

/// The label of every key for a test, of the maximum length of a name: a token that keeps only
/// shorter labels is detected by the self-test. It is not a name, so that such a key is not listed.
pub(crate) const TEST_LABEL: &[u8; MAX_NAME_BYTES] =
    b"hsmgate: a key for a test that is destroyed after it; left over if no gateway is running now";

/// The id of every key for a test.
const TEST_ID: [u8; 16] = *b"hsmgate test key";

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
    template.push(Attribute::Modifiable(behavior.makes_modifiable_secrets()));
    template
}

/// The template of a secret key that the gateway closes and copies: its attributes can be changed.
pub(crate) fn openable(mut template: Vec<Attribute>) -> Vec<Attribute> {
    template.retain(|one| !matches!(one, Attribute::Modifiable(_) | Attribute::Copyable(_)));
    template.push(Attribute::Modifiable(true));
    template
}

/// The attributes that a copy of such a key in the token has in addition.
pub(crate) fn changes_of_copy(
    lifetime: ObjectLifetime<'_>,
    behavior: TokenBehavior,
) -> Vec<Attribute> {
    let mut template = Vec::new();
    push_lifetime(&mut template, lifetime);
    if !behavior.copies.are_used() {
        template.push(Attribute::Copyable(false));
    }
    template.push(Attribute::Modifiable(behavior.makes_modifiable_secrets()));
    template
}

/// Adds the lifetime and the name.
fn push_lifetime(template: &mut Vec<Attribute>, lifetime: ObjectLifetime<'_>) {
    match lifetime {
        ObjectLifetime::Test(keys) => template.extend([
            Attribute::Token(keys == TestKeys::TokenObjects),
            Attribute::Id(TEST_ID.to_vec()),
            Attribute::Label(TEST_LABEL.to_vec()),
        ]),
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
    behavior: TokenBehavior,
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
        Attribute::Modifiable(behavior.is_modifiable),
    ];
    template.extend(kind.parameters());
    push_lifetime(&mut template, lifetime);
    template
}

/// The private key of a key pair.
pub(crate) fn private_key(
    kind: PairKind,
    pair_use: PairUse,
    lifetime: ObjectLifetime<'_>,
    behavior: TokenBehavior,
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
        Attribute::Modifiable(behavior.is_modifiable),
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

    /// Size and exponent, or the curve: the token generates the pair from them.
    pub(crate) fn parameters(self) -> Vec<Attribute> {
        match self {
            Self::Rsa { bits } => vec![
                Attribute::ModulusBits(bits),
                Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()),
            ],
            Self::Ec { curve } => vec![Attribute::EcParams(curve.oid().to_vec())],
        }
    }
}
