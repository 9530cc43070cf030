"""Every stored program of a store judged, a bounded number at a time; each as soon as it ends.

Judging stops at a program's first failure, as in training. Interrupting it ends the judge in order and keeps what was
judged by then."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rlef_plugin.env import EnvConfig, Environment
from rlef_plugin.judge import JudgeConfig, Verdict, open_judge
from rlef_plugin.judging.one import EnvironmentOf
from rlef_plugin.problems import Problem, ProblemStore, Solution

AHEAD = 2  # programs a worker that are asked for at once, so that none waits for the next


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the source says of a program and what came of it."""

    problem: str
    index: int  # in the problem's stored programs, correct ones first
    correct: bool
    said: str | None  # verdict of an incorrect one, as its source has it; None = not known
    verdict: Verdict
    test: str  # the one that failed, such as "private 3"; "" if none did

    @property
    def agrees(self) -> bool:
        return (self.verdict is Verdict.ACCEPTED) == self.correct

    def as_json(self) -> dict[str, Any]:
        return {
            "problem": self.problem,
            "index": self.index,
            "correct": self.correct,
            "said": self.said,
            "verdict": self.verdict.name.lower(),
            "test": self.test,
            "agrees": self.agrees,
        }


def count(store: ProblemStore, split: str | None) -> int:
    return sum(len(store.solutions(problem_id)) for problem_id in store.ids(split))


async def judge_all(
    store: ProblemStore,
    split: str | None,
    config: JudgeConfig,
    environment: EnvironmentOf,
    ended: Callable[[Outcome], None],
) -> None:
    """`ended` is called in this event loop, in the order in which programs end."""
    judge = await open_judge(config)
    programs = _programs(store, split)
    try:

        async def work() -> None:
            for problem, index, solution in programs:
                env = environment(problem)(store, judge, EnvConfig(), len)
                ended(await _judge(env, problem, index, solution))

        async with asyncio.TaskGroup() as group:
            for _ in range(AHEAD * config.worker_count):
                group.create_task(work())
    finally:
        await judge.close()


def _programs(store: ProblemStore, split: str | None) -> Iterator[tuple[Problem, int, Solution]]:
    for problem_id in store.ids(split):
        problem = store[problem_id]
        for index, solution in enumerate(store.solutions(problem_id)):
            yield problem, index, solution


async def _judge(env: Environment, problem: Problem, index: int, solution: Solution) -> Outcome:
    tests = (*problem.public_tests, *problem.private_tests)
    result = await env.run_tests(problem, solution.code, tests, stop=True)
    failed = next((n for n, test in enumerate(result.tests) if test.verdict is not Verdict.ACCEPTED), None)
    public = len(problem.public_tests)
    name = ""
    if failed is not None:
        name = f"public {failed + 1}" if failed < public else f"private {failed - public + 1}"
    return Outcome(problem.id, index, solution.correct, solution.verdict, result.verdict, name)
