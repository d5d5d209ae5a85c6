"""Key material from outside: wrapped by `cryptography`, and the same key on both sides of a blob."""

import base64
import datetime
import hashlib
import os
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clients import refused
from test_asymmetric import oaep, text
from test_crypto import PLAINTEXT, decrypt, encrypt
from test_states import metadata

WRAPPINGS = {
    "RSAES_PKCS1_V1_5": padding.PKCS1v15(),
    "RSAES_OAEP_SHA_1": oaep("RSAES_OAEP_SHA_1"),
}
# No sign that would make the joined form ambiguous.
CONTEXT = {"tenant": "blue", "город": "杭州", "a": ""}
VERSION_BYTES, IV_BYTES = 36, 12


def new_external_key(kms):
    return kms.call("CreateKey", Origin="EXTERNAL")["KeyMetadata"]["KeyId"]


@pytest.fixture
def external(kms):
    """The id of a key that waits for its material."""
    return new_external_key(kms)


@pytest.fixture
def material():
    return os.urandom(32)


class Import:
    """One answer to GetParametersForImport."""

    def __init__(self, kms, key, wrapping="RSAES_OAEP_SHA_1"):
        self.kms, self.key, self.wrapping = kms, key, wrapping
        self.parameters = kms.call(
            "GetParametersForImport",
            KeyId=key,
            WrappingAlgorithm=wrapping,
            WrappingKeySpec="RSA_2048",
        )

    @property
    def public(self):
        return serialization.load_der_public_key(base64.b64decode(self.parameters["PublicKey"]))

    def wrap(self, material):
        return self.public.encrypt(material, WRAPPINGS[self.wrapping])

    def send(self, wrapped, expires=0, **changes):
        request = {
            "KeyId": self.key,
            "EncryptedKeyMaterial": text(wrapped),
            "ImportToken": self.parameters["ImportToken"],
            "KeyMaterialExpireUnix": expires,
        }
        self.kms.call("ImportKeyMaterial", **{**request, **changes})


def bring_in(kms, key, material, wrapping="RSAES_OAEP_SHA_1", expires=0):
    parameters = Import(kms, key, wrapping)
    parameters.send(parameters.wrap(material), expires)


def aad(context):
    """What the published layout authenticates beside the text."""
    if not context:
        return None
    return hashlib.sha256("&".join(sorted(f"{n}={v}" for n, v in context.items())).encode()).digest()


def compose(version, material, context=None, iv=None, encrypted=PLAINTEXT.encode()):
    """A blob made here, in the published layout. What is encrypted is the Base64 text."""
    iv = iv or os.urandom(IV_BYTES)
    return version.encode() + iv + AESGCM(material).encrypt(iv, encrypted, aad(context))


def take_apart(blob, material, context=None):
    """The version and the text of a blob of the gateway's."""
    blob = base64.b64decode(blob)
    iv, encrypted = blob[VERSION_BYTES:][:IV_BYTES], blob[VERSION_BYTES + IV_BYTES :]
    decrypted = AESGCM(material).decrypt(iv, encrypted, aad(context))
    return blob[:VERSION_BYTES].decode(), decrypted.decode()


def state(kms, key):
    return metadata(kms, key)["KeyState"]


def test_a_key_waits_for_its_material(kms, external):
    described = metadata(kms, external)
    assert (described["Origin"], described["KeyState"]) == ("EXTERNAL", "PendingImport")
    with refused("Rejected.PendingImport", 409):
        encrypt(kms, external)
    with refused("Rejected.PendingImport", 409):
        kms.call("GenerateDataKey", KeyId=external)


