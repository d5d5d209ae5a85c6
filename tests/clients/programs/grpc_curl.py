"""Calls of gRPC over a Unix socket with curl, and the few parts of protobuf that they need."""

import pathlib
import struct
import subprocess
import tempfile
import urllib.parse

from gateways import environment


class Failed(Exception):
    """A call that was refused, with the text of its status."""


def ask(socket: pathlib.Path, method: str, message: bytes) -> bytes:
    """Calls a method, and gives the message of the answer."""
    with tempfile.TemporaryDirectory(prefix="grpc-") as directory:
        frame, headers = pathlib.Path(directory, "request"), pathlib.Path(directory, "headers")
        frame.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
        told = subprocess.run(
            ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "60"]
            + ["--unix-socket", str(socket), "--dump-header", str(headers)]
            + ["--header", "content-type: application/grpc", "--header", "te: trailers"]
            + ["--data-binary", f"@{frame}", f"http://localhost/{method}"],
            capture_output=True,
            env=environment(),
            check=True,
        ).stdout
        lines = (line.partition(": ") for line in headers.read_text().splitlines())
    ended = {name.lower(): value for name, _, value in lines}
    if ended.get("grpc-status") != "0":
        reason = urllib.parse.unquote(ended.get("grpc-message", "no message"))
        raise Failed(f"status {ended.get('grpc-status')}: {reason}")
    return told[5:]


def end(process: subprocess.Popen):
    """Ends a program that serves a socket."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def field(number: int, value: bytes) -> bytes:
    """A field of bytes in a protobuf message."""
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(number: int) -> bytes:
    low = []
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number])


def fields(message: bytes) -> dict[int, bytes]:
    """The fields of bytes of a protobuf message; of a repeated one, all in a row."""
    found = {}
    for number, value in each_field(message):
        if isinstance(value, bytes):
            found[number] = found.get(number, b"") + value
    return found


def each_field(message: bytes):
    """The fields of a protobuf message in their order: each its number and its bytes or integer."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value, at = read_varint(message, at)
        assert tag & 7 in (0, 2), "every field of these messages is bytes or an integer"
        if tag & 7 == 2:
            length, value = value, message[at : at + value]
            at += length
        yield tag >> 3, value


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            return value, at
