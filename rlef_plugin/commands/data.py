"""`rlef data`: problem stores."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Problem stores.")


@app.command()
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
