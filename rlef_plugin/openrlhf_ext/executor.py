"""One episode through vLLM: the host's agent executor, with turns, feedback and rewards.

    prompt -> generate -> step (judge, awaited elsewhere) -> feedback -> generate ... -> final judging -> host's sample

The host calls `execute` in the rollout actor's event loop, once a sample, many at a time. Promised here:

- a response has at most `sampling_params.max_tokens` tokens in every turn, and an episode at most `max_length`;
- a response ends at the chat template's end of turn, also where the model's own settings do not name it;
- before a response is judged it is known whether another turn has room (feedback at its full budget, then a response
  of `room_for_response`); if not, that response is judged as the final one;
- generated token ids stay as sampled; feedback comes in through the chat template by difference (`env/dialog.py`);
- text that opens a response on the model's behalf (`Environment.prefill`) is prompt: it is not trained on;
- every sample has the same log keys, with per-turn lists padded to the turn limit.

A judge that fails is asked again for `rlef.judge.patience_s`, then raises: no episode is ever given a reward that was
not judged.
"""

import asyncio
import time
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from openrlhf.utils.agent import AgentExecutorBase

from rlef_plugin.config import RlefConfig
from rlef_plugin.env import Dialog, Environment, Step, load_environment
from rlef_plugin.env.settings import room_for_response
from rlef_plugin.judge import Judge, JudgeConfig, open_patient_judge
from rlef_plugin.problems import ProblemStores
from rlef_plugin.runs.record import Record, record_of

NO_VERDICT = -1  # pads `turn_verdicts` of turns that were not played


@dataclass
class Episode:
    """What the host wants back about one episode; token positions are indices into `tokens`."""

    tokens: list[int]
    action_ranges: list[tuple[int, int]] = field(default_factory=list)  # [start, end) of each response
    log_probs: list[float] = field(default_factory=list)  # of the sampled tokens, 0.0 elsewhere; len(tokens) if kept
    steps: list[Step] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # first message, response, feedback, response, ...
    asked_at: list[float] = field(default_factory=list)  # of each response: unix time of the request
    generate_s: list[float] = field(default_factory=list)  # of each response
    cut: list[bool] = field(default_factory=list)  # of each response: by length
    judged_at: list[float] = field(default_factory=list)  # of each response: unix time of its submission

    def add_response(self, ids: list[int], log_probs: list[float] | None) -> None:
        self.action_ranges.append((len(self.tokens), len(self.tokens) + len(ids)))
        self.tokens += ids
        self.log_probs += log_probs if log_probs is not None else []

    def add_feedback(self, ids: list[int], with_log_probs: bool) -> None:
        self.tokens += ids
        self.log_probs += [0.0] * len(ids) if with_log_probs else []

    def logs(self, turn_limit: int) -> dict[str, Any]:
        """One fixed key set; lists have length `turn_limit`."""
        unplayed = turn_limit - len(self.steps)
        return {
            "solved": float(self.steps[-1].solved),
            "public_passed": float(self.steps[-1].public_passed),
            "turns": float(len(self.steps)),
            "responses_truncated": float(sum(self.cut)),
            "judge_s": sum(step.judge_s for step in self.steps),
            "generate_s": sum(self.generate_s),
            "judge/checker_errors": float(sum(step.checker_errors for step in self.steps)),
            "judge/killed": float(sum(step.killed for step in self.steps)),
            "turn_rewards": [step.reward for step in self.steps] + [0.0] * unplayed,
            "turn_verdicts": [float(step.verdict) for step in self.steps] + [float(NO_VERDICT)] * unplayed,
        }

    def record(self, problem: str, judge: JudgeConfig) -> Record:
        generated = list(zip(self.asked_at, self.generate_s, strict=True))
        return record_of(
            problem, self.steps, self.texts, self.action_ranges, self.cut, generated, self.judged_at, judge
        )


