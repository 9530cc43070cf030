"""The paper's baselines beside RLEF in the micro-world: from the same start, on the same held-out problems.

    rlef learn --seeds 1                      # first: the start, what RLEF made of it, and their evaluations
    python benchmarks/micro_baselines.py      # about 15 minutes on two free cores

- **few-shot**: the start, shown two solved dialogs that it played itself on training problems;
- **SFT**: the start, trained by the host's `train_sft` on what `rlef mine` found in those rollouts;
- **repair model**: the start writes, and a second model, the start trained on verified repairs, repairs up to twice;
- **independent samples**: first responses of the start, three of each problem, with selection by public tests.

Everything goes through commands that a user has. What was made from the same start is not made again, and an
evaluation that was stopped goes on. Not promised: that a baseline got the most it could. The learning rate is that of
RLEF's actor, and there are as many rollouts to learn from as six of RLEF's 30 steps play.

Writes benchmarks/results/baselines.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from rlef_plugin.evaluation import report
from rlef_plugin.evaluation.intervals import Rate
from rlef_plugin.evaluation.score import incomplete, score
from rlef_plugin.micro.prepare import read_stamp, write_stamp

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PROBLEMS, ROLLOUTS, MAX_LEN, MAX_NEW_TOKENS = 256, 3, 512, 40
EXAMPLES_LEN = 1024  # of an episode that opens with examples, in tokens
PASSES, LEARNING_RATE = 3, 3e-4


class Baselines:
    """The steps, each in a folder of its own."""

    def __init__(self, seed_folder: Path, seed: int) -> None:
        self.store, self.start = seed_folder / "made" / "store", seed_folder / "made" / "model"
        self.folder, self.evals, self.seed = seed_folder / "baselines", seed_folder / "evals", seed
        self.longer = self.folder / "start-longer"  # the same weights, for episodes with examples
        start = read_stamp(seed_folder / "made")
        assert start, f"{seed_folder} holds no start: run `rlef learn` first"
        if start != read_stamp(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            write_stamp(self.folder, start)
        if not self.longer.exists():
            shutil.copytree(self.start, self.longer)
            config = json.loads((self.start / "config.json").read_text())
            (self.longer / "config.json").write_text(json.dumps(config | {"max_position_embeddings": EXAMPLES_LEN}))

    def run(self, made: Path, *command: object, whole: bool = True) -> None:
        """One `rlef` command, unless what it makes is there, and `whole` if it is there."""
        if whole and made.exists():
            return
        began = time.monotonic()
        words = [sys.executable, "-m", "rlef_plugin", *map(str, command)]
        with (self.folder / f"{made.name}.log").open("wb") as log:
            subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=True, cwd=ROOT)
        print(f"{made.name}: {time.monotonic() - began:.0f} s", flush=True)

    def evaluate(
        self, name: str, model: Path, *options: object, store: Path | None = None, max_len: int = MAX_LEN
    ) -> Path:
        out = self.folder / name
        sampling = ("--top-p", 1.0, "--seed", self.seed, "--max-len", max_len, "--max-new-tokens", MAX_NEW_TOKENS)
        command = ("eval", "--model", model, "--store", store or self.store, "--out", out, "--cpu-host", *sampling)
        limits = ("--in-flight", 128, "--problems", 0 if store else PROBLEMS, "rlef.feedback_tokens=160")
        self.run(out, *command, *limits, *options, whole=False)
        return out

    def supervised(self, name: str, rows: Path) -> Path:
        out = self.folder / name
        settings = {
            "model.model_name_or_path": self.start,
            "data.dataset": rows,
            "data.max_len": MAX_LEN,
            "train.max_epochs": PASSES,
            "train.batch_size": 32,
            "train.micro_batch_size": 32,
            "adam.lr": LEARNING_RATE,
            "ckpt.output_dir": out,
        }
        self.run(
            out, "train", ROOT / "recipes" / "sft-cpu.yaml", *(f"{key}={value}" for key, value in settings.items())
        )
        return out

    def few_shot_and_sft(self) -> dict[str, Path]:
        drawn = ("--temperature", 0.1, "--temperature-to", 1.0)  # as the paper mines
        mined = self.evaluate("mined", self.start, "--split", "train", "--rollouts", ROLLOUTS, *drawn)
        rows = self.folder / "sft.jsonl"
        self.run(rows, "mine", mined, "-o", rows)
        asked = ("--split", "test", "--rollouts", ROLLOUTS, "--temperature", 1.0)
        few_shot = self.evaluate("few-shot", self.longer, *asked, f"rlef.few_shot={rows}", max_len=EXAMPLES_LEN)
        trained = self.supervised("sft-model", rows)
        return {"few-shot": few_shot, "SFT": self.evaluate("sft", trained, *asked)}

    def repaired(self) -> dict[str, Path]:
        once = ("--turn-limit", 1, "--temperature", 1.0)
        first_train = self.evaluate("first-train", self.start, "--split", "train", "--rollouts", ROLLOUTS, *once)
        cases = self.folder / "cases-train"
        self.run(cases, "repair", "cases", first_train, "--store", self.store, "-o", cases, "--sft")
        repairer = self.supervised("repair-model", cases / "sft.jsonl")
        first = self.evaluate("first", self.start, "--split", "test", "--rollouts", ROLLOUTS, *once)
        cases, both = self.folder / "cases", self.folder / "both"
        self.run(cases, "repair", "cases", first, "--store", self.store, "-o", cases)
        repairs = self.evaluate("repairs", repairer, "--split", "test", "--rollouts", 2, *once, store=cases / "store")
        self.run(both, "repair", "compose", first, repairs, "--cases", cases, "-o", both)
        return {"repair model": both}

    def all(self) -> dict[str, Path]:
        played = {"start": self.evals / "start-public-T1", "RLEF": self.evals / "rlef-public-T1"}
        return played | self.few_shot_and_sft() | self.repaired()


def shown(rate: Rate) -> str:
    return f"{100 * rate.mean:.1f} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's baselines beside RLEF in the micro-world.")
    parser.add_argument("--work", type=Path, default=ROOT / ".rlef" / "micro", help="what `rlef learn` made")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    folders = Baselines(chosen.work.absolute() / f"seed-{chosen.seed}", chosen.seed).all()
    runs = [report.load(folder, name) for name, folder in folders.items()]
    for run in runs:
        assert not incomplete(run.rollouts, run.settings), f"{run.name}: {incomplete(run.rollouts, run.settings)}"
    lines = ["| system | 1@3, % of held-out problems (95% interval) | solved by turn 1, 2, 3 |", "|---|---|---|"]
    for run in runs:
        by_turn = ", ".join(f"{100 * rate.mean:.0f}" for rate in run.behaviour.solved_by_turn)
        lines.append(f"| {run.name} | {shown(score(run.rollouts, run.turn_limit, 1, 3).rate)} | {by_turn} |")
    independent = score(runs[0].rollouts, 1, 1, 3).rate
    lines.append(f"| three independent first responses of the start | {shown(independent)} | |")
    command = f"`python benchmarks/micro_baselines.py --seed {chosen.seed}`, {machine()}"
    (RESULTS / "baselines.md").write_text(command + "\n\n" + "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
