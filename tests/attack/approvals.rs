//! Callers that try to perform a dangerous operation without the second person.

use hsmgate::cli::client::{CallError, Client};
use serde_json::{Value, json};

use crate::support::audit_file::{events, records};
use crate::support::calls::{code, until_code};
use crate::support::client_key::PASSWORD;
use crate::support::gateway::text;
use crate::support::installation::{ACCOUNT, AccessKey, Installation, Server};
use crate::support::process::until;

const KEY_USER: &str = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;
const FORBIDDEN: &str = "Forbidden.NoPermission";
const DELETION: &str = "ScheduleKeyDeletion";

struct Account {
    installation: Installation,
    server: Server,
    alice: Client,
}

impl Account {
    fn open(settings: &str) -> Self {
        let (installation, alice) = Installation::prepared();
        installation.configure(|text| {
            text.push_str("[approval]\n");
            text.push_str(settings);
        });
        let server = installation.serve();
        let alice = server.client(&alice);
        Self { installation, server, alice }
    }

    async fn create_key(&self, params: &[(&str, &str)]) -> String {
        let made = self.alice.call("CreateKey", params).await.unwrap();
        text(&made["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// The id of the request for an approval, from the message of a call that needs it.
    async fn requested(&self, action: &str, params: &[(&str, &str)]) -> String {
        let (code, message) = outcome(&self.alice, action, params).await;
        assert_eq!(code, FORBIDDEN, "{action} {params:?}");
        let (_before, rest) = message.split_once("hsmgate approval release ").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    }

    fn decide(&self, verb: &str, id: &str) {
        self.installation.configured(&["approval", verb, id]).done();
    }

    /// Requires an approval, releases the call and repeats it.
    async fn approved(&self, action: &str, params: &[(&str, &str)]) {
        let id = self.requested(action, params).await;
        self.decide("release", &id);
        assert_eq!(code(&self.alice, action, params).await, "", "{action} {params:?}");
    }
}

fn days<'a>(key: &'a str, days: &'a str) -> [(&'a str, &'a str); 2] {
    [("KeyId", key), ("PendingWindowInDays", days)]
}

async fn outcome(client: &Client, action: &str, params: &[(&str, &str)]) -> (String, String) {
    match client.call(action, params).await {
        Ok(_answer) => (String::new(), String::new()),
        Err(CallError::Refused { code, message, .. }) => (code, message),
        Err(other) => (other.to_string(), String::new()),
    }
}

#[tokio::test]
async fn a_used_release_that_is_put_back_permits_no_second_call() {
    let account = Account::open("operations = [\"ScheduleKeyDeletion\"]\n");
    let Account { installation, server, alice, .. } = &account;
    let key = account.create_key(&[]).await;
    let id = account.requested(DELETION, &days(&key, "7")).await;
    account.decide("release", &id);
    installation.tamper("CREATE TABLE copied AS SELECT * FROM approvals").await;
    assert_eq!(code(alice, DELETION, &days(&key, "7")).await, "");
    assert_eq!(code(alice, "CancelKeyDeletion", &[("KeyId", &key)]).await, "");
    events(&installation.audit_file(), "UseApproval", 1).await;
    installation.tamper("DELETE FROM approvals; INSERT INTO approvals SELECT * FROM copied").await;
    assert_eq!(code(alice, DELETION, &days(&key, "7")).await, FORBIDDEN);
    until(|| server.has_logged("store.row_damaged")).await;
}

#[tokio::test]
async fn no_caller_schedules_a_deletion_alone_and_a_release_is_for_one_call() {
    let account = Account::open("operations = [\"ScheduleKeyDeletion\"]\n");
    let Account { installation, server, alice, .. } = &account;
    let key = account.create_key(&[]).await;
    let other_key = account.create_key(&[]).await;
    let bob =
        ["access-key", "create", "--user", "bob", "--policy", "AliyunKMSFullAccess", "--json"];
    let bob = server.client(&AccessKey::of(&installation.configured(&bob).json()));
    until_code(&bob, "DescribeRegions", &[], "").await;

    // Nothing is requested for a call that is refused in any case.
    assert_eq!(code(alice, DELETION, &days(&key, "1")).await, "InvalidParameter");
    let id = account.requested(DELETION, &days(&key, "7")).await;
    assert_eq!(account.requested(DELETION, &days(&key, "7")).await, id);
    let listed = installation.configured(&["approval", "list", "--json"]).json();
    let row = &listed.as_array().unwrap()[0];
    assert_eq!((text(&row["id"]), text(&row["state"])), (id.as_str(), "Requested"));
    assert_eq!((text(&row["requester"]), text(&row["operation"])), ("user/admin", DELETION));
    assert_eq!(text(&row["resource"]), format!("key/{key}"));

    account.decide("release", &id);
    installation.configured(&["approval", "refuse", &id]).failed(5);
    // Another parameter, another key, another caller.
    assert_ne!(account.requested(DELETION, &days(&key, "8")).await, id);
    assert_ne!(account.requested(DELETION, &days(&other_key, "7")).await, id);
    assert_eq!(code(&bob, DELETION, &days(&key, "7")).await, FORBIDDEN);
    assert_eq!(code(alice, DELETION, &days("alias/none", "7")).await, "Forbidden.AliasNotFound");
    assert_eq!(code(alice, DELETION, &days(&key, "7")).await, "");
    // Once.
    assert_eq!(code(alice, "CancelKeyDeletion", &[("KeyId", &key)]).await, "");
    let second = account.requested(DELETION, &days(&key, "7")).await;
    assert_ne!(second, id);
    account.decide("refuse", &second);
    let (code, message) = outcome(alice, DELETION, &days(&key, "7")).await;
    assert_eq!(code, FORBIDDEN);
    assert!(message.contains("has refused it"), "{message}");
    installation
        .configured(&["approval", "release", "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf"])
        .failed(3);

    let audit = installation.audit_file();
    for (name, count) in
        [("UseApproval", 1), ("RequestApproval", 5), ("ReleaseApproval", 1), ("RefuseApproval", 1)]
    {
        events(&audit, name, count).await;
    }
    let named = |name: &str| -> Vec<Value> {
        let records = records(&audit).into_iter();
        records.filter(|one| one["eventName"] == name && one["record"] == "event").collect()
    };
    for name in ["RequestApproval", "ReleaseApproval", "UseApproval"] {
        let parameters = &named(name)[0]["requestParameters"];
        assert_eq!(
            (text(&parameters["ApprovalId"]), text(&parameters["Requester"])),
            (id.as_str(), "user/admin"),
            "{name}"
        );
    }
    assert_eq!(text(&named("RefuseApproval")[0]["requestParameters"]["ApprovalId"]), second);
}

#[tokio::test]
async fn a_request_that_is_not_released_in_time_expires() {
    let account = Account::open("operations = [\"ScheduleKeyDeletion\"]\nseconds = 1\n");
    let key = account.create_key(&[]).await;
    let params = [("KeyId", key.as_str()), ("PendingWindowInDays", "7")];
    let id = account.requested(DELETION, &params).await;
    let expired = events(&account.installation.audit_file(), "ExpireApproval", 1).await;
    assert_eq!(text(&expired[0]["requestParameters"]["ApprovalId"]), id);
    account.installation.configured(&["approval", "release", &id]).failed(3);
    assert_ne!(account.requested(DELETION, &params).await, id);
}

#[tokio::test]
async fn the_policy_of_a_marked_key_is_not_set_alone_and_the_mark_not_removed() {
    let account = Account::open("operations = [\"SetKeyPolicy\"]\nkey_tag = \"guarded\"\n");
    let alice = &account.alice;
    let tags = [("Tags", r#"[{"TagKey":"guarded","TagValue":"x"},{"TagKey":"a","TagValue":"b"}]"#)];
    let guarded = account.create_key(&tags).await;
    let free = account.create_key(&[]).await;
    let policy = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:*",
        "Resource": "*", "Principal": {"RAM": format!("acs:ram::{ACCOUNT}:*")}}]})
    .to_string();
    let set = |key| [("KeyId", key), ("Policy", policy.as_str())];
    assert_eq!(code(alice, "SetKeyPolicy", &set(&free)).await, "");
    let id = account.requested("SetKeyPolicy", &set(&guarded)).await;
    // The mark.
    let untag = |tag| [("KeyId", guarded.as_str()), ("TagKeys", tag)];
    assert_eq!(code(alice, "UntagResource", &untag(r#"["a"]"#)).await, "");
    account.requested("UntagResource", &untag(r#"["guarded"]"#)).await;
    let all = [
        ("RegionId", "cn-hangzhou"),
        ("ResourceType", "key"),
        ("ResourceId.1", guarded.as_str()),
        ("All", "true"),
    ];
    assert_eq!(code(alice, "UntagResources", &all).await, FORBIDDEN);
    account.decide("release", &id);
    // Another policy.
    let other = policy.replace("\"1\"", "\"1\" ");
    let params = [("KeyId", guarded.as_str()), ("Policy", other.as_str())];
    assert_ne!(account.requested("SetKeyPolicy", &params).await, id);
    assert_eq!(code(alice, "SetKeyPolicy", &set(&guarded)).await, "");
    account.approved("UntagResource", &untag(r#"["guarded"]"#)).await;
    assert_eq!(code(alice, "SetKeyPolicy", &set(&guarded)).await, "");
    // The other operations need none.
    let params = [("KeyId", free.as_str()), ("PendingWindowInDays", "7")];
    assert_eq!(code(alice, DELETION, &params).await, "");
}

#[tokio::test]
async fn no_caller_opens_all_keys_to_an_access_point_alone() {
    let account = Account::open("operations = [\"AccessPoints\"]\n");
    let alice = &account.alice;
    let key = account.create_key(&[]).await;
    let policy =
        |name, resources| [("Name", name), ("Permissions", KEY_USER), ("Resources", resources)];
    let point = |name, policies| [("Name", name), ("Policies", policies)];
    let one = format!(r#"["key/{key}"]"#);
    let (create_policy, create_point) = ("CreatePolicy", "CreateApplicationAccessPoint");
    assert_eq!(code(alice, create_policy, &policy("all", r#"["key/*"]"#)).await, "");
    assert_eq!(code(alice, create_policy, &policy("most", r#"["key/k*"]"#)).await, "");
    assert_eq!(code(alice, create_policy, &policy("one", &one)).await, "");
    let later = point("one", r#"["one","later"]"#);
    assert_eq!(code(alice, create_point, &later).await, "");
    account.requested(create_point, &point("all", r#"["all"]"#)).await;
    account.requested(create_point, &point("most", r#"["most"]"#)).await;
    account.requested(create_policy, &policy("later", r#"["key/*"]"#)).await;
    let wider = [("Name", "one"), ("Resources", r#"["key/*"]"#)];
    account.requested("UpdatePolicy", &wider).await;
    let named = [("Name", "one"), ("Policies", r#"["one","all"]"#)];
    account.requested("UpdateApplicationAccessPoint", &named).await;
    let client_key = [("AapName", "one"), ("Password", PASSWORD)];
    assert_eq!(code(alice, "CreateClientKey", &client_key).await, "");

    account.approved("UpdatePolicy", &wider).await;
    account.approved("CreateClientKey", &client_key).await;
    account.requested("CreateClientKey", &client_key).await;
    assert_eq!(code(alice, "UpdatePolicy", &[("Name", "one"), ("Description", "x")]).await, "");
}
