"""The reward of one response: a number from three facts, nothing else.

    +1     the episode ends with it and every test passes, public and private
    -1     the episode ends with it and any test fails, or it holds no valid code
    -0.2   the episode goes on and it holds no valid code
     0     the episode goes on otherwise

The KL penalty is not here: it needs the policy and is added on the learner's side.
"""


def turn_reward(*, final: bool, valid_code: bool, solved: bool, invalid_code_reward: float = -0.2) -> float:
    """`solved` is only looked at in the final response: a program that passes all public tests may still go on."""
    if final:
        return 1.0 if solved and valid_code else -1.0
    return 0.0 if valid_code else invalid_code_reward
