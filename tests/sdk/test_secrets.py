"""Secrets: their values, versions, labels and deletion."""

import json
import string
import uuid
from xml.etree import ElementTree

import pytest

from clients import refused
from clients.secret_values import AWKWARD, NOT_IN_XML

TAGS = json.dumps([{"TagKey": "team", "TagValue": "orders订单/1"}])


def create(kms, value="first", **more):
    """A new secret with the version `v1`; gives its name."""
    name = f"sdk/{uuid.uuid4()}"
    made = kms.call("CreateSecret", SecretName=name, VersionId="v1", SecretData=value, **more)
    assert (made["SecretName"], made["VersionId"]) == (name, "v1")
    return name


def put(kms, name, version, value, stages=None):
    labels = json.dumps(stages) if stages else None
    kms.call(
        "PutSecretValue", SecretName=name, VersionId=version, SecretData=value, VersionStages=labels
    )


def value(kms, name, **which):
    return kms.call("GetSecretValue", SecretName=name, **which)["SecretData"]


def versions(kms, name, **which):
    """The labels of each version, newest first."""
    listed = kms.call("ListSecretVersionIds", SecretName=name, **which)
    return {
        row["VersionId"]: row["VersionStages"]["VersionStage"]
        for row in listed["VersionIds"]["VersionId"]
    }


@pytest.fixture
def secret(kms):
    """The name of a secret that no other case uses."""
    return create(kms)


def test_a_secret_is_described_as_it_was_created(kms, gateway, key):
    name = create(kms, SecretDataType="binary", EncryptionKeyId=key, Tags=TAGS, Description="说明")
    described = kms.call("DescribeSecret", SecretName=name, FetchTags="true")
    assert described["Arn"] == gateway.arn(f"secret/{name}")
    assert (described["EncryptionKeyId"], described["Description"]) == (key, "说明")
    assert described["Tags"]["Tag"] == [{"TagKey": "team", "TagValue": "orders订单/1"}]
    read = kms.call("GetSecretValue", SecretName=name)
    assert (read["SecretData"], read["SecretDataType"]) == ("first", "binary")
    assert (read["VersionId"], read["VersionStages"]) == ("v1", {"VersionStage": ["ACSCurrent"]})


def test_a_field_that_the_caller_did_not_give_is_absent(kms, secret):
    described = kms.call("DescribeSecret", SecretName=secret)
    assert {"EncryptionKeyId", "DKMSInstanceId", "PlannedDeleteTime"}.isdisjoint(described)


def test_a_secret_is_listed_and_its_description_changes(kms, secret):
    kms.call("UpdateSecret", SecretName=secret, Description="changed")
    assert kms.call("DescribeSecret", SecretName=secret)["Description"] == "changed"
    listed, page = [], 1
    while True:
        answer = kms.call("ListSecrets", PageNumber=page, PageSize=100)
        rows = answer["SecretList"]["Secret"]
        listed += [row["SecretName"] for row in rows]
        if len(rows) < 100:
            break
        page += 1
    assert listed.count(secret) == 1
    assert len(listed) == answer["TotalCount"]


def test_a_label_moves_and_a_former_version_is_current_again(kms, secret):
    put(kms, secret, "v2", "second")
    assert versions(kms, secret) == {"v2": ["ACSCurrent"], "v1": ["ACSPrevious"]}
    assert value(kms, secret, VersionStage="ACSPrevious") == "first"
    assert value(kms, secret, VersionId="v2") == "second"
    kms.call(
        "UpdateSecretVersionStage", SecretName=secret, VersionStage="ACSCurrent", MoveToVersion="v1"
    )
    assert value(kms, secret) == "first"
    # Repeated it changes nothing, and another value under its id is refused.
    put(kms, secret, "v2", "second")
    assert value(kms, secret) == "first"
    with refused("Rejected.ResourceExist", 409):
        put(kms, secret, "v2", "other")


def test_the_eleventh_version_drops_the_oldest_without_a_label(kms, secret):
    """Eight labels on seven of eleven versions."""
    for number in range(2, 12):
        put(kms, secret, f"v{number}", f"value {number}", [f"keep-{number}"] if number < 8 else None)
    labels = versions(kms, secret, IncludeDeprecated="true", PageSize=100)
    assert labels == {
        "v11": ["ACSCurrent"],
        "v10": ["ACSPrevious"],
        "v9": [],
        **{f"v{number}": [f"keep-{number}"] for number in range(7, 1, -1)},
        "v8": [],
    }
    with refused("Forbidden.ResourceNotFound", 404):
        value(kms, secret, VersionId="v1")
    with refused("Rejected.LimitExceeded", 400):
        put(kms, secret, "v12", "x", ["ninth"])
    assert value(kms, secret, VersionStage="keep-2") == "value 2"


@pytest.mark.parametrize("case", AWKWARD)
def test_a_value_comes_back_byte_for_byte(kms, case):
    name = create(kms, AWKWARD[case])
    assert value(kms, name) == AWKWARD[case]
    put(kms, name, "v2", f"{AWKWARD[case][1:]}2")
    assert value(kms, name) == f"{AWKWARD[case][1:]}2"
    # The equal value is found equal.
    put(kms, name, "v1", AWKWARD[case])


