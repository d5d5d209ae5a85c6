"""Encrypts with the credentials of the default chain, or of the OIDC provider with an STS endpoint.

encrypt.py default|oidc

With RENEWALS it goes on until the credentials were renewed so often.
"""

import base64
import os
import sys
import time

from alibabacloud_credentials.client import Client as Credentials
from alibabacloud_credentials.models import Config
from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi import models as openapi

way = sys.argv[1]
if way == "oidc":
    config = Config(
        type="oidc_role_arn",
        role_arn=os.environ["ROLE_ARN"],
        oidc_provider_arn=os.environ["PROVIDER_ARN"],
        oidc_token_file_path=os.environ["TOKEN_FILE"],
        role_session_name="python-1",
        sts_endpoint=os.environ["STS_ENDPOINT"],
    )
    credentials = Credentials(config)
else:
    credentials = Credentials()
client = Client(
    openapi.Config(
        credential=credentials,
        endpoint=os.environ["ENDPOINT"],
        protocol=os.environ["SCHEME"],
        region_id="cn-hangzhou",
        ca=os.environ.get("CA_FILE"),
    )
)
plaintext = base64.b64encode(b"identity").decode()
renewals = int(os.environ.get("RENEWALS", "0"))
sessions, calls, begun = set(), 0, time.monotonic()
while calls < 3 or len(sessions) <= renewals:
    encrypted = client.encrypt(models.EncryptRequest(key_id=os.environ["KEY"], plaintext=plaintext))
    request = models.DecryptRequest(ciphertext_blob=encrypted.body.ciphertext_blob)
    assert client.decrypt(request).body.plaintext == plaintext
    sessions.add(credentials.get_credential().access_key_id)
    calls += 1
    assert time.monotonic() - begun < 60, f"{len(sessions)} sessions"
print("passed")
