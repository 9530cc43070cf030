"""`rlef data`: problem stores."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rlef_plugin.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Problem stores.")

Store = Annotated[Path, typer.Argument(help="A problem store.")]


@app.command()
def build(
    sources: Annotated[list[str], typer.Argument(help="Files or folders of rows; with --from, the rows' format.")],
    out: Annotated[Path, typer.Option(help="The store to write.")],
    from_: Annotated[
        list[str] | None, typer.Option("--from", help="A file, a folder, or a dataset of the hub (OWNER/NAME).")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Of the rows: codecontests, taco, evalplus or livecodebench.")
    ] = "codecontests",
    public_tests: Annotated[int, typer.Option(min=1, help="With taco: so many first tests are public.")] = 1,
    split: Annotated[str, typer.Option(help="Of rows and files that do not name one.")] = "train",
    revision: Annotated[str | None, typer.Option(help="Of a dataset of the hub: a branch, tag or commit.")] = None,
    skip_malformed: Annotated[bool, typer.Option(help="Leave malformed rows out instead of stopping.")] = False,
    generated_suffice: Annotated[
        bool, typer.Option(help="Keep training problems with generated but no private tests.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a store at --out.")] = False,
) -> None:
    """Make a problem store; the same command again goes on where it was stopped.

    Rows are in CodeContests' schema, or in that of --format. What was left out is told, and why.
    """
    from rlef_plugin.problems import build_store, open_source
    from rlef_plugin.problems.formats import open_format

    if from_ and len(sources) > 1:
        raise UsageError(f"{' '.join(sources)} before --from: name one format there, and all sources with --from.")
    source = open_source(from_ or sources, revision=revision)
    with open_format(sources[0] if from_ else format_, public_tests) as adapt, _progress() as progress:
        task = progress.add_task("rows", total=source.total)
        report = build_store(
            source,
            out,
            split=split,
            on_malformed="skip" if skip_malformed else "fatal",
            generated_suffice=generated_suffice,
            overwrite=overwrite,
            adapt=adapt,
            on_row=lambda report: progress.update(task, completed=report.read),
        )
    typer.echo(str(report))


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar with rate and time left, on a terminal only; it is standard error's, so that output may be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as Left
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.1f}/s")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), Left(), TextColumn("left"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress
