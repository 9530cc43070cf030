"""The episode with a judge that answers from a table: turns, early stop, final judging, rewards, nothing leaked."""

import asyncio
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rlef_plugin.env import CodeContestsEnv, EnvConfig, Environment, load_environment
from rlef_plugin.env.code import Extraction
from rlef_plugin.env.reward import turn_reward
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import Limits, ProgramResult, SandboxError, TestResult, Verdict
from rlef_plugin.problems.records import Problem, TestCase

ROOT = Path(__file__).parent.parent
PROBLEM = Problem(
    id="double",
    description="Print twice the number.\n\nInput: one integer.",
    public_tests=(TestCase("1\n", "2\n"), TestCase("5\n", "10\n")),
    private_tests=(TestCase("77\n", "SECRET154\n"), TestCase("0\n", "SECRET0\n")),
)
RIGHT, PUBLIC_ONLY, WRONG = "print('right')", "print('public only')", "print('wrong')"
SLOW, RETURN = "while True: pass", "return 1"  # RETURN parses, but does not compile


class TableJudge:
    """Answers as if it had run the programs above; keeps what it was asked."""

    def __init__(self, fail_at_call: int | None = None) -> None:
        self.calls: list[tuple[str, tuple[TestCase, ...], Limits, bool]] = []
        self.files: list[tuple[str | None, str | None]] = []
        self.fail_at_call = fail_at_call

    async def judge(
        self,
        program: str,
        tests: Sequence[TestCase],
        limits: Limits,
        *,
        stop_at_failure: bool = False,
        input_file: str | None = None,
        output_file: str | None = None,
    ) -> ProgramResult:
        self.calls.append((program, tuple(tests), limits, stop_at_failure))
        self.files.append((input_file, output_file))
        if len(self.calls) == self.fail_at_call:
            raise SandboxError("nsjail is gone")
        if program == RETURN:
            error = "  File \"/box/solution.py\", line 1\n\n    ^\nSyntaxError: 'return' outside function"
            return ProgramResult(Verdict.INVALID_CODE, (), error)
        results: list[TestResult] = []
        for test in tests:
            results.append(self._run(program, test))
            if stop_at_failure and results[-1].verdict != Verdict.ACCEPTED:
                break
        first = next((one.verdict for one in results if one.verdict != Verdict.ACCEPTED), Verdict.ACCEPTED)
        return ProgramResult(first, tuple(results), "")

    def _run(self, program: str, test: TestCase) -> TestResult:
        right = program == RIGHT or (program == PUBLIC_ONLY and "SECRET" not in test.output)
        verdict = Verdict.ACCEPTED if right else Verdict.TIMEOUT if program == SLOW else Verdict.WRONG_OUTPUT
        printed = test.output if right else f"got {test.input}"
        return TestResult(verdict, 0.1, 0.1, 9.0, printed.encode(), "")


def reply(code: str) -> str:
    return f"Here it is.\n```python\n{code}\n```"


def words(text: str) -> int:
    return len(text.split())


def make(
    config: EnvConfig | None = None, problem: Problem = PROBLEM, judge: TableJudge | None = None
) -> tuple[CodeContestsEnv, TableJudge]:
    judge = judge or TableJudge()
    return CodeContestsEnv({problem.id: problem}, judge, config or EnvConfig(), words), judge


def play(env: Environment, *responses: str, last: int | None = None):
    """All steps of an episode; `last` is the index of the response for which the caller has no further room."""

    async def episode():
        await env.reset("double")
        return [await env.step(response, last=i == last) for i, response in enumerate(responses)]

    return asyncio.run(episode())


def test_the_first_message_is_the_problem_as_it_is_between_two_lines():
    env, _ = make()
    assert asyncio.run(env.reset("double")) == (
        "Solve the following problem with a program in Python 3.\n\n"
        "Print twice the number.\n\nInput: one integer.\n\n"
        "Answer with the whole program in one block that opens with ```python and closes with ```. "
        "Use backticks for this block only."
    )


def test_a_program_that_passes_everything_ends_the_episode_with_1():
    env, judge = make()
    (step,) = play(env, reply(RIGHT))
    assert (step.reward, step.done, step.solved, step.public_passed) == (1.0, True, True, True)
    assert (step.verdict, step.observation, step.code) == (Verdict.ACCEPTED, "", RIGHT)
    # Public tests once and all of them; then the private ones alone, up to the first failure.
    assert [(tests, stop) for _, tests, _, stop in judge.calls] == [
        (PROBLEM.public_tests, False),
        (PROBLEM.private_tests, True),
    ]


