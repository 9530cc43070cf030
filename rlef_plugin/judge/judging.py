"""One program judged: which jail runs which test, what a jail's death means, and when to stop.

Runs in the server. Inputs go to the jail, expected outputs stay here. Whose fault a dead jail is:
- killed by SIGKILL (a process of a jail cannot do that to its process 1): the machine's. The test is run again in a
  fresh jail, `KILLED_TRIES` times, then `SandboxError` (or the program's, see `Deaths`);
- garbled, silent or crashed after it got the program: a second try, then the program's: EXCEPTION for that test
  (INVALID_CODE while compiling), and after `MAX_JAILS` jails for all that are left.
A child killed by SIGKILL that nobody here sent may be the kernel's victim too, so its test is run once more, and as
often as a jail if the kernel's counter of out-of-memory kills goes up meanwhile.
A jail whose processes together take too much is ended by the server's watch: OUT_OF_MEMORY or TIMEOUT for that test.
Which test it was that cost a jail is only known if no results were waiting in it, so the next jails send each at once.

With `isolation="program"` one process first runs all tests (`sandbox/shared.py`); what it does not pass is run again,
each test in a process of its own, and only that is a result other than ACCEPTED. Where nothing is expected there is
nothing to pass, so each test has its own process from the start."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from rlef_plugin.judge.compare import outputs_match
from rlef_plugin.judge.jail import sandbox_config
from rlef_plugin.judge.process import CpuSpent, JailProcess
from rlef_plugin.judge.procfs import inherit_code, oom_kills
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
OUT_OF_MEMORY_KILLER = f"A jail was killed {KILLED_TRIES} times in a row: look for an out-of-memory killer."
BLAMED_TRIES = 2
MAX_JAILS = 8  # lost by the program's own fault
NO_PROCESS_PAUSE_S = 0.5  # times the number of tries
COMPILE_S = 30.0  # wall seconds; an honest program needs milliseconds
SILENCE_S = 20.0  # wall seconds a runner may be late beyond a test's own wall limit
SPENT, STOPPED = 1, 2  # flags of a test, as in sandbox/runner.py
CPU_SLACK_S = 2.0  # results wait for each other for a quarter of a second, so that several tests can end between two
JAIL_OVERHEAD_BYTES = 64 * 2**20  # of memory, for nsjail and the runner
INHERIT_TESTS = 8  # from so many on, saving page faults in each is worth what it costs once
SHARED_TESTS, SHARED_GROWTH = 8, 8  # of one process where a failure ends it, and how many times more in the next one
SHARED_SLACK_S = 0.02  # CPU seconds a shared process may use between its tests
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
    killed_test: int = -1  # whose process was killed last,
    kills: int = 0  # how often in a row,
    oom_kills: int = 0  # and the machine's count of them when it first was
    at_once: bool = False  # each result is sent as soon as it is there, so that the running test is the next one here
    isolation: str = "test"
    accepted: dict[int, TestResult] = field(default_factory=dict)  # of tests not in `done` yet, by a shared process
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


class NoProcess(Exception):
    """The runner says that the machine let it make no process."""


class RunAgain(Exception):
    """What may not be a test's own doing: it is run once more, in a fresh jail."""


