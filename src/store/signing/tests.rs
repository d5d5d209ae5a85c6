use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row as _};

use super::*;
use crate::model::policy::{AttachedPolicy, TrustPolicy};
use crate::model::{
    AccessPoint, ApprovalSubject, FromParam, IdentityProvider, KeyId, KeyRecord, KeyState,
    PrincipalDetails, PrincipalName, Time,
};
use crate::store::key_answers::tests::store_sample_answers;
use crate::store::secrets::tests::insert_sample_secret;
use crate::store::tests::{Bench, TestDatabase, open, sample_key};
use crate::store::{AccessKeyRow, Principal, Revocation};

/// The number of random changes in the short form; HSMGATE_TORTURE makes it 1,000.
const SHORT: usize = 80;

/// A store with rows in every signed table.
async fn bench(keys: usize) -> Bench {
    filled(Bench::new().await, keys).await
}

async fn filled(bench: Bench, keys: usize) -> Bench {
    let store = &bench.store;
    for number in 0..keys {
        let key = store.insert_key(sample_key()).await.unwrap();
        store.create_alias(&format!("alias/k{number}").parse().unwrap(), key.id).await.unwrap();
    }
    let gone = store.insert_key(sample_key()).await.unwrap();
    store.remove_key(gone.id).await.unwrap();
    store_sample_answers(store).await;
    for name in ["user/alice", "user/bob"] {
        let policies = vec![AttachedPolicy::system("AliyunKMSFullAccess").unwrap()];
        let created = Time::from_unix(1_700_000_000);
        let principal = Principal::new(name.parse().unwrap(), policies, created);
        store.insert_principal(principal).await.unwrap();
        store.insert_access_key(access_key(name)).await.unwrap();
    }
    store.insert_document(access_point("point")).await.unwrap();
    for name in ["db/orders", "db/old"] {
        insert_sample_secret(store, name).await;
    }
    let old = store.secret(&"db/old".parse().unwrap()).await.unwrap().unwrap();
    store
        .remove_secret(&old, Time::from_unix(1_700_000_000), |_secret| Ok::<_, StoreError>(()))
        .await
        .unwrap();
    store.set_metadata("region", "cn-hangzhou").await.unwrap();
    let subject = ApprovalSubject {
        operation: "ScheduleKeyDeletion".to_owned(),
        requester: "user/bob".to_owned(),
        resource: "key/1".to_owned(),
        parameters: String::new(),
    };
    store.request_approval(subject, Time::from_unix(1_700_000_000), 3600).await.unwrap();
    bench
}

pub(in super::super) fn identity_provider() -> IdentityProvider {
    IdentityProvider {
        name: "k8s".parse().unwrap(),
        id: "1".to_owned(),
        issuer: "https://issuer".to_owned(),
        audiences: vec!["kms".to_owned()],
        algorithms: Vec::new(),
        keys: "{}".to_owned(),
        max_age_seconds: 60,
        created: Time::from_unix(1),
    }
}

fn access_key(principal: &str) -> AccessKeyRow {
    AccessKeyRow {
        id: format!("LTAI-{}", principal.replace('/', "-")).parse().unwrap(),
        principal: principal.parse().unwrap(),
        encrypted_secret: vec![0, 255, 7],
        created: Time::from_unix(1_700_000_000),
        is_active: true,
        last_used: None,
        session: None,
    }
}

