"""Instance SDK, transfer SDKs against a running gateway over plain HTTP."""
import json, sys, base64, hashlib
dev = json.loads(open(sys.argv[1]).readline())
host = dev["endpoint"].removeprefix("http://")
from alibabacloud_kms20160120.client import Client as Kms
from alibabacloud_kms20160120 import models as km
from alibabacloud_tea_openapi.models import Config
kms = Kms(Config(access_key_id=dev["access_key_id"], access_key_secret=dev["access_key_secret"], endpoint=host, protocol="http", region_id=dev["region"]))
from alibabacloud_tea_openapi.models import OpenApiRequest, Params
from alibabacloud_tea_util.models import RuntimeOptions
def call(action, **q):
    p = Params(action=action, version="2016-01-20", protocol="HTTP", pathname="/", method="POST", auth_type="AK", style="RPC", req_body_type="formData", body_type="json")
    return kms.call_api(p, OpenApiRequest(query=q), RuntimeOptions())["body"]
n = "smoke"
call("CreatePolicy", Name=n, Permissions='["RbacPermission/Template/CryptoServiceKeyUser"]', Resources='["key/*"]')
call("CreateApplicationAccessPoint", Name=n, Policies='["smoke"]')
ck = call("CreateClientKey", AapName=n, Password="opens-it-1")
content = json.dumps({"KeyId": ck["ClientKeyId"], "PrivateKeyData": ck["PrivateKeyData"]})

from openapi.models import Config as GConfig
from sdk.client import Client as Gcs
from sdk import models as gm
gcs = Gcs(GConfig(protocol="http", endpoint=host, client_key_content=content, password="opens-it-1"))
key = dev["key_id"]
def ok(name, cond): print(("ok  " if cond else "FAIL"), name)
r = gcs.encrypt(gm.EncryptRequest(key_id=dev["alias"], plaintext=b"raw\xff", aad=b"a"))
ok("encrypt", r.key_id == key and len(r.iv) == 12)
d = gcs.decrypt(gm.DecryptRequest(key_id=r.key_id, ciphertext_blob=r.ciphertext_blob, iv=r.iv, aad=b"a", algorithm=r.algorithm))
ok("decrypt", d.plaintext == b"raw\xff")
a = gcs.advance_encrypt(gm.AdvanceEncryptRequest(key_id=key, plaintext=b"adv"))
ok("advance", gcs.advance_decrypt(gm.AdvanceDecryptRequest(ciphertext_blob=a.ciphertext_blob)).plaintext == b"adv")
g = gcs.generate_data_key(gm.GenerateDataKeyRequest(key_id=key, number_of_bytes=32))
ok("data key", len(g.plaintext) == 32)
ok("random", len(gcs.generate_random(gm.GenerateRandomRequest(length=16)).random) == 16)
try:
    gcs.decrypt(gm.DecryptRequest(key_id=r.key_id, ciphertext_blob=r.ciphertext_blob, iv=r.iv, aad=b"b", algorithm=r.algorithm)); ok("wrong aad", False)
except Exception as e:
    ok("wrong aad: %s %s" % (type(e).__name__, getattr(e, "code", e)), getattr(e, "code", "") == "InvalidParameter")
ec = call("CreateKey", KeySpec="EC_P256", KeyUsage="SIGN/VERIFY")["KeyMetadata"]["KeyId"]
s = gcs.sign(gm.SignRequest(key_id=ec, algorithm="ECDSA_SHA_256", message=b"m", message_type="RAW"))
ok("sign", gcs.verify(gm.VerifyRequest(key_id=ec, algorithm="ECDSA_SHA_256", message=hashlib.sha256(b"m").digest(), message_type="DIGEST", signature=s.signature)).value)
ok("public key", gcs.get_public_key(gm.GetPublicKeyRequest(key_id=ec)).public_key.startswith("-----BEGIN"))


# the transfer SDKs and the public API, in both directions
from alibabacloud_kms_kms20160120.transfer_client import TransferClient
from alibabacloud_kms_kms20160120 import models as tm
def gconf(): return GConfig(protocol="http", endpoint=host, client_key_content=content, password="opens-it-1")
pub = Config(access_key_id=dev["access_key_id"], access_key_secret=dev["access_key_secret"], endpoint=host, protocol="http", region_id=dev["region"])
text = base64.b64encode(b"hello").decode()
tc = TransferClient(config=pub, kms_config=gconf())
from alibabacloud_kms20160120.models import EncryptRequest, DecryptRequest, GenerateDataKeyRequest
e = tc.encrypt(EncryptRequest(key_id=key, plaintext=text)).body
ok("KMS SDK transfer -> public", call("Decrypt", CiphertextBlob=e.ciphertext_blob)["Plaintext"] == text)
p2 = call("Encrypt", KeyId=key, Plaintext=text)["CiphertextBlob"]
ok("public -> KMS SDK transfer", tc.decrypt(DecryptRequest(ciphertext_blob=p2)).body.plaintext == text)
dk = tc.generate_data_key(GenerateDataKeyRequest(key_id=key)).body
ok("transfer data key", call("Decrypt", CiphertextBlob=dk.ciphertext_blob)["Plaintext"] == dk.plaintext)
from alibabacloud_dkms_transfer.kms_transfer_acs_client import KmsTransferAcsClient
from aliyunsdkkms.request.v20160120 import EncryptRequest as OE, DecryptRequest as OD, GenerateDataKeyRequest as OG
old = KmsTransferAcsClient(config=gconf(), ak=dev["access_key_id"], secret=dev["access_key_secret"], region_id=dev["region"])
def ask(r, **kw):
    for k, v in kw.items(): getattr(r, "set_" + k)(v)
    return json.loads(old.do_action_with_exception(r))
ctx = json.dumps({"b": "2", "a": "1"})
b = ask(OE.EncryptRequest(), KeyId=key, Plaintext=text, EncryptionContext=ctx)["CiphertextBlob"]
ok("dkms-transfer -> public", call("Decrypt", CiphertextBlob=b, EncryptionContext=ctx)["Plaintext"] == text)
b = call("Encrypt", KeyId=key, Plaintext=text, EncryptionContext=ctx)["CiphertextBlob"]
ok("public -> dkms-transfer", ask(OD.DecryptRequest(), CiphertextBlob=b, EncryptionContext=ctx)["Plaintext"] == text)
g = ask(OG.GenerateDataKeyRequest(), KeyId=key)
ok("dkms-transfer data key", call("Decrypt", CiphertextBlob=g["CiphertextBlob"])["Plaintext"] == g["Plaintext"])
