"""What the plugin relies on in OpenRLHF 0.11, Ray and vLLM, driven: the host's own classes with ours, on a CPU.

One process imports the host as a worker of the CPU host does, runs these tests one by one (`in_host`) and is gone when
this file is done. pytest does not rewrite asserts there, so each says what it compared, and names the host's file.
What can be read without importing the host is in test_host_source.py.
"""

import ast
import asyncio
import importlib
import inspect
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlef_plugin import launcher
from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.env import EnvConfig
from rlef_plugin.openrlhf_ext import cpu_host, host_cli
from rlef_plugin.runs.timeline import PARTS, Clock, Rollout

pytestmark = pytest.mark.host

REPO = Path(__file__).resolve().parents[1]
CLI = "cli/train_ppo_ray.py"
TRAINER, ASYNC = "trainer/ppo_trainer.py", "trainer/ppo_trainer_async.py"
ACTOR, CRITIC = "trainer/ray/ppo_actor.py", "trainer/ray/ppo_critic.py"
ENGINE, WORKER = "trainer/ray/vllm_engine.py", "trainer/ray/vllm_worker_wrap.py"
MAKER, SAMPLES = "trainer/ppo_utils/experience_maker.py", "trainer/ppo_utils/samples_generator.py"
BUFFER, DEEPSPEED = "trainer/ppo_utils/replay_buffer.py", "utils/deepspeed/deepspeed.py"
DISTRIBUTED = "utils/distributed_util.py"
LOCK = ("acquire", "release")


@pytest.fixture(scope="module")
def host_process() -> Iterator[ProcessPoolExecutor]:
    with tempfile.TemporaryDirectory() as work:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare, initargs=(work,)) as pool:
            yield pool


IN_HOST: dict[str, Callable[[], None]] = {}


def in_host(test: Callable[[], None]) -> Callable[[ProcessPoolExecutor], None]:
    """Run this test where the host is imported; what it raises is raised here."""

    def run(host_process: ProcessPoolExecutor) -> None:
        host_process.submit(_call, test.__name__).result(timeout=600)

    IN_HOST[test.__name__] = test
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def _prepare(work: str) -> None:
    """As the launcher prepares a worker of the CPU host, with a store and a critic's checkpoint to work on."""
    from scripted import problem

    from rlef_plugin.problems import StoreWriter

    os.environ.update(cpu_host.ENVIRONMENT, HF_DATASETS_CACHE=f"{work}/datasets", WORK=work)
    with StoreWriter(f"{work}/store") as writer:
        for name, split in (("a", "train"), ("bb", "train"), ("ccc", "valid")):
            writer.add(problem(name, split))
    config = RlefConfig(env="scripted.FullBudgetEnv", stores=(f"{work}/store",), episode=EnvConfig(feedback_tokens=40))
    os.environ[VARIABLE] = config.to_json()
    cpu_host.setup_worker()


def _call(name: str) -> None:
    host()
    IN_HOST[name]()


HOST_MODULES = {
    "critic_model": "openrlhf.models.model",
    "ppo_trainer": "openrlhf.trainer.ppo_trainer",
    "ppo_trainer_async": "openrlhf.trainer.ppo_trainer_async",
    "experience": "openrlhf.trainer.ppo_utils.experience",
    "experience_maker": "openrlhf.trainer.ppo_utils.experience_maker",
    "replay_buffer": "openrlhf.trainer.ppo_utils.replay_buffer",
    "samples_generator": "openrlhf.trainer.ppo_utils.samples_generator",
    "ppo_actor": "openrlhf.trainer.ray.ppo_actor",
    "ppo_critic": "openrlhf.trainer.ray.ppo_critic",
    "vllm_engine": "openrlhf.trainer.ray.vllm_engine",
    "vllm_worker_wrap": "openrlhf.trainer.ray.vllm_worker_wrap",
    "distributed_util": "openrlhf.utils.distributed_util",
    "deepspeed": "openrlhf.utils.deepspeed.deepspeed",
}


@cache
def host() -> SimpleNamespace:
    """The host's modules, and the stock classes that `install` and the import of our trainer replace."""
    modules = SimpleNamespace(**{name: importlib.import_module(module) for name, module in HOST_MODULES.items()})
    modules.stock = SimpleNamespace(
        Critic=modules.ppo_critic.CriticModelActor,
        ExperienceMaker=modules.experience_maker.RemoteExperienceMaker,
        compute_eval_metrics=modules.ppo_trainer.compute_eval_metrics,
        compute_approx_kl=modules.experience_maker.compute_approx_kl,
    )
    return modules


def unwrapped(actor: Any) -> Any:
    return actor.__ray_metadata__.modified_class.__ray_actor_class__


@in_host
def test_the_functions_we_replace_are_looked_up_as_globals_of_their_modules() -> None:
    from rlef_plugin.openrlhf_ext import trainer  # noqa: F401  # replaces them

    h = host()
    looked_up = [
        (TRAINER, h.ppo_trainer, h.ppo_trainer.BasePPOTrainer.__init__, "RemoteExperienceMaker"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).evaluate, "compute_eval_metrics"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).__init__, "prepare_datasets"),
        (ASYNC, h.ppo_trainer_async, h.ppo_trainer_async.PPOTrainerAsync, "TrainingActor"),
        (ASYNC, h.ppo_trainer_async, h.ppo_trainer_async.PPOTrainerAsync, "GenerateSamplesActor"),
        (MAKER, h.experience_maker, h.stock.ExperienceMaker.make_experience, "compute_approx_kl"),
        (TRAINER, h.ppo_trainer, unwrapped(h.ppo_trainer.PPOTrainer).__init__, "SamplesGenerator"),
        (ASYNC, h.ppo_trainer_async, unwrapped(h.ppo_trainer_async.GenerateSamplesActor).__init__, "SamplesGenerator"),
    ]
    for path, module, function, name in looked_up:
        function = unwrapped(function).__init__ if name.endswith("Actor") else inspect.unwrap(function)
        assert name in function.__code__.co_names, f"openrlhf/{path}: {function.__qualname__} does not use {name}"
        assert function.__globals__ is vars(module), f"openrlhf/{path}: {function.__qualname__} is of another module"
    generating = inspect.unwrap(unwrapped(h.ppo_trainer_async.GenerateSamplesActor)._run_eval)
    assert generating.__globals__["compute_eval_metrics"].__name__ == "solve_rates", f"openrlhf/{ASYNC}: not replaced"


@in_host
def test_after_install_the_cli_imports_our_classes() -> None:
    from rlef_plugin.openrlhf_ext import critic, experience, install, policy, trainer

    h = host()
    install()
    imports = [
        node for node in ast.walk(ast.parse(host_cli.host_file().read_text())) if isinstance(node, ast.ImportFrom)
    ]
    found: dict[str, Any] = {}
    for node in imports:
        if node.names[0].name in ("CriticModelActor", "PolicyModelActor", "PPOTrainer", "PPOTrainerAsync"):
            node.names[0].asname = None
            exec(compile(ast.Module([node], []), CLI, "exec"), found)
    assert found["CriticModelActor"] is critic.TurnCriticActor, f"openrlhf/{CLI} imports another critic"
    assert found["PolicyModelActor"] is policy.PolicyActor, f"openrlhf/{CLI} imports another policy"
    assert found["PPOTrainer"] is trainer.TrainerActor, f"openrlhf/{CLI} imports another trainer"
    assert found["PPOTrainerAsync"] is trainer.AsyncTrainerActor, f"openrlhf/{CLI} imports another async trainer"
    assert h.ppo_trainer.RemoteExperienceMaker is experience.TurnExperienceMaker, "the experience maker is the host's"


@in_host
def test_with_a_value_a_token_the_critic_computes_as_the_hosts() -> None:
    from rlef_plugin.openrlhf_ext import critic, install

    h = host()
    before = os.environ[VARIABLE]
    try:
        for settings in ({"value": "token"}, {"advantage_estimator": "reinforce"}):
            os.environ[VARIABLE] = RlefConfig(**settings).to_json()
            install()
            assert h.ppo_critic.CriticModelActor is critic.CriticActor, f"the critic of {settings}"
    finally:
        os.environ[VARIABLE] = before
        install()
    overridden = {name for name in vars(critic.Critic) if not name.startswith("_")}
    same("what the critic overrides", overridden, {"fit", "save_checkpoint"})


