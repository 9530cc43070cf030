"""Two Gloo ranks against one: the same gradient, with the host's own global normalisation and gradient accumulation.

Each rank has other episodes, of other lengths, with other numbers of turns. The host gives every micro-batch the count
of the whole optimiser step and multiplies by the number of ranks; the engine divides by the accumulation steps and
averages over ranks. With turn starts as its mask the critic's mean is over the turns of all ranks.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from reference.stock_host import stock_host

from rlef_plugin.rl.turns import turn_starts

pytestmark = pytest.mark.host
ROWS, WIDTH, ACCUMULATION = 8, 12, 2
MASK = torch.zeros(ROWS, WIDTH)
for b in range(ROWS):  # row b: a turn of b + 1 tokens, then feedback, then one-token turns while there is room
    MASK[b, 1 : b + 2] = 1
    MASK[b, b + 4 :: 2] = 1


def gradients(rows: list[int], accumulation: int) -> torch.Tensor:
    """The gradient one rank hands to the average: `rows` in `accumulation` micro-batches, loss / accumulation each."""
    generator = torch.Generator().manual_seed(0)
    x, old, behaviour, A = (torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(4))
    actor, critic = (torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True) for _ in range(2))
    host = stock_host()
    capped = {"is_correction_level": "token", "is_correction_mode": "clip", "is_correction_threshold": [0, 1]}
    policy_loss, value_loss = host.PolicyLoss(**capped), host.ValueLoss(0.2)
    parts = [rows[i::accumulation] for i in range(accumulation)]
    for part, norm in host.global_norm(parts, SimpleNamespace(), accumulation, lambda part: MASK[part]):
        log_pi = actor[0] * x[part] + actor[1]
        loss = policy_loss(log_pi, old[part], A[part], MASK[part], behaviour[part], **norm)[0]
        (loss / accumulation).backward()
    for part, norm in host.global_norm(parts, SimpleNamespace(), accumulation, lambda part: turn_starts(MASK[part])):
        values = critic[0] * x[part] + critic[1]
        loss = value_loss(values, old[part], A[part], turn_starts(MASK[part]), **norm)
        (loss / accumulation).backward()
    return torch.cat([actor.grad, critic.grad])


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    gradient = gradients([0, 1, 2, 5] if rank == 0 else [3, 4, 6, 7], ACCUMULATION)
    dist.all_reduce(gradient)
    torch.save(gradient / 2, Path(folder, f"rank{rank}.pt"))
    dist.destroy_process_group()


def test_two_ranks_and_accumulation_equal_one_batch(tmp_path: Path):
    torch.multiprocessing.spawn(rank_main, (str(tmp_path),), nprocs=2)
    whole = gradients(list(range(ROWS)), 1)
    assert whole.abs().min() > 1e-4
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"rank{rank}.pt"), whole, rtol=1e-6, atol=1e-9)
