"""Over TLS: the client key that the gateway made itself, and clients without its CA."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from instance_sdks import INSTANCE_SDKS

pytestmark = pytest.mark.tls

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "instance_encryption.py"


def test_the_example_encrypts_and_decrypts(gateway):
    run = subprocess.run(
        [sys.executable, EXAMPLE],
        env={
            "HSMGATE_ENDPOINT": gateway.endpoint,
            "HSMGATE_CA_FILE": gateway.ca_file,
            "HSMGATE_CLIENT_KEY_FILE": gateway.client_key_file,
            "HSMGATE_CLIENT_KEY_PASSWORD_FILE": gateway.client_key_password_file,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "decrypted: hello"


@pytest.mark.parametrize("kind", INSTANCE_SDKS.values(), ids=INSTANCE_SDKS)
def test_a_client_that_does_not_know_the_ca_sends_nothing(gateway, client_key, kind):
    # Under another name: the SDK keeps its connections, and the CA with them, for each host.
    stranger = dataclasses.replace(
        gateway, ca_file=None, endpoint=f"https://localhost:{gateway.port}"
    )
    instance = kind(stranger, client_key_file=client_key.file, password=client_key.password)
    with pytest.raises(Exception, match="(?i)certificate"):
        instance.call("GenerateRandom", length=8)
