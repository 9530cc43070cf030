"""LiveCodeBench: rows of both kinds, packed tests that are read and never run, and an episode of each."""

import base64
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from function_rows import CALL_ROW, LIVECODEBENCH, STDIN_ROW, cases, packed
from hypothesis import given
from hypothesis import strategies as st
from judge_helpers import SyncJudge, sync_judge

import rlef_plugin
from rlef_plugin.env import EnvConfig, LiveCodeBenchEnv
from rlef_plugin.env.call_runs import _verdict
from rlef_plugin.env.calls import Call, assertion
from rlef_plugin.env.livecodebench import with_header
from rlef_plugin.judge import Verdict
from rlef_plugin.problems import ProblemStore, TestCase, build_store, livecodebench
from rlef_plugin.problems.fields import RowError
from rlef_plugin.problems.livecodebench import LiveCodeBench, pickled_text

adapt = LiveCodeBench()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ProblemStore:
    out = tmp_path_factory.mktemp("livecodebench") / "store"
    build_store(LIVECODEBENCH, out, split="test", adapt=adapt)
    return ProblemStore.open(out)


@pytest.fixture(scope="module")
def judge() -> Iterator[SyncJudge]:
    with sync_judge(workers=1) as judge:
        yield judge


def test_rows_become_problems(store):
    read, call = store["abc001_a"], store["3001"]
    assert read.public_tests == (TestCase("1 2\n", "3\n"),)
    assert read.private_tests == (TestCase("5 6\n", "11\n"), TestCase("0 0\n", "0\n"))
    assert (read.source, read.difficulty, read.split) == ("atcoder", "easy", "test")
    assert read.metadata == {"contest_date": "2024-01-06T00:00:00"}
    assert call.public_tests == (TestCase("[[5, 6], 0]", "[[0, 5], [1, 6]]"),)
    assert call.private_tests == (TestCase("[[], 7]", "[]"), TestCase("[[9], 3]", "[[3, 9]]"))
    assert call.metadata["call"] == {"entry_point": "pairs", "method_of": "Solution", "atol": 0.0, "compare": "json"}
    assert call.metadata["starter"] == CALL_ROW["starter_code"]


def test_objects_in_arguments_become_dicts():
    row = CALL_ROW | {"public_test_cases": cases("functional", ('{"a": [1]}\n"b"\n', "{}"))}
    assert adapt(row)["public_tests"] == {"input": ['[{"dict": [["a", [1]]]}, "b"]'], "output": ['{"dict": []}']}


def test_large_values_of_the_data_are_read(monkeypatch):
    """The bound on what a program prints is none on what is published."""
    large = json.dumps(list(range(200_000)))  # 1.5 MB
    row = CALL_ROW | {"public_test_cases": cases("functional", (f"{large}\n{large}", large))}
    public = adapt(row)["public_tests"]
    test = TestCase(public["input"][0], public["output"][0])
    call = Call("pairs", method_of="Solution", compare="json")
    assert assertion(call, test) == f"assert Solution().pairs({large}, {large}) == {large}"
    spaced = large.replace(", ", " ,  ").encode()  # the same, written in another way
    assert _verdict(call, test, spaced) == (Verdict.ACCEPTED, "")
    assert _verdict(call, test, spaced + b" " * 2**21)[0] == Verdict.OUTPUT_LIMIT
    assert _verdict(call, TestCase("[]", "[]"), spaced)[0] == Verdict.OUTPUT_LIMIT
    monkeypatch.setattr(livecodebench, "MAX_ARGUMENT_BYTES", 1000)
    with pytest.raises(RowError, match=r"public_test_cases.input is '\[0, .*at most 1000 are read"):
        adapt(row)


def play(judge: SyncJudge, store: ProblemStore, problem: str, *codes: str):
    env = LiveCodeBenchEnv(store, judge.judge, EnvConfig(), len)

    async def episode():
        return await env.reset(problem), [await env.step(f"```python\n{code}\n```") for code in codes]

    return judge.loop.run_until_complete(episode())


@pytest.mark.nsjail
def test_a_program_that_reads_and_writes(judge, store):
    first, (wrong, right) = play(judge, store, "abc001_a", "print(4)", "print(sum(map(int, input().split())))")
    assert first.startswith("Solve the following problem with a program in Python 3.\n\nPrint the sum of two numbers.")
    assert "the expected output is\n```\n3\n```\nbut your program printed\n```\n4\n```" in wrong.observation
    assert right.solved


@pytest.mark.nsjail
def test_a_method_that_is_called(judge, store):
    head = "class Solution:\n    def pairs(self, nums, start):\n        self.calls = getattr(self, 'calls', 0) + 1\n"
    first, (wrong, right) = play(
        judge,
        store,
        "3001",
        f"{head}        return nums",
        f"{head}        return [(i, n) for i, n in enumerate(nums, start)] if self.calls == 1 else None",
    )
    assert first.startswith("Solve the following problem in Python 3.\n\nReturn every number with its index.\n\n")
    assert f"```python\n{CALL_ROW['starter_code'].rstrip()}\n```" in first
    test = "```\nassert Solution().pairs([5, 6], 0) == [[0, 5], [1, 6]]\n```\nThe call returned\n```\n[5, 6]\n```"
    assert test in wrong.observation
    assert right.solved  # tuples are lists, and each call has an object of its own


