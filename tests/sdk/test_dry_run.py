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
    "fault",
    [
        {"KeyId": "alias/nothing"},
        {"KeyId": "not a key"},
        {"Plaintext": "not Base64!"},
        {"EncryptionContext": '["a list"]'},
    ],
    ids=lambda fault: next(iter(fault.values())),
)
def test_a_fault_that_the_call_would_have_met_is_a_validation_error(kms, key, fault):
    parameters = {"KeyId": key, "Plaintext": PLAINTEXT, **fault}
    with refused("ValidationError", 400):
        kms.call("Encrypt", DryRun="true", **parameters)


def test_an_unknown_key_does_not_validate(kms, key):
    with refused("ValidationError", 400):
        kms.call("Encrypt", KeyId=unknown_key(key), Plaintext=PLAINTEXT, DryRun="true")


def test_a_disabled_key_does_not_validate(kms, key):
    kms.call("DisableKey", KeyId=key)
    with refused("ValidationError", 400):
        kms.call("Encrypt", KeyId=key, Plaintext=PLAINTEXT, DryRun="true")
