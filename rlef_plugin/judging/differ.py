"""What a person wants to see of a wrong output: the lines around the first difference, expected against got.

Lines the judge takes for equal (case, spaces, 1e-5) are equal here too. Long texts and lines lose their middle."""

from collections.abc import Iterator
from itertools import zip_longest

from rlef_plugin.judge.compare import outputs_match

LINES_BEFORE, LINES_FROM = 2, 6  # shown before the first difference, and from there on
Line = tuple[str, str]  # mark and text: " " both, "-" expected, "+" got, "." what was left out


def diff(expected: str, got: str, width: int) -> Iterator[Line]:
    pairs = list(zip_longest(expected.splitlines(), got.splitlines()))
    first = next((n for n, pair in enumerate(pairs) if not _same(*pair)), 0)
    start = max(0, first - LINES_BEFORE)
    end = first + LINES_FROM
    if start:
        yield ".", f"{_lines(start)} as expected"
    for left, right in pairs[start:end]:
        if _same(left, right):
            yield " ", cut(str(left), width)
            continue
        if left is not None:
            yield "-", cut(left, width)
        if right is not None:
            yield "+", cut(right, width)
    if len(pairs) > end:
        yield ".", f"{_lines(len(pairs) - end)} more"


def cut(text: str, width: int) -> str:
    """At most `width` characters; the middle goes first, and how much of it is said. Tabs and controls are shown."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    if len(shown) <= width:
        return shown
    keep = max(2, width - 30)
    return f"{shown[: keep - keep // 2]} ... {len(shown) - keep:,} characters ... {shown[-(keep // 2) :]}"


def cut_lines(text: str, lines: int, width: int) -> list[str]:
    """At most `lines` lines, without the middle."""
    found = text.splitlines()
    if len(found) > lines:
        half = lines // 2
        left_out = len(found) - (lines - 1)
        found = [*found[: lines - 1 - half], f"... {_lines(left_out)} ...", *found[len(found) - half :]]
    return [cut(line, width) for line in found]


def _same(left: str | None, right: str | None) -> bool:
    if left is None or right is None:
        return False
    return outputs_match(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"
