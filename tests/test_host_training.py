"""The host's data, steps and updates with our trainers: what is drawn, left out, clocked, shuffled (in_host.py)."""

import inspect
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from host_files import TRAINER
from in_host import host, in_host, played, played_once, same

from rlef_plugin.config import VARIABLE, RlefConfig
from rlef_plugin.openrlhf_ext import host_cli
from rlef_plugin.runs.timeline import PARTS, Clock, Rollout

pytestmark = pytest.mark.host


@in_host
def test_the_stores_prompt_files_are_the_hosts_data() -> None:
    from openrlhf.datasets import PromptDataset
    from openrlhf.datasets.utils import blending_datasets

    from rlef_plugin.problems import ProblemStore

    keys = SimpleNamespace(input_key="prompt", label_key="label", apply_chat_template=False, image_key="images")
    strategy = SimpleNamespace(
        print=lambda *_: None, is_rank_0=lambda: False, args=SimpleNamespace(data=keys, use_ms=False)
    )
    store = ProblemStore.open(Path(os.environ["WORK"], "store"))
    for split, ids in (("train", ["a", "bb"]), ("valid", ["ccc"])):
        data = blending_datasets(str(store.prompts(split)), None, strategy, dataset_split="train")
        dataset = PromptDataset(data, None, strategy)
        rows = [dataset[index] for index in range(len(dataset))]
        same("openrlhf/datasets/prompts_dataset.py", rows, [(split, id_, id_, None) for id_ in ids])


@in_host
def test_a_rest_is_left_out_and_a_step_without_an_update_is_skipped() -> None:
    """The host would leave the odd micro-batches' gradients for the next step."""
    from scripted import SOLVED

    from rlef_plugin.openrlhf_ext import trainer
    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging

    class Host:
        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            return {"trained": len(samples)}, step + 1

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(train=SimpleNamespace(batch_size=4), rollout=SimpleNamespace(n_samples_per_prompt=1))
        config = RlefConfig(rollouts_every=0)
        experience_maker = SimpleNamespace(
            global_step=0, config=config, clock=Clock(), turn_metrics={"learner/value": 0.5}
        )

    sample = played_once(SOLVED, os.environ[VARIABLE])
    sample.rollout = Rollout.of((0.0, 1.0), [sample.record])
    status, step = Steps().train_step([sample] * 10, 5)
    sample.record["turns"][0]["checker_errors"] = 1
    sample.rollout = Rollout.of((0.0, 1.0), [sample.record])
    with patch.object(trainer.log, "warning") as said:
        broken, _ = Steps().train_step([sample] * 4, 5)
    same("checker errors", broken["judge/checker_error_share"], 1.0)
    same("the alarm", said.call_args.args[0].partition(":")[0], sample.rollout.alarm().partition(":")[0])
    skipped = Steps().train_step([sample] * 3, 5)
    same("10 samples, batches of 4", (status["trained"], status["rollout/left_out"], step), (8, 2.0, 6))
    same("3 samples, batches of 4", skipped, ({"rollout/left_out": 3.0}, 5))
    same("metrics", (status["episode/solve_rate"], Steps.experience_maker.global_step), (1.0, 6))
    same("of the turns and the rollout", (status["learner/value"], status["rollout_s/wall"]), (0.5, 1.0))


@in_host
def test_the_planned_steps_are_those_that_the_host_makes() -> None:
    from rlef_plugin.openrlhf_ext.trainer import planned_steps

    rollout = SimpleNamespace(batch_size=9, n_samples_per_prompt=3)
    args = SimpleNamespace(rollout=rollout, train=SimpleNamespace(batch_size=9, num_episodes=2))
    steps = [planned_steps(prompts, args, "turn") for prompts in (27, 28, 30)]  # a rest of 1 x 3 is left out
    same("27, 28 and 30 prompts", steps, [6, 6, 8])
    args.train.batch_size = 8  # whole updates and whole groups of 3 are multiples of 24
    same("a rest of 3 x 3", [planned_steps(30, args, estimator) for estimator in ("turn", "rloo")], [8, 6])


@in_host
def test_waiting_until_vllm_can_take_new_weights_is_no_sync() -> None:
    """5 s until a generation phase has ended, then 2 s for the weights: only the asynchronous trainer waits."""
    from rlef_plugin.openrlhf_ext import trainer
    from rlef_plugin.openrlhf_ext.group_clock import GroupClock

    now = [100.0]

    class Host:
        def broadcast_to_vllm(self) -> None:
            now[0] += 5
            if self.groups:
                self.groups.called["broadcast_to_vllm"] = now[0]
            now[0] += 2

    real, trainer.time = trainer.time, SimpleNamespace(monotonic=lambda: now[0])
    try:
        for before, waited, synced in (("waiting", 5, 2), ("weight_sync", 0, 7)):

            class Steps(trainer.EpisodeLogging, Host):
                before_sync = before
                experience_maker = SimpleNamespace(clock=Clock())

            steps, spent_s = Steps(), Steps.experience_maker.clock.spent_s
            steps.broadcast_to_vllm()  # a run that goes on sends its weights before its first step
            steps.groups = GroupClock()
            steps.broadcast_to_vllm()
            same(f"seconds {before}", (spent_s["waiting"], spent_s["weight_sync"]), (waited, synced))
    finally:
        trainer.time = real
    same("asynchronous", trainer.AsyncTraining.before_sync, "waiting")
    same("synchronous", trainer.Trainer.before_sync, "weight_sync")
    source = inspect.getsource(host().ppo_trainer_async)
    assert "ray.get(self.vllm_lock.acquire.remote())\n        if self._partial_rollout" in source, "no lock any more"


