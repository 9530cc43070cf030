"""A recipe: YAML whose keys are the host's own dotted flags, plus one `rlef:` block, plus `env`.

    env: rlef_plugin.CodeContestsEnv
    data: {prompt_dataset: store, max_len: 8192}      # same as   data.max_len: 8192
    rlef: {turn_limit: 3, judge: {workers: 8}}

It is turned into the flags of the host's command line, and that is all it is: `rlef train RECIPE key=value` runs what
`python -m openrlhf.cli.train_ppo_ray --env ...` would. An unknown key, in the file or on the line, is an error that
names the nearest valid one. A flag without an argument is `true`, or `false` to leave it out; `null` leaves any flag
out, which gives the host's default.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rlef_plugin import config as settings
from rlef_plugin.errors import UsageError
from rlef_plugin.openrlhf_ext import host_cli


def load(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Dotted keys -> values; `overrides` like `data.max_len=512` win over the file.

    Raises:
        UsageError: no such file, not YAML, a key twice, or an override without "=".
    """
    path = find(path)
    content = _parse(path.read_bytes(), str(path)) or {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}, but a recipe is a mapping of flags to values")
    values: dict[str, Any] = {}
    for key, value in _flatten(content):
        if key in values:
            raise UsageError(f"{path} sets {key!r} twice: keep one")
        values[key] = value
    return {**values, **dict(_override(item) for item in overrides)}


def find(path: Path) -> Path:
    """The file, or the recipe of that name that comes with the plugin: `cpu-demo` or `recipes/cpu-demo.yaml`.

    Raises:
        UsageError: there is neither.
    """
    if path.is_file():
        return path
    ours = {file.stem: file for file in sorted(shipped().glob("*.yaml"))}
    if str(path.parent) in (".", "recipes") and path.name.removesuffix(".yaml") in ours:
        return ours[path.name.removesuffix(".yaml")]
    raise UsageError(
        f"there is no recipe {str(path)!r}: give the path of a YAML file, or one of ours, {', '.join(ours)}"
    )


def shipped() -> Path:
    """The folder of the plugin's own recipes: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def to_flags(values: Mapping[str, Any], cli: str = host_cli.PPO) -> list[str]:
    """Dotted keys and values -> the command line of one of the host's CLIs; of PPO with `--env` and `--rlef.*`.

    Raises:
        UsageError: an unknown key, with the nearest valid one, or a value that its flag cannot have.
    """
    parser = host_cli.build_parser(cli)
    if cli == host_cli.PPO:
        settings.add_flags(parser)
    actions = {option.removeprefix("--"): action for action in parser._actions for option in action.option_strings}
    flags: list[str] = []
    for key, value in values.items():
        if key == "env" and not value:
            raise UsageError("env is empty: name a class, such as rlef_plugin.CodeContestsEnv, or leave the key out")
        if key not in actions:
            raise UsageError(host_cli.unknown_key(key, actions))
        flags += _flag(key, value, actions[key])
    return flags


def _flag(key: str, value: Any, action: argparse.Action) -> list[str]:
    if action.nargs == 0:  # a flag without an argument
        if not isinstance(value, bool):
            raise UsageError(f"{key} is {value!r}, but must be true or false")
        return [f"--{key}"] if value else []
    if value is None:
        return []
    items = [_text(item, action) for item in (value if isinstance(value, list) else [value])]
    if len(items) == 1 and items[0].startswith("-"):  # "-1e-05" would be taken for the next flag
        return [f"--{key}={items[0]}"]
    return [f"--{key}", *items]


def _text(item: Any, action: argparse.Action) -> str:
    if not isinstance(item, bool):
        return str(item)
    words = ("on", "yes", "true") if item else ("off", "no", "false")  # YAML reads all of these as a boolean
    return next((word for word in words if word in (action.choices or ())), words[-1])


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _override(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    if not equals:
        raise UsageError(f"{item!r} is not key=value: write, for example, data.max_len=512")
    return key, _parse(value, item)


def _parse(text: bytes | str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML's own loader would keep the last and drop a whole block in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is there twice: keep one", node.start_mark)
        return super().construct_mapping(node, deep)