@in_host
def test_the_agent_file_is_loaded_by_path() -> None:
    load = host().vllm_engine._load_agent_executor
    executor = load(str(launcher.AGENT_FILE))
    assert type(executor).__name__ == "RlefAgentExecutor", f"openrlhf/{ENGINE} made {type(executor)}"
    assert list(executor.problems) == ["a", "bb", "ccc"], "the executor did not get its settings"
    other = Path(os.environ["WORK"], "no_agent.py")
    other.write_text("x = 1\n")
    try:
        load(str(other))
    except AssertionError as error:
        assert "AgentExecutor" in str(error), f"openrlhf/{ENGINE} refuses a file without AgentExecutor otherwise"
    else:
        raise AssertionError(f"openrlhf/{ENGINE} takes a file without AgentExecutor")


def played(*kinds: str, label: str = "bb", logprobs: int | None = 1) -> tuple[dict[str, Any], Any]:
    """A result of our executor, and what the host makes of it."""
    from scripted import ScriptedEngine, ScriptedJudge, reply
    from tiny_tokenizers import family_tokenizer
    from vllm import SamplingParams

    from rlef_plugin.openrlhf_ext import executor

    async def open_judge(config: Any) -> ScriptedJudge:
        return ScriptedJudge()

    executor.open_judge = open_judge
    tokenizer = family_tokenizer("llama-3.1")
    engine = ScriptedEngine(tokenizer, lambda _, turn: reply(kinds[turn - 1]))
    params = SamplingParams(max_tokens=60, logprobs=logprobs)
    result = asyncio.run(executor.RlefAgentExecutor().execute(label, label, params, 600, tokenizer, engine))
    same("the host's own parameters stop at", params.stop_token_ids, [])
    same("ours stop at", engine.requests[-1][2].stop_token_ids, [tokenizer.eos_token_id])
    return result, recorded_samples()._process_response_into_experience(result, max_len=600)


def recorded_samples() -> Any:
    """Our sample generator, as it is in the middle of a call."""
    from rlef_plugin.openrlhf_ext.samples import RecordedSamples

    generator = RecordedSamples.__new__(RecordedSamples)
    generator.played = []
    return generator


def same(what: str, got: Any, expected: Any) -> None:
    assert got == expected, f"{what}: {got}, expected {expected}"


@in_host
def test_the_host_makes_an_experience_of_our_result() -> None:
    from scripted import NO_CODE, SOLVED, log_prob

    result, experience = played(NO_CODE, SOLVED)
    tokens, ranges = result["observation_tokens"], result["action_ranges"]
    inside = {position for start, end in ranges for position in range(start, end)}
    where = f"openrlhf/{SAMPLES}"
    same(f"{where} sequences", experience.sequences.tolist(), [tokens])
    # Mask index j speaks of token j + 1.
    same(f"{where} action_mask", experience.action_mask.tolist(), [[int(j in inside) for j in range(1, len(tokens))]])
    expected = [[log_prob(j) if j in inside else 0.0 for j in range(1, len(tokens))]]
    same(f"{where} rollout_log_probs", experience.rollout_log_probs.tolist(), expected)
    same(f"{where} shapes", {key: tuple(value.shape) for key, value in experience.info.items()}, INFO_SHAPES)
    assert {str(value.dtype) for key, value in experience.info.items() if key != "response_clip_ratio"} == {
        "torch.float32"
    }, f"{where}: { ({key: value.dtype for key, value in experience.info.items()}) }"
    same(f"{where} rewards", [round(x, 5) for x in experience.rewards.tolist()], [0.8])
    same(f"{where} scores", experience.scores.tolist(), [1.0])
    same(f"{where} labels", experience.labels, ["bb"])
    same(f"{where} truncated", experience.truncated.tolist(), [False])


INFO_SHAPES = {
    **dict.fromkeys(("response_clip_ratio", "reward", "score", "solved", "public_passed", "turns"), (1,)),
    **dict.fromkeys(("responses_truncated", "judge_s", "generate_s"), (1,)),
    **dict.fromkeys(("turn_rewards", "turn_verdicts"), (1, 3)),
}


@in_host
def test_without_importance_weights_the_host_takes_no_log_probs() -> None:
    from scripted import SOLVED

    same(f"openrlhf/{SAMPLES}", played(SOLVED, logprobs=None)[1].rollout_log_probs, None)


@in_host
def test_experiences_of_different_lengths_are_concatenated() -> None:
    from scripted import NO_CODE, SOLVED, WRONG

    h = host()
    where = "openrlhf/trainer/ppo_utils/experience.py concat_experiences"
    (_, short), (_, long) = played(SOLVED), played(NO_CODE, WRONG, SOLVED)
    batch = h.experience.Experience.concat_experiences([short, long], pad_token_id=7)
    same(f"{where} turns", batch.info["turns"].tolist(), [1.0, 3.0])
    rewards = [[round(x, 5) for x in row] for row in batch.info["turn_rewards"].tolist()]
    same(f"{where} turn_rewards", rewards, [[1.0, 0.0, 0.0], [-0.2, 0.0, 1.0]])
    same(f"{where} turn_verdicts", batch.info["turn_verdicts"].tolist(), [[0, -1, -1], [6, 1, 0]])
    length, width = short.sequences.shape[1], long.sequences.shape[1]
    same(f"{where} sequences", batch.sequences[0].tolist(), short.sequences[0].tolist() + [7] * (width - length))
    same(f"{where} mask", batch.action_mask[0].tolist(), short.action_mask[0].tolist() + [0] * (width - length))
    same(f"{where} labels", batch.labels, ["bb", "bb"])


def learner_batch() -> Any:
    """Two episodes as the learner has them after the models ran: (B, A) log-ratios, values and log-probabilities."""
    import torch
    from scripted import NO_CODE, SOLVED, WRONG

    h = host()
    samples = [played(SOLVED)[1], played(NO_CODE, WRONG, SOLVED)[1]]
    for number, one in enumerate(samples):
        one.index = [number]
    batch = h.experience.Experience.concat_experiences(samples, pad_token_id=7)
    noise = torch.Generator().manual_seed(0)
    for key in ("action_log_probs", "values", "kl"):
        setattr(batch, key, torch.randn(batch.action_mask.shape, generator=noise) * batch.action_mask)
    batch.info["kl"] = batch.kl.mean(1)
    return batch


def advantages_of(batch: Any, *, reference: bool = True, kl_in_loss: bool = False) -> Any:
    from rlef_plugin.openrlhf_ext.experience import TurnExperienceMaker
    from rlef_plugin.runs.timeline import Clock

    maker = TurnExperienceMaker.__new__(TurnExperienceMaker)
    maker.config, maker.clock = RlefConfig.from_environment(), Clock()
    advantage, kl = SimpleNamespace(gamma=1.0, lambd=1.0), SimpleNamespace(use_loss=kl_in_loss)
    maker.args = SimpleNamespace(algo=SimpleNamespace(advantage=advantage, kl=kl))
    maker.initial_model_group = object() if reference else None
    maker.kl_ctl = SimpleNamespace(value=0.05)
    maker.clock = Clock()
    [made] = maker.compute_advantages_and_returns([batch])
    made.metrics = maker.turn_metrics
    return made


@in_host
def test_a_kl_that_is_in_no_reward_is_measured_all_the_same_or_nan() -> None:
    """The host hands over zeros where the KL is in the loss, and where there is no initial policy."""
    import torch

    def zeros(batch: Any) -> Any:
        batch.base_action_log_probs, batch.kl = batch.action_log_probs - batch.kl, torch.zeros_like(batch.kl)
        return batch

    in_reward, in_loss = advantages_of(learner_batch()), advantages_of(zeros(learner_batch()), kl_in_loss=True)
    nowhere = advantages_of(zeros(learner_batch()), reference=False)
    for key in ("learner_turn1/kl_sum", "learner_turn1/kl_geometric_mean", "learner_turn3/kl_sum"):
        close = abs(in_reward.metrics[key] - in_loss.metrics[key]) < 1e-5
        assert close and in_reward.metrics[key] != 0, (key, in_reward.metrics[key], in_loss.metrics[key])
        assert nowhere.metrics[key] != nowhere.metrics[key], f"{key} is {nowhere.metrics[key]}, which nobody measured"
    assert torch.allclose(in_loss.info["turn_kl"], in_reward.info["turn_kl"], atol=1e-5)
    assert nowhere.info["turn_kl"].isnan().all() and not nowhere.info["return"].isnan().any()
    assert torch.equal(in_loss.info["return"], in_loss.info["return"].round(decimals=4)), "a KL is in the reward"


