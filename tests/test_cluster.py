"""What is checked once Ray runs: GPUs that never come, a package, and files that only this node has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from test_launcher import plan_of, store  # noqa: F401  # a fixture

from rlef_plugin.errors import UsageError
from rlef_plugin.judge import JudgeConfig
from rlef_plugin.judge.remote import check_rollout_nodes
from rlef_plugin.limits import gpus_needed
from rlef_plugin.openrlhf_ext import cluster as checks

ASYNC, ALL, PAIR = "train.async_enable", "train.colocate_all", "train.colocate_actor_ref"


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        ([], {"actor": 1, "critic": 1, "ref": 1, "vllm": 1}),
        ([f"{PAIR}=true"], {"actor": 1, "critic": 1, "vllm": 1}),
        ([f"{ALL}=true"], {"actor": 1}),
        ([f"{ALL}=true", f"{ASYNC}=true"], {"actor": 1, "vllm": 1}),
        (["algo.kl.init_coef=0"], {"actor": 1, "critic": 1, "vllm": 1}),
        (["algo.advantage.estimator=rloo", "algo.kl.estimator=k1"], {"actor": 1, "ref": 1, "vllm": 1}),
        (["vllm.num_engines=3", "vllm.tensor_parallel_size=2"], {"actor": 1, "critic": 1, "ref": 1, "vllm": 6}),
        (["actor.num_nodes=2"], {"actor": 2, "critic": 1, "ref": 1, "vllm": 1}),
    ],
)
def test_gpus_that_the_host_will_ask_for(store: Path, overrides: list[str], needed: dict[str, int]) -> None:  # noqa: F811
    arguments = plan_of("cpu-demo.yaml", store, "rollout.n_samples_per_prompt=3").arguments
    names = {ASYNC, ALL, PAIR}
    changed = (item.split("=") for item in overrides)
    arguments |= {key: value == "true" if key in names else type(arguments[key])(value) for key, value in changed}
    assert gpus_needed(arguments) == needed


def test_the_papers_recipes_take_the_papers_gpus(store: Path) -> None:  # noqa: F811
    sizes = {size: gpus_needed(plan_of(f"llama3.1-{size}.yaml", store).arguments) for size in ("8b", "70b")}
    assert {size: sum(needed.values()) for size, needed in sizes.items()} == {"8b": 288, "70b": 2304}


def test_too_few_gpus_are_told_and_not_waited_for(
    store: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments = plan_of("llama3.1-8b.yaml", store).arguments
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 288.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"GPU": 288.0})
    checks.check_gpus(arguments)
    assert not caplog.records
    monkeypatch.setattr(ray, "available_resources", lambda: {})  # another job has them all
    checks.check_gpus(arguments)
    assert "needs 288 GPUs, and other jobs leave 0 of Ray's 288 free" in caplog.text
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 280.0})
    with pytest.raises(UsageError, match=r"needs 288 GPUs \(actor 128, vllm 160\), but Ray has 280: wait until all"):
        checks.check_gpus(arguments)


def test_ring_attention_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    checks.check_ring_attention({"ds.ring_attn_size": 1})
    with pytest.raises(UsageError, match="ds.ring_attn_size=8 needs the package ring_flash_attn"):
        checks.check_ring_attention({"ds.ring_attn_size": 8})


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    """Of one machine, so they share all files."""
    memory = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_gpus": 1, "include_dashboard": False, **memory})
    cluster.add_node(num_cpus=1, num_gpus=1, **memory)
    variables = {"PYTHONPATH": os.path.dirname(__file__)}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": variables})
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.host
def test_files_that_all_nodes_see(two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked, asked = checks._marked, list[list[Path]]()
    monkeypatch.setattr(checks, "_marked", lambda folders: marked(asked.append(list(folders)) or asked[-1]))
    checks.check_shared([tmp_path], [tmp_path / "new" / "ckpt", tmp_path])
    assert asked == [[tmp_path / "new" / "ckpt", tmp_path]]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # the marks are gone


@pytest.mark.host
def test_a_file_that_a_node_does_not_see_is_named_with_it(
    two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PATIENCE_S", 0)
    with pytest.raises(
        UsageError, match=rf"node \S+ does not see {tmp_path}/store of this node: put it where all GPU"
    ):
        checks.check_shared([tmp_path / "store"], [])


@pytest.mark.host
def test_a_folder_of_each_nodes_own_is_noticed(
    two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is on both nodes, but what this one writes there is not on the other."""
    monkeypatch.setattr(checks, "PATIENCE_S", 0)
    monkeypatch.setattr(Path, "touch", lambda path: None)
    with pytest.raises(UsageError, match=rf"node \S+ does not see {tmp_path} of this node"):
        checks.check_shared([], [tmp_path])


@pytest.mark.host
@pytest.mark.nsjail
def test_every_other_node_judges_before_a_model_is_loaded(two_nodes: None) -> None:
    check_rollout_nodes(JudgeConfig(workers=1))
    with pytest.raises(
        UsageError, match=r"^programs cannot be judged on node \S+: nsjail at /no/nsjail is not an exec"
    ):
        check_rollout_nodes(JudgeConfig(workers=1, nsjail="/no/nsjail"))
