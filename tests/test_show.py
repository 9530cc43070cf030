"""`rlef show`: dialogs of kept episodes, chosen by step, problem and outcome."""

import io
from pathlib import Path
from typing import Any

import pytest
from recorded_run import write_run
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text
from run_records import INVALID, OK, WRONG, episode
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.errors import UsageError
from rlef_plugin.runs import files, show


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("show") / "run")


def printed(path: Path, width: int = 80, **chosen: Any) -> str:
    console = Console(file=io.StringIO(), width=width)
    show.show(path, console, **{"step": None, "problem": None, "limit": 3, "solved": None, **chosen})
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_an_episode_is_a_dialog_with_verdicts_and_rewards(recorded: Path) -> None:
    lines = [line.strip() for line in printed(recorded, problem="clap-game").splitlines() if line.strip()]
    assert lines == [
        "clap-game  solved  step 6 ──────────────────────────────────────────────────────",
        "problem  (50 tokens)",
        "Solve it.",
        "turn 1  wrong output  no reward  (10 tokens in 3.0 s, judged in 2.0 s)",
        "Here:",
        "print(1)",
        "feedback  (7 tokens)",
        "Turn 1 fails.",
        "turn 2  accepted  reward +1.0  (11 tokens in 3.0 s, judged in 2.0 s)",
        "Here:",
        "print(2)",
    ]


def test_the_last_kept_step_unless_one_is_named(recorded: Path) -> None:
    assert "step 6" in printed(recorded) and "step 3" in printed(recorded, step=3)
    with pytest.raises(UsageError, match="no episodes of step 4: choose one of 3, 6"):
        printed(recorded, step=4)


def test_chosen_by_outcome_and_limited(recorded: Path) -> None:
    """Step 6 has 6 + 1 solved episodes and one that failed."""
    assert printed(recorded, solved=True).count("  solved  step 6") == 3
    assert "3 of 7 episodes of step 6" in printed(recorded, solved=True)
    failed = printed(recorded, solved=False)
    assert failed.count("not solved") == 1 and "tokens, cut, in 3.0 s" in failed


def test_what_is_not_there_is_said(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the 8 episodes .* box-prices, clap-game, sum-of-two"):
        printed(recorded, problem="other")
    with pytest.raises(UsageError, match="keeps no episodes"):
        printed(tmp_path)


def test_records_that_lack_what_a_dialog_needs_are_passed_over(tmp_path: Path) -> None:
    files.RunFolder(tmp_path, 1).write_episodes(1, [{"problem": "half"}, episode([OK], public=True)])
    with (tmp_path / "rollouts" / "step_000001.jsonl").open("a") as file:
        file.write('{"problem": "cut", "sol')
    assert printed(tmp_path).count("step 1") == 1


def test_programs_are_highlighted_and_the_rest_is_as_it_was() -> None:
    parts = list(show.written("First.\n```python\nx = 1\n```\nThen\n```\ny\n```\n```cpp\nz;\n```\n```py\nopen"))
    assert [type(part) for part in parts] == [Text, Syntax, Text, Syntax, Syntax, Syntax]
    assert [part.code for part in parts if isinstance(part, Syntax)] == ["x = 1", "y", "z;", "open"]
    assert [part.lexer.name for part in parts if isinstance(part, Syntax) and part.lexer] == [
        "Python",
        "Python",
        "C++",
        "Python",
    ]


def test_a_response_with_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    """Square brackets are markup to the printing library, and a program's `[/]` must not be."""
    odd = episode([WRONG], public=False, problem="[bold]p[/]")
    odd["messages"][1]["text"] = "[red]not red[/] [/nothing]\n```python\nx = a[/1]\n```"
    odd["messages"][0]["text"] = "Sort [1, 2] and [/]"
    files.RunFolder(tmp_path, 1).write_episodes(1, [odd])
    text = printed(tmp_path)
    assert "[red]not red[/] [/nothing]" in text and "Sort [1, 2] and [/]" in text and "[bold]p[/]" in text


def test_a_response_without_a_program_was_not_judged() -> None:
    record = episode([INVALID, OK], public=True)
    line = show.response_line(1, record["messages"][1], record["turns"][0])
    assert line.plain == "turn 1  invalid code  reward -0.2  (10 tokens in 3.0 s)"


def test_the_command(recorded: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(recorded), "--step", "3", "--problem", "box-prices", "--failed"])
    assert done.exit_code == 0 and done.output.count("box-prices") == 3
    done = CliRunner().invoke(app, ["show", str(recorded), "--limit", "0"])
    assert done.exit_code == 2
