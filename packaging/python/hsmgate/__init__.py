"""Starts the gateway hsmgate for tests: :class:`hsmgate.Gateway`."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

__all__ = ["Gateway", "GatewayError", "program"]


class GatewayError(Exception):
    """The gateway did not start. The text is what it wrote."""


def program():
    """The path of the program `hsmgate`: that of this package, else the one on the PATH."""
    own = os.path.join(sysconfig.get_path("scripts"), "hsmgate")
    found = own if os.access(own, os.X_OK) else shutil.which("hsmgate")
    if found is None:
        raise GatewayError("the program hsmgate is neither in this environment nor on the PATH")
    return found


class Gateway:
    """A gateway for development on a free port of loopback, with a SoftHSM2 token of its own.

    It is a context manager, and serves as soon as it has been entered.
    """

    def __init__(self, options=(), directory=None):
        """`options` of `hsmgate dev`; the token and the state go to `directory`, by default a temporary one."""
        self._options = list(options)
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="hsmgate-")
        self.directory = str(directory or self._temporary.name)
        self._process = None

    def __enter__(self):
        command = [program(), "dev", "--quiet", "--json", "--dir", self.directory]
        command += ["--listen", "127.0.0.1:0", *self._options]
        log_path = os.path.join(self.directory, "log")
        os.makedirs(self.directory, exist_ok=True)
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            with open(log_path, encoding="utf-8", errors="replace") as log:
                text = log.read()
            self._clean_up()
            raise GatewayError(f"{' '.join(command)}\n{text}")
        served = json.loads(line)
        #: The URL, such as http://127.0.0.1:40123.
        self.endpoint = served["endpoint"]
        self.access_key_id = served["access_key_id"]
        self.access_key_secret = served["access_key_secret"]
        self.region_id = served["region"]
        #: The file of the CA, with the option --tls.
        self.ca_file = served.get("ca_file")
        #: A key for first steps.
        self.key_id = served["key_id"]
        self.alias = served["alias"]
        return self

    def __exit__(self, *_exception):
        self._process.terminate()
        self._process.stdout.close()
        self._process.wait()
        self._clean_up()

    def environment(self):
        """The variables that `hsmgate` itself and the SDKs of the vendor read."""
        variables = {
            "HSMGATE_ENDPOINT": self.endpoint,
            "HSMGATE_ACCESS_KEY_ID": self.access_key_id,
            "HSMGATE_ACCESS_KEY_SECRET": self.access_key_secret,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.access_key_secret,
        }
        if self.ca_file:
            variables["HSMGATE_CA_FILE"] = self.ca_file
        return variables

    def kms_client(self):
        """A client of the official SDK: the package alibabacloud-kms20160120."""
        from alibabacloud_kms20160120.client import Client
        from alibabacloud_tea_openapi.models import Config

        protocol, _, address = self.endpoint.partition("://")
        return Client(
            Config(
                endpoint=address,
                protocol=protocol,
                region_id=self.region_id,
                ca=self.ca_file,
                access_key_id=self.access_key_id,
                access_key_secret=self.access_key_secret,
            )
        )

    def _clean_up(self):
        if self._temporary:
            self._temporary.cleanup()


def main():
    """`python -m hsmgate` is the program."""
    path = program()
    os.execv(path, [path, *sys.argv[1:]])
