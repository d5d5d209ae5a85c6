"""What the cases are given: a gateway that runs already, and one SDK to reach it with.

tests/sdk.rs starts the gateways and runs pytest once for each SDK. By hand:

    export HSMGATE_DEV_JSON="$(the line that `hsmgate dev --json` prints)"
    export HSMGATE_THROTTLED_DEV_JSON="$(the same of a second one with --calls-per-second 5)"
    export HSMGATE_TLS_DEV_JSON="$(the same of a third one with --tls)"
    NODE_PATH=target/sdk/node/node_modules target/sdk/python/bin/python -m pytest \
        --sdk python-new-acs3 tests/sdk
"""

import functools
import json
import os
import uuid

import pytest

import clients


def pytest_addoption(parser):
    parser.addoption("--sdk", choices=sorted(clients.SDKS), help="the SDK to drive")


def pytest_configure(config):
    if config.getoption("--sdk") is None:
        raise pytest.UsageError("say which SDK to drive with --sdk")


def pytest_collection_modifyitems(config, items):
    """Leaves out what the SDK cannot express and the habits of others."""
    sdk = config.getoption("--sdk")
    lacks = clients.LACKS.get(sdk, set())
    left_out = [
        item
        for item in items
        if any(marker.args[0] in lacks for marker in item.iter_markers("needs"))
        or any(sdk not in marker.args for marker in item.iter_markers("only"))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _gateway(variable):
    if variable not in os.environ:
        pytest.fail(f"{variable} is not set; run the cases with: cargo test --test sdk")
    return clients.Gateway(**json.loads(os.environ[variable]))


@pytest.fixture(scope="session")
def gateway():
    return _gateway("HSMGATE_DEV_JSON")


@pytest.fixture(scope="session")
def throttled_gateway():
    """It takes five calls of a cryptographic operation a second."""
    return _gateway("HSMGATE_THROTTLED_DEV_JSON")


@pytest.fixture(scope="session")
def tls_gateway():
    """It speaks TLS, with a certificate of a CA that only this run knows."""
    return _gateway("HSMGATE_TLS_DEV_JSON")


@pytest.fixture(scope="session")
def connect(pytestconfig):
    """Makes a client of a gateway: `with connect(gateway, access_key_secret="other") as kms`."""
    return functools.partial(clients.connect, pytestconfig.getoption("--sdk"))


@pytest.fixture(scope="session")
def kms(connect, gateway):
    with connect(gateway) as client:
        yield client


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
