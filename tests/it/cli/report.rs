//! What `hsmgate report` says, compared with the API, pkcs11-tool, `policy simulate` and the audit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmgate::cli::client::Client;
use serde_json::{Value, json};

use crate::support::audit_file::records;
use crate::support::gateway::text;
use crate::support::identity::{AUDIENCE, ISSUER, Issuer, PROVIDER, SUBJECT};
use crate::support::installation::{self, AccessKey, Installation, LABEL, Server};
use crate::support::object_listing::check_all_closed;

const PLAINTEXT: (&str, &str) = ("Plaintext", "SGVsbG8=");
const DIGEST: (&str, &str) = ("Digest", "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=");

/// The number of encryptions of a version, `crypto.iv_refuse_at`.
const IV_BUDGET: f64 = 1000.0;
const IV_SETTINGS: &str =
    "[crypto]\niv_lease = 4\niv_warn_at = 800\niv_rotate_at = 900\niv_refuse_at = 1000\n";

/// The users and roles, each with its policies.
const PRINCIPALS: &[(&str, &str, &[&str])] = &[
    ("user", "reader", &["AliyunKMSReadOnlyAccess"]),
    ("user", "crypto", &["AliyunKMSCryptoUserAccess"]),
    ("user", "office", &["office.json"]),
    ("user", "nobody", &[]),
    ("role", "ci", &["AliyunKMSCryptoUserAccess", "no-mac.json"]),
];

/// A production installation with 20 keys, 5 principals, 3 access points, and a secret.
struct Estate {
    installation: Installation,
    keys: Vec<String>,
}

fn allow(action: &str, condition: &Value) -> Value {
    json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*",
        "Condition": condition}]})
}

impl Estate {
    async fn build() -> Self {
        let (installation, admin) = Installation::prepared();
        installation.configure(|text| text.push_str(IV_SETTINGS));
        let write = |name: &str, document: &Value| {
            fs::write(installation.path(name), document.to_string()).unwrap();
        };
        let office = json!({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}});
        write("office.json", &allow("kms:*crypt", &office));
        let deny = json!({"Version": "1", "Statement":
            [{"Effect": "Deny", "Action": "kms:GenerateMac", "Resource": "*"}]});
        write("no-mac.json", &deny);
        let server = installation.serve();
        let admin = server.client(&admin);
        let keys = create_keys(&admin).await;
        for (kind, name, policies) in PRINCIPALS {
            let path = |policy: &&str| match policy.strip_suffix(".json") {
                Some(_file) => installation.path(policy).to_str().unwrap().to_owned(),
                None => (*policy).to_owned(),
            };
            let paths: Vec<String> = policies.iter().map(path).collect();
            let mut create: Vec<&str> = vec![kind, "create", name];
            create.extend(paths.iter().flat_map(|path| ["--policy", path.as_str()]));
            installation.configured(&create).done();
        }
        create_access_points(&admin, &keys).await;
        set_key_policy(&admin, &keys[3]).await;
        use_keys(&admin, &keys).await;
        create_secrets(&admin, &keys).await;
        create_credentials(&installation, &server, &keys[0]).await;
        // The stop stores the last uses.
        assert_eq!(server.stop(), Some(0));
        Self { installation, keys }
    }
}

async fn create_keys(admin: &Client) -> Vec<String> {
    let specs = ["Aliyun_AES_256", "Aliyun_AES_128", "EC_P256", "HMAC_SHA_256", "EC_P256K"];
    let mut keys = Vec::new();
    for number in 0..19 {
        let description = format!("number {number} <b>&\"");
        let spec = specs[number % specs.len()];
        let params = [("KeySpec", spec), ("Description", description.as_str())];
        let made = admin.call("CreateKey", &params).await.unwrap();
        keys.push(text(&made["KeyMetadata"]["KeyId"]).to_owned());
    }
    let pair = [("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")];
    let made = admin.call("CreateKey", &pair).await.unwrap();
    keys.push(text(&made["KeyMetadata"]["KeyId"]).to_owned());
    let call = async |action, params: &[(&str, &str)]| admin.call(action, params).await.unwrap();
    call("CreateAlias", &[("KeyId", &keys[0]), ("AliasName", "alias/orders")]).await;
    call("DisableKey", &[("KeyId", &keys[5])]).await;
    call("ScheduleKeyDeletion", &[("KeyId", &keys[6]), ("PendingWindowInDays", "7")]).await;
    call("CreateKeyVersion", &[("KeyId", &keys[1])]).await;
    let rotation = [("EnableAutomaticRotation", "true"), ("RotationInterval", "30d")];
    call("UpdateRotationPolicy", &[&rotation[..], &[("KeyId", &keys[1])]].concat()).await;
    keys
}

/// `db` with two versions, which is read, and `old`, which waits for its deletion.
async fn create_secrets(admin: &Client, keys: &[String]) {
    let call = async |action, params: &[(&str, &str)]| admin.call(action, params).await.unwrap();
    for (name, key) in [("db", &keys[0]), ("old", &keys[1])] {
        let secret = [("SecretName", name), ("VersionId", "v1"), ("SecretData", "hunter2")];
        call("CreateSecret", &[&secret[..], &[("EncryptionKeyId", key)]].concat()).await;
    }
    let second = [("SecretName", "db"), ("VersionId", "v2"), ("SecretData", "hunter2")];
    call("PutSecretValue", &second).await;
    call("GetSecretValue", &[("SecretName", "db")]).await;
    call("DeleteSecret", &[("SecretName", "old"), ("RecoveryWindowInDays", "7")]).await;
}

