"""Calls of the public API that the old Python SDK signs with a client key, by its own signer."""

import base64
import dataclasses
import json
import uuid

import pytest
from aliyunsdkcore.auth.algorithm import sha_hmac256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from clients import refused
from clients.python_old import OldPython

pytestmark = pytest.mark.only("python-old")

PLAINTEXT = base64.b64encode(b"for the shop").decode()


class WithClientKey(OldPython):
    """Signs with RSA: the secret is the private key, PKCS#8 in Base64."""

    def __init__(self, gateway):
        super().__init__(gateway)
        self.private_key = gateway.access_key_secret

    def request(self, action, **parameters):
        request = super().request(action, **parameters)
        # What the SDK gives to its own request of this kind, in the constructor.
        request._signer = sha_hmac256
        return request


@pytest.fixture(scope="module")
def point(gateway, connect):
    """An access point for every key."""
    name = f"sdk-{uuid.uuid4()}"
    with connect(gateway) as kms:
        kms.call(
            "CreatePolicy",
            Name=name,
            Permissions='["RbacPermission/Template/CryptoServiceKeyUser"]',
            Resources='["key/*"]',
        )
        kms.call("CreateApplicationAccessPoint", Name=name, Policies=json.dumps([name]))
    return name


@pytest.fixture
def client_key(gateway, kms, point):
    made = kms.call("CreateClientKey", AapName=point, Password="opens-it-1")
    container = pkcs12.load_pkcs12(base64.b64decode(made["PrivateKeyData"]), b"opens-it-1")
    private = container.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    private_key = base64.b64encode(private).decode()
    return WithClientKey(
        dataclasses.replace(
            gateway, access_key_id=made["ClientKeyId"], access_key_secret=private_key
        )
    )


def test_a_client_key_encrypts_and_an_access_key_decrypts(kms, client_key, key):
    context = {"purpose": "测试", "owner": "a*b~c+d e"}
    encrypted = client_key.call(
        "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=context
    )
    blob = {"CiphertextBlob": encrypted["CiphertextBlob"], "EncryptionContext": context}
    assert client_key.call("Decrypt", **blob)["Plaintext"] == PLAINTEXT
    assert kms.call("Decrypt", **blob)["Plaintext"] == PLAINTEXT


def test_a_client_key_gets_xml_when_it_asks_for_it(client_key, key):
    request = client_key.request("GenerateDataKey", KeyId=key)
    assert client_key.send_for_xml(request).startswith("<GenerateDataKeyResponse>")


def test_a_client_key_manages_no_keys(client_key, key):
    for action, parameters in [
        ("DescribeKey", {"KeyId": key}),
        ("ListKeys", {}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": key}),
    ]:
        with refused("Forbidden.NoPermission", 403):
            client_key.call(action, **parameters)


def test_an_access_key_is_refused_with_the_method_of_client_keys(gateway, client_key, key):
    request = client_key.request("Encrypt", KeyId=key, Plaintext=PLAINTEXT)
    # The private key is that of a client key, the id is not.
    impostor = WithClientKey(
        dataclasses.replace(gateway, access_key_secret=client_key.private_key)
    )
    with refused("InvalidSignatureMethod", 400):
        impostor.send(request)
