"""`rlef demo`: the whole loop on a CPU, in minutes, with nothing to download but packages.

    problems -> store -> tiny model, warmed up -> `rlef train recipes/cpu-demo.yaml` -> summary

The training run is the ordinary one, in a process of its own; its output goes to a log file, and what it is doing is
told from that log, because the host is silent for minutes while it starts. Store and model are kept for the next run
and made anew when the problems or this code change.
"""

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from rlef_plugin import recipes
from rlef_plugin.errors import UsageError
from rlef_plugin.runs.files import read_metrics
from rlef_plugin.tiny import summary

TURN_LIMIT, MAX_LEN = 3, 2048  # the recipe's context is shorter; one's own problems may need more
MAX_DESCRIPTION = 1500  # characters; about 500 tokens
MAX_RESPONSE = 300  # characters of a response to warm up on, about the recipe's 128 tokens
STEPS = 400
WARM_UP: dict[str, Any] = {"batch": 8, "lr": 4e-3, "seed": 0}
SIZE = {"hidden": 128, "layers": 2, "max_len": MAX_LEN}
VOCABULARY = 1024
RIGHT_SHARE = (0.5,) * TURN_LIMIT  # of attempts in the warm-up: enough to be seen solving, room enough to improve

# What the run's log says, and what that means; in the order in which they come.
STAGES = (
    ("starting Ray", "Ray is starting"),
    ("importing the host", "OpenRLHF, vLLM and DeepSpeed are being imported (half a minute)"),
    ("pid=", "Ray's workers import the host: vLLM engine, policy, reference, critic, trainer (a minute)"),
    ("Initializing a V1 LLM engine", "the vLLM engine loads the model"),
    ("init engine (profile", "the vLLM engine is ready; DeepSpeed wraps policy and reference"),
    ("Generate samples", "the model writes programs, jails run them, the policy learns"),
    ("Writing model shards", "the trained model is being saved"),
)


def run(work: Path, problems: Path | None, overrides: list[str], console: Console) -> None:
    """Prepare, train and show. Ctrl-C ends the training run and everything it started."""
    started = time.monotonic()
    store, model = prepare(work, problems, console)
    typed = bool(overrides)
    if problems is not None:
        overrides = [f"data.max_len={MAX_LEN}", *small_updates(store), *overrides]
    out = work / "run"
    command = [sys.executable, "-m", "rlef_plugin", "train", str(recipe()), f"actor.model_name_or_path={model}"]
    command += [f"data.prompt_dataset={store}", f"ckpt.output_dir={out / 'model'}", f"rlef.run_dir={out}", *overrides]
    if typed:  # a typo must not cost the run that is there
        from rlef_plugin import launcher

        launcher.describe_recipe(recipe(), command[5:])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log = out / "train.log"
    console.print(f"Training starts; its whole output is in {log}. The first step comes after a minute or two.")
    with open(log, "wb") as output, _stopped_on_exit(command, output) as process:
        code = _follow(process, log, out / "metrics.jsonl", console)
    if code != 0:
        tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-30:])
        raise UsageError(f"training ended with exit status {code}; the end of {log} says:\n{tail}")
    summary.show(out, console)
    console.print(f"Trained model: {out / 'model'}    total time: {time.monotonic() - started:.0f} s")


def small_updates(store: Path) -> list[str]:
    """One or two problems, three rollouts each, fill no update of the recipe's 9."""
    from rlef_plugin.problems import ProblemStore

    few = ProblemStore.open(store).splits["train"] < 3
    return ["train.batch_size=3", "train.micro_batch_size=3"] if few else []


def recipe() -> Path:
    return recipes.shipped() / "cpu-demo.yaml"


def prepare(work: Path, problems: Path | None, console: Console, steps: int = STEPS) -> tuple[Path, Path]:
    """(problem store, model folder), made where they are missing or out of date; `steps` of warm-up."""
    from rlef_plugin.problems import EXAMPLES, build_store, read_rows

    source = problems or EXAMPLES
    rows = list(read_rows(source))
    if not rows:
        raise UsageError(f"{source} holds no problems: name a file with one a line")
    store, model, stamp = work / "store", work / "model", work / "made-from.json"
    if not stamp.is_file() and (found := next((one for one in (store, model, work / "run") if one.exists()), None)):
        raise UsageError(f"{found} was not made by `rlef demo`, which would replace it: choose another --work")
    fingerprint = {
        "files": _digest(source),
        "code": _digest(Path(__file__).parent),
        "warm_up": {**WARM_UP, "steps": steps},
    }
    if stamp.is_file() and json.loads(stamp.read_text()) == fingerprint and model.is_dir() and store.is_dir():
        console.print(f"Problems and warmed-up model are there already: {work}")
        return store, model
    work.mkdir(parents=True, exist_ok=True)
    stamp.write_text("{}")  # from here on the folders are ours, though not whole
    for made in (store, model):
        shutil.rmtree(made, ignore_errors=True)
    short = [row for row in rows if len(str(row.get("description", ""))) <= MAX_DESCRIPTION]
    report = build_store(short, store, on_malformed="skip")
    left_out = f", {len(rows) - len(short)} with long statements left out" if len(short) < len(rows) else ""
    console.print(f"Problem store: {report.kept} problems of {len(rows)} rows{left_out}, in {store}")
    if not report.splits["train"]:
        raise UsageError(
            f"{source} gives the demo no training problem of at most {MAX_DESCRIPTION} characters: use others"
        )
    _make_model(store, model, console, steps)
    stamp.write_text(json.dumps(fingerprint))
    return store, model


