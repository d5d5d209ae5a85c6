//! The key of the row MACs, and what is computed with it.
//!
//! The database is data, not truth: a process that can write its file can change every row. Each row
//! that decides something therefore has a MAC under a key that only the token gives back. The MAC
//! covers account, table, and the name and value of each column that is not NULL, so that a later
//! column, NULL in older rows, does not change their MACs.
//!
//! A set of rows has a digest: the XOR of one keyed element for each MAC, masked with a value of a
//! fresh nonce (MSet-XOR-Hash of Clarke, Devadas, van Dijk, Gassend and Suh, ASIACRYPT 2003). One
//! changed row costs two elements, whatever the number of rows.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

use super::value::Value;
use crate::model::AccountId;

/// The length of a MAC, an element and a digest: HMAC-SHA256.
pub(super) const MAC_BYTES: usize = 32;
/// A MAC, an element or a digest.
pub(super) type Mac = [u8; MAC_BYTES];

/// The key of the row MACs of one store.
pub struct RowKey {
    account: String,
    rows: hmac::Key,
    parts: hmac::Key,
    elements: hmac::Key,
    masks: hmac::Key,
    sessions: hmac::Key,
}

/// The key of the sessions whose state is in their tokens. It follows from the key of the row MACs: who
/// has that one can give any principal any right.
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// The key of one session for a purpose.
    pub fn derive(&self, purpose: &str, session: &[u8]) -> Zeroizing<[u8; MAC_BYTES]> {
        let mut context = hmac::Context::with_key(&self.0);
        update(&mut context, purpose.as_bytes());
        update(&mut context, session);
        Zeroizing::new(array(&context.sign()))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowKey").finish_non_exhaustive()
    }
}

impl RowKey {
    /// The length of the secret in bytes.
    pub const SECRET_BYTES: usize = 32;

    /// The key from its secret. The account is part of each MAC.
    pub fn new(secret: &[u8; Self::SECRET_BYTES], account: &AccountId) -> Self {
        let secret = hmac::Key::new(HMAC_SHA256, secret);
        let derive = |purpose: &str| {
            hmac::Key::new(HMAC_SHA256, hmac::sign(&secret, purpose.as_bytes()).as_ref())
        };
        Self {
            account: account.to_string(),
            rows: derive("hsmgate 1 row mac"),
            parts: derive("hsmgate 1 row part"),
            elements: derive("hsmgate 1 row element"),
            masks: derive("hsmgate 1 row digest mask"),
            sessions: derive("hsmgate 1 session"),
        }
    }

    /// The account of the rows.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// The key of sessions.
    pub fn sessions(&self) -> SessionKey {
        SessionKey(self.sessions.clone())
    }

    /// The MAC of a row: its columns by name, in the order of the table.
    pub(super) fn mac<'v>(
        &self,
        table: &str,
        columns: impl IntoIterator<Item = (&'v str, &'v Value)>,
    ) -> Mac {
        let mut context = hmac::Context::with_key(&self.rows);
        for text in ["hsmgate-row-1", &self.account, table] {
            update(&mut context, text.as_bytes());
        }
        for (name, value) in columns {
            let Some((kind, bytes)) = value.encode() else { continue };
            update(&mut context, name.as_bytes());
            context.update(&[kind]);
            update(&mut context, &bytes);
        }
        array(&context.sign())
    }

    /// The part of a row among `parts`, by what decides it.
    pub(super) fn part<'v>(
        &self,
        name: &str,
        values: impl IntoIterator<Item = &'v Value>,
        parts: u8,
    ) -> u8 {
        let mut context = hmac::Context::with_key(&self.parts);
        update(&mut context, name.as_bytes());
        for value in values {
            let (kind, bytes) = value.encode().unwrap_or_default();
            context.update(&[kind]);
            update(&mut context, &bytes);
        }
        let [first, ..] = array(&context.sign());
        first % parts.max(1)
    }

    /// The element of a row in the digest of its part.
    pub(super) fn element(&self, mac: &[u8]) -> Mac {
        array(&hmac::sign(&self.elements, mac))
    }

    /// What masks the digest of a part with this nonce.
    pub(super) fn mask(&self, scope: &str, part: u8, nonce: &[u8]) -> Mac {
        let mut context = hmac::Context::with_key(&self.masks);
        update(&mut context, scope.as_bytes());
        context.update(&[part]);
        update(&mut context, nonce);
        array(&context.sign())
    }
}

/// Whether a stored MAC is this one, in constant time.
pub(super) fn is_mac(stored: &[u8], mac: &Mac) -> bool {
    verify_slices_are_equal(stored, mac).is_ok()
}

/// The XOR of two digests.
pub(super) fn xor(one: &Mac, other: &Mac) -> Mac {
    let mut sum = *one;
    for (byte, other) in sum.iter_mut().zip(other) {
        *byte ^= other;
    }
    sum
}

/// The length and the bytes, so that no two sequences of fields are the same input.
fn update(context: &mut hmac::Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn array(tag: &hmac::Tag) -> Mac {
    let mut mac = [0; MAC_BYTES];
    for (byte, tag) in mac.iter_mut().zip(tag.as_ref()) {
        *byte = *tag;
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(account: &str) -> RowKey {
        RowKey::new(&[7; 32], &account.parse().unwrap())
    }

    #[test]
    fn the_mac_depends_on_account_table_and_each_column_and_not_on_null_columns() {
        let (one, two) = (Value::from("a"), Value::from(5));
        let row = || [("name", &one), ("number", &two)];
        let key_one = key("1234567890123456");
        let mac = key_one.mac("t", row());
        assert!(is_mac(&mac, &key_one.mac("t", row())));
        let null = Value::Null(super::super::value::ColumnType::Text);
        assert_eq!(mac, key_one.mac("t", row().into_iter().chain([("later", &null)])));
        let others = [
            key("1234567890123457").mac("t", row()),
            key_one.mac("u", row()),
            key_one.mac("t", [("name", &two), ("number", &one)]),
            key_one.mac("t", [("name", &one)]),
            key_one.mac("t", [("nam", &Value::from("ea")), ("number", &two)]),
            key_one.mac("t", [("name", &one), ("number", &Value::from("5"))]),
        ];
        for other in others {
            assert!(!is_mac(&mac, &other));
        }
    }

    #[test]
    fn parts_are_within_their_number_and_use_all_of_it() {
        let key = key("1234567890123456");
        let parts = (0..1000).map(|number| key.part("t", &[Value::from(number)], 64));
        let used: std::collections::BTreeSet<u8> = parts.collect();
        assert_eq!(used, (0..64).collect());
    }
}
