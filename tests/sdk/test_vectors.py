"""Published vectors of AES-256-GCM through the API: their keys are imported, their messages encrypted
outside under their IVs, and the blobs composed by hand."""

import base64
import json
import pathlib

import pytest

from clients import refused
from clients.pairs import text
from test_crypto import decrypt
from test_import import bring_in, compose, new_external_key
from test_states import metadata

# The SDKs do not matter here, and every key costs a wrapping pair.
pytestmark = pytest.mark.only("python-new-acs3")

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
FILES = ["wycheproof_aes_256_gcm", "cavp_aes_256_gcm_encrypt", "cavp_aes_256_gcm_decrypt"]


def expressible(file, count):
    """Valid vectors that a blob can hold, evenly out of the file: an IV of 96 bits, a message."""
    groups = json.loads((VECTORS / f"{file}.json").read_text())["testGroups"]
    tests = [
        test
        for group in groups
        for test in group["tests"]
        if (group["ivSize"], test["result"]) == (96, "valid") and test["msg"]
    ]
    return tests[:: max(1, len(tests) // count)][:count]


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vector, id=f"{file}-{vector['tcId']}")
        for file in FILES
        for vector in expressible(file, 7)
    ],
)
def test_a_vector_opens_and_no_broken_form_of_it(kms, vector):
    material, iv = bytes.fromhex(vector["key"]), bytes.fromhex(vector["iv"])
    plaintext = text(bytes.fromhex(vector["msg"]))
    context = {"aad": vector["aad"]}
    key = new_external_key(kms)
    bring_in(kms, key, material)
    version = metadata(kms, key)["PrimaryKeyVersion"]
    for given in (None, context):
        blob = compose(version, material, given, iv, plaintext.encode())
        assert decrypt(kms, text(blob), given)["Plaintext"] == plaintext

    def flipped(at):
        broken = bytearray(blob)
        broken[at] ^= 0x80
        return bytes(broken)

    tag = len(blob) - 16
    broken = {
        "first byte of the IV": flipped(36),
        "last byte of the IV": flipped(47),
        "first byte of the ciphertext": flipped(48),
        "last byte of the ciphertext": flipped(tag - 1),
        "first byte of the tag": flipped(tag),
        "last byte of the tag": flipped(len(blob) - 1),
        "tag all zero": blob[:tag] + bytes(16),
        "tag cut off": blob[:tag],
        "tag cut short": blob[:-1],
        "ciphertext cut short": blob[: tag - 1] + blob[tag:],
        "a byte more": blob + b"\0",
        "no IV": blob[:36] + blob[48:],
    }
    for what, bad in broken.items():
        with refused("InvalidParameter", 400):
            decrypt(kms, text(bad), context)
            pytest.fail(what)
    for wrong in (None, {"aad": vector["aad"] + "0"}, {"add": vector["aad"]}):
        with refused("InvalidParameter", 400):
            decrypt(kms, text(blob), wrong)
    assert base64.b64decode(decrypt(kms, text(blob), context)["Plaintext"]).hex() == vector["msg"]