def test_passing_only_the_public_tests_ends_the_episode_with_minus_1():
    (step,) = play(make()[0], reply(PUBLIC_ONLY))
    assert (step.reward, step.done, step.solved, step.public_passed) == (-1.0, True, False, True)
    assert step.verdict == Verdict.WRONG_OUTPUT and step.observation == ""


def test_failing_goes_on_with_feedback_until_the_turn_limit():
    env, judge = make()
    first, second, third = play(env, reply(WRONG), reply(SLOW), reply(WRONG))
    assert [s.reward for s in (first, second, third)] == [0.0, 0.0, -1.0]
    assert [s.done for s in (first, second, third)] == [False, False, True]
    assert [s.verdict for s in (first, second, third)] == [Verdict.WRONG_OUTPUT, Verdict.TIMEOUT, Verdict.WRONG_OUTPUT]
    assert (
        "```\n5\n```\nthe expected output is\n```\n10\n```\nbut your program printed\n```\ngot 5\n```"
        in first.observation
    )
    assert second.observation.count("did not finish within 10 s") == 2
    # A program that fails a public test never meets the private ones; the last one stops at its first failure.
    assert [(tests, stop) for _, tests, _, stop in judge.calls] == [
        (PROBLEM.public_tests, False),
        (PROBLEM.public_tests, False),
        (PROBLEM.public_tests, True),
    ]


def test_a_response_without_code_costs_0_2_unless_it_is_the_last():
    env, judge = make()
    steps = play(env, "I give up.", reply("x = = 1"), reply(RETURN))
    assert [s.reward for s in steps] == [-0.2, -0.2, -1.0]
    assert [s.verdict for s in steps] == [Verdict.INVALID_CODE] * 3
    assert [s.code for s in steps] == [None] * 3
    assert "Your reply contains no block in triple backticks marked python." in steps[0].observation
    assert "x = = 1" in steps[1].observation and "SyntaxError: invalid syntax" in steps[1].observation
    assert [program for program, *_ in judge.calls] == [RETURN]  # what does not parse never reaches the judge


def test_what_only_the_judge_cannot_compile_is_invalid_code_too():
    first, *_ = play(make()[0], reply(RETURN))
    assert (first.reward, first.verdict, first.code, first.done) == (-0.2, Verdict.INVALID_CODE, None, False)
    assert "\n    return 1\nSyntaxError: 'return' outside function\n" in first.observation
    assert "/box" not in first.observation


def test_no_room_for_another_turn_makes_a_response_the_last():
    env, judge = make()
    first, second = play(env, reply(WRONG), reply(WRONG), last=1)
    assert (second.reward, second.done, second.observation) == (-1.0, True, "")
    assert [stop for *_, stop in judge.calls] == [False, True]
    (step,) = play(make()[0], "no code", last=0)
    assert step.reward == -1.0


def test_recovering_in_the_last_turn_solves_the_problem():
    steps = play(make()[0], reply(WRONG), "no code", reply(RIGHT))
    assert [s.reward for s in steps] == [0.0, -0.2, 1.0]


def test_a_single_turn_has_no_price_for_missing_code():
    (step,) = play(make(EnvConfig(turn_limit=1))[0], "no code")
    assert (step.reward, step.done) == (-1.0, True)


def test_without_early_stop_every_turn_is_played_and_the_last_response_counts():
    steps = play(make(EnvConfig(early_stop=False))[0], reply(RIGHT), reply(RIGHT), reply(WRONG))
    assert [s.reward for s in steps] == [0.0, 0.0, -1.0]
    assert [s.solved for s in steps] == [False, False, False]
    assert [s.public_passed for s in steps] == [True, True, False]
    assert steps[0].observation.startswith("Your program passes the public tests")


def test_the_price_of_missing_code_is_configurable():
    first, *_ = play(make(EnvConfig(invalid_code_reward=-0.5))[0], "no code")
    assert first.reward == -0.5


