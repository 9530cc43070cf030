"""`rlef data preview`: the very tokens of a rollout, and what follows a program."""

import subprocess
import sys
from pathlib import Path

import pytest
from function_rows import CALL_ROW, SPREAD
from tiny_tokenizers import family_tokenizer

from rlef_plugin.env import Dialog, EnvConfig
from rlef_plugin.env.base import environment_of
from rlef_plugin.errors import UsageError
from rlef_plugin.preview import preview
from rlef_plugin.problems import Problem, ProblemStore, TestCase, build_store

pytestmark = pytest.mark.nsjail
TESTS = {"input": ["1\n", "2\n"], "output": ["1\n", "4\n"]}
CALL = {"entry_point": "spread", "method_of": None, "atol": 0, "compare": "value"}
ROWS = [
    {
        "name": "square",
        "description": "Print n squared.",
        "public_tests": TESTS,
        "private_tests": {"input": ["3"], "output": ["9"]},
    },
    {
        "name": "spread",
        "description": SPREAD["prompt"],
        "public_tests": {"input": ["[[3, 1]]"], "output": ["2"]},
        "private_tests": {"input": ["[[]]"], "output": ["0"]},
        "source": "humaneval+",
        "metadata": {"call": CALL, "starter": SPREAD["prompt"]},
    },
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("preview") / "store"
    build_store(ROWS, out)
    return out


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("tokenizer")
    family_tokenizer("llama-3.1").save_pretrained(out)
    return str(out)


def test_the_first_message_is_what_a_rollout_sends(store, tokenizer):
    shown = preview(store, "spread", tokenizer=tokenizer, config=EnvConfig())
    dialog = Dialog(family_tokenizer("llama-3.1"))
    start = SPREAD["prompt"].rstrip()
    message = shown.first.partition("user<|end_header_id|>\n\n")[2].partition("<|eot_id|>")[0]
    ids = dialog.prompt_tokens(message, prefill=f"```python\n{start}\n")
    assert (shown.environment, shown.first_tokens) == ("rlef_plugin.HumanEvalPlusEnv", len(ids))
    assert shown.first == family_tokenizer("llama-3.1").decode(ids)
    assert shown.first.startswith("<|begin_of_text|><|start_header_id|>system")
    assert shown.first.endswith(f"assistant<|end_header_id|>\n\n```python\n{start}\n")
    assert str(shown) == f"--- first message (rlef_plugin.HumanEvalPlusEnv, {len(ids)} tokens)\n{shown.first}"


def test_feedback_on_a_program_is_what_follows_its_response(store, tokenizer):
    program = "print('```')\nprint(int(input()))"
    shown = preview(store, "square", tokenizer=tokenizer, program=program, config=EnvConfig())
    dialog = Dialog(family_tokenizer("llama-3.1"))
    assert shown.step.verdict.label == "wrong output" and shown.step.code == program
    ids = dialog.feedback_tokens(shown.step.observation, None)
    assert (shown.then, shown.then_tokens) == (dialog.decode(ids), len(ids))
    assert shown.then.startswith("<|eot_id|><|start_header_id|>user") and "but your program printed" in shown.then
    assert f"--- what follows the program (wrong output, {len(ids)} tokens)\n<|eot_id|>" in str(shown)


def test_without_a_tokenizer_the_bare_messages_are_shown(store):
    shown = preview(store, "spread", program="def spread(n): return 3", config=EnvConfig())
    assert shown.first.startswith("Complete the following Python 3 function.")
    assert "--- the response opens with\n```python\nfrom typing import List" in shown.first
    assert "assert spread([3, 1]) == 2" in shown.then and shown.first_tokens is shown.then_tokens is None


@pytest.mark.parametrize(
    ("program", "ending"),
    [
        ("print(int(input()) ** 2)", "passes every test: the episode ends"),
        ("n = int(input())\nprint(n ** 2 if n < 3 else 0)", "fails a private test: wrong output: the episode ends"),
        ("print(int(input()) ** 2", "(invalid code)\nYour program was not run."),
    ],
)
def test_how_a_program_can_end_the_episode(store, program, ending):
    assert ending in str(preview(store, "square", program=program, config=EnvConfig()))


@pytest.mark.parametrize("program, verdict", [("print(3)", "wrong output"), ("oops(", "invalid code")])
def test_a_last_turn_that_fails_a_public_test_is_not_said_to_pass_them(store, program, verdict):
    shown = str(preview(store, "square", program=program, config=EnvConfig(turn_limit=1)))
    assert f"--- the program fails the public tests: {verdict}: the episode ends" in shown


def test_a_problem_names_its_environment():
    tests = (TestCase("", ""),)
    assert environment_of(Problem("a", "b", tests, tests, source="mbpp+")) == "rlef_plugin.MBPPPlusEnv"
    assert environment_of(Problem("a", "b", tests, tests, source="aizu")) == "rlef_plugin.CodeContestsEnv"
    called = {"call": {"entry_point": "f"}, "starter": CALL_ROW["starter_code"]}
    assert environment_of(Problem("a", "b", tests, tests, metadata=called)) == "rlef_plugin.LiveCodeBenchEnv"


def test_what_cannot_be_used_is_one_sentence(store, tmp_path):
    with pytest.raises(UsageError, match="nearest id is 'square'"):
        preview(store, "sqare", config=EnvConfig())
    with pytest.raises(UsageError, match="--tokenizer '.*' does not load"):
        preview(store, "square", tokenizer=str(tmp_path), config=EnvConfig())
    with pytest.raises(UsageError, match="--env 'no.Env' cannot be imported"):
        preview(store, "square", env="no.Env", config=EnvConfig())


def test_the_command(store, tmp_path):
    (tmp_path / "program.py").write_text("print(int(input()))")
    command = [sys.executable, "-m", "rlef_plugin", "data", "preview", str(store), "square"]
    options = ["--program", str(tmp_path / "program.py"), "rlef.feedback_tokens=300"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("--- first message (rlef_plugin.CodeContestsEnv)\nSolve the following problem")
    assert "--- what follows the program (wrong output)\nYour program was run on the public tests" in done.stdout
    assert ProblemStore.open(store)["square"].private_tests[0].output not in done.stdout
    wrong = subprocess.run([*command, "rlef.feedbak=1"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2 and "rlef.feedback" in wrong.stderr
