"""The ten operations that a transfer SDK sends to the instance, and the rest, which it does not."""

import base64
import functools
import hashlib

import pytest

from clients import refused
from clients.pairs import new_pair, text
from test_sealing import rotate
from test_signing import SIGNATURES
from transfer_sdks import TRANSFER_SDKS

PLAINTEXT = text(b"attack at dawn")
DIGEST = text(hashlib.sha256(b"attack at dawn").digest())


@pytest.fixture(scope="module")
def pair(kms):
    """Gives the one pair of a spec and a usage that cases share."""
    return functools.cache(functools.partial(new_pair, kms))


def test_what_is_encrypted_decrypts_also_after_a_rotation(transfer, kms, key, alias):
    encrypted = transfer.call("Encrypt", KeyId=alias, Plaintext=PLAINTEXT)
    assert encrypted["KeyId"] == key
    rotate(kms, key)
    decrypted = transfer.call("Decrypt", CiphertextBlob=encrypted["CiphertextBlob"])
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (PLAINTEXT, key)
    assert decrypted["KeyVersionId"] == encrypted["KeyVersionId"]


def test_a_wrong_context_and_a_broken_blob_are_refused(transfer, key):
    encrypted = transfer.call(
        "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext={"a": "1"}
    )
    blob = encrypted["CiphertextBlob"]
    for context in (None, {"a": "2"}):
        with refused("InvalidParameter", 400):
            transfer.call("Decrypt", CiphertextBlob=blob, EncryptionContext=context)
    broken = bytearray(base64.b64decode(blob))
    broken[-1] ^= 1
    with refused("InvalidParameter", 400):
        transfer.call("Decrypt", CiphertextBlob=text(broken), EncryptionContext={"a": "1"})


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(32, {}), (16, {"KeySpec": "AES_128"}), (24, {"NumberOfBytes": 24})],
    ids=["default", "AES_128", "24 bytes"],
)
def test_a_data_key_decrypts_to_the_same_text(transfer, key, size, wanted):
    made = transfer.call("GenerateDataKey", KeyId=key, **wanted)
    assert len(base64.b64decode(made["Plaintext"])) == size
    decrypted = transfer.call("Decrypt", CiphertextBlob=made["CiphertextBlob"])
    assert decrypted["Plaintext"] == made["Plaintext"]
    made = transfer.call("GenerateDataKeyWithoutPlaintext", KeyId=key, **wanted)
    assert made.get("Plaintext") is None
    decrypted = transfer.call("Decrypt", CiphertextBlob=made["CiphertextBlob"])
    assert len(base64.b64decode(decrypted["Plaintext"])) == size


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"])
def test_what_is_encrypted_to_a_pair_decrypts(transfer, pair, algorithm):
    how = {**pair("RSA_2048", "ENCRYPT/DECRYPT"), "Algorithm": algorithm}
    encrypted = transfer.call("AsymmetricEncrypt", Plaintext=PLAINTEXT, **how)
    assert encrypted["KeyVersionId"] == how["KeyVersionId"]
    decrypted = transfer.call("AsymmetricDecrypt", CiphertextBlob=encrypted["CiphertextBlob"], **how)
    assert (decrypted["Plaintext"], decrypted["KeyVersionId"]) == (PLAINTEXT, how["KeyVersionId"])


@pytest.mark.parametrize(("spec", "algorithm"), SIGNATURES)
def test_a_signature_verifies(transfer, kms, pair, spec, algorithm):
    how = {**pair(spec), "Algorithm": algorithm}
    signed = transfer.call("AsymmetricSign", Digest=DIGEST, **how)
    assert signed["KeyVersionId"] == how["KeyVersionId"]
    other = text(hashlib.sha256(b"other").digest())
    for client in (transfer, kms):
        for digest, value in ((DIGEST, True), (other, False)):
            verified = client.call("AsymmetricVerify", Digest=digest, Value=signed["Value"], **how)
            assert verified["Value"] is value


def test_a_public_key_is_the_one_of_the_public_api(transfer, kms, pair):
    expected = kms.call("GetPublicKey", **pair("EC_P256"))
    given = transfer.call("GetPublicKey", **pair("EC_P256"))
    assert given["PublicKey"].split() == expected["PublicKey"].split()
    assert given["KeyVersionId"] == expected["KeyVersionId"]


def test_a_secret_is_not_read_without_the_permission(transfer):
    with refused("Forbidden.NoPermission", 403):
        transfer.call("GetSecretValue", SecretName="none")


def test_everything_else_goes_to_the_public_api(transfer):
    key = transfer.call("CreateKey")["KeyMetadata"]["KeyId"]
    assert transfer.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_refusals_look_like_those_of_the_public_api(gateway, kms, transfer, make_client_key):
    with refused("Forbidden.KeyNotFound", 404):
        transfer.call("Encrypt", KeyId="alias/none", Plaintext=PLAINTEXT)
    revoked = make_client_key()
    kms.call("DeleteClientKey", ClientKeyId=revoked.id)
    kind = type(transfer)
    assert kind in TRANSFER_SDKS.values()
    with refused("InvalidAccessKeyId.NotFound", 404):
        kind(gateway, revoked).call("Encrypt", KeyId=gateway.alias, Plaintext=PLAINTEXT)
