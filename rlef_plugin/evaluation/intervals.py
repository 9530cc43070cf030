"""Means over problems with 95% bootstrap intervals, 200 resamples as in the paper (docs/paper.md section 6).

Problems are resampled, with everything that was played on them: rollouts of one problem are alike, so to resample
single rollouts would make every interval too narrow. An interval therefore speaks of other problems of the same kind,
not of other rollouts on these. Percentile intervals; the same numbers for the same seed. With few problems they are
too narrow all the same, like every bootstrap.

Where all problems agree no resample differs, and an interval without width would be a claim of certainty. What n
problems did not show may still be a share of up to 1 - 0.025^(1/n) of all problems (the exact binomial bound of
Clopper and Pearson for 0 of n), and those may be at 0 or at 1: ten problems of ten solved give 0.69 to 1.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlef_plugin.errors import UsageError

RESAMPLES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in [0, 1] over `problems` problems, and its interval; nan where nothing was counted."""

    mean: float
    low: float
    high: float
    problems: int


UNKNOWN = Rate(float("nan"), float("nan"), float("nan"), 0)


def mean_rate(per_problem: Sequence[float], seed: int = 0) -> Rate:
    """The mean over problems, each counting once.

    Raises:
        UsageError: there is no problem.
    """
    return _bootstrap(per_problem, lambda drawn: sum(drawn) / len(drawn), seed)


def share(per_problem: Sequence[tuple[int, int]], seed: int = 0) -> Rate:
    """The share of all cases, from (cases that count, cases) of each problem; nan if there is no case."""

    def ratio(drawn: Sequence[tuple[int, int]]) -> float:
        cases = sum(of for _, of in drawn)
        return sum(counted for counted, _ in drawn) / cases if cases else float("nan")

    with_cases = [one for one in per_problem if one[1]]
    if not with_cases:
        return UNKNOWN
    return _bootstrap(with_cases, ratio, seed)


def _bootstrap[T](values: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int) -> Rate:
    if not values:
        raise UsageError("no problem has been evaluated: there is nothing to take a mean of")
    source = random.Random(seed)
    drawn = sorted(statistic(source.choices(values, k=len(values))) for _ in range(RESAMPLES))
    mean = statistic(values)
    if drawn[0] == drawn[-1]:
        seen = ((1 - CONFIDENCE) / 2) ** (1 / len(values))
        return Rate(mean, seen * mean, max(mean, 1 - seen * (1 - mean)), len(values))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)  # resamples beyond either end
    return Rate(mean, drawn[outside], drawn[-1 - outside], len(values))
