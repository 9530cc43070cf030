r"""Whether an output is right: the comparison of CodeContests' own checker, on bytes (docs/paper.md section 4).

Both sides are split at space, tab, newline, carriage return and vertical tab, and lower-cased (ASCII). They match if
they have equally many tokens and each pair is equal as text, or numeric with |a - b| < 1e-5. Two integers are compared
exactly, where that checker compares doubles. Not covered: problems with several right answers (no special judges).

    outputs_match(output, expected)     at once
    await compare(output, expected)     the same, and the event loop serves others every `TURN_S`

Time is linear in the sizes, and the extra memory is bounded. The work is done in steps of a few milliseconds at most.
`re`, `float` and the methods of bytes hold the GIL from their first to their last byte, and a program may print
hundreds of megabytes without a space: a token of `BLOCK_BYTES` and more (`_Long`) is only ever read piece by piece.
"""

import asyncio
import os
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class OutputFile:
    """The first `size` bytes of a file, read when they are asked for.

    Not a mapping: a jail that has the file open could cut it, which would end this process by SIGBUS. Here what is no
    longer there is zeros."""

    descriptor: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        length = max(0, min(part.stop, self.size) - part.start)
        return os.pread(self.descriptor, length, part.start).ljust(length, b"\0")


Data = bytes | memoryview | OutputFile
type Steps[T] = Generator[None, None, T]  # work that pauses at each `yield`

TOLERANCE = 1e-5
BLOCK_BYTES = 1 << 13  # tokenised in one step: up to 4,096 numbers to compare, 1 to 2 us each
PIECE_BYTES = 1 << 18  # only looked through in one step
TURN_S = 0.001  # without a pause; the work of other comparisons comes on top
FLOAT_DIGITS = 800  # that decide what the nearest double is, with whether any other digit follows (it takes 767)
EXPONENT_DIGITS = 12  # no output has so many digits that they could make up for a longer exponent
MAX_MARKS = 4  # a number's characters that are no digits: -.e-
SEPARATORS = b" \t\n\r\v"
_SEPARATOR = re.compile(rb"[ \t\n\r\v]")
# Possessive, so that no repetition is ever tried again: a program chooses the tokens, and `re` holds the GIL.
_INTEGER = re.compile(rb"[+-]?[0-9]++\Z")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:e[+-]?[0-9]++)?+\Z|[+-]?(?:inf|infinity|nan)\Z")


def outputs_match(output: Data, expected: Data) -> bool:
    if len(output) < BLOCK_BYTES and len(expected) < BLOCK_BYTES:
        return _small_match(output, expected)
    return _result(_match(output, expected))


async def compare(output: Data, expected: Data) -> bool:
    """`outputs_match` that lets other tasks run meanwhile."""
    if len(output) < BLOCK_BYTES and len(expected) < BLOCK_BYTES:
        return _small_match(output, expected)
    steps, until = _match(output, expected), 0.0
    while True:
        if time.perf_counter() >= until:
            await asyncio.sleep(0)
            until = time.perf_counter() + TURN_S
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def tokens_match(a: bytes, b: bytes) -> bool:
    """Of two lower-case tokens. Symmetric."""
    if a == b:
        return True
    if _INTEGER.match(a) and _INTEGER.match(b):
        return _canonical_integer(a) == _canonical_integer(b)
    if _NUMBER.match(a) and _NUMBER.match(b):
        return abs(float(a) - float(b)) < TOLERANCE  # false for nan, and for two infinities
    return False


def _canonical_integer(token: bytes) -> bytes:
    """Sign and digits without leading zeros; text, because int() of millions of digits takes quadratic time."""
    digits = token.lstrip(b"+-").lstrip(b"0")
    return b"-" + digits if token[:1] == b"-" and digits else digits


def _small_match(output: Data, expected: Data) -> bool:
    a, b = bytes(output[0:BLOCK_BYTES]), bytes(expected[0:BLOCK_BYTES])
    if a == b:
        return True
    ours, theirs = _split(a.lower()), _split(b.lower())
    return ours == theirs or (len(ours) == len(theirs) and all(map(tokens_match, ours, theirs)))


def _split(block: bytes) -> list[bytes]:
    """bytes.split() also splits at form feeds, and the checker does not."""
    if b"\f" not in block:
        return block.split()
    return [token for token in _SEPARATOR.split(block) if token]


