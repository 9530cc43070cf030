"""The turn-level critic's cut input against the host's critic: python benchmarks/bench_critic.py [--hidden 256]

Both are the host's own critic class with its own trainer and value loss, on the same batch, in one process, one after
the other and again, so that a busy machine slows both; the result is the ratio of the medians. A step of the critic is
what one rollout batch costs it: a forward pass for the old values, then a forward and a backward pass to train. The
host's is shown turn starts too, so that both learn the same; only the tokens they read differ.

Assumed, since nobody has published lengths: a prompt of 400 tokens, responses of 300, feedback of 250, each +-30%.
FLOPs are counted by the usual formula (2 a parameter and token forward, 4 backward, and attention), for this model
and for Llama 3.1 8B, whose attention is a smaller share of the work. Rows are not padded to each other
(`train.micro_batch_size: 1`, as in the recipes).
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from rlef_plugin.openrlhf_ext import cpu_host  # noqa: E402

RESULTS = Path(__file__).with_name("results") / "critic.md"
PROMPT, RESPONSE, FEEDBACK = 400, 300, 250  # tokens, the mean of each
MIXES = {  # turns played -> share of the episodes
    "all of 3 turns": {3: 1.0},
    "15% end at turn 1, 5% at turn 2": {1: 0.15, 2: 0.05, 3: 0.80},
    "35% end at turn 1, 10% at turn 2": {1: 0.35, 2: 0.10, 3: 0.55},
}
LLAMA_8B = {"parameters": 6.98e9, "layers": 32, "hidden": 4096}  # without embeddings and vocabulary head


def episodes(mix: dict[int, float], count: int, seed: int) -> list[list[tuple[int, int]]]:
    """[start, end) of each response of each episode; a row ends with its last response."""
    rng = random.Random(seed)

    def about(mean: int) -> int:
        return round(mean * rng.uniform(0.7, 1.3))

    made = []
    for turns in rng.choices(list(mix), weights=list(mix.values()), k=count):
        position, ranges = about(PROMPT), []
        for _ in range(turns):
            end = position + about(RESPONSE)
            ranges.append((position, end))
            position = end + about(FEEDBACK)
        made.append(ranges)
    return made


def flops(tokens: int, parameters: float, layers: int, hidden: int) -> float:
    """Of a critic step on one row: 2 forward passes and a backward one that counts twice."""
    return 4 * (2 * parameters * tokens + 2 * layers * hidden * tokens**2)


def experience(ranges: list[tuple[int, int]], vocabulary: int) -> Any:
    import torch
    from openrlhf.trainer.ppo_utils.experience import Experience

    length = ranges[-1][1]
    mask = torch.zeros(1, length, dtype=torch.long)
    for start, end in ranges:
        mask[0, start:end] = 1
    return Experience(
        sequences=torch.randint(0, vocabulary, (1, length)),
        attention_mask=torch.ones(1, length, dtype=torch.long),
        action_mask=mask[:, 1:],
        values=torch.zeros(1, length - 1),
        returns=torch.randn(1, length - 1),
        total_length=torch.tensor([float(length)]),
    )


def step_s(actor: Any, batch: list[Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one critic step on the batch, one row a micro-batch."""
    wall, cpu = perf_counter(), process_time()
    for one in batch:
        actor.forward(one.sequences, one.action_mask, one.attention_mask)
        actor.append(one)
    buffer = actor.trainer.replay_buffer
    for row in range(len(buffer)):
        actor.trainer.training_step(buffer.collate_fn([buffer[row]]), row)
    buffer.clear()
    return perf_counter() - wall, process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ.update(cpu_host.ENVIRONMENT)
    cpu_host.setup_worker()
    from test_host_critic import critic_actor, stock_critic
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    vocabulary, intermediate = 1024, 7 * args.hidden // 2  # the proportions of Llama 3.1 8B
    sizes = {"hidden_size": args.hidden, "intermediate_size": intermediate, "num_hidden_layers": args.layers}
    with tempfile.TemporaryDirectory() as work:
        os.environ["WORK"] = work
        config = LlamaConfig(vocab_size=vocabulary, num_attention_heads=args.hidden // 64, **sizes)
        LlamaForCausalLM(config).save_pretrained(Path(work, "critic"))
        actors = SimpleNamespace(cut=critic_actor(TurnCritic), host=critic_actor(stock_critic()))
    for actor in vars(actors).values():
        actor.critic.float()
        actor.critic.config._attn_implementation = "sdpa"
    here = {
        "parameters": sum(p.numel() for n, p in actors.cut.critic.named_parameters() if "embed" not in n),
        "layers": args.layers,
        "hidden": args.hidden,
    }
    lines = [
        f"Llama of {here['parameters'] / 1e6:.1f} million parameters, {args.episodes} episodes, {args.rounds} rounds"
    ]
    print(lines[0], flush=True)
    for name, mix in MIXES.items():
        played = episodes(mix, args.episodes, seed=0)
        batch = [experience(ranges, vocabulary) for ranges in played]
        rows: dict[str, list[tuple[float, float]]] = {"cut": [], "host": []}
        for _ in range(args.rounds):
            for which, times in rows.items():
                times.append(step_s(getattr(actors, which), batch))
        lengths = [(ranges[-1][0] + 1, ranges[-1][1]) for ranges in played]  # tokens read: ours, the host's
        tokens, here_flops, llama_flops = (
            1 - sum(work(ours) for ours, _ in lengths) / sum(work(theirs) for _, theirs in lengths)
            for work in (float, lambda t: flops(t, **here), lambda t: flops(t, **LLAMA_8B))
        )
        wall, cpu = (1 - median(r[i] for r in rows["cut"]) / median(r[i] for r in rows["host"]) for i in (0, 1))
        lines.append(
            f"{name}: {wall:.0%} less time ({cpu:.0%} CPU; host {median(r[0] for r in rows['host']):.1f} s), "
            f"{tokens:.0%} fewer tokens, {here_flops:.0%} fewer FLOPs here, {llama_flops:.0%} for Llama 3.1 8B"
        )
        print(lines[-1], flush=True)
    command = f"`python benchmarks/bench_critic.py --episodes {args.episodes} --rounds {args.rounds}`"
    RESULTS.write_text(f"{command}, float32, {machine()}\n\n" + "".join(f"- {line}\n" for line in lines))


if __name__ == "__main__":
    main()
