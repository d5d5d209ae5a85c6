//! The calls of Terraform's provider aliyun/alicloud for each of its resources, in its order and
//! form: create, read, change, read, import, destroy. After each change the provider reads the
//! resource; its plan is empty only if the answer has the values that it sent. It recognizes a
//! deleted resource by the error codes that it knows.

mod secrets;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::api::rpc::sign::rpc1_string_to_sign;
use hsmgate::api::rpc::{params, percent};
use hsmgate::authn::claim::Scheme;
use hsmgate::authn::signature;
use hsmgate::model::clock;
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client_key::ClientKey;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::raw_http::{self, RawResponse};

const REGION: (&str, &str) = ("RegionId", "cn-hangzhou");

/// The provider, with the AccessKey of a gateway.
struct Provider<'g>(&'g Gateway);

impl Provider<'_> {
    /// One call as its RPC library makes it: the common parameters and the signature in the query, those
    /// of the operation in a form.
    async fn send(
        &self,
        method: Method,
        action: &str,
        query: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> RawResponse {
        let dev = &self.0.dev;
        let (date, nonce) = (clock::now().to_string(), Uuid::new_v4().simple().to_string());
        let common = [
            ("AccessKeyId", dev.access_key_id.as_str()),
            ("Action", action),
            ("Format", "json"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", &nonce),
            ("SignatureVersion", "1.0"),
            ("Timestamp", &date),
            ("Version", "2016-01-20"),
        ];
        let mut query = encoded(common.iter().chain(query));
        let body = encoded(form);
        let read = params::read(query.as_bytes(), body.as_bytes()).unwrap();
        let secret = SecretString::from(dev.access_key_secret.as_str());
        let text = rpc1_string_to_sign(&method, &read);
        let signature = STANDARD.encode(signature::sign(Scheme::Rpc1, &secret, &text));
        query.push_str("&Signature=");
        percent::encode_into(&mut query, &signature);
        let request = format!(
            "{method} /?{query} HTTP/1.1\r\nhost: {}\r\nuser-agent: AlibabaCloud (linux; amd64) \
             TeaDSL/1 Terraform-Provider\r\naccept: application/json\r\nx-acs-action: {action}\r\n\
             x-acs-version: 2016-01-20\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            self.0.address(),
            body.len()
        );
        raw_http::exchange(self.0.address(), request.as_bytes()).await
    }

    /// What a call answers that must be done, without its request id.
    fn done(&self, answer: &RawResponse) -> Value {
        assert_eq!(answer.status, 200, "{}\n{}", answer.body, self.0.log());
        let mut answer = answer.json();
        answer.as_object_mut().unwrap().remove("RequestId").expect("an answer has a request id");
        answer
    }

    /// A call with a form.
    async fn post(&self, action: &str, form: &[(&str, &str)]) -> Value {
        self.done(&self.send(Method::POST, action, &[], form).await)
    }

    /// A call without an answer beside its request id.
    async fn change(&self, action: &str, form: &[(&str, &str)]) {
        assert_eq!(self.post(action, form).await, json!({}), "{action}");
    }

    /// A call with its parameter in the query and an empty form.
    async fn read(&self, action: &str, name: &str) -> Value {
        self.done(&self.send(Method::POST, action, &[("Name", name)], &[]).await)
    }

    /// Status and code of a call that must be refused.
    async fn refused(&self, action: &str, form: &[(&str, &str)]) -> (u16, String) {
        self.send(Method::POST, action, &[], form).await.refusal()
    }

    /// What the provider keeps of a key, read as it reads it.
    async fn key(&self, id: &str) -> Value {
        let described = self.post("DescribeKey", &[("KeyId", id)]).await;
        let key = &described["KeyMetadata"];
        let mut kept = json!({});
        for name in [
            "AutomaticRotation",
            "DeletionProtection",
            "DeletionProtectionDescription",
            "Description",
            "KeySpec",
            "KeyState",
            "KeyUsage",
            "Origin",
            "ProtectionLevel",
            "RotationInterval",
        ] {
            kept[name] = key[name].clone();
        }
        let instance = text(&key["DKMSInstanceId"]);
        if !instance.is_empty() {
            let policy = self.post("GetKeyPolicy", &[("KeyId", id)]).await;
            kept["Policy"] = policy["Policy"].clone();
        }
        let resource = [REGION, ("ResourceType", "key"), ("ResourceId.1", id)];
        let tags = self.post("ListTagResources", &resource).await;
        let mut kept_tags = json!({});
        for tag in tags["TagResources"]["TagResource"].as_array().unwrap() {
            assert_eq!((text(&tag["ResourceId"]), text(&tag["ResourceType"])), (id, "key"));
            kept_tags[text(&tag["TagKey"])] = tag["TagValue"].clone();
        }
        kept["Tags"] = kept_tags;
        kept
    }

    /// A new key with these parameters.
    async fn new_key(&self, form: &[(&str, &str)]) -> String {
        let made = self.post("CreateKey", form).await;
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// The key that an alias names, by all pages of the list; none where no row has it.
    async fn alias(&self, name: &str) -> Option<String> {
        for page in 1_u32.. {
            let number = page.to_string();
            let form = [REGION, ("PageNumber", &number), ("PageSize", "20")];
            let listed = self.post("ListAliases", &form).await;
            let rows = listed["Aliases"]["Alias"].as_array().unwrap();
            let row = rows.iter().find(|row| row["AliasName"] == name);
            if let Some(row) = row {
                return Some(text(&row["KeyId"]).to_owned());
            }
            if rows.len() < 20 {
                break;
            }
        }
        None
    }
}

fn encoded<'a>(pairs: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        percent::encode_into(&mut text, name);
        text.push('=');
        percent::encode_into(&mut text, value);
    }
    text
}

