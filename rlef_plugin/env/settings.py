"""What of an episode can be chosen: the fields are keys of a recipe's `rlef:` block (docs/settings.md has them all).

Checked here: each value by itself. Which values fit together in a training run is the launcher's to say. Beside them
stands what no one chooses: the room that another turn must have, the same in training and in every kind of evaluation.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from rlef_plugin.errors import UsageError

ROOM_TOKENS = 256  # for another response; in much less there is no program, and the turn would cost the episode
Feedback = Literal["public", "none", "random", "private", "verdict_only"]
Reward = Literal["binary", "fraction"]


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """What of an episode can be chosen. The names are those of the recipe's `rlef:` block."""

    turn_limit: int = 3  # responses of an episode, at most
    feedback_tokens: int = 512  # budget of one feedback message
    invalid_code_reward: float = -0.2  # reward of a response without valid code that is not the last
    early_stop: bool = True  # end as soon as all public tests pass; never without feedback
    time_limit_s: float = 10.0  # CPU time a test, where the problem sets none
    memory_limit_mb: int = 1024  # memory a test, where the problem sets none
    prompts: str = ""  # folder with files that replace those of rlef_plugin/env/prompts
    feedback: Feedback = "public"  # what a response is answered with (docs/method.md)
    feedback_seed: int = 0  # seed of the draws of feedback "random"
    reward: Reward = "binary"  # of the last response: all tests pass or not, or the fraction that does
    few_shot: str = ""  # file of mined dialogs to show before the problem (docs/evaluation.md)

    def __post_init__(self) -> None:
        for key in ("turn_limit", "feedback_tokens", "time_limit_s", "memory_limit_mb"):
            if not getattr(self, key) > 0:
                raise UsageError(f"rlef.{key} is {getattr(self, key)!r}, but it must be greater than 0.")
        if not math.isfinite(self.invalid_code_reward):
            raise UsageError(
                f"rlef.invalid_code_reward is {self.invalid_code_reward}, but it must be a finite number."
            )
        for key, kind in (("feedback", Feedback), ("reward", Reward)):
            if getattr(self, key) not in get_args(kind):
                raise UsageError(f"rlef.{key} is {getattr(self, key)!r}, but must be one of {_names(kind)}.")

    @property
    def stops_early(self) -> bool:
        """Without feedback a response is never told from another, so the episode has its full number of turns."""
        return self.early_stop and self.feedback != "none"


def room_for_response(max_new_tokens: int | None) -> int:
    """Tokens that must be left for a response, so that its turn is begun; None: a response may have any number."""
    return min(max_new_tokens or ROOM_TOKENS, ROOM_TOKENS)


def _names(kind: object) -> str:
    return ", ".join(get_args(kind))
