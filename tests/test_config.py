"""The plugin's settings: every field has a flag, and recipe, flags and environment variable say the same thing."""

import argparse
import dataclasses
import typing
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin import config as settings
from rlef_plugin.config import RlefConfig
from rlef_plugin.env.base import EnvConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.judge.verdicts import JudgeConfig

# Written out by hand, so that a renamed field is noticed here before it is noticed in somebody's recipe.
FLAGS = {
    "rlef.kl": "sum",
    "rlef.value": "token",
    "rlef.whiten": "none",
    "rlef.rollouts_every": "7",
    "rlef.dump_batches_every": "3",
    "rlef.run_dir": "/runs/a b",
    "rlef.cpu_host": "true",
    "rlef.turn_limit": "5",
    "rlef.feedback_tokens": "64",
    "rlef.invalid_code_reward": "-0.5",
    "rlef.early_stop": "false",
    "rlef.time_limit_s": "2.5",
    "rlef.memory_limit_mb": "256",
    "rlef.prompts": "/my/prompts",
    "rlef.feedback": "random",
    "rlef.feedback_seed": "7",
    "rlef.reward": "fraction",
    "rlef.few_shot": "/sft.jsonl",
    "rlef.judge.workers": "4",
    "rlef.judge.backend": "ray",
    "rlef.judge.strict_exit": "false",
    "rlef.judge.unsafe_no_jail": "True",
    "rlef.judge.kept_stdout_bytes": "100",
    "rlef.judge.nsjail": "/opt/nsjail",
    "rlef.judge.ray_actors": "8",
    "rlef.judge.ray_cpus": "2",
    "rlef.judge.ray_resource": "judge_node",
    "rlef.judge.patience_s": "90",
    "rlef.judge.cgroup": "/sys/fs/cgroup/judge",
}
ALL_CHANGED = RlefConfig(
    env="pkg.Env",
    stores=("/a", "/b"),
    kl="sum",
    value="token",
    whiten="none",
    rollouts_every=7,
    dump_batches_every=3,
    run_dir="/runs/a b",
    cpu_host=True,
    episode=EnvConfig(5, 64, -0.5, False, 2.5, 256, "/my/prompts", "random", 7, "fraction", "/sft.jsonl"),
    judge=JudgeConfig(4, "ray", False, True, 100, "/opt/nsjail", 8, 2, "judge_node", 90, "/sys/fs/cgroup/judge"),
)


