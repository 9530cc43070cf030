"""What the judge would say about the micro-world's own programs, without a jail: for the warm-up's dialogs.

Tens of thousands of dialogs are needed in a minute, and the programs are this package's own. Answers and tracebacks
come from running them here; which programs break a limit is known by construction. A test compares all of it with
what real jails say. Never for a program that a model wrote: anything else than a program of the world is refused.
"""

import io
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from typing import Any

from rlef_plugin.env.code import FILE_NAME
from rlef_plugin.judge.compare import outputs_match
from rlef_plugin.judge.verdicts import Limits, ProgramResult, TestResult, Verdict
from rlef_plugin.micro.tasks import FAMILIES, HUGE
from rlef_plugin.problems.records import TestCase

TITLE = "Traceback (most recent call last):\n"
_LOOPS = {"while": Verdict.TIMEOUT, "list": Verdict.OUT_OF_MEMORY}


class KnownPrograms:
    """Stands in for a judge where only `programs()` are judged."""

    async def judge(
        self, code: str, tests: Sequence[TestCase], limits: Limits, *, stop_at_failure: bool = False, **files: object
    ) -> ProgramResult:
        if code not in programs():
            raise ValueError(f"{code!r} is not a program of the micro-world: judge it in a jail")
        results: list[TestResult] = []
        for test in tests:
            results.append(_outcome(code, test))
            if stop_at_failure and results[-1].verdict is not Verdict.ACCEPTED:
                break
        failed = (one.verdict for one in results if one.verdict is not Verdict.ACCEPTED)
        return ProgramResult(next(failed, Verdict.ACCEPTED), tuple(results))


@cache
def programs() -> frozenset[str]:
    """Every program of every family."""
    return frozenset(
        f"{layout.reading}\n{choice.body}"
        for family in FAMILIES
        for layout in family.layouts.values()
        for choice in family.choices.values()
    )


def _outcome(code: str, test: TestCase) -> TestResult:
    verdict, output, error = _run(code, test.input)
    if verdict is Verdict.ACCEPTED and not outputs_match(output.encode(), test.output.encode()):
        verdict = Verdict.WRONG_OUTPUT
    return TestResult(verdict, 0.0, 0.0, 0.0, output.encode(), error)


def _run(code: str, given: str) -> tuple[Verdict, str, str]:
    """(verdict, standard output, standard error); the first line of every program reads its input and may raise."""
    reading, _, rest = code.partition("\n")
    lines, printed = iter(given.splitlines()), io.StringIO()
    names: dict[str, Any] = {"input": lambda: next(lines)}
    try:
        exec(compile(reading, FILE_NAME, "exec"), names)
    except ValueError as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        trace = [TITLE, *traceback.format_list(frames), *traceback.format_exception_only(error)]
        return Verdict.EXCEPTION, "", "".join(trace)
    broken = next((verdict for word, verdict in _LOOPS.items() if word in rest), None)
    if broken and names["a"] >= HUGE:
        return broken, "", ""
    with redirect_stdout(printed):
        exec(rest, names)
    return Verdict.ACCEPTED, printed.getvalue(), ""