def _result[T](steps: Steps[T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


# ---- Large outputs, step by step ----


@dataclass(frozen=True, slots=True)
class _Long:
    """A token, or a part of one, where it stands."""

    data: Data
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Lower-case pieces with their places."""
        for place in range(self.start, self.end, PIECE_BYTES):
            yield place, bytes(self.data[place : min(place + PIECE_BYTES, self.end)]).lower()

    def first(self, count: int) -> bytes:
        return bytes(self.data[self.start : min(self.start + count, self.end)])

    def after(self, count: int) -> "_Long":
        return _Long(self.data, min(self.start + max(count, 0), self.end), self.end)


@dataclass(slots=True)
class _Reader:
    """The tokens of one side from `place` on."""

    data: Data
    place: int

    def read(self) -> Steps[list[Any]]:
        """The next tokens, or one `_Long`; an empty list at the end."""
        while self.place < len(self.data):
            yield
            block = bytes(self.data[self.place : self.place + BLOCK_BYTES])
            at_end = self.place + len(block) == len(self.data)
            size = len(block) if at_end else _whole(block)
            if not size:
                return [(yield from self._read_long())]
            self.place += size
            if tokens := _split(block[:size].lower()):
                return tokens
        return []

    def _read_long(self) -> Steps[_Long]:
        start = self.place
        while self.place < len(self.data):
            yield
            piece = bytes(self.data[self.place : self.place + PIECE_BYTES])
            size = min((at for at in map(piece.find, SEPARATORS) if at >= 0), default=len(piece))
            self.place += size
            if size < len(piece):
                break
        return _Long(self.data, start, self.place)


def _match(output: Data, expected: Data) -> Steps[bool]:
    start = yield from _parting(output, expected)
    if start == len(output) == len(expected):
        return True
    ours, theirs = _Reader(output, start), _Reader(expected, start)
    left: list[Any] = []
    right: list[Any] = []
    while True:
        left = left or (yield from ours.read())
        right = right or (yield from theirs.read())
        count = min(len(left), len(right))
        if not count:
            return not left and not right
        yield
        if isinstance(left[0], _Long) or isinstance(right[0], _Long):
            match = yield from _long_match(_as_long(left[0]), _as_long(right[0]))
        else:
            match = left[:count] == right[:count] or all(map(tokens_match, left[:count], right[:count]))
        if not match:
            return False
        left, right = left[count:], right[count:]


def _parting(output: Data, expected: Data) -> Steps[int]:
    """Where the first token begins that may differ; the end if there is none."""
    place = start = 0
    while place < min(len(output), len(expected)):
        ours, theirs = (bytes(data[place : place + PIECE_BYTES]) for data in (output, expected))
        if ours != theirs:
            return start
        if size := _whole(ours):
            start = place + size
        place += len(ours)
        yield
    return place if len(output) == len(expected) else start


def _whole(block: bytes) -> int:
    """The size of what a separator ends; 0 if there is none."""
    return max(map(block.rfind, SEPARATORS)) + 1


def _as_long(token: bytes | _Long) -> _Long:
    return token if isinstance(token, _Long) else _Long(token, 0, len(token))


def _long_match(a: _Long, b: _Long) -> Steps[bool]:
    """`tokens_match` where one of them is long, so that a number is finite and no name."""
    if (yield from _same(a, b)):
        return True
    x = yield from _number(a)
    y = (yield from _number(b)) if x else None
    if x is None or y is None:
        return False
    if _INTEGER.match(x.shape) and _INTEGER.match(y.shape):
        ours, theirs = (yield from _bare(x.whole)), (yield from _bare(y.whole))
        return (_sign(x) == _sign(y) or not ours) and (yield from _same(ours, theirs))
    return abs((yield from _value(x)) - (yield from _value(y))) < TOLERANCE


def _same(a: _Long, b: _Long) -> Steps[bool]:
    if len(a) != len(b):
        return False
    for (_, ours), (_, theirs) in zip(a.pieces(), b.pieces(), strict=True):
        if ours != theirs:
            return False
        yield
    return True


class _Number(NamedTuple):
    """Runs of digits, each of any length."""

    shape: bytes  # of the token, with one digit for each of its runs: -0.0e0
    whole: _Long
    fraction: _Long
    exponent: _Long


def _number(token: _Long) -> Steps[_Number | None]:
    """None if the token is no number made of digits. It is one if its shape is."""
    marks = b""
    borders = [token.start - 1]
    for place, piece in token.pieces():
        yield
        found = piece.translate(None, b"0123456789")
        marks += found[: MAX_MARKS + 1]
        if len(marks) > MAX_MARKS or found.translate(None, b"+-.e"):
            return None
        at = -1
        for mark in found:
            at = piece.index(mark, at + 1)
            borders.append(place + at)
    runs = [_Long(token.data, left + 1, right) for left, right in pairwise([*borders, token.end])]
    shape = b"".join(b"0"[: len(run)] + marks[at : at + 1] for at, run in enumerate(runs))
    if not _NUMBER.match(shape):
        return None
    none = token.after(len(token))
    fraction = runs[marks.index(b".") + 1] if b"." in marks else none
    return _Number(shape, runs[shape[:1] in (b"+", b"-")], fraction, runs[-1] if b"e" in marks else none)


def _sign(number: _Number) -> bytes:
    return b"-" if number.shape.startswith(b"-") else b""


def _bare(digits: _Long) -> Steps[_Long]:
    """Without leading zeros."""
    for place, piece in digits.pieces():
        yield
        if left := piece.lstrip(b"0"):
            return _Long(digits.data, place + len(piece) - len(left), digits.end)
    return digits.after(len(digits))


def _value(number: _Number) -> Steps[float]:
    """What `float` makes of it, from those digits that matter, written as 0.DIGITS with an exponent."""
    whole = yield from _bare(number.whole)
    fraction = number.fraction if whole else (yield from _bare(number.fraction))
    point = len(whole) or len(fraction) - len(number.fraction)
    digits = (whole.first(FLOAT_DIGITS) + fraction.first(FLOAT_DIGITS))[:FLOAT_DIGITS]
    for rest in (whole.after(FLOAT_DIGITS), fraction.after(FLOAT_DIGITS - len(whole))):
        if (yield from _bare(rest)):
            digits += b"1"
            break
    exponent = yield from _bare(number.exponent)
    power = int(exponent.first(len(exponent)) or b"0") if len(exponent) <= EXPONENT_DIGITS else 10**EXPONENT_DIGITS
    if b"e-" in number.shape:
        power = -power
    return float(b"%s0.%se%d" % (_sign(number), digits, point + power))
