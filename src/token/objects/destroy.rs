//! Destruction of keys, under the object lock.

use cryptoki::object::ObjectClass;
use cryptoki::session::Session;

use super::name::{KeyClass, KeyIdentity};
use super::query::{class_and_label, destroy_test_keys, key_mismatch, search_all};
use crate::token::error::{ErrorClass, TokenError};
use crate::token::worker::Worker;

impl Worker<'_> {
    /// Destroys the key, or the key pair. A missing key is not an error.
    ///
    /// # Errors
    /// When the token does not confirm that every object is gone; `KeyMismatch` when objects with
    /// this id belong to another key or have no label; these are kept.
    pub fn destroy(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.destroy_with(key, Unlabelled::Keep)
    }

    /// As [`Worker::destroy`], for a key that may be incomplete: also destroys objects with its id
    /// that have no label after a kill.
    ///
    /// # Errors
    /// As [`Worker::destroy`].
    pub fn destroy_incomplete(&mut self, key: KeyIdentity) -> Result<(), TokenError> {
        self.destroy_with(key, Unlabelled::Destroy)
    }

    pub(crate) fn destroy_with(
        &mut self,
        key: KeyIdentity,
        unlabelled: Unlabelled,
    ) -> Result<(), TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(Some(key), |worker| {
                worker.drop_copy(key);
                let destroyed = worker.destroy_all(key, unlabelled);
                match destroyed {
                    Ok(true) => worker.state.room.note_destroyed(key.class),
                    Ok(false) => {}
                    Err(ref error) => worker.state.report_key_mismatch(key, error),
                }
                destroyed.map(drop)
            })
        })
    }

    /// Destroys the keys for tests that a killed process left as token objects. The search takes long in a
    /// token with many objects.
    ///
    /// # Errors
    /// When no session can be opened.
    pub(crate) fn destroy_left_test_keys(&mut self) -> Result<(), TokenError> {
        self.with_objects(|worker| {
            destroy_test_keys(worker.session()?);
            Ok(())
        })
    }

    /// Before a retry, removes an object that the previous attempt may have created: its response
    /// may be lost, and two objects with one id would be unusable.
    pub(crate) fn clear_before_retry(
        &mut self,
        key: KeyIdentity,
        is_retry: bool,
    ) -> Result<(), TokenError> {
        if is_retry { self.destroy_all(key, Unlabelled::Destroy).map(drop) } else { Ok(()) }
    }

    /// Removes the objects of a failed attempt: an incomplete object is listed like a complete one.
    /// What remains is removed before the next attempt, or with the version.
    pub(crate) fn discard(&mut self, key: KeyIdentity) {
        // The failure may have left an operation active on the session.
        let destroyed = self.destroy_all(key, Unlabelled::Destroy).or_else(|_jammed| {
            self.drop_session();
            self.destroy_all(key, Unlabelled::Destroy)
        });
        if let Err(error) = destroyed {
            tracing::warn!(
                event = "token.object_left",
                key = %key.name,
                %error,
                "could not destroy what a failed generation or import may have created; it may remain in the token"
            );
        }
    }

    /// Destroys all objects with this id, and returns whether there were any. An empty search is
    /// accepted only as in any search.
    fn destroy_all(
        &mut self,
        key: KeyIdentity,
        unlabelled: Unlabelled,
    ) -> Result<bool, TokenError> {
        self.log_in_if_logged_out()?;
        let mut existed = false;
        self.search_while_logged_in(|session| {
            existed |= destroy_seen(session, key, unlabelled)?;
            Ok(())
        })?;
        if !existed {
            self.verify_absence(key)?;
        }
        Ok(existed)
    }
}

/// Whether it found objects of this key, which are destroyed now; those of another key are kept. A
/// failing token may report that an object does not exist: only an empty search is accepted.
fn destroy_seen(
    session: &Session,
    key: KeyIdentity,
    unlabelled: Unlabelled,
) -> Result<bool, TokenError> {
    let (mut doubt, mut other) = (None, None);
    let objects = search_all(session, key)?;
    let existed = !objects.is_empty();
    for object in objects {
        let destroyed = match class_and_label(session, object) {
            Ok((class, label)) if !belongs_to(key, class, &label, unlabelled) => {
                other = Some(key_mismatch(key, &label));
                continue;
            }
            Ok(_) => session.destroy_object(object).map_err(TokenError::from),
            Err(error) => Err(error),
        };
        match destroyed {
            // Another process was faster, or the error is wrong.
            Err(error) if error.class() == ErrorClass::HandleGone => doubt = Some(error),
            outcome => outcome?,
        }
    }
    match (other, doubt) {
        (Some(error), _) => Err(error),
        (None, Some(error)) if !search_all(session, key)?.is_empty() => Err(error),
        _ => Ok(existed),
    }
}

/// How to treat objects that have a key's id and no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlabelled {
    /// Keep them: with the id alone, a changed database could name any object of the token.
    Keep,
    /// Destroy those of the key's class: they were incomplete after a kill.
    Destroy,
}

/// Whether an object with a key's id belongs to the key and may be destroyed.
fn belongs_to(
    key: KeyIdentity,
    class: Option<ObjectClass>,
    label: &[u8],
    unlabelled: Unlabelled,
) -> bool {
    if !label.is_empty() {
        return key.matches_label(label);
    }
    let is_of_class = match (key.class, class) {
        (_, None) => true,
        (KeyClass::Secret, Some(class)) => class == ObjectClass::SECRET_KEY,
        (KeyClass::Pair, Some(class)) => {
            [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY].contains(&class)
        }
    };
    unlabelled == Unlabelled::Destroy && is_of_class
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyId, KeySpec, KeyVersionId};

    #[test]
    fn an_object_without_a_label_belongs_to_the_key_only_if_it_may_be_incomplete() {
        let of = |spec| KeyIdentity::of_key(KeyId::random(), spec, 1, KeyVersionId::random());
        let (secret, pair) = (of(KeySpec::Aes256), of(KeySpec::EcP256));
        let has = |key: KeyIdentity, class, label: &str, unlabelled| {
            belongs_to(key, class, label.as_bytes(), unlabelled)
        };
        let (own, aes) = (secret.name.to_string(), Some(ObjectClass::SECRET_KEY));
        for unlabelled in [Unlabelled::Keep, Unlabelled::Destroy] {
            assert!(has(secret, aes, &own, unlabelled));
            assert!(!has(secret, aes, &pair.name.to_string(), unlabelled));
            assert!(!has(secret, Some(ObjectClass::CERTIFICATE), "", unlabelled));
            assert!(!has(secret, Some(ObjectClass::DATA), "", unlabelled));
            assert!(!has(pair, aes, "", unlabelled));
        }
        for (key, class) in
            [(secret, aes), (secret, None), (pair, Some(ObjectClass::PUBLIC_KEY)), (pair, None)]
        {
            assert!(has(key, class, "", Unlabelled::Destroy), "{class:?}");
            assert!(!has(key, class, "", Unlabelled::Keep), "{class:?}");
        }
    }
}
