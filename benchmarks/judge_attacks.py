"""Every attack of tests/attacks tried on the judge: which are held, by kind.

    python -m benchmarks.judge_attacks                    # all; minutes on 2 cores
    python -m benchmarks.judge_attacks shared_ output_of  # those whose names begin like this

A right program is judged again and again beside each attack. An attack is held if all of this is so: its own verdicts
are among those that its file names; the program beside it is accepted every time, and in time; the machine never lost
more memory than the file says; and the event loop of the judge's server was never busy for longer than `LAG_S`.
`tests/test_judge_corpus.py` tries the same attacks one by one.

An attack is one file, and all of it is the judged program. Its first line says: kind | the kernel object or the
promise that it attacks | what must happen. Lines that begin with `#:` are fields of `Attack`, as arguments of a call;
such a line ends where a comma may stand.

Not covered: what only shows on a kernel or a machine unlike this one."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.loop_lag import Lag, probed
from rlef_plugin.env.call_runs import run_calls
from rlef_plugin.env.calls import Call
from rlef_plugin.judge import Judge, JudgeConfig, Limits, ProgramResult, TestResult, Verdict, open_judge
from rlef_plugin.judge.checker import judge_with_checker
from rlef_plugin.judge.procfs import descendants
from rlef_plugin.problems import Problem, TestCase

FOLDER = Path(__file__).parents[1] / "tests" / "attacks"
RESULT = Path(__file__).parent / "results" / "judge_attacks.md"
RIGHT = """
import time
n = int(input())
while time.process_time() < 0.05: pass
print(n + 1)"""
TRIES = 3
SAMPLE_S = 0.02
LAG_S = 0.05


@dataclass(frozen=True)
class Attack:
    name: str
    kind: str
    target: str
    promise: str
    source: str
    tests: Sequence[tuple[str, str]] = (("", "held"),)
    verdicts: Sequence[str] = ("accepted",)  # of each test; one for all of them is enough; "a|b" allows both
    cpu_s: float = 2.0
    memory_mb: int = 128
    output_bytes: int = 2**24
    call: dict[str, str] = field(default_factory=dict)  # as a problem's metadata: the tests are calls
    checker: str = ""  # of the problem
    as_cpython: bool = False  # "accepted" then means: it prints and ends as with `python3 solution.py`
    beside: str = RIGHT  # judged beside it; its input is 1 and its output 2
    beside_cpu_s: float = 0.5
    beside_s: float = 9.0  # how long its answer may take on a loaded machine
    within_s: float = 60.0  # how long the attack's own answer may take
    held_mb: int = 400  # how much memory the machine may lose meanwhile
    unbounded: str = ""  # what of it nothing bounds where jails have no cgroups: there it is not tried


@dataclass(frozen=True)
class Trial:
    verdicts: list[str]
    seconds: float
    held_mb: float
    beside: Counter[str]
    beside_s: float
    lag_s: float
    said: str  # by the first test that is not as it must be

    def faults(self, attack: Attack) -> list[str]:
        """What is not as the attack's file says, a sentence each; empty if the attack is held."""
        found = []
        if not as_allowed(self.verdicts, attack):
            found.append(f"verdicts {self.verdicts}, not {list(attack.verdicts)}: {self.said}")
        if set(self.beside) - {"accepted"}:
            found.append(f"the program beside it: {dict(self.beside)}")
        if self.beside_s > attack.beside_s:
            found.append(f"the program beside it was answered after {self.beside_s:.1f} s")
        if self.lag_s > LAG_S:
            found.append(f"the server's event loop was busy for {self.lag_s:.2f} s")
        if self.seconds > attack.within_s:
            found.append(f"answered after {self.seconds:.0f} s")
        if self.held_mb > attack.held_mb:
            found.append(f"{self.held_mb:.0f} MiB of memory were gone")
        return found


def as_allowed(verdicts: Sequence[str], attack: Attack) -> bool:
    allowed = list(attack.verdicts) * (len(attack.tests) if len(attack.verdicts) == 1 else 1)
    if verdicts == ["invalid code"]:
        return "invalid code" in allowed[0].split("|")
    return len(verdicts) == len(allowed) and all(
        verdict in choice.split("|") for verdict, choice in zip(verdicts, allowed, strict=True)
    )


