"""Encrypt, Decrypt, data keys and ReEncrypt."""

import base64

import pytest

from clients import refused

CONTEXT = {"tenant": "a&b=c", "space and+plus": "~*'()!/:%20", "город": "杭州"}
PLAINTEXT = base64.b64encode(b"attack at dawn").decode()


def encrypt(kms, key, context=None, plaintext=PLAINTEXT):
    return kms.call("Encrypt", KeyId=key, Plaintext=plaintext, EncryptionContext=context)


def decrypt(kms, blob, context=None):
    return kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext=context)


def tampered(blob):
    """The blob with its last bit, a bit of the tag, turned over."""
    encrypted = bytearray(base64.b64decode(blob))
    encrypted[-1] ^= 1
    return base64.b64encode(encrypted).decode()


@pytest.mark.parametrize("context", [None, {}, CONTEXT], ids=["bare", "empty", "context"])
@pytest.mark.parametrize("by", ["id", "alias", "key ARN", "alias ARN"])
def test_what_is_encrypted_decrypts(kms, gateway, key, alias, by, context):
    names = {
        "id": key,
        "alias": alias,
        "key ARN": gateway.arn(f"key/{key}"),
        "alias ARN": gateway.arn(alias),
    }
    encrypted = encrypt(kms, names[by], context)
    version = kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["PrimaryKeyVersion"]
    assert (encrypted["KeyId"], encrypted["KeyVersionId"]) == (key, version)
    decrypted = decrypt(kms, encrypted["CiphertextBlob"], context)
    assert decrypted["Plaintext"] == PLAINTEXT
    assert (decrypted["KeyId"], decrypted["KeyVersionId"]) == (key, version)


def test_the_same_plaintext_never_encrypts_to_the_same_blob(kms, key):
    blobs = {encrypt(kms, key)["CiphertextBlob"] for _ in range(8)}
    assert len(blobs) == 8


def test_the_order_of_a_context_does_not_matter(kms, key):
    encrypted = encrypt(kms, key, CONTEXT)
    other_way_round = dict(reversed(CONTEXT.items()))
    assert decrypt(kms, encrypted["CiphertextBlob"], other_way_round)["Plaintext"] == PLAINTEXT


@pytest.mark.parametrize(
    "wrong",
    [None, {"tenant": "a&b=c"}, {**CONTEXT, "tenant": "A&b=c"}, {**CONTEXT, "more": ""}],
    ids=["none", "fewer", "changed", "more"],
)
def test_another_context_is_refused(kms, key, wrong):
    encrypted = encrypt(kms, key, CONTEXT)
    with refused("InvalidParameter", 400):
        decrypt(kms, encrypted["CiphertextBlob"], wrong)


def test_a_tampered_blob_is_refused_in_the_words_of_a_wrong_context(kms, key):
    blob = encrypt(kms, key)["CiphertextBlob"]
    with refused("InvalidParameter", 400) as wrong_context:
        decrypt(kms, blob, CONTEXT)
    with refused("InvalidParameter", 400) as wrong_blob:
        decrypt(kms, tampered(blob))
    assert wrong_blob.value.message == wrong_context.value.message


@pytest.mark.parametrize("blob", ["AAAA", "not Base64!"])
def test_what_is_no_blob_is_refused(kms, blob):
    with refused("InvalidParameter", 400):
        decrypt(kms, blob)


def test_a_plaintext_that_is_no_base64_is_refused_by_name(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        encrypt(kms, key, plaintext="attack at dawn")
    assert "Plaintext" in refusal.value.message


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (32, {}),
        (32, {"KeySpec": "AES_256"}),
        (16, {"KeySpec": "AES_128"}),
        (1, {"NumberOfBytes": 1}),
        (1024, {"NumberOfBytes": 1024, "KeySpec": "AES_128"}),
    ],
    ids=["default", "AES_256", "AES_128", "1 byte", "1024 bytes"],
)
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["bare", "context"])
def test_a_data_key_decrypts_to_the_same_text(kms, key, size, wanted, context):
    made = kms.call("GenerateDataKey", KeyId=key, EncryptionContext=context, **wanted)
    assert len(base64.b64decode(made["Plaintext"])) == size
    assert decrypt(kms, made["CiphertextBlob"], context)["Plaintext"] == made["Plaintext"]


def test_a_data_key_can_be_made_without_showing_it(kms, key, alias):
    made = kms.call("GenerateDataKeyWithoutPlaintext", KeyId=alias, KeySpec="AES_128")
    assert made.get("Plaintext") is None
    assert made["KeyId"] == key
    decrypted = decrypt(kms, made["CiphertextBlob"])["Plaintext"]
    assert len(base64.b64decode(decrypted)) == 16


@pytest.mark.parametrize("size", [-1, 1025])
def test_a_data_key_of_another_size_is_refused_by_name(kms, key, size):
    with refused("InvalidParameter", 400) as refusal:
        kms.call("GenerateDataKey", KeyId=key, NumberOfBytes=size)
    assert "NumberOfBytes" in refusal.value.message


@pytest.mark.needs("ReEncrypt")
def test_reencrypt_moves_to_another_key_and_context(kms, key, new_key):
    target = new_key()
    encrypted = encrypt(kms, key, CONTEXT)
    moved = kms.call(
        "ReEncrypt",
        CiphertextBlob=encrypted["CiphertextBlob"],
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=target,
        DestinationEncryptionContext={"moved": "yes"},
    )
    # The answer names the key that decrypted, not the one that encrypted.
    assert (moved["KeyId"], moved["KeyVersionId"]) == (key, encrypted["KeyVersionId"])
    decrypted = decrypt(kms, moved["CiphertextBlob"], {"moved": "yes"})
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (PLAINTEXT, target)


@pytest.mark.needs("ReEncrypt")
def test_reencrypt_needs_the_context_of_the_source(kms, key):
    blob = encrypt(kms, key, CONTEXT)["CiphertextBlob"]
    with refused("InvalidParameter", 400):
        kms.call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key)
