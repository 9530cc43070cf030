"""Rows: every layout gives the same problem, and whatever is wrong with a row is named with file, row and field."""

import gzip
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from function_rows import LIVECODEBENCH, SPREAD, VOWEL

from rlef_plugin.problems import (
    BuildReport,
    ProblemStore,
    StoreError,
    TestCase,
    build_store,
    convert,
    open_source,
    read_rows,
)
from rlef_plugin.problems.build import plain_id
from rlef_plugin.problems.evalplus import EvalPlus
from rlef_plugin.problems.livecodebench import LiveCodeBench
from rlef_plugin.problems.sources import hub_source


def row(name: str = "adding", **changes: Any) -> dict[str, Any]:
    """A row as the Hugging Face form has it."""
    return {
        "name": name,
        "description": f"Problem {name}: add two numbers.",
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": {"input": ["5 6\n", "0 0\n"], "output": ["11\n", "0\n"]},
        "generated_tests": {"input": ["7 7\n"], "output": ["14\n"]},
        "source": 2,
        "difficulty": 8,
        "solutions": {"language": [2, 3], "solution": ["int main(){}", "print(sum(map(int, input().split())))"]},
        "incorrect_solutions": {"language": [3, 1], "solution": ["print(3)", "print 3"]},
        "cf_rating": 800,
        "time_limit": {"seconds": 1, "nanos": 500_000_000},
        "memory_limit_bytes": 256_000_000,
        "input_file": "",
        "output_file": "",
    } | changes


STRINGS = pa.list_(pa.string())
TESTS = pa.struct({"input": STRINGS, "output": STRINGS})
PROGRAMS = pa.struct({"language": pa.list_(pa.int64()), "solution": STRINGS})
PARQUET = pa.schema(
    {
        "name": pa.string(),
        "description": pa.string(),
        "public_tests": TESTS,
        "private_tests": TESTS,
        "generated_tests": TESTS,
        "source": pa.int64(),
        "difficulty": pa.int64(),
        "solutions": PROGRAMS,
        "incorrect_solutions": PROGRAMS,
        "cf_rating": pa.int64(),
        "time_limit": pa.struct({"seconds": pa.int64(), "nanos": pa.int64()}),
        "memory_limit_bytes": pa.int64(),
        "input_file": pa.string(),
        "output_file": pa.string(),
    }
)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PARQUET), path, row_group_size=2)
    return path


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)
    return path


def build(tmp_path: Path, rows: Any, **options: Any) -> tuple[ProblemStore, BuildReport]:
    report = build_store(rows, tmp_path / "store", overwrite=True, **options)
    return ProblemStore.open(tmp_path / "store"), report


# --- layouts


def test_a_codecontests_row_becomes_a_problem(tmp_path: Path) -> None:
    store, report = build(tmp_path, [row()])
    problem = store["adding"]
    assert problem.public_tests == (TestCase("1 2\n", "3\n"),)
    # private tests first, then generated ones
    assert problem.private_tests == (TestCase("5 6\n", "11\n"), TestCase("0 0\n", "0\n"), TestCase("7 7\n", "14\n"))
    assert problem.time_limit_s == 1.5
    assert problem.memory_limit_mb == 245  # 256,000,000 / 1,048,576 = 244.1..., rounded up
    assert (problem.input_file, problem.output_file) == (None, None)
    assert (problem.source, problem.difficulty, problem.split) == ("codeforces", "B", "train")  # 2; 8 = B
    assert [(s.correct, s.verdict) for s in store.solutions("adding")] == [(True, None), (False, None)]
    assert report.other_languages == 2  # C++ and Python 2


def test_absent_limits_are_none(tmp_path: Path) -> None:
    rows = [row("a", time_limit=None, memory_limit_bytes=0), row("b", time_limit={"seconds": 0, "nanos": 0})]
    store, _ = build(tmp_path, rows)
    assert (store["a"].time_limit_s, store["a"].memory_limit_mb, store["b"].time_limit_s) == (None, None, None)


