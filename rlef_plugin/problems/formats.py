"""Rows in other layouts -> rows in CodeContests' schema, which convert.py then checks.

    codecontests   ours: CodeContests' own, and what a user writes (see convert.py)
    taco           TACO's and APPS': `question`, and `input_output` as JSON, which does not say what is public
    evalplus       HumanEval+ and MBPP+ (evalplus.py)
    livecodebench  LiveCodeBench (livecodebench.py)

A format is a callable with a repr that says all its settings, since a build that was stopped is only continued with
the same ones. Its `columns` are what it reads of a parquet file; without them, all are read. What is wrong with a row
is a RowError here as there, and names the row's own field.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from rlef_plugin.problems.convert import PYTHON3
from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.fields import RowError, kind_of, optional_text, text

TACO_FIELDS = (
    "problem_id name question input_output solutions difficulty source split time_limit memory_limit starter_code"
).split()
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SECONDS = {"second": 1.0, "seconds": 1.0, "sec": 1.0, "s": 1.0, "ms": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3}
_MEGABYTES = {"megabytes": 1.0, "megabyte": 1.0, "mb": 1.0, "gigabytes": 1024.0, "kilobytes": 1 / 1024, "kb": 1 / 1024}


Adapt = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def open_format(name: str, public_tests: int = 1) -> AbstractContextManager[Adapt | None]:
    """The format of this name, None where rows are in our schema; some hold a judge while they are open.

    Raises:
        StoreError: there is no format of this name.
    """
    match name:
        case "codecontests":
            return nullcontext()
        case "taco":
            return nullcontext(Taco(public_tests))
        case "evalplus":
            from rlef_plugin.problems.evalplus import EvalPlus

            return EvalPlus()
        case "livecodebench":
            from rlef_plugin.problems.livecodebench import LiveCodeBench

            return nullcontext(LiveCodeBench())
    raise StoreError(f"there is no format {name!r}: choose codecontests, taco, evalplus or livecodebench")


@dataclass(frozen=True, slots=True)
class Taco:
    """The first `public_tests` tests become public, the others private; rows that call a function are dropped."""

    columns: ClassVar[frozenset[str]] = frozenset(TACO_FIELDS)
    public_tests: int = 1

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        tests = _json(row, "input_output", {})
        if not isinstance(tests, Mapping):
            raise RowError("input_output", f"is {kind_of(tests)}, not an object")
        if tests.get("fn_name"):
            raise RowError("input_output.fn_name", "is set: the program is a function to be called", "dropped")
        if not tests:
            raise RowError("input_output", "has no tests", "dropped")
        inputs, outputs = (_texts(tests.get(name), f"input_output.{name}") for name in ("inputs", "outputs"))
        if len(inputs) != len(outputs):
            raise RowError("input_output", f"has {len(inputs)} inputs and {len(outputs)} outputs")
        programs = _texts(_json(row, "solutions", []), "solutions")
        first, rest = slice(None, self.public_tests), slice(self.public_tests, None)
        return {
            "name": _name(row),
            "description": text(row.get("question"), "question"),
            "public_tests": {"input": inputs[first], "output": outputs[first]},
            "private_tests": {"input": inputs[rest], "output": outputs[rest]},
            "solutions": {"language": [PYTHON3] * len(programs), "solution": programs},
            "time_limit_s": _amount(row, "time_limit", _SECONDS),
            "memory_limit_mb": _amount(row, "memory_limit", _MEGABYTES),
            **{key: row.get(key) for key in ("difficulty", "source", "split")},
        }


def _name(row: Mapping[str, Any]) -> str | None:
    number = row.get("problem_id")
    return optional_text(row, "name") or (f"problem-{number}" if isinstance(number, int | str) else None)


def _json(row: Mapping[str, Any], key: str, empty: Any) -> Any:
    """The value in the text; some copies hold the value itself."""
    value = row.get(key)
    if value in (None, ""):
        return empty
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise RowError(key, f"is not JSON ({error})") from None


def _texts(value: Any, field: str) -> list[str]:
    """Texts; a list of lines stands for them, as the datasets' own checkers have it."""
    if not isinstance(value, list):
        raise RowError(field, f"is {kind_of(value)}, not a list")
    return [_text(one, f"{field}[{i}]") for i, one in enumerate(value)]


def _text(value: Any, field: str) -> str:
    if isinstance(value, list):
        return "\n".join(text(line, f"{field}[{i}]") for i, line in enumerate(value))
    return text(value, field)


def _amount(row: Mapping[str, Any], key: str, units: Mapping[str, float]) -> float | None:
    """ "2.0 seconds", "256 megabytes"."""
    value = optional_text(row, key)
    if value in (None, "None"):
        return None
    found = _AMOUNT.fullmatch(str(value).strip().lower())
    if found is None or found[2] not in units:
        raise RowError(key, f"is {kind_of(value)}, not a number of {next(iter(units))}")
    return float(found[1]) * units[found[2]]
