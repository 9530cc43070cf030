"""The learner inside the host: one whole PPO iteration against the stock host's, every switch, the host's estimators.

One process imports the host as a worker of the CPU host does and runs the `check_*` functions below, with the host's
own classes as host_iteration.py puts them together; it is gone when this file is done. pytest does not rewrite asserts
there.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest

from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.env import EnvConfig
from rlef_plugin.openrlhf_ext import cpu_host

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def host() -> Iterator[Callable[..., None]]:
    """Calls a function where the host is imported; what it raises is raised here."""
    with tempfile.TemporaryDirectory() as work:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare, initargs=(work,)) as pool:
            yield lambda check, *arguments: pool.submit(check, *arguments).result(timeout=600)


def prepare(work: str) -> None:
    """As the launcher prepares a worker of the CPU host: before anything imports torch."""
    os.environ.update(cpu_host.ENVIRONMENT, WORK=work)
    os.environ[VARIABLE] = RlefConfig().to_json()
    cpu_host.setup_worker()
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{work}/ranks", rank=0, world_size=1)


# --- against the host

ONE_TURN = [[(4, 1.0)], [(7, -1.0)], [(1, -1.0)], [(5, 1.0)], [(2, 1.0)], [(9, -1.0)], [(3, 1.0)], [(6, -1.0)]]
HOSTS_CHOICES = RlefConfig(kl="sum", value="token", whiten="token", episode=EnvConfig(turn_limit=1))


@pytest.mark.parametrize(("noise", "beta"), [(0.0, 0.05), (0.02, 0.0)])
def test_one_iteration_with_the_hosts_choices_is_the_hosts(host: Callable[..., None], noise: float, beta: float):
    """With a price on a KL that is 0, the policy being the initial one; and with a KL that has no price."""
    host(check_one_iteration, noise, beta)


def check_one_iteration(noise: float, beta: float) -> None:
    import host_iteration as it
    import torch

    args = it.host_arguments(rollout__batch_size=8, algo__advantage__estimator="turn")
    episodes = it.samples(ONE_TURN, turn_limit=1)
    stock, ours = (it.make(config, args, episodes, noise, beta=beta) for config in (None, HOSTS_CHOICES))
    for theirs, made in zip(stock[0], ours[0], strict=True):
        on = made.action_mask.bool()
        for key in ("action_log_probs", "values", "returns", "advantages"):
            torch.testing.assert_close(
                getattr(made, key)[on].double(), getattr(theirs, key)[on].double(), rtol=1e-6, atol=1e-6
            )
        torch.testing.assert_close(made.info["return"], theirs.info["return"], rtol=1e-6, atol=1e-6)
    before = it.parameters(*stock[1:])
    expected, got = it.train(*stock), it.train(*ours)
    assert expected.keys() == got.keys() == before.keys() and len(got) > 40
    for name, value in got.items():
        difference, moved = (value - expected[name]).abs().max().item(), (value - before[name]).abs().max().item()
        assert difference < 1e-6, f"{name}: {difference} from the host's"
        # AdamW moves a weight by about its learning rate an update, so equality to 1e-6 is no matter of small steps.
        assert moved > it.LEARNING_RATE / 2, f"{name} moved by {moved}"


@pytest.mark.parametrize("change", [{"value": "turn"}, {"whiten": "turn"}, {"whiten": "none"}])
def test_each_choice_of_the_paper_trains_another_model(host: Callable[..., None], change: dict[str, Any]):
    """So the equality above could fail."""
    host(check_another_model, replace(HOSTS_CHOICES, **change))


def check_another_model(config: RlefConfig) -> None:
    import host_iteration as it

    args, episodes = it.host_arguments(rollout__batch_size=8), it.samples(ONE_TURN, turn_limit=1)
    hosts, ours = (it.train(*it.make(one, args, episodes)) for one in (None, config))
    apart = max((hosts[name] - ours[name]).abs().max().item() for name in hosts)
    assert apart > 1e-4, f"{config} trains the host's model: {apart}"


def test_with_a_price_on_the_kl_the_host_differs_by_that_of_earlier_tokens(host: Callable[..., None]):
    """A turn pays its whole KL at once, a token of the host's only what follows: beta * (KL before it) apart."""
    host(check_kl_of_earlier_tokens)


def check_kl_of_earlier_tokens() -> None:
    import host_iteration as it
    import torch

    args, episodes = it.host_arguments(rollout__batch_size=8), it.samples(ONE_TURN, turn_limit=1)
    stock, ours = (it.make(config, args, episodes, 0.02, beta=0.5)[0] for config in (None, HOSTS_CHOICES))
    largest = 0.0
    for theirs, made in zip(stock, ours, strict=True):
        log_ratio = it.log_ratio(made)
        before = (log_ratio.cumsum(1) - log_ratio) * made.action_mask
        difference = (theirs.returns - made.returns) * made.action_mask
        torch.testing.assert_close(difference.double(), 0.5 * before, rtol=0, atol=1e-6)
        largest = max(largest, before.abs().max().item())
    assert largest > 0.01, f"the KL is too small to see: {largest}"


# --- the switches of the learner

