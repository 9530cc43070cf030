"""MBPP+: types that JSON has lost come back, what of a result counts follows from the row, and an episode."""

from collections.abc import Iterator

import pytest
from function_rows import LENGTH, MBPP, SHARED, VOWEL, mbpp, published
from judge_helpers import SyncJudge, sync_judge
from test_humaneval import check_published

import rlef_plugin
from rlef_plugin.env import EnvConfig, MBPPPlusEnv, load_environment
from rlef_plugin.env.values import Unordered
from rlef_plugin.judge import JudgeConfig
from rlef_plugin.problems import ProblemStore, TestCase, build_store
from rlef_plugin.problems.evalplus import EvalPlus
from rlef_plugin.problems.fields import RowError
from rlef_plugin.problems.typed_inputs import example_calls, typed_arguments


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
    out = tmp_path_factory.mktemp("mbpp") / "store"
    build_store(MBPP, out, split="test", adapt=adapt)
    return ProblemStore.open(out)


def step_of(judge: SyncJudge, store: ProblemStore, problem: str, code: str):
    env = MBPPPlusEnv(store, judge.judge, EnvConfig(), len)

    async def episode():
        first = await env.reset(problem)
        return first, await env.step(f"```python\n{code}\n```")

    return judge.loop.run_until_complete(episode())


# --- Types ---


@pytest.mark.parametrize(
    ("assertion", "arguments", "typed"),
    [
        ("f((1, 2), [3])", [[1], [2]], [(1,), [2]]),
        ("f([(1, 2), (3,)])", [[[1], []]], [[(1,), ()]]),
        ("f(((1,), 2))", [[[1, [2, [3]]]]], [((1, (2, (3,))),)]),  # tuples in tuples, deeper than the example
        ("f([[1], 2])", [[1, [2, [3]]]], [[1, [2, [3]]]]),
        ("f({1, 2})", [[1, 2]], [Unordered("set", (1, 2))]),
        ("f({1})", [{}], [Unordered("set", ())]),
        ("f([{1}, {2}])", [[[1], {}]], [[Unordered("set", (1,)), Unordered("set", ())]]),
        ("f({1: (2,)})", [{"1": [2], "-3": []}], [Unordered("dict", ((1, (2,)), (-3, ())))]),
        ("f({'a': 1})", [{"1": [2]}], [Unordered("dict", (("1", [2]),))]),
        ("f({'a': 1}, {})", [{}, {"1": 2}], [Unordered("dict", ()), Unordered("dict", (("1", 2),))]),
        ("f(1, 2j)", ["1e-100", "(-0-1j)"], [1e-100, complex("-0-1j")]),
        ("f(1)", ["5j"], [5j]),
        ("f(1)", ["kx"], ["kx"]),
        ("f('a')", ["1"], ["1"]),
        ("f(14 * 14)", [[1]], [[1]]),  # no literal says nothing
        ("f()", [1, [2]], [1, [2]]),
        ("math.isclose(f((1,)), 2.0)", [[1]], [(1,)]),
        ("set(f([1]) + f((2,)))", [[3]], [[3]]),  # where they disagree, the first decides
    ],
)
def test_arguments_get_the_types_of_the_assertions(assertion, arguments, typed):
    found = typed_arguments(arguments, example_calls(f"import math\nassert {assertion} == 1", "f"))
    assert repr(found) == repr(typed)


def test_an_assertion_that_is_not_python_is_named():
    with pytest.raises(RowError, match="assertion is not Python"):
        example_calls("assert f(", "f")


# --- Rows ---


@pytest.mark.nsjail
def test_rows_become_problems(store):
    shared = store["Mbpp_2"]
    assert shared.description == "Write a function to find what two tuples share."
    assert shared.metadata["example"] == "assert set(shared((3, 4), (4, 5))) == set((4,))"
    assert shared.metadata["call"]["compare"] == "set"
    assert shared.public_tests[0] == TestCase('[{"tuple": [3, 4]}, {"tuple": [4, 5]}]', '{"tuple": [4]}')
    assert [test.output for test in store["Mbpp_3"].public_tests] == ["true", "false"]
    assert store["Mbpp_3"].metadata["call"]["compare"] == "truth"
    length = store["Mbpp_4"]
    assert length.public_tests == length.private_tests == (TestCase('[{"complex": [3.0, 4.0]}]', "5.0"),)


