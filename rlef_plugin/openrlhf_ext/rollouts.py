"""What a training step says about its episodes: scalars for the trackers, and dialogs kept as JSONL.

Read from the host's rollout samples (one `Experience` of batch size 1 an episode), whose `info` holds the executor's
logs. Not kept: tests. A dialog holds what the model saw and wrote, and the model never sees a private test.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rlef_plugin.config import RlefConfig
from rlef_plugin.judge import Verdict

TURN_LISTS = (
    "turn_rewards",
    "turn_verdicts",
)  # (1, turn_limit) in `info`; no scalars, so kept from the host's logs


def episode_metrics(samples: list[Any]) -> dict[str, float]:
    """Solve rate by turn, verdict shares by turn, false hope and friends, over the episodes of one step."""
    solved = torch.cat([sample.info["solved"] for sample in samples])  # (episodes,)
    public = torch.cat([sample.info["public_passed"] for sample in samples])
    turns = torch.cat([sample.info["turns"] for sample in samples])
    verdicts = torch.cat([sample.info["turn_verdicts"] for sample in samples])  # (episodes, turn_limit), -1 unplayed
    metrics = {
        "episode/solve_rate": solved.mean().item(),
        "episode/false_hope": (public * (1 - solved)).mean().item(),
        "episode/turns": turns.mean().item(),
    }
    for turn in range(verdicts.shape[1]):
        metrics[f"episode/solve_rate_turn{turn + 1}"] = (solved * (turns <= turn + 1)).mean().item()
        played = verdicts[:, turn][verdicts[:, turn] >= 0]
        for verdict in Verdict:
            share = (played == verdict).float().mean().item() if len(played) else 0.0
            metrics[f"verdict_turn{turn + 1}/{verdict.name.lower()}"] = share
    return metrics


def solve_rates(eval_dataloader: Any, samples: list[Any], n_samples_per_prompt: int) -> dict[str, float]:
    """In place of the host's `compute_eval_metrics`, which averages rewards: pass rates from `scores` (1 = solved).

    Keys are the host's: eval_<datasource>_pass1, eval_<datasource>_pass<n>. The host's samples arrive prompt by
    prompt, `n_samples_per_prompt` in a row.
    """
    if not samples:
        return {}
    source_of = {p: s for sources, prompts, _, _ in eval_dataloader for s, p in zip(sources, prompts, strict=True)}
    groups: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(samples), n_samples_per_prompt):
        group = samples[start : start + n_samples_per_prompt]
        solved = torch.cat([sample.scores for sample in group]).float()
        groups.setdefault(source_of.get(group[0].prompts[0], "unknown"), []).append(solved)
    logs = {"eval_num_samples": float(len(samples))}
    for source, solved_of in groups.items():
        logs[f"eval_{source}_pass1"] = sum(s.mean().item() for s in solved_of) / len(solved_of)
        logs[f"eval_{source}_pass{n_samples_per_prompt}"] = sum(s.max().item() for s in solved_of) / len(solved_of)
    return {**logs, **{f"eval_{key}": value for key, value in episode_metrics(samples).items()}}


class RunLog:
    """Writes run_dir/metrics.jsonl, one step a line, and every `rollouts_every` steps the episodes of the step, one a
    line, to run_dir/rollouts/step_000010.jsonl."""

    def __init__(self, config: RlefConfig) -> None:
        self.every = config.rollouts_every
        self.run_dir = Path(config.run_dir)
        self.folder = self.run_dir / "rollouts"

    def write_metrics(self, step: int, status: dict[str, Any]) -> None:
        scalars = {key: value for key, value in status.items() if isinstance(value, int | float)}
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with (self.run_dir / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "unix_time_s": time.time(), **scalars}) + "\n")

    def write_episodes(self, samples: list[Any], step: int, tokenizer: Any) -> None:
        if not self.every or step % self.every:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".step_{step:06d}.jsonl"
        unfinished.write_text("".join(json.dumps(record(sample, tokenizer)) + "\n" for sample in samples))
        os.replace(unfinished, self.folder / f"step_{step:06d}.jsonl")


def record(sample: Any, tokenizer: Any) -> dict[str, Any]:
    """One episode as plain values: messages in order, and one entry a turn for verdict and reward."""
    turns = int(sample.info["turns"].item())
    return {
        "problem": sample.labels[0],
        "solved": bool(sample.info["solved"].item()),
        "public_passed": bool(sample.info["public_passed"].item()),
        "verdicts": [Verdict(int(v)).name.lower() for v in sample.info["turn_verdicts"][0, :turns]],
        "rewards": sample.info["turn_rewards"][0, :turns].tolist(),
        "messages": list(_messages(sample, tokenizer)),
    }


def _messages(sample: Any, tokenizer: Any) -> Iterator[dict[str, Any]]:
    tokens = sample.sequences[0].tolist()
    trained = [0, *sample.action_mask[0].tolist()]  # mask index j speaks of token j + 1
    start = 0
    for end in range(1, len(tokens) + 1):
        if end == len(tokens) or trained[end] != trained[start]:
            text = tokenizer.decode(tokens[start:end], skip_special_tokens=False)
            yield {"role": "model" if trained[start] else "environment", "text": text, "tokens": end - start}
            start = end
