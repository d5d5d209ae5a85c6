"""Fixtures for tests that need a KMS."""

import shlex

import pytest

from hsmgate import Gateway


def pytest_addoption(parser):
    parser.addini("hsmgate_options", "options of `hsmgate dev` for the gateways of the tests", default="")


def _options(config):
    return shlex.split(config.getini("hsmgate_options"))


@pytest.fixture(scope="session")
def hsmgate(pytestconfig):
    """A gateway for the whole session."""
    with Gateway(_options(pytestconfig)) as gateway:
        yield gateway


@pytest.fixture
def hsmgate_fresh(pytestconfig):
    """A gateway for one test."""
    with Gateway(_options(pytestconfig)) as gateway:
        yield gateway


@pytest.fixture
def kms_client(hsmgate):
    """A client of the official SDK for the gateway of the session."""
    return hsmgate.kms_client()