def test_parquet_folder_as_on_the_hub(tmp_path: Path) -> None:
    data = tmp_path / "code_contests" / "data"
    write_parquet(data / "train-00000-of-00002-0a1b.parquet", [row("a"), row("b", time_limit=None), row("c")])
    write_parquet(data / "train-00001-of-00002-2c3d.parquet", [row("d")])
    write_parquet(data / "valid-00000-of-00001-4e5f.parquet", [row("e")])
    write_parquet(data / "test-00000-of-00001-6071.parquet", [row("f")])
    (data.parent / "README.md").write_text("a dataset card")
    store, report = build(tmp_path, read_rows(data.parent))
    assert store.splits == {"test": 1, "train": 4, "valid": 1}
    assert store.ids("train") == ["a", "b", "c", "d"]
    assert (store["a"].time_limit_s, store["b"].time_limit_s) == (1.5, None)
    assert report.read == report.kept == 6


def test_all_layouts_give_the_same_problem(tmp_path: Path) -> None:
    records = [{"input": "5 6\n", "output": "11\n"}, {"input": "0 0\n", "output": "0\n"}]
    friendly = row("d", private_tests=records, time_limit=1.5)
    sources = [
        write_jsonl(tmp_path / "a.jsonl", [row("a")]),
        write_jsonl(tmp_path / "b.jsonl.gz", [row("b")]),
        write_parquet(tmp_path / "c.parquet", [row("c")]),
        write_jsonl(tmp_path / "d.yaml", [friendly]),  # JSON is YAML
    ]
    same = {"description": "Add.", "split": "valid"}
    rows = [dict(one) | same for source in sources for one in read_rows(source)]
    store, report = build(tmp_path, rows)
    assert len({store.fingerprint(id_) for id_ in "abcd"}) == 1
    assert report.duplicates == [("b", "a"), ("c", "a"), ("d", "a")]


def test_a_problem_that_is_in_two_splits_is_named(tmp_path: Path) -> None:
    splits = {"a": "train", "b": "test", "c": "train"}
    rows = [row(name, split=split, description="Add.") for name, split in splits.items()]
    _, report = build(tmp_path, rows)
    assert report.across_splits == ["b (test) is a (train)"]
    assert "1 stated as one of another split is, so what is evaluated is trained on: b (test) is a (train)" in str(
        report
    )
    assert report.account()["across_splits"] == report.across_splits


def test_a_problem_that_differs_in_white_space_tests_and_limits_is_the_same_in_two_splits(tmp_path: Path) -> None:
    rows = [row("a", split="train", description="Add the  numbers.\n")]
    rows += [row("b", split="valid", description="add the numbers.", time_limit_s=9, private_tests=[])]
    store, report = build(tmp_path, rows)
    assert report.duplicates == [] and report.across_splits == ["b (valid) is a (train)"]
    assert store.statements("train").keys() == store.statements("valid").keys()
    assert list(store.statements("valid").values()) == ["b"]


def test_a_parquet_column_that_means_nothing_is_reported(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row("a"), row("b")], schema=PARQUET)
    table = table.append_column("time_limits", pa.array([1.0, 2.0]))
    pq.write_table(table, tmp_path / "rows.parquet")
    _, report = build(tmp_path, open_source([tmp_path / "rows.parquet"]))
    assert report.unread == {"time_limits": 2}
    (first, _) = open_source([tmp_path / "rows.parquet"]).read(0, ["name"])
    assert dict(first) == {"name": "a"}


@pytest.mark.parametrize(
    ("adapt", "rows"), [(LiveCodeBench(), LIVECODEBENCH), (EvalPlus(), [SPREAD]), (EvalPlus(), [VOWEL])]
)
def test_parquet_of_other_formats_is_read(tmp_path: Path, adapt: Any, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = open_source([tmp_path / "rows.parquet"]).read(0, adapt.columns)
    assert [dict(one) for one in found] == [
        {key: value for key, value in one.items() if key in adapt.columns} for one in rows
    ]


def test_a_store_of_livecodebenchs_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(LIVECODEBENCH), tmp_path / "test.parquet")
    store, _ = build(tmp_path, open_source([tmp_path / "test.parquet"]), adapt=LiveCodeBench())
    assert store.ids("test") == ["abc001_a", "3001"]


def test_a_users_own_row_needs_three_keys(tmp_path: Path) -> None:
    tests = [{"input": "1", "output": "1"}]
    mine = {
        "description": "Echo.",
        "public_tests": tests,
        "private_tests": tests,
        "time_limit_s": 2,
        "memory_limit_mb": 64,
    }
    store, _ = build(tmp_path, read_rows(write_jsonl(tmp_path / "mine.jsonl", [mine])), split="valid")
    problem = store["mine-1"]
    assert (problem.time_limit_s, problem.memory_limit_mb, problem.split) == (2.0, 64, "valid")


