"""The host's other switches, each trained with for two small steps on the CPU host; each test asks for its own effect.

What does not go together is refused before anything starts (rlef_plugin/limits.py, tests/test_limits.py); what only a
GPU can run is in benchmarks/gpu_smoke.sh.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from cpu_training import Run, Tiny, processes_of, small, train
from safetensors.torch import load_file
from test_e2e import check_capped_importance_weight

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.host, pytest.mark.nsjail]

Weights = dict[str, torch.Tensor]


def start(tiny: Tiny) -> Weights:
    return load_file(tiny.model / "model.safetensors")


def moved(before: Weights, after: Weights) -> set[str]:
    """Names of the tensors that changed; the start is kept in bfloat16, which float32 holds exactly."""
    assert all(torch.isfinite(tensor.float()).all() for tensor in after.values())
    return {
        name for name in before.keys() & after.keys() if not torch.equal(before[name].float(), after[name].float())
    }


def check_trained(run: Run, tiny: Tiny, steps: int = 2) -> None:
    """Policy and critic moved, vLLM has the policy's weights, and nothing is left running."""
    assert [step["step"] for step in run.metrics] == list(range(1, steps + 1))
    for model in ("model-out", "model-out_critic"):
        assert len(moved(start(tiny), run.weights(model))) > len(start(tiny)) // 2, model
    noise, drift = run.noise_and_drift(steps - 1)
    assert noise < 0.02 and noise < 0.5 * drift, f"noise {noise:.4f}, drift {drift:.4f}"
    assert processes_of(run.work) == []


def test_partial_rollouts(tiny: Tiny, tmp_path: Path) -> None:
    """Generation goes on while weights are exchanged; a response may come from two policies."""
    run = train(tmp_path, tiny, *small(train__async_enable=True, train__partial_rollout_enable=True))
    assert [step["step"] for step in run.metrics] == [1, 2]
    check_capped_importance_weight(run)
    assert moved(start(tiny), run.weights())
    assert processes_of(tmp_path) == []


def test_dynamic_batches(tiny: Tiny, tmp_path: Path) -> None:
    """Micro-batches of at most so many tokens: an update of 4 rollouts takes several, none of 4 times the longest."""
    limit = 900
    run = train(tmp_path, tiny, *small(train__dynamic_batch_enable=True, train__max_tokens_per_gpu=limit))
    check_trained(run, tiny)
    for step, dump in enumerate(run.dumps):
        tokens = [int(batch["attention_mask"].sum()) for batch in dump["batch"]]
        assert len(tokens) > 1 and max(tokens) <= limit, f"micro-batches of step {step + 1}: {tokens} tokens"


def test_zero_3(tiny: Tiny, tmp_path: Path) -> None:
    check_trained(train(tmp_path, tiny, *small(ds__zero_stage=3)), tiny)


def test_data_parallel_2(tiny: Tiny, tmp_path: Path) -> None:
    """Each rank computes half of the log-probabilities; both halves agree with vLLM's, so both have its weights."""
    gpus = {f"{model}__num_gpus_per_node": 2 for model in ("actor", "critic", "ref")}
    run = train(tmp_path, tiny, *small(**gpus))
    check_trained(run, tiny)
    halves = run.dumps[1]["batch"]
    assert len(halves) == 2
    for half in halves:  # a micro-batch of 4 a rank
        trained = half["action_mask"].bool()
        difference = (half["action_log_probs"] - half["rollout_log_probs"])[trained].abs().mean()
        assert difference < 0.02 and half["kl"][trained].abs().mean() > 2 * difference
        assert (half["values"] != 0).sum() == sum(len(turns) for turns in turns_of(half))


def turns_of(batch: dict[str, Any]) -> list[list[Any]]:
    from reference import episode

    return [episode.turns(row.tolist()) for row in batch["action_mask"]]


