"""Over TLS, with the CA of the gateway and without it."""

import base64

import pytest

PYTHON_NEW = ("python-new-acs3", "python-new-acs4", "python-new-rpc1", "python-new-async")


@pytest.mark.only(*PYTHON_NEW)
def test_a_client_that_is_given_the_ca_works_over_tls(connect, tls_gateway):
    assert tls_gateway.protocol == "https"
    plaintext = base64.b64encode(b"over TLS").decode()
    with connect(tls_gateway) as kms:
        encrypted = kms.call("Encrypt", KeyId=tls_gateway.alias, Plaintext=plaintext)
        decrypted = kms.call("Decrypt", CiphertextBlob=encrypted["CiphertextBlob"])
    assert decrypted["Plaintext"] == plaintext


@pytest.mark.only(*PYTHON_NEW)
def test_a_client_that_does_not_know_the_ca_sends_nothing(connect, tls_gateway):
    # Under another name: the SDK keeps its connections, and the CA with them, for each host.
    endpoint = f"https://localhost:{tls_gateway.port}"
    with connect(tls_gateway, ca_file=None, endpoint=endpoint) as kms:
        with pytest.raises(Exception, match="(?i)certificate"):
            kms.call("DescribeKey", KeyId=tls_gateway.alias)
