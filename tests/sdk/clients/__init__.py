"""The official SDKs behind one call, in the names of the API.

Every client has `call(action, **parameters)`, which gives the answer as the API names its fields or
raises `Refused`, and `close()`. A parameter that is None is left out. An encryption context is given
as a dict; the client turns it into what a program that uses this SDK hands over.
"""

import contextlib
import dataclasses
import functools

import pytest

from .node import Node
from .python_new import NewPython, NewPythonAsync
from .python_old import OldPython
from .refused import Refused

# Named as in tests/sdk.rs, which runs the cases once for each.
SDKS = {
    "python-new-acs3": NewPython,
    "python-new-acs4": functools.partial(NewPython, signature_version="v4"),
    "python-new-rpc1": functools.partial(NewPython, signature_algorithm="v2"),
    "python-new-async": NewPythonAsync,
    "python-old": OldPython,
    "node-kms20160120": functools.partial(Node, "kms20160120"),
    "node-openapi-client": functools.partial(Node, "openapi-client"),
    "node-pop-core-get": functools.partial(Node, "pop-core-get"),
    "node-pop-core-post": functools.partial(Node, "pop-core-post"),
}

# Actions and parameters that an SDK has no name for.
LACKS = {
    "python-new-acs3": {"AdvanceEncrypt"},
    "python-new-acs4": {"AdvanceEncrypt"},
    "python-new-rpc1": {"AdvanceEncrypt"},
    "python-new-async": {"AdvanceEncrypt"},
    "python-old": {"GenerateMac", "GetDefaultKmsInstance"},
    "node-kms20160120": {
        "AccessPoints",
        "AdvanceEncrypt",
        "CreateKey.Tags",
        "DescribeAccountKmsStatus",
        "DryRun",
        "ExportDataKey",
        "GenerateMac",
        "GetDefaultKmsInstance",
        "GetKeyPolicy",
        "GetKmsInstance",
        "ReEncrypt",
        "SetDeletionProtection",
        "TagResources",
    },
}


@dataclasses.dataclass(frozen=True)
class Gateway:
    """A running gateway, as `hsmgate dev --json` introduces itself."""

    endpoint: str
    region: str
    account: str
    access_key_id: str
    access_key_secret: str
    key_id: str
    alias: str
    admin: str
    ca_file: str | None = None
    client_key_file: str | None = None
    client_key_password_file: str | None = None

    @property
    def host(self):
        return self.address.rpartition(":")[0]

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    @property
    def address(self):
        """Host and port."""
        return self.endpoint.partition("://")[2]

    @property
    def protocol(self):
        return self.endpoint.partition("://")[0]

    def arn(self, resource):
        return f"acs:kms:{self.region}:{self.account}:{resource}"


@contextlib.contextmanager
def connect(sdk, gateway, **changes):
    """A client of `gateway`; `changes` replace fields of it, the secret for example."""
    client = SDKS[sdk](dataclasses.replace(gateway, **changes))
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def refused(code, status):
    """Expects the call inside to be refused with this code and this HTTP status."""
    with pytest.raises(Refused) as caught:
        yield caught
    assert (caught.value.code, caught.value.status) == (code, status), caught.value.message