@in_host
def test_a_batch_with_our_advantages_goes_through_the_replay_buffer() -> None:
    """Split, unpadded and batched again by the host: every tensor comes back as it was, a number a turn does not."""
    import torch

    h = host()
    where = f"openrlhf/{BUFFER}"
    made = advantages_of(learner_batch())
    assert not {"turn_rewards", "turn_verdicts"} & set(made.info), f"left in info: {sorted(made.info)}"
    kept = {key: getattr(made, key).clone() for key in ("sequences", "action_mask", "advantages", "returns", "values")}
    info = {key: value.clone() for key, value in made.info.items()}
    buffer = h.replay_buffer.NaiveReplayBuffer(sample_batch_size=2)
    buffer.append(made)
    same(f"{where} items", len(buffer), 2)
    assert buffer[0].action_mask.shape != buffer[1].action_mask.shape, f"{where} keeps the padding"
    again = buffer.collate_fn([buffer[0], buffer[1]])
    for key, value in kept.items():
        value = torch.where(value == 7, 0, value) if key == "sequences" else value  # padded with 0 the second time
        assert torch.equal(torch.where(getattr(again, key) == 7, 0, getattr(again, key)), value), f"{where}: {key}"
    for key, value in info.items():
        assert torch.equal(torch.stack(list(again.info[key])), value), f"{where}: info[{key}]"
        torch.tensor(again.info[key], dtype=torch.float)  # what ppo_actor.py does to log it


@in_host
def test_a_list_a_turn_left_in_info_would_break_the_actors_logging() -> None:
    """The reason why TURN_LISTS are taken out, so that this can go when the host can log them."""
    import torch

    h = host()
    items = h.experience.split_experience_batch(learner_batch())
    listed = h.experience.make_experience_batch(items).info["turn_rewards"]
    try:
        torch.tensor(listed, dtype=torch.float)
    except ValueError:
        return
    raise AssertionError(f"openrlhf/{ACTOR} could log turn_rewards now: {type(listed)}")


@in_host
def test_an_episode_whose_mask_shows_other_turns_than_were_played_is_refused() -> None:
    batch = learner_batch()
    batch.info["turns"][0] += 1
    try:
        advantages_of(batch)
    except RuntimeError as error:
        assert "[1, 3] turns, but [2, 3] were played" in str(error), str(error)
    else:
        raise AssertionError("rewards would have slipped to other turns")


def tiny_critic(dtype: str | None = "float32") -> Any:
    """The host's critic, as its own factory makes it from a checkpoint, with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(os.environ["WORK"], "critic")
    if not folder.exists():
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=400, **sizes)).save_pretrained(folder)
    make = host().critic_model.get_llm_for_sequence_regression
    critic = make(str(folder), "critic", attn_implementation="eager", init_value_head=True).eval()
    return critic.float() if dtype else critic


@in_host
def test_the_critic_reads_the_value_of_mask_index_j_at_token_j() -> None:
    """So at the first index of a run of ones it is read at the last token of the prompt: V(c_t)."""
    import torch

    critic = tiny_critic()
    sequences = torch.randint(0, 400, (2, 9), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(sequences)
    attention[1, 7:] = 0  # padded on the right, as our batches are
    mask = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0, 0]])
    with torch.no_grad():
        values = critic(sequences, mask, attention)
        hidden = critic(sequences, None, attention, return_output=True)["last_hidden_state"]  # (B, T, 16)
        expected = critic.score(hidden).squeeze(-1)[:, :-1] * mask
    assert values.shape == mask.shape, f"openrlhf/models/model.py: values are {tuple(values.shape)}"
    assert torch.allclose(values, expected, atol=1e-6), f"openrlhf/models/model.py: {values} and {expected}"
    assert values[mask.bool()].abs().min() > 0, "openrlhf/models/model.py: the value head gives zeros"
    # A later token changes nothing: V(c_t) knows the prompt and not the response.
    changed = sequences.clone()
    changed[0, 3:] = 5
    with torch.no_grad():
        assert torch.allclose(critic(changed, mask, attention)[0, :3], values[0, :3], atol=1e-6)


@in_host
def test_the_turn_critic_shows_the_host_turn_starts_only() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    h = host()
    actor = TurnCritic.__new__(TurnCritic)
    actor.critic, actor.strategy = tiny_critic(), critic_strategy()
    actor.trainer = SimpleNamespace(replay_buffer=h.replay_buffer.NaiveReplayBuffer(sample_batch_size=2))
    made = advantages_of(learner_batch())
    mask, info = made.action_mask, made.info
    starts = torch.zeros_like(mask)
    starts[0, mask[0].tolist().index(1)] = 1
    for j in range(mask.shape[1]):
        starts[1, j] = int(mask[1, j] == 1 and (j == 0 or mask[1, j - 1] == 0))
    values = actor.forward(sequences=made.sequences, action_mask=mask, attention_mask=made.attention_mask)
    same(f"openrlhf/{CRITIC} forward", (values != 0).tolist(), starts.bool().tolist())
    actor.append(made)
    kept = actor.trainer.replay_buffer
    same(f"openrlhf/{CRITIC} append", [int(item.action_mask.sum()) for item in (kept[0], kept[1])], [1, 3])
    batch = kept.collate_fn([kept[0], kept[1]])
    width = batch.action_mask.shape[1]
    same("the loss's mask", batch.action_mask.tolist(), starts[:, :width].bool().tolist())
    same(
        "a turn start in its last column", (bool(batch.action_mask[1, -1]), starts[:, width:].sum().item()), (True, 0)
    )
    assert made.action_mask is mask and made.info is info, "the policy's experience was changed"


def critic_strategy(aux_loss_coef: float = 0.0) -> Any:
    """What the host's critic and its trainer ask of it, without DeepSpeed: gradients stay in the parameters."""
    args = SimpleNamespace(
        actor=SimpleNamespace(aux_loss_coef=aux_loss_coef),
        train=SimpleNamespace(dynamic_batch_enable=False, max_epochs=1),
        ds=SimpleNamespace(packing_samples=False, tensor_parallel_size=1),
    )
    return SimpleNamespace(
        args=args,
        ring_attn_group=None,
        accumulated_gradient=1,
        is_rank_0=lambda: False,
        all_reduce=lambda status: status,
        backward=lambda loss, model, optimizer: loss.backward(),
        optimizer_step=lambda *arguments, **names: None,
        get_grad_norm=lambda model: 0.0,
    )


def critic_actor(cls: Any, aux_loss_coef: float = 0.0) -> Any:
    """A critic actor of this class with the host's own trainer, in float64."""
    h = host()
    actor = cls.__new__(cls)
    actor.critic, actor.strategy = tiny_critic().double(), critic_strategy(aux_loss_coef)
    schedule = SimpleNamespace(get_last_lr=lambda: [0.0])
    actor.trainer = h.ppo_critic.CriticPPOTrainer(
        actor.strategy, actor.critic, None, schedule, micro_train_batch_size=2, dataloader_pin_memory=False
    )
    return actor


def stock_critic() -> Any:
    """The host's critic, shown turn starts but every token: what `TurnCritic` did before it cut its input."""
    from dataclasses import replace

    from rlef_plugin.rl.turns import turn_starts

    class Whole(unwrapped(host().stock.Critic)):  # type: ignore[misc]
        def forward(self, sequences: Any, action_mask: Any, attention_mask: Any) -> Any:
            return super().forward(sequences, turn_starts(action_mask), attention_mask)

        def append(self, experience: Any) -> None:
            super().append(replace(experience, action_mask=turn_starts(experience.action_mask)))

    return Whole


