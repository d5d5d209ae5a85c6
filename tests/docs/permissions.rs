//! `docs/permissions.md`: the permission that each operation needs, and which system policies give it.
//! Written from the tables of operations and decided by the policies themselves.

use std::fmt::Write as _;

use hsmgate::api::instance::table as instance;
use hsmgate::api::rpc::table::TABLE;
use hsmgate::authz::{ApplicablePolicies, decide};
use hsmgate::model::policy::{
    AttachedPolicy, PolicyRequest, Resource, ResourceName, SYSTEM_POLICIES, SystemPolicy,
};
use hsmgate::model::{Api, PrincipalName, RegionAccount, RequestContext, Time};

use crate::check_page;

const HEAD: &str = "\
# Permissions

Generated from the table of operations and the system policies in the program; a test compares them.
Every operation needs the permissions in this table; only DescribeRegions and GetCallerIdentity need none.
[Access control](access-control.md) describes the resources of a permission and the form of policies.
UpdateAlias needs its permission three times: on the alias, on its current key, and on its new key.

| operation | permission |";

const CLIENT_KEYS: &str = "
## Client keys

The policies of its access point authorize a client key, instead of RAM policies ([the KMS Instance
protocol](instance-protocol.md)); a [key policy](access-control.md#key-policies) can deny it.
`RbacPermission/Template/CryptoServiceKeyUser` grants these permissions on the keys of the policy. They
are all that the KMS Instance protocol needs. Therefore a client key of an access point with `key/*` may
use every key, and only a caller who may do so
[can create it](access-control.md#permissions-that-a-caller-hands-out).

";

const CALLS_OF_CLIENT_KEYS: &str = "
A client key may call only these operations of the public API
([how](instance-protocol.md#a-client-key-with-the-public-api)); every other operation returns 403
`Forbidden.NoPermission`:

| operation | permission of the access point |
|---|---|
";

/// Actions that are answered to every caller whose signature is good.
const WITHOUT_PERMISSION: &[&str] = &["DescribeRegions", "GetCallerIdentity"];

fn page(region_account: &RegionAccount) -> String {
    let mut page = String::from(HEAD);
    for policy in SYSTEM_POLICIES.iter() {
        write!(page, " {} |", short(policy)).unwrap();
    }
    writeln!(page, "\n|---|---|{}", "---|".repeat(SYSTEM_POLICIES.len())).unwrap();
    let mut rows: Vec<(&str, &str)> = TABLE
        .iter()
        .flat_map(|entry| {
            let more = entry.extra_permissions.iter().copied();
            std::iter::once(entry.permission).chain(more).map(|action| (entry.name, action))
        })
        .collect();
    rows.sort_unstable();
    for (name, action) in rows {
        let shown = if WITHOUT_PERMISSION.contains(&name) {
            "none".to_owned()
        } else {
            format!("`{action}`")
        };
        write!(page, "| {name} | {shown} |").unwrap();
        for policy in SYSTEM_POLICIES.iter() {
            let is_given =
                WITHOUT_PERMISSION.contains(&name) || gives(policy, action, region_account);
            write!(page, " {} |", if is_given { "yes" } else { "" }).unwrap();
        }
        page.push('\n');
    }
    page.push_str(CLIENT_KEYS);
    let mut granted: Vec<_> = instance::TABLE.iter().map(|entry| entry.permission).collect();
    granted.sort_unstable();
    for action in granted {
        writeln!(page, "- `{action}`").unwrap();
    }
    page.push_str(CALLS_OF_CLIENT_KEYS);
    for entry in TABLE.iter() {
        if let Some(granted) = entry.client_keys {
            writeln!(page, "| {} | `{granted}` |", entry.name).unwrap();
        }
    }
    page.push_str("\n## The system policies\n");
    for policy in SYSTEM_POLICIES.iter() {
        write!(page, "\n### {}\n\n{}\n\n", policy.name, policy.purpose).unwrap();
        write!(page, "```json\n{}\n```\n", policy.text).unwrap();
    }
    page
}

fn short(policy: &SystemPolicy) -> &str {
    let name = policy.name;
    let short = name.strip_prefix("AliyunKMS").and_then(|name| name.strip_suffix("Access"));
    short.unwrap_or(name)
}

fn gives(policy: &SystemPolicy, action: &str, region_account: &RegionAccount) -> bool {
    let policies = [AttachedPolicy::system(policy.name).unwrap()];
    let principal = PrincipalName::user("anyone").unwrap();
    let policies = ApplicablePolicies {
        account: &region_account.account,
        principal: &principal,
        policies: &policies,
        session: None,
        key_policy: None,
    };
    let policy_request = PolicyRequest {
        action,
        resource: Resource::new(region_account, ResourceName::Other("key/any")),
        request: &RequestContext {
            is_secure: false,
            time: Time::from_unix(0),
            ..RequestContext::now([127, 0, 0, 1].into())
        },
        tags: None,
        context: None,
        trust: None,
    };
    decide(&policies, &policy_request).is_allowed()
}

fn region_account() -> RegionAccount {
    RegionAccount {
        region: "cn-hangzhou".parse().unwrap(),
        account: "1234567890123456".parse().unwrap(),
    }
}

#[test]
fn the_permissions_page_says_what_table_and_policies_say() {
    check_page("docs/permissions.md", &page(&region_account()));
}

#[test]
fn key_users_may_call_every_operation_of_the_instance_protocol() {
    for entry in instance::TABLE.iter() {
        assert_eq!(entry.client_keys, Some(entry.permission), "{}", entry.name);
    }
}

#[test]
fn only_full_access_gives_everything() {
    let region_account = region_account();
    for policy in SYSTEM_POLICIES.iter() {
        let mut of_kms = TABLE.iter().filter(|entry| entry.api == Api::Kms);
        let all = of_kms.all(|entry| gives(policy, entry.permission, &region_account));
        assert_eq!(all, policy.name == "AliyunKMSFullAccess", "{}", policy.name);
    }
}
