"""The records: what the rest of the plugin knows about a problem.

Plain values only; nothing here reads files or knows how problems are stored. A `Problem` holds expected outputs of
private tests: what may be shown to the model is `description` and `public_tests`, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class TestCase:
    """One run of a program: what it reads and what it should print."""

    __test__: ClassVar[bool] = False  # not a class of tests, whatever pytest thinks of its name

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One programming task.

    `private_tests` decide, together with the public ones, whether a program solves the problem. They are the source's
    private tests followed by its generated ones, in the source's order, unless the store was written by `rlef data
    verify`, which puts those first that reject most wrong programs. Judging stops at the first failure, so order is
    time; it is never meaning.
    """

    id: str  # unique in a store; letters, digits, dot, dash and underscore only: fit for a file name
    description: str
    public_tests: tuple[TestCase, ...]
    private_tests: tuple[TestCase, ...]
    time_limit_s: float | None = None  # CPU time a test; None = the problem names none
    memory_limit_mb: int | None = None  # in units of 2**20 bytes, rounded up; None = the problem names none
    input_file: str | None = None  # a plain file name; None = standard input
    output_file: str | None = None  # a plain file name; None = standard output
    split: str = "train"
    name: str = ""  # the source's own name, from which `id` was made
    source: str = ""  # "codeforces", "atcoder", ...; "" = unknown
    difficulty: str = ""  # "easy" ... "hardest", or a letter as on Codeforces; "" = unknown
    checker: str | None = None  # Python source of check(input, output, expected) -> bool; None = outputs are compared
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)  # JSON; what one kind of task needs


@dataclass(frozen=True, slots=True)
class Solution:
    """A stored Python 3 program with what its source says about it; nothing here was judged by us."""

    code: str
    correct: bool
    verdict: str | None = None  # of an incorrect one, a Verdict's name in lower case ("timeout"); None = not known