/// What is kept of a key, with changes.
fn with(mut kept: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        kept[*name] = value.clone();
    }
    kept
}

#[tokio::test]
async fn a_key_is_read_as_it_was_made_and_changed_and_is_gone_once_its_deletion_is_scheduled() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let tags = r#"[{"TagKey":"Created","TagValue":"TF"},{"TagKey":"For","TagValue":"Test"}]"#;
    let id = provider
        .new_key(&[
            ("Description", "由Terraform创建"),
            ("EnableAutomaticRotation", "true"),
            ("KeySpec", "Aliyun_AES_256"),
            ("KeyUsage", "ENCRYPT/DECRYPT"),
            ("Origin", "Aliyun_KMS"),
            ("ProtectionLevel", "SOFTWARE"),
            ("RotationInterval", "605800s"),
            ("Tags", tags),
        ])
        .await;
    let key = ("KeyId", id.as_str());
    let made = json!({
        "AutomaticRotation": "Enabled",
        "DeletionProtection": "Disabled",
        "DeletionProtectionDescription": "",
        "Description": "由Terraform创建",
        "KeySpec": "Aliyun_AES_256",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT/DECRYPT",
        "Origin": "Aliyun_KMS",
        "ProtectionLevel": "SOFTWARE",
        "RotationInterval": "605800s",
        "Tags": {"Created": "TF", "For": "Test"},
    });
    assert_eq!(provider.key(&id).await, made);

    for (action, state) in [("DisableKey", "Disabled"), ("EnableKey", "Enabled")] {
        provider.change(action, &[key]).await;
        let rotation = if state == "Enabled" { "Enabled" } else { "Suspended" };
        let kept = provider.key(&id).await;
        assert_eq!(
            (&kept["KeyState"], &kept["AutomaticRotation"]),
            (&json!(state), &json!(rotation))
        );
    }
    let description = "changed, \"quoted\" & 100 %";
    provider.change("UpdateKeyDescription", &[key, ("Description", description)]).await;
    let rotation = [key, ("EnableAutomaticRotation", "true"), ("RotationInterval", "2678400s")];
    provider.change("UpdateRotationPolicy", &rotation).await;
    let protection =
        [("DeletionProtectionDescription", "in use"), ("EnableDeletionProtection", "true"), key];
    provider.change("SetDeletionProtection", &protection).await;
    let (kind, resource) = (("ResourceType", "key"), ("ResourceId.1", id.as_str()));
    let untag = [REGION, resource, kind, ("TagKey.1", "Created"), ("TagKey.2", "For")];
    provider.change("UntagResources", &untag).await;
    let tag = [
        REGION,
        resource,
        kind,
        ("Tag.1.Key", "For"),
        ("Tag.1.Value", "Test-update"),
        ("Tag.2.Key", "Team"),
        ("Tag.2.Value", "a/b"),
    ];
    provider.change("TagResources", &tag).await;
    let changed = with(
        made.clone(),
        &[
            ("Description", json!(description)),
            ("RotationInterval", json!("2678400s")),
            ("DeletionProtection", json!("Enabled")),
            ("DeletionProtectionDescription", json!("in use")),
            ("Tags", json!({"For": "Test-update", "Team": "a/b"})),
        ],
    );
    assert_eq!(provider.key(&id).await, changed);
    provider.change("UpdateRotationPolicy", &[key, ("EnableAutomaticRotation", "false")]).await;
    let off = with(
        changed,
        &[("AutomaticRotation", json!("Disabled")), ("RotationInterval", Value::Null)],
    );
    assert_eq!(provider.key(&id).await, off);

    // Destroy.
    let delete = [key, ("PendingWindowInDays", "7")];
    let protected = refusal(400, "Rejected.UnsupportedOperation");
    assert_eq!(provider.refused("ScheduleKeyDeletion", &delete).await, protected);
    let protection = [("EnableDeletionProtection", "false"), key];
    provider.change("SetDeletionProtection", &protection).await;
    provider.change("ScheduleKeyDeletion", &delete).await;
    let state = &provider.key(&id).await["KeyState"];
    assert_eq!(state, "PendingDeletion");
    let twice = refusal(409, "Rejected.StateModifiedFailed");
    assert_eq!(provider.refused("ScheduleKeyDeletion", &delete).await, twice);
}

