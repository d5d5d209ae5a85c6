"""The settings of the programs in `examples/`, as docs/clients.md shows them, made to fit a gateway.

The files are as a user would write them; a program runs with what they say, with the gateway of the
test in place of the sample values.
"""

import pathlib

from gateways import AccessKey, Gateway

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"


def fitted(name: str, gateway: Gateway, access_key: AccessKey | None = None, **samples: str) -> str:
    """The text of an example, for a gateway; a sample takes the place of `NAME-example`."""
    access_key = access_key or gateway.access_key
    text = (EXAMPLES / name).read_text()
    values = {
        "kms.example:8443": gateway.address,
        "cn-hangzhou": gateway.region,
        "1234567890123456": gateway.account,
        "/etc/hsmgate/ca.pem": gateway.ca_file or "",
        "LTAI-example": access_key.id,
        "secret-example": access_key.secret,
    }
    values |= {f"{sample}-example": value for sample, value in samples.items()}
    if "alias" in samples:
        values["alias/example"] = samples["alias"]
    for sample, value in values.items():
        text = text.replace(sample, str(value))
    return text


def variables(name: str, gateway: Gateway, access_key: AccessKey | None = None, **samples: str):
    """The variables of a file of lines `NAME=VALUE`, for a gateway."""
    lines = fitted(name, gateway, access_key, **samples).splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs}
