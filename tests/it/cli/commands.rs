//! Commands, executed as an operator executes them.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use hsmgate::cli::client::Client;
use serde_json::{Value, json};

use crate::support::calls::until_code;
use crate::support::gateway::{Gateway, text};
use crate::support::identity::Issuer;
use crate::support::installation::{ACCOUNT, AccessKey, Installation, run};
use crate::support::process::until;

fn mode(installation: &Installation, name: &str) -> u32 {
    fs::metadata(installation.path(name)).unwrap().permissions().mode() & 0o777
}

fn so_pin_file(installation: &Installation) -> String {
    installation.path("so-pin").to_str().unwrap().to_owned()
}

#[test]
fn a_production_start_from_an_empty_token_to_yesterdays_ciphertext() {
    let (installation, user) = Installation::prepared();
    for (name, expected) in [("hsmgate.db", 0o600), ("state", 0o700)] {
        assert_eq!(mode(&installation, name), expected, "{name}");
    }
    let server = installation.serve();
    let call = |server: &str, arguments: &[&str], input: &[u8]| {
        installation.client(server, &user, arguments, input)
    };
    let create = ["key", "create", "--alias", "orders", "--description", "of orders", "--json"];
    let key = call(&server.endpoint, &create, b"").json();
    let id = text(&key["KeyId"]).to_owned();
    assert_eq!(key["Creator"], ACCOUNT);
    assert_eq!(call(&server.endpoint, &["key", "create"], b"").done().trim().len(), 25);

    let listed = call(&server.endpoint, &["key", "list", "--json"], b"").json();
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row["KeyId"] == *id).unwrap();
    assert_eq!(row["Aliases"], json!(["alias/orders"]));
    let table = call(&server.endpoint, &["key", "list"], b"").done();
    let row = table.lines().find(|line| line.starts_with(&id)).unwrap();
    assert!(
        row.contains("  Enabled  Aliyun_AES_256  ") && row.ends_with("  alias/orders"),
        "{row}"
    );
    let described = call(&server.endpoint, &["key", "describe", "alias/orders", "--json"], b"");
    assert_eq!(described.json()["Description"], "of orders");
    let table = call(&server.endpoint, &["key", "describe", &id], b"").done();
    assert!(table.lines().any(|line| line.ends_with("Enabled")), "{table}");

    let data = b"any \0 bytes\xff\n";
    let encrypt = ["encrypt", "--context", "a=1", "--context", "b=2", "alias/orders"];
    let blob = call(&server.endpoint, &encrypt, data).done();
    let decrypt = ["decrypt", "--context", "b=2", "--context", "a=1"];
    assert_eq!(call(&server.endpoint, &decrypt, blob.as_bytes()).stdout, data);
    assert_eq!(server.stop(), Some(0));

    let server = installation.serve();
    assert_eq!(call(&server.endpoint, &decrypt, blob.as_bytes()).stdout, data);
    let decrypted = call(&server.endpoint, &[&decrypt[..], &["--json"]].concat(), blob.as_bytes());
    assert_eq!(decrypted.json()["KeyId"], id.as_str());
    let (encrypted, out) = (installation.path("encrypted"), installation.path("out"));
    fs::write(&encrypted, &blob).unwrap();
    let files = ["--in", encrypted.to_str().unwrap(), "--out", out.to_str().unwrap()];
    assert_eq!(call(&server.endpoint, &[&decrypt[..], &files].concat(), b"").done(), "");
    assert_eq!(fs::read(&out).unwrap(), data);
    assert_eq!(mode(&installation, "out"), 0o600);
}

