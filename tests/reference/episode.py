"""One episode, docs/paper.md sections 2 and 3. Lists over turns run from the first turn to the last one, T of them."""


def turns(mask: list[int]) -> list[list[int]]:
    """The indices of each turn: maximal runs of ones."""
    found: list[list[int]] = []
    before = 0
    for j, now in enumerate(mask):
        if now and not before:
            found.append([])
        if now:
            found[-1].append(j)
        before = now
    return found


def kl(log_ratio: list[float], mask: list[int], estimator: str) -> list[float]:
    """KL_t = (1/n_t) sum_i [log pi - log rho], or the sum alone."""
    result = []
    for turn in turns(mask):
        total = 0.0
        for j in turn:
            total += log_ratio[j]
        result.append(total / len(turn) if estimator == "geometric_mean" else total)
    return result


def rewards_with_kl(r: list[float], kl_t: list[float], beta: float) -> list[float]:
    """R_t = r_t - beta * KL_t"""
    return [r_t - beta * k for r_t, k in zip(r, kl_t, strict=True)]


def returns(R: list[float], gamma: float) -> list[float]:
    """G_t = sum_{i>=t} gamma^(i-t) R_i"""
    return [sum(gamma ** (i - t) * R[i] for i in range(t, len(R))) for t in range(len(R))]


def advantages(R: list[float], V: list[float], gamma: float, lambd: float) -> list[float]:
    """A_t = sum_{i>=t} (gamma lambda)^(i-t) delta_i,   delta_i = R_i + gamma V_i+1 - V_i,   V_T+1 = 0"""
    following = (V + [0.0])[1:]
    delta = [R_i + gamma * V_next - V_i for R_i, V_i, V_next in zip(R, V, following, strict=True)]
    return [sum((gamma * lambd) ** (i - t) * delta[i] for i in range(t, len(R))) for t in range(len(R))]


def targets(R: list[float], V: list[float], gamma: float, lambd: float) -> list[float]:
    """The value target A_t + V(c_t); at gamma = lambda = 1 this is G_t."""
    return [A_t + V_t for A_t, V_t in zip(advantages(R, V, gamma, lambd), V, strict=True)]


def token_advantages(
    R: list[float], values: list[float], mask: list[int], gamma: float, lambd: float
) -> tuple[list[float], list[float]]:
    """One value per token: every token of turn t has the target of turn t, and its own value is subtracted."""
    found = turns(mask)
    target = targets(R, [values[turn[0]] for turn in found], gamma, lambd)
    A, goal = [0.0] * len(mask), [0.0] * len(mask)
    for t, turn in enumerate(found):
        for j in turn:
            goal[j] = target[t]
            A[j] = target[t] - values[j]
    return A, goal
