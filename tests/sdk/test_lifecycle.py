"""Rotation, deletion protection, imported keys' first state, the key policy."""

import json

import pytest

from clients import refused
from test_states import metadata, schedule_deletion


def test_a_rotation_policy_is_set_shown_and_taken_back(kms, key):
    kms.call(
        "UpdateRotationPolicy", KeyId=key, EnableAutomaticRotation=True, RotationInterval="365d"
    )
    described = metadata(kms, key)
    assert described["AutomaticRotation"] == "Enabled"
    assert described["RotationInterval"] == "31536000s"
    assert described["NextRotationDate"] > described["LastRotationDate"]
    kms.call("DisableKey", KeyId=key)
    assert metadata(kms, key)["AutomaticRotation"] == "Suspended"
    kms.call("EnableKey", KeyId=key)
    kms.call("UpdateRotationPolicy", KeyId=key, EnableAutomaticRotation=False)
    assert metadata(kms, key)["AutomaticRotation"] == "Disabled"


def test_an_interval_out_of_range_is_refused_by_name(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        kms.call(
            "UpdateRotationPolicy", KeyId=key, EnableAutomaticRotation=True, RotationInterval="6d"
        )
    assert "RotationInterval" in refusal.value.message


def test_a_key_pair_does_not_rotate(kms):
    made = kms.call("CreateKey", KeySpec="EC_P256", KeyUsage="SIGN/VERIFY")["KeyMetadata"]
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call(
            "UpdateRotationPolicy",
            KeyId=made["KeyId"],
            EnableAutomaticRotation=True,
            RotationInterval="365d",
        )


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("Aliyun_AES_128", "ENCRYPT/DECRYPT"),
        ("RSA_2048", "ENCRYPT/DECRYPT"),
        ("RSA_2048", "SIGN/VERIFY"),
        ("EC_P256", "SIGN/VERIFY"),
        ("EC_P256K", "SIGN/VERIFY"),
        ("HMAC_SHA_256", "GENERATE/VERIFY_MAC"),
    ],
)
def test_keys_of_other_specs_are_made(kms, spec, usage):
    made = kms.call("CreateKey", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    assert (made["KeySpec"], made["KeyUsage"], made["KeyState"]) == (spec, usage, "Enabled")


def test_what_the_token_cannot_do_is_not_supported(kms):
    with refused("UnsupportedOperation", 400):
        kms.call("CreateKey", KeySpec="EC_SM2", KeyUsage="SIGN/VERIFY")


def test_a_key_of_external_origin_waits_for_its_material(kms):
    made = kms.call("CreateKey", Origin="EXTERNAL")["KeyMetadata"]
    assert made["KeyState"] == "PendingImport"
    with refused("Rejected.PendingImport", 409):
        kms.call("GenerateDataKey", KeyId=made["KeyId"])


@pytest.mark.needs("SetDeletionProtection")
def test_a_protected_key_is_not_deleted(kms, gateway, key):
    arn = gateway.arn(f"key/{key}")
    kms.call(
        "SetDeletionProtection",
        ProtectedResourceArn=arn,
        EnableDeletionProtection=True,
        DeletionProtectionDescription="the orders",
    )
    described = metadata(kms, key)
    assert described["DeletionProtection"] == "Enabled"
    assert described["DeletionProtectionDescription"] == "the orders"
    with refused("Rejected.UnsupportedOperation", 400) as refusal:
        schedule_deletion(kms, key)
    assert "deletion protection" in refusal.value.message
    kms.call("SetDeletionProtection", ProtectedResourceArn=arn, EnableDeletionProtection=False)
    schedule_deletion(kms, key)


@pytest.mark.needs("GetKeyPolicy")
def test_a_policy_is_given_back_as_it_was_set(kms, gateway, key):
    default = json.loads(kms.call("GetKeyPolicy", KeyId=key, PolicyName="default")["Policy"])
    assert default["Statement"][0]["Sid"] == "kms default key policy"
    default["Statement"][0]["Sid"] = "mine"
    own = json.dumps(default, indent=1)
    kms.call("SetKeyPolicy", KeyId=key, PolicyName="default", Policy=own)
    assert kms.call("GetKeyPolicy", KeyId=key, PolicyName="default")["Policy"] == own
    with refused("Forbidden.ResourceNotFound", 404):
        kms.call("GetKeyPolicy", KeyId=key, PolicyName="other")
    with refused("InvalidParameter", 400):
        kms.call("SetKeyPolicy", KeyId=key, PolicyName="default", Policy="{}")
