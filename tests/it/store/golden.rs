//! Golden states: the current program serves the states that earlier programs stored
//! (`tests/golden/`).

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::instance::messages::{DecryptRequest, DecryptResponse};
use hsmgate::cli::client::{CallError, Client};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::calls::until_code;
use crate::support::client_key::ClientKey;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::instance_client::InstanceClient;

/// The password of the client key of every state.
pub(crate) const CLIENT_KEY_PASSWORD: &str = "golden-client-key-1";

/// What of an installation is not kept: paths of the machine that made it, and locks, which are
/// empty files that everybody makes who needs them.
const NOT_KEPT: [&str; 3] = ["hsmgate.toml", "softhsm2.conf", ".lock"];

/// What a state has to do with today's program, as `golden.json` in it tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// The program that made it, as its `-V` says.
    pub(crate) program: String,
    /// The number of the newest migration of its database.
    pub(crate) schema: i64,
    /// The format of the records of its audit. Format 1 has no number.
    #[serde(default = "first_format")]
    pub(crate) audit_format: u32,
    /// The format of its journal of nonces. Format 1 has no number.
    #[serde(default = "first_format")]
    pub(crate) journal_format: u32,
    /// Name, id and secret of each AccessKey; the first is an administrator's.
    pub(crate) access_keys: Vec<NamedAccessKey>,
    pub(crate) client_key: StoredClientKey,
    pub(crate) calls: Vec<Call>,
    /// Calls of Decrypt and AdvanceDecrypt of the instance protocol.
    pub(crate) instance_calls: Vec<InstanceCall>,
    /// Commands that print JSON.
    pub(crate) commands: Vec<Command>,
    /// A role whose temporary credentials must do DescribeKey with this key.
    pub(crate) role: Role,
}

fn first_format() -> u32 {
    1
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NamedAccessKey {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredClientKey {
    pub(crate) id: String,
    /// Base64 of the PKCS#12 container.
    pub(crate) container: String,
}

/// A call of the public API, and what it was answered when the state was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The name of its AccessKey.
    pub(crate) by: String,
    pub(crate) action: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Answer(Value),
    Refusal { status: u16, code: String },
}

/// Byte strings are Base64.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InstanceCall {
    pub(crate) operation: String,
    pub(crate) key_id: String,
    /// The key version that the head of the request names.
    pub(crate) version: Option<String>,
    pub(crate) ciphertext: String,
    pub(crate) iv: String,
    pub(crate) aad: String,
    pub(crate) plaintext: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) arguments: Vec<String>,
    pub(crate) output: Value,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) key_id: String,
}

