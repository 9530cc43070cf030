"""The checkers that `bench_judge.py` and `bench_judge_mixed.py` compare, each as `accepts(source, tests, limit_s)`,
and how their CPU time is counted: of this process and of everything below it, living, ended or killed.

Not counted, for any of them: what the kernel does in threads of its own, such as taking network namespaces down.
`prime_code.py` holds the checker without isolation."""

import asyncio
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import prime_code

from rlef_plugin.judge import JudgeConfig, Limits, Verdict, open_judge
from rlef_plugin.judge.compare import outputs_match
from rlef_plugin.judge.jail import LOG_FD, find_nsjail, render_config, sandbox_config
from rlef_plugin.problems import TestCase

MEMORY_MB = 256


class Ours:
    """The judge of this repository, with a pool of jails kept ready as in training."""

    name = "this judge"

    def __init__(self, workers: int = 1) -> None:
        self.loop = asyncio.new_event_loop()
        self.judge = self.loop.run_until_complete(open_judge(JudgeConfig(workers=workers)))

    def verdicts(self, sources: Sequence[str], tests: Sequence[TestCase], limit_s: float) -> list[Verdict]:
        """Of programs judged at the same time."""
        limits = Limits(cpu_s=limit_s, memory_mb=MEMORY_MB)
        asked = (self.judge.judge(source, tests, limits, stop_at_failure=True) for source in sources)

        async def all_of() -> list[Verdict]:
            return [result.verdict for result in await asyncio.gather(*asked)]

        return self.loop.run_until_complete(all_of())

    def accepts(self, source: str, tests: Sequence[TestCase], limit_s: float) -> bool:
        return self.verdicts([source], tests, limit_s) == [Verdict.ACCEPTED]

    def settle(self) -> None:
        """Returns when used jails are gone and the next ones ready: their cost belongs to what was just measured."""
        same, last = 0, (0.0, 0)
        while same < 3:
            self.loop.run_until_complete(asyncio.sleep(0.03))
            now = descendants_cpu_s()
            same = same + 1 if now == last else 0
            last = now

    def close(self) -> None:
        self.loop.run_until_complete(self.judge.close())
        self.loop.close()


class OneProcessATest:
    """A new interpreter for each test, bare or in nsjail with the very jail this judge uses."""

    def __init__(self, jailed: bool) -> None:
        self.name = "nsjail once a test" if jailed else "bare subprocess once a test"
        self.python = [os.path.realpath(sys.executable)]
        if jailed:
            config, _, executed = render_config().partition("exec_bin")
            for number in (f"log_fd: {LOG_FD}", f"pass_fd: {sandbox_config()['CONTROL_FD']}"):
                config = config.replace(number, "")
            self.config = tempfile.TemporaryFile()
            self.config.write(config.encode())
            self.config.flush()
            jail = [find_nsjail(), "-q", "--config", f"/proc/{os.getpid()}/fd/{self.config.fileno()}", "--"]
            self.python = [*jail, executed.split('"')[1]]

    def accepts(self, source: str, tests: Sequence[TestCase], limit_s: float) -> bool:
        return all(self.passes(source, test, limit_s) for test in tests)

    def passes(self, source: str, test: TestCase, limit_s: float) -> bool:
        try:
            run = subprocess.run(
                [*self.python, "-S", "-s", "-P", "-X", "utf8", "-c", source],
                input=test.input.encode(), capture_output=True, timeout=limit_s + 10, env={},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return run.returncode == 0 and outputs_match(run.stdout, test.output.encode())

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


class InProcess:
    """`prime_code.py` here, or verl's own files where `--prime-code` names their folder."""

    def __init__(self, folder: Path | None = None, as_verl_does: bool = False) -> None:
        self.name = "verl's own prime_code" if folder else "prime_code-style, no isolation"
        self.check = load_package(folder).check_correctness if folder else prime_code.check_correctness
        if as_verl_does:
            self.name, self.check = "the same, failures run again as verl does", prime_code.check_as_verl_does

    def accepts(self, source: str, tests: Sequence[TestCase], limit_s: float) -> bool:
        pairs = {"inputs": [test.input for test in tests], "outputs": [test.output for test in tests]}
        results, _ = self.check(pairs, source, timeout=max(1, round(limit_s)), debug=False)
        return all(result is True for result in results)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass


def load_package(folder: Path) -> ModuleType:
    """`utils.py` of verl's `prime_code` folder, without importing the rest of verl."""
    package = importlib.util.spec_from_file_location(
        "verl_prime_code", folder / "utils.py", submodule_search_locations=[str(folder)]
    )
    assert package and package.loader
    module = sys.modules["verl_prime_code"] = importlib.util.module_from_spec(package)
    package.loader.exec_module(module)
    return module


def tree_cpu_s() -> float:
    """CPU seconds of this process and of all that it ever started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + descendants_cpu_s()[0]


def descendants_cpu_s() -> tuple[float, int]:
    """(CPU seconds of living descendants and what they have reaped, number of them)."""
    parents, ticks = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry)], ticks[int(entry)] = int(fields[1]), sum(map(int, fields[11:15]))
    total, count, frontier = 0, 0, {os.getpid()}
    while frontier:
        frontier = {process for process, parent in parents.items() if parent in frontier}
        total, count = total + sum(ticks[process] for process in frontier), count + len(frontier)
    return total / os.sysconf("SC_CLK_TCK"), count


FLOOR = """
import gc, posix, resource
gc.disable()
code = compile("a, b = map(int, input().split())\\nprint(a + b)\\n", "solution.py", "exec")
gc.freeze()
def forks(count):
    for _ in range(count):
        child = posix.fork()
        if not child:
            posix._exit(0)
        posix.wait4(child, 0)
def cpu_s():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
forks(50)
before = cpu_s()
forks(300)
print((cpu_s() - before) / 300 * 1000)
"""


def fork_floor_ms() -> float:
    """CPU milliseconds of fork + wait in a warmed interpreter with the jail's flags and environment, but no jail."""
    box = sandbox_config()
    command = [os.path.realpath(sys.executable), *box["PYTHON_FLAGS"], "-c", FLOOR]
    return float(subprocess.run(command, env=box["ENVIRONMENT"], capture_output=True, check=True).stdout)
