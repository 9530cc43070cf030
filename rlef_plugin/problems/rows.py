"""Files of problems -> raw rows that know where they come from.

Reads .jsonl, .jsonl.gz, .parquet and .yaml/.yml. It streams: one row, for parquet a few, is in memory at a time, and
rows that are skipped are not decoded. A row that cannot be read at all comes out as a row with `broken` set, so that
it is counted like any other bad row; a *file* whose rest cannot be read (a truncated gzip, a parquet without footer)
is a StoreError, since what is lost cannot be counted.

Not here: which files there are (sources.py), and what the fields of a row mean (convert.py).
"""

import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rlef_plugin.problems.errors import StoreError

PARQUET_ROWS = 16  # rows decoded at once; one of CodeContests can hold 100 MB of solutions
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Row(dict[str, Any]):
    """A raw row. `number` counts from 1 within `file`.

    `split` is what its source says of the file, if anything, `left_out` the names of fields that were not decoded.
    """

    def __init__(self, fields: Any, file: str, number: int, broken: str | None = None) -> None:
        if not isinstance(fields, dict):
            fields, broken = {}, broken or f"is {type(fields).__name__}, not an object with fields"
        super().__init__(fields)
        self.file, self.number, self.broken = file, number, broken
        self.split: str | None = None
        self.left_out: tuple[str, ...] = ()


Unread = Callable[[], Row]  # a row that is decoded when it is called for
Columns = Collection[str] | None  # of parquet, those that are decoded; None = all


def rows_of(
    file: str, opened: Callable[[], IO[bytes]], skip: int = 0, columns: Columns = None
) -> Iterator[Row | None]:
    """All rows of a file; None in place of the first `skip`, which are not decoded.

    Raises:
        StoreError: the file breaks off in the middle.
    """
    reader, number = READERS[suffix(file)], 0
    try:
        with opened() as content:
            for number, unread in enumerate(reader(file, content, columns), 1):
                yield None if number <= skip else unread()
    except (pa.ArrowException, OSError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StoreError(f"{file} breaks off after row {number} ({error}): get the file again") from error


def suffix(file: str) -> str:
    """That of a file which can be read, or ""."""
    return next((ending for ending in READERS if file.endswith(ending)), "")


def _read_jsonl(file: str, content: IO[bytes], _: Columns) -> Iterator[Unread]:
    lines = gzip.open(content) if file.endswith(".gz") else content
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield partial(_parse_line, line, file, number)


def _parse_line(line: bytes, file: str, number: int) -> Row:
    try:
        return Row(json.loads(line.decode("utf-8-sig")), file, number)
    except (ValueError, RecursionError) as error:
        return Row({}, file, number, broken=f"is not JSON ({error})")


def _read_yaml(file: str, content: IO[bytes], _: Columns) -> Iterator[Unread]:
    yield partial(_parse_yaml, content.read(), file)


def _parse_yaml(text: bytes, file: str) -> Row:
    try:
        return Row(yaml.load(text, Loader=_LOADER), file, 1)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Row({}, file, 1, broken=f"is not YAML ({' '.join(str(error).split())})")


def _read_parquet(file: str, content: IO[bytes], columns: Columns) -> Iterator[Unread]:
    table, first = pq.ParquetFile(content), 0
    for index in range(table.num_row_groups):
        group = _Group(table, index, columns)
        size = table.metadata.row_group(index).num_rows
        yield from (partial(_parse_record, group, i, file, first + i + 1) for i in range(size))
        first += size


class _Group:
    """A row group, decoded a few rows at a time from the first that is asked for on; rows are asked for in order."""

    def __init__(self, table: pq.ParquetFile, index: int, columns: Columns) -> None:
        self._table, self._index = table, index
        names = table.schema_arrow.names
        self._names = [name for name in names if columns is None or name in columns]
        self.left_out = tuple(name for name in names if name not in self._names)
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._first = self._end = 0

    def record(self, row: int) -> pa.RecordBatch:
        if self._batches is None:
            options = {"batch_size": PARQUET_ROWS, "columns": self._names, "use_threads": False}
            self._batches = self._table.iter_batches(row_groups=[self._index], **options)
        while row >= self._end:
            self._batch = next(self._batches)
            self._first, self._end = self._end, self._end + self._batch.num_rows
        return self._batch.slice(row - self._first, 1)


def _parse_record(group: _Group, row: int, file: str, number: int) -> Row:
    record = group.record(row)
    try:
        found = Row(record.to_pylist()[0], file, number)
    except (UnicodeDecodeError, pa.ArrowException) as error:
        found = Row({}, file, number, broken=f"cannot be decoded ({error})")
    found.left_out = group.left_out
    return found


READERS: dict[str, Callable[[str, IO[bytes], Columns], Iterator[Unread]]] = {
    ".jsonl": _read_jsonl,
    ".jsonl.gz": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}


def parquet_rows(file: Path) -> int:
    """From the footer; 0 for a file without one, which reading it will tell."""
    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError):
        return 0
