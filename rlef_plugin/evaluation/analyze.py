"""The behaviour figure (docs/paper.md section 8): what a model does with its feedback, from one evaluation's rollouts.

Error types on the public tests at the first turn; of each, the share solved by turns 2, 3, ...; how much a program
differs from the one before it; how often it is the same; how often the public tests raise a false hope. Every share
has an interval over problems. `env/behaviour.py` compares programs and `intervals.py` makes the intervals; here is
only what is asked of the rollouts.

An episode that does not stop early (`rlef.early_stop=false`, no feedback) is played to its last turn, and only its
last response meets all tests: for those only the share solved by the last turn is known, the earlier ones are nan.

Not corrected for: an episode that stops early has no later turns, so shares at later turns are of harder cases.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from statistics import fmean, median

from rlef_plugin.env import behaviour
from rlef_plugin.evaluation.intervals import UNKNOWN, Rate, share
from rlef_plugin.evaluation.rollouts import Rollout, by_problem
from rlef_plugin.judge.verdicts import Verdict

KINDS = tuple(verdict.name.lower() for verdict in Verdict if verdict is not Verdict.ACCEPTED)
CHRF_BINS = tuple(range(0, 100, 10))  # lower edges; 100, a repetition up to white space, is in the last


@dataclass(frozen=True, slots=True)
class Recovery:
    """Of the rollouts whose first response failed the public tests in one way."""

    kind: str  # a verdict in lower case
    at_first_turn: Rate  # share of all rollouts
    solved_by_turn: tuple[Rate, ...]  # by turn 2, 3, ...: of those that were given another turn; nan where not known


@dataclass(frozen=True, slots=True)
class Behaviour:
    rollouts: int
    problems: int
    solved_by_turn: tuple[Rate, ...]  # by turn 1, 2, ...; nan where not known
    recovery: tuple[Recovery, ...]  # of every kind that occurred, the most frequent first
    false_hope: Rate  # of rollouts whose last response passes the public tests: another test fails
    invalid_code: Rate  # of responses
    repeated: Rate  # of programs with an earlier one: the same, character by character
    chrf_mean: float  # to the program before, 0 to 100; nan if no program follows another
    chrf_bins: tuple[float, ...]  # shares in `CHRF_BINS`
    changed_lines: float  # mean over the same programs: lines removed and added, over the lines of both
    turns_mean: float
    cpu_s_median: float  # over programs, of the slowest test
    memory_mb_median: float


def analyze(rollouts: Sequence[Rollout], turn_limit: int, stops_early: bool = True) -> Behaviour:
    groups = list(by_problem(rollouts).values())
    pairs = [pair for rollout in rollouts for pair in successive(rollout)]
    similar = [behaviour.chrf(new, old) for old, new in pairs]
    programs = [turn for rollout in rollouts for turn in rollout.turns if turn.code is not None]
    return Behaviour(
        rollouts=len(rollouts),
        problems=len(groups),
        solved_by_turn=_solved_by(groups, range(1, turn_limit + 1), stops_early),
        recovery=_recoveries(groups, turn_limit, stops_early),
        false_hope=_share(groups, lambda one: not one.solved, among=lambda one: one.public_passed),
        invalid_code=share([(_invalid(group), sum(len(one.turns) for one in group)) for group in groups]),
        repeated=share([_repeated(group) for group in groups]),
        chrf_mean=_of(fmean, similar),
        chrf_bins=_histogram(similar),
        changed_lines=_of(fmean, [changed_lines(old, new) for old, new in pairs]),
        turns_mean=_of(fmean, [len(one.turns) for one in rollouts]),
        cpu_s_median=_of(median, [turn.cpu_s for turn in programs]),
        memory_mb_median=_of(median, [turn.memory_mb for turn in programs]),
    )


def successive(rollout: Rollout) -> list[tuple[str, str]]:
    """(earlier, later) programs of one episode; responses without valid code are passed over."""
    programs = [turn.code for turn in rollout.turns]
    earlier = behaviour.earlier_programs(programs)
    return [(old, new) for old, new in zip(earlier, programs, strict=True) if old is not None and new is not None]


def changed_lines(old: str, new: str) -> float:
    """0 for the same lines, 1 for none in common: lines removed and added, over the lines of both."""
    before, after = old.splitlines(), new.splitlines()
    kept = sum(block.size for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks())
    total = len(before) + len(after)
    return (total - 2 * kept) / total if total else 0.0


def _solved_by(
    groups: list[list[Rollout]], turns: range, stops_early: bool, among: Callable[[Rollout], bool] | None = None
) -> tuple[Rate, ...]:
    def share_by(turn: int) -> Rate:
        return _share(groups, lambda one: one.solved and len(one.turns) <= turn, among)

    return tuple(share_by(turn) if stops_early or turn == turns[-1] else UNKNOWN for turn in turns)


def _recoveries(groups: list[list[Rollout]], turn_limit: int, stops_early: bool) -> tuple[Recovery, ...]:
    found = []
    for kind in KINDS:

        def failed(one: Rollout, kind: str = kind) -> bool:
            return one.turns[0].verdict == kind and not one.turns[0].public_passed

        def given_another(one: Rollout, failed: Callable[[Rollout], bool] = failed) -> bool:
            return failed(one) and len(one.turns) > 1

        if any(failed(one) for group in groups for one in group):
            solved = _solved_by(groups, range(2, turn_limit + 1), stops_early, given_another)
            found.append(Recovery(kind, _share(groups, failed), solved))
    return tuple(sorted(found, key=lambda one: -one.at_first_turn.mean))


def _share(
    groups: list[list[Rollout]], counts: Callable[[Rollout], bool], among: Callable[[Rollout], bool] | None = None
) -> Rate:
    """Share of the rollouts for which `counts`, of those for which `among`."""
    cases = [[one for one in group if among is None or among(one)] for group in groups]
    return share([(sum(map(counts, group)), len(group)) for group in cases])


def _invalid(group: Iterable[Rollout]) -> int:
    return sum(turn.code is None for one in group for turn in one.turns)


def _repeated(group: Iterable[Rollout]) -> tuple[int, int]:
    pairs = [pair for one in group for pair in successive(one)]
    return sum(old == new for old, new in pairs), len(pairs)


def _histogram(values: Sequence[float]) -> tuple[float, ...]:
    counts = [0] * len(CHRF_BINS)
    for value in values:
        counts[min(int(value // 10), len(CHRF_BINS) - 1)] += 1
    return tuple(count / len(values) for count in counts) if values else tuple(0.0 for _ in counts)


def _of(statistic: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    return statistic(values) if values else float("nan")
