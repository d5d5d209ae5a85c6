"""The provider for the Secrets Store CSI driver. `CSI_PROVIDER` names the program.

The driver speaks gRPC with it, over a Unix socket; here curl does, with messages made by hand. The
objects are those of examples/kubernetes/secret-provider-class.yaml.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import subprocess
import textwrap

from gateways import AccessKey, Gateway, environment, free_port, scratch, until
from grpc_curl import Failed, ask, each_field, end, field, fields
from settings import fitted, variables
from steps import Steps

PROGRAM = os.environ["CSI_PROVIDER"]
CLASS = "kubernetes/secret-provider-class.yaml"
MODE = 0o440


class Provider:
    """The provider on a socket in a directory of its own, and a directory for the mounts."""

    def __init__(self, directory: pathlib.Path, gateway: Gateway, access_key: AccessKey | None):
        self.directory, self.gateway, self.access_key = directory, gateway, access_key
        self.socket, self._process = directory / "alibabacloud.sock", None
        self.target = directory / "mount"
        self.target.mkdir(parents=True)

    def __enter__(self):
        settings = variables("kubernetes/csi-provider.env", self.gateway, self.access_key)
        if self.access_key is None:
            settings = {"SSL_CERT_FILE": settings["SSL_CERT_FILE"]}
        options = [f"--provider-volume={self.directory}", f"--healthz-port={free_port()}"]
        with open(self.directory / "log", "wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *options], env=environment(**settings), stdout=log, stderr=log
            )
        until(self.socket.exists, "the provider listens")
        return self

    def __exit__(self, *_):
        end(self._process)

    def mount(self, objects: str, versions=None, secrets=None) -> tuple[dict, dict]:
        """The contents of the files by their names, and the versions of the objects."""
        attributes = {
            "region": self.gateway.region,
            "objects": objects,
            "csi.storage.k8s.io/pod.name": "orders-0",
            "csi.storage.k8s.io/pod.namespace": "default",
            "csi.storage.k8s.io/serviceAccount.name": "orders",
        }
        message = field(1, json.dumps(attributes).encode())
        message += field(2, json.dumps(secrets or {}).encode())
        message += field(3, str(self.target).encode()) + field(4, str(MODE).encode())
        for name, version in (versions or {}).items():
            message += field(5, field(1, name.encode()) + field(2, version.encode()))
        files, mounted = {}, {}
        for number, value in each_field(ask(self.socket, "v1alpha1.CSIDriverProvider/Mount", message)):
            if number == 1:
                pair = fields(value)
                mounted[pair[1].decode()] = pair[2].decode()
            if number == 3:
                file = dict(each_field(value))
                assert file[2] == MODE, file[2]
                files[file[1].decode()] = file.get(3, b"")
        return files, mounted

    def write(self, files: dict[str, bytes]):
        """Writes the files of a mount, as the driver does."""
        for name, contents in files.items():
            (self.target / name).write_bytes(contents)

    def refused(self, part: str, objects: str, **more):
        try:
            self.mount(objects, **more)
        except Failed as failed:
            assert part.lower() in str(failed).lower(), failed
            return
        raise AssertionError("it was mounted")


def create(gateway: Gateway, name: str, value: str, kind: str = "text"):
    more = {"VersionId": "v1", "SecretData": value, "SecretDataType": kind}
    gateway.call("CreateSecret", SecretName=name, **more)


def put(gateway: Gateway, name: str, version: str, value: str):
    gateway.call("PutSecretValue", SecretName=name, VersionId=version, SecretData=value)


def shown_objects(gateway: Gateway) -> str:
    """The objects of the example."""
    block = re.search(r"^ +objects: \|\n(.*)", fitted(CLASS, gateway), re.DOTALL | re.MULTILINE)
    return textwrap.dedent(block[1])


def one_object(gateway: Gateway, name: str) -> str:
    return json.dumps([{"objectName": name, "kmsEndpoint": gateway.address}])


def version() -> str:
    """The commit that `go build` notes in the program."""
    found = re.search(rb"vcs\.revision=([0-9a-f]{8})", pathlib.Path(PROGRAM).read_bytes())
    return found[1].decode() if found else "of an unknown version"


def main():
    steps = Steps("CSI provider", version())
    with scratch("csi") as directory, Gateway("--tls") as gateway:
        least = gateway.user("orders", fitted("secrets-client/policy.json", gateway))
        with Provider(directory / "least", gateway, least) as provider:
            mounts(steps, provider)
            refusals(steps, provider)
        with steps.step("access-key-of-the-volume"):
            with Provider(directory / "volume", gateway, None) as provider:
                secrets = {"access_key": least.id, "access_secret": least.secret}
                files, _ = provider.mount(one_object(gateway, "orders/license"), secrets=secrets)
                assert files == {"orders_license": b"second license"}, files
        with steps.step("unknown-ca-refused"), Gateway("--tls") as stranger:
            with authority(gateway, stranger.ca_file):
                with Provider(directory / "ca", gateway, least) as provider:
                    provider.refused("certificate", one_object(gateway, "orders/license"))
    steps.finish()


@contextlib.contextmanager
def authority(gateway: Gateway, ca_file: str):
    """Another CA in the place of that of the gateway."""
    own, gateway.ca_file = gateway.ca_file, ca_file
    try:
        yield
    finally:
        gateway.ca_file = own


def mounts(steps: Steps, provider: Provider):
    gateway = provider.gateway
    certificate = os.urandom(100)
    create(gateway, "orders/password", "first")
    put(gateway, "orders/password", "v2", " second\r\n")
    create(gateway, "orders/certificate", base64.b64encode(certificate).decode(), "binary")
    create(gateway, "orders/license", "first license")
    create(gateway, "orders/database", '{"user":"app","password":"密钥"}')
    with steps.step("mounts-the-objects-of-the-example"):
        files, versions = provider.mount(shown_objects(gateway))
        assert files == {
            "password": b" second\r\n",
            "certificate": certificate,
            "password-before": b"first",
            "license": b"first license",
            "database.json": '{"user":"app","password":"密钥"}'.encode(),
            "database-user": b"app",
            "database-password": "密钥".encode(),
        }, files
        assert versions["password"] == "v2" and versions["password-before"] == "v1", versions
        provider.write(files)
    with steps.step("a-new-version-is-mounted-at-the-next-poll"):
        put(gateway, "orders/password", "v3", "third")
        put(gateway, "orders/license", "v2", "second license")
        files, versions = provider.mount(shown_objects(gateway), versions)
        assert (files["password"], versions["password"]) == (b"third", "v3"), versions
        assert files["password-before"] == b" second\r\n"
        assert (files["license"], versions["license"]) == (b"first license", "v1"), versions
    with steps.step("the-longest-value"):
        create(gateway, "orders/longest", '"' * 30720)
        files, _ = provider.mount(one_object(gateway, "orders/longest"))
        assert files["orders_longest"] == b'"' * 30720


def refusals(steps: Steps, provider: Provider):
    gateway = provider.gateway
    with steps.step("missing-secret"):
        provider.refused("Forbidden.ResourceNotFound", one_object(gateway, "orders/none"))
    with steps.step("secret-of-others-refused"):
        create(gateway, "invoices/password", "x")
        provider.refused("Forbidden.NoPermission", one_object(gateway, "invoices/password"))
    with steps.step("secret-that-is-to-be-deleted-refused"):
        create(gateway, "orders/away", "x")
        gateway.call("DeleteSecret", SecretName="orders/away", RecoveryWindowInDays="7")
        provider.refused("Rejected.ResourceInDeleteWindow", one_object(gateway, "orders/away"))
    with steps.step("fails-while-the-gateway-is-away"):
        gateway.stop()
        try:
            provider.refused("connection refused", one_object(gateway, "orders/license"))
        finally:
            gateway.start()
    with steps.step("works-again-without-a-restart-of-its-own"):
        files, _ = provider.mount(one_object(gateway, "orders/license"))
        assert files == {"orders_license": b"second license"}, files


if __name__ == "__main__":
    main()