def test_the_parameters_are_a_key_a_token_and_a_day(kms, external):
    one, two = Import(kms, external), Import(kms, external)
    assert isinstance(one.public, rsa.RSAPublicKey)
    assert one.public.key_size == 2048
    assert one.parameters["KeyId"] == external
    expires = datetime.datetime.fromisoformat(
        one.parameters["TokenExpireTime"].replace("Z", "+00:00")
    )
    away = expires - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(hours=23, minutes=59) < away <= datetime.timedelta(hours=24)
    assert one.public != two.public
    assert one.parameters["ImportToken"] != two.parameters["ImportToken"]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_imported_material_is_the_key_here_and_elsewhere(kms, external, material, wrapping):
    bring_in(kms, external, material, wrapping)
    described = metadata(kms, external)
    assert (described["KeyState"], described["MaterialExpireTime"]) == ("Enabled", "")
    version = described["PrimaryKeyVersion"]
    for context in (None, CONTEXT):
        encrypted = encrypt(kms, external, context)
        assert encrypted["KeyVersionId"] == version
        assert decrypt(kms, encrypted["CiphertextBlob"], context)["Plaintext"] == PLAINTEXT
        assert take_apart(encrypted["CiphertextBlob"], material, context) == (version, PLAINTEXT)
        blob = text(compose(version, material, context))
        decrypted = decrypt(kms, blob, context)
        assert (decrypted["Plaintext"], decrypted["KeyVersionId"]) == (PLAINTEXT, version)
        data_key = kms.call("GenerateDataKey", KeyId=external, EncryptionContext=context)
        _, decrypted = take_apart(data_key["CiphertextBlob"], material, context)
        assert decrypted == data_key["Plaintext"]


def test_a_composed_blob_with_anything_changed_is_refused_in_the_same_words(
    kms, external, material
):
    bring_in(kms, external, material)
    version = metadata(kms, external)["PrimaryKeyVersion"]
    good = compose(version, material, CONTEXT)
    bad = [bytes([*good[:at], good[at] ^ 1, *good[at + 1 :]]) for at in (36, 47, 48, -17, -16, -1)]
    bad = [blob[: len(good)] for blob in bad] + [good[:-1], good + b"\0", good[: 36 + 12 + 16]]
    bad += [compose(version, os.urandom(32), CONTEXT), compose(version, material)]
    messages = set()
    for blob in bad:
        with refused("InvalidParameter", 400) as refusal:
            decrypt(kms, text(blob), CONTEXT)
        messages.add(refusal.value.message)
    assert len(messages) == 1
    assert decrypt(kms, text(good), CONTEXT)["Plaintext"] == PLAINTEXT


def test_deleted_material_comes_back_and_old_ciphertexts_with_it(kms, external, material):
    bring_in(kms, external, material)
    version = metadata(kms, external)["PrimaryKeyVersion"]
    blob = encrypt(kms, external)["CiphertextBlob"]
    kms.call("DeleteKeyMaterial", KeyId=external)
    assert state(kms, external) == "PendingImport"
    with refused("Rejected.PendingImport", 409):
        decrypt(kms, blob)
    with refused("Rejected.PendingImport", 409):
        encrypt(kms, external)
    with refused("Rejected.StateModifiedFailed", 409):
        kms.call("DisableKey", KeyId=external)
    kms.call("DeleteKeyMaterial", KeyId=external)
    with refused("InvalidKeyMaterial", 400):
        bring_in(kms, external, os.urandom(32))
    assert state(kms, external) == "PendingImport"
    bring_in(kms, external, material, "RSAES_PKCS1_V1_5")
    assert state(kms, external) == "Enabled"
    assert metadata(kms, external)["PrimaryKeyVersion"] == version
    assert decrypt(kms, blob)["Plaintext"] == PLAINTEXT
    assert take_apart(encrypt(kms, external)["CiphertextBlob"], material) == (version, PLAINTEXT)


def test_other_material_is_refused_and_changes_nothing(kms, external, material):
    bring_in(kms, external, material)
    before, blob = metadata(kms, external), encrypt(kms, external)["CiphertextBlob"]
    with refused("InvalidKeyMaterial", 400):
        bring_in(kms, external, os.urandom(32))
    assert metadata(kms, external) == before
    versions = kms.call("ListKeyVersions", KeyId=external)
    assert versions["TotalCount"] == 1
    assert decrypt(kms, blob)["Plaintext"] == PLAINTEXT


