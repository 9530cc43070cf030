"""The plugin's own settings: one frozen dataclass, one flag a field.

A recipe's `rlef:` block, the flags `--rlef.turn_limit 3` beside the host's, and the environment variable through which
Ray's processes get them are three spellings of `RlefConfig`. There are no other knobs.

    rlef: {turn_limit: 3, judge: {workers: 4}}   <->   --rlef.turn_limit 3 --rlef.judge.workers 4

Not here: anything the host has a flag for (gamma, beta, batch sizes, lengths). Those stay the host's.
"""

import argparse
import dataclasses
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlef_plugin.env.base import EnvConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import JudgeConfig

TurnKl = Literal["geometric_mean", "sum"]
KL_FLAG = "algo.kl.estimator"  # the host's flag; with two more choices another spelling of rlef.kl

VARIABLE = "RLEF_CONFIG"
PREFIX = "rlef."
PATHS = (("run_dir",), ("episode", "prompts"), ("episode", "few_shot"))
_NOT_FLAGS = ("env", "stores", "advantage_estimator", "kl_estimator", "episode", "judge")


@dataclass(frozen=True)
class RlefConfig:
    """Settings of one run; those of an episode and of the judge are documented at `EnvConfig` and `JudgeConfig`."""

    env: str = "rlef_plugin.CodeContestsEnv"  # import path of an Environment subclass; the flag is --env
    stores: tuple[str, ...] = ()  # problem stores, from --data.prompt_dataset and --eval.dataset; not a flag
    advantage_estimator: str = "turn"  # the host's flag --algo.advantage.estimator, as the user wrote it
    kl_estimator: str = "geometric_mean"  # the host's flag --algo.kl.estimator; geometric_mean and sum stand for `kl`
    kl: TurnKl = "geometric_mean"  # the KL of a turn: mean over its tokens (paper) or their sum
    value: Literal["turn", "token"] = "turn"  # what the critic values: the prompt of a turn (paper) or each token
    whiten: Literal["turn", "token", "none"] = "turn"  # over what advantages are whitened (docs/method.md)
    rollouts_every: int = 10  # keep every Nth step's episodes as JSONL in run_dir/rollouts; 0 = none
    dump_batches_every: int = 0  # keep every Nth step's tensors in run_dir/batches, to check the learner; 0 = none
    run_dir: str = ""  # where metrics and episodes go; none = <ckpt.output_dir>/rlef
    cpu_host: bool = False  # run the host on the CPU, for trying out and testing
    episode: EnvConfig = field(default_factory=EnvConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        for key in ("rollouts_every", "dump_batches_every"):
            if getattr(self, key) < 0:
                raise UsageError(f"rlef.{key} is {getattr(self, key)}, but it must be at least 0, which is never.")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "RlefConfig":
        values = json.loads(text)
        nested = {"episode": EnvConfig, "judge": JudgeConfig}
        made = {key: nested[key](**value) if key in nested else value for key, value in values.items()}
        return cls(**{**made, "stores": tuple(values["stores"])})

    @classmethod
    def from_environment(cls) -> "RlefConfig":
        """The settings the launcher gave this process.

        Raises:
            UsageError: this process was not started by the launcher.
        """
        if VARIABLE not in os.environ:
            raise UsageError(f"{VARIABLE} is not set: start training with `rlef train` or the host's CLI with --env")
        return cls.from_json(os.environ[VARIABLE])


def fields() -> Iterator[tuple[str, dataclasses.Field[Any], type, tuple[str, ...]]]:
    """(flag name without dashes, field, type, path in RlefConfig) of every setting that is a flag.

    `EnvConfig`'s fields have no segment of their own: `rlef.turn_limit`, not `rlef.episode.turn_limit`.
    """
    for owner, prefix, path in (
        (RlefConfig, "", ()),
        (EnvConfig, "", ("episode",)),
        (JudgeConfig, "judge.", ("judge",)),
    ):
        hints = typing.get_type_hints(owner)
        for one in dataclasses.fields(owner):
            if one.name not in _NOT_FLAGS:
                yield f"{PREFIX}{prefix}{one.name}", one, hints[one.name], (*path, one.name)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--env` and the `--rlef.*` flags, in a group of their own."""
    group = parser.add_argument_group("rlef-plugin", "reinforcement learning from execution feedback")
    group.add_argument("--env", metavar="CLASS", help="import path of the environment: turns the plugin on")
    for name, one, kind, path in fields():
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else None
        said = comments({"episode": EnvConfig, "judge": JudgeConfig}.get(path[0], RlefConfig)).get(one.name, "")
        said = f"{said.replace('%', '%%')}; default: {'none' if one.default in ('', None) else one.default}"
        group.add_argument(f"--{name}", type=_converter(kind), choices=choices, default=None, help=said)


@cache
def comments(owner: type) -> dict[str, str]:
    """What stands beside each field of a settings class, for `--help`."""
    return dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(owner), flags=re.M))


def from_flags(arguments: Mapping[str, Any], stores: tuple[str, ...], run_dir: str) -> RlefConfig:
    """Build the settings from parsed flags; a flag not given keeps its field's default.

    Raises:
        UsageError: a value that a setting cannot have.
    """
    chosen: dict[tuple[str, ...], Any] = {
        path: arguments[name] for name, _, _, path in fields() if arguments.get(name) is not None
    }
    for path in PATHS:  # read by processes of Ray, which may have been started in another folder
        if chosen.get(path):
            chosen[path] = str(Path(chosen[path]).absolute())
    own = {path[0]: value for path, value in chosen.items() if len(path) == 1}
    episode = EnvConfig(**{path[1]: value for path, value in chosen.items() if path[0] == "episode"})
    if arguments.get("rlef.early_stop") and episode.feedback == "none":
        raise UsageError(
            "rlef.early_stop=true and rlef.feedback=none exclude each other: stopping tells that it passed"
        )
    try:
        judge = JudgeConfig(**{path[1]: value for path, value in chosen.items() if path[0] == "judge"})
    except ValueError as error:
        raise UsageError(f"rlef.judge: {error}") from None
    own.setdefault("run_dir", run_dir)
    if arguments["env"] is not None:
        own["env"] = arguments["env"]
    return RlefConfig(**own, stores=stores, episode=episode, judge=judge)


def with_host_flags(
    config: RlefConfig, chosen_kl: str | None, arguments: Mapping[str, Any], flags: Iterable[str]
) -> RlefConfig:
    """The settings with the host's estimators; `chosen_kl` is rlef.kl if it was given, `flags` the host's as written.

    Raises:
        UsageError: rlef.kl and the host's flag contradict each other, or a turn's KL was chosen and is not used.
    """
    theirs, estimator = arguments[KL_FLAG], arguments["algo.advantage.estimator"]
    written = any(flag.partition("=")[0] == f"--{KL_FLAG}" for flag in flags)
    of_a_turn = theirs in typing.get_args(TurnKl)
    chosen = f"rlef.kl={chosen_kl}" if chosen_kl else f"{KL_FLAG}={theirs}" if written and of_a_turn else ""
    if chosen_kl and written and theirs != chosen_kl:
        raise UsageError(f"{chosen} and {KL_FLAG}={theirs} contradict each other: keep one")
    if chosen and estimator != "turn":
        raise UsageError(
            f"{chosen} needs algo.advantage.estimator=turn, not {estimator}: the host's estimators take a KL a token; "
            f"use k1 in {KL_FLAG} instead"
        )
    if chosen and arguments["algo.kl.use_loss"]:
        raise UsageError(
            f"{chosen} is the KL in a turn's reward, but algo.kl.use_loss=True puts a KL a token in the loss instead: "
            f"drop one, or set {KL_FLAG} to k2 or k3"
        )
    kl = chosen_kl or (theirs if of_a_turn else config.kl)
    return dataclasses.replace(
        config, advantage_estimator=estimator, kl_estimator=kl if of_a_turn else theirs, kl=typing.cast(TurnKl, kl)
    )


def _converter(kind: type) -> Any:
    if typing.get_origin(kind) is Literal:
        return str
    if isinstance(kind, types.UnionType):  # `float | None`: the flag sets it, leaving it out keeps None
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    return _boolean if kind is bool else kind


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
