//! A process that is killed at every boundary between two calls into the token, and at any instant
//! under load: nothing acknowledged is lost, nothing half made is visible, and the next start repairs
//! the rest by itself.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use fault_token::{Fault, Rule, When};
use hsmgate::audit::{Expectation, Verifier};
use hsmgate::cli::client::CallError;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::gateway::{is_alive, until};
use crate::harness::text;
use crate::rig::Rig;
use crate::scale::{report, scaled};

const TEXT: &str = "SGVsbG8=";
/// Objects of the gateway itself: the key that seals AccessKeys, and the pair of the checkpoints.
const SERVICE_OBJECTS: usize = 3;

/// What was acknowledged.
#[derive(Debug, Default)]
struct Facts {
    /// Ciphertexts, all of the same text.
    blobs: Vec<String>,
    /// Keys by id, and whether each is enabled; unknown while a change has no answer.
    keys: BTreeMap<String, Option<bool>>,
    /// Aliases and their keys; unknown likewise.
    aliases: BTreeMap<String, Option<String>>,
    /// Files of objects that SoftHSM2 may have left without a row: a making that errors and a kill
    /// have interrupted leaves one now and then.
    spare: usize,
}

async fn create(rig: &Rig, params: &[(&str, &str)]) -> Option<String> {
    let made = rig.gateway.client.call("CreateKey", params).await.ok()?;
    Some(text(&made["KeyMetadata"]["KeyId"]).to_owned())
}

async fn encrypt(rig: &Rig, key: &str) -> Option<String> {
    let sealed =
        rig.gateway.client.call("Encrypt", &[("KeyId", key), ("Plaintext", TEXT)]).await.ok()?;
    Some(text(&sealed["CiphertextBlob"]).to_owned())
}

