//! Queries of token objects: searches and attribute reads on one session.
//!
//! They do not retry, log in or cache anything.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::adaptation::{TemplateOf, is_required};
use super::name::{KeyClass, KeyIdentity, ObjectName};
use super::template::TEST_LABEL;
use crate::token::error::TokenError;

/// The maximum characters of a foreign label in an error.
const MAX_LABEL: usize = 128;

/// Why a token that responds is not the expected one.
pub(crate) const KEYS_MISSING: &str = "it no longer shows its known keys";

/// The value of the first attribute of this type in a list, if any.
macro_rules! attribute {
    ($attributes:expr, $kind:ident) => {
        $attributes.iter().find_map(|attribute| match attribute {
            ::cryptoki::object::Attribute::$kind(value) => Some(value),
            _ => None,
        })
    };
}
pub(crate) use attribute;

/// The objects with one `CKA_ID`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KeyObjects {
    secret: Option<ObjectHandle>,
    private: Option<ObjectHandle>,
    /// The public key of a pair.
    pub(crate) public: Option<ObjectHandle>,
}

impl KeyObjects {
    /// A secret key only.
    pub(crate) fn secret(secret: ObjectHandle) -> Self {
        Self { secret: Some(secret), ..Self::default() }
    }

    /// A key pair.
    pub(crate) fn pair(public: ObjectHandle, private: ObjectHandle) -> Self {
        Self { public: Some(public), private: Some(private), ..Self::default() }
    }

    /// Adds an object of this class.
    ///
    /// # Errors
    /// `Duplicate` when one exists already.
    pub(crate) fn add(
        &mut self,
        class: Option<ObjectClass>,
        object: ObjectHandle,
    ) -> Result<(), TokenError> {
        let slot = match class {
            Some(ObjectClass::SECRET_KEY) => &mut self.secret,
            Some(ObjectClass::PRIVATE_KEY) => &mut self.private,
            Some(ObjectClass::PUBLIC_KEY) => &mut self.public,
            _ => return Ok(()),
        };
        if slot.replace(object).is_some() { Err(TokenError::Duplicate) } else { Ok(()) }
    }

    /// The secret or private key, if any.
    pub(crate) fn main(self) -> Option<ObjectHandle> {
        self.secret.or(self.private)
    }

    /// All of them.
    pub(crate) fn objects(self) -> impl Iterator<Item = ObjectHandle> {
        [self.secret, self.private, self.public].into_iter().flatten()
    }

    /// Whether it is a secret key, or both objects of a pair.
    pub(crate) fn is_complete(self) -> bool {
        self.secret.is_some() != (self.private.is_some() && self.public.is_some())
    }

    /// The class of the key, if it is clear.
    pub(crate) fn class(self) -> Option<KeyClass> {
        match (self.secret, self.private, self.public) {
            (Some(_), None, None) => Some(KeyClass::Secret),
            (None, Some(_), _) => Some(KeyClass::Pair),
            _ => None,
        }
    }

    /// Whether it has a usable key.
    pub(crate) fn has_key(self) -> bool {
        self.main().is_some()
    }
}

/// All objects of the token with the key's id, of any class. A short template: some tokens search
/// five times slower with a longer one.
pub(crate) fn search_all(
    session: &Session,
    key: KeyIdentity,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let id = Attribute::Id(key.id().as_bytes().to_vec());
    Ok(session.find_objects(&[Attribute::Token(true), id])?)
}

/// The objects of a key. Objects with its id, but with the label or class of another key, are not
/// used, whatever the database says.
pub(crate) fn search(session: &Session, key: KeyIdentity) -> Result<KeyObjects, TokenError> {
    let mut found = KeyObjects::default();
    let mut other = None;
    for object in search_all(session, key)? {
        let (class, label) = match class_and_label(session, object) {
            // An object of another program that has the same id by chance.
            Err(TokenError::Binding(_)) => continue,
            read => read?,
        };
        let Some(class) = class else { continue };
        found.add(Some(class), object)?;
        if !key.matches_label(&label) {
            other = Some(label);
        }
    }
    match other {
        Some(label) if found.has_key() => Err(key_mismatch(key, &label)),
        None if found.has_key() && found.class() != Some(key.class) => {
            Err(key_mismatch(key, format!("{} with another class", key.name).as_bytes()))
        }
        _ => Ok(found),
    }
}

/// Searches for the key that identifies the token.
pub(crate) fn check_identity_key(
    session: &Session,
    identity_key: KeyIdentity,
) -> Result<(), TokenError> {
    if search_all(session, identity_key)?.is_empty() {
        Err(TokenError::Untrusted(KEYS_MISSING))
    } else {
        Ok(())
    }
}

/// Fails if the id or label of an object is not that of this key.
pub(crate) fn check_id_and_label(
    session: &Session,
    object: ObjectHandle,
    key: KeyIdentity,
) -> Result<(), TokenError> {
    let attributes = session.get_attributes(object, &[AttributeType::Id, AttributeType::Label])?;
    let has_id = attributes.contains(&Attribute::Id(key.id().as_bytes().to_vec()));
    if has_id && key.matches_label(label_from(&attributes)) {
        Ok(())
    } else {
        Err(TokenError::WrongAttributes("CKA_ID, CKA_LABEL".to_owned()))
    }
}

