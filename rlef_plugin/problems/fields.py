"""Checked access to the values of a raw row: what is not what it should be raises a RowError that names the field."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal


class RowError(Exception):
    """A row that is not kept: which field, why, and whether it is at fault (malformed) or merely useless (dropped)."""

    def __init__(self, field: str, reason: str, kind: Literal["malformed", "dropped"] = "malformed") -> None:
        super().__init__(f"{field} {reason}")
        self.field, self.reason, self.kind = field, reason, kind


def records(value: Any, key: str, needed: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Either layout, as a list of records; absent is empty."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        columns = {name: _list(value.get(name), f"{key}.{name}") for name in needed}
        columns |= {name: _list(value[name], f"{key}.{name}") for name in optional if value.get(name) is not None}
        if len({len(column) for column in columns.values()}) > 1:
            lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
            raise RowError(key, f"has lists of different lengths ({lengths})")
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for i, one in enumerate(_list(value, key)):
        if not isinstance(one, Mapping):
            raise RowError(f"{key}[{i}]", f"is {kind_of(one)}, not an object with {' and '.join(needed)}")
        for name in needed:
            if name not in one:
                raise RowError(f"{key}[{i}]", f"has no {name}")
    return list(value)


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError(field, f"is {kind_of(value)}, not a list")
    return value


def text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise RowError(field, f"is {kind_of(value)}, not text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RowError(field, f"cannot be written as UTF-8 (lone surrogate at character {error.start})") from None
    return value


def optional_text(row: Mapping[str, Any], key: str) -> str | None:
    return None if row.get(key) in (None, "") else text(row[key], key)


def number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(field, f"is {kind_of(value)}, not a number")
    if not 0 <= value < 2**63:  # false for nan as well
        raise RowError(field, f"is {kind_of(value)}, which is out of range")
    return value


def kind_of(value: Any) -> str:
    return "missing" if value is None else f"{type(value).__name__} {reprlib.repr(value)}"