def test_the_same_material_again_changes_the_date(kms, external, material):
    date = int(time.time()) + 3600
    bring_in(kms, external, material, expires=date)
    shown = datetime.datetime.fromtimestamp(date, datetime.timezone.utc)
    described = metadata(kms, external)
    assert described["MaterialExpireTime"] == shown.strftime("%Y-%m-%dT%H:%M:%SZ")
    blob = encrypt(kms, external)["CiphertextBlob"]
    bring_in(kms, external, material)
    assert metadata(kms, external) == {**described, "MaterialExpireTime": ""}
    assert decrypt(kms, blob)["Plaintext"] == PLAINTEXT


def test_a_token_may_be_used_again_within_its_day(kms, external, material):
    parameters = Import(kms, external)
    parameters.send(parameters.wrap(material))
    kms.call("DeleteKeyMaterial", KeyId=external)
    parameters.send(parameters.wrap(material))
    assert state(kms, external) == "Enabled"


def test_two_keys_with_the_same_material_do_not_open_each_others_blobs(kms, external, material):
    other = new_external_key(kms)
    for key in (external, other):
        bring_in(kms, key, material)
    decrypted = decrypt(kms, encrypt(kms, other)["CiphertextBlob"])
    assert decrypted["KeyId"] == other


@pytest.mark.parametrize("size", [1, 16, 24, 31, 33, 48, 64])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_material_of_another_length_is_refused(kms, imports, wrapping, size):
    parameters = imports(wrapping)
    with refused("InvalidKeyMaterial", 400):
        parameters.send(parameters.wrap(os.urandom(size)))
    assert state(kms, parameters.key) == "PendingImport"


@pytest.fixture(scope="module")
def imports(kms):
    """Gives import parameters of one key that never gets its material."""
    made = {}

    def imports(wrapping):
        if wrapping not in made:
            made[wrapping] = Import(kms, new_external_key(kms), wrapping)
        return made[wrapping]

    return imports


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_does_not_unwrap_is_refused_in_the_same_words(kms, imports, wrapping):
    parameters = imports(wrapping)
    good = parameters.wrap(os.urandom(32))
    other = next(other for other in WRAPPINGS if other != wrapping)
    bad = {
        "altered": bytes([*good[:-1], good[-1] ^ 1]),
        "wrapped in another way": parameters.public.encrypt(os.urandom(32), WRAPPINGS[other]),
        "wrapped with SHA-256": parameters.public.encrypt(
            os.urandom(32), oaep("RSAES_OAEP_SHA_256")
        ),
        "of another key": rsa.generate_private_key(65537, 2048)
        .public_key()
        .encrypt(os.urandom(32), WRAPPINGS[wrapping]),
        "of another length": parameters.wrap(os.urandom(16)),
        "zero": bytes(256),
        "one": bytes(255) + b"\1",
        "beyond the modulus": b"\xff" * 256,
        "too short": good[:-1],
        "too long": good + b"\0",
        "not wrapped": os.urandom(32),
    }
    messages = set()
    for what, wrapped in bad.items():
        with refused("InvalidKeyMaterial", 400) as refusal:
            parameters.send(wrapped)
            pytest.fail(what)
        messages.add(refusal.value.message)
    assert len(messages) == 1
    assert state(kms, parameters.key) == "PendingImport"


def test_a_token_of_another_key_is_refused(kms, external, material):
    foreign = Import(kms, new_external_key(kms))
    with refused("InvalidImportToken", 400):
        foreign.send(foreign.wrap(material), KeyId=external)
    assert state(kms, external) == "PendingImport"


def token(text_):
    return base64.b64encode(text_.encode()).decode()


@pytest.mark.parametrize(
    "garbage",
    ["garbage", token("garbage"), token("x.1"), token(f"{os.urandom(4).hex()}-0000.9999999999")],
)
def test_a_token_that_is_none_is_refused(kms, imports, garbage):
    parameters = imports("RSAES_OAEP_SHA_1")
    with refused("InvalidImportToken", 400):
        parameters.send(parameters.wrap(os.urandom(32)), ImportToken=garbage)


