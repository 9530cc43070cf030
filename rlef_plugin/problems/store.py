"""The problem store: a folder, memory-mapped, looked up by problem id.

Opening reads the index and maps the problems: some milliseconds for 13,000 problems, however large. What is
mapped is the page cache's, so all processes of a machine share one copy. Only what is asked for is copied out.

Checked on opening: format, version and the size of each file. Not checked: their content, which is `check_hashes`,
since it reads every byte. A store is never changed in place; writing is writer.py's.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlef_plugin.problems.encode import statement
from rlef_plugin.problems.errors import StoreError, no_problem
from rlef_plugin.problems.layout import (
    FORMAT,
    INDEX,
    MANIFEST,
    PLAIN_COLUMNS,
    PROBLEM_SCHEMA,
    PROBLEMS,
    REBUILD,
    SOLUTION_SCHEMA,
    SOLUTIONS,
    TEST_COLUMNS,
    VERSION,
)
from rlef_plugin.problems.records import Problem, Solution, TestCase
from rlef_plugin.problems.stream import MappedStream


class ProblemStore:
    """Problems by id. Make one with `open`; it travels to other processes by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = _read_manifest(path)
        self._index = _open(pa.ipc.open_stream, path / INDEX).read_all()
        self._problems = _open(MappedStream, path / PROBLEMS, PROBLEM_SCHEMA)
        self._places = {id_: place for place, id_ in enumerate(self._index["id"].to_pylist())}

    @classmethod
    def open(cls, path: Path | str) -> "ProblemStore":
        """The store in this folder; the same object for the same store as long as the process lives.

        Raises:
            StoreError: there is no store, it is of another version, or its files are not those it was built with.
        """
        path = Path(path).absolute()
        try:
            written = (path / MANIFEST).stat()
        except OSError:
            raise StoreError(_no_store(path)) from None
        return _open_once(path, written.st_mtime_ns, written.st_ino)

    def __reduce__(self) -> tuple[Any, ...]:
        return ProblemStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, problem_id: object) -> bool:
        return problem_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    @property
    def splits(self) -> dict[str, int]:
        """Number of problems of each split."""
        return dict(self.manifest["splits"])

    def ids(self, split: str | None = None) -> list[str]:
        """Ids of one split, or of all, in the order of the source."""
        if split is None:
            return list(self._places)
        self._check_split(split)
        return [id_ for id_, its in zip(self._places, self._index["split"].to_pylist(), strict=True) if its == split]

    def prompts(self, split: str) -> Path:
        """The file that the host takes as its prompt data."""
        self._check_split(split)
        return self.path / "prompts" / f"{split}.jsonl"

    def fingerprint(self, problem_id: str) -> str:
        """Equal for two problems, of whatever store, exactly if all but their ids, names and splits is equal."""
        return str(self._index["fingerprint"][self._place(problem_id)].as_py())

    def statements(self, split: str) -> dict[str, str]:
        """Id of each problem of a split by what it asks for, without regard to its tests, limits and white space."""
        wanted, found = set(self.ids(split)), {}
        for batch in self.batches():
            columns = (batch.column(name).to_pylist() for name in ("id", "description", "metadata"))
            for id_, description, metadata in zip(*columns, strict=True):
                if id_ in wanted:
                    found[statement(description, json.loads(metadata) if metadata else {})] = id_
        return found

    def digest(self, split: str) -> str:
        """Of all problems of a split, so that a store that was built anew and differs is noticed."""
        digest = hashlib.sha256()
        for problem_id in sorted(self.ids(split)):
            digest.update(f"{problem_id}\n{self.fingerprint(problem_id)}\n".encode())
        return digest.hexdigest()[:16]

    def __getitem__(self, problem_id: str) -> Problem:
        batch, row = self._row(self._problems, problem_id, "problems_at")
        plain = {name: batch.column(name)[row].as_py() for name in PLAIN_COLUMNS}
        texts = {name: batch.column(name)[row].as_py() for name in TEST_COLUMNS}
        metadata = batch.column("metadata")[row].as_py()
        return Problem(
            **plain,
            metadata=json.loads(metadata) if metadata else {},
            public_tests=tuple(map(TestCase, texts["public_inputs"], texts["public_outputs"])),
            private_tests=tuple(map(TestCase, texts["private_inputs"], texts["private_outputs"])),
        )

    def solutions(self, problem_id: str) -> list[Solution]:
        """Stored programs, correct ones first."""
        batch, row = self._row(self._solutions, problem_id, "solutions_at")
        return list(map(Solution, *(batch.column(name)[row].as_py() for name in ("code", "correct", "verdict"))))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All problems as they lie on disk, mapped: for what looks at many and needs few of their columns."""
        return map(self._problems.batch, dict.fromkeys(self._index["problems_at"].to_pylist()))

    def solution_flags(self) -> Iterator[list[bool]]:
        """Of each problem's programs, whether they are correct."""
        for at in dict.fromkeys(self._index["solutions_at"].to_pylist()):
            yield from self._solutions.batch(at).column("correct").to_pylist()

    def check_hashes(self) -> None:
        """Read every byte of the store and compare it with what was built.

        Raises:
            StoreError: a file has changed since.
        """
        for name, facts in self.manifest["files"].items():
            with (self.path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != facts["sha256"]:
                raise StoreError(f"{self.path / name} was changed after the build (sha256 is now {found}): {REBUILD}")

    @cached_property
    def _solutions(self) -> MappedStream:
        return _open(MappedStream, self.path / SOLUTIONS, SOLUTION_SCHEMA)

    def _row(self, stream: MappedStream, problem_id: str, column: str) -> tuple[pa.RecordBatch, int]:
        place = self._place(problem_id)
        at, row = (self._index[name][place].as_py() for name in (column, "row"))
        return stream.batch(at), row

    def _place(self, problem_id: str) -> int:
        if problem_id not in self._places:
            raise no_problem(problem_id, self, [self.path])
        return self._places[problem_id]

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise StoreError(f"{self.path} has no split {split!r}: choose one of {', '.join(sorted(self.splits))}")


@lru_cache(maxsize=8)
def _open_once(path: Path, written_ns: int, inode: int) -> ProblemStore:
    return ProblemStore(path)


def _no_store(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist: make the store with `rlef data build`"
    if any((path / name).exists() for name in (INDEX, PROBLEMS, SOLUTIONS)):
        return f"{path} was left half-written ({MANIFEST} is missing): remove it and {REBUILD}"
    return f"{path} is not a problem store (it has no {MANIFEST}): name a folder made by `rlef data build`"


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        found, version, files = manifest["format"], manifest["version"], manifest["files"]
        sizes = {path / name: facts["bytes"] for name, facts in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path / MANIFEST} is not that of a problem store ({error!r}): {REBUILD}") from error
    if (found, version) != (FORMAT, VERSION):
        theirs, ours = f"{found} {version}", f"{FORMAT} {VERSION}"
        raise StoreError(f"{path} has the format {theirs!r}, and this plugin reads {ours!r}: {REBUILD}")
    for file, size in sizes.items():
        if not file.is_file() or file.stat().st_size != size:
            actual = file.stat().st_size if file.is_file() else "no"
            raise StoreError(f"{file} has {actual} bytes instead of {size}: the store is incomplete; {REBUILD}")
    return dict(manifest)


def _open[T](opener: Callable[..., T], path: Path, *arguments: Any) -> T:
    try:
        return opener(str(path), *arguments)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be opened ({error}): {REBUILD}") from error