/// `open` from everywhere, `inside` from a network, `idle` without a policy.
async fn create_access_points(admin: &Client, keys: &[String]) {
    let rule = [("Name", "inside"), ("Type", "Private"), ("SourcePrivateIp", r#"["10.2.0.0/16"]"#)];
    admin.call("CreateNetworkRule", &rule).await.unwrap();
    let template = ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#);
    let one = json!([format!("key/{}", keys[0])]).to_string();
    for (name, resources, rules) in [
        ("open", one.as_str(), r#"{"NetworkRules":[]}"#),
        ("inside", r#"["key/*"]"#, r#"{"NetworkRules":["inside"]}"#),
    ] {
        let policy =
            [("Name", name), ("Resources", resources), template, ("AccessControlRules", rules)];
        admin.call("CreatePolicy", &policy).await.unwrap();
        let policies = json!([name]).to_string();
        let point = [("Name", name), ("Policies", policies.as_str())];
        admin.call("CreateApplicationAccessPoint", &point).await.unwrap();
    }
    let point = [("Name", "idle"), ("Policies", "[]")];
    admin.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let key = [("AapName", "inside"), ("Password", "opens-it-1")];
    admin.call("CreateClientKey", &key).await.unwrap();
}

/// An identity provider that `ci` trusts, a session of `ci`, an AccessKey in use, and one that is disabled.
async fn create_credentials(installation: &Installation, server: &Server, key: &str) {
    let run = |arguments: &[&str]| installation.configured(arguments);
    let file = |name: &str, content: &Value| {
        fs::write(installation.path(name), content.to_string()).unwrap();
        installation.path(name).display().to_string()
    };
    let keys = file("jwks.json", &Issuer::new().key_set());
    let provider = ["identity-provider", "create", "k8s", "--issuer", ISSUER, "--jwks", &keys];
    run(&[&provider[..], &["--audience", AUDIENCE]].concat()).done();
    let trust = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Federated": [PROVIDER]},
        "Condition": {"StringEquals": {"oidc:sub": SUBJECT, "oidc:aud": AUDIENCE}}}]});
    let trust = file("trust.json", &trust);
    run(&["role", "update", "ci", "--trust", &trust, "--max-session", "7200"]).done();
    run(&["sts", "assume", "--role-name", "ci", "--session-name", "build-7"]).done();
    let create = |user: &str| {
        AccessKey::of(&run(&["access-key", "create", "--user", user, "--json"]).json())
    };
    let client = server.client(&create("crypto"));
    client.call("Encrypt", &[("KeyId", key), PLAINTEXT]).await.unwrap();
    run(&["access-key", "disable", &create("reader").id]).done();
}

/// A key policy that lets `nobody` compute MACs, and keeps `inside` away.
async fn set_key_policy(admin: &Client, key: &str) {
    let account = installation::ACCOUNT;
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Principal": {"RAM": format!("acs:ram::{account}:*")},
         "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"RAM": format!("acs:ram::{account}:user/nobody")},
         "Action": "kms:GenerateMac", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"RAM": format!("acs:ram::{account}:user/admin")},
         "Action": "kms:VerifyMac", "Resource": "*"}]});
    let set = [("KeyId", key), ("Policy", &policy.to_string())];
    admin.call("SetKeyPolicy", &set).await.unwrap();
}

async fn use_keys(admin: &Client, keys: &[String]) {
    for key in [&keys[0], &keys[1], &keys[10]] {
        admin.call("Encrypt", &[("KeyId", key), PLAINTEXT]).await.unwrap();
    }
    let versions = admin.call("ListKeyVersions", &[("KeyId", &keys[2])]).await.unwrap();
    let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    let sign = [
        ("KeyId", keys[2].as_str()),
        ("KeyVersionId", version),
        ("Algorithm", "ECDSA_SHA_256"),
        DIGEST,
    ];
    admin.call("AsymmetricSign", &sign).await.unwrap();
    // A dry run and a refusal use no key.
    let dry = [("KeyId", keys[11].as_str()), PLAINTEXT, ("DryRun", "true")];
    admin.call("Encrypt", &dry).await.unwrap_err();
    admin.call("Encrypt", &[("KeyId", &keys[5]), PLAINTEXT]).await.unwrap_err();
}

fn report(installation: &Installation) -> Value {
    installation.configured(&["report", "--json"]).json()["report"].take()
}

fn rows<'a>(report: &'a Value, list: &str) -> &'a [Value] {
    report[list].as_array().unwrap()
}

fn row<'a>(report: &'a Value, list: &str, name: &str, value: &str) -> &'a Value {
    let mut rows = rows(report, list).iter();
    rows.find(|row| row[name] == value).unwrap_or_else(|| panic!("{list} {value}"))
}