def test_checker_and_metadata_are_kept(tmp_path: Path) -> None:
    checker = "def check(input, output, expected):\n    return True\n"
    rows = [row("a", checker=checker, metadata={"n": [1]}), row("b", checker="", metadata='{"n": [1]}'), row("c")]
    rows = [one | {"description": "Add."} for one in rows]
    store, report = build(tmp_path, rows)
    assert [store[id_].checker for id_ in "abc"] == [checker, None, None]
    assert [store[id_].metadata for id_ in "abc"] == [{"n": [1]}, {"n": [1]}, {}]
    assert report.duplicates == []  # they differ in what decides


def test_split_of_the_row_wins_over_the_files_name(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "validation.jsonl", [row("a"), row("b", split="train")])
    store, _ = build(tmp_path, read_rows(source))
    assert (store.ids("valid"), store.ids("train")) == (["a"], ["b"])


def test_a_rows_own_validation_is_valid(tmp_path: Path) -> None:
    rows = [row("a", split="validation"), row("b", split="validation", public_tests=None)]
    store, report = build(tmp_path, rows)
    assert (store.splits, report.read_of) == ({"valid": 1}, {"valid": 2})
    store, _ = build(tmp_path, [row("a")], split="validation")
    assert store.splits == {"valid": 1}


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("test2.jsonl", "test"),
        ("my-Valid-set.jsonl", "valid"),
        ("problems_validation.jsonl.gz", "valid"),
        ("contest.jsonl", None),  # a word of another
        ("train-and-test.jsonl", None),  # two words
        ("test/part-0.jsonl", "test"),
        ("validation/more/part-0.jsonl", "valid"),
        ("test/train-0.jsonl", "train"),  # the file's name goes first
        ("test/train-and-test.jsonl", "test"),
        ("testing/part-0.jsonl", None),
        ("unit-test.yaml", None),  # the problem's name
        ("test/unit-train.yaml", "test"),
    ],
)
def test_the_split_of_a_file(tmp_path: Path, file: str, split: str | None) -> None:
    place = tmp_path / "train" / "rows"  # what is above the place that was named says nothing
    (place / file).parent.mkdir(parents=True)
    write_jsonl(place / file, [row()])
    (found,) = open_source([place]).read()
    assert found.split == split
    (alone,) = open_source([place / file]).read()
    assert alone.split == (None if "more" in file else split)
    (inside,) = open_source([(place / file).parent]).read()
    assert inside.split == alone.split


def test_named_files_are_kept(tmp_path: Path) -> None:
    store, _ = build(tmp_path, [row(input_file="input.txt", output_file="output.txt")])
    assert (store["adding"].input_file, store["adding"].output_file) == ("input.txt", "output.txt")


def test_verdicts_get_the_judges_names(tmp_path: Path) -> None:
    verdicts = ["WA", "TLE", "RE", "CE", "MLE", "out_of_memory", None, ""]
    wrong = {"language": [3] * 8, "solution": ["pass"] * 8, "verdict": verdicts}
    store, _ = build(tmp_path, [row(incorrect_solutions=wrong)])
    expected = ["wrong_output", "timeout", "exception", "invalid_code", "out_of_memory", "out_of_memory", None, None]
    assert [s.verdict for s in store.solutions("adding") if not s.correct] == expected


# --- rows that are not kept

