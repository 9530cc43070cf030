"""`rlef data preview`."""

from pathlib import Path
from typing import Annotated

import typer


def preview(
    store: Annotated[Path, typer.Argument(help="A problem store.")],
    problem_id: Annotated[str, typer.Argument(metavar="ID", help="The problem's id.")],
    tokenizer: Annotated[str, typer.Option(help="A folder or hub id: show and count the model's own tokens.")] = "",
    program: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A Python program: judge it, show what follows.")
    ] = None,
    env: Annotated[str, typer.Option(help="Import path of the environment; default: the problem's own.")] = "",
    settings: Annotated[list[str] | None, typer.Argument(help="rlef.key=value, as in a recipe.")] = None,
) -> None:
    """Show a problem as the model meets it, and the feedback on a program."""
    from rlef_plugin.evaluation.settings import config_of
    from rlef_plugin.preview import preview as play

    episode = config_of(env or "rlef_plugin.CodeContestsEnv", store, store, settings or []).episode
    code = program.read_text(encoding="utf-8") if program else None
    typer.echo(str(play(store, problem_id, env=env, tokenizer=tokenizer, program=code, config=episode)))
