//! Each operation with DryRun: it checks everything and changes nothing.

use std::collections::BTreeMap;

use hsmgate::api::rpc::table::TABLE;
use hsmgate::cli::client::{CallError, Client};

use crate::support::gateway::text;
use crate::support::installation::Installation;

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const DIGEST: &str = "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
const OAEP: &str = "RSAES_OAEP_SHA_256";
const PSS: &str = "RSA_PSS_SHA_256";

/// The tables of what callers can change. The others hold last uses and what the audit remembers.
const TABLES: &[&str] = &[
    "keys",
    "key_versions",
    "aliases",
    "key_tombstones",
    "documents",
    "principals",
    "secrets",
    "secret_versions",
    "secret_tombstones",
];

type Params = Vec<(&'static str, String)>;

/// One good request of each operation that takes DryRun.
async fn requests(client: &Client) -> BTreeMap<&'static str, Params> {
    let key = |params: &'static [(&str, &str)]| async move {
        let made = client.call("CreateKey", params).await.unwrap();
        let id = text(&made["KeyMetadata"]["KeyId"]).to_owned();
        let versions = client.call("ListKeyVersions", &[("KeyId", &id)]).await.unwrap();
        (id, text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]).to_owned())
    };
    let (used, _) = key(&[]).await;
    // Nothing has been encrypted with it, so that the first encryption shows in the store.
    let (fresh, _) = key(&[]).await;
    let pair = key(&[("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")]).await;
    let signer = key(&[("KeySpec", "RSA_2048"), ("KeyUsage", "SIGN/VERIFY")]).await;
    let (mac, _) = key(&[("KeySpec", "HMAC_SHA_256"), ("KeyUsage", "GENERATE/VERIFY_MAC")]).await;
    let made = async |action: &str, params: &Params, field: &str| {
        let params: Vec<_> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        text(&client.call(action, &params).await.unwrap()[field]).to_owned()
    };
    let with = |params: &Params, more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        params.iter().cloned().chain(more).collect::<Params>()
    };
    let of = |key: &str| with(&Params::new(), &[("KeyId", key)]);
    let of_pair = |(id, version): &(String, String)| with(&of(id), &[("KeyVersionId", version)]);

    let encrypt = with(&of(&fresh), &[("Plaintext", PLAINTEXT)]);
    let blob =
        made("Encrypt", &with(&of(&used), &[("Plaintext", PLAINTEXT)]), "CiphertextBlob").await;
    let decrypt = with(&Params::new(), &[("CiphertextBlob", &blob)]);
    let re_encrypt = with(&decrypt, &[("DestinationKeyId", &fresh)]);
    let secret = with(&Params::new(), &[("SecretName", "db")]);
    let new_secret = with(&secret, &[("VersionId", "v1"), ("SecretData", "x")]);
    made("CreateSecret", &new_secret, "SecretName").await;
    let public = made("GetPublicKey", &of_pair(&pair), "PublicKey").await;
    let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let wrapping =
        [("WrappingAlgorithm", OAEP), ("WrappingKeySpec", "RSA_2048"), ("PublicKeyBlob", &public)];
    let to_pair = with(&of_pair(&pair), &[("Algorithm", OAEP)]);
    let encrypt_to_pair = with(&to_pair, &[("Plaintext", PLAINTEXT)]);
    let encrypted = made("AsymmetricEncrypt", &encrypt_to_pair, "CiphertextBlob").await;
    let sign = with(&of_pair(&signer), &[("Algorithm", PSS), ("Digest", DIGEST)]);
    let signature = made("AsymmetricSign", &sign, "Value").await;
    let mac = with(&of(&mac), &[("Algorithm", "HMAC_SHA_256"), ("Message", PLAINTEXT)]);
    let code = made("GenerateMac", &mac, "Mac").await;
    [
        ("Encrypt", encrypt),
        ("ReEncrypt", re_encrypt),
        ("GenerateDataKey", of(&fresh)),
        ("GenerateDataKeyWithoutPlaintext", of(&fresh)),
        ("GenerateAndExportDataKey", with(&of(&fresh), &wrapping)),
        ("ExportDataKey", with(&decrypt, &wrapping)),
        ("Decrypt", decrypt),
        ("AsymmetricEncrypt", encrypt_to_pair),
        ("AsymmetricDecrypt", with(&to_pair, &[("CiphertextBlob", &encrypted)])),
        ("AsymmetricVerify", with(&sign, &[("Value", &signature)])),
        ("AsymmetricSign", sign),
        ("GetPublicKey", of_pair(&signer)),
        ("VerifyMac", with(&mac, &[("Mac", &code)])),
        ("GenerateMac", mac),
        ("GetSecretValue", secret),
    ]
    .into()
}

/// Every row of every table, and how many objects the token has.
async fn state(installation: &Installation) -> (BTreeMap<&'static str, Vec<String>>, usize) {
    let mut database = installation.database().await;
    let mut rows = BTreeMap::new();
    for table in TABLES {
        let columns = format!(
            "SELECT group_concat('quote(' || name || ')', ' || ''|'' || ') \
             FROM pragma_table_info('{table}')"
        );
        let columns: String = sqlx::query_scalar(sqlx::AssertSqlSafe(columns))
            .fetch_one(&mut database)
            .await
            .unwrap();
        let all = format!("SELECT {columns} FROM {table} ORDER BY 1");
        let all = sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_all(&mut database).await;
        rows.insert(*table, all.unwrap());
    }
    (rows, installation.token_objects())
}

#[tokio::test]
async fn a_dry_run_of_every_operation_that_takes_it_leaves_store_and_token_as_they_were() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&user);
    let requests = requests(&client).await;
    let names: Vec<_> =
        TABLE.iter().filter(|entry| entry.supports_dry_run).map(|entry| entry.name).collect();
    assert!(names.len() >= requests.len(), "{names:?}");
    let before = state(&installation).await;
    let call = async |name: &str, dry_run: &str| {
        let params = requests.get(name).unwrap_or_else(|| panic!("no request of {name}"));
        let params = params.iter().map(|(name, value)| (*name, value.as_str()));
        let params: Vec<_> = params.chain([("DryRun", dry_run)]).collect();
        client.call(name, &params).await
    };
    for name in &names {
        match call(name, "true").await {
            Err(CallError::Refused { status: 400, code, .. }) if code == "DryRunOperationError" => {
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(state(&installation).await, before);
    for name in &names {
        call(name, "false").await.unwrap();
    }
    assert_ne!(state(&installation).await, before, "the same requests are seen in the store");
    for name in &names {
        match call(name, "perhaps").await {
            Err(CallError::Refused { status: 400, code, .. }) if code == "InvalidParameter" => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}
