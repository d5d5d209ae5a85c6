//! Inspects the gateway's objects by their attributes: enough to rebuild a catalogue, and to check
//! every key against the attributes of its generation.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;

use super::adaptation::{TemplateOf, is_required};
use super::generate::GenerationParams;
use super::name::ObjectName;
use super::query::{self, attribute, class_from, name_from};
use super::template::{self, Curve, ObjectLifetime, PairKind, PairUse, SecretUse};
use crate::model::{KeySpec, KeyUsage};
use crate::token::behavior::TokenBehavior;
use crate::token::checks::key_test;
use crate::token::crypto::mechanism::MacAlgorithm;
use crate::token::error::TokenError;
use crate::token::worker::Worker;

/// The attributes that describe an object.
const KIND_ATTRIBUTES: &[AttributeType] = &[
    AttributeType::Label,
    AttributeType::Class,
    AttributeType::KeyType,
    AttributeType::ValueLen,
    AttributeType::Modulus,
    AttributeType::EcParams,
    AttributeType::Sign,
    AttributeType::Decrypt,
    AttributeType::Unwrap,
    AttributeType::Local,
    AttributeType::Modifiable,
];

/// Why an object is not one of the gateway's, whatever its label.
const NO_KIND: &str = "it is not a kind of key that hsmgate generates";

/// The objects of one name, inspected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Their name.
    pub name: ObjectName,
    /// The kind of key; `None` if the gateway cannot have created it.
    pub kind: Option<ObjectKind>,
    /// Whether the token generated the key itself (`CKA_LOCAL`), and it was not imported.
    pub is_local: bool,
    /// The differences from a correct key, as text. A key without faults is complete and
    /// non-extractable.
    pub faults: Vec<String>,
    /// The differences that neither reveal a key nor allow another use of it: the token does not
    /// keep an attribute that is not required.
    pub remarks: Vec<String>,
}

/// The kind of the objects of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A key of the API.
    Key {
        /// Its kind and size.
        spec: KeySpec,
        /// The usage.
        usage: KeyUsage,
        /// Whether the token reported the size. SoftHSM does not for imported AES keys, which are
        /// then reported as `Aliyun_AES_256`; they work whatever their size.
        is_size_known: bool,
    },
    /// A key pair that unwraps imported material.
    WrappingPair,
}

/// The depth of an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The attributes only.
    Attributes,
    /// Also uses every key once.
    Use,
}

/// An object with its attributes.
#[derive(Debug)]
pub(crate) struct Object {
    handle: ObjectHandle,
    attributes: Vec<Attribute>,
}

