"""What judging costs: CPU of the judge beside that of other ways to run a program on its tests.

    python benchmarks/bench_judge.py                        # about 3 minutes, prints tables, writes results/judge.json
    python benchmarks/bench_judge.py --rounds 1             # a quick look
    python benchmarks/bench_judge.py --prime-code FOLDER    # also verl's own files (.../reward_score/prime_code)

One trivial program (it adds two numbers) with 1, 50 and 200 tests, so that what is measured is the judge. All checkers
take turns in one process tree, round after round, and medians of their CPU time are compared: ratios carry over to
other machines, milliseconds do not, and a loaded machine disturbs both. Also measured: latency of one test with a warm
pool, and what two cores give over one. Targets are printed beside the numbers.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from judge_checkers import InProcess, OneProcessATest, Ours, fork_floor_ms, tree_cpu_s
from machine import machine
from rich.console import Console
from rich.table import Table

from rlef_plugin.problems import TestCase

PROGRAM = "a, b = map(int, input().split())\nprint(a + b)\n"
COUNTS = (1, 50, 200)
REPEATS = {  # submissions a block, so that a block takes long enough for clocks of 10 ms
    "ours": (30, 12, 6),
    "in process": (8, 6, 4),
    "a process a test": (20, 1, 1),
}
LIMIT_S = 5.0
RESULTS = Path(__file__).parent / "results"
Numbers = dict[str, list[float]]


def cases(count: int) -> list[TestCase]:
    return [TestCase(f"{i} {i + 1}\n", f"{2 * i + 1}\n") for i in range(count)]


def block_ms(checker: Any, count: int, repeats: int) -> float:
    """CPU milliseconds a submission of `count` tests."""
    tests = cases(count)
    assert checker.accepts(PROGRAM, tests[:1], LIMIT_S), f"{checker.name} rejects a correct program"
    checker.settle()
    before = tree_cpu_s()
    for _ in range(repeats):
        assert checker.accepts(PROGRAM, tests, LIMIT_S)
    checker.settle()
    return 1000 * (tree_cpu_s() - before) / repeats


def measure_costs(rounds: int, prime_code: Path | None) -> tuple[dict[str, Numbers], list[float]]:
    """CPU milliseconds by checker and number of tests, and those of a bare fork + wait."""
    checkers: list[tuple[Any, str]] = [(Ours(), "ours"), (InProcess(), "in process")]
    checkers += [(InProcess(prime_code), "in process")] if prime_code else []
    checkers += [(OneProcessATest(jailed), "a process a test") for jailed in (True, False)]
    found: dict[str, Numbers] = {checker.name: {str(count): [] for count in COUNTS} for checker, _ in checkers}
    floors = []
    for _ in range(rounds):
        floors.append(fork_floor_ms())
        for index, count in enumerate(COUNTS):
            for checker, kind in checkers:
                found[checker.name][str(count)].append(block_ms(checker, count, REPEATS[kind][index]))
    for checker, _ in checkers:
        checker.close()
    return found, floors


def measure_latency_ms(rounds: int) -> list[float]:
    """Wall milliseconds of one test by a pool at rest, as its caller sees it."""
    ours, times = Ours(workers=2), []
    for _ in range(4 * rounds):
        ours.settle()
        started = time.perf_counter()
        assert ours.accepts(PROGRAM, cases(1), LIMIT_S)
        times.append(1000 * (time.perf_counter() - started))
    ours.close()
    return times


def measure_throughput(rounds: int, programs: int = 24) -> dict[int, list[float]]:
    """Programs of 50 tests a second on one core and on all; the whole tree is bound to them."""
    cores = sorted(os.sched_getaffinity(0))
    found: dict[int, list[float]] = {1: [], len(cores): []}
    for _ in range(rounds):
        for count in found:
            os.sched_setaffinity(0, cores[:count])
            ours = Ours(workers=count)
            ours.verdicts([PROGRAM] * count, cases(50), LIMIT_S)
            started = time.perf_counter()
            ours.verdicts([PROGRAM] * programs, cases(50), LIMIT_S)
            found[count].append(programs / (time.perf_counter() - started))
            ours.close()
    os.sched_setaffinity(0, cores)
    return found


def median_table(costs: dict[str, Numbers], floor_ms: float) -> Table:
    table = Table(title=f"CPU ms a submission, medians (bare fork + wait: {floor_ms:.2f} ms)")
    for heading in (
        "checker",
        *(f"{count} tests" for count in COUNTS),
        "one more test",
        "of this judge at 50",
        "at 200",
    ):
        table.add_column(heading, justify="left" if heading == "checker" else "right")
    ours = medians(costs["this judge"])
    for name, numbers in costs.items():
        found = medians(numbers)
        table.add_row(
            name,
            *(f"{found[str(count)]:.1f}" for count in COUNTS),
            f"{one_more_test_ms(found):.2f}",
            f"{found['50'] / ours['50']:.2f} x",
            f"{found['200'] / ours['200']:.2f} x",
        )
    return table


def medians(numbers: Numbers) -> dict[str, float]:
    return {count: statistics.median(values) for count, values in numbers.items()}


def one_more_test_ms(found: dict[str, float]) -> float:
    return (found["200"] - found["50"]) / 150


def targets(results: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """(what, measured, wanted, held). `prime_code` is verl's own where it was measured, else the one beside this file,
    which is the faster one."""
    cost = {name: medians(numbers) for name, numbers in results["cpu_ms"].items()}
    ours, jailed = cost["this judge"], cost["nsjail once a test"]
    plain = cost.get("verl's own prime_code") or cost["prime_code-style, no isolation"]
    speeds = {int(count): statistics.median(values) for count, values in results["programs_per_s"].items()}
    checks = [
        ("50 tests, of nsjail once a test", ours["50"] / jailed["50"], 1 / 14),
        ("200 tests, of nsjail once a test", ours["200"] / jailed["200"], 1 / 20),
        ("50 tests, of prime_code", ours["50"] / plain["50"], 0.55),
        ("200 tests, of prime_code", ours["200"] / plain["200"], 0.5),
        ("one more test, of fork + wait", one_more_test_ms(ours) / statistics.median(results["fork_ms"]), 1.25),
        ("latency of one test, ms", statistics.median(results["latency_ms"]), 15.0),
    ]
    rows = [(what, measured, f"<= {wanted:.3g}", measured <= wanted) for what, measured, wanted in checks]
    scaling = speeds[max(speeds)] / speeds[1]
    return [*rows, (f"{max(speeds)} cores over one", scaling, ">= 1.85", scaling >= 1.85)]


def target_table(results: dict[str, Any]) -> Table:
    table = Table("target", "measured", "wanted", "held", title="Targets")
    for what, measured, wanted, held in targets(results):
        table.add_row(what, f"{measured:.3f}", wanted, "yes" if held else "[red]no[/red]")
    return table


def write(name: str, results: dict[str, Any], tables: list[Table]) -> None:
    """The numbers as JSON and the tables as text, under results/."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    with (RESULTS / f"{name}.md").open("w") as file:
        file.write(f"`python benchmarks/{Path(sys.argv[0]).name}`, {results['machine']}\n\n```text\n")
        for table in tables:
            Console(file=file, width=119).print(table)
            Console(width=119).print(table)
        file.write("```\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prime-code", type=Path, help="folder of verl's own prime_code, measured too")
    options = parser.parse_args()
    costs, floors = measure_costs(options.rounds, options.prime_code)
    results = {
        "machine": machine(),
        "rounds": options.rounds,
        "fork_ms": floors,
        "cpu_ms": costs,
        "latency_ms": measure_latency_ms(options.rounds),
        "programs_per_s": measure_throughput(options.rounds),
    }
    write("judge", results, [median_table(costs, statistics.median(floors)), target_table(results)])


if __name__ == "__main__":
    main()
