//! Aliases: create, move, delete, list.

use hsmgate::api::instance::messages::EncryptResponse;
use hsmgate::cli::client::{CallError, Client};
use serde_json::json;

use crate::access::dangling_references::encrypt;
use crate::support::audit_file::events;
use crate::support::calls::{refused, until_code};
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::{ACCOUNT, AccessKey, Installation};
use crate::support::instance_client::InstanceClient;
use crate::support::process::eventually;

#[tokio::test]
async fn an_alias_names_a_key_until_it_is_moved_or_deleted() {
    let gateway = Gateway::start();
    let (first, second) = (gateway.dev.key_id.clone(), gateway.create_key().await);
    let alias = ("AliasName", "alias/orders/db_1");
    gateway.call("CreateAlias", &[("KeyId", &first), alias]).await;
    assert_eq!(target(&gateway, alias.1).await, first);
    gateway.call("UpdateAlias", &[("KeyId", &second), alias]).await;
    gateway.call("UpdateAlias", &[("KeyId", &second), alias]).await;
    assert_eq!(target(&gateway, alias.1).await, second);
    gateway.call("DeleteAlias", &[alias]).await;
    let gone = (404, "Forbidden.AliasNotFound".to_owned());
    assert_eq!(gateway.refused("DescribeKey", &[("KeyId", alias.1)]).await, gone);
    assert_eq!(gateway.refused("DeleteAlias", &[alias]).await, gone);
    assert_eq!(gateway.refused("UpdateAlias", &[("KeyId", &first), alias]).await, gone);
}

#[tokio::test]
async fn an_alias_is_unique_in_the_account() {
    let gateway = Gateway::start();
    let second = gateway.create_key().await;
    for key in [&gateway.dev.key_id, &second] {
        let params = [("KeyId", key.as_str()), ("AliasName", gateway.dev.alias.as_str())];
        let refused = gateway.refused("CreateAlias", &params).await;
        assert_eq!(refused, (400, "AliasAlreadyExists".to_owned()));
    }
}

#[tokio::test]
async fn an_invalid_alias_name_is_refused() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    let too_long = format!("alias/{}", "a".repeat(250));
    for name in ["orders", "alias/", "alias/acs/ecs", "alias/a b", "alias/ä", &too_long] {
        let refused = gateway.refused("CreateAlias", &[id, ("AliasName", name)]).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn the_longest_alias_has_255_characters_and_an_alias_may_name_a_key_by_another() {
    let gateway = Gateway::start();
    let longest = format!("alias/{}", "a".repeat(249));
    let by_alias = ("KeyId", gateway.dev.alias.as_str());
    gateway.call("CreateAlias", &[by_alias, ("AliasName", &longest)]).await;
    assert_eq!(target(&gateway, &longest).await, gateway.dev.key_id);
    let longer = longest + "a";
    let too_long = gateway.refused("CreateAlias", &[by_alias, ("AliasName", &longer)]).await;
    assert_eq!(too_long, (400, "InvalidParameter".to_owned()));
}

#[tokio::test]
async fn a_page_of_aliases_may_be_empty_and_has_its_own_limits() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    for (action, most) in [("ListAliases", "100"), ("ListAliasesByKeyId", "101")] {
        for (size, rows) in [("0", 0), (most, 1)] {
            let page = gateway.call(action, &[id, ("PageSize", size)]).await;
            assert_eq!(page["Aliases"]["Alias"].as_array().unwrap().len(), rows, "{action} {size}");
            assert_eq!(page["TotalCount"], 1);
        }
        let refused = gateway.refused(action, &[id, ("PageSize", "102")]).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{action}");
    }
}

#[tokio::test]
async fn aliases_are_listed_by_account_and_by_key() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    for name in ["alias/b", "alias/a"] {
        gateway.call("CreateAlias", &[("KeyId", &key), ("AliasName", name)]).await;
    }
    let all = gateway.call("ListAliases", &[]).await;
    assert_eq!(all["TotalCount"], 3);
    let of_key = gateway.call("ListAliasesByKeyId", &[("KeyId", &key)]).await;
    let listed = of_key["Aliases"]["Alias"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|alias| text(&alias["AliasName"])).collect();
    assert_eq!(names, ["alias/a", "alias/b"]);
    let dev = &gateway.dev;
    let arn = format!("acs:kms:{}:{}:alias/a", dev.region, dev.account);
    assert_eq!(text(&listed[0]["AliasArn"]), arn);
    assert_eq!(text(&listed[0]["KeyId"]), key);
}

