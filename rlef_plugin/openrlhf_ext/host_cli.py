"""The host's command line, read without starting the host.

`openrlhf/cli/train_ppo_ray.py` (0.11.2) builds its parser under `if __name__ == "__main__"` and offers no `main()`;
`train_sft.py`, for the supervised baseline, does the same. So that a recipe can be checked in milliseconds and
`--help` can show our two estimators, the statements of that block are taken from the host's own file: those before
`parser.parse_args()` give the parser, those between it and `train(args)` are the host's own checks. Nothing is copied,
so nothing can go stale; a host whose block looks different is refused with a sentence that says so.

The host itself only ever sees its own flags: `for_host` translates the two estimators we add.

    --algo.advantage.estimator turn            -> gae   (an estimator with a critic, as far as the host's checks go)
    --algo.kl.estimator geometric_mean | sum   -> k1    (the per-token log-ratio)
"""

import argparse
import ast
import difflib
import importlib.util
import runpy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import ISOLATION_IS_GONE

GONE = {"rlef.judge.isolation": ISOLATION_IS_GONE}
PPO, SFT = "train_ppo_ray", "train_sft"  # modules of openrlhf.cli
HOST_MODULE = f"openrlhf.cli.{PPO}"
ADDED_CHOICES = {
    "algo.advantage.estimator": {"turn": "gae"},
    "algo.kl.estimator": {"geometric_mean": "k1", "sum": "k1"},
}
DEFAULTS = {
    "algo.advantage.estimator": "turn",
    "algo.kl.estimator": "geometric_mean",
}  # with --env; PAPER sections 2, 3


def host_file(cli: str = PPO) -> Path:
    """Path of one of the host's CLIs, found without importing the host (its import takes 10 s)."""
    package = importlib.util.find_spec("openrlhf")
    if package is None or not package.submodule_search_locations:
        raise UsageError("OpenRLHF is not installed here: install it with `pip install 'rlef-plugin[train]'`")
    return Path(package.submodule_search_locations[0], "cli", f"{cli}.py")


def build_parser(cli: str = PPO) -> argparse.ArgumentParser:
    """The host's parser; that of PPO with the estimators of this plugin among the choices."""
    statements, _ = _main_block(cli)
    namespace = _run(statements, {"__name__": f"openrlhf.cli.{cli}"})
    parser: argparse.ArgumentParser = namespace["parser"]
    parser.prog = f"python -m openrlhf.cli.{cli}"
    parser.error = refuse  # type: ignore[method-assign]  # argparse would print 300 lines of usage first
    parser.allow_abbrev = False  # `--algo.kl.est` would reach the host untranslated
    if cli == PPO:
        for action in parser._actions:
            action.choices = _with_ours(action)
        parser.set_defaults(**DEFAULTS)
    return parser


def parse(flags: Sequence[str], cli: str = PPO) -> argparse.Namespace:
    """Flat host arguments, `vars(...)["data.max_len"]`, with our estimators still under their own names.

    Raises:
        UsageError: an unknown flag (with the nearest valid one) or a value its flag does not take.
    """
    parser = build_parser(cli)
    arguments, unknown = parser.parse_known_args(list(flags))
    if unknown:
        raise UsageError(unknown_key(unknown[0].removeprefix("--").partition("=")[0], flag_names(parser)))
    return arguments


def check(flags: Sequence[str], cli: str = PPO) -> Any:
    """Run the host's own checks on its flags and return its nested arguments, as its `train(args)` would get them.

    Raises:
        UsageError: with the host's own sentence.
    """
    _, statements = _main_block(cli)
    hierarchize = runpy.run_path(str(host_file().parents[1] / "utils" / "config.py"))["hierarchize"]
    try:
        return _run(statements, {"args": parse(for_host(flags), cli), "hierarchize": hierarchize})["args"]
    except AssertionError as error:
        raise UsageError(f"the host refuses these flags: {error}") from None


def flag_names(parser: argparse.ArgumentParser) -> list[str]:
    return [option.removeprefix("--") for action in parser._actions for option in action.option_strings]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One sentence about an unknown key, with the nearest valid one, or what became of it."""
    if key in GONE:
        return GONE[key]
    nearest = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"unknown key {key!r}: did you mean {nearest[0]!r}?" if nearest else f"unknown key {key!r}"


def for_host(flags: Sequence[str]) -> list[str]:
    """The same flags with our estimators replaced by the host's value that stands for them."""
    translated = list(flags)
    for index, flag in enumerate(translated):
        name, separator, value = flag.removeprefix("--").partition("=")
        replacements = ADDED_CHOICES.get(name, {})
        if separator:
            translated[index] = f"--{name}={replacements.get(value, value)}" if replacements else flag
        elif replacements and flag.startswith("--") and index + 1 < len(translated):
            translated[index + 1] = replacements.get(translated[index + 1], translated[index + 1])
    return translated


def refuse(message: str) -> NoReturn:
    raise UsageError(message)


def _with_ours(action: argparse.Action) -> Any:
    added = ADDED_CHOICES.get(action.dest, {})
    return [*action.choices, *added] if added and action.choices else action.choices


def _main_block(cli: str = PPO) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """(statements that build the parser, statements that check the arguments), both from the host's file."""
    path = host_file(cli)
    module = ast.parse(path.read_text(), filename=str(path))
    block = next(
        (node.body for node in module.body if isinstance(node, ast.If) and "__main__" in ast.dump(node.test)), []
    )
    calls = [ast.unparse(statement) for statement in block]
    try:
        parse, train = calls.index("args = parser.parse_args()"), calls.index("train(args)")
    except ValueError:
        raise UsageError(
            f"{path} no longer builds its parser the way 0.11.2 does: install openrlhf>=0.11.2,<0.12"
        ) from None
    imports = [
        node for node in module.body if ast.unparse(node) in ("import argparse", "from datetime import datetime")
    ]
    # Importing `hierarchize`, 20 lines of pure Python, through its package costs 10 s: `check` loads the file instead.
    checks = [node for node in block[parse + 1 : train] if "import hierarchize" not in ast.unparse(node)]
    return [*imports, *block[:parse]], checks


def _run(statements: list[ast.stmt], namespace: dict[str, Any]) -> dict[str, Any]:
    exec(compile(ast.Module(statements, type_ignores=[]), str(host_file()), "exec"), namespace)
    return namespace
