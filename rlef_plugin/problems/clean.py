"""A judged store -> one in which right programs win, and whose private tests come in the order that ends soonest.

Dropped are tests that several correct programs fail and none passes, and problems that are unsound even then
(judged.py says when). With `drop=False` only the order changes. Problems that were not judged, and programs, are
copied as they are; doubtful ones keep all their tests, and are counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlef_plugin.problems.errors import StoreError
from rlef_plugin.problems.judged import Judged, sound_tests, telling_order, unsound
from rlef_plugin.problems.records import Problem
from rlef_plugin.problems.store import ProblemStore
from rlef_plugin.problems.writer import StoreWriter


@dataclass(slots=True)
class CleanReport:
    """What became of the problems."""

    kept: int = 0
    tests_dropped: int = 0
    problems_cut: int = 0  # that stay, without some of their tests
    doubtful: int = 0  # that stay, whole
    dropped: dict[str, str] = field(default_factory=dict)  # id -> why

    def __str__(self) -> str:
        cut = f", {self.problems_cut:,} of them without {self.tests_dropped:,} tests" if self.tests_dropped else ""
        lines = [f"{self.kept:,} problems written{cut}"]
        lines += [f"{self.doubtful:,} doubtful kept: their only correct program fails a test"] if self.doubtful else []
        reasons = Counter(self.dropped.values())
        return "\n".join(lines + [f"{count:,} dropped: {reason}" for reason, count in reasons.items()])


def write_clean(
    store: ProblemStore,
    judged: Mapping[str, Judged],
    out: Path | str,
    *,
    drop: bool,
    min_accepted: float = 0.5,
    overwrite: bool = False,
) -> CleanReport:
    """Write the store.

    Raises:
        StoreError: `out` cannot be written, or nothing is left to write.
    """
    report = CleanReport()
    with StoreWriter(out, overwrite=overwrite) as writer:
        for problem_id in store:
            found = judged.get(problem_id)
            reason = unsound(found, min_accepted) if found and drop else ""
            if reason:
                report.dropped[problem_id] = reason
                continue
            problem = store[problem_id]
            if found:
                places = sound_tests(found) if drop else list(range(found.tests))
                problem = _with_tests(problem, found, places)
                report.tests_dropped += found.tests - len(places)
                report.problems_cut += len(places) < found.tests
                report.doubtful += found.doubtful and drop
            writer.add(problem, store.solutions(problem_id))
            report.kept += 1
        if not report.kept:
            raise StoreError(f"no problem of {store.path} is sound: look at the results before dropping anything")
        account = {"kept": report.kept, "tests_dropped": report.tests_dropped, "dropped": report.dropped}
        writer.manifest = {
            "source": store.manifest["source"],
            "account": store.manifest["account"],
            "verified": account,
        }
    return report


def _with_tests(problem: Problem, judged: Judged, places: list[int]) -> Problem:
    tests = (*problem.public_tests, *problem.private_tests)
    public = [i for i in places if i < judged.public]
    private = telling_order([i for i in places if i >= judged.public], judged.incorrect)
    return replace(
        problem, public_tests=tuple(tests[i] for i in public), private_tests=tuple(tests[i] for i in private)
    )
