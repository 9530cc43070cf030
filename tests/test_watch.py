"""The screen of `rlef watch`: charts dot by dot, a recorded run, and runs that are empty, absent or damaged."""

import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_run import STEPS, write_run
from rich.console import Console
from typer.testing import CliRunner

from rlef_plugin.cli import app
from rlef_plugin.errors import UsageError
from rlef_plugin.runs import charts, files, panels, plot, watch
from rlef_plugin.runs.charts import FILLS, Line, Shaded, flow, line_chart, share_bar, sparkline, squeeze
from rlef_plugin.runs.run import Run

NAN = math.nan


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("watch") / "run")


def printed(path: Path, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    watch.watch(path, console, once=True)
    return console.file.getvalue()  # type: ignore[attr-defined]


# --- characters


def test_sparkline_by_hand() -> None:
    assert sparkline([0.0, 7.0, NAN, 3.0], 10) == "▁█ ▄"
    assert sparkline([2.0, 2.0], 10) == "▁▁"
    assert sparkline([5.0, 10.0], 10, low=0.0) == "▅█"  # 5 is half of 10 when the scale begins at 0
    assert sparkline([NAN, NAN], 10) == sparkline([], 10) == ""


def test_a_long_curve_is_squeezed_to_means_of_neighbours() -> None:
    assert squeeze([1.0, 3.0, 5.0, NAN], 2) == [2.0, 5.0]
    assert squeeze([1.0], 5) == [1.0]
    assert sum(squeeze([float(n) for n in range(1000)], 10)) / 10 == pytest.approx(499.5)
    assert math.isnan(squeeze([NAN] * 4, 2)[0])


@pytest.mark.parametrize("colours, line", [("truecolor", "██████"), (None, "██▓▓▓░")])
def test_parts_are_told_apart_where_there_are_no_colours(colours: Any, line: str) -> None:
    console = Console(file=io.StringIO(), color_system=colours, width=80)
    parts = Shaded(share_bar([(2.0, "green"), (3.0, "yellow"), (1.0, "blue")], 6))
    with console.capture() as printed:
        console.print(parts)
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed.get()) == line + "\n"
    assert (
        Console(color_system="truecolor", no_color=True, file=console.file).render_lines(parts)[0][0].text == "██▓▓▓░"
    )


def test_every_style_of_a_bar_has_a_fill_of_its_own() -> None:
    assert {*panels.VERDICT_STYLE.values(), *(style for _, _, style in panels.TIME_PARTS)} == FILLS.keys()
    assert len(set(FILLS.values())) == len(FILLS)


@pytest.mark.parametrize(
    "numbers, cells",
    [([1.0, 1.0], [5, 5]), ([0.96, 0.04], [10, 0]), ([1.0, 1.0, 1.0], [4, 3, 3]), ([0.0, 2.0], [0, 10])],
)
def test_a_bar_is_as_wide_as_asked_and_divided_like_its_parts(numbers: list[float], cells: list[int]) -> None:
    bar = share_bar([(number, str(place)) for place, number in enumerate(numbers)], 10)
    assert len(bar) == 10
    lengths = {int(str(span.style)): span.end - span.start for span in bar.spans}
    assert [lengths.get(place, 0) for place in range(len(numbers))] == cells


def test_a_bar_of_nothing_is_empty() -> None:
    assert len(share_bar([(0.0, "red")], 10)) == len(share_bar([], 10)) == 0


def test_a_chart_dot_by_dot() -> None:
    """8 dots wide and 4 high: from the lower left to the upper right corner, one dot in each column."""
    [row] = line_chart([Line("x", "red", [0.0, 1.0])], width=10, height=1)
    bits = [ord(character) - 0x2800 for character in row.plain[6:]]
    dots = [
        (2 * cell + x, y)
        for cell, bit in enumerate(bits)
        for y in range(4)
        for x in range(2)
        if bit & charts.DOTS[y][x]
    ]
    assert sorted(dots) == [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1), (5, 1), (6, 0), (7, 0)]


def test_an_axis_ends_at_a_round_share() -> None:
    rows = line_chart([Line("x", "red", [0.0, 0.17])], width=20, height=3)
    assert [row.plain[:6] for row in rows] == [" 20% ┤", " 10% ┤", "  0% ┤"]


def test_a_gap_is_not_drawn_over() -> None:
    [row] = line_chart([Line("x", "red", [0.5, NAN, NAN, NAN, 0.5])], width=10, height=1)
    assert [character for character in row.plain[7:9] if character != " "] == []


def test_a_chart_without_a_value() -> None:
    assert all("⠁" > character for row in line_chart([Line("x", "red", [NAN])], 20, 4) for character in row.plain[6:])


def test_a_line_of_a_legend_ends_between_items() -> None:
    assert flow([("invalid code 6%", ""), ("timeout 1%", "")], 20).plain == "invalid code 6%  \ntimeout 1%  "


@pytest.mark.parametrize(
    "seconds, said",
    [(0.0801, "80 ms"), (1.84, "1.8 s"), (12.3, "12 s"), (89, "89 s"), (300, "5 min"), (11520, "3.2 h"), (NAN, "?")],
)
def test_durations(seconds: float, said: str) -> None:
    assert panels.duration(seconds) == said


# --- a run


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_screen_fits_its_terminal(recorded: Path, width: int) -> None:
    lines = printed(recorded, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line.rstrip().endswith("…")]


