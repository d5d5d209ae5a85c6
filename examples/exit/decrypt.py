"""Decrypts a ciphertext with the token and its PIN alone: without gateway, without database.

    pip install PyKCS11==1.5.20
    python3 decrypt.py --module /usr/lib/softhsm/libsofthsm2.so --token hsmgate --pin-file pin < blob

The layout of the ciphertext is that of docs/ciphertext.md. The key is the object whose CKA_ID is the key version id
with which the ciphertext begins. The result is the plaintext that an application had sent, decoded from Base64.
"""

import argparse
import base64
import hashlib
import json
import struct
import sys
import uuid

import PyKCS11

VERSION_ID_BYTES = 36
TAG_BITS = 128


def additional_data(context):
    """The additional authenticated data of an encryption context; none without pairs."""
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    if not pairs:
        return b""
    if any(set(name) & set(b"=&\0") or b"&" in value for name, value in pairs):
        form = b"\0" + struct.pack(">Q", len(pairs))
        for name, value in pairs:
            form += struct.pack(">Q", len(name)) + name + struct.pack(">Q", len(value)) + value
    else:
        form = b"&".join(name + b"=" + value for name, value in pairs)
    return hashlib.sha256(form).digest()


def log_in(module, label, pin):
    """A session of the token with this label."""
    library = PyKCS11.PyKCS11Lib()
    library.load(module)
    for slot in library.getSlotList(tokenPresent=True):
        if library.getTokenInfo(slot).label.strip() == label:
            session = library.openSession(slot)
            session.login(pin)
            return session
    sys.exit(f"no token has the label {label}")


def decrypt(session, blob, context):
    """The plaintext of a ciphertext."""
    version = uuid.UUID(blob[:VERSION_ID_BYTES].decode())
    template = [(PyKCS11.CKA_CLASS, PyKCS11.CKO_SECRET_KEY), (PyKCS11.CKA_ID, version.bytes)]
    keys = session.findObjects(template)
    if len(keys) != 1:
        sys.exit(f"{len(keys)} keys in the token have the id {version}")
    label = session.getAttributeValue(keys[0], [PyKCS11.CKA_LABEL])[0]
    end_of_iv = VERSION_ID_BYTES + (16 if label.endswith("/iv16") else 12)
    iv, encrypted = blob[VERSION_ID_BYTES:end_of_iv], blob[end_of_iv:]
    mechanism = PyKCS11.AES_GCM_Mechanism(iv, additional_data(context), TAG_BITS)
    return base64.b64decode(bytes(session.decrypt(keys[0], encrypted, mechanism)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", required=True, help="the PKCS#11 module of the token")
    parser.add_argument("--token", required=True, help="the label of the token")
    parser.add_argument("--pin-file", required=True, help="a file with the user PIN")
    parser.add_argument("--context", default="{}", help="the encryption context, as JSON")
    arguments = parser.parse_args()
    with open(arguments.pin_file, encoding="utf-8") as file:
        pin = file.read().strip()
    session = log_in(arguments.module, arguments.token, pin)
    blob = base64.b64decode(sys.stdin.read())
    sys.stdout.buffer.write(decrypt(session, blob, json.loads(arguments.context)))


main()