def test_lora_changes_adapters_only(tiny: Tiny, tmp_path: Path) -> None:
    """And vLLM gets weight and adapter added up: its log-probabilities follow the policy's."""
    run = train(tmp_path, tiny, *small(ds__lora__rank=4, actor__adam__lr=5e-3, ckpt__save_steps=2))
    noise, drift = run.noise_and_drift(1)
    assert noise < 0.02 and noise < 0.5 * drift, f"noise {noise:.4f}, drift {drift:.4f}"
    saved = load_file(tmp_path / "model-out" / "adapter_model.safetensors")
    assert saved and all("lora_" in name for name in saved)
    assert any(tensor.abs().max() > 0 for name, tensor in saved.items() if "lora_B" in name)  # they start at 0
    [checkpoint] = (tmp_path / "checkpoints" / "_actor").glob("global_step2/*model_states.pt")
    module = torch.load(checkpoint, weights_only=False)["module"]
    frozen = {name.removeprefix("base_model.model.").replace(".base_layer", ""): w for name, w in module.items()}
    assert frozen.keys() >= start(tiny).keys()
    assert moved(start(tiny), frozen) == set()


def test_moving_average(tiny: Tiny, tmp_path: Path) -> None:
    """The saved policy is the average: between the start and the last policy, and neither."""
    run = train(tmp_path, tiny, *small(train__enable_ema=True, train__ema_beta=0.5, ckpt__save_steps=2))
    [checkpoint] = (tmp_path / "checkpoints" / "_actor").glob("global_step2/*model_states.pt")
    last = torch.load(checkpoint, weights_only=False)["module"]
    before, average = start(tiny), run.weights()

    def distance(a: Weights, b: Weights) -> float:
        return sum(float((a[name].float() - b[name].float()).square().sum()) for name in before) ** 0.5

    whole = distance(before, last)
    assert whole > 0
    assert 0.1 * whole < distance(before, average) < whole and 0.01 * whole < distance(average, last) < whole


def test_critic_warm_up(tiny: Tiny, tmp_path: Path) -> None:
    """The host counts from 0 and freezes while step <= freezing_steps: with 0, one step moves the critic only."""
    run = train(tmp_path, tiny, *small(critic__freezing_steps=0, ckpt__save_steps=1))
    kl = [max(abs(k) for row in run.rows(step) for k in row["kl"]) for step in (0, 1)]
    assert max(kl) < 1e-6, f"the policy moved in the first step: KL {kl}"
    states = {}
    for model in ("_actor", "_critic"):
        [checkpoint] = (tmp_path / "checkpoints" / model).glob("global_step1/*model_states.pt")
        states[model] = torch.load(checkpoint, weights_only=False)["module"]
    assert moved(start(tiny), states["_actor"]) == set()
    assert moved(start(tiny), states["_critic"])
    assert moved(start(tiny), run.weights()), "the policy did not move after the warm-up"


def test_dynamic_filtering_drops_groups_without_a_difference(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tmp_path, tiny, *small(algo__dynamic_filtering_enable=True, data__max_samples=27))
    assert "Filtered out: avg_reward=" in run.log
    groups: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    for step in range(len(run.dumps)):
        for row in run.rows(step):
            groups[step, row["labels"]].append(max(row["turn_rewards"]))
    assert groups and all(sorted(rewards) == [-1.0, 1.0] or max(rewards) == 1.0 for rewards in groups.values())
    for rewards in groups.values():
        assert len(rewards) == 2 and sum(reward == 1.0 for reward in rewards) == 1, f"no difference in {rewards}"


@pytest.mark.parametrize("estimator", ["rloo", "group_norm"])
def test_estimators_without_a_critic(tiny: Tiny, tmp_path: Path, estimator: str) -> None:
    settings = {"algo.advantage.estimator": estimator, "algo.kl.estimator": "k1"}
    run = train(tmp_path, tiny, *small(), *(f"{key}={value}" for key, value in settings.items()))
    assert [step["step"] for step in run.metrics] == [1, 2]
    assert "critic_loss" not in run.metrics[0] and not (tmp_path / "model-out_critic").exists()
    episodes = [json.loads(line) for line in next((tmp_path / "run" / "rollouts").iterdir()).open()]
    assert len(episodes) == 8
    assert moved(start(tiny), run.weights())
