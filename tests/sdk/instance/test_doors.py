"""One set of keys, two doors: whatever one way in has made, every other way takes."""

import base64
import hashlib

import pytest

from clients import refused
from clients.pairs import new_pair, text
from instance_sdks import VERSION_HEADER, version
from test_sealing import HEAD, rotate

PLAINTEXT = text(b"attack at dawn")
CONTEXT = {"tenant": "a", "город": "杭州", "b": "2"}
VERSION_BYTES, IV_BYTES = 36, 12

PUBLIC = ["public", "dkms-transfer", "kms-transfer", "kms-transfer-low-version"]
DOORS = [*PUBLIC, "instance", "instance-advance"]
# The KMS SDK for Python makes an Aad of a context in a way of its own, which nothing else reads.
WITH_CONTEXT = ["public", "dkms-transfer", "instance", "instance-advance"]
PLAIN = {"dkms-transfer", "kms-transfer-low-version", "instance"}


def aad(context):
    """What a context authenticates."""
    if context is None:
        return None
    pairs = "&".join(f"{name}={context[name]}" for name in sorted(context))
    return hashlib.sha256(pairs.encode()).digest()


class PublicDoor:
    """The public API, or a transfer SDK in its place."""

    def __init__(self, kms):
        self._kms = kms

    def seal(self, key, plaintext, context):
        answer = self._kms.call(
            "Encrypt", KeyId=key, Plaintext=plaintext, EncryptionContext=context
        )
        return base64.b64decode(answer["CiphertextBlob"])

    def open(self, blob, context):
        answer = self._kms.call(
            "Decrypt", CiphertextBlob=text(blob), EncryptionContext=context
        )
        return answer["KeyId"], answer["KeyVersionId"], answer["Plaintext"]


class InstanceDoor:
    """The plain calls: the version and the IV go before the ciphertext."""

    def __init__(self, instance):
        self._instance = instance

    def seal(self, key, plaintext, context):
        encrypted = self._instance.call(
            "Encrypt", key_id=key, plaintext=plaintext.encode(), aad=aad(context)
        )
        return version(encrypted).encode() + encrypted.iv + encrypted.ciphertext_blob

    def open(self, blob, context):
        decrypted = self._instance.call(
            "Decrypt",
            headers={VERSION_HEADER: blob[:VERSION_BYTES].decode()},
            iv=blob[VERSION_BYTES : VERSION_BYTES + IV_BYTES],
            ciphertext_blob=blob[VERSION_BYTES + IV_BYTES :],
            aad=aad(context),
        )
        return decrypted.key_id, version(decrypted), decrypted.plaintext.decode()


class AdvanceDoor:
    """The `Advance` calls, whose ciphertext has three bytes more at its head."""

    def __init__(self, instance):
        self._instance = instance

    def seal(self, key, plaintext, context):
        encrypted = self._instance.call(
            "AdvanceEncrypt", key_id=key, plaintext=plaintext.encode(), aad=aad(context)
        )
        assert encrypted.ciphertext_blob[: len(HEAD)] == HEAD
        return encrypted.ciphertext_blob[len(HEAD) :]

    def open(self, blob, context):
        decrypted = self._instance.call(
            "AdvanceDecrypt", ciphertext_blob=HEAD + blob, aad=aad(context)
        )
        return decrypted.key_id, version(decrypted), decrypted.plaintext.decode()


@pytest.fixture(scope="module")
def doors(kms, gcs, transfers):
    made = {"public": PublicDoor(kms)}
    made |= {name: PublicDoor(transfer) for name, transfer in transfers.items()}
    return made | {"instance": InstanceDoor(gcs), "instance-advance": AdvanceDoor(gcs)}


@pytest.fixture(scope="module")
def rotated(kms):
    """A key with its initial and its primary version."""
    key = kms.call("CreateKey")["KeyMetadata"]["KeyId"]
    return key, *rotate(kms, key)