def three_episodes() -> Any:
    """Of 1, 2 and 3 turns, the longest last response in the shortest episode, so that each row is cut elsewhere."""
    import torch

    generator = torch.Generator().manual_seed(3)
    lengths, ranges = (31, 26, 29), ([(5, 31)], [(4, 9), (12, 26)], [(6, 10), (13, 17), (20, 29)])
    width = max(lengths)
    attention, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.long)
    for row, (length, turns) in enumerate(zip(lengths, ranges, strict=True)):
        attention[row, :length] = 1
        for begin, end in turns:
            mask[row, begin:end] = 1
    mask = mask[:, 1:]
    noise = {key: torch.randn(mask.shape, generator=generator).double() * mask for key in ("values", "returns")}
    sequences = torch.randint(0, 400, (3, width), generator=generator)
    total = torch.tensor(lengths, dtype=torch.float)
    return host().experience.Experience(
        sequences=sequences, attention_mask=attention, action_mask=mask, total_length=total, **noise
    )


@in_host
def test_the_critics_cut_changes_no_value_and_no_gradient() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    seen: list[int] = []
    whole, cut = critic_actor(stock_critic()), critic_actor(TurnCritic)
    cut.critic.load_state_dict(whole.critic.state_dict())  # the value head is made anew for each
    cut.critic.model.register_forward_pre_hook(
        lambda module, arguments, names: seen.append(int(names["attention_mask"].sum())), with_kwargs=True
    )
    batch = three_episodes()
    grids = {
        "sequences": batch.sequences,
        "action_mask": batch.action_mask,
        "attention_mask": batch.attention_mask,
    }
    expected, values = whole.forward(**grids), cut.forward(**grids)
    same("shape of the values (B, A)", tuple(values.shape), tuple(batch.action_mask.shape))
    same("values that are not 0", int((values != 0).sum()), 6)
    assert (values - expected).abs().max() < 1e-12, f"values differ by {(values - expected).abs().max()}"
    same("tokens the critic reads: to each last turn start, and one more", seen, [6 + 13 + 21])
    for actor in (whole, cut):
        actor.append(three_episodes())
        items = actor.trainer.replay_buffer
        experience = items.collate_fn([items[row] for row in range(3)])
        actor.trainer.training_step(experience, 0)
    same("tokens it is trained on", seen[1:], [40])
    gradients = dict(whole.critic.named_parameters())
    for name, parameter in cut.critic.named_parameters():
        difference = (parameter.grad - gradients[name].grad).abs().max()
        assert difference < 1e-10, f"the gradient of {name} differs by {difference}"
    assert sum(float(p.grad.abs().sum()) for p in cut.critic.parameters()) > 1e-3, "there is no gradient to compare"
    assert torch.equal(batch.sequences, three_episodes().sequences), "the policy's experience was changed"


@in_host
def test_with_a_balancing_loss_the_critic_reads_every_token() -> None:
    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    actor = critic_actor(TurnCritic, aux_loss_coef=0.01)
    actor.append(three_episodes())
    items = actor.trainer.replay_buffer
    same("lengths", [len(items[row].sequences) for row in range(3)], [31, 26, 29])


@in_host
def test_kl_without_the_hosts_clamp() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.experience import token_log_ratio

    policy, reference = torch.tensor([[-1.0, -30.0, -2.0]]), torch.tensor([[-3.0, -1.0, -2.5]])
    stock = host().stock.compute_approx_kl(policy, reference, kl_estimator="k1")
    same("openrlhf/models/utils.py k1", stock.tolist(), [[2.0, -10.0, 0.5]])
    same("ours", token_log_ratio(policy, reference, kl_estimator="k1").tolist(), [[2.0, -29.0, 0.5]])


@in_host
def test_evaluation_logs_have_the_hosts_keys() -> None:
    from scripted import PUBLIC_ONLY, SOLVED

    from rlef_plugin.openrlhf_ext.rollouts import solve_rates

    samples = [played(kind, label="ccc")[1] for kind in (SOLVED, PUBLIC_ONLY)]
    loader = [(["valid"], ["ccc"], ["ccc"], [None])]
    theirs = host().stock.compute_eval_metrics(loader, samples, 2)
    ours = solve_rates(loader, samples, 2)
    same(f"openrlhf/{TRAINER}", {"eval_valid_pass1", "eval_valid_pass2"} <= theirs.keys() & ours.keys(), True)
    same("ours", (ours["eval_valid_pass1"], ours["eval_valid_pass2"]), (0.5, 1.0))
    same(f"openrlhf/{TRAINER} pass1 of rewards 1 and -1", theirs["eval_valid_pass1"], 0.0)  # why it is replaced
    keep = SimpleNamespace(best_eval_metric_key="eval_valid_pass1")
    detect = host().ppo_trainer.BasePPOTrainer._detect_eval_metric_key
    same(f"openrlhf/{TRAINER} best key", detect(keep, ours), "eval_valid_pass1")


@in_host
def test_the_stores_prompt_files_are_the_hosts_data() -> None:
    from openrlhf.datasets import PromptDataset
    from openrlhf.datasets.utils import blending_datasets

    from rlef_plugin.problems import ProblemStore

    keys = SimpleNamespace(input_key="prompt", label_key="label", apply_chat_template=False, image_key="images")
    strategy = SimpleNamespace(
        print=lambda *_: None, is_rank_0=lambda: False, args=SimpleNamespace(data=keys, use_ms=False)
    )
    store = ProblemStore.open(Path(os.environ["WORK"], "store"))
    for split, ids in (("train", ["a", "bb"]), ("valid", ["ccc"])):
        data = blending_datasets(str(store.prompts(split)), None, strategy, dataset_split="train")
        dataset = PromptDataset(data, None, strategy)
        rows = [dataset[index] for index in range(len(dataset))]
        same("openrlhf/datasets/prompts_dataset.py", rows, [(split, id_, id_, None) for id_ in ids])


@in_host
def test_a_rest_is_left_out_and_a_step_without_an_update_is_skipped() -> None:
    """The host would leave the odd micro-batches' gradients for the next step."""
    from scripted import SOLVED

    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging

    class Host:
        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            return {"trained": len(samples)}, step + 1

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(train=SimpleNamespace(batch_size=4), rollout=SimpleNamespace(n_samples_per_prompt=1))
        config = RlefConfig(rollouts_every=0)
        experience_maker = SimpleNamespace(
            global_step=0, config=config, clock=Clock(), turn_metrics={"learner/value": 0.5}
        )

    sample = played_once(SOLVED, os.environ[VARIABLE])
    sample.rollout = Rollout.of((0.0, 1.0), [sample.record])
    status, step = Steps().train_step([sample] * 10, 5)
    skipped = Steps().train_step([sample] * 3, 5)
    same("10 samples, batches of 4", (status["trained"], status["rollout/left_out"], step), (8, 2.0, 6))
    same("3 samples, batches of 4", skipped, ({"rollout/left_out": 3.0}, 5))
    same("metrics", (status["episode/solve_rate"], Steps.experience_maker.global_step), (1.0, 6))
    same("of the turns and the rollout", (status["learner/value"], status["rollout_s/wall"]), (0.5, 1.0))


@in_host
def test_samples_carry_their_records_and_the_first_one_its_rollout_phase() -> None:
    """Through the host's own generator, its queue's pickle and its batching; filtered episodes count as played."""
    import pickle
    import time

    from scripted import NO_CODE, SOLVED, WRONG

    results = [played(SOLVED)[0], played(NO_CODE, WRONG, SOLVED)[0], played(WRONG, WRONG, WRONG)[0]]
    generator = recorded_samples()
    generator.args = SimpleNamespace(
        rollout=SimpleNamespace(batch_size=1, n_samples_per_prompt=2, vllm_generate_batch_size=None),
        vllm=SimpleNamespace(enable_sleep=False),
        algo=SimpleNamespace(dynamic_filtering_enable=False),
    )
    generator._dataloader_iter, generator._sample_buffer = iter(()), []
    started = time.time()

    def generate(**_: Any) -> tuple[list[Any], int, bool]:
        made = [generator._process_response_into_experience(result, max_len=600) for result in results]
        return made[:2], 1, False  # the third was filtered out

    generator._generate_vllm = generate
    samples, *_ = generator.generate_samples(max_len=600)
    samples = pickle.loads(pickle.dumps(samples))
    same(f"openrlhf/{SAMPLES}", [len(sample.record["turns"]) for sample in samples], [1, 3])
    same("chrF", [turn["chrf"] for turn in samples[1].record["turns"]][:2], [None, None])
    assert samples[1].record["turns"][2]["chrf"] > 0, samples[1].record
    rollout = samples[0].rollout
    same("played", (len(rollout.generating), len(rollout.judging)), (7, 6))
    assert started <= rollout.window[0] <= rollout.window[1] <= time.time(), rollout.window
    assert not hasattr(samples[1], "rollout"), "a phase belongs to one sample"
    batch = host().experience.Experience.concat_experiences(samples, pad_token_id=0)
    assert not hasattr(batch, "record"), f"openrlhf/{SAMPLES}: records would travel on into the replay buffer"


