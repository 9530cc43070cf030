"""The episode that docs/method.md walks through: 3 turns of 4, 2 and 1 tokens, on A = 15 positions.

token   0 1 2 | 3 4 5 6 | 7 8 | 9 10 | 11 12 13 | 14 | 15          T = 16
        prompt  turn 1   feed  turn 2   feedback  turn 3 padding
"""

ACTION_MASK = [0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0]  # index j speaks of token j + 1
TURN_INDEX = [-1, -1, 0, 0, 0, 0, -1, -1, 1, 1, -1, -1, -1, 2, -1]
TURN_STARTS = [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]  # V(c_t) is read at tokens 2, 8 and 13

REWARDS = [-0.2, 0.0, 1.0]  # invalid code, then a public test fails, then every test passes
VALUES = [0.25, 0.5, 0.75]
LOG_RATIO = [0.4, -0.1, 0.3, 0.2, 0.5, 0.1, -0.4]  # log pi - log rho of the seven response tokens
BETA, EPSILON, ALPHA = 0.05, 0.2, 0.2

RATIO = [1.3, 1.0, 1.0, 0.7, 1.0, 1.0, 0.9]  # pi / pi_old at some update
BEHAVIOUR_RATIO = [1.0, 1.0, 1.0, 1.0, 2.0, 0.5, 1.0]  # pi_old / pi_behaviour
NEW_VALUES = [0.5, 0.6, 0.75]


def on_grid(per_token: list[float], elsewhere: float) -> list[float]:
    """One number per response token, in order, laid out on the 15 positions."""
    numbers = iter(per_token)
    return [next(numbers) if one else elsewhere for one in ACTION_MASK]


def at_starts(per_turn: list[float], elsewhere: float) -> list[float]:
    """One number per turn at its first index."""
    numbers = iter(per_turn)
    return [next(numbers) if one else elsewhere for one in TURN_STARTS]
