"""Tags, by the older operations on one key and the newer ones on several."""

import json

import pytest

from clients import refused
from test_refusals import unknown_key

TEAM = json.dumps([{"TagKey": "team", "TagValue": "orders订单/1"}])


def tags_of(kms, key):
    rows = kms.call("ListResourceTags", KeyId=key)["Tags"]["Tag"]
    assert all(row["KeyId"] == key for row in rows)
    return {row["TagKey"]: row["TagValue"] for row in rows}


def test_a_key_is_tagged_and_untagged(kms, key):
    assert tags_of(kms, key) == {}
    kms.call("TagResource", KeyId=key, Tags=TEAM)
    assert tags_of(kms, key) == {"team": "orders订单/1"}
    kms.call("UntagResource", KeyId=key, TagKeys='["team"]')
    assert tags_of(kms, key) == {}


@pytest.mark.needs("CreateKey.Tags")
def test_a_key_is_made_with_tags(kms):
    key = kms.call("CreateKey", Tags=TEAM)["KeyMetadata"]["KeyId"]
    assert tags_of(kms, key) == {"team": "orders订单/1"}


def test_a_tag_of_the_cloud_itself_is_refused_by_name(kms, key):
    with refused("InvalidParameter.TagKey", 400) as refusal:
        kms.call("TagResource", KeyId=key, Tags='[{"TagKey":"acs:a","TagValue":""}]')
    assert "acs:" in refusal.value.message


def resources(gateway, *keys):
    return {"RegionId": gateway.region, "ResourceType": "key", "ResourceId": list(keys)}


@pytest.mark.needs("TagResources")
def test_several_keys_are_tagged_listed_and_untagged(kms, gateway, new_key):
    keys = [new_key(), new_key()]
    both = resources(gateway, *keys)
    tags = [{"Key": "team", "Value": "orders"}, {"Key": "stage", "Value": "test"}]
    kms.call("TagResources", **both, Tag=tags)
    assert tags_of(kms, keys[1]) == {"team": "orders", "stage": "test"}
    listed = kms.call("ListTagResources", **both)
    rows = listed["TagResources"]["TagResource"]
    assert {(row["ResourceId"], row["TagKey"], row["TagValue"]) for row in rows} == {
        (key, tag["Key"], tag["Value"]) for key in keys for tag in tags
    }
    assert listed["NextToken"] == ""
    kms.call("UntagResources", **both, TagKey=["team", "unknown"])
    assert tags_of(kms, keys[0]) == {"stage": "test"}
    kms.call("UntagResources", **both, All=True)
    assert tags_of(kms, keys[0]) == {}


@pytest.mark.needs("TagResources")
def test_what_is_wrong_with_many_tags_has_a_code_of_its_own(kms, gateway, key):
    def tag(*names, key=key):
        tags = [{"Key": name, "Value": "x"} for name in names]
        kms.call("TagResources", **resources(gateway, key), Tag=tags)

    with refused("InvalidParameter.TagKey", 400):
        tag("acs:a")
    with refused("Duplicate.TagKey", 400):
        tag("a", "a")
    with refused("InvalidResourceId.NotFound", 404):
        tag("a", key=unknown_key(key))
