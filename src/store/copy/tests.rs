use std::cell::Cell;

use tokio::sync::Notify;

use super::*;
use crate::model::{NetworkRule, Time};
use crate::store::key_answers::tests::store_sample_answers;
use crate::store::secrets::tests::insert_sample_secret;
use crate::store::tests::{Bench, TestDatabase, open, row_key, sample_key};
use crate::store::{AccessKeyRow, Principal, Revocation};

fn noon() -> Time {
    Time::from_unix(1_700_000_000)
}

/// A store, and an empty database: both on files, or one on each kind of database.
async fn pairs() -> Vec<(Bench, TestDatabase)> {
    let bench = Bench::new().await;
    if bench.is_on_file() {
        return vec![(bench, TestDatabase::new())];
    }
    vec![(bench, TestDatabase::file()), (Bench::on_file().await, TestDatabase::new())]
}

/// Gives every table some rows.
async fn fill(bench: &Bench) {
    let store = &bench.store;
    store.set_operator("uid:7".to_owned());
    store.instance().await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(store.insert_key(sample_key()).await.unwrap().id);
    }
    store.create_alias(&"alias/orders".parse().unwrap(), keys[0]).await.unwrap();
    store.remove_key(keys[4]).await.unwrap();
    store_sample_answers(store).await;
    let source_private_ip = crate::model::FromParam::from_param(r#"["10.0.0.0/8"]"#).unwrap();
    let description = "о".to_owned();
    let name = "office".parse().unwrap();
    let rule = NetworkRule { name, source_private_ip, description, created: noon() };
    store.insert_document(rule).await.unwrap();
    let alice = "user/alice".parse().unwrap();
    store.insert_principal(Principal::new(alice, Vec::new(), noon())).await.unwrap();
    for id in ["LTAI-1", "LTAI-2"] {
        let row = AccessKeyRow {
            id: id.parse().unwrap(),
            principal: "user/alice".parse().unwrap(),
            encrypted_secret: vec![0, 255, 7],
            created: noon(),
            is_active: true,
            last_used: Some(noon()),
            session: None,
        };
        store.insert_access_key(row).await.unwrap();
    }
    store.revoke(Revocation::DisableAccessKey("LTAI-1".parse().unwrap())).await.unwrap();
    insert_sample_secret(store, "db/orders").await;
    let removed = insert_sample_secret(store, "db/old").await;
    store.remove_secret(&removed, noon(), |_secret| Ok::<_, StoreError>(())).await.unwrap();
    bench.tamper("INSERT INTO used_nonces (nonce, expires) VALUES (-9223372036854775808, 7)").await;
    bench.tamper("UPDATE key_versions SET last_used = 1700000000 WHERE number = 1").await;
    let subject = crate::model::ApprovalSubject {
        operation: "ScheduleKeyDeletion".to_owned(),
        requester: "user/alice".to_owned(),
        resource: "key".to_owned(),
        parameters: "00".to_owned(),
    };
    store.request_approval(subject, noon(), 60).await.unwrap();
}

/// Closes a store and keeps its database.
async fn leave(bench: Bench) -> (String, TestDatabase) {
    let Bench { store, url, database } = bench;
    store.close().await;
    (url, database)
}

/// Runs a copy to its end. Returns what was copied, by table.
async fn copy(from: &str, to: &str) -> Result<Vec<CopiedRows>, StoreError> {
    let complete = StoreCopy::prepare(from, to).await?.run(|_done, _remaining| {}).await?;
    let unfinished = open(to).await.err().unwrap();
    assert!(matches!(unfinished, StoreError::InUseElsewhere(_)), "{unfinished:?}");
    let store = complete.copy().unlock(row_key()).await?;
    assert_eq!(store.damaged_rows(), []);
    assert_eq!(store.mismatched_secret_values().await?, Vec::<String>::new());
    store.set_operator("uid:8".to_owned());
    complete.release(&store, Vec::new()).await?;
    let tables = complete.tables.clone();
    complete.close().await;
    Ok(tables)
}

