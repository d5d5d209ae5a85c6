"""Encryption, data keys and random bytes, with each SDK of an instance."""

import pytest

from clients import refused
from instance_sdks import VERSION_HEADER, version

PLAINTEXT = b"attack at dawn \x00\xff"
AAD = b"for the shop \xff"
HEAD = b"$\x00\x02"


def raw(encrypted):
    """What Decrypt wants of an answer to Encrypt."""
    return {
        "key_id": encrypted.key_id,
        "ciphertext_blob": encrypted.ciphertext_blob,
        "algorithm": encrypted.algorithm,
        "iv": encrypted.iv,
    }


def primary(kms, key):
    return kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["PrimaryKeyVersion"]


def rotate(kms, key):
    """Gives the version that was primary and the one that is."""
    initial = primary(kms, key)
    kms.call("CreateKeyVersion", KeyId=key)
    assert primary(kms, key) != initial
    return initial, primary(kms, key)


@pytest.mark.parametrize("aad", [None, b"", AAD], ids=["bare", "empty", "aad"])
@pytest.mark.parametrize("by", ["id", "alias"])
def test_what_is_encrypted_decrypts(instance, kms, key, alias, by, aad):
    name = {"id": key, "alias": alias}[by]
    encrypted = instance.call("Encrypt", key_id=name, plaintext=PLAINTEXT, aad=aad)
    assert (encrypted.key_id, encrypted.algorithm, encrypted.padding_mode) == (key, "AES_GCM", "")
    assert (len(encrypted.iv), len(encrypted.ciphertext_blob)) == (12, len(PLAINTEXT) + 16)
    assert len(encrypted.request_id) == 36
    assert version(encrypted) == primary(kms, key)
    for operation in ("Decrypt", "AdvanceDecrypt"):
        decrypted = instance.call(operation, aad=aad, **raw(encrypted))
        assert (decrypted.plaintext, decrypted.key_id) == (PLAINTEXT, key)
        assert (decrypted.algorithm, version(decrypted)) == ("AES_GCM", version(encrypted))


@pytest.mark.parametrize("aad", [None, AAD], ids=["bare", "aad"])
def test_what_the_advance_call_encrypts_says_itself_how_it_opens(instance, kms, key, aad):
    encrypted = instance.call("AdvanceEncrypt", key_id=key, plaintext=PLAINTEXT, aad=aad)
    assert encrypted.key_version_id == version(encrypted) == primary(kms, key)
    head = HEAD + encrypted.key_version_id.encode() + encrypted.iv
    assert encrypted.ciphertext_blob[: len(head)] == head
    assert len(encrypted.ciphertext_blob) == len(head) + len(PLAINTEXT) + 16
    decrypted = instance.call("AdvanceDecrypt", ciphertext_blob=encrypted.ciphertext_blob, aad=aad)
    assert (decrypted.plaintext, decrypted.key_id) == (PLAINTEXT, key)
    assert decrypted.key_version_id == version(decrypted) == encrypted.key_version_id
    with refused("InvalidParameter", 400):
        instance.call("Decrypt", aad=aad, **raw(encrypted))


def test_everything_wrong_with_a_ciphertext_is_refused_in_the_same_words(instance, key, new_key):
    encrypted = raw(instance.call("Encrypt", key_id=key, plaintext=PLAINTEXT, aad=AAD))

    def flipped(what, at):
        broken = bytearray(encrypted[what])
        broken[at] ^= 1
        return {what: bytes(broken)}

    messages = set()
    for change in (
        {"aad": b"other"},
        {"aad": None},
        {"key_id": new_key()},
        flipped("iv", 0),
        flipped("ciphertext_blob", 0),
        flipped("ciphertext_blob", -1),
        {"ciphertext_blob": encrypted["ciphertext_blob"][:-1]},
        {"ciphertext_blob": encrypted["ciphertext_blob"] + b"\0"},
    ):
        for operation in ("Decrypt", "AdvanceDecrypt"):
            with refused("InvalidParameter", 400) as refusal:
                instance.call(operation, **{"aad": AAD, **encrypted, **change})
            messages.add(refusal.value.message)
    framed = instance.call("AdvanceEncrypt", key_id=key, plaintext=PLAINTEXT, aad=AAD)
    for blob, aad in (
        (framed.ciphertext_blob, b"other"),
        (framed.ciphertext_blob[:-1] + bytes([framed.ciphertext_blob[-1] ^ 1]), AAD),
    ):
        with refused("InvalidParameter", 400) as refusal:
            instance.call("AdvanceDecrypt", ciphertext_blob=blob, aad=aad)
        messages.add(refusal.value.message)
    assert len(messages) == 1


def test_plain_calls_stay_with_the_initial_version_and_advance_calls_rotate(instance, kms, key):
    before = instance.call("AdvanceEncrypt", key_id=key, plaintext=b"before")
    data_key = instance.call("GenerateDataKey", key_id=key, number_of_bytes=32)
    initial, now = rotate(kms, key)
    plain = instance.call("Encrypt", key_id=key, plaintext=b"plain")
    after = instance.call("AdvanceEncrypt", key_id=key, plaintext=b"after")
    later = instance.call("GenerateDataKey", key_id=key, number_of_bytes=32)
    advanced = instance.call("AdvanceGenerateDataKey", key_id=key, number_of_bytes=32)
    assert {version(answer) for answer in (before, data_key, plain, later)} == {initial}
    assert {version(answer) for answer in (after, advanced)} == {now}
    for encrypted, plaintext in (
        (plain, b"plain"),
        (data_key, data_key.plaintext),
        (later, later.plaintext),
    ):
        for operation in ("Decrypt", "AdvanceDecrypt"):
            decrypted = instance.call(operation, **raw(encrypted))
            assert (decrypted.plaintext, version(decrypted)) == (plaintext, initial)
    for encrypted, plaintext in (
        (before, b"before"),
        (after, b"after"),
        (advanced, advanced.plaintext),
    ):
        decrypted = instance.call("AdvanceDecrypt", ciphertext_blob=encrypted.ciphertext_blob)
        assert (decrypted.plaintext, version(decrypted)) == (plaintext, version(encrypted))


