"""`rlef train`, `rlef demo`, `rlef doctor`."""

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, over the recipe's.")]


def train(
    recipe: Annotated[
        Path, typer.Argument(help="A YAML file, or the name of one of ours: cpu-demo, llama3.1-8b, ...")
    ],
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option(help="Check what needs no model; print the host's command for it.")] = False,
) -> None:
    """Train as a recipe says."""
    from rlef_plugin import launcher, recipes, sft

    values = recipes.load(recipe, overrides or [])
    if "cli" in values:
        return sft.main(values, dry_run)
    flags = recipes.to_flags(values)
    if dry_run:
        typer.echo(launcher.describe(flags))
    else:
        launcher.main(flags)


def demo(
    problems: Annotated[Path | None, typer.Option(help="Your own problems instead of the plugin's small set.")] = None,
    work: Annotated[Path, typer.Option(help="Where store, model and run are kept, and replaced.")] = Path(
        ".rlef/demo"
    ),
    overrides: Overrides = None,
) -> None:
    """Train a tiny model on the CPU, with everything real, in minutes."""
    from rich.console import Console

    from rlef_plugin.tiny import demo as tiny_demo

    tiny_demo.run(work.absolute(), problems, overrides or [], Console())


def doctor(
    judge: Annotated[
        bool, typer.Option("--judge", help="Check only what judging needs: no host, no torch, no GPU.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Check this machine: versions, sandbox, verdicts, GPUs.

    Exit status: 0 all is well and programs get right verdicts, 1 a problem was found.
    """
    from rlef_plugin import doctor as checks

    raise SystemExit(checks.main(judge, json))
