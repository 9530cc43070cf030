"""`rlef learn`: does a model learn to use feedback? Train with several seeds, then evaluate on held-out problems.

    seed -> store, warmed-up model (prepare.py) -> `rlef train`, once an arm -> `rlef eval` -> results

Each training and each evaluation is the ordinary command in a process of its own; its output goes to a log beside what
it makes. What is there already is not made again, so a run that was stopped goes on; a stamp beside it says what made
it (the code of problems and warm-up, the recipe, the overrides, the command), and where that differs it is made anew.
Not noticed: changes of the plugin itself. A seed is one of everything: problems, initial weights, warm-up, the host's
`train.seed`.

The arm `rlef` is the recipe. Any other arm is the recipe with one design choice replaced, from the same start, for
`arm_steps` steps only, with learning rates that rise as they do in the whole run. It is compared with the same steps
of `rlef`: each is on problems that the model never saw before. An arm that trains on other dialogs than those that it
is to play in the end (a single turn, no feedback, that of other problems) is also evaluated on the held-out problems,
with real feedback. Arms come one by one after the whole runs of all seeds. The results are written before the first
arm begins, with those arms that are there from before, and at the end.

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

import yaml
from rich.console import Console

from rlef_plugin import recipes
from rlef_plugin.errors import UsageError
from rlef_plugin.micro import results
from rlef_plugin.micro.prepare import FULL, SHORT, TURN_LIMIT, Plan, prepare, read_stamp, write_stamp
from rlef_plugin.micro.results import RLEF, START

ARMS: dict[str, tuple[str, ...]] = {  # the paper's choices, each replaced by its alternative
    "summed-kl": ("rlef.kl=sum",),
    "token-value": ("rlef.value=token",),
    "single-turn": ("rlef.turn_limit=1",),
    "no-feedback": ("rlef.feedback=none",),
    "random-feedback": ("rlef.feedback=random",),
}
EVALUATED: dict[str, tuple[tuple[str, float], ...]] = {  # feedback and temperature
    START: (("public", 1.0), ("random", 1.0)),
    RLEF: (("public", 1.0), ("random", 1.0), ("none", 1.0), ("public", 0.2)),
    "single-turn": (("public", 1.0),),
    "no-feedback": (("public", 1.0),),
    "random-feedback": (("public", 1.0),),
}
ARM_STEPS = 15
PROBLEMS, ROLLOUTS = 256, 3  # of each evaluation; 3 first responses of a problem are an independent sampling of 3
SHORT_SETTINGS = ("rlef.feedback_tokens=400", f"data.max_len={SHORT.max_len}")
TRAINED = ("actor", "critic")
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
    arms: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()  # of the recipe
    short: bool = False
    arm_steps: int = ARM_STEPS

    def __post_init__(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise UsageError(f"--arms {arm}: choose from {', '.join(ARMS)}")
        if self.arms and self.short:
            raise UsageError("--short trains no arms: leave out --arms, or --short")
        if self.arms:
            first(self.arm_steps)

    @property
    def plan(self) -> Plan:
        return SHORT if self.short else FULL

    def evaluations(self) -> list[Evaluation]:
        if self.short:
            return []
        return [
            Evaluation(seed, arm, feedback, temperature)
            for seed in self.seeds
            for arm in (START, RLEF, *self.arms)
            for feedback, temperature in EVALUATED.get(arm, ())
        ]

    def model(self, seed: int, arm: str) -> Path:
        return self.work / f"seed-{seed}" / "made" / "model" if arm == START else self.run(seed, arm) / "model"

    def run(self, seed: int, arm: str) -> Path:
        """Folder of a training."""
        return self.work / f"seed-{seed}" / (arm if arm == RLEF else f"{arm}-{self.arm_steps}")

    def folder(self, one: Evaluation) -> Path:
        return self.work / f"seed-{one.seed}" / "evals" / one.name

    def stamp(self, seed: int, arm: str) -> dict[str, Any]:
        """What made the model of an arm."""
        start = {"start": read_stamp(self.work / f"seed-{seed}" / "made")}
        if arm == START:
            return start
        return {**start, "recipe": yaml.safe_load(recipe().read_text()), "overrides": self.settings(arm)}

    def command(self, one: Evaluation) -> list[str]:
        """The `rlef` command that evaluates."""
        store, model = self.work / f"seed-{one.seed}" / "made" / "store", self.model(one.seed, one.arm)
        command = ["eval", "--model", str(model), "--store", str(store), "--out", str(self.folder(one))]
        command += ["--split", "test", "--problems", str(PROBLEMS), "--rollouts", str(ROLLOUTS)]
        command += ["--turn-limit", str(TURN_LIMIT), "--temperature", str(one.temperature), "--top-p", "1.0"]
        command += ["--seed", str(one.seed), "--cpu-host", "--max-len", str(MAX_LEN)]
        command += ["--max-new-tokens", str(MAX_NEW_TOKENS), "--in-flight", "128"]
        return [*command, f"rlef.feedback_tokens={FEEDBACK_TOKENS}", f"rlef.feedback={one.feedback}"]

    def stamp_of(self, one: Evaluation) -> dict[str, Any]:
        """What made an evaluation; the same where the folder has been moved to."""
        said = [word.removeprefix(f"{self.work}/") for word in self.command(one)]
        return {"model": self.stamp(one.seed, one.arm), "command": said}

    def evaluated(self, one: Evaluation) -> bool:
        """Whether this evaluation is there, whole, made from what it would be made from now."""
        return read_stamp(self.folder(one)) == self.stamp_of(one)

    def trained(self, seed: int, arm: str) -> bool:
        """Whether this training is there, made from what it would be made from now."""
        return read_stamp(self.run(seed, arm)) == self.stamp(seed, arm)

    def settings(self, arm: str) -> list[str]:
        """Overrides of the recipe with which an arm is trained."""
        replaced = () if arm == RLEF else (*ARMS[arm], *first(self.arm_steps))
        return [*(SHORT_SETTINGS if self.short else ()), *replaced, *self.overrides]


def learn(learning: Learning, out: Path, console: Console) -> None:
    """Everything, then `out`: results.json, plots, and the report of the evaluations."""
    started = time.monotonic()
    for seed in learning.seeds:
        _make(learning, seed, (START, RLEF), console)
    arms = [(arm, seed) for arm in learning.arms for seed in learning.seeds]
    if not all(learning.trained(seed, arm) for arm, seed in arms):  # hours until they are
        results.write(learning, out, console)
    for arm, seed in arms:
        _make(learning, seed, (arm,), console)
    for path in results.write(learning, out, console):
        console.print(str(path))
    console.print(f"total time: {time.monotonic() - started:.0f} s")


def _make(learning: Learning, seed: int, arms: Sequence[str], console: Console) -> None:
    """These arms of a seed: trained, and evaluated."""
    store, model = _prepare(learning.work / f"seed-{seed}" / "made", seed, learning.plan, console)
    for arm in arms:
        if arm != START:
            _train(learning, seed, arm, store, model, console)
    for one in learning.evaluations():
        if one.seed == seed and one.arm in arms:
            _evaluate(learning, one, console)


def recipe() -> Path:
    return recipes.shipped() / "micro.yaml"


def first(steps: int) -> tuple[str, ...]:
    """Overrides that end the recipe's training after so many steps, its learning rates as in the whole run's."""
    settings = yaml.safe_load(recipe().read_text())
    batch = settings["rollout"]["batch_size"]
    whole = FULL.sizes["train"] // batch
    if not 1 <= steps < whole:
        raise UsageError(f"--arm-steps {steps}: choose from 1 to {whole - 1}, as the whole run has {whole}")
    rise = [f"{name}.lr_warmup_ratio={settings[name]['lr_warmup_ratio'] * whole / steps:g}" for name in TRAINED]
    return (f"data.max_samples={steps * batch}", *rise)


def _prepare(folder: Path, seed: int, plan: Plan, console: Console) -> tuple[Path, Path]:
    started = time.monotonic()
    with console.status(f"seed {seed}: problems") as status:
        made = prepare(folder, seed, lambda text: status.update(f"seed {seed}: {text}"), plan)
    if (took_s := time.monotonic() - started) > 1:
        console.print(f"seed {seed}: problems and model: {took_s:.0f} s")
    return made


def _train(learning: Learning, seed: int, arm: str, store: Path, model: Path, console: Console) -> None:
    folder, stamp = learning.run(seed, arm), learning.stamp(seed, arm)
    if learning.trained(seed, arm):
        return console.print(f"seed {seed}, {arm}: trained already, {folder}", soft_wrap=True)
    command = training(store, model, seed, folder, learning.settings(arm))
    if learning.overrides:  # a typo in them must not cost the training that is there
        from rlef_plugin import launcher

        launcher.describe_recipe(recipe(), command[2:])
    shutil.rmtree(folder, ignore_errors=True)
    _run(command, folder / "train.log", f"seed {seed}, {arm}: training", console)
    write_stamp(folder, stamp)


def training(store: Path, model: Path, seed: int, run: Path, overrides: Sequence[str]) -> list[str]:
    """The `rlef` command that trains a start; metrics and the trained model go to the folder `run`."""
    settings = [f"actor.model_name_or_path={model}", f"data.prompt_dataset={store}", f"train.seed={seed}"]
    settings += [f"ckpt.output_dir={run / 'model'}", f"rlef.run_dir={run}"]
    return ["train", str(recipe()), *settings, *overrides]


def _evaluate(learning: Learning, one: Evaluation, console: Console) -> None:
    """Goes on where it was stopped; complete, it costs nothing but the look."""
    out, stamp = learning.folder(one), learning.stamp_of(one)
    if learning.evaluated(one):
        return
    if read_stamp(out) != {"begun": stamp}:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        write_stamp(out, {"begun": stamp})
    _run(learning.command(one), out / "eval.log", f"seed {one.seed}: evaluating {one.name}", console)
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