/// All objects of the token, as pkcs11-tool lists them.
fn listing(installation: &Installation) -> String {
    let mut list = installation.token.object_listing(LABEL, installation.pin());
    String::from_utf8(list.output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn each_key_is_reported_as_the_api_and_the_token_show_it() {
    let estate = Estate::build().await;
    let report = report(&estate.installation);
    assert_eq!(rows(&report, "keys").len(), 20);
    let listing = listing(&estate.installation);
    assert!(check_all_closed(&listing).unwrap() >= 20);
    let objects = objects_of_keys(&listing);
    let versions = rows(&report, "keys").iter().flat_map(|key| rows(key, "versions"));
    let ids: BTreeSet<_> =
        versions.map(|one| text(&one["key_version_id"]).replace('-', "")).collect();
    assert_eq!(ids, objects.keys().cloned().collect(), "no version without objects, and none more");
    let server = estate.installation.serve();
    let create = ["access-key", "create", "--root", "--json"];
    let root = AccessKey::of(&estate.installation.configured(&create).json());
    let admin = server.client(&root);
    for key in &estate.keys {
        check_key(row(&report, "keys", "key_id", key), &admin, &objects).await;
    }
    check_uses(&estate, &report);
    check_secrets(&report, &admin).await;
    check_access_points(&report, &admin).await;
    assert_eq!(server.stop(), Some(0));
}

/// The objects of key versions in a listing of pkcs11-tool, by CKA_ID: each its first line, which has class
/// and type, and its label.
fn objects_of_keys(listing: &str) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut objects = BTreeMap::<_, BTreeSet<_>>::new();
    let is_first = |line: &&str| !line.starts_with(' ') && line.contains(" Object; ");
    let lines: Vec<_> = listing.lines().collect();
    let starts = (0..lines.len()).filter(|at| is_first(&lines[*at]));
    for start in starts {
        let field = |name: &str| {
            let mut fields = lines[start + 1..].iter().take_while(|line| line.starts_with(' '));
            fields.find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim)
        };
        let (Some(id), Some(label)) = (field("ID:"), field("label:")) else { continue };
        if label.starts_with("hsmgate/key-") {
            let object = (lines[start].trim().to_owned(), label.to_owned());
            objects.entry(id.to_owned()).or_default().insert(object);
        }
    }
    objects
}

/// The first lines of the objects of a key, as pkcs11-tool prints them.
fn first_lines(spec: &str) -> &'static [&'static str] {
    match spec {
        "Aliyun_AES_256" => &["Secret Key Object; AES length 32"],
        "Aliyun_AES_128" => &["Secret Key Object; AES length 16"],
        "HMAC_SHA_256" => &["Secret Key Object; Generic secret length 32"],
        "EC_P256" | "EC_P256K" => {
            &["Private Key Object; EC", "Public Key Object; EC  EC_POINT 256 bits"]
        }
        "RSA_2048" => &["Private Key Object; RSA", "Public Key Object; RSA 2048 bits"],
        other => panic!("{other}"),
    }
}

type Objects = BTreeMap<String, BTreeSet<(String, String)>>;

async fn check_key(row: &Value, admin: &Client, objects: &Objects) {
    let id = [("KeyId", text(&row["key_id"]))];
    let described = admin.call("DescribeKey", &id).await.unwrap();
    let described = &described["KeyMetadata"];
    for (cell, field) in [
        ("spec", "KeySpec"),
        ("usage", "KeyUsage"),
        ("state", "KeyState"),
        ("origin", "Origin"),
        ("description", "Description"),
        ("created", "CreationDate"),
        ("primary_version", "PrimaryKeyVersion"),
        ("delete_at", "DeleteDate"),
        ("next_rotation", "NextRotationDate"),
    ] {
        let present =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(present(row.get(cell)), present(described.get(field)), "{cell} {row}");
    }
    let aliases = admin.call("ListAliasesByKeyId", &id).await.unwrap();
    let aliases = aliases["Aliases"]["Alias"].as_array().unwrap();
    let aliases: Vec<_> = aliases.iter().map(|alias| alias["AliasName"].clone()).collect();
    assert_eq!(row["aliases"], json!(aliases));
    assert_eq!((&row["is_closed"], &row["is_internal"]), (&json!(true), &json!(false)));
    let versions = admin.call("ListKeyVersions", &id).await.unwrap();
    let versions = versions["KeyVersions"]["KeyVersion"].as_array().unwrap();
    assert_eq!(rows(row, "versions").len(), versions.len());
    for version in versions {
        let id = text(&version["KeyVersionId"]);
        let cells = self::row(row, "versions", "key_version_id", id);
        assert_eq!(cells["created"], version["CreationDate"]);
        assert_eq!((&cells["objects"], &cells["faults"]), (&json!("closed"), &json!([])));
        let label = format!("hsmgate/{}/{}/{id}", text(&row["key_id"]), cells["number"]);
        let first_lines = first_lines(text(&row["spec"])).iter();
        let expected = first_lines.map(|line| ((*line).to_owned(), label.clone())).collect();
        assert_eq!(objects[&id.replace('-', "")], expected);
    }
    let numbers: Vec<_> = rows(row, "versions").iter().map(|one| one["number"].clone()).collect();
    assert_eq!(json!(numbers), json!((1..=versions.len()).collect::<Vec<_>>()));
    let has_budget = text(&row["spec"]).starts_with("Aliyun");
    assert_eq!(row["primary_age_days"], if has_budget { json!(0) } else { Value::Null });
    let primary = row["primary_version"].as_str();
    let used = primary.map(|id| {
        self::row(row, "versions", "key_version_id", id)["encryptions"].as_f64().unwrap()
    });
    let percent = used.map(|used| (used * 10_000.0 / IV_BUDGET).round() / 100.0);
    assert_eq!(row["iv_budget_percent"].as_f64(), percent.filter(|_percent| has_budget), "{row}");
}