@pytest.mark.nsjail
@pytest.mark.parametrize(
    "body",
    [
        "def pairs(self, nums: List[int], start: int) -> List[Any]:\n        return list(enumerate(nums, start))",
        "def pairs(self, nums, start):\n        return [[start + i, n] for i, n in zip(count(), nums)]",
        "def pairs(self, nums, start):\n        down = lambda n: n and 1 + down(n - 1)\n"
        "        return [[start + i, n + 0 * down(3000)] for i, n in enumerate(nums)]",
    ],
    ids=["typing", "itertools", "recursion"],
)
def test_names_that_the_benchmark_imports_are_there(judge, store, body):
    """What a model is not told of and relies on: its harness puts imports and a recursion limit before the program."""
    _, (step,) = play(judge, store, "3001", f"class Solution:\n    {body}")
    assert step.solved


@pytest.mark.nsjail
def test_names_are_there_for_programs_that_read_and_write_too(judge, store):
    program = (
        "from __future__ import annotations\nprint(reduce(add, map(int, stdin.read().split())), pow(2, 3, 5) and '')"
    )
    _, (step,) = play(judge, store, "abc001_a", program)
    assert step.solved


@pytest.mark.nsjail
def test_errors_count_the_lines_of_the_program_alone(judge, store):
    _, (raised, refused) = play(judge, store, "abc001_a", "x = 1\n\nx.y", "x = 1\nreturn x")
    assert 'File "solution.py", line 3, in <module>\n    x.y\nAttributeError' in raised.observation
    assert 'File "solution.py", line 2\n    return x\n' in refused.observation


def test_nothing_of_the_header_moves_a_line():
    code = "# first\nfrom __future__ import annotations, division\nx = 1\n"
    lines = with_header(code).split("\n")
    assert lines[0].startswith("from __future__ import annotations, division; from string import *; ")
    assert lines[0].endswith("; sys.setrecursionlimit(50000)") and lines[1:] == ["# first", "", "x = 1", ""]
    compile(with_header(code), "solution.py", "exec", dont_inherit=True)


class RunsOnLoad:
    def __reduce__(self):
        return os.mkdir, (str(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = path


def test_a_pickle_is_never_run(tmp_path):
    trap = pickle.dumps(RunsOnLoad(tmp_path / "ran"))
    pickle.loads(trap)  # it would have run
    (tmp_path / "ran").rmdir()
    row = STDIN_ROW | {"private_test_cases": base64.b64encode(zlib.compress(trap)).decode()}
    with pytest.raises(RowError, match="private_test_cases .* opcode .*, but only a text is read"):
        adapt(row)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "[]", "é\ud800\n\\", "x" * 300, "y" * 70_000])
def test_a_text_is_read_from_every_kind_of_pickle(protocol, text):
    assert pickled_text(pickle.dumps(text, protocol)) == text


@pytest.mark.parametrize("value", [["a"], ("a", "b"), 5, None, b"a", {"a": "b"}, {"a"}, print])
def test_anything_else_is_refused(value):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(ValueError):
            pickled_text(pickle.dumps(value, protocol))


@given(st.binary(max_size=60) | st.binary(max_size=12).map(lambda tail: pickle.dumps("text")[:-1] + tail))
def test_bytes_that_are_no_pickle_are_refused(data):
    try:
        assert isinstance(pickled_text(data), str)
    except ValueError:
        pass


def test_what_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(livecodebench, "MAX_TEXT_BYTES", 1000)
    small, large = "[]" + " " * 900, "[]" + " " * 10**6
    assert livecodebench._unpacked(packed(small)) == small
    with pytest.raises(RowError, match="private_test_cases is cut off, or larger than 1000 bytes"):
        livecodebench._unpacked(packed(large))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (STDIN_ROW | {"private_test_cases": "!"}, "private_test_cases is neither JSON nor a packed text"),
        (STDIN_ROW | {"private_test_cases": packed("{}")[:-8]}, "private_test_cases is (cut off|neither JSON)"),
        (STDIN_ROW | {"private_test_cases": packed("x")}, "private_test_cases is not JSON"),
        (STDIN_ROW | {"private_test_cases": packed("{}")}, "private_test_cases is dict .*, not a list"),
        (STDIN_ROW | {"private_test_cases": '[{"input": 1}]'}, r"private_test_cases\[0\] is dict"),
        (STDIN_ROW | {"public_test_cases": None}, "public_test_cases is missing"),
        (STDIN_ROW | {"public_test_cases": CALL_ROW["public_test_cases"]}, r"types \['functional', 'stdin'\]"),
        (STDIN_ROW | {"question_id": 7}, "question_id is int 7"),
        (CALL_ROW | {"metadata": "{}"}, "metadata.func_name is missing"),
        (CALL_ROW | {"metadata": "["}, "metadata is not a JSON object"),
        (CALL_ROW | {"metadata": "[]"}, "metadata is not a JSON object"),
        (CALL_ROW | {"public_test_cases": cases("functional", ("x", "1"))}, "_cases.input is 'x', not a JSON"),
    ],
)  # fmt: skip
def test_a_bad_row_names_its_field(row, sentence):
    with pytest.raises(RowError, match=sentence):
        adapt(row)


def test_rows_are_as_they_are_published():
    """The packing is what the dataset's own reader undoes."""
    text = cases("stdin", ("a", "b"))
    assert pickle.loads(zlib.decompress(base64.b64decode(packed(text)))) == text
    assert json.loads(text)[0]["testtype"] == "stdin"


def test_it_is_exported_lazily():
    assert rlef_plugin.LiveCodeBenchEnv is LiveCodeBenchEnv
