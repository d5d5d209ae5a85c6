"""Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint.

encrypt.py ENDPOINT KEY default|oidc
"""

import base64
import os
import sys

from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_credentials.models import Config
from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi import models as openapi

endpoint, key, way = sys.argv[1:]
if way == "oidc":
    config = Config(
        type="oidc_role_arn",
        role_arn=os.environ["ROLE_ARN"],
        oidc_provider_arn=os.environ["PROVIDER_ARN"],
        oidc_token_file_path=os.environ["TOKEN_FILE"],
        role_session_name="python-1",
        sts_endpoint=f"http://{endpoint}",
    )
    credentials = Credentials(config)
else:
    credentials = Credentials()
client = Client(
    openapi.Config(
        credential=credentials, endpoint=endpoint, protocol="http", region_id="cn-hangzhou"
    )
)
plaintext = base64.b64encode(b"identity").decode()
for _ in range(3):
    encrypted = client.encrypt(models.EncryptRequest(key_id=key, plaintext=plaintext)).body
    request = models.DecryptRequest(ciphertext_blob=encrypted.ciphertext_blob)
    assert client.decrypt(request).body.plaintext == plaintext
print("passed")
