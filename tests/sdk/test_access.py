"""Network rules, policies, access points and client keys."""

import base64
import json
import uuid

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from clients import refused

# Younger than the Node SDK.
pytestmark = pytest.mark.needs("AccessPoints")

USER = ["RbacPermission/Template/CryptoServiceKeyUser"]


@pytest.fixture
def point(kms):
    """The name of an access point, its policy and its network rule, which have the same one."""
    name = f"sdk-{uuid.uuid4()}"
    kms.call("CreateNetworkRule", Name=name, Type="Private", SourcePrivateIp='["127.0.0.1"]')
    kms.call(
        "CreatePolicy",
        Name=name,
        Permissions=json.dumps(USER),
        Resources='["key/*"]',
        AccessControlRules=json.dumps({"NetworkRules": [name]}),
    )
    kms.call("CreateApplicationAccessPoint", Name=name, Policies=json.dumps([name]))
    return name


def test_the_chain_is_described_as_it_was_made(kms, gateway, point):
    rule = kms.call("DescribeNetworkRule", Name=point)
    assert rule["Arn"] == gateway.arn(f"network/{point}")
    assert json.loads(rule["SourcePrivateIp"]) == ["127.0.0.1"]
    policy = kms.call("DescribePolicy", Name=point)
    assert (policy["Permissions"], policy["Resources"]) == (USER, ["key/*"])
    described = kms.call("DescribeApplicationAccessPoint", Name=point)
    assert json.loads(described["Policies"]) == [point]


def test_the_chain_is_listed(kms, point):
    names = [
        [row["Name"] for row in kms.call(action, PageSize=100)[outer][inner]]
        for action, outer, inner in [
            ("ListNetworkRules", "NetworkRules", "NetworkRule"),
            ("ListPolicies", "Policies", "Policy"),
            (
                "ListApplicationAccessPoints",
                "ApplicationAccessPoints",
                "ApplicationAccessPoint",
            ),
        ]
    ]
    assert all(point in listed for listed in names)


def test_a_document_is_missed_as_terraform_expects(kms):
    for action in ["DescribeNetworkRule", "DescribePolicy", "DescribeApplicationAccessPoint"]:
        with refused("Forbidden.ResourceNotFound", 404):
            kms.call(action, Name="none")


def test_the_chain_goes_in_any_order(kms, point):
    kms.call("DeletePolicy", Name=point)
    described = kms.call("DescribeApplicationAccessPoint", Name=point)
    assert json.loads(described["Policies"]) == [point]
    kms.call("DeleteNetworkRule", Name=point)
    kms.call("DeleteApplicationAccessPoint", Name=point)
    for kind in ["NetworkRule", "Policy", "ApplicationAccessPoint"]:
        with refused("Forbidden.ResourceNotFound", 404):
            kms.call(f"Delete{kind}", Name=point)


def test_a_document_may_name_what_is_not_there_and_keeps_its_text(kms):
    name = f"sdk-{uuid.uuid4()}"
    rules = json.dumps({"NetworkRules": [name, name]}, indent=2)
    kms.call(
        "CreatePolicy",
        Name=name,
        Permissions=json.dumps(USER * 2),
        Resources='["key/a*", "key/b*"]',
        AccessControlRules=rules,
    )
    policy = kms.call("DescribePolicy", Name=name)
    assert policy["AccessControlRules"] == rules
    assert (policy["Permissions"], policy["Resources"]) == (USER * 2, ["key/a*", "key/b*"])


def test_a_client_key_opens_with_its_password(kms, point):
    made = kms.call("CreateClientKey", AapName=point, Password="opens-it-1")
    container = base64.b64decode(made["PrivateKeyData"])
    decrypted = pkcs12.load_pkcs12(container, b"opens-it-1")
    kept = kms.call("GetClientKey", ClientKeyId=made["ClientKeyId"])
    certificate = load_pem_x509_certificate(kept["PublicKeyData"].encode())
    assert decrypted.cert.certificate == certificate
    assert decrypted.key.public_key() == certificate.public_key()
    assert decrypted.key.key_size == 2048
    assert certificate.public_bytes(Encoding.DER) != container
    assert kms.call("ListClientKeys", AapName=point)["ClientKeys"] == [
        {name: value for name, value in kept.items() if name != "RequestId"}
    ]
    kms.call("DeleteClientKey", ClientKeyId=made["ClientKeyId"])
    with refused("Forbidden.ResourceNotFound", 404):
        kms.call("GetClientKey", ClientKeyId=made["ClientKeyId"])
