"""What the host saves, as the last and as the best, with our trainers and actors (in_host.py)."""

import importlib
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from host_files import ASYNC, TRAINER
from in_host import host, in_host, same

from rlef_plugin.config import RlefConfig
from rlef_plugin.runs.timeline import Clock

pytestmark = pytest.mark.host


LOCK = ("acquire", "release")


@in_host
def test_the_best_checkpoint_stays_when_a_later_evaluation_is_worse() -> None:
    h = host()
    saved: list[str] = []

    def asked(method_name: str, tag: str, **more: Any) -> list[Any]:
        saved.append(f"{tag}: {more['metric_value']}")
        return []

    import ray

    trainer = SimpleNamespace(
        best_eval_metric_key="eval_valid_pass1",
        best_eval_metric_value=float("-inf"),
        actor_model_group=SimpleNamespace(async_run_method=asked),
        critic_model_group=None,
    )
    base = h.ppo_trainer.BasePPOTrainer
    trainer._detect_eval_metric_key = lambda metrics: base._detect_eval_metric_key(trainer, metrics)
    get, ray.get = ray.get, lambda refs: refs
    try:
        for step, rate in ((2, 0.3), (4, 0.5), (6, 0.4), (8, 0.5)):  # as good is not better
            base.save_best_checkpoint(trainer, {"eval_valid_pass1": rate}, step)
    finally:
        ray.get = get
    same(f"openrlhf/{TRAINER}", saved, ["best_global_step2: 0.3", "best_global_step4: 0.5"])
    same("the one to beat", trainer.best_eval_metric_value, 0.5)


@in_host
def test_regular_checkpoints_never_push_out_the_best_one() -> None:
    """The host's rotation, run on folders: the oldest of two regular ones goes, an older best one stays.

    With a metric the worst would go, however new; so ours have none (`save_logs_and_checkpoints`).
    """
    same("with metrics", rotated((0.5, 0.2, 0.3)), ["best_global_step1", "global_step1", "global_step3"])
    same("without", rotated((None, None, None)), ["best_global_step1", "global_step2", "global_step3"])


def rotated(rates: tuple[float | None, ...]) -> list[str]:
    """What the host keeps of a best checkpoint and of regular ones with these metrics, two at most."""
    h = host()
    folder = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))

    class Engine(h.deepspeed.deepspeed.DeepSpeedEngine):
        def __init__(self) -> None: ...

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def save_checkpoint(self, path: str, tag: str, **more: Any) -> None:
            Path(path, tag).mkdir()

    strategy = h.deepspeed.DeepspeedStrategy.__new__(h.deepspeed.DeepspeedStrategy)
    h.deepspeed.torch_dist_barrier_and_cuda_sync, barrier = lambda: None, h.deepspeed.torch_dist_barrier_and_cuda_sync
    try:
        for number, (tag, rate) in enumerate(
            (("best_global_step1", 0.5), *((f"global_step{step}", rate) for step, rate in enumerate(rates, 1))), 1
        ):
            strategy.save_ckpt(Engine(), str(folder), tag, max_num=2, metric_value=rate, metric_key="eval_valid_pass1")
            os.utime(folder / tag, (number, number))
    finally:
        h.deepspeed.torch_dist_barrier_and_cuda_sync = barrier
    return sorted(path.name for path in folder.iterdir())


