"""Bootstrap intervals: coverage by simulation, and what they are made of by hand."""

import math
import random

import pytest

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.intervals import mean_rate, share


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    source = random.Random(3)
    covered = 0
    for trial in range(300):
        rate = mean_rate([float(source.random() < 0.3) for _ in range(80)], seed=trial)
        covered += rate.low <= 0.3 <= rate.high
    assert 0.90 <= covered / 300 <= 0.985  # 95%, a little less for a percentile interval of 80; 3 standard errors


def test_the_interval_is_reproducible_and_holds_its_mean() -> None:
    values = [0.0, 1.0, 0.5, 0.25, 0.0, 0.0, 1.0]
    assert mean_rate(values) == mean_rate(values)
    assert mean_rate(values).low <= mean_rate(values).mean <= mean_rate(values).high
    assert mean_rate([0.5] * 9) == mean_rate([0.5] * 9, seed=5)


def test_a_share_counts_cases_and_not_problems() -> None:
    # 1 of 1 and 1 of 9: 2 of 10 cases, where the mean over problems would be (1 + 1/9) / 2.
    assert share([(1, 1), (1, 9)]).mean == pytest.approx(0.2)


def test_problems_without_a_case_neither_count_nor_widen() -> None:
    assert share([(1, 2), (0, 0), (3, 4)]) == share([(1, 2), (3, 4)])
    assert share([(1, 2), (0, 0)]).problems == 1


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert math.isnan(share([(0, 0)]).mean) and share([]).problems == 0


def test_rollouts_of_one_problem_do_not_narrow_the_interval() -> None:
    """Ten problems that are all or nothing: a hundred rollouts of each tell no more about other problems than one."""
    few = share([(solved, 1) for solved in (0, 1) for _ in range(5)])
    many = share([(100 * solved, 100) for solved in (0, 1) for _ in range(5)])
    assert (few.low, few.high) == (many.low, many.high)


@pytest.mark.parametrize(
    ("value", "problems", "low", "high"),
    [
        (1.0, 1, 0.025, 1.0),
        (1.0, 10, 0.6915, 1.0),  # Clopper and Pearson's for 10 of 10
        (0.0, 10, 0.0, 0.3085),
        (0.0, 256, 0.0, 0.0143),
        (0.5, 1, 0.0125, 0.9875),
    ],
)
def test_problems_that_agree_are_no_certainty(value: float, problems: int, low: float, high: float) -> None:
    rate = mean_rate([value] * problems)
    assert rate.mean == value
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)
    cases = [(4 * value, 4)] * problems
    assert share([(int(counted), of) for counted, of in cases]) == rate


def test_the_interval_of_agreeing_problems_covers_the_truth_of_a_rare_failure() -> None:
    """20 problems of which each fails with 3%: most draws show none, and resampling would say certainty."""
    source = random.Random(5)
    rates = [mean_rate([float(source.random() > 0.03) for _ in range(20)], seed=trial) for trial in range(300)]
    agreeing = [rate for rate in rates if rate.mean == 1.0]
    assert len(agreeing) > 100 and all(rate.low <= 0.97 <= rate.high for rate in agreeing)


def test_refuses_no_problem() -> None:
    with pytest.raises(UsageError, match="no problem has been evaluated"):
        mean_rate([])
