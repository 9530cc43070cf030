"""Files of problems -> raw rows that know where they come from.

Reads .jsonl, .jsonl.gz, .parquet and .yaml/.yml, or a folder of such files (searched to the bottom, in the order of
their paths). It streams: one row, for parquet a few, is in memory at a time. A row that cannot be read at all comes
out as a row with `broken` set, so that it is counted like any other bad row; a *file* whose rest cannot be read (a
truncated gzip, a parquet without footer) is a StoreError, since what is lost cannot be counted.

Not here: what the fields of a row mean; see convert.py.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rlef_plugin.problems.convert import FIELDS
from rlef_plugin.problems.errors import StoreError

PARQUET_ROWS = 16  # rows decoded at once; one of CodeContests can hold 100 MB of solutions
_SPLIT_FILE = re.compile(r"(train|valid|validation|test)(-\d+-of-\d+.*)?\.(parquet|jsonl|jsonl\.gz)")  # as on the hub
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Row(dict[str, Any]):
    """A raw row. `number` counts from 1 within `file`; `split` is what the file's name says, if anything."""

    def __init__(self, fields: Any, file: Path, number: int, broken: str | None = None) -> None:
        if not isinstance(fields, dict):
            fields, broken = {}, broken or f"is {type(fields).__name__}, not an object with fields"
        super().__init__(fields)
        self.file, self.number, self.broken = str(file), number, broken
        named = _SPLIT_FILE.fullmatch(file.name)
        self.split = named[1].replace("validation", "valid") if named else None


def read_rows(path: Path | str) -> Iterator[Row]:
    """All rows of a file or a folder.

    Raises:
        StoreError: there is nothing to read at `path`, or a file breaks off in the middle.
    """
    for file in _files(Path(path)):
        reader = next(read for suffix, read in _READERS.items() if file.name.endswith(suffix))
        yield from reader(file)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise StoreError(f"{path} does not exist: name a file or a folder of {_kinds()}")
    if (path / "manifest.json").exists():
        raise StoreError(f"{path} is a problem store already: use it as it is, or name what it was built from")
    if path.is_file():
        found = [path] if path.name.endswith(tuple(_READERS)) else []
    else:
        inside = (p for p in path.rglob("*") if p.is_file() and p.name.endswith(tuple(_READERS)))
        found = sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts))
    if not found:
        raise StoreError(f"{path} holds no rows that can be read: name a file or a folder of {_kinds()}")
    return found


def _kinds() -> str:
    return ", ".join(_READERS)


def _read_jsonl(file: Path) -> Iterator[Row]:
    number = 0
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parse_line(line, file, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StoreError(f"{file} breaks off after line {number} ({error}): get the file again") from error


def _open(file: Path) -> IO[bytes]:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def _parse_line(line: bytes, file: Path, number: int) -> Row:
    try:
        return Row(json.loads(line.decode("utf-8-sig")), file, number)
    except (ValueError, RecursionError) as error:
        return Row({}, file, number, broken=f"is not JSON ({error})")


def _read_yaml(file: Path) -> Iterator[Row]:
    try:
        yield Row(yaml.load(file.read_bytes(), Loader=_LOADER), file, 1)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        yield Row({}, file, 1, broken=f"is not YAML ({' '.join(str(error).split())})")


def _read_parquet(file: Path) -> Iterator[Row]:
    number = 0
    try:
        table = pq.ParquetFile(file)
        columns = [name for name in table.schema_arrow.names if name in FIELDS]
        for batch in table.iter_batches(batch_size=PARQUET_ROWS, columns=columns, use_threads=False):
            for i in range(batch.num_rows):
                number += 1
                yield _parse_record(batch.slice(i, 1), file, number)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{file} breaks off after row {number} ({error}): get the file again") from error


def _parse_record(record: pa.RecordBatch, file: Path, number: int) -> Row:
    try:
        return Row(record.to_pylist()[0], file, number)
    except (UnicodeDecodeError, pa.ArrowException) as error:
        return Row({}, file, number, broken=f"cannot be decoded ({error})")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".jsonl.gz": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