@pytest.mark.parametrize("decrypted_by", DOORS)
@pytest.mark.parametrize("encrypted_by", DOORS)
def test_what_goes_in_by_one_door_comes_out_by_each(doors, rotated, encrypted_by, decrypted_by):
    key, initial, primary = rotated
    blob = doors[encrypted_by].seal(key, PLAINTEXT, None)
    used = initial if encrypted_by in PLAIN else primary
    assert blob[:VERSION_BYTES].decode() == used
    assert doors[decrypted_by].open(blob, None) == (key, used, PLAINTEXT)


@pytest.mark.parametrize("decrypted_by", WITH_CONTEXT)
@pytest.mark.parametrize("encrypted_by", WITH_CONTEXT)
def test_a_context_is_the_same_at_each_door(doors, rotated, encrypted_by, decrypted_by):
    key = rotated[0]
    blob = doors[encrypted_by].seal(key, PLAINTEXT, CONTEXT)
    assert doors[decrypted_by].open(blob, CONTEXT)[2] == PLAINTEXT
    for wrong in (None, {**CONTEXT, "b": "3"}):
        with refused("InvalidParameter", 400):
            doors[decrypted_by].open(blob, wrong)


@pytest.mark.parametrize("door", ["kms-transfer", "kms-transfer-low-version"])
def test_the_kms_sdk_reads_contexts_of_its_own(doors, rotated, door):
    blob = doors[door].seal(rotated[0], PLAINTEXT, CONTEXT)
    assert doors[door].open(blob, CONTEXT)[2] == PLAINTEXT
    with refused("InvalidParameter", 400):
        doors[door].open(blob, None)


@pytest.mark.parametrize("decrypted_by", DOORS)
@pytest.mark.parametrize("made_by", PUBLIC)
def test_a_data_key_comes_out_by_each_door_as_text(kms, transfers, doors, key, made_by, decrypted_by):
    client = {"public": kms, **transfers}[made_by]
    made = client.call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    assert len(base64.b64decode(made["Plaintext"])) == 32
    blob = base64.b64decode(made["CiphertextBlob"])
    assert doors[decrypted_by].open(blob, None)[2] == made["Plaintext"]


def test_a_pair_is_the_same_at_both_doors(kms, gcs):
    pair = new_pair(kms, "RSA_2048", "ENCRYPT/DECRYPT")
    how = {**pair, "Algorithm": "RSAES_OAEP_SHA_256"}
    encrypted = kms.call("AsymmetricEncrypt", Plaintext=PLAINTEXT, **how)["CiphertextBlob"]
    blob = base64.b64decode(encrypted)
    decrypted = gcs.call("Decrypt", key_id=pair["KeyId"], ciphertext_blob=blob)
    assert text(decrypted.plaintext) == PLAINTEXT
    encrypted = gcs.call("Encrypt", key_id=pair["KeyId"], plaintext=base64.b64decode(PLAINTEXT))
    decrypted = kms.call("AsymmetricDecrypt", CiphertextBlob=text(encrypted.ciphertext_blob), **how)
    assert decrypted["Plaintext"] == PLAINTEXT


@pytest.mark.parametrize(
    ("spec", "algorithm"), [("RSA_2048", "RSA_PSS_SHA_256"), ("EC_P256", "ECDSA_SHA_256")]
)
def test_a_signature_is_good_at_both_doors(kms, gcs, spec, algorithm):
    pair = new_pair(kms, spec)
    public, digest = {**pair, "Algorithm": algorithm}, hashlib.sha256(b"x").digest()
    own = {"key_id": pair["KeyId"], "algorithm": algorithm, "message_type": "DIGEST"}
    signature = kms.call("AsymmetricSign", Digest=text(digest), **public)["Value"]
    signature = base64.b64decode(signature)
    assert gcs.call("Verify", message=digest, signature=signature, **own).value
    signature = text(gcs.call("Sign", message=digest, **own).signature)
    assert kms.call("AsymmetricVerify", Digest=text(digest), Value=signature, **public)["Value"]
