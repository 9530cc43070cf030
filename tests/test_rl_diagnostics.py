"""Diagnostics of the learner against numbers worked out by hand and plain loops."""

import math
from typing import Any

import pytest
import torch

from rlef_plugin.rl.diagnostics import Batch, explained_variance, turn_diagnostics
from rlef_plugin.rl.turns import find_turns


def batch(mask: list[list[int]], **grids: Any) -> Batch:
    action_mask = torch.tensor(mask)
    zeros = torch.zeros(action_mask.shape)
    tensors = {name: torch.tensor(grid) if grid is not None else None for name, grid in grids.items()}
    return Batch(find_turns(action_mask, 3), **{"kl": zeros, "advantages": zeros, "returns": zeros, **tensors})


# Two episodes of two turns and one: tokens 1-2 and 4 of the first, 0-2 of the second. Under the zeros: nonsense.
X = math.nan
MASK = [[0, 1, 1, 0, 1], [1, 1, 1, 0, 0]]
FIRST = batch(
    MASK,
    kl=[[X, 0.1, 0.3, 9.0, -0.5], [0.3, 0.3, 0.6, X, X]],
    advantages=[[X, 2.0, 2.0, X, -1.0], [0.5, 0.5, 0.5, X, X]],
    returns=[[X, 1.0, 1.0, X, 1.0], [-1.0, -1.0, -1.0, X, X]],
    values=[[X, 0.5, X, X, 0.25], [-0.5, X, X, X, X]],
)


def test_by_hand() -> None:
    metrics = turn_diagnostics([FIRST], 3)
    expected = {
        "learner_turn1/kl_geometric_mean": (0.2 + 0.4) / 2,
        "learner_turn1/kl_sum": (0.4 + 1.2) / 2,
        "learner_turn2/kl_geometric_mean": -0.5,
        "learner_turn2/kl_sum": -0.5,
        "learner_turn1/advantage_mean": (2.0 + 0.5) / 2,
        "learner_turn1/advantage_std": 0.75,  # population: 1.25 +- 0.75
        "learner_turn1/advantage_max_abs": 2.0,
        "learner_turn2/advantage_max_abs": 1.0,
        "learner_turn1/value": 0.0,
        "learner_turn1/value_error": (0.5 + 0.5) / 2,
        "learner_turn2/value_error": 0.75,
        "learner/value_error": (0.5 + 0.75 + 0.5) / 3,
        "learner/value": (0.5 + 0.25 - 0.5) / 3,
        # targets 1, -1: variance 1; errors 0.5, -0.5: variance 0.25
        "learner_turn1/explained_variance": 0.75,
    }
    assert {key: metrics[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    # over all turns: targets 1, 1, -1, variance 8/9; errors 0.5, 0.75, -0.5, mean 0.25, variance 0.875/3
    assert metrics["learner/explained_variance"] == pytest.approx(1 - 0.875 / 3 / (8 / 9))
    assert math.isnan(metrics["learner_turn2/explained_variance"])  # of one turn


def test_what_nobody_played_is_nan_and_the_keys_stay() -> None:
    metrics = turn_diagnostics([FIRST], 3)
    assert all(math.isnan(value) for key, value in metrics.items() if key.startswith("learner_turn3"))
    alone = turn_diagnostics([batch([[1]], values=[[0.0]])], 3)
    assert list(alone) == list(metrics) and len(metrics) == 3 * 8 + 3


def test_without_a_critic_its_keys_are_absent() -> None:
    metrics = turn_diagnostics([batch(MASK, values=None)], 3)
    assert set(metrics) == {
        f"learner_turn{turn}/{name}"
        for turn in (1, 2, 3)
        for name in ("kl_geometric_mean", "kl_sum", "advantage_mean", "advantage_std", "advantage_max_abs")
    }


def test_micro_batches_are_one_batch() -> None:
    """Two of different widths give what one of both gives."""
    narrow = batch([[1, 1]], kl=[[0.5, 0.5]], advantages=[[4.0, 4.0]], returns=[[3.0, 3.0]], values=[[1.0, 0.0]])
    wide = [
        torch.cat([getattr(FIRST, name), torch.nn.functional.pad(getattr(narrow, name), (0, 3))])
        for name in ("kl", "advantages", "returns", "values")
    ]
    whole = Batch(find_turns(torch.tensor([*MASK, [1, 1, 0, 0, 0]]), 3), *wide)
    assert turn_diagnostics([FIRST, narrow], 3) == pytest.approx(turn_diagnostics([whole], 3), nan_ok=True)


def test_a_value_a_token_takes_the_mean_advantage_of_the_turn() -> None:
    made = batch([[1, 1, 1]], advantages=[[1.0, 2.0, 6.0]], values=[[0.0, 5.0, 5.0]])
    metrics = turn_diagnostics([made], 3)
    assert metrics["learner_turn1/advantage_mean"] == 3.0
    assert metrics["learner_turn1/value"] == 0.0  # where the turn starts


@pytest.mark.parametrize(
    "values, expected", [([1.0, -1.0, 3.0], 1.0), ([2.0, 2.0, 2.0], 0.0), ([-1.0, 1.0, -3.0], -3.0)]
)
def test_explained_variance(values: list[float], expected: float) -> None:
    """Targets 1, -1, 3. A perfect critic; a constant one, however wrong; the opposite: twice the targets as errors."""
    assert explained_variance(torch.tensor([1.0, -1.0, 3.0]), torch.tensor(values)) == pytest.approx(expected)


def test_explained_variance_of_equal_targets_is_not_a_number() -> None:
    assert math.isnan(explained_variance(torch.ones(4), torch.zeros(4)))
    assert math.isnan(explained_variance(torch.zeros(0), torch.zeros(0)))