/// What the audit says of the successful uses of a key.
#[derive(Default)]
struct Uses {
    last_hour: Value,
    encryptions: u64,
}

/// The uses of each key. A secret is encrypted, and decrypted, with the key that the report says.
fn uses_in_audit(estate: &Estate, report: &Value) -> BTreeMap<String, Uses> {
    let mut found = BTreeMap::<String, Uses>::new();
    for record in records(&estate.installation.audit_file()) {
        if record["record"] != "event" || !record["errorCode"].is_null() {
            continue;
        }
        let resource = || text(&record["resourceName"]);
        let key_of_secret = || text(&row(report, "secrets", "name", resource())["key_id"]);
        let (key, encryptions) = match text(&record["eventName"]) {
            "Encrypt" => (resource(), 1),
            "AsymmetricSign" => (resource(), 0),
            "CreateSecret" | "PutSecretValue" => (key_of_secret(), 1),
            "GetSecretValue" => (key_of_secret(), 0),
            _ => continue,
        };
        let of_key = found.entry(key.to_owned()).or_default();
        of_key.last_hour = json!(format!("{}:00:00Z", &text(&record["eventTime"])[..13]));
        of_key.encryptions += encryptions;
    }
    found
}

fn check_uses(estate: &Estate, report: &Value) {
    let mut uses = uses_in_audit(estate, report);
    assert_eq!(uses.len(), 4);
    for key in &estate.keys {
        let row = row(report, "keys", "key_id", key);
        let of_key = uses.remove(key).unwrap_or_default();
        assert_eq!(row["last_used"], of_key.last_hour, "{key}");
        // Only the newest version was used. The stop has returned what was counted in advance.
        let (newest, older) = rows(row, "versions").split_last().unwrap();
        assert_eq!(newest["last_used"], of_key.last_hour, "{key}");
        assert_eq!(newest["encryptions"], of_key.encryptions, "{key}");
        for version in older {
            assert_eq!((&version["last_used"], &version["encryptions"]), (&Value::Null, &json!(0)));
        }
        let secrets = rows(report, "secrets").iter().filter(|one| one["key_id"] == **key);
        assert_eq!(row["secrets"], secrets.count(), "{key}");
    }
}

async fn check_secrets(report: &Value, admin: &Client) {
    assert_eq!(rows(report, "secrets").len(), 2);
    for row in rows(report, "secrets") {
        let name = [("SecretName", text(&row["name"]))];
        let described = admin.call("DescribeSecret", &name).await.unwrap();
        assert_eq!(row["key_id"], described["EncryptionKeyId"]);
        let planned = described["PlannedDeleteTime"].as_str().filter(|time| !time.is_empty());
        assert_eq!(row["delete_at"].as_str(), planned, "{described}");
        let versions = admin.call("ListSecretVersionIds", &name).await.unwrap();
        let versions = versions["VersionIds"]["VersionId"].as_array().unwrap();
        assert_eq!(row["versions"], versions.len());
        let is_current = |one: &&Value| one["VersionStages"].to_string().contains("ACSCurrent");
        let current = versions.iter().find(is_current).unwrap();
        assert_eq!(row["current_version"], current["VersionId"]);
        assert_eq!(row["current_age_days"], 0);
    }
}

async fn check_access_points(report: &Value, admin: &Client) {
    for row in rows(report, "access_points") {
        let name = [("Name", text(&row["name"]))];
        let described = admin.call("DescribeApplicationAccessPoint", &name).await.unwrap();
        let policies: Value = serde_json::from_str(text(&described["Policies"])).unwrap();
        assert_eq!(row["policies"], policies);
    }
}