#[tokio::test]
async fn an_import_of_an_unknown_key_is_not_found_whatever_its_id() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    for id in [
        "86a9efd9-3d16-4894-bd4f-1fc43f3f2abf",
        "key-hzz630494463ejqjx1234",
        "key-does-not-exist",
        "wrong",
    ] {
        let gone = refusal(404, "Forbidden.KeyNotFound");
        assert_eq!(provider.refused("DescribeKey", &[("KeyId", id)]).await, gone, "{id}");
    }
    let gone = refusal(404, "Forbidden.AliasNotFound");
    assert_eq!(provider.refused("DescribeKey", &[("KeyId", "alias/none")]).await, gone);
    assert_eq!(provider.alias("alias/none").await, None);
}

#[tokio::test]
async fn a_key_of_every_kind_comes_back_with_its_kind_and_protection_level() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    for (spec, usage, origin, level, state) in [
        ("Aliyun_AES_256", "ENCRYPT/DECRYPT", "Aliyun_KMS", "HSM", "Enabled"),
        ("Aliyun_AES_128", "ENCRYPT/DECRYPT", "Aliyun_KMS", "SOFTWARE", "Enabled"),
        ("Aliyun_AES_192", "ENCRYPT/DECRYPT", "Aliyun_KMS", "SOFTWARE", "Enabled"),
        ("RSA_2048", "ENCRYPT/DECRYPT", "Aliyun_KMS", "HSM", "Enabled"),
        ("RSA_3072", "SIGN/VERIFY", "Aliyun_KMS", "SOFTWARE", "Enabled"),
        ("EC_P256", "SIGN/VERIFY", "Aliyun_KMS", "SOFTWARE", "Enabled"),
        ("EC_P256K", "SIGN/VERIFY", "Aliyun_KMS", "HSM", "Enabled"),
        ("Aliyun_AES_256", "ENCRYPT/DECRYPT", "EXTERNAL", "SOFTWARE", "PendingImport"),
    ] {
        let form = [
            ("KeySpec", spec),
            ("KeyUsage", usage),
            ("Origin", origin),
            ("ProtectionLevel", level),
        ];
        let id = provider.new_key(&form).await;
        let kept = provider.key(&id).await;
        let read = ["KeySpec", "KeyUsage", "Origin", "ProtectionLevel", "KeyState"];
        assert_eq!(read.map(|name| text(&kept[name])), [spec, usage, origin, level, state]);
        assert_eq!(kept["Tags"], json!({}));
    }
    let refused = [("KeySpec", "Aliyun_SM4"), ("ProtectionLevel", "SOFTWARE")];
    let unsupported = refusal(400, "UnsupportedOperation");
    assert_eq!(provider.refused("CreateKey", &refused).await, unsupported);
}

