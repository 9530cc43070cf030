"""One experiment a checkpoint folder: what was trained there, so that nothing else goes on from it, or writes over it.

    <ckpt.path>/experiment.json    {"problems": {"split", "digest"}, "settings": {"rlef.kl": "geometric_mean", ...}}

A run goes on with the problems that it began with, or its place among them means nothing, and with the same method:
environment, episode, reward, estimators and initial model. An ablation that was started in the folder of its baseline
would otherwise go on from the trained policy of that, and nobody would see it. Any other setting may change, such as
learning rates or engines; what does is said. A run that does not go on may not begin where checkpoints are: the host
would delete them one by one to make room for its own.

Not noticed: other contents of a file with the same name (model, prompts, examples). Whoever wants to go on with a
change of the method deletes experiment.json.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlef_plugin.checkpoints import MODELS, agree, latest, models_of
from rlef_plugin.config import RlefConfig, fields
from rlef_plugin.errors import UsageError
from rlef_plugin.problems import ProblemStore

FILE = "experiment.json"
METHOD = (  # beside all settings of an episode
    *("env", "rlef.kl", "rlef.value", "rlef.whiten", "rlef.judge.strict_exit", "actor.model_name_or_path"),
    *("algo.advantage.estimator", "algo.kl.estimator", "rollout.temperature", "rollout.top_p"),
)
UNTOLD = ("ckpt.", "logger.", "rlef.run_dir", "data.prompt_dataset", "data.prompt_split")

log = logging.getLogger("rlef")


def start(config: RlefConfig, arguments: Mapping[str, Any]) -> str | None:
    """The checkpoint this run goes on from, on which policy and critic now agree; None if it begins.

    Raises:
        UsageError: the checkpoints in `ckpt.path` are another experiment's, or would be deleted by this run.
    """
    path, file = Path(arguments["ckpt.path"]), Path(arguments["ckpt.path"]) / FILE
    here = describe(config, arguments)
    if arguments["ckpt.load_enable"]:
        tag = latest(path, models_of(config.advantage_estimator))
        if tag and file.is_file():
            _compare(file, here, arguments["data.prompt_dataset"])
        agree(path, models_of(config.advantage_estimator))
        log.info("going on from checkpoint %s" if tag else "no whole checkpoint in %s: starting anew", tag or path)
    elif tag := latest(path, MODELS[:1]):
        raise UsageError(
            f"ckpt.path={path} holds checkpoints, such as {tag}, which this run would delete to make room for its "
            "own: choose another folder, or ckpt.load_enable=true to go on from them"
        )
    path.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{FILE}")
    unfinished.write_text(json.dumps(here, indent=1) + "\n")
    os.replace(unfinished, file)
    return tag


def describe(config: RlefConfig, arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `experiment.json` holds: problems, and every setting under the name of its flag."""
    split, values = arguments["data.prompt_split"], dataclasses.asdict(config)
    settings = {**arguments, "env": config.env}
    for name, _, _, path in fields():
        settings[name] = values[path[0]] if len(path) == 1 else values[path[0]][path[1]]
    digest = ProblemStore.open(Path(arguments["data.prompt_dataset"]).absolute()).digest(split)
    found = {"problems": {"split": split, "digest": digest}, "settings": settings}
    return dict(json.loads(json.dumps(found)))  # as it is read again


def _compare(file: Path, here: dict[str, dict[str, Any]], dataset: str) -> None:
    there = json.loads(file.read_text())
    if there["problems"] != here["problems"]:
        raise UsageError(
            f"data.prompt_dataset={dataset} has other problems or tests in split {here['problems']['split']} than "
            f"the run in ckpt.path={file.parent} has trained on, so it would repeat some and miss others: name that "
            "store, or choose another ckpt.path"
        )
    before, now = there["settings"], here["settings"]
    changed = {key: (before[key], now[key]) for key in now if key in before and before[key] != now[key]}
    method = {*METHOD, *(name for name, _, _, path in fields() if path[0] == "episode")}
    for key in sorted(method & changed.keys()):
        raise UsageError(
            f"{key}={changed[key][1]}, but the run in ckpt.path={file.parent} was trained with {changed[key][0]}: "
            f"choose another ckpt.path for another experiment, or delete {file} to go on from its checkpoint anyway"
        )
    told = [f"{key} {old} -> {new}" for key, (old, new) in changed.items() if not key.startswith(UNTOLD)]
    if told:
        log.warning("going on with other settings than before: %s", ", ".join(sorted(told)))
