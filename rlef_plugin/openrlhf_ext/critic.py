"""The turn-level critic: the host's critic, shown a mask that is 1 only at turn starts.

The host reads the value of mask index j at token j (`values[:, :-1]`), so the first index of a run of ones is the last
prompt token c_t of that turn: V(c_t), one value a turn (PAPER.md section 3). With that mask in `forward` and in the
replay buffer, the host's clipped value loss and its global normalisation average over turns instead of tokens.
"""

from dataclasses import replace
from typing import Any

import ray
from openrlhf.trainer.ray.ppo_critic import CriticModelActor

from rlef_plugin.openrlhf_ext.remote import original_class
from rlef_plugin.rl.turns import turn_starts


class TurnCritic(original_class(CriticModelActor)):  # type: ignore[misc]
    """Values (B, A) are V(c_t) at the first token of each turn and 0 elsewhere."""

    def forward(self, sequences: Any, action_mask: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        return super().forward(sequences, turn_starts(action_mask), attention_mask, **more)

    def append(self, experience: Any) -> None:
        super().append(replace(experience, action_mask=turn_starts(experience.action_mask)))


TurnCriticActor = ray.remote(num_gpus=1)(TurnCritic)
