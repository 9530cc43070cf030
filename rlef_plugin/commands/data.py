"""`rlef data`: problem stores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import MAX_WORKERS

if TYPE_CHECKING:
    from rlef_plugin.problems import ProblemStore
    from rlef_plugin.problems.judged import Judged

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
    split: Annotated[str, typer.Option(help="Of rows whose source does not name one.")] = "train",
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
    from rlef_plugin.progress import Progress

    if from_ and len(sources) > 1:
        raise UsageError(f"{' '.join(sources)} before --from: name one format there, and all sources with --from.")
    source = open_source(from_ or sources, revision=revision)
    format_ = sources[0] if from_ else format_
    with open_format(format_, public_tests) as adapt, Progress("rows", source.total) as progress:
        report = build_store(
            source,
            out,
            split=split,
            on_malformed="skip" if skip_malformed else "fatal",
            generated_suffice=generated_suffice,
            overwrite=overwrite,
            adapt=adapt,
            on_row=lambda report: progress.at(report.read),
        )
    typer.echo(str(report))


@app.command()
def verify(
    store: Store,
    jobs: Annotated[int, typer.Option(min=0, max=MAX_WORKERS, help="Programs at the same time; 0 = one a core.")] = 0,
    programs: Annotated[int, typer.Option(min=0, help="Of a problem, so many right and wrong ones; 0 = all.")] = 20,
    split: Annotated[str | None, typer.Option(help="Only problems of this split.")] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", help="A file for all results, by problem; the same again goes on.")
    ] = None,
    drop_unsound: Annotated[Path | None, typer.Option(help="Write a store without what is unsound, ordered.")] = None,
    order: Annotated[Path | None, typer.Option(help="Write the whole store, its private tests ordered.")] = None,
    min_accepted: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Of a problem's right programs, the least share accepted that lets it count as sound."
        ),
    ] = 0.5,
    overwrite: Annotated[bool, typer.Option(help="Replace a store at --drop-unsound or --order.")] = False,
) -> None:
    """Judge the programs stored with the problems; say which tests are wrong, and write a store without them.

    Private tests are put in the order that rejects wrong programs soonest. Programs run in the jail only.
    """
    import asyncio

    from rich.console import Console

    from rlef_plugin.problems import ProblemStore
    from rlef_plugin.problems.clean import write_clean
    from rlef_plugin.problems.verify_report import show
    from rlef_plugin.problems.writer import check_target

    opened = ProblemStore.open(store)
    targets = [(out, drop) for out, drop in ((drop_unsound, True), (order, False)) if out]
    if len({out.absolute() for out, _ in targets}) < len(targets):
        raise UsageError(f"--drop-unsound and --order both name {order}: give each a folder of its own.")
    for out, _ in targets:  # now, not after hours of judging
        if out.absolute() == store.absolute():
            raise UsageError(f"{out} is the store that is judged: write the other one into a folder of its own")
        check_target(out, overwrite)
    judged = asyncio.run(_judge_all(opened, opened.ids(split), jobs, programs, json_))
    show(judged, min_accepted, Console())
    for out, drop in targets:
        report = write_clean(opened, judged, out, drop=drop, min_accepted=min_accepted, overwrite=overwrite)
        typer.echo(f"{out}: {report}")


async def _judge_all(
    store: "ProblemStore", ids: list[str], jobs: int, programs: int, json_: Path | None
) -> dict[str, "Judged"]:
    """By problem, in the store's order."""
    from rlef_plugin.judge import JudgeConfig, check_verdicts, open_judge
    from rlef_plugin.problems.verify import Results, verify
    from rlef_plugin.progress import Progress

    judge = await open_judge(JudgeConfig(workers=jobs))  # before a file is made
    results = None
    try:
        await check_verdicts(judge)
        results = Results(json_, store, programs) if json_ else None
        done = dict(results.done) if results else {}
        missing = [id_ for id_ in ids if id_ not in done]
        with Progress("problems", len(ids), len(ids) - len(missing)) as progress:
            async for judged in verify(store, missing, judge, programs=programs):
                done[judged.id] = judged
                if results:
                    results.add(judged)
                progress.advance()
    finally:
        await judge.close()
        if results:
            results.close()
    return {id_: done[id_] for id_ in ids}


@app.command()
def stats(
    store: Store,
    png: Annotated[Path | None, typer.Option(help="Draw the numbers into this file (extra `plots`).")] = None,
) -> None:
    """Show what is in a store: sources, difficulty, tests a problem, sizes, limits."""
    from rich.console import Console

    from rlef_plugin.problems import ProblemStore
    from rlef_plugin.problems.stats import draw, measure, show

    measured = measure(ProblemStore.open(store))
    show(measured, Console())
    if png:
        draw(measured, png)
        typer.echo(f"{png} written")
