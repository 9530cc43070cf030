"""Judge a store's own programs, right and wrong ones, as an episode would judge them.

    async for judged in verify(store, ids, judge): ...      # in the order in which they end

A program is judged on all tests, but no longer after `TIMEOUTS` of them took their whole time: what is left of it is
not run. With `Results` the work is kept in a file, a JSON object a line, and a second run does only what is missing.
Programs were written by strangers and run in the jail only; checkers likewise.
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from rlef_plugin.env import EnvConfig, FunctionEnv
from rlef_plugin.judge import Judge, Verdict
from rlef_plugin.judge.checker import probe_checker
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.judged import NOT_RUN, TIMEOUT, Judged
from rlef_plugin.problems.records import Problem, Solution
from rlef_plugin.problems.store import ProblemStore

TIMEOUTS = 3
BATCH = 4  # tests between two looks at the timeouts
AT_ONCE = 8  # problems whose tests are in memory


async def verify(
    store: ProblemStore, ids: Iterable[str], judge: Judge, *, programs: int = 20
) -> AsyncIterator[Judged]:
    """Results by problem. `programs`: so many right and so many wrong ones, spread over the stored; 0 = all.

    Raises:
        SandboxError: the judge is broken.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(problem_id: str) -> Judged:
        async with room:
            return await _problem(store[problem_id], store.solutions(problem_id), judge, programs)

    tasks = [asyncio.create_task(one(id_)) for id_ in ids]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for left in tasks:
            left.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _BrokenChecker(Exception):
    """Says what the problem's checker did."""


async def _problem(problem: Problem, solutions: Sequence[Solution], judge: Judge, programs: int) -> Judged:
    tests = len(problem.public_tests) + len(problem.private_tests)
    broken = await probe_checker(judge, problem) if problem.checker else ""
    if broken:
        return Judged(problem.id, len(problem.public_tests), tests, (), (), len(solutions), broken)
    kinds = [sample([one.code for one in solutions if one.correct is kind], programs) for kind in (True, False)]
    env = FunctionEnv({problem.id: problem}, judge, EnvConfig(), len)
    codes = [code for kind in kinds for code in kind]
    results = await asyncio.gather(*(_program(env, problem, code) for code in codes), return_exceptions=True)
    for error in results:
        if isinstance(error, _BrokenChecker):  # it bore our nonsense, but not a program's
            return Judged(problem.id, len(problem.public_tests), tests, (), (), len(solutions), str(error))
        if isinstance(error, BaseException):
            raise error
    done = [str(one) for one in results]
    right, wrong = tuple(done[: len(kinds[0])]), tuple(done[len(kinds[0]) :])
    return Judged(problem.id, len(problem.public_tests), tests, right, wrong, len(solutions) - len(codes))


async def _program(env: FunctionEnv, problem: Problem, code: str) -> str:
    tests = (*problem.public_tests, *problem.private_tests)
    found = ""
    while len(found) < len(tests):
        size = min(BATCH, TIMEOUTS - found.count(TIMEOUT))
        result = await env.run_tests(problem, code, tests[len(found) : len(found) + size], stop=False)
        if result.checker_errors:
            raise _BrokenChecker(result.error)
        if result.verdict is Verdict.INVALID_CODE:
            return str(int(Verdict.INVALID_CODE)) * len(tests)
        found += "".join(str(int(test.verdict)) for test in result.tests)
        if found.count(TIMEOUT) >= TIMEOUTS:
            break
    return found.ljust(len(tests), NOT_RUN)


def sample(programs: Sequence[str], number: int) -> list[str]:
    """So many of them, evenly spread; all if there are no more, or for 0."""
    if not number or len(programs) <= number:
        return list(programs)
    return [programs[i * len(programs) // number] for i in range(number)]


class Results:
    """Results in a file that grows as problems are judged."""

    def __init__(self, path: Path, store: ProblemStore, programs: int) -> None:
        """Raise StoreError, and leave the file as it is, if it holds anything else."""
        header = {"verify": 1, "files": store.manifest["files"], "programs": programs}
        whole = json.dumps(header).encode() + b"\n"
        self.done: dict[str, Judged] = {}
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror}): name another file") from None
        self._file.seek(0)
        first = self._file.readline()
        if not whole.startswith(first):  # a run that was killed may have left a part of the header
            self._file.close()
            raise StoreError(f"{path} holds no results of this store and number of programs: name another file")
        end = self._read() if first == whole else 0
        self._file.truncate(end)
        if not end:
            self._write(header)

    def add(self, judged: Judged) -> None:
        self._write(dataclasses.asdict(judged) | judged.facts())
        self.done[judged.id] = judged

    def close(self) -> None:
        self._file.close()

    def _read(self) -> int:
        """Where the last whole line ends; a run that was killed may have left a part of one."""
        end = self._file.tell()
        names = [one.name for one in dataclasses.fields(Judged)]
        for line in iter(self._file.readline, b""):
            if not line.endswith(b"\n"):
                break
            fields = {name: value for name, value in json.loads(line).items() if name in names}
            fields |= {kind: tuple(fields[kind]) for kind in ("correct", "incorrect")}
            self.done[fields["id"]] = Judged(**fields)
            end = self._file.tell()
        return end

    def _write(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
