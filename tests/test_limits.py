"""Switches that do not go together are refused before anything starts, with the reason and what to change."""

from pathlib import Path

import pytest
from test_checkpoints import save
from test_launcher import flags_of, plan_of, store  # noqa: F401  # a fixture

from rlef_plugin import launcher
from rlef_plugin.errors import UsageError


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["ds.lora.rank=8", "ds.zero_stage=3"], "ds.lora.rank=8 with ds.zero_stage=3: .*set ds.zero_stage=2"),
        (["ds.load_in_4bit=true"], "ds.load_in_4bit: .*vLLM"),
        (["ckpt.save_steps=5", "ckpt.max_num=1"], "ckpt.max_num=1: .*set ckpt.max_num to 2"),
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
        ["train.async_enable=true", "train.partial_rollout_enable=true"],
    ],
)
def test_not_refused(store: Path, overrides: list[str]) -> None:  # noqa: F811
    plan_of("cpu-demo.yaml", store, *overrides)


def test_a_moving_average_is_refused_only_where_a_run_would_go_on(store: Path, tmp_path: Path) -> None:  # noqa: F811
    overrides = ["train.enable_ema=true", "ckpt.load_enable=true", f"ckpt.path={tmp_path}"]
    plan_of("cpu-demo.yaml", store, *overrides)
    save(tmp_path, "_actor", 3)
    plan_of("cpu-demo.yaml", store, "train.enable_ema=true", f"ckpt.path={tmp_path}")
    with pytest.raises(UsageError, match=f"train.enable_ema with a checkpoint in ckpt.path={tmp_path}: .*average"):
        plan_of("cpu-demo.yaml", store, *overrides)


def test_a_run_goes_on_where_there_is_a_checkpoint_and_starts_anew_where_not(store: Path, tmp_path: Path) -> None:  # noqa: F811
    flags = flags_of("cpu-demo.yaml", store, "ckpt.load_enable=true", f"ckpt.path={tmp_path}")
    plan = launcher.make_plan(flags)
    assert "--ckpt.load_enable" in plan.host_flags
    assert launcher._where_to_go_on(plan) == [flag for flag in plan.host_flags if flag != "--ckpt.load_enable"]
    save(tmp_path, "_actor", 3)
    assert launcher._where_to_go_on(plan) == plan.host_flags
