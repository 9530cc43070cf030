"""Switches of the host that do not go together, each with the reason; read from its sources, OpenRLHF 0.11.2.

The host accepts all of these and fails later, minutes into a run or silently. What it refuses itself is not repeated.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlef_plugin.checkpoints import latest
from rlef_plugin.errors import UsageError

LIMITS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (
        lambda a: a["ds.lora.rank"] > 0 and a["ds.zero_stage"] == 3,
        "ds.lora.rank={ds.lora.rank} with ds.zero_stage=3: vLLM needs weight and adapter added up, and ZeRO-3 holds "
        "neither of them whole; set ds.zero_stage=2",
    ),
    (
        lambda a: a["ds.load_in_4bit"],
        "ds.load_in_4bit: the host sends vLLM the packed 4-bit weights, which do not fit its layers; drop it",
    ),
    (
        lambda a: a["train.enable_ema"] and a["ckpt.load_enable"] and latest(Path(a["ckpt.path"])) is not None,
        "train.enable_ema with a checkpoint in ckpt.path={ckpt.path}: the host's checkpoints do not hold the moving "
        "average, which would start again from the first policy; drop train.enable_ema or start in another ckpt.path",
    ),
    (
        lambda a: a["ckpt.save_steps"] > 0 and a["ckpt.max_num"] < 2,
        "ckpt.max_num={ckpt.max_num}: the host deletes the old checkpoint before it writes the new one, so a run "
        "killed in between could not go on; set ckpt.max_num to 2 or more",
    ),
)


def refuse_limits(arguments: dict[str, Any]) -> None:
    """Raises a UsageError for the first limit these flags meet; `arguments` are the host's, flat."""
    for met, sentence in LIMITS:
        if met(arguments):
            for key, value in arguments.items():
                sentence = sentence.replace(f"{{{key}}}", str(value))
            raise UsageError(sentence)
