"""DryRun checks everything, does nothing, and always answers with an error."""

import pytest

from clients import refused
from test_crypto import PLAINTEXT, encrypt
from test_refusals import unknown_key

pytestmark = pytest.mark.needs("DryRun")


def calls(key, blob):
    """Every operation of today that knows DryRun, in a call that would be done."""
    return {
        "Encrypt": {"KeyId": key, "Plaintext": PLAINTEXT},
        "Decrypt": {"CiphertextBlob": blob},
        "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": key},
        "GenerateDataKey": {"KeyId": key},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": key},
    }


def test_a_call_that_would_be_done_says_so(kms, key):
    blob = encrypt(kms, key)["CiphertextBlob"]
    for action, parameters in calls(key, blob).items():
        with refused("DryRunOperationError", 400):
            kms.call(action, DryRun="true", **parameters)


def test_without_dry_run_the_call_is_done(kms, key):
    answer = kms.call("Encrypt", KeyId=key, Plaintext=PLAINTEXT, DryRun="false")
    assert answer["KeyId"] == key


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ({"KeyId": "alias/nothing"}, "Forbidden.AliasNotFound", 404),
        ({"KeyId": "not a key"}, "InvalidParameter", 400),
        ({"Plaintext": "not Base64!"}, "InvalidParameter", 400),
        ({"EncryptionContext": '["a list"]'}, "InvalidParameter", 400),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else str(value),
)
def test_a_fault_is_the_error_that_the_call_would_have_met(kms, key, fault, code, status):
    parameters = {"KeyId": key, "Plaintext": PLAINTEXT, **fault}
    with refused(code, status):
        kms.call("Encrypt", DryRun="true", **parameters)


def test_an_unknown_key_is_not_found(kms, key):
    with refused("Forbidden.KeyNotFound", 404):
        kms.call("Encrypt", KeyId=unknown_key(key), Plaintext=PLAINTEXT, DryRun="true")


def test_a_disabled_key_refuses(kms, key):
    kms.call("DisableKey", KeyId=key)
    with refused("Rejected.Disabled", 409):
        kms.call("Encrypt", KeyId=key, Plaintext=PLAINTEXT, DryRun="true")
