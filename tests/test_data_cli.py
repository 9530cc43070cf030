"""`rlef data build`: its flags, its account, and formats other than CodeContests'."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import ProblemStore, TestCase, build_store
from rlef_plugin.problems.formats import Taco

TESTS = {"input": ["1\n"], "output": ["1\n"]}
ROW = {"name": "echo", "description": "Echo.", "public_tests": TESTS, "private_tests": TESTS}


def rlef(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["data", "build", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_forms_make_the_same_store(tmp_path: Path) -> None:
    rows = write(tmp_path / "valid.jsonl", ROW, ROW | {"name": "two", "cf_rating": 1, "colour": "red"})
    said = rlef("codecontests", "--from", rows, "--out", tmp_path / "a")
    assert said == "2 rows read, 2 kept\n1 kept whose content an earlier row has too\n" + (
        "1 keys mean nothing here: colour (1 rows)\n"
    )
    assert rlef(rows, "--out", tmp_path / "b") == said
    files = [file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file()]
    assert len(files) == 5
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_malformed_rows_and_stores_that_are_there(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", ROW, ROW | {"description": 1})
    with pytest.raises(
        UsageError, match="rows.jsonl, row 2: description is int 1, not text; repair the row, or .* --skip-malformed"
    ):
        rlef(rows, "--out", tmp_path / "s")
    assert "1 malformed" in rlef(rows, "--out", tmp_path / "s", "--skip-malformed", "--split", "valid")
    assert ProblemStore.open(tmp_path / "s").splits == {"valid": 1}
    with pytest.raises(UsageError, match="already holds a problem store: .* replace it with --overwrite"):
        rlef(rows, "--out", tmp_path / "s", "--skip-malformed")
    rlef(rows, "--out", tmp_path / "s", "--skip-malformed", "--overwrite")
    with pytest.raises(UsageError, match="there is no format 'tacos': choose codecontests, taco"):
        rlef("tacos", "--from", rows, "--out", tmp_path / "t")
    with pytest.raises(UsageError, match="name one format there"):
        rlef("taco", "codecontests", "--from", rows, "--out", tmp_path / "t")


def taco(**changes: Any) -> dict[str, Any]:
    tests = {"inputs": ["1\n", "2\n", ["3", "4"]], "outputs": ["1\n", "2\n", "7\n"]}
    return {
        "question": "Add up.",
        "input_output": json.dumps(tests),
        "solutions": json.dumps(["print(1)", "print(2)"]),
        "difficulty": "EASY",
        "time_limit": "2.5 seconds",
        "memory_limit": "256.0 megabytes",
        "tags": "['math']",
    } | changes


def test_rows_of_taco_and_apps(tmp_path: Path) -> None:
    rows = write(
        tmp_path / "train.jsonl",
        taco(problem_id=7),
        taco(
            name="same", time_limit=None, memory_limit="None", input_output={"inputs": ["1"] * 3, "outputs": ["1"] * 3}
        ),
        taco(input_output=json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]})),
        taco(input_output=""),
    )
    said = rlef(rows, "--format", "taco", "--public-tests", 2, "--out", tmp_path / "s")
    assert "4 rows read, 2 kept\n" in said
    assert "1 dropped: input_output.fn_name is set: the program is a function to be called" in said
    assert "1 dropped: public_tests is empty" not in said  # named as the row has it
    assert "1 dropped: input_output has no tests" in said
    store = ProblemStore.open(tmp_path / "s")
    first = store["problem-7"]
    assert first.public_tests == (TestCase("1\n", "1\n"), TestCase("2\n", "2\n"))
    assert first.private_tests == (TestCase("3\n4", "7\n"),)  # a list of lines
    assert (first.time_limit_s, first.memory_limit_mb, first.difficulty) == (2.5, 256, "EASY")
    assert [(one.code, one.correct) for one in store.solutions("problem-7")] == [
        ("print(1)", True),
        ("print(2)", True),
    ]
    assert (store["same"].time_limit_s, store["same"].memory_limit_mb) == (None, None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"question": None}, "question is missing, not text"),
        ({"input_output": "{"}, "input_output is not JSON"),
        ({"input_output": "[]"}, "input_output is list [], not an object"),
        ({"input_output": {"inputs": ["1"], "outputs": []}}, "input_output has 1 inputs and 0 outputs"),
        ({"input_output": {"inputs": [1], "outputs": ["1"]}}, "input_output.inputs[0] is int 1, not text"),
        ({"input_output": {"inputs": [["1", 2]], "outputs": ["1"]}}, "input_output.inputs[0][1] is int 2, not text"),
        ({"solutions": {"a": 1}}, "solutions is dict {'a': 1}, not a list"),
        ({"time_limit": "soon"}, "time_limit is str 'soon', not a number of second"),
        ({"memory_limit": "3 seconds"}, "memory_limit is str '3 seconds', not a number of megabytes"),
    ],
)
def test_a_malformed_row_of_taco_names_its_own_field(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_store([taco(**changes)], tmp_path / "s", adapt=Taco())
    assert str(caught.value).startswith(f"rows, row 1: {sentence}")
