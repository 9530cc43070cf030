"""`rlef learn`: does a model learn to use feedback? Train with several seeds, then evaluate on held-out problems.

    seed -> store, warmed-up model (prepare.py) -> `rlef train`, once an arm -> `rlef eval` -> results

Each training and each evaluation is the ordinary command in a process of its own; its output goes to a log beside what
it makes. What is there already is not made again, so a run that was stopped goes on; a stamp beside it says what made
it (the code of problems and warm-up, the recipe, the overrides, the command), and where that differs it is made anew.
Not noticed: changes of the plugin itself. An arm is the recipe with one design choice replaced; its evaluations use
the same held-out problems. A seed is one of everything: problems, initial weights, warm-up, the host's `train.seed`.

`short` is for a quick look and for tests/test_learning.py: two families of problems, a warm-up of a minute, six
updates, and no evaluations, since every step is on problems that were never seen before.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rlef_plugin.errors import UsageError
from rlef_plugin.micro import results
from rlef_plugin.micro.prepare import FULL, SHORT, TURN_LIMIT, Plan, digest, prepare, read_stamp, write_stamp
from rlef_plugin.recipes import shipped

ARMS: dict[str, tuple[str, ...]] = {
    "rlef": (),
    "summed-kl": ("rlef.kl=sum",),
    "token-value": ("rlef.value=token",),
    "single-turn": ("rlef.turn_limit=1",),
    "no-feedback": ("rlef.feedback=none",),
}
EVALUATED: dict[str, tuple[tuple[str, float], ...]] = {  # by arm; "start" is the model before training
    "start": (("public", 1.0), ("random", 1.0)),
    "rlef": (("public", 1.0), ("random", 1.0), ("none", 1.0), ("public", 0.2)),
    "no-feedback": (("none", 1.0), ("public", 1.0)),
}
PROBLEMS, ROLLOUTS = 256, 3  # of each evaluation; 3 first responses of a problem are an independent sampling of 3
SHORT_SETTINGS = ("rlef.feedback_tokens=400", f"data.max_len={SHORT.max_len}")
MAX_LEN, MAX_NEW_TOKENS, FEEDBACK_TOKENS = 512, 40, 160  # tokens, as in recipes/micro.yaml


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One folder of `rlef eval`."""

    seed: int
    arm: str
    feedback: str
    temperature: float

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.feedback}-T{self.temperature:g}"


@dataclass(frozen=True, slots=True)
class Learning:
    """What one call is to do."""

    work: Path
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    overrides: tuple[str, ...]  # of the recipe
    short: bool = False

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise UsageError(f"--arms {arm}: choose from {', '.join(ARMS)}")

    @property
    def plan(self) -> Plan:
        return SHORT if self.short else FULL

    def evaluations(self) -> list[Evaluation]:
        if self.short:
            return []
        return [
            Evaluation(seed, arm, feedback, temperature)
            for seed in self.seeds
            for arm in ("start", *self.arms)
            for feedback, temperature in EVALUATED.get(arm, (("public", 1.0),))
        ]

    def model(self, seed: int, arm: str) -> Path:
        folder = self.work / f"seed-{seed}"
        return folder / "made" / "model" if arm == "start" else folder / arm / "model"

    def folder(self, one: Evaluation) -> Path:
        return self.work / f"seed-{one.seed}" / "evals" / one.name

    def stamp(self, seed: int, arm: str) -> dict[str, Any]:
        """What made the model of an arm."""
        start = {"start": read_stamp(self.work / f"seed-{seed}" / "made")}
        if arm == "start":
            return start
        return {**start, "recipe": digest([recipe()]), "overrides": self.settings(arm)}

    def settings(self, arm: str) -> list[str]:
        """Overrides of the recipe with which an arm is trained."""
        return [*(SHORT_SETTINGS if self.short else ()), *ARMS[arm], *self.overrides]


