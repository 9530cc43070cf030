"""One program judged: which jail runs which test, what a jail's death means, and when to stop.

Runs in the server. Inputs go to the jail as memory files, expected outputs stay here. The program's own jail takes its
tests in order. Where workers are idle and much is left, helpers run later tests ahead in jails of their own; what
they find counts as if it had come in order, and they give way to any program that waits.

Whose fault a jail's death is:
- its cgroup's, if the kernel killed in it because its own limit was reached: OUT_OF_MEMORY for the running test;
- found by the server's watch: what the watch says, OUT_OF_MEMORY or TIMEOUT;
- garbled, silent or crashed after it got the program: a second try, then the program's: EXCEPTION for that test
  (INVALID_CODE while compiling), and after `MAX_JAILS` jails for all that are left;
- killed, or without a process to make: perhaps the machine's. After `KILLED_TRIES` deaths nothing else runs here: the
  program is judged alone, and if its jail dies again a canary, a program known to be right that fills the same memory,
  is judged after it. If the canary passes, the kernel ends this program and no other: OUT_OF_MEMORY (or TIMEOUT),
  marked and counted in `ProgramResult.killed`. If the canary fails the judge is broken: `SandboxError`.
A test's process killed by a SIGKILL that nobody here sent may be the kernel's victim too, so that test is run once
more, and goes the same way if the kernel's counter of out-of-memory kills goes up meanwhile.
A helper decides none of this: what goes wrong there is run again by the program's own jail."""

import asyncio
import os
import signal
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from rlef_plugin.judge.cgroups import bound_bytes
from rlef_plugin.judge.compare import OutputFile, compare
from rlef_plugin.judge.jail import sandbox_config
from rlef_plugin.judge.process import Found, JailProcess
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
from rlef_plugin.judge.wire import Frame, GarbledFrame, memory_file, pack, read_range

KILLED_TRIES = 3
BLAMED_TRIES = 2
MAX_JAILS = 8  # lost by the program's own fault
NO_PROCESS_PAUSE_S = 0.5
COMPILE_S = 30.0  # wall seconds; an honest program needs milliseconds
SPENT, STOPPED = 1, 2  # flags of a test, as in sandbox/runner.py
AHEAD, SHORT_AHEAD = 2, 16  # tests given to a jail, so that it need not wait for the next; more if they are short:
SHORT_S, AHEAD_BYTES, LONGEST_PAUSE_S = 0.02, 1 << 20, 0.05  # in time and input, since each look at a jail costs
LARGE_BYTES = 1 << 20  # outputs from here on are read in a thread, so that other jails are still served
ERROR_BYTES = 16384  # of standard error, its end
HELP_AFTER_S, HELP_FOR_S = 0.1, 0.3  # a program gets helpers once it has run for so long and so much is left
HELPERS_LOOK_S = 0.05
INHERIT_TESTS = 8  # from so many on, saving page faults in each is worth what it costs once
FILL_S = 0.01  # no program fills 64 MiB in less, so shorter tests are not asked whether they did
BROKE = "The program broke its sandbox."
KILLED = "The kernel ended the program's jail at every try, and not that of a program known to be right."
NOT_RUN = "Not run, since the kernel ended the program's jail at every try in an earlier test."
BOUND_MET = (
    "All processes of the program together, with the memory of the kernel that they use, took more than {} MiB."
)
CANARY = """
import os
filled = bytearray(%d)
filled[::4096] = b"1" * len(range(0, len(filled), 4096))
ready, waiting = os.pipe()
children = [os.fork() or (os.close(waiting), os.read(ready, 1), os._exit(7)) for _ in range(8)]
os.close(waiting)
print(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) + sum(map(int, input().split())))
"""
CANARY_TEST = b"20 22", b"98"
CANARY_ROOM_MB = 16  # of its limit, for its interpreter


