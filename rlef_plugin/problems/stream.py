"""One Arrow stream on disk that grows by whole batches, and the reading of single batches of it, mapped.

A stream is its schema, then batches, then eight bytes that end it; any Arrow reader takes it. What is written is
hashed as it is written. Nothing is flushed to the disk itself before `finish`: until then a crash of the machine (not
of the process) may lose or tear what was written, which the hash then shows.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlef_plugin.problems.layout import END_OF_STREAM

CHUNK_BYTES = 2**22


class StreamWriter:
    """Rows collect in memory until `flush` makes a batch of them, which starts at byte `size_bytes`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema, self.rows, self.text_bytes = schema, list[dict[str, Any]](), 0
        self.size_bytes, self._sha = 0, hashlib.sha256()
        self._file = path.open("r+b" if path.exists() else "w+b")

    def start(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size_bytes, self._sha = 0, hashlib.sha256()
        self._write(self.schema.serialize())

    def resume(self, bytes: int, sha256: str) -> bool:  # noqa: A002 - named as in `facts`
        """Go on after this many bytes; False if the file does not hold what was written then."""
        self._file.seek(0)
        while self.size_bytes < bytes and (chunk := self._file.read(min(CHUNK_BYTES, bytes - self.size_bytes))):
            self._sha.update(chunk)
            self.size_bytes += len(chunk)
        self._file.truncate(bytes)
        return self.facts() == {"bytes": bytes, "sha256": sha256}

    def facts(self) -> dict[str, Any]:
        return {"bytes": self.size_bytes, "sha256": self._sha.hexdigest()}

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.text_bytes += sum(map(_text_length, row.values()))

    def flush(self) -> None:
        if self.rows:
            self._write(pa.RecordBatch.from_pylist(self.rows, schema=self.schema).serialize())
            self.rows, self.text_bytes = [], 0

    def finish(self) -> None:
        self.flush()
        self._write(END_OF_STREAM)
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        self._file.close()

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._file.flush()  # so that it outlives this process
        self._sha.update(data)
        self.size_bytes += len(memoryview(data))


class MappedStream:
    """Batches by the byte at which they start. The file is mapped, not read, so processes share its pages; no threads
    of Arrow's own, so that a process may fork after opening."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.schema = schema
        self.data = pa.memory_map(path).read_buffer()

    def batch(self, at: int) -> pa.RecordBatch:
        message = pa.ipc.read_message(pa.BufferReader(self.data.slice(at)))
        return pa.ipc.read_record_batch(message, self.schema)


def _text_length(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_text_length, value))
    return len(value) if isinstance(value, str) else 0
