"""What a step and an evaluation report of the host's samples; reads `sample.record`, which samples.py put there."""

from typing import Any

import torch

from rlef_plugin.runs.episodes import episode_metrics

TURN_LISTS = (
    "turn_rewards",
    "turn_verdicts",
)  # (1, turn_limit) in `info`; no scalars, so kept from the host's logs


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
    return {**logs, **{f"eval_{key}": value for key, value in step_metrics(samples).items()}}


def step_metrics(samples: list[Any]) -> dict[str, float]:
    """`episode_metrics` of the samples' records; every sample's lists are as long as the turn limit."""
    return episode_metrics([sample.record for sample in samples], samples[0].info["turn_verdicts"].shape[1])
