"""Arguments that JSON has flattened -> Python values again, by the example of calls that are written in Python.

JSON has no tuples, sets, complex numbers or keys that are not text, so MBPP+'s inputs have lost them. What stands at
the same place of the same argument in its published assertions decides, elements of one list being one place. Where
these disagree, the first decides; where they say nothing, JSON's own type stays, but for tuples in tuples.
"""

import ast
from collections.abc import Sequence
from typing import Any

from rlef_plugin.env.values import Unordered
from rlef_plugin.problems.fields import RowError

_NONE = object()


def example_calls(assertions: str, name: str) -> list[list[Any]]:
    """For each argument of the function, the values that it has in the assertions."""
    try:
        nodes = list(ast.walk(ast.parse(assertions)))
    except SyntaxError as error:
        raise RowError("assertion", f"is not Python ({error})") from None
    calls = [node.args for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name]
    width = max(map(len, calls), default=0)
    values = [[_literal(call[place]) for call in calls if place < len(call)] for place in range(width)]
    return [[value for value in of_place if value is not _NONE] for of_place in values]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:  # an expression such as 14 * 14
        return _NONE


def typed_arguments(arguments: Sequence[Any], examples: Sequence[Sequence[Any]]) -> list[Any]:
    """JSON values as values of the examples' types; sets and dicts as `Unordered`."""
    known = [*examples, *([()] * len(arguments))]
    return [_typed(value, like, list, list) for value, like in zip(arguments, known, strict=False)]


def _typed(value: Any, examples: Sequence[Any], outer: type, unknown: type) -> Any:
    """`outer` is the type of what holds the value, `unknown` that of a list which no example speaks of."""
    if isinstance(value, list):
        like = [one for one in examples if isinstance(one, list | tuple | set)]
        kind = type(like[0]) if like else unknown
        inside = tuple if kind is outer is tuple else list  # tuples in tuples go on below the depth of the examples
        items = [_typed(one, [inner for one in like for inner in one], kind, inside) for one in value]
        return Unordered("set", tuple(items)) if kind is set else kind(items)
    if isinstance(value, dict):
        dicts = [one for one in examples if isinstance(one, dict)]
        if not dicts and any(isinstance(one, set) for one in examples):
            return Unordered("set", ())  # the file has {} for an empty set
        keys, values = [key for one in dicts for key in one], [inner for one in dicts for inner in one.values()]
        pairs = ((_number(key, keys), _typed(one, values, dict, list)) for key, one in value.items())
        return Unordered("dict", tuple(pairs))
    return _number(value, examples)


def _number(value: Any, examples: Sequence[Any]) -> Any:
    """Text that stands for a number, where the examples all are numbers: a complex one, or the key of a dict."""
    if not isinstance(value, str) or not examples or not all(type(one) in (int, float, complex) for one in examples):
        return value
    try:
        number = complex(value) if "j" in value else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return number if type(number) in (int, float, complex) else value
