"""Mining: only what was solved, one of each program, in the host's own format with the loss on the last response."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_report import SETTINGS
from test_report import folder as write_evaluation

from rlef_plugin.commands.evaluation import mine
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.mine import collect, row, same_program, successes, write
from rlef_plugin.evaluation.rollouts import Message, Rollout, RolloutFolder, Turn


def rollout(problem: str, index: int, *programs: str | None, solved: bool = True) -> Rollout:
    turns = tuple(Turn("accepted", True, 1.0, code, 1, 0.0, 0.0, 0.0, 0.0) for code in programs)
    texts = [text for n in range(len(programs)) for text in (f"ask {n}", f"answer {n}")]
    messages = tuple(Message(("user", "assistant")[n % 2], text) for n, text in enumerate(texts))
    return Rollout(problem, index, solved, turns, messages)


def test_only_solved_rollouts_and_one_of_each_program() -> None:
    rollouts = [
        rollout("a", 0, "print(1)"),
        rollout("a", 1, "x", "print( 1 )  # the same"),
        rollout("a", 2, "print(2)"),
        rollout("a", 3, "print(3)", solved=False),
        rollout("b", 0, "print(1)"),
    ]
    found = [(one.problem, one.index) for one in successes(rollouts)]
    assert found == [("a", 1), ("a", 2), ("b", 0)]  # of the same program the rollout with more turns
    assert [(one.problem, one.index) for one in successes(rollouts, per_problem=1)] == [("a", 1), ("b", 0)]


def test_programs_that_do_not_parse_are_compared_as_text() -> None:
    assert same_program("print 1") != same_program("print 2")
    assert same_program("print 1\n") == same_program(" print 1")


def test_a_row_is_a_dialog_that_ends_with_the_solution(tmp_path: Path) -> None:
    write([rollout("a", 0, "x", "y")], tmp_path / "new" / "sft.jsonl")
    (line,) = (tmp_path / "new" / "sft.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "messages": [
            {"role": "user", "content": "ask 0"},
            {"role": "assistant", "content": "answer 0"},
            {"role": "user", "content": "ask 1"},
            {"role": "assistant", "content": "answer 1"},
        ],
        "problem": "a",
        "turns": 2,
    }


def test_nothing_solved_is_said_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rollout solved its problem"):
        write(successes([rollout("a", 0, "x", solved=False)]), tmp_path / "sft.jsonl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, said",
    [
        ({"split": "valid"}, "a is an evaluation of split 'valid', .*: evaluate --split train, or ask .* --any-split"),
        ({"episode": {"turn_limit": 3, "early_stop": True, "feedback": "private"}}, "a has rlef.feedback=private"),
    ],
)
def test_what_is_not_for_training_is_refused_unless_asked_for(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    evaluation = write_evaluation(tmp_path / "a", 2)
    (evaluation / "eval.json").write_text(json.dumps({**SETTINGS, "split": "train", **change}))
    with pytest.raises(UsageError, match=said):
        mine([str(evaluation)], tmp_path / "sft.jsonl")
    assert not (tmp_path / "sft.jsonl").exists()
    mine([str(evaluation)], tmp_path / "sft.jsonl", any_split=True)
    (evaluation / "eval.json").write_text(json.dumps({**SETTINGS, "split": "train"}))
    mine([str(evaluation)], tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "sft.jsonl").read_text() != ""


def test_of_several_evaluations_each_row_has_its_own_texts(tmp_path: Path) -> None:
    """Both have a rollout 0 of problem a; the second run's repeats the first's program in fewer turns."""
    for name, programs in (("one", ("x", "print(1)")), ("two", ("print(1)",))):
        kept = RolloutFolder(tmp_path / name / "rollouts")
        kept.append(rollout("a", 0, *programs))
        kept.append(rollout("b", 0, f"print({name!r})"))
        kept.append(rollout("c", 0, "print(3)", solved=False))
        kept.close()
        (tmp_path / name / "eval.json").write_text(json.dumps({**SETTINGS, "split": "train"}))
    chosen, played = collect([tmp_path / "two", tmp_path / "one"])
    assert chosen == [
        rollout("a", 0, "x", "print(1)"),
        rollout("b", 0, "print('two')"),
        rollout("b", 0, "print('one')"),
    ]
    assert played == 6


@pytest.mark.host
def test_the_host_takes_the_loss_on_the_last_response_alone() -> None:
    """Host: openrlhf/datasets/sft_dataset.py, `preprocess_data` with an input key and no output key."""
    from openrlhf.datasets.sft_dataset import preprocess_data

    def template(messages: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool = False) -> str:
        text = "".join(f"<{one['role']}>{one['content']}</>" for one in messages)
        return text + ("<assistant>" if add_generation_prompt else "")

    dialog = row(rollout("a", 0, "x", "y"))
    prompt, response = preprocess_data(dialog, None, "messages", None, apply_chat_template=template)
    assert prompt == "<user>ask 0</><assistant>answer 0</><user>ask 1</><assistant>"
    assert response == "answer 1</>"
