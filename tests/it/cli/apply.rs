//! Seed files: `hsmgate apply` and `hsmgate dev --seed`.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client_key::ClientKey;
use crate::support::gateway::text;
use crate::support::installation::{ACCOUNT, AccessKey, Installation, Outcome, Server, run};
use crate::support::process::{Process, until};
use crate::support::softhsm::{module, scratch};

const SECRET: &str = "marker-of-the-access-key-secret";
const VALUE: &str = "marker-of-the-value";

const SEED: &str = r#"
[[key]]
alias = "orders"
aliases = ["alias/acs/orders"]
description = "of orders"
tags = { team = "orders" }
rotation = "30d"

[[key]]
alias = "signing"
spec = "EC_P256"
usage = "SIGN/VERIFY"

[[user]]
name = "orders"
policies = ["AliyunKMSReadOnlyAccess", "use.json"]

[[user.access_key]]
id = "LTAIorders"
secret_file = "secret"

[[role]]
name = "ci"
policies = ["AliyunKMSReadOnlyAccess"]
trust = "trust.json"
max_session_seconds = 7200

[[network_rule]]
name = "here"
sources = ["127.0.0.1"]

[[access_policy]]
name = "orders"
permissions = ["CryptoServiceKeyUser"]
keys = ["orders"]
secrets = ["orders/*"]
network_rules = ["here"]

[[access_point]]
name = "orders"
policies = ["orders"]

[[secret]]
name = "orders/db"
value_env = "VALUE"
key = "orders"
tags = { team = "orders" }
"#;

const POLICY: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Resource":"*",
    "Action":["kms:Encrypt","kms:Decrypt","kms:GetSecretValue"]}]}"#;
const TRUST: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",
    "Principal":{"RAM":["acs:ram::1234567890123456:user/orders"]}}]}"#;

/// A directory with a seed file and the files that it names.
fn seed(text: &str) -> (TempDir, PathBuf) {
    let directory = TempDir::new_in(scratch()).unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, content) in
        [("seed.toml", text), ("use.json", POLICY), ("trust.json", TRUST), ("secret", SECRET)]
    {
        fs::write(path(name), content).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(0o600)).unwrap();
    }
    let file = path("seed.toml");
    (directory, file)
}

