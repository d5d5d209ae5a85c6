//! Network rules, policies, access points and client keys: create, read, change, delete.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, text};

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
async fn documents_and_their_changes_survive_a_restart() {
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
async fn a_document_is_deleted_once_even_if_it_is_referenced() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let client_key = [("AapName", "shop"), ("Password", "opens-it-1")];
    let client_key = gateway.call("CreateClientKey", &client_key).await;
    for (action, name) in [
        ("DeleteNetworkRule", ("Name", "office")),
        ("DeletePolicy", ("Name", "payments")),
        ("DeleteApplicationAccessPoint", ("Name", "shop")),
        ("DeleteClientKey", ("ClientKeyId", text(&client_key["ClientKeyId"]))),
    ] {
        gateway.call(action, &[name]).await;
        let gone = (404, "Forbidden.ResourceNotFound".to_owned());
        assert_eq!(gateway.refused(action, &[name]).await, gone, "{action}");
    }
}

#[tokio::test]
async fn a_name_is_unique_and_its_references_may_be_missing() {
    let gateway = Gateway::start();
    chain(&gateway).await;
    let exists = (409, "Rejected.ResourceExist".to_owned());
    let rule = [("Name", "office"), ("Type", "Private")];
    assert_eq!(gateway.refused("CreateNetworkRule", &rule).await, exists);
    let point = [("Name", "shop"), ("Policies", r#"["payments"]"#)];
    assert_eq!(gateway.refused("CreateApplicationAccessPoint", &point).await, exists);
    let point = [("Name", "other"), ("Policies", r#"["refunds"]"#)];
    gateway.call("CreateApplicationAccessPoint", &point).await;
    let change = [("Name", "payments"), ("AccessControlRules", r#"{"NetworkRules":["home"]}"#)];
    gateway.call("UpdatePolicy", &change).await;
    let absent = (404, "Forbidden.ResourceNotFound".to_owned());
    for action in ["DescribeNetworkRule", "UpdateNetworkRule", "DescribePolicy", "UpdatePolicy"] {
        assert_eq!(gateway.refused(action, &[("Name", "none")]).await, absent, "{action}");
    }
    let client_key = [("AapName", "none"), ("Password", "opens-it-1")];
    assert_eq!(gateway.refused("CreateClientKey", &client_key).await, absent);
    let id = ("ClientKeyId", "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf");
    assert_eq!(gateway.refused("GetClientKey", &[id]).await, absent);
}

/// Clients such as Terraform take every difference for a change that somebody else has made.
#[tokio::test]
async fn every_text_of_a_document_is_returned_unchanged() {
    let gateway = Gateway::start();
    let user = r#""RbacPermission/Template/CryptoServiceKeyUser""#;
    let secrets = r#""RbacPermission/Template/CryptoServiceSecretUser""#;
    let rules = "{\r\n  \"NetworkRules\": [\n\t\"later\",  \"office\",\n\t\"later\" ]\n}\n";
    let (twice, both) = (format!("[{user}, {user}]"), format!("[ {secrets},{user} ]"));
    let addresses = r#"[ "10.10.10.10/24", "::1", "10.10.10.10/24" ]"#;
    let (name, none) = (("Name", "a"), r#"{"NetworkRules":[]}"#);

    let rule = [name, ("Type", "Private"), ("SourcePrivateIp", addresses)];
    let made = gateway.call("CreateNetworkRule", &rule).await;
    assert_eq!(text(&made["SourcePrivateIp"]), addresses);
    let policies = r#"["abc", "a", "abc"]"#;
    let point = [name, ("Policies", policies)];
    let made = gateway.call("CreateApplicationAccessPoint", &point).await;
    assert_eq!(text(&made["Policies"]), policies);
    let policy =
        [name, ("Permissions", &*twice), ("Resources", r#"["key/a*","key/a*","secret/db*"]"#)];
    let made = gateway.call("CreatePolicy", &policy).await;
    assert_eq!((text(&made["Permissions"]), text(&made["AccessControlRules"])), (&*twice, none));

    let described = async |gateway: &Gateway| {
        let policy = gateway.call("DescribePolicy", &[name]).await;
        let rules = text(&policy["AccessControlRules"]).to_owned();
        (policy["Permissions"].to_string(), policy["Resources"].to_string(), rules)
    };
    let is = |permissions: &str, resources: &str, rules: &str| {
        (permissions.replace(' ', ""), resources.to_owned(), rules.to_owned())
    };
    let first = is(&twice, r#"["key/a*","key/a*","secret/db*"]"#, none);
    assert_eq!(described(&gateway).await, first);
    // Wider, narrower, repeated, in another order, and nothing at all.
    for (permissions, resources, rules) in [
        (&*both, r#"["secret/*","key/*"]"#, rules),
        (&*twice, r#"["key/key-does-not-exist","key/*","secret/*"]"#, "{}"),
        ("[]", r#"["key/*"]"#, " {\"NetworkRules\":[\"office\"]}"),
        (&*both, "[]", rules),
    ] {
        let change = [
            name,
            ("Permissions", permissions),
            ("Resources", resources),
            ("AccessControlRules", rules),
        ];
        gateway.call("UpdatePolicy", &change).await;
        assert_eq!(described(&gateway).await, is(permissions, resources, rules));
    }
    for policies in [r#"["abc"]"#, "[]", r#"[ "b","a","b" ]"#] {
        gateway.call("UpdateApplicationAccessPoint", &[name, ("Policies", policies)]).await;
        let point = gateway.call("DescribeApplicationAccessPoint", &[name]).await;
        assert_eq!(text(&point["Policies"]), policies);
    }
    let gateway = gateway.restart();
    assert_eq!(described(&gateway).await, is(&both, "[]", rules));
    let rule = gateway.call("DescribeNetworkRule", &[name]).await;
    assert_eq!(text(&rule["SourcePrivateIp"]), addresses);
    let point = gateway.call("DescribeApplicationAccessPoint", &[name]).await;
    assert_eq!(text(&point["Policies"]), r#"[ "b","a","b" ]"#);
}

#[tokio::test]
async fn an_invalid_document_is_refused() {
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
    let rules = |rules| {
        let resources = ("Resources", r#"["key/*"]"#);
        vec![("Name", "p"), ("Permissions", USER), resources, ("AccessControlRules", rules)]
    };
    let of_length = |count: usize, one: &str| format!("[{}]", vec![one; count].join(","));
    let (most, more) = (of_length(128, r#""key/*""#), of_length(129, r#""key/*""#));
    let (addresses, names) = (of_length(129, r#""::1""#), of_length(129, r#""r""#));
    let names = format!(r#"{{"NetworkRules":{names}}}"#);
    let wide = format!("{{{}}}", " ".repeat(32 * 1024));
    gateway
        .call("CreatePolicy", &[&policy(USER, &most)[..], &[("KmsInstance", "x")]].concat())
        .await;
    for (action, params) in [
        ("CreateNetworkRule", rule("Private", &addresses).to_vec()),
        ("CreatePolicy", policy(USER, &more).to_vec()),
        ("CreatePolicy", policy(USER, r#"["key/a*b"]"#).to_vec()),
        ("CreatePolicy", policy(USER, r#"["key/**"]"#).to_vec()),
        ("CreatePolicy", policy(USER, r#"["key/?"]"#).to_vec()),
        ("CreatePolicy", policy(r#"["kms:Encrypt"]"#, r#"["key/*"]"#).to_vec()),
        ("CreatePolicy", rules(&names)),
        ("CreatePolicy", rules(&wide)),
        ("CreatePolicy", rules(r#"{"VpcRules":[]}"#)),
        ("CreatePolicy", rules(r#"["a"]"#)),
        ("CreatePolicy", rules(r#"{"NetworkRules":["a/b"]}"#)),
        ("CreateApplicationAccessPoint", point(r#"["a","a","a","a"]"#, "ClientKey").to_vec()),
        ("CreateApplicationAccessPoint", point(r#"["a/*"]"#, "ClientKey").to_vec()),
        ("CreateNetworkRule", rule("Public", "[]").to_vec()),
        ("CreateNetworkRule", rule("Private", "10.0.0.1").to_vec()),
        ("CreatePolicy", policy(USER, r#"["*"]"#).to_vec()),
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
async fn a_client_key_opens_with_openssl_and_its_private_key_is_returned_once() {
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
    let decrypted = openssl(&arguments, &pkcs12);
    let certificate = openssl(&["x509"], decrypted.as_bytes());
    let of_key = openssl(&["rsa", "-pubout"], decrypted.as_bytes());
    let of_certificate = openssl(&["x509", "-noout", "-pubkey"], decrypted.as_bytes());
    assert_eq!(of_key, of_certificate);
    let shown = openssl(&["x509", "-noout", "-text"], decrypted.as_bytes());
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