def parse(*flags: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    settings.add_flags(parser)
    return vars(parser.parse_args(flags))


def from_flags(*flags: str) -> RlefConfig:
    return settings.from_flags(parse("--env", "pkg.Env", *flags), ("/a", "/b"), "/run")


def as_flags(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def test_the_flags_are_those_of_the_recipes() -> None:
    assert [name for name, *_ in settings.fields()] == list(FLAGS)


def test_every_setting_is_a_flag_or_comes_from_a_flag_of_the_host() -> None:
    paths = {path for *_, path in settings.fields()}
    own = {(one.name,) for one in dataclasses.fields(RlefConfig)} - {(name,) for name in settings._NOT_FLAGS}
    nested = {("episode", one.name) for one in dataclasses.fields(EnvConfig)}
    judge = {("judge", one.name) for one in dataclasses.fields(JudgeConfig)}
    assert paths == own | nested | judge


def test_every_flag_sets_its_own_field_and_no_other() -> None:
    assert from_flags(*as_flags(FLAGS)) == ALL_CHANGED
    for name, value in FLAGS.items():
        changed = dataclasses.asdict(from_flags(f"--{name}", value))
        path = next(path for flag, _, _, path in settings.fields() if flag == name)
        untouched = dataclasses.asdict(from_flags())
        for key in path[:-1]:
            changed, untouched = changed[key], untouched[key]
        assert changed.pop(path[-1]) != untouched.pop(path[-1]), name
        assert changed == untouched, name


def test_values_have_the_types_of_their_fields() -> None:
    config = from_flags(*as_flags(FLAGS))
    for name, one, kind, path in settings.fields():
        value: Any = config
        for key in path:
            value = getattr(value, key)
        plain = str if typing.get_origin(kind) is typing.Literal else str if one.default is None else type(one.default)
        assert type(value) is plain, name


def test_a_flag_left_out_keeps_the_default() -> None:
    assert from_flags() == RlefConfig(env="pkg.Env", stores=("/a", "/b"), run_dir="/run")
    assert settings.from_flags(parse(), (), "/run").env == "rlef_plugin.CodeContestsEnv"


def test_run_dir_follows_the_output_unless_it_is_given() -> None:
    assert from_flags().run_dir == "/run"
    assert from_flags("--rlef.run_dir", "/else").run_dir == "/else"


def test_paths_are_absolute_for_processes_that_were_started_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = from_flags("--rlef.run_dir", "run", "--rlef.prompts", "my/prompts", "--rlef.few_shot", "sft.jsonl")
    found = (config.run_dir, config.episode.prompts, config.episode.few_shot)
    assert found == tuple(str(tmp_path / path) for path in ("run", "my/prompts", "sft.jsonl"))
    assert from_flags("--rlef.prompts", "").episode.prompts == ""


def test_the_defaults_are_the_papers() -> None:
    config = RlefConfig()
    assert (config.advantage_estimator, config.kl_estimator, config.value) == ("turn", "geometric_mean", "turn")
    assert (config.kl, config.episode.feedback, config.episode.reward) == ("geometric_mean", "public", "binary")
    assert (config.episode.turn_limit, config.episode.invalid_code_reward, config.episode.early_stop) == (
        3,
        -0.2,
        True,
    )
    assert (config.episode.time_limit_s, config.episode.memory_limit_mb) == (10.0, 1024)
    assert (config.cpu_host, config.judge.unsafe_no_jail) == (False, False)


@pytest.mark.parametrize("config", [RlefConfig(), ALL_CHANGED], ids=["defaults", "all changed"])
def test_json_round_trip(config: RlefConfig) -> None:
    assert RlefConfig.from_json(config.to_json()) == config


def test_the_example_for_the_round_trip_changes_every_field() -> None:
    """Else a field that JSON loses would come back as its default and nobody would see it."""
    kept = {"advantage_estimator", "kl_estimator", "backend"}
    for changed, default in (
        (ALL_CHANGED, RlefConfig()),
        (ALL_CHANGED.episode, EnvConfig()),
        (ALL_CHANGED.judge, JudgeConfig()),
    ):
        same = {
            one.name for one in dataclasses.fields(default) if getattr(changed, one.name) == getattr(default, one.name)
        }
        assert same <= kept


def test_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.VARIABLE, ALL_CHANGED.to_json())
    assert RlefConfig.from_environment() == ALL_CHANGED
    monkeypatch.delenv(settings.VARIABLE)
    with pytest.raises(UsageError, match="RLEF_CONFIG is not set: start training with `rlef train`"):
        RlefConfig.from_environment()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--rlef.turn_limit", "0"], "rlef.turn_limit is 0"),
        (["--rlef.feedback_tokens", "-1"], "rlef.feedback_tokens is -1"),
        (["--rlef.time_limit_s", "0"], "rlef.time_limit_s is 0.0"),
        (["--rlef.invalid_code_reward", "nan"], "rlef.invalid_code_reward is nan"),
        (["--rlef.judge.workers", "-1"], "rlef.judge: JudgeConfig.workers is -1"),
        (["--rlef.judge.backend", "cloud"], "'cloud'"),
        (["--rlef.early_stop", "true", "--rlef.feedback", "none"], "rlef.early_stop=true and rlef.feedback=none"),
    ],
)
def test_a_value_out_of_range_is_one_sentence(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_flags(*flags)


@pytest.mark.parametrize(
    "flags",
    [["--rlef.turn_limit", "x"], ["--rlef.early_stop", "0"], ["--rlef.value", "word"], ["--rlef.whiten", "x"]]
    + [["--rlef.kl", "k1"], ["--rlef.feedback", "all"], ["--rlef.reward", "x"]],
)
def test_a_value_of_another_type_is_refused(flags: list[str]) -> None:
    with pytest.raises(argparse.ArgumentError, match=flags[0]):
        parse(*flags)


@pytest.mark.parametrize("text, value", [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_booleans(text: str, value: bool) -> None:
    assert from_flags("--rlef.early_stop", text).episode.early_stop is value


# --- rlef.kl and its second spelling


def resolve(
    *flags: str, estimator: str = "turn", kl_flag: str = "geometric_mean", use_loss: bool = False
) -> RlefConfig:
    """What the host's flags make of the settings; `kl_flag` is --algo.kl.estimator's if not given."""
    own = [flag for flag in flags if not flag.startswith("--algo")]
    theirs = [flag for flag in flags if flag.startswith("--algo")]
    kl_flag = theirs[0].partition("=")[2] if theirs else kl_flag
    arguments = {"algo.kl.estimator": kl_flag, "algo.advantage.estimator": estimator, "algo.kl.use_loss": use_loss}
    chosen = parse(*own)["rlef.kl"]
    return settings.with_host_flags(from_flags(*own), chosen, arguments, theirs)


@pytest.mark.parametrize(
    "flags, kl",
    [
        ([], "geometric_mean"),
        (["--rlef.kl", "sum"], "sum"),
        (["--algo.kl.estimator=sum"], "sum"),
        (["--algo.kl.estimator=geometric_mean"], "geometric_mean"),
        (["--rlef.kl", "sum", "--algo.kl.estimator=sum"], "sum"),
    ],
)
def test_the_kl_of_a_turn_has_two_spellings(flags: list[str], kl: str) -> None:
    config = resolve(*flags)
    assert (config.kl, config.kl_estimator) == (kl, kl)
    assert dataclasses.replace(config, kl="geometric_mean", kl_estimator="geometric_mean") == from_flags()


def test_the_hosts_own_estimators_leave_the_kl_of_a_turn_alone() -> None:
    config = resolve("--algo.kl.estimator=k3", estimator="rloo")
    assert (config.kl, config.kl_estimator, config.advantage_estimator) == ("geometric_mean", "k3", "rloo")
    assert resolve(use_loss=True).kl_estimator == "geometric_mean"  # the default is no choice: the host gets k1


@pytest.mark.parametrize(
    "flags, given, words",
    [
        (
            ["--rlef.kl", "sum", "--algo.kl.estimator=geometric_mean"],
            {},
            "rlef.kl=sum and algo.kl.estimator=geometric",
        ),
        (["--rlef.kl", "sum", "--algo.kl.estimator=k1"], {"estimator": "rloo"}, "contradict each other: keep one"),
        (["--rlef.kl", "sum"], {"estimator": "rloo"}, "rlef.kl=sum needs algo.advantage.estimator=turn, not rloo"),
        (
            ["--algo.kl.estimator=sum"],
            {"estimator": "rloo"},
            "algo.kl.estimator=sum needs algo.advantage.estimator=tu",
        ),
        (["--rlef.kl", "sum"], {"use_loss": True}, "rlef.kl=sum is the KL in a turn's reward, but algo.kl.use_loss"),
    ],
)
def test_a_kl_that_would_not_be_used_is_refused(flags: list[str], given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve(*flags, **given)
