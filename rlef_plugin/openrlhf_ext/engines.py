"""vLLM engines for evaluation: the host's own rollout actors, with the executor of training inside.

    rlef eval -> Ray -> the host's `create_vllm_engines` -> actor: executor (environment, judge) + vLLM -> rollouts

One actor an engine, so several are data parallel, and one may have several GPUs (tensor parallel). As many rollouts of
a problem as an engine plays at once go to the same one, whose prefix cache then holds the problem; with all of them
there, other engines would stand idle. Each response has a seed of its own, so what is sampled does not depend on what
else is in flight, up to the engine's arithmetic; on the CPU host, whose vLLM cannot do that, only the engines are
seeded, anew for each number of rollouts that are there already. Sampled token ids are not kept: an evaluation reads
text.
"""

from typing import Any

import ray
from openrlhf.trainer.ray import vllm_engine
from vllm import SamplingParams

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.play import draws, engine_seed, rollout_of
from rlef_plugin.evaluation.rollouts import Rollout
from rlef_plugin.evaluation.settings import EvalSettings
from rlef_plugin.openrlhf_ext import AGENT_FILE
from rlef_plugin.openrlhf_ext.remote import original_class


class EvaluationEngine(original_class(vllm_engine.RolloutRayActor)):  # type: ignore[misc]
    """One engine and its executor; plays many episodes at once."""

    async def play(self, problem_id: str, index: int, settings: EvalSettings) -> Rollout:
        sampling = SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_new_tokens,
            min_tokens=1,
            skip_special_tokens=False,  # as in training
        )
        sampled = SampledEngine(self, settings, problem_id, index)
        episode = await self.executor.play(problem_id, sampling, settings.max_len, sampled)
        lengths = [end - start for start, end in episode.action_ranges]
        return rollout_of(problem_id, index, episode.steps, episode.texts, lengths, episode.generate_s)


class SampledEngine:
    """The engine as one rollout sees it: every response with a temperature and a seed of its own."""

    def __init__(self, engine: EvaluationEngine, settings: EvalSettings, problem_id: str, index: int) -> None:
        self.engine, self.settings, self.kwargs = engine, settings, engine.kwargs
        self.draws = draws(settings, problem_id, index)

    async def generate(self, tokens: list[int], params: SamplingParams) -> Any:
        temperature, seed = next(self.draws)
        params.temperature = temperature
        # vLLM rewinds the generator of a prompt prefilled in pieces, which a CPU generator cannot do.
        params.seed = None if self.settings.config.cpu_host else seed
        return await self.engine.generate(tokens, params)


class EnginePlayer:
    """All engines of an evaluation; made in a process where Ray runs with our settings (`launcher.ray_running`)."""

    def __init__(self, settings: EvalSettings, kept: int = 0) -> None:
        """`kept`: rollouts of earlier sessions in the evaluation's folder.

        Raises:
            UsageError: Ray has fewer GPUs than asked for; the host would wait for more.
        """
        self.settings = settings
        needed, there = settings.engines * settings.tensor_parallel, int(ray.cluster_resources().get("GPU", 0))
        if there < needed:
            raise UsageError(
                f"--engines {settings.engines} of --tensor-parallel {settings.tensor_parallel} need {needed} GPUs, "
                f"but Ray has {there}: ask for fewer, or start Ray on more nodes"
            )
        self.in_flight = settings.in_flight * settings.engines
        self.playing = [0] * settings.engines
        self.engine_of: dict[tuple[str, int], int] = {}  # problem, block of its rollouts
        vllm_engine.RolloutRayActor = ray.remote(EvaluationEngine)
        self.engines = vllm_engine.create_vllm_engines(
            num_engines=settings.engines,
            tensor_parallel_size=settings.tensor_parallel,
            pretrain=settings.model,
            seed=engine_seed(settings.seed, kept),
            full_determinism=False,
            enable_prefix_caching=True,
            enforce_eager=settings.config.cpu_host,
            max_model_len=settings.max_len,
            gpu_memory_utilization=0.3 if settings.config.cpu_host else 0.9,
            agent_func_path=str(AGENT_FILE),
        )
        ray.get([engine.get_num_unfinished_requests.remote() for engine in self.engines])  # until they have started

    async def play(self, problem_id: str, index: int) -> Rollout:
        block = problem_id, index // self.settings.in_flight
        engine = self.engine_of.setdefault(block, min(range(len(self.engines)), key=self.playing.__getitem__))
        self.playing[engine] += 1
        try:
            return await self.engines[engine].play.remote(problem_id, index, self.settings)
        finally:
            self.playing[engine] -= 1

    async def close(self) -> None:
        """Ray's end ends the engines (`launcher.ray_running`)."""
