"""Where the turns are: from the host's action mask (B, A) to one entry per turn (B, N) and back.

A turn is a maximal run of ones; the zeros between two runs are feedback tokens. The first index of a run is the last
prompt token of that turn, because index j speaks of token j + 1: that is where the critic reads V(c_t).

`find_turns` finds the borders of the runs once; everything else works on whole runs. What stands under a zero of the
mask is cut away, never multiplied by 0, so a NaN or an infinity there cannot reach a result. `find_turns` and what
takes its answer want tensors in CPU memory, where the host keeps its experiences, and carry no gradient: two numpy
calls do the passes over tokens, at memory speed. The functions of the mask alone run on any device.

Not promised: two responses with no feedback token between them look like one turn, and a response without any token
leaves no trace. The rollout side must never produce either.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Turns:
    """The M turns of one micro-batch, row after row; build it with `find_turns`. Positions are row * A + j."""

    shape: tuple[int, int]  # (B, A) of the mask
    n_turns: int  # N, columns of a per-turn tensor
    borders: np.ndarray  # (2M + 2,) positions 0, begin, end, begin, end, ..., B * A; `end` is one past the last token
    slot: torch.Tensor  # (M,) long, row * N + t

    @property
    def first(self) -> torch.Tensor:
        """(M,) long: the position that opens each turn."""
        return torch.from_numpy(self.borders[1:-1:2])


def find_turns(action_mask: torch.Tensor, n_turns: int | None = None) -> Turns:
    """Finds the turns of a (B, A) mask. `n_turns` is N, by default the most turns any row has, at least 1."""
    batch, width = action_mask.shape
    # Each row gets a leading zero, so that a run never crosses into the next row: B rows of A + 1, and one zero more.
    fenced = np.zeros(batch * (width + 1) + 1, dtype=bool)
    fenced[:-1].reshape(batch, width + 1)[:, 1:] = action_mask.bool().numpy()
    border = np.flatnonzero(fenced[1:] != fenced[:-1])  # begin, end, begin, end, ... as row * (A + 1) + j
    row = torch.from_numpy(border[::2] // (width + 1))
    per_row = torch.bincount(row, minlength=batch)
    most = int(per_row.max()) if batch else 0
    n_turns = max(most, 1) if n_turns is None else n_turns
    if most > n_turns:
        raise ValueError(f"an episode has {most} turns but the turn limit is {n_turns}; raise rlef.turn_limit")
    turn = torch.arange(len(row)) - (per_row.cumsum(0) - per_row)[row]
    borders = np.concatenate([[0], border - border // (width + 1), [batch * width]])
    return Turns((batch, width), n_turns, borders, row * n_turns + turn)


def turn_starts(action_mask: torch.Tensor) -> torch.Tensor:
    """(B, A) bool: true at the first index of each turn, where the critic reads V(c_t)."""
    mask = action_mask.bool()
    starts = mask.clone()
    starts[:, 1:] &= ~mask[:, :-1]
    return starts


def turn_index(action_mask: torch.Tensor) -> torch.Tensor:
    """(B, A) long: the number of the turn, from 0, on response tokens; -1 elsewhere."""
    return torch.where(action_mask.bool(), turn_starts(action_mask).cumsum(1) - 1, -1)


def count_turns(action_mask: torch.Tensor) -> torch.Tensor:
    """(B,) long: turns of each row."""
    return turn_starts(action_mask).sum(1)


def token_counts(turns: Turns) -> torch.Tensor:
    """(B, N) long: n_t, the response tokens of each turn; 0 where a row has no such turn."""
    return _per_turn(torch.from_numpy(np.diff(turns.borders)[1::2]), turns)


def turn_mask(turns: Turns) -> torch.Tensor:
    """(B, N) bool: true where the row has that turn. Each row is a run of ones followed by zeros."""
    return _per_turn(torch.ones_like(turns.slot, dtype=torch.bool), turns)


def sum_per_turn(x: torch.Tensor, turns: Turns) -> torch.Tensor:
    """(B, A) -> (B, N) float32: the sum over each turn's tokens, added up pairwise (as numpy does)."""
    values = _flat(x, turns).float().numpy()[: turns.borders[-2]]
    with np.errstate(invalid="ignore", over="ignore"):  # sums of what is under the zeros, thrown away by [::2]
        sums = np.add.reduceat(values, turns.borders[1:-2])[::2]
    return _per_turn(torch.from_numpy(sums), turns)


def at_turn_starts(x: torch.Tensor, turns: Turns) -> torch.Tensor:
    """(B, A) -> (B, N) float32: the entry at the first index of each turn, 0 where a row has no such turn."""
    return _per_turn(_flat(x, turns)[turns.first].float(), turns)


def spread(per_turn: torch.Tensor, turns: Turns) -> torch.Tensor:
    """(B, N) -> (B, A) float32: each turn's number on all its tokens, 0 elsewhere."""
    runs = np.zeros(len(turns.borders) - 1, dtype=np.float32)
    runs[1::2] = per_turn.flatten()[turns.slot].float().numpy()
    return torch.from_numpy(np.repeat(runs, np.diff(turns.borders))).view(turns.shape)


def _flat(x: torch.Tensor, turns: Turns) -> torch.Tensor:
    """(B, A) -> (B * A,), a view where x allows one."""
    if tuple(x.shape) != turns.shape:
        raise ValueError(f"expected a tensor of the action mask's shape {turns.shape}, got {tuple(x.shape)}")
    return x.detach().flatten()


def _per_turn(numbers: torch.Tensor, turns: Turns) -> torch.Tensor:
    """(M,) -> (B, N) of the same type, 0 where a row has no such turn."""
    out = torch.zeros(turns.shape[0] * turns.n_turns, dtype=numbers.dtype)
    out[turns.slot] = numbers
    return out.view(-1, turns.n_turns)