impl Worker<'_> {
    /// The attributes of an object, if its label is one of the gateway's.
    pub(crate) fn attributes_of(
        &mut self,
        handle: ObjectHandle,
    ) -> Result<Option<(ObjectName, Object)>, TokenError> {
        let attributes = query::attributes_or_label(self.session()?, handle, KIND_ATTRIBUTES)?;
        Ok(name_from(&attributes).map(|name| (name, Object { handle, attributes })))
    }

    /// Checks the objects of one name.
    pub(crate) fn check_objects(
        &mut self,
        name: ObjectName,
        objects: &[Object],
        depth: Depth,
    ) -> Inspected {
        let local = |object: &&Object| object.class() != Some(ObjectClass::PUBLIC_KEY);
        let is_local =
            objects.iter().filter(local).all(|object| object.has(&Attribute::Local(true)));
        let mut inspected =
            Inspected { name, kind: None, is_local, faults: Vec::new(), remarks: Vec::new() };
        let params = self.params_of(objects);
        let (params, kind) = match params.and_then(|params| Ok((params, kind_of(params)?))) {
            Ok(found) => found,
            Err(fault) => {
                inspected.faults.push(fault.to_owned());
                return inspected;
            }
        };
        inspected.kind = Some(kind);
        for object in objects {
            match self.differences_of(object, params, &name) {
                Ok((faults, remarks)) => {
                    inspected.faults.extend(faults);
                    inspected.remarks.extend(remarks);
                }
                Err(error) => inspected.faults.push(error.to_string()),
            }
        }
        if depth == Depth::Use
            && inspected.faults.is_empty()
            && let Err(error) = self.test_use(objects, params)
        {
            // The session may be unusable, and the next object needs a good one.
            self.drop_session();
            inspected.faults.push(format!("it cannot be used: {error}"));
        }
        inspected
    }

    /// The parameters of the objects of one name, or why they are not a complete key.
    fn params_of(&mut self, objects: &[Object]) -> Result<GenerationParams, &'static str> {
        let one = |class: ObjectClass| -> Result<Option<&Object>, &'static str> {
            let mut found = objects.iter().filter(|object| object.class() == Some(class));
            match (found.next(), found.next()) {
                (first, None) => Ok(first),
                (_, Some(_)) => Err("the token has more than one such object"),
            }
        };
        let secret = one(ObjectClass::SECRET_KEY)?;
        let (private, public) = (one(ObjectClass::PRIVATE_KEY)?, one(ObjectClass::PUBLIC_KEY)?);
        match (secret, private, public) {
            (Some(secret), None, None) => self.secret_params(secret),
            (None, Some(private), Some(public)) => pair_params(private, public),
            (None, Some(_), None) => Err("the public key of the pair is missing"),
            (None, None, Some(_)) => Err("the private key of the pair is missing"),
            _ => Err("the objects do not form a key"),
        }
    }

    fn secret_params(&mut self, secret: &Object) -> Result<GenerationParams, &'static str> {
        let bytes = attribute!(secret.attributes, ValueLen).map_or(0, |bytes| **bytes);
        match secret.key_type() {
            Some(KeyType::AES) => Ok(GenerationParams::Secret {
                bytes: Ulong::new(bytes),
                secret_use: SecretUse::Cipher,
            }),
            Some(KeyType::GENERIC_SECRET) => {
                let bytes = if bytes == 0 { self.measure_mac(secret.handle) } else { bytes };
                Ok(GenerationParams::Secret {
                    bytes: Ulong::new(bytes),
                    secret_use: SecretUse::Mac,
                })
            }
            _ => Err(NO_KIND),
        }
    }

    /// The length of a MAC key if the token does not report it, as SoftHSM for imported ones: no
    /// HMAC accepts a key that is shorter than its hash.
    fn measure_mac(&mut self, key: ObjectHandle) -> u64 {
        let mut longest = 0;
        for algorithm in MacAlgorithm::ALL {
            let signed = self
                .session()
                .is_ok_and(|session| session.sign(&algorithm.mechanism(), key, b"length").is_ok());
            if !signed {
                self.drop_session();
                break;
            }
            longest = algorithm.bytes();
        }
        u64::try_from(longest).unwrap_or_default()
    }

    /// The attributes that differ from those of a key of this kind: required ones, and others.
    fn differences_of(
        &mut self,
        object: &Object,
        params: GenerationParams,
        name: &ObjectName,
    ) -> Result<(Vec<String>, Vec<String>), TokenError> {
        let wanted = template_of(params, object.class(), name, self.initialization.behavior);
        let mut differences = query::differences(self.session()?, object.handle, &wanted)?;
        // A key that cannot be modified is always correct; only the copies of SoftHSM need a
        // modifiable one.
        differences.retain(|one| *one != Attribute::Modifiable(true));
        let of = object.template_of();
        let (required, others): (Vec<_>, Vec<_>) =
            differences.iter().partition(|one| is_required(of, one));
        let text = |one: &&Attribute| format!("{} has a wrong value", one.attribute_type());
        Ok((required.iter().map(text).collect(), others.iter().map(text).collect()))
    }

    fn test_use(&mut self, objects: &[Object], params: GenerationParams) -> Result<(), TokenError> {
        let handle = |class| {
            let found = objects.iter().find(|object| object.class() == Some(class));
            found.map(|object| object.handle).ok_or(TokenError::NotFound)
        };
        let behavior = self.initialization.behavior;
        let (session, thread_state) = self.session_and_thread_state()?;
        match params {
            GenerationParams::Secret { bytes, secret_use, .. } => key_test::secret(
                session,
                &mut thread_state.random,
                handle(ObjectClass::SECRET_KEY)?,
                secret_use,
                bytes,
                behavior,
            ),
            GenerationParams::Pair { kind, pair_use } => {
                let public = handle(ObjectClass::PUBLIC_KEY)?;
                key_test::pair(session, public, handle(ObjectClass::PRIVATE_KEY)?, kind, pair_use)
            }
        }
    }
}

