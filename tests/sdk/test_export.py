"""Data keys that leave under the public key of whom they are for."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clients import refused
from test_asymmetric import OAEP, oaep, text
from test_crypto import CONTEXT, decrypt, encrypt

pytestmark = pytest.mark.needs("ExportDataKey")


def public_blob(private):
    public = private.public_key()
    return text(
        public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


@pytest.fixture(scope="module")
def private():
    """Whom the data keys are for."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def recipient(private):
    return {
        "PublicKeyBlob": public_blob(private),
        "WrappingKeySpec": "RSA_2048",
        "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
    }


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("context", [None, CONTEXT], ids=["bare", "context"])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [(32, {}), (16, {"KeySpec": "AES_128"}), (190, {"NumberOfBytes": 190})],
    ids=["default", "AES_128", "190 bytes"],
)
def test_a_data_key_arrives(kms, key, private, recipient, algorithm, context, size, wanted):
    recipient["WrappingAlgorithm"] = algorithm
    made = kms.call(
        "GenerateAndExportDataKey", KeyId=key, EncryptionContext=context, **wanted, **recipient
    )
    assert made.get("Plaintext") is None
    data_key = private.decrypt(base64.b64decode(made["ExportedDataKey"]), oaep(algorithm))
    assert len(data_key) == size
    decrypted = decrypt(kms, made["CiphertextBlob"], context)
    assert base64.b64decode(decrypted["Plaintext"]) == data_key
    named = {"KeyId": key, "KeyVersionId": made["KeyVersionId"]}
    assert {name: decrypted[name] for name in named} == named

    again = kms.call(
        "ExportDataKey",
        CiphertextBlob=made["CiphertextBlob"],
        EncryptionContext=context,
        **recipient,
    )
    assert {name: again[name] for name in named} == named
    assert again["ExportedDataKey"] != made["ExportedDataKey"]
    wrapped = base64.b64decode(again["ExportedDataKey"])
    assert private.decrypt(wrapped, oaep(algorithm)) == data_key


@pytest.mark.parametrize(("algorithm", "size"), [("RSAES_OAEP_SHA_256", 191), ("RSAES_OAEP_SHA_1", 215)])
def test_a_data_key_that_does_not_fit_is_refused(kms, key, recipient, algorithm, size):
    recipient["WrappingAlgorithm"] = algorithm
    with refused("InvalidParameter", 400) as refusal:
        kms.call("GenerateAndExportDataKey", KeyId=key, NumberOfBytes=size, **recipient)
    assert "NumberOfBytes" in refusal.value.message
    blob = kms.call("GenerateDataKey", KeyId=key, NumberOfBytes=size)["CiphertextBlob"]
    with refused("InvalidParameter", 400) as refusal:
        kms.call("ExportDataKey", CiphertextBlob=blob, **recipient)
    assert "CiphertextBlob" in refusal.value.message


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"PublicKeyBlob": text(b"no key")}, "PublicKeyBlob"),
        ({"PublicKeyBlob": "not Base64!"}, "PublicKeyBlob"),
        ({"PublicKeyBlob": public_blob(ec.generate_private_key(ec.SECP256R1()))}, "PublicKeyBlob"),
        ({"PublicKeyBlob": public_blob(rsa.generate_private_key(65537, 1024))}, "PublicKeyBlob"),
        ({"PublicKeyBlob": public_blob(rsa.generate_private_key(65537, 3072))}, "PublicKeyBlob"),
        ({"WrappingKeySpec": "RSA_4096"}, "WrappingKeySpec"),
        ({"WrappingAlgorithm": "RSAES_PKCS1_V1_5"}, "WrappingAlgorithm"),
        ({"WrappingAlgorithm": "SM2PKE"}, "WrappingAlgorithm"),
    ],
    ids=["no key", "no Base64", "EC", "too small", "too large", "spec", "PKCS#1", "SM2"],
)
def test_a_recipient_that_is_none_is_refused_by_name(kms, key, recipient, fault, name):
    blob = kms.call("GenerateDataKey", KeyId=key)["CiphertextBlob"]
    asked = {"GenerateAndExportDataKey": {"KeyId": key}, "ExportDataKey": {"CiphertextBlob": blob}}
    for action, parameters in asked.items():
        with refused("InvalidParameter", 400) as refusal:
            kms.call(action, **parameters, **{**recipient, **fault})
        assert name in refusal.value.message


def test_sm2_is_not_supported(kms, key, recipient):
    sm2 = {"WrappingKeySpec": "EC_SM2", "WrappingAlgorithm": "SM2PKE"}
    with refused("UnsupportedOperation", 400):
        kms.call("GenerateAndExportDataKey", KeyId=key, **{**recipient, **sm2})


def test_another_context_or_blob_exports_nothing(kms, key, recipient):
    blob = encrypt(kms, key, CONTEXT)["CiphertextBlob"]
    for wrong in ({"CiphertextBlob": blob}, {"CiphertextBlob": text(bytes(100))}):
        with refused("InvalidParameter", 400):
            kms.call("ExportDataKey", **wrong, **recipient)


def test_a_dry_run_checks_and_does_nothing(kms, key, recipient):
    blob = kms.call("GenerateDataKey", KeyId=key)["CiphertextBlob"]
    for action, parameters in {
        "GenerateAndExportDataKey": {"KeyId": key},
        "ExportDataKey": {"CiphertextBlob": blob},
    }.items():
        with refused("DryRunOperationError", 400):
            kms.call(action, DryRun="true", **parameters, **recipient)
    with refused("ValidationError", 400):
        too_long = {"KeyId": key, "NumberOfBytes": 1024, "DryRun": "true"}
        kms.call("GenerateAndExportDataKey", **too_long, **recipient)


def test_a_disabled_key_exports_nothing(kms, key, recipient):
    blob = kms.call("GenerateDataKey", KeyId=key)["CiphertextBlob"]
    kms.call("DisableKey", KeyId=key)
    with refused("Rejected.Disabled", 409):
        kms.call("GenerateAndExportDataKey", KeyId=key, **recipient)
    with refused("Rejected.Disabled", 409):
        kms.call("ExportDataKey", CiphertextBlob=blob, **recipient)
