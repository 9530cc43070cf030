"""Examples before the problem: successful dialogs of other problems, as text in the first message.

The paper's few-shot baseline (docs/paper.md section 8). The file is what `rlef mine` writes. Two examples are shown:
the shortest dialog with two attempts and the shortest with three, which read feedback at the least cost in tokens.
A problem is never shown its own solution, nor that of one whose first message has its very description. They are text
and not turns, so that every chat template shows them alike and the learner's turns stay those of the episode.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from rlef_plugin.env.templates import Prompts
from rlef_plugin.errors import UsageError
from rlef_plugin.problems.records import Problem

ATTEMPTS = (2, 3)
SPEAKERS = {"user": "User", "assistant": "Assistant"}


def preamble(path: str, problem: Problem, prompts: Prompts) -> str:
    """What stands before the first message.

    Raises:
        UsageError: the file cannot be read, or has no example of some number of attempts from another problem.
    """
    chosen = [_shortest(path, attempts, problem) for attempts in ATTEMPTS]
    return prompts.fill("few_shot", examples="\n\n".join(map(_transcript, chosen)))


def check_examples(path: str) -> None:
    """That the file can be read and has an example of each number of attempts.

    Raises:
        UsageError: as `preamble`.
    """
    for attempts in ATTEMPTS:
        if not _by_length(path, attempts):
            raise UsageError(f"rlef.few_shot={path} has no dialog with {attempts} attempts: mine more rollouts")


def _shortest(path: str, attempts: int, problem: Problem) -> list[dict[str, str]]:
    told = problem.description.strip() or problem.id
    for _, solved, messages in _by_length(path, attempts):
        if solved != problem.id and told not in messages[0]["content"]:
            return messages
    raise UsageError(
        f"rlef.few_shot={path} has no dialog with {attempts} attempts for problem {problem.id!r}: mine more "
        "rollouts of other problems"
    )


@cache
def _by_length(path: str, attempts: int) -> list[tuple[int, str, list[dict[str, str]]]]:
    """(characters, problem, messages) of the dialogs with so many attempts, the shortest first."""
    try:
        rows: list[dict[str, Any]] = [json.loads(line) for line in Path(path).read_text().splitlines()]
        found = [
            (sum(len(message["content"]) for message in row["messages"]), row["problem"], row["messages"])
            for row in rows
            if row["turns"] == attempts
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"rlef.few_shot={path} cannot be read ({error!r}): name a file of `rlef mine`") from None
    return sorted(found, key=lambda one: one[:2])


def _transcript(messages: list[dict[str, str]]) -> str:
    return "\n\n".join(f"{SPEAKERS[message['role']]}: {message['content']}" for message in messages)
