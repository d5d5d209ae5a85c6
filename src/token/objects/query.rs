//! What the token says of its objects: searches and attributes read on one session.
//!
//! Nothing in here retries, logs in or remembers anything.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::name::{KeyClass, KeyIdentity, ObjectName};
use crate::token::error::TokenError;

/// What an error tells of a label that is not ours, in characters.
const MAX_LABEL: usize = 128;

/// Why a token that answers is not the one that it was.
pub(crate) const KEYS_MISSING: &str = "it no longer shows the keys that it had";

/// The value of the first attribute of this kind in a list, if there is one.
macro_rules! attribute {
    ($attributes:expr, $kind:ident) => {
        $attributes.iter().find_map(|attribute| match attribute {
            ::cryptoki::object::Attribute::$kind(value) => Some(value),
            _ => None,
        })
    };
}
pub(crate) use attribute;

/// The objects that have one `CKA_ID`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KeyObjects {
    secret: Option<ObjectHandle>,
    private: Option<ObjectHandle>,
    public: Option<ObjectHandle>,
}

impl KeyObjects {
    /// A secret key alone.
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
    /// `Duplicate` when there is one: two are an error, not a choice.
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

    /// The secret or private key, if there is one.
    pub(crate) fn main(self) -> Option<ObjectHandle> {
        self.secret.or(self.private)
    }

    /// The public key of a pair.
    pub(crate) const fn public(self) -> Option<ObjectHandle> {
        self.public
    }

    /// Every one of them.
    pub(crate) fn objects(self) -> impl Iterator<Item = ObjectHandle> {
        [self.secret, self.private, self.public].into_iter().flatten()
    }

    /// Whether it is a secret key, or both halves of a pair.
    pub(crate) fn is_complete(self) -> bool {
        self.secret.is_some() != (self.private.is_some() && self.public.is_some())
    }

    /// What class of key it is, if it is of one.
    pub(crate) fn class(self) -> Option<KeyClass> {
        match (self.secret, self.private, self.public) {
            (Some(_), None, None) => Some(KeyClass::Secret),
            (None, Some(_), _) => Some(KeyClass::Pair),
            _ => None,
        }
    }

    /// Whether there is a key that can be used.
    pub(crate) fn has_key(self) -> bool {
        self.main().is_some()
    }
}

/// Every object of the token with the key's id, of whatever class. A short template: some
/// tokens search five times slower with a longer one.
pub(crate) fn search_all(
    session: &Session,
    key: KeyIdentity,
) -> Result<Vec<ObjectHandle>, TokenError> {
    let id = Attribute::Id(key.id().as_bytes().to_vec());
    Ok(session.find_objects(&[Attribute::Token(true), id])?)
}

/// The objects of a key. Objects with its id whose label or class is another key's are not used,
/// whatever a database says.
pub(crate) fn search(session: &Session, key: KeyIdentity) -> Result<KeyObjects, TokenError> {
    let mut found = KeyObjects::default();
    let mut other = None;
    for object in search_all(session, key)? {
        let (class, label) = class_and_label(session, object)?;
        let Some(class) = class else { continue };
        found.add(Some(class), object)?;
        if !key.matches_label(&label) {
            other = Some(label);
        }
    }
    match other {
        Some(label) if found.has_key() => Err(key_mismatch(key, &label)),
        None if found.has_key() && found.class() != Some(key.class) => {
            Err(key_mismatch(key, format!("{} of another class", key.name).as_bytes()))
        }
        _ => Ok(found),
    }
}

/// Looks for the key that the token is known by.
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

/// Fails when an object is not of this key, as its id and label say.
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

/// The class and the label of an object; an empty label if there is none.
pub(crate) fn class_and_label(
    session: &Session,
    object: ObjectHandle,
) -> Result<(Option<ObjectClass>, Vec<u8>), TokenError> {
    let attributes =
        session.get_attributes(object, &[AttributeType::Class, AttributeType::Label])?;
    Ok((class_from(&attributes), label_from(&attributes).to_vec()))
}

/// The class among these attributes.
pub(crate) fn class_from(attributes: &[Attribute]) -> Option<ObjectClass> {
    attribute!(attributes, Class).copied()
}

/// The label among these attributes; empty if there is none.
fn label_from(attributes: &[Attribute]) -> &[u8] {
    attribute!(attributes, Label).map(Vec::as_slice).unwrap_or_default()
}

/// The name that the label among these attributes gives, if it is one of ours.
pub(crate) fn name_from(attributes: &[Attribute]) -> Option<ObjectName> {
    std::str::from_utf8(label_from(attributes)).ok()?.parse().ok()
}

/// The error for objects with a key's id and this label.
pub(crate) fn key_mismatch(key: KeyIdentity, label: &[u8]) -> TokenError {
    let label = String::from_utf8_lossy(label).chars().take(MAX_LABEL).collect();
    TokenError::KeyMismatch { wanted: key.name, label }
}

/// A copy in the session, no less closed than its original, or none.
pub(crate) fn copy(session: &Session, key: ObjectHandle) -> Result<ObjectHandle, TokenError> {
    // TOKEN alone may stand here: with PRIVATE=false some tokens open the copy up.
    let copy = session.copy_object(key, &[Attribute::Token(false)])?;
    let closed =
        [Attribute::Token(false), Attribute::Sensitive(true), Attribute::Extractable(false)];
    match check(session, copy, &closed) {
        Ok(()) => Ok(copy),
        Err(error) => {
            session.destroy_object(copy)?;
            Err(error)
        }
    }
}

/// Reads back what was asked for, and gives what is otherwise: openCryptoki ignores SENSITIVE
/// in C_UnwrapKey. An attribute that the token does not know is passed over, unless a key is
/// not a safe one without it.
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

/// Fails when an object is not what was asked for.
pub(crate) fn check(
    session: &Session,
    object: ObjectHandle,
    template: &[Attribute],
) -> Result<(), TokenError> {
    let differences = differences(session, object, template)?;
    if differences.is_empty() {
        return Ok(());
    }
    let names: Vec<String> =
        differences.iter().map(|one| one.attribute_type().to_string()).collect();
    Err(TokenError::WrongAttributes(names.join(", ")))
}
