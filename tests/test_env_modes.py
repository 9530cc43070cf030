"""`rlef.feedback`, `rlef.reward`, `rlef.early_stop` and friends: what each changes in an episode, and that it is all.

The programs are scripts that a table judges, so that a whole episode is known beforehand.
"""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest
from test_env import PROBLEM, PUBLIC_ONLY, RETURN, RIGHT, SLOW, WRONG, ShoutEnv, TableJudge, make, play, reply, words

from rlef_plugin.env import CodeContestsEnv, EnvConfig, Step
from rlef_plugin.env.modes import check_solutions, draw_incorrect
from rlef_plugin.env.templates import load_prompts
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import Verdict
from rlef_plugin.problems import ProblemStores, StoreWriter
from rlef_plugin.problems.records import Problem, Solution, TestCase

FORMAT = load_prompts().texts["format"]
INVITATION = f"Try again: send the whole program once more, changed where it may be wrong.\n{FORMAT}"


def facts(step: Step) -> tuple:
    """Everything of a step but its message and times."""
    return step.reward, step.done, step.verdict, step.public_passed, step.solved, step.code


SCRIPTS = [
    [reply(WRONG), reply(SLOW), reply(RIGHT)],
    ["no code", reply(RETURN), reply(PUBLIC_ONLY)],
    [reply(WRONG), "no code", reply(WRONG)],
]


# --- none


def test_without_feedback_the_message_is_the_invitation_whatever_was_sent():
    for response in (reply(WRONG), reply(SLOW), reply(RIGHT), reply(RETURN), "no code"):
        first, *_ = play(make(EnvConfig(feedback="none"))[0], response, "x", "x")
        assert first.observation == INVITATION


@pytest.mark.parametrize("early_stop", [True, False])
def test_without_feedback_every_turn_is_played_and_the_last_response_is_judged(early_stop: bool):
    steps = play(
        make(EnvConfig(feedback="none", early_stop=early_stop))[0], reply(RIGHT), reply(RIGHT), reply(PUBLIC_ONLY)
    )
    assert [s.done for s in steps] == [False, False, True]
    assert [s.reward for s in steps] == [0.0, 0.0, -1.0]
    assert [s.public_passed for s in steps] == [True, True, True]
    assert (steps[-1].verdict, steps[-1].solved) == (Verdict.WRONG_OUTPUT, False)
    assert play(make(EnvConfig(feedback="none"))[0], "x", reply(WRONG), reply(RIGHT))[-1].reward == 1.0


# --- verdict_only


@pytest.mark.parametrize(
    ("response", "verdicts"),
    [
        (reply(WRONG), "wrong output"),  # of both tests, named once
        (reply(SLOW), "timeout"),
        (reply(RETURN), "invalid code"),
        ("no code", "invalid code"),
    ],
)
def test_only_the_kind_of_error_is_named(response: str, verdicts: str):
    first, *_ = play(make(EnvConfig(feedback="verdict_only"))[0], response, "x", "x")
    assert first.observation == (
        f"Your program was judged on the public tests. The verdict: {verdicts}.\n\n"
        f"Correct the program where it is wrong and send it again.\n{FORMAT}"
    )


def test_kinds_are_named_once_each_in_the_order_of_the_tests():
    class Mixed(TableJudge):
        def _run(self, program, test):
            verdicts = {"a": Verdict.TIMEOUT, "b": Verdict.ACCEPTED, "c": Verdict.WRONG_OUTPUT, "d": Verdict.TIMEOUT}
            return replace(super()._run(program, test), verdict=verdicts[test.input])

    problem = replace(PROBLEM, public_tests=tuple(TestCase(name, name) for name in "abcd"))
    env, _ = make(EnvConfig(feedback="verdict_only"), problem, Mixed())
    assert "The verdict: timeout, wrong output.\n" in play(env, reply(WRONG))[0].observation


# --- random

BROKEN_OTHER, PASSING_OTHER = "print('broken other')", "print('right')"  # the table judge accepts the second