@dataclass(slots=True)
class Job:
    """A program, its tests, and what is known of them so far."""

    source: bytes
    inputs: list[bytes]
    expected: list[bytes] | None  # None: nothing is compared, a clean run is ACCEPTED
    limits: Limits
    stop_at_failure: bool = False
    strict_exit: bool = True
    kept_stdout_bytes: int = 16384
    input_file: str | None = None
    output_file: str | None = None
    driver: bytes = b""  # of calls, see `Judge.run`
    results: dict[int, TestResult] = field(default_factory=dict)
    todo: deque[int] = field(default_factory=deque)  # tests that no jail has, in order
    end: int = 0  # tests from here on are not wanted: their number, or behind the first failure
    compiled: bool = False
    started: float = 0.0  # event loop time
    killed: int = 0  # tests whose jail the kernel ended at every try
    kills: Counter[int] = field(default_factory=Counter)  # of a test's process, by a SIGKILL that is not ours
    oom_kills: int = 0  # the machine's count of them when one first was
    helpers: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.end = len(self.inputs)
        self.todo.extend(range(self.end))

    @property
    def finished(self) -> bool:
        return self.compiled and all(index in self.results for index in range(self.end))

    @property
    def a_test_s(self) -> float:
        """Wall seconds that a test has taken so far."""
        return (asyncio.get_running_loop().time() - self.started) / (len(self.results) + 1)

    def ahead(self, given: Sequence[tuple[int, object]]) -> int:
        """How many tests a jail may have. Few at first, since what is run behind a failure is lost."""
        if self.helpers or self.a_test_s > SHORT_S or sum(len(self.inputs[index]) for index, _ in given) > AHEAD_BYTES:
            return 1 if self.helpers else AHEAD
        return min(AHEAD + len(self.results), SHORT_AHEAD)

    def pause_s(self, given: int) -> float:
        """Half of the time that a jail needs for what it has."""
        return min(self.a_test_s * given / 2, LONGEST_PAUSE_S) if given > AHEAD else 0.0

    def settle(self, index: int, result: TestResult) -> None:
        self.results[index] = result
        if self.stop_at_failure and result.verdict is not Verdict.ACCEPTED:
            self.end = min(self.end, index + 1)
            self.todo = deque(one for one in self.todo if one < self.end)
        self.changed.set()

    def give_back(self, indexes: Iterable[int]) -> None:
        """Tests that a jail had and did not end."""
        again = {index for index in indexes if index < self.end and index not in self.results}
        self.todo = deque(sorted(again.union(self.todo)))
        self.changed.set()

    def fail(self, indexes: Iterable[int], verdict: Verdict, error: str, found: Found | None = None) -> None:
        """Tests whose jail was lost, so that only the watch has measured anything of them."""
        measured = (found.cpu_s, found.wall_s, found.memory_bytes / 2**20) if found else (0.0, 0.0, 0.0)
        for index in list(indexes):
            self.todo = deque(one for one in self.todo if one != index)
            self.settle(index, TestResult(verdict, *measured, b"", error))

    def result(self) -> ProgramResult:
        tests = tuple(self.results[index] for index in range(self.end))
        verdict = next((test.verdict for test in tests if test.verdict is not Verdict.ACCEPTED), Verdict.ACCEPTED)
        return ProgramResult(verdict, tests, killed=self.killed)


class Floor(Protocol):
    """What the server offers: jails, and places for those who use them."""

    async def take(self) -> JailProcess:
        """A fresh jail; whoever takes it ends it."""
        ...

    def help(self, job: Job) -> bool:
        """Starts a helper for a program, if there is an idle worker and no program waits for one."""
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Nothing else runs meanwhile."""
        ...


class NotCompilable(Exception):
    """Carries the compiler's message."""


class NoProcess(Exception):
    """The runner says that the machine let it make no process."""


class ProcessKilled(Exception):
    """A test's process was killed by a SIGKILL that nobody here sent."""


class Lost(Exception):
    """A jail ended before its tests did. `index` is the test that ran, -1 while compiling."""

    def __init__(self, jail: JailProcess, index: int, error: Exception) -> None:
        super().__init__(index)
        self.jail, self.index, self.error = jail, index, error


LOSSES = (Found, EOFError, TimeoutError, GarbledFrame, NoProcess, ProcessKilled)


