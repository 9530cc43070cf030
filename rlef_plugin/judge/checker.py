"""A program judged by its problem's own checker, for problems with more than one right answer.

    def check(input, output, expected):      # texts; True or False, nothing else
        return sorted(output.split()) == sorted(expected.split())

The program runs first, in its jail, without any of this; what it printed then goes to `check` in a jail of its own.
So a program can neither see nor touch the checker, and the checker, which is a user's code, touches nothing of ours.
It is only asked about clean runs. What the output holds is the model's doing: `check` must not raise on nonsense and
must not evaluate it. Its size is bounded by what is expected (`checked_bytes`), and beyond that is OUTPUT_LIMIT, so
that no program can print until the checker breaks. Where a checker raises, hangs, takes too much memory or returns
anything but True or False, the output is WRONG_OUTPUT: it may have been made for that, so it is never accepted and
never ends a run. It is counted (`ProgramResult.checker_errors`), and the log names the problem once. `rlef data
verify` finds such checkers beforehand. A judge that fails raises SandboxError here as everywhere.

Not promised: that a checker's answer is right, or the same in the next run if it uses chance.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rlef_plugin.judge.verdicts import JudgeConfig, Limits, ProgramResult, SandboxError, TestResult, Verdict

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
    "\u00b2\n",  # a digit to `str.isdigit`, and none to `int`
    "\u2155\n",  # likewise a number to `str.isnumeric`
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

COMPLAINT = re.compile(r"(raised \w{1,80} in its line \d{1,9}|returned \w{1,80})\Z")  # of the driver; no test's text

logger = logging.getLogger(__name__)
_named: set[str] = set()  # problems whose checker the log has complained about


async def judge_with_checker(
    judge: Judge, problem: Problem, code: str, tests: Sequence[TestCase], limits: Limits, *, stop: bool = False
) -> ProgramResult:
    """As `Judge.judge`, with `problem.checker` in place of the comparison."""
    limits = dataclasses.replace(limits, output_bytes=min(limits.output_bytes, OUTPUT_BYTES))
    done: list[TestResult] = []
    complaints: list[str] = []
    killed = 0
    for first in range(0, len(tests), BATCH):
        batch = tests[first : first + BATCH]
        ran = await judge.run(code, [test.input for test in batch], limits, stop_at_failure=stop)
        if ran.verdict is Verdict.INVALID_CODE:
            return ran
        killed += ran.killed
        results, more = await _checked(judge, problem, batch, ran.tests)
        done += results
        complaints += more
        if stop and any(test.verdict for test in done):
            break
    failures = [place for place, test in enumerate(done) if test.verdict]
    if stop and failures:
        del done[failures[0] + 1 :]
    verdict = done[failures[0]].verdict if failures else Verdict.ACCEPTED
    error = _name_once(problem, complaints[0]) if complaints else ""
    return ProgramResult(verdict, tuple(done), error, checker_errors=len(complaints), killed=killed)


async def probe_checker(judge: Judge, problem: Problem, tests: int = 3) -> str:
    """What is wrong with the checker, or "": it must accept the expected outputs and bear nonsense."""
    some = (*problem.public_tests, *problem.private_tests)[:tests]
    right = await _ask(judge, problem, [(test.input, test.output, test.output) for test in some])
    bad: list[str] = []
    if not _complaints(right):
        bad = await _ask(judge, problem, [(test.input, text, test.output) for test in some for text in NONSENSE])
    for complaint in _complaints([*right, *bad]):
        return _sentence(problem, complaint)
    return f"the checker of problem {problem.id!r} rejects the output that its test expects" if "no" in right else ""


def checked_bytes(test: TestCase) -> int:
    """The longest output that is shown to a checker."""
    return max(CHECKED_BYTES, CHECKED_TIMES * len(test.output.encode("utf-8", "surrogatepass")))


def _sentence(problem: Problem, complaint: str) -> str:
    return (
        f"the checker of problem {problem.id!r} {complaint}, where it should return True or False: "
        "repair it and build the store again"
    )


def _name_once(problem: Problem, complaint: str) -> str:
    sentence = _sentence(problem, complaint)
    if problem.id not in _named:
        _named.add(problem.id)
        logger.warning("An output counts as wrong, because %s", sentence)
    return sentence


async def _checked(
    judge: Judge, problem: Problem, tests: Sequence[TestCase], ran: Sequence[TestResult]
) -> tuple[list[TestResult], list[str]]:
    """The same results, those of clean runs with the checker's verdict and outputs cut to what is kept; and what the
    checker did where it failed."""
    ran = [
        dataclasses.replace(result, verdict=result.verdict or Verdict.OUTPUT_LIMIT)
        if result.stdout_bytes > checked_bytes(test)
        else result
        for test, result in zip(tests, ran, strict=False)
    ]
    clean = [place for place, result in enumerate(ran) if result.verdict is Verdict.ACCEPTED]
    texts = [(tests[i].input, ran[i].stdout.decode("utf-8", "replace"), tests[i].output) for i in clean]
    answers = dict(zip(clean, await _ask(judge, problem, texts), strict=True))
    results = [
        dataclasses.replace(
            result,
            verdict=result.verdict if answers.get(place, "yes") == "yes" else Verdict.WRONG_OUTPUT,
            stdout=result.stdout[:KEPT_BYTES],
        )
        for place, result in enumerate(ran)
    ]
    return results, _complaints(answers.values())


async def _ask(judge: Judge, problem: Problem, texts: Sequence[tuple[str, str, str]]) -> list[str]:
    """For each of the texts "yes", "no", or what the checker did instead."""
    if not texts:
        return []
    ran = await judge.run(_DRIVER, [json.dumps((problem.checker, *three)) for three in texts], CHECKER_LIMITS)
    if len(ran.tests) != len(texts):
        raise SandboxError(f"A jail ran {len(ran.tests)} of {len(texts)} calls of a checker: run `rlef doctor`.")
    return [_said(result) for result in ran.tests]


def _complaints(answers: Iterable[str]) -> list[str]:
    return [said for said in answers if said not in ("yes", "no")]


def _said(result: TestResult) -> str:
    said = result.stdout.decode("utf-8", "replace")
    if result.verdict is not Verdict.ACCEPTED:
        return f"ended with {result.verdict.label}"
    return said if said in ("yes", "no") or COMPLAINT.match(said) else "ended without an answer"
