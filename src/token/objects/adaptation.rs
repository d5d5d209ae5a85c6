//! The attributes of a template that the token accepts, found out by trying.
//!
//! Tokens know different attributes. A key is safe and usable without some of them, and these are
//! omitted, attribute by attribute, if the token refuses a template. Other attributes are added to
//! the template of a key pair that a token finds incomplete. All remaining attributes are required:
//! they are read back, and a token that refuses one of them, or does not keep it, is not used.

use std::collections::HashMap;

use cryptoki::object::Attribute;
use parking_lot::Mutex;

use super::template::{PairKind, SecretUse};
use crate::token::error::TokenError;

/// The kinds of templates: a token may accept an attribute in one and refuse it in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TemplateKind {
    /// For C_GenerateKey.
    Secret(SecretUse),
    /// For C_UnwrapKey.
    Unwrapped(SecretUse),
    /// For C_CopyObject, of a secret key.
    Copied,
    /// For C_GenerateKeyPair, of RSA.
    Rsa,
    /// For C_GenerateKeyPair, of EC.
    Ec,
}

impl TemplateKind {
    /// The kind for such a pair.
    pub(crate) const fn of_pair(kind: PairKind) -> Self {
        match kind {
            PairKind::Rsa { .. } => Self::Rsa,
            PairKind::Ec { .. } => Self::Ec,
        }
    }

    const fn is_pair(self) -> bool {
        matches!(self, Self::Rsa | Self::Ec)
    }
}

/// Which object a template is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TemplateOf {
    /// A secret key, or the private key of a pair.
    Main,
    /// The public key of a pair.
    Public,
}

/// The attributes that are omitted where a token refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Omittable {
    Copyable,
    /// `CKA_SIGN_RECOVER` and `CKA_VERIFY_RECOVER`.
    Recover,
    /// A public key derives no secret: C_DeriveKey needs the private key.
    PublicDerive,
    /// A public key wraps only keys that are extractable, and none of the gateway's is.
    PublicWrap,
    /// Whether a public key is visible without a login.
    PublicPrivate,
    /// Last, because it protects the id and the label, where it is known.
    Modifiable,
}

impl Omittable {
    const OF_SECRETS: &'static [Self] = &[Self::Copyable, Self::Modifiable];
    const OF_PAIRS: &'static [Self] = &[
        Self::Recover,
        Self::PublicDerive,
        Self::PublicWrap,
        Self::PublicPrivate,
        Self::Modifiable,
    ];

    const fn of(object: TemplateOf, attribute: &Attribute) -> Option<Self> {
        match (object, attribute) {
            (_, Attribute::Copyable(_)) => Some(Self::Copyable),
            (_, Attribute::SignRecover(_) | Attribute::VerifyRecover(_)) => Some(Self::Recover),
            (_, Attribute::Modifiable(_)) => Some(Self::Modifiable),
            (TemplateOf::Public, Attribute::Derive(_)) => Some(Self::PublicDerive),
            (TemplateOf::Public, Attribute::Wrap(_)) => Some(Self::PublicWrap),
            (TemplateOf::Public, Attribute::Private(_)) => Some(Self::PublicPrivate),
            _ => None,
        }
    }
}

/// The attributes that are added to the templates of a key pair where a token finds them
/// incomplete, in this order. None of them makes a key less safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addition {
    /// The curve in the template of the private key too.
    Curve,
    /// `CKA_COPYABLE` false.
    Copyable,
    /// `CKA_DESTROYABLE` true.
    Destroyable,
    /// `CKA_WRAP_WITH_TRUSTED` false, and `CKA_TRUSTED` false of the public key.
    Trusted,
    /// `CKA_ALWAYS_AUTHENTICATE` false of the private key.
    AlwaysAuthenticate,
    /// An empty `CKA_SUBJECT`.
    Subject,
    /// The size and the public exponent of RSA in the template of the private key too. Last: one
    /// token makes useless keys then, which their first use detects.
    RsaParameters,
}

impl Addition {
    const OF_RSA: &'static [Self] = &[
        Self::Copyable,
        Self::Destroyable,
        Self::Trusted,
        Self::AlwaysAuthenticate,
        Self::Subject,
        Self::RsaParameters,
    ];
    const OF_EC: &'static [Self] = &[
        Self::Curve,
        Self::Copyable,
        Self::Destroyable,
        Self::Trusted,
        Self::AlwaysAuthenticate,
        Self::Subject,
    ];

    fn attributes(self, object: TemplateOf, kind: PairKind) -> Vec<Attribute> {
        match (self, object) {
            (Self::Curve | Self::RsaParameters, TemplateOf::Main) => kind.parameters(),
            (Self::Copyable, _) => vec![Attribute::Copyable(false)],
            (Self::Destroyable, _) => vec![Attribute::Destroyable(true)],
            (Self::Trusted, TemplateOf::Main) => vec![Attribute::WrapWithTrusted(false)],
            (Self::Trusted, TemplateOf::Public) => vec![Attribute::Trusted(false)],
            (Self::AlwaysAuthenticate, TemplateOf::Main) => {
                vec![Attribute::AlwaysAuthenticate(false)]
            }
            (Self::Subject, _) => vec![Attribute::Subject(Vec::new())],
            (Self::Curve | Self::RsaParameters | Self::AlwaysAuthenticate, TemplateOf::Public) => {
                Vec::new()
            }
        }
    }
}

