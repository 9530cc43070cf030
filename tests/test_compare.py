"""The comparison against hand-worked pairs, a slow reference, and sizes at which a careless version would be slow."""

import asyncio
import math
import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rlef_plugin.judge import compare
from rlef_plugin.judge.compare import BLOCK_BYTES, OutputFile, outputs_match

EQUAL = [
    (b"", b""), (b"", b" \n\t\r\v"), (b"1 2 3", b"1\n2\t3\r\n"), (b"1\v2", b"1 2"),
    (b"YES", b"yes\n"), (b"Abc", b"aBC"),
    (b"1", b"1.0"), (b"0.1", b".1"), (b"5.", b"5"), (b"1e3", b"1000"), (b"1E3", b"1e+3"), (b"+7", b"7"), (b"-0", b"0"),
    (b"007", b"7"), (b"-007", b"-7"), (b"1.000001", b"1.0"), (b"1.0", b"1.0000099"),
    (b"nan", b"NaN"), (b"inf", b"INF"),
    (b"-inf", b"-Inf"), (b"123456789012345678901234567890", b"+0123456789012345678901234567890"),
    (b"9007199254740993", b"9007199254740992.0"),
    (b"\xff\xfe", b"\xff\xfe "), (b"a\fb", b"a\fb\n"), (b"\x00", b"\x00\n"),
    (b"1e400", b"1E400"), (b"0.00001", b"0.000011"),
]  # fmt: skip
DIFFERENT = [
    (b"", b"0"), (b"1", b"1 2"), (b"1 2", b"12"), (b"1.00001", b"1.0"), (b"1.0", b"1.00002"), (b"nan", b"1"),
    (b"nan", b"-nan"),     (b"inf", b"infinity"), (b"inf", b"-inf"), (b"inf", b"1e999"), (b"1e400", b"1e500"),
    (b"9007199254740993", b"9007199254740992"),
    (b"123456789012345678901234567890", b"123456789012345678901234567891"), (b"-5", b"5"), (b"1_0", b"10"),
    (b"0x10", b"16"), (b"1e", b"1"), (b".", b"0"), (b"+", b"0"), (b"--1", b"1"), (b"1,5", b"1.5"),
    (b"a\fb", b"a b"), (b"1\x00", b"1"),
    (b"\xc3\x84", b"\xc3\xa4"), (b"True", b"1"), (b"1/2", b"0.5"), ("\u0661".encode(), b"1"), (b"1\xa0", b"1"),
    (b"1.5.0", b"1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal(a: bytes, b: bytes) -> None:
    assert outputs_match(a, b) and outputs_match(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a: bytes, b: bytes) -> None:
    assert not outputs_match(a, b) and not outputs_match(b, a)


def reference(a: bytes, b: bytes) -> bool:
    """The rule word by word, without any care for speed."""

    def tokens(data: bytes) -> list[str]:
        for separator in "\t\n\r\v":
            data = data.replace(separator.encode(), b" ")
        return [token.decode().lower() for token in data.split(b" ") if token]

    def number(token: str) -> float | None:
        if any(c not in "0123456789.+-einfaty" for c in token):
            return None
        try:
            return float(token)
        except ValueError:
            return None

    def integer(token: str) -> int | None:
        return int(token) if token.lstrip("+-").isdigit() and len(token) - len(token.lstrip("+-")) <= 1 else None

    def same(x: str, y: str) -> bool:
        if x == y:
            return True
        if integer(x) is not None and integer(y) is not None:
            return integer(x) == integer(y)
        p, q = number(x), number(y)
        return p is not None and q is not None and not math.isnan(p - q) and abs(p - q) < 1e-5

    return len(tokens(a)) == len(tokens(b)) and all(map(same, tokens(a), tokens(b)))


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 64, 1 << 20])
def test_agrees_with_the_reference_at_every_block_size(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr(compare, "BLOCK_BYTES", block_bytes)
    rng = random.Random(block_bytes)
    words = [
        "1",
        "01",
        "1.0",
        "1.000004",
        "1.00002",
        "-1",
        "+1",
        "nan",
        "inf",
        "Infinity",
        "a",
        "A",
        "b",
        "1e0",
        "10e-1",
        "",
        ".",
    ]
    matches = 0
    for _ in range(1000):
        one = [rng.choice(words) for _ in range(rng.randrange(6))]
        two = [word if rng.random() < 0.8 else rng.choice(words) for word in one]
        a, b = (
            "".join(word + rng.choice(" \n\t\r\v") * rng.randrange(1, 3) for word in side).encode()
            for side in (one, two)
        )
        expected = reference(a, b)
        matches += expected
        assert outputs_match(a, b) == expected == outputs_match(b, a), (a, b)
    assert 100 < matches < 950  # both answers occur often


def random_number(rng: random.Random) -> str:
    """With runs of digits of any length, some of them missing, and now and then no number."""

    def digits() -> str:
        return "".join(rng.choice("00019") for _ in range(rng.choice([0, 1, 2, 3, 1000])))

    token = rng.choice(["", "", "+", "-"]) + digits() + rng.choice(["", "."]) + digits()
    if rng.random() < 0.4:
        token += rng.choice("eE") + rng.choice(["", "+", "-"]) + rng.choice(["", "0", "000", str(rng.randrange(1300))])
    at = rng.randrange(len(token) + 1)
    return token[:at] + rng.choice("+-.eax\f_") + token[at:] if rng.random() < 0.1 else token


def written_otherwise(rng: random.Random, token: str) -> str:
    change = rng.randrange(6)
    if change == 0:
        return token[:1] + "000" + token[1:] if token[:1] in ("+", "-") else "000" + token
    if change == 1:
        return token + ("0" if "." in token else ".0")
    if change == 2 and token:
        at = rng.randrange(len(token))
        return token[:at] + rng.choice("0123456789") + token[at + 1 :]
    return [token, token, token.upper(), random_number(rng)][change - 2]


@pytest.mark.parametrize("block_bytes", [1, 2, 7, 64])
@pytest.mark.parametrize("piece_bytes", [1, 3, 1000])
def test_long_numbers_agree_with_the_reference(
    monkeypatch: pytest.MonkeyPatch, block_bytes: int, piece_bytes: int
) -> None:
    """Every token from a block's size on is read piece by piece."""
    monkeypatch.setattr(compare, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(compare, "PIECE_BYTES", piece_bytes)
    rng = random.Random(f"{block_bytes} {piece_bytes}")
    answers = {True: 0, False: 0}
    for _ in range(80):
        one = [random_number(rng) for _ in range(rng.randrange(1, 3))]
        two = [written_otherwise(rng, token) for token in one]
        a, b = ("\n".join(side).encode() + rng.choice([b"", b"\n"]) for side in (one, two))
        expected = reference(a, b)
        answers[expected] += 1
        assert outputs_match(a, b) == expected == outputs_match(memoryview(b), a), (a, b)
    assert min(answers.values()) > 10


@pytest.mark.parametrize("size", [BLOCK_BYTES, 2 * BLOCK_BYTES, 1 << 20, 3 << 20])
def test_tokens_around_the_edges_of_blocks_and_pieces(size: int) -> None:
    for length in (size - 1, size, size + 1):
        zeros, sevens, word = b"0" * length, b"7" * length, b"a\fb" * (length // 3)
        for a, b in [
            (b"1 " + sevens, b"1\n+0" + sevens + b"\n"), (b"-" + zeros, b"0"), (zeros + b"5 x", b"5 x"),
            (b"1" + zeros + b"e-%d" % length, b"1"), (b"0." + zeros + b"1e%d" % (length + 1), b"1.000001"),
            (word + b" 1", word.upper() + b"\v1"), (sevens + b"e-%d" % length, b".77777777"),
            (b"." + sevens, b"0.77777777"), (b"1e" + zeros + b"3", b"1000"), (b"-1e-" + zeros + b"1", b"-.1"),
            (b"3." + zeros + b" nan", b"3 nan"),
        ]:  # fmt: skip
            assert outputs_match(a, b) and outputs_match(b, a), (size, length, a[:20], b[:20])
        for a, b in [
            (sevens, sevens[:-1] + b"8"), (sevens, b"7" + sevens), (b"-" + sevens, sevens), (zeros, b"inf"),
            (sevens, sevens[1:] + b" 7"), (zeros, b""), (sevens, b"inf"), (sevens, b"nan"), (word, word + b"c"),
            (b"-" + sevens, b"-infinity"), (b"1e" + sevens, b"1e8" + sevens), (b"1e-" + sevens, b"1"),
            (sevens + b".5.5", sevens), (sevens + b"e", sevens), (b"+-" + sevens, sevens), (b"e" + sevens, b"0"),
            (b"." + zeros + b"_", b"0"), (sevens + b"\xc2\xb2", sevens),
        ]:  # fmt: skip
            assert not outputs_match(a, b) and not outputs_match(b, a), (size, length, a[:20], b[:20])


def test_the_last_of_millions_of_digits_decides_how_a_number_is_rounded() -> None:
    """2**53 + 1 lies between two doubles; anything behind it makes the upper one the nearest."""
    between = b"9007199254740993." + b"0" * (1 << 20)
    assert outputs_match(between, b"9007199254740992.0") and not outputs_match(between, b"9007199254740994.0")
    assert outputs_match(between + b"1", b"9007199254740994.0")
    assert not outputs_match(between + b"1", b"9007199254740992.0")
    digits = b"9007199254740993" + b"0" * (1 << 20)
    assert outputs_match(digits + b"1e-%d" % ((1 << 20) + 1), b"9007199254740994.0")


@pytest.fixture
def written() -> Iterator[Callable[[bytes], OutputFile]]:
    """Files that hold what they are called with."""
    with ExitStack() as stack:

        def write(data: bytes) -> OutputFile:
            file = stack.enter_context(tempfile.TemporaryFile(dir="/dev/shm"))
            file.write(data)
            file.flush()
            return OutputFile(file.fileno(), len(data))

        yield write


def test_a_file_is_compared_as_its_bytes_are(written: Callable[[bytes], OutputFile]) -> None:
    for size in (0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 100 * BLOCK_BYTES):
        data = b"12 " * size
        assert outputs_match(written(data), data.replace(b" ", b"\n"))
        assert not outputs_match(written(data), data + b"1")
        assert outputs_match(OutputFile(written(data + b" behind").descriptor, len(data)), data)


@pytest.mark.parametrize("left", [0, 1, 3 << 20])
def test_a_file_that_is_cut_meanwhile_is_no_right_output_and_no_end(
    written: Callable[[bytes], OutputFile], left: int
) -> None:
    for data in (b"7" * (4 << 20), b"12 " * (4 << 20)):
        output = written(data)
        os.ftruncate(output.descriptor, left)
        assert not outputs_match(output, data) and not outputs_match(output, data + b" ")


SIZE = 1 << 26
HEAVY = {  # what a program prints, and what is expected
    "one token, a short one expected": lambda: (b"7" * SIZE, b"7\n"),
    "one token, the last digit differs": lambda: (b"7" * SIZE, b"7" * (SIZE - 1) + b"8"),
    "one token, written otherwise": lambda: (b"7" * SIZE, b"+0" + b"7" * SIZE + b"\n"),
    "one number with a fraction": lambda: (b"7" * SIZE + b".5", b"7" * (SIZE // 2) + b".5"),
    "one word": lambda: (b"x" * SIZE, b"X" * (SIZE - 1) + b"y"),
    "nothing but spaces": lambda: (b" " * SIZE, b"7"),
    "numbers, written otherwise": lambda: (b"+1 " * (1 << 17), b"1 " * (1 << 17)),
}


@pytest.mark.parametrize("kind", HEAVY)
def test_a_large_output_is_compared_in_a_second_and_keeps_nobody_waiting(
    kind: str, written: Callable[[bytes], OutputFile]
) -> None:
    """CPU time of this thread, so that it may be busy here: between two turns of another task, and in all."""
    printed, expected = HEAVY[kind]()
    output = written(printed)  # as the server reads what a jail wrote
    del printed

    async def judged() -> tuple[float, float]:
        gaps = [0.0]

        async def others() -> None:
            while True:
                before = time.thread_time()
                await asyncio.sleep(0)
                gaps.append(time.thread_time() - before)

        task = asyncio.create_task(others())
        started = time.thread_time()
        answer = await compare.compare(output, expected)
        used_s = time.thread_time() - started
        task.cancel()
        assert answer == ("otherwise" in kind) and len(gaps) > 20
        return max(gaps), used_s

    longest_s, used_s = min(asyncio.run(judged()) for _ in range(2))
    assert longest_s < 0.04 and used_s < 1


def test_comparisons_at_the_same_time_take_turns() -> None:
    """The small one ends first, though it began last."""
    ended = []

    async def one(name: str, output: bytes, expected: bytes) -> None:
        assert await compare.compare(output, expected)
        ended.append(name)

    async def all_of() -> None:
        large = b"7" * (1 << 24)
        await asyncio.gather(
            one("large", large, b"0" + large), one("small", b"1 " * BLOCK_BYTES, b"1\n" * BLOCK_BYTES)
        )

    asyncio.run(all_of())
    assert ended == ["small", "large"]


def test_tolerance_is_absolute_and_strict() -> None:
    assert outputs_match(b"1000000.000009", b"1000000")
    assert not outputs_match(b"1e-5", b"0")  # exactly the tolerance
    assert outputs_match(b"9.99e-6", b"0")


def test_millions_of_digits_take_linear_time() -> None:
    digits = b"7" * 10**6
    started = time.perf_counter()
    assert outputs_match(b"000" + digits, digits)
    assert not outputs_match(digits + b"1", digits + b"2")
    assert not outputs_match(digits + b".5", digits + b"2")
    assert time.perf_counter() - started < 5  # int() of it would take minutes


@pytest.mark.parametrize(
    "parts",
    [
        "1 x",
        "1 . 1 x",
        ". 1 x",
        "1 e 1 x",
        "1 . 1 e 1 x",
        "1 .5",
        "1 e- 9",
        "0. 0 1",
        "9007199254740993 0 .5",
        "1 inf",
    ],
)
@pytest.mark.parametrize("expected", [b"2", b"2.5", b"x"])
def test_no_token_takes_more_than_linear_time(parts: str, expected: bytes) -> None:
    """Parts of one digit are repeated. Eight times the size costs 8 times as much, and 64 times if it is quadratic."""

    def cost(count: int) -> float:
        token = "".join(part * count if part in ("0", "1", "9") else part for part in parts.split()).encode()
        times = []
        for _ in range(5):
            started = time.process_time()
            outputs_match(token, expected)
            times.append(time.process_time() - started)
        return min(times)

    for count in (500, 100_000):
        assert cost(8 * count) < 24 * cost(count) + 1e-3


def test_large_outputs_take_little_extra_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "BLOCK_BYTES", 1 << 16)
    a = b"12345 abc\n" * 100_000
    b = b"12345 abc \n" * 100_000 + b"x"
    tracemalloc.start()
    try:
        assert not outputs_match(a, b)
        assert tracemalloc.get_traced_memory()[1] < 4e6  # all 400,000 tokens at once are 16 MB
    finally:
        tracemalloc.stop()


# ---- properties, on random tokens ----

SEPARATORS = b" \n\t\r\v"
SPELLINGS = [
    "7",
    "-0",
    "+12",
    "1e5",
    "0.5",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "infinity",
    "1e-5",
    "9" * 60,
    "x",
    "Yes",
    "é",
]


def random_tokens(rng: random.Random) -> list[bytes]:
    return [
        rng.choice(
            [rng.choice(SPELLINGS), str(rng.randrange(-(10**25), 10**25)), repr(rng.uniform(-1e3, 1e3))]
        ).encode()
        for _ in range(rng.randrange(12))
    ]


def joined(rng: random.Random, tokens: list[bytes]) -> bytes:
    """With separators of any kind and number, also at the ends."""

    def space(least: int) -> bytes:
        return bytes(rng.choice(SEPARATORS) for _ in range(rng.randrange(least, 4)))

    return space(0) + b"".join(token + space(1) for token in tokens)


def swapped_case(rng: random.Random, tokens: list[bytes]) -> list[bytes]:
    return [rng.choice([token, token.upper(), token.lower(), token.swapcase()]) for token in tokens]


@pytest.mark.parametrize("seed", range(5))
def test_whitespace_and_case_never_matter(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        tokens = random_tokens(rng)
        assert outputs_match(joined(rng, tokens), joined(rng, swapped_case(rng, tokens)))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_two_sides_never_matters(seed: int) -> None:
    rng = random.Random(seed)
    answers = set()
    for _ in range(400):
        tokens = random_tokens(rng)
        changed = [random_tokens(rng)[:1] or [b"1"] if rng.random() < 0.1 else [token] for token in tokens]
        a, b = joined(rng, tokens), joined(rng, [token for part in changed for token in part])
        answers.add(outputs_match(a, b))
        assert outputs_match(a, b) == outputs_match(b, a), (a, b)
    assert answers == {True, False}


@pytest.mark.parametrize("seed", range(3))
def test_integers_of_any_length_match_if_they_are_equal(seed: int) -> None:
    rng = random.Random(seed)
    for digits in (1, 15, 16, 17, 18, 19, 20, 40, 400, 4000):  # doubles are exact to 15 or 16
        number = rng.randrange(10 ** (digits - 1), 10**digits)
        text = b"%d" % number
        for other in (number - 1, number + 1, -number, number + 10**digits):
            assert not outputs_match(text, b"%d" % other) and not outputs_match(b"%d" % other, text)
        for same in (b"+" + text, b"00" + text, b" " + text + b"\n"):
            assert outputs_match(text, same) and outputs_match(same, text)


def test_the_tolerance_lies_between_neighbouring_floats() -> None:
    """The border of |a - b| < 1e-5 for every sign: the float next to it on either side."""
    for a in (0.0, -0.0, 1.0, -3.5):
        for sign in (1, -1):
            border = a + sign * 1e-5
            while not abs(a - border) < 1e-5:
                border = math.nextafter(border, a)
            beyond = math.nextafter(border, sign * math.inf)
            assert outputs_match(repr(a).encode(), repr(border).encode())
            assert not outputs_match(repr(a).encode(), repr(beyond).encode()), (a, beyond)


def test_only_the_same_spelling_of_nan_and_of_the_infinities_matches() -> None:
    names = [b"nan", b"+nan", b"-nan", b"inf", b"+inf", b"-inf", b"infinity", b"1e999", b"-1e999", b"0", b"1e308"]
    for a in names:
        for b in names:
            assert outputs_match(a, b) == (a == b), (a, b)


def test_a_hundred_megabytes_are_compared_without_a_copy() -> None:
    """Equal but for spaces, so that every byte is looked at; the extra memory is that of a block's tokens."""
    a = (b"0123456789" * 100 + b"\n") * 100_000
    b = a.replace(b"\n", b" \n")
    assert len(a) > 100e6
    tracemalloc.start()
    try:
        assert outputs_match(a, b)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
