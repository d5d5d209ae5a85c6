"""The SDK of a KMS instance, at an endpoint as the vendor names them."""

import json
import os
import pathlib

from openapi.models import Config
from sdk import models
from sdk.client import Client

gateway = json.loads(os.environ["HSMGATE_DEV_JSON"])
config = Config(
    endpoint="kst-hzz1.cryptoservice.kms.aliyuncs.com",
    protocol="https",
    client_key_file=gateway["client_key_file"],
    password=pathlib.Path(gateway["client_key_password_file"]).read_text(),
)
config.ca_file_path = gateway["ca_file"]
kms = Client(config)

plaintext = b"under the cloud's name"
encrypted = kms.encrypt(models.EncryptRequest(key_id="alias/demo", plaintext=plaintext))
decrypted = kms.decrypt(
    models.DecryptRequest(
        key_id=encrypted.key_id, ciphertext_blob=encrypted.ciphertext_blob, iv=encrypted.iv
    )
)
assert decrypted.plaintext == plaintext
print("instance passed")
