"""One program judged: which jail runs which test, what a jail's death means, and when to stop.

Runs in the server. Inputs go to the jail, expected outputs stay here. Whose fault a dead jail is:
- killed by SIGKILL (a process of a jail cannot do that to its process 1): the machine's. The test is run again in a
  fresh jail, `KILLED_TRIES` times, then `SandboxError`;
- garbled, silent or crashed after it got the program: a second try, then the program's: EXCEPTION for that test
  (INVALID_CODE while compiling), and after `MAX_JAILS` jails for all that are left.
A child killed by SIGKILL that nobody here sent may be the kernel's victim too, so its test is run once more.
A jail whose processes together take too much memory is ended by the server's watch: OUT_OF_MEMORY for that test."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rlef_plugin.judge.compare import outputs_match
from rlef_plugin.judge.jail import sandbox_config
from rlef_plugin.judge.process import JailProcess
from rlef_plugin.judge.verdicts import (
    Limits,
    Measurement,
    ProgramResult,
    SandboxError,
    TestResult,
    Verdict,
    broken_limit,
    describe_exit,
)
from rlef_plugin.judge.wire import Frame, GarbledFrame, pack, read_frame

KILLED_TRIES = 4
BLAMED_TRIES = 2
MAX_JAILS = 8
COMPILE_S = 30.0  # wall seconds; an honest program needs milliseconds
SILENCE_S = 20.0  # wall seconds a runner may be late beyond a test's own wall limit
SPENT, STOPPED = 1, 2  # flags of a test, as in sandbox/runner.py
JAIL_OVERHEAD_BYTES = 64 * 2**20  # of memory, for nsjail and the runner
LARGE_BYTES = 1 << 20  # outputs from here on are compared in a thread, so that other jails are still served


@dataclass(slots=True)
class Job:
    source: bytes
    inputs: list[bytes]
    expected: list[bytes] | None  # None: nothing is compared, a clean run is ACCEPTED
    limits: Limits
    stop_at_failure: bool = False
    strict_exit: bool = True
    kept_stdout_bytes: int = 16384
    input_file: str | None = None
    output_file: str | None = None
    compiled: bool = False
    run_again: int = -1  # the test that was
    done: list[TestResult] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        stopped = self.stop_at_failure and self.done and self.done[-1].verdict is not Verdict.ACCEPTED
        return bool(stopped) or (self.compiled and len(self.done) == len(self.inputs))

    def result(self) -> ProgramResult:
        verdicts = (test.verdict for test in self.done)
        return ProgramResult(
            next((v for v in verdicts if v is not Verdict.ACCEPTED), Verdict.ACCEPTED), tuple(self.done)
        )


class NotCompilable(Exception):
    """Carries the compiler's message."""


class RunAgain(Exception):
    """A test whose end may not be the program's doing is run once more, in a fresh jail."""


@dataclass(slots=True)
class Deaths:
    """Of this program's jails: how many in all, and without progress between them, by whose fault."""

    all: int = 0
    killed: int = 0
    blamed: int = 0


async def judge_program(job: Job, take: Callable[[], Awaitable[JailProcess]]) -> ProgramResult:
    """`take()` gives a fresh jail; every one taken is ended here, also when this task is cancelled."""
    deaths = Deaths()
    while not job.finished:
        progress = (job.compiled, len(job.done))
        jail = await take()
        try:
            await _drive(jail, job)
        except NotCompilable as error:
            return ProgramResult(Verdict.INVALID_CODE, (), str(error))
        except RunAgain:
            pass
        except MemoryError as error:
            job.done.append(_failed(Verdict.OUT_OF_MEMORY, str(error)))
        except (EOFError, OSError, GarbledFrame, TimeoutError) as error:
            if (job.compiled, len(job.done)) != progress:
                deaths = Deaths(deaths.all)
            deaths.all += 1
            if await _was_killed(jail, error):
                deaths.killed += 1
            else:
                deaths.blamed += 1
        finally:
            jail.end()
        if deaths.killed >= KILLED_TRIES:
            raise SandboxError(f"A jail was killed {KILLED_TRIES} times in a row: look for an out-of-memory killer.")
        if deaths.blamed >= BLAMED_TRIES or deaths.all >= MAX_JAILS:
            if not job.compiled:
                return ProgramResult(Verdict.INVALID_CODE, (), "The compiler crashed or hung on this program.")
            left = len(job.inputs) - len(job.done)
            broke = _failed(Verdict.EXCEPTION, "The program broke its sandbox.")
            job.done += [broke] * (left if deaths.all >= MAX_JAILS and not job.stop_at_failure else 1)
            deaths = Deaths(deaths.all)
    return job.result()


