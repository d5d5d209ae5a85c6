//! Key policies: read and replace.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, refusal, text};

fn policy(account: &str) -> String {
    json!({
        "Version": "1",
        "Statement": [
            {
                "Sid": "all",
                "Effect": "Allow",
                "Principal": {"RAM": [format!("acs:ram::{account}:*")]},
                "Action": ["kms:*"],
                "Resource": ["*"],
            },
            {
                "Effect": "Allow",
                "Principal": {"RAM": [format!("acs:ram::{account}:user/reader")]},
                "Action": ["kms:List*", "kms:Describe*"],
                "Resource": ["*"],
                "Condition": {"StringEquals": {"kms:tag/team": "orders"}},
            },
        ],
    })
    .to_string()
}

#[tokio::test]
async fn a_key_without_a_policy_of_its_own_has_the_default_one() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    for params in [vec![id], vec![id, ("PolicyName", "default")]] {
        let answer = gateway.call("GetKeyPolicy", &params).await;
        let document: Value = serde_json::from_str(text(&answer["Policy"])).unwrap();
        let statement = &document["Statement"][0];
        assert_eq!(text(&statement["Sid"]), "kms default key policy");
        let principal = format!("acs:ram::{}:*", gateway.dev.account);
        assert_eq!(statement["Principal"], json!({"RAM": [principal]}));
    }
}

#[tokio::test]
async fn a_policy_is_returned_unchanged() {
    let gateway = Gateway::start();
    let text_of_policy = format!(" {}", policy(&gateway.dev.account));
    let own = ("Policy", text_of_policy.as_str());
    let made_with_it = gateway.create_key_with(&[own]).await;
    let arn = format!(
        "acs:kms:{}:{}:key/{}",
        gateway.dev.region, gateway.dev.account, gateway.dev.key_id
    );
    gateway.call("SetKeyPolicy", &[("KeyId", &arn), own]).await;
    for key in [made_with_it.as_str(), &arn] {
        let answer = gateway.call("GetKeyPolicy", &[("KeyId", key)]).await;
        assert_eq!(text(&answer["Policy"]), text_of_policy);
    }
}

#[tokio::test]
async fn an_invalid_policy_and_another_policy_name_are_refused() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    let good = policy(&gateway.dev.account);
    let long = format!("{good}{}", " ".repeat(32_769 - good.len()));
    for bad in ["x", "{}", &good.replace("kms:*", "oss:*"), &long] {
        for (action, params) in [("SetKeyPolicy", vec![id]), ("CreateKey", vec![])] {
            let params = [params, vec![("Policy", bad)]].concat();
            let refused = gateway.refused(action, &params).await;
            assert_eq!(refused, refusal(400, "InvalidParameter"), "{action}");
        }
    }
    // Nobody of the account could ever change it again.
    let lost = good.replace(&gateway.dev.account, "9999999999999999");
    let refused = gateway.refused("SetKeyPolicy", &[id, ("Policy", &lost)]).await;
    assert_eq!(refused, refusal(400, "InvalidParameter"));
    assert_eq!(gateway.refused("SetKeyPolicy", &[id]).await, refusal(400, "MissingParameter"));
    let other = ("PolicyName", "other");
    let not_found = refusal(404, "Forbidden.ResourceNotFound");
    assert_eq!(gateway.refused("GetKeyPolicy", &[id, other]).await, not_found);
    assert_eq!(gateway.refused("SetKeyPolicy", &[id, other, ("Policy", &good)]).await, not_found);
}