class Store(dict):
    """A store of problems by id; solutions by id beside it."""

    def __init__(self, programs: dict[str, list[Solution]], problems: dict[str, Problem]) -> None:
        super().__init__(problems)
        self.programs = programs

    def ids(self, split: str) -> list[str]:
        return [name for name, problem in self.items() if problem.split == split]

    def solutions(self, problem_id: str) -> list[Solution]:
        return self.programs.get(problem_id, [])


def other(name: str, split: str = "train") -> Problem:
    tests = (TestCase(f"in {name}", f"out {name}"),), (TestCase(f"hidden {name}", f"SECRET {name}"),)
    return Problem(name, name, *tests, split=split)


NAMES = [f"p{number}" for number in range(12)]
STORE = Store(
    {
        "double": [Solution("print('own')", False)],
        "test-problem": [Solution("print('of the test set')", False)],
        **{name: [Solution("print('good')", True), Solution(f"print('bad {name}')", False)] for name in NAMES},
    },
    {"double": PROBLEM, "test-problem": other("test-problem", "test"), **{name: other(name) for name in NAMES}},
)


def random_env(seed: int = 0, store: Store = STORE, **config) -> tuple[CodeContestsEnv, TableJudge]:
    judge = TableJudge()
    return CodeContestsEnv(store, judge, EnvConfig(feedback="random", feedback_seed=seed, **config), words), judge


def shown(seed: int, response: str = reply(WRONG), turn: int = 0) -> str:
    return play(random_env(seed)[0], *["no code"] * turn, response)[turn].observation


def test_random_feedback_is_that_of_another_problems_incorrect_program():
    env, judge = random_env()
    first, *_ = play(env, reply(WRONG))
    (own, own_tests, *_), (program, tests, _, stop) = judge.calls
    assert own_tests == PROBLEM.public_tests and first.code == WRONG == own
    [name] = [name for name in NAMES if program == f"print('bad {name}')"]
    assert tests == STORE[name].public_tests and not stop
    assert f"- Wrong output. For the input\n```\nin {name}\n```" in first.observation
    assert "\n5\n" not in first.observation  # nothing of its own tests


def test_random_feedback_is_the_same_for_the_same_seed_turn_and_response_and_else_another():
    assert shown(0) == shown(0)
    assert len({shown(seed) for seed in range(30)}) > 6
    assert len({shown(0, reply(f"{WRONG} #{number}")) for number in range(30)}) > 6
    assert len({shown(0, turn=turn) for turn in (0, 1)} | {shown(1, turn=turn) for turn in (0, 1)}) > 1


def test_random_feedback_draws_every_other_problem_of_the_split_and_no_other_one():
    drawn = [next((name for name in STORE if f"in {name}\n" in shown(seed)), "?") for seed in range(300)]
    counts = {name: drawn.count(name) for name in set(drawn)}
    assert set(counts) == set(NAMES)  # not itself, nothing of the test split, no correct program
    assert max(counts.values()) < 55 and min(counts.values()) > 8  # 25 expected, deviation 4.8


def test_random_feedback_answers_a_response_without_code_as_well():
    assert "Wrong output. For the input\n```\nin p" in shown(0, "no code")


@pytest.mark.parametrize("script", SCRIPTS)
def test_random_feedback_changes_only_the_messages(script: list[str]):
    """The dialog still stops on the true public tests, and verdicts and rewards are those of the response."""
    ours = play(random_env()[0], *script)
    theirs = play(make()[0], *script)
    assert [facts(step) for step in ours] == [facts(step) for step in theirs]
    (step,) = play(random_env()[0], reply(RIGHT))
    assert (step.done, step.reward, step.observation) == (True, 1.0, "")


def test_a_drawn_program_that_passes_is_drawn_again_and_none_that_fails_is_no_feedback():
    programs = {name: [Solution(PASSING_OTHER if name != "p7" else BROKEN_OTHER, False)] for name in NAMES}
    drawn = [play(random_env(seed, Store(programs, STORE))[0], reply(WRONG))[0].observation for seed in range(20)]
    assert {text for text in drawn if text != INVITATION} == {text for text in drawn if "in p7" in text} != set()
    everything_passes = Store({name: [Solution(PASSING_OTHER, False)] for name in NAMES}, STORE)
    env, judge = random_env(store=everything_passes)
    assert play(env, reply(WRONG))[0].observation == INVITATION
    assert len(judge.calls) == 1 + 8


