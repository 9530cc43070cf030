"""The `rlef` command. Commands import what they need when they run: `rlef --help` costs no torch and no Ray."""

from pathlib import Path
from typing import Annotated

import typer

from rlef_plugin.errors import UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data = typer.Typer(no_args_is_help=True, help="Problem stores.")
app.add_typer(data, name="data")


def main() -> None:
    """Run the command; a user's error is one sentence on stderr and exit status 2."""
    try:
        app()
    except UsageError as error:
        typer.echo(f"rlef: {error}", err=True)
        raise SystemExit(2) from None


@app.callback()
def about() -> None:
    """Reinforcement learning from execution feedback (RLEF) for code models, on OpenRLHF."""


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as recipes/cpu-demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, over the recipe's.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Check what needs no model; print the host's command.")] = False,
) -> None:
    """Train as a recipe says."""
    from rlef_plugin import launcher, recipes

    flags = recipes.to_flags(recipes.load(recipe, overrides or []))
    if dry_run:
        typer.echo(launcher.describe(flags))
    else:
        launcher.main(flags)


@app.command()
def demo(
    problems: Annotated[Path | None, typer.Option(help="Your own problems instead of the plugin's small set.")] = None,
    work: Annotated[Path, typer.Option(help="Where store, model and run are kept.")] = Path(".rlef/demo"),
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, over recipes/cpu-demo.yaml.")] = None,
) -> None:
    """Train a tiny model on the CPU, with everything real, in minutes."""
    from rich.console import Console

    from rlef_plugin.tiny import demo as tiny_demo

    tiny_demo.run(work.absolute(), problems, overrides or [], Console())


@app.command()
def doctor() -> None:
    """Check this machine: versions, sandbox, Ray, GPUs."""
    from rlef_plugin import doctor as checks

    raise SystemExit(checks.main())


@data.command()
def build(
    sources: Annotated[list[Path], typer.Argument(help="JSONL, parquet, a folder of either or of YAML files.")],
    out: Annotated[Path, typer.Option(help="The store to write.")],
    skip_malformed: Annotated[bool, typer.Option(help="Leave malformed rows out instead of stopping.")] = False,
) -> None:
    """Make a problem store from rows in CodeContests' schema."""
    import itertools

    from rlef_plugin.problems import build_store, read_rows

    rows = itertools.chain.from_iterable(read_rows(source) for source in sources)
    report = build_store(rows, out, on_malformed="skip" if skip_malformed else "fatal")
    typer.echo(str(report))