#[tokio::test]
async fn the_policy_of_an_instance_key_is_read_unchanged() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let listed =
        provider.post("ListKmsInstances", &[("PageNumber", "1"), ("PageSize", "50")]).await;
    let instance = text(&listed["KmsInstances"]["KmsInstance"][0]["KmsInstanceId"]).to_owned();
    let principal = format!("acs:ram::{}:*", gateway.dev.account);
    let statement = |sid: &str| {
        format!(
            "    {{\n      \"Sid\": \"{sid}\", \"Effect\": \"Allow\",\n      \"Action\": [\"kms:*\"],\n      \
             \"Principal\": {{ \"RAM\": [\"{principal}\"] }},\n      \"Resource\": [\"*\"]\n    }}"
        )
    };
    let one =
        format!("{{\n  \"Statement\": [\n{}\n  ],\n  \"Version\": \"1\"\n}}\n", statement("kms"));
    let two = format!(
        "{{\n  \"Statement\": [\n{},\n{}\n  ],\n  \"Version\": \"1\"\n}}\n",
        statement("kms"),
        statement("second")
    );
    let form = [("DKMSInstanceId", &*instance), ("Policy", &one), ("ProtectionLevel", "SOFTWARE")];
    let id = provider.new_key(&form).await;
    assert_eq!(provider.key(&id).await["Policy"], *one);
    provider.change("SetKeyPolicy", &[("KeyId", &id), ("Policy", &two)]).await;
    assert_eq!(provider.key(&id).await["Policy"], *two);
}

#[tokio::test]
async fn an_alias_is_listed_moved_and_deleted() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let second = provider.new_key(&[("ProtectionLevel", "SOFTWARE")]).await;
    let first = gateway.dev.key_id.as_str();
    // With that of the gateway 41 in all: the last one is on the third page.
    for at in 0..39 {
        let name = format!("alias/a-{at:02}");
        provider.change("CreateAlias", &[("AliasName", &name), ("KeyId", first)]).await;
    }
    let name = ("AliasName", "alias/terraform");
    provider.change("CreateAlias", &[name, ("KeyId", first)]).await;
    assert_eq!(provider.alias(name.1).await.as_deref(), Some(first));
    provider.change("UpdateAlias", &[name, ("KeyId", &second)]).await;
    assert_eq!(provider.alias(name.1).await, Some(second));
    let taken = [name, ("KeyId", first)];
    assert_eq!(provider.refused("CreateAlias", &taken).await, refusal(400, "AliasAlreadyExists"));
    provider.change("DeleteAlias", &[name]).await;
    assert_eq!(provider.alias(name.1).await, None);
    let gone = refusal(404, "Forbidden.AliasNotFound");
    assert_eq!(provider.refused("DeleteAlias", &[name]).await, gone);
}

#[tokio::test]
async fn a_key_version_is_described_by_key_and_version_and_an_unknown_one_is_404() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let key = ("KeyId", gateway.dev.key_id.as_str());
    let made = provider.post("CreateKeyVersion", &[key]).await;
    let id = text(&made["KeyVersion"]["KeyVersionId"]).to_owned();
    let described =
        provider.post("DescribeKeyVersion", &[REGION, key, ("KeyVersionId", &id)]).await;
    assert_eq!(described, made);
    assert_eq!(text(&described["KeyVersion"]["KeyId"]), key.1);
    let page = [REGION, key, ("PageNumber", "1"), ("PageSize", "50")];
    let listed = provider.post("ListKeyVersions", &page).await;
    assert_eq!(listed["TotalCount"], 2);
    let other = "86a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
    let none =
        provider.refused("DescribeKeyVersion", &[REGION, key, ("KeyVersionId", other)]).await;
    assert_eq!(none.0, 404, "{none:?}");
}

