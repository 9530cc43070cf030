"""What the judge's tests share: one judge for a module, driven without an event loop of its own, and copies of the
judge with a defence taken out."""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, TestResult, open_judge


@dataclass(frozen=True)
class Case:
    input: str
    output: str


DEFAULT = Limits(cpu_s=2)
ROOT = Path(__file__).parents[1]
type Edit = tuple[str, str, str]  # of a file below the repository's root: path, text, what to put in its place
DEFENCES: dict[str, tuple[Edit, ...]] = {}  # by the test that fails without them, as "module::name"


def defence[**P, R](*edits: Edit) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Names what a test of an attack relies on. `test_judge_defences.py` checks that the text is there, that
    docs/judge.md names the test, and (slow) that the test fails in a copy of the judge that was edited like this."""

    def mark(test: Callable[P, R]) -> Callable[P, R]:
        DEFENCES[f"{test.__module__}::{test.__name__}"] = edits
        lines = [f"Defence: {path}: `{text}`" for path, text, _ in edits]
        test.__doc__ = "\n".join(filter(None, (test.__doc__, *lines)))
        return test

    return mark


def changed_tree(
    folder: Path,
    edits: Sequence[Edit],
    names: Sequence[str] = ("rlef_plugin", "sandbox", "tests"),
    without: Sequence[str] = ("openrlhf_ext",),
) -> Path:
    """A copy of the judge, its sandbox and its tests, or of the folders `names`, in `folder`, edited."""
    for name in names:
        ignored = shutil.ignore_patterns("__pycache__", *without)
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text, replacement in edits:
        content = (folder / path).read_text()
        assert content.count(text) == 1, f"{path} holds {text!r} {content.count(text)} times, not once"
        (folder / path).write_text(content.replace(text, replacement))
    return folder


class SyncJudge:
    def __init__(self, config: JudgeConfig) -> None:
        self.loop = asyncio.new_event_loop()
        self.judge = self.loop.run_until_complete(open_judge(config))

    def __call__(
        self, source: str, tests: list[tuple[str, str]], limits: Limits = DEFAULT, **options
    ) -> ProgramResult:
        cases = [Case(*test) for test in tests]
        return self.loop.run_until_complete(self.judge.judge(source, cases, limits, **options))

    def run(self, source: str, inputs: Sequence[str] = ("",), limits: Limits = DEFAULT) -> tuple[TestResult, ...]:
        return self.loop.run_until_complete(self.judge.run(source, inputs, limits)).tests

    def output(self, source: str, **limits) -> str:
        """Of one clean run with empty input."""
        (test,) = self.run(source, [""], Limits(**{"cpu_s": 2} | limits))
        assert test.verdict.label == "accepted", (test.verdict.label, test.error)
        return test.stdout.decode()

    def together(self, jobs: Sequence[Coroutine]) -> list[ProgramResult]:
        async def gather() -> list[ProgramResult]:
            return await asyncio.gather(*jobs)

        return self.loop.run_until_complete(gather())

    def close(self) -> None:
        self.loop.run_until_complete(self.judge.close())
        self.loop.close()


@contextmanager
def sync_judge(**config) -> Iterator[SyncJudge]:
    judge = SyncJudge(JudgeConfig(**config))
    try:
        yield judge
    finally:
        judge.close()


def descendants(root: int = 0) -> dict[int, str]:
    """Number and name of every process below `root` (this process), zombies included."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                head, _, tail = (entry / "stat").read_text().rpartition(")")
            except OSError:
                continue
            parents[int(entry.name)], names[int(entry.name)] = int(tail.split()[1]), head.partition("(")[2]
    found, frontier = {}, {root or os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= {pid: names[pid] for pid in frontier}
    return found
