"""The Python SDK `alibabacloud-kms20160120`."""

import asyncio
import re

from alibabacloud_kms20160120 import models
from alibabacloud_kms20160120.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from Tea.exceptions import TeaException

from .refused import Refused

# In milliseconds: a token creates an RSA key in seconds.
READ_TIMEOUT = 60_000


class NewPython:
    """Signs with ACS3; `config` may choose another scheme."""

    def __init__(self, gateway, **config):
        self._client = self._connect(
            Config(
                access_key_id=gateway.access_key_id,
                access_key_secret=gateway.access_key_secret,
                region_id=gateway.region,
                ca=gateway.ca_file,
                connect_timeout=10_000,
                read_timeout=READ_TIMEOUT,
                **{"endpoint": gateway.address, "protocol": gateway.protocol, **config},
            )
        )

    def call(self, action, **parameters):
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", action).lower()
        try:
            answer = self._send(method, _requests(action, parameters))
        except TeaException as error:
            # ACS4 reports refusals by another exception than the other schemes; the data are alike.
            refusal = error.data or {}
            if "Code" not in refusal:
                raise
            raise Refused(
                error.code, refusal["statusCode"], refusal["Message"], refusal["RequestId"]
            ) from error
        return answer.body.to_map()

    def close(self):
        pass

    def _connect(self, config):
        return Client(config)

    def _send(self, method, requests):
        return getattr(self._client, method)(*requests)


class NewPythonAsync(NewPython):
    """The async methods, which go through another HTTP library."""

    def _send(self, method, requests):
        return asyncio.run(getattr(self._client, f"{method}_async")(*requests))


def _requests(action, parameters):
    """The request as a list: DescribeRegions has none."""
    given = {name: value for name, value in parameters.items() if value is not None}
    kind = getattr(models, f"{action}Request", None)
    if kind is None and not given:
        return []
    request = kind().from_map(given)
    # A list that was not given shows as an empty one.
    taken = {name: value for name, value in request.to_map().items() if value != []}
    assert taken == given, f"{action} does not know all of {sorted(given)}"
    return [request]
