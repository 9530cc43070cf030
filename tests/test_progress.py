"""How far a long command is, where there is no terminal: lines with literals, on a clock that the test moves."""

import io
import time

import pytest
from rich.console import Console

from rlef_plugin.progress import Progress


@pytest.fixture
def told(monkeypatch):
    """Runs (seconds, done, said) through a Progress and returns what was printed."""

    def run(total, moments, *, done=0, terminal=False):
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
        with Progress("rows", total, done, console) as progress:
            for seconds, count, said in moments:
                now[0] = 100.0 + seconds
                progress.at(count, said)
        return console.file.getvalue()

    return run


def test_a_line_a_minute_with_rate_and_time_left(told):
    text = told(4000, [(10, 0, ""), (40, 300, ""), (70, 600, ""), (129, 1100, ""), (130, 1200, "")])
    assert text == (
        "rows: 600 of 4,000, 10.0/s, about 6 min left\n"  # 600 in the 60 s since the first
        "rows: 1,200 of 4,000, 10.0/s, about 5 min left\n"
    )


def test_less_than_a_minute_prints_nothing(told):
    assert told(3, [(0, 1, ""), (30, 2, ""), (59, 3, "")]) == ""


def test_time_before_the_first_one_does_not_count(told):
    assert told(10, [(600, 1, ""), (660, 2, "")]) == "rows: 2 of 10, 1.0/min, about 8 min left\n"


def test_what_was_there_before_does_not_count_as_fast(told):
    assert told(1000, [(0, 901, ""), (60, 907, "")], done=900) == "rows: 907 of 1,000, 0.1/s, about 16 min left\n"


def test_an_unknown_total_and_something_to_say(told):
    assert told(None, [(0, 1, ""), (60, 61, "solved [50]%")]) == "rows: 61, 1.0/s, solved [50]%\n"


def test_hours(told):
    assert told(10**6, [(0, 0, ""), (100, 1000, "")]) == "rows: 1,000 of 1,000,000, 10.0/s, about 27.8 h left\n"


def test_on_a_terminal_a_bar_and_no_lines(told):
    text = told(4, [(0, 1, ""), (61, 2, "solved 1%")], terminal=True)
    assert "━" in text and "left" not in text


def test_advance_counts_from_what_was_there():
    with Progress("rows", 9, 5, Console(file=io.StringIO())) as progress:
        progress.advance()
        assert progress.done == 6
