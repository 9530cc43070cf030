"""`rlef learn` up to its first training: store, tokenizer, dialogs, what is evaluated, and the results' arithmetic."""

import asyncio
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlef_plugin.env import Dialog
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.rollouts import Rollout, Turn
from rlef_plugin.micro import learn, prepare, results
from rlef_plugin.micro.known import programs
from rlef_plugin.problems import ProblemStore
from rlef_plugin.tiny import dialogs
from rlef_plugin.tiny.dialogs import Material


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("micro") / "store"
    prepare.make_store(path, 0, {"train": 64, "valid": 8, "test": 8})
    return path


@pytest.fixture(scope="module")
def material(store: Path) -> list[Material]:
    return asyncio.run(prepare.collect(store, 64))


@pytest.fixture(scope="module")
def tokenizer(material: list[Material]) -> Any:
    return prepare.make_tokenizer(material)


def test_the_store_has_the_splits_and_eight_programs_a_problem(store: Path) -> None:
    opened = ProblemStore.open(store)
    assert opened.splits == {"train": 64, "valid": 8, "test": 8}
    for problem_id in opened.ids("test"):
        assert [one.correct for one in opened.solutions(problem_id)].count(True) == 1
        assert len(opened.solutions(problem_id)) == 8


def test_material_is_one_right_and_seven_wrong_programs_with_the_feedback_of_an_episode(
    material: list[Material],
) -> None:
    for one in material:
        assert len(one.right) == 1 and len(one.wrong) == 7
        for text, feedback in one.wrong:
            assert text.startswith("```python\n") and "fails these:" in feedback
    said = " ".join(feedback for one in material for _, feedback in one.wrong)
    for kind in ("expected output", "ValueError", "Too slow", "Out of memory"):
        assert kind in said


def test_every_line_of_every_program_is_one_token_and_text_comes_back(
    tokenizer: Any, material: list[Material]
) -> None:
    for program in programs():
        ids = tokenizer.encode(dialogs.response(program), add_special_tokens=False)
        assert len(ids) == 2 * len(program.split("\n")) + 1  # opening fence, lines and line ends, closing fence
        assert tokenizer.decode(ids) == dialogs.response(program)
    for one in material:
        for text in (one.first_message, one.wrong[0][1]):
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_dialogs_are_short(tokenizer: Any, material: list[Material]) -> None:
    dialog, rng = Dialog(tokenizer), random.Random(0)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    lengths = [
        len(dialogs.draw(material, dialog, encode, rng, right_share=(1 / 8, 0.4, 0.4), turn_limit=3).ids)
        for _ in range(200)
    ]
    assert 40 < statistics.median(lengths) < 110 and max(lengths) < 200


def test_attempts_are_right_as_often_as_asked(tokenizer: Any, material: list[Material]) -> None:
    """With shares 0 and 1 every dialog has two attempts: a wrong one, then the right one."""
    dialog = Dialog(tokenizer)
    right = {one.right[0] for one in material}
    for seed in range(20):
        example = dialogs.draw(
            material,
            dialog,
            lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
            random.Random(seed),
            right_share=(0.0, 1.0, 1.0),
            turn_limit=3,
        )
        learned = [at for at, flag in enumerate(example.learned) if flag]
        starts = [at for at in learned if at - 1 not in learned]
        last = tokenizer.decode(example.ids[starts[-1] : -1])
        assert len(starts) == 2 and last in right


def test_feedback_and_episodes_fit_the_recipe(tokenizer: Any, material: list[Material]) -> None:
    recipe = yaml.safe_load(learn.recipe().read_text())
    assert recipe["data"]["max_len"] == learn.MAX_LEN == prepare.SIZE["max_len"]
    assert recipe["rollout"]["max_new_tokens"] == learn.MAX_NEW_TOKENS
    assert recipe["rlef"]["feedback_tokens"] == learn.FEEDBACK_TOKENS
    assert prepare.SIZES["train"] % recipe["rollout"]["batch_size"] == 0
    longest = max(len(tokenizer.encode(text)) for one in material for _, text in one.wrong)
    assert longest < learn.FEEDBACK_TOKENS
    assert max(len(tokenizer.encode(dialogs.response(program))) for program in programs()) < learn.MAX_NEW_TOKENS


def test_what_is_evaluated(tmp_path: Path) -> None:
    learning = learn.Learning(tmp_path, (0, 1), ("rlef", "summed-kl"), ())
    names = [one.name for one in learning.evaluations() if one.seed == 1]
    assert names == [
        *("start-public-T1", "start-random-T1"),
        *("rlef-public-T1", "rlef-random-T1", "rlef-none-T1", "rlef-public-T0.2", "summed-kl-public-T1"),
    ]
    assert learning.model(1, "start") != learning.model(1, "rlef") != learning.model(0, "rlef")
    with pytest.raises(UsageError, match="--arms nonsense: choose from rlef"):
        learn.Learning(tmp_path, (0,), ("nonsense",), ())


def rollout(problem: str, index: int, solved_at: int) -> Rollout:
    """Three turns, or up to the one that solves it."""
    turn = Turn("accepted" if solved_at else "wrong_output", bool(solved_at), 0.0, "x", 1, 0.0, 0.0, 0.0, 0.0)
    return Rollout(problem, index, bool(solved_at), (turn,) * (solved_at or 3), ())


def test_recovery_counts_what_turn_one_left_unsolved() -> None:
    """Five rollouts, one solved at turn 1; of the other four two are solved later."""

    class Run:
        rollouts = [rollout("a", 0, 1), rollout("a", 1, 2), rollout("a", 2, 0), rollout("b", 0, 3), rollout("b", 1, 0)]

    rate = results.recovered(Run())  # type: ignore[arg-type]
    assert rate.mean == pytest.approx(2 / 4) and rate.problems == 2
