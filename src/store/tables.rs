//! The signed tables and their columns. A new column also needs a migration; it must be NULL in older
//! rows, so that their MACs stay right.

use super::row::{Scope, Table};

/// The keys, without their versions.
pub(super) static KEYS: Table = Table::signed(
    "keys",
    "id, spec, key_usage, origin, protection, instance, state, description, created, delete_at, tags, \
     deletion_protection, rotation_seconds, policy, material_check, material_expires, \
     material_is_present, primary_version, is_internal",
    Scope::Catalogue,
    1,
);

/// The versions, each with its key and its invocation counter, which is not part of the key's record. A key
/// is not usable if one of its versions is missing.
pub(super) static VERSIONS: Table = Table::signed(
    "key_versions",
    "id, key_id, number, created, is_live, iv_bytes, invocations",
    Scope::Catalogue,
    1,
)
.in_part_of("keys", 1);

/// What each version of a key answers to a fixed question. The answer of a version never changes, so an older
/// row is no other row; one that is missing is learned from the token again.
pub(super) static KEY_ANSWERS: Table =
    Table::signed("key_answers", "version_id, key_id, answer", Scope::Catalogue, 1)
        .in_part_of("keys", 1)
        .uncounted();

/// The aliases.
pub(super) static ALIASES: Table =
    Table::signed("aliases", "name, key_id, created", Scope::Catalogue, 1);

/// The documents of all kinds.
pub(super) static DOCUMENTS: Table =
    Table::signed("documents", "name, kind, body", Scope::Catalogue, 2);

/// The keys that were destroyed.
pub(super) static TOMBSTONES: Table =
    Table::signed("key_tombstones", "key_id, removed", Scope::Catalogue, 1);

/// The secrets without their values. The revision rises with each change, so that an older row is
/// recognized when it is read alone.
pub(super) static SECRETS: Table =
    Table::signed("secrets", "name, row_id, revision, body", Scope::Catalogue, 1);

/// The secrets that were deleted.
pub(super) static SECRET_TOMBSTONES: Table =
    Table::signed("secret_tombstones", "row_id, name, removed", Scope::Catalogue, 1);

/// The principals with their policies.
pub(super) static PRINCIPALS: Table =
    Table::signed("principals", "name, policies, created, details", Scope::Access, 1);

/// The AccessKeys and temporary credentials. The hour of the last use is not signed.
pub(super) static ACCESS_KEYS: Table = Table::signed(
    "access_keys",
    "id, principal, sealed_secret, created, is_active, session_name, token_hash, expires, \
     session_policy",
    Scope::Access,
    1,
);

/// The metadata.
pub(super) static METADATA: Table =
    Table::signed("facts", "name, value", Scope::Metadata, 1).except(UNSIGNED_METADATA);

/// The requests for approvals.
pub(super) static APPROVALS: Table = Table::signed("approvals", "id, body", Scope::Metadata, 1);

/// The changes of operators that are not audited yet. A process without the token writes them.
pub(super) static EVENTS: Table = Table::unsigned("operator_events", "number, body");

/// The metadata entry with the number of the last event of an operator.
pub(super) const LAST_EVENT: &str = "operator-events";
/// The metadata entry with the number up to which every event was audited.
pub(super) const AUDITED_EVENT: &str = "operator-events-audited";
/// The metadata entry with the key of the MACs, encrypted by a key of the token.
pub(super) const ROW_KEY: &str = "row-mac-key";
/// Counts the changes of keys, aliases, documents and secrets.
pub(super) const CATALOGUE_REVISION: &str = "catalogue-revision";
/// Counts the changes of AccessKeys and principals. Every statement that changes them increments it in
/// the same transaction. An update of the last use does not count.
pub(super) const ACCESS_REVISION: &str = "access-keys-revision";
/// What a test of whether the database can be written stores.
pub(super) const TRIAL_WRITE: &str = "write-trial";

/// The store is a copy that is not finished. The value is the encrypted key of the MACs of the original.
pub(super) const UNFINISHED_COPY: &str = "unfinished-copy";

/// The time up to which nonces of a cluster were deleted, in seconds since 1970.
pub(super) const NONCES_PRUNED: &str = "nonces-pruned";

/// The metadata that is not signed: counters and a test, which grant nothing, and what is needed before
/// the key of the MACs is known. The token checks the label of the encryption key, and authenticates the
/// encrypted key.
const UNSIGNED_METADATA: &[&str] = &[
    "access-key-seal",
    ROW_KEY,
    CATALOGUE_REVISION,
    ACCESS_REVISION,
    TRIAL_WRITE,
    LAST_EVENT,
    AUDITED_EVENT,
    NONCES_PRUNED,
    UNFINISHED_COPY,
];

/// Every signed table.
pub(super) static SIGNED: [&Table; 12] = [
    &KEYS,
    &VERSIONS,
    &KEY_ANSWERS,
    &ALIASES,
    &DOCUMENTS,
    &TOMBSTONES,
    &SECRETS,
    &SECRET_TOMBSTONES,
    &PRINCIPALS,
    &ACCESS_KEYS,
    &METADATA,
    &APPROVALS,
];

/// The signed tables of a scope.
pub(super) fn tables_of(scope: Scope) -> impl Iterator<Item = &'static Table> {
    SIGNED.into_iter().filter(move |table| table.signed.is_some_and(|signed| signed.scope == scope))
}

/// Whether the metadata entry with this name is signed.
pub(super) fn is_signed_metadata(name: &str) -> bool {
    !UNSIGNED_METADATA.contains(&name)
}
