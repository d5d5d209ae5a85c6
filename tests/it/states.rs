//! The published table of states and operations, every cell of it.

use hsmgate::cli::client::CallError;

use crate::harness::{Gateway, text};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

const OK: &str = "ok";
const DISABLED: &str = "Rejected.Disabled";
const DELETION: &str = "Rejected.PendingDeletion";
const IMPORT: &str = "Rejected.PendingImport";
const MODIFIED: &str = "Rejected.StateModifiedFailed";
const UNAVAILABLE: &str = "Rejected.Unavailable";

const STATES: [&str; 5] =
    ["Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable"];

/// The rows of the published table, which has four states. The fifth, `Unavailable`, stands in the
/// tables of errors only: a key in it can be looked at and nothing else.
const TABLE: &[(&[&str], [&str; 5])] = &[
    (
        &[
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "CreateKeyVersion",
            "UpdateRotationPolicy",
        ],
        [OK, DISABLED, DELETION, IMPORT, UNAVAILABLE],
    ),
    (
        &[
            "DescribeKey",
            "ListKeys",
            "ListAliases",
            "ListAliasesByKeyId",
            "DeleteAlias",
            "ListResourceTags",
            "ListKeyVersions",
        ],
        [OK, OK, OK, OK, OK],
    ),
    (
        &["UpdateKeyDescription", "TagResource", "UntagResource", "UpdateAlias"],
        [OK, OK, DELETION, OK, UNAVAILABLE],
    ),
    (&["EnableKey", "DisableKey"], [OK, OK, MODIFIED, MODIFIED, UNAVAILABLE]),
    (&["ScheduleKeyDeletion"], [OK, OK, MODIFIED, OK, UNAVAILABLE]),
    (&["CancelKeyDeletion"], [MODIFIED, MODIFIED, OK, MODIFIED, UNAVAILABLE]),
    (&["CreateAlias"], [OK, OK, MODIFIED, OK, UNAVAILABLE]),
];

/// Rows on a version, which a key that waits for its material has none of.
const VERSION_TABLE: &[(&[&str], [&str; 4])] = &[
    (&["Decrypt", "ReEncrypt"], [OK, DISABLED, DELETION, UNAVAILABLE]),
    (&["DescribeKeyVersion"], [OK, OK, OK, OK]),
];
const VERSION_STATES: [&str; 4] = ["Enabled", "Disabled", "PendingDeletion", "Unavailable"];

/// A key that was brought to a state, and what was made of it before.
struct Subject {
    key: String,
    alias: String,
    blob: String,
    version: String,
}

#[tokio::test]
async fn every_cell_is_the_published_one() {
    let mut gateway = Gateway::start();
    let mut cells = Vec::new();
    for (actions, row) in TABLE {
        for action in *actions {
            for (state, cell) in STATES.iter().zip(row) {
                cells.push((*action, *state, *cell, subject(&gateway, state).await));
            }
        }
    }
    for (actions, row) in VERSION_TABLE {
        for action in *actions {
            for (state, cell) in VERSION_STATES.iter().zip(row) {
                cells.push((*action, *state, *cell, subject(&gateway, state).await));
            }
        }
    }
    let lose = "UPDATE keys SET state = 'Unavailable' WHERE description = 'Unavailable'";
    gateway = gateway.restart_with(lose).await;
    for (action, state, cell, subject) in &cells {
        assert_eq!(text(&gateway.describe(&subject.key).await["KeyState"]), *state);
        let verdict = verdict(&gateway, action, subject).await;
        assert_eq!(verdict, *cell, "{action} in {state}");
    }
    assert_eq!(cells.len(), 21 * 5 + 3 * 4);
}

