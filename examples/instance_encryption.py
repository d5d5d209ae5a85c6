"""Encrypts and decrypts with the SDK of a KMS instance (pip install alibabacloud-dkms-gcs).

The address and the files are those that `hsmgate dev --tls` prints.
"""

import os
import pathlib

from openapi.models import Config
from sdk import models
from sdk.client import Client

protocol, _, address = os.environ["HSMGATE_ENDPOINT"].partition("://")
config = Config(
    endpoint=address,
    protocol=protocol,
    client_key_file=os.environ["HSMGATE_CLIENT_KEY_FILE"],
    password=pathlib.Path(os.environ["HSMGATE_CLIENT_KEY_PASSWORD_FILE"]).read_text(),
)
config.ca_file_path = os.environ["HSMGATE_CA_FILE"]
kms = Client(config)

encrypted = kms.encrypt(models.EncryptRequest(key_id="alias/demo", plaintext=b"hello"))
print("encrypted:", encrypted.ciphertext_blob.hex())

decrypted = kms.decrypt(
    models.DecryptRequest(
        key_id=encrypted.key_id, ciphertext_blob=encrypted.ciphertext_blob, iv=encrypted.iv
    )
)
print("decrypted:", decrypted.plaintext.decode())
