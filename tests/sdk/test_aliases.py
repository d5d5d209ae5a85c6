"""Aliases: made, moved, listed, taken away."""

import uuid

from clients import refused


def listed(kms, **key):
    """The rows of the aliases of one key."""
    return kms.call("ListAliasesByKeyId", PageSize=100, **key)["Aliases"]["Alias"]


def unused():
    return f"alias/sdk/{uuid.uuid4()}"


def test_an_alias_is_listed_with_its_key(kms, gateway, key, alias):
    row = {"AliasName": alias, "AliasArn": gateway.arn(alias), "KeyId": key}
    assert row in kms.call("ListAliases", PageSize=100)["Aliases"]["Alias"]
    assert listed(kms, KeyId=key) == [row]
    assert listed(kms, KeyId=gateway.arn(f"key/{key}")) == [row]


def test_the_aliases_of_a_key_are_paged(kms, key, alias):
    second = unused()
    kms.call("CreateAlias", KeyId=key, AliasName=second)
    pages = [
        kms.call("ListAliasesByKeyId", KeyId=key, PageNumber=number, PageSize=1)
        for number in (1, 2)
    ]
    assert [page["TotalCount"] for page in pages] == [2, 2]
    names = [row["AliasName"] for page in pages for row in page["Aliases"]["Alias"]]
    assert sorted(names) == sorted([alias, second])


def test_an_alias_names_one_key_only(kms, new_key, alias):
    with refused("AliasAlreadyExists", 400):
        kms.call("CreateAlias", KeyId=new_key(), AliasName=alias)


def test_an_alias_moves_to_another_key(kms, key, new_key, alias):
    target = new_key()
    kms.call("UpdateAlias", KeyId=target, AliasName=alias)
    assert kms.call("DescribeKey", KeyId=alias)["KeyMetadata"]["KeyId"] == target
    assert listed(kms, KeyId=key) == []


def test_a_deleted_alias_names_nothing(kms, key, alias):
    kms.call("DeleteAlias", AliasName=alias)
    assert listed(kms, KeyId=key) == []
    with refused("Forbidden.AliasNotFound", 404):
        kms.call("DescribeKey", KeyId=alias)


def test_an_alias_that_is_not_there_cannot_be_moved_or_deleted(kms, key):
    with refused("Forbidden.AliasNotFound", 404):
        kms.call("UpdateAlias", KeyId=key, AliasName=unused())
    with refused("Forbidden.AliasNotFound", 404):
        kms.call("DeleteAlias", AliasName=unused())


def test_an_alias_without_its_prefix_is_refused_by_name(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        kms.call("CreateAlias", KeyId=key, AliasName="orders")
    assert "AliasName" in refusal.value.message
