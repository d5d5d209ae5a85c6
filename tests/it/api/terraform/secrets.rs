//! `alicloud_kms_secret` and the data sources of secrets.

use serde_json::{Value, json};

use super::{Provider, REGION, with};
use crate::support::gateway::{Gateway, refusal, text};

const PAGE: [(&str, &str); 2] = [("PageNumber", "1"), ("PageSize", "50")];

impl Provider<'_> {
    /// What the provider keeps of a secret, read as it reads it. A field that is absent is kept as none.
    async fn secret(&self, name: &str) -> Value {
        let id = [("SecretName", name)];
        let described = self.post("DescribeSecret", &id).await;
        let mut kept = json!({});
        for field in
            ["SecretName", "SecretType", "EncryptionKeyId", "ExtendedConfig", "Description"]
        {
            kept[field] = described[field].clone();
        }
        for field in ["AutomaticRotation", "RotationInterval", "DKMSInstanceId"] {
            kept[field] = described[field].clone();
        }
        if described["DKMSInstanceId"].is_string() {
            let policy = self.post("GetSecretPolicy", &id).await;
            kept["Policy"] = policy["Policy"].clone();
        }
        let read = self.post("GetSecretValue", &id).await;
        for field in ["SecretData", "VersionId", "SecretDataType"] {
            kept[field] = read[field].clone();
        }
        kept["VersionStages"] = read["VersionStages"]["VersionStage"].clone();
        let resource = [REGION, ("ResourceType", "secret"), ("ResourceId.1", name)];
        let tags = self.post("ListTagResources", &resource).await;
        let mut kept_tags = json!({});
        for tag in tags["TagResources"]["TagResource"].as_array().unwrap() {
            kept_tags[text(&tag["TagKey"])] = tag["TagValue"].clone();
        }
        kept["Tags"] = kept_tags;
        kept
    }
}