EPISODES = [
    [(4, -0.2), (2, 0.0), (1, 1.0)],
    [(3, 1.0)],
    [(1, 0.0), (6, -1.0)],
    [(5, 0.0), (5, -0.2), (2, -1.0)],
]
RETURNS = {"returns", "advantages", "info.return", "info.turn_kl"}
SWITCHES = [  # (setting, flags of the host, what of an experience changes, and nothing else)
    ({}, {}, set()),
    ({"kl": "sum"}, {}, RETURNS),
    ({"whiten": "token"}, {}, {"advantages"}),
    ({"whiten": "none"}, {}, {"advantages"}),
    ({"value": "token"}, {}, {"values", "advantages"}),
    ({}, {"algo__advantage__gamma": 0.5}, {"returns", "advantages"}),
    ({}, {"algo__advantage__lambd": 0.5}, {"returns", "advantages"}),
    ({}, {"algo__advantage__gamma": 0.0, "algo__advantage__lambd": 0.0}, {"returns", "advantages"}),
    ({"value": "token", "whiten": "token", "kl": "sum"}, {"algo__advantage__lambd": 0.5}, {"values", *RETURNS}),
]


@pytest.mark.parametrize(
    ("settings", "flags", "changed"), SWITCHES, ids=lambda x: str(x) if isinstance(x, dict) else ""
)
def test_a_switch_changes_what_it_says_and_nothing_else(
    host: Callable[..., None], settings: dict[str, Any], flags: dict[str, Any], changed: set[str]
):
    host(check_switch, settings, flags, changed)


def check_switch(settings: dict[str, Any], flags: dict[str, Any], changed: set[str]) -> None:
    import host_iteration as it
    import torch

    episodes, config = it.samples(EPISODES, turn_limit=3), RlefConfig(**settings)
    baseline = it.make(RlefConfig(), it.host_arguments(), episodes, noise=0.02)[0]
    switched = it.make(config, it.host_arguments(**flags), episodes, noise=0.02)[0]
    differs = set()
    for one, other in zip(baseline, switched, strict=True):
        theirs, ours = it.tensors(one), it.tensors(other)
        assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
        differs |= {key for key in theirs if not torch.equal(theirs[key], ours[key])}
    assert differs == changed, f"changed: {differs}, expected {changed}"
    gamma, lambd = (flags.get(f"algo__advantage__{key}", 1.0) for key in ("gamma", "lambd"))
    it.check_against_reference(switched, EPISODES, config, gamma, lambd)


# --- the host's estimators without a critic: credit per episode

# Totals 1.0 - 0.2 = 0.8, 1.0, -1.0, -1.2; mean -0.1; tokens 7, 3, 7, 12.
TOTALS, TOKENS = [0.8, 1.0, -1.0, -1.2], [7, 3, 7, 12]
CENTRED = [0.9, 1.1, -0.9, -1.1]  # from the mean
ADVANTAGES = {
    "reinforce": None,  # the totals, whitened over tokens
    "rloo": [1.2, 1.466667, -1.2, -1.466667],  # 0.8 - (1.0 - 1.0 - 1.2) / 3, 1.0 - (0.8 - 1.0 - 1.2) / 3, ...
    "reinforce_baseline": None,  # the centred totals, whitened over tokens: the same, for one group
    "group_norm": [0.775556, 0.947901, -0.775556, -0.947901],  # variance (2 * 0.81 + 2 * 1.21) / 3 = 1.160459 ** 2
    "dr_grpo": CENTRED,
    "flash_reinforce": CENTRED,  # from the batch's mean, which is one group
}


@pytest.mark.parametrize("estimator", ADVANTAGES)
def test_the_hosts_estimators_credit_the_episode(host: Callable[..., None], estimator: str):
    host(check_estimator, estimator)


def check_estimator(estimator: str) -> None:
    import host_iteration as it
    import torch

    flags = {"algo__advantage__estimator": estimator, "algo__kl__estimator": "k1"}
    args = it.host_arguments(rollout__batch_size=1, rollout__n_samples_per_prompt=4, **flags)
    config, episodes = RlefConfig(advantage_estimator=estimator, kl_estimator="k1"), it.samples(EPISODES, turn_limit=3)
    ours, stock = (it.make(one, args, episodes, with_critic=False) for one in (config, None))
    expected = ADVANTAGES[estimator] or it.whitened_over_tokens(TOTALS, TOKENS)
    for made, theirs in zip(ours[0], stock[0], strict=True):
        for key, value in it.tensors(theirs).items():
            assert torch.equal(it.tensors(made)[key], value), f"{estimator}: {key} is not the host's"
        for row, number in enumerate(made.index):  # the policy is the initial one, so there is no KL in it
            on_tokens = made.advantages[row][made.action_mask[row].bool()]
            assert on_tokens.tolist() == pytest.approx([expected[number]] * TOKENS[number], abs=1e-5), f"{on_tokens}"
    before = it.parameters(*ours[1:])
    after = it.train(*ours)
    assert all(value.isfinite().all() for value in after.values())
    assert all((after[name] - before[name]).abs().max() > it.LEARNING_RATE / 2 for name in after)
