"""Key pairs, each held against `cryptography`: what one side makes, the other side must take."""

import base64
import functools
import hashlib
import os

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from clients import refused
from clients.pairs import new_pair, text
from test_crypto import decrypt, encrypt

# Large pairs take the token a second or two, and the Node SDKs wait for three.
SLOW = pytest.mark.only("python-new-acs3", "python-old")
SLOWEST = pytest.mark.only("python-new-acs3")
RSA = ["RSA_2048", pytest.param("RSA_3072", marks=SLOW), pytest.param("RSA_4096", marks=SLOWEST)]
RSA_SIGNATURES = ["RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256"]
EC = {"EC_P256": ec.SECP256R1, "EC_P256K": ec.SECP256K1}
OAEP = {"RSAES_OAEP_SHA_256": hashes.SHA256, "RSAES_OAEP_SHA_1": hashes.SHA1}

MESSAGE = b"attack at dawn"
DIGEST = hashlib.sha256(MESSAGE).digest()

SIGNING = [
    pytest.param(*spec.values, algorithm, marks=spec.marks)
    for spec in [spec if hasattr(spec, "values") else pytest.param(spec) for spec in RSA]
    for algorithm in RSA_SIGNATURES
] + [(spec, "ECDSA_SHA_256") for spec in EC]


@pytest.fixture(scope="module")
def pair(kms):
    """Gives the one pair of a spec and a usage that cases share which do not change it."""
    return functools.cache(functools.partial(new_pair, kms))


@pytest.fixture(scope="module")
def cipher(pair):
    return lambda spec="RSA_2048": pair(spec, "ENCRYPT/DECRYPT")


def public_half(kms, pair):
    return serialization.load_pem_public_key(kms.call("GetPublicKey", **pair)["PublicKey"].encode())


def oaep(algorithm):
    """The padding: one hash for label and mask, no label."""
    hash_ = OAEP[algorithm]()
    return padding.OAEP(padding.MGF1(hash_), hash_, None)


def longest(public, algorithm):
    """The most bytes that OAEP puts under an RSA key (RFC 8017, section 7.1.1)."""
    return public.key_size // 8 - 2 * OAEP[algorithm].digest_size - 2


def open_(kms, pair, algorithm, ciphertext):
    sent = {"Algorithm": algorithm, "CiphertextBlob": text(ciphertext)}
    return base64.b64decode(kms.call("AsymmetricDecrypt", **pair, **sent)["Plaintext"])


def sign(kms, pair, algorithm, digest=DIGEST):
    signed = kms.call("AsymmetricSign", **pair, Algorithm=algorithm, Digest=text(digest))
    assert (signed["KeyId"], signed["KeyVersionId"]) == (pair["KeyId"], pair["KeyVersionId"])
    return base64.b64decode(signed["Value"])


def verify(kms, pair, algorithm, signature, digest=DIGEST):
    """The gateway's verdict."""
    sent = {"Algorithm": algorithm, "Digest": text(digest), "Value": text(signature)}
    return kms.call("AsymmetricVerify", **pair, **sent)["Value"]


def is_good(public, algorithm, signature, digest=DIGEST):
    """The verdict of `cryptography`."""
    hash_ = utils.Prehashed(hashes.SHA256())
    ways = {
        "RSA_PSS_SHA_256": [padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32), hash_],
        "RSA_PKCS1_SHA_256": [padding.PKCS1v15(), hash_],
        "ECDSA_SHA_256": [ec.ECDSA(hash_)],
    }
    try:
        public.verify(signature, digest, *ways[algorithm])
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("spec", RSA)
def test_an_rsa_public_key_is_read_elsewhere(kms, pair, spec):
    public = public_half(kms, pair(spec))
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == int(spec.removeprefix("RSA_"))
    assert public.public_numbers().e == 65537


@pytest.mark.parametrize("spec", EC)
def test_an_ec_public_key_is_read_elsewhere(kms, pair, spec):
    public = public_half(kms, pair(spec))
    assert isinstance(public.curve, EC[spec])


def test_a_public_key_is_pem_and_named(kms, pair):
    answer = kms.call("GetPublicKey", **pair("EC_P256"))
    lines = answer["PublicKey"].splitlines()
    assert (lines[0], lines[-1]) == ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----")
    assert {name: answer[name] for name in ("KeyId", "KeyVersionId")} == pair("EC_P256")