def test_a_version_in_the_head_finds_the_key(instance, kms, key):
    encrypted = instance.call("Encrypt", key_id=key, plaintext=PLAINTEXT)
    rotate(kms, key)
    by_version = {"ciphertext_blob": encrypted.ciphertext_blob, "iv": encrypted.iv}
    decrypted = instance.call("Decrypt", headers={VERSION_HEADER: version(encrypted)}, **by_version)
    assert (decrypted.plaintext, decrypted.key_id) == (PLAINTEXT, key)
    with refused("InvalidParameter", 400):
        instance.call("Decrypt", headers={VERSION_HEADER: primary(kms, key)}, **by_version)
    unknown = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf"
    with refused("Forbidden.KeyNotFound", 404):
        instance.call("Decrypt", headers={VERSION_HEADER: unknown}, **by_version)


@pytest.mark.parametrize("aad", [None, AAD], ids=["bare", "aad"])
@pytest.mark.parametrize("size", [1, 16, 32, 1024])
def test_a_data_key_decrypts_to_its_bytes(instance, key, size, aad):
    made = instance.call(
        "GenerateDataKey", key_id=key, number_of_bytes=size, aad=aad, algorithm="AES_GCM"
    )
    assert (made.key_id, made.algorithm, len(made.plaintext)) == (key, "AES_GCM", size)
    assert instance.call("Decrypt", aad=aad, **raw(made)).plaintext == made.plaintext
    made = instance.call("AdvanceGenerateDataKey", key_id=key, number_of_bytes=size, aad=aad)
    assert (made.key_version_id, len(made.plaintext)) == (version(made), size)
    decrypted = instance.call("AdvanceDecrypt", ciphertext_blob=made.ciphertext_blob, aad=aad)
    assert decrypted.plaintext == made.plaintext


@pytest.mark.parametrize("size", [-1, 1025])
def test_a_data_key_of_another_size_is_refused_by_name(instance, key, size):
    for operation in ("GenerateDataKey", "AdvanceGenerateDataKey"):
        with refused("InvalidParameter", 400) as refusal:
            instance.call(operation, key_id=key, number_of_bytes=size)
        assert "NumberOfBytes" in refusal.value.message


@pytest.mark.parametrize("length", [1, 64])
def test_random_bytes_are_as_many_as_were_asked_for(instance, length):
    answers = [instance.call("GenerateRandom", length=length).random for _ in range(4)]
    assert {len(answer) for answer in answers} == {length}
    assert length == 1 or len(set(answers)) == len(answers)


@pytest.mark.parametrize("length", [-1, 65])
def test_random_bytes_of_another_number_are_refused_by_name(instance, length):
    with refused("InvalidParameter", 400) as refusal:
        instance.call("GenerateRandom", length=length)
    assert "Length" in refusal.value.message


def test_an_iv_of_the_callers_own_is_refused_by_name(instance, key):
    for operation in ("Encrypt", "AdvanceEncrypt"):
        with refused("InvalidParameter", 400) as refusal:
            instance.call(operation, key_id=key, plaintext=PLAINTEXT, iv=bytes(12))
        assert "Iv" in refusal.value.message


def test_keys_that_cannot_be_used_are_refused_as_documented(instance, kms, key):
    encrypted = raw(instance.call("Encrypt", key_id=key, plaintext=PLAINTEXT))
    kms.call("DisableKey", KeyId=key)
    for operation, fields in (
        ("Encrypt", {"key_id": key, "plaintext": PLAINTEXT}),
        ("AdvanceGenerateDataKey", {"key_id": key, "number_of_bytes": 32}),
        ("Decrypt", encrypted),
    ):
        with refused("Rejected.Disabled", 409):
            instance.call(operation, **fields)
    kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    with refused("Rejected.PendingDeletion", 409):
        instance.call("Decrypt", **encrypted)
    for unknown in ("key-hzz630494463ejqjx1234", "alias/none"):
        with refused("Forbidden.KeyNotFound", 404):
            instance.call("Encrypt", key_id=unknown, plaintext=PLAINTEXT)


def test_a_secret_is_not_read_without_the_permission(instance):
    with refused("Forbidden.NoPermission", 403):
        instance.call("GetSecretValue", secret_name="none")


# The messages of these are in the schema that the SDK holds, but it calls none of them.
@pytest.mark.parametrize("operation", ["Hash", "Hmac", "KmsEncrypt", "KmsDecrypt", "encrypt"])
def test_an_operation_that_is_not_offered_is_refused_by_name(gcs, operation):
    with refused("InvalidApiName", 400) as refusal:
        gcs.call_raw(operation, b"")
    assert refusal.value.message == f'The ApiName "{operation}" is invalid.'


def test_a_message_that_is_none_is_refused(gcs):
    with refused("InvalidParameter", 400):
        gcs.call_raw("Encrypt", b"\xff\xff")
