"""Recipes: whatever way a key is written it is one flag of the host or of ours, and a wrong one is one sentence."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from rlef_plugin import config as settings
from rlef_plugin import launcher, recipes
from rlef_plugin.errors import UsageError
from rlef_plugin.evaluation.settings import config_of
from rlef_plugin.judge import JudgeConfig
from rlef_plugin.openrlhf_ext import host_cli

REPO = Path(__file__).resolve().parents[1]
RECIPES = sorted((REPO / "recipes").glob("*.yaml"))


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def settings_of(values: dict[str, Any]) -> settings.RlefConfig:
    """What the plugin reads from the flags of these keys."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    settings.add_flags(parser)
    return settings.from_flags(vars(parser.parse_known_args(recipes.to_flags(values))[0]), (), "/run")


# --- reading


@pytest.mark.parametrize(
    "text",
    [
        "data: {max_len: 512, prompt_split: train}\nrlef: {judge: {workers: 4}}",
        "data.max_len: 512\ndata.prompt_split: train\nrlef.judge.workers: 4",
        "data:\n  max_len: 512\ndata.prompt_split: train\nrlef:\n  judge.workers: 4",
    ],
    ids=["nested", "dotted", "mixed"],
)
def test_nested_and_dotted_keys_are_the_same(recipe, text: str) -> None:
    assert recipes.load(recipe(text)) == {
        "data.max_len": 512,
        "data.prompt_split": "train",
        "rlef.judge.workers": 4,
    }


def test_overrides_win_and_add(recipe) -> None:
    path = recipe("data: {max_len: 512, prompt_split: train}")
    overrides = [
        "data.max_len=1024",
        "rlef.early_stop=false",
        "actor.adam.lr=2e-7",
        "rlef.run_dir=a=b",
        "data.max_len=7",
    ]
    assert recipes.load(path, overrides) == {
        "data.max_len": 7,  # the last one said
        "data.prompt_split": "train",
        "rlef.early_stop": False,
        "actor.adam.lr": "2e-7",  # YAML takes it for text; the flag makes it a number
        "rlef.run_dir": "a=b",
    }


def test_an_empty_recipe_is_no_flags(recipe) -> None:
    assert recipes.load(recipe("# nothing\n")) == {}


