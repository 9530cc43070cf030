"""The `rlef` command: what `commands/` holds, and how a user's error is said."""

import errno
import io
import sys
from collections.abc import Callable

import typer

from rlef_plugin.commands import data, evaluation, judge, learn, preview, repair, training, watch
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import SandboxError

FILES = (  # what is wrong with a file or folder that a user named, and no defect of ours
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTEMPTY),
)

app = typer.Typer(  # help without boxes: they cut options' names where a line is short
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
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
    """Run the command; a user's error, or a broken judge, is one sentence on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no bars gets "?"
    try:
        app()
    except UsageError as error:
        raise _refused(str(error)) from None
    except SandboxError as error:
        raise _refused(f"the judge is broken, and nothing was decided: {error}") from None
    except OSError as error:
        if error.filename is None or error.errno not in FILES:
            raise
        raise _refused(
            f"{error.filename} cannot be used ({error.strerror}): name another place, or mend this one"
        ) from None


def _refused(sentence: str) -> SystemExit:
    typer.echo(f"rlef: {sentence}", err=True)
    return SystemExit(2)


@app.callback()
def about() -> None:
    """Reinforcement learning from execution feedback (RLEF) for code models, on OpenRLHF."""