def test_a_pair_goes_by_its_alias_too(kms, pair):
    named = new_pair(kms, "EC_P256")
    kms.call("CreateAlias", KeyId=named["KeyId"], AliasName=f"alias/sdk/{named['KeyId']}")
    by_alias = {**named, "KeyId": f"alias/sdk/{named['KeyId']}"}
    assert public_half(kms, by_alias) == public_half(kms, named)


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("spec", RSA)
def test_what_is_encrypted_elsewhere_decrypts_here(kms, cipher, spec, algorithm):
    public = public_half(kms, cipher(spec))
    for plaintext in (b"\0", MESSAGE, os.urandom(longest(public, algorithm))):
        ciphertext = public.encrypt(plaintext, oaep(algorithm))
        assert open_(kms, cipher(spec), algorithm, ciphertext) == plaintext


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("spec", RSA)
def test_what_is_encrypted_here_decrypts_here(kms, cipher, spec, algorithm):
    pair = cipher(spec)
    bytes_ = longest(public_half(kms, pair), algorithm)
    for plaintext in (MESSAGE, os.urandom(bytes_)):
        encrypted = kms.call(
            "AsymmetricEncrypt", **pair, Algorithm=algorithm, Plaintext=text(plaintext)
        )
        assert {name: encrypted[name] for name in pair} == pair
        blob = base64.b64decode(encrypted["CiphertextBlob"])
        assert len(blob) == int(spec.removeprefix("RSA_")) // 8
        assert open_(kms, pair, algorithm, blob) == plaintext
    with refused("InvalidParameter", 400) as refusal:
        too_long = text(os.urandom(bytes_ + 1))
        kms.call("AsymmetricEncrypt", **pair, Algorithm=algorithm, Plaintext=too_long)
    assert "Plaintext" in refusal.value.message


