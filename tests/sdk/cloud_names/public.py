"""The official SDK with a region and no endpoint, or with a name of the vendor's as its endpoint."""

import base64
import json
import os
import sys

from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.utils_models import Config

gateway = json.loads(os.environ["HSMGATE_DEV_JSON"])
config = Config(
    access_key_id=gateway["access_key_id"],
    access_key_secret=gateway["access_key_secret"],
    region_id=gateway["region"],
    ca=gateway["ca_file"],
)
if sys.argv[1:]:
    config.endpoint = sys.argv[1]
kms = Client(config)

plaintext = base64.b64encode(b"under the cloud's name").decode()
encrypted = kms.encrypt(models.EncryptRequest(key_id="alias/demo", plaintext=plaintext)).body
assert encrypted.key_id == gateway["key_id"], encrypted.key_id
decrypted = kms.decrypt(models.DecryptRequest(ciphertext_blob=encrypted.ciphertext_blob)).body
assert decrypted.plaintext == plaintext
print("python", *sys.argv[1:], "passed")
