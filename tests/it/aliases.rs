//! Aliases: make, move, delete, list.

use crate::harness::{Gateway, text};

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
async fn a_name_that_is_no_alias_is_refused() {
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
