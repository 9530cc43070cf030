"""Episodes through any OpenAI-compatible server, by its chat completions: no host, no GPU on this side.

The environment is the one of training; what differs from it is said here. The server applies its own chat template, so
its tokens are not ours to check. A token budget is counted by `settings.tokenizer` where one is named, else taken to
be a third of the characters; what the server says it has read and written counts first. A server may ignore `seed`. A
response that opens with the environment's own text (HumanEval+) needs a server that continues a last assistant
message, as vLLM's does.

A server that fails for a while, or limits the rate, is asked again for about five minutes, then the evaluation ends;
the same command goes on from there. A request that it refuses (4xx) ends the evaluation at once, but for one that is
too long for the server's context. That one is asked once more without a limit of its own, which to vLLM and OpenAI
means all that is left of the context, and that is less than the limit was; refused again, the conversation itself is
too long, and the episode ends with a last response that is empty.
"""

import asyncio
import math
import os
import re
import time
from collections.abc import Callable
from typing import Any

from rlef_plugin.env import load_environment
from rlef_plugin.env.base import Step
from rlef_plugin.env.settings import room_for_response
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.play import draws, rollout_of
from rlef_plugin.evaluation.rollouts import Rollout
from rlef_plugin.evaluation.settings import EvalSettings
from rlef_plugin.judge import Judge, open_patient_judge
from rlef_plugin.problems import ProblemStores

RETRIES = 40  # the client waits up to 8 s between two: about five minutes
TIMEOUT_S, CONNECT_S = 600, 10  # of one response
GIVE_UP_S = 2 * TIMEOUT_S + 300  # of one response, all tries together: the client asks again after a time-out too
TEMPLATE_TOKENS = 32  # around a message
TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum (model )?length|longer than|too long|max_tokens must be at least",
    re.IGNORECASE,
)
AGAIN = "what was played is kept, and the same command goes on from there"
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}  # vLLM's extension


class ServerPlayer:
    """Plays episodes against a server; `open_player` makes one and checks that the server answers."""

    def __init__(self, settings: EvalSettings, client: Any, judge: Judge) -> None:
        self.settings, self.client, self.judge = settings, client, judge
        self.in_flight = settings.in_flight
        self.problems = ProblemStores.open(settings.config.stores)
        self.environment = load_environment(settings.config.env)
        self.count_tokens = _counter(settings.tokenizer)

    async def play(self, problem_id: str, index: int) -> Rollout:
        env = self.environment(self.problems, self.judge, self.settings.config.episode, self.count_tokens)
        texts = [await env.reset(problem_id)]
        drawn = draws(self.settings, problem_id, index)
        steps: list[Step] = []
        tokens: list[int] = []
        seconds: list[float] = []
        context = 0  # tokens of the conversation up to the last response
        while not steps or not steps[-1].done:
            started = time.monotonic()
            frame = self.count_tokens(env.prefill) + TEMPLATE_TOKENS
            counted = bool(steps or self.settings.tokenizer)  # a whole problem is too long to estimate
            room = self.settings.max_len - context - frame - (self.count_tokens(texts[-1]) if counted else 0)
            try:
                text, written, context = await self._respond(texts, env.prefill, room, *next(drawn))
            except _TooLongError as error:
                if not steps:
                    raise _no_room(problem_id, str(error)) from None
                text, written, context = "", 0, self.settings.max_len
            seconds.append(time.monotonic() - started)
            tokens.append(written)
            response = room_for_response(self.settings.max_new_tokens)
            needed = self.settings.config.episode.feedback_tokens + frame + response
            steps.append(await env.step(text, last=context + needed > self.settings.max_len))
            texts += [env.prefill + text] if steps[-1].done else [env.prefill + text, steps[-1].observation]
        return rollout_of(problem_id, index, steps, texts, tokens, seconds)

    async def _respond(
        self, texts: list[str], prefill: str, room: int, temperature: float, seed: int
    ) -> tuple[str, int, int]:
        """(response, its tokens, tokens of the whole conversation after it); `room` is in tokens."""
        import openai

        if room < 1:
            raise _TooLongError(f"{room} of --max-len {self.settings.max_len} tokens are left")
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
        messages += [{"role": "assistant", "content": prefill}] if prefill else []
        request = {
            "model": self.settings.model,
            "messages": messages,
            "temperature": temperature,
            "top_p": self.settings.top_p,
            "seed": seed,
            "extra_body": CONTINUE if prefill else None,
        }
        create = self.client.chat.completions.create
        try:
            async with asyncio.timeout(GIVE_UP_S):
                try:
                    answer = await create(**request, max_tokens=min(self.settings.max_new_tokens, room))
                except openai.BadRequestError as error:
                    if not TOO_LONG.search(str(error)):
                        raise
                    answer = await create(**request)
        except openai.OpenAIError as error:
            raise self._failure(error) from None
        except TimeoutError:
            raise self._failure(TimeoutError(f"no response in {GIVE_UP_S:g} s")) from None
        text = (answer.choices[0].message.content or "").encode(errors="replace").decode()  # no lone surrogates
        usage = answer.usage
        written = usage.completion_tokens if usage else self.count_tokens(text)
        return text, written, usage.total_tokens if usage else sum(map(self.count_tokens, [*texts, text]))

    def _failure(self, error: Exception) -> Exception:
        status, said = getattr(error, "status_code", 0), _sentence(error)
        if status == 400 and TOO_LONG.search(str(error)):
            return _TooLongError(said)
        if 400 <= status < 500 and status not in (408, 409, 429):  # those the client has asked again
            return UsageError(f"the server at {self.settings.url} refuses a request ({said}): change that; {AGAIN}")
        return UsageError(f"the server at {self.settings.url} failed for minutes ({said}): {AGAIN}")

    async def close(self) -> None:
        await self.client.close()
        await self.judge.close()