async def judge_program(job: Job, floor: Floor) -> ProgramResult:
    """Every jail taken is ended here, also when this task is cancelled."""
    losses = Losses()
    job.started = asyncio.get_running_loop().time()
    helping = asyncio.create_task(_call_help(job, floor))
    try:
        while not job.finished:
            if job.compiled and not job.todo:  # helpers have what is left
                job.changed.clear()
                await job.changed.wait()
                continue
            try:
                await (_judge_alone if losses.killed >= KILLED_TRIES else _use_jail)(job, floor)
            except Lost as lost:
                await losses.settle(job, lost)
        return job.result()
    except NotCompilable as error:
        return ProgramResult(Verdict.INVALID_CODE, (), str(error))
    finally:
        for task in (helping, *job.helpers):
            task.cancel()
        await asyncio.gather(helping, *job.helpers, return_exceptions=True)


async def _use_jail(job: Job, floor: Floor, most: int = -1) -> None:
    jail = await floor.take()
    try:
        await _drive(jail, job, most)
    finally:
        jail.end()


@dataclass(slots=True)
class Losses:
    """The jails that a program lost: what each says, and how many without progress between them."""

    killed: int = 0
    blamed: int = 0
    all_blamed: int = 0
    progress: tuple[bool, int] = (False, 0)

    async def settle(self, job: Job, lost: Lost) -> None:
        """Gives the test that ran a verdict, or lets it be run again; raises NotCompilable for the compiler."""
        if self.progress != (progress := (job.compiled, len(job.results))):
            self.killed, self.blamed, self.progress = 0, 0, progress
        cause = await _cause(job, lost)
        if isinstance(cause, Found):
            return self._found(job, lost, cause)
        self.killed += cause == "killed"
        self.blamed += cause == "blamed"
        self.all_blamed += cause == "blamed"
        if self.blamed >= BLAMED_TRIES or self.all_blamed >= MAX_JAILS:
            if lost.index < 0:
                raise NotCompilable("The compiler crashed or hung on this program.")
            all_left = self.all_blamed >= MAX_JAILS and not job.stop_at_failure
            job.fail(job.todo if all_left else [lost.index], Verdict.EXCEPTION, BROKE)

    def _found(self, job: Job, lost: Lost, found: Found) -> None:
        if lost.index < 0:
            raise NotCompilable(f"The compiler took too much of this machine: {found}")
        job.fail([lost.index], found.verdict, str(found), found)


async def _cause(job: Job, lost: Lost) -> str | Found:
    """`killed`: perhaps by the machine. `blamed`: the program. `again`: a process that was killed for the first time,
    or what the watch found."""
    error = lost.error
    if isinstance(error, Found):
        return error
    if isinstance(error, NoProcess):
        await asyncio.sleep(NO_PROCESS_PAUSE_S)
        return "killed"
    if isinstance(error, ProcessKilled):
        return "killed" if oom_kills() > job.oom_kills else "again"
    if isinstance(error, GarbledFrame | TimeoutError):
        return "blamed"
    await asyncio.wait([lost.jail.exited], timeout=1)
    # nsjail itself was killed, or it reports that of its child, as 128 + 9.
    status = os.waitstatus_to_exitcode(lost.jail.exited.result()) if lost.jail.exited.done() else None
    return "killed" if status in (-signal.SIGKILL, 128 + signal.SIGKILL) else "blamed"


def _bound_met(jail: JailProcess, job: Job) -> Found | None:
    """Whether the kernel killed in this jail because its own limit was met: then that is the program's doing."""
    if not jail.cgroup or not jail.cgroup.oom_kills:
        return None
    peak = jail.cgroup.peak_bytes
    return Found(Verdict.OUT_OF_MEMORY, BOUND_MET.format(_bound_bytes(job) >> 20), memory_bytes=peak)


