//! Commands of operators while a gateway runs: they take effect at once, only accounts with the duty may run
//! them, and each is recorded with the account that the kernel names.

#![expect(clippy::print_stdout, reason = "a test that is not run says so")]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use serde_json::Value;

use crate::support::audit_file::{events, records};
use crate::support::calls::code;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Outcome, run};
use crate::support::process::until;

/// Accounts without a name, of which one is in the group of the socket.
const OPERATOR: u32 = 12_345;
const OTHER_ACCOUNT: u32 = 12_346;
const COMMAND: &str = "OperatorCommand";
const FULL: &str = "AliyunKMSFullAccess";

/// The records of commands, which have an outcome.
fn commands(installation: &Installation) -> Vec<Value> {
    let is_command = |record: &Value| record["eventName"] == COMMAND && record["record"] == "event";
    records(&installation.audit_file()).into_iter().filter(is_command).collect()
}

fn parameter<'a>(record: &'a Value, name: &str) -> &'a str {
    text(&record["requestParameters"][name])
}

fn socket(installation: &Installation) -> PathBuf {
    installation.path("state").join("operator.sock")
}

/// An installation whose socket two accounts can reach, with these duties. `None` without the right to change
/// the account.
fn with_duties(duties: &str) -> Option<(Installation, AccessKey)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run commands as another account");
        return None;
    }
    let (installation, admin) = Installation::prepared();
    fs::set_permissions(installation.path(""), Permissions::from_mode(0o755)).unwrap();
    let directory = installation.path("run");
    fs::create_dir(&directory).unwrap();
    chown(&directory, None, Some(OPERATOR)).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
    let socket = directory.join("operator.sock").display().to_string();
    installation.configure(|configuration| {
        let section = format!("[operators]\nsocket = \"{socket}\"\n{duties}\n");
        configuration.push_str(&section);
    });
    Some((installation, admin))
}

/// Runs a command as another account.
fn run_as(uid: u32, installation: &Installation, arguments: &[&str]) -> Outcome {
    let (user, group) = (format!("--reuid={uid}"), format!("--regid={uid}"));
    let starter = ["setpriv", &user, &group, "--clear-groups"];
    let config = installation.path("hsmgate.toml");
    let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
    installation.run_under(&starter, &arguments)
}

#[tokio::test]
async fn a_command_takes_effect_at_once_and_is_recorded_with_the_account_that_ran_it() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    assert_eq!(fs::metadata(socket(&installation)).unwrap().mode() & 0o777, 0o600);
    // The gateway executes it: this process could not log in to the token.
    fs::remove_file(installation.path("pin")).unwrap();
    let create = ["access-key", "create", "--user", "bob", "--policy", FULL, "--json"];
    let reason = ["--reason", "bob joins the team"];
    let bob = AccessKey::of(&installation.configured(&[&create[..], &reason].concat()).json());
    let client = server.client(&bob);
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "");
    installation.configured(&["access-key", "disable", &bob.id]).done();
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "InvalidAccessKeyId.Inactive");
    installation.configured(&["access-key", "enable", &bob.id]).done();
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "");
    installation.configured(&["user", "delete", "bob"]).done();
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "InvalidAccessKeyId.NotFound");
    let told = installation.configured(&["user", "delete", "bob"]).failed(3);
    assert_eq!(told, "hsmgate: user/bob does not exist\n");

    let commands = commands(&installation);
    let told: Vec<_> = commands
        .iter()
        .map(|one| (parameter(one, "Command"), parameter(one, "Duty"), one["errorCode"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("access-key create", "principals", None),
            ("access-key revoke", "revoke", None),
            ("access-key enable", "principals", None),
            ("principal delete", "revoke", None),
            ("principal delete", "revoke", Some("Forbidden.ResourceNotFound")),
        ]
    );
    let uid = format!("uid:{}", rustix::process::getuid().as_raw());
    for command in &commands {
        assert!(text(&command["userIdentity"]["userName"]).starts_with(&uid), "{command}");
        assert_eq!(command["eventType"], "ConsoleOperation");
    }
    assert_eq!(parameter(&commands[0], "Reason"), "bob joins the team");
    assert_eq!(parameter(&commands[0], "Principal"), "user/bob");
    let audit = fs::read_to_string(installation.audit_file()).unwrap();
    assert!(!audit.contains(&bob.secret));
    // The changes themselves are recorded too, on behalf of the same account.
    let created = events(&installation.audit_file(), "CreateAccessKey", 2).await;
    assert!(text(&created[1]["userIdentity"]["userName"]).starts_with(&uid));
    assert_eq!(code(&server.client(&admin), "DescribeRegions", &[]).await, "");
    assert_eq!(server.stop(), Some(0));
    assert!(!socket(&installation).exists());
    let file = installation.audit_file();
    run(installation.command(&["audit", "verify", file.to_str().unwrap()]), b"").done();
}

