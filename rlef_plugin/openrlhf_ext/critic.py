"""The turn-level critic: the host's, shown a mask that is 1 only at turn starts, and no token after the last one.

The host reads the value of mask index j at token j (`values[:, :-1]`), so the first index of a run of ones is the last
prompt token c_t of that turn: V(c_t), one value a turn (docs/paper.md section 3). With that mask in `forward` and in
the replay buffer, the host's clipped value loss and its global normalisation average over turns instead of tokens.

A causal model's value at c_t knows no later token, so what follows the last turn's start, a whole response, is cut off
the critic's input. That is exact (tests/test_host_critic.py) and saves as much as the last response is long: of 300
tokens in 1800, 16%; in an episode of one turn 40% (benchmarks/bench_critic.py). The cut is made in the attention mask,
by which the host itself removes padding from the replay buffer, packs samples and slices them for ring attention, so
all of these work on the shorter rows. With a mixture of experts' balancing loss (`actor.aux_loss_coef`), which reads
every token, nothing is cut.

Not promised: a saving at the value head. The host's critic has no vocabulary logits, and its head costs one
multiplication a hidden unit and token, a millionth of the model.
"""

from dataclasses import replace
from typing import Any

import ray
import torch
from openrlhf.trainer.ray.ppo_critic import CriticModelActor

from rlef_plugin.openrlhf_ext.policy import begin_checkpoint, seed_update
from rlef_plugin.openrlhf_ext.remote import original_class
from rlef_plugin.rl.turns import turn_starts


def attended(starts: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """(B, T) the attention mask up to each row's last turn start and one token more; `starts` is (B, T - 1).

    One more, because the host reads T - 1 values of T tokens: the value at c_t needs a token after it in the row.
    """
    later = starts.long().flip(1).cumsum(1).flip(1)  # (B, A) > 0 up to the last turn start
    return attention_mask * torch.nn.functional.pad(later > 0, (1, 0), value=True)


class Critic(original_class(CriticModelActor)):  # type: ignore[misc]
    """The host's critic, its updates shuffled as the policy's are."""

    def fit(self) -> Any:
        seed_update(self.strategy, self.critic)
        return super().fit()

    def save_checkpoint(self, tag: str, *arguments: Any, **keywords: Any) -> None:
        begin_checkpoint(self.strategy, "_critic", tag)
        super().save_checkpoint(tag, *arguments, **keywords)


class TurnCritic(Critic):
    """Values (B, A) are V(c_t) at the first token of each turn and 0 elsewhere."""

    def forward(self, sequences: Any, action_mask: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        starts = turn_starts(action_mask)  # (B, A)
        if self._reads_every_token():
            return super().forward(sequences, starts, attention_mask, **more)
        attention_mask = attended(starts, attention_mask)
        used = max(int(attention_mask.any(0).nonzero().max()) + 1, 2)  # columns; of two tokens, one value is read
        values = super().forward(sequences[:, :used], starts[:, : used - 1], attention_mask[:, :used], **more)
        return torch.nn.functional.pad(values, (0, starts.shape[1] - values.shape[1]))

    def append(self, experience: Any) -> None:
        """Host override: the host removes from each row what its attention mask leaves out on the right."""
        starts = turn_starts(experience.action_mask)
        kept = experience.attention_mask if self._reads_every_token() else attended(starts, experience.attention_mask)
        lengths = kept.sum(1).to(experience.total_length.dtype)  # (B,) by which dynamic batching fills micro-batches
        super().append(replace(experience, action_mask=starts, attention_mask=kept, total_length=lengths))

    def _reads_every_token(self) -> bool:
        return self.strategy.args.actor.aux_loss_coef > 0


CriticActor = ray.remote(num_gpus=1)(Critic)
TurnCriticActor = ray.remote(num_gpus=1)(TurnCritic)