/// The difference between the gateway's templates and those that the token accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Adaptation {
    omitted: Vec<Omittable>,
    added: Vec<Addition>,
}

impl Adaptation {
    /// The template of a secret key, as the token accepts it.
    pub(crate) fn secret(&self, template: &[Attribute]) -> Vec<Attribute> {
        self.without_omitted(TemplateOf::Main, template)
    }

    /// The template of an object of a pair, as the token accepts it.
    pub(crate) fn of_pair(
        &self,
        object: TemplateOf,
        kind: PairKind,
        template: &[Attribute],
    ) -> Vec<Attribute> {
        let mut template = self.without_omitted(object, template);
        for addition in &self.added {
            template.extend(addition.attributes(object, kind));
        }
        template
    }

    fn without_omitted(&self, object: TemplateOf, template: &[Attribute]) -> Vec<Attribute> {
        let is_omitted = |attribute: &&Attribute| {
            Omittable::of(object, attribute).is_none_or(|one| !self.omitted.contains(&one))
        };
        template.iter().filter(is_omitted).cloned().collect()
    }
}

/// Whether a key is not used unless the token keeps this attribute of it.
pub(crate) fn is_required(object: TemplateOf, attribute: &Attribute) -> bool {
    Omittable::of(object, attribute).is_none()
}

/// The adaptations that were found since the module was initialized.
#[derive(Debug, Default)]
pub(crate) struct AcceptedTemplates(Mutex<HashMap<TemplateKind, Adaptation>>);

impl AcceptedTemplates {
    /// The adaptation of such templates, as far as it is known.
    pub(crate) fn adaptation(&self, kind: TemplateKind) -> Adaptation {
        self.0.lock().get(&kind).cloned().unwrap_or_default()
    }

    /// Makes an object from a template; while the token refuses the template, omits and adds
    /// attributes. The adaptation that succeeds is remembered.
    ///
    /// # Errors
    /// Those of `make`: the first one, if the token refuses every template.
    pub(crate) fn make<T>(
        &self,
        kind: TemplateKind,
        mut make: impl FnMut(&Adaptation) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let known = self.adaptation(kind);
        let first = match make(&known) {
            Err(error) if error.is_template_refused() => error,
            outcome => return outcome,
        };
        let mut base = known.omitted.clone();
        for added in additions(kind, &known) {
            let mut is_incomplete = false;
            for omitted in omissions(kind, &base) {
                let adaptation = Adaptation { omitted, added: added.clone() };
                match make(&adaptation) {
                    Err(error) if error.is_template_incomplete() => {
                        (is_incomplete, base) = (true, adaptation.omitted);
                        break;
                    }
                    Err(error) if error.is_template_refused() => {}
                    outcome => return self.remember(kind, adaptation, outcome),
                }
            }
            // Without additions, a token that only refuses attributes misses none.
            if added == known.added && !is_incomplete {
                break;
            }
        }
        Err(first)
    }

    fn remember<T>(
        &self,
        kind: TemplateKind,
        adaptation: Adaptation,
        outcome: Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        if outcome.is_ok() {
            tracing::info!(
                event = "token.template_adapted",
                template = ?kind,
                omitted = ?adaptation.omitted,
                added = ?adaptation.added,
                "the token accepts templates without some attributes, or with more"
            );
            self.0.lock().insert(kind, adaptation);
        }
        outcome
    }
}

/// The omissions to try, beginning with those that are known.
fn omissions(kind: TemplateKind, known: &[Omittable]) -> Vec<Vec<Omittable>> {
    selections(if kind.is_pair() { Omittable::OF_PAIRS } else { Omittable::OF_SECRETS }, known)
}

/// The additions to try, beginning with those that are known.
fn additions(kind: TemplateKind, known: &Adaptation) -> Vec<Vec<Addition>> {
    let all = match kind {
        TemplateKind::Rsa => Addition::OF_RSA,
        TemplateKind::Ec => Addition::OF_EC,
        TemplateKind::Secret(_) | TemplateKind::Unwrapped(_) | TemplateKind::Copied => &[],
    };
    selections(all, &known.added)
}

