"""Key pairs, as the API names them."""

import base64


def text(data):
    """Bytes as the API takes them."""
    return base64.b64encode(data).decode()


def new_pair(kms, spec, usage="SIGN/VERIFY"):
    """A new key pair, as the parameters that name it and its version."""
    key = kms.call("CreateKey", KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    versions = kms.call("ListKeyVersions", KeyId=key)["KeyVersions"]["KeyVersion"]
    return {"KeyId": key, "KeyVersionId": versions[0]["KeyVersionId"]}
