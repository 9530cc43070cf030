"""Verdicts on a loaded machine: nobody is late because others run, and nothing is left behind. `slow`, since load
takes time; `benchmarks/judge_soak.py` is the same at full length."""

import asyncio
import os
from collections import Counter

import pytest
from judge_helpers import Case, sync_judge
from test_judge_golden import PROGRAMS, expected_tests

from benchmarks.judge_soak import soak
from rlef_plugin.judge import Limits

pytestmark = [pytest.mark.nsjail, pytest.mark.slow]
OVERSUBSCRIPTION = 8
ROUNDS = 3


def test_no_false_timeout_no_missed_loop_no_difference_and_nothing_left() -> None:
    report, fine = asyncio.run(soak(programs=200, tests=2, repetitions=40, oversubscription=OVERSUBSCRIPTION))
    assert fine, report


def test_every_golden_program_keeps_its_verdicts_when_all_run_at_once_again_and_again() -> None:
    workers = OVERSUBSCRIPTION * len(os.sched_getaffinity(0))
    with sync_judge(workers=workers) as judge:
        jobs = [
            judge.judge.judge(p["source"], [Case(*test) for test in p["tests"]], Limits(**p["limits"]))
            for _ in range(ROUNDS)
            for p in PROGRAMS
        ]
        results = judge.together(jobs)
    given = Counter(
        (p["name"], tuple(test.verdict.label for test in result.tests))
        for p, result in zip(PROGRAMS * ROUNDS, results, strict=True)
    )
    assert given == {(p["name"], tuple(expected_tests(p))): ROUNDS for p in PROGRAMS}
