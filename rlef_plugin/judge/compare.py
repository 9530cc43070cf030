r"""Whether an output is right: the comparison of CodeContests' own checker, on bytes (docs/paper.md section 4).

Both sides are split at space, tab, newline, carriage return and vertical tab, and lower-cased (ASCII). They match if
they have equally many tokens and each pair is equal as text, or numeric with |a - b| < 1e-5. Two integers are compared
exactly, where that checker compares doubles. Not covered: problems with several right answers (no special judges).

Linear in the sizes, with a bounded extra memory: outputs are tokenised block by block, and equal parts not at all."""

import re
from collections.abc import Iterator

TOLERANCE = 1e-5
BLOCK_BYTES = 1 << 20
_SEPARATOR = re.compile(rb"[ \t\n\r\v]")
# Possessive, so that no repetition is ever tried again: a program chooses the tokens, and `re` holds the GIL.
_INTEGER = re.compile(rb"[+-]?[0-9]++\Z")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:e[+-]?[0-9]++)?+\Z|[+-]?(?:inf|infinity|nan)\Z")


def outputs_match(output: bytes, expected: bytes) -> bool:
    if output == expected:
        return True
    ours, theirs = _blocks(output), _blocks(expected)
    left: list[bytes] = []
    right: list[bytes] = []
    while True:
        left = left or next(ours, [])
        right = right or next(theirs, [])
        count = min(len(left), len(right))
        if not count:
            return not left and not right
        if left[:count] != right[:count] and not all(map(tokens_match, left[:count], right[:count])):
            return False
        left, right = left[count:], right[count:]


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


def _blocks(data: bytes) -> Iterator[list[bytes]]:
    """The tokens of `data` in lists, none of them empty."""
    start, size = 0, len(data)
    while start < size:
        end = _token_end(data, min(size, start + BLOCK_BYTES))
        tokens = _split(data[start:end].lower())
        if tokens:
            yield tokens
        start = end


def _token_end(data: bytes, at: int) -> int:
    """The first position from `at` on where no token is cut in two."""
    found = _SEPARATOR.search(data, at)
    return found.start() if found else len(data)


def _split(block: bytes) -> list[bytes]:
    """bytes.split() also splits at form feeds, and the checker does not."""
    if b"\f" not in block:
        return block.split()
    return [token for token in _SEPARATOR.split(block) if token]
