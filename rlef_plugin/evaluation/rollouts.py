"""Rollouts on disk: one row each, written when it ends, so that a killed evaluation loses and repeats none.

    folder/journal.jsonl         the latest, a line each, appended and flushed as they end
    folder/part-000001.parquet   a thousand each, moved there from the journal
    folder/lock                  held by the one process that writes

A row holds everything a score, an analysis or a report reads: programs, verdicts, times, the dialog. Reading needs no
model and no problem store, and may be done while another process writes. A line that a kill cut in half was never
promised and its rollout is played again; rows that stand in both files, after a kill between moving and clearing,
count once. Not promised: to survive a loss of power.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlef_plugin import file_lock
from rlef_plugin.errors import UsageError

PART_ROWS = 1000
JOURNAL, LOCK = "journal.jsonl", "lock"

TURN = pa.struct(
    {
        "verdict": pa.string(),
        "public_passed": pa.bool_(),
        "reward": pa.float64(),
        "code": pa.string(),
        "response_tokens": pa.int64(),
        "generate_s": pa.float64(),
        "judge_s": pa.float64(),
        "cpu_s": pa.float64(),
        "memory_mb": pa.float64(),
    }
)
MESSAGE = pa.struct({"role": pa.string(), "text": pa.string()})
SCHEMA = pa.schema(
    {
        "problem": pa.string(),
        "index": pa.int64(),
        "solved": pa.bool_(),
        "turns": pa.list_(TURN),
        "messages": pa.list_(MESSAGE),
    }
)


@dataclass(frozen=True, slots=True)
class Turn:
    verdict: str  # on the public tests, of the last turn on all tests: a `Verdict`'s name in lower case
    public_passed: bool
    reward: float
    code: str | None  # None: the response held no valid code
    response_tokens: int
    generate_s: float
    judge_s: float  # wall time the episode waited for the judge
    cpu_s: float  # of the slowest test
    memory_mb: float  # of the largest test


@dataclass(frozen=True, slots=True)
class Message:
    role: str  # "user" or "assistant"
    text: str


@dataclass(frozen=True, slots=True)
class Rollout:
    problem: str
    index: int  # of this problem's rollouts, from 0
    solved: bool
    turns: tuple[Turn, ...]
    messages: tuple[Message, ...]

    @property
    def key(self) -> tuple[str, int]:
        return self.problem, self.index

    @property
    def public_passed(self) -> bool:
        """Whether the last response, the one that would be submitted, passes the public tests."""
        return self.turns[-1].public_passed

    def limited_to(self, turn_limit: int) -> "Rollout":
        """This rollout as it would have been with fewer turns.

        Exact for an episode that stops as soon as the public tests pass: a response that was followed by another one
        had failed a public test, so it cannot have been solved.
        """
        if len(self.turns) <= turn_limit:
            return self
        return Rollout(self.problem, self.index, False, self.turns[:turn_limit], self.messages[: 2 * turn_limit])


def from_row(row: dict[str, Any]) -> Rollout:
    turns = tuple(Turn(**turn) for turn in row["turns"])
    messages = tuple(Message(**message) for message in row.get("messages", ()))
    return Rollout(row["problem"], row["index"], row["solved"], turns, messages)


class RolloutFolder:
    """Appends to a folder, alone, and goes on where an earlier process was stopped."""

    def __init__(self, folder: Path) -> None:
        """Raise UsageError if another process plays into the folder."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = _locked(folder)
        moved = set(_keys(folder))
        self.waiting = [asdict(one) for one in _journal(folder) if one.key not in moved]
        self.kept = {(row["problem"], row["index"]) for row in self.waiting} | moved
        self._rewrite_journal()

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self.kept

    def append(self, rollout: Rollout) -> None:
        row = asdict(rollout)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        self.kept.add(rollout.key)
        self.waiting.append(row)
        if len(self.waiting) >= PART_ROWS:
            self._move_to_part()

    def close(self) -> None:
        if self.waiting:
            self._move_to_part()
        self.file.close()
        self.lock.close()

    def _move_to_part(self) -> None:
        last = max((int(part.stem.removeprefix("part-")) for part in _parts(self.folder)), default=0)
        part = self.folder / f"part-{last + 1:06d}.parquet"
        unfinished = part.with_suffix(".unfinished")
        pq.write_table(pa.Table.from_pylist(self.waiting, SCHEMA), unfinished, compression="zstd")
        os.replace(unfinished, part)
        self.file.close()
        self.waiting = []
        self._rewrite_journal()

    def _rewrite_journal(self) -> None:
        """The journal holds what waits for a part and no line cut in half; then it is open for more."""
        unfinished = self.folder / "journal.unfinished"
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in self.waiting))
        os.replace(unfinished, self.folder / JOURNAL)
        self.file = (self.folder / JOURNAL).open("a")


def read(
    folder: Path, *, texts: bool = True, where: Callable[[Rollout], bool] = lambda rollout: True
) -> list[Rollout]:
    """Every rollout of a folder once, ordered by problem and index; also of an evaluation that still runs.

    Of a million rollouts no process can hold all: without `texts` they have no messages, which are most of them (90 kB
    where there are ten turns), and those for which `where` is false are passed over as they are read.

    Raises:
        UsageError: there is no rollout, or a file is damaged.
    """
    rows = chain(list(_journal(folder)), _in_parts(folder, texts))  # that first: its rows may be moved meanwhile
    kept = (one if texts else replace(one, messages=()) for one in rows if where(one))
    found = {one.key: one for one in kept}
    if not found and not count(folder):
        raise UsageError(f"{folder} holds no rollouts: name the folder that `rlef eval` wrote")
    return [found[key] for key in sorted(found)]


def count(folder: Path) -> int:
    """How many rollouts a folder holds."""
    return len({one.key for one in _journal(folder)} | set(_keys(folder)))


def by_problem(rollouts: Iterable[Rollout]) -> dict[str, list[Rollout]]:
    groups: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.problem, []).append(rollout)
    return groups


def _locked(folder: Path) -> IO[bytes]:
    lock = (folder / LOCK).open("a+b")
    taken = UsageError(f"another process plays into {folder}: wait until it has ended, or change --out")
    file_lock.hold(lock, taken, "choose an --out on another one")
    return lock


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _in_parts(folder: Path, texts: bool = True) -> Iterator[Rollout]:
    columns = [name for name in SCHEMA.names if texts or name != "messages"]
    for part in _parts(folder):
        yield from map(from_row, _table(part, columns).to_pylist())


def _keys(folder: Path) -> Iterator[tuple[str, int]]:
    for part in _parts(folder):
        columns = _table(part, ["problem", "index"]).to_pydict()
        yield from zip(columns["problem"], columns["index"], strict=True)


def _table(part: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(part, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part, error) from None


def _damaged(place: object, error: Exception) -> UsageError:
    said = str(error).partition("\n")[0]
    return UsageError(f"{place} is damaged ({said}): bring it back, or remove it and `rlef eval` plays it again")


def _journal(folder: Path) -> Iterator[Rollout]:
    """Of the lines that were written whole."""
    path = folder / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\n"):
            try:
                row = from_row(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(f"line {number} of {path}", error) from None
            yield row
