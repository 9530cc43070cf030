"""What the judge's tests share: one judge for a module, driven without an event loop of its own."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, TestResult, open_judge


@dataclass(frozen=True)
class Case:
    input: str
    output: str


DEFAULT = Limits(cpu_s=2)


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