fn apply(installation: &Installation, file: &Path, options: &[&str]) -> Outcome {
    let config = installation.path("hsmgate.toml");
    let arguments = ["apply", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let mut command = installation.command(&[&arguments[..], options].concat());
    command.env("VALUE", VALUE);
    run(command, b"")
}

/// The objects of the result of `--json`, by their actions.
fn actions(outcome: &Outcome) -> Vec<(String, String)> {
    let result: Value =
        serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let objects = result["objects"].as_array().unwrap().clone();
    let pair = |one: &Value| (text(&one["action"]).to_owned(), text(&one["object"]).to_owned());
    objects.iter().map(pair).collect()
}

fn number_of(outcome: &Outcome, action: &str) -> usize {
    actions(outcome).iter().filter(|(one, _object)| one == action).count()
}

#[test]
fn a_seed_is_applied_as_planned_and_a_second_time_changes_nothing() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let (_directory, file) = seed(SEED);
    let planned = apply(&installation, &file, &["--plan", "--json"]);
    assert_eq!(planned.code, Some(8), "{planned:?}");
    assert_eq!(number_of(&planned, "create"), 9, "{planned:?}");
    let keys = || installation.client(&server.endpoint, &admin, &["key", "list", "--json"], b"");
    assert_eq!(keys().json(), json!([]), "a plan changes nothing");
    let again = apply(&installation, &file, &["--plan", "--json"]);
    assert_eq!(again.stdout, planned.stdout);

    let applied = apply(&installation, &file, &["--json", "--reason", "the first day"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(applied.stdout, planned.stdout, "what was planned is what was done");
    let result: Value = serde_json::from_slice(&planned.stdout).unwrap();
    let unlisted = result["unlisted"].as_array().unwrap();
    assert!(unlisted.contains(&json!(format!("AccessKey {}", admin.id))), "{unlisted:?}");

    let second = apply(&installation, &file, &["--plan", "--json"]);
    assert_eq!((second.code, number_of(&second, "leave")), (Some(0), 9), "{second:?}");
    let before = keys().json();
    let second = apply(&installation, &file, &["--json"]);
    assert_eq!((second.code, number_of(&second, "leave")), (Some(0), 9), "{second:?}");
    assert_eq!(keys().json(), before);
    uses(&installation, &server);

    let records = fs::read_to_string(installation.audit_file()).unwrap();
    let records: Vec<Value> =
        records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let parameters = records.iter().map(|record| &record["requestParameters"]);
    let applied: Vec<_> = parameters
        .filter(|one| one["AliasName"] == "alias/orders" && !one["Change"].is_null())
        .collect();
    let id = text(&before[0]["KeyId"]);
    let of_apply = applied.iter().find(|one| one["Reason"] == "the first day").unwrap();
    let change = text(&of_apply["Change"]);
    assert!(change.starts_with("create  key alias/orders: key-hsm"), "{change}");
    assert_eq!(of_apply["Command"], "apply key");
    assert!(id.starts_with("key-hsm"));
    for marker in [SECRET, VALUE] {
        assert!(!records.iter().any(|record| record.to_string().contains(marker)), "{marker}");
    }
    assert_eq!(server.stop(), Some(0));
}

/// Uses what the seed made.
fn uses(installation: &Installation, server: &Server) {
    let user = AccessKey { id: "LTAIorders".to_owned(), secret: SECRET.to_owned() };
    let call = |arguments: &[&str], input: &[u8]| {
        installation.client(&server.endpoint, &user, arguments, input)
    };
    let blob = call(&["encrypt", "alias/acs/orders"], b"data").done();
    assert_eq!(call(&["decrypt"], blob.as_bytes()).stdout, b"data");
    assert_eq!(call(&["secret", "get", "orders/db", "--json"], b"").json()["SecretData"], VALUE);
    let key = call(&["key", "describe", "alias/orders", "--json"], b"").json();
    assert_eq!(
        (&key["Description"], &key["AutomaticRotation"]),
        (&json!("of orders"), &json!("Enabled"))
    );
    let signing = call(&["key", "describe", "alias/signing", "--json"], b"").json();
    assert_eq!(
        (&signing["KeySpec"], &signing["KeyUsage"]),
        (&json!("EC_P256"), &json!("SIGN/VERIFY"))
    );
    let roles = installation.configured(&["role", "list", "--json"]).json();
    assert_eq!((&roles[0]["name"], &roles[0]["max_session_seconds"]), (&json!("ci"), &json!(7200)));
    assert_eq!(roles[0]["trust_policy"], TRUST);
}

#[test]
fn what_has_changed_in_the_file_is_changed_and_the_rest_stays() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let (directory, file) = seed(SEED);
    assert_eq!(apply(&installation, &file, &[]).code, Some(0));
    let call = |arguments: &[&str]| installation.client(&server.endpoint, &admin, arguments, b"");
    let id = text(&call(&["key", "describe", "alias/orders", "--json"]).json()["KeyId"]).to_owned();
    call(&["key", "tag", &id, "mine=1"]).done();
    let changed = SEED
        .replace("of orders", "of all orders")
        .replace("30d", "off")
        .replace("team = \"orders\"", "team = \"shop\"")
        .replace("7200", "3600")
        .replace("sources = [\"127.0.0.1\"]", "sources = [\"127.0.0.1\", \"10.0.0.0/8\"]")
        .replace("secrets = [\"orders/*\"]", "")
        .replace("value_env", "version = \"v2\"\nvalue_env");
    fs::write(&file, changed).unwrap();
    fs::write(directory.path().join("use.json"), POLICY.replace("kms:Encrypt", "kms:DescribeKey"))
        .unwrap();
    let planned = apply(&installation, &file, &["--plan"]);
    assert_eq!(planned.code, Some(8));
    let shown = String::from_utf8(planned.stdout).unwrap();
    for line in [
        "change  key alias/orders: description, tags team, rotation off\n",
        "leave   key alias/signing\n",
        "change  user orders: policy use\n",
        "leave   AccessKey LTAIorders\n",
        "change  role ci: sessions of 3600 s\n",
        "change  network rule here: sources\n",
        "change  access policy orders: resources\n",
        "leave   access point orders\n",
        "change  secret orders/db: version v2, tags team\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    assert_eq!(apply(&installation, &file, &[]).code, Some(0));
    assert_eq!(apply(&installation, &file, &["--plan"]).code, Some(0));
    let key = call(&["key", "describe", "alias/orders", "--json"]).json();
    assert_eq!(key["AutomaticRotation"], "Disabled");
    // Tags and policies that the file does not name stay.
    let other = SEED
        .replace("tags = { team = \"orders\" }", "")
        .replace("\"AliyunKMSReadOnlyAccess\", ", "");
    fs::write(&file, other.replace("30d", "off").replace("of orders", "of all orders")).unwrap();
    let users = || installation.configured(&["user", "list", "--json"]).json();
    let before = users();
    apply(&installation, &file, &[]).done();
    assert_eq!(users()[0]["policies"], before[0]["policies"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_fault_of_the_file_is_told_with_its_line_and_nothing_is_applied() {
    let (installation, _admin) = Installation::prepared();
    for (text, told) in [
        ("[[key]]\nalias = \"a\"\nspec = \"AES\"\n", ":3: not a valid key spec"),
        ("[[key]]\nalias = \"a b\"\n", ":2: not a valid alias"),
        ("[[key]]\nalias = \"a\"\nkind = 1\n", ":3: unknown field `kind`"),
        ("[[keys]]\n", ":1: unknown field `keys`"),
        ("[[key]]\nalias = \"a\"\nrotation = \"1d\"\n", ":3: not a valid rotation"),
        (
            "[[key]]\nalias = \"a\"\nspec = \"RSA_2048\"\nrotation = \"30d\"\n",
            ":1: key alias/a: only symmetric",
        ),
        (
            "[[key]]\nalias = \"a\"\nusage = \"SIGN/VERIFY\"\n",
            ":1: key alias/a: a key Aliyun_AES_256 has another",
        ),
        ("\n[[key]]\nalias = \"a\"\n[[key]]\nalias = \"a\"\n", ":4: alias/a is already in "),
        ("[[user]]\nname = \"a b\"\n", ":1: user a b: not a valid user name"),
        (
            "[[user]]\nname = \"a\"\npolicies = [\"absent\"]\n",
            "absent is neither a system policy nor",
        ),
        (
            "[[user]]\nname = \"a\"\n[[user.access_key]]\nid = \"x\"\n",
            ":1: user a: AccessKey x: exactly one of secret, secret_file or secret_env",
        ),
        (
            "[[user]]\nname = \"a\"\n[[user.access_key]]\nid = \"x\"\nsecret_env = \"NOT_SET\"\n",
            "the variable NOT_SET is not set",
        ),
        (
            "[[role]]\nname = \"a\"\nmax_session_seconds = 1\n",
            ":1: role a: max_session_seconds must be 3600 to 43200",
        ),
        (
            "[[role]]\nname = \"a\"\ntrust = \"use.json\"\n",
            ":1: role a: use.json: the trust policy",
        ),
        (
            "[[secret]]\nname = \"a\"\n",
            ":1: secret a: exactly one of value, value_file or value_env",
        ),
        (
            "[[access_point]]\nname = \"a\"\npolicies = [\"a\",\"b\",\"c\",\"d\"]\n",
            "it has at most 3 policies",
        ),
        (
            "[[client_key]]\naccess_point = \"a\"\ndirectory = \"d\"\ndays = 30\nrenew_before_days = 30\n",
            ":1: client key of a: renew_before_days must be less than days",
        ),
        (
            "[[access_policy]]\nname = \"a\"\npermissions = [\"All\"]\n",
            ":3: not a valid permission",
        ),
        (
            "[[access_policy]]\nname = \"a\"\npermissions = []\nkeys = [\"a b\"]\n",
            ":1: access policy a: \"a b\"",
        ),
        (
            "[[identity_provider]]\nname = \"a\"\nissuer = \"i\"\naudiences = []\njwks = \"use.json\"\n",
            ":1: identity provider a: ",
        ),
    ] {
        let (_directory, file) = seed(text);
        let shown = apply(&installation, &file, &[]).failed(2);
        assert!(shown.contains(told), "{text}: {shown}");
    }
    // Without a gateway nothing can be applied.
    let (_directory, file) = seed(SEED);
    apply(&installation, &file, &["--plan"]).failed(6);
}

#[test]
fn only_a_gateway_for_development_has_chosen_ids_material_and_secrets_in_the_file() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    for text in [
        "[[key]]\nalias = \"a\"\nid = \"key-hsm0000000000fixtures\"\n",
        "[[key]]\nalias = \"a\"\nmaterial = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\n",
        "[[user]]\nname = \"a\"\n[[user.access_key]]\nid = \"x\"\nsecret = \"y\"\n",
        "[[secret]]\nname = \"a\"\nvalue = \"y\"\n",
    ] {
        let (_directory, file) = seed(text);
        let told = apply(&installation, &file, &[]).failed(4);
        assert!(told.contains("possible in hsmgate dev only"), "{told}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_access_key_with_another_secret_or_owner_and_a_key_of_another_kind_are_refused() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let (directory, file) = seed(SEED);
    apply(&installation, &file, &[]).done();
    fs::write(directory.path().join("secret"), "another").unwrap();
    let told = apply(&installation, &file, &[]).failed(5);
    assert!(told.contains("LTAIorders exists with another secret"), "{told}");
    assert!(told.contains("seed.toml:14"), "{told}");
    fs::write(directory.path().join("secret"), SECRET).unwrap();
    fs::write(
        &file,
        SEED.replace(
            "name = \"orders\"\npolicies = [\"Aliyun",
            "name = \"other\"\npolicies = [\"Aliyun",
        ),
    )
    .unwrap();
    let told = apply(&installation, &file, &[]).failed(5);
    assert!(told.contains("exists and belongs to user/orders"), "{told}");
    fs::write(&file, "[[key]]\nalias = \"signing\"\nspec = \"RSA_2048\"\n").unwrap();
    let told = apply(&installation, &file, &["--plan"]).failed(5);
    assert!(told.contains("is a key EC_P256 for SIGN/VERIFY"), "{told}");
    // Neither refusal has changed anything, and a disabled key is left as it is.
    installation.client(&server.endpoint, &admin, &["key", "disable", "alias/orders"], b"").done();
    fs::write(&file, SEED.replace("of orders", "changed")).unwrap();
    let planned = apply(&installation, &file, &["--plan"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let shown = String::from_utf8(planned.stdout).unwrap();
    assert!(
        shown.contains("leave   key alias/orders: in state Disabled, not changed\n"),
        "{shown}"
    );
    assert_eq!(server.stop(), Some(0));
}

/// The files of a directory with their contents, for their owner alone.
fn private_files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let file = |entry: DirEntry| {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

#[test]
fn a_client_key_is_created_once_and_its_files_are_never_replaced() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    let entries = "[[access_policy]]\nname = \"orders\"\npermissions = [\"CryptoServiceKeyUser\"]\n\
                [[access_point]]\nname = \"orders\"\npolicies = [\"orders\"]\n\
                [[client_key]]\naccess_point = \"orders\"\ndirectory = \"keys/orders\"\n\
                days = 30\nrenew_before_days = 7\n";
    let (directory, file) = seed(entries);
    let keys = directory.path().join("keys/orders");
    let planned = apply(&installation, &file, &["--plan"]);
    let shown = String::from_utf8(planned.stdout).unwrap();
    assert!(shown.contains("create  client key of access point orders\n"), "{shown}");
    assert!(planned.code == Some(8) && !keys.exists(), "a plan writes nothing");

    apply(&installation, &file, &[]).done();
    let files = private_files(&keys);
    let id = files.keys().next().unwrap().strip_prefix("clientKey_").unwrap();
    let id = id.strip_suffix(".json").unwrap();
    let content = |name: String| String::from_utf8(files[&name].clone()).unwrap();
    let password = content(format!("clientKey_{id}_Password.txt"));
    let key: Value = serde_json::from_str(&content(format!("clientKey_{id}.json"))).unwrap();
    ClientKey::open_with(id, text(&key["PrivateKeyData"]), &password);
    let listed = || installation.configured(&["client-key", "list", "--json"]).json();
    assert_eq!((&listed()[0]["client_key_id"], &listed()[0]["active"]), (&json!(id), &json!(true)));
    let records = fs::read_to_string(installation.audit_file()).unwrap();
    let change = format!("create  client key {id}: of access point orders");
    assert!(records.contains(&change) && !records.contains(&password), "{change}");

    let again = apply(&installation, &file, &[]).done();
    assert!(again.contains(&format!("leave   client key {id}: of access point orders")), "{again}");
    assert_eq!(private_files(&keys), files);
    // A longer wish, a key that was deleted, and files that were lost: each has another key, beside the old files.
    fs::write(&file, entries.replace("= 7", "= 40").replace("= 30", "= 60")).unwrap();
    apply(&installation, &file, &[]).done();
    assert_eq!((listed().as_array().unwrap().len(), private_files(&keys).len()), (2, 4));
    for key in listed().as_array().unwrap() {
        let id = text(&key["client_key_id"]);
        installation.configured(&["client-key", "delete", id]).done();
    }
    assert_eq!(apply(&installation, &file, &["--plan"]).code, Some(8));
    apply(&installation, &file, &[]).done();
    let now = private_files(&keys);
    assert!(now.len() == 6 && files.iter().all(|(name, file)| now.get(name) == Some(file)));
    fs::remove_dir_all(&keys).unwrap();
    let planned = apply(&installation, &file, &["--plan"]);
    let shown = String::from_utf8(planned.stdout).unwrap();
    let unlisted = format!("client key {}: not in the file", text(&listed()[0]["client_key_id"]));
    assert!(planned.code == Some(8) && shown.contains(&unlisted), "{shown}");
    // A directory that cannot be one is found before anything is created.
    fs::write(&keys, "").unwrap();
    let told = apply(&installation, &file, &[]).failed(1);
    assert!(told.contains("keys/orders"), "{told}");
    assert_eq!(listed().as_array().unwrap().len(), 1);
    assert_eq!(server.stop(), Some(0));
}

/// The gateway is killed while a file is applied: the second run completes the rest and makes no key again.
#[tokio::test]
async fn a_second_run_completes_what_a_kill_interrupted() {
    const KEYS: usize = 30;
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let entry = |at| format!("[[key]]\nalias = \"key-{at}\"\n");
    let text = (0..KEYS).map(entry).collect::<Vec<_>>().concat();
    let (_directory, file) = seed(&text);
    let config = installation.path("hsmgate.toml");
    let arguments = ["apply", file.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let applying = installation.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let applying = Process::of(applying);
    let number = || installation.token_objects();
    let before = number();
    until(|| number() > before + 3).await;
    server.signal("KILL");
    let ended = applying.wait().unwrap();
    assert_eq!(ended.code(), Some(6), "the gateway is gone");
    drop(server);

    let server = installation.serve();
    let planned = apply(&installation, &file, &["--plan", "--json"]);
    let missing = number_of(&planned, "create");
    assert!((1..KEYS).contains(&missing), "{planned:?}");
    apply(&installation, &file, &[]).done();
    assert_eq!(apply(&installation, &file, &["--plan"]).code, Some(0));
    let keys =
        installation.client(&server.endpoint, &admin, &["key", "list", "--json"], b"").json();
    assert_eq!(keys.as_array().unwrap().len(), KEYS, "{keys}");

    // As after a stop between a key and its alias.
    installation.configured(&["alias", "delete", "alias/key-7"]).done();
    let planned = apply(&installation, &file, &["--plan", "--json"]);
    assert_eq!(
        (number_of(&planned, "create"), number_of(&planned, "change")),
        (0, 1),
        "{planned:?}"
    );
    apply(&installation, &file, &[]).done();
    let again =
        installation.client(&server.endpoint, &admin, &["key", "list", "--json"], b"").json();
    assert_eq!(again, keys);
    assert_eq!(server.stop(), Some(0));
}

fn dev(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    command.env("SOFTHSM2_MODULE", module()).env("HSMGATE_ALLOW_ROOT", "1");
    command.env("ORDERS_SECRET", SECRET).env("DB_PASSWORD", VALUE);
    command
}

fn example() -> String {
    format!("{}/examples/seed/seed.toml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn dev_has_the_example_before_it_is_ready_and_starts_again_with_it() {
    let directory = TempDir::new_in(scratch()).unwrap();
    let file = example();
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--quiet", "--seed", &file];
    let mut fixtures = None;
    for start in 0..2 {
        let gateway = dev(directory.path(), &arguments).stdout(Stdio::null()).spawn().unwrap();
        let gateway = Process::of(gateway);
        run(dev(directory.path(), &["ready", "--timeout", "60"]), b"").done();
        let mut get = dev(directory.path(), &["secret", "get", "orders/db", "--json"]);
        get.env("HSMGATE_ACCESS_KEY_ID", "LTAIorders").env("HSMGATE_ACCESS_KEY_SECRET", SECRET);
        assert_eq!(run(get, b"").json()["SecretData"], VALUE);
        let described =
            run(dev(directory.path(), &["key", "describe", "alias/fixtures", "--json"]), b"");
        assert_eq!(described.json()["KeyId"], "key-hsm0000000000fixtures", "{start}");
        let blob = fixtures.get_or_insert_with(|| {
            run(dev(directory.path(), &["encrypt", "alias/fixtures"]), b"data").done()
        });
        assert_eq!(run(dev(directory.path(), &["decrypt"]), blob.as_bytes()).stdout, b"data");
        gateway.signal("TERM");
        assert!(gateway.wait().unwrap().success());
    }
}

#[test]
fn a_failing_seed_stops_the_start_of_dev() {
    for (text, told) in [
        ("[[key]]\nalias = \"a\"\nkind = 1\n", "seed.toml:3: unknown field `kind`"),
        (
            "[[access_policy]]\nname = \"p\"\npermissions = []\nkeys = [\"absent\"]\n",
            "seed.toml:1: alias/absent does not exist",
        ),
    ] {
        let directory = TempDir::new_in(scratch()).unwrap();
        let (_seed, file) = seed(text);
        let mut command = Command::new("timeout");
        let program = env!("CARGO_BIN_EXE_hsmgate");
        command
            .args(["100", program, "dev", "--listen", "127.0.0.1:0", "--json", "--seed"])
            .arg(&file);
        command.current_dir(directory.path()).env_clear().env("SOFTHSM2_MODULE", module());
        command.env("PATH", "/usr/bin:/bin");
        let outcome = run(command, b"");
        assert!(matches!(outcome.code, Some(2 | 3)), "{outcome:?}");
        let stderr = &outcome.stderr;
        assert!(
            stderr.contains("the seed file cannot be applied: ") && stderr.contains(told),
            "{stderr}"
        );
        assert!(outcome.stdout.is_empty(), "it never served: {outcome:?}");
    }
}

#[test]
fn the_duties_of_operators_and_approvals_hold_for_each_entry() {
    let (installation, _admin) = Installation::prepared();
    let uid = own_uid(&installation);
    let duties = |duties: String| {
        installation.configure(|text| {
            text.push_str("[approval]\noperations = [\"AccessPoints\"]\n[operators]\n");
            text.push_str(&duties);
        });
        installation.serve()
    };
    let server = duties(format!("keys = [\"{uid}\"]\n"));
    let (_directory, file) = seed(SEED);
    let told = apply(&installation, &file, &[]).failed(4);
    assert!(told.contains("does not have the duty \"principals\""), "{told}");
    let (_directory, file) = seed("[[key]]\nalias = \"orders\"\n");
    assert_eq!(apply(&installation, &file, &["--plan"]).code, Some(8), "nothing was changed");
    apply(&installation, &file, &[]).done();
    assert_eq!(server.stop(), Some(0));

    let server = duties(format!("principals = [\"{uid}\"]\napprovals = [\"{uid}\"]\n"));
    let text = "[[access_policy]]\nname = \"all\"\npermissions = [\"CryptoServiceKeyUser\"]\n\
                keys = [\"*\"]\n[[access_point]]\nname = \"all\"\npolicies = [\"all\"]\n";
    let (_directory, file) = seed(text);
    let told = apply(&installation, &file, &[]).failed(4);
    assert!(told.contains("1 of 2 entries were applied; apply the file again"), "{told}");
    let (_before, request) = told.split_once("hsmgate approval release ").unwrap();
    let request = request.split(' ').next().unwrap();
    let told = installation.configured(&["approval", "release", request]).failed(4);
    assert!(told.contains("another operator must release it"), "{told}");
    let planned = apply(&installation, &file, &["--plan", "--json"]);
    assert_eq!((number_of(&planned, "leave"), number_of(&planned, "create")), (1, 1));
    assert_eq!(server.stop(), Some(0));
}

/// The uid of the tests, which is that of their files.
fn own_uid(installation: &Installation) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(installation.path("pin")).unwrap())
}

#[test]
fn serve_applies_the_file_of_its_configuration_and_does_not_start_without_it() {
    let (installation, admin) = Installation::prepared();
    let (_directory, file) = seed("[[key]]\nalias = \"orders\"\n");
    let line = format!("account = \"{ACCOUNT}\"\n");
    installation.configure(|text| {
        *text = text.replace(&line, &format!("{line}seed_file = \"{}\"\n", file.display()));
    });
    for _start in 0..2 {
        let server = installation.serve();
        let list = ["key", "list", "--json"];
        let keys = installation.client(&server.endpoint, &admin, &list, b"").json();
        assert_eq!(keys.as_array().unwrap().len(), 1, "{keys}");
        assert_eq!(keys[0]["Aliases"], json!(["alias/orders"]));
        assert_eq!(server.stop(), Some(0));
    }
    let config = installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    for (text, told) in [
        ("[[key]]\nalias = \"a b\"\n", "seed.toml:2: not a valid alias"),
        ("[[secret]]\nname = \"a\"\nvalue = \"b\"\n", "is possible in hsmgate dev only"),
    ] {
        fs::write(&file, text).unwrap();
        let shown = installation.run_under(&["timeout", "100"], &serve);
        assert!(matches!(shown.code, Some(2 | 4)), "{shown:?}");
        let stderr = &shown.stderr;
        assert!(
            stderr.contains("the seed file cannot be applied: ") && stderr.contains(told),
            "{stderr}"
        );
        assert!(!stderr.contains("gateway.serving"), "{stderr}");
    }
}