@in_host
def test_a_step_is_clocked_and_logged_with_the_hosts_status() -> None:
    """What the host's trackers get is what metrics.jsonl gets, and a checkpoint's time counts in the next step."""
    from scripted import NO_CODE, SOLVED

    from rlef_plugin.openrlhf_ext.group_clock import GroupClock
    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging
    from rlef_plugin.runs.files import read_episodes, read_metrics

    logged: list[dict[str, Any]] = []
    run_dir = tempfile.mkdtemp(dir=os.environ["WORK"])

    class Host:
        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            status = self.ppo_train(step)
            self.broadcast_to_vllm()
            return status, step + 1

        def ppo_train(self, step: int) -> dict[str, Any]:
            return {"critic_loss": 1.0, "generated_samples": ["text", 1.0]}

        def broadcast_to_vllm(self) -> None: ...
        def save_best_checkpoint(self, metrics: Any, step: int, states: Any) -> None: ...

        def save_logs_and_checkpoints(self, step: int, logs: dict[str, Any], states: Any) -> None:
            logged.append(logs)

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(
            train=SimpleNamespace(batch_size=1),
            critic=SimpleNamespace(freezing_steps=-1),
            rollout=SimpleNamespace(n_samples_per_prompt=1),
        )
        config = RlefConfig(rollouts_every=1, run_dir=run_dir)
        experience_maker = SimpleNamespace(global_step=0, config=config, clock=Clock(), turn_metrics={})
        groups = GroupClock()

    samples = [played(SOLVED)[1], played(NO_CODE, SOLVED)[1]]
    samples[0].rollout = Rollout.of((0.0, 1.0), [sample.record for sample in samples])
    trainer = Steps()
    for step in (0, 1):
        status, _ = trainer.train_step(samples, step)
        trainer.save_logs_and_checkpoints(step + 1, status, None)
    trainer.save_best_checkpoint({"eval_valid_pass1": 0.5}, 2)
    same("keys of the two steps", list(logged[0]), list(logged[1]))
    same("parts", {f"step_s/{part}" for part in PARTS} <= logged[1].keys(), True)
    assert logged[1]["step_s/saving"] > logged[0]["step_s/saving"] == 0, (logged[0], logged[1])
    same("no text for the trackers", "generated_samples" in logged[1], False)
    kept = read_metrics(Path(run_dir))
    same("kept", [int(one["step"]) for one in kept], [1, 2])
    scalars = {key for key, value in logged[1].items() if isinstance(value, int | float)}
    same("kept keys", set(kept[1]), scalars | {"step", "unix_time_s"})
    same("evaluations", read_metrics(Path(run_dir), "evaluations.jsonl")[0]["eval_valid_pass1"], 0.5)
    same("episodes", [len(one["turns"]) for one in read_episodes(Path(run_dir))[1]], [1, 2])


def prompt_loader(seed: int) -> Any:
    """The host's loader of 10 prompts, through our `prepare_datasets` and the host's own."""
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    from rlef_plugin.openrlhf_ext import trainer

    prompts = Path(os.environ["WORK"], "ten.jsonl")
    prompts.write_text("".join(f'{{"prompt": "{n}", "label": "{n}", "datasource": "train"}}\n' for n in range(10)))
    flags = {"data.prompt_dataset": str(prompts), "train.seed": seed, "train.agent_func_path": "agent.py"}
    flags |= {"data.input_key": "prompt", "data.label_key": "label", "ckpt.output_dir": "unused"}
    flags |= {"actor.model_name_or_path": "none", "vllm.num_engines": 1, "actor.num_gpus_per_node": 1}
    args = host_cli.check([f"--{key}={value}" for key, value in flags.items()])
    strategy = SimpleNamespace(args=args, print=lambda *_: None, is_rank_0=lambda: False)
    strategy.setup_dataloader = lambda *a, **k: DeepspeedStrategy.setup_dataloader(strategy, *a, **k)
    return trainer.prepare_datasets(strategy, None)[0]


def drawn(loader: Iterator[Any], count: int) -> list[int]:
    return [int(next(loader)[1][0]) for _ in range(count)]


@in_host
def test_the_order_of_problems_follows_from_the_seed() -> None:
    import torch

    orders = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)  # what the process did before, which is chance in the host
        loader = prompt_loader(seed)
        orders.append([drawn(iter(loader), 10) for _ in range(2)])  # two passes
    same("another process", orders[1], orders[0])
    assert orders[0][0] != orders[0][1] and orders[2] != orders[0], f"passes or seeds do not differ: {orders}"
    same("every problem once a pass", [sorted(one) for one in orders[0]], [list(range(10))] * 2)


