"""Dialogs to warm a tiny model up on, made from the stored solutions of a problem store.

An attempt is one of a problem's stored programs; after a wrong one comes the feedback that the environment and the
judge really give to it, then another attempt. So the model starts with some idea of the format, of right and wrong
programs, and of what feedback looks like. How often an attempt is right is a parameter.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlef_plugin.env import CodeContestsEnv, Dialog, EnvConfig
from rlef_plugin.judge import Judge
from rlef_plugin.problems import ProblemStore
from rlef_plugin.tiny.model import Example

Count = Callable[[str], int]  # text -> its number of tokens
Encode = Callable[[str], list[int]]  # text of a response -> token ids


@dataclass(frozen=True, slots=True)
class Material:
    """What can be said about one problem."""

    first_message: str
    right: list[str]  # responses
    wrong: list[tuple[str, str]]  # responses, each with its feedback; "" for one that passes the public tests only


def response(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


async def collect(
    store: ProblemStore, split: str, judge: Judge, config: EnvConfig, count: Count, longest: int
) -> list[Material]:
    """Judge stored solutions that make a response of at most `longest` characters, for the feedback they get.

    Two right and two wrong ones a problem: a tiny model has to see each of them a few dozen times.
    """

    async def of(problem_id: str) -> Material:
        right: list[str] = []
        wrong: list[tuple[str, str]] = []
        first_message = ""
        for solution in store.solutions(problem_id):
            kept = right if solution.correct else wrong
            if len(kept) == 2 or len(response(solution.code)) > longest:
                continue
            env = CodeContestsEnv(store, judge, config, count)
            first_message = await env.reset(problem_id)
            step = await env.step(response(solution.code))
            if solution.correct and step.solved:
                right.append(response(solution.code))
            elif not step.solved:
                wrong.append((response(solution.code), step.observation))
        return Material(first_message, right, wrong)

    found = await asyncio.gather(*(of(problem_id) for problem_id in store.ids(split)))
    return [material for material in found if material.right and material.wrong]


def draw(
    material: list[Material],
    dialog: Dialog,
    encode: Encode,
    rng: random.Random,
    *,
    right_share: Sequence[float],
    turn_limit: int,
) -> Example:
    """One dialog of up to `turn_limit` attempts; attempt t is right with probability `right_share[t]`."""
    problem, end_of_turn = rng.choice(material), dialog.end_of_turn_id
    assert end_of_turn is not None, "the tiny template ends a turn with one token"
    ids = dialog.prompt_tokens(problem.first_message)
    learned = [False] * len(ids)
    for turn in range(turn_limit):
        right = rng.random() < right_share[turn]
        text, feedback = (rng.choice(problem.right), "") if right else rng.choice(problem.wrong)
        written = [*encode(text), end_of_turn]
        ids, learned = ids + written, learned + [True] * len(written)
        if not feedback or turn == turn_limit - 1:
            break
        shown = dialog.feedback_tokens(feedback, written[-1])
        ids, learned = ids + shown, learned + [False] * len(shown)
    return Example(ids, learned)
