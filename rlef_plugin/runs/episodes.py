"""Metrics of a step's episodes: solve rates, verdicts, repairs, edits, lengths; docs/metrics.md defines each.

Every step has the same keys. A share or mean over nothing (no episode played turn 3) is NaN, never 0: a tracker leaves
a gap there, and metrics.jsonl says null.
"""

import math
from collections.abc import Iterable, Sequence

from rlef_plugin.env.behaviour import repairs, repeats
from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.runs.record import Record

VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
FAILURES = VERDICTS[1:]
NO_CODE = Verdict.INVALID_CODE.name.lower()


def mean(values: Iterable[float | None]) -> float:
    """Of the values that are there; NaN of none."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else math.nan


def episode_metrics(records: Sequence[Record], turn_limit: int) -> dict[str, float]:
    """Solve rate by turn, verdict shares by turn, repair rates and friends, over the episodes of one step."""
    responses = [turn for record in records for turn in record["turns"]]
    metrics = {
        "episode/solve_rate": mean(record["solved"] for record in records),
        "episode/false_hope": mean(record["public_passed"] and not record["solved"] for record in records),
        "episode/turns": mean(len(record["turns"]) for record in records),
        "episode/invalid_code": mean(turn["verdict"] == NO_CODE for turn in responses),
        "episode/truncated": mean(turn["truncated"] for turn in responses),
        "episode/repair_rate": mean(record["solved"] for record in records if len(record["turns"]) > 1),
    }
    for turn in range(turn_limit):
        solved = (record["solved"] and len(record["turns"]) <= turn + 1 for record in records)
        metrics[f"episode/solve_rate_turn{turn + 1}"] = mean(solved)
        metrics |= _of_turn(turn, records)
    return metrics | _repairs(records, turn_limit) | _edits(records, turn_limit) | _feedback(records, turn_limit)


def _of_turn(turn: int, records: Sequence[Record]) -> dict[str, float]:
    """Shares and means over the episodes that got to this turn (from 0)."""
    played = [record["turns"][turn] for record in records if len(record["turns"]) > turn]
    shares = {f"verdict_turn{turn + 1}/{name}": mean(one["verdict"] == name for one in played) for name in VERDICTS}
    return shares | {f"response_tokens/turn{turn + 1}": mean(one["response_tokens"] for one in played)}


def _repairs(records: Sequence[Record], turn_limit: int) -> dict[str, float]:
    counts = repairs(([turn["verdict"] for turn in record["turns"]], record["solved"]) for record in records)
    found = {key: repaired / failed for key, (repaired, failed) in counts.items()}
    keys = ((turn, name) for turn in range(turn_limit - 1) for name in FAILURES)
    return {f"repair_turn{turn + 1}/{name}": found.get((turn, name), math.nan) for turn, name in keys}


def _edits(records: Sequence[Record], turn_limit: int) -> dict[str, float]:
    """How a program differs from the one before it, by the turn of the later one."""
    repeated = [repeats([turn["code"] for turn in record["turns"]]) for record in records]
    similar = [[turn["chrf"] for turn in record["turns"]] for record in records]
    metrics = {}
    for turn in range(1, turn_limit):
        metrics[f"program/repeated_turn{turn + 1}"] = mean(one[turn] for one in repeated if len(one) > turn)
        metrics[f"program/chrf_turn{turn + 1}"] = mean(one[turn] for one in similar if len(one) > turn)
    return metrics


def _feedback(records: Sequence[Record], turn_limit: int) -> dict[str, float]:
    """Tokens of the message after each turn; messages are problem, response, feedback, response, ..."""
    metrics = {}
    for turn in range(turn_limit - 1):
        place = 2 * turn + 2
        tokens = (record["messages"][place]["tokens"] for record in records if len(record["messages"]) > place)
        metrics[f"feedback_tokens/turn{turn + 1}"] = mean(tokens)
    return metrics