#[tokio::test]
async fn a_secret_is_read_as_it_was_made_and_changed_and_is_made_again() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let name = "tf/secret";
    let id = ("SecretName", name);
    let create = [
        id,
        ("SecretData", "Secret data."),
        ("VersionId", "00001"),
        ("SecretDataType", "text"),
        ("EnableAutomaticRotation", "false"),
        ("Tags", r#"[{"TagKey":"Created","TagValue":"TF"}]"#),
    ];
    assert_eq!(provider.post("CreateSecret", &create).await["SecretName"], name);
    let made = json!({
        "SecretName": name,
        "SecretType": "Generic",
        "EncryptionKeyId": null,
        "ExtendedConfig": null,
        "Description": "",
        "AutomaticRotation": null,
        "RotationInterval": null,
        "DKMSInstanceId": null,
        "SecretData": "Secret data.",
        "VersionId": "00001",
        "SecretDataType": "text",
        "VersionStages": ["ACSCurrent"],
        "Tags": {"Created": "TF"},
    });
    assert_eq!(provider.secret(name).await, made);

    // All of these are sent if one of them changes.
    let put = [
        id,
        ("SecretData", "-_ of binary"),
        ("VersionId", "00002"),
        ("SecretDataType", "binary"),
        ("VersionStages", r#"["ACSCurrent","UStage1"]"#),
    ];
    provider.post("PutSecretValue", &put).await;
    provider.post("UpdateSecret", &[id, ("Description", "from Terraform")]).await;
    provider.post("UpdateSecretRotationPolicy", &[id, ("EnableAutomaticRotation", "false")]).await;
    let (kind, resource) = (("ResourceType", "secret"), ("ResourceId.1", name));
    provider.change("UntagResources", &[REGION, resource, kind, ("TagKey.1", "Created")]).await;
    let tag = [REGION, resource, kind, ("Tag.1.Key", "For"), ("Tag.1.Value", "Test")];
    provider.change("TagResources", &tag).await;
    let changed = with(
        made.clone(),
        &[
            ("SecretData", json!("-_ of binary")),
            ("VersionId", json!("00002")),
            ("SecretDataType", json!("binary")),
            ("VersionStages", json!(["ACSCurrent", "UStage1"])),
            ("Description", json!("from Terraform")),
            ("Tags", json!({"For": "Test"})),
        ],
    );
    assert_eq!(provider.secret(name).await, changed);

    // Destroy without force: the name is taken until the end of the window.
    let keep = [id, ("ForceDeleteWithoutRecovery", "false"), ("RecoveryWindowInDays", "7")];
    provider.post("DeleteSecret", &keep).await;
    let refused = provider.refused("CreateSecret", &create).await;
    assert_eq!(refused, refusal(409, "Rejected.ResourceInDeleteWindow"));
    // Destroy with force, where the window has its default, and create again.
    let force = [id, ("ForceDeleteWithoutRecovery", "true"), ("RecoveryWindowInDays", "30")];
    provider.post("DeleteSecret", &force).await;
    let gone = refusal(404, "Forbidden.ResourceNotFound");
    assert_eq!(provider.refused("DescribeSecret", &[id]).await, gone);
    assert_eq!(provider.refused("DeleteSecret", &force).await, gone);
    provider.post("CreateSecret", &create).await;
    assert_eq!(provider.secret(name).await, made);
}

#[tokio::test]
async fn a_secret_of_the_instance_with_its_key_policy_and_labels_is_read_as_it_was_made() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let listed = provider.post("ListKmsInstances", &[&PAGE[..], &[REGION]].concat()).await;
    let instance = text(&listed["KmsInstances"]["KmsInstance"][0]["KmsInstanceId"]);
    let key = gateway.dev.key_id.as_str();
    let policy = json!({"Version": "1", "Statement": [{
        "Sid": "kms default secret policy",
        "Effect": "Allow",
        "Principal": {"RAM": [format!("acs:ram::{}:*", gateway.dev.account)]},
        "Action": ["kms:*"],
        "Resource": ["*"],
    }]});
    let policy = serde_json::to_string_pretty(&policy).unwrap();
    let id = ("SecretName", "tf-instance");
    let data = [id, ("SecretData", "x"), ("VersionId", "v1"), ("SecretDataType", "text")];
    let more = [
        ("SecretType", "Generic"),
        ("EncryptionKeyId", key),
        ("DKMSInstanceId", instance),
        ("Policy", &*policy),
    ];
    provider.post("CreateSecret", &[&data[..], &more].concat()).await;
    // With version_stages it puts the same version again, which changes nothing.
    let stages = ("VersionStages", r#"["ACSCurrent"]"#);
    provider.post("PutSecretValue", &[&data[..], &[stages]].concat()).await;
    let kept = provider.secret(id.1).await;
    assert_eq!(kept["EncryptionKeyId"], key);
    assert_eq!(kept["DKMSInstanceId"], instance);
    assert_eq!(kept["Policy"], policy);
    assert_eq!(kept["VersionStages"], json!(["ACSCurrent"]));
    let policy = policy.replace("kms default", "changed");
    provider.post("SetSecretPolicy", &[id, ("Policy", &*policy)]).await;
    assert_eq!(provider.secret(id.1).await["Policy"], policy);
}

#[tokio::test]
async fn the_data_sources_of_secrets_find_their_rows() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    for name in ["one", "two"] {
        let create = [("SecretName", name), ("VersionId", "v1"), ("SecretData", "first")];
        provider.post("CreateSecret", &create).await;
    }
    let one = ("SecretName", "one");
    for (version, stages) in [("v2", r#"["ACSCurrent"]"#), ("v3", r#"["mine"]"#)] {
        let put = [one, ("VersionId", version), ("SecretData", version), ("VersionStages", stages)];
        provider.post("PutSecretValue", &put).await;
    }
    let filters = r#"[{"Key":"SecretName", "Values":["one", "three"]}]"#;
    let form = [&PAGE[..], &[("FetchTags", "true"), ("Filters", filters)]].concat();
    let listed = provider.post("ListSecrets", &form).await;
    let rows = listed["SecretList"]["Secret"].as_array().unwrap();
    let [row] = &rows[..] else { panic!("{listed}") };
    assert_eq!(row["SecretName"], "one");
    // It takes each list for one without a check.
    assert_eq!(row["Tags"]["Tag"], json!([]));

    let form = [&PAGE[..], &[one, ("IncludeDeprecated", "true")]].concat();
    let listed = provider.post("ListSecretVersionIds", &form).await;
    assert_eq!(listed["SecretName"], "one");
    let versions = listed["VersionIds"]["VersionId"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    for version in versions {
        let id = text(&version["VersionId"]);
        for stage in version["VersionStages"]["VersionStage"].as_array().unwrap() {
            let form = [REGION, one, ("VersionId", id), ("VersionStage", text(stage))];
            let read = provider.post("GetSecretValue", &form).await;
            assert_eq!(read["SecretData"], if id == "v1" { "first" } else { id });
            assert_eq!(read["SecretDataType"], "text");
        }
    }
}