#[tokio::test]
async fn a_key_that_is_being_made_or_destroyed_is_not_there() {
    let gateway = Gateway::start();
    let subject = subject(&gateway, "Enabled").await;
    let gateway = gateway
        .restart_with("UPDATE keys SET state = 'Creating' WHERE description = 'Enabled'")
        .await;
    for (actions, _row) in TABLE {
        for action in
            actions.iter().filter(|action| !matches!(**action, "ListKeys" | "ListAliases"))
        {
            let verdict = verdict(&gateway, action, &subject).await;
            assert_eq!(verdict, "Forbidden.KeyNotFound", "{action}");
        }
    }
}

#[tokio::test]
async fn a_key_is_what_the_last_operation_has_made_of_it() {
    let gateway = Gateway::start();
    let window = ("PendingWindowInDays", "7");
    for (state, action, becomes) in [
        ("Disabled", "EnableKey", "Enabled"),
        ("Enabled", "DisableKey", "Disabled"),
        ("Enabled", "ScheduleKeyDeletion", "PendingDeletion"),
        ("Disabled", "ScheduleKeyDeletion", "PendingDeletion"),
        ("PendingImport", "ScheduleKeyDeletion", "PendingDeletion"),
        ("PendingDeletion", "CancelKeyDeletion", "Enabled"),
    ] {
        let subject = subject(&gateway, state).await;
        gateway.call(action, &[("KeyId", &subject.key), window]).await;
        let described = gateway.describe(&subject.key).await;
        assert_eq!(text(&described["KeyState"]), becomes, "{action} in {state}");
    }
}

/// A key in a state; `Unavailable` is only marked, as no call leads there.
async fn subject(gateway: &Gateway, state: &str) -> Subject {
    let origin = if state == "PendingImport" { "EXTERNAL" } else { "Aliyun_KMS" };
    let key = gateway.create_key_with(&[("Origin", origin), ("Description", state)]).await;
    let id = ("KeyId", key.as_str());
    let alias = format!("alias/{key}");
    gateway.call("CreateAlias", &[id, ("AliasName", &alias)]).await;
    let (mut blob, mut version) = (String::new(), String::new());
    if state != "PendingImport" {
        let sealed = gateway.call("Encrypt", &[id, ("Plaintext", PLAINTEXT)]).await;
        text(&sealed["CiphertextBlob"]).clone_into(&mut blob);
        text(&sealed["KeyVersionId"]).clone_into(&mut version);
    }
    match state {
        "Disabled" => drop(gateway.call("DisableKey", &[id]).await),
        "PendingDeletion" => {
            let window = ("PendingWindowInDays", "7");
            drop(gateway.call("ScheduleKeyDeletion", &[id, window]).await);
        }
        _ => {}
    }
    Subject { key, alias, blob, version }
}

/// What comes of an operation on a key: `ok`, or the code of its refusal.
async fn verdict(gateway: &Gateway, action: &str, subject: &Subject) -> String {
    let id = ("KeyId", subject.key.as_str());
    let another = format!("{}-2", subject.alias);
    // Whatever an operation does not know is passed over.
    let mut params = vec![
        ("PendingWindowInDays", "7"),
        ("Plaintext", PLAINTEXT),
        ("EnableAutomaticRotation", "false"),
        ("Description", "x"),
        ("Tags", r#"[{"TagKey":"a","TagValue":"b"}]"#),
        ("TagKeys", "a"),
        ("DestinationKeyId", gateway.dev.key_id.as_str()),
        ("CiphertextBlob", subject.blob.as_str()),
        ("KeyVersionId", subject.version.as_str()),
    ];
    match action {
        "CreateAlias" => params.push(("AliasName", &another)),
        "UpdateAlias" => params.push(("AliasName", &gateway.dev.alias)),
        _ => params.push(("AliasName", &subject.alias)),
    }
    if !matches!(action, "Decrypt" | "ReEncrypt") {
        params.push(id);
    }
    match gateway.client.call(action, &params).await {
        Ok(_) => OK.to_owned(),
        Err(CallError::Refused { code, status, .. }) => {
            assert!(status == 409 || code.ends_with("NotFound"), "{action}: {status} {code}");
            code
        }
        Err(error) => panic!("{action}: {error}"),
    }
}