/// Fails if the id of an object is not that of this key.
pub(crate) fn check_id(
    session: &Session,
    object: ObjectHandle,
    key: KeyIdentity,
) -> Result<(), TokenError> {
    let attributes = session.get_attributes(object, &[AttributeType::Id])?;
    if attributes.contains(&Attribute::Id(key.id().as_bytes().to_vec())) {
        Ok(())
    } else {
        Err(TokenError::WrongAttributes("CKA_ID".to_owned()))
    }
}

/// The class and the label of an object; an empty label if it has none.
pub(crate) fn class_and_label(
    session: &Session,
    object: ObjectHandle,
) -> Result<(Option<ObjectClass>, Vec<u8>), TokenError> {
    let types = [AttributeType::Class, AttributeType::Label];
    let attributes = attributes_or_label(session, object, &types)?;
    Ok((class_from(&attributes), label_from(&attributes).to_vec()))
}

/// Some attributes of an object; only its label, if the binding cannot name the values of the
/// others, such as a vendor's class.
pub(crate) fn attributes_or_label(
    session: &Session,
    object: ObjectHandle,
    types: &[AttributeType],
) -> Result<Vec<Attribute>, TokenError> {
    match session.get_attributes(object, types).map_err(TokenError::from) {
        Err(error @ TokenError::Binding(_)) => {
            let label = session.get_attributes(object, &[AttributeType::Label])?;
            // The object of another program is unreadable; one of ours has a fault.
            if name_from(&label).is_some() { Ok(label) } else { Err(error) }
        }
        read => read,
    }
}

/// The class among these attributes.
pub(crate) fn class_from(attributes: &[Attribute]) -> Option<ObjectClass> {
    attribute!(attributes, Class).copied()
}

/// The label among these attributes; empty if it is missing.
fn label_from(attributes: &[Attribute]) -> &[u8] {
    attribute!(attributes, Label).map(Vec::as_slice).unwrap_or_default()
}

/// The name in the label among these attributes, if it is one of the gateway's.
pub(crate) fn name_from(attributes: &[Attribute]) -> Option<ObjectName> {
    std::str::from_utf8(label_from(attributes)).ok()?.parse().ok()
}

/// The error for objects with a key's id and this label.
pub(crate) fn key_mismatch(key: KeyIdentity, label: &[u8]) -> TokenError {
    let label = String::from_utf8_lossy(label).chars().take(MAX_LABEL).collect();
    TokenError::KeyMismatch { wanted: key.name, label }
}

/// Makes a session copy that is as non-extractable as its original; `None` if it is not.
pub(crate) fn copy(session: &Session, key: ObjectHandle) -> Result<ObjectHandle, TokenError> {
    // Only TOKEN: with PRIVATE=false some tokens make the copy public.
    let copy = session.copy_object(key, &[Attribute::Token(false)])?;
    let closed =
        [Attribute::Token(false), Attribute::Sensitive(true), Attribute::Extractable(false)];
    match check(session, copy, TemplateOf::Main, &closed) {
        Ok(()) => Ok(copy),
        Err(error) => {
            session.destroy_object(copy)?;
            Err(error)
        }
    }
}

/// Reads the attributes back and returns the differences: openCryptoki ignores SENSITIVE in
/// C_UnwrapKey. An attribute that the token does not support is skipped, unless the key is not safe
/// without it.
pub(crate) fn differences(
    session: &Session,
    object: ObjectHandle,
    template: &[Attribute],
) -> Result<Vec<Attribute>, TokenError> {
    let types: Vec<AttributeType> = template.iter().map(Attribute::attribute_type).collect();
    let found = session.get_attributes(object, &types)?;
    let differs = |wanted: &&Attribute| {
        let same_type = found.iter().find(|one| one.attribute_type() == wanted.attribute_type());
        match same_type {
            Some(one) => one != *wanted,
            None => is_essential(wanted),
        }
    };
    Ok(template.iter().filter(differs).cloned().collect())
}

fn is_essential(attribute: &Attribute) -> bool {
    matches!(
        attribute,
        Attribute::Class(_)
            | Attribute::KeyType(_)
            | Attribute::Token(_)
            | Attribute::Private(_)
            | Attribute::Sensitive(_)
            | Attribute::Extractable(_)
            | Attribute::Id(_)
            | Attribute::Label(_)
    )
}

/// Fails if an object does not have a required attribute of its template.
pub(crate) fn check(
    session: &Session,
    object: ObjectHandle,
    of: TemplateOf,
    template: &[Attribute],
) -> Result<(), TokenError> {
    let differences = differences(session, object, template)?;
    let required = differences.iter().filter(|one| is_required(of, one));
    let names: Vec<String> = required.map(|one| one.attribute_type().to_string()).collect();
    if names.is_empty() { Ok(()) } else { Err(TokenError::WrongAttributes(names.join(", "))) }
}

/// Destroys the keys for tests that a killed process left as token objects. A failure is only
/// logged: they do no harm. Another process that uses one of them now makes another.
pub(crate) fn destroy_test_keys(session: &Session) {
    let left = [Attribute::Token(true), Attribute::Label(TEST_LABEL.to_vec())];
    let destroyed = session.find_objects(&left).and_then(|objects| {
        let destroy = |object: &_| session.destroy_object(*object);
        objects.iter().try_for_each(destroy).map(|()| objects.len())
    });
    match destroyed {
        Ok(0) => {}
        Ok(objects) => {
            tracing::info!(
                event = "token.test_keys_destroyed",
                objects,
                "destroyed left test keys"
            );
        }
        Err(error) => {
            tracing::warn!(event = "token.object_left", %error, "a test key may remain in the token");
        }
    }
}