MALFORMED = [
    ({"description": None}, "description is missing, not text"),
    ({"description": 7}, "description is int 7, not text"),
    ({"public_tests": "1 2"}, "public_tests is str '1 2', not a list"),
    ({"public_tests": {"input": ["1"]}}, "public_tests.output is missing, not a list"),
    ({"public_tests": {"input": ["1", "2"], "output": ["1"]}}, "different lengths (2 input, 1 output)"),
    ({"public_tests": {"input": ["1", 2], "output": ["1", "2"]}}, "public_tests.input[1] is int 2, not text"),
    ({"private_tests": {"input": ["1"], "output": [None]}}, "private_tests.output[0] is missing, not text"),
    ({"private_tests": [{"input": "1"}]}, "private_tests[0] has no output"),
    ({"private_tests": ["1"]}, "private_tests[0] is str '1', not an object"),
    (
        {"generated_tests": {"input": ["\ud800"], "output": ["1"]}},
        "generated_tests.input[0] cannot be written as UTF-8",
    ),
    ({"time_limit": {"seconds": "2"}}, "time_limit.seconds is str '2', not a number"),
    ({"time_limit": -1}, "time_limit is int -1, which is out of range"),
    ({"time_limit": float("nan")}, "time_limit is float nan, which is out of range"),
    ({"time_limit": True}, "time_limit is bool True, not a number"),
    ({"memory_limit_bytes": 10**400}, "memory_limit_bytes is int 1000"),
    ({"input_file": "../../etc/passwd"}, "input_file is '../../etc/passwd', not a plain file name"),
    ({"output_file": "/tmp/out"}, "output_file is '/tmp/out', not a plain file name"),
    ({"split": "../train"}, "split is '../train', not a word"),
    ({"solutions": {"language": [3], "solution": [None]}}, "solutions.solution[0] is missing, not text"),
    ({"solutions": {"language": [3], "solution": []}}, "different lengths (1 language, 0 solution)"),
    (
        {"incorrect_solutions": {"language": [3], "solution": ["x"], "verdict": ["bad"]}},
        "incorrect_solutions.verdict[0] is str 'bad', not one of wrong_output, ",
    ),
    ({"checker": "def check(:"}, "checker is not Python"),
    ({"checker": "check = None"}, "checker defines no function check"),
    ({"checker": "def check(a, b, c): 1", "input_file": "a"}, "checker is given with input_file or output_file"),
    ({"checker": 1}, "checker is int 1, not text"),
    ({"metadata": [1]}, "metadata is list [1], not an object"),
    ({"metadata": "{"}, "metadata is not JSON"),
    ({"metadata": "[1]"}, "metadata is list [1], not an object"),
    ({"metadata": {"a": float("nan")}}, "metadata is not JSON"),
    ({"name": ["a"]}, "name is list ['a'], not text"),
]


@pytest.mark.parametrize(("changes", "sentence"), MALFORMED, ids=[sentence[:40] for _, sentence in MALFORMED])
def test_a_malformed_row_is_named_and_fatal_or_skipped(
    tmp_path: Path, changes: dict[str, Any], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [row("a"), row("b") | changes, row("c")])
    with pytest.raises(StoreError) as fatal:
        build_store(read_rows(source), tmp_path / "fatal")
    assert str(fatal.value).startswith(f"{source}, row 2: ")
    assert sentence in str(fatal.value)
    assert not (tmp_path / "fatal").exists()

    with caplog.at_level(logging.WARNING):
        store, report = build(tmp_path, read_rows(source), on_malformed="skip")
    assert (store.ids(), report.read, report.kept, report.malformed) == (["a", "c"], 3, 2, 1)
    assert sentence in str(report.rejections[0])
    assert sentence in caplog.text


def test_a_misspelled_key_is_not_an_empty_list(tmp_path: Path) -> None:
    bad = row()
    bad["public_test"] = bad.pop("public_tests")
    with pytest.raises(StoreError, match="rows, row 1: public_tests is missing;"):
        build_store([bad], tmp_path / "store")


