//! Values appear in responses only, and the audit tells who read which version.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{create_with, put, value};
use crate::support::audit_file::records;
use crate::support::gateway::Gateway;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const MARKER: &str = "Marker7Q9x2ZpL";

/// The files below a directory that contain a marker.
pub(super) fn files_with(directory: &Path, marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, marker));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if memchr::memmem::find(&bytes, marker.as_bytes()).is_some() {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn no_file_contains_a_value() {
    let gateway = Gateway::start_with_log("debug");
    create_with(&gateway, "db", MARKER, &[]).await;
    put(&gateway, "db", "v2", &format!("{MARKER}-2")).await;
    assert_eq!(value(&gateway, "db").await, format!("{MARKER}-2"));
    let wrong = format!("{MARKER}-3");
    // Equal and wrong values, in query and form, and requests that fail on the way.
    for location in [ParamLocation::GetQuery, ParamLocation::PostQuery, ParamLocation::PostForm] {
        let variant = SigningVariant(Signing::Rpc1, location);
        for (name, version, data) in [
            ("db", "v1", MARKER),
            ("db", "v1", &wrong),
            ("none", "v1", MARKER),
            ("a b", "v1", MARKER),
            ("db", "v 1", MARKER),
        ] {
            let params = [("SecretName", name), ("VersionId", version), ("SecretData", data)];
            for action in ["PutSecretValue", "CreateSecret", "DescribeKey", "Unknown"] {
                let call = Call::new(&gateway, variant, action, &params);
                let answer = call.clone().signed().send(&gateway).await;
                assert!(!answer.body.contains(MARKER), "{action}: {}", answer.body);
                // With a wrong signature.
                let mut call = call.signed();
                call.edit_signature(|signature| signature.replace('A', "B"));
                let answer = call.send(&gateway).await;
                let is_own_text = answer.body.contains("SignatureDoesNotMatch");
                assert!(is_own_text || !answer.body.contains(MARKER), "{action}: {}", answer.body);
            }
        }
    }
    let dir = gateway.stop();
    assert_eq!(files_with(dir.path(), MARKER), Vec::<String>::new());
}

#[tokio::test]
async fn the_audit_tells_which_version_was_read_under_which_key() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.clone();
    create_with(&gateway, "db", MARKER, &[("EncryptionKeyId", &key)]).await;
    value(&gateway, "db").await;
    gateway.refused("GetSecretValue", &[("SecretName", "none")]).await;
    gateway.call("GetRandomPassword", &[("ExcludeCharacters", MARKER)]).await;
    let file = gateway.state().join("audit.jsonl");
    let dir = gateway.stop();
    let records = records(&file);
    let of = |name: &str| records.iter().filter(|it| it["eventName"] == name).collect::<Vec<_>>();
    let reads = of("GetSecretValue");
    assert_eq!(reads.len(), 2);
    let read = reads[0];
    assert_eq!(
        (&read["eventRW"], &read["resourceType"]),
        (&json!("Read"), &json!("ACS::KMS::Secret"))
    );
    assert_eq!(read["resourceName"], "db");
    let referenced = json!({"ACS::KMS::Key": [key], "ACS::KMS::Secret": ["db"]});
    assert_eq!(read["referencedResources"], referenced);
    assert_eq!(read["responseElements"]["VersionId"], "v1");
    assert_eq!(read["responseElements"]["VersionStages"], json!(["ACSCurrent"]));
    assert_eq!(read["requestParameters"]["SecretName"], "db");
    assert_eq!(reads[1]["errorCode"], "Forbidden.ResourceNotFound");
    assert_eq!(reads[1]["resourceName"], "none");
    let created = of("CreateSecret");
    assert_eq!(created.len(), 2, "the intent and the outcome");
    assert!(created.iter().all(|it| it["eventRW"] == "Write"));
    assert_eq!(created[1]["requestParameters"]["VersionId"], "v1");
    let password = of("GetRandomPassword");
    assert!(password[0]["requestParameters"].get("ExcludeCharacters").is_none());
    drop(dir);
}
