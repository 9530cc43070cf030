"""`rlef judge`: one program, or all that a store holds."""

from pathlib import Path
from typing import Annotated

import typer

from rlef_plugin.judge.verdicts import MAX_WORKERS

REJECTED, BROKEN_JUDGE, INTERRUPTED = 1, 3, 130  # exit statuses beside 0 and a user's error, 2


def judge(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[PROBLEM] [PROGRAM]", help="An id of the store; a file, or -.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="A problem store; alone: judge all its programs.")] = None,
    problem_file: Annotated[Path | None, typer.Option(help="One problem: .json, .jsonl or .yaml.")] = None,
    jobs: Annotated[int, typer.Option(min=0, max=MAX_WORKERS, help="Programs at once; 0 = one a core.")] = 0,
    split: Annotated[str | None, typer.Option(help="Only programs of this split.")] = None,
    env: Annotated[
        str | None, typer.Option(help="Import path of the environment.", show_default="the problem's own")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    unsafe_no_jail: Annotated[
        bool, typer.Option("--unsafe-no-jail", help="Run programs with your rights, without a jail.")
    ] = False,
) -> None:
    """Judge a program, or every stored program of a store.

    Exit status: 0 accepted (a store: all as labelled), 1 rejected, 2 wrong use, 3 the judge itself is broken.
    """
    from rlef_plugin.judge import JudgeConfig, SandboxError
    from rlef_plugin.judging import command

    config = JudgeConfig(workers=jobs, unsafe_no_jail=unsafe_no_jail, kept_stdout_bytes=command.KEPT_STDOUT_BYTES)
    chosen = command.Chosen(what or [], store, problem_file, split, env, json)
    try:
        raise SystemExit(0 if command.run(chosen, config) else REJECTED)
    except SandboxError as error:
        typer.echo(f"rlef: the judge is broken, and nothing was decided: {error}", err=True)
        raise SystemExit(BROKEN_JUDGE) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
