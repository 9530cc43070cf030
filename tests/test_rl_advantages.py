"""KL, returns, advantages, whitening per turn, in hand-worked literals (docs/method.md has the same arithmetic)."""

import pytest
import torch
from reference.worked_example import ACTION_MASK, BETA, LOG_RATIO, REWARDS, VALUES, on_grid

from rlef_plugin.rl.advantages import (
    token_advantages,
    turn_advantages,
    turn_returns,
    turn_rewards_with_kl,
    whiten,
    whitening_stats,
)
from rlef_plugin.rl.kl import turn_kl
from rlef_plugin.rl.turns import find_turns, turn_mask

NAN = float("nan")
TURNS = find_turns(torch.tensor([ACTION_MASK]))
MASK = turn_mask(TURNS)
LOG_RATIOS = torch.tensor([on_grid(LOG_RATIO, NAN)])
# R = -0.2 - 0.05 * 0.2, 0 - 0.05 * 0.3, 1 + 0.05 * 0.4
R = torch.tensor([[-0.21, -0.015, 1.02]])
V = torch.tensor([VALUES])


def close(got: torch.Tensor, expected: list[float]) -> bool:
    return got.dtype is torch.float32 and got.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_kl_per_turn():
    # sums 0.4 - 0.1 + 0.3 + 0.2 = 0.8, 0.5 + 0.1 = 0.6, -0.4; means over 4, 2 and 1 tokens
    assert close(turn_kl(LOG_RATIOS, TURNS, "geometric_mean"), [0.2, 0.3, -0.4])
    assert close(turn_kl(LOG_RATIOS, TURNS, "sum"), [0.8, 0.6, -0.4])
    with pytest.raises(ValueError, match="'mean'; set rlef.kl"):
        turn_kl(LOG_RATIOS, TURNS, "mean")  # type: ignore[arg-type]


def test_rewards_with_kl():
    kl = turn_kl(LOG_RATIOS, TURNS)
    assert close(turn_rewards_with_kl(torch.tensor([REWARDS]), kl, BETA), [-0.21, -0.015, 1.02])


def test_paper_returns_and_advantages():
    # G3 = 1.02, G2 = -0.015 + 1.02 = 1.005, G1 = -0.21 + 1.005 = 0.795;  A = G - V
    assert close(turn_returns(R, MASK, 1.0), [0.795, 1.005, 1.02])
    advantages, targets = turn_advantages(R, V, MASK, 1.0, 1.0)
    assert close(advantages, [0.545, 0.505, 0.27])
    assert targets.equal(turn_returns(R, MASK, 1.0))


def test_gamma_and_lambda_per_turn():
    # lambda 0.5: L2 = -0.015 + 0.5 * 0.75 + 0.5 * 1.02 = 0.87, L1 = -0.21 + 0.5 * 0.5 + 0.5 * 0.87 = 0.475
    advantages, targets = turn_advantages(R, V, MASK, 1.0, 0.5)
    assert close(targets, [0.475, 0.87, 1.02])
    assert close(advantages, [0.225, 0.37, 0.27])
    # gamma 0.5 as well: L2 = -0.015 + 0.5 * 0.885 = 0.4275, L1 = -0.21 + 0.5 * (0.25 + 0.21375) = 0.021875
    advantages, targets = turn_advantages(R, V, MASK, 0.5, 0.5)
    assert close(targets, [0.021875, 0.4275, 1.02])
    assert close(advantages, [-0.228125, -0.0725, 0.27])


def test_one_value_per_token():
    values = torch.tensor([on_grid([0.25, 0.3, 0.4, 0.5, 0.5, 0.6, 0.75], NAN)])
    advantages, targets = token_advantages(R, values, TURNS, 1.0, 1.0)
    assert close(targets, on_grid([0.795, 0.795, 0.795, 0.795, 1.005, 1.005, 1.02], 0.0))
    # 0.795 - 0.25, - 0.3, - 0.4, - 0.5;  1.005 - 0.5, - 0.6;  1.02 - 0.75
    assert close(advantages, on_grid([0.545, 0.495, 0.395, 0.295, 0.505, 0.405, 0.27], 0.0))


def test_missing_turns_are_zero_whatever_is_in_them():
    mask = torch.tensor([[True, False], [False, False]])
    bad = torch.tensor([[2.0, NAN], [NAN, float("inf")]])
    advantages, targets = turn_advantages(bad, bad / 4, mask, 1.0, 0.5)
    assert close(targets, [2, 0, 0, 0]) and close(advantages, [1.5, 0, 0, 0])


def test_whitening_over_turns_and_over_tokens():
    advantages = torch.tensor([[0.545, 0.505, 0.27]])
    # turns: mean 1.32 / 3 = 0.44; 0.105, 0.065, -0.17; variance 0.04415 / 3; deviation 0.1213122
    assert close(whiten([advantages], [TURNS], "turn")[0], [0.865535, 0.535808, -1.401343])
    # tokens: mean (4 * 0.545 + 2 * 0.505 + 0.27) / 7 = 0.4942857; variance 0.0608214 / 7; deviation 0.0932136
    assert close(whiten([advantages], [TURNS], "token")[0], [0.544065, 0.114943, -2.406148])
    assert whiten([advantages], [TURNS], "none")[0].equal(advantages)
    with pytest.raises(ValueError, match="'batch'; set rlef.whiten"):
        whiten([advantages], [TURNS], "batch")  # type: ignore[arg-type]


def test_whitening_counts_a_turn_once_however_its_tokens_are_spread():
    # Tokens 1, 1, 1 in one turn and 0 in another: over turns mean 1/2 and deviation 1/2; over tokens mean 3/4 and
    # variance 3/16, so 1/4 / sqrt(3/16) = 0.577350 and -3/4 / sqrt(3/16) = -1.732051.
    turns = find_turns(torch.tensor([[1, 1, 1, 0, 1]]))
    advantages = torch.tensor([[1.0, 1, 1, NAN, 0]])
    assert close(whiten([advantages], [turns], "turn", per_token=True)[0], [1, 1, 1, 0, -1])
    expected = [0.577350, 0.577350, 0.577350, 0, -1.732051]
    assert close(whiten([advantages], [turns], "token", per_token=True)[0], expected)


def test_whitening_guards():
    one = find_turns(torch.tensor([[1, 1, 1]]))
    assert whiten([torch.tensor([[0.3]])], [one], "token")[0].tolist() == [[pytest.approx(0, abs=1e-9)]]
    two = find_turns(torch.tensor([[1, 0, 1]]))
    # Equal advantages have no variance: the host's floor of 1e-8 makes the factor 1e4, and 0 times it is 0.
    assert whiten([torch.tensor([[0.3, 0.3]])], [two], "turn")[0].tolist() == [[0, 0]]
    # Hardly any variance, 1e-5 ** 2, counts as 1e-8 too: 1e-5 / 1e-4 on either side, and not 1.
    assert close(whiten([torch.tensor([[0.0, 2e-5]])], [two], "turn")[0], [-0.1, 0.1])
    nobody = find_turns(torch.zeros(2, 3))
    assert whiten([torch.full((2, 1), NAN)], [nobody], "turn")[0].tolist() == [[0], [0]]
    assert whitening_stats([]) == (0.0, 1.0)