@pytest.mark.nsjail
@pytest.mark.parametrize("name", ["find_dissimilar", "Diff"])
def test_results_in_any_order_are_compared_as_sets(adapt, name):
    row = mbpp(5, name, "T", [f"assert {name}([1]) == [1]"], f"def {name}(a):\n    return a\n", base_input=[[[1]]])
    assert adapt(row)["metadata"]["call"]["compare"] == "set"


# --- Episodes ---


@pytest.mark.nsjail
def test_the_first_message_has_the_task_one_example_and_the_format(judge, store):
    first, _ = step_of(judge, store, "Mbpp_2", "def shared(a, b): return 1")
    assert first == (
        "Write a Python 3 function that solves the following task.\n\n"
        "Write a function to find what two tuples share.\n\n"
        "It must pass this test, and others like it:\n"
        "```python\nassert set(shared((3, 4), (4, 5))) == set((4,))\n```\n\n"
        "Answer with the whole program in one block that opens with ```python and closes with ```. "
        "Use backticks for this block only."
    )


@pytest.mark.nsjail
@pytest.mark.parametrize(
    ("problem", "code", "solved"),
    [
        ("Mbpp_2", "def shared(a, b): return [x for x in b if x in a]", True),
        ("Mbpp_2", "def shared(a, b): return {x for x in b if x in a}", True),
        ("Mbpp_2", "def shared(a, b): return [x for x in b if x in a] or None", False),
        ("Mbpp_2", "def shared(a, b): return a", False),
        ("Mbpp_2", SHARED["canonical_solution"], True),
        ("Mbpp_3", "def vowel(text): return text[:1] in list('aeiou')", True),
        ("Mbpp_3", "def vowel(text): return 'aeiou'", False),
        ("Mbpp_3", VOWEL["canonical_solution"], True),
        ("Mbpp_4", "def length(z): return (z.real ** 2 + z.imag ** 2) ** 0.5", True),
        ("Mbpp_4", "def length(z): return abs(z) + 1e-3", False),
        ("Mbpp_4", LENGTH["canonical_solution"], True),
    ],
)
def test_episodes(judge, store, problem, code, solved):
    assert step_of(judge, store, problem, code)[1].solved is solved


@pytest.mark.nsjail
def test_feedback_asserts_what_counts(judge, store):
    _, step = step_of(judge, store, "Mbpp_3", "def vowel(text): return None")
    assert "```\nassert vowel('a')\n```\nThe call returned\n```\nNone\n```" in step.observation
    assert "- These tests pass:\n```\nassert not vowel('b')\n```" in step.observation
    _, step = step_of(judge, store, "Mbpp_2", "def shared(a, b): return a")
    assert "assert set(shared((3, 4), (4, 5))) == set((4,))" in step.observation


def test_it_is_exported_lazily():
    assert rlef_plugin.MBPPPlusEnv is MBPPPlusEnv is load_environment("rlef_plugin.MBPPPlusEnv")


# --- The published rows ---


@pytest.mark.nsjail
def test_some_published_rows(judge, adapt, tmp_path):
    rows = [row for row in published("MbppPlus.jsonl.gz") if row["task_id"] in KINDS]
    assert len(rows) == len(KINDS)
    assert check_published(judge, adapt, rows, tmp_path / "store") == []


# Sets, complex numbers as text, tuples in tuples, keys that are numbers, truth, no plus tests, one named `sum`
KINDS = {f"Mbpp/{number}" for number in (2, 124, 252, 580, 737, 793, 126, 769)}


@pytest.mark.slow
@pytest.mark.nsjail
def test_every_published_row(judge, adapt, tmp_path):
    assert check_published(judge, adapt, published("MbppPlus.jsonl.gz"), tmp_path / "store") == []
