"""`rlef watch`: a run's main numbers on one screen, live while it trains, or once.

Reads only the run's folder (`files.py`), so it works from any terminal on that disk, during a run, after it, and after
a crash.
"""

import math
import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rlef_plugin.runs import files
from rlef_plugin.runs.charts import Shaded, share_bar
from rlef_plugin.runs.panels import chart, duration, table_of_numbers, time_bar, verdict_bars
from rlef_plugin.runs.run import Run

REFRESH_S = 1.0
WIDE = 116  # columns from which on the screen has two halves
TALL, TALL_WIDE = 55, 34  # rows from which on everything has room
LATE = 5  # times a usual step without a new one: say so


def watch(folder: Path, console: Console, once: bool) -> None:
    """Show the run until Ctrl-C, or once."""
    if once:
        console.print(screen(Run.read(files.find_run(folder)), console.width))
        return
    files.find_run(folder)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            run, state = None, None
            while True:
                place = files.find_run(folder)
                if run is None or state != files.state(place):  # thousands of steps take seconds to read
                    state = files.state(place)
                    run = Run.read(place)
                live.update(screen(run, console.width, console.height), refresh=True)
                time.sleep(REFRESH_S)
        except KeyboardInterrupt:
            pass
    console.print(screen(Run.read(files.find_run(folder)), console.width))


def screen(run: Run, width: int, height: int = 1000) -> RenderableType:
    """All of it, in two halves where there is room; without the chart and with fewer numbers where there is not."""
    if not run.steps:
        return Text(
            f"{run.folder}: no step yet. The first line of {files.METRICS} comes with the first step, minutes after "
            "the start; is this the run's rlef.run_dir?"
        )
    wide = width >= WIDE
    half = (width - 3) // 2 if wide else width
    tall = height >= (TALL_WIDE if wide else TALL)
    numbers = table_of_numbers(run, half, short=not tall)
    verdicts, seconds = verdict_bars(run, half), time_bar(run, half)
    left = [chart(run, half, 10 if tall else 5)] if tall or wide else []
    if not wide:
        return Group(head(run, width), *left, numbers, verdicts, seconds)
    halves = Table.grid(padding=(0, 3, 0, 0))
    halves.add_row(Group(*left, verdicts, seconds), numbers)
    return Group(head(run, width), halves)


def head(run: Run, width: int) -> Group:
    """Which run, how far, how long."""
    done, all_steps = int(run.steps[-1]["step"]), run.plan.get("steps") or math.nan
    title = Text(f"{run.folder}", style="bold", no_wrap=True, overflow="ellipsis")
    ago_s = max(time.time() - run.steps[-1].get("unix_time_s", math.nan), 0.0)
    parts = [f"step {done}" + (f" of {all_steps}" if math.isfinite(all_steps) else "")]
    if math.isfinite(run.step_s):
        parts.append(f"{duration(run.step_s)} a step")
    if done >= all_steps:
        parts.append("finished")
    elif math.isfinite(run.step_s) and ago_s > LATE * run.step_s + 60:
        parts.append(f"no new step for {duration(ago_s)}: stopped?")
    else:
        parts.append(f"last one {duration(ago_s)} ago")
        if math.isfinite(left_s := (all_steps - done) * run.step_s):
            parts.append(f"about {duration(left_s)} left")
    progress = Text()
    if math.isfinite(all_steps) and all_steps > 0:
        share = min(done / all_steps, 1.0)
        progress = share_bar([(share, "green"), (1 - share, "bright_black")], width)
    return Group(title, Text("  ·  ".join(parts)), *([Shaded(progress)] if progress else []))
