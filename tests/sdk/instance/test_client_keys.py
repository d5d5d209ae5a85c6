"""Client keys: the ways to hand one to an SDK, and those that do not let in."""

import base64
import datetime
import json
import os
import pathlib
import uuid

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from clients import refused
from instance_sdks import INSTANCE_SDKS, ClientKey, Instance

PASSWORD = "Opens-it-1"


def of_file(client_key):
    return {"client_key_file": client_key.file, "password": client_key.password}


def of_content(client_key):
    return {"client_key_content": client_key.content(), "password": client_key.password}


def of_pem(client_key, id=None):
    """The private key taken out of its container."""
    container = base64.b64decode(json.loads(client_key.content())["PrivateKeyData"])
    key, _, _ = pkcs12.load_key_and_certificates(container, client_key.password.encode())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return {"access_key_id": id or client_key.id, "private_key": pem.decode()}


def date(days):
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def point(kms, policy):
    """The name of an access point of its own."""
    name = f"sdk-{uuid.uuid4()}"
    kms.call("CreateApplicationAccessPoint", Name=name, Policies=json.dumps([policy]))
    return name


@pytest.fixture
def new_client_key(kms, point, tmp_path):
    """Makes a client key with the public API, valid between two days from now."""

    def make(first, last):
        made = kms.call(
            "CreateClientKey",
            AapName=point,
            Password=PASSWORD,
            NotBefore=date(first),
            NotAfter=date(last),
        )
        file = tmp_path / "client-key.json"
        content = {"KeyId": made["ClientKeyId"], "PrivateKeyData": made["PrivateKeyData"]}
        file.write_text(json.dumps(content))
        return ClientKey(made["ClientKeyId"], str(file), PASSWORD)

    return make


def random(gateway, **credential):
    return Instance(gateway, **credential).call("GenerateRandom", length=8).random


@pytest.mark.parametrize("handed", [of_file, of_content, of_pem])
@pytest.mark.parametrize("kind", INSTANCE_SDKS.values(), ids=INSTANCE_SDKS)
def test_a_client_key_lets_in_however_it_is_handed_over(gateway, client_key, kind, handed):
    instance = kind(gateway, **handed(client_key))
    assert len(instance.call("GenerateRandom", length=8).random) == 8


def test_a_client_key_of_the_public_api_lets_in(gateway, new_client_key):
    assert len(random(gateway, **of_file(new_client_key(-1, 1)))) == 8


def test_the_files_of_the_command_line_are_as_the_sdks_want_them(client_key):
    made = json.loads(client_key.content())
    assert made["KeyId"] == client_key.id
    assert client_key.id.startswith("KAAP.") and uuid.UUID(client_key.id[5:])
    assert pathlib.Path(client_key.file).name == f"clientKey_{client_key.id}.json"
    assert len(client_key.password) == 32 and int(client_key.password, 16)
    for name in os.listdir(pathlib.Path(client_key.file).parent):
        path = pathlib.Path(client_key.file).with_name(name)
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_client_key_that_nobody_made_is_unknown(gateway, client_key):
    stranger = "KAAP.00000000-0000-4000-8000-000000000001"
    with refused("Unauthorized", 404) as refusal:
        random(gateway, **of_pem(client_key, id=stranger))
    expected = f'The AccessKey ID "{stranger}" does not exist in our records.'
    assert refusal.value.message == expected


def test_the_private_key_of_another_client_key_does_not_sign_for_it(
    gateway, client_key, make_client_key
):
    with refused("SignatureNotMatch", 401) as refusal:
        random(gateway, **of_pem(make_client_key(), id=client_key.id))
    assert refusal.value.message == "Signature is not matched."


def test_a_revoked_client_key_is_unknown_at_once(gateway, kms, make_client_key):
    client_key = make_client_key()
    assert len(random(gateway, **of_file(client_key))) == 8
    kms.call("DeleteClientKey", ClientKeyId=client_key.id)
    with refused("Unauthorized", 404):
        random(gateway, **of_file(client_key))


@pytest.mark.parametrize(("first", "last"), [(-2, -1), (1, 2)], ids=["expired", "not yet"])
def test_a_client_key_outside_its_days_is_unknown(gateway, new_client_key, first, last):
    with refused("Unauthorized", 404):
        random(gateway, **of_file(new_client_key(first, last)))


def test_a_policy_about_other_keys_does_not_let_in(gateway, kms, tmp_path, new_key):
    mine, other = new_key(), new_key()
    name = f"sdk-{uuid.uuid4()}"
    user = ["RbacPermission/Template/CryptoServiceKeyUser"]
    resources = json.dumps([f"key/{mine}"])
    kms.call("CreatePolicy", Name=name, Permissions=json.dumps(user), Resources=resources)
    kms.call("CreateApplicationAccessPoint", Name=name, Policies=json.dumps([name]))
    made = kms.call("CreateClientKey", AapName=name, Password=PASSWORD)
    content = {"KeyId": made["ClientKeyId"], "PrivateKeyData": made["PrivateKeyData"]}
    instance = Instance(gateway, client_key_content=json.dumps(content), password=PASSWORD)
    assert instance.call("Encrypt", key_id=mine, plaintext=b"x").key_id == mine
    for operation in ("Encrypt", "AdvanceEncrypt"):
        with refused("Forbidden.NoPermission", 403):
            instance.call(operation, key_id=other, plaintext=b"x")
