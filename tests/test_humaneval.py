"""HumanEval+: from published rows to an episode; the real rows where they are at hand."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from function_rows import HUMANEVAL, SPREAD, THIRD, published
from judge_helpers import SyncJudge, sync_judge

import rlef_plugin
from rlef_plugin.env import EnvConfig, HumanEvalPlusEnv, Step, load_environment
from rlef_plugin.env.call_runs import run_calls
from rlef_plugin.env.calls import call_of
from rlef_plugin.judge import JudgeConfig, Limits, Verdict
from rlef_plugin.problems import Problem, ProblemStore, Row, StoreError, TestCase, build_store
from rlef_plugin.problems.evalplus import EvalPlus
from rlef_plugin.problems.fields import RowError

pytestmark = pytest.mark.nsjail


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    with sync_judge(workers=2) as judge:
        yield judge


@pytest.fixture(scope="module")
def adapt() -> Iterator[EvalPlus]:
    with EvalPlus(JudgeConfig(workers=2)) as adapt:
        yield adapt


@pytest.fixture(scope="module")
def store(adapt: EvalPlus, tmp_path_factory: pytest.TempPathFactory) -> ProblemStore:
    out = tmp_path_factory.mktemp("humaneval") / "store"
    build_store(HUMANEVAL, out, split="test", adapt=adapt)
    return ProblemStore.open(out)


def words(text: str) -> int:
    return len(text.split())


def play(judge: SyncJudge, store: ProblemStore, problem: str, *responses: str, **config) -> tuple[str, list[Step]]:
    env = HumanEvalPlusEnv(store, judge.judge, EnvConfig(**config), words)

    async def episode() -> tuple[str, list[Step]]:
        first = await env.reset(problem)
        return first, [await env.step(response) for response in responses]

    return judge.loop.run_until_complete(episode())


def test_a_row_becomes_a_problem_with_what_its_canonical_solution_returns(store):
    problem = store["HumanEval_0"]
    assert problem.public_tests == (TestCase("[[3, 1]]", "2"), TestCase("[[]]", "0"))
    assert problem.private_tests == (
        TestCase("[[-5, 5, 0]]", "10"),
        TestCase("[[7]]", "0"),
        TestCase("[[1.5, 1]]", "0.5"),
    )
    assert problem.metadata == {
        "call": {"entry_point": "spread", "method_of": None, "atol": 0, "compare": "value"},
        "left_out": 0,
        "starter": SPREAD["prompt"],
    }
    assert (problem.name, problem.split, problem.source) == ("HumanEval/0", "test", "humaneval+")
    assert store["HumanEval_1"].metadata["call"]["atol"] == 1e-6
    assert [one.correct for one in store.solutions("HumanEval_0")] == [True]


def test_the_first_message_holds_the_starter_and_the_response_opens_with_it(judge, store):
    env = HumanEvalPlusEnv(store, judge.judge, EnvConfig(), words)
    starter = SPREAD["prompt"].rstrip()
    assert judge.loop.run_until_complete(env.reset("HumanEval_0")) == (
        f"Complete the following Python 3 function.\n\n```python\n{starter}\n```\n\n"
        "Answer with the whole program in one block that opens with ```python and closes with ```. "
        "Use backticks for this block only."
    )
    assert env.prefill == f"```python\n{starter}\n"


def test_the_response_goes_on_where_the_prefill_ends(judge, store):
    _, (step,) = play(judge, store, "HumanEval_0", SPREAD["canonical_solution"] + "```")
    assert (step.solved, step.reward) == (True, 1.0)
    assert step.code == SPREAD["prompt"].rstrip() + "\n" + SPREAD["canonical_solution"].rstrip()


def test_a_function_written_anew_in_a_block_of_its_own_counts(judge, store):
    whole = "    pass\n```\nRather:\n```python\ndef spread(n):\n    return max(n, default=0) - min(n, default=0)\n```"
    _, (step,) = play(judge, store, "HumanEval_0", whole)
    assert step.solved and step.code.startswith("def spread(n)")


def test_an_example_after_the_function_is_not_the_program(judge, store):
    _, (step,) = play(
        judge, store, "HumanEval_0", f"{SPREAD['canonical_solution']}```\nFor example:\n```python\nspread([1])\n```"
    )
    assert step.solved


def test_feedback_shows_assertions_with_run_time_values_and_the_tests_that_pass(judge, store):
    _, (step,) = play(judge, store, "HumanEval_0", "    return max(numbers)\n```")
    assert (step.verdict, step.done, step.reward) == (Verdict.WRONG_OUTPUT, False, 0.0)
    assert step.observation == (
        "Your program was run on the public tests and fails these:\n\n"
        "- Wrong result. This test fails:\n```\nassert spread([3, 1]) == 2\n```\nThe call returned\n```\n3\n```\n"
        "- Your program stopped with an error in this test:\n```\nassert spread([]) == 0\n```\nThe error is\n```\n"
        "Traceback (most recent call last):\n"
        '  File "solution.py", line 9, in spread\n    return max(numbers)\n'
        "ValueError: max() iterable argument is empty\n```\n\n"
        "Correct the program and send it again.\n"
        "Answer with the whole program in one block that opens with ```python and closes with ```. "
        "Use backticks for this block only."
    )
    _, (step,) = play(judge, store, "HumanEval_0", "    return numbers[0] if numbers else 0\n```")
    assert step.observation.startswith(
        "Your program was run on the public tests and fails these:\n\n"
        "- Wrong result. This test fails:\n```\nassert spread([3, 1]) == 2\n```\nThe call returned\n```\n3\n```\n"
        "- These tests pass:\n```\nassert spread([]) == 0\n```\n\nCorrect the program"
    )


def test_feedback_stays_in_its_budget_and_never_shows_a_plus_test(judge, store):
    _, (step,) = play(judge, store, "HumanEval_0", "    return 'x' * 10**5\n```", feedback_tokens=80)
    assert words(step.observation) <= 80
    for text in ("-5, 5, 0", "1.5", "[7]"):
        assert text not in step.observation


def test_a_program_right_on_the_base_tests_only_is_not_solved(judge, store):
    _, (step,) = play(judge, store, "HumanEval_0", "    return numbers[0] - numbers[-1] if numbers else 0\n```")
    assert (step.public_passed, step.solved, step.reward, step.done) == (True, False, -1.0, True)


def test_floats_are_close_enough(judge, store):
    for body, solved in (("    return x / 6", True), ("    return x / 6 + 1e-9", True), ("    return x // 6", False)):
        _, (step,) = play(judge, store, "HumanEval_1", body + "\n```")
        assert step.solved is solved, body


def test_it_is_exported_lazily():
    assert rlef_plugin.HumanEvalPlusEnv is HumanEvalPlusEnv
    assert load_environment("rlef_plugin.HumanEvalPlusEnv") is HumanEvalPlusEnv


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"canonical_solution": "    return 1 // 0\n"}, "canonical_solution raises ZeroDivisionError"),
        ({"canonical_solution": "    return (\n"}, "canonical_solution is not Python"),
        ({"entry_point": "spred"}, "canonical_solution raises The program does not define spred"),
        ({"base_input": []}, "base_input is empty"),
        ({"plus_input": [3]}, "plus_input is list"),
        ({"prompt": None}, "prompt is missing"),
        ({"task_id": 5}, "task_id is int 5"),
        ({"atol": "x"}, "atol is str 'x'"),
    ],
)
def test_a_bad_row_names_its_field(adapt, change, sentence):
    with pytest.raises(RowError, match=sentence):
        adapt(SPREAD | change)


def test_a_bad_row_stops_the_build_and_is_named(adapt, tmp_path):
    rows = [Row(SPREAD, "a.jsonl", 1), Row(THIRD | {"canonical_solution": "    return ("}, "a.jsonl", 2)]
    with pytest.raises(StoreError, match="a.jsonl, row 2: canonical_solution is not Python"):
        build_store(rows, tmp_path / "store", adapt=adapt)


def test_a_test_whose_result_is_too_large_is_left_out_and_told(adapt, caplog):
    row = SPREAD | {"canonical_solution": "    return 'x' * 2**21 if numbers == [7] else 1\n"}
    with caplog.at_level(logging.WARNING):
        made = adapt(row)
    assert made["private_tests"]["input"] == ["[[-5, 5, 0]]", "[[1.5, 1]]"]
    assert made["metadata"]["left_out"] == 1
    assert "HumanEval/0: 1 tests left out" in caplog.text


# --- The published rows ---


def judged(judge: SyncJudge, problem: Problem, code: str) -> Verdict:
    tests = problem.public_tests + problem.private_tests
    call = call_of(problem)
    return judge.loop.run_until_complete(run_calls(judge.judge, call, code, tests, Limits(), stop=True)).verdict


# Wrong by as little as can be told apart: of a list one element, of a number one.
BENT = """
def _bent(value):
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float, complex)):
        return value + 1 if abs(value) < 2**50 else -value
    if isinstance(value, (str, list, tuple)):
        return value + type(value)("x")
    if isinstance(value, dict):
        return {**value, "x": "x"}
    return value | {"x"} if isinstance(value, set) else None
