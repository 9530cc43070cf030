"""Four kinds of task: a statement that leaves one thing open, and the eight programs that it may mean.

    merge  what to print: sum, product, larger one, or both with one of five marks between: a wrong output tells
    read   how the input is written, on one line, on two or with one of six marks between: an exception tells
    walk   one of two short answers about a huge number, or a small one's stops with one of six marks: a timeout tells
    list   the same, where the natural program keeps its stops in a list: running out of memory tells

Which of the eight is meant, the truth, is drawn uniformly and never said. So a first program is right in one of eight
cases, whatever the statement; its failure on the one public test, on which all eight behave differently, tells more.
In `walk` and `list` a program that goes through the stops of a huge number breaks a limit, which says that a short
answer is meant, but not which one: there a second failure may be needed. Three programs guessed blindly and
independently solve 1 - (7/8)^3 = 33%, ones that never repeat 3/8.

Nothing here runs a program; answers are computed by `Choice.answer`, and tests compare them with what jails say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

MARKS = "-:/;|,"
TRUTHS = 8
HUGE = 10**9  # first numbers from here on are beyond any loop within the limits
GUESSING = 1 - (1 - 1 / TRUTHS) ** 3  # solved within three turns by blind, independent guesses

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a statement may mean, as program text after the line that reads `a` and `b`."""

    body: str
    answer: Callable[[int, int], str]
    huge: bool = False  # asked of huge numbers only


@dataclass(frozen=True, slots=True)
class Layout:
    """How two numbers are written, and the line that reads them."""

    between: str
    reading: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task. Either the choice is the truth and the layout is said, or the other way round."""

    name: str
    choices: dict[str, Choice]
    layouts: dict[str, Layout]  # by the words that say them
    statements: tuple[str, ...]  # with {p}, {q} and what is said: {layout} or {choice}
    pairs: tuple[Pair, ...]  # of small numbers
    huge_pairs: tuple[Pair, ...] = ()


def _joined(mark: str, body: str, stops: Callable[[int, int], range | Pair]) -> Choice:
    return Choice(body.replace("?", mark), lambda a, b: mark.join(map(str, stops(a, b))))


def _ended(mark: str) -> Choice:
    body = f"while a>=0:\n print(a,end='{mark}')\n a-=b"
    return Choice(body, lambda a, b: "".join(f"{stop}{mark}" for stop in range(a, -1, -b)))


_COMPUTED = {
    "add": Choice("print(a+b)", lambda a, b: str(a + b)),
    "multiply": Choice("print(a*b)", lambda a, b: str(a * b)),
    "take the larger of": Choice("print(max(a,b))", lambda a, b: str(max(a, b))),
}
_SAID = {
    "on one line": Layout(" ", "a,b=map(int,input().split())"),
    "on two lines": Layout("\n", "a,b=int(input()),int(input())"),
    "with a comma between": Layout(",", "a,b=map(int,input().split(','))"),
}
_UNSAID = {mark: Layout(mark, f"a,b=map(int,input().split('{mark}'))") for mark in MARKS}
_UNSAID |= {layout.between: layout for layout in (_SAID["on one line"], _SAID["on two lines"])}
_LITTLE = tuple((a, b) for a in range(2, 10) for b in range(2, 10) if (a, b) != (2, 2))  # 2+2 = 2*2
_STOPS = tuple((a, b) for a in range(6, 25) for b in range(2, 7) if 2 <= a // b <= 4 and a % b != a // b)
_LISTED = tuple((a, b) for a, b in _STOPS if len(range(0, a, b)) != range(0, a, b)[-1])


def _phrased(openings: str, middles: str, ends: str) -> tuple[str, ...]:
    return tuple(" ".join(parts).strip() + "." for parts in product(*(_split(x) for x in (openings, middles, ends))))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split("|")]


_GIVEN = "given {layout}"
FAMILIES = (
    Family(
        "merge",
        {**_COMPUTED, **{mark: _joined(mark, "print(a,b,sep='?')", lambda a, b: (a, b)) for mark in MARKS[:5]}},
        _SAID,
        _phrased(
            "Merge | Combine | Unite | Bring together",
            "{p} and {q} | the values {p} and {q} | the two numbers {p} and {q}",
            _GIVEN,
        ),
        _LITTLE,
    ),
    Family(
        "read",
        _COMPUTED,
        _UNSAID,
        _phrased(
            "Please {choice} | Now {choice} | Just {choice}",
            "{p} and {q}",
            "as they come | given in some way | from the input | however they are written",
        ),
        _LITTLE,
    ),
    Family(
        "walk",
        {
            "rest": Choice("print(a%b)", lambda a, b: str(a % b), huge=True),
            "count": Choice("print(a//b)", lambda a, b: str(a // b), huge=True),
            **{mark: _ended(mark) for mark in MARKS},
        },
        _SAID,
        _phrased(
            "Walk down from {p} | Go down from {p} | Step down from {p} | Climb down from {p}",
            "by {q} and report | by {q} each time and report | in steps of {q} and report",
            _GIVEN,
        ),
        _STOPS,
        tuple((k * HUGE + rest, by) for k in range(2, 10) for by in (4, 5, 8) for rest in range(1, by)),
    ),
    Family(
        "list",
        {
            "number": Choice("print(len(range(0,a,b)))", lambda a, b: str(len(range(0, a, b))), huge=True),
            "last": Choice("print(range(0,a,b)[-1])", lambda a, b: str(range(0, a, b)[-1]), huge=True),
            **{
                mark: _joined(mark, "c=list(range(0,a,b))\nprint(*c,sep='?')", lambda a, b: range(0, a, b))
                for mark in MARKS
            },
        },
        _SAID,
        _phrased(
            "Note the numbers | List the numbers | Collect the numbers | Gather the numbers",
            "below {p} by {q} and report | below {p} that {q} divides and report | under {p} by {q} and report",
            _GIVEN,
        ),
        _LISTED,
        tuple((k * 1000 * HUGE + 1, by) for k in range(2, 10) for by in (4, 5, 8, 10, 16, 20, 25)),
    ),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One problem: what is said, what is meant, and the numbers of its public test."""

    family: Family
    statement: str
    said: str  # the layout in words; in `read`, the choice
    truth: int  # of TRUTHS
    public: Pair

    @property
    def hidden(self) -> tuple[str, ...]:
        """What may be meant, in order."""
        return tuple(self.family.layouts if self.says_choice else self.family.choices)

    @property
    def says_choice(self) -> bool:
        return self.said in self.family.choices

    def _meaning(self, truth: int) -> tuple[Layout, Choice]:
        layout, choice = (self.hidden[truth], self.said) if self.says_choice else (self.said, self.hidden[truth])
        return self.family.layouts[layout], self.family.choices[choice]

    def program(self, truth: int) -> str:
        layout, choice = self._meaning(truth)
        return f"{layout.reading}\n{choice.body}"

    def asks_huge(self) -> bool:
        return self._meaning(self.truth)[1].huge

    def test(self, pair: Pair) -> tuple[str, str]:
        """(input, expected output)."""
        layout, choice = self._meaning(self.truth)
        return f"{pair[0]}{layout.between}{pair[1]}\n", choice.answer(*pair) + "\n"
