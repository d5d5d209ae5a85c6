"""Over TLS without the CA of the gateway."""

import dataclasses

import pytest

from instance_sdks import INSTANCE_SDKS

pytestmark = pytest.mark.tls


@pytest.mark.parametrize("kind", INSTANCE_SDKS.values(), ids=INSTANCE_SDKS)
def test_a_client_that_does_not_know_the_ca_sends_nothing(gateway, client_key, kind):
    # Under another name: the SDK keeps its connections, and the CA with them, for each host.
    stranger = dataclasses.replace(
        gateway, ca_file=None, endpoint=f"https://localhost:{gateway.port}"
    )
    instance = kind(stranger, client_key_file=client_key.file, password=client_key.password)
    with pytest.raises(Exception, match="(?i)certificate"):
        instance.call("GenerateRandom", length=8)