def read_attacks(names: Sequence[str] = ()) -> list[Attack]:
    """Those whose names begin with one of `names`, or all."""
    return [read_attack(path) for path in sorted(FOLDER.glob("*.py")) if path.stem.startswith(tuple(names) or "")]


def read_attack(path: Path) -> Attack:
    text = path.read_text()
    first, *lines = text.splitlines()
    kind, target, promise = (part.strip() for part in first.removeprefix("# ").split(" | "))
    fields = eval(f"dict({', '.join(line[2:].rstrip(' ,') for line in lines if line.startswith('#:'))})")
    return Attack(path.stem, kind, target, promise, **{"source": text} | fields)


async def try_attack(judge: Judge, lag: Lag, attack: Attack) -> Trial:
    """What others on this machine do shows in its memory, and in who gets a core: a trial in which these were not as
    they must be counts only if they never are."""
    trial = await _try_once(judge, lag, attack)
    for _ in range(TRIES - 1):
        if trial.held_mb > attack.held_mb or trial.lag_s > LAG_S:
            await asyncio.sleep(1)
            trial = await _try_once(judge, lag, attack)
    return trial


async def _try_once(judge: Judge, lag: Lag, attack: Attack) -> Trial:
    with MemoryProbe() as memory:
        started = time.monotonic()
        running = asyncio.create_task(_judged(judge, attack))
        beside: Counter[str] = Counter()
        slowest = 0.0
        while not running.done() or not beside:
            asked = time.monotonic()
            limits = Limits(cpu_s=attack.beside_cpu_s, memory_mb=64)
            right = await judge.judge(attack.beside, [TestCase("1", "2")], limits)
            beside[right.verdict.label] += 1
            slowest = max(slowest, time.monotonic() - asked)
        verdicts, said = await running
        seconds = time.monotonic() - started
    return Trial(verdicts, seconds, memory.held_mb, beside, slowest, lag.worst_s(started), said)


async def _judged(judge: Judge, attack: Attack) -> tuple[list[str], str]:
    """The verdicts of the tests, and what the first bad test said. A judge that breaks is a verdict of its own."""
    try:
        result = await _judge(judge, attack)
    except Exception as error:  # the border: the attack brought the judge down, and the next one must still be tried
        return [f"{type(error).__name__}: {error}"], ""
    labels = [test.verdict.label for test in result.tests] or [result.verdict.label]
    if attack.as_cpython:
        labels = [_against_cpython(attack, *one) for one in zip(attack.tests, result.tests, strict=True)]
    bad = next((test for label, test in zip(labels, result.tests, strict=False) if label != "accepted"), None)
    return labels, f"{bad.stdout[:300]!r} {bad.error[-300:]!r}" if bad else result.error[-300:]


def _against_cpython(attack: Attack, test: tuple[str, str], ours: TestResult) -> str:
    """ "accepted" if the output is that of `python3 solution.py` and both or neither end with status 0."""
    output, status = run_cpython(attack.source, test[0])
    same = (ours.stdout, ours.verdict) == (output, Verdict.EXCEPTION if status else Verdict.ACCEPTED)
    return "accepted" if same else f"{ours.verdict.label}, and with CPython {output!r} and status {status}"


async def _judge(judge: Judge, attack: Attack) -> ProgramResult:
    tests = tuple(TestCase(*test) for test in attack.tests)
    limits = Limits(cpu_s=attack.cpu_s, memory_mb=attack.memory_mb, output_bytes=attack.output_bytes)
    if attack.call:
        return await run_calls(judge, Call(**attack.call), attack.source, tests, limits, stop=False)  # type: ignore[arg-type]
    if attack.as_cpython:
        return await judge.run(attack.source, [test.input for test in tests], limits)
    if attack.checker:
        problem = Problem("attacked", "", tests, (), checker=attack.checker)
        return await judge_with_checker(judge, problem, attack.source, tests, limits)
    return await judge.judge(attack.source, tests, limits)


