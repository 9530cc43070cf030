"""Switches that do not go together are refused before anything starts, with the reason and what to change."""

from pathlib import Path

import pytest
from test_checkpoints import save
from test_launcher import flags_of, plan_of, store  # noqa: F401  # a fixture

from rlef_plugin.errors import UsageError
from rlef_plugin.limits import refuse_steps

FOUR_RANKS = [f"{group}.num_gpus_per_node=4" for group in ("actor", "critic", "ref")]
FOUR_RANKS += ["train.batch_size=8", "train.micro_batch_size=2", "rollout.batch_size=8"]  # 24 rollouts a step


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["ds.lora.rank=8", "ds.zero_stage=3"], "ds.lora.rank=8 with ds.zero_stage=3: .*set ds.zero_stage=2"),
        (["ds.lora.rank=8", "ds.tensor_parallel_size=2"], "ds.tensor_parallel_size=2: vLLM would be sent one rank's"),
        (["ds.param_dtype=fp16"], "ds.param_dtype=fp16: .*set ds.param_dtype=bf16"),
        (["vllm.num_engines=0"], "vllm.num_engines=0: .*set it to 1 or more"),
        (["ds.load_in_4bit=true"], "ds.load_in_4bit: .*vLLM"),
        (["ckpt.save_steps=5", "ckpt.max_num=1"], "ckpt.max_num=1: .*set ckpt.max_num to 2"),
        (["rollout.vllm_generate_batch_size=4"], "vllm_generate_batch_size=4 with rollout.batch_size=9: .*drop it"),
        (["algo.kl.target=0.1"], "algo.kl.target=0.1: .*choose algo.kl.init_coef"),
        (["algo.kl.use_loss=true"], "algo.kl.use_loss=True with algo.kl.estimator=geometric_mean: .*k2 or k3"),
        (["algo.kl.use_loss=true", "algo.kl.estimator=k1"], "algo.kl.estimator=k1: .*algo.kl.unbiased_gradient=true"),
        (
            ["actor.num_gpus_per_node=2"],
            "train.batch_size=9 .*train.micro_batch_size=9 x 2 data-parallel ranks of acto",
        ),
        (["critic.num_gpus_per_node=2"], "train.micro_batch_size=9 x 2 data-parallel ranks of critic"),
        (["ds.ring_attn_size=2"], "x 0 data-parallel ranks of actor: .*ds.ring_attn_size"),
        (
            [*FOUR_RANKS, "rollout.batch_size=12", "rollout.n_samples_per_prompt=2", "rollout.micro_batch_size=4"],
            "a step has 24 rollouts, no multiple of rollout.micro_batch_size=4 x 4 data-parallel ranks of actor",
        ),
        (
            [*FOUR_RANKS, "ref.num_gpus_per_node=3", "train.dynamic_batch_enable=true"],
            "train.batch_size=8 .* x 3 data-parallel ranks of ref",
        ),
        (
            ["train.dynamic_batch_enable=true", "train.micro_batch_size=1", "critic.num_gpus_per_node=3"],
            "with 1 data-parallel ranks of actor and 3 of critic: .*give both the same",
        ),
        (["train.enable_ema=true", "ds.lora.rank=8"], "train.enable_ema with ds.lora.rank=8: .*without adapters"),
    ],
)
def test_refused(store: Path, overrides: list[str], reason: str) -> None:  # noqa: F811
    with pytest.raises(UsageError, match=reason):
        plan_of("cpu-demo.yaml", store, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["ds.lora.rank=8"],
        ["ds.zero_stage=3"],
        ["train.enable_ema=true"],
        ["train.dynamic_batch_enable=true"],
        ["ckpt.save_steps=5", "ckpt.max_num=2"],
        ["ckpt.max_num=1"],
        ["algo.kl.use_loss=true", "algo.kl.estimator=k3"],
        ["algo.kl.use_loss=true", "algo.kl.unbiased_gradient=true"],
        [*FOUR_RANKS, "rollout.micro_batch_size=2"],
        [*FOUR_RANKS, "rollout.micro_batch_size=3", "train.dynamic_batch_enable=true"],
        ["ref.num_gpus_per_node=8", "algo.kl.init_coef=0"],
        ["train.async_enable=true", "train.partial_rollout_enable=true"],
    ],
)
def test_not_refused(store: Path, overrides: list[str]) -> None:  # noqa: F811
    plan_of("cpu-demo.yaml", store, *overrides)


