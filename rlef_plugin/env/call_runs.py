"""Calls of a function judged: which of them share a process, and what a run says about each.

Public tests run one by one, each in a process of its own, for the feedback. Where judging stops at the first failure,
there may be a thousand tests of a microsecond, so they run `BATCH` to a process, as evalplus runs them. A batch can
only accept: the first test in it that does not pass, for whatever reason, is run again alone, and that decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rlef_plugin.env.calls import Call, as_module, driver_text, matches
from rlef_plugin.env.values import MAX_VALUE_BYTES, MalformedValue, parse, show
from rlef_plugin.judge.verdicts import Limits, ProgramResult, TestResult, Verdict
from rlef_plugin.problems.records import TestCase

if TYPE_CHECKING:
    from rlef_plugin.judge import Judge

BATCH = 64
GROWTH = 4  # a jail gets 1 batch, then the next 4, then 16 (of tests alone the same): a wrong program runs few
LARGE_BYTES = 1 << 16  # outputs from here on are compared in a thread
MAX_OUTPUT_BYTES = 8 * 2**20  # of what a program prints, values included
MAX_EXPECTED_BYTES = MAX_OUTPUT_BYTES // 4  # of a test's value: room for it to be written in another way
MARK = b"\x1e"  # begins the line of a value
NO_VALUE = "The program ended before the call returned."


async def run_calls(
    judge: Judge, call: Call, code: str, tests: Sequence[TestCase], limits: Limits, *, stop: bool
) -> ProgramResult:
    """Judge a program by its calls, in order; `stop` at the first that fails.

    `stdout` of a test that fails is the value as Python writes it, of one that passes it is empty.
    """
    program, driver = as_module(code), driver_text(call)
    limits = replace(limits, output_bytes=min(limits.output_bytes, MAX_OUTPUT_BYTES))
    # What fails in a batch only has a state, and what is slow in one is slow in the next: no second round of batches.
    results = await _accepted_in_batches(judge, call, program, driver, tests, limits) if stop else []
    killed = 0
    size = 1 if stop else len(tests)
    while len(results) < len(tests):
        alone = tests[len(results) : len(results) + size]
        inputs = [batch([test.input]) for test in alone]
        ran = await judge.run(program, inputs, limits, stop_at_failure=stop, driver=driver)
        if ran.verdict == Verdict.INVALID_CODE:
            return ran
        killed += ran.killed
        judged = [await _judged(call, test, one) for test, one in zip(alone, ran.tests, strict=False)]
        failed = next((place for place, one in enumerate(judged) if one.verdict != Verdict.ACCEPTED), None)
        if stop and failed is not None:
            results += judged[: failed + 1]
            break
        results += judged
        size = min(size * GROWTH, BATCH)
    first = next((one.verdict for one in results if one.verdict != Verdict.ACCEPTED), Verdict.ACCEPTED)
    return ProgramResult(first, tuple(results), killed=killed)


def batch(inputs: Sequence[str]) -> str:
    """What the driver reads for these calls."""
    return f"[{', '.join(inputs)}]"


def values_of(ran: TestResult) -> list[bytes]:
    """The values' lines, of as many calls as returned."""
    return [line[1:] for line in ran.stdout.split(b"\n") if line.startswith(MARK)]


async def _accepted_in_batches(
    judge: Judge, call: Call, program: str, driver: str, tests: Sequence[TestCase], limits: Limits
) -> list[TestResult]:
    """Results of the first tests, up to one that does not pass."""
    accepted: list[TestResult] = []
    batches = 1
    while len(accepted) < len(tests):
        left = tests[len(accepted) : len(accepted) + batches * BATCH]
        parts = [left[start : start + BATCH] for start in range(0, len(left), BATCH)]
        inputs = [batch([test.input for test in part]) for part in parts]
        ran = await judge.run(program, inputs, limits, stop_at_failure=True, driver=driver)
        for part, one in zip(parts, ran.tests, strict=False):
            passed = await asyncio.to_thread(_passed, call, part, one)
            alike = replace(
                one, cpu_s=one.cpu_s / len(part), wall_s=one.wall_s / len(part), stdout=b"", stdout_bytes=0, error=""
            )
            accepted += [alike] * passed
            if passed < len(part):
                return accepted
        if not ran.tests:  # it does not compile
            return accepted
        batches *= GROWTH
    return accepted


def _passed(call: Call, tests: Sequence[TestCase], ran: TestResult) -> int:
    """How many of a batch pass, up to the first that does not; none of a run that was not clean."""
    lines = values_of(ran)
    if ran.verdict != Verdict.ACCEPTED or len(lines) != len(tests):
        return 0
    for number, (test, line) in enumerate(zip(tests, lines, strict=True)):
        if _verdict(call, test, line)[0] != Verdict.ACCEPTED:
            return number
    return len(tests)


async def _judged(call: Call, test: TestCase, ran: TestResult) -> TestResult:
    """The verdict on a test that ran alone."""
    if ran.verdict != Verdict.ACCEPTED:
        return ran
    lines = values_of(ran)
    if not lines:
        return replace(ran, verdict=Verdict.EXCEPTION, stdout=b"", stdout_bytes=0, error=NO_VALUE)
    large = len(lines[-1]) >= LARGE_BYTES
    judged = asyncio.to_thread(_verdict, call, test, lines[-1]) if large else None
    verdict, shown = await judged if judged else _verdict(call, test, lines[-1])
    return replace(ran, verdict=verdict, stdout=shown.encode("utf-8", "replace"), stdout_bytes=0)


def _verdict(call: Call, test: TestCase, line: bytes) -> tuple[Verdict, str]:
    """On one value, with the value as Python writes it if it is wrong."""
    if line == test.output.encode():
        return Verdict.ACCEPTED, ""
    limit = max(MAX_VALUE_BYTES, 2 * len(test.output))  # equal values may be written in different ways
    if len(line) > limit:
        return Verdict.OUTPUT_LIMIT, ""
    try:
        value = parse(line, limit)
    except MalformedValue:
        return Verdict.WRONG_OUTPUT, line[:1000].decode("utf-8", "replace")
    return (Verdict.ACCEPTED, "") if matches(call, test, value) else (Verdict.WRONG_OUTPUT, show(value))
