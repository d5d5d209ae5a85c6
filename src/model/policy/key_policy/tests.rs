use super::*;

const ACCOUNT: &str = "1234567890123456";

fn statement(principal: &str, rest: &str) -> String {
    format!(r#"{{"Effect":"Allow","Principal":{{"RAM":{principal}}},"Resource":"*",{rest}}}"#)
}

fn document(statements: &[String]) -> String {
    format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(","))
}

fn one(principal: &str, rest: &str) -> Result<KeyPolicy, String> {
    KeyPolicy::parse(&document(&[statement(principal, rest)])).map_err(|fault| fault.to_string())
}

#[test]
fn principals_are_the_account_its_root_its_users_and_its_roles() {
    let account = ACCOUNT.parse().unwrap();
    let other = "9999999999999999".parse().unwrap();
    let (alice, bob) = ("user/alice".parse().unwrap(), "user/bob".parse().unwrap());
    for (principal, is_alice, is_bob, is_root) in [
        (r#""acs:ram::1234567890123456:*""#, true, true, true),
        (r#""acs:ram::1234567890123456:root""#, false, false, true),
        (r#"["acs:ram::1234567890123456:user/alice"]"#, true, false, false),
        (r#"["acs:ram::1234567890123456:role/alice","acs:ram::1:x"]"#, false, false, false),
        (
            r#"["acs:ram::1234567890123456:root","acs:ram::1234567890123456:user/bob"]"#,
            false,
            true,
            true,
        ),
    ] {
        let Ok(policy) = one(principal, r#""Action":"kms:*""#) else {
            assert!(principal.contains("::1:x"), "{principal}");
            continue;
        };
        let statement = &policy.statements()[0];
        for (name, expected) in
            [(&alice, is_alice), (&bob, is_bob), (&PrincipalName::root(), is_root)]
        {
            assert_eq!(statement.is_about(&account, name), expected, "{principal} {name}");
            assert!(!statement.is_about(&other, name));
        }
    }
}

#[test]
fn a_fault_is_reported_with_its_location() {
    let all = r#""acs:ram::1234567890123456:*""#;
    for (principal, rest, expected) in [
        (all, r#""Action":"*""#, "Statement[0].Action: must begin with kms:"),
        (all, r#""NotAction":"kms:*""#, "Statement[0].NotAction: is not supported in a key policy"),
        (all, r#""Action":"kms:*","Sid":"a;b""#, "Statement[0].Sid: must be 1 to 128"),
        (r#"["*"]"#, r#""Action":"kms:*""#, "Statement[0].Principal.RAM[0]: must be acs:ram::"),
        (r#""acs:ram::1:*""#, r#""Action":"kms:*""#, "Statement[0].Principal.RAM: must be"),
        ("[]", r#""Action":"kms:*""#, "Statement[0].Principal.RAM: must not be empty"),
    ] {
        let fault = one(principal, rest).expect_err(rest);
        assert!(fault.starts_with(expected), "{fault}");
    }
    let bare = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
    let fault = KeyPolicy::parse(bare).unwrap_err().to_string();
    assert_eq!(fault, "Statement: has no Principal");
    let elsewhere = document(&[statement(all, r#""Action":"kms:*""#)])
        .replace(r#""Resource":"*""#, r#""Resource":"acs:kms:*:*:key/a""#);
    let fault = KeyPolicy::parse(&elsewhere).unwrap_err().to_string();
    assert_eq!(fault, "Statement[0].Resource: must be *, which means the key");
}

#[test]
fn a_policy_must_leave_a_principal_of_the_account_that_can_change_it() {
    let account: AccountId = ACCOUNT.parse().unwrap();
    let (all, user) =
        (r#""acs:ram::1234567890123456:*""#, r#""acs:ram::1234567890123456:user/alice""#);
    let deny = |principal, rest| statement(principal, rest).replace("Allow", "Deny");
    let any = r#""Action":"kms:*""#;
    let encrypt = r#""Action":"kms:Encrypt""#;
    let from_office = r#""Action":"kms:*","Condition":{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#;
    let other = r#""acs:ram::9999999999999999:*""#;
    for (statements, keeps) in [
        (vec![statement(all, any)], true),
        (vec![statement(user, r#""Action":"kms:Set*""#)], true),
        (vec![statement(all, encrypt)], false),
        (vec![statement(other, any)], false),
        (vec![statement(all, from_office)], false),
        (vec![statement(all, any), deny(all, encrypt)], true),
        (vec![statement(all, any), deny(all, r#""Action":"kms:SetKeyPolicy""#)], false),
        (vec![statement(all, any), deny(user, any)], true),
        (vec![statement(user, any), deny(user, any)], false),
        (vec![statement(all, any), deny(all, from_office)], true),
    ] {
        let policy = KeyPolicy::parse(&document(&statements)).unwrap();
        assert_eq!(policy.check_stays_manageable(&account).is_ok(), keeps, "{statements:?}");
    }
}

#[test]
fn the_default_policy_is_recognized() {
    let account: AccountId = ACCOUNT.parse().unwrap();
    let default = KeyPolicy::parse(&KeyPolicy::default_text(&account)).unwrap();
    assert!(default.statements()[0].is_default_in(&account));
    assert!(!default.statements()[0].is_default_in(&"9999999999999999".parse().unwrap()));
    let narrower = one(r#""acs:ram::1234567890123456:*""#, r#""Action":"kms:Encrypt""#).unwrap();
    assert!(!narrower.statements()[0].is_default_in(&account));
}

#[test]
fn a_deny_may_name_client_keys_and_an_allow_may_not() {
    let account: AccountId = ACCOUNT.parse().unwrap();
    let other = "9999999999999999".parse().unwrap();
    let id = "KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
    let (shop, office) = ("shop".parse().unwrap(), "office".parse().unwrap());
    let everything = r#""Action":"kms:*""#;
    // For a client key of shop with this id, another one of shop, and one of office.
    for (name, expected) in [
        ("*", [true, true, true]),
        ("clientkey/*", [true, true, true]),
        (&format!("clientkey/{id}"), [true, false, false]),
        ("applicationaccesspoint/shop", [true, true, false]),
        ("user/shop", [false, false, false]),
        ("root", [false, false, false]),
    ] {
        let principal = format!(r#""acs:ram::{ACCOUNT}:{name}""#);
        let allow = one(&principal, everything);
        assert_eq!(
            allow.is_ok(),
            !name.contains("clientkey") && !name.contains("access"),
            "{name}"
        );
        let deny = statement(&principal, everything).replace("Allow", "Deny");
        let policy = KeyPolicy::parse(&document(&[deny])).unwrap();
        let deny = &policy.statements()[0];
        let denied = [(&shop, Some(id.parse().unwrap())), (&shop, None), (&office, None)]
            .map(|(point, id)| deny.denies_client_key(&account, point, id));
        assert_eq!(denied, expected, "{name}");
        assert!(!deny.denies_client_key(&other, &shop, Some(id.parse().unwrap())));
        if let Ok(allow) = allow {
            assert!(!allow.statements()[0].denies_client_key(&account, &shop, None));
        }
    }
    for name in ["clientkey/", "clientkey/a", "applicationaccesspoint/*", "clientkey"] {
        let principal = format!(r#""acs:ram::{ACCOUNT}:{name}""#);
        assert!(one(&principal, everything).is_err(), "{name}");
    }
}
