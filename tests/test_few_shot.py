"""Few-shot examples: the shortest of two and of three attempts, of other problems, before the first message."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin.env import CodeContestsEnv, EnvConfig
from rlef_plugin.env.few_shot import _by_length, check_examples
from rlef_plugin.errors import UsageError
from rlef_plugin.problems.records import Problem, TestCase


def row(problem: str, attempts: int, text: str) -> dict[str, Any]:
    messages = [
        message
        for turn in range(attempts)
        for message in (
            {"role": "user", "content": f"{text} asks {turn}"},
            {"role": "assistant", "content": f"{text} answers {turn}"},
        )
    ]
    return {"messages": messages, "problem": problem, "turns": attempts}


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    file = tmp_path / "sft.jsonl"
    rows = [row("p", 2, "own"), row("q", 2, "other"), row("r", 2, "very long other"), row("q", 3, "third")]
    file.write_text("".join(json.dumps(one) + "\n" for one in [*rows, row("q", 1, "one")]))
    return file


def first_message(problem_id: str, few_shot: Path | None) -> str:
    test = TestCase("1", "1")
    problem = Problem(id=problem_id, description="Say one.", public_tests=(test,), private_tests=(test,))
    config = EnvConfig(few_shot=str(few_shot or ""))
    env = CodeContestsEnv({problem_id: problem}, None, config, len)  # type: ignore[arg-type]  # nothing is judged
    return asyncio.run(env.reset(problem_id))


def test_the_shortest_of_two_and_of_three_attempts_come_first(mined: Path) -> None:
    plain, shown = first_message("s", None), first_message("s", mined)
    assert shown.endswith(plain)
    assert "User: own asks 0\n\nAssistant: own answers 0\n\nUser: own asks 1\n\nAssistant: own answers 1" in shown
    assert "third answers 2" in shown and "very long" not in shown and "one answers" not in shown


def test_a_problem_is_not_shown_its_own_solution(mined: Path) -> None:
    assert "own" not in first_message("p", mined) and "other answers 1" in first_message("p", mined)


def test_a_problem_is_not_shown_the_solution_of_its_copy(mined: Path) -> None:
    copy = row("copy", 2, "Say one.\nIt")  # the shortest with two attempts but for "own"
    mined.write_text(mined.read_text() + json.dumps(copy) + "\n")
    assert "It answers" not in first_message("p", mined) and "other answers 1" in first_message("p", mined)


def test_says_what_is_missing(mined: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dialog with 3 attempts for problem 'q': mine more"):
        first_message("q", mined)
    with pytest.raises(UsageError, match="cannot be read"):
        first_message("p", tmp_path / "none")
    (tmp_path / "bad").write_text("{}\n")
    with pytest.raises(UsageError, match="name a file of `rlef mine`"):
        first_message("p", tmp_path / "bad")


def test_a_file_without_both_numbers_of_attempts_is_refused_at_once(mined: Path) -> None:
    check_examples(str(mined))
    mined.write_text(json.dumps(row("q", 2, "other")) + "\n")
    _by_length.cache_clear()
    with pytest.raises(UsageError, match="has no dialog with 3 attempts: mine more rollouts"):
        check_examples(str(mined))
