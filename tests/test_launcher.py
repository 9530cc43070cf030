"""From flags to a plan: the paper's values in the recipes, what the host gets to see, and every refusal before Ray.

Nothing here starts Ray or a model. `make_plan` takes tenths of a second, because the host's CLI is read, not imported.
"""

import ast
import contextlib
import logging
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlef_plugin import launcher, limits, preflight, recipes
from rlef_plugin.config import RlefConfig
from rlef_plugin.errors import UsageError
from rlef_plugin.judge import Check
from rlef_plugin.openrlhf_ext import cpu_host, host_cli
from rlef_plugin.problems import Problem, StoreWriter, TestCase

REPO = Path(__file__).resolve().parents[1]
HOST = "openrlhf.cli.train_ppo_ray"
TRAIN_PROMPTS = 12_659  # CodeContests' training problems with public and private tests


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training problems and a validation problem."""
    path = tmp_path_factory.mktemp("launcher") / "store"
    with StoreWriter(path) as writer:
        for name, split in (("add", "train"), ("double", "train"), ("halve", "valid")):
            writer.add(Problem(name, f"Do {name}.", (TestCase("1", "2"),), (TestCase("3", "4"),), split=split))
    return path


def flags_of(recipe: str, store: Path, *overrides: str) -> list[str]:
    """The command line of a shipped recipe on this store; overrides as `rlef train` takes them."""
    values = recipes.load(REPO / "recipes" / recipe, [f"data.prompt_dataset={store}", *overrides])
    if values.get("eval.dataset") and not any(item.startswith("eval.dataset=") for item in overrides):
        values["eval.dataset"] = str(store)
    return recipes.to_flags(values)


def plan_of(recipe: str, store: Path, *overrides: str) -> launcher.Plan:
    return launcher.make_plan(flags_of(recipe, store, *overrides))


# --- the paper's values (docs/paper.md section 3), as the host will see them


@pytest.fixture(scope="module")
def paper_plans(store: Path) -> dict[str, launcher.Plan]:
    return {size: plan_of(f"llama3.1-{size}.yaml", store) for size in ("8b", "70b")}


PAPER = {
    "actor.adam.lr": 2e-7,
    "critic.adam.lr": 2e-7,
    "actor.optim": "adam",
    "critic.optim": "adam",
    "actor.adam.weight_decay": 0.1,
    "critic.adam.weight_decay": 0.1,
    "actor.lr_scheduler": "constant_with_warmup",
    "critic.lr_scheduler": "constant_with_warmup",
    "algo.kl.init_coef": 0.05,  # beta
    "algo.kl.estimator": "geometric_mean",
    "algo.kl.use_loss": False,  # the penalty is in the reward
    "algo.kl.target": None,  # and does not adapt
    "algo.advantage.estimator": "turn",
    "algo.advantage.gamma": 1.0,
    "algo.advantage.lambd": 1.0,
    "actor.eps_clip": 0.2,
    "actor.eps_clip_low_high": None,
    "actor.dual_clip": None,
    "actor.entropy_coef": None,
    "critic.value_clip": 0.2,  # alpha
    "rollout.batch_size": 1024,
    "rollout.n_samples_per_prompt": 1,
    "train.batch_size": 256,
    "train.max_epochs": 1,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "train.async_enable": True,
    "algo.advantage.is_correction_level": "token",
    "algo.advantage.is_correction_mode": "clip",
    "algo.advantage.is_correction_threshold": [0.0, 1.0],
    "algo.dynamic_filtering_enable": False,
    "data.max_len": 8192,
    "data.prompt_split": "train",
    "eval.split": "valid",
    "eval.steps": 212,  # 13 steps make 49 updates: 799 of 800
    "eval.temperature": 0.2,
    "ckpt.best_metric_key": "eval_valid_pass1",
    "ckpt.save_hf": True,  # so that the best one can be evaluated
    "ckpt.load_enable": True,  # the same command goes on after a crash
    "critic.freezing_steps": -1,  # policy and critic learn from the first step on
}


@pytest.mark.parametrize("size", ["8b", "70b"])
@pytest.mark.parametrize("key", PAPER)
def test_the_papers_hyper_parameters(paper_plans: dict[str, launcher.Plan], size: str, key: str) -> None:
    assert paper_plans[size].arguments[key] == PAPER[key]


@pytest.mark.parametrize(
    "size, model, training_gpus, inference_gpus, updates",
    [
        ("8b", "meta-llama/Llama-3.1-8B-Instruct", 128, 160, 12_000),
        ("70b", "meta-llama/Llama-3.1-70B-Instruct", 1024, 1280, 8_000),
    ],
)
def test_the_papers_models_and_sizes(
    paper_plans: dict[str, launcher.Plan],
    size: str,
    model: str,
    training_gpus: int,
    inference_gpus: int,
    updates: int,
) -> None:
    of = paper_plans[size].arguments
    assert of["actor.model_name_or_path"] == model
    for group in ("actor", "critic", "ref"):
        assert of[f"{group}.num_nodes"] * of[f"{group}.num_gpus_per_node"] == training_gpus
    assert of["vllm.num_engines"] * of["vllm.tensor_parallel_size"] == inference_gpus
    assert of["rollout.batch_size"] * of["rollout.n_samples_per_prompt"] // of["train.batch_size"] == 4
    assert round(of["eval.steps"] * 49 / 13) == 799  # 12 whole iterations of 4 updates and one of 1 a pass; paper: 800
    a_rank = of["ds.ring_attn_size"] * of["ds.tensor_parallel_size"]
    for rollouts in (1024, TRAIN_PROMPTS % 1024 // 256 * 256):  # a step's, and those of the last in a pass: 256
        shares = shares_of(rollouts, of["rollout.micro_batch_size"], training_gpus // a_rank)
        assert set(shares) == {rollouts // (training_gpus // a_rank)}  # no rank has less than another
        assert min(shares) * training_gpus // a_rank % of["train.batch_size"] == 0
    assert training_gpus // a_rank * of["train.micro_batch_size"] <= of["train.batch_size"]
    limits.refuse_steps(of, TRAIN_PROMPTS)
    steps = host_max_steps(paper_plans[size], TRAIN_PROMPTS)
    assert updates <= steps < updates + 49  # 49 updates a pass: a pass fewer would be too few
    for group in ("actor", "critic"):  # deepspeed.py: num_warmup_steps=math.ceil(scheduler_steps * lr_warmup_ratio)
        assert math.ceil(steps * of[f"{group}.lr_warmup_ratio"]) == 50


@pytest.mark.parametrize("size", ["8b", "70b"])
def test_the_papers_episode(paper_plans: dict[str, launcher.Plan], size: str) -> None:
    config, of = paper_plans[size].config, paper_plans[size].arguments
    assert (config.episode.turn_limit, config.episode.invalid_code_reward) == (3, -0.2)
    assert (config.episode.time_limit_s, config.episode.memory_limit_mb, config.episode.early_stop) == (10, 1024, True)
    assert (config.value, config.whiten, config.cpu_host) == ("turn", "turn", False)
    assert (config.advantage_estimator, config.kl_estimator) == ("turn", "geometric_mean")
    assert not config.judge.unsafe_no_jail
    # Three full responses and two messages of 40 template tokens leave this much for the problem.
    assert of["data.max_len"] - 3 * of["rollout.max_new_tokens"] - 2 * (config.episode.feedback_tokens + 40) >= 900


def shares_of(rollouts: int, micro: int, ranks: int) -> list[int]:
    """Rollouts of each data-parallel rank, as `RayActorGroup.async_run_method_batch` slices micro-batches."""
    batches = [len(range(rollouts)[start : start + micro]) for start in range(0, rollouts, micro)]
    a_rank = math.ceil(len(batches) / ranks)
    return [sum(batches[rank * a_rank : (rank + 1) * a_rank]) for rank in range(ranks)]


def host_max_steps(plan: launcher.Plan, prompts: int) -> int:
    """Optimiser steps the host schedules: its own expression from `prepare_datasets`, evaluated."""
    path = host_cli.host_file().parents[1] / "trainer" / "ppo_trainer.py"
    function = next(
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "prepare_datasets"
    )
    value = next(
        node.value
        for node in function.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "max_steps"
    )
    names = {"args": host_cli.check(plan.host_flags), "prompts_dataset": range(prompts)}
    return eval(compile(ast.Expression(value), str(path), "eval"), names)


# --- what the host gets


def hosts_view(flags: list[str]) -> dict[str, Any]:
    """The flags through the host's parser as it is in its file, without our choices."""
    statements, _ = host_cli._main_block()
    parser = host_cli._run(statements, {"__name__": HOST})["parser"]
    parser.error = host_cli.refuse
    return vars(parser.parse_args(flags))


