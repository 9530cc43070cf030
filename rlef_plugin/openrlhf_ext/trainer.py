"""The host's trainers, with our experience maker, solve rates as evaluation metrics, episodes kept on disk, and the
time of each step accounted for.

Both trainers run in processes of their own, so the names they look up in the host's modules are replaced when this
module is imported there, which unpickling the classes below does. `PPOTrainerAsync` makes its `TrainingActor` itself,
from its own module's globals.
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

import ray
import torch
from openrlhf.trainer import ppo_trainer, ppo_trainer_async

from rlef_plugin.config import RlefConfig
from rlef_plugin.limits import trained_together
from rlef_plugin.openrlhf_ext.experience import TurnExperienceMaker
from rlef_plugin.openrlhf_ext.group_clock import GroupClock
from rlef_plugin.openrlhf_ext.remote import original_class
from rlef_plugin.openrlhf_ext.rollouts import solve_rates, step_metrics
from rlef_plugin.openrlhf_ext.samples import RecordedSamples
from rlef_plugin.runs.files import EVALUATIONS, RunFolder

log = logging.getLogger("rlef")


def run_folder(config: RlefConfig) -> RunFolder:
    return RunFolder(Path(config.run_dir), config.rollouts_every)


def planned_steps(prompts: int, args: Any, estimator: str) -> int:
    """Steps of a whole run; fewer are made where dynamic filtering draws more prompts for a step."""
    full, rest = divmod(prompts, args.rollout.batch_size)
    samples = args.rollout.n_samples_per_prompt
    rest_trains = rest * samples >= trained_together(args.train.batch_size, samples, estimator)
    return (full + rest_trains) * args.train.num_episodes


def write_plan(config: RlefConfig, prompts: int, args: Any) -> None:
    """What `rlef watch` counts against."""
    steps = planned_steps(prompts, args, config.advantage_estimator)
    run_folder(config).write_plan(steps, config.episode.turn_limit)


prepare_stock_datasets = ppo_trainer.prepare_datasets


def prepare_datasets(strategy: Any, tokenizer: Any) -> Any:
    """The host's data loaders, in an order that follows from `train.seed`: it never seeds this process itself."""
    torch.manual_seed(strategy.args.train.seed)
    return prepare_stock_datasets(strategy, tokenizer)


def to_go_on_from(client_states: dict[str, Any] | None) -> dict[str, Any]:
    """What a checkpoint keeps of the data; a pass that is over counts as over, which the host would play again."""
    states = dict(client_states or {})
    if states.get("data_loader_state_dict", {}).get("_iterator_finished"):
        states["episode"] += 1
    return states


class EpisodeLogging:
    """A step that also reports its episodes, its turns and its time, and keeps every Nth step's episodes."""

    args: Any
    experience_maker: TurnExperienceMaker
    actor_model_group: Any
    critic_model_group: Any
    reference_model_group: Any
    left_out = False  # whether nothing was left of the last step's rollouts, so that it counts as no step
    before_batch = "rollout"  # what the trainer's process does until a batch is there: its part of the step
    before_sync = "weight_sync"  # and until the policy can send its weights
    groups: GroupClock | None = None  # from `fit` on

    def fit(self, global_step: int = 0) -> None:
        """Host override: the clocks start with the run."""
        self.groups = groups = GroupClock()
        groups.watch(self.actor_model_group, "policy")
        groups.watch(self.reference_model_group, "reference")
        groups.watch(self.critic_model_group, "critic")
        self.experience_maker.clock.lap(0.0)
        super().fit(global_step)  # type: ignore[misc]

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """Host override: metrics and episodes first, then the host's step on a whole number of updates.

        The last batch of a pass over the problems may be short. The host would leave its odd micro-batches' gradients
        to be mixed into the next step, so they are left out here.
        """
        clock = self.experience_maker.clock
        clock.rest_was(self.before_batch)
        estimator = self.experience_maker.config.advantage_estimator
        whole = trained_together(self.args.train.batch_size, self.args.rollout.n_samples_per_prompt, estimator)
        rest = len(rollout_samples) % whole
        rollout_samples = rollout_samples[: len(rollout_samples) - rest]
        self.left_out = not rollout_samples
        if self.left_out:
            return {"rollout/left_out": float(rest)}, global_step
        with clock.part("episodes"):
            rollout = rollout_samples[0].rollout
            metrics = step_metrics(rollout_samples) | rollout.metrics()
            if alarm := rollout.alarm():
                log.warning(alarm)
            folder = run_folder(self.experience_maker.config)
            if folder.keeps(global_step + 1):
                folder.write_episodes(global_step + 1, (sample.record for sample in rollout_samples))
        self.experience_maker.global_step = global_step + 1
        status, next_step = super().train_step(rollout_samples, global_step)  # type: ignore[misc]
        turns = self.experience_maker.turn_metrics
        return {**status, **metrics, **turns, "rollout/left_out": float(rest)}, next_step

    def ppo_train(self, global_steps: int) -> dict[str, Any]:
        """Host override: while `critic.freezing_steps` lasts, the host would keep the policy's rollouts for later."""
        with self.experience_maker.clock.part("update"):
            status = super().ppo_train(global_steps)  # type: ignore[misc]
            if global_steps <= self.args.critic.freezing_steps:
                ray.get(self.actor_model_group.async_run_method(method_name="forget_rollouts"))
            return status

    def broadcast_to_vllm(self) -> None:
        """Host override: new weights to vLLM, clocked from when the policy is asked to send them.

        The asynchronous host first waits until vLLM is free: for the end of a generation phase, or of an evaluation.
        A run that goes on sends its weights before its first step, whose clock has not begun.
        """
        began = time.monotonic()
        super().broadcast_to_vllm()  # type: ignore[misc]
        if self.groups:
            sent, clock = self.groups.called.get("broadcast_to_vllm", began), self.experience_maker.clock
            clock.took(self.before_sync, sent - began)
            clock.took("weight_sync", time.monotonic() - sent)

    def save_logs_and_checkpoints(self, global_step: int, logs_dict: Any = None, client_states: Any = None) -> None:
        """Host override: called with a step's complete status, generation times included.

        Regular checkpoints get no metric, so that the host's rotation deletes the oldest. It would delete the worst
        first, and a run killed while it saves could go on from an arbitrarily old one only. The host's own sample of
        a step is not logged, episodes are in `rollouts/`: W&B's table of samples grows with every step, and is written
        and uploaded whole at each (4 s and 80 MB at step 3,000).
        """
        if self.left_out:  # all of this was done for the step before, whose number this is
            return
        clock, logs = self.experience_maker.clock, dict(logs_dict or {})
        logs.pop("generated_samples", None)
        idle_s = logs["rollout_s/other"] if self.before_batch == "rollout" else 0.0
        logs |= clock.lap(idle_s) | (self.groups.lap() if self.groups else {})
        self._latest_eval_metric_value = None
        with clock.part("saving"):
            run_folder(self.experience_maker.config).write_metrics(global_step, logs)
            super().save_logs_and_checkpoints(global_step, logs, to_go_on_from(client_states))  # type: ignore[misc]

    def save_best_checkpoint(self, eval_metrics: Any, global_step: int, client_states: Any = None) -> None:
        """Host override: called after each evaluation, also by the asynchronous trainer."""
        if not eval_metrics:
            return
        with self.experience_maker.clock.part("evaluation"):
            run_folder(self.experience_maker.config).write_metrics(global_step, eval_metrics, EVALUATIONS)
            super().save_best_checkpoint(eval_metrics, global_step, to_go_on_from(client_states))  # type: ignore[misc]


