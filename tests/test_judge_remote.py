"""Real Ray, real jails: a cluster of several nodes on this machine, callers in several processes, nodes that die."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psutil
import pytest
import ray
from judge_helpers import Case, descendants
from ray.cluster_utils import Cluster

from rlef_plugin.errors import UsageError
from rlef_plugin.judge import Judge, JudgeConfig, Limits, SandboxError, Verdict, open_judge, remote
from rlef_plugin.judge.remote import check_cluster, judge_actors

pytestmark = [pytest.mark.host, pytest.mark.nsjail]

LIMITS = Limits(cpu_s=10)
CONFIG = JudgeConfig(backend="ray", ray_actors=2, ray_resource="judge_node")
OBJECTS = {"object_store_memory": 100 * 2**20}


def make_cluster(nodes: int) -> Cluster:
    """A head without CPUs, so that every judge is on a node that may be taken away."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **OBJECTS})
    for _ in range(nodes):
        cluster.add_node(num_cpus=2, resources={"judge_node": 1}, **OBJECTS)
    variables = {"PYTHONPATH": os.path.dirname(__file__)}  # Ray's workers import this module
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": variables})
    return cluster


def end_cluster(cluster: Cluster) -> None:
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = make_cluster(2)
    yield cluster
    end_cluster(cluster)


@pytest.fixture(scope="module")
def actors(cluster: Cluster) -> Iterator[None]:
    with judge_actors(CONFIG):
        yield


def with_judge(test: Callable[[Judge], Awaitable[Any]], config: JudgeConfig = CONFIG) -> Any:
    async def go() -> Any:
        judge = await open_judge(config)
        try:
            async with asyncio.timeout(240):
                return await test(judge)
        finally:
            await judge.close()

    return asyncio.run(go())


def actor_processes() -> list[psutil.Process]:
    return [psutil.Process(pid) for pid, name in descendants().items() if name.startswith("ray::BatchJudge")]


VERDICTS = [  # what program n prints for the input 1, and what it deserves where n + 1 is expected
    ("print(int(input()) + {n})", Verdict.ACCEPTED),
    ("print(int(input()) - 1 - {n})", Verdict.WRONG_OUTPUT),
    ("raise ValueError({n})", Verdict.EXCEPTION),
    ("print(int(input()) + {n}", Verdict.INVALID_CODE),
]


async def judge_many(judge: Judge, count: int, at_third: Callable[[], None] = lambda: None) -> int:
    """`count` different programs at once; `at_third` is called when a third has been answered. Returns the answers."""
    answered = 0

    async def one(n: int) -> None:
        nonlocal answered
        source, verdict = VERDICTS[n % len(VERDICTS)]
        result = await judge.judge(source.format(n=n), [Case("1\n", f"{n + 1}\n")], LIMITS)
        assert result.verdict is verdict, (n, result)
        answered += 1
        if answered == count // 3:
            at_third()

    await asyncio.gather(*(one(n) for n in range(count)))
    return answered


# --- first, as the actors of the other tests take places and names


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"ray_resource": "judge"},
            r"no node of this Ray cluster offers 1 CPUs and 1 judge \(.*'{\"judge\": 1}'`, or",
        ),
        ({"ray_cpus": 3}, r"no node of this Ray cluster offers 3 CPUs and 1 judge_node .*--num-cpus 3 "),
        ({"ray_cpus": 3, "ray_resource": ""}, r"offers 3 CPUs \(rlef.judge.ray_cpus"),
        (
            {"ray_actors": 3},
            r"rlef.judge.ray_actors=3, but this Ray cluster has room for 2 that take 1 CPUs and 1 jud",
        ),
        ({"ray_actors": 5, "ray_resource": ""}, "room for 4 that take 1 CPUs each"),
    ],
)
def test_a_cluster_that_lacks_something_is_one_sentence(
    cluster: Cluster, wrong: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as error:
        check_cluster(JudgeConfig(**{"backend": "ray", "ray_actors": 2, "ray_resource": "judge_node"} | wrong))
    assert "\n" not in str(error.value)


def test_a_node_that_cannot_run_programs_is_one_sentence(cluster: Cluster) -> None:
    config = JudgeConfig(backend="ray", nsjail="/no/nsjail")
    with pytest.raises(
        UsageError, match="programs cannot be judged on a judge node: nsjail at /no/nsjail is not an exec"
    ):
        with judge_actors(config):
            pass


def test_without_actors_nothing_is_judged(cluster: Cluster) -> None:
    with pytest.raises(SandboxError, match="no actor 'rlef-judge-0'"):
        asyncio.run(open_judge(JudgeConfig(backend="ray", ray_actors=8)))


def test_actors_and_jails_end_with_the_block(cluster: Cluster) -> None:
    with judge_actors(JudgeConfig(backend="ray")), pytest.raises(ValueError):
        (actor,) = actor_processes()
        mine = [actor, *actor.children(recursive=True)]
        assert len(mine) > 3  # the server and its parent, and a jail that waits
        raise ValueError
    assert psutil.wait_procs(mine, timeout=30)[1] == []


# --- with actors


def test_verdicts_outputs_and_limits_are_the_local_judge_s(actors: None) -> None:
    async def test(judge: Judge) -> None:
        assert await judge_many(judge, 24) == 24
        echoed = await judge.run("print(input() * 2)", ["ab", "\udc80\n"], LIMITS)
        assert [test.stdout for test in echoed.tests] == [b"abab\n", b"\x80\x80\n"]
        tests = [Case("1", "2"), Case("1", "1"), Case("1", "1")]
        stopped = await judge.judge("print(input())", tests, LIMITS, stop_at_failure=True)
        assert [test.verdict for test in stopped.tests] == [Verdict.WRONG_OUTPUT]
        written = await judge.judge(
            "open('o.txt', 'w').write(open('i.txt').read())",
            tests[1:],
            LIMITS,
            input_file="i.txt",
            output_file="o.txt",
        )
        assert written.accepted
        with pytest.raises(ValueError, match="must not contain a folder"):
            await judge.judge("print(1)", tests, LIMITS, input_file="../i.txt")

    with_judge(test)


def test_both_nodes_judge(actors: None) -> None:
    async def test(judge: Judge) -> None:
        before = {process.pid: sum(process.cpu_times()[:2]) for process in actor_processes()}
        assert await judge_many(judge, 40) == 40
        assert len(before) == 2
        assert all(sum(process.cpu_times()[:2]) > before[process.pid] for process in actor_processes())

    with_judge(test)


def test_large_tests_go_into_the_object_store_once(actors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    puts = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: puts.append(value) or put(value))

    async def test(judge: Judge) -> None:
        large = "7" * remote.SHARED_BYTES
        for _ in range(3):  # as a store does: equal, and another object each time
            tests = [Case("".join(large), "".join(large)), Case("1", "1")]
            assert (await judge.judge("print(input())", tests, LIMITS)).accepted
            assert (await judge.judge("print(input())", tests[1:], LIMITS)).accepted
        assert not (await judge.judge("print(1)", tests, LIMITS)).accepted
        assert (await judge.run("print(len(input()))", [large], LIMITS)).tests[0].stdout == b"%d\n" % len(large)

    with_judge(test)
    assert len(puts) == 2  # the tests of `judge`, the inputs of `run`


def test_a_cancelled_caller_frees_its_jail(actors: None) -> None:
    async def test(judge: Judge) -> None:
        loops = [
            asyncio.create_task(judge.run("while True: pass", [""], Limits(cpu_s=3000))) for _ in range(6)
        ]  # all workers have one, and others wait
        await judge_until_busy(loops)
        for loop in loops:
            loop.cancel()
        assert await judge_many(judge, 8) == 8  # hours later if the jails were still taken
        assert all(
            isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*loops, return_exceptions=True)
        )

    with_judge(test)


