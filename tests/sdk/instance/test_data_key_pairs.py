"""Data key pairs, with each SDK of an instance."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clients import refused
from instance_sdks import version
from test_sealing import HEAD, rotate

AAD = b"for the shop \xff"
SPECS = ["RSA_2048", "RSA_3072", "RSA_4096", "EC_P256", "EC_P256K"]
FORMATS = {"PEM": Encoding.PEM, "DER": Encoding.DER}
PLAIN = ["GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"]
ADVANCE = [f"Advance{operation}" for operation in PLAIN]


def is_pair(private, public, form):
    """Whether the two halves, written in this form, belong together."""
    load = {
        "PEM": serialization.load_pem_private_key,
        "DER": serialization.load_der_private_key,
    }[form]
    of_private = load(private, None).public_key()
    written = of_private.public_bytes(FORMATS[form], PublicFormat.SubjectPublicKeyInfo)
    return written.split() == public.split()


def decrypted(instance, operation, made, aad):
    """The private half, out of its ciphertext."""
    blob = made.private_key_ciphertext_blob
    if operation in ADVANCE:
        head = HEAD + made.key_version_id.encode() + made.iv
        assert blob[: len(head)] == head
        answer = instance.call("AdvanceDecrypt", ciphertext_blob=blob, aad=aad)
    else:
        answer = instance.call(
            "Decrypt",
            key_id=made.key_id,
            ciphertext_blob=blob,
            iv=made.iv,
            algorithm=made.algorithm,
            aad=aad,
        )
    assert version(answer) == version(made)
    return answer.plaintext


def check(instance, operation, key, spec, form, aad):
    made = instance.call(operation, key_id=key, key_pair_spec=spec, key_format=form, aad=aad)
    assert (made.key_id, made.key_pair_spec, made.algorithm) == (key, spec, "AES_GCM")
    private = decrypted(instance, operation, made, aad)
    assert is_pair(private, made.public_key, form or "PEM")
    if not operation.endswith("WithoutPlaintext"):
        assert made.private_key_plaintext == private
    return made


@pytest.mark.parametrize("operation", PLAIN + ADVANCE)
@pytest.mark.parametrize("aad", [None, AAD], ids=["bare", "aad"])
@pytest.mark.parametrize("form", [None, *FORMATS])
def test_the_private_half_opens_and_belongs_to_the_public_one(instance, key, operation, form, aad):
    check(instance, operation, key, "EC_P256", form, aad)


@pytest.mark.parametrize("spec", SPECS)
def test_pairs_of_every_spec_are_made(gcs, key, spec):
    check(gcs, "GenerateDataKeyPair", key, spec, "DER", AAD)


def test_another_aad_does_not_open_the_private_half(instance, key):
    made = check(instance, ADVANCE[0], key, "EC_P256", "DER", AAD)
    with refused("InvalidParameter", 400):
        instance.call("AdvanceDecrypt", ciphertext_blob=made.private_key_ciphertext_blob)


def test_plain_calls_stay_with_the_initial_version_and_advance_calls_rotate(instance, kms, key):
    initial, primary = rotate(kms, key)
    for operations, expected in ((PLAIN, initial), (ADVANCE, primary)):
        for operation in operations:
            made = check(instance, operation, key, "EC_P256", "PEM", None)
            assert version(made) == expected
            if operation in ADVANCE:
                assert made.key_version_id == expected


@pytest.mark.parametrize(
    ("change", "name"),
    [({"key_pair_spec": "RSA_1024"}, "KeyPairSpec"), ({"key_format": "pem"}, "KeyFormat")],
)
def test_a_wrong_field_is_refused_by_name(instance, key, change, name):
    good = {"key_id": key, "key_pair_spec": "EC_P256", "key_format": "PEM"}
    for operation in PLAIN + ADVANCE:
        with refused("InvalidParameter", 400) as refusal:
            instance.call(operation, **{**good, **change})
        assert f'"{name}"' in refusal.value.message
