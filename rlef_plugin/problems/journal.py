"""What a build has done so far, one JSON object a line, so that a build that was killed can go on.

The first line holds the key: what is built from what. Then one line for each row of the source, in its order, and at
times a checkpoint, which says that all rows before it are written in full. Lines after the last checkpoint, and a
last line that is torn, are work to be done again. The journal also is the lock: one process builds a store.
"""

import json
from pathlib import Path
from typing import Any

from rlef_plugin import file_lock
from rlef_plugin.problems.errors import StoreError


class Journal:
    """Opened, locked, and read; `rows` are those of an earlier run with the same key, `checkpoint` is the last."""

    def __init__(self, path: Path, key: str | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.checkpoint: dict[str, Any] | None = None
        self._waiting: list[str] = []
        self._file = path.open("a+b")
        taken = StoreError(f"another process is building in {path.parent}: wait until it has ended")
        file_lock.hold(self._file, taken, "build on another one and copy the store")
        self._key = key
        self._file.seek(0)
        header = _parse(self._file.readline())
        if key is not None and header == {"key": key}:
            self._file.truncate(self._read())
        else:
            self.restart()

    def restart(self) -> None:
        """Forget what an earlier run has done."""
        self.rows, self.checkpoint = [], None
        self._file.truncate(0)
        self._file.write(_line({"key": self._key}))

    def note(self, row: dict[str, Any]) -> None:
        """Of the next row; kept in memory until the checkpoint that makes it count."""
        self._waiting.append(_line({"row": row}).decode())

    def mark(self, checkpoint: dict[str, Any]) -> None:
        self._file.write("".join(self._waiting).encode() + _line({"checkpoint": checkpoint}))
        self._file.flush()
        self._waiting, self.checkpoint = [], checkpoint

    def close(self) -> None:
        self._file.close()

    def _read(self) -> int:
        """Where the last checkpoint ends."""
        end, rows = self._file.tell(), list[dict[str, Any]]()
        for line in iter(self._file.readline, b""):
            found = _parse(line)
            if found is None:
                break
            if "checkpoint" in found:
                self.rows += rows
                self.checkpoint, rows, end = found["checkpoint"], [], self._file.tell()
            else:
                rows.append(found["row"])
        return end


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