_right = NAME
def NAME(*arguments):
    return _bent(_right(*arguments))
"""


def check_published(judge: SyncJudge, adapt: EvalPlus, rows: list[dict], out: Path) -> list[str]:
    """Build a store of the rows; ids whose canonical solution is not accepted, or whose wrong one is."""
    build_store(rows, out, split="test", adapt=adapt)
    store, bad = ProblemStore.open(out), []
    assert len(store) == len(rows)
    for id_ in store:
        problem, (solution,) = store[id_], store.solutions(id_)
        wrong = solution.code + BENT.replace("NAME", problem.metadata["call"]["entry_point"])
        if judged(judge, problem, solution.code) != Verdict.ACCEPTED:
            bad.append(id_)
        if judged(judge, problem, wrong) == Verdict.ACCEPTED:
            bad.append(f"{id_}, wrong")
    return bad


def test_some_published_rows(judge, adapt, tmp_path):
    rows = published("HumanEvalPlus-Mini.jsonl.gz")[::16]  # find_zero, with its roots, is the third
    assert [row["entry_point"] for row in rows][2] == "find_zero"
    assert check_published(judge, adapt, rows, tmp_path / "store") == []


@pytest.mark.slow
def test_every_published_row(judge, adapt, tmp_path):
    assert check_published(judge, adapt, published("HumanEvalPlus.jsonl.gz"), tmp_path / "store") == []
