"""Where the seconds of a step went: intervals against a count second by second, and the trainer's clock by hand."""

import math
import random
import time

import pytest
from run_records import OK, SLOW, WRONG, episode, step

from rlef_plugin.judge import JudgeConfig
from rlef_plugin.runs import timeline
from rlef_plugin.runs.record import Record, record_of
from rlef_plugin.runs.timeline import OVERHEAD, PARTS, Clock, Rollout, union_s


def test_union_by_hand() -> None:
    """[1, 4], [3, 6], [8, 9] and one inside [8, 9], in a window from 2 to 8.5: 2 to 6 and 8 to 8.5."""
    assert union_s([(8, 9), (1, 4), (3, 6), (8.2, 8.4)], (2, 8.5)) == 4.5
    assert union_s([], (0, 5)) == union_s([(6, 7), (-3, -1), (2, 2)], (0, 5)) == 0
    assert union_s([(-10, 10)], (0, 5)) == 5


def test_union_against_a_count_of_seconds() -> None:
    source = random.Random(0)
    for _ in range(300):
        intervals = [(a, a + source.randrange(6)) for a in (source.randrange(30) for _ in range(source.randrange(9)))]
        window = (source.randrange(10), source.randrange(10, 35))
        counted = sum(any(a <= second < b for a, b in intervals) for second in range(*window))
        assert union_s(intervals, window) == counted


def test_a_rollout_phase_by_hand() -> None:
    """Two episodes in a window from 0 to 20. A turn is generated for 3 s and judged for 2 s; its tests run for 0.5 s.

    seconds    0    1    2    3    4    5    6    7    8    9   10   11   12   13   14   15
    first           [generate    ][judge  ]                     (turn 2:) [generate    ][judge  ]   from 1 and 11
    second                    [generate    ][judge  ]                                              from 3
    """
    records = [episode([SLOW, OK], public=True, start=1.0), episode([WRONG], public=False, start=3.0)]
    metrics = Rollout.of((0.0, 20.0), records).metrics()
    assert metrics == {
        "rollout_s/wall": 20.0,
        "rollout_s/generating": 5.0 + 3.0,  # 1 to 6 and 11 to 14
        "rollout_s/judging": 2.0 + 2.0,  # 6 to 8 and 14 to 16; from 4 to 6 the second episode is being generated
        "rollout_s/other": 20.0 - 12.0,
        "judge/seconds": 2.0,
        "judge/waiting_seconds": 1.5,
        "judge/in_flight": 6.0 / 20.0,
        "judge/utilisation": 3 * 0.5 / (4 * 20.0),  # both were judged by the same process of 4 workers
        "judge/checker_errors": 0.0,
        "judge/checker_error_share": 0.0,
        "judge/killed": 0.0,
    }


def programs(count: int, problem: str = "p", *, checker_errors: int = 0, killed: int = 0) -> list[Record]:
    """Episodes of one program each."""
    records = [episode([WRONG], public=False, problem=problem) for _ in range(count)]
    for record in records:
        record["turns"][0] |= {"checker_errors": checker_errors, "killed": killed}
    return records


def test_checker_errors_and_killed_tests_are_added_up() -> None:
    """The checker failed on 2 outputs of each of 3 programs among 100; 4 programs had a test killed."""
    step = programs(90) + programs(3, "a", checker_errors=2) + programs(4, killed=1) + programs(3, "b")
    metrics = Rollout.of((0.0, 1.0), step).metrics()
    found = [metrics[f"judge/{key}"] for key in ("checker_errors", "checker_error_share", "killed")]
    assert found == [6.0, 0.03, 4.0]


def test_an_alarm_names_the_problems_above_one_percent_of_programs() -> None:
    broken = programs(1, "often", checker_errors=1)
    assert Rollout.of((0.0, 1.0), []).alarm() == Rollout.of((0.0, 1.0), programs(9)).alarm() == ""
    assert Rollout.of((0.0, 1.0), programs(99) + broken).alarm() == ""  # 1 of 100
    more = [record for name in "abcdefgh" for record in programs(1, name, checker_errors=9)]
    assert Rollout.of((0.0, 1.0), programs(90) + 2 * broken + more).alarm() == (
        "10 of 100 programs of this step count as wrong because their problem's checker failed on them: repair the "
        "checkers of often (2), a (1), b (1), c (1), d (1), e (1), f (1), g (1) and 1 more problems, and build the "
        "store again"
    )