#[tokio::test]
async fn who_may_use_a_key_is_what_the_simulation_of_each_request_says() {
    let estate = Estate::build().await;
    let report = report(&estate.installation);
    let server = estate.installation.serve();
    let callers: Vec<String> = ["root", "user/admin"]
        .map(str::to_owned)
        .into_iter()
        .chain(PRINCIPALS.iter().map(|(kind, name, _policies)| format!("{kind}/{name}")))
        .chain(["open", "inside", "idle"].map(|name| format!("applicationaccesspoint/{name}")))
        .collect();
    let mut counts = BTreeMap::<_, usize>::new();
    for (at, key) in estate.keys.iter().enumerate() {
        let row = row(&report, "keys", "key_id", key);
        let actions = actions(row);
        check_names(row, &callers, &actions);
        // Every action with one key of each usage, one of which has a key policy; with the others, in turn.
        let is_whole = [0, 2, 3, 19].contains(&at);
        for (number, caller) in callers.iter().enumerate() {
            let one = &actions[(at + number) % actions.len()];
            for action in if is_whole { &actions[..] } else { std::slice::from_ref(one) } {
                let when = when(row, caller, action);
                let allowed = ["127.0.0.1", "10.2.3.4"].map(|source| {
                    if when != "conditional" && source != "127.0.0.1" {
                        return when == "always";
                    }
                    simulated(&estate.installation, caller, action, key, source)
                });
                let expected = match when {
                    "always" => [true, true],
                    "never" => [false, false],
                    _ => [false, true],
                };
                assert_eq!(allowed, expected, "{caller} {action} {key} {row}");
                let kind = caller.split('/').next().unwrap().to_owned();
                *counts.entry((when, kind)).or_default() += 1;
            }
        }
    }
    for (when, kind) in [
        ("always", "root"),
        ("always", "user"),
        ("conditional", "user"),
        ("never", "user"),
        ("always", "role"),
        ("never", "role"),
        ("always", "applicationaccesspoint"),
        ("conditional", "applicationaccesspoint"),
        ("never", "applicationaccesspoint"),
    ] {
        assert!(counts.contains_key(&(when, kind.to_owned())), "{when} {kind} {counts:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

/// The actions that the report has of a key: those that use it, and those that end its use.
fn actions(row: &Value) -> Vec<String> {
    let uses: &[&str] = match (text(&row["spec"]), text(&row["usage"])) {
        (spec, _) if spec.starts_with("Aliyun") => &["Encrypt", "Decrypt", "GenerateDataKey"],
        (_, "ENCRYPT/DECRYPT") => &["AsymmetricEncrypt", "AsymmetricDecrypt", "GetPublicKey"],
        (_, "SIGN/VERIFY") => &["AsymmetricSign", "AsymmetricVerify", "GetPublicKey"],
        _ => &["GenerateMac", "VerifyMac"],
    };
    let management = ["SetKeyPolicy", "DisableKey", "ScheduleKeyDeletion"];
    uses.iter().chain(&management).map(|name| format!("kms:{name}")).collect()
}

/// The report has each caller once, and no other caller or action.
fn check_names(row: &Value, callers: &[String], actions: &[String]) {
    let mut seen = BTreeSet::new();
    for of_caller in rows(row, "access") {
        let caller = text(&of_caller["caller"]);
        assert!(callers.iter().any(|one| one == caller) && seen.insert(caller), "{of_caller}");
        let lists = ["always", "conditional"].iter().flat_map(|list| rows(of_caller, list));
        for action in lists {
            assert!(actions.iter().any(|one| one == text(action)), "{of_caller}");
        }
    }
}

/// What the report says of a caller's action with a key.
fn when(row: &Value, caller: &str, action: &str) -> &'static str {
    let Some(of_caller) = rows(row, "access").iter().find(|one| one["caller"] == caller) else {
        return "never";
    };
    let has = |list: &str| rows(of_caller, list).iter().any(|one| one == action);
    match (has("always"), has("conditional")) {
        (true, false) => "always",
        (false, true) => "conditional",
        (false, false) => "never",
        (true, true) => panic!("{of_caller}"),
    }
}

fn simulated(
    installation: &Installation,
    caller: &str,
    action: &str,
    key: &str,
    source: &str,
) -> bool {
    let (resource, source) = (format!("key/{key}"), format!("acs:SourceIp={source}"));
    let simulate = ["policy", "simulate", "--json", "--principal", caller, "--action", action];
    let simulate = [&simulate[..], &["--resource", &resource, "--condition", &source]].concat();
    let outcome = installation.configured(&simulate);
    let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    result["allowed"].as_bool().unwrap()
}

#[tokio::test]
async fn principals_secrets_sessions_and_the_audit_are_reported_as_they_are() {
    let estate = Estate::build().await;
    let installation = &estate.installation;
    let report = report(installation);
    check_principals(installation, &report);
    check_credentials(installation, &report);
    let audit = records(&installation.audit_file());
    let read = audit.iter().rfind(|one| one["eventName"] == "GetSecretValue").unwrap();
    assert_eq!(row(&report, "secrets", "name", "db")["last_read"], read["eventTime"]);
    assert_eq!(row(&report, "secrets", "name", "old")["last_read"], Value::Null);
    assert!(!report.to_string().contains("hunter2"));

    let bundle = installation.path("bundle");
    let export = ["audit", "export", "--out", bundle.to_str().unwrap(), "--json"];
    let manifest = installation.configured(&export).json();
    let verify = ["audit", "verify", bundle.to_str().unwrap(), "--json"];
    let verified = installation::run(installation.command(&verify), b"").json();
    for (cell, member) in
        [("first", "first"), ("last", "last"), ("signed_through", "signedThrough")]
    {
        assert_eq!(report["audit"][cell], verified[member], "{cell}");
    }
    assert_eq!(report["audit"]["file"], installation.audit_file().display().to_string());
    assert_eq!(report["audit"]["key_fingerprint"], manifest["keyFingerprint"]);
    assert_eq!(report["audit"]["faults"], json!([]));
    let token = installation.configured(&["token", "info", "--listed", "--json"]).json();
    for cell in ["label", "serial", "manufacturer", "model", "firmware"] {
        assert_eq!(report["token"][cell], token[cell]);
    }
    check_checks(installation, &report);
    // The report is in the audit after the next start.
    let server = installation.serve();
    crate::support::audit_file::events(&installation.audit_file(), "CreateReport", 1).await;
    assert_eq!(server.stop(), Some(0));
}

/// The users and roles, as the commands list them.
fn check_principals(installation: &Installation, report: &Value) {
    assert_eq!(rows(report, "principals").len(), 6);
    for kind in ["user", "role"] {
        let listed = installation.configured(&[kind, "list", "--json"]).json();
        for one in listed.as_array().unwrap() {
            let name = format!("{kind}/{}", text(&one["name"]));
            let row = row(report, "principals", "name", &name);
            for cell in ["created", "policies", "trust_policy"] {
                assert_eq!(row[cell], one[cell], "{cell} of {name}");
            }
            let is_role = kind == "role";
            let longest = if is_role { &one["max_session_seconds"] } else { &Value::Null };
            assert_eq!(row["max_session_seconds"], *longest);
            assert_eq!(row["sessions_from"], Value::Null);
        }
    }
    for (kind, name, policies) in PRINCIPALS {
        let row = row(report, "principals", "name", &format!("{kind}/{name}"));
        let policies: Vec<_> = policies.iter().map(|name| name.trim_end_matches(".json")).collect();
        assert_eq!(row["policies"], json!(policies));
    }
    let ci = row(report, "principals", "name", "role/ci");
    assert_eq!(ci["max_session_seconds"], 7200);
    assert!(text(&ci["trust_policy"]).contains(SUBJECT));
}

/// AccessKeys, sessions, client keys and identity providers, as the commands list them.
fn check_credentials(installation: &Installation, report: &Value) {
    let listed = |noun: &str| installation.configured(&[noun, "list", "--json"]).json();
    let (mut keys, mut sessions) = (Vec::new(), Vec::new());
    for one in listed("access-key").as_array().unwrap() {
        let id = &one["access_key_id"];
        if one["session"].is_null() {
            keys.push(json!([
                one["principal"],
                id,
                one["created"],
                one["active"],
                one["last_used"]
            ]));
        } else {
            let name = [&one["session"], &one["expires"], &one["last_used"]];
            sessions.push(json!([id, one["principal"], name[0], name[1], name[2]]));
        }
    }
    let principals = rows(report, "principals").iter();
    let mut reported: Vec<_> = principals
        .flat_map(|one| {
            rows(one, "access_keys").iter().map(|key| {
                let cells =
                    [&key["access_key_id"], &key["created"], &key["is_active"], &key["last_used"]];
                json!([one["name"], cells[0], cells[1], cells[2], cells[3]])
            })
        })
        .collect();
    for list in [&mut keys, &mut reported] {
        list.sort_by_key(|one| one[1].to_string());
    }
    assert_eq!(reported, keys);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys.iter().filter(|one| one[3] == true).count(), 2, "one is disabled: {keys:?}");
    let used = keys.iter().filter(|one| one[4].is_string()).map(|one| text(&one[0]));
    assert_eq!(used.collect::<BTreeSet<_>>(), BTreeSet::from(["user/admin", "user/crypto"]));
    let cells = ["access_key_id", "principal", "name", "expires", "last_used"];
    let of_report = rows(report, "sessions").iter();
    let of_report: Vec<_> = of_report.map(|one| json!(cells.map(|cell| &one[cell]))).collect();
    assert_eq!(of_report, sessions);
    assert_eq!((&sessions[0][1], &sessions[0][2]), (&json!("role/ci"), &json!("build-7")));

    let points = rows(report, "access_points");
    assert_eq!(points.len(), 3);
    let keys = points.iter().flat_map(|one| rows(one, "client_keys"));
    let client_keys = listed("client-key");
    assert_eq!(keys.count(), client_keys.as_array().unwrap().len());
    for one in client_keys.as_array().unwrap() {
        let point = row(report, "access_points", "name", text(&one["access_point"]));
        let key = row(point, "client_keys", "client_key_id", text(&one["client_key_id"]));
        for (cell, member) in
            [("not_after", "not_after"), ("is_active", "active"), ("last_used", "last_used")]
        {
            assert_eq!(key[cell], one[member], "{cell} {one}");
        }
    }
    let providers = listed("identity-provider");
    assert_eq!(providers.as_array().unwrap().len(), rows(report, "identity_providers").len());
    let provider = row(report, "identity_providers", "name", "k8s");
    for cell in ["name", "issuer", "audiences", "origin"] {
        assert_eq!(provider[cell], providers[0][cell], "{cell}");
    }
}

/// The checks are those of `doctor`, and so are the lights.
fn check_checks(installation: &Installation, report: &Value) {
    let doctor = installation.configured(&["doctor", "--json"]).json();
    let verdicts = |checks: &Value| {
        let one = |check: &Value| (text(&check["name"]).to_owned(), check["verdict"].clone());
        checks.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&report["checks"]), verdicts(&doctor["checks"]));
    let lights = rows(report, "lights").iter().map(|light| text(&light["name"]));
    let names = ["token", "store", "audit", "certificate", "clock", "host"];
    assert_eq!(lights.collect::<Vec<_>>(), names);
    assert_eq!((&report["format"], &report["region"]), (&json!(1), &json!("cn-hangzhou")));
    assert_eq!(report["account"], installation::ACCOUNT);
}