@in_host
def test_regular_checkpoints_have_no_metric_and_the_best_one_has() -> None:
    """Saved by the host's own methods under ours; a step of which nothing is left is neither saved nor evaluated."""
    import ray

    from rlef_plugin.openrlhf_ext.trainer import EpisodeLogging, Trainer

    saved: list[tuple[str, str | None, float | None]] = []

    def asked(method_name: str, tag: str, metric_value: float | None, metric_key: str | None, **_: Any) -> list[Any]:
        saved.append((tag, metric_key, metric_value))
        return []

    class Steps(EpisodeLogging, host().ppo_trainer.BasePPOTrainer):
        wandb_logger = tensorboard_logger = critic_model_group = None
        best_eval_metric_key, best_eval_metric_value = "eval_valid_pass1", float("-inf")
        before_batch = "waiting"
        groups = SimpleNamespace(lap=dict)
        actor_model_group = SimpleNamespace(async_run_method=asked)
        args = SimpleNamespace(
            logger=SimpleNamespace(logging_steps=1),
            ckpt=SimpleNamespace(save_steps=1),
            train=SimpleNamespace(batch_size=4),
            rollout=SimpleNamespace(n_samples_per_prompt=1),
        )

        def __init__(self) -> None:
            config = RlefConfig(run_dir=tempfile.mkdtemp(dir=os.environ["WORK"]))
            self.experience_maker = SimpleNamespace(config=config, clock=Clock())

    trainer, get = Steps(), ray.get
    ray.get = lambda refs: refs
    try:
        trainer.save_best_checkpoint({"eval_valid_pass1": 0.5}, 2)
        trainer.save_logs_and_checkpoints(3, {"episode/solve_rate": 0.5})
        regular, best = ("global_step3", "eval_valid_pass1", None), ("best_global_step2", "eval_valid_pass1", 0.5)
        same(f"openrlhf/{TRAINER} saves", saved, [best, regular])
        status, step = trainer.train_step([object()] * 3, 3)
        same("left out", (status, step), ({"rollout/left_out": 3.0}, 3))
        trainer.save_logs_and_checkpoints(step, status)
        metrics = Trainer.evaluate(trainer, step)
        trainer.save_best_checkpoint(metrics, step)
        same("saved, evaluated", (len(saved), metrics), (2, {}))
    finally:
        ray.get = get
    run = Path(trainer.experience_maker.config.run_dir)
    written = [len((run / name).read_text().splitlines()) for name in ("metrics.jsonl", "evaluations.jsonl")]
    same("written", written, [1, 1])


@in_host
def test_what_asynchronous_training_evaluates_is_what_it_saves_as_best() -> None:
    """The host's two loops in two threads; alone they would save the weights of a step later."""
    for every, last, begun in ((1, 4, 0), (2, 5, 0), (3, 7, 0), (1, 4, 2), (2, 7, 2), (2, 7, 3)):
        due = [step for step in range(begun + 1, last) if step % every == 0]  # after the last step nobody evaluates
        evaluated, saved = evaluated_and_saved(every, last, begun)
        same(f"weights evaluated every {every}", evaluated, due)
        same(f"openrlhf/{ASYNC} saves", saved, [(f"best_global_step{step}", step) for step in due])