def learn(learning: Learning, out: Path, console: Console) -> None:
    """Everything, then `out`: results.json, plots, and the report of the evaluations."""
    started = time.monotonic()
    for seed in learning.seeds:
        folder = learning.work / f"seed-{seed}"
        store, model = _prepare(folder / "made", seed, learning.plan, console)
        for arm in learning.arms:
            _train(learning, seed, arm, store, model, console)
        for one in learning.evaluations():
            if one.seed == seed:
                _evaluate(learning, one, store, console)
    for path in results.write(learning, out):
        console.print(str(path))
    console.print(f"total time: {time.monotonic() - started:.0f} s")


def recipe() -> Path:
    return shipped() / "micro.yaml"


def _prepare(folder: Path, seed: int, plan: Plan, console: Console) -> tuple[Path, Path]:
    started = time.monotonic()
    with console.status(f"seed {seed}: problems") as status:
        made = prepare(folder, seed, lambda text: status.update(f"seed {seed}: {text}"), plan)
    console.print(f"seed {seed}: problems and model: {time.monotonic() - started:.0f} s")
    return made


def _train(learning: Learning, seed: int, arm: str, store: Path, model: Path, console: Console) -> None:
    folder, stamp = learning.work / f"seed-{seed}" / arm, learning.stamp(seed, arm)
    if read_stamp(folder) == stamp:
        return console.print(f"seed {seed}, {arm}: trained already, {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    command = training(store, model, seed, folder, learning.settings(arm))
    _run(command, folder / "train.log", f"seed {seed}, {arm}: training", console)
    write_stamp(folder, stamp)


def training(store: Path, model: Path, seed: int, run: Path, overrides: Sequence[str]) -> list[str]:
    """The `rlef` command that trains a start; metrics and the trained model go to the folder `run`."""
    settings = [f"actor.model_name_or_path={model}", f"data.prompt_dataset={store}", f"train.seed={seed}"]
    settings += [f"ckpt.output_dir={run / 'model'}", f"rlef.run_dir={run}"]
    return ["train", str(recipe()), *settings, *overrides]


def _evaluate(learning: Learning, one: Evaluation, store: Path, console: Console) -> None:
    """Goes on where it was stopped; complete, it costs nothing but the look."""
    out, model = learning.folder(one), learning.model(one.seed, one.arm)
    command = ["eval", "--model", str(model), "--store", str(store), "--out", str(out), "--split", "test"]
    command += ["--problems", str(PROBLEMS), "--rollouts", str(ROLLOUTS), "--turn-limit", str(TURN_LIMIT)]
    command += ["--temperature", str(one.temperature), "--top-p", "1.0", "--seed", str(one.seed), "--cpu-host"]
    command += ["--max-len", str(MAX_LEN), "--max-new-tokens", str(MAX_NEW_TOKENS), "--in-flight", "128"]
    command += [f"rlef.feedback_tokens={FEEDBACK_TOKENS}", f"rlef.feedback={one.feedback}"]
    stamp = {"model": learning.stamp(one.seed, one.arm), "command": command}
    found = read_stamp(out)
    if found == stamp:
        return
    if found != {"begun": stamp}:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        write_stamp(out, {"begun": stamp})
    _run(command, out / "eval.log", f"seed {one.seed}: evaluating {one.name}", console)
    write_stamp(out, stamp)


def _run(command: Sequence[str], log: Path, what: str, console: Console) -> None:
    """One `rlef` command in a process group of its own; Ctrl-C ends all of it."""
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, console.status(f"{what}; its output is in {log}"):
        full = [sys.executable, "-m", "rlef_plugin", *command]
        process = subprocess.Popen(full, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # the launcher shuts Ray down
                process.wait(timeout=60)
    if code != 0:
        tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
        raise UsageError(f"{what} ended with exit status {code}; the end of {log} says:\n{tail}")
    console.print(f"{what}: {time.monotonic() - started:.0f} s")
