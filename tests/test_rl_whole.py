"""From log ratios, values and rewards to both losses in one go, on random batches: tests/reference against the
plugin's tensors in the host's losses, and what must not change a loss.

The batches are those of test_rl_properties.py: 1 to 10 turns, ragged, padded on either side, empty and one-token
responses, a last turn that ends the row, NaN and infinities under every mask, float32 and bfloat16.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import episode, losses, whitening
from reference.stock_host import stock_host
from reference.worked_example import ALPHA, EPSILON
from test_rl_properties import FACTOR, N_TURNS, Batch, _mask, batches

from rlef_plugin.rl.advantages import turn_advantages, turn_rewards_with_kl, whiten
from rlef_plugin.rl.kl import turn_kl
from rlef_plugin.rl.turns import at_turn_starts, find_turns, spread, turn_mask, turn_starts

pytestmark = pytest.mark.host
SOME = settings(max_examples=40, deadline=None)
BETA = 0.05
SIZE = {"log_pi": 0.3, "log_old": 0.3, "log_behaviour": 0.3, "new_values": 1.0}  # of the noise


@dataclass
class Update(Batch):
    """A batch at some update: beside what the rollout left, (B, A) what the models say now, finite everywhere."""

    log_pi: torch.Tensor
    log_old: torch.Tensor
    log_behaviour: torch.Tensor
    new_values: torch.Tensor

    def map(self, function) -> "Update":
        """The same with `function(name, tensor)` in the place of every (B, A) tensor."""
        names = ("mask", "log_ratio", "values", *SIZE)
        return replace(self, **{name: function(name, getattr(self, name)) for name in names})


@st.composite
def updates(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)) -> Update:
    batch = draw(batches(dtypes))
    assume(batch.mask.any())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    now = {
        name: (torch.randn(batch.mask.shape, generator=generator) * size).to(batch.values.dtype)
        for name, size in SIZE.items()
    }
    return Update(**vars(batch), **now)


def learned(update: Update, gamma: float, lambd: float, mode: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, A) advantages and value targets, as the experience maker puts them on the token grid."""
    turns = find_turns(update.mask, N_TURNS)
    R = turn_rewards_with_kl(update.rewards, turn_kl(update.log_ratio, turns), BETA)
    A, G = turn_advantages(R, at_turn_starts(update.values, turns), turn_mask(turns), gamma, lambd)
    return spread(whiten([A], [turns], mode)[0], turns), spread(G, turns)  # type: ignore[arg-type]


def both_losses(update: Update, A: torch.Tensor, G: torch.Tensor, accumulation: int = 1) -> tuple[float, float]:
    """The host's losses of the actor and of the turn-level critic, over `accumulation` micro-batches of one update."""
    host = stock_host()
    policy_loss = host.PolicyLoss(
        EPSILON, EPSILON, is_correction_level="token", is_correction_mode="clip", is_correction_threshold=[0, 1]
    )
    starts, value_loss = turn_starts(update.mask), host.ValueLoss(ALPHA)
    old_values = torch.where(starts, update.values, 0.0)  # the critic's forward returns 0 elsewhere
    parts = [list(range(len(A)))[i::accumulation] for i in range(accumulation)]
    actor = critic = 0.0
    for part, norm in host.global_norm(parts, SimpleNamespace(), accumulation, lambda part: update.mask[part]):
        now = (x[part] for x in (update.log_pi, update.log_old, A, update.mask, update.log_behaviour))
        actor += policy_loss(*now, **norm)[0].item() / accumulation
    for part, norm in host.global_norm(parts, SimpleNamespace(), accumulation, lambda part: starts[part]):
        now = (x[part] for x in (update.new_values, old_values, G, starts))
        critic += value_loss(*now, **norm).item() / accumulation
    return actor, critic


def reference_losses(update: Update, gamma: float, lambd: float, mode: str) -> tuple[float, float]:
    masks = update.mask.tolist()
    found = [episode.turns(mask) for mask in masks]
    R = [
        episode.rewards_with_kl(r[: len(k)], k, BETA)
        for r, k in zip(update.rows("rewards"), update.kl("geometric_mean"), strict=True)
    ]
    V = [[row[turn[0]] for turn in turns] for row, turns in zip(update.rows("values"), found, strict=True)]
    A = [episode.advantages(r, v, gamma, lambd) for r, v in zip(R, V, strict=True)]
    A = whitening.whiten(A, [[len(turn) for turn in turns] for turns in found], mode)
    G = [episode.targets(r, v, gamma, lambd) for r, v in zip(R, V, strict=True)]

    def grid(per_turn: list[list[float]]) -> losses.Rows:
        rows = [[0.0] * len(masks[0]) for _ in masks]
        for row, turns, numbers in zip(rows, found, per_turn, strict=True):
            for turn, number in zip(turns, numbers, strict=True):
                for j in turn:
                    row[j] = number
        return rows

    log_probs = (update.rows(name) for name in ("log_pi", "log_old", "log_behaviour"))
    starts = [[int(any(turn[0] == j for turn in turns)) for j in range(len(masks[0]))] for turns in found]
    return (
        losses.policy_loss(*log_probs, grid(A), masks, EPSILON),
        losses.value_loss(update.rows("new_values"), update.rows("values"), grid(G), starts, ALPHA),
    )