@dataclass(slots=True)
class Deaths:
    """Of this program's jails: how many by its own fault, and without progress between them, by whose.

    What is said of a kill from inside a jail is a claim: a program that has taken over its runner can make it too. It
    is believed at first, and in the end only if the kernel has run out of memory meanwhile.
    """

    all: int = 0
    killed: int = 0  # certainly, as nsjail itself was
    claimed: int = 0
    blamed: int = 0
    oom_kills: int = 0  # of the machine, when the first claim was made

    def count(self, cause: str) -> None:
        if cause == "claimed" and not self.claimed:
            self.oom_kills = oom_kills()
        setattr(self, cause, getattr(self, cause) + 1)
        self.all += cause == "blamed"

    @property
    def by_the_machine(self) -> bool:
        believed = self.killed or oom_kills() > self.oom_kills
        return bool(believed) and self.killed + self.claimed >= KILLED_TRIES

    @property
    def by_the_program(self) -> bool:
        return self.blamed >= BLAMED_TRIES or self.all >= MAX_JAILS or self.claimed >= KILLED_TRIES


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
        except (MemoryError, CpuSpent) as error:
            if job.at_once:
                verdict = Verdict.OUT_OF_MEMORY if isinstance(error, MemoryError) else Verdict.TIMEOUT
                job.done.append(_failed(verdict, str(error)))
        except (EOFError, OSError, GarbledFrame, TimeoutError, NoProcess) as error:
            if (job.compiled, len(job.done)) != progress:
                deaths = Deaths(deaths.all)
            deaths.count(await _cause(jail, error))
            if isinstance(error, NoProcess):
                await asyncio.sleep(NO_PROCESS_PAUSE_S * deaths.claimed)
        finally:
            jail.end()
        job.at_once = True
        if deaths.by_the_machine:
            raise SandboxError(OUT_OF_MEMORY_KILLER)
        if deaths.by_the_program:
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


async def _cause(jail: JailProcess, error: Exception) -> str:
    """`killed`: nsjail itself, by SIGKILL. `claimed`: it reports that of its child, as 128 + 9, or the child that it
    can make no process. Else `blamed`: the program."""
    if isinstance(error, NoProcess):
        return "claimed"
    if isinstance(error, GarbledFrame | TimeoutError):
        return "blamed"
    await asyncio.wait([jail.exited], timeout=1)
    status = os.waitstatus_to_exitcode(jail.exited.result()) if jail.exited.done() else None
    return {-9: "killed", 137: "claimed"}.get(status, "blamed")  # type: ignore[arg-type]


async def _drive(jail: JailProcess, job: Job) -> None:
    """Has the tests run that are left, and takes their results until the last, a stop, or a spent jail."""
    jail.deadline = asyncio.get_running_loop().time() + COMPILE_S
    jail.memory_limit_bytes = job.limits.memory_mb * 2**20 + JAIL_OVERHEAD_BYTES
    jail.cpu_limit_s = 2 * job.limits.cpu_s + CPU_SLACK_S
    # Once, as a later jail is here because that went wrong; and never where no output says what a test left behind.
    shared = job.isolation == "program" and not job.compiled and job.expected is not None
    _take_accepted(job)
    first = _left(job)[: SHARED_TESTS if job.stop_at_failure else None] if shared else _left(job)
    jail.writer.write(pack(_task(job) | _batch(job, first, shared)))
    compiled = await read_frame(jail.reader, 0)
    if compiled.kind == b"I":
        raise NotCompilable(compiled.output.decode("utf-8", "replace"))
    if compiled.kind != b"C":
        raise GarbledFrame(f"kind {compiled.kind!r} instead of a compiler's answer")
    job.compiled = True
    if len(first) >= INHERIT_TESTS and not shared:
        inherit_code(jail.pid)
    # Only now, as a runner that left with unread inputs would cost us what it said last.
    _send_inputs(jail, job, first)
    if shared:
        try:
            await _drive_shared(jail, job, first)
        except (MemoryError, CpuSpent, EOFError, OSError, GarbledFrame, TimeoutError, NoProcess) as error:
            raise RunAgain from error  # of no test in particular
        if not _left(job):
            return _take_accepted(job)
        jail.writer.write(pack(_batch(job, _left(job), shared=False)))
        _send_inputs(jail, job, _left(job))
    for index in _left(job):
        _take_accepted(job)
        frame = await _next_result(jail, job)
        if frame.kind != b"T":
            raise GarbledFrame(f"kind {frame.kind!r} instead of a test's result")
        result = await _judge_test(frame, job, index)
        killed = result.verdict is Verdict.EXCEPTION and frame.numbers[0] & 0x7F == signal.SIGKILL
        if killed and _by_the_kernel(job, index):
            raise RunAgain
        job.done.append(result)
        if job.finished or frame.numbers[6] & SPENT:
            return
    _take_accepted(job)


