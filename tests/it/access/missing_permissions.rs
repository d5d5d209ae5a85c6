//! Each operation is refused for a caller without permissions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::rpc::table::TABLE;
use hsmgate::cli::client::{CallError, Client};
use hsmgate::model::Api;

use crate::support::audit_file::records;
use crate::support::calls::refused;
use crate::support::gateway::text;
use crate::support::installation::{AccessKey, Installation, Server};

/// The operations that need no permission, and the one that names each refusal in its response.
const WITHOUT_PERMISSION: &[&str] =
    &["DescribeRegions", "GetCallerIdentity", "BatchGetSecretValue"];

const CONTEXT: (&str, &str) = ("EncryptionContext", r#"{"purpose":"backup"}"#);

/// A gateway with a key, somebody who may do everything and somebody who may do nothing.
struct TestAccount {
    installation: Installation,
    server: Server,
    admin: Client,
    nobody: Client,
    key: String,
    blob: String,
}

impl TestAccount {
    async fn open() -> Self {
        let (installation, admin) = Installation::prepared();
        let create = ["access-key", "create", "--user", "nobody", "--json"];
        let nobody = AccessKey::of(&installation.through_gateway(&create).json());
        let server = installation.serve();
        let (admin, nobody) = (server.client(&admin), server.client(&nobody));
        let created = admin.call("CreateKey", &[]).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        let alias = [("KeyId", key.as_str()), ("AliasName", "alias/there")];
        admin.call("CreateAlias", &alias).await.unwrap();
        let encrypt = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8="), CONTEXT];
        let encrypted = admin.call("Encrypt", &encrypt).await.unwrap();
        let blob = text(&encrypted["CiphertextBlob"]).to_owned();
        Self { installation, server, admin, nobody, key, blob }
    }

    /// Parameters with which every operation can be read.
    fn params(&self, action: &str) -> Vec<(&'static str, String)> {
        let algorithm = match action {
            "AsymmetricEncrypt" | "AsymmetricDecrypt" => "RSAES_OAEP_SHA_256",
            "GenerateMac" | "VerifyMac" => "HMAC_SHA_256",
            _ => "RSA_PSS_SHA_256",
        };
        let wrapping =
            if action.contains("Export") { "RSAES_OAEP_SHA_256" } else { "RSAES_OAEP_SHA_1" };
        let name_of_policy = if action.contains("Policy") { "default" } else { "a" };
        let digest = STANDARD.encode([7; 32]);
        let version = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
        let permissions = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;
        // The instance is named where nothing else is: elsewhere it would be one resource too many.
        let instance = match action {
            "GetKmsInstance" | "GetKmsInstanceQuotaInfos" => "KmsInstanceId",
            _ => "-",
        };
        // A key and a secret together would be two resources.
        let secret = if action.contains("Secret") { "SecretName" } else { "--" };
        [
            (instance, "kst-hzz0123456789abcdefgh"),
            (secret, "db/orders"),
            ("VersionId", "v1"),
            ("SecretsList", r#"[{"SecretName":"db/orders"}]"#),
            ("VersionStage", "ACSCurrent"),
            ("MoveToVersion", "v1"),
            ("SecretData", "x"),
            ("KeyId", self.key.as_str()),
            ("AliasName", "alias/there"),
            ("Plaintext", "SGVsbG8="),
            ("CiphertextBlob", &self.blob),
            CONTEXT,
            ("SourceEncryptionContext", CONTEXT.1),
            ("DestinationKeyId", &self.key),
            ("KeyVersionId", version),
            ("Algorithm", algorithm),
            ("Digest", &digest),
            ("Message", &digest),
            ("Mac", &digest),
            ("Value", &digest),
            ("WrappingAlgorithm", wrapping),
            ("WrappingKeySpec", "RSA_2048"),
            ("PublicKeyBlob", RSA_2048),
            ("PendingWindowInDays", "7"),
            ("Description", "x"),
            ("EncryptedKeyMaterial", &digest),
            ("ImportToken", &digest),
            ("KeyMaterialExpireUnix", "0"),
            ("Name", "a"),
            ("Type", "Private"),
            ("SourcePrivateIp", r#"["10.0.0.0/8"]"#),
            ("Permissions", permissions),
            ("Resources", r#"["key/*"]"#),
            ("Policies", r#"["a"]"#),
            ("AapName", "a"),
            ("Password", "Abcdef12"),
            ("ClientKeyId", "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf"),
            ("PolicyName", name_of_policy),
            ("Policy", KEY_POLICY),
            ("Tags", r#"[{"TagKey":"a","TagValue":"b"}]"#),
            ("TagKeys", r#"["a"]"#),
            ("RegionId", "cn-hangzhou"),
            ("ResourceType", "key"),
            ("ResourceId.1", &self.key),
            ("Tag.1.Key", "a"),
            ("Tag.1.Value", "b"),
            ("TagKey.1", "a"),
            ("EnableDeletionProtection", "true"),
            ("EnableAutomaticRotation", "true"),
            ("RotationInterval", "7d"),
            ("NumberOfBytes", "32"),
            ("RoleArn", "acs:ram::1234567890123456:role/ci"),
            ("RoleSessionName", "build-7"),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
    }
}

const KEY_POLICY: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Principal":{"RAM":["acs:ram::1234567890123456:*"]},"Action":["kms:*"],"Resource":["*"]}]}"#;

/// A public key of 2048 bits, in DER and Base64.
const RSA_2048: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA";

/// The code of a refusal in each API.
fn refusal_of(api: Api) -> &'static str {
    match api {
        Api::Kms => "Forbidden.NoPermission",
        Api::Sts => "NoPermission",
    }
}

#[tokio::test]
async fn every_operation_refuses_a_caller_without_rights() {
    let test_account = TestAccount::open().await;
    let (mut wrong, mut refused) = (Vec::new(), Vec::new());
    for entry in TABLE.iter() {
        let mut owned = test_account.params(entry.name);
        // A key policy is no session policy.
        owned.retain(|(name, _value)| entry.api == Api::Kms || *name != "Policy");
        let params: Vec<(&str, &str)> =
            owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let outcome =
            test_account.nobody.clone().with_api(entry.api).call(entry.name, &params).await;
        let is_right = match &outcome {
            Ok(_) => WITHOUT_PERMISSION.contains(&entry.name),
            Err(CallError::Refused { status, code, .. }) => {
                !WITHOUT_PERMISSION.contains(&entry.name)
                    && *status == 403
                    && code == refusal_of(entry.api)
            }
            Err(_) => false,
        };
        if !is_right {
            wrong.push(format!("{}: {outcome:?}", entry.name));
        }
        if let Err(CallError::Refused { request_id, .. }) = outcome {
            refused.push((entry, request_id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(refused.len(), TABLE.len() - WITHOUT_PERMISSION.len());
    let records = records(&test_account.installation.audit_file());
    for (entry, request_id) in refused {
        let name = entry.name;
        let record = records.iter().find(|it| {
            it["record"] == "event" && it["requestId"] == *request_id && it["eventName"] == name
        });
        let record = record.unwrap_or_else(|| panic!("the refusal of {name} is not on record"));
        assert_eq!(record["errorCode"], refusal_of(entry.api), "{name}");
        assert_eq!(record["userIdentity"]["userName"], "nobody", "{name}");
    }
    drop(test_account.server);
    drop(test_account.installation);
}

#[tokio::test]
async fn a_dry_run_of_a_caller_without_rights_is_denied() {
    let test_account = TestAccount::open().await;
    for entry in TABLE.iter().filter(|entry| entry.supports_dry_run) {
        let owned = test_account.params(entry.name);
        let mut params: Vec<(&str, &str)> =
            owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
        params.push(("DryRun", "true"));
        let denied = (403, "AccessDeniedError".to_owned());
        assert_eq!(
            refused(&test_account.nobody, entry.name, &params).await,
            denied,
            "{}",
            entry.name
        );
    }
}

#[tokio::test]
async fn a_refusal_does_not_tell_whether_a_key_is_there() {
    let test_account = TestAccount::open().await;
    let forbidden = (403, "Forbidden.NoPermission".to_owned());
    let absent_version =
        STANDARD.encode([b"46a9efd9-3d16-4894-bd4f-1fc43f3f2abf", &[7; 64][..]].concat());
    let arn = |id: &str| format!("acs:kms:cn-hangzhou:1234567890123456:key/{id}");
    let elsewhere = "acs:kms:cn-hangzhou:9999999999999999:key/key-hsm00000000000000000z";
    let absent = "key-hsm00000000000000000z";
    let plaintext = ("Plaintext", "SGVsbG8=");
    for key in [
        test_account.key.as_str(),
        absent,
        &arn(&test_account.key),
        &arn(absent),
        elsewhere,
        "alias/there",
        "alias/absent",
    ] {
        let id = ("KeyId", key);
        for (action, params) in [("Encrypt", vec![id, plaintext]), ("DescribeKey", vec![id])] {
            assert_eq!(
                refused(&test_account.nobody, action, &params).await,
                forbidden,
                "{action} {key}"
            );
        }
    }
    for blob in [&test_account.blob, &absent_version] {
        let params = [("CiphertextBlob", blob.as_str()), CONTEXT];
        assert_eq!(refused(&test_account.nobody, "Decrypt", &params).await, forbidden);
    }
    for alias in ["alias/there", "alias/absent"] {
        let params = [("AliasName", alias), ("KeyId", &test_account.key)];
        for action in ["DeleteAlias", "UpdateAlias", "CreateAlias"] {
            assert_eq!(refused(&test_account.nobody, action, &params).await, forbidden);
        }
    }
    // Whoever may describe keys is told.
    let missing = (404, "Forbidden.KeyNotFound".to_owned());
    for key in [absent, &arn(absent), elsewhere] {
        let params = [("KeyId", key), plaintext];
        assert_eq!(refused(&test_account.admin, "Encrypt", &params).await, missing);
    }
    let params = [("CiphertextBlob", absent_version.as_str())];
    assert_eq!(refused(&test_account.admin, "Decrypt", &params).await, missing);
    let missing = (404, "Forbidden.AliasNotFound".to_owned());
    assert_eq!(
        refused(&test_account.admin, "DescribeKey", &[("KeyId", "alias/absent")]).await,
        missing
    );
}

/// The parameters that name a key.
const KEY_PARAMETERS: [&str; 2] = ["KeyId", "DestinationKeyId"];

/// Every operation is asked which of these it reads: it refuses by name what can be no name.
#[tokio::test]
async fn every_operation_answers_an_impossible_key_name_as_an_unknown_key() {
    let test_account = TestAccount::open().await;
    let longest = "k".repeat(255);
    let (no_key, no_alias) = ("Forbidden.KeyNotFound", "Forbidden.AliasNotFound");
    let mut asked = Vec::new();
    for entry in TABLE.iter() {
        let owned = test_account.params(entry.name);
        for parameter in KEY_PARAMETERS {
            let call = async |client: &Client, name: &str| {
                let params: Vec<(&str, &str)> = owned
                    .iter()
                    .filter(|(other, _)| *other != parameter)
                    .map(|(name, value)| (*name, value.as_str()))
                    .chain([(parameter, name)])
                    .collect();
                client.call(entry.name, &params).await
            };
            match call(&test_account.admin, "a b").await {
                Err(CallError::Refused { status: 400, code, message, .. })
                    if code == "InvalidParameter"
                        && message.contains(&format!("\"{parameter}\"")) => {}
                _ => continue,
            }
            asked.push(format!("{}.{parameter}", entry.name));
            for (name, code) in [
                ("key-does-not-exist", no_key),
                ("46A9EFD9-3D16-4894-BD4F-1FC43F3F2ABF", no_key),
                ("acs:kms:cn-hangzhou:1234567890123456:key/gone", no_key),
                ("acs:kms:eu-central-1:1234567890123456:alias/there", no_key),
                (&longest, no_key),
                ("alias/", no_key),
                ("alias/acs/mse", no_alias),
                ("alias/a.b", no_alias),
                ("acs:kms:cn-hangzhou:1234567890123456:alias/acs/acm", no_alias),
            ] {
                match call(&test_account.admin, name).await {
                    Err(CallError::Refused { status, code: told, .. }) => {
                        assert_eq!((status, &*told), (404, code), "{} {name}", entry.name);
                    }
                    other => panic!("{} {parameter}={name}: {other:?}", entry.name),
                }
            }
            match call(&test_account.nobody, "key-does-not-exist").await {
                Err(CallError::Refused { status, code, .. }) => {
                    assert_eq!((status, &*code), (403, "Forbidden.NoPermission"), "{}", entry.name);
                }
                other => panic!("{}: {other:?}", entry.name),
            }
        }
    }
    assert!(asked.len() >= 30, "{asked:?}");
    assert!(asked.contains(&"ReEncrypt.DestinationKeyId".to_owned()), "{asked:?}");
}
