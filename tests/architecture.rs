//! Holds the direction of use between the rooms, by reading the sources.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the bottom up; those of one row do not use each other.
const ROOMS: &[&[&str]] = &[
    &["error", "model"],
    &["config"],
    &["telemetry"],
    &["server", "store", "token"],
    &["authn"],
    &["authz"],
    &["audit"],
    &["keyring"],
    &["ops"],
    &["jobs", "pipeline"],
    &["api"],
    &["app"],
    &["cli"],
];

/// Crates that only one room may name.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("cryptoki", &["token"]),
    ("sqlx", &["store"]),
    ("axum", &["api", "server", "cli"]),
    ("hyper", &["server", "cli"]),
    ("rustls", &["server", "cli"]),
    ("anyhow", &["cli", "main"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|is| is == "rs") {
            found.push(path);
        }
    }
}

/// The code of every room, without comments and without the tests at the end of its files.
fn rooms() -> BTreeMap<String, String> {
    let sources_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&sources_root, &mut files);
    let mut rooms: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let first = file.strip_prefix(&sources_root).unwrap().components().next().unwrap();
        let room = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
        rooms.entry(room).or_default().extend(code.flat_map(|line| [line, "\n"]));
    }
    rooms
}

fn height(room: &str) -> Option<usize> {
    ROOMS.iter().position(|row| row.contains(&room))
}

/// The rooms that `code` names as `crate::room` or within `use crate::{room, …}`.
fn used_rooms(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        assert!(!rest.starts_with('{'), "write `use crate::room::…`, one line a room");
        used.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
    }
    used
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    for (room, code) in rooms() {
        if room == "lib" || room == "main" {
            continue;
        }
        let own = height(&room).unwrap_or_else(|| panic!("the room {room} has no place"));
        for used in used_rooms(&code) {
            let below = height(&used).unwrap_or_else(|| panic!("{room} uses the unknown {used}"));
            let is_error_in_model = used == "model" && room == "error";
            assert!(
                below < own || used == room || is_error_in_model,
                "{room} uses {used}, which does not stand below it"
            );
        }
    }
}

#[test]
fn a_crate_of_one_room_is_named_nowhere_else() {
    for (room, code) in rooms() {
        for (name, owners) in OWNED_CRATES {
            let named = [format!("{name}::"), format!("use {name};")];
            assert!(
                owners.contains(&room.as_str()) || !named.iter().any(|name| code.contains(name)),
                "{room} names {name}"
            );
        }
    }
}

/// What of the rooms below it the HTTP server may name: nothing of keys, callers or the API.
const SERVER_USES: &[&str] = &[
    "config::secret::read_private_text",
    "config::{CertificateFiles, SecretError}",
    "model::Time",
    "model::source_of",
    "model::{AddressRange, source_of}",
    "server::",
    "telemetry::metrics::",
];

#[test]
fn the_http_server_knows_nothing_of_what_is_served() {
    let code = &rooms()["server"];
    for (at, _) in code.match_indices("crate::") {
        let used = &code[at + "crate::".len()..];
        let is_allowed = SERVER_USES.iter().any(|allowed| used.starts_with(allowed));
        assert!(is_allowed, "server uses {}", used.lines().next().unwrap());
    }
}

#[test]
fn no_code_reads_the_value_of_a_key() {
    for (room, code) in rooms() {
        for name in ["AttributeType::Value,", "AttributeType::Value]", "CKA_VALUE,"] {
            assert!(!code.contains(name), "{room} names {name}");
        }
    }
}

/// Conditions on the encryption context can only hold if the context is told when leave is asked.
#[test]
fn an_operation_with_an_encryption_context_asks_leave_in_it() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), &mut files);
    let mut checked = 0;
    for file in files {
        let code = fs::read_to_string(&file).unwrap();
        if code.contains(".aad_bytes()") {
            assert!(!code.contains("cx.key::") && !code.contains("cx.key("), "{}", file.display());
            checked += 1;
        }
    }
    assert!(checked >= 7, "only {checked} operations with a context were found");
}

/// A dry run cannot be executed past its checks because nothing else gives out what the keyring
/// demands for it.
#[test]
fn only_the_context_of_an_operation_gives_permission_to_execute() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.retain(|file| fs::read_to_string(file).unwrap().contains("Execution::unless"));
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    assert!(files.len() == 1 && files[0].ends_with("src/ops/mod.rs"), "{files:?}");
}
