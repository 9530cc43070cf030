"""The fields of a row that hold one value: limits, file names, split, labels, checker, metadata; each checked.

A RowError names the field that is wrong; see convert.py for the others and for what a row is.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlef_plugin.problems.fields import RowError, kind_of, number, optional_text

SOURCES = ("", "codechef", "codeforces", "hackerearth", "codejam", "atcoder", "aizu")
DIFFICULTIES = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")
MIB = 2**20
_SPLIT = re.compile(r"[A-Za-z0-9_-]+")


def time_limit_s(row: Mapping[str, Any]) -> float | None:
    """CodeContests' duration (an object or absent), or plain seconds; 0 means that none is known."""
    if row.get("time_limit_s") is not None:
        return number(row["time_limit_s"], "time_limit_s") or None
    limit = row.get("time_limit")
    if isinstance(limit, Mapping):
        seconds, nanos = (number(limit.get(unit) or 0, f"time_limit.{unit}") for unit in ("seconds", "nanos"))
        return seconds + nanos / 1e9 or None
    return None if limit is None else number(limit, "time_limit") or None


def memory_limit_mb(row: Mapping[str, Any]) -> int | None:
    """Rounded up, so that a program may use every byte it was promised; 0 means that none is known."""
    if row.get("memory_limit_mb") is not None:
        return math.ceil(number(row["memory_limit_mb"], "memory_limit_mb")) or None
    return math.ceil(number(row.get("memory_limit_bytes") or 0, "memory_limit_bytes") / MIB) or None


def file_name(row: Mapping[str, Any], key: str) -> str | None:
    """A plain name, since the judge makes a file of that name."""
    name = optional_text(row, key)
    if name is not None and ("/" in name or "\0" in name or name in (".", "..") or len(name.encode()) > 100):
        raise RowError(key, f"is {name[:40]!r}, not a plain file name")
    return name


def split_name(name: str) -> str:
    """As CodeContests has it; the hub's name for it is another."""
    return "valid" if name == "validation" else name


def split_of(row: Mapping[str, Any], default: str) -> str:
    split = split_name(optional_text(row, "split") or default)
    if not _SPLIT.fullmatch(split):
        raise RowError("split", f"is {split[:40]!r}, not a word of letters, digits, dash and underscore")
    return split


def label(row: Mapping[str, Any], key: str, names: Sequence[str]) -> str:
    """CodeContests counts its sources and difficulties; other rows may name them."""
    value = row.get(key)
    if value is None or isinstance(value, str):
        return optional_text(row, key) or ""
    index = int(number(value, key))
    return names[index] if index < len(names) else str(index)


def checker(row: Mapping[str, Any]) -> str | None:
    """Parsed only: what it does, it does in a jail."""
    source = optional_text(row, "checker")
    if source is None:
        return None
    try:
        names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RowError("checker", f"is not Python ({error})") from None
    if "check" not in names:
        raise RowError("checker", "defines no function check(input, output, expected)")
    if row.get("input_file") or row.get("output_file"):
        raise RowError("checker", "is given with input_file or output_file, which it cannot go with")
    return source


def metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    """An object, or the text of one, since a column of parquet has one type for all rows."""
    value = row.get("metadata")
    if value in (None, ""):
        return {}
    try:
        value = json.loads(value) if isinstance(value, str) else value
        if isinstance(value, Mapping):
            return dict(json.loads(json.dumps(value, allow_nan=False)))
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError("metadata", f"is not JSON ({error})") from None
    raise RowError("metadata", f"is {kind_of(value)}, not an object")
