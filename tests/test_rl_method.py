"""docs/method.md against the code: its arithmetic is right, and its numbers are what the code returns."""

import ast
import math
import re
from pathlib import Path

import pytest
import torch
from reference.stock_host import stock_host
from reference.worked_example import (
    ACTION_MASK,
    ALPHA,
    BEHAVIOUR_RATIO,
    BETA,
    EPSILON,
    LOG_RATIO,
    NEW_VALUES,
    RATIO,
    REWARDS,
    TURN_INDEX,
    TURN_STARTS,
    VALUES,
    at_starts,
    on_grid,
)

from rlef_plugin.rl.advantages import (
    turn_advantages,
    turn_rewards_with_kl,
    whiten,
    whitening_stats,
    whitening_weights,
)
from rlef_plugin.rl.kl import turn_kl
from rlef_plugin.rl.turns import find_turns, spread, turn_index, turn_mask, turn_starts

PAGE = (Path(__file__).parents[1] / "docs" / "method.md").read_text()
LINES = re.findall(r"^(\w+) = (.+) = (-?[\d.]+)$", PAGE, re.MULTILINE)
MASK = torch.tensor([ACTION_MASK])


def value_of(arithmetic: str) -> float:
    tree = ast.parse(arithmetic, mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names <= {"sqrt"}
    return eval(compile(tree, "docs/method.md", "eval"), {"sqrt": math.sqrt})


@pytest.fixture(scope="module")
def computed() -> dict[str, float]:
    """Every number of the page by its name there, from the code."""
    turns = find_turns(MASK)
    log_ratio = torch.tensor([on_grid(LOG_RATIO, float("nan"))])
    kl = turn_kl(log_ratio, turns)
    R = turn_rewards_with_kl(torch.tensor([REWARDS]), kl, BETA)
    V = torch.tensor([VALUES])
    A, G = turn_advantages(R, V, turn_mask(turns), 1.0, 1.0)
    per_turn = {
        "KL": kl,
        "KL_sum": turn_kl(log_ratio, turns, "sum"),
        "R": R,
        "G": G,
        "A": A,
        "L": turn_advantages(R, V, turn_mask(turns), 1.0, 0.5)[1],
        "W": whiten([A], [turns], "turn")[0],
    }
    numbers = {f"{name}_{t + 1}": x for name, row in per_turn.items() for t, x in enumerate(row[0].tolist())}
    for mode in ("turn", "token"):
        mean, rstd = whitening_stats([(A, whitening_weights(turns, mode))])
        numbers |= {f"mean_{mode}": mean, f"std_{mode}": 1 / rstd}
    return numbers | losses(spread(A, turns), spread(G, turns)) | gaps()


def losses(A: torch.Tensor, G: torch.Tensor) -> dict[str, float]:
    """(B, A) advantages and targets through the host's losses, and the gradients that come back."""
    log_pi = torch.tensor([on_grid(RATIO, 1.0)]).log().requires_grad_()
    behaviour = -torch.tensor([on_grid(BEHAVIOUR_RATIO, 1.0)]).log()
    policy_loss = stock_host().PolicyLoss(
        EPSILON, EPSILON, is_correction_level="token", is_correction_mode="clip", is_correction_threshold=[0, 1]
    )
    actor = policy_loss(log_pi, torch.zeros(1, 15), A, MASK, behaviour)[0]
    values = torch.tensor([at_starts(NEW_VALUES, 0.0)], requires_grad=True)
    critic = stock_host().ValueLoss(ALPHA)(values, torch.tensor([at_starts(VALUES, 0.0)]), G, turn_starts(MASK))
    (actor + critic).backward()
    numbers = {"actor_loss": actor.item(), "critic_loss": critic.item()}
    numbers |= {f"actor_gradient_{i + 1}": g for i, g in enumerate(log_pi.grad[MASK.bool()].tolist())}
    return numbers | {f"critic_gradient_{i + 1}": g for i, g in enumerate(values.grad[turn_starts(MASK)].tolist())}


def gaps() -> dict[str, float]:
    numbers = {}
    for gap in (0, 2, 20):
        mask = torch.tensor([[1, 1] + [0] * gap + [1, 1]])
        rewards = torch.nn.functional.pad(torch.ones(1, 1), (3 + gap, 0))
        numbers[f"stock_gap_{gap}"] = stock_host().gae(torch.full(mask.shape, 0.5), rewards, mask, 1.0, 0.95)[0][0, 0]
    two_turns, half = torch.ones(1, 2, dtype=torch.bool), torch.full((1, 2), 0.5)
    ours = turn_advantages(torch.tensor([[0.0, 1.0]]), half, two_turns, 1.0, 0.95)[0]
    return numbers | {"ours_any_gap": ours[0, 0].item()}


@pytest.mark.host
@pytest.mark.parametrize(("name", "arithmetic", "number"), LINES)
def test_line(name: str, arithmetic: str, number: str, computed: dict[str, float]):
    assert value_of(arithmetic) == pytest.approx(float(number), abs=1.5e-6)  # six decimals, float32 in the code
    assert float(computed[name]) == pytest.approx(float(number), abs=1.5e-6)


def test_the_page_has_all_its_numbers():
    assert len(LINES) == len({name for name, _, _ in LINES}) == 39


def test_the_picture_of_the_masks():
    rows = dict(re.findall(r"^(index|action mask|turn index|turn start) +(-?\d.*)$", PAGE, re.MULTILINE))
    picture = {name: [int(number) for number in row.split()] for name, row in rows.items()}
    assert picture["index"] == list(range(15))
    assert picture["action mask"] == ACTION_MASK
    assert picture["turn index"] == TURN_INDEX == turn_index(MASK)[0].tolist()
    assert picture["turn start"] == TURN_STARTS == turn_starts(MASK)[0].long().tolist()
    reads = re.search(r"^critic reads.*$", PAGE, re.MULTILINE).group()
    columns = [found.end() - 1 for found in re.finditer(r"\d+", re.search(r"^token .*$", PAGE, re.MULTILINE).group())]
    assert [token for token, column in enumerate(columns) if reads[column : column + 1] == "^"] == [2, 8, 13]