pub(in super::super) fn access_point(name: &str) -> AccessPoint {
    AccessPoint {
        name: name.parse().unwrap(),
        policies: FromParam::from_param(r#"["policy"]"#).unwrap(),
        authentication_method: crate::model::AuthenticationMethod::ClientKey,
        description: String::new(),
        created: Time::from_unix(1_700_000_000),
    }
}

/// Changes rows without the store. Foreign keys do not matter to an attacker.
async fn tamper(bench: &Bench, sql: String) -> u64 {
    try_tamper(bench, sql).await.unwrap()
}

async fn try_tamper(bench: &Bench, sql: String) -> Result<u64, sqlx::Error> {
    bench.try_tamper(&format!("PRAGMA foreign_keys = OFF; {sql}")).await
}

/// Another value of a column, in SQL.
fn another(bench: &Bench, column: &str) -> String {
    match column {
        _ if bench.is_on_file() => format!("COALESCE({column} || '1', '1')"),
        "created"
        | "delete_at"
        | "rotation_seconds"
        | "material_expires"
        | "material_is_present"
        | "number"
        | "is_live"
        | "invocations"
        | "iv_bytes"
        | "removed"
        | "revision"
        | "is_internal"
        | "is_active"
        | "expires" => {
            format!("COALESCE({column} + 100, 100)")
        }
        "sealed_secret" | "token_hash" | "material_check" => {
            format!("COALESCE({column} || '\\x31'::bytea, '\\x31'::bytea)")
        }
        _ => format!("COALESCE({column} || '1', '1')"),
    }
}

/// The rows that a newly opened store ignores, by table and row.
async fn ignored(bench: &Bench) -> BTreeSet<(&'static str, String)> {
    let again = open(&bench.url).await.unwrap();
    let access = again.access_state().await.unwrap().damaged;
    let all = again.damaged_rows().into_iter().chain(access);
    all.map(|one| (one.table, one.row)).collect()
}

#[tokio::test]
async fn a_store_that_only_hsmgate_wrote_has_no_wrong_row() {
    let bench = bench(3).await;
    assert_eq!(ignored(&bench).await, BTreeSet::new());
    let key = bench.store.keys()[0].id;
    let change = |key: &mut KeyRecord| {
        key.state = KeyState::Disabled;
        Ok::<_, StoreError>(())
    };
    bench.store.change_key(key, change).await.unwrap();
    let alias = "alias/k1".parse().unwrap();
    bench.store.update_alias(&alias, key, |_, _| Ok::<_, StoreError>(())).await.unwrap();
    bench.store.delete_alias(&alias, |_| Ok::<_, StoreError>(())).await.unwrap();
    bench.store.delete_access_key(&access_key("user/bob").id).await.unwrap();
    bench.store.remove_document::<AccessPoint>("point").await.unwrap();
    bench.store.remove_key(key).await.unwrap();
    assert_eq!(ignored(&bench).await, BTreeSet::new());
}

#[tokio::test]
async fn a_change_of_any_signed_column_makes_only_its_row_unusable() {
    for table in SIGNED {
        for column in table.column_names() {
            let bench = bench(2).await;
            let first = table.column_names().next().unwrap();
            let condition = match table.name {
                "facts" => "name = 'region'".to_owned(),
                name => format!("{first} = (SELECT MIN({first}) FROM {name})"),
            };
            let name = format!("SELECT {first} FROM {} WHERE {condition}", table.name);
            let name: String = sqlx::query_scalar(AssertSqlSafe(name))
                .fetch_one(&*bench.store.inner.database.pool)
                .await
                .unwrap();
            let another = another(&bench, column);
            let sql = format!("UPDATE {} SET {column} = {another} WHERE {condition}", table.name);
            assert_eq!(tamper(&bench, sql).await, 1);
            let ignored = ignored(&bench).await;
            let part_by = table.part_by();
            let at = table.column_names().position(|name| name == column).unwrap();
            if at < table.key_columns()
                || (part_by.from..part_by.from + part_by.columns).contains(&at)
            {
                assert!(!ignored.is_empty(), "{} {column}", table.name);
                continue;
            }
            let others = |table: &str| table == "keys" || table == "access_keys";
            assert!(ignored.contains(&(table.name, name)), "{} {column}: {ignored:?}", table.name);
            let further = ignored.iter().filter(|(other, _row)| *other != table.name);
            assert!(further.clone().all(|(other, _row)| others(other)), "{column}: {ignored:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_an_added_and_an_older_row_are_found() {
    for sql in [
        "DELETE FROM aliases WHERE name = 'alias/k0'",
        "DELETE FROM key_tombstones",
        "DELETE FROM principals WHERE name = 'user/bob'",
        "DELETE FROM facts WHERE name = 'region'",
        "DELETE FROM row_digests WHERE part = 0 AND scope = 'access'",
        "UPDATE row_digests SET row_count = row_count + 1 WHERE part = 0 AND scope = 'access'",
        "INSERT INTO aliases (name, account, key_id, created) \
         SELECT 'alias/new', account, id, 1 FROM keys LIMIT 1",
        "INSERT INTO aliases (name, account, key_id, created, row_mac) \
         SELECT 'alias/new', account, key_id, created, row_mac FROM aliases WHERE name = 'alias/k0'",
        "INSERT INTO principals (name, account, policies, created, row_mac) \
         SELECT name, '1', policies, created, row_mac FROM principals WHERE name = 'user/bob'",
        "UPDATE principals SET account = '1'",
        "INSERT INTO principals (name, account, policies, created) \
         SELECT 'user/eve', account, policies, created FROM principals WHERE name = 'user/bob'",
    ] {
        let bench = bench(2).await;
        assert!(tamper(&bench, sql.to_owned()).await > 0, "{sql}");
        assert!(!ignored(&bench).await.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn of_rows_with_one_key_the_signature_keeps_that_of_the_account() {
    let bench = bench(2).await;
    let count = "SELECT COUNT(*) FROM principals";
    let mut database = bench.store.inner.connection().await.unwrap();
    let before: i64 = database.value(sqlx::query(count)).await.unwrap();
    drop(database);
    let copy = "INSERT INTO principals (name, account, policies, created) \
                SELECT name, '1', policies, 1 FROM principals";
    assert!(bench.change(copy).await);
    assert_eq!(ignored(&bench).await, BTreeSet::new());
    let mut database = bench.store.inner.connection().await.unwrap();
    assert_eq!(database.value::<i64>(sqlx::query(count)).await.unwrap(), before);
}

#[tokio::test]
async fn an_older_state_of_a_row_is_not_used() {
    let bench = bench(2).await;
    let id = access_key("user/bob").id;
    tamper(&bench, "CREATE TABLE old AS SELECT * FROM access_keys".to_owned()).await;
    bench.store.set_access_key_active(&id, false).await.unwrap();
    let back = "DELETE FROM access_keys; INSERT INTO access_keys SELECT * FROM old";
    tamper(&bench, back.to_owned()).await;
    let again = open(&bench.url).await.unwrap();
    let state = again.access_state().await.unwrap();
    assert!(state.damaged.iter().any(|one| one.table == "row_digests"), "{state:?}");
    assert!(state.keys.iter().all(|key| key.id != id), "the older row is not used");
    // A part with its digest: the running process knows the newer revision.
    let bench = self::bench(2).await;
    tamper(&bench, "CREATE TABLE old AS SELECT * FROM access_keys".to_owned()).await;
    tamper(&bench, "CREATE TABLE olds AS SELECT * FROM row_digests".to_owned()).await;
    bench.store.set_access_key_active(&id, false).await.unwrap();
    bench.store.access_state().await.unwrap();
    let back = "DELETE FROM access_keys; INSERT INTO access_keys SELECT * FROM old; \
                DELETE FROM row_digests; INSERT INTO row_digests SELECT * FROM olds";
    tamper(&bench, back.to_owned()).await;
    let state = bench.store.access_state().await.unwrap();
    assert!(state.keys.iter().all(|key| key.id != id), "the older row is not used");
}

#[tokio::test]
async fn a_row_with_a_wrong_mac_is_not_changed_but_can_be_deleted() {
    let bench = bench(2).await;
    let id = access_key("user/bob").id;
    tamper(&bench, format!("UPDATE access_keys SET principal = 'root' WHERE id = '{id}'")).await;
    let refused = bench.store.set_access_key_active(&id, true).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    assert!(bench.store.delete_access_key(&id).await.unwrap());
    assert_eq!(ignored(&bench).await, BTreeSet::new());
    let add = "INSERT INTO aliases (name, account, key_id, created) \
               SELECT 'alias/new', account, id, 1 FROM keys LIMIT 1";
    tamper(&bench, add.to_owned()).await;
    let mut write = bench.store.write().await.unwrap();
    let aliases = &crate::store::tables::ALIASES;
    write.delete_rows(aliases, "name = $1", vec!["alias/new".into()]).await.unwrap();
    write.finish().await.unwrap();
    assert_eq!(ignored(&bench).await, BTreeSet::new());
}

#[tokio::test]
async fn a_locked_store_takes_rights_away_and_gives_none() {
    let bench = bench(1).await;
    bench.store.insert_document(identity_provider()).await.unwrap();
    let trust = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
        "Principal":{"RAM":"acs:ram::1234567890123456:root"}}}"#;
    let trust = TrustPolicy::parse(trust).unwrap();
    let bob = PrincipalName::user("bob").unwrap();
    let trusting = |details: &mut PrincipalDetails| details.trust = Some(trust);
    bench.store.change_principal_details(&bob, trusting).await.unwrap();
    let locked = crate::store::LockedStore::open(&bench.url).await.unwrap();
    let store = locked.unchecked();
    let id = access_key("user/bob").id;
    let enabled = store.set_access_key_active(&id, true).await;
    assert!(matches!(enabled, Err(StoreError::Locked)), "{enabled:?}");
    let inserted = store.insert_key(sample_key()).await;
    assert!(matches!(inserted, Err(StoreError::Locked)), "{inserted:?}");
    assert!(store.revoke(Revocation::DisableAccessKey(id.clone())).await.unwrap());
    let policy = "AliyunKMSFullAccess".to_owned();
    let principal = "user/alice".parse().unwrap();
    assert!(store.revoke(Revocation::DetachPolicy { principal, policy }).await.unwrap());
    let from = Time::from_unix(1_700_000_100);
    let role = PrincipalName::user("bob").unwrap();
    assert!(store.revoke(Revocation::EndSessions { role: role.clone(), from }).await.unwrap());
    assert!(store.revoke(Revocation::RemoveTrust(role)).await.unwrap());
    let provider = Revocation::DeleteIdentityProvider("k8s".parse().unwrap());
    assert!(store.revoke(provider.clone()).await.unwrap());
    assert!(!store.revoke(provider).await.unwrap(), "deleted already");
    for unknown in [
        Revocation::DeleteAccessKey("LTAI-unknown".parse().unwrap()),
        Revocation::DeleteIdentityProvider("unknown".parse().unwrap()),
        Revocation::EndSessions { role: PrincipalName::role("unknown").unwrap(), from },
        Revocation::RemoveTrust(PrincipalName::role("unknown").unwrap()),
    ] {
        assert!(!store.revoke(unknown).await.unwrap());
    }
    for signed in [false, true] {
        if signed {
            assert_eq!(bench.store.sign_revocations().await.unwrap(), 5);
        }
        let state = bench.store.access_state().await.unwrap();
        assert_eq!(state.pending_revocations, if signed { 0 } else { 5 });
        let key = state.keys.iter().find(|key| key.id == id).unwrap();
        assert!(!key.is_active);
        assert!(state.principals[0].policies.is_empty(), "{state:?}");
        assert_eq!(state.principals[1].details.sessions_from, Some(from));
        assert_eq!(state.principals[1].details.trust, None);
        let read = open(&bench.url).await.unwrap();
        assert_eq!(read.documents::<IdentityProvider>(), []);
        assert_eq!(state.damaged, []);
    }
    assert_eq!(ignored(&bench).await, BTreeSet::new());
}

/// The names of the rows of a table: the values of the key columns as SQL literals.
async fn rows(bench: &Bench, table: &Table) -> Vec<String> {
    let keys: Vec<_> = table.column_names().take(table.key_columns()).collect();
    let condition = match table.name {
        "facts" => "WHERE row_mac IS NOT NULL",
        _ => "",
    };
    let sql = format!("SELECT {} FROM {} {condition}", keys.join(", "), table.name);
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&*bench.store.inner.database.pool);
    let of = |row: AnyRow| {
        let equal = keys
            .iter()
            .enumerate()
            .map(|(at, key)| format!("{key} = '{}'", row.get::<String, _>(at)));
        equal.collect::<Vec<_>>().join(" AND ")
    };
    rows.await.unwrap().into_iter().map(of).collect()
}

fn pick<T>(items: &[T], random: u64) -> &T {
    &items[usize::try_from(random % u64::try_from(items.len()).unwrap()).unwrap()]
}

/// One random change, deletion, insertion or exchange of rows.
async fn random_tampering(bench: &Bench, random: [u64; 5]) -> String {
    let tables: Vec<_> = SIGNED.into_iter().collect();
    let table = *pick(&tables, random[0]);
    let rows = rows(bench, table).await;
    let (row, other) = (pick(&rows, random[1]), pick(&rows, random[2]));
    let columns: Vec<_> = table.column_names().skip(table.key_columns()).collect();
    let (name, column) = (table.name, pick(&columns, random[3]));
    match random[4] % 4 {
        // A row that no digest counts may be missing.
        0 if table.is_counted() => format!("DELETE FROM {name} WHERE {row}"),
        1 if row != other => format!(
            "CREATE TEMP TABLE swap AS SELECT {column} AS one FROM {name} WHERE {row}; \
             UPDATE {name} SET {column} = (SELECT {column} FROM {name} WHERE {other}), \
             row_mac = (SELECT row_mac FROM {name} WHERE {other}) WHERE {row}; \
             UPDATE {name} SET {column} = (SELECT one FROM swap) WHERE {other}"
        ),
        2 => {
            let key = table.column_names().next().unwrap();
            let rest = table.column_names().skip(1).chain(["row_mac", "account"]);
            let rest: Vec<_> = rest.collect();
            let values: Vec<_> = rest
                .iter()
                .map(|column| match *column {
                    "number" => "number + 1000000".to_owned(),
                    other => other.to_owned(),
                })
                .collect();
            format!(
                "INSERT INTO {name} ({key}, {}) SELECT {key} || 'x', {} FROM {name} WHERE {row}",
                rest.join(", "),
                values.join(", ")
            )
        }
        _ => format!("UPDATE {name} SET {column} = COALESCE({column} || '1', '1') WHERE {row}"),
    }
}

/// A generator of numbers whose sequence a failure names.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 20
}

#[tokio::test]
async fn random_changes_of_rows_are_all_found_and_none_is_used() {
    let (keys, count) = match std::env::var_os("HSMGATE_TORTURE") {
        Some(_) => (100, 1_000),
        None => (20, SHORT),
    };
    // It copies the file for each change.
    let bench = filled(Bench::on_file().await, keys).await;
    let path = Store::file(&bench.url).unwrap();
    let whole = path.with_extension("whole");
    Store::backup(&bench.url, &whole, false).await.unwrap();
    let known: BTreeSet<KeyId> = bench.store.keys().iter().map(|key| key.id).collect();
    let mut state = 16;
    let mut number = 0;
    while number < count {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("store.db");
        std::fs::copy(&whole, &copy).unwrap();
        let url = format!("sqlite://{}", copy.display());
        let store = open(&url).await.unwrap();
        let copied = Bench { store, url, database: TestDatabase::File(directory) };
        let before = copied.store.keys();
        let sql = random_tampering(&copied, std::array::from_fn(|_at| next(&mut state))).await;
        // A change that the tables refuse is none.
        if try_tamper(&copied, sql.clone()).await.is_err() {
            continue;
        }
        assert!(!ignored(&copied).await.is_empty(), "{number}: {sql}");
        let again = open(&copied.url).await.unwrap();
        for key in again.keys() {
            assert!(known.contains(&key.id) && before.contains(&key), "{number}: {sql}");
        }
        number += 1;
    }
    eprintln!("  rows: {count} random changes in a store of {keys} keys, all found, none used");
}
