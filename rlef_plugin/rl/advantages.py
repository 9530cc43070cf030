"""Rewards and values per turn -> value targets, advantages, whitening. docs/paper.md section 3, turns t = 1..T:

    R_t = r_t - beta * KL_t
    L_t = R_t + gamma * ((1 - lambd) * V(c_t+1) + lambd * L_t+1)        V(c_T+1) = L_T+1 = 0
    A_t = L_t - V(c_t)                                                  the value target is L_t

That is GAE over turns, written so that gamma = lambd = 1 (the paper) gives A_t = sum_{i>=t} R_i - V(c_t) and the
target G_t = sum_{i>=t} R_i directly: no value enters the sum and has to cancel. For lambd < 1, where the paper says
nothing, the target is the lambda-return L_t, as in the host, so that A_t stays the error the critic is trained on.
gamma and lambd act once per turn, never per token: how long a response or a feedback message is changes no discount.

Whitening takes population mean and variance over the whole rollout batch, which arrives as a list of micro-batches.
Numbers are carried in float64 inside and leave as float32. Entries where a row has no such turn come out as 0.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from rlef_plugin.rl.turns import Turns, at_turn_starts, spread, token_counts, turn_mask

Whiten = Literal["turn", "token", "none"]

MIN_VARIANCE = 1e-8  # the host's guard: one single turn, or equal advantages, whiten to 0 instead of NaN


def turn_rewards_with_kl(rewards: torch.Tensor, kl: torch.Tensor, beta: float) -> torch.Tensor:
    """(B, N) r_t and KL_t -> (B, N) R_t."""
    return (rewards.double() - beta * kl.double()).float()


def turn_returns(rewards: torch.Tensor, mask: torch.Tensor, gamma: float) -> torch.Tensor:
    """(B, N) R_t and turn mask -> (B, N) G_t = R_t + gamma * G_t+1."""
    return _lambda_returns(rewards, torch.zeros_like(rewards), mask, gamma, 1.0).float()


def turn_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lambd: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N) R_t, V(c_t) and turn mask -> (B, N) A_t and (B, N) value targets L_t."""
    returns = _lambda_returns(rewards, values, mask, gamma, lambd)
    advantages = torch.where(mask, returns - values.double(), 0.0)
    return advantages.float(), returns.float()


def token_advantages(
    rewards: torch.Tensor, values: torch.Tensor, turns: Turns, gamma: float, lambd: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ablation with one value per response token (`rlef.value: token`, docs/paper.md section 8).

    (B, N) R_t and (B, A) values -> (B, A) advantages and (B, A) value targets. All tokens of a turn share the turn's
    target, which bootstraps from the value at the next turn's first index if lambd < 1; each token has its own value.
    """
    returns = _lambda_returns(rewards, at_turn_starts(values, turns), turn_mask(turns), gamma, lambd)
    targets, is_response = spread(returns, turns), spread(turn_mask(turns), turns) > 0
    return torch.where(is_response, targets - values.float(), 0.0), targets


def whiten(
    advantages: Sequence[torch.Tensor], turns: Sequence[Turns], mode: Whiten, per_token: bool = False
) -> list[torch.Tensor]:
    """Whitens the advantages of a rollout batch, a list of micro-batches of any shapes.

    Each is (B, N), or (B, A) with `per_token`. `turn`: every turn counts once; `token`: every response token counts
    once, so a turn weighs n_t; `none`: unchanged.
    """
    if mode == "none":
        return list(advantages)
    weights = [whitening_weights(item, mode, per_token) for item in turns]
    mean, rstd = whitening_stats(zip(advantages, weights, strict=True))
    return [
        torch.where(weight > 0, (item.double() - mean) * rstd, 0.0).float()
        for item, weight in zip(advantages, weights, strict=True)
    ]


def whitening_weights(turns: Turns, mode: Whiten, per_token: bool = False) -> torch.Tensor:
    """(B, N), or (B, A) with `per_token`: how much each entry counts in the mean; 0 where there is nothing."""
    counts = token_counts(turns)
    if mode not in ("turn", "token"):
        raise ValueError(f"no weights for whitening mode {mode!r}; set rlef.whiten to turn, token or none")
    weights = counts.double() if mode == "token" else (counts > 0).double()
    return spread(weights / counts.clamp(min=1), turns) if per_token else weights


def whitening_stats(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, float]:
    """Weighted population mean and 1 / standard deviation over (values, weights) pairs of any shapes, in float64.

    A value of weight 0 is never read. No weight at all gives (0, 1).
    """
    chosen = [(values[weights > 0].double(), weights[weights > 0].double()) for values, weights in batches]
    total = sum(float(weights.sum()) for _, weights in chosen)
    if total == 0:
        return 0.0, 1.0
    mean = sum(float((values * weights).sum()) for values, weights in chosen) / total
    variance = sum(float(((values - mean) ** 2 * weights).sum()) for values, weights in chosen) / total
    return mean, max(variance, MIN_VARIANCE) ** -0.5


def _lambda_returns(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lambd: float
) -> torch.Tensor:
    """(B, N) float64 L_t; the module docstring has the recursion. One step of the loop is one turn."""
    rewards, values = torch.where(mask, rewards.double(), 0.0), torch.where(mask, values.double(), 0.0)
    following = next_value = torch.zeros_like(rewards[:, 0])  # (B,) L_t+1 and V(c_t+1)
    returns = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + gamma * ((1 - lambd) * next_value + lambd * following)
        next_value = values[:, t]
        returns[:, t] = following
    return returns