@pytest.mark.parametrize("width, height", [(80, 24), (80, 40), (120, 24), (120, 34), (200, 60)])
def test_a_small_screen_shows_the_numbers_that_matter_most(recorded: Path, width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height)
    lines = console.render_lines(watch.screen(Run.read(recorded), width, height), pad=False)
    text = ["".join(segment.text for segment in line) for line in lines]
    shown = "\n".join(text[:height])
    assert "solved by turn 3" in shown and "KL a turn" in shown and "step 6 of 8" in shown
    assert len(text) <= max(height, 30)


def test_the_numbers_of_a_run(recorded: Path) -> None:
    """Of step 6, six of eight episodes are solved in turn 1 and one more in turn 2."""
    text = printed(recorded)
    rows = {line[:26].strip(): line[26:].split() for line in text.splitlines()}
    assert rows["solved in turn 1"][:2] == ["12%", "75%"]
    assert rows["solved by turn 3"][:2] == ["25%", "88%"]
    assert rows["valid pass@1 (each)"] == ["25%", "50%", "▅█"]
    assert rows["explained variance"][:2] == ["·", "+0.50"]  # the first step had none
    assert "step 6 of 8" in text
    assert "█ accepted 75%  ▓ wrong output 25%" in text and "A step of 60 s  3.0% overhead" in text
    assert "update 40%" in text


def test_time_left_is_the_usual_step_times_the_steps_to_come(recorded: Path) -> None:
    run = Run.read(recorded)
    for place, step in enumerate(run.steps):
        step["unix_time_s"] = 1000.0 + 60 * place + (600 if place == 5 else 0)  # one slow step does not count
    assert run.step_s == 60.0
    console = Console(file=io.StringIO(), width=100)
    run.steps[-1]["unix_time_s"] = 4e9
    console.print(watch.head(run, 100))
    assert "about 2 min left" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_that_stands_still_is_said_to(recorded: Path) -> None:
    run = Run.read(recorded)
    for place, step in enumerate(run.steps):
        step["unix_time_s"] = 1000.0 + 60 * place
    console = Console(file=io.StringIO(), width=100)
    console.print(watch.head(run, 100))
    assert "stopped?" in console.file.getvalue()  # type: ignore[attr-defined]
    run.plan["steps"] = STEPS
    console.print(watch.head(run, 100))
    assert "finished" in console.file.getvalue()  # type: ignore[attr-defined]


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    assert "no step yet" in printed(tmp_path)
    with pytest.raises(UsageError, match="no run at"):
        printed(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no step yet"):
        plot.save(Run.read(tmp_path), tmp_path / "x.png")


def test_damaged_metrics_lose_nothing_else(recorded: Path, tmp_path: Path) -> None:
    """A line of nulls, one without most keys, a garbled and a cut one: the rest is drawn as it was."""
    damaged = tmp_path / "run"
    damaged.mkdir()
    lines = (recorded / files.METRICS).read_text().splitlines()
    nothing = json.dumps(dict.fromkeys(json.loads(lines[0]), None) | {"step": 7})
    (damaged / files.METRICS).write_text(
        "\n".join([*lines, nothing, '{"step": 8, "turn_kl": 0.5}', "{{", lines[0][:50]])
    )
    text = printed(damaged)
    assert "step 8" in text and "solved by turn 3" in text
    plot.save(Run.read(damaged), damaged / "x.svg")


def test_a_run_of_asynchronous_training_waits_for_batches(recorded: Path) -> None:
    run = Run.read(recorded)
    for step in run.steps:
        step |= {"step_s/waiting": 30.0, "step_s/rollout": 0.0}
    console = Console(file=io.StringIO(), width=80)
    console.print(panels.time_bar(run, 80))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "waiting for a batch 50%" in text and "generating" not in text  # that goes on meanwhile, elsewhere


def test_a_picture_that_cannot_be_made(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.read(recorded)
    with pytest.raises(UsageError, match="run.xyz cannot be written"):
        plot.save(run, tmp_path / "run.xyz")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'rlef-plugin\[plots\]'"):
        plot.save(run, tmp_path / "run.png")


def test_a_moving_mean_by_hand() -> None:
    assert plot.smooth([1.0, 3.0, NAN, 5.0], 2) == [1.0, 2.0, 3.0, 5.0]


def test_the_command_shows_once_where_there_is_no_terminal(recorded: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["watch", str(recorded)])
    assert done.exit_code == 0 and "solved in turn 1" in done.output
    done = CliRunner().invoke(app, ["watch", str(recorded), "--png", str(tmp_path / "run.png")])
    assert done.exit_code == 0 and "written" in done.output
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_live_until_interrupted(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two refreshes, between which a step arrives; Ctrl-C leaves the last screen on the terminal."""
    console = Console(file=io.StringIO(), width=120, height=50, force_terminal=True, legacy_windows=False)
    seen: list[int] = []

    def sleep(_: float) -> None:
        seen.append(len(Run.read(recorded).steps))
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    watch.watch(recorded, console, once=False)
    assert console.file.getvalue().count("solved in turn 1") >= 3  # type: ignore[attr-defined]


def test_live_reads_a_run_only_when_it_has_changed(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of steps take seconds to read, and a step takes minutes."""
    console = Console(file=io.StringIO(), width=120, height=50, force_terminal=True, legacy_windows=False)
    read, reads, sleeps = Run.read, list[Path](), list[float]()
    monkeypatch.setattr(watch.Run, "read", lambda folder: reads.append(folder) or read(folder))

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            files.RunFolder(recorded, 0).write_metrics(99, {"solved": 0.5})
        if len(sleeps) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    watch.watch(recorded, console, once=False)
    assert len(reads) == 3  # at first, for the new step, and what stays on the terminal
