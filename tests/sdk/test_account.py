"""The account, and the gateway as a KMS instance."""

import pytest

from clients import refused


@pytest.mark.needs("DescribeAccountKmsStatus")
def test_the_service_is_open(kms):
    assert kms.call("DescribeAccountKmsStatus")["AccountStatus"] == "Enabled"
    with refused("Forbidden.Opened", 400):
        kms.call("OpenKmsService")


@pytest.mark.needs("GetKmsInstance")
def test_the_gateway_is_the_one_instance(kms, gateway):
    listed = kms.call("ListKmsInstances")
    (row,) = listed["KmsInstances"]["KmsInstance"]
    instance = row["KmsInstanceId"]
    assert row["KmsInstanceArn"] == gateway.arn(f"keystore/{instance}")
    assert listed["TotalCount"] == 1
    described = kms.call("GetKmsInstance", KmsInstanceId=instance)["KmsInstance"]
    assert (described["InstanceId"], described["Status"]) == (instance, "Connected")
    made = kms.call("CreateKey", DKMSInstanceId=instance)["KeyMetadata"]
    assert made["DKMSInstanceId"] == instance
    with refused("Forbidden.DKMSInstanceNotFound", 403):
        kms.call("CreateKey", DKMSInstanceId="kst-hzz62f1cb66fa42qo1234")


@pytest.mark.needs("GetDefaultKmsInstance")
def test_the_default_instance_and_its_quotas_are_told(kms):
    instance = kms.call("GetDefaultKmsInstance")["DefaultKmsInstanceId"]
    quotas = kms.call("GetKmsInstanceQuotaInfos", KmsInstanceId=instance, ResourceType="key")
    assert quotas["KmsInstanceId"] == instance
    assert [quota["ResourceType"] for quota in quotas["KmsInstanceQuotaInfos"]] == ["key"]
