"""How far a long command is: a bar on a terminal; a line a minute where its output goes to a file or a pipe.

The lines are for the log of a batch job, and go where the bar would go. A command that takes less than a minute writes
none. Not promised: a line while nothing advances, since it is written when something does.
"""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

EVERY_S = 60.0


class Progress:
    """`what` is counted, up to `total` where that is known, from `done` on, which were there before."""

    def __init__(self, what: str, total: int | None, done: int = 0, console: Console | None = None) -> None:
        self.what, self.total, self.done = what, total, done
        self._console = console or Console(stderr=True)
        self._first: tuple[int, float] | None = None  # done, and when, as the first one ended: models load before that
        self._told_s = 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal, transient=True)
        self._task = self._bar.add_task(what, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, said: str = "") -> None:
        """One more; `said` stands beside the numbers."""
        self.at(self.done + 1, said)

    def at(self, done: int, said: str = "") -> None:
        """So many now."""
        self.done = done
        self._bar.update(self._task, completed=done, description=f"{self.what}, {said}" if said else self.what)
        now_s = time.monotonic()
        if self._first is None:
            self._first, self._told_s = (done, now_s), now_s
        if not self._console.is_terminal and now_s - self._told_s >= EVERY_S:
            self._told_s, (before, began_s) = now_s, self._first
            line = self._line((done - before) / (now_s - began_s), said)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, rate: float, said: str) -> str:
        parts = [f"{self.what}: {self.done:,}" + (f" of {self.total:,}" if self.total else ""), _per_time(rate)]
        if self.total and rate > 0:
            parts.append(f"about {_duration(max(self.total - self.done, 0) / rate)} left")
        return ", ".join([*parts, *([said] if said else [])])


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_per_time(task.finished_speed or task.speed or 0.0))


def _per_time(rate: float) -> str:
    """Of a number a second."""
    return f"{rate:,.1f}/s" if rate >= 0.1 else f"{60 * rate:,.1f}/min"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