fn light<'a>(report: &'a Value, name: &str) -> &'a str {
    text(&row(report, "lights", "name", name)["state"])
}

#[tokio::test]
async fn lights_show_a_key_that_another_program_opened_and_records_that_were_changed() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&admin);
    let made = client.call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]).to_owned();
    let during = report(&installation);
    assert_eq!(server.stop(), Some(0));
    // No checkpoint may be due yet.
    assert_ne!(light(&during, "audit"), "bad", "{during}");
    assert_eq!(light(&report(&installation), "audit"), "good");
    for report in [during, report(&installation)] {
        for name in ["token", "store", "clock"] {
            assert_eq!(light(&report, name), "good", "{report}");
        }
        assert_eq!(light(&report, "certificate"), "unknown");
    }

    open_key(&installation, &report(&installation), &key);
    let opened = report(&installation);
    assert_eq!(light(&opened, "token"), "bad", "{opened}");
    let row = row(&opened, "keys", "key_id", &key);
    assert_eq!(
        (&row["is_closed"], &row["versions"][0]["objects"]),
        (&json!(false), &json!("faulty"))
    );
    assert!(row["versions"][0]["faults"].to_string().contains("CKA_EXTRACTABLE"), "{row}");
    assert!(check_all_closed(&listing(&installation)).is_err());

    let audit = installation.audit_file();
    let changed = fs::read_to_string(&audit).unwrap().replacen("CreateKey", "DeleteKey", 1);
    fs::write(&audit, changed).unwrap();
    assert_eq!(light(&report(&installation), "audit"), "bad");
}