@in_host
def test_the_planned_steps_are_those_that_the_host_makes() -> None:
    from rlef_plugin.openrlhf_ext.trainer import planned_steps

    rollout = SimpleNamespace(batch_size=9, n_samples_per_prompt=3)
    args = SimpleNamespace(rollout=rollout, train=SimpleNamespace(batch_size=9, num_episodes=2))
    steps = [planned_steps(prompts, args, "turn") for prompts in (27, 28, 30)]  # a rest of 1 x 3 is left out
    same("27, 28 and 30 prompts", steps, [6, 6, 8])
    args.train.batch_size = 8  # whole updates and whole groups of 3 are multiples of 24
    same("a rest of 3 x 3", [planned_steps(30, args, estimator) for estimator in ("turn", "rloo")], [8, 6])


@in_host
def test_a_step_is_clocked_and_logged_with_the_hosts_status() -> None:
    """What the host's trackers get is what metrics.jsonl gets, and a checkpoint's time counts in the next step."""
    from scripted import NO_CODE, SOLVED

    from rlef_plugin.openrlhf_ext.group_clock import GroupClock
    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging
    from rlef_plugin.runs.files import read_episodes, read_metrics

    logged: list[dict[str, Any]] = []
    run_dir = tempfile.mkdtemp(dir=os.environ["WORK"])

    class Host:
        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            status = self.ppo_train(step)
            self.broadcast_to_vllm()
            return status, step + 1

        def ppo_train(self, step: int) -> dict[str, Any]:
            return {"critic_loss": 1.0, "generated_samples": ["text", 1.0]}

        def broadcast_to_vllm(self) -> None: ...
        def save_best_checkpoint(self, metrics: Any, step: int, states: Any) -> None: ...

        def save_logs_and_checkpoints(self, step: int, logs: dict[str, Any], states: Any) -> None:
            logged.append(logs)

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(
            train=SimpleNamespace(batch_size=1),
            critic=SimpleNamespace(freezing_steps=-1),
            rollout=SimpleNamespace(n_samples_per_prompt=1),
        )
        config = RlefConfig(rollouts_every=1, run_dir=run_dir)
        experience_maker = SimpleNamespace(global_step=0, config=config, clock=Clock(), turn_metrics={})
        groups = GroupClock()

    samples = [played(SOLVED)[1], played(NO_CODE, SOLVED)[1]]
    samples[0].rollout = Rollout.of((0.0, 1.0), [sample.record for sample in samples])
    trainer = Steps()
    for step in (0, 1):
        status, _ = trainer.train_step(samples, step)
        trainer.save_logs_and_checkpoints(step + 1, status, None)
    trainer.save_best_checkpoint({"eval_valid_pass1": 0.5}, 2)
    same("keys of the two steps", list(logged[0]), list(logged[1]))
    same("parts", {f"step_s/{part}" for part in PARTS} <= logged[1].keys(), True)
    assert logged[1]["step_s/saving"] > logged[0]["step_s/saving"] == 0, (logged[0], logged[1])
    kept = read_metrics(Path(run_dir))
    same("kept", [int(one["step"]) for one in kept], [1, 2])
    scalars = {key for key, value in logged[1].items() if isinstance(value, int | float)}
    same("kept keys", set(kept[1]), scalars | {"step", "unix_time_s"})
    same("evaluations", read_metrics(Path(run_dir), "evaluations.jsonl")[0]["eval_valid_pass1"], 0.5)
    same("episodes", [len(one["turns"]) for one in read_episodes(Path(run_dir))[1]], [1, 2])


def played_once(kind: str, config: str) -> Any:
    now, os.environ[VARIABLE] = os.environ[VARIABLE], config
    try:
        return played(kind)[1]
    finally:
        os.environ[VARIABLE] = now


# --- driven: going on after a kill, and what makes two runs alike


def prompt_loader(seed: int) -> Any:
    """The host's loader of 10 prompts, through our `prepare_datasets` and the host's own."""
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from rlef_plugin.openrlhf_ext import trainer

    prompts = Path(os.environ["WORK"], "ten.jsonl")
    prompts.write_text("".join(f'{{"prompt": "{n}", "label": "{n}", "datasource": "train"}}\n' for n in range(10)))
    flags = {"data.prompt_dataset": str(prompts), "train.seed": seed, "train.agent_func_path": "agent.py"}
    flags |= {"data.input_key": "prompt", "data.label_key": "label", "ckpt.output_dir": "unused"}
    flags |= {"actor.model_name_or_path": "none", "vllm.num_engines": 1, "actor.num_gpus_per_node": 1}
    args = host_cli.check([f"--{key}={value}" for key, value in flags.items()])
    strategy = SimpleNamespace(args=args, print=lambda *_: None, is_rank_0=lambda: False)
    strategy.setup_dataloader = lambda *a, **k: DeepspeedStrategy.setup_dataloader(strategy, *a, **k)
    return trainer.prepare_datasets(strategy, None)[0]


def drawn(loader: Iterator[Any], count: int) -> list[int]:
    return [int(next(loader)[1][0]) for _ in range(count)]


@in_host
def test_the_order_of_problems_follows_from_the_seed() -> None:
    import torch

    orders = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)  # what the process did before, which is chance in the host
        loader = prompt_loader(seed)
        orders.append([drawn(iter(loader), 10) for _ in range(2)])  # two passes
    same("another process", orders[1], orders[0])
    assert orders[0][0] != orders[0][1] and orders[2] != orders[0], f"passes or seeds do not differ: {orders}"
    same("every problem once a pass", [sorted(one) for one in orders[0]], [list(range(10))] * 2)


@in_host
def test_a_loader_goes_on_where_it_was_and_a_finished_pass_is_not_played_again() -> None:
    from rlef_plugin.openrlhf_ext.trainer import to_go_on_from

    loader = prompt_loader(1)
    passes = [drawn(iter(loader), 10), drawn(iter(loader), 10)]
    for consumed in (4, 10):
        loader = prompt_loader(1)
        first = iter(loader)
        drawn(first, consumed)
        states = to_go_on_from({"episode": 0, "data_loader_state_dict": loader.state_dict()})
        same(f"pass after {consumed} prompts", states["episode"], 0)
        again = prompt_loader(1)
        again.load_state_dict(states["data_loader_state_dict"])
        went_on = iter(again)
        same(f"the rest after {consumed}", [int(labels[0]) for _, _, labels, _ in went_on], passes[0][consumed:])
        same("and the next pass", drawn(iter(again), 10), passes[1])
    same("a short last batch ends the pass", next(first, None), None)
    states = to_go_on_from({"episode": 0, "data_loader_state_dict": loader.state_dict()})
    same("so the next one is played", states["episode"], 1)
    again = prompt_loader(1)
    again.load_state_dict(states["data_loader_state_dict"])
    same("which is the second", drawn(iter(again), 10), passes[1])


@in_host
def test_samples_come_in_the_order_of_the_data() -> None:
    from rlef_plugin.openrlhf_ext.samples import RecordedSamples

    def ready(self: Any, prompts: int) -> tuple[list[Any], int, bool]:
        self._dispatch_prompts_to_vllm(["c", "a", "b"], ["c", "a", "b"])
        done = [SimpleNamespace(labels=[label], n=n) for label in ("b", "c", "a") for n in (0, 1)]
        return done, 3, False

    stock = host().samples_generator.SamplesGenerator
    before = stock._generate_vllm, stock._dispatch_prompts_to_vllm
    stock._generate_vllm, stock._dispatch_prompts_to_vllm = ready, lambda self, prompts, labels: []
    try:
        samples, *more = RecordedSamples.__new__(RecordedSamples)._generate_vllm(3)
    finally:
        stock._generate_vllm, stock._dispatch_prompts_to_vllm = before
    same("order", [(s.labels[0], s.n) for s in samples], [(label, n) for label in ("c", "a", "b") for n in (0, 1)])
    same("the rest of the answer", more, [3, False])


