"""Problems with their own checker: it alone decides about clean runs, and where it fails, the output is wrong."""

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence

import pytest
from judge_helpers import SyncJudge, sync_judge

from rlef_plugin.env import CodeContestsEnv, EnvConfig, Step
from rlef_plugin.judge import Limits, ProgramResult, SandboxError, TestResult, Verdict
from rlef_plugin.judge.checker import judge_with_checker, probe_checker
from rlef_plugin.problems import Problem, TestCase

pytestmark = pytest.mark.nsjail
DIVISOR = """
def check(input, output, expected):
    print("a checker may print")
    try:
        return int(input) % int(output) == 0 and 1 < int(output) < int(input)
    except (ValueError, ZeroDivisionError):
        return False
"""
TESTS = (TestCase("12\n", "2\n"), TestCase("35\n", "5\n"), TestCase("49\n", "7\n"))
LIMITS = Limits(cpu_s=2, memory_mb=256)


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    with sync_judge(workers=2) as opened:
        yield opened


def problem(checker: str = DIVISOR, tests: tuple[TestCase, ...] = TESTS, name: str = "divisor") -> Problem:
    return Problem(name, "Print a divisor.", tests[:1], tests[1:], checker=checker)


def judged(judge: SyncJudge, code: str, one: Problem, stop: bool = False) -> ProgramResult:
    tests = [*one.public_tests, *one.private_tests]
    return judge.loop.run_until_complete(judge_with_checker(judge.judge, one, code, tests, LIMITS, stop=stop))


def labels(result: ProgramResult) -> list[str]:
    return [test.verdict.label for test in result.tests]


def test_any_right_answer_is_accepted(judge: SyncJudge) -> None:
    largest = "n = int(input())\nprint(max(d for d in range(1, n) if n % d == 0))"  # 6, 7, 7 and not 2, 5, 7
    assert labels(judged(judge, largest, problem())) == ["accepted"] * 3
    result = judged(judge, "print(2)", problem())
    assert (result.verdict, labels(result)) == (Verdict.WRONG_OUTPUT, ["accepted", "wrong output", "wrong output"])
    assert labels(judged(judge, "print(2)", problem(), stop=True)) == ["accepted", "wrong output"]


def test_only_clean_runs_are_checked(judge: SyncJudge) -> None:
    always = problem("def check(input, output, expected):\n    return True")
    code = "n = int(input())\nprint(2)\nif n == 35: raise SystemExit(3)\nwhile n == 49: pass"
    assert labels(judged(judge, code, always)) == ["accepted", "exception", "timeout"]
    assert judged(judge, "print(", always).verdict is Verdict.INVALID_CODE


def test_more_tests_than_a_batch(judge: SyncJudge) -> None:
    tests = tuple(TestCase(f"{n}\n", "2\n") for n in range(4, 46, 2))  # 21 tests
    one = problem(tests=tests)
    code = "n = int(input())\nprint(2 if n < 30 else 'no')"  # 4 ... 28 are 13
    assert labels(judged(judge, code, one)) == ["accepted"] * 13 + ["wrong output"] * 8
    assert labels(judged(judge, code, one, stop=True)) == ["accepted"] * 13 + ["wrong output"]


def test_a_program_neither_sees_nor_answers_for_the_checker(judge: SyncJudge) -> None:
    code = "import os, sys\nprint('yes')\nprint('{\"a\": 1}')\nos.write(1, b'yes\\xff\\n')"
    assert labels(judged(judge, code, problem())) == ["wrong output"] * 3
    look = "import os, sys\nfound = [f for f in os.listdir('.') if 'check' in f]\nprint(found or sys.stdin.read())"
    echo = problem("def check(input, output, expected):\n    return output.strip() == input.strip()")
    assert labels(judged(judge, look, echo)) == ["accepted"] * 3


def test_a_program_cannot_print_until_the_checker_breaks(judge: SyncJudge) -> None:
    """Its time is quadratic: it bears 64 KiB, or 16 times what is expected."""
    slow = "def check(i, output, e):\n    return sum(output.count('ab') for _ in range(len(output) >> 10)) == 0"
    tests = (TestCase("65536", "x"), TestCase("65537", "x"), TestCase("8000000", "x"), TestCase("80000", "x" * 5000))
    code = "print(end='a' * int(input()))"
    expected = ["accepted", "output limit", "output limit", "accepted"]
    assert labels(judged(judge, code, problem(slow, tests))) == expected
    assert labels(judged(judge, code, problem(slow, tests), stop=True)) == expected[:2]