def _failed(verdict: Verdict, error: str) -> TestResult:
    """Of a test whose jail was lost, so nothing of it is measured."""
    return TestResult(verdict, 0.0, 0.0, 0.0, b"", error)


async def _was_killed(jail: JailProcess, error: Exception) -> bool:
    """By SIGKILL from outside: nsjail itself, or what it then reports of its child as 128 + 9."""
    if isinstance(error, GarbledFrame | TimeoutError):
        return False
    await asyncio.wait([jail.exited], timeout=1)
    return jail.exited.done() and os.waitstatus_to_exitcode(jail.exited.result()) in (-9, 137)


async def _drive(jail: JailProcess, job: Job) -> None:
    """Sends the tests that are left, all at once, and takes their results until the last, a stop, or a spent jail."""
    now = asyncio.get_running_loop().time
    first = len(job.done)
    inputs = job.inputs[first:]
    jail.deadline = now() + COMPILE_S
    jail.memory_limit_bytes = job.limits.memory_mb * 2**20 + JAIL_OVERHEAD_BYTES
    jail.writer.write(pack(_task(job, inputs)))
    compiled = await read_frame(jail.reader, 0)
    if compiled.kind == b"I":
        raise NotCompilable(compiled.output.decode("utf-8", "replace"))
    if compiled.kind != b"C":
        raise GarbledFrame(f"kind {compiled.kind!r} instead of a compiler's answer")
    job.compiled = True
    # Only now, as a runner that left with unread inputs would cost us what it said last. Empty buffers would make
    # asyncio write once more, to a runner that may have left after its last test.
    waiting = [data for data in inputs if data]
    if waiting:
        jail.writer.writelines(waiting)
    for index in range(first, len(job.inputs)):
        jail.test_started = now()
        jail.deadline = jail.test_started + job.limits.wall_s + SILENCE_S
        frame = await read_frame(jail.reader, job.limits.output_bytes)
        if frame.kind != b"T":
            raise GarbledFrame(f"kind {frame.kind!r} instead of a test's result")
        result = await _judge_test(frame, job, index)
        killed = result.verdict is Verdict.EXCEPTION and frame.numbers[0] & 0x7F == signal.SIGKILL
        if killed and job.run_again != index:
            job.run_again = index
            raise RunAgain
        job.done.append(result)
        if job.finished or frame.numbers[6] & SPENT:
            return


def _task(job: Job, inputs: list[bytes]) -> dict[str, object]:
    limits = job.limits
    return {
        "source": job.source,
        "cpu_s": limits.cpu_s,
        "wall_s": limits.wall_s,
        "memory_bytes": limits.memory_mb * 2**20 + sandbox_config()["ADDRESS_SPACE_SLACK"],
        "output_bytes": limits.output_bytes,
        "eager": job.stop_at_failure,
        "input_sizes": [len(data) for data in inputs],
        "input_file": job.input_file,
        "output_file": job.output_file,
    }


async def _judge_test(frame: Frame, job: Job, index: int) -> TestResult:
    status, cpu_us, wall_us, peak_kib, output_bytes, error_bytes, flags = frame.numbers
    measured = Measurement(
        status, cpu_us / 1e6, wall_us / 1e6, peak_kib / 1024, output_bytes, error_bytes, bool(flags & STOPPED)
    )
    verdict = broken_limit(measured, job.limits, strict_exit=job.strict_exit)
    if verdict is None:
        verdict = await _compare(frame.output, job.expected[index]) if job.expected else Verdict.ACCEPTED
    error = frame.error.decode("utf-8", "replace")
    if verdict is Verdict.EXCEPTION and not error.strip():
        error = describe_exit(status)
    stdout = frame.output[: job.kept_stdout_bytes]
    return TestResult(verdict, measured.cpu_s, measured.wall_s, measured.peak_memory_mb, stdout, error)


async def _compare(output: bytes, expected: bytes) -> Verdict:
    if len(output) < LARGE_BYTES:
        match = outputs_match(output, expected)
    else:
        match = await asyncio.to_thread(outputs_match, output, expected)
    return Verdict.ACCEPTED if match else Verdict.WRONG_OUTPUT
