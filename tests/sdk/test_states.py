"""Disabled keys and keys on their way to deletion."""

import datetime

import pytest

from clients import refused
from test_crypto import PLAINTEXT, decrypt, encrypt


def metadata(kms, key):
    return kms.call("DescribeKey", KeyId=key)["KeyMetadata"]


def schedule_deletion(kms, key, days=7):
    kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=days)


def expect_no_use(kms, key, blob, code):
    """Everything that needs the key's material is refused with `code`."""
    with refused(code, 409):
        encrypt(kms, key)
    with refused(code, 409):
        decrypt(kms, blob)
    with refused(code, 409):
        kms.call("GenerateDataKey", KeyId=key)
    with refused(code, 409):
        kms.call("CreateKeyVersion", KeyId=key)


def test_a_disabled_key_is_of_no_use_until_it_is_enabled(kms, key):
    blob = encrypt(kms, key)["CiphertextBlob"]
    kms.call("DisableKey", KeyId=key)
    assert metadata(kms, key)["KeyState"] == "Disabled"
    expect_no_use(kms, key, blob, "Rejected.Disabled")
    kms.call("EnableKey", KeyId=key)
    assert decrypt(kms, blob)["Plaintext"] == PLAINTEXT


def test_enabling_twice_and_disabling_twice_is_fine(kms, key):
    for action in ("EnableKey", "DisableKey", "DisableKey"):
        kms.call(action, KeyId=key)


def test_a_key_pending_deletion_is_of_no_use_until_it_is_kept(kms, key):
    blob = encrypt(kms, key)["CiphertextBlob"]
    schedule_deletion(kms, key)
    assert metadata(kms, key)["KeyState"] == "PendingDeletion"
    expect_no_use(kms, key, blob, "Rejected.PendingDeletion")
    kms.call("CancelKeyDeletion", KeyId=key)
    assert metadata(kms, key)["KeyState"] == "Enabled"
    assert decrypt(kms, blob)["Plaintext"] == PLAINTEXT


def test_the_date_of_deletion_is_the_window_away(kms, key):
    schedule_deletion(kms, key, days=30)
    date = datetime.datetime.fromisoformat(metadata(kms, key)["DeleteDate"].replace("Z", "+00:00"))
    away = date - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=29, hours=23) < away <= datetime.timedelta(days=30)


@pytest.mark.parametrize("action", ["EnableKey", "DisableKey"])
def test_a_key_pending_deletion_changes_its_state_by_cancelling_only(kms, key, action):
    schedule_deletion(kms, key)
    with refused("Rejected.StateModifiedFailed", 409):
        kms.call(action, KeyId=key)


def test_a_deletion_that_was_not_scheduled_cannot_be_cancelled(kms, key):
    with refused("Rejected.StateModifiedFailed", 409):
        kms.call("CancelKeyDeletion", KeyId=key)


@pytest.mark.parametrize("days", [6, 367])
def test_a_window_out_of_range_is_refused_by_name(kms, key, days):
    with refused("InvalidParameter", 400) as refusal:
        schedule_deletion(kms, key, days)
    assert "PendingWindowInDays" in refusal.value.message
