"""What the plugin relies on in OpenRLHF 0.11, Ray and vLLM, driven: the host's own classes with ours, on a CPU.

`@in_host` runs a test in a process that imported the host as a worker of the CPU host does; there is one a session
(`host_process` in conftest.py). pytest does not rewrite asserts there, so each test says what it compared (`same`),
and names the host's file. What can be read without importing the host is in test_host_source.py.
"""

import asyncio
import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.env import EnvConfig
from rlef_plugin.openrlhf_ext import cpu_host
from rlef_plugin.runs.timeline import Clock

REPO = Path(__file__).resolve().parents[1]
IN_HOST: dict[tuple[str, str], Callable[[], None]] = {}


def in_host(test: Callable[[], None]) -> Callable[[ProcessPoolExecutor], None]:
    """Run this test where the host is imported; what it raises is raised here."""

    def run(host_process: ProcessPoolExecutor) -> None:
        host_process.submit(_call, test.__module__, test.__name__).result(timeout=600)

    IN_HOST[test.__module__, test.__name__] = test
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contextmanager
def started() -> Iterator[ProcessPoolExecutor]:
    """The process; it imports the host when it runs its first test."""
    with tempfile.TemporaryDirectory() as work:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=_prepare, initargs=(work,)) as pool:
            yield pool


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


def _call(module: str, name: str) -> None:
    host()
    importlib.import_module(module)
    IN_HOST[module, name]()


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


def played(*kinds: str, label: str = "bb", logprobs: int | None = 1) -> tuple[dict[str, Any], Any]:
    """A result of our executor, and what the host makes of it."""
    from scripted import ScriptedEngine, ScriptedJudge, reply
    from tiny_tokenizers import family_tokenizer
    from vllm import SamplingParams

    from rlef_plugin.openrlhf_ext import executor

    async def open_patient_judge(config: Any) -> ScriptedJudge:
        return ScriptedJudge()

    executor.open_patient_judge = open_patient_judge
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


def played_once(kind: str, config: str) -> Any:
    now, os.environ[VARIABLE] = os.environ[VARIABLE], config
    try:
        return played(kind)[1]
    finally:
        os.environ[VARIABLE] = now
