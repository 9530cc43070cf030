"""What judging a problem's stored programs says about its tests: which are unsound, and which should come first.

    a program's results   a text with a character a test, public ones first: 0 accepted, 1 to 6 the Verdict, - not run
    usable                a correct program that passes a test at least; one that passes none (a module that is not
                          there, another problem's program) says nothing about the tests
    unpassed test         was run on usable programs, and none passes it: several right answers, a wrong output, or
                          limits no Python program keeps to
    idle test             no program fails it, right or wrong, though wrong ones were judged

Unsound is a problem on which right programs lose, and nothing else: that a wrong program is accepted is reported, and
is no reason to drop anything. A problem without usable programs is unverified and stays.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ACCEPTED, NOT_RUN, TIMEOUT = "0", "-", "3"  # 3 as in Verdict.TIMEOUT


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
        columns = [{one[i] for one in self.usable} - {NOT_RUN} for i in range(self.tests)]
        return [i for i, found in enumerate(columns) if found and ACCEPTED not in found]

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
        return numbers | {"unpassed_tests": self.unpassed, "idle_tests": self.idle, "unsound": unsound(self)}


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
    if not judged.usable:
        return ""
    left = sound_tests(judged)
    if not any(i < judged.public for i in left):
        return "no correct program passes any public test"
    if judged.tests > judged.public and not any(i >= judged.public for i in left):
        return "no correct program passes any private test"
    accepted = sum(passes(one, left) for one in judged.usable)
    if accepted < min_accepted * len(judged.usable):
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
