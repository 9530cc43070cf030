"""The two-model baseline: cases with feedback, verified right programs, independent repairs, one evaluation."""

import asyncio
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_server import PROBLEMS, rows, secret
from test_eval_chain import evaluated, scores

from benchmarks.judge_places import PLACES
from rlef_plugin.commands.repair import cases
from rlef_plugin.env import CodeContestsEnv, extract_code
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation import repair, report
from rlef_plugin.evaluation.rollouts import Message, Rollout, RolloutFolder, Turn
from rlef_plugin.problems import Problem, ProblemStore, build_store

pytestmark = pytest.mark.nsjail


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first stored program of each problem is called right and is not."""
    folder = tmp_path_factory.mktemp("repair") / "store"
    changed = [dict(row) for row in rows()]
    for row in changed:
        row["solutions"] = {"language": [3, 3], "solution": ["print(0)", row["solutions"]["solution"][0]]}
    build_store(changed, folder)
    return folder


def test_two_models_end_to_end(store: Path, tmp_path: Path) -> None:
    """The writer is always wrong; the mender's second repair of each program is right: solved by turn 3."""
    evaluated(store, tmp_path / "a", "echo", "rlef.turn_limit=1", rollouts=1)
    assert repair.write_cases(tmp_path / "a", store, tmp_path / "cases") == repair.Written(PROBLEMS, 0, 0)
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["store"]
    mended = tmp_path / "cases" / "store"
    evaluated(mended, tmp_path / "b", "mender", "rlef.turn_limit=1", rollouts=2, in_flight=1)  # it counts requests
    repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    both = report.load(tmp_path / "both")
    assert scores(both)["1@3", 3] == 1.0
    assert [rate.mean for rate in both.behaviour.solved_by_turn] == [0, 0, 1]
    assert (both.settings["model"], both.settings["repaired_by"]) == ("echo, repaired by mender", "mender")


def test_a_case_holds_program_and_feedback_and_no_private_test(store: Path, tmp_path: Path) -> None:
    evaluated(store, tmp_path / "a", "echo", "rlef.turn_limit=1", rollouts=1)
    assert repair.write_cases(tmp_path / "a", store, tmp_path / "cases", sft=True) == repair.Written(
        PROBLEMS, 0, PROBLEMS
    )
    lines = [json.loads(line) for line in (tmp_path / "cases" / "sft.jsonl").read_text().splitlines()]
    asked, answer = lines[0]["messages"]
    assert "print(5)" in asked["content"] and str(secret(0)) in asked["content"] and "public 0" in asked["content"]
    assert "private" not in asked["content"]
    assert answer["content"] == f"```python\nprint({secret(0)})\n```"  # the first stored one was not right
    cases = ProblemStore.open(tmp_path / "cases" / "store")
    assert cases.ids("valid") == [f"secret-{n}--0" for n in range(PROBLEMS)]
    original = ProblemStore.open(store)["secret-1"]
    assert cases["secret-1--0"].private_tests == original.private_tests
    assert re.search(r"wrong:\n```python\nprint\(5\)\n```", cases["secret-1--0"].description)


def test_a_program_with_a_fence_is_whole_in_its_case_and_in_its_answer(tmp_path: Path) -> None:
    """The text between the quotes would end a block of three backticks."""
    text = "s = '''\n```\n'''\nprint({})"
    right = {"language": [3], "solution": [text.format(secret(0))]}
    build_store([{**rows()[0], "solutions": right}], tmp_path / "store")
    write_evaluation(tmp_path / "a", [rollout("secret-0", 0, text.format(5), False, False)])
    written = repair.write_cases(tmp_path / "a", tmp_path / "store", tmp_path / "cases", sft=True)
    assert written == repair.Written(1, 0, 1)  # judged whole: it prints 5, and the right one prints the secret
    description = ProblemStore.open(tmp_path / "cases" / "store")["secret-0--0"].description
    assert f"````python\n{text.format(5)}\n````\n" in description and "your program printed" in description
    answer = json.loads((tmp_path / "cases" / "sft.jsonl").read_text())["messages"][1]["content"]
    assert extract_code(answer).code == text.format(secret(0))


def test_training_on_problems_kept_for_evaluation_is_refused(store: Path, tmp_path: Path) -> None:
    evaluated(store, tmp_path / "a", "echo", "rlef.turn_limit=1", rollouts=1)
    with pytest.raises(UsageError, match="an evaluation of split 'valid', whose problems are not for training"):
        cases(tmp_path / "a", store, tmp_path / "cases", sft=True)
    assert not (tmp_path / "cases").exists()
    cases(tmp_path / "a", store, tmp_path / "cases", sft=True, any_split=True)
    assert (tmp_path / "cases" / "sft.jsonl").is_file()


