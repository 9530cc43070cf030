"""Records -> a store on disk, in one step or not at all.

Everything is written to a hidden folder beside the target, `.NAME.building`, flushed to disk, and renamed at the end.
A reader sees the old store or the new one; with `overwrite`, for the moment between two renames, none; never half of
one. A build that raises cleans up after itself, and one that was killed is continued by the next with the same key
(journal.py); without a key the next one starts anew. One process builds a store at a time, others are told so.

Memory: one batch of problems and their solutions, whatever the number of rows, plus some 300 bytes a problem. The
same records give the same bytes, continued or not: no dates, no machine names.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from rlef_plugin.problems.encode import fingerprint, problem_row, prompt_line, solution_row
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.journal import Journal
from rlef_plugin.problems.layout import (
    FORMAT,
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    PROBLEM_SCHEMA,
    PROBLEMS,
    SOLUTION_SCHEMA,
    SOLUTIONS,
    VERSION,
)
from rlef_plugin.problems.records import Problem, Solution
from rlef_plugin.problems.stream import StreamWriter

BATCH_BYTES = 8 * 2**20  # a batch is closed when it has this much text
BATCH_ROWS = 1024
JOURNAL = "journal.jsonl"


class StoreWriter:
    """`with StoreWriter(out) as writer: writer.add(problem, solutions)`; the store exists when the block ends well.

    `key` says what is built from what. `done` then holds the notes of the rows that an earlier build with this key has
    dealt with; go on with the row after them.
    """

    def __init__(self, out: Path | str, *, overwrite: bool = False, key: str | None = None) -> None:
        self.out, self.key = Path(out).absolute(), key
        self.manifest: dict[str, Any] = {}  # goes into the manifest as it is
        self.done: list[dict[str, Any]] = []
        check_target(self.out, overwrite)
        self._folder = self.out.with_name(f".{self.out.name}.building")
        self._index: list[dict[str, Any]] = []
        self._counts = {"tests": 0, "solutions": 0}

    def __enter__(self) -> "StoreWriter":
        try:
            (self._folder / "prompts").mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self._folder / JOURNAL, self.key)
            self._start()
        except OSError as error:
            raise StoreError(f"{self.out} cannot be written ({error}): choose a folder you may write to") from error
        return self

    def add(self, problem: Problem, solutions: Sequence[Solution] = (), note: Mapping[str, Any] | None = None) -> str:
        """Append a problem and return its fingerprint. That its id is new and fit for a file is the caller's part."""
        problems, programs = self._streams.values()
        if max(problems.text_bytes, programs.text_bytes) >= BATCH_BYTES or len(problems.rows) >= BATCH_ROWS:
            self._checkpoint()
        place = {"problems_at": problems.size_bytes, "solutions_at": programs.size_bytes, "row": len(problems.rows)}
        problems.add(problem_row(problem))
        programs.add(solution_row(solutions))
        entry = {"id": problem.id, "split": problem.split, "fingerprint": fingerprint(problem)} | place
        self._index.append(entry)
        self._counts["tests"] += len(problem.public_tests) + len(problem.private_tests)
        self._counts["solutions"] += len(solutions)
        self._journal.note({**(note or {}), "entry": entry})
        return str(entry["fingerprint"])

    def pass_over(self, note: Mapping[str, Any]) -> None:
        """Note a row of which nothing is kept."""
        self._journal.note({**note, "entry": None})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
            elif isinstance(error, OSError | pa.ArrowException):
                raise error
        except (OSError, pa.ArrowException) as failure:
            raise StoreError(f"{self.out} could not be written ({failure}): make room and build it again") from failure
        finally:
            for stream in self._streams.values():
                stream.close()
            self._journal.close()
            if self.key is None or self._journal.checkpoint is None:  # nothing here to go on from
                shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        """Anew, or where an earlier build left off if all it has written is still there."""
        schemas = {PROBLEMS: PROBLEM_SCHEMA, SOLUTIONS: SOLUTION_SCHEMA}
        self._streams = {name: StreamWriter(self._folder / name, schema) for name, schema in schemas.items()}
        mark = self._journal.checkpoint
        if mark and all(stream.resume(**mark[name]) for name, stream in self._streams.items()):
            self.done, self._counts = self._journal.rows, mark["counts"]
            self._index = [row["entry"] for row in self.done if row["entry"]]
            return
        self._journal.restart()
        for stream in self._streams.values():
            stream.start()

    def _checkpoint(self) -> None:
        for stream in self._streams.values():
            stream.flush()
        written = {name: stream.facts() for name, stream in self._streams.items()}
        self._journal.mark({**written, "counts": self._counts})

    def _finish(self) -> None:
        index = StreamWriter(self._folder / INDEX, INDEX_SCHEMA)
        index.start()
        index.rows = self._index
        for stream in (index, *self._streams.values()):
            stream.finish()
        splits = Counter(row["split"] for row in self._index)
        for split in splits:
            lines = (prompt_line(row) for row in self._index if row["split"] == split)
            (self._folder / "prompts" / f"{split}.jsonl").write_text("".join(lines))
        files = {INDEX: index.facts()} | {name: stream.facts() for name, stream in self._streams.items()}
        files |= {f"prompts/{split}.jsonl": _facts(self._folder / "prompts" / f"{split}.jsonl") for split in splits}
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "written_by": {"rlef-plugin": _version("rlef-plugin"), "pyarrow": pa.__version__},
            "problems": len(self._index),
            "splits": dict(splits),
            **self._counts,
            **self.manifest,
            "files": dict(sorted(files.items())),
        }
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        for file in (*(f for f in files if f.startswith("prompts/")), MANIFEST, "prompts", ""):
            _flush(self._folder / file)
        self._move_into_place()

    def _move_into_place(self) -> None:
        (self._folder / JOURNAL).unlink()
        if self.out.exists():
            old = self.out.with_name(f".{self.out.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            self.out.rename(old)
            self._folder.rename(self.out)
            shutil.rmtree(old)
        else:
            self._folder.rename(self.out)
        _flush(self.out.parent)


def check_target(out: Path, overwrite: bool) -> None:
    """Never remove what is not a store.

    Raises:
        StoreError: there is something else at `out`, or a store that may not be overwritten.
    """
    if not out.exists():
        above = next(folder for folder in out.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise StoreError(f"{out} cannot be made, as {above} may not be written to: choose another place")
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).exists()):
        raise StoreError(f"{out} exists and is not a problem store: choose another place, it will not be touched")
    if (out / MANIFEST).exists() and not overwrite:
        raise StoreError(f"{out} already holds a problem store: choose another place, or replace it with --overwrite")


def _facts(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
