"""What the learner thinks of each turn, as scalars: KL, value error, explained variance, advantages.

Over the turns t of a rollout batch, each turn of each episode counting once, with L_t the value target:

    value error           mean |L_t - V(c_t)|
    explained variance    1 - Var(L_t - V(c_t)) / Var(L_t)      1: perfect, 0: no better than a constant, < 0: worse

A mean over no turns is NaN, and so is an explained variance over equal targets. Nothing here changes what is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlef_plugin.rl.turns import Turns, at_turn_starts, sum_per_turn, token_counts, turn_mask


@dataclass(frozen=True, slots=True)
class Batch:
    """Of one micro-batch, all (B, A): the log ratio to the initial policy, and what the losses will read."""

    turns: Turns
    kl: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    values: torch.Tensor | None  # None: the estimator has no critic


def explained_variance(targets: torch.Tensor, values: torch.Tensor) -> float:
    """1 - Var(targets - values) / Var(targets), both 1-D; NaN where the targets do not vary."""
    if len(targets) == 0:
        return math.nan
    variance = targets.double().var(correction=0).item()
    unexplained = (targets.double() - values.double()).var(correction=0).item()
    return 1 - unexplained / variance if variance > 1e-12 else math.nan


def turn_diagnostics(batches: Sequence[Batch], turn_limit: int) -> dict[str, float]:
    """Of every turn, over the episodes that got there; those of the critic also over all turns.

    The keys are the same for every batch; those of the critic are there if there is a critic.
    """
    counts = torch.cat([token_counts(batch.turns) for batch in batches]).double()  # (episodes, N)
    played = torch.cat([turn_mask(batch.turns) for batch in batches])
    kl_sum = _per_turn(batches, "kl").double()
    per_turn = {
        "kl_geometric_mean": kl_sum / counts.clamp(min=1),
        "kl_sum": kl_sum,
        # a mean over the turn's tokens: with a value a token they differ
        "advantage": _per_turn(batches, "advantages").double() / counts.clamp(min=1),
    }
    metrics: dict[str, float] = {}
    for turn in range(turn_limit):
        here, where = played[:, turn], f"learner_turn{turn + 1}"
        for name in ("kl_geometric_mean", "kl_sum"):
            metrics[f"{where}/{name}"] = _mean(per_turn[name][here, turn])
        advantage = per_turn["advantage"][here, turn]
        metrics[f"{where}/advantage_mean"] = _mean(advantage)
        metrics[f"{where}/advantage_std"] = advantage.std(correction=0).item() if len(advantage) else math.nan
        metrics[f"{where}/advantage_max_abs"] = advantage.abs().max().item() if len(advantage) else math.nan
    return metrics | _of_critic(batches, played, turn_limit)


def _of_critic(batches: Sequence[Batch], played: torch.Tensor, turn_limit: int) -> dict[str, float]:
    if any(batch.values is None for batch in batches):
        return {}
    targets, values = (
        torch.cat([at_turn_starts(getattr(batch, name), batch.turns) for batch in batches]).double()
        for name in ("returns", "values")
    )
    metrics = {}
    for where, here in (
        ("learner", played),
        *((f"learner_turn{turn + 1}", played & _column(played, turn)) for turn in range(turn_limit)),
    ):
        metrics[f"{where}/value"] = _mean(values[here])
        metrics[f"{where}/value_error"] = _mean((targets - values)[here].abs())
        metrics[f"{where}/explained_variance"] = explained_variance(targets[here], values[here])
    return metrics


def _per_turn(batches: Sequence[Batch], name: str) -> torch.Tensor:
    return torch.cat([sum_per_turn(getattr(batch, name), batch.turns) for batch in batches])


def _column(mask: torch.Tensor, turn: int) -> torch.Tensor:
    """(episodes, N) bool: true in one column."""
    return torch.arange(mask.shape[1]).expand_as(mask) == turn


def _mean(values: torch.Tensor) -> float:
    return values.mean().item() if len(values) else math.nan
