"""Key pairs with each SDK of an instance, each held against `cryptography`."""

import functools
import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from clients import refused
from clients.pairs import new_pair
from instance_sdks import VERSION_HEADER, version

MESSAGE = b"attack at dawn"
DIGEST = hashlib.sha256(MESSAGE).digest()
SIGNATURES = [
    ("RSA_2048", "RSA_PSS_SHA_256"),
    ("RSA_2048", "RSA_PKCS1_SHA_256"),
    ("EC_P256", "ECDSA_SHA_256"),
    ("EC_P256K", "ECDSA_SHA_256"),
]
OAEP = {"RSAES_OAEP_SHA_256": hashes.SHA256, "RSAES_OAEP_SHA_1": hashes.SHA1}
PREHASHED = utils.Prehashed(hashes.SHA256())


@pytest.fixture(scope="module")
def pair(kms):
    """Gives the one pair of a spec and a usage that cases share."""
    return functools.cache(functools.partial(new_pair, kms))


@pytest.fixture(scope="module")
def cipher(pair):
    return pair("RSA_2048", "ENCRYPT/DECRYPT")


def public_half(instance, key):
    public = instance.call("GetPublicKey", key_id=key).public_key
    return serialization.load_pem_public_key(public.encode())


def verify(public, algorithm, signature):
    """Raises unless the signature is one of DIGEST."""
    if algorithm == "ECDSA_SHA_256":
        return public.verify(signature, DIGEST, ec.ECDSA(PREHASHED))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    scheme = padding.PKCS1v15() if algorithm == "RSA_PKCS1_SHA_256" else pss
    return public.verify(signature, DIGEST, scheme, PREHASHED)


@pytest.mark.parametrize(("spec", "algorithm"), SIGNATURES)
def test_a_signature_verifies_outside_and_here(instance, pair, spec, algorithm):
    key, key_version = pair(spec)["KeyId"], pair(spec)["KeyVersionId"]
    public = public_half(instance, key)
    how = {"key_id": key, "algorithm": algorithm}
    for message, kind in ((MESSAGE, "RAW"), (MESSAGE, None), (DIGEST, "DIGEST")):
        signed = instance.call("Sign", message=message, message_type=kind, **how)
        assert (signed.key_id, signed.algorithm) == (key, algorithm)
        assert (signed.message_type, version(signed)) == (kind or "RAW", key_version)
        verify(public, algorithm, signed.signature)
        for message, kind, value in (
            (MESSAGE, "RAW", True),
            (DIGEST, "DIGEST", True),
            (MESSAGE + b"!", "RAW", False),
        ):
            verified = instance.call(
                "Verify", message=message, message_type=kind, signature=signed.signature, **how
            )
            assert (verified.value, verified.key_id) == (value, key)
            assert version(verified) == key_version


def test_the_version_in_the_head_must_belong_to_the_key(instance, pair):
    ours, other = pair("EC_P256"), pair("EC_P256K")
    for name, code in ((ours, None), (other, "Forbidden.KeyNotFound")):
        headers = {VERSION_HEADER: name["KeyVersionId"]}
        if code is None:
            public = instance.call("GetPublicKey", key_id=ours["KeyId"], headers=headers)
            assert version(public) == ours["KeyVersionId"]
        else:
            with refused(code, 404):
                instance.call("GetPublicKey", key_id=ours["KeyId"], headers=headers)


@pytest.mark.parametrize("algorithm", [None, *OAEP])
def test_what_is_encrypted_to_a_pair_decrypts(instance, cipher, algorithm):
    key = cipher["KeyId"]
    named = algorithm or "RSAES_OAEP_SHA_256"
    encrypted = instance.call("Encrypt", key_id=key, plaintext=MESSAGE, algorithm=algorithm)
    assert (encrypted.algorithm, encrypted.iv, len(encrypted.ciphertext_blob)) == (named, b"", 256)
    assert version(encrypted) == cipher["KeyVersionId"]
    hash_ = OAEP[named]()
    oaep = padding.OAEP(padding.MGF1(hash_), hash_, None)
    outside = public_half(instance, key).encrypt(MESSAGE, oaep)
    for blob in (encrypted.ciphertext_blob, outside):
        decrypted = instance.call("Decrypt", key_id=key, ciphertext_blob=blob, algorithm=algorithm)
        assert (decrypted.plaintext, decrypted.algorithm) == (MESSAGE, named)
        assert version(decrypted) == cipher["KeyVersionId"]
    with refused("InvalidParameter", 400):
        instance.call("Decrypt", key_id=key, ciphertext_blob=bytes(256), algorithm=algorithm)


def test_advance_calls_want_a_symmetric_key(instance, cipher):
    key = cipher["KeyId"]
    for operation, fields in (
        ("AdvanceEncrypt", {"plaintext": MESSAGE}),
        ("AdvanceGenerateDataKey", {"number_of_bytes": 32}),
        ("AdvanceDecrypt", {"ciphertext_blob": bytes(256)}),
    ):
        with refused("Forbidden.OnlySymmetricKeySupported", 404) as refusal:
            instance.call(operation, key_id=key, **fields)
        assert key in refusal.value.message


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"algorithm": "RSA"}, "Algorithm"),
        ({"message": b"short", "message_type": "DIGEST"}, "Message"),
        ({"message_type": "raw"}, "MessageType"),
    ],
)
def test_a_wrong_field_is_refused_by_name(instance, pair, change, name):
    good = {"key_id": pair("EC_P256")["KeyId"], "algorithm": "ECDSA_SHA_256", "message": MESSAGE}
    with refused("InvalidParameter", 400) as refusal:
        instance.call("Sign", **{**good, **change})
    assert f'"{name}"' in refusal.value.message
