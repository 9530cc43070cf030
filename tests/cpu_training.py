"""Trainings on the CPU host for the end-to-end tests: a shared store and model, the command, and what a run leaves.

The store is the plugin's own problems, with one whose private tests can be recognised wherever they turn up. Store and
model are made once a session (`tiny`, in conftest.py); each run takes a minute or two, most of it the host's start-up.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from safetensors.torch import load_file

from rlef_plugin import recipes
from rlef_plugin.problems import EXAMPLES, read_rows
from rlef_plugin.tiny import demo

REPO = Path(__file__).resolve().parents[1]
CANARY = "expected-of-a-private-test-4b1f9c"  # in no statement and no public test
TIMEOUT_S = 1500  # a machine that is busy with something else should still pass
SMALL = {  # two steps of 8 rollouts and 2 updates
    "data.max_samples": 8,
    "rollout.batch_size": 4,
    "rollout.n_samples_per_prompt": 2,
    "rollout.micro_batch_size": 4,
    "train.batch_size": 4,
    "train.micro_batch_size": 2,
    "rollout.max_new_tokens": 64,
    "rlef.turn_limit": 2,
}


class Tiny(NamedTuple):
    rows: Path
    store: Path
    model: Path


def canary_row() -> dict[str, Any]:
    """A problem whose private tests can be recognised wherever they turn up."""
    words = [f"{CANARY}-{n}\n" for n in range(3)]
    return {
        "name": "say-back",
        "split": "train",
        "description": "Print the one word of the input.",
        "public_tests": {"input": ["a\n"], "output": ["a\n"]},
        "private_tests": {"input": words, "output": words},
        "generated_tests": {"input": [], "output": []},
        "solutions": {"language": [3], "solution": ["print(input())"]},
        "incorrect_solutions": {"language": [3, 3], "solution": ["print('a')", "print('b')"]},
    }


def make_tiny(work: Path) -> Tiny:
    work.mkdir(parents=True, exist_ok=True)
    rows = work / "rows.jsonl"
    examples = [dict(row) for row in read_rows(EXAMPLES)]
    spare = next(row for row in examples if row["split"] == "train")  # 27 stay: three steps of 9, none left out
    examples[examples.index(spare)] = canary_row()
    rows.write_text("".join(json.dumps(row) + "\n" for row in examples))
    return Tiny(rows, *demo.prepare(work, rows, Console(quiet=True)))


class Run:
    """What the run left behind."""

    def __init__(self, work: Path, log: Path) -> None:
        self.work, self.log = work, log.read_text(errors="replace")
        out = work / "run"
        self.metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        self.dumps = [torch.load(path) for path in sorted((out / "batches").glob("*.pt"))]
        self.episodes = [
            [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted((out / "rollouts").glob("*.jsonl"))
        ]

    def weights(self, of: str = "model-out") -> dict[str, torch.Tensor]:
        return load_file(self.work / of / "model.safetensors")

    def noise_and_drift(self, step: int) -> tuple[float, float]:
        """Mean over response tokens: |log-probability of vLLM - of the policy|, |of the policy - of the first policy|.

        Without the weight sync both would be alike from the second step on.
        """
        noise, drift = [], []
        for row in self.rows(step):
            for j, trained in enumerate(row["action_mask"]):
                if trained:
                    noise.append(abs(row["rollout_log_probs"][j] - row["action_log_probs"][j]))
                    drift.append(abs(row["kl"][j]))
        return sum(noise) / len(noise), sum(drift) / len(drift)

    def rows(self, step: int) -> Iterator[dict[str, Any]]:
        """The episodes of a dumped step as plain lists in float64, one dict each."""
        for batch in self.dumps[step]["batch"]:
            for row in range(len(batch["labels"])):
                yield {
                    key: value[row].tolist() if torch.is_tensor(value) else value[row]
                    for key, value in batch.items()
                    if value is not None  # such as log-probabilities that nothing needs
                }


def command(work: Path, tiny: Tiny, *more: str) -> list[str]:
    """The host's own command, verbatim, with the flags of recipes/cpu-demo.yaml."""
    overrides = [f"actor.model_name_or_path={tiny.model}", f"data.prompt_dataset={tiny.store}", "train.num_episodes=1"]
    overrides += [
        f"ckpt.output_dir={work / 'model-out'}",
        f"rlef.run_dir={work / 'run'}",
        f"ckpt.path={work / 'checkpoints'}",
        "critic.save_value_network=true",
    ]
    flags = recipes.to_flags(recipes.load(REPO / "recipes" / "cpu-demo.yaml", [*overrides, *more]))
    assert flags[:2] == ["--env", "rlef_plugin.CodeContestsEnv"]
    return [sys.executable, "-m", "openrlhf.cli.train_ppo_ray", *flags]


def train(work: Path, tiny: Tiny, *more: str) -> Run:
    """A run to its end; fails with the end of its log if it made no step."""
    log = work / "train.log"
    with log.open("wb") as output:
        subprocess.run(
            command(work, tiny, *more), stdout=output, stderr=subprocess.STDOUT, cwd=work, timeout=TIMEOUT_S
        )
    told = log.read_text(errors="replace")[-4000:]
    assert (work / "run" / "metrics.jsonl").is_file(), f"training made no step:\n{told}"
    assert (work / "model-out").is_dir(), f"training did not come to its end:\n{told}"
    return Run(work, log)


def small(**changed: Any) -> list[str]:
    """Overrides of a small run; a key like ds__zero_stage is ds.zero_stage."""
    values = SMALL | {key.replace("__", "."): value for key, value in changed.items()}
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in values.items()]


def wait_for(condition: Any, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)


def processes_of(work: Path) -> list[str]:
    """Command lines of living processes that carry this run's settings in their environment, and of orphaned jails."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command_line = re.sub("\0", " ", (folder / "cmdline").read_text())
            orphan = "\nPPid:\t1\n" in (folder / "status").read_text()
            ours = str(work).encode() in (folder / "environ").read_bytes() or (orphan and "nsjail" in command_line)
            if ours and int(folder.name) != os.getpid():
                found.append(command_line[:200])
        except OSError:  # it ended while we looked
            continue
    return found
