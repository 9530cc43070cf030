"""`rlef repair`: the two-model baseline, one model that writes and one that repairs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="A second model that repairs the first one's programs.")


@app.command()
def cases(
    run: Annotated[Path, typer.Argument(help="What `rlef eval --turn-limit 1 --out` wrote for the first model.")],
    store: Annotated[Path, typer.Option(help="The problem store of that evaluation.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder: its store is to evaluate on.")],
    sft: Annotated[
        bool, typer.Option("--sft", help="Also sft.jsonl, to train on: cases that have a verified right program.")
    ] = False,
    per_problem: Annotated[int, typer.Option(min=0, help="At most so many of each problem; 0 = all.")] = 0,
    any_split: Annotated[
        bool,
        typer.Option(
            "--any-split", help="Also from private feedback, and with --sft from problems kept for evaluation."
        ),
    ] = False,
) -> None:
    """Collect the first model's failing programs with their feedback, as problems of their own."""
    from rlef_plugin.evaluation import mine, repair, settings

    if not any_split:  # a store of cases can be trained on too
        (mine.check_trainable if sft else mine.refuse_private)(str(run), settings.read(run))
    written = repair.write_cases(run, store, out, per_problem, sft=sft)
    typer.echo(f"{written.cases} failing programs in {out / 'store'}")
    if written.left_out:
        typer.echo(f"{written.left_out} others left out: judged again, they pass the public tests")
    if sft:
        typer.echo(f"{written.rows} of the {written.cases} with a right one in {out / 'sft.jsonl'}")


@app.command()
def compose(
    first: Annotated[Path, typer.Argument(help="The first model's evaluation.")],
    repairs: Annotated[Path, typer.Argument(help="The repair model's, on the store that `rlef repair cases` made.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the two-model evaluation.")],
    cases: Annotated[Path | None, typer.Option(help="What `rlef repair cases` made, if it left programs out.")] = None,
) -> None:
    """Make one evaluation of both models: up to two repairs, until the public tests pass."""
    from rich.console import Console

    from rlef_plugin.evaluation import repair, run

    repair.write_composed(first, repairs, out, cases)
    run.show(out, Console())