def test_a_token_and_a_wrapping_key_belong_together(kms, external, material):
    one, two = Import(kms, external), Import(kms, new_external_key(kms))
    with refused("InvalidKeyMaterial", 400):
        one.send(two.wrap(material))
    one.send(one.wrap(material))


def test_new_parameters_replace_those_of_the_same_algorithm(kms, external, material):
    old, other = Import(kms, external), Import(kms, external, "RSAES_PKCS1_V1_5")
    new = Import(kms, external)
    with refused("InvalidImportToken", 400):
        old.send(old.wrap(material))
    new.send(new.wrap(material))
    other.send(other.wrap(material))


@pytest.mark.parametrize("date", [1, "past", -1])
def test_a_date_in_the_past_is_refused_by_name(kms, imports, date):
    parameters = imports("RSAES_OAEP_SHA_1")
    date = int(time.time()) - 1 if date == "past" else date
    with refused("InvalidParameter", 400) as refusal:
        parameters.send(parameters.wrap(os.urandom(32)), expires=date)
    assert "KeyMaterialExpireUnix" in refusal.value.message


def test_a_key_of_the_tokens_own_takes_no_material(kms, key, imports):
    with refused("Unsupported.Origin", 400):
        Import(kms, key)
    with refused("Unsupported.Origin", 400):
        parameters = imports("RSAES_OAEP_SHA_1")
        parameters.send(parameters.wrap(os.urandom(32)), KeyId=key)
    with refused("Unsupported.Origin", 400):
        kms.call("DeleteKeyMaterial", KeyId=key)


@pytest.mark.parametrize(
    ("wrapping", "spec"),
    # SoftHSM2 unwraps OAEP with SHA-1 only; material that is unwrapped outside would be seen there.
    [("RSAES_OAEP_SHA_256", "RSA_2048"), ("SM2PKE", "EC_SM2")],
)
def test_what_the_token_cannot_unwrap_is_not_supported(kms, external, wrapping, spec):
    with refused("UnsupportedOperation", 400):
        kms.call(
            "GetParametersForImport",
            KeyId=external,
            WrappingAlgorithm=wrapping,
            WrappingKeySpec=spec,
        )


@pytest.mark.parametrize(
    ("wrapping", "spec", "name"),
    [
        ("RSAES_OAEP_SHA_1", "RSA_4096", "WrappingKeySpec"),
        ("RSAES_OAEP_SHA_512", "RSA_2048", "WrappingAlgorithm"),
        ("SM2PKE", "RSA_2048", "WrappingAlgorithm"),
        ("RSAES_OAEP_SHA_1", "EC_SM2", "WrappingAlgorithm"),
    ],
)
def test_a_way_to_wrap_that_is_none_is_refused_by_name(kms, external, wrapping, spec, name):
    with refused("InvalidParameter", 400) as refusal:
        kms.call(
            "GetParametersForImport",
            KeyId=external,
            WrappingAlgorithm=wrapping,
            WrappingKeySpec=spec,
        )
    assert name in refusal.value.message


def test_an_imported_key_has_one_version(kms, external, material):
    bring_in(kms, external, material)
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("CreateKeyVersion", KeyId=external)


def test_a_disabled_key_stays_disabled_under_its_own_material(kms, external, material):
    bring_in(kms, external, material)
    kms.call("DisableKey", KeyId=external)
    bring_in(kms, external, material)
    assert state(kms, external) == "Disabled"
    kms.call("DeleteKeyMaterial", KeyId=external)
    assert state(kms, external) == "PendingImport"


def test_a_key_pending_deletion_takes_no_material_and_gives_its_own(kms, external, material):
    bring_in(kms, external, material)
    kms.call("ScheduleKeyDeletion", KeyId=external, PendingWindowInDays=7)
    parameters = Import(kms, external)
    with refused("Rejected.StateModifiedFailed", 409):
        parameters.send(parameters.wrap(material))
    kms.call("DeleteKeyMaterial", KeyId=external)
    assert state(kms, external) == "PendingDeletion"
    kms.call("CancelKeyDeletion", KeyId=external)
    assert state(kms, external) == "PendingImport"
    parameters.send(parameters.wrap(material))
    assert state(kms, external) == "Enabled"
