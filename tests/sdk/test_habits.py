"""What programs do with one SDK and not with the others."""

import pathlib
import subprocess
import sys

import pytest

from clients import refused
from clients.python_new import NewPython
from test_crypto import PLAINTEXT, decrypt, encrypt

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "first_encryption.py"


@pytest.mark.only("python-new-acs3")
def test_the_new_python_sdk_takes_a_url_for_an_endpoint(gateway):
    # Its Host header then holds the whole URL, and is signed so.
    kms = NewPython(gateway, endpoint=gateway.endpoint)
    assert kms.call("DescribeRegions")["Regions"]["Region"]


@pytest.mark.only("python-new-acs3")
def test_the_example_encrypts_and_decrypts(gateway):
    run = subprocess.run(
        [sys.executable, EXAMPLE],
        env={
            "HSMGATE_ENDPOINT": gateway.endpoint,
            "HSMGATE_ACCESS_KEY_ID": gateway.access_key_id,
            "HSMGATE_ACCESS_KEY_SECRET": gateway.access_key_secret,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "decrypted: hello"


@pytest.mark.only("python-old")
def test_the_old_python_sdk_gets_xml_when_it_asks_for_it(kms, key):
    body = kms.send_for_xml(kms.request("Encrypt", KeyId=key, Plaintext=PLAINTEXT))
    assert "<EncryptResponse>" in body
    assert f"<KeyId>{key}</KeyId>" in body


@pytest.mark.only("python-old")
def test_the_old_python_sdk_may_put_parameters_into_a_form(kms, key):
    request = kms.request("Encrypt", KeyId=key)
    request.add_body_params("Plaintext", PLAINTEXT)
    request.add_body_params("EncryptionContext", '{"a b": "ü+*~"}')
    blob = kms.send(request)["CiphertextBlob"]
    assert decrypt(kms, blob, {"a b": "ü+*~"})["Plaintext"] == PLAINTEXT


@pytest.mark.only("python-old")
def test_the_text_of_a_python_dict_is_no_context(kms, key):
    with refused("InvalidParameter", 400) as refusal:
        encrypt(kms, key, str({"a": "b"}))
    assert "EncryptionContext" in refusal.value.message


@pytest.mark.only("node-kms20160120")
def test_the_node_sdk_takes_an_object_for_a_context(kms, key):
    # It sends EncryptionContext.tenant=a and so on, and no JSON.
    context = {"tenant": "a", "purpose": "b c"}
    blob = kms.call_with_objects(
        "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=context
    )["CiphertextBlob"]
    assert decrypt(kms, blob, context)["Plaintext"] == PLAINTEXT
