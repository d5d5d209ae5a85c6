"""Every operation of the newest SDK behaves as docs/operations.md states."""

import inspect
import pathlib
import re

import pytest
from alibabacloud_kms20160120.client import Client

from clients import Refused

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "operations.md"
NEWEST = pytest.mark.only("python-new-acs3")

# The SDK sends an empty list where none is given.
NEEDED = {"BatchGetSecretValue": {"SecretsList": [{"SecretName": "none"}]}}


def operations():
    """The operations of the SDK by their API names, from the methods of its client."""
    suffix = "_with_options"
    methods = [name for name, _ in inspect.getmembers(Client, inspect.isfunction)]
    names = [name.removesuffix(suffix) for name in methods if name.endswith(suffix)]
    return sorted(re.sub(r"(?:^|_)(.)", lambda found: found[1].upper(), name) for name in names)


def documented():
    """The operations that the page lists as supported, and those that it lists as not supported."""
    served, _, unsupported = PAGE.read_text().partition("## Not supported")
    return (
        set(re.findall(r"^\| (\w+) \| `kms:", served, re.MULTILINE)),
        set(re.findall(r"^- (\w+)$", unsupported, re.MULTILINE)),
    )


@NEWEST
def test_the_page_speaks_of_every_operation_of_the_sdk():
    served, unsupported = documented()
    assert len(operations()) == 91
    assert served.isdisjoint(unsupported)
    assert set(operations()) <= served | unsupported


@NEWEST
@pytest.mark.parametrize("operation", operations())
def test_an_operation_reaches_what_the_page_says(kms, operation):
    served, unsupported = documented()
    code = None
    try:
        # An implementation tells of the first parameter that is missing, if it needs any.
        kms.call(operation, **NEEDED.get(operation, {}))
    except Refused as refusal:
        code = refusal.code
    if operation in unsupported:
        assert code == "UnsupportedOperation"
    else:
        assert operation in served
        assert code in (None, "MissingParameter", "Forbidden.Opened")
