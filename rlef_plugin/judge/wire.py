"""The two wires of the judge as bytes.

Caller and server trust each other and speak marshal behind an 8-byte length. A jail is not trusted: what it sends is
packets of a bounded size, read field by field by `unpack`, and nothing of it is ever unmarshalled or evaluated. What
a program wrote does not come by this wire: the server reads it from the memory files that it made for the test."""

import asyncio
import marshal
import os
import struct
from dataclasses import dataclass
from typing import Any

HEADER = struct.Struct("<c6Q")
HEADER_BYTES = HEADER.size
KINDS = (b"R", b"C", b"I", b"T", b"M")
MAX_TEXT_BYTES = 16384  # behind a header: why a program does not compile
READ_BYTES = 1 << 20  # of a file at a time


class GarbledFrame(ValueError):
    """A jail sent what its runner never sends: a program has taken the runner over."""


@dataclass(slots=True)
class Frame:
    kind: bytes
    numbers: tuple[int, ...]
    text: bytes


def pack(message: Any) -> bytes:
    data = marshal.dumps(message)
    return len(data).to_bytes(8, "little") + data


async def read_message(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(8), "little")
    return marshal.loads(await reader.readexactly(size))


def unpack(packet: bytes) -> Frame:
    if len(packet) < HEADER_BYTES or packet[:1] not in KINDS:
        raise GarbledFrame(f"a packet of {len(packet)} bytes that begins with {packet[:1]!r}")
    kind, *numbers = HEADER.unpack_from(packet)
    return Frame(kind, tuple(numbers), packet[HEADER_BYTES : HEADER_BYTES + MAX_TEXT_BYTES])


def memory_file(name: str, content: bytes = b"") -> int:
    """A file in memory that cannot be sealed, at its start."""
    descriptor = os.memfd_create(name)
    written, view = 0, memoryview(content)
    while written < len(content):
        written += os.pwrite(descriptor, view[written:], written)
    return descriptor


def read_range(descriptor: int, size: int, start: int = 0) -> memoryview:
    """At most `size` bytes from `start` on. Not by a mapping: who shortens the file would end its reader."""
    data = memoryview(bytearray(size))
    done = 0
    while done < size and (read := os.preadv(descriptor, [data[done : done + READ_BYTES]], start + done)):
        done += read
    return data[:done]
