"""The driver of one program (`judge_program`) with jails that are scripted: what their runners say is written here."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

from rlef_plugin.judge import Limits, ProgramResult, judging
from rlef_plugin.judge.judging import Job, judge_program
from rlef_plugin.judge.wire import HEADER


def frame(kind: bytes, output: bytes = b"", status: int = 0) -> bytes:
    return HEADER.pack(kind, status, 1000, 1000, 9000, len(output), 0, 0, len(output), 0) + output


COMPILED, NO_PROCESS, RIGHT = frame(b"C"), frame(b"M"), frame(b"T", b"right")


def judged(runners: Sequence[bytes]) -> ProgramResult:
    """Of one program with one test; each jail that is taken says the next of these."""
    left = iter(runners)

    async def take() -> SimpleNamespace:
        reader = asyncio.StreamReader()
        reader.feed_data(next(left))
        writer = SimpleNamespace(write=lambda data: None, writelines=lambda data: None)
        return SimpleNamespace(reader=reader, writer=writer, pid=0, end=lambda: None)

    async def body() -> ProgramResult:
        return await judge_program(Job(b"", [b""], [b"right"], Limits()), take)  # type: ignore[arg-type]

    return asyncio.run(body())


def test_a_runner_that_could_make_no_process_costs_a_program_nothing(monkeypatch) -> None:
    """More often than a program may break its sandbox, and not as often as the machine may fail."""
    monkeypatch.setattr(judging, "NO_PROCESS_PAUSE_S", 0)
    failed = COMPILED + NO_PROCESS
    assert judged([failed, failed, failed, COMPILED + RIGHT]).accepted
