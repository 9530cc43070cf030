"""Records -> the rows of a store's files; layout.py has their columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rlef_plugin.problems.layout import PLAIN_COLUMNS, SOLUTION_SCHEMA
from rlef_plugin.problems.records import Problem, Solution, TestCase


def fingerprint(problem: Problem) -> str:
    """Of all that matters to a program: id, name and split left out, order of the tests kept."""
    content: dict[str, Any] = {one.name: getattr(problem, one.name) for one in fields(problem)}
    content |= {"id": "", "name": "", "split": ""}
    content |= {kind: [(one.input, one.output) for one in content[kind]] for kind in ("public_tests", "private_tests")}
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def statement(description: str, metadata: Mapping[str, Any]) -> str:
    """Equal for problems that ask for the same, however their texts are spaced and whatever their tests and limits."""
    asked = [" ".join(description.casefold().split()), (metadata.get("call") or {}).get("entry_point")]
    return hashlib.blake2b(json.dumps(asked).encode("utf-8", "replace"), digest_size=16).hexdigest()


def problem_row(problem: Problem) -> dict[str, Any]:
    row = {name: getattr(problem, name) for name in PLAIN_COLUMNS}
    row["metadata"] = json.dumps(problem.metadata) if problem.metadata else None
    for kind, tests in (("public", problem.public_tests), ("private", problem.private_tests)):
        row |= _columns(kind, tests)
    return row


def _columns(kind: str, tests: Sequence[TestCase]) -> dict[str, list[str]]:
    return {f"{kind}_inputs": [test.input for test in tests], f"{kind}_outputs": [test.output for test in tests]}


def solution_row(solutions: Sequence[Solution]) -> dict[str, list[Any]]:
    """Correct ones first, else in their order."""
    ordered = sorted(solutions, key=lambda one: not one.correct)
    return {key: [getattr(one, key) for one in ordered] for key in SOLUTION_SCHEMA.names}


def prompt_line(row: dict[str, Any]) -> str:
    return json.dumps({"prompt": row["id"], "label": row["id"], "datasource": row["split"]}) + "\n"