/// Its resource, and both data sources; a password of another resource that is kept encrypted.
#[tokio::test]
async fn a_ciphertext_decrypts_to_the_text_that_was_sent() {
    let gateway = Gateway::start_with(&["--accept-non-base64-plaintext"]);
    let provider = Provider(&gateway);
    let key = ("KeyId", gateway.dev.key_id.as_str());
    for plaintext in ["plaintext", "example", "YourPassword1234!", "zwei Zeilen\n中文", "SGVsbG8="]
    {
        for context in ["{}", r#"{"key":"value","another":"äöü 中"}"#] {
            let context = ("EncryptionContext", context);
            let form = [context, key, ("Plaintext", plaintext), REGION];
            let encrypted = provider.post("Encrypt", &form).await;
            let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
            let decrypted = provider.post("Decrypt", &[blob, context, REGION]).await;
            assert_eq!(text(&decrypted["Plaintext"]), plaintext);
            let other = ("EncryptionContext", r#"{"key":"other"}"#);
            let refused = provider.refused("Decrypt", &[blob, other, REGION]).await;
            assert_eq!(refused, refusal(400, "InvalidParameter"));
        }
    }
}

#[tokio::test]
async fn a_network_rule_keeps_its_addresses_as_written() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let addresses = r#"["10.10.10.10/24","192.168.17.13","10.10.10.10/24"]"#;
    let (name, list) = (("Name", "tf-rule"), "SourcePrivateIp");
    let form = [("Description", "dummy"), name, (list, addresses), ("Type", "Private")];
    let arn = format!("acs:kms:cn-hangzhou:{}:network/tf-rule", gateway.dev.account);
    let made = json!({"Arn": arn, "Name": "tf-rule", "Type": "Private", "Description": "dummy",
        "SourcePrivateIp": addresses});
    assert_eq!(provider.post("CreateNetworkRule", &form).await, made);
    let read = json!({"Arn": arn, "Type": "Private", "Description": "dummy",
        "SourcePrivateIp": addresses});
    assert_eq!(provider.read("DescribeNetworkRule", "tf-rule").await, read);
    let fewer = r#"["10.10.10.0"]"#;
    provider.change("UpdateNetworkRule", &[("Description", "wid"), name, (list, fewer)]).await;
    let read = with(read, &[("Description", json!("wid")), (list, json!(fewer))]);
    assert_eq!(provider.read("DescribeNetworkRule", "tf-rule").await, read);
    provider.change("UpdateNetworkRule", &[("Description", ""), name, (list, fewer)]).await;
    let read = with(read, &[("Description", json!(""))]);
    assert_eq!(provider.read("DescribeNetworkRule", "tf-rule").await, read);
    provider.change("DeleteNetworkRule", &[name]).await;
    gone(&provider, "NetworkRule", "tf-rule").await;
}

/// What is deleted is gone to whoever reads it, and deleted for whoever deletes it.
async fn gone(provider: &Provider<'_>, kind: &str, name: &str) {
    let gone = refusal(404, "Forbidden.ResourceNotFound");
    let describe = format!("Describe{kind}");
    let query = [("Name", name)];
    let described = provider.send(Method::POST, &describe, &query, &[]).await.refusal();
    assert_eq!(described, gone, "{kind}");
    let deleted = provider.refused(&format!("Delete{kind}"), &query).await;
    assert_eq!(deleted, gone, "{kind}");
}