def test_a_problem_without_private_tests_is_decided_by_its_public_ones():
    env, judge = make(problem=Problem("double", "d", PROBLEM.public_tests, ()))
    (step,) = play(env, reply(RIGHT))
    assert (step.reward, step.solved, len(judge.calls)) == (1.0, True, 1)


def test_limits_are_the_problems_own_where_it_has_them():
    own = Problem("double", "d", PROBLEM.public_tests, (), time_limit_s=1.5, memory_limit_mb=64)
    env, judge = make(EnvConfig(time_limit_s=4.0, memory_limit_mb=512), own)
    first, *_ = play(env, reply(SLOW))
    assert (judge.calls[0][2].cpu_s, judge.calls[0][2].memory_mb) == (1.5, 64)
    assert "did not finish within 1.5 s" in first.observation
    env, judge = make(EnvConfig(time_limit_s=4.0, memory_limit_mb=512))
    play(env, reply(SLOW))
    assert (judge.calls[0][2].cpu_s, judge.calls[0][2].memory_mb) == (4.0, 512)


def test_a_problem_with_named_files_is_judged_with_them():
    env, judge = make(problem=replace(PROBLEM, input_file="in.txt", output_file="out.txt"))
    play(env, reply(RIGHT))
    assert judge.files == [("in.txt", "out.txt")] * 2
    env, judge = make()
    play(env, reply(RIGHT))
    assert judge.files == [(None, None)] * 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("in.txt", "out.txt"), "reads its input from the file in.txt and writes its output to the file out.txt."),
        (("in.txt", None), "reads its input from the file in.txt and writes its output to the standard output."),
        ((None, "out.txt"), "reads its input from the standard input and writes its output to the file out.txt."),
    ],
)
def test_named_files_are_told(files, said):
    problem = replace(PROBLEM, input_file=files[0], output_file=files[1])
    env = CodeContestsEnv({"double": problem}, TableJudge(), EnvConfig(), len)
    first = asyncio.run(env.reset("double"))
    assert f"{PROBLEM.description}\n\nThe program {said}\n\n" in first


def test_one_of_several_right_outputs_is_not_called_the_expected_one():
    problem = replace(PROBLEM, checker="def check(input, output, expected): return False")
    env = CodeContestsEnv({"double": problem}, TableJudge(), EnvConfig(), len)
    result = asyncio.run(TableJudge().judge(WRONG, problem.public_tests, Limits(1, 64)))
    text = env.feedback(problem, Extraction(WRONG), result)
    assert "a right output would be\n```\n2\n```\nand your program printed\n```\ngot 1\n```" in text
    assert "the expected output" not in text


def test_a_broken_judge_is_an_exception_and_the_step_can_be_tried_again():
    env, judge = make(judge=TableJudge(fail_at_call=2))

    async def episode():
        await env.reset("double")
        await env.step(reply(WRONG))
        with pytest.raises(SandboxError, match="nsjail is gone"):
            await env.step(reply(WRONG))
        return [await env.step(reply(WRONG)), await env.step(reply(RIGHT))]

    second, third = asyncio.run(episode())
    assert (second.done, third.done, third.reward) == (False, True, 1.0)


def test_a_broken_judge_at_the_private_tests_gives_no_reward_either():
    with pytest.raises(SandboxError):
        play(make(judge=TableJudge(fail_at_call=2))[0], reply(RIGHT))


def test_nothing_of_a_private_test_is_ever_shown():
    for config in (EnvConfig(), EnvConfig(early_stop=False)):
        for responses in ([RIGHT], [PUBLIC_ONLY], [WRONG, RETURN, PUBLIC_ONLY], [SLOW, "x = = 1", WRONG]):
            env, _ = make(config)
            shown = [
                asyncio.run(env.reset("double")),
                *(step.observation for step in play(env, *map(reply, responses))),
            ]
            assert not any("SECRET" in text or "77" in text for text in shown)


def test_steps_outside_an_episode_are_refused():
    env, _ = make()
    with pytest.raises(RuntimeError, match="call reset"):
        asyncio.run(env.step(reply(RIGHT)))
    play(env, reply(RIGHT))
    with pytest.raises(RuntimeError, match="no step.* after done"):
        asyncio.run(env.step(reply(RIGHT)))


def test_reset_starts_a_new_episode():
    env, _ = make()
    for _ in range(2):
        steps = play(env, "no code", "no code", "no code")
        assert [s.reward for s in steps] == [-0.2, -0.2, -1.0]


