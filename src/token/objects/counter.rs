//! A counter in the token that shows whether the database is older than the token: a data object, which
//! only who has the PIN can change. Its number is in its label, because no code reads CKA_VALUE.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::query::attribute;
use crate::model::KeyVersionId;
use crate::token::error::TokenError;
use crate::token::worker::Worker;

/// The first part of `CKA_APPLICATION` and `CKA_LABEL`. It is not the label of a key.
const PREFIX: &str = "hsmgate-counter";

impl Worker<'_> {
    /// The counter of the database with this encryption key. `None` if the token has none.
    ///
    /// # Errors
    /// When the token fails.
    pub fn counter(&mut self, encryption_key: KeyVersionId) -> Result<Option<u64>, TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(None, |worker| {
                let objects = find(worker.logged_in_session()?, encryption_key)?;
                Ok(objects.into_iter().map(|(_object, number)| number).max())
            })
        })
    }

    /// Raises the counter of the database with this encryption key to this number. A higher one stays:
    /// another gateway has raised it. The new object is created before the old one is destroyed, so that the
    /// token has a counter at every instant.
    ///
    /// # Errors
    /// When the token fails, or does not accept such a data object.
    pub fn raise_counter(
        &mut self,
        encryption_key: KeyVersionId,
        number: u64,
    ) -> Result<(), TokenError> {
        self.with_objects(|worker| {
            worker.with_retry(None, |worker| {
                let session = worker.logged_in_session()?;
                let objects = find(session, encryption_key)?;
                if !objects.iter().any(|(_object, found)| *found >= number) {
                    session.create_object(&template(encryption_key, number))?;
                }
                let others = objects.into_iter().filter(|(_object, found)| *found < number);
                for (object, _number) in others {
                    session.destroy_object(object)?;
                }
                Ok(())
            })
        })
    }

    fn logged_in_session(&mut self) -> Result<&Session, TokenError> {
        self.log_in_if_logged_out()?;
        self.session()
    }
}

fn application(encryption_key: KeyVersionId) -> Attribute {
    Attribute::Application(format!("{PREFIX}/{encryption_key}").into_bytes())
}

fn template(encryption_key: KeyVersionId, number: u64) -> [Attribute; 6] {
    [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        application(encryption_key),
        Attribute::Label(format!("{PREFIX}/{number}").into_bytes()),
        // Some tokens demand a value. It is never read.
        Attribute::Value(PREFIX.as_bytes().to_vec()),
    ]
}

/// The counters of this database: one, or two after a failure between creation and destruction.
fn find(
    session: &Session,
    encryption_key: KeyVersionId,
) -> Result<Vec<(ObjectHandle, u64)>, TokenError> {
    let wanted = [Attribute::Class(ObjectClass::DATA), application(encryption_key)];
    let mut counters = Vec::new();
    for object in session.find_objects(&wanted)? {
        let attributes = session.get_attributes(object, &[AttributeType::Label])?;
        let label = attribute!(attributes, Label).map(Vec::as_slice).unwrap_or_default();
        counters.extend(number(label).map(|number| (object, number)));
    }
    Ok(counters)
}

fn number(label: &[u8]) -> Option<u64> {
    std::str::from_utf8(label).ok()?.strip_prefix(PREFIX)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::ObjectName;

    #[test]
    fn the_label_of_a_counter_has_its_number_and_is_not_the_label_of_a_key() {
        let [_, _, _, _, Attribute::Label(label), _] = template(KeyVersionId::random(), 12) else {
            panic!("no label");
        };
        assert_eq!(number(&label), Some(12));
        assert!(std::str::from_utf8(&label).unwrap().parse::<ObjectName>().is_err());
        assert_eq!(number(b"hsmgate/12"), None);
        assert_eq!(number(b"hsmgate-counter/x"), None);
    }
}
