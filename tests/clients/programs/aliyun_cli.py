"""The vendor's command line. `ALIYUN` names the program."""

import base64
import json
import os
import re
import subprocess
import time

from gateways import PROGRAM, Gateway, run, scratch, try_run
from settings import fitted
from steps import Steps

ALIYUN = os.environ["ALIYUN"]


class Cli:
    """The program with a profile for a gateway."""

    def __init__(self, home, gateway: Gateway):
        self.home, self.gateway = home, gateway
        (home / ".aliyun").mkdir(parents=True)
        file = home / ".aliyun" / "config.json"
        file.write_text(fitted("aliyun-cli/config.json", gateway))
        file.chmod(0o600)

    def command(self, action: str, *options: str) -> tuple[list[str], dict]:
        gateway = self.gateway
        command = [ALIYUN, "kms", action, "--endpoint", gateway.address, *options]
        if gateway.ca_file is None:
            return [*command, "--insecure"], {"HOME": str(self.home)}
        return command, {"HOME": str(self.home), "SSL_CERT_FILE": gateway.ca_file}

    def script(self, name: str) -> str:
        """What a script of the examples prints, run by a shell that finds the program."""
        programs = self.home / "bin"
        programs.mkdir()
        (programs / "aliyun").symlink_to(ALIYUN)
        path = f"{programs}:{os.environ['PATH']}"
        told = fitted(f"aliyun-cli/{name}", self.gateway, alias="alias/demo")
        return run("sh", "-ec", told, env={"HOME": str(self.home), "PATH": path}, timeout=60)

    def call(self, action: str, *options: str) -> dict:
        return json.loads(self.text(action, *options))

    def text(self, action: str, *options: str) -> str:
        command, variables = self.command(action, *options)
        return run(*command, env=variables, timeout=60)

    def refusal(self, action: str, *options: str) -> str:
        command, variables = self.command(action, *options)
        ended = try_run(*command, env=variables, timeout=60)
        assert ended.returncode != 0, ended.stdout
        return ended.stdout + ended.stderr


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def main():
    version = run(ALIYUN, "version").strip()
    steps = Steps("aliyun-cli", version)
    with scratch("aliyun") as home:
        with Gateway() as gateway:
            cli = Cli(home / "http", gateway)
            calls(steps, cli, "http")
            management(steps, cli)
        with Gateway("--tls", "--accept-non-base64-plaintext") as gateway:
            cli = Cli(home / "https", gateway)
            calls(steps, cli, "https")
            text(steps, cli)
            certificates(steps, cli)
            identity(steps, cli)
    steps.finish()


def calls(steps: Steps, cli: Cli, scheme: str):
    key, sent = cli.gateway.dev["key_id"], base64_of("hello")
    with steps.step(f"as-documented-by-{scheme}"):
        assert json.loads(cli.script(f"{scheme}.sh"))["KeyMetadata"]["KeyId"] == key
    with steps.step(f"encrypt-and-decrypt-by-{scheme}"):
        sealed = cli.call("Encrypt", "--KeyId", "alias/demo", "--Plaintext", sent)
        opened = cli.call("Decrypt", "--CiphertextBlob", sealed["CiphertextBlob"])
        assert opened["Plaintext"] == sent and opened["KeyId"] == key
    with steps.step(f"encryption-context-by-{scheme}"):
        context = ["--EncryptionContext", '{"who":"Ärger & = +"}']
        sealed = cli.call("Encrypt", "--KeyId", key, "--Plaintext", sent, *context)
        blob = ["--CiphertextBlob", sealed["CiphertextBlob"]]
        assert cli.call("Decrypt", *blob, *context)["Plaintext"] == sent
        assert "InvalidParameter" in cli.refusal("Decrypt", *blob)
    with steps.step(f"unknown-key-by-{scheme}"):
        told = cli.refusal("DescribeKey", "--KeyId", "key-does-not-exist")
        assert "Forbidden.KeyNotFound" in told, told


