"""Terraform or OpenTofu with the provider aliyun/alicloud.

`PROVIDER` names the provider's program, and `TERRAFORM` or `TOFU` (as the first argument says) the
command. With `PROVIDER_SOURCE`, a checkout of the provider, the examples of its pages run too.
`TERRAFORM_CASES=keys,drift` runs these cases alone.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import sys

from gateways import Gateway, Refused, has_own_network, name_loopback, run, scratch, try_run
from settings import EXAMPLES, fitted, variables
from steps import Skip, Steps

VARIABLE = (sys.argv[1:] or ["TERRAFORM"])[0]
COMMAND, PROVIDER = os.environ[VARIABLE], os.environ["PROVIDER"]
CASES = pathlib.Path(__file__).resolve().parent / "terraform"

# Pages of the provider whose examples buy an instance or another service, and those whose examples ask
# for what is nowhere.
NOT_KMS = ("kms_instance", "kms_value_added_service", "kms_secrets", "kms_aliases")

TEXTS = {
    "word": "example",
    "password": "YourPassword1234!",
    "lines": "two\nlines",
    "chinese": "你好, Ä",
    "base64": base64.b64encode(b"hello").decode(),
}


class Workspace:
    """A directory with a case and its state."""

    def __init__(self, directory: pathlib.Path, gateway: Gateway, cases: dict[str, str]):
        self.directory, self.gateway = directory, gateway
        directory.mkdir()
        provider = fitted("terraform/provider.tf", gateway)
        if gateway.ca_file is None:
            provider = provider.replace("  endpoints {", '  protocol = "HTTP"\n  endpoints {')
        (directory / "provider.tf").write_text(provider)
        for name, text in cases.items():
            (directory / name).write_text(text)
        overrides = directory.parent / "provider"
        if not overrides.exists():
            overrides.mkdir()
            shutil.copy(PROVIDER, overrides / "terraform-provider-alicloud")
        self.configuration = directory.parent / "terraform.rc"
        there = f'dev_overrides {{\n"aliyun/alicloud" = "{overrides}"\n}}'
        self.configuration.write_text(f"provider_installation {{\n{there}\n}}\n")

    def _environment(self) -> dict[str, str]:
        return variables("terraform/terraform.env", self.gateway) | {
            "TF_CLI_CONFIG_FILE": str(self.configuration),
            "TF_VAR_plaintexts": json.dumps(TEXTS),
            "CHECKPOINT_DISABLE": "1",
        }

    def try_command(self, command: str, *options: str, changed=False):
        variable = []
        if (self.directory / "changed.tf").exists():
            variable = ["-var", f"changed={str(changed).lower()}"]
        words = [COMMAND, command, "-input=false", "-no-color", *variable, *options]
        return try_run(*words, env=self._environment(), cwd=self.directory, timeout=900)

    def apply(self, changed=False):
        ended = self.try_command("apply", "-auto-approve", changed=changed)
        if ended.returncode != 0:
            raise RuntimeError(short(ended.stdout + ended.stderr))

    def destroy(self, changed=False):
        ended = self.try_command("destroy", "-auto-approve", changed=changed)
        if ended.returncode != 0:
            raise RuntimeError(short(ended.stdout + ended.stderr))

    def refusal(self, command: str, changed=False) -> str:
        ended = self.try_command(command, "-auto-approve", changed=changed)
        assert ended.returncode != 0, "it was not refused"
        return short(ended.stdout + ended.stderr)

    def quiet(self, changed=False):
        """Nothing is left to do."""
        plan = self.try_command("plan", "-detailed-exitcode", changed=changed)
        assert plan.returncode == 0, short(plan.stdout + plan.stderr)

    def to_add(self) -> int:
        """How many resources the next apply will make."""
        plan = self.try_command("plan")
        found = re.search(r"Plan: (\d+) to add", plan.stdout)
        assert found, short(plan.stdout + plan.stderr)
        return int(found[1])

    def resources(self) -> list[dict]:
        state = run(COMMAND, "show", "-json", env=self._environment(), cwd=self.directory)
        module = json.loads(state).get("values", {}).get("root_module", {})
        return [one for one in module.get("resources", []) if one["mode"] == "managed"]

    def ids(self) -> dict[str, str]:
        """The ids of the resources, by their addresses."""
        return {one["address"]: one["values"]["id"] for one in self.resources()}

    def output(self, name: str):
        told = run(COMMAND, "output", "-json", name, env=self._environment(), cwd=self.directory)
        return json.loads(told)


def secret(version: str, value: str) -> dict[str, str]:
    """The parameters of a version of a secret that Terraform does not have."""
    return {"SecretName": "of-others", "VersionId": version, "SecretData": value}


def absent(gateway: Gateway, secret: str) -> bool:
    try:
        gateway.call("DescribeSecret", SecretName=secret)
    except Refused as refused:
        return refused.code == "Forbidden.ResourceNotFound"
    return False


def short(text: str) -> str:
    """The errors of an output, or its end; without the hints that surround them."""
    errors = re.findall(r"Error: (.*?)(?=╵|\Z)", text, re.DOTALL)
    told = " | ".join(errors) if errors else text[text.find("Terraform will perform") :]
    return " ".join(told.replace("│", " ").replace("╷", " ").split())


def main():
    version = json.loads(run(COMMAND, "version", "-json", env={"CHECKPOINT_DISABLE": "1"}))
    steps = Steps("OpenTofu" if VARIABLE == "TOFU" else "Terraform", version["terraform_version"])
    with scratch("terraform") as directory:
        with Gateway("--tls", "--accept-non-base64-plaintext") as gateway:
            cases = Cases(steps, directory, gateway)
            for name, run_case in cases.by_tls().items():
                if wanted(name):
                    run_case()
        if wanted("http"):
            with Gateway() as gateway:
                Cases(steps, directory, gateway).by_http()
        if wanted("service"):
            fixed_name(steps, directory)
    steps.finish()


def wanted(case: str) -> bool:
    """Whether a case is to run: all do, unless `TERRAFORM_CASES` names some."""
    return case in os.environ.get("TERRAFORM_CASES", case).split(",")


class Cases:
    def __init__(self, steps: Steps, directory: pathlib.Path, gateway: Gateway):
        self.steps, self.directory, self.gateway = steps, directory, gateway

    def by_tls(self) -> dict:
        """What runs over https, in its order."""
        client_key = ("alicloud_kms_client_key.app",)
        return {
            "keys": lambda: self.lifecycle("keys"),
            "access": lambda: self.lifecycle("access", without=client_key),
            "documents": lambda: self.lifecycle("documents"),
            "instance_policy": lambda: self.lifecycle("instance_policy"),
            "secrets": lambda: self.lifecycle("secrets"),
            "secret_window": self.secret_window,
            "secret_data": self.secret_data,
            "crypto": self.crypto,
            "data": self.data,
            "protected": self.protected,
            "drift": self.drift,
            "unknown_ids": self.unknown_ids,
            "examples": self.examples,
        }

    def workspace(self, name: str, *cases: str, extra: dict[str, str] | None = None) -> Workspace:
        texts = {f"{case}.tf": (CASES / f"{case}.tf").read_text() for case in ("changed", *cases)}
        return Workspace(self.directory / name, self.gateway, texts | (extra or {}))

    def lifecycle(self, case: str, without: tuple[str, ...] = ()):
        """Make, plan, change, plan, take over in a second state but for `without`, destroy."""
        name = case.replace("_", "-")
        workspace = self.workspace(case, case)
        with self.steps.step(f"{name}-made"):
            workspace.apply()
        with self.steps.step(f"{name}-plan-is-quiet"):
            workspace.quiet()
        with self.steps.step(f"{name}-changed"):
            before = workspace.ids()
            workspace.apply(changed=True)
            assert workspace.ids() == before, "a resource was replaced"
        with self.steps.step(f"{name}-plan-is-quiet-after-the-change"):
            workspace.quiet(changed=True)
        with self.steps.step(f"{name}-imported"):
            ids = {to: id for to, id in workspace.ids().items() if to not in without}
            blocks = [f'import {{\n  to = {to}\n  id = "{id}"\n}}\n' for to, id in ids.items()]
            second = self.workspace(f"{case}-imported", case, extra={"import.tf": "".join(blocks)})
            for address in without:
                kind, _, label = address.partition(".")
                file = second.directory / f"{case}.tf"
                block = rf'resource "{kind}" "{label}" {{.*?\n}}\n'
                file.write_text(re.sub(block, "", file.read_text(), flags=re.DOTALL))
            plan = second.try_command("plan", changed=True)
            wanted = rf"{len(ids)} to import, 0 to add, \d+ to change, 0 to destroy"
            assert re.search(wanted, plan.stdout), short(plan.stdout + plan.stderr)
            second.apply(changed=True)
            assert second.ids() == ids
        with self.steps.step(f"{name}-plan-is-quiet-after-the-import"):
            second.quiet(changed=True)
        with self.steps.step(f"{name}-destroyed"):
            workspace.destroy(changed=True)
            assert not workspace.resources()
        with self.steps.step(f"{name}-destroyed-where-it-is-gone"):
            second.destroy(changed=True)

    def secret_window(self):
        """Destroys without force, which keeps the name for a week, and with force."""
        workspace, name = self.workspace("secret_window", "secret_window"), "terraform/kept"
        with self.steps.step("secret-window-destroyed-without-force"):
            workspace.apply()
            workspace.destroy()
            assert "PlannedDeleteTime" in self.gateway.call("DescribeSecret", SecretName=name)
        with self.steps.step("secret-window-name-is-taken"):
            assert "Rejected.ResourceInDeleteWindow" in workspace.refusal("apply")
        with self.steps.step("secret-window-restored-and-imported"):
            self.gateway.call("RestoreSecret", SecretName=name)
            block = f'import {{\n  to = alicloud_kms_secret.kept\n  id = "{name}"\n}}\n'
            (workspace.directory / "import.tf").write_text(block)
            workspace.apply(changed=True)
            (workspace.directory / "import.tf").unlink()
            workspace.quiet(changed=True)
        with self.steps.step("secret-window-destroyed-with-force-and-made-again"):
            workspace.destroy(changed=True)
            assert absent(self.gateway, name)
            workspace.apply(changed=True)
            workspace.quiet(changed=True)
        with self.steps.step("secret-window-drift-seen-and-mended"):
            force = {"SecretName": name, "ForceDeleteWithoutRecovery": "true"}
            self.gateway.call("DeleteSecret", **force)
            assert workspace.to_add() == 1
            workspace.apply(changed=True)
            workspace.quiet(changed=True)
            workspace.destroy(changed=True)

    def secret_data(self):
        workspace = self.workspace("secret_data", "secret_data")
        values = {"data/one": "data of one", "data/two": "data of two"}
        with self.steps.step("secret-data-sources-read"):
            versions = {"v1": "first", "v2": "second"}
            self.gateway.call("CreateSecret", **secret("v1", versions["v1"]))
            self.gateway.call("PutSecretValue", **secret("v2", versions["v2"]))
            workspace.apply()
            assert workspace.output("values") == values, workspace.output("values")
            assert workspace.output("by_tag") == ["data/two"], workspace.output("by_tag")
            assert workspace.output("by_filter") == ["data/one"], workspace.output("by_filter")
            assert workspace.output("versions") == versions, workspace.output("versions")
        with self.steps.step("secret-data-sources-plan-is-quiet"):
            workspace.quiet()
        with self.steps.step("secret-data-sources-destroyed"):
            workspace.destroy()

    def crypto(self):
        workspace = self.workspace("crypto", "crypto")
        with self.steps.step("crypto-made"):
            workspace.apply()
        with self.steps.step("crypto-texts-come-back"):
            assert workspace.output("sealed") == TEXTS
            assert workspace.output("bound") == TEXTS
        with self.steps.step("crypto-plan-is-quiet"):
            workspace.quiet()
        with self.steps.step("crypto-destroyed"):
            workspace.destroy()

    def data(self):
        workspace = self.workspace("data", "data")
        with self.steps.step("data-sources-read"):
            workspace.apply()
            assert set(workspace.output("found")) == {workspace.output("key")}
            assert workspace.output("versions") == 1
            assert workspace.output("instances") == [1, 0]
        with self.steps.step("data-sources-plan-is-quiet"):
            workspace.quiet()
        with self.steps.step("data-sources-destroyed"):
            workspace.destroy()

    def protected(self):
        workspace = self.workspace("protected", "protected")
        with self.steps.step("protected-key-not-destroyed"):
            workspace.apply()
            assert "Rejected.UnsupportedOperation" in workspace.refusal("destroy")
        with self.steps.step("protected-key-destroyed-once-it-is-not"):
            workspace.apply(changed=True)
            workspace.destroy(changed=True)

    def drift(self):
        workspace = self.workspace("drift", "one_key", "access")
        with self.steps.step("drift-seen"):
            workspace.apply()
            gateway, ids = self.gateway, workspace.ids()
            client_key = ids["alicloud_kms_client_key.app"]
            gateway.call("DeleteClientKey", ClientKeyId=client_key)
            gateway.call("DeleteApplicationAccessPoint", Name="app")
            gateway.call("DeletePolicy", Name="use")
            gateway.call("DeletePolicy", Name="other")
            gateway.call("DeleteNetworkRule", Name="office")
            key = ids["alicloud_kms_key.one"]
            gateway.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays="7")
            assert workspace.to_add() == 6
        with self.steps.step("drift-mended"):
            workspace.apply()
            assert workspace.ids()["alicloud_kms_key.one"] != key
        with self.steps.step("drift-plan-is-quiet"):
            workspace.quiet()
        with self.steps.step("drift-destroyed"):
            workspace.destroy()

    def unknown_ids(self):
        block = 'import {\n  to = alicloud_kms_key.one\n  id = "%s"\n}\n'
        ids = {
            "of-no-form": "key-does-not-exist",
            "of-a-form": "0b3c6ffc-ba93-4a2b-9f1a-6b1d1f7a4b50",
        }
        for name, id in ids.items():
            with self.steps.step(f"import-of-an-unknown-id-{name}"):
                workspace = self.workspace(f"unknown-{name}", "one_key", extra={"i.tf": block % id})
                told = workspace.refusal("apply")
                assert "non-existent remote object" in told, told

    def examples(self):
        """The examples of the provider's documentation: made, quiet, destroyed."""
        source = os.environ.get("PROVIDER_SOURCE")
        if not source:
            with self.steps.step("examples-of-the-documentation"):
                raise Skip("PROVIDER_SOURCE names no checkout of the provider")
            return
        pages = sorted(pathlib.Path(source).glob("website/docs/[rd]/kms_*.html.markdown"))
        for page in pages:
            title = page.name.partition(".")[0]
            example = re.compile(r"^```(?:terraform|hcl)\n(.*?)^```", re.DOTALL | re.MULTILINE)
            blocks = example.findall(page.read_text())
            for number, block in enumerate(blocks, 1):
                if title in NOT_KMS or "alicloud_kms_instance" in block:
                    continue
                kind = {"r": "resource", "d": "data"}[page.parent.name]
                name = f"example-{kind}-{title.replace('_', '-')}-{number}"
                with self.steps.step(name), contextlib.ExitStack() as after:
                    if title == "kms_keys":  # its example reads one that is described so
                        made = self.gateway.create_key(Description="Hello KMS")
                        gone = {"KeyId": made, "PendingWindowInDays": "7"}
                        after.callback(self.gateway.call, "ScheduleKeyDeletion", **gone)
                    directory = self.directory / name
                    workspace = Workspace(directory, self.gateway, {"main.tf": block})
                    if '"alicloud_kms_key"' not in block or "_window_in_days" in block:
                        after.callback(workspace.destroy)  # the provider refuses it without one
                    workspace.apply()
                    workspace.quiet()

    def by_http(self):
        example = {"key.tf": (EXAMPLES / "terraform/key.tf").read_text()}
        workspace = self.workspace("http", extra=example)
        with self.steps.step("made-and-destroyed-by-http"):
            workspace.apply()
            workspace.quiet()
            workspace.destroy()
        workspace = self.workspace("strict", "crypto")
        with self.steps.step("bare-text-refused-and-the-setting-named"):
            told = workspace.refusal("apply")
            assert "crypto.accept_non_base64_plaintext" in told, told
            workspace.destroy()


def fixed_name(steps: Steps, directory: pathlib.Path):
    """`alicloud_kms_service` asks this name, whatever the endpoint is."""
    with steps.step("service-under-the-cloud-s-name"):
        if not has_own_network():
            raise Skip("needs a network namespace, for the name kms.cn-hangzhou.aliyuncs.com")
        name = "kms.cn-hangzhou.aliyuncs.com"
        name_loopback(name)
        with Gateway("--tls", listen="127.0.0.1:443", names=(name,)) as gateway:
            workspace = Cases(steps, directory, gateway).workspace("service", "service")
            workspace.apply()
            assert workspace.output("status") == "Opened"


if __name__ == "__main__":
    main()
