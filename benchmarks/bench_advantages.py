"""KL and advantages per turn against the host's GAE loop: python benchmarks/bench_advantages.py [--batch 256]

Ours: mask -> turns -> KL -> rewards -> advantages and targets -> whitening, spread back to tokens. The host's: only
`get_advantages_and_returns`, without its KL and whitening. One batch, one process; five calls of ours, one of the
host's, and again, so that a busy machine slows both; the result is the ratio of the medians.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference.stock_host import stock_host  # noqa: E402

from rlef_plugin.rl.advantages import turn_advantages, turn_rewards_with_kl, whiten  # noqa: E402
from rlef_plugin.rl.kl import turn_kl  # noqa: E402
from rlef_plugin.rl.turns import at_turn_starts, find_turns, spread, turn_mask  # noqa: E402


def make_mask(batch: int, width: int, turns: int) -> torch.Tensor:
    """(B, A): a prompt of 500 tokens, then `turns` responses and 300-token feedback, 30 to 100% of the room left."""
    generator = torch.Generator().manual_seed(0)
    room = (width - 500) // turns - 300
    mask = torch.zeros(batch, width, dtype=torch.bool)
    for row in mask:
        position = 500
        for _ in range(turns):
            length = int(room * (0.3 + 0.7 * torch.rand(1, generator=generator)))
            row[position : position + length] = True
            position += length + 300
    return mask


def ours(mask: torch.Tensor, log_ratio: torch.Tensor, values: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    turns = find_turns(mask, rewards.shape[1])
    R = turn_rewards_with_kl(rewards, turn_kl(log_ratio, turns), 0.05)
    advantages, targets = turn_advantages(R, at_turn_starts(values, turns), turn_mask(turns), 1.0, 1.0)
    spread(targets, turns)
    return spread(whiten([advantages], [turns], "turn")[0], turns)


def seconds(function: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = perf_counter(), process_time()
    function(*arguments)
    return perf_counter() - wall, process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    shape = (args.batch, args.tokens - 1)
    mask, log_ratio, values = make_mask(*shape, args.turns), torch.randn(shape), torch.randn(shape)
    rewards, token_rewards = torch.randn(args.batch, args.turns), torch.randn(shape)
    gae = stock_host().gae
    mine, hosts = [], []
    for _ in range(args.repeats):
        mine += [seconds(ours, mask, log_ratio, values, rewards) for _ in range(5)]
        hosts += [seconds(gae, values, token_rewards, mask, 1.0, 0.95)]
    share = mask.float().mean().item()
    print(f"B={args.batch} T={args.tokens} turns={args.turns}, {share:.0%} response tokens, {args.repeats} rounds")
    for name, column in (("wall", 0), ("CPU", 1)):
        a, b = (median(row[column] for row in rows) * 1e3 for rows in (mine, hosts))
        print(f"{name}: ours {a:.1f} ms, host's GAE loop {b:.1f} ms, ratio {b / a:.0f}x")


if __name__ == "__main__":
    main()
