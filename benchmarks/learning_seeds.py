"""How far do healthy short runs of the micro-world spread, and is a broken one told from them?

    python benchmarks/learning_seeds.py [--seeds 10] [--work .rlef/micro-short]      # some 3 minutes a run on 2 cores

Runs `rlef learn --short`

- with each seed, so with problems and a start of its own;
- as tests/test_learning.py does, from problems and start of seed 0, with as many seeds of the host (`train.seed`);
- so too with one thing broken at a time, each in a copy of the code.

Writes benchmarks/results/learning.md and .json: mean and standard deviation of both kinds of healthy runs, by how many
deviations the test's thresholds lie below, the chance that a healthy run falls below (Student's t with the runs'
degrees of freedom, as for a new draw from a normal distribution), the chance that two in a row do, where the test
fails, and what each broken run reaches. What is there already is not run again.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from judge_helpers import ROOT, Edit, changed_tree  # noqa: E402
from test_learning import EXPLAINED_VARIANCE, SOLVED  # noqa: E402

from rlef_plugin.micro.results import learned  # noqa: E402
from rlef_plugin.runs.files import read_metrics  # noqa: E402

FLIPPED = (
    "rlef_plugin/rl/advantages.py",
    "torch.where(mask, returns - values.double(), 0.0)",
    "torch.where(mask, values.double() - returns, 0.0)",
)
MOVED = (
    "rlef_plugin/openrlhf_ext/critic.py",
    "replace(experience, action_mask=starts,",
    "replace(experience, action_mask=starts.roll(1, 1),",
)
BROKEN: dict[str, tuple[list[Edit], list[str]]] = {  # name -> edits of the code, overrides of the recipe
    "the advantage's sign is flipped": ([FLIPPED], []),
    "the critic is trained at the token after each turn's start": ([MOVED], []),
    "the feedback is dropped": ([], ["rlef.feedback=none"]),
}
THRESHOLDS = {"solved": SOLVED, "explained_variance": EXPLAINED_VARIANCE}
RESULTS = Path(__file__).with_name("results")
Learned = dict[str, float]


def run(work: Path, seed: int, tree: Path, *overrides: str) -> Learned:
    command = [sys.executable, "-m", "rlef_plugin", "learn", "--short", "--seeds", "1", "--first-seed", str(seed)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run([*command, "--work", str(work), *overrides], cwd=tree, env=environment, check=True)
    return learned(read_metrics(work / f"seed-{seed}" / "rlef"))


def again(work: Path, tree: Path, *overrides: str) -> Learned:
    """From the start of the healthy run of seed 0."""
    (work / "seed-0").mkdir(parents=True, exist_ok=True)
    shutil.copytree(work.parent / "seed-0" / "made", work / "seed-0" / "made", dirs_exist_ok=True)
    return run(work, 0, tree, *overrides)


def broken(work: Path, edits: list[Edit], overrides: list[str]) -> Learned:
    return again(
        work, changed_tree(work / "tree", edits, ("rlef_plugin", "sandbox", "recipes"), without=()), *overrides
    )


def table(healthy: dict[str, dict[int, Learned]], wrong: dict[str, Learned]) -> str:
    lines = ["| run | solved at the first step | solved | explained variance |", "|---|---|---|---|"]
    rows = {f"{kind} {n}": one for kind, runs in healthy.items() for n, one in runs.items()} | wrong
    lines += [
        f"| {name} | " + " | ".join(f"{one[key]:.3f}" for key in ("solved_at_first", *THRESHOLDS)) + " |"
        for name, one in rows.items()
    ]
    lines += [
        "",
        "| over | | mean | sd | threshold | sd below the mean | a healthy run falls below |",
        "|---|---|---|---|---|---|---|",
    ]
    one_fails = 0.0  # of those with a start of their own, as the test's are on another machine
    for kind, runs in healthy.items():
        for key, threshold in THRESHOLDS.items():
            values = [one[key] for one in runs.values()]
            mean, sd, seeds = statistics.fmean(values), statistics.stdev(values), len(values)
            away = (mean - threshold) / sd
            chance = student_tail(away / (1 + 1 / seeds) ** 0.5, seeds - 1)
            numbers = f"{mean:.3f} | {sd:.3f} | {threshold} | {away:.1f} | 1 in {1 / chance:,.0f}"
            lines.append(f"| {kind}s | {key} | {numbers} |")
            one_fails += chance if kind == "seed" else 0
    rare = 1 / one_fails**2
    lines += ["", f"The test fails where seed 0 and then seed 1 fall below one: 1 in {rare:,.0f} healthy ones."]
    return "\n".join(lines)


def student_tail(t: float, degrees: int) -> float:
    """P(T > t), t > 0: one half less the density's integral from 0 to t, by Simpson's rule."""
    scale = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    density = [scale * (1 + (t * i / 1000) ** 2 / degrees) ** (-(degrees + 1) / 2) for i in range(1001)]
    return 0.5 - t / 3000 * (density[0] + 4 * sum(density[1::2]) + 2 * sum(density[2:-1:2]) + density[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path(".rlef/micro-short"))
    chosen = parser.parse_args()
    work = chosen.work.absolute()
    wrong = {name: broken(work / f"broken-{number}", *how) for number, (name, how) in enumerate(BROKEN.items())}
    healthy = {
        "seed": {n: run(work, n, ROOT) for n in range(chosen.seeds)},
        "seed 0, train.seed": {
            n: again(work / f"again-{n}", ROOT, f"train.seed={n}") for n in range(1, chosen.seeds + 1)
        },
    }
    text = table(healthy, wrong)
    (RESULTS / "learning.json").write_text(json.dumps({"healthy": healthy, "broken": wrong}, indent=1) + "\n")
    (RESULTS / "learning.md").write_text(
        "`python benchmarks/learning_seeds.py`: mean of the last 3 of 6 steps, 128 episodes each\n\n" + text + "\n"
    )
    print(text)


if __name__ == "__main__":
    main()
