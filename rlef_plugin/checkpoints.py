"""Checkpoints of a run that may have been killed at any moment, even while one was being written.

The host saves policy and critic each by itself, into a folder of its own with its own note of the latest, and each
goes on from its own: a run killed in between would train a critic that is one step behind. `agree` points both at the
last checkpoint that both have whole. It is whole if its metric.json is there, which the host writes last, and which
`begin` takes away before a checkpoint is written over one of the same name. The last one is what all notes name, or
else, where a kill left them unlike, the one that was written last; a copy of a run may have lost those times.

    <ckpt.path>/_actor/latest, _actor/global_step20/...    <ckpt.path>/_critic/latest, _critic/global_step20/...
    <ckpt.path>/global_step20_hf/                          with ckpt.save_hf: the policy as a model that can be loaded

Not kept by the host's checkpoints, so not gone on with: the moving average of `train.enable_ema` (refused), rollouts
that were generated ahead but not trained on (they are generated again), and the state of vLLM's sampling.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

MODELS = ("_actor", "_critic")
WITH_CRITIC = ("turn", "gae")  # advantage estimators


def models_of(estimator: str) -> tuple[str, ...]:
    """The models that a run with this advantage estimator trains and saves."""
    return MODELS if estimator in WITH_CRITIC else MODELS[:1]


def latest(path: Path, models: Sequence[str] = MODELS) -> str | None:
    """The checkpoint a run with these models would go on from; None if there is none.

    The folder of a model that the run has not, left by another run, counts for nothing.
    """
    folders = [path / model for model in models]
    whole = [{file.parent.name for file in folder.glob("*/metric.json")} for folder in folders]
    common = set.intersection(*whole)
    noted = {_note(folder) for folder in folders}
    if len(noted) == 1 and noted <= common:
        return noted.pop()
    return max(common, key=lambda tag: (folders[0] / tag / "metric.json").stat().st_mtime_ns, default=None)


def begin(path: Path, model: str, tag: str) -> None:
    """From now on until its metric.json is there again, this checkpoint of one of the `MODELS` is not whole."""
    (path / model / tag / "metric.json").unlink(missing_ok=True)


def drop_old_models(path: Path) -> None:
    """Delete the loadable models (`ckpt.save_hf`) whose checkpoint the host has deleted; it would keep them all."""
    for model in path.glob("*global_step*_hf"):
        if not (path / "_actor" / model.name.removesuffix("_hf")).is_dir():
            shutil.rmtree(model)


def agree(path: Path, models: Sequence[str] = MODELS) -> str | None:
    """Let these models go on from the same checkpoint; returns its name."""
    tag = latest(path, models)
    for folder in (path / model for model in models):
        note = folder / "latest"
        if tag is None:
            note.unlink(missing_ok=True)
        elif _note(folder) != tag:
            unfinished = note.with_name(".latest")
            unfinished.write_text(tag)
            os.replace(unfinished, note)
    return tag


def _note(folder: Path) -> str:
    """The checkpoint that the host would go on from; "" if it has no note."""
    note = folder / "latest"
    return note.read_text().strip() if note.is_file() else ""
