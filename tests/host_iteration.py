"""One PPO iteration with the host's own classes in this process: experience maker, policy, critic, their trainers.

For test_host_learner.py, whose functions run where the host is imported. Real: `RemoteExperienceMaker` (the host's or
ours), `Actor` and critic on a tiny Llama, `PolicyModelActor` and `CriticModelActor` with their PPO trainers, replay
buffers and losses, the arguments as the host's parser and checks make them. In the place of Ray and DeepSpeed stand
`Group` (calls its one actor at once) and `Strategy` (AdamW, gradient accumulation).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from reference import episode, whitening

from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.openrlhf_ext import host_cli

VOCABULARY, BETA, LEARNING_RATE = 300, 0.05, 1e-3
Turn = tuple[int, float]  # tokens of the response, its reward


@cache
def checkpoint() -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(os.environ["WORK"], "llama")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes)).save_pretrained(folder)
    return str(folder)


def host_arguments(**flags: Any) -> Any:
    """What the host's `train(args)` would get; a key like algo__kl__init_coef is the flag --algo.kl.init_coef."""
    chosen = {
        "actor.model_name_or_path": checkpoint(),
        "data.prompt_dataset": "problems",
        "train.agent_func_path": "agent.py",
        "rollout.batch_size": 4,
        "rollout.micro_batch_size": 2,
        "train.batch_size": 4,
        "train.micro_batch_size": 2,
        **{f"{model}.num_gpus_per_node": 1 for model in ("actor", "critic", "ref")},
        "algo.advantage.estimator": "turn",
        "algo.kl.estimator": "geometric_mean",
        "algo.kl.init_coef": BETA,
        "algo.advantage.is_correction_level": "token",
        "algo.advantage.is_correction_mode": "clip",
        "critic.value_clip": 0.2,
        "ds.attn_implementation": "eager",
        "vllm.sync_backend": "gloo",
        **{name.replace("__", "."): value for name, value in flags.items()},
    }
    words = [word for name, value in chosen.items() for word in (f"--{name}", str(value))]
    return host_cli.check([*words, "--algo.advantage.is_correction_threshold", "0", "1"])


class Strategy:
    """What the host's trainers ask of `DeepspeedStrategy`, for one process."""

    ring_attn_group = None

    def __init__(self, args: Any, accumulated_gradient: int = 2) -> None:
        self.args, self.accumulated_gradient, self.backwards = args, accumulated_gradient, 0

    def is_rank_0(self) -> bool:
        return False

    def all_reduce(self, status: Any) -> Any:
        return status

    def get_grad_norm(self, model: Any) -> float:
        return 0.0

    def backward(self, loss: torch.Tensor, *_: Any) -> None:
        (loss / self.accumulated_gradient).backward()

    def optimizer_step(self, optimizer: Any, *_: Any, **__: Any) -> None:
        self.backwards += 1
        if self.backwards % self.accumulated_gradient == 0:
            optimizer.step()
            optimizer.zero_grad()