pub(crate) fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn states() -> Vec<PathBuf> {
    let entries = fs::read_dir(golden_directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut states: Vec<_> = entries.filter(|path| path.join("golden.json").is_file()).collect();
    states.sort();
    states
}

fn expected(state: &Path) -> Expected {
    serde_json::from_slice(&fs::read(state.join("golden.json")).unwrap()).unwrap()
}

/// Copies directories and files, which then nobody but their owner may use. Sockets and the like
/// are left out, and what ends like one of `without`.
pub(crate) fn copy(from: &Path, to: &Path, without: &[&str]) {
    if !to.is_dir() {
        fs::create_dir(to).unwrap();
    }
    fs::set_permissions(to, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
        if name.to_str().is_some_and(|name| without.iter().any(|end| name.ends_with(end))) {
            continue;
        }
        let target = to.join(&name);
        if kind.is_dir() {
            copy(&entry.path(), &target, without);
        } else if kind.is_file() {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
            fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// What of an installation a golden state keeps.
pub(crate) fn keep(installation: &Installation, state: &Path, expected: &Expected) {
    copy(&installation.path(""), state, &NOT_KEPT);
    let text = serde_json::to_string_pretty(expected).unwrap();
    fs::write(state.join("golden.json"), text + "\n").unwrap();
}

fn installed(state: &Path) -> Installation {
    let installation = Installation::new();
    copy(state, &installation.path(""), &["golden.json"]);
    installation
}

/// The calls of this AccessKey. A client connects anew for a server that was started anew.
fn client(server: &Server, expected: &Expected, name: &str) -> Client {
    let key = expected.access_keys.iter().find(|key| key.name == name).unwrap();
    server.client(&AccessKey { id: key.id.clone(), secret: key.secret.clone() })
}

pub(crate) async fn outcome(client: &Client, action: &str, params: &[(&str, &str)]) -> Outcome {
    match client.call(action, params).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(CallError::Refused { status, code, .. }) => Outcome::Refusal { status, code },
        Err(error) => panic!("{action}: {error:?}"),
    }
}

/// Fields that tell of the call or of the time rather than of the state.
const PASSING: [&str; 3] = ["RequestId", "DeleteDate", "last_used"];

/// Fields that change once a key rotates by itself, after a year.
const OF_ROTATION: [&str; 3] = ["PrimaryKeyVersion", "LastRotationDate", "NextRotationDate"];

/// Whether everything that stands in `old` stands in `new`, which may have more fields, and more
/// elements at the end.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let rotates = old.get("AutomaticRotation").is_some_and(|state| state != "Disabled");
            old.iter().all(|(name, old)| {
                let is_passing =
                    PASSING.contains(&&**name) || (rotates && OF_ROTATION.contains(&&**name));
                is_passing || new.get(name).is_some_and(|new| holds(new, old))
            })
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (new, old) => new == old,
    }
}

/// Every call and command of the state has the outcome that it had.
async fn does_what_it_did(installation: &Installation, expected: &Expected) {
    let server = installation.serve();
    for call in &expected.calls {
        let params: Vec<_> =
            call.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let client = client(&server, expected, &call.by);
        let now = outcome(&client, &call.action, &params).await;
        let is_same = match (&now, &call.outcome) {
            (Outcome::Answer(now), Outcome::Answer(then)) => holds(now, then),
            (now, then) => now == then,
        };
        assert!(is_same, "{call:?}\nnow: {now:?}");
    }
    let stored = &expected.client_key;
    let client_key = ClientKey::open_with(&stored.id, &stored.container, CLIENT_KEY_PASSWORD);
    let instance_client = InstanceClient { endpoint: server.endpoint.clone(), client_key };
    for call in &expected.instance_calls {
        let bytes = |text: &str| STANDARD.decode(text).unwrap();
        let request = DecryptRequest {
            key_id: call.key_id.clone(),
            ciphertext_blob: bytes(&call.ciphertext),
            iv: bytes(&call.iv),
            aad: bytes(&call.aad),
            ..DecryptRequest::default()
        };
        let version = call.version.as_deref();
        let (answer, _version): (DecryptResponse, _) =
            instance_client.call_with_version(&call.operation, &request, version).await;
        assert_eq!(answer.plaintext, bytes(&call.plaintext), "{call:?}");
    }
    for command in &expected.commands {
        let arguments: Vec<_> = command.arguments.iter().map(String::as_str).collect();
        let now = installation.configured(&arguments).json();
        assert!(holds(&now, &command.output), "{command:?}\nnow: {now}");
    }
    as_its_role(installation, &server, &expected.role).await;
    let doctor = installation.configured(&["doctor", "--json"]).json();
    assert_eq!(doctor["is_well"], true, "{doctor}");
    assert_eq!(server.stop(), Some(0));
}

/// Temporary credentials of the role of the state do what its policy lets them.
async fn as_its_role(installation: &Installation, server: &Server, role: &Role) {
    let assume = ["sts", "assume", "--role-name", &role.name, "--json"];
    let answer = installation.configured(&assume).json();
    let credentials = &answer["Credentials"];
    let text = |name: &str| credentials[name].as_str().unwrap_or_else(|| panic!("{answer}"));
    let user = AccessKey {
        id: text("AccessKeyId").to_owned(),
        secret: text("AccessKeySecret").to_owned(),
    };
    let token = SecretString::from(text("SecurityToken"));
    let client = server.client(&user).with_security_token(token);
    let describe = [("KeyId", role.key_id.as_str())];
    // The gateway takes credentials in that another process has made.
    until_code(&client, "DescribeKey", &describe, "").await;
    let refused = outcome(&client, "CreateKey", &[]).await;
    assert!(matches!(refused, Outcome::Refusal { status: 403, .. }), "{refused:?}");
}

/// The chain of records is whole, from the first record of the old program on.
fn audit_is_whole(installation: &Installation, name: &str) {
    let bundle = installation.path(name);
    let out = ["audit", "export", "--out", bundle.to_str().unwrap()];
    installation.configured(&out).done();
    let verify = ["audit", "verify", bundle.to_str().unwrap(), "--json"];
    let report = crate::support::installation::run(installation.command(&verify), b"").json();
    assert_eq!(report["faults"], serde_json::json!([]), "{report}");
    assert!(report["checkpoints"].as_u64().unwrap() > 3, "{report}");
}

/// A golden state is years old when somebody upgrades it, and its dates are those of its making.
/// A key that was to be destroyed meanwhile shall still wait for it here.
const STILL_PENDING: &str = "UPDATE keys SET delete_at = strftime('%s', 'now') + 30 * 86400 \
                             WHERE delete_at IS NOT NULL";

#[tokio::test]
async fn every_state_of_an_earlier_program_is_served() {
    for state in states() {
        let (installation, expected) = (installed(&state), expected(&state));
        println!("{}: {}, schema {}", state.display(), expected.program, expected.schema);
        // A state of a program that did not sign rows is signed once; `change` does it.
        installation.change(STILL_PENDING).await;
        does_what_it_did(&installation, &expected).await;
        audit_is_whole(&installation, "bundle");
        // What an upgrade has done it does not do again.
        does_what_it_did(&installation, &expected).await;
        audit_is_whole(&installation, "again");
        let backup = installation.path("backup.db");
        installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
        let restore =
            ["restore", "--from", backup.to_str().unwrap(), "--reason", "a test", "--json"];
        installation.configured(&restore).json();
        let deep = installation.configured(&["doctor", "--deep", "--json"]).json();
        assert_eq!(deep["is_well"], true, "{deep}");
    }
}

#[test]
fn the_newest_schema_and_formats_have_a_golden_state() {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations/sqlite");
    let numbers: BTreeSet<i64> = fs::read_dir(migrations)
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.split('_').next().unwrap().parse().unwrap()
        })
        .collect();
    let newest = numbers.last().unwrap();
    let kept: Vec<Expected> = states().iter().map(|state| expected(state)).collect();
    let of = |state: &Expected| (state.schema, state.audit_format, state.journal_format);
    let wanted = (*newest, hsmgate::audit::FORMAT, hsmgate::authn::replay::FORMAT);
    let is_kept = kept.iter().any(|state| of(state) == wanted);
    assert!(is_kept, "no state of schema and formats {wanted:?}: see tests/golden/README.md");
    let schemas: BTreeSet<i64> = kept.iter().map(|state| state.schema).collect();
    assert!(schemas.is_subset(&numbers), "a migration of a golden state is gone: {schemas:?}");
}