def _by_the_kernel(job: Job, index: int) -> bool:
    """Whether this test's process may have been killed for want of memory; raises if that was so at every try."""
    if job.killed_test != index:
        job.killed_test, job.kills, job.oom_kills = index, 1, oom_kills()
        return True
    job.kills += 1
    if oom_kills() == job.oom_kills:
        return False
    if job.kills >= KILLED_TRIES:
        raise SandboxError(OUT_OF_MEMORY_KILLER)
    return True


async def _drive_shared(jail: JailProcess, job: Job, batch: list[int]) -> None:
    """Runs all tests in one process, in batches that grow if a failure is to end it, and keeps what is accepted."""
    growth = SHARED_TESTS
    while True:
        found: dict[int, TestResult] = {}
        used_s = 0.0
        for index in [*batch, -1]:
            frame = await _next_result(jail, job)
            if frame.kind != b"T" or index < 0:
                break
            result = await _judge_test(frame, job, index)
            used_s += result.cpu_s
            found[index] = result
        if frame.kind != b"S":
            raise GarbledFrame(f"kind {frame.kind!r} instead of the end of a shared process")
        _, cpu_us, _, peak_kib, *_ = frame.numbers
        children_s = max(0.0, cpu_us / 1e6 - used_s)  # of no test in particular, so each must be able to afford it
        within = children_s < 0.1 * used_s + SHARED_SLACK_S and peak_kib / 1024 <= job.limits.memory_mb
        accepted = {
            index: replace(result, peak_memory_mb=peak_kib / 1024)
            for index, result in found.items()
            if result.verdict is Verdict.ACCEPTED and within and result.cpu_s + children_s <= job.limits.cpu_s
        }
        job.accepted |= accepted
        left = _left(job)
        growth *= SHARED_GROWTH
        if len(accepted) < len(batch) or not left:
            return
        batch = left[:growth]
        jail.writer.write(pack(_batch(job, batch, shared=True)))
        _send_inputs(jail, job, batch)


async def _next_result(jail: JailProcess, job: Job) -> Frame:
    jail.test_started = asyncio.get_running_loop().time()
    jail.deadline = jail.test_started + job.limits.wall_s + SILENCE_S
    frame = await read_frame(jail.reader, job.limits.output_bytes)
    jail.deadline = jail.test_started = 0.0  # until its result is compared, which can take long
    if frame.kind == b"M":
        raise NoProcess
    return frame


def _left(job: Job) -> list[int]:
    """The tests that still have to be run."""
    return [index for index in range(len(job.done), len(job.inputs)) if index not in job.accepted]


def _take_accepted(job: Job) -> None:
    while (result := job.accepted.pop(len(job.done), None)) is not None:
        job.done.append(result)


def _send_inputs(jail: JailProcess, job: Job, tests: list[int]) -> None:
    """Empty buffers would make asyncio write once more, to a runner that may have left after its last test."""
    waiting = [job.inputs[index] for index in tests if job.inputs[index]]
    if waiting:
        jail.writer.writelines(waiting)


def _batch(job: Job, tests: list[int], shared: bool) -> dict[str, object]:
    return {"input_sizes": [len(job.inputs[index]) for index in tests], "shared": shared, "more": shared}


def _task(job: Job) -> dict[str, object]:
    limits = job.limits
    return {
        "source": job.source,
        "cpu_s": limits.cpu_s,
        "wall_s": limits.wall_s,
        "memory_bytes": limits.memory_mb * 2**20 + sandbox_config()["ADDRESS_SPACE_SLACK"],
        "memory_kib": limits.memory_mb * 2**10,
        "output_bytes": limits.output_bytes,
        "eager": job.stop_at_failure,
        "at_once": job.at_once,
        "largest_input": max(map(len, job.inputs), default=0),
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
    return TestResult(
        verdict, measured.cpu_s, measured.wall_s, measured.peak_memory_mb, stdout, error, stdout_bytes=output_bytes
    )


async def _compare(output: bytes, expected: bytes) -> Verdict:
    if len(output) < LARGE_BYTES:
        match = outputs_match(output, expected)
    else:
        match = await asyncio.to_thread(outputs_match, output, expected)
    return Verdict.ACCEPTED if match else Verdict.WRONG_OUTPUT
