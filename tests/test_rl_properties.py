"""The tensor code against the plain loops of tests/reference, and what must not change a number, on random batches."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import episode, whitening

from rlef_plugin.rl.advantages import (
    token_advantages,
    turn_advantages,
    turn_returns,
    turn_rewards_with_kl,
    whiten,
    whitening_stats,
    whitening_weights,
)
from rlef_plugin.rl.kl import turn_kl
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

N_TURNS = 10
UNDER_MASK = (float("nan"), float("inf"), float("-inf"), 1e30)
EXACT = settings(max_examples=60, deadline=None)

# A row: zeros before it, (response, feedback) lengths of its turns, zeros after it. The last feedback may be missing
# (the episode ended, or was cut in its last response) and the row then ends in a one if no padding follows.
ROW = st.tuples(st.integers(0, 3), st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), max_size=N_TURNS))
ROWS = st.lists(ROW, min_size=1, max_size=4)
FACTOR = st.sampled_from([0.0, 0.5, 1.0])


@dataclass
class Batch:
    mask: torch.Tensor  # (B, A) long
    log_ratio: torch.Tensor  # (B, A) with rubbish under the mask
    values: torch.Tensor  # (B, A) likewise
    rewards: torch.Tensor  # (B, N) likewise after a row's last turn

    def rows(self, name: str) -> list[list[float]]:
        return getattr(self, name).double().tolist()

    def kl(self, estimator: str) -> list[list[float]]:
        pairs = zip(self.rows("log_ratio"), self.mask.tolist(), strict=True)
        return [episode.kl(log_ratio, mask, estimator) for log_ratio, mask in pairs]


@st.composite
def batches(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)) -> Batch:
    masks = [_mask(lead, turns) for lead, turns in draw(ROWS)]
    width = max(map(len, masks)) + draw(st.integers(0, 2))
    left = draw(st.booleans())  # the side the padding is on
    masks = [[0] * (width - len(m)) + m if left else m + [0] * (width - len(m)) for m in masks]
    return _fill(torch.tensor(masks), draw(st.integers(0, 2**31)), draw(st.sampled_from(dtypes)))


def _mask(lead: int, turns: list[tuple[int, int]]) -> list[int]:
    mask = [0] * lead
    for response, feedback in turns:
        mask += [1] * response + [0] * feedback
    return mask[: len(mask) - turns[-1][1]] if turns else [0] * (lead + 1)


def _fill(mask: torch.Tensor, seed: int, dtype: torch.dtype) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def tensor(keep: torch.Tensor) -> torch.Tensor:
        rubbish = torch.tensor(UNDER_MASK)[torch.randint(len(UNDER_MASK), keep.shape, generator=generator)]
        return torch.where(keep, torch.randn(keep.shape, generator=generator), rubbish).to(dtype)

    has_turn = torch.arange(N_TURNS) < count_turns(mask)[:, None]
    return Batch(mask, tensor(mask.bool()), tensor(mask.bool()), tensor(has_turn))


def assert_turns(got: torch.Tensor, expected: list[list[float]]) -> None:
    """(B, N) against one list per row; what follows a row's last turn must be 0."""
    assert got.dtype is torch.float32
    for row, numbers in zip(got.tolist(), expected, strict=True):
        assert row == pytest.approx(numbers + [0.0] * (len(row) - len(numbers)), rel=1e-6, abs=1e-6)


@EXACT
@given(batches())
def test_segmentation(batch: Batch):
    turns = find_turns(batch.mask, N_TURNS)
    found = [episode.turns(row) for row in batch.mask.tolist()]
    index, starts = torch.full_like(batch.mask, -1), torch.zeros_like(batch.mask)
    for b, row in enumerate(found):
        for t, turn in enumerate(row):
            index[b, turn] = t
            starts[b, turn[0]] = 1
    assert turn_index(batch.mask).equal(index) and turn_starts(batch.mask).long().equal(starts)
    assert count_turns(batch.mask).tolist() == list(map(len, found)) == turn_mask(turns).sum(1).tolist()
    assert_turns(token_counts(turns).float(), [[len(turn) for turn in row] for row in found])