/// The examples of the documentation name rules that nobody has made, by an expression in a text.
#[tokio::test]
async fn a_policy_is_read_as_it_was_sent_through_every_change_of_it() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let key_user = "RbacPermission/Template/CryptoServiceKeyUser";
    let secret_user = "RbacPermission/Template/CryptoServiceSecretUser";
    let heredoc = "  {\n      \"NetworkRules\":[\n          \
                   \"alicloud_kms_network_rule.networkRule1.network_rule_name\"\n      ]\n  }\n";
    let in_one_line =
        r#"{"NetworkRules":["alicloud_kms_network_rule.networkRule3.network_rule_name"]}"#;
    let name = ("Name", "tf-policy");
    let arn = format!("acs:kms:cn-hangzhou:{}:policy/tf-policy", gateway.dev.account);
    let mut description = "terraformpolicy";
    let mut is_made = false;
    for (permissions, resources, rules) in [
        (json!([key_user, secret_user]), json!(["secret/*", "key/*"]), heredoc),
        (json!([key_user, secret_user]), json!(["key/*", "secret/*"]), heredoc),
        (json!([]), json!(["key/*"]), in_one_line),
        (json!([secret_user]), json!(["key/a*", "key/b*"]), in_one_line),
        (json!([secret_user, secret_user]), json!(["key/a*", "key/b*", "key/c*"]), heredoc),
        (json!([key_user]), json!(["key/*"]), r#"{"NetworkRules":[]}"#),
    ] {
        let (permissions_text, resources_text) = (permissions.to_string(), resources.to_string());
        let lists = [("Permissions", &*permissions_text), ("Resources", &*resources_text)];
        let form = [("AccessControlRules", rules), ("Description", description), name];
        let form = [&form[..], &lists].concat();
        if is_made {
            provider.change("UpdatePolicy", &form).await;
        } else {
            let form = [&form[..], &[("KmsInstance", "shared")]].concat();
            let made = provider.post("CreatePolicy", &form).await;
            let expected = json!({"Arn": arn, "Name": "tf-policy", "Description": description,
                "KmsInstance": "shared", "Permissions": permissions_text,
                "Resources": resources_text, "AccessControlRules": rules});
            assert_eq!(made, expected);
            is_made = true;
        }
        let read = json!({"Arn": arn, "Name": "tf-policy", "Description": description,
            "KmsInstance": "shared", "Permissions": permissions, "Resources": resources,
            "AccessControlRules": rules});
        assert_eq!(provider.read("DescribePolicy", "tf-policy").await, read);
        description = "terraform测试policy";
    }
    provider.change("DeletePolicy", &[name]).await;
    gone(&provider, "Policy", "tf-policy").await;
}

/// It cuts the text of the policies at its commas.
#[tokio::test]
async fn an_access_point_is_read_as_sent_even_if_its_policies_are_missing() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let name = ("Name", "tf-point");
    let arn =
        format!("acs:kms:cn-hangzhou:{}:applicationaccesspoint/tf-point", gateway.dev.account);
    let policies = r#"["abc","efg","hfc"]"#;
    let method = ("AuthenticationMethod", "ClientKey");
    let form = [method, ("Description", "example aap"), name, ("Policies", policies)];
    let read = json!({"Arn": arn, "Name": "tf-point", "Description": "example aap",
        "AuthenticationMethod": "ClientKey", "Policies": policies});
    assert_eq!(provider.post("CreateApplicationAccessPoint", &form).await, read);
    let described = "DescribeApplicationAccessPoint";
    assert_eq!(provider.read(described, "tf-point").await, read);
    for policies in [r#"["hfc","abc"]"#, r#"["aaa","aaa"]"#, r#"["efg"]"#] {
        let form = [("Description", ""), name, ("Policies", policies)];
        provider.change("UpdateApplicationAccessPoint", &form).await;
        let read = with(read.clone(), &[("Description", json!("")), ("Policies", json!(policies))]);
        assert_eq!(provider.read(described, "tf-point").await, read);
    }
    provider.change("DeleteApplicationAccessPoint", &[name]).await;
    gone(&provider, "ApplicationAccessPoint", "tf-point").await;
}

