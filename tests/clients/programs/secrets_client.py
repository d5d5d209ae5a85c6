"""The second generation of the vendor's secrets clients for Go and Java.

`SECRETS_CLIENT_GO` and `SECRETS_CLIENT_JAVA` name a checkout each, whose dependencies are on this
machine: `go mod download` in that for Go, `make setup-clients` for that for Java.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys
import uuid

from gateways import AccessKey, Gateway, environment, run, scratch
from settings import fitted
from steps import Steps

LANGUAGE = sys.argv[1]
SOURCE = pathlib.Path(os.environ[f"SECRETS_CLIENT_{LANGUAGE.upper()}"])
HERE = pathlib.Path(__file__).resolve().parent / "secrets_client"
CLASS_PATH = HERE.parents[3] / "target/clients/java/identity/classpath"

# Those that docs/secrets.md shows.
SETTINGS = "secrets-client/access-key.properties"

VALUES = {
    "blanks and line ends": "  a\tb\rc\r\nd\n ",
    "control characters": "a\0b\x01\x1f\x7f",
    "markup": '<a href="b">&amp;]]></a>',
    "escapes": r'\\n\u0041"%25+%20&=;~*',
    "scripts": "ключ 密钥 \U0001f511 e\u0301\u2028\u2029\u200b\ufeff",
    "no Base64": "-_-_",
    "longest": "x" * 30720,
    "longest of quotes": '"' * 30720,
    "longest of two bytes": "ж" * 15360,
}


class Go:
    def __init__(self, directory: pathlib.Path):
        self._program = directory / "program"
        source = directory / "source"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns(".git"))
        (source / "hsmgate").mkdir()
        shutil.copy(HERE / "main.go", source / "hsmgate")
        offline = {"GOPROXY": "off", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
        command = ("go", "build", "-o", self._program, "./hsmgate")
        run(*command, env=offline, cwd=source, timeout=900)

    def command(self, ca_file: str) -> tuple[list, dict[str, str]]:
        """What is run, and its variables."""
        return [self._program], {"SSL_CERT_FILE": ca_file}

    def version(self) -> str:
        constants = (SOURCE / "sdk/utils/constants.go").read_text()
        return re.search(r'ProjectVersion = "([^"]+)"', constants)[1]


class Java:
    def __init__(self, directory: pathlib.Path):
        self._directory, self._classes = directory, directory / "classes"
        self._class_path = f"{self._classes}:{CLASS_PATH.read_text()}"
        sources = [*(SOURCE / "src/main/java").rglob("*.java"), HERE / "Main.java"]
        run("javac", "-nowarn", "-d", self._classes, "-cp", self._class_path, *sources)

    def command(self, ca_file: str) -> tuple[list, dict[str, str]]:
        """What is run, and its variables."""
        store = self._directory / f"trust-{uuid.uuid4()}.p12"
        protection = ("-storetype", "PKCS12", "-storepass", "changeit")
        import_ca = ("keytool", "-importcert", "-noprompt", "-file", ca_file, "-keystore", store)
        run(*import_ca, *protection)
        trust = [f"-Djavax.net.ssl.trustStore={store}"]
        trust += ["-Djavax.net.ssl.trustStorePassword=changeit"]
        return ["java", "-Xmx256m", *trust, "-cp", self._class_path, "Main"], {}

    def version(self) -> str:
        return re.search(r"<version>([^<]+)</version>", (SOURCE / "pom.xml").read_text())[1]


class Refused(Exception):
    """A read that the client refused, with what it says."""


class Client:
    """A process with a client, which reads what the lines of its input name."""

    def __init__(self, built, directory: pathlib.Path, gateway: Gateway, access_key: AccessKey, *stage):
        settings = directory / f"{uuid.uuid4()}.properties"
        settings.write_text(fitted(SETTINGS, gateway, access_key))
        command, variables = built.command(gateway.ca_file)
        with open(directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*command, settings, *stage],
                env=environment(**variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def read(self, name: str, how: str = "text") -> str:
        self._process.stdin.write(f"{how} {name}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline().decode().strip()
        assert line, "the client has ended"
        told = base64.b64decode(line[1:]).decode()
        if line[0] == "!":
            raise Refused(told)
        return told



def refuses(client: Client, code: str, name: str):
    try:
        client.read(name)
    except Refused as refused:
        assert code.lower() in str(refused).lower(), refused
        return
    raise AssertionError("it was read")


def create(gateway: Gateway, value: str, kind: str = "text", folder: str = "orders") -> str:
    """The name of a new secret."""
    name = f"{folder}/{uuid.uuid4()}"
    more = {"VersionId": "v1", "SecretData": value, "SecretDataType": kind}
    gateway.call("CreateSecret", SecretName=name, **more)
    return name


def put(gateway: Gateway, name: str, version: str, value: str):
    gateway.call("PutSecretValue", SecretName=name, VersionId=version, SecretData=value)


def main():
    with scratch("secrets-client") as directory, Gateway("--tls") as gateway:
        built = Go(directory) if LANGUAGE == "go" else Java(directory)
        steps = Steps(f"secrets client for {LANGUAGE.capitalize()}", built.version())
        policy = fitted("secrets-client/policy.json", gateway)
        user = gateway.user("orders", policy)
        with Client(built, directory, gateway, user) as client:
            reads(steps, gateway, client)
        with steps.step("reads-another-label"):
            name = create(gateway, "first")
            put(gateway, name, "v2", "second")
            with Client(built, directory, gateway, user, "ACSPrevious") as previous:
                assert previous.read(name) == "first"
        with steps.step("unknown-ca-refused"), Gateway("--tls") as stranger:
            ca, gateway.ca_file = gateway.ca_file, stranger.ca_file
            try:
                with Client(built, directory, gateway, user) as client:
                    refuses(client, "certifi", name)
            finally:
                gateway.ca_file = ca
    steps.finish()


def reads(steps: Steps, gateway: Gateway, client: Client):
    for kind in ("text", "binary"):
        with steps.step(f"every-value-of-the-type-{kind}"):
            for about, value in VALUES.items():
                name = create(gateway, value, kind)
                assert client.read(name, kind) == value, f"{about}: another value"
    with steps.step("keeps-a-value-until-it-is-refreshed"):
        name = create(gateway, "first")
        assert client.read(name) == "first"
        put(gateway, name, "v2", "second")
        assert client.read(name) == "first"
        assert client.read(name, "refresh") == "true"
        assert client.read(name) == "second"
    with steps.step("missing-secret"):
        refuses(client, "Forbidden.ResourceNotFound", "orders/none")
    with steps.step("secret-of-others-refused"):
        refuses(client, "Forbidden.NoPermission", create(gateway, "x", folder="invoices"))
    with steps.step("secret-that-is-to-be-deleted-refused"):
        name = create(gateway, "x")
        gateway.call("DeleteSecret", SecretName=name, RecoveryWindowInDays="7")
        refuses(client, "Rejected.ResourceInDeleteWindow", name)
        gateway.call("RestoreSecret", SecretName=name)
        assert client.read(name) == "x"
    with steps.step("reads-what-it-has-while-the-gateway-is-away"):
        gateway.stop()
        try:
            assert client.read(name) == "x"
        finally:
            gateway.start()
    with steps.step("works-again-without-a-restart-of-its-own"):
        assert client.read(create(gateway, "after the restart")) == "after the restart"


if __name__ == "__main__":
    main()
