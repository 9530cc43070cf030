"""`judge.isolation: program`: the same verdicts, and what one process for all tests gives up."""

import pytest
from judge_helpers import Case, SyncJudge, sync_judge
from test_judge_golden import PROGRAMS, expected_tests, name

from rlef_plugin.judge import JudgeConfig, Limits

pytestmark = pytest.mark.nsjail
TESTS = [(f"{i}", f"{i}") for i in range(12)]


@pytest.fixture(scope="module")
def judge():
    with sync_judge(workers=2, isolation="program") as judge:
        yield judge


def labels(result) -> list[str]:
    return [test.verdict.label for test in result.tests]


def differences(judge: SyncJudge, programs: list[dict]) -> dict[str, object]:
    jobs = [
        judge.judge.judge(p["source"], [Case(*test) for test in p["tests"]], Limits(**p["limits"])) for p in programs
    ]
    return {
        name(program): (labels(result), result.error)
        for program, result in zip(programs, judge.together(jobs), strict=True)
        if (result.verdict.label, labels(result)) != (program["verdict"], expected_tests(program))
    }


def test_golden_ways_to_read_and_to_leave_have_the_same_verdicts(judge: SyncJudge) -> None:
    programs = [p for p in PROGRAMS if p["file"] in ("reading", "leaving") and p["verdict"] not in ("timeout",)]
    assert len(programs) >= 30 and differences(judge, programs) == {}


@pytest.mark.slow
def test_all_golden_programs_have_the_same_verdicts(judge: SyncJudge) -> None:
    assert differences(judge, PROGRAMS) == {}


def test_accepted_tests_share_a_process_and_failed_ones_have_their_own(judge: SyncJudge) -> None:
    """In one process the third test prints 3, in its own 1; both are right answers of somebody's."""
    source = "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1\nprint(sys.runs)"
    result = judge(source, [("", "1"), ("", "2"), ("", "1"), ("", "4"), ("", "9")])
    assert labels(result) == ["accepted"] * 4 + ["wrong output"]
    assert [test.stdout for test in result.tests] == [b"1\n", b"2\n", b"1\n", b"4\n", b"1\n"]


def test_without_an_expected_output_every_test_has_its_own_process(judge: SyncJudge) -> None:
    """Whoever asked compares by himself, and could not tell that a result is due to an earlier test."""
    source = "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1\nprint(sys.runs)"
    assert [test.stdout for test in judge.run(source, [""] * 12)] == [b"1\n"] * 12


def test_inputs_of_later_tests_are_out_of_reach(judge: SyncJudge) -> None:
    source = """
import os, sys
found = []
for descriptor in range(3, 64):
    try:
        os.set_blocking(descriptor, False)
        found.append(os.read(descriptor, 1 << 16))
    except OSError:
        pass
print(input())
assert not any(b"later" in data for data in found)
"""
    assert labels(judge(source, [("now", "now"), ("later", "later"), ("later", "later")])) == ["accepted"] * 3


@pytest.mark.parametrize(
    ("line", "verdict", "at"),
    [
        ("os._exit(0)", "accepted", 7),  # after the answer was flushed
        ("os._exit(3)", "exception", 7),
        ("os.kill(os.getpid(), 11)", "exception", 7),
        ("1 / 0", "exception", 7),
        ("sys.exit(1)", "exception", 7),
        ("[0] * 10**11", "out of memory", 7),
        ("while True: pass", "timeout", 7),
        ("sys.stdin.close(); sys.stdout.close(); os.close(0); os.close(1)", "accepted", 7),
        ("os.write(1, b'x' * 2000)", "output limit", 0),
        ("print(9)", "wrong output", 11),
    ],
)
def test_a_bad_test_spoils_no_other(judge: SyncJudge, line: str, verdict: str, at: int) -> None:
    source = f"import os, sys\nx = int(input())\nprint(x, flush=True)\nif x == {at}:\n    {line}"
    result = judge(source, TESTS, Limits(cpu_s=0.3, memory_mb=128, output_bytes=1000))
    expected = ["accepted"] * 12
    expected[at] = verdict
    assert labels(result) == expected
    stopped = judge(source, TESTS, Limits(cpu_s=0.3, memory_mb=128, output_bytes=1000), stop_at_failure=True)
    assert labels(stopped) == expected[: 12 if verdict == "accepted" else at + 1]


def test_cpu_time_of_children_is_seen(judge: SyncJudge) -> None:
    source = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.5:
        pass
    os._exit(0)
os.wait()
print(input())
"""
    assert labels(judge(source, TESTS[:3], Limits(cpu_s=0.2))) == ["timeout"] * 3
    assert labels(judge(source, TESTS[:3], Limits(cpu_s=5))) == ["accepted"] * 3


def test_memory_that_piles_up_is_not_held_against_a_program(judge: SyncJudge) -> None:
    source = "import sys\nsys.kept = [*getattr(sys, 'kept', []), bytearray(60 << 20)]\nprint(input())"
    assert labels(judge(source, TESTS[:4], Limits(cpu_s=2, memory_mb=100))) == ["accepted"] * 4


def test_two_hundred_tests_in_growing_batches(judge: SyncJudge) -> None:
    tests = [(f"{i}", f"{i}") for i in range(200)]
    for stop in (False, True):
        result = judge("print(input())", tests, stop_at_failure=stop)
        assert result.accepted and [test.stdout for test in result.tests] == [b"%d\n" % i for i in range(200)]
    assert labels(judge("print(input())", [*tests, ("1", "2"), ("3", "3")], stop_at_failure=True)) == [
        "accepted"
    ] * 200 + ["wrong output"]


def test_an_unknown_isolation_is_named() -> None:
    with pytest.raises(ValueError, match="isolation is 'process'"):
        JudgeConfig(isolation="process")