class _TooLongError(Exception):
    """A conversation leaves no room for a response."""


def _no_room(problem_id: str, said: str) -> UsageError:
    return UsageError(
        f"the first message of problem {problem_id!r} leaves no room for a response ({said}): raise --max-len and the "
        "server's context, lower --max-new-tokens, or leave the problem out of the store"
    )


async def check(settings: EvalSettings) -> None:
    """That the evaluation can start, before anything is kept of it.

    Raises:
        UsageError: the client is not installed, nothing answers at the URL, it does not serve the model, or not with a
            context of --max-len (which vLLM tells, others do not).
    """
    client = _client(settings)
    _counter(settings.tokenizer)
    import openai

    try:
        async with client.with_options(max_retries=1, timeout=30) as asked:
            served = {model.id: getattr(model, "max_model_len", None) async for model in asked.models.list()}
    except openai.OpenAIError as error:
        raise UsageError(
            f"no OpenAI-compatible server answers at {settings.url} ({_sentence(error)}): start it, or change --url "
            "(it usually ends in /v1)"
        ) from None
    if settings.model not in served:
        raise UsageError(
            f"the server at {settings.url} serves {', '.join(served)}, not {settings.model!r}: change --model"
        )
    context = served[settings.model]
    if context and context < settings.max_len:
        raise UsageError(
            f"the server at {settings.url} has a context of {context} tokens and --max-len is {settings.max_len}, so "
            f"episodes would end without the turns they have room for: set --max-len {context} or serve a longer one"
        )


async def open_player(settings: EvalSettings) -> ServerPlayer:
    return ServerPlayer(settings, _client(settings), await open_patient_judge(settings.config.judge))


def _client(settings: EvalSettings) -> Any:
    try:
        import openai
    except ImportError:
        raise UsageError("--url needs the package openai, which is not installed: pip install openai") from None
    key, timeout = os.environ.get("OPENAI_API_KEY", "none"), openai.Timeout(TIMEOUT_S, connect=CONNECT_S)
    return openai.AsyncOpenAI(base_url=settings.url, api_key=key, max_retries=RETRIES, timeout=timeout)


def _counter(tokenizer: str) -> Callable[[str], int]:
    if not tokenizer:
        return lambda text: math.ceil(len(text) / 3)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise UsageError(f"--tokenizer {tokenizer!r} does not load ({_sentence(error)}): name another") from None
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
