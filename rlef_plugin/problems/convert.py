"""A raw row in CodeContests' schema -> a Problem and its Solutions, or a RowError that names the field.

Read are the keys in FIELDS. Tests are {"input": [...], "output": [...]} as in the Hugging Face form, or a list of
{"input": ..., "output": ...}, which is easier on people; solutions likewise. Every value is checked and none is
converted on a guess: a number where text should be is an error, not a string.

A row is *malformed* if a value is not what the schema says, and *dropped* if it is well-formed but of no use: no
description, a test that expects more than a program may print, no public tests to give feedback on, no tests that
decide. For those the source's generated tests count too, except in the training split, where the paper takes problems
with private tests only. Solutions in other languages than Python 3 are counted and left behind.
Not here: whether solutions are right, and anything that compares rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlef_plugin.judge.verdicts import MAX_OUTPUT_BYTES
from rlef_plugin.problems.attributes import (
    DIFFICULTIES,
    SOURCES,
    checker,
    file_name,
    label,
    memory_limit_mb,
    metadata,
    split_of,
    time_limit_s,
)
from rlef_plugin.problems.fields import RowError, kind_of, number, optional_text, records, text
from rlef_plugin.problems.records import Problem, Solution, TestCase

FIELDS = (
    "name description split public_tests private_tests generated_tests time_limit time_limit_s memory_limit_bytes "
    "memory_limit_mb input_file output_file source difficulty checker metadata solutions incorrect_solutions"
).split()
IGNORED = (  # CodeContests' own that training has no use for
    "cf_contest_id cf_index cf_points cf_rating cf_tags is_description_translated untranslated_description"
).split()
PYTHON3 = 3
VERDICTS = {
    "WA": "wrong_output",
    "RE": "exception",
    "TLE": "timeout",
    "MLE": "out_of_memory",
    "OLE": "output_limit",
    "CE": "invalid_code",
}


@dataclass(frozen=True, slots=True)
class Converted:
    """A row's content. `problem.id` is still the plain name: ids are given by build.py, which knows the others."""

    problem: Problem
    solutions: tuple[Solution, ...]
    other_languages: int  # solutions that are not Python 3


def convert(row: Mapping[str, Any], *, split: str, name: str, generated_suffice: bool = False) -> Converted:
    """One row's records; `split` and `name` are used where the row has none.

    Raises:
        RowError: the row is malformed or of no use.
    """
    for key in ("public_tests", "private_tests"):
        if key not in row:
            raise RowError(key, "is missing")
    public, private, generated = (_tests(row, f"{kind}_tests") for kind in ("public", "private", "generated"))
    right, others = _solutions(row, "solutions", correct=True)
    wrong, more_others = _solutions(row, "incorrect_solutions", correct=False)
    row_name = optional_text(row, "name") or name
    problem = Problem(
        id=row_name,
        name=row_name,
        description=text(row.get("description"), "description"),
        public_tests=public,
        private_tests=private + generated,
        time_limit_s=time_limit_s(row),
        memory_limit_mb=memory_limit_mb(row),
        input_file=file_name(row, "input_file"),
        output_file=file_name(row, "output_file"),
        split=split_of(row, split),
        source=label(row, "source", SOURCES),
        difficulty=label(row, "difficulty", DIFFICULTIES),
        checker=checker(row),
        metadata=metadata(row),
    )
    _check_use(problem, bool(private), generated_suffice or problem.split != "train")
    return Converted(problem, right + wrong, others + more_others)


def _check_use(problem: Problem, has_private: bool, generated_suffice: bool) -> None:
    if not problem.description.strip():
        raise RowError("description", "is empty", "dropped")
    if not problem.public_tests:
        raise RowError("public_tests", "is empty", "dropped")
    if not problem.private_tests:
        raise RowError("private_tests", "is empty", "dropped")
    if not has_private and not generated_suffice:
        raise RowError("private_tests", "is empty (there are generated tests)", "dropped")


def _tests(row: Mapping[str, Any], key: str) -> tuple[TestCase, ...]:
    rows = records(row.get(key), key, ("input", "output"))
    return tuple(
        TestCase(text(one["input"], f"{key}.input[{i}]"), _output(one["output"], f"{key}.output[{i}]"))
        for i, one in enumerate(rows)
    )


def _output(value: Any, field: str) -> str:
    """What a program can print: nobody could pass a test that expects more."""
    output = text(value, field)
    size = len(output.encode()) if 4 * len(output) > MAX_OUTPUT_BYTES else len(output)
    if size > MAX_OUTPUT_BYTES:
        raise RowError(field, f"has {size:,} bytes, but a program may print {MAX_OUTPUT_BYTES:,} at most", "dropped")
    return output


def _solutions(row: Mapping[str, Any], key: str, *, correct: bool) -> tuple[tuple[Solution, ...], int]:
    rows = records(row.get(key), key, ("language", "solution"), ("verdict",))
    kept = []
    for i, one in enumerate(rows):
        if number(one["language"], f"{key}.language[{i}]") == PYTHON3:
            code = text(one["solution"], f"{key}.solution[{i}]")
            verdict = None if correct else _verdict(one.get("verdict"), f"{key}.verdict[{i}]")
            kept.append(Solution(code, correct, verdict))
    return tuple(kept), len(rows) - len(kept)


def _verdict(value: Any, field: str) -> str | None:
    if value in (None, ""):
        return None
    verdict = VERDICTS.get(value, value) if isinstance(value, str) else value
    if verdict not in VERDICTS.values():
        raise RowError(field, f"is {kind_of(value)}, not one of {', '.join((*VERDICTS.values(), *VERDICTS))}")
    return str(verdict)