def _quiet_imports() -> None:
    """What torch, DeepSpeed and transformers would say on import says nothing to a user of the demo."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated")
    from transformers.utils import logging

    logging.disable_progress_bar()


def _make_model(store_path: Path, folder: Path, console: Console, steps: int) -> None:
    from rlef_plugin.env import Dialog, EnvConfig
    from rlef_plugin.judge import JudgeConfig, open_judge
    from rlef_plugin.problems import ProblemStore

    _quiet_imports()
    from rlef_plugin.tiny import dialogs
    from rlef_plugin.tiny.model import new_llama, save, train_tokenizer, warm_up

    store = ProblemStore.open(store_path)

    async def collect() -> list[dialogs.Material]:
        judge = await open_judge(JudgeConfig())
        try:
            return await dialogs.collect(
                store, "train", judge, EnvConfig(turn_limit=TURN_LIMIT), lambda text: len(text) // 4, MAX_RESPONSE
            )
        finally:
            await judge.close()

    with console.status("judging the stored solutions, for dialogs to warm up on"):
        material = asyncio.run(collect())
    if not material:
        raise UsageError(
            "no training problem has both a right and a wrong program stored with it, as judged, of at most "
            f"{MAX_RESPONSE - len(dialogs.response(''))} characters each, for the tiny model to warm up on: give "
            "your rows `solutions` and `incorrect_solutions`"
        )
    texts = [
        text for m in material for text in (m.first_message, *m.right, *(part for pair in m.wrong for part in pair))
    ]
    tokenizer = train_tokenizer(texts, vocabulary=VOCABULARY)
    dialog = Dialog(tokenizer)
    model = new_llama(tokenizer, **SIZE, seed=WARM_UP["seed"])
    with console.status("") as status:

        def encode(text: str) -> list[int]:
            return tokenizer.encode(text, add_special_tokens=False)

        def draw(rng: random.Random) -> dialogs.Example:
            return dialogs.draw(material, dialog, encode, rng, right_share=RIGHT_SHARE, turn_limit=TURN_LIMIT)

        def told(step: int, loss: float) -> None:
            status.update(f"warming the tiny model up: step {step} of {steps}, loss {loss:.2f}")

        loss = warm_up(model, draw, steps=steps, **WARM_UP, on_step=told)
    save(model, tokenizer, folder)
    size = sum(parameter.numel() for parameter in model.parameters())
    console.print(
        f"Tiny Llama: {size / 1e6:.1f} million parameters, warmed up on {len(material)} problems to loss {loss:.2f}"
    )


@contextmanager
def _stopped_on_exit(command: list[str], output: object) -> Iterator[subprocess.Popen[bytes]]:
    """The training process; ended with everything it started when the block is left, also by Ctrl-C."""
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # the launcher shuts Ray down
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _follow(process: subprocess.Popen[bytes], log: Path, metrics: Path, console: Console) -> int:
    """Tell what the run is doing until it ends; returns its exit status."""
    started, shown, stage = time.monotonic(), 0, 0
    with console.status("training starts") as status:
        while process.poll() is None:
            stage = _advance(stage, log, status, started)
            shown = _show_new_steps(metrics, shown, console)
            try:
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
        _show_new_steps(metrics, shown, console)
    return process.returncode


def _advance(stage: int, log: Path, status: Status, started: float) -> int:
    text = log.read_text(errors="replace")
    stage = max([stage, *(index for index, (mark, _) in enumerate(STAGES) if mark in text)])
    status.update(f"{STAGES[stage][1]}  [{time.monotonic() - started:.0f} s]")
    return stage


def _show_new_steps(metrics: Path, shown: int, console: Console) -> int:
    steps = read_metrics(metrics.parent)
    for step in steps[shown:]:
        rates = ", ".join(f"{step[f'episode/solve_rate_turn{t + 1}']:.0%}" for t in range(summary.turn_limit(step)))
        console.print(
            f"step {step['step']:.0f}: solved by turn 1, 2, 3: {rates}; reward {step['rollout/reward_mean']:+.2f}"
        )
    return len(steps)


def _digest(path: Path) -> str:
    files = (
        sorted(file for file in path.rglob("*") if file.suffix != ".pyc" and file.is_file())
        if path.is_dir()
        else [path]
    )
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()
