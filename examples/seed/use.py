"""Uses what seed.toml makes, with the official SDK, as an application does.

    pip install alibabacloud-kms20160120==3.3.1
    export HSMGATE_ENDPOINT=http://127.0.0.1:8200 ORDERS_SECRET=... DB_PASSWORD=...
    python use.py
"""

import base64
import os

from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.utils_models import Config

protocol, _, address = os.environ["HSMGATE_ENDPOINT"].partition("://")
kms = Client(
    Config(
        access_key_id="LTAIorders",
        access_key_secret=os.environ["ORDERS_SECRET"],
        endpoint=address,
        protocol=protocol,
    )
)

plaintext = base64.b64encode(b"order 4711").decode()
encrypted = kms.encrypt(models.EncryptRequest(key_id="alias/orders", plaintext=plaintext))
decrypted = kms.decrypt(models.DecryptRequest(ciphertext_blob=encrypted.body.ciphertext_blob))
assert decrypted.body.plaintext == plaintext

described = kms.describe_key(models.DescribeKeyRequest(key_id="alias/fixtures"))
assert described.body.key_metadata.key_id == "key-hsm0000000000fixtures"

secret = kms.get_secret_value(models.GetSecretValueRequest(secret_name="orders/db"))
assert secret.body.secret_data == os.environ["DB_PASSWORD"]

try:
    kms.disable_key(models.DisableKeyRequest(key_id=encrypted.body.key_id))
except Exception as refused:
    assert "Forbidden.NoPermission" in str(refused)
else:
    raise AssertionError("the policy of the user does not permit this")

print(f"{encrypted.body.key_id}: encrypted and decrypted; {secret.body.secret_name} read")
