"""n@k against enumeration of every draw, against simulation, and against numbers worked by hand."""

import itertools
import random

import pytest

from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.nk import Counts, n_at_k, pass_at_k, samples_of


def enumerated(counts: Counts, n: int, k: int) -> float:
    """Draw every k of the K samples and submit every choice of n among those that pass the public tests."""
    samples = ["solved"] * counts.solved + ["public"] * (counts.public - counts.solved)
    samples += ["failed"] * (counts.samples - counts.public)
    draws = list(itertools.combinations(samples, k))
    return sum(map(lambda draw: submitted(draw, n), draws)) / len(draws)


def submitted(draw: tuple[str, ...], n: int) -> float:
    passing = [sample for sample in draw if sample != "failed"]
    choices = list(itertools.combinations(passing, min(n, len(passing))))
    return sum("solved" in choice for choice in choices) / len(choices)


SMALL = [
    Counts(K, e, s) for K in range(1, 7) for e in range(K + 1) for s in range(e + 1)
]  # every case of up to six samples


@pytest.mark.parametrize("counts", SMALL, ids=str)
def test_equals_the_enumeration_of_every_draw(counts: Counts) -> None:
    for k in range(1, counts.samples + 1):
        for n in range(1, k + 1):
            assert n_at_k(counts, n, k) == pytest.approx(enumerated(counts, n, k), abs=1e-12)


def test_by_hand() -> None:
    # K=4, e=2, s=1; 1@2. Draws of 2 of 4: 6. e'=0: 1 draw, nothing submitted. e'=1: 4 draws, half of them hold the
    # right one: 1/2. e'=2: 1 draw, one of two submitted: 1/2. (4 * 1/2 + 1 * 1/2) / 6 = 5/12.
    assert n_at_k(Counts(4, 2, 1), 1, 2) == pytest.approx(5 / 12)
    # The same with two submissions: e'=1 as before, e'=2 submits both: (4 * 1/2 + 1) / 6 = 1/2.
    assert n_at_k(Counts(4, 2, 1), 2, 2) == pytest.approx(1 / 2)
    # No selection: at least one of two drawn of four is the right one: 1 - C(3,2)/C(4,2) = 1/2.
    assert pass_at_k(Counts(4, 2, 1), 2) == pytest.approx(1 / 2)


@pytest.mark.parametrize("n, k", [(1, 1), (1, 3), (2, 5), (10, 33)])
def test_is_unbiased(n: int, k: int) -> None:
    """The mean estimate over many groups of K samples is the true rate of drawing k from the model itself."""
    source = random.Random(7)
    p_public, p_solved, K = 0.4, 0.15, 60  # shares of all samples

    def draw(size: int) -> list[float]:
        return [source.random() for _ in range(size)]

    truth, estimates = [], []
    for _ in range(4000):
        drawn = draw(k)
        chosen = [x for x in drawn if x < p_public][:n]
        truth.append(any(x < p_solved for x in chosen))
    for _ in range(800):
        found = draw(K)
        counts = Counts(K, sum(x < p_public for x in found), sum(x < p_solved for x in found))
        estimates.append(n_at_k(counts, n, k))
    # standard error: at most 0.5/sqrt(4000) + the estimates', together under 0.015
    assert sum(estimates) / len(estimates) == pytest.approx(sum(truth) / len(truth), abs=0.045)


def test_large_counts_stay_exact() -> None:
    assert n_at_k(Counts(2000, 1000, 1), 1, 1) == pytest.approx(1 / 2000, abs=1e-15)
    assert n_at_k(Counts(2000, 1, 1), 10, 1000) == pytest.approx(1 / 2)


def test_one_submission_among_passing_samples_is_their_solved_share() -> None:
    """With k = K and n = 1 the choice is uniform among the e: s / e."""
    assert n_at_k(Counts(20, 8, 2), 1, 20) == pytest.approx(2 / 8)


@pytest.mark.parametrize("budget, turn_limit, rollouts", [(3, 3, 1), (100, 3, 33), (100, 1, 100), (5, 5, 1)])
def test_every_turn_counts_as_a_sample(budget: int, turn_limit: int, rollouts: int) -> None:
    assert samples_of(budget, turn_limit) == rollouts


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: n_at_k(Counts(3, 1, 0), 1, 4), "1@4 needs 4 samples a problem, but one has 3"),
        (lambda: n_at_k(Counts(3, 1, 0), 2, 1), "2@1: the submissions"),
        (lambda: samples_of(2, 3), "a budget of 2 responses buys no rollout of 3 turns"),
    ],
)
def test_refuses_what_cannot_be_estimated(call: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()  # type: ignore[operator]


def test_counts_must_make_sense() -> None:
    with pytest.raises(ValueError, match="passes the public ones"):
        Counts(3, 1, 2)
