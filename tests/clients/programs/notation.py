"""Notation with the vendor's plugin. `NOTATION` and `NOTATION_PLUGIN` name the programs.

The plugin asks `kms.REGION.aliyuncs.com`, port 443, to describe a key, and nothing changes that:
here the name leads to the gateway, whose certificate holds it.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil

from gateways import Gateway, has_own_network, name_loopback, run, scratch, try_run, until
from settings import variables
from steps import Skip, Steps

NOTATION, PLUGIN = os.environ["NOTATION"], os.environ["NOTATION_PLUGIN"]
NAME = "alibabacloud.secretmanager.plugin"


class Notation:
    """Notation with a configuration of its own, for a gateway."""

    def __init__(self, home: pathlib.Path, gateway: Gateway):
        self.home, self.gateway = home, gateway
        plugin = home / "notation" / "plugins" / NAME / f"notation-{NAME}"
        plugin.parent.mkdir(parents=True)
        shutil.copy(PLUGIN, plugin)
        plugin.chmod(0o755)
        password = pathlib.Path(gateway.dev["client_key_password_file"]).read_text()
        self.variables = variables("notation/notation.env", gateway, password=password)
        client_key = gateway.dev["client_key_file"]
        self.variables["ALIBABA_CLOUD_KMS_CLIENTKEY_FILEPATH"] = client_key
        self.plugin = plugin

    def run(self, *options: str) -> str:
        return run(NOTATION, *options, env=self._environment(), cwd=self.home)

    def fails(self, *options: str) -> str:
        ended = try_run(NOTATION, *options, env=self._environment(), cwd=self.home)
        assert ended.returncode != 0, ended.stdout
        return ended.stdout + ended.stderr

    def plugin_call(self, command: str, request: dict) -> dict:
        """What notation asks of the plugin, asked by hand."""
        asked = json.dumps(request)
        ended = try_run(self.plugin, command, env=self._environment(), input=asked)
        lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
        if ended.returncode != 0:
            raise RuntimeError(ended.stdout + ended.stderr)
        return json.loads(lines[-1])

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)}
        return self.variables | home | {"NOTATION_EXPERIMENTAL": "1"}  # it calls OCI layouts so


def image_layout(directory: pathlib.Path) -> str:
    """An OCI layout that holds one image, and the reference of it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image."
    image = {"schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json"}
    image["config"] = blob(b"{}", f"{kind}config.v1+json")
    image["layers"] = [blob(b"a layer", f"{kind}layer.v1.tar")]
    manifest = blob(json.dumps(image).encode(), f"{kind}manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"{directory}@{manifest['digest']}"


TRUST = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "images",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:hsmgate"],
            "trustedIdentities": ["*"],
        }
    ],
}


def main():
    version = re.search(r"Version:\s+(\S+)", run(NOTATION, "version")).group(1)
    steps = Steps("Notation", version)
    if not has_own_network():
        with steps.step("network"):
            raise Skip("needs a network namespace, for the name kms.cn-hangzhou.aliyuncs.com")
        steps.finish()
    name = "kms.cn-hangzhou.aliyuncs.com"
    gateway = Gateway("--tls", listen="127.0.0.1:443", names=(name,))
    name_loopback(name)
    with gateway, scratch("notation") as home:
        sign_and_verify(steps, Notation(home, gateway))
    steps.finish()


def sign_and_verify(steps: Steps, notation: Notation):
    gateway = notation.gateway
    key = gateway.create_key(KeySpec="RSA_2048", KeyUsage="SIGN/VERIFY")
    contract = {"contractVersion": "1.0"}
    with steps.step("plugin-metadata"):
        told = notation.plugin_call("get-plugin-metadata", {})
        assert told["name"] == NAME
        assert "SIGNATURE_GENERATOR.RAW" in told["capabilities"]
    with steps.step("plugin-listed"):
        assert NAME in notation.run("plugin", "list")
    with steps.step("describe-key"):
        told = notation.plugin_call("describe-key", contract | {"keyId": key})
        assert told == {"keyId": key, "keySpec": "RSA-2048"}, told
    with steps.step("describe-unknown-key"):
        try:
            notation.plugin_call("describe-key", contract | {"keyId": "key-does-not-exist"})
        except RuntimeError as error:
            assert "Forbidden.KeyNotFound" in str(error), error
        else:
            raise AssertionError("it was described")
    with steps.step("signature-without-an-algorithm-is-pss"):
        asked = contract | {"keyId": key, "keySpec": "RSA-2048", "hashAlgorithm": "SHA-256"}
        payload = base64.b64encode(b"a payload").decode()
        certificates = {"output_cert_dir": str(notation.home)}
        asked |= {"payload": payload, "pluginConfig": certificates}
        told = notation.plugin_call("generate-signature", asked)
        assert told["signingAlgorithm"] == "RSASSA-PSS-SHA-256"
        digest = base64.b64encode(hashlib.sha256(b"a payload").digest()).decode()
        version = gateway.call("ListKeyVersions", KeyId=key)["KeyVersions"]["KeyVersion"][0]
        verified = gateway.call(
            "AsymmetricVerify",
            KeyId=key,
            KeyVersionId=version["KeyVersionId"],
            Algorithm="RSA_PSS_SHA_256",
            Digest=digest,
            Value=told["signature"],
        )
        assert verified["Value"] is True
    reference = image_layout(notation.home / "image")
    sign = ["sign", "--id", key, "--plugin", NAME, "--oci-layout", reference]
    sign += ["--plugin-config", f"output_cert_dir={notation.home}"]
    with steps.step("unsigned-image-refused"):
        policy = notation.home / "trust.json"
        policy.write_text(json.dumps(TRUST))
        notation.run("policy", "import", str(policy))
        verify = ["verify", "--oci-layout", "--scope", "local/image", reference]
        assert "no signature" in notation.fails(*verify).lower()
    with steps.step("sign"):
        assert "Successfully signed" in notation.run(*sign)
    with steps.step("verify-at-level-strict"):
        made = sorted(notation.home.glob("*.crt")) + sorted(notation.home.glob("*.pem"))
        assert len(made) == 1, made
        notation.run("cert", "add", "--type", "ca", "--store", "hsmgate", str(made[0]))
        assert "Successfully verified" in notation.run(*verify)
    with steps.step("sign-with-a-disabled-key-refused"):
        gateway.call("DisableKey", KeyId=key)
        notation.fails(*sign)
        refused = 'action="Sign"[^\n]*outcome="Rejected.Disabled"'
        until(lambda: re.search(refused, gateway.log()), "the log of the gateway tells why")
        gateway.call("EnableKey", KeyId=key)


if __name__ == "__main__":
    main()
