"""The driver of one program (`judge_program`) with jails that are scripted: what their runners say is written here."""

import asyncio
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace

import pytest

from rlef_plugin.judge import Limits, ProgramResult, SandboxError, Verdict, judging
from rlef_plugin.judge.judging import Job, judge_program
from rlef_plugin.judge.wire import HEADER


def frame(kind: bytes, output: bytes = b"", status: int = 0, cpu_s: float = 0.001) -> bytes:
    return HEADER.pack(kind, status, int(cpu_s * 1e6), 1000, 9000, len(output), 0, 0, len(output), 0) + output


COMPILED, NO_PROCESS, RIGHT = frame(b"C"), frame(b"M"), frame(b"T", b"right")
KILLED = COMPILED + frame(b"T", status=9)


def judged(runners: Sequence[bytes], tests: int = 1, isolation: str = "test") -> ProgramResult:
    """Of one program; each jail that is taken says the next of these."""
    left = iter(runners)

    async def take() -> SimpleNamespace:
        reader = asyncio.StreamReader()
        reader.feed_data(next(left))
        writer = SimpleNamespace(write=lambda data: None, writelines=lambda data: None)
        return SimpleNamespace(reader=reader, writer=writer, pid=0, end=lambda: None)

    async def body() -> ProgramResult:
        job = Job(b"", [b""] * tests, [b"right"] * tests, Limits(cpu_s=1), isolation=isolation)
        return await judge_program(job, take)  # type: ignore[arg-type]

    return asyncio.run(body())


def test_a_runner_that_could_make_no_process_costs_a_program_nothing(monkeypatch) -> None:
    """More often than a program may break its sandbox, and not as often as the machine may fail."""
    monkeypatch.setattr(judging, "NO_PROCESS_PAUSE_S", 0)
    failed = COMPILED + NO_PROCESS
    assert judged([failed, failed, failed, COMPILED + RIGHT]).accepted


def test_a_test_that_is_killed_twice_while_the_kernel_kills_nobody_is_an_exception(monkeypatch) -> None:
    monkeypatch.setattr(judging, "oom_kills", lambda: 7)
    assert judged([KILLED, COMPILED + RIGHT]).accepted
    assert judged([KILLED, KILLED]).verdict is Verdict.EXCEPTION


def test_a_test_that_the_kernel_kills_for_memory_is_never_an_exception(monkeypatch) -> None:
    kills = count()
    monkeypatch.setattr(judging, "oom_kills", lambda: next(kills))
    assert judged([KILLED, KILLED, KILLED, COMPILED + RIGHT]).accepted
    with pytest.raises(SandboxError, match="out-of-memory killer"):
        judged([KILLED] * 4)


def test_cpu_time_of_children_in_a_shared_process_counts_for_each_of_its_tests() -> None:
    """1.52 s in all, of which 0.12 s are of children: the first test may have used 1.02 s, so it is run by itself."""
    first, second = frame(b"T", b"right", cpu_s=0.9), frame(b"T", b"right", cpu_s=0.5)
    together = COMPILED + first + second + frame(b"S", cpu_s=1.52)
    result = judged([together + frame(b"T", b"right", cpu_s=1.02)], tests=2, isolation="program")
    assert [test.verdict for test in result.tests] == [Verdict.TIMEOUT, Verdict.ACCEPTED]
