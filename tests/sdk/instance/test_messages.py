"""The messages as the SDK writes them, which the gateway's own tests read.

    target/sdk/python-instance/bin/python tests/sdk/instance/test_messages.py

writes the file anew.
"""

import pathlib

import pytest
from openapi_util.protobuf import api_pb2

FILE = pathlib.Path(__file__).parents[2] / "vectors" / "instance-messages.txt"
# In the schema, but no SDK calls them.
UNUSED = {"Hash", "Hmac", "KmsDecrypt", "KmsEncrypt"}


def operation(name):
    return name.removesuffix("Request").removesuffix("Response")


def used():
    """The names of the messages that the SDK sends and reads."""
    names = api_pb2.DESCRIPTOR.message_types_by_name
    return [name for name in sorted(names) if operation(name) not in UNUSED]


def values(field):
    """What a field is filled with: its own name where it can hold one."""
    return {
        field.TYPE_STRING: field.name,
        field.TYPE_BYTES: field.name.encode() + b"\xff",
        field.TYPE_INT32: 300,
        field.TYPE_BOOL: True,
    }[field.type]


def filled(name):
    """A message with all its fields, as it is sent."""
    message = getattr(api_pb2, name)()
    for field in message.DESCRIPTOR.fields:
        value = values(field)
        if field.label == field.LABEL_REPEATED:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", used())
def test_the_file_has_the_message_as_the_sdk_writes_it(name):
    assert f"{name} {filled(name).hex()}" in FILE.read_text().splitlines()


def test_the_file_has_no_other():
    assert [line.split()[0] for line in FILE.read_text().splitlines()] == used()


if __name__ == "__main__":
    FILE.write_text("".join(f"{name} {filled(name).hex()}\n" for name in used()))