def test_random_feedback_is_waited_for():
    class SlowJudge(TableJudge):
        async def judge(self, *args, **kwargs):
            await asyncio.sleep(0.05)
            return await super().judge(*args, **kwargs)

    env = CodeContestsEnv(STORE, SlowJudge(), EnvConfig(feedback="random"), words)
    assert play(env, reply(WRONG))[0].judge_s >= 0.1


def test_random_feedback_without_solutions_is_one_sentence():
    with pytest.raises(UsageError, match="rlef.feedback=random needs a problem store, not a dict"):
        play(make(EnvConfig(feedback="random"))[0], reply(WRONG))
    bare = Store({name: [Solution("x", True)] for name in NAMES} | {"double": [Solution("x", False)]}, STORE)
    with pytest.raises(UsageError, match="no problem of the split 'train' other than 'double' has an incorrect"):
        play(random_env(store=bare)[0], reply(WRONG))
    with pytest.raises(UsageError, match="1 problems of the split 'train' have any: build the store from a source"):
        check_solutions(bare, "train")
    check_solutions(STORE, "train")


def test_random_feedback_draws_from_several_stores_by_split(tmp_path: Path):
    for name, split in (("train", "train"), ("valid", "valid")):
        with StoreWriter(tmp_path / name) as writer:
            for number in range(2):
                program = Solution(f"print('bad {name}{number}')", False)
                writer.add(other(f"{name}{number}", split), [program, Solution("print('good')", True)])
    stores = ProblemStores.open([tmp_path / "train", tmp_path / "valid"])
    assert (stores.ids("valid"), stores.ids("test")) == (["valid0", "valid1"], [])
    assert [one.code for one in stores.solutions("train1")] == ["print('good')", "print('bad train1')"]
    with pytest.raises(KeyError, match="train2"):
        stores.solutions("train2")
    check_solutions(stores, "valid")
    for seed in range(8):
        found = draw_incorrect(stores, stores["valid0"], random.Random(seed))
        assert (found[0].id, found[1]) == ("valid1", "print('bad valid1')")


# --- private

MANY = replace(PROBLEM, private_tests=tuple(TestCase(f"hidden {i}\n", f"SECRET {i}\n") for i in range(30)))


def test_private_feedback_runs_20_tests_and_shows_8_failures():
    env, judge = make(EnvConfig(feedback="private", feedback_tokens=4000), MANY)
    first, *_ = play(env, reply(PUBLIC_ONLY))
    [(_, tests, _, stop)] = judge.calls
    assert tests == MANY.public_tests + MANY.private_tests[:18] and not stop
    assert [f"hidden {i}\n" in first.observation for i in range(18)] == [True] * 8 + [False] * 10
    assert "not shown here" not in first.observation  # 8 is all there is to show
    # It passes the public tests, but the tests that feedback speaks of decide whether the episode goes on.
    assert facts(first) == (0.0, False, Verdict.WRONG_OUTPUT, True, False, PUBLIC_ONLY)
    first, *_ = play(make(EnvConfig(feedback="private", feedback_tokens=4000), MANY)[0], reply(WRONG))
    assert first.observation.count("Wrong output") == 8 and not first.public_passed


def test_private_feedback_ends_with_the_tests_that_were_not_run_yet():
    env, judge = make(EnvConfig(feedback="private"), MANY)
    (step,) = play(env, reply(RIGHT))
    assert [tests for _, tests, *_ in judge.calls] == [
        MANY.public_tests + MANY.private_tests[:18],
        MANY.private_tests[18:],
    ]
    assert facts(step) == (1.0, True, Verdict.ACCEPTED, True, True, RIGHT)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("feedback", ["private", "verdict_only"])
def test_other_feedback_changes_only_the_messages(script: list[str], feedback: str):
    ours = play(make(EnvConfig(feedback=feedback))[0], *script)
    assert [facts(step) for step in ours] == [facts(step) for step in play(make()[0], *script)]