#[test]
fn a_key_goes_through_its_life_on_the_command_line() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let call =
        |arguments: &[&str]| installation.client(&server.endpoint, &user, arguments, b"data");
    let key = call(&["key", "create", "--alias", "orders"]).done().trim().to_owned();
    let state = |state: &str| format!("{key}  {state}\n");
    assert_eq!(call(&["key", "disable", "alias/orders"]).done(), state("Disabled"));
    assert_eq!(call(&["key", "enable", &key]).done(), state("Enabled"));
    let version = call(&["key", "rotate", "alias/orders", "--json"]).json();
    let described = call(&["key", "describe", &key, "--json"]).json();
    assert_eq!(described["PrimaryKeyVersion"], version["KeyVersionId"]);
    let rotation = call(&["key", "rotation", &key, "--every", "30d", "--json"]).json();
    assert_eq!(rotation["AutomaticRotation"], "Enabled");
    let rotation = call(&["key", "rotation", &key, "--off", "--json"]).json();
    assert_eq!(rotation["AutomaticRotation"], "Disabled");
    call(&["key", "tag", &key, "team=shop", "cost=7"]).done();
    call(&["key", "untag", &key, "cost"]).done();
    // It asks, and there is no terminal.
    let told = call(&["key", "schedule-deletion", "alias/orders", "--days", "7"]).failed(2);
    assert!(told.contains("Aliases: alias/orders") && told.contains("add --yes"), "{told}");
    assert_eq!(call(&["key", "enable", &key]).done(), state("Enabled"));
    let told = call(&["key", "schedule-deletion", &key, "--days", "7", "--yes"]).done();
    assert!(told.starts_with(&format!("{key}  PendingDeletion until 2")), "{told}");
    assert_eq!(call(&["key", "cancel-deletion", &key]).done(), state("Enabled"));
    let told = call(&["key", "create", "--spec", "Foo"]).failed(2);
    assert!(told.contains("possible values: Aliyun_AES_256"), "{told}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn material_is_imported_by_one_command_or_wrapped_by_openssl() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let call =
        |arguments: &[&str]| installation.client(&server.endpoint, &user, arguments, b"data");
    let path = |name: &str| installation.path(name).display().to_string();
    fs::write(installation.path("material"), [7; 32]).unwrap();
    let create = ["key", "create", "--origin", "EXTERNAL"];
    let key = call(&create).done().trim().to_owned();
    let import = ["key", "import", &key, "--material", &path("material")];
    assert_eq!(call(&import).done(), format!("{key}  Enabled\n"));
    let blob = call(&["encrypt", &key]).done();
    let decrypted = installation.client(&server.endpoint, &user, &["decrypt"], blob.as_bytes());
    assert_eq!(decrypted.stdout, b"data");

    let key = call(&create).done().trim().to_owned();
    let (out, wrapped) = (path("parameters"), path("wrapped"));
    // SoftHSM2 has OAEP with SHA-1 only.
    let told = call(&["key", "import-parameters", &key, "--out", &out]).failed(1);
    assert!(told.contains("RSAES_OAEP_SHA_256"), "{told}");
    let algorithm = ["--algorithm", "RSAES_OAEP_SHA_1"];
    let written = ["key", "import-parameters", &key, "--out", &out, "--json"];
    let written = call(&[&written[..], &algorithm].concat()).json();
    assert_eq!(written["import_token_file"], format!("{out}/import-token"));
    let openssl = Command::new("openssl")
        .args(["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey"])
        .args([&format!("{out}/public-key.der"), "-in", &path("material"), "-out", &wrapped])
        .args(["-pkeyopt", "rsa_padding_mode:oaep"])
        .status();
    assert!(openssl.unwrap().success());
    let token = format!("{out}/import-token");
    let expires = "2100-01-31T00:00:00Z";
    let import = ["key", "import", &key, "--wrapped", &wrapped, "--token", &token];
    let import = [&import[..], &["--expires", expires, "--json"]].concat();
    assert_eq!(call(&import).json()["MaterialExpireTime"], expires);
    fs::write(installation.path("material"), [7; 5]).unwrap();
    let key = call(&create).done().trim().to_owned();
    let told = call(&["key", "import", &key, "--material", &path("material")]).failed(1);
    assert!(told.contains("InvalidKeyMaterial"), "{told}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_configuration_is_shown_with_the_origin_of_each_setting() {
    let installation = Installation::new();
    let config = installation.path("hsmgate.toml").display().to_string();
    let in_environment = |arguments: &[&str]| {
        let mut command = installation.command(arguments);
        command.env("HSMGATE_CONFIG", &config).env("HSMGATE_LIMITS__CONNECTIONS", "7");
        run(command, b"")
    };
    let shown = in_environment(&["config", "print", "--json"]).json();
    let of = |name: &str| {
        let found = shown.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        (text(&found["value"]).to_owned(), text(&found["origin"]).to_owned())
    };
    assert_eq!(of("limits.connections"), ("7".into(), "HSMGATE_LIMITS__CONNECTIONS".into()));
    assert_eq!(of("listen.address"), ("\"127.0.0.1:0\"".into(), format!("{config}:2")));
    assert_eq!(of("log.format").1, "default");
    let table = in_environment(&["config", "print"]).done();
    assert!(table.lines().any(|line| line.starts_with("limits.connections ")), "{table}");
    assert_eq!(in_environment(&["config", "check"]).done(), format!("{config}: valid\n"));
    let told = in_environment(&["config", "check", "--json"]).json();
    assert_eq!(told, json!({"file": config, "is_valid": true}));
    installation.configure(|text| text.push_str("[limit]\n"));
    let told = in_environment(&["config", "check"]).failed(2);
    assert!(told.contains("limit: unknown section (did you mean limits?)"), "{told}");
    let default = run(installation.command(&["config", "check"]), b"").failed(2);
    assert!(default.contains("/etc/hsmgate/hsmgate.toml"), "{default}");
}

#[test]
fn init_tells_which_token_it_made_and_may_be_run_again() {
    let installation = Installation::new();
    let told = installation.init().stderr;
    assert!(told.contains("The token \"production\" was created, with serial number "), "{told}");
    let so_pin = so_pin_file(&installation);
    for arguments in [&["init", "--json"][..], &["init", "--json", "--so-pin-file", &so_pin]] {
        let again = installation.configured(arguments);
        assert_eq!(again.stderr, "Token and database are ready. AccessKeys exist already.\n");
        assert_eq!(again.json()["access_key_id"], Value::Null);
    }
    let keys = installation.configured(&["access-key", "list", "--json"]).json();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(installation.path("tokens")).unwrap().count(), 1);
}

