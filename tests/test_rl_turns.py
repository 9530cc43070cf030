"""Segmentation: literals for every border a run of ones can have."""

import pytest
import torch
from reference.worked_example import ACTION_MASK, TURN_INDEX, TURN_STARTS

from rlef_plugin.rl.turns import (
    at_turn_starts,
    count_turns,
    find_turns,
    spread,
    sum_per_turn,
    token_counts,
    turn_index,
    turn_mask,
    turn_starts,
)

NAN, INF = float("nan"), float("inf")
MASK = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [0, 1, 1, 1, 1]])


def test_worked_example():
    mask = torch.tensor([ACTION_MASK])
    assert turn_index(mask).tolist() == [TURN_INDEX]
    assert turn_starts(mask).long().tolist() == [TURN_STARTS]
    assert token_counts(find_turns(mask)).tolist() == [[4, 2, 1]]


def test_runs_touching_both_borders_an_empty_row_and_rows_that_meet():
    # Row 2 ends in a one and row 3 could begin with one: a turn never runs over into the next row.
    assert turn_index(MASK).tolist() == [[0, 0, -1, 1, -1], [-1] * 5, [0, -1, 1, -1, 2], [-1, 0, 0, 0, 0]]
    assert count_turns(MASK).tolist() == [2, 0, 3, 1]
    turns = find_turns(MASK)
    assert token_counts(turns).tolist() == [[2, 1, 0], [0, 0, 0], [1, 1, 1], [4, 0, 0]]
    assert turn_mask(turns).long().tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]]
    full = find_turns(torch.ones(3, 4))
    assert token_counts(full).tolist() == [[4], [4], [4]]


def test_sum_read_and_spread():
    turns = find_turns(MASK, n_turns=4)
    x = torch.arange(20.0).view(4, 5)
    # Row 0: 0 + 1, 3.  Row 2: 10, 12, 14.  Row 3: 16 + 17 + 18 + 19 = 70.
    assert sum_per_turn(x, turns).tolist() == [[1, 3, 0, 0], [0, 0, 0, 0], [10, 12, 14, 0], [70, 0, 0, 0]]
    assert at_turn_starts(x, turns).tolist() == [[0, 3, 0, 0], [0, 0, 0, 0], [10, 12, 14, 0], [16, 0, 0, 0]]
    per_turn = torch.tensor([[1.0, 2, 9, 9], [9, 9, 9, 9], [3, 4, 5, 9], [6, 9, 9, 9]])
    assert spread(per_turn, turns).tolist() == [[1, 1, 0, 2, 0], [0] * 5, [3, 0, 4, 0, 5], [0, 6, 6, 6, 6]]


@pytest.mark.parametrize("poison", [NAN, INF, -INF])
def test_nothing_under_a_zero_is_read(poison: float):
    turns = find_turns(MASK)
    x = torch.where(MASK.bool(), 1.0, poison)
    assert sum_per_turn(x, turns).tolist() == [[2, 1, 0], [0, 0, 0], [1, 1, 1], [4, 0, 0]]
    assert at_turn_starts(x, turns).tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]]
    per_turn = torch.where(turn_mask(turns), 1.0, poison)
    assert spread(per_turn, turns).tolist() == MASK.float().tolist()


def test_bf16_adds_up_in_more_than_bf16():
    # In bf16, 256 + 1 = 256: adding ones one by one would stop there.
    x = torch.ones(1, 1000, dtype=torch.bfloat16)
    total = sum_per_turn(x, find_turns(torch.ones(1, 1000)))
    assert total.dtype is torch.float32 and total.item() == 1000


def test_more_turns_than_the_limit_is_one_sentence():
    with pytest.raises(ValueError, match="an episode has 3 turns but the turn limit is 2; raise rlef.turn_limit"):
        find_turns(MASK, n_turns=2)


def test_a_tensor_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask's shape \(4, 5\), got \(5, 4\)"):
        sum_per_turn(torch.zeros(5, 4), find_turns(MASK))


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_masks_of_the_types_the_host_uses(dtype: torch.dtype):
    assert turn_index(MASK.to(dtype)).equal(turn_index(MASK))
    assert find_turns(MASK.to(dtype)).borders.tolist() == find_turns(MASK).borders.tolist()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty_batches(shape: tuple[int, int]):
    turns = find_turns(torch.zeros(shape))
    assert token_counts(turns).shape == (shape[0], 1) and token_counts(turns).sum() == 0
    assert spread(torch.ones(shape[0], 1), turns).shape == shape
