"""Key versions: the newest encrypts, every one decrypts."""

import uuid

from clients import refused
from test_crypto import PLAINTEXT, decrypt, encrypt


def rotate(kms, key):
    return kms.call("CreateKeyVersion", KeyId=key)["KeyVersion"]


def test_a_new_version_encrypts_and_the_old_ciphertext_still_decrypts(kms, key):
    before = encrypt(kms, key)
    made = rotate(kms, key)
    assert made["KeyId"] == key
    metadata = kms.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert metadata["PrimaryKeyVersion"] == made["KeyVersionId"]

    after = encrypt(kms, key)
    assert after["KeyVersionId"] == made["KeyVersionId"] != before["KeyVersionId"]
    for encrypted in (before, after):
        decrypted = decrypt(kms, encrypted["CiphertextBlob"])
        assert decrypted["Plaintext"] == PLAINTEXT
        assert decrypted["KeyVersionId"] == encrypted["KeyVersionId"]


def test_the_versions_are_listed_and_described(kms, key):
    first = kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["PrimaryKeyVersion"]
    second = rotate(kms, key)
    page = kms.call("ListKeyVersions", KeyId=key)
    rows = page["KeyVersions"]["KeyVersion"]
    assert page["TotalCount"] == 2
    assert {row["KeyVersionId"] for row in rows} == {first, second["KeyVersionId"]}
    for row in rows:
        answer = kms.call("DescribeKeyVersion", KeyId=key, KeyVersionId=row["KeyVersionId"])
        assert answer["KeyVersion"] == row
    assert second in rows


def test_the_versions_are_paged(kms, key):
    rotate(kms, key)
    pages = [
        kms.call("ListKeyVersions", KeyId=key, PageNumber=number, PageSize=1)
        for number in (1, 2, 3)
    ]
    sizes = [len(page["KeyVersions"]["KeyVersion"]) for page in pages]
    assert sizes == [1, 1, 0]


def test_an_unknown_version_is_not_found(kms, key):
    with refused("Forbidden.KeyVersionNotFound", 404):
        kms.call("DescribeKeyVersion", KeyId=key, KeyVersionId=str(uuid.uuid4()))