@pytest.mark.only("python-old")
@pytest.mark.parametrize("case", AWKWARD)
def test_a_value_comes_back_in_xml_or_is_refused(kms, case):
    name = create(kms, AWKWARD[case])
    body = kms.send_for_xml(kms.request("GetSecretValue", SecretName=name))
    answer = ElementTree.fromstring(body)
    if case in NOT_IN_XML:
        assert answer.findtext("Code") == "InvalidParameter"
        assert "XML" in answer.findtext("Message")
    else:
        assert answer.findtext("SecretData") == AWKWARD[case]


def test_a_value_of_one_byte_too_many_is_refused(kms, secret):
    for size in (30_721, 40_000):
        with refused("InvalidParameter", 400) as refusal:
            put(kms, secret, "v2", "x" * size)
        assert "SecretData" in refusal.value.message
    with refused("InvalidParameter", 400):
        put(kms, secret, "v2", "ж" * 15_361)


def test_a_deleted_secret_is_restored_or_gone(kms, secret):
    kms.call("DeleteSecret", SecretName=secret, RecoveryWindowInDays="7")
    assert kms.call("DescribeSecret", SecretName=secret)["PlannedDeleteTime"]
    with refused("Rejected.ResourceInDeleteWindow", 409):
        value(kms, secret)
    with refused("Rejected.ResourceInDeleteWindow", 409):
        kms.call("CreateSecret", SecretName=secret, VersionId="v1", SecretData="x")
    kms.call("RestoreSecret", SecretName=secret)
    assert value(kms, secret) == "first"
    # Terraform sends both.
    kms.call(
        "DeleteSecret",
        SecretName=secret,
        ForceDeleteWithoutRecovery="true",
        RecoveryWindowInDays="30",
    )
    with refused("Forbidden.ResourceNotFound", 404):
        value(kms, secret)
    kms.call("CreateSecret", SecretName=secret, VersionId="v1", SecretData="anew")
    assert value(kms, secret) == "anew"


def test_a_name_is_taken_once(kms, secret):
    with refused("Rejected.ResourceExist", 409):
        kms.call("CreateSecret", SecretName=secret, VersionId="v1", SecretData="first")


@pytest.mark.needs("GetKeyPolicy")
def test_a_policy_comes_back_letter_for_letter(kms, gateway, secret):
    policy = kms.call("GetSecretPolicy", SecretName=secret)["Policy"]
    assert json.loads(policy)["Statement"][0]["Sid"] == "kms default secret policy"
    policy = json.dumps(json.loads(policy), indent=3).replace("default secret", "own")
    kms.call("SetSecretPolicy", SecretName=secret, PolicyName="default", Policy=policy)
    assert kms.call("GetSecretPolicy", SecretName=secret, PolicyName="default")["Policy"] == policy


@pytest.mark.needs("TagResources")
def test_a_secret_is_tagged_in_both_ways(kms, gateway, secret):
    kms.call("TagResource", SecretName=secret, Tags=TAGS)
    which = {"RegionId": gateway.region, "ResourceType": "secret", "ResourceId": [secret]}
    kms.call("TagResources", **which, Tag=[{"Key": "stage", "Value": "test"}])
    listed = kms.call("ListTagResources", **which)["TagResources"]["TagResource"]
    assert {(row["TagKey"], row["TagValue"]) for row in listed} == {
        ("team", "orders订单/1"),
        ("stage", "test"),
    }
    kms.call("UntagResource", SecretName=secret, TagKeys='["team"]')
    kms.call("UntagResources", **which, All=True)
    assert kms.call("ListTagResources", **which)["TagResources"]["TagResource"] == []


# Services of the cloud rotate managed secrets only.
@pytest.mark.needs("AccessPoints")
def test_a_generic_secret_is_not_rotated(kms, secret):
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("RotateSecret", SecretName=secret, VersionId="v2")
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("UpdateSecretRotationPolicy", SecretName=secret, EnableAutomaticRotation=True)
    kms.call("UpdateSecretRotationPolicy", SecretName=secret, EnableAutomaticRotation=False)
    with refused("Rejected.UnsupportedOperation", 400):
        create(kms, SecretType="Rds")


@pytest.mark.only("python-new-acs3", "python-new-acs4", "python-new-rpc1", "python-new-async")
def test_several_secrets_are_read_at_once(kms, secret):
    put(kms, secret, "v2", "second")
    wanted = [
        {"SecretName": secret},
        {"SecretName": secret, "VersionStage": "ACSPrevious"},
        {"SecretName": "none"},
    ]
    answer = kms.call("BatchGetSecretValue", SecretsList=wanted)
    assert [row["SecretData"] for row in answer["SecretValues"]] == ["second", "first"]
    errors = [(row["SecretName"], row["Code"], row["HttpStatus"]) for row in answer["Errors"]]
    assert errors == [("none", "Forbidden.ResourceNotFound", 404)]


def test_a_random_password_has_what_was_asked_for(kms):
    plain = kms.call("GetRandomPassword")["RandomPassword"]
    assert len(plain) == 32
    sets = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation)
    assert all(set(plain) & set(wanted) for wanted in sets)
    digits = kms.call(
        "GetRandomPassword",
        PasswordLength="128",
        ExcludeLowercase="true",
        ExcludeUppercase="true",
        ExcludePunctuation="true",
        ExcludeCharacters="01234567",
    )["RandomPassword"]
    assert len(digits) == 128
    assert set(digits) == {"8", "9"}
