"""Idle workers run later tests of a long program ahead: sooner, with the same verdicts, and in nobody's way."""

import asyncio
import time

import pytest
from judge_helpers import Case, sync_judge

from rlef_plugin.judge import Limits, ProgramResult, Verdict

pytestmark = pytest.mark.nsjail
SLEEPS = "import time\ntime.sleep(0.25)\nn = input()\nprint('wrong' if n in '7 12'.split() else n)"
TESTS = [Case(str(number), str(number)) for number in range(20)]
LIMITS = Limits(cpu_s=10, memory_mb=256)


def test_a_program_that_sleeps_ends_sooner_with_idle_workers() -> None:
    with sync_judge(workers=8) as judge:
        judge.run("pass")  # all jails are on their way
        started = time.monotonic()
        (result,) = judge.together([judge.judge.judge(SLEEPS, TESTS, LIMITS)])
        seconds = time.monotonic() - started
    assert [n for n, test in enumerate(result.tests) if test.verdict is not Verdict.ACCEPTED] == [7, 12]
    assert seconds < sum(test.wall_s for test in result.tests) / 2


def test_the_first_failure_in_order_decides_and_what_comes_after_it_is_dropped() -> None:
    with sync_judge(workers=8) as judge:
        (result,) = judge.together([judge.judge.judge(SLEEPS, TESTS, LIMITS, stop_at_failure=True)])
    assert [test.verdict for test in result.tests] == [Verdict.ACCEPTED] * 7 + [Verdict.WRONG_OUTPUT]
    assert [test.stdout for test in result.tests] == [b"%d\n" % number for number in range(7)] + [b"wrong\n"]


def test_a_helper_gives_way_to_a_program_that_waits_and_no_test_is_lost() -> None:
    """The other programs come once all workers help the first one."""

    async def body(judge) -> tuple[ProgramResult, list[bool]]:
        long = asyncio.create_task(judge.judge(SLEEPS, TESTS, LIMITS))
        await asyncio.sleep(0.6)  # not for order: helpers begin after 0.1 s, and later is as good
        others = [judge.judge("print(input())", TESTS[:3], LIMITS) for _ in range(6)]
        results = await asyncio.gather(*others)
        ended_first = not long.done()
        return await long, [*(result.accepted for result in results), ended_first]

    with sync_judge(workers=3) as judge:
        long, others = judge.loop.run_until_complete(body(judge.judge))
    assert others == [True] * 7
    assert [n for n, test in enumerate(long.tests) if test.verdict is not Verdict.ACCEPTED] == [7, 12]


def test_the_server_says_for_how_long_its_event_loop_was_busy() -> None:
    with sync_judge(workers=1) as judge:
        judge.loop.run_until_complete(judge.judge.loop_lag_s())
        judge.run("pass")
        assert 0 <= judge.loop.run_until_complete(judge.judge.loop_lag_s()) < 60
