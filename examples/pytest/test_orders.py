"""Tests of an application with a real KMS, by the pytest plugin of the wheel `hsmgate`.

    pip install hsmgate-*.whl pytest alibabacloud-kms20160120
    pytest
"""

import base64

from alibabacloud_kms20160120 import models


def test_a_card_number_is_encrypted(kms_client, hsmgate):
    plaintext = base64.b64encode(b"4111 1111 1111 1111").decode()
    request = models.EncryptRequest(key_id=hsmgate.alias, plaintext=plaintext)
    encrypted = kms_client.encrypt(request).body
    request = models.DecryptRequest(ciphertext_blob=encrypted.ciphertext_blob)
    assert kms_client.decrypt(request).body.plaintext == plaintext


def test_the_gateway_has_the_region_of_pytest_ini(hsmgate):
    assert hsmgate.region_id == "cn-beijing"


def test_a_fresh_gateway_has_keys_of_its_own(hsmgate, hsmgate_fresh):
    assert hsmgate.endpoint != hsmgate_fresh.endpoint
    assert hsmgate.key_id != hsmgate_fresh.key_id
