"""Checkpoints of a run that may have been killed at any moment, even while one was being written.

The host saves policy and critic each by itself, into a folder of its own with its own note of the latest, and each
goes on from its own: a run killed in between would train a critic that is one step behind. `agree` points both at the
last checkpoint that both have whole. It is whole if its metric.json is there, which the host writes last, and which
`begin` takes away before a checkpoint is written over one of the same name.

    <ckpt.path>/_actor/latest, _actor/global_step20/...    <ckpt.path>/_critic/latest, _critic/global_step20/...

Not kept by the host's checkpoints, so not gone on with: the moving average of `train.enable_ema` (refused), rollouts
that were generated ahead but not trained on (they are generated again), and the state of vLLM's sampling.
"""

import os
from pathlib import Path

MODELS = ("_actor", "_critic")


def latest(path: Path) -> str | None:
    """The checkpoint a run in this folder would go on from; None if there is none."""
    folders = [path / model for model in MODELS if (path / model).is_dir()]
    if not folders:
        return None
    whole = [{file.parent.name for file in folder.glob("*/metric.json")} for folder in folders]
    common = set.intersection(*whole)
    return max(common, key=lambda tag: (folders[0] / tag / "metric.json").stat().st_mtime_ns, default=None)


def begin(path: Path, model: str, tag: str) -> None:
    """From now on until its metric.json is there again, this checkpoint of one of the `MODELS` is not whole."""
    (path / model / tag / "metric.json").unlink(missing_ok=True)


def agree(path: Path) -> str | None:
    """Let policy and critic go on from the same checkpoint; returns its name."""
    tag = latest(path)
    for folder in (path / model for model in MODELS):
        note = folder / "latest"
        if tag is not None and folder.is_dir() and (not note.is_file() or note.read_text().strip() != tag):
            unfinished = note.with_name(".latest")
            unfinished.write_text(tag)
            os.replace(unfinished, note)
        if tag is None:
            note.unlink(missing_ok=True)
    return tag