def test_cases_keep_checker_and_metadata_and_the_environment_of_the_evaluation(tmp_path: Path) -> None:
    """With `verdict_only` the case holds the kind of error and no expected output."""
    lenient = "def check(input, output, expected):\n    return output != ''"
    changed = [{**row, "checker": lenient, "metadata": {"tag": n}} for n, row in enumerate(rows())]
    build_store(changed, tmp_path / "store")
    settings = ["rlef.turn_limit=1", "rlef.feedback=verdict_only"]
    evaluated(tmp_path / "store", tmp_path / "a", "hush", *settings, rollouts=1)
    repair.write_cases(tmp_path / "a", tmp_path / "store", tmp_path / "cases")
    case = ProblemStore.open(tmp_path / "cases" / "store")["secret-1--0"]
    assert (case.checker, case.metadata) == (lenient, {"tag": 1})
    assert "wrong output" in case.description and str(secret(1)) not in case.description


def test_cases_of_another_store_are_refused(store: Path, tmp_path: Path) -> None:
    evaluated(store, tmp_path / "a", "echo", "rlef.turn_limit=1", rollouts=1)
    build_store([{**row, "private_tests": row["public_tests"]} for row in rows()], tmp_path / "other")
    with pytest.raises(UsageError, match="other is not the store that .*a was played on .*: name that one"):
        repair.write_cases(tmp_path / "a", tmp_path / "other", tmp_path / "cases")
    assert not (tmp_path / "cases").exists()


