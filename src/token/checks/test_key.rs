//! The keys of the self-test: they show which templates the token accepts, and whether it has session
//! objects.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::types::Ulong;

use super::steps::Steps;
use crate::token::behavior::{TestKeys, TokenBehavior};
use crate::token::error::{ErrorClass, TokenError};
use crate::token::objects::adaptation::{Adaptation, TemplateKind, TemplateOf, is_required};
use crate::token::objects::query::{self, destroy_test_keys};
use crate::token::objects::template::{self, ObjectLifetime, SecretUse};

/// A label that every token keeps.
const SHORT_LABEL: &[u8] = b"hsmgate";

/// The kind of these keys.
const KIND: TemplateKind = TemplateKind::Secret(SecretUse::Cipher);

/// Makes the first key, and finds out which templates the token accepts, and whether it has session
/// objects.
pub(crate) fn find_lifetime(
    steps: &Steps<'_>,
    behavior: TokenBehavior,
) -> Result<TokenBehavior, TokenError> {
    let as_token_objects = TokenBehavior { test_keys: TestKeys::TokenObjects, ..behavior };
    match first_key(steps, behavior) {
        Ok(()) => return Ok(behavior),
        // A token without session objects may refuse them with any code, or makes token objects.
        Err(error) if error.class() == ErrorClass::Configuration => {}
        Err(error) => return Err(error),
    }
    steps.on_key_session(|session| {
        destroy_test_keys(session);
        Ok(())
    })?;
    match first_key(steps, as_token_objects) {
        Ok(()) => Ok(as_token_objects),
        Err(error) if error.is_template_refused() => {
            Err(refused_attribute(steps, behavior, as_token_objects).unwrap_or(error))
        }
        Err(error) => Err(error),
    }
}

/// Generates a key with the whole template, or with what the token accepts of it, and reads it back.
fn first_key(steps: &Steps<'_>, behavior: TokenBehavior) -> Result<(), TokenError> {
    let template = key_template(behavior);
    let generate = |adaptation: &Adaptation| {
        let template = adaptation.secret(&template);
        steps.on_key_session(|session| Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?))
    };
    match steps.templates().make(KIND, generate) {
        Ok(key) => {
            let checked = steps
                .on_key_session(|session| query::check(session, key, TemplateOf::Main, &template));
            let destroyed = steps.on_key_session(|session| Ok(session.destroy_object(key)?));
            checked.and(destroyed)
        }
        Err(error) => Err(error),
    }
}

/// Finds the required attribute because of which the token refuses both templates: the one without
/// which it accepts the template. A token object is never made without an attribute that closes
/// it.
fn refused_attribute(
    steps: &Steps<'_>,
    session_object: TokenBehavior,
    token_object: TokenBehavior,
) -> Option<TokenError> {
    let template = key_template(session_object);
    let of_session = template.iter().find(|one| accepts_without(steps, &template, one));
    let refused = of_session.cloned().or_else(|| {
        let template = key_template(token_object);
        let mut candidates = template.iter().filter(|one| !closes(one));
        candidates.find(|one| accepts_without(steps, &template, one)).cloned()
    });
    refused.map(|refused| TokenError::AttributeRefused(description(&refused)))
}

/// Whether the token makes a key with all required attributes but this one; a label is shorter.
fn accepts_without(steps: &Steps<'_>, template: &[Attribute], refused: &Attribute) -> bool {
    let is_required = |one: &&Attribute| is_required(TemplateOf::Main, one);
    if !is_required(&refused) {
        return false;
    }
    let mut others: Vec<_> =
        template.iter().filter(is_required).filter(|one| *one != refused).cloned().collect();
    if matches!(refused, Attribute::Label(_)) {
        others.push(Attribute::Label(SHORT_LABEL.to_vec()));
    }
    let made = steps.on_key_session(|session| {
        let key = session.generate_key(&Mechanism::AesKeyGen, &others)?;
        Ok(session.destroy_object(key)?)
    });
    made.is_ok()
}

const fn closes(attribute: &Attribute) -> bool {
    matches!(
        attribute,
        Attribute::Token(_)
            | Attribute::Private(_)
            | Attribute::Sensitive(_)
            | Attribute::Extractable(_)
    )
}

/// The name of an attribute, with its length if tokens limit it.
fn description(attribute: &Attribute) -> String {
    let name = attribute.attribute_type();
    match attribute {
        Attribute::Label(label) => format!("{name} of {} bytes", label.len()),
        Attribute::Id(id) => format!("{name} of {} bytes", id.len()),
        _ => name.to_string(),
    }
}

fn key_template(behavior: TokenBehavior) -> Vec<Attribute> {
    let lifetime = ObjectLifetime::Test(behavior.test_keys);
    template::secret_key(Some(Ulong::new(32)), SecretUse::Cipher, lifetime, behavior)
}

/// Generates a key for `test` and destroys it afterwards.
pub(crate) fn with_key<T>(
    steps: &mut Steps<'_>,
    behavior: TokenBehavior,
    test: impl FnOnce(&mut Steps<'_>, ObjectHandle) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let template = key_template(behavior);
    let accepted = steps.templates().adaptation(KIND).secret(&template);
    let key = steps
        .on_key_session(|session| Ok(session.generate_key(&Mechanism::AesKeyGen, &accepted)?))?;
    let result = steps
        .on_key_session(|session| query::check(session, key, TemplateOf::Main, &template))
        .and_then(|()| test(steps, key));
    let destroyed = steps.on_key_session(|session| Ok(session.destroy_object(key)?));
    let value = result?;
    destroyed?;
    Ok(value)
}
