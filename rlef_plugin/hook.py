"""Makes `python -m openrlhf.cli.train_ppo_ray --env CLASS ...` train with this plugin once it is installed.

    site-packages/rlef_plugin_hook.pth   one line, run at every start of Python: two searches in the command line
      -> install()                       only where both the host's module and `--env` are in it: reads it properly
        -> a finder for that one module  whose loader hands `python -m` the code of `launch` instead of the host's

The host has no entry points, and `python -m` asks `sys.meta_path` for the module to run: that is the one place where a
package can step in without a changed command. Any other Python process, and the host without `--env`, runs as if the
plugin were not there: no module is imported and nothing is replaced. RLEF_PLUGIN_DISABLE=1 switches it off.

Not covered: starting the host other than by `python -m` itself (`python -m pdb -m ...`, its file by path, `runpy`),
and Python with -S or `pip install --target`, where no .pth file is read. `rlef train` works everywhere.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType

HOST_MODULE = "openrlhf.cli.train_ppo_ray"
DISABLE = "RLEF_PLUGIN_DISABLE"


def install() -> None:
    """Put the finder in place if this process is `python -m HOST_MODULE ... --env ...`; else do nothing.

    Once: in a virtual environment Python reads every .pth file twice.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    module, arguments = run_as_module(sys.orig_argv)
    asked = any(argument == "--env" or argument.startswith("--env=") for argument in arguments)
    if module == HOST_MODULE and asked and os.environ.get(DISABLE, "0") in ("", "0"):
        sys.meta_path.insert(0, _Finder())


def run_as_module(command: Sequence[str]) -> tuple[str | None, list[str]]:
    """(module, its arguments) of a `python -m` command line, (None, []) of any other; read as Python reads it."""
    words = iter(command[1:])
    for word in words:
        if word == "--check-hash-based-pycs":
            next(words, None)
        elif word in ("-", "--") or not word.startswith("-"):
            return None, []  # a script; what follows belongs to it
        elif not word.startswith("--"):
            letter, value = _option_with_value(word)
            if letter == "c":
                return None, []
            if letter == "m":
                return value or next(words, None), list(words)
            if letter and not value:  # -W and -X take the next word
                next(words, None)
    return None, []


def _option_with_value(word: str) -> tuple[str, str]:
    """`-uWerror` -> ("W", "error"): the first letter of a cluster that takes a value, and what is left for it."""
    for index, letter in enumerate(word[1:], start=2):
        if letter in "cmWX":
            return letter, word[index:]
    return "", ""


def launch() -> None:
    """Runs as the body of `__main__` in the host's stead; the host itself follows from within the launcher."""
    import sys  # as `__main__` this code sees that module's globals, not this one's

    from rlef_plugin.launcher import main

    main(sys.argv[1:])


class _Finder(MetaPathFinder):
    """Finds the host's CLI once, for `python -m`; whoever imports it afterwards (the launcher) gets the host's own."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != HOST_MODULE:
            return None
        sys.meta_path.remove(self)
        host = PathFinder.find_spec(fullname, path)
        if host is None or host.origin is None:
            return None
        return spec_from_file_location(fullname, host.origin, loader=_Loader(fullname, host.origin))


class _Loader(SourceFileLoader):
    """The host's file in everything (origin, source, spec) but the code to run."""

    def get_code(self, fullname: str) -> CodeType:
        return launch.__code__