class Group:
    """The host's `RayActorGroup` with one actor, called at once; its answers are no references but the values."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def async_run_method_batch(self, method_name: str, **lists: Sequence[Any]) -> list[list[Any]]:
        calls = (dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True))
        return [[getattr(self.actor, method_name)(**call) for call in calls]]


def unwrapped(actor: Any) -> Any:
    return actor.__ray_metadata__.modified_class.__ray_actor_class__


def policy(strategy: Strategy, noise: float = 0.0) -> Any:
    """The host's policy actor with its trainer; `noise` moves its weights away from the checkpoint's."""
    from openrlhf.models import Actor
    from openrlhf.trainer.ray import ppo_actor

    model = Actor(checkpoint(), attn_implementation="eager").double()
    shift(model, noise)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    made = unwrapped(ppo_actor.PolicyModelActor)
    made = made.__new__(made)
    made.actor, made.strategy = model, strategy
    made.trainer = ppo_actor.ActorPPOTrainer(
        strategy, model, None, optimizer, SimpleNamespace(get_last_lr=lambda: [0.0]), micro_train_batch_size=2,
        dataloader_pin_memory=False,
    )  # fmt: skip
    return made


def critic(strategy: Strategy, turn_level: bool) -> Any:
    """The host's critic actor, or ours, with the host's trainer."""
    from openrlhf.models.model import get_llm_for_sequence_regression
    from openrlhf.trainer.ray import ppo_critic

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    torch.manual_seed(1)
    model = get_llm_for_sequence_regression(
        checkpoint(), "critic", attn_implementation="eager", init_value_head=True
    ).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    cls = TurnCritic if turn_level else TurnCritic.__bases__[0]
    made = cls.__new__(cls)
    made.critic, made.strategy = model, strategy
    made.trainer = ppo_critic.CriticPPOTrainer(
        strategy, model, optimizer, SimpleNamespace(get_last_lr=lambda: [0.0]), micro_train_batch_size=2,
        value_clip=strategy.args.critic.value_clip, dataloader_pin_memory=False,
    )  # fmt: skip
    return made


def shift(model: torch.nn.Module, noise: float) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def samples(episodes: Sequence[Sequence[Turn]], turn_limit: int) -> list[Any]:
    """The host's samples of these episodes, from what our executor hands out: a prompt, turns, feedback between."""
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    from rlef_plugin.openrlhf_ext.executor import Episode

    generator = torch.Generator().manual_seed(2)

    def ids(count: int) -> list[int]:
        return torch.randint(VOCABULARY, (count,), generator=generator).tolist()

    made = []
    for number, turns in enumerate(episodes):
        played = Episode(ids(3 + number), log_probs=[0.0] * (3 + number))
        for turn, (length, reward) in enumerate(turns):
            if turn:
                played.add_feedback(ids(2), True)
            played.add_response(ids(length), torch.empty(length).uniform_(-7, -4.5, generator=generator).tolist())
            played.steps.append(step(reward))
        logs = played.logs(turn_limit)
        result = {
            "prompt": "p", "label": f"p{number}", "images": None, "reward": sum(reward for _, reward in turns),
            "scores": 0.0, "observation_tokens": played.tokens, "action_ranges": played.action_ranges,
            "rollout_log_probs": played.log_probs, "truncated": False, "extra_logs": logs,
        }  # fmt: skip
        made.append(SamplesGenerator._process_response_into_experience(None, result, max_len=500))
    return made


def step(reward: float) -> Any:
    from rlef_plugin.env import Step
    from rlef_plugin.judge import Verdict

    return Step("", reward, True, Verdict.WRONG_OUTPUT, False, False, 0.0, None)


@contextmanager
def makers() -> Iterator[tuple[Any, Any]]:
    """(the host's experience maker, ours), working without Ray; the host's functions are back in place afterwards."""
    from openrlhf.trainer.ppo_utils import experience_maker

    from rlef_plugin.openrlhf_ext.experience import TurnExperienceMaker

    kept = experience_maker.ray, experience_maker.compute_approx_kl
    experience_maker.ray = SimpleNamespace(get=lambda value: value, put=lambda value: value)
    try:
        yield TurnExperienceMaker.__bases__[0], TurnExperienceMaker
    finally:
        experience_maker.ray, experience_maker.compute_approx_kl = kept


