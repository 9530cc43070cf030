"""`rlef learn` up to its first training: store, tokenizer, dialogs, what is evaluated, and the results' arithmetic."""

import asyncio
import io
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.env import Dialog
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.analyze import analyze
from rlef_plugin.evaluation.rollouts import Rollout, Turn
from rlef_plugin.micro import learn, prepare, results
from rlef_plugin.micro.known import programs
from rlef_plugin.problems import ProblemStore
from rlef_plugin.tiny import dialogs
from rlef_plugin.tiny.dialogs import Material


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("micro") / "store"
    prepare.make_store(path, 0, replace(prepare.FULL, sizes={"train": 64, "valid": 8, "test": 8}))
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
    assert recipe["data"]["max_len"] == learn.MAX_LEN == prepare.FULL.max_len
    assert recipe["rollout"]["max_new_tokens"] == learn.MAX_NEW_TOKENS
    assert recipe["rlef"]["feedback_tokens"] == learn.FEEDBACK_TOKENS
    for plan in (prepare.FULL, prepare.SHORT):
        assert plan.sizes["train"] % recipe["rollout"]["batch_size"] == 0
    longest = max(len(tokenizer.encode(text)) for one in material for _, text in one.wrong)
    assert longest < learn.FEEDBACK_TOKENS
    assert max(len(tokenizer.encode(dialogs.response(program))) for program in programs()) < learn.MAX_NEW_TOKENS


def test_what_is_evaluated(tmp_path: Path) -> None:
    """Arms that play other dialogs than they train on; of the others, training says enough."""
    learning = learn.Learning(tmp_path, (0, 1), ("summed-kl", "single-turn"))
    names = [one.name for one in learning.evaluations() if one.seed == 1]
    assert names == [
        *("start-public-T1", "start-random-T1"),
        *("rlef-public-T1", "rlef-random-T1", "rlef-none-T1", "rlef-public-T0.2", "single-turn-public-T1"),
    ]
    assert learning.model(1, "start") != learning.model(1, "rlef") != learning.model(0, "rlef")


def test_arms_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for arm in ("nonsense", "rlef"):
        with pytest.raises(UsageError, match=f"--arms {arm}: choose from summed-kl"):
            learn.Learning(tmp_path, (0,), (arm,))
    with pytest.raises(UsageError, match="--short trains no arms"):
        learn.Learning(tmp_path, (0,), ("summed-kl",), short=True)


def test_an_arm_is_the_recipe_with_one_key_replaced_and_ended_early(tmp_path: Path) -> None:
    """15 of 30 steps of 128: 1,920 problems, and a rate that rises over 5% of 30 steps is one over 10% of 15."""
    learning = learn.Learning(tmp_path, (0,), ("summed-kl",), ("train.seed=7",))
    rising = [f"{name}.lr_warmup_ratio=0.1" for name in ("actor", "critic")]
    assert learning.settings("summed-kl") == ["rlef.kl=sum", "data.max_samples=1920", *rising, "train.seed=7"]
    assert learning.settings("rlef") == ["train.seed=7"]


@pytest.mark.parametrize("steps", [0, 30])
def test_an_arm_has_fewer_steps_than_the_whole_run(tmp_path: Path, steps: int) -> None:
    with pytest.raises(UsageError, match=f"--arm-steps {steps}: choose from 1 to 29"):
        learn.Learning(tmp_path, (0,), ("summed-kl",), arm_steps=steps)
    learn.Learning(tmp_path, (0,), arm_steps=steps)  # no arm, no steps


def test_whole_runs_and_their_results_come_before_the_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    monkeypatch.setattr(learn, "_prepare", lambda folder, *others: (folder / "store", folder / "model"))
    monkeypatch.setattr(learn, "_train", lambda what, seed, arm, *others: did.append(f"train {seed} {arm}"))
    monkeypatch.setattr(learn, "_evaluate", lambda what, one, *others: did.append(f"eval {one.seed} {one.name}"))
    monkeypatch.setattr(results, "write", lambda what, *others: did.append("write") or [])
    learn.learn(learn.Learning(tmp_path, (0, 1), ("no-feedback",)), tmp_path, Console(quiet=True))
    assert [word for word in did if not word.startswith("eval")] == [
        *("train 0 rlef", "train 1 rlef", "write", "train 0 no-feedback", "train 1 no-feedback", "write")
    ]
    assert did[-2] == "eval 1 no-feedback-public-T1" and len(did) == 20


