//! Files that other users can change are refused, and unreadable files are distinguished from
//! damaged ones. Contents of PIN files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::installation::{AccessKey, Installation, run};
use crate::support::softhsm::module;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    let checks = told["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn a_world_writable_file_is_refused_with_the_remedy() {
    let (installation, _user) = Installation::prepared();
    let own_module = installation.path("module.so");
    fs::copy(module(), &own_module).unwrap();
    let module = module();
    installation.configure(|text| {
        *text = text.replace(module.to_str().unwrap(), own_module.to_str().unwrap());
    });
    for (name, open, closed) in [
        ("module.so", 0o777, 0o755),
        ("hsmgate.db", 0o666, 0o600),
        ("state", 0o777, 0o700),
        ("state", 0o1777, 0o700),
    ] {
        let path = installation.path(name);
        chmod(&path, open);
        for command in [&["serve"][..], &["store", "sign", "--reason", "a test"]] {
            let told = installation.configured(command).failed(2);
            assert!(told.contains("all users") && told.contains("chmod o-w"), "{name}: {told}");
            assert!(told.contains(path.to_str().unwrap()), "{told}");
        }
        let doctor = installation.configured(&["doctor", "--json"]);
        assert_eq!(doctor.code, Some(7), "{doctor:?}");
        let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let found = check(&told, "exposed files");
        assert_eq!(found["verdict"], "failed", "{found}");
        assert!(found["found"].as_str().unwrap().contains(name), "{found}");
        chmod(&path, closed);
    }
    // What a gateway alone goes on from.
    let server = installation.serve();
    for (name, open) in [("hsmgate.db-wal", 0o602), ("hsmgate.db-shm", 0o602)] {
        chmod(&installation.path(name), open);
        let told = installation.configured(&["serve"]).failed(2);
        assert!(told.contains(name), "{told}");
        chmod(&installation.path(name), 0o600);
    }
    assert_eq!(server.stop(), Some(0));
    chmod(&installation.audit_file(), 0o602);
    let told = installation.configured(&["serve"]).failed(2);
    assert!(told.contains("audit.jsonl is writable by all users"), "{told}");
    chmod(&installation.audit_file(), 0o600);
    let config = installation.path("hsmgate.toml");
    chmod(&config, 0o666);
    for command in [&["serve"][..], &["doctor"]] {
        let told = installation.configured(command).failed(2);
        assert!(told.contains("hsmgate.toml is writable by all users"), "{told}");
    }
    chmod(&config, 0o644);
    installation.sign();
}

#[test]
fn the_doctor_distinguishes_an_unreadable_file_from_a_damaged_one() {
    let (installation, _user) = Installation::prepared();
    chmod(&installation.path(""), 0o755);
    let nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let version = installation.command_under(&nobody, &["--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!("not run: to become another user needs root");
        return;
    }
    installation.command(&["tls", "self-signed", "--out", "tls"]).status().unwrap();
    chmod(&installation.path("tls"), 0o755);
    installation.configure(|text| {
        let tls = installation.path("tls");
        let tls = tls.display();
        let tls =
            format!("[tls]\ncertificate = \"{tls}/server.pem\"\nkey = \"{tls}/server.key\"\n");
        text.push_str(&tls);
    });
    let config = installation.path("hsmgate.toml");
    let doctor = ["doctor", "--json", "--config", config.to_str().unwrap()];
    let told = run(installation.command_under(&nobody, &doctor), b"");
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    for name in ["database", "PIN file", "certificate"] {
        let found = check(&told, name);
        assert_eq!(found["verdict"], "failed", "{found}");
        let remedy = found["remedy"].as_str().unwrap();
        assert!(remedy.contains("runs as uid 65534"), "{name}: {remedy}");
        assert!(remedy.contains("belongs to uid 0") && remedy.contains("chown"), "{remedy}");
        assert!(!remedy.contains("restore"), "{remedy}");
    }
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn can_open_the_token(installation: &Installation) -> Result<(), String> {
    let outcome = installation.configured(&["store", "sign", "--reason", "a test"]);
    if outcome.code == Some(0) { Ok(()) } else { Err(outcome.stderr) }
}

#[test]
fn a_windows_line_end_is_removed_from_the_pin_and_an_invalid_pin_is_not_tried() {
    let (installation, user) = Installation::prepared();
    let (pin, marker) = (installation.path("pin"), installation.path("state/pin-refused"));
    fs::write(&pin, "user-pin-8163\r\n").unwrap();
    let server = installation.serve();
    drop((server.client(&user), server));
    for stray in
        ["user-pin-8163 \n", "user-pin-8163\n\n", "user-pin\t8163\n", "\u{feff}user-pin-8163"]
    {
        fs::write(&pin, stray).unwrap();
        let told = installation.configured(&["store", "sign", "--reason", "a test"]).failed(2);
        assert!(told.contains("which cannot be part of a PIN"), "{stray:?}: {told}");
        assert!(!marker.exists(), "the token was asked: {stray:?}");
    }
}

#[test]
fn a_refused_pin_is_not_tried_again_however_often_its_file_is_written_and_another_is() {
    let (installation, _user): (_, AccessKey) = Installation::prepared();
    let (pin, marker) = (installation.path("pin"), installation.path("state/pin-refused"));
    fs::write(&pin, "wrong-pin\n").unwrap();
    assert!(can_open_the_token(&installation).unwrap_err().contains("CKR_PIN_INCORRECT"));
    for _start in 0..3 {
        // As a script does that writes it at each start.
        fs::remove_file(&pin).unwrap();
        write_private(&pin, "wrong-pin\n");
        let told = can_open_the_token(&installation).unwrap_err();
        assert!(told.contains("the token refused it before"), "{told}");
    }
    let doctor = installation.configured(&["doctor", "--json"]);
    let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let found = check(&told, "token");
    assert!(found["found"].as_str().unwrap().contains(marker.to_str().unwrap()), "{found}");
    assert!(found["remedy"].as_str().unwrap().contains("tried again"), "{found}");
    // Of the same length, as a PIN in memory has to be told apart too.
    fs::write(&pin, "wrong-nip\n").unwrap();
    let told = can_open_the_token(&installation).unwrap_err();
    if told.contains("refused it before") {
        println!("taken for the first, as once in 4096 times");
        return;
    }
    assert!(told.contains("CKR_PIN_INCORRECT"), "another is tried: {told}");
    for refused in ["wrong-pin\n", "wrong-nip\n"] {
        fs::write(&pin, refused).unwrap();
        assert!(
            can_open_the_token(&installation).unwrap_err().contains("refused it before"),
            "once"
        );
    }
    fs::write(&pin, "user-pin-8163\n").unwrap();
    let opened = can_open_the_token(&installation);
    if opened.as_ref().is_err_and(|told| told.contains("refused it before")) {
        println!("taken for one of the two, as once in 2048 times");
        return;
    }
    assert_eq!(opened, Ok(()));
    assert!(!marker.exists(), "the right one is no longer a refused one");
}