async def _judge_alone(job: Job, floor: Floor) -> None:
    """The next test while nothing else runs here, and a canary if that costs another jail."""
    async with floor.alone():
        try:
            return await _use_jail(job, floor, most=1)
        except Lost as lost:
            if await _cause(job, lost) not in ("killed", "again"):
                raise
            index, jail = lost.index, lost.jail
        await _judge_canary(job, floor)
    if index < 0:
        raise NotCompilable(KILLED)
    job.killed += 1
    over = jail.cpu_s > job.limits.cpu_s
    job.fail([index], Verdict.TIMEOUT if over else Verdict.OUT_OF_MEMORY, KILLED)
    job.fail(job.todo, Verdict.OUT_OF_MEMORY, NOT_RUN)


async def _judge_canary(job: Job, floor: Floor) -> None:
    """Raises SandboxError if a program that is known to be right, and fills the same memory, fails as well."""
    memory_mb = job.limits.memory_mb
    size = max(memory_mb - CANARY_ROOM_MB, 1) * 2**20
    canary = Job((CANARY % size).encode(), [CANARY_TEST[0]], [CANARY_TEST[1]], Limits(30.0, memory_mb))
    said = "its jail was killed as well"
    with suppress(Lost, NotCompilable):
        await _use_jail(canary, floor)
        said = f"it got {canary.result().verdict.label}"
        if canary.result().accepted:
            return
    raise SandboxError(
        f"A jail was killed {KILLED_TRIES + 1} times in a row, and the canary, a program known to be right that fills "
        f"{memory_mb} MiB, fails too ({said}): free memory on this machine, or look for what kills processes there."
    )


# ---- helpers ----


async def _call_help(job: Job, floor: Floor) -> None:
    """Starts helpers as soon as they can end the program sooner by more than they cost."""
    await asyncio.sleep(HELP_AFTER_S)
    while True:
        while len(job.todo) > 0 and job.a_test_s * (len(job.todo) - len(job.helpers)) > HELP_FOR_S and floor.help(job):
            pass
        await asyncio.sleep(HELPERS_LOOK_S)


async def help_program(job: Job, floor: Floor) -> None:
    """Runs tests ahead until none is left. What goes wrong is left to the program's own jail."""
    with suppress(Lost, NotCompilable, SandboxError):
        await _use_jail(job, floor)


# ---- one jail ----


async def _drive(jail: JailProcess, job: Job, most: int = -1) -> None:
    """Has the tests run that are left, `most` of them at the most; ends at a spent jail. Raises Lost."""
    given: deque[tuple[int, list[int]]] = deque()  # tests that the jail has, with their streams
    try:
        await _compile(jail, job)
        spent = False
        while not spent:
            while job.todo and most and len(given) < job.ahead(given):
                most -= 1
                given.append((index := job.todo.popleft(), _give_test(jail, job, index)))
            if not given:
                return
            frame = await _next_result(jail, len(given) > 1, job.pause_s(len(given)))
            index, streams = given[0]
            spent = bool(frame.numbers[4] & SPENT)
            result = await _judge_test(frame, streams, jail, job, index)
            given.popleft()
            _close(streams)
            job.settle(index, result)
    except LOSSES as error:
        met = _bound_met(jail, job) if isinstance(error, EOFError) else None  # now: soon its cgroup is another jail's
        raise Lost(jail, given[0][0] if given else -1, met or error) from error
    finally:
        jail.end_test()
        for _, streams in given:
            _close(streams)
        job.give_back(index for index, _ in given)


async def _compile(jail: JailProcess, job: Job) -> None:
    limits = job.limits
    jail.watch(limits, _bound_bytes(job))
    jail.deadline = asyncio.get_running_loop().time() + COMPILE_S
    slack = sandbox_config()["ADDRESS_SPACE_SLACK"]
    largest = max(map(len, job.inputs), default=0) if job.input_file else 0
    task = {
        "source": job.source,
        "cpu_s": limits.cpu_s,
        "address_space": 0 if jail.cgroup else limits.memory_mb * 2**20 + slack,
        # One byte more than allowed, so that an output of exactly the limit is seen to fit.
        "file_bytes": max(limits.output_bytes + 1, largest, len(job.source)),
        "input_file": job.input_file,
        "output_file": job.output_file,
        "driver": job.driver,
    }
    jail.send_file(pack(task)[8:])
    frame = await jail.receive()
    if frame.kind == b"M":
        raise NoProcess
    if frame.kind == b"I":
        raise NotCompilable(frame.text.decode("utf-8", "replace"))
    if frame.kind != b"C":
        raise GarbledFrame(f"kind {frame.kind!r} instead of a compiler's answer")
    job.compiled = True
    if len(job.todo) >= INHERIT_TESTS:
        inherit_code(jail.pid)


