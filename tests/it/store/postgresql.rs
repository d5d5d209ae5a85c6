//! A gateway whose store is a PostgreSQL database, with a real server.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::calls::code;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::postgresql::{self, Database, ROLE};
use crate::support::process::until_async;

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

/// An installation on this database, with the first AccessKey.
fn prepared(url: &str) -> (Installation, AccessKey) {
    let installation = Installation::new();
    configure(&installation, url, "");
    let key = AccessKey::of(&installation.init().json());
    (installation, key)
}

pub(super) fn configure(installation: &Installation, url: &str, further: &str) {
    let file = format!("sqlite://{}", installation.path("hsmgate.db").display());
    installation.configure(|text| {
        assert!(text.contains(&file));
        *text = text.replace(&format!("\"{file}\"\n"), &format!("\"{url}\"\n{further}"));
    });
}

pub(super) async fn create_key(server: &Server, user: &AccessKey) -> String {
    let created = server.client(user).call("CreateKey", &[]).await.unwrap();
    created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

pub(super) async fn encrypt(server: &Server, user: &AccessKey, key: &str) -> String {
    let parameters = [("KeyId", key), ("Plaintext", PLAINTEXT)];
    let encrypted = server.client(user).call("Encrypt", &parameters).await.unwrap();
    encrypted["CiphertextBlob"].as_str().unwrap().to_owned()
}

async fn decrypts(server: &Server, user: &AccessKey, blob: &str) -> bool {
    let decrypted = server.client(user).call("Decrypt", &[("CiphertextBlob", blob)]).await;
    decrypted.is_ok_and(|decrypted| decrypted["Plaintext"] == PLAINTEXT)
}

fn cut_connections(database: &Database<'_>) {
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
}

#[tokio::test]
async fn keys_and_users_survive_restarts_kills_and_cut_connections() {
    let database = postgresql::server().create_database();
    let (installation, admin) = prepared(&database.url());
    let server = installation.serve();
    let key = create_key(&server, &admin).await;
    let blob = encrypt(&server, &admin, &key).await;
    assert_eq!(server.stop(), Some(0));

    let user = installation.create_access_key("alice", &["AliyunKMSFullAccess"]);
    let server = installation.serve();
    assert!(decrypts(&server, &user, &blob).await);
    cut_connections(&database);
    assert!(decrypts(&server, &user, &blob).await, "without the database");
    until_async(async || code(&server.client(&user), "CreateKey", &[]).await.is_empty()).await;
    let second = create_key(&server, &user).await;
    server.signal("KILL");
    server.wait();

    let server = installation.serve();
    assert!(decrypts(&server, &user, &blob).await);
    encrypt(&server, &user, &second).await;
    let log = server.log();
    assert!(!log.contains("damaged"), "{log}");
    server.stop();
    let report = installation.configured(&["doctor"]);
    assert!(String::from_utf8_lossy(&report.stdout).contains("PostgreSQL responds"), "{report:?}");
    let copied = installation.configured(&["backup", "--out", "copy.db"]).failed(2);
    assert!(copied.contains("pg_dump"), "{copied}");
}

#[tokio::test]
async fn a_crash_of_the_server_is_seen_and_no_acknowledged_change_is_lost() {
    let postgresql = postgresql::Server::start(&[]);
    let database = postgresql.create_database();
    let (installation, admin) = prepared(&database.url());
    let server = installation.serve();
    let key = create_key(&server, &admin).await;
    postgresql.crash_and_restart();
    let changed = [("KeyId", key.as_str()), ("Description", "after")];
    let client = server.client(&admin);
    until_async(async || code(&client, "UpdateKeyDescription", &changed).await.is_empty()).await;
    let stored = database.execute("SELECT description FROM keys");
    assert!(stored.contains("after"), "{stored}");
}

#[tokio::test]
async fn a_second_gateway_on_one_database_is_refused() {
    let database = postgresql::server().create_database();
    let (installation, _admin) = prepared(&database.url());
    let server = installation.serve();
    let config = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    let state = installation.path("state").display().to_string();
    let other = config.replace(&state, &format!("{state}-of-another"));
    let path = installation.path("another.toml");
    fs::write(&path, other).unwrap();
    let serve = ["serve", "--config", path.to_str().unwrap()];
    let refused = installation.run_under(&["timeout", "60"], &serve);
    assert_ne!(refused.code, Some(124), "{refused:?}");
    assert!(refused.stderr.contains("another gateway uses the store"), "{refused:?}");
    server.stop();
}

#[tokio::test]
async fn the_password_is_read_from_a_file_or_a_credential_and_is_nowhere_else() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = ["listen_addresses=127.0.0.1", &format!("port={port}")];
    let postgresql = postgresql::Server::start(&settings);
    postgresql.execute("postgres", &format!("ALTER ROLE {ROLE} PASSWORD 'hunter 2@/'"));
    postgresql.execute("postgres", "CREATE DATABASE keys");
    let url = format!("postgres://{ROLE}@127.0.0.1:{port}/keys");
    let mut installation = Installation::new();
    let file = installation.path("password");
    configure(&installation, &url, &format!("password_file = \"{}\"\n", file.display()));
    fs::write(&file, "hunter 3\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let refused = installation.init();
    assert!(refused.stderr.contains("password authentication failed"), "{refused:?}");
    fs::write(&file, "hunter 2@/\n").unwrap();
    let admin = AccessKey::of(&installation.init().json());
    let server = installation.serve();
    let key = create_key(&server, &admin).await;
    encrypt(&server, &admin, &key).await;
    assert!(!server.log().contains("hunter"));
    assert_eq!(server.stop(), Some(0));

    // As a credential of systemd.
    let credentials = installation.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(&file, credentials.join("database")).unwrap();
    let config = installation.path("hsmgate.toml");
    let line = format!("password_file = \"{}\"", file.display());
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&line, "password_credential = \"database\"")).unwrap();
    let serve = ["serve", "--config", "hsmgate.toml"];
    let refused = installation.run_under(&["timeout", "60"], &serve);
    assert!(refused.stderr.contains("CREDENTIALS_DIRECTORY"), "{refused:?}");
    installation.environment.push(("CREDENTIALS_DIRECTORY", credentials.clone()));
    let server = installation.serve();
    encrypt(&server, &admin, &key).await;
    assert!(!server.log().contains("hunter"));
}

