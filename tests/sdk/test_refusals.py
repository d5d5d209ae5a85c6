"""Who is refused, and what for."""

import uuid

import pytest

from clients import refused
from test_crypto import PLAINTEXT, encrypt


def unknown_key(key):
    """An id of the same form that names no key: its last four characters are changed."""
    return key[:-4] + ("0000" if key[-4:] != "0000" else "1111")


def test_every_answer_and_every_refusal_carries_a_request_id(kms, key):
    answers = [encrypt(kms, key)["RequestId"], encrypt(kms, key)["RequestId"]]
    with refused("Forbidden.AliasNotFound", 404) as refusal:
        encrypt(kms, "alias/nothing")
    ids = [uuid.UUID(text) for text in [*answers, refusal.value.request_id]]
    assert len(set(ids)) == 3


def test_a_wrong_secret_is_refused(connect, gateway, pytestconfig):
    # The old Python SDK compares the string to sign and puts this code in the place of ours.
    is_old = pytestconfig.getoption("--sdk") == "python-old"
    code = "InvalidAccessKeySecret" if is_old else "SignatureDoesNotMatch"
    with connect(gateway, access_key_secret="not the secret") as kms, refused(code, 400):
        kms.call("DescribeRegions")


def test_an_unknown_access_key_is_refused(connect, gateway):
    with connect(gateway, access_key_id="LTAInobody") as kms:
        with refused("InvalidAccessKeyId.NotFound", 404):
            kms.call("DescribeRegions")


@pytest.mark.parametrize(
    "action", ["DescribeKey", "EnableKey", "ListKeyVersions", "ListAliasesByKeyId", "CreateKeyVersion"]
)
def test_an_unknown_key_is_not_found(kms, key, action):
    with refused("Forbidden.KeyNotFound", 404):
        kms.call(action, KeyId=unknown_key(key))


def test_nothing_is_encrypted_under_an_unknown_key_or_alias(kms, key):
    with refused("Forbidden.KeyNotFound", 404):
        encrypt(kms, unknown_key(key))
    with refused("Forbidden.AliasNotFound", 404):
        encrypt(kms, f"alias/{uuid.uuid4()}")


def test_a_missing_parameter_is_refused_by_name(kms, key):
    with refused("MissingParameter", 400) as refusal:
        kms.call("Encrypt", KeyId=key)
    assert "Plaintext" in refusal.value.message


@pytest.mark.needs("AdvanceEncrypt")
def test_an_action_of_another_api_is_not_found(kms):
    with refused("InvalidAction.NotFound", 404):
        kms.call("AdvanceEncrypt")


def test_too_many_calls_a_second_are_throttled(connect, throttled_gateway):
    with connect(throttled_gateway) as kms, refused("Rejected.Throttling", 429):
        for _ in range(50):
            encrypt(kms, throttled_gateway.alias, plaintext=PLAINTEXT)
