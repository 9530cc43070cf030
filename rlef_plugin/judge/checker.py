"""A program judged by its problem's own checker, for problems with more than one right answer.

    def check(input, output, expected):      # texts; True or False, nothing else
        return sorted(output.split()) == sorted(expected.split())

The program runs first, in its jail, without any of this; what it printed then goes to `check` in a jail of its own.
So a program can neither see nor touch the checker, and the checker, which is a user's code, touches nothing of ours.
It is only asked about clean runs. What the output holds is the model's doing: `check` must not raise on nonsense and
must not evaluate it. Its size is bounded by what is expected (`checked_bytes`), and beyond that is OUTPUT_LIMIT, so
that no program can print until the checker breaks. A checker that raises, hangs, takes too much memory or returns
anything but True or False is broken, and that is an exception with the problem's name, never a verdict:
`rlef data verify` finds out beforehand.

Not promised: that a checker's answer is right, or the same in the next run if it uses chance.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, TestResult, Verdict

if TYPE_CHECKING:
    from rlef_plugin.judge.pool import Judge
    from rlef_plugin.problems.records import Problem, TestCase

CHECKER_LIMITS = Limits(cpu_s=10, memory_mb=1024)  # of one call
OUTPUT_BYTES = 8 * 2**20  # of a program whose output is checked: all of a batch's is held in memory
CHECKED_BYTES, CHECKED_TIMES = 2**16, 16  # of an output that is checked: so many, or times what is expected
BATCH = 8  # tests run, then checked, at a time
KEPT_BYTES = JudgeConfig().kept_stdout_bytes
NONSENSE = (
    "",
    "nonsense \0",
    "9" * 5000,
    "-1 nan 1e999\n" * 3,
    "1 " * (CHECKED_BYTES // 2),
)  # what a model's program may well print

# The checker's own prints go to standard error, so that they are no answer. Of an exception only its type and line are
# told, since its text may hold what a private test expects.
_DRIVER = """
import json, os, sys, traceback
source, *texts = json.loads(sys.stdin.buffer.read())
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
try:
    space = {"__name__": "checker"}
    exec(compile(source, "checker.py", "exec"), space)
    found = space["check"](*texts)
    said = {True: "yes", False: "no"}[found] if type(found) is bool else f"returned {type(found).__name__}"
except BaseException as error:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "checker.py"]
    said = f"raised {type(error).__name__} in its line {lines[-1] if lines else getattr(error, 'lineno', 0)}"
answer.write(said)
answer.flush()
"""


class CheckerError(UsageError):
    """A problem's checker is broken."""


async def judge_with_checker(
    judge: Judge, problem: Problem, code: str, tests: Sequence[TestCase], limits: Limits, *, stop: bool = False
) -> ProgramResult:
    """As `Judge.judge`, with `problem.checker` in place of the comparison.

    Raises:
        CheckerError: the checker is broken; says nothing about the program.
    """
    limits = dataclasses.replace(limits, output_bytes=min(limits.output_bytes, OUTPUT_BYTES))
    done: list[TestResult] = []
    for first in range(0, len(tests), BATCH):
        batch = tests[first : first + BATCH]
        ran = await judge.run(code, [test.input for test in batch], limits, stop_at_failure=stop)
        if ran.verdict is Verdict.INVALID_CODE:
            return ran
        done += await _checked(judge, problem, batch, ran.tests)
        if stop and any(test.verdict for test in done):
            break
    failures = [place for place, test in enumerate(done) if test.verdict]
    if stop and failures:
        del done[failures[0] + 1 :]
    return ProgramResult(done[failures[0]].verdict if failures else Verdict.ACCEPTED, tuple(done))


async def probe_checker(judge: Judge, problem: Problem, tests: int = 3) -> str:
    """What is wrong with the checker, or "": it must accept the expected outputs and bear nonsense."""
    some = (*problem.public_tests, *problem.private_tests)[:tests]
    try:
        right = await _ask(judge, problem, [(test.input, test.output, test.output) for test in some])
        await _ask(judge, problem, [(test.input, text, test.output) for test in some for text in NONSENSE])
    except CheckerError as error:
        return str(error)
    return "" if all(right) else f"the checker of problem {problem.id!r} rejects the output that its test expects"


def checked_bytes(test: TestCase) -> int:
    """The longest output that is shown to a checker."""
    return max(CHECKED_BYTES, CHECKED_TIMES * len(test.output.encode("utf-8", "surrogatepass")))


async def _checked(
    judge: Judge, problem: Problem, tests: Sequence[TestCase], ran: Sequence[TestResult]
) -> list[TestResult]:
    """The same results, those of clean runs with the checker's verdict; outputs cut to what is kept."""
    ran = [
        dataclasses.replace(result, verdict=result.verdict or Verdict.OUTPUT_LIMIT)
        if result.stdout_bytes > checked_bytes(test)
        else result
        for test, result in zip(tests, ran, strict=False)
    ]
    clean = [place for place, result in enumerate(ran) if result.verdict is Verdict.ACCEPTED]
    texts = [(tests[i].input, ran[i].stdout.decode("utf-8", "replace"), tests[i].output) for i in clean]
    answers = dict(zip(clean, await _ask(judge, problem, texts), strict=True))
    return [
        dataclasses.replace(
            result,
            verdict=result.verdict if answers.get(place, True) else Verdict.WRONG_OUTPUT,
            stdout=result.stdout[:KEPT_BYTES],
        )
        for place, result in enumerate(ran)
    ]


async def _ask(judge: Judge, problem: Problem, texts: Sequence[tuple[str, str, str]]) -> list[bool]:
    if not texts:
        return []
    asked = [json.dumps((problem.checker, *three)) for three in texts]
    answers = []
    for result in (await judge.run(_DRIVER, asked, CHECKER_LIMITS)).tests:
        said = result.stdout.decode("utf-8", "replace")
        if result.verdict is not Verdict.ACCEPTED or said not in ("yes", "no"):
            ended = "without an answer" if result.verdict is Verdict.ACCEPTED else f"with {result.verdict.label}"
            reason = said[:200] or f"ended {ended}"
            raise CheckerError(
                f"the checker of problem {problem.id!r} {reason}, where it should return True or False: "
                "repair it and build the store again"
            )
        answers.append(said == "yes")
    return answers
