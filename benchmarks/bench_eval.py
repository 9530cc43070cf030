"""How much of an evaluation's wall time is generation? Interleaved runs on the CPU host with the demo's tiny model.

    python benchmarks/bench_eval.py MODEL STORE [--rollouts 8]

An evaluation is compared with pure generation of the same tokens: the same engine, the same prompts turn by turn, each
response forced to the length it had, as many at once, the prefix cache emptied before every run. The share is pure
generation over evaluation; what is missing to 100% is judging that generation could not hide, and everything else.
Writes benchmarks/results/eval.json.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import ray
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
    chosen = parser.parse_args()
    overrides = ["rlef.cpu_host=true", "rlef.feedback_tokens=224"]
    config = config_of("rlef_plugin.CodeContestsEnv", chosen.store, Path("/tmp/bench-eval"), overrides)
    settings = EvalSettings(
        model=str(Path(chosen.model).absolute()),
        config=config,
        temperature=1.0,
        rollouts=chosen.rollouts,
        max_len=1280,
        max_new_tokens=128,
    )
    ids = ProblemStore.open(chosen.store).ids("train")
    with launcher.ray_running(config):
        rows = asyncio.run(measure(settings, ids))
    share = statistics.median(row["generation_s"] / row["evaluation_s"] for row in rows)
    result = {
        "script": "benchmarks/bench_eval.py",
        "machine": machine() | {"host": "CPU host, float32"},
        "problems": len(ids),
        "rollouts_a_problem": chosen.rollouts,
        "rounds": rows,
        "generation_share_median": share,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


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
