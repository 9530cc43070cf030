"""Whether a value that a program returned will do for the expected one; both as `values.parse` made them.

Equality is Python's (1 == 1.0 == True, a list is no tuple, sets and dicts without order), with two differences: nan
equals nan, and where floats are expected, or a tolerance is given, equal types and |a - b| <= atol + 1e-7 |b| will do.
Sets and dicts are compared by sorting, never by hashing what a program chose.
"""

from __future__ import annotations

from typing import Any

from rlef_plugin.env.values import Opaque, Unordered

FLOAT_ATOL = 1e-6  # where the expected value is made of floats and no tolerance is given
RTOL = 1e-7


def same(value: Any, expected: Any, atol: float = 0.0) -> bool:
    """Whether a program's value will do for the expected one."""
    if _equal(value, expected):
        return True
    if not atol and _made_of_floats(expected):
        atol = FLOAT_ATOL
    return atol > 0 and _close(value, expected, atol)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Opaque) or isinstance(b, Opaque):
        return False
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, Unordered):
        if not isinstance(b, Unordered) or a.kind != b.kind or len(a.items) != len(b.items):
            return False
        if a.kind == "set":
            return sorted(map(_key, a.items)) == sorted(map(_key, b.items))
        ours, theirs = (sorted(((_key(k), v) for k, v in one.items), key=lambda item: item[0]) for one in (a, b))
        return all(mine[0] == other[0] and _equal(mine[1], other[1]) for mine, other in zip(ours, theirs, strict=True))
    return bool(a == b) or (a != a and b != b and type(a) is type(b))


def _key(value: Any) -> str:
    """A text that two values share exactly if they are equal."""
    if isinstance(value, str):
        return f"s{value!r}"
    if isinstance(value, bytes):
        return f"b{value.hex()}"
    if isinstance(value, complex) and not value.imag:
        value = value.real
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return f"n{value:x}"
    if value is None or isinstance(value, float | complex):
        return f"n{value!r}"
    if isinstance(value, Unordered):
        parts = [_key(one) for one in value.items]
        return f"{value.kind}({','.join(sorted(parts))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(_key, value))})"
    return f"o{id(value)}"  # an object is like no other


def members(value: Any) -> set[str] | None:
    """What a list, tuple or set holds, each once, as texts that only equal values share; None for anything else."""
    if isinstance(value, Unordered) and value.kind == "set":
        value = value.items
    return set(map(_key, value)) if isinstance(value, list | tuple) else None


def _made_of_floats(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, list | tuple) and bool(value) and all(map(_is_float, value)))


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _close(a: Any, b: Any, atol: float) -> bool:
    """Numbers within the tolerance, in lists and tuples of the same shape; the outermost types must be the same."""
    return type(a) is type(b) and _near(a, b, atol)


def _near(a: Any, b: Any, atol: float) -> bool:
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(_near(x, y, atol) for x, y in zip(a, b))  # noqa: B905
    if isinstance(a, int | float | complex) and isinstance(b, int | float | complex):
        try:
            return _equal(a, b) or abs(a - b) <= atol + RTOL * abs(b) < float("inf")
        except OverflowError:  # an int beyond all floats
            return False
    return False