/// Ends a copy after so many rows, as a kill does.
async fn interrupt(from: &str, to: &str, rows: usize) {
    let copy = StoreCopy::prepare(from, to).await.unwrap();
    let (stopped, progress) = (Notify::new(), Cell::new(0));
    let run = copy.run(|done, _remaining| {
        progress.set(done);
        if done >= rows {
            stopped.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = stopped.notified() => {}
        _complete = run => panic!("not interrupted"),
    }
    assert!(progress.get() >= rows);
}

async fn assert_same(copy: &str, original: &str) {
    let (copy, original) = (open(copy).await.unwrap(), open(original).await.unwrap());
    assert_eq!(copy.keys(), original.keys());
    assert_eq!(copy.aliases(), original.aliases());
    assert_eq!(copy.secrets(), original.secrets());
    assert_eq!(copy.documents::<NetworkRule>(), original.documents::<NetworkRule>());
    assert_eq!(copy.approvals().await.unwrap(), original.approvals().await.unwrap());
    let (access, of_original) =
        (copy.access_state().await.unwrap(), original.access_state().await.unwrap());
    assert_eq!(access.keys, of_original.keys);
    assert_eq!(access.principals, of_original.principals);
    assert_eq!(copy.instance().await.unwrap(), original.instance().await.unwrap());
    assert_eq!([copy.damaged_rows(), access.damaged], [const { Vec::new() }; 2]);
    copy.close().await;
    original.close().await;
}

#[tokio::test]
async fn every_table_is_copied_or_left_out_by_name_and_by_its_whole_key() {
    let bench = Bench::new().await;
    let mut connection = Connection::acquire(&bench.store.database().pool).await.unwrap();
    let copied = COPIED.iter().map(|table| table.name.to_owned());
    let known: BTreeSet<String> =
        copied.chain(LEFT_OUT.iter().map(|&name| name.to_owned())).collect();
    assert_eq!(tables(&mut connection).await.unwrap(), known);
    for table in COPIED.iter().filter(|_table| bench.is_on_file()) {
        let key = "SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk";
        let key = connection.rows(sqlx::query(key).bind(table.name)).await.unwrap();
        let key: Vec<String> = key.iter().map(|row| row.get(0)).collect();
        assert_eq!(key, table.key, "{}", table.name);
    }
}

#[tokio::test]
async fn a_copy_has_every_row_and_its_signatures_hold() {
    for (bench, target) in pairs().await {
        fill(&bench).await;
        let (from, _database) = leave(bench).await;
        let plan = StoreCopy::prepare(&from, &target.url()).await.unwrap();
        let planned = plan.plan().await.unwrap();
        plan.close().await;
        let copied = copy(&from, &target.url()).await.unwrap();
        for (planned, rows) in planned.iter().zip(&copied) {
            assert!(rows.rows > 0, "{} has no rows", rows.table);
            assert_eq!((rows.copied, rows.verified), (rows.rows, rows.rows), "{}", rows.table);
            assert_eq!((planned.rows, planned.verified), (rows.rows, 0), "{}", rows.table);
        }
        assert_same(&target.url(), &from).await;
        let copied = open(&target.url()).await.unwrap();
        let events = copied.operator_events().await.unwrap();
        let [.., (_number, last)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((last.name.as_str(), last.operator.as_str()), ("CopyStore", "uid:8"));
        copied.insert_key(sample_key()).await.unwrap();
    }
}

#[tokio::test]
async fn an_interrupted_copy_is_not_served_and_is_continued_with_what_changed_since() {
    for (bench, target) in pairs().await {
        fill(&bench).await;
        let (from, _database) = leave(bench).await;
        let url = target.url();
        for rows in [1, 6, 20, 30] {
            interrupt(&from, &url, rows).await;
            let refused = open(&url).await.err().unwrap();
            assert!(matches!(refused, StoreError::UnfinishedCopy(_)), "{refused:?}");
            let refused = LockedStore::open_existing(&url).await.err().unwrap();
            assert!(matches!(refused, StoreError::UnfinishedCopy(_)), "{refused:?}");
        }
        let list = "INSERT INTO catalogue_changes (revision, number, table_name, row_key) \
                    VALUES (1, 1, 'keys', '[]')";
        let begun = connect::connect_to_any_existing(&url, LockMode::Exclusive).await.unwrap();
        let mut connection = Connection::acquire(&begun.pool).await.unwrap();
        connection.execute(sqlx::query(list)).await.unwrap();
        drop(connection);
        begun.close().await;
        drop(begun);
        let original = open(&from).await.unwrap();
        let keys: Vec<_> = original.keys().iter().map(|key| key.id).collect();
        original.remove_key(keys[0]).await.unwrap();
        let clear = |key: &mut crate::model::KeyRecord| {
            key.description.clear();
            Ok::<_, StoreError>(())
        };
        original.change_key(keys[1], clear).await.unwrap();
        original.insert_key(sample_key()).await.unwrap();
        original.close().await;
        drop(original);
        let copied = copy(&from, &url).await.unwrap();
        let keys = copied.iter().find(|rows| rows.table == "keys").unwrap();
        assert_eq!((keys.rows, keys.copied, keys.verified), (4, 2, 4));
        assert_same(&url, &from).await;
        let copied = open(&url).await.unwrap();
        let mut connection = Connection::acquire(&copied.database().pool).await.unwrap();
        let lists = sqlx::query("SELECT COUNT(*) FROM catalogue_changes");
        assert_eq!(connection.value::<i64>(lists).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_store_in_use_another_store_and_another_copy_are_refused() {
    for (bench, target) in pairs().await {
        fill(&bench).await;
        let url = target.url();
        let refused = StoreCopy::prepare(&bench.url, &url).await.err().unwrap();
        assert!(matches!(refused, StoreError::InUseElsewhere(_)), "{refused:?}");
        let (from, _database) = leave(bench).await;
        interrupt(&from, &url, 1).await;
        let other = Bench::new().await;
        other.store.set_metadata("a", "1").await.unwrap();
        // Another installation has another key of the MACs.
        other.tamper("UPDATE facts SET value = 'another' WHERE name = 'row-mac-key'").await;
        let (other, _database_of_other) = leave(other).await;
        let refused = StoreCopy::prepare(&other, &url).await.err().unwrap();
        assert!(matches!(refused, StoreError::OtherCopy(_)), "{refused:?}");
        let refused = StoreCopy::prepare(&from, &other).await.err().unwrap();
        assert!(matches!(refused, StoreError::NotEmpty(_)), "{refused:?}");
        let refused = StoreCopy::prepare(&url, &other).await.err().unwrap();
        assert!(matches!(refused, StoreError::UnfinishedCopy(_)), "{refused:?}");
        copy(&from, &url).await.unwrap();
        let refused = StoreCopy::prepare(&from, &url).await.err().unwrap();
        assert!(matches!(refused, StoreError::NotEmpty(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_row_that_the_target_does_not_keep_is_found() {
    let bench = Bench::on_file().await;
    fill(&bench).await;
    let (from, _database) = leave(bench).await;
    let target = TestDatabase::file();
    interrupt(&from, &target.url(), 1).await;
    let connected = connect::connect_to_any(&target.url(), LockMode::Shared).await.unwrap();
    let change = "CREATE TRIGGER change AFTER INSERT ON aliases BEGIN \
                  UPDATE aliases SET created = created + 1; END";
    sqlx::query(change).execute(&*connected.pool).await.unwrap();
    connected.close().await;
    drop(connected);
    let refused = copy(&from, &target.url()).await.unwrap_err();
    let StoreError::CopyDiffers { table, row } = refused else { panic!("{refused:?}") };
    assert_eq!((table, row.as_str()), ("aliases", "alias/orders/1234567890123456"));
}

#[tokio::test]
async fn a_value_that_the_other_database_cannot_have_is_named() {
    let target = TestDatabase::new();
    let bench = Bench::on_file().await;
    if matches!(target, TestDatabase::File(_)) {
        return;
    }
    fill(&bench).await;
    bench.tamper("UPDATE aliases SET name = 'a' || CAST(x'00' AS TEXT)").await;
    let (from, _database) = leave(bench).await;
    let refused = copy(&from, &target.url()).await.unwrap_err();
    let StoreError::Copy { table, row, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((table, row.as_str()), ("aliases", "a\0/1234567890123456"));
}