def test_what_was_made_from_something_else_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with overrides is not taken for one without, nor an evaluation of one model for one of the other."""
    ran: list[str] = []

    def run(command: list[str], log: Path, what: str, console: Any) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        assert not (log.parent / "made").exists()  # nothing is left of what was there
        (log.parent / "made").touch()
        ran.append(command[0])

    def everything(*overrides: str) -> list[str]:
        ran.clear()
        learning = learn.Learning(tmp_path, (0,), (), overrides)
        learn._train(learning, 0, "rlef", tmp_path, tmp_path, Console(quiet=True))
        for one in learning.evaluations():
            learn._evaluate(learning, one, Console(quiet=True))
        return list(ran)

    monkeypatch.setattr(learn, "_run", run)
    monkeypatch.setattr("rlef_plugin.launcher.describe", lambda flags: "")
    start = tmp_path / "seed-0" / "made"
    start.mkdir(parents=True)
    prepare.write_stamp(start, {"code": "1", "seed": 0})
    assert everything() == ["train", *["eval"] * 6]
    assert everything() == []
    assert everything("train.num_episodes=1") == ["train", *["eval"] * 4]  # the start is the same
    prepare.write_stamp(start, {"code": "2", "seed": 0})
    assert everything("train.num_episodes=1") == ["train", *["eval"] * 6]


def test_a_typo_in_an_override_costs_no_training(tmp_path: Path, store: Path) -> None:
    learning = learn.Learning(tmp_path, (0,), (), ("rlef.turn_limt=3",))
    there = learning.run(0, "rlef") / "model"
    there.mkdir(parents=True)
    with pytest.raises(UsageError, match="rlef.turn_limt.*did you mean 'rlef.turn_limit'"):
        learn._train(learning, 0, "rlef", store, tmp_path, Console(quiet=True))
    assert there.is_dir()


def test_what_the_short_version_changes_is_in_the_stamp(tmp_path: Path) -> None:
    short = learn.Learning(tmp_path, (0,), (), ("train.seed=7",), short=True)
    assert short.stamp(0, "rlef")["overrides"] == [*learn.SHORT_SETTINGS, "train.seed=7"]
    assert learn.Learning(tmp_path, (0,)).stamp(0, "rlef")["overrides"] == []


def test_an_evaluation_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(command: list[str], log: Path, what: str, console: Any) -> None:
        (log.parent / "rollout").touch()
        raise KeyboardInterrupt

    learning = learn.Learning(tmp_path, (0,))
    one = learning.evaluations()[0]
    monkeypatch.setattr(learn, "_run", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learn._evaluate(learning, one, Console(quiet=True))
        assert (learning.folder(one) / "rollout").exists()
    monkeypatch.setattr(learn, "_run", lambda command, log, what, console: None)
    learn._evaluate(learning, one, Console(quiet=True))
    assert (learning.folder(one) / "rollout").exists()


def rollout(problem: str, index: int, *passed: bool) -> Rollout:
    """Whether the response of each turn passes the public tests; passing the last is solving."""
    turns = tuple(Turn("accepted" if one else "wrong_output", one, 0.0, "x", 1, 0.0, 0.0, 0.0, 0.0) for one in passed)
    return Rollout(problem, index, passed[-1], turns, ())


def test_recovery_is_of_first_responses_that_fail_the_public_tests() -> None:
    """Six rollouts, two of which pass at turn 1, one of those being played on to its end; of the other four, two."""

    class Run:
        rollouts = [
            *(rollout("a", 0, True), rollout("a", 1, False, True), rollout("a", 2, False, False, False)),
            *(rollout("b", 0, False, False, True), rollout("b", 1, False, False, False)),
            rollout("b", 2, True, True, True),
        ]

    rate = results.recovered(Run())  # type: ignore[arg-type]
    assert rate.mean == pytest.approx(2 / 4) and rate.problems == 2


def test_over_seeds_leaves_out_what_is_not_known() -> None:
    """Without feedback only the last turn is known."""
    rollouts = [rollout("a", 0, True, True), rollout("a", 1, False, False)]

    class Run:
        behaviour = analyze(rollouts, 2, stops_early=False)

    Run.rollouts = rollouts  # type: ignore[attr-defined]
    found = results.over_seeds({learn.Evaluation(seed, "rlef", "none", 1.0): Run() for seed in (0, 1)})  # type: ignore[misc]
    rows = found["rlef-none-T1"]
    assert sorted(rows) == ["recovered", "solved_by_turn_2"]
    assert rows["solved_by_turn_2"] == {"mean": 0.5, "min": 0.5, "max": 0.5, "seeds": 2}


def steps_of(*rows: tuple[float, float]) -> list[dict[str, float]]:
    """Metrics of a run, of which the solve rate and the explained variance are known."""
    return [{"episode/solve_rate": solved, "learner/explained_variance": explained} for solved, explained in rows]


def test_arms_are_compared_by_the_last_of_the_steps_that_both_have() -> None:
    """Two seeds, an arm of six steps, of which five count; what follows in the whole run does not."""
    nan = float("nan")
    trained = {
        (0, "rlef"): steps_of((0.9, 9.0), *[(0.5, 0.1)] * 4, (0.6, nan), (0.9, 9.0)),
        (1, "rlef"): steps_of((0.9, 9.0), *[(0.7, 0.3)] * 5, (0.9, 9.0)),
        (2, "rlef"): steps_of(*[(0.0, 0.0)] * 7),  # a seed without arms
        (0, "single-turn"): steps_of((0.9, nan), *[(0.1, nan)] * 5),
        (1, "single-turn"): steps_of((0.9, nan), *[(0.2, nan)] * 5),
    }
    found = results.compared(trained, 6)
    assert found["rlef"]["solved"] == pytest.approx({"mean": 0.61, "min": 0.52, "max": 0.7, "seeds": 2})
    assert found["rlef"]["explained_variance"] == pytest.approx({"mean": 0.2, "min": 0.1, "max": 0.3, "seeds": 2})
    assert found["single-turn"] == {"solved": pytest.approx({"mean": 0.15, "min": 0.1, "max": 0.2, "seeds": 2})}
    shown = printed(results.table_of_arms(found, 6))
    assert shown[0].strip() == "Training, means of steps 2 to 6"
    at = next(number for number, line in enumerate(shown) if "single-turn" in line)
    assert shown[at].split() == ["single-turn", "15", *"----"] and shown[at + 1].split() == ["(10..20)"]


def printed(table: Any) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()


def test_tables_fit_into_80_characters_with_the_longest_numbers() -> None:
    spread = {"mean": 1.0, "min": 0.0, "max": 1.0, "seeds": 3}
    drifted = {"mean": 18.71, "min": 2.11, "max": 33.92, "seeds": 3}
    row = {"solved": spread, "solved_by_turn_2": spread, "explained_variance": {**spread, "min": -1.0}}
    row |= {"tokens_of_first_response": drifted, "kl_of_first_response": drifted}
    text = "\n".join(printed(results.table_of_arms(dict.fromkeys(learn.ARMS, row), 15)))
    widest = ("(0..100)", "(-100..100)", "(2.1..33.9)", "(2.11..33.92)")
    assert [text.count(one) for one in widest] == [10, 5, 5, 5]
    row = {f"solved_by_turn_{turn}": {**spread, "min": 1.0} for turn in (1, 2, 3)} | {"recovered": spread}
    text = "\n".join(printed(results.table_of_evaluations({"random-feedback-public-T1": row})))
    assert (text.count("(100..100)"), text.count("(0..100)")) == (3, 1)


def test_nothing_is_shown_as_less_than_zero_that_rounds_to_it() -> None:
    arms = {"rlef": {"explained_variance": {"mean": -0.004, "min": -0.006, "max": 0.0, "seeds": 2}}}
    text = "\n".join(printed(results.table_of_arms(arms, 15)))
    assert "(-1..0)" in text and "-0" not in text


def test_no_seed_is_refused() -> None:
    done = CliRunner().invoke(app, ["learn", "--seeds", "0"])
    assert done.exit_code == 2 and "--seeds" in done.output