/// The current value of the secret `db`.
async fn secret(server: &Server, user: &AccessKey) -> String {
    let read = server.client(user).call("GetSecretValue", &[("SecretName", "db")]).await.unwrap();
    read["SecretData"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_installation_moves_to_postgresql_and_back() {
    let (installation, _admin) = Installation::prepared();
    let database = postgresql::server().create_database();
    let file = |name| format!("sqlite://{}", installation.path(name).display());
    let (from, to, back) = (file("hsmgate.db"), database.url(), file("back.db"));
    let copy = |from: &str, to: &str, options: &[&str]| {
        let copy = ["store", "copy", "--from", from, "--to", to, "--json"];
        installation.configured(&[&copy, options].concat())
    };
    let server = installation.serve();
    let user = installation.create_access_key("alice", &["AliyunKMSFullAccess"]);
    let key = create_key(&server, &user).await;
    let blob = encrypt(&server, &user, &key).await;
    let new = [("SecretName", "db"), ("VersionId", "v1"), ("SecretData", "hunter 2")];
    server.client(&user).call("CreateSecret", &new).await.unwrap();
    let refused = copy(&from, &to, &[]).failed(1);
    assert!(refused.contains("another process uses the store"), "{refused}");
    assert_eq!(server.stop(), Some(0));

    let is_dry = copy(&from, &to, &["--dry-run"]).json()["is_dry_run"].clone();
    let tables = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!((is_dry, database.execute(tables).as_str()), (true.into(), "0"));
    let copied = copy(&from, &to, &["--reason", "more gateways"]).json();
    for table in copied["tables"].as_array().unwrap() {
        assert_eq!(table["rows"], table["verified"], "{copied}");
    }
    // As after a kill before the end.
    let mark = "INSERT INTO facts (name, value) SELECT 'unfinished-copy', value FROM facts \
                WHERE name = 'row-mac-key'";
    database.execute(mark);
    configure(&installation, &to, "");
    let serve = ["serve", "--config", "hsmgate.toml"];
    let refused = installation.run_under(&["timeout", "60"], &serve);
    assert_ne!(refused.code, Some(124), "{refused:?}");
    assert!(refused.stderr.contains("is an unfinished copy"), "{refused:?}");
    copy(&from, &to, &[]).done();

    let server = installation.serve();
    assert!(decrypts(&server, &user, &blob).await);
    assert_eq!(secret(&server, &user).await, "hunter 2");
    let second = encrypt(&server, &user, &create_key(&server, &user).await).await;
    assert!(!server.log().contains("damaged"), "{}", server.log());
    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(installation.audit_file()).unwrap();
    assert!(audit.contains("CopyStore"), "{audit}");

    copy(&to, &back, &[]).done();
    configure(&installation, &back, "");
    let server = installation.serve();
    for blob in [blob, second] {
        assert!(decrypts(&server, &user, &blob).await);
    }
    assert_eq!(secret(&server, &user).await, "hunter 2");
}
