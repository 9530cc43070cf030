"""The `rlef` command: what `commands/` holds, and how a user's error is said."""

from collections.abc import Callable

import typer

from rlef_plugin.commands import data, evaluation, judge, learn, preview, repair, training, watch
from rlef_plugin.errors import UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
COMMANDS: tuple[Callable[..., None], ...] = (
    *(training.train, training.demo, training.doctor, learn.learn),
    *(judge.judge, watch.watch, watch.show),
    *(evaluation.score, evaluation.analyze, evaluation.report, evaluation.mine),
)
for command in COMMANDS:
    app.command()(command)
app.command("eval")(evaluation.evaluate)
data.app.command()(preview.preview)
app.add_typer(data.app, name="data")
app.add_typer(repair.app, name="repair")


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