async fn database(rig: &Rig) -> SqliteConnection {
    let url = format!("sqlite://{}", rig.gateway.process.state().join("hsmgate.db").display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn number(database: &mut SqliteConnection, sql: &'static str) -> usize {
    let count: i64 = sqlx::query_scalar(sql).fetch_one(database).await.unwrap();
    usize::try_from(count).unwrap()
}

/// What holds after every start.
async fn check(rig: &Rig, facts: &Facts) {
    for blob in &facts.blobs {
        let opened = rig.gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(opened["Plaintext"], TEXT);
    }
    let listed = rig.gateway.call("ListKeys", &[("PageSize", "100")]).await;
    assert!(listed["TotalCount"].as_u64().unwrap() <= 100, "one page holds them");
    let mut states = BTreeMap::new();
    for key in listed["Keys"]["Key"].as_array().unwrap() {
        let key = text(&key["KeyId"]);
        let shown = rig.gateway.call("DescribeKey", &[("KeyId", key)]).await;
        let state = text(&shown["KeyMetadata"]["KeyState"]).to_owned();
        let usable = state == "Enabled" && shown["KeyMetadata"]["KeyUsage"] == "ENCRYPT/DECRYPT";
        if usable {
            let blob = encrypt(rig, key).await.expect("a key that is listed as enabled works");
            rig.gateway.call("Decrypt", &[("CiphertextBlob", &blob)]).await;
        }
        states.insert(key.to_owned(), state);
    }
    for (key, is_enabled) in &facts.keys {
        let state = states.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        let expected = match is_enabled {
            Some(true) => &["Enabled"][..],
            Some(false) => &["Disabled"],
            None => &["Enabled", "Disabled"],
        };
        assert!(expected.contains(&state.as_str()), "{key} is {state}, not {expected:?}");
    }
    let listed = rig.gateway.call("ListAliases", &[("PageSize", "100")]).await;
    let listed: BTreeMap<&str, &str> = listed["Aliases"]["Alias"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alias| (text(&alias["AliasName"]), text(&alias["KeyId"])))
        .collect();
    for (alias, key) in &facts.aliases {
        if let Some(key) = key {
            assert_eq!(listed.get(alias.as_str()), Some(&key.as_str()), "{alias}");
        }
    }
    let mut database = database(rig).await;
    let creating = "SELECT (SELECT COUNT(*) FROM keys WHERE state IN ('Creating', 'Deleting')) \
                    + (SELECT COUNT(*) FROM key_versions WHERE is_live = 0)";
    assert_eq!(number(&mut database, creating).await, 0, "nothing half made stays");
    let pairs = "SELECT COUNT(*) FROM key_versions JOIN keys ON keys.id = key_id \
                 WHERE spec LIKE 'EC%' OR spec LIKE 'RSA%'";
    let versions = number(&mut database, "SELECT COUNT(*) FROM key_versions").await;
    let expected = versions + number(&mut database, pairs).await + SERVICE_OBJECTS;
    let objects = rig.gateway.token_objects();
    assert!(objects >= expected, "none is lost: {objects}, not {expected}");
    let log = || rig.gateway.process.log();
    assert!(objects <= expected + facts.spare, "no object without a row: {}", log());
}

/// The records verify, and no answer is without its own.
fn check_audit(rig: Rig) {
    let directory = rig.gateway.process.stop();
    let file = directory.path().join("state/audit.jsonl");
    let verified = Verifier::new(None, Expectation::default()).files(&[file]).unwrap();
    assert_eq!(verified.faults, []);
}

/// Does something with a kill before and after every call into the token that it makes. `act` gives
/// what was acknowledged, if it was.
async fn at_every_boundary(
    name: &str,
    prepare: impl AsyncFn(&Rig, &mut Facts),
    act: impl AsyncFn(&Rig, &mut Facts) -> Option<()>,
) {
    let mut rig = Rig::start();
    let mut facts = Facts::default();
    prepare(&rig, &mut facts).await;
    rig.token.calls();
    act(&rig, &mut facts).await.expect("nothing is wrong yet");
    let calls = rig.token.calls().len();
    let (mut kills, mut acknowledged) = (0, 0);
    for kind in [Fault::KillBefore, Fault::KillAfter] {
        for at in 1..=calls as u64 {
            let before = number(&mut database(&rig).await, "SELECT COUNT(*) FROM keys").await;
            rig.token.add(Rule::on_all(kind.clone()).when(When::At(at)));
            let process = rig.gateway.process.id();
            acknowledged += usize::from(act(&rig, &mut facts).await.is_some());
            // Where fewer calls were made than the first time, the next one is at work.
            while is_alive(&process) && act(&rig, &mut facts).await.is_some() {
                acknowledged += 1;
            }
            until(|| !is_alive(&process)).await;
            kills += 1;
            rig = rig.kill_and_restart();
            check(&rig, &facts).await;
            let after = number(&mut database(&rig).await, "SELECT COUNT(*) FROM keys").await;
            assert!(after <= before + 3, "a call makes one key at most: {before}, then {after}");
        }
    }
    report(&format!(
        "{name}: killed {kills} times, {calls} calls each, {acknowledged} were acknowledged all \
         the same"
    ));
    check_audit(rig);
}

async fn nothing(_rig: &Rig, _facts: &mut Facts) {}

#[tokio::test]
async fn a_key_that_is_being_made_is_there_as_a_whole_or_not_at_all() {
    let act = async |rig: &Rig, facts: &mut Facts| {
        let key = create(rig, &[]).await?;
        facts.keys.insert(key, Some(true));
        Some(())
    };
    at_every_boundary("CreateKey", nothing, act).await;
}

#[tokio::test]
async fn a_key_pair_that_is_being_made_is_there_as_a_whole_or_not_at_all() {
    let act = async |rig: &Rig, facts: &mut Facts| {
        let key = create(rig, &[("KeySpec", "EC_P256")]).await?;
        facts.keys.insert(key, Some(true));
        Some(())
    };
    at_every_boundary("CreateKey EC_P256", nothing, act).await;
}

#[tokio::test]
async fn a_version_that_is_being_made_leaves_the_ones_before_it() {
    let prepare = async |rig: &Rig, facts: &mut Facts| {
        let key = create(rig, &[]).await.unwrap();
        facts.blobs.push(encrypt(rig, &key).await.unwrap());
        facts.keys.insert(key, Some(true));
    };
    let act = async |rig: &Rig, facts: &mut Facts| {
        let key = facts.keys.keys().next().unwrap().clone();
        rig.gateway.client.call("CreateKeyVersion", &[("KeyId", &key)]).await.ok()?;
        Some(())
    };
    at_every_boundary("CreateKeyVersion", prepare, act).await;
}

#[tokio::test]
async fn a_deletion_that_has_begun_is_carried_through() {
    let mut rig = Rig::start();
    for kind in [Fault::KillBefore, Fault::KillAfter] {
        let key = create(&rig, &[("KeySpec", "EC_P256")]).await.unwrap();
        let window = ("PendingWindowInDays", "7");
        rig.gateway.call("ScheduleKeyDeletion", &[("KeyId", &key), window]).await;
        rig.token.add(Rule::on(&["C_DestroyObject"], kind).when(When::At(1)));
        let process = rig.gateway.process.id();
        let mut database = database(&rig).await;
        // As another process changes it: the revision tells the gateway.
        for sql in [
            "UPDATE keys SET delete_at = 1 WHERE state = 'PendingDeletion'",
            "UPDATE facts SET value = CAST(value AS INTEGER) + 1 WHERE name = 'catalogue-revision'",
        ] {
            sqlx::query(sql).execute(&mut database).await.unwrap();
        }
        database.close().await.unwrap();
        until(|| !is_alive(&process)).await;
        rig = rig.kill_and_restart();
        while rig.gateway.token_objects() > SERVICE_OBJECTS + 1 {
            tokio::task::yield_now().await;
        }
        let gone = rig.gateway.refused("DescribeKey", &[("KeyId", &key)]).await;
        assert_eq!(gone.0, 404, "{gone:?}");
        rig = rig.restart();
        let gone = rig.gateway.refused("DescribeKey", &[("KeyId", &key)]).await;
        assert_eq!(gone.0, 404, "it does not come back");
        check(&rig, &Facts::default()).await;
    }
    check_audit(rig);
}

/// SplitMix64: the same kills in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Changes keys and aliases of its own until the gateway is gone, and keeps what was acknowledged.
/// With errors of the token between, what had none is unknown until it is asked.
async fn work(rig: &Rig, worker: u64, facts: &mut Facts, chance: &mut Chance) -> usize {
    let client = &rig.gateway.client;
    let mut done = 0;
    loop {
        let keys: Vec<String> = facts.keys.keys().cloned().collect();
        let any = |chance: &mut Chance| -> String {
            keys[usize::try_from(chance.below(keys.len() as u64)).unwrap()].clone()
        };
        let (action, key) = match chance.below(8) {
            0 if keys.len() < 8 => ("CreateKey", String::new()),
            _ if keys.is_empty() => ("CreateKey", String::new()),
            0 | 1 => ("DisableKey", any(chance)),
            2 | 3 => ("EnableKey", any(chance)),
            4 => ("CreateAlias", any(chance)),
            5 => ("UpdateAlias", any(chance)),
            6 => ("DeleteAlias", String::new()),
            _ => ("Encrypt", any(chance)),
        };
        let alias = format!("alias/of-{worker}-{}", chance.below(3));
        let mut params = vec![("KeyId", key.as_str())];
        match action {
            "CreateKey" => params.clear(),
            "Encrypt" => params.push(("Plaintext", TEXT)),
            "DeleteAlias" => params = vec![("AliasName", &alias)],
            "CreateAlias" | "UpdateAlias" => params.push(("AliasName", &alias)),
            _ => {}
        }
        let before = facts.keys.get(&key).copied();
        match action {
            "DisableKey" | "EnableKey" => drop(facts.keys.insert(key.clone(), None)),
            "CreateAlias" | "UpdateAlias" | "DeleteAlias" => {
                facts.aliases.insert(alias.clone(), None);
            }
            _ => {}
        }
        match client.call(action, &params).await {
            Ok(answer) => {
                done += 1;
                acknowledge(facts, action, &key, &alias, &answer);
            }
            // It had no effect: the key or the alias is not in the state for it.
            Err(CallError::Refused { status: 400..500, .. }) => {
                if let ("DisableKey" | "EnableKey", Some(before)) = (action, before) {
                    facts.keys.insert(key.clone(), before);
                }
            }
            // What it did is not known.
            Err(CallError::Refused { .. }) => {}
            Err(_) => return done,
        }
    }
}

fn acknowledge(facts: &mut Facts, action: &str, key: &str, alias: &str, answer: &Value) {
    match action {
        "CreateKey" => {
            facts.keys.insert(text(&answer["KeyMetadata"]["KeyId"]).to_owned(), Some(true));
        }
        "Encrypt" => {
            facts.blobs.push(text(&answer["CiphertextBlob"]).to_owned());
            let excess = facts.blobs.len().saturating_sub(20);
            facts.blobs.drain(..excess);
        }
        "DisableKey" | "EnableKey" => {
            facts.keys.insert(key.to_owned(), Some(action == "EnableKey"));
        }
        "CreateAlias" | "UpdateAlias" => {
            facts.aliases.insert(alias.to_owned(), Some(key.to_owned()));
        }
        _ => {
            facts.aliases.remove(alias);
        }
    }
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The process is killed.
    Kill,
    /// Its files are copied as they are at one instant, and the next process is started on the copy.
    /// Everything is in it that was written, synced or not: what a crash leaves, not a lost cache.
    Image,
}

/// Takes an image of the state, and puts it where the state was once the process is dead.
fn take_image(rig: &Rig) {
    let (state, process) = (rig.gateway.process.state(), rig.gateway.process.id());
    let image = state.with_file_name("image");
    crate::gateway::signal("STOP", &process);
    let copied = Command::new("cp").args(["-a", "--"]).arg(&state).arg(&image).status().unwrap();
    assert!(copied.success());
    crate::gateway::signal("KILL", &process);
    // Of the index of the log nothing is on a disk.
    std::fs::remove_file(image.join("hsmgate.db-shm")).ok();
    std::fs::rename(&state, state.with_file_name("before")).unwrap();
    std::fs::rename(&image, &state).unwrap();
    std::fs::remove_dir_all(state.with_file_name("before")).unwrap();
}

/// The history of each worker against a model of its keys' states, with a kill at the end of each
/// round, and in between token errors where `errors` are wanted.
async fn under_load(name: &str, kills: usize, errors: bool, end: End, seed: u64) {
    let mut rig = Rig::start();
    let mut chances = [Chance(seed), Chance(seed + 1), Chance(seed + 2), Chance(seed + 3)];
    let mut facts: [Facts; 3] = Default::default();
    let mut done = 0;
    for round in 0..kills {
        if errors {
            let chance = When::Chance { per_million: 10_000, seed: seed + round as u64 };
            rig.token.add(Rule::on_all(Fault::answer("CKR_GENERAL_ERROR")).when(chance));
        }
        let process = rig.gateway.process.id();
        let [mut killer, mut chance_1, mut chance_2, mut chance_3] = chances;
        let [mut first, mut second, mut third] = facts;
        let life = Duration::from_micros(20_000 + killer.below(180_000));
        let kill = async {
            tokio::time::sleep(life).await;
            match end {
                End::Kill => crate::gateway::signal("KILL", &process),
                End::Image => take_image(&rig),
            }
        };
        let ((), done_1, done_2, done_3) = tokio::join!(
            kill,
            work(&rig, 0, &mut first, &mut chance_1),
            work(&rig, 1, &mut second, &mut chance_2),
            work(&rig, 2, &mut third, &mut chance_3)
        );
        done += done_1 + done_2 + done_3;
        facts = [first, second, third];
        chances = [killer, chance_1, chance_2, chance_3];
        rig = rig.kill_and_restart();
        for (worker, facts) in facts.iter_mut().enumerate() {
            learn(&rig, worker, facts).await;
            enable_all(&rig, facts).await;
        }
        let spare = if errors { round + 1 } else { 0 };
        let mut all = Facts { spare, ..Facts::default() };
        for one in &facts {
            all.blobs.extend(one.blobs.iter().cloned());
            all.keys.extend(one.keys.clone());
            all.aliases.extend(one.aliases.clone());
        }
        check(&rig, &all).await;
    }
    report(&format!("{name}: killed {kills} times, {done} changes and uses acknowledged"));
    check_audit(rig);
}

/// What was unknown is whatever it is now: the one or the other.
async fn learn(rig: &Rig, worker: usize, facts: &mut Facts) {
    for (key, is_enabled) in &mut facts.keys {
        let shown = rig.gateway.call("DescribeKey", &[("KeyId", key)]).await;
        let now = shown["KeyMetadata"]["KeyState"] == "Enabled";
        assert!(is_enabled.is_none_or(|known| known == now), "{key} of {worker}: {shown}");
        *is_enabled = Some(now);
    }
    facts.aliases.retain(|_alias, key| key.is_some());
}

/// So that every blob opens.
async fn enable_all(rig: &Rig, facts: &mut Facts) {
    for (key, is_enabled) in &mut facts.keys {
        if *is_enabled == Some(false) {
            rig.gateway.call("EnableKey", &[("KeyId", key)]).await;
            *is_enabled = Some(true);
        }
    }
}

#[tokio::test]
async fn kills_at_any_instant_under_load_lose_nothing_that_was_acknowledged() {
    under_load("kills under load", scaled(10, 200), false, End::Kill, 1).await;
}

#[tokio::test]
async fn kills_and_token_errors_together_lose_nothing_that_was_acknowledged() {
    let name = "kills and one token error in a hundred";
    under_load(name, scaled(5, 50), true, End::Kill, 1000).await;
}

#[tokio::test]
async fn an_image_of_the_files_at_any_instant_has_everything_that_was_acknowledged() {
    under_load("images under load", scaled(5, 50), false, End::Image, 2000).await;
}