#[tokio::test]
async fn an_account_without_the_duty_is_refused_and_recorded() {
    let duties = "revoke = [\"12345\"]\nprincipals = [\"root\"]";
    let Some((installation, _admin)) = with_duties(duties) else { return };
    let server = installation.serve();
    let bob = installation.create_access_key("bob", &[FULL]);
    let client = server.client(&bob);
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "");

    let create = ["user", "create", "mallory", "--policy", FULL];
    let told = run_as(OPERATOR, &installation, &create).failed(4);
    assert_eq!(
        told,
        "hsmgate: the operator uid:12345 does not have the duty \"principals\": see [operators] in the \
         configuration\n"
    );
    let disable = ["access-key", "disable", &bob.id];
    // Root has the duties that it is given, and no others.
    let told = installation.configured(&disable).failed(4);
    assert!(told.contains("uid:0 (root) does not have the duty \"revoke\""), "{told}");
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "");
    // Who is not in the group of the socket does not reach it.
    let told = run_as(OTHER_ACCOUNT, &installation, &disable).failed(4);
    assert!(told.contains("this account may not use the socket"), "{told}");

    run_as(OPERATOR, &installation, &disable).done();
    assert_eq!(code(&client, "DescribeRegions", &[]).await, "InvalidAccessKeyId.Inactive");
    run_as(OPERATOR, &installation, &["user", "list"]).done();
    let encrypt = ["--principal", "user/bob", "--action", "kms:Encrypt", "--resource", "key/a"];
    let simulate = [&["policy", "simulate"], &encrypt[..]].concat();
    let told = run_as(OPERATOR, &installation, &simulate).done();
    assert!(told.starts_with("allow: "), "{told}");
    installation.configured(&["user", "create", "alice"]).done();

    let told: Vec<_> = commands(&installation)
        .iter()
        .map(|one| {
            let user = text(&one["userIdentity"]["userName"]).to_owned();
            let refusal = one["errorCode"].as_str().unwrap_or_default().to_owned();
            (user, parameter(one, "Command").to_owned(), refusal)
        })
        .collect();
    let expected = [
        ("uid:0 (root)", "access-key create", ""),
        ("uid:12345", "principal create", "Forbidden.NoPermission"),
        ("uid:0 (root)", "access-key revoke", "Forbidden.NoPermission"),
        ("uid:12345", "access-key revoke", ""),
        ("uid:12345", "principal list", ""),
        ("uid:12345", "policy simulate", ""),
        ("uid:0 (root)", "principal create", ""),
    ];
    assert_eq!(told, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    assert!(server.has_logged("event=\"operator.refused\""));
    assert_eq!(server.stop(), Some(0));

    // Without a gateway the same table applies, and the refusal is recorded by the next one.
    let told = installation.configured(&disable).failed(4);
    assert!(told.contains("does not have the duty \"revoke\""), "{told}");
    let backup = installation.path("backup.db").display().to_string();
    let told = installation.configured(&["backup", "--out", &backup]).failed(4);
    assert!(told.contains("does not have the duty \"restore\""), "{told}");
    let server = installation.serve();
    until(|| commands(&installation).len() == 9).await;
    let refused = commands(&installation).split_off(7);
    for (refused, command) in refused.iter().zip(["access-key revoke", "backup"]) {
        assert_eq!(refused["errorCode"], "Forbidden.NoPermission");
        assert_eq!(parameter(refused, "Command"), command);
    }
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn an_operator_does_not_release_the_request_of_the_user_with_its_name() {
    let duties = "principals = [\"root\"]\napprovals = [\"root\", \"12345\"]\n\
                  [approval]\noperations = [\"ScheduleKeyDeletion\"]";
    let Some((installation, _admin)) = with_duties(duties) else { return };
    let server = installation.serve();
    let client = server.client(&installation.create_access_key("root", &[FULL]));
    let made = client.call("CreateKey", &[]).await.unwrap();
    let deletion = [("KeyId", text(&made["KeyMetadata"]["KeyId"])), ("PendingWindowInDays", "7")];
    assert_eq!(code(&client, "ScheduleKeyDeletion", &deletion).await, "Forbidden.NoPermission");
    let listed = installation.configured(&["approval", "list", "--json"]).json();
    let release = ["approval", "release", text(&listed[0]["id"])];
    let told = installation.configured(&release).failed(4);
    assert!(told.contains("user/root made this request: another operator must release it"));
    assert_eq!(code(&client, "ScheduleKeyDeletion", &deletion).await, "Forbidden.NoPermission");
    run_as(OPERATOR, &installation, &release).done();
    assert_eq!(code(&client, "ScheduleKeyDeletion", &deletion).await, "");
    let released = events(&installation.audit_file(), "ReleaseApproval", 1).await.remove(0);
    assert_eq!(released["userIdentity"]["userName"], "uid:12345");
    assert_eq!(parameter(&released, "Requester"), "user/root");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_gateway_that_was_killed_leaves_a_socket_that_stops_nothing() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    server.signal("KILL");
    server.wait();
    assert!(fs::metadata(socket(&installation)).unwrap().file_type().is_socket());
    // Only a gateway gives rights; what takes them away is recorded by the next one.
    for gives in [
        &["user", "create", "alice"][..],
        &["user", "attach", "alice", FULL],
        &["role", "create", "ci"],
        &["access-key", "create", "--root"],
        &["access-key", "enable", &admin.id],
        &["access-key", "rotate", &admin.id],
        &["sts", "assume", "--role-name", "ci"],
        &["alias", "delete", "alias/a"],
        &["approval", "release", "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf"],
    ] {
        let told = installation.configured(gives).failed(6);
        assert!(told.contains("start it with `hsmgate serve`"), "{gives:?}: {told}");
    }
    assert_eq!(installation.configured(&["user", "delete", "alice"]).code, Some(3));
    let reason = ["--reason", "the gateway is down"];
    installation.configured(&[&["access-key", "disable", &admin.id], &reason[..]].concat()).done();
    let server = installation.serve();
    installation.configured(&["user", "create", "bob"]).done();
    events(&installation.audit_file(), "CreatePrincipal", 2).await;
    until(|| commands(&installation).len() == 2).await;
    let offline = commands(&installation);
    let offline =
        offline.iter().find(|one| parameter(one, "Command") == "access-key revoke").unwrap();
    assert_eq!(parameter(offline, "Reason"), "the gateway is down");
    assert_eq!(code(&server.client(&admin), "ListKeys", &[]).await, "InvalidAccessKeyId.Inactive");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn the_gateway_that_takes_over_has_the_socket() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    installation.configured(&["user", "create", "alice"]).done();
    assert_eq!(commands(&installation).len(), 1);
    server.signal("USR2");
    until(|| server.has_logged("event=\"reload.finished\"")).await;
    installation.configured(&["user", "create", "bob"]).done();
    assert_eq!(commands(&installation).len(), 2);
    assert_eq!(server.stop(), Some(0));
    assert!(!socket(&installation).exists());
}

#[test]
fn a_second_gateway_does_not_take_the_socket_of_the_first() {
    let (first, _admin) = Installation::prepared();
    let (second, _admin) = Installation::prepared();
    let server = first.serve();
    let shared = socket(&first).display().to_string();
    second.configure(|configuration| {
        let section = format!("[operators]\nsocket = \"{shared}\"\n");
        configuration.push_str(&section);
    });
    let told = second.configured(&["serve"]).failed(1);
    assert!(told.contains("another process listens on it"), "{told}");
    first.configured(&["user", "create", "alice"]).done();
    assert_eq!(commands(&first).len(), 1);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_refused_with_the_setting() {
    let (installation, _admin) = Installation::prepared();
    let long = installation.path(&"a".repeat(100)).display().to_string();
    installation
        .configure(|text| *text = text.replace("/state\"", &format!("/{}\"", "a".repeat(100))));
    let told = installation.configured(&["serve"]).failed(2);
    let bytes = long.len() + "/operator.sock".len();
    let expected = format!(
        "operators.socket: {long}/operator.sock has {bytes} bytes, and the path of a Unix socket has at \
         most 107: set a shorter one, or \"\" for no socket"
    );
    assert!(told.contains(&expected), "{told}");
    installation.configure(|text| {
        *text = text.replace("/state\"", &format!("/{}\"", "a".repeat(100)));
        text.push_str("[operators]\nsocket = \"\"\n");
    });
    let server = installation.serve();
    let told = installation.configured(&["user", "create", "alice"]).failed(6);
    assert!(told.contains("set `operators.socket`"), "{told}");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_command_that_a_kill_interrupts_leaves_its_intent_and_no_half_of_its_change() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    // The command waits for the database.
    let mut database = installation.database().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let config = installation.path("hsmgate.toml");
    let mut command = installation.command(&["user", "create", "alice", "--config"]);
    command.arg(config).stdin(Stdio::null());
    let waiting = thread::spawn(move || run(command, b""));
    let file = installation.audit_file();
    let intents = || {
        let is_intent =
            |record: &&Value| record["eventName"] == COMMAND && record["record"] == "intent";
        records(&file).iter().filter(is_intent).count()
    };
    until(|| intents() == 1).await;
    server.signal("KILL");
    server.wait();
    let told = waiting.join().unwrap().failed(6);
    assert!(told.contains("the command may have taken effect, see the audit"), "{told}");
    drop(database);
    let server = installation.serve();
    let users = installation.configured(&["user", "list"]).done();
    assert!(!users.contains("alice"), "{users}");
    assert_eq!(server.stop(), Some(0));
    let outcome = installation.command(&["audit", "verify", "--json", file.to_str().unwrap()]);
    let report = run(outcome, b"").json();
    assert_eq!(report["unfinished"].as_array().unwrap().len(), 1, "{report}");
}

/// Sends bytes to the socket, and returns the answer.
fn raw(installation: &Installation, head: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(installation)).unwrap();
    let length = body.len();
    let head = format!("{head}\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The gateway closes the connection before it has read too many bytes.
    stream.write_all(body).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_request_that_is_too_large_or_malformed_is_refused_and_the_next_is_served() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    let huge = vec![b' '; 8 * 1024 * 1024];
    for (body, told) in [
        (huge.as_slice(), "the request cannot be read: length limit exceeded"),
        (b"{", "the request is malformed"),
        (b"{\"program\":\"0\",\"command\":\"rm\",\"arguments\":{}}", "does not know the command"),
        (
            b"{\"program\":\"0\",\"command\":\"principal create\",\"arguments\":{\"principal\":\"x\"}}",
            "the arguments of principal create are malformed",
        ),
    ] {
        let answer = raw(&installation, "POST / HTTP/1.1", body);
        assert!(answer.is_empty() || answer.contains(told), "{told}: {answer}");
        assert!(body.len() > 1024 || answer.contains(told), "{told}: {answer}");
    }
    installation.configured(&["user", "create", "alice"]).done();
    assert_eq!(commands(&installation).len(), 1);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn many_clients_that_say_nothing_do_not_stop_the_gateway() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    let idle: Vec<_> =
        (0..15).map(|_| UnixStream::connect(socket(&installation)).unwrap()).collect();
    installation.configured(&["user", "create", "alice"]).done();
    assert_eq!(server.stop(), Some(0));
    drop(idle);
}