def test_a_problem_without_public_tests_and_an_unknown_one_are_errors():
    env, _ = make(problem=Problem("double", "d", (), PROBLEM.private_tests))
    with pytest.raises(UsageError, match="'double' has no public tests") as error:
        asyncio.run(env.reset("double"))
    assert "SECRET" not in str(error.value)
    with pytest.raises(KeyError, match="halve"):
        asyncio.run(env.reset("halve"))


def test_judge_time_is_the_time_waited_for_public_and_private_tests():
    class SlowJudge(TableJudge):
        async def judge(self, *args, **kwargs):
            await asyncio.sleep(0.05)
            return await super().judge(*args, **kwargs)

    (step,) = play(make(judge=SlowJudge())[0], reply(RIGHT))
    assert step.judge_s >= 0.1
    assert play(make(judge=SlowJudge())[0], "no code")[0].judge_s < 0.05


def test_a_bad_budget_is_found_before_the_first_episode():
    with pytest.raises(UsageError, match="rlef.feedback_tokens is 10"):
        make(EnvConfig(feedback_tokens=10))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("turn_limit", 0),
        ("feedback_tokens", -1),
        ("time_limit_s", 0.0),
        ("memory_limit_mb", 0),
        ("time_limit_s", math.nan),
    ],
)
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(UsageError, match=f"rlef.{setting} is {value}"):
        EnvConfig(**{setting: value})


def test_an_infinite_price_is_refused():
    with pytest.raises(UsageError, match="rlef.invalid_code_reward is -inf"):
        EnvConfig(invalid_code_reward=-math.inf)


@pytest.mark.parametrize(
    ("final", "valid_code", "solved", "reward"),
    [
        (True, True, True, 1.0),
        (True, True, False, -1.0),
        (True, False, False, -1.0),
        (True, False, True, -1.0),
        (False, True, False, 0.0),
        (False, True, True, 0.0),
        (False, False, False, -0.2),
    ],
)
def test_reward_table(final, valid_code, solved, reward):
    assert turn_reward(final=final, valid_code=valid_code, solved=solved) == reward


# --- A user's own environment: the example of base.py ---


class ShoutEnv(Environment):
    prefill = "print("

    def first_message(self, problem: Problem) -> str:
        return f"{problem.description}\nAnswer in capitals, in a ```python block."

    def feedback(self, problem: Problem, code: Extraction, result: ProgramResult | None) -> str:
        if result is None:
            return f"{code.reason} Try again."
        failed = sum(test.verdict != Verdict.ACCEPTED for test in result.tests)
        return f"{failed} tests failed. Try again."

    def program(self, response: str) -> Extraction:
        return Extraction(response) if response.isupper() else Extraction(None, "Not in capitals.")


def test_a_users_own_environment():
    env = ShoutEnv({"double": PROBLEM}, TableJudge(), EnvConfig(), words)
    steps = play(env, "quiet", "LOUD", "LOUDER")
    assert [s.observation for s in steps] == ["Not in capitals. Try again.", "2 tests failed. Try again.", ""]
    assert [s.reward for s in steps] == [-0.2, 0.0, -1.0]


def test_the_default_program_of_a_prefilled_response_includes_the_prefill():
    env, _ = make()
    env.prefill = "```python\nprint("
    (step,) = play(env, "'right')\n```")
    assert (step.code, step.reward) == (RIGHT, 1.0)


def test_an_environment_needs_neither_torch_nor_the_host():
    names = "('torch', 'ray', 'openrlhf', 'transformers')"
    check = f"import sys, rlef_plugin.env; print([name for name in {names} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def test_environments_are_loaded_by_import_path():
    assert load_environment("rlef_plugin.env.codecontests.CodeContestsEnv") is CodeContestsEnv
    for path, reason in (
        ("no_such_module.Env", "No module named 'no_such_module'"),
        ("rlef_plugin.env.NoSuchEnv", "has no attribute 'NoSuchEnv'"),
        ("rlef_plugin.env.EnvConfig", "not a subclass of rlef_plugin.Environment"),
        ("CodeContestsEnv", "not a subclass"),
    ):
        with pytest.raises(UsageError, match=reason):
            load_environment(path)