async fn target(gateway: &Gateway, alias: &str) -> String {
    let described = gateway.call("DescribeKey", &[("KeyId", alias)]).await;
    text(&described["KeyMetadata"]["KeyId"]).to_owned()
}

/// A user who may do everything with his own key and with every alias, and whom the policy of the
/// other key denies everything.
struct AliasAttack {
    installation: Installation,
    server: crate::support::installation::Server,
    admin: Client,
    mallory: Client,
    his: String,
    victim: String,
}

const PAYMENTS: (&str, &str) = ("AliasName", "alias/payments");

impl AliasAttack {
    async fn prepared() -> Self {
        let (installation, admin) = Installation::prepared();
        let server = installation.serve();
        let admin = server.client(&admin);
        let mut keys = Vec::new();
        for _ in 0..2 {
            let created = admin.call("CreateKey", &[]).await.unwrap();
            keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
        }
        let [his, victim] = keys.try_into().unwrap();
        let rights = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:*",
            "Resource": [format!("acs:kms:*:*:key/{his}"), "acs:kms:*:*:alias/*"]}]});
        let file = installation.path("mallory.json");
        std::fs::write(&file, rights.to_string()).unwrap();
        let create = ["access-key", "create", "--json", "--user", "mallory", "--policy"];
        let create = [&create[..], &[file.to_str().unwrap()]].concat();
        let mallory = server.client(&AccessKey::of(&installation.configured(&create).json()));
        until_code(&mallory, "DescribeRegions", &[], "").await;
        Self { installation, server, admin, mallory, his, victim }
    }

    fn policy(effect: &str) -> String {
        json!({"Version": "1", "Statement": [
            {"Effect": "Allow", "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:*")]},
             "Action": ["kms:*"], "Resource": ["*"]},
            {"Effect": effect, "Principal": {"RAM": [format!("acs:ram::{ACCOUNT}:user/mallory")]},
             "Action": ["kms:*"], "Resource": ["*"]}]})
        .to_string()
    }

    async fn target(&self) -> String {
        let found = self.admin.call("DescribeKey", &[("KeyId", PAYMENTS.1)]).await.unwrap();
        text(&found["KeyMetadata"]["KeyId"]).to_owned()
    }
}

#[tokio::test]
async fn an_alias_is_not_taken_from_a_key_whose_policy_denies_it() {
    let attack = AliasAttack::prepared().await;
    let no_permission = refusal(403, "Forbidden.NoPermission");
    let victim = ("KeyId", attack.victim.as_str());
    let his = ("KeyId", attack.his.as_str());
    attack.admin.call("CreateAlias", &[victim, PAYMENTS]).await.unwrap();
    // Neither where his own policies give no right on the old key, nor where its policy denies it.
    for _ in 0..2 {
        assert_eq!(refused(&attack.mallory, "UpdateAlias", &[his, PAYMENTS]).await, no_permission);
        assert_eq!(refused(&attack.mallory, "DeleteAlias", &[PAYMENTS]).await, no_permission);
        assert_eq!(attack.target().await, attack.victim);
        let deny = ("Policy", &*AliasAttack::policy("Deny"));
        attack.admin.call("SetKeyPolicy", &[victim, deny]).await.unwrap();
        // Everything on every key, so that only the key policy can refuse.
        attack
            .installation
            .configured(&["user", "attach", "mallory", "AliyunKMSFullAccess"])
            .done();
        until_code(&attack.mallory, "ListKeys", &[], "").await;
    }
    let allow = ("Policy", &*AliasAttack::policy("Allow"));
    attack.admin.call("SetKeyPolicy", &[victim, allow]).await.unwrap();
    attack.mallory.call("UpdateAlias", &[his, PAYMENTS]).await.unwrap();
    assert_eq!(attack.target().await, attack.his);
    assert_eq!(attack.server.stop(), Some(0));
}

