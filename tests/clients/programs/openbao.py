"""OpenBao with the seal `alicloudkms`. `BAO` names the program, up to 2.6 with the seal built in;
`BAO_PLUGIN` the seal as a plugin, for later ones."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from gateways import Gateway, Refused, environment, free_port, run, scratch, until
from settings import fitted, variables
from steps import Steps

BAO = os.environ["BAO"]
PLUGIN = os.environ.get("BAO_PLUGIN")

class Server:
    """An OpenBao server on a storage of its own, which stays from start to start."""

    def __init__(self, directory: pathlib.Path, gateway: Gateway, access_key, name: str):
        self.directory, self.gateway, self.access_key = directory / name, gateway, access_key
        self.directory.mkdir()
        self.root_token, self._process = None, None

    def write(self, seal: str):
        """Writes its configuration, with this seal."""
        self.port = free_port()
        configuration = f"""
storage "file" {{ path = "{self.directory}/storage" }}
listener "tcp" {{
  address     = "127.0.0.1:{self.port}"
  tls_disable = true
}}
{seal}
"""
        if PLUGIN:
            plugins = self.directory / "plugins"
            plugins.mkdir(exist_ok=True)
            shutil.copy(PLUGIN, plugins / "openbao-plugin-kms-alicloudkms")
            digest = hashlib.sha256(pathlib.Path(PLUGIN).read_bytes()).hexdigest()
            text = fitted("openbao/plugin.hcl", self.gateway, digest=digest)
            configuration += text.replace("/opt/openbao/plugins", str(plugins))
        (self.directory / "bao.hcl").write_text(configuration)

    def seal(self, key: str):
        """Writes its configuration, with the seal on this key."""
        self.write(fitted("openbao/seal.hcl", self.gateway, alias=key))

    def start(self, until_up=True):
        seal = variables("openbao/openbao.env", self.gateway, self.access_key)
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [BAO, "server", f"-config={self.directory}/bao.hcl"],
                env=environment(**seal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if until_up:
            until(self.answers, "OpenBao serves")

    def answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"OpenBao has ended: {self.log()[-2000:]}")
        with contextlib.suppress(OSError):
            return bool(self.ask("GET", "sys/seal-status"))
        return False

    def ended(self, seconds=60) -> int:
        """Waits until it has ended by itself, and gives its exit code."""
        return self._process.wait(seconds)

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def again(self):
        self.stop()
        self.start()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"X-Vault-Token": self.root_token or ""},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise Refused(error.code, "OpenBao", error.read().decode(errors="replace")) from None

    def init(self):
        made = self.ask("PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        self.root_token, self.recovery_key = made["root_token"], made["recovery_keys_base64"][0]

    def sealed(self) -> bool:
        return self.ask("GET", "sys/seal-status")["sealed"]

    def unsealed(self):
        until(lambda: not self.sealed(), "OpenBao is unsealed")

    def secret(self) -> str:
        return self.ask("GET", "secret/one")["data"]["value"]


def refused(part: str, work):
    try:
        work()
    except Refused as refusal:
        assert part in refusal.message, refusal
        return
    raise AssertionError("it was not refused")


def ends_naming(server: Server, part: str):
    """The server ends by itself, and its log names the reason."""
    server.start(until_up=False)
    assert server.ended() != 0
    assert part in server.log(), server.log()[-1000:]


def main():
    version = re.search(r"v?(\d+\.\d+\.\d+\S*)", run(BAO, "version")).group(1)
    steps = Steps("OpenBao", version + (" with the seal as a plugin" if PLUGIN else ""))
    with scratch("openbao") as directory, Gateway("--tls") as gateway:
        key = gateway.create_key()
        gateway.call("CreateAlias", AliasName="alias/openbao", KeyId=key)
        least = gateway.user("openbao", fitted("openbao/policy.json", gateway, key=key))
        servers = []

        def server(name: str, access_key=least) -> Server:
            servers.append(Server(directory, gateway, access_key, name))
            return servers[-1]

        try:
            life_of_a_server(steps, gateway, key, server)
            starts_that_fail(steps, gateway, key, server)
            init_with_the_gateway_away(steps, gateway, key, server)
            migration(steps, key, server)
        finally:
            for one in servers:
                one.stop()
    steps.finish()


def life_of_a_server(steps: Steps, gateway: Gateway, key: str, server):
    bao = server("life")
    with steps.step("init-with-the-least-policy"):
        bao.seal(key)
        bao.start()
        bao.init()
        bao.unsealed()
        assert bao.ask("GET", "sys/seal-status")["type"] == "alicloudkms"
    with steps.step("secret-written-and-read"):
        bao.ask("POST", "sys/mounts/secret", {"type": "kv"})
        bao.ask("PUT", "secret/one", {"value": "a word"})
        assert bao.secret() == "a word"
    with steps.step("unseals-after-a-restart"):
        bao.again()
        bao.unsealed()
        assert bao.secret() == "a word"
    with steps.step("unseals-after-operator-seal-and-a-restart"):
        bao.ask("PUT", "sys/seal")
        assert bao.sealed()
        bao.again()
        bao.unsealed()
        assert bao.secret() == "a word"
    with steps.step("serves-while-the-gateway-is-away"):
        gateway.stop()
        try:
            assert bao.secret() == "a word"
        finally:
            gateway.start()
    with steps.step("unseals-after-a-restart-of-the-gateway"):
        bao.again()
        bao.unsealed()
        assert bao.secret() == "a word"
    with steps.step("unseals-after-a-new-key-version"):
        gateway.call("CreateKeyVersion", KeyId=key)
        bao.again()
        bao.unsealed()
    with steps.step("unseals-by-alias"):
        bao.stop()
        bao.seal("alias/openbao")
        bao.start()
        bao.unsealed()
        assert bao.secret() == "a word"
    with steps.step("unseals-by-arn"):
        bao.stop()
        bao.seal(gateway.arn(key))
        bao.start()
        bao.unsealed()
    with steps.step("serves-while-the-key-is-disabled"):
        gateway.call("DisableKey", KeyId=key)
        assert bao.secret() == "a word"
        bao.ask("PUT", "sys/rotate")
    with steps.step("new-root-key-refused-while-the-key-is-disabled"):
        refused("Rejected.Disabled", lambda: bao.ask("PUT", "sys/rotate/root"))
    with steps.step("starts-sealed-while-the-key-is-disabled"):
        bao.again()
        until(lambda: "Rejected.Disabled" in bao.log(), "the log names the reason")
        assert bao.sealed()
    with steps.step("unseals-by-itself-once-the-key-is-enabled"):
        gateway.call("EnableKey", KeyId=key)
        bao.unsealed()
        assert bao.secret() == "a word"
    bao.stop()


def starts_that_fail(steps: Steps, gateway: Gateway, key: str, server):
    bao = server("refused")
    with steps.step("key-of-others-refused"):
        bao.seal(gateway.create_key())
        ends_naming(bao, "Forbidden.NoPermission")
    bao = server("unknown", gateway.access_key)
    with steps.step("unknown-key-named"):
        bao.seal("key-does-not-exist")
        ends_naming(bao, "Forbidden.KeyNotFound")
    with steps.step("unknown-alias-named"):
        bao.seal("alias/does-not-exist")
        ends_naming(bao, "Forbidden.AliasNotFound")
    bao = server("wrong", type(gateway.access_key)(gateway.access_key.id, "wrong"))
    with steps.step("wrong-secret-named"):
        bao.seal(key)
        ends_naming(bao, "SignatureDoesNotMatch")
    bao = server("away")
    with steps.step("ends-where-the-gateway-is-away"):
        bao.seal(key)
        gateway.stop()
        try:
            ends_naming(bao, "connection refused")
        finally:
            gateway.start()
    with steps.step("starts-again-once-the-gateway-is-back"):
        bao.start()
        bao.init()
        bao.unsealed()
    bao.stop()


def init_with_the_gateway_away(steps: Steps, gateway: Gateway, key: str, server):
    """docs/clients.md warns of this: hold what it says against the program."""
    bao = server("torn")
    with steps.step("init-fails-where-the-gateway-is-away"):
        bao.seal(key)
        bao.start()
        gateway.stop()
        try:
            refused("connection refused", bao.init)
        finally:
            gateway.start()
    with steps.step("and-leaves-a-storage-that-takes-no-second-init"):
        refused("already initialized", bao.init)
        bao.again()
        assert bao.sealed()
    bao.stop()


def migration(steps: Steps, key: str, server):
    bao = server("migration")
    with steps.step("shamir-to-alicloudkms"):
        bao.write("")
        bao.start()
        made = bao.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        share = made["keys_base64"][0]
        bao.ask("PUT", "sys/unseal", {"key": share})
        bao.unsealed()
        bao.root_token = made["root_token"]
        bao.ask("POST", "sys/mounts/secret", {"type": "kv"})
        bao.ask("PUT", "secret/one", {"value": "a word"})
        bao.stop()
        bao.seal(key)
        bao.start()
        bao.ask("PUT", "sys/unseal", {"key": share, "migrate": True})
        bao.unsealed()
        assert bao.secret() == "a word"
    with steps.step("unseals-by-itself-after-the-migration"):
        bao.again()
        bao.unsealed()
    with steps.step("alicloudkms-to-shamir"):
        bao.stop()
        configuration = bao.directory / "bao.hcl"
        text = configuration.read_text()
        disabled = '  disabled   = "true"\n  kms_key_id'
        configuration.write_text(text.replace("  kms_key_id", disabled))
        bao.start()
        bao.ask("PUT", "sys/unseal", {"key": share, "migrate": True})
        bao.unsealed()
        assert bao.ask("GET", "sys/seal-status")["type"] == "shamir"
        assert bao.secret() == "a word"


if __name__ == "__main__":
    main()
