"""What judging costs, and how often it is right, on programs as models write them.

    python benchmarks/bench_judge_mixed.py                        # about 3 minutes; writes results/judge_mixed.*
    python benchmarks/bench_judge_mixed.py --prime-code FOLDER    # also verl's own files (.../reward_score/prime_code)

`workload/programs.toml` holds programs with their right verdicts: every way to read input, imports, shapes, wrong
answers, failures, loops, memory. Each is judged on its tests, repeated to --tests of them, up to the first failure, as
in training. Checkers take turns, round after round; medians of the CPU time of the whole tree are compared. A loop
costs each checker its time limit (1 s, the least that a checker driven by `alarm` has), so the sum is also given
without the programs that are stopped.
"""

import argparse
import itertools
import statistics
import tomllib
from pathlib import Path
from typing import Any

from bench_judge import write
from judge_checkers import InProcess, OneProcessATest, Ours, tree_cpu_s
from machine import machine
from rich.table import Table

from rlef_plugin.judge import Verdict
from rlef_plugin.problems import TestCase

LIMIT_S = 1.0
TARGET = 0.6  # of the checker without isolation
Program = dict[str, Any]


def load_programs(count: int) -> list[Program]:
    content = tomllib.loads((Path(__file__).parent / "workload" / "programs.toml").read_text())
    for program in content["program"]:
        pairs = itertools.islice(itertools.cycle(content["tests"][program["tests"]]), count)
        program["cases"] = [TestCase(given, wanted) for given, wanted in pairs]
        program.setdefault("verdict", "accepted")
    return content["program"]


def stopped(program: Program) -> bool:
    return program["verdict"] == "timeout"


def judge_all(checker: Any, programs: list[Program]) -> tuple[float, float, dict[str, bool]]:
    """CPU seconds of the programs that end by themselves, of the others, and who was accepted."""
    seconds, accepted = {True: 0.0, False: 0.0}, {}
    for kind in (False, True):
        checker.settle()
        before = tree_cpu_s()
        for program in programs:
            if stopped(program) is kind:
                accepted[program["name"]] = checker.accepts(program["source"], program["cases"], LIMIT_S)
        checker.settle()
        seconds[kind] = tree_cpu_s() - before
    return seconds[False], seconds[True], accepted


def exact_verdicts(ours: Ours, programs: list[Program]) -> dict[str, Verdict]:
    return {p["name"]: ours.verdicts([p["source"]], p["cases"], LIMIT_S)[0] for p in programs}


def cost_table(results: dict[str, Any]) -> Table:
    headings = ("checker", "CPU s", "of it loops", "of the one without isolation", "without loops", "wrong verdicts")
    table = Table(*headings, title=f"{results['programs']} programs, {results['tests']} tests each, medians")
    reference = results["cpu_s"]["prime_code-style, no isolation"]
    plain, loops = (statistics.median(reference[kind]) for kind in ("ending", "stopped"))
    for name, cost in results["cpu_s"].items():
        ending, stops = statistics.median(cost["ending"]), statistics.median(cost["stopped"])
        ratios = f"{(ending + stops) / (plain + loops):.2f} x", f"{ending / plain:.2f} x"
        table.add_row(name, f"{ending + stops:.2f}", f"{stops:.2f}", *ratios, str(len(results["wrong"][name])))
    return table


def verdict_table(results: dict[str, Any]) -> Table:
    """Correct programs that were rejected, and bad ones that were accepted."""
    table = Table("checker", "rejects", "accepts", title="Wrong verdicts")
    for name, wrong in results["wrong"].items():
        for kind, column in (("rejects", 0), ("accepts", 1)):
            for index, program in enumerate(sorted(p for p, how in wrong.items() if how == kind)):
                table.add_row(name if index == 0 else "", *("" if i != column else program for i in (0, 1)))
        if not wrong:
            table.add_row(name, "none", "none")
    return table


def wrong_verdicts(programs: list[Program], accepted: dict[str, bool]) -> dict[str, str]:
    right = {program["name"]: program["verdict"] == "accepted" for program in programs}
    return {name: "accepts" if got else "rejects" for name, got in accepted.items() if got is not right[name]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tests", type=int, default=30, help="CodeContests has more: about 200 a problem")
    parser.add_argument("--prime-code", type=Path, help="folder of verl's own prime_code, measured too")
    options = parser.parse_args()
    programs = load_programs(options.tests)
    ours = Ours()
    as_verl_does = InProcess(as_verl_does=True)
    checkers: list[Any] = [ours, InProcess(), as_verl_does]
    checkers += [InProcess(options.prime_code)] if options.prime_code else []
    costs: dict[str, dict[str, list[float]]] = {c.name: {"ending": [], "stopped": []} for c in checkers}
    wrong: dict[str, dict[str, str]] = {}
    for number in range(options.rounds):
        for checker in checkers:
            if number and checker is as_verl_does:
                continue  # takes a minute, and is too far away for a second round to matter
            ending, stops, accepted = judge_all(checker, programs)
            costs[checker.name]["ending"].append(ending)
            costs[checker.name]["stopped"].append(stops)
            wrong[checker.name] = wrong_verdicts(programs, accepted)
    one_a_test = OneProcessATest(jailed=True)  # for its verdicts only: a round takes a minute
    wrong[one_a_test.name] = wrong_verdicts(programs, {
        p["name"]: one_a_test.accepts(p["source"], p["cases"][:3], LIMIT_S) for p in programs if not stopped(p)
    })  # fmt: skip
    exact = exact_verdicts(ours, programs)
    for checker in checkers:
        checker.close()
    results = {
        "machine": machine(),
        "rounds": options.rounds,
        "programs": len(programs),
        "tests": options.tests,
        "cpu_s": costs,
        "wrong": wrong,
        "not the exact verdict": {p["name"]: exact[p["name"]].label for p in programs
                                  if exact[p["name"]].label != p["verdict"]},
    }  # fmt: skip
    write("judge_mixed", results, [cost_table(results), verdict_table(results)])


if __name__ == "__main__":
    main()
