"""The Python SDK `aliyun-python-sdk-kms`."""

import importlib
import json

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.http.protocol_type import HTTP, HTTPS

from .refused import Refused


class OldPython:
    """Signs with RPC 1.0, everything in the query of a POST."""

    def __init__(self, gateway):
        self._host = gateway.host
        # The SDK asks whether it is its own constant, not whether it is equal.
        self._protocol = {"http": HTTP, "https": HTTPS}[gateway.protocol]
        self._client = self._connect(
            gateway.access_key_id,
            gateway.access_key_secret,
            gateway.region,
            port=gateway.port,
            verify=gateway.ca_file,
            connect_timeout=10,
            timeout=60,
        )

    def call(self, action, **parameters):
        return self.send(self.request(action, **parameters))

    def request(self, action, **parameters):
        """A request of the SDK, not sent yet."""
        module = importlib.import_module(f"aliyunsdkkms.request.v20160120.{action}Request")
        request = getattr(module, f"{action}Request")()
        request.set_endpoint(self._host)
        request.set_protocol_type(self._protocol)
        # The client adds its own region.
        parameters.pop("RegionId", None)
        for name, value in parameters.items():
            if value is not None:
                setter = f"set_{name}s" if isinstance(value, list) else f"set_{name}"
                getattr(request, setter)(_text(name, value))
        return request

    def send(self, request):
        try:
            return json.loads(self._client.do_action_with_exception(request))
        except ServerException as error:
            raise Refused(
                error.get_error_code(),
                error.get_http_status(),
                error.get_error_msg(),
                error.get_request_id(),
            ) from error

    def send_for_xml(self, request):
        """The body of the answer, as text."""
        request.set_accept_format("XML")
        return self._client.do_action(request).decode()

    def close(self):
        pass

    def _connect(self, *access_key, **options):
        return AcsClient(*access_key, **options)


def _text(name, value):
    """Programs make the JSON text of a context themselves."""
    if name.endswith("EncryptionContext") and isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value
