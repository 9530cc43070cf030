"""The two losses of docs/paper.md section 3 over a batch of episodes; arguments are lists of equally long rows."""

from math import exp

Rows = list[list[float]]


def policy_loss(
    log_pi: Rows, log_old: Rows, log_behaviour: Rows, A: Rows, mask: list[list[int]], epsilon: float = 0.2
) -> float:
    """- mean over response tokens of  min(pi_old / pi_behaviour, 1) * min(ratio A, clip(ratio, 1-eps, 1+eps) A)"""
    total, count = 0.0, 0
    for row in range(len(mask)):
        for j in range(len(mask[row])):
            if mask[row][j]:
                ratio = exp(log_pi[row][j] - log_old[row][j])
                clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
                weight = min(exp(log_old[row][j] - log_behaviour[row][j]), 1.0)
                total -= weight * min(ratio * A[row][j], clipped * A[row][j])
                count += 1
    return total / count


def value_loss(V: Rows, V_old: Rows, G: Rows, starts: list[list[int]], alpha: float = 0.2) -> float:
    """mean over turns of  0.5 * max((V - G)^2, (clip(V, V_old - alpha, V_old + alpha) - G)^2)"""
    total, count = 0.0, 0
    for row in range(len(starts)):
        for j in range(len(starts[row])):
            if starts[row][j]:
                clipped = min(max(V[row][j], V_old[row][j] - alpha), V_old[row][j] + alpha)
                total += 0.5 * max((V[row][j] - G[row][j]) ** 2, (clipped - G[row][j]) ** 2)
                count += 1
    return total / count