class Trainer(EpisodeLogging, original_class(ppo_trainer.PPOTrainer)):  # type: ignore[misc]
    """Synchronous training."""

    def fit(self, global_step: int = 0) -> None:
        write_plan(self.experience_maker.config, len(self.prompts_dataloader), self.args)
        super().fit(global_step)

    def evaluate(self, global_step: int, **settings: Any) -> dict[str, float]:
        if self.left_out:
            return {}
        with self.experience_maker.clock.part("evaluation"):
            return super().evaluate(global_step, **settings)


class Slots:
    """The host's leaves to generate; one that comes before a step with an evaluation after it waits for that step.

    Generation evaluates when a leave's step asks for it. The host gives the leave as the next step begins to train, so
    that what it saves as the best would be a step newer than what was evaluated. With `train.async_queue_size` above 1
    there are other leaves, and it still may be. The step that a run goes on from is not evaluated again, for that
    would be while the next one trains.
    """

    def __init__(self, slots: Any, every: float, begun: int) -> None:
        self.slots, self.every, self.begun, self.held = slots, every, begun, False

    def put(self, step: int, block: bool = True) -> None:
        self.held = (step + 1) % self.every == 0
        if not self.held:
            self.slots.put(0 if step == self.begun else step, block=block)

    def give(self, step: int) -> None:
        """After the step, or the evaluation, that the leave was held for."""
        if self.held:
            self.slots.put(step, block=True)
        self.held = False


class AsyncTraining(EpisodeLogging, original_class(ppo_trainer_async.TrainingActor)):  # type: ignore[misc]
    """The training side of asynchronous training."""

    rollout_slots: Any
    before_batch = before_sync = "waiting"

    def fit(self, global_step: int = 0) -> None:
        every = self.args.eval.steps if self.args.eval.dataset else math.inf
        self.rollout_slots = Slots(self.rollout_slots, every, begun=global_step)
        super().fit(global_step)

    def save_logs_and_checkpoints(self, global_step: int, logs_dict: Any = None, client_states: Any = None) -> None:
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)
        self.rollout_slots.give(global_step)

    def save_best_checkpoint(self, eval_metrics: Any, global_step: int, client_states: Any = None) -> None:
        """Host override: the host asked for a leave just before, at the step of `client_states`."""
        super().save_best_checkpoint(eval_metrics, global_step, client_states)
        self.rollout_slots.give(client_states["global_step"])


class AsyncTrainer(original_class(ppo_trainer_async.PPOTrainerAsync)):  # type: ignore[misc]
    """Makes the generating and the training actor; ours by the replacement below."""


class AsyncGeneration(original_class(ppo_trainer_async.GenerateSamplesActor)):  # type: ignore[misc]
    """The generating side of asynchronous training, which alone knows the data; our metrics come with this module."""

    def fit(self, episode: int, total_consumed_prompts: int) -> None:
        write_plan(RlefConfig.from_environment(), len(self.prompts_dataloader), self.args)
        super().fit(episode, total_consumed_prompts)


TrainerActor = ray.remote(Trainer)
AsyncTrainerActor = ray.remote(AsyncTrainer)

ppo_trainer.RemoteExperienceMaker = TurnExperienceMaker
ppo_trainer.prepare_datasets = prepare_datasets
ppo_trainer_async.prepare_datasets = prepare_datasets
ppo_trainer.SamplesGenerator = RecordedSamples
ppo_trainer_async.SamplesGenerator = RecordedSamples
ppo_trainer.compute_eval_metrics = solve_rates
ppo_trainer_async.compute_eval_metrics = solve_rates
ppo_trainer_async.TrainingActor = ray.remote(AsyncTraining)
ppo_trainer_async.GenerateSamplesActor = ray.remote(AsyncGeneration)
