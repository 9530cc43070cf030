"""`rlef watch`, `rlef show`: a training run, as it goes or afterwards."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder: its rlef.run_dir.")]


def watch(
    run: RunFolder,
    once: Annotated[bool, typer.Option("--once", help="Print it and end.")] = False,
    png: Annotated[Path | None, typer.Option(help="Write the curves to this file and end.")] = None,
) -> None:
    """Show a training run's main metrics, live until Ctrl-C."""
    from rich.console import Console

    from rlef_plugin.runs import files, plot
    from rlef_plugin.runs import watch as screen
    from rlef_plugin.runs.run import Run

    console = Console()
    if png is not None:
        plot.save(Run.read(files.find_run(run)), png)
        console.print(f"written: {png}", highlight=False)
    if once or png is None:
        screen.watch(run, console, once or not console.is_terminal)


def show(
    run: RunFolder,
    step: Annotated[int | None, typer.Option(help="A step whose episodes were kept; default: the last one.")] = None,
    problem: Annotated[str | None, typer.Option(help="Only episodes of this problem.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many episodes.")] = 3,
    solved: Annotated[bool | None, typer.Option("--solved/--failed", help="Only solved, or only failed ones.")] = None,
) -> None:
    """Print kept episodes as dialogs: problem, programs, verdicts, feedback, rewards."""
    from rich.console import Console

    from rlef_plugin.runs.show import show as print_episodes

    print_episodes(run, Console(), step, problem, limit, solved)