def test_workers_of_every_judge_count_once() -> None:
    first, second = episode([OK], public=True), episode([OK], public=True)
    assert Rollout.of((0.0, 1.0), [first, first]).workers == 4
    second["judge"] = "another process"
    assert Rollout.of((0.0, 1.0), [first, second]).workers == 8


def test_judges_on_other_machines_are_one_judge_for_all() -> None:
    """Every rollout actor asks the same ones, and `worker_count` says how many programs all of them run."""
    far = JudgeConfig(backend="ray", ray_actors=3, workers=2)
    kept = record_of(
        "p", [step(OK, last=True, public=True, code="x")], ["", ""], [(0, 1)], [False], [(0.0, 1.0)], [1.0], far
    )
    assert (kept["judge"], kept["judge_workers"]) == ("ray", 6)


def test_responses_without_a_program_are_not_judged() -> None:
    record = episode([SLOW, WRONG], public=False, codes=[None, "a"])
    assert len(Rollout.of((0.0, 1.0), [record]).judging) == 1


def test_a_batch_from_the_buffer_has_the_same_keys() -> None:
    """Nothing was played for it: its window is empty, and what is a mean over no program is NaN."""
    empty, full = (
        Rollout.of((5.0, 5.0), []).metrics(),
        Rollout.of((0.0, 1.0), [episode([OK], public=True)]).metrics(),
    )
    assert list(empty) == list(full)
    assert empty["rollout_s/other"] == 0 and math.isnan(empty["judge/seconds"])


# --- the trainer's clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [100.0]
    monkeypatch.setattr(timeline.time, "monotonic", lambda: at[0])
    return at


def test_a_step_by_hand(now: list[float]) -> None:
    """1 s saving and 4 s evaluation after the step before, 10 s rollout, 0.5 + 6 + 0.25 + 7 + 2 s, 0.25 s unnamed."""
    clock = Clock(started=100.0)
    for name, seconds in (("saving", 1), ("evaluation", 4)):
        with clock.part(name):
            now[0] += seconds
    now[0] += 10
    clock.rest_was("rollout")
    for name, seconds in (("episodes", 0.5), ("forward", 6), ("advantages", 0.25), ("update", 7), ("weight_sync", 2)):
        with clock.part(name):
            now[0] += seconds
    now[0] += 0.25
    metrics = clock.lap(idle_s=0.75)
    assert metrics.pop("step_s/wall") == 31
    assert metrics.pop("overhead_share") == pytest.approx((0.5 + 1 + 0.25 + 0.75) / (31 - 4))
    assert metrics == {
        "step_s/rollout": 10,
        "step_s/waiting": 0,
        "step_s/episodes": 0.5,
        "step_s/forward": 6,
        "step_s/advantages": 0.25,
        "step_s/update": 7,
        "step_s/weight_sync": 2,
        "step_s/saving": 1,
        "step_s/evaluation": 4,
        "step_s/other": 0.25,
    }
    assert set(metrics) == {f"step_s/{name}" for name in (*PARTS, "other")}
    assert set(OVERHEAD) < {*PARTS, "other"}


def test_the_next_step_starts_at_the_lap_and_a_part_counts_also_when_it_fails(now: list[float]) -> None:
    clock = Clock(started=100.0)
    now[0] += 5
    clock.lap(0.0)
    with pytest.raises(KeyError), clock.part("update"):
        now[0] += 2
        raise KeyError
    metrics = clock.lap(0.0)
    assert (metrics["step_s/wall"], metrics["step_s/update"], metrics["step_s/other"]) == (2, 2, 0)


def test_a_step_that_was_left_out_gives_its_wait_to_the_next(now: list[float]) -> None:
    clock = Clock(started=100.0)
    for seconds in (3, 4):
        now[0] += seconds
        clock.rest_was("rollout")
    assert clock.lap(0.0)["step_s/rollout"] == 7


def test_the_clock_runs() -> None:
    clock = Clock()
    with clock.part("forward"):
        time.sleep(0.001)
    metrics = clock.lap(0.0)
    assert metrics["step_s/wall"] >= metrics["step_s/forward"] >= 0.001