def _bound_bytes(job: Job) -> int:
    limits = job.limits
    return bound_bytes(limits.memory_mb * 2**20, limits.output_bytes, sandbox_config()["SCRATCH_BYTES"])


def _give_test(jail: JailProcess, job: Job, index: int) -> list[int]:
    """Sends a test's streams, made for it alone, and the copy of its output file. Returns this side's descriptors."""
    names = ("stdout", "stderr", "output") if job.output_file else ("stdout", "stderr")
    streams = [memory_file("stdin", job.inputs[index]), *map(memory_file, names)]
    jail.send(b"T", streams)
    if not jail.test_started:
        jail.begin_test()
    return streams


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


async def _next_result(jail: JailProcess, another: bool, pause_s: float) -> Frame:
    frame = await jail.receive(pause_s)
    jail.end_test()
    if another:
        jail.begin_test()
    if frame.kind == b"M":
        raise NoProcess
    if frame.kind != b"T":
        raise GarbledFrame(f"kind {frame.kind!r} instead of a test's result")
    return frame


async def _judge_test(frame: Frame, streams: list[int], jail: JailProcess, job: Job, index: int) -> TestResult:
    """What a test did is worth. Raises ProcessKilled if the machine may have killed it."""
    limits = job.limits
    status, cpu_us, wall_us, peak_kib, flags, _ = frame.numbers
    stdout = streams[3 if job.output_file else 1]
    size, error_size = os.fstat(stdout).st_size, os.fstat(streams[2]).st_size
    bound_met = wall_us > FILL_S * 1e6 and _bound_met(jail, job)
    peak_bytes = max(peak_kib * 1024, bound_met.memory_bytes if bound_met else 0)
    stopped = bool(flags & STOPPED)
    measured = Measurement(status, cpu_us / 1e6, wall_us / 1e6, peak_bytes / 2**20, size, error_size, stopped)
    verdict = Verdict.OUT_OF_MEMORY if bound_met else broken_limit(measured, limits, strict_exit=job.strict_exit)
    if verdict is Verdict.EXCEPTION and status & 0x7F == signal.SIGKILL and _perhaps_the_kernel(job, index):
        raise ProcessKilled
    if bound_met:
        jail.watch(limits, _bound_bytes(job))  # the counters start anew
    kept = min(size, job.kept_stdout_bytes, limits.output_bytes)
    output = await asyncio.to_thread(read_range, stdout, kept) if kept > LARGE_BYTES else read_range(stdout, kept)
    if verdict is None:
        whole = output if kept == size else OutputFile(stdout, size)
        right = job.expected is None or await compare(whole, job.expected[index])
        verdict = Verdict.ACCEPTED if right else Verdict.WRONG_OUTPUT
    error = ""
    if verdict is not Verdict.ACCEPTED or job.expected is None:
        shown = min(error_size, ERROR_BYTES)
        error = bytes(read_range(streams[2], shown, error_size - shown)).decode("utf-8", "replace")
    if verdict is Verdict.EXCEPTION and not error.strip():
        error = describe_exit(status)
    return TestResult(
        verdict,
        measured.cpu_s,
        measured.wall_s,
        measured.peak_memory_mb,
        bytes(output),
        error,
        stdout_bytes=size,
    )


def _perhaps_the_kernel(job: Job, index: int) -> bool:
    """Whether a killed process is to be run once more: the first time, and while the kernel kills others too."""
    job.kills[index] += 1
    if job.kills[index] == 1:
        job.oom_kills = oom_kills()
        return True
    return oom_kills() > job.oom_kills
