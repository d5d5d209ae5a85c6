"""The older official SDK with a region and no endpoint."""

import base64
import json
import os

from aliyunsdkcore.client import AcsClient
from aliyunsdkkms.request.v20160120 import DecryptRequest, EncryptRequest

gateway = json.loads(os.environ["HSMGATE_DEV_JSON"])
kms = AcsClient(
    gateway["access_key_id"],
    gateway["access_key_secret"],
    gateway["region"],
    verify=gateway["ca_file"],
)


def call(request):
    request.set_protocol_type("https")
    request.set_accept_format("json")
    return json.loads(kms.do_action_with_exception(request))


plaintext = base64.b64encode(b"under the cloud's name").decode()
encrypt = EncryptRequest.EncryptRequest()
encrypt.set_KeyId("alias/demo")
encrypt.set_Plaintext(plaintext)
decrypt = DecryptRequest.DecryptRequest()
decrypt.set_CiphertextBlob(call(encrypt)["CiphertextBlob"])
assert call(decrypt)["Plaintext"] == plaintext
print("older python passed")