def run_cpython(source: str, text: str) -> tuple[bytes, int]:
    """Output and exit status of `python3 solution.py` in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "solution.py").write_text(source)
        run = subprocess.run(
            [os.path.realpath(sys.executable), "solution.py"],
            input=text.encode(),
            cwd=folder,
            env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
            capture_output=True,
        )
    return run.stdout, run.returncode


class MemoryProbe:
    """The most memory that the machine lost while it was open, in MiB."""

    def __enter__(self) -> "MemoryProbe":
        self.held_mb = 0.0
        self._first_mb = available_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self.held_mb = max(self.held_mb, self._first_mb - available_mb())


def jails_have_cgroups() -> bool:
    """Of any judge that this process has opened."""
    return any(b"/rlef-" in _read(f"/proc/{process}/cgroup") for process in descendants(os.getpid()))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""  # of a process that has just ended


def available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))


async def try_all(attacks: Sequence[Attack], cgroup: str) -> list[tuple[Attack, Trial]]:
    """One after the other, by one judge of two workers: what one attack breaks, the next one meets."""
    with probed() as lag:
        judge = await open_judge(JudgeConfig(workers=2, cgroup=cgroup))
    try:
        with_cgroups = jails_have_cgroups()
        print(f"{'With' if with_cgroups else 'Without'} a cgroup for each jail.")
        tried = []
        for attack in attacks:
            if attack.unbounded and not with_cgroups:
                print(f"{attack.name}: not tried, since nothing bounds {attack.unbounded} here")
                continue
            tried.append((attack, await try_attack(judge, lag, attack)))
            faults = tried[-1][1].faults(attack)
            print(f"{attack.name}: {'; '.join(faults) or 'held'} ({tried[-1][1].seconds:.1f} s)", flush=True)
        return tried
    finally:
        await judge.close()
        lag.close()


def table(tried: Sequence[tuple[Attack, Trial]]) -> str:
    kinds: dict[str, list[tuple[Attack, Trial]]] = {}
    for attack, trial in tried:
        kinds.setdefault(attack.kind, []).append((attack, trial))
    held = {kind: sum(not trial.faults(attack) for attack, trial in of) for kind, of in kinds.items()}
    beside = sum(trial.beside.total() for _, trial in tried)
    right = sum(trial.beside["accepted"] for _, trial in tried)
    lines = [
        "| kind | tried | held |",
        "|---|---|---|",
        *(f"| {kind} | {len(of)} | {held[kind]} |" for kind, of in kinds.items()),
        f"| all, {len(kinds)} kinds | {len(tried)} | {sum(held.values())} |",
        "",
        f"Right programs judged beside them: {beside:,}, of which {right:,} were accepted; the slowest answer took "
        f"{max(trial.beside_s for _, trial in tried):.1f} s. The server's event loop was busy for "
        f"{max(trial.lag_s for _, trial in tried) * 1000:.0f} ms at most. Most memory that the machine lost: "
        f"{max(trial.held_mb for _, trial in tried):.0f} MiB.",
        "",
        "| attack | what it attacks | what must happen | verdicts | held |",
        "|---|---|---|---|---|",
        *(_row(attack, trial) for attack, trial in tried),
    ]
    return "\n".join(lines)


def _row(attack: Attack, trial: Trial) -> str:
    faults = "; ".join(trial.faults(attack)).replace("|", "or")
    verdicts = ", ".join(dict.fromkeys(trial.verdicts))
    held = f"NO: {faults}" if faults else "yes"
    return f"| {attack.name} | {attack.target} | {attack.promise} | {verdicts} | {held} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the names of attacks (default: all)")
    parser.add_argument("--cgroup", default="", help="as rlef.judge.cgroup; none = without cgroups")
    options = parser.parse_args()
    tried = asyncio.run(try_all(read_attacks(options.names), options.cgroup))
    report = table(tried)
    print(report)
    if not options.names:
        RESULT.write_text(f"# Attacks on the judge\n\nWritten by `benchmarks/judge_attacks.py`.\n\n{report}\n")
    return 0 if not any(trial.faults(attack) for attack, trial in tried) else 1


if __name__ == "__main__":
    raise SystemExit(main())