def evaluated_and_saved(every: int, last: int, begun: int) -> tuple[list[int], list[tuple[str, int]]]:
    """The step of the weights in each evaluation, better every time; each best checkpoint and that of its weights.
    The run goes on from step `begun`."""
    import threading
    import time
    from queue import Queue

    import ray

    from rlef_plugin.openrlhf_ext import trainer

    evaluated: list[int] = []
    saved: list[tuple[str, int]] = []
    lock, rollouts, slots = threading.Lock(), Queue(1), Queue(1)
    slots.put(0)
    both = {
        "rollout_queue": rollouts,
        "rollout_slots": slots,
        "vllm_lock": SimpleNamespace(**{name: SimpleNamespace(remote=getattr(lock, name)) for name in LOCK}),
        "_partial_rollout": False,
        "args": SimpleNamespace(
            train=SimpleNamespace(num_episodes=1),
            eval=SimpleNamespace(steps=every, dataset="store"),
            ckpt=SimpleNamespace(save_steps=float("inf")),
            logger=SimpleNamespace(logging_steps=1),
            algo=SimpleNamespace(dynamic_filtering_enable=False),
        ),
    }

    class Training(trainer.AsyncTraining):
        weights = begun
        wandb_logger = tensorboard_logger = critic_model_group = reference_model_group = None
        best_eval_metric_key, best_eval_metric_value = "eval_valid_pass1", float("-inf")

        def __init__(self) -> None:
            vars(self).update(both)
            config = RlefConfig(run_dir=tempfile.mkdtemp(dir=os.environ["WORK"]))
            self.experience_maker = SimpleNamespace(config=config, clock=Clock())
            self.actor_model_group = SimpleNamespace(async_run_method=self.asked, async_run_method_batch=None)

        def asked(self, method_name: str, tag: str, **_: Any) -> list[Any]:
            saved.append((tag, self.weights))
            return []

        def train_step(self, samples: list[Any], step: int) -> tuple[dict[str, Any], int]:
            time.sleep(0.05)  # long enough for an evaluation to begin beside it
            with lock:  # as the host's weight exchange
                self.weights = step + 1
            return {"episode/solve_rate": 0.0}, step + 1

    training, batches = Training(), iter(range(begun + 1, last + 1))

    def generate() -> tuple[list[Any], None, int, bool]:
        return [object()], None, 1, next(batches) == last

    def evaluate() -> dict[str, float]:
        evaluated.append(training.weights)
        return {"eval_valid_pass1": float(len(evaluated))}

    generation = trainer.AsyncGeneration.__mro__[1]  # the host's
    generating = generation.__new__(generation)
    loader = type("Loader", (), {"__len__": lambda _: last, "state_dict": lambda _: {}})()
    vars(generating).update(both, prompts_dataloader=loader, eval_dataloader=loader, generate_kwargs={})
    vars(generating).update(_last_eval_step=-1, _eval_just_done=False, _run_eval=evaluate)
    generating.samples_generator = SimpleNamespace(generate_samples=generate)
    get, ray.get = ray.get, lambda answer: answer
    threads = [threading.Thread(target=generating.fit, args=(0, 0), daemon=True)]
    threads += [threading.Thread(target=training.fit, args=(begun,), daemon=True)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        same("loops that wait forever", [thread.is_alive() for thread in threads], [False, False])
    finally:
        ray.get = get
    return evaluated, saved


@in_host
def test_a_checkpoint_is_not_whole_while_it_is_written_again() -> None:
    from rlef_plugin.openrlhf_ext import critic, policy

    for cls, folder in ((policy.Policy, "_actor"), (critic.Critic, "_critic")):
        path = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))
        metric = path / folder / "global_step2" / "metric.json"
        metric.parent.mkdir(parents=True)
        metric.write_text("{}")
        there: list[bool] = []
        actor = cls.__new__(cls)
        ckpt = SimpleNamespace(path=str(path), max_num=3, max_mem=1.0)
        actor.strategy = SimpleNamespace(
            args=SimpleNamespace(ckpt=ckpt),
            is_rank_0=lambda: True,
            save_ckpt=lambda *_, there=there, metric=metric, **__: there.append(metric.exists()),
        )
        actor.disable_ds_ckpt = actor.save_hf_ckpt = False
        actor.actor, actor.critic = SimpleNamespace(model=None), None
        module = importlib.import_module(f"openrlhf.trainer.ray.ppo{folder}")
        barrier = getattr(module, "torch_dist_barrier_and_cuda_sync", None)
        module.torch_dist_barrier_and_cuda_sync = lambda: None
        try:
            actor.save_checkpoint(tag="global_step2", metric_value=None, metric_key=None)
        finally:
            module.torch_dist_barrier_and_cuda_sync = barrier
        same(f"marked as whole while {folder} is saved", there, [False])


@in_host
def test_the_best_policy_is_saved_as_a_model_and_the_one_before_goes() -> None:
    """The host's own method: `<ckpt.path>/<tag>_hf`, beside the shards, of which rotation deletes only these."""
    from openrlhf.trainer.ray import ppo_actor

    from rlef_plugin.openrlhf_ext.policy import Policy

    path = Path(tempfile.mkdtemp(dir=os.environ["WORK"]))

    def save_ckpt(model: Any, folder: str, tag: str, *_: Any, **__: Any) -> None:
        for old in Path(folder).glob("best*"):  # DeepspeedStrategy.save_ckpt deletes the last best one first
            old.rmdir()
        Path(folder, tag).mkdir(parents=True)

    actor = Policy.__new__(Policy)
    actor.strategy = SimpleNamespace(
        args=SimpleNamespace(
            ckpt=SimpleNamespace(path=str(path), max_num=3, max_mem=1.0), train=SimpleNamespace(enable_ema=False)
        ),
        is_rank_0=lambda: True,
        save_ckpt=save_ckpt,
        save_model=lambda model, tokenizer, folder: Path(folder).mkdir(),
    )
    actor.disable_ds_ckpt, actor.save_hf_ckpt = False, True
    actor.actor, actor.tokenizer = SimpleNamespace(model=None), None
    barrier, ppo_actor.torch_dist_barrier_and_cuda_sync = ppo_actor.torch_dist_barrier_and_cuda_sync, lambda: None
    try:
        for step in (212, 424):
            actor.save_checkpoint(tag=f"best_global_step{step}")
    finally:
        ppo_actor.torch_dist_barrier_and_cuda_sync = barrier
    same("models", [folder.name for folder in path.glob("*_hf")], ["best_global_step424_hf"])
