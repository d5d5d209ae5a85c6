"""Secrets over TLS: the SDKs of an instance, and both generations of the vendor's secrets client."""

import json
import os
import pathlib
import subprocess
import sys
import uuid

import alibaba_cloud_secretsmanager_client.secret_manager_cache_client_builder as first
import alibabacloud_secretsmanager_client_v2.secret_manager_cache_client_builder as second
import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from Tea.exceptions import TeaException

from clients import refused
from clients.secret_values import AWKWARD
from instance_sdks import INSTANCE_SDKS
from transfer_sdks import TRANSFER_SDKS

pytestmark = pytest.mark.tls

USER = ["RbacPermission/Template/CryptoServiceSecretUser"]

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "secret.py"
SETTINGS = pathlib.Path(__file__).parents[3] / "examples" / "secrets-client"

# Each generation and the exception that carries a code of the gateway.
GENERATIONS = {"first": (first, ServerException), "second": (second, TeaException)}


@pytest.fixture
def set_variables(monkeypatch, gateway, secret_reader):
    """Sets the variables of a file of settings, for the gateway of the test.

    A program could have the file itself, but the first generation cannot read it from Python 3.11 on.
    """

    def set_variables(settings):
        samples = {
            "kms.example:8443": gateway.address,
            "/etc/hsmgate/ca.pem": gateway.ca_file,
            "/etc/hsmgate/client-key-password": secret_reader.password_file,
            "/etc/hsmgate/client-key.json": secret_reader.file,
            "LTAI-example": gateway.access_key_id,
            "secret-example": gateway.access_key_secret,
        }
        text = (SETTINGS / settings).read_text()
        for sample, value in samples.items():
            text = text.replace(sample, value)
        for line in text.splitlines():
            monkeypatch.setenv(*line.split("=", 1))
        # The first generation verifies no certificate.
        monkeypatch.setenv("SSL_CERT_FILE", gateway.ca_file)

    return set_variables


@pytest.fixture
def build(set_variables):
    """Builds a client of a generation from a file of settings."""
    built = []

    def build(generation, settings):
        set_variables(settings)
        built.append(GENERATIONS[generation][0].SecretManagerCacheClientBuilder.new_client())
        return built[-1]

    yield build
    for client in built:
        client.close()


@pytest.fixture(scope="session")
def secret_reader(kms, make_client_key):
    """A client key whose access point allows the secrets below `read/`."""
    client_key = make_client_key()
    point = kms.call("GetClientKey", ClientKeyId=client_key.id)["AapName"]
    name = f"sdk-{uuid.uuid4()}"
    kms.call(
        "CreatePolicy", Name=name, Permissions=json.dumps(USER), Resources='["secret/read/*"]'
    )
    kms.call("UpdateApplicationAccessPoint", Name=point, Policies=json.dumps([name]))
    return client_key


@pytest.fixture
def create(kms):
    """Creates a secret of this value and gives its name."""

    def create(value, **more):
        name = f"read/{uuid.uuid4()}"
        kms.call("CreateSecret", SecretName=name, VersionId="v1", SecretData=value, **more)
        return name

    return create


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_secrets_client_reads_a_value_byte_for_byte(build, create, generation, case):
    client = build(generation, "access-key.properties")
    assert client.get_secret_value(create(AWKWARD[case])) == AWKWARD[case]
    # Their get_binary_value fails in their own package bytebuffer, whatever the value is.
    binary = client.get_secret_info(create(AWKWARD[case], SecretDataType="binary"))
    assert (binary.secret_data_type, binary.secret_value) == ("binary", AWKWARD[case])


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_secrets_client_keeps_a_value_until_it_is_refreshed(build, kms, create, generation):
    client = build(generation, "access-key.properties")
    name = create("first")
    assert client.get_secret_value(name) == "first"
    kms.call("PutSecretValue", SecretName=name, VersionId="v2", SecretData="second")
    assert client.get_secret_value(name) == "first"
    assert client.refresh_now(name)
    assert client.get_secret_info(name).version_id == "v2"
    assert client.get_secret_value(name) == "second"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_secrets_client_shows_the_code_of_a_missing_secret(build, generation):
    client = build(generation, "access-key.properties")
    with pytest.raises(GENERATIONS[generation][1]) as refusal:
        client.get_secret_value("none")
    error = refusal.value
    code = error.code if generation == "second" else error.get_error_code()
    assert code == "Forbidden.ResourceNotFound"


# The second generation has no login by a client key.
@pytest.mark.parametrize(
    "settings", ["client-key.properties", "instance.properties"]
)
def test_a_client_key_reads_the_secrets_of_its_access_point(build, create, settings):
    client = build("first", settings)
    name = create(AWKWARD["other-scripts"])
    assert client.get_secret_value(name) == AWKWARD["other-scripts"]
    with pytest.raises(Exception, match="Forbidden.NoPermission"):
        client.get_secret_value("other")


@pytest.mark.parametrize("case", AWKWARD)
@pytest.mark.parametrize("kind", INSTANCE_SDKS)
def test_an_instance_sdk_reads_a_value_byte_for_byte(gateway, secret_reader, create, kind, case):
    instance = INSTANCE_SDKS[kind](
        gateway, client_key_file=secret_reader.file, password=secret_reader.password
    )
    answer = instance.call("GetSecretValue", secret_name=create(AWKWARD[case]))
    assert answer.secret_data == AWKWARD[case]
    assert (answer.version_id, answer.version_stages) == ("v1", ["ACSCurrent"])


@pytest.mark.parametrize("kind", TRANSFER_SDKS)
def test_a_transfer_sdk_reads_a_secret(gateway, secret_reader, kms, create, kind):
    transfer = TRANSFER_SDKS[kind](gateway, secret_reader)
    name = create("first")
    kms.call("PutSecretValue", SecretName=name, VersionId="v2", SecretData="second")
    answer = transfer.call("GetSecretValue", SecretName=name, VersionStage="ACSPrevious")
    assert (answer["SecretData"], answer["VersionId"]) == ("first", "v1")
    with refused("Forbidden.ResourceNotFound", 404):
        transfer.call("GetSecretValue", SecretName="read/none")


def test_the_example_reads_a_secret(set_variables, create):
    set_variables("access-key.properties")
    run = subprocess.run(
        [sys.executable, EXAMPLE, create("from the example")],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "from the example\n"
