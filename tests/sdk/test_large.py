"""The largest legal requests, which every SDK but one puts into its URL.

6,144 bytes of 0xFF are 8,192 slashes in Base64, and each slash is three bytes in a URL. A Chinese
character is nine. Together that is about 98 KB.
"""

import base64

import pytest

from clients import refused
from test_crypto import decrypt, encrypt

LARGEST = base64.b64encode(b"\xff" * 6144).decode()
# Name and values have 8,192 characters together.
LONGEST_CONTEXT = {"租": "户" * 8191}


def test_the_largest_plaintext_decrypts(kms, key):
    blob = encrypt(kms, key, plaintext=LARGEST)["CiphertextBlob"]
    assert decrypt(kms, blob)["Plaintext"] == LARGEST


def test_the_largest_plaintext_decrypts_with_the_longest_context(kms, key):
    blob = encrypt(kms, key, LONGEST_CONTEXT, LARGEST)["CiphertextBlob"]
    assert decrypt(kms, blob, LONGEST_CONTEXT)["Plaintext"] == LARGEST
    with refused("InvalidParameter", 400):
        decrypt(kms, blob, {"租": "户" * 8190})


def test_one_byte_more_is_refused_by_name(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        encrypt(kms, key, plaintext=base64.b64encode(b"\xff" * 6145).decode())
    assert "Plaintext" in refusal.value.message


def test_a_context_of_one_character_more_is_refused_by_name(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        encrypt(kms, key, {"租": "户" * 8192})
    assert "EncryptionContext" in refusal.value.message
