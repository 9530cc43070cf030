"""What a run keeps in its folder, and how it is read, also while it is being written or after it was killed.

    run.json               {"steps": how many there will be at most, "turn_limit", "started_unix_s"}
    metrics.jsonl          a line a step: its scalars; null is NaN
    evaluations.jsonl      a line an evaluation
    rollouts/step_*.jsonl  every `rollouts_every` steps: the step's episodes, one a line

Reading loses nothing to bad input: a line that is cut or garbled is passed over, and a missing number is NaN. A run
that went on from an earlier step has made all after it anew, so what was written of those steps before counts no more.
"""

import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlef_plugin.errors import UsageError

METRICS, EVALUATIONS, PLAN, ROLLOUTS = "metrics.jsonl", "evaluations.jsonl", "run.json", "rollouts"


class RunFolder:
    """Writes a run's folder; makes it when there is something to write."""

    def __init__(self, folder: Path, rollouts_every: int) -> None:
        self.folder, self.rollouts_every = folder, rollouts_every

    def write_plan(self, steps: int, turn_limit: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = {"steps": steps, "turn_limit": turn_limit, "started_unix_s": time.time()}
        (self.folder / PLAN).write_text(json.dumps(plan) + "\n")

    def write_metrics(self, step: int, status: dict[str, Any], name: str = METRICS) -> None:
        """Append the scalars of a step; what is no number is left out, and what is no finite number is null."""
        scalars = {key: value for key, value in status.items() if isinstance(value, int | float)}
        plain = {key: value if math.isfinite(value) else None for key, value in scalars.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("a+b") as file:
            cut = file.tell() > 0 and _last_byte(file) != b"\n"  # a killed run left half a line
            line = json.dumps({"step": step, "unix_time_s": time.time(), **plain})
            file.write((b"\n" if cut else b"") + line.encode() + b"\n")

    def keeps(self, step: int) -> bool:
        return bool(self.rollouts_every) and step % self.rollouts_every == 0

    def write_episodes(self, step: int, records: Iterable[dict[str, Any]]) -> None:
        """Whole or not at all."""
        folder = self.folder / ROLLOUTS
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".step_{step:06d}.jsonl"
        unfinished.write_text("".join(json.dumps({"step": step, **record}) + "\n" for record in records))
        os.replace(unfinished, folder / f"step_{step:06d}.jsonl")


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def find_run(path: Path) -> Path:
    """The folder that holds metrics.jsonl: `path` itself, or one of the usual places below it.

    Raises:
        UsageError: there is no such folder.
    """
    if not path.exists():
        raise UsageError(f"there is no run at {path}: name the folder of a run, its rlef.run_dir")
    for candidate in (path, path / "rlef", path / "run"):
        if any((candidate / name).exists() for name in (METRICS, PLAN, ROLLOUTS)):
            return candidate
    return path


def state(run: Path) -> list[tuple[int, int]]:
    """Equal as long as metrics, evaluations and plan are unchanged: time and size of each."""
    found = (run / name for name in (METRICS, EVALUATIONS, PLAN))
    return [(said.st_mtime_ns, said.st_size) for file in found if file.exists() and (said := file.stat())]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; lines that are none, such as one that is still being written, are passed over."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            value = json.loads(line)
        except ValueError:  # also of bytes that are no UTF-8
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def read_metrics(run: Path, name: str = METRICS) -> list[dict[str, float]]:
    """A dict a step, in the order of the steps; only numbers, NaN for null."""
    steps: dict[int, dict[str, float]] = {}
    for line in read_lines(run / name):
        if isinstance(line.get("step"), int):
            while steps and next(reversed(steps)) >= line["step"]:
                steps.popitem()
            steps[line["step"]] = {
                key: math.nan if value is None else float(value)
                for key, value in line.items()
                if value is None or isinstance(value, int | float)
            }
    return list(steps.values())


def read_plan(run: Path) -> dict[str, Any]:
    plan = read_lines(run / PLAN)
    return plan[-1] if plan else {}


def kept_steps(run: Path) -> list[int]:
    """Those whose episodes are there, but not of steps that the run has yet to make again."""
    made = [step["step"] for step in read_metrics(run)]
    names = (path.stem.removeprefix("step_") for path in (run / ROLLOUTS).glob("step_*.jsonl"))
    steps = sorted(int(name) for name in names if name.isdigit())
    return [step for step in steps if not made or step <= made[-1]]


def read_episodes(run: Path, step: int | None = None) -> tuple[int, list[dict[str, Any]]]:
    """(step, its episodes), by default of the last step that was kept.

    Raises:
        UsageError: no episodes, or none of that step, were kept.
    """
    steps = kept_steps(run)
    if not steps:
        raise UsageError(f"{run} keeps no episodes: they are written every rlef.rollouts_every steps, so set that")
    step = steps[-1] if step is None else step
    if step not in steps:
        known = ", ".join(map(str, steps)) if len(steps) <= 12 else f"{steps[0]} to {steps[-1]}, {len(steps)} in all"
        raise UsageError(f"{run} keeps no episodes of step {step}: choose one of {known}")
    return step, read_lines(run / ROLLOUTS / f"step_{step:06d}.jsonl")
