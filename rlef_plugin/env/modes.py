"""What stands in the place of public feedback: the ablations of docs/paper.md section 8, for every environment.

    none          only the invitation to try again; the episode then has its full number of responses
    verdict_only  the kinds of error, in the order of the tests that showed them, and nothing else
    random        the feedback on a random incorrect solution of another problem, run on that problem's public tests
    private       the feedback on up to MAX_TESTS tests, private ones among them, up to MAX_FAILURES failures

`random` draws a problem of the same split, so that training never shows anything of a test set, then one of its
incorrect solutions, until one fails in its run; after MAX_RUNS that passed, the message is that of `none`. It answers
every response, one without valid code too. The draw depends on `rlef.feedback_seed`, the problem, the turn and the
response: an episode played again gets the same messages, whatever is played beside it.

Under `private` those tests take the place of the public ones: they also decide whether the episode stops early. What
`Step.public_passed` says stays with the true public tests.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rlef_plugin.env.code import Extraction
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import ProgramResult, Verdict
from rlef_plugin.problems.records import Problem, Solution

MAX_TESTS = 20
MAX_FAILURES = 8
MAX_RUNS = 8
DRAWS_PER_PROBLEM = 20  # misses only with probability e^-20 a problem that has incorrect solutions


class SolutionLookup(Protocol):
    """A problem store: problems by split and id, with their stored solutions."""

    def __getitem__(self, problem_id: str, /) -> Problem: ...

    def ids(self, split: str) -> list[str]: ...

    def solutions(self, problem_id: str) -> list[Solution]: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """Everything a feedback message is written from."""

    problem: Problem
    code: Extraction
    result: ProgramResult | None  # None: no valid code


def judged_problem(problem: Problem, feedback: str) -> Problem:
    """The problem with the tests that feedback speaks of as its public ones, and the rest as its private ones."""
    if feedback != "private":
        return problem
    count = max(MAX_TESTS - len(problem.public_tests), 0)
    return replace(
        problem,
        public_tests=problem.public_tests + problem.private_tests[:count],
        private_tests=problem.private_tests[count:],
    )


def first_failures(judged: Judged, count: int = MAX_FAILURES) -> Judged:
    """Without the failed tests after the first `count`."""
    if judged.result is None:
        return judged
    kept, failures = [], 0
    for number, test in enumerate(judged.result.tests):
        failures += test.verdict != Verdict.ACCEPTED
        if test.verdict == Verdict.ACCEPTED or failures <= count:
            kept.append(number)
    tests = tuple(judged.problem.public_tests[number] for number in kept)
    result = replace(judged.result, tests=tuple(judged.result.tests[number] for number in kept))
    return replace(judged, problem=replace(judged.problem, public_tests=tests), result=result)


def verdict_labels(result: ProgramResult | None) -> str:
    """The kinds of error without repetition: "wrong output, timeout"; "accepted" if there is none."""
    if result is None:
        return Verdict.INVALID_CODE.label
    failed = [test.verdict.label for test in result.tests if test.verdict != Verdict.ACCEPTED]
    return ", ".join(dict.fromkeys(failed)) or result.verdict.label


async def of_another_problem(
    problems: Any, problem: Problem, seed: str, run: Callable[[Problem, str], Awaitable[ProgramResult]]
) -> Judged | None:
    """A random incorrect solution of another problem as `run` judged it on its public tests; None if all drawn pass.

    Raises:
        UsageError: no other problem of the split has an incorrect solution.
    """
    draw = random.Random(seed)
    for _ in range(MAX_RUNS):
        other, code = draw_incorrect(problems, problem, draw)
        result = await run(other, code)
        if result.verdict not in (Verdict.ACCEPTED, Verdict.INVALID_CODE):
            return Judged(other, Extraction(code), result)
    return None


def draw_incorrect(problems: Any, problem: Problem, draw: random.Random) -> tuple[Problem, str]:
    """Another problem of the split, uniformly among those with incorrect solutions, and one of these."""
    if not (hasattr(problems, "ids") and hasattr(problems, "solutions")):
        raise UsageError(f"rlef.feedback=random needs a problem store, not a {type(problems).__name__}.")
    ids = problems.ids(problem.split)
    for _ in range(DRAWS_PER_PROBLEM * len(ids)):
        other = draw.choice(ids)
        incorrect = [one.code for one in problems.solutions(other) if not one.correct] if other != problem.id else []
        if incorrect and problems[other].public_tests:
            return problems[other], draw.choice(incorrect)
    raise UsageError(
        f"rlef.feedback=random, but no problem of the split {problem.split!r} other than {problem.id!r} has an "
        "incorrect solution: build the store from a source with solutions, or choose another feedback."
    )


def check_solutions(problems: SolutionLookup, split: str) -> None:
    """That every problem of the split finds another one to draw from; reads until it has seen two.

    Raises:
        UsageError: there are fewer than two problems with incorrect solutions.
    """
    found = 0
    for problem_id in problems.ids(split):
        found += any(not one.correct for one in problems.solutions(problem_id))
        if found == 2:
            return
    raise UsageError(
        f"rlef.feedback=random needs incorrect solutions of other problems, but {found} problems of the split "
        f"{split!r} have any: build the store from a source with solutions, or choose another feedback."
    )
