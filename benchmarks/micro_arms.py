"""The paper's design choices, each against its alternative, over the first steps of recipes/micro.yaml.

    rlef learn --seeds 1                              # first: the start, and the arm `rlef` itself
    python benchmarks/micro_arms.py --steps 15        # some 6 minutes an arm on two free cores

Every arm is `rlef train recipes/micro.yaml` with one key changed, from the same start, and is stopped after `--steps`
steps: so it is compared with the same steps of the whole run. Every step's 128 problems are new to the model, so the
solve rate of the last five steps is one of 640 unseen problems. `rlef learn --arms all` trains the arms to the end
and evaluates them on the test split, in an hour a seed. Not promised: that what comes out of one seed, or of so few
steps, holds for another.

Writes benchmarks/results/arms.md.
"""

import argparse
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

from machine import machine

from rlef_plugin.micro.learn import ARMS, training
from rlef_plugin.runs.files import read_metrics

ROOT = Path(__file__).resolve().parents[1]
LAST = 5  # steps that the figures are means of
EPISODES = 128  # a step
COLUMNS = {
    "solved %": ("episode/solve_rate", 100.0),
    "after turn 1 %": ("episode/solve_rate_turn1", 100.0),
    "after turn 2 %": ("episode/solve_rate_turn2", 100.0),
    "explained variance": ("learner/explained_variance", 1.0),
    "tokens of a first response": ("response_tokens/turn1", 1.0),
    "KL of a first response, summed": ("learner_turn1/kl_sum", 1.0),
}


def train(arm: str, seed_folder: Path, seed: int, steps: int) -> list[dict[str, float]]:
    """The first steps of an arm; a run that has them is not made again."""
    run = seed_folder / ("rlef" if arm == "rlef" else f"first-{steps}-{arm}")
    if len(read_metrics(run)) < steps:
        assert arm != "rlef", f"{run} has fewer than {steps} steps: run `rlef learn` first"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        made = seed_folder / "made"
        command = training(made / "store", made / "model", seed, run, ARMS[arm])
        words = [sys.executable, "-m", "rlef_plugin", *command]
        with (run / "train.log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        while process.poll() is None and len(read_metrics(run)) < steps:
            time.sleep(1)
        assert len(read_metrics(run)) >= steps, f"{arm} ended early, see {run / 'train.log'}"
        process.send_signal(signal.SIGTERM)  # the launcher shuts Ray down
        process.wait(timeout=120)
    return read_metrics(run)[:steps]


def mean(rows: list[dict[str, float]], name: str, factor: float) -> str:
    values = [row[name] for row in rows if not math.isnan(row.get(name, math.nan))]
    return f"{factor * fmean(values):.{0 if factor > 1 else 2}f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's design choices, each against its alternative.")
    parser.add_argument("--work", type=Path, default=ROOT / ".rlef" / "micro", help="what `rlef learn` made")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=15)
    chosen = parser.parse_args()
    command = f"`python benchmarks/micro_arms.py --seeds {chosen.seeds} --steps {chosen.steps}`"
    text = f"{command}, {machine()}\n\n"
    text += f"Means of steps {chosen.steps - LAST + 1} to {chosen.steps}: of {LAST * EPISODES} problems, new to the "
    text += "model, so that 70% stands for 66 to 74% (95%).\n\n"
    text += f"| seed | arm | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}\n"
    for seed in range(chosen.seeds):
        for arm in ARMS:
            rows = train(arm, chosen.work.absolute() / f"seed-{seed}", seed, chosen.steps)[-LAST:]
            numbers = (mean(rows, *column) for column in COLUMNS.values())
            text += f"| {seed} | {arm} | {' | '.join(numbers)} |\n"
            print(text.splitlines()[-1], flush=True)
    (ROOT / "benchmarks" / "results" / "arms.md").write_text(text)


if __name__ == "__main__":
    main()
