"""Plays the rollouts that are missing, so many at once, and writes each when it ends.

Generation and judging of different episodes overlap because both are awaited; the bound on episodes at once is the
back-pressure on both. Order: problem by problem, so that episodes of one problem share the engine's prefix cache. A
broken judge or server ends the evaluation with its error; what had ended by then is kept, and the same command goes on
from there.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from rlef_plugin.env.base import Step
from rlef_plugin.evaluation.rollouts import Message, Rollout, RolloutFolder, Turn
from rlef_plugin.evaluation.settings import EvalSettings

Key = tuple[str, int]  # problem id, index of the rollout


class Player(Protocol):
    """Where episodes are played."""

    in_flight: int  # how many episodes it can use at once

    async def play(self, problem_id: str, index: int) -> Rollout: ...

    async def close(self) -> None: ...


def missing(problems: Sequence[str], rollouts: int, done: RolloutFolder) -> list[Key]:
    keys = ((problem, index) for problem in problems for index in range(rollouts))
    return [key for key in keys if key not in done]


async def play_all(keys: Iterable[Key], player: Player, ended: Callable[[Rollout], None]) -> None:
    """`ended` is called in this event loop, once a rollout, in the order in which they end."""
    left = iter(keys)

    async def play_in_turn() -> None:
        for problem, index in left:
            ended(await player.play(problem, index))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(player.in_flight):
                group.create_task(play_in_turn())
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def rollout_of(
    problem: str,
    index: int,
    steps: Sequence[Step],
    texts: Sequence[str],
    tokens: Sequence[int],
    generate_s: Sequence[float],
) -> Rollout:
    """From an episode's steps and texts (user, assistant, user, ...); a number a response each."""
    turns = tuple(
        Turn(
            verdict=step.verdict.name.lower(),
            public_passed=step.public_passed,
            reward=step.reward,
            code=step.code,
            response_tokens=count,
            generate_s=seconds,
            judge_s=step.judge_s,
            cpu_s=step.cpu_s,
            memory_mb=step.memory_mb,
        )
        for step, count, seconds in zip(steps, tokens, generate_s, strict=True)
    )
    messages = tuple(Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts))
    return Rollout(problem, index, steps[-1].solved, turns, messages)


def draws(settings: EvalSettings, problem: str, index: int) -> Iterator[tuple[float, int]]:
    """(temperature, seed) of one rollout's responses, one after the other.

    The same for the same evaluation, whatever was played before and by which engine. Between two temperatures each
    response has one drawn uniformly.
    """
    digest = hashlib.sha256(f"{settings.seed}\n{index}\n{problem}".encode()).digest()
    source = random.Random(digest)
    while True:
        seed = source.getrandbits(48)
        warmer = settings.temperature_to or settings.temperature
        yield settings.temperature + (warmer - settings.temperature) * source.random(), seed


def engine_seed(seed: int, kept: int) -> int:
    """Where an engine's own random stream starts when `kept` rollouts are in the folder.

    A session that kept a rollout is never followed by one with its stream, which would play the same rollouts under
    other numbers. Engines of one session take this and the numbers after it.
    """
    digest = hashlib.sha256(f"engine\n{seed}\n{kept}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1  # numpy takes 32 bits, with the engine's number added


def _first(errors: BaseExceptionGroup) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
