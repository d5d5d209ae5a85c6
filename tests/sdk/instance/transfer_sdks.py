"""The transfer SDKs: the public API's calls on top of an instance, in the names of the public API."""

from alibabacloud_dkms_transfer.kms_transfer_acs_client import KmsTransferAcsClient
from alibabacloud_kms_kms20160120.models import KmsConfig
from alibabacloud_kms_kms20160120.transfer_client import TransferClient

from clients.python_new import NewPython
from clients.python_old import OldPython
from instance_sdks import config, refusals


class DkmsTransfer(OldPython):
    """`alibabacloud-dkms-transfer-python`, which uses the plain calls."""

    def __init__(self, gateway, client_key):
        self._instance = config(
            gateway, client_key_file=client_key.file, password=client_key.password
        )
        super().__init__(gateway)

    def _connect(self, *access_key, **options):
        return KmsTransferAcsClient(self._instance, *access_key, **options)


class KmsTransfer(NewPython):
    """The `TransferClient` of `alibabacloud-kms-python-sdk`, which uses the `Advance` calls."""

    is_low_version = False

    def __init__(self, gateway, client_key):
        self._instance = config(
            gateway,
            KmsConfig,
            client_key_file=client_key.file,
            password=client_key.password,
            force_low_version_crypto_transfer=self.is_low_version,
        )
        super().__init__(gateway)

    def _connect(self, public):
        return TransferClient(config=public, kms_config=self._instance)

    def _send(self, method, requests):
        with refusals():
            return super()._send(method, requests)


class KmsTransferLowVersion(KmsTransfer):
    """The same with its switch for the plain calls."""

    is_low_version = True


TRANSFER_SDKS = {
    "dkms-transfer": DkmsTransfer,
    "kms-transfer": KmsTransfer,
    "kms-transfer-low-version": KmsTransferLowVersion,
}