/// Replaces the object of a key with one of the same name that can be extracted.
fn open_key(installation: &Installation, report: &Value, key: &str) {
    let version =
        text(&row(report, "keys", "key_id", key)["versions"][0]["key_version_id"]).to_owned();
    let (id, label) = (version.replace('-', ""), format!("hsmgate/{key}/1/{version}"));
    let material = installation.path("material");
    fs::write(&material, [7; 32]).unwrap();
    let run = |arguments: &[&str]| {
        let mut tool = installation.token.pkcs11_tool();
        tool.args(["--token-label", LABEL, "--login", "--pin", installation.pin(), "--id", &id]);
        let output = tool.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["--delete-object", "--type", "secrkey"]);
    let write = ["--type", "secrkey", "--key-type", "AES:32", "--label", &label, "--extractable"];
    run(&[&["--write-object", material.to_str().unwrap()][..], &write].concat());
}

#[tokio::test]
async fn a_report_needs_the_duty_audit_and_a_usable_token() {
    let (installation, _admin) = Installation::prepared();
    installation.configure(|text| text.push_str("[operators]\naudit = [\"4242\"]\n"));
    installation.configured(&["report", "--json"]).failed(4);
    installation
        .configure(|text| *text = text.replace("label = \"production\"", "label = \"other\""));
    let told = installation.configured(&["report", "--json"]).failed(1);
    assert!(told.contains("hsmgate doctor"), "{told}");
}

#[tokio::test]
async fn a_signed_report_is_verified_and_one_with_another_byte_is_refused() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    server.client(&admin).call("CreateKey", &[]).await.unwrap();
    let bundle = installation.path("bundle");
    installation.configured(&["audit", "export", "--out", bundle.to_str().unwrap()]).done();
    let key = bundle.join(hsmgate::audit::PUBLIC_KEY);
    let verify = |file: &str, more: &[&str]| {
        let path = installation.path(file);
        let verify =
            ["report", "verify", path.to_str().unwrap(), "--public-key", key.to_str().unwrap()];
        installation::run(installation.command(&[&verify[..], more].concat()), b"")
    };
    let mut kinds = Vec::new();
    for (kind, option) in [("json", "--json"), ("html", "--html"), ("cyclonedx", "--cbom")] {
        let (file, option) = (format!("report.{kind}"), option);
        let path = installation.path(&file);
        installation.configured(&["report", option, "--out", path.to_str().unwrap()]).done();
        let verified = verify(&file, &["--json"]).json();
        assert_eq!((&verified["kind"], text(&verified["sha256"]).len()), (&json!(kind), 64));
        assert!(verify(&file, &[]).done().contains(text(&verified["key_fingerprint"])));
        let good = fs::read_to_string(&path).unwrap();
        // In a bill of materials the signature is a text in JSON.
        let quoted = |text: &str| {
            if kind == "cyclonedx" { text.replace('"', "\\\"") } else { text.to_owned() }
        };
        for (from, to) in [
            ("AES", "AEX"),
            ("\"kind\":\"", "\"kind\":\"x"),
            ("\"time\":\"20", "\"time\":\"21"),
            ("\"sha256\":\"", "\"sha256\":\"0"),
            ("\"signature\":\"", "\"signature\":\"A"),
        ] {
            let (from, to) = (quoted(from), quoted(to));
            assert!(good.contains(&from), "{from}");
            fs::write(&path, good.replacen(&from, &to, 1)).unwrap();
            verify(&file, &[]).failed(1);
        }
        fs::write(&path, good.replace("hsmgate signature", "hsmgate")).unwrap();
        kinds.push(good);
    }
    // The signature of one format is none of the other.
    let signature =
        kinds[1].rsplit_once("signature ").unwrap().1.trim_end().trim_end_matches(" -->");
    let mut mixed: Value = serde_json::from_str(&kinds[0]).unwrap();
    mixed["signature"] = serde_json::from_str(signature).unwrap();
    fs::write(installation.path("mixed"), mixed.to_string()).unwrap();
    verify("mixed", &[]).failed(1);
    let (other, _admin) = Installation::prepared();
    other
        .configured(&["report", "--json", "--out", installation.path("other").to_str().unwrap()])
        .done();
    assert!(verify("other", &[]).failed(1).contains("signed by another key"));
    assert_eq!(server.stop(), Some(0));
}

