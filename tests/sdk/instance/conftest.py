"""What the cases of the instance SDKs are given: a gateway, a client key, and clients.

tests/sdk.rs starts the gateway and runs pytest, once over plain HTTP and once over TLS. By hand:

    export HSMGATE_PROGRAM=target/debug/hsmgate
    export HSMGATE_DEV_JSON="$(the line that `hsmgate dev --json` prints, with --tls or without)"
    target/sdk/python-instance/bin/python -m pytest tests/sdk/instance
"""

import json
import os
import pathlib
import subprocess
import uuid

import pytest

import clients
from instance_sdks import INSTANCE_SDKS, ClientKey
from transfer_sdks import TRANSFER_SDKS

USER = ["RbacPermission/Template/CryptoServiceKeyUser"]


def pytest_configure(config):
    for variable in ("HSMGATE_PROGRAM", "HSMGATE_DEV_JSON"):
        if variable not in os.environ:
            raise pytest.UsageError(f"{variable} is not set: cargo test --test sdk instance")


def pytest_collection_modifyitems(config, items):
    """Leaves out over plain HTTP what is about TLS."""
    if _gateway().protocol == "https":
        return
    left_out = [item for item in items if item.get_closest_marker("tls")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _gateway():
    return clients.Gateway(**json.loads(os.environ["HSMGATE_DEV_JSON"]))


@pytest.fixture(scope="session")
def gateway():
    return _gateway()


@pytest.fixture(scope="session")
def kms(gateway):
    """The public API, through the SDK that the transfer SDKs bring along."""
    with clients.connect("python-new-acs3", gateway) as client:
        yield client


@pytest.fixture(scope="session")
def policy(kms):
    """The name of a policy for the use of every key."""
    name = f"sdk-{uuid.uuid4()}"
    kms.call("CreatePolicy", Name=name, Permissions=json.dumps(USER), Resources='["key/*"]')
    return name


@pytest.fixture(scope="session")
def make_client_key(gateway, policy, tmp_path_factory):
    """Makes a client key with the command line, for a new access point."""
    environment = {
        "HSMGATE_ENDPOINT": gateway.endpoint,
        "HSMGATE_ACCESS_KEY_ID": gateway.access_key_id,
        "HSMGATE_ACCESS_KEY_SECRET": gateway.access_key_secret,
    }
    if gateway.ca_file:
        environment["HSMGATE_CA_FILE"] = gateway.ca_file

    def make():
        out = tmp_path_factory.mktemp("client-key")
        command = [os.environ["HSMGATE_PROGRAM"], "client-key", "create", "--name", f"sdk-{uuid.uuid4()}"]
        command += ["--policy", policy, "--days", "30", "--out", out, "--json"]
        made = subprocess.run(command, env=environment, check=True, capture_output=True)
        made = json.loads(made.stdout)
        password_file = made["client_key_password_file"]
        password = pathlib.Path(password_file).read_text()
        return ClientKey(made["client_key_id"], made["client_key_file"], password, password_file)

    return make


@pytest.fixture(scope="session")
def client_key(make_client_key):
    return make_client_key()


@pytest.fixture(scope="session", params=INSTANCE_SDKS)
def instance(request, gateway, client_key):
    """Each instance SDK in turn."""
    kind = INSTANCE_SDKS[request.param]
    return kind(gateway, client_key_file=client_key.file, password=client_key.password)


@pytest.fixture(scope="session")
def gcs(gateway, client_key):
    """One instance SDK, for what does not depend on which."""
    kind = INSTANCE_SDKS["dkms-gcs"]
    return kind(gateway, client_key_content=client_key.content(), password=client_key.password)


@pytest.fixture(scope="session")
def transfers(gateway, client_key):
    """The transfer SDKs by their names."""
    return {name: kind(gateway, client_key) for name, kind in TRANSFER_SDKS.items()}


@pytest.fixture(params=TRANSFER_SDKS)
def transfer(request, transfers):
    """Each transfer SDK in turn."""
    return transfers[request.param]


@pytest.fixture
def new_key(kms):
    """Makes a key and gives its id."""
    return lambda: kms.call("CreateKey")["KeyMetadata"]["KeyId"]


@pytest.fixture
def key(new_key):
    """The id of a key that no other case uses."""
    return new_key()


@pytest.fixture
def alias(kms, key):
    """An alias of `key`."""
    name = f"alias/sdk/{uuid.uuid4()}"
    kms.call("CreateAlias", KeyId=key, AliasName=name)
    return name
