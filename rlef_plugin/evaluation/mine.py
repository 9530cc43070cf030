"""`rlef mine`: solved rollouts as supervised examples, for the paper's SFT baseline (docs/paper.md section 8).

    evaluations -> solved rollouts -> one of each program -> sft.jsonl: {"messages": [...], "problem": ..., "turns": n}

A row is a dialog in the host's format for `train_sft` with `--data.input_key messages --data.apply_chat_template`: it
takes the loss on the last message alone, which here is the response that solved the problem; failed attempts before it
are only read. Solved means that every test passed, also the private ones; none of them is in a row. The paper draws
each response's temperature from U(0.1, 1.0): `rlef eval --temperature 0.1 --temperature-to 1.0`. Refused, unless asked
for, are evaluations of other problems than the training split's, and those whose feedback told of private tests.

Two rollouts of a problem are the same if their last programs are, up to comments and layout; the one with more turns
is kept, since attempts at repair are what is rare.
"""

import ast
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.rollouts import Rollout, by_problem, count, read
from rlef_plugin.evaluation.run import ROLLOUTS


def check_trainable(name: str, settings: Mapping[str, Any]) -> None:
    """That a model may be trained on an evaluation.

    Raises:
        UsageError: it is of problems that are kept for evaluation, or the model was told of private tests.
    """
    if settings["split"] != "train":
        raise UsageError(
            f"{name} is an evaluation of split {settings['split']!r}, whose problems are not for training: evaluate "
            "--split train, or ask for it with --any-split"
        )
    refuse_private(name, settings)


def refuse_private(name: str, settings: Mapping[str, Any]) -> None:
    """Raise UsageError if the model was told of private tests."""
    if settings["episode"].get("feedback") == "private":
        raise UsageError(
            f"{name} has rlef.feedback=private, so private tests are in its dialogs: evaluate with other feedback, "
            "or ask for it with --any-split"
        )


def collect(folders: Sequence[Path], per_problem: int = 0) -> tuple[list[Rollout], int]:
    """(`successes` of these evaluations, how many rollouts they have). Only the chosen ones' texts are read.

    Raises:
        UsageError: a folder holds no rollouts.
    """
    places = [folder / ROLLOUTS for folder in folders]
    solved = [read(place, texts=False, where=lambda one: one.solved) for place in places]
    run_of = {id(one): run for run, found in enumerate(solved) for one in found}
    chosen = [(run_of[id(one)], one.key) for one in successes(chain(*solved), per_problem)]
    whole = {
        (run, one.key): one
        for run, place in enumerate(places)
        for one in read(place, where=lambda one, run=run, wanted=set(chosen): (run, one.key) in wanted)  # type: ignore[misc]
    }
    return [whole[which] for which in chosen], sum(map(count, places))


def successes(rollouts: Iterable[Rollout], per_problem: int = 0) -> list[Rollout]:
    """Solved rollouts, one of each last program, those with more turns first; at most `per_problem` (0 = all)."""
    chosen: list[Rollout] = []
    for group in by_problem(rollouts).values():
        ordered = sorted((one for one in group if one.solved), key=lambda one: (-len(one.turns), one.index))
        distinct = {same_program(one.turns[-1].code or ""): one for one in reversed(ordered)}
        chosen += sorted(distinct.values(), key=ordered.index)[: per_problem or None]
    return chosen


def same_program(code: str) -> str:
    """Equal for two programs that differ in comments and layout alone."""
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # of another Python, or too deep: by its text
        return code.strip()


def row(rollout: Rollout) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.text} for message in rollout.messages]
    return {"messages": messages, "problem": rollout.problem, "turns": len(rollout.turns)}


def write(rollouts: Sequence[Rollout], out: Path) -> None:
    """All at once: a file that is there is whole.

    Raises:
        UsageError: there is nothing to write.
    """
    if not rollouts:
        raise UsageError("no rollout solved its problem, so there is nothing to learn from: play more of them")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    unfinished.write_text("".join(json.dumps(row(one)) + "\n" for one in rollouts))
    os.replace(unfinished, out)
