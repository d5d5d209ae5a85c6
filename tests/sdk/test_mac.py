"""Message authentication codes. Their keys never leave the token, so nobody else can make one; the
token's own tests hold them against published vectors."""

import base64
import functools

import pytest

from clients import refused
from test_asymmetric import MESSAGE, text

pytestmark = pytest.mark.needs("GenerateMac")

BYTES = {"HMAC_SHA_224": 28, "HMAC_SHA_256": 32, "HMAC_SHA_384": 48, "HMAC_SHA_512": 64}


def new_mac_key(kms, spec="HMAC_SHA_256"):
    return kms.call("CreateKey", KeySpec=spec)["KeyMetadata"]["KeyId"]


@pytest.fixture(scope="module")
def mac_key(kms):
    """Gives the one key of a spec that cases share which do not change it."""
    return functools.cache(functools.partial(new_mac_key, kms))


def make(kms, key, algorithm, message=MESSAGE):
    made = kms.call("GenerateMac", KeyId=key, Algorithm=algorithm, Message=text(message))
    assert (made["KeyId"], made["Algorithm"]) == (key, algorithm)
    return base64.b64decode(made["Mac"])


def is_good(kms, key, algorithm, mac, message=MESSAGE):
    sent = {"Algorithm": algorithm, "Message": text(message), "Mac": text(mac)}
    return kms.call("VerifyMac", KeyId=key, **sent)["Value"]


@pytest.mark.parametrize("algorithm", BYTES)
def test_a_mac_is_good_and_no_other_is(kms, mac_key, algorithm):
    key = mac_key(algorithm)
    mac = make(kms, key, algorithm)
    assert len(mac) == BYTES[algorithm]
    assert make(kms, key, algorithm) == mac
    assert make(kms, key, algorithm, b"another message") != mac
    assert is_good(kms, key, algorithm, mac) is True
    assert is_good(kms, key, algorithm, mac, b"another message") is False
    for at in (0, len(mac) - 1):
        altered = bytearray(mac)
        altered[at] ^= 1
        assert is_good(kms, key, algorithm, altered) is False
    for garbage in (b"\0", mac[:-1], mac[: len(mac) // 2], mac + b"\0", bytes(len(mac))):
        assert is_good(kms, key, algorithm, garbage) is False


def test_keys_of_one_spec_make_different_macs(kms, mac_key):
    assert make(kms, mac_key(), "HMAC_SHA_256") != make(kms, new_mac_key(kms), "HMAC_SHA_256")


def test_a_mac_key_says_what_it_is_for(kms, mac_key):
    metadata = kms.call("DescribeKey", KeyId=mac_key())["KeyMetadata"]
    assert (metadata["KeySpec"], metadata["KeyUsage"]) == ("HMAC_SHA_256", "GENERATE/VERIFY_MAC")


def calls(key, algorithm="HMAC_SHA_256"):
    sent = {"KeyId": key, "Algorithm": algorithm, "Message": text(MESSAGE)}
    return {"GenerateMac": sent, "VerifyMac": {**sent, "Mac": text(bytes(32))}}


@pytest.mark.parametrize("algorithm", ["HMAC_SHA_224", "HMAC_SHA_512", "HMAC_SM3"])
def test_another_hash_than_the_keys_is_refused(kms, mac_key, algorithm):
    for action, parameters in calls(mac_key(), algorithm).items():
        with refused("Rejected.UnsupportedOperation", 400):
            kms.call(action, **parameters)


def test_a_key_for_something_else_makes_no_mac(kms, key, mac_key):
    for action, parameters in calls(key).items():
        with refused("Rejected.UnsupportedOperation", 400):
            kms.call(action, **parameters)
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("Encrypt", KeyId=mac_key(), Plaintext=text(MESSAGE))


@pytest.mark.parametrize("fault", [{"Algorithm": "HMAC_MD5"}, {"Message": "not Base64!"}])
def test_a_parameter_that_is_none_is_refused_by_name(kms, mac_key, fault):
    for action, parameters in calls(mac_key()).items():
        with refused("InvalidParameter", 400) as refusal:
            kms.call(action, **{**parameters, **fault})
        assert next(iter(fault)) in refusal.value.message


def test_a_dry_run_checks_and_does_nothing(kms, mac_key):
    for action, parameters in calls(mac_key()).items():
        with refused("DryRunOperationError", 400):
            kms.call(action, DryRun="true", **parameters)


def test_a_mac_key_that_is_not_enabled_is_of_no_use(kms):
    key = new_mac_key(kms)
    mac = make(kms, key, "HMAC_SHA_256")
    kms.call("DisableKey", KeyId=key)
    for action, parameters in calls(key).items():
        with refused("Rejected.Disabled", 409):
            kms.call(action, **parameters)
    kms.call("EnableKey", KeyId=key)
    assert is_good(kms, key, "HMAC_SHA_256", mac) is True
    kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    for action, parameters in calls(key).items():
        with refused("Rejected.PendingDeletion", 409):
            kms.call(action, **parameters)