@pytest.mark.parametrize("feedback", ["public", "none", "random", "verdict_only"])
def test_only_private_feedback_shows_anything_of_a_private_test(feedback: str):
    for script in ([PUBLIC_ONLY], [WRONG, RETURN, PUBLIC_ONLY], [SLOW, "x = = 1", WRONG]):
        for early_stop in (True, False):
            judge = TableJudge()
            config = EnvConfig(feedback=feedback, early_stop=early_stop)
            steps = play(CodeContestsEnv(STORE, judge, config, words), *map(reply, script))
            assert not any("SECRET" in step.observation or "hidden" in step.observation for step in steps)


def test_a_users_own_environment_has_them_all():
    def first(feedback: str) -> str:
        env = ShoutEnv(STORE, TableJudge(), EnvConfig(feedback=feedback), words)
        return play(env, "LOUD")[0].observation

    assert first("none") == INVITATION
    assert "The verdict: wrong output." in first("verdict_only")
    assert first("public") == "2 tests failed. Try again."
    assert first("random") == "1 tests failed. Try again."  # the other problem has one public test
    assert first("private") == "4 tests failed. Try again."


# --- reward


def test_a_fraction_is_that_of_all_tests_mapped_to_minus_1_to_1():
    # PROBLEM has 2 public and 2 private tests: PUBLIC_ONLY passes 2 of 4, WRONG none, RIGHT all.
    config = EnvConfig(reward="fraction", turn_limit=1)
    for program, reward in ((PUBLIC_ONLY, 0.0), (WRONG, -1.0), (RIGHT, 1.0), (RETURN, -1.0)):
        assert play(make(config)[0], reply(program))[0].reward == reward
    assert play(make(config)[0], "no code")[0].reward == -1.0

    class OneFails(TableJudge):
        def _run(self, program, test):
            return super()._run(WRONG if test.input == "5\n" else RIGHT, test)

    env, judge = make(config, judge=OneFails())
    (step,) = play(env, reply(RIGHT))
    assert (step.reward, step.public_passed, step.verdict) == (2 * 3 / 4 - 1, False, Verdict.WRONG_OUTPUT)
    assert [(len(tests), stop) for _, tests, _, stop in judge.calls] == [(2, False), (2, False)]  # all, to the end


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_fraction_changes_only_the_last_reward_of_what_is_not_solved(script: list[str]):
    ours = play(make(EnvConfig(reward="fraction"))[0], *script)
    theirs = play(make()[0], *script)
    assert [facts(step)[1:] for step in ours] == [facts(step)[1:] for step in theirs]
    assert [step.observation for step in ours] == [step.observation for step in theirs]
    assert [step.reward for step in ours[:-1]] == [step.reward for step in theirs[:-1]]


# --- the switches that were there before: what they leave alone


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        ({"turn_limit": 2}, "done"),
        ({"early_stop": False}, "done"),
        ({"invalid_code_reward": -0.7}, "reward"),
    ],
)
def test_a_switch_changes_one_thing(config: dict, changed: str):
    responses = {"turn_limit": (WRONG, WRONG), "early_stop": (RIGHT,), "invalid_code_reward": ("x = = 1",)}
    played = responses[next(iter(config))]
    ours, theirs = (play(make(EnvConfig(**c))[0], *map(reply, played))[-1] for c in (config, {}))
    assert getattr(ours, changed) != getattr(theirs, changed)
    assert (ours.code, ours.public_passed) == (theirs.code, theirs.public_passed)
    if changed == "reward":
        assert replace(ours, reward=theirs.reward, judge_s=0) == replace(theirs, judge_s=0)


@pytest.mark.parametrize(
    ("setting", "value", "valid"),
    [("feedback", "nothing", "public, none, random, private, verdict_only"), ("reward", "half", "binary, fraction")],
)
def test_an_unknown_choice_is_one_sentence(setting: str, value: str, valid: str):
    with pytest.raises(UsageError, match=f"rlef.{setting} is '{value}', but must be one of {valid}."):
        EnvConfig(**{setting: value})