#[test]
fn init_says_how_a_token_is_made_when_there_is_none() {
    let installation = Installation::new();
    let told = installation.configured(&["init"]).failed(1);
    assert!(told.contains("--so-pin-file") && told.contains("production"), "{told}");
    // Not for another fault.
    fs::rename(installation.path("pin"), installation.path("another")).unwrap();
    let told = installation.configured(&["init"]).failed(2);
    assert!(told.contains("cannot read the PIN") && !told.contains("--so-pin-file"), "{told}");
    let told = installation.configured(&["init", "--so-pin-file", "/nonexistent"]).failed(2);
    assert!(told.contains("/nonexistent"), "{told}");
}

#[test]
fn a_command_whose_reader_has_ended_says_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    let ended = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), &*String::from_utf8_lossy(&ended.stderr)), (Some(1), ""));
}

#[tokio::test]
async fn a_running_gateway_takes_over_new_and_deleted_access_keys() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let create = ["access-key", "create", "--user", "ci", "--json"];
    let made = AccessKey::of(&installation.configured(&create).json());
    let client = server.client(&made);
    until_code(&client, "DescribeRegions", &[], "").await;

    let keys = installation.configured(&["access-key", "list", "--json"]).json();
    let row = keys.as_array().unwrap().iter().find(|key| key["access_key_id"] == *made.id);
    assert_eq!(row.unwrap()["user"], "ci");
    let table = installation.configured(&["access-key", "list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains(&made.id) && !table.contains(&made.secret), "{table}");

    let told = installation.configured(&["access-key", "delete", &made.id]).done();
    assert_eq!(told, format!("{} was deleted\n", made.id));
    until_code(&client, "DescribeRegions", &[], "InvalidAccessKeyId.NotFound").await;
    assert!(server.client(&user).call("DescribeRegions", &[]).await.is_ok());
    let told = installation.configured(&["access-key", "delete", &made.id]).failed(3);
    assert!(told.contains(&made.id), "{told}");
    every_change_is_told_in_json(&installation, &server.client(&user)).await;
}

/// Each command that changes something names it in the terms of `list`.
async fn every_change_is_told_in_json(installation: &Installation, admin: &Client) {
    let told = |line: &str| {
        let arguments: Vec<_> = line.split(' ').chain(["--json"]).collect();
        installation.configured(&arguments).json()
    };
    let made = told("user create alice --policy AliyunKMSReadOnlyAccess");
    assert_eq!(made, told("user list").as_array().unwrap()[1]);
    let policies = |told: &Value| (text(&told["name"]).to_owned(), told["policies"].clone());
    let both = json!(["AliyunKMSReadOnlyAccess", "AliyunKMSCryptoUserAccess"]);
    let attached = told("user attach alice AliyunKMSCryptoUserAccess");
    assert_eq!(policies(&attached), ("alice".to_owned(), both));
    let detached = told("user detach alice AliyunKMSReadOnlyAccess");
    assert_eq!(detached["policies"], json!(["AliyunKMSCryptoUserAccess"]));
    let key = AccessKey::of(&told("access-key create --user alice"));
    for (verb, field, value) in
        [("disable", "active", false), ("enable", "active", true), ("delete", "deleted", true)]
    {
        let object = told(&format!("access-key {verb} {}", key.id));
        assert_eq!(object, json!({"access_key_id": key.id, field: value}));
    }
    assert_eq!(told("user delete alice"), json!({"name": "alice", "deleted": true}));

    let role = told("role create ci");
    assert_eq!((text(&role["name"]), &role["max_session_seconds"]), ("ci", &json!(3600)));
    assert_eq!(told("role update ci --max-session 7200")["max_session_seconds"], 7200);
    assert_eq!(told("role update ci --no-trust"), told("role list")[0]);
    assert!(text(&told("role end-sessions ci")["sessions_ended_before"]).starts_with("20"));
    assert_eq!(told("role delete ci")["deleted"], true);

    fs::write(installation.path("keys"), Issuer::new().key_set().to_string()).unwrap();
    let keys = installation.path("keys").display().to_string();
    let made = told(&format!(
        "identity-provider create k8s --issuer https://i --audience a --jwks {keys}"
    ));
    assert_eq!(made, told("identity-provider list")[0]);
    let told_of_keys = told(&format!("identity-provider replace-keys k8s --jwks {keys}"));
    assert_eq!(told_of_keys, made);
    assert_eq!(told("identity-provider delete k8s"), json!({"name": "k8s", "deleted": true}));

    let mut keys = Vec::new();
    for _ in 0..2 {
        let created = admin.call("CreateKey", &[]).await.unwrap();
        keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
    }
    for (verb, key) in [("create", &keys[0]), ("update", &keys[1])] {
        let object = told(&format!("alias {verb} acs/mse {key}"));
        assert_eq!(object, json!({"alias": "alias/acs/mse", "key_id": key}));
    }
    assert_eq!(told("alias delete acs/mse"), json!({"alias": "alias/acs/mse", "deleted": true}));

    let point = [("Name", "shop"), ("Policies", "[]")];
    admin.call("CreateApplicationAccessPoint", &point).await.unwrap();
    let client_key = [("AapName", "shop"), ("Password", "Passw0rd-of-32-characters-or-so")];
    let made = admin.call("CreateClientKey", &client_key).await.unwrap();
    let id = text(&made["ClientKeyId"]);
    let object = told(&format!("client-key delete {id}"));
    assert_eq!(object, json!({"client_key_id": id, "deleted": true}));
}

#[tokio::test]
async fn every_exit_code_means_what_the_help_says() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let call = |user: &AccessKey, arguments: &[&str]| {
        installation.client(&server.endpoint, user, arguments, b"data")
    };
    let key = call(&user, &["key", "create"]).done().trim().to_owned();
    let told = call(&user, &["key", "describe", "no key"]).failed(1);
    assert!(told.contains("InvalidParameter") && told.contains("KeyId"), "{told}");
    call(&user, &["key", "explain"]).failed(2);
    call(&user, &["encrypt", &key, "--context", "a=1", "--context", "a=2"]).failed(2);
    call(&user, &["key", "describe", "alias/nothing"]).failed(3);
    let outsider = AccessKey { secret: "wrong".to_owned(), ..user.clone() };
    call(&outsider, &["encrypt", &key]).failed(4);
    server.client(&user).call("DisableKey", &[("KeyId", &key)]).await.unwrap();
    call(&user, &["encrypt", &key]).failed(5);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    installation.client(&format!("http://{free}"), &user, &["key", "list"], b"").failed(6);
    run(installation.command(&["key", "list"]), b"").failed(2);
    let help = run(installation.command(&["--help"]), b"").done();
    assert!(help.contains("Exit codes: 0 done, 1 failed, 2 usage"), "{help}");
}

