"""Judges on other machines: Ray actors that one process starts and all of the run's processes share.

    with judge_actors(config):              # the driver; they end with it, or with its Ray job
        ... judge = await open_judge(config)    # in any process of the job, such as a rollout actor

Ray puts them where the recipe's resources are and restarts one that died, there or elsewhere; `spread.py` decides what
each judges and `batch.py` is what runs in them. They are found by name in the job's namespace, so that runs
that share a cluster do not share judges. Nothing is judged in the caller's process, whatever fails."""

import asyncio
import contextlib
import hashlib
import logging
import pickle
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlef_plugin.errors import UsageError
from rlef_plugin.judge.batch import Answer, BatchJudge, Request
from rlef_plugin.judge.check import check_here
from rlef_plugin.judge.spread import LinkLost, SpreadJudge, open_spread
from rlef_plugin.judge.verdicts import JudgeConfig, SandboxError

NAME = "rlef-judge"
START_S = 180.0  # a worker process of Ray takes seconds to start, on a busy machine many
END_S = 2.0
CALLS = 10_000  # at once, an actor: all callers' batches; each caller bounds its own
SHARED_BYTES = 1 << 20  # tests from here on are put into the object store once, and fetched once a node
SHARED_TOTAL_BYTES = 1 << 29  # of them, kept there by one caller
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def judge_actors(config: JudgeConfig) -> Iterator[None]:
    """The judges of this Ray job; every one has judged right and wrong programs on its node when the block begins.

    Raises:
        UsageError: the cluster lacks what they ask for, or a node cannot judge programs, or judges them wrongly.
    """
    check_cluster(config)
    local = replace(config, backend="local", workers=config.workers or config.ray_cpus)
    options: dict[str, Any] = {
        "num_cpus": config.ray_cpus,
        "resources": {config.ray_resource: 1} if config.ray_resource else {},
        "scheduling_strategy": "SPREAD",
        "max_restarts": -1,
        "max_task_retries": 0,  # the callers try elsewhere
        "max_concurrency": CALLS,
    }
    actor = ray.remote(BatchJudge)
    actors = [actor.options(name=f"{NAME}-{n}", **options).remote(local) for n in range(config.ray_actors)]
    try:
        _await_all(actors, config)
        logger.info("judge actors: %d, programs at once: %d", len(actors), config.worker_count)
        yield
    finally:
        _end(actors)


def check_rollout_nodes(config: JudgeConfig) -> None:
    """That each rollout actor's own judge will be right: programs are judged on every other node with GPUs.

    Raises:
        UsageError: one of them cannot judge programs, or judges them wrongly.
    """
    own = ray.get_runtime_context().get_node_id()  # checked before Ray was started
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU") and node["NodeID"] != own]
    check = ray.remote(num_cpus=0)(_check_node)
    asked = [
        check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(config)
        for node in nodes
    ]
    for node, one in zip(nodes, asked, strict=True):
        try:
            ray.get(one, timeout=START_S)
        except (RayError, GetTimeoutError) as error:
            raise UsageError(
                f"programs cannot be judged on node {node['NodeManagerAddress']}: {_sentence(error)}"
            ) from None


def _check_node(config: JudgeConfig) -> None:
    """Runs on each of them."""
    asyncio.run(check_here(config))


def check_cluster(config: JudgeConfig) -> None:
    """That nodes offer what the actors ask for; what others have taken of it is not looked at."""
    asked = f"{config.ray_cpus} CPUs" + (f" and 1 {config.ray_resource}" if config.ray_resource else "")
    command = f"ray start --address HEAD:6379 --num-cpus {config.ray_cpus}"
    if config.ray_resource:
        command += f" --resources '{{\"{config.ray_resource}\": 1}}'"
    places = [_places(node["Resources"], config) for node in ray.nodes() if node["Alive"]]
    if not any(places):
        raise UsageError(
            f"no node of this Ray cluster offers {asked} (rlef.judge.ray_cpus, rlef.judge.ray_resource): start judge "
            f"nodes with `{command}`, or change those keys"
        )
    if sum(places) < config.ray_actors:
        raise UsageError(
            f"rlef.judge.ray_actors={config.ray_actors}, but this Ray cluster has room for {sum(places)} that take "
            f"{asked} each: lower it, or start more judge nodes with `{command}`"
        )