def steps(store: Path, problems: int, *overrides: str) -> None:  # noqa: F811
    """Two ranks; four problems with two samples each a step, updates of four."""
    two = [f"{group}.num_gpus_per_node=2" for group in ("actor", "critic", "ref")]
    sizes = [
        "rollout.batch_size=4",
        "rollout.n_samples_per_prompt=2",
        "train.batch_size=4",
        "train.micro_batch_size=2",
    ]
    plan = plan_of("cpu-demo.yaml", store, *two, *sizes, "rollout.micro_batch_size=4", *overrides)
    refuse_steps(plan.arguments, problems)


def test_a_pass_whose_last_step_would_hang_is_refused(store: Path) -> None:  # noqa: F811
    """A step's 8 rollouts are a micro-batch a rank, 4 are one for both."""
    for whole in (8, 9):  # one problem more is left out
        steps(store, whole)
    words = (
        "the last step of a pass over 10 problems has 4 rollouts, no multiple of rollout.micro_batch_size=4 x 2 data"
    )
    with pytest.raises(UsageError, match=words):
        steps(store, 10)
    steps(store, 10, "data.max_samples=8")
    steps(store, 10, "rollout.micro_batch_size=2")
    steps(store, 10, "train.dynamic_batch_enable=true")
    with pytest.raises(UsageError, match="the last step .* has 4 rollouts"):  # it may filter any number out
        steps(store, 8, "algo.dynamic_filtering_enable=true")


def test_a_store_that_fills_no_update_is_refused(store: Path) -> None:  # noqa: F811
    steps(store, 2, "rollout.micro_batch_size=2")
    with pytest.raises(UsageError, match="has 1 problems, whose 2 rollouts are fewer than one update's 4"):
        steps(store, 1)
    with pytest.raises(UsageError, match="whose 2 rollouts"):
        steps(store, 50, "data.max_samples=1")
    samples = ["rollout.n_samples_per_prompt=3", "rollout.batch_size=8"]
    steps(store, 2, *samples, "rollout.micro_batch_size=2")
    with pytest.raises(UsageError, match="whose 6 rollouts are fewer than one update's 12"):  # 4 of 6 cut a group
        steps(
            store, 2, *samples, "rollout.micro_batch_size=2", "algo.advantage.estimator=rloo", "algo.kl.estimator=k1"
        )


def test_a_moving_average_is_refused_only_where_a_run_would_go_on(store: Path, tmp_path: Path) -> None:  # noqa: F811
    overrides = ["train.enable_ema=true", "ckpt.load_enable=true", f"ckpt.path={tmp_path}"]
    plan_of("cpu-demo.yaml", store, *overrides)
    for model in ("_actor", "_critic"):
        save(tmp_path, model, 3)
    plan_of("cpu-demo.yaml", store, "train.enable_ema=true", f"ckpt.path={tmp_path}")
    with pytest.raises(UsageError, match=f"train.enable_ema with a checkpoint in ckpt.path={tmp_path}: .*average"):
        plan_of("cpu-demo.yaml", store, *overrides)


@pytest.mark.parametrize(
    "known",
    [
        ["eval.split=train", "ckpt.best_metric_key=eval_train_pass1"],
        ["eval.n_samples_per_prompt=2", "ckpt.best_metric_key=eval_valid_pass2"],
        ["ckpt.best_metric_key=eval_episode/solve_rate_turn3"],
        ["eval.split=train", "ckpt.best_metric_key=none"],
        ["ckpt.best_metric_key="],
        ["eval.dataset="],
    ],
)
def test_a_best_metric_that_evaluations_have(store: Path, known: list[str]) -> None:  # noqa: F811
    plan_of("llama3.1-8b.yaml", store, *known)


@pytest.mark.parametrize("unknown", ["eval.split=train", "ckpt.best_metric_key=eval_valid_pass3"])
def test_a_best_metric_that_no_evaluation_has_is_refused(store: Path, unknown: str) -> None:  # noqa: F811
    """The host would never keep a best checkpoint, and say nothing."""
    with pytest.raises(UsageError, match="ckpt.best_metric_key=.* no metric .* set it to eval_(train|valid)_pass1"):
        plan_of("llama3.1-8b.yaml", store, unknown)


def test_a_moving_average_in_bfloat16_is_refused(store: Path) -> None:  # noqa: F811
    """(1 - 0.992) of a change is less than half of the last bit unless the change is a quarter of the weight."""
    with pytest.raises(UsageError, match="train.enable_ema with ds.param_dtype=bf16: .*rounded away"):
        plan_of("llama3.1-8b.yaml", store, "train.enable_ema=true")
