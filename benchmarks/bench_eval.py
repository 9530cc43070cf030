"""How much of an evaluation's wall time is generation? Interleaved runs on the CPU host with the demo's tiny model.

    python benchmarks/bench_eval.py MODEL STORE [--rollouts 8] [--layers 3 24]

`--layers`: the same with layers added that compute as much as the others and change nothing, so that it writes the
same programs at a higher price. On two cores a program costs more to judge than the tiny model's response to generate;
for a real model it is the other way round.

An evaluation is compared with pure generation of the same tokens: the same engine, the same prompts turn by turn, each
response forced to the length it had, as many at once, the prefix cache emptied before every run. The share is pure
generation over evaluation; what is missing to 100% is judging that generation could not hide, and everything else.
Writes benchmarks/results/eval.json.
"""

import argparse
import asyncio
import copy
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from machine import machine

from rlef_plugin import launcher
from rlef_plugin.env import Dialog
from rlef_plugin.evaluation.play import play_all
from rlef_plugin.evaluation.rollouts import Rollout
from rlef_plugin.evaluation.settings import EvalSettings, config_of
from rlef_plugin.problems import ProblemStore

RESULTS = Path(__file__).with_name("results") / "eval.json"
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("store", type=Path)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 24])
    chosen = parser.parse_args()
    result: dict[str, Any] = {
        "script": "benchmarks/bench_eval.py",
        "machine": machine() | {"host": "CPU host, float32"},
        "rollouts_a_problem": chosen.rollouts,
        "by_layers": {},
    }
    for layers in chosen.layers:
        with tempfile.TemporaryDirectory() as folder:
            model = deeper(Path(chosen.model), layers, Path(folder))
            rows = run(model, chosen.store, chosen.rollouts)
        share = statistics.median(row["generation_s"] / row["evaluation_s"] for row in rows)
        result["by_layers"][layers] = {"rounds": rows, "generation_share_median": share}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def deeper(model: Path, layers: int, out: Path) -> Path:
    """The same function of its input, by more layers: each of those added adds zero to what passes through."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    small = LlamaForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    config = copy.deepcopy(small.config)
    config.num_hidden_layers = layers
    large = LlamaForCausalLM(config)
    missing, unexpected = large.load_state_dict(small.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("model.layers.") for name in missing)
    for layer in large.model.layers[small.config.num_hidden_layers :]:
        for last in (layer.self_attn.o_proj, layer.mlp.down_proj):
            torch.nn.init.zeros_(last.weight)
    large.to(torch.bfloat16).save_pretrained(out)
    saved, ids = LlamaForCausalLM.from_pretrained(out, dtype=torch.bfloat16), torch.arange(64)[None]
    assert torch.equal(saved(ids).logits, small(ids).logits)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)
    return out


def run(model: Path, store: Path, rollouts: int) -> list[dict[str, float]]:
    overrides = ["rlef.cpu_host=true", "rlef.feedback_tokens=224"]
    config = config_of("rlef_plugin.CodeContestsEnv", store, Path("/tmp/bench-eval"), overrides)
    settings = EvalSettings(
        model=str(model),
        config=config,
        temperature=1.0,
        rollouts=rollouts,
        max_len=1280,
        max_new_tokens=128,
    )
    ids = ProblemStore.open(store).ids("train")
    with launcher.ray_running(config):
        return asyncio.run(measure(settings, ids))


async def measure(settings: EvalSettings, ids: list[str]) -> list[dict[str, float]]:
    from transformers import AutoTokenizer

    from rlef_plugin.openrlhf_ext.engines import EnginePlayer

    player = EnginePlayer(settings)
    dialog = Dialog(AutoTokenizer.from_pretrained(settings.model))
    await evaluation(player, replace(settings, rollouts=1), ids)  # warm: imports, jails, memory
    rows = []
    for _ in range(ROUNDS):
        ray.get([engine.reset_prefix_cache.remote() for engine in player.engines])
        started = time.monotonic()
        rollouts = await evaluation(player, settings, ids)
        evaluation_s = time.monotonic() - started
        requests = [turns_of(rollout, dialog) for rollout in rollouts]
        ray.get([engine.reset_prefix_cache.remote() for engine in player.engines])
        started = time.monotonic()
        await generation(player, requests, settings.in_flight)
        generation_s = time.monotonic() - started
        tokens = sum(length for turns in requests for _, length in turns)
        rows.append({"evaluation_s": evaluation_s, "generation_s": generation_s, "tokens": tokens})
        print(rows[-1], flush=True)
    return rows


async def evaluation(player: object, settings: EvalSettings, ids: list[str]) -> list[Rollout]:
    ended: list[Rollout] = []
    await play_all([(one, index) for one in ids for index in range(settings.rollouts)], player, ended.append)  # type: ignore[arg-type]
    return ended


def turns_of(rollout: Rollout, dialog: Dialog) -> list[tuple[list[int], int]]:
    """(prompt ids, tokens to write) of each response; a prompt is the conversation before it."""
    ids = dialog.prompt_tokens(rollout.messages[0].text)
    turns = []
    for place, turn in enumerate(rollout.turns):
        turns.append((list(ids), turn.response_tokens))
        if place + 1 < len(rollout.turns):
            ids = ids + [0] * turn.response_tokens  # any token will do: the forward pass costs the same
            ids += dialog.feedback_tokens(rollout.messages[2 * place + 2].text, None)
    return turns


async def generation(player: object, requests: list[list[tuple[list[int], int]]], in_flight: int) -> None:
    from vllm import SamplingParams

    left = iter(requests)
    engine = player.engines[0]  # type: ignore[attr-defined]

    async def one_after_the_other() -> None:
        for turns in left:
            for prompt, length in turns:
                sampling = SamplingParams(temperature=1.0, min_tokens=length, max_tokens=length, ignore_eos=True)
                await engine.generate.remote(prompt, sampling)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))


if __name__ == "__main__":
    main()