/// The administrator moves the alias to and fro. Whatever the order of the two, mallory never moves or
/// deletes it while it names the key that he may do nothing with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_of_two_changes_takes_no_alias_from_a_key_that_denies_it() {
    let attack = AliasAttack::prepared().await;
    let (victim, his) = (("KeyId", attack.victim.as_str()), ("KeyId", attack.his.as_str()));
    for action in ["UpdateAlias", "DeleteAlias"] {
        for _ in 0..20 {
            let _ = attack.admin.call("DeleteAlias", &[PAYMENTS]).await;
            attack.admin.call("CreateAlias", &[his, PAYMENTS]).await.unwrap();
            let params = [PAYMENTS, his];
            let params = if action == "UpdateAlias" { &params[..] } else { &params[..1] };
            let moves = [victim, PAYMENTS];
            let (given, taken) = tokio::join!(
                attack.admin.call("UpdateAlias", &moves),
                attack.mallory.call(action, params)
            );
            match (given, taken) {
                // The administrator's came last or mallory's was refused: it is the victim's.
                (Ok(_), Ok(_) | Err(CallError::Refused { .. })) => {
                    assert_eq!(attack.target().await, attack.victim);
                }
                // Mallory deleted it first, while it was his.
                (Err(CallError::Refused { code, .. }), Ok(_)) => {
                    assert_eq!((action, code.as_str()), ("DeleteAlias", "Forbidden.AliasNotFound"));
                }
                other => panic!("{action}: {other:?}"),
            }
        }
    }
    assert_eq!(attack.server.stop(), Some(0));
}

/// Clients ask for keys by names that no key here can have: Terraform's import by whatever it was given,
/// Nacos by the alias of a service of the cloud. All take "not there" for an answer, and nothing else.
#[tokio::test]
async fn a_key_or_alias_of_another_form_is_unknown_and_an_invalid_name_is_refused() {
    let gateway = Gateway::start();
    let longest = "k".repeat(255);
    let longer = "k".repeat(256);
    let arn = format!("acs:kms:{}:{}:key/gone", gateway.dev.region, gateway.dev.account);
    let (no_key, no_alias) = ("Forbidden.KeyNotFound", "Forbidden.AliasNotFound");
    for (name, status, code) in [
        ("key-does-not-exist", 404, no_key),
        ("arn:aws:kms:eu-west-1:1:key/a", 404, no_key),
        ("a@b.c+d=e", 404, no_key),
        ("alias/", 404, no_key),
        (&arn, 404, no_key),
        (&longest, 404, no_key),
        ("alias/acs/mse", 404, no_alias),
        ("alias/a.b:c@d+e=", 404, no_alias),
        ("a b", 400, "InvalidParameter"),
        ("key/*", 400, "InvalidParameter"),
        ("alias/\u{e4}", 400, "InvalidParameter"),
        (&longer, 400, "InvalidParameter"),
    ] {
        for (action, params) in [
            ("DescribeKey", [("KeyId", name), ("", "")]),
            ("Encrypt", [("KeyId", name), ("Plaintext", "SGVsbG8=")]),
            ("GenerateDataKey", [("KeyId", name), ("KeySpec", "AES_256")]),
            ("ScheduleKeyDeletion", [("KeyId", name), ("PendingWindowInDays", "7")]),
            ("CreateAlias", [("KeyId", name), ("AliasName", "alias/new")]),
        ] {
            let params: Vec<_> = params.into_iter().filter(|(key, _)| !key.is_empty()).collect();
            let refused = gateway.refused(action, &params).await;
            assert_eq!(refused, (status, code.to_owned()), "{action} {name}");
        }
    }
    for name in ["alias/acs/mse", "alias/a.b"] {
        let refused = gateway.refused("DeleteAlias", &[("AliasName", name)]).await;
        assert_eq!(refused, (404, no_alias.to_owned()), "{name}");
    }
}

/// What Nacos asks for, where nobody has told it a key.
#[tokio::test]
async fn reserved_aliases_of_an_operator_name_a_key_by_both_protocols_and_the_api_changes_none() {
    let gateway = Gateway::start_with(&["--alias", "alias/acs/mse", "--alias", "acs/acm"]);
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let other = gateway.create_key().await;
    for alias in ["alias/acs/mse", "alias/acs/acm"] {
        let id = ("KeyId", alias);
        let arn = format!("acs:kms:{}:{}:{alias}", gateway.dev.region, gateway.dev.account);
        for named in [alias, &arn] {
            let made = [("KeyId", named), ("KeySpec", "AES_128")];
            let made = gateway.call("GenerateDataKey", &made).await;
            let blob = ("CiphertextBlob", text(&made["CiphertextBlob"]));
            let decrypted = gateway.call("Decrypt", &[blob]).await;
            assert_eq!(
                (&decrypted["Plaintext"], text(&decrypted["KeyId"])),
                (&made["Plaintext"], &*key)
            );
            let (encrypted, _): (EncryptResponse, _) =
                instance_client.call("Encrypt", &encrypt(named)).await;
            assert_eq!(encrypted.key_id, key);
        }
        assert_eq!(target(&gateway, alias).await, key);
        let unsupported = refusal(400, "Rejected.UnsupportedOperation");
        let name = ("AliasName", alias);
        assert_eq!(gateway.refused("UpdateAlias", &[("KeyId", &other), name]).await, unsupported);
        assert_eq!(gateway.refused("DeleteAlias", &[name]).await, unsupported);
        let invalid = refusal(400, "InvalidParameter");
        assert_eq!(gateway.refused("CreateAlias", &[("KeyId", &other), name]).await, invalid);
        let listed = gateway.call("ListAliasesByKeyId", &[id]).await;
        assert_eq!(listed["TotalCount"], 3);
        assert_eq!(target(&gateway, alias).await, key);
    }
    let none = ("AliasName", "alias/acs/other");
    let no_alias = refusal(404, "Forbidden.AliasNotFound");
    assert_eq!(gateway.refused("DeleteAlias", &[none]).await, no_alias);
    assert_eq!(gateway.refused("UpdateAlias", &[("KeyId", &other), none]).await, no_alias);
    // The same flag, on what an earlier start has made.
    let directory = gateway.stop();
    let again = Gateway::start_in(directory, &["--alias", "alias/acs/mse"]);
    assert_eq!(target(&again, "alias/acs/acm").await, key);
}

