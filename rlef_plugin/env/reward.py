"""The reward of one response: a number from a few facts, nothing else.

    +1     the episode ends with it and every test passes, public and private
    -1     the episode ends with it and any test fails, or it holds no valid code
    -0.2   the episode goes on and it holds no valid code
     0     the episode goes on otherwise

With `rlef.reward: fraction` the end is worth 2 p - 1 instead, p being the fraction of all tests that pass: -1 for none
of them or no valid code, 0 for half, +1 for all, as before. Every test is run for it: judging takes longer.

The KL penalty is not here: it needs the policy and is added on the learner's side.
"""


def turn_reward(
    *,
    final: bool,
    valid_code: bool,
    solved: bool,
    invalid_code_reward: float = -0.2,
    passed: float | None = None,
) -> float:
    """`solved` is only looked at in the final response: a program that passes all public tests may still go on.

    `passed`: the fraction of tests that pass; None for the binary reward.
    """
    if not final:
        return 0.0 if valid_code else invalid_code_reward
    if not valid_code:
        return -1.0
    return 1.0 if solved else 2 * (passed or 0.0) - 1
