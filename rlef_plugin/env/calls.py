"""Tests that are calls of a function: what runs in the jail, and what is compared outside of it.

A problem whose program is a function says so in its metadata, and its tests hold values instead of text:

    metadata      {"call": {"entry_point": "add", "method_of": null, "atol": 0, "compare": "value"}}
    test.input    the arguments, as a JSON list               (values.py says how what JSON lacks is written)
    test.output   the value that is expected

Around the program, `call_driver.py` reads the arguments from standard input, makes the call and prints what it
returned (call_runs.py). That is parsed and compared here. So the expected value is never in the jail, nor is the code
that compares: a program cannot find it, change it, or return an object that calls itself equal to it. What it does see
is its arguments, and it may print a forged value in place of returning one: it has to be the right one all the same.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlef_plugin.env import call_driver
from rlef_plugin.env.equality import members, same
from rlef_plugin.env.values import Unordered, parse, show
from rlef_plugin.errors import UsageError
from rlef_plugin.problems.records import Problem, TestCase

Compare = Literal["value", "json", "set", "truth", "root"]


@dataclass(frozen=True, slots=True)
class Call:
    """What is called, and what of its result counts."""

    entry_point: str
    method_of: str | None = None  # a class without constructor arguments; None = a function
    atol: float = 0.0  # of numbers; 0 = exact, floats within 1e-6
    # value: equal; json: equal, a tuple is a list; set: the same members; truth: both true or both false;
    # root: the value is a root, within atol, of the polynomial whose coefficients are the first argument
    compare: Compare = "value"


def call_of(problem: Problem) -> Call | None:
    """The call a problem's metadata speaks of; None for a program that reads and writes."""
    fields = problem.metadata.get("call")
    try:
        return Call(**fields) if fields else None
    except TypeError as error:
        raise UsageError(
            f"problem {problem.id!r} has metadata.call={fields!r} ({error}): build its store again"
        ) from None


def driver_text(call: Call) -> str:
    """The driver that makes this call, for `Judge.run`."""
    return f"{_driver()}\nENTRY_POINT, METHOD_OF = {call.entry_point!r}, {call.method_of or ''!r}\n"


@cache
def _driver() -> str:
    return Path(call_driver.__file__).read_text()


def as_module(code: str) -> str:
    """The code with every `__name__` replaced by a text of that length, since the program is imported, not run.

    Lines and columns stay, so that errors speak of the program as it was written.
    """
    if "__name__" not in code:
        return code
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # the jail will say what is wrong with it
    lines = code.encode("utf-8", "replace").splitlines(keepends=True)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id == "__name__" and isinstance(node.ctx, ast.Load):
            line, start = lines[node.lineno - 1], node.col_offset
            if line[start : start + 8] == b"__name__":
                lines[node.lineno - 1] = line[:start] + b'"module"' + line[start + 8 :]
    return b"".join(lines).decode()


def matches(call: Call, test: TestCase, value: Any) -> bool:
    """Whether the value passes the test."""
    if call.compare == "root":
        return _is_root(parse(test.input, None)[0], value, call.atol)
    expected = parse(test.output, None)
    if call.compare == "truth":
        return _truth(value) == _truth(expected)
    if call.compare == "set":
        ours, theirs = members(value), members(expected)
        return ours is not None and ours == theirs
    if call.compare == "json":
        value, expected = _lists(value), _lists(expected)
    return same(value, expected, call.atol)


def _truth(value: Any) -> bool:
    return bool(value.items if isinstance(value, Unordered) else value)


def _lists(value: Any) -> Any:
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


def _is_root(coefficients: list[Any], value: Any, atol: float) -> bool:
    if not isinstance(value, int | float):
        return False
    try:
        return abs(sum(c * float(value) ** i for i, c in enumerate(coefficients))) <= atol
    except OverflowError:
        return False


def assertion(call: Call, test: TestCase) -> str:
    """The test as Python would assert it."""
    arguments = parse(test.input, None)
    owner = f"{call.method_of}()." if call.method_of else ""
    made = f"{owner}{call.entry_point}({', '.join(map(show, arguments))})"
    if call.compare == "root":
        return f"assert abs(poly({show(arguments[0])}, {made})) <= {call.atol}"
    expected = parse(test.output, None)
    if call.compare == "truth":
        return f"assert {made}" if _truth(expected) else f"assert not {made}"
    if call.compare == "set" and not isinstance(expected, Unordered):
        return f"assert set({made}) == set({show(expected)})"
    return f"assert {made} == {show(expected)}"
