"""The host's trainers, with our experience maker, solve rates as evaluation metrics, and episodes kept on disk.

Both trainers run in processes of their own, so the names they look up in the host's modules are replaced when this
module is imported there, which unpickling the classes below does. `PPOTrainerAsync` makes its `TrainingActor` itself,
from its own module's globals.
"""

import time
from typing import Any

import ray
from openrlhf.trainer import ppo_trainer, ppo_trainer_async

from rlef_plugin.openrlhf_ext.experience import TurnExperienceMaker
from rlef_plugin.openrlhf_ext.remote import original_class
from rlef_plugin.openrlhf_ext.rollouts import RunLog, episode_metrics, solve_rates


class EpisodeLogging:
    """A step that also reports solve rates and verdicts per turn, and keeps every Nth step's episodes."""

    args: Any
    tokenizer: Any
    experience_maker: TurnExperienceMaker

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """Host override: metrics and episodes first, then the host's step on a whole number of updates.

        The last batch of a pass over the problems may be short. The host would leave its odd micro-batches' gradients
        to be mixed into the next step, so they are left out here.
        """
        rest = len(rollout_samples) % self.args.train.batch_size
        rollout_samples = rollout_samples[: len(rollout_samples) - rest]
        if not rollout_samples:
            return {"rollout/left_out": float(rest)}, global_step
        started = time.monotonic()
        metrics = episode_metrics(rollout_samples)
        RunLog(self.experience_maker.config).write_episodes(rollout_samples, global_step + 1, self.tokenizer)
        self.experience_maker.global_step = global_step + 1
        written_s = time.monotonic() - started
        status, next_step = super().train_step(rollout_samples, global_step)  # type: ignore[misc]
        return {**status, **metrics, "rollout/left_out": float(rest), "timing/episode_logging": written_s}, next_step

    def save_logs_and_checkpoints(self, global_step: int, logs_dict: Any = None, client_states: Any = None) -> None:
        """Host override: called with a step's complete status, generation times included."""
        if logs_dict and "episode/solve_rate" in logs_dict:  # a step that was left out has none
            RunLog(self.experience_maker.config).write_metrics(global_step, logs_dict)
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)  # type: ignore[misc]


class Trainer(EpisodeLogging, original_class(ppo_trainer.PPOTrainer)):  # type: ignore[misc]
    """Synchronous training."""


class AsyncTraining(EpisodeLogging, original_class(ppo_trainer_async.TrainingActor)):  # type: ignore[misc]
    """The training side of asynchronous training."""


class AsyncTrainer(original_class(ppo_trainer_async.PPOTrainerAsync)):  # type: ignore[misc]
    """Makes the generating and the training actor; ours by the replacement below."""


class AsyncGeneration(original_class(ppo_trainer_async.GenerateSamplesActor)):  # type: ignore[misc]
    """The generating side; exists so that this module, and with it our metrics, is imported in its process."""


TrainerActor = ray.remote(Trainer)
AsyncTrainerActor = ray.remote(AsyncTrainer)

ppo_trainer.RemoteExperienceMaker = TurnExperienceMaker
ppo_trainer.compute_eval_metrics = solve_rates
ppo_trainer_async.compute_eval_metrics = solve_rates
ppo_trainer_async.TrainingActor = ray.remote(AsyncTraining)
ppo_trainer_async.GenerateSamplesActor = ray.remote(AsyncGeneration)