/// Those of `known`, each of `all` alone with them, then the first two, the first three, and so on:
/// few tries, and one attribute that a token refuses costs no other.
fn selections<T: Copy + PartialEq>(all: &[T], known: &[T]) -> Vec<Vec<T>> {
    let more: Vec<T> = all.iter().copied().filter(|one| !known.contains(one)).collect();
    let with_known = |some: &[T]| [known, some].concat();
    let alone = more.chunks(1).map(with_known);
    let first_ones = (2..=more.len()).filter_map(|count| more.get(..count)).map(with_known);
    std::iter::once(known.to_vec()).chain(alone).chain(first_ones).collect()
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error as Pkcs11Error, RvError};
    use cryptoki::types::Ulong;

    use super::*;

    const KIND: PairKind = PairKind::Rsa { bits: Ulong::new(2048) };

    fn refused(code: RvError) -> TokenError {
        Pkcs11Error::Pkcs11(code, Function::GenerateKeyPair).into()
    }

    fn private() -> Vec<Attribute> {
        vec![
            Attribute::Sensitive(true),
            Attribute::Derive(false),
            Attribute::SignRecover(false),
            Attribute::Modifiable(false),
        ]
    }

    fn has(template: &[Attribute], wanted: &Attribute) -> bool {
        template.contains(wanted)
    }

    #[test]
    fn only_the_attribute_that_a_token_refuses_is_omitted_and_this_is_remembered() {
        let templates = AcceptedTemplates::default();
        let mut tries = 0;
        for _key in 0..2 {
            let made = templates.make(TemplateKind::Rsa, |adaptation| {
                tries += 1;
                let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
                if has(&template, &Attribute::Modifiable(false)) {
                    return Err(refused(RvError::AttributeTypeInvalid));
                }
                Ok(template)
            });
            let made = made.unwrap();
            assert!(has(&made, &Attribute::SignRecover(false)), "{made:?}");
        }
        // The whole template twice, five attributes alone; then the one that is known.
        assert_eq!(tries, 2 + Omittable::OF_PAIRS.len() + 1);
    }

    #[test]
    fn two_attributes_that_a_token_refuses_are_both_omitted() {
        let templates = AcceptedTemplates::default();
        let made = templates.make(TemplateKind::Rsa, |adaptation| {
            let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
            let unknown = [Attribute::Modifiable(false), Attribute::SignRecover(false)];
            if unknown.iter().any(|one| has(&template, one)) {
                return Err(refused(RvError::TemplateInconsistent));
            }
            Ok(template)
        });
        assert_eq!(made.unwrap(), [Attribute::Sensitive(true), Attribute::Derive(false)]);
    }

    #[test]
    fn a_required_attribute_is_never_omitted() {
        let templates = AcceptedTemplates::default();
        for code in [RvError::AttributeTypeInvalid, RvError::TemplateIncomplete] {
            let made: Result<(), _> = templates.make(TemplateKind::Rsa, |adaptation| {
                let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
                assert!(has(&template, &Attribute::Sensitive(true)));
                Err(refused(code))
            });
            assert!(matches!(made, Err(TokenError::Call { code: found, .. }) if found == code));
        }
        assert_eq!(templates.adaptation(TemplateKind::Rsa), Adaptation::default());
    }

    #[test]
    fn an_incomplete_template_gets_the_attribute_that_was_missing() {
        for wanted in [Attribute::Destroyable(true), Attribute::ModulusBits(2048.into())] {
            let templates = AcceptedTemplates::default();
            let made = templates.make(TemplateKind::Rsa, |adaptation| {
                let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
                let is_complete = has(&template, &wanted);
                if is_complete { Ok(template) } else { Err(refused(RvError::TemplateIncomplete)) }
            });
            let made = made.unwrap();
            assert!(private().iter().all(|one| has(&made, one)), "{made:?}");
        }
    }

    #[test]
    fn a_token_that_refuses_one_attribute_and_misses_another_gets_its_template() {
        let templates = AcceptedTemplates::default();
        let made = templates.make(TemplateKind::Rsa, |adaptation| {
            let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
            if has(&template, &Attribute::Modifiable(false)) {
                return Err(refused(RvError::AttributeTypeInvalid));
            }
            if !has(&template, &Attribute::Subject(Vec::new())) {
                return Err(refused(RvError::TemplateIncomplete));
            }
            Ok(())
        });
        made.unwrap();
        let templates = AcceptedTemplates::default();
        let made = templates.make(TemplateKind::Rsa, |adaptation| {
            let template = adaptation.of_pair(TemplateOf::Main, KIND, &private());
            if !has(&template, &Attribute::Subject(Vec::new())) {
                return Err(refused(RvError::TemplateIncomplete));
            }
            let is_known = !has(&template, &Attribute::Modifiable(false));
            if is_known { Ok(()) } else { Err(refused(RvError::AttributeTypeInvalid)) }
        });
        made.unwrap();
    }

    #[test]
    fn another_failure_is_not_tried_again() {
        let mut tries = 0;
        let made: Result<(), _> = AcceptedTemplates::default().make(TemplateKind::Rsa, |_| {
            tries += 1;
            Err(refused(RvError::DeviceError))
        });
        assert!(made.is_err() && tries == 1);
    }
}