@pytest.mark.parametrize("recipe", ["cpu-demo.yaml", "llama3.1-8b.yaml", "llama3.1-70b.yaml"])
def test_the_host_sees_only_its_own_flags(store: Path, recipe: str) -> None:
    plan = plan_of(recipe, store)
    seen = hosts_view(plan.host_flags)
    assert not [flag for flag in plan.host_flags if flag.startswith(("--rlef", "--env"))]
    ours = {
        "algo.advantage.estimator": "gae",  # the estimator with a critic
        "algo.kl.estimator": "k1",  # the log-ratio itself
        "train.agent_func_path": str(REPO / "rlef_plugin" / "openrlhf_ext" / "agent.py"),
        "data.prompt_dataset": str(store / "prompts" / "train.jsonl"),
        "data.prompt_split": "train",
        "data.input_key": "prompt",
        "data.label_key": "label",
    }
    if plan.arguments["eval.dataset"]:
        ours |= {"eval.dataset": str(store / "prompts" / "valid.jsonl"), "eval.split": "train"}
    assert {key: seen[key] for key in ours} == ours
    assert {key: value for key, value in seen.items() if key not in ours} == {
        key: value for key, value in plan.arguments.items() if key not in ours
    }
    for key in ("train.agent_func_path", "data.prompt_dataset"):
        assert Path(seen[key]).is_file()
    assert Path(seen["ckpt.path"]).is_absolute() and Path(seen["ckpt.output_dir"]).is_absolute()


