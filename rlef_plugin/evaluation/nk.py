"""n@k: how often one of n submissions, chosen among k samples by the public tests, passes every test.

docs/paper.md section 6 has the definition, AlphaCode (Li et al., 2022) the estimator:

    K samples of a problem, e of which pass the public tests and s of those every test; of these, k are drawn:
    e' ~ Hypergeometric(K, e, k);   m = min(n, e') of the e' are submitted;   solved with 1 - C(e - s, m) / C(e, m)

A sample is a submission with what was found about it (`Counts`); for several turns it is a rollout, and `samples_of`
says how many of them a budget of k responses buys: every turn counts, and what an early stop leaves unused is not
refunded. 1@3 with 3 turns is one rollout, 10@100 is 33 of them. pass@k is the case n = k without a selection.

The expectation over all draws is computed, so the estimate is unbiased for every K >= k, and exact integers are used,
so nothing overflows. `intervals.py` takes the mean over problems.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import comb

from rlef_plugin.errors import UsageError


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one problem's samples: how many there are, pass the public tests, and pass every test."""

    samples: int
    public: int
    solved: int

    def __post_init__(self) -> None:
        if not 0 <= self.solved <= self.public <= self.samples:
            raise ValueError(f"{self}: whatever passes every test passes the public ones, and is one of the samples")


def n_at_k(counts: Counts, n: int, k: int) -> float:
    """The probability that a draw of k samples solves the problem with at most n submissions.

    Raises:
        UsageError: there are fewer than k samples, so that nothing unbiased can be said.
    """
    _check(counts, n, k)
    K, e, s = counts.samples, counts.public, counts.solved
    solved = Fraction(0)
    for drawn in range(max(0, k - (K - e)), min(e, k) + 1):  # e', of those that pass the public tests
        m = min(n, drawn)
        missed = Fraction(comb(e - s, m), comb(e, m)) if e else Fraction(1)
        solved += comb(e, drawn) * comb(K - e, k - drawn) * (1 - missed)
    return float(solved / comb(K, k))


def pass_at_k(counts: Counts, k: int) -> float:
    """The probability that at least one of k samples passes every test: no selection, k submissions."""
    _check(counts, k, k)
    return float(1 - Fraction(comb(counts.samples - counts.solved, k), comb(counts.samples, k)))


def samples_of(budget: int, turn_limit: int) -> int:
    """How many rollouts of up to `turn_limit` responses a budget of responses buys; at least one is asked for."""
    if budget < turn_limit:
        raise UsageError(f"a budget of {budget} responses buys no rollout of {turn_limit} turns: raise it to that")
    return budget // turn_limit


def _check(counts: Counts, n: int, k: int) -> None:
    if not 0 < n <= k:
        raise UsageError(f"{n}@{k}: the submissions must be between 1 and the samples")
    if k > counts.samples:
        raise UsageError(f"{n}@{k} needs {k} samples a problem, but one has {counts.samples}: evaluate more rollouts")
