"""The host's losses and its GAE, driven with what the plugin feeds them, against tests/reference and by hand.

The plugin adds no loss of its own: the actor gets one advantage per token, and the critic gets a mask that is 1 only
at turn starts. These tests are what that rests on.
"""

from types import SimpleNamespace

import pytest
import torch
from reference import losses
from reference.stock_host import stock_host
from reference.worked_example import (
    ACTION_MASK,
    ALPHA,
    BEHAVIOUR_RATIO,
    EPSILON,
    NEW_VALUES,
    RATIO,
    TURN_STARTS,
    VALUES,
    at_starts,
    on_grid,
)

from rlef_plugin.rl.advantages import token_advantages, turn_rewards_with_kl, whiten
from rlef_plugin.rl.kl import turn_kl
from rlef_plugin.rl.turns import find_turns, turn_starts

pytestmark = pytest.mark.host
CAPPED = {"is_correction_level": "token", "is_correction_mode": "clip", "is_correction_threshold": [0, 1]}


def policy_loss(*tensors: torch.Tensor, mask: torch.Tensor, **settings) -> torch.Tensor:
    """(B, A) log_pi, log_old, log_behaviour, advantages -> the host's loss as the recipes configure it."""
    log_pi, log_old, log_behaviour, advantages = tensors
    return stock_host().PolicyLoss(EPSILON, EPSILON, **(CAPPED | settings))(
        log_pi, log_old, advantages, mask, log_behaviour
    )[0]