/// The texts in a row of a report, as the page has them. It leaves out when most things were created.
fn texts(cell: &Value, found: &mut Vec<String>) {
    match cell {
        Value::String(text) => found.push(escaped(text)),
        Value::Array(cells) => cells.iter().for_each(|cell| texts(cell, found)),
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _cell)| *name != "created");
            members.for_each(|(_name, cell)| texts(cell, found));
        }
        _ => {}
    }
}

fn escaped(text: &str) -> String {
    ["&", "<", ">", "\"", "'"].iter().fold(text.to_owned(), |text, character| {
        text.replace(character, &format!("&#{};", character.as_bytes()[0]))
    })
}

#[tokio::test]
async fn the_page_says_what_the_json_says_escaped_and_without_scripts() {
    let estate = Estate::build().await;
    let json = report(&estate.installation);
    let page = estate.installation.configured(&["report", "--html"]).done();
    let page_rows: Vec<&str> = page.split("<tr>").skip(1).collect();
    let lists =
        ["keys", "secrets", "principals", "access_points", "identity_providers", "sessions"];
    for (list, row) in
        lists.iter().flat_map(|list| rows(&json, list).iter().map(move |row| (list, row)))
    {
        let mut cells = Vec::new();
        texts(row, &mut cells);
        let has_all = |shown: &&str| cells.iter().all(|cell| shown.contains(cell));
        assert!(page_rows.iter().any(has_all), "{list} {row}");
    }
    assert!(page.contains("number 3 &#60;b&#62;&#38;&#34;"), "descriptions are escaped");
    // The page names the issuer, and does not link to it.
    let page = page.replace(ISSUER, "");
    for foreign in ["<script", "http://", "https://", "<b>", "<img", " on", "url("] {
        let found = page.match_indices(foreign).map(|(at, _)| &page[at..(at + 30).min(page.len())]);
        let found: Vec<_> = found.filter(|text| foreign != " on" || text.contains('=')).collect();
        assert_eq!(found, <[&str; 0]>::default(), "{foreign}");
    }
    assert!(page.contains("default-src 'none'"));
}

/// The python of an environment with the validator. `None` where it cannot be installed.
fn validator() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(root.join("tests/cbom/setup.sh")).output().unwrap();
    if ran.status.success() {
        return Some(root.join("target/cbom/python/bin/python"));
    }
    assert!(std::env::var_os("CI").is_none(), "{}", String::from_utf8_lossy(&ran.stderr));
    None
}

#[tokio::test]
async fn the_bill_of_materials_lists_each_version_and_conforms_to_the_schema() {
    let estate = Estate::build().await;
    let installation = &estate.installation;
    let tls = ["tls", "self-signed", "--name", "localhost", "--out", "."];
    installation::run(installation.command(&tls), b"").done();
    installation.configure(|text| {
        let dir = installation.path("");
        let dir = dir.display();
        let files = format!("certificate = \"{dir}/server.pem\"\nkey = \"{dir}/server.key\"\n");
        text.push_str("[tls]\n");
        text.push_str(&files);
    });
    let report = report(installation);
    assert_eq!(light(&report, "certificate"), "good", "{report}");
    let text_of_bill = installation.configured(&["report", "--cbom"]).done();
    let bill: Value = serde_json::from_str(&text_of_bill).unwrap();
    if let Some(python) = validator() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cbom/validate.py");
        let mut validate = Command::new(python);
        validate.arg(script);
        let outcome = installation::run(validate, text_of_bill.as_bytes());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }
    let components = rows(&bill, "components");
    let names: Vec<_> = components.iter().map(|one| text(&one["bom-ref"])).collect();
    let properties = |name: &str| {
        let one = components.iter().find(|one| one["bom-ref"] == name);
        one.unwrap_or_else(|| panic!("{name} {names:?}"))["cryptoProperties"].clone()
    };
    let mut count = 0;
    for key in rows(&report, "keys") {
        for version in rows(key, "versions") {
            let name = format!("key/{}", text(&version["key_version_id"]));
            let material = &properties(&name)["relatedCryptoMaterialProperties"];
            let is_primary =
                [&Value::Null, &version["key_version_id"]].contains(&&key["primary_version"]);
            let state = match text(&key["state"]) {
                "Disabled" => "suspended",
                "Enabled" if is_primary => "active",
                _ => "deactivated",
            };
            assert_eq!(material["state"], state, "{key}");
            assert!(names.contains(&text(&material["algorithmRef"])), "{material}");
            count += 1;
        }
    }
    assert_eq!(count, 21);
    let aes = &properties("algorithm/AES-256-GCM")["algorithmProperties"];
    assert_eq!((&aes["mode"], &aes["nistQuantumSecurityLevel"]), (&json!("gcm"), &json!(5)));
    let protocol = &properties("protocol/tls-1.3")["protocolProperties"];
    assert!(
        protocol["cryptoRefArray"].to_string().contains("tls-group/X25519MLKEM768"),
        "{protocol}"
    );
    let token = components.iter().find(|one| one["bom-ref"] == "token").unwrap();
    assert_eq!(token["name"], report["token"]["model"]);
    assert_eq!(token["components"][0]["version"], report["token"]["firmware"]);
    assert!(!text_of_bill.contains("hunter2"));
}
