"""The behaviour figure on rollouts whose every number is known in advance."""

import math

import pytest

from rlef_plugin.evaluation.analyze import analyze, changed_lines, successive
from rlef_plugin.evaluation.rollouts import Rollout, Turn


def turn(verdict: str, code: str | None = "a", public: bool = False, cpu_s: float = 0.0) -> Turn:
    return Turn(verdict, public, 0.0, code, 1, 0.0, 0.0, cpu_s, 10 * cpu_s)


def rollout(problem: str, *turns: Turn, solved: bool = False, index: int = 0) -> Rollout:
    return Rollout(problem, index, solved, turns, ())


OK = turn("accepted", "b", public=True)
ROLLOUTS = [
    rollout("p", turn("wrong_output"), OK, solved=True),  # repaired at turn 2
    rollout("p", turn("wrong_output"), turn("exception"), OK, solved=True),  # at turn 3, "a" repeated at turn 2
    rollout("p", turn("wrong_output"), turn("invalid_code", None), turn("timeout", "a")),  # "a" repeated at turn 3
    rollout("q", turn("exception"), turn("wrong_output", "b", public=True)),  # false hope
    rollout("q", turn("wrong_output", "b", public=True)),  # false hope at once: no error on the public tests
    rollout("q", OK, solved=True),
]


def test_solved_by_turn_is_cumulative() -> None:
    found = analyze(ROLLOUTS, 3)
    assert [rate.mean for rate in found.solved_by_turn] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_recovery_is_of_first_responses_that_failed_a_public_test() -> None:
    recovery = {one.kind: one for one in analyze(ROLLOUTS, 3).recovery}
    assert list(recovery) == ["wrong_output", "exception"]  # the most frequent first
    assert recovery["wrong_output"].at_first_turn.mean == pytest.approx(3 / 6)  # the false hope of q is not one
    assert [rate.mean for rate in recovery["wrong_output"].solved_by_turn] == pytest.approx([1 / 3, 2 / 3])
    assert [rate.mean for rate in recovery["exception"].solved_by_turn] == [0, 0]


def test_without_early_stop_only_the_last_turn_is_known() -> None:
    """Every episode is played to its end, so its length says nothing about when it was right."""
    played = [
        rollout("p", OK, OK, OK, solved=True),  # right from the first turn on
        rollout("p", turn("wrong_output"), turn("wrong_output"), OK, solved=True),
        rollout("q", turn("wrong_output"), OK, turn("exception")),
    ]
    found = analyze(played, 3, stops_early=False)
    assert [math.isnan(rate.mean) for rate in found.solved_by_turn] == [True, True, False]
    assert found.solved_by_turn[-1].mean == pytest.approx(2 / 3)
    (recovery,) = found.recovery
    assert math.isnan(recovery.solved_by_turn[0].mean) and recovery.solved_by_turn[-1].mean == pytest.approx(1 / 2)


def test_a_first_turn_that_was_the_last_is_no_case_of_recovery() -> None:
    (recovery,) = analyze([rollout("p", turn("timeout"))], 2).recovery
    assert recovery.at_first_turn.mean == 1 and math.isnan(recovery.solved_by_turn[0].mean)


def test_false_hope_is_of_submissions_that_pass_the_public_tests() -> None:
    assert analyze(ROLLOUTS, 3).false_hope.mean == pytest.approx(2 / 5)


def test_invalid_code_is_of_responses_and_repetition_of_successive_programs() -> None:
    found = analyze(ROLLOUTS, 3)
    assert found.invalid_code.mean == pytest.approx(1 / 12)
    # pairs: p: (a, b), (a, a), (a, b), (a, a) over the invalid one; q: (a, b)
    assert found.repeated.mean == pytest.approx(2 / 5)
    assert found.chrf_mean == pytest.approx(2 / 5 * 100)
    assert found.chrf_bins == pytest.approx((3 / 5, *[0] * 8, 2 / 5))
    assert found.turns_mean == pytest.approx(12 / 6)


def test_an_invalid_response_does_not_break_the_chain_of_programs() -> None:
    assert successive(ROLLOUTS[2]) == [("a", "a")]


@pytest.mark.parametrize(
    "old, new, share",
    [
        ("x = 1\ny = 2", "x = 1\ny = 2", 0.0),
        ("x = 1\ny = 2", "x = 1\ny = 3", 0.5),  # one line of two removed, one added: 2 of 4
        ("a", "b", 1.0),
        ("a", "a\nb\nc", 0.5),  # two added, of 1 + 3
        ("", "", 0.0),
    ],
)
def test_the_size_of_an_edit_is_in_lines(old: str, new: str, share: float) -> None:
    assert changed_lines(old, new) == pytest.approx(share)


def test_times_are_medians_over_programs() -> None:
    many = [rollout("p", turn("exception", cpu_s=s), turn("invalid_code", None, cpu_s=99)) for s in (1, 2, 9)]
    found = analyze(many, 2)
    assert (found.cpu_s_median, found.memory_mb_median) == (2, 20)


def test_nothing_to_compare_is_not_a_number() -> None:
    found = analyze([ROLLOUTS[-1]], 3)
    assert math.isnan(found.chrf_mean) and math.isnan(found.repeated.mean) and found.recovery == ()
