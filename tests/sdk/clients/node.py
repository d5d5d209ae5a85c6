"""The Node SDKs, in a Node process that takes one call a line."""

import dataclasses
import json
import pathlib
import subprocess

from .refused import Refused

DRIVER = pathlib.Path(__file__).parent.parent / "node" / "driver.js"


class Node:
    """One of the SDKs of node/driver.js."""

    def __init__(self, sdk, gateway):
        self._process = subprocess.Popen(
            ["node", DRIVER, sdk],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._write(dataclasses.asdict(gateway))

    def call(self, action, **parameters):
        return self._call(action, parameters, contexts="text")

    def call_with_objects(self, action, **parameters):
        """As `call`, but the SDK gets a context as an object and not as its JSON text."""
        return self._call(action, parameters, contexts="objects")

    def close(self):
        self._process.communicate(timeout=10)

    def _call(self, action, parameters, contexts):
        given = {name: value for name, value in parameters.items() if value is not None}
        self._write({"action": action, "parameters": given, "contexts": contexts})
        line = self._process.stdout.readline()
        assert line, "the Node driver ended; its last words are above"
        reply = json.loads(line)
        if "refused" in reply:
            raise Refused(**reply["refused"])
        return reply["answer"]

    def _write(self, value):
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
