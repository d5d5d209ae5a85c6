"""The SDKs of the KMS instance protocol, each behind the same `call`.

Answers are the SDK's own objects, refusals become `Refused`. The name of a field is written as the
SDK writes it: `key_id`.
"""

import asyncio
import contextlib
import dataclasses
import os
import re
from unittest import mock

from alibabacloud_kms_kms20160120.client import Client as KmsClient
from openapi.models import Config
from openapi_util.models import RuntimeOptions
from sdk import models
from sdk.client import Client
from Tea.exceptions import TeaException

from clients import Refused

VERSION_HEADER = "x-kms-migrationkeyversionid"


@dataclasses.dataclass(frozen=True)
class ClientKey:
    """A client key as its owner holds it."""

    id: str
    file: str
    password: str
    password_file: str | None = None

    def content(self):
        with open(self.file) as file:
            return file.read()


@contextlib.contextmanager
def refusals():
    """Turns the exception of the SDK into `Refused`."""
    try:
        yield
    except TeaException as error:
        # Anything without these was not said by a server.
        data = error.data or {}
        if "httpCode" not in data:
            raise
        raise Refused(error.code, data["httpCode"], error.message, data["requestId"]) from error


def config(gateway, kind=Config, **credential):
    """Where the gateway is and what it is known by."""
    made = kind(endpoint=gateway.address, protocol=gateway.protocol, **credential)
    # Not every kind takes it as an argument.
    made.ca_file_path = gateway.ca_file
    return made


class Instance:
    """`alibabacloud-dkms-gcs`."""

    kind = Client

    def __init__(self, gateway, **credential):
        self._ca_file = gateway.ca_file
        self._client = self.kind(config(gateway, **credential))

    def call(self, operation, *, headers=None, **fields):
        """The answer to an operation. Its `response_headers` hold the key version."""
        request = getattr(models, f"{operation}Request")(request_headers=headers, **fields)
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        runtime = RuntimeOptions(response_headers=[VERSION_HEADER])
        with refusals():
            return self._send(method, request, runtime)

    def call_raw(self, operation, body):
        """Calls an operation that the SDK has no method for."""
        with refusals():
            return self._client.do_request(
                operation,
                "dkms-gcs-0.2",
                "https",
                "POST",
                "RSA_PKCS1_SHA_256",
                body,
                RuntimeOptions(),
                {},
            )

    def _send(self, method, request, runtime):
        return getattr(self._client, f"{method}_with_options")(request, runtime)


class InstanceAsync(Instance):
    """Its async methods, which go through another HTTP library."""

    def _send(self, method, request, runtime):
        call = getattr(self._client, f"{method}_with_options_async")(request, runtime)
        # They take no CA, but that of the environment.
        environment = {"SSL_CERT_FILE": self._ca_file} if self._ca_file else {}
        with mock.patch.dict(os.environ, environment):
            return asyncio.run(call)


class KmsInstance(Instance):
    """The `Client` of `alibabacloud-kms-python-sdk`."""

    kind = KmsClient


INSTANCE_SDKS = {
    "dkms-gcs": Instance,
    "dkms-gcs-async": InstanceAsync,
    "kms-python-sdk": KmsInstance,
}


def version(answer):
    """The key version that was used, which the answer's head names."""
    return answer.response_headers[VERSION_HEADER]
