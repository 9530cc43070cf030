"""The host's supervised training from a recipe: `cli: train_sft` beside the host's flags.

    rlef mine RUNS -o sft.jsonl  ->  rlef train recipes/sft-8b.yaml data.dataset=sft.jsonl  ->  openrlhf.cli.train_sft

The host does all of it; nothing of this plugin takes part but the check of the recipe. On GPUs the host's CLI is
started by DeepSpeed's own launcher, which takes this process's place; on the CPU host it runs in this process.
"""

import json
import logging
import os
import re
import runpy
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlef_plugin import recipes
from rlef_plugin.errors import UsageError
from rlef_plugin.openrlhf_ext import cpu_host, host_cli

log = logging.getLogger("rlef")

DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet", ".arrow", ".py")  # those the host takes for files
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # OWNER/NAME, or NAME alone


def main(values: Mapping[str, Any], dry_run: bool) -> None:
    """Check and train; `values` are a recipe's, `cli` among them.

    Raises:
        UsageError: another CLI, an unknown key, a value the host refuses, or rows that the host would misread.
    """
    flags, on_cpu = plan(values)
    command = ["deepspeed", "--module", f"openrlhf.cli.{host_cli.SFT}", *flags]
    if dry_run:
        print(shlex.join(command))
    elif on_cpu:
        _run_here(flags)
    elif shutil.which(command[0]):
        os.execvp(command[0], command)
    else:
        raise UsageError("deepspeed is not on the PATH: install rlef-plugin[train], or set rlef.cpu_host=true to try")


def plan(values: Mapping[str, Any]) -> tuple[list[str], bool]:
    """(the host's flags, whether on the CPU host)."""
    rest = dict(values)
    cli, on_cpu = rest.pop("cli"), rest.pop("rlef.cpu_host", False)
    if cli != host_cli.SFT:
        raise UsageError(f"cli is {cli!r}, but only {host_cli.SFT} can be chosen: leave it out for PPO")
    if ours := next((key for key in rest if key == "env" or key.startswith("rlef.")), None):
        raise UsageError(f"{ours} has no effect with cli={cli}, which plays no episodes: drop it")
    flags = recipes.to_flags(rest, host_cli.SFT)
    arguments = host_cli.check(flags, host_cli.SFT)
    _check_rows(arguments.data)
    return flags, bool(on_cpu)


def _check_rows(data: Any) -> None:
    """The first row of each local JSONL file, which must be a dialog that ends with a response.

    Of a dataset of the hub, a folder or another format the host's own loader speaks.
    """
    if not data.dataset:
        raise UsageError("data.dataset is missing: name the JSONL file that `rlef mine` wrote")
    for place in data.dataset.split(","):  # as the host splits it
        name = place.partition("@")[0].strip()
        path = Path(name)
        if path.is_file() and path.suffix in (".json", ".jsonl"):
            _check_dialog(path, data.input_key)
        elif not path.exists() and (path.suffix in DATA_SUFFIXES or not HUB_ID.fullmatch(name)):
            raise UsageError(f"data.dataset={name} does not exist: name the JSONL file that `rlef mine` wrote")


def _check_dialog(path: Path, key: str) -> None:
    try:
        with path.open(encoding="utf-8") as lines:
            row = json.loads(next(lines, "{}"))
    except ValueError as error:
        raise UsageError(
            f"the first line of data.dataset={path} is not JSON ({error}): name the JSONL file that `rlef mine` wrote"
        ) from None
    messages = row.get(key) if isinstance(row, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not (isinstance(last, dict) and last.get("role") == "assistant"):
        raise UsageError(
            f"{path} has no dialog under {key!r} in its first row: set data.input_key=messages for a file "
            "that `rlef mine` wrote"
        )


def _run_here(flags: list[str]) -> None:
    logging.basicConfig(format="rlef: %(message)s", level=logging.INFO, stream=sys.stderr)
    log.warning("CPU host: for trying out and testing only; this is not how to train a model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update({**cpu_host.ENVIRONMENT, **alone})
    cpu_host.setup_worker()
    module = f"openrlhf.cli.{host_cli.SFT}"
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