fn pair_params(private: &Object, public: &Object) -> Result<GenerationParams, &'static str> {
    let pair_use = if private.has(&Attribute::Unwrap(true)) {
        PairUse::Wrapping
    } else if private.has(&Attribute::Sign(true)) {
        PairUse::Signature
    } else {
        PairUse::Cipher
    };
    let kind = match private.key_type() {
        Some(KeyType::RSA) => PairKind::Rsa { bits: public.modulus_bits().into() },
        Some(KeyType::EC) => {
            let curve = public.curve().ok_or("it is on a curve that hsmgate does not support")?;
            PairKind::Ec { curve }
        }
        _ => return Err(NO_KIND),
    };
    Ok(GenerationParams::Pair { kind, pair_use })
}

/// The attributes that hsmgate gives to an object of this class.
fn template_of(
    params: GenerationParams,
    class: Option<ObjectClass>,
    name: &ObjectName,
    behavior: TokenBehavior,
) -> Vec<Attribute> {
    let lifetime = ObjectLifetime::Token(name);
    match (params, class) {
        (GenerationParams::Secret { secret_use, .. }, _) => {
            template::secret_key(None, secret_use, lifetime, behavior)
        }
        (GenerationParams::Pair { kind, pair_use }, Some(ObjectClass::PUBLIC_KEY)) => {
            template::public_key(kind, pair_use, lifetime, behavior)
        }
        (GenerationParams::Pair { kind, pair_use }, _) => {
            template::private_key(kind, pair_use, lifetime, behavior)
        }
    }
}

/// The kind of objects with these parameters: the key whose spec and usage require the same.
fn kind_of(material: GenerationParams) -> Result<ObjectKind, &'static str> {
    let (material, is_size_known) = match material {
        GenerationParams::Pair { pair_use: PairUse::Wrapping, .. } => {
            return Ok(ObjectKind::WrappingPair);
        }
        GenerationParams::Secret { bytes, secret_use: secret_use @ SecretUse::Cipher }
            if *bytes == 0 =>
        {
            (GenerationParams::Secret { bytes: Ulong::new(32), secret_use }, false)
        }
        attributes => (attributes, true),
    };
    for spec in KeySpec::ALL {
        for usage in spec.usages() {
            if GenerationParams::of(*spec, *usage).is_ok_and(|asked| asked == material) {
                return Ok(ObjectKind::Key { spec: *spec, usage: *usage, is_size_known });
            }
        }
    }
    Err("its size is not one that hsmgate generates")
}

impl Object {
    fn class(&self) -> Option<ObjectClass> {
        class_from(&self.attributes)
    }

    fn template_of(&self) -> TemplateOf {
        if self.class() == Some(ObjectClass::PUBLIC_KEY) {
            TemplateOf::Public
        } else {
            TemplateOf::Main
        }
    }

    fn key_type(&self) -> Option<KeyType> {
        attribute!(self.attributes, KeyType).copied()
    }

    /// The size of an RSA key, from its modulus: NSS does not report CKA_MODULUS_BITS. 0 without a
    /// modulus.
    fn modulus_bits(&self) -> u64 {
        let modulus = attribute!(self.attributes, Modulus).map(Vec::as_slice).unwrap_or_default();
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let significant = modulus.get(zeros..).unwrap_or_default();
        let bits = u64::try_from(significant.len()).unwrap_or_default().saturating_mul(8);
        bits.saturating_sub(significant.first().map_or(0, |first| first.leading_zeros().into()))
    }

    fn curve(&self) -> Option<Curve> {
        Curve::of_oid(attribute!(self.attributes, EcParams)?)
    }

    /// Whether the token reports this attribute.
    fn has(&self, wanted: &Attribute) -> bool {
        self.attributes.contains(wanted)
    }
}
