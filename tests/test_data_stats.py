"""`rlef data stats`: the numbers of a small store by hand, at 80 columns, and as a picture."""

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import ProblemStore, build_store, writer
from rlef_plugin.problems.stats import measure, quantiles


def row(n: int, **more: Any) -> dict[str, Any]:
    """Public tests: one of 3 bytes. Private: n of 2 + 1 bytes."""
    programs = {"language": [3] * n, "solution": ["pass"] * n}
    return {
        "name": f"p{n}",
        "description": "d" * 10 * n,
        "public_tests": {"input": ["12"], "output": ["3"]},
        "private_tests": {"input": ["12"] * n, "output": ["3"] * n},
        "incorrect_solutions": programs,
        "source": "[bold]a[/bold]" if n > 1 else 6,
    } | more


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProblemStore:
    monkeypatch.setattr(writer, "BATCH_ROWS", 2)  # three problems, two batches
    rows = [row(1), row(2, time_limit_s=2, input_file="in"), row(5, memory_limit_mb=64, solutions=[])]
    build_store(rows, tmp_path / "store")
    return ProblemStore.open(tmp_path / "store")


def test_the_numbers(store: ProblemStore) -> None:
    stats = measure(store)
    assert stats.amounts == {
        "public tests": [1, 1, 1],
        "private tests": [1, 2, 5],
        "tests' text": [0.006, 0.009, 0.018],  # 3 + 3 n bytes
        "description": [0.01, 0.02, 0.05],
        "time limit": [2.0],
        "memory limit": [64],
    }
    assert stats.without == dict.fromkeys(stats.amounts, 0) | {"time limit": 2, "memory limit": 2}
    assert stats.labels["source"] == {"[bold]a[/bold]": 2, "aizu": 1}
    assert (stats.correct, stats.incorrect, stats.named_files, stats.checkers) == (0, 8, 1, 0)


def test_quantiles() -> None:
    assert quantiles(list(range(101, 0, -1))) == [1, 26, 51, 76, 96, 101]
    assert quantiles([]) == []


def test_the_tables_and_the_picture(store: ProblemStore, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["data", "stats", str(store.path), "--png", str(tmp_path / "s.png")], env={"COLUMNS": "80"}
    )
    assert done.exit_code == 0, done.output
    *lines, written = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "private tests 1 1 2 5 5 5 0".split() in [line.split() for line in lines]
    assert any(line.startswith("[bold]a[/bold]") for line in lines)  # a label is no markup
    assert written.endswith("s.png written")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_needs_matplotlib(store: ProblemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = CliRunner().invoke(app, ["data", "stats", str(store.path), "--png", "s.png"])
    assert isinstance(done.exception, UsageError)
    assert "install rlef-plugin[plots]" in str(done.exception)


@pytest.mark.parametrize("name", ["none/s.png", "s.nosuch"])
def test_a_picture_that_cannot_be_written(store: ProblemStore, tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["data", "stats", str(store.path), "--png", str(tmp_path / name)])
    assert isinstance(done.exception, UsageError)
    assert f"{name} cannot be written (" in str(done.exception) and "choose another file" in str(done.exception)