def test_a_test_that_expects_more_than_a_program_may_print_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes: of three characters, the last output has five."""
    monkeypatch.setattr(convert, "MAX_OUTPUT_BYTES", 4)
    large = {"input": ["1\n", "2\n"], "output": ["4444", "\u00e9\u00e91"]}
    _, report = build(
        tmp_path, [row("kept", private_tests={"input": ["1"], "output": ["4444"]}), row("large", private_tests=large)]
    )
    assert report.kept == 1
    assert report.dropped == {"private_tests.output[1] has 5 bytes, but a program may print 4 at most": 1}


def test_rows_without_tests_are_dropped_with_account(tmp_path: Path) -> None:
    none: dict[str, list[str]] = {"input": [], "output": []}
    rows = [
        row("kept"),
        row("no-public", public_tests=none),
        row("no-private", private_tests=none, generated_tests=none),
        row("generated-only", private_tests=none),
        row("also-no-public", public_tests=None),
        row("blank", description=" \n"),
    ]
    store, report = build(tmp_path, rows)
    assert store.ids() == ["kept"]
    assert report.dropped == {
        "public_tests is empty": 2,
        "private_tests is empty": 1,
        "private_tests is empty (there are generated tests)": 1,
        "description is empty": 1,
    }
    assert report.malformed == 0
    assert report.read == report.kept + sum(report.dropped.values()) == 6
    assert store.manifest["account"]["dropped"] == report.dropped
    assert "6 rows read, 1 kept\n2 dropped: public_tests is empty" in str(report)

    store, _ = build(tmp_path, rows, generated_suffice=True)
    assert store.ids() == ["kept", "generated-only"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"name": "cut', "is not JSON"),
        (b"[1, 2]", "is list, not an object with fields"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_line_that_cannot_be_read_is_counted(tmp_path: Path, line: bytes, reason: str) -> None:
    good = json.dumps(row("good")).encode()
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"\n".join([good, b"", line, b""]))
    with pytest.raises(StoreError, match=rf"rows.jsonl, row 3: the row {reason}"):  # lines are counted, empty ones too
        build_store(read_rows(source), tmp_path / "store")
    store, report = build(tmp_path, read_rows(source), on_malformed="skip")
    assert (store.ids(), report.malformed) == (["good"], 1)


def test_bad_yaml_is_counted(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.yaml").write_text("name: [1")
    write_jsonl(tmp_path / "source" / "b.yaml", [row("b")])
    _, report = build(tmp_path, read_rows(tmp_path / "source"), on_malformed="skip")
    assert (report.malformed, report.kept) == (1, 1)
    assert "a.yaml, row 1: the row is not YAML" in str(report.rejections[0])


def test_text_that_is_not_utf8_in_parquet_is_counted(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row("a"), row("bad"), row("c")], schema=PARQUET)
    not_utf8 = pa.array([b"fine", b"\xff", b"fine"]).view(pa.string())
    pq.write_table(table.set_column(1, "description", not_utf8), tmp_path / "rows.parquet")
    store, report = build(tmp_path, read_rows(tmp_path / "rows.parquet"), on_malformed="skip")
    assert (store.ids(), report.malformed) == (["a", "c"], 1)
    assert "rows.parquet, row 2: the row cannot be decoded" in str(report.rejections[0])


def test_a_truncated_gzip_is_fatal_even_when_skipping(tmp_path: Path) -> None:
    whole = write_jsonl(tmp_path / "rows.jsonl.gz", [row(str(i)) for i in range(50)]).read_bytes()
    (tmp_path / "rows.jsonl.gz").write_bytes(whole[: len(whole) - 20])
    with pytest.raises(StoreError, match="rows.jsonl.gz breaks off after row [1-9]"):
        build_store(read_rows(tmp_path / "rows.jsonl.gz"), tmp_path / "store", on_malformed="skip")
    assert not (tmp_path / "store").exists()


def test_a_truncated_parquet_is_fatal_even_when_skipping(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "rows.parquet", [row()])
    source.write_bytes(source.read_bytes()[:-8])
    with pytest.raises(StoreError, match="rows.parquet breaks off after row 0"):
        build_store(read_rows(source), tmp_path / "store", on_malformed="skip")


def test_a_source_with_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match="nowhere does not exist: name a file or a folder of .jsonl, .jsonl.gz, .parquet"
    ):
        next(read_rows(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StoreError, match="holds no rows that can be read"):
        next(read_rows(tmp_path))
    with pytest.raises(
        StoreError, match=r"no row is worth keeping \(1 rows read, 0 kept; 1 dropped: public_tests is empty\)"
    ):
        build_store([row(public_tests=[])], tmp_path / "store")


def test_a_store_is_not_a_source(tmp_path: Path) -> None:
    build(tmp_path, [row()])  # its prompts/train.jsonl must not be taken for rows
    with pytest.raises(StoreError, match="is a problem store already"):
        next(read_rows(tmp_path / "store"))


# --- ids


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("1575_A. Another Sorting Problem", "1575_A._Another_Sorting_Problem"),
        ("a/../../b", "a_.._.._b"),
        ("../up", "up"),
        ("--help", "help"),
        (".hidden", "hidden"),
        ("\u00fcber", "ber"),
        ("\u65e5\u672c", "problem"),
        ("x" * 300, "x" * 120),
        (f"{'x' * 120}-2--17", f"{'x' * 120}-2--17"),  # a case of the second problem with such an id
        (f"{'x' * 120}--1 more", "x" * 120),
    ],
)
def test_ids_are_fit_for_file_names(name: str, id_: str) -> None:
    assert plain_id(name) == id_


def test_ids_are_unique_and_every_change_is_reported(tmp_path: Path) -> None:
    names = ["A b", "A_b", "a-b", "A?b", "A_b-2", "a_B"]
    store, report = build(tmp_path, [row(name) for name in names])
    assert store.ids() == ["A_b", "A_b-2", "a-b", "A_b-3", "A_b-2-2", "a_B-4"]
    assert report.renamed == [("A_b", "A_b-2"), ("A?b", "A_b-3"), ("A_b-2", "A_b-2-2"), ("a_B", "a_B-4")]
    assert report.kept == len(set(store.ids())) == 6
    assert store["A_b-3"].name == "A?b"


# --- the hub


CARD = """---
dataset_info:
  features:
  - {name: name, dtype: string}
  splits:
  - {name: train, num_examples: 5}
  - {name: valid, num_examples: 1}
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
  - {split: valid, path: data/valid-*}