def test_the_hosts_checks_give_the_critic_the_policys_checkpoint(paper_plans: dict[str, launcher.Plan]) -> None:
    checked = host_cli.check(paper_plans["8b"].host_flags)
    assert checked.critic.model_name_or_path == checked.actor.model_name_or_path == "meta-llama/Llama-3.1-8B-Instruct"
    assert checked.reward.remote_url == ["agent"]  # so that no reward model is made
    assert checked.actor.eps_clip_low_high == (0.2, 0.2)


def test_paths_are_absolute_and_a_shared_store_is_opened_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)
    plan = plan_of("llama3.1-8b.yaml", Path("store"), "eval.dataset=store", "ckpt.output_dir=out")
    assert plan.config.stores == (str(store),)
    assert plan.config.run_dir == str(store.parent / "out" / "rlef")
    seen = hosts_view(plan.host_flags)
    assert seen["ckpt.output_dir"] == plan.arguments["ckpt.output_dir"] == str(store.parent / "out")
    assert seen["ckpt.path"] == str(store.parent / "runs" / "llama3.1-8b" / "checkpoints")
    assert str(store / "prompts" / "valid.jsonl") in plan.host_flags


def test_other_estimators_pass_through(store: Path) -> None:
    plan = plan_of("cpu-demo.yaml", store, "algo.advantage.estimator=reinforce", "algo.kl.estimator=k1")
    assert (plan.config.advantage_estimator, plan.config.kl_estimator) == ("reinforce", "k1")
    assert hosts_view(plan.host_flags)["algo.advantage.estimator"] == "reinforce"


def test_without_an_estimator_flag_it_is_the_papers(store: Path) -> None:
    flags = ["--env", "rlef_plugin.CodeContestsEnv", "--data.prompt_dataset", str(store), "--vllm.num_engines", "1"]
    plan = launcher.make_plan([*flags, "--rollout.max_new_tokens", "64"])
    assert (plan.config.advantage_estimator, plan.config.kl_estimator) == ("turn", "geometric_mean")


# --- refusals