def _places(resources: dict[str, float], config: JudgeConfig) -> int:
    places = resources.get("CPU", 0) // config.ray_cpus
    if config.ray_resource:
        places = min(places, resources.get(config.ray_resource, 0) // 1)
    return int(places)


def _await_all(actors: list[Any], config: JudgeConfig) -> None:
    try:
        ray.get([actor.hello.remote() for actor in actors], timeout=START_S)
    except GetTimeoutError:
        raise UsageError(
            f"not all of rlef.judge.ray_actors={config.ray_actors} started within {START_S:g} s: "
            "`ray status` shows whether something else holds the resources they wait for"
        ) from None
    except RayTaskError as error:
        raise UsageError(f"programs cannot be judged on a judge node: {_sentence(error)}") from None
    except RayError as error:
        raise UsageError(f"a judge actor did not start: {_sentence(error)}") from None


def _end(actors: list[Any]) -> None:
    with contextlib.suppress(RayError):
        ray.get([actor.close.remote() for actor in actors], timeout=END_S)
    for actor in actors:
        with contextlib.suppress(RayError):
            ray.kill(actor)


async def open_ray_judge(config: JudgeConfig) -> SpreadJudge:
    """A judge over the actors that `judge_actors` started. Raises SandboxError if there are none."""
    if not ray.is_initialized():
        raise SandboxError("judge.backend is 'ray', but this process is not connected to Ray: call ray.init() first.")
    links = []
    for name in (f"{NAME}-{n}" for n in range(config.ray_actors)):
        try:
            links.append(RayLink(name, await asyncio.to_thread(ray.get_actor, name)))
        except ValueError:
            raise SandboxError(
                f"This Ray job has no actor {name!r}: its driver must hold judge_actors(config) open, as `rlef` does."
            ) from None
    return await open_spread(links, SharedTests())


class RayLink:
    """One actor as `spread.Link`."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor
        self._caller = uuid.uuid4().hex

    async def hello(self) -> int:
        return await self._call("hello")

    async def alive(self) -> None:
        await self._call("alive")

    async def judge(self, batch: list[Request]) -> AsyncIterator[list[Answer]]:
        try:
            async for ref in self._actor.judge.options(num_returns="streaming").remote(self._caller, batch):
                yield await ref
        except RayError as error:
            raise LinkLost(f"{self.name}: {_sentence(error)}") from error

    def cancel(self, numbers: list[int]) -> None:
        if numbers:
            with contextlib.suppress(RayError):  # a dead actor has no jail to free
                self._actor.cancel.remote(self._caller, numbers)

    def restart(self) -> None:
        with contextlib.suppress(RayError):
            ray.kill(self._actor, no_restart=False)

    async def _call(self, method: str) -> Any:
        try:
            return await getattr(self._actor, method).remote()
        except RayTaskError as error:
            if isinstance(error.cause, SandboxError):
                raise error.cause from error
            raise LinkLost(f"{self.name}: {_sentence(error)}") from error
        except RayError as error:
            raise LinkLost(f"{self.name}: {_sentence(error)}") from error


class SharedTests:
    """Puts large sets of tests into Ray's object store, once, as long as they are used."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._one = asyncio.Lock()

    async def __call__(self, tests: tuple) -> Any:
        size = sum(sum(map(len, test)) if isinstance(test, tuple) else len(test) for test in tests)
        if size < SHARED_BYTES:
            return tests
        async with self._one:
            return await asyncio.to_thread(self._share, tests, size)

    def _share(self, tests: tuple, size: int) -> Awaitable[tuple]:
        key = hashlib.blake2b(pickle.dumps(tests)).digest()
        ref, _ = self._kept.get(key) or (ray.put(tests), 0)
        self._kept[key] = ref, size
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(kept for _, kept in self._kept.values()) > SHARED_TOTAL_BYTES:
            self._kept.popitem(last=False)
        return ref


def _sentence(error: RayError) -> str:
    """What Ray says on pages, on a line."""
    cause = getattr(error, "cause", None) or error
    return " ".join(str(cause).split())[:600]