---
"""


@pytest.mark.host
def test_a_dataset_is_read_as_from_the_hub(tmp_path: Path) -> None:
    """The host's `datasets` finds the files by the card, as it does on the hub; here they lie in a local folder."""
    data = tmp_path / "code_contests" / "data"
    write_parquet(data / "train-00000-of-00002-0a1b.parquet", [row("a"), row("b", time_limit=None), row("c")])
    write_parquet(data / "train-00001-of-00002-2c3d.parquet", [row("d"), row("e", description=None)])
    write_parquet(data / "valid-00000-of-00001-4e5f.parquet", [row("f")])
    write_parquet(data / "test-00000-of-00001-6071.parquet", [row("g")])
    (data.parent / "README.md").write_text(CARD)
    source = hub_source(str(data.parent))
    assert (source.total, len(source.files)) == (6, 4)  # as the card says
    store, report = build(tmp_path, source, on_malformed="skip")
    assert store.splits == {"train": 4, "test": 1, "valid": 1}
    assert str(report.rejections[0]).endswith("2c3d.parquet, row 2: description is missing, not text")
    assert store["a"].time_limit_s == 1.5 and len(store.solutions("a")) == 2
    local, _ = build(tmp_path, open_source([data]), on_malformed="skip")
    assert {local.fingerprint(id_) for id_ in local} == {store.fingerprint(id_) for id_ in store}
    assert [one["name"] for one in source.read(4)] == ["e", "g", "f"]


@pytest.mark.host
@pytest.mark.parametrize(
    ("file", "card", "split"),
    [
        ("part-0.parquet", "  - {split: validation, path: part-*}", "valid"),  # its name says nothing
        ("train-0.parquet", "  - {split: test, path: train-*}", "test"),  # the card goes first
        ("part-0.parquet", "", None),  # listed as "train", for want of anything better
        ("train-0.parquet", "", "train"),
    ],
)
def test_the_split_under_which_a_dataset_lists_a_file(tmp_path: Path, file: str, card: str, split: str | None) -> None:
    write_parquet(tmp_path / "rows" / file, [row()])
    text = f"---\nconfigs:\n- config_name: default\n  data_files:\n{card}\n---\n" if card else "a dataset card"
    (tmp_path / "rows" / "README.md").write_text(text)
    (found,) = hub_source(str(tmp_path / "rows")).read()
    assert found.split == split


def test_a_dataset_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(StoreError, match="deepmind/code_contests is read from the hub by the package `datasets`"):
        open_source(["deepmind/code_contests"])


@pytest.mark.host
def test_a_dataset_that_cannot_be_had_is_one_sentence() -> None:
    with pytest.raises(StoreError, match="nobody/nothing cannot be read from the hub .*: check its name") as caught:
        open_source(["nobody/nothing"])  # offline by conftest.py
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["rows/a.jsonl", "./rows", "~/rows", "/rows", "a/b/c"])
def test_what_looks_like_a_path_is_one(place: str) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        open_source([place])


def test_only_the_training_split_needs_private_tests(tmp_path: Path) -> None:
    """The paper's count is of the training split; an evaluation loses no problem that can be judged."""
    none: dict[str, list[str]] = {"input": [], "output": []}
    rows = [row(split, split=split, private_tests=none) for split in ("train", "valid", "test")]
    rows += [row("nothing", split="test", private_tests=none, generated_tests=none)]
    store, report = build(tmp_path, rows)
    assert store.ids() == ["valid", "test"]
    assert store["test"].private_tests == (TestCase("7 7\n", "14\n"),)
    assert str(report).startswith("4 rows read, 2 kept (train 0 of 1, valid 1 of 1, test 1 of 2)\n")
