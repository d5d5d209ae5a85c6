#!/usr/bin/env python3
"""Drives large programs of others, unchanged, against running gateways: `make clients`.

Each program is named by a variable, and left out with one line where it is not. A program's script
starts the gateways that it needs, prints one line a step and its counts at the end. All run in a
network namespace with loopback alone, where this machine has such: nothing they ask for leaves it.

    make clients BAO=/usr/local/bin/bao ALIYUN=/usr/local/bin/aliyun
    HSMGATE_PROGRAM=target/debug/hsmgate BAO=… tests/clients/programs/run.py openbao
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import gateways

HERE = pathlib.Path(__file__).resolve().parent

# The script and arguments of each client, and the variables that name what it needs.
CLIENTS = {
    "terraform": ("terraform.py TERRAFORM", "TERRAFORM PROVIDER"),
    "opentofu": ("terraform.py TOFU", "TOFU PROVIDER"),
    "terraform-provider-tests": ("terraform_provider_tests.py", "PROVIDER_TESTS"),
    "openbao": ("openbao.py", "BAO"),
    "ack-kms-plugin": ("ack_kms_plugin.py", "ACK_KMS_PLUGIN"),
    "aliyun-cli": ("aliyun_cli.py", "ALIYUN"),
    "secrets-client-go": ("secrets_client.py go", "SECRETS_CLIENT_GO"),
    "secrets-client-java": ("secrets_client.py java", "SECRETS_CLIENT_JAVA"),
    "csi-provider": ("csi_provider.py", "CSI_PROVIDER"),
    "notation": ("notation.py", "NOTATION NOTATION_PLUGIN"),
}

COUNTS = re.compile(r".+ .+: \d+ passed, \d+ failed, \d+ skipped")


def main() -> int:
    wanted = sys.argv[1:] or list(CLIENTS)
    unknown = [client for client in wanted if client not in CLIENTS]
    if unknown:
        print(f"no such client: {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
        return 2
    if shutil.which(gateways.PROGRAM) is None:
        print(f"no gateway at {gateways.PROGRAM}: build it, or set HSMGATE_PROGRAM")
        return 2
    if gateways.has_own_network():
        gateways.loopback_up()
    else:
        enter_network()
    ends = [run(client) for client in wanted]
    print()
    for counts, _ in ends:
        print(counts)
    return 0 if all(well for _, well in ends) else 1


def run(client: str) -> tuple[str, bool]:
    """Runs the script of a client; its line of counts, and whether all went well."""
    script, needed = (text.split() for text in CLIENTS[client])
    absent = [name for name in needed if not os.environ.get(name)]
    if absent:
        return f"skipped {client}: no {' and no '.join(absent)}", True
    for name in (*needed, "BAO_PLUGIN", "PROVIDER_SOURCE"):
        if os.environ.get(name):
            os.environ[name] = shutil.which(os.environ[name]) or os.path.abspath(os.environ[name])
    print(f"\n{client}", flush=True)
    last = ""
    script = [sys.executable, "-B", str(HERE / script[0]), *script[1:]]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip()
    if not COUNTS.fullmatch(last) or " 0 passed, 0 failed, 0 skipped" in last:
        return f"failed {client}: it ended with {process.returncode}, without its steps", False
    return last, process.returncode == 0


def enter_network():
    """Goes on in a network of its own with nothing but loopback, if this machine lets it."""
    for rights in ([], ["--map-root-user"]):
        unshare = ["unshare", "--net", "--mount", *rights]
        try:
            allowed = subprocess.run([*unshare, "true"], capture_output=True).returncode == 0
        except FileNotFoundError:
            break
        if allowed:
            os.environ["HSMGATE_OWN_NETWORK"] = "1"
            again = [sys.executable, "-B", __file__, *sys.argv[1:]]
            os.execvp(unshare[0], [*unshare, *again])
    print("no network namespace: the programs see the network, and steps that need one are skipped")


if __name__ == "__main__":
    sys.exit(main())
