//! Account, region and the list of instances.

use crate::support::gateway::{Gateway, refusal, text};

#[tokio::test]
async fn the_service_is_open_and_cannot_be_opened_again() {
    let gateway = Gateway::start();
    let status = gateway.call("DescribeAccountKmsStatus", &[]).await;
    assert_eq!(text(&status["AccountStatus"]), "Enabled");
    assert_eq!(gateway.refused("OpenKmsService", &[]).await, refusal(400, "Forbidden.Opened"));
}

#[tokio::test]
async fn the_gateway_is_the_only_instance_and_keeps_its_id() {
    let gateway = Gateway::start();
    let default = gateway.call("GetDefaultKmsInstance", &[]).await;
    let id = text(&default["DefaultKmsInstanceId"]).to_owned();
    assert!(id.starts_with("kst-"), "{id}");

    let listed = gateway.call("ListKmsInstances", &[]).await;
    assert_eq!(listed["TotalCount"], 1);
    assert_eq!(listed["PageSize"], 20);
    let row = &listed["KmsInstances"]["KmsInstance"][0];
    assert_eq!(text(&row["KmsInstanceId"]), id);
    let dev = &gateway.dev;
    let arn = format!("acs:kms:{}:{}:keystore/{id}", dev.region, dev.account);
    assert_eq!(text(&row["KmsInstanceArn"]), arn);

    let described = gateway.call("GetKmsInstance", &[("KmsInstanceId", &id)]).await;
    assert_eq!(text(&described["KmsInstance"]["InstanceId"]), id);
    assert_eq!(text(&described["KmsInstance"]["Status"]), "Connected");
    let gateway = gateway.restart();
    let again = gateway.call("GetKmsInstance", &[("KmsInstanceId", &id)]).await;
    assert_eq!(again["KmsInstance"], described["KmsInstance"]);
}

#[tokio::test]
async fn the_quotas_count_the_existing_keys_and_secrets() {
    let gateway = Gateway::start();
    gateway.create_key().await;
    let secret = [("SecretName", "one"), ("VersionId", "v1"), ("SecretData", "value")];
    gateway.call("CreateSecret", &secret).await;
    let all = gateway.call("GetKmsInstanceQuotaInfos", &[]).await;
    assert_eq!(all["KmsInstanceQuotaInfos"].as_array().unwrap().len(), 10);
    let id = text(&all["KmsInstanceId"]);
    // The demo key, one more, and that of the secrets.
    for (kind, used, quota) in [("key", 3, 20_000), ("secret", 1, 10_000)] {
        let params = [("KmsInstanceId", id), ("ResourceType", kind)];
        let of_kind = gateway.call("GetKmsInstanceQuotaInfos", &params).await;
        let quotas = of_kind["KmsInstanceQuotaInfos"].as_array().unwrap();
        assert_eq!(quotas.len(), 1);
        let shown = (&quotas[0]["UsedQuantity"], &quotas[0]["ResourceQuota"]);
        assert_eq!(shown, (&used.into(), &quota.into()), "{kind}");
    }
    let described = gateway.call("GetKmsInstance", &[("KmsInstanceId", id)]).await;
    assert_eq!(text(&described["KmsInstance"]["SecretNum"]), "10000");
    let refused = gateway.refused("GetKmsInstanceQuotaInfos", &[("ResourceType", "moon")]).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
}

#[tokio::test]
async fn another_instance_is_not_found_and_none_is_bought_or_released() {
    let gateway = Gateway::start();
    let other = [("KmsInstanceId", "kst-hzz62f1cb66fa42qo1234")];
    for action in ["GetKmsInstance", "GetKmsInstanceQuotaInfos"] {
        let refused = gateway.refused(action, &other).await;
        assert_eq!(refused, refusal(403, "Forbidden.DKMSInstanceNotFound"), "{action}");
    }
    for action in ["ConnectKmsInstance", "ReleaseKmsInstance", "UpdateKmsInstanceBindVpc"] {
        let refused = gateway.refused(action, &other).await;
        assert_eq!(refused, refusal(400, "UnsupportedOperation"), "{action}");
    }
}

#[tokio::test]
async fn a_key_shows_its_instance_if_its_owner_named_it() {
    let gateway = Gateway::start();
    let default = gateway.call("GetDefaultKmsInstance", &[]).await;
    let id = text(&default["DefaultKmsInstanceId"]);
    let key = gateway.create_key_with(&[("DKMSInstanceId", id)]).await;
    assert_eq!(text(&gateway.describe(&key).await["DKMSInstanceId"]), id);
    assert_eq!(text(&gateway.describe(&gateway.dev.key_id).await["DKMSInstanceId"]), "");
    let filters = format!(r#"[{{"Key":"DKMSInstanceId","Values":["{id}"]}}]"#);
    let listed = gateway.call("ListKeys", &[("Filters", &filters)]).await;
    assert_eq!(listed["TotalCount"], 1);
}

/// The Go SDKs up to v3.3.1 declare both lists as text and cannot decode an empty list.
#[tokio::test]
async fn the_instance_has_no_invented_network_and_is_found_by_its_name() {
    let gateway = Gateway::start();
    let default = gateway.call("GetDefaultKmsInstance", &[]).await;
    let id = text(&default["DefaultKmsInstanceId"]).to_owned();
    let described = gateway.call("GetKmsInstance", &[("KmsInstanceId", &id)]).await;
    let members = described["KmsInstance"].as_object().unwrap();
    assert!(!members.contains_key("VswitchIds") && !members.contains_key("ZoneIds"), "{members:?}");

    let name = text(&members["InstanceName"]);
    for (value, count) in [(name, 1), ("another", 0)] {
        let filters = format!(r#"[{{"Key":"InstanceName","Values":["{value}"]}}]"#);
        let listed = gateway.call("ListKmsInstances", &[("Filters", &filters)]).await;
        assert_eq!(listed["TotalCount"], count, "{value}");
    }
    let unknown = [("Filters", r#"[{"Key":"Status","Values":["Connected"]}]"#)];
    let refused = gateway.refused("ListKmsInstances", &unknown).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
}
