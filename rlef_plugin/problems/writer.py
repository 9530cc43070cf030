"""Records -> a store on disk, in one step or not at all.

Everything is written to a hidden folder beside the target, flushed to disk, and renamed at the end. A reader sees the
old store or the new one; with `overwrite`, for the moment between two renames, none; never half of one. A build that
raises cleans up after itself; one that is killed leaves a `.NAME.building-*` folder, which may be removed.

Memory: one batch of problems and one of solutions, whatever the number of rows, plus the index (some 100 bytes a
problem). The same records give the same bytes: no dates, no machine names.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.layout import (
    FORMAT,
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    PLACES,
    PLAIN_COLUMNS,
    PROBLEM_SCHEMA,
    PROBLEMS,
    SOLUTION_SCHEMA,
    SOLUTIONS,
    VERSION,
)
from rlef_plugin.problems.records import Problem, Solution, TestCase

BATCH_BYTES = 8 * 2**20  # a batch is closed when it has this much text
BATCH_ROWS = 1024


class StoreWriter:
    """`with StoreWriter(out) as writer: writer.add(problem, solutions)`; the store exists when the block ends well."""

    def __init__(self, out: Path | str, *, overwrite: bool = False) -> None:
        self.out = Path(out).absolute()
        self.account: dict[str, Any] = {}  # goes into the manifest as it is
        _check_target(self.out, overwrite)
        self._folder = self.out.with_name(f".{self.out.name}.building-{secrets.token_hex(4)}")
        self._index: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> "StoreWriter":
        try:
            (self._folder / "prompts").mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self.out} cannot be written ({error}): choose a folder you may write to") from error
        self._problems = _BatchWriter(self._folder / PROBLEMS, PROBLEM_SCHEMA)
        self._solutions = _BatchWriter(self._folder / SOLUTIONS, SOLUTION_SCHEMA)
        return self

    def add(self, problem: Problem, solutions: Sequence[Solution] = ()) -> str:
        """Append a problem and return its fingerprint. That its id is new and fit for a file is the caller's part."""
        ordered = sorted(solutions, key=lambda one: not one.correct)
        solution_row = {key: [getattr(one, key) for one in ordered] for key in SOLUTION_SCHEMA.names}
        places = (*self._problems.add(_problem_row(problem)), *self._solutions.add(solution_row))
        place = dict(zip(PLACES, places, strict=True))
        print_ = fingerprint(problem)
        self._index.append({"id": problem.id, "split": problem.split, "fingerprint": print_} | place)
        self._counts["tests"] += len(problem.public_tests) + len(problem.private_tests)
        self._counts["solutions"] += len(ordered)
        return print_

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._problems.close()
            self._solutions.close()
            if kind is None:
                self._finish()
        except (OSError, pa.ArrowException) as failure:
            raise StoreError(f"{self.out} could not be written ({failure}): make room and build it again") from failure
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _finish(self) -> None:
        index = _BatchWriter(self._folder / INDEX, INDEX_SCHEMA)
        index.rows = self._index
        index.close()
        splits = Counter(row["split"] for row in self._index)
        for split in splits:
            lines = (_prompt_line(row) for row in self._index if row["split"] == split)
            (self._folder / "prompts" / f"{split}.jsonl").write_text("".join(lines))
        manifest = self._manifest(splits)
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for file in (*manifest["files"], MANIFEST, "prompts", ""):
            _flush(self._folder / file)
        self._move_into_place()

    def _manifest(self, splits: Counter[str]) -> dict[str, Any]:
        files = sorted(file for file in self._folder.rglob("*") if file.is_file())
        return {
            "format": FORMAT,
            "version": VERSION,
            "plugin": _plugin_version(),
            "problems": len(self._index),
            "splits": dict(splits),
            **self._counts,
            "account": self.account,
            "files": {str(file.relative_to(self._folder)): _facts(file) for file in files},
        }

    def _move_into_place(self) -> None:
        if self.out.exists():
            old = self.out.with_name(f"{self._folder.name}.old")
            self.out.rename(old)
            self._folder.rename(self.out)
            shutil.rmtree(old)
        else:
            self._folder.rename(self.out)
        _flush(self.out.parent)


class _BatchWriter:
    """Rows of one Arrow file; knows in which batch and where in it a row will lie."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema, self.batches, self.size_bytes = schema, 0, 0
        self.rows: list[dict[str, Any]] = []
        self.file = pa.ipc.new_file(str(path), schema)

    def add(self, row: dict[str, Any]) -> tuple[int, int]:
        if self.size_bytes >= BATCH_BYTES or len(self.rows) >= BATCH_ROWS:
            self.flush()
        place = self.batches, len(self.rows)
        self.rows.append(row)
        self.size_bytes += sum(_text_length(value) for value in row.values())
        return place

    def flush(self) -> None:
        self.file.write_batch(pa.RecordBatch.from_pylist(self.rows, schema=self.schema))
        self.rows, self.batches, self.size_bytes = [], self.batches + 1, 0

    def close(self) -> None:
        if self.rows:
            self.flush()
        self.file.close()


def fingerprint(problem: Problem) -> str:
    """Of all that matters to a program: id, name and split left out, order of the tests kept."""
    content = asdict(replace(problem, id="", name="", split=""))
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _problem_row(problem: Problem) -> dict[str, Any]:
    row = {name: getattr(problem, name) for name in PLAIN_COLUMNS}
    row["metadata"] = json.dumps(problem.metadata) if problem.metadata else None
    for kind, tests in (("public", problem.public_tests), ("private", problem.private_tests)):
        row |= _columns(kind, tests)
    return row


def _columns(kind: str, tests: Sequence[TestCase]) -> dict[str, list[str]]:
    return {f"{kind}_inputs": [test.input for test in tests], f"{kind}_outputs": [test.output for test in tests]}


def _text_length(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_text_length, value))
    return len(value) if isinstance(value, str) else 0


def _prompt_line(row: dict[str, Any]) -> str:
    return json.dumps({"prompt": row["id"], "label": row["id"], "datasource": row["split"]}) + "\n"


def _check_target(out: Path, overwrite: bool) -> None:
    """Never remove what is not a store."""
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).exists()):
        raise StoreError(f"{out} exists and is not a problem store: choose another place, it will not be touched")
    if (out / MANIFEST).exists() and not overwrite:
        raise StoreError(f"{out} already holds a problem store: choose another place, or allow it to be overwritten")


def _facts(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plugin_version() -> str:
    try:
        return version("rlef-plugin")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
