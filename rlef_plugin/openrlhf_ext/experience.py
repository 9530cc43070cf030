"""From a rollout batch to advantages: the host's experience maker with the paper's arithmetic per turn.

The host computes the log-probabilities and values (B, A) of the batch; here they become one KL, return and advantage
a turn (`rlef_plugin/rl/`, docs/paper.md sections 2 and 3) and go back to the token grid, where the host's losses read:

    advantages  (B, A)  A_t on every token of turn t, 0 elsewhere
    returns     (B, A)  the value target of turn t, likewise; the turn-level critic's mask picks the first of them

With any other `--algo.advantage.estimator` the host's own code runs, with the episode's reward as its one reward.
"""

import math
from pathlib import Path
from typing import Any

import torch
from openrlhf.trainer.ppo_utils import experience_maker
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

from rlef_plugin.config import RlefConfig
from rlef_plugin.openrlhf_ext.rollouts import TURN_LISTS
from rlef_plugin.rl import advantages as adv
from rlef_plugin.rl.diagnostics import Batch, turn_diagnostics
from rlef_plugin.rl.kl import turn_kl
from rlef_plugin.rl.turns import Turns, at_turn_starts, find_turns, spread, turn_mask
from rlef_plugin.runs.timeline import Clock

DUMPED = ("sequences", "attention_mask", "action_mask", "action_log_probs", "rollout_log_probs", "values", "returns")


class TurnExperienceMaker(RemoteExperienceMaker):  # type: ignore[misc]
    global_step = 0  # of the step being made; set by the trainer, read for the dump's file name

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.config = RlefConfig.from_environment()
        self.clock = Clock()
        self.turn_metrics: dict[str, float] = {}  # of the last batch
        if self.config.advantage_estimator == "turn":
            experience_maker.compute_approx_kl = token_log_ratio

    def make_experience(self, samples_list: list[Any]) -> list[Any]:
        """Host override: the forward passes of all models."""
        with self.clock.part("forward"):
            return super().make_experience(samples_list)

    @torch.no_grad()
    def compute_advantages_and_returns(self, experiences: list[Any]) -> list[Any]:
        """Host override (`experience_maker.py`): fill `advantages` and `returns` (B, A) of each micro-batch."""
        with self.clock.part("advantages"):
            turns = [self._turns(experience) for experience in experiences]
            kls = [self._log_ratio(experience) for experience in experiences]  # the host drops them
            turn_lists = [{key: experience.info.pop(key) for key in TURN_LISTS} for experience in experiences]
            if self.config.advantage_estimator == "turn":
                self._fill(experiences, turns, turn_lists, kls)
            else:
                super().compute_advantages_and_returns(experiences)
            batches = [
                Batch(found, kl, one.advantages, one.returns, one.values)
                for one, found, kl in zip(experiences, turns, kls, strict=True)
            ]
            self.turn_metrics = turn_diagnostics(batches, self.config.episode.turn_limit)
        return experiences

    def _fill(
        self,
        experiences: list[Any],
        turns: list[Turns],
        turn_lists: list[dict[str, torch.Tensor]],
        log_ratios: list[torch.Tensor],
    ) -> None:
        """The paper's arithmetic over a rollout batch, micro-batch by micro-batch."""
        per_token = self.config.value == "token"
        advantages = []  # (B, N), or (B, A) with a value a token
        for experience, found, lists, log_ratio in zip(experiences, turns, turn_lists, log_ratios, strict=True):
            rewards = self._rewards(experience, found, lists["turn_rewards"], log_ratio)
            unwhitened, experience.returns = self._advantages(experience, found, rewards)
            advantages.append(unwhitened)
        for experience, found, whitened in zip(
            experiences, turns, adv.whiten(advantages, turns, self.config.whiten, per_token), strict=True
        ):
            experience.advantages = whitened if per_token else spread(whitened, found)
        self._dump(experiences, turn_lists)
        for experience in experiences:
            experience.kl = None  # as the host does: not needed past this point

    def _turns(self, experience: Any) -> Turns:
        """The turns of a micro-batch, which must be those that were played: else rewards would slip to other turns."""
        found = find_turns(experience.action_mask, self.config.episode.turn_limit)
        seen, played = turn_mask(found).sum(1), experience.info["turns"]
        if not torch.equal(seen.float(), played.float()):
            raise RuntimeError(
                f"the action masks show {seen.tolist()} turns, but {played.int().tolist()} were played (problems "
                f"{experience.labels}): a response without a token, or two without feedback between them"
            )
        return found

    def _log_ratio(self, experience: Any) -> torch.Tensor:
        """(B, A) log pi - log rho for the metrics: where the KL is in no reward, the host's own is 0."""
        if self.initial_model_group is None:
            return torch.full_like(experience.kl, math.nan)
        if self.args.algo.kl.use_loss:
            return token_log_ratio(experience.action_log_probs, experience.base_action_log_probs)
        return experience.kl

    def _rewards(
        self, experience: Any, turns: Turns, turn_rewards: torch.Tensor, log_ratio: torch.Tensor
    ) -> torch.Tensor:
        """(B, N) R_t = r_t - beta * KL_t."""
        kl = turn_kl(experience.kl, turns, self.config.kl)
        rewards = adv.turn_rewards_with_kl(turn_rewards, kl, self.kl_ctl.value)
        experience.info["return"] = rewards.sum(1)
        measured = kl if log_ratio is experience.kl else turn_kl(log_ratio, turns, self.config.kl)
        experience.info["turn_kl"] = measured.sum(1) / turn_mask(turns).sum(1).clamp(min=1)
        return rewards

    def _advantages(self, experience: Any, turns: Turns, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(advantages before whitening, (B, N) or with a value a token (B, A); value targets (B, A))."""
        gamma, lambd = self.args.algo.advantage.gamma, self.args.algo.advantage.lambd
        if self.config.value == "token":
            return adv.token_advantages(rewards, experience.values, turns, gamma, lambd)
        values = at_turn_starts(experience.values, turns)
        advantages, returns = adv.turn_advantages(rewards, values, turn_mask(turns), gamma, lambd)
        return advantages, spread(returns, turns)

    def _dump(self, experiences: list[Any], turn_lists: list[dict[str, torch.Tensor]]) -> None:
        """Keep the batch's tensors, micro-batch by micro-batch, so that the learner can be checked by hand."""
        every = self.config.dump_batches_every
        if not every or self.global_step % every:
            return
        folder = Path(self.config.run_dir) / "batches"
        folder.mkdir(parents=True, exist_ok=True)
        batch = [
            {**{key: getattr(e, key) for key in (*DUMPED, "kl", "advantages")}, **lists, "labels": e.labels}
            for e, lists in zip(experiences, turn_lists, strict=True)
        ]
        torch.save({"beta": self.kl_ctl.value, "batch": batch}, folder / f"step_{self.global_step:06d}.pt")


def token_log_ratio(log_probs: torch.Tensor, log_probs_base: torch.Tensor, **_: Any) -> torch.Tensor:
    """(B, A) log pi - log rho; in place of the host's `compute_approx_kl`, which clamps each token to +-10."""
    return log_probs.float() - log_probs_base.float()
