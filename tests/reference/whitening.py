"""Whitening over a rollout batch: a list of episodes, each a list of turns."""

from math import sqrt

MIN_VARIANCE = 1e-8


def whiten(advantages: list[list[float]], lengths: list[list[int]], mode: str) -> list[list[float]]:
    """One advantage per turn; `turn` counts each once, `token` once for each of its n_t tokens."""
    if mode == "none":
        return advantages
    sample = []
    for episode, n in zip(advantages, lengths, strict=True):
        for A_t, n_t in zip(episode, n, strict=True):
            sample += [A_t] * (n_t if mode == "token" else 1)
    if not sample:
        return advantages
    mean = sum(sample) / len(sample)
    variance = sum((A - mean) ** 2 for A in sample) / len(sample)
    return [[(A_t - mean) / sqrt(max(variance, MIN_VARIANCE)) for A_t in episode] for episode in advantages]


def whiten_tokens(advantages: list[list[list[float]]], mode: str) -> list[list[list[float]]]:
    """One advantage per token, as episode, turn, token; `turn` gives each token of a turn the weight 1 / n_t."""
    tokens = [(A, 1.0 if mode == "token" else 1.0 / len(turn)) for ep in advantages for turn in ep for A in turn]
    if mode == "none" or not tokens:
        return advantages
    total = sum(weight for _, weight in tokens)
    mean = sum(weight * A for A, weight in tokens) / total
    variance = sum(weight * (A - mean) ** 2 for A, weight in tokens) / total
    return [[[(A - mean) / sqrt(max(variance, MIN_VARIANCE)) for A in turn] for turn in ep] for ep in advantages]
