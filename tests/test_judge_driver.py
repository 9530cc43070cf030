"""The driver of one program (`judge_program`) with jails that are scripted: what their runners say is written here."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from rlef_plugin.judge import Limits, ProgramResult, SandboxError, Verdict, judging
from rlef_plugin.judge.judging import Job, judge_program
from rlef_plugin.judge.wire import HEADER, Frame, GarbledFrame, unpack


def frame(kind: bytes, status: int = 0, cpu_s: float = 0.001, flags: int = 0) -> bytes:
    return HEADER.pack(kind, status, int(cpu_s * 1e6), 1000, 9000, flags, 0)


COMPILED, NO_PROCESS, CLEAN, KILLED = frame(b"C"), frame(b"M"), frame(b"T"), frame(b"T", status=9)
DEAD, GARBLED = EOFError(), GarbledFrame("nonsense")
RIGHT = (CLEAN, b"right")  # a result, and what the program printed


class ScriptedJail:
    """Says one thing after the other, then ends; its nsjail was killed."""

    def __init__(self, script: Sequence[Any], status: int) -> None:
        self.script, self.cgroup, self.cpu_s, self.test_started, self.pid = iter(script), None, 0.0, 0.0, 0
        self.streams: list[list[int]] = []
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exited.set_result(status)
        self.sent: list[bytes] = []

    def send(self, data: bytes, descriptors: Sequence[int]) -> None:
        self.streams.append([os.dup(one) for one in descriptors])

    def send_file(self, content: bytes) -> None:
        self.sent.append(content)

    async def receive(self, pause_s: float = 0.0) -> Frame:
        said = next(self.script, DEAD)
        if isinstance(said, Exception):
            raise said
        said, output = said if isinstance(said, tuple) else (said, b"")
        if said[:1] == b"T":
            streams = self.streams.pop(0)
            os.write(streams[1], output)
            for descriptor in streams:
                os.close(descriptor)
        return unpack(said)

    def watch(self, *limits: Any) -> None: ...
    def begin_test(self) -> None: ...
    def end_test(self) -> None: ...

    def end(self) -> None:
        for descriptor in (one for streams in self.streams for one in streams):
            os.close(descriptor)
        self.streams = []


class ScriptedFloor:
    def __init__(self, scripts: Sequence[Sequence[Any]], status: int) -> None:
        self.left, self.status, self.alone_times = iter(scripts), status, 0
        self.jails: list[ScriptedJail] = []

    async def take(self) -> ScriptedJail:
        self.jails.append(ScriptedJail(next(self.left), self.status))
        return self.jails[-1]

    def help(self, job: Job) -> bool:
        return False

    @asynccontextmanager
    async def alone(self) -> Iterator[None]:
        self.alone_times += 1
        yield


def judged(scripts: Sequence[Sequence[Any]], tests: int = 1, stop: bool = False, status: int = 9) -> ProgramResult:
    """Of one program; each jail that is taken says the next of these. `status` is how nsjail ended (of wait(2))."""

    async def body() -> ProgramResult:
        job = Job(b"", [b""] * tests, [b"right"] * tests, Limits(cpu_s=1), stop_at_failure=stop)
        judged.floor = ScriptedFloor(scripts, status)
        return await judge_program(job, judged.floor)

    return asyncio.run(body())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(judging, "NO_PROCESS_PAUSE_S", 0)
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before  # every stream was closed


ENDED = (COMPILED, DEAD)
CANARY_RIGHT = (COMPILED, (CLEAN, judging.CANARY_TEST[1]))


def test_a_runner_that_could_make_no_process_costs_a_program_nothing() -> None:
    """More often than a program may break its sandbox."""
    assert judged([(COMPILED, NO_PROCESS)] * 3 + [(COMPILED, RIGHT)]).accepted
    assert judged.floor.alone_times == 1


def test_a_program_whose_jail_is_killed_at_every_try_is_out_of_memory_if_the_canary_is_right() -> None:
    result = judged([ENDED] * 4 + [CANARY_RIGHT], tests=3)
    assert [test.verdict for test in result.tests] == [Verdict.OUT_OF_MEMORY] * 3
    assert result.killed == 1 and "at every try" in result.tests[0].error and "Not run" in result.tests[1].error
    assert b"bytearray(1056964608)" in judged.floor.jails[-1].sent[0]  # the canary fills the same memory


def test_the_tests_before_the_one_that_is_killed_keep_their_verdicts() -> None:
    result = judged([(COMPILED, RIGHT, DEAD)] + [ENDED] * 3 + [CANARY_RIGHT], tests=2)
    assert [test.verdict for test in result.tests] == [Verdict.ACCEPTED, Verdict.OUT_OF_MEMORY]


@pytest.mark.parametrize(
    "canary", [(COMPILED, DEAD), (COMPILED, (CLEAN, b"97")), (COMPILED, KILLED), (COMPILED, frame(b"T", 256))]
)
def test_if_the_canary_fails_too_the_judge_is_broken(canary: Sequence[Any]) -> None:
    with pytest.raises(SandboxError, match="canary, a program known to be right that fills 1024 MiB, fails too"):
        judged([ENDED] * 4 + [canary])


def test_a_program_that_runs_when_it_is_alone_has_its_own_verdict() -> None:
    assert judged([ENDED] * 3 + [(COMPILED, RIGHT)]).accepted


def test_progress_between_two_deaths_starts_the_count_anew() -> None:
    jail = (COMPILED, RIGHT, DEAD)
    assert judged([ENDED, ENDED, jail, ENDED, jail, ENDED, (COMPILED, RIGHT)], tests=3).accepted
    assert judged.floor.alone_times == 0


def test_a_compiler_that_the_kernel_ends_at_every_try_is_invalid_code_if_the_canary_is_right() -> None:
    result = judged([(DEAD,)] * 4 + [CANARY_RIGHT])
    assert result.verdict is Verdict.INVALID_CODE and result.error == judging.KILLED


def test_a_test_that_is_killed_twice_while_the_kernel_kills_nobody_is_an_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging, "oom_kills", lambda: 7)
    assert judged([(COMPILED, KILLED), (COMPILED, RIGHT)]).accepted
    assert judged([(COMPILED, KILLED)] * 2).verdict is Verdict.EXCEPTION


def test_a_test_that_the_kernel_kills_for_memory_is_never_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    kills = count()
    monkeypatch.setattr(judging, "oom_kills", lambda: next(kills))
    killed = (COMPILED, KILLED)
    assert judged([killed] * 3 + [(COMPILED, RIGHT)]).accepted
    assert judged([killed] * 4 + [CANARY_RIGHT]).verdict is Verdict.OUT_OF_MEMORY
    with pytest.raises(SandboxError, match="canary"):
        judged([killed] * 4 + [killed])


def test_a_jail_that_breaks_by_the_programs_own_fault_has_two_tries_a_test() -> None:
    broken = (COMPILED, GARBLED)
    assert judged([broken, (COMPILED, RIGHT)]).accepted
    result = judged([broken, broken, (COMPILED, RIGHT)], tests=2)
    assert [test.verdict for test in result.tests] == [Verdict.EXCEPTION, Verdict.ACCEPTED]
    assert judged([(GARBLED,)] * 2).verdict is Verdict.INVALID_CODE


def test_after_eight_broken_jails_all_that_is_left_is_an_exception() -> None:
    result = judged([(COMPILED, GARBLED)] * 8, tests=9)
    assert [test.verdict for test in result.tests] == [Verdict.EXCEPTION] * 9


@pytest.mark.parametrize(
    ("status", "verdict"), [(9, None), (137 << 8, None), (11, "exception"), (1 << 8, "exception")]
)
def test_whose_fault_a_dead_jail_is(status: int, verdict: str | None) -> None:
    """Perhaps the machine's if nsjail was killed by SIGKILL, or reports that of its child. Else the program's."""
    result = judged([ENDED] * 2 + [(COMPILED, RIGHT)], status=status)
    assert result.verdict.label == (verdict or "accepted")


def test_with_stop_at_failure_nothing_behind_the_first_failure_counts() -> None:
    result = judged([(COMPILED, RIGHT, (CLEAN, b"wrong"), RIGHT)], tests=3, stop=True)
    assert [test.verdict for test in result.tests] == [Verdict.ACCEPTED, Verdict.WRONG_OUTPUT]
