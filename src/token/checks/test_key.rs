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
    first_key(steps, as_token_objects).map(|()| as_token_objects)
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
        Err(error) if error.is_template_refused() => {
            Err(refused_attribute(steps, &template, error))
        }
        Err(error) => Err(error),
    }
}

/// Finds the required attribute because of which the token refuses a template: the one without
/// which it accepts the template.
fn refused_attribute(steps: &Steps<'_>, template: &[Attribute], error: TokenError) -> TokenError {
    let required = template.iter().filter(|one| is_required(TemplateOf::Main, one));
    for refused in required.clone() {
        let others: Vec<_> = required.clone().filter(|one| *one != refused).cloned().collect();
        let made = steps.on_key_session(|session| {
            let key = session.generate_key(&Mechanism::AesKeyGen, &others)?;
            Ok(session.destroy_object(key)?)
        });
        if made.is_ok() {
            return TokenError::AttributeRefused(description(refused));
        }
    }
    error
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
