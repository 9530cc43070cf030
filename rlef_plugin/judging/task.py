"""A problem of a store or of a file, and a program to judge."""

import json
import sys
from pathlib import Path
from typing import Any

from rlef_plugin.errors import UsageError
from rlef_plugin.problems import Problem, ProblemStore, read_rows
from rlef_plugin.problems.convert import convert
from rlef_plugin.problems.fields import RowError


def stored_problem(store: Path, problem_id: str) -> Problem:
    return ProblemStore.open(store)[problem_id]


def problem_in(file: Path) -> Problem:
    """The one problem of a .json file, or of any file that `rlef data build` reads; a description is not needed.

    Raises:
        UsageError: it cannot be read, is no problem, or is several.
    """
    row = {"description": "-"} | (_json(file) if file.suffix == ".json" else _only_row(file))
    try:
        return convert(row, split="train", name=file.name.partition(".")[0], generated_suffice=True).problem
    except RowError as error:
        raise UsageError(f"{file} is not a problem: {error.field} {error.reason}") from None


def _json(file: Path) -> dict[str, Any]:
    try:
        row = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read as JSON ({error}): give a file with one JSON object") from None
    if not isinstance(row, dict):
        raise UsageError(f"{file} holds a {type(row).__name__}, but one problem is one JSON object")
    return row


def _only_row(file: Path) -> dict[str, Any]:
    rows = read_rows(file)
    row, more = next(rows, None), next(rows, None)
    if row is None or row.broken:
        why = row.broken if row is not None and file.read_bytes().strip() else "is empty"
        raise UsageError(f"{file} holds no problem: it {why}")
    if more is not None:
        raise UsageError(f"{file} holds several problems: make a store of it with `rlef data build`, and use --store")
    return dict(row)


def program_in(file: Path) -> str:
    """The text of a file; "-" is standard input."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"the program {file} cannot be read ({error.strerror}): name a Python file, or -") from None
    return data.decode("utf-8", "surrogateescape")
