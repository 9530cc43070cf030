"""The folders that a run writes into: whether they can be written, and whether what is kept there has room.

Found out hours later, the first costs the trained model and the second the run. A checkpoint of DeepSpeed's holds 14
bytes of each trained parameter: the weight in two, and in float32 a copy of it and the two moments of Adam. For 8
billion parameters, with a critic as large, that is 224 GB.

Not promised: that nodes with GPUs may write there too, nor that a quota, of which a file system says nothing, is as
large as its free space. Of adapters (LoRA) the little that they add is not counted.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlef_plugin.checkpoints import models_of
from rlef_plugin.errors import UsageError

WEIGHT, OPTIMIZER = 2, 12  # bytes a parameter

log = logging.getLogger("rlef")


def check_written(folders: Mapping[str, str]) -> None:
    """Make these folders, by the key of each, and a file in them that is deleted again.

    Raises:
        UsageError: one of them cannot be made, or not be written.
    """
    for key, folder in folders.items():
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UsageError(f"{key}={folder} cannot be written ({error.strerror}): choose another folder") from None


def warn_of_room(arguments: Mapping[str, Any], parameters: int) -> None:
    """`arguments` are the host's, flat, and their folders are there; `parameters` is the number of the policy's."""
    model, path = Path(arguments["ckpt.output_dir"]), Path(arguments["ckpt.path"])
    one, count = checkpoint(arguments, parameters), most_kept(arguments)
    # The host deletes, before it writes another, until what is there is no larger than ckpt.max_mem, of each model.
    limit = arguments["ckpt.max_mem"] * 2**30 * len(_trained(arguments)) + one
    writes = [(model, WEIGHT * parameters, "the trained model")]
    if count:
        there = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())  # of the run it goes on from
        what = f"{count} checkpoint{'s' * (count > 1)} of {_said(one)}"
        writes.append((path, max(0, min(one * count, limit) - there), what))
    for device, folder in {where.stat().st_dev: where for where, *_ in writes}.items():
        needed = [(size, what) for where, size, what in writes if where.stat().st_dev == device]
        total, free = sum(size for size, _ in needed), shutil.disk_usage(folder).free
        if total > free:
            log.warning(
                "the disk of %s has %s free, but this run may still write %s there: %s; make room, choose another "
                "disk (ckpt.path, ckpt.output_dir), or keep fewer checkpoints", folder, _said(free), _said(total),
                " and ".join(what for _, what in needed),
            )  # fmt: skip


def checkpoint(arguments: Mapping[str, Any], parameters: int) -> int:
    """Bytes of one checkpoint: of every model that is trained, and with `ckpt.save_hf` the policy once more."""
    each = WEIGHT if arguments["ds.lora.rank"] > 0 else WEIGHT + OPTIMIZER
    states = 0 if arguments["ckpt.disable_ds"] else each * len(_trained(arguments))
    return int(parameters * (states + (WEIGHT if arguments["ckpt.save_hf"] else 0)))


def most_kept(arguments: Mapping[str, Any]) -> int:
    """Checkpoints that the host keeps at a time: those of the last steps, and the best one of the evaluations."""
    last = arguments["ckpt.max_num"] if arguments["ckpt.save_steps"] > 0 else 0
    best = arguments["eval.dataset"] and arguments["eval.steps"] > 0 and arguments["ckpt.best_metric_key"] != "none"
    return int(last + bool(best))


def _trained(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    return models_of(arguments["algo.advantage.estimator"])


def _said(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"
