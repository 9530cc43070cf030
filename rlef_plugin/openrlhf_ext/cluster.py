"""What can be checked once Ray runs, before the host asks it for anything: GPUs, packages, and files that nodes share.

The host waits without end for GPUs that do not come. And on several nodes it takes for granted that a path means the
same file everywhere: where `ckpt.path` is a disk of each node, some ranks would go on from a checkpoint and the others
begin anew, without a word. Not promised: that what is there now stays, or that other nodes have the same packages."""

import contextlib
import importlib.util
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rlef_plugin.errors import UsageError
from rlef_plugin.limits import gpus_needed

PATIENCE_S = 30  # a network file system may remember for some seconds that a name was not there
LOOK_S = 120  # at most, for all nodes together

log = logging.getLogger("rlef")


def check_cluster(arguments: dict[str, Any], read: Sequence[Path], written: Sequence[Path]) -> None:
    """`arguments` are the host's, flat; `read` and `written` are what processes on GPU nodes open, absolute.

    Raises:
        UsageError: Ray has fewer GPUs than the run asks for, a package is missing, or a node does not see a file.
    """
    check_gpus(arguments)
    check_ring_attention(arguments)
    check_shared(read, written)


def check_gpus(arguments: dict[str, Any]) -> None:
    import ray

    needed, there = gpus_needed(arguments), int(ray.cluster_resources().get("GPU", 0))
    if there < sum(needed.values()):
        parts = ", ".join(f"{name} {count}" for name, count in needed.items())
        raise UsageError(
            f"this run needs {sum(needed.values())} GPUs ({parts}), but Ray has {there}: wait until all nodes have "
            "joined (`ray status`), or lower num_nodes, num_gpus_per_node or vllm.num_engines"
        )
    free = int(ray.available_resources().get("GPU", 0))
    if free < sum(needed.values()):
        log.warning(
            "this run needs %d GPUs, and other jobs leave %d of Ray's %d free: it waits until they end (`ray status`)",
            sum(needed.values()),
            free,
            there,
        )


def check_ring_attention(arguments: dict[str, Any]) -> None:
    """The host imports it in every actor, after all of them have their GPUs."""
    if arguments["ds.ring_attn_size"] > 1 and importlib.util.find_spec("ring_flash_attn") is None:
        raise UsageError(
            f"ds.ring_attn_size={arguments['ds.ring_attn_size']} needs the package ring_flash_attn, which is not "
            "installed: pip install ring-flash-attn on all nodes"
        )


def check_shared(read: Sequence[Path], written: Sequence[Path]) -> None:
    """Whether every node with GPUs sees the files that are read, and what is written where the others write."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = (node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU"))
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in alive}
    if len(nodes) < 2:
        return
    look = ray.remote(num_cpus=0)(_missing)
    with _marked(written) as marks:
        paths = [str(path) for path in (*read, *marks)]
        there = {node: NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes}
        asked = {
            node: look.options(scheduling_strategy=where).remote(paths, PATIENCE_S) for node, where in there.items()
        }
        try:
            found = dict(zip(asked, ray.get(list(asked.values()), timeout=LOOK_S), strict=True))
        except ray.exceptions.GetTimeoutError:
            raise UsageError(
                f"a node did not say within {LOOK_S} s whether it sees {', '.join(map(str, (*read, *written)))}: look "
                "for a file system that hangs, or a node that Ray has lost (`ray status`)"
            ) from None
    for node, missing in found.items():
        if missing:
            path = Path(missing[0])
            raise UsageError(
                f"node {nodes[node]} does not see {path.parent if path in marks else path} of this node: put it where "
                "all GPU nodes have the same file system"
            )


@contextlib.contextmanager
def _marked(folders: Iterable[Path]) -> Iterator[list[Path]]:
    """A file of a new name in each folder, while nodes look for it."""
    marks = [folder / f".rlef-{uuid.uuid4().hex}" for folder in folders]
    try:
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        yield marks
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def _missing(paths: list[str], patience_s: float) -> list[str]:
    """Runs on each node."""
    until = time.monotonic() + patience_s
    while missing := [path for path in paths if not os.path.exists(path)]:
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    return missing
