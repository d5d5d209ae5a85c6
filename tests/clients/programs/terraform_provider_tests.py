"""The acceptance tests of the provider aliyun/alicloud that need KMS alone.

`PROVIDER_TESTS` names the program that holds them. Tests of secrets and those that buy something
are left out.
"""

import os
import re

from gateways import Gateway, has_own_network, name_loopback, scratch, try_run
from settings import variables
from steps import Skip, Steps

TESTS = (
    "TestAccAliCloudKmsKey_basic8855",
    "TestAccAliCloudKmsKey_basic8855_twin",
    "TestAccAliCloudKmsKey_basic8857",
    "TestAccAliCloudKmsKey_basic8857_twin",
    "TestAccAliCloudKmsKey_basic8858",
    "TestAccAliCloudKmsKey_basic8858_twin",
    "TestAccAlicloudKMSKeysDataSource",
    "TestAccAlicloudKMSKeyVersion_basic",
    "TestAccAlicloudKMSKeyVersionsDataSource",
    "TestAccAlicloudKMSAlias_basic",
    "TestAccAlicloudKMSAliasesDataSource",
    "TestAccAliCloudKmsNetworkRule_basic3872",
    "TestAccAliCloudKmsNetworkRule_basic3872_twin",
    "TestAccAliCloudKmsPolicy_basic3883",
    "TestAccAliCloudKmsPolicy_basic3883_twin",
    "TestAccAliCloudKmsApplicationAccessPoint_basic4108",
    "TestAccAliCloudKmsApplicationAccessPoint_basic4108_twin",
    "TestAccAliCloudKmsClientKey_basic4119",
    "TestAccAlicloudKMSCiphertext_basic",
    "TestAccAlicloudKMSCiphertext_validate",
    "TestAccAlicloudKMSCiphertext_validate_withContext",
    "TestAccAlicloudKMSCiphertextDataSource",
    "TestAccAlicloudKMSPlaintextDataSource",
)

# This one asks kms.REGION.aliyuncs.com, whatever the endpoint is.
AT_THE_CLOUDS_NAME = "TestAccAlicloudKMSServiceDataSource"
NAME = "kms.cn-hangzhou.aliyuncs.com"

# For one test; those of keys wait ten seconds at each change of a state.
SECONDS = 600


def main():
    program = os.path.abspath(os.environ["PROVIDER_TESTS"])
    steps = Steps("acceptance tests of Terraform's provider", version())
    with scratch("provider-tests") as directory:
        options = ("--tls", "--accept-non-base64-plaintext")
        with Gateway(*options) as gateway:
            for test in TESTS:
                with steps.step(step_name(test)):
                    passes(program, test, gateway, directory)
        with steps.step(step_name(AT_THE_CLOUDS_NAME)):
            if not has_own_network():
                raise Skip(f"needs a network namespace, for the name {NAME}")
            name_loopback(NAME)
            with Gateway(*options, listen="127.0.0.1:443", names=(NAME,)) as gateway:
                passes(program, AT_THE_CLOUDS_NAME, gateway, directory)
    steps.finish()


def passes(program, test: str, gateway: Gateway, directory):
    settings = variables("terraform/terraform.env", gateway)
    settings |= {"ALICLOUD_REGION": gateway.region, "ALIBABA_CLOUD_ENDPOINT_KMS": gateway.address}
    # One of the tests makes a version of a key that is given to it.
    settings |= {"TF_ACC": "1", "ALICLOUD_KMS_KEY_ID": gateway.dev["key_id"]}
    options = ["-test.v", f"-test.run=^{test}$", f"-test.timeout={SECONDS}s"]
    ended = try_run(program, *options, env=settings, cwd=directory, timeout=SECONDS + 30)
    if ended.returncode != 0 or f"--- PASS: {test}" not in ended.stdout:
        told = ended.stdout + ended.stderr
        found = re.search(rf"--- (FAIL|SKIP): {test}.*", told, re.DOTALL)
        raise AssertionError(found[0] if found else told[-1000:])


def step_name(test: str) -> str:
    return test.removeprefix("TestAcc").replace("_", "-").lower()


def version() -> str:
    """Of the provider, as its checkout says it."""
    source = os.environ.get("PROVIDER_SOURCE")
    if source:
        with open(f"{source}/alicloud/connectivity/client.go", encoding="utf-8") as file:
            found = re.search(r'[pP]roviderVersion = "([^"]+)"', file.read())
        if found:
            return found[1]
    return "of an unknown version"


if __name__ == "__main__":
    main()
