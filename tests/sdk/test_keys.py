"""Keys: made, described, listed, named anew."""

import re

import pytest

from clients import refused

AWKWARD = "Zahlungen & Grüße = 支付 + ~*'()!/:%20"


def describe(kms, key):
    return kms.call("DescribeKey", KeyId=key)["KeyMetadata"]


def test_a_new_key_is_enabled_and_described_in_full(kms, gateway):
    made = kms.call("CreateKey", Description="orders")["KeyMetadata"]
    assert made["Arn"] == gateway.arn(f"key/{made['KeyId']}")
    assert made["Creator"] == gateway.account
    assert made["Description"] == "orders"
    assert made["KeySpec"] == "Aliyun_AES_256"
    assert made["KeyUsage"] == "ENCRYPT/DECRYPT"
    assert made["KeyState"] == "Enabled"
    assert made["Origin"] == "Aliyun_KMS"
    assert len(made["PrimaryKeyVersion"]) == 36
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["CreationDate"])
    described = describe(kms, made["KeyId"])
    assert described == {**described, **made}


def test_a_key_is_described_by_id_alias_and_arn(kms, gateway, key, alias):
    for name in [key, alias, gateway.arn(f"key/{key}"), gateway.arn(alias)]:
        assert describe(kms, name)["KeyId"] == key


def test_a_spec_of_the_key_can_be_named(kms):
    made = kms.call("CreateKey", KeySpec="Aliyun_AES_256", KeyUsage="ENCRYPT/DECRYPT")
    assert made["KeyMetadata"]["KeySpec"] == "Aliyun_AES_256"


def test_an_unknown_spec_is_refused(kms):
    with refused("InvalidParameter", 400):
        kms.call("CreateKey", KeySpec="Aliyun_AES_257")


def test_a_description_keeps_every_character_and_can_be_cleared(kms, key):
    kms.call("UpdateKeyDescription", KeyId=key, Description=AWKWARD)
    assert describe(kms, key)["Description"] == AWKWARD
    kms.call("UpdateKeyDescription", KeyId=key, Description="")
    assert describe(kms, key)["Description"] == ""


def listed(kms, size):
    """The rows of every page of the list of keys."""
    rows, number, total = [], 1, None
    while total is None or len(rows) < total:
        page = kms.call("ListKeys", PageNumber=number, PageSize=size)
        assert (page["PageNumber"], page["PageSize"]) == (number, size)
        assert 1 <= len(page["Keys"]["Key"]) <= size
        rows += page["Keys"]["Key"]
        number, total = number + 1, page["TotalCount"]
    return rows


def test_the_pages_of_the_list_hold_every_key_once(kms, new_key):
    made = [new_key() for _ in range(3)]
    ids = [row["KeyId"] for row in listed(kms, size=2)]
    assert len(ids) == len(set(ids))
    assert set(made) <= set(ids)


def test_a_row_of_the_list_has_the_arn_of_the_key(kms, gateway, key):
    assert {"KeyId": key, "KeyArn": gateway.arn(f"key/{key}")} in listed(kms, size=100)


def test_a_page_beyond_the_end_is_empty(kms, key):
    page = kms.call("ListKeys", PageNumber=1000)
    assert page["Keys"]["Key"] == []
    assert page["TotalCount"] >= 1


@pytest.mark.parametrize("page", [{"PageSize": 101}, {"PageNumber": 0}])
def test_a_page_out_of_range_is_refused_by_name(kms, page):
    with refused("InvalidParameter", 400) as refusal:
        kms.call("ListKeys", **page)
    assert next(iter(page)) in refusal.value.message


def test_the_region_is_listed(kms, gateway):
    regions = kms.call("DescribeRegions")["Regions"]["Region"]
    assert {"RegionId": gateway.region} in regions