@EXACT
@given(batches(), st.sampled_from(["geometric_mean", "sum"]), st.floats(0, 1))
def test_kl_and_rewards(batch: Batch, estimator: str, beta: float):
    turns = find_turns(batch.mask, N_TURNS)
    kl = turn_kl(batch.log_ratio, turns, estimator)  # type: ignore[arg-type]
    expected = batch.kl(estimator)
    assert_turns(kl, expected)
    got = torch.where(turn_mask(turns), turn_rewards_with_kl(batch.rewards, kl, beta), 0.0)
    pairs = zip(batch.rows("rewards"), expected, strict=True)
    assert_turns(got, [episode.rewards_with_kl(r[: len(k)], k, beta) for r, k in pairs])


@EXACT
@given(batches(), FACTOR, FACTOR)
def test_returns_and_turn_advantages(batch: Batch, gamma: float, lambd: float):
    turns = find_turns(batch.mask, N_TURNS)
    mask = turn_mask(turns)
    advantages, targets = turn_advantages(
        batch.rewards, at_turn_starts(batch.values, turns), mask, gamma=gamma, lambd=lambd
    )
    found = [episode.turns(row) for row in batch.mask.tolist()]
    R = [row[: len(f)] for row, f in zip(batch.rows("rewards"), found, strict=True)]
    V = [[row[turn[0]] for turn in f] for row, f in zip(batch.rows("values"), found, strict=True)]
    assert_turns(advantages, [episode.advantages(r, v, gamma, lambd) for r, v in zip(R, V, strict=True)])
    assert_turns(targets, [episode.targets(r, v, gamma, lambd) for r, v in zip(R, V, strict=True)])
    assert_turns(turn_returns(batch.rewards, mask, gamma), [episode.returns(r, gamma) for r in R])
    if gamma == lambd == 1.0:  # the paper: the target is G_t, whatever the critic says
        assert targets.equal(turn_returns(batch.rewards, mask, 1.0))


@EXACT
@given(batches(), FACTOR, FACTOR)
def test_token_advantages(batch: Batch, gamma: float, lambd: float):
    advantages, targets = token_advantages(
        batch.rewards, batch.values, find_turns(batch.mask, N_TURNS), gamma=gamma, lambd=lambd
    )
    rows = zip(batch.rows("rewards"), batch.rows("values"), batch.mask.tolist(), strict=True)
    expected = [episode.token_advantages(r[: len(episode.turns(m))], v, m, gamma, lambd) for r, v, m in rows]
    assert_turns(advantages, [row[0] for row in expected])
    assert_turns(targets, [row[1] for row in expected])


@EXACT
@given(st.lists(batches(), min_size=1, max_size=3), st.sampled_from(["turn", "token", "none"]))
def test_whitening_of_turns(parts: list[Batch], mode: str):
    turns = [find_turns(part.mask, N_TURNS) for part in parts]
    advantages = [torch.where(turn_mask(t), p.rewards.float(), 0.0) for t, p in zip(turns, parts, strict=True)]
    found = [episode.turns(row) for part in parts for row in part.mask.tolist()]
    rows = [row[: len(f)] for row, f in zip(torch.cat(advantages).double().tolist(), found, strict=True)]
    expected = whitening.whiten(rows, [[len(turn) for turn in f] for f in found], mode)
    assert_turns(torch.cat(whiten(advantages, turns, mode)), expected)  # type: ignore[arg-type]


@EXACT
@given(st.lists(batches(), min_size=1, max_size=3), st.sampled_from(["turn", "token", "none"]))
def test_whitening_of_tokens(parts: list[Batch], mode: str):
    turns = [find_turns(part.mask) for part in parts]
    advantages = [torch.where(part.mask.bool(), part.values.float(), 0.0) for part in parts]
    got = whiten(advantages, turns, mode, per_token=True)  # type: ignore[arg-type]
    nested = [
        [[row[j] for j in turn] for turn in episode.turns(mask)]
        for part, grid in zip(parts, advantages, strict=True)
        for row, mask in zip(grid.double().tolist(), part.mask.tolist(), strict=True)
    ]
    flat = [A for row in whitening.whiten_tokens(nested, mode) for turn in row for A in turn]
    result = [A for part, grid in zip(parts, got, strict=True) for A in grid[part.mask.bool()].tolist()]
    assert result == pytest.approx(flat, rel=1e-6, abs=1e-6)
    assert all(grid[~part.mask.bool()].eq(0).all() for part, grid in zip(parts, got, strict=True))