@in_host
def test_an_update_is_shuffled_by_seed_rank_and_number_of_updates() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.policy import seed_update

    def shuffle(seed: int, steps: int, rank: int) -> list[int]:
        torch.rand(steps + 3)  # what an undisturbed run drew before
        strategy = SimpleNamespace(seed=seed, world_size=2, get_rank=lambda: rank)
        seed_update(strategy, SimpleNamespace(global_steps=steps))
        return torch.randperm(20).tolist()

    cases = [(seed, steps, rank) for seed in (1, 2) for steps in (0, 1, 2) for rank in (0, 1)]
    orders = [shuffle(*case) for case in cases]
    same("again", [shuffle(*case) for case in reversed(cases)], orders[::-1])
    same("all different", len({tuple(order) for order in orders}), len(cases))
    import deepspeed

    load = inspect.getsource(deepspeed.DeepSpeedEngine._load_checkpoint)
    assert "self.global_steps = checkpoint['global_steps']" in load, "deepspeed: updates are not counted on"


@in_host
def test_while_the_policy_is_frozen_its_rollouts_are_forgotten() -> None:
    """The host makes no update then, but keeps what was appended for it, and would train on all of it later."""
    import ray

    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging
    from rlef_plugin.runs.timeline import Clock

    asked: list[str] = []

    class Host:
        def ppo_train(self, step: int) -> dict[str, Any]:
            return {"step": step}

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(critic=SimpleNamespace(freezing_steps=1))
        experience_maker = SimpleNamespace(clock=Clock())
        actor_model_group = SimpleNamespace(async_run_method=lambda method_name: asked.append(method_name) or [])

    get, ray.get = ray.get, lambda refs: refs
    try:
        for step, frozen in ((0, True), (1, True), (2, False)):  # the host counts from 0 and freezes while step <= 1
            asked.clear()
            same("status", Steps().ppo_train(step), {"step": step})
            same(f"step {step}", asked, ["forget_rollouts"] if frozen else [])
    finally:
        ray.get = get
    source = inspect.getsource(host().ppo_trainer.BasePPOTrainer.ppo_train)
    assert "global_steps > self.args.critic.freezing_steps" in source, f"openrlhf/{TRAINER} freezes otherwise"


@in_host
def test_the_best_checkpoint_stays_when_a_later_evaluation_is_worse() -> None:
    h = host()
    saved: list[str] = []

    def asked(method_name: str, tag: str, **more: Any) -> list[Any]:
        saved.append(f"{tag}: {more['metric_value']}")
        return []

    import ray

    trainer = SimpleNamespace(
        best_eval_metric_key="eval_valid_pass1",
        best_eval_metric_value=float("-inf"),
        actor_model_group=SimpleNamespace(async_run_method=asked),
        critic_model_group=None,
    )
    base = h.ppo_trainer.BasePPOTrainer
    trainer._detect_eval_metric_key = lambda metrics: base._detect_eval_metric_key(trainer, metrics)
    get, ray.get = ray.get, lambda refs: refs
    try:
        for step, rate in ((2, 0.3), (4, 0.5), (6, 0.4), (8, 0.5)):  # as good is not better
            base.save_best_checkpoint(trainer, {"eval_valid_pass1": rate}, step)
    finally:
        ray.get = get
    same(f"openrlhf/{TRAINER}", saved, ["best_global_step2: 0.3", "best_global_step4: 0.5"])
    same("the one to beat", trainer.best_eval_metric_value, 0.5)


@in_host
def test_regular_checkpoints_never_push_out_the_best_one() -> None:
    """The host's rotation, run on folders: the oldest of two regular ones goes, an older best one stays.

    With a metric the worst would go, however new; so ours have none (`save_logs_and_checkpoints`).
    """
    same("with metrics", rotated((0.5, 0.2, 0.3)), ["best_global_step1", "global_step1", "global_step3"])
    same("without", rotated((None, None, None)), ["best_global_step1", "global_step2", "global_step3"])


def rotated(rates: tuple[float | None, ...]) -> list[str]:
    """What the host keeps of a best checkpoint and of regular ones with these metrics, two at most."""
    h = host()
    folder = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))

    class Engine(h.deepspeed.deepspeed.DeepSpeedEngine):
        def __init__(self) -> None: ...

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def save_checkpoint(self, path: str, tag: str, **more: Any) -> None:
            Path(path, tag).mkdir()

    strategy = h.deepspeed.DeepspeedStrategy.__new__(h.deepspeed.DeepspeedStrategy)
    h.deepspeed.torch_dist_barrier_and_cuda_sync, barrier = lambda: None, h.deepspeed.torch_dist_barrier_and_cuda_sync
    try:
        for number, (tag, rate) in enumerate(
            (("best_global_step1", 0.5), *((f"global_step{step}", rate) for step, rate in enumerate(rates, 1))), 1
        ):
            strategy.save_ckpt(Engine(), str(folder), tag, max_num=2, metric_value=rate, metric_key="eval_valid_pass1")
            os.utime(folder / tag, (number, number))
    finally:
        h.deepspeed.torch_dist_barrier_and_cuda_sync = barrier
    return sorted(path.name for path in folder.iterdir())


@in_host
def test_regular_checkpoints_have_no_metric_and_the_best_one_has() -> None:
    """Saved by the host's own methods under ours; a step of which nothing is left is neither saved nor evaluated."""
    import ray

    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging, Trainer

    saved: list[tuple[str, str | None, float | None]] = []

    def asked(method_name: str, tag: str, metric_value: float | None, metric_key: str | None, **_: Any) -> list[Any]:
        saved.append((tag, metric_key, metric_value))
        return []

    class Steps(EpisodeLogging, host().ppo_trainer.BasePPOTrainer):
        wandb_logger = tensorboard_logger = critic_model_group = None
        best_eval_metric_key, best_eval_metric_value = "eval_valid_pass1", float("-inf")
        before_batch = "waiting"
        groups = SimpleNamespace(lap=dict)
        actor_model_group = SimpleNamespace(async_run_method=asked)
        args = SimpleNamespace(
            logger=SimpleNamespace(logging_steps=1),
            ckpt=SimpleNamespace(save_steps=1),
            train=SimpleNamespace(batch_size=4),
            rollout=SimpleNamespace(n_samples_per_prompt=1),
        )

        def __init__(self) -> None:
            config = RlefConfig(run_dir=tempfile.mkdtemp(dir=os.environ["WORK"]))
            self.experience_maker = SimpleNamespace(config=config, clock=Clock())

    trainer, get = Steps(), ray.get
    ray.get = lambda refs: refs
    try:
        trainer.save_best_checkpoint({"eval_valid_pass1": 0.5}, 2)
        trainer.save_logs_and_checkpoints(3, {"episode/solve_rate": 0.5})
        regular, best = ("global_step3", "eval_valid_pass1", None), ("best_global_step2", "eval_valid_pass1", 0.5)
        same(f"openrlhf/{TRAINER} saves", saved, [best, regular])
        status, step = trainer.train_step([object()] * 3, 3)
        same("left out", (status, step), ({"rollout/left_out": 3.0}, 3))
        trainer.save_logs_and_checkpoints(step, status)
        metrics = Trainer.evaluate(trainer, step)
        trainer.save_best_checkpoint(metrics, step)
        same("saved, evaluated", (len(saved), metrics), (2, {}))
    finally:
        ray.get = get
    run = Path(trainer.experience_maker.config.run_dir)
    written = [len((run / name).read_text().splitlines()) for name in ("metrics.jsonl", "evaluations.jsonl")]
    same("written", written, [1, 1])


@in_host
def test_what_asynchronous_training_evaluates_is_what_it_saves_as_best() -> None:
    """The host's two loops in two threads; alone they would save the weights of a step later."""
    for every, last, begun in ((1, 4, 0), (2, 5, 0), (3, 7, 0), (1, 4, 2), (2, 7, 2), (2, 7, 3)):
        due = [step for step in range(begun + 1, last) if step % every == 0]  # after the last step nobody evaluates
        evaluated, saved = evaluated_and_saved(every, last, begun)
        same(f"weights evaluated every {every}", evaluated, due)
        same(f"openrlhf/{ASYNC} saves", saved, [(f"best_global_step{step}", step) for step in due])