def test_a_program_that_passes_when_judged_again_is_left_out(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is kept out of the store and, of the composed rollouts, stays the failure it was first judged to be."""
    played = [
        rollout("secret-0", 0, f"print({secret(0)})", False, False),
        rollout("secret-1", 0, "print(5)", False, False),
    ]
    write_evaluation(tmp_path / "a", played)
    cases(tmp_path / "a", store, tmp_path / "cases", sft=True, any_split=True)
    said = capsys.readouterr().out
    assert "1 failing programs in" in said and "1 others left out" in said and "1 of the 1 with" in said
    assert ProblemStore.open(tmp_path / "cases" / "store").ids("valid") == ["secret-1--0"]
    asked = "```python\nprint(5)\n```"
    write_evaluation(tmp_path / "b", [rollout("secret-1--0", n, "x", True, True, asked) for n in range(2)])
    with pytest.raises(UsageError, match="'secret-0--0': .* or name with --cases the folder that left it out"):
        repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both", tmp_path / "cases")
    assert [one.solved for one in report.load(tmp_path / "both").rollouts] == [False, True]


def write_evaluation(folder: Path, rollouts: list[Rollout], **settings: object) -> None:
    kept = RolloutFolder(folder / "rollouts")
    for one in rollouts:
        kept.append(one)
    kept.close()
    episode = {"turn_limit": 1, "early_stop": True}
    told = {"model": folder.name, "split": "valid", "episode": episode, **settings}
    (folder / "eval.json").write_text(json.dumps(told))


def test_an_environment_that_does_not_show_the_description_is_refused(store: Path) -> None:
    settings = {"episode": {"turn_limit": 1}, "env": "test_repair.Silent"}
    with pytest.raises(UsageError, match="Silent does not show a problem's description"):
        repair.Setting.of(settings, ProblemStore.open(store)).check("secret-0")


class Silent(CodeContestsEnv):
    def first_message(self, problem: Problem) -> str:
        return "Guess."


def test_so_many_programs_at_once_and_in_order() -> None:
    running = most = 0

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (item % 3))
        running -= 1
        return item

    assert asyncio.run(repair._bounded(work, range(30))) == list(range(30))
    assert most == repair.AT_ONCE


def rollout(
    problem: str, index: int, code: str | None, public: bool, solved: bool, asked: str = "```python\na\n```"
) -> Rollout:
    turn = Turn("accepted" if solved else "wrong_output", public, 0.0, code, 1, 0.0, 0.0, 0.0, 0.0)
    return Rollout(problem, index, solved, (turn,), (Message("user", asked), Message("assistant", code or "")))


@pytest.mark.parametrize(
    "repairs, turns, solved",
    [
        ([("x", True, True), ("y", True, False)], 2, True),  # the first repair passes: the second is not looked at
        ([("x", False, False), ("y", True, True)], 3, True),
        ([("x", True, False), ("y", True, True)], 2, False),  # false hope: submitted, and wrong
        ([("x", False, False), ("y", False, False), ("z", True, True)], 3, False),  # two repairs at most
    ],
)
def test_repairs_are_tried_until_the_public_tests_pass(
    repairs: list[tuple[str, bool, bool]], turns: int, solved: bool
) -> None:
    first = rollout("p", 7, "a", False, False)
    (both,) = repair.compose([first], [rollout("p--7", n, *one) for n, one in enumerate(repairs)])
    assert (len(both.turns), both.solved, both.problem, both.index) == (turns, solved, "p", 7)
    assert len(both.messages) == 2 * turns


def test_what_needs_no_repair_is_left_as_it_is() -> None:
    passes, none = rollout("p", 0, "a", True, True), rollout("p", 1, None, False, False)
    assert list(repair.compose([passes, none], [])) == [passes, none]


def test_a_case_that_was_not_played_is_an_error() -> None:
    first, one = rollout("p", 0, "a", False, False), rollout("p--0", 0, "x", False, False)
    for number, played in enumerate(([], [one])):
        with pytest.raises(UsageError, match=f"played {number} of 2 rollouts of 'p--0'"):
            list(repair.compose([first], played))


def test_repairs_of_another_program_are_refused() -> None:
    """`a` is in each message, but is the program to be repaired in none."""
    first = rollout("p", 0, "a", False, False)
    for asked in ("```python\nb\n```", "```python\na\nb\n```", "```python\nb\na\n```", "a"):
        played = [rollout("p--0", n, "x", True, True, asked) for n in range(2)]
        with pytest.raises(UsageError, match="the repairs of 'p--0' are of another program"):
            list(repair.compose([first], played))


@pytest.mark.parametrize("key, value", [("split", "test"), ("env", "my.Env"), ("strict_exit", False)])
def test_evaluations_that_do_not_fit_are_not_composed(tmp_path: Path, key: str, value: object) -> None:
    same = {"env": "rlef_plugin.CodeContestsEnv", "strict_exit": True}
    write_evaluation(tmp_path / "a", [rollout("p", 0, "a", False, False)], **same)
    repairs = [rollout("p--0", n, "x", True, True) for n in range(2)]
    write_evaluation(tmp_path / "b", repairs, **{**same, key: value})
    with pytest.raises(UsageError, match=f"a has {key}=.* and .*b has {value!r}: evaluate the repair model with"):
        repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    write_evaluation(tmp_path / "c", repairs, **same)
    repair.write_composed(tmp_path / "a", tmp_path / "c", tmp_path / "both")


def test_what_fails_midway_leaves_nothing_behind(tmp_path: Path) -> None:
    """The second repair of the case is missing; once it is there the same command works."""
    write_evaluation(tmp_path / "a", [rollout("p", 0, "a", False, False)])
    write_evaluation(tmp_path / "b", [rollout("p--0", 0, "x", False, False)])
    with pytest.raises(UsageError, match="played 1 of 2"):
        repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    kept = RolloutFolder(tmp_path / "b" / "rollouts")
    kept.append(rollout("p--0", 1, "y", True, True))
    kept.close()
    repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    assert report.load(tmp_path / "both").rollouts[0].solved
    with pytest.raises(UsageError, match="is there already"):
        repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")


def test_single_responses_of_an_evaluation_without_early_stop_are_not_known(tmp_path: Path) -> None:
    for name in "ab":
        episode = {"turn_limit": 2, "feedback": "none", "early_stop": True}
        (tmp_path / name).mkdir()
        (tmp_path / name / "eval.json").write_text(json.dumps({"model": name, "split": "valid", "episode": episode}))
    with pytest.raises(UsageError, match="does not stop early, .*: use --turn-limit 1"):
        repair.write_composed(tmp_path / "a", tmp_path / "b", tmp_path / "both")


def test_nothing_to_repair_is_said(store: Path, tmp_path: Path) -> None:
    evaluated(store, tmp_path / "a", "mute", "rlef.turn_limit=1", rollouts=1)
    with pytest.raises(UsageError, match="nothing to repair"):
        repair.write_cases(tmp_path / "a", store, tmp_path / "cases")
    assert not (tmp_path / "cases").exists()
    with pytest.raises(UsageError, match="is there already"):
        repair.write_cases(tmp_path / "a", store, tmp_path)


def test_only_the_first_turn_of_a_longer_rollout_is_composed() -> None:
    long = rollout("p", 0, "a", False, False)
    long = replace(long, turns=long.turns * 2, messages=long.messages * 2)
    (both,) = repair.compose([long], [rollout("p--0", n, "x", True, True) for n in range(2)])
    assert [turn.code for turn in both.turns] == ["a", "x"]


def test_what_a_later_turn_solved_is_not_solved_by_the_first() -> None:
    """Turn 1 has no program to repair and turn 2 solved it: of the first response alone, nothing is solved."""
    late = rollout("p", 0, "a", True, True)
    late = replace(late, turns=(rollout("p", 0, None, False, False).turns[0], *late.turns), messages=late.messages * 2)
    (both,) = repair.compose([late], [])
    assert (len(both.turns), both.solved, both.public_passed) == (1, False, False)


@pytest.mark.skipif(os.getuid() != 0, reason="not root, which the place without namespaces needs")
def test_where_no_jail_starts_it_says_so_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", [rollout("secret-0", 0, "print(5)", False, False)])
    with PLACES["Docker's default profile and capabilities"]() as place:
        out = ("--store", str(store), "--out", str(tmp_path / "cases"))
        completed = place.rlef("repair", "cases", str(tmp_path / "a"), *out)
    said = [line for line in completed.stderr.splitlines() if "no version information" not in line]
    assert completed.returncode == 2 and len(said) == 1, completed.stderr[-2000:]
    assert said[0].startswith("rlef: the judge is broken, and nothing was decided: A jail did not start (clone(")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
