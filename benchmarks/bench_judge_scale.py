"""How many CPU cores judging takes at the paper's rates: measured costs of a program, and the model of docs/judge.md.

    python benchmarks/bench_judge_scale.py             # about a minute; prints two tables
    python benchmarks/bench_judge_scale.py --rounds 3 --programs 10

The programs are the stored solutions of the plugin's example problems; each problem has 1 public test and its others,
in turn, as 20 private ones. Three kinds take turns, round after round: a correct program on the public test (what
feedback needs), a correct one on the 20 private tests, and an incorrect one on them, which ends at its first failure.
Programs that ran into their time limit are left out, since they cost what the limit says: the model has a term for
them. CPU is of all processes the judge starts; medians over the rounds. With --workers 2 and more, several programs
run at a time, as in training.
"""

import argparse
import asyncio
import itertools
import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from machine import machine
from rich.console import Console
from rich.table import Table

from rlef_plugin.judge import Judge, JudgeConfig, Limits, open_judge
from rlef_plugin.problems import EXAMPLES, TestCase, read_rows
from rlef_plugin.problems.convert import convert

PRIVATE_TESTS = 20
LIMITS = Limits(cpu_s=5, memory_mb=512)
ROLLOUTS, TURNS, UPDATES = 1024, 3, 4  # of an iteration, as the paper has it
UPDATE_S = {"8B": 6.0, "70B": 9.0}
BUSY = 0.7  # of the judge's cores, so that no queue builds up


@dataclass(frozen=True)
class Work:
    program: str
    tests: tuple[TestCase, ...]


def workload(count: int) -> dict[str, list[Work]]:
    """`count` programs of each kind, each another one as long as there are any."""
    kinds: dict[str, list[Work]] = {"public test": [], "all private tests": [], "first failure": []}
    for row in read_rows(EXAMPLES):
        found = convert(row, split="train", name="x", generated_suffice=True)
        problem = found.problem
        private = tuple(itertools.islice(itertools.cycle(problem.private_tests), PRIVATE_TESTS))
        for solution in found.solutions:
            if solution.correct:
                kinds["public test"].append(Work(solution.code, problem.public_tests[:1]))
                kinds["all private tests"].append(Work(solution.code, private))
            elif solution.verdict in ("wrong_output", "exception"):
                kinds["first failure"].append(Work(solution.code, private))
    return {kind: list(itertools.islice(itertools.cycle(works[::3]), count)) for kind, works in kinds.items()}


def cpu_s() -> float:
    """Of this process and everything that it ever started."""
    total = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:  # it has ended, and its parent counts it now
            pass
    return total


async def cost_s(judge: Judge, works: Sequence[Work]) -> float:
    """CPU seconds a program."""
    before = cpu_s()
    asked = (judge.judge(work.program, work.tests, LIMITS, stop_at_failure=True) for work in works)
    await asyncio.gather(*asked)
    return (cpu_s() - before) / len(works)


async def measure(workers: int, programs: int, rounds: int) -> dict[str, float]:
    kinds = workload(programs)
    judge = await open_judge(JudgeConfig(workers=workers))
    try:
        costs: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(rounds + 1):
            for kind, works in kinds.items():
                cost = await cost_s(judge, works)
                if number:  # the first round warms caches
                    costs[kind].append(cost)
    finally:
        await judge.close()
    return {kind: statistics.median(found) for kind, found in costs.items()}


def cores(costs: dict[str, float], update_s: float, *, solved: float, late: float, limit_s: float) -> float:
    """Cores for one iteration's programs in one iteration's time; docs/judge.md derives it.

    `solved`: fraction of rollouts whose last program passes all; `late`: of programs that run into `limit_s`."""
    last = solved * costs["all private tests"] + (1 - solved) * costs["first failure"]
    rollout_s = TURNS * (costs["public test"] + late * limit_s) + last
    return ROLLOUTS * rollout_s / (UPDATES * update_s) / BUSY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--programs", type=int, default=30)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    costs = asyncio.run(measure(arguments.workers, arguments.programs, arguments.rounds))
    console, found = Console(highlight=False), machine()
    measured = Table(
        "program on",
        "CPU ms",
        "programs/s a core",
        title=f"{found['cores']} cores of {found['cpu']}, Python {found['python']}",
        title_justify="left",
    )
    for kind, cost in costs.items():
        measured.add_row(kind, f"{1000 * cost:.0f}", f"{1 / cost:.0f}")
    console.print(measured)
    model = Table("time limits met", *UPDATE_S, title="cores of judge nodes", title_justify="left")
    for late, limit_s in ((0.0, 0.0), (0.02, 2.0), (0.05, 2.0), (0.05, 10.0)):
        needed = [cores(costs, update_s, solved=0.4, late=late, limit_s=limit_s) for update_s in UPDATE_S.values()]
        model.add_row(f"{late:.0%} x {limit_s:g} s" if late else "none", *(f"{one:.1f}" for one in needed))
    console.print(model)


if __name__ == "__main__":
    main()
