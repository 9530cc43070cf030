"""One program on all tests of one problem: judged, and shown to a person or a machine.

For a person: a table of tests, runs of accepted ones in one row where there are many, and then why the first test
failed, since that is what one looks for. The picture fits 80 columns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlef_plugin.env import EnvConfig, Environment
from rlef_plugin.judge import JudgeConfig, Limits, ProgramResult, TestResult, Verdict, open_judge
from rlef_plugin.judging.differ import cut_lines, diff
from rlef_plugin.problems import Problem, TestCase

FEW = 12  # tests that all get a row
STYLES = {Verdict.ACCEPTED: "green", Verdict.WRONG_OUTPUT: "red"}
MARKS = {"-": "red", "+": "green", ".": "dim"}


@dataclass(frozen=True, slots=True)
class Test:
    __test__ = False

    group: str  # "public" or "private"
    number: int  # in its group, from 1
    case: TestCase
    result: TestResult

    @property
    def name(self) -> str:
        return f"{self.group} {self.number}"

    @property
    def accepted(self) -> bool:
        return self.result.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True)
class Judged:
    problem: Problem
    limits: Limits
    result: ProgramResult

    @property
    def tests(self) -> list[Test]:
        cases = [("public", *case) for case in enumerate(self.problem.public_tests, 1)]
        cases += [("private", *case) for case in enumerate(self.problem.private_tests, 1)]
        return [Test(*case, result) for case, result in zip(cases, self.result.tests, strict=False)]


EnvironmentOf = Callable[[Problem], type[Environment]]  # the class that judges a problem


class OneProblem(dict[str, Problem]):
    """For an environment that needs to look nothing up."""


async def judge_one(problem: Problem, program: str, config: JudgeConfig, environment: EnvironmentOf) -> Judged:
    made = environment(problem)
    judge = await open_judge(config)
    try:
        env = made(OneProblem(), judge, EnvConfig(), len)
        tests = (*problem.public_tests, *problem.private_tests)
        result = await env.run_tests(problem, program, tests, stop=False)
        limits = env.limits(problem).with_room_for(len(test.output.encode("utf-8", "replace")) for test in tests)
        return Judged(problem, limits, result)
    finally:
        await judge.close()


def as_json(judged: Judged) -> dict[str, Any]:
    return {
        "problem": judged.problem.id,
        "verdict": judged.result.verdict.name.lower(),
        "accepted": judged.result.accepted,
        "error": judged.result.error,
        "checker_errors": judged.result.checker_errors,
        "killed": judged.result.killed,
        "cpu_limit_s": judged.limits.cpu_s,
        "memory_limit_mb": judged.limits.memory_mb,
        "tests": [
            {
                "group": test.group,
                "number": test.number,
                "verdict": test.result.verdict.name.lower(),
                "cpu_s": round(test.result.cpu_s, 4),
                "wall_s": round(test.result.wall_s, 4),
                "memory_mb": round(test.result.peak_memory_mb, 1),
                "error": test.result.error,
            }
            for test in judged.tests
        ],
    }


def show(judged: Judged, console: Console) -> None:
    tests = judged.tests
    console.print(_headline(judged, tests))
    if tests:
        console.print(_table(tests))
    failed = next((test for test in tests if not test.accepted), None)
    if judged.result.error:
        console.print(Text(judged.result.error.strip()))
    if failed:
        for line in _why(failed, judged, console.width):
            console.print(line)


def _headline(judged: Judged, tests: list[Test]) -> Text:
    verdict = judged.result.verdict
    line = Text(f"{judged.problem.id}: ")
    line.append(verdict.label, style=f"bold {STYLES.get(verdict, 'yellow')}")
    passed = sum(test.accepted for test in tests)
    line.append(f", {passed} of {len(tests)} tests passed" if tests else "")
    return line.append(f" (limits: {judged.limits.cpu_s:g} s, {judged.limits.memory_mb} MiB)", style="dim")


def _table(tests: list[Test]) -> Table:
    table = Table("test", "verdict", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("CPU", "memory"):
        table.add_column(name, justify="right")
    for run in _runs(tests):
        verdict = run[0].result.verdict
        name = run[0].name if len(run) == 1 else f"{run[0].name} to {run[-1].number}"
        cpu_s, memory_mb = max(t.result.cpu_s for t in run), max(t.result.peak_memory_mb for t in run)
        most = "<= " if len(run) > 1 else ""
        style = STYLES.get(verdict, "yellow")
        table.add_row(name, Text(verdict.label, style=style), f"{most}{_seconds(cpu_s)}", f"{most}{memory_mb:.0f} MiB")
    return table


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _runs(tests: list[Test]) -> Iterator[list[Test]]:
    """Rows: neighbours with one verdict together, where there are many tests."""
    if len(tests) <= FEW:
        yield from ([test] for test in tests)
    else:
        for _, run in groupby(tests, key=lambda test: (test.group, test.result.verdict)):
            yield list(run)


def _why(test: Test, judged: Judged, width: int) -> Iterator[Text]:
    verdict, limits = test.result.verdict, judged.limits
    yield Text(f"\nFirst failure: {test.name}, {verdict.label}", style="bold")
    yield Text("input", style="dim")
    yield from (Text(f"  {line}") for line in cut_lines(test.case.input, 8, width - 2))
    reasons = {
        Verdict.TIMEOUT: f"It ran for more than {limits.cpu_s:g} s of CPU time, or {limits.wall_s:g} s of wall time.",
        Verdict.OUT_OF_MEMORY: f"It took more than {limits.memory_mb} MiB of memory.",
        Verdict.OUTPUT_LIMIT: f"It wrote more than {limits.output_bytes >> 20} MiB.",
    }
    if verdict in reasons:
        yield Text(reasons[verdict])
    if verdict is Verdict.WRONG_OUTPUT:
        if judged.problem.checker is not None:
            yield Text("The problem's checker decides: other outputs may be right, too.")
        got = test.result.stdout.decode("utf-8", "replace")
        yield Text.assemble(("expected (-)", "red"), (" against ", "dim"), ("got (+)", "green"))
        for mark, text in diff(test.case.output, got, width - 2):
            yield Text(f"{mark} {text}", style=MARKS.get(mark, ""))
    elif test.result.error.strip():
        yield Text("standard error", style="dim")
        yield from (Text(f"  {line}") for line in cut_lines(test.result.error, 12, width - 2))