BROKEN = [
    ("def check(input, output, expected):\n    return int(output) == 1", "raised ValueError in its line 2"),
    ("def check(input, output, expected):\n    return 1", "returned int"),
    ("def check(input, output, expected):\n    return None", "returned NoneType"),
    ("def check(input):\n    return True", "raised TypeError in its line 0"),
    ("import nowhere\ndef check(*_):\n    return True", "raised ModuleNotFoundError in its line 1"),
    ("def check(*_):\n    raise SystemExit(0)", "raised SystemExit in its line 2"),
    ("import os\ndef check(*_):\n    os._exit(0)", "ended without an answer"),
    ("import os\ndef check(*_):\n    os._exit(1)", "ended with exception"),
]


@pytest.mark.parametrize(("checker", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_where_a_checker_fails_the_output_is_wrong_and_counted(judge: SyncJudge, checker: str, reason: str) -> None:
    secret = problem(checker, (TestCase("1", "SECRET"),) * 2)
    result = judged(judge, "print('private')", secret)
    assert (labels(result), result.checker_errors) == (["wrong output"] * 2, 2)
    assert result.error.startswith(f"the checker of problem 'divisor' {reason}, where it should return")
    assert "SECRET" not in result.error and "private" not in result.error


DIGITS = "def check(i, output, expected):\n    return output.strip().isdigit() and int(output) == int(expected)"


def test_an_output_made_for_a_checker_to_raise_on_costs_its_own_test_only(judge: SyncJudge) -> None:
    tests = (TestCase("1", "1"), TestCase("2", "2"), TestCase("3", "3"))
    code = "n = input()\nprint('\\u00b2' if n == '2' else n)"
    result = judged(judge, code, problem(DIGITS, tests))
    assert (labels(result), result.checker_errors) == (["accepted", "wrong output", "accepted"], 1)
    assert "raised ValueError in its line 2" in result.error
    result = judged(judge, code, problem(DIGITS, tests), stop=True)
    assert (labels(result), result.checker_errors) == (["accepted", "wrong output"], 1)
    result = judged(judge, "print(input())", problem(DIGITS, tests))
    assert (result.accepted, result.error, result.checker_errors) == (True, "", 0)


def test_a_checker_that_hangs_is_a_wrong_output(judge: SyncJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlef_plugin.judge.checker.CHECKER_LIMITS", Limits(cpu_s=0.2))
    result = judged(judge, "print(1)", problem("def check(*_):\n    while True: pass", TESTS[:1]))
    assert (labels(result), result.checker_errors) == (["wrong output"], 1)
    assert "ended with timeout" in result.error


def test_a_checker_that_takes_too_much_memory_is_a_wrong_output(
    judge: SyncJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlef_plugin.judge.checker.CHECKER_LIMITS", Limits(memory_mb=32))
    result = judged(judge, "print(1)", problem("def check(*_):\n    return b'x' * 2**29 == 0", TESTS[:1]))
    assert (labels(result), result.checker_errors) == (["wrong output"], 1)
    assert "raised MemoryError in its line 2" in result.error or "ended with out of memory" in result.error


def test_the_log_names_a_problem_once_and_no_private_text(judge: SyncJudge, caplog: pytest.LogCaptureFixture) -> None:
    raising = problem(DIGITS, (TestCase("", "SECRET"),), name="named once")
    speaking = problem(
        "import os\ndef check(i, o, expected):\n    for place in range(3, 9):\n        try:\n"
        "            os.write(place, expected.encode())\n        except OSError:\n            pass\n    os._exit(0)",
        raising.public_tests,
        name="says what it expects",
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            judged(judge, "print('\\u00b2')", raising)
        judged(judge, "print(1)", speaking)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(
        "An output counts as wrong, because the checker of problem 'named once' raised ValueError"
    )
    assert len(said) == 2 and "'says what it expects' ended without an answer" in said[1]
    assert "SECRET" not in "".join(said)


class FailingJudge:
    """Runs programs, and then fails, or loses the jail of a checker."""

    def __init__(self, error: SandboxError | None) -> None:
        self.error, self.ran = error, 0

    async def run(self, program: str, inputs: Sequence[str], limits: Limits, **_: bool) -> ProgramResult:
        self.ran += 1
        if self.ran == 1:
            clean = TestResult(Verdict.ACCEPTED, 0.1, 0.1, 9.0, b"1", "", 1)
            return ProgramResult(Verdict.ACCEPTED, (clean,) * len(inputs), killed=1)
        if self.error:
            raise self.error
        return ProgramResult(Verdict.INVALID_CODE, ())


@pytest.mark.parametrize("error", [SandboxError("nsjail is gone"), None])
def test_a_judge_that_fails_while_it_checks_is_no_checker_error(error: SandboxError | None) -> None:
    with pytest.raises(SandboxError):
        asyncio.run(judge_with_checker(FailingJudge(error), problem(), "", TESTS, LIMITS))  # type: ignore[arg-type]


def test_probes_find_what_would_break_later(judge: SyncJudge) -> None:
    def probe(checker: str) -> str:
        return judge.loop.run_until_complete(probe_checker(judge.judge, problem(checker)))

    assert probe(DIVISOR) == ""
    assert "raised ValueError in its line 2" in probe("def check(i, o, e):\n    return int(o) == int(e)")
    assert "raised ValueError in its line 2" in probe(DIGITS)
    assert "raised ValueError in its line 2" in probe(DIGITS.replace("isdigit", "isnumeric"))
    assert probe("def check(i, o, e):\n    return False").endswith("rejects the output that its test expects")


def test_an_episode_is_judged_by_the_checker(judge: SyncJudge) -> None:
    async def episode(code: str) -> tuple[float, Verdict]:
        env = CodeContestsEnv({"divisor": problem()}, judge.judge, EnvConfig(turn_limit=1), len)
        await env.reset("divisor")
        step = await env.step(f"```python\n{code}\n```")
        return step.reward, step.verdict

    right = "n = int(input())\nprint(max(d for d in range(1, n) if n % d == 0))"
    assert judge.loop.run_until_complete(episode(right)) == (1.0, Verdict.ACCEPTED)
    assert judge.loop.run_until_complete(episode("print(2)")) == (-1.0, Verdict.WRONG_OUTPUT)


def test_what_a_checker_failed_on_is_counted_in_the_step_and_never_rewarded(judge: SyncJudge) -> None:
    one = problem(DIGITS, (TestCase("1", "1"), TestCase("2", "2"), TestCase("3", "3")))

    async def step(config: EnvConfig) -> Step:
        env = CodeContestsEnv({"divisor": one}, judge.judge, config, len)
        await env.reset("divisor")
        return await env.step("```python\nn = input()\nprint(n if n == '1' else '\\u00b2')\n```")

    last = judge.loop.run_until_complete(step(EnvConfig(turn_limit=1)))
    assert (last.reward, last.verdict, last.checker_errors) == (-1.0, Verdict.WRONG_OUTPUT, 2)
    fraction = judge.loop.run_until_complete(step(EnvConfig(turn_limit=1, reward="fraction")))
    assert (fraction.reward, fraction.checker_errors) == (pytest.approx(2 / 3 - 1), 2)


def test_killed_tests_of_a_checked_program_are_counted() -> None:
    class Killing:
        async def run(self, program: str, inputs: Sequence[str], limits: Limits, **_: bool) -> ProgramResult:
            dead = TestResult(Verdict.OUT_OF_MEMORY, 0.1, 0.1, 9.0, b"", "")
            return ProgramResult(Verdict.OUT_OF_MEMORY, (dead,) * len(inputs), killed=len(inputs))

    result = asyncio.run(judge_with_checker(Killing(), problem(), "", 5 * TESTS, LIMITS))  # type: ignore[arg-type]
    assert (result.killed, result.checker_errors, result.verdict) == (15, 0, Verdict.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("asked", "held"), [((0.001, 4), (0.01, 16)), ((1e9, 1e9), (3600, 2**20)), ((2, 64), (2, 64))]
)
def test_limits_are_held_to_what_the_judge_can(asked: tuple[float, float], held: tuple[float, int]) -> None:
    assert Limits.nearest(*asked) == Limits(*held)


def test_the_output_is_text_however_it_is_encoded(judge: SyncJudge) -> None:
    latin = "import sys\nsys.stdout.buffer.write(b'caf\\xe9 \\xed\\xa0\\x80')"
    says = "def check(i, output, e):\n    return output.startswith('caf\\ufffd') and output.isprintable()"
    assert labels(judged(judge, latin, problem(says))) == ["accepted"] * 3
    assert json.loads(json.dumps("\ud800")) == "\ud800"  # what a test could hold goes through as well
