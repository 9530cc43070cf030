"""The table of one evaluation: n@k for its turn limit, single-turn baselines, budget curves; from rollouts alone.

Several turns: the samples are rollouts, and a budget of k responses buys k // turn_limit of them (`nk.samples_of`).
Single turn, from the same rollouts: the samples are their first responses, each an independent draw. A lower turn
limit than was played is read off the same rollouts (`Rollout.limited_to`), which is exact only where episodes stop as
soon as the public tests pass; where they do not (`rlef.early_stop=false`, no feedback), those rows are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlef_plugin.evaluation.intervals import Rate, mean_rate
from rlef_plugin.evaluation.nk import Counts, n_at_k, samples_of
from rlef_plugin.evaluation.rollouts import Rollout, by_problem

ASKED = ((1, 3), (1, 10), (10, 100))  # n@k of the tables, where there are rollouts enough
CURVE_TURNS = (1, 3, 5, 10)  # turn limits of the budget curves
CURVE_SUBMISSIONS = (1, 10)


@dataclass(frozen=True, slots=True)
class Score:
    n: int
    k: int  # responses
    turn_limit: int
    rate: Rate

    @property
    def name(self) -> str:
        return f"{self.n}@{self.k}"


def counts(rollouts: Iterable[Rollout], turn_limit: int) -> Counts:
    """Of one problem's rollouts, none longer than `turn_limit`."""
    limited = [rollout.limited_to(turn_limit) for rollout in rollouts]
    return Counts(len(limited), sum(one.public_passed for one in limited), sum(one.solved for one in limited))


def score(rollouts: Iterable[Rollout], turn_limit: int, n: int, k: int) -> Score:
    """Mean over problems with its interval.

    Raises:
        UsageError: a problem has too few rollouts for k responses.
    """
    drawn = samples_of(k, turn_limit)
    groups = by_problem(rollouts).values()
    return Score(
        n, k, turn_limit, mean_rate([n_at_k(counts(group, turn_limit), min(n, drawn), drawn) for group in groups])
    )


def table(rollouts: Sequence[Rollout], settings: Mapping[str, Any]) -> list[Score]:
    """Every row that these rollouts can give: the evaluation's own turn limit first, then single turn."""
    played = settings["episode"]["turn_limit"]
    limits = dict.fromkeys((played, 1) if stops_early(settings) else (played,))
    smallest = min(map(len, by_problem(rollouts).values()))
    return [
        score(rollouts, limit, n, k)
        for limit in limits
        for n, k in dict.fromkeys(((1, limit), *ASKED))
        if k >= limit and samples_of(k, limit) <= smallest
    ]


def budget_curve(rollouts: Sequence[Rollout], turn_limit: int, n: int) -> list[Score]:
    """n@k for budgets k that double, up to all that was played."""
    smallest = min(map(len, by_problem(rollouts).values()))
    drawn = [2**power for power in range(smallest.bit_length()) if 2**power <= smallest]
    return [score(rollouts, turn_limit, n, one * turn_limit) for one in dict.fromkeys((*drawn, smallest))]


def curve_turns(settings: Mapping[str, Any]) -> list[int]:
    """Turn limits whose curves can be drawn from one evaluation."""
    played = settings["episode"]["turn_limit"]
    return [limit for limit in CURVE_TURNS if limit < played and stops_early(settings)] + [played]


def incomplete(rollouts: Iterable[Rollout], settings: Mapping[str, Any]) -> str:
    """A sentence if fewer rollouts are there than were asked for last, else ""."""
    asked = settings.get("asked")
    if not asked:
        return ""
    wanted = asked["problems"] * asked["rollouts"]
    of_each = sorted(min(len(group), asked["rollouts"]) for group in by_problem(rollouts).values())
    played = sum(of_each[-asked["problems"] :])
    if played >= wanted:
        return ""
    return f"Incomplete: {played} of {wanted} rollouts are played, and the same `rlef eval` command plays the others."


def stops_early(settings: Mapping[str, Any]) -> bool:
    episode = settings["episode"]
    return bool(episode["early_stop"]) and episode.get("feedback", "public") != "none"
