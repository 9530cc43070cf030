"""What a jail printed about a value -> the value, without trusting a byte of it.

The text is JSON with the tags of `call_driver.py`. Nothing of it is evaluated or unpickled. Its size and depth are
bounded, and sets and dicts are kept as lists of what they hold: building real ones from chosen hashes takes quadratic
time. Exact for None, bool, int of any size, float (with nan, inf and -0.0), complex, str (lone surrogates too),
bytes, and list, tuple, set and dict of these; any other object is only a name, and equals nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

MAX_VALUE_BYTES = 2**20  # of the text of a value that a program made
MAX_DEPTH = 100
_EXACT = 2**53  # ints from here on are written in hex: decimal digits take quadratic time
_SHOWN_DIGITS = 4000  # of an int; more would take quadratic time
_OF_TEXT: dict[str, Callable[[str], Any]] = {  # what the text of a tag stands for
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "str": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "object": lambda text: Opaque(text),
}
_OF_LIST = ("tuple", "set", "dict", "complex")


class MalformedValue(ValueError):
    """Text that no value was printed as."""


@dataclass(frozen=True, slots=True)
class Unordered:
    """A set or a dict; a dict's items are pairs."""

    kind: Literal["set", "dict"]
    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object of which only the type's name is known."""

    name: str


def parse(text: str | bytes, max_bytes: int | None = MAX_VALUE_BYTES) -> Any:
    """The value that `text` stands for. Data that was checked when its store was built needs no `max_bytes`.

    Raises:
        MalformedValue: it stands for none, or is too large.
    """
    if max_bytes is not None and len(text) > max_bytes:
        raise MalformedValue(f"the value has {len(text)} bytes; at most {max_bytes} are read")
    try:
        return _build(json.loads(text, object_pairs_hook=_Pairs), 0)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise MalformedValue(f"no value: {type(error).__name__}") from None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, before it is known what it stands for."""


def _build(value: Any, depth: int) -> Any:
    if not isinstance(value, list):
        return value
    if depth > MAX_DEPTH:
        raise MalformedValue("nested too deeply")
    if not isinstance(value, _Pairs):
        return [_build(one, depth + 1) for one in value]
    ((tag, content),) = value
    if isinstance(content, str) and tag in _OF_TEXT:
        return _OF_TEXT[tag](content)
    if tag not in _OF_LIST or type(content) is not list:
        raise MalformedValue("unknown tag")
    if tag == "complex":
        real, imaginary = map(float, content)
        return complex(real, imaginary)
    if tag == "dict":
        return Unordered("dict", tuple(_pair(one, depth + 1) for one in content))
    items = tuple(_build(one, depth + 1) for one in content)
    return items if tag == "tuple" else Unordered("set", items)


def _pair(value: Any, depth: int) -> tuple[Any, Any]:
    if type(value) is not list:
        raise MalformedValue("a dict of something else than pairs")
    key, content = value
    return _build(key, depth), _build(content, depth)


def dump(value: Any) -> str:
    """The text that `parse` reads as this value."""
    return json.dumps(_tagged(value))


def _tagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_tagged(one) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_tagged(one) for one in value]}
    if isinstance(value, Unordered):
        return {
            value.kind: [
                [_tagged(part) for part in one] if value.kind == "dict" else _tagged(one) for one in value.items
            ]
        }
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Opaque):
        return {"object": value.name}
    if isinstance(value, str) and not value.isascii():
        encoded = value.encode("utf-8", "surrogatepass")
        return {"str": encoded.hex()} if value != encoded.decode("utf-8", "replace") else value
    large = isinstance(value, int) and not -_EXACT < value < _EXACT
    return {"int": hex(value)} if large else value


def show(value: Any) -> str:
    """The value as Python would write it."""
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(show, value))}{',' * (len(value) == 1)})"
    if isinstance(value, Opaque):
        return f"<{value.name}>"
    if isinstance(value, Unordered):
        shown = [f"{show(one[0])}: {show(one[1])}" if value.kind == "dict" else show(one) for one in value.items]
        return f"{{{', '.join(shown)}}}" if shown or value.kind == "dict" else "set()"
    if isinstance(value, int) and value.bit_length() > _SHOWN_DIGITS * 3:
        return hex(value)
    return repr(value)
