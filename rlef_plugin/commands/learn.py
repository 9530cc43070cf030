"""`rlef learn`."""

from pathlib import Path
from typing import Annotated

import typer


def learn(
    seeds: Annotated[
        int, typer.Option(min=1, help="How many runs, each with problems, initial weights and warm-up of its own.")
    ] = 3,
    first_seed: Annotated[int, typer.Option(help="Seeds are counted from here.")] = 0,
    arms: Annotated[
        str,
        typer.Option(
            help="Also train with one of the paper's choices replaced at a time: summed-kl, token-value, single-turn, "
            "no-feedback, random-feedback; or all.",
            show_default="none",
        ),
    ] = "",
    arm_steps: Annotated[int, typer.Option(help="Steps of such a training, of the recipe's 30.")] = 15,
    work: Annotated[
        Path | None,
        typer.Option(help="Where problems, models and runs are kept.", show_default=".rlef/micro, .rlef/micro-short"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results and plots go.", show_default="results/ below --work")
    ] = None,
    short: Annotated[bool, typer.Option(help="A quick look: a smaller world, 6 updates, no evaluations.")] = False,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, over recipes/micro.yaml.")] = None,
) -> None:
    """Show on a CPU that a model learns to use execution feedback: train, evaluate with real and random feedback."""
    import signal
    import sys

    from rich.console import Console

    from rlef_plugin.micro import learn as micro

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the command that is running ends too
    chosen = tuple(micro.ARMS) if arms == "all" else tuple(filter(None, arms.split(",")))
    work = (work or Path(".rlef/micro-short" if short else ".rlef/micro")).absolute()
    learning = micro.Learning(
        work, tuple(range(first_seed, first_seed + seeds)), chosen, tuple(overrides or ()), short, arm_steps
    )
    micro.learn(learning, out or work / "results", Console())