#[test]
fn a_wrong_configuration_is_refused_with_all_of_its_faults() {
    let installation = Installation::new();
    installation.configure(|text| {
        *text = text.replace("account = \"1234567890123456\"", "account = \"1\"\nacount = \"2\"");
        text.push_str("[limits]\nconnections = 0\n");
    });
    for command in ["serve", "init"] {
        let told = installation.configured(&[command]).failed(2);
        for part in [
            "hsmgate.toml:5",
            "service.account",
            "hsmgate.toml:6",
            "service.acount",
            "limits.connections",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
    }
    let config = installation.path("nowhere.toml");
    let serve = installation.command(&["serve", "--config", config.to_str().unwrap()]);
    assert!(run(serve, b"").failed(2).contains("nowhere.toml"));
}

#[test]
fn an_address_beyond_loopback_must_be_asked_for() {
    let installation = Installation::new();
    installation.configure(|text| *text = text.replace("127.0.0.1:0", "0.0.0.0:0"));
    let told = installation.configured(&["serve"]).failed(2);
    assert!(told.contains("listen.allow_insecure_http"), "{told}");
    let dev = ["dev", "--dir", "dev", "--listen", "0.0.0.0:0"];
    let told = run(installation.command(&dev), b"").failed(2);
    assert!(told.contains("loopback"), "{told}");
    assert!(!installation.path("dev").exists(), "a refused start makes nothing");
}

#[test]
fn a_pin_that_others_can_read_is_refused() {
    let (installation, _user) = Installation::prepared();
    let pin = installation.path("pin");
    fs::set_permissions(&pin, Permissions::from_mode(0o640)).unwrap();
    let sign = ["store", "sign", "--reason", "a test"];
    for arguments in [&["serve"][..], &["init"], &sign] {
        let told = installation.configured(arguments).failed(2);
        assert!(told.contains(pin.to_str().unwrap()), "{told}");
        assert!(!told.contains("user-pin"), "{told}");
    }
}

#[test]
fn another_token_than_the_configured_one_is_never_used() {
    let (installation, _user) = Installation::prepared();
    installation.configure(|text| *text = text.replace("\"production\"", "\"testing\""));
    let told = installation.configured(&["serve"]).failed(1);
    assert!(told.contains("testing"), "{told}");

    let so_pin = so_pin_file(&installation);
    let told = installation.configured(&["init", "--so-pin-file", &so_pin]).failed(1);
    assert!(told.contains("The store belongs to the token with serial number"), "{told}");
    assert_eq!(fs::read_dir(installation.path("tokens")).unwrap().count(), 1);
    for (from, to, what) in [
        ("1234567890123456", "6543210987654321", "account"),
        ("[service]\n", "[service]\nregion = \"cn-beijing\"\n", "region"),
    ] {
        installation.configure(|text| *text = text.replace(from, to));
        let told = installation.configured(&["serve"]).failed(1);
        assert!(told.contains(&format!("the store belongs to {what}")), "{told}");
    }
    installation.configure(|_text| {});
    fs::write(installation.path("pin"), "another-pin").unwrap();
    let told = installation.configured(&["serve"]).failed(2);
    assert!(told.contains("PIN") && !told.contains("another-pin"), "{told}");
}

#[test]
fn a_token_is_found_by_its_serial_number() {
    let (installation, user) = Installation::prepared();
    let serial = fs::read_dir(installation.path("tokens")).unwrap().next().unwrap().unwrap();
    // SoftHSM2 names the directory by a UUID, whose last 16 digits are the serial number.
    let name = serial.file_name().into_string().unwrap().replace('-', "");
    let serial = format!("serial = \"{}\"", &name[16..]);
    installation.configure(|text| *text = text.replace("label = \"production\"", &serial));
    let server = installation.serve();
    installation.client(&server.endpoint, &user, &["key", "list"], b"").done();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_directory_serves_one_development_gateway_at_a_time() {
    let gateway = Gateway::start();
    let state = gateway.state();
    let installation = Installation::new();
    let dev = ["dev", "--listen", "127.0.0.1:0", "--json", "--dir", state.to_str().unwrap()];
    let told = run(installation.command(&dev), b"").failed(1);
    assert!(told.contains("another hsmgate dev is running"), "{told}");
}

#[tokio::test]
async fn a_development_gateway_takes_the_access_key_that_it_is_given() {
    let given = ["--access-key-id", "LTAIgiven", "--access-key-secret", "given-secret"];
    let gateway = Gateway::start_with(&given);
    assert_eq!(gateway.dev.access_key_id, "LTAIgiven");
    gateway.call("DescribeRegions", &[]).await;
    until(|| gateway.log().contains("FOR DEVELOPMENT ONLY")).await;
}

#[test]
fn the_lines_that_dev_prints_can_be_pasted() {
    let gateway = Gateway::start();
    let log = gateway.log();
    let is_to_paste =
        |line: &&str| line.starts_with("export ") || line.starts_with("echo hello | ");
    let lines: Vec<&str> = log.lines().filter(is_to_paste).collect();
    assert_eq!(lines.len(), 4, "{log}");
    let shell = Command::new("sh").arg("-c").arg(lines.join("\n")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "hello\n", "{shell:?}");
}