def evaluated_and_saved(every: int, last: int, begun: int) -> tuple[list[int], list[tuple[str, int]]]:
    """The step of the weights in each evaluation, better every time; each best checkpoint and that of its weights.
    The run goes on from step `begun`."""
    import threading
    import time
    from queue import Queue

    import ray

    from rlef_plugin.openrlhf_ext import trainer

    evaluated: list[int] = []
    saved: list[tuple[str, int]] = []
    lock, rollouts, slots = threading.Lock(), Queue(1), Queue(1)
    slots.put(0)
    both = {
        "rollout_queue": rollouts,
        "rollout_slots": slots,
        "vllm_lock": SimpleNamespace(**{name: SimpleNamespace(remote=getattr(lock, name)) for name in LOCK}),
        "_partial_rollout": False,
        "args": SimpleNamespace(
            train=SimpleNamespace(num_episodes=1),
            eval=SimpleNamespace(steps=every, dataset="store"),
            ckpt=SimpleNamespace(save_steps=float("inf")),
            logger=SimpleNamespace(logging_steps=1),
            algo=SimpleNamespace(dynamic_filtering_enable=False),
        ),
    }

    class Training(trainer.AsyncTraining):
        weights = begun
        wandb_logger = tensorboard_logger = critic_model_group = reference_model_group = None
        best_eval_metric_key, best_eval_metric_value = "eval_valid_pass1", float("-inf")

        def __init__(self) -> None:
            vars(self).update(both)
            config = RlefConfig(run_dir=tempfile.mkdtemp(dir=os.environ["WORK"]))
            self.experience_maker = SimpleNamespace(config=config, clock=Clock())
            self.actor_model_group = SimpleNamespace(async_run_method=self.asked, async_run_method_batch=None)

        def asked(self, method_name: str, tag: str, **_: Any) -> list[Any]:
            saved.append((tag, self.weights))
            return []

        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            time.sleep(0.05)  # long enough for an evaluation to begin beside it
            with lock:  # as the host's weight exchange
                self.weights = step + 1
            return {"episode/solve_rate": 0.0}, step + 1

    training, batches = Training(), iter(range(begun + 1, last + 1))

    def generate() -> tuple[list[Any], None, int, bool]:
        return [object()], None, 1, next(batches) == last

    def evaluate() -> dict[str, float]:
        evaluated.append(training.weights)
        return {"eval_valid_pass1": float(len(evaluated))}

    generation = trainer.AsyncGeneration.__mro__[1]  # the host's
    generating = generation.__new__(generation)
    loader = type("Loader", (), {"__len__": lambda _: last, "state_dict": lambda _: {}})()
    vars(generating).update(both, prompts_dataloader=loader, eval_dataloader=loader, generate_kwargs={})
    vars(generating).update(_last_eval_step=-1, _eval_just_done=False, _run_eval=evaluate)
    generating.samples_generator = SimpleNamespace(generate_samples=generate)
    get, ray.get = ray.get, lambda answer: answer
    threads = [threading.Thread(target=generating.fit, args=(0, 0), daemon=True)]
    threads += [threading.Thread(target=training.fit, args=(begun,), daemon=True)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        same("loops that wait forever", [thread.is_alive() for thread in threads], [False, False])
    finally:
        ray.get = get
    return evaluated, saved


@in_host
def test_a_checkpoint_is_not_whole_while_it_is_written_again() -> None:
    from rlef_plugin.openrlhf_ext import critic, policy

    for cls, folder in ((policy.Policy, "_actor"), (critic.Critic, "_critic")):
        path = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))
        metric = path / folder / "global_step2" / "metric.json"
        metric.parent.mkdir(parents=True)
        metric.write_text("{}")
        there: list[bool] = []
        actor = cls.__new__(cls)
        ckpt = SimpleNamespace(path=str(path), max_num=3, max_mem=1.0)
        actor.strategy = SimpleNamespace(
            args=SimpleNamespace(ckpt=ckpt),
            is_rank_0=lambda: True,
            save_ckpt=lambda *_, there=there, metric=metric, **__: there.append(metric.exists()),
        )
        actor.disable_ds_ckpt = actor.save_hf_ckpt = False
        actor.actor, actor.critic = SimpleNamespace(model=None), None
        module = importlib.import_module(f"openrlhf.trainer.ray.ppo{folder}")
        barrier = getattr(module, "torch_dist_barrier_and_cuda_sync", None)
        module.torch_dist_barrier_and_cuda_sync = lambda: None
        try:
            actor.save_checkpoint(tag="global_step2", metric_value=None, metric_key=None)
        finally:
            module.torch_dist_barrier_and_cuda_sync = barrier
        same(f"marked as whole while {folder} is saved", there, [False])


@in_host
def test_the_best_policy_is_saved_as_a_model_and_the_one_before_goes() -> None:
    """The host's own method: `<ckpt.path>/<tag>_hf`, beside the shards, of which rotation deletes only these."""
    from openrlhf.trainer.ray import ppo_actor

    from rlef_plugin.openrlhf_ext.policy import Policy

    path = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))

    def save_ckpt(model: Any, folder: str, tag: str, *_: Any, **__: Any) -> None:
        for old in Path(folder).glob("best*"):  # DeepspeedStrategy.save_ckpt deletes the last best one first
            old.rmdir()
        Path(folder, tag).mkdir(parents=True)

    actor = Policy.__new__(Policy)
    actor.strategy = SimpleNamespace(
        args=SimpleNamespace(
            ckpt=SimpleNamespace(path=str(path), max_num=3, max_mem=1.0), train=SimpleNamespace(enable_ema=False)
        ),
        is_rank_0=lambda: True,
        save_ckpt=save_ckpt,
        save_model=lambda model, tokenizer, folder: Path(folder).mkdir(),
    )
    actor.disable_ds_ckpt, actor.save_hf_ckpt = False, True
    actor.actor, actor.tokenizer = SimpleNamespace(model=None), None
    barrier, ppo_actor.torch_dist_barrier_and_cuda_sync = ppo_actor.torch_dist_barrier_and_cuda_sync, lambda: None
    try:
        for step in (212, 424):
            actor.save_checkpoint(tag=f"best_global_step{step}")
    finally:
        ppo_actor.torch_dist_barrier_and_cuda_sync = barrier
    same("models", [folder.name for folder in path.glob("*_hf")], ["best_global_step424_hf"])