def value_loss(values: torch.Tensor, old: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return stock_host().ValueLoss(ALPHA)(values, old, targets, turn_starts(mask))


def random_batch(seed: int, batch: int = 5, width: int = 23) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """(B, A) mask with at least one response token, and four (B, A) float64 tensors of noise."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(batch, width, generator=generator) < 0.6
    mask[0, 3] = True
    return mask, [torch.randn(batch, width, generator=generator, dtype=torch.float64) * 0.3 for _ in range(4)]


@pytest.mark.parametrize("seed", range(20))
def test_policy_loss_is_the_papers(seed: int):
    mask, rows = random_batch(seed)
    got = policy_loss(*rows, mask=mask)
    assert got.item() == pytest.approx(losses.policy_loss(*(x.tolist() for x in rows), mask.tolist()), rel=1e-12)
    # The noise is wide enough for the cap to matter; with it off, or uncapped, the number is another one.
    assert got.item() != pytest.approx(policy_loss(*rows, mask=mask, is_correction_level="off").item(), rel=1e-3)
    uncapped = policy_loss(*rows, mask=mask, is_correction_threshold=[0, 100])
    assert got.item() != pytest.approx(uncapped.item(), rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_value_loss_over_turn_starts_is_the_papers(seed: int):
    mask, (values, old, targets, _) = random_batch(seed)
    expected = losses.value_loss(values.tolist(), old.tolist(), targets.tolist(), turn_starts(mask).tolist())
    assert value_loss(values, old, targets, mask).item() == pytest.approx(expected, rel=1e-12)


def test_worked_example_losses_and_gradients():
    mask = torch.tensor([ACTION_MASK])
    old = torch.full((1, 15), -1.0, dtype=torch.float64)
    log_pi = (old + torch.tensor([on_grid(RATIO, 1.0)]).double().log()).requires_grad_()
    behaviour = old - torch.tensor([on_grid(BEHAVIOUR_RATIO, 1.0)]).double().log()
    A = torch.tensor([on_grid([0.545] * 4 + [0.505] * 2 + [0.27], 0.0)]).double()
    loss = policy_loss(log_pi, old, behaviour, A, mask=mask)
    # 1.2 * 0.545 (clipped) + 0.545 + 0.545 + 0.7 * 0.545 + 0.505 (weight 2 capped at 1) + 0.5 * 0.505 + 0.9 * 0.27
    # = 3.126 over 7 tokens
    assert loss.item() == pytest.approx(-3.126 / 7, abs=1e-7)
    loss.backward()
    # - weight * ratio * A / 7 per token, nothing through the clipped one, nothing on feedback
    gradient = [0, 0.545, 0.545, 0.3815, 0.505, 0.2525, 0.243]
    assert (-7 * log_pi.grad).flatten().tolist() == pytest.approx(on_grid(gradient, 0.0), abs=1e-6)

    values = torch.tensor([at_starts(NEW_VALUES, 9.0)], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([at_starts([0.795, 1.005, 1.02], -9.0)]).double()
    loss = value_loss(values, torch.tensor([at_starts(VALUES, 5.0)]).double(), targets, mask)
    # 0.5 * ((0.45 - 0.795)^2 (clipped to 0.25 + 0.2) + (0.6 - 1.005)^2 + (0.75 - 1.02)^2) / 3 = 0.5 * 0.35595 / 3
    assert loss.item() == pytest.approx(0.059325, abs=1e-7)
    loss.backward()
    # (V - G) / 3 per turn, nothing through the clipped one
    assert values.grad.flatten().tolist() == pytest.approx(at_starts([0, -0.135, -0.09], 0.0), abs=1e-7)
    assert [int(g != 0) for g in values.grad.flatten()] == [s - (j == 2) for j, s in enumerate(TURN_STARTS)]


class TinyModel(torch.nn.Module):
    """(B, T) tokens of a vocabulary of 5 -> (B, A) log-probabilities of the next token, and (B, A) values."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 3, dtype=torch.float64)
        self.mix = torch.nn.RNN(3, 3, batch_first=True, dtype=torch.float64)
        self.out = torch.nn.Linear(3, 5, dtype=torch.float64)
        self.value = torch.nn.Linear(3, 1, dtype=torch.float64)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.mix(self.embed(tokens[:, :-1]))[0]  # state j has read tokens 0..j and speaks of token j + 1
        log_probs = self.out(hidden).log_softmax(-1).gather(-1, tokens[:, 1:, None])
        return log_probs.squeeze(-1), self.value(hidden).squeeze(-1)


@pytest.mark.parametrize("which", ["actor", "critic"])
def test_gradients_by_finite_differences(which: str):
    """Autograd through the host's loss against central differences of the plain-loop loss."""
    torch.manual_seed(0)
    model, tokens = TinyModel(), torch.randint(5, (4, 13))
    mask, noise = random_batch(1, 4, 12)
    with torch.no_grad():
        log_pi, values = model(tokens)
    log_old, log_behaviour = log_pi + noise[0], log_pi + noise[0] + noise[1]

    def host_loss() -> torch.Tensor:
        now, V = model(tokens)
        if which == "actor":
            return policy_loss(now, log_old, log_behaviour, noise[2], mask=mask)
        return value_loss(V, values + noise[0], noise[3], mask)

    def plain_loss() -> float:
        with torch.no_grad():
            now, V = (x.tolist() for x in model(tokens))
        if which == "actor":
            fixed = (x.tolist() for x in (log_old, log_behaviour, noise[2]))
            return losses.policy_loss(now, *fixed, mask.tolist())
        return losses.value_loss(V, (values + noise[0]).tolist(), noise[3].tolist(), turn_starts(mask).tolist())

    host_loss().backward()
    used = 0
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        gradient = parameter.grad.flatten().tolist() if parameter.grad is not None else [0.0] * len(flat)
        for i, expected in enumerate(gradient):
            kept = flat[i].item()
            flat[i] = kept + 1e-6
            above = plain_loss()
            flat[i] = kept - 1e-6
            below = plain_loss()
            flat[i] = kept
            assert (above - below) / 2e-6 == pytest.approx(expected, rel=1e-5, abs=1e-8)
            used += abs(expected) > 1e-6
    assert used > 30


def test_stock_gae_steps_through_feedback():
    """Two turns of two tokens, V = 0.5 on each, reward 1 at the end, gamma 1, lambda 0.95, `gap` feedback tokens.

    The host: A = -0.5 + 0.05 * 0.5 + 0.95^gap * (0.95 * 0.05 * 0.5 + 0.95^2 * 0.05 * 0.5 + 0.95^3)
                = -0.475 + 0.95^gap * 0.9036875, so long feedback turns the sign of a turn that led to success.
    Ours:     L1 = 0.05 * 0.5 + 0.95 * 1 = 0.975, A = 0.475, for every gap.
    """
    for gap, first in ((0, 0.4287), (2, 0.3406), (20, -0.1510)):
        mask = torch.tensor([[1, 1] + [0] * gap + [1, 1]])
        rewards = torch.zeros(1, 4 + gap)
        rewards[0, -1] = 1
        stock = stock_host().gae(torch.full((1, 4 + gap), 0.5), rewards, mask, 1.0, 0.95)[0]
        assert stock[0, 0].item() == pytest.approx(first, abs=5e-5)
    for gap in (1, 2, 20):
        turns = find_turns(torch.tensor([[1, 1] + [0] * gap + [1, 1]]))
        ours, _ = token_advantages(torch.tensor([[0.0, 1.0]]), torch.full((1, 4 + gap), 0.5), turns, 1.0, 0.95)
        assert ours[0, [0, 1, -2, -1]].tolist() == pytest.approx([0.475, 0.475, 0.5, 0.5], abs=1e-6)


def one_turn_batches(seed: int) -> list[SimpleNamespace]:
    """Two micro-batches of single-turn episodes with the host's field names."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for batch, width in ((3, 17), (2, 9)):
        length = torch.randint(1, width - 3, (batch, 1), generator=generator)
        position = torch.arange(width)
        parts.append(
            SimpleNamespace(
                index=[len(parts) * 3 + b for b in range(batch)],
                action_mask=(position >= 2) & (position < 2 + length),
                values=torch.randn(batch, width, generator=generator),
                rewards=torch.randn(batch, generator=generator),
                kl=torch.zeros(batch, width),
                info={},
            )
        )
    return parts


@pytest.mark.parametrize("seed", range(5))
def test_turn_limit_one_with_the_hosts_choices_is_the_host(seed: int):
    """Token value, whitening over tokens, gamma = lambda = 1 and no KL yet: the stock advantages and returns."""
    advantage = SimpleNamespace(estimator="gae", gamma=1.0, lambd=1.0, no_std_norm=False)
    args = SimpleNamespace(
        algo=SimpleNamespace(advantage=advantage),
        rollout=SimpleNamespace(n_samples_per_prompt=1),
        reward=SimpleNamespace(clip_range=None),
    )
    maker = object.__new__(stock_host().ExperienceMaker)
    maker.strategy, maker.kl_ctl, maker.advantage_estimator = (
        SimpleNamespace(args=args),
        SimpleNamespace(value=0),
        "gae",
    )
    stock = maker.compute_advantages_and_returns(one_turn_batches(seed))

    parts = one_turn_batches(seed)
    turns = [find_turns(part.action_mask) for part in parts]
    ours = [token_advantages(p.rewards[:, None], p.values, t, 1.0, 1.0) for p, t in zip(parts, turns, strict=True)]
    whitened = whiten([advantages for advantages, _ in ours], turns, "token", per_token=True)
    for host, advantages, (_, targets) in zip(stock, whitened, ours, strict=True):
        on = host.action_mask
        torch.testing.assert_close(advantages[on], host.advantages[on], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(targets[on], host.returns[on], rtol=1e-6, atol=1e-6)


def test_where_the_summed_kl_differs_from_the_hosts_tokenwise_kl():
    """The host charges a token only for the KL from there on; a turn is charged as a whole: beta * (KL before it)."""
    mask = torch.ones(1, 4, dtype=torch.long)
    kl, values, beta = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.zeros(1, 4), 0.5
    rewards = -beta * kl + torch.tensor([[0, 0, 0, 1.0]])
    stock, _ = stock_host().gae(values, rewards, mask, 1.0, 1.0)
    turns = find_turns(mask)
    R = turn_rewards_with_kl(torch.ones(1, 1), turn_kl(kl, turns, "sum"), beta)
    ours, _ = token_advantages(R, values, turns, 1.0, 1.0)
    # ours 1 - 0.5 * 1.0 on all four; the host 0.5, 0.5 + 0.5 * 0.1, 0.5 + 0.5 * 0.3, 0.5 + 0.5 * 0.6
    assert ours.flatten().tolist() == pytest.approx([0.5] * 4)
    assert stock.flatten().tolist() == pytest.approx([0.5, 0.55, 0.65, 0.8])
