//! Network rules, policies, access points, client keys.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Gateway, text};

const USER: &str = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;

/// A rule, a policy that names it, and an access point that names the policy.
async fn chain(gateway: &Gateway) {
    let rule = [("Name", "office"), ("Type", "Private"), ("SourcePrivateIp", r#"["10.0.0.0/8"]"#)];
    gateway.call("CreateNetworkRule", &rule).await;
    let policy = [
        ("Name", "payments"),
        ("Permissions", USER),
        ("Resources", r#"["key/*"]"#),
        ("AccessControlRules", r#"{"NetworkRules":["office"]}"#),
    ];
    gateway.call("CreatePolicy", &policy).await;
    let point = [("Name", "shop"), ("Policies", r#"["payments"]"#)];
    gateway.call("CreateApplicationAccessPoint", &point).await;
}

fn without_request_id(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("RequestId");
    answer
}

#[tokio::test]
async fn every_document_is_described_as_it_was_made() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let arn = |resource: &str| {
        format!("acs:kms:{}:{}:{resource}", gateway.dev.region, gateway.dev.account)
    };
    let rule = gateway.call("DescribeNetworkRule", &[("Name", "office")]).await;
    let expected = json!({"Arn": arn("network/office"), "Type": "Private", "Description": "",
        "SourcePrivateIp": r#"["10.0.0.0/8"]"#});
    assert_eq!(without_request_id(rule), expected);
    let policy = gateway.call("DescribePolicy", &[("Name", "payments")]).await;
    let expected = json!({"Arn": arn("policy/payments"), "Name": "payments", "Description": "",
        "KmsInstance": "", "Permissions": ["RbacPermission/Template/CryptoServiceKeyUser"],
        "Resources": ["key/*"], "AccessControlRules": r#"{"NetworkRules":["office"]}"#});
    assert_eq!(without_request_id(policy), expected);
    let point = gateway.call("DescribeApplicationAccessPoint", &[("Name", "shop")]).await;
    let expected = json!({"Arn": arn("applicationaccesspoint/shop"), "Name": "shop",
        "Description": "", "AuthenticationMethod": "ClientKey", "Policies": r#"["payments"]"#});
    assert_eq!(without_request_id(point), expected);
}

#[tokio::test]
async fn documents_outlive_a_restart_with_their_changes() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let name = ("Name", "office");
    let change = [name, ("SourcePrivateIp", r#"["::1"]"#), ("Description", "home")];
    gateway.call("UpdateNetworkRule", &change).await;
    let change = [("Name", "payments"), ("Resources", r#"["secret/*"]"#)];
    gateway.call("UpdatePolicy", &change).await;
    gateway.call("UpdateApplicationAccessPoint", &[("Name", "shop"), ("Description", "s")]).await;
    let gateway = gateway.restart();
    let rule = gateway.call("DescribeNetworkRule", &[name]).await;
    assert_eq!(
        (&rule["SourcePrivateIp"], &rule["Description"]),
        (&json!(r#"["::1"]"#), &json!("home"))
    );
    let policy = gateway.call("DescribePolicy", &[("Name", "payments")]).await;
    assert_eq!(policy["Resources"], json!(["secret/*"]));
    assert_eq!(policy["AccessControlRules"], r#"{"NetworkRules":["office"]}"#);
    let point = gateway.call("DescribeApplicationAccessPoint", &[("Name", "shop")]).await;
    assert_eq!(
        (&point["Description"], &point["Policies"]),
        (&json!("s"), &json!(r#"["payments"]"#))
    );
}

#[tokio::test]
async fn lists_are_wrapped_twice_and_paged() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let rules = gateway.call("ListNetworkRules", &[]).await;
    let row = json!([{"Name": "office", "Type": "Private"}]);
    assert_eq!(rules["NetworkRules"]["NetworkRule"], row);
    assert_eq!((&rules["TotalCount"], &rules["PageSize"]), (&json!(1), &json!(20)));
    let policies = gateway.call("ListPolicies", &[("PageSize", "1"), ("PageNumber", "2")]).await;
    assert_eq!(policies["Policies"]["Policy"], json!([]));
    assert_eq!((&policies["TotalCount"], &policies["PageNumber"]), (&json!(1), &json!(2)));
    let points = gateway.call("ListApplicationAccessPoints", &[]).await;
    let row = json!([{"Name": "shop", "AuthenticationMethod": "ClientKey"}]);
    assert_eq!(points["ApplicationAccessPoints"]["ApplicationAccessPoint"], row);
    let refused = gateway.refused("ListPolicies", &[("PageSize", "101")]).await;
    assert_eq!(refused, (400, "InvalidParameter".to_owned()));
}

#[tokio::test]
async fn what_is_named_by_something_else_is_not_deleted() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let client_key = [("AapName", "shop"), ("Password", "opens-it-1")];
    let client_key = gateway.call("CreateClientKey", &client_key).await;
    let in_use = (409, "Rejected.ResourceInUse".to_owned());
    let documents = [
        ("DeleteNetworkRule", ("Name", "office")),
        ("DeletePolicy", ("Name", "payments")),
        ("DeleteApplicationAccessPoint", ("Name", "shop")),
        ("DeleteClientKey", ("ClientKeyId", text(&client_key["ClientKeyId"]))),
    ];
    for (action, name) in &documents[..3] {
        assert_eq!(gateway.refused(action, &[*name]).await, in_use, "{action}");
    }
    for (action, name) in documents.iter().rev() {
        gateway.call(action, &[*name]).await;
        let gone = (404, "Forbidden.ResourceNotFound".to_owned());
        assert_eq!(gateway.refused(action, &[*name]).await, gone, "{action}");
    }
}

#[tokio::test]
async fn a_name_is_the_only_one_and_what_it_names_is_there() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let exists = (409, "Rejected.ResourceExist".to_owned());
    let rule = [("Name", "office"), ("Type", "Private")];
    assert_eq!(gateway.refused("CreateNetworkRule", &rule).await, exists);
    let point = [("Name", "shop"), ("Policies", r#"["payments"]"#)];
    assert_eq!(gateway.refused("CreateApplicationAccessPoint", &point).await, exists);
    let absent = (404, "Forbidden.ResourceNotFound".to_owned());
    let point = [("Name", "other"), ("Policies", r#"["refunds"]"#)];
    assert_eq!(gateway.refused("CreateApplicationAccessPoint", &point).await, absent);
    let change = [("Name", "payments"), ("AccessControlRules", r#"{"NetworkRules":["home"]}"#)];
    assert_eq!(gateway.refused("UpdatePolicy", &change).await, absent);
    for action in ["DescribeNetworkRule", "UpdateNetworkRule", "DescribePolicy", "UpdatePolicy"] {
        assert_eq!(gateway.refused(action, &[("Name", "none")]).await, absent, "{action}");
    }
    let client_key = [("AapName", "none"), ("Password", "opens-it-1")];
    assert_eq!(gateway.refused("CreateClientKey", &client_key).await, absent);
    let id = ("ClientKeyId", "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf");
    assert_eq!(gateway.refused("GetClientKey", &[id]).await, absent);
}

#[tokio::test]
async fn what_a_document_cannot_hold_is_refused() {
    let gateway = Gateway::start();
    let rule = |kind, addresses| [("Name", "r"), ("Type", kind), ("SourcePrivateIp", addresses)];
    let policy = |permissions, resources| {
        [("Name", "p"), ("Permissions", permissions), ("Resources", resources)]
    };
    let point = |policies, method| {
        [("Name", "a"), ("Policies", policies), ("AuthenticationMethod", method)]
    };
    let client_key = |password, from, to| {
        vec![("AapName", "a"), ("Password", password), ("NotBefore", from), ("NotAfter", to)]
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    for (action, params) in [
        ("CreateNetworkRule", rule("Public", "[]").to_vec()),
        ("CreateNetworkRule", rule("Private", "10.0.0.1").to_vec()),
        ("CreatePolicy", policy("[]", r#"["key/*"]"#).to_vec()),
        ("CreatePolicy", policy(USER, r#"["*"]"#).to_vec()),
        ("CreateApplicationAccessPoint", point("[]", "ClientKey").to_vec()),
        ("CreateApplicationAccessPoint", point(r#"["p"]"#, "Password").to_vec()),
        ("CreateClientKey", client_key("too-1", early, late)),
        ("CreateClientKey", client_key("onlyletters", early, late)),
        ("CreateClientKey", client_key("opens-it-1", late, early)),
        ("CreateClientKey", client_key("opens-it-1", early, "")),
        ("CreateClientKey", client_key("opens-it-1", "", late)),
    ] {
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{action} {params:?}");
    }
}

#[tokio::test]
async fn a_client_key_opens_with_openssl_and_its_private_half_is_not_told_again() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let (early, late) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let params =
        [("AapName", "shop"), ("Password", "opens-it-1"), ("NotBefore", early), ("NotAfter", late)];
    let made = gateway.call("CreateClientKey", &params).await;
    assert_eq!(text(&made["KeyAlgorithm"]), "RSA_2048");
    assert_eq!((text(&made["NotBefore"]), text(&made["NotAfter"])), (early, late));

    let pkcs12 = STANDARD.decode(text(&made["PrivateKeyData"])).unwrap();
    let about =
        openssl(&["pkcs12", "-legacy", "-info", "-noout", "-passin", "pass:opens-it-1"], &pkcs12);
    let bags: Vec<_> = about.lines().collect();
    assert_eq!(
        bags,
        [
            "MAC: sha1, Iteration 2048",
            "MAC length: 20, salt length: 8",
            "PKCS7 Encrypted data: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
            "Certificate bag",
            "PKCS7 Data",
            "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
        ]
    );
    let arguments = ["pkcs12", "-legacy", "-nodes", "-passin", "pass:opens-it-1"];
    let opened = openssl(&arguments, &pkcs12);
    let certificate = openssl(&["x509"], opened.as_bytes());
    let of_key = openssl(&["rsa", "-pubout"], opened.as_bytes());
    let of_certificate = openssl(&["x509", "-noout", "-pubkey"], opened.as_bytes());
    assert_eq!(of_key, of_certificate);
    let shown = openssl(&["x509", "-noout", "-text"], opened.as_bytes());
    for line in ["Digital Signature", "sha256WithRSAEncryption", "Jan  1 00:00:00 2027 GMT"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }

    let id = text(&made["ClientKeyId"]);
    let kept = gateway.call("GetClientKey", &[("ClientKeyId", id)]).await;
    assert_eq!(text(&kept["PublicKeyData"]).replace('\r', ""), certificate);
    let kept = without_request_id(kept);
    assert_eq!(kept["KeyOrigin"], "KMS_PROVIDED");
    assert!(kept.get("PrivateKeyData").is_none());
    let listed = gateway.call("ListClientKeys", &[("AapName", "shop")]).await;
    assert_eq!(listed["ClientKeys"], json!([kept]));
    let of_another = gateway.call("ListClientKeys", &[("AapName", "other")]).await;
    assert_eq!(of_another["ClientKeys"], json!([]));
}

/// What openssl says, on both channels, about what it is given.
fn openssl(arguments: &[&str], input: &[u8]) -> String {
    let mut process = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    if text.is_empty() { errors } else { text }
}
