"""One KL per turn, from the log ratio of policy and initial policy on each response token. docs/paper.md section 2:

    KL_t = (1/n_t) * sum_i [ log pi(a_t,i | .) - log rho(a_t,i | .) ]       geometric_mean (the paper)
    KL_t =           sum_i [ log pi(a_t,i | .) - log rho(a_t,i | .) ]       sum (the product of the token ratios)

Under the sum a short response pays less than a long one, and the model learns to write very short intermediate
responses; the mean takes the length out. Both are the plain log ratio (k1), so a KL_t may be negative.

Not promised: the host clamps its own per-token `experience.kl` to +-10; this clamps nothing.
"""

from typing import Literal

import torch

from rlef_plugin.rl.turns import Turns, sum_per_turn, token_counts

Estimator = Literal["geometric_mean", "sum"]


def turn_kl(log_ratio: torch.Tensor, turns: Turns, estimator: Estimator = "geometric_mean") -> torch.Tensor:
    """(B, A) log pi - log rho -> (B, N) float32 KL_t; 0 where a row has no such turn."""
    total = sum_per_turn(log_ratio, turns)
    if estimator == "sum":
        return total
    if estimator == "geometric_mean":
        return total / token_counts(turns).clamp(min=1)
    raise ValueError(f"unknown KL estimator {estimator!r}; set rlef.kl to geometric_mean or sum")