@in_host
def test_a_loader_goes_on_where_it_was_and_a_finished_pass_is_not_played_again() -> None:
    from rlef_plugin.openrlhf_ext.trainer import to_go_on_from

    loader = prompt_loader(1)
    passes = [drawn(iter(loader), 10), drawn(iter(loader), 10)]
    for consumed in (4, 10):
        loader = prompt_loader(1)
        first = iter(loader)
        drawn(first, consumed)
        states = to_go_on_from({"episode": 0, "data_loader_state_dict": loader.state_dict()})
        same(f"pass after {consumed} prompts", states["episode"], 0)
        again = prompt_loader(1)
        again.load_state_dict(states["data_loader_state_dict"])
        went_on = iter(again)
        same(f"the rest after {consumed}", [int(labels[0]) for _, _, labels, _ in went_on], passes[0][consumed:])
        same("and the next pass", drawn(iter(again), 10), passes[1])
    same("a short last batch ends the pass", next(first, None), None)
    states = to_go_on_from({"episode": 0, "data_loader_state_dict": loader.state_dict()})
    same("so the next one is played", states["episode"], 1)
    again = prompt_loader(1)
    again.load_state_dict(states["data_loader_state_dict"])
    same("which is the second", drawn(iter(again), 10), passes[1])


@in_host
def test_samples_come_in_the_order_of_the_data() -> None:
    from rlef_plugin.openrlhf_ext.samples import RecordedSamples

    def ready(self: Any, prompts: int) -> tuple[list[Any], int, bool]:
        self._dispatch_prompts_to_vllm(["c", "a", "b"], ["c", "a", "b"])
        done = [SimpleNamespace(labels=[label], n=n) for label in ("b", "c", "a") for n in (0, 1)]
        return done, 3, False

    stock = host().samples_generator.SamplesGenerator
    before, sent = (stock._generate_vllm, stock._dispatch_prompts_to_vllm), []
    stock._generate_vllm = ready
    stock._dispatch_prompts_to_vllm = lambda self, prompts, labels: sent.append(self.tokenizer)
    generator = RecordedSamples.__new__(RecordedSamples)
    generator.tokenizer = "a large one"
    try:
        samples, *more = generator._generate_vllm(3)
    finally:
        stock._generate_vllm, stock._dispatch_prompts_to_vllm = before
    same("tokenizer for the engines, and afterwards", (sent, generator.tokenizer), ([None], "a large one"))
    same("order", [(s.labels[0], s.n) for s in samples], [(label, n) for label in ("c", "a", "b") for n in (0, 1)])
    same("the rest of the answer", more, [3, False])


@in_host
def test_an_update_is_shuffled_by_seed_rank_and_number_of_updates() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.policy import seed_update

    def shuffle(seed: int, steps: int, rank: int) -> list[int]:
        torch.rand(steps + 3)  # what an undisturbed run drew before
        strategy = SimpleNamespace(seed=seed, world_size=2, get_rank=lambda: rank)
        seed_update(strategy, SimpleNamespace(global_steps=steps))
        return torch.randperm(20).tolist()

    cases = [(seed, steps, rank) for seed in (1, 2) for steps in (0, 1, 2) for rank in (0, 1)]
    orders = [shuffle(*case) for case in cases]
    same("again", [shuffle(*case) for case in reversed(cases)], orders[::-1])
    same("all different", len({tuple(order) for order in orders}), len(cases))
    import deepspeed

    load = inspect.getsource(deepspeed.DeepSpeedEngine._load_checkpoint)
    assert "self.global_steps = checkpoint['global_steps']" in load, "deepspeed: updates are not counted on"


@in_host
def test_while_the_policy_is_frozen_its_rollouts_are_forgotten() -> None:
    """The host makes no update then, but keeps what was appended for it, and would train on all of it later."""
    import ray

    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging
    from rlef_plugin.runs.timeline import Clock

    asked: list[str] = []

    class Host:
        def ppo_train(self, step: int) -> dict[str, Any]:
            return {"step": step}

    class Steps(EpisodeLogging, Host):
        args = SimpleNamespace(critic=SimpleNamespace(freezing_steps=1))
        experience_maker = SimpleNamespace(clock=Clock())
        actor_model_group = SimpleNamespace(async_run_method=lambda method_name: asked.append(method_name) or [])

    get, ray.get = ray.get, lambda refs: refs
    try:
        for step, frozen in ((0, True), (1, True), (2, False)):  # the host counts from 0 and freezes while step <= 1
            asked.clear()
            same("status", Steps().ppo_train(step), {"step": step})
            same(f"step {step}", asked, ["forget_rollouts"] if frozen else [])
    finally:
        ray.get = get
    source = inspect.getsource(host().ppo_trainer.BasePPOTrainer.ppo_train)
    assert "global_steps > self.args.critic.freezing_steps" in source, f"openrlhf/{TRAINER} freezes otherwise"
