"""Encrypts and decrypts with the official Python SDK (pip install alibabacloud-kms20160120).

The address and the access key are those that `make run` prints.
"""

import base64
import os

from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.utils_models import Config

protocol, _, address = os.environ["HSMGATE_ENDPOINT"].partition("://")
kms = Client(
    Config(
        endpoint=address,
        protocol=protocol,
        ca=os.environ.get("HSMGATE_CA_FILE"),
        access_key_id=os.environ["HSMGATE_ACCESS_KEY_ID"],
        access_key_secret=os.environ["HSMGATE_ACCESS_KEY_SECRET"],
    )
)

plaintext = base64.b64encode(b"hello").decode()
encrypted = kms.encrypt(models.EncryptRequest(key_id="alias/demo", plaintext=plaintext)).body
print("encrypted:", encrypted.ciphertext_blob)

decrypted = kms.decrypt(models.DecryptRequest(ciphertext_blob=encrypted.ciphertext_blob)).body
print("decrypted:", base64.b64decode(decrypted.plaintext).decode())
