"""The two wires of the judge as bytes.

Caller and server trust each other and speak marshal behind an 8-byte length. A jail is not trusted: what it sends is
read by `read_frame`, field by field and bounded, and nothing of it is ever unmarshalled or evaluated."""

import asyncio
import marshal
import struct
from dataclasses import dataclass
from typing import Any

HEADER = struct.Struct("<c9Q")
HEADER_BYTES = HEADER.size
KINDS = (b"R", b"C", b"I", b"T", b"S", b"M")
MAX_ERROR_BYTES = 16384
MAX_OVERSIZED_BYTES = 65536


class GarbledFrame(ValueError):
    """A jail sent what its runner never sends: a program has taken the runner over."""


@dataclass(slots=True)
class Frame:
    kind: bytes
    numbers: list[int]
    output: bytes
    error: bytes


def pack(message: Any) -> bytes:
    data = marshal.dumps(message)
    return len(data).to_bytes(8, "little") + data


async def read_message(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(8), "little")
    return marshal.loads(await reader.readexactly(size))


async def read_frame(reader: asyncio.StreamReader, output_limit: int) -> Frame:
    header = await reader.readexactly(HEADER_BYTES)
    kind, *numbers, output_size, error_size = HEADER.unpack(header)
    if kind not in KINDS or output_size > max(output_limit, MAX_OVERSIZED_BYTES) or error_size > MAX_ERROR_BYTES:
        raise GarbledFrame(f"kind {kind!r}, output of {output_size} bytes, error of {error_size} bytes")
    output = await reader.readexactly(output_size) if output_size else b""
    error = await reader.readexactly(error_size) if error_size else b""
    return Frame(kind, numbers, output, error)