#[tokio::test]
async fn a_client_key_is_read_with_the_dates_that_were_sent_and_its_file_opens() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let point = [("Name", "tf-point"), ("Policies", r#"["aaa"]"#)];
    provider.post("CreateApplicationAccessPoint", &point).await;
    let (from, to) = ("2023-09-01T14:11:22Z", "2032-09-01T14:11:22Z");
    let form = [
        ("AapName", "tf-point"),
        ("NotAfter", to),
        ("NotBefore", from),
        ("Password", "YouPassword123!"),
    ];
    let made = provider.post("CreateClientKey", &form).await;
    assert_eq!((text(&made["NotBefore"]), text(&made["NotAfter"])), (from, to));
    let id = text(&made["ClientKeyId"]).to_owned();
    // It writes these two to a file, which the instance SDKs read.
    ClientKey::open_with(&id, text(&made["PrivateKeyData"]), "YouPassword123!");
    let query = [("ClientKeyId", id.as_str())];
    let read = provider.send(Method::GET, "GetClientKey", &query, &[]).await;
    let read = provider.done(&read);
    assert_eq!(
        (text(&read["AapName"]), text(&read["NotBefore"]), text(&read["NotAfter"])),
        ("tf-point", from, to)
    );
    assert!(text(&read["CreateTime"]).ends_with('Z'));
    // By names in texts Terraform knows no order, and destroys what is named first.
    provider.change("DeleteApplicationAccessPoint", &[("Name", "tf-point")]).await;
    assert_eq!(provider.send(Method::GET, "GetClientKey", &query, &[]).await.status, 200);
    provider.change("DeleteClientKey", &query).await;
    let gone = refusal(404, "Forbidden.ResourceNotFound");
    let read = provider.send(Method::GET, "GetClientKey", &query, &[]).await.refusal();
    assert_eq!(read, gone);
    assert_eq!(provider.refused("DeleteClientKey", &query).await, gone);
}

#[tokio::test]
async fn resources_with_references_are_created_and_destroyed_in_any_order() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let policies = r#"["tf-policy"]"#;
    let point = [("Name", "tf-point"), ("Policies", policies)];
    provider.post("CreateApplicationAccessPoint", &point).await;
    let policy = [
        ("Name", "tf-policy"),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#),
        ("Resources", r#"["key/*"]"#),
        ("AccessControlRules", r#"{"NetworkRules":["tf-rule"]}"#),
        ("KmsInstance", "shared"),
    ];
    provider.post("CreatePolicy", &policy).await;
    let rule = [("Name", "tf-rule"), ("Type", "Private"), ("SourcePrivateIp", r#"["::1"]"#)];
    provider.post("CreateNetworkRule", &rule).await;
    for (kind, name) in [
        ("NetworkRule", "tf-rule"),
        ("Policy", "tf-policy"),
        ("ApplicationAccessPoint", "tf-point"),
    ] {
        provider.change(&format!("Delete{kind}"), &[("Name", name)]).await;
        gone(&provider, kind, name).await;
    }
}

#[tokio::test]
async fn every_data_source_finds_its_rows() {
    let gateway = Gateway::start();
    let provider = Provider(&gateway);
    let key = gateway.dev.key_id.as_str();
    let page = [("PageNumber", "1"), ("PageSize", "50"), REGION];
    // The text of the configuration, blanks and all.
    let filters = "[ {\"Key\": \"KeyState\", \"Values\": [\"Enabled\", \"Disabled\"]} ]";
    for form in [&page[..], &[&page[..], &[("Filters", filters)]].concat()] {
        let listed = provider.post("ListKeys", form).await;
        assert_eq!(listed["Keys"]["Key"][0]["KeyId"], *key);
        assert_eq!(listed["TotalCount"], 1);
    }
    let aliases = provider.post("ListAliases", &page).await;
    assert_eq!(aliases["Aliases"]["Alias"][0]["AliasName"], *gateway.dev.alias);
    let versions = provider.post("ListKeyVersions", &[&page[..], &[("KeyId", key)]].concat()).await;
    assert_eq!(versions["KeyVersions"]["KeyVersion"][0]["KeyId"], *key);

    let listed = provider.post("ListKmsInstances", &page).await;
    let rows = listed["KmsInstances"]["KmsInstance"].as_array().unwrap();
    let [row] = &rows[..] else { panic!("{listed}") };
    let id = text(&row["KmsInstanceId"]);
    let described =
        provider.send(Method::POST, "GetKmsInstance", &[("KmsInstanceId", id)], &[]).await;
    let described = provider.done(&described);
    let name = text(&described["KmsInstance"]["InstanceName"]);
    for (name, count) in [(name, 1), ("another", 0)] {
        let filters = format!(r#"[{{"Key":"InstanceName","Values":["{name}"]}}]"#);
        let form = [&page[..], &[("Filters", &*filters)]].concat();
        let listed = provider.post("ListKmsInstances", &form).await;
        assert_eq!(listed["KmsInstances"]["KmsInstance"].as_array().unwrap().len(), count);
    }
    // The service is opened by a call that says that it is open.
    let refused = provider.refused("OpenKmsService", &[]).await;
    assert_eq!(refused, refusal(400, "Forbidden.Opened"));
}