REFUSALS = {
    "agent file": (["train.agent_func_path=my.py"], ["train.agent_func_path='my.py'", "--env names the environment"]),
    "reward server": (
        ["reward.remote_url=http://x"],
        ["reward.remote_url='http://x'", "the environment gives the re"],
    ),
    "reward model": (["reward.model_name_or_path=m"], ["reward.model_name_or_path='m'", "drop reward.model_name"]),
    "no store": (["data.prompt_dataset=null"], ["data.prompt_dataset is missing", "rlef data build"]),
    "only an evaluation store": (
        ["data.prompt_dataset=null", "eval.dataset=."],
        ["data.prompt_dataset is missing", "rlef data build"],
    ),
    "missing store": (["data.prompt_dataset=/no/such"], ["/no/such does not exist", "rlef data build"]),
    "not a store": ([f"data.prompt_dataset={REPO / 'recipes'}"], ["is not a problem store"]),
    "no such split": (["data.prompt_split=test"], ["no split 'test'", "choose one of train, valid"]),
    "gae over turns": (
        ["algo.advantage.estimator=gae", "algo.kl.estimator=k1"],
        ["algo.advantage.estimator=gae with rlef.turn_limit=3", "feedback tokens", "algo.advantage.estimator=turn"],
    ),
    "a token KL with turns": (["algo.kl.estimator=k3"], ["algo.kl.estimator=k3", "use geometric_mean or sum"]),
    "a turn KL without turns": (
        ["algo.advantage.estimator=reinforce", "algo.kl.estimator=sum"],
        ["algo.kl.estimator=sum needs algo.advantage.estimator=turn, not reinforce", "use k1"],
    ),
    "two KLs": (
        ["rlef.kl=sum", "algo.kl.estimator=geometric_mean"],
        ["rlef.kl=sum and algo.kl.estimator=geometric_mean contradict each other", "keep one"],
    ),
    "a KL of turns in the loss": (["rlef.kl=sum", "algo.kl.use_loss=true"], ["rlef.kl=sum", "algo.kl.use_loss=True"]),
    "private tests in training": (["rlef.feedback=private"], ["rlef.feedback=private", "leak", "`rlef eval` only"]),
    "a stop without feedback": (
        ["rlef.feedback=none", "rlef.early_stop=true"],
        ["rlef.early_stop=true and rlef.feedback=none exclude each other"],
    ),
    "an unknown feedback": (["rlef.feedback=all"], ["--rlef.feedback", "'all'", "'verdict_only'"]),
    "a value without a critic": (
        ["algo.advantage.estimator=rloo", "algo.kl.estimator=k1", "rlef.value=token"],
        ["rlef.value=token needs algo.advantage.estimator=turn, not rloo"],
    ),
    "whitening a group's advantages": (
        ["algo.advantage.estimator=group_norm", "algo.kl.estimator=k1", "rlef.whiten=none"],
        ["rlef.whiten=none needs algo.advantage.estimator=turn, not group_norm"],
    ),
    "the host's whitening with turns": (
        ["algo.advantage.no_std_norm=true"],
        ["algo.advantage.no_std_norm=True has no effect", "use rlef.whiten"],
    ),
    "clipped rewards with turns": (["reward.clip_range=[-1,1]"], ["reward.clip_range=(-1.0, 1.0) has no effect"]),
    "overlong penalty": (["reward.overlong_buffer_len=64"], ["reward.overlong_buffer_len=64", "not of a turn"]),
    "stop penalty": (["reward.stop_properly_penalty_coef=0.5"], ["reward.stop_properly_penalty_coef=0.5", "drop it"]),
    "no limit a response": (["rollout.max_new_tokens=null"], ["rollout.max_new_tokens is not set", "turn_limit=3"]),
    "ragged batch": (
        ["rollout.n_samples_per_prompt=2", "train.batch_size=4"],
        [
            "18 rollouts a step",
            "no multiple of train.batch_size=4",
            "rollout.batch_size x rollout.n_samples_per_prompt",
        ],
    ),
    "flash attention on a CPU": (
        ["ds.attn_implementation=flash_attention_2"],
        [
            "ds.attn_implementation='flash_attention_2' does not run on the CPU host",
            "set ds.attn_implementation='eager'",
        ],
    ),
    "packing on a CPU": (["ds.packing_samples=true"], ["ds.packing_samples=True does not run on the CPU host"]),
    "nccl on a CPU": (["vllm.sync_backend=nccl"], ["set vllm.sync_backend='gloo'"]),
    "a host's own check": (
        ["train.partial_rollout_enable=true"],
        ["the host refuses", "requires --train.async_enable"],
    ),
    "another host's own check": (["rollout.micro_batch_size=100"], ["the host refuses", "number of sample batches"]),
    "a type": (["data.max_len=many"], ["--data.max_len", "invalid int value: 'many'"]),
    "a choice": (["algo.advantage.estimator=turns"], ["invalid choice: 'turns'", "'turn'"]),
    "our type": (["rlef.turn_limit=many"], ["--rlef.turn_limit", "invalid int value: 'many'"]),
    "our range": (["rlef.turn_limit=0"], ["rlef.turn_limit is 0"]),
    "our choice": (["rlef.whiten=batch"], ["--rlef.whiten", "'batch'", "'token'"]),
    "no pass": (["train.num_episodes=0"], ["train.num_episodes is 0, but it must be greater than 0"]),
    "no update": (["train.batch_size=0"], ["train.batch_size is 0, but it must be greater than 0"]),
    "a temperature that divides by zero": (["rollout.temperature=0"], ["rollout.temperature is 0.0, but it must be"]),
    "a negative temperature": (["eval.temperature=-1"], ["eval.temperature is -1.0, but it must be at least 0"]),
    "rollouts of no step": (["rlef.rollouts_every=-1"], ["rlef.rollouts_every is -1, but it must be at least 0"]),
    "batches of no step": (["rlef.dump_batches_every=-1"], ["rlef.dump_batches_every is -1"]),
    "judge range": (["rlef.judge.workers=-1"], ["rlef.judge", "-1"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_in_one_sentence_before_anything_starts(
    store: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, words = REFUSALS[name]
    for started in ("preflight", "run"):
        monkeypatch.setattr(launcher, started, lambda plan: pytest.fail("this should have been refused"))
    with pytest.raises(SystemExit) as stopped:
        launcher.main(flags_of("cpu-demo.yaml", store, *overrides))
    assert stopped.value.code == 2
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    for word in words:
        assert word in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--data.max_length", "5"], "unknown key 'data.max_length': did you mean 'data.max_len'"),
        (["--rlef.turns", "5"], "unknown key 'rlef.turns': did you mean 'rlef.turn_limit'"),
        (["--rlef.turns=5"], "unknown key 'rlef.turns': did you mean 'rlef.turn_limit'"),
        (["--rlef.turn_limi", "5"], "unknown key 'rlef.turn_limi': did you mean 'rlef.turn_limit'"),
        (["--data.max_l", "5"], "unknown key 'data.max_l': did you mean 'data.max_len'"),
        (["--rlef.turn_limit"], "--rlef.turn_limit: expected one argument"),
    ],
)
def test_unknown_flags(store: Path, flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        launcher.make_plan([*flags_of("cpu-demo.yaml", store), *flags])


@pytest.mark.parametrize("overrides", [["rlef.kl=sum"], ["algo.kl.estimator=sum"], ["reward.clip_range=[-10,10]"]])
def test_the_kl_of_a_turn_reaches_the_plan_and_the_host_sees_k1(store: Path, overrides: list[str]) -> None:
    plan = plan_of("cpu-demo.yaml", store, *overrides)
    assert (plan.config.kl == "sum") == (overrides[0] != "reward.clip_range=[-10,10]")
    assert hosts_view(plan.host_flags)["algo.kl.estimator"] == "k1"


@pytest.mark.parametrize("estimator", ["reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo"])
def test_estimators_without_a_critic_are_planned(store: Path, estimator: str) -> None:
    overrides = [f"algo.advantage.estimator={estimator}", "algo.kl.estimator=k1", "rlef.turn_limit=3"]
    plan = plan_of("cpu-demo.yaml", store, *overrides)
    assert hosts_view(plan.host_flags)["algo.advantage.estimator"] == estimator
    assert host_cli.check(plan.host_flags).critic.model_name_or_path is None


def test_random_feedback_needs_incorrect_programs(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlef_plugin.preflight import check_feedback
    from rlef_plugin.problems import ProblemStores, Solution

    plan = plan_of("cpu-demo.yaml", store, "rlef.feedback=random")
    with pytest.raises(UsageError, match="rlef.feedback=random needs incorrect solutions.*the split 'train'"):
        check_feedback(plan.config, plan.arguments)
    check_feedback(plan_of("cpu-demo.yaml", store).config, plan.arguments)
    monkeypatch.setattr(ProblemStores, "solutions", lambda *_: [Solution("x", False)])
    check_feedback(plan.config, plan.arguments)


def test_problems_that_are_trained_and_evaluated_on_are_told(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rlef_plugin.preflight import warn_of_overlap

    warn_of_overlap(plan_of("llama3.1-8b.yaml", store).arguments)
    assert not caplog.messages
    warn_of_overlap(plan_of("llama3.1-8b.yaml", store, "eval.split=train", "ckpt.best_metric_key=").arguments)
    assert re.match(r"(\d+) of \1 problems of eval.split=train are trained on too, such as ", caplog.messages[0])


def test_a_kl_loss_frees_the_estimator(store: Path) -> None:
    plan = plan_of("cpu-demo.yaml", store, "algo.kl.estimator=k2", "algo.kl.use_loss=true")
    assert plan.config.kl_estimator == "k2"


def test_gae_is_allowed_for_one_turn(store: Path) -> None:
    one = ("rlef.turn_limit=1", "algo.advantage.estimator=gae", "algo.kl.estimator=k1")
    assert plan_of("cpu-demo.yaml", store, *one).config.advantage_estimator == "gae"


def test_a_path_the_host_would_split_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "me@work").symlink_to(store)
    with pytest.raises(UsageError, match="the host splits paths at ',' and '@', so move the store"):
        plan_of("cpu-demo.yaml", tmp_path / "me@work")


def test_what_the_cpu_host_needs_are_flags_of_the_host_that_the_demo_sets(store: Path) -> None:
    arguments = plan_of("cpu-demo.yaml", store).arguments
    assert {key: arguments[key] for key in cpu_host.REQUIRED_FLAGS} == cpu_host.REQUIRED_FLAGS


def test_tables_of_host_flags_name_flags_the_host_has() -> None:
    known = set(hosts_view([]))
    for table in (launcher.OURS_ALONE, launcher.PER_EPISODE, host_cli.ADDED_CHOICES, host_cli.DEFAULTS):
        assert set(table) <= known


# --- preflight


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer that has a chat template, and settings: as far as this check goes a model."""
    from tiny_tokenizers import family_tokenizer
    from transformers import LlamaConfig

    path = tmp_path_factory.mktemp("models") / "instruct"
    family_tokenizer("llama-3.1").save_pretrained(path)
    LlamaConfig(max_position_embeddings=131072).save_pretrained(path)
    return path


def context_check(store: Path, model: Path | str, *overrides: str) -> None:
    plan = plan_of("cpu-demo.yaml", store, f"actor.model_name_or_path={model}", *overrides)
    preflight.check_context(plan.config, plan.arguments)


ROOMY = ("data.max_len=4096", "rlef.feedback_tokens=512")  # the tiny tokenizers take many tokens a word


def test_a_context_that_fits(store: Path, model: Path) -> None:
    context_check(store, model, *ROOMY)


def test_turns_that_do_not_fit_the_context(store: Path, model: Path) -> None:
    from tiny_tokenizers import family_tokenizer

    from rlef_plugin.env import CodeContestsEnv, Dialog, EnvConfig
    from rlef_plugin.problems import ProblemStore

    dialog, problems = Dialog(family_tokenizer("llama-3.1")), ProblemStore.open(store)
    env = CodeContestsEnv(problems, None, EnvConfig(feedback_tokens=512), dialog.count_tokens)  # type: ignore[arg-type]
    shortest = min(len(dialog.prompt_tokens(env.first_message(problems[id_]))) for id_ in problems)
    need = shortest + 3 * 128 + 2 * (512 + dialog.closing_overhead())
    context_check(store, model, f"data.max_len={need}", "rlef.feedback_tokens=512")
    with pytest.raises(UsageError, match=f"3 turns take {need} tokens .*data.max_len is {need - 1}.*rlef.turn_limit"):
        context_check(store, model, f"data.max_len={need - 1}", "rlef.feedback_tokens=512")


def test_a_prompt_that_leaves_no_room(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "long"
    with StoreWriter(path) as writer:
        for name, text in (("short", "Add."), ("long", "word " * 4000)):
            writer.add(Problem(name, text, (TestCase("1", "2"),), ()))
    with pytest.raises(UsageError) as error:
        context_check(path, model, *ROOMY)
    message = str(error.value)
    assert message.startswith("the prompts of 1 of 2 problems leave less than rollout.max_new_tokens=128")
    assert "data.max_len=4096" in message and "problem 'long'" in message and "raise data.max_len" in message


def test_a_tokenizer_without_a_chat_template(store: Path, tmp_path: Path) -> None:
    from tiny_tokenizers import make_tokenizer

    make_tokenizer(None, {"eos_token": "</s>"}, []).save_pretrained(tmp_path / "base")
    with pytest.raises(UsageError, match="base' has no chat template: .*actor.model_name_or_path"):
        context_check(store, tmp_path / "base", *ROOMY)


@pytest.mark.parametrize(
    "model_path, words",
    [
        ("null", "actor.model_name_or_path is not set: name a model"),
        ("/no/such/model", "actor.model_name_or_path='/no/such/model' does not exist: name a model folder or hub id"),
        ("./tests", "actor.model_name_or_path='./tests' has no tokenizer that loads: "),
    ],
)
def test_a_model_without_tokenizer(store: Path, model_path: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        context_check(store, model_path, *ROOMY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["nowhere.Env", "CodeContestsEnv", "rlef_plugin.Nothing", "pathlib.Path"])
def test_an_environment_that_is_none(store: Path, model: Path, path: str) -> None:
    with pytest.raises(UsageError, match=f"--env '{path}'"):
        context_check(store, model, f"env={path}", *ROOMY)


def test_a_sandbox_that_does_not_start() -> None:
    from rlef_plugin.judge import JudgeConfig

    with pytest.raises(UsageError, match="^programs cannot be judged here: .*/no/nsjail"):
        preflight.check_sandbox(RlefConfig(judge=JudgeConfig(workers=1, nsjail="/no/nsjail")))


def test_versions_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("Python", True, "3.12"), Check("vllm", False, "0.1, but ==0.29.0 is needed", "pip install vllm")]
    monkeypatch.setattr("rlef_plugin.versions.version_checks", lambda: checks)
    with pytest.raises(UsageError, match="^vllm: 0.1, but ==0.29.0 is needed; pip install vllm$"):
        preflight.check_versions()


FEW = ("train.batch_size=3", "train.micro_batch_size=3")  # the store's two problems fill an update


def test_preflight_comes_before_the_run(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    checks = ["check_versions", "check_sandbox", "check_context", "check_folders"]
    for name in checks:
        monkeypatch.setattr(preflight, name, lambda *_, name=name: calls.append(name))
    monkeypatch.setattr(launcher, "run", lambda plan: calls.append("run"))
    launcher.main(flags_of("cpu-demo.yaml", store, *FEW))
    assert calls == [*checks, "run"]


def test_a_store_that_fills_no_update_is_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preflight, "check_versions", lambda: None)
    monkeypatch.setattr(launcher, "run", lambda plan: pytest.fail("this should have been refused"))
    with pytest.raises(SystemExit):
        launcher.main(flags_of("cpu-demo.yaml", store))
    assert "has 2 problems, whose 6 rollouts are fewer than one update's 9" in caplog.text


# --- how Ray is started, and how it ends


class FakeRay(SimpleNamespace):
    def __init__(self, gpus: float) -> None:
        super().__init__(started=[], cluster_resources=lambda: {"CPU": 2.0, "GPU": gpus})

    def init(self, *arguments: Any, **keywords: Any) -> None:
        self.started.append((arguments, keywords))


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay(gpus=8.0)
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    return fake


def test_ray_on_gpus_gets_the_hosts_variables_and_ours(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_DEBUG", "INFO")  # as with the host, what a user sets wins
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    config = RlefConfig(stores=("/s",))
    launcher._start_ray(config)
    [(arguments, keywords)] = fake_ray.started
    assert arguments == ()
    assert keywords == {
        "runtime_env": {
            "env_vars": {
                "TOKENIZERS_PARALLELISM": "true",
                "NCCL_DEBUG": "INFO",
                "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
                "RLEF_CONFIG": config.to_json(),
            }
        }
    }


def test_ray_without_gpus_is_refused_and_never_becomes_the_cpu_host(fake_ray: FakeRay) -> None:
    fake_ray.cluster_resources = lambda: {"CPU": 2.0}
    with pytest.raises(UsageError, match="Ray sees no GPU.*rlef.cpu_host=true"):
        launcher._start_ray(RlefConfig())


def test_ray_on_the_cpu_host(fake_ray: FakeRay) -> None:
    launcher._start_ray(RlefConfig(cpu_host=True))
    [(arguments, keywords)] = fake_ray.started
    runtime = keywords["runtime_env"]
    module, _, function = runtime["worker_process_setup_hook"].rpartition(".")
    assert arguments == ("local",)  # never somebody's cluster
    assert getattr(sys.modules[module], function) is cpu_host.setup_worker
    assert runtime["env_vars"].items() >= cpu_host.ENVIRONMENT.items()
    assert keywords["num_gpus"] >= 4  # engine, policy, critic, reference: one logical GPU each


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch):
    """`run` sets a variable, a signal handler and sys.argv for the life of the process; give them back."""
    monkeypatch.setenv("RLEF_CONFIG", "")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def stopped(undisturbed: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the ends of Ray. The real end also kills what this process has started, which here is other tests'."""
    calls: list[str] = []
    monkeypatch.setattr(launcher, "_stop_ray", lambda: calls.append("stopped"))
    return calls


@pytest.mark.parametrize("end", [RuntimeError("broke"), KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_ray_is_stopped_however_the_host_ends(
    fake_ray: FakeRay, stopped: list[str], monkeypatch: pytest.MonkeyPatch, store: Path, end: BaseException
) -> None:
    def host(flags: list[str]) -> None:
        assert RlefConfig.from_environment() == plan.config
        assert flags == [flag for flag in plan.host_flags if flag != "--ckpt.load_enable"]  # there is no checkpoint
        assert len(fake_ray.started) == 1 and not stopped
        raise end

    plan = plan_of("llama3.1-8b.yaml", store)
    monkeypatch.setattr(launcher, "check_cluster", lambda *given: None)
    monkeypatch.setattr(launcher, "_judges", lambda config: contextlib.nullcontext())
    monkeypatch.setattr(launcher, "_run_host", host)
    with pytest.raises(type(end)):
        launcher.run(plan)
    assert stopped == ["stopped"]


def test_sigterm_ends_the_run_like_an_exception(
    fake_ray: FakeRay, stopped: list[str], monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    monkeypatch.setattr(launcher, "check_cluster", lambda *given: None)
    monkeypatch.setattr(launcher, "_judges", lambda config: contextlib.nullcontext())
    monkeypatch.setattr(launcher, "_run_host", lambda flags: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        launcher.run(plan_of("llama3.1-8b.yaml", store))
    assert (end.value.code, stopped) == (143, ["stopped"])


def test_ctrl_c_is_exit_status_130(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(plan: launcher.Plan) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "preflight", lambda plan: None)
    monkeypatch.setattr(launcher, "run", interrupted)
    with pytest.raises(SystemExit) as end:
        launcher.main(flags_of("cpu-demo.yaml", store))
    assert end.value.code == 130


LEFT_BEHIND = """
import subprocess, sys, types
from rlef_plugin import launcher
sys.modules["ray"] = types.SimpleNamespace(shutdown=lambda: None)
launcher.STOP_S = 0.2
sleeper = "import subprocess, sys; subprocess.run(['sleep', '600'])"
child = subprocess.Popen([sys.executable, "-c", sleeper])
import psutil
while not psutil.Process(child.pid).children():
    pass
grandchild = psutil.Process(child.pid).children()[0]
launcher._stop_ray()
def ended(process):  # nobody may be there to reap a grandchild
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
print(ended(psutil.Process(child.pid)) if psutil.pid_exists(child.pid) else True, ended(grandchild))
"""


def test_what_outlives_ray_is_ended_too() -> None:
    assert command("-c", LEFT_BEHIND).stdout == "True True\n"


# --- the two ways in, as processes


def command(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, cwd=REPO)
    assert done.returncode == expect, done.stderr[-3000:]
    return done


def test_dry_run_prints_the_hosts_command_and_imports_nothing_heavy(store: Path) -> None:
    overrides = [f"data.prompt_dataset={store}", "data.max_len=512", *FEW]
    train = ["-m", "rlef_plugin", "train", "recipes/cpu-demo.yaml", *overrides, "--dry-run"]
    done = command("-X", "importtime", *train)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rlef_plugin.launcher" in imported
    assert not {"ray", "torch", "transformers", "vllm", "openrlhf.trainer"} & imported
    flags = flags_of("cpu-demo.yaml", store, "data.max_len=512", *FEW)
    assert shlex.split(done.stdout) == ["python", "-m", HOST, *flags]
    assert flags[:2] == ["--env", "rlef_plugin.CodeContestsEnv"] and "--rlef.turn_limit" in flags


def test_what_a_dry_run_prints_trains_with_the_same_plan(store: Path) -> None:
    """Without --env in the recipe too: the host's command without it would be the stock host's."""
    named = "logger.wandb.run_name=one"  # by default it tells the minute
    without = flags_of("cpu-demo.yaml", store, *FEW, named)[2:]
    [_, _, module, *flags] = shlex.split(launcher.describe(without))
    assert (module, flags[0]) == (HOST, "--env")
    assert launcher.make_plan(flags) == launcher.make_plan(without)


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["env=nowhere.Env"], "--env 'nowhere.Env' cannot be imported"),
        (["rlef.prompts=/nowhere"], "rlef.prompts is '/nowhere', which is no folder"),
        (["rlef.few_shot=/nowhere"], "rlef.few_shot=/nowhere cannot be read"),
        (["rlef.feedback=random"], "rlef.feedback=random needs incorrect solutions"),
        (["train.batch_size=9", "train.micro_batch_size=9"], "whose 6 rollouts are fewer than one update's 9"),
    ],
)
def test_a_dry_run_finds_what_needs_no_model(store: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        launcher.describe(flags_of("cpu-demo.yaml", store, *FEW, *overrides))


def test_an_empty_env_flag_is_not_the_default(store: Path) -> None:
    with pytest.raises(UsageError, match="--env '' is not a subclass of rlef_plugin.Environment"):
        launcher.describe(["--env", "", *flags_of("cpu-demo.yaml", store, *FEW)[2:]])


def test_the_cli_says_a_users_error_in_one_line() -> None:
    done = command("-m", "rlef_plugin", "train", "recipes/cpu-demo.yaml", "data.max_length=5", expect=2)
    assert done.stderr == "rlef: unknown key 'data.max_length': did you mean 'data.max_len'?\n"
    assert done.stdout == ""


def test_the_hosts_command_with_env_reaches_the_launcher_with_the_recipes_flags(store: Path) -> None:
    """Everything of the recipe is read, up to the last flag: the one that is wrong."""
    flags = flags_of("cpu-demo.yaml", store)
    done = command("-m", HOST, *flags, "--data.prompt_split", "test", expect=2)
    assert done.stderr == f"rlef: {store} has no split 'test': choose one of train, valid\n"
    done = command("-m", HOST, *flags, "--rlef.judge.worker", "2", expect=2)
    assert done.stderr == "rlef: unknown key 'rlef.judge.worker': did you mean 'rlef.judge.workers'?\n"


def test_the_hosts_command_with_env_shows_help_of_both() -> None:
    done = command("-m", HOST, "--env", "rlef_plugin.CodeContestsEnv", "--help")
    for word in ("--env CLASS", "--rlef.judge.workers", "geometric_mean", "--actor.model_name_or_path"):
        assert word in done.stdout