def make(
    config: RlefConfig | None,
    args: Any,
    episodes: Sequence[Any],
    noise: float = 0.0,
    with_critic: bool = True,
    beta: float = BETA,
) -> tuple[list[Any], Any, Any]:
    """(experiences, policy, critic) of a rollout batch; with `config` None everything is the host's.

    The reference is the checkpoint; `noise` moves the policy away from it, so that there is a KL.
    """
    strategy = Strategy(args)
    actor, reference = policy(strategy, noise), policy(strategy)
    turn_level = config is not None and config.advantage_estimator == config.value == "turn"
    values = critic(Strategy(args), turn_level) if with_critic else None
    groups = (Group(actor), Group(values) if values else None, None, Group(reference))
    os.environ[VARIABLE] = (config or RlefConfig()).to_json()
    episodes = deepcopy(list(episodes))
    if config is None:  # the host cannot log a list a turn, and its experience maker does not know ours
        for sample in episodes:
            sample.info = {key: value for key, value in sample.info.items() if value.dim() == 1}
    with makers() as (stock, ours):
        maker = (ours if config else stock)(
            *groups, SimpleNamespace(value=beta), strategy, SimpleNamespace(pad_token_id=0)
        )
        return maker.make_experience_batch(episodes), actor, values


def train(experiences: Sequence[Any], actor: Any, values: Any) -> dict[str, torch.Tensor]:
    """One pass of the host's trainers over the batch, as its `ppo_trainer.py` does it; all parameters afterwards."""
    for experience in experiences:
        actor.append(deepcopy(experience))
        if values:
            values.append(deepcopy(experience))
    for model in filter(None, (values, actor)):
        torch.manual_seed(5)  # of the data loader's shuffle
        model.trainer.ppo_train(*([BETA] if model is actor else []))
    return parameters(actor, values)


def parameters(actor: Any, values: Any) -> dict[str, torch.Tensor]:
    """Copies of all weights, by model and name."""
    models = {"actor": actor.actor, **({"critic": values.critic} if values else {})}
    return {
        f"{name}.{key}": value.detach().clone()
        for name, model in models.items()
        for key, value in model.named_parameters()
    }


def log_ratio(experience: Any) -> torch.Tensor:
    """(B, A) log pi - log rho on response tokens, the reference being the checkpoint; 0 elsewhere."""
    reference = policy(Strategy(host_arguments()))
    base = reference.forward(experience.sequences, experience.action_mask, experience.attention_mask)
    return (experience.action_log_probs - base).double() * experience.action_mask


def tensors(experience: Any) -> dict[str, torch.Tensor]:
    """All tensors of an experience by name."""
    fields = {key: value for key, value in vars(experience).items() if isinstance(value, torch.Tensor)}
    return fields | {f"info.{key}": value for key, value in experience.info.items()}


def check_against_reference(
    experiences: Sequence[Any], episodes: Sequence[Sequence[Turn]], config: RlefConfig, gamma: float, lambd: float
) -> None:
    """Returns and advantages against tests/reference, from the log-probabilities and values the models gave."""
    advantages: list[Any] = []
    for experience in experiences:
        rows = zip(
            *(x.tolist() for x in (log_ratio(experience), experience.action_mask)), experience.index, strict=True
        )
        for row, (ratio, mask, number) in enumerate(rows):
            values = experience.values[row].double().tolist()
            rewards = [reward for _, reward in episodes[number]]
            R = episode.rewards_with_kl(rewards, episode.kl(ratio, mask, config.kl), BETA)
            A, G = episode.token_advantages(R, values, mask, gamma, lambd)
            assert experience.returns[row].tolist() == pytest.approx(G, abs=1e-5), "returns"
            advantages.append([[A[j] for j in turn] for turn in episode.turns(mask)])
    if config.value == "turn":  # the value at a turn's start is that of the turn: its advantage on all its tokens
        advantages = [[[turn[0]] * len(turn) for turn in row] for row in advantages]
    expected = [A for row in whitening.whiten_tokens(advantages, config.whiten) for turn in row for A in turn]
    got = [A for e in experiences for A in e.advantages[e.action_mask.bool()].tolist()]
    assert got == pytest.approx(expected, abs=2e-5), "advantages"
    assert all(e.advantages[~e.action_mask.bool()].eq(0).all() for e in experiences)


def whitened_over_tokens(totals: Sequence[float], tokens: Sequence[int]) -> list[float]:
    """One advantage an episode, each weighing as many tokens as it has."""
    return [row[0] for row in whitening.whiten([[total] for total in totals], [[count] for count in tokens], "token")]