def _learn(batch: Batch) -> tuple[torch.Tensor, ...]:
    """Everything the learner computes per turn: KL, advantages, targets; (B, N) each."""
    turns = find_turns(batch.mask, N_TURNS)
    kl = turn_kl(batch.log_ratio, turns)
    rewards = turn_rewards_with_kl(batch.rewards, kl, 0.05)
    return kl, *turn_advantages(rewards, at_turn_starts(batch.values, turns), turn_mask(turns), 1.0, 0.5)


@EXACT
@given(batches(), st.integers(0, 4), st.integers(0, 4))
def test_padding_changes_nothing(batch: Batch, left: int, right: int):
    def pad(x: torch.Tensor, value: float) -> torch.Tensor:
        return torch.nn.functional.pad(x, (left, right), value=value)

    nan = float("nan")
    wider = Batch(pad(batch.mask, 0), pad(batch.log_ratio, nan), pad(batch.values, nan), batch.rewards)
    before, after = _learn(batch), _learn(wider)
    assert all(a.equal(b) for a, b in zip(after, before, strict=True))
    on_tokens = [spread(x[1], find_turns(b.mask, N_TURNS)) for x, b in ((after, wider), (before, batch))]
    assert on_tokens[0].equal(pad(on_tokens[1], 0))


@EXACT
@given(batches(), st.lists(st.integers(1, 9), min_size=4 * N_TURNS, max_size=4 * N_TURNS))
def test_feedback_length_changes_nothing(batch: Batch, gaps: list[int]):
    """The same response tokens with other amounts of feedback between them."""
    found = [episode.turns(row) for row in batch.mask.tolist()]
    masks = [_mask(1, [(len(turn), gaps.pop()) for turn in row]) for row in found]
    width = max(map(len, masks))
    mask = torch.tensor([row + [0] * (width - len(row)) for row in masks])

    def move(x: torch.Tensor) -> torch.Tensor:
        out = torch.full(mask.shape, float("nan"), dtype=x.dtype)
        out[mask.bool()] = x[batch.mask.bool()]
        return out

    moved = Batch(mask, move(batch.log_ratio), move(batch.values), batch.rewards)
    assert all(a.equal(b) for a, b in zip(_learn(moved), _learn(batch), strict=True))


@EXACT
@given(batches(), st.randoms())
def test_order_and_micro_batches_change_nothing(batch: Batch, random):
    """Rows in another order, the batch cut in two pieces of their own width: the same rows, the same whitening."""
    order = list(range(len(batch.mask)))
    random.shuffle(order)
    cut = random.randint(0, len(order))
    whole = _learn(batch)
    pieces, turns = [], []
    for rows in filter(None, (order[:cut], order[cut:])):
        width = max(int(batch.mask[rows].sum(0).nonzero().max()) + 1 if batch.mask[rows].any() else 1, 1)
        part = Batch(*(x[rows] for x in (batch.mask, batch.log_ratio, batch.values, batch.rewards)))
        part = Batch(part.mask[:, :width], part.log_ratio[:, :width], part.values[:, :width], part.rewards)
        assert all(a.equal(b[rows]) for a, b in zip(_learn(part), whole, strict=True))
        pieces.append(_learn(part)[1])
        turns.append(find_turns(part.mask, N_TURNS))
    everything = find_turns(batch.mask, N_TURNS)
    for mode in ("turn", "token"):
        stats = whitening_stats(zip(pieces, (whitening_weights(t, mode) for t in turns), strict=True))
        assert stats == pytest.approx(
            whitening_stats([(whole[1], whitening_weights(everything, mode))]), rel=1e-12, abs=1e-12
        )
        together = whiten([whole[1]], [everything], mode)[0][order]
        torch.testing.assert_close(torch.cat(whiten(pieces, turns, mode)), together, rtol=1e-6, atol=1e-6)


@EXACT
@given(batches())
def test_spread_and_sum_are_each_others_adjoint(batch: Batch):
    """sum_j x_j spread(y)_j = sum_t sum(x)_t y_t, so the two agree on which token belongs to which turn."""
    turns = find_turns(batch.mask, N_TURNS)
    x = torch.where(batch.mask.bool(), batch.values.float(), 0.0)
    y = torch.where(turn_mask(turns), batch.rewards.float(), 0.0)
    left, right = (x * spread(y, turns)).sum().item(), (sum_per_turn(x, turns) * y).sum().item()
    assert left == pytest.approx(right, rel=1e-4, abs=1e-4)
