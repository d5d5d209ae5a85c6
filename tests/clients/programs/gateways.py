"""Gateways for the tests of programs, their calls, and the network that the programs see."""

import base64
import contextlib
import datetime
import fcntl
import hashlib
import hmac
import json
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

PROGRAM = os.path.abspath(os.environ.get("HSMGATE_PROGRAM", "target/debug/hsmgate"))
START_SECONDS = 60
STOP_SECONDS = 20


class Refused(Exception):
    """A call that the gateway refused, with status and code of the answer."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class Gateway:
    """`hsmgate dev` in a directory of its own; the same one may be stopped and started again."""

    def __init__(self, *options: str, listen: str = "127.0.0.1:0", names: tuple[str, ...] = ()):
        self._directory = tempfile.TemporaryDirectory(dir=_memory(), prefix="hsmgate-")
        self.directory = pathlib.Path(self._directory.name)
        self.state = self.directory / "state"
        named = (word for name in names for word in ("--tls-name", name))
        self._options, self._listen, self._process = (*options, *named), listen, None
        self.start()

    def start(self):
        """Starts it, on the port that it had before."""
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "dev", "--json", "--listen", self._listen]
                + ["--dir", str(self.state), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line: list[bytes] = []
        reader = threading.Thread(target=lambda: line.append(self._process.stdout.readline()))
        reader.daemon = True
        reader.start()
        reader.join(START_SECONDS)
        if not line or not line[0]:
            self._process.kill()
            raise RuntimeError(f"the gateway does not serve: {self.log()}")
        self.dev = json.loads(line[0])
        self.endpoint = self.dev["endpoint"]
        self.address = self.endpoint.partition("://")[2]
        self.region, self.account = self.dev["region"], self.dev["account"]
        self.access_key = AccessKey(self.dev["access_key_id"], self.dev["access_key_secret"])
        self.ca_file = self.dev.get("ca_file")
        self._listen = self.address

    def stop(self):
        """Ends it as an operator would; nothing where it is stopped already."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self._directory.cleanup()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def arn(self, key_id: str) -> str:
        return f"acs:kms:{self.region}:{self.account}:key/{key_id}"

    def call(self, action: str, **parameters: str) -> dict:
        """A call with the gateway's own AccessKey."""
        return self.call_as(self.access_key, action, **parameters)

    def call_as(self, access_key: "AccessKey", action: str, **parameters: str) -> dict:
        """A call signed as RPC 1.0."""
        parameters |= {
            "Action": action,
            "Version": "2016-01-20",
            "Format": "JSON",
            "AccessKeyId": access_key.id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": str(uuid.uuid4()),
            "Timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        query = "&".join(f"{_quoted(k)}={_quoted(v)}" for k, v in sorted(parameters.items()))
        digest = hmac.digest(
            f"{access_key.secret}&".encode(),
            f"POST&%2F&{_quoted(query)}".encode(),
            hashlib.sha1,
        )
        parameters["Signature"] = base64.b64encode(digest).decode()
        request = urllib.request.Request(
            self.endpoint + "/", data=urllib.parse.urlencode(parameters).encode(), method="POST"
        )
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        handlers = [urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            body = json.load(error)
            raise Refused(error.code, body["Code"], body["Message"]) from None

    def create_key(self, **parameters: str) -> str:
        """The id of a new key."""
        return self.call("CreateKey", **parameters)["KeyMetadata"]["KeyId"]

    def user(self, name: str, policy: str) -> "AccessKey":
        """The AccessKey of a new user who may do what the policy allows."""
        document = self.directory / f"{name}-policy.json"
        document.write_text(policy)
        options = ["--config", self.state / "hsmgate.toml", "--user", name, "--policy", document]
        token = {"SOFTHSM2_CONF": self.state / "softhsm2.conf"}
        made = json.loads(run(PROGRAM, "access-key", "create", "--json", *options, env=token))
        access_key = AccessKey(made["access_key_id"], made["access_key_secret"])
        until(lambda: self._knows(access_key), "the gateway has read the new AccessKey")
        return access_key

    def _knows(self, access_key: "AccessKey") -> bool:
        """Whether it has read an AccessKey that was made beside it."""
        try:
            self.call_as(access_key, "DescribeRegions")
        except Refused as refusal:
            return refusal.code != "InvalidAccessKeyId.NotFound"
        return True


class AccessKey:
    def __init__(self, id: str, secret: str):
        self.id, self.secret = id, secret


def run(*command, env: dict | None = None, cwd=None, input: str | None = None, timeout=300) -> str:
    """What a command printed; raises with all that it wrote where it fails."""
    ended = try_run(*command, env=env, cwd=cwd, input=input, timeout=timeout)
    if ended.returncode != 0:
        told = ended.stdout + ended.stderr
        raise RuntimeError(f"{command[0]} ended with {ended.returncode}: {told}")
    return ended.stdout


def try_run(*command, env=None, cwd=None, input=None, timeout=300) -> subprocess.CompletedProcess:
    """As `run`, for a command that may fail."""
    return subprocess.run(
        [str(word) for word in command],
        env=environment(**(env or {})),
        cwd=cwd,
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )


def environment(**variables: str) -> dict[str, str]:
    """The environment of a program: nothing of the user's that would lead it elsewhere."""
    away = ("ALICLOUD_", "ALIBABA_CLOUD_", "ALIBABACLOUD_", "ACCESS_KEY_", "ACK_KMS_")
    away += ("BAO_", "VAULT_", "TF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(away)}
    return kept | {name: str(value) for name, value in variables.items()}


@contextlib.contextmanager
def scratch(name: str):
    """A directory that goes away."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as directory:
        yield pathlib.Path(directory)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(holds, what: str, seconds: float = 60):
    """Waits until it holds, and gives what it gave."""
    limit = time.monotonic() + seconds
    while not (held := holds()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
    return held


def has_own_network() -> bool:
    """Whether this is a network namespace of our own, with names and a port 443 to give away."""
    return os.environ.get("HSMGATE_OWN_NETWORK") == "1"


def name_loopback(*names: str):
    """Lets the names lead to 127.0.0.1, for this process and its children only."""
    hosts = tempfile.NamedTemporaryFile("w", prefix="hosts-", delete=False)
    hosts.write("127.0.0.1 localhost " + " ".join(names) + "\n")
    hosts.close()
    os.chmod(hosts.name, 0o644)
    run("mount", "--bind", hosts.name, "/etc/hosts")


def loopback_up():
    """Switches loopback on in a new network namespace."""
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(asked, SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


def _memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None