@pytest.mark.parametrize(
    "text, words",
    [
        ("data: {max_len: 1}\ndata.max_len: 2", "sets 'data.max_len' twice: keep one"),
        ("data.max_len: 1\ndata.max_len: 2", "'data.max_len' is there twice: keep one"),
        ("data: {max_len: 1}\nrlef: {}\ndata: {prompt_split: x}", "'data' is there twice: keep one"),
        ("a: [1", "is not YAML: .* line 1"),
        ("- a\n- b", "holds a list, but a recipe is a mapping"),
        ("just words", "holds a str, but a recipe is a mapping"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_file_that_is_no_recipe(recipe, text: str, words: str) -> None:
    path = recipe(text)
    with pytest.raises(UsageError, match=words) as error:
        recipes.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x80\x9d\x00weights")
    with pytest.raises(UsageError, match="is not YAML"):
        recipes.load(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UsageError, match="there is no recipe .*: give the path of a YAML file, or one of ours, cpu-demo, .*sft-cpu$"
    ):
        recipes.load(tmp_path / name)


@pytest.mark.parametrize("name", ["llama3.1-8b", "llama3.1-8b.yaml", "recipes/llama3.1-8b.yaml"])
def test_our_recipes_are_found_by_name_where_there_is_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipes.load(Path(name)) == recipes.load(REPO / "recipes" / "llama3.1-8b.yaml")
    Path("recipes").mkdir()
    Path("recipes/llama3.1-8b.yaml").write_text("data.max_len: 1")
    assert (recipes.load(Path(name)) == {"data.max_len": 1}) == name.startswith("recipes/")


@pytest.mark.parametrize(
    "override, words",
    [("data.max_len", "'data.max_len' is not key=value"), ("data.max_len=[1", r"data.max_len=\[1 is not YAML")],
)
def test_an_override_that_is_none(recipe, override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipes.load(recipe(""), [override])


# --- flags


@pytest.mark.parametrize(
    "values, flags",
    [
        ({"data.max_len": 512}, ["--data.max_len", "512"]),
        ({"actor.adam.lr": 5.0e-4}, ["--actor.adam.lr", "0.0005"]),
        ({"ds.packing_samples": True}, ["--ds.packing_samples"]),
        ({"ds.packing_samples": False}, []),
        ({"rlef.cpu_host": True, "rlef.early_stop": False}, ["--rlef.cpu_host", "true", "--rlef.early_stop", "false"]),
        (
            {"algo.advantage.is_correction_threshold": [0, 1]},
            ["--algo.advantage.is_correction_threshold", "0", "1"],
        ),
        ({"algo.advantage.is_correction_level": False}, ["--algo.advantage.is_correction_level", "off"]),
        ({"data.max_len": None, "rlef.turn_limit": None}, []),
        ({"env": "a.B"}, ["--env", "a.B"]),
        ({"reward.clip_range": [-10, 10]}, ["--reward.clip_range", "-10", "10"]),
        ({"rlef.invalid_code_reward": -1.0e-5}, ["--rlef.invalid_code_reward=-1e-05"]),
        ({"logger.wandb.run_name": "-x"}, ["--logger.wandb.run_name=-x"]),
    ],
    ids=str,
)
def test_to_flags(values: dict[str, Any], flags: list[str]) -> None:
    assert recipes.to_flags(values) == flags


@pytest.mark.parametrize("override", ["env=", "env=null", "env=''"])
def test_an_empty_environment_is_refused(recipe, override: str) -> None:
    with pytest.raises(UsageError, match="^env is empty: name a class, such as rlef_plugin.CodeContestsEnv, or leave"):
        recipes.to_flags(recipes.load(recipe(""), [override]))


@pytest.mark.parametrize("text", ["off", "no", "false"])
def test_what_yaml_makes_of_off_is_undone(recipe, text: str) -> None:
    """`is_correction_level: off` is False to YAML, and "off" to the host."""
    flags = recipes.to_flags(recipes.load(recipe(f"algo.advantage.is_correction_level: {text}")))
    assert flags == ["--algo.advantage.is_correction_level", "off"]


@pytest.mark.parametrize(
    "key, nearest",
    [
        ("data.max_length", "data.max_len"),
        ("algo.kl.coef", "algo.kl.init_coef"),
        ("critic.lr_schedule", "critic.lr_scheduler"),
        ("rlef.turns", "rlef.turn_limit"),
        ("rlef.episode.turn_limit", "rlef.turn_limit"),
        ("rlef.judge.worker", "rlef.judge.workers"),
        ("rlef.judge.strict", "rlef.judge.strict_exit"),
        ("judge.workers", "rlef.judge.workers"),
        ("envs", "env"),
    ],
)
def test_an_unknown_key_names_the_nearest(recipe, key: str, nearest: str) -> None:
    sentence = f"unknown key {key!r}: did you mean {nearest!r}?"
    for text, overrides in ((f"{key}: 1", []), ("", [f"{key}=1"])):
        with pytest.raises(UsageError) as error:
            recipes.to_flags(recipes.load(recipe(text), overrides))
        assert str(error.value) == sentence


def test_a_setting_that_is_gone_says_what_became_of_it(recipe) -> None:
    sentence = "rlef.judge.isolation is gone: each test always has a process of its own; delete the key."
    for text, overrides in (("rlef: {judge: {isolation: test}}", []), ("", ["rlef.judge.isolation=program"])):
        with pytest.raises(UsageError) as error:
            recipes.to_flags(recipes.load(recipe(text), overrides))
        assert str(error.value) == sentence
    with pytest.raises(UsageError) as error:
        launcher.make_plan(["--rlef.judge.isolation", "program"])
    assert str(error.value) == sentence
    with pytest.raises(UsageError) as error:
        config_of("rlef_plugin.CodeContestsEnv", Path("store"), Path("out"), ["rlef.judge.isolation=test"])
    assert str(error.value) == sentence
    for value in ("test", "program", ""):
        with pytest.raises(ValueError) as refused:
            JudgeConfig(isolation=value)
        assert str(refused.value) == sentence


def test_an_unknown_key_with_nothing_near() -> None:
    with pytest.raises(UsageError, match="^unknown key 'zzzzzzzz'$"):
        recipes.to_flags({"zzzzzzzz": 1})


@pytest.mark.parametrize("value", ["maybe", 1, None, [True]])
def test_a_flag_without_argument_is_a_boolean(value: Any) -> None:
    with pytest.raises(UsageError, match="ds.packing_samples is .*, but must be true or false"):
        recipes.to_flags({"ds.packing_samples": value})


def test_round_trip_of_our_settings(recipe) -> None:
    text = """
    env: pkg.Env
    rlef:
      value: token
      whiten: none
      rollouts_every: 0
      turn_limit: 5
      invalid_code_reward: -0.5
      early_stop: off
      time_limit_s: 2.5
      run_dir: /somewhere/with spaces
      judge: {workers: 4, strict_exit: no, nsjail: /opt/nsjail, backend: null}
    """
    config = settings_of(recipes.load(recipe(text)))
    assert config == settings.RlefConfig(
        env="pkg.Env",
        value="token",
        whiten="none",
        rollouts_every=0,
        run_dir="/somewhere/with spaces",
        episode=settings.EnvConfig(turn_limit=5, invalid_code_reward=-0.5, early_stop=False, time_limit_s=2.5),
        judge=settings.JudgeConfig(workers=4, strict_exit=False, nsjail="/opt/nsjail"),
    )


def test_a_recipe_without_env_gets_the_papers_environment() -> None:
    assert settings_of({}).env == "rlef_plugin.CodeContestsEnv"


# --- the parser that both share


def test_help_shows_every_flag_of_ours_and_both_estimators() -> None:
    text = launcher.full_parser().format_help()
    words = set(text.replace(",", " ").replace("{", " ").replace("}", " ").split())
    for name, *_ in settings.fields():
        assert f"--{name}" in words, name
    assert {"--env", "geometric_mean", "turn", "k1", "gae"} <= words


@pytest.mark.parametrize(
    "key, ours, hosts",
    [
        ("algo.advantage.estimator", {"turn"}, {"gae", "reinforce", "rloo"}),
        ("algo.kl.estimator", {"geometric_mean", "sum"}, {"k1", "k2", "k3"}),
    ],
)
def test_the_estimators_are_choices_of_the_hosts_flags(key: str, ours: set[str], hosts: set[str]) -> None:
    action = next(action for action in launcher.full_parser()._actions if action.dest == key)
    assert ours | hosts <= set(action.choices)
    for value in ours:
        assert vars(host_cli.parse([f"--{key}", value]))[key] == value
    assert vars(host_cli.parse([]))[key] in ours  # with --env the paper's is the default
    with pytest.raises(UsageError, match=f"--{key}: invalid choice: 'geometric'"):
        host_cli.parse([f"--{key}", "geometric"])


@pytest.mark.parametrize(
    "flags, translated",
    [
        (["--algo.kl.estimator", "geometric_mean"], ["--algo.kl.estimator", "k1"]),
        (["--algo.kl.estimator=sum"], ["--algo.kl.estimator=k1"]),
        (["--algo.kl.estimator", "k2"], ["--algo.kl.estimator", "k2"]),
        (["--algo.advantage.estimator", "turn", "--x=turn"], ["--algo.advantage.estimator", "gae", "--x=turn"]),
        (["--logger.wandb.run_name", "turn"], ["--logger.wandb.run_name", "turn"]),
        (["--algo.kl.estimator"], ["--algo.kl.estimator"]),
    ],
    ids=str,
)
def test_for_host_translates_our_estimators_and_nothing_else(flags: list[str], translated: list[str]) -> None:
    assert host_cli.for_host(flags) == translated


def test_an_abbreviated_flag_is_refused() -> None:
    """argparse would take it, and the host would then see our estimator's name untranslated."""
    with pytest.raises(UsageError, match="unknown key 'algo.kl.est': did you mean 'algo.kl.estimator'"):
        host_cli.parse(["--algo.kl.est", "geometric_mean"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_hold_known_keys_and_a_header(path: Path) -> None:
    values = recipes.load(path)
    if "cli" not in values:  # those of train_sft: tests/test_sft.py
        assert recipes.to_flags(values)[:2] == ["--env", "rlef_plugin.CodeContestsEnv"]
    header = path.read_text().partition("\n\n")[0]
    for word in ("Hardware", "Expect"):
        assert f"# {word} " in header


def test_the_shipped_recipes_are_all_here() -> None:
    assert {"cpu-demo.yaml", "llama3.1-8b.yaml", "llama3.1-70b.yaml"} <= {path.name for path in RECIPES}
