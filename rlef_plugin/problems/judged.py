"""What judging a problem's stored programs says about its tests: which are unsound, and which should come first.

    a program's results   a text with a character a test, public ones first: 0 accepted, 1 to 6 the Verdict, - not run
    usable                a correct program that passes a test at least; one that passes none (a module that is not
                          there, another problem's program) says nothing about the tests
    unpassed test         no usable program passes it, and `MIN_PROGRAMS` fail it other than by time: several right
                          answers or a wrong output
    slow test             any other that no usable program passes, though some were run, and one timed out: no reason
                          to drop the test, since its input may be what tells fast programs from slow ones
    idle test             no program fails it, right or wrong, though wrong ones were judged

Unsound is a problem on which right programs lose, and nothing else: that a wrong program is accepted is reported, and
is no reason to drop anything. A problem without usable programs is unverified and stays. So does a doubtful one, whose
only usable program fails a test: whether the test is wrong or the program, one program cannot say.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ACCEPTED, NOT_RUN, TIMEOUT = "0", "-", "3"  # 3 as in Verdict.TIMEOUT
MIN_PROGRAMS = 2  # usable ones that fail a test before it is dropped
MAX_UNPASSED = 0.25  # of a problem's tests; with more, programs or tests are another problem's


@dataclass(frozen=True, slots=True)
class Judged:
    """The results of one problem's programs."""

    id: str
    public: int  # of the tests, the first so many
    tests: int
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]
    not_sampled: int = 0  # programs that are stored and were not judged
    checker: str = ""  # what is wrong with the problem's checker

    @property
    def usable(self) -> list[str]:
        return [one for one in self.correct if ACCEPTED in one]

    @property
    def accepted(self) -> int:
        return sum(passes(one, range(self.tests)) for one in self.correct)

    @property
    def rejected(self) -> int:
        return sum(any(map(fails, one)) for one in self.incorrect)

    @property
    def unpassed(self) -> list[int]:
        """Places of tests."""
        return [i for i, found in self._failed.items() if sum(one != TIMEOUT for one in found) >= MIN_PROGRAMS]

    @property
    def slow(self) -> list[int]:
        """Places of tests."""
        unpassed = self.unpassed
        return [i for i, found in self._failed.items() if TIMEOUT in found and i not in unpassed]

    @property
    def doubtful(self) -> bool:
        return len(self.usable) < MIN_PROGRAMS and any(any(map(fails, one)) for one in self.usable)

    @property
    def _failed(self) -> dict[int, list[str]]:
        """By place, what usable programs got on a test that some were run on and none passes."""
        columns = {i: [one[i] for one in self.usable if one[i] != NOT_RUN] for i in range(self.tests)}
        return {i: found for i, found in columns.items() if found and ACCEPTED not in found}

    @property
    def idle(self) -> list[int]:
        """Places of tests."""
        if not self.incorrect:
            return []
        programs = (*self.usable, *self.incorrect)
        return [i for i in range(self.tests) if not any(fails(one[i]) for one in programs)]

    def facts(self) -> dict[str, Any]:
        """The numbers, for machines."""
        numbers = {"accepted": self.accepted, "rejected": self.rejected, "usable": len(self.usable)}
        tests = {"unpassed_tests": self.unpassed, "slow_tests": self.slow, "idle_tests": self.idle}
        return numbers | tests | {"unsound": unsound(self), "doubtful": self.doubtful}


def fails(result: str) -> bool:
    """Of one test."""
    return result not in (ACCEPTED, NOT_RUN)


def passes(program: str, places: Sequence[int]) -> bool:
    return all(program[i] == ACCEPTED for i in places)


def sound_tests(judged: Judged) -> list[int]:
    """Places of the tests that stay."""
    unpassed = set(judged.unpassed)
    return [i for i in range(judged.tests) if i not in unpassed]


def unsound(judged: Judged, min_accepted: float = 0.5) -> str:
    """Why the problem should not be trained on, even without the unpassed tests; "" if it may be."""
    if judged.checker:
        return "its checker is broken"
    if not judged.usable or judged.doubtful:
        return ""
    left = sound_tests(judged)
    if not any(i < judged.public for i in left):
        return "no correct program passes any public test"
    if judged.tests > judged.public and not any(i >= judged.public for i in left):
        return "no correct program passes any private test"
    if judged.tests - len(left) > MAX_UNPASSED * judged.tests:
        return f"more than {MAX_UNPASSED:.0%} of its tests are passed by no correct program"
    accepted = sum(passes(one, left) for one in judged.usable)
    if accepted < min_accepted * len(judged.usable):
        if judged.slow:
            return "its correct programs take too long for some test"
        return f"of its correct programs, less than {min_accepted:.0%} are accepted"
    return ""


def telling_order(places: Sequence[int], programs: Sequence[str]) -> list[int]:
    """First the test that fails most of the wrong programs, then the one that fails most of those it does not, and so
    on; equals by how many they fail in all, then as they were."""
    count = {i: sum(fails(one[i]) for one in programs) for i in places}
    ordered: list[int] = []
    left = list(programs)
    while left:
        new = {i: sum(fails(one[i]) for one in left) for i in places if i not in ordered}
        best = max(new, key=lambda i: (new[i], count[i], -i), default=-1)
        if best < 0 or not new[best]:
            break
        ordered.append(best)
        left = [one for one in left if not fails(one[best])]
    return ordered + sorted((i for i in places if i not in ordered), key=lambda i: (-count[i], i))


def saving(problems: Sequence[Judged]) -> dict[str, int]:
    """Private tests run on wrong programs until one fails, in the source's order and in ours.

    Ours is that of the other half of a problem's wrong programs, so no program is judged by what it taught. Only
    programs that pass the public tests come so far, and only those judged on every test can be counted.
    """
    total = Counter(programs=0, not_counted=0, before=0, after=0)
    for problem in problems:
        private = range(problem.public, problem.tests)
        for half in (0, 1):
            order = telling_order(private, problem.incorrect[1 - half :: 2])
            for program in problem.incorrect[half::2]:
                if not passes(program, range(problem.public)):
                    continue
                if NOT_RUN in program:
                    total["not_counted"] += 1
                    continue
                total.update(programs=1, before=_run(program, private), after=_run(program, order))
    return dict(total)


def _run(program: str, order: Sequence[int]) -> int:
    """Tests until the first that fails, that one included."""
    return next((n for n, i in enumerate(order, 1) if fails(program[i])), len(order))