def management(steps: Steps, cli: Cli):
    key = cli.gateway.dev["key_id"]
    with steps.step("bare-text-refused-and-the-setting-named"):
        told = cli.refusal("Encrypt", "--KeyId", key, "--Plaintext", "hello you")
        assert "InvalidParameter" in told, told
        assert "crypto.accept_non_base64_plaintext" in told, told
    with steps.step("get-as-method"):
        made = cli.call("DescribeKey", "--KeyId", key, "--method", "GET")
        assert made["KeyMetadata"]["KeyId"] == key
    with steps.step("plaintext-from-a-file"):
        file = cli.home / "plaintext"
        file.write_text(base64_of("from a file"))
        sealed = cli.call("Encrypt", "--KeyId", key, "--Plaintext-FILE", str(file))
        opened = cli.call("Decrypt", "--CiphertextBlob", sealed["CiphertextBlob"])
        assert opened["Plaintext"] == base64_of("from a file")
    with steps.step("repeated-parameters"):
        tagged = ["--RegionId", cli.gateway.region, "--ResourceType", "key", "--ResourceId.1", key]
        cli.call("TagResources", *tagged, "--Tag.1.Key", "team", "--Tag.1.Value", "blue")
        tags = cli.call("ListTagResources", *tagged)["TagResources"]["TagResource"]
        assert [(tag["TagKey"], tag["TagValue"]) for tag in tags] == [("team", "blue")], tags
    with steps.step("columns"):
        table = cli.text("ListKeys", "--output", "cols=KeyId", "rows=Keys.Key[]")
        assert key in table, table
    with steps.step("all-pages"):
        made = {cli.gateway.create_key() for _ in range(3)}
        pager = ["--PageSize", "2", "--pager", "NextToken=", "path=Keys.Key[]"]
        listed = cli.call("ListKeys", *pager)
        ids = [item["KeyId"] for item in listed["Keys"]["Key"]]
        assert len(ids) == len(set(ids)) and made | {key} <= set(ids), ids
    with steps.step("operation-that-it-does-not-know"):
        spec = {"KeySpec": "HMAC_SHA_256", "KeyUsage": "GENERATE/VERIFY_MAC"}
        mac = cli.gateway.create_key(**spec)
        force = ["--force", "--version", "2016-01-20", "--KeyId", mac]
        force += ["--Message", base64_of("m")]
        sent = [*force, "--Algorithm", "HMAC_SHA_256"]
        made = cli.call("GenerateMac", *sent)["Mac"]
        assert len(base64.b64decode(made)) == 32
        assert cli.call("VerifyMac", *sent, "--Mac", made)["Value"] is True
    with steps.step("wrong-secret"):
        file = cli.home / ".aliyun" / "config.json"
        right = file.read_text()
        file.write_text(right.replace(cli.gateway.access_key.secret, "wrong"))
        try:
            told = cli.refusal("ListKeys")
            assert re.search("SignatureDoesNotMatch|InvalidAccessKeySecret", told), told
        finally:
            file.write_text(right)


def text(steps: Steps, cli: Cli):
    with steps.step("bare-text-with-the-setting"):
        sealed = cli.call("Encrypt", "--KeyId", "alias/demo", "--Plaintext", "not Base64: Ä 你好")
        opened = cli.call("Decrypt", "--CiphertextBlob", sealed["CiphertextBlob"])
        assert opened["Plaintext"] == "not Base64: Ä 你好"


def certificates(steps: Steps, cli: Cli):
    with steps.step("unknown-ca-refused"):
        command, variables = cli.command("ListKeys")
        del variables["SSL_CERT_FILE"]
        ended = try_run(*command, env=variables, timeout=120)
        assert ended.returncode != 0
        assert "certificate" in ended.stdout + ended.stderr, ended.stderr


ISSUER, AUDIENCE, SUBJECT = "https://issuer.test", "sts.aliyuncs.com", "job:7"