@SOME
@given(updates((torch.float32,)), FACTOR, FACTOR, st.sampled_from(["turn", "token", "none"]))
def test_the_whole_learner_is_the_papers(update: Update, gamma: float, lambd: float, mode: str):
    got = both_losses(update, *learned(update, gamma, lambd, mode))
    assert got == pytest.approx(reference_losses(update, gamma, lambd, mode), rel=2e-5, abs=2e-5)


@SOME
@given(updates((torch.bfloat16,)), st.sampled_from(["turn", "token", "none"]))
def test_in_bfloat16_it_is_the_papers_but_for_the_rounding_of_the_losses(update: Update, mode: str):
    """Advantages and targets are float32 and as exact as ever; the host's losses then round to 8 bits, 2^-9 a step."""
    A, G = learned(update, 1.0, 1.0, mode)
    assert A.dtype == G.dtype == torch.float32
    exact = replace(update, **{name: getattr(update, name).double() for name in ("log_ratio", "values", *SIZE)})
    assert all(torch.equal(x, y) for x, y in zip(learned(exact, 1.0, 1.0, mode), (A, G), strict=True))
    actor, critic = both_losses(update, A, G)
    expected_actor, expected_critic = reference_losses(update, 1.0, 1.0, mode)
    worst = max(A.abs().max().item(), 1.0)
    assert actor == pytest.approx(expected_actor, abs=2**-6 * worst)
    starts = turn_starts(update.mask)
    sizes = ((update.new_values.float() - G)[starts], update.values[starts].float())
    distance = max(1.0, *(size.abs().max().item() for size in sizes))
    assert critic == pytest.approx(expected_critic, abs=2**-6 * 3 * distance**2)


@SOME
@given(updates())
def test_whatever_stands_under_a_mask_what_the_losses_get_is_finite_and_zero_there(update: Update):
    for A in learned(update, 0.5, 0.5, "turn"):
        assert A.isfinite().all() and A[~update.mask.bool()].eq(0).all()


@SOME
@given(updates((torch.float32,)), st.floats(-1e4, 1e4))
def test_finite_rubbish_under_the_mask_changes_no_loss(update: Update, rubbish: float):
    A, G = learned(update, 1.0, 1.0, "turn")
    on = {name: turn_starts(update.mask) if name == "new_values" else update.mask.bool() for name in SIZE}
    spoiled = replace(update, **{name: torch.where(on[name], getattr(update, name), rubbish) for name in SIZE})
    assert both_losses(spoiled, A, G) == pytest.approx(both_losses(update, A, G), rel=1e-6, abs=1e-6)


@SOME
@given(updates((torch.float32,)), st.integers(0, 4), st.integers(0, 4))
def test_padding_changes_no_loss(update: Update, left: int, right: int):
    def pad(name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (left, right), value=0.0 if name in ("mask", *SIZE) else float("nan"))

    wider = update.map(pad)
    got, expected = (both_losses(one, *learned(one, 1.0, 0.5, "token")) for one in (wider, update))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


@SOME
@given(updates((torch.float32,)), st.lists(st.integers(1, 9), min_size=4 * N_TURNS, max_size=4 * N_TURNS))
def test_feedback_length_changes_no_loss(update: Update, gaps: list[int]):
    found = [episode.turns(row) for row in update.mask.tolist()]
    masks = [_mask(1, [(len(turn), gaps.pop()) for turn in row]) for row in found]
    mask = torch.tensor([row + [0] * (max(map(len, masks)) - len(row)) for row in masks])

    def move(name: str, x: torch.Tensor) -> torch.Tensor:
        out = torch.full(mask.shape, 0.0 if name in SIZE else float("nan"), dtype=x.dtype) if name != "mask" else mask
        return out if name == "mask" else out.masked_scatter(mask.bool(), x[update.mask.bool()])

    got, expected = (both_losses(one, *learned(one, 1.0, 0.5, "turn")) for one in (update.map(move), update))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


@SOME
@given(updates((torch.float32,)), st.integers(1, 4), st.randoms())
def test_order_and_micro_batches_change_no_loss(update: Update, accumulation: int, random):
    order = list(range(len(update.mask)))
    random.shuffle(order)
    other = update.map(lambda _, x: x[order])
    other = replace(other, rewards=update.rewards[order])
    got = both_losses(other, *learned(other, 1.0, 1.0, "turn"), accumulation=min(accumulation, len(order)))
    assert got == pytest.approx(both_losses(update, *learned(update, 1.0, 1.0, "turn")), rel=2e-6, abs=2e-6)


def test_the_hosts_losses_multiply_by_the_mask():
    """So a NaN of the *models* under a mask would reach them: nothing the plugin feeds may be one, see above."""
    one, mask = torch.zeros(1, 2), torch.tensor([[1, 0]])
    nan = torch.tensor([[0.0, float("nan")]])
    assert stock_host().PolicyLoss()(one, one, one, mask)[0].isfinite()
    assert stock_host().PolicyLoss()(nan, one, one, mask)[0].isnan()
    assert stock_host().PolicyLoss()(one, one, nan, mask)[0].isnan()
    assert stock_host().ValueLoss(ALPHA)(one, one, nan, mask).isnan()