@in_host
def test_lora_weights_reach_vllm_as_the_model_without_adapters_names_them() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlef_plugin.openrlhf_ext.policy import merged_parameters

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    plain = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    names = {name: parameter.shape for name, parameter in plain.named_parameters()}
    start = {name: parameter.clone() for name, parameter in plain.named_parameters()}
    adapted = get_peft_model(plain, LoraConfig(r=2, lora_alpha=8, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
    sent = {name: parameter.data.clone() for name, parameter in merged_parameters(adapted)}
    same("names and shapes", {name: data.shape for name, data in sent.items()}, names)
    ids = torch.arange(12).view(1, 12)
    expected = adapted(input_ids=ids).logits
    fresh = LlamaForCausalLM(plain.config)
    fresh.load_state_dict(sent)
    difference = (fresh(input_ids=ids).logits - expected).abs().max()
    assert difference < 1e-5, f"logits with the sent weights differ by {difference}"
    changed = {name for name in sent if not torch.equal(sent[name], start[name])}
    assert changed == {name for name in names if "_proj" in name}, f"changed by the adapters: {changed}"


# --- driven: Ray


@in_host
def test_original_class_is_the_class_as_it_was_written() -> None:
    from rlef_plugin.openrlhf_ext.remote import original_class

    h = host()
    original = original_class(h.stock.Critic)
    where = f"openrlhf/{CRITIC}"
    same(where, {"forward", "append", "fit", "init_model_from_pretrained"} <= vars(original).keys(), True)
    same(f"{where} base", [base.__name__ for base in original.__bases__], ["BaseModelActor"])
    assert getattr(h.ppo_critic, original.__qualname__) is original, f"{where}: not importable by name"


@in_host
def test_our_actor_classes_travel_by_name() -> None:
    """A class sent by value brings copies of the host's methods along, whose `super()` then fails."""
    from ray import cloudpickle

    from rlef_plugin.openrlhf_ext import critic, policy, trainer

    for actor in (critic.TurnCriticActor, policy.PolicyActor, trainer.TrainerActor, trainer.AsyncTrainerActor):
        cls = actor.__ray_metadata__.modified_class
        sent = cloudpickle.dumps(cls)
        base = cls.__ray_actor_class__
        assert base.__module__.encode() in sent and base.__name__.encode() in sent, f"{base} is not sent by name"
        hosts = [one for one in base.__mro__ if one.__module__.startswith("openrlhf.")]
        assert hosts, f"{base} has no class of the host among its bases"
        for host_class in hosts:
            for name, method in vars(host_class).items():
                if inspect.isfunction(method):
                    code = method.__code__.co_code
                    assert code not in sent, f"{host_class.__name__}.{name} is sent by value: remote.py has to change"


FAKE_HOST = """
import ray
class Root:
    def hello(self): return ["root"]
@ray.remote
class Stock(Root):
    def hello(self): return [*super().hello(), "stock"]
"""
FAKE_PLUGIN = """
import ray
import fake_host
from rlef_plugin.openrlhf_ext.remote import original_class
class Ours(original_class(fake_host.Stock)):
    def ours(self): return [*self.hello(), "ours"]
OursActor = ray.remote(Ours)
fake_host.Stock = OursActor
"""
SEND = "import sys, fake_plugin; from ray import cloudpickle; sys.stdout.buffer.write(cloudpickle.dumps(MODIFIED))"
RECEIVE = "import sys; from ray import cloudpickle; print(cloudpickle.load(sys.stdin.buffer)().ours())"


def test_a_subclass_of_an_actor_works_in_a_fresh_process(tmp_path: Path) -> None:
    """Sent as Ray sends it; met without `remote.py`: "super(type, obj): obj must be an instance of type"."""
    (tmp_path / "fake_host.py").write_text(FAKE_HOST)
    (tmp_path / "fake_plugin.py").write_text(FAKE_PLUGIN)
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"}
    send = SEND.replace("MODIFIED", "fake_plugin.OursActor.__ray_metadata__.modified_class")
    sent = subprocess.run([sys.executable, "-c", send], capture_output=True, env=variables, timeout=120)
    assert sent.returncode == 0, sent.stderr.decode()
    received = subprocess.run(
        [sys.executable, "-c", RECEIVE], input=sent.stdout, capture_output=True, env=variables, timeout=120
    )
    assert received.stdout.decode() == "['root', 'stock', 'ours']\n", received.stderr.decode()


# --- driven: what the CPU host has put in place


@in_host
def test_the_cpu_host_has_patched_what_it_names() -> None:
    import torch

    h = host()
    same("torch.cuda", torch.cuda.current_device(), "cpu")
    same(f"openrlhf/{BUFFER}", str(h.replay_buffer.NaiveReplayBuffer(1).target_device), "cpu")
    same("torch elsewhere", str(torch.device("meta")), "meta")
    group = cpu_host.stateless_init_process_group
    same(f"openrlhf/{DISTRIBUTED}", h.distributed_util.stateless_init_process_group, group)
    same(f"openrlhf/{ACTOR}", h.ppo_actor.stateless_init_process_group, group)
    same(f"openrlhf/{WORKER}", h.vllm_worker_wrap.WorkerWrap.update_weight, cpu_host.update_weight)
    assert "flash_attn" not in sys.modules, "the stand-in for flash_attn is still there"
    import vllm

    made = vllm.AsyncEngineArgs(model=os.environ["WORK"], dtype="bfloat16", seed=3)
    same("vllm.AsyncEngineArgs", (made.dtype, made.seed), ("float32", 3))
    for name in cpu_host._PATCHES:
        assert name in sys.modules, f"{name} is patched, but the host does not import it"


@in_host
def test_the_cpu_host_computes_in_float32() -> None:
    import torch
    from openrlhf.utils.utils import convert_to_torch_dtype

    h = host()
    same(
        "openrlhf/models/model.py dtype", {str(one.dtype) for one in tiny_critic(None).parameters()}, {"torch.float32"}
    )
    same("openrlhf/utils/utils.py", convert_to_torch_dtype("bf16"), torch.float32)
    for name in ("get_train_ds_config", "get_eval_ds_config"):
        config = getattr(h.deepspeed, name)(offload=False)
        same(f"openrlhf/{DEEPSPEED} {name}", config["bf16"], {"enabled": False})


@in_host
def test_the_device_mesh_and_the_moving_average_are_on_the_cpu() -> None:
    import torch

    h = host()
    asked: list[Any] = []
    model, average = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average.weight.fill_(0.0)
    strategy = SimpleNamespace(time_steps={"ema": 0}, accumulated_gradient=1, use_dynamic_batch=False, stage=2)
    h.deepspeed.DeepspeedStrategy.moving_average(strategy, model, average, 0.75, "cuda")
    same(f"openrlhf/{DEEPSPEED} moving_average", average.weight.tolist(), [[0.25, 0.25]])
    patched = h.deepspeed.init_device_mesh
    inner = next(cell.cell_contents for cell in patched.__closure__ if callable(cell.cell_contents))
    assert inner.__name__ == "init_device_mesh", f"openrlhf/{DEEPSPEED}: init_device_mesh is not wrapped"
    module = SimpleNamespace(
        init_device_mesh=lambda *arguments, **names: asked.append((arguments, names)),
        DeepspeedStrategy=SimpleNamespace(moving_average=None),
        get_train_ds_config=dict,
        get_eval_ds_config=dict,
    )
    cpu_host._patch_deepspeed_strategy(module)
    module.init_device_mesh("cuda", (1, 1, 1), mesh_dim_names=("dp", "sp", "tp"))
    same("the mesh", asked, [(("cpu", (1, 1, 1)), {"mesh_dim_names": ("dp", "sp", "tp")})])


@in_host
def test_weights_are_collected_and_loaded_at_the_last() -> None:
    import torch

    sent = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    queue, loaded = list(sent.values()), []
    worker = host().vllm_worker_wrap.WorkerWrap()
    worker.model_config = SimpleNamespace(dtype=torch.float32)
    worker._model_update_group = SimpleNamespace(broadcast=lambda weight, src: weight.copy_(queue.pop(0)))
    worker.model_runner = SimpleNamespace(
        reload_weights=lambda weights_iterator: loaded.append(dict(weights_iterator))
    )
    for round_ in (1, 2):
        queue[:] = list(sent.values())
        worker.update_weight("a", torch.float32, (2,))
        same("nothing is loaded before the last", len(loaded), round_ - 1)
        worker.update_weight("b", torch.float32, (1, 1), empty_cache=True)
        got = {name: weight.tolist() for name, weight in loaded[-1].items()}
        same(f"loaded in round {round_}", got, {"a": [1.0, 2.0], "b": [[3.0]]})
    try:
        worker.update_weight("a", torch.float16, (2,))
    except TypeError as error:
        assert re.search("weight a arrives as torch.float16, vLLM holds torch.float32", str(error)), str(error)
    else:
        raise AssertionError("a weight of another type was taken")


@in_host
def test_the_weight_group_takes_the_hosts_calls() -> None:
    """`broadcast(tensor, src=0, stream=...)` on both sides, over vLLM's object broadcast. A weight is a view of
    DeepSpeed's buffer, which must not travel with each of them, nor be kept by the sender for each."""
    import pickle

    import torch

    wire: list[bytes] = []

    class Group:
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def broadcast_obj(self, obj: Any, src: int) -> Any:
            if self.rank == src:
                wire.append(pickle.dumps(obj))
            return pickle.loads(wire[-1])

    buffer = torch.tensor([1.5, 2.5, *[0.0] * 100_000], requires_grad=True)
    weight, received = buffer[:2], torch.zeros(2)
    cpu_host._WeightGroup(Group(0)).broadcast(weight.data, src=0, stream=torch.cuda.current_stream())
    cpu_host._WeightGroup(Group(1)).broadcast(received, src=0)
    same("received", received.tolist(), [1.5, 2.5])
    assert len(wire[0]) < 10_000, f"{len(wire[0])} bytes for two numbers"