async def judge_until_busy(tasks: list[asyncio.Task[Any]]) -> None:
    while sum(process.status() == psutil.STATUS_RUNNING for process in jailed()) < 2:
        assert not any(task.done() for task in tasks)
        await asyncio.sleep(0.05)


def jailed() -> list[psutil.Process]:
    """Processes below the servers of this test's actors."""
    below = []
    for actor in actor_processes():
        below += actor.children(recursive=True)
    return below


def test_a_killed_actor_s_programs_are_judged_elsewhere_and_it_comes_back(actors: None) -> None:
    before = {process.pid for process in actor_processes()}

    async def test(judge: Judge) -> None:
        def kill() -> None:
            actor_processes()[0].send_signal(signal.SIGKILL)

        assert await judge_many(judge, 60, at_third=kill) == 60
        while len({process.pid for process in actor_processes()} | before) < 3 or len(actor_processes()) < 2:
            await asyncio.sleep(0.1)  # until Ray has started another
        assert await judge_many(judge, 24) == 24

    with_judge(test)


def test_callers_in_other_processes_share_the_actors_and_may_die(actors: None) -> None:
    @ray.remote(num_cpus=0)
    class Rollouts:
        async def play(self, count: int) -> int:
            judge = await open_judge(CONFIG)
            return await judge_many(judge, count)

        async def hang(self) -> None:
            judge = await open_judge(CONFIG)
            await asyncio.gather(*(judge.run("import time; time.sleep(1)", [""], LIMITS) for _ in range(4)))

    callers = [Rollouts.remote() for _ in range(3)]
    assert len(actor_processes()) == 2
    hanging = callers[2].hang.remote()
    played = [caller.play.remote(12) for caller in callers[:2]]
    ray.kill(callers[2])
    assert ray.get(played, timeout=120) == [12, 12]
    assert len(actor_processes()) == 2
    del hanging


RUN = """
import asyncio, json, ray
from rlef_plugin import launcher
from rlef_plugin.config import RlefConfig
from rlef_plugin.judge import JudgeConfig, open_judge
from test_judge_remote import judge_many

@ray.remote
def rollout_actor():
    async def play():
        return await judge_many(await open_judge(RlefConfig.from_environment().judge), 8)
    return asyncio.run(play())

with launcher.ray_running(RlefConfig(cpu_host=True, judge=JudgeConfig(backend="ray", ray_actors=2))):
    print(json.dumps(ray.get([rollout_actor.remote() for _ in range(2)])))
"""


def test_the_launcher_s_judges_are_found_by_rollout_actors() -> None:
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [8, 8]


@pytest.mark.slow
def test_a_node_of_three_dies_with_2000_programs_in_flight() -> None:
    """In a process of its own, as this one's Ray is another cluster."""
    done = subprocess.run(
        [sys.executable, "-c", "import test_judge_remote as t; print(t.lose_a_node())"],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "2000", done.stderr[-3000:]


def lose_a_node() -> int:
    cluster = make_cluster(3)
    config = JudgeConfig(backend="ray", ray_actors=3, ray_resource="judge_node")
    victims = list(cluster.worker_nodes)
    try:
        with judge_actors(config):
            return with_judge(
                lambda judge: judge_many(
                    judge, 2000, at_third=lambda: cluster.remove_node(victims[1], allow_graceful=False)
                ),
                config,
            )
    finally:
        end_cluster(cluster)