#[tokio::test]
async fn an_operator_changes_aliases_while_the_gateway_runs_and_each_change_is_recorded() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let client = server.client(&admin);
    let mut keys = Vec::new();
    for _ in 0..3 {
        let created = client.call("CreateKey", &[]).await.unwrap();
        keys.push(text(&created["KeyMetadata"]["KeyId"]).to_owned());
    }
    let [first, second, doomed] = &*keys else { panic!("{keys:?}") };
    let doom = [("KeyId", doomed.as_str()), ("PendingWindowInDays", "7")];
    client.call("ScheduleKeyDeletion", &doom).await.unwrap();
    let alias = |arguments: &[&str]| installation.configured(&[&["alias"], arguments].concat());
    let target = async |expected: Option<&str>| {
        eventually(async || {
            let found = client.call("DescribeKey", &[("KeyId", "alias/acs/mse")]).await;
            let found = match found {
                Ok(found) => Some(text(&found["KeyMetadata"]["KeyId"]).to_owned()),
                Err(CallError::Refused { code, .. }) => {
                    assert_eq!(code, "Forbidden.AliasNotFound");
                    None
                }
                Err(error) => panic!("{error:?}"),
            };
            if found.as_deref() == expected { Ok(()) } else { Err(found) }
        })
        .await;
    };
    alias(&["create", "alias/acs/mse", first]).done();
    target(Some(first)).await;
    alias(&["create", "orders", "alias/acs/mse"]).done();
    let listed = alias(&["list", "--json"]).json();
    let rows: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["alias"]), text(&row["key_id"])))
        .collect();
    assert_eq!(rows, [("alias/acs/mse", &**first), ("alias/orders", &**first)]);
    assert!(alias(&["list"]).done().starts_with("alias/acs/mse  key-"));
    alias(&["update", "acs/mse", second]).done();
    target(Some(second)).await;

    let exists = alias(&["create", "alias/acs/mse", first]).failed(5);
    assert!(exists.contains("alias/acs/mse exists already"), "{exists}");
    for (arguments, code) in [
        (["create", "alias/acs/acm", "key-none"], 3),
        (["create", "alias/acs/acm", "alias/none"], 3),
        (["create", "alias/acs/acm", doomed], 5),
        (["update", "alias/acs/mse", doomed], 5),
        (["update", "alias/acs/acm", first], 3),
        (["create", "alias/acs/acm", "acs:kms:cn-hangzhou:1234567890123456:alias/orders"], 2),
        (["create", "alias/a.b", first], 2),
    ] {
        alias(&arguments).failed(code);
    }
    alias(&["delete", "alias/acs/acm"]).failed(3);
    alias(&["delete", "alias/acs/mse"]).done();
    target(None).await;

    let file = installation.audit_file();
    let change = async |name: &str, count: usize| {
        let made = events(&file, name, count).await;
        assert_eq!(made.len(), count, "{name}: {made:?}");
        assert_eq!(made[0]["eventType"], "ConsoleOperation");
        assert_eq!(made[0]["userIdentity"]["type"], "operator");
        let parameters = &made[0]["requestParameters"];
        assert_eq!(parameters["AliasName"], "alias/acs/mse");
        parameters["KeyId"].clone()
    };
    assert_eq!(change("CreateAlias", 2).await, **first);
    assert_eq!(change("UpdateAlias", 1).await, **second);
    change("DeleteAlias", 1).await;
    assert_eq!(server.stop(), Some(0));
}