@pytest.mark.parametrize("algorithm", OAEP)
def test_what_does_not_open_is_refused_in_the_same_words(kms, cipher, algorithm):
    pair, other = cipher(), next(other for other in OAEP if other != algorithm)
    public = public_half(kms, pair)
    good = public.encrypt(MESSAGE, oaep(algorithm))
    modulus = public.public_numbers().n
    bad = {
        "altered": bytes([*good[:-1], good[-1] ^ 1]),
        "of the other hash": public.encrypt(MESSAGE, oaep(other)),
        "of mixed hashes": public.encrypt(
            MESSAGE, padding.OAEP(padding.MGF1(OAEP[other]()), OAEP[algorithm](), None)
        ),
        "with a label": public.encrypt(
            MESSAGE, padding.OAEP(padding.MGF1(OAEP[algorithm]()), OAEP[algorithm](), b"label")
        ),
        "of PKCS#1 v1.5": public.encrypt(MESSAGE, padding.PKCS1v15()),
        "zero": bytes(256),
        "one": bytes(255) + b"\1",
        "the modulus": modulus.to_bytes(256, "big"),
        "beyond the modulus": b"\xff" * 256,
        "too short": good[:-1],
        "too long": good + b"\0",
        "with a zero in front": b"\0" + good,
        "one byte": b"\1",
    }
    messages = set()
    for what, ciphertext in bad.items():
        with refused("InvalidParameter", 400) as refusal:
            open_(kms, pair, algorithm, ciphertext)
            pytest.fail(what)
        messages.add(refusal.value.message)
    assert len(messages) == 1
    assert open_(kms, pair, algorithm, good) == MESSAGE


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_a_signature_is_good_here_and_elsewhere(kms, pair, spec, algorithm):
    public, signature = public_half(kms, pair(spec)), sign(kms, pair(spec), algorithm)
    assert is_good(public, algorithm, signature)
    assert verify(kms, pair(spec), algorithm, signature) is True


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_another_signature_is_false_and_no_error(kms, pair, spec, algorithm):
    signature = sign(kms, pair(spec), algorithm)
    other = hashlib.sha256(b"another message").digest()
    assert verify(kms, pair(spec), algorithm, signature, digest=other) is False
    for at in (0, 5, len(signature) // 2, len(signature) - 1):
        altered = bytearray(signature)
        altered[at] ^= 1
        assert verify(kms, pair(spec), algorithm, altered) is False, at
    for garbage in (
        b"\0",
        b"garbage",
        bytes(64),
        bytes(len(signature)),
        b"\xff" * len(signature),
        signature[:-1],
        signature + b"\0",
        b"\0" + signature,
        bytes.fromhex("3006020100020100"),
        bytes.fromhex("3080020101020101"),
    ):
        assert verify(kms, pair(spec), algorithm, garbage) is False, garbage.hex()


def test_an_ecdsa_signature_is_der_and_only_der(kms, pair):
    signature = sign(kms, pair("EC_P256"), "ECDSA_SHA_256")
    r, s = utils.decode_dss_signature(signature)
    side_by_side = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert verify(kms, pair("EC_P256"), "ECDSA_SHA_256", side_by_side) is False


def test_the_ways_to_sign_with_rsa_are_not_mixed_up(kms, pair):
    for one, other in (RSA_SIGNATURES, reversed(RSA_SIGNATURES)):
        signature = sign(kms, pair("RSA_2048"), one)
        assert verify(kms, pair("RSA_2048"), other, signature) is False


@pytest.mark.parametrize("size", [1, 20, 31, 33, 48, 64])
@pytest.mark.parametrize("action", ["AsymmetricSign", "AsymmetricVerify"])
def test_a_digest_of_another_length_is_refused_by_name(kms, pair, action, size):
    more = {"Value": text(bytes(70))} if action == "AsymmetricVerify" else {}
    sent = {"Algorithm": "ECDSA_SHA_256", "Digest": text(bytes(size)), **more}
    with refused("InvalidParameter", 400) as refusal:
        kms.call(action, **pair("EC_P256"), **sent)
    assert "Digest" in refusal.value.message


def calls(pair, signing, opening, blob=bytes(256)):
    """Every operation on a key pair, in a call that is right for an RSA pair of the right usage."""
    signed = {**pair, "Algorithm": signing, "Digest": text(DIGEST)}
    return {
        "AsymmetricSign": signed,
        "AsymmetricVerify": {**signed, "Value": text(bytes(256))},
        "AsymmetricEncrypt": {**pair, "Algorithm": opening, "Plaintext": text(MESSAGE)},
        "AsymmetricDecrypt": {**pair, "Algorithm": opening, "CiphertextBlob": text(blob)},
    }


@pytest.mark.parametrize(
    ("spec", "usage", "signing", "opening"),
    [
        ("RSA_2048", "ENCRYPT/DECRYPT", "RSA_PSS_SHA_256", "SM2PKE"),
        ("RSA_2048", "SIGN/VERIFY", "ECDSA_SHA_256", "RSAES_OAEP_SHA_256"),
        ("RSA_2048", "SIGN/VERIFY", "SM2DSA", "RSAES_OAEP_SHA_1"),
        ("EC_P256", "SIGN/VERIFY", "RSA_PSS_SHA_256", "RSAES_OAEP_SHA_256"),
        ("EC_P256K", "SIGN/VERIFY", "RSA_PKCS1_SHA_256", "RSAES_OAEP_SHA_256"),
        ("EC_P256", "SIGN/VERIFY", "SM2DSA", "SM2PKE"),
    ],
)
def test_another_usage_or_algorithm_is_refused(kms, pair, spec, usage, signing, opening):
    for action, parameters in calls(pair(spec, usage), signing, opening).items():
        with refused("Rejected.UnsupportedOperation", 400):
            kms.call(action, **parameters)


def test_a_symmetric_key_is_no_pair(kms, key):
    version = kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["PrimaryKeyVersion"]
    named = {"KeyId": key, "KeyVersionId": version}
    for action, parameters in calls(named, "RSA_PSS_SHA_256", "RSAES_OAEP_SHA_256").items():
        with refused("Rejected.UnsupportedOperation", 400):
            kms.call(action, **parameters)
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("GetPublicKey", **named)


@pytest.mark.parametrize("action", ["Encrypt", "GenerateDataKey"])
def test_a_pair_is_no_symmetric_key(kms, cipher, action):
    plaintext = {"Plaintext": text(MESSAGE)} if action == "Encrypt" else {}
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call(action, KeyId=cipher()["KeyId"], **plaintext)


def test_an_algorithm_that_nobody_knows_is_refused_by_name(kms, pair):
    for action, parameters in calls(pair("RSA_2048"), "RSA_PSS_SHA_512", "RSAES_PKCS1_V1_5").items():
        with refused("InvalidParameter", 400) as refusal:
            kms.call(action, **parameters)
        assert "Algorithm" in refusal.value.message


def test_a_version_of_another_key_is_not_found(kms, pair, cipher):
    stray = {"KeyVersionId": pair("EC_P256K")["KeyVersionId"]}
    signing = calls({**pair("RSA_2048"), **stray}, "RSA_PSS_SHA_256", "")
    opening = calls({**cipher(), **stray}, "", "RSAES_OAEP_SHA_256")
    for asked in (signing, opening):
        for action, parameters in asked.items():
            if parameters["Algorithm"]:
                with refused("Forbidden.KeyVersionNotFound", 404):
                    kms.call(action, **parameters)
    with refused("Forbidden.KeyVersionNotFound", 404):
        kms.call("GetPublicKey", **{**pair("EC_P256"), **stray})


def test_each_version_is_a_pair_of_its_own(kms):
    old = new_pair(kms, "EC_P256")
    created = kms.call("CreateKeyVersion", KeyId=old["KeyId"])["KeyVersion"]["KeyVersionId"]
    new = {**old, "KeyVersionId": created}
    assert public_half(kms, new) != public_half(kms, old)
    for signer, other in ((old, new), (new, old)):
        signature = sign(kms, signer, "ECDSA_SHA_256")
        assert is_good(public_half(kms, signer), "ECDSA_SHA_256", signature)
        assert verify(kms, signer, "ECDSA_SHA_256", signature) is True
        assert verify(kms, other, "ECDSA_SHA_256", signature) is False


@pytest.mark.needs("DryRun")
def test_a_dry_run_checks_and_does_nothing(kms, pair, cipher):
    blob = public_half(kms, cipher()).encrypt(MESSAGE, oaep("RSAES_OAEP_SHA_256"))
    signing = calls(pair("RSA_2048"), "RSA_PSS_SHA_256", "")
    opening = calls(cipher(), "", "RSAES_OAEP_SHA_256", blob)
    for asked in (signing, opening):
        for action, parameters in asked.items():
            if parameters["Algorithm"]:
                with refused("DryRunOperationError", 400):
                    kms.call(action, DryRun="true", **parameters)
    with refused("DryRunOperationError", 400):
        kms.call("GetPublicKey", DryRun="true", **cipher())
    with refused("ValidationError", 400):
        too_long = text(bytes(191))
        sent = {"Algorithm": "RSAES_OAEP_SHA_256", "Plaintext": too_long, "DryRun": "true"}
        kms.call("AsymmetricEncrypt", **cipher(), **sent)


def expect_no_use(kms, signer, opener, code):
    signing = calls(signer, "ECDSA_SHA_256", "")
    opening = calls(opener, "", "RSAES_OAEP_SHA_256")
    for asked in (signing, opening):
        for action, parameters in asked.items():
            if parameters["Algorithm"]:
                with refused(code, 409):
                    kms.call(action, **parameters)


def test_a_pair_that_is_not_enabled_is_of_no_use(kms):
    signer, opener = new_pair(kms, "EC_P256"), new_pair(kms, "RSA_2048", "ENCRYPT/DECRYPT")
    public = public_half(kms, signer)
    for pair in (signer, opener):
        kms.call("DisableKey", KeyId=pair["KeyId"])
    expect_no_use(kms, signer, opener, "Rejected.Disabled")
    assert public_half(kms, signer) == public
    for pair in (signer, opener):
        kms.call("ScheduleKeyDeletion", KeyId=pair["KeyId"], PendingWindowInDays=7)
    expect_no_use(kms, signer, opener, "Rejected.PendingDeletion")
    with refused("Rejected.PendingDeletion", 409):
        kms.call("GetPublicKey", **signer)
    kms.call("CancelKeyDeletion", KeyId=signer["KeyId"])
    assert is_good(public, "ECDSA_SHA_256", sign(kms, signer, "ECDSA_SHA_256"))


@pytest.mark.needs("ReEncrypt")
@pytest.mark.parametrize("algorithm", OAEP)
def test_reencrypt_takes_what_was_encrypted_to_a_pair(kms, cipher, key, algorithm):
    pair = cipher()
    source = {
        "SourceKeyId": pair["KeyId"],
        "SourceKeyVersionId": pair["KeyVersionId"],
        "SourceEncryptionAlgorithm": algorithm,
    }
    block = text(public_half(kms, pair).encrypt(MESSAGE, oaep(algorithm)))
    context = {"moved": "from a pair"}
    moved = kms.call(
        "ReEncrypt",
        CiphertextBlob=block,
        DestinationKeyId=key,
        DestinationEncryptionContext=context,
        **source,
    )
    assert {name: moved[name] for name in pair} == pair
    decrypted = decrypt(kms, moved["CiphertextBlob"], context)
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (text(MESSAGE), key)
    for blob in (encrypt(kms, key)["CiphertextBlob"], text(bytes(256))):
        with refused("InvalidParameter", 400):
            kms.call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key, **source)
    with refused("Rejected.UnsupportedOperation", 400):
        kms.call("ReEncrypt", CiphertextBlob=block, DestinationKeyId=pair["KeyId"], **source)
