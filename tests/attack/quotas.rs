//! Callers that create objects without end.

use hsmgate::cli::client::Client;
use serde_json::Value;

use crate::support::calls::code;
use crate::support::client_key::PASSWORD;
use crate::support::gateway::text;
use crate::support::installation::Installation;

const LIMIT: &str = "Rejected.LimitExceeded";
const PERMISSIONS: (&str, &str) = ("Permissions", "[]");

fn with_quotas(quotas: &str) -> (Installation, Client, crate::support::installation::Server) {
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| text.extend(["[quotas]\n", quotas, "\n"]));
    let server = installation.serve();
    let admin = server.client(&admin);
    (installation, admin, server)
}

async fn create_key(client: &Client, params: &[(&str, &str)]) -> String {
    let made = client.call("CreateKey", params).await.unwrap();
    text(&made["KeyMetadata"]["KeyId"]).to_owned()
}

#[tokio::test]
async fn no_caller_exceeds_a_quota_of_keys_versions_aliases_or_import_tokens() {
    let quotas = "keys = 3\nkey_versions = 2\naliases = 2\nimport_tokens = 1";
    let (installation, admin, _server) = with_quotas(quotas);
    let key = create_key(&admin, &[]).await;
    let external = create_key(&admin, &[("Origin", "EXTERNAL")]).await;
    create_key(&admin, &[]).await;
    let objects = installation.token_objects();
    for params in [&[][..], &[("Origin", "EXTERNAL")], &[("KeySpec", "RSA_2048")]] {
        assert_eq!(code(&admin, "CreateKey", params).await, LIMIT, "{params:?}");
    }

    let named = [("KeyId", key.as_str())];
    assert_eq!(code(&admin, "CreateKeyVersion", &named).await, "");
    assert_eq!(code(&admin, "CreateKeyVersion", &named).await, LIMIT);
    assert_eq!(installation.token_objects(), objects + 1);

    // Calls at the same time.
    let alias = async |name: &str| {
        code(&admin, "CreateAlias", &[("KeyId", key.as_str()), ("AliasName", name)]).await
    };
    let outcomes =
        tokio::join!(alias("alias/a"), alias("alias/b"), alias("alias/c"), alias("alias/d"));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    assert_eq!(outcomes.iter().filter(|code| *code == LIMIT).count(), 2, "{outcomes:?}");
    let aliases = admin.call("ListAliases", &[]).await.unwrap();
    let name = text(&aliases["Aliases"]["Alias"][0]["AliasName"]).to_owned();
    assert_eq!(code(&admin, "DeleteAlias", &[("AliasName", &name)]).await, "");
    assert_eq!(alias("alias/e").await, "");
    // An operator is not limited.
    installation.configured(&["alias", "create", "alias/acs/mse", &key]).done();

    let wrapping = |algorithm| {
        [
            ("KeyId", external.as_str()),
            ("WrappingKeySpec", "RSA_2048"),
            ("WrappingAlgorithm", algorithm),
        ]
    };
    let parameters = "GetParametersForImport";
    assert_eq!(code(&admin, parameters, &wrapping("RSAES_OAEP_SHA_1")).await, "");
    let objects = installation.token_objects();
    assert_eq!(code(&admin, parameters, &wrapping("RSAES_PKCS1_V1_5")).await, LIMIT);
    assert_eq!(code(&admin, parameters, &wrapping("RSAES_OAEP_SHA_1")).await, "");
    assert_eq!(installation.token_objects(), objects, "the new pair replaces the earlier one");
}

#[tokio::test]
async fn no_caller_exceeds_a_quota_of_access_documents_or_client_keys() {
    let quotas = "network_rules = 1\npolicies = 1\naccess_points = 1\nclient_keys = 2";
    let (_installation, admin, _server) = with_quotas(quotas);
    let creation = |kind: &'static str, name: &'static str| match kind {
        "NetworkRule" => vec![("Name", name), ("Type", "Private")],
        "Policy" => vec![("Name", name), PERMISSIONS, ("Resources", "[]")],
        _ => vec![("Name", name), ("Policies", "[]")],
    };
    for kind in ["NetworkRule", "Policy", "ApplicationAccessPoint"] {
        let (create, delete) = (format!("Create{kind}"), format!("Delete{kind}"));
        assert_eq!(code(&admin, &create, &creation(kind, "a")).await, "", "{create}");
        assert_eq!(code(&admin, &create, &creation(kind, "b")).await, LIMIT, "{create}");
        assert_eq!(code(&admin, &delete, &[("Name", "a")]).await, "", "{delete}");
        assert_eq!(code(&admin, &create, &creation(kind, "b")).await, "", "{create}");
    }
    let client_key = [("AapName", "b"), ("Password", PASSWORD)];
    let first = admin.call("CreateClientKey", &client_key).await.unwrap();
    assert_eq!(code(&admin, "CreateClientKey", &client_key).await, "");
    assert_eq!(code(&admin, "CreateClientKey", &client_key).await, LIMIT);
    let id = [("ClientKeyId", text(&first["ClientKeyId"]))];
    assert_eq!(code(&admin, "DeleteClientKey", &id).await, "");
    assert_eq!(code(&admin, "CreateClientKey", &client_key).await, "");

    let quotas = admin.call("GetKmsInstanceQuotaInfos", &[]).await.unwrap();
    let quota = |kind: &str| -> Vec<Value> {
        let rows = quotas["KmsInstanceQuotaInfos"].as_array().unwrap();
        let row = rows.iter().find(|row| row["ResourceType"] == kind).unwrap();
        vec![row["ResourceQuota"].clone(), row["UsedQuantity"].clone()]
    };
    assert_eq!(quota("clientkey"), [2, 2]);
    assert_eq!(quota("applicationaccesspoint"), [1, 1]);
    assert_eq!(quota("key"), [20_000, 0]);
}