class RlefAgentExecutor(AgentExecutorBase):  # type: ignore[misc]
    """Loaded by path in every rollout actor; opens the stores at once and the judge at the first episode."""

    def __init__(self) -> None:
        self.config = RlefConfig.from_environment()
        self.environment: type[Environment] = load_environment(self.config.env)
        self.problems = ProblemStores.open(self.config.stores)
        self.judge: Judge | None = None
        self.opening = asyncio.Lock()
        self.dialog: Dialog | None = None

    async def execute(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        llm_engine: Any,
        images: Any = None,
    ) -> dict[str, Any]:
        """Play one episode of problem `label`; the host's parameters and result keys."""
        episode = await self.play(label, sampling_params, max_length, llm_engine, hf_tokenizer)
        logs = episode.logs(self.config.episode.turn_limit)
        return {
            "prompt": prompt,
            "label": label,
            "images": images,
            "mm_train_inputs": None,
            "reward": sum(logs["turn_rewards"]),
            "scores": logs["solved"],
            "observation_tokens": episode.tokens,
            "action_ranges": episode.action_ranges,
            "rollout_log_probs": episode.log_probs or None,
            "truncated": any(episode.cut),
            "extra_logs": logs,
            "record": await asyncio.to_thread(episode.record, label, self.config.judge),  # for `RecordedSamples`
        }

    async def play(
        self, problem_id: str, sampling_params: Any, max_length: int, llm_engine: Any, hf_tokenizer: Any = None
    ) -> Episode:
        """One episode, as training and evaluation both see it. Without a tokenizer it is the engine's model's own."""
        judge = await self._one_judge()
        self.dialog = self.dialog or Dialog(hf_tokenizer or _tokenizer_of(llm_engine))
        env = self.environment(self.problems, judge, self.config.episode, self.dialog.count_tokens)
        with_log_probs = sampling_params.logprobs is not None
        first_message = await env.reset(problem_id)
        prompt = self.dialog.prompt_tokens(first_message, prefill=env.prefill)
        episode = Episode(prompt, texts=[first_message])
        episode.log_probs = [0.0] * len(episode.tokens) if with_log_probs else []
        while True:
            text = await self._respond(episode, problem_id, sampling_params, max_length, llm_engine)
            episode.judged_at.append(time.time())
            room = self._room_for_another_turn(episode, sampling_params.max_tokens, max_length, env.prefill)
            step = await env.step(text, last=not room)
            episode.steps.append(step)
            episode.texts.append(env.prefill + text)
            if step.done:
                return episode
            feedback = self.dialog.feedback_tokens(step.observation, episode.tokens[-1], prefill=env.prefill)
            episode.add_feedback(feedback, with_log_probs)
            episode.texts.append(step.observation)

    async def _one_judge(self) -> Judge:
        async with self.opening:  # the first episodes arrive together, and each would open a judge of its own
            if self.judge is None:
                self.judge = await open_patient_judge(self.config.judge)
            return self.judge

    async def _respond(
        self, episode: Episode, problem_id: str, sampling_params: Any, max_length: int, llm_engine: Any
    ) -> str:
        """Generate one response onto the episode and return its text."""
        room = max_length - len(episode.tokens)
        if room <= 0:
            raise ValueError(f"problem {problem_id}: {self._why_no_room(episode)} in data.max_len={max_length}")
        params = copy(sampling_params)  # the host shares one object between the samples of a prompt
        params.max_tokens = min(room, sampling_params.max_tokens or room)
        assert self.dialog is not None
        if self.dialog.end_of_turn_id is not None:
            params.stop_token_ids = [*(sampling_params.stop_token_ids or ()), self.dialog.end_of_turn_id]
        episode.asked_at.append(time.time())
        started = time.monotonic()
        output = (await llm_engine.generate(episode.tokens, params)).outputs[0]
        episode.generate_s.append(time.monotonic() - started)
        ids = list(output.token_ids)
        if not ids:
            raise RuntimeError(
                f"vLLM returned no token for problem {problem_id} (finish reason {output.finish_reason})"
            )
        episode.cut.append(output.finish_reason == "length")
        log_probs = None
        if sampling_params.logprobs is not None:
            log_probs = [at[token].logprob for token, at in zip(ids, output.logprobs, strict=True)]
        episode.add_response(ids, log_probs)
        return output.text

    def _room_for_another_turn(self, episode: Episode, max_tokens: int | None, max_length: int, prefill: str) -> bool:
        assert self.dialog is not None
        feedback = self.config.episode.feedback_tokens + self.dialog.closing_overhead(prefill)
        return len(episode.tokens) + feedback + room_for_response(max_tokens) <= max_length

    def _why_no_room(self, episode: Episode) -> str:
        """Only a message over its budget can take the room that was kept, since no turn is begun without it."""
        if not episode.action_ranges:
            return (
                f"its prompt of {len(episode.tokens)} tokens leaves no room for a response (raise data.max_len or "
                "drop the problem from the store)"
            )
        message, budget = len(episode.tokens) - episode.action_ranges[-1][1], self.config.episode.feedback_tokens
        return (
            f"feedback {len(episode.steps)} of {self.config.env}, {message} tokens with the template's own, is over "
            f"rlef.feedback_tokens={budget} and leaves no room for a response (shorten it or raise that budget)"
        )


def _tokenizer_of(llm_engine: Any) -> Any:
    """Of the model that the host's rollout actor was started with."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llm_engine.kwargs["model"], trust_remote_code=True)