def identity(steps: Steps, cli: Cli):
    """A token of an identity provider in place of an AccessKey; the variable names the STS."""
    gateway = cli.gateway
    issuer = Issuer(cli.home)
    token_file = cli.home / "token"
    token_file.write_text(issuer.token(iss=ISSUER, sub=SUBJECT, aud=AUDIENCE) + "\n")
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Federated": [f"acs:ram::{gateway.account}:oidc-provider/ci"]},
        "Condition": {"StringEquals": {"oidc:sub": SUBJECT}},
    }
    trust_file = cli.home / "trust.json"
    trust_file.write_text(json.dumps({"Version": "1", "Statement": [trust]}))
    key_set = ["--jwks", str(issuer.key_set), "--audience", AUDIENCE]
    for command in (
        ["identity-provider", "create", "ci", "--issuer", ISSUER, *key_set],
        ["role", "create", "ci", "--policy", "AliyunKMSCryptoUserAccess"],
        ["role", "update", "ci", "--trust", str(trust_file)],
    ):
        run(PROGRAM, *command, "--config", str(gateway.state / "hsmgate.toml"))
    profile = {
        "name": "oidc",
        "mode": "OIDC",
        "oidc_provider_arn": f"acs:ram::{gateway.account}:oidc-provider/ci",
        "oidc_token_file": str(token_file),
        "ram_role_arn": f"acs:ram::{gateway.account}:role/ci",
        "ram_session_name": "cli-1",
        "region_id": gateway.region,
        "output_format": "json",
        "language": "en",
    }
    home = cli.home / "oidc"
    (home / ".aliyun").mkdir(parents=True)
    config = home / ".aliyun" / "config.json"
    config.write_text(json.dumps({"current": "oidc", "profiles": [profile]}))
    config.chmod(0o600)
    variables = {
        "HOME": str(home),
        "SSL_CERT_FILE": gateway.ca_file,
        "ALIBABA_CLOUD_STS_ENDPOINT": gateway.address,
    }

    def call(product: str, action: str, *options: str) -> dict:
        command = [ALIYUN, product, action, "--endpoint", gateway.address, *options]
        return json.loads(run(*command, env=variables, timeout=60))

    with steps.step("token-in-place-of-an-access-key"):
        sent = base64_of("hello")
        sealed = call("kms", "Encrypt", "--KeyId", "alias/demo", "--Plaintext", sent)
        opened = call("kms", "Decrypt", "--CiphertextBlob", sealed["CiphertextBlob"])
        assert opened["Plaintext"] == sent
    with steps.step("caller-identity-of-a-session"):
        told = call("sts", "GetCallerIdentity")
        assert told["Arn"] == f"acs:ram::{gateway.account}:assumed-role/ci/cli-1", told
    with steps.step("rights-of-a-session"):
        command = [ALIYUN, "kms", "CreateKey", "--endpoint", gateway.address]
        ended = try_run(*command, env=variables, timeout=60)
        assert ended.returncode != 0 and "Forbidden.NoPermission" in ended.stdout + ended.stderr


class Issuer:
    """An issuer of tokens, whose RSA key OpenSSL has made."""

    def __init__(self, home):
        self._key = home / "issuer.pem"
        run("openssl", "genrsa", "-out", str(self._key), "2048")
        modulus = run("openssl", "rsa", "-in", str(self._key), "-noout", "-modulus")
        modulus = bytes.fromhex(modulus.strip().partition("=")[2])
        key = {"kty": "RSA", "kid": "1", "n": base64_url(modulus), "e": "AQAB"}
        self.key_set = home / "jwks.json"
        self.key_set.write_text(json.dumps({"keys": [key]}))

    def token(self, **claims: str) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "kid": "1"}
        parts = (header, {**claims, "iat": now, "exp": now + 600})
        text = ".".join(base64_url(json.dumps(part).encode()) for part in parts)
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signed = subprocess.run(sign, input=text.encode(), capture_output=True, check=True)
        return f"{text}.{base64_url(signed.stdout)}"


def base64_url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    main()
